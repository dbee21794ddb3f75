//! The line that holds a record in the log: written, read, and read only as far as its key.

mod body;

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{
    BLOB_VERSIONS, Body, Header, Origin, RECORD_VERSION, Record, SEALED_VERSION, UNREADABLE,
};
use crate::{
    ids::{InstanceId, Seq, TenantId},
    json,
};

/// How the origin of a record stands in its line; a line without it has none.
pub const ORIGIN_KEY: &[u8] = br#","origin":"#;

/// What identifies a line of the log without reading its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LineKey {
    /// Tenant.
    pub tenant_id: TenantId,
    /// Stream: an instance, or the id of a document's own stream.
    pub instance_id: InstanceId,
    /// Number in the stream, dense from 1.
    pub seq: Seq,
}

/// Why a line of the log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// It is no JSON of a record.
    #[error("a record line cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// A newer release wrote it.
    #[error(
        "record version `{found}` is newer than `{RECORD_VERSION}`; open the data with the release that wrote it"
    )]
    Newer {
        /// Version of the record.
        found: u32,
    },
    /// It is as it rests in the log, sealed with the key of the person whom it is about.
    #[error("a record line is sealed; only a command on its data directory opens it")]
    Sealed,
    /// It is as it rests in the log, without its large values.
    #[error("a record line is without its large values; a command on its data directory has them")]
    WithoutValues,
    /// Its store cannot read it.
    #[error("{0}")]
    Unreadable(String),
}

impl Record {
    /// Appends the record's line, with its newline, to `out`.
    pub fn write_line(&self, out: &mut Vec<u8>) {
        write_line(&self.header, &self.body, out);
    }

    /// Reads a line, with or without its newline.
    pub fn read_line(line: &[u8]) -> Result<Record, LineError> {
        let header: Header = serde_json::from_slice(line)?;
        if header.v == SEALED_VERSION {
            return Err(LineError::Sealed);
        }
        if BLOB_VERSIONS.contains(&header.v) {
            return Err(LineError::WithoutValues);
        }
        if header.v > RECORD_VERSION {
            return Err(LineError::Newer { found: header.v });
        }
        let body = Record::read_body(&header, line)?;
        Ok(Record { header, body })
    }

    /// Reads what a line has beside its header, whose version is known.
    ///
    /// All keys of an object are kept until its `kind` is known, and most of a line is its header,
    /// so that is left out where it stands as [`write_line`] writes it.
    pub fn read_body(header: &Header, line: &[u8]) -> Result<Body, LineError> {
        let mut text = Vec::with_capacity(line.len());
        write_header(header, &mut text);
        if let Some(rest) = line.strip_prefix(&*text).and_then(|it| it.strip_prefix(b",")) {
            text.clear();
            text.push(b'{');
            text.extend_from_slice(rest);
            if let Ok(body) = serde_json::from_slice(&text) {
                return Ok(body);
            }
        }
        match serde_json::from_slice::<Body>(line) {
            Ok(body) => Ok(body),
            Err(error) => Err(unreadable(line).unwrap_or(LineError::Json(error))),
        }
    }
}

/// Appends the line of a record to `out`: the header's keys first, then the body's.
pub fn write_line(header: &Header, body: &Body, out: &mut Vec<u8>) {
    write_header(header, out);
    body::write(body, out);
}

/// Appends what a record's line has after its header to `out`.
pub(super) fn write_body(body: &Body, out: &mut Vec<u8>) {
    body::write(body, out);
}

/// Appends the lines of several records to `out`, as [`write_line`] would one by one.
///
/// Records of a step differ in their header by nothing but the number, so the text of one header
/// serves the next.
pub fn write_lines(records: &[Record], out: &mut Vec<u8>) {
    let mut last: Option<(&Header, Range<usize>, Range<usize>)> = None;
    for Record { header, body } in records {
        match &last {
            Some((before, to_seq, from_seq)) if before.differs_only_in_seq(header) => {
                out.extend_from_within(to_seq.clone());
                json::number(header.seq, out);
                out.extend_from_within(from_seq.clone());
            }
            _ => {
                let start = out.len();
                let number = write_header(header, out);
                last = Some((header, start..number.start, number.end..out.len()));
            }
        }
        body::write(body, out);
    }
}

