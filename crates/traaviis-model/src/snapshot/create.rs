//! The first state of an instance, and the folding of a whole history.

use std::collections::BTreeMap;

use super::{Snapshot, apply::ApplyError};
use crate::{
    budget::Budgets,
    ids::Texts,
    record::{Body, Record, Status},
    value::Value,
};

impl Snapshot {
    /// Returns the state of an instance that had ended, after the record by which it goes on;
    /// needs no other record.
    pub fn reopen(record: &Record) -> Option<Snapshot> {
        let header = &record.header;
        let Body::Retried(retried) = &record.body else { return None };
        let (id, seq, step) = (header.instance_id, header.seq, header.step);
        Some(Snapshot { id, seq, step, updated_at: header.at, ..(*retried.state).clone() })
    }

    /// Returns the state after the first record, which must be `created`.
    pub fn create(record: &Record) -> Result<Snapshot, ApplyError> {
        let header = &record.header;
        let Body::Created {
            workflow,
            version,
            input,
            data,
            correlation,
            lineage,
            tags,
            labels,
            created_by,
            subject,
        } = &record.body
        else {
            return Err(ApplyError::NoCreated { instance: header.instance_id });
        };
        if header.seq != 1 {
            return Err(ApplyError::NotDense {
                instance: header.instance_id,
                last: 0,
                found: header.seq,
            });
        }
        Ok(Snapshot {
            id: header.instance_id,
            tenant_id: header.tenant_id,
            workflow: workflow.clone(),
            version: version.clone(),
            definition_hash: header.definition_hash,
            status: Status::Running,
            seq: 1,
            step: header.step,
            configuration: Texts::new(),
            input: input.clone(),
            data: data.clone(),
            output: Value::Null,
            error: None,
            ending: None,
            correlation: correlation.clone(),
            correlation_id: header.correlation_id.clone(),
            lineage: lineage.clone(),
            tags: tags.clone(),
            labels: labels.clone(),
            created_by: created_by.clone(),
            subject: subject.clone(),
            forked_from: None,
            children: BTreeMap::new(),
            history: BTreeMap::new(),
            timers: Vec::new(),
            trees: Vec::new(),
            deferred: Vec::new(),
            budgets: Budgets::default(),
            incidents: Vec::new(),
            held: Vec::new(),
            terminated: false,
            undo: None,
            transition_count: 0,
            last_transition_at: None,
            created_at: header.at,
            updated_at: header.at,
            finished_at: None,
        })
    }

    /// Folds a whole history.
    pub fn fold<'a>(
        records: impl IntoIterator<Item = &'a Record>,
    ) -> Result<Option<Snapshot>, ApplyError> {
        let mut snapshot: Option<Snapshot> = None;
        for record in records {
            match &mut snapshot {
                None => snapshot = Some(Snapshot::create(record)?),
                Some(it) => it.apply(record)?,
            }
        }
        Ok(snapshot)
    }
}
