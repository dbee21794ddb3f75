//! Large values beside the log: one file for each, named by the hash of its bytes.
//!
//! ```text
//! DATA/tenants/{tenant}/blobs/{first 2 digits}/{sha256}
//! ```
//!
//! A line of the log or of the archive with a large value in it is written with a reference in its
//! place ([`cut`]); whoever reads it gets the line whole again, byte for byte. What is sealed is
//! sealed before it comes here, so a blob of a person is worth nothing without their key.
//!
//! Responsible for the files, and for what in a line refers to them; which lines there are belongs
//! to the log and the archive.
//!
//! Invariants: a file is durable before a line that refers to it is written; it gets its name only
//! when its bytes are durable; the same value of one tenant is there once; a file that no line
//! refers to is removed only while none that is on its way does ([`mod@sweep`]); a file whose
//! bytes are not those of its name makes only the lines unreadable that refer to it.

mod cut;
mod sweep;

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap, HashSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sha2::{Digest, Sha256};
use traaviis_model::{
    TenantId,
    limits::{BLOB_BYTES_MAX, BLOB_BYTES_MIN},
};
use traaviis_ports::{
    Append, Commit, CommitSink, Line, Lines, LogError, Position,
    disk::{Access, Disk, DiskFile, is_full},
};

use crate::{
    checkpoint::{WriteError, write_atomically},
    error::io_error,
    files::hex,
    line,
    reader::Reader,
};

pub(crate) use cut::Hash;
pub use sweep::{Checked, check};
pub(crate) use sweep::{is_blob, named, names, sweep};

/// Directory of all tenants.
const TENANTS: &str = "tenants";
/// Directory of a tenant's blobs.
const BLOBS: &str = "blobs";
/// Digits of a hash that name the directory above its file.
const DIGITS: usize = 2;
/// Bytes compared at once.
const PIECE_BYTES: usize = 256 << 10;

/// The blobs of a data directory.
pub(crate) struct Blobs<D: Disk> {
    disk: D,
    data: PathBuf,
    state: Mutex<State>,
}

/// A blob of a tenant.
pub(crate) type Name = (TenantId, Hash);

#[derive(Default)]
struct State {
    /// Directories whose names, and whose files' names, are durable; a process before this one may
    /// have ended between naming a file and that.
    durable: HashSet<PathBuf>,
    /// What lines refer to that are on their way, and how many of them.
    kept: HashMap<Name, u32>,
    /// While a sweep is under way: what lines refer to that it may not have seen.
    late: Option<HashSet<Name>>,
    /// Tenants of whom files came or went, of the archive as well, since somebody asked.
    changed: BTreeSet<TenantId>,
}

/// Why the bytes of a blob are not to be had.
enum Bad {
    /// It is not there, or not as it was written.
    Damaged(String),
    Failed(LogError),
}

impl<D: Disk> Blobs<D> {
    /// Returns the blobs under a data directory; nothing is made before the first.
    pub(crate) fn new(disk: D, data: &Path) -> Blobs<D> {
        Blobs { disk, data: data.to_path_buf(), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change of it is one call; a panic between two leaves what is true.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dir(&self, tenant: TenantId, hash: &str) -> PathBuf {
        self.data.join(TENANTS).join(tenant.to_string()).join(BLOBS).join(&hash[..DIGITS])
    }

    /// Notes that a file of a tenant came or went; called once it has.
    pub(crate) fn note_change(&self, tenant: TenantId) {
        self.state().changed.insert(tenant);
    }

    /// Returns the tenants of whom files came or went since this was called last.
    pub(crate) fn take_changed(&self) -> BTreeSet<TenantId> {
        std::mem::take(&mut self.state().changed)
    }

    // --- Writing ----------------------------------------------------------------------------

    /// Makes the large values of an append durable and puts references in their place. They are
    /// kept as long as what is returned lives.
    pub(crate) fn take_from(
        self: &Arc<Self>,
        tenant: TenantId,
        append: &mut Append,
    ) -> Result<Option<Kept<D>>, LogError> {
        if !may_be_large(&append.lines) {
            return Ok(None);
        }
        let (mut out, mut kept) = (Vec::new(), None);
        for line in line::each(append.lines.write()) {
            self.take_line(tenant, line, &mut out, &mut kept)?;
            out.push(b'\n');
        }
        append.lines = out.into();
        Ok(kept)
    }

    /// The same for lines of their own.
    pub(crate) fn take_from_lines<'a>(
        self: &Arc<Self>,
        tenant: TenantId,
        lines: &'a [Vec<u8>],
    ) -> Result<TakenFrom<'a, D>, LogError> {
        let (mut outs, mut kept) = (Vec::with_capacity(lines.len()), None);
        for line in lines {
            let mut out = Vec::new();
            outs.push(match self.take_line(tenant, line, &mut out, &mut kept)? {
                Taken::Some => Cow::Owned(out),
                Taken::Nothing => Cow::Borrowed(line.as_slice()),
            });
        }
        Ok((outs, kept))
    }

