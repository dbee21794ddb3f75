//! Checks ID tokens: by a key of the issuer, under the algorithm of that key, for us, now, for this
//! login.

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use traaviis_model::{Span, Timestamp};

/// Bytes of an ID token; the largest known have about 4 KiB.
const BYTES_MAX: usize = 16 << 10;
/// How far the clocks may differ.
const LEEWAY: Span = Span::secs(60);
/// Characters of a subject (OpenID Connect Core, section 2).
const SUBJECT_CHARS_MAX: usize = 255;

/// A key of an issuer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Jwk {
    kty: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default, rename = "use")]
    usage: Option<String>,
    #[serde(default)]
    crv: Option<String>,
    #[serde(default)]
    n: Option<String>,
    #[serde(default)]
    e: Option<String>,
    #[serde(default)]
    x: Option<String>,
    #[serde(default)]
    y: Option<String>,
}

/// What a token must say.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Issuer.
    pub issuer: &'a str,
    /// Whom it is for.
    pub client_id: &'a str,
    /// What this login was begun with.
    pub nonce: &'a str,
}

/// What is read of a token.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Claims {
    iss: String,
    /// Who it is at the issuer.
    pub sub: String,
    aud: Audience,
    #[serde(default)]
    azp: Option<String>,
    exp: i64,
    iat: i64,
    #[serde(default)]
    nbf: Option<i64>,
    nonce: String,
    /// Address.
    #[serde(default)]
    pub email: Option<String>,
    /// Whether the issuer has confirmed it. Anything but `true` means no.
    #[serde(default, deserialize_with = "only_true")]
    pub email_verified: bool,
    /// Name.
    #[serde(default)]
    pub name: Option<String>,
    /// How they proved who they are there.
    #[serde(default)]
    pub amr: Vec<String>,
    /// What else it says, such as groups; the meaning is a tenant's to give.
    #[serde(flatten)]
    pub others: serde_json::Map<String, serde_json::Value>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

fn only_true<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(value == serde_json::Value::Bool(true))
}

/// Why a token is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is no token of this form.
    #[error("the ID token cannot be read")]
    Form,
    /// Its algorithm is not taken, or not the one of the key.
    #[error("the ID token is signed in a way that is not taken")]
    Algorithm,
    /// No key of the issuer fits.
    #[error("the ID token names no key of its issuer")]
    Key,
    /// The signature is wrong.
    #[error("the signature of the ID token is wrong")]
    Signature,
    /// Another issuer.
    #[error("the ID token is of another issuer")]
    Issuer,
    /// For somebody else.
    #[error("the ID token is for somebody else")]
    Audience,
    /// Not now.
    #[error("the ID token has expired, or is not valid yet")]
    Time,
    /// For another login.
    #[error("the ID token is for another login")]
    Nonce,
    /// It names nobody.
    #[error("the ID token names nobody")]
    Subject,
}

/// The part of a header that decides; the keys that a token brings along are never read.
#[derive(Debug, Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    crit: Option<serde_json::Value>,
}

fn header(token: &str) -> Option<Header> {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let head = URL_SAFE_NO_PAD.decode(token.split('.').next()?).ok()?;
    serde_json::from_slice(&head).ok()
}

/// Says whether a token names a key that is not among these.
pub fn names_unknown(token: &str, keys: &[Jwk]) -> bool {
    let kid = header(token).and_then(|it| it.kid);
    kid.is_some_and(|kid| keys.iter().all(|it| it.kid.as_deref() != Some(&kid)))
}

