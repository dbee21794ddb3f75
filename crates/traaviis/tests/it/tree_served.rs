//! The document tree of a served directory: users, tenants, members and all that they keep, over a
//! kill; made again, exported, imported, erased.

use std::{
    collections::BTreeSet,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use expect_test::expect;
use regex::Regex;
use serde_json::{Value as Json, json};

use crate::{
    cli::{DOOR, World, wait_until},
    sealed_all::patched,
    server::{PASSWORD, Server},
    tree::files,
};

const SECRET: &str = "canary-value-of-a-secret";
const LOCK: &str = "--passphrase-file pass.txt";

fn serve(world: &World) -> Server {
    let variables = [("TRAAVIIS_ADMIN_PASSWORD", PASSWORD)];
    Server::with(world, &["--tree", "lazy", "--admin-email", "root@example.org"], &variables)
}

/// Ends the process as an operator does.
fn stop(mut server: Server) {
    let pid = rustix::process::Pid::from_child(&server.process.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    server.process.0.wait().unwrap();
}

fn log_in(server: &Server, email: &str) -> String {
    let login = json!({ "email": email, "password": PASSWORD });
    let told = server.call("", "POST", "/auth/login", login);
    assert_eq!(told.status, 200, "{told:?}");
    told.text("/access_token")
}

/// What somebody has made, and what must be in no file.
struct Made {
    bob: String,
    canaries: Vec<String>,
}

/// Does everything of which something is kept.
fn live(server: &Server) -> Made {
    let root = log_in(server, "root@example.org");
    let ada = server.register("ada@example.org");
    let made = |path: &str, body: Json| {
        let told = server.post(&ada, path, body);
        assert_eq!(told.status, 201, "{path}: {told:?}");
        told
    };
    let role = json!({ "name": "Auditor", "base": "viewer", "permissions": ["audit_logs_view"] });
    let role = made("/roles", role).text("/id");
    let bob = server.join(&ada, "bob@example.org", &role);
    let bob = server.get(&bob, "/me").text("/id");
    let invited = json!({ "email": "carol@example.org", "role": "viewer" });
    let invited = made("/invitations", invited).text("/token");
    server.publish(&ada, "Door", DOOR);
    let draft = DOOR.replace("name: Door", "name: Gate");
    made("/workflows", json!({ "document": draft }));
    made("/schedules", json!({ "workflow": "Door", "cron": "0 3 1 1 *" }));
    let hook = json!({ "url": "https://example.org/hook", "events": ["finished"] });
    let hook = made("/webhooks", hook).text("/secret");
    let key = made("/api-keys", json!({ "name": "ci", "scopes": ["workflow_monitor"] }));
    let set = json!({ "value": SECRET });
    let set = server.call(&ada, "PUT", "/tenants/current/secrets/payment_key", set);
    assert!(set.status < 300, "{set:?}");
    let maintain = |is_on: bool| {
        let told = server.call(&root, "POST", "/admin/maintenance", json!({ "on": is_on }));
        assert!(told.status < 300, "{told:?}");
    };
    maintain(true);
    maintain(false);
    let mut canaries: Vec<String> =
        ["carol@example.org", "ada@example.org", "$argon2", SECRET].map(str::to_owned).into();
    canaries.extend([ada, root, invited, hook, key.text("/key")]);
    assert!(canaries.iter().all(|it| !it.is_empty()));
    Made { bob, canaries }
}

/// Names of files with words in place of ids and months.
fn listing(dir: &Path) -> String {
    let id = Regex::new("[0-9a-f]{8}-[0-9a-f-]{27}").unwrap();
    let month = Regex::new(r"\d{4}-\d\d\.").unwrap();
    let hour = Regex::new(r"\d{4}-\d\d-\d\dT\d\d\.").unwrap();
    let names: BTreeSet<String> = files(dir)
        .into_keys()
        .map(|it| {
            let name = it.strip_prefix(dir).unwrap().to_string_lossy().into_owned();
            let name = hour.replace_all(&name, "HOUR.");
            month.replace_all(&id.replace_all(&name, "ID"), "MONTH.").into_owned()
        })
        .collect();
    names.into_iter().collect::<Vec<_>>().join("\n")
}

fn no_canary(dir: &Path, canaries: &[String]) {
    for (path, bytes) in files(dir) {
        let text = String::from_utf8_lossy(&bytes);
        let found = canaries.iter().find(|it| text.contains(&***it));
        assert_eq!(found, None, "{}", path.display());
    }
}

/// Looks for a file while the process goes on, which gives files their names and removes them.
fn has_file(dir: &Path, part: &str) -> bool {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|it| it.path()).any(|it| match it.is_dir() {
        true => has_file(&it, part),
        false => it.to_string_lossy().contains(part),
    })
}

#[test]
fn a_server_shows_what_it_keeps_and_the_tree_is_made_again_with_the_same_bytes() {
    let world = World::new();
    let server = serve(&world);
    let Made { bob, canaries } = live(&server);
    // Wherever it stands with the tree.
    server.kill();
    let server = serve(&world);
    let tree = world.path("data/tree");
    wait_until("the tree has all of it", || has_file(&tree, "/system/maintenance.json"));
    stop(server);
    let listed = listing(&tree);
    expect![[r#"
        ID/audit/MONTH.jsonl
        ID/audit/checkpoints.jsonl
        ID/config.json
        ID/events/Schedule/ID/000001.jsonl
        ID/members/invitations.json
        ID/members/member_ID.json
        ID/members/roster.json
        ID/roles/ID.json
        ID/schedules/ID.json
        ID/secrets/payment_key.json
        ID/webhooks/ID.json
        ID/workflows/Schedule/ID.json
        ID/workflows/definitions/Schedule/1.0.0.json
        ID/workflows/definitions/door.published-1.0.0.json
        ID/workflows/definitions/gate.draft.json
        index.json
        progress.json
        system/audit/MONTH.jsonl
        system/audit/checkpoints.jsonl
        system/hot_backups/HOUR.json.gz
        system/maintenance.json
        system/sessions/active_sessions.json
        system/users/index.json
        system/users/user_ID.json"#]]
    .assert_eq(&listed);
    no_canary(&tree, &canaries);
    let verified = world.good("view verify data");
    assert_eq!((&verified["differences"], &verified["others"]), (&json!(0), &json!(0)));
    let before = files(&tree);
    fs::remove_dir_all(&tree).unwrap();
    world.good("rebuild --tree --data data");
    assert_eq!(files(&tree), before);
    // Of who deletes their account nothing is left but what they did.
    let server = serve(&world);
    let member = format!("/member_{bob}.json");
    assert!(has_file(&tree, &member));
    let who = log_in(&server, "bob@example.org");
    let gone = server.call(&who, "DELETE", "/me", json!({ "password": PASSWORD }));
    assert!(gone.status < 300, "{gone:?}");
    wait_until("the member is gone", || !has_file(&tree, &member));
    wait_until("the user is gone", || !has_file(&tree, &format!("/user_{bob}.json")));
    stop(server);
    for (path, bytes) in files(&tree).iter().filter(|it| !it.0.to_string_lossy().contains("audit"))
    {
        assert!(!String::from_utf8_lossy(bytes).contains(&bob), "{}", path.display());
    }
    assert_eq!(world.good("view verify data")["differences"], 0);
}

fn entries(path: &Path) -> Vec<String> {
    let file = flate2::read::GzDecoder::new(fs::File::open(path).unwrap());
    let mut archive = tar::Archive::new(file);
    let mut names = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut text = Vec::new();
        entry.read_to_end(&mut text).unwrap();
        names.push(entry.path().unwrap().to_string_lossy().into_owned());
    }
    names
}

#[test]
fn an_export_has_it_and_an_import_of_the_tree_brings_people_back() {
    let world = World::new().file("pass.txt", "correct horse battery staple\n");
    let server = serve(&world);
    let Made { bob, .. } = live(&server);
    let ada = log_in(&server, "ada@example.org");
    let tenant = server.get(&ada, "/tenants/current").text("/id");
    stop(server);
    world.good(&format!("tenant export {tenant} x.tar.gz --data data {LOCK}"));
    let names = entries(&world.path("x.tar.gz"));
    for part in ["config.json", "members/roster.json", "audit/", "schedules/", "webhooks/"] {
        let path = format!("tree/{tenant}/{part}");
        assert!(names.iter().any(|it| it.starts_with(&path)), "{part}: {names:#?}");
    }
    world.good(&format!("tenant import x.tar.gz --data moved {LOCK}"));
    // The tree alone: what cannot come refuses it, and is named.
    let refused = world.json("admin import-tree data --data copy");
    let shown = refused.to_string();
    for part in ["/webhooks/", "/schedules/", "/secrets/", "gate.draft.json"] {
        assert!(shown.contains(part), "{part}: {refused:#}");
    }
    assert!(!world.path("copy").exists());
    let done = world.json("admin import-tree data --data copy --force");
    let people = json!({ "users": 3, "tenants": 1, "roles": 1, "members": 1, "present": 0 });
    assert_eq!(done["people"], people, "{done:#}");
    assert_eq!(done["plans"], json!([]), "all have the plan that they had");
    let again = world.json("admin import-tree data --data copy --force");
    let people = json!({ "users": 0, "tenants": 0, "roles": 0, "members": 0, "present": 6 });
    assert_eq!(again["people"], people, "{again:#}");
    let moved = world.path("data");
    fs::rename(&moved, world.path("old")).unwrap();
    fs::rename(world.path("copy"), &moved).unwrap();
    let server = serve(&world);
    let ada = log_in(&server, "ada@example.org");
    let members = server.get(&ada, &format!("/tenants/{tenant}/members"));
    let members = members.body["items"].as_array().unwrap().clone();
    let is_bob = |it: &&Json| it.to_string().contains(&bob);
    let found = members.iter().find(is_bob).unwrap_or_else(|| panic!("{members:#?}"));
    assert!(found["role"].as_str().is_some_and(|it| it.len() == 36), "{found}");
    let tree: PathBuf = world.path("data/tree");
    wait_until("the new tree shows them", || has_file(&tree, &format!("/member_{bob}.json")));
    stop(server);
    assert_eq!(world.good("view verify data")["differences"], 0);
}

#[test]
fn of_what_rests_sealed_no_more_than_its_id_is_shown() {
    let world = World::new();
    let server = serve(&world);
    let ada = server.register("ada@example.org");
    patched(&server, &ada, "/tenants/current/config", json!({ "encryption": "all" }));
    let url = format!("https://example.org/{SECRET}");
    let hook = server.post(&ada, "/webhooks", json!({ "url": url, "events": ["finished"] }));
    let hook = hook.text("/id");
    let draft = DOOR.replace("version:", &format!("description: {SECRET}\nversion:"));
    assert_eq!(server.post(&ada, "/workflows", json!({ "document": draft })).status, 201);
    let invited = json!({ "email": "bob@example.org", "role": "viewer" });
    assert_eq!(server.post(&ada, "/invitations", invited).status, 201);
    stop(server);
    let tree = world.path("data/tree");
    let text = |part: &str| {
        let files = files(&tree);
        let found = files.iter().find(|it| it.0.to_string_lossy().contains(part));
        String::from_utf8_lossy(found.unwrap_or_else(|| panic!("{part}")).1).into_owned()
    };
    for part in [&*format!("/webhooks/{hook}.json"), "/definitions/door.draft.json"] {
        assert!(text(part).contains(r#""body": "[SEALED]""#), "{}", text(part));
    }
    assert!(
        text("/invitations.json").contains(r#":"[SEALED]"}}"#),
        "{}",
        text("/invitations.json")
    );
    // The tenant itself and its trail are read without a key.
    assert!(text("/config.json").contains(r#""encryption":"all""#), "{}", text("/config.json"));
    assert!(text("/audit/").contains("webhook."), "{}", text("/audit/"));
    no_canary(&tree, &[SECRET.to_owned()]);
    assert_eq!(world.good("view verify data")["differences"], 0);
    let before = files(&tree);
    fs::remove_dir_all(&tree).unwrap();
    world.good("rebuild --tree --data data");
    assert_eq!(files(&tree), before);
}
