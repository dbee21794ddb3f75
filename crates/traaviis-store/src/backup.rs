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
//! Where they are kept is a [`BackupTarget`](traaviis_ports::BackupTarget): a [`Folder`], or what
//! another crate brings. What is written can be encrypted; then the manifest alone is in the open,
//! and names objects by the hash of what is stored.
//!
//! Responsible for copying, checking and removing; when backups are made, and how many are kept, is
//! the operator's to say. The data directory is not locked: a process that writes goes on.
//!
//! Invariants: nothing is removed from a folder while somebody adds to it; an object has the bytes
//! that its name says or is reported; a directory is restored whole or not at all; a directory with
//! something in it is never restored into.

mod cipher;
mod documents;
mod folder;
mod hash;
mod manifest;
mod prune;
mod restore;
mod take;

pub use cipher::{Identities, Recipients};
pub use folder::Folder;
pub use hash::{Histories, histories};
pub use manifest::{Entry, Manifest, SegmentEntry, list, position_of, read};
pub use prune::{Keep, Pruned, prune};
pub use restore::{Restored, Until, check, restore};
pub use take::{Extent, Options, SCHEDULE_DIR, Taken, take};

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use traaviis_ports::{LogError, Position, TargetError, disk::is_full};

use crate::{
    error::io_error,
    files::{hex, make_dir, sync_dir},
};

/// Newest format of manifests that is read; a newer one is refused.
pub const FORMAT: u32 = FORMAT_ENCRYPTED;
/// Format of manifests of backups in the open.
const FORMAT_OPEN: u32 = 1;
/// Format of manifests of encrypted backups, which earlier releases must not take for the others.
const FORMAT_ENCRYPTED: u32 = 2;

/// Where a target has the bytes, named by their SHA-256.
const OBJECTS: &str = "objects";

/// Bytes read and written at once.
const PIECE_BYTES: usize = 256 << 10;

/// Why a backup cannot be made, read or restored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused, or the log cannot be read.
    #[error(transparent)]
    Log(LogError),
    /// A disk has no space for what is written.
    #[error("{0}: the disk that it is written to is full; free space and try again")]
    Full(String),
    /// The place where backups are kept refuses.
    #[error(transparent)]
    Target(TargetError),
    /// It is encrypted, and nothing that was given opens it.
    #[error("{0}")]
    Encrypted(String),
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
    /// Segments went away again and again while they were copied.
    #[error("the log was compacted while it was copied, {0} times in a row; try again")]
    Moving(u32),
}

impl Error {
    /// Returns the stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Error::Log(error) => error.code(),
            Error::Full(_) => "storage_full",
            Error::Absent { .. } => "backup_absent",
            Error::Damaged(_) => "backup_damaged",
            Error::Newer { .. } => "data_format_newer",
            Error::NotEmpty(_) => "restore_not_empty",
            Error::OutOfRange(_) => "restore_out_of_range",
            Error::Moving(_) => "busy",
            Error::Target(error) => error.code(),
            Error::Encrypted(_) => "backup_encrypted",
        }
    }
}

impl From<LogError> for Error {
    fn from(error: LogError) -> Error {
        match error {
            // It is not the log that is written here.
            LogError::Full => Error::Full("cannot write all of it".into()),
            other => Error::Log(other),
        }
    }
}

impl From<TargetError> for Error {
    fn from(error: TargetError) -> Error {
        match error {
            TargetError::Log(LogError::Full) => Error::Full("cannot write the backup".into()),
            TargetError::Log(error) => Error::Log(error),
            other => Error::Target(other),
        }
    }
}

/// Told how many bytes of how many are done.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// Says what could not be done to a file of this machine; what the other end of a copy failed with
/// says so itself.
fn failed(what: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
    move |error| match error.downcast::<TargetError>() {
        Ok(target) => target.into(),
        Err(error) if is_full(&error) => Error::Full(format!("cannot {what} `{}`", path.display())),
        Err(error) => Error::Log(io_error(what, path, error)),
    }
}

/// Refuses one directory inside of another: each backup would hold the ones before it, and a folder
/// of backups is no place for anything else.
fn refuse_inside(inner: &Path, outer: &Path) -> Result<(), Error> {
    if !real(inner).starts_with(real(outer)) {
        return Ok(());
    }
    let (inner, outer) = (inner.display(), outer.display());
    let why = format!("`{inner}` lies in `{outer}`; name a place outside of it");
    Err(Error::Target(TargetError::Unusable(why)))
}

/// Returns where a path leads, of which the last parts may not be there yet.
fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let there = path.ancestors().find_map(|it| Some((it, it.canonicalize().ok()?)));
    match there {
        Some((above, real)) => match path.strip_prefix(above) {
            Ok(rest) if !rest.as_os_str().is_empty() => real.join(rest),
            _ => real,
        },
        None => path,
    }
}

/// Returns the name of an object in a target.
fn object(sha256: &str) -> String {
    format!("{OBJECTS}/{}/{sha256}", &sha256[..2])
}

/// Counts and hashes what passes.
struct Hashed<T> {
    inner: T,
    bytes: u64,
    hash: Sha256,
}

impl<T> Hashed<T> {
    fn new(inner: T) -> Hashed<T> {
        Hashed { inner, bytes: 0, hash: Sha256::new() }
    }

    /// Returns what was behind it, the number of bytes, and their SHA-256.
    fn done(self) -> (T, u64, String) {
        (self.inner, self.bytes, hex(&self.hash.finalize()))
    }

    fn passed(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.hash.update(bytes);
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.passed(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(bytes)?;
        self.passed(&bytes[..read]);
        Ok(read)
    }
}

/// Copies up to `len` bytes and returns how many there were.
fn pour(from: &mut dyn Read, to: &mut dyn Write, len: u64) -> io::Result<u64> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut done = 0;
    while done < len {
        let wanted = piece.len().min((len - done).min(PIECE_BYTES as u64) as usize);
        match from.read(&mut piece[..wanted]) {
            Ok(0) => break,
            Ok(read) => {
                to.write_all(&piece[..read])?;
                done += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Copies up to `len` bytes and returns how many there were, with their SHA-256.
pub(crate) fn copy(from: &mut dyn Read, to: &mut dyn Write, len: u64) -> io::Result<(u64, String)> {
    let mut to = Hashed::new(to);
    pour(from, &mut to, len)?;
    let (_, bytes, sha256) = to.done();
    Ok((bytes, sha256))
}

/// Opens a file for reading and writing that is the operator's alone.
fn open_private(path: &Path) -> io::Result<File> {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Opens a new file that is the operator's alone.
pub(crate) fn create(path: &Path) -> Result<File, LogError> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path).map_err(|error| io_error("create", path, error))
}

/// Gives a file its final name once its bytes are durable.
pub(crate) fn settle(file: &File, beside: &Path, path: &Path) -> Result<(), LogError> {
    file.sync_all().map_err(|error| io_error("sync", beside, error))?;
    fs::rename(beside, path).map_err(|error| io_error("rename", path, error))?;
    sync_dir(path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}

/// A part of the log as people name it.
fn span(from: Position, to: Position) -> String {
    format!("positions {from} to {to}")
}
