//! Why a timer exists.

use serde::{Deserialize, Serialize};

use crate::ids::{Seq, Text};

/// Why a timer exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "for", rename_all = "snake_case")]
pub enum TimerKind {
    /// `after` of a state.
    After {
        /// State path.
        state: Text,
        /// Position among the state's timers.
        index: u32,
    },
    /// A delayed `raise`.
    Raise {
        /// Event name.
        event: Text,
        /// Author's id for `cancel`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<Text>,
    },
    /// A `delay` effect.
    Delay {
        /// Tree.
        tree: Seq,
        /// Node.
        path: Text,
    },
    /// The wait before the next attempt.
    Retry {
        /// Tree.
        tree: Seq,
        /// Node.
        path: Text,
    },
    /// The limit of a `timeout` node, a deadline, or a batch.
    Deadline {
        /// Tree.
        tree: Seq,
        /// Node.
        path: Text,
    },
    /// People who have not answered a task are told of it again.
    Reminder {
        /// Tree.
        tree: Seq,
        /// Node.
        path: Text,
        /// Which reminder of the task, from 1.
        number: u32,
    },
    /// More people are asked about a task that nobody has answered.
    Escalation {
        /// Tree.
        tree: Seq,
        /// Node.
        path: Text,
    },
    /// The limit of a tree that only cleans up.
    Cleanup {
        /// Tree.
        tree: Seq,
    },
}

impl TimerKind {
    /// Returns the tree that the timer belongs to.
    pub fn tree(&self) -> Option<Seq> {
        match self {
            TimerKind::Delay { tree, .. }
            | TimerKind::Retry { tree, .. }
            | TimerKind::Deadline { tree, .. }
            | TimerKind::Reminder { tree, .. }
            | TimerKind::Escalation { tree, .. }
            | TimerKind::Cleanup { tree } => Some(*tree),
            TimerKind::After { .. } | TimerKind::Raise { .. } => None,
        }
    }

    /// Says whether the instance can go on by this timer; those that only tell people something
    /// change nothing.
    pub fn moves(&self) -> bool {
        !matches!(self, TimerKind::Reminder { .. } | TimerKind::Escalation { .. })
    }

    /// Says whether the timer belongs to a node of a tree.
    pub fn is_of(&self, of: Seq, node: &str) -> bool {
        match self {
            TimerKind::Delay { tree, path }
            | TimerKind::Retry { tree, path }
            | TimerKind::Deadline { tree, path }
            | TimerKind::Reminder { tree, path, .. }
            | TimerKind::Escalation { tree, path } => *tree == of && **path == *node,
            TimerKind::After { .. } | TimerKind::Raise { .. } | TimerKind::Cleanup { .. } => false,
        }
    }
}
