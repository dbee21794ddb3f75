//! Changes a state as a record says; nothing else does.
//!
//! What is about nodes of effect trees is in `effects`.

use super::{
    NoSuchPlace, Snapshot, apply_patch,
    tree::Tree,
    waiting::{Child, Incident, Timer},
};
use crate::{
    budget::{BudgetScope, Reservation},
    definition::OnExceeded,
    ids::{InstanceId, Seq},
    record::{Body, Header, PatchOp, Record, Status},
};

/// Why a record does not fit the state it should follow.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ApplyError {
    /// A record is missing or repeated.
    #[error("record `{found}` follows `{last}` in instance `{instance}`; the history is not dense")]
    NotDense {
        /// Instance.
        instance: InstanceId,
        /// Last record applied.
        last: Seq,
        /// Record found.
        found: Seq,
    },
    /// The first record is not `created`.
    #[error("the history of instance `{instance}` does not begin with `created`")]
    NoCreated {
        /// Instance.
        instance: InstanceId,
    },
    /// The last records are missing.
    #[error(
        "the history of instance `{instance}` ends with record `{last}`; later ones are missing"
    )]
    CutShort {
        /// Instance.
        instance: InstanceId,
        /// Last record found.
        last: Seq,
    },
    /// A record names something that is not there.
    #[error("record `{seq}` of instance `{instance}` names `{name}`, which does not exist")]
    Absent {
        /// Instance.
        instance: InstanceId,
        /// Record.
        seq: Seq,
        /// What is missing.
        name: String,
    },
}

impl Snapshot {
    /// Changes the state as `record` says.
    pub fn apply(&mut self, record: &Record) -> Result<(), ApplyError> {
        self.apply_body(&record.header, record.header.seq, &record.body)
    }

    /// Changes the state as the body of record `seq` says, whose header is otherwise that of
    /// another record of its step.
    pub fn apply_body(&mut self, header: &Header, seq: Seq, body: &Body) -> Result<(), ApplyError> {
        if seq != self.seq + 1 {
            return Err(ApplyError::NotDense { instance: self.id, last: self.seq, found: seq });
        }
        self.seq = seq;
        self.step = header.step;
        self.updated_at = header.at;
        let applied = self.change(seq, header, body);
        applied.map_err(|name| ApplyError::Absent { instance: self.id, seq, name })
    }