/// Writes the header without its closing brace; returns where the number stands.
fn write_header(header: &Header, out: &mut Vec<u8>) -> Range<usize> {
    let Header {
        tenant_id,
        instance_id,
        seq,
        v,
        at,
        step,
        definition_hash,
        actor,
        causation_id,
        correlation_id,
        origin,
    } = header;
    out.extend_from_slice(br#"{"tenant_id":""#);
    json::uuid(&tenant_id.0, out);
    out.extend_from_slice(br#"","instance_id":""#);
    json::uuid(&instance_id.0, out);
    out.extend_from_slice(br#"","seq":"#);
    let number = out.len();
    json::number(*seq, out);
    let number = number..out.len();
    out.extend_from_slice(br#","v":"#);
    json::number(*v, out);
    out.extend_from_slice(br#","at":"#);
    json::time(*at, out);
    out.extend_from_slice(br#","step":"#);
    json::number(*step, out);
    out.extend_from_slice(br#","definition_hash":""#);
    out.extend_from_slice(&definition_hash.digits());
    out.extend_from_slice(br#"","actor":{"type":""#);
    out.extend_from_slice(actor.kind.as_str().as_bytes());
    out.extend_from_slice(br#"","id":"#);
    json::text(&actor.id, out);
    out.push(b'}');
    if let Some(id) = causation_id {
        out.extend_from_slice(br#","causation_id":"#);
        json::text(id, out);
    }
    if let Some(id) = correlation_id {
        out.extend_from_slice(br#","correlation_id":"#);
        json::text(id, out);
    }
    if let Some(origin) = origin {
        write_origin(origin, out);
    }
    number
}

fn write_origin(origin: &Origin, out: &mut Vec<u8>) {
    let Origin { via, ip_address, user_agent, request_id, request_key } = origin;
    out.extend_from_slice(ORIGIN_KEY);
    out.extend_from_slice(br#"{"via":"#);
    json::text(via, out);
    for (key, value) in [
        (br#","ip_address":"#.as_slice(), ip_address),
        (br#","user_agent":"#, user_agent),
        (br#","request_id":"#, request_id),
        (br#","request_key":"#, request_key),
    ] {
        if let Some(value) = value {
            out.extend_from_slice(key);
            json::text(value, out);
        }
    }
    out.push(b'}');
}

impl Header {
    fn differs_only_in_seq(&self, other: &Header) -> bool {
        let Header {
            tenant_id,
            instance_id,
            seq: _,
            v,
            at,
            step,
            definition_hash,
            actor,
            causation_id,
            correlation_id,
            origin,
        } = self;
        *step == other.step
            && *at == other.at
            && *instance_id == other.instance_id
            && *tenant_id == other.tenant_id
            && *v == other.v
            && *definition_hash == other.definition_hash
            && *actor == other.actor
            && *causation_id == other.causation_id
            && *correlation_id == other.correlation_id
            && *origin == other.origin
    }
}

/// Returns what a store says about a line that it cannot read.
fn unreadable(line: &[u8]) -> Option<LineError> {
    #[derive(Deserialize)]
    struct Unreadable {
        kind: String,
        why: String,
    }
    let it: Unreadable = serde_json::from_slice(line).ok()?;
    (it.kind == UNREADABLE).then_some(LineError::Unreadable(it.why))
}

/// Reads only what identifies a line.
pub fn peek_line(line: &[u8]) -> Result<LineKey, LineError> {
    Ok(serde_json::from_slice(line)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Actor;

    fn record(seq: Seq, step: u64, body: Body) -> Record {
        let header = Header {
            tenant_id: TenantId(uuid::Uuid::from_u128(1)),
            instance_id: InstanceId(uuid::Uuid::from_u128(2)),
            seq,
            v: RECORD_VERSION,
            at: crate::Timestamp(1_500_000),
            step,
            definition_hash: crate::DefinitionHash([0xab; 32]),
            actor: Actor { id: r#"a","seq":7"#.into(), ..Actor::local() },
            causation_id: None,
            correlation_id: None,
            origin: None,
        };
        Record { header, body }
    }

    #[test]
    fn lines_together_are_the_lines_one_by_one() {
        let fired = || Body::TimerFired { timer: "t1".into() };
        let records = [
            record(9, 4, Body::CancelRequested { terminate: false, reason: None }),
            record(10, 4, fired()),
            record(11, 4, fired()),
            record(12, 5, fired()),
        ];
        let (mut together, mut single) = (Vec::new(), Vec::new());
        write_lines(&records, &mut together);
        for record in &records {
            record.write_line(&mut single);
        }
        assert_eq!(String::from_utf8(together.clone()), String::from_utf8(single));
        for (line, record) in together.split_inclusive(|it| *it == b'\n').zip(&records) {
            assert_eq!(&Record::read_line(line).unwrap(), record);
            assert_eq!(peek_line(line).unwrap().seq, record.header.seq);
        }
    }

    #[test]
    fn the_order_of_keys_means_nothing() {
        let reason = Some("a \",\"kind\":\"x".into());
        let expected = record(9, 4, Body::CancelRequested { terminate: false, reason });
        let mut line = Vec::new();
        expected.write_line(&mut line);
        let map: serde_json::Map<_, _> = serde_json::from_slice(&line).unwrap();
        let keys: Vec<&String> = map.keys().collect();
        for first in 0..keys.len() {
            let order = keys[first..].iter().chain(&keys[..first]);
            let pairs = order.map(|key| format!("{}:{}", serde_json::json!(key), map[*key]));
            let text = format!("{{{}}}", pairs.collect::<Vec<_>>().join(","));
            assert_eq!(Record::read_line(text.as_bytes()).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn a_line_begins_with_its_key() {
        let mut line = Vec::new();
        record(9, 4, Body::TimerFired { timer: "t1".into() }).write_line(&mut line);
        let expected = r#"{"tenant_id":"00000000-0000-0000-0000-000000000001","instance_id":"00000000-0000-0000-0000-000000000002","seq":9,"v":1,"at":"1970-01-01T00:00:01.500000Z","step":4,"definition_hash":"abababababababababababababababababababababababababababababababab","actor":{"type":"user","id":"a\",\"seq\":7"},"kind":"timer_fired","timer":"t1"}"#;
        assert_eq!(String::from_utf8(line).unwrap().trim_end(), expected);
    }

    #[test]
    fn a_header_is_written_as_serde_json_does() {
        let plain = record(u64::MAX, 1, Body::InputReleased).header;
        let actor = Actor { kind: crate::record::ActorKind::Agent, id: "\u{1}\n".into() };
        let caused = Header {
            causation_id: Some("a:1".into()),
            correlation_id: Some("\"".into()),
            origin: Some(Box::new(Origin {
                via: "session".into(),
                ip_address: Some("192.0.2.1".into()),
                user_agent: Some("a \"browser\"\n".into()),
                request_id: None,
                request_key: Some("ab.cd".into()),
            })),
            actor,
            at: crate::Timestamp(i64::MAX),
            ..plain.clone()
        };
        for header in [plain, caused] {
            let mut out = Vec::new();
            let number = write_header(&header, &mut out);
            assert_eq!(out[number], *header.seq.to_string().as_bytes());
            out.push(b'}');
            let expected = serde_json::to_string(&header).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn a_record_of_a_newer_release_is_refused() {
        let mut line = Vec::new();
        record(9, 4, Body::TimerFired { timer: "t1".into() }).write_line(&mut line);
        let newer = String::from_utf8(line).unwrap().replace(r#""v":1"#, r#""v":9"#);
        let error = Record::read_line(newer.as_bytes()).unwrap_err();
        assert!(matches!(error, LineError::Newer { found: 9 }), "{error}");
    }
}
