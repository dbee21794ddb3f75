//! The index of a data directory in SQLite, behind the [`Index`] port.
//!
//! One connection writes, a few read beside it (WAL). `synchronous` is `NORMAL`: what a power cut
//! takes away is read from the log again. The caller holds the data directory's lock.
//!
//! Invariant: whatever state the file is in, [`SqliteIndex::open`] gives an index that works. One
//! that cannot be used is moved aside, never repaired and never removed.

mod query;

use std::{
    collections::BTreeSet,
    fmt, fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use traaviis_model::{InstanceId, TenantCtx, TenantId, Text};
use traaviis_ports::{
    Index, IndexError, Position,
    index::{Count, Query, Row},
};

use crate::sqlite::{self, Cause, Readers, lock};

/// Directory of the index in a data directory.
pub const INDEX_DIR: &str = "index";
/// Name of the database.
pub const INDEX_FILE: &str = "index.sqlite";
/// Version of the tables; another one is made again.
const SCHEMA: i32 = 5;
/// KiB of pages that the writer keeps; most of the index's memory.
const WRITER_CACHE_KIB: i32 = 16 << 10;
/// KiB of pages that a reader keeps.
const READER_CACHE_KIB: i32 = 2 << 10;
/// Pages in the WAL before SQLite copies them into the database.
const WAL_PAGES: i32 = 4_000;

const PUT: &str = "INSERT INTO instances (tenant, id, workflow, version, status, state, \
    correlation, asks, seq, created_at, updated_at, finished_at, due, first, last, \
    parent, tags, created_by, correlation_id, waits) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, \
    ?20) \
    ON CONFLICT (tenant, id) DO UPDATE SET workflow = excluded.workflow, \
    version = excluded.version, status = excluded.status, state = excluded.state, \
    correlation = excluded.correlation, asks = excluded.asks, seq = excluded.seq, \
    updated_at = excluded.updated_at, finished_at = excluded.finished_at, due = excluded.due, \
    first = COALESCE(excluded.first, first), last = excluded.last, tags = excluded.tags, \
    waits = excluded.waits \
    WHERE excluded.seq >= seq";
const PUT_SNAPSHOT: &str = "INSERT INTO snapshots (tenant, id, seq, body) VALUES (?1, ?2, ?3, ?4) \
    ON CONFLICT (tenant, id) DO UPDATE SET seq = excluded.seq, body = excluded.body \
    WHERE excluded.seq >= seq";

/// An index that was found unusable and moved aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Where it is now.
    pub path: PathBuf,
    /// What was wrong.
    pub why: String,
}

/// The index.
pub struct SqliteIndex {
    path: PathBuf,
    access: Access,
    /// Closed before the writer, which then copies its WAL into the database and removes it.
    readers: Readers,
    /// None between being moved aside and opened anew.
    writer: Mutex<Option<Connection>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Write,
    Read,
}

impl SqliteIndex {
    /// Opens the index of a data directory, making an empty one when there is none, when it has
    /// other tables, or when it cannot be read.
    pub fn open(data: &Path) -> Result<(SqliteIndex, Option<SetAside>), IndexError> {
        let dir = data.join(INDEX_DIR);
        fs::create_dir_all(&dir).map_err(|error| failed(format!("{}: {error}", dir.display())))?;
        let path = dir.join(INDEX_FILE);
        let (writer, aside) = match open_writer(&path) {
            Err(Refused::Newer(found)) => {
                let why = format!(
                    "index `{}` is in format `{found}`, this release reads up to `{SCHEMA}`",
                    path.display()
                );
                let aside = SetAside { path: sqlite::move_aside(&path, "newer")?, why };
                (open_known(&path)?, Some(aside))
            }
            Ok(writer) => (writer, None),
            Err(Refused::By(error @ IndexError::Damaged(_))) => {
                let why = error.to_string();
                let aside = SetAside { path: sqlite::move_aside(&path, "damaged")?, why };
                (open_known(&path)?, Some(aside))
            }
            Err(Refused::By(error)) => return Err(error),
        };
        let (writer, readers) = (Mutex::new(Some(writer)), Readers::of(&path, READER_CACHE_KIB));
        Ok((SqliteIndex { path, access: Access::Write, writer, readers }, aside))
    }

    /// Opens the index beside the process that writes it, or without one; none when there is no
    /// index, or one of another release.
    pub fn open_read_only(data: &Path) -> Result<Option<SqliteIndex>, IndexError> {
        let path = data.join(INDEX_DIR).join(INDEX_FILE);
        if !path.exists() {
            return Ok(None);
        }
        let readers = Readers::of(&path, READER_CACHE_KIB);
        let (access, writer) = (Access::Read, Mutex::new(None));
        let index = SqliteIndex { path, access, writer, readers };
        let is_known = index.read(|connection| Ok(sqlite::schema_of(connection)? == SCHEMA))?;
        Ok(is_known.then_some(index))
    }

