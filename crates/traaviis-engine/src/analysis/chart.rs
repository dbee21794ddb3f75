//! The states of a machine as analysis walks them: compiled beside written.

use traaviis_model::{
    Text,
    definition::{State, StateKind},
};

use crate::machine::{
    ActionDef, ActionKind, Candidate, Descriptor, Kind, Machine, StateDef, StateId,
};

/// A machine with its states as written.
pub(super) struct Chart<'m> {
    pub machine: &'m Machine,
    /// States as written, by id; the root has none.
    written: Vec<Option<&'m State>>,
}

/// What makes an instance look at a list of candidates.
#[derive(Clone, Copy)]
pub(super) enum Trigger<'m> {
    On(&'m Descriptor),
    Always,
    After,
    Done,
    Failed,
    /// The value of the invoke with this id.
    InvokeDone(&'m Text),
    /// The error of the invoke with this id.
    InvokeFailed(&'m Text),
}

/// Candidates that are tried in order.
#[derive(Clone, Copy)]
pub(super) struct List<'m> {
    pub trigger: Trigger<'m>,
    pub candidates: &'m [Candidate],
}

impl<'m> Chart<'m> {
    pub fn of(machine: &'m Machine) -> Chart<'m> {
        fn number<'m>(states: &'m [State], into: &mut Vec<Option<&'m State>>) {
            for state in states {
                into.push(Some(state));
                if let StateKind::Compound { states, .. } | StateKind::Parallel { states } =
                    &state.kind
                {
                    number(states, into);
                }
            }
        }
        let mut written = Vec::with_capacity(machine.states.len());
        written.push(None);
        number(&machine.definition().states, &mut written);
        Chart { machine, written }
    }

    pub fn def(&self, state: StateId) -> &'m StateDef {
        &self.machine.states[state]
    }

    pub fn written(&self, state: StateId) -> Option<&'m State> {
        self.written.get(state).copied().flatten()
    }

    pub fn pointer(&self, state: StateId) -> &'m str {
        self.written(state).map_or("", |it| &it.pointer)
    }

    /// Returns all states without the root, in document order.
    pub fn states(&self) -> impl DoubleEndedIterator<Item = StateId> + use<> {
        1..self.machine.states.len()
    }

    /// Returns a state and its ancestors without the root, innermost first.
    pub fn around(&self, state: StateId) -> impl Iterator<Item = StateId> {
        self.machine.ancestors(state)
    }

    pub fn is_atomic(&self, state: StateId) -> bool {
        matches!(self.def(state).kind, Kind::Atomic)
    }

    pub fn is_final(&self, state: StateId) -> bool {
        matches!(self.def(state).kind, Kind::Final { .. })
    }

    pub fn is_parallel(&self, state: StateId) -> bool {
        matches!(self.def(state).kind, Kind::Parallel)
    }

    /// Returns every list of candidates of a state.
    pub fn lists(&self, state: StateId) -> impl Iterator<Item = List<'m>> {
        let def = self.def(state);
        let list = |trigger, candidates: &'m [Candidate]| List { trigger, candidates };
        let on = def.on.iter().map(move |(it, candidates)| list(Trigger::On(it), candidates));
        let invoke = def.invoke.iter().flat_map(move |it| {
            [
                list(Trigger::InvokeDone(&it.id), &it.on_done),
                list(Trigger::InvokeFailed(&it.id), &it.on_error),
            ]
        });
        on.chain([list(Trigger::Always, &def.always)])
            .chain(def.after.iter().map(move |it| list(Trigger::After, &it.candidates)))
            .chain([list(Trigger::Done, &def.on_done), list(Trigger::Failed, &def.on_error)])
            .chain(invoke)
            .filter(|it| !it.candidates.is_empty())
    }

    /// Returns every candidate of a state.
    pub fn candidates(&self, state: StateId) -> impl Iterator<Item = &'m Candidate> {
        self.lists(state).flat_map(|it| it.candidates)
    }

    /// Returns every action of the workflow, also those inside others.
    pub fn actions(&self) -> Vec<&'m ActionDef> {
        fn add<'m>(actions: &'m [ActionDef], into: &mut Vec<&'m ActionDef>) {
            for action in actions {
                into.push(action);
                match &action.kind {
                    ActionKind::Choose(branches) => {
                        branches.iter().for_each(|it| add(&it.actions, into));
                    }
                    ActionKind::ForEach { actions, .. } | ActionKind::Block(actions) => {
                        add(actions, into);
                    }
                    _ => {}
                }
            }
        }
        let mut actions = Vec::new();
        for state in self.states() {
            let def = self.def(state);
            add(&def.entry, &mut actions);
            add(&def.exit, &mut actions);
            self.candidates(state).for_each(|it| add(&it.actions, &mut actions));
            add(&def.on_default, &mut actions);
        }
        actions
    }
}

/// Joins names for a message: `a`, `b` and 3 more.
pub(super) fn names(names: &[&str]) -> String {
    const SHOWN_MAX: usize = 3;
    let shown: Vec<String> = names.iter().take(SHOWN_MAX).map(|it| format!("`{it}`")).collect();
    match names.len().checked_sub(SHOWN_MAX) {
        Some(more @ 1..) => format!("{} and {more} more", shown.join(", ")),
        _ => match shown.as_slice() {
            [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
            _ => shown.join(""),
        },
    }
}
