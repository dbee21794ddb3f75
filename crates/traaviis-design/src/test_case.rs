//! Test cases as text: one test as a part of a document, and a document with one test more.
//!
//! Invariant: a document that gets a test keeps its comments and layout where it is YAML.

use traaviis_model::{
    EffectError, Text, Value,
    definition::{IncidentAnswer, Mock, TestCase, TestStepKind},
    document::{
        Format, read_tree,
        tree::{Node, NodeKind},
    },
};

use crate::{format, tree::Tree};

/// Key of the tests in a document.
const TESTS: &str = "tests";

/// Why a document gets no test.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// It cannot be read.
    #[error("the document cannot be read")]
    Unreadable,
    /// The list stands on one line, or is none.
    #[error("`tests` is not a list with one item a line; write it that way, or begin without it")]
    Layout,
}

/// Returns a test as it stands in a document. What it does not say is left out.
pub fn tree(test: &TestCase) -> Tree {
    let mut tree = Tree::map([("name", Tree::text(&*test.name))]);
    if !test.start.is_empty() {
        tree.put("start", texts(&test.start));
    }
    if test.input.as_map().is_none_or(|it| !it.is_empty()) {
        tree.put("input", value(&test.input));
    }
    if let Some(by) = &test.by {
        tree.put("by", Tree::text(&**by));
    }
    if !test.mocks.is_empty() {
        let mocks = test.mocks.iter().map(|it| (it.name.to_string(), mock(it)));
        tree.put("mocks", Tree::Map(mocks.collect()));
    }
    if !test.steps.is_empty() {
        tree.put("steps", Tree::List(test.steps.iter().map(|it| step(&it.kind)).collect()));
    }
    tree.put("expect", expect(test));
    tree
}

fn expect(test: &TestCase) -> Tree {
    let expect = &test.expect;
    let mut tree = Tree::Map(Vec::new());
    if !expect.state.is_empty() {
        tree.put("state", texts(&expect.state));
    }
    if let Some(status) = expect.status {
        tree.put("status", Tree::text(status.as_str()));
    }
    for (key, part) in [("data", &expect.data), ("output", &expect.output)] {
        if let Some(part) = part {
            tree.put(key, value(part));
        }
    }
    if !expect.called.is_empty() {
        let counts = expect.called.iter();
        let counts = counts.map(|(name, it)| (name.to_string(), Tree::Plain(it.to_string())));
        tree.put("called", Tree::Map(counts.collect()));
    }
    if !expect.emitted.is_empty() {
        let names = expect.emitted.iter().map(|it| Tree::text(&*it.event));
        tree.put("emitted", Tree::List(names.collect()));
    }
    tree
}

fn texts(items: &[Text]) -> Tree {
    match items {
        [only] => Tree::text(&**only),
        items => Tree::List(items.iter().map(|it| Tree::text(&**it)).collect()),
    }
}

fn value(value: &Value) -> Tree {
    Tree::of(&Node::from_value(value))
}

fn mock(mock: &Mock) -> Tree {
    let answers = mock.answers.iter().map(|it| {
        let mut tree = Tree::Map(Vec::new());
        if it.delay.0 > 0 {
            tree.put("delay", Tree::text(it.delay.to_string()));
        }
        match &it.outcome {
            Err(told) => tree.put("error", error(told)),
            Ok(result) if tree.is_empty() && !is_ending(result) => return value(result),
            Ok(result) => {
                tree.put("delay", Tree::text(it.delay.to_string()));
                tree.put("value", value(result));
            }
        }
        tree
    });
    Tree::List(answers.collect())
}

/// Says whether a value would be read as how a call ends.
fn is_ending(value: &Value) -> bool {
    value.as_map().is_some_and(|map| map.contains_key("error") || map.contains_key("delay"))
}

fn error(error: &EffectError) -> Tree {
    let mut tree = Tree::map([
        ("code", Tree::text(&*error.code)),
        ("message", Tree::text(&*error.message)),
        ("retryable", Tree::Plain(error.retryable.to_string())),
    ]);
    if !error.details.is_null() {
        tree.put("details", value(&error.details));
    }
    tree
}

