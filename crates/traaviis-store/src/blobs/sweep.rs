//! Removing blobs that nothing refers to, and comparing blobs with their names.
//!
//! Nothing counts references: whoever counts wrongly after a crash loses a value. Instead the lines
//! of the log and of the archive are read, and what they do not name goes. Lines that are on their
//! way keep what they name until they can be seen, and what they name while a sweep reads is kept
//! by it.

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
};

use traaviis_model::{TenantId, limits::BLOB_BYTES_MAX};
use traaviis_ports::{
    LogError,
    disk::{Access, Disk, DiskFile},
};
use uuid::Uuid;

use super::{BLOBS, Blobs, DIGITS, Hash, Name, TENANTS, cut};
use crate::{
    archive::FileArchive,
    disk::OsDisk,
    error::io_error,
    files::{self, unhex_into},
    line,
    reader::Reader,
};

/// Bytes of lines between two calls of `pace`.
const PIECE_BYTES: u64 = 1 << 20;

/// Says whether a path below a data directory is that of a blob.
pub(crate) fn is_blob(path: &Path) -> bool {
    let names: Vec<&str> = path.iter().filter_map(|it| it.to_str()).collect();
    let &[tenants, tenant, blobs, digits, name] = &*names else { return false };
    (tenants, blobs) == (TENANTS, BLOBS)
        && Uuid::try_parse(tenant).is_ok()
        && hash_of(digits, name).is_some()
}

fn hash_of(digits: &str, name: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    let is_it = unhex_into(name, &mut hash) && name.get(..DIGITS) == Some(digits);
    is_it.then_some(Hash(hash)).filter(|it| it.to_string() == name)
}

/// Removes the blobs that neither the log nor the archive names.
///
/// Where something cannot be read, nothing is removed: what stood there may be mended.
pub(crate) fn sweep<D: Disk>(
    archive: &FileArchive<D>,
    reader: &Reader<D>,
    pace: &mut dyn FnMut(u64) -> bool,
) -> Result<(), LogError> {
    let Some(mut sweep) = archive.blobs().sweep()? else { return Ok(()) };
    let (mut passed, mut goes_on) = (0, true);
    reader.scan_while(0, &mut |it| {
        passed += it.bytes.len() as u64;
        if passed >= PIECE_BYTES {
            goes_on = pace(std::mem::take(&mut passed));
        }
        sweep.line(it.bytes);
        goes_on
    })?;
    let are_whole = archive.each_line(&mut |it| sweep.line(it))?;
    match goes_on && are_whole && reader.damage().is_empty() {
        true => sweep.finish(),
        false => Ok(()),
    }
}

/// Returns the blobs that a line names.
pub(crate) fn named(line: &[u8]) -> Vec<Name> {
    let Some(references) = cut::references(line) else { return Vec::new() };
    let Some(((tenant, _), _)) = line::key(line) else { return Vec::new() };
    references.iter().map(|it| (tenant, it.hash)).collect()
}

/// A sweep that is under way.
struct Sweep<'a, D: Disk> {
    blobs: &'a Blobs<D>,
    named: HashSet<Name>,
}

