//! Passwords: which are taken, how they rest, and how many are hashed at once.
//!
//! A hash is argon2id with its parameters beside it, so that they can be raised later: a login with
//! a hash of older parameters makes a new one. Invariant: at most [`HASHES_AT_ONCE`] hashes are
//! computed at a time, since each takes [`MEMORY_KIB`] of memory.

use std::{
    collections::HashSet,
    sync::{Condvar, LazyLock, Mutex, PoisonError},
};

use argon2::{Algorithm, Argon2, Params, Version};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use traaviis_model::form;

use crate::{entropy::Entropy, error::Error};

/// Memory of one hash, in KiB: what OWASP advises for 2 passes and 1 lane.
pub const MEMORY_KIB: u32 = 19_456;
/// Passes over it.
const PASSES: u32 = 2;
/// Lanes.
const LANES: u32 = 1;
/// Bytes of a hash.
const HASH_BYTES: usize = 32;
/// Bytes of a salt.
const SALT_BYTES: usize = 16;
/// Hashes computed at once: 38 MB, which is what the memory of a process of 256 MB leaves them.
pub const HASHES_AT_ONCE: usize = 2;
/// Who may wait for that; at 60 hashes a second on two cores this is about a second.
pub const HASHES_WAITING_MAX: usize = 64;
/// Longest password in characters; a longer one is refused rather than cut.
pub const CHARS_MAX: usize = form::PASSWORD_CHARS_MAX;
/// Shortest one, unless a tenant asks for more.
pub const CHARS_MIN: usize = form::PASSWORD_CHARS_MIN;

/// The most frequent passwords, in lower case; see `data/README.md`.
static COMMON: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| include_str!("../data/common-passwords.txt").lines().collect());

/// Words that say nothing here.
const PRODUCT: &str = "traaviis";

/// Memory of a hash of another program, in KiB: two are computed at a time.
const READ_KIB_MAX: u32 = 64 << 10;
/// Its passes and lanes: more would let a login wait.
const READ_PASSES_MAX: u32 = 8;

/// A password as it rests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordHash {
    m: u32,
    t: u32,
    p: u32,
    salt: String,
    hash: String,
}

impl PasswordHash {
    /// Reads a hash as others keep it: `$argon2id$v=19$m=..,t=..,p=..$salt$hash`.
    ///
    /// None when it is of another kind or length, or would take too long to check.
    pub fn read(text: &str) -> Option<PasswordHash> {
        let mut parts = text.strip_prefix("$argon2id$v=19$")?.split('$');
        let (params, salt, hash) = (parts.next()?, parts.next()?, parts.next()?);
        let mut numbers = params.split(',').zip(["m=", "t=", "p="]).map(|(it, name)| {
            let number = it.strip_prefix(name).and_then(|it| it.parse::<u32>().ok());
            number.filter(|it| *it > 0)
        });
        let mut next = || numbers.next().flatten();
        let (m, t, p) = (next()?, next()?, next()?);
        let is_bearable = m <= READ_KIB_MAX && t <= READ_PASSES_MAX && p <= READ_PASSES_MAX;
        let bytes = |it: &str| STANDARD_NO_PAD.decode(it).ok().map(|it| it.len());
        let fits = bytes(salt)? >= 8 && bytes(hash)? == HASH_BYTES && parts.next().is_none();
        (is_bearable && fits).then(|| PasswordHash {
            m,
            t,
            p,
            salt: salt.into(),
            hash: hash.into(),
        })
    }

    /// Says whether today's parameters are others.
    pub fn is_outdated(&self) -> bool {
        (self.m, self.t, self.p) != (MEMORY_KIB, PASSES, LANES)
    }
}

/// Refuses a password that is too easy to guess; `about` are the name and e-mail of its user.
pub fn check(password: &str, length_min: usize, about: &[&str]) -> Result<(), Error> {
    let refused = |rule: String| Err(Error::invalid("/password", rule));
    let chars = password.chars().count();
    if chars < length_min {
        return refused(format!("a password has at least {length_min} characters"));
    }
    if chars > CHARS_MAX {
        return refused(format!("a password has at most {CHARS_MAX} characters"));
    }
    let lower = password.to_lowercase();
    if COMMON.contains(&*lower) {
        return refused("this is one of the passwords that are tried first; take another".into());
    }
    // An address or name goes as a whole, else what stands between its words would count.
    let words = about.iter().flat_map(|it| it.split(['@', '.', ' ', '-', '_']));
    let words = about.iter().copied().chain(words).map(str::to_lowercase);
    let words = words.filter(|it| it.chars().count() >= 4).chain([PRODUCT.to_owned()]);
    let (mut rest, mut known) = (lower, None);
    for word in words {
        if rest.contains(&word) {
            rest = rest.replace(&word, "");
            known.get_or_insert(word);
        }
    }
    match known {
        // What is left of it would have to do alone.
        Some(word) if rest.chars().count() < length_min.min(6) => {
            refused(format!("a password is more than `{word}` and a few characters"))
        }
        _ => Ok(()),
    }
}

/// Hashes passwords, a few at a time.
#[derive(Debug)]
pub struct Hasher {
    entropy: Entropy,
    places: Mutex<Places>,
    free: Condvar,
    /// Checked where there is no user, so that this takes as long as with one.
    nobody: PasswordHash,
}

#[derive(Debug, Default)]
struct Places {
    busy: usize,
    waiting: usize,
}

impl Hasher {
    /// Returns a hasher that takes salts from `entropy`.
    pub fn new(entropy: Entropy) -> Hasher {
        let nobody = PasswordHash {
            m: MEMORY_KIB,
            t: PASSES,
            p: LANES,
            salt: STANDARD_NO_PAD.encode([0; SALT_BYTES]),
            hash: STANDARD_NO_PAD.encode([0; HASH_BYTES]),
        };
        Hasher { entropy, places: Mutex::default(), free: Condvar::new(), nobody }
    }

