//! Effect trees that run, and their nodes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::is_zero_u64;
use crate::{
    budget::Reservation,
    effect_error::EffectError,
    ids::{Seq, Text},
    record::Asked,
    value::Value,
};

/// An effect tree that still runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tree {
    /// `seq` of its `tree_started` or `effect_requested`.
    pub id: Seq,
    /// Invoke id; path of the root node.
    pub invoke: Text,
    /// State that owns it; empty outside of the states.
    pub state: Text,
    /// Pointer of the effect in the definition; empty outside of the states.
    pub pointer: Text,
    /// What somebody asked for, outside of the states.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Box<Asked>>,
    /// Request or root of the step that started it; absent when it is the instance's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<Text>,
    /// The owner was left (cleanup or detached): the outcome goes nowhere.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub orphaned: bool,
    /// Runs on when its state is left.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub detached: bool,
    /// Nodes by path.
    pub nodes: BTreeMap<Text, Node>,
}

impl Tree {
    pub(super) fn of(invoke: Text) -> Tree {
        Tree {
            id: 0,
            invoke,
            state: "".into(),
            pointer: "".into(),
            asked: None,
            correlation_id: None,
            orphaned: false,
            detached: false,
            nodes: BTreeMap::new(),
        }
    }

    pub(super) fn open(&mut self, path: &Text, node: Node) -> Result<(), String> {
        let is_new = !self.nodes.contains_key(path);
        if let Some((parent, segment)) = self.parent_of(path) {
            let parent = self.nodes.get_mut(&parent).ok_or_else(|| path.to_string())?;
            // One that runs already is only scheduled anew.
            if is_new || !parent.running.contains(&segment) {
                parent.opened += 1;
                parent.running.push(segment);
            }
        }
        self.nodes.insert(path.clone(), node);
        Ok(())
    }

    /// Splits a path into its parent and last segment; none for the root.
    pub(super) fn parent_of(&self, path: &str) -> Option<(Text, Text)> {
        if path.len() <= self.invoke.len() {
            return None;
        }
        let (parent, segment) = path.rsplit_once('/')?;
        Some((parent.into(), segment.into()))
    }

    /// Drops every node below `path`.
    pub(super) fn drop_below(&mut self, path: &str) {
        let prefix = format!("{path}/");
        self.nodes.retain(|it, _| !it.starts_with(&prefix));
    }
}

/// A node of a running tree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// How it stands.
    pub status: NodeStatus,
    /// Kind of the effect.
    pub kind: Text,
    /// Evaluated parameters.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub input: Value,
    /// Idempotency key of a call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Text>,
    /// `seq` of the record that scheduled it.
    #[serde(default, skip_serializing_if = "is_zero_u64")]
    pub scheduled: Seq,
    /// Attempts begun.
    #[serde(default, skip_serializing_if = "is_zero_u32")]
    pub attempt: u32,
    /// What its running attempt may cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved: Option<Box<Reservation>>,
    /// Rounds of a loop begun.
    #[serde(default, skip_serializing_if = "is_zero_u32")]
    pub iteration: u32,
    /// Children opened so far.
    #[serde(default, skip_serializing_if = "is_zero_u32")]
    pub opened: u32,
    /// Children that failed.
    #[serde(default, skip_serializing_if = "is_zero_u32")]
    pub failed: u32,
    /// Last segments of the children that are not over, in the order they were opened.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub running: Vec<Text>,
    /// Value when it succeeded; former round's value of a loop.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub value: Value,
    /// Error when it failed, of the first child that failed, or the cause while it compensates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<EffectError>,
    /// `seq` of the record that ended it; order of compensation.
    #[serde(default, skip_serializing_if = "is_zero_u64")]
    pub ended: Seq,
}

impl Node {
    /// Says whether people answer it.
    pub fn is_task(&self) -> bool {
        matches!(&*self.kind, "human_task" | "approval")
    }

