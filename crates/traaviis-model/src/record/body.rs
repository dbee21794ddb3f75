//! What happened: every kind of entry in a history.
//!
//! A kind is never changed or taken away, because histories hold it; what it
//! lacks is added with a default.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    Asked, BudgetExceeded, BudgetReserved, Forked, Held, ModelUse, Retried, Upgraded,
    family::{Lineage, ParentClose},
    patch::PatchOp,
    status::Status,
    timer::TimerKind,
};
use crate::{
    budget::{Amounts, BudgetScope},
    effect_error::EffectError,
    ids::{InstanceId, Seq, Text, Texts},
    snapshot::NodeStatus,
    time::Timestamp,
    value::Value,
};

/// What happened. The JSON key `kind` holds the variant in snake case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Body {
    /// The instance exists; always record 1.
    Created {
        /// Name of the workflow.
        workflow: Text,
        /// Version.
        version: Text,
        /// Start input with defaults filled in.
        input: Value,
        /// First data.
        data: Value,
        /// Business key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        correlation: Option<Text>,
        /// Its parent, when another instance started it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lineage: Option<Box<Lineage>>,
        /// Words that it is found by.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        tags: BTreeSet<Text>,
        /// Facts about it for people, by name.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        labels: BTreeMap<Text, Value>,
        /// Who started it, as `kind:id`; that of the parent for a child. Absent in histories from
        /// before it was kept.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        created_by: Option<Text>,
        /// The person whom it is about, with whose key its values are sealed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subject: Option<Text>,
    },
    /// An event was taken.
    EventReceived {
        /// Name.
        event: Text,
        /// Payload.
        #[serde(default, skip_serializing_if = "Value::is_null")]
        data: Value,
        /// Deduplication id of the caller.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<Text>,
        /// Where it came from.
        source: EventSource,
    },
    /// A declared event found no candidate and the policy is `ignore`, or one that the workflow
    /// subscribes to could not be taken.
    EventIgnored {
        /// Name.
        event: Text,
        /// Payload.
        #[serde(default, skip_serializing_if = "Value::is_null")]
        data: Value,
        /// Deduplication id of the caller.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<Text>,
        /// Why an event that the workflow subscribes to could not be taken.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<Box<EffectError>>,
    },
    /// A declared event found no candidate and the policy is `defer`.
    EventDeferred {
        /// Name.
        event: Text,
        /// Payload.
        #[serde(default, skip_serializing_if = "Value::is_null")]
        data: Value,
        /// Deduplication id of the caller.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<Text>,
    },
    /// A deferred event is offered again; the first of its name leaves the queue.
    EventRecalled {
        /// Name.
        event: Text,
    },
    /// A microstep.
    Transition {
        /// Active atomic states before.
        from: Texts,
        /// Active atomic states after.
        to: Texts,
        /// Event; absent for `always` and the first entry.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        event: Option<Text>,
        /// Pointers of the candidates taken.
        #[serde(default, skip_serializing_if = "Texts::is_empty")]
        candidates: Texts,
        /// Text of the guards that were true.
        #[serde(default, skip_serializing_if = "Texts::is_empty")]
        guards: Texts,
        /// States left, in order.
        #[serde(default, skip_serializing_if = "Texts::is_empty")]
        exited: Texts,
        /// States entered, in order.
        #[serde(default, skip_serializing_if = "Texts::is_empty")]
        entered: Texts,
        /// What history states remember from the states left.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        remembered: Vec<(Text, Vec<Text>)>,
        /// Position in the macrostep, from 1.
        microstep: u32,
    },
    /// Instance data changed.
    DataChanged {
        /// RFC 6902 patch.
        patch: Vec<PatchOp>,
        /// Pointer of the action, or path of the effect.
        cause: Text,
    },
    /// A structured log line of the workflow.
    Logged {
        /// Level.
        level: Text,
        /// Message.
        message: Text,
        /// Facts.
        #[serde(default, skip_serializing_if = "Value::is_null")]
        data: Value,
    },
    /// Something in the workflow went wrong without stopping it, such as a guard error.
    Warning {
        /// Stable code.
        code: Text,
        /// What happened.
        message: Text,
        /// Pointer of the place.
        at_pointer: Text,
    },
    /// A timer waits.
    TimerScheduled {
        /// Unique in the instance.
        timer: Text,
        /// When it fires.
        due: Timestamp,
        /// Why.
        timer_kind: TimerKind,
        /// Payload of a delayed raise.
        #[serde(default, skip_serializing_if = "Value::is_null")]
        data: Value,
    },
    /// A timer fired.
    TimerFired {
        /// Timer.
        timer: Text,
    },
    /// A timer will not fire.
    TimerCancelled {
        /// Timer.
        timer: Text,
    },
    /// A tree starts: its root is scheduled by the next records.
    TreeStarted {
        /// Invoke id; root path of the tree.
        invoke: Text,
        /// State that owns it.
        state: Text,
        /// Pointer of the effect in the definition.
        pointer: Text,
        /// Runs on when the state is left.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        detached: bool,
    },
    /// The owner of a tree was left; it goes on only to clean up, or because it is detached.
    TreeOrphaned {
        /// Tree.
        tree: Seq,
    },
    /// Somebody has the instance run an effect outside of its states: its tree starts here.
    EffectRequested(Box<Asked>),
    /// Somebody calls off an effect that was asked for.
    EffectCancelRequested {
        /// Tree: `seq` of its `effect_requested`.
        tree: Seq,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Text>,
    },
    /// A node is open. For calls: input evaluated, ready to start.
    EffectScheduled {
        /// Tree: `seq` of its `tree_started` or `effect_requested`.
        tree: Seq,
        /// Node.
        path: Text,
        /// Kind of the effect; named `effect` because `kind` is the record's.
        effect: Text,
        /// Evaluated parameters.
        #[serde(default, skip_serializing_if = "Value::is_null")]
        input: Value,
        /// Idempotency key of a call.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<Text>,
    },
    /// An attempt begins.
    EffectStarted {
        /// Tree.
        tree: Seq,
        /// Node.
        path: Text,
        /// From 1.
        attempt: u32,
    },
    /// An attempt failed and another will follow at `next_due`.
    EffectAttemptFailed {
        /// Tree.
        tree: Seq,
        /// Node.
        path: Text,
        /// From 1.
        attempt: u32,
        /// Why.
        error: EffectError,
        /// When the next begins.
        next_due: Timestamp,
    },
    /// A node succeeded.
    EffectCompleted {
        /// Tree.
        tree: Seq,
        /// Node.
        path: Text,
        /// Its value.
        #[serde(default, skip_serializing_if = "Value::is_null")]
        value: Value,
    },
    /// A node was not run because its `when` was false.
    EffectSkipped {
        /// Tree.
        tree: Seq,
        /// Node.
        path: Text,
    },
    /// A node failed.
    EffectFailed {
        /// Tree.
        tree: Seq,
        /// Node.
        path: Text,
        /// Why.
        error: EffectError,
    },
    /// A node was called off.
    EffectCancelled {
        /// Tree.
        tree: Seq,
        /// Node.
        path: Text,
        /// Why, in a word: `timeout`, `state_left`, `lost_race`, `sibling_failed`, `cancelled`.
        reason: Text,
    },
    /// An attempt was started and nobody knows how it ended.
    EffectUnknown {
        /// Tree.
        tree: Seq,
        /// Node.
        path: Text,
        /// From 1.
        attempt: u32,
        /// `retry`, `ask` or `fail`.
        policy: Text,
    },
    /// An outcome came after the node was over; kept for the record only.
    EffectLate {
        /// Tree.
        tree: Seq,
        /// Node.
        path: Text,
        /// From 1.
        attempt: u32,
        /// `completed` or `failed`.
        outcome: Text,
    },
    /// An attempt that is about to begin may cost this much.
    BudgetReserved(Box<BudgetReserved>),
    /// An attempt ended and cost this much; what else was reserved for it is free again.
    BudgetSettled {
        /// Tree.
        tree: Seq,
        /// Node.
        path: Text,
        /// Cost.
        cost: Amounts,
        /// What a model has done for it; absent where none was asked, and in records from before
        /// it was kept.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<Box<ModelUse>>,
    },
    /// An attempt was not begun because a budget has not enough left for it.
    BudgetExceeded(Box<BudgetExceeded>),
    /// A person grants the limits of a budget once more.
    BudgetGranted {
        /// Whose budget.
        of: BudgetScope,
    },
    /// A child is started by a node; it is asked for right after this is durable.
    ChildStarted {
        /// Tree.
        tree: Seq,
        /// Node.
        path: Text,
        /// The child.
        child: InstanceId,
        /// What it runs.
        workflow: Text,
        /// What the end of this instance means for it.
        parent_close: ParentClose,
    },
    /// A child is no longer wanted and is told so.
    ChildClosing {
        /// The child.
        child: InstanceId,
    },
    /// A child ended, or could not be started.
    ChildFinished {
        /// The child.
        child: InstanceId,
        /// How.
        status: Status,
        /// Why it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<EffectError>,
    },
    /// A loop begins its next round; what the former round left is dropped.
    LoopAdvanced {
        /// Tree.
        tree: Seq,
        /// The loop.
        path: Text,
        /// Rounds begun, from 1.
        iteration: u32,
        /// Value of the former round.
        #[serde(default, skip_serializing_if = "Value::is_null")]
        value: Value,
    },
    /// A node begins to undo what its children did.
    CompensationStarted {
        /// Tree.
        tree: Seq,
        /// The saga, `with_compensation`, or root of the tree.
        path: Text,
        /// Why; absent when it was cancelled.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<EffectError>,
    },
    /// Everything was undone.
    CompensationCompleted {
        /// Tree.
        tree: Seq,
        /// Node.
        path: Text,
    },
    /// Something could not be undone.
    CompensationFailed {
        /// Tree.
        tree: Seq,
        /// Node.
        path: Text,
        /// Why.
        error: EffectError,
    },
    /// A `wait_signal` that collects several events got one of them.
    SignalReceived {
        /// Tree.
        tree: Seq,
        /// Node.
        path: Text,
        /// Payload.
        #[serde(default, skip_serializing_if = "Value::is_null")]
        data: Value,
    },
    /// A task waits for people; what it asks is the input of its node.
    TaskCreated {
        /// Tree.
        tree: Seq,
        /// Node.
        path: Text,
    },
    /// Somebody took a task.
    TaskClaimed {
        /// Tree.
        tree: Seq,
        /// Node.
        path: Text,
        /// Who, as `kind:id`.
        by: Text,
    },
    /// A task was given back.
    TaskReleased {
        /// Tree.
        tree: Seq,
        /// Node.
        path: Text,
    },
    /// A task was handed to somebody, who has claimed it from then on.
    TaskDelegated {
        /// Tree.
        tree: Seq,
        /// Node.
        path: Text,
        /// To whom, as `user:ID`.
        to: Text,
        /// Who, as `kind:id`.
        by: Text,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        comment: Option<Text>,
    },
    /// Somebody said something to a task.
    TaskCommented {
        /// Tree.
        tree: Seq,
        /// Node.
        path: Text,
        /// What was said, by whom and when: `{text, by, at}`.
        comment: Value,
    },
    /// Somebody answered a task.
    TaskDecided {
        /// Tree.
        tree: Seq,
        /// Node.
        path: Text,
        /// The answer with who gave it and when: `{outcome, form, by, at, comment}`.
        decision: Value,
    },
    /// People who have not answered a task were told of it again.
    TaskReminded {
        /// Tree.
        tree: Seq,
        /// Node.
        path: Text,
        /// Which reminder of the task, from 1.
        number: u32,
    },
    /// Nobody answered a task for a while, so more people are asked.
    TaskEscalated {
        /// Tree.
        tree: Seq,
        /// Node.
        path: Text,
        /// Who is asked besides, as in `assignees`.
        to: Value,
    },
    /// Nobody answered a task in time.
    TaskExpired {
        /// Tree.
        tree: Seq,
        /// Node.
        path: Text,
    },
    /// An event for subscribers.
    Emitted {
        /// Name.
        event: Text,
        /// Payload.
        #[serde(default, skip_serializing_if = "Value::is_null")]
        data: Value,
        /// Subject.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subject: Option<Text>,
    },
    /// A person must decide.
    IncidentOpened {
        /// Kind of incident, such as `unknown_outcome`.
        incident: Text,
        /// Tree, when an effect is concerned.
        #[serde(default, skip_serializing_if = "is_zero")]
        tree: Seq,
        /// Node.
        #[serde(default, skip_serializing_if = "str::is_empty")]
        path: Text,
        /// What happened.
        message: Text,
        /// Error behind it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<EffectError>,
        /// What could not be taken.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        held: Option<Box<Held>>,
    },
    /// Somebody, or nobody in particular, looks after an incident from now on.
    IncidentAssigned {
        /// Number of the record that opened it.
        incident: Seq,
        /// Who.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<Text>,
    },
    /// A person decided, or the question is gone.
    IncidentResolved {
        /// Kind of incident.
        incident: Text,
        /// Tree.
        #[serde(default, skip_serializing_if = "is_zero")]
        tree: Seq,
        /// Node.
        #[serde(default, skip_serializing_if = "str::is_empty")]
        path: Text,
        /// What was decided: `happened`, `skip`, `retry` or `fail`; `cancelled` when nothing is
        /// left to decide.
        resolution: Text,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Text>,
    },
    /// No new steps and no new attempts until it is resumed.
    Paused {
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Text>,
    },
    /// A paused instance goes on.
    Resumed {
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Text>,
    },
    /// An attempt of a paused instance ended; that is kept and taken when the instance goes on.
    InputHeld {
        /// What happened.
        held: Held,
    },
    /// The oldest input that was kept is taken now.
    InputReleased,
    /// An operator changed the data.
    DataEdited {
        /// RFC 6902 patch.
        patch: Vec<PatchOp>,
        /// Why.
        reason: Text,
    },
    /// An operator puts the instance into other states; the transition follows.
    Moved {
        /// The states that were named.
        to: Vec<Text>,
        /// Why.
        reason: Text,
    },
    /// An operator changed the tags.
    Tagged {
        /// Tags that it did not have.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        add: BTreeSet<Text>,
        /// Tags that it had.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        remove: BTreeSet<Text>,
    },
    /// The instance goes on with another version.
    Upgraded(Box<Upgraded>),
    /// The instance goes on from the history of another one, of which the records before this one
    /// are a copy.
    Forked(Box<Forked>),
    /// An attempt is not made: it gives what the original of a fork was told.
    EffectRecalled {
        /// Tree.
        tree: Seq,
        /// Node.
        path: Text,
        /// From 1.
        attempt: u32,
        /// Record of the original.
        from: Seq,
    },
    /// An instance that failed goes on where it failed.
    Retried(Box<Retried>),
    /// The end was asked for.
    CancelRequested {
        /// Skips exit actions and compensation.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        terminate: bool,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Text>,
    },
    /// A final state is reached; cleanup may still run.
    Completing {
        /// Status to come.
        status: Status,
        /// Output to come.
        #[serde(default, skip_serializing_if = "Value::is_null")]
        output: Value,
        /// Error to come.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<EffectError>,
    },
    /// The instance ended.
    Finished {
        /// How.
        status: Status,
        /// Output.
        #[serde(default, skip_serializing_if = "Value::is_null")]
        output: Value,
        /// Error.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<EffectError>,
    },
    /// A versioned document of the tenant, such as a definition; its stream has no instance.
    DocumentPut {
        /// Kind of document.
        document: Text,
        /// Its id inside the kind.
        id: Text,
        /// The document.
        body: Value,
    },
}