    fn change(&mut self, seq: Seq, header: &Header, body: &Body) -> Result<(), String> {
        let at = header.at;
        match body {
            Body::Created { .. } => return Err("a second `created`".into()),
            Body::EventReceived { .. }
            | Body::EventIgnored { .. }
            | Body::Logged { .. }
            | Body::Warning { .. }
            | Body::EffectLate { .. }
            | Body::Emitted { .. }
            | Body::CompensationCompleted { .. }
            | Body::Moved { .. }
            | Body::TaskCreated { .. }
            | Body::TaskReminded { .. }
            | Body::TaskExpired { .. }
            | Body::EffectCancelRequested { .. }
            | Body::DocumentPut { .. } => {}
            Body::CancelRequested { terminate, .. } => self.terminated |= terminate,
            Body::ChildStarted { tree, path, child, workflow, parent_close } => {
                let (tree, path, workflow) = (*tree, path.clone(), workflow.clone());
                let parent_close = *parent_close;
                let started = Child { tree, path, workflow, parent_close, closing: false };
                self.children.insert(*child, started);
            }
            Body::ChildClosing { child } => {
                self.children.get_mut(child).ok_or_else(|| child.to_string())?.closing = true;
            }
            Body::ChildFinished { child, .. } => {
                self.children.remove(child).ok_or_else(|| child.to_string())?;
            }
            Body::Upgraded(upgraded) => self.upgrade(upgraded)?,
            Body::BudgetReserved(it) => {
                self.budgets.reserve(seq, it.amounts, &it.of);
                let scopes = it.of.iter().map(|(scope, _)| scope.clone()).collect();
                let reservation = Reservation { amounts: it.amounts, scopes, at, seq };
                self.node_mut(it.tree, &it.path)?.reserved = Some(Box::new(reservation));
            }
            Body::BudgetSettled { tree, path, cost, .. } => {
                let reservation = self.node_mut(*tree, path)?.reserved.take();
                let reservation = reservation.ok_or_else(|| format!("reservation of {path}"))?;
                self.budgets.settle(&reservation, *cost);
            }
            Body::BudgetExceeded(it) => {
                let paused = it.action == Some(OnExceeded::Pause);
                self.budgets.exceed(seq, &it.of, it.limits, paused);
            }
            Body::BudgetGranted { of } => {
                if !self.budgets.grant(of) {
                    return Err(format!("a budget of {}", of.words()));
                }
            }
            Body::Tagged { add, remove } => {
                self.tags.retain(|it| !remove.contains(it));
                self.tags.extend(add.iter().cloned());
            }
            Body::Forked(forked) => self.fork(forked)?,
            Body::Retried(retried) => {
                let (id, seq, step) = (self.id, self.seq, self.step);
                *self = Snapshot { id, seq, step, updated_at: at, ..(*retried.state).clone() };
            }
            Body::Paused { .. } => self.status = Status::Paused,
            Body::Resumed { .. } => self.status = self.status_when_open(),
            Body::InputHeld { held } => self.held.push(held.clone()),
            Body::InputReleased => {
                if self.held.is_empty() {
                    return Err("an input that was kept".into());
                }
                self.held.remove(0);
            }
            Body::EventDeferred { event, data, .. } => {
                self.deferred.push((event.clone(), data.clone()));
            }
            Body::EventRecalled { event } => {
                let found = self.deferred.iter().position(|(name, _)| name == event);
                self.deferred.remove(found.ok_or_else(|| event.to_string())?);
            }
            Body::Transition { to, exited, remembered, .. } => {
                self.budgets.drop_those(
                    |it| matches!(it, BudgetScope::State { state } if exited.contains(state)),
                );
                self.configuration.clone_from(to);
                for (state, configuration) in remembered {
                    self.history.insert(state.clone(), configuration.clone());
                }
                self.transition_count += 1;
                self.last_transition_at = Some(at);
                self.undo = None;
            }
            Body::DataChanged { patch, .. } | Body::DataEdited { patch, .. } => {
                // Data of the new version do not fit the old one.
                self.undo = self.undo.take().filter(|it| it.data.is_none());
                for op in patch {
                    let (PatchOp::Add { path, .. }
                    | PatchOp::Replace { path, .. }
                    | PatchOp::Remove { path }) = op;
                    apply_patch(&mut self.data, op).map_err(|NoSuchPlace| path.to_string())?;
                }
            }
            Body::TimerScheduled { timer, due, timer_kind, data } => self.timers.push(Timer {
                id: timer.clone(),
                due: *due,
                kind: timer_kind.clone(),
                data: data.clone(),
            }),
            Body::TimerFired { timer } | Body::TimerCancelled { timer } => {
                let found = self.timers.iter().position(|it| it.id == *timer);
                self.timers.remove(found.ok_or_else(|| timer.to_string())?);
            }
            Body::TreeStarted { invoke, state, pointer, detached } => {
                let (invoke, state) = (invoke.clone(), state.clone());
                let (pointer, detached) = (pointer.clone(), *detached);
                self.plant(header, Tree { id: seq, state, pointer, detached, ..Tree::of(invoke) });
            }
            Body::EffectRequested(asked) => {
                let tree = Tree { id: seq, asked: Some(asked.clone()), ..Tree::of(asked.root()) };
                self.plant(header, tree);
            }
            Body::TreeOrphaned { tree } => self.tree_mut(*tree)?.orphaned = true,
            Body::IncidentOpened { incident, tree, path, message, error, held } => {
                self.incidents.push(Incident {
                    kind: incident.clone(),
                    tree: *tree,
                    path: path.clone(),
                    message: message.clone(),
                    error: error.clone(),
                    opened_at: at,
                    held: held.clone(),
                    opened: seq,
                    assignee: None,
                });
                if self.status == Status::Running {
                    self.status = Status::Incident;
                }
            }
            Body::IncidentAssigned { incident, to } => {
                let found = self.incidents.iter_mut().find(|it| it.opened == *incident);
                found.ok_or_else(|| format!("incident {incident}"))?.assignee.clone_from(to);
            }
            Body::IncidentResolved { incident, tree, path, .. } => {
                let found = self
                    .incidents
                    .iter()
                    .position(|it| it.kind == *incident && it.tree == *tree && it.path == *path);
                self.incidents.remove(found.ok_or_else(|| incident.to_string())?);
                if self.status == Status::Incident {
                    self.status = self.status_when_open();
                }
            }
            Body::Completing { status, output, error } => {
                self.status = Status::Completing;
                self.ending = Some(*status);
                self.output = output.clone();
                self.error = error.clone().map(Box::new);
            }
            Body::Finished { status, output, error } => {
                self.status = *status;
                self.ending = None;
                self.output = output.clone();
                self.error = error.clone().map(Box::new);
                self.finished_at = Some(at);
                self.timers.clear();
                self.trees.clear();
                self.deferred.clear();
                self.incidents.clear();
                self.children.clear();
                self.held.clear();
                self.budgets.drop_those(|it| *it != BudgetScope::Run);
                self.undo = None;
            }
            effect => self.change_effect(seq, effect)?,
        }
        Ok(())
    }

    /// Adds a tree, which belongs to what its step belongs to.
    fn plant(&mut self, header: &Header, mut tree: Tree) {
        // What is as the instance is needs no place.
        let of = header.correlation_id.as_ref();
        tree.correlation_id = of.filter(|it| self.correlation_id.as_ref() != Some(it)).cloned();
        self.trees.push(tree);
    }

    fn status_when_open(&self) -> Status {
        match self.incidents.as_slice() {
            [] => Status::Running,
            _ => Status::Incident,
        }
    }
}
