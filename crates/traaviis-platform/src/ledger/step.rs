//! One change as the log takes it: its records, with the audit entries behind the documents.

use std::sync::Arc;

use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

use traaviis_model::{
    Body, DefinitionHash, Header, InstanceId, Record, TenantCtx, TenantId, Text, Timestamp, Value,
    record::RECORD_VERSION,
};
use traaviis_ports::{Append, DocumentRow, Lines};

use super::{
    Head,
    changes::{Changes, Put},
    documents::Documents,
};
use crate::{
    audit::{self, AUDIT, Around, By, Noted, Via},
    repeated::USED_KEY,
};

/// What one change appends: documents, and audit entries behind them.
pub(super) struct Step {
    pub(super) records: Arc<Vec<Record>>,
    pub(super) puts: Vec<Put>,
    pub(super) audit: audit::Head,
    pub(super) noted: Vec<Noted>,
}

impl Step {
    pub(super) fn of(
        ctx: &TenantCtx,
        via: &Via,
        head: &Head,
        changes: Changes,
        documents: &Documents,
        now: Timestamp,
    ) -> Step {
        let Changes { puts, acts, before: _ } = changes;
        let around = match puts.as_slice() {
            // That a key was used is beside what was done.
            [(kind, ..)] if &**kind == USED_KEY => Around::default(),
            [(kind, id, after), ..] => Around {
                before_hash: documents.body(kind, id).map(audit::hash_of),
                after_hash: after.as_ref().map(audit::hash_of),
            },
            [] => Around::default(),
        };
        let (tenant, mut audit) = (ctx.tenant(), head.audit.clone());
        let (mut entries, mut noted) = (Vec::new(), Vec::new());
        for (act, by) in &acts {
            let entry = match by {
                None => audit.next(tenant, (ctx.actor(), via), act, &around, now),
                // It stands beside no change of a document.
                Some(By { actor, via, at }) => {
                    audit.next(tenant, (actor, via), act, &Around::default(), *at)
                }
            };
            audit = entry.head;
            entries.push(entry.value);
            noted.push(entry.noted);
        }
        let sheets = audit::sheets(entries, audit.seq);
        let mut bodies: Vec<(Text, Text, Value)> = puts
            .iter()
            .map(|(kind, id, body)| {
                let body = body.as_ref().map_or(Value::Null, Value::from);
                (kind.clone(), id.clone(), body)
            })
            .collect();
        bodies.extend(
            sheets.into_iter().map(|it| (AUDIT.into(), audit::id_of(it.last).into(), it.value)),
        );
        let record = |(at, (document, id, body))| Record {
            header: Header {
                tenant_id: tenant,
                instance_id: stream_of(tenant),
                seq: head.seq + 1 + at as u64,
                v: RECORD_VERSION,
                at: now,
                step: head.seq + 1,
                // No definition has decided it.
                definition_hash: DefinitionHash([0; 32]),
                actor: ctx.actor().clone(),
                causation_id: None,
                correlation_id: via.request_id.clone(),
                origin: None,
            },
            body: Body::DocumentPut { document, id, body },
        };
        let records = bodies.into_iter().enumerate().map(record).collect();
        Step { records: Arc::new(records), puts, audit, noted }
    }

    /// Returns it as it goes into the log.
    pub(super) fn append(&self, tenant: TenantId, head: &Head) -> Append {
        Append {
            stream: stream_of(tenant),
            first_seq: head.seq + 1,
            count: u32::try_from(self.records.len()).unwrap_or(u32::MAX),
            lines: Lines::Of(Arc::clone(&self.records)),
            ends_stream: false,
            known_to: head.known_to,
            subject: None,
        }
    }

    /// Returns its audit entries.
    pub(super) fn entries(&self) -> impl Iterator<Item = Json> {
        let sheets = self.records.iter().filter_map(|it| match &it.body {
            Body::DocumentPut { document, body, .. } if &**document == AUDIT => Some(body),
            _ => None,
        });
        sheets.flat_map(|it| audit::entries_of(Json::from(it)))
    }

    /// Returns what the projection keeps of it.
    pub(super) fn rows(&self) -> Vec<DocumentRow> {
        let row = |record: &Record| {
            let Body::DocumentPut { document, id, body } = &record.body else { return None };
            Some(DocumentRow {
                tenant: record.header.tenant_id,
                kind: document.clone(),
                id: id.clone(),
                version: record.header.seq,
                body: (!body.is_null()).then(|| body.to_json().into_bytes()),
            })
        };
        self.records.iter().filter_map(row).collect()
    }
}

/// Returns the stream of a tenant's documents.
pub fn stream_of(tenant: TenantId) -> InstanceId {
    let name = [b"ledger ".as_slice(), tenant.0.as_bytes()].concat();
    InstanceId::of_hash(&Sha256::digest(name).into())
}
