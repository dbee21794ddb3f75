//! A tenant that has everything sealed: definitions, documents of a server and what is emitted
//! stand in no file in the open, and everything works with them as before.

use std::{fs, io::Read as _, path::PathBuf};

use serde_json::{Value as Json, json};

use crate::{
    cli::{DOOR, World},
    erasure::holding,
    server::{PASSWORD, Server},
};

const CANARY: &str = "canary_blueprint_93Kd";
const LOCK: &str = "--passphrase-file pass.txt";

/// Says what it must not in a description, in a guard and in literals of an effect and an event.
const SECRETIVE: &str = r#"
traaviis: "1"
name: Secretive
version: 1.0.0
description: canary_blueprint_93Kd is how we do it
initial: open
data: {initial: {n: 0}}
events: {go: {}, close: {}}
states:
  open:
    on:
      go: {target: working, guard: "data.n < 5 && string(data.n) != 'canary_blueprint_93Kd'"}
      close: done
  working:
    invoke:
      - id: make
        effect: {type: value, value: {recipe: canary_blueprint_93Kd}}
        onDone: {target: open, actions: [{assign: {n: "${data.n + 1}"}}, {emit: {event: made, data: {what: canary_blueprint_93Kd}}}]}
  done: {type: final, output: {n: "${data.n}"}}
x-waive: {W209: it may wait for ever}
"#;

/// Hears it, when it gets to it.
const LISTENER: &str = r#"
traaviis: "1"
name: Listener
version: 1.0.0
initial: open
events: {heard: {}}
subscribe: [{from: {workflow: Secretive}, event: made, as: heard}]
states:
  open: {on: {heard: done}}
  done: {type: final}
x-waive: {W209: it may wait for ever}
"#;

fn nothing(world: &World, dir: &str) {
    assert_eq!(holding(&world.path(dir), CANARY), Vec::<PathBuf>::new(), "in {dir}");
}

fn newest(world: &World) -> String {
    let rows = world.good("ps --all --data d");
    let rows = rows["instances"].as_array().unwrap();
    rows.iter().map(|it| it["id"].as_str().unwrap()).max().unwrap().to_owned()
}

fn run(world: &World, file: &str) -> String {
    let output = world.run(&["run", file, "--data", "d", "--tree", "eager"]);
    assert_eq!(output.status.code(), Some(1), "{}", world.shown(&output));
    newest(world)
}

#[test]
fn definitions_and_what_is_emitted_rest_sealed_where_everything_is() {
    let world = World::new()
        .file("secretive.yaml", SECRETIVE)
        .file("listener.yaml", LISTENER)
        .file("door.yaml", DOOR);
    // One of before rests as it was, and opens.
    let door = run(&world, "door.yaml");
    world.good("keys encryption all --data d");
    let listener = run(&world, "listener.yaml");
    world.good(&format!("pause {listener} --data d"));
    let id = run(&world, "secretive.yaml");
    world.good(&format!("send {id} go --data d"));
    nothing(&world, "d");
    let file = world.path("secretive.yaml");
    assert!(fs::read_to_string(&file).unwrap().contains(CANARY), "it can be found");
    // Whoever goes on with it, beside no file, has it from the log.
    fs::remove_file(&file).unwrap();
    let works = |world: &World, dir: &str| {
        assert_eq!(world.good(&format!("replay {id} --data {dir}"))["identical"], true);
        let shown = world.run(&["export", &id, "--data", dir]);
        assert!(String::from_utf8_lossy(&shown.stdout).contains(CANARY), "{dir}");
        let told = world.run(&["logs", &id, "--data", dir]);
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        let guard = format!("[data.n < 5 && string(data.n) != '{CANARY}']");
        assert!(told.contains(&guard), "why it went on is told: {told}");
    };
    works(&world, "d");
    world.good(&format!("send {id} go --data d"));
    world.good(&format!("send {door} open --data d"));
    world.good("compact d");
    world.good("rebuild --tree --data d");
    assert_eq!(world.good("view verify d")["differences"], 0);
    world.good("doctor --data d");
    nothing(&world, "d");
    // With keys that are new, in a copy, and elsewhere.
    world.good("keys rotate --data d");
    world.good("keys rotate --root --data d");
    world.good("backup b --data d");
    assert_eq!(world.good("backup verify b --against d")["problems"], json!([]));
    world.good("restore b --data r");
    nothing(&world, "r");
    works(&world, "r");
    world.good(&format!("send {id} go --data r"));

    // What was sealed stays so once it is not asked for any more, wherever it is kept.
    world.good("keys encryption people --data d");
    world.good(&format!("send {id} go --data d"));
    world.good("rebuild --tree --data d");
    assert_eq!(world.good("view verify d")["differences"], 0);
    nothing(&world, "d");
    works(&world, "d");
    world.good(&format!("resume {listener} --data d"));
    nothing(&world, "d");
}

