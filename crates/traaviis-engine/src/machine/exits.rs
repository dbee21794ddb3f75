//! Where an event may lead that the active states wait for, whatever its guards say.

use serde::Serialize;
use traaviis_model::{Snapshot, Text};

use super::{Descriptor, Machine};

/// A candidate that an event may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exit {
    /// State that would be left, or that stays when there is no target.
    pub from: Text,
    /// States that it leads to; none when it only carries out actions.
    pub to: Vec<Text>,
    /// It has a guard, which decides when the event comes.
    pub is_guarded: bool,
    /// Its place in the document.
    pub pointer: Text,
}

impl Machine {
    /// Returns the paths of the states, in alphabetical order.
    pub fn state_paths(&self) -> impl Iterator<Item = &Text> {
        // The root has no name.
        self.by_path.keys().filter(|it| !it.is_empty())
    }

    /// Returns the events that callers may send, in alphabetical order.
    pub fn callers_events(&self) -> impl Iterator<Item = &Text> {
        self.events.iter().filter(|(_, event)| !event.internal).map(|(name, _)| name)
    }

    /// Returns where an event may lead now, in the order in which candidates are tried.
    pub fn exits(&self, snapshot: &Snapshot, event: &str) -> Vec<Exit> {
        let wanted = Descriptor::parse(event);
        let leaves = snapshot.configuration.iter().filter_map(|it| self.by_path.get(it).copied());
        let mut exits: Vec<Exit> = Vec::new();
        for state in leaves.flat_map(|leaf| self.ancestors(leaf)) {
            let on = self.states[state].on.iter().filter(|(it, _)| it.meets(&wanted));
            for candidate in on.flat_map(|(_, candidates)| candidates) {
                let to = candidate.targets.iter().flatten();
                let exit = Exit {
                    from: self.states[candidate.source].path.clone(),
                    to: to.map(|it| self.states[*it].path.clone()).collect(),
                    is_guarded: candidate.guard.is_some(),
                    pointer: candidate.pointer.clone(),
                };
                // Regions of one parallel state share their ancestors.
                if !exits.contains(&exit) {
                    exits.push(exit);
                }
            }
        }
        exits
    }
}
