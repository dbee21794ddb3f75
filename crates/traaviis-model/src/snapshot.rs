//! The state of an instance after a record, and the one function that changes it:
//! [`Snapshot::apply`].
//!
//! Invariants: folding an instance's records from `created` gives this state byte for byte; nothing
//! else changes it, live or in replay. Collections keep a fixed order, so equal states have equal
//! canonical bytes ([`Snapshot::canonical`]).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    budget::{BudgetScope, Budgets, Reservation},
    call::{Call, CallId},
    definition::OnExceeded,
    effect_error::EffectError,
    ids::{DefinitionHash, InstanceId, Seq, TenantId, Text, Texts},
    record::{
        Body, Header, Held, Lineage, ParentClose, PatchOp, Record, Status, TimerKind, Upgraded,
    },
    time::Timestamp,
    value::Value,
};

mod about;
mod erased;
mod fork;
mod patch;
mod upgrade;
pub use about::Performance;
pub use fork::Origin;
pub use patch::{NoSuchPlace, apply_patch};

/// State of an instance after its record `seq`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Identity.
    pub id: InstanceId,
    /// Tenant.
    pub tenant_id: TenantId,
    /// Workflow name.
    pub workflow: Text,
    /// Workflow version.
    pub version: Text,
    /// Definition that decides.
    pub definition_hash: DefinitionHash,
    /// How it stands.
    pub status: Status,
    /// Last record.
    pub seq: Seq,
    /// Last step.
    pub step: u64,
    /// Paths of the active atomic states, in document order.
    pub configuration: Texts,
    /// Start input.
    pub input: Value,
    /// Instance data.
    pub data: Value,
    /// Output once it ends or is about to.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub output: Value,
    /// Error once it ends or is about to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Box<EffectError>>,
    /// Status to come while `completing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Status>,
    /// Business key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<Text>,
    /// Request or root that it was created for; absent when that is itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<Text>,
    /// Its parent, when another instance started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lineage: Option<Box<Lineage>>,
    /// Words that it is found by.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<Text>,
    /// Facts about it for people, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<Text, Value>,
    /// Who started it, as `kind:id`; absent in histories from before it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<Text>,
    /// The person whom it is about, with whose key its values are sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Text>,
    /// Where it comes from, when it is a fork.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forked_from: Option<Box<Origin>>,
    /// Children that have not ended.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub children: BTreeMap<InstanceId, Child>,
    /// What history states remember.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub history: BTreeMap<Text, Vec<Text>>,
    /// Open timers, in the order they were set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timers: Vec<Timer>,
    /// Effect trees that still run, by the `seq` that started them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trees: Vec<Tree>,
    /// Events kept for later, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deferred: Vec<(Text, Value)>,
    /// Budgets from which something was reserved or spent.
    #[serde(default, skip_serializing_if = "Budgets::is_empty")]
    pub budgets: Budgets,
    /// Open incidents.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub incidents: Vec<Incident>,
    /// Ends of attempts that wait until the instance is resumed, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<Held>,
    /// It was ended without exit actions and compensation.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub terminated: bool,
    /// What takes the last upgrade back, as long as that is possible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Box<Upgraded>>,
    /// Transitions so far.
    pub transition_count: u64,
    /// Commit time of the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_transition_at: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
    /// Commit time of the last step.
    pub updated_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
}

/// An open timer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timer {
    /// Unique in the instance.
    pub id: Text,
    /// When it fires.
    pub due: Timestamp,
    /// Why.
    pub kind: TimerKind,
    /// Payload of a delayed raise.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub data: Value,
}

/// A child that has not ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Child {
    /// Tree of the node that started it.
    pub tree: Seq,
    /// The node; it may be over.
    pub path: Text,
    /// What it runs.
    pub workflow: Text,
    /// What the end of this instance means for it.
    pub parent_close: ParentClose,
    /// It is no longer wanted, and is told so until it has ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub closing: bool,
}

/// A question to a person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Kind, such as `unknown_outcome`.
    pub kind: Text,
    /// Tree concerned, or 0.
    pub tree: Seq,
    /// Node concerned.
    pub path: Text,
    /// What happened.
    pub message: Text,
    /// Error behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<EffectError>,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// What could not be taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Box<Held>>,
    /// Number of the record that opened it; 0 in checkpoints from before it was kept.
    #[serde(default, skip_serializing_if = "is_zero_u64")]
    pub opened: Seq,
    /// Who looks after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignee: Option<Text>,
}

