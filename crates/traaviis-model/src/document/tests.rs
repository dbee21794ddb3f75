//! Documents against their findings: a text, one call to `check`, and the lines expected.

mod effects;
mod states;
mod whole;
mod workflow;

use crate::{
    definition::Definition,
    diagnostic::Severity,
    document::{Format, Read, read},
};

const HEAD: &str = "traaviis: \"1\"\nname: W\nversion: 1.0.0\n";

fn lines(read: &Read) -> String {
    let lines: Vec<String> = read.diagnostics.iter().map(|it| it.to_string()).collect();
    lines.join("\n")
}

/// Checks the findings of a whole YAML document.
fn check(text: &str, expected: &str) {
    let read = read(text, Format::Yaml);
    assert_eq!(lines(&read), expected, "{text}");
    let has_error = read.diagnostics.iter().any(|it| it.severity == Severity::Error);
    assert_eq!(read.definition.is_none(), has_error, "{text}");
}

/// Checks the findings of a document that starts with a good head; the first line is line 4.
fn check_rest(rest: &str, expected: &str) {
    check(&format!("{HEAD}{rest}"), expected);
}

/// Checks the findings of one state `s`, written in flow form; its text starts at 5:14.
fn check_state(state: &str, expected: &str) {
    check_rest(&format!("initial: s\nstates: {{s: {state}}}"), expected);
}

/// Checks the findings of one effect; its text starts at 5:41.
fn check_effect(effect: &str, expected: &str) {
    check_state(&format!("{{invoke: [{{id: run, effect: {effect}}}]}}"), expected);
}

fn good(text: &str) -> Definition {
    let read = read(text, Format::Yaml);
    assert_eq!(lines(&read), "", "{text}");
    read.definition.unwrap()
}

fn good_effect(effect: &str) -> crate::definition::Effect {
    let text =
        format!("{HEAD}initial: s\nstates: {{s: {{invoke: [{{id: run, effect: {effect}}}]}}}}");
    good(&text).states[0].invoke[0].effect.clone()
}
