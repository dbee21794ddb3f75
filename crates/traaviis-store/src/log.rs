//! The commit log, one thread's view: open and recover, commit groups, rotate segments.
//!
//! Responsible for what is on disk and for the numbers of streams. Threads, queues and telling
//! outcomes belong to [`crate::local`]; holding the directory against other processes to
//! [`crate::lock`].
//!
//! Invariants:
//! - An outcome is returned after the frame that holds the records was synced
//!   (`Durability::Commit`).
//! - After a failed write or sync nothing is acknowledged again; a sync is never repeated.
//! - A full disk is met before anything is acknowledged: the tail is cut back, the log works on.
//! - A segment is synced and sealed before the next one exists, so a segment's name proves that
//!   everything before it was durable.
//! - What recovery cuts was never acknowledged; what may have been is quarantined and stays.
//! - What recovery keeps is durable before it is built upon: after a failed sync the system may
//!   show bytes that are not on the disk and take them for written, so the frames that no later
//!   frame proves synced are written once more.

use std::{
    io,
    ops::Range,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use traaviis_model::{InstanceId, Seq, TenantId, limits, times::Times};
use traaviis_ports::{
    Append, Archive, Commit, Compacted, Compaction, Line, LogError, NO_KEYS, Position,
    disk::{Access, Disk, DiskFile, is_full},
    planted::{self, Bug},
};

use crate::{
    checkpoint::{self, WriteError, write_atomically},
    compact,
    error::io_error,
    frame::{Codec, Encoder, FLAG_UNSYNCED_BEFORE, FrameHeader, NO_HASH},
    line::{self, StreamKey},
    reader::{self, EVERYWHERE, Reader},
    segment,
    streams::Streams,
    walk::{Damage, Mark, Step, Walk},
};

/// Newest version of the data directory's layout: 2 once a segment may be text, which a release
/// that does not know it would cut off as an unfinished write.
pub const DIR_FORMAT: u32 = DIR_FORMAT_TEXT;
const DIR_FORMAT_PACKED: u32 = 1;
const DIR_FORMAT_TEXT: u32 = 2;
/// Name of the file that holds it.
pub const FORMAT_FILE: &str = "FORMAT";
/// Name of the log's directory.
pub const LOG_DIR: &str = "log";
/// Zeros written behind a small frame with it, so that the next frames meet written extents and
/// their `fdatasync` has no metadata to journal. 256 KiB is some hundred small frames.
const ZERO_AHEAD_BYTES: u64 = 256 << 10;
/// Frames of at least this size pay for their own metadata.
const ZERO_AHEAD_FRAME_BYTES_MAX: usize = 32 << 10;

/// Bytes that are reserved behind a frame when there is no room for a whole segment, one after the
/// other: a disk is full when it is, and not a segment earlier.
const RESERVED_LESS: [u64; 3] = [8 << 20, 1 << 20, 0];

/// When an append counts as durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// After its sync.
    #[default]
    Commit,
    /// After its write; a sync follows within 50 ms. A crash of the machine may lose the last ones.
    Relaxed,
}

/// How a log is opened.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// When an append counts as durable.
    pub durability: Durability,
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// How frames are written from now on; those that are there may be written otherwise.
    pub codec: Codec,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            durability: Durability::Commit,
            segment_bytes: limits::SEGMENT_BYTES,
            codec: Codec::Packed,
        }
    }
}

/// One append and whose it is.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Tenant.
    pub tenant: TenantId,
    /// Records.
    pub append: Append,
}

/// What was written since a log was opened.
#[derive(Debug, Default)]
pub struct Written {
    /// How long the sync of each group took.
    pub syncs: Times,
    bytes: AtomicU64,
}

impl Written {
    /// Returns the bytes of frames.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// What opening found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Epoch of this writer.
    pub epoch: u64,
    /// Position after the last record.
    pub tail: Position,
    /// Position from which records were checked: the newest checkpoint's frame.
    pub checked_from: Position,
    /// Frames checked.
    pub frames: u64,
    /// The unfinished write that was cut: segment and offset.
    pub cut: Option<(Position, u64)>,
    /// What cannot be trusted; copies of the bytes are under `log/quarantine/`.
    pub damage: Vec<Damage>,
    /// Streams that lost records, as far as they can be told.
    pub damaged_streams: Vec<(TenantId, InstanceId)>,
    /// Checkpoints of a newer release, which stand aside now.
    pub newer: Vec<checkpoint::Newer>,
}

