//! The envelope around the body of a document: written, read, and compared.
//!
//! Every field stands on a line of its own and the body is compact on the last one, so that the
//! checksum is over bytes that other programs can take out again: `jq -cj .body FILE | sha256sum`.
//! Fields that this release does not know stand before the body and survive a rewrite.
//!
//! Invariants: a newer format says its number twice, as `format` and before its checksum
//! (`"checksum": "2:..."`), so that no flipped bit makes one of this format; every field is read
//! only as this release writes it, so none can change without being another.

use serde::{Deserialize as _, de::IgnoredAny};
use sha2::{Digest as _, Sha256};
use traaviis_model::{TenantId, Timestamp};
use traaviis_ports::tree::Document;

/// Version of the envelope.
pub(crate) const FORMAT: u64 = 1;

const KNOWN: [&str; 9] =
    ["format", "kind", "tenant_id", "id", "version", "seq", "updated_at", "checksum", "body"];

/// A document as it stands in a file, with the body as it was written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Envelope {
    pub kind: String,
    pub tenant: Option<TenantId>,
    pub id: String,
    pub version: u64,
    pub seq: u64,
    pub updated_at: Option<Timestamp>,
    /// Fields of other releases: name and JSON.
    pub unknown: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// What is wrong with the bytes of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// A newer release wrote it, and says so twice.
    Newer(u64),
    /// It is not as it was written.
    Damaged(String),
}

impl Envelope {
    pub(crate) fn of(document: &Document, unknown: Vec<(String, String)>) -> Envelope {
        Envelope::taking(document.clone(), unknown)
    }

    /// The same without copying a body, which may be very long.
    pub(crate) fn taking(document: Document, unknown: Vec<(String, String)>) -> Envelope {
        Envelope {
            kind: document.place.kind().into(),
            tenant: document.tenant,
            id: document.place.id(),
            version: document.version,
            seq: document.seq,
            updated_at: document.updated_at,
            unknown,
            body: document.body,
        }
    }

    /// Says whether a file says the same, whatever other releases added to it.
    pub(crate) fn says(&self, document: &Document) -> bool {
        *self == Envelope::of(document, self.unknown.clone())
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.body.len() + 512);
        out.extend_from_slice(b"{\n");
        let mut put = |name: &str, value: &[u8], end: &[u8]| {
            out.extend_from_slice(b"  ");
            // Names are text, which always has a JSON form.
            out.extend_from_slice(&serde_json::to_vec(name).unwrap_or_default());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(end);
        };
        let json = |it: serde_json::Value| it.to_string().into_bytes();
        let fields = [
            ("format", json(FORMAT.into())),
            ("kind", json(self.kind.clone().into())),
            ("tenant_id", json(self.tenant.map(|it| it.to_string()).into())),
            ("id", json(self.id.clone().into())),
            ("version", json(self.version.into())),
            ("seq", json(self.seq.into())),
            ("updated_at", json(self.updated_at.map(|it| it.to_string()).into())),
            ("checksum", json(checksum(&self.body).into())),
        ];
        for (name, value) in &fields {
            put(name, value, b",\n");
        }
        for (name, value) in &self.unknown {
            put(name, value.as_bytes(), b",\n");
        }
        put("body", &self.body, b"\n");
        out.extend_from_slice(b"}\n");
        out
    }

    pub(crate) fn read(bytes: &[u8]) -> Result<Envelope, Wrong> {
        let damaged = |why: &str| Wrong::Damaged(why.to_string());
        let fields = members(bytes).ok_or_else(|| damaged("it is no JSON object"))?;
        let find = |name: &str| fields.iter().find(|(it, _)| it == name).map(|(_, raw)| *raw);
        let number = |name: &str| find(name).and_then(|it| serde_json::from_slice(it).ok());
        let text = |name: &str| find(name).and_then(|it| serde_json::from_slice(it).ok());
        let format: u64 = number("format").ok_or_else(|| damaged("it has no `format`"))?;
        let checked: String = text("checksum").ok_or_else(|| damaged("it has no `checksum`"))?;
        if format != FORMAT {
            return Err(match checked.starts_with(&format!("{format}:")) && format > FORMAT {
                true => Wrong::Newer(format),
                false => Wrong::Damaged(format!("its checksum is not one of format `{format}`")),
            });
        }
        let body = find("body").ok_or_else(|| damaged("it has no `body`"))?;
        if checked != checksum(body) {
            return Err(damaged("its body does not fit its checksum"));
        }
        let missing = |name: &str| Wrong::Damaged(format!("it has no `{name}`"));
        let field = |name: &'static str| text(name).ok_or_else(|| missing(name));
        // The two that may be null.
        let maybe = |name: &'static str| find(name).ok_or_else(|| missing(name));
        let tenant = exact("tenant_id", maybe("tenant_id")?)?;
        let updated_at = exact("updated_at", maybe("updated_at")?)?;
        let unknown = fields
            .iter()
            .filter(|(name, _)| !KNOWN.contains(&name.as_str()))
            .map(|(name, raw)| (name.clone(), String::from_utf8_lossy(raw).into_owned()))
            .collect();
        Ok(Envelope {
            kind: field("kind")?,
            tenant,
            id: field("id")?,
            version: number("version").ok_or_else(|| missing("version"))?,
            seq: number("seq").ok_or_else(|| missing("seq"))?,
            updated_at,
            unknown,
            body: body.to_vec(),
        })
    }
}

