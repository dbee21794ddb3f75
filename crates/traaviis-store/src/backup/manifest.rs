//! What a backup consists of: a file of its own in the target, checked by a hash of its body.

use std::{
    io::{Read as _, Write as _},
    path::Path,
};

use serde::{Deserialize, Serialize};
use traaviis_model::Timestamp;
use traaviis_ports::{BackupTarget, Position};

use super::{Error, FORMAT, FORMAT_ENCRYPTED, FORMAT_OPEN, failed};
use crate::{
    checked::{self, Wrong},
    keys::root::RootId,
};

/// Where a target has them.
const DIR: &str = "manifests";
/// Largest manifest that is read: some hundred thousand files.
const BYTES_MAX: u64 = 256 << 20;

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
    /// Who can open what is stored; nobody when it is in the open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
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
    /// SHA-256 of what is stored, which names the object.
    pub sha256: String,
    /// Length of what is stored, where that is encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_stored: Option<u64>,
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
    /// SHA-256 of what is stored, which names the object.
    pub sha256: String,
    /// Length of what is stored, where that is encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_stored: Option<u64>,
    /// Time of its last change, for finding out whether it has to be read again.
    pub changed_at: Timestamp,
}

impl Manifest {
    /// Returns the length of everything in it.
    pub fn bytes(&self) -> u64 {
        let segments = self.segments.iter().map(|it| it.bytes);
        segments.chain(self.files.iter().map(|it| it.bytes)).sum()
    }

    /// Says whether what is stored is encrypted.
    pub fn is_encrypted(&self) -> bool {
        !self.recipients.is_empty()
    }

    /// Returns what is stored.
    pub(super) fn objects(&self) -> impl Iterator<Item = Object<'_>> {
        let segments = self.segments.iter().map(|it| Object {
            sha256: &it.sha256,
            bytes: it.bytes,
            bytes_stored: it.bytes_stored.unwrap_or(it.bytes),
            what: format!("segment {}", it.first),
        });
        segments.chain(self.files.iter().map(|it| Object {
            sha256: &it.sha256,
            bytes: it.bytes,
            bytes_stored: it.bytes_stored.unwrap_or(it.bytes),
            what: format!("file `{}`", it.path),
        }))
    }
}

/// Something that is stored.
pub(super) struct Object<'a> {
    /// SHA-256 of what is stored.
    pub sha256: &'a str,
    /// Length of what it holds.
    pub bytes: u64,
    /// Its own length.
    pub bytes_stored: u64,
    /// What it is, for people.
    pub what: String,
}

/// Returns the names of all manifests in a target, the oldest first.
pub fn list(target: &dyn BackupTarget) -> Result<Vec<String>, Error> {
    let names = target.list(DIR)?.into_iter().map(|it| it.name);
    Ok(names.filter(|it| it.ends_with(".json")).collect())
}

/// Returns the position that the name of a manifest tells, whatever is in it.
pub fn position_of(name: &str) -> Option<Position> {
    name.rsplit('/').next()?.get(..20)?.parse().ok()
}

/// Reads a manifest and checks it.
pub fn read(target: &dyn BackupTarget, name: &str) -> Result<Manifest, Error> {
    let shown = target.show(name);
    let damaged = |why: String| Error::Damaged(format!("manifest `{shown}`: {why}"));
    let from = target.open(name)?.ok_or_else(|| damaged("it is gone".into()))?;
    let mut text = Vec::new();
    from.take(BYTES_MAX).read_to_end(&mut text).map_err(failed("read", Path::new(&shown)))?;
    let body = checked::read(&text, FORMAT).map_err(|it| match it {
        Wrong::Form(error) => damaged(error.to_string()),
        Wrong::Newer(found) => Error::Newer { path: shown.clone(), found },
        Wrong::Checksum => damaged("its checksum does not fit".into()),
    })?;
    let manifest: Manifest = serde_json::from_value(body).map_err(|it| damaged(it.to_string()))?;
    let is_hash = |it: &str| it.len() == 64 && it.bytes().all(|it| it.is_ascii_hexdigit());
    let without = manifest.objects().find(|it| !is_hash(it.sha256)).map(|it| it.what);
    match without {
        Some(what) => Err(damaged(format!("{what} has no hash"))),
        None => Ok(manifest),
    }
}

/// Writes a manifest durably and returns its name.
pub(super) fn write(target: &dyn BackupTarget, manifest: &Manifest) -> Result<String, Error> {
    let second = manifest.created_at.to_string().replace(':', "-");
    let name = format!("{DIR}/{:020}-{second}.json", manifest.position);
    let shown = target.show(&name);
    let failed = failed("write", Path::new(&shown));
    let body = serde_json::to_value(manifest).map_err(|it| failed(std::io::Error::other(it)))?;
    let format = if manifest.is_encrypted() { FORMAT_ENCRYPTED } else { FORMAT_OPEN };
    let mut draft = target.draft()?;
    draft.write_all(checked::write(format, &body).as_bytes()).map_err(failed)?;
    draft.keep(&name)?;
    Ok(name)
}
