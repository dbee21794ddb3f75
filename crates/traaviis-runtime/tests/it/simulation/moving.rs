//! What has not come to rest.

use std::sync::Arc;

use traaviis_model::{
    InstanceId, Snapshot, Text,
    call::GATE,
    record::Status,
    snapshot::{Node, NodeStatus},
};

use super::{OpState, Sim};

/// What has not come to rest; read when a simulation fails.
#[derive(Debug)]
#[expect(dead_code, reason = "printed")]
pub(super) enum Moving {
    /// An operation that is not sent.
    Operation(usize),
    /// Something under way in the network.
    Message,
    /// An owner with work, and as many appends.
    Owner(usize),
    /// A call that runs or waits.
    Call(InstanceId, Text),
    /// A timer that is due and does not fire.
    Timer(InstanceId),
}

impl Sim<'_> {
    /// What still moves.
    pub(super) fn moving(&self) -> Option<Moving> {
        if let Some(at) = self.ops.iter().position(|op| op.state == OpState::Ready) {
            return Some(Moving::Operation(at));
        }
        if self.network.next_at().is_some() || !self.letters.is_empty() {
            return Some(Moving::Message);
        }
        for (owner, outside) in &self.shards {
            if !owner.is_quiet() || !outside.appends.is_empty() {
                return Some(Moving::Owner(outside.appends.len()));
            }
            let mut open = owner.open_instances().filter(|it| it.status != Status::Paused);
            if let Some(moving) = open.find_map(|it| moving_call(&it)) {
                return Some(moving);
            }
            let is_late = |it: &Arc<Snapshot>| {
                !matches!(it.status, Status::Paused | Status::Incident)
                    && it.next_due().is_some_and(|due| due < self.now)
            };
            if let Some(late) = owner.open_instances().find(is_late) {
                return Some(Moving::Timer(late.id));
            }
        }
        None
    }
}

/// Returns a call that moves without anybody's answer.
fn moving_call(snapshot: &Snapshot) -> Option<Moving> {
    for tree in &snapshot.trees {
        // Who asks a gate or waits for another instance moves when somebody else does.
        let is_call = |node: &Node| {
            node.key.is_some() && !matches!(&*node.kind, GATE | "spawn_fsm" | "invoke_fsm")
        };
        for (path, node) in tree.nodes.iter().filter(|(_, node)| is_call(node)) {
            let moves = match node.status {
                NodeStatus::Scheduled => true,
                NodeStatus::Started => !snapshot.asks_about(tree.id, path),
                NodeStatus::Waiting => {
                    let mut timers =
                        snapshot.timers.iter().filter(|it| it.kind.is_of(tree.id, path));
                    !timers.any(|it| snapshot.holds_timer(&it.id))
                }
                _ => false,
            };
            if moves {
                return Some(Moving::Call(snapshot.id, path.clone()));
            }
        }
    }
    None
}
