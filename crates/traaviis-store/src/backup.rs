//! Copies of a data directory that is in use, and directories made from them.
//!
//! ```text
//! TARGET/manifests/00000000000000012345-2026-11-29T10-00-00Z.json   one for each backup
//! TARGET/objects/ab/abcdef...                                       bytes, named by their SHA-256
//! ```
//!
//! A backup is the log up to one position, and every file beside it that cannot be made again from
//! the log. Nothing is appended to segments that are full, so a later backup writes only what is
//! new: the newest segment, and what changed. The manifest is written last; without it the objects
//! of a backup that was broken off are only bytes that the next one may use.
//!
//! Responsible for copying, checking and removing; when backups are made, and how many are kept, is
//! the operator's to say. The data directory is not locked: a process that writes goes on.
//!
//! Invariants: nothing is removed from a folder while somebody adds to it; an object has the bytes
//! that its name says or is reported; a directory is restored whole or not at all; a directory with
//! something in it is never restored into.

mod hash;
mod manifest;
mod prune;
mod restore;
mod take;

pub use hash::{Histories, histories};
pub use manifest::{Entry, Manifest, SegmentEntry, list, read};
pub use prune::{Keep, Pruned, prune};
pub use restore::{Restored, Until, check, restore};
pub use take::{Taken, take};

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::FlockOperation;
use sha2::{Digest, Sha256};
use traaviis_ports::{LogError, Position};

use crate::{
    error::io_error,
    files::{hex, make_dir, sync_dir},
    lock::LOCK_FILE,
};

/// Format of manifests; a newer one is refused.
pub const FORMAT: u32 = 1;

/// Bytes read and written at once.
const PIECE_BYTES: usize = 256 << 10;

/// Why a backup cannot be made, read or restored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused, or the log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The folder holds no backup, or not the one that was asked for.
    #[error(
        "`{target}` holds no backup{which}; `traaviis backup list {target}` shows what it holds"
    )]
    Absent {
        /// Folder of backups.
        target: String,
        /// Which was looked for, with a leading space; empty for any.
        which: String,
    },
    /// Bytes are missing or are not those that were written.
    #[error("the backup is damaged: {0}; use an older one, or another copy of it")]
    Damaged(String),
    /// Written by a newer release.
    #[error(
        "manifest `{path}` is in format `{found}`, this release reads up to `{FORMAT}`; use the release that wrote it, or a newer one"
    )]
    Newer {
        /// Manifest.
        path: String,
        /// Format found.
        found: u32,
    },
    /// There is something where the restored directory would stand.
    #[error("`{0}` is not empty; restore into a directory that does not exist, then move it")]
    NotEmpty(String),
    /// The position or time lies outside of what the backup holds.
    #[error("{0}")]
    OutOfRange(String),
    /// Somebody else adds to the folder, or removes from it.
    #[error("another process backs up into `{0}` or prunes it; try again when it is done")]
    Held(String),
    /// Segments went away again and again while they were copied.
    #[error("the log was compacted while it was copied, {0} times in a row; try again")]
    Moving(u32),
}

impl Error {
    /// Returns the stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Error::Log(error) => error.code(),
            Error::Absent { .. } => "backup_absent",
            Error::Damaged(_) => "backup_damaged",
            Error::Newer { .. } => "data_format_newer",
            Error::NotEmpty(_) => "restore_not_empty",
            Error::OutOfRange(_) => "restore_out_of_range",
            Error::Moving(_) | Error::Held(_) => "busy",
        }
    }
}

/// Told how many bytes of how many are done.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

fn failed(what: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
    move |error| Error::Log(io_error(what, path, error))
}

fn objects(target: &Path) -> PathBuf {
    target.join("objects")
}

fn object(target: &Path, sha256: &str) -> PathBuf {
    objects(target).join(&sha256[..2]).join(sha256)
}

/// Copies up to `len` bytes and returns how many there were, with their SHA-256.
pub(crate) fn copy(from: &mut dyn Read, to: &mut dyn Write, len: u64) -> io::Result<(u64, String)> {
    let mut hash = Sha256::new();
    let mut piece = vec![0; PIECE_BYTES];
    let mut done = 0;
    while done < len {
        let wanted = piece.len().min((len - done) as usize);
        match from.read(&mut piece[..wanted]) {
            Ok(0) => break,
            Ok(read) => {
                hash.update(&piece[..read]);
                to.write_all(&piece[..read])?;
                done += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok((done, hex(&hash.finalize())))
}

/// Opens a new file that is the operator's alone.
pub(crate) fn create(path: &Path) -> Result<File, Error> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path).map_err(failed("create", path))
}

/// Gives a file its final name once its bytes are durable.
pub(crate) fn settle(file: File, beside: &Path, path: &Path) -> Result<(), Error> {
    file.sync_all().map_err(failed("sync", beside))?;
    fs::rename(beside, path).map_err(failed("rename", path))?;
    Ok(sync_dir(path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new(".")))?)
}

/// How a folder of backups is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    /// By who adds to it, beside others.
    Adding,
    /// By who takes away: what somebody else is about to name must not go.
    Removing,
}

/// Holds a folder of backups until the returned file is dropped.
fn hold(target: &Path, hold: Hold) -> Result<File, Error> {
    let path = target.join(LOCK_FILE);
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(&path).map_err(failed("open", &path))?;
    let operation = match hold {
        Hold::Adding => FlockOperation::NonBlockingLockShared,
        Hold::Removing => FlockOperation::NonBlockingLockExclusive,
    };
    match rustix::fs::flock(&file, operation) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::Held(target.display().to_string())),
        Err(error) => Err(failed("lock", &path)(error.into())),
    }
}

/// A part of the log as people name it.
fn span(from: Position, to: Position) -> String {
    format!("positions {from} to {to}")
}
