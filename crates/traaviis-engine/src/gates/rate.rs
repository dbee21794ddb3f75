//! `rate_limit`: so many passes in so much time.

use std::collections::VecDeque;

use traaviis_model::{CallId, EffectError, Timestamp, Value, limits::RATE_REQUESTS_MAX};

use super::{Answers, Entry, count, crowded, later, span};

/// One key.
#[derive(Debug, Default)]
pub(super) struct Rate {
    policy: Policy,
    /// Token bucket: the time at which it would be full again (GCRA).
    full_at: i64,
    /// Sliding window: passes that still count, oldest first.
    passes: VecDeque<i64>,
    /// Fixed window: its number, and passes in it.
    window: (i64, u64),
    waiting: VecDeque<CallId>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Policy {
    algorithm: Algorithm,
    requests: u64,
    window: i64,
    burst: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Algorithm {
    #[default]
    TokenBucket,
    SlidingWindow,
    FixedWindow,
}

impl Policy {
    fn read(ask: &Value) -> Result<Policy, EffectError> {
        let requests = count(ask, "requests", None, RATE_REQUESTS_MAX)?;
        Ok(Policy {
            algorithm: match ask.get("algorithm").and_then(Value::as_str) {
                Some("sliding_window") => Algorithm::SlidingWindow,
                Some("fixed_window") => Algorithm::FixedWindow,
                _ => Algorithm::TokenBucket,
            },
            requests,
            window: span(ask, "window", None)?,
            burst: count(ask, "burst_limit", Some(requests), RATE_REQUESTS_MAX)?,
        })
    }

    /// Time that one pass uses up, in microseconds.
    fn interval(&self) -> i64 {
        self.window / self.requests.max(1).cast_signed()
    }
}

impl Rate {
    pub(super) fn enter(
        &mut self,
        id: &CallId,
        ask: &Value,
        now: Timestamp,
    ) -> Result<Entry, EffectError> {
        // The newest ask decides how much is allowed.
        self.policy = Policy::read(ask)?;
        if self.waiting.contains(id) {
            return Ok(Entry::Wait);
        }
        if self.waiting.is_empty() && self.pass(now) {
            return Ok(Entry::Pass);
        }
        if ask.get("on_limit").and_then(Value::as_str) == Some("fail") {
            let message = "the rate limit of this key is reached".to_string();
            return Err(later("rate_limit_exceeded", message, self.next(now).0 - now.0));
        }
        crowded(self.waiting.len())?;
        self.waiting.push_back(id.clone());
        Ok(Entry::Wait)
    }

    pub(super) fn forget(&mut self, id: &CallId) {
        self.waiting.retain(|it| it != id);
    }

    pub(super) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(super) fn is_idle(&self, now: Timestamp) -> bool {
        let counts = match self.policy.algorithm {
            Algorithm::TokenBucket => self.full_at > now.0,
            Algorithm::SlidingWindow => {
                self.passes.back().is_some_and(|it| it + self.policy.window > now.0)
            }
            Algorithm::FixedWindow => self.window.0 == self.number(now),
        };
        !counts && self.waiting.is_empty()
    }

    pub(super) fn advance(&mut self, now: Timestamp) -> Answers {
        let mut answers = Vec::new();
        while !self.waiting.is_empty() && self.pass(now) {
            answers.extend(self.waiting.pop_front().map(|id| (id, Entry::Pass)));
        }
        answers
    }

    fn number(&self, now: Timestamp) -> i64 {
        now.0.div_euclid(self.policy.window.max(1))
    }

    /// Counts a pass if there is room for one now.
    fn pass(&mut self, now: Timestamp) -> bool {
        if self.next(now) > now {
            return false;
        }
        match self.policy.algorithm {
            Algorithm::TokenBucket => {
                self.full_at = self.full_at.max(now.0) + self.policy.interval();
            }
            Algorithm::SlidingWindow => {
                let begins = now.0 - self.policy.window;
                while self.passes.front().is_some_and(|it| *it <= begins) {
                    self.passes.pop_front();
                }
                self.passes.push_back(now.0);
            }
            Algorithm::FixedWindow => {
                let number = self.number(now);
                let before = if self.window.0 == number { self.window.1 } else { 0 };
                self.window = (number, before + 1);
            }
        }
        true
    }

    /// Returns when the next pass fits: now, or later.
    pub(super) fn next(&self, now: Timestamp) -> Timestamp {
        let Policy { requests, window, burst, .. } = self.policy;
        let at = match self.policy.algorithm {
            Algorithm::TokenBucket => {
                let slack = self.policy.interval().saturating_mul(burst.cast_signed() - 1);
                self.full_at.saturating_sub(slack)
            }
            Algorithm::SlidingWindow => {
                // The pass that must leave the window for another one to fit.
                let over = (self.passes.len() as u64).checked_sub(requests);
                let leaves = over.and_then(|at| self.passes.get(at as usize));
                leaves.map_or(now.0, |it| it + window)
            }
            Algorithm::FixedWindow => {
                let number = self.number(now);
                let is_full = self.window.0 == number && self.window.1 >= requests;
                if is_full { (number + 1).saturating_mul(window) } else { now.0 }
            }
        };
        Timestamp(at.max(now.0))
    }
}