    fn take_line(
        self: &Arc<Self>,
        tenant: TenantId,
        line: &[u8],
        out: &mut Vec<u8>,
        kept: &mut Option<Kept<D>>,
    ) -> Result<Taken, LogError> {
        let spans = cut::large(line, BLOB_BYTES_MIN);
        if spans.is_empty() {
            out.extend_from_slice(line);
            return Ok(Taken::Nothing);
        }
        let kept = kept.get_or_insert_with(|| Kept { blobs: Arc::clone(self), names: Vec::new() });
        let mut references = Vec::with_capacity(spans.len());
        for span in spans {
            let bytes = &line[span.clone()];
            let hash = Hash::of(bytes);
            kept.add((tenant, hash));
            self.put(tenant, hash, bytes)?;
            references.push((span, hash));
        }
        cut::write(line, &references, out);
        Ok(Taken::Some)
    }

    /// Makes a blob durable, unless it is there.
    fn put(&self, tenant: TenantId, hash: Hash, bytes: &[u8]) -> Result<(), LogError> {
        let name = hash.to_string();
        let dir = self.dir(tenant, &name);
        let path = dir.join(&name);
        let mut state = self.state();
        // One that is damaged is written again: here are the bytes that it should have.
        if self.holds(&path, bytes)? {
            if !state.durable.contains(&dir) {
                self.make_names_durable(&dir)?;
                state.durable.insert(dir);
            }
            return Ok(());
        }
        if !state.durable.contains(&dir) {
            self.disk.create_dir(&dir).map_err(|error| io_error("create", &dir, error))?;
            self.make_names_durable(&dir)?;
            state.durable.insert(dir.clone());
        }
        write_atomically(&self.disk, &dir, &name, &[bytes]).map_err(|error| match error {
            // What it says about the disk holds for the log too.
            WriteError::Sync(error) => LogError::Failed(format!("sync of a blob: {error}").into()),
            other => match other.into_io() {
                error if is_full(&error) => LogError::Full,
                error => io_error("write", &path, error),
            },
        })?;
        state.changed.insert(tenant);
        Ok(())
    }

    fn make_names_durable(&self, dir: &Path) -> Result<(), LogError> {
        for it in dir.ancestors().take_while(|it| it.starts_with(&self.data)) {
            self.disk.sync_dir(it).map_err(|error| match is_full(&error) {
                true => LogError::Full,
                false => LogError::Failed(format!("sync of `{}`: {error}", it.display()).into()),
            })?;
        }
        Ok(())
    }

    /// Says whether a file has exactly these bytes.
    fn holds(&self, path: &Path, bytes: &[u8]) -> Result<bool, LogError> {
        let read = |error| io_error("read", path, error);
        let Some(file) = self.open(path)? else { return Ok(false) };
        if file.len().map_err(read)? != bytes.len() as u64 {
            return Ok(false);
        }
        let (mut piece, mut at) = (vec![0; PIECE_BYTES], 0);
        for expected in bytes.chunks(PIECE_BYTES) {
            let found = file.read_full_at(&mut piece[..expected.len()], at).map_err(read)?;
            if piece[..found] != *expected {
                return Ok(false);
            }
            at += found as u64;
        }
        Ok(true)
    }

    fn open(&self, path: &Path) -> Result<Option<D::File>, LogError> {
        match self.disk.open(path, Access::Read) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("open", path, error)),
        }
    }

    // --- Reading ----------------------------------------------------------------------------

    /// Returns a line with its large values in it, or one that says why it cannot be read.
    pub(crate) fn whole<'a>(&self, line: &'a [u8]) -> Result<Cow<'a, [u8]>, LogError> {
        let Some(references) = cut::references(line) else { return Ok(Cow::Borrowed(line)) };
        let Some(((tenant, _), _)) = line::key(line) else { return Ok(Cow::Borrowed(line)) };
        let mut values = Vec::with_capacity(references.len());
        for it in &references {
            match self.read(tenant, it.hash, it.bytes) {
                Ok(bytes) => values.push(bytes),
                Err(Bad::Damaged(why)) => {
                    let why = format!("a large value of the record cannot be read: {why}");
                    return Ok(Cow::Owned(line::unreadable(line, &why)));
                }
                Err(Bad::Failed(error)) => return Err(error),
            }
        }
        Ok(Cow::Owned(cut::whole(line, &references, &values)))
    }

    /// Puts the large values into lines.
    pub(crate) fn make_whole(&self, lines: &mut [Vec<u8>]) -> Result<(), LogError> {
        for line in lines {
            if let Cow::Owned(whole) = self.whole(line)? {
                *line = whole;
            }
        }
        Ok(())
    }

    /// Lets a visitor see whole lines; the first failure ends it.
    pub(crate) fn visit(
        &self,
        it: Line<'_>,
        failed: &mut Option<LogError>,
        visit: &mut dyn FnMut(Line<'_>) -> bool,
    ) -> bool {
        match self.whole(it.bytes) {
            Ok(bytes) => visit(Line { bytes: &bytes, ..it }),
            Err(error) => {
                *failed = Some(error);
                false
            }
        }
    }

    fn read(&self, tenant: TenantId, hash: Hash, len: u64) -> Result<Vec<u8>, Bad> {
        let name = hash.to_string();
        let path = self.dir(tenant, &name).join(&name);
        let damaged = |why: &str| Bad::Damaged(format!("`{}` {why}", path.display()));
        let failed = |error| Bad::Failed(io_error("read", &path, error));
        let Some(file) = self.open(&path).map_err(Bad::Failed)? else {
            return Err(damaged("is missing"));
        };
        if len > BLOB_BYTES_MAX || file.len().map_err(failed)? != len {
            return Err(damaged("has another length than it was written with"));
        }
        let mut bytes = vec![0; len as usize];
        let read = file.read_full_at(&mut bytes, 0).map_err(failed)?;
        match read == bytes.len() && Hash::of(&bytes) == hash {
            true => Ok(bytes),
            false => Err(damaged("holds other bytes than its name says")),
        }
    }
}

