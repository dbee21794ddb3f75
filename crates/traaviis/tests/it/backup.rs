//! Backups of a directory, also one that is in use, and directories made from them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use expect_test::expect;
use serde_json::Value as Json;

use crate::cli::{DOOR, PURE, Process, World, wait_for_socket, wait_until};

fn world() -> World {
    begun(World::new())
}

fn begun(world: World) -> World {
    let world = world.file("pure.yaml", PURE).file("door.yaml", DOOR);
    assert!(world.run(&["run", "pure.yaml", "--data", "d"]).status.success());
    world
}

/// Returns the objects of a target, the largest first.
fn objects(world: &World) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in fs::read_dir(world.path("b/objects")).unwrap() {
        for file in fs::read_dir(folder.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            found.push((fs::metadata(&path).unwrap().len(), path));
        }
    }
    found.sort();
    found.into_iter().rev().map(|it| it.1).collect()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .map(|it| it.map(|it| it.unwrap().file_name().to_string_lossy().into_owned()).collect())
        .unwrap_or_default();
    names.sort();
    names
}

#[test]
fn a_restored_directory_says_what_the_original_says() {
    let world = world();
    let taken = world.json("backup b --data d");
    let verified = world.json("backup verify b --against d");
    assert_eq!(verified["problems"], Json::Array(Vec::new()), "{verified}");
    assert_eq!(verified["position"], taken["position"]);
    let restored = world.json("restore b --data r");
    assert_eq!(restored["position"], taken["position"]);
    for line in ["ps --all --data", "doctor --data"] {
        assert!(world.run(&line.split(' ').chain(["r"]).collect::<Vec<_>>()).status.success());
    }
    let lines = |dir| world.run(&["log", "cat", dir]).stdout;
    assert_eq!(lines("d"), lines("r"));
    // It goes on from there.
    assert!(world.run(&["run", "pure.yaml", "--data", "r"]).status.success());
}

#[test]
fn a_later_backup_writes_only_what_is_new() {
    let world = world();
    let first = world.json("backup b --data d");
    let second = world.json("backup b --data d");
    assert!(first["bytes_new"].as_u64() > Some(0), "{first}");
    assert_eq!(second["bytes_new"], 0, "{second}");
    assert_eq!(second["bytes"], first["bytes"]);
    let listed = world.json("backup list b");
    assert_eq!(listed["backups"].as_array().unwrap().len(), 2, "{listed}");
}

