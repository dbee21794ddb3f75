//! What a user proves who they are with besides a password: codes of an authenticator app,
//! passkeys, recovery codes, and logins elsewhere.
//!
//! All of it rests inside what is about the person, sealed with their key. Invariants: a code of a
//! step is taken once, and none of an earlier step after it; a recovery code is taken once.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use totp_rs::Secret;
use traaviis_model::{FactorId, Text, Timestamp};

use crate::{entropy::Entropy, error::Error, token::hash_of};

/// Factors of one user; more than a few devices are a mistake.
pub const FACTORS_MAX: usize = 20;
/// Logins elsewhere of one user.
pub const IDENTITIES_MAX: usize = 20;
/// Recovery codes that are made at once.
pub const RECOVERY_CODES: usize = 10;
/// Seconds of a step, what every authenticator app does.
pub const STEP_SECONDS: u64 = 30;
/// Steps that the clock of a phone may be ahead or behind.
const DRIFT_STEPS: u16 = 1;
/// Bytes of the secret: 160 bits, as RFC 4226 advises.
pub const SECRET_BYTES: usize = 20;
/// Letters of recovery codes: none that look alike. 32 of them, so each holds five bits.
const LETTERS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz234567890";
/// Letters of a recovery code: 80 bits, so a plain hash is enough.
const RECOVERY_CHARS: usize = 16;

/// An authenticator app.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// Identity.
    pub id: FactorId,
    /// What its user calls it.
    pub name: String,
    /// Secret, base32.
    pub secret: String,
    /// Last step whose code was taken.
    pub last_step: u64,
    /// When it was added.
    pub added_at: Timestamp,
    /// When it was last used.
    pub used_at: Timestamp,
}

/// Tells no secret.
impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A passkey.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passkey {
    /// Identity.
    pub id: FactorId,
    /// What its user calls it.
    pub name: String,
    /// Id that the authenticator gave it, base64url.
    pub credential: String,
    /// Public key as COSE, base64url.
    pub key: String,
    /// Signature counter; 0 for authenticators that do not count.
    pub counter: u32,
    /// When it was added.
    pub added_at: Timestamp,
    /// When it was last used.
    pub used_at: Timestamp,
}

/// Who somebody is elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// Issuer.
    pub issuer: String,
    /// Name of the subject there, which never becomes somebody else's.
    pub subject: String,
}

/// Everything that one user has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Factors {
    /// Authenticator apps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apps: Vec<App>,
    /// Passkeys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passkeys: Vec<Passkey>,
    /// Hashes of recovery codes that were not used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recovery: Vec<Text>,
    /// Logins elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub identities: Vec<Identity>,
}

/// Which kind of code was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Used {
    /// One of an authenticator app.
    App,
    /// A recovery code; so many are left.
    Recovery(usize),
}

impl Used {
    /// Returns the ways of proving who one is (RFC 8176).
    pub fn amr(self) -> &'static [&'static str] {
        match self {
            Used::App => &["otp", MFA],
            Used::Recovery(_) => &[MFA],
        }
    }
}

/// Word of RFC 8176 for a session that was begun with two factors.
pub const MFA: &str = "mfa";

impl Factors {
    /// Says whether there is nothing.
    pub fn is_empty(&self) -> bool {
        *self == Factors::default()
    }

    /// Says whether a password alone does not do.
    pub fn has_second(&self) -> bool {
        !self.apps.is_empty() || !self.passkeys.is_empty()
    }

    /// Returns how many second factors there are.
    pub fn count(&self) -> usize {
        self.apps.len() + self.passkeys.len()
    }

