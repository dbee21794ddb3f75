//! Checkpoints: a body of the caller's, and where in the log reading goes on after it.
//!
//! One file per checkpoint, named by position, the newest two are kept. A file is a header of
//! `HEADER_BYTES` with its own checksum, then the body with another. It is written beside, synced
//! and renamed, so a crash leaves the older one.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use traaviis_ports::{
    Position,
    disk::{Access, Disk, DiskFile},
    planted::{self, Bug},
};

use crate::walk::Mark;

/// Version of the file; it stands as a digit behind [`MAKER`].
const FORMAT: u32 = 1;
const MAKER: &[u8; 7] = b"TRVCKPT";
const MAGIC: [u8; 8] = *b"TRVCKPT1";
const HEADER_BYTES: usize = 8 + 8 + 8 + 8 + 8 + 8 + 1 + 32 + 8 + 4 + 4;
/// Checkpoints kept: the newest, and one in case it cannot be read.
const KEPT: usize = 2;
/// Bytes of a body; more is damage, an in-memory state of this size does not exist.
const BODY_BYTES_MAX: u64 = 8 << 30;

/// A checkpoint as read.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Everything before it is reflected in the body.
    pub position: Position,
    /// The frame boundary at or before `position` where a scan resumes.
    pub mark: Mark,
    /// The caller's bytes.
    pub body: Vec<u8>,
}

fn name(position: Position) -> String {
    format!("{position:020}.checkpoint")
}

/// Writes a checkpoint durably, then forgets the ones too old.
pub fn put<D: Disk>(
    disk: &D,
    dir: &Path,
    position: Position,
    mark: Mark,
    body: &[u8],
) -> Result<(), WriteError> {
    let header = encode(position, mark, body);
    write_atomically(disk, dir, &name(position), &[&header, body])?;
    // One file too many harms nobody; the next checkpoint tries again.
    for old in list(disk, dir).unwrap_or_default().into_iter().rev().skip(KEPT) {
        let _ = disk.remove(&dir.join(name(old)));
    }
    Ok(())
}

/// Returns the newest checkpoint that can be read.
pub fn newest<D: Disk>(disk: &D, dir: &Path) -> io::Result<Option<Checkpoint>> {
    for position in list(disk, dir)?.into_iter().rev() {
        let file = disk.open(&dir.join(name(position)), Access::Read)?;
        if let Some(checkpoint) = decode(&file)?
            && checkpoint.position == position
        {
            return Ok(Some(checkpoint));
        }
    }
    Ok(None)
}

/// Returns the oldest segment that a kept checkpoint goes on from; none without a checkpoint.
pub fn oldest_segment<D: Disk>(disk: &D, dir: &Path) -> io::Result<Option<Position>> {
    let mut oldest = None;
    for position in list(disk, dir)? {
        let file = disk.open(&dir.join(name(position)), Access::Read)?;
        if let Some(Head { mark, .. }) = decode_head(&file)? {
            oldest = Some(oldest.map_or(mark.segment, |it: Position| it.min(mark.segment)));
        }
    }
    Ok(oldest)
}

/// A checkpoint of a newer release, which stands aside now: everything in it is in the log too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newer {
    /// Where it was.
    pub path: PathBuf,
    /// Where it is.
    pub to: PathBuf,
    /// Format found.
    pub found: u32,
}

impl fmt::Display for Newer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Newer { path, to, found } = self;
        write!(
            f,
            "checkpoint `{}` is in format `{found}`, this release reads up to `{FORMAT}`; it is \
             `{}` now, and what is in it was read from the log",
            path.display(),
            to.display()
        )
    }
}

/// Gives the checkpoints of a newer release other names, so that none of them is removed as one
/// that is too old.
pub fn set_newer_aside<D: Disk>(disk: &D, dir: &Path) -> io::Result<Vec<Newer>> {
    let mut newer = Vec::new();
    for position in list(disk, dir)? {
        let path = dir.join(name(position));
        let mut magic = [0; MAGIC.len()];
        let read = disk.open(&path, Access::Read)?.read_full_at(&mut magic, 0)?;
        let digit = magic.strip_prefix(MAKER.as_slice()).filter(|_| read == magic.len());
        let found = digit.and_then(|it| char::from(it[0]).to_digit(36));
        if let Some(found) = found.filter(|it| *it > FORMAT) {
            let to = path.with_extension(format!("checkpoint.newer-{found}"));
            disk.rename(&path, &to)?;
            newer.push(Newer { path, to, found });
        }
    }
    Ok(newer)
}

