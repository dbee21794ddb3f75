//! Compares the parts of two definitions, one kind after the other.

use traaviis_model::{
    Text, Value,
    definition::{Candidate, Definition, Invoke, State, StateKind},
};

use super::{Change, Difference, Matching, Part, matching::States};
use crate::machine::StateId;

/// Keys of the document that are compared as they are.
const WHOLE: [&str; 13] = [
    "name",
    "unhandled",
    "output",
    "validations",
    "errors",
    "defaults",
    "budgets",
    "plugins",
    "correlation",
    "subject",
    "migrations",
    "triggers",
    "subscribe",
];
/// Keys of an event that say what it is.
const OF_EVENT: [&str; 6] = ["schema", "source", "merge", "requires", "pii", "dedup_window"];
/// Keys of a state that are compared as they are.
const OF_STATE: [&str; 8] =
    ["type", "history", "status", "output", "unhandled", "budgets", "entry", "exit"];

struct Differ<'d> {
    old: &'d Definition,
    new: &'d Definition,
    old_json: Value,
    new_json: Value,
    matching: Matching<'d>,
    found: Vec<Difference>,
}

pub(super) fn differences(old: &Definition, new: &Definition) -> Vec<Difference> {
    let matching = Matching::of(old, new);
    let mut differ = Differ {
        old,
        new,
        old_json: old.json(),
        new_json: new.json(),
        matching,
        found: Vec::new(),
    };
    differ.workflow();
    differ.events();
    differ.named_effects();
    differ.states();
    differ.found
}

