//! What a state says of the instance beside what its records say: whether it waits, how it moves,
//! and to whom its work belongs.

use serde::Serialize;

use super::{Node, NodeStatus, Snapshot};
use crate::{
    ids::{Seq, Text},
    record::Status,
    time::Timestamp,
};

/// How an instance has moved. Times are commit times; nothing is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Performance {
    /// Transitions so far.
    pub transition_count: u64,
    /// When the last one was.
    pub last_transition_at: Option<Timestamp>,
    /// Time from one to the next on average, the first counted from the creation.
    pub avg_transition_time_us: Option<i64>,
}

impl Snapshot {
    /// Says whether it is running and nothing but timers, people and events can move it: no call is
    /// under way or about to begin, and no other instance has to end first.
    pub fn is_waiting(&self) -> bool {
        self.status == Status::Running
            && self.held.is_empty()
            && !self.nodes().any(|(tree, path, node)| self.moves(tree, path, node))
    }

    /// Says whether a node moves by itself, or by what another instance does.
    fn moves(&self, tree: Seq, path: &Text, node: &Node) -> bool {
        let has_timer = || self.timers.iter().any(|it| it.kind.is_of(tree, path));
        match node.status {
            NodeStatus::Started => true,
            NodeStatus::Waiting => !has_timer(),
            NodeStatus::Unknown => !self.asks_about(tree, path),
            // With children below it, they are what moves.
            NodeStatus::Compensating | NodeStatus::Cancelling => node.running.is_empty(),
            NodeStatus::Scheduled => {
                let waits = node.is_task() || matches!(&*node.kind, "wait_signal" | "delay");
                node.running.is_empty() && !waits
            }
            over => !over.is_over(),
        }
    }

    /// Returns how it has moved.
    pub fn performance(&self) -> Performance {
        let count = i64::try_from(self.transition_count).unwrap_or(i64::MAX);
        let took = self.last_transition_at.map(|it| it.since(self.created_at).0);
        Performance {
            transition_count: self.transition_count,
            last_transition_at: self.last_transition_at,
            avg_transition_time_us: took.and_then(|it| it.checked_div(count)),
        }
    }

    /// Returns the request or root that it belongs to: its own id when that is itself.
    pub fn belongs_to(&self) -> Text {
        self.correlation_id.clone().unwrap_or_else(|| self.id.to_string().into())
    }

    /// Returns the request or root that the work of a tree belongs to.
    pub fn tree_belongs_to(&self, tree: Seq) -> Text {
        let of_tree = self.tree(tree).and_then(|it| it.correlation_id.clone());
        of_tree.unwrap_or_else(|| self.belongs_to())
    }
}
