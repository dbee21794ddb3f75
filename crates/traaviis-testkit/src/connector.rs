//! The outside world as a test wants it: a receiver with a ledger, and a connector that follows a
//! script.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use traaviis_model::{Call, CallId, DeliveryClass, EffectError, TenantCtx, Text, Value};
use traaviis_ports::{Connector, OnOutcome, Outcome};

/// What a receiver did for each idempotency key.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    entries: BTreeMap<Text, Entry>,
}

/// What was done for one key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    /// Times it was asked.
    pub attempts: u32,
    /// Times it did the work.
    pub executions: u32,
    /// What it answered.
    pub value: Value,
}

impl Ledger {
    /// Asks a receiver that honours keys: the same key does the work once and gets the same answer.
    pub fn execute(&mut self, key: &Text, value: impl FnOnce() -> Value) -> Value {
        let entry = self.entries.entry(key.clone()).or_default();
        entry.attempts += 1;
        if entry.executions == 0 {
            entry.executions = 1;
            entry.value = value();
        }
        entry.value.clone()
    }

    /// Asks a receiver that does the work each time.
    pub fn execute_again(&mut self, key: &Text, value: Value) -> Value {
        let entry = self.entries.entry(key.clone()).or_default();
        entry.attempts += 1;
        entry.executions += 1;
        entry.value = value;
        entry.value.clone()
    }

    /// Notes an attempt that never arrived.
    pub fn miss(&mut self, key: &Text) {
        self.entries.entry(key.clone()).or_default().attempts += 1;
    }

    /// Returns what was done, by key.
    pub fn entries(&self) -> &BTreeMap<Text, Entry> {
        &self.entries
    }
}

/// What one attempt meets.
#[derive(Clone, Debug, PartialEq)]
pub enum Reaction {
    /// The work is done and this is answered at once.
    Ok(Value),
    /// An error is answered at once; no work is done.
    Fail(EffectError),
    /// The work is done, and nobody ever answers.
    Lost(Value),
    /// Nothing is done, and nobody ever answers.
    Hang,
    /// The test answers, with [`ScriptedConnector::complete`].
    Manual,
}

/// A connector that reacts by script. A call names its function in `function`, or its `url`.
pub struct ScriptedConnector {
    state: Mutex<State>,
}

struct State {
    scripts: HashMap<String, VecDeque<Reaction>>,
    fallback: Reaction,
    class: DeliveryClass,
    ledger: Ledger,
    calls: Vec<Call>,
    open: Vec<(Call, OnOutcome)>,
    abandoned: Vec<CallId>,
}

impl ScriptedConnector {
    /// Makes a connector that reacts in the same way to every call without a script.
    pub fn new(fallback: Reaction) -> ScriptedConnector {
        ScriptedConnector {
            state: Mutex::new(State {
                scripts: HashMap::new(),
                fallback,
                class: DeliveryClass::KeyedWrite,
                ledger: Ledger::default(),
                calls: Vec::new(),
                open: Vec::new(),
                abandoned: Vec::new(),
            }),
        }
    }

    /// Adds reactions to the next calls of a function; after them the fallback holds again.
    pub fn script(&self, function: &str, reactions: impl IntoIterator<Item = Reaction>) {
        self.state().scripts.entry(function.to_string()).or_default().extend(reactions);
    }

    /// Says what may be promised about every call.
    pub fn set_class(&self, class: DeliveryClass) {
        self.state().class = class;
    }

    /// Answers the oldest open call of a function; says whether there was one.
    pub fn complete(&self, function: &str, outcome: Outcome) -> bool {
        let mut state = self.state();
        let found = state.open.iter().position(|(call, _)| name(call) == function);
        let Some(at) = found else { return false };
        let (call, done) = state.open.remove(at);
        if let Ok(value) = &outcome {
            let value = value.clone();
            state.ledger.execute(&call.key, || value);
        }
        drop(state);
        done(outcome);
        true
    }

    /// Returns every attempt so far.
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// Returns how many calls wait for [`ScriptedConnector::complete`] or hang.
    pub fn open(&self) -> usize {
        self.state().open.len()
    }

    /// Returns the attempts that were given up.
    pub fn abandoned(&self) -> Vec<CallId> {
        self.state().abandoned.clone()
    }

    /// Returns what was done, by key.
    pub fn ledger(&self) -> Ledger {
        self.state().ledger.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns what a call is aimed at.
pub fn name(call: &Call) -> &str {
    let named = call.input.get("function").or_else(|| call.input.get("url"));
    named.and_then(Value::as_str).unwrap_or_default()
}

impl Connector for ScriptedConnector {
    fn perform(&self, _ctx: &TenantCtx, call: Call, done: OnOutcome) {
        let mut state = self.state();
        state.calls.push(call.clone());
        let scripted = state.scripts.get_mut(name(&call)).and_then(VecDeque::pop_front);
        let outcome = match scripted.unwrap_or_else(|| state.fallback.clone()) {
            Reaction::Ok(value) => Ok(state.ledger.execute(&call.key, || value)),
            Reaction::Fail(error) => {
                state.ledger.miss(&call.key);
                Err(error)
            }
            Reaction::Lost(value) => {
                state.ledger.execute(&call.key, || value);
                return state.open.push((call, done));
            }
            Reaction::Hang | Reaction::Manual => return state.open.push((call, done)),
        };
        drop(state);
        done(outcome);
    }

    fn abandon(&self, _ctx: &TenantCtx, id: &CallId) {
        let mut state = self.state();
        state.abandoned.push(id.clone());
        state.open.retain(|(call, _)| call.id != *id);
    }

    fn delivery_class(&self, _ctx: &TenantCtx, _kind: &str, _input: &Value) -> DeliveryClass {
        self.state().class
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_that_honours_keys_works_once() {
        let mut ledger = Ledger::default();
        let key = Text::from("k");
        assert_eq!(ledger.execute(&key, || Value::Int(1)), Value::Int(1));
        assert_eq!(ledger.execute(&key, || Value::Int(2)), Value::Int(1));
        let entry = &ledger.entries()[&key];
        assert_eq!((entry.attempts, entry.executions), (2, 1));
    }
}
