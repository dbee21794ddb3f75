//! States of open instances in SQLite, behind the [`SnapshotStore`] port.
//!
//! One connection writes, a few read beside it (WAL). `synchronous` is `FULL`: what was put is
//! durable. The caller holds the data directory's lock.
//!
//! Invariants: whatever state the file is in, [`SqliteSnapshots::open`] gives a store that works; a
//! file that cannot be used is removed, since it holds nothing that the log does not. A flipped bit
//! is found: each row has a checksum, and all rows together have a count and a sum.

use std::{
    fmt,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use traaviis_model::{InstanceId, TenantCtx, TenantId};
use traaviis_ports::{
    Completion, Position, SnapshotError, SnapshotHead, SnapshotRow, SnapshotStore,
};
use uuid::Uuid;

use crate::sqlite::{self, Cause, Readers, lock};

/// Directory of the states in a data directory.
pub const SNAPSHOTS_DIR: &str = "snapshots";
/// Name of the database.
pub const SNAPSHOTS_FILE: &str = "snapshots.sqlite";
/// Version of the tables; another one is made again.
const SCHEMA: i32 = 1;
/// KiB of pages that the writer keeps; keys of some hundred thousand rows.
const WRITER_CACHE_KIB: i32 = 8 << 10;
/// KiB of pages that a reader keeps: the upper part of the trees.
const READER_CACHE_KIB: i32 = 1 << 10;
/// Pages in the WAL before SQLite copies them into the database.
const WAL_PAGES: i32 = 4_000;

/// The states.
pub struct SqliteSnapshots {
    path: PathBuf,
    readers: Readers,
    /// None between being removed and opened anew.
    writer: Mutex<Option<Connection>>,
}

impl SqliteSnapshots {
    /// Opens the states of a data directory, making an empty store when there is none, when it has
    /// other tables, or when it cannot be read.
    pub fn open(data: &Path) -> Result<SqliteSnapshots, SnapshotError> {
        let path = data.join(SNAPSHOTS_DIR).join(SNAPSHOTS_FILE);
        let writer = sqlite::open_replaceable(&path, prepare)?;
        let (readers, writer) = (Readers::of(&path, READER_CACHE_KIB), Mutex::new(Some(writer)));
        Ok(SqliteSnapshots { path, readers, writer })
    }

    /// Opens the states beside the process that writes them, or without one; none when there are
    /// none, or those of another release.
    pub fn open_read_only(data: &Path) -> Result<Option<SqliteSnapshots>, SnapshotError> {
        let path = data.join(SNAPSHOTS_DIR).join(SNAPSHOTS_FILE);
        if !path.exists() {
            return Ok(None);
        }
        let (readers, writer) = (Readers::of(&path, READER_CACHE_KIB), Mutex::new(None));
        let snapshots = SqliteSnapshots { path, readers, writer };
        let is_known = snapshots.read(|it| Ok(sqlite::schema_of(it)? == SCHEMA))?;
        Ok(is_known.then_some(snapshots))
    }

    fn read<T>(
        &self,
        ask: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, SnapshotError> {
        self.readers.read(ask).map_err(told)
    }
}

impl SnapshotStore for SqliteSnapshots {
    fn covers(&self) -> Result<Option<RangeInclusive<Position>>, SnapshotError> {
        self.read(|connection| {
            let sql = "SELECT first, last FROM progress";
            let found: (Option<i64>, Option<i64>) =
                connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let (Some(first), Some(last)) = found else { return Ok(None) };
            Ok(Some(first as Position..=last as Position))
        })
    }

    fn put(
        &self,
        rows: &mut dyn Iterator<Item = SnapshotRow>,
        complete: Option<Completion>,
    ) -> Result<(), SnapshotError> {
        let mut writer = lock(&self.writer);
        let Some(connection) = writer.as_mut() else {
            return Err(failed("they are open for reading only, or were removed"));
        };
        let transaction = connection.transaction().map_err(told)?;
        let mut put = Put::begin(&transaction, complete).map_err(told)?;
        for row in rows {
            put.row(row).map_err(told)?;
        }
        put.end(complete).map_err(told)?;
        transaction.commit().map_err(told)
    }

    fn visit(&self, visit: &mut dyn FnMut(SnapshotRow)) -> Result<(), SnapshotError> {
        let (expected, found, unreadable) = self.read(|connection| {
            let transaction = connection.unchecked_transaction()?;
            let sql = "SELECT count, sum FROM progress";
            let expected: (i64, i64) =
                transaction.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let sql = "SELECT tenant, id, ended, crc, head FROM heads";
            let mut select = transaction.prepare_cached(sql)?;
            let mut rows = select.query([])?;
            let (mut found, mut unreadable) = ((0_i64, 0_i64), false);
            while let Some(row) = rows.next()? {
                let key = (row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?);
                let (ended, crc): (bool, i64) = (row.get(2)?, row.get(3)?);
                let head = row.get_ref(4)?.as_blob()?;
                found = (found.0 + 1, found.1.wrapping_add(crc));
                match read_head(key, ended, head).filter(|_| crc == crc_of(key, ended, head)) {
                    Some(row) => visit(row),
                    None => unreadable = true,
                }
            }
            Ok((expected, found, unreadable))
        })?;
        if unreadable || expected != found {
            let why = format!("{} rows are there, {} should be", found.0, expected.0);
            let why = if expected.0 == found.0 { "a checksum is wrong".into() } else { why };
            return Err(SnapshotError::Damaged(why.into()));
        }
        Ok(())
    }

    fn get(&self, ctx: &TenantCtx, id: InstanceId) -> Result<Option<Vec<u8>>, SnapshotError> {
        let tenant = ctx.tenant();
        let key: (&[u8], &[u8]) = (tenant.0.as_bytes(), id.0.as_bytes());
        let found = self.read(|connection| {
            let sql = "SELECT crc, body FROM states WHERE tenant = ?1 AND id = ?2";
            connection
                .prepare_cached(sql)?
                .query_row([key.0, key.1], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()
        })?;
        let Some((crc, body)): Option<(i64, Vec<u8>)> = found else { return Ok(None) };
        if crc != crc_of(key, false, &body) {
            let why = format!("the checksum of the state of instance `{id}` is wrong");
            return Err(SnapshotError::Damaged(why.into()));
        }
        Ok(Some(body))
    }

    fn clear(&self) -> Result<(), SnapshotError> {
        Ok(sqlite::replace(&self.path, &self.writer, &self.readers, prepare)?)
    }
}

impl fmt::Debug for SqliteSnapshots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteSnapshots").field("path", &self.path).finish_non_exhaustive()
    }
}

/// One transaction that puts rows.
struct Put<'t> {
    transaction: &'t Transaction<'t>,
    written: i64,
    count: i64,
    sum: i64,
}

