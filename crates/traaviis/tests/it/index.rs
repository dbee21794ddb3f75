//! The index: lists by it, and what becomes of it when it is lost or damaged.

use std::{fs, process::Output};

use expect_test::expect;
use serde_json::Value;

use crate::cli::{DOOR, PURE, Process, World, wait_for_socket};

/// Two finished instances and one that waits, in this order.
fn world() -> World {
    begun(World::new())
}

fn begun(world: World) -> World {
    let world = world.file("pure.yaml", PURE).file("door.yaml", DOOR);
    for to in ["1", "2"] {
        let input = format!(r#"{{"to":{to}}}"#);
        let begun = world.run(&["run", "pure.yaml", "--data", "d", "--input", &input]);
        assert!(begun.status.success(), "{}", world.shown(&begun));
    }
    assert_eq!(world.run(&["run", "door.yaml", "--data", "d"]).status.code(), Some(1));
    world
}

/// What `ps` lists, without what changes by itself.
pub fn listed(world: &World, more: &[&str]) -> Vec<Value> {
    let output = world.run(&[&["ps", "--json", "--data", "d"], more].concat());
    rows_of(&output).unwrap_or_else(|| panic!("{}", world.shown(&output)))
}

/// Returns what an answer of `ps` lists; none when nobody answered.
pub fn rows_of(output: &Output) -> Option<Vec<Value>> {
    let mut answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let items = answer["instances"].as_array_mut().filter(|_| output.status.success())?;
    items.iter_mut().for_each(|it| it["age_ms"] = Value::Null);
    Some(std::mem::take(items))
}

fn states(world: &World, more: &[&str]) -> Vec<String> {
    let shown = |it: &Value| format!("{} {}", it["workflow"], it["state"]).replace('"', "");
    listed(world, more).iter().map(shown).collect()
}

fn index(world: &World) -> std::path::PathBuf {
    world.path("d/index/index.sqlite")
}

#[test]
fn lists_are_narrowed_and_paged() {
    let world = world();
    let (pure, door) = ("Pure done", "Door closed");
    let cases: &[(&[&str], &[&str])] = &[
        (&[], &[door]),
        (&["--all"], &[pure, pure, door]),
        (&["--all", "--workflow", "pure"], &[pure, pure]),
        (&["--workflow", "Pure"], &[]),
        (&["--status", "completed"], &[pure, pure]),
        (&["--status", "failed"], &[]),
        (&["--state", "closed"], &[door]),
        (&["--all", "--correlation", "nobody"], &[]),
        (&["--all", "--limit", "2"], &[pure, door]),
    ];
    for (more, expected) in cases {
        assert_eq!(states(&world, more), *expected, "{more:?}");
    }
    let page = world.run(&["ps", "--all", "--limit", "2", "--json", "--data", "d"]);
    let page: Value = serde_json::from_slice(&page.stdout).unwrap();
    let next = page["next"].as_str().unwrap();
    assert_eq!(states(&world, &["--all", "--limit", "2", "--cursor", next]), [pure]);
    world.check(
        "ps --all --limit 1 --data d",
        expect![[r#"
            exit 0
            ID                                    WORKFLOW  VERSION  STATUS   STATE   AGE  SEQ
            ID  Door      1.0.0    running  closed  T  2
            older ones: add --cursor ID
        "#]],
    );
}

#[test]
fn a_running_process_lists_the_same() {
    let world = world();
    let resting = listed(&world, &["--all"]);
    let mut command = world.command(&["run", "door.yaml", "--data", "d", "--wait"]);
    let _process = Process(command.stdout(std::process::Stdio::null()).spawn().unwrap());
    wait_for_socket(&world.path("d"));
    assert_eq!(listed(&world, &["--all"]), resting);
    let id = resting[2]["id"].as_str().unwrap();
    assert!(world.run(&["send", id, "open", "--data", "d"]).status.success());
    assert_eq!(states(&world, &["--state", "opened"]), ["Door opened"], "told, so listed");
}

#[test]
fn an_index_that_is_gone_is_made_again() {
    let world = begun(World::embedded());
    let before = listed(&world, &["--all"]);
    fs::remove_dir_all(world.path("d/index")).unwrap();
    assert_eq!(listed(&world, &["--all"]), before, "the log says the same");
    let id = before[2]["id"].as_str().unwrap();
    world.check(
        &format!("send {id} open --data d"),
        expect![[r#"
            exit 0
            event `open` taken: ID is running in `opened` at record 5
            no process runs `d`; it goes on with the next `traaviis run FILE --data d`
            note: the index was made again from the log, because it is missing, of another release, or behind the checkpoint
        "#]],
    );
    assert_eq!(states(&world, &["--all"]), ["Pure done", "Pure done", "Door opened"]);
}

#[test]
fn a_damaged_index_is_set_aside_and_stops_nothing() {
    let world = begun(World::embedded());
    fs::write(index(&world), [7; 20_000]).unwrap();
    // A process that ends at once leaves its WAL, out of which SQLite would mend the file.
    for end in ["-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{end}", index(&world).display()));
    }
    assert_eq!(states(&world, &[]), ["Door closed"], "the log answers");
    let id = listed(&world, &[])[0]["id"].as_str().unwrap().to_string();
    world.check(&format!("send {id} open --data d"), expect![[r#"
        exit 0
        event `open` taken: ID is running in `opened` at record 5
        no process runs `d`; it goes on with the next `traaviis run FILE --data d`
        warning: the index is damaged: file is not a database; it was moved to `d/index/index.sqlite.damaged-1` and nothing is lost; it is made again (index_failed)
        note: the index was made again from the log, because it is missing, of another release, or behind the checkpoint
    "#]]);
    assert!(world.path("d/index/index.sqlite.damaged-1").exists());
    assert_eq!(states(&world, &["--all"]), ["Pure done", "Pure done", "Door opened"]);
}

#[test]
fn rebuild_makes_the_same_index() {
    let world = begun(World::embedded());
    let before = listed(&world, &["--all"]);
    let output = world.run(&["rebuild", "--data", "d", "--json"]);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&answer["instances"], &answer["damaged"]), (&3.into(), &0.into()), "{answer}");
    assert_eq!(answer["records"], answer["position"]);
    assert_eq!(listed(&world, &["--all"]), before);
    world.check(
        "rebuild --data nowhere",
        expect![[r#"
        exit 3
        error: `nowhere` holds no log; name a data directory (data_directory_absent)
    "#]],
    );
}

#[test]
fn a_whole_id_that_does_not_exist_is_not_found() {
    let world = world();
    for command in ["show", "logs"] {
        let line = format!("{command} 0199a000-0000-7000-8000-0000000000aa --data d");
        world.check(
            &line,
            expect![[r#"
            exit 1
            error: no instance has id `ID`; `traaviis ps --all` lists them (not_found)
        "#]],
        );
    }
}
