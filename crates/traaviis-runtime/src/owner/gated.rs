//! Gates of the process: asked by effects of any owner, answered as the outcome of the ask.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use traaviis_engine::gates::{Answers, Gates, Left};
use traaviis_model::{Call, CallId, Record, Snapshot, TenantId, Timestamp, Value};

use super::{Key, Message, Owner};

/// The gates of every tenant, shared by the owners of the process.
#[derive(Debug, Default)]
pub struct SharedGates(Mutex<BTreeMap<TenantId, Gates>>);

impl SharedGates {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<TenantId, Gates>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when somebody who waits is let in.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.lock().values().filter_map(Gates::due).min()
    }

    /// Tells the gates of a tenant which events a committed step took and emitted.
    pub(super) fn hear(&self, tenant: TenantId, records: &[Record]) {
        let mut events = records.iter().filter_map(|it| it.body.heard()).peekable();
        if events.peek().is_some()
            && let Some(gates) = self.lock().get_mut(&tenant)
        {
            events.for_each(|it| gates.heard(it));
        }
    }

    /// Puts back who was inside when the last process died.
    pub(super) fn restore(&self, snapshot: &Snapshot) {
        // Few instances have effects in flight; the others need no gates.
        if !snapshot.trees.is_empty() {
            self.lock().entry(snapshot.tenant_id).or_default().restore(snapshot);
        }
    }
}

impl Owner {
    /// Asks a gate; the answer comes at once or later.
    pub(super) fn ask_gate(&self, tenant: TenantId, call: Call, now: Timestamp) {
        let mut gates = self.settings.gates.lock();
        let entry = gates.entry(tenant).or_default().enter(&call.id, &call.input, now);
        drop(gates);
        self.tell_asks(tenant, vec![(call.id, entry)]);
    }

    /// Tells a gate how a body ended that it had let in.
    pub(super) fn leave_gate(
        &self,
        tenant: TenantId,
        call: &CallId,
        ask: &Value,
        left: Left,
        now: Timestamp,
    ) {
        let mut gates = self.settings.gates.lock();
        let answers = gates.entry(tenant).or_default().leave(call, ask, left, now);
        drop(gates);
        self.tell_asks(tenant, answers);
    }

    /// Tells a gate that an ask is given up, if this call is one.
    pub(super) fn forget_gate(&self, tenant: TenantId, call: &CallId) {
        let mut gates = self.settings.gates.lock();
        let answers = gates.get_mut(&tenant).map(|it| it.forget(call)).unwrap_or_default();
        drop(gates);
        self.tell_asks(tenant, answers);
    }

    /// Lets in who waited for time to pass.
    pub(super) fn let_in(&self, now: Timestamp) {
        let mut gates = self.settings.gates.lock();
        let due = gates.iter_mut().filter(|(_, it)| it.due().is_some_and(|due| due <= now));
        let answers: Vec<(TenantId, Answers)> =
            due.map(|(tenant, it)| (*tenant, it.advance(now))).collect();
        drop(gates);
        for (tenant, answers) in answers {
            self.tell_asks(tenant, answers);
        }
    }

    fn tell_asks(&self, tenant: TenantId, answers: Answers) {
        for (call, entry) in answers {
            let Some(outcome) = entry.outcome() else { continue };
            let to = Key { tenant, id: call.instance };
            self.settings.post.post(to, Message::Outcome { tenant, call, outcome });
        }
    }
}
