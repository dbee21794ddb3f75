//! Packing the folder of an export into one file.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
};

use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};
use traaviis_model::{InstanceId, Timestamp};

use super::{DOCUMENTS, Entry, Error, LOCKED, MANIFEST, Manifest, ORDER, SEALED, Source, failed};
use crate::{
    backup::{copy, create, settle},
    tree::TREE_DIR,
};

/// An export that was made.
#[derive(Clone, Debug)]
pub struct Packed {
    /// What is in it.
    pub manifest: Manifest,
    /// Bytes of the file.
    pub bytes: u64,
}

/// What is not in an export.
#[derive(Clone, Debug, Default)]
pub struct LeftOut {
    /// Instances whose history is damaged.
    pub damaged: Vec<InstanceId>,
    /// Places of the log that are.
    pub damage: Vec<String>,
    /// Names of secrets.
    pub secrets: Vec<String>,
}

/// What an export cannot go without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Histories about people.
    pub sealed: bool,
    /// Documents of a server.
    pub ledger: bool,
}

/// Writes everything beside the tree, which stands in `folder` already, and packs the folder; none
/// when instances were archived meanwhile. What is locked stands there as well, and `locked_for`
/// says for whom. The file gets its name when it is whole.
pub fn pack(
    source: &Source,
    folder: &Path,
    (left_out, locked_for): (LeftOut, Vec<String>),
    now: Timestamp,
    file: &Path,
) -> Result<Option<Packed>, Error> {
    let written = source.write(folder, &left_out.damaged)?;
    if !source.stands()? {
        return Ok(None);
    }
    let tenant = source.tenant();
    if locked_for.is_empty() {
        let what = match written.needs {
            Needs { ledger: true, .. } => Some("members and documents of a server"),
            Needs { sealed: true, .. } => Some("instances about people, whose values are sealed"),
            _ => None,
        };
        if let Some(what) = what {
            return Err(Error::KeysNeeded(tenant, what));
        }
    }
    let mut files = Vec::new();
    for path in [DOCUMENTS, ORDER] {
        files.push(entry(folder, path.into())?);
    }
    if folder.join(LOCKED).exists() {
        files.push(entry(folder, LOCKED.into())?);
    }
    for dir in [
        format!("{TREE_DIR}/{tenant}"),
        format!("tenants/{tenant}"),
        format!("system/keys/{tenant}"),
        SEALED.to_owned(),
    ] {
        list(folder, &dir, &mut files)?;
    }
    let damaged: Vec<String> = left_out.damaged.iter().map(|it| it.to_string()).collect();
    files
        .retain(|it| !it.path.split('/').any(|name| damaged.iter().any(|id| name.starts_with(id))));
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let manifest = Manifest {
        tenant,
        created_at: now,
        position: source.position(),
        instances: written.instances,
        archived: written.archived,
        records: written.records,
        ledger: written.ledger,
        locked_for,
        secrets_left_out: left_out.secrets,
        damaged_left_out: left_out.damaged,
        damage: left_out.damage,
        files,
    };
    let beside = beside(file);
    let packed = write(folder, &manifest, &beside);
    if packed.is_err() {
        // Half a file helps nobody.
        let _ = fs::remove_file(&beside);
    }
    settle(&packed?, &beside, file)?;
    let bytes = fs::metadata(file).map_err(failed("look at", file))?.len();
    Ok(Some(Packed { manifest, bytes }))
}

fn beside(file: &Path) -> PathBuf {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    file.with_file_name(format!("{name}.tmp"))
}

fn list(folder: &Path, dir: &str, files: &mut Vec<Entry>) -> Result<(), Error> {
    let path = folder.join(dir);
    let entries = match fs::read_dir(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(failed("list", &path))?,
    };
    for found in entries {
        let found = found.map_err(failed("list", &path))?;
        let name = format!("{dir}/{}", found.file_name().to_string_lossy());
        match found.path().is_dir() {
            true => list(folder, &name, files)?,
            false => files.push(entry(folder, name)?),
        }
    }
    Ok(())
}

fn entry(folder: &Path, path: String) -> Result<Entry, Error> {
    let place = folder.join(&path);
    let mut file = File::open(&place).map_err(failed("open", &place))?;
    let found = copy(&mut file, &mut io::sink(), u64::MAX).map_err(failed("read", &place))?;
    Ok(Entry { path, bytes: found.0, sha256: found.1 })
}

/// Writes the file; the same folder gives the same bytes.
fn write(folder: &Path, manifest: &Manifest, to: &Path) -> Result<File, Error> {
    let wrong = failed("write", to);
    let file = BufWriter::new(create(to)?);
    let packer = GzBuilder::new().mtime(0).write(file, Compression::default());
    let mut tar = Builder::new(packer);
    let text = manifest.write();
    let head = header(MANIFEST, text.len() as u64).map_err(&wrong)?;
    tar.append(&head, &*text).map_err(&wrong)?;
    for entry in &manifest.files {
        let place = folder.join(&entry.path);
        let from = File::open(&place).map_err(failed("open", &place))?;
        let head = header(&entry.path, entry.bytes).map_err(&wrong)?;
        tar.append(&head, from).map_err(&wrong)?;
    }
    let packer = tar.into_inner().map_err(&wrong)?;
    let mut file = packer.finish().map_err(&wrong)?;
    file.flush().map_err(&wrong)?;
    file.into_inner().map_err(|it| wrong(it.into_error()))
}

/// Returns the header of a plain file; a path that does not fit one is an error.
fn header(path: &str, bytes: u64) -> io::Result<Header> {
    let mut header = Header::new_ustar();
    header.set_path(path)?;
    header.set_size(bytes);
    header.set_mode(0o600);
    header.set_mtime(0);
    header.set_entry_type(EntryType::Regular);
    header.set_cksum();
    Ok(header)
}
