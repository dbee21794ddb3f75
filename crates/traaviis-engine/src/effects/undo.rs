//! Undoing what a scope has done: compensations in reverse order of completion, one at a time.
//!
//! A compensation runs as a child of the scope; its segment `undo:a>b` names the node it undoes by
//! its path below the scope. Progress is in the records, so a crash resumes after the last one
//! done.

use traaviis_model::{Body, EffectError, Seq, Text, snapshot::NodeStatus};

use super::{End, child_path};
use crate::{
    machine::{EffectDef, EffectKind},
    step::Run,
};

/// What remains to be undone: path of the undoing node, and its definition.
type UndoList<'m> = Vec<(Text, &'m EffectDef)>;

impl<'m> Run<'m> {
    /// Says whether a node undoes what was done when it is called off.
    pub(super) fn undoes_on_cancel(&self, tree: Seq, path: &str, def: &EffectDef) -> bool {
        match &def.kind {
            EffectKind::Saga { on_cancel, .. } | EffectKind::WithCompensation { on_cancel, .. } => {
                *on_cancel
            }
            _ => self.snapshot.tree(tree).is_some_and(|it| *it.invoke == *path),
        }
    }

    /// Returns the compensations that have not begun, the one to run first in front.
    pub(super) fn undo_list(&self, tree: Seq, path: &Text, def: &'m EffectDef) -> UndoList<'m> {
        let Some(found) = self.snapshot.tree(tree).filter(|_| def.undoes) else {
            return Vec::new();
        };
        if let EffectKind::WithCompensation { compensation, .. } = &def.kind {
            let undo = child_path(path, &compensation.segment);
            let acted = found.nodes.contains_key(&child_path(path, "action"));
            let begun = found.nodes.contains_key(&undo);
            return if acted && !begun { vec![(undo, &**compensation)] } else { Vec::new() };
        }
        let prefix = format!("{path}/");
        let mut done: Vec<(Seq, Text, &'m EffectDef)> = Vec::new();
        for (at, node) in found.nodes.range(Text::from(prefix.as_str())..) {
            let Some(below) = at.strip_prefix(prefix.as_str()) else { break };
            if node.status != NodeStatus::Completed || below.contains("undo:") {
                continue;
            }
            let undo =
                super::scope::descend(def, below).and_then(|def| def.compensation.as_deref());
            let Some(undo) = undo else { continue };
            if self.is_undone_below(tree, path, def, below) {
                continue;
            }
            let undo_path = child_path(path, &format!("undo:{}", below.replace('/', ">")));
            if !found.nodes.contains_key(&undo_path) {
                done.push((node.ended, undo_path, undo));
            }
        }
        done.sort_by_key(|(ended, ..)| std::cmp::Reverse(*ended));
        done.into_iter().map(|(_, path, def)| (path, def)).collect()
    }

    /// Says whether a scope between this one and the node has already undone the node.
    fn is_undone_below(&self, tree: Seq, path: &str, def: &'m EffectDef, below: &str) -> bool {
        let segments: Vec<&str> = below.split('/').collect();
        let (mut at, mut at_def) = (path.to_string(), def);
        for (depth, segment) in segments.iter().enumerate() {
            let Some(next) = at_def.child(segment) else { return false };
            at = format!("{at}/{segment}");
            at_def = next;
            let rest = segments[depth + 1..].join(">");
            if at_def.is_scope() && self.node(tree, &format!("{at}/undo:{rest}")).is_some() {
                return true;
            }
        }
        false
    }

    /// Goes on undoing: waits for what runs, then the next compensation, then ends the scope.
    pub(super) fn undo(&mut self, tree: Seq, path: &Text, def: &'m EffectDef) {
        loop {
            if self.is_over(tree, path) {
                return;
            }
            let Some(node) = self.node(tree, path) else { return };
            let (status, cause) = (node.status, node.error.clone());
            let before = node.running.clone();
            for segment in &before {
                if let Some(child) = super::scope::descend(def, segment) {
                    self.poll(tree, &child_path(path, segment), child);
                }
            }
            let Some(node) = self.node(tree, path) else { return };
            if !node.running.is_empty() || self.yielded {
                return;
            }
            if self.waits_for_person(tree, path, def) {
                return;
            }
            let undoes =
                status == NodeStatus::Compensating || self.undoes_on_cancel(tree, path, def);
            let next =
                if undoes { self.undo_list(tree, path, def).into_iter().next() } else { None };
            let Some((undo_path, undo)) = next else {
                return self.undone(tree, path, def, status, cause);
            };
            self.poll(tree, &undo_path, undo);
            if self.node(tree, &undo_path).is_none() {
                return;
            }
        }
    }

    /// A compensation that failed asks a person, unless the saga says to go on.
    fn waits_for_person(&mut self, tree: Seq, path: &Text, def: &'m EffectDef) -> bool {
        let asks = !matches!(
            def.kind,
            EffectKind::Saga { incident: false, .. } | EffectKind::WithCompensation { .. }
        );
        if !asks {
            return false;
        }
        let failed = self.failed_undo(tree, path, &[NodeStatus::Failed]);
        let Some((undo, error)) = failed else { return false };
        if !self.snapshot.asks_about(tree, &undo) {
            let message = format!("`{undo}` could not undo what was done: {}", error.message);
            self.emit(Body::CompensationFailed { tree, path: undo.clone(), error: error.clone() });
            let error = Some(error);
            self.open_incident("compensation_failed", (tree, &undo), message, error, None);
        }
        true
    }

    /// Finds a compensation that has an error and stands so.
    fn failed_undo(
        &self,
        tree: Seq,
        path: &Text,
        stands: &[NodeStatus],
    ) -> Option<(Text, EffectError)> {
        let prefix = format!("{path}/undo:");
        let found = self.snapshot.tree(tree)?;
        found
            .nodes
            .range(Text::from(prefix.as_str())..)
            .take_while(|(at, _)| at.starts_with(&prefix))
            .filter(|(at, node)| !at[prefix.len()..].contains('/') && stands.contains(&node.status))
            .find_map(|(at, node)| Some((at.clone(), node.error.clone()?)))
    }

    /// Everything that could be undone is undone: ends the scope.
    fn undone(
        &mut self,
        tree: Seq,
        path: &Text,
        def: &'m EffectDef,
        status: NodeStatus,
        cause: Option<EffectError>,
    ) {
        let ran = self.compensations(tree, path);
        // One that a person gave up is skipped and keeps its error; it did not undo anything.
        let failed = self.failed_undo(tree, path, &[NodeStatus::Failed, NodeStatus::Skipped]);
        self.emit(Body::CompensationCompleted { tree, path: path.clone() });
        let end = match (status, cause) {
            (NodeStatus::Compensating, Some(mut cause)) => match failed {
                None => {
                    cause.compensated = true;
                    cause.compensations = ran;
                    End::Failed(cause)
                }
                Some((at, error)) => {
                    let message = format!(
                        "`{at}` failed while undoing after `{}`: {}",
                        cause.code, error.message
                    );
                    let mut both =
                        EffectError::new("compensation_failed", message).caused_by(cause);
                    both.compensations = ran;
                    both.details = traaviis_model::Value::map([("compensation", error.to_value())]);
                    End::Failed(both)
                }
            },
            _ => End::Cancelled("cancelled"),
        };
        self.finish_node(tree, path, def, end);
    }

    /// Returns the compensations that succeeded, in the order they ran.
    fn compensations(&self, tree: Seq, path: &Text) -> Vec<Text> {
        let prefix = format!("{path}/undo:");
        let Some(found) = self.snapshot.tree(tree) else { return Vec::new() };
        let mut ran: Vec<(Seq, Text)> = found
            .nodes
            .iter()
            .filter(|(at, node)| {
                at.starts_with(&prefix)
                    && !at[prefix.len()..].contains('/')
                    && node.status == NodeStatus::Completed
            })
            .map(|(at, node)| (node.ended, at.clone()))
            .collect();
        ran.sort();
        ran.into_iter().map(|(_, at)| at).collect()
    }
}
