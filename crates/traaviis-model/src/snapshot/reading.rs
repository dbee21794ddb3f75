//! What can be read off a state: where it is, what it waits for, and what runs.

use super::{
    Snapshot,
    tree::{Node, NodeStatus, Tree},
    waiting::Timer,
};
use crate::{
    call::{Call, CallId},
    ids::{InstanceId, Seq, Text},
    record::{Held, Status},
    time::Timestamp,
};

impl Snapshot {
    /// Returns the canonical bytes: JSON with fixed key order.
    pub fn canonical(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Returns the common text form of the configuration: `a.b`, or `p.(x|y)` for regions.
    pub fn state(&self) -> String {
        join_paths(&self.configuration)
    }

    /// Says whether a state is active, by its path.
    pub fn is_in(&self, path: &str) -> bool {
        self.configuration.iter().any(|it| {
            it.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }

    /// Returns the timer that fires next; none of a paused instance. One that could not be taken
    /// waits for a person.
    pub fn next_timer(&self) -> Option<&Timer> {
        self.firing_timers().min_by_key(|timer| timer.due)
    }

    /// Returns the timers that fire when they are due; none of a paused instance. One that could
    /// not be taken waits for a person.
    pub fn firing_timers(&self) -> impl Iterator<Item = &Timer> {
        let timers: &[Timer] = match self.status {
            Status::Paused => &[],
            _ => &self.timers,
        };
        timers.iter().filter(|timer| !self.holds_timer(&timer.id))
    }

    /// Returns when the next timer fires.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.next_timer().map(|timer| timer.due)
    }

    /// Says whether a timer could not be taken and waits for a person.
    pub fn holds_timer(&self, id: &str) -> bool {
        let is_it = |held: &Held| matches!(held, Held::Timer { timer } if **timer == *id);
        self.incidents.iter().any(|it| it.held.as_deref().is_some_and(is_it))
    }

    /// Says whether an open incident asks about a node.
    pub fn asks_about(&self, tree: Seq, path: &str) -> bool {
        self.incidents.iter().any(|it| it.tree == tree && *it.path == *path)
    }

    /// Says whether it is known how a started node ended, but not taken yet.
    pub fn holds_outcome(&self, tree: Seq, path: &str) -> bool {
        self.outcome_held(tree, path).is_some()
    }

    /// Returns how a started node ended that was not taken yet.
    pub fn outcome_held(&self, of: Seq, node: &str) -> Option<&Held> {
        let incidents = self.incidents.iter().filter_map(|it| it.held.as_deref());
        let is_end = |held: &&Held| matches!(held, Held::Outcome { .. } | Held::Unknown { .. });
        let mut ends = self.held.iter().chain(incidents).filter(is_end);
        ends.find(|held| held.node().is_some_and(|(tree, path)| tree == of && **path == *node))
    }

    /// Says whether the end of another instance is known, but not taken yet.
    pub fn holds_ending(&self, of: InstanceId) -> bool {
        let incidents = self.incidents.iter().filter_map(|it| it.held.as_deref());
        let is_it = |it: &Held| matches!(it, Held::Ended { instance, .. } if *instance == of);
        self.held.iter().chain(incidents).any(is_it)
    }

    /// Returns the tree that record `id` started.
    pub fn tree(&self, id: Seq) -> Option<&Tree> {
        self.trees.iter().find(|tree| tree.id == id)
    }

    /// Returns a node.
    pub fn node(&self, tree: Seq, path: &str) -> Option<&Node> {
        self.tree(tree)?.nodes.get(path)
    }

    /// Returns the calls of all trees: tree, path and node. Only they have idempotency keys.
    pub fn calls(&self) -> impl Iterator<Item = (Seq, &Text, &Node)> {
        self.nodes().filter(|(_, _, node)| node.key.is_some())
    }

    /// Returns the attempt of a call that runs now; without the time limit of calls to the outside.
    pub fn call_of(&self, tree: Seq, path: &Text, node: &Node) -> Call {
        let (scheduled, attempt) = (node.scheduled, node.attempt);
        Call {
            id: CallId { instance: self.id, tree, path: path.clone(), scheduled, attempt },
            workflow: self.workflow.clone(),
            kind: node.kind.clone(),
            input: node.input.clone(),
            key: node.key.clone().unwrap_or_default(),
            timeout: None,
            hosts: Vec::new(),
        }
    }

    /// Returns the tasks that wait for people: tree, path and node.
    pub fn open_tasks(&self) -> impl Iterator<Item = (Seq, &Text, &Node)> {
        self.nodes().filter(|(_, _, node)| node.is_task() && node.status == NodeStatus::Scheduled)
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = (Seq, &Text, &Node)> {
        let trees = self.trees.iter();
        trees.flat_map(|tree| tree.nodes.iter().map(|(path, node)| (tree.id, path, node)))
    }

    /// Says whether a call waits for nothing but a slot: it is scheduled, the wait before its next
    /// try is over, or a person said to try again.
    pub fn waits_for_slot(&self, tree: Seq, path: &str) -> bool {
        match self.node(tree, path).map(|it| it.status) {
            Some(NodeStatus::Scheduled) => true,
            Some(NodeStatus::Waiting) => !self.timers.iter().any(|it| it.kind.is_of(tree, path)),
            Some(NodeStatus::Unknown) => !self.asks_about(tree, path),
            _ => false,
        }
    }
}

/// Joins paths to `a.b`, or `p.(x|y)` for what differs.
fn join_paths(paths: &[Text]) -> String {
    let [first, rest @ ..] = paths else { return String::new() };
    if rest.is_empty() {
        return first.to_string();
    }
    let mut shared = 0;
    for (at, _) in first.match_indices('.') {
        if rest.iter().all(|path| path.starts_with(&first[..=at])) {
            shared = at + 1;
        }
    }
    let tails: Vec<&str> = paths.iter().map(|path| &path[shared..]).collect();
    format!("{}({})", &first[..shared], tails.join("|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_read_as_one_text() {
        let text = |paths: &[&str]| {
            join_paths(&paths.iter().map(|it| Text::from(*it)).collect::<Vec<_>>())
        };
        assert_eq!(text(&["a.b"]), "a.b");
        assert_eq!(text(&["p.x.one", "p.y.two"]), "p.(x.one|y.two)");
        assert_eq!(text(&["a", "b"]), "(a|b)");
        assert_eq!(text(&[]), "");
    }
}
