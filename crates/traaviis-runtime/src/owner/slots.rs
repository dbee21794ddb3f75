//! How many calls of one tenant run at once, and who waits for a slot: the highest priority goes
//! first, and of the same whoever waits longest. Each tenant has its own slots, so nobody's
//! priority concerns another.
//!
//! Invariant: running and promised slots together never exceed the limit. A slot is promised when
//! `Starting` is put into a mailbox, and the promise ends when that input is decided.

use std::collections::{BTreeMap, HashSet, VecDeque};

use traaviis_model::{CallId, Seq, Text, Timestamp};

use crate::owner::{Key, SeededHasher};

/// A call that waits for a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub key: Key,
    pub tree: Seq,
    pub path: Text,
    pub priority: i8,
    /// Since when it could have started; in a process that begins anew, since the last step of its
    /// instance.
    pub since: Timestamp,
}

#[derive(Debug)]
pub(crate) struct Slots {
    limit: usize,
    running: HashSet<CallId, SeededHasher>,
    promised: usize,
    /// By priority; no queue is empty.
    waiting: BTreeMap<i8, VecDeque<Waiting>>,
}

impl Slots {
    pub(crate) fn new(limit: usize) -> Slots {
        Slots { limit, running: HashSet::default(), promised: 0, waiting: BTreeMap::new() }
    }

    pub(crate) fn free(&self) -> usize {
        self.limit.saturating_sub(self.running.len() + self.promised)
    }

    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    pub(crate) fn take(&mut self, id: &CallId) {
        self.running.insert(id.clone());
    }

    /// Frees the slot of a call; it may have been freed before.
    pub(crate) fn give_back(&mut self, id: &CallId) {
        self.running.remove(id);
    }

    pub(crate) fn wait(&mut self, waiting: Waiting) {
        self.waiting.entry(waiting.priority).or_default().push_back(waiting);
    }

    /// Returns who waits, of the same priority the longest first.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &Waiting> {
        self.waiting.values().flatten()
    }

    pub(crate) fn promise(&mut self) {
        self.promised += 1;
    }

    /// Promises a free slot to whoever goes first.
    pub(crate) fn promise_next(&mut self) -> Option<Waiting> {
        if self.free() == 0 {
            return None;
        }
        let mut first = self.waiting.last_entry()?;
        let waiting = first.get_mut().pop_front();
        if first.get().is_empty() {
            first.remove();
        }
        let waiting = waiting?;
        self.promised += 1;
        Some(waiting)
    }

    pub(crate) fn end_promise(&mut self) {
        debug_assert!(self.promised > 0, "a promise ends once");
        self.promised = self.promised.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use traaviis_model::{InstanceId, TenantId};

    use super::*;

    #[test]
    fn the_highest_priority_goes_first_and_of_the_same_who_waits_longest() {
        let id = uuid::Uuid::from_u128(1);
        let key = Key { tenant: TenantId(id), id: InstanceId(id) };
        let mut slots = Slots::new(10);
        for (path, priority) in [("a", 0), ("b", -10), ("c", 10), ("d", 0), ("e", 10)] {
            let since = Timestamp(0);
            slots.wait(Waiting { key, tree: 1, path: path.into(), priority, since });
        }
        let order: Vec<Text> =
            std::iter::from_fn(|| slots.promise_next()).map(|it| it.path).collect();
        assert_eq!(order.iter().map(|it| &**it).collect::<String>(), "ceadb");
        assert!(slots.waiting.is_empty(), "no queue is left behind");
    }
}
