//! Open instances whose state is not in memory: what they are still found by.
//!
//! There may be a million of them, so an entry is as small as it can be, without what few have.

use std::{collections::HashMap, sync::Arc};

use traaviis_engine::Machine;
use traaviis_model::{ByTenant, Seq, Timestamp};

use super::{Key, SeededHasher, Waits};

/// Memory of one entry, its part of the empty places of a table included.
const ENTRY_BYTES: usize = 56;

/// An open instance that is not in memory.
pub(super) struct Resting {
    pub(super) seq: Seq,
    pub(super) machine: Option<Arc<Machine>>,
    pub(super) timers: Timers,
    pub(super) waits: Option<Box<Waits>>,
}

/// What is known of the timers of an instance that rests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Timers {
    /// It has none.
    None,
    /// It has some, which do not fire as it stands.
    Idle,
    /// The first of them fires then.
    Armed(Timestamp),
}

/// All of an owner.
#[derive(Default)]
pub(super) struct Rests {
    entries: ByTenant<Entry, SeededHasher>,
    waits: HashMap<Key, Box<Waits>, SeededHasher>,
    count: usize,
}

struct Entry {
    seq: Seq,
    machine: Option<Arc<Machine>>,
    /// Packed: an enum would take eight bytes more.
    timers: Timestamp,
}

const NONE: Timestamp = Timestamp(i64::MAX);
const IDLE: Timestamp = Timestamp(i64::MAX - 1);

impl Timers {
    pub(super) fn new(armed: Option<Timestamp>, has_any: bool) -> Timers {
        match armed {
            Some(at) => Timers::Armed(at),
            None if has_any => Timers::Idle,
            None => Timers::None,
        }
    }

    pub(super) fn armed(self) -> Option<Timestamp> {
        match self {
            Timers::Armed(at) => Some(at),
            Timers::None | Timers::Idle => None,
        }
    }

    fn pack(self) -> Timestamp {
        match self {
            Timers::None => NONE,
            Timers::Idle => IDLE,
            Timers::Armed(at) => at,
        }
    }

    fn unpack(packed: Timestamp) -> Timers {
        match packed {
            NONE => Timers::None,
            IDLE => Timers::Idle,
            at => Timers::Armed(at),
        }
    }
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
        self.entries.get(key.tenant, key.id).is_some()
    }

    pub(super) fn insert(&mut self, key: Key, resting: Resting) {
        let Resting { seq, machine, timers, waits } = resting;
        let entry = Entry { seq, machine, timers: timers.pack() };
        if let Some(waits) = waits {
            self.waits.insert(key, waits);
        }
        self.count += usize::from(self.entries.insert(key.tenant, key.id, entry).is_none());
    }

    pub(super) fn remove(&mut self, key: &Key) -> Option<Resting> {
        let Entry { seq, machine, timers } = self.entries.remove(key.tenant, key.id)?;
        self.count -= 1;
        let waits = self.waits.remove(key);
        Some(Resting { seq, machine, timers: Timers::unpack(timers), waits })
    }

    /// Returns where each stands, and its machine.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, Seq, Option<&Machine>)> {
        self.entries
            .iter()
            .map(|(tenant, id, it)| (Key { tenant, id }, it.seq, it.machine.as_deref()))
    }

    /// Returns those that have timers.
    pub(super) fn timed(&self) -> impl Iterator<Item = Key> {
        let timed = self.entries.iter().filter(|(_, _, it)| it.timers != NONE);
        timed.map(|(tenant, id, _)| Key { tenant, id })
    }
}

#[cfg(test)]
mod tests {
    use traaviis_model::{InstanceId, TenantId};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<(InstanceId, Entry)>() <= 40);
    }

    #[test]
    fn what_is_put_comes_back() {
        let key = |tenant, id| Key {
            tenant: TenantId(Uuid::from_u128(tenant)),
            id: InstanceId(Uuid::from_u128(id)),
        };
        let resting = |seq, timers| Resting { seq, machine: None, timers, waits: None };
        let armed = Timers::Armed(Timestamp(8));
        let mut rests = Rests::default();
        rests.insert(key(1, 1), resting(1, Timers::None));
        rests.insert(key(1, 2), resting(1, Timers::Idle));
        rests.insert(key(2, 1), resting(2, Timers::Idle));
        rests.insert(key(2, 1), resting(3, armed));
        assert_eq!((rests.len(), rests.is_empty()), (3, false));
        assert!(rests.contains(&key(1, 1)) && !rests.contains(&key(2, 2)));
        let mut all: Vec<(Key, Seq)> = rests.iter().map(|(key, seq, _)| (key, seq)).collect();
        all.sort_unstable();
        assert_eq!(all, [(key(1, 1), 1), (key(1, 2), 1), (key(2, 1), 3)]);
        let mut timed: Vec<Key> = rests.timed().collect();
        timed.sort_unstable();
        assert_eq!(timed, [key(1, 2), key(2, 1)]);
        for (key, seq, timers) in
            [(key(2, 1), 3, armed), (key(1, 1), 1, Timers::None), (key(1, 2), 1, Timers::Idle)]
        {
            let found = rests.remove(&key).unwrap();
            assert_eq!((found.seq, found.timers), (seq, timers));
            assert!(rests.remove(&key).is_none());
        }
        assert!(rests.is_empty());
    }
}
