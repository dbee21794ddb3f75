//! Compaction: sealed segments are replaced by smaller ones without the records that the archive
//! has.
//!
//! Each segment is replaced by itself, from the oldest on, under its own name: what stays keeps its
//! position, and a record that is dropped leaves an empty line, so nothing that remembers a
//! position has to learn a new one. The replacement ends with a frame without records that hands on
//! the hash of the last frame before; the next segment follows as it did.
//!
//! Invariants:
//! - A segment is touched only when every checkpoint that is kept begins reading behind it.
//! - A record is dropped only when the archive file that has it was read back and found whole, or
//!   when its instance is to be forgotten.
//! - Of a stream the oldest records go first: what is left of it in the log never looks like an
//!   instance that is still open.
//! - A segment in which anything is damaged is left as it is, and so are those behind it.
//! - The replacement is durable before it takes the name; a crash leaves one or the other.

use std::{
    collections::{HashMap, HashSet},
    io,
    path::Path,
};

use traaviis_model::{Seq, limits::COMPACT_SHARE_MIN};
use traaviis_ports::{
    Archive, Compacted, Compaction, LogError, Position,
    archive::Mode,
    disk::{Access, Disk, DiskFile, is_full},
};

use crate::{
    checkpoint,
    error::io_error,
    frame::{
        Codec, Decoder, Encoder, FLAG_COMPACTED, FLAG_LINK, FrameHash, FrameHeader, NO_HASH, hash,
    },
    line::{self, StreamKey},
    reader::Reader,
    segment::{self, Found, Walker},
};

/// Bytes of lines after which a frame of a replacement is full.
const FRAME_LINES: usize = 256 << 10;
/// Records, dropped ones included, after which it is full.
const FRAME_RECORDS: u32 = 1 << 20;
/// Bytes between two calls of `pace`.
const PIECE: u64 = 1 << 20;
/// Streams of which it is remembered whether they are archived.
const KNOWN_MAX: usize = 100_000;
/// End of the name of a replacement that is being written.
const BESIDE: &str = ".seg.tmp";

/// Compacts the log of a reader with what `archive` has.
pub(crate) fn compact<D: Disk>(
    reader: &Reader<D>,
    archive: &dyn Archive,
    compaction: &mut Compaction<'_>,
) -> Result<Compacted, LogError> {
    let mut work = Work {
        reader,
        archive,
        expired: compaction.expired.iter().copied().collect(),
        known: HashMap::new(),
        left: HashSet::new(),
        stays: HashSet::new(),
        passed: 0,
        done: Compacted::default(),
    };
    if compaction.mode == Mode::Write {
        work.clean()?;
    }
    let segments = reader.segments.read().unwrap_or_else(|it| it.into_inner()).clone();
    let limit = checkpoint::oldest_segment(&reader.disk, &reader.dir);
    let limit = limit.map_err(|error| io_error("read checkpoint in", &reader.dir, error))?;
    let sealed = segments.windows(2).map(|it| (it[0], it[1]));
    let mut behind = segments.first().copied().unwrap_or(0);
    for (first, end) in sealed.take_while(|(first, _)| limit.is_some_and(|limit| *first < limit)) {
        behind = end;
        if !work.segment(first, end, compaction)? {
            work.done.left = compaction.expired.to_vec();
            return Ok(work.done);
        }
        (compaction.tell)(work.done.clone());
    }
    work.look_behind(behind)?;
    work.done.left = work.left.into_iter().collect();
    work.done.left.sort_unstable();
    Ok(work.done)
}

struct Work<'a, D: Disk> {
    reader: &'a Reader<D>,
    archive: &'a dyn Archive,
    expired: HashSet<StreamKey>,
    /// The last archived record of streams; none of those that are not archived.
    known: HashMap<StreamKey, Option<Seq>>,
    /// Expired streams of which records were seen that stay.
    left: HashSet<StreamKey>,
    /// Archived streams with records in a segment that is not worth replacing.
    stays: HashSet<StreamKey>,
    /// Bytes since `pace` was called.
    passed: u64,
    done: Compacted,
}

