//! Runs effect trees: each node is polled like a future, and its progress is in the records.
//!
//! - `Run::poll` opens a node that is not open, and drives a control node as far as it goes now.
//! - Calls end by an outcome from outside (`call.rs`); every other kind ends inside the step.
//! - A failed or cancelled scope (`saga`, `with_compensation`, or the root of a tree with
//!   compensations) first undoes what was done, in reverse order (`undo.rs`).
//! - Budgets, from which attempts reserve what they may cost: `budget.rs`.
//! - Gates, which let effects on or make them wait: `gate.rs`.
//! - Children are instances that a node starts (`child.rs`).
//! - Waiting for events and for people: `signal.rs`, `task.rs`.
//! - A tree without owner cleans up or is detached (`cleanup.rs`).
//!
//! A step advances at most [`limits::EFFECT_ADVANCES_PER_STEP_MAX`] nodes; then it asks to
//! continue, and polling from the root finds where it stood, because everything it needs is in the
//! state.

mod budget;
mod call;
mod child;
mod cleanup;
mod control;
mod gate;
mod grant;
mod instant;
pub(crate) mod scope;
pub(crate) mod signal;
mod task;
mod undo;

pub(crate) use budget::{BUDGET_WARNING, Ended};
pub(crate) use call::unknown_outcome;
pub(crate) use child::{child_id, child_of};
pub(crate) use cleanup::CLEANUP_TIMEOUT;

use traaviis_model::{
    Body, EffectError, Seq, Snapshot, Text, Value, limits,
    record::TimerKind,
    snapshot::{Node, NodeStatus, Tree},
};

use crate::{
    expr::EvalError,
    gates::Left,
    machine::{EffectDef, EffectKind, EffectPlace, Machine},
    step::{InternalEvent, Origin, Run},
};

/// Returns who goes first of the calls that wait for a slot: the highest, and 0 for what is gone.
pub fn priority_of(machine: &Machine, snapshot: &Snapshot, tree: Seq, path: &str) -> i8 {
    let machine = machine.of_instance(snapshot);
    let def = snapshot.tree(tree).and_then(|found| {
        let (_, root) = machine.effect_of(found)?;
        scope::descend(root, path.strip_prefix(&*found.invoke)?)
    });
    match def.map(|it| &it.kind) {
        Some(EffectKind::Call(params)) => params.priority,
        _ => 0,
    }
}

impl Machine {
    /// Says whether a timer is for a date, rather than for time to pass.
    pub fn is_date(&self, snapshot: &Snapshot, timer: &TimerKind) -> bool {
        let TimerKind::Delay { tree, path } = timer else { return false };
        let machine = self.of_instance(snapshot);
        let def = snapshot.tree(*tree).and_then(|found| {
            let (_, root) = machine.effect_of(found)?;
            scope::descend(root, path.strip_prefix(&*found.invoke)?)
        });
        def.is_some_and(|it| matches!(it.kind, EffectKind::Delay { until: Some(_), .. }))
    }
}

/// How a node ends.
pub(crate) enum End {
    Completed(Value),
    Failed(EffectError),
    Cancelled(&'static str),
}

impl<'m> Run<'m> {
    pub(crate) fn node(&self, tree: Seq, path: &str) -> Option<&Node> {
        self.snapshot.node(tree, path)
    }

    pub(crate) fn status(&self, tree: Seq, path: &str) -> Option<NodeStatus> {
        self.node(tree, path).map(|node| node.status)
    }

    /// Says whether the node is over, or its whole tree is gone.
    pub(crate) fn is_over(&self, tree: Seq, path: &str) -> bool {
        match self.snapshot.tree(tree) {
            None => true,
            Some(tree) => tree.nodes.get(path).is_some_and(|node| node.status.is_over()),
        }
    }

    /// Counts one advance; false when the step has done enough.
    fn may_advance(&mut self) -> bool {
        if self.fault.is_some() {
            return false;
        }
        self.advances += 1;
        if self.advances > limits::EFFECT_ADVANCES_PER_STEP_MAX
            || self.bytes > limits::STEP_BYTES_YIELD
        {
            self.yielded = true;
        }
        !self.yielded
    }

