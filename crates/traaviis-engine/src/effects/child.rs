//! Children: instances that a node starts, and whose end is a fact of this instance.
//!
//! - A child is recorded together with the attempt that asks for it, before anybody is asked. Its
//!   id follows from this instance and the key of the call, so asking again starts nothing new.
//! - A node with `wait` ends when its child does; any other when the child is there.
//! - A node that is called off closes its child: the child is told until it has ended.
//! - The end of the parent reaches a child as its cancellation (`parent_close`).

use sha2::{Digest, Sha256};
use uuid::Builder;

use traaviis_model::{
    Body, EffectError, InstanceId, Seq, Snapshot, Text, Value,
    limits::{CHILD_DEPTH_MAX, CHILDREN_MAX},
    record::{Ending, ParentClose, Status},
    snapshot::NodeStatus,
};

use super::End;
use crate::{
    machine::{EffectDef, EffectKind, SpawnDef},
    step::{Request, Run},
};

/// Returns the id of the child that a key stands for: the time of its parent and a hash, so that
/// ids still sort by creation.
pub(crate) fn child_id(parent: &Snapshot, key: &str) -> InstanceId {
    let mut hash = Sha256::new();
    hash.update(parent.id.0.as_bytes());
    hash.update(key.as_bytes());
    let digest = hash.finalize();
    let mut random = [0; 10];
    random.copy_from_slice(&digest[..10]);
    let millis = u64::try_from(parent.created_at.0 / 1_000).unwrap_or(0);
    InstanceId(Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
}

/// Returns the child that a node asks for.
pub(crate) fn child_of(input: &Value) -> Option<InstanceId> {
    input.get("instance_id").and_then(Value::as_str).and_then(|it| it.parse().ok())
}

impl<'m> Run<'m> {
    /// Records the child that an attempt asks for; none when there may be no more of them.
    pub(super) fn note_child(
        &mut self,
        (tree, path): (Seq, &Text),
        input: &Value,
        spawn: &SpawnDef,
    ) -> Result<(), EffectError> {
        let Some(child) = child_of(input) else {
            return Err(EffectError::new("validation_failed", "the child has no id"));
        };
        if self.snapshot.children.contains_key(&child) {
            return Ok(());
        }
        if self.snapshot.children.len() >= CHILDREN_MAX {
            let message = format!("the instance has {CHILDREN_MAX} children that have not ended");
            return Err(EffectError::new("child_limit", message));
        }
        if self.snapshot.lineage.as_ref().is_some_and(|it| it.depth >= CHILD_DEPTH_MAX) {
            let message = format!("the instance stands {CHILD_DEPTH_MAX} below the first already");
            return Err(EffectError::new("child_limit", message));
        }
        let workflow = input.get("workflow").map(crate::step::text_of).unwrap_or_default();
        let (path, parent_close) = (path.clone(), spawn.parent_close);
        self.emit(Body::ChildStarted { tree, path, child, workflow, parent_close });
        Ok(())
    }

    /// The node that asked for a child is called off.
    pub(super) fn close_child(&mut self, tree: Seq, path: &str, spawn: &SpawnDef) {
        let child = self.node(tree, path).and_then(|it| child_of(&it.input));
        if spawn.parent_close != ParentClose::Abandon
            && let Some(child) = child
            && self.snapshot.children.get(&child).is_some_and(|it| !it.closing)
        {
            self.emit(Body::ChildClosing { child });
            self.requests.push(Request::Close(child));
        }
    }

    /// A child is known to be gone with the outcome of its node.
    pub(super) fn forget_child(
        &mut self,
        tree: Seq,
        path: &str,
        def: &EffectDef,
        outcome: &Result<Value, EffectError>,
    ) {
        let EffectKind::Call(params) = &def.kind else { return };
        let Some(spawn) = &params.spawn else { return };
        if outcome.is_ok() && !spawn.wait {
            return;
        }
        let child = self.node(tree, path).and_then(|it| child_of(&it.input));
        if let Some(child) = child.filter(|it| self.snapshot.children.contains_key(it)) {
            let error = outcome.as_ref().err().cloned();
            let status = if error.is_none() { Status::Completed } else { Status::Failed };
            self.emit(Body::ChildFinished { child, status, error });
        }
    }

    /// Another instance ended: a child, or the parent.
    pub(crate) fn other_ended(&mut self, instance: InstanceId, ending: Ending) {
        if self.snapshot.children.contains_key(&instance) {
            return self.child_ended(instance, ending);
        }
        let Some(lineage) = self.snapshot.lineage.clone() else { return };
        if lineage.parent_id != instance || lineage.parent_close == ParentClose::Abandon {
            return;
        }
        let terminate = ending.terminated && lineage.parent_close == ParentClose::Cancel;
        // What is ending already needs to be told only that it should hurry.
        if self.snapshot.status != Status::Completing || terminate {
            let reason = format!("parent `{instance}` has ended or let go of it");
            self.cancel_instance(terminate, Some(reason.into()));
        }
    }

    fn child_ended(&mut self, child: InstanceId, ending: Ending) {
        let Some(known) = self.snapshot.children.get(&child) else { return };
        let (tree, path) = (known.tree, known.path.clone());
        let Ending { status, output, error, .. } = ending;
        self.emit(Body::ChildFinished { child, status, error: error.clone() });
        let waits = self.node(tree, &path).is_some_and(|node| {
            node.status == NodeStatus::Started && child_of(&node.input) == Some(child)
        });
        let Some(def) = self.def_of(tree, &path).filter(|_| waits) else { return };
        let end = match status {
            Status::Completed => End::Completed(output),
            _ => End::Failed(child_failed(child, status, error)),
        };
        self.finish_node(tree, &path, def, end);
        self.advance_tree(tree);
    }
}

/// Returns what a node tells that waited for a child which did not complete.
fn child_failed(child: InstanceId, status: Status, cause: Option<EffectError>) -> EffectError {
    let why = cause.as_ref().map_or(String::new(), |it| format!(": {}", it.message));
    let message = format!("child `{child}` ended as {}{why}", status.as_str());
    let details = Value::map([
        ("instance_id", Value::from(child.to_string())),
        ("status", Value::from(status.as_str())),
    ]);
    let error = EffectError::new("child_failed", message).with_details(details);
    match cause {
        Some(cause) => error.caused_by(cause),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use traaviis_model::TenantCtx;

    use super::*;
    use crate::tests::{context, machine, with_head};

    #[test]
    fn a_child_has_the_same_id_each_time() {
        let machine = machine(&with_head("initial: a\nstates: {a: {}}"));
        let context = context(traaviis_model::Timestamp(1_700_000_000_000_000));
        let id = InstanceId(uuid::Uuid::from_u128(7));
        let ctx = TenantCtx::for_test(1);
        let step = crate::start(&machine, &ctx, id, Value::empty_map(), &context).unwrap();
        let of = |key: &str| child_id(&step.snapshot, key).to_string();
        assert_eq!(of("k.3.spawn"), of("k.3.spawn"));
        assert_ne!(of("k.3.spawn"), of("k.4.spawn"));
        assert!(of("k").starts_with("018bcfe5-6800-7"), "{}", of("k"));
    }
}
