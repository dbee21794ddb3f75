//! Personal data through the whole binary: what is redacted rests in no file.

use std::path::Path;

use crate::cli::World;

const DESK: &str = r#"
traaviis: "1"
name: Desk
version: 1.0.0
initial: waiting
plugins: [{use: redaction}, {use: logger, with: {include_data: true}}]
events:
  asked:
    schema: {type: object, properties: {mail: {type: string, pattern: "^[^@]+@[^@]+$"}}}
    pii: {/ref: CUSTOM}
states:
  waiting:
    on:
      asked:
        target: sorting
        actions:
          - {assign: {asked: "${event.data}"}}
          - {log: {message: "asked by ${event.data.mail}", data: "${event.data}"}}
          - {emit: {event: got, data: "${event.data}"}}
  sorting: {always: done}
  done: {type: final, output: "${data.asked}"}
tests:
  - name: sees what is redacted
    steps: [{send: asked, data: {mail: ann@example.com, note: card 4111 1111 1111 1111}}]
    expect: {status: completed, output: {mail: "[EMAIL]", note: "card [CREDIT_CARD]"}}
"#;

const ASKED: &str = r#"asked={"mail":"canary.ann@example.com","note":"take 4929 1234 5678 9015","ref":"zq-canary-17"}"#;
/// What must not be found, however it is written.
const CANARIES: [&str; 3] = ["canary.ann", "4929 1234", "zq-canary"];

/// Returns the files below a folder that hold some of these bytes.
fn holding(folder: &Path, words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holding(&path, words));
        } else if let Ok(bytes) = std::fs::read(&path) {
            let held = |word: &&&str| bytes.windows(word.len()).any(|it| it == word.as_bytes());
            found.extend(words.iter().filter(held).map(|it| format!("{it} in {path:?}")));
        }
    }
    found
}

/// Runs a workflow to its end; returns what was shown, and its records as text.
fn told(world: &World) -> (String, String) {
    let output = world.run(&["run", "desk.yaml", "--data", "d", "--event", ASKED]);
    let shown = world.shown(&output);
    assert_eq!(output.status.code(), Some(0), "{shown}");
    let listed = world.run(&["ps", "--data", "d", "--all", "--json"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    let id = listed.split('"').find(|it| it.len() == 36).unwrap_or_else(|| panic!("{listed}"));
    assert!(world.run(&["replay", id, "--data", "d"]).status.success());
    (shown, world.shown(&world.run(&["export", id, "--data", "d"])))
}

#[test]
fn canaries_of_an_event_rest_in_no_file() {
    let world = World::new().file("desk.yaml", DESK);
    let (shown, records) = told(&world);
    for text in [&shown, &records] {
        assert!(!CANARIES.iter().any(|it| text.contains(it)), "{text}");
    }
    assert!(shown.contains(r#"{"mail":"[EMAIL]","note":"take [CREDIT_CARD]","ref":"[CUSTOM]"}"#));
    assert_eq!(holding(&world.path("d"), &CANARIES), Vec::<String>::new());

    // The same without the plugin: what is looked for would be found. Log lines are masked anyway.
    let plain = World::new().file("desk.yaml", &DESK.replace("{use: redaction}, ", ""));
    let (_, records) = told(&plain);
    assert!(CANARIES.iter().all(|it| records.contains(it)), "{records}");
    assert!(records.contains("asked by [EMAIL]"), "{records}");
}

#[test]
fn simulate_and_test_redact_as_a_run_does() {
    let world = World::new().file("desk.yaml", DESK).file(
        "events.jsonl",
        "{\"event\": \"asked\", \"data\": {\"mail\": \"nobody\"}}\n{\"event\": \"asked\", \"data\": {\"mail\": \"ann@example.com\"}}\n",
    );
    let shown = world.shown(&world.run(&["simulate", "desk.yaml", "--events", "events.jsonl"]));
    assert!(shown.contains(r#"/mail: "nobody" does not match"#), "{shown}");
    assert!(shown.contains(r#""mail":"[EMAIL]""#) && !shown.contains("ann@"), "{shown}");
    let output = world.run(&["test", "desk.yaml"]);
    assert!(output.status.success(), "{}", world.shown(&output));
}

#[test]
fn a_blocked_event_is_refused() {
    let desk =
        DESK.replace("{use: redaction}", "{use: redaction, with: {mode: block, types: [IBAN]}}");
    let world = World::new().file("desk.yaml", &desk);
    let output = world.run(&[
        "run",
        "desk.yaml",
        "--data",
        "d",
        "--event",
        r#"asked={"note":"GB82 WEST 1234 5698 7654 32"}"#,
    ]);
    let shown = world.shown(&output);
    assert!(shown.contains("guardrail_blocked") && !shown.contains("GB82"), "{shown}");
}

#[test]
fn labelled_data_that_leaves_is_warned_about() {
    let page = include_str!("../../../../docs/errors/W210.md");
    let bad = page.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let world = World::new().file("support.yaml", bad);
    let shown = world.shown(&world.run(&["validate", "support.yaml"]));
    let told = "W210 `call` sends `data.text`, which event `asked` brings as personal data";
    assert!(shown.contains(told), "{shown}");
}
