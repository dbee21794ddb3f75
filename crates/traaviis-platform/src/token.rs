//! Tokens: signed ones that say who acts, and opaque ones that are looked up.
//!
//! An access token is a JWT signed with Ed25519 by a key of the platform. Its header holds `alg`,
//! `typ` and `kid` and nothing else: a token that brings its own key, names an algorithm of its own
//! or asks for extensions is refused before anything in it is believed.
//!
//! Opaque tokens (refresh, invitation, API key) carry the id of what they belong to and 256 bits of
//! chance; only the SHA-256 of the whole token rests.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError, RwLock},
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use traaviis_model::{SessionId, Span, TenantId, Text, Timestamp, UserId};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::{entropy::Entropy, error::Error, ledger::Document};

/// Longest access token in bytes; ours have about 700.
pub const TOKEN_BYTES_MAX: usize = 1_024;
/// Type in the header of an access token (RFC 9068).
const TYPE: &str = "at+jwt";
/// How far the clocks of nodes may differ.
const LEEWAY: Span = Span::secs(5);
/// Tokens whose signature was checked and that are remembered: 64 bytes each. One check takes
/// 50 µs, a look into this 1 µs.
const CHECKED_MAX: usize = 20_000;
/// A signing key is replaced after so long.
pub const KEY_LIFE: Span = Span::secs(30 * 24 * 3_600);

/// What an access token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// Issuer.
    pub iss: String,
    /// Audience.
    pub aud: String,
    /// User.
    pub sub: UserId,
    /// The same, under the name that clients of channels ask for.
    pub user_id: UserId,
    /// Session.
    pub sid: SessionId,
    /// Tenant that it is scoped to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tid: Option<TenantId>,
    /// Tenant that it counts in alone, when an issuer of that tenant vouches for it. An earlier
    /// release refuses a token with a claim that it does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<TenantId>,
    /// Permissions that it is limited to, as bits, when it was exchanged for another; names would
    /// not fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub may: Option<u32>,
    /// `platform_admin` or `user`.
    pub platform_role: String,
    /// Version of the rights when it was issued.
    pub rv: u64,
    /// Issued at, in seconds.
    pub iat: i64,
    /// Not before.
    pub nbf: i64,
    /// Expires.
    pub exp: i64,
    /// Its own id.
    pub jti: Uuid,
}

impl Claims {
    /// Returns when it ends.
    pub fn until(&self) -> Timestamp {
        Timestamp(self.exp.saturating_mul(1_000_000))
    }
}

/// The header of an access token; any other field is refused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StrictHeader {
    alg: String,
    typ: String,
    kid: String,
}

/// A signing key as it rests: the private half sealed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SigningKey {
    /// Its id.
    pub kid: Text,
    /// Public half, base64url.
    pub x: Text,
    /// Private half, sealed.
    pub sealed: Text,
    /// When it was made.
    pub made_at: Timestamp,
    /// It is published and does not sign yet: whoever keeps the keys for a while has it by then.
    /// An earlier release passes over this, and lets it sign.
    #[serde(default, skip_serializing_if = "is_false")]
    pub waits: bool,
    /// When it began to sign; absent where it did so when it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signs_since: Option<Timestamp>,
    /// It signs no more; what it has signed is good until it expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired_at: Option<Timestamp>,
}

fn is_false(it: &bool) -> bool {
    !it
}

impl SigningKey {
    /// Says whether tokens are signed with it, now or if nothing newer comes.
    pub fn signs(&self) -> bool {
        !self.waits && self.retired_at.is_none()
    }

    /// Says whether it is the one to come.
    pub fn is_next(&self) -> bool {
        self.waits && self.retired_at.is_none()
    }

    /// Returns how long it has signed.
    pub fn age(&self, now: Timestamp) -> Span {
        now.since(self.signs_since.unwrap_or(self.made_at))
    }
}

impl Document for SigningKey {
    const KIND: &'static str = "signing_key";

    fn id(&self) -> Text {
        self.kid.clone()
    }
}

/// Makes a key pair: the private half as PKCS #8, the public half.
pub fn make_key() -> Result<(Zeroizing<Vec<u8>>, Text), Error> {
    let failed = |_| Error::new("internal", "a signing key cannot be made");
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(failed)?;
    let failed = |_| Error::new("internal", "a signing key cannot be read back");
    let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).map_err(failed)?;
    let public = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
    Ok((Zeroizing::new(pkcs8.as_ref().to_vec()), public.into()))
}

