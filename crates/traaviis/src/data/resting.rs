//! A data directory at rest, or beside the process that holds it: read, counted and measured, never
//! changed.

use std::{path::Path, sync::Arc};

use traaviis_model::TenantCtx;
use traaviis_ports::{
    Compacted, Compaction, LogError, LogStore as _, Position, SnapshotStore, archive::Mode,
};
use traaviis_runtime::Fault;
use traaviis_store::{ReadOnlyLog, SealedLog, SqliteSnapshots};

use super::{lost, needs_log, refused, sealed};
use crate::{clock, exit::Failure, histories::Histories, lookup::Lookup, secrets};

/// A data directory opened for reading.
#[derive(Debug)]
pub struct Resting {
    /// Records as they are in the log.
    pub histories: Histories,
}

impl Resting {
    /// Opens a directory without its lock.
    pub fn open(dir: &Path) -> Result<Resting, Failure> {
        needs_log(dir)?;
        let log = sealed(dir, Arc::new(ReadOnlyLog::open(dir)?));
        let faults = match checkpoint_faults(dir, &log) {
            Ok(faults) => faults,
            Err(failure) => {
                let Failure { code, message, .. } = failure;
                tracing::warn!(code, "the checkpoint cannot be compared with the log: {message}");
                Vec::new()
            }
        };
        let ctx = TenantCtx::local_operator();
        let lookup = Lookup::resting(dir, log.inner()).filter(|_| faults.is_empty());
        Ok(Resting {
            histories: Histories::new(log, ctx, &faults, lookup, secrets::redaction(dir)),
        })
    }
}

/// Returns the instances that a start would set aside by its checkpoint.
pub fn checkpoint_faults(dir: &Path, log: &SealedLog<ReadOnlyLog>) -> Result<Vec<Fault>, Failure> {
    let Some((position, body)) = log.checkpoint()? else { return Ok(Vec::new()) };
    // The end is looked for once more: a running process may have written since, and then this
    // checkpoint.
    let end = log.inner().refresh()?;
    let mut lost = lost(&log.inner().damage());
    if end < position {
        lost.push(end..position);
    }
    let snapshots = SqliteSnapshots::open_read_only(dir).ok().flatten();
    let snapshots = snapshots.as_ref().map(|it| it as &dyn SnapshotStore);
    traaviis_runtime::faults(log, (position, &body), &lost, snapshots).map_err(refused)
}

/// Facts about a frame, as `log cat --headers` shows them.
#[derive(Clone, Copy, Debug)]
pub struct FrameFacts {
    /// Segment: position of its first record.
    pub segment: Position,
    /// Place in the segment.
    pub offset: u64,
    /// Writer.
    pub epoch: u64,
    /// Position of the first record.
    pub first: Position,
    /// Records.
    pub records: u32,
    /// Bytes on disk.
    pub payload_bytes: u32,
    /// Bytes of lines.
    pub line_bytes: u32,
    /// Checksum.
    pub crc: u32,
    /// How it is written.
    pub codec: &'static str,
}

/// A frame of the log.
pub enum Frame<'a> {
    /// One that can be read.
    Good {
        /// Facts.
        header: FrameFacts,
        /// JSON lines.
        lines: &'a [u8],
    },
    /// Damaged bytes.
    Bad {
        /// What is wrong.
        why: String,
    },
}

