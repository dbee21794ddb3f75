//! What the log remembers of open streams: the number of the last record.
//!
//! Changes of a group that is not durable yet can be taken back.

use std::hash::RandomState;

use traaviis_model::{ByTenant, Seq};

use crate::line::StreamKey;

/// Last record of every open stream.
#[derive(Debug, Default)]
pub struct Streams {
    open: ByTenant<Seq, RandomState>,
    undo: Vec<(StreamKey, Option<Seq>)>,
}

impl Streams {
    /// Returns the last record of a stream.
    pub fn last(&self, (tenant, id): StreamKey) -> Option<Seq> {
        self.open.get(tenant, id).copied()
    }

    /// Stages a stream's new last record.
    pub fn stage(&mut self, key: StreamKey, last: Seq, ends: bool) {
        let before = if ends { self.remove(key) } else { self.insert(key, last) };
        self.undo.push((key, before));
    }

    /// Keeps what was staged.
    pub fn keep(&mut self) {
        self.undo.clear();
    }

    /// Takes back what was staged, last first.
    pub fn take_back(&mut self) {
        while let Some((key, before)) = self.undo.pop() {
            match before {
                Some(last) => self.insert(key, last),
                None => self.remove(key),
            };
        }
    }

    /// Takes what somebody else knows, unless more is known here.
    pub fn seed(&mut self, (tenant, id): StreamKey, last: Seq) {
        let known = self.last((tenant, id));
        self.open.insert(tenant, id, known.map_or(last, |it| it.max(last)));
    }

    /// Takes a record read back; says whether it follows. A stream may begin anew with record 1,
    /// and is taken as it is when nothing is known of it, unless `from_start`.
    pub fn observe(&mut self, key: StreamKey, seq: Seq, from_start: bool) -> bool {
        match self.insert(key, seq) {
            Some(last) => seq == last + 1 || seq == 1,
            None => seq == 1 || !from_start,
        }
    }

    /// Returns the number of open streams.
    pub fn count(&self) -> usize {
        self.open.len()
    }

    fn insert(&mut self, (tenant, id): StreamKey, last: Seq) -> Option<Seq> {
        self.open.insert(tenant, id, last)
    }

    fn remove(&mut self, (tenant, id): StreamKey) -> Option<Seq> {
        self.open.remove(tenant, id)
    }
}
