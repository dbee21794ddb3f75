//! A disk that crashes, tears, lies about nothing and runs full on demand.
//!
//! Files live in memory in two states: what a running process sees, and what is durable. Writes not
//! yet synced are kept as a list; a crash keeps, loses or tears each of them at sectors of 512
//! bytes, independently, so later writes may survive earlier ones. Names not yet synced survive as
//! a prefix of what was done in their directory, as in a journaling file system.
//!
//! A failed sync drops its dirty pages as Linux does: the running process still reads them, some
//! are durable, and a second sync says "well" without writing the others.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use traaviis_ports::disk::{Access, Disk, DiskFile};

use crate::rng::Rng;

const SECTOR: usize = 512;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The machine stops in the middle of the call; everything fails until [`SimDisk::restart`].
    Crash,
    /// The call fails; part of a write may have happened.
    Eio,
    /// There is no space for the call; part of a write may have happened.
    Enospc,
    /// A write writes less than asked for. Other calls do not notice.
    ShortWrite,
}

/// The disk; clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

/// An open file of the disk.
#[derive(Debug)]
pub struct SimFile {
    state: Arc<Mutex<State>>,
    inode: usize,
    access: Access,
    /// Handles of a process that crashed are of no use to the next one.
    life: u64,
}

#[derive(Debug)]
struct State {
    rng: Rng,
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    pending_names: Vec<NameChange>,
    dirs: Vec<PathBuf>,
    calls: u64,
    faults: Vec<(u64, Fault)>,
    space: Option<u64>,
    is_crashed: bool,
    is_read_only: bool,
    life: u64,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Len(usize),
}

#[derive(Clone, Debug)]
enum NameChange {
    Create(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl NameChange {
    fn dir(&self) -> Option<&Path> {
        match self {
            NameChange::Create(path, _) | NameChange::Remove(path) => path.parent(),
            NameChange::Rename(_, to) => to.parent(),
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            NameChange::Create(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            NameChange::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            NameChange::Remove(path) => {
                names.remove(path);
            }
        }
    }
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Change::Len(len) => to.resize(*len, 0),
            Change::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if to.len() < end {
                    to.resize(end, 0);
                }
                to[*offset..end].copy_from_slice(bytes);
            }
        }
    }

    /// Applies what a crash leaves of the change.
    fn apply_torn(&self, to: &mut Vec<u8>, rng: &mut Rng) {
        let Change::Write { offset, bytes } = self else {
            if rng.chance(1, 2) {
                self.apply(to);
            }
            return;
        };
        // All, nothing, or sector by sector.
        let mode = rng.below(3);
        let mut at = 0;
        while at < bytes.len() {
            let to_sector_end = SECTOR - (offset + at) % SECTOR;
            let end = bytes.len().min(at + to_sector_end);
            if mode == 0 || (mode == 2 && rng.chance(1, 2)) {
                let part = bytes[at..end].to_vec();
                Change::Write { offset: offset + at, bytes: part }.apply(to);
            }
            at = end;
        }
    }
}

/// How far a call gets.
enum Verdict {
    Go,
    Short,
    Fail(io::Error),
}

impl State {
    /// Counts a persistence call and says what becomes of it.
    fn call(&mut self) -> Result<Verdict, io::Error> {
        self.check_alive()?;
        if self.is_read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        self.calls += 1;
        let now = self.calls;
        let due = self.faults.iter().position(|(at, _)| *at == now);
        Ok(match due.map(|due| self.faults.swap_remove(due).1) {
            None => Verdict::Go,
            Some(Fault::ShortWrite) => Verdict::Short,
            Some(Fault::Eio) => Verdict::Fail(io::Error::from_raw_os_error(5)),
            Some(Fault::Enospc) => Verdict::Fail(io::ErrorKind::StorageFull.into()),
            Some(Fault::Crash) => {
                self.is_crashed = true;
                Verdict::Fail(crashed())
            }
        })
    }

    /// As [`State::call`], for calls that happen whole or not at all.
    fn whole_call(&mut self) -> io::Result<()> {
        match self.call()? {
            Verdict::Go | Verdict::Short => Ok(()),
            Verdict::Fail(error) => Err(error),
        }
    }

    fn check_alive(&self) -> io::Result<()> {
        if self.is_crashed { Err(crashed()) } else { Ok(()) }
    }

    fn used(&self) -> u64 {
        let held = self.names.values().map(|inode| self.inodes[*inode].bytes.len() as u64);
        held.sum()
    }

