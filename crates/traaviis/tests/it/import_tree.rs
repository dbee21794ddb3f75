//! `traaviis admin import-tree`: trees of this release and data of earlier layouts.

use std::{fs, path::Path};

use serde_json::{Value as Json, json};

use crate::cli::{DOOR, PURE, World};

const TENANT: &str = "0199aaaa-bbbb-7ccc-8ddd-eeeeffff0001";
const ADA: &str = "0199aaaa-bbbb-7ccc-8ddd-eeeeffff0002";
const BOB: &str = "0199aaaa-bbbb-7ccc-8ddd-eeeeffff0003";
const ORDER: &str = "0199aaaa-bbbb-7ccc-8ddd-eeeeffff0004";

fn import(world: &World, source: &str, data: &str, more: &[&str]) -> (i32, Json) {
    let arguments = [&["admin", "import-tree", source, "--data", data, "--json"], more].concat();
    let output = world.run(&arguments);
    let json = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", world.shown(&output)));
    (output.status.code().unwrap(), json)
}

/// A data directory with a tree: one instance that ended, one that waits.
fn original() -> (World, String) {
    let world = World::new().file("pure.yaml", PURE).file("door.yaml", DOOR);
    world.run(&["run", "pure.yaml", "--data", "data", "--tree", "eager"]);
    world.opened()
}

impl World {
    fn opened(self) -> (World, String) {
        let arguments = ["run", "door.yaml", "--data", "data", "--tree", "eager"];
        self.run(&[&arguments[..], &["--event", "open", "--event", "close"]].concat());
        self.run(&["rebuild", "--tree", "--data", "data"]);
        let all = self.json("ps --all --data data");
        let door = all["instances"].as_array().unwrap().iter().find(|it| it["workflow"] == "Door");
        let id = door.unwrap_or_else(|| panic!("{all}"))["id"].as_str().unwrap().to_owned();
        (self, id)
    }
}

#[test]
fn a_tree_becomes_the_same_instances_with_the_same_records() {
    let (world, door) = original();
    let (code, planned) = import(&world, "data", "copy", &["--dry-run"]);
    assert_eq!((code, &planned["came"]["instances"]), (0, &json!(2)), "{planned}");
    assert!(!world.path("copy").exists());
    let (code, done) = import(&world, "data/tree", "copy", &[]);
    assert_eq!((code, &done["came"]), (0, &planned["came"]), "{done}");
    assert_eq!(done["left_out"], json!([]));
    for data in ["data", "copy"] {
        let text = world.shown(&world.run(&["ps", "--all", "--data", data]));
        assert!(text.contains("completed") && text.contains("closed"), "{text}");
    }
    let lines = |data: &str| {
        let output = world.run(&["log", "cat", data]);
        let text = String::from_utf8(output.stdout).unwrap();
        let mut lines: Vec<String> = text
            .lines()
            .filter(|it| !it.contains("\"document_put\"") && it.contains("\"seq\""))
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    };
    assert!(lines("data").len() > 4);
    assert_eq!(lines("data"), lines("copy"), "records are as they were");
    let (code, again) = import(&world, "data", "copy", &[]);
    assert_eq!((code, &again["came"]["instances"], &again["present"]), (0, &json!(0), &json!(2)));
    // It goes on in its new place.
    let text = world.shown(&world.run(&["send", &door, "open", "--data", "copy"]));
    assert!(text.starts_with("exit 0"), "{text}");
    let (code, again) = import(&world, "data", "copy", &[]);
    assert_eq!((code, &again["present"]), (0, &json!(2)), "gone on since is no collision: {again}");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

fn first_below(dir: &Path, part: &str) -> std::path::PathBuf {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let found = first_below(&path, part);
            if !found.as_os_str().is_empty() {
                return found;
            }
        } else if path.to_string_lossy().contains(part) {
            return path;
        }
    }
    Default::default()
}

