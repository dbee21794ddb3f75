//! What holds for every request, whatever it is about: methods, queries, versions, forms.

use serde_json::{Value as Json, json};

use crate::world::World;

#[test]
fn every_path_says_what_it_answers_to() {
    let world = World::new();
    for (method, path, status, allow) in [
        ("OPTIONS", "/api/v1/me", 204, "GET, HEAD, PATCH, DELETE, OPTIONS"),
        ("OPTIONS", "/api/v1/auth/login", 204, "POST, OPTIONS"),
        ("OPTIONS", "/api/v1/openapi.json", 204, "GET, HEAD, OPTIONS"),
        ("GET", "/api/v1/auth/login", 405, "POST, OPTIONS"),
        ("POST", "/health", 405, "GET, HEAD, OPTIONS"),
        ("DELETE", "/api/v1/openapi.json", 405, "GET, HEAD, OPTIONS"),
        ("PUT", "/schemas/workflow-1.json", 405, "GET, HEAD, OPTIONS"),
    ] {
        let told = world.raw(method, path, &[], vec![]);
        assert_eq!((told.status, &*told.headers["allow"]), (status, allow), "{method} {path}");
        if status == 405 {
            assert_eq!(told.headers["content-type"], "application/problem+json");
            assert_eq!(told.code(), "method_not_allowed");
        }
    }
    let told = world.raw("GET", "/socket/websocket", &[], vec![]);
    assert_eq!((told.status, told.code()), (400, "bad_request"), "no socket is asked for");
}

#[test]
fn what_nobody_reads_in_a_query_is_refused() {
    let world = World::new();
    let (ada, _) = world.register("ada@example.org");
    for (path, pointer) in [
        ("/tenants/current/instances?workflw=Door", "workflw"),
        ("/tenants/current/roles?sort=nobody", "sort"),
        ("/tenants/current/roles?fields=name,nobody", "fields"),
        ("/tenants/current/audit?sort=seq", "sort"),
        ("/me?x=1", "x"),
    ] {
        let told = world.call(&ada, "GET", path, json!(null));
        assert_eq!((told.status, told.code()), (422, "validation_failed"), "{path}");
        assert_eq!(told.text("/errors/0/pointer"), pointer);
    }
    let long = format!("/me?{}=1", "x".repeat(1_000));
    let told = world.call(&ada, "GET", &long, json!(null));
    assert_eq!(told.text("/errors/0/pointer").len(), 40, "nobody is told all of it");
    let back = world.call("", "GET", "/auth/oidc/nowhere/callback?hd=x", json!(null));
    assert_eq!(back.status, 404, "issuers add what they like");
}

#[test]
fn a_compressed_body_is_not_taken_for_a_broken_one() {
    let world = World::new();
    for (encoding, status) in [("gzip", 415), ("identity", 400), ("Identity", 400)] {
        let headers = [("content-type", "application/json"), ("content-encoding", encoding)];
        let told = world.raw("POST", "/api/v1/auth/login", &headers, b"\x1f\x8b".to_vec());
        assert_eq!(told.status, status, "{encoding}");
    }
}

#[test]
fn what_has_not_changed_is_not_told_again() {
    let world = World::new();
    let (ada, _) = world.register("ada@example.org");
    let auth = ("authorization", format!("Bearer {ada}"));
    let get = |seen: &str| {
        let headers = [(auth.0, &*auth.1), ("if-none-match", seen)];
        world.raw("GET", "/api/v1/me", &headers, vec![])
    };
    let etag = get("\"0\"").headers["etag"].clone();
    let seen = get(&etag);
    assert_eq!((seen.status, &seen.body, &seen.headers["etag"]), (304, &Json::Null, &etag));
    assert!(!seen.headers.contains_key("content-type"));
    let name = world.call(&ada, "PATCH", "/me", json!({ "name": "Ada King" }));
    assert_eq!(name.status, 200);
    assert_eq!(get(&etag).status, 200, "it has changed");
}

#[test]
fn texts_are_held_to_their_forms() {
    let world = World::new();
    let (ada, _) = world.register("ada@example.org");
    let schedule = |key: &str, value: Json| {
        let mut body = json!({ "workflow": "Door", "cron": "0 7 * * *" });
        body[key] = value;
        body
    };
    for (method, path, body, pointer) in [
        ("PATCH", "/me", json!({ "name": "A" }), "/name"),
        ("PATCH", "/me", json!({ "name": "A\u{7}da" }), "/name"),
        ("PATCH", "/me", json!({ "avatar_url": "x".repeat(2_049) }), "/avatar_url"),
        ("PATCH", "/me", json!({ "locale": "e\nn" }), "/locale"),
        ("PATCH", "/me", json!({ "timezone": "x".repeat(65) }), "/timezone"),
        ("POST", "/tenants", json!({ "name": " " }), "/name"),
        ("POST", "/tenants", json!({ "name": "Acme", "slug": "api" }), "/slug"),
        ("POST", "/tenants/current/schedules", schedule("jitter", json!("soon")), "/jitter"),
    ] {
        let told = world.call(&ada, method, path, body.clone());
        assert_eq!((told.status, told.code()), (422, "validation_failed"), "{path} {body}");
        assert_eq!(told.text("/errors/0/pointer"), pointer, "{path} {body}");
    }
}
