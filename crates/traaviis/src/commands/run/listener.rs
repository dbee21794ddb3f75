//! Triggers of type `event`: each is carried out by an instance of a workflow made for it.
//!
//! That workflow subscribes to the event and starts a run for each that arrives. It is a document
//! like any other, so what makes subscriptions durable makes triggers durable; a run has an id that
//! follows from the listener and its effect, so no event starts two.

use std::sync::Arc;

use serde_json::{Value as Json, json};
use traaviis_engine::Machine;
use traaviis_model::{
    Snapshot, Value,
    definition::Listener,
    document::{self, Format, read_tree},
};

use crate::exit::{Exit, Failure};

/// Name of the workflows that carry out triggers of type `event`.
pub(super) const WORKFLOW: &str = "Listener";

const DOCUMENT: &str = include_str!("listener.yaml");

/// Returns the workflow that carries out a trigger.
pub(super) fn carrier(trigger: &Listener) -> Result<Arc<Machine>, Failure> {
    let broken = |why: String| Failure::new(Exit::Internal, "internal", why);
    let tree = read_tree(DOCUMENT, Format::Yaml).map_err(|it| broken(format!("{it:?}")))?;
    let mut document = Json::from(&tree.to_value());
    let mut subscription = Json::from(&Value::Map(trigger.subscription.clone().into()));
    subscription["as"] = json!("heard");
    document["subscribe"] = Json::Array(vec![subscription]);
    document["states"]["on"]["on"]["heard"]["actions"][0]["assign"]["next"] =
        Json::from(&trigger.input);
    let read = document::read(&document.to_string(), Format::Json);
    let first = read.diagnostics.first().map(ToString::to_string).unwrap_or_default();
    let definition = read.definition.ok_or_else(|| broken(first))?;
    let compiled = Machine::compile(Arc::new(definition));
    compiled
        .map(Arc::new)
        .map_err(|found| broken(found.first().map(ToString::to_string).unwrap_or_default()))
}

/// Says which event a listener hears.
pub(super) fn event_of(snapshot: &Snapshot, machine: &Machine) -> String {
    let subscriptions = &machine.definition().subscriptions;
    let Some(subscription) = subscriptions.first() else { return snapshot.workflow.to_string() };
    match &subscription.from.workflow {
        Some(workflow) => format!("event {} of {workflow}", subscription.event),
        None => format!("event {}", subscription.event),
    }
}
