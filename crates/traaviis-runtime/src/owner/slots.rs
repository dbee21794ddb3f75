//! How many calls of one tenant run at once, and who waits for a slot.
//!
//! Invariant: running and promised slots together never exceed the limit. A slot is promised when
//! `Starting` is put into a mailbox, and the promise ends when that input is decided.

use std::collections::{HashSet, VecDeque};

use traaviis_model::{CallId, Seq, Text};

use crate::owner::{FixedHasher, Key};

/// A call that waits for a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub key: Key,
    pub tree: Seq,
    pub path: Text,
}

#[derive(Debug)]
pub(crate) struct Slots {
    limit: usize,
    running: HashSet<CallId, FixedHasher>,
    promised: usize,
    waiting: VecDeque<Waiting>,
}

impl Slots {
    pub(crate) fn new(limit: usize) -> Slots {
        Slots { limit, running: HashSet::default(), promised: 0, waiting: VecDeque::new() }
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
        self.waiting.push_back(waiting);
    }

    pub(crate) fn promise(&mut self) {
        self.promised += 1;
    }

    /// Promises a free slot to whoever waits longest.
    pub(crate) fn promise_next(&mut self) -> Option<Waiting> {
        if self.free() == 0 {
            return None;
        }
        let waiting = self.waiting.pop_front()?;
        self.promised += 1;
        Some(waiting)
    }

    pub(crate) fn end_promise(&mut self) {
        debug_assert!(self.promised > 0, "a promise ends once");
        self.promised = self.promised.saturating_sub(1);
    }
}
