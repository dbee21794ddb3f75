//! Reading a log without holding it: for `log cat` of a directory that another process writes.
//!
//! Nothing is locked, repaired or written. What the writer has not finished looks like the end.

use std::{ops::Range, path::Path, sync::Arc};

use traaviis_model::{InstanceId, Seq, TenantCtx, TenantId, limits::PART_BYTES_MAX};
use traaviis_ports::{
    Append, Archive, CommitSink, Compacted, Compaction, Line, LogError, LogStore, Part, Position,
    archive::Mode,
    disk::{Access, Disk, DiskFile},
};

use crate::{
    archive::{self, FileArchive},
    blobs, compact,
    disk::OsDisk,
    error::io_error,
    frame::{Codec, FrameHeader},
    log::{LOG_DIR, read_format},
    reader::{EVERYWHERE, Reader},
    segment,
    walk::{self, Damage, Mark, Step, Walk},
};

/// A frame as it stands in a segment.
#[derive(Clone, Debug)]
pub struct FrameInfo {
    /// Segment: the position of its first record.
    pub segment: Position,
    /// Where the frame begins in the segment.
    pub offset: u64,
    /// Header; nothing for damaged bytes.
    pub header: Option<FrameHeader>,
    /// What is wrong, when these are damaged bytes.
    pub damage: Option<Damage>,
}

/// A log opened without its lock.
pub struct ReadOnlyLog {
    reader: Reader<OsDisk>,
    archive: FileArchive<OsDisk>,
}

impl ReadOnlyLog {
    /// Opens the log under a data directory and finds its present end.
    pub fn open(data: &Path) -> Result<ReadOnlyLog, LogError> {
        read_format(&OsDisk, data)?;
        let dir = data.join(LOG_DIR);
        let start = Mark { segment: 0, offset: 0, position: 0, previous: None, epoch: 0 };
        let reader = Reader::new(OsDisk, dir, Vec::new(), start);
        let log = ReadOnlyLog { reader, archive: FileArchive::new(OsDisk, data) };
        log.refresh()?;
        Ok(log)
    }

    /// Finds the end again, for following a log that grows.
    pub fn refresh(&self) -> Result<Position, LogError> {
        self.reader.refresh()?;
        let reader = &self.reader;
        let segments = reader.segments.read().map(|held| held.clone()).unwrap_or_default();
        let mut walk = Walk::new(&reader.disk, &reader.dir, segments, reader.durable())?;
        loop {
            match walk.step()? {
                Step::Tail { .. } => break,
                Step::Damage(damage) => reader.note(damage),
                Step::Frame { .. } => {}
            }
        }
        reader.set_end(walk.mark);
        Ok(walk.mark.position)
    }

    /// Returns the bytes of all segments.
    pub fn bytes(&self) -> Result<u64, LogError> {
        let reader = &self.reader;
        let segments = reader.segments.read().map(|held| held.clone()).unwrap_or_default();
        segments.iter().try_fold(0, |acc, first| {
            let path = reader.dir.join(segment::name(*first));
            let file = reader.disk.open(&path, Access::Read).and_then(|file| file.len());
            file.map(|bytes| acc + bytes).map_err(|error| io_error("measure", &path, error))
        })
    }

    /// Returns how many segments have frames of a codec.
    pub fn segments_in(&self, codec: Codec) -> Result<usize, LogError> {
        let reader = &self.reader;
        let segments = reader.segments.read().map(|held| held.clone()).unwrap_or_default();
        segments.iter().try_fold(0, |count, first| {
            let path = reader.dir.join(segment::name(*first));
            let file = reader.disk.open(&path, Access::Read);
            let found = file.and_then(|file| segment::Walker::new(file, 0).codec());
            let found = found.map_err(|error| io_error("read", &path, error))?;
            Ok(count + usize::from(found == Some(codec)))
        })
    }

    /// Returns the damage met so far.
    pub fn damage(&self) -> Vec<Damage> {
        self.reader.damage()
    }

