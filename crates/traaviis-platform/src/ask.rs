//! What can be asked about instances, in one vocabulary for every way in: the control socket, REST
//! and sockets.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};
use traaviis_model::{
    DefinitionHash, InstanceId, Seq, Span, Text, Value,
    record::{Asked, Operation, PatchOp, Results, Status, TaskAct},
};
use traaviis_ports::Position;
pub use traaviis_runtime::{Filter, Until};

use crate::tenant::Payloads;

/// Records of one `history` answer, so that a line stays small.
pub const HISTORY_LIMIT: usize = 500;
/// Instances of one list unless a caller asks for another number: more than a person reads.
pub const LIST_DEFAULT: usize = 1_000;
/// Instances of one list at most, so that an answer fits a line.
pub const LIST_MAX: usize = 10_000;

/// Who asks through the control socket and does not say otherwise may read the files.
fn everything() -> Payloads {
    Payloads::Full
}

/// What can be asked. An id may be any unique prefix or suffix.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Ask {
    /// Returns what instances keep about a person.
    ExportSubject {
        /// The person.
        subject: String,
        /// Business keys and tags by which instances are found that have no key of theirs.
        #[serde(default)]
        names: Vec<String>,
    },
    /// Returns the name of the key of a person, as `key`; refused when there never was one.
    NameSubject {
        /// The person.
        subject: String,
    },
    /// Destroys the key of a person.
    EraseSubject {
        /// The person.
        subject: String,
        /// End what is open.
        terminate: bool,
    },
    /// Say in the log what erasures that were broken off have destroyed.
    FinishErasures,
    /// Lists instances.
    Ps {
        /// Finished ones too.
        all: bool,
        /// Those in the archive instead.
        #[serde(default)]
        archived: bool,
        /// Which of them.
        #[serde(flatten)]
        filter: ListFilter,
    },
    /// Names the instances that a filter takes, the newest first.
    List {
        /// Which ones.
        filter: Filter,
    },
    /// Shows one instance: its snapshot.
    Show {
        /// Instance.
        id: String,
    },
    /// Sends an event and answers when it is durable.
    Send {
        /// Instance.
        id: String,
        /// Name.
        event: String,
        /// Payload.
        data: Value,
        /// Deduplication id.
        #[serde(default)]
        event_id: Option<Text>,
        /// Only while the instance stands at this record.
        #[serde(default)]
        if_seq: Option<Seq>,
        /// Answer only when this has come.
        #[serde(default)]
        wait: Option<Wait>,
    },
    /// Sends an event to every open instance that fits.
    Broadcast {
        /// Name.
        event: Text,
        /// Payload.
        data: Value,
        /// Which ones.
        filter: Filter,
        /// Name of the broadcast, by which receivers know it if it is sent again.
        #[serde(default)]
        key: Option<String>,
    },
    /// Evaluates an expression over the state of an instance.
    Query {
        /// Instance.
        id: String,
        /// The expression.
        select: String,
        /// What the asker sees of the data; the expression reads no more of it.
        #[serde(default = "everything")]
        sees: Payloads,
    },
    /// Counts instances by workflow, status and state.
    Count {
        /// Finished ones too.
        all: bool,
        /// Which of them.
        #[serde(flatten)]
        filter: ListFilter,
    },
    /// Tells how the directory fares as a whole.
    Health,
    /// Decides an unknown outcome.
    Resolve {
        /// Instance, or incident.
        id: String,
        /// Node, as the incident names it; needed when `id` is an instance with several.
        #[serde(default)]
        path: Option<String>,
        /// The decision.
        decision: Decision,
        /// Why.
        #[serde(default)]
        reason: Option<Text>,
    },
    /// Gives an incident to somebody.
    Assign {
        /// Instance, or incident.
        id: String,
        /// Node, as the incident names it; needed when `id` is an instance with several.
        #[serde(default)]
        path: Option<String>,
        /// To whom; to nobody in particular when it is absent.
        #[serde(default)]
        to: Option<Text>,
    },
    /// Asks for the end.
    Cancel {
        /// Instance.
        id: String,
        /// Skip exit actions and compensation.
        terminate: bool,
        /// Why.
        reason: Option<String>,
    },
    /// Pauses, resumes, edits or moves by hand.
    Operate {
        /// Instance.
        id: String,
        /// What to do.
        operation: Operation,
    },
    /// Takes an instance over to another version.
    Upgrade {
        /// Instance.
        id: String,
        /// Document of the version.
        definition: Value,
    },
    /// Answers every incident with another try; lets an instance that failed go on.
    Retry {
        /// Instance.
        id: String,
        /// Why.
        #[serde(default)]
        reason: Option<Text>,
        /// With other idempotency keys.
        #[serde(default)]
        as_new: bool,
        /// Pause it where it failed.
        #[serde(default)]
        paused: bool,
    },
    /// Leaves an effect out that failed or waits for a person.
    Skip {
        /// Instance.
        id: String,
        /// Node, as the incident or the error names it.
        path: Text,
        /// What it gives.
        value: Value,
        /// Why.
        reason: Text,
    },
    /// Starts a fork.
    Fork {
        /// Original.
        id: String,
        /// What it shall be.
        fork: ForkAsk,
    },
    /// Does something about a task.
    Task {
        /// Instance.
        id: String,
        /// Which one; needed when the instance has several.
        path: Option<String>,
        /// What to do.
        act: TaskAct,
        /// Names of who asks, of which the task must ask one; absent where names are taken on
        /// trust, as on a command line.
        #[serde(default)]
        names: Option<Vec<Text>>,
        /// Whom it is handed to, where that was looked up.
        #[serde(default)]
        taker: Option<Taker>,
    },
    /// Shows an open task.
    ShowTask {
        /// Instance.
        id: String,
        /// Which one; needed when the instance has several.
        path: Option<String>,
    },
    /// Lists open tasks.
    Tasks,
    /// Lists what waits for a person.
    Incidents,
    /// Counts what workflows with the plugin `metrics` did.
    Metrics,
    /// Returns record lines of one instance.
    History {
        /// Instance.
        id: String,
        /// First record.
        from: Seq,
        /// Where the part before ended in the log: its `next`.
        #[serde(default)]
        position: Position,
    },
    /// Returns a definition document.
    Definition {
        /// Which one.
        hash: DefinitionHash,
    },
    /// Shows an instance as it was after a record.
    ReplayTo {
        /// Instance.
        id: String,
        /// The record; the last one when it is absent.
        #[serde(default)]
        until: Option<Seq>,
    },
    /// Lists every effect of an instance, from its history.
    Effects {
        /// Instance.
        id: String,
    },
    /// Shows one effect, from the history of its instance.
    Effect {
        /// Which one: `INSTANCE:SEQ`.
        id: String,
    },
    /// Lists effects of open instances that run, wait or failed.
    OpenEffects {
        /// Which ones.
        filter: EffectFilter,
    },
    /// Shows the effect that was asked for last, up to a record.
    EffectBegun {
        /// Instance.
        id: String,
        /// The record.
        seq: Seq,
    },
    /// Has an instance run an effect outside of its states.
    RunEffect {
        /// Instance.
        id: String,
        /// What to run.
        asked: Box<Asked>,
        /// The tree that the name stands for, unless the document of the instance has it.
        #[serde(default)]
        shared: Option<Text>,
    },
    /// Calls off an effect that somebody asked for.
    CancelEffect {
        /// Instance.
        id: String,
        /// Number of the effect in its instance.
        seq: Seq,
        /// Why.
        #[serde(default)]
        reason: Option<Text>,
    },
    /// Shows the effects that are open, and the children, as trees.
    Trees {
        /// Instance.
        id: String,
    },
    /// Says where an instance is.
    State {
        /// Instance.
        id: String,
    },
    /// Counts what an instance has done and what is open in it.
    Measures {
        /// Instance.
        id: String,
    },
    /// Lists the events that are accepted now, with where each may lead.
    Transitions {
        /// Instance.
        id: String,
    },
    /// Says what an event would do, and does nothing.
    Probe {
        /// Instance.
        id: String,
        /// Name.
        event: Text,
        /// Payload.
        data: Value,
    },
    /// Says of every open instance of a workflow whether it can go on with another version.
    Classify {
        /// Name of the workflow.
        workflow: Text,
        /// Document of the version.
        definition: Value,
    },
    /// Refuses a state that the workflow of an instance does not have.
    NeedsState {
        /// Instance.
        id: String,
        /// Path of the state.
        path: Text,
    },
}