/// A key in memory.
struct Held {
    signs: EncodingKey,
    checks: DecodingKey,
    key: SigningKey,
}

/// Signs and checks access tokens.
pub struct Signer {
    issuer: String,
    /// The issuer without its port, where that is another one at each start.
    lasting: Option<String>,
    audience: String,
    keys: RwLock<Vec<Held>>,
    /// SHA-256 of tokens whose signature is good, with what they say.
    checked: Mutex<HashMap<[u8; 32], Claims>>,
}

impl Signer {
    /// Returns a signer without keys.
    pub fn new(issuer: String, audience: String) -> Signer {
        let (keys, checked) = (RwLock::default(), Mutex::default());
        Signer { issuer, lasting: None, audience, keys, checked }
    }

    /// Takes tokens of this issuer at any port for its own: it has signed them before it began
    /// anew, with the same keys.
    pub fn lasting(self, lasting: Option<String>) -> Signer {
        Signer { lasting, ..self }
    }

    /// Says whether it has named itself so, now or before.
    fn is_own(&self, issuer: &str) -> bool {
        let at_any_port = |lasting: &String| {
            let port = issuer.strip_prefix(&**lasting);
            // Releases before this one left the port out.
            port.is_some_and(|it| {
                let digits = it.strip_prefix(':');
                it.is_empty() || digits.is_some_and(|it| it.parse::<u16>().is_ok())
            })
        };
        issuer == self.issuer || self.lasting.as_ref().is_some_and(at_any_port)
    }

    /// Adds a key; the newest that is neither retired nor still waits signs.
    pub fn add(&self, key: SigningKey, private: &[u8]) -> Result<(), Error> {
        let failed = |error: jsonwebtoken::errors::Error| {
            Error::new("internal", format!("signing key `{}` cannot be read: {error}", key.kid))
        };
        let checks = DecodingKey::from_ed_components(&key.x).map_err(failed)?;
        let held = Held { signs: EncodingKey::from_ed_der(private), checks, key };
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.retain(|it| it.key.kid != held.key.kid);
        keys.push(held);
        keys.sort_by_key(|it| it.key.made_at);
        Ok(())
    }

    /// Notes what became of a key: it has begun to sign, or signs no more.
    pub fn note(&self, key: &SigningKey) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.iter_mut().filter(|it| it.key.kid == key.kid).for_each(|it| it.key = key.clone());
    }

    /// Takes a key out: nothing that it has signed is good any more.
    pub fn remove(&self, kid: &str) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.retain(|it| *it.key.kid != *kid);
        self.checked.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Returns the keys, the oldest first.
    pub fn keys(&self) -> Vec<SigningKey> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.iter().map(|it| it.key.clone()).collect()
    }

    /// Returns the public halves as a JSON Web Key Set.
    pub fn jwks(&self) -> serde_json::Value {
        let key = |it: &SigningKey| {
            serde_json::json!({
                "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA",
                "kid": it.kid, "x": it.x,
            })
        };
        serde_json::json!({ "keys": self.keys().iter().map(key).collect::<Vec<_>>() })
    }

    /// Returns the issuer.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Returns the audience.
    pub fn audience(&self) -> &str {
        &self.audience
    }

    /// Signs claims.
    pub fn sign(&self, claims: &Claims) -> Result<String, Error> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let newest = keys.iter().rev().find(|it| it.key.signs());
        let newest = newest.ok_or_else(|| Error::new("internal", "there is no signing key"))?;
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(TYPE.into());
        header.kid = Some(newest.key.kid.to_string());
        jsonwebtoken::encode(&header, claims, &newest.signs).map_err(|error| {
            Error::new("internal", format!("an access token cannot be signed: {error}"))
        })
    }

    /// Checks a token and returns what it says.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, Error> {
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let known = {
            let checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
            checked.get(&hash).cloned()
        };
        let claims = match known {
            Some(claims) => claims,
            None => {
                let claims = self.check(token).ok_or_else(invalid)?;
                let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
                if checked.len() >= CHECKED_MAX {
                    checked.clear();
                }
                checked.insert(hash, claims.clone());
                claims
            }
        };
        let (now, leeway) = (now.0 / 1_000_000, LEEWAY.as_millis() / 1_000);
        if claims.exp.saturating_add(leeway) <= now {
            return Err(Error::new("token_expired", "the access token has expired; refresh it"));
        }
        if claims.nbf.saturating_sub(leeway) > now || claims.iat.saturating_sub(leeway) > now {
            return Err(invalid());
        }
        Ok(claims)
    }

    /// Checks everything about a token but the time.
    fn check(&self, token: &str) -> Option<Claims> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let head = URL_SAFE_NO_PAD.decode(token.split('.').next()?).ok()?;
        let head: StrictHeader = serde_json::from_slice(&head).ok()?;
        if head.alg != "EdDSA" || head.typ != TYPE {
            return None;
        }
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let held = keys.iter().find(|it| *it.key.kid == *head.kid)?;
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&[&self.audience]);
        validation.set_required_spec_claims(&["iss", "aud", "sub", "exp", "nbf"]);
        // The time is compared with our own clock.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        let claims = jsonwebtoken::decode::<Claims>(token, &held.checks, &validation).ok()?.claims;
        (self.is_own(&claims.iss) && claims.sub == claims.user_id).then_some(claims)
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// The answer to every token that is no good; which rule it breaks is nobody's business.
pub fn invalid() -> Error {
    Error::new("invalid_token", "the token is not valid; log in again")
}

