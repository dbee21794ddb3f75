//! What the databases of a data directory have in common.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags};

/// How long a connection waits for another program that holds the database.
pub const BUSY_WAIT: Duration = Duration::from_secs(5);

/// Why a database cannot be used.
#[derive(Clone, Debug)]
pub enum Cause {
    /// No space.
    Full,
    /// What is in it cannot be trusted.
    Damaged(Arc<str>),
    /// The system or another program stands in the way.
    Failed(Arc<str>),
}

/// Opens a connection that reads only and keeps this many KiB of pages.
fn open_reader(path: &Path, cache_kib: i32) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_WAIT)?;
    connection.pragma_update(None, "cache_size", -cache_kib)?;
    Ok(connection)
}

/// Idle readers that are kept.
const READERS_MAX: usize = 4;

/// Connections that read beside the one that writes, opened as many as read at once.
#[derive(Debug)]
pub struct Readers {
    path: PathBuf,
    cache_kib: i32,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    /// Returns readers of a database, each of which keeps this many KiB of pages.
    pub fn of(path: &Path, cache_kib: i32) -> Readers {
        Readers { path: path.to_path_buf(), cache_kib, idle: Mutex::default() }
    }

    /// Asks with a reader of its own.
    pub fn read<T>(
        &self,
        ask: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let held = lock(&self.idle).pop();
        let reader = match held {
            Some(reader) => reader,
            None => open_reader(&self.path, self.cache_kib)?,
        };
        let answer = ask(&reader);
        let mut idle = lock(&self.idle);
        if answer.is_ok() && idle.len() < READERS_MAX {
            idle.push(reader);
        }
        answer
    }

    /// Closes those that are idle.
    pub fn close(&self) {
        lock(&self.idle).clear();
    }
}

/// Returns the version of the tables; 0 in a new database.
pub fn schema_of(connection: &Connection) -> rusqlite::Result<i32> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Gives a database and what belongs to it a name that is free and says why, and returns it.
pub fn move_aside(path: &Path, word: &str) -> Result<PathBuf, Cause> {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let named =
        |number: u32, end: &str| path.with_file_name(format!("{file}.{word}-{number}{end}"));
    let number = (1..).find(|it| !named(*it, "").exists()).unwrap_or(u32::MAX);
    for end in ["", "-wal", "-shm"] {
        let from = path.with_file_name(format!("{file}{end}"));
        match fs::rename(&from, named(number, end)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let why = format!("cannot move `{}` aside: {error}", from.display());
                return Err(Cause::Failed(why.into()));
            }
            _ => {}
        }
    }
    Ok(named(number, ""))
}

/// Opens the one that writes to a database that holds nothing that the log does not: made when it
/// is not there, and made anew when it cannot be used.
pub fn open_replaceable(
    path: &Path,
    prepare: fn(&mut Connection) -> rusqlite::Result<()>,
) -> Result<Connection, Cause> {
    let dir = path.parent().unwrap_or(path);
    let made = fs::create_dir_all(dir);
    made.map_err(|error| Cause::Failed(format!("{}: {error}", dir.display()).into()))?;
    let open = || {
        let mut connection = Connection::open(path)?;
        prepare(&mut connection)?;
        Ok(connection)
    };
    match open().map_err(|error| cause(&error)) {
        Err(Cause::Damaged(_)) => {
            remove(path)?;
            open().map_err(|error| cause(&error))
        }
        other => other,
    }
}

/// Makes such a database anew, whatever is in it.
pub fn replace(
    path: &Path,
    writer: &Mutex<Option<Connection>>,
    readers: &Readers,
    prepare: fn(&mut Connection) -> rusqlite::Result<()>,
) -> Result<(), Cause> {
    let mut writer = lock(writer);
    *writer = None;
    readers.close();
    remove(path)?;
    *writer = Some(open_replaceable(path, prepare)?);
    Ok(())
}

/// Removes a database and what belongs to it.
fn remove(path: &Path) -> Result<(), Cause> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    for end in ["-wal", "-shm", ""] {
        let file = path.with_file_name(format!("{name}{end}"));
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let why = format!("cannot remove `{}`: {error}", file.display());
                return Err(Cause::Failed(why.into()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Takes a lock that no panic can break: a transaction it interrupts is rolled back by SQLite.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sorts SQLite's answer.
pub fn cause(error: &rusqlite::Error) -> Cause {
    let why: Arc<str> = error.to_string().into();
    match error {
        rusqlite::Error::SqliteFailure(cause, _) => match cause.code {
            ErrorCode::DiskFull => Cause::Full,
            ErrorCode::OperationInterrupted
            | ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::PermissionDenied
            | ErrorCode::ReadOnly
            | ErrorCode::CannotOpen
            | ErrorCode::OutOfMemory => Cause::Failed(why),
            _ => Cause::Damaged(why),
        },
        // A column that holds something else than was written, or a table that is not there.
        _ => Cause::Damaged(why),
    }
}
