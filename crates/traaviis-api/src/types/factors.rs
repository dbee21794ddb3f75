//! Confirming addresses, second factors, passkeys and logins elsewhere on the wire.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use uuid::Uuid;

use traaviis_model::form;

use crate::shape::{Also, Of, Words, either};

/// `POST /auth/verify`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyRequest {
    /// Token from the message.
    pub token: String,
}

/// `POST /auth/verify/resend` and `POST /auth/reset/request`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MailRequest {
    /// E-mail address.
    pub email: String,
}

/// The answer to who asks for a message, whether or not there is an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MailAnswer {
    /// Always `accepted`.
    pub status: String,
}

/// `POST /auth/reset/confirm`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResetRequest {
    /// Token from the message.
    pub token: String,
    /// Password to come, 8 to 128 characters.
    #[schemars(length(min = form::PASSWORD_CHARS_MIN, max = form::PASSWORD_CHARS_MAX))]
    pub password: String,
}

/// `POST /me/mfa`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FactorRequest {
    /// `totp` or `webauthn`.
    #[schemars(transform = Words(&["totp", "webauthn"]))]
    pub kind: String,
    /// What it is to be called.
    #[serde(default)]
    #[schemars(transform = Of(form::FACTOR_NAME))]
    pub name: Option<String>,
}

/// A factor that was begun; it counts once it is confirmed, within ten minutes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FactorBegun {
    /// Identity, for `POST /me/mfa/{id}/confirm`.
    pub id: Uuid,
    /// `totp` or `webauthn`.
    pub kind: String,
    /// Secret of an authenticator app, base32; told only now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// The same as `otpauth:` address, for a picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// What `PublicKeyCredential.parseCreationOptionsFromJSON` reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<Json>,
}

/// `POST /me/mfa/{id}/confirm`: one of both.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = Also(code_or_credential))]
pub struct ConfirmFactorRequest {
    /// First code of an authenticator app.
    #[serde(default)]
    pub code: Option<String>,
    /// What the browser answers for a passkey (`PublicKeyCredential.toJSON()`).
    #[serde(default)]
    pub credential: Option<Json>,
}

/// A second factor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FactorAnswer {
    /// Identity.
    pub id: Uuid,
    /// `totp` or `webauthn`.
    pub kind: String,
    /// What it is called.
    pub name: String,
    /// When it was added.
    pub added_at: String,
    /// When it was last used.
    pub used_at: String,
}

/// Second factors of a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FactorsAnswer {
    /// Them.
    pub items: Vec<FactorAnswer>,
    /// Recovery codes that were not used.
    pub recovery_codes_left: usize,
}

/// Recovery codes; told only now, and each works once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecoveryCodes {
    /// Them.
    pub codes: Vec<String>,
}

/// What a browser is to be asked for a login with a passkey.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PasskeyAsked {
    /// What `PublicKeyCredential.parseRequestOptionsFromJSON` reads.
    pub public_key: Json,
}

/// `POST /auth/webauthn/finish`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PasskeyRequest {
    /// What the browser answers (`PublicKeyCredential.toJSON()`).
    pub credential: Json,
    /// Id or short name of the tenant to act in.
    #[serde(default)]
    pub tenant: Option<String>,
}

/// An issuer that people may log in at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IssuerAnswer {
    /// Its name in addresses.
    pub name: String,
}

/// Where a browser goes on; the header `Location` says the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RedirectAnswer {
    /// Address.
    pub location: String,
}

/// What somebody comes back with from an issuer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ElsewhereAnswer {
    /// Ends the login with `POST /auth/oidc/finish`, once.
    pub ticket: String,
    /// How many seconds it works.
    pub expires_in: i64,
}

/// `POST /auth/oidc/finish`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ElsewhereRequest {
    /// The ticket.
    pub ticket: String,
    /// Code of an authenticator app, or a recovery code, for who has a second factor here.
    #[serde(default)]
    pub totp: Option<String>,
    /// Id or short name of the tenant to act in.
    #[serde(default)]
    pub tenant: Option<String>,
}

/// Shows a code or a credential.
fn code_or_credential() -> Json {
    let credential = json!({ "not": { "type": "null" } });
    either(("code", json!({ "type": "string" })), ("credential", credential))
}
