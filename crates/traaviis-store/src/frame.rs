//! Frames: how one group of records rests in a segment.
//!
//! There are two codecs: packed frames, described here, and [`text`] for people. Which one a frame
//! has shows in its first byte; a segment has frames of one codec. The chain of hashes goes through
//! both.
//!
//! A packed frame is a zstd *skippable* frame that carries the [`FrameHeader`], then an ordinary
//! zstd frame of JSON lines, so that `zstdcat` of a sealed segment prints its history. All numbers
//! are little endian:
//!
//! ```text
//!  0 magic 0x184D2A50 | 4 length of the header after this field, 76
//!  8 format u32 | 12 epoch u64 | 20 first position u64 | 28 record count u32
//! 32 payload bytes u32 | 36 uncompressed bytes u32 | 40 CRC32C of the payload u32 | 44 flags u32
//! 48 hash of the previous frame [32] | 80 CRC32C of bytes 0..80 u32 | 84 payload
//! ```
//!
//! The hash of a frame is SHA-256 over header and payload, so the chain covers every byte.
//!
//! Invariant: nothing that is read decides how much is allocated before it was checked against
//! [`FRAME_BYTES_MAX`].

mod text;

use std::{fmt, io, ops::Deref};

use sha2::{Digest, Sha256};
use traaviis_model::limits::FRAME_BYTES_MAX;
use traaviis_ports::Position;

/// Bytes of a packed header with the eight that make it a skippable frame; no header is shorter.
pub const HEADER_BYTES: usize = 84;
/// Bytes that no header exceeds: those of a text one with the largest numbers.
pub const HEADER_BYTES_MAX: usize = 384;
/// Newest version of the frame format.
pub const FORMAT: u32 = FORMAT_TEXT;
/// Version of packed frames as they are appended.
const FORMAT_APPENDED: u32 = 1;
/// Version of packed frames of compacted segments, where a release that does not know them would
/// take an empty line for damage.
const FORMAT_COMPACTED: u32 = 2;
/// Version of text frames.
const FORMAT_TEXT: u32 = 3;
/// Flag: the frame before this one was not synced when this one was written (`relaxed`).
pub const FLAG_UNSYNCED_BEFORE: u32 = 1;
/// Flag: compaction wrote the frame; an empty line stands for a record that it dropped.
pub const FLAG_COMPACTED: u32 = 2;
/// Flag: the last frame of a compacted segment. It has no records, and its hash of the previous
/// frame is that of the last frame before compaction, which the next segment follows.
pub const FLAG_LINK: u32 = 4;

const MAGIC: [u8; 4] = 0x184D_2A50_u32.to_le_bytes();
const ZSTD_MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();
const CRC_AT: usize = HEADER_BYTES - 4;

/// Hash of a frame; the first frame of a log follows [`NO_HASH`].
pub type FrameHash = [u8; 32];
/// What stands for "no frame before".
pub const NO_HASH: FrameHash = [0; 32];

/// How frames are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// Compressed, behind a header of bytes.
    #[default]
    Packed,
    /// Lines of JSON: one for the header, one for each record.
    Text,
}

impl Codec {
    /// Returns the codec of frames that begin with these bytes.
    pub fn of(bytes: &[u8]) -> Option<Codec> {
        Codec::ALL.into_iter().find(|it| bytes.starts_with(it.mark()))
    }

    const ALL: [Codec; 2] = [Codec::Packed, Codec::Text];

    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Codec::Packed => "packed",
            Codec::Text => "text",
        }
    }

    /// Returns what every frame begins with.
    fn mark(self) -> &'static [u8] {
        match self {
            Codec::Packed => &MAGIC,
            Codec::Text => text::MARK,
        }
    }
}

/// The bytes of a header.
#[derive(Clone, Copy)]
pub struct HeaderBytes {
    bytes: [u8; HEADER_BYTES_MAX],
    len: usize,
}

impl HeaderBytes {
    fn new() -> HeaderBytes {
        HeaderBytes { bytes: [0; HEADER_BYTES_MAX], len: 0 }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
}

impl Deref for HeaderBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl fmt::Write for HeaderBytes {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.put(text.as_bytes());
        Ok(())
    }
}

