//! Jobs: one thing done to many, upgrades, and what a kill leaves of them.

use serde_json::{Value as Json, json};

use super::DOOR;
use crate::{
    cli::{World, wait_until},
    server::{PASSWORD, Server, Told},
};

fn settled(api: &Server, who: &str, id: &str) -> Told {
    let path = format!("/tenants/current/jobs/{id}");
    let mut told = api.get(who, &path);
    wait_until("the job is over", || {
        told = api.get(who, &path);
        told.text("/status") != "running"
    });
    told
}

fn count(api: &Server, who: &str, query: &str) -> usize {
    let listed = api.get(who, &format!("/tenants/current/instances?limit=200&{query}"));
    listed.body["items"].as_array().map_or(0, Vec::len)
}

#[test]
fn a_job_does_one_thing_to_many_and_says_who_refused() {
    let world = World::new();
    let api = Server::serve(&world);
    let ada = api.register("ada@example.org");
    api.publish(&ada, "Door", DOOR);
    let ids: Vec<String> = (0..20).map(|_| api.start(&ada, "Door")).collect();
    for id in &ids[..5] {
        let body = json!({ "event": "open", "data": { "by": 1 } });
        assert_eq!(api.post(&ada, &format!("/instances/{id}/events"), body).status, 200);
    }
    let ask = |more: Json| {
        let mut body = json!({
            "operation": { "action": "send", "event": "lock" },
            "filter": { "workflow": "Door" },
            "rate": 1_000,
        });
        for (key, value) in more.as_object().unwrap() {
            body[key] = value.clone();
        }
        api.post(&ada, "/instances/bulk", body)
    };
    let planned = ask(json!({ "dry_run": true }));
    assert_eq!((planned.status, &planned.body["progress"]["total"]), (202, &json!(20)));
    let bad = ask(json!({ "filter": {} }));
    assert_eq!((bad.status, bad.code()), (422, "validation_failed"));
    let bad = ask(json!({ "operation": { "action": "upgrade", "definition": {} } }));
    assert_eq!(bad.status, 422);
    let bad = ask(json!({ "operation": { "action": "move", "to": ["shut"] } }));
    assert_eq!((bad.status, &*bad.text("/errors/0/pointer")), (422, "/reason"));
    let made = ask(json!({}));
    assert_eq!(made.status, 202, "{made:?}");
    let id = made.text("/id");
    assert_eq!(made.header("location"), format!("/api/v1/tenants/current/jobs/{id}"));
    let told = settled(&api, &ada, &id);
    assert_eq!(told.text("/status"), "done", "{told:?}");
    assert_eq!(told.body["progress"], json!({ "total": 20, "done": 20, "refused": 5 }));
    assert_eq!(told.text("/result/refusals/0/code"), "event_not_accepted");
    assert_eq!(count(&api, &ada, "status=completed"), 15);
    let over = api.post(&ada, &format!("/jobs/{id}/cancel"), json!(null));
    assert_eq!((over.status, over.code()), (409, "invalid_state"));

    let bob = api.join(&ada, "bob@example.org", "viewer");
    assert_eq!(api.get(&bob, &format!("/tenants/current/jobs/{id}")).status, 404);
    assert_eq!(api.get(&bob, "/tenants/current/jobs").body["items"], json!([]));
    let audit = api.get(&ada, "/tenants/current/audit").body.to_string();
    assert!(audit.contains("job.created") && audit.contains("job.done"), "{audit}");
}

#[test]
fn too_many_refusals_hold_a_job_until_somebody_has_looked() {
    let world = World::new();
    let api = Server::serve(&world);
    let ada = api.register("ada@example.org");
    api.publish(&ada, "Door", DOOR);
    (0..8).for_each(|_| drop(api.start(&ada, "Door")));
    let body = json!({
        "operation": { "action": "send", "event": "shut" },
        "filter": { "workflow": "Door" },
        "max_failures": 3,
    });
    let id = api.post(&ada, "/instances/bulk", body).text("/id");
    let told = settled(&api, &ada, &id);
    assert_eq!((&*told.text("/status"), &told.body["progress"]["done"]), ("paused", &json!(3)));
    assert_eq!(told.text("/error"), "3 instances have refused");
    let told = api.post(&ada, &format!("/jobs/{id}/resume"), json!(null));
    assert_eq!(told.text("/status"), "running", "{told:?}");
    assert_eq!(settled(&api, &ada, &id).body["progress"]["done"], json!(6));
    let told = api.post(&ada, &format!("/jobs/{id}/cancel"), json!(null));
    assert_eq!(told.text("/status"), "cancelled");
}

