//! Gates: what an effect must pass before it goes on, shared by the instances of a tenant.
//!
//! A node of kind `rate_limit`, `concurrency`, `circuit_breaker` or `cache` asks its gate before
//! its body begins ([`Gates::enter`]) and tells it how the body ended ([`Gates::leave`]). Whoever
//! must wait stands in a queue, first come first served, and is let in later.
//!
//! Gates live in memory, one [`Gates`] per tenant, and are pure: time is a parameter. After a
//! crash whoever waited asks again, whoever was inside is put back ([`Gates::restore`]); rates,
//! breakers and cached values begin anew. How a breaker changed is told with the answer to the next
//! ask, because only who asks has a history in which it can stand.

mod breaker;
mod cache;
mod concurrency;
mod rate;

use std::collections::{BTreeMap, BTreeSet};

use traaviis_model::{
    CallId, EffectError, Snapshot, Text, Timestamp, Value,
    call::GATE,
    limits::{GATE_WAITING_MAX, GATES_MAX},
    snapshot::NodeStatus,
};

use breaker::Breaker;
use cache::Cache;
use concurrency::Concurrency;
use rate::Rate;

/// Segment of the child that asks the gate.
pub const ASK: &str = "ask";

/// Where an answer tells how a breaker has changed since the last one.
pub(crate) const CHANGES: &str = "changes";

/// What a gate says to an ask.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// The body may begin.
    Pass,
    /// The body may begin, and a breaker has changed: told to whoever asks first.
    Changed(Value),
    /// The body is not needed: this is its value.
    Hit(Value),
    /// The body may not begin.
    Refuse(EffectError),
    /// The ask waits; it is answered later.
    Wait,
}

/// How a body ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Left {
    /// With this value.
    Done(Value),
    /// With an error that has these codes: its own and its cause's.
    Failed(Vec<Text>),
    /// It was called off.
    Cancelled,
}

impl Entry {
    /// Returns the outcome of the ask; none while it waits.
    pub fn outcome(self) -> Option<Result<Value, EffectError>> {
        match self {
            Entry::Pass => Some(Ok(Value::empty_map())),
            Entry::Changed(changes) => Some(Ok(Value::map([(CHANGES, changes)]))),
            Entry::Hit(value) => Some(Ok(Value::map([("value", value)]))),
            Entry::Refuse(error) => Some(Err(error)),
            Entry::Wait => None,
        }
    }
}

/// Asks that are answered now, in order.
pub type Answers = Vec<(CallId, Entry)>;

/// Which gate: kind, namespace or scope, key.
type Name = (Text, Text, Text);

/// The gates of one tenant.
#[derive(Debug, Default)]
pub struct Gates {
    rates: BTreeMap<Name, Rate>,
    concurrency: BTreeMap<Name, Concurrency>,
    breakers: BTreeMap<Name, Breaker>,
    cache: Cache,
    /// The gates of those who wait or are inside.
    places: BTreeMap<CallId, Name>,
    /// When somebody who waits for a rate may be let in.
    due: BTreeSet<(Timestamp, Name)>,
}

impl Gates {
    /// Asks for entry. `ask` holds the evaluated parameters; the same id may ask again.
    pub fn enter(&mut self, id: &CallId, ask: &Value, now: Timestamp) -> Entry {
        let name = match name_of(ask) {
            Ok(name) => name,
            Err(error) => return Entry::Refuse(error),
        };
        let place = name.clone();
        let entered = match &*name.0 {
            "rate_limit" => bound(&mut self.rates, &name, |it| it.is_idle(now)).and_then(|rate| {
                let entry = rate.enter(id, ask, now)?;
                if entry == Entry::Wait {
                    self.due.insert((rate.next(now), name));
                }
                Ok(entry)
            }),
            "concurrency" => bound(&mut self.concurrency, &name, Concurrency::is_idle)
                .and_then(|it| it.enter(id, ask)),
            "circuit_breaker" => bound(&mut self.breakers, &name, |it| it.is_idle(now))
                .and_then(|it| it.enter(id, ask, now)),
            "cache" => self.cache.enter(id, name, ask, now),
            other => Err(wrong("gate", &format!("`{other}` is none"))),
        };
        let entry = entered.unwrap_or_else(Entry::Refuse);
        if matches!(entry, Entry::Wait | Entry::Pass | Entry::Changed(_)) {
            self.places.insert(id.clone(), place);
        }
        entry
    }

    /// Takes note that a body that was let in has ended; returns whom that lets in.
    pub fn leave(&mut self, id: &CallId, ask: &Value, left: Left, now: Timestamp) -> Answers {
        let Some(name) = self.places.remove(id) else { return Vec::new() };
        let answers = match &*name.0 {
            "concurrency" => self.concurrency.get_mut(&name).map(|it| it.leave(id)),
            "circuit_breaker" => {
                if let Some(breaker) = self.breakers.get_mut(&name) {
                    breaker.leave(id, ask, &left, now);
                }
                None
            }
            "cache" => Some(self.cache.leave(id, &name, left, now)),
            _ => None,
        };
        self.answered(answers.unwrap_or_default())
    }

    /// Takes note of an event of the tenant: values that it makes stale no longer hold.
    pub fn heard(&mut self, event: &str) {
        self.cache.invalidate(event);
    }

    /// Forgets an ask that is given up before it heard the answer; returns whom that lets in.
    pub fn forget(&mut self, id: &CallId) -> Answers {
        let Some(name) = self.places.remove(id) else { return Vec::new() };
        let answers = match &*name.0 {
            "rate_limit" => {
                if let Some(rate) = self.rates.get_mut(&name) {
                    rate.forget(id);
                }
                Vec::new()
            }
            "concurrency" => self.concurrency.get_mut(&name).map_or(Vec::new(), |it| it.leave(id)),
            "circuit_breaker" => {
                if let Some(breaker) = self.breakers.get_mut(&name) {
                    breaker.forget(id);
                }
                Vec::new()
            }
            _ => self.cache.forget(id, &name),
        };
        self.answered(answers)
    }

