//! Frames as lines of JSON, for `cat`, `grep` and `jq`.
//!
//! A frame is one line for the header and one for each record:
//!
//! ```text
//! {"traaviis_frame":3,"epoch":1,"first":7,"count":1,"bytes":431,"line_bytes":410,"flags":0,
//!   "previous":"64 hex digits","crc32c":"8 hex digits","header_crc32c":"8 hex digits"}
//! {"tenant_id":"..","instance_id":"..","seq":1,..,"crc32c":"8 hex digits"}
//! ```
//!
//! (The header stands in one line.) A record's last key is the CRC32C of its line without that key;
//! `crc32c` of the header is that of all lines behind it, `header_crc32c` that of what stands
//! before this key. An empty line stands for a record that compaction dropped.
//!
//! Invariants: a header is read only as the very bytes that writing it gives; a record gives back
//! the very line that was appended. No line of a record can be taken for a header: records begin
//! with their tenant, and what is inside of one is never followed by the end of the line alone.

use std::{fmt::Write, io};

use serde::Deserialize;

use super::{
    Codec, FORMAT_TEXT, FrameError, FrameHash, FrameHeader, HEADER_BYTES_MAX, HeaderBytes, NO_HASH,
};
use crate::line;

/// What every header begins with.
pub(super) const MARK: &[u8] = br#"{"traaviis_frame":"#;
/// What stands before the checksum of a header.
const HEADER_CRC: &[u8] = br#","header_crc32c":""#;
/// What stands before the checksum of a record.
const LINE_CRC: &[u8] = br#","crc32c":""#;
/// What stands behind a checksum.
const CLOSE: &[u8] = br#""}"#;
const CRC_DIGITS: usize = 8;

/// A header as JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header<'a> {
    traaviis_frame: u32,
    epoch: u64,
    first: u64,
    count: u32,
    bytes: u32,
    line_bytes: u32,
    flags: u32,
    previous: &'a str,
    crc32c: &'a str,
    header_crc32c: &'a str,
}

/// What tells the format, whatever else a newer one has.
#[derive(Deserialize)]
struct Format {
    traaviis_frame: u32,
}

/// Writes a header, its newline included.
pub(super) fn encode(header: &FrameHeader) -> HeaderBytes {
    let FrameHeader { epoch, first, count, payload_bytes, line_bytes, flags, .. } = header;
    let mut out = HeaderBytes::new();
    out.put(MARK);
    // Writing into an array that is long enough for the largest numbers cannot fail.
    let _ = write!(
        out,
        r#"{FORMAT_TEXT},"epoch":{epoch},"first":{first},"count":{count},"bytes":{payload_bytes},"#
    );
    let _ = write!(out, r#""line_bytes":{line_bytes},"flags":{flags},"previous":""#);
    for byte in header.previous {
        let _ = write!(out, "{byte:02x}");
    }
    let _ = write!(out, r#"","crc32c":"{:08x}""#, header.payload_crc);
    let crc = crc32c::crc32c(&out);
    out.put(HEADER_CRC);
    let _ = writeln!(out, r#"{crc:08x}"}}"#);
    out
}

/// Reads a header from the start of `bytes` and checks everything but lengths.
pub(super) fn decode(bytes: &[u8]) -> Result<FrameHeader, FrameError> {
    if !bytes.starts_with(&MARK[..bytes.len().min(MARK.len())]) {
        return Err(FrameError::Magic);
    }
    let within = &bytes[..bytes.len().min(HEADER_BYTES_MAX)];
    let Some(end) = memchr::memchr(b'\n', within) else {
        let is_short = bytes.len() < HEADER_BYTES_MAX;
        return Err(if is_short { FrameError::Short } else { FrameError::HeaderCrc });
    };
    let line = &bytes[..end];
    let Some((covered, crc)) = split_crc(line, HEADER_CRC) else {
        return Err(FrameError::HeaderCrc);
    };
    if crc32c::crc32c(covered) != crc {
        return Err(FrameError::HeaderCrc);
    }
    let format: Format = serde_json::from_slice(line).map_err(|_| FrameError::HeaderCrc)?;
    if format.traaviis_frame > FORMAT_TEXT {
        return Err(FrameError::Format(format.traaviis_frame));
    }
    let read: Header<'_> = serde_json::from_slice(line).map_err(|_| FrameError::HeaderCrc)?;
    let header = FrameHeader {
        codec: Codec::Text,
        epoch: read.epoch,
        first: read.first,
        count: read.count,
        payload_bytes: read.bytes,
        line_bytes: read.line_bytes,
        payload_crc: hex(read.crc32c.as_bytes()).ok_or(FrameError::HeaderCrc)?,
        flags: read.flags,
        previous: hash_of(read.previous).ok_or(FrameError::HeaderCrc)?,
    };
    let is_canonical = read.traaviis_frame == FORMAT_TEXT
        && hex(read.header_crc32c.as_bytes()) == Some(crc)
        && *encode(&header) == bytes[..=end];
    if is_canonical { Ok(header) } else { Err(FrameError::HeaderCrc) }
}

/// Writes lines with their checksums.
pub(super) fn write_lines(lines: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    for line in line::each(lines) {
        if !line.is_empty() {
            let Some(open) = line.strip_suffix(b"}") else {
                // Whatever is appended was checked for it.
                return Err(io::Error::other("a record is no JSON object"));
            };
            let crc = crc32c::crc32c(line);
            out.extend_from_slice(open);
            out.extend_from_slice(LINE_CRC);
            io::Write::write_fmt(out, format_args!("{crc:08x}"))?;
            out.extend_from_slice(CLOSE);
        }
        out.push(b'\n');
    }
    Ok(())
}

/// Reads lines back as they were appended, each compared with its checksum.
pub(super) fn read_lines(payload: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
    if payload.last() != Some(&b'\n') {
        return Err(FrameError::Payload);
    }
    for line in line::each(payload) {
        if !line.is_empty() {
            let (open, crc) = split_crc(line, LINE_CRC).ok_or(FrameError::Payload)?;
            let start = out.len();
            out.extend_from_slice(open);
            out.push(b'}');
            if crc32c::crc32c(&out[start..]) != crc {
                return Err(FrameError::Payload);
            }
        }
        out.push(b'\n');
    }
    Ok(())
}

/// Divides a line into what stands before its checksum, and that.
fn split_crc<'a>(line: &'a [u8], key: &[u8]) -> Option<(&'a [u8], u32)> {
    let rest = line.strip_suffix(CLOSE)?;
    let (rest, digits) = rest.split_at_checked(rest.len().checked_sub(CRC_DIGITS)?)?;
    Some((rest.strip_suffix(key)?, hex(digits)?))
}

/// Reads a number as it is written: eight digits, small letters.
fn hex(digits: &[u8]) -> Option<u32> {
    if digits.len() != CRC_DIGITS {
        return None;
    }
    let digit = |it: &u8| match it {
        b'0'..=b'9' => Some(u32::from(it - b'0')),
        b'a'..=b'f' => Some(u32::from(it - b'a') + 10),
        _ => None,
    };
    digits.iter().try_fold(0, |acc, it| Some(acc << 4 | digit(it)?))
}

fn hash_of(text: &str) -> Option<FrameHash> {
    let mut hash = NO_HASH;
    if text.len() != 2 * hash.len() {
        return None;
    }
    for (part, digits) in hash.chunks_exact_mut(4).zip(text.as_bytes().chunks_exact(CRC_DIGITS)) {
        part.copy_from_slice(&hex(digits)?.to_be_bytes());
    }
    Some(hash)
}
