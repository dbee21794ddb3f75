//! Accounts, sessions and tokens on the wire.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use traaviis_model::form;

use crate::shape::Of;

/// `POST /auth/register`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterRequest {
    /// E-mail address.
    #[schemars(extend("format" = "email"))]
    pub email: String,
    /// Password, 8 to 128 characters.
    #[schemars(length(min = form::PASSWORD_CHARS_MIN, max = form::PASSWORD_CHARS_MAX))]
    pub password: String,
    /// Name; made of the address when it is absent.
    #[serde(default)]
    #[schemars(transform = Of(form::PERSON_NAME))]
    pub name: Option<String>,
    /// Name of the first tenant; made of the name when it is absent.
    #[serde(default)]
    #[schemars(transform = Of(form::NAME))]
    pub organisation: Option<String>,
}

/// `POST /auth/login`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    /// E-mail address.
    pub email: String,
    /// Password.
    pub password: String,
    /// Code of an authenticator app, or a recovery code, for who has a second factor.
    #[serde(default)]
    pub totp: Option<String>,
    /// Id or short name of the tenant to act in.
    #[serde(default)]
    pub tenant: Option<String>,
}

/// `POST /auth/refresh`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RefreshRequest {
    /// Refresh token; absent for a browser, which has it in a cookie.
    #[serde(default)]
    pub refresh_token: Option<String>,
}

/// `POST /auth/switch`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SwitchRequest {
    /// Id or short name of the tenant.
    pub tenant: String,
}

/// `POST /auth/reauthenticate`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReauthenticateRequest {
    /// Password; absent only for who has none.
    #[serde(default)]
    pub password: Option<String>,
    /// Code of an authenticator app, or a recovery code, for who has a second factor.
    #[serde(default)]
    pub totp: Option<String>,
}

/// `POST /me/password`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordRequest {
    /// Password of today.
    pub current: String,
    /// Password to come.
    #[schemars(length(min = form::PASSWORD_CHARS_MIN, max = form::PASSWORD_CHARS_MAX))]
    pub new: String,
}

/// `PATCH /me`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProfileRequest {
    /// Name.
    #[serde(default)]
    #[schemars(transform = Of(form::PERSON_NAME))]
    pub name: Option<String>,
    /// Address of a picture; empty takes it away.
    #[serde(default)]
    #[schemars(transform = Of(form::PICTURE))]
    pub avatar_url: Option<String>,
    /// Language.
    #[serde(default)]
    #[schemars(transform = Of(form::LOCALE))]
    pub locale: Option<String>,
    /// Time zone.
    #[serde(default)]
    #[schemars(transform = Of(form::TIMEZONE))]
    pub timezone: Option<String>,
}

/// Tokens, and what somebody can do with them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LoginAnswer {
    /// Access token, for `Authorization: Bearer`.
    pub access_token: String,
    /// Refresh token; works once. Null where it is in a cookie.
    pub refresh_token: Option<String>,
    /// Always `Bearer`.
    pub token_type: String,
    /// Life of the access token in seconds.
    pub expires_in: i64,
    /// Who has logged in.
    pub user: UserAnswer,
    /// Tenant that the access token is scoped to.
    pub tenant: Option<TenantBrief>,
    /// Tenants that they are in.
    pub tenants: Vec<TenantBrief>,
}

/// A ticket for a socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TicketAnswer {
    /// The ticket, for `/socket/websocket?ticket=`.
    pub ticket: String,
    /// How many seconds it works.
    pub expires_in: i64,
}

/// The one grant of `POST /auth/token-exchange`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExchangeGrant {
    /// Token exchange (RFC 8693).
    #[serde(rename = "urn:ietf:params:oauth:grant-type:token-exchange")]
    TokenExchange,
}

/// The one type of token that is exchanged, and given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExchangedType {
    /// An access token of this server.
    #[serde(rename = "urn:ietf:params:oauth:token-type:access_token")]
    AccessToken,
}

/// `POST /auth/token-exchange`: the names of RFC 8693, as JSON.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExchangeRequest {
    /// What is asked for.
    pub grant_type: ExchangeGrant,
    /// Access token of the caller's that is exchanged.
    pub subject_token: String,
    /// Its type.
    pub subject_token_type: ExchangedType,
    /// Type of the token that is wanted.
    #[serde(default)]
    pub requested_token_type: Option<ExchangedType>,
    /// Id or short name of the tenant that it is for; that of the first when it is absent.
    #[serde(default)]
    pub audience: Option<String>,
    /// Names of permissions between spaces; all that the first has when it is absent.
    #[serde(default)]
    pub scope: Option<String>,
    /// How many seconds it lives at most: an hour, and never longer than the first.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub expires_in: Option<u32>,
}

/// A token that another was exchanged for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExchangeAnswer {
    /// The token.
    pub access_token: String,
    /// Its type.
    pub issued_token_type: ExchangedType,
    /// How it is sent: `Bearer`.
    pub token_type: String,
    /// How many seconds it lives.
    pub expires_in: i64,
    /// Permissions that it is limited to, between spaces.
    pub scope: String,
    /// Tenant that it counts in alone.
    pub tenant: String,
}

/// A user as they see themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UserAnswer {
    /// Identity.
    pub id: Uuid,
    /// E-mail address.
    pub email: String,
    /// Whether the address is confirmed.
    pub email_verified: bool,
    /// Name.
    pub name: String,
    /// Picture.
    pub avatar_url: Option<String>,
    /// Language.
    pub locale: Option<String>,
    /// Time zone.
    pub timezone: Option<String>,
    /// `active`, `suspended` or `pending_verification`.
    pub status: String,
    /// `platform_admin` or `user`.
    pub platform_role: String,
    /// When they registered.
    pub created_at: String,
    /// When they last logged in.
    pub last_login: Option<String>,
}

/// A tenant in short.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TenantBrief {
    /// Identity.
    pub id: Uuid,
    /// Name.
    pub name: String,
    /// Short name.
    pub slug: String,
    /// Role in it: a word, or the id of a custom one.
    pub role: String,
    /// `active` or `deleting`.
    pub status: String,
}

/// A session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SessionAnswer {
    /// Identity.
    pub id: Uuid,
    /// It is the one of this request.
    pub current: bool,
    /// When it began.
    pub authenticated_at: String,
    /// When it was last renewed.
    pub last_used_at: String,
    /// When it ends at the latest.
    pub expires_at: String,
    /// Address of the login.
    pub ip_address: Option<String>,
    /// What the device says it is.
    pub user_agent: Option<String>,
    /// How the user has proved who they are.
    pub amr: Vec<String>,
}

/// `GET /me/permissions`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RightsAnswer {
    /// What everybody may do who has logged in.
    pub platform: Vec<String>,
    /// Whether one looks after the platform.
    pub platform_admin: bool,
    /// What one may do in the tenant of the token; null without one.
    pub tenant: Option<PermissionsAnswer>,
}

/// What somebody may do in a tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PermissionsAnswer {
    /// Tenant.
    pub tenant_id: Uuid,
    /// Permissions.
    pub permissions: Vec<String>,
    /// What of the data they see: `full`, `masked` or `none`.
    pub payloads: String,
}
