//! Parts of a text that a rule has taken; the first rule that takes a part keeps it.

use std::collections::BTreeMap;

use traaviis_model::privacy::PiiType;

use super::Span;

/// Parts without overlap, by their start.
#[derive(Default)]
pub(super) struct Claims(BTreeMap<usize, Span>);

impl Claims {
    /// Takes a part, unless some of it is taken.
    pub fn take(
        &mut self,
        (start, end): (usize, usize),
        kind: PiiType,
        confidence: f32,
        detector: &'static str,
    ) {
        self.insert(Span { start, end, kind: Some(kind), confidence, detector });
    }

    /// Takes a part that is certainly no personal data.
    pub fn clear(&mut self, (start, end): (usize, usize)) {
        self.insert(Span { start, end, kind: None, confidence: 1.0, detector: "clear" });
    }

    fn insert(&mut self, span: Span) {
        if span.start < span.end && !self.overlaps(span.start, span.end) {
            self.0.insert(span.start, span);
        }
    }

    /// Says whether some of a part is taken.
    pub fn overlaps(&self, start: usize, end: usize) -> bool {
        self.0.range(..end).next_back().is_some_and(|(_, it)| it.end > start)
    }

    /// Returns the part that covers a byte.
    pub fn at(&self, byte: usize) -> Option<&Span> {
        self.0.range(..=byte).next_back().map(|it| it.1).filter(|it| it.end > byte)
    }

    /// Returns the findings in order.
    pub fn found(self) -> Vec<Span> {
        self.0.into_values().filter(|it| it.kind.is_some()).collect()
    }
}
