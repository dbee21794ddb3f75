//! The last frame of a log, when it cannot be read: an unfinished write, or one that was finished
//! and acknowledged, and has changed since?
//!
//! What a write left behind that a crash ended is the bytes of before in some sectors and the new
//! ones in the others, and before a frame there are zeros: space is reserved, and what a full disk
//! left is cut away before the next write. A process that is killed leaves the start of a write,
//! and zeros. The bytes of a whole frame hold no sector of zeros and do not end with one. So where
//! there are none, everything was written, and what does not fit its checksum changed later.
//!
//! Invariant: what a crash can leave is never called whole, or a start would close what lost
//! nothing; what was whole and holds zeros now may be called unfinished.

use std::io;

use traaviis_ports::disk::DiskFile;

use crate::{
    frame::{self, FrameHeader, HEADER_BYTES_MAX},
    segment::Walker,
    walk::Mark,
};

/// What disks write whole or not at all, at least. With larger sectors fewer things can happen.
const SECTOR_BYTES: u64 = 512;

/// Returns the header of a frame that stands at a mark, cannot be read, and had been written whole.
pub(crate) fn written_whole<F: DiskFile>(
    walker: &Walker<F>,
    mark: Mark,
) -> io::Result<Option<FrameHeader>> {
    let head = walker.copy(mark.offset, HEADER_BYTES_MAX as u64)?;
    let follows = |it: &FrameHeader| {
        it.first == mark.position
            && it.epoch >= mark.epoch
            && mark.previous.is_none_or(|previous| previous == it.previous)
    };
    let whole = |header: &FrameHeader| -> io::Result<Option<Vec<u8>>> {
        let bytes = walker.copy(mark.offset, header.frame_bytes())?;
        Ok((bytes.len() as u64 == header.frame_bytes()).then_some(bytes))
    };
    let fits = |header: &FrameHeader, bytes: &[u8]| {
        let payload = bytes.get(header.header_bytes()..).unwrap_or_default();
        frame::check_payload(header, payload).is_ok()
    };
    if let Some(header) = FrameHeader::decode(&head).ok().filter(follows) {
        let Some(bytes) = whole(&header)? else { return Ok(None) };
        // Whoever reads beside a writer may have met the middle of a write, which is over now.
        let is_damaged = has_no_hole(mark.offset, &bytes) && !fits(&header, &bytes);
        return Ok(is_damaged.then_some(header));
    }
    // Where a frame ends is known only when its header is; then its payload must be as it was.
    let Some(header) = FrameHeader::decode_mended(&head).filter(follows) else { return Ok(None) };
    Ok(whole(&header)?.filter(|it| fits(&header, it)).map(|_| header))
}

/// Says whether bytes that begin at an offset were written to their end, as far as zeros tell.
fn has_no_hole(offset: u64, bytes: &[u8]) -> bool {
    let to_sector_end = (SECTOR_BYTES - offset % SECTOR_BYTES) as usize;
    let (first, rest) = bytes.split_at(to_sector_end.min(bytes.len()));
    let mut sectors = std::iter::once(first).chain(rest.chunks(SECTOR_BYTES as usize));
    bytes.last().is_some_and(|it| *it != 0) && sectors.all(|it| it.iter().any(|it| *it != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_is_a_sector_of_zeros_or_an_end_of_zeros() {
        let full = |len: usize| vec![7_u8; len];
        for (offset, len) in [(0, 1), (0, 512), (500, 12), (500, 13), (500, 2000), (1024, 513)] {
            let mut bytes = full(len);
            assert!(has_no_hole(offset, &bytes), "{offset} {len}");
            let edge = (512 - offset as usize % 512).min(len);
            bytes[..edge].fill(0);
            assert!(!has_no_hole(offset, &bytes), "{offset} {len}: the first sector");
            bytes[0] = 1;
            assert_eq!(has_no_hole(offset, &bytes), edge < len || len == 1, "{offset} {len}");
            let mut bytes = full(len);
            bytes[len - 1] = 0;
            assert!(!has_no_hole(offset, &bytes), "{offset} {len}: the end");
        }
        assert!(!has_no_hole(0, &[]));
    }
}