impl<'t> Put<'t> {
    fn begin(
        transaction: &'t Transaction<'t>,
        complete: Option<Completion>,
    ) -> rusqlite::Result<Put<'t>> {
        let sql = "SELECT count, sum, COALESCE(last, 0) FROM progress";
        let (count, sum, known): (i64, i64, i64) =
            transaction.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let written = complete.map_or(known, |it| it.position as i64);
        Ok(Put { transaction, written, count, sum })
    }

    fn row(&mut self, row: SnapshotRow) -> rusqlite::Result<()> {
        let (tenant, id) = row.key();
        let key: (&[u8], &[u8]) = (tenant.0.as_bytes(), id.0.as_bytes());
        let sql = "SELECT crc FROM heads WHERE tenant = ?1 AND id = ?2";
        let mut select = self.transaction.prepare_cached(sql)?;
        if let Some(crc) =
            select.query_row([key.0, key.1], |row| row.get::<_, i64>(0)).optional()?
        {
            (self.count, self.sum) = (self.count - 1, self.sum.wrapping_sub(crc));
        }
        let (ended, head) = match &row {
            SnapshotRow::Open(head, body) => {
                let sql = "INSERT INTO states VALUES (?1, ?2, ?3, ?4) ON CONFLICT (tenant, id) \
                           DO UPDATE SET crc = excluded.crc, body = excluded.body";
                let mut put = self.transaction.prepare_cached(sql)?;
                put.execute(params![key.0, key.1, crc_of(key, false, body), body])?;
                // A head is made of plain values and texts; writing it cannot fail.
                (false, serde_json::to_vec(head).unwrap_or_default())
            }
            SnapshotRow::Ended { summary, .. } => {
                let sql = "DELETE FROM states WHERE tenant = ?1 AND id = ?2";
                self.transaction.prepare_cached(sql)?.execute([key.0, key.1])?;
                (true, summary.clone())
            }
        };
        let crc = crc_of(key, ended, &head);
        (self.count, self.sum) = (self.count + 1, self.sum.wrapping_add(crc));
        let sql = "INSERT INTO heads VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (tenant, id) \
                   DO UPDATE SET ended = excluded.ended, written = excluded.written, \
                   crc = excluded.crc, head = excluded.head";
        let mut put = self.transaction.prepare_cached(sql)?;
        put.execute(params![key.0, key.1, ended, self.written, crc, head])?;
        Ok(())
    }

    fn end(mut self, complete: Option<Completion>) -> rusqlite::Result<()> {
        if let Some(Completion { position, forget }) = complete {
            let sql = "UPDATE progress SET first = MAX(COALESCE(first, ?1), ?2), last = ?1";
            self.transaction.prepare_cached(sql)?.execute([position as i64, forget as i64])?;
            let sql = "DELETE FROM heads WHERE ended = 1 AND written < ?1 RETURNING crc";
            let mut delete = self.transaction.prepare_cached(sql)?;
            let gone = delete.query_map([forget as i64], |row| row.get::<_, i64>(0))?;
            for crc in gone {
                (self.count, self.sum) = (self.count - 1, self.sum.wrapping_sub(crc?));
            }
        }
        let sql = "UPDATE progress SET count = ?1, sum = ?2";
        self.transaction.prepare_cached(sql)?.execute([self.count, self.sum])?;
        Ok(())
    }
}

