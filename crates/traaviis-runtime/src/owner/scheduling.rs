//! Whose turn it is: slots for calls, due timers, and the order of what waits.

use std::mem;

use traaviis_engine::{Input, Request};
use traaviis_model::{CallId, TenantId, Text, Timestamp, call::GATE};

use super::{
    Hold, Instance, Key, Owner,
    mailbox::{Class, Job},
    slots::Waiting,
};

impl Owner {
    pub(super) fn free_slot(&mut self, tenant: TenantId, call: &CallId) {
        if let Some(it) = self.tenants.get_mut(&tenant) {
            it.slots.give_back(call);
            self.freed.push_back(tenant);
        }
    }

    pub(super) fn promise_slots(&mut self, tenant: TenantId) {
        if self.draining {
            return;
        }
        while let Some(Waiting { key, tree, path, .. }) =
            self.tenants.get_mut(&tenant).and_then(|it| it.slots.promise_next())
        {
            self.activate(key);
            let Some(instance) = self.instances.get_mut(&key) else {
                if let Some(it) = self.tenants.get_mut(&tenant) {
                    it.slots.end_promise();
                }
                continue;
            };
            let input = Input::Starting { tree, path };
            instance.mailbox.get_or_insert_default().push(Job::runtime(input));
            self.ready.push_back(key);
        }
    }

    pub(super) fn reserve(&mut self, tenant: TenantId, requests: &[Request]) {
        let Some(it) = self.tenants.get_mut(&tenant) else { return };
        for request in requests {
            if let Request::Perform(call) = request
                && &*call.kind != GATE
            {
                it.slots.take(&call.id);
            }
        }
    }

    pub(super) fn release(&mut self, tenant: TenantId, requests: &[Request]) {
        let Some(it) = self.tenants.get_mut(&tenant) else { return };
        for request in requests {
            if let Request::Perform(call) = request {
                it.slots.give_back(&call.id);
            }
        }
        self.freed.push_back(tenant);
    }

    /// Keeps the timer index true; not earlier than `floor`, so that a timer which the engine does
    /// not take cannot spin.
    pub(super) fn arm(&mut self, key: Key, floor: Timestamp) {
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let runs = instance.machine.is_some();
        let due = instance.next_timer().filter(|_| runs).map(|(due, _)| due.max(floor));
        if instance.armed == due {
            return;
        }
        if let Some(armed) = mem::replace(&mut instance.armed, due) {
            self.timers.remove(&(armed, key));
        }
        if let Some(due) = due {
            self.timers.insert((due, key));
        }
    }
}

impl Instance {
    /// Says whether nothing is on its way or waits, so that an input can be decided at once.
    pub(super) fn is_free(&self, now: Timestamp) -> bool {
        self.hold == Hold::Idle && self.mailbox.is_none() && self.due_timer(now, None).is_none()
    }

    /// Takes the next input, in order of preference.
    pub(super) fn next_job(
        &mut self,
        now: Timestamp,
        draining: bool,
        tried: Option<&Text>,
    ) -> Option<Job> {
        let mut mailbox = self.mailbox.take();
        let mut job = None;
        if let Some(it) = &mut mailbox {
            job = it.pop(Class::Command).or_else(|| it.pop(Class::Outcome));
        }
        if job.is_none() && !draining && self.hold == Hold::Idle {
            job = self.due_timer(now, tried);
        }
        if job.is_none()
            && let Some(it) = &mut mailbox
        {
            job = it.pop(Class::Event);
        }
        self.mailbox = mailbox.filter(|it| it.len() > 0);
        job
    }

    pub(super) fn due_timer(&self, now: Timestamp, tried: Option<&Text>) -> Option<Job> {
        let (_, timer) = self.next_timer().filter(|(due, _)| *due <= now)?;
        // The engine left it where it is.
        if tried == Some(&timer.id) {
            return None;
        }
        Some(Job::runtime(Input::Timer { timer: timer.id.clone() }))
    }
}