    /// Drives a node as far as it goes now.
    pub(crate) fn poll(&mut self, tree: Seq, path: &Text, def: &'m EffectDef) {
        match self.status(tree, path) {
            None => self.open(tree, path, def),
            Some(status) if status.is_over() => {}
            Some(NodeStatus::Compensating | NodeStatus::Cancelling) => self.undo(tree, path, def),
            Some(_) if matches!(def.kind, EffectKind::Call(_)) => {}
            Some(_) => self.drive(tree, path, def),
        }
    }

    /// Polls every tree from its root.
    pub(crate) fn advance_trees(&mut self) {
        let trees: Vec<Seq> = self.snapshot.trees.iter().map(|tree| tree.id).collect();
        trees.into_iter().for_each(|tree| self.advance_tree(tree));
    }

    /// Polls one tree from its root.
    pub(crate) fn advance_tree(&mut self, tree: Seq) {
        let Some(found) = self.snapshot.tree(tree) else { return };
        let root = found.invoke.clone();
        if let Some((_, def)) = self.machine.effect_of(found) {
            self.poll(tree, &root, def);
        }
    }

    /// Returns the definition of a node.
    pub(crate) fn def_of(&self, tree: Seq, path: &str) -> Option<&'m EffectDef> {
        self.def_in(self.snapshot.tree(tree)?, path)
    }

