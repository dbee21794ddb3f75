//! `concurrency`: so many bodies of one key at once.

use std::collections::{BTreeSet, VecDeque};

use traaviis_model::{CallId, EffectError, Value, limits::RUNNING_EFFECTS_MAX};

use super::{Answers, Entry, count, crowded};

/// One key.
#[derive(Debug, Default)]
pub(super) struct Concurrency {
    limit: u64,
    inside: BTreeSet<CallId>,
    waiting: VecDeque<CallId>,
}

impl Concurrency {
    pub(super) fn enter(&mut self, id: &CallId, ask: &Value) -> Result<Entry, EffectError> {
        self.limit = count(ask, "limit", None, RUNNING_EFFECTS_MAX as u64)?;
        if self.inside.contains(id) {
            return Ok(Entry::Pass);
        }
        if self.waiting.contains(id) {
            return Ok(Entry::Wait);
        }
        if self.waiting.is_empty() && (self.inside.len() as u64) < self.limit {
            self.inside.insert(id.clone());
            return Ok(Entry::Pass);
        }
        crowded(self.waiting.len())?;
        self.waiting.push_back(id.clone());
        Ok(Entry::Wait)
    }

    /// Forgets somebody who was inside or waited.
    pub(super) fn leave(&mut self, id: &CallId) -> Answers {
        self.inside.remove(id);
        self.waiting.retain(|it| it != id);
        let mut answers = Vec::new();
        while (self.inside.len() as u64) < self.limit
            && let Some(next) = self.waiting.pop_front()
        {
            self.inside.insert(next.clone());
            answers.push((next, Entry::Pass));
        }
        answers
    }

    pub(super) fn restore(&mut self, id: CallId, ask: &Value) {
        self.limit = count(ask, "limit", None, u64::MAX).unwrap_or(self.limit);
        self.inside.insert(id);
    }

    pub(super) fn is_idle(&self) -> bool {
        self.inside.is_empty() && self.waiting.is_empty()
    }
}
