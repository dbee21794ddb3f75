//! What ended long ago leaves the log, and everything that was said of it is still said.

use serde_json::Value;

use crate::{
    cli::{DOOR, PURE, World},
    index::listed,
};

fn json(world: &World, arguments: &[&str]) -> Value {
    let output = world.run(&[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{}", world.shown(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text(world: &World, arguments: &[&str]) -> String {
    let output = world.run(arguments);
    assert!(output.status.success(), "{}", world.shown(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Two instances that are due at once, and one that waits.
fn world() -> (World, Vec<String>) {
    let brief = format!("{PURE}\nretention: {{completed: 0s, archive: 1d}}\n");
    let world = World::new().file("brief.yaml", &brief).file("door.yaml", DOOR);
    for to in ["1", "2"] {
        let input = format!(r#"{{"to":{to}}}"#);
        let run = ["run", "brief.yaml", "--data", "d", "--input", &input];
        let tags: &[&str] = if to == "1" { &["--tag", "old"] } else { &[] };
        text(&world, &[&run, tags].concat());
    }
    assert_eq!(world.run(&["run", "door.yaml", "--data", "d"]).status.code(), Some(1));
    let all = listed(&world, &["--all"]);
    let ended = all.iter().filter(|it| it["status"] == "completed");
    let ended = ended.map(|it| it["id"].as_str().unwrap().to_string()).collect();
    (world, ended)
}

#[test]
fn archived_instances_stay_readable() {
    let (world, ended) = world();
    let (a, b) = (&*ended[0], &*ended[1]);
    let in_d = |arguments: &[&str]| text(&world, &[arguments, &["--data", "d"]].concat());
    let views: [&[&str]; 3] = [&["logs", a], &["replay", a], &["export", a]];
    let before = views.map(in_d);

    let dry = json(&world, &["compact", "d", "--dry-run"]);
    assert_eq!((&dry["due"], &dry["dry_run"]), (&2.into(), &true.into()));
    let all = listed(&world, &["--all"]);
    assert_eq!(all.len(), 3, "nothing changed");
    let done = json(&world, &["compact", "d"]);
    assert_eq!((&done["archived"], &done["kept"]), (&2.into(), &0.into()));
    assert_eq!(json(&world, &["compact", "d"])["archived"], 0, "once is enough");

    assert_eq!(views.map(in_d), before);
    assert!(in_d(&["show", a]).contains("archived"));
    let shown = json(&world, &["show", a, "--data", "d"]);
    assert_eq!((&shown["archived"], &shown["state"]), (&true.into(), &"done".into()));
    let noted = world.run(&["logs", a, "--data", "d"]);
    assert!(String::from_utf8_lossy(&noted.stderr).contains("is archived"));
    // They differ, which is what the exit code says.
    assert_eq!(world.run(&["compare", a, b, "--data", "d"]).status.code(), Some(1));

    assert_eq!(listed(&world, &["--all"]).len(), 1);
    text(&world, &["rebuild", "--data", "d"]);
    assert_eq!(listed(&world, &["--all"]).len(), 1, "a rebuild does not bring them back");
    let archived = listed(&world, &["--archived"]);
    assert_eq!(archived.len(), 2);
    assert!(archived.iter().all(|it| it["archived"] == true && it["workflow"] == "Pure"));
    for archived in &archived {
        // Everything that was said of it, but its age.
        let mut before = all.iter().find(|it| it["id"] == archived["id"]).unwrap().clone();
        before["archived"] = true.into();
        before["age_ms"] = archived["age_ms"].clone();
        assert_eq!(*archived, before);
    }
    let tagged = listed(&world, &["--archived", "--tag", "old"]);
    assert_eq!((tagged.len(), &tagged[0]["tags"][0]), (1, &"old".into()));
    let page = listed(&world, &["--archived", "--limit", "1"]);
    assert_eq!(page[0]["id"], *ended.iter().max().unwrap());
    let exported = text(&world, &["export", "--workflow", "Pure", "--data", "d"]);
    assert!(ended.iter().all(|id| exported.contains(id)));
    let checks = json(&world, &["doctor", "--data", "d"]);
    let mut sizes = checks["checks"].as_array().unwrap().iter();
    let sizes = sizes.find(|it| it["check"] == "sizes").unwrap();
    assert!(sizes["found"].as_str().unwrap().contains("in 2 files"), "{sizes}");
}

#[test]
fn a_damaged_file_concerns_one_instance() {
    let (world, ended) = world();
    json(&world, &["compact", "d"]);
    let root = world.path("d/tenants");
    let tenant = std::fs::read_dir(root).unwrap().next().unwrap().unwrap().path();
    let file = tenant.join("archived/instances").join(format!("{}.json.gz", ended[0]));
    std::fs::write(&file, "no gzip").unwrap();
    for command in ["show", "logs"] {
        let refused = world.run(&[command, &ended[0], "--data", "d"]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains("archive_damaged"), "{said}");
        text(&world, &[command, &ended[1], "--data", "d"]);
    }
    let archived = listed(&world, &["--archived"]);
    let damaged = archived.iter().filter(|it| it["error"]["code"] == "archive_damaged");
    assert_eq!((archived.len(), damaged.count()), (2, 1));
    assert_eq!(json(&world, &["compact", "d"])["archived"], 1, "it is made again");
    text(&world, &["show", &ended[0], "--data", "d"]);
}

#[test]
fn a_backup_holds_the_archive_too() {
    let (world, ended) = world();
    json(&world, &["compact", "d"]);
    json(&world, &["backup", "b", "--data", "d"]);
    assert_eq!(
        json(&world, &["backup", "verify", "b", "--against", "d"])["problems"],
        Value::Array(vec![])
    );
    json(&world, &["restore", "b", "--data", "r"]);
    let logs = |dir| text(&world, &["logs", &ended[0], "--data", dir]);
    assert_eq!(logs("d"), logs("r"));
}