    /// As [`Run::def_of`], for a tree that may not be there now.
    pub(crate) fn def_in(&self, tree: &Tree, path: &str) -> Option<&'m EffectDef> {
        let (_, root) = self.machine.effect_of(tree)?;
        let rest = path.strip_prefix(&*tree.invoke)?;
        scope::descend(root, rest)
    }

    /// Opens a node: instant kinds are over at once, calls are scheduled, control nodes driven.
    pub(crate) fn open(&mut self, tree: Seq, path: &Text, def: &'m EffectDef) {
        if !self.may_advance() {
            return;
        }
        if let Some(when) = &def.when {
            match when.eval_bool(&self.node_env(tree, path, None)) {
                Ok(true) => {}
                Ok(false) => return self.skip(tree, path),
                Err(error) => return self.fail_expression(tree, path, def, &error),
            }
        }
        match &def.kind {
            EffectKind::Call(params) => self.schedule_call(tree, path, def, params),
            kind if instant::is_instant(kind) => self.run_instant(tree, path, def),
            _ => match self.control_input(tree, path, def) {
                Ok(input) => {
                    self.emit(Body::EffectScheduled {
                        tree,
                        path: path.clone(),
                        effect: def.name.clone(),
                        input,
                        key: None,
                    });
                    self.opened(tree, path, def);
                    if !self.is_over(tree, path) {
                        self.drive(tree, path, def);
                    }
                }
                Err(error) => self.fail_expression(tree, path, def, &error),
            },
        }
    }

    fn skip(&mut self, tree: Seq, path: &Text) {
        let root = self.root_of(tree, path);
        self.emit(Body::EffectSkipped { tree, path: path.clone() });
        if let Some(owner) = root {
            self.tree_over(owner, Ok(Value::Null));
        }
    }

    pub(crate) fn fail_expression(
        &mut self,
        tree: Seq,
        path: &Text,
        def: &'m EffectDef,
        error: &EvalError,
    ) {
        let error = EffectError::new(error.code, error.message.as_str());
        self.finish_node(tree, path, def, End::Failed(error));
    }

    /// Returns who waits for the tree when `path` is its root.
    fn root_of(&self, tree: Seq, path: &Text) -> Option<Owner> {
        let found = self.snapshot.tree(tree)?;
        (found.invoke == *path).then(|| Owner {
            place: self.machine.effect_of(found).and_then(|it| it.0),
            invoke: found.invoke.clone(),
            orphaned: found.orphaned,
        })
    }

    /// Ends a node: undoes first when it is a failed scope, then records, saves, and tells its
    /// owner.
    pub(crate) fn finish_node(&mut self, tree: Seq, path: &Text, def: &'m EffectDef, end: End) {
        let ended = match &end {
            End::Completed(value) => Ended::Done(value),
            End::Failed(error) => Ended::Failed(error),
            End::Cancelled(_) => Ended::Unknown,
        };
        self.settle_attempt(tree, path, ended);
        let root = self.root_of(tree, path);
        let end = match end {
            End::Completed(value) if value.json_len() > limits::RESULT_BYTES_MAX => {
                End::Failed(EffectError::new(
                    "payload_too_large",
                    format!("the result is larger than {} bytes", limits::RESULT_BYTES_MAX),
                ))
            }
            other => other,
        };
        match end {
            End::Completed(value) => {
                self.leave_gate(tree, path, def, || Left::Done(value.clone()));
                self.emit(Body::EffectCompleted { tree, path: path.clone(), value: value.clone() });
                if let Some(key) = &def.save
                    && let Err(error) = self.put_data(key, value.clone(), path)
                {
                    self.emit(Body::Warning {
                        code: error.code.into(),
                        message: error.message.into(),
                        at_pointer: path.clone(),
                    });
                }
                if let Some(owner) = root {
                    self.tree_over(owner, Ok(value));
                }
            }
            End::Failed(mut error) => {
                if error.path.is_empty() {
                    error.kind = def.name.clone();
                    error.path = path.clone();
                }
                if root.is_some()
                    && !def.is_scope()
                    && self.node(tree, path).is_some_and(|node| !is_undoing(node.status))
                    && !self.undo_list(tree, path, def).is_empty()
                {
                    let error = Some(error);
                    self.emit(Body::CompensationStarted { tree, path: path.clone(), error });
                    return self.undo(tree, path, def);
                }
                self.leave_gate(tree, path, def, || Left::Failed(error.codes()));
                self.emit(Body::EffectFailed { tree, path: path.clone(), error: error.clone() });
                if let Some(owner) = root {
                    self.tree_over(owner, Err(error));
                }
            }
            End::Cancelled(reason) => {
                self.leave_gate(tree, path, def, || Left::Cancelled);
                self.emit(Body::EffectCancelled {
                    tree,
                    path: path.clone(),
                    reason: reason.into(),
                });
            }
        }
    }

    fn tree_over(&mut self, owner: Owner, outcome: Result<Value, EffectError>) {
        if owner.orphaned || self.is_ended() {
            return;
        }
        // Nobody waits inside for what was asked for from outside.
        let Some(place) = owner.place else { return };
        let event = match outcome {
            Ok(value) => InternalEvent::internal(
                format!("done.invoke.{}", owner.invoke),
                value,
                Origin::Done(place.state, place.invoke),
            ),
            Err(error) => InternalEvent::internal(
                format!("error.invoke.{}", owner.invoke),
                error.to_value(),
                Origin::Failed(place.state, place.invoke),
            ),
        };
        self.queue.push_back(event);
    }

    /// Takes away the timers of a node and of everything below it.
    pub(crate) fn cancel_node_timers(&mut self, of: Seq, path: &str) {
        self.cancel_timers(|kind| kind.is_of(of, path));
    }

    pub(crate) fn has_timer(&self, of: Seq, path: &str) -> bool {
        self.snapshot.timers.iter().any(|timer| timer.kind.is_of(of, path))
    }
}

/// Who waits for a tree.
struct Owner {
    place: Option<EffectPlace>,
    invoke: Text,
    orphaned: bool,
}

pub(crate) fn is_undoing(status: NodeStatus) -> bool {
    matches!(status, NodeStatus::Compensating | NodeStatus::Cancelling)
}

/// Returns the path of a child.
pub(crate) fn child_path(path: &str, segment: &str) -> Text {
    let mut text = String::with_capacity(path.len() + segment.len() + 1);
    text.push_str(path);
    text.push('/');
    text.push_str(segment);
    text.into()
}
