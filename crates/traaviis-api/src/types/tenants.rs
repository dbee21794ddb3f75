//! Tenants, members, roles, invitations, keys and the audit trail on the wire.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use uuid::Uuid;

use traaviis_model::form;

use crate::shape::{Also, Each, Of, PermissionWord, RoleName, RoleWord, Words};

/// `POST /tenants`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateTenantRequest {
    /// Name, 1 to 100 characters.
    #[schemars(transform = Of(form::NAME))]
    pub name: String,
    /// Short name; made of the name when it is absent.
    #[serde(default)]
    #[schemars(regex(pattern = form::SLUG), transform = Also(no_reserved_word))]
    pub slug: Option<String>,
}

/// `PATCH /tenants/{t}`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeTenantRequest {
    /// Name.
    #[serde(default)]
    #[schemars(transform = Of(form::NAME))]
    pub name: Option<String>,
    /// Short name; those that it had before still mean the tenant, the last five of them.
    #[serde(default)]
    #[schemars(regex(pattern = form::SLUG), transform = Also(no_reserved_word))]
    pub slug: Option<String>,
    /// Domain; empty takes it away.
    #[serde(default)]
    #[schemars(transform = Of(form::DOMAIN))]
    pub domain: Option<String>,
}

/// `DELETE /tenants/{t}`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteTenantRequest {
    /// The short name of the tenant, typed.
    pub confirm: String,
}

/// `POST /tenants/{t}/transfer`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TransferRequest {
    /// The member who becomes an owner once they accept.
    pub user_id: Uuid,
}

/// A tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TenantAnswer {
    /// Identity.
    pub id: Uuid,
    /// Name.
    pub name: String,
    /// Short name.
    pub slug: String,
    /// Short names that it had, the oldest first; they still mean it.
    pub former_slugs: Vec<String>,
    /// Domain.
    pub domain: Option<String>,
    /// Owner.
    pub owner_id: Uuid,
    /// `active`, `suspended` or `deleting`.
    pub status: String,
    /// What it pays for.
    pub plan: String,
    /// Members.
    pub member_count: usize,
    /// When it was made.
    pub created_at: String,
}

/// Settings of a tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(transform = Also(settings))]
pub struct SettingsBody(pub serde_json::Map<String, Json>);

/// A member.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MemberAnswer {
    /// User.
    pub user_id: Uuid,
    /// Name.
    pub name: String,
    /// Picture.
    pub avatar_url: Option<String>,
    /// It is a service account, which acts through API keys only.
    pub service_account: bool,
    /// Role: a word, or the id of a custom one.
    pub role: String,
    /// Permissions, where they are not those of the role.
    pub permissions: Option<Vec<String>>,
    /// What of the data they see, where that is not what the role says.
    pub data_access: Option<DataAccessBody>,
    /// `active` or `suspended`.
    pub status: String,
    /// When they came.
    pub joined_at: String,
    /// Who invited them.
    pub invited_by: Option<Uuid>,
}

/// `PATCH /tenants/{t}/members/{id}`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeMemberRequest {
    /// Role: a word, or the id of a custom one.
    #[serde(default)]
    #[schemars(transform = RoleName)]
    pub role: Option<String>,
    /// Permissions in the place of the role's.
    #[serde(default)]
    #[schemars(transform = Each(PermissionWord))]
    pub permissions: Option<Vec<String>>,
    /// What of the data they see.
    #[serde(default)]
    pub data_access: Option<DataAccessBody>,
}

/// What of the data somebody sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataAccessBody {
    /// `full`, `masked` or `none`.
    #[schemars(transform = Words(&["full", "masked", "none"]))]
    pub payloads: String,
    /// Whether what is masked may be shown.
    #[serde(default)]
    pub pii_unmask: bool,
}

/// `POST /tenants/{t}/roles`, `PUT /tenants/{t}/roles/{id}`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleRequest {
    /// Name.
    #[schemars(transform = Of(form::NAME))]
    pub name: String,
    /// How high it stands: `owner`, `admin`, `developer` or `viewer`.
    #[schemars(transform = RoleWord)]
    pub base: String,
    /// What it carries.
    #[schemars(transform = Each(PermissionWord))]
    pub permissions: Vec<String>,
    /// What of the data it sees.
    #[serde(default)]
    pub data_access: Option<DataAccessBody>,
}

/// A role.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RoleAnswer {
    /// The word, or the id of a custom one.
    pub id: String,
    /// Name.
    pub name: String,
    /// How high it stands.
    pub base: String,
    /// What it carries.
    pub permissions: Vec<String>,
    /// What of the data it sees.
    pub data_access: DataAccessBody,
    /// The tenant has made it.
    pub custom: bool,
}

