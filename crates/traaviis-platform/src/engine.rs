//! What runs instances, as the platform sees it: a port that the binary fills.
//!
//! Every call takes the [`TenantCtx`] of somebody who has entered the tenant; what they may do to a
//! single instance (who decides a task, what a workflow allows) is decided behind it.

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
pub use traaviis_engine::machine::HookDeed;
use traaviis_model::{
    InstanceId, Seq, Snapshot, Span, TenantCtx, TenantId, Text, Timestamp, Value,
};
use traaviis_ports::Position;
pub use traaviis_ports::index::Row;
pub use traaviis_runtime::{Accepted, Committed, Started, watch::OnStep};

use crate::{
    ask::{Ask, ListFilter},
    error::Error,
    standing_alerts::Condition,
    storage::Stored,
};

/// What became of a document that was looked at.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Findings, in the order of the text.
    pub diagnostics: Vec<Json>,
    /// Whether it can be used.
    pub is_valid: bool,
    /// Name of the workflow, where it could be read.
    pub name: Option<Text>,
    /// Version.
    pub version: Option<Text>,
    /// Hash of the definition.
    pub hash: Option<String>,
    /// What it does, in a sentence.
    pub description: Option<Text>,
    /// The document with its components merged in; none when it cannot be used.
    pub document: Option<Value>,
}

/// An instance that is asked for.
pub struct StartAsk<'a> {
    /// Hash of the definition.
    pub hash: &'a str,
    /// Returns the document of the version, for an engine that does not know the hash.
    pub document: &'a dyn Fn() -> Result<Value, Error>,
    /// Id that the caller has chosen.
    pub id: Option<InstanceId>,
    /// Input.
    pub input: Value,
    /// More tags than the workflow's.
    pub tags: Vec<Text>,
    /// Business key in the place of the one that the workflow computes.
    pub correlation: Option<Text>,
}

/// An event that is sent.
#[derive(Clone, Debug)]
pub struct EventAsk {
    /// Instance.
    pub id: InstanceId,
    /// Name.
    pub event: Text,
    /// Payload.
    pub data: Value,
    /// Deduplication id.
    pub event_id: Option<Text>,
    /// Only while the instance stands at this record.
    pub if_seq: Option<Seq>,
}

/// A page of a list of instances.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Instances, the newest first.
    pub rows: Vec<Row>,
    /// Those of which something is lost, as far as it is known what they are.
    pub damaged: Vec<Json>,
    /// Where the next page begins, unless this is the last.
    pub next: Option<InstanceId>,
}

/// A request that goes out under the egress policy of the installation.
#[derive(Clone, Debug)]
pub struct PostAsk {
    /// Where to.
    pub url: String,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// Body, which is JSON.
    pub body: String,
}

/// Told once what became of something, on a thread of the engine, so it must be short.
pub type Reply<T> = Box<dyn FnOnce(Result<T, Error>) + Send>;

/// Pictures of a workflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Picture {
    /// Text for Mermaid.
    Mermaid,
    /// Text for Graphviz.
    Dot,
    /// A drawing.
    Svg,
}

/// How a part of what runs instances stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComponentStatus {
    /// It works.
    Ok,
    /// It does not do all that it should, and requests are answered.
    Degraded,
    /// Requests cannot be answered.
    Failed,
}

impl ComponentStatus {
    /// Returns the word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            ComponentStatus::Ok => "ok",
            ComponentStatus::Degraded => "degraded",
            ComponentStatus::Failed => "failed",
        }
    }
}

/// A part of what runs instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// Its name.
    pub name: &'static str,
    /// How it stands.
    pub status: ComponentStatus,
    /// Why, for operators.
    pub why: Option<String>,
}

impl Component {
    /// Returns a part that works.
    pub fn ok(name: &'static str) -> Component {
        Component { name, status: ComponentStatus::Ok, why: None }
    }

    /// Returns a part that does not do all that it should.
    pub fn degraded(name: &'static str, why: impl Into<String>) -> Component {
        Component { name, status: ComponentStatus::Degraded, why: Some(why.into()) }
    }

