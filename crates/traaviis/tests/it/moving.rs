//! A tenant that moves whole: with its people, their keys and its secrets, to an installation that
//! has another root key; locked on the way, and erased people stay erased.

use std::{fs, io::Read as _, process::Stdio};

use serde_json::{Value as Json, json};

use crate::{
    cli::{DOOR, World, words},
    erasure::holding,
    server::{PASSWORD, Server},
};

const TENANT: &str = "00000000-0000-0000-0000-000000000001";
const CANARY: &str = "canary_berta_8Qz";
const SECRET: &str = "sk_canary_4711_never_shown";
const LOCK: &str = "--passphrase-file pass.txt";

const ABOUT: &str = r#"
traaviis: "1"
name: About
version: 1.0.0
initial: open
subject: input.who
data: {initial: {mail: "${input.mail}"}}
events: {note: {}, close: {}}
states:
  open:
    on:
      note: {actions: [{log: {message: "seen ${data.mail}"}}]}
      close: done
  done: {type: final, output: "${data.mail}"}
x-waive: {W209: it may wait for ever}
"#;

fn refusal(world: &World, line: &str) -> String {
    let output = world.run(&words(line));
    assert!(!output.status.success(), "{line}: {}", world.shown(&output));
    world.shown(&output)
}

/// Another installation, with a root key of its own, to which a file was carried.
fn elsewhere(from: &World) -> World {
    let to = World::new().file("pass.txt", "correct horse battery staple\n");
    fs::copy(from.path("x.tar.gz"), to.path("x.tar.gz")).unwrap();
    to
}

