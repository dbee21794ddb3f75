//! Business keys: which instance of a workflow holds a key.
//!
//! Shared by all shards of a process, because two starts with one key may meet different shards.
//! Invariant: of a unique key at most one open instance is noted; a start notes itself before its
//! first record is appended and takes the note back when the append fails.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use traaviis_model::{InstanceId, TenantId, Text};

use crate::owner::SeededHasher;

/// Where a key points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The latest instance that has the key.
    pub id: InstanceId,
    /// Says whether it is open.
    pub open: bool,
}

/// Name of a key; the workflow is in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Name {
    tenant: TenantId,
    workflow: String,
    key: Text,
}

/// All business keys of a process.
#[derive(Debug, Default)]
pub struct Correlations {
    holders: Mutex<HashMap<Name, Holder, SeededHasher>>,
}

impl Correlations {
    /// Notes `id` as the open holder of a key; of a unique key only when no other is open, else
    /// returns that one.
    pub fn open(
        &self,
        tenant: TenantId,
        workflow: &str,
        key: &Text,
        id: InstanceId,
        unique: Unique,
    ) -> Result<(), InstanceId> {
        let name = Name::new(tenant, workflow, key);
        let mut holders = self.lock();
        if let Some(held) = holders.get(&name)
            && unique == Unique::Yes
            && held.open
            && held.id != id
        {
            return Err(held.id);
        }
        holders.insert(name, Holder { id, open: true });
        Ok(())
    }

    /// Notes that the holder ended.
    pub fn close(&self, tenant: TenantId, workflow: &str, key: &Text, id: InstanceId) {
        let mut holders = self.lock();
        if let Some(held) = holders.get_mut(&Name::new(tenant, workflow, key))
            && held.id == id
        {
            held.open = false;
        }
    }

    /// Notes a finished holder where nobody else holds the key.
    pub fn remember(&self, tenant: TenantId, workflow: &str, key: &Text, id: InstanceId) {
        let holder = Holder { id, open: false };
        self.lock().entry(Name::new(tenant, workflow, key)).or_insert(holder);
    }

    /// Forgets a key when `id` holds it.
    pub fn forget(&self, tenant: TenantId, workflow: &str, key: &Text, id: InstanceId) {
        let name = Name::new(tenant, workflow, key);
        let mut holders = self.lock();
        if holders.get(&name).is_some_and(|held| held.id == id) {
            holders.remove(&name);
        }
    }

    /// Returns who holds a key.
    pub fn find(&self, tenant: TenantId, workflow: &str, key: &Text) -> Option<Holder> {
        self.lock().get(&Name::new(tenant, workflow, key)).copied()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Name, Holder, SeededHasher>> {
        // No code panics while it holds the lock; a poisoned one is still whole.
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Name {
    fn new(tenant: TenantId, workflow: &str, key: &Text) -> Name {
        Name { tenant, workflow: workflow.to_lowercase(), key: key.clone() }
    }
}

/// Whether a key may have one open instance only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unique {
    /// One.
    Yes,
    /// Any number; the latest is noted.
    No,
}
