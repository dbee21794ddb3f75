//! Directories that are kept as JSON: what any tool reads in them, and that they say what others
//! say.

use std::{
    fs,
    path::{Path, PathBuf},
};

use expect_test::expect;
use serde_json::Value;

use crate::cli::{DOOR, PURE, Process, World, wait_for_socket, wait_until};

/// Runs that ended and that wait, in a directory that is kept so.
fn world(storage: &str) -> World {
    let world = World::new().file("pure.yaml", PURE).file("door.yaml", DOOR);
    let pure = world.run(&["run", "pure.yaml", "--data", "d", "--storage", storage]);
    assert!(pure.status.success(), "{}", world.shown(&pure));
    // The mode is remembered.
    let door = world.run(&["run", "door.yaml", "--data", "d"]);
    assert_eq!(door.status.code(), Some(1), "{}", world.shown(&door));
    world
}

/// Returns the segments of the log, in order.
fn segments(world: &World) -> Vec<PathBuf> {
    let entries = fs::read_dir(world.path("d/log")).unwrap().map(|it| it.unwrap().path());
    let mut found: Vec<PathBuf> =
        entries.filter(|it| it.extension().is_some_and(|it| it == "seg")).collect();
    found.sort();
    found
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|it| serde_json::from_str(it).unwrap()).collect()
}

fn json(world: &World, line: &str) -> Value {
    let args: Vec<&str> = line.split(' ').chain(["--json"]).collect();
    let output = world.run(&args);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", world.shown(&output)))
}

/// Returns what is listed, without what time changes.
fn listed(world: &World) -> Value {
    let mut listed = json(world, "ps --all --data d");
    for row in listed["instances"].as_array_mut().unwrap() {
        row.as_object_mut().unwrap().remove("age_ms");
    }
    listed["instances"].take()
}

fn door(world: &World) -> String {
    let listed = listed(world);
    let row = listed.as_array().unwrap().iter().find(|it| it["workflow"] == "Door").unwrap();
    row["id"].as_str().unwrap().to_string()
}

/// Returns what storage `doctor` finds.
fn storage(world: &World) -> String {
    let checks = json(world, "doctor --data d");
    let checks = checks["checks"].as_array().unwrap();
    let check = checks.iter().find(|it| it["check"] == "storage").unwrap();
    check["found"].as_str().unwrap().to_string()
}

/// Returns the document of an instance.
fn document(world: &World, id: &str) -> PathBuf {
    let mut dirs = vec![world.path("d/tree")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => dirs.push(path),
                false if path.ends_with(format!("{id}.json")) => return path,
                false => {}
            }
        }
    }
    panic!("no document of {id}");
}

#[test]
fn the_log_and_the_states_are_read_with_any_tool() {
    let world = world("json-only");
    let log: Vec<Value> = segments(&world).iter().flat_map(|it| lines(it)).collect();
    let (headers, records): (Vec<Value>, Vec<Value>) =
        log.into_iter().partition(|it| it.get("traaviis_frame").is_some());
    assert!(headers.len() > 2, "{headers:?}");
    let printed = world.run(&["log", "cat", "d"]).stdout;
    let printed: Vec<Value> = String::from_utf8(printed)
        .unwrap()
        .lines()
        .map(|it| serde_json::from_str(it).unwrap())
        .collect();
    let bare = records.into_iter().map(|mut it| {
        it.as_object_mut().unwrap().remove("crc32c").unwrap();
        it
    });
    assert_eq!(bare.collect::<Vec<_>>(), printed);

    let id = door(&world);
    let shown: Value = serde_json::from_slice(&fs::read(document(&world, &id)).unwrap()).unwrap();
    assert_eq!(shown["body"], json(&world, &format!("show {id} --data d"))["snapshot"]);
    assert!(!world.path("d/index").exists() && !world.path("d/snapshots").exists());
    assert_eq!(storage(&world), "json-only; 0 packed and 1 text segments");
    assert!(world.run(&["view", "verify", "d"]).status.success());
    let headers = String::from_utf8(world.run(&["log", "cat", "d", "--headers"]).stdout).unwrap();
    assert!(headers.lines().all(|it| it.ends_with(" text")), "{headers}");
    // What is made again is the tree, and no index is made beside it.
    let rebuilt = json(&world, "rebuild --data d");
    assert_eq!((&rebuilt["storage"], &rebuilt["instances"]), (&"json_only".into(), &Value::Null));
    assert!(rebuilt["tree"]["documents"].as_u64().unwrap() > 0, "{rebuilt}");
    assert!(!world.path("d/index").exists());
}

