//! What a name in a test stands for: the path of a node, the id of an effect, the last segment of
//! its path, the function of a call, or the kind of a call to another instance.

use std::collections::BTreeSet;

use traaviis_model::{
    Body, Call, Record, Seq, Text, Value,
    call::is_between_instances,
    definition::{Children, Effect, State, StateKind, TestCase},
};

use super::Finding;
use crate::{Machine, effects::scope::descend, machine::nearest};

/// Returns the names of a node, most exact first. `records` hold the whole history.
pub(super) fn names_of(
    machine: &Machine,
    records: &[Record],
    (tree, path): (Seq, &Text),
    input: &Value,
) -> Vec<Text> {
    let mut names = vec![path.clone()];
    let root = tree.checked_sub(1).and_then(|at| records.get(at as usize));
    let def = match root.map(|it| &it.body) {
        Some(Body::TreeStarted { invoke, pointer, .. }) => machine
            .effect_at(pointer)
            .and_then(|(_, root)| descend(root, path.strip_prefix(&**invoke)?)),
        _ => None,
    };
    names.extend(def.and_then(|it| it.id.clone()));
    if let Some((_, last)) = path.rsplit_once('/') {
        names.push(last.into());
    }
    if let Some(Value::String(function)) = input.get("function") {
        names.push(function.clone());
    }
    names.extend(def.map(|it| it.name.clone()).filter(|it| is_between_instances(it)));
    names
}

/// Returns the names of a call of which only its path is known, most exact first.
pub(super) fn names_of_call(machine: &Machine, call: &Call) -> Vec<Text> {
    let path = &call.id.path;
    let first = path.split('/').next().unwrap_or_default();
    let mut invokes = machine.states.iter().flat_map(|it| &it.invoke).filter(|it| *it.id == *first);
    let def = invokes.find_map(|it| descend(&it.effect, path.strip_prefix(first)?));
    let mut names = vec![path.clone()];
    names.extend(def.and_then(|it| it.id.clone()));
    if let Some((_, last)) = path.rsplit_once('/') {
        names.push(last.into());
    }
    if let Some(Value::String(function)) = call.input.get("function") {
        names.push(function.clone());
    }
    names
}

/// Every name that a document gives to effects and functions.
pub(super) struct Names {
    known: BTreeSet<Text>,
    /// Some function is known only at run time.
    is_open: bool,
}

impl Names {
    pub(super) fn of(machine: &Machine) -> Names {
        // The segment that wrappers such as `timeout` put into paths.
        let mut names = Names { known: BTreeSet::from(["body".into()]), is_open: false };
        machine.definition().states.iter().for_each(|it| names.state(it));
        machine.definition().effects.iter().for_each(|it| names.effect(&it.effect));
        names
    }

    fn state(&mut self, state: &State) {
        for invoke in &state.invoke {
            self.known.insert(invoke.id.clone());
            self.effect(&invoke.effect);
        }
        if let StateKind::Compound { states, .. } | StateKind::Parallel { states } = &state.kind {
            states.iter().for_each(|it| self.state(it));
        }
    }

    fn effect(&mut self, effect: &Effect) {
        self.known.extend(effect.id.clone());
        self.known.extend(is_between_instances(&effect.kind).then(|| effect.kind.clone()));
        for (key, value) in &effect.params {
            match value {
                Value::String(text) if &**key == "function" && text.contains("${") => {
                    self.is_open = true;
                }
                Value::String(text) if &**key == "function" => {
                    self.known.insert(text.clone());
                }
                _ => {}
            }
        }
        if let Some(compensation) = &effect.compensation {
            self.effect(compensation);
        }
        for (role, children) in &effect.children {
            self.known.insert(role.clone());
            match children {
                Children::One(child) => self.effect(child),
                Children::List(list) => list.iter().for_each(|it| self.effect(it)),
                Children::Map(map) => {
                    for (name, child) in map {
                        self.known.insert(name.clone());
                        self.effect(child);
                    }
                }
                Children::Cases(cases) => cases.iter().for_each(|(_, it)| self.effect(it)),
                Children::Saga(steps) => {
                    for step in steps {
                        self.known.insert(step.id.clone());
                        self.effect(&step.action);
                        step.compensation.iter().for_each(|it| self.effect(it));
                    }
                }
            }
        }
    }

    /// Finds the names of a test that stand for nothing: a slip there makes `not_called` true and
    /// a mock useless.
    pub(super) fn unknown_in(&self, test: &TestCase) -> Vec<Finding> {
        let expect = &test.expect;
        let at = |part: &str| Text::from(format!("{}/{part}", expect.pointer));
        let mocks = test.mocks.iter().map(|it| (&it.name, it.pointer.clone()));
        let called = expect.called.iter().map(|(name, _)| (name, at("called")));
        let not_called = expect.not_called.iter().map(|it| (it, at("not_called")));
        let order = expect.order.iter().map(|it| (it, at("order")));
        let overlap = expect.overlap.iter().flatten().map(|it| (it, at("overlap")));
        let mut findings: Vec<Finding> = mocks
            .chain(called)
            .chain(not_called)
            .chain(order)
            .chain(overlap)
            .filter(|(name, _)| !self.may_be(name))
            .map(|(name, pointer)| {
                let hint = match nearest(name, self.known.iter().map(|it| &**it)) {
                    Some(near) => format!("; did you mean `{near}`?"),
                    None => String::new(),
                };
                let expected = format!("`{name}` to name an effect or a function");
                Finding::new(pointer, expected, format!("none of this name{hint}"))
            })
            .collect();
        findings.dedup();
        findings
    }

    fn may_be(&self, name: &str) -> bool {
        // Paths and positions are not spelt out in the document.
        let is_path = name.contains('/') || name.starts_with("undo:");
        let is_position = name.bytes().all(|it| it.is_ascii_digit());
        self.is_open || is_path || is_position || self.known.contains(name)
    }
}
