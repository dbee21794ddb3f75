//! Frames: how one group of records rests in a segment.
//!
//! A frame is a zstd *skippable* frame that carries the [`FrameHeader`], then an ordinary zstd
//! frame of JSON lines, so that `zstdcat` of a sealed segment prints its history. All numbers are
//! little endian:
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

use sha2::{Digest, Sha256};
use traaviis_model::limits::FRAME_BYTES_MAX;
use traaviis_ports::Position;

/// Bytes of a header with the eight that make it a skippable frame.
pub const HEADER_BYTES: usize = 84;
/// Newest version of the frame format.
pub const FORMAT: u32 = 2;
/// Version of frames as they are appended. Only frames of compacted segments, where an older
/// release would take an empty line for damage, are of a newer one.
const FORMAT_APPENDED: u32 = 1;
/// Flag: the frame before this one was not synced when this one was written (`relaxed`).
pub const FLAG_UNSYNCED_BEFORE: u32 = 1;
/// Flag: compaction wrote the frame; an empty line stands for a record that it dropped.
pub const FLAG_COMPACTED: u32 = 2;
/// Flag: the last frame of a compacted segment. It has no records, and its hash of the previous
/// frame is that of the last frame before compaction, which the next segment follows.
pub const FLAG_LINK: u32 = 4;

const MAGIC: [u8; 4] = 0x184D_2A50_u32.to_le_bytes();
const CRC_AT: usize = HEADER_BYTES - 4;

/// Hash of a frame; the first frame of a log follows [`NO_HASH`].
pub type FrameHash = [u8; 32];
/// What stands for "no frame before".
pub const NO_HASH: FrameHash = [0; 32];

