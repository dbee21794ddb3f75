//! The operating system's files behind [`traaviis_ports::disk`].
//!
//! Space is reserved with `fallocate`, which takes a fraction of a millisecond for a segment where
//! writing 64 MiB of zeros takes about 200 ms. Reserved extents are "unwritten", and turning them
//! into written ones costs a journal commit inside `fdatasync`; the log therefore writes zeros a
//! little ahead of its tail ([`crate::log`]), which measured as fast as a file zeroed beforehand.

pub use traaviis_ports::disk::{Access, Disk, DiskFile, is_full};

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::FallocateFlags;

/// The real disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsDisk;

/// A file of the real disk.
#[derive(Debug)]
pub struct OsFile(File);

/// Data is the operator's alone.
const FILE_MODE: u32 = 0o600;

/// Zeros are written in pieces of this size where the file system cannot reserve space.
const ZERO_BYTES: usize = 1 << 20;

/// The real disk for what need not outlive the process: nothing is synced, which costs most where
/// many small files are written.
#[derive(Clone, Copy, Debug, Default)]
pub struct ScratchDisk;

/// A file of the real disk that is never synced.
#[derive(Debug)]
pub struct ScratchFile(OsFile);

impl Disk for ScratchDisk {
    type File = ScratchFile;

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        OsDisk.create_dir(dir)
    }

    fn create(&self, path: &Path) -> io::Result<ScratchFile> {
        OsDisk.create(path).map(ScratchFile)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<ScratchFile> {
        OsDisk.open(path, access).map(ScratchFile)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        OsDisk.remove(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        OsDisk.remove_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        OsDisk.list(dir)
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for ScratchFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(bytes, offset)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(bytes, offset)
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        self.0.preallocate(len)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.truncate(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
}

impl Disk for OsDisk {
    type File = OsFile;

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
    }

    fn create(&self, path: &Path) -> io::Result<OsFile> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(FILE_MODE);
        options.open(path).map(OsFile)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<OsFile> {
        let mut options = OpenOptions::new();
        options.read(true).write(access == Access::Write);
        options.open(path).map(OsFile)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            // Every name of ours is plain text; others are none of our business.
            names.extend(entry?.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn sync_all(&self, dir: &Path) -> io::Result<()> {
        Ok(rustix::fs::syncfs(File::open(dir)?)?)
    }
}

impl DiskFile for OsFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        FileExt::write_at(&self.0, bytes, offset)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(&self.0, bytes, offset)
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, len) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => self.write_zeros(len),
            Err(error) => Err(error.into()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(&self.0)?)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn has_name(&self) -> io::Result<bool> {
        use std::os::unix::fs::MetadataExt;
        Ok(self.0.metadata()?.nlink() > 0)
    }
}

impl OsFile {
    /// Extends the file with zeros, leaving what is in it.
    fn write_zeros(&self, len: u64) -> io::Result<()> {
        let zeros = vec![0; ZERO_BYTES];
        let mut at = self.len()?;
        while at < len {
            let piece = (len - at).min(ZERO_BYTES as u64);
            self.write_all_at(&zeros[..piece as usize], at)?;
            at += piece;
        }
        Ok(())
    }
}
