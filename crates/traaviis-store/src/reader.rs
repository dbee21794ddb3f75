//! Reading the log beside its writer: histories, scans, checkpoints.
//!
//! Invariant: nothing behind [`Reader::durable`] is looked at, so a half-written frame is never
//! seen. Damage met on the way is noted and passed over; a history that it touches is refused.

use std::{
    collections::HashSet,
    ops::Range,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use traaviis_model::Seq;
use traaviis_ports::{
    Line, LogError, Part, Position,
    disk::{Access, Disk, DiskFile as _},
};

use crate::{
    blobs,
    checkpoint::{self, WriteError},
    error::io_error,
    line::{self, StreamKey},
    marks::Marks,
    segment,
    walk::{Damage, Mark, Step, Walk},
};

/// A file of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Position of its first record.
    pub first: Position,
    /// Position behind its last, as far as it is durable.
    pub end: Position,
    /// Its length, which compaction changes; none of the one that is written.
    pub bytes: Option<u64>,
}

/// What reading threads and the writer share.
pub struct Reader<D: Disk> {
    pub(crate) disk: D,
    /// The directory `log/`.
    pub(crate) dir: PathBuf,
    /// First positions of the segments, rising; the writer adds to it before it writes.
    pub(crate) segments: RwLock<Vec<Position>>,
    durable: AtomicU64,
    /// Place of the end, for checkpoints of everything.
    pub(crate) end: Mutex<Mark>,
    marks: Mutex<Marks>,
    damage: Mutex<Vec<Damage>>,
    damaged: RwLock<HashSet<StreamKey>>,
    failed: OnceLock<Arc<str>>,
    is_full: AtomicBool,
    checkpointing: Mutex<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these locks guard is replaced whole, so a panic elsewhere leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<D: Disk> Reader<D> {
    pub(crate) fn new(disk: D, dir: PathBuf, segments: Vec<Position>, end: Mark) -> Self {
        Reader {
            disk,
            dir,
            segments: RwLock::new(segments),
            durable: AtomicU64::new(end.position),
            end: Mutex::new(end),
            marks: Mutex::default(),
            damage: Mutex::default(),
            damaged: RwLock::default(),
            failed: OnceLock::new(),
            is_full: AtomicBool::new(false),
            checkpointing: Mutex::new(()),
        }
    }

    /// Returns the position after the last durable record.
    pub fn durable(&self) -> Position {
        self.durable.load(Ordering::Acquire)
    }

    pub(crate) fn set_end(&self, end: Mark) {
        *lock(&self.end) = end;
        lock(&self.marks).note(end);
        self.durable.store(end.position, Ordering::Release);
    }

    /// Returns why the log stopped, if it did.
    pub fn failed(&self) -> Option<Arc<str>> {
        self.failed.get().cloned()
    }

    /// Says whether the last write found no space.
    pub fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    pub(crate) fn note_full(&self, is_full: bool) {
        self.is_full.store(is_full, Ordering::Relaxed);
    }

    /// Stops the log for ever; the first reason stays.
    pub(crate) fn fail(&self, why: impl ToString) -> LogError {
        LogError::Failed(self.failed.get_or_init(|| why.to_string().into()).clone())
    }

    /// Returns the damage met so far.
    pub fn damage(&self) -> Vec<Damage> {
        lock(&self.damage).clone()
    }

    /// Notes damage, once per place, and the streams that it certainly touches.
    pub(crate) fn note(&self, damage: Damage) {
        let mut damaged = self.damaged.write().unwrap_or_else(PoisonError::into_inner);
        damaged.extend(damage.streams.iter().copied());
        let mut known = lock(&self.damage);
        let place = (damage.segment, damage.offset);
        if !known.iter().any(|known| (known.segment, known.offset) == place) {
            known.push(damage);
        }
    }

    /// Notes records that were at the end of the log and are gone without a trace.
    pub(crate) fn note_shortened(&self, lost: Range<Position>, why: String) {
        let Mark { segment, offset, .. } = *lock(&self.end);
        let (from, to, streams) = (lost.start, lost.end, Vec::new());
        self.note(Damage { segment, offset, bytes: 0, from, to, why, streams });
    }

    pub(crate) fn note_stream(&self, key: StreamKey) {
        self.damaged.write().unwrap_or_else(PoisonError::into_inner).insert(key);
    }

    /// Says whether records of the stream are lost.
    pub fn is_damaged(&self, key: StreamKey) -> bool {
        self.damaged.read().unwrap_or_else(PoisonError::into_inner).contains(&key)
    }

    /// Returns the streams of which records are lost, sorted.
    pub fn damaged_streams(&self) -> Vec<StreamKey> {
        let damaged = self.damaged.read().unwrap_or_else(PoisonError::into_inner);
        let mut damaged: Vec<StreamKey> = damaged.iter().copied().collect();
        damaged.sort_unstable();
        damaged
    }

    /// Returns the segments, the oldest first.
    pub(crate) fn segment_infos(&self) -> Result<Vec<SegmentInfo>, LogError> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner).clone();
        // Asked for behind them: what begins behind it is not there yet.
        let durable = self.durable();
        let ends = segments.iter().skip(1).map(Some).chain([None]);
        let infos = segments.iter().zip(ends).map(|(first, next)| {
            let path = self.dir.join(segment::name(*first));
            let bytes = match next {
                None => None,
                Some(_) => {
                    let file = self.disk.open(&path, Access::Read);
                    let bytes = file.and_then(|it| it.len());
                    Some(bytes.map_err(|error| io_error("measure", &path, error))?)
                }
            };
            Ok(SegmentInfo { first: *first, end: next.copied().unwrap_or(durable), bytes })
        });
        infos.collect()
    }

    /// Visits the lines of every frame that ends behind `from`; stops when told to.
    fn visit(
        &self,
        from: Position,
        visit: &mut dyn FnMut(Position, &[u8]) -> Visit,
    ) -> Result<Position, LogError> {
        let durable = self.durable();
        if from >= durable {
            return Ok(durable);
        }
        let mut walk = self.walk(from)?;
        while walk.mark.position < durable {
            match walk.step()? {
                Step::Frame { header, .. } if header.end() <= from => {}
                Step::Frame { at, header } => {
                    lock(&self.marks).note(at);
                    match walk.lines() {
                        Ok(lines) => match visit(header.first, lines) {
                            Visit::On => {}
                            Visit::Enough => return Ok(durable),
                        },
                        Err(error) => self.note(walk.damage_of_frame(at, &header, error)),
                    }
                }
                Step::Damage(damage) => self.note(damage),
                Step::Tail { .. } => {
                    self.note(self.lost_tail(walk.mark, durable));
                    break;
                }
            }
        }
        Ok(durable)
    }

    /// Begins a walk as late as is known to be early enough for `from`.
    fn walk(&self, from: Position) -> Result<Walk<'_, D>, LogError> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mark = lock(&self.marks).before(from);
        if let Some(mark) = mark
            && let Some(walk) = Walk::resume_met(&self.disk, &self.dir, segments.clone(), mark)?
        {
            return Ok(walk);
        }
        Walk::new(&self.disk, &self.dir, segments, from)
    }

    /// Describes records that were durable and are not there.
    pub(crate) fn lost_tail(&self, mark: Mark, durable: Position) -> Damage {
        Damage {
            segment: mark.segment,
            offset: mark.offset,
            bytes: 0,
            from: mark.position,
            to: durable,
            why: "records that were durable are gone".into(),
            streams: Vec::new(),
        }
    }

    /// Visits every durable record from `from` on.
    pub fn scan(
        &self,
        from: Position,
        visit: &mut dyn FnMut(Line<'_>),
    ) -> Result<Position, LogError> {
        self.visit(from, &mut |first, lines| {
            for (position, bytes) in (first..).zip(line::each(lines)) {
                if position >= from && !bytes.is_empty() {
                    visit(Line { position, bytes, is_sealed: false });
                }
            }
            Visit::On
        })
    }

    /// Visits durable records from `from` on until told that it is enough.
    pub fn scan_while(
        &self,
        from: Position,
        visit: &mut dyn FnMut(Line<'_>) -> bool,
    ) -> Result<(), LogError> {
        let visited = self.visit(from, &mut |first, lines| {
            for (position, bytes) in (first..).zip(line::each(lines)) {
                if position >= from
                    && !bytes.is_empty()
                    && !visit(Line { position, bytes, is_sealed: false })
                {
                    return Visit::Enough;
                }
            }
            Visit::On
        });
        visited.map(drop)
    }

    /// Reads records of one stream; those from number `from` on stand in `within`. Those behind
    /// `bytes_max` bytes, with their large values, are left out.
    pub fn read(
        &self,
        key: StreamKey,
        from: Seq,
        limit: usize,
        within: Range<Position>,
        bytes_max: usize,
    ) -> Result<Part, LogError> {
        let mut part = Part { lines: Vec::new(), next: within.start, is_cut: false };
        if limit == 0 {
            return Ok(part);
        }
        let (lines, is_cut, mut bytes) = (&mut part.lines, &mut part.is_cut, 0);
        let before = if within.start == 0 { 0 } else { from.saturating_sub(1) };
        let end = self.history(key, before, within, &mut |seq, line| {
            if seq == 1 {
                lines.clear();
                bytes = 0;
            }
            if seq >= from {
                bytes = blobs::whole_len(line).saturating_add(bytes);
                lines.push(line.to_vec());
            }
            *is_cut = bytes > bytes_max;
            if lines.len() < limit && !*is_cut { Visit::On } else { Visit::Enough }
        })?;
        part.next = end.next;
        Ok(part)
    }

    /// Returns the number of the last record of a stream, 0 when there is none. It is known to be
    /// `before` at position `known_to`.
    pub(crate) fn last_seq(
        &self,
        key: StreamKey,
        before: Seq,
        known_to: Position,
    ) -> Result<Seq, LogError> {
        let before = if known_to == 0 { 0 } else { before };
        Ok(self.history(key, before, known_to..Position::MAX, &mut |_, _| Visit::On)?.last)
    }

    /// Visits a stream's records in `within`, which must be dense: the first one is number 1 or
    /// follows `before`.
    fn history(
        &self,
        key: StreamKey,
        before: Seq,
        within: Range<Position>,
        visit: &mut dyn FnMut(Seq, &[u8]) -> Visit,
    ) -> Result<End, LogError> {
        let prefix = line::prefix(key);
        let finder = memchr::memmem::Finder::new(&prefix);
        let mut last = before;
        let mut is_dense = true;
        let mut stopped = None;
        let durable = self.visit(within.start, &mut |first, lines| {
            if first >= within.end {
                return Visit::Enough;
            }
            let mut at = 0;
            while let Some(hit) = finder.find(&lines[at..]) {
                let start = at + hit;
                let rest = &lines[start..];
                let line = &rest[..memchr::memchr(b'\n', rest).unwrap_or(rest.len())];
                at = start + line.len();
                let is_line = start == 0 || lines[start - 1] == b'\n';
                let seq = line::seq_after_prefix(&line[prefix.len()..]);
                let (true, Some(seq)) = (is_line, seq) else { continue };
                // A frame that begins before `within` may hold some that were asked for before.
                if (2..=before).contains(&seq) && last == before {
                    continue;
                }
                is_dense &= seq == last + 1 || seq == 1;
                last = seq;
                if !is_dense || visit(seq, line) == Visit::Enough {
                    let passed = memchr::memchr_iter(b'\n', &lines[..start]).count() as Position;
                    stopped = Some(first + passed + 1);
                    return Visit::Enough;
                }
            }
            Visit::On
        })?;
        // Damage met while reading may have named the stream.
        if !is_dense || self.is_damaged(key) {
            self.note_stream(key);
            return Err(damaged(key));
        }
        let next = stopped.unwrap_or_else(|| durable.min(within.end)).max(within.start);
        Ok(End { last, next })
    }

    /// Keeps a checkpoint.
    pub fn put_checkpoint(&self, position: Position, body: &[u8]) -> Result<(), LogError> {
        if let Some(why) = self.failed() {
            return Err(LogError::Failed(why));
        }
        let _one_at_a_time = lock(&self.checkpointing);
        let mark = self.mark_at(position)?;
        match checkpoint::put(&self.disk, &self.dir, position, mark, body) {
            Ok(()) => Ok(()),
            Err(WriteError::Sync(error)) => Err(self.fail(format!("checkpoint: {error}"))),
            Err(WriteError::Other(error)) => Err(io_error("write checkpoint in", &self.dir, error)),
        }
    }

    /// Returns the newest checkpoint that can be read.
    pub fn checkpoint(&self) -> Result<Option<(Position, Vec<u8>)>, LogError> {
        let newest = checkpoint::newest(&self.disk, &self.dir);
        let newest = newest.map_err(|error| io_error("read checkpoint in", &self.dir, error))?;
        Ok(newest.map(|checkpoint| (checkpoint.position, checkpoint.body)))
    }

    /// Finds the frame boundary at or before a position.
    fn mark_at(&self, position: Position) -> Result<Mark, LogError> {
        let end = *lock(&self.end);
        if position == end.position {
            return Ok(end);
        }
        if position > end.position {
            let why = format!("checkpoint at `{position}` is ahead of its end `{}`", end.position);
            return Err(LogError::Damaged(why.into()));
        }
        let mut walk = self.walk(position)?;
        loop {
            let mark = walk.mark;
            if mark.position >= position {
                return Ok(mark);
            }
            match walk.step()? {
                Step::Frame { at, header } if header.end() > position => return Ok(at),
                Step::Frame { .. } => {}
                Step::Damage(damage) => self.note(damage),
                Step::Tail { .. } => return Ok(mark),
            }
        }
    }

    /// Reads the directory again; for a reader without a writer in its process.
    pub(crate) fn refresh(&self) -> Result<(), LogError> {
        let listed = segment::list(&self.disk, &self.dir);
        let listed = listed.map_err(|error| io_error("list", &self.dir, error))?;
        *self.segments.write().unwrap_or_else(PoisonError::into_inner) = listed;
        Ok(())
    }
}

/// The whole log.
pub(crate) const EVERYWHERE: Range<Position> = 0..Position::MAX;

/// How far a history was visited.
struct End {
    /// Number of the last record seen.
    last: Seq,
    /// Position before which there are no more.
    next: Position,
}

/// Whether to go on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Visit {
    On,
    Enough,
}

pub(crate) fn damaged((_, stream): StreamKey) -> LogError {
    LogError::Damaged(format!("records of stream `{stream}` are lost").into())
}
