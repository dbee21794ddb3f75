//! Checks what authenticators sign: the two ceremonies of WebAuthn, as far as passkeys need them.
//!
//! ```text
//! registration: client data + attestation object (CBOR)  -> a new credential
//! assertion:    client data + authenticator data + signature by its key -> a new count
//! ```
//!
//! Pure: challenges are given, nothing is kept. Taken are keys of ES256, EdDSA and RS256, and the
//! attestations `none` and `packed` by the key itself; who made an authenticator is not asked.
//! Invariant: nothing in an answer is believed that the right challenge, origin, party, flags and
//! signature do not stand beside. Section numbers are those of WebAuthn Level 3.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ciborium::Value as Cbor;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// Algorithms of COSE that are taken, the best first.
pub const ALGORITHMS: [i64; 3] = [EDDSA, ES256, RS256];
const ES256: i64 = -7;
const EDDSA: i64 = -8;
const RS256: i64 = -257;
/// Bytes of the id of a credential (section 7.1, step 25).
const CREDENTIAL_BYTES_MAX: usize = 1_023;
/// Bytes of each part of an answer; the largest that a good one has is about 2 KiB.
const PART_BYTES_MAX: usize = 64 << 10;
/// The modulus of an RSA key in bytes: 2048 to 4096 bits.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=512;

const USER_PRESENT: u8 = 0x01;
const USER_VERIFIED: u8 = 0x04;
const MAY_BE_BACKED_UP: u8 = 0x08;
const BACKED_UP: u8 = 0x10;
const HAS_CREDENTIAL: u8 = 0x40;
const HAS_EXTENSIONS: u8 = 0x80;

/// Which check an answer does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A part is missing, too long, or not in the form of the standard.
    #[error("the answer is not in the form of WebAuthn: {0}")]
    Form(&'static str),
    /// The client data are of the other ceremony.
    #[error("the answer is to another question")]
    Type,
    /// The challenge is another one.
    #[error("the challenge is another one")]
    Challenge,
    /// The page is another one.
    #[error("the origin is another one")]
    Origin,
    /// The page stands inside of another one.
    #[error("the page is embedded into another one")]
    Embedded,
    /// The credential is of another party.
    #[error("the credential is of another party")]
    Party,
    /// Nobody touched the authenticator.
    #[error("nobody was present")]
    NotPresent,
    /// The authenticator did not check who it was.
    #[error("the authenticator did not check who it was")]
    NotVerified,
    /// The flags contradict each other.
    #[error("the flags contradict each other")]
    Flags,
    /// The key is of a kind that is not taken, or broken.
    #[error("the key is of a kind that is not taken")]
    Key,
    /// The attestation is of a form that is not taken, or says something else than the answer.
    #[error("the attestation is not taken")]
    Attestation,
    /// The signature is wrong.
    #[error("the signature is wrong")]
    Signature,
    /// The counter did not rise: there are two of the same authenticator.
    #[error("the counter did not rise")]
    Counter,
}

/// Who asks: a name, and the pages that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// Domain.
    pub id: String,
    /// Origin of its pages.
    pub origin: String,
}

impl Party {
    /// Returns the party of an address; one without a name has none.
    pub fn of(address: &str) -> Option<Party> {
        let url = url::Url::parse(address).ok()?;
        let Some(url::Host::Domain(name)) = url.host() else { return None };
        // Browsers offer passkeys only to pages that nobody on the way can change.
        let is_safe = url.scheme() == "https" || name == "localhost";
        let origin = url.origin().ascii_serialization();
        is_safe.then(|| Party { id: name.to_owned(), origin })
    }
}

/// A credential that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Its id.
    pub credential: Vec<u8>,
    /// Its public key as COSE.
    pub key: Vec<u8>,
    /// Its counter.
    pub counter: u32,
}

/// What a browser answers: `PublicKeyCredential.toJSON()`.
#[derive(Clone, Debug, Deserialize)]
pub struct Answer {
    id: String,
    #[serde(rename = "rawId")]
    raw_id: String,
    #[serde(rename = "type")]
    kind: String,
    response: Response,
}

