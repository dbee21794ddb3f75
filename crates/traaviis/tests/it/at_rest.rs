//! Damage of what rests, which no start reads: `doctor` finds it, and so does a server that runs.

use std::{fs, os::unix::fs::FileExt as _, path::Path};

use serde_json::{Value as Json, json};

use crate::{
    cli::{DOOR, PURE, World, wait_until},
    server::{PASSWORD, Server},
};

/// Returns a check of `doctor` and its exit code.
fn doctor(world: &World, name: &str) -> (Option<i32>, Json) {
    let output = world.run(&["doctor", "--json", "--data", "data"]);
    let told: Json = serde_json::from_slice(&output.stdout).unwrap();
    let mut checks = told["checks"].as_array().unwrap().iter();
    let found = checks.find(|it| it["check"] == name).cloned();
    (output.status.code(), found.unwrap_or_default())
}

/// Changes a byte of a file in place, as a disk does: whoever has it open sees it.
fn rot(path: &Path, at: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

/// Returns the files below a folder.
fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found
}

#[test]
fn an_archive_file_that_changed_is_named() {
    let brief = format!("{PURE}\nretention: {{completed: 0s, archive: 1d}}\n");
    let world = World::new().file("brief.yaml", &brief);
    for input in [r#"{"to":1}"#, r#"{"to":2}"#] {
        let run = ["run", "brief.yaml", "--data", "data", "--input", input];
        assert!(world.run(&run).status.success());
    }
    assert_eq!(world.good("compact data")["archived"], 2);
    let (code, told) = doctor(&world, "archive");
    assert_eq!((code, &told["verdict"]), (Some(0), &json!("ok")), "{told}");
    let archived = files(&world.path("data/tenants"));
    let file = archived.iter().find(|it| it.to_string_lossy().ends_with(".json.gz")).unwrap();
    rot(file, fs::metadata(file).unwrap().len() / 2);
    let (code, told) = doctor(&world, "archive");
    assert_eq!((code, &told["verdict"]), (Some(1), &json!("fail")), "{told}");
    let name = file.file_name().unwrap().to_str().unwrap();
    assert!(told["found"].as_str().unwrap().contains(name), "{told}");
}

#[test]
fn a_log_without_its_oldest_segment_is_not_whole() {
    let world = World::new().file("door.yaml", DOOR).file("pure.yaml", PURE);
    // Changing how a directory is kept begins a segment.
    for (file, storage) in [("door.yaml", "embedded"), ("pure.yaml", "json-only")] {
        world.run(&["run", file, "--data", "data", "--storage", storage]);
    }
    let mut segments = files(&world.path("data/log"));
    segments.retain(|it| it.extension().is_some_and(|it| it == "seg"));
    segments.sort();
    let [oldest, _] = &segments[..] else { panic!("{segments:?}") };
    assert_eq!(doctor(&world, "log").1["verdict"], "ok");
    fs::remove_file(oldest).unwrap();
    let (code, told) = doctor(&world, "log");
    assert_eq!((code, &told["verdict"]), (Some(1), &json!("fail")), "{told}");
    assert!(told["found"].as_str().unwrap().contains("positions 0 to"), "{told}");
    // A start says it, too, and does not show the half of a history as a whole one.
    let told = world.run(&["run", "pure.yaml", "--data", "data", "--new"]);
    let text = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(text.contains("records at positions 0 to"), "{text}");
    let listed = world.good("ps --all --data data");
    let door = listed["instances"].as_array().unwrap().iter().find(|it| it["workflow"] != "Pure");
    assert_eq!(door.map(|it| &it["status"]), Some(&json!("damaged")), "{listed}");
}

#[test]
fn a_directory_that_does_not_say_its_format_is_told_and_mended() {
    let world = World::new().file("pure.yaml", PURE);
    assert!(world.run(&["run", "pure.yaml", "--data", "data"]).status.success());
    let before = fs::read(world.path("data/FORMAT")).unwrap();
    assert_eq!(doctor(&world, "format"), (Some(0), Json::Null));
    fs::remove_file(world.path("data/FORMAT")).unwrap();
    let (code, told) = doctor(&world, "format");
    assert_eq!((code, &told["verdict"]), (Some(1), &json!("fail")), "{told}");
    assert!(world.run(&["run", "pure.yaml", "--data", "data", "--new"]).status.success());
    assert_eq!(fs::read(world.path("data/FORMAT")).unwrap(), before);
    assert_eq!(doctor(&world, "format"), (Some(0), Json::Null));
}

#[test]
fn a_server_finds_damage_that_nobody_reads() {
    let world = World::new();
    let variables =
        [("TRAAVIIS_ADMIN_PASSWORD", PASSWORD), ("TRAAVIIS_STORAGE__SCRUB_EVERY", "1s")];
    let server = Server::with(&world, &["--admin-email", "root@example.org"], &variables);
    server.register("ada@example.org");
    let login = json!({ "email": "root@example.org", "password": PASSWORD });
    let root = server.call("", "POST", "/auth/login", login).text("/access_token");
    let number = |name: &str| {
        let told = server.get(&root, "/admin/metrics");
        let all = told.body["items"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|it| it["name"] == name).and_then(|it| it["value"].as_f64())
    };
    wait_until("a look has ended", || number("traaviis_scrub_passes_total") > Some(0.0));
    assert_eq!(number("traaviis_scrub_damaged_places"), Some(0.0));
    assert_eq!(server.get(&root, "/admin/alerts").body["items"], json!([]));

    let segment = world.path("data/log").join(format!("{:020}.seg", 0));
    rot(&segment, 300);
    wait_until("it is found", || number("traaviis_scrub_damaged_places") > Some(0.0));
    let mut alerts = Json::Null;
    wait_until("somebody is told", || {
        alerts = server.get(&root, "/admin/alerts").body["items"].take();
        alerts[0]["rule"] == "storage_damaged"
    });
    assert!(alerts[0]["message"].as_str().unwrap().contains("segment 0"), "{alerts}");
    // It goes on, and the next look tells nothing twice.
    let passes = number("traaviis_scrub_passes_total");
    wait_until("another look has ended", || number("traaviis_scrub_passes_total") > passes);
    let again = server.get(&root, "/admin/alerts").body["items"].take();
    assert_eq!(again.as_array().map(Vec::len), Some(1), "{again}");
    server.register("bob@example.org");
    let ready = server.get("", "/ready").body;
    let log = ready["components"].as_array().unwrap().iter().find(|it| it["name"] == "log");
    assert_eq!(log.map(|it| &it["status"]), Some(&json!("degraded")), "{ready}");
    server.kill();
}
