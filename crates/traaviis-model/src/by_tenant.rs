//! A table with something small about each of many instances, of which there may be a million.
//!
//! It is kept by tenant, so an entry need not name its own, and dense: a place in the hash table is
//! a number of four bytes, and the entries stand one after the other. A table of the standard
//! library keeps whole entries in its places, of which up to half are empty. Whoever keeps one
//! says how ids are hashed; the order in it is nobody's.

use std::{collections::HashMap, hash::BuildHasher, mem};

use hashbrown::{HashTable, hash_table::Entry};

use crate::ids::{InstanceId, TenantId};

/// Entries grow by this part, not to the double: a copy is made more often and hardly anything is
/// empty.
const GROWTH: usize = 8;

/// Something about each of many instances; `S` makes hashes of ids, which callers may choose.
#[derive(Clone, Debug)]
pub struct ByTenant<V, S> {
    tenants: HashMap<TenantId, OfTenant<V>, S>,
}

/// The same of one tenant.
#[derive(Clone, Debug)]
struct OfTenant<V> {
    /// Where in `entries` an instance stands.
    places: HashTable<u32>,
    entries: Vec<(InstanceId, V)>,
}

impl<V, S: Default> Default for ByTenant<V, S> {
    fn default() -> ByTenant<V, S> {
        ByTenant { tenants: HashMap::default() }
    }
}

impl<V, S: BuildHasher + Clone> ByTenant<V, S> {
    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.tenants.values().map(|it| it.entries.len()).sum()
    }

    /// Says whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tenants.is_empty()
    }

    /// Returns what is known of an instance.
    pub fn get(&self, tenant: TenantId, id: InstanceId) -> Option<&V> {
        self.tenants.get(&tenant)?.get(id, self.tenants.hasher())
    }

    /// Puts something in the place of what was there, which is returned.
    pub fn insert(&mut self, tenant: TenantId, id: InstanceId, value: V) -> Option<V> {
        let hasher = self.tenants.hasher().clone();
        self.tenants.entry(tenant).or_default().insert(id, value, &hasher)
    }

    /// Takes out what is known of an instance.
    pub fn remove(&mut self, tenant: TenantId, id: InstanceId) -> Option<V> {
        let hasher = self.tenants.hasher().clone();
        let of_tenant = self.tenants.get_mut(&tenant)?;
        let removed = of_tenant.remove(id, &hasher);
        if of_tenant.entries.is_empty() {
            self.tenants.remove(&tenant);
        }
        removed
    }

    /// Returns everything, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (TenantId, InstanceId, &V)> {
        self.tenants
            .iter()
            .flat_map(|(tenant, all)| all.entries.iter().map(|(id, it)| (*tenant, *id, it)))
    }

    /// Returns any one of each tenant.
    pub fn one_of_each(&self) -> impl Iterator<Item = (TenantId, InstanceId, &V)> {
        self.tenants.iter().filter_map(|(tenant, all)| {
            let (id, value) = all.entries.first()?;
            Some((*tenant, *id, value))
        })
    }

    /// Returns the tenants, in no order.
    pub fn tenants(&self) -> impl Iterator<Item = TenantId> {
        self.tenants.keys().copied()
    }

    /// Takes all of a tenant out.
    pub fn take(&mut self, tenant: TenantId) -> Vec<(InstanceId, V)> {
        self.tenants.remove(&tenant).map(|it| it.entries).unwrap_or_default()
    }

    /// Returns everything, and lets go of each tenant's on the way.
    pub fn into_entries(self) -> impl Iterator<Item = (TenantId, InstanceId, V)> {
        self.tenants
            .into_iter()
            .flat_map(|(tenant, all)| all.entries.into_iter().map(move |(id, it)| (tenant, id, it)))
    }
}

impl<V> Default for OfTenant<V> {
    fn default() -> OfTenant<V> {
        OfTenant { places: HashTable::new(), entries: Vec::new() }
    }
}

impl<V> OfTenant<V> {
    fn get(&self, id: InstanceId, hasher: &impl BuildHasher) -> Option<&V> {
        let is_it = |at: &u32| self.entries[*at as usize].0 == id;
        let at = self.places.find(hasher.hash_one(id), is_it)?;
        Some(&self.entries[*at as usize].1)
    }