impl Jwk {
    /// Returns the one algorithm that is taken with this key.
    fn algorithm(&self) -> Option<Algorithm> {
        let by_kind = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => (Algorithm::RS256, "RS256"),
            ("EC", Some("P-256")) => (Algorithm::ES256, "ES256"),
            ("OKP", Some("Ed25519")) => (Algorithm::EdDSA, "EdDSA"),
            _ => return None,
        };
        let is_for_signing = self.usage.as_deref().is_none_or(|it| it == "sig");
        let says_so = self.alg.as_deref().is_none_or(|it| it == by_kind.1 || it == "Ed25519");
        (is_for_signing && says_so).then_some(by_kind.0)
    }

    fn decoding(&self) -> Option<DecodingKey> {
        let key = match (self.algorithm()?, &self.n, &self.e, &self.x, &self.y) {
            (Algorithm::RS256, Some(n), Some(e), ..) => DecodingKey::from_rsa_components(n, e),
            (Algorithm::ES256, _, _, Some(x), Some(y)) => DecodingKey::from_ec_components(x, y),
            (Algorithm::EdDSA, _, _, Some(x), _) => DecodingKey::from_ed_components(x),
            _ => return None,
        };
        key.ok()
    }
}

/// Checks a token and returns what it says.
pub fn check(
    token: &str,
    keys: &[Jwk],
    expected: &Expected<'_>,
    now: Timestamp,
) -> Result<Claims, Refused> {
    if token.len() > BYTES_MAX {
        return Err(Refused::Form);
    }
    let header = header(token).ok_or(Refused::Form)?;
    let algorithm = match header.alg.as_str() {
        "RS256" => Algorithm::RS256,
        "ES256" => Algorithm::ES256,
        "EdDSA" | "Ed25519" => Algorithm::EdDSA,
        _ => return Err(Refused::Algorithm),
    };
    if header.crit.is_some() {
        return Err(Refused::Form);
    }
    // Without a name only a key that is alone of its kind is meant.
    let fits = |it: &&Jwk| match &header.kid {
        Some(kid) => it.kid.as_ref() == Some(kid),
        None => it.algorithm() == Some(algorithm),
    };
    let mut fitting = keys.iter().filter(fits);
    let (Some(key), None) = (fitting.next(), fitting.next()) else { return Err(Refused::Key) };
    if key.algorithm() != Some(algorithm) {
        return Err(Refused::Algorithm);
    }
    let decoding = key.decoding().ok_or(Refused::Key)?;
    let mut validation = Validation::new(algorithm);
    // Compared below, with our own clock and exactly.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation.set_required_spec_claims::<&str>(&[]);
    let decoded = jsonwebtoken::decode::<Claims>(token, &decoding, &validation);
    let claims = decoded.map_err(|error| match error.kind() {
        jsonwebtoken::errors::ErrorKind::InvalidSignature => Refused::Signature,
        _ => Refused::Form,
    })?;
    believe(claims.claims, expected, now)
}

fn believe(claims: Claims, expected: &Expected<'_>, now: Timestamp) -> Result<Claims, Refused> {
    if claims.iss != expected.issuer {
        return Err(Refused::Issuer);
    }
    let client = expected.client_id;
    let is_for_us = match &claims.aud {
        Audience::One(one) => one == client,
        // Of several it must say which one asked.
        Audience::Many(many) => {
            let is_alone = many.len() == 1;
            many.iter().any(|it| it == client) && (is_alone || claims.azp.is_some())
        }
    };
    if !is_for_us || claims.azp.as_deref().is_some_and(|it| it != client) {
        return Err(Refused::Audience);
    }
    let (now, leeway) = (now.0 / 1_000_000, LEEWAY.as_millis() / 1_000);
    let is_over = claims.exp.saturating_add(leeway) <= now;
    let begins = claims.nbf.unwrap_or(claims.iat).max(claims.iat);
    if is_over || begins.saturating_sub(leeway) > now {
        return Err(Refused::Time);
    }
    if claims.nonce != expected.nonce {
        return Err(Refused::Nonce);
    }
    match claims.sub.is_empty() || claims.sub.chars().count() > SUBJECT_CHARS_MAX {
        true => Err(Refused::Subject),
        false => Ok(claims),
    }
}

#[cfg(test)]
mod tests;
