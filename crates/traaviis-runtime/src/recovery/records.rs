//! The records after the checkpoint, each applied to the instance that it belongs to.

use std::sync::Arc;

use traaviis_model::{
    Body, EventIds, Header, Record, Seq, Snapshot, TenantCtx,
    record::{ERASED, LineError, RECORD_VERSION},
};
use traaviis_ports::Line;

use super::{Open, Recovery, report::Fault, states::States};
use crate::{error::Error, index::catchup::Catchup, owner::Key, summary::Summary};

impl Recovery {
    /// Reads a record; `catchup` learns what the index must know of it.
    pub(crate) fn line(
        &mut self,
        Line { position, bytes: line, is_sealed }: Line<'_>,
        catchup: Option<&mut Catchup<'_>>,
        states: Option<States<'_>>,
    ) -> Result<(), Error> {
        self.report.records += 1;
        let unreadable = |error: serde_json::Error| Error::Line(Arc::new(error.into()));
        let header: Header = serde_json::from_slice(line).map_err(unreadable)?;
        if header.v > RECORD_VERSION {
            return Err(Error::Line(Arc::new(LineError::Newer { found: header.v })));
        }
        let key = Key { tenant: header.tenant_id, id: header.instance_id };
        let mut catchup = catchup;
        if let Some(it) = &mut catchup {
            it.record(key, header.seq, position);
        }
        if let Some(cause) = &header.causation_id {
            self.unheard.cause(key, cause);
        }
        if self.is_known(&key, header.seq) {
            let resting = self.resting.get(&key);
            let open = self.instances.get(&key).map(|it| &it.snapshot.workflow);
            let open = open.or_else(|| resting.as_ref().map(|it| &it.workflow));
            let workflow = open.or_else(|| self.finished.get(&key).map(|it| &it.workflow));
            if let Some(workflow) = workflow {
                self.unheard.known(key, &header, line, (workflow, is_sealed));
            }
            return Ok(());
        }
        self.activate(key, states)?;
        match Record::read_body(&header, line) {
            Ok(body) => {
                let ended = self.record(key, Record { header, body })?;
                if let (Some(snapshot), Some(it)) = (ended, catchup) {
                    it.ended(&snapshot);
                }
            }
            Err(error) => {
                let is_mendable = matches!(error, LineError::Unreadable(_));
                self.damage(key, header.seq.saturating_sub(1), &error.to_string());
                self.faults.entry(key).and_modify(|it| it.is_mendable = is_mendable);
            }
        }
        Ok(())
    }

    /// Says whether the checkpoint holds this record already, or nothing can be done with it.
    fn is_known(&self, key: &Key, seq: Seq) -> bool {
        self.seq_of(key).is_some_and(|it| seq <= it)
            || self.finished.get(key).is_some_and(|it| seq <= it.seq)
            || self.faults.contains_key(key)
    }

    /// Applies a record; returns the instance that ended with it.
    fn record(&mut self, key: Key, record: Record) -> Result<Option<Snapshot>, Error> {
        if let Body::DocumentPut { document, body, .. } = record.body {
            // Of one whose key is destroyed nothing is left that could be compiled.
            if &*document == "definition" && body.as_str() != Some(ERASED) {
                self.put_definition(key.tenant, record.header.definition_hash, body);
            }
            return Ok(None);
        }
        let Some(Open { snapshot, event_ids, .. }) = self.instances.get_mut(&key) else {
            return self.first_record(key, &record).map(|()| None);
        };
        if let Err(error) = snapshot.apply(&record) {
            let seq = record.header.seq.saturating_sub(1);
            self.damage(key, seq, &error.to_string());
            return Ok(None);
        }
        EventIds::note(event_ids, &record);
        self.unheard.record(key, &record, (&snapshot.workflow, snapshot.sealed_for().is_some()));
        if !snapshot.status.is_finished() {
            return Ok(None);
        }
        let summary = Summary::of(snapshot);
        let ended = self.instances.remove(&key);
        if ended.as_ref().is_some_and(|it| it.has_row) {
            self.gone.push(summary.clone());
        }
        self.put_finished(summary);
        Ok(ended.map(|it| it.snapshot))
    }

    fn first_record(&mut self, key: Key, record: &Record) -> Result<(), Error> {
        if let Some(snapshot) = Snapshot::reopen(record) {
            if self.finished.remove(&key).is_some() {
                self.finished_order.retain(|it| *it != key);
            }
            let contexts = self.contexts.entry(key.tenant);
            contexts.or_insert_with(|| TenantCtx::of_record(&record.header));
            let mut event_ids = None;
            EventIds::note(&mut event_ids, record);
            // The snapshot store may know its former end.
            self.put_open(snapshot, event_ids, true);
            return Ok(());
        }
        match Snapshot::create(record) {
            Ok(snapshot) => {
                let contexts = self.contexts.entry(key.tenant);
                contexts.or_insert_with(|| TenantCtx::of_record(&record.header));
                self.put_instance(snapshot, None);
                Ok(())
            }
            Err(error) => {
                let read = self.instances.keys().chain(self.finished.keys()).copied();
                let other = read.chain(self.resting.keys()).find(|it| it.id == key.id);
                if let Some(other) = other {
                    let (id, expected, found) = (key.id, other.tenant, key.tenant);
                    return Err(Error::TenantMismatch { id, expected, found });
                }
                self.damage(key, record.header.seq.saturating_sub(1), &error.to_string());
                Ok(())
            }
        }
    }

    pub(super) fn damage(&mut self, key: Key, seq: Seq, message: &str) {
        self.instances.remove(&key);
        self.resting.remove(&key);
        let (tenant, id) = (key.tenant, key.id);
        self.put_fault(Fault { tenant, id, seq, message: message.into(), is_mendable: false });
    }
}
