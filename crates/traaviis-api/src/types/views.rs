//! Questions about single instances, and things done to many, on the wire.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use traaviis_model::{form, record::Status};

use crate::shape::{Also, Each, Words, patch_step, tree};

/// `POST /tenants/{t}/instances/{id}/validate-event`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProbeRequest {
    /// Name.
    pub event: String,
    /// Payload.
    #[serde(default)]
    pub data: Json,
}

/// `POST /tenants/{t}/instances/{id}/fork`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForkRequest {
    /// Last record of the original that counts; the last of all when it is absent.
    #[serde(default)]
    pub seq: Option<u64>,
    /// Who answers its calls: `recorded` (the history of the original) or `live`.
    #[serde(default)]
    #[schemars(transform = Words(&["recorded", "live"]))]
    pub results: Option<String>,
    /// RFC 6902 patch of the data, of `add`, `replace` and `remove`.
    #[serde(default)]
    #[schemars(transform = Each(Also(patch_step)))]
    pub data_patch: Vec<Json>,
    /// It begins paused.
    #[serde(default)]
    pub paused: bool,
    /// Only say what it would be.
    #[serde(default)]
    pub dry_run: bool,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
}

/// One event of a batch.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchEvent {
    /// Instance.
    pub instance: String,
    /// Name.
    pub event: String,
    /// Payload.
    #[serde(default)]
    pub data: Json,
    /// Deduplication id: the same again is not taken again.
    #[serde(default)]
    pub id: Option<String>,
    /// Only while the instance stands at this record.
    #[serde(default)]
    pub if_seq: Option<u64>,
}

/// `POST /tenants/{t}/events/batch`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchRequest {
    /// At most 1,000; those of one instance are taken in this order.
    #[schemars(length(max = form::BATCH_MAX))]
    pub events: Vec<BatchEvent>,
}

/// `POST /tenants/{t}/broadcast`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BroadcastRequest {
    /// Name.
    pub event: String,
    /// Payload.
    #[serde(default)]
    pub data: Json,
    /// Which open instances; name `all` to mean every one.
    pub filter: InstanceFilter,
    /// Name of the broadcast: sent again with the same one, it reaches nobody twice.
    #[serde(default)]
    pub key: Option<String>,
}

/// Which instances are meant; everything given must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = Also(says_something))]
pub struct InstanceFilter {
    /// Name of the workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// Version of the workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// How they stand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = Also(status))]
    pub status: Option<String>,
    /// Active states as one text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Business key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<String>,
    /// Words that they are found by, all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Created longer ago than so many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub older_than_s: Option<u32>,
    /// With an open incident of this kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<String>,
    /// With this error, in an incident or at their end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Every one, when nothing else is given.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
}

/// `POST /tenants/{t}/workflows/simulate`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SimulateRequest {
    /// The document. A text is YAML or JSON; an object is the document itself.
    #[schemars(transform = Also(tree))]
    pub document: Json,
    /// Start input.
    #[serde(default)]
    pub input: Json,
    /// What happens: `{"event": NAME, "data": ..}` or `{"advance": "3s"}`, at most 100.
    #[serde(default)]
    #[schemars(length(max = form::SIMULATED_STEPS_MAX), transform = Each(Also(step)))]
    pub steps: Vec<Json>,
}

/// `POST /tenants/{t}/workflows/{name}/test`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestRequest {
    /// Published version to test; the draft when it is absent.
    #[serde(default)]
    pub version: Option<String>,
}

/// `POST /tenants/{t}/workflows/import`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportRequest {
    /// The language that it is written in: `scxml`.
    #[schemars(transform = Words(&["scxml"]))]
    pub from: String,
    /// The document.
    pub document: String,
    /// Only say what it would become.
    #[serde(default)]
    pub dry_run: bool,
}

/// What a filter says: which instances, or all of them, and not both.
fn says_something() -> Json {
    let all = |it: bool| json!({ "all": { "const": it } });
    let texts = ["workflow", "version", "status", "state", "incident", "error", "correlation"];
    let named = texts
        .iter()
        .map(|it| json!({ "required": [it], "properties": { *it: { "type": "string" } } }));
    let tagged = json!({ "required": ["tags"], "properties": { "tags": { "minItems": 1 } } });
    let older = json!({
        "required": ["older_than_s"], "properties": { "older_than_s": { "type": "integer" } },
    });
    let ways: Vec<Json> = named.chain([tagged, older]).collect();
    json!({ "oneOf": [
        { "required": ["all"], "properties": all(true), "not": { "anyOf": ways } },
        { "properties": all(false), "anyOf": ways },
    ] })
}

/// How an instance can stand.
fn status() -> Json {
    let mut words: Vec<Json> = Status::ALL.iter().map(|it| json!(it)).collect();
    words.push(Json::Null);
    json!({ "enum": words })
}

/// What happens to a simulated instance.
fn step() -> Json {
    let span = json!({ "type": "string", "pattern": form::SPAN });
    json!({ "oneOf": [
        {
            "type": "object",
            "properties": { "event": { "type": "string" }, "data": {} },
            "required": ["event"],
            "additionalProperties": false,
        },
        {
            "type": "object",
            "properties": { "advance": span },
            "required": ["advance"],
            "additionalProperties": false,
        },
    ] })
}

/// Code for programs that use a workflow.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct CodeAnswer {
    /// Language.
    pub lang: String,
    /// Workflow.
    pub workflow: String,
    /// Version that it is made of.
    pub version: String,
    /// The text of a file.
    pub code: String,
}
