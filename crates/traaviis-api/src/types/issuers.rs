//! Issuers of a tenant on the wire.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use traaviis_model::form;

use crate::shape::Also;

/// Who gets which role; the first rule that holds counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleRule {
    /// CEL over `value`, the claims of the ID token, such as `'ops' in value.groups`.
    #[schemars(length(min = 1, max = form::RULE_CHARS_MAX))]
    pub when: String,
    /// `admin`, `developer`, `viewer`, or the id of a role of the tenant.
    pub role: String,
}

/// `PUT /tenants/{t}/issuers/{name}`.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = Also(somebody_comes_in))]
pub struct TenantIssuerRequest {
    /// The issuer as it calls itself; it must describe itself there at once.
    #[schemars(regex(pattern = "^https?://"), length(max = form::URL_CHARS_MAX))]
    pub url: String,
    /// What it calls this installation.
    #[schemars(length(min = 1, max = form::URL_CHARS_MAX))]
    pub client_id: String,
    /// What it knows this installation by; the one before stays when it is absent. No answer ever
    /// holds it.
    #[serde(default)]
    #[schemars(length(min = 1, max = form::URL_CHARS_MAX))]
    pub client_secret: Option<String>,
    /// Domains of the addresses that it may bring.
    #[schemars(length(min = 1, max = form::DOMAINS_MAX))]
    pub domains: Vec<String>,
    /// Who gets which role.
    #[serde(default)]
    #[schemars(length(max = form::RULES_MAX))]
    pub rules: Vec<RoleRule>,
    /// Role of whom no rule is about; without one they stay outside.
    #[serde(default)]
    pub otherwise: Option<String>,
}

impl std::fmt::Debug for TenantIssuerRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TenantIssuerRequest").field("url", &self.url).finish_non_exhaustive()
    }
}

/// An issuer of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TenantIssuerAnswer {
    /// Its name here.
    pub name: String,
    /// The issuer as it calls itself.
    pub url: String,
    /// What it calls this installation.
    pub client_id: String,
    /// Whether it knows this installation by a secret.
    pub has_secret: bool,
    /// Domains of the addresses that it may bring.
    pub domains: Vec<String>,
    /// Who gets which role.
    pub rules: Vec<RoleRule>,
    /// Role of whom no rule is about.
    pub otherwise: Option<String>,
    /// When it has described itself last.
    pub verified_at: String,
    /// Where a browser begins a login there.
    pub login_url: String,
    /// Where the issuer sends browsers back to; it must know this address.
    pub redirect_url: String,
}

/// Without a rule and without a role for all others nobody could come in.
fn somebody_comes_in() -> Json {
    json!({ "anyOf": [
        { "required": ["rules"], "properties": { "rules": { "minItems": 1 } } },
        { "required": ["otherwise"], "properties": { "otherwise": { "type": "string" } } },
    ] })
}