/// The segment being written.
struct Active<F> {
    file: F,
    /// Bytes reserved.
    reserved: u64,
    /// Bytes up to which extents were written.
    zeroed: u64,
    /// Part of a frame that was not committed stands behind the tail.
    is_dirty: bool,
}

/// The log of one data directory, for one thread.
pub struct LogCore<D: Disk> {
    reader: Arc<Reader<D>>,
    options: Options,
    epoch: u64,
    mark: Mark,
    active: Option<Active<D::File>>,
    streams: Streams,
    encoder: Encoder,
    lines: Vec<u8>,
    scratch: Vec<u8>,
    is_unsynced: bool,
    written: Arc<Written>,
}

impl<D: Disk> LogCore<D> {
    /// Opens the log under a data directory, making and repairing it as needed. The caller holds
    /// the directory's lock.
    pub fn open(disk: D, data: &Path, options: Options) -> Result<(Self, Recovery), LogError> {
        let dir = data.join(LOG_DIR);
        disk.create_dir(&dir).map_err(|error| io_error("create", &dir, error))?;
        check_format(&disk, data, options.codec)?;
        let newer = checkpoint::set_newer_aside(&disk, &dir);
        let newer = newer.map_err(|error| io_error("look at the checkpoints in", &dir, error))?;
        let recovered = recover(&disk, &dir)?;
        let epoch = next_epoch(&disk, &dir, recovered.end.epoch)?;
        let mut end = recovered.end;
        let active = match recovered.segments.last() {
            Some(last) if !recovered.is_behind => {
                let from = recovered.unproven.filter(|(segment, _)| segment == last);
                let from = from.map_or(end.offset, |(_, offset)| offset);
                let tail = Tail { first: *last, unproven: from..end.offset };
                open_tail(&disk, &dir, tail, recovered.cut.is_some(), options.codec)?
            }
            _ => None,
        };
        if active.is_none() {
            end.previous = end.previous.or((end.position == 0).then_some(NO_HASH));
        }
        let reader = Reader::new(disk, dir, recovered.segments, end);
        for damage in &recovered.damage {
            quarantine(&reader, damage)?;
            reader.note(damage.clone());
        }
        recovered.damaged_streams.iter().for_each(|key| reader.note_stream(*key));
        let encoder = Encoder::new().map_err(|error| io_error("prepare", &reader.dir, error))?;
        let recovery = Recovery {
            epoch,
            tail: end.position,
            checked_from: recovered.checked_from,
            frames: recovered.frames,
            cut: recovered.cut,
            damage: recovered.damage,
            damaged_streams: reader.damaged_streams(),
            newer,
        };
        let core = LogCore {
            reader: Arc::new(reader),
            options,
            epoch,
            mark: Mark { epoch, ..end },
            active,
            streams: recovered.streams,
            encoder,
            lines: Vec::new(),
            scratch: Vec::new(),
            is_unsynced: false,
            written: Arc::default(),
        };
        Ok((core, recovery))
    }

    /// Returns what was written since it was opened.
    pub fn written(&self) -> Arc<Written> {
        Arc::clone(&self.written)
    }

    /// Commits a group in one frame; pushes one outcome per entry, in order.
    pub fn commit(&mut self, group: &[Entry], outcomes: &mut Vec<Commit>) {
        if planted::is(Bug::RecordOutsideCommit) {
            return self.commit_apart(group, outcomes);
        }
        self.commit_group(group, outcomes);
    }