    /// Returns the streams of which records are lost, as far as they can be told.
    pub fn damaged_streams(&self) -> Vec<(TenantId, InstanceId)> {
        self.reader.damaged_streams()
    }
}

impl LogStore for ReadOnlyLog {
    fn append(&self, _: &TenantCtx, _: Append, sink: &Arc<dyn CommitSink>, token: u64) {
        sink.committed(&mut std::iter::once((token, Err(read_only()))));
    }

    fn read(
        &self,
        ctx: &TenantCtx,
        stream: InstanceId,
        from: Seq,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, LogError> {
        let everything = (EVERYWHERE, usize::MAX);
        let part =
            archive::part(&self.archive, &self.reader, ctx, stream, (from, limit), everything)?;
        Ok(part.lines)
    }

    fn read_within(
        &self,
        ctx: &TenantCtx,
        stream: InstanceId,
        from: Seq,
        limit: usize,
        within: Range<Position>,
    ) -> Result<Part, LogError> {
        let within = (within, PART_BYTES_MAX);
        archive::part(&self.archive, &self.reader, ctx, stream, (from, limit), within)
    }

    fn scan(&self, from: Position, visit: &mut dyn FnMut(Line<'_>)) -> Result<Position, LogError> {
        blobs::scan(self.archive.blobs(), &self.reader, from, visit)
    }

    fn scan_while(
        &self,
        from: Position,
        visit: &mut dyn FnMut(Line<'_>) -> bool,
    ) -> Result<(), LogError> {
        blobs::scan_while(self.archive.blobs(), &self.reader, from, visit)
    }

    /// Finds out what a compaction would free; only [`Mode::DryRun`] can be asked for.
    fn compact(&self, compaction: &mut Compaction<'_>) -> Result<Compacted, LogError> {
        match compaction.mode {
            Mode::Write => Err(read_only()),
            Mode::DryRun => compact::compact(&self.reader, &self.archive, compaction),
        }
    }

    fn archive(&self) -> Option<&dyn Archive> {
        Some(&self.archive)
    }

    /// Returns the end found last.
    fn tail(&self) -> Position {
        self.reader.durable()
    }

    fn lost(&self) -> Vec<Range<Position>> {
        walk::lost(self.damage())
    }

    fn seed(&self, _: &mut dyn Iterator<Item = (TenantId, InstanceId, Seq)>) {}

    fn put_checkpoint(&self, _: Position, _: &[u8]) -> Result<(), LogError> {
        Err(read_only())
    }

    fn checkpoint(&self) -> Result<Option<(Position, Vec<u8>)>, LogError> {
        self.reader.checkpoint()
    }
}

fn read_only() -> LogError {
    LogError::Failed("the log is open for reading only".into())
}

/// Visits every frame under a data directory in order, with its lines; damaged bytes come as a
/// frame without lines. Returns the position at the end.
pub fn visit_frames(
    data: &Path,
    visit: &mut dyn FnMut(FrameInfo, &[u8]),
) -> Result<Position, LogError> {
    read_format(&OsDisk, data)?;
    let dir = data.join(LOG_DIR);
    let segments = segment::list(&OsDisk, &dir);
    let segments = segments.map_err(|error| io_error("list", &dir, error))?;
    let disk = OsDisk;
    let mut walk = Walk::new(&disk, &dir, segments, 0)?;
    loop {
        let (segment, offset) = (walk.mark.segment, walk.mark.offset);
        let info = |header, damage| FrameInfo { segment, offset, header, damage };
        match walk.step()? {
            Step::Frame { at, header } => {
                let (segment, offset) = (at.segment, at.offset);
                let info = FrameInfo { segment, offset, header: Some(header), damage: None };
                match walk.lines() {
                    Ok(lines) => visit(info, lines),
                    Err(error) => {
                        let damage = Some(walk.damage_of_frame(at, &header, error));
                        visit(FrameInfo { damage, ..info }, b"");
                    }
                }
            }
            Step::Damage(damage) => visit(info(None, Some(damage)), b""),
            Step::Tail { .. } => return Ok(walk.mark.position),
        }
    }
}
