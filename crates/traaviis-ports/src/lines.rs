//! What an append writes: lines, or the records that the log makes them of.
//!
//! Whoever decides for an instance has enough to do; the thread that writes the log has time while
//! the disk works, so the lines are made there.

use std::{mem, sync::Arc};

use traaviis_model::{
    Record,
    record::{self, Body},
};

/// Bytes of a record's line beside its values, about; those of plain transitions have 382.
const LINE_BYTES: usize = 384;
/// Room for a line, so that nearly none has to be moved while it is written.
const LINE_ROOM: usize = 512;

/// The lines of an append, one JSON line per record, each with its newline.
#[derive(Clone, Debug)]
pub enum Lines {
    /// As `traaviis_model::record` writes them.
    Ready(Vec<u8>),
    /// Of these records, not yet written.
    Of(Arc<Vec<Record>>),
}

impl Lines {
    /// Writes the lines, unless they are written, and returns them.
    pub fn write(&mut self) -> &[u8] {
        if let Lines::Of(records) = self {
            let mut lines = Vec::with_capacity(records.len() * LINE_ROOM);
            record::write_lines(records, &mut lines);
            *self = Lines::Ready(lines);
        }
        self.written()
    }

    /// Returns the lines that are written; nothing until then.
    pub fn written(&self) -> &[u8] {
        match self {
            Lines::Ready(lines) => lines,
            Lines::Of(_) => &[],
        }
    }

    /// Gives the memory back.
    pub fn clear(&mut self) {
        drop(mem::replace(self, Lines::Ready(Vec::new())));
    }

    /// Returns the bytes of the lines, and of those not yet written about as many.
    pub fn weight(&self) -> usize {
        match self {
            Lines::Ready(lines) => lines.len(),
            Lines::Of(records) => {
                records.iter().map(|it| LINE_BYTES + bytes_of_values(&it.body)).sum()
            }
        }
    }
}

impl From<Vec<u8>> for Lines {
    fn from(lines: Vec<u8>) -> Lines {
        Lines::Ready(lines)
    }
}

/// Returns the bytes of what can be large in nearly every step.
fn bytes_of_values(body: &Body) -> usize {
    match body {
        Body::Created { input, data, .. } => input.json_len() + data.json_len(),
        Body::EventReceived { data, .. } => data.json_len(),
        body => body.value_bytes(),
    }
}