/// Kinds of opaque tokens: what they begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opaque {
    /// Renews a session.
    Refresh,
    /// Renews a session that counts in one tenant alone.
    RefreshConfined,
    /// Accepts an invitation.
    Invitation,
    /// Acts as a program.
    ApiKey,
    /// Sets a new password.
    Reset,
    /// Confirms an e-mail address.
    Verification,
    /// Opens one socket.
    Ticket,
}

impl Opaque {
    fn prefix(self) -> &'static str {
        match self {
            Opaque::Refresh => "trv_rt_",
            Opaque::RefreshConfined => "trv_rtt_",
            Opaque::Invitation => "trv_inv_",
            Opaque::ApiKey => "trv_live_",
            Opaque::Reset => "trv_rst_",
            Opaque::Verification => "trv_vfy_",
            Opaque::Ticket => "trv_tkt_",
        }
    }

    /// Makes a token for some ids, and the hash that rests.
    pub fn make(self, ids: &[Uuid], entropy: &Entropy) -> Result<(String, Text), Error> {
        let ids: Vec<u8> = ids.iter().flat_map(|it| *it.as_bytes()).collect();
        let secret = entropy.bytes::<32>()?;
        let (ids, secret) = (URL_SAFE_NO_PAD.encode(ids), URL_SAFE_NO_PAD.encode(secret));
        let plain = format!("{}{ids}_{secret}", self.prefix());
        // Typing errors and cut tokens are told apart from wrong ones without a look at anything.
        let token = format!("{plain}{}", checksum(&plain));
        let hash = hash_of(&token);
        Ok((token, hash))
    }

    /// Returns the ids in a token, if it is one of this kind.
    pub fn ids<const N: usize>(self, token: &str) -> Option<[Uuid; N]> {
        let rest = token.strip_prefix(self.prefix())?;
        let (plain, sum) = token.split_at_checked(token.len().checked_sub(CHECKSUM_CHARS)?)?;
        if checksum(plain) != sum {
            return None;
        }
        // The ids are of known length; base64url has an underscore among its letters.
        let chars = (N * 16 * 8).div_ceil(6);
        let (ids, rest) = rest.split_at_checked(chars)?;
        let bytes = URL_SAFE_NO_PAD.decode(ids).ok().filter(|_| rest.starts_with('_'))?;
        let mut found = [Uuid::nil(); N];
        for (id, bytes) in found.iter_mut().zip(bytes.as_chunks::<16>().0) {
            *id = Uuid::from_bytes(*bytes);
        }
        (bytes.len() == N * 16).then_some(found)
    }

    /// Says whether a text looks like a token of this kind.
    pub fn is(self, token: &str) -> bool {
        token.starts_with(self.prefix())
    }
}

/// Characters at the end of an opaque token that check the others.
const CHECKSUM_CHARS: usize = 6;

fn checksum(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let mut sum = URL_SAFE_NO_PAD.encode(digest);
    sum.truncate(CHECKSUM_CHARS);
    sum
}

/// Returns what rests of an opaque token.
pub fn hash_of(token: &str) -> Text {
    URL_SAFE_NO_PAD.encode(Sha256::digest(token.as_bytes())).into()
}

