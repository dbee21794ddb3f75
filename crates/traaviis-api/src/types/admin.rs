//! Looking after the platform, on the wire.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use uuid::Uuid;

use traaviis_model::form;

use crate::shape::{Also, Of, Words};

/// A user as who looks after the platform sees them. The address is not told: who knows it finds
/// the user by it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AdminUserAnswer {
    /// Identity.
    pub id: Uuid,
    /// Name.
    pub name: String,
    /// `active`, `suspended`, `pending_verification` or `deleted`.
    pub status: String,
    /// `platform_admin` or `user`.
    pub platform_role: String,
    /// Tenants that they are in.
    pub tenant_count: usize,
    /// When they registered.
    pub created_at: String,
    /// When they last logged in.
    pub last_login: Option<String>,
}

/// `PATCH /admin/users/{id}`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdminUserRequest {
    /// `active` or `suspended`.
    #[serde(default)]
    #[schemars(transform = Words(&["active", "suspended"]))]
    pub status: Option<String>,
    /// `platform_admin` or `user`.
    #[serde(default)]
    #[schemars(transform = Words(&["platform_admin", "user"]))]
    pub platform_role: Option<String>,
}

/// `POST /admin/users/{id}/reset-factors`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResetFactorsRequest {
    /// Why; it stands in the audit trail of the platform.
    #[schemars(transform = Of(form::OPERATOR_REASON))]
    pub reason: String,
}

/// A tenant as who looks after the platform sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AdminTenantAnswer {
    /// Identity.
    pub id: Uuid,
    /// Name.
    pub name: String,
    /// Short name.
    pub slug: String,
    /// Owner.
    pub owner_id: Uuid,
    /// `active`, `suspended`, `deleting` or `destroyed`.
    pub status: String,
    /// What it pays for.
    pub plan: String,
    /// Members.
    pub member_count: usize,
    /// When it was made.
    pub created_at: String,
    /// When its deletion was asked for.
    pub deleting_since: Option<String>,
}

/// `PATCH /admin/tenants/{id}`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdminTenantRequest {
    /// `active` or `suspended`.
    #[serde(default)]
    #[schemars(transform = Words(&["active", "suspended"]))]
    pub status: Option<String>,
    /// `free`, `starter`, `pro`, `enterprise` or `self_hosted`.
    #[serde(default)]
    #[schemars(transform = Words(form::PLANS))]
    pub plan: Option<String>,
}

/// `POST /admin/break-glass`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BreakGlassRequest {
    /// Id or short name of the tenant.
    pub tenant: String,
    /// Why; its members read it in their audit trail.
    #[schemars(transform = Of(form::OPERATOR_REASON))]
    pub reason: String,
}

/// A time in which who looks after the platform may read in a tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BreakGlassAnswer {
    /// The tenant.
    pub tenant_id: Uuid,
    /// Why.
    pub reason: String,
    /// Until when.
    pub until: String,
}

/// A feature flag.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FlagAnswer {
    /// Name.
    pub name: String,
    /// What it decides.
    pub what: String,
    /// How it is while nobody has set it: `on`, `off`, or a share of the tenants such as `25%`.
    pub default: String,
    /// How it is set for all tenants; null is the default.
    pub setting: Option<String>,
    /// How it is set for single tenants, before all others.
    pub tenants: BTreeMap<Uuid, String>,
}

/// `PATCH /admin/flags/{name}`; what is absent stays.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlagRequest {
    /// For all tenants: `on`, `off`, a share such as `25%`, or `default`.
    #[serde(default)]
    #[schemars(regex(pattern = form::FLAG_SETTING_OR_DEFAULT))]
    pub setting: Option<String>,
    /// For single tenants; null is as for all others.
    #[serde(default)]
    #[schemars(transform = Also(by_tenant))]
    pub tenants: BTreeMap<Uuid, Option<String>>,
}

