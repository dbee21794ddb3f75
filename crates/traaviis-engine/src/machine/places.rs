//! The states of a definition by position, and the one rule that finds a target among them.

use traaviis_model::{
    Text,
    definition::{Definition, State, StateKind},
};

use super::StateId;

/// Where the states of a definition stand, in document order; 0 is the root.
#[derive(Debug)]
pub struct Places {
    places: Vec<Place>,
}

#[derive(Debug)]
struct Place {
    name: Text,
    path: Text,
    parent: StateId,
    children: Vec<StateId>,
}

impl Places {
    /// Numbers the states of a definition.
    pub fn of(definition: &Definition) -> Places {
        let root = Place { name: "".into(), path: "".into(), parent: 0, children: Vec::new() };
        let mut places = Places { places: vec![root] };
        places.number(&definition.states, 0);
        places
    }

    fn number(&mut self, states: &[State], parent: StateId) {
        for state in states {
            let at = self.places.len();
            let path = match &*self.places[parent].path {
                "" => state.name.clone(),
                above => format!("{above}.{}", state.name).into(),
            };
            let place = Place { name: state.name.clone(), path, parent, children: Vec::new() };
            self.places.push(place);
            self.places[parent].children.push(at);
            if let StateKind::Compound { states, .. } | StateKind::Parallel { states } = &state.kind
            {
                self.number(states, at);
            }
        }
    }

    /// Returns the names from the root down to a state, joined by dots.
    pub fn path(&self, state: StateId) -> &Text {
        &self.places[state].path
    }

    /// Returns the name of a state.
    pub fn name(&self, state: StateId) -> &Text {
        &self.places[state].name
    }

    /// Returns the state above; the root stands above itself.
    pub fn parent(&self, state: StateId) -> StateId {
        self.places[state].parent
    }

    /// Returns the states directly below, in document order.
    pub fn children(&self, state: StateId) -> &[StateId] {
        &self.places[state].children
    }

    /// Returns the paths of all states.
    pub fn paths(&self) -> impl Iterator<Item = &Text> {
        self.places.iter().map(|it| &it.path)
    }

    /// Finds the state at a path below `parent`.
    pub fn child(&self, parent: StateId, path: &str) -> Option<StateId> {
        path.split('.').try_fold(parent, |at, name| {
            self.children(at).iter().copied().find(|it| **self.name(*it) == *name)
        })
    }

    /// Finds what an `initial` of `parent` names.
    pub fn initial(&self, parent: StateId, target: &str) -> Option<StateId> {
        self.child(parent, target.strip_prefix('.').unwrap_or(target))
    }

    /// Resolves a target as written at `source`: `#a.b`, `.child`, or a name looked up among the
    /// siblings, then the siblings of each ancestor.
    pub fn resolve(&self, source: StateId, target: &str) -> Option<StateId> {
        if let Some(path) = target.strip_prefix('#') {
            return self.child(0, path);
        }
        if let Some(path) = target.strip_prefix('.') {
            return self.child(source, path);
        }
        let mut at = source;
        while at != 0 {
            at = self.parent(at);
            if let Some(found) = self.child(at, target) {
                return Some(found);
            }
        }
        None
    }
}
