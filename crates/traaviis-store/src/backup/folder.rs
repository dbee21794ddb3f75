//! A folder that keeps backups.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::fs::FlockOperation;
use traaviis_ports::{
    LogError,
    backups::{BackupTarget, Draft, Held, Hold, Kept, TargetError},
};

use super::{create, settle};
use crate::{
    error::io_error,
    files::{make_dir, sync_dir},
    lock::LOCK_FILE,
};

/// A folder of backups; made when something is written.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Drafts begun, for their names.
    drafts: AtomicU64,
}

impl Folder {
    /// Names a folder.
    pub fn new(path: &Path) -> Folder {
        Folder { path: path.to_path_buf(), drafts: AtomicU64::new(0) }
    }
}

fn failed(what: &'static str, path: &Path) -> impl Fn(io::Error) -> LogError {
    move |error| io_error(what, path, error)
}

impl BackupTarget for Folder {
    fn show(&self, name: &str) -> String {
        match name {
            "" => self.path.display().to_string(),
            name => self.path.join(name).display().to_string(),
        }
    }

    fn folder(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn list(&self, under: &str) -> Result<Vec<Kept>, TargetError> {
        let (mut found, mut folders) = (Vec::new(), vec![under.to_string()]);
        while let Some(folder) = folders.pop() {
            let dir = self.path.join(&folder);
            let entries = match fs::read_dir(&dir) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other.map_err(failed("list", &dir))?,
            };
            for entry in entries {
                let entry = entry.map_err(failed("list", &dir))?;
                let Ok(name) = entry.file_name().into_string() else { continue };
                let name = format!("{folder}/{name}");
                let meta = entry.metadata().map_err(failed("look at", &entry.path()))?;
                match meta.is_dir() {
                    true => folders.push(name),
                    false => found.push(Kept { name, bytes: meta.len() }),
                }
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn has(&self, name: &str) -> Result<bool, TargetError> {
        Ok(self.path.join(name).is_file())
    }

    fn open(&self, name: &str) -> Result<Option<Box<dyn Read + Send>>, TargetError> {
        let path = self.path.join(name);
        match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => Ok(Some(Box::new(other.map_err(failed("open", &path))?))),
        }
    }

    fn draft(&self) -> Result<Box<dyn Draft + '_>, TargetError> {
        let dir = self.path.join(super::OBJECTS);
        make_dir(&dir)?;
        let number = self.drafts.fetch_add(1, Ordering::Relaxed);
        let beside = dir.join(format!("{}-{number}.tmp", std::process::id()));
        let file = Some(create(&beside)?);
        Ok(Box::new(FolderDraft { folder: self, beside, file }))
    }

    fn delete(&self, names: &[String]) -> Result<(), TargetError> {
        let mut folders = BTreeSet::new();
        for name in names {
            let path = self.path.join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other.map_err(failed("remove", &path))?,
            }
            folders.extend(path.parent().map(Path::to_path_buf));
        }
        for folder in folders {
            sync_dir(&folder)?;
        }
        Ok(())
    }

    fn hold(&self, hold: Hold) -> Result<Box<dyn Held + '_>, TargetError> {
        make_dir(&self.path)?;
        let path = self.path.join(LOCK_FILE);
        let file = super::open_private(&path).map_err(failed("open", &path))?;
        let operation = match hold {
            Hold::Adding => FlockOperation::NonBlockingLockShared,
            Hold::Removing => FlockOperation::NonBlockingLockExclusive,
        };
        match rustix::fs::flock(&file, operation) {
            Ok(()) => Ok(Box::new(FolderHeld { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(TargetError::Held(self.show(""))),
            Err(error) => Err(failed("lock", &path)(error.into()).into()),
        }
    }
}

/// The lock goes with the file.
struct FolderHeld {
    _file: File,
}

impl Held for FolderHeld {}

struct FolderDraft<'a> {
    folder: &'a Folder,
    beside: PathBuf,
    /// There until it has its name.
    file: Option<File>,
}

impl Write for FolderDraft<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.as_mut().map_or(Ok(0), |it| it.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Draft for FolderDraft<'_> {
    fn keep(mut self: Box<Self>, name: &str) -> Result<(), TargetError> {
        let place = self.folder.path.join(name);
        place.parent().map_or(Ok(()), make_dir)?;
        if let Some(file) = &self.file {
            settle(file, &self.beside, &place)?;
        }
        self.file = None;
        Ok(())
    }
}

impl Drop for FolderDraft<'_> {
    fn drop(&mut self) {
        if self.file.is_some() {
            // What stays behind is swept by the next prune.
            let _ = fs::remove_file(&self.beside);
        }
    }
}
