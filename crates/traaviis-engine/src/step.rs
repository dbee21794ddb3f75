//! One step: an input is decided completely, and becomes records that are committed at once.

use std::sync::Arc;

use traaviis_model::{
    Actor, Call, CallId, DeliveryClass, EffectError, InstanceId, Record, Seq, Snapshot, TenantCtx,
    Text, Timestamp, Value,
    privacy::RedactionKey,
    record::{self, Ending, Forked, Lineage, Operation, Retried},
};

use crate::{gates::Left, machine::Machine};

/// What can happen to an instance.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A caller sends an event.
    Event {
        /// Name.
        event: Text,
        /// Payload.
        data: Value,
        /// Deduplication id.
        id: Option<Text>,
    },
    /// An event of another instance that this one subscribes to. It is always recorded: taken,
    /// kept, or refused.
    Delivered {
        /// Name.
        event: Text,
        /// Payload.
        data: Value,
        /// The emission, as `INSTANCE:SEQ`.
        id: Text,
        /// Why it cannot be taken, when that is known already.
        refused: Option<Box<EffectError>>,
    },
    /// A timer is due. Ignored when it is gone.
    Timer {
        /// Timer.
        timer: Text,
    },
    /// A slot is free for a call that waits to start. Ignored when it does not wait.
    Starting {
        /// Tree.
        tree: Seq,
        /// Node.
        path: Text,
    },
    /// An attempt ended.
    Outcome {
        /// Tree.
        tree: Seq,
        /// Node.
        path: Text,
        /// `seq` of the record that scheduled the node.
        scheduled: Seq,
        /// From 1.
        attempt: u32,
        /// Value or error.
        outcome: Result<Value, EffectError>,
    },
    /// After a crash: the attempt was started and has no outcome.
    Unknown {
        /// Tree.
        tree: Seq,
        /// Node.
        path: Text,
        /// What may be promised about it.
        class: DeliveryClass,
    },
    /// Another instance ended: a child, or the parent. Ignored when it is neither.
    Ended {
        /// Which.
        instance: InstanceId,
        /// How.
        ending: Ending,
    },
    /// Goes on with work that did not fit the last step.
    Continue,
    /// The end is asked for.
    Cancel {
        /// Skips exit actions and compensation.
        terminate: bool,
        /// Why.
        reason: Option<Text>,
    },
    /// A person decides an unknown outcome.
    Resolve {
        /// Tree.
        tree: Seq,
        /// Node.
        path: Text,
        /// The decision.
        resolution: Resolution,
        /// Why.
        reason: Option<Text>,
    },
    /// An instance that failed goes on; only one that has ended takes it.
    Reopen(Box<Retried>),
    /// A fork parts from its original.
    Fork(Box<Forked>),
    /// An operator does something by hand.
    Operate(Operation),
}

/// A person's decision about an attempt whose outcome nobody recorded.
#[derive(Clone, Debug, PartialEq)]
pub enum Resolution {
    /// It happened, and gave this value.
    Happened(Value),
    /// It is left out; go on with this value.
    Skip(Value),
    /// It did not; try again.
    Retry,
    /// Treat it as failed.
    Fail,
}

/// What a step may know besides the state.
#[derive(Clone, Debug)]
pub struct StepContext {
    /// Commit time of the step; the step uses the later of this and the former step's.
    pub now: Timestamp,
    /// How many calls may begin in this step without waiting for a slot.
    pub start_slots: u32,
    /// Who caused it.
    pub actor: Actor,
    /// Record that caused it, when it was another instance's.
    pub causation: Option<Text>,
    /// Request or root that it belongs to, when whoever caused it says so; else the step belongs to
    /// that of the tree or the instance that it is about.
    pub correlation: Option<Text>,
    /// From where it came, when somebody outside caused it through an interface.
    pub origin: Option<Box<record::Origin>>,
    /// The input is read off records: it was checked and redacted when it was taken.
    pub is_recorded: bool,
    /// What digests and tokens of the tenant are made with. A machine that needs it says so
    /// ([`Machine::needs_key`]); without it personal data is masked.
    pub key: Option<RedactionKey>,
}

impl StepContext {
    /// Returns what a step knows in which no call may begin, that nothing but its input caused.
    pub fn new(now: Timestamp, actor: Actor) -> StepContext {
        let (causation, correlation, origin) = (None, None, None);
        let (start_slots, is_recorded, key) = (0, false, None);
        StepContext { now, start_slots, actor, causation, correlation, origin, is_recorded, key }
    }
}

/// What an instance is born with besides its input.
#[derive(Clone, Debug, Default)]
pub struct Birth {
    /// Its parent, when another instance starts it.
    pub lineage: Option<Box<Lineage>>,
    /// Business key; none means that the workflow computes it.
    pub correlation: Option<Text>,
    /// Tags and labels; none means those of the workflow.
    pub marks: Option<Marks>,
    /// Who started it, as `kind:id`; none means whoever acts.
    pub created_by: Option<Text>,
    /// The input was checked and redacted already: this start was decided before, and not kept.
    pub is_taken: bool,
    /// The person whom it is about, unless its workflow says who that is.
    pub subject: Option<Text>,
}

