//! The newest version of every document in SQLite, behind the [`DocumentStore`] port.
//!
//! One connection writes, a few read beside it (WAL). `synchronous` is `NORMAL`: a power cut may
//! take back the last puts together with their position, and a start reads them from the log again.
//! The caller holds the data directory's lock.
//!
//! Invariants: whatever state the file is in, [`SqliteDocuments::open`] gives a store that works;
//! a file that cannot be used is removed, since it holds nothing that the log does not. Each row
//! has a checksum, so a flipped bit is found when it is read.

mod sealed;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use rusqlite::{Connection, OptionalExtension, Row, params};
use traaviis_model::{TenantCtx, TenantId, Text};
use traaviis_ports::{DocumentError, DocumentQuery, DocumentRow, DocumentStore, Position};
use uuid::Uuid;

use crate::sqlite::{self, Cause, Readers, lock};

pub use sealed::SealedDocuments;

/// Directory of the documents in a data directory.
pub const DOCUMENTS_DIR: &str = "documents";
/// Name of the database.
pub const DOCUMENTS_FILE: &str = "documents.sqlite";
/// Version of the tables; another one is made again.
const SCHEMA: i32 = 2;
/// The same tables, in which no body was sealed: whoever knows only these makes them again.
const SCHEMA_OPEN: i32 = 1;
/// KiB of pages that a connection keeps; documents that are asked for often are in memory.
const CACHE_KIB: i32 = 2 << 10;
/// Pages in the WAL before SQLite copies them into the database: two syncs then, and whoever
/// changes a document meanwhile waits for them.
const WAL_PAGES: i32 = 4_000;

/// The documents.
pub struct SqliteDocuments {
    path: PathBuf,
    readers: Readers,
    /// None between being removed and opened anew.
    writer: Mutex<Option<Connection>>,
}

impl SqliteDocuments {
    /// Opens the documents of a data directory, making an empty store when there is none, when it
    /// has other tables, or when it cannot be read.
    pub fn open(data: &Path) -> Result<SqliteDocuments, DocumentError> {
        let path = data.join(DOCUMENTS_DIR).join(DOCUMENTS_FILE);
        let writer = sqlite::open_replaceable(&path, prepare)?;
        let (readers, writer) = (Readers::of(&path, CACHE_KIB), Mutex::new(Some(writer)));
        Ok(SqliteDocuments { path, readers, writer })
    }

    fn read<T>(
        &self,
        ask: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, DocumentError> {
        self.readers.read(ask).map_err(told)
    }
}

impl DocumentStore for SqliteDocuments {
    fn position(&self) -> Result<Position, DocumentError> {
        self.read(|it| {
            it.query_row("SELECT position FROM progress", [], |row| row.get::<_, i64>(0))
        })
        .map(|it| it as Position)
    }

    fn put(&self, rows: &[DocumentRow], position: Position) -> Result<(), DocumentError> {
        let mut writer = lock(&self.writer);
        let Some(connection) = writer.as_mut() else { return Err(failed("they were removed")) };
        let transaction = connection.transaction().map_err(told)?;
        for row in rows {
            let DocumentRow { tenant, kind, id, version, body } = row;
            let sql = "INSERT INTO documents VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
                       ON CONFLICT (tenant, kind, id) DO UPDATE SET version = excluded.version, \
                       crc = excluded.crc, body = excluded.body \
                       WHERE excluded.version >= version";
            let crc = crc_of(row);
            let mut put = transaction.prepare_cached(sql).map_err(told)?;
            put.execute(params![tenant.0.as_bytes(), &**kind, &**id, *version as i64, crc, body])
                .map_err(told)?;
        }
        transaction
            .execute("UPDATE progress SET position = MAX(position, ?1)", [position as i64])
            .map_err(told)?;
        transaction.commit().map_err(told)
    }

    fn get(
        &self,
        ctx: &TenantCtx,
        kind: &str,
        id: &str,
    ) -> Result<Option<DocumentRow>, DocumentError> {
        let found = self.read(|it| {
            let sql = "SELECT tenant, kind, id, version, crc, body FROM documents \
                       WHERE tenant = ?1 AND kind = ?2 AND id = ?3 AND body IS NOT NULL";
            let tenant = ctx.tenant();
            it.prepare_cached(sql)?
                .query_row(params![tenant.0.as_bytes(), kind, id], raw)
                .optional()
        })?;
        found.map(checked).transpose()
    }

    fn list(
        &self,
        ctx: &TenantCtx,
        query: &DocumentQuery<'_>,
    ) -> Result<Vec<DocumentRow>, DocumentError> {
        let found: Vec<Raw> = self.read(|it| {
            let (than, order, start) = match query.descending {
                true => ("<", "DESC", "\u{10ffff}"),
                false => (">", "ASC", ""),
            };
            let sql = format!(
                "SELECT tenant, kind, id, version, crc, body FROM documents \
                 WHERE tenant = ?1 AND kind = ?2 AND id {than} ?3 AND body IS NOT NULL \
                 AND substr(id, 1, length(?4)) = ?4 ORDER BY id {order} LIMIT ?5"
            );
            let tenant = ctx.tenant();
            let after = query.after.unwrap_or(start);
            let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
            it.prepare_cached(&sql)?
                .query_map(
                    params![tenant.0.as_bytes(), query.kind, after, query.prefix, limit],
                    raw,
                )?
                .collect()
        })?;
        found.into_iter().map(checked).collect()
    }