/// The numbers of the process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NumbersAnswer {
    /// As `/metrics` tells them, but without the buckets of histograms.
    pub items: Vec<NumberAnswer>,
}

/// A node: one process that serves the platform.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeAnswer {
    /// Its name; `local` is the one that answers.
    pub name: String,
    /// Release.
    pub version: String,
    /// When it began.
    pub started_at: String,
    /// Whether it answers requests.
    pub ready: bool,
    /// Its parts, each with how it stands.
    pub components: Vec<NodePart>,
    /// Sockets that are open.
    pub sockets: usize,
    /// Streams that are open.
    pub streams: usize,
    /// Requests that wait for what follows.
    pub waiting: usize,
}

/// A part of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodePart {
    /// Its name.
    pub name: String,
    /// `ok`, `degraded` or `failed`.
    pub status: String,
    /// Why, where it is not `ok`.
    pub why: Option<String>,
}

/// A number of the process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NumberAnswer {
    /// Name.
    pub name: String,
    /// What tells it from others of the name.
    pub labels: BTreeMap<String, String>,
    /// Value.
    pub value: f64,
}

/// A job of a tenant, without what it is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AdminJobAnswer {
    /// Identity.
    pub id: Uuid,
    /// Whose it is.
    pub tenant_id: Uuid,
    /// `bulk` or `upgrade`.
    pub kind: String,
    /// `planned`, `running`, `paused`, `done`, `cancelled` or `failed`.
    pub status: String,
    /// Instances that are meant.
    pub total: u32,
    /// Instances that were done or have refused.
    pub done: u32,
    /// Instances that have refused.
    pub refused: u32,
    /// When it was made.
    pub made_at: String,
    /// When something last changed.
    pub updated_at: String,
}

/// `POST /admin/maintenance`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MaintenanceRequest {
    /// Whether changes are refused.
    pub on: bool,
    /// Why; everybody who is refused reads it.
    #[serde(default)]
    #[schemars(transform = Of(form::MAINTENANCE_REASON))]
    pub reason: Option<String>,
}

/// Whether changes are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MaintenanceAnswer {
    /// They are.
    pub on: bool,
    /// Why.
    pub reason: Option<String>,
    /// Since when it is so; null when it never was otherwise.
    pub since: Option<String>,
}

/// How backups stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackupsAnswer {
    /// Where they are kept.
    pub target: String,
    /// One is asked for or being made.
    pub running: bool,
    /// When the last one was made.
    pub made_at: Option<String>,
    /// Position of the log that it reaches.
    pub position: Option<u64>,
    /// Why none succeeds.
    pub failing: Option<String>,
}

/// `POST /admin/tenants/{id}/invoices/{month}/paid`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PaidRequest {
    /// By what the payment is found; what the tenant said when it is absent.
    #[serde(default)]
    #[schemars(transform = Of(form::REFERENCE))]
    pub reference: Option<String>,
}

/// `POST /admin/tenants/{id}/invoices/{month}/credit`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreditRequest {
    /// How much is taken off, as text with at most 6 decimals, such as `4.50`.
    #[schemars(regex(pattern = form::MONEY))]
    pub amount: String,
    /// Why.
    #[schemars(transform = Of(form::CREDIT_REASON))]
    pub reason: String,
}

/// `POST /admin/signing-keys/rotate`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateKeysRequest {
    /// Nothing that the keys before have signed is good any more: for a key that somebody else has.
    /// Who has a session renews it.
    #[serde(default)]
    pub end_old: bool,
}

/// Which key signs now.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RotatedAnswer {
    /// Its id, as in `/.well-known/jwks.json`.
    pub kid: String,
}

/// Settings by tenant, each as for all of them or null.
fn by_tenant() -> Json {
    let setting = json!({ "type": ["string", "null"], "pattern": form::FLAG_SETTING });
    json!({
        "propertyNames": { "format": "uuid" },
        "patternProperties": {},
        "additionalProperties": setting,
    })
}
