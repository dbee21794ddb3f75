//! What stays readable of a state once the values of a person are erased.

use super::{Node, Snapshot};
use crate::{
    ids::Text,
    record::{
        ERASED, SEALED,
        erased::{asked, error, held, told, value},
    },
    value::Value,
};

impl Snapshot {
    /// Says whether the values of the person whom it is about are erased.
    pub fn is_erased(&self) -> bool {
        self.subject.as_deref() == Some(ERASED)
    }

    /// Returns the person with whose key its values are to be sealed; none when there is none, or
    /// the key is destroyed.
    pub fn sealed_for(&self) -> Option<&Text> {
        self.subject.as_ref().filter(|it| &***it != ERASED)
    }

    /// Returns the word that stands in the place of its values where they are not shown.
    pub fn mark(&self) -> Text {
        if self.is_erased() { ERASED.into() } else { SEALED.into() }
    }

    /// Returns what may be read of it without the key of its person.
    #[must_use]
    pub fn withheld(&self, mark: &Text) -> Snapshot {
        let mut snapshot = self.clone();
        snapshot.withhold(mark);
        snapshot
    }

    /// Leaves nothing of it but what may be read without the key of its person.
    pub(crate) fn withhold(&mut self, mark: &Text) {
        self.input = Value::String(mark.clone());
        self.data = Value::String(mark.clone());
        value(&mut self.output, mark);
        self.error.iter_mut().for_each(|it| error(it, mark));
        self.labels.values_mut().for_each(|it| value(it, mark));
        self.subject.iter_mut().for_each(|it| it.clone_from(mark));
        self.timers.iter_mut().for_each(|it| value(&mut it.data, mark));
        self.deferred.iter_mut().for_each(|it| value(&mut it.1, mark));
        self.trees.iter_mut().filter_map(|it| it.asked.as_mut()).for_each(|it| asked(it, mark));
        let nodes = self.trees.iter_mut().flat_map(|it| it.nodes.values_mut());
        nodes.for_each(|it| node(it, mark));
        for incident in &mut self.incidents {
            incident.message.clone_from(mark);
            incident.error.iter_mut().for_each(|it| error(it, mark));
            incident.held.iter_mut().for_each(|it| held(it, mark));
        }
        self.held.iter_mut().for_each(|it| held(it, mark));
        if let Some(undo) = &mut self.undo {
            undo.data.iter_mut().for_each(|it| value(it, mark));
        }
        if let Some(origin) = &mut self.forked_from {
            origin.told.iter_mut().for_each(|it| told(it, mark));
        }
    }
}

fn node(node: &mut Node, mark: &Text) {
    value(&mut node.input, mark);
    value(&mut node.value, mark);
    node.error.iter_mut().for_each(|it| error(it, mark));
    node.key.iter_mut().for_each(|it| it.clone_from(mark));
}