/// What a look at a segment found.
#[derive(Default)]
struct Looked {
    /// The highest number of each stream, and the bytes of its lines.
    streams: HashMap<StreamKey, (Seq, u64)>,
    /// Hash of the last frame, as the next segment knows it.
    last: FrameHash,
    bytes: u64,
}

/// Why a segment is not looked at to its end.
enum Stop {
    /// Something in it is damaged.
    Damaged,
    /// Whoever asked wants no more.
    Enough,
}

impl<D: Disk> Work<'_, D> {
    /// Removes replacements that a crash left half written.
    fn clean(&self) -> Result<(), LogError> {
        let dir = &self.reader.dir;
        let names = self.reader.disk.list(dir).map_err(|error| io_error("list", dir, error))?;
        for name in names.iter().filter(|it| it.ends_with(BESIDE)) {
            let path = dir.join(name);
            let removed = self.reader.disk.remove(&path);
            removed.map_err(|error| io_error("remove", &path, error))?;
        }
        Ok(())
    }

    /// Compacts one segment, if it is worth it; says whether to go on.
    fn segment(
        &mut self,
        first: Position,
        end: Position,
        compaction: &mut Compaction<'_>,
    ) -> Result<bool, LogError> {
        let path = self.reader.dir.join(segment::name(first));
        let looked = match self.look(&path, (first, end), compaction.pace)? {
            Ok(looked) => looked,
            Err(Stop::Enough | Stop::Damaged) => return Ok(false),
        };
        self.done.segments += 1;
        self.done.bytes_before += looked.bytes;
        let (mut dropped, mut droppable, mut all, mut is_expired) = (HashSet::new(), 0, 0, false);
        for (key, (last, bytes)) in &looked.streams {
            all += bytes;
            if self.drops(*key, *last)? {
                dropped.insert(*key);
                droppable += bytes;
                is_expired |= self.expired.contains(key);
            }
        }
        if dropped.is_empty() || !is_expired && droppable * 100 < all * COMPACT_SHARE_MIN {
            self.done.bytes_after += looked.bytes;
            self.stays.extend(dropped);
            return Ok(true);
        }
        let replacement = Replacement {
            path: &path,
            first,
            dropped: &dropped,
            last: looked.last,
            mode: compaction.mode,
        };
        match self.replace(&replacement, compaction.pace)? {
            Some((records, bytes)) => {
                self.done.replaced += 1;
                self.done.records += records;
                self.done.bytes_after += bytes;
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// Says whether all records of a stream up to `last` may go.
    fn drops(&mut self, key: StreamKey, last: Seq) -> Result<bool, LogError> {
        if self.expired.contains(&key) {
            return Ok(true);
        }
        if self.stays.contains(&key) {
            return Ok(false);
        }
        if let Some(archived) = self.known.get(&key) {
            return Ok(archived.is_some_and(|it| last <= it));
        }
        let archived = self.archive.whole(key.0, key.1)?;
        if self.known.len() >= KNOWN_MAX {
            self.known.clear();
        }
        self.known.insert(key, archived);
        Ok(archived.is_some_and(|it| last <= it))
    }

    /// Reads a segment and checks that it is whole, from its first position to its end.
    fn look(
        &mut self,
        path: &Path,
        (first, end): (Position, Position),
        pace: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Result<Looked, Stop>, LogError> {
        let failed = |error| io_error("read", path, error);
        let mut walker = self.walker(path)?;
        let mut decoder = Decoder::new().map_err(failed)?;
        let mut looked = Looked {
            last: NO_HASH,
            bytes: walker.file_bytes().map_err(failed)?,
            ..Looked::default()
        };
        let (mut position, mut previous, mut epoch) = (first, None, 0);
        loop {
            let header = match walker.step().map_err(failed)? {
                Found::Frame { header, .. } => header,
                Found::End if position == end => return Ok(Ok(looked)),
                Found::End | Found::Bad(_) => return Ok(Err(Stop::Damaged)),
            };
            let follows = header.is_link() || previous.is_none_or(|it| it == header.previous);
            if header.first != position || header.epoch < epoch || !follows {
                return Ok(Err(Stop::Damaged));
            }
            (position, epoch) = (header.end(), header.epoch);
            looked.last = match header.is_link() {
                true => header.previous,
                false => hash(&header.encode(), walker.payload()),
            };
            previous = Some(looked.last);
            if header.is_link() {
                continue;
            }
            let Ok(lines) = decoder.lines(&header, walker.payload()) else {
                return Ok(Err(Stop::Damaged));
            };
            for line in line::each(lines).filter(|it| !it.is_empty()) {
                let Some((key, seq)) = line::key(line) else { return Ok(Err(Stop::Damaged)) };
                let stream = looked.streams.entry(key).or_default();
                *stream = (stream.0.max(seq), stream.1 + line.len() as u64);
            }
            if !self.goes_on(header.frame_bytes(), pace) {
                return Ok(Err(Stop::Enough));
            }
        }
    }

    /// Writes the segment without the dropped streams and gives it the segment's name; returns the
    /// records dropped and the bytes now, or nothing when told to stop.
    fn replace(
        &mut self,
        replacement: &Replacement<'_>,
        pace: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Option<(u64, u64)>, LogError> {
        let Replacement { path, first, dropped, last, mode } = replacement;
        let failed = |error| io_error("read", path, error);
        let (disk, dir) = (&self.reader.disk, &self.reader.dir);
        let beside = dir.join(format!("{first:020}{BESIDE}"));
        let mut writer = Writer::new(disk, &beside, *first, *mode)?;
        let mut walker = self.walker(path)?;
        let mut decoder = Decoder::new().map_err(failed)?;
        let (mut records, mut epoch) = (0, 0);
        let mut goes_on = true;
        while goes_on && let Found::Frame { header, .. } = walker.step().map_err(failed)? {
            if writer.previous.is_none() {
                writer.previous = Some(header.previous);
            }
            epoch = header.epoch;
            writer.codec = header.codec;
            if header.is_link() {
                break;
            }
            let lines = decoder.lines(&header, walker.payload());
            let lines = lines.map_err(|error| failed(io::Error::other(error)))?;
            for line in line::each(lines) {
                let drops = line::key(line).is_some_and(|(key, _)| dropped.contains(&key));
                records += u64::from(drops);
                writer.line(if drops { b"" } else { line });
            }
            writer.end_of_frame(epoch)?;
            goes_on = self.goes_on(2 * header.frame_bytes(), pace);
        }
        if !goes_on {
            writer.give_up();
            return Ok(None);
        }
        let bytes = writer.finish(epoch, *last)?;
        if *mode == Mode::DryRun {
            return Ok(Some((records, bytes)));
        }
        let renamed = disk.rename(&beside, path);
        renamed.map_err(|error| io_error("rename", &beside, error))?;
        let synced = disk.sync_dir(dir);
        synced.map_err(|error| self.reader.fail(format!("compaction: {error}")))?;
        Ok(Some((records, bytes)))
    }

    /// Looks for expired streams in what is not compacted.
    fn look_behind(&mut self, from: Position) -> Result<(), LogError> {
        if self.expired.is_empty() {
            return Ok(());
        }
        let (expired, left) = (&self.expired, &mut self.left);
        self.reader.scan(from, &mut |it| {
            if let Some((key, _)) = line::key(it.bytes)
                && expired.contains(&key)
            {
                left.insert(key);
            }
        })?;
        Ok(())
    }

    fn walker(&self, path: &Path) -> Result<Walker<D::File>, LogError> {
        let file = self.reader.disk.open(path, Access::Read);
        file.map(|file| Walker::new(file, 0)).map_err(|error| io_error("open", path, error))
    }

    fn goes_on(&mut self, bytes: u64, pace: &mut dyn FnMut(u64) -> bool) -> bool {
        self.passed += bytes;
        self.passed < PIECE || pace(std::mem::take(&mut self.passed))
    }
}

/// A segment to be replaced.
struct Replacement<'a> {
    path: &'a Path,
    first: Position,
    dropped: &'a HashSet<StreamKey>,
    last: FrameHash,
    mode: Mode,
}

/// Writes a replacement, frame by frame.
struct Writer<'a, D: Disk> {
    disk: &'a D,
    path: &'a Path,
    /// None when nothing is to be changed.
    file: Option<D::File>,
    /// That of the segment.
    codec: Codec,
    encoder: Encoder,
    lines: Vec<u8>,
    first: Position,
    count: u32,
    at: u64,
    /// Hash of the frame before; none before the first.
    previous: Option<FrameHash>,
}

impl<'a, D: Disk> Writer<'a, D> {
    fn new(
        disk: &'a D,
        path: &'a Path,
        first: Position,
        mode: Mode,
    ) -> Result<Writer<'a, D>, LogError> {
        let failed = |error| io_error("create", path, error);
        let file = match mode {
            Mode::Write => Some(disk.create(path).map_err(failed)?),
            Mode::DryRun => None,
        };
        let (encoder, lines) = (Encoder::new().map_err(failed)?, Vec::new());
        let (codec, previous) = (Codec::default(), None);
        Ok(Writer { disk, path, file, codec, encoder, lines, first, count: 0, at: 0, previous })
    }

    fn line(&mut self, line: &[u8]) {
        self.lines.extend_from_slice(line);
        self.lines.push(b'\n');
        self.count += 1;
    }

    /// Ends a frame where the segment had one, when it is full.
    fn end_of_frame(&mut self, epoch: u64) -> Result<(), LogError> {
        match self.lines.len() >= FRAME_LINES || self.count >= FRAME_RECORDS {
            true => self.frame(epoch, FLAG_COMPACTED),
            false => Ok(()),
        }
    }

    fn frame(&mut self, epoch: u64, flags: u32) -> Result<(), LogError> {
        let header = FrameHeader {
            codec: self.codec,
            epoch,
            first: self.first,
            count: self.count,
            payload_bytes: 0,
            line_bytes: 0,
            payload_crc: 0,
            flags,
            previous: self.previous.unwrap_or(NO_HASH),
        };
        let encoded = self.encoder.encode(header, &self.lines);
        let used = encoded.map_err(|error| io_error("pack", self.path, error))?;
        let (frame, hash) = self.encoder.last();
        if let Some(file) = &self.file
            && let Err(error) = file.write_all_at(&frame[..used], self.at)
        {
            self.give_up();
            return Err(match is_full(&error) {
                true => LogError::Full,
                false => io_error("write", self.path, error),
            });
        }
        self.at += used as u64;
        self.first += Position::from(self.count);
        self.count = 0;
        self.lines.clear();
        self.previous = Some(hash);
        Ok(())
    }

    /// Ends the replacement durably; returns its bytes.
    fn finish(mut self, epoch: u64, last: FrameHash) -> Result<u64, LogError> {
        if self.count > 0 {
            self.frame(epoch, FLAG_COMPACTED)?;
        }
        self.previous = Some(last);
        self.frame(epoch, FLAG_COMPACTED | FLAG_LINK)?;
        if let Some(file) = &self.file
            && let Err(error) = file.sync()
        {
            self.give_up();
            return Err(io_error("sync", self.path, error));
        }
        Ok(self.at)
    }

    /// Removes what was written so far; it helps nobody.
    fn give_up(&self) {
        if self.file.is_some() {
            let _ = self.disk.remove(self.path);
        }
    }
}