fn list<D: Disk>(disk: &D, dir: &Path) -> io::Result<Vec<Position>> {
    let names = disk.list(dir)?;
    let parse = |name: &String| name.strip_suffix(".checkpoint")?.parse().ok();
    let mut positions: Vec<Position> = names.iter().filter_map(parse).collect();
    positions.sort_unstable();
    Ok(positions)
}

fn encode(position: Position, mark: Mark, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES);
    out.extend_from_slice(&MAGIC);
    for number in [position, mark.segment, mark.offset, mark.position, mark.epoch] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.push(u8::from(mark.previous.is_some()));
    out.extend_from_slice(&mark.previous.unwrap_or_default());
    out.extend_from_slice(&(body.len() as u64).to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(body).to_le_bytes());
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    debug_assert_eq!(out.len(), HEADER_BYTES);
    out
}

/// What the header of a checkpoint says.
struct Head {
    position: Position,
    mark: Mark,
    body_bytes: u64,
    body_crc: [u8; 4],
}

/// Reads the header of a checkpoint; nothing when it is damaged.
fn decode_head<F: DiskFile>(file: &F) -> io::Result<Option<Head>> {
    let mut header = [0; HEADER_BYTES];
    if file.read_full_at(&mut header, 0)? < HEADER_BYTES || header[..8] != MAGIC {
        return Ok(None);
    }
    let number = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&header[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    let crc_at = HEADER_BYTES - 4;
    if crc32c::crc32c(&header[..crc_at]).to_le_bytes() != header[crc_at..] {
        return Ok(None);
    }
    let mut previous = [0; 32];
    previous.copy_from_slice(&header[49..81]);
    let mut body_crc = [0; 4];
    body_crc.copy_from_slice(&header[89..93]);
    let mark = Mark {
        segment: number(16),
        offset: number(24),
        position: number(32),
        epoch: number(40),
        previous: (header[48] == 1).then_some(previous),
    };
    Ok(Some(Head { position: number(8), mark, body_bytes: number(81), body_crc }))
}

/// Reads a checkpoint; nothing when it is damaged, so that an older one is tried.
fn decode<F: DiskFile>(file: &F) -> io::Result<Option<Checkpoint>> {
    let Some(Head { position, mark, body_bytes, body_crc }) = decode_head(file)? else {
        return Ok(None);
    };
    if body_bytes > BODY_BYTES_MAX || file.len()? != HEADER_BYTES as u64 + body_bytes {
        return Ok(None);
    }
    let mut body = vec![0; body_bytes as usize];
    let read = file.read_full_at(&mut body, HEADER_BYTES as u64)?;
    if read < body.len() || crc32c::crc32c(&body).to_le_bytes() != body_crc {
        return Ok(None);
    }
    Ok(Some(Checkpoint { position, mark, body }))
}

/// Why a small file could not be replaced.
#[derive(Debug)]
pub enum WriteError {
    /// A sync failed; what is durable is unknown.
    Sync(io::Error),
    /// Something before it; the old file stands.
    Other(io::Error),
}

impl WriteError {
    /// Returns the system's answer.
    pub fn into_io(self) -> io::Error {
        match self {
            WriteError::Sync(error) | WriteError::Other(error) => error,
        }
    }
}

/// Replaces a file: written beside it, synced, renamed, the directory synced.
pub fn write_atomically<D: Disk>(
    disk: &D,
    dir: &Path,
    name: &str,
    parts: &[&[u8]],
) -> Result<(), WriteError> {
    let beside = dir.join(format!("{name}.tmp"));
    match disk.remove(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(WriteError::Other(error));
        }
        _ => {}
    }
    let file = disk.create(&beside).map_err(WriteError::Other)?;
    let mut at = 0;
    for part in parts {
        if let Err(error) = file.write_all_at(part, at) {
            // Half a file beside helps nobody and takes space that has just run out.
            let _ = disk.remove(&beside);
            return Err(WriteError::Other(error));
        }
        at += part.len() as u64;
    }
    file.sync().map_err(WriteError::Sync)?;
    disk.rename(&beside, &dir.join(name)).map_err(WriteError::Other)?;
    if planted::is(Bug::NameNotSynced) {
        return Ok(());
    }
    disk.sync_dir(dir).map_err(WriteError::Sync)
}