/// What is known of a frame without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// How it is written.
    pub codec: Codec,
    /// Writer epoch; rises with every opening of the log.
    pub epoch: u64,
    /// Position of the first record.
    pub first: Position,
    /// Number of records.
    pub count: u32,
    /// Bytes behind the header.
    pub payload_bytes: u32,
    /// Bytes of the lines, as the payload gives them back.
    pub line_bytes: u32,
    /// CRC32C of the payload.
    pub payload_crc: u32,
    /// Flags.
    pub flags: u32,
    /// Hash of the frame before.
    pub previous: FrameHash,
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Too few bytes.
    #[error("the frame is cut short")]
    Short,
    /// No frame begins here.
    #[error("no frame begins here")]
    Magic,
    /// The header's checksum does not fit.
    #[error("the checksum of the header does not fit")]
    HeaderCrc,
    /// A newer release wrote it.
    #[error("frame format `{0}` is newer than `{FORMAT}`")]
    Format(u32),
    /// A length is beyond the limit, or lengths contradict each other.
    #[error("a length in the header is impossible")]
    Length,
    /// The payload's checksum does not fit.
    #[error("the checksum of the payload does not fit")]
    PayloadCrc,
    /// The payload is not what the header says.
    #[error("the payload does not give back its lines")]
    Payload,
}

impl FrameHeader {
    /// Returns the position after the last record.
    pub fn end(&self) -> Position {
        self.first + u64::from(self.count)
    }

    /// Says whether compaction wrote the frame.
    pub fn is_compacted(&self) -> bool {
        self.flags & (FLAG_COMPACTED | FLAG_LINK) != 0
    }

    /// Says whether the frame only hands on a hash.
    pub fn is_link(&self) -> bool {
        self.flags & FLAG_LINK != 0
    }

    /// Returns the bytes before the payload.
    pub fn header_bytes(&self) -> usize {
        match self.codec {
            Codec::Packed => HEADER_BYTES,
            Codec::Text => text::encode(self).len(),
        }
    }

    /// Returns the bytes of the whole frame.
    pub fn frame_bytes(&self) -> u64 {
        self.header_bytes() as u64 + u64::from(self.payload_bytes)
    }

    /// Writes the header.
    pub fn encode(&self) -> HeaderBytes {
        match self.codec {
            Codec::Packed => self.pack(),
            Codec::Text => text::encode(self),
        }
    }

    fn pack(&self) -> HeaderBytes {
        let mut out = HeaderBytes::new();
        let mut put = |bytes: &[u8]| out.put(bytes);
        put(&MAGIC);
        put(&(HEADER_BYTES as u32 - 8).to_le_bytes());
        let format = if self.is_compacted() { FORMAT_COMPACTED } else { FORMAT_APPENDED };
        put(&format.to_le_bytes());
        put(&self.epoch.to_le_bytes());
        put(&self.first.to_le_bytes());
        put(&self.count.to_le_bytes());
        put(&self.payload_bytes.to_le_bytes());
        put(&self.line_bytes.to_le_bytes());
        put(&self.payload_crc.to_le_bytes());
        put(&self.flags.to_le_bytes());
        put(&self.previous);
        debug_assert_eq!(out.len(), CRC_AT);
        let crc = crc32c::crc32c(&out);
        out.put(&crc.to_le_bytes());
        out
    }

    /// Reads a header from the start of `bytes` and checks everything but the payload.
    pub fn decode(bytes: &[u8]) -> Result<FrameHeader, FrameError> {
        let header = match bytes.first() == Some(&text::MARK[0]) {
            true => text::decode(bytes)?,
            false => FrameHeader::unpack(bytes)?,
        };
        header.check_lengths()?;
        Ok(header)
    }

    fn unpack(bytes: &[u8]) -> Result<FrameHeader, FrameError> {
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else {
            let begins = !bytes.is_empty() && bytes.starts_with(&MAGIC[..bytes.len().min(4)]);
            return Err(if begins { FrameError::Short } else { FrameError::Magic });
        };
        if bytes[..4] != MAGIC || u32_at(bytes, 4) != HEADER_BYTES as u32 - 8 {
            return Err(FrameError::Magic);
        }
        if crc32c::crc32c(&bytes[..CRC_AT]) != u32_at(bytes, CRC_AT) {
            return Err(FrameError::HeaderCrc);
        }
        let format = u32_at(bytes, 8);
        if !(FORMAT_APPENDED..=FORMAT_COMPACTED).contains(&format) {
            return Err(FrameError::Format(format));
        }
        let mut previous = NO_HASH;
        previous.copy_from_slice(&bytes[48..80]);
        Ok(FrameHeader {
            codec: Codec::Packed,
            epoch: u64_at(bytes, 12),
            first: u64_at(bytes, 20),
            count: u32_at(bytes, 28),
            payload_bytes: u32_at(bytes, 32),
            line_bytes: u32_at(bytes, 36),
            payload_crc: u32_at(bytes, 40),
            flags: u32_at(bytes, 44),
            previous,
        })
    }

