//! Sealing: bytes that nobody reads without the key, bound to where they stand.
//!
//! XChaCha20-Poly1305. What a ciphertext is (tenant, kind, id and version) is authenticated with
//! it, so one that is moved to another place does not open. No files and no chance in here: a nonce
//! is a parameter. Nonces of 24 bytes may be drawn by chance; two never meet.

use std::fmt;

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use traaviis_model::TenantId;
use zeroize::Zeroizing;

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;
/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 24;

/// A key. Its memory is overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(pub(super) Zeroizing<[u8; KEY_BYTES]>);

impl Key {
    /// Returns the key with these bytes; none when there are more or fewer than a key has.
    pub(super) fn read(bytes: &[u8]) -> Option<Key> {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        (bytes.len() == KEY_BYTES).then(|| key.copy_from_slice(bytes))?;
        Some(Key(key))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Returns HMAC-SHA-256 over parts that follow one another.
pub(super) fn keyed_hash(key: &[u8; KEY_BYTES], parts: &[&[u8]]) -> [u8; 32] {
    let mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    parts.iter().fold(mac, |mac, it| mac.chain_update(it)).finalize().into_bytes().into()
}

/// What a ciphertext is, and whose.
#[derive(Clone, Copy, Debug)]
pub struct Bound<'a> {
    /// Tenant.
    pub tenant: TenantId,
    /// What kind of thing is sealed.
    pub kind: &'a str,
    /// Which of them.
    pub id: &'a str,
    /// Which version of it.
    pub version: u64,
}

impl Bound<'_> {
    /// Returns the associated data: every part with its length, so that no two are the same.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"traaviis/1".to_vec();
        for part in [self.tenant.0.as_bytes().as_slice(), self.kind.as_bytes(), self.id.as_bytes()]
        {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part);
        }
        bytes.extend_from_slice(&self.version.to_le_bytes());
        bytes
    }
}

/// Seals bytes; nothing when they are longer than the cipher takes, which is 256 GiB.
pub fn seal(
    key: &Key,
    nonce: &[u8; NONCE_BYTES],
    bound: Bound<'_>,
    plain: &[u8],
) -> Option<Vec<u8>> {
    let cipher = XChaCha20Poly1305::new((&*key.0).into());
    let payload = Payload { msg: plain, aad: &bound.bytes() };
    cipher.encrypt(&XNonce::from(*nonce), payload).ok()
}

/// Opens what was sealed; nothing when the key, the place or a byte is another.
pub fn open(
    key: &Key,
    nonce: &[u8; NONCE_BYTES],
    bound: Bound<'_>,
    sealed: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let cipher = XChaCha20Poly1305::new((&*key.0).into());
    let payload = Payload { msg: sealed, aad: &bound.bytes() };
    cipher.decrypt(&XNonce::from(*nonce), payload).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::files::{hex, unhex_into};

    const NONCE: [u8; NONCE_BYTES] = [7; NONCE_BYTES];
    const PLAIN: &[u8] = b"sk_live_canary";

    fn key(byte: u8) -> Key {
        Key(Zeroizing::new([byte; KEY_BYTES]))
    }

    fn bound() -> Bound<'static> {
        let tenant = TenantId(Uuid::from_u128(1));
        Bound { tenant, kind: "secret", id: "stripe", version: 3 }
    }

    #[test]
    fn what_is_sealed_opens_at_its_place_alone() {
        let sealed = seal(&key(1), &NONCE, bound(), PLAIN).unwrap();
        assert_eq!(sealed.len(), PLAIN.len() + 16);
        assert!(!sealed.windows(4).any(|it| PLAIN.windows(4).any(|part| part == it)));
        assert_eq!(&**open(&key(1), &NONCE, bound(), &sealed).unwrap(), PLAIN);

        let elsewhere = [
            Bound { tenant: TenantId(Uuid::from_u128(2)), ..bound() },
            Bound { kind: "blob", ..bound() },
            Bound { id: "stripe2", ..bound() },
            Bound { version: 2, ..bound() },
            // The same letters, divided differently.
            Bound { kind: "secretstr", id: "ipe", ..bound() },
        ];
        for place in elsewhere {
            assert!(open(&key(1), &NONCE, place, &sealed).is_none(), "{place:?}");
        }
        assert!(open(&key(2), &NONCE, bound(), &sealed).is_none());
        assert!(open(&key(1), &[8; NONCE_BYTES], bound(), &sealed).is_none());
    }

    #[test]
    fn every_changed_bit_and_every_cut_is_noticed() {
        let sealed = seal(&key(1), &NONCE, bound(), PLAIN).unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&key(1), &NONCE, bound(), &changed).is_none(), "bit {bit}");
        }
        for len in 0..sealed.len() {
            assert!(open(&key(1), &NONCE, bound(), &sealed[..len]).is_none(), "cut at {len}");
        }
    }

    #[test]
    fn the_cipher_is_the_one_of_the_standard() {
        // draft-irtf-cfrg-xchacha-03, A.3.1.
        let plain = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.";
        let mut key = [0; KEY_BYTES];
        let digits = "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f";
        assert!(unhex_into(digits, &mut key));
        let mut nonce = [0; NONCE_BYTES];
        assert!(unhex_into("404142434445464748494a4b4c4d4e4f5051525354555657", &mut nonce));
        let aad = [0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7];
        let cipher = XChaCha20Poly1305::new((&key).into());
        let sealed = cipher.encrypt(&nonce.into(), Payload { msg: plain, aad: &aad }).unwrap();
        let sealed = hex(&sealed);
        assert!(
            sealed.starts_with("bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb")
        );
        assert!(sealed.ends_with("c0875924c1c7987947deafd8780acf49"), "{sealed}");
    }

    #[test]
    fn keys_are_not_shown() {
        assert_eq!(format!("{:?}", key(9)), "Key(..)");
    }
}
