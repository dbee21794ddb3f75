//! What stands in the place of personal data and depends on the key of the tenant: digests, which
//! nobody leads back, and tokens, which hold what they stand for, sealed.
//!
//! ```text
//! [EMAIL#1f0c...]   64 bits of HMAC-SHA-256 over type and text, written alike
//! [EMAIL:9b2e...]   AES-SIV (RFC 5297) of the text, with its type authenticated; in hexadecimal
//!                   digits, which survive whoever changes the case of letters
//! ```
//!
//! Both are the same for the same text of a tenant, and nobody can compare those of two tenants.
//! AES-SIV needs no nonce for that: a step decides the same token each time, and keeps no table.
//! A token tells how long its text is.

use aes_siv::{KeyInit as _, siv::Aes256Siv};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use traaviis_model::privacy::{PiiType, RedactionKey};

/// Bytes that AES-SIV adds.
const TAG_BYTES: usize = 16;
/// Bytes of a digest that are shown; among a million texts two are the same once in 37 million
/// tenants.
const DIGEST_BYTES: usize = 8;

/// Keys made from the key of a tenant, each for one purpose.
pub(super) struct Keyed {
    digests: Hmac<Sha256>,
    tokens: [u8; 64],
}

impl Drop for Keyed {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.tokens);
    }
}

impl Keyed {
    pub(super) fn new(key: &RedactionKey) -> Keyed {
        let made = |purpose: &[u8]| mac(key.expose()).chain_update(purpose).finalize().into_bytes();
        let mut tokens = [0; 64];
        tokens[..32].copy_from_slice(&made(b"tokens/1"));
        tokens[32..].copy_from_slice(&made(b"tokens/2"));
        Keyed { digests: mac(&made(b"digests/1")), tokens }
    }

    /// Returns the digest of a text.
    pub(super) fn digest(&self, kind: PiiType, text: &str) -> String {
        let word = kind.as_str();
        let digest = self.digests.clone().chain_update(word).chain_update([0]);
        let digest = digest.chain_update(alike(kind, text)).finalize().into_bytes();
        format!("[{word}#{}]", hex(&digest[..DIGEST_BYTES]))
    }

    /// Returns the token of a text; none when it is too long for the cipher.
    pub(super) fn token(&self, kind: PiiType, text: &str) -> Option<String> {
        let word = kind.as_str();
        let sealed = self.cipher().encrypt([word.as_bytes()], text.as_bytes()).ok()?;
        Some(format!("[{word}:{}]", hex(&sealed)))
    }

    /// Returns what a token stands for; none when this key has not made it.
    pub(super) fn revealed(&self, token: &str) -> Option<(PiiType, String)> {
        let inner = token.strip_prefix('[')?.strip_suffix(']')?;
        let (word, digits) = inner.split_once(':')?;
        let kind = *PiiType::ALL.iter().find(|it| it.as_str() == word)?;
        let sealed = unhex(digits).filter(|it| it.len() > TAG_BYTES)?;
        let text = self.cipher().decrypt([word.as_bytes()], &sealed).ok()?;
        Some((kind, String::from_utf8(text).ok()?))
    }

    fn cipher(&self) -> Aes256Siv {
        Aes256Siv::new(&self.tokens.into())
    }
}

fn mac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

/// Returns a text without what writers of the same thing do differently.
fn alike(kind: PiiType, text: &str) -> String {
    use PiiType::*;
    let is_number = matches!(
        kind,
        Phone
            | Ssn
            | NationalId
            | Passport
            | DriverLicense
            | TaxId
            | CreditCard
            | Iban
            | BankAccount
            | MedicalId
            | Mac
    );
    match kind {
        _ if is_number => {
            let letters = text.chars().filter(|it| it.is_alphanumeric() || *it == '+');
            letters.flat_map(char::to_lowercase).collect()
        }
        // Their case, and every character, can matter.
        Secret | Crypto | Url | Custom => text.to_string(),
        _ => text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|it| format!("{it:02x}")).collect()
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let digit = |it: &u8| char::from(*it).to_digit(16).and_then(|it| u8::try_from(it).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    };
    digits.as_bytes().chunks(2).map(pair).collect()
}