    /// Moves the database aside, as damaged as it is, and begins an empty one.
    pub fn set_aside(&self, why: &str) -> Result<SetAside, IndexError> {
        let mut writer = lock(&self.writer);
        *writer = None;
        self.readers.close();
        let path = sqlite::move_aside(&self.path, "damaged")?;
        *writer = Some(open_known(&self.path)?);
        Ok(SetAside { path, why: why.into() })
    }

    fn read<T>(
        &self,
        ask: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, IndexError> {
        self.readers.read(ask).map_err(told)
    }

    fn write<T>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, IndexError> {
        let mut writer = lock(&self.writer);
        let Some(connection) = writer.as_mut() else {
            return Err(failed(match self.access {
                Access::Read => "it is open for reading only",
                Access::Write => "it was moved aside",
            }));
        };
        work(connection).map_err(told)
    }
}

impl Index for SqliteIndex {
    fn position(&self) -> Result<Position, IndexError> {
        self.read(|connection| {
            let sql = "SELECT position FROM progress";
            connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map(|it| it as Position)
        })
    }

    fn put(
        &self,
        rows: &mut dyn Iterator<Item = Row>,
        position: Position,
    ) -> Result<(), IndexError> {
        self.write(|connection| {
            let transaction = connection.transaction()?;
            {
                let mut put = transaction.prepare_cached(PUT)?;
                let mut put_snapshot = transaction.prepare_cached(PUT_SNAPSHOT)?;
                let tags = Tags(&transaction);
                for row in rows {
                    let (tenant, id) = (row.tenant.0.as_bytes(), row.id.0.as_bytes());
                    let before = tags.of(row.tenant, row.id)?;
                    let is_put = 0 < put.execute(params![
                        tenant,
                        id,
                        &*row.workflow,
                        &*row.version,
                        row.status.as_str(),
                        &*row.state,
                        row.correlation.as_deref(),
                        row.asks,
                        row.seq as i64,
                        row.created_at.0,
                        row.updated_at.0,
                        row.finished_at.map(|it| it.0),
                        row.due.map(|it| it.0),
                        row.first.map(|it| it as i64),
                        row.last as i64,
                        row.parent.as_ref().map(|it| it.0.as_bytes()),
                        query::tags_text(&row.tags),
                        row.created_by.as_deref(),
                        row.correlation_id.as_deref(),
                        row.waits,
                    ])?;
                    if is_put {
                        tags.change(row.tenant, row.id, &before, &row.tags)?;
                    }
                    if let Some(body) = &row.snapshot {
                        put_snapshot.execute(params![tenant, id, row.seq as i64, body])?;
                    }
                }
                let sql = "UPDATE progress SET position = MAX(position, ?1)";
                transaction.prepare_cached(sql)?.execute([position as i64])?;
            }
            transaction.commit()
        })
    }

    fn remove(
        &self,
        rows: &mut dyn Iterator<Item = (TenantId, InstanceId)>,
    ) -> Result<(), IndexError> {
        self.write(|connection| {
            let transaction = connection.transaction()?;
            {
                let sql = |table| format!("DELETE FROM {table} WHERE tenant = ?1 AND id = ?2");
                let mut of_instances = transaction.prepare_cached(&sql("instances"))?;
                let mut of_snapshots = transaction.prepare_cached(&sql("snapshots"))?;
                let tags = Tags(&transaction);
                for (tenant, id) in rows {
                    tags.change(tenant, id, &tags.of(tenant, id)?, &BTreeSet::new())?;
                    let (tenant, id) = (tenant.0.as_bytes(), id.0.as_bytes());
                    of_instances.execute(params![tenant, id])?;
                    of_snapshots.execute(params![tenant, id])?;
                }
            }
            transaction.commit()
        })
    }

    fn list(&self, ctx: &TenantCtx, query: &Query) -> Result<Vec<Row>, IndexError> {
        self.read(|connection| query::list(connection, ctx.tenant(), query))
    }

    fn count(&self, ctx: &TenantCtx, query: &Query) -> Result<Vec<Count>, IndexError> {
        self.read(|connection| query::count(connection, ctx.tenant(), query))
    }

    fn get(&self, ctx: &TenantCtx, id: InstanceId) -> Result<Option<Row>, IndexError> {
        self.read(|connection| query::get(connection, ctx.tenant(), id))
    }