/// Returns the bytes of a line with its large values in it.
pub(crate) fn whole_len(line: &[u8]) -> usize {
    let values = cut::references(line).unwrap_or_default();
    let values = values.iter().map(|it| usize::try_from(it.bytes).unwrap_or(usize::MAX));
    values.fold(line.len(), usize::saturating_add)
}

/// Says whether a value in lines may be large; cheap where none is.
pub(crate) fn may_be_large(lines: &Lines) -> bool {
    match lines {
        Lines::Ready(lines) => lines.len() > BLOB_BYTES_MIN,
        Lines::Of(records) => records.iter().any(|it| it.body.bytes() > BLOB_BYTES_MIN),
    }
}

/// Visits whole lines of a log; see [`Reader::scan`].
pub(crate) fn scan<D: Disk>(
    blobs: &Blobs<D>,
    reader: &Reader<D>,
    from: Position,
    visit: &mut dyn FnMut(Line<'_>),
) -> Result<Position, LogError> {
    let mut failed = None;
    let end = reader.scan(from, &mut |it| {
        if failed.is_none() {
            blobs.visit(it, &mut failed, &mut |it| {
                visit(it);
                true
            });
        }
    })?;
    failed.map_or(Ok(end), Err)
}

/// Visits whole lines of a log; see [`Reader::scan_while`].
pub(crate) fn scan_while<D: Disk>(
    blobs: &Blobs<D>,
    reader: &Reader<D>,
    from: Position,
    visit: &mut dyn FnMut(Line<'_>) -> bool,
) -> Result<(), LogError> {
    let mut failed = None;
    reader.scan_while(from, &mut |it| blobs.visit(it, &mut failed, visit))?;
    failed.map_or(Ok(()), Err)
}

/// Lines with references in the place of large values, and what keeps those.
type TakenFrom<'a, D> = (Vec<Cow<'a, [u8]>>, Option<Kept<D>>);

/// What was found in a line.
enum Taken {
    Nothing,
    Some,
}

/// Blobs that stay while lines that refer to them are on their way.
pub(crate) struct Kept<D: Disk> {
    blobs: Arc<Blobs<D>>,
    names: Vec<Name>,
}

impl<D: Disk> Kept<D> {
    fn add(&mut self, name: Name) {
        let mut state = self.blobs.state();
        *state.kept.entry(name).or_default() += 1;
        if let Some(late) = &mut state.late {
            late.insert(name);
        }
        self.names.push(name);
    }
}

impl<D: Disk> Drop for Kept<D> {
    fn drop(&mut self) {
        let mut state = self.blobs.state();
        for name in &self.names {
            if let Some(count) = state.kept.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    state.kept.remove(name);
                }
            }
        }
    }
}

/// Tells the outcome of one append, and lets go of its blobs.
pub(crate) struct Keeping<D: Disk> {
    sink: Arc<dyn CommitSink>,
    _kept: Kept<D>,
}

impl<D: Disk + 'static> Keeping<D> {
    pub(crate) fn sink(sink: &Arc<dyn CommitSink>, kept: Kept<D>) -> Arc<dyn CommitSink> {
        Arc::new(Keeping { sink: Arc::clone(sink), _kept: kept })
    }
}

impl<D: Disk> CommitSink for Keeping<D> {
    fn committed(&self, outcomes: &mut dyn Iterator<Item = (u64, Commit)>) {
        self.sink.committed(outcomes);
    }
}

impl Hash {
    fn of(bytes: &[u8]) -> Hash {
        Hash(Sha256::digest(bytes).into())
    }
}

impl std::fmt::Display for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex(&self.0))
    }
}
