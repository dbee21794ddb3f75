//! `circuit_breaker`: after enough failures nobody goes on, until a probe succeeds.

use std::collections::{BTreeSet, VecDeque};

use traaviis_model::{CallId, EffectError, Text, Timestamp, Value, limits::BREAKER_FAILURES_MAX};

use super::{CHANGES, Entry, Left, count, later, span};

/// One target.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    state: State,
    /// Failures that still count, oldest first.
    failures: VecDeque<i64>,
    window: i64,
    /// Changes that nobody was told of: before and after.
    untold: Vec<[&'static str; 2]>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Closed,
    Open {
        until: i64,
    },
    /// Some may try.
    HalfOpen {
        probes: BTreeSet<CallId>,
    },
}

impl State {
    fn as_str(&self) -> &'static str {
        match self {
            State::Closed => "closed",
            State::Open { .. } => "open",
            State::HalfOpen { .. } => "half_open",
        }
    }
}

impl Breaker {
    pub(super) fn enter(
        &mut self,
        id: &CallId,
        ask: &Value,
        now: Timestamp,
    ) -> Result<Entry, EffectError> {
        self.window = span(ask, "window", Some("60s"))?;
        // Wrong parameters are told before anything fails.
        threshold(ask)?;
        let recovery = span(ask, "recovery_timeout", Some("30s"))?;
        let probes_max = count(ask, "half_open_max", Some(1), BREAKER_FAILURES_MAX)?;
        if let State::Open { until } = self.state {
            if now.0 < until {
                return Err(self.refuse(ask, "open", until - now.0));
            }
            self.change(State::HalfOpen { probes: BTreeSet::new() });
        }
        match &mut self.state {
            State::HalfOpen { probes } if !probes.contains(id) => {
                if probes.len() as u64 >= probes_max {
                    return Err(self.refuse(ask, "half open and being tried", recovery));
                }
                probes.insert(id.clone());
            }
            _ => {}
        }
        Ok(match self.take_untold(ask) {
            Some(changes) => Entry::Changed(changes),
            None => Entry::Pass,
        })
    }

    fn change(&mut self, state: State) {
        self.untold.push([self.state.as_str(), state.as_str()]);
        self.state = state;
    }

    /// Returns the changes that nobody was told of, if there are any.
    fn take_untold(&mut self, ask: &Value) -> Option<Value> {
        let name = ask.get("name").cloned().unwrap_or_default();
        let told = |[from, to]: [&'static str; 2]| {
            Value::map([("name", name.clone()), ("from", from.into()), ("to", to.into())])
        };
        let changes: Vec<Value> = self.untold.drain(..).map(told).collect();
        (!changes.is_empty()).then(|| Value::list(changes))
    }

    fn refuse(&mut self, ask: &Value, state: &str, wait: i64) -> EffectError {
        let name = ask.get("name").and_then(Value::as_str).unwrap_or_default();
        let message = format!("the circuit breaker `{name}` is {state}");
        let error = later("circuit_breaker_open", message, wait);
        let Some(changes) = self.take_untold(ask) else { return error };
        let mut details = error.details.as_map().cloned().unwrap_or_default();
        details.insert(CHANGES, changes);
        error.with_details(Value::Map(details.into()))
    }

    pub(super) fn leave(&mut self, id: &CallId, ask: &Value, left: &Left, now: Timestamp) {
        let failed = match left {
            Left::Failed(codes) => counts(ask, codes),
            Left::Done(_) => false,
            Left::Cancelled => return self.forget(id),
        };
        match &mut self.state {
            State::HalfOpen { probes } if probes.contains(id) => match failed {
                true => self.open(ask, now),
                false => {
                    self.failures.clear();
                    self.change(State::Closed);
                }
            },
            State::Closed if failed => {
                self.failures.push_back(now.0);
                let begins = now.0 - self.window;
                while self.failures.front().is_some_and(|it| *it <= begins) {
                    self.failures.pop_front();
                }
                if self.failures.len() as u64 >= threshold(ask).unwrap_or(1) {
                    self.open(ask, now);
                }
            }
            // What began before the breaker opened says nothing about the peer now.
            _ => {}
        }
    }

    pub(super) fn forget(&mut self, id: &CallId) {
        if let State::HalfOpen { probes } = &mut self.state {
            probes.remove(id);
        }
    }

    pub(super) fn is_idle(&self, now: Timestamp) -> bool {
        let last = self.failures.back().is_none_or(|it| it + self.window <= now.0);
        matches!(self.state, State::Closed) && last && self.untold.is_empty()
    }

    fn open(&mut self, ask: &Value, now: Timestamp) {
        let recovery = span(ask, "recovery_timeout", Some("30s")).unwrap_or_default();
        self.failures.clear();
        self.change(State::Open { until: now.0.saturating_add(recovery) });
    }
}

fn threshold(ask: &Value) -> Result<u64, EffectError> {
    count(ask, "failure_threshold", Some(5), BREAKER_FAILURES_MAX)
}

/// Says whether an error counts: any, or one of `expected_errors`.
fn counts(ask: &Value, codes: &[Text]) -> bool {
    match ask.get("expected_errors").and_then(Value::as_list) {
        None => true,
        Some(expected) => {
            let is_expected = |code: &Text| expected.iter().any(|it| it.as_str() == Some(code));
            codes.iter().any(is_expected)
        }
    }
}
