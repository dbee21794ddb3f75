//! Files of lines: where to go on, and what stands there.
//!
//! A file is appended to in place. After a crash its end may be torn or hold lines that are written
//! once more; both are cut away at the last line before the one that comes next, so the same lines
//! again change nothing.

use std::io;

use traaviis_model::record::peek_line;
use traaviis_ports::disk::DiskFile;

use super::envelope::number_of;

/// Bytes read at once; holds the last line of nearly every file.
const CHUNK_BYTES: usize = 64 << 10;
/// Bytes of the longest line looked for from the end; one step writes no more.
const LINE_BYTES_MAX: usize = 64 << 20;

/// Where to go on with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// Offset.
    pub offset: u64,
    /// Number of the last line before it.
    pub last: Option<u64>,
}

/// Returns the number of a line.
pub(crate) fn number(line: &[u8]) -> Option<u64> {
    match peek_line(line) {
        Ok(key) => Some(key.seq),
        // Lines of a ledger are no records, and numbered all the same.
        Err(_) => number_of(line, "seq"),
    }
}

/// Finds where the line with number `first` belongs.
pub(crate) fn end_before<F: DiskFile>(file: &F, first: u64) -> io::Result<End> {
    let len = file.len()?;
    if len == 0 {
        return Ok(End { offset: 0, last: None });
    }
    if let Some(last) = last_number(file, len)?
        && last < first
    {
        return Ok(End { offset: len, last: Some(last) });
    }
    from_start(file, first)
}

/// Returns the number of the last line; none when the file does not end with a whole one.
fn last_number<F: DiskFile>(file: &F, len: u64) -> io::Result<Option<u64>> {
    let mut size = CHUNK_BYTES;
    loop {
        let start = len.saturating_sub(size as u64);
        let mut bytes = vec![0; (len - start) as usize];
        file.read_full_at(&mut bytes, start)?;
        let Some(text) = bytes.strip_suffix(b"\n") else { return Ok(None) };
        match memchr::memrchr(b'\n', text) {
            Some(at) => return Ok(number(&text[at + 1..])),
            None if start == 0 => return Ok(number(text)),
            None if size >= LINE_BYTES_MAX => return Ok(None),
            None => size *= 8,
        }
    }
}

/// The same from the start of the file, past every line that is whole and in order.
fn from_start<F: DiskFile>(file: &F, first: u64) -> io::Result<End> {
    let mut end = End { offset: 0, last: None };
    each(file, &mut |line| {
        let Some(number) = number(line).filter(|it| *it < first) else { return false };
        if end.last.is_some_and(|last| number <= last) {
            return false;
        }
        end = End { offset: end.offset + line.len() as u64 + 1, last: Some(number) };
        true
    })?;
    Ok(end)
}

/// Visits whole lines, without their newlines, until told to stop.
fn each<F: DiskFile>(file: &F, visit: &mut dyn FnMut(&[u8]) -> bool) -> io::Result<()> {
    let (mut held, mut at) = (Vec::new(), 0);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = file.read_full_at(&mut chunk, at)?;
        if read == 0 {
            return Ok(());
        }
        at += read as u64;
        held.extend_from_slice(&chunk[..read]);
        let mut begin = 0;
        while let Some(length) = memchr::memchr(b'\n', &held[begin..]) {
            if !visit(&held[begin..begin + length]) {
                return Ok(());
            }
            begin += length + 1;
        }
        held.drain(..begin);
        if held.len() > LINE_BYTES_MAX {
            return Ok(());
        }
    }
}

/// Says whether a file holds these bytes at an offset.
pub(crate) fn holds<F: DiskFile>(file: &F, offset: u64, bytes: &[u8]) -> io::Result<bool> {
    let mut found = vec![0; bytes.len()];
    let read = file.read_full_at(&mut found, offset)?;
    Ok(found[..read] == *bytes)
}
