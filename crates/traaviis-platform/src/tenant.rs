//! Tenants and who is in them: organisations, members, roles of their own, invitations, API keys.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use traaviis_model::{
    ApiKeyId, InvitationId, RoleId, TenantId, Text, Timestamp, UserId,
    form::{self, SLUGS_RESERVED},
    permission::{PermissionSet, Role},
};

use crate::{error::Error, ledger::Document};

/// Roles that a tenant may make.
pub const ROLES_MAX: usize = 50;
/// Invitations that may be open at once.
pub const INVITATIONS_MAX: usize = 1_000;
/// API keys of a tenant.
pub const API_KEYS_MAX: usize = 500;
/// Service accounts of a tenant.
pub const SERVICE_ACCOUNTS_MAX: usize = 100;
/// Tenants that one user may have made.
pub const TENANTS_MADE_MAX: usize = 100;

/// Setting of a tenant: whether a session of one factor stays outside.
pub const REQUIRE_MFA: &str = "require_mfa";

/// Setting of a tenant: whether triggers of type `webhook` may ask for no proof.
pub const OPEN_HOOKS: &str = "open_hooks";
/// Setting of a tenant: `all` if instances rest sealed that are about nobody, too, and documents.
pub const ENCRYPTION: &str = "encryption";

/// Setting of a tenant: IANA name of the time zone whose days and months it is billed by.
pub const TIMEZONE: &str = "timezone";

/// How a tenant stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TenantStatus {
    /// In use.
    Active,
    /// Closed by who looks after the platform.
    Suspended,
    /// Goes away for ever after the grace time, unless it is brought back.
    Deleting,
    /// Gone for ever; what is left is that it was there.
    Destroyed,
}

impl TenantStatus {
    /// Returns the word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            TenantStatus::Active => "active",
            TenantStatus::Suspended => "suspended",
            TenantStatus::Deleting => "deleting",
            TenantStatus::Destroyed => "destroyed",
        }
    }
}

/// A tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tenant {
    /// Identity.
    pub id: TenantId,
    /// Name.
    pub name: String,
    /// Short name in addresses; no two tenants have the same.
    pub slug: Text,
    /// Short names that it had, the oldest first; they still mean it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former_slugs: Vec<Text>,
    /// Domain that it says is its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Who made it, or was given it.
    pub owner_id: UserId,
    /// How it stands.
    pub status: TenantStatus,
    /// What it pays for.
    pub plan: Text,
    /// Settings; merged as RFC 7396 says.
    pub settings: Json,
    /// When it was made.
    pub created_at: Timestamp,
    /// When deletion was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleting_since: Option<Timestamp>,
}

impl Document for Tenant {
    const KIND: &'static str = "tenant";

    fn id(&self) -> Text {
        "tenant".into()
    }
}

/// Short names that a tenant had and that still mean it: addresses of hooks and bookmarks stay good
/// over a few changes, and nobody keeps names by the dozen.
pub const FORMER_SLUGS_MAX: usize = 5;

/// A short name that is taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slug {
    /// The short name.
    pub slug: Text,
    /// Whose it is.
    pub tenant_id: TenantId,
}

impl Document for Slug {
    const KIND: &'static str = "slug";

    fn id(&self) -> Text {
        self.slug.clone()
    }
}

/// Whether somebody sees what instances hold; who sees more is the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Payloads {
    /// Nothing of it.
    None,
    /// With personal data masked.
    Masked,
    /// All of it.
    Full,
}

/// What of the data somebody sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataAccess {
    /// Payloads.
    pub payloads: Payloads,
    /// Whether what is masked may be shown to them, once they prove who they are.
    #[serde(default)]
    pub pii_unmask: bool,
}

impl DataAccess {
    /// Returns what a role sees.
    pub fn of(role: Role) -> DataAccess {
        let payloads = if role == Role::Viewer { Payloads::Masked } else { Payloads::Full };
        DataAccess { payloads, pii_unmask: false }
    }
}

/// How a member stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberStatus {
    /// Takes part.
    Active,
    /// Does not, until somebody activates them again.
    Suspended,
}

/// A user in a tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// User, or the id of a service account.
    pub user_id: UserId,
    /// Word of a role, or the id of one that the tenant made.
    pub role: Text,
    /// What they may do, where that is not what the role carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<PermissionSet>,
    /// What of the data they see, where that is not what the role says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_access: Option<DataAccess>,
    /// How they stand.
    pub status: MemberStatus,
    /// When they came.
    pub joined_at: Timestamp,
    /// Who invited them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invited_by: Option<UserId>,
}

impl Document for Member {
    const KIND: &'static str = "member";

    fn id(&self) -> Text {
        self.user_id.to_string().into()
    }
}

/// A role that a tenant has made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CustomRole {
    /// Identity.
    pub id: RoleId,
    /// Name.
    pub name: String,
    /// How high it stands.
    pub base: Role,
    /// What it carries.
    pub permissions: PermissionSet,
    /// What of the data it sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_access: Option<DataAccess>,
}

impl Document for CustomRole {
    const KIND: &'static str = "role";

    fn id(&self) -> Text {
        self.id.to_string().into()
    }
}

