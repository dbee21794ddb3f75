//! Instances found by tags, counted, asked, and sent events by callers who wait.

use expect_test::expect;
use serde_json::{Value as Json, json};

use crate::cli::{DOOR, Process, World, wait_for_socket, wait_until};

const PARCEL: &str = r#"
traaviis: "1"
name: Parcel
version: 1.0.0
tags: [shop]
labels: {team: sales}
input: {schema: {type: object, properties: {weight: {type: integer, default: 1}}}}
data: {initial: {weight: "${input.weight}"}}
events: {pack: {}, send: {}}
initial: open
states:
  open: {on: {pack: packed}}
  packed:
    after: {50ms: ready}
  ready: {on: {send: sent}}
  sent: {type: final, output: "${data.weight}"}
"#;

fn parcels(count: usize) -> World {
    let world = World::new().file("parcel.yaml", PARCEL);
    for weight in 1..=count {
        let input = format!(r#"{{"weight": {weight}}}"#);
        let tag = format!("w{weight}");
        let words = ["run", "parcel.yaml", "--input", &input, "--tag", &tag, "--data", "d"];
        let run = world.run(&words);
        assert_eq!(run.status.code(), Some(1), "{}", world.shown(&run));
    }
    world
}

fn asked(world: &World, line: &str) -> Json {
    let words: Vec<&str> = line.split(' ').chain(["--data", "d", "--json"]).collect();
    let output = world.run(&words);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", world.shown(&output)))
}

/// Returns the id of the instance with a tag.
fn id_of(world: &World, tag: &str) -> String {
    let listed = asked(world, &format!("ps --tag {tag}"));
    listed["instances"][0]["id"].as_str().expect("one has the tag").to_string()
}

#[test]
fn instances_are_found_by_tags_that_change() {
    let world = parcels(2);
    let id = id_of(&world, "w2");
    world.check(
        "ps --tag shop --tag w2 --data d",
        expect![[r#"
        exit 0
        ID                                    WORKFLOW  VERSION  STATUS   STATE  AGE  SEQ  TAGS
        ID  Parcel    1.0.0    running  open   T  2    shop,w2
    "#]],
    );
    world.check(
        &format!("tag {id} +urgent -w2 -absent --data d"),
        expect![[r#"
        exit 0
        tags changed: ID is running in `open` at record 3
        no process runs `d`; it goes on with the next `traaviis run FILE --data d`
    "#]],
    );
    world.check(
        "ps --tag w2 --data d",
        expect![[r#"
        exit 0
        no instances in `d`; `--all` shows finished ones
    "#]],
    );
    world.check(
        &format!("tag {id} urgent --data d"),
        expect![[r#"
        exit 2
        error: write `+urgent` to add the tag, `-urgent` to take it away (usage)
    "#]],
    );
    world.check(
        &format!("tag {id} --data d"),
        expect![[r#"
        exit 2
        error: name a tag: `+TAG` adds it, `-TAG` takes it away (usage)
    "#]],
    );
    let twenty: Vec<String> = (0..20).map(|it| format!("+{it}")).collect();
    world.check(
        &format!("tag {id} {} --data d", twenty.join(" ")),
        expect![[r#"
        exit 1
        error: the instance would have 22 tags; at most 20 are allowed (tag_limit)
    "#]],
    );
    world.check(
        &format!("show {id} --data d"),
        expect![[r#"
            exit 0
            instance  ID
            workflow  Parcel 1.0.0
            by        user:local
            tags      shop, urgent
            label     team=sales
            status    running, waiting, record 3, created T ago
            moved     1 transition, T ago
            state     open
            data      {"weight":2}
            last 3 records
            T  ● Parcel 1.0.0
            T  → open
            T  ✎ tags +urgent -w2
        "#]],
    );
    assert_eq!(world.run(&["replay", &id, "--data", "d"]).status.code(), Some(0));
    world.check(
        "bulk tag +all -shop --tag shop --data d",
        expect![[r#"
        exit 0
        tag: 2 of 2 done, 0 refused, 0 left (job ID)
    "#]],
    );
    world.check(
        "ps --tag all --count --data d",
        expect![[r#"
        exit 0
        WORKFLOW  STATUS   STATE  COUNT
        Parcel    running  open   2
        all                       2
    "#]],
    );
    world.check(
        "bulk pause --older-than 1h --data d",
        expect![[r#"
        exit 0
        pause is about 0 instances
    "#]],
    );
    world.check(
        "bulk pause --older-than 0s --of-version 2.0.0 --data d",
        expect![[r#"
        exit 0
        pause is about 0 instances
    "#]],
    );
    world.check(
        "run parcel.yaml --input {} --label =x --data d",
        expect![[r#"
        exit 2
        error: invalid value '=x' for '--label <NAME=VALUE>': write NAME=VALUE

        For more information, try '--help'.
    "#]],
    );
    let health = asked(&world, "ps --health");
    assert_eq!((&health["status"], &health["count"]), (&json!("ok"), &json!(2)));
    assert_eq!((&health["live"], &health["memory_bytes"]), (&json!(false), &Json::Null));
}

#[test]
fn a_caller_waits_for_what_follows() {
    let world = parcels(2);
    let id = id_of(&world, "w1");
    world.check(
        &format!("send {id} pack --wait state:nowhere --data d"),
        expect![[r#"
        exit 1
        error: workflow `Parcel` has no state `nowhere` (validation_failed)
    "#]],
    );
    world.check(&format!("send {id} pack --wait soon --data d"), expect![[r#"
        exit 2
        error: invalid value 'soon' for '--wait <step|state:PATH|final>': write `step`, `state:PATH` or `final`

        For more information, try '--help'.
    "#]]);
    world.check(
        &format!("send {id} pack --wait step --timeout 1h --data d"),
        expect![[r#"
        exit 2
        error: `--timeout` is at most 10m (usage)
    "#]],
    );
    world.check(
        &format!("send {id} pack --if-seq 1 --data d"),
        expect![[r#"
        exit 1
        error: instance `ID` is at record 2, not 1; look at it again and decide again (seq_mismatch)
    "#]],
    );
    let pack = format!("send {id} pack --if-seq 2 --event-id p1 --wait state:ready --data d");
    world.check(
        &pack,
        expect![[r#"
        exit 0
        event `pack` taken: ID is running in `ready` at record 7
        no process runs `d`; it goes on with the next `traaviis run FILE --data d`
    "#]],
    );
    // Sent again it is known, wherever the instance is now.
    world.check(
        &pack,
        expect![[r#"
        exit 0
        event `pack` taken before, and not again: ID is running in `ready` at record 7
        no process runs `d`; it goes on with the next `traaviis run FILE --data d`
    "#]],
    );
    world.check(
        &format!("send {id} send --wait state:open --data d"),
        expect![[r#"
        exit 1
        event `send` taken: ID is completed in `sent` at record 10
        it ended without being in state `open` between two steps
    "#]],
    );
    let other = id_of(&world, "w2");
    let late = format!("send {other} pack --wait final --timeout 1s --data d");
    world.check(
        &late,
        expect![[r#"
        exit 1
        event `pack` taken: ID is running in `ready` at record 7
        the wait for the end ran out; the event is taken all the same
        no process runs `d`; it goes on with the next `traaviis run FILE --data d`
    "#]],
    );
    world.check(
        &format!("send {id} send --wait final --data d"),
        expect![[r#"
        exit 1
        error: instance `ID` has ended as completed; it takes nothing more (invalid_state)
    "#]],
    );
}

#[test]
fn an_instance_is_asked() {
    let world = parcels(1);
    let ask = |select: &str| world.shown(&world.run(&["query", "0", select, "--data", "d"]));
    expect![[r#"
        exit 0
        {"at":["open"],"heavy":false,"is":"running"}
    "#]]
    .assert_eq(&ask("{'heavy': data.weight > 3, 'at': configuration, 'is': status}"));
    expect![[r#"
        exit 0
        0
    "#]]
    .assert_eq(&ask("size(pending.timers) + size(pending.tasks)"));
    expect![[r#"
        exit 1
        error: no such key `price` in `data` (expression_error)
    "#]]
    .assert_eq(&ask("data.price"));
    expect![[r#"
        exit 1
        error: variable `input` is not available here; available are `data`, `status`, `configuration`, `pending` (expression_error)
    "#]].assert_eq(&ask("input.weight"));
    expect![[r#"
        exit 1
        error: expected a field name but found the end (expression_error)
    "#]]
    .assert_eq(&ask("data."));
    let long = format!("'{}'", "x".repeat(5_000));
    assert!(ask(&long).starts_with("exit 1\nerror: "), "{}", ask(&long));
    assert_eq!(asked(&world, "query 0 data.weight")["value"], json!(1));
}

#[test]
fn one_event_reaches_all_who_fit() {
    let world = parcels(3);
    world.check(
        "broadcast pack --data d",
        expect![[r#"
        exit 2
        error: name the instances by `--workflow`, `--tag` or `--state`, or all with `--all` (usage)
    "#]],
    );
    world.check(
        "broadcast pack --tag w1 --key k --data d",
        expect![[r#"
        exit 0
        event `pack`: 1 took it, 0 refused
    "#]],
    );
    world.check(
        "broadcast pack --state open --key k --data d",
        expect![[r#"
        exit 0
        event `pack`: 2 took it, 0 refused
    "#]],
    );
    world.check("broadcast fly --workflow parcel --data d", expect![[r#"
        exit 1
        event `fly`: 0 took it, 3 refused
          3 refused, such as ID: event `fly` is not declared in workflow `Parcel`; declared are: pack, send (unknown_event)
    "#]]);
    world.check(
        "broadcast pack --tag absent --data d",
        expect![[r#"
        exit 0
        event `pack`: 0 took it, 0 refused
    "#]],
    );
}

#[test]
fn the_running_process_answers_the_same() {
    let world = World::new().file("door.yaml", DOOR);
    let words = ["run", "door.yaml", "--tag", "front", "--data", "d", "--wait"];
    let mut run = Process(world.command(&words).spawn().unwrap());
    wait_for_socket(&world.path("d"));
    wait_until("the run has begun", || {
        asked(&world, "ps --tag front")["instances"].as_array().is_some_and(|it| it.len() == 1)
    });
    let health = asked(&world, "ps --health");
    assert_eq!((&health["live"], &health["count"]), (&json!(true), &json!(1)));
    assert!(health["memory_bytes"].as_u64().is_some_and(|it| it > 1 << 20), "{health}");
    world.check(
        "send 0 open --wait state:opened --data d",
        expect![[r#"
        exit 0
        event `open` taken: ID is running in `opened` at record 5
    "#]],
    );
    world.check(
        "query 0 data.opened --data d",
        expect![[r#"
        exit 0
        1
    "#]],
    );
    world.check(
        "send 0 close --wait final --timeout 50ms --data d",
        expect![[r#"
        exit 1
        event `close` taken: ID is running in `closed` at record 7
        the wait for the end ran out; the event is taken all the same
    "#]],
    );
    world.check(
        "broadcast open --tag front --data d",
        expect![[r#"
        exit 0
        event `open`: 1 took it, 0 refused
    "#]],
    );
    world.check(
        "tag 0 +back -front --data d",
        expect![[r#"
        exit 0
        tags changed: ID is running in `opened` at record 11
    "#]],
    );
    world.check(
        "ps --count --tag back --data d",
        expect![[r#"
        exit 0
        WORKFLOW  STATUS   STATE   COUNT
        Door      running  opened  1
        all                        1
    "#]],
    );
    world.run(&["cancel", "0", "--terminate", "--data", "d"]);
    assert_eq!(run.0.wait().unwrap().code(), Some(1));
}