/// What a step decided.
#[derive(Clone, Debug)]
pub struct Step {
    /// Records, committed together.
    pub records: Vec<Record>,
    /// State after them.
    pub snapshot: Arc<Snapshot>,
    /// What to do after the commit.
    pub requests: Vec<Request>,
}

/// What the runtime does after the commit.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Begin an attempt; its `effect_started` is in the records.
    Perform(Call),
    /// A body that a gate let in has ended.
    Leave {
        /// The ask that was let in.
        call: CallId,
        /// Its parameters.
        input: Value,
        /// How the body ended.
        left: Left,
    },
    /// A call waits for a slot: feed `Input::Starting` when there is one.
    Queue {
        /// Tree.
        tree: Seq,
        /// Node.
        path: Text,
    },
    /// Give up an attempt.
    Abandon(CallId),
    /// Tell a child that it is no longer wanted.
    Close(InstanceId),
    /// Feed `Input::Continue`.
    Continue,
}

/// Why an input was not taken. Nothing is recorded.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    /// Stable code such as `unknown_event`.
    pub code: &'static str,
    /// For the caller.
    pub message: String,
    /// Facts, such as the events accepted now.
    pub details: Value,
}

mod actions;
mod asked;
mod env;
mod fork;
mod incident;
mod input;
mod microstep;
mod operate;
mod recover;
mod reopen;
mod run;
mod select;
mod tags;

pub(crate) use actions::{put_op, text_of};
pub(crate) use env::{ItemEnv, StepEnv};
pub use fork::{Branch, Fork, plan_fork};
pub(crate) use incident::input_of;
pub(crate) use input::{check_payload, too_large};
pub use recover::{Recovery, recover};
pub use reopen::{Retry, plan_retry};
pub(crate) use run::{InternalEvent, Origin, Run};
pub(crate) use select::Candidates;
pub use tags::Marks;

/// Is told how each guard of a candidate came out; one that cannot be evaluated counts as false.
///
/// Also of steps that are refused, which leave no records. Watching decides nothing.
pub trait GuardWatch {
    /// The guard of the candidate at this pointer was evaluated.
    fn guard(&self, candidate: &Text, is_true: bool);
}

impl Rejection {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Rejection {
        Rejection { code, message: message.into(), details: Value::Null }
    }

    pub(crate) fn with(mut self, details: Value) -> Rejection {
        self.details = details;
        self
    }
}

/// Creates an instance: checks the input and takes the first macrostep.
pub fn start(
    machine: &Machine,
    ctx: &TenantCtx,
    id: InstanceId,
    input: Value,
    context: &StepContext,
) -> Result<Step, Rejection> {
    input::start(machine, ctx, id, input, Birth::default(), context, None)
}

/// As [`start`], for an instance that is born with more than its input.
pub fn start_born(
    machine: &Machine,
    ctx: &TenantCtx,
    id: InstanceId,
    input: Value,
    birth: Birth,
    context: &StepContext,
) -> Result<Step, Rejection> {
    input::start(machine, ctx, id, input, birth, context, None)
}

/// As [`start`], for somebody who watches the guards.
pub fn start_watched(
    machine: &Machine,
    ctx: &TenantCtx,
    id: InstanceId,
    input: Value,
    context: &StepContext,
    watch: &dyn GuardWatch,
) -> Result<Step, Rejection> {
    input::start(machine, ctx, id, input, Birth::default(), context, Some(watch))
}

/// Decides one input. No records means that the input changes nothing.
pub fn step(
    machine: &Machine,
    snapshot: &Snapshot,
    input: Input,
    context: &StepContext,
) -> Result<Step, Rejection> {
    input::step(machine, snapshot, input, context, None)
}

/// As [`step`], for somebody who watches the guards.
pub fn step_watched(
    machine: &Machine,
    snapshot: &Snapshot,
    input: Input,
    context: &StepContext,
    watch: &dyn GuardWatch,
) -> Result<Step, Rejection> {
    input::step(machine, snapshot, input, context, Some(watch))
}

/// Opens an incident for an input of the instance's own whose records the log refuses.
pub fn hold(
    machine: &Machine,
    snapshot: &Snapshot,
    input: &Input,
    why: &str,
    context: &StepContext,
) -> Result<Step, Rejection> {
    let why = Rejection::new("append_refused", why);
    match incident::held_of(&input::redacted(machine, snapshot, input.clone(), context)) {
        Some(held) => input::hold(machine, snapshot, held, why, context),
        None => Err(why),
    }
}

/// Returns the start input as it would be taken: with the schema's defaults, and redacted; or why
/// it does not fit.
pub fn checked_input(
    machine: &Machine,
    input: Value,
    key: Option<&RedactionKey>,
) -> Result<Value, Rejection> {
    input::checked_input(machine, input, key)
}

/// Returns the business key of a checked start input.
pub fn correlation_key(machine: &Machine, input: &Value) -> Result<Option<Text>, Rejection> {
    input::correlation_key(machine, input)
}