/// Reads a value that may stand there in one way only, although more are understood: a capital
/// digit in an id is a flipped bit.
fn exact<T>(name: &str, raw: &[u8]) -> Result<T, Wrong>
where
    T: serde::Serialize + serde::de::DeserializeOwned,
{
    let read: Option<T> = serde_json::from_slice(raw).ok();
    let is_exact = |it: &T| serde_json::to_vec(it).is_ok_and(|it| it == raw);
    read.filter(is_exact).ok_or_else(|| Wrong::Damaged(format!("wrong `{name}`")))
}

/// Returns the SHA-256 of a body in hexadecimal digits.
pub(crate) fn checksum(body: &[u8]) -> String {
    Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the members of a JSON object with the bytes of their values; none when it is no object
/// or anything follows it.
pub(super) fn members(bytes: &[u8]) -> Option<Vec<(String, &[u8])>> {
    let mut rest = after(bytes, b'{')?;
    let mut found = Vec::new();
    if let Some(end) = after(rest, b'}') {
        return end.trim_ascii().is_empty().then_some(found);
    }
    loop {
        let (name, used) = one::<String>(rest)?;
        rest = after(&rest[used..], b':')?.trim_ascii_start();
        let (_, used) = one::<IgnoredAny>(rest)?;
        found.push((name, &rest[..used]));
        rest = &rest[used..];
        match after(rest, b',') {
            Some(next) => rest = next,
            None => {
                let end = after(rest, b'}')?;
                return end.trim_ascii().is_empty().then_some(found);
            }
        }
    }
}

/// Reads one value from the start of bytes; returns how many it took.
fn one<'de, T: serde::Deserialize<'de>>(bytes: &'de [u8]) -> Option<(T, usize)> {
    let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<T>();
    let value = values.next()?.ok()?;
    Some((value, values.byte_offset()))
}

fn after(bytes: &[u8], mark: u8) -> Option<&[u8]> {
    bytes.trim_ascii_start().strip_prefix(&[mark])
}

/// Reads the number under a key of a JSON line.
pub(crate) fn number_of(line: &[u8], key: &str) -> Option<u64> {
    let mut reader = serde_json::Deserializer::from_slice(line);
    let value = serde_json::Value::deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    value.get(key)?.as_u64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use traaviis_ports::tree::Place;

    fn document() -> Document {
        Document {
            tenant: Some(TenantId(uuid::Uuid::from_u128(1))),
            place: Place::Definition { name: "Order".into(), version: "1.0.0".into() },
            version: 2,
            seq: 7,
            updated_at: Some(Timestamp(1_500_000)),
            body: br#"{"a":[1.50,{"b":"\u00e4}"}],"c":null}"#.to_vec(),
        }
    }

    #[test]
    fn an_envelope_reads_back_with_the_fields_of_others() {
        let unknown = vec![("note".to_string(), r#"{"by": "me"}"#.to_string())];
        let written = Envelope::of(&document(), unknown.clone()).write();
        let read = Envelope::read(&written).unwrap();
        assert!(read.says(&document()));
        assert_eq!(read.unknown, unknown);
        assert_eq!(read.write(), written);
        let value: serde_json::Value = serde_json::from_slice(&written).unwrap();
        let keys =
            ["format", "kind", "tenant_id", "id", "version", "seq", "updated_at", "checksum"];
        assert!(keys.iter().all(|it| value.get(it).is_some()), "{value}");
        assert_eq!(value["updated_at"], "1970-01-01T00:00:01.500000Z");
    }

    #[test]
    fn a_changed_body_does_not_fit_its_checksum() {
        let written = Envelope::of(&document(), Vec::new()).write();
        let text = String::from_utf8(written).unwrap();
        for (from, to) in [("1.50", "1.51"), ("null", "null "), (": {\"a\"", ": {\"b\"")] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text);
            let found = Envelope::read(changed.as_bytes());
            let same = found.as_ref().is_ok_and(|it| it.says(&document()));
            // Space around the body is not part of it.
            assert_eq!(same, to == "null " && found.is_ok(), "{from} -> {to}: {found:?}");
        }
        for cut in 0..text.len() - 2 {
            assert!(Envelope::read(&text.as_bytes()[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_newer_format_is_told_apart_from_damage() {
        let text = String::from_utf8(Envelope::of(&document(), Vec::new()).write()).unwrap();
        let number = text.replace("\"format\": 1", "\"format\": 2");
        let newer = number.replace("checksum\": \"", "checksum\": \"2:").replace("seq", "at");
        assert_eq!(Envelope::read(newer.as_bytes()), Err(Wrong::Newer(2)));
        let older = newer.replace("\"format\": 2", "\"format\": 0").replace("2:", "0:");
        for damaged in [&*number, &*older, &text.replace("\"format\": 1", "\"format\": 9"), "[1]"] {
            let read = Envelope::read(damaged.as_bytes());
            assert!(matches!(read, Err(Wrong::Damaged(_))), "{damaged}: {read:?}");
        }
    }

    #[test]
    fn every_flipped_bit_is_seen_and_none_makes_a_newer_format() {
        let documents = [document(), Document { tenant: None, updated_at: None, ..document() }];
        for document in documents {
            let written = Envelope::of(&document, Vec::new()).write();
            for (at, bit) in (0..written.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
                let mut flipped = written.clone();
                flipped[at] ^= 1 << bit;
                let read = Envelope::read(&flipped);
                let is_newer = matches!(read, Err(Wrong::Newer(_)));
                let is_same = read.is_ok_and(|it| it.says(&document));
                assert!(!is_newer && !is_same, "bit {bit} of byte {at}: {flipped:?}");
            }
        }
    }
}
