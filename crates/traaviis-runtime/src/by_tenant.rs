//! A table of instances of which there may be a million, kept by tenant: an entry is then a third
//! smaller, and tables of many sizes waste less than one that doubles as a whole.

use std::collections::HashMap;

use traaviis_model::{InstanceId, TenantId};

use crate::{hasher::SeededHasher, owner::Key};

/// Timestamp that stands for none where an `Option` would take eight bytes more.
pub(crate) mod never {
    use traaviis_model::Timestamp;

    const NEVER: Timestamp = Timestamp(i64::MAX);

    pub(crate) fn pack(at: Option<Timestamp>) -> Timestamp {
        at.unwrap_or(NEVER)
    }

    pub(crate) fn unpack(at: Timestamp) -> Option<Timestamp> {
        Some(at).filter(|it| *it != NEVER)
    }
}

/// Something about each of many instances.
pub(crate) struct ByTenant<V> {
    tenants: HashMap<TenantId, OfTenant<V>, SeededHasher>,
}

/// The same of one tenant.
pub(crate) type OfTenant<V> = HashMap<InstanceId, V, SeededHasher>;

impl<V> Default for ByTenant<V> {
    fn default() -> ByTenant<V> {
        ByTenant { tenants: HashMap::default() }
    }
}

impl<V> ByTenant<V> {
    pub(crate) fn len(&self) -> usize {
        self.tenants.values().map(HashMap::len).sum()
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&V> {
        self.tenants.get(&key.tenant)?.get(&key.id)
    }

    /// Puts something in the place of what was there, which is returned.
    pub(crate) fn insert(&mut self, key: Key, value: V) -> Option<V> {
        self.tenants.entry(key.tenant).or_default().insert(key.id, value)
    }

    pub(crate) fn remove(&mut self, key: &Key) -> Option<V> {
        let of_tenant = self.tenants.get_mut(&key.tenant)?;
        let removed = of_tenant.remove(&key.id);
        if of_tenant.is_empty() {
            self.tenants.remove(&key.tenant);
        }
        removed
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &V)> {
        self.tenants.iter().flat_map(|(tenant, all)| {
            all.iter().map(|(id, value)| (Key { tenant: *tenant, id: *id }, value))
        })
    }

    /// Returns the tenants, in no order.
    pub(crate) fn tenants(&self) -> impl Iterator<Item = TenantId> {
        self.tenants.keys().copied()
    }

    /// Returns any one of each tenant.
    pub(crate) fn one_of_each(&self) -> impl Iterator<Item = (Key, &V)> {
        self.tenants.iter().filter_map(|(tenant, all)| {
            let (id, value) = all.iter().next()?;
            Some((Key { tenant: *tenant, id: *id }, value))
        })
    }

    /// Takes all of a tenant out.
    pub(crate) fn take(&mut self, tenant: TenantId) -> OfTenant<V> {
        self.tenants.remove(&tenant).unwrap_or_default()
    }

    /// Returns everything, and lets go of each tenant's table on the way.
    pub(crate) fn into_entries(self) -> impl Iterator<Item = (Key, V)> {
        self.tenants.into_iter().flat_map(|(tenant, all)| {
            all.into_iter().map(move |(id, value)| (Key { tenant, id }, value))
        })
    }
}
