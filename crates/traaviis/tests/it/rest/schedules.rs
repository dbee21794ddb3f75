//! Schedules of a tenant.

use serde_json::json;

use super::DOOR;
use crate::{
    cli::{World, wait_until},
    server::{PASSWORD, Server},
};

#[test]
fn a_schedule_starts_a_workflow_again_and_again_and_outlives_a_kill() {
    let world = World::new();
    let api = Server::serve(&world);
    let ada = api.register("ada@example.org");
    let bad = json!({ "workflow": "Door", "cron": "@hourly" });
    let told = api.post(&ada, "/schedules", bad.clone());
    assert_eq!((told.status, &*told.text("/errors/0/pointer")), (422, "/workflow"), "{told:?}");
    api.publish(&ada, "Door", DOOR);
    let told = api.post(&ada, "/schedules", json!({ "workflow": "Door", "cron": "x" }));
    assert_eq!((told.status, &*told.text("/errors/0/pointer")), (422, "/cron"));
    let told = api.post(
        &ada,
        "/schedules",
        json!({ "workflow": "Door", "cron": "* * * * *",
        "overlap": "perhaps" }),
    );
    assert_eq!(told.status, 422, "{told:?}");
    assert_eq!(api.get(&ada, "/tenants/current/schedules").body["items"], json!([]));

    let every_second = json!({ "workflow": "Door", "cron": "* * * * * *", "overlap": "allow" });
    let made = api.post(&ada, "/schedules", every_second);
    assert_eq!((made.status, &*made.text("/status")), (201, "running"), "{made:?}");
    assert_eq!(made.body["next"].as_array().unwrap().len(), 10);
    let id = made.text("/id");
    let path = format!("/tenants/current/schedules/{id}");
    let started =
        |api: &Server, who: &str| api.get(who, &path).body["started"].as_u64().unwrap_or(0);
    wait_until("it has started two", || started(&api, &ada) >= 2);

    let bob = api.join(&ada, "bob@example.org", "viewer");
    assert_eq!(api.get(&bob, &path).status, 200);
    let told = api.post(&bob, &format!("/schedules/{id}/pause"), json!(null));
    assert_eq!(told.code(), "insufficient_permissions");
    let eve = api.register("eve@example.org");
    assert_eq!(api.get(&eve, &path).code(), "not_found");

    let told = api.post(&ada, &format!("/schedules/{id}/pause"), json!(null));
    assert_eq!((told.status, &*told.text("/status")), (200, "paused"), "{told:?}");
    let told = api.post(&ada, &format!("/schedules/{id}/run"), json!(null));
    assert_eq!(told.status, 201, "{told:?}");
    let told = api.post(&ada, &format!("/schedules/{id}/resume"), json!(null));
    assert_eq!(told.text("/status"), "running");

    let etag = api.get(&ada, &path).header("etag");
    let patch = |etag: &str, body| {
        let more = format!("if-match: {etag}\r\n");
        api.call_with(&ada, "PATCH", &path, &more, body)
    };
    let sooner = json!({ "cron": "*/2 * * * * *" });
    assert_eq!(patch("\"1\"", sooner.clone()).status, 412);
    for (wrong, code, pointer) in [
        (json!({ "corn": "@daily" }), "unknown_field", "/corn"),
        (json!({ "workflow": null }), "validation_failed", "/workflow"),
    ] {
        let refused = patch(&etag, wrong);
        assert_eq!((refused.status, &*refused.text("/code")), (422, code));
        assert_eq!(refused.text("/errors/0/pointer"), pointer);
    }
    let changed = patch(&etag, sooner);
    assert_eq!((changed.status, &*changed.text("/input/cron")), (200, "*/2 * * * * *"));
    assert_eq!(changed.text("/id"), id, "it stays the same schedule");
    assert_ne!(changed.text("/instance"), made.text("/instance"));
    let before = made.text("/instance");
    let before = api.get(&ada, &format!("/tenants/current/instances/{before}/state"));
    assert_eq!(before.text("/status"), "cancelled");

    api.kill();
    let api = Server::serve(&world);
    let login = json!({ "email": "ada@example.org", "password": PASSWORD });
    let ada = api.call("", "POST", "/auth/login", login).text("/access_token");
    let seen = started(&api, &ada);
    wait_until("it goes on", || started(&api, &ada) > seen);
    assert_eq!(api.call(&ada, "DELETE", &path, json!(null)).status, 204);
    assert_eq!(api.get(&ada, &path).status, 404);
    let carrier = changed.text("/instance");
    let ended = api.get(&ada, &format!("/tenants/current/instances/{carrier}/state"));
    assert_eq!(ended.text("/status"), "cancelled");
}
