//! What a stranger does in the first hour, through the API.

use serde_json::json;

use crate::world::{PASSWORD, World};

#[test]
fn a_stranger_registers_invites_publishes_runs_and_finds_it_in_the_audit() {
    let world = World::new();
    let (ada, tenant) = world.register("ada@example.org");
    let me = world.call(&ada, "GET", "/me", json!(null));
    assert_eq!((me.status, &*me.text("/email")), (200, "ada@example.org"));

    let bob = world.join(&ada, &tenant, "bob@example.org", "viewer");
    let document = json!({ "name": "Door", "version": "1.0.0", "states": { "shut": {} } });
    let path = format!("/tenants/{tenant}/workflows");
    let made = world.call(&ada, "POST", &path, json!({ "document": document }));
    assert_eq!(made.status, 201, "{made:?}");
    let denied = world.call(&bob, "POST", &path, json!({ "document": document }));
    assert_eq!((denied.status, denied.code()), (403, "insufficient_permissions"));

    let early = json!({ "workflow": "Door" });
    let early = world.call(&ada, "POST", &format!("/tenants/{tenant}/instances"), early);
    assert_eq!((early.status, early.code()), (404, "not_found"), "nothing is published");
    let published = world.call(&ada, "POST", &format!("{path}/door/publish"), json!(null));
    assert_eq!((published.status, &*published.text("/version")), (201, "1.0.0"), "{published:?}");

    let start = json!({ "workflow": "Door", "input": { "mail": "eve@example.org" } });
    let started = world.call(&ada, "POST", "/tenants/current/instances", start);
    assert_eq!(started.status, 201, "{started:?}");
    let id = started.text("/id");
    assert!(started.text("/by").starts_with("user:"), "{started:?}");
    let seen = world.call(&bob, "GET", &format!("/tenants/{tenant}/instances/{id}"), json!(null));
    assert_eq!(seen.status, 200);

    let audit = world.call(&ada, "GET", "/tenants/current/audit?limit=3", json!(null));
    let actions: Vec<&str> = audit.body["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["action"].as_str().unwrap())
        .collect();
    assert_eq!(actions, ["workflow.published", "permission.denied", "workflow.created"]);
    let next = audit.text("/next_cursor");
    let rest =
        world.call(&ada, "GET", &format!("/tenants/current/audit?cursor={next}"), json!(null));
    assert_eq!(rest.body["items"].as_array().unwrap().len(), 3, "{rest:?}");
    let checked = world.call(&ada, "POST", "/tenants/current/audit/verify", json!(null));
    assert_eq!((&checked.body["whole"], &checked.body["count"]), (&json!(true), &json!(6)));
    let refused = world.call(&bob, "GET", &format!("/tenants/{tenant}/audit"), json!(null));
    assert_eq!(refused.code(), "insufficient_permissions");
}

#[test]
fn a_draft_is_changed_by_who_has_read_it_last() {
    let world = World::new();
    let (ada, _) = world.register("ada@example.org");
    let document = |version: &str| {
        json!({
            "document": { "name": "Door", "version": version, "states": { "shut": {} } },
        })
    };
    world.call(&ada, "POST", "/tenants/current/workflows", document("1.0.0"));
    let path = "/tenants/current/workflows/Door/draft";
    let read = world.call(&ada, "GET", path, json!(null));
    let blind = world.call(&ada, "PUT", path, document("1.0.1"));
    assert_eq!((blind.status, blind.code()), (428, "precondition_required"));
    let put = world.call_if(&ada, "PUT", path, document("1.0.1"), &read.etag());
    assert_eq!(put.status, 200, "{put:?}");
    let late = world.call_if(&ada, "PUT", path, document("1.0.2"), &read.etag());
    assert_eq!((late.status, late.code()), (412, "precondition_failed"));
    let broken = json!({ "document": { "name": "Door", "version": "2.0.0" } });
    let put = world.call_if(&ada, "PUT", path, broken, &put.etag());
    assert_eq!((put.status, &put.body["diagnostics"][0]["code"]), (200, &json!("E102")));
    let publish = "/tenants/current/workflows/Door/publish";
    let refused = world.call(&ada, "POST", publish, json!(null));
    assert_eq!((refused.status, refused.code()), (422, "definition_invalid"));
    world.call_if(&ada, "PUT", path, document("2.0.0"), &put.etag());
    assert_eq!(world.call(&ada, "POST", publish, json!(null)).status, 201);
    let again = world.call(&ada, "POST", publish, json!(null));
    assert_eq!(again.status, 201, "the same once more is the same");
    let read = world.call(&ada, "GET", path, json!(null));
    let mut other = document("2.0.0");
    other["document"]["states"]["open"] = json!({});
    world.call_if(&ada, "PUT", path, other, &read.etag());
    let refused = world.call(&ada, "POST", publish, json!(null));
    assert_eq!((refused.status, refused.code()), (409, "already_exists"), "{refused:?}");
}

#[test]
fn a_repetition_with_the_same_key_gets_the_first_answer() {
    let world = World::new();
    let (ada, _) = world.register("ada@example.org");
    let bearer = format!("Bearer {ada}");
    let post = |key: &str, name: &str| {
        let headers = [
            ("content-type", "application/json"),
            ("authorization", &*bearer),
            ("idempotency-key", key),
        ];
        let body = json!({ "name": name }).to_string().into_bytes();
        world.raw("POST", "/api/v1/tenants", &headers, body)
    };
    let first = post("k1", "Acme");
    assert_eq!(first.status, 201);
    assert_eq!(post("k1", "Acme").text("/id"), first.text("/id"));
    let other = post("k1", "Other");
    assert_eq!((other.status, other.code()), (422, "idempotency_key_reused"));
    assert_ne!(post("k2", "Acme").text("/id"), first.text("/id"));
    assert_eq!(post("", "Acme").status, 422);
    let refused = post("k3", "");
    assert_eq!(refused.status, 422);
    assert_eq!(post("k3", "Acme").status, 201, "a refusal is not kept");
}

#[test]
fn an_api_key_is_told_once_and_acts_with_its_scopes() {
    let world = World::new();
    let (ada, _) = world.register("ada@example.org");
    let ask = json!({ "name": "robot", "scopes": ["workflow_monitor"] });
    let made = world.call(&ada, "POST", "/tenants/current/api-keys", ask);
    let key = made.text("/key");
    assert!(key.starts_with("trv_live_"), "{made:?}");
    let listed = world.call(&ada, "GET", "/tenants/current/api-keys", json!(null));
    assert!(!listed.body.to_string().contains(&key));
    let list = world.call(&key, "GET", "/tenants/current/workflows", json!(null));
    assert_eq!(list.status, 200);
    let start = world.call(&key, "POST", "/tenants/current/instances", json!({ "workflow": "X" }));
    assert_eq!((start.status, start.code()), (403, "insufficient_permissions"));
    assert_eq!(world.call(&key, "GET", "/me", json!(null)).code(), "forbidden");
    let id = made.text("/id");
    let path = format!("/tenants/current/api-keys/{id}");
    assert_eq!(world.call(&ada, "DELETE", &path, json!(null)).status, 204);
    assert_eq!(world.call(&key, "GET", "/tenants/current/workflows", json!(null)).status, 401);
}

#[test]
fn a_login_finds_its_tenants_and_switches_between_them() {
    let world = World::new();
    let (ada, first) = world.register("ada@example.org");
    let second = world.call(&ada, "POST", "/tenants", json!({ "name": "Acme", "slug": "acme" }));
    assert_eq!(second.status, 201);
    let login = json!({ "email": "ada@example.org", "password": PASSWORD });
    let told = world.call("", "POST", "/auth/login", login);
    assert_eq!(
        (&told.body["tenant"], told.body["tenants"].as_array().unwrap().len()),
        (&json!(null), 2)
    );
    let ada = told.text("/access_token");
    let none = world.call(&ada, "GET", "/tenants/current", json!(null));
    assert_eq!((none.status, none.code()), (403, "no_tenant_context"));
    let told = world.call(&ada, "POST", "/auth/switch", json!({ "tenant": "acme" }));
    let ada = told.text("/access_token");
    let current = world.call(&ada, "GET", "/tenants/current", json!(null));
    assert_eq!(current.text("/slug"), "acme");
    let other = world.call(&ada, "GET", &format!("/tenants/{first}"), json!(null));
    assert_eq!(other.status, 200, "a member may name any tenant of theirs");
}