fn prepare(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(sqlite::BUSY_WAIT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    connection.pragma_update(None, "wal_autocheckpoint", WAL_PAGES)?;
    // A WAL that a large checkpoint has made long is cut again.
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    if sqlite::schema_of(connection)? == SCHEMA {
        return connection.query_row("SELECT sum FROM progress", [], |_| Ok(()));
    }
    let transaction = connection.transaction()?;
    for table in ["progress", "heads", "states"] {
        transaction.execute_batch(&format!("DROP TABLE IF EXISTS {table}"))?;
    }
    transaction.execute_batch(include_str!("snapshots/schema.sql"))?;
    transaction.pragma_update(None, "user_version", SCHEMA)?;
    transaction.commit()
}

fn read_head(key: (&[u8], &[u8]), ended: bool, head: &[u8]) -> Option<SnapshotRow> {
    let tenant = TenantId(Uuid::from_slice(key.0).ok()?);
    let id = InstanceId(Uuid::from_slice(key.1).ok()?);
    if ended {
        return Some(SnapshotRow::Ended { tenant, id, summary: head.to_vec() });
    }
    let head: SnapshotHead = serde_json::from_slice(head).ok()?;
    (head.tenant == tenant && head.id == id).then(|| SnapshotRow::Open(head, Vec::new()))
}

/// Returns the checksum of a row: of its key, its kind and its content.
fn crc_of(key: (&[u8], &[u8]), ended: bool, content: &[u8]) -> i64 {
    let crc = crc32c::crc32c_append(crc32c::crc32c(key.0), key.1);
    i64::from(crc32c::crc32c_append(crc32c::crc32c_append(crc, &[u8::from(ended)]), content))
}

fn failed(why: impl Into<Arc<str>>) -> SnapshotError {
    SnapshotError::Failed(why.into())
}

fn told(error: rusqlite::Error) -> SnapshotError {
    sqlite::cause(&error).into()
}

impl From<Cause> for SnapshotError {
    fn from(cause: Cause) -> SnapshotError {
        match cause {
            Cause::Full => SnapshotError::Full,
            Cause::Damaged(why) => SnapshotError::Damaged(why),
            Cause::Failed(why) => SnapshotError::Failed(why),
        }
    }
}
