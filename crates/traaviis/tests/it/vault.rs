//! Backups in a bucket, and backups that only the holder of an identity opens.

use std::{
    fs,
    path::Path,
    process::{Output, Stdio},
};

use serde_json::Value as Json;

use crate::{
    cli::{DOOR, PURE, Process, World, wait_until},
    s3::{KEY, S3, SECRET},
};

/// An identity of age for tests, and who it belongs to.
const IDENTITY: &str = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";
const RECIPIENT: &str = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";

fn world() -> World {
    let world = World::new().file("pure.yaml", PURE).file("identity", IDENTITY);
    assert!(world.run(&["run", "pure.yaml", "--data", "d"]).status.success());
    world
}

/// Runs a command line that can reach a server.
fn run(world: &World, s3: &S3, line: &str) -> Output {
    let arguments: Vec<&str> = line.split(' ').collect();
    world
        .command(&arguments)
        .env("AWS_ACCESS_KEY_ID", KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .env("AWS_REGION", "eu-central-1")
        .env("AWS_ENDPOINT_URL", &s3.endpoint)
        .env_remove("AWS_SESSION_TOKEN")
        .env("NO_PROXY", "127.0.0.1")
        .output()
        .unwrap()
}

/// Runs a command line that must succeed, and reads what it answers.
fn json(world: &World, s3: &S3, line: &str) -> Json {
    let output = run(world, s3, &format!("{line} --json"));
    assert!(output.status.success(), "{line}: {}", world.shown(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Makes a history that compresses to nothing, so that a segment has to be sent in parts.
fn grow(dir: &Path) {
    let log = fs::read_dir(dir.join("log")).unwrap().map(|it| it.unwrap().path());
    let segment = log.filter(|it| it.extension().is_some_and(|it| it == "seg")).max().unwrap();
    let mut bytes = Vec::new();
    let mut state: u64 = 1;
    while bytes.len() < 20 << 20 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        bytes.extend(state.to_le_bytes());
    }
    // A file of the directory that nobody can make again is copied as it is.
    fs::write(segment.with_file_name("large"), bytes).unwrap();
}

#[test]
fn a_bucket_keeps_what_a_folder_keeps() {
    let (world, s3) = (world(), S3::start());
    let first = json(&world, &s3, "backup s3://kept/a/b --data d");
    let manifest = first["manifest"].as_str().unwrap();
    assert!(manifest.starts_with("s3://kept/a/b/manifests/"), "{manifest}");
    let second = json(&world, &s3, "backup s3://kept/a/b --data d");
    assert_eq!(second["bytes_new"], 0, "{second}");
    let verified = json(&world, &s3, "backup verify s3://kept/a/b --against d");
    assert_eq!(verified["problems"], Json::Array(Vec::new()), "{verified}");
    let listed = json(&world, &s3, "backup list s3://kept/a/b");
    assert_eq!(listed["backups"].as_array().unwrap().len(), 2);
    json(&world, &s3, "restore s3://kept/a/b --data r");
    let lines = |dir| world.run(&["log", "cat", dir]).stdout;
    assert_eq!(lines("d"), lines("r"));
    assert_eq!(s3.names("").len(), s3.names("a/b/").len(), "{:?}", s3.names(""));
    assert_eq!(s3.names("a/b/holds/"), [""; 0]);
}

#[test]
fn what_is_large_goes_in_parts_and_comes_back() {
    let (world, s3) = (world(), S3::start());
    grow(&world.path("d"));
    json(&world, &s3, "backup s3://kept/a --data d");
    assert_eq!(s3.asked("POST"), 2, "one upload in parts, begun and ended");
    assert_eq!(s3.uploads(), 0);
    json(&world, &s3, "restore s3://kept/a --data r");
    let large = |dir: &str| fs::read(world.path(dir).join("log/large")).unwrap();
    assert!(large("d") == large("r"));
}

#[test]
fn a_bucket_that_disappears_leaves_the_last_backup_whole() {
    let (world, s3) = (world(), S3::start());
    json(&world, &s3, "backup s3://kept/a --data d");
    grow(&world.path("d"));
    assert!(world.run(&["run", "pure.yaml", "--data", "d", "--new"]).status.success());
    let before = s3.names("");
    // The mark, lists, a manifest, and the first of what is new.
    s3.disappear_after(9);
    let output = run(&world, &s3, "backup s3://kept/a --data d");
    let told = world.shown(&output);
    assert!(told.starts_with("exit 3\n"), "{told}");
    assert!(told.contains("(backup_target_failed)"), "{told}");
    assert!(!told.contains(SECRET) && !told.contains(KEY), "{told}");
    s3.come_back();
    let left = s3.names("");
    assert!(before.iter().all(|it| left.contains(it)), "{before:?} {left:?}");
    let verified = json(&world, &s3, "backup verify s3://kept/a");
    assert_eq!(verified["problems"], Json::Array(Vec::new()), "{verified}");
    // What was stored before the end is not sent again.
    let again = json(&world, &s3, "backup s3://kept/a --data d");
    let arrived: u64 = left
        .iter()
        .filter(|it| it.contains("/objects/"))
        .map(|it| s3.object(it).len() as u64)
        .sum();
    let all: u64 = s3.names("a/objects/").iter().map(|it| s3.object(it).len() as u64).sum();
    assert_eq!(again["bytes_new"], all - arrived, "{again}");
    let verified = json(&world, &s3, "backup verify s3://kept/a --against d");
    assert_eq!(verified["problems"], Json::Array(Vec::new()), "{verified}");
}

#[test]
fn a_bucket_is_pruned_unless_somebody_adds_to_it() {
    let (world, s3) = (world(), S3::start());
    json(&world, &s3, "backup s3://kept/a --data d");
    assert!(world.run(&["run", "pure.yaml", "--data", "d", "--new"]).status.success());
    json(&world, &s3, "backup s3://kept/a --data d");
    s3.put("kept-elsewhere", b"not ours");
    s3.put("a/holds/adding-somebody", b"held\n");
    let told = world.shown(&run(&world, &s3, "backup prune s3://kept/a --daily 0"));
    assert!(told.contains("(busy)"), "{told}");
    let told = world.shown(&run(&world, &s3, "backup s3://kept/a --data d"));
    assert!(told.starts_with("exit 0"), "others may add: {told}");
    // Without the mark of somebody else.
    let s3_left = S3::start();
    for name in s3.names("").into_iter().filter(|it| !it.contains("holds/")) {
        s3_left.put(&name, &s3.object(&name));
    }
    let line = "backup prune s3://kept/a --daily 1 --weekly 0 --monthly 0";
    let pruned = json(&world, &s3_left, line);
    assert_eq!(pruned["kept"].as_array().unwrap().len(), 1, "{pruned}");
    assert!(pruned["objects"].as_u64() > Some(0), "{pruned}");
    assert_eq!(s3_left.object("kept-elsewhere"), b"not ours");
    let verified = json(&world, &s3_left, "backup verify s3://kept/a --against d");
    assert_eq!(verified["problems"], Json::Array(Vec::new()), "{verified}");
}

#[test]
fn marks_in_a_bucket_stand_for_locks_until_they_are_an_hour_old() {
    let (world, s3) = (world(), S3::start());
    let code = |line: &str| {
        let told = world.shown(&run(&world, &s3, line));
        told.lines().next().unwrap().to_owned() + if told.contains("(busy)") { " busy" } else { "" }
    };
    let (take, prune) = ("backup s3://kept/a --data d", "backup prune s3://kept/a");
    s3.put("a/holds/removing-somebody", b"held\n");
    assert_eq!(code(take), "exit 1 busy");
    s3.age("a/holds/removing-somebody");
    assert_eq!(code(take), "exit 0");
    s3.put("a/holds/adding-somebody", b"held\n");
    assert_eq!((&*code(take), &*code(prune)), ("exit 0", "exit 1 busy"));
    s3.age("a/holds/adding-somebody");
    assert_eq!(code(prune), "exit 0");
    let left = ["a/holds/adding-somebody", "a/holds/removing-somebody"];
    assert_eq!(s3.names("a/holds/"), left, "each takes its own mark away");
}

#[test]
fn wrong_credentials_and_absent_buckets_are_told_without_credentials() {
    let (world, s3) = (world(), S3::start());
    let output = world
        .command(&["backup", "s3://kept/a", "--data", "d"])
        .env("AWS_ACCESS_KEY_ID", KEY)
        .env("AWS_SECRET_ACCESS_KEY", "another-secret")
        .env("AWS_ENDPOINT_URL", &s3.endpoint)
        .env("NO_PROXY", "127.0.0.1")
        .output()
        .unwrap();
    let told = world.shown(&output);
    assert!(told.contains("(backup_target_failed)"), "{told}");
    assert!(!told.contains(KEY) && !told.contains("another-secret"), "{told}");
    let told = world.shown(&run(&world, &s3, "backup list s3://absent/a"));
    assert!(told.contains("NoSuchBucket"), "{told}");
    let told = world.shown(
        &world
            .command(&["backup", "list", "s3://kept"])
            .env_remove("AWS_ACCESS_KEY_ID")
            .output()
            .unwrap(),
    );
    assert!(told.contains("(backup_target_unusable)"), "{told}");
}

#[test]
fn an_encrypted_backup_opens_with_its_identity_alone() {
    let world = world();
    let line = format!("backup b --data d --recipient {RECIPIENT}");
    let first = world.json(&line);
    assert_eq!(first["recipients"], serde_json::json!([RECIPIENT]));
    let second = world.json(&line);
    assert_eq!(second["bytes_new"], 0, "what has not changed is not encrypted again: {second}");
    // Nothing of the log can be read in what is stored.
    for folder in fs::read_dir(world.path("b/objects")).unwrap() {
        for file in fs::read_dir(folder.unwrap().path()).unwrap() {
            let bytes = fs::read(file.unwrap().path()).unwrap();
            assert!(bytes.starts_with(b"age-encryption.org/v1\n"));
        }
    }
    let verified = world.json("backup verify b");
    assert_eq!(verified["restored"], false, "{verified}");
    assert_eq!(verified["problems"], Json::Array(Vec::new()), "{verified}");
    let verified = world.json("backup verify b --identity identity --against d");
    assert_eq!(verified["restored"], true, "{verified}");
    assert_eq!(verified["problems"], Json::Array(Vec::new()), "{verified}");
    let told = world.shown(&world.run(&["restore", "b", "--data", "r"]));
    assert!(told.starts_with("exit 4\n") && told.contains("(backup_encrypted)"), "{told}");
    assert!(!world.path("r").exists());
    world.json("restore b --data r --identity identity");
    let lines = |dir| world.run(&["log", "cat", dir]).stdout;
    assert_eq!(lines("d"), lines("r"));
}

#[test]
fn an_encrypted_target_takes_nothing_in_the_open() {
    let world = world();
    world.json(&format!("backup b --data d --recipient {RECIPIENT}"));
    let told = world.shown(&world.run(&["backup", "b", "--data", "d"]));
    assert!(told.starts_with("exit 4\n") && told.contains("(backup_encrypted)"), "{told}");
    let told = world.shown(&world.run(&["backup", "b", "--data", "d", "--recipient", "age1x"]));
    assert!(told.starts_with("exit 2\n"), "{told}");
}

#[test]
fn a_changed_byte_of_an_encrypted_backup_is_found() {
    let world = world();
    world.json(&format!("backup b --data d --recipient {RECIPIENT}"));
    let folders = fs::read_dir(world.path("b/objects")).unwrap();
    let folder = folders.map(|it| it.unwrap().path()).find(|it| it.is_dir()).unwrap();
    let object = fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&object).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&object, bytes).unwrap();
    let verified = world.json("backup verify b");
    assert_eq!(verified["problems"].as_array().unwrap().len(), 1, "{verified}");
    let told = world.shown(&world.run(&["restore", "b", "--data", "r", "--identity", "identity"]));
    assert!(told.contains("(backup_damaged)"), "{told}");
}

/// Returns what a check of `doctor` says.
fn told(world: &World, check: &str) -> Option<[String; 2]> {
    let output = world.run(&["doctor", "--data", "d", "--json"]);
    let checks: Json = serde_json::from_slice(&output.stdout).unwrap();
    let found = checks["checks"].as_array().unwrap().iter().find(|it| it["check"] == check)?;
    Some([&found["verdict"], &found["found"]].map(|it| it.as_str().unwrap().to_owned()))
}

#[test]
fn a_running_process_makes_the_backups_it_was_told_to_make() {
    let world = world().file("door.yaml", DOOR).file("blocked", "a file");
    assert_eq!(told(&world, "backups"), None);
    // Nothing can be made below a file.
    world.json("backup schedule blocked/b --daily 02:30 --hourly --data d");
    let [verdict, found] = told(&world, "backups").unwrap();
    assert_eq!((&*verdict, &*found), ("warn", "no backup made yet; overdue"));
    let log = fs::File::create(world.path("told")).unwrap();
    let mut command = world.command(&["run", "door.yaml", "--data", "d", "--wait"]);
    let _process = Process(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
    let state = || world.json("backup schedule --data d")["state"].clone();
    wait_until("a backup has failed", || !state()["failing"].is_null());
    let [verdict, found] = told(&world, "backups").unwrap();
    assert!(verdict == "warn" && found.contains("failing since"), "{found}");
    world.json("backup schedule b --daily 02:30 --hourly --data d");
    wait_until("a backup is made", || !state()["full_at"].is_null());
    assert_eq!(told(&world, "backups").unwrap()[0], "ok");
    assert_eq!(world.json("backup list b")["backups"].as_array().unwrap().len(), 1);
    let lines = fs::read_to_string(world.path("told")).unwrap();
    assert_eq!(lines.matches("no backup into").count(), 1, "{lines}");
    assert_eq!(lines.matches("are made again").count(), 1, "{lines}");
    // A copy is told nothing, so that it does not back up over the original.
    world.json("restore b --data r");
    assert!(!world.path("r/backups").exists());
    world.json("backup schedule --off --data d");
    assert_eq!(told(&world, "backups"), None);
}
