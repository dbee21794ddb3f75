//! Code for programs that use a workflow: types of its input, data and events, and a client that
//! starts instances, sends them events and asks them.
//!
//! Stages: the JSON Schemas of a definition become [`Shapes`] (`shape.rs`), which say what there is
//! to declare and under which names; each language writes the same shapes in its own words. What a
//! schema says beyond types (ranges, patterns, choices between maps) is left to the server, which
//! checks it: a type that promises too much would be wrong.
//!
//! Invariants: the same definition gives the same text; what is written compiles, or type-checks,
//! whatever names a schema uses.

mod shape;

mod rust;

mod typescript;

mod python;

use traaviis_model::definition::Definition;

pub use shape::Shapes;

/// Languages that can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Rust, with `serde` and `serde_json`.
    Rust,
    /// TypeScript, with `fetch`.
    TypeScript,
    /// Python from 3.11, with its standard library.
    Python,
}

/// Writes code for a workflow.
pub fn code(definition: &Definition, language: Language) -> String {
    let shapes = Shapes::of(definition);
    match language {
        Language::Rust => rust::write(&shapes),
        Language::TypeScript => typescript::write(&shapes),
        Language::Python => python::write(&shapes),
    }
}

/// Returns the line that says where a text comes from.
fn origin(shapes: &Shapes) -> String {
    let Shapes { workflow, version, .. } = shapes;
    format!(
        "Made by `traaviis codegen` of {workflow} {version}; make it again instead of changing it."
    )
}

/// Returns a text as a literal in quotes, as Rust and TypeScript read it.
fn literal(text: &str) -> String {
    in_quotes(text, |it| format!("\\u{{{it:x}}}"))
}

/// Returns a text as a literal in quotes; `number` writes a character that must not stand there by
/// itself.
fn in_quotes(text: &str, number: impl Fn(u32) -> String) -> String {
    let mut out = String::from("\"");
    for it in text.chars() {
        match it {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            it if is_hidden(it) => out += &number(u32::from(it)),
            it => out.push(it),
        }
    }
    out.push('"');
    out
}

/// Says whether a character ends lines, or turns the direction in which they are read.
fn is_hidden(it: char) -> bool {
    it.is_control() || matches!(it, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
