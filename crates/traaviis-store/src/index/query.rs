//! Questions to the index, as SQL.
//!
//! Every list goes by id downwards along one of the indexes. A list of several statuses is one walk
//! for each, merged here, so that none has to sort or to pass over what is not asked for.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, ToSql, params, types::Type};
use traaviis_model::{InstanceId, TenantId, Text, Timestamp, record::Status};
use traaviis_ports::{
    Position,
    index::{Count, Query, Row},
};
use uuid::Uuid;

const COLUMNS: &str = "i.id, i.workflow, i.version, i.status, i.state, i.correlation, i.asks, \
    i.seq, i.created_at, i.updated_at, i.finished_at, i.due, i.first, i.last, \
    i.parent, i.tags, i.created_by, i.correlation_id, i.waits";

/// Returns the rows of a list, the newest id first.
pub(super) fn list(
    connection: &Connection,
    tenant: TenantId,
    query: &Query,
) -> rusqlite::Result<Vec<Row>> {
    // Few have the same key or tag, and few ask: one walk finds them, whatever their status.
    let is_narrow = query.correlation.is_some()
        || query.correlation_id.is_some()
        || query.asks
        || !query.tags.is_empty();
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
    let (wanted, mut values) = condition(tenant, query, statuses);
    let sql = format!("SELECT {COLUMNS}, NULL FROM {wanted} ORDER BY i.id DESC LIMIT ?");
    values.push(Box::new(i64::try_from(query.limit).unwrap_or(i64::MAX)));
    let mut statement = connection.prepare_cached(&sql)?;
    let values = rusqlite::params_from_iter(values);
    statement.query_map(values, |row| read(row, tenant))?.collect()
}

/// Counts the rows of a list without end.
pub(super) fn count(
    connection: &Connection,
    tenant: TenantId,
    query: &Query,
) -> rusqlite::Result<Vec<Count>> {
    let (wanted, values) = condition(tenant, query, &query.statuses);
    let sql = format!(
        "SELECT i.workflow, i.status, i.state, COUNT(*), MAX(i.updated_at) FROM {wanted} \
         GROUP BY i.workflow COLLATE BINARY, i.status, i.state ORDER BY 1 COLLATE BINARY, 2, 3"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let counts = statement.query_map(rusqlite::params_from_iter(values), |row| {
        Ok(Count {
            workflow: row.get::<_, String>(0)?.into(),
            status: status_at(row, 1)?,
            state: row.get::<_, String>(2)?.into(),
            count: row.get::<_, i64>(3)? as u64,
            updated_at: Timestamp(row.get(4)?),
        })
    })?;
    counts.collect()
}

/// Returns the tables with what must hold of a row, and the values in it.
fn condition(
    tenant: TenantId,
    query: &Query,
    statuses: &[Status],
) -> (String, Vec<Box<dyn ToSql>>) {
    let mut sql = String::from("instances i");
    let mut values: Vec<Box<dyn ToSql>> = Vec::new();
    for (number, tag) in query.tags.iter().enumerate() {
        sql += &format!(
            " JOIN tags t{number} ON t{number}.tenant = i.tenant AND t{number}.id = i.id \
             AND t{number}.tag = ?"
        );
        values.push(Box::new(tag.to_string()));
    }
    sql += " WHERE i.tenant = ?";
    values.push(Box::new(tenant.0.as_bytes().to_vec()));
    let texts = [
        ("i.workflow", &query.workflow),
        ("i.version", &query.version),
        ("i.state", &query.state),
        ("i.correlation", &query.correlation),
    ];
    for (column, wanted) in texts {
        if let Some(wanted) = wanted {
            sql += &format!(" AND {column} = ?");
            values.push(Box::new(wanted.to_string()));
        }
    }
    if let Some(wanted) = &query.correlation_id {
        // Who belongs to itself says nothing, so that the index of this column stays small.
        sql += " AND (i.correlation_id = ? OR (i.id = ? AND i.correlation_id IS NULL))";
        values.push(Box::new(wanted.to_string()));
        let id = Uuid::try_parse(wanted).unwrap_or_default();
        values.push(Box::new(id.as_bytes().to_vec()));
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
    (sql, values)
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
    Ok(Row {
        tenant,
        id: id_of(row.get(0)?),
        workflow: text(1)?,
        version: text(2)?,
        status: status_at(row, 3)?,
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
        tags: tags_at(row, 15)?,
        created_by: row.get::<_, Option<String>>(16)?.map(Text::from),
        correlation_id: row.get::<_, Option<String>>(17)?.map(Text::from),
        waits: row.get(18)?,
        snapshot: row.get(19)?,
    })
}

fn status_at(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<Status> {
    let status: String = row.get(at)?;
    status_of(&status).ok_or_else(|| {
        let why = format!("`{status}` is no status");
        rusqlite::Error::FromSqlConversionFailure(at, Type::Text, why.into())
    })
}

/// Returns what stands in the column of tags.
pub(super) fn tags_text(tags: &BTreeSet<Text>) -> Option<String> {
    (!tags.is_empty()).then(|| serde_json::to_string(tags).unwrap_or_default())
}

/// Reads the column of tags.
pub(super) fn tags_at(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<BTreeSet<Text>> {
    let Some(text) = row.get::<_, Option<String>>(at)? else { return Ok(BTreeSet::new()) };
    serde_json::from_str(&text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(at, Type::Text, error.into()))
}

fn status_of(word: &str) -> Option<Status> {
    Status::ALL.into_iter().find(|it| it.as_str() == word)
}
