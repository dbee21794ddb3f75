//! Audit, alerts, secrets and personal data on the wire.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use uuid::Uuid;

use traaviis_model::{
    form,
    limits::{SECRET_BYTES_MAX, SUBJECT_CHARS_MAX},
};

use crate::shape::{Of, Words};

/// A signed end of an audit chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckpointAnswer {
    /// Whose chain.
    pub tenant_id: Uuid,
    /// Number of its last entry.
    pub seq: u64,
    /// Hash of that entry.
    pub hash: String,
    /// When it was signed.
    pub at: String,
    /// The key.
    pub kid: String,
    /// Ed25519 over the canonical JSON of the rest, base64url.
    pub signature: String,
}

/// `GET /tenants/{t}/audit/checkpoints`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CheckpointsAnswer {
    /// The newest first.
    pub items: Vec<CheckpointAnswer>,
    /// Where the next page begins; null when this is the last.
    pub next_cursor: Option<String>,
    /// Public keys, as a JSON Web Key Set.
    pub keys: Json,
}

/// An alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AlertAnswer {
    /// Identity.
    pub id: String,
    /// What was broken: a rule over the audit trail, what a rule of the tenant is about, `budget`,
    /// `plan`, `storage_damaged`, or what stands badly with the installation.
    pub rule: String,
    /// How soon somebody should look: `critical`, `high` or `medium`.
    pub severity: String,
    /// What has happened.
    pub message: String,
    /// When.
    pub at: String,
    /// Who, as `kind:id`.
    pub actor: String,
    /// The audit trail that tells of it: `tenant` or `platform`; `rules` when none does, `standing`
    /// when it is resolved by itself.
    pub trail: String,
    /// Number of the entry in that trail; 0 when there is none.
    pub entry: u64,
    /// The rule of the tenant that was broken.
    pub rule_id: Option<String>,
    /// The number that was too high, where it was looked at as it stands.
    pub value: Option<u64>,
    /// When what stands was well again; null of what has happened once.
    pub resolved_at: Option<String>,
    /// When somebody has seen to it.
    pub acknowledged_at: Option<String>,
    /// Who.
    pub acknowledged_by: Option<String>,
}

/// `PUT /tenants/{t}/secrets/{name}`.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretRequest {
    /// The value; no answer ever holds it.
    #[schemars(length(min = 1, max = SECRET_BYTES_MAX))]
    pub value: String,
    /// Workflows that may use it; all when it is absent or empty.
    #[serde(default)]
    #[schemars(length(max = form::SECRET_WORKFLOWS_MAX))]
    pub workflows: Vec<String>,
}

impl std::fmt::Debug for SecretRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretRequest").field("workflows", &self.workflows).finish_non_exhaustive()
    }
}

/// A secret: everything but its value. Who may only edit workflows sees names alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretAnswer {
    /// Name.
    pub name: String,
    /// How often it was set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// When it was set last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<String>,
    /// Workflows that may use it; all when it is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflows: Option<Vec<String>>,
    /// Who set it last, as `kind:id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_by: Option<String>,
    /// When it was last used, within a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_at: Option<String>,
}

/// `GET /tenants/{t}/privacy/report`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PrivacyReport {
    /// How often personal data was found, by the place where it was masked and by type.
    pub counts: BTreeMap<String, BTreeMap<String, u64>>,
}

/// `POST /tenants/{t}/privacy/detect`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DetectRequest {
    /// A text, or any JSON.
    pub value: Json,
}

/// Personal data at a place in a value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FindingAnswer {
    /// Place of the text in the value (RFC 6901); empty for the value itself.
    pub pointer: String,
    /// First character, counted in Unicode scalar values.
    pub start: usize,
    /// The character behind the last.
    pub end: usize,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: String,
    /// How certainly, from 0 to 1.
    pub confidence: f32,
    /// Which rule found it.
    pub detector: String,
}

/// The answer of `POST /tenants/{t}/privacy/detect`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DetectAnswer {
    /// In the order of the value.
    pub findings: Vec<FindingAnswer>,
}

/// `POST /tenants/{t}/privacy/export-subject`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubjectRequest {
    /// The person: as `subject` of the workflow names them, by their id, or by their e-mail
    /// address.
    #[schemars(length(min = 1, max = SUBJECT_CHARS_MAX))]
    pub subject: String,
}

/// `POST /tenants/{t}/privacy/erase-subject`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EraseRequest {
    /// The person, as `subject` of the workflow names them.
    #[schemars(length(min = 1, max = SUBJECT_CHARS_MAX))]
    pub subject: String,
    /// End the instances about the person that are open.
    #[serde(default)]
    pub terminate: bool,
}

/// `POST /tenants/{t}/alerts/rules`. Times are texts such as `5m`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AlertRuleRequest {
    /// Name.
    #[schemars(transform = Of(form::RULE_NAME))]
    pub name: String,
    /// `failed_instances`, `incidents_opened`, `login_failures`, `incidents_open`, `usage_percent`,
    /// `budget_percent`, `queue_age`, `breakers_opened` or `schedules_missed`.
    #[schemars(transform = Words(form::MEASURES))]
    pub measure: String,
    /// It is broken by more than this.
    #[schemars(range(max = form::ABOVE_MAX))]
    pub above: u64,
    /// Over how long what happens is counted; `5m` when it is absent.
    #[serde(default)]
    #[schemars(regex(pattern = form::SPAN))]
    pub window: Option<String>,
    /// How long it rests when it was broken; `15m` when it is absent.
    #[serde(default)]
    #[schemars(regex(pattern = form::SPAN))]
    pub cool_down: Option<String>,
    /// `critical`, `high` or `medium`; the last when it is absent.
    #[serde(default)]
    #[schemars(transform = Words(form::SEVERITIES))]
    pub severity: Option<String>,
    /// Write to owners and administrators.
    #[serde(default)]
    pub mail: Option<bool>,
    /// Keep it, and tell nobody.
    #[serde(default)]
    pub muted: Option<bool>,
}

/// `PATCH /tenants/{t}/alerts/rules/{id}`; what is absent stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeAlertRuleRequest {
    /// Name.
    #[serde(default)]
    #[schemars(transform = Of(form::RULE_NAME))]
    pub name: Option<String>,
    /// It is broken by more than this.
    #[serde(default)]
    #[schemars(range(max = form::ABOVE_MAX))]
    pub above: Option<u64>,
    /// Over how long happenings are counted.
    #[serde(default)]
    #[schemars(regex(pattern = form::SPAN))]
    pub window: Option<String>,
    /// How long it rests when it was broken.
    #[serde(default)]
    #[schemars(regex(pattern = form::SPAN))]
    pub cool_down: Option<String>,
    /// `critical`, `high` or `medium`.
    #[serde(default)]
    #[schemars(transform = Words(form::SEVERITIES))]
    pub severity: Option<String>,
    /// Write to owners and administrators.
    #[serde(default)]
    pub mail: Option<bool>,
    /// Keep it, and tell nobody.
    #[serde(default)]
    pub muted: Option<bool>,
}

/// A rule for alerts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AlertRuleAnswer {
    /// Identity.
    pub id: Uuid,
    /// Name.
    pub name: String,
    /// What it is about.
    pub measure: String,
    /// It is broken by more than this.
    pub above: u64,
    /// Over how long happenings are counted.
    pub window: String,
    /// How long it rests when it was broken.
    pub cool_down: String,
    /// How soon somebody should look.
    pub severity: String,
    /// Owners and administrators are written to.
    pub mail: bool,
    /// Nobody is told.
    pub muted: bool,
    /// When it was made.
    pub made_at: String,
}
