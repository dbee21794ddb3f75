//! Looks at instances and documents that change nothing, and forks.

use serde_json::{Value as Json, json};

use super::DOOR;
use crate::{cli::World, server::Server};

fn setup() -> (World, Server, String, String) {
    let world = World::new();
    let api = Server::serve(&world);
    let ada = api.register("ada@example.org");
    api.publish(&ada, "Door", DOOR);
    let id = api.start(&ada, "Door");
    let body = json!({ "event": "open", "data": { "by": "ada" } });
    let told = api.post(&ada, &format!("/instances/{id}/events"), body);
    assert_eq!(told.status, 200, "{told:?}");
    (world, api, ada, id)
}

#[test]
fn an_instance_is_looked_at_from_every_side() {
    let (_world, api, ada, id) = setup();
    let look = |what: &str| {
        let told = api.get(&ada, &format!("/tenants/current/instances/{id}{what}"));
        assert_eq!(told.status, 200, "{what}: {told:?}");
        told.body
    };
    let before = look("/replay?until=2");
    assert_eq!((&before["state"], &before["data"]), (&json!("shut"), &json!({})));
    let now = look("/replay");
    assert_eq!((&now["state"], &now["data"]), (&json!("ajar"), &json!({ "by": "ada" })));
    assert_eq!((&now["seq"], &now["of"]), (&look("/state")["seq"], &look("/state")["seq"]));
    let late = api.get(&ada, &format!("/tenants/current/instances/{id}/replay?until=99"));
    assert_eq!((late.status, late.code()), (422, "validation_failed"));
    assert_eq!(look("/state")["configuration"], json!(["ajar"]));
    assert_eq!(look("/tree")["trees"], json!([]));
    assert_eq!(look("/effects")["items"], json!([]));
    let transitions = look("/transitions");
    assert_eq!(
        transitions["transitions"],
        json!([{
            "event": "shut",
            "requires": [],
            "targets": [{
                "from": "ajar", "to": ["shut"], "is_guarded": false,
                "pointer": "/states/ajar/on/shut",
            }],
        }])
    );
    let probe = |event: &str| {
        let body = json!({ "event": event, "data": { "by": 1 } });
        api.post(&ada, &format!("/instances/{id}/validate-event"), body).body
    };
    let seq = look("/state")["seq"].clone();
    let good = probe("shut");
    assert_eq!((&good["can_transition"], &good["new_state"]), (&json!(true), &json!("shut")));
    let bad = probe("open");
    assert_eq!(bad["can_transition"], json!(false), "{bad}");
    assert_eq!(bad["refusal"]["code"], "event_not_accepted");
    assert_eq!(look("/state")["seq"], seq, "nothing was done");
}

#[test]
fn a_fork_goes_its_own_way() {
    let (_world, api, ada, id) = setup();
    let plan = json!({ "seq": 2, "dry_run": true });
    let told = api.post(&ada, &format!("/instances/{id}/fork"), plan);
    assert_eq!((told.status, &told.body["dry_run"]), (201, &json!(true)), "{told:?}");
    let told = api.post(&ada, &format!("/instances/{id}/fork"), json!({ "seq": 2 }));
    assert_eq!((told.status, &*told.text("/state")), (201, "shut"), "{told:?}");
    let fork = told.text("/instance");
    assert_eq!(api.send(&ada, &fork, "lock").text("/status"), "completed");
    let kept = api.get(&ada, &format!("/tenants/current/instances/{id}/state"));
    assert_eq!(kept.text("/state"), "ajar");
    let refused = api.post(&ada, &format!("/instances/{id}/fork"), json!({ "results": "mine" }));
    assert_eq!(refused.status, 422);
}

