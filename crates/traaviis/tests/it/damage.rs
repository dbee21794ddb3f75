//! Data of which a part is lost: everything else goes on, and every command says the same of it.

use std::{
    fs,
    os::unix::fs::FileExt as _,
    path::PathBuf,
    process::Output,
    time::{Duration, Instant},
};

use expect_test::expect;
use serde_json::Value;

use crate::cli::{DOOR, PURE, Process, World, wait_for_socket};

fn world() -> World {
    World::new().file("pure.yaml", PURE).file("door.yaml", DOOR)
}

fn segment(world: &World) -> PathBuf {
    world.path("d/log").join(format!("{:020}.seg", 0))
}

fn used(world: &World) -> usize {
    let bytes = fs::read(segment(world)).unwrap();
    bytes.iter().rposition(|it| *it != 0).unwrap() + 1
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Ids of the instances, oldest first.
fn ids(world: &World) -> Vec<String> {
    let listed = json(&world.run(&["ps", "--all", "--json", "--data", "d"]));
    let listed = listed["instances"].as_array().unwrap();
    listed.iter().map(|it| it["id"].as_str().unwrap().to_string()).collect()
}

/// Spoils the frame that holds the first record whose line contains `mark`.
fn spoil(world: &World, mark: &str) {
    let lines = String::from_utf8(world.run(&["log", "cat", "d"]).stdout).unwrap();
    let position = lines.lines().position(|it| it.contains(mark)).unwrap() as u64;
    let headers = world.run(&["log", "cat", "d", "--headers", "--json"]);
    let headers = String::from_utf8(headers.stdout).unwrap();
    let frame = headers
        .lines()
        .map(|it| serde_json::from_str::<Value>(it).unwrap())
        .rfind(|it| it["first"].as_u64().unwrap() <= position)
        .unwrap();
    let file = fs::OpenOptions::new().read(true).write(true).open(segment(world)).unwrap();
    // Behind the header, in the payload.
    let at = frame["offset"].as_u64().unwrap() + 120;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x40], at).unwrap();
}