/// `POST /tenants/{t}/invitations`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InviteRequest {
    /// Who is invited.
    #[schemars(email)]
    pub email: String,
    /// Role to come: a word, or the id of a custom one.
    #[schemars(transform = RoleName)]
    pub role: String,
    /// Permissions in the place of the role's.
    #[serde(default)]
    #[schemars(transform = Each(PermissionWord))]
    pub permissions: Option<Vec<String>>,
}

/// An invitation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InvitationAnswer {
    /// Identity.
    pub id: Uuid,
    /// Who is invited.
    pub email: String,
    /// Role to come.
    pub role: String,
    /// Who invites.
    pub invited_by: Uuid,
    /// Until when it is open.
    pub expires_at: String,
    /// How often it was sent.
    pub sent_count: u32,
    /// The token; told when it is made, and never again. Absent where it comes to the invited by
    /// mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// `POST /invitations/accept`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptRequest {
    /// Token of the invitation.
    pub token: String,
    /// Password of a new account; absent for who has logged in.
    #[serde(default)]
    #[schemars(length(min = form::PASSWORD_CHARS_MIN, max = form::PASSWORD_CHARS_MAX))]
    pub password: Option<String>,
    /// Name of a new account.
    #[serde(default)]
    #[schemars(transform = Of(form::PERSON_NAME))]
    pub name: Option<String>,
}

/// `POST /tenants/{t}/api-keys`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyRequest {
    /// What it is for.
    #[schemars(transform = Of(form::NAME))]
    pub name: String,
    /// What it may do; no more than who makes it.
    #[schemars(transform = Each(PermissionWord))]
    pub scopes: Vec<String>,
    /// Life in seconds; 90 days when it is absent.
    #[serde(default)]
    #[schemars(range(min = 1, max = form::KEY_LIFE_SECS_MAX))]
    pub expires_in: Option<i64>,
    /// Networks or addresses from which it may be used; from anywhere when there are none.
    #[serde(default)]
    #[schemars(length(max = form::NETWORKS_MAX), inner(regex(pattern = form::NETWORK)))]
    pub ip_allow: Vec<String>,
    /// Service account that acts through it; the caller when it is absent.
    #[serde(default)]
    pub service_account: Option<Uuid>,
}

/// An API key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ApiKeyAnswer {
    /// Identity.
    pub id: Uuid,
    /// What it is for.
    pub name: String,
    /// First letters.
    pub prefix: String,
    /// Who made it.
    pub created_by: Uuid,
    /// What it may do.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created_at: String,
    /// Until when it works.
    pub expires_at: String,
    /// About when it was last used; up to an hour may pass before it is shown.
    pub last_used_at: Option<String>,
    /// Networks from which it may be used; from anywhere when there are none.
    pub ip_allow: Vec<String>,
    /// Service account that acts through it.
    pub service_account: Option<Uuid>,
    /// The key itself; told when it is made, and never again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// `POST /tenants/{t}/service-accounts`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceAccountRequest {
    /// Name, 1 to 100 characters.
    #[schemars(transform = Of(form::NAME))]
    pub name: String,
    /// Role: a word, or the id of a custom one; no owner's.
    #[schemars(transform = RoleName)]
    pub role: String,
}

/// A service account: a member without a login.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceAccountAnswer {
    /// Identity, which is also its id among the members.
    pub id: Uuid,
    /// Name.
    pub name: String,
    /// Role: a word, or the id of a custom one.
    pub role: String,
    /// `active` or `suspended`.
    pub status: String,
    /// Who made it.
    pub created_by: Uuid,
    /// When it was made.
    pub created_at: String,
    /// Keys through which it acts.
    pub key_count: usize,
}

/// An ownership that is offered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TransferAnswer {
    /// Who offers it.
    pub from: Uuid,
    /// Who becomes an owner.
    pub to: Uuid,
    /// Until when they may accept.
    pub expires_at: String,
}

/// `POST /tenants/{t}/audit/verify`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditCheck {
    /// Whether every entry is what it was.
    pub whole: bool,
    /// Entries that were found good.
    pub count: u64,
    /// Hash of the last of them.
    pub hash: String,
    /// Number of the first that is not.
    pub broken_seq: Option<u64>,
    /// What is wrong with it.
    pub why: Option<String>,
}

/// Short names that would be mistaken for something else are no names.
fn no_reserved_word() -> Json {
    json!({ "not": { "enum": form::SLUGS_RESERVED } })
}

/// Settings that mean something; null takes one away, and others are kept as they are.
fn settings() -> Json {
    json!({ "properties": {
        "open_hooks": { "type": ["boolean", "null"] },
        "encryption": { "enum": ["all", "people", null] },
        "require_mfa": { "type": ["boolean", "null"] },
    } })
}
