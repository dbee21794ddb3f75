//! Texts that instances have in common: names, states, and the keys of data.

use std::{collections::HashSet, sync::Arc};

use traaviis_model::{Snapshot, Text, Value};

use crate::{limits::INTERNED_MAX, owner::SeededHasher};

/// Texts that are shared.
#[derive(Debug, Default)]
pub(crate) struct Texts(HashSet<Text, SeededHasher>);

impl Texts {
    /// Returns the text that equal ones share.
    pub(crate) fn share(&mut self, text: &Text) -> Text {
        if let Some(held) = self.0.get(text) {
            return Arc::clone(held);
        }
        if self.0.len() < INTERNED_MAX {
            self.0.insert(Arc::clone(text));
        }
        Arc::clone(text)
    }

    /// Lets a state that was read share its texts with others.
    pub(crate) fn share_in(&mut self, snapshot: &mut Snapshot) {
        snapshot.workflow = self.share(&snapshot.workflow);
        snapshot.version = self.share(&snapshot.version);
        for state in &mut snapshot.configuration {
            *state = self.share(state);
        }
        for value in [&mut snapshot.data, &mut snapshot.input] {
            if let Some(map) = value.as_map() {
                *value = Value::Map(Arc::new(
                    map.iter().map(|(key, it)| (self.share(key), it.clone())).collect(),
                ));
            }
        }
    }
}
