//! What a backup consists of: a file of its own in the target, checked by a hash of its body.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use traaviis_model::Timestamp;
use traaviis_ports::Position;

use super::{Error, FORMAT, create, failed, make_dir, settle};
use crate::{
    checked::{self, Wrong},
    keys::root::RootId,
};

/// One backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// When it was made.
    pub created_at: Timestamp,
    /// Position of the log that it reaches: every record before it is in it.
    pub position: Position,
    /// Places of the log that were damaged already, as `doctor` would tell them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damage: Vec<String>,
    /// Segments of the log, oldest first.
    pub segments: Vec<SegmentEntry>,
    /// Other files.
    pub files: Vec<Entry>,
    /// Names of the root keys without which the secrets in it cannot be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub root_keys: Vec<RootId>,
}

/// A segment, cut to its length.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentEntry {
    /// Position of its first record, which names it.
    pub first: Position,
    /// Position behind its last record in this backup.
    pub end: Position,
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256, which names the object.
    pub sha256: String,
    /// Another segment follows, so that nothing is appended to it any more.
    pub is_sealed: bool,
    /// Time of its last change: a sealed segment changes when it is compacted.
    pub changed_at: Timestamp,
}

/// A file of the data directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Path in the data directory, with `/` between names.
    pub path: String,
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256, which names the object.
    pub sha256: String,
    /// Time of its last change, for finding out whether it has to be read again.
    pub changed_at: Timestamp,
}

impl Manifest {
    /// Returns the length of everything in it.
    pub fn bytes(&self) -> u64 {
        let segments = self.segments.iter().map(|it| it.bytes);
        segments.chain(self.files.iter().map(|it| it.bytes)).sum()
    }

    /// Returns the objects, with their lengths and what they are, for people.
    pub(super) fn objects(&self) -> impl Iterator<Item = (&str, u64, String)> {
        let segments = self.segments.iter();
        let segments = segments.map(|it| (&*it.sha256, it.bytes, format!("segment {}", it.first)));
        let files = self.files.iter();
        segments.chain(files.map(|it| (&*it.sha256, it.bytes, format!("file `{}`", it.path))))
    }
}

fn dir(target: &Path) -> PathBuf {
    target.join("manifests")
}

/// Returns the paths of all manifests in a target, the oldest first.
pub fn list(target: &Path) -> Result<Vec<PathBuf>, Error> {
    let dir = dir(target);
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("list", &dir)(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed("list", &dir))?.path();
        if path.extension().is_some_and(|it| it == "json") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Reads a manifest and checks it.
pub fn read(path: &Path) -> Result<Manifest, Error> {
    let text = fs::read_to_string(path).map_err(failed("read", path))?;
    let damaged = |why: String| Error::Damaged(format!("manifest `{}`: {why}", path.display()));
    let body = checked::read(text.as_bytes(), FORMAT).map_err(|it| match it {
        Wrong::Form(error) => damaged(error.to_string()),
        Wrong::Newer(found) => Error::Newer { path: path.display().to_string(), found },
        Wrong::Checksum => damaged("its checksum does not fit".into()),
    })?;
    serde_json::from_value(body).map_err(|it| damaged(it.to_string()))
}

/// Writes a manifest durably and returns its path.
pub(super) fn write(target: &Path, manifest: &Manifest) -> Result<PathBuf, Error> {
    let dir = dir(target);
    make_dir(&dir)?;
    let second = manifest.created_at.to_string().replace(':', "-");
    let path = dir.join(format!("{:020}-{second}.json", manifest.position));
    let beside = path.with_extension("tmp");
    let body = serde_json::to_value(manifest)
        .map_err(|error| failed("write", &path)(std::io::Error::other(error)))?;
    let text = checked::write(FORMAT, &body);
    let mut file: File = create(&beside)?;
    file.write_all(text.as_bytes()).map_err(failed("write", &beside))?;
    settle(file, &beside, &path)?;
    Ok(path)
}
