//! What goes into an owner and comes out of it.

use std::sync::{Arc, mpsc::Sender};

use traaviis_engine::{Birth, Input, Machine, Resolution};
use traaviis_model::{
    Call, CallId, DefinitionHash, Emission, EventIds, InstanceId, Record, Seq, Snapshot, TenantCtx,
    TenantId, Text, Timestamp, Value,
    record::{Ending, Operation},
};
use traaviis_ports::{Append, Commit, LogError, Outcome, Position};

use super::{
    Accepted, HotStats, Key, Leave, Outgoing, Relation,
    awaiting::{Invoke, Settled},
};
use crate::{
    clock::Jump,
    error::Error,
    recovery::Fault,
    summary::{Filter, Summary},
};

/// Whether each of the instances that were asked for may leave the log, and which they were.
pub type Leaving = (Vec<Leave>, Vec<(Key, Seq)>);

/// Where an answer goes, once.
pub type Reply<T> = Box<dyn FnOnce(Result<T, Error>) + Send>;

/// What can be asked of an owner.
pub enum Message {
    /// A caller starts an instance.
    Start(Start),
    /// A caller takes an instance over to another version.
    Upgrade(Upgrade),
    /// A caller lets an instance begin from a history.
    Reopen(Box<Reopen>),
    /// A caller does something to an instance.
    Command {
        /// Tenant and actor.
        ctx: TenantCtx,
        /// Instance.
        id: InstanceId,
        /// What to do.
        command: Command,
        /// Told after the commit.
        reply: Reply<Accepted>,
    },
    /// Another instance does something to an instance.
    Deliver {
        /// Tenant, and the engine as actor.
        ctx: TenantCtx,
        /// Instance.
        id: InstanceId,
        /// What to do.
        command: Command,
        /// Told after the commit.
        reply: Reply<Accepted>,
    },
    /// Another instance emitted an event that an instance subscribes to.
    Emission {
        /// Tenant.
        tenant: TenantId,
        /// The subscriber.
        to: InstanceId,
        /// What was emitted.
        emission: Arc<Emission>,
    },
    /// A subscriber is done with an emission.
    Heard {
        /// Who emitted it.
        publisher: Key,
        /// With which record.
        seq: Seq,
        /// The subscriber.
        by: InstanceId,
    },
    /// Another instance sends an event and waits for what follows.
    Invoke(Box<Invoke>),
    /// What became of an event for which somebody waits, when no step tells it.
    Settle {
        /// Tenant.
        tenant: TenantId,
        /// Who took the event.
        of: InstanceId,
        /// Who waits.
        call: CallId,
        /// What became of it.
        how: Settled,
    },
    /// An attempt ended.
    Outcome {
        /// Tenant.
        tenant: TenantId,
        /// Attempt.
        call: CallId,
        /// Its value or error.
        outcome: Outcome,
    },
    /// An attempt goes on without its slot.
    Yield {
        /// Tenant.
        tenant: TenantId,
        /// Attempt.
        call: CallId,
    },
    /// An instance wants to know when another one ends.
    Attend {
        /// Tenant.
        ctx: TenantCtx,
        /// Whose end.
        of: InstanceId,
        /// Who is told.
        by: InstanceId,
        /// What `by` is to `of`.
        relation: Relation,
    },
    /// Another instance ended.
    Ended {
        /// Tenant.
        tenant: TenantId,
        /// Who is told.
        to: InstanceId,
        /// Who ended.
        of: InstanceId,
        /// How.
        ending: Ending,
    },
    /// The log tells what became of appends, in order.
    Committed(Vec<(u64, Commit)>),
    /// The wall clock has jumped, and time is about to follow it as far as it does.
    ClockJumped {
        /// The jump.
        jump: Jump,
        /// Stream in which it is recorded.
        stream: InstanceId,
        /// Dropped when time may follow.
        done: Option<Sender<()>>,
    },
    /// The archive wants instances that have ended.
    Retire {
        /// With which record each ended.
        ended: Vec<(Key, Seq)>,
        /// Told at once, what may be done with each.
        reply: Sender<Leaving>,
    },
    /// The archive says what became of them.
    Retired {
        /// They are archived.
        archived: Vec<Key>,
        /// They are not.
        kept: Vec<Key>,
        /// Told when the owner knows.
        reply: Sender<()>,
    },
    /// A caller wants the state.
    Find {
        /// Tenant.
        ctx: TenantCtx,
        /// Instance.
        id: InstanceId,
        /// Told at once.
        reply: Reply<Found>,
    },
    /// A caller wants a list.
    List {
        /// Tenant.
        ctx: TenantCtx,
        /// Which ones.
        filter: Filter,
        /// Told at once.
        reply: Box<dyn FnOnce(Vec<Summary>) + Send>,
    },
    /// A checkpoint wants everything committed.
    Collect(Sender<Collected>),
    /// What the snapshot store was given is there, this large each; or it is not.
    Saved(Option<Vec<(Key, u32)>>),
    /// How much is in memory.
    Memory(Sender<HotStats>),
    /// Since when the oldest work of a tenant waits.
    OldestWork {
        /// Tenant.
        tenant: TenantId,
        /// Told at once.
        reply: Sender<Option<Timestamp>>,
    },
    /// Take nothing new, finish what runs, then answer.
    Drain(Box<dyn FnOnce() + Send>),
}

