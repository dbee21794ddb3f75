//! Personal data: found in text and JSON values, and redacted.
//!
//! Rules only, no model: patterns with check digits ([`checks`], [`numbers`], [`tokens`]), the key
//! under which a text stands ([`keys`]), and words for people and places ([`names`]). A finding
//! says what, where and how certainly; [`redact()`] replaces what is found.
//!
//! Invariants: the work grows with the length of the text; redacting what is redacted changes
//! nothing; the shape of a JSON value stays; ids and times of the platform are no findings.

mod claims;

mod checks;

mod numbers;

mod tokens;

mod names;

mod keys;

mod keyed;

mod redact;

mod reveal;

use traaviis_model::{Text, Value, privacy::PiiType};

pub use redact::{Blocked, Policy, Redacted, Target, WITH_FORM, redact, redact_at, redact_text};
pub use reveal::{Revealed, reveal};

use claims::Claims;

/// Personal data at a place in a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Place of the text in the value; empty for the value itself.
    pub pointer: Text,
    /// First character, counted in Unicode scalar values.
    pub start: usize,
    /// The character behind the last.
    pub end: usize,
    /// What it is.
    pub kind: PiiType,
    /// How certainly, from 0 to 1.
    pub confidence: f32,
    /// Which rule found it.
    pub detector: &'static str,
}

/// A part of a text, in bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Span {
    start: usize,
    end: usize,
    /// None: certainly no personal data, and nothing to look at again.
    kind: Option<PiiType>,
    confidence: f32,
    detector: &'static str,
}

/// Finds personal data in text that stands alone.
pub fn find_in_text(text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    tell(text, &spans(text, &[]), "", &mut found);
    found
}

/// Finds personal data in all texts of a value; keys tell what stands under them.
pub fn find(value: &Value) -> Vec<Finding> {
    let mut found = Vec::new();
    visit(value, &mut String::new(), &mut Vec::new(), &mut found);
    found
}

fn visit<'v>(
    value: &'v Value,
    pointer: &mut String,
    path: &mut Vec<&'v str>,
    found: &mut Vec<Finding>,
) {
    let depth = pointer.len();
    match value {
        Value::String(text) => tell(text, &spans(text, path), pointer, found),
        Value::Int(_) | Value::Uint(_) => {
            let text = value.to_json();
            tell(&text, &number_spans(&text, path), pointer, found);
        }
        Value::List(items) => {
            for (at, item) in items.iter().enumerate() {
                pointer.push_str(&format!("/{at}"));
                visit(item, pointer, path, found);
                pointer.truncate(depth);
            }
        }
        Value::Map(map) => {
            for (key, item) in map.iter() {
                pointer.push_str(&step_of(key));
                path.push(key);
                visit(item, pointer, path, found);
                path.pop();
                pointer.truncate(depth);
            }
        }
        _ => {}
    }
}

/// Returns a key as a step of a JSON pointer.
fn step_of(key: &str) -> String {
    format!("/{}", key.replace('~', "~0").replace('/', "~1"))
}

fn tell(text: &str, spans: &[Span], pointer: &str, found: &mut Vec<Finding>) {
    let (mut bytes, mut chars) = (0, 0);
    for span in spans {
        let Some(kind) = span.kind else { continue };
        chars += text[bytes..span.start].chars().count();
        let start = chars;
        chars += text[span.start..span.end].chars().count();
        bytes = span.end;
        found.push(Finding {
            pointer: pointer.into(),
            start,
            end: chars,
            kind,
            confidence: span.confidence,
            detector: span.detector,
        });
    }
}

/// Returns what a text holds, in order and without overlap.
pub(crate) fn spans(text: &str, path: &[&str]) -> Vec<Span> {
    let mut claims = Claims::default();
    let hint = keys::hint(path);
    tokens::redacted(text, &mut claims);
    if let Some(span) = hint.and_then(|hint| keys::whole(text, hint, &claims)) {
        return vec![span];
    }
    let seen = Seen::of(text);
    tokens::find(text, &seen, &mut claims);
    if seen.digit {
        numbers::find(text, hint, &mut claims);
        names::addresses(text, &mut claims);
    }
    if seen.capital {
        names::find(text, hint, &mut claims);
    }
    claims.found()
}

/// Returns what a number holds; only check digits and keys make one personal.
pub(crate) fn number_spans(text: &str, path: &[&str]) -> Vec<Span> {
    let hint = keys::hint(path);
    if let Some(span) = hint.and_then(|hint| keys::whole(text, hint, &Claims::default())) {
        return vec![span];
    }
    let mut claims = Claims::default();
    if text.len() >= 12 {
        numbers::find(text, hint, &mut claims);
    }
    claims.found()
}

/// Which characters a text has at all, so that most texts are looked through once.
#[derive(Default)]
pub(crate) struct Seen {
    digit: bool,
    capital: bool,
    at: bool,
    colon: bool,
    /// A run without spaces long enough to be a key or token.
    long: bool,
}

impl Seen {
    fn of(text: &str) -> Seen {
        let mut seen = Seen::default();
        let mut run = 0;
        for byte in text.bytes() {
            run = if byte.is_ascii_whitespace() { 0 } else { run + 1 };
            seen.long |= run >= 12;
            match byte {
                b'0'..=b'9' => seen.digit = true,
                b'A'..=b'Z' | 0x80.. => seen.capital = true,
                b'@' => seen.at = true,
                b':' | b'=' => seen.colon = true,
                _ => {}
            }
        }
        seen
    }
}

#[cfg(test)]
mod tests;