    /// Returns a part without which nothing can be answered.
    pub fn failed(name: &'static str, why: impl Into<String>) -> Component {
        Component { name, status: ComponentStatus::Failed, why: Some(why.into()) }
    }
}

/// Something to find out about documents; nothing is done and nobody is called.
#[derive(Clone)]
pub enum Study<'a> {
    /// What two documents do differently.
    Diff {
        /// Before.
        old: &'a Value,
        /// After.
        new: &'a Value,
    },
    /// What an instance would do on a virtual clock; calls are not answered.
    Simulate {
        /// The text of the document.
        text: &'a str,
        /// Start input.
        input: Value,
        /// What happens, in order.
        steps: Vec<SimulatedStep>,
    },
    /// What the test cases of a document come to.
    Test {
        /// The text of the document.
        text: &'a str,
    },
    /// What a document of another language says in ours.
    Import {
        /// The text.
        text: &'a str,
    },
    /// The states of a published document, and the events that it takes.
    Outline {
        /// Hash of the definition.
        hash: &'a str,
        /// Returns the document, for an engine that does not know the hash.
        document: &'a dyn Fn() -> Result<Value, Error>,
    },
    /// A document with a merge patch (RFC 7396), written the way that it was; keys keep their
    /// order, comments do not stay.
    Merge {
        /// The text of the document.
        text: &'a str,
        /// The patch.
        patch: &'a Json,
    },
    /// A document in another form.
    Export {
        /// The text of the document.
        text: &'a str,
        /// Which form.
        form: ExportForm,
    },
    /// Code for programs that use a published document.
    Code {
        /// The document.
        document: &'a Value,
        /// Its text.
        text: &'a str,
        /// In which language.
        lang: CodeIn,
    },
}

/// Languages of code for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeIn {
    /// Rust.
    Rust,
    /// TypeScript.
    TypeScript,
    /// Python.
    Python,
    /// None: the document as YAML.
    Yaml,
}

/// Something that happens to a simulated instance.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", untagged, deny_unknown_fields)]
pub enum SimulatedStep {
    /// An event.
    Event {
        /// Name.
        event: Text,
        /// Payload.
        #[serde(default)]
        data: Value,
    },
    /// Time passes.
    Advance {
        /// How much.
        advance: Span,
    },
}

/// Forms that a document is exported in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportForm {
    /// YAML.
    Yaml,
    /// JSON.
    Json,
}

/// A message that has arrived at a hook of a published version.
#[derive(Clone, Debug)]
pub struct Knock<'a> {
    /// Name of the hook.
    pub name: &'a str,
    /// Id of the message.
    pub id: Option<Text>,
    /// Body.
    pub data: Value,
    /// When.
    pub at: Timestamp,
}

/// A part of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPart {
    /// Positions of its records.
    pub within: Range<Position>,
    /// What changes when some of them are dropped; none while more are written to it.
    pub mark: Option<u64>,
}

/// What runs instances.
pub trait Engine: Send + Sync {
    /// Returns what holds or does not beside how the parts stand; alerts are raised while it holds.
    fn conditions(&self) -> Vec<Condition> {
        Vec::new()
    }

    /// Says how its parts stand.
    fn components(&self) -> Vec<Component> {
        Vec::new()
    }

    /// Returns the parts that the log consists of, the oldest first; the last is the one that is
    /// written.
    fn log_parts(&self) -> Result<Vec<LogPart>, Error> {
        Ok(Vec::new())
    }

    /// Counts the lines of a part of the log, with how many bytes each has in it.
    fn weigh_log(
        &self,
        _within: Range<Position>,
        _add: &mut dyn FnMut(TenantId, u64),
    ) -> Result<(), Error> {
        Ok(())
    }

    /// Returns the tenants of whom files came or went since this was called last.
    fn take_changed_files(&self) -> BTreeSet<TenantId> {
        BTreeSet::new()
    }

    /// Returns how many bytes the files have that are a tenant's alone.
    fn weigh_files(&self, _ctx: &TenantCtx) -> Result<Stored, Error> {
        Ok(Stored::default())
    }

