use expect_test::expect;

use crate::cli::{DOOR, PURE, World};

fn world() -> World {
    World::new().file("pure.yaml", PURE).file("door.yaml", DOOR)
}

#[test]
fn a_pure_workflow_runs_to_its_end() {
    world().check(
        "run pure.yaml",
        expect![[r#"
        exit 0
        T  ● Pure 1.0.0
        T  → counting
        T  counting → counting
        T  data at=1
        T  counting → counting
        T  data at=2
        T  counting → counting
        T  data at=3
        T  counting → done  [data.at >= data.to]
        completed in state done after T  output {"counted":3}
    "#]],
    );
}

#[test]
fn input_comes_as_text_or_file() {
    let world = world().file("input.json", r#"{"to": 1}"#);
    world.check(
        "run pure.yaml --input input.json",
        expect![[r#"
        exit 0
        T  ● Pure 1.0.0
        T  → counting
        T  counting → counting
        T  data at=1
        T  counting → done  [data.at >= data.to]
        completed in state done after T  output {"counted":1}
    "#]],
    );
    world.check(
        r#"run pure.yaml --input {"to":0}"#,
        expect![[r#"
        exit 0
        T  ● Pure 1.0.0
        T  → counting
        T  counting → done  [data.at >= data.to]
        completed in state done after T  output {"counted":0}
    "#]],
    );
    world.check("run pure.yaml --input missing.json", expect![[r#"
        exit 1
        error: cannot read input `missing.json`: No such file or directory (os error 2); give a file, `-`, or JSON text (file_unreadable)
    "#]]);
    world.check(r#"run pure.yaml --input {"to":"#, expect![[r#"
        exit 2
        error: the input is not JSON: EOF while parsing a value at line 1 column 6; write for example '{"amount": 10}' in single quotes (usage)
    "#]]);
    world.check(r#"run pure.yaml --input {"to":"three"}"#, expect![[r#"
        exit 1
        error: the input does not fit the schema of workflow `Pure`: /to: "three" is not of type "integer" (input_invalid)
    "#]]);
}

#[test]
fn programs_get_one_record_a_line_and_the_result() {
    let output = world().run(&["run", "pure.yaml", "--json"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    let (last, records) = lines.split_last().unwrap();
    assert_eq!(last["status"], "completed");
    assert_eq!(last["output"]["counted"], 3);
    for (at, record) in records.iter().enumerate() {
        assert_eq!(record["seq"], at as u64 + 1);
    }
}

#[test]
fn events_are_sent_in_order() {
    world().check(
        r#"run door.yaml --event open --event close --event lock={"by":"me"}"#,
        expect![[r#"
            exit 0
            T  ● Door 1.0.0
            T  → closed
            T  ⇢ event open
            T  closed → opened  on open
            T  data opened=1
            T  ⇢ event close
            T  opened → closed  on close
            T  ⇢ event lock  {"by":"me"}
            T  closed → locked  on lock
            completed in state locked after T  output {"opened":1}
        "#]],
    );
}

#[test]
fn a_wrong_payload_is_refused_with_the_rule() {
    world().check(r#"run door.yaml --event lock={"by":7}"#, expect![[r#"
        exit 1
        T  ● Door 1.0.0
        T  → closed
        error: the payload of `lock` does not fit its schema: /by: 7 is not of type "string" (event_payload_invalid)
    "#]]);
}

#[test]
fn an_unknown_event_is_refused() {
    world().check("run door.yaml --event knock", expect![[r#"
        exit 1
        T  ● Door 1.0.0
        T  → closed
        error: event `knock` is not declared in workflow `Door`; declared are: close, lock, open (unknown_event)
    "#]]);
}

#[test]
fn an_oversize_payload_is_refused() {
    let world = world();
    let input = format!(r#"{{"to": 1, "x": "{}"}}"#, "x".repeat(1 << 20));
    std::fs::write(world.path("big.json"), input).unwrap();
    world.check("run pure.yaml --input big.json", expect![[r#"
        exit 1
        error: `big.json` has more than 1048576 bytes; keep large things elsewhere and pass a reference (payload_too_large)
    "#]]);
}

#[test]
fn a_run_that_only_an_event_can_move_ends_with_what_it_accepts() {
    world().check("run door.yaml", expect![[r#"
        exit 1
        T  ● Door 1.0.0
        T  → closed
        error: the instance waits in state `closed` for `lock`, `open`; send one with `--event NAME=JSON`, or keep the run with `--data DIR` (waiting_for_event)
    "#]]);
}

#[test]
fn time_can_be_limited() {
    let slow = PURE.replace("always:", "after: {1h: done}\n    on: {}\n    x-was:");
    World::new().file("slow.yaml", &slow).check("run slow.yaml --timeout 50ms", expect![[r#"
        exit 1
        T  ● Pure 1.0.0
        T  → counting
        T  ⏲ 1h00m at most in counting
        error: not finished after 50ms, in state `counting`; give more time, or keep the run with `--data DIR` (timeout)
    "#]]);
}

#[test]
fn an_invalid_document_does_not_run() {
    let broken = PURE.replace("target: done,", "target: dome,");
    World::new().file("pure.yaml", &broken).check(
        "run pure.yaml",
        expect![[r#"
        exit 1
        pure.yaml:11:9: E102 target `dome` names no state that can be seen from here
          hint: did you mean `#done`?
        error: `pure.yaml` has 1 error(s); nothing was done (definition_invalid)
    "#]],
    );
}

#[test]
fn wrong_command_lines_are_usage_errors() {
    let world = world();
    for line in [
        "run",
        "run pure.yaml --timeout soon",
        "run door.yaml --event open={",
        "resolve 1 a",
        "resolve 1 a --retry --fail",
        "schema nothing",
    ] {
        let arguments: Vec<&str> = line.split(' ').collect();
        assert_eq!(world.run(&arguments).status.code(), Some(2), "{line}");
    }
}

#[test]
fn connectors_are_read_with_places() {
    let world =
        world().file("connectors.yaml", "traaviis: \"1\"\nkind: connectors\nfunktions: {}\n");
    world.check("run pure.yaml", expect![[r#"
        exit 1
        error: connectors.yaml:3:1: E101 key `funktions` is not known here (at /funktions); known are traaviis, kind, base_url, headers, egress, functions
        connectors.yaml:1:1: E101 `functions` is missing (at /functions) (connectors_invalid)
    "#]]);
}