#[test]
fn many_events_are_each_answered() {
    let (_world, api, ada, id) = setup();
    let eve = api.register("eve@example.org");
    api.publish(&eve, "Door", DOOR);
    let theirs = api.start(&eve, "Door");
    let one = |instance: &str, event: &str| json!({ "instance": instance, "event": event });
    let batch = [one(&id, "shut"), one(&id, "fly"), one(&theirs, "open"), one("x", "open")];
    let told = api.post(&ada, "/events/batch", json!({ "events": batch }));
    let codes: Vec<&str> = told.body["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["error"]["code"].as_str().unwrap_or("-"))
        .collect();
    assert_eq!(codes, ["-", "unknown_event", "not_found", "not_found"], "{told:?}");
    let many: Vec<Json> = (0..1_001).map(|_| one(&id, "open")).collect();
    let told = api.post(&ada, "/events/batch", json!({ "events": many }));
    assert_eq!((told.status, told.code()), (422, "validation_failed"));
    let said = json!({ "event": "open", "filter": {} });
    assert_eq!(api.post(&ada, "/broadcast", said).status, 422, "nobody means all by nothing");
    let said = json!({ "event": "open", "filter": { "workflow": "Door" } });
    assert_eq!(api.post(&ada, "/broadcast", said).body["taken"], json!(1));
    let theirs = api.get(&eve, &format!("/tenants/current/instances/{theirs}/state"));
    assert_eq!(theirs.text("/state"), "shut", "another tenant's door stays shut");
}

#[test]
fn documents_are_compared_simulated_tested_imported_and_exported() {
    let (_world, api, ada, _) = setup();
    let get = |path: &str| api.get(&ada, &format!("/tenants/current{path}"));
    let draft = get("/workflows/Door/draft");
    let next = DOOR
        .replace("1.0.0", "1.1.0")
        .replace("lock: locked", "seal: locked")
        .replace("  lock: {}", "  seal: {}");
    let next = next
        + "tests:\n  - name: it seals\n    steps: [{send: seal}]\n    expect: {state: locked}\n";
    let more = format!("if-match: {}\r\n", draft.header("etag"));
    let body = json!({ "document": next });
    let put = api.call_with(&ada, "PUT", "/tenants/current/workflows/Door/draft", &more, body);
    assert_eq!(put.status, 200, "{put:?}");
    let diff = get("/workflows/Door/diff");
    assert_eq!(diff.text("/from/version"), "1.0.0");
    assert!(diff.body["differences"].to_string().contains("seal"), "{diff:?}");
    let same = get("/workflows/Door/diff?from=1.0.0&to=1.0.0");
    assert_eq!(same.body["differences"], json!([]));
    let tested = api.post(&ada, "/workflows/Door/test", json!(null));
    assert_eq!(
        (&tested.body["passed"], &tested.body["failed"]),
        (&json!(1), &json!(0)),
        "{tested:?}"
    );
    let none = api.post(&ada, "/workflows/Door/test", json!({ "version": "1.0.0" }));
    assert_eq!((none.status, none.code()), (422, "no_tests"), "{none:?}");
    let steps = json!([{ "event": "open" }, { "event": "open" }, { "advance": "1d" }]);
    let run = api.post(&ada, "/workflows/simulate", json!({ "document": next, "steps": steps }));
    let states: Vec<&str> = run.body["trace"]
        .as_array()
        .unwrap_or_else(|| panic!("{run:?}"))
        .iter()
        .map(|it| it["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["shut", "ajar", "ajar", "ajar"]);
    assert_eq!(run.text("/trace/2/refused/code"), "event_not_accepted");
    let source = get("/workflows/Door/export");
    assert_eq!(source.text("/text"), next);
    let exported = get("/workflows/Door/export?format=json&version=1.0.0");
    let exported: Json = serde_json::from_str(&exported.text("/text")).unwrap();
    assert_eq!(exported["states"]["shut"]["on"]["lock"], json!("locked"));
    let scxml = "<scxml xmlns='http://www.w3.org/2005/07/scxml' version='1.0' name='Lamp' \
                 initial='off'><state id='off'><transition event='push' target='on'/></state>\
                 <state id='on'/></scxml>";
    let body = |dry_run| json!({ "from": "scxml", "document": scxml, "dry_run": dry_run });
    let dry = api.post(&ada, "/workflows/import", body(true));
    assert_eq!((dry.status, dry.body["workflow"].is_null()), (201, true), "{dry:?}");
    let made = api.post(&ada, "/workflows/import", body(false));
    assert_eq!(made.text("/workflow/name"), "Lamp", "{made:?}");
    let modules = get("/modules");
    assert_eq!(modules.text("/items/0/name"), "Door");
    assert_eq!(modules.body["items"][0]["states"], json!(["ajar", "locked", "shut"]));
    let kinds = get("/effects/kinds").body["items"].as_array().unwrap().len();
    assert!(kinds > 20, "{kinds}");
}