/// Says whether a token is the one whose hash rests.
pub fn is_of(token: &str, hash: &str) -> bool {
    hash_of(token).as_bytes().ct_eq(hash.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000_000);

    fn key_of(kid: &str, x: Text) -> SigningKey {
        SigningKey {
            kid: kid.into(),
            x,
            sealed: "".into(),
            made_at: NOW,
            waits: false,
            signs_since: None,
            retired_at: None,
        }
    }

    fn signer() -> Signer {
        let signer = Signer::new("https://a.example".into(), "traaviis".into());
        let (private, x) = make_key().unwrap();
        signer.add(key_of("k1", x), &private).unwrap();
        signer
    }

    fn claims() -> Claims {
        let user = UserId(Uuid::from_u128(7));
        Claims {
            iss: "https://a.example".into(),
            aud: "traaviis".into(),
            sub: user,
            user_id: user,
            sid: SessionId(Uuid::from_u128(8)),
            tid: None,
            only: None,
            may: None,
            platform_role: "user".into(),
            rv: 1,
            iat: 1_800_000_000,
            nbf: 1_800_000_000,
            exp: 1_800_000_900,
            jti: Uuid::from_u128(9),
        }
    }

    #[test]
    fn a_port_that_is_any_changes_no_issuer() {
        let fixed = Signer::new("http://127.0.0.1:4000".into(), "traaviis".into());
        let any = Signer::new("http://127.0.0.1:4000".into(), "traaviis".into());
        let any = any.lasting(Some("http://127.0.0.1".into()));
        for (issuer, by_fixed, by_any) in [
            ("http://127.0.0.1:4000", true, true),
            ("http://127.0.0.1:51312", false, true),
            ("http://127.0.0.1", false, true),
            ("http://127.0.0.1:4000/x", false, false),
            ("http://127.0.0.1:99999", false, false),
            ("http://127.0.0.12:4000", false, false),
            ("http://127.0.0.1.example", false, false),
        ] {
            assert_eq!((fixed.is_own(issuer), any.is_own(issuer)), (by_fixed, by_any), "{issuer}");
        }
    }

    #[test]
    fn a_token_is_good_until_it_expires() {
        let signer = signer();
        let token = signer.sign(&claims()).unwrap();
        assert!(token.len() <= TOKEN_BYTES_MAX, "{}", token.len());
        // With everything that a token can hold, and an issuer of usual length.
        let tenant = Some(TenantId(Uuid::from_u128(1)));
        let full = Claims { tid: tenant, only: tenant, may: Some(u32::MAX), ..claims() };
        let bytes = signer.sign(&full).unwrap().len();
        assert!(bytes + 128 <= TOKEN_BYTES_MAX, "{bytes}");
        let told = |at: i64| signer.verify(&token, NOW.plus(Span::secs(at)));
        let code = |at: i64| told(at).unwrap_err().code;
        assert_eq!(told(0), Ok(claims()));
        assert_eq!(told(899), Ok(claims()));
        assert_eq!(code(906), "token_expired");
        assert_eq!(code(-10), "invalid_token", "not yet");
        signer.remove("k1");
        assert_eq!(code(0), "invalid_token", "its key is gone");
    }

    /// A token made by hand: any header, any claims, signed with any key.
    fn forge(header: &str, claims: &str, sign: impl Fn(&str) -> Vec<u8>) -> String {
        let part = |it: &str| URL_SAFE_NO_PAD.encode(it);
        let message = format!("{}.{}", part(header), part(claims));
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(sign(&message)))
    }

    #[test]
    fn tampered_tokens_are_refused() {
        let signer = Signer::new("https://a.example".into(), "traaviis".into());
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let public = pair.public_key().as_ref().to_vec();
        let x: Text = URL_SAFE_NO_PAD.encode(&public).into();
        signer.add(key_of("k1", x), pkcs8.as_ref()).unwrap();
        let good_head = r#"{"alg":"EdDSA","typ":"at+jwt","kid":"k1"}"#;
        let good = serde_json::to_string(&claims()).unwrap();
        let sign = |message: &str| pair.sign(message.as_bytes()).as_ref().to_vec();
        assert!(signer.verify(&forge(good_head, &good, sign), NOW).is_ok(), "the forge works");

        let mut refused = Vec::new();
        // Headers, each with a signature that is right for it.
        for alg in ["none", "None", "NONE", "nOnE", "HS256", "HS512", "RS256", "ES256", "eddsa", ""]
        {
            for typ in ["at+jwt", "JWT", "at+JWT", ""] {
                let head = format!(r#"{{"alg":"{alg}","typ":"{typ}","kid":"k1"}}"#);
                refused.push(forge(&head, &good, sign));
                refused.push(forge(&head, &good, |_| Vec::new()));
            }
        }
        for extra in [
            r#""jku":"https://evil.example/jwks""#,
            r#""x5u":"https://evil.example/x""#,
            r#""jwk":{"kty":"OKP"}"#,
            r#""crit":["exp"]"#,
            r#""x5c":["a"]"#,
            r#""zip":"DEF""#,
            r#""cty":"JWT""#,
            r#""b64":false"#,
            r#""alg":"none""#,
        ] {
            let head = good_head.replace(r#""kid":"k1""#, &format!(r#""kid":"k1",{extra}"#));
            refused.push(forge(&head, &good, sign));
        }
        for kid in ["k2", "", "../k1", "k1\\u0000", "K1", "k1 "] {
            refused.push(forge(&good_head.replace("k1", kid), &good, sign));
        }
        refused.push(forge(r#"{"alg":"EdDSA","typ":"at+jwt"}"#, &good, sign));
        // Claims that are wrong, or of the wrong type.
        for (from, to) in [
            ("https://a.example", "https://b.example"),
            (r#""aud":"traaviis""#, r#""aud":"other""#),
            (r#""aud":"traaviis""#, r#""aud":["other"]"#),
            (r#""exp":1800000900"#, r#""exp":"1800000900""#),
            (r#""exp":1800000900"#, r#""exp":null"#),
            (r#""exp":1800000900"#, r#""exp":1e308"#),
            (r#""exp":1800000900,"#, ""),
            (r#""nbf":1800000000"#, r#""nbf":1e308"#),
            (r#""nbf":1800000000"#, r#""nbf":"0""#),
            (r#""nbf":1800000000,"#, ""),
            (r#""nbf":1800000000"#, r#""nbf":1900000000"#),
            (r#""iat":1800000000"#, r#""iat":1900000000"#),
            (r#""rv":1"#, r#""rv":-1"#),
            (r#""rv":1"#, r#""rv":1,"rv":2"#),
            (r#""rv":1"#, r#""rv":1,"admin":true"#),
            (r#""platform_role":"user""#, r#""platform_role":7"#),
            ("00000000-0000-0000-0000-000000000008", "8"),
        ] {
            assert!(good.contains(from), "{from}");
            refused.push(forge(good_head, &good.replace(from, to), sign));
        }
        let other_sub = good.replacen("000000000007", "000000000001", 1);
        refused.push(forge(good_head, &other_sub, sign));
        // Signatures: of another key, of the public key as a secret, each bit of the right one.
        let stranger = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let stranger = Ed25519KeyPair::from_pkcs8(stranger.as_ref()).unwrap();
        refused.push(forge(good_head, &good, |it| stranger.sign(it.as_bytes()).as_ref().to_vec()));
        refused.push(forge(good_head, &good, |_| public.clone()));
        for bit in 0..64 * 8 {
            refused.push(forge(good_head, &good, |message| {
                let mut signature = sign(message);
                signature[bit / 8] ^= 1 << (bit % 8);
                signature
            }));
        }
        // The text itself.
        let whole = forge(good_head, &good, sign);
        for text in ["", ".", "..", "a.b.c", &whole[1..], &whole[..whole.len() - 2]] {
            refused.push(text.into());
        }
        refused.push(format!("{whole}."));
        refused.push(format!("{whole}={}", "="));
        refused.push(whole.replace('.', ". "));
        refused.push("x".repeat(TOKEN_BYTES_MAX + 1));
        assert!(refused.len() > 120, "{}", refused.len());
        for token in &refused {
            let refusal = signer.verify(token, NOW).unwrap_err();
            assert_eq!(refusal.code, "invalid_token", "{token}");
        }
    }

    #[test]
    fn opaque_tokens_carry_their_ids_and_nothing_else_passes_for_one() {
        let entropy = Entropy::seeded(3);
        let ids = [Uuid::from_u128(u128::MAX - 5), Uuid::from_u128(2)];
        let (token, hash) = Opaque::Refresh.make(&ids, &entropy).unwrap();
        assert_eq!(Opaque::Refresh.ids::<2>(&token), Some(ids));
        assert!(is_of(&token, &hash));
        assert_eq!(Opaque::ApiKey.ids::<2>(&token), None);
        assert_eq!(Opaque::Refresh.ids::<1>(&token), None);
        assert_eq!(Opaque::Refresh.ids::<2>(&token[..token.len() - 1]), None, "cut");
        let (other, _) = Opaque::Refresh.make(&ids, &entropy).unwrap();
        assert_ne!(token, other);
        assert!(!is_of(&other, &hash));
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(Opaque::Refresh.ids::<2>(&changed), None, "letter {at}");
        }
    }
}
