//! Distinct types for the ids of the domain, so that one cannot stand where another belongs.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::{limits::ID_AHEAD_MAX, time::Timestamp};

/// Shared text: names, paths, keys.
pub type Text = Arc<str>;

/// A list of shared texts that nearly always holds one, such as the active states of a machine
/// without regions.
pub type Texts = smallvec::SmallVec<[Text; 1]>;

/// Number of a record in its instance's history, dense from 1; 0 means "none yet".
pub type Seq = u64;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map($name)
            }
        }
    };
}

uuid_id! {
    /// Identity of a tenant.
    TenantId
}
uuid_id! {
    /// Identity of an instance (run): UUIDv7, so ids sort by creation.
    InstanceId
}
uuid_id! {
    /// Identity of a user, the same in all tenants.
    UserId
}
uuid_id! {
    /// Identity of a session: one login on one device.
    SessionId
}
uuid_id! {
    /// Identity of an API key; the secret stands beside it.
    ApiKeyId
}
uuid_id! {
    /// Identity of an invitation into a tenant.
    InvitationId
}
uuid_id! {
    /// Identity of a second factor of a user.
    FactorId
}
uuid_id! {
    /// Identity of a role that a tenant has made.
    RoleId
}

impl InstanceId {
    /// Returns the id of the stream that something with a SHA-256 has: the first half of it. It is
    /// the same whenever it is asked for.
    pub fn of_hash(hash: &[u8; 32]) -> InstanceId {
        let (half, _) = hash.as_chunks::<16>();
        InstanceId(Uuid::from_bytes(half[0]))
    }

    /// Reads an id that a caller has chosen: a UUIDv7 as text, made no later than a day from now.
    /// Lists go by id and take it for the order of creation, so another kind would stand anywhere,
    /// and one from the future before everything for ever.
    pub fn chosen(text: &str, now: Timestamp) -> Result<InstanceId, String> {
        const WANTED: &str =
            "an id is a UUID of version 7, such as 0198c5a2-6c00-7000-8000-0123456789ab";
        // 36 characters: the other ways to write one are for machines.
        let read = Uuid::try_parse(text).ok().filter(|_| text.len() == 36);
        let id = read.ok_or_else(|| format!("`{text}` is no UUID; {WANTED}"))?;
        if id.get_version_num() != 7 || id.get_variant() != uuid::Variant::RFC4122 {
            return Err(format!("`{text}` is not of version 7; {WANTED}"));
        }
        // Its first 48 bits are milliseconds.
        let millis = i64::try_from(id.as_u128() >> 80).unwrap_or(i64::MAX);
        if millis > now.plus(ID_AHEAD_MAX).0 / 1_000 {
            return Err(format!("`{text}` is of a time that is more than {ID_AHEAD_MAX} away"));
        }
        Ok(InstanceId(id))
    }
}

/// SHA-256 of a definition's canonical JSON: the identity of a version.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DefinitionHash(pub [u8; 32]);

impl DefinitionHash {
    /// Returns the 64 hexadecimal digits, without allocating: each record names its definition.
    pub(crate) fn digits(&self) -> [u8; 64] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 64];
        for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(self.0) {
            *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
        }
        text
    }

    fn with_digits<R>(&self, then: impl FnOnce(&str) -> R) -> R {
        // Digits are ASCII.
        then(std::str::from_utf8(&self.digits()).unwrap_or_default())
    }
}

impl fmt::Display for DefinitionHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_digits(|text| f.write_str(text))
    }
}

impl fmt::Debug for DefinitionHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DefinitionHash({self})")
    }
}

impl FromStr for DefinitionHash {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut hash = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return Err("a definition hash has 64 hexadecimal digits");
        }
        for (at, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[at * 2..at * 2 + 2], 16)
                .map_err(|_| "a definition hash has 64 hexadecimal digits")?;
        }
        Ok(DefinitionHash(hash))
    }
}

impl Serialize for DefinitionHash {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.with_digits(|text| to.serialize_str(text))
    }
}

impl<'de> Deserialize<'de> for DefinitionHash {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chosen_id_is_a_uuid_of_version_7_and_not_of_the_future() {
        // Of 2025-08-20T01:31:42.976Z.
        let (now, id) = (Timestamp(1_755_653_502_976_000), "0198c51a-7800-7abc-8000-0123456789ab");
        assert_eq!(InstanceId::chosen(id, now).unwrap().to_string(), id);
        let upper = InstanceId::chosen(&id.to_uppercase(), now).unwrap();
        assert_eq!(upper.to_string(), id, "shown in lower case");
        let day = ID_AHEAD_MAX.0;
        assert!(InstanceId::chosen(id, Timestamp(now.0 - day)).is_ok());
        for (text, now, why) in [
            (id, Timestamp(now.0 - day - 1_000), "more than 1d away"),
            ("", now, "is no UUID"),
            ("order-17", now, "is no UUID"),
            ("0198c51a78007abc80000123456789ab", now, "is no UUID"),
            ("{0198c51a-7800-7abc-8000-0123456789ab}", now, "is no UUID"),
            ("0198c51a-7800-4abc-8000-0123456789ab", now, "not of version 7"),
            ("0198c51a-7800-7abc-c000-0123456789ab", now, "not of version 7"),
            ("ffffffff-ffff-7fff-bfff-ffffffffffff", now, "more than 1d away"),
        ] {
            let refused = InstanceId::chosen(text, now).unwrap_err();
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }
}
