//! What the snapshot store says of open instances, packed, as long as a start holds all of it.

use std::collections::HashMap;

use traaviis_model::{ByTenant, DefinitionHash, InstanceId, Seq, TenantId, Text, Timestamp};
use traaviis_ports::SnapshotHead;

use crate::owner::{Key, SeededHasher};

/// What a start knows of an open instance whose state rests.
pub struct Head {
    /// Which one.
    pub key: Key,
    /// Its last record in the state.
    pub seq: Seq,
    /// Definition that decides.
    pub definition: DefinitionHash,
    /// Workflow name.
    pub workflow: Text,
    /// Business key.
    pub correlation: Option<Text>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its next timer fires.
    pub due: Option<Timestamp>,
    /// It has timers, also ones that do not fire as it stands.
    pub timed: bool,
    /// Nothing is to be done for it before an input comes or its timer fires.
    pub rests: bool,
}

/// All of them.
#[derive(Default)]
pub struct Heads {
    packed: ByTenant<Packed, SeededHasher>,
    /// What many have in common, and where it stands.
    kinds: Vec<Kind>,
    kind_at: HashMap<Kind, u32, SeededHasher>,
    correlations: HashMap<Key, Text, SeededHasher>,
    latest: Timestamp,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Kind {
    definition: DefinitionHash,
    workflow: Text,
}

struct Packed {
    seq: Seq,
    created_at: Timestamp,
    /// [`NEVER`] without a timer: an `Option` would take eight bytes more.
    due: Timestamp,
    kind: u32,
    timed: bool,
    rests: bool,
}

const NEVER: Timestamp = Timestamp(i64::MAX);

impl Heads {
    pub(super) fn insert(&mut self, head: SnapshotHead) {
        let SnapshotHead { tenant, id, seq, definition, workflow, correlation, .. } = head;
        let SnapshotHead { created_at, updated_at, due, timed, rests, .. } = head;
        let kind = Kind { definition, workflow };
        let next = self.kinds.len();
        let kind = *self.kind_at.entry(kind).or_insert_with_key(|kind| {
            self.kinds.push(kind.clone());
            u32::try_from(next).expect("definitions are fewer")
        });
        if let Some(correlation) = correlation {
            self.correlations.insert(Key { tenant, id }, correlation);
        }
        self.latest = self.latest.max(updated_at);
        let due = due.unwrap_or(NEVER);
        let packed = Packed { seq, created_at, due, kind, timed, rests };
        self.packed.insert(tenant, id, packed);
    }

    pub(super) fn get(&self, key: &Key) -> Option<Head> {
        let Key { tenant, id } = *key;
        Some(self.unpack((tenant, id, self.packed.get(tenant, id)?)))
    }

    pub(super) fn remove(&mut self, key: &Key) {
        self.packed.remove(key.tenant, key.id);
        self.correlations.remove(key);
    }

    pub(super) fn count(&self) -> usize {
        self.packed.len()
    }

    /// Returns the commit time of the last step of any that was put.
    pub(super) fn latest(&self) -> Timestamp {
        self.latest
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = Key> {
        self.packed.iter().map(|(tenant, id, _)| Key { tenant, id })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Head> {
        self.packed.iter().map(|it| self.unpack(it))
    }

    /// Returns any one of each tenant.
    pub(super) fn one_of_each_tenant(&self) -> impl Iterator<Item = Head> {
        self.packed.one_of_each().map(|it| self.unpack(it))
    }

    /// Divides them into `count`; `part` says where one goes.
    pub(super) fn divide(self, count: usize, part: &dyn Fn(&Key) -> usize) -> Vec<Heads> {
        let Heads { packed, kinds, kind_at, correlations, latest } = self;
        let new =
            || Heads { kinds: kinds.clone(), kind_at: kind_at.clone(), latest, ..Heads::default() };
        let mut parts: Vec<Heads> = (0..count).map(|_| new()).collect();
        for (tenant, id, packed) in packed.into_entries() {
            parts[part(&Key { tenant, id })].packed.insert(tenant, id, packed);
        }
        for (key, correlation) in correlations {
            parts[part(&key)].correlations.insert(key, correlation);
        }
        parts
    }

    /// Returns them in the order of their keys, and lets go of each tenant's on the way.
    pub(crate) fn into_ordered(mut self) -> impl Iterator<Item = Head> {
        let mut tenants: Vec<TenantId> = self.packed.tenants().collect();
        tenants.sort_unstable();
        tenants.into_iter().flat_map(move |tenant| {
            let all = self.packed.take(tenant);
            let heads = all.iter().map(|(id, it)| self.unpack((tenant, *id, it)));
            let mut heads: Vec<Head> = heads.collect();
            heads.sort_unstable_by_key(|it| it.key);
            heads
        })
    }

    fn unpack(&self, (tenant, id, packed): (TenantId, InstanceId, &Packed)) -> Head {
        let key = Key { tenant, id };
        let Kind { definition, workflow } = &self.kinds[packed.kind as usize];
        Head {
            key,
            seq: packed.seq,
            definition: *definition,
            workflow: workflow.clone(),
            correlation: self.correlations.get(&key).cloned(),
            created_at: packed.created_at,
            due: Some(packed.due).filter(|it| *it != NEVER),
            timed: packed.timed,
            rests: packed.rests,
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn head(tenant: u128, id: u128, correlation: Option<&str>) -> SnapshotHead {
        SnapshotHead {
            tenant: TenantId(Uuid::from_u128(tenant)),
            id: InstanceId(Uuid::from_u128(id)),
            seq: 3,
            definition: DefinitionHash([tenant as u8; 32]),
            workflow: "order".into(),
            correlation: correlation.map(Into::into),
            created_at: Timestamp(4),
            updated_at: Timestamp(id as i64),
            due: id.is_multiple_of(2).then_some(Timestamp(5)),
            timed: true,
            rests: false,
            bytes: 6,
        }
    }

    #[test]
    fn a_head_is_small() {
        assert!(size_of::<(InstanceId, Packed)>() <= 48);
    }

    #[test]
    fn heads_come_back_and_are_divided_in_order() {
        let mut heads = Heads::default();
        let all = [(2, 7, None), (1, 9, Some("a")), (1, 8, None), (2, 6, Some("b"))];
        all.iter().for_each(|(tenant, id, key)| heads.insert(head(*tenant, *id, *key)));
        assert_eq!((heads.count(), heads.latest(), heads.keys().count()), (4, Timestamp(9), 4));
        let gone = Key { tenant: TenantId(Uuid::from_u128(1)), id: InstanceId(Uuid::from_u128(8)) };
        assert_eq!(heads.get(&gone).unwrap().due, Some(Timestamp(5)));
        heads.remove(&gone);
        assert!(heads.get(&gone).is_none());
        let parts = heads.divide(2, &|key| usize::from(key.id.0.as_u128() == 7));
        let told = |heads: Heads| {
            let all = heads.into_ordered().map(|it| {
                assert_eq!(it.definition.0[0], it.key.tenant.0.as_u128() as u8);
                (it.key.id.0.as_u128(), it.correlation.map(|it| it.to_string()), it.due.is_some())
            });
            all.collect::<Vec<_>>()
        };
        let expected = [
            vec![(9, Some("a".into()), false), (6, Some("b".into()), true)],
            vec![(7, None, false)],
        ];
        assert_eq!(parts.into_iter().map(told).collect::<Vec<_>>(), expected);
    }
}