    /// Returns whom a task asks: its assignees, those it was escalated to, and those it was handed
    /// to. One that names nobody goes on to name nobody when it is handed to somebody.
    pub fn asked(&self) -> Value {
        let assignees = self.input.get("assignees").cloned().unwrap_or_default();
        let escalated = self.value.get("escalated").and_then(Value::as_list);
        let first = assignees.as_list().unwrap_or_default();
        let delegated = self.value.get("delegated").and_then(Value::as_list);
        let delegated = delegated.filter(|_| !first.is_empty() || escalated.is_some());
        if escalated.is_none() && delegated.is_none() {
            return assignees;
        }
        let mut asked = first.to_vec();
        for more in escalated.into_iter().chain(delegated).flatten() {
            if !asked.contains(more) {
                asked.push(more.clone());
            }
        }
        Value::list(asked)
    }
}

impl Node {
    pub(super) fn opened(kind: &Text, input: &Value, key: &Option<Text>) -> Node {
        Node {
            status: NodeStatus::Scheduled,
            kind: kind.clone(),
            input: input.clone(),
            key: key.clone(),
            scheduled: 0,
            attempt: 0,
            reserved: None,
            iteration: 0,
            opened: 0,
            failed: 0,
            running: Vec::new(),
            value: Value::Null,
            error: None,
            ended: 0,
        }
    }
}

/// How a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeStatus {
    /// Open: a control node with running children, or a call that waits to start.
    Scheduled,
    /// An attempt runs.
    Started,
    /// Waits for the next attempt.
    Waiting,
    /// Nobody knows how the attempt ended; a person decides.
    Unknown,
    /// Undoes what its children did, after an error.
    Compensating,
    /// Undoes what its children did, because it was called off.
    Cancelling,
    /// Succeeded.
    Completed,
    /// Not run.
    Skipped,
    /// Failed.
    Failed,
    /// Called off.
    Cancelled,
}

impl NodeStatus {
    /// Words of the nodes that lists of open effects show: those that are not over, and those that
    /// failed in a tree that goes on.
    pub const OPEN_WORDS: &'static [&'static str] = &[
        NodeStatus::Scheduled.as_str(),
        NodeStatus::Started.as_str(),
        NodeStatus::Waiting.as_str(),
        NodeStatus::Unknown.as_str(),
        NodeStatus::Compensating.as_str(),
        NodeStatus::Cancelling.as_str(),
        NodeStatus::Failed.as_str(),
    ];

    /// Says whether the node is shown among open effects.
    pub fn is_open(self) -> bool {
        self == NodeStatus::Failed || !self.is_over()
    }

    /// Says whether the node is over.
    pub fn is_over(self) -> bool {
        matches!(
            self,
            NodeStatus::Completed
                | NodeStatus::Skipped
                | NodeStatus::Failed
                | NodeStatus::Cancelled
        )
    }

    /// Returns the word on the wire, for `steps.ID.status`.
    pub const fn as_str(self) -> &'static str {
        match self {
            NodeStatus::Scheduled => "scheduled",
            NodeStatus::Started => "started",
            NodeStatus::Waiting => "waiting",
            NodeStatus::Unknown => "unknown",
            NodeStatus::Compensating => "compensating",
            NodeStatus::Cancelling => "cancelling",
            NodeStatus::Completed => "completed",
            NodeStatus::Skipped => "skipped",
            NodeStatus::Failed => "failed",
            NodeStatus::Cancelled => "cancelled",
        }
    }
}

fn is_zero_u32(it: &u32) -> bool {
    *it == 0
}

#[cfg(test)]
mod tests {
    use super::NodeStatus;

    #[test]
    fn the_words_of_lists_are_those_of_what_is_shown() {
        use NodeStatus::{
            Cancelled, Cancelling, Compensating, Completed, Failed, Scheduled, Skipped, Started,
            Unknown, Waiting,
        };
        let all = [
            Scheduled,
            Started,
            Waiting,
            Unknown,
            Compensating,
            Cancelling,
            Completed,
            Skipped,
            Failed,
            Cancelled,
        ];
        let shown: Vec<&str> = all.iter().filter(|it| it.is_open()).map(|it| it.as_str()).collect();
        assert_eq!(shown, NodeStatus::OPEN_WORDS);
    }
}
