//! Trees that outlive their state: those that undo, and those that were detached.
//!
//! A tree that only cleans up has a limit; then a person is asked, and may give it as long again or
//! give it up.

use traaviis_model::{
    Body, Seq, Text, Value,
    limits::CLEANUP_SECS_MAX,
    record::TimerKind,
    snapshot::{Incident, Tree},
    time::Span,
};

use crate::step::{Resolution, Run};

/// Kind of the incident about a tree that cleans up for too long.
pub(crate) const CLEANUP_TIMEOUT: &str = "cleanup_timeout";

/// Why an effect ends that somebody calls off, or whose instance ends.
const CANCELLED: &str = "cancelled";

/// A tree that is left, without its nodes, of which there can be many.
struct Left {
    id: Seq,
    invoke: Text,
    detached: bool,
}

impl Run<'_> {
    /// The state that owns trees is left: cancels them, or lets detached ones run on without it.
    pub(crate) fn leave_trees(&mut self, state: &Text) {
        for tree in self.trees_that(|it| it.state == *state && !it.orphaned) {
            if !tree.detached {
                // What runs outside of the states ends with the instance.
                let why = if state.is_empty() { CANCELLED } else { "state_left" };
                self.cancel_tree(&tree, why);
            }
            if self.snapshot.tree(tree.id).is_some() {
                self.emit(Body::TreeOrphaned { tree: tree.id });
            }
        }
    }

    /// The instance is called off: so is what was detached.
    pub(crate) fn cancel_detached(&mut self) {
        for tree in self.trees_that(|it| it.detached) {
            self.cancel_tree(&tree, CANCELLED);
        }
    }

    /// Somebody calls a tree off: it undoes what it did, and then it is over.
    pub(crate) fn call_off(&mut self, tree: Seq) {
        let found = self.trees_that(|it| it.id == tree);
        for tree in found {
            match self.def_of(tree.id, &tree.invoke) {
                Some(_) => self.cancel_tree(&tree, CANCELLED),
                // A release that reads it no more never ran it on.
                None => self.give_up(tree.id, CANCELLED),
            }
        }
    }

    fn trees_that(&self, which: impl Fn(&Tree) -> bool) -> Vec<Left> {
        let left = |it: &Tree| Left { id: it.id, invoke: it.invoke.clone(), detached: it.detached };
        self.snapshot.trees.iter().filter(|it| which(it)).map(left).collect()
    }

    fn cancel_tree(&mut self, tree: &Left, why: &'static str) {
        let Some(def) = self.def_of(tree.id, &tree.invoke) else { return };
        self.cancel_node(tree.id, &tree.invoke, def, why);
        let is_timed = |kind: &TimerKind| *kind == TimerKind::Cleanup { tree: tree.id };
        if self.snapshot.tree(tree.id).is_some()
            && !self.snapshot.timers.iter().any(|it| is_timed(&it.kind))
        {
            self.limit_cleanup(tree.id);
        }
    }

    fn limit_cleanup(&mut self, tree: Seq) {
        let limit = Span::secs(CLEANUP_SECS_MAX);
        self.schedule(limit, TimerKind::Cleanup { tree }, Value::Null);
    }

    /// A tree has cleaned up for too long.
    pub(crate) fn cleanup_due(&mut self, tree: Seq) {
        let Some(found) = self.snapshot.tree(tree) else { return };
        let root = found.invoke.clone();
        if self.snapshot.asks_about(tree, &root) {
            // Another question holds it up already.
            return self.limit_cleanup(tree);
        }
        let limit = Span::secs(CLEANUP_SECS_MAX);
        let message = format!("`{root}` has been cleaning up for {limit} and is not done");
        self.open_incident(CLEANUP_TIMEOUT, (tree, &root), message, None, None);
    }

    /// A person answers about a tree that cleans up for too long.
    pub(crate) fn answer_cleanup(&mut self, incident: &Incident, resolution: &Resolution) {
        let tree = incident.tree;
        if *resolution == Resolution::Retry {
            return self.limit_cleanup(tree);
        }
        self.give_up(tree, "given_up");
    }

    /// Ends a tree at once, without undoing anything.
    pub(crate) fn give_up(&mut self, tree: Seq, why: &'static str) {
        let Some(found) = self.snapshot.tree(tree) else { return };
        let root = found.invoke.clone();
        let paths: Vec<Text> = found.nodes.keys().cloned().collect();
        self.abandon(|it| it.id == tree);
        paths.iter().for_each(|path| self.cancel_node_timers(tree, path));
        self.emit(Body::EffectCancelled { tree, path: root, reason: why.into() });
    }

    /// Takes away the limits of trees that are done.
    pub(crate) fn drop_cleanup_limits(&mut self) {
        let is_gone = |tree: Seq| self.snapshot.tree(tree).is_none();
        let gone: Vec<Seq> = self
            .snapshot
            .timers
            .iter()
            .filter_map(|it| match it.kind {
                TimerKind::Cleanup { tree } if is_gone(tree) => Some(tree),
                _ => None,
            })
            .collect();
        for gone in gone {
            self.cancel_timers(|kind| *kind == TimerKind::Cleanup { tree: gone });
        }
    }
}