fn step(kind: &TestStepKind) -> Tree {
    let mut tree = Tree::Map(Vec::new());
    let refused = match kind {
        TestStepKind::Send { event, data, refused } => {
            tree.put("send", Tree::text(&**event));
            if !data.is_null() {
                tree.put("data", value(data));
            }
            refused
        }
        TestStepKind::CompleteTask { task, outcome, form, comment, by, refused } => {
            tree.put("complete_task", Tree::text(&**task));
            let mut with = Tree::map([("outcome", Tree::text(&**outcome))]);
            if !form.is_null() {
                with.put("form", value(form));
            }
            for (key, text) in [("comment", comment), ("by", by)] {
                if let Some(text) = text {
                    with.put(key, Tree::text(&**text));
                }
            }
            tree.put("with", with);
            refused
        }
        TestStepKind::Resolve { effect, answer, refused } => {
            tree.put("resolve", Tree::text(&**effect));
            let answer = match answer {
                IncidentAnswer::Happened(it) => Tree::map([("happened", value(it))]),
                IncidentAnswer::Retry => Tree::text("retry"),
                IncidentAnswer::Fail => Tree::text("fail"),
            };
            tree.put("as", answer);
            refused
        }
        TestStepKind::Advance(span) => {
            tree.put("advance", Tree::text(span.to_string()));
            &None
        }
        TestStepKind::Crash => {
            tree.put("crash", Tree::Plain("true".into()));
            &None
        }
    };
    if let Some(code) = refused {
        tree.put("refused", Tree::text(&**code));
    }
    tree
}

/// Returns a document with one test more, at the end of those that it has.
pub fn append(text: &str, format: Format, test: &Tree) -> Result<String, AppendError> {
    let root = read_tree(text, format).map_err(|_| AppendError::Unreadable)?;
    match format {
        Format::Json => append_json(&root, test),
        Format::Yaml => append_yaml(&root, text, test),
    }
}

fn append_json(root: &Node, test: &Tree) -> Result<String, AppendError> {
    let mut tree = Tree::of(root);
    let mut tests = match tree.get(TESTS) {
        Some(Tree::List(tests)) => tests.clone(),
        Some(_) => return Err(AppendError::Layout),
        None => Vec::new(),
    };
    tests.push(test.clone());
    tree.put(TESTS, Tree::List(tests));
    format::format(&tree.to_json(), Format::Json).map_err(|_| AppendError::Unreadable)
}

fn append_yaml(root: &Node, text: &str, test: &Tree) -> Result<String, AppendError> {
    if matches!(&root.kind, NodeKind::Map(_)) && text.trim_start().starts_with('{') {
        return Err(AppendError::Layout);
    }
    let lines: Vec<&str> = text.lines().collect();
    let Some((key, tests)) = root.entry(TESTS) else {
        return Ok(format!("{}\n\n{TESTS}:\n{}", text.trim_end(), item(test, "  ")));
    };
    let NodeKind::List(tests) = &tests.kind else { return Err(AppendError::Layout) };
    let head = key.line as usize;
    let is_dash = |it: &&str| it.trim_start().starts_with("- ") || it.trim() == "-";
    let first = lines.iter().skip(head).find(|it| is_content(it)).filter(|it| is_dash(it));
    let (Some(first), false) = (first, tests.is_empty()) else { return Err(AppendError::Layout) };
    let indent = &first[..first.len() - first.trim_start().len()];
    // The list ends where something stands further to the left, or beside it and is no item.
    let is_inside = |it: &&str| {
        let deep = it.len() - it.trim_start().len();
        deep > indent.len() || deep == indent.len() && it.trim_start().starts_with('-')
    };
    let end = lines.iter().enumerate().skip(head).filter(|(_, it)| is_content(it));
    let end = end.take_while(|(_, it)| is_inside(it)).last().map_or(head, |(at, _)| at);
    let (before, after) = lines.split_at(end + 1);
    let mut whole = format!("{}\n{}", before.join("\n"), item(test, indent));
    for line in after {
        whole.push_str(line);
        whole.push('\n');
    }
    Ok(whole)
}

