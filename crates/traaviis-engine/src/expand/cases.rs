//! The tests of a component, as tests of the workflow that uses it.
//!
//! A test that is merged starts where the component starts, in a workflow that goes on where its
//! exits lead. So it keeps what it says of the component, and loses what only a whole workflow can
//! say: the status at its end.

use traaviis_model::{
    Text,
    document::tree::{Key, Node, NodeKind},
};

use super::{
    Rename, empty_map, is_map, key_like, map_values, put,
    rename::{each, renamed},
    retext, take,
};

/// Statuses of a run that goes on, which a component may promise wherever it is used.
const STATUSES_OPEN: &[&str] = &["running", "paused", "incident"];

/// Returns the tests with the names that they have in the document.
pub(super) fn tests(rename: &mut Rename<'_>, written: &Node, initial: Option<&Node>) -> Node {
    let NodeKind::List(items) = &written.kind else { return written.clone() };
    let items = items.iter().filter_map(|it| test(rename, it, initial)).collect();
    Node { kind: NodeKind::List(items), ..*written }
}

/// Returns a test; none when nothing is left of what it expects.
fn test(rename: &mut Rename<'_>, written: &Node, initial: Option<&Node>) -> Option<Node> {
    let mut test = map_values(written, |key, it| match key {
        "name" => match (it.as_text(), rename.prefix) {
            (Some(text), Some(prefix)) => retext(it, format!("{prefix}: {text}").into()),
            _ => it.clone(),
        },
        "start" => each(it, |it| state(rename, it)),
        "steps" => each(it, |it| {
            map_values(it, |key, it| match key {
                "send" => rename.event_name(it),
                _ => rename.template(it),
            })
        }),
        "expect" => expectations(rename, it),
        "input" | "mocks" => rename.template(it),
        _ => it.clone(),
    });
    if rename.prefix.is_none() {
        return Some(test);
    }
    if let (None, Some(initial)) = (test.entry("start"), initial) {
        put(&mut test, key_like("start", initial), each(initial, |it| state(rename, it)));
    }
    test.entry("expect").is_none_or(|(_, it)| !it.entries().is_empty()).then_some(test)
}

fn expectations(rename: &mut Rename<'_>, written: &Node) -> Node {
    let mut expect = map_values(written, |key, it| match (key, rename.prefix) {
        ("state", _) => each(it, |it| state(rename, it)),
        ("data", Some(prefix)) => {
            let below = vec![(key_like(prefix, it), rename.template(it))];
            Node { kind: NodeKind::Map(below), ..*it }
        }
        ("emitted", _) => each(it, |it| match is_map(it) {
            true => map_values(it, |key, it| match key {
                "event" => rename.event_name(it),
                _ => rename.template(it),
            }),
            false => rename.event_name(it),
        }),
        ("budgets", _) => places(rename, it),
        _ => rename.template(it),
    });
    let status = expect.entry("status").and_then(|(_, it)| it.as_text()).cloned();
    if rename.prefix.is_some() && status.is_some_and(|it| !STATUSES_OPEN.contains(&&*it)) {
        take(&mut expect, "status");
    }
    expect
}

/// Renames a path of a state, or an exit.
fn state(rename: &mut Rename<'_>, it: &Node) -> Node {
    let Some(path) = it.as_text() else { return it.clone() };
    match rename.exits.get(path) {
        Some(Some(bound)) => retext(it, bound.clone()),
        Some(None) => it.clone(),
        None => retext(it, rename.path(path).into()),
    }
}

/// Renames the states among the places of budgets; effects and the run keep their names.
fn places(rename: &mut Rename<'_>, written: &Node) -> Node {
    if !is_map(written) {
        return written.clone();
    }
    let entries = written.entries().iter().map(|(key, it)| {
        let is_state = rename.tops.iter().any(|it| {
            let rest = key.text.strip_prefix(&**it);
            rest.is_some_and(|it| it.is_empty() || it.starts_with('.'))
        });
        let text: Text = if is_state { rename.path(&key.text).into() } else { key.text.clone() };
        (renamed(key, text), it.clone())
    });
    let entries: Vec<(Key, Node)> = entries.collect();
    Node { kind: NodeKind::Map(entries), ..*written }
}

/// Gives merged tests the first example of the input of the document, where they have none.
pub(super) fn with_input(tests: &Node, host: &Node) -> Vec<Node> {
    let examples = host.entry("input").and_then(|(_, it)| it.entry("examples"));
    let example = examples.and_then(|(_, it)| it.items().first().cloned());
    let given = |test: &Node| {
        let mut test = test.clone();
        if test.entry("input").is_none() {
            let example = example.clone().unwrap_or_else(|| empty_map(&test));
            let key = key_like("input", &test);
            put(&mut test, key, example);
        }
        test
    };
    tests.items().iter().map(given).collect()
}
