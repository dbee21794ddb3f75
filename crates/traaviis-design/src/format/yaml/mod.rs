//! YAML that keeps what its author wrote beside the values.
//!
//! Stages: the events of the parser say where values stand, so everything between them is
//! punctuation or a comment (`scan.rs`); events and comments become a tree of entries, each with
//! the comments that belong to it (`tree.rs`); the tree is sorted and written (`write.rs`).

mod scan;

mod tree;

mod write;

use crate::format::FormatError;

pub(super) fn write(text: &str) -> Result<String, FormatError> {
    let scan = scan::scan(text).ok_or(FormatError::Changed("the document"))?;
    let mut wanted: Vec<String> = scan.comments.iter().map(|it| it.text.clone()).collect();
    let document = tree::build(scan).ok_or(FormatError::Changed("the document"))?;
    let formatted = write::write(document);
    let again = scan::scan(&formatted).ok_or(FormatError::Changed("the document"))?;
    let mut found: Vec<String> = again.comments.into_iter().map(|it| it.text).collect();
    wanted.sort();
    found.sort();
    // The count does not depend on what `scan` takes for a comment.
    let signs = |text: &str| text.matches('#').count();
    if wanted != found || signs(text) != signs(&formatted) {
        return Err(FormatError::Changed("a comment"));
    }
    Ok(formatted)
}
