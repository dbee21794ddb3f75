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

const SHOP: &str = r#"
traaviis: "1"
name: Shop
version: 1.0.0
initial: waiting
plugins: [{use: redaction, with: {mode: MODE}}]
events: {asked: {}}
data: {initial: {card: "${input.card}"}}
states:
  waiting:
    on: {asked: {target: calling, actions: [{assign: {asked: "${event.data.mail}"}}]}}
  calling:
    invoke:
      - id: ask
        effect: {type: call_api, url: "http://127.0.0.1:9/", body: {note: "for bob@example.com"}, redact: {in: MODE}}
        onDone: done
        onError: done
  done: {type: final, output: "${data}"}
"#;
const BOUGHT: [&str; 6] = [
    "--input",
    r#"{"card":"4929 1234 5678 9015"}"#,
    "--event",
    r#"asked={"mail":"canary.ann@example.com"}"#,
    "--data",
    "d",
];

fn shop(mode: &str) -> World {
    World::new().file("shop.yaml", &SHOP.replace("MODE", mode))
}

/// Runs the shop; returns what was shown, and the id of its run.
fn bought(world: &World) -> (String, String) {
    let output = world.run(&[&["run", "shop.yaml"], &BOUGHT[..]].concat());
    let shown = world.shown(&output);
    assert_eq!(output.status.code(), Some(0), "{shown}");
    let listed = world.run(&["ps", "--data", "d", "--all", "--json"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    let id = listed.split('"').find(|it| it.len() == 36).unwrap_or_else(|| panic!("{listed}"));
    (shown, id.to_string())
}

/// Returns what stands between the first beginning and the bracket that closes it.
fn replacement(text: &str, begins: &str) -> String {
    let from = text.find(begins).unwrap_or_else(|| panic!("no `{begins}` in {text}"));
    let end = text[from..].find(']').unwrap_or_else(|| panic!("{text}"));
    text[from..=from + end].to_string()
}

#[test]
fn tokens_rest_in_the_place_of_what_the_operator_can_turn_back() {
    let world = shop("tokenise");
    let (_, id) = bought(&world);
    assert_eq!(holding(&world.path("d"), &CANARIES), Vec::<String>::new());
    let output = world.run(&["show", &id, "--data", "d", "--json"]);
    let shown = String::from_utf8(output.stdout).unwrap();
    let token = replacement(&shown, "[EMAIL:");
    // A run that begins with the same is the same run.
    let again = world.shown(&world.run(&[&["run", "shop.yaml"], &BOUGHT[..]].concat()));
    let ids = world.run(&["ps", "--data", "d", "--all", "--json"]);
    assert_eq!(String::from_utf8_lossy(&ids.stdout).matches("\"workflow\"").count(), 1, "{again}");
    let output = world.run(&["replay", &id, "--data", "d"]);
    assert!(world.shown(&output).contains("byte-identical"), "{}", world.shown(&output));
    let same = world.run(&["replay", &id, "--against", "shop.yaml", "--data", "d"]);
    assert!(same.status.success(), "{}", world.shown(&same));

    let reveal = |more: &[&str]| {
        let given = ["privacy", "reveal", &token, "--reason", "a court asks", "--data", "d"];
        world.run(&[&given[..], more].concat())
    };
    let output = reveal(&[]);
    assert_eq!(world.shown(&output), "exit 0\ncanary.ann@example.com\n");
    let output = reveal(&["--json", "--as", "kim"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["text"], "canary.ann@example.com");
    assert_eq!(json["types"]["EMAIL"], 1);
    let denied = reveal(&["--role", "developer"]);
    assert_eq!(denied.status.code(), Some(4), "{}", world.shown(&denied));
    let notes = std::fs::read_dir(world.path("d/system/reveals")).unwrap().next().unwrap().unwrap();
    let notes = std::fs::read_to_string(notes.path()).unwrap();
    assert_eq!(notes.lines().count(), 2, "{notes}");
    assert!(notes.contains("a court asks") && notes.contains("user:kim"), "{notes}");
    assert!(!notes.contains(&token) && !notes.contains("canary"), "{notes}");
    // One of another directory, or changed.
    let strange = format!("mail [EMAIL:{}]", "0".repeat(40));
    let output = world.run(&["privacy", "reveal", &strange, "--reason", "why not", "--data", "d"]);
    assert_eq!(output.status.code(), Some(1), "{}", world.shown(&output));
}

#[test]
fn without_its_key_nothing_is_redacted_revealed_or_replayed() {
    let world = shop("tokenise");
    let (_, id) = bought(&world);
    let (here, gone) = (world.path("config"), world.path("gone"));
    std::fs::rename(&here, &gone).unwrap();
    let code = |line: &[&str], code: &str| {
        let output = world.run(line);
        let shown = world.shown(&output);
        assert!(shown.contains(code) && !shown.contains("canary"), "{line:?}: {shown}");
    };
    code(&["replay", &id, "--data", "d"], "root_key_missing");
    code(&["privacy", "reveal", "[EMAIL:00]", "--reason", "x", "--data", "d"], "root_key_missing");
    code(&[&["run", "shop.yaml", "--new"], &BOUGHT[..]].concat(), "redaction_key_missing");
    std::fs::rename(&gone, &here).unwrap();
    assert!(world.run(&["replay", &id, "--data", "d"]).status.success());
    // Elsewhere there is no key at all.
    let lines = world.run(&["log", "cat", "d"]);
    std::fs::write(world.path("records.jsonl"), lines.stdout).unwrap();
    code(&["replay", "records.jsonl", "--data", "elsewhere"], "redaction_key_missing");
    let output = world.run(&["replay", "records.jsonl", "--data", "d"]);
    assert!(output.status.success(), "{}", world.shown(&output));
}

#[test]
fn digests_are_the_same_in_one_directory_and_differ_in_another() {
    let one = shop("hash");
    let (_, first) = bought(&one);
    let digest = |world: &World, id: &str| {
        let output = world.run(&["show", id, "--data", "d", "--json"]);
        replacement(&String::from_utf8_lossy(&output.stdout), "[EMAIL#")
    };
    let output = one.run(&[&["run", "shop.yaml", "--new"], &BOUGHT[..]].concat());
    assert!(output.status.success(), "{}", one.shown(&output));
    assert!(one.run(&["keys", "rotate", "--data", "d"]).status.success());
    let (_, second) = bought(&one);
    assert_eq!(digest(&one, &first), digest(&one, &second));
    assert_eq!(holding(&one.path("d"), &CANARIES), Vec::<String>::new());
    let other = shop("hash");
    let (_, there) = bought(&other);
    assert_ne!(digest(&one, &first), digest(&other, &there));
}

#[test]
fn a_scan_says_where_personal_data_lies_and_never_what_it_is() {
    let world = World::new()
        .file("a.json", r#"{"mail": "ann@example.com", "list": [{"phone": "+49 170 1234567"}]}"#)
        .file("b.jsonl", "{\"a\": 1}\n\n{\"card\": \"4111 1111 1111 1111\"}\n")
        .file("c.txt", "nothing here\nask ann@example.com\n")
        .file("d.json", r#"{"count": 3}"#)
        .file("e.json", "{");
    let scan = |args: &[&str]| world.shown(&world.run(&[&["privacy", "scan"], args].concat()));
    expect_test::expect![[r#"
        exit 1
        a.json: PHONE at /list/0/phone, characters 0 to 15 (key, 0.90)
        a.json: EMAIL at /mail, characters 0 to 15 (email, 0.98)
        b.jsonl:3: CREDIT_CARD at /card, characters 0 to 19 (luhn, 0.97)
        c.txt:2: EMAIL, characters 4 to 19 (email, 0.98)
    "#]]
    .assert_eq(&scan(&["a.json", "b.jsonl", "c.txt", "d.json"]));
    assert_eq!(scan(&["d.json"]), "exit 0\nno personal data found\n");
    assert!(!scan(&["a.json", "--min-confidence", "0.95"]).contains("PHONE"));
    assert!(scan(&["e.json"]).contains("`e.json` is not JSON"));
    assert!(scan(&["a.json", "--min-confidence", "2"]).starts_with("exit 2"));
    let told = world.json("privacy scan a.json");
    assert_eq!(told["findings"][1]["pointer"], "/mail");
    assert!(!told.to_string().contains("ann@"), "{told}");
}

#[test]
fn a_scan_of_instances_counts_them_by_place_and_says_whether_it_can_be_erased() {
    let workflow = |name: &str, subject: &str| {
        format!(
            "traaviis: \"1\"\nname: {name}\nversion: 1.0.0\ninitial: a\n{subject}\
             input: {{schema: {{type: object}}}}\n\
             data: {{initial: {{who: \"${{input.mail}}\", all: [\"${{input.mail}}\"]}}}}\n\
             events: {{go: {{}}}}\nstates: {{a: {{on: {{go: b}}}}, b: {{type: final}}}}\n"
        )
    };
    let world = World::new()
        .file("open.yaml", &workflow("Open", ""))
        .file("sealed.yaml", &workflow("Sealed", "subject: input.id\n"));
    for (file, number) in [("open.yaml", 1), ("open.yaml", 2), ("sealed.yaml", 3)] {
        let input = format!(r#"{{"mail": "p{number}@example.com", "id": "p{number}"}}"#);
        world.run(&["run", file, "--data", "d", "--new", "--input", &input]);
    }
    world.check(
        "privacy scan --data d",
        expect_test::expect![[r#"
            exit 1
            WORKFLOW  PLACE       TYPE   INSTANCES  ABOUT A PERSON
            Open      data/all/*  EMAIL  2          no
            Open      data/who    EMAIL  2          no
            Open      input/mail  EMAIL  2          no
            Sealed    data/all/*  EMAIL  1          yes
            Sealed    data/who    EMAIL  1          yes
            Sealed    input/mail  EMAIL  1          yes
            what is about nobody cannot be erased for a person: name them with `subject` in the workflow, or mask it with `plugins: [{use: redaction}]`
        "#]],
    );
    let told = world.json("privacy scan --data d --workflow Sealed");
    assert_eq!((&told["instances"], told["places"].as_array().unwrap().len()), (&1.into(), 3));
    assert!(!told.to_string().contains("p3@"), "{told}");
}