    /// Hashes a password.
    pub fn hash(&self, password: &str) -> Result<PasswordHash, Error> {
        let salt = self.entropy.bytes::<SALT_BYTES>()?;
        let hash = self.compute(password, &salt, (MEMORY_KIB, PASSES, LANES))?;
        Ok(PasswordHash {
            m: MEMORY_KIB,
            t: PASSES,
            p: LANES,
            salt: STANDARD_NO_PAD.encode(salt),
            hash: STANDARD_NO_PAD.encode(hash),
        })
    }

    /// Says whether a password is the one that was hashed; without a hash it takes as long to say
    /// no.
    pub fn verify(&self, password: &str, known: Option<&PasswordHash>) -> Result<bool, Error> {
        let PasswordHash { m, t, p, salt, hash } = known.unwrap_or(&self.nobody);
        let damaged = |_| Error::new("documents_failed", "a password hash cannot be read");
        let salt = STANDARD_NO_PAD.decode(salt).map_err(damaged)?;
        let expected = STANDARD_NO_PAD.decode(hash).map_err(damaged)?;
        // A longer one was never taken; hashing it would only cost time.
        let is_possible = known.is_some() && password.chars().count() <= CHARS_MAX;
        let password = if is_possible { password } else { "" };
        let found = self.compute(password, &salt, (*m, *t, *p))?;
        Ok(is_possible && bool::from(found.ct_eq(&expected)))
    }

    fn compute(
        &self,
        password: &str,
        salt: &[u8],
        (m, t, p): (u32, u32, u32),
    ) -> Result<[u8; HASH_BYTES], Error> {
        let _place = self.place()?;
        let failed = |error: argon2::Error| {
            Error::new("internal", format!("a password cannot be hashed: {error}"))
        };
        let params = Params::new(m, t, p, Some(HASH_BYTES)).map_err(failed)?;
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let mut hash = [0; HASH_BYTES];
        argon.hash_password_into(password.as_bytes(), salt, &mut hash).map_err(failed)?;
        Ok(hash)
    }

    /// Waits for a place.
    fn place(&self) -> Result<Place<'_>, Error> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.busy >= HASHES_AT_ONCE {
            if places.waiting >= HASHES_WAITING_MAX {
                let message = "too many logins at once; try again in a second";
                return Err(Error::new("too_many_attempts", message));
            }
            places.waiting += 1;
            places = self
                .free
                .wait_while(places, |it| it.busy >= HASHES_AT_ONCE)
                .unwrap_or_else(PoisonError::into_inner);
            places.waiting -= 1;
        }
        places.busy += 1;
        Ok(Place(self))
    }
}

/// The right to compute one hash.
struct Place<'h>(&'h Hasher);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.places.lock().unwrap_or_else(PoisonError::into_inner).busy -= 1;
        self.0.free.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_knows_its_password_alone() {
        let hasher = Hasher::new(Entropy::seeded(7));
        let known = hasher.hash("correct horse battery").unwrap();
        assert!(hasher.verify("correct horse battery", Some(&known)).unwrap());
        assert!(!hasher.verify("correct horse batterz", Some(&known)).unwrap());
        assert!(!hasher.verify("", Some(&known)).unwrap());
        assert!(!hasher.verify("correct horse battery", None).unwrap(), "nobody has no password");
        let again = hasher.hash("correct horse battery").unwrap();
        assert_ne!(again, known, "salted");
        assert!(!known.is_outdated());
    }

    #[test]
    fn a_hash_of_another_program_is_read_when_it_can_be_checked() {
        let hasher = Hasher::new(Entropy::seeded(7));
        let known = hasher.hash("correct horse battery").unwrap();
        let PasswordHash { m, t, p, salt, hash } = &known;
        let text = |params: &str| format!("$argon2id$v=19${params}${salt}${hash}");
        let good = text(&format!("m={m},t={t},p={p}"));
        assert_eq!(PasswordHash::read(&good).as_ref(), Some(&known));
        for bad in [
            "$2b$12$x".to_owned(),
            good.replace("argon2id", "argon2i"),
            good.replace("v=19", "v=16"),
            good.clone() + "$more",
            good.replace(&**hash, "AAAA"),
            good.replace(&**salt, "!"),
            text("m=0,t=1,p=1"),
            text("m=19456,t=2"),
            text("t=2,m=19456,p=1"),
            // It would let whoever tries a password fill the memory.
            text("m=4194304,t=2,p=1"),
            text("m=19456,t=1000000,p=1"),
        ] {
            assert_eq!(PasswordHash::read(&bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_tried_first_is_refused() {
        let about = ["Ada Lovelace", "ada.lovelace@example.org"];
        for (password, is_good) in [
            ("correct horse battery", true),
            ("xK3!vv29", true),
            ("1234567", false),
            ("password", false),
            ("PassWord1", false),
            ("baseball", false),
            ("lovelace1", false),
            ("Lovelace-2026", false),
            ("traaviis99", false),
            ("lovelace plays the harp", true),
            ("ada.lovelace@example.org", false),
            ("Ada.Lovelace@Example.org!", false),
            ("example-lovelace", false),
            (&"x".repeat(CHARS_MAX), true),
            (&"x".repeat(CHARS_MAX + 1), false),
        ] {
            assert_eq!(check(password, CHARS_MIN, &about).is_ok(), is_good, "{password}");
        }
        assert_eq!(COMMON.len(), 10_000);
    }
}
