//! A copy of the documents of tenants that is whole, taken while a process writes to them.
//!
//! The files of a database that is in use belong together only in one instant: copied one after the
//! other they can tell a position and lack rows from before it, such as the one that took a right
//! away. So SQLite itself makes the copy, in one transaction.

use std::{
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags};
use uuid::Uuid;

use super::{Error, failed};
use crate::{
    documents::{DOCUMENTS_DIR, DOCUMENTS_FILE},
    sqlite::{self, BUSY_WAIT, Cause},
};

/// A copy that is removed when it is dropped.
#[derive(Debug)]
pub(super) struct DocumentsCopy {
    dir: PathBuf,
}

impl DocumentsCopy {
    /// Copies the documents of a data directory; none when it has none, or when they cannot be
    /// read: they are made again from the log then.
    pub(super) fn take(data: &Path) -> Result<Option<DocumentsCopy>, Error> {
        let from = data.join(DOCUMENTS_DIR).join(DOCUMENTS_FILE);
        if !from.is_file() {
            return Ok(None);
        }
        let dir = std::env::temp_dir().join(format!("traaviis-{}", Uuid::now_v7()));
        let made = fs::DirBuilder::new().mode(0o700).create(&dir);
        made.map_err(failed("create", &dir))?;
        let copy = DocumentsCopy { dir };
        match copy.fill(&from).map_err(|error| sqlite::cause(&error)) {
            Ok(()) => Ok(Some(copy)),
            Err(Cause::Full) => Err(Error::Full(format!(
                "cannot copy `{}` into `{}`",
                from.display(),
                copy.shown()
            ))),
            Err(Cause::Damaged(_) | Cause::Failed(_)) => Ok(None),
        }
    }

    fn fill(&self, from: &Path) -> rusqlite::Result<()> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(from, flags)?;
        connection.busy_timeout(BUSY_WAIT)?;
        connection.execute("VACUUM INTO ?1", [self.path().to_string_lossy()]).map(drop)
    }

    /// Returns where it is.
    pub(super) fn path(&self) -> PathBuf {
        self.dir.join(DOCUMENTS_FILE)
    }

    /// Returns which file of a data directory it is a copy of.
    pub(super) fn stands_for() -> String {
        format!("{DOCUMENTS_DIR}/{DOCUMENTS_FILE}")
    }

    fn shown(&self) -> String {
        self.dir.display().to_string()
    }
}

impl Drop for DocumentsCopy {
    fn drop(&mut self) {
        // What stays behind is in the folder for temporary files, readable by nobody else.
        let _ = fs::remove_dir_all(&self.dir);
    }
}