    fn forget(&self, ctx: &TenantCtx, kind: &str, before: &str) -> Result<(), DocumentError> {
        let mut writer = lock(&self.writer);
        let Some(connection) = writer.as_mut() else { return Err(failed("they were removed")) };
        let sql = "DELETE FROM documents WHERE tenant = ?1 AND kind = ?2 AND id < ?3";
        let deleted = connection.execute(sql, params![ctx.tenant().0.as_bytes(), kind, before]);
        deleted.map(drop).map_err(told)
    }

    fn visit(&self, but: &[&str], visit: &mut dyn FnMut(DocumentRow)) -> Result<(), DocumentError> {
        let mut broken = None;
        self.read(|it| {
            let sql = "SELECT tenant, kind, id, version, crc, body FROM documents";
            let mut select = it.prepare_cached(sql)?;
            let mut rows = select.query([])?;
            while let Some(row) = rows.next()? {
                if but.contains(&row.get_ref(1)?.as_str()?) {
                    continue;
                }
                match checked(raw(row)?) {
                    Ok(row) => visit(row),
                    Err(error) => broken = Some(error),
                }
            }
            Ok(())
        })?;
        broken.map_or(Ok(()), Err)
    }

    fn clear(&self) -> Result<(), DocumentError> {
        Ok(sqlite::replace(&self.path, &self.writer, &self.readers, prepare)?)
    }
}

impl fmt::Debug for SqliteDocuments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteDocuments").field("path", &self.path).finish_non_exhaustive()
    }
}

/// A row as it stands in the table.
struct Raw {
    tenant: Vec<u8>,
    kind: Text,
    id: Text,
    version: i64,
    crc: i64,
    body: Option<Vec<u8>>,
}

fn raw(row: &Row<'_>) -> rusqlite::Result<Raw> {
    let text = |at| row.get_ref(at).and_then(|it| Ok(Text::from(it.as_str()?)));
    Ok(Raw {
        tenant: row.get(0)?,
        kind: text(1)?,
        id: text(2)?,
        version: row.get(3)?,
        crc: row.get(4)?,
        body: row.get(5)?,
    })
}

fn checked(raw: Raw) -> Result<DocumentRow, DocumentError> {
    let Raw { tenant, kind, id, version, crc, body } = raw;
    let tenant = Uuid::from_slice(&tenant).map(TenantId);
    let wrong = || {
        DocumentError::Damaged(format!("the checksum of document `{kind}/{id}` is wrong").into())
    };
    let tenant = tenant.map_err(|_| wrong())?;
    let row =
        DocumentRow { tenant, kind: kind.clone(), id: id.clone(), version: version as u64, body };
    match crc_of(&row) == crc {
        true => Ok(row),
        false => Err(wrong()),
    }
}

/// Returns the checksum of a row: of its key, its version and its body.
fn crc_of(row: &DocumentRow) -> i64 {
    let parts: [&[u8]; 5] = [
        row.tenant.0.as_bytes(),
        row.kind.as_bytes(),
        row.id.as_bytes(),
        &row.version.to_le_bytes(),
        row.body.as_deref().unwrap_or_default(),
    ];
    i64::from(parts.into_iter().fold(0, crc32c::crc32c_append))
}

fn prepare(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(sqlite::BUSY_WAIT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "wal_autocheckpoint", WAL_PAGES)?;
    // What is removed leaves no trace in free pages.
    connection.pragma_update(None, "secure_delete", true)?;
    if sqlite::schema_of(connection)? == SCHEMA_OPEN {
        connection.pragma_update(None, "user_version", SCHEMA)?;
    }
    if sqlite::schema_of(connection)? == SCHEMA {
        return connection.query_row("SELECT position FROM progress", [], |_| Ok(()));
    }
    let transaction = connection.transaction()?;
    for table in ["progress", "documents"] {
        transaction.execute_batch(&format!("DROP TABLE IF EXISTS {table}"))?;
    }
    transaction.execute_batch(include_str!("documents/schema.sql"))?;
    transaction.pragma_update(None, "user_version", SCHEMA)?;
    transaction.commit()
}

fn failed(why: impl Into<Arc<str>>) -> DocumentError {
    DocumentError::Failed(why.into())
}

fn told(error: rusqlite::Error) -> DocumentError {
    sqlite::cause(&error).into()
}

impl From<Cause> for DocumentError {
    fn from(cause: Cause) -> DocumentError {
        match cause {
            Cause::Full => DocumentError::Full,
            Cause::Damaged(why) => DocumentError::Damaged(why),
            Cause::Failed(why) => DocumentError::Failed(why),
        }
    }
}
