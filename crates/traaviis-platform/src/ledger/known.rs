//! What is known of all ledgers at a start: the projection, then the tail of the log.

use std::collections::HashMap;

use serde_json::Value as Json;

use traaviis_model::{
    Body, InstanceId, Record, TenantId,
    record::{ERASED, peek_line},
};
use traaviis_ports::{DocumentRow, DocumentStore, LogStore, Position};

use super::{HEAD, HEAVY, Head, documents::Documents, step::stream_of};
use crate::{
    audit::{self, AUDIT},
    error::Error,
};

/// What is known of all ledgers at a start.
#[derive(Default)]
pub(super) struct Known {
    pub(super) ledgers: HashMap<TenantId, (Head, Documents)>,
    /// Streams of tenants that were met, each hashed once.
    streams: HashMap<TenantId, InstanceId>,
    pub(super) tail: Position,
}

impl Known {
    pub(super) fn read(log: &dyn LogStore, store: &dyn DocumentStore) -> Result<Known, Error> {
        let mut known = Known::default();
        let from = store.position()?;
        if from > log.tail() {
            let message = "the projection knows more than the log, so it is of another one";
            return Err(Error::new("documents_failed", message));
        }
        store.visit(HEAVY, &mut |row| {
            let (head, documents) = known.ledgers.entry(row.tenant).or_default();
            if &*row.kind == HEAD {
                *head = Head::of_row(&row).unwrap_or_default();
            } else if let Some(body) = row.body.and_then(|it| serde_json::from_slice(&it).ok()) {
                documents.put(&row.kind, &row.id, row.version, Some(body));
            }
        })?;
        let (mut rows, mut broken) = (Vec::new(), None);
        known.tail = log.scan(from, &mut |line| {
            if let Err(error) = known.line(line.bytes, &mut rows) {
                broken.get_or_insert(error);
            }
        })?;
        if let Some(error) = broken {
            return Err(error);
        }
        rows.extend(known.ledgers.iter().map(|(tenant, (head, _))| head.row(*tenant)));
        store.put(&rows, known.tail)?;
        Ok(known)
    }

    /// Takes a line of the tail of the log, if it is of a ledger.
    fn line(&mut self, line: &[u8], rows: &mut Vec<DocumentRow>) -> Result<(), Error> {
        let unreadable = |error: String| {
            Error::new("record_unreadable", format!("a record of a ledger cannot be read: {error}"))
        };
        let Ok(key) = peek_line(line) else { return Ok(()) };
        let stream = self.streams.entry(key.tenant_id).or_insert_with_key(|it| stream_of(*it));
        if key.instance_id != *stream {
            return Ok(());
        }
        let record = Record::read_line(line).map_err(|error| unreadable(error.to_string()))?;
        let Body::DocumentPut { document, id, body } = record.body else { return Ok(()) };
        let (tenant, seq) = (key.tenant_id, key.seq);
        // Of what was sealed nothing is there once the key is destroyed.
        let is_there = !body.is_null() && body.as_str() != Some(ERASED);
        let body = is_there.then(|| Json::from(&body));
        let (head, documents) = self.ledgers.entry(tenant).or_default();
        if seq <= head.seq {
            return Ok(());
        }
        head.seq = seq;
        if &*document == AUDIT
            && let Some(entry) = &body
        {
            let entry = entry.as_array().and_then(|it| it.last()).unwrap_or(entry);
            let hash = entry["hash"].as_str().unwrap_or_default().into();
            head.audit = audit::Head { seq: entry["seq"].as_u64().unwrap_or_default(), hash };
        }
        documents.put(&document, &id, seq, body.clone());
        let body = body.map(|it| it.to_string().into_bytes());
        rows.push(DocumentRow { tenant, kind: document, id, version: seq, body });
        Ok(())
    }
}
