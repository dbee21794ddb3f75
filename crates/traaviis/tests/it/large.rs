//! Values of many megabytes: through the command line, the socket, a crash, the archive, a backup
//! and another directory.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Stdio,
};

use expect_test::expect;
use serde_json::Value as Json;

use crate::cli::{Process, World, wait_for_socket};

const ID: &str = "0198c51a-7800-7abc-8000-0123456789ab";

/// Takes a document, and another one.
const FLOW: &str = r#"
traaviis: "1"
name: Papers
version: 1.0.0
retention: {completed: 0s, archive: 1d}
data: {initial: {first: "${input.text}"}}
initial: open
events: {add: {}, file: {}}
states:
  open:
    x-waive: {W209: nobody waits}
    on:
      add: {actions: [{assign: {more: "${event.data}"}}]}
      file: filed
  filed: {type: final, output: "${data.first}"}
"#;

fn world() -> World {
    World::new().file("papers.yaml", FLOW)
}

fn input(world: &World, megabytes: usize) {
    let text = format!(r#"{{"text":"{}"}}"#, "a".repeat(megabytes << 20));
    fs::write(world.path("input.json"), text).unwrap();
}

fn start(world: &World) {
    let line = ["run", "papers.yaml", "--data", "d", "--input", "input.json", "--id", ID];
    let output = world.run(&line);
    // It waits.
    assert_eq!(output.status.code(), Some(1), "{}", world.shown(&output));
}

/// Runs a command that reads from standard input.
fn fed(world: &World, arguments: &[&str], text: &str) -> String {
    let mut command = world.command(arguments);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    world.shown(&child.wait_with_output().unwrap())
}

/// Returns the blobs of a directory.
pub fn blobs(dir: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![dir.join("tenants")]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.to_string_lossy().contains("/blobs/") => found.push(path),
                false => {}
            }
        }
    }
    found
}

fn ok(world: &World, line: &str) -> Vec<u8> {
    let output = world.run(&line.split(' ').collect::<Vec<_>>());
    assert!(output.status.success(), "{line}: {}", world.shown(&output));
    output.stdout
}

#[test]
fn twenty_megabytes_survive_the_socket_a_kill_and_a_backup() {
    let world = world();
    input(&world, 20);
    start(&world);
    assert_eq!(blobs(&world.path("d")).len(), 1, "input and data share it");
    let line = ["run", "papers.yaml", "--data", "d", "--input", "input.json", "--id", ID, "--wait"];
    let mut process = Process(world.command(&line).stdout(Stdio::null()).spawn().unwrap());
    wait_for_socket(&world.path("d"));
    let text = format!("\"{}\"", "b".repeat(20 << 20));
    let told = fed(&world, &["send", ID, "add", "-", "--data", "d"], &text);
    assert!(told.starts_with("exit 0\n"), "{told}");
    let shown = world.json(&format!("show {ID} --data d"));
    let sizes = |shown: &Json| {
        ["first", "more"].map(|it| shown["snapshot"]["data"][it].as_str().map_or(0, str::len))
    };
    assert_eq!(sizes(&shown), [20 << 20; 2]);
    process.0.kill().unwrap();
    process.0.wait().unwrap();
    assert_eq!(sizes(&world.json(&format!("show {ID} --data d"))), [20 << 20; 2]);
    assert_eq!(blobs(&world.path("d")).len(), 2, "an event and data share theirs");
    let history = ok(&world, &format!("logs {ID} --data d --json"));
    assert_eq!(history.len() >> 20, 80, "four records have one each");
    ok(&world, &format!("replay {ID} --data d"));
    ok(&world, "doctor --data d");

    ok(&world, "backup b --data d");
    let verified = world.json("backup verify b --against d");
    assert_eq!(verified["problems"], Json::Array(Vec::new()), "{verified}");
    ok(&world, "restore b --data r");
    assert_eq!(ok(&world, &format!("logs {ID} --data r --json")), history);
}

#[test]
fn archived_ones_keep_their_values_and_take_them_along() {
    let world = world();
    input(&world, 1);
    start(&world);
    ok(&world, &format!("send {ID} file --data d"));
    let history = ok(&world, &format!("logs {ID} --data d --json"));
    ok(&world, "compact d");
    let listed = world.json("ps --archived --data d");
    assert_eq!(listed["instances"][0]["id"], ID, "{listed}");
    assert_eq!(blobs(&world.path("d")).len(), 1);
    assert_eq!(ok(&world, &format!("logs {ID} --data d --json")), history);
    ok(&world, "tenant export 00000000-0000-0000-0000-000000000001 t.tar.gz --data d");
    ok(&world, "tenant import t.tar.gz --data e");
    assert_eq!(ok(&world, &format!("logs {ID} --data e --json")), history);
    assert_eq!(blobs(&world.path("e")).len(), 1);
}

#[test]
fn a_damaged_blob_stops_its_instance_until_the_file_is_back() {
    // Where states rest beside the log: json-only starts always read all of it.
    let world = World::embedded().file("papers.yaml", FLOW);
    input(&world, 1);
    start(&world);
    // So that a start has nothing but the log to read.
    fs::remove_dir_all(world.path("d/snapshots")).unwrap();
    let path = blobs(&world.path("d")).remove(0);
    let intact = fs::read(&path).unwrap();
    let mut spoiled = intact.clone();
    spoiled[500_000] ^= 1;
    fs::write(&path, spoiled).unwrap();
    let logs = format!("logs {ID} --data d");
    world.check(&logs, expect![[r#"
        exit 1
        error: a large value of the record cannot be read: `d/tenants/ID/blobs/24/HASH` holds other bytes than its name says (blob_damaged)
    "#]]);
    let doctor = world.run(&["doctor", "--data", "d"]);
    let shown = world.shown(&doctor);
    assert!(shown.contains("exit 1") && shown.contains("1 of 1 are damaged"), "{shown}");
    let send = format!("send {ID} file --data d");
    world.check(&send, expect![[r#"
        exit 1
        note: the states of open instances were made again from the log, because they are missing, or not complete
        warning: instance ID cannot go on from record 0: a large value of the record cannot be read: `d/tenants/ID/blobs/24/HASH` holds other bytes than its name says
        error: instance `ID` is damaged after record 0: a large value of the record cannot be read: `d/tenants/ID/blobs/24/HASH` holds other bytes than its name says; restore that file from a backup, and start again (blob_damaged)
    "#]]);
    // Another instance goes on, and its end leaves a checkpoint that knows of the damage.
    let other = world.run(&["run", "papers.yaml", "--data", "d", "--input", r#"{"text":"x"}"#]);
    assert_eq!(other.status.code(), Some(1), "{}", world.shown(&other));
    fs::write(&path, intact).unwrap();
    ok(&world, &send);
    let shown = world.json(&format!("show {ID} --data d"));
    assert_eq!(shown["snapshot"]["status"], "completed");
}
