//! What is known of all ledgers at a start: the projection, then the tail of the log.
//!
//! Numbers of records of a ledger are dense. Where some are missing the log has lost them, and what
//! they said, such as that a right was taken away, is known to nobody: see [`Gap`]. The last ones
//! have none behind them that would show it. Where the projection does not know them either, a
//! ledger is whole only if it has a record behind everything that the log has lost.
//!
//! What was found is in the projection from then on: the next start does not read that far back.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use traaviis_model::{
    Body, InstanceId, Record, Seq, TenantId,
    record::{ERASED, peek_line},
};
use traaviis_ports::{DocumentRow, DocumentStore, Line, LogStore, Position};

use super::{GAP, HEAD, HEAVY, Head, documents::Documents, step::stream_of};
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
    /// Ledgers of which records are missing.
    pub(super) gaps: BTreeMap<TenantId, Gap>,
    pub(super) tail: Position,
    /// Behind which position the last record stands that was met of a ledger.
    met_to: HashMap<TenantId, Position>,
    /// How many records are known to be missing in ledgers, which are never compacted.
    missing: u64,
}

/// The first records that are missing in a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    from: Seq,
    /// The last of them; none when it is not known whether there were any.
    to: Option<Seq>,
}

/// What becomes of ledgers that may have lost their last records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// They are closed.
    Closes,
    /// Somebody who may decide it goes on with what the log has.
    IsAccepted,
}

impl Gap {
    /// Refuses what would be decided without knowing what the records said.
    pub(super) fn refusal(self, whose: &str) -> Error {
        let Gap { from, to } = self;
        let what = match to {
            Some(to) => format!("the log has lost records {from} to {to} of the documents of"),
            None => format!(
                "the log has lost records, `documents` was made again from it, and nothing shows \
                 whether some behind record {} belonged to the documents of",
                from - 1
            ),
        };
        let message = format!(
            "{what} {whose}, so nobody can tell who may still do what; keep a copy of the \
             directory, then restore it whole from a backup"
        );
        let way_out = match to {
            Some(_) => "",
            None => {
                ". `traaviis rebuild --accept-lost-documents` goes on with what the log has, also \
                 with rights that were taken away since"
            }
        };
        Error::new("data_directory_damaged", message + way_out)
    }

    fn row(self, tenant: TenantId) -> DocumentRow {
        let body = serde_json::json!(self).to_string().into_bytes();
        DocumentRow {
            tenant,
            kind: GAP.into(),
            id: GAP.into(),
            version: self.from,
            body: Some(body),
        }
    }
}

impl Known {
    pub(super) fn read(
        log: &dyn LogStore,
        store: &dyn DocumentStore,
        doubt: Doubt,
    ) -> Result<Known, Error> {
        let mut known = Known::default();
        let from = store.position()?;
        let tail = log.tail();
        if from > tail {
            let message = format!(
                "the log ends at position {tail}, and `documents` knows it up to {from}: records \
                 that were durable are gone, or the log is an older copy; restore the whole \
                 directory from a backup. To go on with what the log has, move `documents` away"
            );
            return Err(Error::new("data_directory_damaged", message));
        }
        store.visit(HEAVY, &mut |row| {
            let (head, documents) = known.ledgers.entry(row.tenant).or_default();
            if &*row.kind == HEAD {
                *head = Head::of_row(&row).unwrap_or_default();
            } else if &*row.kind == GAP {
                let gap = row.body.and_then(|it| serde_json::from_slice(&it).ok());
                known.gaps.extend(gap.map(|it| (row.tenant, it)));
            } else if let Some(body) = row.body.and_then(|it| serde_json::from_slice(&it).ok()) {
                documents.put(&row.kind, &row.id, row.version, Some(body));
            }
        })?;
        let (mut rows, mut broken) = (Vec::new(), None);
        known.tail = log.scan(from, &mut |line| {
            if let Err(error) = known.line(line, &mut rows) {
                broken.get_or_insert(error);
            }
        })?;
        if let Some(error) = broken {
            return Err(error);
        }
        match doubt {
            // What the projection has was written from memory that was right.
            Doubt::Closes if from == 0 => known.doubt(&log.lost()),
            Doubt::Closes => {}
            Doubt::IsAccepted => known.accept(&mut rows),
        }
        rows.extend(known.gaps.iter().map(|(tenant, gap)| gap.row(*tenant)));
        rows.extend(known.ledgers.iter().map(|(tenant, (head, _))| head.row(*tenant)));
        store.put(&rows, known.tail)?;
        Ok(known)
    }

    /// Closes the ledgers that have no record behind everything that is lost.
    fn doubt(&mut self, lost: &[Range<Position>]) {
        let Some(lost_to) = lost.iter().map(|it| it.end).max() else { return };
        // Where all that is lost is missing in ledgers that show it, the others are whole.
        if lost.iter().map(|it| it.end - it.start).sum::<u64>() <= self.missing {
            return;
        }
        for (tenant, (head, _)) in &self.ledgers {
            if self.met_to.get(tenant).is_none_or(|it| *it < lost_to) {
                self.gaps.entry(*tenant).or_insert(Gap { from: head.seq + 1, to: None });
            }
        }
    }

    /// Opens the ledgers that were closed in doubt alone.
    fn accept(&mut self, rows: &mut Vec<DocumentRow>) {
        self.gaps.retain(|tenant, gap| {
            if gap.to.is_none() {
                rows.push(DocumentRow { body: None, ..gap.row(*tenant) });
            }
            gap.to.is_some()
        });
    }

    /// Takes a line of the tail of the log, if it is of a ledger.
    fn line(&mut self, line: Line<'_>, rows: &mut Vec<DocumentRow>) -> Result<(), Error> {
        let Line { position, bytes: line, .. } = line;
        let unreadable = |error: String| {
            Error::new("record_unreadable", format!("a record of a ledger cannot be read: {error}"))
        };
        let Ok(key) = peek_line(line) else { return Ok(()) };
        let stream = self.streams.entry(key.tenant_id).or_insert_with_key(|it| stream_of(*it));
        if key.instance_id != *stream {
            return Ok(());
        }
        self.met_to.insert(key.tenant_id, position + 1);
        let (head, _) = self.ledgers.entry(key.tenant_id).or_default();
        if key.seq > head.seq + 1 {
            self.missing += key.seq - head.seq - 1;
            let gap = Gap { from: head.seq + 1, to: Some(key.seq - 1) };
            self.gaps.entry(key.tenant_id).or_insert(gap);
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