impl<D: Disk> Blobs<D> {
    /// Begins a sweep; none when there are no blobs. One at a time: the caller compacts the log.
    fn sweep(&self) -> Result<Option<Sweep<'_, D>>, LogError> {
        if self.all()?.is_empty() {
            return Ok(None);
        }
        let mut state = self.state();
        state.late = Some(state.kept.keys().copied().collect());
        Ok(Some(Sweep { blobs: self, named: HashSet::new() }))
    }

    /// Returns the path of a blob below the data directory, and where it is.
    pub(crate) fn path_of(&self, (tenant, hash): Name) -> (PathBuf, PathBuf) {
        let name = hash.to_string();
        let path = self.dir(tenant, &name).join(name);
        let below = path.strip_prefix(&self.data).unwrap_or(&path).to_path_buf();
        (below, path)
    }

    /// Returns all blobs there are.
    fn all(&self) -> Result<Vec<Name>, LogError> {
        let mut found = Vec::new();
        for (tenant, digits, dir) in self.dirs()? {
            let names = self.list(&dir)?;
            let hashes = names.iter().filter_map(|it| hash_of(&digits, it));
            found.extend(hashes.map(|it| (tenant, it)));
        }
        Ok(found)
    }

    /// Removes what a crash left half written.
    fn remove_halves(&self) -> Result<(), LogError> {
        for (_, _, dir) in self.dirs()? {
            // Nothing is being written meanwhile.
            let _state = self.state();
            for name in self.list(&dir)?.iter().filter(|it| it.ends_with(".tmp")) {
                let path = dir.join(name);
                self.disk.remove(&path).map_err(|error| io_error("remove", &path, error))?;
            }
        }
        Ok(())
    }

    /// Returns the directories that blobs stand in, with the digits that name them.
    fn dirs(&self) -> Result<Vec<(TenantId, String, PathBuf)>, LogError> {
        let (mut found, tenants) = (Vec::new(), self.data.join(TENANTS));
        for tenant in self.list(&tenants)? {
            let Ok(id) = Uuid::try_parse(&tenant) else { continue };
            let dir = tenants.join(&tenant).join(BLOBS);
            for digits in self.list(&dir)?.into_iter().filter(|it| it.len() == DIGITS) {
                let dir = dir.join(&digits);
                found.push((TenantId(id), digits, dir));
            }
        }
        Ok(found)
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>, LogError> {
        files::list(&self.disk, dir).map_err(|error| io_error("list", dir, error))
    }
}

impl<D: Disk> Sweep<'_, D> {
    /// Keeps what a line names.
    fn line(&mut self, line: &[u8]) {
        self.named.extend(named(line));
    }

    /// Removes what no line names.
    fn finish(self) -> Result<(), LogError> {
        self.blobs.remove_halves()?;
        for name in self.blobs.all()? {
            // Held while it goes: nobody finds it there meanwhile.
            let mut state = self.blobs.state();
            let is_late = state.late.as_ref().is_none_or(|it| it.contains(&name));
            if self.named.contains(&name) || is_late {
                continue;
            }
            let (_, path) = self.blobs.path_of(name);
            self.blobs.disk.remove(&path).map_err(|it| io_error("remove", &path, it))?;
            state.changed.insert(name.0);
        }
        Ok(())
    }
}

impl<D: Disk> Drop for Sweep<'_, D> {
    fn drop(&mut self) {
        self.blobs.state().late = None;
    }
}

/// What a look at all blobs found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files whose bytes are not those of their names.
    pub damaged: Vec<PathBuf>,
}

/// Returns the paths of all blobs below a data directory, with `/` between names.
pub(crate) fn names(data: &Path) -> Result<Vec<String>, LogError> {
    let blobs = Blobs::new(OsDisk, data);
    let below = |it| blobs.path_of(it).0.to_string_lossy().into_owned();
    Ok(blobs.all()?.into_iter().map(below).collect())
}

/// Reads all blobs of a data directory and compares them with their names.
pub fn check(data: &Path) -> Result<Checked, LogError> {
    let checked = Blobs::new(OsDisk, data).check(&mut |_| true)?;
    Ok(checked.unwrap_or_default())
}

impl<D: Disk> Blobs<D> {
    /// Reads all blobs and compares them with their names; nothing when `pace`, which is told how
    /// many bytes were read, wants no more.
    pub(crate) fn check(
        &self,
        pace: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Option<Checked>, LogError> {
        let mut checked = Checked::default();
        for name in self.all()? {
            let (below, path) = self.path_of(name);
            let file = match self.disk.open(&path, Access::Read) {
                // Swept meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other.map_err(|error| io_error("open", &path, error))?,
            };
            let len = file.len().map_err(|error| io_error("measure", &path, error))?;
            checked.files += 1;
            checked.bytes += len;
            let is_whole = len <= BLOB_BYTES_MAX && self.read(name.0, name.1, len).is_ok();
            // One that was swept while it was read is not damaged.
            if !is_whole && self.disk.open(&path, Access::Read).is_ok() {
                checked.damaged.push(below);
            }
            if !pace(len) {
                return Ok(None);
            }
        }
        Ok(Some(checked))
    }
}