#[test]
fn one_damaged_instance_hides_no_other() {
    let world = world();
    let begun = ["run", "door.yaml", "--data", "d", "--event", "open", "--event", "close"];
    assert_eq!(world.run(&begun).status.code(), Some(1));
    assert!(world.run(&["run", "pure.yaml", "--data", "d"]).status.success());
    let ids = ids(&world);
    spoil(&world, r#""kind":"event_received","event":"open""#);
    world.check("ps --all --data d", expect![[r#"
        exit 0
        ID                                    WORKFLOW  VERSION  STATUS     STATE   AGE  SEQ
        ID  Door      1.0.0    damaged    closed  T  2
        ID  Pure      1.0.0    completed  done    T  10
        warning: instance `ID` is damaged after record 2: records 3 to 7 of its history are missing: the log has lost positions N to M, its checkpoint at position N counts on them; `traaviis doctor` names the place; keep a copy of the data directory, then restore it whole from a backup (history_broken)
    "#]]);
    let listed = world.run(&["ps", "--json", "--data", "d"]);
    assert_eq!(listed.status.code(), Some(0));
    let item = &json(&listed)["instances"][0];
    assert_eq!((&item["id"], &item["status"]), (&ids[0].clone().into(), &"damaged".into()));
    assert_eq!(item["error"]["code"], "history_broken");
    assert!(world.run(&["show", &ids[1], "--data", "d"]).status.success());
    world.check(&format!("show {} --data d", ids[0]), expect![[r#"
        exit 1
        error: instance `ID` is damaged after record 2: records 3 to 7 of its history are missing: the log has lost positions N to M, its checkpoint at position N counts on them; `traaviis doctor` names the place; keep a copy of the data directory, then restore it whole from a backup (history_broken)
    "#]]);
}

#[test]
fn a_history_with_a_hole_is_listed_without_a_checkpoint_too() {
    let world = world();
    let begun = ["run", "door.yaml", "--data", "d", "--event", "open", "--event", "close"];
    assert_eq!(world.run(&begun).status.code(), Some(1));
    assert!(world.run(&["run", "pure.yaml", "--data", "d"]).status.success());
    spoil(&world, r#""kind":"event_received","event":"open""#);
    for entry in fs::read_dir(world.path("d/log")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|it| it == "checkpoint") {
            fs::remove_file(path).unwrap();
        }
    }
    world.check("ps --all --data d", expect![[r#"
        exit 0
        ID                                    WORKFLOW  VERSION  STATUS     STATE   AGE  SEQ
        ID  Door      1.0.0    damaged    closed  T  2
        ID  Pure      1.0.0    completed  done    T  10
        warning: instance `ID` is damaged after record 2: record `6` follows `2` in instance `ID`; the history is not dense; `traaviis doctor` names the place; keep a copy of the data directory, then restore it whole from a backup (history_broken)
    "#]]);
    world.check(&format!("show {} --data d", ids(&world)[0]), expect![[r#"
        exit 1
        error: instance `ID` is damaged after record 2: record `6` follows `2` in instance `ID`; the history is not dense; `traaviis doctor` names the place; keep a copy of the data directory, then restore it whole from a backup (history_broken)
    "#]]);
}

/// A run that took two events, in a directory whose log was then replaced by an older copy.
fn behind(is_truncated: bool) -> World {
    let world = world();
    assert_eq!(world.run(&["run", "door.yaml", "--data", "d"]).status.code(), Some(1));
    let (id, held) = (ids(&world).remove(0), used(&world));
    for event in ["open", "close"] {
        assert!(world.run(&["send", &id, event, "--data", "d"]).status.success());
    }
    let file = fs::OpenOptions::new().write(true).open(segment(&world)).unwrap();
    match is_truncated {
        true => file.set_len(held as u64).unwrap(),
        false => file.write_all_at(&vec![0; used(&world) - held], held as u64).unwrap(),
    }
    world
}

/// What each command says of an instance, and what doctor says of its log.
fn told_of(world: &World, id: &str) -> String {
    let mut told = String::new();
    for line in [
        "ps --data d",
        &format!("show {id} --data d"),
        "run door.yaml --data d",
        &format!("send {id} open --data d"),
        &format!("cancel {id} --data d"),
    ] {
        let arguments: Vec<&str> = line.split(' ').collect();
        let shown = world.shown(&world.run(&arguments));
        // Whether the index was ahead of the log depends on how far it got before.
        let shown = shown.split_inclusive('\n').filter(|it| !it.starts_with("note: the index was"));
        told += &format!("# {}\n{}", arguments[0], shown.collect::<String>());
    }
    let doctor = world.run(&["doctor", "--data", "d", "--json"]);
    let checks = json(&doctor);
    let log = checks["checks"].as_array().unwrap().iter().find(|it| it["check"] == "log").unwrap();
    let text = |key: &str| log[key].as_str().unwrap();
    let code = doctor.status.code().unwrap();
    let found = world.redacted(text("found"));
    told + &format!("# doctor\nexit {code}\n{}: {found}\n{}\n", text("verdict"), text("next"))
}

#[test]
fn every_command_says_the_same_of_a_log_that_ends_before_its_checkpoint() {
    let begun = Instant::now();
    let mut told = Vec::new();
    for is_truncated in [false, true] {
        let world = behind(is_truncated);
        let id = ids(&world).remove(0);
        // The second time meets what the first one left, which opened and closed the directory.
        told.extend([told_of(&world, &id), told_of(&world, &id)]);
    }
    assert!(begun.elapsed() < Duration::from_secs(120), "something waited for what never comes");
    expect![[r#"
        # ps
        exit 0
        ID                                    WORKFLOW  VERSION  STATUS   STATE   AGE  SEQ
        ID  Door      1.0.0    damaged  closed  T  2
        warning: instance `ID` is damaged after record 2: records 3 to 7 of its history are missing: the log has lost positions N to M, its checkpoint at position N counts on them; `traaviis doctor` names the place; keep a copy of the data directory, then restore it whole from a backup (history_broken)
        # show
        exit 1
        error: instance `ID` is damaged after record 2: records 3 to 7 of its history are missing: the log has lost positions N to M, its checkpoint at position N counts on them; `traaviis doctor` names the place; keep a copy of the data directory, then restore it whole from a backup (history_broken)
        # run
        exit 1
        warning: the log is damaged and was left as it is: segment 0 offset N: the log ends before its checkpoint; the records at positions N to M are lost; copy the directory, then run `traaviis doctor` (data_directory_damaged)
        warning: instance ID cannot go on from record 2: records 3 to 7 of its history are missing: the log has lost positions N to M, its checkpoint at position N counts on them
        error: instance `ID` is damaged after record 2: records 3 to 7 of its history are missing: the log has lost positions N to M, its checkpoint at position N counts on them; `traaviis doctor` names the place; keep a copy of the data directory, then restore it whole from a backup (history_broken)
        # send
        exit 1
        warning: the log is damaged and was left as it is: segment 0 offset N: the log ends before its checkpoint; the records at positions N to M are lost; copy the directory, then run `traaviis doctor` (data_directory_damaged)
        warning: instance ID cannot go on from record 2: records 3 to 7 of its history are missing: the log has lost positions N to M, its checkpoint at position N counts on them
        error: instance `ID` is damaged after record 2: records 3 to 7 of its history are missing: the log has lost positions N to M, its checkpoint at position N counts on them; `traaviis doctor` names the place; keep a copy of the data directory, then restore it whole from a backup (history_broken)
        # cancel
        exit 1
        warning: the log is damaged and was left as it is: segment 0 offset N: the log ends before its checkpoint; the records at positions N to M are lost; copy the directory, then run `traaviis doctor` (data_directory_damaged)
        warning: instance ID cannot go on from record 2: records 3 to 7 of its history are missing: the log has lost positions N to M, its checkpoint at position N counts on them
        error: instance `ID` is damaged after record 2: records 3 to 7 of its history are missing: the log has lost positions N to M, its checkpoint at position N counts on them; `traaviis doctor` names the place; keep a copy of the data directory, then restore it whole from a backup (history_broken)
        # doctor
        exit 1
        fail: the log ends at position N, before its checkpoint at N; the records at positions N to M are missing
        keep a copy of the directory, then restore it whole from a backup; `traaviis ps --all` lists the instances that are damaged
    "#]].assert_eq(&told[0]);
    assert!(told.iter().all(|it| *it == told[0]), "{told:#?}");
}

#[test]
fn a_running_process_and_a_new_run_go_on_beside_lost_records() {
    let world = behind(false);
    let lost = ids(&world).remove(0);
    let run = Process(
        world
            .command(&["run", "door.yaml", "--data", "d", "--new", "--wait"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap(),
    );
    wait_for_socket(&world.path("d"));
    crate::cli::wait_until("the run has begun", || ids(&world).len() == 2);
    let new = ids(&world).remove(1);
    assert!(world.run(&["send", &new, "open", "--data", "d"]).status.success());
    let shown = json(&world.run(&["ps", "--data", "d", "--json"]));
    let statuses: Vec<&Value> =
        shown["instances"].as_array().unwrap().iter().map(|it| &it["status"]).collect();
    assert_eq!(statuses, ["damaged", "running"]);
    for line in ["show", "cancel"] {
        let output = world.run(&[line, &lost, "--data", "d"]);
        assert_eq!(output.status.code(), Some(1), "{line}");
        assert!(world.shown(&output).contains("history_broken"), "{}", world.shown(&output));
    }
    drop(run);
    // Killed before it could close: the records it wrote do not hide those that are missing.
    let shown = json(&world.run(&["ps", "--data", "d", "--json"]));
    let statuses: Vec<&Value> =
        shown["instances"].as_array().unwrap().iter().map(|it| &it["status"]).collect();
    assert_eq!(statuses, ["damaged", "running"]);
    let output = world.run(&["cancel", &lost, "--data", "d"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(world.run(&["cancel", &new, "--data", "d"]).status.success());
}

#[test]
fn a_run_whose_records_are_all_lost_is_not_begun_twice() {
    let world = behind(true);
    let file = fs::OpenOptions::new().write(true).open(segment(&world)).unwrap();
    file.set_len(0).unwrap();
    world.check("run door.yaml --data d", expect![[r#"
        exit 1
        warning: the log is damaged and was left as it is: segment 0 offset N: the log ends before its checkpoint; the records at positions N to M are lost; copy the directory, then run `traaviis doctor` (data_directory_damaged)
        warning: instance ID cannot go on from record 0: records 1 to 7 of its history are missing: the log has lost positions N to M, its checkpoint at position N counts on them
        error: instance `ID` is damaged after record 0: records 1 to 7 of its history are missing: the log has lost positions N to M, its checkpoint at position N counts on them; `traaviis doctor` names the place; keep a copy of the data directory, then restore it whole from a backup; whether it is this run cannot be told; `--new` begins a new one (history_broken)
    "#]]);
    world.check("ps --data d", expect![[r#"
        exit 0
        ID                                    WORKFLOW  VERSION  STATUS   STATE  AGE  SEQ
        ID                     damaged              0
        warning: instance `ID` is damaged after record 0: records 1 to 7 of its history are missing: the log has lost positions N to M, its checkpoint at position N counts on them; `traaviis doctor` names the place; keep a copy of the data directory, then restore it whole from a backup (history_broken)
    "#]]);
}