fn is_zero(seq: &Seq) -> bool {
    *seq == 0
}

impl Body {
    /// Returns the event that an instance took or emitted with this.
    pub fn heard(&self) -> Option<&Text> {
        match self {
            Body::EventReceived { event, .. } | Body::Emitted { event, .. } => Some(event),
            _ => None,
        }
    }

    /// Returns the node of an effect tree that the record is about: tree and path.
    pub fn node(&self) -> Option<(Seq, &Text)> {
        match self {
            Body::EffectScheduled { tree, path, .. }
            | Body::EffectStarted { tree, path, .. }
            | Body::EffectRecalled { tree, path, .. }
            | Body::EffectAttemptFailed { tree, path, .. }
            | Body::EffectCompleted { tree, path, .. }
            | Body::EffectSkipped { tree, path }
            | Body::EffectFailed { tree, path, .. }
            | Body::EffectCancelled { tree, path, .. }
            | Body::EffectUnknown { tree, path, .. }
            | Body::EffectLate { tree, path, .. }
            | Body::ChildStarted { tree, path, .. }
            | Body::LoopAdvanced { tree, path, .. }
            | Body::CompensationStarted { tree, path, .. }
            | Body::CompensationCompleted { tree, path }
            | Body::CompensationFailed { tree, path, .. }
            | Body::SignalReceived { tree, path, .. }
            | Body::TaskCreated { tree, path }
            | Body::TaskClaimed { tree, path, .. }
            | Body::TaskReleased { tree, path }
            | Body::TaskDelegated { tree, path, .. }
            | Body::TaskCommented { tree, path, .. }
            | Body::TaskDecided { tree, path, .. }
            | Body::TaskReminded { tree, path, .. }
            | Body::TaskEscalated { tree, path, .. }
            | Body::BudgetSettled { tree, path, .. }
            | Body::TaskExpired { tree, path } => Some((*tree, path)),
            Body::BudgetReserved(it) => Some((it.tree, &it.path)),
            Body::BudgetExceeded(it) => Some((it.tree, &it.path)),
            _ => None,
        }
    }