#[test]
fn a_backup_of_a_busy_directory_is_whole() {
    let world = World::new().file(
        "busy.yaml",
        r#"
traaviis: "1"
name: Busy
version: 1.0.0
initial: counting
data: {initial: {at: 0}}
states:
  counting:
    after: {1ms: {target: counting, actions: [{assign: {at: "${data.at + 1}"}}]}}
"#,
    );
    let mut command = world.command(&["run", "busy.yaml", "--data", "d", "--wait"]);
    let mut process = Process(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    wait_for_socket(&world.path("d"));
    let mut reached = 0;
    for _ in 0..5 {
        wait_until("the log has grown", || {
            let taken = world.json("backup b --data d");
            let position = taken["position"].as_u64().unwrap();
            std::mem::replace(&mut reached, position) < position
        });
        let verified = world.json("backup verify b --against d");
        assert_eq!(verified["problems"], Json::Array(Vec::new()), "{verified}");
    }
    process.0.kill().unwrap();
    process.0.wait().unwrap();
    // An older backup, and what it held, is still there.
    let listed = world.json("backup list b");
    let oldest = listed["backups"][0]["position"].to_string();
    let verified = world.json(&format!("backup verify b --backup {oldest} --against d"));
    assert_eq!(verified["problems"], Json::Array(Vec::new()), "{verified}");
}

#[test]
fn a_directory_can_be_restored_to_an_earlier_commit() {
    let world = world();
    // It waits for more events than it gets.
    world.run(&["run", "door.yaml", "--data", "e", "--event", "open"]);
    world.json("backup b --data e");
    let whole = world.run(&["log", "cat", "e"]).stdout;
    let whole: Vec<&[u8]> = whole.split_inclusive(|it| *it == b'\n').collect();
    let mut reached = Vec::new();
    for position in 0..=whole.len() {
        let dir = format!("r{position}");
        let restored = world.json(&format!("restore b --data {dir} --position {position}"));
        let at = restored["position"].as_u64().unwrap() as usize;
        assert!(at <= position, "{restored}");
        assert_eq!(world.run(&["log", "cat", &dir]).stdout, whole[..at].concat());
        reached.push(at);
    }
    reached.dedup();
    assert_eq!(reached.first(), Some(&0));
    assert_eq!(reached.last(), Some(&whole.len()));
    assert!(reached.len() > 2, "{reached:?}");
    // A cut directory is one that can be written.
    let middle = format!("r{}", whole.len() - 1);
    assert!(world.run(&["run", "pure.yaml", "--data", &middle]).status.success());
    let records = world.run(&["log", "cat", &middle]).stdout;
    assert!(records.len() > whole[..reached[reached.len() - 2]].concat().len());
}

#[test]
fn a_directory_can_be_restored_to_a_time() {
    let world = world();
    world.json("backup b --data d");
    let line = world.run(&["log", "cat", "d"]).stdout;
    let first: Json =
        serde_json::from_slice(line.split(|it| *it == b'\n').next().unwrap()).unwrap();
    let at = first["at"].as_str().unwrap();
    let restored = world.json(&format!("restore b --data r --time {at}"));
    assert!(restored["position"].as_u64() > Some(0), "{restored}");
    world.check(
        "restore b --data s --time 2001-01-01T00:00:00Z",
        expect![[r#"
            exit 2
            error: a time before its first record lies outside of the backup, which holds positions N to M (restore_out_of_range)
        "#]],
    );
    world.check(
        "restore b --data s --position 1000",
        expect![[r#"
            exit 2
            error: position N lies outside of the backup, which holds positions N to M (restore_out_of_range)
        "#]],
    );
    assert!(!world.path("s").exists());
}

#[test]
fn a_changed_bit_is_found_and_nothing_is_restored() {
    let world = world();
    world.json("backup b --data d");
    for path in objects(&world) {
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let verified = world.shown(&world.run(&["backup", "verify", "b"]));
        assert!(verified.starts_with("exit 1\nbad  "), "{verified}");
        let restored = world.shown(&world.run(&["restore", "b", "--data", "r"]));
        assert!(restored.contains("(backup_damaged)"), "{restored}");
        assert!(!world.path("r").exists());
        bytes[middle] ^= 1;
        fs::write(&path, &bytes).unwrap();
    }
    let manifest = fs::read_dir(world.path("b/manifests")).unwrap().next().unwrap().unwrap().path();
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("\"position\":", "\"position\":1")).unwrap();
    let verify = || world.shown(&world.run(&["backup", "verify", "b"]));
    assert!(verify().contains("its checksum does not fit"), "{}", verify());
    fs::write(&manifest, text.replace("\"format\":1", "\"format\":3")).unwrap();
    assert!(verify().contains("is in format `3`, this release reads up to `2`"), "{}", verify());
    fs::write(&manifest, &text).unwrap();
    fs::remove_file(&objects(&world)[0]).unwrap();
    let found = verify();
    assert!(found.starts_with("exit 1\nbad  ") && found.ends_with("is missing\n"), "{found}");
}

#[test]
fn what_cannot_be_done_is_refused_and_changes_nothing() {
    let world = world();
    world.check(
        "backup b --data nowhere",
        expect![[r#"
        exit 3
        error: `nowhere` holds no log; name a data directory (data_directory_absent)
    "#]],
    );
    world.check(
        "restore b --data r",
        expect![[r#"
        exit 3
        error: `b` holds no backup; `traaviis backup list b` shows what it holds (backup_absent)
    "#]],
    );
    world.check(
        "backup b --data pure.yaml",
        expect![[r#"
        exit 3
        error: `pure.yaml` holds no log; name a data directory (data_directory_absent)
    "#]],
    );
    world.json("backup b --data d");
    world.check("restore b --data d", expect![[r#"
        exit 2
        error: `d` is not empty; restore into a directory that does not exist, then move it (restore_not_empty)
    "#]]);
    world.check("restore b --data r --backup 5", expect![[r#"
        exit 3
        error: `b` holds no backup that reaches position N; `traaviis backup list b` shows what it holds (backup_absent)
    "#]]);
    world.check(
        "backup pure.yaml --data d",
        expect![[r#"
        exit 4
        error: cannot open `pure.yaml/LOCK`: Not a directory (os error 20) (storage_failed)
    "#]],
    );
    assert!(!world.path("r").exists());
}

#[test]
fn a_backup_that_was_broken_off_is_none() {
    let world = begun(World::embedded());
    world.json("backup b --data d");
    let manifest = fs::read_dir(world.path("b/manifests")).unwrap().next().unwrap().unwrap().path();
    fs::rename(&manifest, manifest.with_extension("tmp")).unwrap();
    // Half an object, and half a directory of a restore that was broken off.
    fs::write(world.path("b/objects/1.tmp"), b"half").unwrap();
    fs::create_dir(world.path("r.restoring")).unwrap();
    fs::write(world.path("r.restoring/FORMAT"), b"9").unwrap();
    world.check(
        "backup verify b",
        expect![[r#"
        exit 3
        error: `b` holds no backup; `traaviis backup list b` shows what it holds (backup_absent)
    "#]],
    );
    assert_eq!(world.json("backup b --data d")["bytes_new"], 0);
    world.json("restore b --data r");
    assert_eq!(names(&world.path("r")), ["FORMAT", "log", "run.json"]);
    assert!(!world.path("r.restoring").exists());
    let lines = |dir| world.run(&["log", "cat", dir]).stdout;
    assert_eq!(lines("d"), lines("r"));
}

#[test]
fn backups_that_no_rule_keeps_are_removed_with_what_only_they_need() {
    let world = world();
    world.json("backup b --data d");
    assert!(world.run(&["run", "pure.yaml", "--data", "d", "--new"]).status.success());
    let second = world.json("backup b --data d");
    let dry = world.json("backup prune b --dry-run");
    let oldest = format!("b/manifests/{}", names(&world.path("b/manifests"))[0]);
    assert_eq!(dry["removed"], Json::Array(vec![oldest.into()]), "{dry}");
    assert_eq!(dry["kept"].as_array().unwrap().len(), 1);
    assert_eq!(names(&world.path("b/manifests")).len(), 2, "nothing changed");
    fs::write(world.path("b/objects/4711.tmp"), b"half").unwrap();
    fs::write(world.path("b/objects/notes.txt"), b"mine").unwrap();
    let pruned = world.json("backup prune b");
    assert_eq!(pruned["removed"], dry["removed"]);
    assert!(pruned["bytes"].as_u64() > Some(4), "{pruned}");
    assert!(!world.path("b/objects/4711.tmp").exists());
    assert!(world.path("b/objects/notes.txt").exists(), "what is not ours stays");
    fs::remove_file(world.path("b/objects/notes.txt")).unwrap();
    let verified = world.json("backup verify b --against d");
    assert_eq!(
        (&verified["problems"], &verified["position"]),
        (&Json::Array(vec![]), &second["position"])
    );
    assert_eq!(world.json("backup prune b")["objects"], 0, "once is enough");
    // The next one is whole, whatever went.
    assert!(world.run(&["run", "pure.yaml", "--data", "d", "--new"]).status.success());
    world.json("backup b --data d");
    let verified = world.json("backup verify b --against d");
    assert_eq!(verified["problems"], Json::Array(vec![]));
}

#[test]
fn nothing_is_removed_while_it_is_not_known_what_is_needed() {
    let world = world();
    world.json("backup b --data d");
    world.json("backup b --data d");
    let manifest = world.path("b/manifests").join(&names(&world.path("b/manifests"))[0]);
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("\"format\":1", "\"format\":3")).unwrap();
    let told = world.shown(&world.run(&["backup", "prune", "b", "--daily", "0"]));
    assert!(told.contains("(data_format_newer)"), "{told}");
    fs::write(&manifest, &text).unwrap();
    let held = fs::File::open(world.path("b/LOCK")).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockShared).unwrap();
    world.check(
        "backup prune b",
        expect![[r#"
        exit 1
        error: another process backs up into `b` or prunes it; try again when it is done (busy)
    "#]],
    );
    drop(held);
    assert_eq!(names(&world.path("b/manifests")).len(), 2);
    world.check("backup prune nowhere", expect![[r#"
        exit 3
        error: `nowhere` holds no backup; `traaviis backup list nowhere` shows what it holds (backup_absent)
    "#]]);
}

#[test]
fn a_newest_manifest_that_cannot_be_read_hides_no_older_one() {
    let world = world();
    let first = world.json("backup b --data d");
    assert!(world.run(&["run", "pure.yaml", "--data", "d", "--new"]).status.success());
    let second = world.json("backup b --data d");
    let manifest = PathBuf::from(second["manifest"].as_str().unwrap());
    fs::write(world.path("b").join(manifest.strip_prefix("b").unwrap_or(&manifest)), "{").unwrap();
    let position = first["position"].as_u64().unwrap();
    for line in ["restore b --data r", "backup verify b"] {
        let refused = world.run(&line.split(' ').collect::<Vec<_>>());
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{told}");
        assert!(told.contains("(backup_damaged)"), "{told}");
        assert!(told.contains(&format!("--backup {position}")), "{told}");
    }
    assert!(!world.path("r").exists());
    let listed = world.run(&["backup", "list", "b"]);
    assert_eq!(listed.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&listed.stdout).contains("damaged"), "{listed:?}");
    let listed = world.json("backup list b");
    assert_eq!(listed["backups"][1]["error"]["code"], "backup_damaged", "{listed}");
    let restored = world.json(&format!("restore b --data r --backup {position}"));
    assert_eq!(restored["position"], position, "{restored}");
    // The next one reads everything again, and is whole.
    let third = world.good("backup b --data d");
    assert_eq!(third["position"], second["position"]);
    let verified = world.json("backup verify b --against d");
    assert_eq!(verified["problems"], Json::Array(Vec::new()), "{verified}");
}

#[test]
fn an_object_that_changed_in_place_is_never_restored() {
    let world = world();
    world.good("backup b --data d");
    for (at, object) in objects(&world).into_iter().enumerate() {
        let whole = fs::read(&object).unwrap();
        let mut other = whole.clone();
        let middle = other.len() / 2;
        other[middle] ^= 1;
        fs::write(&object, other).unwrap();
        let into = format!("r{at}");
        let refused = world.run(&["restore", "b", "--data", &into]);
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{told}");
        assert!(told.contains("holds other bytes"), "{told}");
        assert!(!world.path(&into).exists(), "what is not whole has no name");
        fs::write(&object, whole).unwrap();
    }
    world.good("restore b --data r");
}