#[test]
fn a_job_goes_on_after_a_kill() {
    let world = World::new();
    let api = Server::serve(&world);
    let ada = api.register("ada@example.org");
    api.publish(&ada, "Door", DOOR);
    (0..60).for_each(|_| drop(api.start(&ada, "Door")));
    let body = json!({
        "operation": { "action": "cancel" },
        "filter": { "workflow": "Door" },
        "reason": "the house is gone",
        "rate": 30,
    });
    let id = api.post(&ada, "/instances/bulk", body).text("/id");
    wait_until("some are done and noted", || {
        let told = api.get(&ada, &format!("/tenants/current/jobs/{id}"));
        told.body["progress"]["done"].as_u64() > Some(5)
    });
    api.kill();
    let api = Server::serve(&world);
    let login = json!({ "email": "ada@example.org", "password": PASSWORD });
    let ada = api.call("", "POST", "/auth/login", login).text("/access_token");
    let told = settled(&api, &ada, &id);
    assert_eq!(told.text("/status"), "done", "{told:?}");
    assert_eq!(told.body["progress"], json!({ "total": 60, "done": 60, "refused": 0 }));
    assert_eq!(count(&api, &ada, "status=cancelled"), 60);
}

#[test]
fn a_job_ends_with_the_right_of_who_made_it() {
    let world = World::new();
    let api = Server::serve(&world);
    let ada = api.register("ada@example.org");
    let bob = api.join(&ada, "bob@example.org", "developer");
    api.publish(&ada, "Door", DOOR);
    (0..30).for_each(|_| drop(api.start(&ada, "Door")));
    let body = json!({
        "operation": { "action": "pause" }, "filter": { "workflow": "Door" }, "rate": 5,
    });
    let id = api.post(&bob, "/instances/bulk", body).text("/id");
    let members = api.get(&ada, "/tenants/current/members");
    let all = members.body["items"].as_array().unwrap();
    let user = all.iter().find(|it| it["role"] == "developer").unwrap()["user_id"].clone();
    let user = user.as_str().unwrap();
    assert_eq!(api.post(&ada, &format!("/members/{user}/suspend"), json!(null)).status, 200);
    let told = settled(&api, &ada, &id);
    assert_eq!(told.text("/status"), "failed", "{told:?}");
    assert!(count(&api, &ada, "status=paused") < 30);
}

#[test]
fn an_upgrade_is_planned_started_and_done() {
    let world = World::new();
    let api = Server::serve(&world);
    let ada = api.register("ada@example.org");
    api.publish(&ada, "Door", DOOR);
    let ids: Vec<String> = (0..10).map(|_| api.start(&ada, "Door")).collect();
    api.post(
        &ada,
        &format!("/instances/{}/events", ids[0]),
        json!({ "event": "open", "data": { "by": 1 } }),
    );
    // The state that one of them is in has no counterpart.
    let next = DOOR.replace("1.0.0", "2.0.0").replace("ajar", "open");
    let draft = api.get(&ada, "/tenants/current/workflows/Door/draft");
    let more = format!("if-match: {}\r\n", draft.header("etag"));
    let put = api.call_with(
        &ada,
        "PUT",
        "/tenants/current/workflows/Door/draft",
        &more,
        json!({ "document": next }),
    );
    assert_eq!(put.status, 200, "{put:?}");
    let bad = api.post(&ada, "/workflows/Door/publish", json!({ "upgrade": "perhaps" }));
    assert_eq!(bad.status, 422);
    let told = api.post(&ada, "/workflows/Door/publish", json!({ "upgrade": "plan" }));
    assert_eq!(told.status, 201, "{told:?}");
    let id = told.text("/upgrade_plan");
    let path = format!("/workflows/Door/upgrade-plan/{id}");
    let plan = api.get(&ada, &format!("/tenants/current{path}"));
    assert_eq!(plan.text("/status"), "planned", "{plan:?}");
    assert_eq!(
        plan.body["about"]["counts"],
        json!({ "blocked": 0, "current": 0, "needs_mapping": 1, "safe": 9 })
    );
    assert_eq!(plan.body["about"]["groups"][1]["class"], "needs_mapping");
    let ask = json!({ "hold_s": 1, "canary_percent": 20, "rate": 1_000 });
    let quick = api.post(&ada, "/workflows/Door/upgrade-plan", ask);
    assert_eq!((quick.status, &quick.body["result"]["canary"]["count"]), (201, &json!(2)));
    let aborted = api.post(&ada, &format!("{path}/abort"), json!(null));
    assert_eq!(aborted.text("/status"), "cancelled");
    let id = quick.text("/id");
    let path = format!("/workflows/Door/upgrade-plan/{id}");
    assert_eq!(api.post(&ada, &format!("{path}/start"), json!(null)).status, 200);
    let told = settled(&api, &ada, &id);
    assert_eq!(told.body["progress"], json!({ "total": 9, "done": 9, "refused": 0 }), "{told:?}");
    assert_eq!(told.body["result"]["canary"]["passed"], json!(true));
    assert_eq!(count(&api, &ada, "version=2.0.0"), 9);
    assert_eq!(count(&api, &ada, "version=1.0.0"), 1);
    let other = api.get(&ada, &format!("/tenants/current/workflows/Lamp/upgrade-plan/{id}"));
    assert_eq!(other.status, 404, "a plan of another workflow");
}
