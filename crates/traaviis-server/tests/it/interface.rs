//! What holds for the whole interface: lists in pages, pages about errors, headers of browsers,
//! keys that sign.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};
use traaviis_api::{operation::OPERATIONS, problem::STATUSES};

use crate::world::World;

fn names(page: &Json, of: &str) -> Vec<String> {
    let items = page["items"].as_array().unwrap().iter();
    items.map(|it| it[of].as_str().unwrap().to_owned()).collect()
}

#[test]
fn lists_come_in_pages() {
    let world = World::relaxed();
    let (ada, _) = world.register("ada@example.org");
    for number in 0..7 {
        let body = json!({ "name": format!("role {number}"), "base": "viewer", "permissions": [] });
        world.call(&ada, "POST", "/tenants/current/roles", body);
    }
    let path = "/tenants/current/roles";
    let whole = world.call(&ada, "GET", path, json!(null));
    let (mut found, mut cursor) = (Vec::new(), String::new());
    for pages in 1.. {
        let page = world.call(&ada, "GET", &format!("{path}?limit=3{cursor}"), json!(null));
        assert_eq!(page.status, 200, "{page:?}");
        found.extend(names(&page.body, "name"));
        let Some(next) = page.body["next_cursor"].as_str() else {
            assert_eq!(pages, 4, "11 roles, three a page");
            break;
        };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(found, names(&whole.body, "name"));
    for bad in ["limit=0", "limit=201", "limit=x", "cursor=x", "cursor="] {
        let told = world.call(&ada, "GET", &format!("{path}?{bad}"), json!(null));
        assert_eq!((told.status, told.code()), (422, "validation_failed"), "{bad}");
    }
}

#[test]
fn every_list_that_grows_has_pages() {
    // What these hold is written into the program, or one number a month.
    let short = ["/auth/oidc", "/admin/flags", "/admin/nodes", "/tenants/{t}/effects/kinds"];
    let description = traaviis_api::openapi::document("0");
    for row in OPERATIONS {
        let path = format!("/api/v1{}", row.path);
        let answer = &description["paths"][&path][row.method.as_str().to_lowercase()];
        let schema = &answer["responses"]["200"]["content"]["application/json"]["schema"];
        let is_page = schema["$ref"].as_str().is_some_and(|it| it.contains("/Page"));
        let is_paged = row.query.iter().any(|it| it.name == "limit");
        assert!(!is_page || is_paged || short.contains(&row.path), "{row:?} has no pages");
    }
}

#[test]
fn the_type_of_a_problem_leads_to_its_page() {
    let world = World::new();
    let told = world.call("", "GET", "/me", json!(null));
    let page = world.raw("GET", &told.text("/type"), &[], Vec::new());
    assert_eq!(page.status, 200);
    assert!(page.headers["content-type"].starts_with("text/markdown"), "{page:?}");
    let codes: BTreeSet<&str> = STATUSES.iter().flat_map(|it| it.1.iter().copied()).collect();
    for code in codes {
        let page = world.raw("GET", &format!("/errors/{code}"), &[], Vec::new());
        assert_eq!(page.status, 200, "{code}");
    }
    for none in ["/errors/README", "/errors/nothing", "/errors/..%2FREADME"] {
        assert_eq!(world.raw("GET", none, &[], Vec::new()).status, 404, "{none}");
    }
}

#[test]
fn browsers_come_back_over_tls_where_people_reach_the_server_so() {
    let header = |base: &str| {
        let world = World::with(|app| app.called(Some(base)));
        let told = world.raw("GET", "/health", &[], Vec::new());
        told.headers.get("strict-transport-security").cloned()
    };
    assert_eq!(header("https://flows.example.org").as_deref(), Some("max-age=31536000"));
    assert_eq!(header("http://flows.example.org"), None);
}

#[test]
fn keys_that_sign_are_replaced_by_command_and_those_before_ended() {
    let world = World::relaxed();
    let (ada, _) = world.register("ada@example.org");
    world.register("root@example.org");
    let root = world.promoted("root@example.org");
    let kids = || {
        let told = world.raw("GET", "/.well-known/jwks.json", &[], Vec::new());
        let keys = told.body["keys"].as_array().unwrap().iter();
        keys.map(|it| it["kid"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let path = "/admin/signing-keys/rotate";
    assert_eq!(world.call(&ada, "POST", path, json!({})).code(), "platform_admin_required");
    let before = kids();
    assert_eq!(before.len(), 2, "the one that signs, and the next one");
    let first = world.call(&root, "POST", path, json!(null));
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!(first.text("/kid"), before[1], "it was published before it signs");
    assert_eq!((kids().len(), &kids()[..2]), (3, &before[..]));
    assert_eq!(world.call(&ada, "GET", "/me", json!(null)).status, 200, "both keys count");

    let told = world.call(&root, "POST", path, json!({ "end_old": true }));
    assert_eq!((kids().len(), &kids()[0]), (2, &told.text("/kid")));
    let refused = world.call(&ada, "GET", "/me", json!(null));
    assert_eq!((refused.status, refused.code()), (401, "invalid_token"));
    let ada = world.log_in("ada@example.org");
    assert_eq!(world.call(&ada, "GET", "/me", json!(null)).status, 200);
}

#[test]
fn all_other_sessions_end_at_once() {
    let world = World::new();
    let (first, tenant) = world.register("ada@example.org");
    let (second, third) = (world.log_in("ada@example.org"), world.log_in("ada@example.org"));
    assert_eq!(world.call(&second, "DELETE", "/me/sessions", json!(null)).status, 204);
    for (who, status) in [(&first, 401), (&second, 200), (&third, 401)] {
        assert_eq!(world.call(who, "GET", "/me", json!(null)).status, status);
    }
    let rights = world.call(&second, "GET", "/me/permissions", json!(null));
    assert_eq!(rights.text("/tenant/tenant_id"), tenant, "{rights:?}");
    assert_eq!(rights.body["platform"].as_array().unwrap().len(), 4);
    assert_eq!(rights.body["tenant"]["permissions"].as_array().unwrap().len(), 23);
}

#[test]
fn a_profile_shows_nobody_what_is_no_picture() {
    let world = World::new();
    let (ada, _) = world.register("ada@example.org");
    for (field, bad) in [
        ("avatar_url", "javascript:alert(1)"),
        ("avatar_url", "data:text/html,x"),
        ("avatar_url", "http://example.org/a.png"),
        ("avatar_url", "https://user:pw@example.org/a.png"),
        ("avatar_url", "//example.org/a.png"),
        ("timezone", "Nowhere/None"),
        ("locale", "<script>"),
        ("locale", "de--AT"),
    ] {
        let told = world.call(&ada, "PATCH", "/me", json!({ field: bad }));
        assert_eq!((told.status, told.code()), (422, "validation_failed"), "{field}: {bad}");
    }
    let good = json!({
        "avatar_url": "https://example.org/a.png", "timezone": "Europe/Vienna", "locale": "de-AT",
    });
    let told = world.call(&ada, "PATCH", "/me", good);
    assert_eq!(told.text("/timezone"), "Europe/Vienna", "{told:?}");
    let told = world.call(&ada, "PATCH", "/me", json!({ "avatar_url": "" }));
    assert_eq!(told.body["avatar_url"], json!(null));
}
