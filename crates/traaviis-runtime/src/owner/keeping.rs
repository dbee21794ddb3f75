//! Instances in memory: opened, taken out, ended, and remembered in short.

use std::sync::{Arc, atomic::Ordering};

use traaviis_engine::{Input, Machine};
use traaviis_model::{EventIds, InstanceId, Snapshot, TenantCtx, Timestamp, Value, record::Status};

use super::{
    Hold, Instance, Key, Owner, Tenant,
    hot::{self, Kept},
    mailbox::{Class, Mailbox},
    pace::Pace,
    settings::Settings,
    slots::Slots,
};
use crate::{error::Error, summary::Summary};

impl Owner {
    pub(super) fn tenant(&mut self, ctx: &TenantCtx) -> &mut Tenant {
        let Settings { slots, quotas, .. } = &self.settings;
        self.tenants.entry(ctx.tenant()).or_insert_with(|| Tenant {
            ctx: ctx.as_engine(),
            slots: Slots::new(*slots),
            quota: quotas.of(ctx.tenant()),
            redaction: None,
        })
    }

    pub(super) fn open(
        &mut self,
        snapshot: Arc<Snapshot>,
        machine: Option<Arc<Machine>>,
        event_ids: Option<Box<EventIds>>,
        has_row: bool,
    ) {
        let key = Key::of(&snapshot);
        let hold = Hold::Idle;
        machine.iter().for_each(|it| self.settings.subscribers.add(key, it));
        let (mailbox, armed, waits, pace) = (None, None, None, Pace::rested());
        let (kept, bytes, used) = (Kept::Dirty { has_row }, hot::UNKNOWN, snapshot.updated_at);
        self.hot.note_dirty(key);
        self.hot.note_added(bytes);
        self.note_cold(key, Timestamp(i64::MIN));
        let instance = Instance {
            snapshot,
            machine,
            mailbox,
            event_ids,
            armed,
            waits,
            hold,
            pace,
            kept,
            bytes,
            used,
        };
        self.instances.insert(key, Box::new(instance));
        self.catch_up_timers(key, &[]);
        self.arm(key, Timestamp(i64::MIN));
    }

    /// Takes an instance out of memory; what waits in its mailbox is still to be answered.
    pub(super) fn take_out(&mut self, key: Key) -> Option<Box<Instance>> {
        let instance = self.instances.remove(&key)?;
        self.hot.note_removed(&instance);
        self.dismiss(key);
        instance.machine.iter().for_each(|it| self.settings.subscribers.remove(key, it));
        if let Some(armed) = instance.armed {
            self.timers.remove(&(armed, key));
        }
        Some(instance)
    }

    /// Takes an ended instance out of memory and keeps it in short.
    pub(super) fn finish(&mut self, key: Key, snapshot: &Snapshot) {
        let Some(instance) = self.take_out(key) else { return };
        if let Some(correlation) = &snapshot.correlation {
            self.settings.correlations.close(key.tenant, &snapshot.workflow, correlation, key.id);
        }
        let summary = Arc::new(Summary::of(snapshot));
        self.hot.note_ended(instance.kept, &summary);
        self.remember(summary);
        self.tell_family(key, snapshot);
        self.close_mailbox(key, instance.mailbox, &|| has_ended(key.id, snapshot.status));
    }

    /// Answers everything that waits for an instance that takes nothing more.
    pub(super) fn close_mailbox(
        &mut self,
        key: Key,
        mailbox: Option<Box<Mailbox>>,
        error: &dyn Fn() -> Error,
    ) {
        let Some(mut mailbox) = mailbox else { return };
        for class in [Class::Command, Class::Outcome, Class::Event] {
            while let Some(job) = mailbox.pop(class) {
                if let (Input::Starting { .. }, Some(it)) =
                    (&job.input, self.tenants.get_mut(&key.tenant))
                {
                    it.slots.end_promise();
                    self.freed.push_back(key.tenant);
                }
                job.answer(Err(error()));
            }
        }
    }

    pub(super) fn remember(&mut self, summary: Arc<Summary>) {
        let key = Key { tenant: summary.tenant_id, id: summary.id };
        if let Some(correlation) = &summary.correlation {
            let correlations = &self.settings.correlations;
            correlations.remember(key.tenant, &summary.workflow, correlation, key.id);
        }
        if self.finished.insert(key, summary).is_none() {
            self.finished_order.push_back(key);
        }
        while self.finished.len() > self.settings.finished_max
            && let Some(oldest) = self.finished_order.pop_front()
        {
            self.settings.forgets.store(true, Ordering::SeqCst);
            if let Some(summary) = self.finished.remove(&oldest)
                && let Some(correlation) = &summary.correlation
            {
                let correlations = &self.settings.correlations;
                correlations.forget(oldest.tenant, &summary.workflow, correlation, oldest.id);
            }
        }
    }
}

pub(super) fn has_ended(id: InstanceId, status: Status) -> Error {
    let message = format!("instance `{id}` has ended with status `{}`", status.as_str());
    Error::rejected("invalid_state", message, Value::Null)
}