    /// Returns the words for what somebody can prove themselves with.
    pub fn methods(&self) -> Vec<&'static str> {
        let words = [
            ("totp", self.apps.is_empty()),
            ("webauthn", self.passkeys.is_empty()),
            ("recovery_code", self.recovery.is_empty()),
        ];
        words.into_iter().filter(|it| !it.1).map(|it| it.0).collect()
    }

    /// Uses a code up, whichever kind it is.
    pub fn use_code(&mut self, code: &str, now: Timestamp) -> Option<Used> {
        let plain = plain(code);
        for app in &mut self.apps {
            if let Some(step) = step_of(&app.secret, &plain, now).filter(|it| *it > app.last_step) {
                app.last_step = step;
                app.used_at = now;
                return Some(Used::App);
            }
        }
        let hash = hash_of(&plain);
        let is_it = |it: &Text| bool::from(it.as_bytes().ct_eq(hash.as_bytes()));
        let at = self.recovery.iter().position(is_it)?;
        self.recovery.remove(at);
        Some(Used::Recovery(self.recovery.len()))
    }

    /// Takes a factor away and returns what it was called. Without a second factor recovery codes
    /// recover nothing, so they go with the last one.
    pub fn remove(&mut self, id: FactorId) -> Option<String> {
        let app = self.apps.iter().position(|it| it.id == id);
        let name = match app {
            Some(at) => self.apps.remove(at).name.clone(),
            None => {
                let at = self.passkeys.iter().position(|it| it.id == id)?;
                self.passkeys.remove(at).name
            }
        };
        if !self.has_second() {
            self.recovery.clear();
        }
        Some(name)
    }

    /// Makes recovery codes in the place of those before; they are told once.
    pub fn make_recovery(&mut self, entropy: &Entropy) -> Result<Vec<String>, Error> {
        let mut codes = Vec::with_capacity(RECOVERY_CODES);
        for _ in 0..RECOVERY_CODES {
            let bytes = entropy.bytes::<RECOVERY_CHARS>()?;
            codes.push(bytes.map(|it| char::from(LETTERS[usize::from(it % 32)])));
        }
        self.recovery = codes.iter().map(|it| hash_of(&String::from_iter(it))).collect();
        // In groups of four, which people copy without errors.
        let shown = |it: &[char; RECOVERY_CHARS]| {
            it.chunks(4).map(String::from_iter).collect::<Vec<_>>().join("-")
        };
        Ok(codes.iter().map(shown).collect())
    }
}

/// Returns a code without what people and apps put between its letters.
fn plain(code: &str) -> String {
    code.chars().filter(|it| !matches!(it, ' ' | '-')).map(|it| it.to_ascii_lowercase()).collect()
}

/// Makes the secret of an app.
pub fn make_secret(entropy: &Entropy) -> Result<String, Error> {
    Ok(Secret::from(entropy.bytes::<SECRET_BYTES>()?.as_slice()).to_base32())
}

/// Returns the address that an app reads from a picture.
pub fn address_of(secret: &str, account: &str) -> Result<String, Error> {
    let totp = totp(secret).ok_or_else(unreadable)?;
    let builder = totp_rs::Builder::new()
        .with_secret(totp.secret().clone())
        .with_step_duration(STEP_SECONDS)
        .with_account_name(account)
        .with_issuer(Some("TRAAVIIS"));
    let named = builder.build().map_err(|_| unreadable())?;
    named.to_url().map_err(|_| unreadable())
}

/// Returns the step whose code this is.
pub fn step_of(secret: &str, code: &str, now: Timestamp) -> Option<u64> {
    let seconds = u64::try_from(now.0 / 1_000_000).ok()?;
    totp(secret)?.check(code, seconds)
}

fn totp(secret: &str) -> Option<totp_rs::Totp> {
    let secret = Secret::try_from_base32(secret).ok()?;
    let builder = totp_rs::Builder::new().with_secret(secret);
    builder.with_skew(DRIFT_STEPS).with_step_duration(STEP_SECONDS).build().ok()
}

fn unreadable() -> Error {
    Error::new("documents_failed", "the secret of an authenticator app cannot be read")
}

