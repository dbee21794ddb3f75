//! One operation on many instances.

use std::process::Stdio;

use expect_test::expect;

use crate::cli::{Process, World, wait_for_socket, wait_until};

const DOOR: &str = crate::cli::DOOR;

fn doors(count: usize) -> World {
    let world = World::new().file("door.yaml", DOOR);
    for at in 0..count {
        let input = format!(r#"{{"at": {at}}}"#);
        let run = world.run(&["run", "door.yaml", "--input", &input, "--data", "d"]);
        assert_eq!(run.status.code(), Some(1), "{}", world.shown(&run));
    }
    world
}

#[test]
fn a_job_is_planned_stopped_and_gone_on_with() {
    let world = doors(3);
    world.check("bulk pause --data d", expect![[r#"
        exit 2
        error: name the instances by `--workflow`, `--of-version`, `--status`, `--state`, `--tag`, `--older-than`, `--incident` or `--error`, or all with `--all` (usage)
    "#]]);
    world.check("bulk pause --status dancing --data d", expect![[r#"
        exit 2
        error: `dancing` is no status; write `running`, `paused`, `incident`, `completing` or `failed` (usage)
    "#]]);
    world.check(
        "bulk send open --workflow door --dry-run --data d",
        expect![[r#"
        exit 0
        send is about 3 instances
          3 Door 1.0.0 running in `closed`
    "#]],
    );
    world.check("bulk send lock --workflow door --max-failures 2 --data d", expect![[r#"
        exit 1
        send: 0 of 3 done, 2 refused, 1 left (job ID)
          2 refused, such as ID: the payload of `lock` does not fit its schema: /: "by" is a required property (event_payload_invalid)
        go on with: traaviis bulk continue ID --data d
    "#]]);
    let jobs: Vec<_> = std::fs::read_dir(world.path("d/jobs")).unwrap().collect();
    let job = jobs[0].as_ref().unwrap().path();
    let job = job.file_stem().unwrap().to_str().unwrap();
    world.check(&format!("bulk continue {job} --data d"), expect![[r#"
        exit 1
        send: 0 of 3 done, 3 refused, 0 left (job ID)
          3 refused, such as ID: the payload of `lock` does not fit its schema: /: "by" is a required property (event_payload_invalid)
    "#]]);
    world.check(
        "bulk continue absent --data d",
        expect![[r#"
        exit 1
        error: no job `absent` in `d/jobs`: No such file or directory (os error 2) (not_found)
    "#]],
    );
    world.check(
        "bulk send open --all --data d",
        expect![[r#"
        exit 0
        send: 3 of 3 done, 0 refused, 0 left (job ID)
    "#]],
    );
    world.check(
        "bulk cancel --state opened --dry-run --data d",
        expect![[r#"
        exit 0
        cancel is about 3 instances
          3 Door 1.0.0 running in `opened`
    "#]],
    );
    world.check(
        "bulk pause --state closed --data d",
        expect![[r#"
        exit 0
        pause is about 0 instances
    "#]],
    );
    world.check(
        "bulk retry --all --data d",
        expect![[r#"
        exit 0
        retry is about 0 instances
    "#]],
    );
    world.check(
        "bulk cancel --all --rate 1000 --data d",
        expect![[r#"
        exit 0
        cancel: 3 of 3 done, 0 refused, 0 left (job ID)
    "#]],
    );
}

#[test]
fn histories_are_exported_and_decided_again_elsewhere() {
    let world = doors(2);
    world.check(
        "export --workflow Door --out e.jsonl --data d",
        expect![[r#"
        exit 0
        4 records of 2 instances in `e.jsonl`
    "#]],
    );
    world.check(
        "export --all --out e.jsonl --data d",
        expect![[r#"
        exit 1
        error: `e.jsonl` exists; name another file (file_exists)
    "#]],
    );
    world.check(
        "replay e.jsonl",
        expect![[r#"
        exit 0
        instance  ID
        record    2
        status    running
        state     closed
        data      {"opened":0}
        2 records, 1 steps: byte-identical
        instance  ID
        record    2
        status    running
        state     closed
        data      {"opened":0}
        2 records, 1 steps: byte-identical
    "#]],
    );
    let events = world.run(&["export", "--all", "--format", "cloudevents", "--data", "d"]);
    let text = String::from_utf8(events.stdout).unwrap();
    let first: serde_json::Value = serde_json::from_str(text.lines().nth(1).unwrap()).unwrap();
    assert_eq!(first["type"], "traaviis.created");
    assert_eq!(first["data"]["kind"], "created");
}

const ORDER: &str = r#"
traaviis: "1"
name: Order
version: 1.0.0
initial: new
events: {pay: {}}
states:
  new: {on: {pay: paid}}
  paid: {type: final}
"#;

#[test]
fn a_version_whose_first_instances_fail_is_held() {
    let broken = ORDER.replace("1.0.0", "2.0.0").replace("final}", "final, status: failed}");
    let world = World::new().file("one.yaml", ORDER).file("two.yaml", &broken);
    for at in 0..2 {
        world.run(&["run", "one.yaml", "--input", &format!(r#"{{"at": {at}}}"#), "--data", "d"]);
    }
    // The oldest go first; who serves the directory is not among them.
    world.run(&["run", "one.yaml", "--data", "d"]);
    let mut serving = world.command(&["run", "one.yaml", "--data", "d", "--wait"]);
    let _process = Process(serving.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    wait_for_socket(&world.path("d"));
    std::thread::scope(|scope| {
        // The one that went first takes the event on which the new version fails.
        scope.spawn(|| {
            let mut first = None;
            wait_until("one is upgraded", || {
                let listed = world.run(&["ps", "--data", "d", "--json"]);
                let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
                let all = listed["instances"].as_array().unwrap();
                first = all.iter().find(|it| it["version"] == "2.0.0").map(|it| it["id"].clone());
                first.is_some()
            });
            let first = first.unwrap();
            world.run(&["send", first.as_str().unwrap(), "pay", "--data", "d"]);
        });
        world.check(
            "bulk upgrade two.yaml --workflow order --canary 20 --hold 5m --data d",
            expect![[r#"
                exit 1
                upgrade: 1 of 3 done, 0 refused, 2 left (job ID)
                held: 1 of 1 that went first have failed or have an incident, 0 of 2 others; take one back with `traaviis upgrade --rollback ID --data d`, or go on all the same with: traaviis bulk continue ID --anyway --data d
            "#]],
        );
    });
    let jobs: Vec<_> = std::fs::read_dir(world.path("d/jobs")).unwrap().collect();
    let job = jobs[0].as_ref().unwrap().path();
    let job = job.file_stem().unwrap().to_str().unwrap();
    world.check(&format!("bulk continue {job} --data d"), expect![[r#"
        exit 1
        upgrade: 1 of 3 done, 0 refused, 2 left (job ID)
        held: 1 of 1 that went first have failed or have an incident, 0 of 2 others; take one back with `traaviis upgrade --rollback ID --data d`, or go on all the same with: traaviis bulk continue ID --anyway --data d
    "#]]);
    world.check(
        &format!("bulk continue {job} --anyway --data d"),
        expect![[r#"
        exit 0
        upgrade: 3 of 3 done, 0 refused, 0 left (job ID)
    "#]],
    );
}

#[test]
fn a_version_that_does_no_worse_is_for_all() {
    let next = ORDER.replace("1.0.0", "2.0.0");
    let world = World::new().file("one.yaml", ORDER).file("two.yaml", &next);
    for at in 0..3 {
        world.run(&["run", "one.yaml", "--input", &format!(r#"{{"at": {at}}}"#), "--data", "d"]);
    }
    world.check(
        "bulk upgrade two.yaml --all --canary 20 --hold 1s --data d",
        expect![[r#"
        exit 0
        upgrade: 3 of 3 done, 0 refused, 0 left (job ID)
    "#]],
    );
    world.check(
        "bulk upgrade two.yaml --all --canary 0 --data d",
        expect![[r#"
            exit 2
            error: invalid value '0' for '--canary <PERCENT>': 0 is not in 1..=50

            For more information, try '--help'.
        "#]],
    );
}
