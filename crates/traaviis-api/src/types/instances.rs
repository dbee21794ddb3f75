//! Instances on the wire.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use uuid::Uuid;

use traaviis_model::{
    form::{self, Form},
    limits::{ASSIGNEE_CHARS_MAX, EXPRESSION_CHARS_MAX, TAGS_MAX, TASK_COMMENT_CHARS_MAX},
};

use crate::shape::{Also, Each, Of, Words, patch_step};

/// `POST /tenants/{t}/instances`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartRequest {
    /// Name of the workflow.
    pub workflow: String,
    /// Version; the highest that is published when it is absent.
    #[serde(default)]
    pub version: Option<String>,
    /// Input.
    #[serde(default)]
    pub input: Json,
    /// Id, a UUID of version 7; the same id with the same input again starts nothing more.
    #[serde(default)]
    #[schemars(regex(pattern = form::CHOSEN_ID))]
    pub id: Option<String>,
    /// Business key, by which it is found, in the place of the one that the workflow computes.
    #[serde(default)]
    #[schemars(transform = Of(form::CORRELATION))]
    pub correlation: Option<String>,
    /// Words that it is found by, besides those of the workflow.
    #[serde(default)]
    #[schemars(transform = Each(Of(form::TAG)), length(max = TAGS_MAX))]
    pub tags: Vec<String>,
}

/// `POST /tenants/{t}/instances/{id}/events`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventRequest {
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

/// `POST /tenants/{t}/instances/{id}/query`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueryRequest {
    /// Expression over the state.
    #[schemars(length(min = 1, max = EXPRESSION_CHARS_MAX))]
    pub select: String,
}

/// An act that may say why.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReasonRequest {
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
}

/// `PATCH /tenants/{t}/instances/{id}/data`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EditRequest {
    /// RFC 6902 patch of `add`, `replace` and `remove`.
    #[schemars(transform = Each(Also(patch_step)))]
    pub patch: Vec<Json>,
    /// Why.
    pub reason: String,
}

/// `POST /tenants/{t}/instances/{id}/move`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MoveRequest {
    /// Paths of the states.
    pub to: Vec<String>,
    /// Why.
    pub reason: String,
}

/// `POST /tenants/{t}/instances/{id}/skip`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SkipRequest {
    /// Node, as the incident or the error names it.
    pub path: String,
    /// What it gives.
    #[serde(default)]
    pub value: Json,
    /// Why.
    pub reason: String,
}

/// `POST /tenants/{t}/tasks/{id}/decide`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DecideRequest {
    /// One of the outcomes of the task.
    pub outcome: String,
    /// What was filled in.
    #[serde(default)]
    pub form: Json,
    /// What the person says to it.
    #[serde(default)]
    pub comment: Option<String>,
}

/// `POST /tenants/{t}/tasks/{id}/delegate`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DelegateRequest {
    /// A member with a login: `user:ID` or `user:ADDRESS`, also without `user:`.
    #[schemars(length(min = 1, max = ASSIGNEE_CHARS_MAX))]
    pub to: String,
    /// Why.
    #[serde(default)]
    pub comment: Option<String>,
}

/// `POST /tenants/{t}/tasks/{id}/comment`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommentRequest {
    /// What is said.
    #[schemars(transform = Of(COMMENT))]
    pub text: String,
}

/// `POST /tenants/{t}/incidents/{id}/resolve`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResolveRequest {
    /// `happened`, `retry` or `fail`.
    #[schemars(transform = Words(&["happened", "retry", "fail"]))]
    pub decision: String,
    /// What the call gave, when it happened.
    #[serde(default)]
    pub value: Json,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
}

/// `POST /tenants/{t}/incidents/{id}/assign`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AssignRequest {
    /// To whom; to nobody in particular when it is absent.
    #[serde(default)]
    #[schemars(transform = Of(ASSIGNEE))]
    pub to: Option<String>,
}

/// An instance in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceBrief {
    /// Identity.
    pub id: Uuid,
    /// Name of the workflow.
    pub workflow: String,
    /// Version.
    pub version: String,
    /// How it stands.
    pub status: String,
    /// Active states as one text.
    pub state: String,
    /// Last record.
    pub seq: u64,
}

/// What is said to a task.
const COMMENT: Form = Form::prose(1, TASK_COMMENT_CHARS_MAX);
/// Whom an incident is given to.
const ASSIGNEE: Form = Form::prose(1, ASSIGNEE_CHARS_MAX);
