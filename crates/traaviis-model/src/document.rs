//! Reads workflow documents: YAML or JSON text in, a typed [`Definition`] or findings out.
//!
//! Text becomes a [`tree`] with places, the tree becomes a definition, and everything wrong on the
//! way is collected with its JSON pointer, line, column and, where we know one, a hint. What needs
//! other parts of the document to judge (targets, declared events, expressions) is left to the
//! engine's compiler, which places its own findings through [`Positions`].
//!
//! Invariants: a definition is returned only when no finding is an error; reading back
//! [`Definition::document`] gives the same definition and hash; no input, however hostile, takes
//! more memory or stack than the document limits allow.

pub mod tree;

mod json;
mod yaml;

pub mod canonical;
mod positions;
mod read;

#[cfg(test)]
mod tests;

use std::path::Path;

use crate::{
    definition::{Definition, Effect, Mock},
    diagnostic::{Diagnostic, Severity},
    limits::{DOCUMENT_BYTES_MAX, DOCUMENT_NODES_MAX},
    value::Value,
};
pub use positions::Positions;
use tree::Node;

pub use canonical::{canonical, canonical_without, definition_hash};
pub use read::Form as ChildForm;
pub use read::{
    KindFacts, ParamUse, child_form, effect_kinds, is_event_name, is_name, nearest, param_use,
};

/// The JSON Schema (2020-12) of workflow documents, for editors.
pub const WORKFLOW_SCHEMA: &str = include_str!("../../../schemas/workflow-1.json");

/// How a document is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// YAML 1.2, core schema.
    Yaml,
    /// JSON, RFC 8259.
    Json,
}

impl Format {
    /// Returns the format of a file by its name: `.json` is JSON, everything else YAML.
    pub fn of_path(path: &Path) -> Format {
        match path.extension() {
            Some(extension) if extension.eq_ignore_ascii_case("json") => Format::Json,
            _ => Format::Yaml,
        }
    }
}

/// What reading a document gave.
#[derive(Debug)]
pub struct Read {
    /// The definition; absent when a finding is an error.
    pub definition: Option<Definition>,
    /// All findings, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
    /// Where the parts of the document stand.
    pub positions: Positions,
}

impl Read {
    /// Returns what is told about a document that cannot be used.
    pub fn refused(node: Node, files: Vec<String>, mut diagnostics: Vec<Diagnostic>) -> Read {
        diagnostics.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        let positions = Positions { root: Some(node), files };
        Read { definition: None, diagnostics, positions }
    }
}

/// Reads a document as a person or program wrote it.
pub fn read(text: &str, format: Format) -> Read {
    if text.len() > DOCUMENT_BYTES_MAX {
        return refuse(text.len(), DOCUMENT_BYTES_MAX);
    }
    finish(parse(text, format))
}

fn parse(text: &str, format: Format) -> Parsed {
    match format {
        Format::Yaml => yaml::parse(text),
        Format::Json => json::parse(text),
    }
}

/// Reads a document as it comes back from a store: the text in [`Definition::document`].
///
/// Its JSON may be longer than the YAML it came from, so only the stored size is bounded. A map is
/// read too, but has lost the order of its states.
pub fn read_value(document: &Value) -> Read {
    // A value of JSON written from n bytes of YAML is largest for control
    // characters, one byte that becomes six, repeated by aliases.
    const STORED_BYTES_MAX: usize = 6 * DOCUMENT_BYTES_MAX + 8 * DOCUMENT_NODES_MAX;
    match document {
        Value::String(text) if text.len() > STORED_BYTES_MAX => {
            refuse(text.len(), STORED_BYTES_MAX)
        }
        Value::String(text) => finish(json::parse(text)),
        _ => finish(json::parse(&document.to_json())),
    }
}

/// Reads any YAML or JSON of ours into a tree with positions, such as a connectors file.
pub fn read_tree(text: &str, format: Format) -> Result<Node, Vec<Diagnostic>> {
    if text.len() > DOCUMENT_BYTES_MAX {
        return Err(refuse(text.len(), DOCUMENT_BYTES_MAX).diagnostics);
    }
    let parsed = parse(text, format);
    match parsed.node {
        Some(node) if parsed.diagnostics.is_empty() => Ok(node),
        _ => Err(parsed.diagnostics),
    }
}

/// Reads an effect tree that stands in no document; pointers of findings begin at its root.
pub fn read_effect(root: &Node) -> Result<Effect, Vec<Diagnostic>> {
    let (effect, mut diagnostics) = read::effect(root);
    diagnostics.retain(|it| it.severity == Severity::Error);
    match effect {
        Some(effect) if diagnostics.is_empty() => Ok(effect),
        _ => Err(diagnostics),
    }
}

/// Reads answers for calls, as they stand under `mocks` of a test; pointers of findings begin at
/// the root.
pub fn read_mocks(root: &Node) -> Result<Vec<Mock>, Vec<Diagnostic>> {
    let (mocks, mut diagnostics) = read::mocks(root);
    diagnostics.retain(|it| it.severity == Severity::Error);
    match diagnostics.is_empty() {
        true => Ok(mocks),
        false => Err(diagnostics),
    }
}

/// What a format's reader hands on: the tree if there is one, and its own findings.
pub(crate) struct Parsed {
    pub(crate) node: Option<Node>,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

fn refuse(bytes: usize, bytes_max: usize) -> Read {
    let message = format!("the document has {bytes} bytes; at most {bytes_max} are allowed");
    let diagnostics = vec![Diagnostic::error("E160", "", message)];
    Read { definition: None, diagnostics, positions: Positions::default() }
}

fn finish(parsed: Parsed) -> Read {
    let Parsed { node, mut diagnostics } = parsed;
    let Some(node) = node else {
        return Read { definition: None, diagnostics, positions: Positions::default() };
    };
    let mut read = read_merged(node, Vec::new());
    diagnostics.append(&mut read.diagnostics);
    diagnostics.sort_by_key(|it| (it.line, it.column));
    if diagnostics.iter().any(|it| it.severity == Severity::Error) {
        read.definition = None;
    }
    Read { diagnostics, ..read }
}

/// Returns what is wrong with the form of a component whose parameters have their values.
pub fn check_written(root: &Node) -> Vec<Diagnostic> {
    read::written(root)
}

/// Returns what is wrong with how a document uses components, or is one; the rest is read when they
/// are merged, because their parameters may stand anywhere.
pub fn check_uses(root: &Node) -> Vec<Diagnostic> {
    read::uses(root)
}

/// Reads a document into which its components are merged; `files` names theirs, in the order of
/// [`Node::file`] from 1.
pub fn read_merged(node: Node, files: Vec<String>) -> Read {
    let (mut definition, mut diagnostics) = read::definition(&node);
    if let Some(definition) = &definition {
        diagnostics.retain(|it| {
            it.severity == Severity::Error || definition.waivers.reason(it.code, &it.path).is_none()
        });
    }
    let positions = Positions { root: Some(node), files };
    diagnostics.iter_mut().for_each(|it| positions.place(it));
    diagnostics.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    if diagnostics.iter().any(|it| it.severity == Severity::Error) {
        definition = None;
    }
    Read { definition, diagnostics, positions }
}