    /// The planted bug: the last record of each append is a commit of its own.
    fn commit_apart(&mut self, group: &[Entry], outcomes: &mut Vec<Commit>) {
        for entry in group {
            let Append { count, lines, .. } = &entry.append;
            let lines = lines.written();
            let body = &lines[..lines.len().saturating_sub(1)];
            let cut = memchr::memrchr(b'\n', body).map_or(0, |at| at + 1);
            if *count < 2 || cut == 0 {
                self.commit_group(std::slice::from_ref(entry), outcomes);
                continue;
            }
            let (mut first, mut last) = (entry.clone(), entry.clone());
            first.append.count -= 1;
            first.append.lines = lines[..cut].to_vec().into();
            first.append.ends_stream = false;
            last.append.first_seq += Seq::from(*count) - 1;
            last.append.count = 1;
            last.append.lines = lines[cut..].to_vec().into();
            let mut told = Vec::new();
            self.commit_group(&[first], &mut told);
            if told.iter().all(Result::is_ok) {
                told.clear();
                self.commit_group(&[last], &mut told);
            }
            outcomes.append(&mut told);
        }
    }

    fn commit_group(&mut self, group: &[Entry], outcomes: &mut Vec<Commit>) {
        let before = outcomes.len();
        let count = self.stage(group, outcomes);
        if count == 0 {
            return;
        }
        let written = self.write(count);
        self.reader.note_full(matches!(written, Err(LogError::Full)));
        match written {
            Ok(()) => self.streams.keep(),
            Err(error) => {
                self.streams.take_back();
                // Whoever was refused for a reason of his own keeps it.
                for outcome in &mut outcomes[before..] {
                    if outcome.is_ok() {
                        *outcome = Err(error.clone());
                    }
                }
            }
        }
    }

    /// Syncs what `Durability::Relaxed` left; says whether the log still works.
    pub fn sync(&mut self) -> Result<(), LogError> {
        if !self.is_unsynced {
            return Ok(());
        }
        self.check_alive()?;
        if let Some(active) = &self.active
            && let Err(error) = active.file.sync()
        {
            return Err(self.reader.fail(format!("sync: {error}")));
        }
        self.is_unsynced = false;
        Ok(())
    }

    /// Takes the last record of streams that recovery could not see.
    pub fn seed(&mut self, streams: &mut dyn Iterator<Item = (TenantId, InstanceId, Seq)>) {
        streams.for_each(|(tenant, stream, last)| self.streams.seed((tenant, stream), last));
    }

    /// Returns the reading side, to share with other threads.
    pub fn reader(&self) -> Arc<Reader<D>> {
        self.reader.clone()
    }

    /// Says whether something waits for [`LogCore::sync`].
    pub fn is_unsynced(&self) -> bool {
        self.is_unsynced
    }

    /// Returns the position after the last record.
    pub fn tail(&self) -> Position {
        self.mark.position
    }

    /// Returns the number of streams remembered.
    pub fn open_streams(&self) -> usize {
        self.streams.count()
    }

