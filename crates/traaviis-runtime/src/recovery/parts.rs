//! What was read is divided among the owners.

use std::{collections::HashMap, sync::Arc};

use traaviis_engine::Machine;
use traaviis_model::{
    Actor, DefinitionHash, EventIds, Header, Seq, Snapshot, TenantCtx, TenantId, Timestamp, Value,
    record::RECORD_VERSION,
};

use super::{
    Open, Recovery,
    heads::{Head, Heads},
    report::{Fault, RecoveryReport},
};
use crate::{
    owner::{Key, Outgoing, SeededHasher},
    summary::Summary,
    unheard::Hearer,
};

/// An open instance as recovery hands it over.
pub struct Recovered {
    /// The engine in its tenant.
    pub ctx: TenantCtx,
    /// Its state.
    pub snapshot: Snapshot,
    /// Its deduplication ids.
    pub event_ids: Option<Box<EventIds>>,
    /// The snapshot store has an older state of it.
    pub has_row: bool,
}

/// What one owner gets from recovery.
#[derive(Default)]
pub struct Part {
    /// Open instances whose state is read.
    pub instances: Vec<Recovered>,
    /// Open instances whose state is in the snapshot store.
    pub resting: Heads,
    /// The engine in the tenants of those.
    pub contexts: HashMap<TenantId, TenantCtx, SeededHasher>,
    /// Ended instances, oldest first.
    pub finished: Vec<Arc<Summary>>,
    /// Ended instances that the snapshot store has as open.
    pub gone: Vec<Arc<Summary>>,
    /// Definitions in the log.
    pub definitions: Vec<(TenantId, DefinitionHash, Value)>,
    /// Machines of the open instances.
    pub machines: Vec<(DefinitionHash, Arc<Machine>)>,
    /// Instances that cannot be worked on.
    pub faults: Vec<Fault>,
    /// What its instances emitted and not all subscribers are done with.
    pub emissions: Vec<Outgoing>,
}

impl Recovery {
    /// Divides everything among `count` owners; `shard` says which one owns an instance.
    pub fn divide(
        mut self,
        count: usize,
        shard: &dyn Fn(&Key) -> usize,
    ) -> (Vec<Part>, RecoveryReport) {
        let mut parts: Vec<Part> = (0..count).map(|_| Part::default()).collect();
        for outgoing in self.unsent() {
            let (tenant, id) = (outgoing.tenant, outgoing.emission.publisher);
            parts[shard(&Key { tenant, id })].emissions.push(outgoing);
        }
        // In order: of a business key that several hold, the last one is found by it.
        let mut instances: Vec<_> = self.instances.drain().collect();
        instances.sort_unstable_by_key(|(key, _)| *key);
        for (key, Open { snapshot, event_ids, has_row }) in instances {
            let ctx = self.context(key, snapshot.definition_hash, snapshot.seq);
            let recovered = Recovered { ctx, snapshot, event_ids, has_row };
            parts[shard(&key)].instances.push(recovered);
        }
        for summary in self.gone.drain(..) {
            let key = Key { tenant: summary.tenant_id, id: summary.id };
            parts[shard(&key)].gone.push(Arc::new(summary));
        }
        let resting = std::mem::take(&mut self.resting).divide(count, shard);
        for (part, heads) in parts.iter_mut().zip(resting) {
            for Head { key, definition, seq, .. } in heads.one_of_each_tenant() {
                part.contexts.insert(key.tenant, self.context(key, definition, seq));
            }
            part.resting = heads;
        }
        for key in self.finished_order {
            if let Some(summary) = self.finished.remove(&key) {
                parts[shard(&key)].finished.push(summary);
            }
        }
        for (key, fault) in self.faults {
            parts[shard(&key)].faults.push(fault);
        }
        for part in &mut parts {
            part.definitions
                .extend(self.definitions.iter().map(|(name, it)| (name.0, name.1, it.clone())));
            part.machines.extend(self.machines.iter().map(|(hash, it)| (*hash, Arc::clone(it))));
        }
        (parts, self.report)
    }

    /// Takes out what is to be sent again.
    fn unsent(&mut self) -> Vec<Outgoing> {
        let machines = &self.machines;
        let hearer = |tenant, id, created_at, definition: DefinitionHash| {
            let machine = machines.get(&definition)?;
            Some(Hearer { tenant, id, created_at, machine })
        };
        let read = self.instances.values().map(|it| &it.snapshot);
        let read =
            read.filter_map(|it| hearer(it.tenant_id, it.id, it.created_at, it.definition_hash));
        let rest = self.resting.iter();
        let rest =
            rest.filter_map(|it| hearer(it.key.tenant, it.key.id, it.created_at, it.definition));
        self.unheard.take(read.chain(rest))
    }

    /// Returns the context in which the scheduler acts for an instance.
    fn context(&mut self, key: Key, definition: DefinitionHash, seq: Seq) -> TenantCtx {
        let context = self.contexts.entry(key.tenant);
        context.or_insert_with(|| context_of(key, definition, seq)).clone()
    }
}

/// Returns the context in which the scheduler acts for an instance that stands at a record.
pub(super) fn context_of(key: Key, definition_hash: DefinitionHash, seq: Seq) -> TenantCtx {
    // The state stands for the records it was folded from.
    TenantCtx::of_record(&Header {
        tenant_id: key.tenant,
        instance_id: key.id,
        seq,
        v: RECORD_VERSION,
        at: Timestamp::default(),
        step: 0,
        definition_hash,
        actor: Actor::engine(),
        causation_id: None,
        correlation_id: None,
        origin: None,
    })
}