    fn check_lengths(&self) -> Result<(), FrameError> {
        let limit = FRAME_BYTES_MAX as u32;
        let fits = self.payload_bytes <= limit
            && self.line_bytes <= limit
            && (self.count >= 1) != self.is_link()
            && self.count <= self.line_bytes
            && self.first.checked_add(u64::from(self.count)).is_some();
        if fits { Ok(()) } else { Err(FrameError::Length) }
    }
}

/// Returns the hash of a frame: over header and payload.
pub fn hash(header: &[u8], payload: &[u8]) -> FrameHash {
    let mut sha = Sha256::new();
    sha.update(header);
    sha.update(payload);
    sha.finalize().into()
}

/// Makes frames, reusing its buffer and compression state.
pub struct Encoder {
    zstd: zstd::bulk::Compressor<'static>,
    buffer: Vec<u8>,
    /// Payload of a text frame, whose header is as long as its numbers.
    payload: Vec<u8>,
    hash: FrameHash,
}

impl Encoder {
    /// Makes an encoder.
    pub fn new() -> io::Result<Encoder> {
        let zstd = zstd::bulk::Compressor::new(1)?;
        Ok(Encoder { zstd, buffer: Vec::new(), payload: Vec::new(), hash: NO_HASH })
    }

    /// Makes a frame of `lines` and completes `header`, of which lengths and checksum are not
    /// taken; returns the bytes of the frame, which [`Encoder::last`] holds.
    pub fn encode(&mut self, mut header: FrameHeader, lines: &[u8]) -> io::Result<usize> {
        header.line_bytes = lines.len() as u32;
        match header.codec {
            Codec::Packed => self.pack(header, lines),
            Codec::Text => self.write_text(header, lines),
        }
    }

    fn write_text(&mut self, mut header: FrameHeader, lines: &[u8]) -> io::Result<usize> {
        self.payload.clear();
        text::write_lines(lines, &mut self.payload)?;
        header.payload_bytes = self.payload.len() as u32;
        header.payload_crc = crc32c::crc32c(&self.payload);
        let head = header.encode();
        self.hash = hash(&head, &self.payload);
        let used = head.len() + self.payload.len();
        if self.buffer.len() < used {
            self.buffer.resize(used, 0);
        }
        self.buffer[..head.len()].copy_from_slice(&head);
        self.buffer[head.len()..used].copy_from_slice(&self.payload);
        Ok(used)
    }

    fn pack(&mut self, mut header: FrameHeader, lines: &[u8]) -> io::Result<usize> {
        let room = HEADER_BYTES + zstd::zstd_safe::compress_bound(lines.len());
        if self.buffer.len() < room {
            self.buffer.resize(room, 0);
        }
        let written = self.zstd.compress_to_buffer(lines, &mut self.buffer[HEADER_BYTES..])?;
        let payload = &self.buffer[HEADER_BYTES..HEADER_BYTES + written];
        header.payload_bytes = written as u32;
        header.payload_crc = crc32c::crc32c(payload);
        let head = header.encode();
        self.hash = hash(&head, payload);
        self.buffer[..HEADER_BYTES].copy_from_slice(&head);
        Ok(HEADER_BYTES + written)
    }

    /// Returns the buffer that starts with the last frame, and the frame's hash. The buffer may be
    /// written behind the frame.
    pub fn last(&mut self) -> (&mut Vec<u8>, FrameHash) {
        (&mut self.buffer, self.hash)
    }
}

/// Opens frames, reusing its buffer and decompression state.
pub struct Decoder {
    zstd: zstd::bulk::Decompressor<'static>,
    lines: Vec<u8>,
}

impl Decoder {
    /// Makes a decoder.
    pub fn new() -> io::Result<Decoder> {
        Ok(Decoder { zstd: zstd::bulk::Decompressor::new()?, lines: Vec::new() })
    }

