//! Walking over the whole log: from segment to segment, checking that each frame follows the last.
//!
//! A walk never believes and never gives up: it hands out frames that follow one another by
//! position, hash and epoch, and between them [`Damage`] for what does not. It changes nothing.

use std::{collections::HashSet, fmt, io, ops::Range, path::Path};

use traaviis_ports::{
    LogError, Position,
    disk::{Access, Disk},
};

use crate::{
    error::io_error,
    frame::{
        self, Codec, Decoder, FLAG_UNSYNCED_BEFORE, FrameError, FrameHash, FrameHeader,
        HEADER_BYTES,
    },
    line::{self, StreamKey},
    segment::{self, Found, Walker},
};

/// What is said of records without a trace.
const MISSING: &str = "records are missing";

/// A part of the log that cannot be trusted. Its bytes stay where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Segment that holds it.
    pub segment: Position,
    /// Where it begins in the segment.
    pub offset: u64,
    /// How many bytes it has; 0 when records are missing without a trace.
    pub bytes: u64,
    /// First position lost.
    pub from: Position,
    /// Position after the last one lost; equal to `from` when no record is lost.
    pub to: Position,
    /// What is wrong.
    pub why: String,
    /// Streams of which records were recognised in the damaged bytes.
    pub streams: Vec<StreamKey>,
}

impl Damage {
    /// Describes a log of which the oldest segments are gone.
    pub(crate) fn missing_before(first: Position) -> Damage {
        Damage {
            segment: first,
            offset: 0,
            bytes: 0,
            from: 0,
            to: first,
            why: MISSING.into(),
            streams: Vec::new(),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment {} offset {}: {}", self.segment, self.offset, self.why)?;
        match self.to - self.from {
            0 => f.write_str("; no record is lost")?,
            1 => write!(f, "; the record at position {} is lost", self.from)?,
            _ => write!(f, "; the records at positions {} to {} are lost", self.from, self.to - 1)?,
        }
        for (at, (_, stream)) in self.streams.iter().enumerate() {
            f.write_str(if at == 0 { ", among them of " } else { ", " })?;
            write!(f, "{stream}")?;
        }
        Ok(())
    }
}

/// Returns the positions whose records are lost.
pub(crate) fn lost(damage: Vec<Damage>) -> Vec<Range<Position>> {
    damage.into_iter().filter(|it| it.from < it.to).map(|it| it.from..it.to).collect()
}

/// Place between two frames, and what the next frame must follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Segment.
    pub segment: Position,
    /// Offset in it.
    pub offset: u64,
    /// Position of the next record.
    pub position: Position,
    /// Hash of the frame before; nothing when it is unknown.
    pub previous: Option<FrameHash>,
    /// Highest epoch before.
    pub epoch: u64,
}

/// One step of a walk.
#[derive(Debug)]
pub enum Step {
    /// A frame that follows; its lines are [`Walk::lines`].
    Frame {
        /// Place before it.
        at: Mark,
        /// Its header.
        header: FrameHeader,
    },
    /// Something that does not.
    Damage(Damage),
    /// The end; everything after it is to be cut when `is_torn`.
    Tail {
        /// Whether bytes of an unfinished write stand behind the end.
        is_torn: bool,
    },
}

/// A walk over the log.
pub struct Walk<'a, D: Disk> {
    disk: &'a D,
    dir: &'a Path,
    segments: Vec<Position>,
    index: usize,
    walker: Option<Walker<D::File>>,
    /// Where the walk stands.
    pub mark: Mark,
    decoder: Decoder,
    header: Option<FrameHeader>,
}

impl<'a, D: Disk> Walk<'a, D> {
    /// Begins with the segment that holds `from`, or with the oldest one. Segments are never
    /// removed, so what is missing before the oldest one is lost.
    pub fn new(
        disk: &'a D,
        dir: &'a Path,
        segments: Vec<Position>,
        from: Position,
    ) -> Result<Self, LogError> {
        let index = segments.partition_point(|first| *first <= from).saturating_sub(1);
        let first = segments.get(index).copied().unwrap_or(0);
        let previous = (first == 0).then_some(frame::NO_HASH);
        let position = if index == 0 { first.min(from) } else { first };
        let mark = Mark { segment: first, offset: 0, position, previous, epoch: 0 };
        Self::build(disk, dir, segments, index, mark)
    }

