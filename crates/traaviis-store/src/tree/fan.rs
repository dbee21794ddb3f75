//! Directories that fan out: beyond some thousands of entries they are divided by the end of ids.
//!
//! Invariant: where an entry stands depends on which entries there are and not on the order in
//! which they came, as long as none is removed; a division that a crash interrupts is finished when
//! the directory is looked at next.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
};

use traaviis_model::limits::TREE_ENTRIES_MAX;
use traaviis_ports::disk::Disk;

use super::path::{digits_of, fan_name, is_fan_name};
use crate::files::list;

/// How often a directory is divided: 16 million times its entries.
const LEVELS_MAX: usize = 3;
/// Directories of which the number of entries is remembered; about a megabyte.
const DIRS_MAX: usize = 4_096;

/// What is known about directories.
#[derive(Debug)]
pub(crate) struct Fans {
    entries_max: usize,
    known: HashMap<PathBuf, Dir>,
}

#[derive(Clone, Copy, Debug)]
struct Dir {
    entries: usize,
    is_divided: bool,
}

impl Fans {
    pub(crate) fn new(entries_max: Option<usize>) -> Fans {
        Fans { entries_max: entries_max.unwrap_or(TREE_ENTRIES_MAX), known: HashMap::new() }
    }

    /// Forgets everything, after something failed half-way.
    pub(crate) fn forget(&mut self) {
        self.known.clear();
    }

    /// Says whether room for a new entry is made by dividing a directory.
    pub(crate) fn divides<D: Disk>(
        &mut self,
        disk: &D,
        dir: &Path,
        digits: &str,
    ) -> io::Result<bool> {
        let (_, end) = self.walk(disk, dir, digits)?;
        Ok(end.is_some_and(|it| it.entries >= self.entries_max))
    }

    /// Learns that an entry was removed.
    pub(crate) fn removed(&mut self, dir: &Path) {
        if let Some(known) = self.known.get_mut(dir) {
            known.entries = known.entries.saturating_sub(1);
        }
    }

    /// Returns the directory in which an entry stands, or would if it were not new.
    pub(crate) fn find<D: Disk>(
        &mut self,
        disk: &D,
        dir: &Path,
        digits: &str,
    ) -> io::Result<PathBuf> {
        Ok(self.walk(disk, dir, digits)?.0)
    }

    /// Goes down to where an entry stands; also returns that directory, unless it is on the last
    /// level, which is never divided.
    fn walk<D: Disk>(
        &mut self,
        disk: &D,
        dir: &Path,
        digits: &str,
    ) -> io::Result<(PathBuf, Option<Dir>)> {
        let mut dir = dir.to_path_buf();
        for level in 0..LEVELS_MAX {
            let found = self.look(disk, &dir, level)?;
            if !found.is_divided {
                return Ok((dir, Some(found)));
            }
            dir.push(fan_name(digits, level));
        }
        Ok((dir, None))
    }

    /// Returns the directory for a new entry, which is counted.
    pub(crate) fn place<D: Disk>(
        &mut self,
        disk: &D,
        dir: &Path,
        digits: &str,
    ) -> io::Result<PathBuf> {
        let mut dir = dir.to_path_buf();
        for level in 0..=LEVELS_MAX {
            let found = self.look(disk, &dir, level)?;
            if !found.is_divided && (found.entries < self.entries_max || level == LEVELS_MAX) {
                break;
            }
            if !found.is_divided {
                self.divide(disk, &dir, level)?;
            }
            dir.push(fan_name(digits, level));
        }
        disk.create_dir(&dir)?;
        self.known.entry(dir.clone()).or_insert(Dir { entries: 0, is_divided: false }).entries += 1;
        Ok(dir)
    }

    fn look<D: Disk>(&mut self, disk: &D, dir: &Path, level: usize) -> io::Result<Dir> {
        if let Some(known) = self.known.get(dir) {
            return Ok(*known);
        }
        if self.known.len() >= DIRS_MAX {
            self.known.clear();
        }
        let names = list(disk, dir)?;
        let entries = names.iter().filter(|it| digits_of(it).is_some()).count();
        let is_divided = names.iter().any(|it| is_fan_name(it));
        let found = Dir { entries, is_divided };
        self.known.insert(dir.to_path_buf(), found);
        if is_divided && entries > 0 {
            // A crash came between.
            self.divide(disk, dir, level)?;
            return Ok(Dir { entries: 0, is_divided });
        }
        Ok(found)
    }

    /// Moves every entry one level down.
    fn divide<D: Disk>(&mut self, disk: &D, dir: &Path, level: usize) -> io::Result<()> {
        for name in list(disk, dir)? {
            let Some(digits) = digits_of(&name) else { continue };
            let below = dir.join(fan_name(&digits, level));
            disk.create_dir(&below)?;
            disk.rename(&dir.join(&name), &below.join(&name))?;
        }
        self.known.retain(|it, _| !it.starts_with(dir));
        self.known.insert(dir.to_path_buf(), Dir { entries: 0, is_divided: true });
        // New places of old entries last before anything counts on them.
        disk.sync_all(dir)
    }
}