    fn check_space(&self, more: usize) -> io::Result<()> {
        match self.space {
            Some(space) if self.used() + more as u64 > space => {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }

    fn change(&mut self, inode: usize, change: Change) {
        let inode = &mut self.inodes[inode];
        change.apply(&mut inode.bytes);
        inode.pending.push(change);
    }

    fn change_name(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.pending_names.push(change);
    }
}

fn crashed() -> io::Error {
    io::Error::other("the simulated machine has stopped")
}

impl SimDisk {
    /// Makes an empty disk; what is lost in crashes follows from the seed.
    pub fn new(seed: u64) -> SimDisk {
        let state = State {
            rng: Rng::new(seed),
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: Vec::new(),
            dirs: Vec::new(),
            calls: 0,
            faults: Vec::new(),
            space: None,
            is_crashed: false,
            is_read_only: false,
            life: 0,
        };
        SimDisk { state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how many persistence calls were made: creations, writes, reservations, syncs, cuts,
    /// renames and removals.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Plans a fault for the call with this number, counted from 1 over the disk's life.
    pub fn fail_at(&self, call: u64, fault: Fault) {
        self.state().faults.push((call, fault));
    }

    /// Limits the sum of all file lengths.
    pub fn set_space(&self, bytes: Option<u64>) {
        self.state().space = bytes;
    }

    /// Makes the disk refuse every change.
    pub fn set_read_only(&self, is_read_only: bool) {
        self.state().is_read_only = is_read_only;
    }

    /// Says whether the machine has stopped.
    pub fn is_crashed(&self) -> bool {
        self.state().is_crashed
    }

    /// Stops the machine now, if it has not, and starts it again with what is durable and what of
    /// the rest the disk happened to write. Open files are gone, planned faults forgotten.
    pub fn restart(&self) {
        let state = &mut *self.state();
        let mut kept: BTreeMap<PathBuf, usize> = BTreeMap::new();
        for change in std::mem::take(&mut state.pending_names) {
            let dir = change.dir().unwrap_or(Path::new("")).to_path_buf();
            // A prefix of each directory's changes: once one is lost, so are the ones after it.
            let lost = *kept.entry(dir).or_insert_with(|| state.rng.index(4));
            if lost > 0 {
                change.apply(&mut state.durable_names);
                let dir = change.dir().unwrap_or(Path::new("")).to_path_buf();
                let goes_on = if state.rng.chance(1, 2) { lost } else { lost - 1 };
                kept.insert(dir, goes_on);
            }
        }
        for inode in &mut state.inodes {
            let mut pending = std::mem::take(&mut inode.pending);
            // Reordering shows only where changes overlap, which needs them shuffled.
            if state.rng.chance(1, 2) {
                state.rng.shuffle(&mut pending);
            }
            for change in pending {
                change.apply_torn(&mut inode.durable, &mut state.rng);
            }
            inode.bytes = inode.durable.clone();
        }
        state.names = state.durable_names.clone();
        state.faults.clear();
        state.is_crashed = false;
        state.life += 1;
    }

    /// Ends the process but not the machine: everything written stays, open files are gone.
    pub fn kill_process(&self) {
        let mut state = self.state();
        state.life += 1;
        state.faults.clear();
    }

    /// Makes everything durable.
    pub fn settle(&self) {
        let state = &mut *self.state();
        state.pending_names.clear();
        state.durable_names = state.names.clone();
        for inode in &mut state.inodes {
            inode.pending.clear();
            inode.durable = inode.bytes.clone();
        }
    }

    /// Returns the paths of all files, sorted.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.state().names.keys().cloned().collect()
    }

    /// Returns a file's bytes; nothing when it does not exist.
    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        state.names.get(path).map(|inode| state.inodes[*inode].bytes.clone())
    }

    /// Replaces a file's bytes durably, making it if needed; for damage on purpose.
    pub fn set_bytes(&self, path: &Path, bytes: Vec<u8>) {
        let state = &mut *self.state();
        let inode = Inode { durable: bytes.clone(), bytes, pending: Vec::new() };
        state.inodes.push(inode);
        let number = state.inodes.len() - 1;
        state.names.insert(path.to_path_buf(), number);
        state.durable_names.insert(path.to_path_buf(), number);
    }

    /// Flips one bit of a file durably.
    pub fn flip_bit(&self, path: &Path, bit: usize) {
        if let Some(mut bytes) = self.bytes(path) {
            bytes[bit / 8] ^= 1 << (bit % 8);
            self.set_bytes(path, bytes);
        }
    }

    /// Returns a disk of its own with the same content, all of it durable.
    pub fn copy(&self, seed: u64) -> SimDisk {
        let disk = SimDisk::new(seed);
        for path in self.paths() {
            disk.set_bytes(&path, self.bytes(&path).unwrap_or_default());
        }
        disk.state().dirs = self.state().dirs.clone();
        disk
    }

    fn file(&self, inode: usize, access: Access, life: u64) -> SimFile {
        SimFile { state: self.state.clone(), inode, access, life }
    }
}

impl Disk for SimDisk {
    type File = SimFile;

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.check_alive()?;
        if state.is_read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        // Directories are durable at once: the log makes them before it promises anything.
        for dir in dir.ancestors() {
            if !state.dirs.iter().any(|known| known == dir) {
                state.dirs.push(dir.to_path_buf());
            }
        }
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<SimFile> {
        let mut state = self.state();
        state.whole_call()?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.inodes.push(Inode::default());
        let inode = state.inodes.len() - 1;
        state.change_name(NameChange::Create(path.to_path_buf(), inode));
        let life = state.life;
        drop(state);
        Ok(self.file(inode, Access::Write, life))
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<SimFile> {
        let state = self.state();
        state.check_alive()?;
        let Some(inode) = state.names.get(path).copied() else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let life = state.life;
        drop(state);
        Ok(self.file(inode, access, life))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.whole_call()?;
        if state.names.contains_key(from) {
            state.change_name(NameChange::Rename(from.to_path_buf(), to.to_path_buf()));
            return Ok(());
        }
        // A directory is all files in it; that they move one by one is more than a crash does.
        let inside = state.names.keys().filter_map(|it| it.strip_prefix(from).ok());
        let inside: Vec<PathBuf> = inside.map(Path::to_path_buf).collect();
        if inside.is_empty() && !state.dirs.iter().any(|it| it == from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        for name in inside {
            state.change_name(NameChange::Rename(from.join(&name), to.join(&name)));
        }
        state.dirs.retain(|it| !it.starts_with(from));
        state.dirs.push(to.to_path_buf());
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.check_alive()?;
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.whole_call()?;
        state.change_name(NameChange::Remove(path.to_path_buf()));
        Ok(())
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.whole_call()?;
        let mut known = state.names.keys().chain(&state.dirs);
        if known.any(|it| it != dir && it.starts_with(dir)) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let before = state.dirs.len();
        state.dirs.retain(|it| it != dir);
        match state.dirs.len() < before {
            true => Ok(()),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        state.check_alive()?;
        let known = state.names.keys().chain(&state.dirs);
        let inside = known.filter_map(|path| path.strip_prefix(dir).ok()?.components().next());
        let names: BTreeSet<String> =
            inside.map(|name| name.as_os_str().to_string_lossy().into_owned()).collect();
        Ok(names.into_iter().collect())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let state = &mut *self.state();
        state.whole_call()?;
        let (done, left) = std::mem::take(&mut state.pending_names)
            .into_iter()
            .partition(|change: &NameChange| change.dir() == Some(dir));
        state.pending_names = left;
        done.iter().for_each(|change| change.apply(&mut state.durable_names));
        Ok(())
    }

    fn sync_all(&self, _: &Path) -> io::Result<()> {
        self.state().whole_call()?;
        self.settle();
        Ok(())
    }
}

impl SimFile {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.check_alive()?;
        if state.life != self.life {
            return Err(io::Error::other("the file was open in a process that is gone"));
        }
        Ok(state)
    }

    fn state_to_change(&self) -> io::Result<MutexGuard<'_, State>> {
        if self.access == Access::Read {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.state()
    }
}

impl DiskFile for SimFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut state = self.state_to_change()?;
        let offset = offset as usize;
        let verdict = state.call()?;
        let end = offset + bytes.len();
        let growth = end.saturating_sub(state.inodes[self.inode].bytes.len());
        let full = state.check_space(growth).err();
        let is_whole = matches!(verdict, Verdict::Go) && full.is_none();
        let written = if is_whole { bytes.len() } else { state.rng.index(bytes.len().max(1)) };
        // A full disk still takes what falls into the space that the file has.
        let room = state.inodes[self.inode].bytes.len().saturating_sub(offset);
        let written = if full.is_some() { written.min(room) } else { written };
        if written > 0 {
            let bytes = bytes[..written].to_vec();
            state.change(self.inode, Change::Write { offset, bytes });
        }
        match (verdict, full) {
            (Verdict::Fail(error), _) | (_, Some(error)) => Err(error),
            (Verdict::Short, None) if written == 0 => Err(io::ErrorKind::Interrupted.into()),
            (Verdict::Go | Verdict::Short, None) => Ok(written),
        }
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.state()?;
        let held = &state.inodes[self.inode].bytes;
        let start = held.len().min(offset as usize);
        let read = bytes.len().min(held.len() - start);
        bytes[..read].copy_from_slice(&held[start..start + read]);
        Ok(read)
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        let mut state = self.state_to_change()?;
        let held = state.inodes[self.inode].bytes.len();
        let len = len as usize;
        state.whole_call()?;
        state.check_space(len.saturating_sub(held))?;
        if len > held {
            state.change(self.inode, Change::Len(len));
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let state = &mut *self.state_to_change()?;
        let verdict = state.call()?;
        let inode = &mut state.inodes[self.inode];
        match verdict {
            Verdict::Go | Verdict::Short => {
                std::mem::take(&mut inode.pending)
                    .iter()
                    .for_each(|change| change.apply(&mut inode.durable));
                Ok(())
            }
            Verdict::Fail(error) if state.is_crashed => Err(error),
            Verdict::Fail(error) => {
                // The pages are marked clean whether they were written or not.
                for change in std::mem::take(&mut inode.pending) {
                    change.apply_torn(&mut inode.durable, &mut state.rng);
                }
                Err(error)
            }
        }
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut state = self.state_to_change()?;
        state.whole_call()?;
        state.change(self.inode, Change::Len(len as usize));
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.state()?.inodes[self.inode].bytes.len() as u64)
    }
}
