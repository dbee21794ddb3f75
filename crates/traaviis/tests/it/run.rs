use expect_test::expect;

use crate::cli::{DOOR, PURE, World};

fn world() -> World {
    World::new().file("pure.yaml", PURE).file("door.yaml", DOOR)
}

#[test]
fn a_pure_workflow_runs_to_its_end() {
    world().check("run pure.yaml", expect![""]);
}

#[test]
fn input_comes_as_text_or_file() {
    let world = world().file("input.json", r#"{"to": 1}"#);
    world.check("run pure.yaml --input input.json", expect![""]);
    world.check(r#"run pure.yaml --input {"to":0}"#, expect![""]);
    world.check("run pure.yaml --input missing.json", expect![""]);
    world.check(r#"run pure.yaml --input {"to":"#, expect![""]);
    world.check(r#"run pure.yaml --input {"to":"three"}"#, expect![""]);
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
    world()
        .check(r#"run door.yaml --event open --event close --event lock={"by":"me"}"#, expect![""]);
}

#[test]
fn a_wrong_payload_is_refused_with_the_rule() {
    world().check(r#"run door.yaml --event lock={"by":7}"#, expect![""]);
}

#[test]
fn an_unknown_event_is_refused() {
    world().check("run door.yaml --event knock", expect![""]);
}

#[test]
fn an_oversize_payload_is_refused() {
    let world = world();
    let input = format!(r#"{{"to": 1, "x": "{}"}}"#, "x".repeat(1 << 20));
    std::fs::write(world.path("big.json"), input).unwrap();
    world.check("run pure.yaml --input big.json", expect![""]);
}

#[test]
fn a_run_that_only_an_event_can_move_ends_with_what_it_accepts() {
    world().check("run door.yaml", expect![""]);
}

#[test]
fn time_can_be_limited() {
    let slow = PURE.replace("always:", "after: {1h: done}\n    on: {}\n    x-was:");
    World::new().file("slow.yaml", &slow).check("run slow.yaml --timeout 50ms", expect![""]);
}

#[test]
fn an_invalid_document_does_not_run() {
    let broken = PURE.replace("target: done,", "target: dome,");
    World::new().file("pure.yaml", &broken).check("run pure.yaml", expect![""]);
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
    world.check("run pure.yaml", expect![""]);
}
