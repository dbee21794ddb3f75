//! Which version of a document a change is about: `If-Match` as in RFC 9110.

use serde_json::{Value as Json, json};

use crate::world::World;

#[test]
fn a_change_is_about_a_version_several_or_any() {
    let world = World::relaxed();
    let (ada, _) = world.register("ada@example.org");
    let path = "/tenants/current";
    let put = |if_match: &str, name: &str| {
        let told = world.call_if(&ada, "PATCH", path, json!({ "name": name }), if_match);
        (told.status, told.code().to_owned())
    };
    let tag = || world.call(&ada, "GET", path, json!(null)).etag();
    let old = tag();
    let refused = |status: u16, code: &str| (status, code.to_owned());
    assert_eq!(put("", "A"), refused(428, "precondition_required"));
    assert_eq!(put(&old, "B"), refused(200, ""));
    assert_eq!(put(&old, "C"), refused(412, "precondition_failed"));
    assert_eq!(put("\"x\"", "C"), refused(412, "precondition_failed"));
    assert_eq!(put("\"*\"", "C"), refused(412, "precondition_failed"), "a tag of that name");
    assert_eq!(put(&format!("{old}, \"x\", {}", tag()), "D"), refused(200, ""));
    assert_eq!(put("*", "E"), refused(200, ""));
    let shown = world.call(&ada, "GET", path, json!(null));
    assert_eq!(shown.text("/name"), "E");
}

/// Every way of changing or removing what has a version.
#[test]
fn a_version_that_is_named_counts_also_where_none_is_needed() {
    let world = World::relaxed();
    let (ada, tenant) = world.register("ada@example.org");
    world.join(&ada, &tenant, "bob@example.org", "viewer");
    let items = world.call(&ada, "GET", "/tenants/current/members", json!(null)).body;
    let bob = items["items"].as_array().unwrap().iter().find(|it| it["role"] == "viewer").unwrap();
    let rule = json!({ "name": "doors", "measure": "incidents_open", "above": 1_000 });
    let rule = world.call(&ada, "POST", "/tenants/current/alerts/rules", rule).text("/id");
    let pause = json!({ "name": "pause", "do": { "type": "delay", "duration": "1s" } });
    assert_eq!(world.call(&ada, "POST", "/tenants/current/effects/named", pause).status, 201);
    let none = json!(null);
    for (method, path, body) in [
        ("PATCH", "/me".to_owned(), json!({ "name": "Ada King" })),
        ("DELETE", format!("/tenants/current/alerts/rules/{rule}"), none.clone()),
        ("DELETE", "/tenants/current/effects/named/pause".to_owned(), none.clone()),
        ("DELETE", format!("/tenants/current/members/{}", bob["user_id"].as_str().unwrap()), none),
    ] {
        let read = world.call(&ada, "GET", &path, Json::Null);
        assert!(!read.etag().is_empty(), "{path}: {read:?}");
        let late = world.call_if(&ada, method, &path, body.clone(), "\"999999\"");
        assert_eq!((late.status, late.code()), (412, "precondition_failed"), "{path}");
        let done = world.call_if(&ada, method, &path, body, &read.etag());
        assert!(matches!(done.status, 200 | 204), "{path}: {done:?}");
    }
}

#[test]
fn a_tenant_is_found_by_the_short_names_that_it_had() {
    let world = World::relaxed();
    let (ada, id) = world.register("ada@example.org");
    let (bob, _) = world.register("bob@example.org");
    let rename = |who: &str, slug: &str| {
        world.call_if(who, "PATCH", "/tenants/current", json!({ "slug": slug }), "*")
    };
    let named = |who: &str, slug: &str| {
        let told = world.call(who, "GET", &format!("/tenants/{slug}"), json!(null));
        if told.status == 200 { told.text("/id") } else { told.code().to_owned() }
    };
    let first = world.call(&ada, "GET", "/tenants/current", json!(null)).text("/slug");
    let told = rename(&ada, "doors");
    assert_eq!((told.status, told.text("/slug")), (200, "doors".into()), "{told:?}");
    assert_eq!(told.body["former_slugs"], json!([first]));
    for slug in [&*first, "doors"] {
        assert_eq!(named(&ada, slug), id);
        let taken = rename(&bob, slug);
        assert_eq!((taken.status, taken.code()), (409, "already_exists"), "{slug}");
    }
    for bad in ["api", "A", "x", "a b"] {
        assert_eq!(rename(&ada, bad).code(), "validation_failed", "{bad}");
    }
    let late = json!({ "slug": "later" });
    let late = world.call_if(&ada, "PATCH", "/tenants/current", late, "\"1\"");
    assert_eq!(late.code(), "precondition_failed");
    assert_eq!(rename(&bob, "later").status, 200, "nothing was taken for what was refused");
    // Back to one that it had, then further than it keeps.
    let told = rename(&ada, &first);
    assert_eq!(told.body["former_slugs"], json!(["doors"]));
    for number in 1..=5 {
        assert_eq!(rename(&ada, &format!("gate-{number}")).status, 200);
    }
    let told = world.call(&ada, "GET", "/tenants/current", json!(null));
    assert_eq!(told.body["former_slugs"].as_array().unwrap().len(), 5, "{told:?}");
    assert_eq!(named(&ada, "doors"), "no_tenant_context", "the oldest is free");
    assert_eq!(named(&ada, &first), id);
    assert_eq!(rename(&bob, "doors").status, 200);
    let login = json!({
        "email": "ada@example.org", "password": crate::world::PASSWORD, "tenant": first,
    });
    let login = world.call("", "POST", "/auth/login", login);
    assert_eq!(login.text("/tenant/slug"), "gate-5", "{login:?}");
}
