//! What an owner says of its instances without changing any.

use std::sync::Arc;

use traaviis_model::{InstanceId, Snapshot, TenantId, Timestamp, record::Status};
use traaviis_ports::planted::{self, Bug};

use super::{Collected, Commitment, Found, Key, Owner, slots::Waiting};
use crate::{
    error::Error,
    summary::{Filter, Summary, newest},
};

impl Owner {
    pub(super) fn find(&mut self, tenant: TenantId, id: InstanceId) -> Result<Found, Error> {
        let key = Key { tenant, id };
        self.activate(key);
        if let Some(fault) = self.faults.get(&key) {
            return Err(fault.to_error());
        }
        if let Some(instance) = self.instances.get(&key) {
            return Ok(Found::Open(Arc::clone(&instance.snapshot)));
        }
        let ended = self.finished.get(&key).cloned();
        ended.map(Found::Ended).ok_or(Error::NotFound { id })
    }

    /// Returns since when the oldest work of a tenant waits that nobody but this process holds up:
    /// timers that are due, and calls that could start if a slot were free.
    pub(super) fn oldest_work(&self, tenant: TenantId, now: Timestamp) -> Option<Timestamp> {
        let overdue = self.timers.iter().take_while(|it| it.0 <= now);
        let armed = overdue.filter(|it| it.1.tenant == tenant).map(|it| it.0).next();
        let held = self.full.iter().chain(&self.paced).map(|it| &it.1).chain(&self.ready);
        let held = held.filter(|it| it.tenant == tenant).filter_map(|it| self.instances.get(it));
        let held = held.filter_map(|it| it.next_timer()).map(|it| it.0).filter(|it| *it <= now);
        let calls = self.tenants.get(&tenant).into_iter().flat_map(|it| it.slots.waiting());
        let calls = calls.filter(|it| self.could_start(it)).map(|it| it.since);
        armed.into_iter().chain(held).chain(calls).min()
    }

    /// Says whether a call waits for a slot and for nothing else. Of an instance that rests it
    /// does: whatever happens to one brings it back.
    fn could_start(&self, Waiting { key, tree, path, .. }: &Waiting) -> bool {
        let Some(instance) = self.instances.get(key) else {
            return !self.finished.contains_key(key);
        };
        let snapshot = &instance.snapshot;
        snapshot.status != Status::Paused && snapshot.waits_for_slot(*tree, path)
    }

    pub(super) fn list(&self, tenant: TenantId, filter: &Filter) -> Vec<Summary> {
        // Each that rests is read: lists of many instances are made from the index.
        let rests = self.resting_states(|key, machine| {
            let workflow = machine.map(|it| &it.definition().name);
            key.tenant == tenant && workflow.is_none_or(|it| filter.takes_workflow(it))
        });
        let rests: Vec<Arc<Snapshot>> = rests.filter(|it| filter.takes(it)).collect();
        let open = self
            .instances
            .values()
            .map(|it| &it.snapshot)
            .filter(|it| it.tenant_id == tenant && filter.takes(it))
            .chain(&rests);
        let ended =
            self.finished.values().filter(|it| it.tenant_id == tenant && filter.takes_ended(it));
        let limit = filter.limit();
        let mut found: Vec<(Timestamp, InstanceId, Result<&Snapshot, &Summary>)> = open
            .map(|it| (it.created_at, it.id, Ok(&**it)))
            .chain(ended.map(|it| (it.created_at, it.id, Err(&**it))))
            .collect();
        found.sort_unstable_by_key(|it| std::cmp::Reverse((it.0, it.1)));
        found.truncate(limit);
        let summaries = found.into_iter().map(|(_, _, it)| match it {
            Ok(snapshot) => Summary::of(snapshot),
            Err(summary) => summary.clone(),
        });
        newest(summaries.collect(), limit)
    }

    /// Returns what a checkpoint holds; of the open instances those whose states are not in the
    /// snapshot store, if there is one.
    pub(super) fn collect(&mut self) -> Collected {
        let (instances, ended) = match self.hot.has_store() {
            true => self.dirty_states(),
            false => {
                let all = self.instances.iter();
                let all = all
                    .map(|(key, it)| (self.kept_state(*key, &it.snapshot), it.event_ids.clone()));
                (all.collect(), Vec::new())
            }
        };
        Collected {
            instances,
            ended,
            finished: self
                .finished_order
                .iter()
                .filter_map(|key| self.finished.get(key).cloned())
                .collect(),
            definitions: self
                .definitions
                .stored
                .iter()
                // Of a tenant that is gone nothing runs that could need one.
                .filter(|((tenant, _), _)| !self.settings.definitions.has_gone(*tenant))
                .map(|((tenant, hash), body)| (*tenant, *hash, body.clone()))
                .collect(),
            faults: self.faults.values().cloned().collect(),
            emissions: self.emissions.values().cloned().collect(),
        }
    }

    /// Returns the state that a checkpoint keeps of an instance: the durable one, unless a bug is
    /// planted.
    pub(super) fn kept_state(&self, key: Key, durable: &Arc<Snapshot>) -> Arc<Snapshot> {
        if planted::is(Bug::SnapshotAheadOfLog) {
            let ahead = self.commits.values().find_map(|it| match it {
                Commitment::Step(pending) if pending.key == key => Some(&pending.snapshot),
                _ => None,
            });
            return Arc::clone(ahead.unwrap_or(durable));
        }
        Arc::clone(durable)
    }
}