/// For what whoever sends an event waits.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Wait {
    /// For what.
    pub until: Until,
    /// At most so long.
    pub timeout: Span,
}

impl Wait {
    /// Returns the time in the words of the system.
    pub fn timeout(&self) -> Duration {
        Duration::from_micros(self.timeout.0.unsigned_abs())
    }
}

/// Which instances a list shows; everything given must hold.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ListFilter {
    /// Workflow name.
    pub workflow: Option<String>,
    /// Workflow version.
    pub version: Option<String>,
    /// How it stands.
    pub status: Option<Status>,
    /// Active states as one text.
    pub state: Option<String>,
    /// Business key.
    pub correlation: Option<String>,
    /// Request or root that it belongs to, or is.
    pub correlation_id: Option<String>,
    /// Tags that it has, all of them.
    pub tags: BTreeSet<Text>,
    /// How many at most; 0 means `LIST_DEFAULT`.
    pub limit: usize,
    /// Where the page before ended.
    pub cursor: Option<InstanceId>,
}

/// Which effects a list shows; everything given must hold.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EffectFilter {
    /// Instance.
    pub instance: Option<String>,
    /// Kind.
    pub kind: Option<Text>,
    /// How it stands.
    pub status: Option<Text>,
    /// How many at most; 0 means `LIST_DEFAULT`.
    pub limit: usize,
    /// Where the page before ended.
    pub cursor: Option<String>,
}