    /// Opens a payload whose checksum was checked; the lines are whole and as many as said.
    pub fn lines(&mut self, header: &FrameHeader, payload: &[u8]) -> Result<&[u8], FrameError> {
        self.lines.clear();
        match header.codec {
            Codec::Packed => self.unpack(header, payload)?,
            Codec::Text => text::read_lines(payload, &mut self.lines)?,
        }
        let whole = self.lines.len() == header.line_bytes as usize
            && self.lines.last() == Some(&b'\n')
            && memchr::memchr_iter(b'\n', &self.lines).count() == header.count as usize;
        if whole { Ok(&self.lines) } else { Err(FrameError::Payload) }
    }

    fn unpack(&mut self, header: &FrameHeader, payload: &[u8]) -> Result<(), FrameError> {
        let claimed = zstd::zstd_safe::get_frame_content_size(payload).ok().flatten();
        if claimed != Some(u64::from(header.line_bytes)) {
            return Err(FrameError::Payload);
        }
        self.lines.reserve(header.line_bytes as usize);
        let result = self.zstd.decompress_to_buffer(payload, &mut self.lines);
        result.map(drop).map_err(|_| FrameError::Payload)
    }
}

/// Checks a payload against its header's checksum.
pub fn check_payload(header: &FrameHeader, payload: &[u8]) -> Result<(), FrameError> {
    if payload.len() != header.payload_bytes as usize {
        return Err(FrameError::Short);
    }
    if crc32c::crc32c(payload) != header.payload_crc {
        return Err(FrameError::PayloadCrc);
    }
    Ok(())
}

/// Returns the offset of the next place in `bytes`, from `from` on, that looks like the start of a
/// frame of this codec, or of any.
pub fn find_mark(codec: Option<Codec>, bytes: &[u8], from: usize) -> Option<usize> {
    let bytes = bytes.get(from..)?;
    let codecs = Codec::ALL.into_iter().filter(|it| codec.is_none_or(|codec| codec == *it));
    codecs.filter_map(|it| memchr::memmem::find(bytes, it.mark())).min().map(|at| from + at)
}

/// Bytes of the longest mark.
pub const MARK_BYTES_MAX: usize = text::MARK.len();

/// Decodes whatever it is given and throws it away; for fuzzing. Must not panic.
pub fn fuzz_decode(bytes: &[u8]) {
    let mut rest = bytes;
    let Ok(mut decoder) = Decoder::new() else { return };
    while let Ok(header) = FrameHeader::decode(rest) {
        let end = (header.frame_bytes() as usize).min(rest.len());
        let payload = &rest[header.header_bytes()..end];
        // The checksum is no obstacle to an attacker, so the payload is opened either way.
        let _ = check_payload(&header, payload);
        let _ = decoder.lines(&header, payload);
        let _ = salvage(payload);
        rest = &rest[end..];
    }
    let _ = salvage(bytes);
}

/// Returns as many bytes of lines as a damaged payload still gives; for finding who is affected.
/// What is not packed is lines as it stands.
pub fn salvage(payload: &[u8]) -> Vec<u8> {
    use std::io::Read;
    if !payload.starts_with(&ZSTD_MAGIC) {
        return payload.to_vec();
    }
    let mut lines = Vec::new();
    if let Ok(decoder) = zstd::stream::read::Decoder::with_buffer(payload) {
        let mut limited = decoder.single_frame().take(FRAME_BYTES_MAX as u64);
        let mut piece = [0; 4096];
        while let Ok(read @ 1..) = limited.read(&mut piece) {
            lines.extend_from_slice(&piece[..read]);
        }
    }
    lines
}

fn u32_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