    /// Begins at a place remembered earlier, or says that it is gone.
    pub fn resume(
        disk: &'a D,
        dir: &'a Path,
        segments: Vec<Position>,
        mark: Mark,
    ) -> Result<Option<Self>, LogError> {
        let Ok(index) = segments.binary_search(&mark.segment) else { return Ok(None) };
        let mut walk = Self::build(disk, dir, segments, index, mark)?;
        let walker = walk.walker()?;
        let len = walker.file_bytes().map_err(|error| io_error("measure", dir, error))?;
        Ok((len >= mark.offset).then_some(walk))
    }

    /// Begins at a place met earlier, unless the segment was compacted since: then it may be
    /// another place, or none.
    pub fn resume_met(
        disk: &'a D,
        dir: &'a Path,
        segments: Vec<Position>,
        mark: Mark,
    ) -> Result<Option<Self>, LogError> {
        let Some(mut walk) = Walk::resume(disk, dir, segments, mark)? else { return Ok(None) };
        let next = walk.segments.get(walk.index + 1).copied();
        let walker = walk.walker()?;
        let failed = |error| io_error("read", dir, error);
        let stands = match walker.step().map_err(failed)? {
            Found::Frame { header, .. } => {
                let follows = mark.previous.is_none_or(|it| it == header.previous);
                header.first == mark.position && follows
            }
            // Only the last segment goes on to be written, and it is not compacted.
            Found::End | Found::Bad(_) => next.is_none_or(|next| {
                next == mark.position && walker.file_bytes().is_ok_and(|bytes| bytes == mark.offset)
            }),
        };
        walker.offset = mark.offset;
        Ok(stands.then_some(walk))
    }

    fn build(
        disk: &'a D,
        dir: &'a Path,
        segments: Vec<Position>,
        index: usize,
        mark: Mark,
    ) -> Result<Self, LogError> {
        let decoder = Decoder::new().map_err(|error| io_error("prepare to read", dir, error))?;
        Ok(Walk { disk, dir, segments, index, walker: None, mark, decoder, header: None })
    }

    /// Returns the lines of the frame of the last step.
    pub fn lines(&mut self) -> Result<&[u8], FrameError> {
        let (Some(header), Some(walker)) = (&self.header, &self.walker) else {
            return Err(FrameError::Payload);
        };
        self.decoder.lines(header, walker.payload())
    }

    /// Describes the frame of the last step as damage, for when its lines cannot be read.
    pub fn damage_of_frame(&self, at: Mark, header: &FrameHeader, why: impl ToString) -> Damage {
        let payload = self.walker.as_ref().map(Walker::payload).unwrap_or_default();
        Damage {
            segment: at.segment,
            offset: at.offset,
            bytes: header.frame_bytes(),
            from: header.first,
            to: header.end(),
            why: why.to_string(),
            streams: streams_in(&frame::salvage(payload)),
        }
    }

    /// Reads bytes of a segment, for keeping them elsewhere.
    pub fn copy(&self, segment: Position, offset: u64, len: u64) -> Result<Vec<u8>, LogError> {
        let path = self.dir.join(segment::name(segment));
        self.disk
            .open(&path, Access::Read)
            .and_then(|file| Walker::new(file, 0).copy(offset, len))
            .map_err(|error| io_error("read", &path, error))
    }

    fn codec(&self, segment: Position) -> Result<Option<Codec>, LogError> {
        let path = self.dir.join(segment::name(segment));
        let file = self.disk.open(&path, Access::Read);
        let codec = file.and_then(|file| Walker::new(file, 0).codec());
        codec.map_err(|error| io_error("read", &path, error))
    }

