//! Changes nodes of effect trees as records say.

use super::{
    Snapshot,
    tree::{Node, NodeStatus, Tree},
};
use crate::{
    budget::BudgetScope,
    ids::{Seq, Text},
    record::Body,
    value::Value,
};

impl Snapshot {
    pub(super) fn change_effect(&mut self, seq: Seq, body: &Body) -> Result<(), String> {
        if let Some(status) = body.becomes() {
            return self.change_status(seq, body, status);
        }
        match body {
            Body::SignalReceived { tree, path, data } => {
                let node = self.node_mut(*tree, path)?;
                node.value = pushed(&node.value, data);
                Ok(())
            }
            Body::TaskClaimed { tree, path, by } => {
                let node = self.node_mut(*tree, path)?;
                node.value = with(&node.value, "claimed_by", Value::String(by.clone()));
                Ok(())
            }
            Body::TaskReleased { tree, path } => {
                let node = self.node_mut(*tree, path)?;
                node.value = with(&node.value, "claimed_by", Value::Null);
                Ok(())
            }
            Body::TaskDelegated { tree, path, to, .. } => {
                let node = self.node_mut(*tree, path)?;
                let to = Value::String(to.clone());
                let before = node.value.get("delegated").cloned().unwrap_or_default();
                node.value = with(&node.value, "delegated", pushed(&before, &to));
                node.value = with(&node.value, "claimed_by", to);
                Ok(())
            }
            Body::TaskCommented { tree, path, comment } => {
                let node = self.node_mut(*tree, path)?;
                let before = node.value.get("comments").cloned().unwrap_or_default();
                node.value = with(&node.value, "comments", pushed(&before, comment));
                Ok(())
            }
            Body::TaskDecided { tree, path, decision } => {
                let node = self.node_mut(*tree, path)?;
                let before = node.value.get("decisions").cloned().unwrap_or_default();
                node.value = with(&node.value, "decisions", pushed(&before, decision));
                Ok(())
            }
            Body::TaskEscalated { tree, path, to } => {
                let node = self.node_mut(*tree, path)?;
                node.value = with(&node.value, "escalated", to.clone());
                Ok(())
            }
            // The failed compensation itself is a node; this only tells the reader.
            Body::CompensationFailed { .. } => Ok(()),
            other => Err(other.kind().to_string()),
        }
    }

    /// Changes how a node stands, and what goes with that.
    fn change_status(&mut self, seq: Seq, body: &Body, status: NodeStatus) -> Result<(), String> {
        match body {
            Body::EffectScheduled { tree, path, effect, input, key } => {
                let tree = self.tree_mut(*tree)?;
                // A compensation that is run again begins with nothing below it.
                if tree.nodes.contains_key(path) {
                    tree.drop_below(path);
                }
                tree.open(path, Node { scheduled: seq, ..Node::opened(effect, input, key) })
            }
            Body::EffectStarted { tree, path, attempt } => {
                let node = self.node_mut(*tree, path)?;
                node.status = status;
                node.attempt = *attempt;
                Ok(())
            }
            Body::EffectRecalled { tree, path, attempt, from } => {
                self.recall(*from)?;
                let node = self.node_mut(*tree, path)?;
                node.status = status;
                node.attempt = *attempt;
                Ok(())
            }
            Body::EffectAttemptFailed { tree, path, error, .. } => {
                let node = self.node_mut(*tree, path)?;
                node.status = status;
                node.error = Some(error.clone());
                Ok(())
            }
            Body::EffectUnknown { tree, path, .. } => {
                self.node_mut(*tree, path)?.status = status;
                Ok(())
            }
            Body::EffectCompleted { tree, path, value } => {
                self.end(seq, *tree, path, status, |node| {
                    node.value = value.clone();
                    node.error = None;
                })
            }
            Body::EffectSkipped { tree, path } => self.end(seq, *tree, path, status, |_| ()),
            Body::EffectFailed { tree, path, error } => {
                self.end(seq, *tree, path, status, |node| {
                    node.value = Value::Null;
                    node.error = Some(error.clone());
                })
            }
            Body::EffectCancelled { tree, path, .. } => self.end(seq, *tree, path, status, |_| ()),
            Body::LoopAdvanced { tree, path, iteration, value } => {
                let (of, below) = (*tree, format!("{path}/"));
                self.budgets.drop_those(|it| {
                    matches!(it, BudgetScope::Effect { tree, path }
                        if *tree == of && path.starts_with(&below))
                });
                let tree = self.tree_mut(*tree)?;
                tree.drop_below(path);
                let node = tree.nodes.get_mut(path).ok_or_else(|| path.to_string())?;
                node.iteration = *iteration;
                node.value = value.clone();
                node.opened = 0;
                node.failed = 0;
                node.error = None;
                node.status = status;
                node.running.clear();
                Ok(())
            }
            Body::CompensationStarted { tree, path, error } => {
                let node = self.node_mut(*tree, path)?;
                node.status = status;
                node.error.clone_from(error);
                Ok(())
            }
            other => Err(other.kind().to_string()),
        }
    }

    /// Ends a node. An ended root takes its tree away; a node that was never opened is made over at
    /// once, which is how instant kinds need only one record.
    fn end(
        &mut self,
        seq: Seq,
        tree_id: Seq,
        path: &Text,
        status: NodeStatus,
        change: impl FnOnce(&mut Node),
    ) -> Result<(), String> {
        let is_root = *path == self.tree_mut(tree_id)?.invoke;
        self.budgets.drop_those(|it| {
            matches!(it, BudgetScope::Effect { tree, path: at }
                if *tree == tree_id && (is_root || at == path))
        });
        if is_root {
            self.trees.retain(|tree| tree.id != tree_id);
            return Ok(());
        }
        let tree = self.tree_mut(tree_id)?;
        if !tree.nodes.contains_key(path) {
            tree.open(path, Node::opened(&"".into(), &Value::Null, &None))?;
        }
        let node = tree.nodes.get_mut(path).ok_or_else(|| path.to_string())?;
        node.status = status;
        node.ended = seq;
        change(node);
        node.running.clear();
        // Compensations of what was done inside still read the items and the parameters.
        if !matches!(&*node.kind, "batch" | "use") {
            node.input = Value::Null;
        }
        let error = node.error.clone().filter(|_| status == NodeStatus::Failed);
        if let Some((parent, segment)) = tree.parent_of(path) {
            let parent = tree.nodes.get_mut(&parent).ok_or_else(|| path.to_string())?;
            parent.running.retain(|it| **it != *segment);
            if let Some(error) = error {
                parent.failed += 1;
                parent.error.get_or_insert(error);
            }
        }
        Ok(())
    }

    pub(super) fn tree_mut(&mut self, id: Seq) -> Result<&mut Tree, String> {
        self.trees.iter_mut().find(|tree| tree.id == id).ok_or_else(|| format!("tree {id}"))
    }

    pub(super) fn node_mut(&mut self, tree: Seq, path: &Text) -> Result<&mut Node, String> {
        self.tree_mut(tree)?.nodes.get_mut(path).ok_or_else(|| path.to_string())
    }
}

/// Returns a list with one more item.
fn pushed(list: &Value, item: &Value) -> Value {
    let before = list.as_list().unwrap_or_default();
    Value::list(before.iter().chain([item]).cloned())
}

/// Returns a map with one key set.
fn with(map: &Value, key: &str, value: Value) -> Value {
    let mut map = map.as_map().cloned().unwrap_or_default();
    map.insert(key, value);
    Value::Map(map.into())
}
