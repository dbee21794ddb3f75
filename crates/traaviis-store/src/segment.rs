//! One segment file: its name, and walking over its frames without believing them.

use std::{io, path::Path};

use traaviis_ports::{
    Position,
    disk::{Disk, DiskFile},
    planted::{self, Bug},
};

use crate::frame::{
    self, Codec, FrameError, FrameHeader, HEADER_BYTES, HEADER_BYTES_MAX, MARK_BYTES_MAX,
};

/// Bytes read at once; large enough that small frames cost no system call each.
const WINDOW_BYTES: usize = 256 << 10;

/// Returns the file name of the segment whose first record has this position.
pub fn name(first: Position) -> String {
    format!("{first:020}.seg")
}

/// Returns the first positions of the segments in a directory, rising.
pub fn list<D: Disk>(disk: &D, dir: &Path) -> io::Result<Vec<Position>> {
    let names = disk.list(dir)?;
    let mut firsts: Vec<Position> = names.iter().filter_map(|name| parse(name)).collect();
    firsts.sort_unstable();
    Ok(firsts)
}

fn parse(name: &str) -> Option<Position> {
    let digits = name.strip_suffix(".seg")?;
    if digits.len() != 20 { None } else { digits.parse().ok() }
}

/// What stands at a walker's place.
#[derive(Clone, Copy, Debug)]
pub enum Found {
    /// A frame whose checksums fit; the walker stands behind it.
    Frame {
        /// Where it begins.
        offset: u64,
        /// Its header.
        header: FrameHeader,
    },
    /// Nothing but zeros or the end of the file; the walker stays.
    End,
    /// Something that is no frame; the walker stays.
    Bad(FrameError),
}

/// Walks over the frames of one file.
pub struct Walker<F> {
    file: F,
    window: Vec<u8>,
    window_at: u64,
    /// Where the next frame should begin.
    pub offset: u64,
    /// Place of the last frame's payload in the window.
    payload: (usize, usize),
}

impl<F: DiskFile> Walker<F> {
    /// Begins at an offset that is a frame's boundary.
    pub fn new(file: F, offset: u64) -> Self {
        Walker { file, window: Vec::new(), window_at: 0, offset, payload: (0, 0) }
    }

    /// Returns the payload of the frame that [`Walker::step`] returned last.
    pub fn payload(&self) -> &[u8] {
        &self.window[self.payload.0..self.payload.1]
    }

    /// Takes the next frame.
    pub fn step(&mut self) -> io::Result<Found> {
        let offset = self.offset;
        match self.frame_at(offset)? {
            Ok(header) => {
                self.offset = offset + header.frame_bytes();
                Ok(Found::Frame { offset, header })
            }
            Err(FrameError::Magic) if self.is_zero_from(offset)? => Ok(Found::End),
            Err(error) => Ok(Found::Bad(error)),
        }
    }

    /// Finds the next whole frame behind `from` that `fits`; the walker does not move.
    pub fn find_frame(
        &mut self,
        from: u64,
        fits: impl Fn(&FrameHeader) -> bool,
    ) -> io::Result<Option<(u64, FrameHeader)>> {
        let codec = self.codec()?;
        let mut at = from;
        loop {
            let bytes = self.bytes(at, WINDOW_BYTES)?;
            if bytes.len() < HEADER_BYTES {
                return Ok(None);
            }
            let Some(mark) = frame::find_mark(codec, bytes, 0) else {
                // The mark may lie across the edge of the window.
                at += (bytes.len() - (MARK_BYTES_MAX - 1)) as u64;
                continue;
            };
            at += mark as u64;
            if let Ok(header) = self.frame_at(at)?
                && fits(&header)
            {
                return Ok(Some((at, header)));
            }
            at += 1;
        }
    }

    /// Returns the codec of the file's frames; none when it has none, or the first one is damaged.
    pub fn codec(&self) -> io::Result<Option<Codec>> {
        let mut bytes = [0; MARK_BYTES_MAX];
        let read = self.file.read_full_at(&mut bytes, 0)?;
        Ok(Codec::of(&bytes[..read]))
    }

    /// Reads up to `len` bytes at `offset` into a vector; fewer at the end of the file.
    pub fn copy(&self, offset: u64, len: u64) -> io::Result<Vec<u8>> {
        let held = self.file.len()?.saturating_sub(offset).min(len);
        let mut bytes = vec![0; held as usize];
        let read = self.file.read_full_at(&mut bytes, offset)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Returns the length of the file.
    pub fn file_bytes(&self) -> io::Result<u64> {
        self.file.len()
    }

    /// Hands the file on.
    pub fn into_file(self) -> F {
        self.file
    }

    fn frame_at(&mut self, offset: u64) -> io::Result<Result<FrameHeader, FrameError>> {
        let header = match FrameHeader::decode(self.bytes(offset, HEADER_BYTES_MAX)?) {
            Ok(header) => header,
            Err(error) => return Ok(Err(error)),
        };
        // A header that fits its checksum may still claim more than the file holds.
        if offset + header.frame_bytes() > self.file.len()? {
            return Ok(Err(FrameError::Short));
        }
        let frame_bytes = header.frame_bytes() as usize;
        let bytes = self.bytes(offset, frame_bytes)?;
        let header_bytes = header.header_bytes();
        let Some(payload) = bytes.get(header_bytes..) else { return Ok(Err(FrameError::Short)) };
        if let Err(error) = frame::check_payload(&header, payload) {
            let is_last = planted::is(Bug::LastChecksumUnread)
                && self.is_zero_from(offset + header.frame_bytes())?;
            if !is_last {
                return Ok(Err(error));
            }
            self.bytes(offset, frame_bytes)?;
        }
        let start = (offset - self.window_at) as usize;
        self.payload = (start + header_bytes, start + frame_bytes);
        Ok(Ok(header))
    }

    fn is_zero_from(&mut self, mut offset: u64) -> io::Result<bool> {
        loop {
            let bytes = self.bytes(offset, WINDOW_BYTES)?;
            if bytes.is_empty() {
                return Ok(true);
            }
            // Folding without leaving early lets the compiler use wide registers.
            if bytes.iter().fold(0, |acc, byte| acc | byte) != 0 {
                return Ok(false);
            }
            offset += bytes.len() as u64;
        }
    }

    /// Returns up to `len` bytes at `offset`; fewer only at the end of the file.
    fn bytes(&mut self, offset: u64, len: usize) -> io::Result<&[u8]> {
        let held_to = self.window_at + self.window.len() as u64;
        if offset < self.window_at || offset + len as u64 > held_to {
            self.window.resize(len.max(WINDOW_BYTES), 0);
            self.window_at = offset;
            let read = match self.file.read_full_at(&mut self.window, offset) {
                Ok(read) => read,
                Err(error) => {
                    self.window.clear();
                    return Err(error);
                }
            };
            self.window.truncate(read);
        }
        let start = (offset - self.window_at) as usize;
        let end = self.window.len().min(start + len);
        Ok(&self.window[start..end])
    }
}