#[test]
fn a_directory_changes_how_it_is_kept_and_back() {
    let world = world("embedded");
    let id = door(&world);
    let (mut log, mut event) = (Vec::new(), ["open", "close"].into_iter().cycle());
    for (storage, found) in [
        ("embedded", "embedded; 1 packed and 0 text segments"),
        ("json-only", "json-only; 1 packed and 1 text segments"),
        ("embedded", "embedded; 2 packed and 1 text segments"),
        ("json-only", "json-only; 2 packed and 2 text segments"),
    ] {
        let before =
            (listed(&world), json(&world, &format!("show {id} --data d"))["snapshot"].take());
        // The run is found again, so nothing is written before the event.
        let args = ["run", "door.yaml", "--data", "d", "--storage", storage];
        assert_eq!(world.run(&args).status.code(), Some(1));
        let after =
            (listed(&world), json(&world, &format!("show {id} --data d"))["snapshot"].take());
        assert_eq!(before, after, "{storage}");
        // A command without a process keeps what the directory has.
        let sent = world.run(&["send", &id, event.next().unwrap(), "--data", "d"]);
        assert!(sent.status.success(), "{}", world.shown(&sent));
        assert_eq!(self::storage(&world), found);
        let replayed = json(&world, &format!("replay {id} --data d"));
        assert_eq!(replayed["identical"], true, "{replayed}");
        let shown = json(&world, &format!("show {id} --data d"));
        assert_eq!(shown["snapshot"], replayed["snapshot"]);
        let now = world.run(&["log", "cat", "d"]).stdout;
        assert!(now.len() > log.len() && now.starts_with(&log), "what was there stays");
        log = now;
    }
    assert!(world.run(&["view", "verify", "d"]).status.success());
}

#[test]
fn what_is_answered_is_shown_and_what_was_changed_by_hand_is_made_again() {
    let world = world("json-only");
    let id = door(&world);
    let process = world.command(&["run", "door.yaml", "--data", "d", "--wait"]).spawn().unwrap();
    let _process = Process(process);
    wait_for_socket(&world.path("d"));
    wait_until("it answers", || world.run(&["ps", "--data", "d"]).status.success());
    for event in ["open", "close", "open"] {
        let sent = json(&world, &format!("send {id} {event} --data d"));
        assert_eq!(sent["live"], true, "{sent}");
        let text = fs::read(document(&world, &id)).unwrap();
        let shown: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(shown["seq"], sent["seq"], "{sent}");
    }
    let (path, real) = (document(&world, &id), json(&world, &format!("show {id} --data d")));
    let whole = fs::read_to_string(&path).unwrap();
    fs::write(&path, whole.replace("opened", "closed")).unwrap();
    let shown = json(&world, &format!("show {id} --data d"));
    assert_eq!(shown["snapshot"], real["snapshot"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), whole);
    let aside = path.with_file_name(format!("{id}.json.damaged-1"));
    assert!(fs::read_to_string(aside).unwrap().contains("closed"));
}

#[test]
fn without_a_tree_nothing_begins() {
    let world = World::new().file("pure.yaml", PURE);
    fs::create_dir(world.path("d")).unwrap();
    fs::write(world.path("d/tree"), "in the way").unwrap();
    let args = ["run", "pure.yaml", "--data", "d", "--storage", "json-only", "--json"];
    let refused = world.run(&args);
    assert_eq!(refused.status.code(), Some(1), "{}", world.shown(&refused));
    assert!(world.shown(&refused).contains("tree_failed"), "{}", world.shown(&refused));
    fs::remove_file(world.path("d/tree")).unwrap();
    assert!(world.run(&args).status.success());
}

#[test]
fn a_mode_that_is_none_is_refused() {
    let world = World::new().file("pure.yaml", PURE);
    world.check("run pure.yaml --data d --storage json-only --tree lazy", expect![[r#"
        exit 2
        error: json-only storage writes the document tree with every step; leave `--tree` out, or keep the directory with `--storage embedded` (usage)
    "#]]);
    let mut command = world.command(&["run", "pure.yaml", "--data", "d"]);
    let refused = command.env("TRAAVIIS_STORAGE", "csv").output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(world.shown(&refused).contains("write `embedded` or `json-only`"));
}