#[test]
fn what_is_damaged_or_unknown_refuses_the_import_until_it_is_left_out() {
    type Harm = fn(&Path, &str);
    let harms: [(&str, &str, Harm); 5] = [
        ("a changed state", "does not fit its checksum", |tree, id| {
            let path = first_below(tree, &format!("Door/{id}.json"));
            let text = fs::read_to_string(&path).unwrap().replace("\"opened\":1", "\"opened\":9");
            fs::write(path, text).unwrap();
        }),
        ("a missing record", "is missing", |tree, id| {
            let path = first_below(tree, &format!("{id}/000001.jsonl"));
            let text = fs::read_to_string(&path).unwrap();
            let lines: Vec<&str> = text.lines().collect();
            fs::write(path, [&lines[..1], &lines[2..]].concat().join("\n") + "\n").unwrap();
        }),
        ("a cut history", "its history ends at", |tree, id| {
            let path = first_below(tree, &format!("{id}/000001.jsonl"));
            let text = fs::read_to_string(&path).unwrap();
            let lines: Vec<&str> = text.lines().collect();
            fs::write(path, lines[..2].join("\n") + "\n").unwrap();
        }),
        ("a lost history", "history of this instance is missing", |tree, id| {
            fs::remove_file(first_below(tree, &format!("{id}/000001.jsonl"))).unwrap();
        }),
        ("a file of nobody", "no layout that is known", |tree, _| {
            fs::write(tree.join("notes.txt"), "keep me").unwrap();
        }),
    ];
    let (world, door) = original();
    for (what, why, harm) in harms {
        let _ = fs::remove_dir_all(world.path("tree"));
        let _ = fs::remove_dir_all(world.path("copy"));
        copy(&world.path("data/tree"), &world.path("tree"));
        harm(&world.path("tree"), &door);
        let (code, refused) = import(&world, "tree", "copy", &[]);
        assert_eq!((code, &refused["error"]["code"]), (1, &json!("import_refused")), "{what}");
        assert!(refused.to_string().contains(why), "{what}: {refused}");
        assert!(!world.path("copy/log").exists(), "{what}: nothing was changed");
        let (code, forced) = import(&world, "tree", "copy", &["--force"]);
        let expected = if what == "a file of nobody" { 2 } else { 1 };
        assert_eq!((code, &forced["came"]["instances"]), (1, &json!(expected)), "{what}: {forced}");
        assert!(!forced["left_out"].as_array().unwrap().is_empty(), "{what}");
    }
}

#[test]
fn an_id_that_is_taken_refuses_everything() {
    let (world, door) = original();
    import(&world, "data", "copy", &[]);
    // The copy and the original go on differently.
    world.run(&["send", &door, "open", "--data", "copy"]);
    world.run(&["send", &door, "lock", "{\"by\": \"me\"}", "--data", "data"]);
    world.run(&["rebuild", "--tree", "--data", "data"]);
    let (code, refused) = import(&world, "data", "copy", &[]);
    assert_eq!((code, &refused["error"]["code"]), (1, &json!("import_collision")), "{refused}");
    assert!(refused.to_string().contains(&door), "{refused}");
}

