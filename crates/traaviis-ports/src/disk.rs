//! Files as the stores use them: few calls, each of which says what it makes durable.
//!
//! Responsible for the vocabulary of persistence only; `traaviis-store` brings the operating
//! system's files, `traaviis-testkit` brings files that crash, tear and run full on demand.
//!
//! Invariants an implementation keeps: bytes written are durable after [`DiskFile::sync`] returned
//! well and not before; names made, moved or removed are durable after [`Disk::sync_dir`]; a failed
//! sync says nothing about what is durable and is never to be repeated by the caller.

use std::{io, path::Path};

/// A directory tree.
pub trait Disk: Send + Sync {
    /// An open file.
    type File: DiskFile;

    /// Makes a directory and the ones above it; it may exist.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes a new file to read and write; it must not exist.
    fn create(&self, path: &Path) -> io::Result<Self::File>;

    /// Opens an existing file.
    fn open(&self, path: &Path, access: Access) -> io::Result<Self::File>;

    /// Gives a file or a directory another name, replacing the file that had it. Between two
    /// directories both must be synced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;

    /// Returns the names in a directory, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes everything durable that was written and named so far on the file system of a
    /// directory: one call for many files.
    fn sync_all(&self, dir: &Path) -> io::Result<()>;
}

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading only.
    Read,
    /// Reading and writing.
    Write,
}

/// An open file, addressed by offset.
pub trait DiskFile: Send + Sync {
    /// Writes at `offset`; may write less than all of it.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Reads at `offset`; 0 is the end of the file.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Reserves space for `len` bytes, read as zeros, so that writing them cannot run out of space.
    fn preallocate(&self, len: u64) -> io::Result<()>;

    /// Makes the bytes and the length durable.
    fn sync(&self) -> io::Result<()>;

    /// Cuts the file to `len` bytes.
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// Returns the length.
    fn len(&self) -> io::Result<u64>;

    /// Says whether the file still has a name: without one, what is in it goes with the process.
    fn has_name(&self) -> io::Result<bool> {
        Ok(true)
    }

    /// Says whether nothing is in it.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Writes all of `bytes` at `offset`.
    fn write_all_at(&self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write_at(bytes, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    bytes = &bytes[written..];
                    offset += written as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads until `bytes` is full or the file ends; returns how much was read.
    fn read_full_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < bytes.len() {
            match self.read_at(&mut bytes[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

/// Says whether an error means that space ran out, which passes, and not that the disk failed.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
