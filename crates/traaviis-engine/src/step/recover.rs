//! What an instance is fed when a process finds it in the log.

use traaviis_model::{
    Call, DeliveryClass, Seq, Snapshot, Text, Value,
    call::{GATE, is_between_instances},
    record::Status,
    snapshot::NodeStatus,
};

use super::Input;

/// What a start does with one instance.
#[derive(Default)]
pub struct Recovery {
    /// Taken in this order, before anything else.
    pub inputs: Vec<Input>,
    /// Calls that waited for a slot, tree and path, and wait again.
    pub queued: Vec<(Seq, Text)>,
    /// What was asked of other instances and has no answer; it is asked again in the same words.
    pub asked: Vec<Call>,
}

/// Returns what brings an instance on after the process that ran it died: effects go on, attempts
/// without outcome are unknown, calls that waited for a slot wait again.
///
/// `class` says what may be promised about a call, by its kind and parameters.
pub fn recover(snapshot: &Snapshot, class: impl Fn(&str, &Value) -> DeliveryClass) -> Recovery {
    let mut recovery = Recovery::default();
    let is_idle = snapshot.trees.is_empty()
        && snapshot.held.is_empty()
        && snapshot.status != Status::Completing;
    if is_idle {
        return recovery;
    }
    recovery.inputs.push(Input::Continue);
    for (tree, path, node) in snapshot.calls() {
        let path = path.clone();
        if snapshot.waits_for_slot(tree, &path) {
            recovery.queued.push((tree, path));
        } else if node.status != NodeStatus::Started {
            continue;
        } else if !is_between_instances(&node.kind) && &*node.kind != GATE {
            let class = class(&node.kind, &node.input);
            recovery.inputs.push(Input::Unknown { tree, path, class });
        } else if !snapshot.holds_outcome(tree, &path) {
            recovery.asked.push(snapshot.call_of(tree, &path, node));
        }
    }
    recovery
}
