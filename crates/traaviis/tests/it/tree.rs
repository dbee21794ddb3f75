//! The document tree: what a run leaves for people to read, compared, changed and made again.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    cli::{DOOR, PURE, World},
    formats::make_newer,
};

/// An instance that ended and one that waits, with their documents.
fn world() -> World {
    let world = World::embedded().file("pure.yaml", PURE).file("door.yaml", DOOR);
    let pure = world.run(&["run", "pure.yaml", "--data", "d", "--tree", "lazy"]);
    assert!(pure.status.success(), "{}", world.shown(&pure));
    // What the last run was told is remembered.
    assert_eq!(world.run(&["run", "door.yaml", "--data", "d"]).status.code(), Some(1));
    world
}

pub fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(at) = dirs.pop() {
        for entry in fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => dirs.push(path),
                false => drop(found.insert(path.clone(), fs::read(&path).unwrap())),
            }
        }
    }
    found
}

fn find(world: &World, part: &str) -> PathBuf {
    let files = files(&world.path("d/tree"));
    let found = files.keys().find(|it| it.to_string_lossy().contains(part));
    found.unwrap_or_else(|| panic!("no {part} among {:#?}", files.keys())).clone()
}

fn json(world: &World, code: i32, args: &[&str]) -> Value {
    let output = world.run(&[args, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(code), "{}", world.shown(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_run_leaves_documents_that_a_rebuild_makes_again() {
    let world = world();
    let document = fs::read(find(&world, "/workflows/Door/")).unwrap();
    let document: Value = serde_json::from_slice(&document).unwrap();
    assert_eq!(document["kind"], "instance");
    assert_eq!(document["body"]["workflow"], "Door");
    assert_eq!(document["seq"], document["body"]["seq"]);
    let events = fs::read_to_string(find(&world, "/events/Pure/")).unwrap();
    assert!(events.starts_with(r#"{"tenant_id":"#), "{events}");
    find(&world, "/workflows/definitions/Pure/");
    let verified = json(&world, 0, &["view", "verify", "d"]);
    assert_eq!((&verified["differences"], &verified["others"]), (&0.into(), &0.into()));
    assert_eq!(json(&world, 0, &["ps", "--data", "d"])["tree"]["lag"], 0);
    let before = files(&world.path("d/tree"));
    fs::remove_dir_all(world.path("d/tree")).unwrap();
    let rebuilt = json(&world, 0, &["rebuild", "--data", "d"]);
    assert_eq!(rebuilt["tree"]["made_again"], before.len());
    assert_eq!(files(&world.path("d/tree")), before);
    let again = json(&world, 0, &["rebuild", "--data", "d"]);
    assert_eq!(again["tree"]["made_again"], 0);
}

#[test]
fn a_changed_document_is_told_and_mended() {
    let world = world();
    let path = find(&world, "/workflows/Door/");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("closed", "opened", 1)).unwrap();
    let verified = json(&world, 1, &["view", "verify", "d"]);
    assert_eq!(verified["by_kind"]["changed"], 1, "{verified:#}");
    assert_eq!(verified["files"][0]["what"], "changed");
    // Nobody reads it as truth.
    let listed = json(&world, 0, &["ps", "--data", "d"]);
    assert_eq!(listed["instances"][0]["state"], "closed");
    let output = world.run(&["view", "verify", "d", "--repair"]);
    assert_eq!(output.status.code(), Some(0), "{}", world.shown(&output));
    assert!(world.shown(&output).contains("does not fit its checksum"));
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    let aside =
        path.with_file_name(format!("{}.damaged-1", path.file_name().unwrap().to_string_lossy()));
    assert!(fs::read_to_string(aside).unwrap().contains("opened"));
    assert_eq!(json(&world, 0, &["view", "verify", "d"])["set_aside"], 1);
}

#[test]
fn what_was_moved_aside_goes_with_its_instance() {
    let brief = format!("{PURE}\nretention: {{completed: 0s, archive: 1d}}\n");
    let world = World::embedded().file("brief.yaml", &brief);
    let run = world.run(&["run", "brief.yaml", "--data", "d", "--tree", "eager"]);
    assert!(run.status.success(), "{}", world.shown(&run));
    let path = find(&world, "/workflows/Pure/");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("done", "gone", 1)).unwrap();
    let output = world.run(&["view", "verify", "d", "--repair"]);
    assert_eq!(output.status.code(), Some(0), "{}", world.shown(&output));
    let dir = path.parent().unwrap();
    let beside = || fs::read_dir(dir).map_or(0, |it| it.count());
    assert_eq!(beside(), 2, "the document, and what was in its place");
    json(&world, 0, &["compact", "d"]);
    assert_eq!(beside(), 0);
}

#[test]
fn there_is_no_tree_unless_one_is_asked_for() {
    let world = World::embedded().file("pure.yaml", PURE);
    let pure = world.run(&["run", "pure.yaml", "--data", "d"]);
    assert!(pure.status.success(), "{}", world.shown(&pure));
    assert!(!world.path("d/tree").exists());
    let output = world.run(&["view", "verify", "d"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(world.shown(&output).contains("(tree_absent)"), "{}", world.shown(&output));
    assert_eq!(json(&world, 0, &["rebuild", "--data", "d"])["tree"], Value::Null);
    json(&world, 0, &["rebuild", "--tree", "--data", "d"]);
    assert_eq!(json(&world, 0, &["view", "verify", "d"])["differences"], 0);
    // A run without it leaves it behind, and that is told.
    assert!(world.run(&["run", "pure.yaml", "--new", "--data", "d"]).status.success());
    let lag = json(&world, 0, &["ps", "--data", "d"])["tree"]["lag"].as_u64();
    assert!(lag.is_some_and(|it| it > 0), "{lag:?}");
    assert_eq!(json(&world, 1, &["view", "verify", "d"])["by_kind"]["changed"], 0);
}

#[test]
fn a_tree_of_a_newer_release_is_left_alone() {
    let world = world();
    make_newer(world.path("d/tree/progress.json"), 2);
    let before = files(&world.path("d/tree"));
    let run = world.run(&["run", "pure.yaml", "--new", "--data", "d"]);
    assert!(run.status.success(), "{}", world.shown(&run));
    assert!(world.shown(&run).contains("(data_format_newer)"), "{}", world.shown(&run));
    let output = world.run(&["view", "verify", "d", "--repair"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(world.shown(&output).contains("(data_format_newer)"));
    assert_eq!(files(&world.path("d/tree")), before);
}