/// A start of an instance.
pub struct Start {
    /// Tenant and actor.
    pub ctx: TenantCtx,
    /// What it runs.
    pub machine: Arc<Machine>,
    /// Its identity; a second start with the same one and the same input gives the first.
    pub id: InstanceId,
    /// Start input.
    pub input: Value,
    /// What it is born with besides.
    pub birth: Birth,
    /// Told after the commit.
    pub reply: Reply<StartOutcome>,
}

/// An instance that is to go on with another version.
pub struct Upgrade {
    /// Tenant and actor.
    pub ctx: TenantCtx,
    /// Instance.
    pub id: InstanceId,
    /// The version to go on with.
    pub machine: Arc<Machine>,
    /// Told after the commit.
    pub reply: Reply<Accepted>,
}

/// An instance that begins from a history: one that failed goes on, or a fork of another.
pub struct Reopen {
    /// Tenant and actor.
    pub ctx: TenantCtx,
    /// State before its first step from now on.
    pub base: Snapshot,
    /// Records that a fork begins with; none of an instance that goes on.
    pub copied: Vec<Record>,
    /// That step.
    pub input: Input,
    /// Position up to which the history was read.
    pub read_to: Position,
    /// Told after the commit.
    pub reply: Reply<StartOutcome>,
}

/// What a start gave.
#[derive(Clone, Debug)]
pub struct StartOutcome {
    /// The instance was there before; nothing happened now.
    pub existing: bool,
    /// The instance.
    pub found: Found,
}

/// An instance as an owner knows it.
#[derive(Clone, Debug)]
pub enum Found {
    /// Open.
    Open(Arc<Snapshot>),
    /// Ended; the whole state is in the log.
    Ended(Arc<Summary>),
}

/// What a caller may do to an instance.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Sends an event.
    Event {
        /// Name.
        event: Text,
        /// Payload.
        data: Value,
        /// Deduplication id.
        id: Option<Text>,
    },
    /// Asks for the end.
    Cancel {
        /// Skips exit actions and compensation.
        terminate: bool,
        /// Why.
        reason: Option<Text>,
    },
    /// Decides an unknown outcome.
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
    /// Pauses, resumes, edits or moves it by hand.
    Operate(Operation),
    /// Does something only while the instance stands at a record.
    If {
        /// Its last record.
        seq: Seq,
        /// What to do.
        command: Box<Command>,
    },
}

impl Command {
    /// Returns the record at which the instance must stand, and the input.
    pub(crate) fn into_input(self) -> (Option<Seq>, Input) {
        let input = match self {
            Command::If { seq, command } => return (Some(seq), command.into_input().1),
            Command::Event { event, data, id } => Input::Event { event, data, id },
            Command::Cancel { terminate, reason } => Input::Cancel { terminate, reason },
            Command::Resolve { tree, path, resolution, reason } => {
                Input::Resolve { tree, path, resolution, reason }
            }
            Command::Operate(operation) => Input::Operate(operation),
        };
        (None, input)
    }
}

/// A step that is durable.
#[derive(Clone, Debug)]
pub struct Committed {
    /// Position of the log after its records.
    pub position: Position,
    /// Its records.
    pub records: Arc<Vec<Record>>,
    /// State after them.
    pub snapshot: Arc<Snapshot>,
    /// State before them; none when they begin the instance, or go on with one that had ended.
    pub before: Option<Arc<Snapshot>>,
}

/// Everything committed that one owner holds.
#[derive(Debug, Default)]
pub struct Collected {
    /// Open instances with their deduplication ids; beside a snapshot store those that it must
    /// learn.
    pub instances: Vec<(Arc<Snapshot>, Option<Box<EventIds>>)>,
    /// Ended instances that the snapshot store has as open.
    pub ended: Vec<Arc<Summary>>,
    /// Ended instances, oldest first.
    pub finished: Vec<Arc<Summary>>,
    /// Definitions in the log.
    pub definitions: Vec<(TenantId, DefinitionHash, Value)>,
    /// Instances that cannot be worked on.
    pub faults: Vec<Fault>,
    /// Emissions that not all subscribers are done with.
    pub emissions: Vec<Outgoing>,
}

/// Where an owner leaves what must happen outside.
pub trait Outbox {
    /// Offers records to the log; the outcome comes back with `token`.
    fn append(&mut self, ctx: &TenantCtx, append: Append, token: u64);
    /// Begins an attempt.
    fn perform(&mut self, ctx: &TenantCtx, call: Call);
    /// Gives up an attempt.
    fn abandon(&mut self, ctx: &TenantCtx, id: &CallId);
    /// Tells watchers.
    fn publish(&mut self, committed: Committed);
    /// Lets dirty states be put into the snapshot store: memory is short.
    fn save_states(&mut self) {}
    /// The log failed; the process must end.
    fn fatal(&mut self, error: &LogError);
}
