//! Which state of another version stands for a state that an instance names.

use traaviis_model::{Snapshot, Text};

use crate::{
    diff::Matching,
    machine::{Kind, Machine, MigrationDef, StateId},
};

/// Finds the counterparts of states.
pub(crate) struct Mapping<'m> {
    pub new: &'m Machine,
    pub migration: Option<&'m MigrationDef>,
    matching: Matching<'m>,
}

impl<'m> Mapping<'m> {
    pub(crate) fn of(old: &'m Machine, new: &'m Machine, snapshot: &Snapshot) -> Mapping<'m> {
        let version = semver::Version::parse(&snapshot.version).ok();
        let fits =
            |it: &&MigrationDef| version.as_ref().is_some_and(|version| it.from.matches(version));
        let matching = Matching::of(old.definition(), new.definition());
        Mapping { new, migration: new.migrations.iter().find(fits), matching }
    }

    /// Returns the state that an old path stands for: by the migration, its own entry or that of
    /// the closest parent, else by `id` or name.
    pub(crate) fn state(&self, old: &str) -> Option<StateId> {
        let pairs = self.migration.map(|it| it.states.as_slice()).unwrap_or_default();
        let mut outer = old;
        loop {
            if let Some((_, state)) = pairs.iter().find(|(from, _)| **from == *outer) {
                let rest = &old[outer.len()..];
                let path = format!("{}{rest}", self.new.states[*state].path);
                if let Some(found) = self.new.by_path.get(&*path) {
                    return Some(*found);
                }
            }
            match outer.rsplit_once('.') {
                Some((parent, _)) => outer = parent,
                None => break,
            }
        }
        self.new.by_path.get(self.matching.path(old)?).copied()
    }

    /// Returns what comes closest to a state without a counterpart that can be active.
    pub(crate) fn suggestion(&self, old: &str) -> Option<Text> {
        let mut found = match self.state(old) {
            Some(found) => found,
            None => *self.new.by_path.get(self.matching.suggest(old)?)?,
        };
        while let Kind::Compound { initial } = &self.new.states[found].kind {
            found = *initial.first()?;
        }
        Some(self.new.states[found].path.clone())
    }

    pub(crate) fn path(&self, state: StateId) -> Text {
        self.new.states[state].path.clone()
    }
}