/// What is known of a frame without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Writer epoch; rises with every opening of the log.
    pub epoch: u64,
    /// Position of the first record.
    pub first: Position,
    /// Number of records.
    pub count: u32,
    /// Bytes of the zstd frame.
    pub payload_bytes: u32,
    /// Bytes of the lines.
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
    #[error("the payload cannot be decompressed into its lines")]
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

    /// Returns the bytes of the whole frame.
    pub fn frame_bytes(&self) -> u64 {
        HEADER_BYTES as u64 + u64::from(self.payload_bytes)
    }

    /// Writes the header.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(&MAGIC);
        put(&(HEADER_BYTES as u32 - 8).to_le_bytes());
        let format = if self.is_compacted() { FORMAT } else { FORMAT_APPENDED };
        put(&format.to_le_bytes());
        put(&self.epoch.to_le_bytes());
        put(&self.first.to_le_bytes());
        put(&self.count.to_le_bytes());
        put(&self.payload_bytes.to_le_bytes());
        put(&self.line_bytes.to_le_bytes());
        put(&self.payload_crc.to_le_bytes());
        put(&self.flags.to_le_bytes());
        put(&self.previous);
        debug_assert_eq!(at, CRC_AT);
        let crc = crc32c::crc32c(&out[..CRC_AT]);
        out[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a header from the start of `bytes` and checks everything but the payload.
    pub fn decode(bytes: &[u8]) -> Result<FrameHeader, FrameError> {
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
        if !(FORMAT_APPENDED..=FORMAT).contains(&format) {
            return Err(FrameError::Format(format));
        }
        let mut previous = NO_HASH;
        previous.copy_from_slice(&bytes[48..80]);
        let header = FrameHeader {
            epoch: u64_at(bytes, 12),
            first: u64_at(bytes, 20),
            count: u32_at(bytes, 28),
            payload_bytes: u32_at(bytes, 32),
            line_bytes: u32_at(bytes, 36),
            payload_crc: u32_at(bytes, 40),
            flags: u32_at(bytes, 44),
            previous,
        };
        header.check_lengths()?;
        Ok(header)
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
pub fn hash(header: &[u8; HEADER_BYTES], payload: &[u8]) -> FrameHash {
    let mut sha = Sha256::new();
    sha.update(header);
    sha.update(payload);
    sha.finalize().into()
}

/// Makes frames, reusing its buffer and compression state.
pub struct Encoder {
    zstd: zstd::bulk::Compressor<'static>,
    buffer: Vec<u8>,
    hash: FrameHash,
}

impl Encoder {
    /// Makes an encoder.
    pub fn new() -> std::io::Result<Encoder> {
        let zstd = zstd::bulk::Compressor::new(1)?;
        Ok(Encoder { zstd, buffer: Vec::new(), hash: NO_HASH })
    }

    /// Compresses `lines` and completes `header`, of which only epoch, first position, count, flags
    /// and previous hash are taken; returns the bytes of the frame, which [`Encoder::last`] holds.
    pub fn encode(&mut self, mut header: FrameHeader, lines: &[u8]) -> std::io::Result<usize> {
        let room = HEADER_BYTES + zstd::zstd_safe::compress_bound(lines.len());
        if self.buffer.len() < room {
            self.buffer.resize(room, 0);
        }
        let written = self.zstd.compress_to_buffer(lines, &mut self.buffer[HEADER_BYTES..])?;
        let payload = &self.buffer[HEADER_BYTES..HEADER_BYTES + written];
        header.payload_bytes = written as u32;
        header.line_bytes = lines.len() as u32;
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
    pub fn new() -> std::io::Result<Decoder> {
        Ok(Decoder { zstd: zstd::bulk::Decompressor::new()?, lines: Vec::new() })
    }

    /// Decompresses a payload whose checksum was checked; the lines are whole and as many as said.
    pub fn lines(&mut self, header: &FrameHeader, payload: &[u8]) -> Result<&[u8], FrameError> {
        let claimed = zstd::zstd_safe::get_frame_content_size(payload).ok().flatten();
        if claimed != Some(u64::from(header.line_bytes)) {
            return Err(FrameError::Payload);
        }
        self.lines.clear();
        self.lines.reserve(header.line_bytes as usize);
        let result = self.zstd.decompress_to_buffer(payload, &mut self.lines);
        let whole = result.is_ok()
            && self.lines.len() == header.line_bytes as usize
            && self.lines.last() == Some(&b'\n')
            && memchr::memchr_iter(b'\n', &self.lines).count() == header.count as usize;
        if whole { Ok(&self.lines) } else { Err(FrameError::Payload) }
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

/// Returns the offset of the next place in `bytes`, from `from` on, that looks like a frame's
/// start.
pub fn find_mark(bytes: &[u8], from: usize) -> Option<usize> {
    memchr::memmem::find(bytes.get(from..)?, &MAGIC).map(|at| from + at)
}

/// Decodes whatever it is given and throws it away; for fuzzing. Must not panic.
pub fn fuzz_decode(bytes: &[u8]) {
    let mut rest = bytes;
    let Ok(mut decoder) = Decoder::new() else { return };
    while let Ok(header) = FrameHeader::decode(rest) {
        let end = (header.frame_bytes() as usize).min(rest.len());
        let payload = &rest[HEADER_BYTES..end];
        // The checksum is no obstacle to an attacker, so the payload is opened either way.
        let _ = check_payload(&header, payload);
        let _ = decoder.lines(&header, payload);
        let _ = salvage(payload);
        rest = &rest[end..];
    }
    let _ = salvage(bytes);
}

/// Returns as many bytes of lines as a damaged payload still gives; for finding who is affected.
pub fn salvage(payload: &[u8]) -> Vec<u8> {
    use std::io::Read;
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

    fn frame(lines: &str) -> Vec<u8> {
        let header = FrameHeader {
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
        let bytes = frame("{\"a\":1}\n{\"b\":2}\n");
        let header = FrameHeader::decode(&bytes).unwrap();
        assert_eq!((header.epoch, header.first, header.end()), (3, 7, 9));
        check_payload(&header, &bytes[HEADER_BYTES..]).unwrap();
        let mut decoder = Decoder::new().unwrap();
        let lines = decoder.lines(&header, &bytes[HEADER_BYTES..]).unwrap();
        assert_eq!(lines, b"{\"a\":1}\n{\"b\":2}\n");
    }

    #[test]
    fn zstd_skips_headers() {
        let mut bytes = frame("one\n");
        bytes.extend(frame("two\n"));
        assert_eq!(zstd::stream::decode_all(&bytes[..]).unwrap(), b"one\ntwo\n");
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let bytes = frame("{\"a\":1}\n");
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let read = FrameHeader::decode(&bytes)
                .and_then(|header| check_payload(&header, &bytes[HEADER_BYTES..]));
            assert!(read.is_err(), "bit {bit}");
        }
    }

    #[test]
    fn hostile_bytes_do_not_panic() {
        let good = frame(&"{\"tenant_id\":\"x\"}\n".repeat(50));
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize
        };
        for _ in 0..20_000 {
            let mut bytes = good.clone();
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
