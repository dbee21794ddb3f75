//! Ids that callers choose, and what an instance says of itself.

use expect_test::expect;
use serde_json::Value;

use crate::{
    cli::{DOOR, PURE, World},
    index::listed,
};

const OUTER: &str = r#"
traaviis: "1"
name: Outer
version: 1.0.0
initial: working
states:
  working:
    invoke: [{id: ask, effect: {type: spawn_fsm, workflow: Door, wait: true}, onDone: done}]
    onError: done
  done: {type: final}
"#;

const ID: &str = "0198c51a-7800-7abc-8000-0123456789ab";

fn json(world: &World, arguments: &[&str]) -> Value {
    let output = world.run(arguments);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", world.shown(&output)))
}

/// How the process ends, and all that it says.
fn told(world: &World, arguments: &[&str]) -> (Option<i32>, String) {
    let output = world.run(arguments);
    let text = [&output.stdout[..], &output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn a_run_has_the_id_that_its_caller_chose() {
    let world = World::new().file("door.yaml", DOOR).file("pure.yaml", PURE);
    let door = ["run", "door.yaml", "--data", "d", "--id", ID];
    let (exit, said) = told(&world, &door);
    assert!(exit == Some(1) && said.contains("waiting_for_event"), "{said}");
    assert_eq!(listed(&world, &[])[0]["id"], ID);
    // Again is the same run, open or ended; written as anybody likes.
    let upper = ID.to_uppercase();
    let (_, said) = told(&world, &["run", "door.yaml", "--data", "d", "--id", &upper]);
    assert!(said.contains(&format!("continuing {ID}")), "{said}");
    // Without the id it is found by its input, as others are.
    let (_, said) = told(&world, &["run", "door.yaml", "--data", "d"]);
    assert!(said.contains(&format!("continuing {ID}")), "{said}");
    let lock = r#"lock={"by":"me"}"#;
    let ended = world.run(&[&door[..], &["--event", lock]].concat());
    assert!(ended.status.success(), "{}", world.shown(&ended));
    let (exit, said) = told(&world, &door);
    assert!(exit == Some(0) && said.contains("another `--id` runs it again"), "{said}");
    // With other words it is refused.
    for other in [
        &["run", "pure.yaml", "--input", r#"{"to": 1}"#, "--data", "d", "--id", ID][..],
        &["run", "door.yaml", "--input", r#"{"x": 1}"#, "--data", "d", "--id", ID],
    ] {
        let (exit, said) = told(&world, other);
        assert!(exit == Some(1) && said.contains("already_exists"), "{said}");
    }
    assert_eq!(listed(&world, &["--all"]).len(), 1);
}

#[test]
fn an_id_that_is_none_is_a_mistake_of_the_caller() {
    let world = World::new().file("door.yaml", DOOR);
    for id in
        ["order-17", "0198c51a-7800-4abc-8000-0123456789ab", "ffffffff-ffff-7fff-8000-0123456789ab"]
    {
        let (exit, said) = told(&world, &["run", "door.yaml", "--data", "d", "--id", id]);
        assert!(exit == Some(2) && said.contains(id), "{said}");
    }
    assert!(!world.path("d").exists());
}

#[test]
fn an_instance_says_whether_it_waits_how_it_moved_and_what_it_belongs_to() {
    let world = World::new().file("door.yaml", DOOR).file("outer.yaml", OUTER);
    world.run(&["run", "outer.yaml", "--data", "d", "--id", ID]);
    let all = listed(&world, &[]);
    let of = |name: &str| all.iter().find(|it| it["workflow"] == name).unwrap().clone();
    let (outer, door) = (of("Outer"), of("Door"));
    assert_eq!((&outer["waiting"], &door["waiting"]), (&false.into(), &true.into()));
    assert_eq!((&outer["correlation_id"], &door["correlation_id"]), (&ID.into(), &ID.into()));
    assert_eq!(listed(&world, &["--correlation-id", ID]).len(), 2);
    let child = door["id"].as_str().unwrap();
    assert_eq!(listed(&world, &["--correlation-id", child]).len(), 0, "it belongs to its parent");
    let shown = json(&world, &["show", child, "--data", "d", "--json"]);
    assert_eq!((&shown["waiting"], &shown["correlation_id"]), (&true.into(), &ID.into()));
    let performance = &shown["performance"];
    assert_eq!(performance["transition_count"], 1);
    assert_eq!(performance["avg_transition_time_us"], 0);
    assert_eq!(performance["last_transition_at"], shown["snapshot"]["created_at"]);
    world.run(&["send", child, "open", "--data", "d"]);
    let shown = json(&world, &["show", child, "--data", "d", "--json"]);
    let since = |key: &str| shown["snapshot"][key].as_str().unwrap().to_string();
    assert_eq!(shown["performance"]["last_transition_at"], since("updated_at"));
    assert!(shown["performance"]["avg_transition_time_us"].as_i64().unwrap() > 0);
    let text = world.run(&["show", child, "--data", "d"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    for line in ["status    running, waiting, record", "moved     2 transitions, the last "] {
        assert!(text.contains(line), "{text}");
    }
    assert!(text.contains(&format!("part of   {ID}")), "{text}");
}

#[test]
fn a_log_without_jumps_of_the_clock_lists_none() {
    let world = World::new().file("door.yaml", DOOR);
    world.run(&["run", "door.yaml", "--data", "d"]);
    world.check(
        "log clock d",
        expect![[r#"
        exit 0
    "#]],
    );
}