    /// Visits records; see [`Reader::scan`].
    pub fn scan(
        &self,
        from: Position,
        visit: &mut dyn FnMut(Line<'_>),
    ) -> Result<Position, LogError> {
        self.reader.scan(from, visit)
    }

    /// Reads a history; see [`Reader::read`].
    pub fn read(&self, key: StreamKey, from: Seq, limit: usize) -> Result<Vec<Vec<u8>>, LogError> {
        Ok(self.reader.read(key, from, limit, EVERYWHERE, usize::MAX)?.lines)
    }

    /// Keeps a checkpoint; see [`Reader::put_checkpoint`]. What it stands on is synced first.
    pub fn put_checkpoint(&mut self, position: Position, body: &[u8]) -> Result<(), LogError> {
        self.sync()?;
        self.reader.put_checkpoint(position, body)
    }

    /// Returns the newest readable checkpoint.
    pub fn checkpoint(&self) -> Result<Option<(Position, Vec<u8>)>, LogError> {
        self.reader.checkpoint()
    }

    /// Drops what the archive has from the oldest segments.
    pub fn compact(
        &self,
        archive: &dyn Archive,
        compaction: &mut Compaction<'_>,
    ) -> Result<Compacted, LogError> {
        self.check_alive()?;
        compact::compact(&self.reader, archive, compaction)
    }

    fn check_alive(&self) -> Result<(), LogError> {
        self.reader.failed().map_or(Ok(()), |why| Err(LogError::Failed(why)))
    }

    /// Checks each append and gathers the lines of the good ones; returns how many records.
    fn stage(&mut self, group: &[Entry], outcomes: &mut Vec<Commit>) -> u32 {
        self.lines.clear();
        let mut count = 0;
        for entry in group {
            let outcome = self.check_append(entry).map(|()| {
                let append = &entry.append;
                let key = (entry.tenant, append.stream);
                let last = append.first_seq + Seq::from(append.count) - 1;
                self.streams.stage(key, last, append.ends_stream);
                self.lines.extend_from_slice(append.lines.written());
                count += append.count;
                self.mark.position + Position::from(count)
            });
            outcomes.push(outcome);
        }
        count
    }

    fn check_append(&mut self, entry: &Entry) -> Result<(), LogError> {
        self.check_alive()?;
        let Entry { tenant, append } = entry;
        let key = (*tenant, append.stream);
        if self.reader.is_damaged(key) {
            return Err(reader::damaged(key));
        }
        let mut malformed = line::check(*tenant, append, &mut self.scratch).err();
        if self.lines.len() + append.lines.written().len() > limits::FRAME_BYTES_MAX / 2 {
            malformed = Some("it is larger than a frame may be");
        }
        if append.subject.is_some() {
            malformed = Some(NO_KEYS);
        }
        if let Some(why) = malformed {
            return Err(LogError::Refused(format!("stream `{}`: {why}", append.stream).into()));
        }
        let last = match self.streams.last(key) {
            Some(last) => last,
            None if append.first_seq == 1 => 0,
            None => self.reader.last_seq(key, append.first_seq - 1, append.known_to)?,
        };
        if append.first_seq != last + 1 {
            let (stream, first) = (append.stream, append.first_seq);
            return Err(LogError::SeqMismatch { stream, last, first });
        }
        Ok(())
    }

    /// Writes the staged lines as one frame and makes it durable.
    fn write(&mut self, count: u32) -> Result<(), LogError> {
        let header = FrameHeader {
            codec: self.options.codec,
            epoch: self.epoch,
            first: self.mark.position,
            count,
            payload_bytes: 0,
            line_bytes: 0,
            payload_crc: 0,
            flags: if self.is_unsynced { FLAG_UNSYNCED_BEFORE } else { 0 },
            // After damage the frame before is unknown; the next frame then follows nothing.
            previous: self.mark.previous.unwrap_or(NO_HASH),
        };
        let encoded = self.encoder.encode(header, &self.lines);
        let used = encoded.map_err(|error| self.reader.fail(error))? as u64;
        if self.active.is_some()
            && self.mark.offset > 0
            && self.mark.offset + used > self.options.segment_bytes
        {
            self.seal()?;
            // Sealing synced everything, and the frame must not say otherwise.
            return self.write(count);
        }
        if self.active.is_none() {
            self.start_segment(used)?;
        }
        let hash = self.write_frame(used)?;
        self.written.bytes.fetch_add(used, Ordering::Relaxed);
        self.mark.offset += used;
        self.mark.position += Position::from(count);
        self.mark.previous = Some(hash);
        self.reader.set_end(self.mark);
        Ok(())
    }

    fn write_frame(&mut self, used: u64) -> Result<[u8; 32], LogError> {
        let Some(active) = &mut self.active else {
            return Err(self.reader.fail("no segment is open"));
        };
        let offset = self.mark.offset;
        let end = offset + used;
        if active.is_dirty {
            cut_back(&self.reader, active, offset)?;
        }
        // Zeros behind the lines would make a text segment a binary file to every tool.
        let is_packed = self.options.codec == Codec::Packed;
        if is_packed && active.reserved < end {
            let wanted = self.options.segment_bytes.max(end);
            let reserved = reserve(&active.file, end, wanted, &mut || {
                // What half a reservation took is given back before less is asked for.
                active.file.truncate(offset)
            });
            match reserved {
                Ok(reserved) => active.reserved = reserved,
                Err(error) => return Err(give_back(&self.reader, active, offset, error)),
            }
        }
        let (frame, hash) = self.encoder.last();
        let used = used as usize;
        let mut ahead = 0;
        if is_packed && end > active.zeroed && used <= ZERO_AHEAD_FRAME_BYTES_MAX {
            ahead = ZERO_AHEAD_BYTES.min(active.reserved - end) as usize;
            if frame.len() < used + ahead {
                frame.resize(used + ahead, 0);
            }
            frame[used..used + ahead].fill(0);
        }
        if let Err(error) = active.file.write_all_at(&frame[..used + ahead], offset) {
            return Err(give_back(&self.reader, active, offset, error));
        }
        active.zeroed = active.zeroed.max(end + ahead as u64);
        match self.options.durability {
            Durability::Relaxed => self.is_unsynced = true,
            Durability::Commit if planted::is(Bug::AnswerBeforeSync) => {}
            Durability::Commit => {
                let begun = Instant::now();
                let mut synced = active.file.sync();
                self.written.syncs.note(begun.elapsed());
                if synced.is_err() && planted::is(Bug::SyncRetried) {
                    synced = active.file.sync();
                }
                if let Err(error) = synced {
                    return Err(self.reader.fail(format!("sync: {error}")));
                }
            }
        }
        // Of a directory that somebody removed nothing is left but what this process has open.
        match active.file.has_name() {
            Ok(true) => Ok(hash),
            Ok(false) => Err(self.reader.fail("somebody removed the segment that it writes")),
            Err(error) => Err(self.reader.fail(format!("look at the segment: {error}"))),
        }
    }

    /// Ends the active segment: cut to its length and synced, it is never written again.
    fn seal(&mut self) -> Result<(), LogError> {
        let Some(active) = &self.active else { return Ok(()) };
        match active.file.truncate(self.mark.offset) {
            Ok(()) => {}
            Err(error) if is_full(&error) => return Err(LogError::Full),
            Err(error) => return Err(self.reader.fail(format!("seal: {error}"))),
        }
        active.file.sync().map_err(|error| self.reader.fail(format!("seal: {error}")))?;
        self.active = None;
        self.is_unsynced = false;
        Ok(())
    }

    fn start_segment(&mut self, frame_bytes: u64) -> Result<(), LogError> {
        let first = self.mark.position;
        let path = self.reader.dir.join(segment::name(first));
        let disk = &self.reader.disk;
        let made = create_or_open(disk, &path).and_then(|file| {
            let wanted = self.options.segment_bytes.max(frame_bytes);
            let reserved = match self.options.codec {
                Codec::Packed => reserve(&file, frame_bytes, wanted, &mut || file.truncate(0))?,
                Codec::Text => 0,
            };
            Ok((file, reserved))
        });
        let (file, reserved) = made.map_err(|error| {
            if is_full(&error) {
                // Half a reservation would keep the disk full. Nothing is lost when it stays: an
                // empty segment of this name is what the next try starts from.
                let _ = disk.remove(&path);
                return LogError::Full;
            }
            self.reader.fail(format!("create segment: {error}"))
        })?;
        let synced = file.sync().and_then(|()| match planted::is(Bug::NameNotSynced) {
            true => Ok(()),
            false => disk.sync_dir(&self.reader.dir),
        });
        synced.map_err(|error| self.reader.fail(format!("sync segment: {error}")))?;
        let mut segments =
            self.reader.segments.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if segments.last() != Some(&first) {
            segments.push(first);
        }
        drop(segments);
        self.mark.segment = first;
        self.mark.offset = 0;
        self.active = Some(Active { file, reserved, zeroed: 0, is_dirty: false });
        Ok(())
    }
}

/// Reserves a file up to `wanted` bytes, or up to less where the disk has no room for that, at
/// least up to `end`; `give_back` undoes what a try that failed may have taken. Returns how far.
fn reserve<F: DiskFile>(
    file: &F,
    end: u64,
    wanted: u64,
    give_back: &mut dyn FnMut() -> io::Result<()>,
) -> io::Result<u64> {
    let less = RESERVED_LESS.map(|more| end + more).into_iter().filter(|it| *it < wanted);
    for bytes in std::iter::once(wanted).chain(less) {
        match file.preallocate(bytes) {
            Ok(()) => return Ok(bytes),
            Err(error) if is_full(&error) => give_back()?,
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::StorageFull.into())
}

/// Answers a write that did not happen; when that was for want of space, the tail is restored.
fn give_back<D: Disk>(
    reader: &Reader<D>,
    active: &mut Active<D::File>,
    offset: u64,
    error: io::Error,
) -> LogError {
    if !is_full(&error) {
        return reader.fail(format!("write: {error}"));
    }
    active.is_dirty = true;
    match cut_back(reader, active, offset) {
        Ok(()) => LogError::Full,
        Err(error) => error,
    }
}

/// Cuts off what a failed write may have left; it must not be taken for a committed frame after a
/// crash. A disk so full that it cannot shorten a file is asked again before the next write.
fn cut_back<D: Disk>(
    reader: &Reader<D>,
    active: &mut Active<D::File>,
    offset: u64,
) -> Result<(), LogError> {
    match active.file.truncate(offset) {
        Ok(()) => {}
        Err(error) if is_full(&error) => return Err(LogError::Full),
        Err(error) => return Err(reader.fail(format!("cut back: {error}"))),
    }
    active.file.sync().map_err(|error| reader.fail(format!("sync: {error}")))?;
    active.reserved = offset;
    active.zeroed = offset;
    active.is_dirty = false;
    Ok(())
}

fn create_or_open<D: Disk>(disk: &D, path: &Path) -> io::Result<D::File> {
    match disk.create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // Left by a try that met a full disk; it holds no frame.
            let file = disk.open(path, Access::Write)?;
            file.truncate(0)?;
            Ok(file)
        }
        made => made,
    }
}

