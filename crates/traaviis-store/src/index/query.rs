//! Questions to the index, as SQL.
//!
//! Every list goes by id downwards along one of the indexes. A list of several statuses is one walk
//! for each, merged here, so that none has to sort or to pass over what is not asked for.

use rusqlite::{Connection, OptionalExtension, ToSql, params, types::Type};
use traaviis_model::{InstanceId, TenantId, Text, Timestamp, record::Status};
use traaviis_ports::{
    Position,
    index::{Query, Row},
};
use uuid::Uuid;

const COLUMNS: &str = "i.id, i.workflow, i.version, i.status, i.state, i.correlation, i.asks, \
    i.seq, i.created_at, i.updated_at, i.finished_at, i.due, i.first, i.last, \
    i.parent";

/// Returns the rows of a list, the newest id first.
pub(super) fn list(
    connection: &Connection,
    tenant: TenantId,
    query: &Query,
) -> rusqlite::Result<Vec<Row>> {
    // Few have the same key, and few ask: one walk finds them, whatever their status.
    let is_narrow = query.correlation.is_some() || query.asks;
    if query.statuses.is_empty() || is_narrow {
        let mut rows = walk(connection, tenant, query, &query.statuses)?;
        rows.truncate(query.limit);
        return Ok(rows);
    }
    let mut rows = Vec::new();
    for status in &query.statuses {
        rows.extend(walk(connection, tenant, query, &[*status])?);
    }
    rows.sort_unstable_by_key(|it| std::cmp::Reverse(it.id));
    rows.truncate(query.limit);
    Ok(rows)
}

fn walk(
    connection: &Connection,
    tenant: TenantId,
    query: &Query,
    statuses: &[Status],
) -> rusqlite::Result<Vec<Row>> {
    let mut sql = format!("SELECT {COLUMNS}, NULL FROM instances i WHERE i.tenant = ?");
    let mut values: Vec<Box<dyn ToSql>> = vec![Box::new(tenant.0.as_bytes().to_vec())];
    let texts = [
        ("i.workflow", &query.workflow),
        ("i.state", &query.state),
        ("i.correlation", &query.correlation),
    ];
    for (column, wanted) in texts {
        if let Some(wanted) = wanted {
            sql += &format!(" AND {column} = ?");
            values.push(Box::new(wanted.to_string()));
        }
    }
    if let [status] = statuses {
        sql += " AND i.status = ?";
        values.push(Box::new(status.as_str()));
    } else if !statuses.is_empty() {
        let marks = vec!["?"; statuses.len()].join(", ");
        sql += &format!(" AND i.status IN ({marks})");
        values.extend(statuses.iter().map(|it| Box::new(it.as_str()) as Box<dyn ToSql>));
    }
    if query.asks {
        sql += " AND i.asks = 1";
    }
    if let Some(after) = query.after {
        sql += " AND i.id < ?";
        values.push(Box::new(after.0.as_bytes().to_vec()));
    }
    sql += " ORDER BY i.id DESC LIMIT ?";
    values.push(Box::new(i64::try_from(query.limit).unwrap_or(i64::MAX)));
    let mut statement = connection.prepare_cached(&sql)?;
    let values = rusqlite::params_from_iter(values);
    statement.query_map(values, |row| read(row, tenant))?.collect()
}

/// Returns one row with its snapshot.
pub(super) fn get(
    connection: &Connection,
    tenant: TenantId,
    id: InstanceId,
) -> rusqlite::Result<Option<Row>> {
    let sql = format!(
        "SELECT {COLUMNS}, s.body FROM instances i LEFT JOIN snapshots s \
         ON s.tenant = i.tenant AND s.id = i.id AND s.seq = i.seq WHERE i.tenant = ?1 AND i.id = ?2"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let names = params![tenant.0.as_bytes(), id.0.as_bytes()];
    statement.query_row(names, |row| read(row, tenant)).optional()
}

/// Returns ids by a part of their digits.
pub(super) fn ids(
    connection: &Connection,
    tenant: TenantId,
    digits: &str,
    limit: usize,
) -> rusqlite::Result<Vec<InstanceId>> {
    let digits = digits.to_ascii_lowercase();
    if digits.len() > 32 || !digits.bytes().all(|it| it.is_ascii_hexdigit()) {
        return Ok(Vec::new());
    }
    let bound = |fill: &str| {
        let text = format!("{digits}{}", fill.repeat(32 - digits.len()));
        Uuid::try_parse(&text).unwrap_or_default().into_bytes()
    };
    // The end of an id has no order to walk along; all ids are looked at.
    let sql = "SELECT id FROM instances WHERE tenant = ?1 AND id BETWEEN ?2 AND ?3 \
        UNION SELECT id FROM instances WHERE tenant = ?1 AND hex(id) LIKE '%' || ?4 \
        ORDER BY 1 LIMIT ?5";
    let mut statement = connection.prepare_cached(sql)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let values = params![tenant.0.as_bytes(), bound("0"), bound("f"), digits, limit];
    statement.query_map(values, |row| row.get::<_, [u8; 16]>(0).map(id_of))?.collect()
}

fn id_of(bytes: [u8; 16]) -> InstanceId {
    InstanceId(Uuid::from_bytes(bytes))
}

/// Reads a row of [`COLUMNS`] and a snapshot.
fn read(row: &rusqlite::Row<'_>, tenant: TenantId) -> rusqlite::Result<Row> {
    let text = |at: usize| row.get::<_, String>(at).map(Text::from);
    let time = |at: usize| row.get::<_, Option<i64>>(at).map(|it| it.map(Timestamp));
    let status: String = row.get(3)?;
    let Some(status) = status_of(&status) else {
        let why = format!("`{status}` is no status");
        return Err(rusqlite::Error::FromSqlConversionFailure(3, Type::Text, why.into()));
    };
    Ok(Row {
        tenant,
        id: id_of(row.get(0)?),
        workflow: text(1)?,
        version: text(2)?,
        status,
        state: text(4)?,
        correlation: row.get::<_, Option<String>>(5)?.map(Text::from),
        asks: row.get(6)?,
        seq: row.get::<_, i64>(7)? as u64,
        created_at: Timestamp(row.get(8)?),
        updated_at: Timestamp(row.get(9)?),
        finished_at: time(10)?,
        due: time(11)?,
        first: row.get::<_, Option<i64>>(12)?.map(|it| it as Position),
        last: row.get::<_, i64>(13)? as Position,
        parent: row.get::<_, Option<[u8; 16]>>(14)?.map(id_of),
        snapshot: row.get(15)?,
    })
}

fn status_of(word: &str) -> Option<Status> {
    Status::ALL.into_iter().find(|it| it.as_str() == word)
}