/// Says whether a line is more than space and a comment.
fn is_content(line: &&str) -> bool {
    !line.trim().is_empty() && !line.trim_start().starts_with('#')
}

/// Returns a test as an item of a list.
fn item(test: &Tree, indent: &str) -> String {
    let text = test.to_yaml();
    let lines = text.lines().enumerate().map(|(at, line)| match (at, line.is_empty()) {
        (0, _) => format!("{indent}- {line}\n"),
        (_, true) => "\n".into(),
        _ => format!("{indent}  {line}\n"),
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use traaviis_model::document::read;

    use super::*;

    const HEAD: &str = "traaviis: '1'\nname: T\nversion: 1.0.0\ninitial: a\n";
    const TEST: &str = r#"
tests:
  - name: one
    start: a
    input: {n: 1, text: "yes"}
    by: ada
    mocks:
      pay: [{error: {code: timeout, message: no, retryable: true, details: {a: 1}}}, {c: "- x"}]
      ship: [{delay: 2s, value: {error: mine}}, 7, null]
    steps:
      - {send: go, data: {a: [1, 2]}, refused: event_not_accepted}
      - {complete_task: ask, with: {outcome: yes, form: {k: v}, comment: fine, by: bob}}
      - {resolve: pay, as: {happened: {c: 1}}}
      - {resolve: pay, as: retry}
      - {advance: 1h30m}
      - {crash: true}
    expect: {state: [a, b], status: completed, output: {x: null}, called: {pay: 2}, emitted: [e]}
"#;

    fn tests_of(text: &str, format: Format) -> Vec<String> {
        let definition = read(text, format).definition.unwrap_or_else(|| panic!("{text}"));
        definition.tests.iter().map(|it| tree(it).to_json()).collect()
    }

    #[test]
    fn a_test_that_was_written_reads_as_the_same_test() {
        let body = format!("{HEAD}states: {{a: {{}}}}\n");
        let test = read(&format!("{body}{TEST}"), Format::Yaml).definition.unwrap().tests.remove(0);
        let written = tree(&test);
        let text = append(&body, Format::Yaml, &written).unwrap();
        assert_eq!(tests_of(&text, Format::Yaml), [written.to_json()], "{text}");
        let json = read_tree(&body, Format::Yaml).unwrap().to_json();
        let text = append(&json, Format::Json, &written).unwrap();
        assert_eq!(tests_of(&text, Format::Json), [written.to_json()], "{text}");
    }

    #[test]
    fn a_test_goes_behind_the_others_and_comments_stay() {
        let test = Tree::map([
            ("name", Tree::text("two")),
            ("expect", Tree::map([("status", Tree::text("running"))])),
        ]);
        let states = "states: # here\n  a: {}\n";
        let one = "- name: one # first\n  expect: {status: running}\n";
        let indented = "  - name: one # first\n    expect: {status: running}\n";
        for (text, count) in [
            (format!("{HEAD}{states}"), 1),
            (format!("{HEAD}{states}tests:\n{indented}"), 2),
            (format!("{HEAD}tests:\n{indented}\n# now the states\n{states}"), 2),
            (format!("{HEAD}tests:\n{one}{states}"), 2),
            (format!("{HEAD}tests: # all\n\n  # the first\n{indented}\n{states}"), 2),
        ] {
            let whole = append(&text, Format::Yaml, &test).unwrap();
            assert_eq!(tests_of(&whole, Format::Yaml).len(), count, "{whole}");
            let comments = |it: &str| it.matches('#').count();
            assert_eq!(comments(&whole), comments(&text), "{whole}");
        }
        for text in [format!("{HEAD}{states}tests: []\n"), format!("{HEAD}tests: [{{}}]\n{states}")]
        {
            assert!(matches!(append(&text, Format::Yaml, &test), Err(AppendError::Layout)));
        }
    }
}
