//! Who subscribes to what: the open instances that hear an emitted event, by its name.
//!
//! Shared by all shards of a process, so that whoever emits finds the subscribers of all of them
//! without asking. Invariant: an open instance is noted under every event that the version it runs
//! hears, and under no other.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use traaviis_engine::Machine;
use traaviis_model::{InstanceId, TenantId, Text};

use crate::owner::{Key, SeededHasher};

/// Subscribers of one event name.
type ByEvent = HashMap<(TenantId, Text), BTreeSet<InstanceId>, SeededHasher>;

/// All subscribers of a process.
#[derive(Debug, Default)]
pub struct Subscribers {
    by_event: Mutex<ByEvent>,
}

impl Subscribers {
    /// Notes an open instance.
    pub fn add(&self, key: Key, machine: &Machine) {
        for event in machine.hears() {
            self.lock().entry((key.tenant, event.clone())).or_default().insert(key.id);
        }
    }

    /// Takes back what was noted of an instance.
    pub fn remove(&self, key: Key, machine: &Machine) {
        for event in machine.hears() {
            let mut by_event = self.lock();
            let name = (key.tenant, event.clone());
            if let Some(subscribers) = by_event.get_mut(&name) {
                subscribers.remove(&key.id);
                if subscribers.is_empty() {
                    by_event.remove(&name);
                }
            }
        }
    }

    /// Returns who hears an event.
    pub fn of(&self, tenant: TenantId, event: &Text) -> BTreeSet<InstanceId> {
        self.lock().get(&(tenant, event.clone())).cloned().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, ByEvent> {
        // No code panics while it holds the lock; a poisoned one is still whole.
        self.by_event.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