impl Differ<'_> {
    fn add(&mut self, part: Part, change: Change, place: &str, before: Value, after: Value) {
        self.found.push(Difference { part, change, place: place.into(), before, after });
    }

    fn workflow(&mut self) {
        let (old, new) = (self.old_json.clone(), self.new_json.clone());
        for key in WHOLE {
            self.values(Part::Workflow, key, old.get(key), new.get(key));
        }
        for (key, inner) in [("input", "schema"), ("data", "schema"), ("data", "initial")] {
            let of = |document: &Value| document.get(key).and_then(|it| it.get(inner)).cloned();
            let place = format!("{key} {inner}");
            self.values(Part::Data, &place, of(&old).as_ref(), of(&new).as_ref());
        }
        let (before, after) = (
            self.renamed(self.targets(&self.matching.old, &self.old.initial, 0)),
            self.paths(&self.matching.new, &self.targets(&self.matching.new, &self.new.initial, 0)),
        );
        if before != after {
            self.add(Part::Workflow, Change::Changed, "initial", before, after);
        }
    }

    fn events(&mut self) {
        let of = |definition: &Definition, json: &Value, name: &Text| {
            let event = definition.events.iter().find(|it| it.name == *name)?;
            let json = json.at_pointer(&event.pointer)?;
            let kept = OF_EVENT.iter().filter_map(|key| Some((*key, json.get(key)?.clone())));
            Some(Value::map(kept))
        };
        for name in names(&self.old.events, &self.new.events, |it| &it.name) {
            let before = of(self.old, &self.old_json, &name);
            let after = of(self.new, &self.new_json, &name);
            self.values(Part::Event, &name, before.as_ref(), after.as_ref());
        }
    }

    fn named_effects(&mut self) {
        for name in names(&self.old.effects, &self.new.effects, |it| &it.name) {
            let of = |json: &Value| json.get("effects").and_then(|it| it.get(&name)).cloned();
            let (before, after) = (of(&self.old_json), of(&self.new_json));
            self.values(Part::Effect, &name, before.as_ref(), after.as_ref());
        }
    }

    fn states(&mut self) {
        for state in self.matching.new.ids() {
            let path = self.matching.new.places.path(state).clone();
            match self.matching.to_old(state) {
                None => self.add(Part::State, Change::Added, &path, Value::Null, Value::Null),
                Some(before) => self.state(before, state, &path),
            }
        }
        for state in self.matching.old.ids() {
            if self.matching.to_new(state).is_none() {
                let path = self.matching.old.places.path(state).clone();
                self.add(Part::State, Change::Removed, &path, Value::Null, Value::Null);
            }
        }
    }

    fn state(&mut self, old: StateId, new: StateId, path: &str) {
        let was = self.matching.old.places.path(old).clone();
        let expected = match self.matching.to_new(self.matching.old.places.parent(old)) {
            Some(0) => self.matching.old.places.name(old).to_string(),
            Some(parent) => {
                let above = self.matching.new.places.path(parent);
                format!("{above}.{}", self.matching.old.places.name(old))
            }
            None => was.to_string(),
        };
        // A state that only follows its parent did not move itself.
        if expected != path {
            let (before, after) = (Value::String(was), Value::from(path));
            self.add(Part::State, Change::Moved, path, before, after);
        }
        let (a, b) = (self.matching.old.get(old), self.matching.new.get(new));
        let (before, after) = (
            self.old_json.at_pointer(&a.pointer).cloned().unwrap_or_default(),
            self.new_json.at_pointer(&b.pointer).cloned().unwrap_or_default(),
        );
        for key in OF_STATE {
            let place = format!("{path} {key}");
            self.values(Part::State, &place, before.get(key), after.get(key));
        }
        self.default_of(old, new, path);
        self.transitions(a, b, (old, new), path);
        self.timers(a, b, (old, new), path);
        self.invokes(a, b, (old, new), path);
    }

    /// Compares `initial`, or the default of a history, with their actions.
    fn default_of(&mut self, old: StateId, new: StateId, path: &str) {
        let of = |states: &States<'_>, state: StateId| match &states.get(state).kind {
            StateKind::Compound { initial, .. } => self.targets(states, initial, state),
            StateKind::History { target, .. } => self.resolved(states, target, state),
            _ => Vec::new(),
        };
        let before = self.renamed(of(&self.matching.old, old));
        let after = self.paths(&self.matching.new, &of(&self.matching.new, new));
        if before != after {
            let place = format!("{path} default");
            self.add(Part::State, Change::Changed, &place, before, after);
        }
        let actions = |json: &Value, state: &State| {
            let json = json.at_pointer(&state.pointer)?;
            let inner = json.get("initial").and_then(|it| it.get("actions"));
            inner.or_else(|| json.get("actions")).cloned()
        };
        let before = actions(&self.old_json, self.matching.old.get(old));
        let after = actions(&self.new_json, self.matching.new.get(new));
        let place = format!("{path} actions of the default");
        self.values(Part::State, &place, before.as_ref(), after.as_ref());
    }

    fn transitions(&mut self, a: &State, b: &State, at: (StateId, StateId), path: &str) {
        for descriptor in names(&a.on, &b.on, |it| &it.0) {
            let of = |state: &State| {
                let found = state.on.iter().find(|(it, _)| *it == descriptor);
                found.map(|(_, it)| it.clone()).unwrap_or_default()
            };
            let place = format!("{path} on {descriptor}");
            self.candidates(Part::Transition, &place, &of(a), &of(b), at);
        }
        for (key, before, after) in [
            ("always", &a.always, &b.always),
            ("onDone", &a.on_done, &b.on_done),
            ("onError", &a.on_error, &b.on_error),
        ] {
            self.candidates(Part::Transition, &format!("{path} {key}"), before, after, at);
        }
    }

    fn timers(&mut self, a: &State, b: &State, at: (StateId, StateId), path: &str) {
        let delays = |state: &State| -> Vec<Text> {
            state.after.iter().map(|it| crate::step::text_of(&it.delay)).collect()
        };
        for delay in names(&delays(a), &delays(b), |it| it) {
            let of = |state: &State| -> Vec<Candidate> {
                let fitting =
                    state.after.iter().filter(|it| crate::step::text_of(&it.delay) == delay);
                fitting.flat_map(|it| it.candidates.clone()).collect()
            };
            let place = format!("{path} after {delay}");
            self.candidates(Part::Timer, &place, &of(a), &of(b), at);
        }
    }

    fn invokes(&mut self, a: &State, b: &State, at: (StateId, StateId), path: &str) {
        for id in names(&a.invoke, &b.invoke, |it| &it.id) {
            let place = format!("{path} invoke {id}");
            let find = |state: &State| state.invoke.iter().find(|it| it.id == id).cloned();
            let json = |json: &Value, invoke: &Option<Invoke>| {
                let json = json.at_pointer(&invoke.as_ref()?.pointer)?;
                let kept = json.as_map()?.iter().filter(|(key, _)| {
                    !matches!(&***key, "id" | "onDone" | "onError" | "onProgress")
                });
                Some(Value::map(kept.map(|(key, it)| (key.clone(), it.clone()))))
            };
            let (was, is) = (find(a), find(b));
            let (before, after) = (json(&self.old_json, &was), json(&self.new_json, &is));
            self.values(Part::Effect, &place, before.as_ref(), after.as_ref());
            let (Some(was), Some(is)) = (was, is) else { continue };
            for (key, before, after) in
                [("onDone", &was.on_done, &is.on_done), ("onError", &was.on_error, &is.on_error)]
            {
                let place = format!("{place} {key}");
                self.candidates(Part::Transition, &place, before, after, at);
            }
        }
    }

    fn candidates(
        &mut self,
        part: Part,
        place: &str,
        before: &[Candidate],
        after: &[Candidate],
        at: (StateId, StateId),
    ) {
        let before: Vec<Value> = before.iter().map(|it| self.old_candidate(it, at.0)).collect();
        let after: Vec<Value> = after.iter().map(|it| self.new_candidate(it, at.1)).collect();
        if before == after {
            return;
        }
        let missing = |of: &[Value], among: &[Value]| -> Vec<Value> {
            of.iter().filter(|it| !among.contains(it)).cloned().collect()
        };
        let (mut gone, mut come) = (missing(&before, &after), missing(&after, &before));
        if let ([_], [_]) = (gone.as_slice(), come.as_slice()) {
            return self.add(part, Change::Changed, place, gone.remove(0), come.remove(0));
        }
        if gone.is_empty() && come.is_empty() {
            let (before, after) = (Value::list(before), Value::list(after));
            return self.add(part, Change::Reordered, place, before, after);
        }
        for it in gone {
            self.add(part, Change::Removed, place, it, Value::Null);
        }
        for it in come {
            self.add(part, Change::Added, place, Value::Null, it);
        }
    }

    fn old_candidate(&self, candidate: &Candidate, source: StateId) -> Value {
        let targets = candidate.target.as_deref().unwrap_or_default();
        let targets = self.renamed(self.resolved(&self.matching.old, targets, source));
        value_of(&self.old_json, candidate, targets)
    }

    fn new_candidate(&self, candidate: &Candidate, source: StateId) -> Value {
        let targets = candidate.target.as_deref().unwrap_or_default();
        let targets = self.resolved(&self.matching.new, targets, source);
        value_of(&self.new_json, candidate, self.paths(&self.matching.new, &targets))
    }

    fn resolved(&self, states: &States<'_>, targets: &[Text], source: StateId) -> Vec<StateId> {
        targets.iter().filter_map(|it| states.places.resolve(source, it)).collect()
    }

    /// Resolves what an `initial` names.
    fn targets(&self, states: &States<'_>, initial: &[Text], parent: StateId) -> Vec<StateId> {
        initial.iter().filter_map(|it| states.places.initial(parent, it)).collect()
    }

    fn paths(&self, states: &States<'_>, targets: &[StateId]) -> Value {
        Value::list(targets.iter().map(|it| Value::String(states.places.path(*it).clone())))
    }

    /// Returns the paths that old states have now; the old path of one that is gone.
    fn renamed(&self, targets: Vec<StateId>) -> Value {
        Value::list(targets.into_iter().map(|it| {
            let path = match self.matching.to_new(it) {
                Some(new) => self.matching.new.places.path(new),
                None => self.matching.old.places.path(it),
            };
            Value::String(path.clone())
        }))
    }

    /// Compares two values, and tells each place inside that differs.
    fn values(&mut self, part: Part, place: &str, before: Option<&Value>, after: Option<&Value>) {
        match (before, after) {
            (None, None) => {}
            (None, Some(after)) => {
                self.add(part, Change::Added, place, Value::Null, after.clone());
            }
            (Some(before), None) => {
                self.add(part, Change::Removed, place, before.clone(), Value::Null);
            }
            (Some(Value::Map(a)), Some(Value::Map(b))) => {
                let keys = a.iter().map(|(key, _)| key);
                let more = b.iter().map(|(key, _)| key).filter(|it| !a.contains_key(it));
                for key in keys.chain(more) {
                    if !key.starts_with("x-") {
                        self.values(part, &format!("{place} {key}"), a.get(key), b.get(key));
                    }
                }
            }
            (Some(Value::List(a)), Some(Value::List(b))) if a.len() == b.len() => {
                for (at, (before, after)) in a.iter().zip(b.iter()).enumerate() {
                    self.values(part, &format!("{place} {at}"), Some(before), Some(after));
                }
            }
            (Some(before), Some(after)) if before != after => {
                self.add(part, Change::Changed, place, before.clone(), after.clone());
            }
            _ => {}
        }
    }
}

/// Returns a candidate in its long form, with the targets as paths.
fn value_of(json: &Value, candidate: &Candidate, targets: Value) -> Value {
    let json = json.at_pointer(&candidate.pointer);
    let actions = json.and_then(|it| it.get("actions")).cloned();
    let is_empty = actions.as_ref().and_then(Value::as_list).is_some_and(<[Value]>::is_empty);
    let pairs = [
        Some(("target", targets)),
        candidate.guard.clone().map(|it| ("guard", Value::String(it))),
        actions.filter(|_| !is_empty).map(|it| ("actions", it)),
        candidate.reenter.map(|it| ("reenter", Value::Bool(it))),
    ];
    Value::map(pairs.into_iter().flatten())
}

/// Returns the names of both lists, those of the first in order, then the new ones.
fn names<T>(old: &[T], new: &[T], name: impl Fn(&T) -> &Text) -> Vec<Text> {
    let mut names: Vec<Text> = Vec::new();
    for it in old.iter().chain(new) {
        if !names.contains(name(it)) {
            names.push(name(it).clone());
        }
    }
    names
}