#[derive(Clone, Debug, Deserialize)]
struct Response {
    #[serde(rename = "clientDataJSON")]
    client_data: String,
    #[serde(rename = "attestationObject")]
    attestation: Option<String>,
    #[serde(rename = "authenticatorData")]
    authenticator_data: Option<String>,
    signature: Option<String>,
    #[serde(rename = "userHandle")]
    user_handle: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ClientData {
    #[serde(rename = "type")]
    kind: String,
    challenge: String,
    origin: String,
    #[serde(default, rename = "crossOrigin")]
    cross_origin: bool,
    #[serde(default, rename = "topOrigin")]
    top_origin: Option<String>,
}

/// Decodes base64url, with a bound.
fn decoded(text: &str, what: &'static str) -> Result<Vec<u8>, Refused> {
    if text.len() > PART_BYTES_MAX * 4 / 3 {
        return Err(Refused::Form(what));
    }
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Refused::Form(what))
}

fn part(given: Option<&String>, what: &'static str) -> Result<Vec<u8>, Refused> {
    decoded(given.ok_or(Refused::Form(what))?, what)
}

impl Answer {
    /// Reads an answer.
    pub fn read(json: &serde_json::Value) -> Result<Answer, Refused> {
        let answer = Answer::deserialize(json).map_err(|_| Refused::Form("credential"))?;
        match answer.kind == "public-key" && answer.id == answer.raw_id {
            true => Ok(answer),
            false => Err(Refused::Form("credential")),
        }
    }

    /// Returns the id of the credential.
    pub fn credential(&self) -> Result<Vec<u8>, Refused> {
        decoded(&self.raw_id, "rawId")
    }

    /// Returns whom the authenticator says it belongs to.
    pub fn user_handle(&self) -> Result<Vec<u8>, Refused> {
        part(self.response.user_handle.as_ref(), "userHandle")
    }

    /// Returns the challenge that it says it answers, to find what was asked.
    pub fn challenge(&self) -> Result<String, Refused> {
        Ok(client_data(&self.response.client_data)?.0.challenge)
    }

    /// Checks a registration (section 7.1) and returns the new credential.
    pub fn check_registration(&self, party: &Party, challenge: &str) -> Result<Made, Refused> {
        let hash = self.check_client(party, challenge, "webauthn.create")?;
        let object = part(self.response.attestation.as_ref(), "attestationObject")?;
        let (object, rest) = cbor(&object).ok_or(Refused::Form("attestationObject"))?;
        if !rest.is_empty() {
            return Err(Refused::Form("attestationObject"));
        }
        let field = |name: &str| field(&object, &Cbor::from(name));
        let bytes = field("authData").and_then(Cbor::as_bytes);
        let bytes = bytes.ok_or(Refused::Form("authData"))?;
        let data = AuthenticatorData::read(bytes)?;
        data.check(party)?;
        let Some((credential, key)) = data.made else { return Err(Refused::Form("authData")) };
        if credential.len() > CREDENTIAL_BYTES_MAX || credential != self.credential()? {
            return Err(Refused::Form("rawId"));
        }
        let parsed = Key::read(&key)?;
        let format = field("fmt").and_then(Cbor::as_text).ok_or(Refused::Form("fmt"))?;
        let statement = field("attStmt").and_then(Cbor::as_map).ok_or(Refused::Form("attStmt"))?;
        match format {
            "none" if statement.is_empty() => {}
            "packed" => check_packed(statement, &parsed, &[bytes.as_slice(), &hash].concat())?,
            _ => return Err(Refused::Attestation),
        }
        Ok(Made { credential, key, counter: data.counter })
    }

