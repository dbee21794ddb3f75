//! Holding a data directory against other processes.
//!
//! The lock is the operating system's, on the file `LOCK`, so it ends with the process however that
//! ends. The process id inside is for people and for the error.
//!
//! The directory itself is locked as well: whoever takes `LOCK` for a leftover and removes it would
//! let a second process in, and two that append to one segment destroy what the other was told.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::FlockOperation;
use traaviis_ports::LogError;

use crate::error::io_error;

/// Name of the lock file.
pub const LOCK_FILE: &str = "LOCK";

/// A held data directory; dropping it lets go.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
    _dir: File,
}

impl DirLock {
    /// Takes a data directory, making it when it does not exist.
    pub fn take(dir: &Path) -> Result<DirLock, LogError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|error| io_error("create", dir, error))?;
        let path = dir.join(LOCK_FILE);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).map_err(|error| io_error("open", &path, error))?;
        let held = || LogError::Locked { dir: dir.display().to_string(), pid: pid(&file) };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(held()),
            Err(error) => return Err(io_error("lock", &path, error.into())),
        }
        let itself = File::open(dir).map_err(|error| io_error("open", dir, error))?;
        // Some network file systems lock no directories; there `LOCK` alone must do.
        if let Err(rustix::io::Errno::WOULDBLOCK) =
            rustix::fs::flock(&itself, FlockOperation::NonBlockingLockExclusive)
        {
            return Err(held());
        }
        let written = file
            .set_len(0)
            .and_then(|()| file.write_all(format!("{}\n", std::process::id()).as_bytes()));
        written.map_err(|error| io_error("write", &path, error))?;
        Ok(DirLock { _file: file, _dir: itself })
    }
}

/// Returns the holder's process id, 0 when it has not written it yet.
fn pid(mut file: &File) -> u32 {
    let mut text = String::new();
    match file.read_to_string(&mut text) {
        Ok(_) => text.trim().parse().unwrap_or(0),
        Err(_) => 0,
    }
}
