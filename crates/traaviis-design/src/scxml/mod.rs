//! SCXML 1.0 to a workflow document.
//!
//! Stages: read the XML into states (`states.rs`), then write them as a document (`write.rs`), with
//! events (`events.rs`), executable content (`content.rs`) and expressions ([`ecma`]) in the words
//! of the workflow. Where the two languages order things differently, the document is written so
//! that the behaviour stays: transitions of a state are listed per event in document order,
//! `reenter` says what `type` said, and an event sent without a delay is a timer of zero, because
//! it comes after the events raised in the same macrostep.

mod states;
mod write;

mod events;

mod content;

pub mod ecma;

use crate::{loss::Loss, tree::Tree};

/// Largest document that is read, in bytes.
pub const SOURCE_BYTES_MAX: usize = 1 << 20;
/// Deepest nesting of elements.
pub const DEPTH_MAX: usize = 64;

/// Why a document is not converted at all.
#[derive(Debug, thiserror::Error)]
pub enum ScxmlError {
    /// It is too large.
    #[error("the document has {0} bytes; at most {SOURCE_BYTES_MAX} are read")]
    TooLarge(usize),
    /// It is no XML, or has a DTD.
    #[error("{0}; document types and their entities are not read")]
    Xml(#[from] roxmltree::Error),
    /// It is XML of something else.
    #[error("the root is `<{0}>`; an SCXML document begins with `<scxml>`")]
    Root(String),
    /// It has no state.
    #[error("the document has no state")]
    NoState,
    /// Elements are nested too deep.
    #[error("line {0}: elements are nested deeper than {DEPTH_MAX}")]
    Depth(u32),
    /// The transitions of a state overlap so much that nobody could read them as a workflow.
    #[error("line {0}: too many events lead to the same transitions of this state")]
    Wide(u32),
    /// A transition, or `initial`, names no state.
    #[error("line {line}: no state has the id `{id}`")]
    Target {
        /// Line.
        line: u32,
        /// The id.
        id: String,
    },
}

/// A converted document.
#[derive(Clone, Debug, PartialEq)]
pub struct Import {
    /// The workflow document.
    pub document: Tree,
    /// What it lacks.
    pub loss: Loss,
}

/// Converts a document.
pub fn import(source: &str) -> Result<Import, ScxmlError> {
    if source.len() > SOURCE_BYTES_MAX {
        return Err(ScxmlError::TooLarge(source.len()));
    }
    let xml = roxmltree::Document::parse(source)?;
    let chart = states::read(&xml)?;
    write::document(&xml, &chart)
}
