//! A server whose log has lost records about who may do what: nobody gets back what was taken away.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value as Json, json};

use crate::{
    cli::{World, wait_until},
    server::Server,
};

/// Returns the only segment of a log and how many bytes in it are written.
fn segment(world: &World) -> (PathBuf, usize) {
    let is_segment = |it: &PathBuf| it.extension().is_some_and(|it| it == "seg");
    let files = fs::read_dir(world.path("data/log")).unwrap().map(|it| it.unwrap().path());
    let found: Vec<PathBuf> = files.filter(is_segment).collect();
    let [segment] = &found[..] else { panic!("{found:?}") };
    let bytes = fs::read(segment).unwrap();
    (segment.clone(), bytes.iter().rposition(|it| *it != 0).map_or(0, |it| it + 1))
}

/// Flips a bit.
fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn copy(world: &World, from: &str, to: &str) {
    let mut command = std::process::Command::new("cp");
    command.arg("-a").args([world.path(from), world.path(to)]);
    assert!(command.status().unwrap().success());
}

#[test]
fn a_key_that_was_revoked_stays_so_when_the_log_forgets_it() {
    let world = World::new();
    let server = Server::serve(&world);
    let (ada, bob) = (server.register("ada@example.org"), server.register("bob@example.org"));
    let key = json!({ "name": "ci", "scopes": ["workflow_monitor"] });
    let made = server.post(&ada, "/api-keys", key);
    assert_eq!(made.status, 201, "{made:?}");
    let (key, id) = (made.text("/key"), made.text("/id"));
    assert_eq!(server.get(&key, "/tenants/current/workflows").status, 200);
    let (_, before) = segment(&world);
    let path = format!("/tenants/current/api-keys/{id}");
    assert_eq!(server.call(&ada, "DELETE", &path, Json::Null).status, 204);
    let (log, after) = segment(&world);
    // What comes behind it shows that something is missing.
    let note = json!({ "name": "again", "scopes": ["workflow_monitor"] });
    assert_eq!(server.post(&ada, "/api-keys", note).status, 201);
    server.kill();
    flip(&log, (before + after) / 2);

    // The documents beside the log still know it.
    let server = Server::serve(&world);
    assert_eq!(server.get(&key, "/tenants/current/workflows").status, 401);
    assert_eq!(server.get(&ada, "/tenants/current/workflows").status, 200);
    server.kill();
    // Made again from the log, they do not: nobody enters, and others are not harmed.
    fs::remove_dir_all(world.path("data/documents")).unwrap();
    let server = Server::serve(&world);
    assert_eq!(server.get(&key, "/tenants/current/workflows").status, 401);
    assert_eq!(server.get(&ada, "/tenants/current/workflows").status, 403);
    assert_eq!(server.get(&bob, "/tenants/current/workflows").status, 200);
    server.kill();
    // The next start reads the log from behind the damage, and says the same.
    let server = Server::serve(&world);
    assert_eq!(server.get(&key, "/tenants/current/workflows").status, 401);
    assert_eq!(server.get(&ada, "/tenants/current/workflows").status, 403);
    server.kill();
}

/// Gives a key that only reads, and its id.
fn key_of(server: &Server, who: &str) -> (String, String) {
    let made =
        server.post(who, "/api-keys", json!({ "name": "ci", "scopes": ["workflow_monitor"] }));
    assert_eq!(made.status, 201, "{made:?}");
    (made.text("/key"), made.text("/id"))
}

#[test]
fn a_tenant_whose_last_records_may_be_lost_stays_closed_until_somebody_accepts_that() {
    let world = World::new();
    let server = Server::serve(&world);
    let (ada, bob) = (server.register("ada@example.org"), server.register("bob@example.org"));
    let (key, id) = key_of(&server, &ada);
    let (_, before) = segment(&world);
    let path = format!("/tenants/current/api-keys/{id}");
    assert_eq!(server.call(&ada, "DELETE", &path, Json::Null).status, 204);
    let (log, after) = segment(&world);
    // Of the tenant nothing comes behind it that would show that something is missing.
    key_of(&server, &bob);
    server.register("cyd@example.org");
    server.kill();
    flip(&log, (before + after) / 2);
    fs::remove_dir_all(world.path("data/documents")).unwrap();
    for _ in 0..2 {
        let server = Server::serve(&world);
        assert_eq!(server.get(&key, "/tenants/current/workflows").status, 401);
        assert_eq!(server.get(&ada, "/tenants/current/workflows").status, 403);
        assert_eq!(server.get(&bob, "/tenants/current/workflows").status, 200);
        server.kill();
    }
    world.good("rebuild --data data --accept-lost-documents");
    let server = Server::serve(&world);
    assert_eq!(server.get(&ada, "/tenants/current/workflows").status, 200);
    assert_eq!(server.get(&key, "/tenants/current/workflows").status, 200, "that is the price");
    server.kill();
}

