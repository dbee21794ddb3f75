//! What runs instances, as the platform sees it: a port that the binary fills.
//!
//! Every call takes the [`TenantCtx`] of somebody who has entered the tenant; what they may do to a
//! single instance (who decides a task, what a workflow allows) is decided behind it.

use serde_json::Value as Json;
use traaviis_model::{InstanceId, TenantCtx, Text, Value};
pub use traaviis_runtime::{Committed, watch::OnStep};

use crate::{ask::Ask, error::Error};

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
}

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

/// What runs instances.
pub trait Engine: Send + Sync {
    /// Says how its parts stand.
    fn components(&self) -> Vec<Component> {
        Vec::new()
    }

    /// Looks at a document, YAML or JSON.
    fn check(&self, ctx: &TenantCtx, text: &str) -> Checked;

    /// Draws a document.
    fn draw(&self, ctx: &TenantCtx, document: &Value, picture: Picture) -> Result<String, Error>;

    /// Starts an instance; it is durable when this returns.
    fn start(&self, ctx: &TenantCtx, start: StartAsk<'_>) -> Result<Json, Error>;

    /// Tells somebody every step of every tenant from now on.
    fn listen(&self, on_step: OnStep);

    /// Destroys everything that it keeps of a tenant: ends what is open, destroys keys and secrets,
    /// and from then on lets nothing of its histories rest longer than it takes to drop them. What
    /// is done already is no error, so it can be repeated.
    fn destroy(&self, ctx: &TenantCtx) -> Result<(), Error>;

    /// Answers a question; a change is durable when this returns.
    fn ask(&self, ctx: &TenantCtx, ask: Ask) -> Result<Json, Error>;
}