    /// Takes the next step.
    pub fn step(&mut self) -> Result<Step, LogError> {
        loop {
            self.header = None;
            if self.index >= self.segments.len() {
                return Ok(Step::Tail { is_torn: false });
            }
            let first = self.segments[self.index];
            if self.mark.position < first {
                return Ok(Step::Damage(self.missing(first)));
            }
            let path = self.dir.join(segment::name(self.segments[self.index]));
            let found = self.walker()?.step().map_err(|error| io_error("read", &path, error))?;
            let step = match found {
                Found::Frame { offset, header } => self.frame(offset, header),
                Found::End => self.end_of_segment(None)?,
                Found::Bad(FrameError::Format(found)) => {
                    let path = path.display().to_string();
                    return Err(LogError::Newer { path, found, known: frame::FORMAT });
                }
                Found::Bad(error) => {
                    self.bad(error).map_err(|error| io_error("read", &path, error))?
                }
            };
            if let Some(step) = step {
                return Ok(step);
            }
        }
    }

    fn walker(&mut self) -> Result<&mut Walker<D::File>, LogError> {
        if self.walker.is_none() {
            let path = self.dir.join(segment::name(self.segments[self.index]));
            let file = self.disk.open(&path, Access::Read);
            let file = file.map_err(|error| io_error("open", &path, error))?;
            self.walker = Some(Walker::new(file, self.mark.offset));
        }
        match &mut self.walker {
            Some(walker) => Ok(walker),
            None => Err(LogError::Damaged("the walk lost its segment".into())),
        }
    }

    /// Judges a frame whose checksums fit by what came before it.
    fn frame(&mut self, offset: u64, header: FrameHeader) -> Option<Step> {
        let mark = self.mark;
        let behind = offset + header.frame_bytes();
        let follows = mark.previous.is_none_or(|previous| previous == header.previous);
        if header.epoch < mark.epoch || header.first < mark.position {
            self.mark.offset = behind;
            let why = "a frame of a writer that was replaced, or written twice";
            let damage = self.damage_of_frame(mark, &header, why);
            let at = mark.position;
            return Some(Step::Damage(Damage { from: at, to: at, streams: Vec::new(), ..damage }));
        }
        if header.first > mark.position {
            // Stay before the frame: the next step takes it.
            let damage = self.missing(header.first);
            self.rewind(offset);
            return Some(Step::Damage(damage));
        }
        if header.is_link() {
            self.mark.offset = behind;
            self.mark.previous = Some(header.previous);
            self.mark.epoch = header.epoch;
            return None;
        }
        if !follows {
            let damage =
                self.damage_of_frame(mark, &header, "a frame does not follow the one before");
            self.mark.offset = behind;
            self.mark.position = header.end();
            self.mark.previous = None;
            return Some(Step::Damage(damage));
        }
        let payload = self.walker.as_ref().map(Walker::payload).unwrap_or_default();
        let hash = frame::hash(&header.encode(), payload);
        self.mark = Mark {
            segment: mark.segment,
            offset: behind,
            position: header.end(),
            previous: Some(hash),
            epoch: header.epoch,
        };
        self.header = Some(header);
        Some(Step::Frame { at: mark, header })
    }

    /// Describes records that are missing before `to`, and goes on as if they had been read.
    fn missing(&mut self, to: Position) -> Damage {
        let mark = self.mark;
        self.mark.position = to;
        self.mark.previous = None;
        Damage {
            segment: mark.segment,
            offset: mark.offset,
            bytes: 0,
            from: mark.position,
            to,
            why: MISSING.into(),
            streams: Vec::new(),
        }
    }

    fn rewind(&mut self, offset: u64) {
        self.mark.offset = offset;
        if let Some(walker) = &mut self.walker {
            walker.offset = offset;
        }
    }

