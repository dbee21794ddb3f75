//! Jobs on the wire.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use uuid::Uuid;

use traaviis_model::form;

use super::views::InstanceFilter;
use crate::shape::{Also, patch_step};

/// `POST /tenants/{t}/instances/bulk`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = Also(some_say_why))]
pub struct BulkRequest {
    /// What is done to each: `{"action": "cancel", "terminate": false}`, `{"action": "pause"}`,
    /// `resume`, `retry`, `{"action": "skip", "value": ..}`, `{"action": "send", "event": NAME,
    /// "data": ..}`, `{"action": "edit", "patch": [..]}`, `{"action": "move", "to": [..]}` or
    /// `{"action": "tag", "add": [..], "remove": [..]}`.
    #[schemars(transform = Also(operation))]
    pub operation: Json,
    /// Which instances.
    pub filter: InstanceFilter,
    /// Why; kept in each history.
    #[serde(default)]
    pub reason: Option<String>,
    /// Instances in a second, 1 to 1,000; 50 when it is absent.
    #[serde(default)]
    #[schemars(range(min = 1, max = form::RATE_MAX))]
    pub rate: Option<u32>,
    /// Refusals after which the job pauses; 10 when it is absent.
    #[serde(default)]
    pub max_failures: Option<u32>,
    /// Only count the instances.
    #[serde(default)]
    pub dry_run: bool,
}

/// How far a job has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobProgress {
    /// Instances that are meant.
    pub total: u32,
    /// Instances that were done or have refused.
    pub done: u32,
    /// Instances that have refused.
    pub refused: u32,
}

/// A job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobAnswer {
    /// Identity; of none when it is only a dry run.
    pub id: Option<Uuid>,
    /// `bulk` or `upgrade`.
    pub kind: String,
    /// `planned`, `running`, `paused`, `done`, `cancelled` or `failed`.
    pub status: String,
    /// How far it has come.
    pub progress: JobProgress,
    /// What it is about.
    pub about: Json,
    /// What it has led to: the first instances that have refused.
    pub result: Json,
    /// Why it pauses or has failed.
    pub error: Option<String>,
    /// When it was made.
    pub made_at: Option<String>,
    /// When something last changed.
    pub updated_at: Option<String>,
    /// When it was over.
    pub ended_at: Option<String>,
}

/// `POST /tenants/{t}/workflows/{name}/upgrade-plan`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpgradePlanRequest {
    /// Published version to go on with; the newest one when it is absent.
    #[serde(default)]
    pub version: Option<String>,
    /// Percent that go first, 1 to 50; 5 when it is absent, and 0 for all at once.
    #[serde(default)]
    #[schemars(range(max = form::CANARY_PERCENT_MAX))]
    pub canary_percent: Option<u8>,
    /// Seconds for which those are watched before the others follow; 600 when it is absent.
    #[serde(default)]
    pub hold_s: Option<u32>,
    /// Instances in a second, 1 to 1,000; 50 when it is absent.
    #[serde(default)]
    #[schemars(range(min = 1, max = form::RATE_MAX))]
    pub rate: Option<u32>,
}

/// What can be done to each instance, by its word.
fn operation() -> Json {
    let act = |word: &[&str], fields: Json, required: &[&str]| {
        let mut properties = json!({ "action": { "enum": word } });
        if let (Some(all), Json::Object(fields)) = (properties.as_object_mut(), fields) {
            all.extend(fields);
        }
        let required: Vec<&str> = [&["action"], required].concat();
        json!({ "type": "object", "properties": properties, "required": required })
    };
    let words = json!({ "type": "array", "items": { "type": "string" } });
    let patch = json!({ "type": "array", "items": patch_step() });
    json!({ "oneOf": [
        act(&["pause", "resume", "retry"], json!({}), &[]),
        act(&["cancel"], json!({ "terminate": { "type": "boolean" } }), &[]),
        act(&["skip"], json!({ "value": {} }), &[]),
        act(&["send"], json!({ "event": { "type": "string" }, "data": {} }), &["event"]),
        act(&["edit"], json!({ "patch": patch }), &["patch"]),
        act(&["move"], json!({ "to": words }), &["to"]),
        act(&["tag"], json!({ "add": words, "remove": words }), &[]),
    ] })
}

/// Some acts are not done without a reason.
fn some_say_why() -> Json {
    let action = json!({ "enum": ["skip", "edit", "move"] });
    let operation = json!({ "properties": { "action": action }, "required": ["action"] });
    json!({
        "if": { "properties": { "operation": operation } },
        "then": {
            "required": ["reason"],
            "properties": { "reason": { "type": "string" } },
        },
    })
}
