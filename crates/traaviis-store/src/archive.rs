//! The archive: one file for each instance that ended long ago.
//!
//! ```text
//! DATA/tenants/{tenant}/archived/instances/{id}.json.gz
//! DATA/tenants/{tenant}/archived/instances/{first 6 digits}/{id}.json.gz
//! DATA/tenants/{tenant}/archived/instances/{first 6}/{first 8}/{id}.json.gz
//! ```
//!
//! A file is one JSON document, packed by gzip: an envelope whose `body` stands last, and in it the
//! records, each on a line of its own and byte for byte as the log had it, with large values in
//! [`crate::blobs`]. The checksum is over the
//! bytes of the body. A directory with `ARCHIVE_DIR_ENTRIES_MAX` entries takes no more files; those
//! go one level down, so an id has at most three places.
//!
//! Invariants: a file gets its name only when its bytes are durable, so it is whole or absent; a
//! name whose durability is in doubt is taken away again; nothing is overwritten that is whole.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashSet},
    io::{self, Read, Write},
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use flate2::{Compression, GzBuilder, read::GzDecoder};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use traaviis_model::{
    InstanceId, Seq, TenantCtx, TenantId, Timestamp,
    limits::{ARCHIVE_BYTES_MAX, ARCHIVE_DIR_ENTRIES_MAX},
};
use traaviis_ports::{
    LogError, Part, Position,
    archive::{Archive, ArchiveSize, Archived, ArchivedHistory},
    disk::{Access, Disk, DiskFile},
};
use uuid::Uuid;

use crate::{
    blobs::{self, Blobs, Checked},
    checkpoint::{WriteError, write_atomically},
    disk::OsDisk,
    error::io_error,
    files, line,
    reader::Reader,
};

/// Version of the envelope.
const FORMAT: u32 = 1;
/// Directory of all tenants.
const TENANTS: &str = "tenants";
/// End of a file's name.
const SUFFIX: &str = ".json.gz";
/// Digits of an id that name the directories above its file, one level after another: of an id made
/// by time, some 5 hours, then 65 seconds.
const LEVELS: [usize; 2] = [6, 8];
/// What stands between the envelope's keys and its body.
const BODY: &[u8] = b",\"body\":";
/// What stands between the summary and the records.
const RECORDS: &[u8] = b",\"records\":[\n";
/// Directories whose number of entries is remembered.
const COUNTS_MAX: usize = 1_000;

/// The keys of the envelope before its body.
#[derive(Serialize, Deserialize)]
struct Envelope {
    format: u32,
    kind: String,
    tenant_id: TenantId,
    id: InstanceId,
    version: u32,
    seq: Seq,
    updated_at: Timestamp,
    delete_at: Timestamp,
    checksum: String,
}

/// The archive under a data directory.
pub struct FileArchive<D: Disk> {
    disk: D,
    data: PathBuf,
    blobs: Arc<Blobs<D>>,
    known: Mutex<Known>,
}

/// What this process has seen of the directories.
#[derive(Default)]
struct Known {
    /// Those whose own name is durable.
    durable: HashSet<PathBuf>,
    /// How many entries they have.
    counts: BTreeMap<PathBuf, usize>,
}

impl<D: Disk + Clone> FileArchive<D> {
    /// Returns the archive under a data directory; nothing is made before the first file.
    pub fn new(disk: D, data: &Path) -> FileArchive<D> {
        let blobs = Arc::new(Blobs::new(disk.clone(), data));
        FileArchive { disk, data: data.to_path_buf(), blobs, known: Mutex::default() }
    }
}

impl<D: Disk> FileArchive<D> {
    /// Returns where its large values are, and those of the log beside it.
    pub(crate) fn blobs(&self) -> &Arc<Blobs<D>> {
        &self.blobs
    }

    /// Returns the blobs that the file of an instance names, each once.
    pub(crate) fn blobs_of(
        &self,
        tenant: TenantId,
        id: InstanceId,
    ) -> Result<BTreeSet<blobs::Name>, LogError> {
        let history = self.read(tenant, id)?;
        let lines = history.iter().flat_map(|it| &it.lines);
        Ok(lines.flat_map(|it| blobs::named(it)).collect())
    }

