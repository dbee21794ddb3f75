//! What the disk below a directory can do: space, and the speed of one durable write.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::fs::FallocateFlags;

/// A preallocated file for writes that are synced one by one, as the log does it; removed on drop.
#[derive(Debug)]
pub struct RawFile {
    file: File,
    path: PathBuf,
    bytes: u64,
    at: u64,
}

impl RawFile {
    /// Creates the file in `dir` and writes it once, so that later writes change no metadata.
    pub fn create(dir: &Path, bytes: u64) -> io::Result<RawFile> {
        let path = dir.join(format!("raw-{}.tmp", std::process::id()));
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(true).clone();
        let raw = RawFile { file: options.open(&path)?, path, bytes, at: 0 };
        // A file system without preallocation is slower, not wrong.
        let _ = rustix::fs::fallocate(&raw.file, FallocateFlags::empty(), 0, bytes);
        let zeros = vec![0u8; 1 << 20];
        let mut at = 0;
        while at < bytes {
            let part = (bytes - at).min(zeros.len() as u64);
            raw.file.write_all_at(&zeros[..part as usize], at)?;
            at += part;
        }
        raw.file.sync_all()?;
        Ok(raw)
    }

    /// Writes `bytes` and returns when they are durable; starts over at the end of the file.
    pub fn write_durably(&mut self, bytes: &[u8]) -> io::Result<Duration> {
        if self.at + bytes.len() as u64 > self.bytes {
            self.at = 0;
        }
        let begun = Instant::now();
        self.file.write_all_at(bytes, self.at)?;
        rustix::fs::fdatasync(&self.file)?;
        self.at += bytes.len() as u64;
        Ok(begun.elapsed())
    }
}

impl Drop for RawFile {
    fn drop(&mut self) {
        // Nothing depends on the file.
        let _ = fs::remove_file(&self.path);
    }
}

/// Puts bytes in the place of a file: readers see the old file or the new one, never a part of it.
/// A link stays a link, and the file keeps its permissions.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&beside)?;
        file.write_all(bytes)?;
        file.set_permissions(fs::metadata(&path)?.permissions())?;
        file.sync_all()?;
        fs::rename(&beside, &path)
    };
    write().inspect_err(|_| {
        // What is left is of no use to anybody.
        let _ = fs::remove_file(&beside);
    })
}

/// Returns the bytes that a normal user can still write below `dir`, and the whole.
pub fn space(dir: &Path) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok((stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize))
}

/// Returns the `share` (0 to 1) of sorted durations.
pub fn percentile(sorted: &[Duration], share: f64) -> Duration {
    let last = sorted.len().saturating_sub(1);
    let at = (last as f64 * share).round() as usize;
    sorted.get(at).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_taken_from_what_was_measured() {
        let sorted: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(percentile(&sorted, 0.5), Duration::from_millis(51));
        assert_eq!(percentile(&sorted, 0.99), Duration::from_millis(99));
        assert_eq!(percentile(&[], 0.5), Duration::ZERO);
    }
}
