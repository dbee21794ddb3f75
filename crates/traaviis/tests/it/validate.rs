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