/// An effect tree that still runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tree {
    /// `seq` of its `tree_started`.
    pub id: Seq,
    /// Invoke id; path of the root node.
    pub invoke: Text,
    /// State that owns it.
    pub state: Text,
    /// Pointer of the effect in the definition.
    pub pointer: Text,
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

fn is_zero_u32(it: &u32) -> bool {
    *it == 0
}
fn is_zero_u64(it: &u64) -> bool {
    *it == 0
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

impl Node {
    /// Says whether people answer it.
    pub fn is_task(&self) -> bool {
        matches!(&*self.kind, "human_task" | "approval")
    }

    /// Returns whom a task asks: its assignees, and those it was escalated to.
    pub fn asked(&self) -> Value {
        let assignees = self.input.get("assignees").cloned().unwrap_or_default();
        match self.value.get("escalated").and_then(Value::as_list) {
            None => assignees,
            Some(more) => {
                let first = assignees.as_list().unwrap_or_default();
                let more = more.iter().filter(|it| !first.contains(it));
                Value::list(first.iter().chain(more).cloned())
            }
        }
    }
}

impl NodeStatus {
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
    pub fn as_str(self) -> &'static str {
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
    /// Returns the state of an instance that had ended, after the record by which it goes on;
    /// needs no other record.
    pub fn reopen(record: &Record) -> Option<Snapshot> {
        let header = &record.header;
        let Body::Retried(retried) = &record.body else { return None };
        let (id, seq, step) = (header.instance_id, header.seq, header.step);
        Some(Snapshot { id, seq, step, updated_at: header.at, ..(*retried.state).clone() })
    }

    /// Returns the state after the first record, which must be `created`.
    pub fn create(record: &Record) -> Result<Snapshot, ApplyError> {
        let header = &record.header;
        let Body::Created {
            workflow,
            version,
            input,
            data,
            correlation,
            lineage,
            tags,
            labels,
            created_by,
            subject,
        } = &record.body
        else {
            return Err(ApplyError::NoCreated { instance: header.instance_id });
        };
        if header.seq != 1 {
            return Err(ApplyError::NotDense {
                instance: header.instance_id,
                last: 0,
                found: header.seq,
            });
        }
        Ok(Snapshot {
            id: header.instance_id,
            tenant_id: header.tenant_id,
            workflow: workflow.clone(),
            version: version.clone(),
            definition_hash: header.definition_hash,
            status: Status::Running,
            seq: 1,
            step: header.step,
            configuration: Texts::new(),
            input: input.clone(),
            data: data.clone(),
            output: Value::Null,
            error: None,
            ending: None,
            correlation: correlation.clone(),
            correlation_id: header.correlation_id.clone(),
            lineage: lineage.clone(),
            tags: tags.clone(),
            labels: labels.clone(),
            created_by: created_by.clone(),
            subject: subject.clone(),
            forked_from: None,
            children: BTreeMap::new(),
            history: BTreeMap::new(),
            timers: Vec::new(),
            trees: Vec::new(),
            deferred: Vec::new(),
            budgets: Budgets::default(),
            incidents: Vec::new(),
            held: Vec::new(),
            terminated: false,
            undo: None,
            transition_count: 0,
            last_transition_at: None,
            created_at: header.at,
            updated_at: header.at,
            finished_at: None,
        })
    }

    /// Folds a whole history.
    pub fn fold<'a>(
        records: impl IntoIterator<Item = &'a Record>,
    ) -> Result<Option<Snapshot>, ApplyError> {
        let mut snapshot: Option<Snapshot> = None;
        for record in records {
            match &mut snapshot {
                None => snapshot = Some(Snapshot::create(record)?),
                Some(it) => it.apply(record)?,
            }
        }
        Ok(snapshot)
    }

    /// Returns the canonical bytes: JSON with fixed key order.
    pub fn canonical(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Returns the common text form of the configuration: `a.b`, or `p.(x|y)` for regions.
    pub fn state(&self) -> String {
        join_paths(&self.configuration)
    }

    /// Says whether a state is active, by its path.
    pub fn is_in(&self, path: &str) -> bool {
        self.configuration.iter().any(|it| {
            it.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }

    /// Returns the timer that fires next; none of a paused instance. One that could not be taken
    /// waits for a person.
    pub fn next_timer(&self) -> Option<&Timer> {
        self.firing_timers().min_by_key(|timer| timer.due)
    }

    /// Returns the timers that fire when they are due; none of a paused instance. One that could
    /// not be taken waits for a person.
    pub fn firing_timers(&self) -> impl Iterator<Item = &Timer> {
        let timers: &[Timer] = match self.status {
            Status::Paused => &[],
            _ => &self.timers,
        };
        timers.iter().filter(|timer| !self.holds_timer(&timer.id))
    }

    /// Returns when the next timer fires.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.next_timer().map(|timer| timer.due)
    }

    /// Says whether a timer could not be taken and waits for a person.
    pub fn holds_timer(&self, id: &str) -> bool {
        let is_it = |held: &Held| matches!(held, Held::Timer { timer } if **timer == *id);
        self.incidents.iter().any(|it| it.held.as_deref().is_some_and(is_it))
    }

    /// Says whether an open incident asks about a node.
    pub fn asks_about(&self, tree: Seq, path: &str) -> bool {
        self.incidents.iter().any(|it| it.tree == tree && *it.path == *path)
    }

    /// Says whether it is known how a started node ended, but not taken yet.
    pub fn holds_outcome(&self, tree: Seq, path: &str) -> bool {
        self.outcome_held(tree, path).is_some()
    }

    /// Returns how a started node ended that was not taken yet.
    pub fn outcome_held(&self, of: Seq, node: &str) -> Option<&Held> {
        let incidents = self.incidents.iter().filter_map(|it| it.held.as_deref());
        let is_end = |held: &&Held| matches!(held, Held::Outcome { .. } | Held::Unknown { .. });
        let mut ends = self.held.iter().chain(incidents).filter(is_end);
        ends.find(|held| held.node().is_some_and(|(tree, path)| tree == of && **path == *node))
    }

    /// Says whether the end of another instance is known, but not taken yet.
    pub fn holds_ending(&self, of: InstanceId) -> bool {
        let incidents = self.incidents.iter().filter_map(|it| it.held.as_deref());
        let is_it = |it: &Held| matches!(it, Held::Ended { instance, .. } if *instance == of);
        self.held.iter().chain(incidents).any(is_it)
    }

    /// Returns the tree that record `id` started.
    pub fn tree(&self, id: Seq) -> Option<&Tree> {
        self.trees.iter().find(|tree| tree.id == id)
    }

    /// Returns a node.
    pub fn node(&self, tree: Seq, path: &str) -> Option<&Node> {
        self.tree(tree)?.nodes.get(path)
    }

    /// Returns the calls of all trees: tree, path and node. Only they have idempotency keys.
    pub fn calls(&self) -> impl Iterator<Item = (Seq, &Text, &Node)> {
        self.nodes().filter(|(_, _, node)| node.key.is_some())
    }

    /// Returns the attempt of a call that runs now; without the time limit of calls to the outside.
    pub fn call_of(&self, tree: Seq, path: &Text, node: &Node) -> Call {
        let (scheduled, attempt) = (node.scheduled, node.attempt);
        Call {
            id: CallId { instance: self.id, tree, path: path.clone(), scheduled, attempt },
            workflow: self.workflow.clone(),
            kind: node.kind.clone(),
            input: node.input.clone(),
            key: node.key.clone().unwrap_or_default(),
            timeout: None,
            hosts: Vec::new(),
        }
    }

    /// Returns the tasks that wait for people: tree, path and node.
    pub fn open_tasks(&self) -> impl Iterator<Item = (Seq, &Text, &Node)> {
        self.nodes().filter(|(_, _, node)| node.is_task() && node.status == NodeStatus::Scheduled)
    }

    fn nodes(&self) -> impl Iterator<Item = (Seq, &Text, &Node)> {
        let trees = self.trees.iter();
        trees.flat_map(|tree| tree.nodes.iter().map(|(path, node)| (tree.id, path, node)))
    }

    /// Says whether a call waits for nothing but a slot: it is scheduled, the wait before its next
    /// try is over, or a person said to try again.
    pub fn waits_for_slot(&self, tree: Seq, path: &str) -> bool {
        match self.node(tree, path).map(|it| it.status) {
            Some(NodeStatus::Scheduled) => true,
            Some(NodeStatus::Waiting) => !self.timers.iter().any(|it| it.kind.is_of(tree, path)),
            Some(NodeStatus::Unknown) => !self.asks_about(tree, path),
            _ => false,
        }
    }

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
            Body::BudgetSettled { tree, path, cost } => {
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
            Body::TreeStarted { invoke, state, pointer, detached } => self.trees.push(Tree {
                id: seq,
                invoke: invoke.clone(),
                state: state.clone(),
                pointer: pointer.clone(),
                // What is as the instance is needs no place.
                correlation_id: header
                    .correlation_id
                    .clone()
                    .filter(|it| self.correlation_id.as_ref() != Some(it)),
                orphaned: false,
                detached: *detached,
                nodes: BTreeMap::new(),
            }),
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

    fn status_when_open(&self) -> Status {
        match self.incidents.as_slice() {
            [] => Status::Running,
            _ => Status::Incident,
        }
    }

    fn change_effect(&mut self, seq: Seq, body: &Body) -> Result<(), String> {
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
                node.status = NodeStatus::Started;
                node.attempt = *attempt;
                Ok(())
            }
            Body::EffectRecalled { tree, path, attempt, from } => {
                self.recall(*from)?;
                let node = self.node_mut(*tree, path)?;
                node.status = NodeStatus::Started;
                node.attempt = *attempt;
                Ok(())
            }
            Body::EffectAttemptFailed { tree, path, error, .. } => {
                let node = self.node_mut(*tree, path)?;
                node.status = NodeStatus::Waiting;
                node.error = Some(error.clone());
                Ok(())
            }
            Body::EffectUnknown { tree, path, policy, .. } => {
                let node = self.node_mut(*tree, path)?;
                node.status =
                    if &**policy == "ask" { NodeStatus::Unknown } else { NodeStatus::Scheduled };
                Ok(())
            }
            Body::EffectCompleted { tree, path, value } => {
                self.end(seq, *tree, path, NodeStatus::Completed, |node| {
                    node.value = value.clone();
                    node.error = None;
                })
            }
            Body::EffectSkipped { tree, path } => {
                self.end(seq, *tree, path, NodeStatus::Skipped, |_| ())
            }
            Body::EffectFailed { tree, path, error } => {
                self.end(seq, *tree, path, NodeStatus::Failed, |node| {
                    node.value = Value::Null;
                    node.error = Some(error.clone());
                })
            }
            Body::EffectCancelled { tree, path, .. } => {
                self.end(seq, *tree, path, NodeStatus::Cancelled, |_| ())
            }
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
                node.status = NodeStatus::Scheduled;
                node.running.clear();
                Ok(())
            }
            Body::CompensationStarted { tree, path, error } => {
                let node = self.node_mut(*tree, path)?;
                node.status = match error {
                    Some(_) => NodeStatus::Compensating,
                    None => NodeStatus::Cancelling,
                };
                node.error.clone_from(error);
                Ok(())
            }
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

    fn tree_mut(&mut self, id: Seq) -> Result<&mut Tree, String> {
        self.trees.iter_mut().find(|tree| tree.id == id).ok_or_else(|| format!("tree {id}"))
    }

    fn node_mut(&mut self, tree: Seq, path: &Text) -> Result<&mut Node, String> {
        self.tree_mut(tree)?.nodes.get_mut(path).ok_or_else(|| path.to_string())
    }
}

impl Tree {
    fn open(&mut self, path: &Text, node: Node) -> Result<(), String> {
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
    fn parent_of(&self, path: &str) -> Option<(Text, Text)> {
        if path.len() <= self.invoke.len() {
            return None;
        }
        let (parent, segment) = path.rsplit_once('/')?;
        Some((parent.into(), segment.into()))
    }

    /// Drops every node below `path`.
    fn drop_below(&mut self, path: &str) {
        let prefix = format!("{path}/");
        self.nodes.retain(|it, _| !it.starts_with(&prefix));
    }
}

impl Node {
    fn opened(kind: &Text, input: &Value, key: &Option<Text>) -> Node {
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

/// Joins paths to `a.b`, or `p.(x|y)` for what differs.
fn join_paths(paths: &[Text]) -> String {
    let [first, rest @ ..] = paths else { return String::new() };
    if rest.is_empty() {
        return first.to_string();
    }
    let mut shared = 0;
    for (at, _) in first.match_indices('.') {
        if rest.iter().all(|path| path.starts_with(&first[..=at])) {
            shared = at + 1;
        }
    }
    let tails: Vec<&str> = paths.iter().map(|path| &path[shared..]).collect();
    format!("{}({})", &first[..shared], tails.join("|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_read_as_one_text() {
        let text = |paths: &[&str]| {
            join_paths(&paths.iter().map(|it| Text::from(*it)).collect::<Vec<_>>())
        };
        assert_eq!(text(&["a.b"]), "a.b");
        assert_eq!(text(&["p.x.one", "p.y.two"]), "p.(x.one|y.two)");
        assert_eq!(text(&["a", "b"]), "(a|b)");
        assert_eq!(text(&[]), "");
    }
}