/// Visits the frames of a data directory until `visit` says false.
///
/// Returns the position at the end of the log.
pub fn each_frame(
    dir: &Path,
    visit: &mut dyn FnMut(Frame<'_>) -> bool,
) -> Result<Position, Failure> {
    let mut goes_on = true;
    let end = traaviis_store::visit_frames(dir, &mut |info, lines| {
        if !goes_on {
            return;
        }
        goes_on = match (info.header, info.damage) {
            (Some(header), None) => visit(Frame::Good {
                header: FrameFacts {
                    segment: info.segment,
                    offset: info.offset,
                    epoch: header.epoch,
                    first: header.first,
                    records: header.count,
                    payload_bytes: header.payload_bytes,
                    line_bytes: header.line_bytes,
                    crc: header.payload_crc,
                    codec: header.codec.as_str(),
                },
                lines,
            }),
            (_, damage) => visit(Frame::Bad {
                why: damage.map_or_else(|| "no header".into(), |it| it.to_string()),
            }),
        };
    })?;
    Ok(end)
}

/// Returns the process that holds a directory, if one does.
pub fn lock_holder(dir: &Path) -> Option<u32> {
    if !dir.join("LOCK").exists() {
        return None;
    }
    match traaviis_store::lock::DirLock::take(dir) {
        Err(LogError::Locked { pid, .. }) => Some(pid),
        _ => None,
    }
}

/// Returns what the log of a directory looks like; nothing when there is none.
pub fn inspect(dir: &Path) -> Option<Result<String, Failure>> {
    if !dir.join("log").is_dir() {
        return None;
    }
    let (mut records, mut frames, mut damaged) = (0_usize, 0, Vec::new());
    // Read before the end is looked for: a running process writes in the other order.
    let checkpoint = match ReadOnlyLog::open(dir).and_then(|it| it.checkpoint()) {
        Ok(found) => found.map(|(position, _)| position),
        Err(error) => return Some(Err(error.into())),
    };
    let read = each_frame(dir, &mut |frame| {
        match frame {
            Frame::Good { lines, .. } => {
                frames += 1;
                // An empty line stands for a record that compaction dropped.
                records += lines.split(|it| *it == b'\n').filter(|it| !it.is_empty()).count();
            }
            Frame::Bad { why } => damaged.push(why),
        }
        true
    });
    if let (Ok(end), Some(checkpoint)) = (&read, checkpoint)
        && *end < checkpoint
    {
        damaged.push(format!(
            "the log ends at position {end}, before its checkpoint at {checkpoint}; the records at \
             positions {end} to {} are missing",
            checkpoint - 1
        ));
    }
    Some(match (read, damaged.first()) {
        (Err(failure), _) => Err(failure),
        (Ok(_), None) => Ok(format!("{records} records in {frames} frames, all of them whole")),
        (Ok(_), Some(first)) => {
            let message = match damaged.len() {
                1 => first.clone(),
                count => format!("{count} damaged places; the first: {first}"),
            };
            Err(Failure::finding("data_directory_damaged", message))
        }
    })
}

/// Sizes of what a data directory holds.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Bytes of the log's segments.
    pub log: u64,
    /// Instances in the archive.
    pub archived: u64,
    /// Bytes of their files.
    pub archive: u64,
    /// Instances that are due for the archive.
    pub due: u64,
    /// Bytes of the log that compaction can free at present.
    pub free: u64,
}

/// Finds out sizes without changing anything; nothing when there is no log.
pub fn sizes(dir: &Path) -> Option<Result<Sizes, Failure>> {
    dir.join("log").is_dir().then(|| {
        let log = ReadOnlyLog::open(dir)?;
        let found = dry_run(&log, &mut |_| ())?;
        let archive = log.archive().map(|it| it.size()).transpose()?.unwrap_or_default();
        Ok(Sizes {
            log: log.bytes()?,
            archived: archive.instances,
            archive: archive.bytes,
            due: traaviis_runtime::upkeep::due_count(&log, clock::now()).map_err(refused)?,
            free: found.bytes_before.saturating_sub(found.bytes_after),
        })
    })
}

fn dry_run(log: &ReadOnlyLog, tell: &mut dyn FnMut(Compacted)) -> Result<Compacted, Failure> {
    let pace = &mut |_| true;
    Ok(log.compact(&mut Compaction { expired: &[], mode: Mode::DryRun, pace, tell })?)
}

/// Finds out what a compaction would free of what is archived, and how many instances are due.
pub fn would_compact(
    dir: &Path,
    tell: &mut dyn FnMut(Compacted),
) -> Result<(Compacted, u64), Failure> {
    needs_log(dir)?;
    let log = ReadOnlyLog::open(dir)?;
    let due = traaviis_runtime::upkeep::due_count(&log, clock::now()).map_err(refused)?;
    Ok((dry_run(&log, tell)?, due))
}
