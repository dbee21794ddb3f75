//! How long ended instances stay: `retention`.

use crate::{
    limits::{RETENTION_ARCHIVE, RETENTION_COMPLETED},
    time::{Span, Timestamp},
    value::Value,
};

/// How long ended instances stay in the log, and in the archive after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// From the end until the archive.
    pub completed: Span,
    /// From then until the archive file is deleted.
    pub archive: Span,
}

impl Default for Retention {
    fn default() -> Retention {
        Retention { completed: RETENTION_COMPLETED, archive: RETENTION_ARCHIVE }
    }
}

impl Retention {
    /// Reads the retention of a stored document, which may rest as the text of its JSON.
    pub fn of_document(document: &Value) -> Retention {
        let parsed;
        let document = match document.as_str() {
            Some(text) if !text.contains("\"retention\"") => return Retention::default(),
            Some(text) => {
                parsed = serde_json::from_str::<Value>(text).unwrap_or_default();
                &parsed
            }
            None => document,
        };
        let default = Retention::default();
        let Some(retention) = document.get("retention") else { return default };
        let read = |key: &str| retention.get(key).and_then(Retention::span);
        Retention {
            completed: read("completed").unwrap_or(default.completed),
            archive: read("archive").unwrap_or(default.archive),
        }
    }

    /// Reads a length of time as documents write it: text, or milliseconds.
    pub fn span(value: &Value) -> Option<Span> {
        match value.as_str() {
            Some(text) => text.parse().ok(),
            None => value.as_f64().map(|millis| Span((millis * 1e3) as i64)),
        }
    }

    /// Returns when an instance that ended at `finished` goes to the archive.
    pub fn archived_at(&self, finished: Timestamp) -> Timestamp {
        finished.plus(self.completed)
    }

    /// Returns when its archive file is deleted.
    pub fn deleted_at(&self, finished: Timestamp) -> Timestamp {
        self.archived_at(finished).plus(self.archive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Retention {
        Retention::of_document(&Value::from(text))
    }

    #[test]
    fn a_stored_document_says_how_long_its_instances_stay() {
        assert_eq!(of(r#"{"name":"W"}"#), Retention::default());
        let (hour, week) = (Span::secs(3_600), Span::secs(7 * 86_400));
        let both = of(r#"{"retention":{"completed":"1h","archive":"7d"}}"#);
        assert_eq!(both, Retention { completed: hour, archive: week });
        let millis = of(r#"{"retention":{"completed":3600000}}"#);
        assert_eq!(millis, Retention { completed: hour, ..Retention::default() });
        let finished = Timestamp(5);
        assert_eq!(both.archived_at(finished), Timestamp(5).plus(hour));
        assert_eq!(both.deleted_at(finished), Timestamp(5).plus(hour).plus(week));
    }
}