/// Data as earlier releases kept them.
fn earlier(world: &World, is_nested: bool) {
    let write = |path: &str, text: &str| {
        let path = world.path("old").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let users = json!([
        { "id": ADA, "email": "Ada@example.org", "name": "Ada", "password_hash": "$2b$12$x",
          "created_at": "2024-03-01T00:00:00Z" },
        { "id": BOB, "email": "bob@example.org", "name": "Bob" },
    ]);
    if is_nested {
        for user in users.as_array().unwrap() {
            let id = user["id"].as_str().unwrap();
            write(&format!("system/users/user_{id}.json"), &user.to_string());
        }
        write("system/users/index.json", "{}");
    } else {
        write("accounts/users.json", &users.to_string());
    }
    let tenants = json!([{ "id": TENANT, "name": "Acme", "slug": "acme", "owner_id": ADA,
          "plan": "pro" }]);
    write("tenancy/tenants.json", &tenants.to_string());
    let members = json!([
        { "tenant_id": TENANT, "user_id": ADA, "role": "owner" },
        { "tenant_id": TENANT, "user_id": BOB, "role": "developer" },
    ]);
    write("tenancy/memberships.json", &members.to_string());
    let state = json!({
        "id": ORDER, "module": "Order", "tenant_id": TENANT, "current_state": "paid",
        "data": { "total": 7 }, "metadata": { "created_at": "2024-03-08T10:00:00Z" },
        "performance": { "transitions": 2 },
    });
    let (states, events) = match is_nested {
        true => (format!("tenants/{TENANT}/workflows"), format!("tenants/{TENANT}/events")),
        false => (format!("{TENANT}/fsm"), format!("{TENANT}/events")),
    };
    write(&format!("{states}/Order/{ORDER}.json"), &state.to_string());
    let day = |day: u32, lines: &[Json]| {
        let lines: Vec<String> = lines.iter().map(Json::to_string).collect();
        let path = format!("{events}/Order/{ORDER}/2024/03/{day:02}.jsonl");
        write(&path, &(lines.join("\n") + "\n"));
    };
    day(
        8,
        &[
            json!({ "type": "created", "to": "new", "timestamp": "2024-03-08T10:00:00Z", "seq": 1 }),
            json!({ "type": "transition", "from": "new", "to": "placed", "event": "place",
                "event_data": { "by": "web" }, "timestamp": "2024-03-08T10:00:01Z", "seq": 2 }),
        ],
    );
    day(
        9,
        &[json!({
            "type": "transition", "from": "placed", "to": "paid", "event": "pay",
            "timestamp": "2024-03-09T08:00:00Z", "seq": 3,
        })],
    );
}

#[test]
fn both_earlier_layouts_come_with_people_states_and_histories() {
    for is_nested in [false, true] {
        let world = World::new();
        earlier(&world, is_nested);
        let (code, planned) = import(&world, "old", "data", &["--dry-run"]);
        assert_eq!(code, 0, "{planned}");
        let people = json!({
            "users": 2, "tenants": 1, "roles": 0, "members": 1, "present": 0,
        });
        assert_eq!(planned["people"], people);
        let plans = json!([{ "tenant": TENANT, "from": "pro", "to": "self_hosted" }]);
        assert_eq!(planned["plans"], plans);
        let text = ["admin", "import-tree", "old", "--data", "data", "--dry-run"];
        let text = world.shown(&world.run(&text));
        let told = "plan: tenant ID had `pro`, and has `self_hosted` here";
        assert!(text.contains(told), "{text}");
        assert!(!world.path("data").exists());
        let (code, done) = import(&world, "old", "data", &[]);
        assert_eq!((code, &done["people"]), (0, &people), "{done}");
        assert_eq!(done["plans"], plans);
        assert_eq!(done["came"]["instances"], json!(1));
        let changed = done["changed"].to_string();
        for part in ["password", "kept as an incident"] {
            assert!(changed.contains(part), "{changed}");
        }
        let log = String::from_utf8(world.run(&["log", "cat", "data"]).stdout).unwrap();
        let kinds: Vec<&str> = log
            .lines()
            .filter(|it| it.contains(ORDER))
            .map(|it| it.split("\"kind\":\"").nth(1).unwrap().split('"').next().unwrap())
            .collect();
        let expected = [
            "created",
            "transition",
            "event_received",
            "transition",
            "event_received",
            "transition",
            "incident_opened",
        ];
        assert_eq!(kinds, expected);
        assert!(log.contains("definition_missing") && log.contains("2024-03-09T08:00:00"));
        assert!(!log.contains("ada@example.org"), "addresses rest sealed");
        let (code, again) = import(&world, "old", "data", &[]);
        assert_eq!(
            (code, &again["came"]["instances"], &again["present"]),
            (0, &json!(0), &json!(1))
        );
        assert_eq!(again["people"]["present"], json!(4), "{again}");
        let (code, planned) = import(&world, "old", "data", &["--dry-run"]);
        assert_eq!((code, &planned["people"]["present"]), (0, &json!(4)), "{planned}");
    }
}

const ORDERS: &str = r#"
traaviis: "1"
name: Order
version: 2.0.0
initial: new
events: {place: {}, pay: {}, ship: {}}
data: {initial: {total: 0}}
states:
  new: {on: {place: placed}}
  placed: {on: {pay: paid}}
  paid: {on: {ship: shipped}}
  shipped: {type: final, output: {total: "${data.total}"}}
"#;

#[test]
fn an_earlier_instance_whose_workflow_is_there_goes_on() {
    let world = World::new().file("order.yaml", ORDERS);
    world.run(&["run", "order.yaml", "--data", "data"]);
    earlier(&world, false);
    // The one tenant of a directory without accounts.
    let local = "00000000-0000-0000-0000-000000000001";
    fs::rename(world.path("old").join(TENANT), world.path("old").join(local)).unwrap();
    for folder in ["accounts", "tenancy"] {
        fs::remove_dir_all(world.path("old").join(folder)).unwrap();
    }
    let state = world.path("old").join(local).join(format!("fsm/Order/{ORDER}.json"));
    let text = fs::read_to_string(&state).unwrap().replace(TENANT, local);
    fs::write(&state, text).unwrap();
    let (code, done) = import(&world, "old", "data", &[]);
    assert_eq!((code, &done["came"]["instances"], &done["changed"]), (0, &json!(1), &json!([])));
    let text = world.shown(&world.run(&["send", ORDER, "ship", "--data", "data"]));
    assert!(text.starts_with("exit 0"), "{text}");
    let shown = world.json(&format!("show {ORDER} --data data"));
    let snapshot = &shown["snapshot"];
    let ended = (&snapshot["status"], &snapshot["output"]["total"]);
    assert_eq!(ended, (&json!("completed"), &json!(7)), "{shown}");
}

#[test]
fn people_who_are_somebody_else_refuse_the_import() {
    let world = World::new();
    earlier(&world, false);
    import(&world, "old", "data", &[]);
    let path = world.path("old/accounts/users.json");
    let text = fs::read_to_string(&path).unwrap();
    let other = "0199aaaa-bbbb-7ccc-8ddd-eeeeffff0009";
    fs::write(&path, text.replace(BOB, other)).unwrap();
    let members = world.path("old/tenancy/memberships.json");
    let text = fs::read_to_string(&members).unwrap();
    fs::write(&members, text.replace(BOB, other)).unwrap();
    for more in [&["--dry-run"][..], &[]] {
        let (code, refused) = import(&world, "old", "data", more);
        assert_eq!((code, &refused["error"]["code"]), (1, &json!("import_collision")), "{refused}");
        assert!(refused.to_string().contains(other), "{refused}");
        assert!(!refused.to_string().contains("bob@example.org"), "{refused}");
    }
}

#[test]
fn earlier_data_that_contradict_themselves_are_left_out_with_the_reason() {
    for (from, to, why) in [
        ("\"from\":\"placed\"", "\"from\":\"new\"", "leaves `new`, and it was in `placed`"),
        ("\"seq\":3", "\"seq\":5", "event 5 follows event 2"),
        ("\"to\":\"paid\"", "\"to\":\"lost\"", "its events end in `lost`"),
        ("\"type\":\"transition\"", "\"type\":\"jumped\"", "no known layout"),
        ("2024-03-09T08:00:00Z", "yesterday", "`timestamp` is no time"),
        ("{", "", "is no JSON"),
    ] {
        let world = World::new();
        earlier(&world, false);
        let day = world.path(&format!("old/{TENANT}/events/Order/{ORDER}/2024/03/09.jsonl"));
        let text = fs::read_to_string(&day).unwrap();
        fs::write(&day, text.replacen(from, to, 1)).unwrap();
        let (code, refused) = import(&world, "old", "data", &[]);
        assert_eq!((code, &refused["error"]["code"]), (1, &json!("import_refused")), "{why}");
        assert!(refused.to_string().contains(why), "{why}: {refused}");
        let left_out = refused["error"]["details"]["left_out"].as_array().unwrap();
        assert_eq!(left_out.len(), 3, "the state and both days: {left_out:?}");
        assert!(!world.path("data").exists());
    }
}

#[test]
fn a_directory_that_holds_nothing_is_told() {
    let world = World::new();
    fs::create_dir(world.path("empty")).unwrap();
    let (code, refused) = import(&world, "empty", "data", &[]);
    assert_eq!((code, &refused["error"]["code"]), (1, &json!("import_refused")));
    let (code, refused) = import(&world, "nowhere", "data", &[]);
    assert_eq!((code, &refused["error"]["code"]), (3, &json!("file_unreadable")));
}

#[test]
fn a_directory_in_use_is_backed_up_before_an_import_changes_it() {
    let (world, _) = original();
    let world = world.file("pure.yaml", PURE);
    assert!(world.run(&["run", "pure.yaml", "--data", "used"]).status.success());
    let log = |dir: &str| world.run(&["log", "cat", dir]).stdout;
    let before = log("used");
    // Into a new directory nothing can be lost, and a look changes nothing.
    let (_, done) = import(&world, "data", "fresh", &[]);
    assert_eq!(done["backup"], Json::Null);
    let (_, planned) = import(&world, "data", "used", &["--dry-run"]);
    assert_eq!(planned["backup"], Json::Null);
    assert!(!world.path("used.backups").exists());

    let only = ["admin", "import-tree", "data", "--data", "used", "--backup-only", "--json"];
    let only = world.run(&only);
    assert!(only.status.success(), "{}", world.shown(&only));
    assert_eq!(log("used"), before, "nothing came");
    let (code, done) = import(&world, "data", "used", &[]);
    assert_eq!(code, 0, "{done}");
    assert!(done["backup"].as_str().unwrap().contains("used.backups"), "{done}");
    assert_ne!(log("used"), before);
    world.good("restore used.backups --data back");
    assert_eq!(log("back"), before, "as it was");
    // What changes nothing needs no backup.
    let (_, again) = import(&world, "data", "used", &[]);
    assert_eq!((&again["came"]["instances"], &again["backup"]), (&json!(0), &Json::Null));
    let (_, elsewhere) = import(&world, "data", "back", &["--backup-into", "kept"]);
    assert!(elsewhere["backup"].as_str().unwrap().contains("kept"), "{elsewhere}");
    let none = ["admin", "import-tree", "data", "--data", "absent", "--backup-only"];
    assert_eq!(world.run(&none).status.code(), Some(3));
}
