//! Made by `traaviis codegen` of Odd 1.2.3; make it again instead of changing it.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub const WORKFLOW: &str = "Odd";
pub const VERSION: &str = "1.2.3";
/// Paths of all states.
pub const STATES: &[&str] = &["a", "a.b", "end"];

/// `nothing` of `Input`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputNothing {
}

/// `friend` of `InputPeopleItem`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputPeopleItemFriend {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// `people` of `Input`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputPeopleItem {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub friend: Option<InputPeopleItemFriend>,
    pub name: String,
}

/// What an instance starts with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Input {
    #[serde(rename = "")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x: Option<String>,
    #[serde(rename = "1x")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x_1x: Option<Value>,
    #[serde(rename = "_hidden")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden: Option<String>,
    #[serde(rename = "a-b")]
    pub a_b: f64,
    #[serde(rename = "a_b")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub a_b_2: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<i64>,
    /// One of "small", "lar\"ge", "x\\y".
    pub kind: String,
    #[serde(rename = "line\nbreak")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line_break: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mixed: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nothing: Option<InputNothing>,
    pub people: Vec<InputPeopleItem>,
    #[serde(rename = "quo\"te\\")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quo_te: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scores: Option<std::collections::BTreeMap<String, i64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub some: Option<Vec<Value>>,
    /// A 'word' that languages keep * / for themselves.
    #[serde(rename = "type")]
    pub type_: String,
}

/// Payload of the event `Go`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GoEvent {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
}

/// Payload of the event `x.y`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct XYEventItem {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<i64>,
}

/// Payload of the event `import`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImportEvent {
    pub n: i64,
}

pub type Data = Value;

/// An event that a caller may send; one without a schema carries any JSON, or null.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// `go`.
    Go(Value),
    /// `Go`.
    Go2(GoEvent),
    /// `self`.
    SelfEvent(String),
    /// `x.y`.
    XY(Vec<XYEventItem>),
    /// `import`.
    Import(ImportEvent),
}

impl Event {
    /// Returns its name and payload.
    pub fn parts(&self) -> serde_json::Result<(&'static str, Value)> {
        Ok(match self {
            Event::Go(data) => ("go", serde_json::to_value(data)?),
            Event::Go2(data) => ("Go", serde_json::to_value(data)?),
            Event::SelfEvent(data) => ("self", serde_json::to_value(data)?),
            Event::XY(data) => ("x.y", serde_json::to_value(data)?),
            Event::Import(data) => ("import", serde_json::to_value(data)?),
        })
    }
}

/// Carries requests to a server, with whatever library for HTTP.
pub trait Transport {
    /// What can go wrong.
    type Error: From<serde_json::Error>;

    /// Sends a request to a path below `/api/v1/tenants/{tenant}`, with a token, and returns the
    /// JSON of the answer. An answer with a status of 400 or more is an error.
    fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, Self::Error>;
}

/// How an instance stands after a change.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Changed {
    #[serde(alias = "instance")]
    pub id: String,
    pub status: String,
    pub state: String,
    pub seq: u64,
    pub output: Value,
}

/// An instance as it is shown.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Instance {
    pub id: String,
    pub status: String,
    #[serde(rename = "configuration")]
    pub states: Vec<String>,
    pub seq: u64,
    pub data: Data,
    #[serde(default)]
    pub output: Value,
}

/// Starts instances of the workflow, sends them events, and asks them.
#[derive(Clone, Debug)]
pub struct Client<T>(pub T);

impl<T: Transport> Client<T> {
    /// Starts an instance. The same `id`, a UUID of version 7, starts nothing more.
    pub fn start(&self, input: &Input, id: Option<&str>) -> Result<Changed, T::Error> {
        let body = json!({ "workflow": WORKFLOW, "input": input, "id": id });
        Ok(serde_json::from_value(self.0.ask("POST", "/instances", &body)?)?)
    }

    /// Sends an event. The same `event_id` is not taken again.
    pub fn send(
        &self,
        id: &str,
        event: &Event,
        event_id: Option<&str>,
    ) -> Result<Changed, T::Error> {
        let (name, data) = event.parts()?;
        let body = json!({ "event": name, "data": data, "id": event_id });
        let path = format!("/instances/{id}/events");
        Ok(serde_json::from_value(self.0.ask("POST", &path, &body)?)?)
    }

    /// Evaluates an expression over the state of an instance.
    pub fn query(&self, id: &str, select: &str) -> Result<Value, T::Error> {
        let body = json!({ "select": select });
        Ok(self.0.ask("POST", &format!("/instances/{id}/query"), &body)?["value"].take())
    }

    /// Shows an instance.
    pub fn show(&self, id: &str) -> Result<Instance, T::Error> {
        let mut told = self.0.ask("GET", &format!("/instances/{id}"), &Value::Null)?;
        Ok(serde_json::from_value(told["snapshot"].take())?)
    }
}