    /// Says since when the oldest work of a tenant waits that could be done now: a timer that is
    /// due, or a call for which no slot is free.
    fn oldest_work(&self, ctx: &TenantCtx) -> Result<Option<Timestamp>, Error> {
        let _ = ctx;
        Ok(None)
    }

    /// Looks at a document, YAML or JSON.
    fn check(&self, ctx: &TenantCtx, text: &str) -> Checked;

    /// Finds something out about documents.
    fn study(&self, ctx: &TenantCtx, study: Study<'_>) -> Result<Json, Error>;

    /// Draws a document.
    fn draw(&self, ctx: &TenantCtx, document: &Value, picture: Picture) -> Result<String, Error>;

    /// Says what a message to a hook of a definition asks for, and does nothing.
    fn hook(
        &self,
        hash: &str,
        document: &dyn Fn() -> Result<Value, Error>,
        knock: Knock<'_>,
    ) -> Result<HookDeed, Error> {
        let _ = (hash, document, knock);
        Err(Error::new("feature_unavailable", "this server takes nothing by hooks"))
    }

    /// Starts an instance; it is durable when this returns.
    fn start(&self, ctx: &TenantCtx, start: StartAsk<'_>) -> Result<Json, Error>;

    /// Starts an instance of a workflow of the catalogue with an id; the same again starts nothing
    /// more. It is durable when this returns.
    fn start_built_in(
        &self,
        ctx: &TenantCtx,
        name: &str,
        id: InstanceId,
        input: Value,
    ) -> Result<Json, Error>;

    /// Sends a request out and returns at once; `reply` is told the status of the answer, or why
    /// there is none.
    fn post(&self, ctx: &TenantCtx, post: PostAsk, reply: Reply<u16>);

    /// Says whether a start needs nothing of a definition any more, so that it can be decided
    /// without waiting for anything.
    fn knows(&self, hash: &str) -> bool;

    /// Says whether a definition that it [`Engine::knows`] has a state, by its path; nothing when
    /// it does not know the definition.
    fn has_state(&self, hash: &str, path: &str) -> Option<bool>;

    /// Starts an instance of a definition that it [`Engine::knows`], which has no id yet, and
    /// returns at once; `reply` is told once it is durable.
    fn start_then(&self, ctx: &TenantCtx, start: StartAsk<'_>, reply: Reply<Started>);

    /// Sends an event and returns at once; `reply` is told once the step is durable.
    fn send_then(&self, ctx: &TenantCtx, event: EventAsk, reply: Reply<Accepted>);

    /// Tells the state of an open instance, without waiting for a disk. Of one that has ended, that
    /// is damaged or that is not there `reply` is told nothing: ask [`Ask::Show`].
    fn find_then(&self, ctx: &TenantCtx, id: InstanceId, reply: Reply<Option<Arc<Snapshot>>>);

    /// Tells somebody every step of every tenant from now on.
    fn listen(&self, on_step: OnStep);

    /// Destroys everything that it keeps of a tenant: ends what is open, destroys keys and secrets,
    /// and from then on lets nothing of its histories rest longer than it takes to drop them. What
    /// is done already is no error, so it can be repeated.
    fn destroy(&self, ctx: &TenantCtx) -> Result<(), Error>;

    /// Lets go of an instance that has ended: its history stays no longer than it takes to drop it.
    /// Says whether something of it is left. A process that begins anew must be told again.
    fn discard(&self, ctx: &TenantCtx, id: InstanceId) -> Result<bool, Error> {
        let _ = (ctx, id);
        Ok(false)
    }

    /// Lists instances, ended ones too with `all`; nothing that was deleted is left out.
    fn list(&self, ctx: &TenantCtx, all: bool, filter: &ListFilter) -> Result<Listing, Error> {
        let _ = (ctx, all, filter);
        Err(Error::new("feature_unavailable", "this server lists no instances"))
    }

    /// Answers a question; a change is durable when this returns.
    fn ask(&self, ctx: &TenantCtx, ask: Ask) -> Result<Json, Error>;
}
