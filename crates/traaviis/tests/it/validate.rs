use expect_test::{Expect, expect};

use crate::cli::{DOOR, World};

fn check(document: &str, expected: Expect) {
    World::new().file("flow.yaml", document).check("validate flow.yaml", expected);
}

#[test]
fn a_valid_document_is_summed_up() {
    check(
        DOOR,
        expect![[r#"
            exit 0
            flow.yaml: Door 1.0.0 is valid (3 states, 3 events, 0 effects; hash HASH)
        "#]],
    );
}

#[test]
fn an_unknown_key_is_named_with_its_place() {
    check(
        &DOOR.replace("initial: closed", "inital: closed"),
        expect![[r#"
        exit 1
        flow.yaml:2:1: E103 `initial` is missing in the workflow
          hint: for example `initial: closed`
        flow.yaml:5:1: E101 unknown key `inital` in a workflow
          hint: did you mean `initial`?
    "#]],
    );
}

#[test]
fn a_dangling_target_is_named_with_its_place() {
    check(
        &DOOR.replace("on: {close: closed}", "on: {close: shut}"),
        expect![[r#"
        exit 1
        flow.yaml:14:17: E102 target `shut` names no state that can be seen from here
    "#]],
    );
}

#[test]
fn broken_yaml_is_named_with_its_place() {
    check(
        "traaviis: \"1\"\nname: [Door\nversion: 1.0.0\n",
        expect![[r#"
        exit 1
        flow.yaml:3:8: E101 the YAML does not parse: illegal placement of ':' indicator
    "#]],
    );
}

#[test]
fn an_expression_that_cannot_be_parsed_is_refused() {
    let guarded = "on: {close: {target: closed, guard: \"data.opened >\"}}";
    check(
        &DOOR.replace("on: {close: closed}", guarded),
        expect![[r#"
            exit 1
            flow.yaml:14:41: E130 expected a value but found the end
              hint: expressions are CEL, such as `data.count + 1 > 3`
        "#]],
    );
}

#[test]
fn a_hostile_expression_is_refused() {
    let deep = format!("{}1{}", "(".repeat(2_000), ")".repeat(2_000));
    let guarded = format!("on: {{close: {{target: closed, guard: \"{deep} == 1\"}}}}");
    check(
        &DOOR.replace("on: {close: closed}", &guarded),
        expect![[r#"
        exit 1
        flow.yaml:14:41: E130 expression is nested deeper than 64
          hint: split it into several assignments
    "#]],
    );
}

#[test]
fn what_is_no_text_or_no_file_is_refused() {
    let world = World::new();
    std::fs::write(world.path("flow.yaml"), b"traaviis: \"1\"\nname: \xff\n").unwrap();
    world.check(
        "validate flow.yaml",
        expect![[r#"
        exit 1
        error: `flow.yaml` is not UTF-8 text: byte 20 on line 2; save it as UTF-8 (file_not_utf8)
    "#]],
    );
    world.check(
        "validate missing.yaml",
        expect![[r#"
        exit 1
        error: cannot read `missing.yaml`: No such file or directory (os error 2) (file_unreadable)
    "#]],
    );
}

#[test]
fn an_oversize_document_is_refused() {
    check(
        &format!("# {}\n", "x".repeat(2 << 20)),
        expect![[r#"
        exit 1
        flow.yaml: E160 the document has 1048577 bytes; at most 1048576 are allowed
    "#]],
    );
}

#[test]
fn programs_get_json() {
    let world =
        World::new().file("flow.yaml", &DOOR.replace("on: {close: closed}", "on: {close: shut}"));
    world.check("validate flow.yaml --json", expect![[r#"
        exit 1
        {"diagnostics":[{"code":"E102","column":17,"line":14,"message":"target `shut` names no state that can be seen from here","path":"/states/opened/on/close","severity":"error"}],"file":"flow.yaml","valid":false}
    "#]]);
}

/// Waits for ever, and declares an event that nobody takes.
const WAITING: &str = "traaviis: \"1\"
name: Waiting
version: 1.0.0
initial: open
events: {close: {}, knock: {}}
states:
  open: {on: {close: shut}}
  shut: {type: final}
";

#[test]
fn warnings_leave_a_document_valid() {
    check(
        WAITING,
        expect![[r#"
        exit 0
        flow.yaml:5:21: warning W208 event `knock` is declared, but nothing uses it
          hint: take it under `on` of a state, or remove the declaration
        flow.yaml:7:3: warning W209 state `open` waits for events from outside without a time limit
          hint: add `after: {DURATION: STATE}` here or around it; if it may wait for ever, say why: `x-waive: {W209: REASON}`
        flow.yaml: Waiting 1.0.0 is valid (2 states, 2 events, 0 effects; hash HASH)
    "#]],
    );
}

#[test]
fn strict_refuses_the_grave_warnings() {
    let world = World::new().file("flow.yaml", WAITING);
    world.check("validate --strict flow.yaml", expect![[r#"
        exit 1
        flow.yaml:5:21: warning W208 event `knock` is declared, but nothing uses it
          hint: take it under `on` of a state, or remove the declaration
        flow.yaml:7:3: W209 state `open` waits for events from outside without a time limit
          hint: add `after: {DURATION: STATE}` here or around it; if it may wait for ever, say why: `x-waive: {W209: REASON}`
    "#]]);
    let waived = WAITING.replace("open: {", "open: {x-waive: {W209: a guest may stay}, ");
    let world = World::new().file("flow.yaml", &waived);
    world.check(
        "validate --strict flow.yaml",
        expect![[r#"
        exit 0
        flow.yaml:5:21: warning W208 event `knock` is declared, but nothing uses it
          hint: take it under `on` of a state, or remove the declaration
        flow.yaml: Waiting 1.0.0 is valid (2 states, 2 events, 0 effects; hash HASH)
    "#]],
    );
}

#[test]
fn denied_warnings_end_with_a_finding() {
    let world = World::new().file("flow.yaml", WAITING);
    world.check("validate --deny-warnings flow.yaml", expect![[r#"
        exit 1
        flow.yaml:5:21: warning W208 event `knock` is declared, but nothing uses it
          hint: take it under `on` of a state, or remove the declaration
        flow.yaml:7:3: warning W209 state `open` waits for events from outside without a time limit
          hint: add `after: {DURATION: STATE}` here or around it; if it may wait for ever, say why: `x-waive: {W209: REASON}`
        flow.yaml: Waiting 1.0.0 is valid (2 states, 2 events, 0 effects; hash HASH), but 2 warnings are denied
    "#]]);
    world.check("validate --deny-warnings --json flow.yaml", expect![[r#"
        exit 1
        {"counts":{"effects":0,"events":2,"states":2},"diagnostics":[{"code":"W208","column":21,"hint":"take it under `on` of a state, or remove the declaration","line":5,"message":"event `knock` is declared, but nothing uses it","path":"/events/knock","severity":"warning"},{"code":"W209","column":3,"hint":"add `after: {DURATION: STATE}` here or around it; if it may wait for ever, say why: `x-waive: {W209: REASON}`","line":7,"message":"state `open` waits for events from outside without a time limit","path":"/states/open","severity":"warning"}],"file":"flow.yaml","hash":"HASH","name":"Waiting","valid":true,"version":"1.0.0"}
    "#]]);
}

#[test]
fn run_tells_warnings_in_one_line() {
    let world = World::new().file("flow.yaml", WAITING);
    world.check(
        "run flow.yaml --event close",
        expect![[r#"
        exit 0
        2 warnings (W208, W209); see `traaviis validate flow.yaml`
        T  ● Waiting 1.0.0
        T  → open
        T  ⇢ event close
        T  open → shut  on close
        completed in state shut after T
    "#]],
    );
}