/// Returns what identifies a login elsewhere in a lookup, without holding it.
pub(crate) fn key_of(issuer: &str, subject: &str) -> [u8; 32] {
    let mut digest = Sha256::new();
    // The length keeps two pairs of the same letters apart.
    digest.update((issuer.len() as u64).to_be_bytes());
    digest.update(issuer.as_bytes());
    digest.update(subject.as_bytes());
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use traaviis_model::Span;
    use uuid::Uuid;

    use super::*;

    /// Secret of the tables in RFC 6238.
    const RFC: &[u8] = b"12345678901234567890";

    #[test]
    fn codes_are_those_of_the_rfc() {
        let secret = Secret::from(RFC).to_base32();
        // The last six of the eight digits in the table.
        for (at, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            let now = Timestamp(at * 1_000_000);
            assert_eq!(step_of(&secret, code, now), Some(at as u64 / 30), "{at}");
            for (moved, is_taken) in [(-60, false), (-30, true), (30, true), (60, false)] {
                let then = now.plus(Span::secs(moved));
                assert_eq!(step_of(&secret, code, then).is_some(), is_taken, "{at} {moved}");
            }
            for wrong in ["", "28708", "2870822", "+28708", "28708a", "２８７０８２"] {
                assert_eq!(step_of(&secret, wrong, now), None, "{wrong}");
            }
        }
    }

    fn code_at(secret: &str, now: Timestamp) -> String {
        totp(secret).unwrap().generate(now.0 as u64 / 1_000_000).to_string()
    }

    #[test]
    fn a_step_is_taken_once_and_no_earlier_one_after_it() {
        let entropy = Entropy::seeded(7);
        let (secret, now) = (make_secret(&entropy).unwrap(), Timestamp(1_800_000_000_000_000));
        let step = Span::secs(30);
        let app = App {
            id: FactorId(Uuid::nil()),
            name: "phone".into(),
            secret: secret.clone(),
            last_step: 0,
            added_at: now,
            used_at: now,
        };
        let mut factors = Factors { apps: vec![app], ..Factors::default() };
        let (early, code) = (code_at(&secret, Timestamp(now.0 - step.0)), code_at(&secret, now));
        assert_eq!(
            factors.use_code(&format!("{} {}", &code[..3], &code[3..]), now),
            Some(Used::App)
        );
        assert_eq!(factors.use_code(&code, now), None, "once");
        assert_eq!(factors.use_code(&early, now), None, "an earlier one");
        let next = now.plus(step);
        assert_eq!(factors.use_code(&code, next), None, "nor later");
        assert_eq!(factors.use_code(&code_at(&secret, next), next), Some(Used::App));
        assert!(!format!("{factors:?}").contains(&secret));
    }

    #[test]
    fn recovery_codes_work_once_each_and_go_with_the_last_factor() {
        let (entropy, now) = (Entropy::seeded(9), Timestamp(1_800_000_000_000_000));
        let id = FactorId(Uuid::from_u128(1));
        let passkey = Passkey {
            id,
            name: "key".into(),
            credential: String::new(),
            key: String::new(),
            counter: 0,
            added_at: now,
            used_at: now,
        };
        let mut factors = Factors { passkeys: vec![passkey], ..Factors::default() };
        let codes = factors.make_recovery(&entropy).unwrap();
        assert_eq!(codes.len(), RECOVERY_CODES);
        assert!(codes.iter().all(|it| it.len() == 19), "{codes:?}");
        let text = serde_json::to_string(&factors).unwrap();
        assert!(codes.iter().all(|it| !text.contains(&plain(it))), "only hashes rest");
        assert_eq!(factors.use_code(&codes[3].to_uppercase(), now), Some(Used::Recovery(9)));
        assert_eq!(factors.use_code(&codes[3], now), None);
        let again = factors.make_recovery(&entropy).unwrap();
        assert_eq!(factors.use_code(&codes[4], now), None, "replaced");
        assert_eq!(factors.use_code(&again[0].replace('-', ""), now), Some(Used::Recovery(9)));
        assert_eq!(factors.methods(), ["webauthn", "recovery_code"]);
        assert_eq!(factors.remove(id).as_deref(), Some("key"));
        assert!(factors.is_empty());
        assert_eq!(factors.remove(id), None);
    }

    #[test]
    fn an_app_reads_the_address() {
        let secret = Secret::from(RFC).to_base32();
        let address = address_of(&secret, "ada@example.org").unwrap();
        assert!(address.starts_with("otpauth://totp/TRAAVIIS:ada"), "{address}");
        assert!(address.contains(&format!("secret={secret}")), "{address}");
        assert_ne!(key_of("https://a", "bc"), key_of("https://ab", "c"));
    }
}
