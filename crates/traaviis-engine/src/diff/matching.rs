//! Which states of two definitions are the same: by `id`, else by name below the same parent.

use traaviis_model::{
    Text,
    definition::{Definition, State, StateKind},
};

use crate::machine::{Places, StateId};

/// The states of two definitions, and which are the same.
#[derive(Debug)]
pub struct Matching<'d> {
    pub(crate) old: States<'d>,
    pub(crate) new: States<'d>,
    /// By old state.
    to_new: Vec<Option<StateId>>,
    /// By new state.
    to_old: Vec<Option<StateId>>,
}

/// The states of a definition in document order; 0 is the root.
#[derive(Debug)]
pub(crate) struct States<'d> {
    pub places: Places,
    states: Vec<&'d State>,
}

impl<'d> States<'d> {
    pub(crate) fn of(definition: &'d Definition) -> States<'d> {
        let mut states = Vec::new();
        flatten(&definition.states, &mut states);
        States { places: Places::of(definition), states }
    }

    /// Returns the ids of all states but the root.
    pub(crate) fn ids(&self) -> std::ops::RangeInclusive<StateId> {
        1..=self.states.len()
    }

    pub(crate) fn get(&self, state: StateId) -> &'d State {
        self.states[state - 1]
    }
}

fn flatten<'d>(states: &'d [State], into: &mut Vec<&'d State>) {
    for state in states {
        into.push(state);
        if let StateKind::Compound { states, .. } | StateKind::Parallel { states } = &state.kind {
            flatten(states, into);
        }
    }
}

impl<'d> Matching<'d> {
    /// Matches the states of two definitions.
    pub fn of(old: &'d Definition, new: &'d Definition) -> Matching<'d> {
        let (old, new) = (States::of(old), States::of(new));
        let mut to_new = vec![None; old.states.len() + 1];
        let mut to_old = vec![None; new.states.len() + 1];
        (to_new[0], to_old[0]) = (Some(0), Some(0));
        let by_id = |id: &Option<Text>| {
            let id = id.as_ref()?;
            new.ids().find(|it| new.get(*it).id.as_ref() == Some(id))
        };
        for state in old.ids() {
            if let Some(found) = by_id(&old.get(state).id) {
                (to_new[state], to_old[found]) = (Some(found), Some(state));
            }
        }
        // Parents come first, so theirs is settled.
        for state in old.ids().filter(|it| to_new[*it].is_none()).collect::<Vec<_>>() {
            let Some(parent) = to_new[old.places.parent(state)] else { continue };
            let found = new.places.child(parent, &old.get(state).name).filter(|found| {
                let differ = old.get(state).id.is_some() && new.get(*found).id.is_some();
                to_old[*found].is_none() && !differ
            });
            if let Some(found) = found {
                (to_new[state], to_old[found]) = (Some(found), Some(state));
            }
        }
        Matching { old, new, to_new, to_old }
    }

    /// Returns the new state that an old one is now.
    pub(crate) fn to_new(&self, old: StateId) -> Option<StateId> {
        self.to_new[old]
    }

    /// Returns the old state that a new one was.
    pub(crate) fn to_old(&self, new: StateId) -> Option<StateId> {
        self.to_old[new]
    }

    /// Returns the path that the state at an old path has now.
    pub fn path(&self, old: &str) -> Option<&Text> {
        let new = self.to_new(self.old.places.child(0, old)?)?;
        Some(self.new.places.path(new))
    }

    /// Returns the path of the new state that comes closest to an old one without a counterpart:
    /// the same name elsewhere, else the same parent and the same events.
    pub fn suggest(&self, old: &str) -> Option<&Text> {
        let gone = self.old.places.child(0, old)?;
        let free = self.new.ids().filter(|it| self.to_old[*it].is_none());
        let best = free.map(|it| (self.likeness(gone, it), it)).max_by_key(|it| it.0)?;
        (best.0 >= LIKENESS_MIN).then(|| self.new.places.path(best.1))
    }

    fn likeness(&self, old: StateId, new: StateId) -> usize {
        let (a, b) = (self.old.get(old), self.new.get(new));
        let mut likeness = 0;
        if a.name.eq_ignore_ascii_case(&b.name) {
            likeness += 4;
        }
        if self.to_new(self.old.places.parent(old)) == Some(self.new.places.parent(new)) {
            likeness += 1;
        }
        let kinds = std::mem::discriminant(&a.kind) == std::mem::discriminant(&b.kind);
        likeness += usize::from(kinds);
        let shared = a.on.iter().filter(|(it, _)| b.on.iter().any(|(other, _)| it == other));
        likeness += shared.count() * 2;
        let invokes = a.invoke.iter().filter(|it| b.invoke.iter().any(|other| it.id == other.id));
        likeness + invokes.count() * 2
    }
}

/// A name, or a parent with an event in common.
const LIKENESS_MIN: usize = 3;
