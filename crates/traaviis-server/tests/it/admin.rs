//! Looking after the platform, service accounts and handing over, over HTTP.

use serde_json::{Value as Json, json};
use traaviis_api::{Access, operation::OPERATIONS};
use traaviis_model::Span;

use crate::world::{PASSWORD, World};

const ABSENT: &str = "0198c51a-7800-7abc-8000-0123456789ab";

fn actions(world: &World, who: &str, tenant: &str) -> Vec<String> {
    let told = world.call(who, "GET", &format!("/tenants/{tenant}/audit?limit=200"), json!(null));
    let items = told.body["items"].as_array().unwrap_or_else(|| panic!("{told:?}"));
    items.iter().map(|it| it["action"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn nobody_but_who_looks_after_the_platform_reaches_what_concerns_all() {
    let world = World::new();
    let (ada, _) = world.register("ada@example.org");
    let key = json!({ "name": "robot", "scopes": ["workflow_monitor"] });
    let root = {
        world.register("root@example.org");
        world.promoted("root@example.org")
    };
    let key = world.call(&root, "POST", "/tenants/current/api-keys", key).text("/key");
    let mut count = 0;
    for row in OPERATIONS.iter().filter(|it| it.access == Access::Platform) {
        assert!(row.path.starts_with("/admin/"), "{row:?}");
        let path = row.path.replace("{id}", ABSENT).replace("{month}", "2026-01");
        let code =
            |who: &str| world.call(who, row.method.as_str(), &path, json!(null)).code().to_owned();
        assert_eq!(code(&ada), "platform_admin_required", "{row:?}");
        assert_eq!(code(&key), "platform_admin_required", "{row:?} with a key");
        assert_eq!(code(""), "not_authenticated", "{row:?}");
        assert_ne!(code(&root), "platform_admin_required", "{row:?}");
        count += 1;
    }
    assert!(count >= 5, "{count}");
    world.clock.advance(Span::secs(11 * 60));
    let change = json!({ "status": "suspended" });
    let stale = world.call(&root, "PATCH", &format!("/admin/users/{ABSENT}"), change);
    assert_eq!(stale.code(), "reauthentication_required");
}

#[test]
fn who_is_suspended_has_lost_everything_with_the_next_request() {
    let world = World::new();
    let (ada, tenant) = world.register("ada@example.org");
    world.register("root@example.org");
    let root = world.promoted("root@example.org");
    let found = world.call(&root, "GET", "/admin/users?email=ADA@example.org", json!(null));
    let id = found.text("/items/0/id");
    assert_eq!(found.body["items"][0]["name"], json!("Ada"));
    assert!(!found.body.to_string().contains("example.org"), "addresses are not told: {found:?}");

    let user = format!("/admin/users/{id}");
    let set = |what: Json| world.call(&root, "PATCH", &user, what);
    assert_eq!(set(json!({ "status": "suspended" })).text("/status"), "suspended");
    let refused = world.call(&ada, "GET", "/me", json!(null));
    assert_eq!(refused.status, 401, "{refused:?}");
    let login = json!({ "email": "ada@example.org", "password": PASSWORD });
    assert_eq!(world.call("", "POST", "/auth/login", login.clone()).code(), "user_inactive");
    set(json!({ "status": "active" }));
    assert_eq!(world.call(&ada, "GET", "/me", json!(null)).code(), "session_expired");
    let ada = world.call("", "POST", "/auth/login", login).text("/access_token");
    assert_eq!(world.call(&ada, "GET", "/me", json!(null)).status, 200);

    let key = json!({ "name": "robot", "scopes": ["workflow_monitor"] });
    let key = world.call(&ada, "POST", "/tenants/current/api-keys", key).text("/key");
    let path = format!("/admin/tenants/{tenant}");
    let set = |what: Json| world.call(&root, "PATCH", &path, what);
    assert_eq!(set(json!({ "status": "suspended" })).text("/status"), "suspended");
    for who in [&ada, &key] {
        let told = world.call(who, "GET", &format!("/tenants/{tenant}/workflows"), json!(null));
        assert_eq!((told.status, told.code()), (403, "no_tenant_context"));
    }
    // Nor can an owner open it by deleting it and bringing it back.
    let delete = json!({ "confirm": "ada-s-space" });
    let told = world.call(&ada, "DELETE", &format!("/tenants/{tenant}"), delete);
    assert_eq!(told.code(), "no_tenant_context");
    assert_eq!(
        set(json!({ "status": "active", "plan": "enterprise" })).text("/plan"),
        "enterprise"
    );
    assert_eq!(world.call(&key, "GET", "/tenants/current/workflows", json!(null)).status, 200);
    assert!(actions(&world, &ada, &tenant).contains(&"tenant.administered".into()));

    let own = world.call(&root, "GET", "/me", json!(null)).text("/id");
    let lowered = json!({ "platform_role": "user" });
    let told = world.call(&root, "PATCH", &format!("/admin/users/{own}"), lowered);
    assert_eq!(told.code(), "forbidden", "nobody locks themselves out");
}

#[test]
fn reading_in_a_tenant_needs_a_reason_that_the_tenant_reads_and_ends_by_itself() {
    let world = World::new();
    let (ada, tenant) = world.register("ada@example.org");
    world.register("root@example.org");
    let root = world.promoted("root@example.org");
    let path = format!("/tenants/{tenant}/workflows");
    let look_as =
        |who: &str, path: &str| world.call(who, "GET", path, json!(null)).code().to_owned();
    let look = |path: &str| look_as(&root, path);
    assert_eq!(look(&path), "break_glass_required");
    assert_eq!(look(&format!("/tenants/{ABSENT}/workflows")), "no_tenant_context");
    let glass = |reason: &str| {
        let body = json!({ "tenant": "ada-s-space", "reason": reason });
        world.call(&root, "POST", "/admin/break-glass", body)
    };
    assert_eq!(glass("why not").code(), "validation_failed");
    let opened = glass("ticket 4711: runs do not end");
    assert_eq!((opened.status, &*opened.text("/tenant_id")), (201, &*tenant), "{opened:?}");
    assert_eq!(look(&path), "");
    for (method, path) in [
        ("POST", format!("/tenants/{tenant}/api-keys")),
        ("POST", format!("/tenants/{tenant}/leave")),
        ("PATCH", format!("/tenants/{tenant}/config")),
        ("DELETE", format!("/tenants/{tenant}")),
    ] {
        let told = world.call(&root, method, &path, json!({}));
        assert_eq!(told.code(), "no_tenant_context", "only reading: {method} {path}");
    }
    let trail = world.call(&ada, "GET", "/tenants/current/audit?limit=2", json!(null));
    let entries = trail.body["items"].as_array().unwrap();
    assert_eq!(entries[0]["action"], json!("break_glass.used"));
    assert_eq!(entries[0]["resource_id"], json!("Workflows"));
    assert_eq!(entries[1]["action"], json!("break_glass.opened"));
    assert_eq!(entries[1]["metadata"]["reason"], json!("ticket 4711: runs do not end"));
    world.clock.advance(Span::secs(3_601));
    assert_eq!(look_as(&world.log_in("root@example.org"), &path), "break_glass_required");
    world.platform.end_old_glasses().unwrap();
    let ada = world.log_in("ada@example.org");
    assert_eq!(actions(&world, &ada, &tenant)[0], "break_glass.ended");
}

#[test]
fn a_service_account_acts_through_its_keys_and_is_never_an_owner() {
    let world = World::new();
    let (ada, tenant) = world.register("ada@example.org");
    let bob = world.join(&ada, &tenant, "bob@example.org", "developer");
    let accounts = "/tenants/current/service-accounts";
    let make = |who: &str, role: &str| {
        world.call(who, "POST", accounts, json!({ "name": "Deploy robot", "role": role }))
    };
    assert_eq!(make(&ada, "owner").code(), "forbidden");
    let made = make(&ada, "developer");
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.text("/id");
    let path = format!("/tenants/{tenant}/api-keys");
    let key = |who: &str, scopes: Json| {
        let body = json!({ "name": "robot", "scopes": scopes, "service_account": id });
        world.call(who, "POST", &path, body)
    };
    assert_eq!(key(&bob, json!(["workflow_monitor"])).code(), "insufficient_permissions");
    let told = key(&ada, json!(["workflow_monitor", "workflow_create", "tenant_settings"]));
    let token = told.text("/key");
    assert_eq!(told.text("/service_account"), id);
    let listed = || world.call(&token, "GET", "/tenants/current/workflows", json!(null));
    assert_eq!(listed().status, 200);
    let config = world.call_if(&token, "PATCH", "/tenants/current/config", json!({}), "\"1\"");
    assert_eq!(config.code(), "insufficient_permissions", "no more than its role");

    let member = format!("/tenants/current/members/{id}");
    let shown = world.call(&ada, "GET", &member, json!(null));
    assert_eq!(shown.body["service_account"], json!(true));
    assert_eq!(shown.text("/name"), "Deploy robot");
    let raise = world.call_if(&ada, "PATCH", &member, json!({ "role": "owner" }), &shown.etag());
    assert_eq!(raise.code(), "forbidden");
    world.call(&ada, "POST", &format!("{member}/suspend"), json!(null));
    assert_eq!(listed().code(), "no_tenant_context");
    world.call(&ada, "POST", &format!("{member}/activate"), json!(null));
    assert_eq!(listed().status, 200);
    assert_eq!(world.call(&ada, "GET", accounts, json!(null)).body["items"][0]["key_count"], 1);
    let gone = world.call(&ada, "DELETE", &format!("{accounts}/{id}"), json!(null));
    assert_eq!(gone.status, 204, "{gone:?}");
    assert_eq!(listed().code(), "invalid_token");
    assert_eq!(world.call(&ada, "GET", &member, json!(null)).status, 404);
}

#[test]
fn a_key_is_refused_from_elsewhere_and_the_trail_tells_once() {
    let world = World::new();
    let (ada, tenant) = world.register("ada@example.org");
    let make = |allow: Json| {
        let body = json!({ "name": "r", "scopes": ["workflow_monitor"], "ip_allow": allow });
        world.call(&ada, "POST", "/tenants/current/api-keys", body)
    };
    assert_eq!(make(json!(["10.0.0.0/99"])).code(), "validation_failed");
    let made = make(json!(["192.0.2.0/24", "2001:db8::1"]));
    assert_eq!(made.body["ip_allow"], json!(["192.0.2.0/24", "2001:db8::1/128"]));
    let key = made.text("/key");
    let ask = |from: &str| {
        world.from(from, &key, "GET", "/tenants/current/workflows", json!(null)).status
    };
    assert_eq!((ask("192.0.2.9"), ask("2001:db8::1")), (200, 200));
    assert_eq!((ask("198.51.100.1"), ask("198.51.100.1"), ask("2001:db8::2")), (403, 403, 403));
    let refusals = |ada: &str| {
        let all = actions(&world, ada, &tenant);
        all.iter().filter(|it| *it == "api_key.refused").count()
    };
    assert_eq!(refusals(&ada), 1, "a flood does not fill the trail");
    world.clock.advance(Span::secs(61));
    ask("198.51.100.1");
    assert_eq!(refusals(&ada), 2);

    let listed = |ada: &str| world.call(ada, "GET", "/tenants/current/api-keys", json!(null));
    let used = listed(&ada).text("/items/0/last_used_at");
    assert!(used.starts_with("2027-01-15T"), "{used}");
    let entries = actions(&world, &ada, &tenant).len();
    world.platform.note_key_use().unwrap();
    assert_eq!(listed(&ada).text("/items/0/last_used_at"), used);
    assert_eq!(actions(&world, &ada, &tenant).len(), entries, "a use is no act");
}

#[test]
fn a_tenant_is_handed_over_by_both_sides() {
    let world = World::new();
    let (ada, tenant) = world.register("ada@example.org");
    let bob = world.join(&ada, &tenant, "bob@example.org", "admin");
    let path = format!("/tenants/{tenant}/transfer");
    let id = world.call(&bob, "GET", "/me", json!(null)).text("/id");
    let offer = || world.call(&ada, "POST", &path, json!({ "user_id": id })).status;
    let accept = |who: &str| world.call(who, "POST", &format!("{path}/accept"), json!(null));
    assert_eq!(accept(&bob).code(), "not_found");
    assert_eq!(offer(), 200);
    assert_eq!(accept(&ada).code(), "not_found", "it is offered to somebody else");
    assert_eq!(world.call(&bob, "DELETE", &path, json!(null)).status, 204, "declined");
    assert_eq!(accept(&bob).code(), "not_found");
    assert_eq!(offer(), 200);
    assert_eq!(accept(&bob).status, 204);
    let shown = world.call(&bob, "GET", &format!("/tenants/{tenant}"), json!(null));
    assert_eq!(shown.text("/owner_id"), id);
    let left = world.call(&ada, "POST", &format!("/tenants/{tenant}/leave"), json!(null));
    assert_eq!(left.status, 204);
}

#[test]
fn whoever_deletes_their_account_is_gone_and_cannot_leave_a_tenant_ownerless() {
    let world = World::new();
    let (ada, tenant) = world.register("ada@example.org");
    let bob = world.join(&ada, &tenant, "bob@example.org", "developer");
    let refused = world.call(&ada, "DELETE", "/me", json!(null));
    assert_eq!((refused.status, refused.code()), (409, "last_owner"));
    assert_eq!(refused.body["details"]["tenants"], json!([tenant]));
    let key = json!({ "name": "robot", "scopes": ["workflow_monitor"] });
    let key = world.call(&bob, "POST", &format!("/tenants/{tenant}/api-keys"), key).text("/key");
    let id = world.call(&bob, "GET", "/me", json!(null)).text("/id");
    assert_eq!(world.call(&bob, "DELETE", "/me", json!(null)).status, 204);
    for who in [&bob, &key] {
        let told = world.call(who, "GET", "/tenants/current/workflows", json!(null));
        assert_eq!(told.status, 401, "{told:?}");
    }
    let login = json!({ "email": "bob@example.org", "password": PASSWORD });
    assert_eq!(world.call("", "POST", "/auth/login", login).code(), "invalid_credentials");
    let members = world.call(&ada, "GET", "/tenants/current/members", json!(null));
    assert_eq!(members.body["items"].as_array().unwrap().len(), 1);
    let trail = world.call(&ada, "GET", "/tenants/current/audit?limit=1", json!(null));
    assert_eq!(trail.body["items"][0]["action"], json!("member.left"));
    assert_eq!(trail.body["items"][0]["resource_id"], json!(id), "the id stays");
    let whole = world.call(&ada, "POST", "/tenants/current/audit/verify", json!(null));
    assert_eq!(whole.body["whole"], json!(true));
    world.register("bob@example.org");
}