    fn ids(
        &self,
        ctx: &TenantCtx,
        digits: &str,
        limit: usize,
    ) -> Result<Vec<InstanceId>, IndexError> {
        self.read(|connection| query::ids(connection, ctx.tenant(), digits, limit))
    }

    fn sync(&self) -> Result<(), IndexError> {
        // Copies the WAL into the database and syncs both; a reader that is in the way is passed.
        self.write(|connection| {
            connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
        })
    }

    fn clear(&self) -> Result<(), IndexError> {
        let emptied = self.write(|connection| {
            connection.execute_batch(
                "BEGIN; DELETE FROM instances; DELETE FROM snapshots; DELETE FROM tags; \
                 UPDATE progress SET position = 0; COMMIT",
            )
        });
        match emptied {
            Err(IndexError::Damaged(why)) => self.set_aside(&why).map(drop),
            other => other,
        }
    }
}

impl fmt::Debug for SqliteIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteIndex").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The table of tags, one entry for each tag of each instance, kept beside the column of tags.
///
/// Triggers could do so, but a statement with triggers copies every page that it changes into a
/// file of its own, to be undone alone: a third of what putting a row costs.
struct Tags<'t>(&'t Transaction<'t>);

impl Tags<'_> {
    /// Returns the tags that the row of an instance has.
    fn of(&self, tenant: TenantId, id: InstanceId) -> rusqlite::Result<BTreeSet<Text>> {
        let sql = "SELECT tags FROM instances WHERE tenant = ?1 AND id = ?2 AND tags IS NOT NULL";
        let mut select = self.0.prepare_cached(sql)?;
        let key = params![tenant.0.as_bytes(), id.0.as_bytes()];
        Ok(select.query_row(key, |row| query::tags_at(row, 0)).optional()?.unwrap_or_default())
    }

    fn change(
        &self,
        tenant: TenantId,
        id: InstanceId,
        before: &BTreeSet<Text>,
        after: &BTreeSet<Text>,
    ) -> rusqlite::Result<()> {
        let gone = "DELETE FROM tags WHERE tenant = ?1 AND tag = ?2 AND id = ?3";
        let new = "INSERT OR IGNORE INTO tags VALUES (?1, ?2, ?3)";
        let changes = before.difference(after).map(|it| (gone, it));
        for (sql, tag) in changes.chain(after.difference(before).map(|it| (new, it))) {
            let entry = params![tenant.0.as_bytes(), &**tag, id.0.as_bytes()];
            self.0.prepare_cached(sql)?.execute(entry)?;
        }
        Ok(())
    }
}

/// Why a database is not opened.
enum Refused {
    /// A newer release made it: what else it keeps there is not ours to drop.
    Newer(i32),
    By(IndexError),
}

impl From<rusqlite::Error> for Refused {
    fn from(error: rusqlite::Error) -> Refused {
        Refused::By(told(error))
    }
}

fn open_writer(path: &Path) -> Result<Connection, Refused> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(sqlite::BUSY_WAIT)?;
    let found = sqlite::schema_of(&connection)?;
    if found > SCHEMA {
        return Err(Refused::Newer(found));
    }
    prepare(&mut connection)?;
    Ok(connection)
}

/// Opens a database that this process has just made room for.
fn open_known(path: &Path) -> Result<Connection, IndexError> {
    open_writer(path).map_err(|refused| match refused {
        Refused::Newer(found) => failed(format!("format `{found}` came back by itself")),
        Refused::By(error) => error,
    })
}

fn prepare(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    connection.pragma_update(None, "wal_autocheckpoint", WAL_PAGES)?;
    // A WAL that grew while a reader was slow is cut again.
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    if sqlite::schema_of(connection)? == SCHEMA {
        return connection.query_row("SELECT position FROM progress", [], |_| Ok(()));
    }
    let transaction = connection.transaction()?;
    for table in ["progress", "instances", "snapshots", "tags"] {
        transaction.execute_batch(&format!("DROP TABLE IF EXISTS {table}"))?;
    }
    transaction.execute_batch(include_str!("index/schema.sql"))?;
    transaction.pragma_update(None, "user_version", SCHEMA)?;
    transaction.commit()
}

fn failed(why: impl Into<Arc<str>>) -> IndexError {
    IndexError::Failed(why.into())
}

fn told(error: rusqlite::Error) -> IndexError {
    sqlite::cause(&error).into()
}

impl From<Cause> for IndexError {
    fn from(cause: Cause) -> IndexError {
        match cause {
            Cause::Full => IndexError::Full,
            Cause::Damaged(why) => IndexError::Damaged(why),
            Cause::Failed(why) => IndexError::Failed(why),
        }
    }
}
