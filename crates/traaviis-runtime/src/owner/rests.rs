//! Open instances whose state is not in memory: what they are still found by.
//!
//! There may be a million of them, so an entry is as small as it can be, without what few have.

use std::{collections::HashMap, sync::Arc};

use traaviis_engine::Machine;
use traaviis_model::{Seq, Timestamp};

use super::{Key, SeededHasher, Waits};
use crate::by_tenant::{ByTenant, never};

/// Memory of one entry, its part of the empty places of a table included.
const ENTRY_BYTES: usize = 80;

/// An open instance that is not in memory.
pub(super) struct Resting {
    pub(super) seq: Seq,
    pub(super) machine: Option<Arc<Machine>>,
    /// When its timer fires.
    pub(super) armed: Option<Timestamp>,
    pub(super) waits: Option<Box<Waits>>,
    /// It has timers, also ones that do not fire as it stands.
    pub(super) timed: bool,
    /// Size of its state on disk.
    pub(super) bytes: u32,
}

/// All of an owner.
#[derive(Default)]
pub(super) struct Rests {
    entries: ByTenant<Entry>,
    waits: HashMap<Key, Box<Waits>, SeededHasher>,
    count: usize,
}

pub(super) struct Entry {
    pub(super) seq: Seq,
    pub(super) machine: Option<Arc<Machine>>,
    /// Packed by [`never`].
    armed: Timestamp,
    bytes: u32,
    pub(super) timed: bool,
}

impl Rests {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Returns the memory that they take, about.
    pub(super) fn bytes(&self) -> usize {
        self.count * ENTRY_BYTES
    }

    pub(super) fn contains(&self, key: &Key) -> bool {
        self.entries.get(key).is_some()
    }

    pub(super) fn insert(&mut self, key: Key, resting: Resting) {
        let Resting { seq, machine, armed, waits, timed, bytes } = resting;
        let entry = Entry { seq, machine, armed: never::pack(armed), bytes, timed };
        if let Some(waits) = waits {
            self.waits.insert(key, waits);
        }
        self.count += usize::from(self.entries.insert(key, entry).is_none());
    }

    pub(super) fn remove(&mut self, key: &Key) -> Option<Resting> {
        let entry = self.entries.remove(key)?;
        self.count -= 1;
        let waits = self.waits.remove(key);
        let Entry { seq, machine, armed, bytes, timed } = entry;
        Some(Resting { seq, machine, armed: never::unpack(armed), waits, timed, bytes })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &Entry)> {
        self.entries.iter()
    }
}

#[cfg(test)]
mod tests {
    use traaviis_model::{InstanceId, TenantId};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<(InstanceId, Entry)>() <= 48);
    }

    #[test]
    fn what_is_put_comes_back() {
        let key = |tenant, id| Key {
            tenant: TenantId(Uuid::from_u128(tenant)),
            id: InstanceId(Uuid::from_u128(id)),
        };
        let resting = |seq, armed: Option<i64>| {
            let armed = armed.map(Timestamp);
            Resting { seq, machine: None, armed, waits: None, timed: armed.is_some(), bytes: 7 }
        };
        let mut rests = Rests::default();
        rests.insert(key(1, 1), resting(1, None));
        rests.insert(key(2, 1), resting(2, Some(9)));
        rests.insert(key(2, 1), resting(3, Some(8)));
        assert_eq!((rests.len(), rests.is_empty()), (2, false));
        assert!(rests.contains(&key(1, 1)) && !rests.contains(&key(1, 2)));
        let mut all: Vec<_> = rests.iter().map(|(key, it)| (key, it.seq, it.timed)).collect();
        all.sort_unstable();
        assert_eq!(all, [(key(1, 1), 1, false), (key(2, 1), 3, true)]);
        let found = rests.remove(&key(2, 1)).unwrap();
        assert_eq!((found.seq, found.armed, found.bytes), (3, Some(Timestamp(8)), 7));
        assert!(rests.remove(&key(2, 1)).is_none());
        assert_eq!(rests.remove(&key(1, 1)).unwrap().armed, None);
        assert!(rests.is_empty());
    }
}
