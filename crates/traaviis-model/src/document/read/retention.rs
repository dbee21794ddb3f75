//! `retention`: how long ended instances stay.

use crate::{
    definition::Retention,
    document::read::{At, Keys, Reader},
    limits::RETENTION_MAX,
    time::Span,
};

impl Reader {
    pub(super) fn retention(&mut self, at: &At<'_>) -> Retention {
        let keys = Keys::new("`retention`", &["completed", "archive", "payloads"]);
        let Some(fields) = self.fields(at, &keys) else { return Retention::default() };
        if let Some(at) = fields.get("payloads") {
            self.duration(&at);
            self.not_applied(&at, "payloads");
        }
        let default = Retention::default();
        let mut read = |key: &str, default: Span| match fields.get(key) {
            Some(at) => self.retention_span(&at).unwrap_or(default),
            None => default,
        };
        Retention {
            completed: read("completed", default.completed),
            archive: read("archive", default.archive),
        }
    }

    fn retention_span(&mut self, at: &At<'_>) -> Option<Span> {
        let span = Retention::span(&at.value()).filter(|it| (Span(0)..=RETENTION_MAX).contains(it));
        if span.is_none() {
            let most = RETENTION_MAX;
            let wanted = format!("a time without an expression, such as 30d; at most {most}");
            self.expected(at, "E101", &wanted);
        }
        span
    }
}