    fn insert(&mut self, id: InstanceId, value: V, hasher: &impl BuildHasher) -> Option<V> {
        let OfTenant { places, entries } = self;
        let is_it = |at: &u32| entries[*at as usize].0 == id;
        let hash = |at: &u32| hasher.hash_one(entries[*at as usize].0);
        match places.entry(hasher.hash_one(id), is_it, hash) {
            Entry::Occupied(found) => {
                Some(mem::replace(&mut entries[*found.get() as usize].1, value))
            }
            Entry::Vacant(free) => {
                let next = u32::try_from(entries.len()).expect("a tenant has fewer instances");
                free.insert(next);
                if entries.len() == entries.capacity() {
                    entries.reserve_exact((entries.len() / GROWTH).max(4));
                }
                entries.push((id, value));
                None
            }
        }
    }

    /// Takes one out and puts the last one in its place.
    fn remove(&mut self, id: InstanceId, hasher: &impl BuildHasher) -> Option<V> {
        let OfTenant { places, entries } = self;
        let is_it = |at: &u32| entries[*at as usize].0 == id;
        let (at, _) = places.find_entry(hasher.hash_one(id), is_it).ok()?.remove();
        let (_, removed) = entries.swap_remove(at as usize);
        if let Some((moved, _)) = entries.get(at as usize) {
            let was_at = |it: &u32| *it as usize == entries.len();
            *places.find_mut(hasher.hash_one(*moved), was_at).expect("it has a place") = at;
        }
        Some(removed)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        hash::{BuildHasherDefault, DefaultHasher},
    };

    use uuid::Uuid;

    use super::*;

    type Hasher = BuildHasherDefault<DefaultHasher>;

    fn key(number: usize) -> (TenantId, InstanceId) {
        let of = |it: usize| Uuid::from_u128(it as u128);
        (TenantId(of(number % 3)), InstanceId(of(number / 3)))
    }

    /// What is put in, replaced and taken out in any order is what a plain map holds.
    #[test]
    fn it_is_a_map() {
        let mut table = ByTenant::<usize, Hasher>::default();
        let mut plain = BTreeMap::new();
        let mut chance = 7usize;
        for step in 0..20_000 {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (tenant, id) = key((chance >> 33) % 600);
            match (chance >> 20) % 3 {
                0 => assert_eq!(table.remove(tenant, id), plain.remove(&(tenant, id))),
                _ => assert_eq!(table.insert(tenant, id, step), plain.insert((tenant, id), step)),
            }
            let (tenant, id) = key((chance >> 40) % 600);
            assert_eq!(table.get(tenant, id), plain.get(&(tenant, id)));
            assert_eq!((table.len(), table.is_empty()), (plain.len(), plain.is_empty()));
        }
        let held: BTreeMap<_, _> =
            table.iter().map(|(tenant, id, it)| ((tenant, id), *it)).collect();
        assert_eq!(held, plain);
        assert_eq!((table.one_of_each().count(), table.tenants().count()), (3, 3));
        let taken = table.take(key(0).0).len();
        assert_eq!(taken + table.into_entries().count(), plain.len());
    }

    #[test]
    fn a_tenant_without_instances_leaves_nothing() {
        let mut table = ByTenant::<(), Hasher>::default();
        let (tenant, id) = key(5);
        assert_eq!(table.remove(tenant, id), None);
        table.insert(tenant, id, ());
        assert_eq!(table.remove(tenant, id), Some(()));
        assert_eq!((table.is_empty(), table.tenants().count()), (true, 0));
    }

    /// Few places are empty, however many there are.
    #[test]
    fn it_is_dense() {
        for count in [100, 1_000, 1_300, 10_000] {
            let mut table = OfTenant::default();
            let hasher = Hasher::default();
            for number in 0..count {
                table.insert(key(3 * number).1, 0u64, &hasher);
            }
            let spare = table.entries.capacity() - count;
            assert!(spare <= count / GROWTH + 4, "{spare} of {count}");
            assert!(table.places.capacity() <= 4 * count, "{count}");
        }
    }
}