impl Ask {
    /// Says whether answering may change the instance.
    pub fn is_change(&self) -> bool {
        matches!(
            self,
            Ask::Fork { fork: ForkAsk { dry_run: false, .. }, .. }
                | Ask::Send { .. }
                | Ask::Broadcast { .. }
                | Ask::Resolve { .. }
                | Ask::Assign { .. }
                | Ask::Cancel { .. }
                | Ask::Operate { .. }
                | Ask::Upgrade { .. }
                | Ask::Retry { .. }
                | Ask::Skip { .. }
                | Ask::Task { .. }
                | Ask::RunEffect { .. }
                | Ask::CancelEffect { .. }
                | Ask::EraseSubject { .. }
                | Ask::FinishErasures
        )
    }
}

/// Somebody to whom a task is handed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Taker {
    /// Names by which they are known where tasks are answered.
    pub names: Vec<Text>,
    /// Whether they may operate instances, which a task that names nobody asks.
    pub may_operate: bool,
}

/// A fork on the wire.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ForkAsk {
    /// Last record of the original that counts; none means the last of all.
    pub at: Option<Seq>,
    /// Why.
    pub reason: Option<Text>,
    /// Who answers its calls.
    pub results: Results,
    /// What is changed in the data.
    pub patch: Vec<PatchOp>,
    /// It begins paused.
    pub paused: bool,
    /// Only say what it would be.
    pub dry_run: bool,
}

/// A person's decision on the wire.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It happened and gave this value.
    Happened(Value),
    /// It did not; try again.
    Retry,
    /// Treat it as failed.
    Fail,
}
