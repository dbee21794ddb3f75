//! Goes on with what the last process left: attempts without outcome, calls that wait, timers.

use std::{mem, sync::Arc};

use traaviis_engine::{Recovery, priority_of, recover};
use traaviis_model::{
    Call, DeliveryClass, TenantCtx, TenantId, Text, Timestamp, Value, call::GATE,
    definition::Retention,
};
use traaviis_ports::planted::{self, Bug};

use super::{Key, Outbox, Owner, hot::Kept, mailbox::Job, slots::Waiting};
use crate::{
    correlation::Unique,
    recovery::{Part, Recovered},
};

impl Owner {
    pub(super) fn restore(&mut self, part: Part) {
        for (tenant, hash, body) in part.definitions {
            self.settings.definitions.add((tenant, hash), Retention::of_document(&body));
            self.definitions.stored.insert((tenant, hash), body);
        }
        self.definitions.machines.extend(part.machines);
        for summary in part.finished {
            self.remember(summary);
        }
        for fault in part.faults {
            self.faults.insert(Key { tenant: fault.tenant, id: fault.id }, fault);
        }
        self.emissions = part.emissions.into_iter().map(|it| (it.name(), it)).collect();
        self.instances.reserve(part.instances.len());
        for summary in part.gone {
            self.hot.note_ended(Kept::Dirty { has_row: true }, &summary);
        }
        for head in part.resting.into_ordered() {
            if let Some(ctx) = part.contexts.get(&head.key.tenant) {
                self.restore_resting(ctx, head);
            }
        }
        for Recovered { ctx, snapshot, event_ids, has_row } in part.instances {
            let machine = self.definitions.machines.get(&snapshot.definition_hash).cloned();
            self.tenant(&ctx).quota.found();
            self.settings.gates.restore(&snapshot);
            let key = Key::of(&snapshot);
            if let Some(correlation) = &snapshot.correlation {
                self.restore_correlation(key, &snapshot.workflow, correlation);
            }
            self.unrested.push(key);
            self.open(Arc::new(snapshot), machine, event_ids, has_row);
            if planted::is(Bug::TimerOnlyInMemory) {
                let armed = self.instances.get_mut(&key).and_then(|it| it.armed.take());
                armed.map(|due| self.timers.remove(&(due, key)));
            }
        }
    }

    pub(super) fn restore_correlation(&self, key: Key, workflow: &Text, correlation: &Text) {
        // What the log holds is true, even two open instances of one key.
        let correlations = &self.settings.correlations;
        let _ = correlations.open(key.tenant, workflow, correlation, key.id, Unique::No);
    }

    /// Goes on with what the last process left: attempts without outcome, calls that wait, timers.
    pub fn resume(
        &mut self,
        class: &dyn Fn(&TenantCtx, &str, &Value) -> DeliveryClass,
        now: Timestamp,
        outbox: &mut dyn Outbox,
    ) {
        let mut keys = mem::take(&mut self.unrested);
        keys.sort_unstable();
        for key in keys {
            self.resume_instance(key, class, now);
            self.relieve(now, outbox);
        }
        for outgoing in mem::take(&mut self.emissions).into_values() {
            self.send_emission(outgoing);
        }
        let mut tenants: Vec<TenantId> = self.tenants.keys().copied().collect();
        tenants.sort_unstable();
        self.freed.extend(tenants);
        self.tick(now, outbox);
    }

    fn resume_instance(
        &mut self,
        key: Key,
        class: &dyn Fn(&TenantCtx, &str, &Value) -> DeliveryClass,
        now: Timestamp,
    ) {
        self.activate(key);
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let snapshot = Arc::clone(&instance.snapshot);
        let Some(machine) = instance.machine.clone() else { return };
        let Some(tenant) = self.tenants.get_mut(&key.tenant) else { return };
        let ctx = tenant.ctx.clone();
        let Recovery { inputs, queued, asked } =
            recover(&snapshot, |kind, input| class(&ctx, kind, input));
        let (gates, asked): (Vec<Call>, Vec<Call>) =
            asked.into_iter().partition(|it| &*it.kind == GATE);
        asked.iter().for_each(|call| tenant.slots.take(&call.id));
        for (tree, path) in queued {
            let priority = priority_of(&machine, &snapshot, tree, &path);
            let since = snapshot.updated_at;
            tenant.slots.wait(Waiting { key, tree, path, priority, since });
        }
        asked.into_iter().for_each(|call| self.ask_instance(&ctx, call));
        gates.into_iter().for_each(|call| self.ask_gate(key.tenant, call, now));
        self.meet_family(&ctx, &snapshot);
        let Some(instance) = self.instances.get_mut(&key).filter(|_| !inputs.is_empty()) else {
            return;
        };
        let mailbox = instance.mailbox.get_or_insert_default();
        inputs.into_iter().for_each(|input| mailbox.push(Job::runtime(input)));
        self.ready.push_back(key);
    }
}
