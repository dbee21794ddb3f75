//! What the log reads of a line: whose record it is, and its number.
//!
//! Every line starts with the keys of [`LineKey`] in that order, written without spaces, so a
//! history is found by its first bytes. Lines that start otherwise are read as JSON.

use traaviis_model::{
    InstanceId, Seq, TenantId,
    record::{BLOB_VERSIONS, LineKey, RECORD_VERSION, SEALED_VERSION, UNREADABLE, peek_line},
};
use traaviis_ports::Append;
use uuid::Uuid;

/// Owner of records: a stream inside its tenant. The same id in two tenants is two streams.
pub type StreamKey = (TenantId, InstanceId);

const TENANT: &[u8] = b"{\"tenant_id\":\"";
const STREAM: &[u8] = b"\",\"instance_id\":\"";
const SEQ: &[u8] = b"\",\"seq\":";
const VERSION: &[u8] = b",\"v\":";
const UUID_CHARS: usize = 36;

/// Returns what every line of the stream starts with, up to its number.
pub fn prefix(key: StreamKey) -> Vec<u8> {
    let mut out = Vec::with_capacity(TENANT.len() + STREAM.len() + SEQ.len() + 2 * UUID_CHARS);
    write_prefix(key, &mut out);
    out
}

fn write_prefix((tenant, stream): StreamKey, out: &mut Vec<u8>) {
    let mut text = [0; UUID_CHARS];
    out.extend_from_slice(TENANT);
    out.extend_from_slice(tenant.0.hyphenated().encode_lower(&mut text).as_bytes());
    out.extend_from_slice(STREAM);
    out.extend_from_slice(stream.0.hyphenated().encode_lower(&mut text).as_bytes());
    out.extend_from_slice(SEQ);
}

/// Returns the number that follows a line's prefix.
pub fn seq_after_prefix(rest: &[u8]) -> Option<Seq> {
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let ends = matches!(rest.get(digits), Some(b',' | b'}'));
    if digits == 0 || digits > 19 || !ends {
        return None;
    }
    let number = rest[..digits].iter();
    Some(number.fold(0, |acc, digit| acc * 10 + Seq::from(digit - b'0')))
}

/// Reads whose record a line is.
pub fn key(line: &[u8]) -> Option<(StreamKey, Seq)> {
    fast_key(line).or_else(|| {
        let LineKey { tenant_id, instance_id, seq } = peek_line(line).ok()?;
        Some(((tenant_id, instance_id), seq))
    })
}

fn fast_key(line: &[u8]) -> Option<(StreamKey, Seq)> {
    let rest = line.strip_prefix(TENANT)?;
    let (tenant, rest) = rest.split_at_checked(UUID_CHARS)?;
    let rest = rest.strip_prefix(STREAM)?;
    let (stream, rest) = rest.split_at_checked(UUID_CHARS)?;
    let seq = seq_after_prefix(rest.strip_prefix(SEQ)?)?;
    let tenant = TenantId(Uuid::try_parse_ascii(tenant).ok()?);
    let stream = InstanceId(Uuid::try_parse_ascii(stream).ok()?);
    Some(((tenant, stream), seq))
}

/// Where the version of a line's record stands, which is one digit.
fn version_at(line: &[u8]) -> Option<usize> {
    // The keys before it hold no text in which this could stand.
    let at = memchr::memmem::find(line, VERSION)? + VERSION.len();
    (line.get(at + 1) == Some(&b',')).then_some(at)
}

/// Says whether a line has a version.
pub fn has_version(line: &[u8], version: u32) -> bool {
    version_at(line).is_some_and(|at| u32::from(line[at].wrapping_sub(b'0')) == version)
}

/// Gives a line that has version `from` version `to`; says whether it had.
pub fn set_version(line: &mut [u8], from: u32, to: u32) -> bool {
    let Some(at) = version_at(line).filter(|_| has_version(line, from)) else { return false };
    line[at] = b'0' + to as u8;
    true
}

/// Returns a line that says whose record it is, and why nobody can read it.
pub fn unreadable(line: &[u8], why: &str) -> Vec<u8> {
    const KIND: &[u8] = b",\"kind\":\"";
    // In a text the quotes would stand escaped, so this is the key.
    let end = memchr::memmem::find(line, KIND).unwrap_or(line.len());
    let mut out = line[..end].to_vec();
    for version in [SEALED_VERSION, BLOB_VERSIONS[0], BLOB_VERSIONS[1]] {
        if set_version(&mut out, version, RECORD_VERSION) {
            break;
        }
    }
    let why = serde_json::Value::from(why);
    out.extend_from_slice(format!(",\"kind\":\"{UNREADABLE}\",\"why\":{why}}}").as_bytes());
    out
}

/// Visits the lines of a frame, without their newlines.
pub fn each(lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    memchr::memchr_iter(b'\n', lines).map(move |end| {
        let line = &lines[start..end];
        start = end + 1;
        line
    })
}

/// Says what is wrong with an append's lines, if anything: they must be `count` whole lines of the
/// stream, numbered on from `first_seq`. `scratch` is reused between calls.
pub fn check(tenant: TenantId, append: &Append, scratch: &mut Vec<u8>) -> Result<(), &'static str> {
    if append.count == 0 || append.lines.written().last() != Some(&b'\n') {
        return Err("it has no records, or its last line is not whole");
    }
    scratch.clear();
    write_prefix((tenant, append.stream), scratch);
    let mut seq = append.first_seq;
    for line in each(append.lines.written()) {
        let number = line.strip_prefix(scratch.as_slice()).and_then(seq_after_prefix);
        // A text frame puts one more key before its end.
        if number != Some(seq) || !line.ends_with(b"}") {
            return Err("a line is not the stream's next record");
        }
        seq += 1;
    }
    if seq - append.first_seq != Seq::from(append.count) {
        return Err("it has more or fewer lines than it says");
    }
    Ok(())
}
