//! How an operation is told to misbehave.

use std::{collections::HashMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::operation::Operation;

/// What happens to a request before or after its execution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Executes and answers.
    #[default]
    Ok,
    /// Refuses without executing.
    Fail,
    /// Neither executes nor answers, until the behaviour changes.
    Hang,
    /// Executes at once and answers late: the moment to kill the caller.
    Slow,
    /// Fails with a status that invites another try, `times` times, then executes.
    Flaky,
}

/// The behaviour of one operation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Behaviour {
    /// What happens.
    #[serde(default)]
    pub mode: Mode,
    /// Status of a failure; the operation's own refusal, and 503 for flaky, unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Wait before the answer; 1000 unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// Requests it applies to; afterwards the operation is ok. Unset: all, for flaky one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
}

/// What is to be done with one request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fate {
    Execute,
    ExecuteThenWait(Duration),
    Refuse(Option<u16>),
    Hang,
}

/// The behaviours of all operations.
#[derive(Debug, Default)]
pub(crate) struct Behaviours(HashMap<Operation, Behaviour>);

impl Behaviours {
    pub(crate) fn set(&mut self, operation: Operation, mut behaviour: Behaviour) {
        if behaviour.mode == Mode::Flaky {
            behaviour.times.get_or_insert(1);
            behaviour.status.get_or_insert(503);
        }
        self.0.insert(operation, behaviour);
    }

    /// Returns the fate of the next request and counts it.
    pub(crate) fn take(&mut self, operation: Operation) -> Fate {
        let Some(behaviour) = self.0.get_mut(&operation) else { return Fate::Execute };
        match &mut behaviour.times {
            Some(0) => return Fate::Execute,
            // A hanging request asks again when it is woken, so it is not counted.
            Some(times) if behaviour.mode != Mode::Hang => *times -= 1,
            _ => {}
        }
        match behaviour.mode {
            Mode::Ok => Fate::Execute,
            Mode::Slow => {
                Fate::ExecuteThenWait(Duration::from_millis(behaviour.delay_ms.unwrap_or(1000)))
            }
            Mode::Fail | Mode::Flaky => Fate::Refuse(behaviour.status),
            Mode::Hang => Fate::Hang,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flaky_fails_once_unless_told_otherwise() {
        let mut behaviours = Behaviours::default();
        let flaky = Behaviour { mode: Mode::Flaky, ..Behaviour::default() };
        behaviours.set(Operation::Charge, flaky);
        let fates: Vec<_> = (0..3).map(|_| behaviours.take(Operation::Charge)).collect();
        assert_eq!(fates, [Fate::Refuse(Some(503)), Fate::Execute, Fate::Execute]);
        assert_eq!(behaviours.take(Operation::Book), Fate::Execute);
    }
}
