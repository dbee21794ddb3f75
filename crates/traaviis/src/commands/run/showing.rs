//! Records shown as they come, each once.

use traaviis_model::{Body, Record, Value, definition::Definition};

use crate::{
    histories::Place,
    output::{self, Output},
    plugins,
    trace::Trace,
};

/// Prints records, each once, in order.
pub(super) struct Show<'a> {
    pub(super) output: &'a Output,
    pub(super) definition: &'a Definition,
    /// Payload of the last event that was received.
    pub(super) event: Value,
    pub(super) trace: Trace,
    /// Before the next record.
    pub(super) place: Place,
}

impl Show<'_> {
    /// Lets the logger of the document speak, if it asks for one.
    fn watch(&mut self, record: &Record) {
        if let Body::EventReceived { data, .. } = &record.body {
            self.event = data.clone();
        }
        if let Some(line) = plugins::log_line(self.definition, record, &self.event) {
            output::warn(line);
        }
    }

    pub(super) fn record(&mut self, record: &Record, line: &[u8]) {
        // What is shown once more, without its line, was told before.
        if !line.is_empty() {
            self.watch(record);
        }
        if self.output.is_json() {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            self.output.bytes(&[line, b"\n"].concat());
            return;
        }
        // The last line of the command tells the end, with everything a person wants to know.
        let is_end = matches!(record.body, Body::Finished { .. });
        if let Some(line) = self.trace.line(record)
            && !is_end
        {
            self.output.line(&line);
        }
    }
}