    /// Checks an assertion (section 7.2) by a key, whose counter stood somewhere; returns where it
    /// stands now.
    pub fn check_assertion(
        &self,
        party: &Party,
        challenge: &str,
        (key, counter): (&[u8], u32),
    ) -> Result<u32, Refused> {
        let hash = self.check_client(party, challenge, "webauthn.get")?;
        let bytes = part(self.response.authenticator_data.as_ref(), "authenticatorData")?;
        let data = AuthenticatorData::read(&bytes)?;
        data.check(party)?;
        let signature = part(self.response.signature.as_ref(), "signature")?;
        Key::read(key)?.check(&[bytes.as_slice(), &hash].concat(), &signature)?;
        // Section 7.2, step 22. Authenticators that do not count say 0 for ever.
        match (counter, data.counter) {
            (0, 0) => Ok(0),
            (before, now) if now > before => Ok(now),
            _ => Err(Refused::Counter),
        }
    }

    /// Checks what the browser says, and returns its hash, which is signed.
    fn check_client(
        &self,
        party: &Party,
        challenge: &str,
        kind: &str,
    ) -> Result<[u8; 32], Refused> {
        let (data, hash) = client_data(&self.response.client_data)?;
        if data.kind != kind {
            return Err(Refused::Type);
        }
        if data.challenge != challenge {
            return Err(Refused::Challenge);
        }
        if data.origin != party.origin {
            return Err(Refused::Origin);
        }
        match data.cross_origin || data.top_origin.is_some() {
            true => Err(Refused::Embedded),
            false => Ok(hash),
        }
    }
}

fn client_data(text: &str) -> Result<(ClientData, [u8; 32]), Refused> {
    let bytes = decoded(text, "clientDataJSON")?;
    let data = serde_json::from_slice(&bytes).map_err(|_| Refused::Form("clientDataJSON"))?;
    Ok((data, Sha256::digest(&bytes).into()))
}

/// What an authenticator says (section 6.1).
#[derive(Debug, PartialEq, Eq)]
struct AuthenticatorData {
    party: [u8; 32],
    flags: u8,
    counter: u32,
    /// Id and key of a new credential.
    made: Option<(Vec<u8>, Vec<u8>)>,
}

impl AuthenticatorData {
    fn read(bytes: &[u8]) -> Result<AuthenticatorData, Refused> {
        let broken = Refused::Form("authenticatorData");
        let (party, rest) = bytes.split_first_chunk::<32>().ok_or(broken)?;
        let (&[flags], rest) = rest.split_first_chunk::<1>().ok_or(broken)?;
        let (counter, mut rest) = rest.split_first_chunk::<4>().ok_or(broken)?;
        let mut made = None;
        if flags & HAS_CREDENTIAL != 0 {
            // The model of the authenticator, which nobody asks for.
            let (_, after) = rest.split_first_chunk::<16>().ok_or(broken)?;
            let (length, after) = after.split_first_chunk::<2>().ok_or(broken)?;
            let length = usize::from(u16::from_be_bytes(*length));
            let (id, after) = after.split_at_checked(length).ok_or(broken)?;
            let (_, end) = cbor(after).ok_or(broken)?;
            made = Some((id.to_vec(), after[..after.len() - end.len()].to_vec()));
            rest = end;
        }
        if flags & HAS_EXTENSIONS != 0 {
            let (extensions, end) = cbor(rest).ok_or(broken)?;
            if !extensions.is_map() {
                return Err(broken);
            }
            rest = end;
        }
        match rest.is_empty() {
            true => {
                let counter = u32::from_be_bytes(*counter);
                Ok(AuthenticatorData { party: *party, flags, counter, made })
            }
            false => Err(broken),
        }
    }

    fn check(&self, party: &Party) -> Result<(), Refused> {
        let expected: [u8; 32] = Sha256::digest(party.id.as_bytes()).into();
        if self.party != expected {
            return Err(Refused::Party);
        }
        if self.flags & USER_PRESENT == 0 {
            return Err(Refused::NotPresent);
        }
        // A passkey stands for both factors, so it must have asked who it is.
        if self.flags & USER_VERIFIED == 0 {
            return Err(Refused::NotVerified);
        }
        match self.flags & BACKED_UP != 0 && self.flags & MAY_BE_BACKED_UP == 0 {
            true => Err(Refused::Flags),
            false => Ok(()),
        }
    }
}