    /// Returns how the node that it is about stands after it; none when it stands as before.
    ///
    /// What changes a state, lists of effects and channels all take the word from here.
    pub fn becomes(&self) -> Option<NodeStatus> {
        Some(match self {
            Body::EffectScheduled { .. } | Body::LoopAdvanced { .. } => NodeStatus::Scheduled,
            Body::EffectStarted { .. } | Body::EffectRecalled { .. } => NodeStatus::Started,
            Body::EffectAttemptFailed { .. } => NodeStatus::Waiting,
            Body::EffectUnknown { policy, .. } if &**policy == "ask" => NodeStatus::Unknown,
            // It is made again, or fails by the next record.
            Body::EffectUnknown { .. } => NodeStatus::Scheduled,
            Body::EffectCompleted { .. } => NodeStatus::Completed,
            Body::EffectSkipped { .. } => NodeStatus::Skipped,
            Body::EffectFailed { .. } => NodeStatus::Failed,
            Body::EffectCancelled { .. } => NodeStatus::Cancelled,
            Body::CompensationStarted { error: Some(_), .. } => NodeStatus::Compensating,
            Body::CompensationStarted { .. } => NodeStatus::Cancelling,
            _ => return None,
        })
    }

    /// Returns the word under the JSON key `kind`.
    pub fn kind(&self) -> &'static str {
        match self {
            Body::Created { .. } => "created",
            Body::EventReceived { .. } => "event_received",
            Body::EventIgnored { .. } => "event_ignored",
            Body::EventDeferred { .. } => "event_deferred",
            Body::EventRecalled { .. } => "event_recalled",
            Body::Transition { .. } => "transition",
            Body::DataChanged { .. } => "data_changed",
            Body::Logged { .. } => "logged",
            Body::Warning { .. } => "warning",
            Body::TimerScheduled { .. } => "timer_scheduled",
            Body::TimerFired { .. } => "timer_fired",
            Body::TimerCancelled { .. } => "timer_cancelled",
            Body::TreeStarted { .. } => "tree_started",
            Body::TreeOrphaned { .. } => "tree_orphaned",
            Body::EffectRequested(_) => "effect_requested",
            Body::EffectCancelRequested { .. } => "effect_cancel_requested",
            Body::EffectScheduled { .. } => "effect_scheduled",
            Body::EffectStarted { .. } => "effect_started",
            Body::EffectAttemptFailed { .. } => "effect_attempt_failed",
            Body::EffectCompleted { .. } => "effect_completed",
            Body::EffectSkipped { .. } => "effect_skipped",
            Body::EffectFailed { .. } => "effect_failed",
            Body::EffectCancelled { .. } => "effect_cancelled",
            Body::EffectUnknown { .. } => "effect_unknown",
            Body::EffectLate { .. } => "effect_late",
            Body::BudgetReserved(_) => "budget_reserved",
            Body::BudgetSettled { .. } => "budget_settled",
            Body::BudgetExceeded(_) => "budget_exceeded",
            Body::BudgetGranted { .. } => "budget_granted",
            Body::ChildStarted { .. } => "child_started",
            Body::ChildClosing { .. } => "child_closing",
            Body::ChildFinished { .. } => "child_finished",
            Body::LoopAdvanced { .. } => "loop_advanced",
            Body::CompensationStarted { .. } => "compensation_started",
            Body::CompensationCompleted { .. } => "compensation_completed",
            Body::CompensationFailed { .. } => "compensation_failed",
            Body::Emitted { .. } => "emitted",
            Body::SignalReceived { .. } => "signal_received",
            Body::TaskCreated { .. } => "task_created",
            Body::TaskClaimed { .. } => "task_claimed",
            Body::TaskReleased { .. } => "task_released",
            Body::TaskDelegated { .. } => "task_delegated",
            Body::TaskCommented { .. } => "task_commented",
            Body::TaskDecided { .. } => "task_decided",
            Body::TaskReminded { .. } => "task_reminded",
            Body::TaskEscalated { .. } => "task_escalated",
            Body::TaskExpired { .. } => "task_expired",
            Body::Paused { .. } => "paused",
            Body::Resumed { .. } => "resumed",
            Body::InputHeld { .. } => "input_held",
            Body::InputReleased => "input_released",
            Body::DataEdited { .. } => "data_edited",
            Body::Moved { .. } => "moved",
            Body::Tagged { .. } => "tagged",
            Body::Upgraded(_) => "upgraded",
            Body::Forked(_) => "forked",
            Body::EffectRecalled { .. } => "effect_recalled",
            Body::Retried(_) => "retried",
            Body::IncidentOpened { .. } => "incident_opened",
            Body::IncidentAssigned { .. } => "incident_assigned",
            Body::IncidentResolved { .. } => "incident_resolved",
            Body::CancelRequested { .. } => "cancel_requested",
            Body::Completing { .. } => "completing",
            Body::Finished { .. } => "finished",
            Body::DocumentPut { .. } => "document_put",
        }
    }
}

/// Where an event came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventSource {
    /// A caller.
    External,
    /// The workflow itself.
    Internal,
}
