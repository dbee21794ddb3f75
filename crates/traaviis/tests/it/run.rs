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
fn an_event_that_is_not_declared_is_refused_before_anything_begins() {
    world().check("run door.yaml --event knock", expect![[r#"
        exit 2
        error: event `knock` is not declared in workflow `Door`; declared are: close, lock, open; nothing was run (unknown_event)
    "#]]);
}

#[test]
fn an_oversize_payload_is_refused() {
    let world = world();
    let input = format!(r#"{{"to": 1, "x": "{}"}}"#, "x".repeat(64 << 20));
    std::fs::write(world.path("big.json"), input).unwrap();
    world.check("run pure.yaml --input big.json", expect![[r#"
        exit 1
        error: `big.json` has more than 67108864 bytes; keep large things elsewhere and pass a reference (payload_too_large)
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
              hint: did you mean `done`?
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
        error: connectors.yaml:3:1: E101 key `funktions` is not known here (at /funktions); known are traaviis, kind, base_url, headers, egress, functions, notify
        connectors.yaml:1:1: E101 `functions` is missing (at /functions) (connectors_invalid)
    "#]]);
}

/// A saga whose second compensation to run fails.
const HALF_UNDONE: &str = r#"
traaviis: "1"
name: HalfUndone
version: 1.0.0
initial: a
states:
  a:
    invoke:
      - id: s
        effect:
          type: saga
          on_compensation_error: continue
          steps:
            - {id: one, action: {type: value, value: 1}, compensation: {type: value, value: "${data.nothing.here}"}}
            - {id: two, action: {type: value, value: 2}, compensation: {type: value, value: 0}}
            - {id: three, action: {type: value, value: "${data.nothing.here}"}}
        onDone: done
        onError: failed
  done: {type: final}
  failed: {type: final, status: failed}
"#;

#[test]
fn the_trace_names_what_could_not_be_undone() {
    World::new().file("half.yaml", HALF_UNDONE).check("run half.yaml", expect![[r#"
        exit 1
        T  ● HalfUndone 1.0.0
        T  → a
        T    s saga
        T      ✓ one   1
        T      ✓ two   2
        T      ✗ three  expression_error: no such key `nothing` in `data`
        T    ↩ s  undoing, because expression_error: no such key `nothing` in `data`
        T      ✓ undo:two   0
        T      ✗ undo:one  expression_error: no such key `nothing` in `data`
        T    ↩ s  not everything undone; failed: undo:one
        T    ✗ s  compensation_failed: `s/undo:one` failed while undoing after `expression_error`: no such key `nothing` in `data`
        T  a → failed  on error.invoke.s
        failed in state failed after T
    "#]]);
    let whole = HALF_UNDONE.replace(
        r#"compensation: {type: value, value: "${data.nothing.here}"}"#,
        "compensation: {type: value, value: 0}",
    );
    World::new().file("whole.yaml", &whole).check(
        "run whole.yaml",
        expect![[r#"
        exit 1
        T  ● HalfUndone 1.0.0
        T  → a
        T    s saga
        T      ✓ one   1
        T      ✓ two   2
        T      ✗ three  expression_error: no such key `nothing` in `data`
        T    ↩ s  undoing, because expression_error: no such key `nothing` in `data`
        T      ✓ undo:two   0
        T      ✓ undo:one   0
        T    ↩ s  everything undone
        T    ✗ s  expression_error: no such key `nothing` in `data`
        T  a → failed  on error.invoke.s
        failed in state failed after T
    "#]],
    );
}

#[test]
fn an_event_that_no_guard_lets_through_is_not_told_as_unknown_here() {
    let guarded =
        DOOR.replace("open: {target: opened,", "open: {target: opened, guard: \"false\",");
    World::new().file("door.yaml", &guarded).check("run door.yaml --event open", expect![[r#"
        exit 1
        1 warning (W203); see `traaviis validate door.yaml`
        T  ● Door 1.0.0
        T  → closed
        error: state `closed` takes event `open`, but no guard for it is true now (event_not_accepted)
    "#]]);
    world().check("run door.yaml --event close", expect![[r#"
        exit 1
        T  ● Door 1.0.0
        T  → closed
        error: state `closed` does not accept event `close` now; accepted are: lock, open (event_not_accepted)
    "#]]);
}

#[test]
fn an_undeclared_event_leaves_no_data_behind() {
    let world = world();
    world.check("run door.yaml --data d --event open --event knock", expect![[r#"
        exit 2
        error: event `knock` is not declared in workflow `Door`; declared are: close, lock, open; nothing was run (unknown_event)
    "#]]);
    assert!(!world.path("d").exists());
    world.check("run pure.yaml --event go", expect![[r#"
        exit 2
        error: event `go` is not declared in workflow `Pure`; it declares none; nothing was run (unknown_event)
    "#]]);
}

#[test]
fn a_run_that_ends_before_its_events_is_told_and_is_a_finding() {
    let world = world();
    world.check(
        r#"run door.yaml --data d --event lock={"by":"me"} --event open --event close"#,
        expect![[r#"
            exit 1
            T  ● Door 1.0.0
            T  → closed
            T  ⇢ event lock  {"by":"me"}
            T  closed → locked  on lock
            completed in state locked after T  output {"opened":0}
            the run ended before it took `open`, `close`
        "#]],
    );
    let output = world.run(&[
        "run",
        "door.yaml",
        "--event",
        r#"lock={"by":"me"}"#,
        "--event",
        "open",
        "--json",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["status"], &last["unsent"]),
        (&"completed".into(), &serde_json::json!(["open"]))
    );
    // The same call again reports the run that has ended: what it took is not missed.
    world.check(
        r#"run door.yaml --data d --event lock={"by":"me"}"#,
        expect![[r#"
        exit 0
        ID has finished before; `--new` runs it again
        T  ● Door 1.0.0
        T  → closed
        T  ⇢ event lock  {"by":"me"}
        T  closed → locked  on lock
        completed in state locked after T  output {"opened":0}
    "#]],
    );
    world.check(
        r#"run door.yaml --data d --event lock={"by":"me"} --event open"#,
        expect![[r#"
        exit 1
        ID has finished before; `--new` runs it again
        T  ● Door 1.0.0
        T  → closed
        T  ⇢ event lock  {"by":"me"}
        T  closed → locked  on lock
        completed in state locked after T  output {"opened":0}
        the run ended before it took `open`
    "#]],
    );
}

#[test]
fn data_in_the_place_of_a_file_are_refused_by_its_name() {
    let world = world().file("somefile", "text");
    world.check("run pure.yaml --data somefile", expect![[r#"
        exit 3
        error: `somefile` is no directory, so `somefile` cannot hold data; name a directory with `--data DIR` (data_directory_absent)
    "#]]);
    world.check("run pure.yaml --data somefile/below/it", expect![[r#"
        exit 3
        error: `somefile` is no directory, so `somefile/below/it` cannot hold data; name a directory with `--data DIR` (data_directory_absent)
    "#]]);
    assert_eq!(std::fs::read_to_string(world.path("somefile")).unwrap(), "text");
}
