//! Directories that nobody keeps.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::exit::{Exit, Failure};

/// A directory that is removed when it is dropped.
#[derive(Debug)]
pub struct Scratch {
    dir: Option<PathBuf>,
}

impl Scratch {
    /// Makes a scratch directory unless the caller has a directory to keep.
    pub fn unless(kept: Option<&Path>) -> Result<Scratch, Failure> {
        match kept {
            Some(_) => Ok(Scratch { dir: None }),
            None => Scratch::below(&std::env::temp_dir()),
        }
    }

    /// Makes a scratch directory below `parent`.
    pub fn below(parent: &Path) -> Result<Scratch, Failure> {
        let dir = parent.join(format!("traaviis-{}", uuid::Uuid::now_v7().simple()));
        match fs::create_dir_all(&dir) {
            Ok(()) => Ok(Scratch { dir: Some(dir) }),
            Err(error) => {
                let message = format!("cannot create `{}`: {error}", dir.display());
                Err(Failure::new(Exit::Denied, "storage_failed", message))
            }
        }
    }

    /// Returns the directory.
    pub fn dir(&self) -> &Path {
        self.dir.as_deref().unwrap_or(Path::new("."))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(dir) = &self.dir {
            // What cannot be removed now is the temporary folder's to clean.
            let _ = fs::remove_dir_all(dir);
        }
    }
}