/// An invitation that is open; one that was answered is in the audit trail only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Invitation {
    /// Identity.
    pub id: InvitationId,
    /// Who is invited; sealed with a key of its own until it is answered.
    pub email: String,
    /// Role to come.
    pub role: Text,
    /// What they will be able to do, where that is not what the role carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<PermissionSet>,
    /// Who invites.
    pub invited_by: UserId,
    /// Hash of the token.
    pub token_hash: Text,
    /// Until when.
    pub expires_at: Timestamp,
    /// How often it was sent.
    pub sent_count: u32,
}

impl Document for Invitation {
    const KIND: &'static str = "invitation";

    fn id(&self) -> Text {
        self.id.to_string().into()
    }
}

/// A key with which a program acts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Identity.
    pub id: ApiKeyId,
    /// What it is for.
    pub name: String,
    /// Whose rights it has at most.
    pub created_by: UserId,
    /// What it may do.
    pub scopes: PermissionSet,
    /// Hash of the key.
    pub hash: Text,
    /// First letters, by which people know it.
    pub prefix: Text,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when.
    pub expires_at: Timestamp,
    /// Addresses from which it may be used, as networks; empty means any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ip_allow: Vec<Text>,
    /// Service account that acts through it, in the place of who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<UserId>,
    /// About when it was last used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
}

impl ApiKey {
    /// Returns the member with whose rights it acts.
    pub fn acts_for(&self) -> UserId {
        self.service_account.unwrap_or(self.created_by)
    }
}

impl Document for ApiKey {
    const KIND: &'static str = "api_key";

    fn id(&self) -> Text {
        self.id.to_string().into()
    }
}

/// A member without a login, which acts through API keys; the member has the same id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceAccount {
    /// Identity.
    pub id: UserId,
    /// What it is for.
    pub name: String,
    /// Who made it.
    pub created_by: UserId,
    /// When.
    pub created_at: Timestamp,
}

impl Document for ServiceAccount {
    const KIND: &'static str = "service_account";

    fn id(&self) -> Text {
        self.id.to_string().into()
    }
}

/// An ownership that is offered to a member; a tenant has one such offer at most.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transfer {
    /// Who offers it.
    pub from: UserId,
    /// Who becomes an owner.
    pub to: UserId,
    /// Until when they may accept.
    pub expires_at: Timestamp,
}

impl Document for Transfer {
    const KIND: &'static str = "transfer";

    fn id(&self) -> Text {
        "transfer".into()
    }
}

/// A time in which somebody who looks after the platform may read in the tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BreakGlass {
    /// Who.
    pub user_id: UserId,
    /// Why.
    pub reason: String,
    /// Until when.
    pub until: Timestamp,
}

impl Document for BreakGlass {
    const KIND: &'static str = "break_glass";

    fn id(&self) -> Text {
        self.user_id.to_string().into()
    }
}

/// Checks the name of a tenant, of a role, of a key or of a service account.
pub fn name(text: &str) -> Result<String, Error> {
    match form::NAME.read(text) {
        Some(name) => Ok(name.to_owned()),
        None => Err(Error::invalid("/name", "a name has 1 to 100 characters, in one line")),
    }
}

/// Checks a short name.
pub fn slug(text: &str) -> Result<Text, Error> {
    let is_letter = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-';
    let is_good = (2..=40).contains(&text.len())
        && text.chars().all(is_letter)
        && !SLUGS_RESERVED.contains(&text)
        // An id in its place must not be mistaken for one.
        && text.parse::<TenantId>().is_err();
    match is_good {
        true => Ok(text.into()),
        false => Err(Error::invalid(
            "/slug",
            "a short name has 2 to 40 of the characters a-z, 0-9 and `-`, and is no reserved word",
        )),
    }
}

/// Makes a short name of a name: what is left of it when every other character becomes a dash.
pub fn slug_of(name: &str) -> String {
    let mut slug = String::new();
    for letter in name.to_lowercase().chars() {
        match letter.is_ascii_alphanumeric() {
            true => slug.push(letter),
            false if !slug.is_empty() && !slug.ends_with('-') => slug.push('-'),
            false => {}
        }
    }
    slug.truncate(32);
    let slug = slug.trim_matches('-');
    match self::slug(slug) {
        Ok(slug) => slug.to_string(),
        Err(_) => format!("{slug}-space").trim_start_matches('-').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_made_of_names() {
        for (name, expected) in [
            ("Acme Corp", "acme-corp"),
            ("  Ünïted & Söns  ", "n-ted-s-ns"),
            ("admin", "admin-space"),
            ("日本", "space"),
            ("X", "x-space"),
            ("a-very-long-name-that-goes-on-and-on-for-ever", "a-very-long-name-that-goes-on-an"),
        ] {
            assert_eq!(slug_of(name), expected, "{name}");
            assert!(slug(&slug_of(name)).is_ok(), "{name}");
        }
        for bad in ["", "a", "A-b", "a b", "current", "a/b", "../x", "ü1"] {
            assert!(slug(bad).is_err(), "{bad}");
        }
        assert!(slug("00000000-0000-0000-0000-000000000001").is_err());
    }
}