    /// Judges bytes that are no frame: torn when nothing that was synced later follows.
    fn bad(&mut self, error: FrameError) -> io::Result<Option<Step>> {
        let mark = self.mark;
        let is_last = self.index + 1 == self.segments.len();
        let Some(walker) = &mut self.walker else { return Ok(None) };
        let fits =
            |header: &FrameHeader| header.first >= mark.position && header.epoch >= mark.epoch;
        let next = walker.find_frame(mark.offset + 1, fits)?;
        let Some((offset, header)) = next else {
            return if is_last {
                Ok(Some(Step::Tail { is_torn: true }))
            } else {
                let bytes = walker.file_bytes()?.saturating_sub(mark.offset);
                self.end_of_segment(Some((error, bytes))).map_err(io::Error::other)
            };
        };
        if is_last && all_unsynced(walker, offset, header, fits)? {
            return Ok(Some(Step::Tail { is_torn: true }));
        }
        let bytes = walker.copy(mark.offset, offset - mark.offset)?;
        let codec = walker.codec()?;
        self.mark.position = header.first;
        self.mark.previous = None;
        self.rewind(offset);
        Ok(Some(Step::Damage(Damage {
            segment: mark.segment,
            offset: mark.offset,
            bytes: bytes.len() as u64,
            from: mark.position,
            to: header.first,
            why: error.to_string(),
            streams: streams_in_frames(&bytes, codec),
        })))
    }

    /// Goes to the next segment, whose name tells how far this one should have reached.
    fn end_of_segment(&mut self, bad: Option<(FrameError, u64)>) -> Result<Option<Step>, LogError> {
        let Some(next) = self.segments.get(self.index + 1).copied() else {
            return Ok(Some(Step::Tail { is_torn: false }));
        };
        let mark = self.mark;
        let mut damage = None;
        if next > mark.position {
            let mut missing = self.missing(next);
            if let Some((error, bytes)) = bad {
                missing.bytes = bytes;
                missing.why = error.to_string();
                let bytes = self.copy(mark.segment, mark.offset, bytes)?;
                missing.streams = streams_in_frames(&bytes, self.codec(mark.segment)?);
            }
            damage = Some(Step::Damage(missing));
        }
        // Bytes behind the last frame of a segment that the next one follows belong to nobody:
        // cutting them off was not durable when the machine stopped.
        self.index += 1;
        self.walker = None;
        self.mark.segment = next;
        self.mark.offset = 0;
        Ok(damage)
    }
}

/// Says whether no frame from `offset` on proves that what stands before it had been synced.
fn all_unsynced<F: traaviis_ports::disk::DiskFile>(
    walker: &mut Walker<F>,
    mut offset: u64,
    mut header: FrameHeader,
    fits: impl Fn(&FrameHeader) -> bool,
) -> io::Result<bool> {
    loop {
        if header.flags & FLAG_UNSYNCED_BEFORE == 0 {
            return Ok(false);
        }
        match walker.find_frame(offset + header.frame_bytes(), &fits)? {
            Some(next) => (offset, header) = next,
            None => return Ok(true),
        }
    }
}

/// Returns the streams whose records are recognised in damaged frames.
fn streams_in_frames(bytes: &[u8], codec: Option<Codec>) -> Vec<StreamKey> {
    if codec == Some(Codec::Text) {
        return streams_in(bytes);
    }
    // The payload of the first frame begins behind its header, however damaged that is. Later
    // ones are found by their marks.
    let mut lines = frame::salvage(bytes.get(HEADER_BYTES..).unwrap_or_default());
    let mut at = 1;
    while let Some(mark) = frame::find_mark(Some(Codec::Packed), bytes, at) {
        lines.extend(frame::salvage(bytes.get(mark + HEADER_BYTES..).unwrap_or_default()));
        at = mark + 1;
    }
    streams_in(&lines)
}

fn streams_in(lines: &[u8]) -> Vec<StreamKey> {
    let mut seen = HashSet::new();
    let keys = lines.split(|byte| *byte == b'\n').filter_map(line::key).map(|(key, _)| key);
    keys.filter(|key| seen.insert(*key)).collect()
}
