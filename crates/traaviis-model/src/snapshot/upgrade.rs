//! Applies `upgraded`, and keeps what takes it back.

use super::Snapshot;
use crate::record::{TreePlace, Upgraded};

impl Snapshot {
    pub(super) fn upgrade(&mut self, upgraded: &Upgraded) -> Result<(), String> {
        let undo = upgraded.reversible.then(|| Box::new(self.undo_of(upgraded)));
        self.definition_hash = upgraded.to;
        self.version = upgraded.to_version.clone();
        self.configuration.clone_from(&upgraded.configuration);
        self.history.clone_from(&upgraded.history);
        for (id, kind) in &upgraded.timers {
            let timer = self.timers.iter_mut().find(|it| it.id == *id);
            timer.ok_or_else(|| id.to_string())?.kind = kind.clone();
        }
        for place in &upgraded.trees {
            let tree = self.tree_mut(place.tree)?;
            tree.state = place.state.clone();
            tree.pointer = place.pointer.clone();
        }
        if let Some(data) = &upgraded.data {
            self.data = data.clone();
        }
        self.undo = undo;
        Ok(())
    }

    /// Returns the upgrade that leads back to the state as it is now.
    fn undo_of(&self, upgraded: &Upgraded) -> Upgraded {
        let timers =
            self.timers.iter().filter(|it| upgraded.timers.iter().any(|(id, _)| *id == it.id));
        let trees = self.trees.iter().filter(|it| upgraded.trees.iter().any(|at| at.tree == it.id));
        Upgraded {
            from: upgraded.to,
            from_version: upgraded.to_version.clone(),
            to: self.definition_hash,
            to_version: self.version.clone(),
            rollback: true,
            reversible: false,
            states: upgraded.states.iter().map(|(old, new)| (new.clone(), old.clone())).collect(),
            configuration: self.configuration.clone(),
            history: self.history.clone(),
            timers: timers.map(|it| (it.id.clone(), it.kind.clone())).collect(),
            trees: trees
                .map(|it| TreePlace {
                    tree: it.id,
                    state: it.state.clone(),
                    pointer: it.pointer.clone(),
                })
                .collect(),
            data: upgraded.data.is_some().then(|| self.data.clone()),
        }
    }
}