#[test]
fn a_log_that_lost_its_end_is_not_served_without_the_documents_beside_it() {
    let world = World::new();
    let server = Server::serve(&world);
    let ada = server.register("ada@example.org");
    let (log, held) = segment(&world);
    key_of(&server, &ada);
    server.stop();
    fs::remove_dir_all(world.path("data/documents")).unwrap();
    fs::OpenOptions::new().write(true).open(&log).unwrap().set_len(held as u64).unwrap();
    let served = ["serve", "--data", "data", "--listen", "127.0.0.1:0", "--admin-listen", "off"];
    for _ in 0..2 {
        let refused = world.run(&served);
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{told}");
        assert!(told.contains("(data_directory_damaged)"), "{told}");
        assert!(told.contains("rebuild --accept-lost-documents"), "{told}");
    }
    world.good("rebuild --data data --accept-lost-documents");
    let server = Server::serve(&world);
    assert_eq!(server.get(&ada, "/tenants/current/workflows").status, 200);
    server.kill();
}

#[test]
fn a_log_that_is_an_older_copy_is_not_served() {
    let world = World::new();
    let server = Server::serve(&world);
    server.register("ada@example.org");
    server.kill();
    copy(&world, "data/log", "older");
    let server = Server::serve(&world);
    server.register("bob@example.org");
    server.kill();
    fs::rename(world.path("data/log"), world.path("newer")).unwrap();
    copy(&world, "older", "data/log");
    let served = ["serve", "--data", "data", "--listen", "127.0.0.1:0", "--admin-listen", "off"];
    let refused = world.run(&served);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{told}");
    assert!(told.contains("(data_directory_damaged)"), "{told}");
    // Nothing was thrown away.
    fs::remove_dir_all(world.path("data/log")).unwrap();
    fs::rename(world.path("newer"), world.path("data/log")).unwrap();
    let server = Server::serve(&world);
    let login = json!({ "email": "bob@example.org", "password": crate::server::PASSWORD });
    assert_eq!(server.call("", "POST", "/auth/login", login).status, 200);
    server.kill();
}

#[test]
fn a_server_whose_log_was_removed_tells_nobody_yes_and_ends() {
    let world = World::new();
    let mut server = Server::serve(&world);
    let ada = server.register("ada@example.org");
    fs::remove_dir_all(world.path("data/log")).unwrap();
    let key = json!({ "name": "ci", "scopes": ["workflow_monitor"] });
    assert_eq!(server.post(&ada, "/api-keys", key).status, 500);
    let mut ended = None;
    wait_until("the server ends", || {
        ended = server.process.0.try_wait().unwrap();
        ended.is_some()
    });
    assert_eq!(ended.unwrap().code(), Some(70));
}

#[test]
fn keys_of_a_server_are_changed_for_the_tenant_that_is_named() {
    let world = World::new();
    let server = Server::serve(&world);
    let ada = server.register("ada@example.org");
    let tenant = server.get(&ada, "/tenants/current").text("/id");
    let secret = json!({ "value": "canary" });
    let put = server.call(&ada, "PUT", "/tenants/current/secrets/token", secret);
    assert_eq!(put.status, 200, "{put:?}");
    for change in ["keys rotate --data data", "keys encryption all --data data"] {
        let refused = world.run(&change.split(' ').collect::<Vec<_>>());
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{told}");
        assert!(told.contains("--tenant"), "{told}");
    }
    let rotated = world.good(&format!("keys rotate --data data --tenant {tenant}"));
    assert_eq!((&rotated["version"], &rotated["secrets"]), (&json!(2), &json!(1)));
    let sealed = world.good(&format!("keys encryption all --data data --tenant {tenant}"));
    assert_eq!(sealed["encryption"], "all");
    let unknown = "keys rotate --data data --tenant 01a22dec-8b79-74d2-a99e-76825ca66dd0";
    assert_eq!(world.run(&unknown.split(' ').collect::<Vec<_>>()).status.code(), Some(3));
    server.kill();
}
