//! A line of the log, read as far as usage is counted from it.
//!
//! Every line is looked at, so those that count nothing are passed by with a look at their kind,
//! and of the others only the header is read, where it stands as it is always written. A line that
//! stands otherwise is read as JSON.

use std::{borrow::Cow, str::from_utf8, sync::LazyLock};

use memchr::memmem;
use serde::Deserialize;
use traaviis_model::{InstanceId, Seq, TenantId, Timestamp};

/// What a line counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Created,
    Transition,
    EffectScheduled,
    TaskCreated,
    Finished,
    Retried,
    Forked,
    Upgraded,
    Reserved,
    Settled,
}

impl Kind {
    fn of(word: &[u8]) -> Option<Kind> {
        Some(match word {
            b"created" => Kind::Created,
            b"transition" => Kind::Transition,
            b"effect_scheduled" => Kind::EffectScheduled,
            b"task_created" => Kind::TaskCreated,
            b"finished" => Kind::Finished,
            b"retried" => Kind::Retried,
            b"forked" => Kind::Forked,
            b"upgraded" => Kind::Upgraded,
            b"budget_reserved" => Kind::Reserved,
            b"budget_settled" => Kind::Settled,
            _ => return None,
        })
    }
}

/// The name of a definition in digits.
pub(super) type Hash = [u8; 64];

/// What is read of a line that counts something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) tenant: TenantId,
    pub(super) instance: InstanceId,
    pub(super) seq: Seq,
    pub(super) at: Timestamp,
    pub(super) hash: Hash,
    pub(super) kind: Kind,
}

/// How the kind of a record begins. Quotes inside of texts are escaped, so it is met in no value.
const KIND: &[u8] = br#","kind":""#;
static FIND_KIND: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(KIND));

/// Reads a line; none when it counts nothing.
pub(super) fn read(line: &[u8]) -> Option<Head> {
    let Some(raw) = Raw::of(line) else { return read_slowly(line) };
    let kind = Kind::of(raw.kind)?;
    Some(Head {
        tenant: TenantId(uuid::Uuid::try_parse_ascii(raw.tenant).ok()?),
        instance: InstanceId(uuid::Uuid::try_parse_ascii(raw.instance).ok()?),
        seq: from_utf8(raw.seq).ok()?.parse().ok()?,
        at: from_utf8(raw.at).ok()?.parse().ok()?,
        hash: raw.hash.try_into().ok()?,
        kind,
    })
}

/// A line as it is written, in pieces.
struct Raw<'a> {
    tenant: &'a [u8],
    instance: &'a [u8],
    seq: &'a [u8],
    at: &'a [u8],
    hash: &'a [u8],
    kind: &'a [u8],
}

impl<'a> Raw<'a> {
    fn of(line: &'a [u8]) -> Option<Raw<'a>> {
        let (tenant, rest) = after(line, br#"{"tenant_id":""#)?.split_at_checked(36)?;
        let (instance, rest) = after(rest, br#"","instance_id":""#)?.split_at_checked(36)?;
        let (seq, rest) = digits(after(rest, br#"","seq":"#)?);
        let (_, rest) = digits(after(rest, br#","v":"#)?);
        let (at, rest) = after(rest, br#","at":""#)?.split_at_checked(27)?;
        let (_, rest) = digits(after(rest, br#"","step":"#)?);
        let (hash, rest) = after(rest, br#","definition_hash":""#)?.split_at_checked(64)?;
        let kind = &rest[FIND_KIND.find(rest)? + KIND.len()..];
        let kind = &kind[..kind.iter().position(|it| *it == b'"')?];
        Some(Raw { tenant, instance, seq, at, hash, kind })
    }
}

fn after<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    text.strip_prefix(prefix)
}

fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|it| !it.is_ascii_digit()).unwrap_or(text.len()))
}

fn read_slowly(line: &[u8]) -> Option<Head> {
    #[derive(Deserialize)]
    struct Slow<'a> {
        tenant_id: TenantId,
        instance_id: InstanceId,
        seq: Seq,
        at: Timestamp,
        #[serde(borrow)]
        definition_hash: Cow<'a, str>,
        #[serde(borrow)]
        kind: Cow<'a, str>,
    }
    let it: Slow<'_> = serde_json::from_slice(line).ok()?;
    Some(Head {
        tenant: it.tenant_id,
        instance: it.instance_id,
        seq: it.seq,
        at: it.at,
        hash: it.definition_hash.as_bytes().try_into().ok()?,
        kind: Kind::of(it.kind.as_bytes())?,
    })
}

#[cfg(test)]
mod tests {
    use traaviis_model::{
        Actor, Body, DefinitionHash, Header, Record, TenantCtx, Value,
        record::{Origin, RECORD_VERSION},
    };

    use super::*;

    fn line(body: Body, correlation: Option<&str>, origin: Option<Origin>) -> Vec<u8> {
        let header = Header {
            tenant_id: TenantCtx::local_operator().tenant(),
            instance_id: InstanceId(uuid::Uuid::from_u128(9)),
            seq: 12,
            v: RECORD_VERSION,
            at: Timestamp(1_800_000_000_000_001),
            step: 3,
            definition_hash: DefinitionHash([0xab; 32]),
            actor: Actor { id: r#"a,"kind":"created"#.into(), ..Actor::local() },
            causation_id: None,
            correlation_id: correlation.map(Into::into),
            origin: origin.map(Box::new),
        };
        let mut line = Vec::new();
        Record { header, body }.write_line(&mut line);
        line
    }

    #[test]
    fn a_line_is_read_as_its_json_says_whatever_its_texts_hold() {
        let tricky = r#"","kind":"created","x":""#;
        let origin = || Origin {
            via: tricky.into(),
            ip_address: None,
            user_agent: Some(tricky.into()),
            request_id: None,
            request_key: None,
        };
        let task = || Body::TaskCreated { tree: 1, path: tricky.into() };
        let emitted = Body::Emitted {
            event: "e".into(),
            data: Value::from(tricky),
            subject: Some(tricky.into()),
        };
        for (line, kind) in [
            (line(task(), None, None), Some(Kind::TaskCreated)),
            (line(task(), Some(tricky), Some(origin())), Some(Kind::TaskCreated)),
            (line(emitted, Some(tricky), None), None),
            (b"no record".to_vec(), None),
            (br#"{"kind":"created"}"#.to_vec(), None),
        ] {
            let text = String::from_utf8_lossy(&line).into_owned();
            assert_eq!(read(&line).map(|it| it.kind), kind, "{text}");
            assert_eq!(read(&line), read_slowly(&line), "{text}");
        }
        // Another order of the keys.
        let mut json: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&line(task(), None, None)).unwrap();
        let kind = json.remove("kind").unwrap();
        let mut turned = serde_json::Map::new();
        turned.insert("kind".into(), kind);
        turned.append(&mut json);
        let turned = serde_json::to_vec(&turned).unwrap();
        assert!(Raw::of(&turned).is_none(), "{}", String::from_utf8_lossy(&turned));
        assert_eq!(read(&turned), read(&line(task(), None, None)));
    }
}
