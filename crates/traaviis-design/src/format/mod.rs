//! The canonical layout of workflow documents: what `traaviis fmt` writes.
//!
//! Keys of the language stand in the order of its JSON Schema ([`order`]); maps whose keys are
//! names or data keep theirs. YAML keeps its comments, groups of lines, block texts and the choice
//! between brackets and lines (`yaml`); JSON has no more than its values (`json`).
//!
//! Invariants: the formatted text reads as the same document, with the same hash; no comment is
//! lost; formatting again changes nothing. The first two are checked on each result before it is
//! handed out, so a text that this module does not understand is refused, never damaged.

mod order;

mod json;

mod yaml;

use traaviis_model::{
    Diagnostic,
    document::{self, Format, definition_hash, tree::Node},
};

/// Why a document is not formatted.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// It cannot be read as YAML or JSON.
    #[error("the document does not parse")]
    Syntax(Vec<Diagnostic>),
    /// The result would not be the same document; a defect of the formatter.
    #[error("formatting would change {0}, so nothing was changed")]
    Changed(&'static str),
}

/// Returns a document in canonical layout.
pub fn format(text: &str, format: Format) -> Result<String, FormatError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let before = document::read_tree(&text, format).map_err(FormatError::Syntax)?;
    let formatted = match format {
        Format::Json => json::write(&before),
        Format::Yaml => yaml::write(&text)?,
    };
    let after = document::read_tree(&formatted, format);
    match after {
        Ok(after) if is_same(&before, &after) => Ok(formatted),
        _ => Err(FormatError::Changed("the document")),
    }
}

/// Says whether two trees mean the same: equal values, and names in the same order.
fn is_same(before: &Node, after: &Node) -> bool {
    let hash = |it: &Node| definition_hash(&it.to_json().into());
    let sorted = |it: &Node| order::sorted(it).to_json();
    hash(before) == hash(after) && sorted(before) == sorted(after)
}
