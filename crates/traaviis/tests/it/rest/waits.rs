//! Callers who wait, and what they cost.

use serde_json::json;

use super::DOOR;
use crate::{
    cli::{World, wait_until},
    server::{Server, read},
};

/// Requests that wait at once in the test.
const WAITING: usize = 256;

#[test]
fn many_who_wait_hold_no_thread() {
    // With json-only storage looks are answered from the tree, on a thread for each.
    let world = World::embedded();
    let api = Server::serve(&world);
    let ada = api.register("ada@example.org");
    api.publish(&ada, "Door", DOOR);
    let ids: Vec<String> = (0..WAITING).map(|_| api.start(&ada, "Door")).collect();
    let before = api.threads();
    let connections: Vec<_> = ids
        .iter()
        .map(|id| {
            let query = "wait=state:locked&timeout=60";
            let path = format!("/tenants/current/instances/{id}/events?{query}");
            api.begin(&ada, "POST", &path, "", &json!({ "event": "open" }))
        })
        .collect();
    wait_until("all have sent their event", || {
        let told = api.get(&ada, "/tenants/current/instances?limit=200&state=shut");
        told.body["items"].as_array().is_some_and(Vec::is_empty)
    });
    let during = api.threads();
    assert!(during <= before + 32, "{before} threads before, {during} with {WAITING} who wait");
    let events = ids
        .iter()
        .flat_map(|id| ["shut", "lock"].map(|event| json!({ "instance": id, "event": event })));
    let batch = json!({ "events": events.collect::<Vec<_>>() });
    assert_eq!(api.post(&ada, "/events/batch", batch).body["refused"], json!(0));
    for stream in connections {
        let told = read(stream);
        assert_eq!((told.status, &told.body["waited"]["is_met"]), (200, &json!(true)), "{told:?}");
        assert_eq!(told.text("/state"), "locked");
    }
}

#[test]
fn a_wait_says_what_came_of_it() {
    let world = World::new();
    let api = Server::serve(&world);
    let ada = api.register("ada@example.org");
    api.publish(&ada, "Door", DOOR);
    let id = api.start(&ada, "Door");
    let post = |query: &str, event: &str| {
        let path = format!("/instances/{id}/events{query}");
        api.post(&ada, &path, json!({ "event": event, "data": { "by": "ada" } }))
    };
    let told = post("?wait=step", "open");
    assert_eq!((told.status, &*told.text("/state")), (200, "ajar"), "{told:?}");
    let told = post("?wait=final&timeout=1", "shut");
    assert_eq!(told.body["waited"], json!({ "until": "final", "is_met": false }), "{told:?}");
    let told = post("?wait=state:attic", "open");
    assert_eq!((told.status, told.code()), (422, "validation_failed"), "{told:?}");
    let told = post("", "fly");
    assert_eq!((told.status, told.code()), (422, "unknown_event"), "{told:?}");
    let told = post("?wait=final", "lock");
    assert_eq!(told.body["waited"]["is_met"], json!(true));
    let told = post("", "open");
    assert_eq!((told.status, told.code()), (409, "invalid_state"), "{told:?}");
    let shown = api.get(&ada, &format!("/tenants/current/instances/{id}"));
    assert_eq!((shown.status, &*shown.text("/state")), (200, "locked"));
}

/// The quick way looks at rights as every other does: what was taken is gone with the next request.
#[test]
fn rights_are_looked_at_on_every_request() {
    let world = World::new();
    let api = Server::serve(&world);
    let ada = api.register("ada@example.org");
    let eve = api.register("eve@example.org");
    let bob = api.join(&ada, "bob@example.org", "viewer");
    api.publish(&ada, "Door", DOOR);
    api.publish(&eve, "Door", DOOR);
    api.start(&eve, "Door");
    let id = api.start(&ada, "Door");
    api.post(
        &ada,
        &format!("/instances/{id}/events"),
        json!({ "event": "open", "data": { "by": "cat@example.org" } }),
    );
    let path = format!("/tenants/current/instances/{id}");
    let told = api.get(&ada, &path);
    assert_eq!(told.text("/snapshot/data/by"), "cat@example.org");
    let told = api.get(&bob, &path);
    assert_eq!((told.status, &*told.text("/snapshot/data/by")), (200, "[EMAIL]"), "{told:?}");
    let told = api.send(&bob, &id, "shut");
    assert_eq!((told.status, told.code()), (403, "insufficient_permissions"));
    let (seen, absent) = (api.get(&eve, &path), api.get(&eve, &path.replace(&id[..8], "01980000")));
    assert_eq!((seen.status, absent.status, seen.code()), (404, 404, "not_found"));
    assert_eq!(api.send(&eve, &id, "shut").status, 404);
    assert_eq!(api.get("", &path).status, 401);
    let members = api.get(&ada, "/tenants/current/members");
    let bobs = members.body["items"].as_array().unwrap().iter().find(|it| it["role"] == "viewer");
    let user = bobs.unwrap()["user_id"].as_str().unwrap();
    let told = api.post(&ada, &format!("/members/{user}/suspend"), json!(null));
    assert_eq!(told.status, 200, "{told:?}");
    assert_eq!(api.get(&bob, &path).code(), "no_tenant_context");
    let again = api.call_with(
        &ada,
        "POST",
        "/tenants/current/instances",
        "idempotency-key: k\r\n",
        json!({ "workflow": "Door" }),
    );
    let same = api.call_with(
        &ada,
        "POST",
        "/tenants/current/instances",
        "idempotency-key: k\r\n",
        json!({ "workflow": "Door" }),
    );
    assert_eq!((again.status, again.text("/id")), (201, same.text("/id")));
    assert_eq!(api.call("", "POST", "/auth/logout", json!(null)).status, 401);
    assert_eq!(api.call(&ada, "POST", "/auth/logout", json!(null)).status, 204);
    assert_eq!(api.get(&ada, &path).code(), "session_expired");
}
