use expect_test::{Expect, expect};

use crate::cli::{DOOR, World};

fn check(document: &str, expected: Expect) {
    World::new().file("flow.yaml", document).check("validate flow.yaml", expected);
}

#[test]
fn a_valid_document_is_summed_up() {
    check(DOOR, expect![""]);
}

#[test]
fn an_unknown_key_is_named_with_its_place() {
    check(&DOOR.replace("initial: closed", "inital: closed"), expect![""]);
}

#[test]
fn a_dangling_target_is_named_with_its_place() {
    check(&DOOR.replace("on: {close: closed}", "on: {close: shut}"), expect![""]);
}

#[test]
fn broken_yaml_is_named_with_its_place() {
    check("traaviis: \"1\"\nname: [Door\nversion: 1.0.0\n", expect![""]);
}

#[test]
fn an_expression_that_cannot_be_parsed_is_refused() {
    let guarded = "on: {close: {target: closed, guard: \"data.opened >\"}}";
    check(&DOOR.replace("on: {close: closed}", guarded), expect![""]);
}

#[test]
fn a_hostile_expression_is_refused() {
    let deep = format!("{}1{}", "(".repeat(2_000), ")".repeat(2_000));
    let guarded = format!("on: {{close: {{target: closed, guard: \"{deep} == 1\"}}}}");
    check(&DOOR.replace("on: {close: closed}", &guarded), expect![""]);
}

#[test]
fn what_is_no_text_or_no_file_is_refused() {
    let world = World::new();
    std::fs::write(world.path("flow.yaml"), b"traaviis: \"1\"\nname: \xff\n").unwrap();
    world.check("validate flow.yaml", expect![""]);
    world.check("validate missing.yaml", expect![""]);
}

#[test]
fn an_oversize_document_is_refused() {
    check(&format!("# {}\n", "x".repeat(2 << 20)), expect![""]);
}

#[test]
fn programs_get_json() {
    let world =
        World::new().file("flow.yaml", &DOOR.replace("on: {close: closed}", "on: {close: shut}"));
    world.check("validate flow.yaml --json", expect![""]);
}