    fn answered(&mut self, answers: Answers) -> Answers {
        for (id, entry) in &answers {
            if *entry != Entry::Pass {
                self.places.remove(id);
            }
        }
        answers
    }

    /// Returns when [`Gates::advance`] lets somebody in.
    pub fn due(&self) -> Option<Timestamp> {
        self.due.first().map(|it| it.0)
    }

    /// Lets in who waited for time to pass.
    pub fn advance(&mut self, now: Timestamp) -> Answers {
        let mut answers = Vec::new();
        while let Some((at, name)) = self.due.first().cloned()
            && at <= now
        {
            self.due.pop_first();
            let Some(rate) = self.rates.get_mut(&name) else { continue };
            answers.extend(rate.advance(now));
            if rate.waits() {
                self.due.insert((rate.next(now), name));
            }
        }
        self.answered(answers)
    }

    /// Puts back whoever of an instance was inside when the process died.
    pub fn restore(&mut self, snapshot: &Snapshot) {
        for tree in &snapshot.trees {
            for (path, ask) in &tree.nodes {
                let Some((gate, segment)) = path.rsplit_once('/') else { continue };
                // An answer that is held by a pause or an incident will still be taken.
                let is_answered =
                    ask.status == NodeStatus::Completed || snapshot.holds_outcome(tree.id, path);
                let was_let_in = segment == ASK
                    && &*ask.kind == GATE
                    && is_answered
                    && ask.value.get("value").is_none();
                let Some(gate) = tree.nodes.get(gate).filter(|_| was_let_in) else { continue };
                let Ok(name) = name_of(&gate.input) else { continue };
                if gate.status.is_over() {
                    continue;
                }
                let id = CallId {
                    instance: snapshot.id,
                    tree: tree.id,
                    path: path.clone(),
                    scheduled: ask.scheduled,
                    attempt: ask.attempt,
                };
                self.places.insert(id.clone(), name.clone());
                match &*name.0 {
                    "concurrency" => {
                        self.concurrency.entry(name).or_default().restore(id, &gate.input)
                    }
                    "cache" => self.cache.restore(id, name, &gate.input),
                    _ => {}
                }
            }
        }
    }
}

/// Returns the gate of that name, made if there is room for another.
fn bound<'g, G: Default>(
    gates: &'g mut BTreeMap<Name, G>,
    name: &Name,
    is_idle: impl Fn(&G) -> bool,
) -> Result<&'g mut G, EffectError> {
    if gates.len() >= GATES_MAX && !gates.contains_key(name) {
        gates.retain(|_, gate| !is_idle(gate));
        if gates.len() >= GATES_MAX {
            let message = format!("the tenant has {GATES_MAX} keys of `{}` in use", name.0);
            return Err(EffectError::retryable("rate_limit_exceeded", message));
        }
    }
    Ok(gates.entry(name.clone()).or_default())
}

/// Says that too many wait already.
fn crowded(waiting: usize) -> Result<(), EffectError> {
    if waiting < GATE_WAITING_MAX {
        return Ok(());
    }
    let message = format!("{GATE_WAITING_MAX} effects wait for this key already");
    Err(EffectError::retryable("rate_limit_exceeded", message))
}

fn name_of(ask: &Value) -> Result<Name, EffectError> {
    let text = |key: &str| ask.get(key).map(|it| crate::step::text_of(&it.clone().into_json()));
    let gate = text("gate").unwrap_or_default();
    let what = if &*gate == "circuit_breaker" { "name" } else { "key" };
    let key = text(what).filter(|it| !it.is_empty());
    let key = key.ok_or_else(|| wrong(what, "must not be empty"))?;
    Ok((gate, text("namespace").unwrap_or_default(), key))
}

fn wrong(name: &str, rule: &str) -> EffectError {
    EffectError::new("validation_failed", format!("`{name}` {rule}"))
}

/// Returns a whole number of the evaluated parameters.
fn count(ask: &Value, name: &str, default: Option<u64>, most: u64) -> Result<u64, EffectError> {
    let rule = format!("must be a whole number from 1 to {most}");
    match ask.get(name).filter(|it| !it.is_null()) {
        None => default.ok_or_else(|| wrong(name, &rule)),
        Some(value) => {
            let count = value.as_i64().and_then(|it| u64::try_from(it).ok());
            count.filter(|it| (1..=most).contains(it)).ok_or_else(|| wrong(name, &rule))
        }
    }
}

/// Returns a duration of the evaluated parameters, in microseconds.
fn span(ask: &Value, name: &str, default: Option<&str>) -> Result<i64, EffectError> {
    let default = default.map(Value::from);
    let value = ask.get(name).filter(|it| !it.is_null()).cloned().or(default);
    let value = value.ok_or_else(|| wrong(name, "is missing"))?;
    let span = crate::machine::span_of(&value).map_err(|why| wrong(name, &why))?;
    if span.0 <= 0 {
        return Err(wrong(name, "must be longer than nothing"));
    }
    Ok(span.0)
}

/// Returns an error that tells when to come again.
fn later(code: &str, message: String, wait: i64) -> EffectError {
    // Rounded up, so that whoever comes then is let in.
    let wait = (wait.max(0) + 999) / 1_000;
    EffectError::retryable(code, message)
        .with_details(Value::map([("retry_after_ms", Value::Int(wait))]))
}

#[cfg(test)]
mod tests;