    /// Visits every record in it as it stands in its file, and says whether all could be read.
    pub(crate) fn each_line(&self, visit: &mut dyn FnMut(&[u8])) -> Result<bool, LogError> {
        let mut are_whole = true;
        for tenant in self.tenants()? {
            for id in self.ids(tenant)? {
                match self.read(tenant, id) {
                    Ok(history) => {
                        history.iter().flat_map(|it| &it.lines).for_each(|it| visit(it));
                    }
                    Err(LogError::ArchiveDamaged { .. }) => are_whole = false,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(are_whole)
    }

    /// Reads every file and checks that all in it fits together; nothing when `pace`, which is told
    /// how many bytes were read, wants no more.
    pub(crate) fn check(
        &self,
        pace: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Option<Checked>, LogError> {
        let mut checked = Checked::default();
        for tenant in self.tenants()? {
            for id in self.ids(tenant)? {
                // Removed meanwhile.
                let Some((path, file)) = self.find(tenant, id)? else { continue };
                let bytes = file.len().map_err(|error| io_error("measure", &path, error))?;
                checked.files += 1;
                checked.bytes += bytes;
                match self.read(tenant, id) {
                    Err(LogError::ArchiveDamaged { path, .. }) => checked.damaged.push(path.into()),
                    read => drop(read?),
                }
                if !pace(bytes) {
                    return Ok(None);
                }
            }
        }
        Ok(Some(checked))
    }

    /// Returns the instances of a tenant that have a file.
    fn ids(&self, tenant: TenantId) -> Result<Vec<InstanceId>, LogError> {
        let mut ids = Vec::new();
        self.each(tenant, &mut |_, _, id| {
            ids.push(id);
            Ok(())
        })?;
        Ok(ids)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // What it guards is a cache; whatever a panic left in it is true.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn root(&self, tenant: TenantId) -> PathBuf {
        self.data.join(TENANTS).join(tenant.to_string()).join("archived").join("instances")
    }

    /// Returns the directories in which the file of an instance may stand.
    fn places(&self, tenant: TenantId, id: InstanceId) -> [PathBuf; 3] {
        let digits = id.0.simple().to_string();
        let root = self.root(tenant);
        let first = root.join(&digits[..LEVELS[0]]);
        let second = first.join(&digits[..LEVELS[1]]);
        [root, first, second]
    }

    /// Finds the file of an instance.
    fn find(
        &self,
        tenant: TenantId,
        id: InstanceId,
    ) -> Result<Option<(PathBuf, D::File)>, LogError> {
        let name = file_name(id);
        for dir in self.places(tenant, id) {
            let path = dir.join(&name);
            match self.disk.open(&path, Access::Read) {
                Ok(file) => return Ok(Some((path, file))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(io_error("open", &path, error)),
            }
        }
        Ok(None)
    }

    fn read(&self, tenant: TenantId, id: InstanceId) -> Result<Option<ArchivedHistory>, LogError> {
        let Some((path, file)) = self.find(tenant, id)? else { return Ok(None) };
        let text = match unpack(&file) {
            Ok(text) => text,
            Err(error) if is_content(&error) => return Err(damaged(id, &path, error)),
            Err(error) => return Err(io_error("read", &path, error)),
        };
        match decode((tenant, id), &text) {
            Ok(history) => Ok(Some(history)),
            Err(Wrong::Newer(found)) => {
                let path = path.display().to_string();
                Err(LogError::Newer { path, found, known: FORMAT })
            }
            Err(Wrong::Content(why)) => Err(damaged(id, &path, why)),
        }
    }

    /// Returns the bytes of the file of an instance, checked.
    pub(crate) fn file(
        &self,
        tenant: TenantId,
        id: InstanceId,
    ) -> Result<Option<(Vec<u8>, Seq)>, LogError> {
        let Some(history) = self.read(tenant, id)? else { return Ok(None) };
        let Some((path, file)) = self.find(tenant, id)? else { return Ok(None) };
        let mut packed = vec![0; file.len().unwrap_or_default() as usize];
        let read = file.read_full_at(&mut packed, 0);
        let read = read.map_err(|error| io_error("read", &path, error))?;
        packed.truncate(read);
        Ok(Some((packed, history.entry.seq)))
    }

    /// Returns the directory that takes the next file of an instance, durably made.
    fn place_for(&self, tenant: TenantId, id: InstanceId) -> Result<PathBuf, LogError> {
        let places = self.places(tenant, id);
        for dir in &places[..places.len() - 1] {
            self.make(dir)?;
            if self.count(dir)? < ARCHIVE_DIR_ENTRIES_MAX {
                return Ok(dir.clone());
            }
        }
        let [.., last] = places;
        self.make(&last)?;
        Ok(last)
    }

    /// Makes a directory and the names of all above it durable.
    fn make(&self, dir: &Path) -> Result<(), LogError> {
        if self.known().durable.contains(dir) {
            return Ok(());
        }
        self.disk.create_dir(dir).map_err(|error| io_error("create", dir, error))?;
        let above = dir.ancestors().skip(1).take_while(|it| it.starts_with(&self.data));
        for parent in above {
            self.disk.sync_dir(parent).map_err(|error| io_error("sync", parent, error))?;
        }
        let mut known = self.known();
        if known.durable.len() >= COUNTS_MAX {
            known.durable.clear();
        }
        known.durable.insert(dir.to_path_buf());
        Ok(())
    }

    fn count(&self, dir: &Path) -> Result<usize, LogError> {
        if let Some(count) = self.known().counts.get(dir) {
            return Ok(*count);
        }
        let count = self.names(dir)?.len();
        let mut known = self.known();
        if known.counts.len() >= COUNTS_MAX {
            known.counts.clear();
        }
        known.counts.insert(dir.to_path_buf(), count);
        Ok(count)
    }

    /// Returns the names in a directory; none when it does not exist.
    fn names(&self, dir: &Path) -> Result<Vec<String>, LogError> {
        files::list(&self.disk, dir).map_err(|error| io_error("list", dir, error))
    }

    /// Returns the tenants that have a directory.
    pub(crate) fn tenants(&self) -> Result<Vec<TenantId>, LogError> {
        let names = self.names(&self.data.join(TENANTS))?;
        Ok(names.iter().filter_map(|it| Uuid::try_parse(it).ok()).map(TenantId).collect())
    }

    /// Visits the files of a tenant: the directory, the name, the id.
    fn each(
        &self,
        tenant: TenantId,
        visit: &mut dyn FnMut(&Path, &str, InstanceId) -> Result<(), LogError>,
    ) -> Result<(), LogError> {
        self.each_in(&self.root(tenant), 0, visit)
    }

    fn each_in(
        &self,
        dir: &Path,
        level: usize,
        visit: &mut dyn FnMut(&Path, &str, InstanceId) -> Result<(), LogError>,
    ) -> Result<(), LogError> {
        for name in self.names(dir)? {
            match id_of(&name) {
                Some(id) => visit(dir, &name, id)?,
                None if LEVELS.get(level) == Some(&name.len()) => {
                    self.each_in(&dir.join(&name), level + 1, visit)?;
                }
                // Half of a file that was being written, or nothing of ours.
                None => {}
            }
        }
        Ok(())
    }
}

/// Reads every file of the archive of a data directory.
pub fn check(data: &Path) -> Result<Checked, LogError> {
    let checked = FileArchive::new(OsDisk, data).check(&mut |_| true)?;
    Ok(checked.unwrap_or_default())
}

impl<D: Disk> Archive for FileArchive<D> {
    fn put(&self, ctx: &TenantCtx, history: &ArchivedHistory) -> Result<(), LogError> {
        let (tenant, id) = (ctx.tenant(), history.entry.id);
        let dir = match self.find(tenant, id)? {
            None => self.place_for(tenant, id)?,
            Some((path, _)) => match self.read(tenant, id) {
                // One that cannot be read is made again: who puts it has all its records.
                Err(LogError::ArchiveDamaged { .. }) => {
                    path.parent().unwrap_or(&self.data).to_path_buf()
                }
                other => return other.map(drop),
            },
        };
        let (lines, _kept) = self.blobs.take_from_lines(tenant, &history.lines)?;
        let packed = encode(tenant, &history.entry, &lines);
        let packed = packed.map_err(|error| io_error("pack", &self.data, error))?;
        let name = file_name(id);
        let written = write_atomically(&self.disk, &dir, &name, &[&packed]);
        if let Err(error) = written {
            if matches!(error, WriteError::Sync(_)) {
                // It may look whole and not be durable; then nobody may rely on it.
                let _ = self.disk.remove(&dir.join(&name));
            }
            return Err(match error.into_io() {
                error if traaviis_ports::disk::is_full(&error) => LogError::Full,
                error => io_error("write", &dir.join(&name), error),
            });
        }
        if let Some(count) = self.known().counts.get_mut(&dir) {
            *count += 1;
        }
        self.blobs.note_change(tenant);
        Ok(())
    }

    fn get(&self, ctx: &TenantCtx, id: InstanceId) -> Result<Option<ArchivedHistory>, LogError> {
        let Some(mut history) = self.read(ctx.tenant(), id)? else { return Ok(None) };
        self.blobs.make_whole(&mut history.lines)?;
        Ok(Some(history))
    }

    fn ids(
        &self,
        ctx: &TenantCtx,
        after: Option<InstanceId>,
        limit: usize,
    ) -> Result<Vec<InstanceId>, LogError> {
        let mut ids = Vec::new();
        self.each(ctx.tenant(), &mut |_, _, id| {
            if after.is_none_or(|after| id < after) {
                ids.push(id);
            }
            Ok(())
        })?;
        ids.sort_unstable_by(|a, b| b.cmp(a));
        ids.truncate(limit);
        Ok(ids)
    }

    fn holds(&self, tenant: TenantId, id: InstanceId) -> Result<bool, LogError> {
        Ok(self.find(tenant, id)?.is_some())
    }

    fn whole(&self, tenant: TenantId, id: InstanceId) -> Result<Option<Seq>, LogError> {
        match self.read(tenant, id) {
            Ok(history) => Ok(history.map(|it| it.entry.seq)),
            Err(LogError::ArchiveDamaged { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn expired(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<(TenantId, InstanceId)>, LogError> {
        let mut expired = Vec::new();
        for tenant in self.tenants()? {
            let mut candidates = Vec::new();
            self.each(tenant, &mut |dir, name, id| {
                let path = dir.join(name);
                let file = self.disk.open(&path, Access::Read);
                let told = file.and_then(|it| header_seconds(&it));
                let told = told.map_err(|error| io_error("read", &path, error))?;
                if told <= seconds(now) {
                    candidates.push(id);
                }
                Ok(())
            })?;
            candidates.sort_unstable();
            for id in candidates {
                if expired.len() >= limit {
                    return Ok(expired);
                }
                let head = match self.read(tenant, id) {
                    Ok(history) => history,
                    // A damaged one is kept until somebody has looked at it.
                    Err(LogError::ArchiveDamaged { .. }) => continue,
                    Err(error) => return Err(error),
                };
                if head.is_some_and(|it| it.entry.delete_at <= now) {
                    expired.push((tenant, id));
                }
            }
        }
        Ok(expired)
    }

    fn remove(&self, tenant: TenantId, id: InstanceId) -> Result<(), LogError> {
        let Some((path, _)) = self.find(tenant, id)? else { return Ok(()) };
        let gone = |error| io_error("remove", &path, error);
        self.disk.remove(&path).map_err(gone)?;
        self.blobs.note_change(tenant);
        let Some(dir) = path.parent() else { return Ok(()) };
        self.disk.sync_dir(dir).map_err(gone)?;
        if let Some(count) = self.known().counts.get_mut(dir) {
            *count = count.saturating_sub(1);
        }
        Ok(())
    }

    fn is_empty(&self) -> Result<bool, LogError> {
        Ok(self.tenants()?.is_empty())
    }

    fn size(&self) -> Result<ArchiveSize, LogError> {
        let mut size = ArchiveSize::default();
        for tenant in self.tenants()? {
            self.each(tenant, &mut |dir, name, _| {
                let path = dir.join(name);
                let file = self.disk.open(&path, Access::Read);
                let bytes = file.and_then(|it| it.len());
                size.bytes += bytes.map_err(|error| io_error("measure", &path, error))?;
                size.instances += 1;
                Ok(())
            })?;
        }
        Ok(size)
    }
}

/// Returns a part of a history, `limit` records from one on: of an archived one from the archive,
/// of any other from the log, where it is looked for within some positions and cut after so many
/// bytes.
pub(crate) fn part<D: Disk>(
    archive: &FileArchive<D>,
    reader: &Reader<D>,
    ctx: &TenantCtx,
    id: InstanceId,
    (from, limit): (Seq, usize),
    (within, bytes_max): (Range<Position>, usize),
) -> Result<Part, LogError> {
    if let Some(history) = archive.get(ctx, id)? {
        let passed = usize::try_from(from.saturating_sub(1)).unwrap_or(usize::MAX);
        let lines = history.lines.into_iter().skip(passed).take(limit).collect();
        return Ok(Part { lines, next: 0, is_cut: false });
    }
    let mut part = reader.read((ctx.tenant(), id), from, limit, within, bytes_max)?;
    archive.blobs().make_whole(&mut part.lines)?;
    Ok(part)
}

/// Reads the bytes of a file that stands elsewhere.
pub(crate) fn read_file(
    key: line::StreamKey,
    path: &Path,
    packed: &[u8],
) -> Result<ArchivedHistory, LogError> {
    let wrong = |why: String| damaged(key.1, path, why);
    let mut text = Vec::new();
    let mut unpacked = GzDecoder::new(packed).take(ARCHIVE_BYTES_MAX + 1);
    unpacked.read_to_end(&mut text).map_err(|error| wrong(error.to_string()))?;
    if text.len() as u64 > ARCHIVE_BYTES_MAX {
        return Err(wrong("it is larger than a file may be".into()));
    }
    decode(key, &text).map_err(|it| match it {
        Wrong::Newer(found) => {
            LogError::Newer { path: path.display().to_string(), found, known: FORMAT }
        }
        Wrong::Content(why) => wrong(why),
    })
}

pub(crate) fn file_name(id: InstanceId) -> String {
    format!("{id}{SUFFIX}")
}

pub(crate) fn id_of(name: &str) -> Option<InstanceId> {
    name.strip_suffix(SUFFIX)?.parse().ok()
}

fn damaged(id: InstanceId, path: &Path, why: impl ToString) -> LogError {
    // Callers are told as well, and where a data directory stands is no business of theirs.
    let parts: Vec<_> = path.iter().collect();
    let from = parts.iter().rposition(|it| *it == TENANTS).unwrap_or(0);
    let path: PathBuf = parts[from..].iter().collect();
    let (path, why) = (path.display().to_string(), why.to_string().into());
    LogError::ArchiveDamaged { stream: id, path, why }
}

/// Says whether an error is about what is in the file, and not about reading it.
fn is_content(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof)
}

// --- The file -----------------------------------------------------------------------------------

fn encode(tenant: TenantId, entry: &Archived, lines: &[Cow<'_, [u8]>]) -> io::Result<Vec<u8>> {
    let mut body = b"{\"summary\":".to_vec();
    body.extend_from_slice(&entry.summary);
    body.extend_from_slice(RECORDS);
    for (at, line) in lines.iter().enumerate() {
        if at > 0 {
            body.extend_from_slice(b",\n");
        }
        body.extend_from_slice(line);
    }
    body.extend_from_slice(b"\n]}");
    let envelope = Envelope {
        format: FORMAT,
        kind: "instance".into(),
        tenant_id: tenant,
        id: entry.id,
        version: 1,
        seq: entry.seq,
        updated_at: entry.finished_at,
        delete_at: entry.delete_at,
        checksum: checksum(&body),
    };
    let mut head = serde_json::to_vec(&envelope)?;
    // The brace that ends the envelope comes after the body.
    head.pop();
    // The time in the header is when the file may be deleted, so that looking for those that may
    // unpacks none of the others. The same history gives the same file.
    let mut packer =
        GzBuilder::new().mtime(seconds(entry.delete_at)).write(Vec::new(), Compression::default());
    for part in [&head, BODY, &body, b"}\n"] {
        packer.write_all(part)?;
    }
    packer.finish()
}

/// Returns a time in seconds as far as gzip can tell it: the last is February 2106 and all after.
fn seconds(at: Timestamp) -> u32 {
    u32::try_from(at.0.div_euclid(1_000_000).max(0)).unwrap_or(u32::MAX)
}

/// Reads the time in the header of a file.
fn header_seconds(file: &impl DiskFile) -> io::Result<u32> {
    let mut header = [0; 8];
    file.read_full_at(&mut header, 0)?;
    Ok(u32::from_le_bytes([header[4], header[5], header[6], header[7]]))
}

fn unpack(file: &impl DiskFile) -> io::Result<Vec<u8>> {
    let mut packed = vec![0; usize::try_from(file.len()?).unwrap_or(usize::MAX)];
    let read = file.read_full_at(&mut packed, 0)?;
    let mut text = Vec::new();
    GzDecoder::new(&packed[..read]).take(ARCHIVE_BYTES_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > ARCHIVE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is larger than a file may be"));
    }
    Ok(text)
}

/// Why a file is not believed.
enum Wrong {
    /// A newer release wrote it.
    Newer(u32),
    /// What is in it.
    Content(String),
}

impl From<&str> for Wrong {
    fn from(why: &str) -> Wrong {
        Wrong::Content(why.into())
    }
}

/// Reads a file; everything in it must fit together, and belong to whom its name says.
fn decode((tenant, id): line::StreamKey, text: &[u8]) -> Result<ArchivedHistory, Wrong> {
    let at = memchr::memmem::find(text, BODY).ok_or("it has no body")?;
    let mut head = text[..at].to_vec();
    head.push(b'}');
    let envelope: Envelope =
        serde_json::from_slice(&head).map_err(|error| Wrong::Content(error.to_string()))?;
    if envelope.format > FORMAT {
        return Err(Wrong::Newer(envelope.format));
    }
    if (envelope.tenant_id, envelope.id) != (tenant, id) {
        return Err("it is the file of another instance".into());
    }
    let body = text[at + BODY.len()..].strip_suffix(b"}\n").ok_or("its end is missing")?;
    if checksum(body) != envelope.checksum {
        return Err("its checksum does not fit".into());
    }
    let body = body.strip_prefix(b"{\"summary\":").and_then(|it| it.strip_suffix(b"\n]}"));
    let body = body.ok_or("its body is not laid out as it must be")?;
    let cut = memchr::memmem::find(body, RECORDS).ok_or("its records are missing")?;
    let (summary, records) = (&body[..cut], &body[cut + RECORDS.len()..]);
    let mut lines = Vec::new();
    let mut left = records;
    while !left.is_empty() {
        let end = memchr::memchr(b'\n', left).unwrap_or(left.len());
        let line = &left[..end];
        left = left.get(end + 1..).unwrap_or_default();
        let line = if left.is_empty() { line } else { line.strip_suffix(b",").unwrap_or(line) };
        lines.push(line.to_vec());
        if line::key(line) != Some(((tenant, id), lines.len() as Seq)) {
            return Err("a record is not the next one of its instance".into());
        }
    }
    if lines.len() as Seq != envelope.seq {
        return Err("records are missing".into());
    }
    let entry = Archived {
        id,
        seq: envelope.seq,
        finished_at: envelope.updated_at,
        delete_at: envelope.delete_at,
        summary: summary.to_vec(),
    };
    Ok(ArchivedHistory { entry, lines })
}

fn checksum(body: &[u8]) -> String {
    Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect()
}