/// Checks that this release may touch the directory; marks a new one, and one that is about to hold
/// what earlier releases cannot read.
fn check_format<D: Disk>(disk: &D, data: &Path, codec: Codec) -> Result<(), LogError> {
    let found = read_format(disk, data)?;
    // Somebody removed the file: what is there counts as well as what comes.
    let is_text = codec == Codec::Text || (found.is_none() && has_text(disk, &data.join(LOG_DIR))?);
    let needed = if is_text { DIR_FORMAT_TEXT } else { DIR_FORMAT_PACKED };
    if found.is_none_or(|found| found < needed) {
        let text = format!("{needed}\n");
        let written = write_atomically(disk, data, FORMAT_FILE, &[text.as_bytes()]);
        let path = data.join(FORMAT_FILE);
        written.map_err(|error| io_error("write", &path, error.into_io()))?;
    }
    Ok(())
}

/// Says whether a segment is text.
fn has_text<D: Disk>(disk: &D, dir: &Path) -> Result<bool, LogError> {
    let segments = segment::list(disk, dir).map_err(|error| io_error("list", dir, error))?;
    for first in segments {
        let path = dir.join(segment::name(first));
        let codec =
            disk.open(&path, Access::Read).and_then(|it| segment::Walker::new(it, 0).codec());
        if codec.map_err(|error| io_error("read", &path, error))? == Some(Codec::Text) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns the directory's format, nothing when it has none yet.
pub(crate) fn read_format<D: Disk>(disk: &D, data: &Path) -> Result<Option<u32>, LogError> {
    let path = data.join(FORMAT_FILE);
    let Some(text) = read_small(disk, &path)? else { return Ok(None) };
    match text.trim().parse() {
        Ok(found) if found > DIR_FORMAT => {
            let path = path.display().to_string();
            Err(LogError::Newer { path, found, known: DIR_FORMAT })
        }
        Ok(found) => Ok(Some(found)),
        Err(_) => {
            let why = format!("`{}` holds no format number", path.display());
            Err(LogError::Damaged(why.into()))
        }
    }
}

/// Reads a file of a few bytes; nothing when it does not exist.
fn read_small<D: Disk>(disk: &D, path: &Path) -> Result<Option<String>, LogError> {
    let file = match disk.open(path, Access::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("open", path, error)),
    };
    let mut bytes = [0; 64];
    let read = file.read_full_at(&mut bytes, 0).map_err(|error| io_error("read", path, error))?;
    Ok(Some(String::from_utf8_lossy(&bytes[..read]).into_owned()))
}

/// Takes the next epoch durably, higher than any seen, so that an older writer is told apart.
fn next_epoch<D: Disk>(disk: &D, dir: &Path, seen: u64) -> Result<u64, LogError> {
    let path = dir.join("epoch");
    // A file that cannot be read is no obstacle: the frames tell the epoch as well.
    let stored = read_small(disk, &path)?.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    let epoch = seen.max(stored) + 1;
    let text = format!("{epoch}\n");
    let written = write_atomically(disk, dir, "epoch", &[text.as_bytes()]);
    written.map_err(|error: WriteError| io_error("write", &path, error.into_io()))?;
    Ok(epoch)
}

/// The end of the log in its last segment.
struct Tail {
    first: Position,
    /// Frames that no later one proves synced, up to the end.
    unproven: Range<u64>,
}

/// Opens the last segment to go on behind `unproven`: writes those bytes once more and cuts what an
/// unfinished write left behind them. A segment of another codec is sealed instead, and nothing is
/// open.
fn open_tail<D: Disk>(
    disk: &D,
    dir: &Path,
    Tail { first, unproven }: Tail,
    is_torn: bool,
    codec: Codec,
) -> Result<Option<Active<D::File>>, LogError> {
    let path = dir.join(segment::name(first));
    let file = disk.open(&path, Access::Write);
    let file = file.map_err(|error| io_error("open", &path, error))?;
    let offset = unproven.end;
    let walker = segment::Walker::new(file, 0);
    let found = walker.codec();
    let file = walker.into_file();
    let prove = |found: Option<Codec>| {
        let mut bytes = vec![0; (offset - unproven.start) as usize];
        file.read_full_at(&mut bytes, unproven.start)?;
        file.write_all_at(&bytes, unproven.start)?;
        let is_other = offset > 0 && found != Some(codec);
        // No zeros may stand behind text, and nothing behind the end of a sealed segment.
        let is_long = (is_other || codec == Codec::Text) && file.len()? > offset;
        if is_torn || is_long {
            file.truncate(offset)?;
        }
        if is_torn || is_long || is_other || !bytes.is_empty() {
            file.sync()?;
        }
        Ok(is_other)
    };
    let is_other = found.and_then(prove).map_err(|error| io_error("repair", &path, error))?;
    let active = Active { file, reserved: offset, zeroed: offset, is_dirty: false };
    Ok((!is_other).then_some(active))
}

/// Copies damaged bytes aside, once.
fn quarantine<D: Disk>(reader: &Reader<D>, damage: &Damage) -> Result<(), LogError> {
    if damage.bytes == 0 {
        return Ok(());
    }
    let dir = reader.dir.join("quarantine");
    let name = format!("{:020}-{}.bin", damage.segment, damage.offset);
    let disk = &reader.disk;
    disk.create_dir(&dir).map_err(|error| io_error("create", &dir, error))?;
    if disk.open(&dir.join(&name), Access::Read).is_ok() {
        return Ok(());
    }
    let walk = Walk::new(disk, &reader.dir, vec![damage.segment], 0)?;
    let bytes = walk.copy(damage.segment, damage.offset, damage.bytes)?;
    let written = write_atomically(disk, &dir, &name, &[&bytes]);
    written.map_err(|error| io_error("write", &dir.join(&name), error.into_io()))
}

/// What reading the log back gave.
struct Recovered {
    segments: Vec<Position>,
    end: Mark,
    /// The log ends before its checkpoint, so the next segment starts at the checkpoint.
    is_behind: bool,
    checked_from: Position,
    frames: u64,
    cut: Option<(Position, u64)>,
    /// The first frame that no later one proves synced: segment and offset.
    unproven: Option<(Position, u64)>,
    damage: Vec<Damage>,
    damaged_streams: Vec<StreamKey>,
    streams: Streams,
}

/// Says whether frames lead up to a checkpoint's place. A segment has its full length from the
/// beginning, so an older copy of it reaches as far, with nothing but zeros there: read on from the
/// place alone, it would look like a log that has just ended.
fn mark_stands<D: Disk>(
    disk: &D,
    dir: &Path,
    segments: &[Position],
    mark: Mark,
) -> Result<bool, LogError> {
    if mark.offset == 0 || segments.binary_search(&mark.segment).is_err() {
        return Ok(true);
    }
    let path = dir.join(segment::name(mark.segment));
    let file = disk.open(&path, Access::Read).map_err(|error| io_error("open", &path, error))?;
    let mut walker = segment::Walker::new(file, 0);
    loop {
        match walker.step().map_err(|error| io_error("read", &path, error))? {
            segment::Found::Frame { offset, header } => {
                let end = offset + header.frame_bytes();
                if end >= mark.offset {
                    return Ok(end == mark.offset && header.end() == mark.position);
                }
            }
            segment::Found::End => return Ok(false),
            // Damage before a checkpoint is not looked for; only a missing end is.
            segment::Found::Bad(_) => return Ok(true),
        }
    }
}

/// Reads the log from its newest checkpoint to its end. Changes nothing.
fn recover<D: Disk>(disk: &D, dir: &Path) -> Result<Recovered, LogError> {
    let list = |error| io_error("list", dir, error);
    let segments = segment::list(disk, dir).map_err(list)?;
    let checkpoint = checkpoint::newest(disk, dir).map_err(list)?;
    let resumed = match &checkpoint {
        Some(checkpoint) if mark_stands(disk, dir, &segments, checkpoint.mark)? => {
            Walk::resume(disk, dir, segments.clone(), checkpoint.mark)?
        }
        _ => None,
    };
    let mut walk = match resumed {
        Some(walk) => walk,
        None => Walk::new(disk, dir, segments.clone(), 0)?,
    };
    let mut recovered = Recovered {
        segments,
        end: walk.mark,
        is_behind: false,
        checked_from: walk.mark.position,
        frames: 0,
        cut: None,
        unproven: None,
        damage: Vec::new(),
        damaged_streams: Vec::new(),
        streams: Streams::default(),
    };
    let from_start = walk.mark.position == 0;
    if let Some(first) = recovered.segments.first().filter(|it| **it > 0 && !from_start) {
        recovered.damage.push(Damage::missing_before(*first));
    }
    let mut is_compacted = false;
    loop {
        match walk.step()? {
            Step::Frame { at, header } => {
                let is_proof = header.flags & FLAG_UNSYNCED_BEFORE == 0
                    || recovered.unproven.is_none_or(|(segment, _)| segment != at.segment);
                if is_proof {
                    recovered.unproven = Some((at.segment, at.offset));
                }
                is_compacted |= header.is_compacted();
                match walk.lines() {
                    // Of a compacted log the beginning of a history may be in the archive.
                    Ok(lines) => recovered.take(lines, from_start && !is_compacted),
                    Err(error) => {
                        recovered.damage.push(walk.damage_of_frame(at, &header, error));
                    }
                }
            }
            Step::Damage(damage) => recovered.damage.push(damage),
            Step::Tail { is_torn } => {
                recovered.end = walk.mark;
                if planted::is(Bug::ZerosAreARecord) && !is_torn && walk.mark.offset > 0 {
                    recovered.end.position += 1;
                }
                recovered.cut = is_torn.then_some((walk.mark.segment, walk.mark.offset));
                break;
            }
        }
    }
    if let Some(checkpoint) = checkpoint {
        recovered.end.epoch = recovered.end.epoch.max(checkpoint.mark.epoch);
        recovered.reach(checkpoint.position);
    }
    Ok(recovered)
}

impl Recovered {
    /// Takes the lines of a frame.
    fn take(&mut self, lines: &[u8], from_start: bool) {
        self.frames += 1;
        for line in line::each(lines) {
            let Some((key, seq)) = line::key(line) else { continue };
            if !self.streams.observe(key, seq, from_start) {
                self.damaged_streams.push(key);
            }
        }
    }

    /// Notes that records before a checkpoint are gone, and goes on behind them, so that no
    /// position is ever given twice.
    fn reach(&mut self, position: Position) {
        if position <= self.end.position {
            return;
        }
        self.damage.push(Damage {
            segment: self.end.segment,
            offset: self.end.offset,
            bytes: 0,
            from: self.end.position,
            to: position,
            why: "the log ends before its checkpoint".into(),
            streams: Vec::new(),
        });
        self.is_behind = true;
        self.cut = None;
        self.end.position = position;
        self.end.previous = None;
    }
}