/// Checks that the key attests itself (section 8.2); certificates are not taken.
fn check_packed(statement: &[(Cbor, Cbor)], key: &Key, signed: &[u8]) -> Result<(), Refused> {
    let statement = Cbor::Map(statement.to_vec());
    let get = |name: &str| field(&statement, &Cbor::from(name));
    let algorithm = get("alg").and_then(whole).ok_or(Refused::Attestation)?;
    if get("x5c").is_some() || get("ecdaaKeyId").is_some() || algorithm != key.algorithm() {
        return Err(Refused::Attestation);
    }
    let signature = get("sig").and_then(Cbor::as_bytes).ok_or(Refused::Attestation)?;
    key.check(signed, signature)
}

/// A public key that can be checked with.
#[derive(Debug, PartialEq, Eq)]
enum Key {
    /// A point of P-256, uncompressed.
    Es256(Vec<u8>),
    Ed25519(Vec<u8>),
    Rs256 {
        n: Vec<u8>,
        e: Vec<u8>,
    },
}

impl Key {
    /// Reads a COSE key; the algorithm is fixed by the kind of key, and must say so.
    fn read(bytes: &[u8]) -> Result<Key, Refused> {
        let (map, rest) = cbor(bytes).ok_or(Refused::Key)?;
        let get = |label: i64| field(&map, &Cbor::from(label));
        let number = |label: i64| get(label).and_then(whole);
        let bytes_of = |label: i64| get(label).and_then(Cbor::as_bytes).ok_or(Refused::Key);
        let exactly = |label: i64| {
            bytes_of(label).and_then(|it| match it.len() {
                32 => Ok(it.clone()),
                _ => Err(Refused::Key),
            })
        };
        if !rest.is_empty() {
            return Err(Refused::Key);
        }
        match (number(1), number(3), number(-1)) {
            (Some(2), Some(ES256), Some(1)) => {
                Ok(Key::Es256([vec![4], exactly(-2)?, exactly(-3)?].concat()))
            }
            (Some(1), Some(EDDSA), Some(6)) => Ok(Key::Ed25519(exactly(-2)?)),
            (Some(3), Some(RS256), _) => {
                let (n, e) = (bytes_of(-1)?.clone(), bytes_of(-2)?.clone());
                match MODULUS_BYTES.contains(&n.len()) && n[0] != 0 && (1..=4).contains(&e.len()) {
                    true => Ok(Key::Rs256 { n, e }),
                    false => Err(Refused::Key),
                }
            }
            _ => Err(Refused::Key),
        }
    }

    fn algorithm(&self) -> i64 {
        match self {
            Key::Es256(_) => ES256,
            Key::Ed25519(_) => EDDSA,
            Key::Rs256 { .. } => RS256,
        }
    }

    fn check(&self, message: &[u8], signature: &[u8]) -> Result<(), Refused> {
        let checked = match self {
            Key::Es256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, signature)
            }
            Key::Ed25519(x) => UnparsedPublicKey::new(&ED25519, x).verify(message, signature),
            Key::Rs256 { n, e } => RsaPublicKeyComponents { n, e }.verify(
                &RSA_PKCS1_2048_8192_SHA256,
                message,
                signature,
            ),
        };
        checked.map_err(|_| Refused::Signature)
    }
}

/// Reads one item of CBOR, and what follows it.
fn cbor(bytes: &[u8]) -> Option<(Cbor, &[u8])> {
    let mut rest = bytes;
    let item = ciborium::from_reader(&mut rest).ok()?;
    Some((item, rest))
}

/// Returns a field of a map; one that stands there twice is none, since readers differ about which
/// of them counts.
fn field<'a>(map: &'a Cbor, label: &Cbor) -> Option<&'a Cbor> {
    let mut found = map.as_map()?.iter().filter(|it| it.0 == *label);
    match (found.next(), found.next()) {
        (Some((_, value)), None) => Some(value),
        _ => None,
    }
}

fn whole(value: &Cbor) -> Option<i64> {
    value.as_integer().and_then(|it| i64::try_from(it).ok())
}

#[cfg(test)]
mod tests;