pub fn patched(server: &Server, who: &str, path: &str, body: Json) {
    let before = server.get(who, path);
    let more = format!("if-match: {}\r\n", before.header("etag"));
    let told = server.call_with(who, "PATCH", path, &more, body);
    assert_eq!(told.status, 200, "{told:?}");
}

fn login(server: &Server) -> String {
    let body = json!({ "email": "ada@example.org", "password": PASSWORD });
    let told = server.call("", "POST", "/auth/login", body);
    assert_eq!(told.status, 200, "{told:?}");
    told.text("/access_token")
}

/// Returns what is told of everything that was made.
fn told(server: &Server, who: &str) -> Vec<Json> {
    ["workflows/Secretive", "workflows/Secretive/draft", "schedules", "webhooks", "members"]
        .map(|it| {
            let told = server.get(who, &format!("/tenants/current/{it}"));
            assert_eq!(told.status, 200, "{it}: {told:?}");
            told.body
        })
        .to_vec()
}

#[test]
fn documents_of_a_server_rest_sealed_where_everything_is() {
    let world = World::new().file("pass.txt", "correct horse battery staple\n");
    let server = Server::serve(&world);
    let ada = server.register("ada@example.org");
    let tenant = server.get(&ada, "/tenants/current").text("/id");
    server.publish(&ada, "Door", DOOR);
    patched(&server, &ada, "/tenants/current/config", json!({ "encryption": "all" }));
    server.publish(&ada, "Secretive", SECRETIVE);
    let id = server.start(&ada, "Secretive");
    let input = json!({ "recipe": CANARY });
    let url = format!("https://example.org/{CANARY}");
    for (path, body) in [
        ("/schedules", json!({ "workflow": "Door", "cron": "@daily", "input": input })),
        ("/webhooks", json!({ "url": url, "events": ["finished"] })),
    ] {
        let made = server.post(&ada, path, body);
        assert_eq!(made.status, 201, "{path}: {made:?}");
    }
    let before = told(&server, &ada);
    assert!(before.iter().skip(1).take(3).all(|it| it.to_string().contains(CANARY)), "{before:?}");
    let audited = |server: &Server, who: &str| {
        let checked = server.post(who, "/audit/verify", Json::Null);
        assert_eq!(checked.body["whole"], true, "{checked:?}");
    };
    audited(&server, &ada);
    server.kill();
    nothing(&world, "data");

    // What is made again from the log is the same, and sealed again.
    for gone in [None, Some("documents"), Some("index")] {
        if let Some(gone) = gone {
            // Json-only storage has no index.
            let _ = fs::remove_dir_all(world.path(&format!("data/{gone}")));
        }
        let server = Server::serve(&world);
        let ada = login(&server);
        assert_eq!(told(&server, &ada), before, "{gone:?}");
        assert!(server.send(&ada, &id, "go").status < 300);
        server.start(&ada, "Secretive");
        audited(&server, &ada);
        server.kill();
        nothing(&world, "data");
    }
    let audit = world.run(&["audit", "verify", "--data", "data"]);
    assert!(audit.status.success(), "{}", world.shown(&audit));

    // It moves with its keys.
    world.good(&format!("tenant export {tenant} x.tar.gz --data data {LOCK}"));
    let file = fs::File::open(world.path("x.tar.gz")).unwrap();
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(file).read_to_end(&mut unpacked).unwrap();
    assert!(!unpacked.windows(CANARY.len()).any(|it| it == CANARY.as_bytes()));
    let to = World::new().file("pass.txt", "correct horse battery staple\n");
    fs::copy(world.path("x.tar.gz"), to.path("x.tar.gz")).unwrap();
    to.good(&format!("tenant import x.tar.gz --data data {LOCK}"));
    nothing(&to, "data");
    let server = Server::serve(&to);
    let ada = login(&server);
    assert_eq!(told(&server, &ada), before);
    assert!(server.send(&ada, &id, "go").status < 300);
    server.kill();
    nothing(&to, "data");
}