/// Starts an instance about somebody; returns its id.
fn about(world: &World, who: &str) -> String {
    let input = format!(r#"{{"who":"{who}","mail":"{CANARY}_{who}@example.org"}}"#);
    let output = world.run(&["run", "about.yaml", "--data", "d", "--input", &input, "--json"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let rows = world.good("ps --all --data d");
    let rows = rows["instances"].as_array().unwrap();
    let newest = rows.iter().map(|it| it["id"].as_str().unwrap()).max();
    newest.unwrap_or_else(|| panic!("{text}")).to_owned()
}

/// People who wait, have ended and are erased, and a secret.
fn world() -> (World, [String; 3]) {
    let world = World::new()
        .file("about.yaml", ABOUT)
        .file("pass.txt", "correct horse battery staple\n")
        .file("wrong.txt", "another horse battery staple\n")
        .file("short.txt", "horse\n")
        .file("secret.txt", SECRET);
    let ids = ["anna", "berta", "carla"].map(|it| about(&world, it));
    for id in &ids {
        world.good(&format!("send {id} note --data d"));
    }
    world.good(&format!("send {} close --data d", ids[1]));
    world.good(&format!("send {} close --data d", ids[2]));
    world.good("privacy erase --subject carla --data d");
    let mut set = world.command(&["secrets", "set", "stripe", "--data", "d"]);
    set.stdin(fs::File::open(world.path("secret.txt")).unwrap());
    assert!(set.output().unwrap().status.success());
    (world, ids)
}

/// Returns everything that a directory says of its instances, with hashes of their states.
fn said(world: &World, dir: &str, ids: &[String]) -> Vec<(Json, Json, Vec<u8>)> {
    let one = |id: &String| {
        let shown = world.good(&format!("show {id} --data {dir}"));
        let mut replayed = world.good(&format!("replay {id} --data {dir}"));
        replayed.as_object_mut().unwrap().remove("elapsed_ms");
        let lines = world.run(&["export", id, "--data", dir]);
        assert!(lines.status.success());
        (shown["snapshot"].clone(), replayed["snapshot"].clone(), lines.stdout)
    };
    ids.iter().map(one).collect()
}

#[test]
fn people_move_with_their_keys_and_who_is_erased_stays_so() {
    let (world, ids) = world();
    let export = format!("tenant export {TENANT} x.tar.gz --data d");
    let refused = refusal(&world, &export);
    assert!(refused.contains("exit 4") && refused.contains("export_key_missing"), "{refused}");
    let refused = refusal(&world, &format!("{export} --passphrase-file short.txt"));
    assert!(refused.contains("fewer than 12 characters"), "{refused}");
    assert!(!world.path("x.tar.gz").exists());
    let told = world.good(&format!("{export} {LOCK}"));
    assert_eq!(told["locked_for"], json!(["passphrase"]));
    assert_eq!((&told["instances"], &told["secrets_left_out"]), (&json!(3), &json!([])));
    // Nobody who finds the file reads a person, a secret or a key.
    let mut unpacked = Vec::new();
    let file = fs::File::open(world.path("x.tar.gz")).unwrap();
    flate2::read::GzDecoder::new(file).read_to_end(&mut unpacked).unwrap();
    for text in [CANARY, SECRET] {
        assert!(!unpacked.windows(text.len()).any(|it| it == text.as_bytes()), "{text}");
    }

    let to = elsewhere(&world).file("wrong.txt", "another horse battery staple\n");
    for (with, why) in [("", "name what opens them"), ("--passphrase-file wrong.txt", "fits")] {
        let line = format!("tenant import x.tar.gz --data e {with}");
        let refused = refusal(&to, line.trim());
        assert!(refused.contains(why) && refused.contains("export_key_missing"), "{refused}");
    }
    assert!(!to.path("e").exists());
    let import = format!("tenant import x.tar.gz --data e {LOCK}");
    let dry = to.good(&format!("{import} --dry-run"));
    assert!(!to.path("e").exists());
    let came = to.good(&import);
    assert_eq!((&came["came"], &came["present"]), (&dry["came"], &json!(0)));
    assert_eq!(said(&to, "e", &ids), said(&world, "d", &ids));
    assert_eq!(holding(&to.path("e"), CANARY), Vec::<std::path::PathBuf>::new());
    let erased = to.good(&format!("show {} --data e", ids[2]));
    assert_eq!(erased["snapshot"]["data"], "[ERASED]");
    let secrets = to.good("secrets list --data e");
    assert!(secrets.to_string().contains("stripe"), "{secrets}");
    to.good("doctor --data e");
    to.good("rebuild --tree --data e");
    assert_eq!(to.good("view verify e")["differences"], 0);

    // The same again changes nothing, and what goes on there stays.
    let log = to.run(&["log", "cat", "e"]).stdout;
    let again = to.good(&import);
    assert_eq!((&again["present"], &again["came"]["records"]), (&json!(3), &json!(0)));
    assert_eq!(to.run(&["log", "cat", "e"]).stdout, log);
    to.good(&format!("send {} close --data e", ids[0]));
    to.good("privacy erase --subject anna --data e");
    assert_eq!(to.good(&import)["present"], 3);
    let erased = to.good(&format!("show {} --data e", ids[0]));
    assert_eq!(erased["snapshot"]["data"], "[ERASED]", "an import brings nobody back");
}

#[test]
fn keys_of_its_own_there_refuse_a_tenant() {
    let (world, _) = world();
    world.good(&format!("tenant export {TENANT} x.tar.gz --data d {LOCK}"));
    let to = elsewhere(&world).file("secret.txt", SECRET);
    let mut set = to.command(&["secrets", "set", "other", "--data", "e"]);
    set.stdin(fs::File::open(to.path("secret.txt")).unwrap()).stdout(Stdio::null());
    assert!(set.status().unwrap().success());
    let before = fs::read_dir(to.path("e")).unwrap().count();
    let refused = refusal(&to, &format!("tenant import x.tar.gz --data e {LOCK} --dry-run"));
    assert!(
        refused.contains("import_collision") && refused.contains("key of its own"),
        "{refused}"
    );
    let refused = refusal(&to, &format!("tenant import x.tar.gz --data e {LOCK}"));
    assert!(refused.contains("import_collision"), "{refused}");
    assert!(fs::read_dir(to.path("e")).unwrap().count() >= before);
    assert!(!to.path("e/importing.json").exists());
}

/// Serves a directory; returns the tenant of who registers.
fn registered(world: &World, email: &str) -> (Server, String, String) {
    let server = Server::serve(world);
    let token = server.register(email);
    let tenant = server.get(&token, "/tenants/current").text("/id");
    (server, token, tenant)
}

fn login(server: &Server, email: &str) -> String {
    let body = json!({ "email": email, "password": PASSWORD });
    let told = server.call("", "POST", "/auth/login", body);
    assert_eq!(told.status, 200, "{told:?}");
    told.text("/access_token")
}

#[test]
fn a_tenant_of_a_server_moves_with_members_trail_and_work() {
    let world = World::new().file("pass.txt", "correct horse battery staple\n");
    let (server, ada, tenant) = registered(&world, "ada@example.org");
    let bob = server.join(&ada, "bob@example.org", "developer");
    server.publish(&ada, "Door", DOOR);
    let id = server.start(&bob, "Door");
    assert!(server.send(&bob, &id, "open").status < 300);
    let key =
        server.post(&ada, "/api-keys", json!({ "name": "ci", "scopes": ["workflow_monitor"] }));
    assert_eq!(key.status, 201, "{key:?}");
    let shown = server.get(&ada, &format!("/tenants/current/instances/{id}")).body;
    let trail = |server: &Server, who: &str| {
        let checked = server.post(who, "/audit/verify", Json::Null);
        assert_eq!(checked.body["whole"], true, "{checked:?}");
        let told = server.get(who, "/tenants/current/audit?limit=200");
        told.body["items"].as_array().unwrap_or_else(|| panic!("{told:?}")).clone()
    };
    let entries = trail(&server, &ada);
    drop(server);

    let export = format!("tenant export {tenant} x.tar.gz --data data");
    let refused = refusal(&world, &export);
    assert!(refused.contains("members and documents of a server"), "{refused}");
    let told = world.good(&format!("{export} {LOCK}"));
    assert!(told["ledger"].as_u64().unwrap() > 5, "{told}");

    let to = elsewhere(&world);
    let import = format!("tenant import x.tar.gz --data data {LOCK}");
    let dry = to.good(&format!("{import} --dry-run"));
    let came = to.good(&import);
    assert_eq!((&came["came"]["users"], &dry["came"]["users"]), (&json!(2), &json!(2)));
    let audited = to.run(&["audit", "verify", "--data", "data"]);
    assert!(audited.status.success(), "{}", to.shown(&audited));
    let again = to.good(&import);
    assert_eq!((&again["came"]["users"], &again["users_present"]), (&json!(0), &json!(2)));

    let server = Server::serve(&to);
    let (ada, bob) = (login(&server, "ada@example.org"), login(&server, "bob@example.org"));
    assert_eq!(server.get(&bob, "/tenants/current").text("/id"), tenant);
    let there = server.get(&ada, &format!("/tenants/current/instances/{id}")).body;
    assert_eq!(there["data"], shown["data"]);
    assert_eq!((&there["seq"], &there["state"]), (&shown["seq"], &shown["state"]));
    // Programs go on with their keys, and work goes on.
    let by_key = server.get(&key.text("/key"), "/tenants/current/instances");
    assert_eq!(by_key.status, 200, "{by_key:?}");
    assert!(server.send(&bob, &id, "close").status < 300);
    let later = trail(&server, &ada);
    // The newest come first: what was there is all there, and each act stands there once.
    let ids = |all: &[Json]| all.iter().map(|it| it["hash"].clone()).collect::<Vec<_>>();
    assert!(ids(&later).ends_with(&ids(&entries)), "{later:?}");
    let starts = |all: &[Json]| all.iter().filter(|it| it["action"] == "instance.started").count();
    assert_eq!((starts(&entries), starts(&later)), (1, 1));
    drop(server);

    // Somebody else has the address of a member: nothing comes.
    let taken = elsewhere(&world);
    let (server, ..) = registered(&taken, "bob@example.org");
    drop(server);
    let log = taken.run(&["log", "cat", "data"]).stdout;
    let refused = refusal(&taken, &import);
    assert!(refused.contains("import_collision") && refused.contains("e-mail"), "{refused}");
    assert_eq!(taken.run(&["log", "cat", "data"]).stdout, log);
}
