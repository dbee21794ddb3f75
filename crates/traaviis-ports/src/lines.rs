//! What an append writes: lines, or the records that the log makes them of.
//!
//! Whoever decides for an instance has enough to do; the thread that writes the log has time while
//! the disk works, so the lines are made there.

use std::sync::Arc;

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
        *self = Lines::Ready(Vec::new());
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

#[cfg(test)]
mod tests {
    use traaviis_model::{
        Actor, DefinitionHash, Header, TenantCtx, Timestamp, Value,
        record::{EventSource, RECORD_VERSION},
    };

    use super::*;

    #[test]
    fn what_is_not_written_weighs_about_what_it_will() {
        let header = Header {
            tenant_id: TenantCtx::for_test(1).tenant(),
            instance_id: "0198c51a-7800-7abc-8000-0123456789ab".parse().unwrap(),
            seq: 1,
            v: RECORD_VERSION,
            at: Timestamp(0),
            step: 1,
            definition_hash: DefinitionHash([0; 32]),
            actor: Actor::local(),
            causation_id: None,
            correlation_id: None,
            origin: None,
        };
        for bytes in [0, 1_000, 100_000] {
            let (event, data) = ("go".into(), Value::from("x".repeat(bytes)));
            let body = Body::EventReceived { event, data, id: None, source: EventSource::External };
            let mut lines = Lines::Of(Arc::new(vec![Record { header: header.clone(), body }]));
            assert!(lines.written().is_empty());
            let (before, written) = (lines.weight(), lines.write().len());
            assert!(before.abs_diff(written) < LINE_BYTES, "{before} for {written}");
            assert_eq!(lines.weight(), written);
            lines.clear();
            assert_eq!(lines.weight(), 0);
        }
    }
}
