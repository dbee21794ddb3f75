//! Unpacking an export into a folder, believing nothing of it.
//!
//! The manifest comes first and names every file with its length and hash. What follows must be
//! these files and nothing else: a name leads nowhere but to a file of the manifest, and no more is
//! written than it announces.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::{Component, Path},
};

use flate2::read::GzDecoder;
use tar::{Archive, Entries, EntryType};
use traaviis_model::limits::{EXPORT_LIST_BYTES_MAX, EXPORT_RATIO_MAX};

use super::{DOCUMENTS, Entry, Error, LOCKED, MANIFEST, Manifest, ORDER, SEALED, failed};
use crate::{
    backup::{copy, create},
    disk::{Disk as _, OsDisk},
    tree::TREE_DIR,
};

type Unpacking = Archive<GzDecoder<io::BufReader<File>>>;

fn damaged(file: &Path, why: impl Into<String>) -> Error {
    Error::Damaged { file: file.display().to_string(), why: why.into() }
}

fn open(file: &Path) -> Result<(Unpacking, u64), Error> {
    let packed = File::open(file).map_err(failed("open", file))?;
    let bytes = packed.metadata().map_err(failed("look at", file))?.len();
    Ok((Archive::new(GzDecoder::new(io::BufReader::new(packed))), bytes))
}

fn entries<'a>(
    file: &Path,
    archive: &'a mut Unpacking,
) -> Result<Entries<'a, GzDecoder<io::BufReader<File>>>, Error> {
    // As they stand there: what would lengthen a name or name another file is no plain file.
    let entries = archive.entries().map_err(|error| damaged(file, error.to_string()))?;
    Ok(entries.raw(true))
}

fn first<R: Read>(file: &Path, entries: &mut Entries<'_, R>) -> Result<Manifest, Error> {
    let wrong = |error: io::Error| damaged(file, error.to_string());
    let mut entry = entries.next().ok_or_else(|| damaged(file, "it is empty"))?.map_err(wrong)?;
    let is_it = entry.header().entry_type() == EntryType::Regular
        && &*entry.path_bytes() == MANIFEST.as_bytes();
    if !is_it {
        return Err(damaged(file, format!("it does not begin with `{MANIFEST}`")));
    }
    if entry.size() > EXPORT_LIST_BYTES_MAX {
        return Err(damaged(file, "its manifest is longer than one may be"));
    }
    let mut text = Vec::new();
    entry.read_to_end(&mut text).map_err(wrong)?;
    Manifest::read(&file.display().to_string(), &text)
}

/// Refuses a manifest that names files elsewhere, twice, or more bytes than an export of this size
/// can hold.
fn judge(file: &Path, manifest: &Manifest, packed: u64) -> Result<(), Error> {
    let tenant = manifest.tenant;
    let roots = [
        format!("{TREE_DIR}/{tenant}/"),
        format!("tenants/{tenant}/archived/"),
        format!("tenants/{tenant}/blobs/"),
        format!("tenants/{tenant}/secrets/"),
        format!("system/keys/{tenant}/"),
        format!("{SEALED}/"),
    ];
    let mut before: Option<&str> = None;
    for entry in &manifest.files {
        let path = &*entry.path;
        let is_inside = Path::new(path).components().all(|it| matches!(it, Component::Normal(_)))
            && !path.contains("//");
        let is_known = path == DOCUMENTS
            || path == ORDER
            || path == LOCKED
            || roots.iter().any(|root| path.starts_with(&**root));
        if !is_inside || !is_known {
            return Err(damaged(file, format!("it names `{path}`, which is no file of an export")));
        }
        if before.is_some_and(|before| before >= path) {
            return Err(damaged(file, format!("it names `{path}` twice, or out of order")));
        }
        before = Some(path);
    }
    let bytes = manifest.bytes();
    if bytes / packed.max(1) > EXPORT_RATIO_MAX {
        let why = format!("it claims to hold more than {EXPORT_RATIO_MAX} times its own size");
        return Err(damaged(file, why));
    }
    Ok(())
}

/// Unpacks an export into a folder and compares every byte with the manifest.
pub fn unpack(file: &Path, folder: &Path) -> Result<Manifest, Error> {
    let wrong = |error: io::Error| damaged(file, error.to_string());
    let (mut archive, bytes) = open(file)?;
    let mut entries = entries(file, &mut archive)?;
    let manifest = first(file, &mut entries)?;
    judge(file, &manifest, bytes)?;
    // Scratch: what a crash leaves of it is unpacked again.
    OsDisk.create_dir(folder).map_err(failed("create", folder))?;
    let free = rustix::fs::statvfs(folder);
    let free = free.map_err(|error| failed("look at", folder)(error.into()))?;
    room(folder, manifest.bytes(), free.f_bavail.saturating_mul(free.f_frsize))?;
    let mut expected: BTreeMap<&[u8], &Entry> =
        manifest.files.iter().map(|it| (it.path.as_bytes(), it)).collect();
    for entry in entries {
        let mut entry = entry.map_err(wrong)?;
        let name = entry.path_bytes().into_owned();
        let shown = String::from_utf8_lossy(&name).into_owned();
        if entry.header().entry_type() != EntryType::Regular {
            return Err(damaged(file, format!("`{shown}` in it is no plain file")));
        }
        let Some(wanted) = expected.remove(&*name) else {
            return Err(damaged(file, format!("`{shown}` in it is not in its manifest")));
        };
        if entry.size() != wanted.bytes {
            return Err(damaged(file, format!("`{shown}` in it has another length")));
        }
        let place = folder.join(&wanted.path);
        place
            .parent()
            .map_or(Ok(()), |it| OsDisk.create_dir(it))
            .map_err(failed("create", &place))?;
        let mut to = create(&place)?;
        let found = copy(&mut entry, &mut to, wanted.bytes);
        let found = found.map_err(|error| match traaviis_ports::disk::is_full(&error) {
            true => Error::Log(traaviis_ports::LogError::Full),
            false => wrong(error),
        })?;
        if found != (wanted.bytes, wanted.sha256.clone()) {
            return Err(damaged(file, format!("`{shown}` in it holds other bytes")));
        }
    }
    if let Some(entry) = expected.into_values().next() {
        return Err(damaged(file, format!("`{}` is missing in it", entry.path)));
    }
    Ok(manifest)
}

/// Refuses to fill the disk with what it has no room for.
fn room(folder: &Path, bytes: u64, free: u64) -> Result<(), Error> {
    if bytes < free {
        return Ok(());
    }
    let why = format!("the export needs {bytes} bytes there, and {free} are free");
    Err(failed("unpack into", folder)(io::Error::other(why)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_without_room_is_not_filled() {
        let told = |bytes, free| room(Path::new("there"), bytes, free).map_err(|it| it.to_string());
        assert_eq!(told(9, 10), Ok(()));
        let why = "cannot unpack into `there`: the export needs 10 bytes there, and 10 are free";
        assert_eq!(told(10, 10), Err(why.to_string()));
    }
}
