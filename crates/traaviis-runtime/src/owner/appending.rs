//! What goes to the log: the records of a step, and documents with streams of their own.

use std::sync::Arc;

use traaviis_model::{
    Body, DefinitionHash, Header, InstanceId, Record, Snapshot, TenantCtx, Timestamp,
    record::RECORD_VERSION,
};
use traaviis_ports::{Append, Lines};

use super::{Commitment, Key, Outbox, Owner};

impl Owner {
    pub(super) fn append(
        &mut self,
        ctx: &TenantCtx,
        append: Append,
        commitment: Commitment,
        outbox: &mut dyn Outbox,
    ) {
        self.token += 1;
        self.commits.insert(self.token, commitment);
        outbox.append(ctx, append, self.token);
    }
}

/// Returns the append of a document, which has a stream of its own with one record.
pub(super) fn to_document(
    ctx: &TenantCtx,
    stream: InstanceId,
    at: Timestamp,
    definition_hash: DefinitionHash,
    body: Body,
) -> Append {
    let header = Header {
        tenant_id: ctx.tenant(),
        instance_id: stream,
        seq: 1,
        v: RECORD_VERSION,
        at,
        step: 1,
        definition_hash,
        actor: ctx.actor().clone(),
        causation_id: None,
        correlation_id: None,
        origin: None,
    };
    let lines = Lines::Of(Arc::new(vec![Record { header, body }]));
    Append { stream, first_seq: 1, count: 1, lines, ends_stream: false, known_to: 0, subject: None }
}

pub(super) fn to_append(key: Key, records: &Arc<Vec<Record>>, snapshot: &Snapshot) -> Append {
    debug_assert!(
        records
            .iter()
            .all(|it| it.header.tenant_id == key.tenant && it.header.instance_id == key.id),
        "records belong to the instance they are committed for"
    );
    Append {
        stream: key.id,
        first_seq: records.first().map_or(0, |it| it.header.seq),
        count: u32::try_from(records.len()).unwrap_or(u32::MAX),
        lines: Lines::Of(Arc::clone(records)),
        ends_stream: snapshot.status.is_finished(),
        known_to: 0,
        subject: snapshot.sealed_for().cloned(),
    }
}
