//! What the databases of a data directory have in common.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig};

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
    // Plans do not depend on what is bound. Where there are partial indexes, each statement would
    // be planned anew for each value otherwise, which takes longer than most of them.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}

/// Readers of one database that are open; each keeps its pages, and opening one reads all tables'
/// definitions. Who comes while all are lent waits: there are rarely more processors.
const READERS_MAX: usize = 8;

/// Connections that read beside the one that writes.
#[derive(Debug)]
pub struct Readers {
    path: PathBuf,
    cache_kib: i32,
    pool: Mutex<Pool>,
    /// Somebody has given a reader back.
    back: Condvar,
}

#[derive(Debug, Default)]
struct Pool {
    idle: Vec<Connection>,
    lent: usize,
    /// How many times all were closed; who was lent one before closes it.
    closed: u64,
}

impl Readers {
    /// Returns readers of a database, each of which keeps this many KiB of pages.
    pub fn of(path: &Path, cache_kib: i32) -> Readers {
        let (pool, back) = (Mutex::default(), Condvar::new());
        Readers { path: path.to_path_buf(), cache_kib, pool, back }
    }

    /// Asks with a reader of its own; `ask` must not ask the same readers.
    pub fn read<T>(
        &self,
        ask: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let mut pool = lock(&self.pool);
        while pool.lent == READERS_MAX {
            pool = self.back.wait(pool).unwrap_or_else(PoisonError::into_inner);
        }
        pool.lent += 1;
        let mut lent = Lent { readers: self, closed: pool.closed, connection: pool.idle.pop() };
        drop(pool);
        let connection = match lent.connection.take() {
            Some(connection) => connection,
            None => open_reader(&self.path, self.cache_kib)?,
        };
        let answer = ask(&connection);
        // One that failed may be of no use any more.
        lent.connection = answer.is_ok().then_some(connection);
        answer
    }

    /// Closes them: those that are lent as soon as they are given back.
    pub fn close(&self) {
        let mut pool = lock(&self.pool);
        pool.closed += 1;
        pool.idle.clear();
    }
}

/// The right to one reader, given back whatever happens.
struct Lent<'r> {
    readers: &'r Readers,
    closed: u64,
    connection: Option<Connection>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut pool = lock(&self.readers.pool);
        pool.lent -= 1;
        if pool.closed == self.closed {
            pool.idle.extend(self.connection.take());
        }
        drop(pool);
        self.readers.back.notify_one();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn readers(dir: &Path) -> Readers {
        let path = dir.join("a.sqlite");
        let writer = Connection::open(&path).unwrap();
        writer.execute_batch("CREATE TABLE numbers (it INTEGER)").unwrap();
        Readers::of(&path, 64)
    }

    #[test]
    fn more_callers_than_readers_take_turns() {
        let dir = tempfile::tempdir().unwrap();
        let readers = readers(dir.path());
        std::thread::scope(|scope| {
            for _ in 0..READERS_MAX * 4 {
                scope.spawn(|| {
                    readers.read(|it| {
                        assert!(lock(&readers.pool).lent <= READERS_MAX);
                        it.query_row("SELECT count(*) FROM numbers", [], |row| row.get::<_, i64>(0))
                    })
                });
            }
        });
        let pool = lock(&readers.pool);
        assert_eq!(pool.lent, 0);
        assert!((1..=READERS_MAX).contains(&pool.idle.len()), "{}", pool.idle.len());
    }

    #[test]
    fn a_reader_that_fails_or_was_closed_is_not_lent_again() {
        let dir = tempfile::tempdir().unwrap();
        let readers = readers(dir.path());
        let idle = || lock(&readers.pool).idle.len();
        readers.read(|_| Ok(())).unwrap();
        assert_eq!(idle(), 1);
        readers.read(|it| it.execute_batch("SELECT it FROM nowhere")).unwrap_err();
        assert_eq!(idle(), 0);
        readers
            .read(|_| {
                readers.close();
                Ok(())
            })
            .unwrap();
        assert_eq!((idle(), lock(&readers.pool).lent), (0, 0));
    }

    #[test]
    fn a_plan_does_not_depend_on_what_is_bound() {
        let dir = tempfile::tempdir().unwrap();
        let readers = readers(dir.path());
        let planned = |it: &Connection| -> rusqlite::Result<i32> {
            let mut select = it.prepare("SELECT a FROM t WHERE a = ?1 AND b = ?2")?;
            for at in 0..3 {
                select.query([at, at])?.next()?;
            }
            Ok(select.get_status(rusqlite::StatementStatus::RePrepare))
        };
        let both = readers.read(|it| {
            it.execute_batch("CREATE TEMP TABLE t (a, b); CREATE INDEX i ON t (a) WHERE b = 1")?;
            let ours = planned(it)?;
            it.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, false)?;
            Ok((ours, planned(it)? > 0))
        });
        assert_eq!(both, Ok((0, true)), "and it would without that setting");
    }
}