fn u64_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODECS: [Codec; 2] = Codec::ALL;

    fn frame(codec: Codec, lines: &str) -> Vec<u8> {
        let header = FrameHeader {
            codec,
            epoch: 3,
            first: 7,
            count: lines.lines().count() as u32,
            payload_bytes: 0,
            line_bytes: 0,
            payload_crc: 0,
            flags: 0,
            previous: [9; 32],
        };
        let mut encoder = Encoder::new().unwrap();
        let used = encoder.encode(header, lines.as_bytes()).unwrap();
        encoder.last().0[..used].to_vec()
    }

    #[test]
    fn a_frame_reads_back() {
        for codec in CODECS {
            let bytes = frame(codec, "{\"a\":1}\n\n{\"b\":2}\n");
            let header = FrameHeader::decode(&bytes).unwrap();
            assert_eq!((header.codec, header.epoch), (codec, 3));
            assert_eq!((header.first, header.end()), (7, 10));
            let payload = &bytes[header.header_bytes()..];
            check_payload(&header, payload).unwrap();
            let mut decoder = Decoder::new().unwrap();
            let lines = decoder.lines(&header, payload).unwrap();
            assert_eq!(lines, b"{\"a\":1}\n\n{\"b\":2}\n");
            assert_eq!(find_mark(Some(codec), &bytes, 0), Some(0));
            assert_eq!(find_mark(None, &bytes, 1), None);
        }
    }

    #[test]
    fn zstd_skips_headers() {
        let mut bytes = frame(Codec::Packed, "one\n");
        bytes.extend(frame(Codec::Packed, "two\n"));
        assert_eq!(zstd::stream::decode_all(&bytes[..]).unwrap(), b"one\ntwo\n");
    }

    #[test]
    fn every_line_of_a_text_frame_is_json() {
        let bytes = frame(Codec::Text, "{\"a\":1}\n{\"b\":{\"c\":\"}\"}}\n");
        let text = std::str::from_utf8(&bytes).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0]["first"], 7);
        assert_eq!(lines[2]["b"]["c"], "}");
        let crc = format!("{:08x}", crc32c::crc32c(b"{\"a\":1}"));
        assert_eq!(text.lines().nth(1), Some(&*format!("{{\"a\":1,\"crc32c\":\"{crc}\"}}")));
    }

    #[test]
    fn headers_with_the_largest_numbers_have_room() {
        for codec in CODECS {
            let header = FrameHeader {
                codec,
                epoch: u64::MAX,
                first: u64::MAX - u64::from(u32::MAX),
                count: FRAME_BYTES_MAX as u32,
                payload_bytes: FRAME_BYTES_MAX as u32,
                line_bytes: FRAME_BYTES_MAX as u32,
                payload_crc: u32::MAX,
                flags: !FLAG_LINK,
                previous: [255; 32],
            };
            assert_eq!(FrameHeader::decode(&header.encode()), Ok(header));
        }
    }

    #[test]
    fn a_newer_format_is_told_from_damage() {
        let text = br#"{"traaviis_frame":4,"more":true"#;
        let crc = crc32c::crc32c(text);
        let end = format!(",\"header_crc32c\":\"{crc:08x}\"}}\n");
        let line = [text.as_slice(), end.as_bytes()];
        assert_eq!(FrameHeader::decode(&line.concat()), Err(FrameError::Format(4)));
        let mut damaged = line.concat();
        damaged[25] ^= 1;
        assert_eq!(FrameHeader::decode(&damaged), Err(FrameError::HeaderCrc));
    }

    #[test]
    fn the_checksum_of_each_record_is_compared() {
        let mut bytes = frame(Codec::Text, "{\"a\":1}\n");
        let mut header = FrameHeader::decode(&bytes).unwrap();
        let payload = &mut bytes[header.header_bytes()..];
        payload[5] = b'2';
        header.payload_crc = crc32c::crc32c(payload);
        check_payload(&header, payload).unwrap();
        let read = Decoder::new().unwrap().lines(&header, payload).map(<[u8]>::to_vec);
        assert_eq!(read, Err(FrameError::Payload));
    }

    #[test]
    fn every_flipped_bit_is_found() {
        for codec in CODECS {
            let bytes = frame(codec, "{\"a\":1}\n");
            for bit in 0..bytes.len() * 8 {
                let mut bytes = bytes.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                let read = FrameHeader::decode(&bytes)
                    .and_then(|header| check_payload(&header, &bytes[header.header_bytes()..]));
                assert!(read.is_err(), "{codec:?} bit {bit}");
            }
        }
    }

    #[test]
    fn hostile_bytes_do_not_panic() {
        let good = CODECS.map(|it| frame(it, &"{\"tenant_id\":\"x\"}\n".repeat(50)));
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize
        };
        for round in 0..20_000 {
            let mut bytes = good[round % 2].clone();
            for _ in 0..1 + next() % 4 {
                let at = next() % bytes.len();
                bytes[at] = next() as u8;
            }
            bytes.truncate(next() % (bytes.len() + 1));
            // A header that fits its checksum, so that decoding gets past it.
            if bytes.len() >= HEADER_BYTES && next() % 2 == 0 {
                let crc = crc32c::crc32c(&bytes[..CRC_AT]);
                bytes[CRC_AT..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
            }
            fuzz_decode(&bytes);
        }
    }
}
