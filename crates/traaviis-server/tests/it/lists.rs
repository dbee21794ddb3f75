//! How lists are asked for: in which order, with which fields, of which tenant.

use serde_json::{Value as Json, json};

use crate::world::{PASSWORD, World};

fn all(list: &Json, field: &str) -> Vec<String> {
    let items = list["items"].as_array().unwrap().iter();
    items.map(|it| it[field].as_str().unwrap_or("-").to_owned()).collect()
}

#[test]
fn a_list_stands_in_the_order_that_is_asked_for_over_all_its_pages() {
    let world = World::relaxed();
    let (ada, _) = world.register("ada@example.org");
    for name in ["pear", "apple", "fig", "lemon", "date"] {
        let body = json!({ "name": name, "base": "viewer", "permissions": [] });
        let made = world.call(&ada, "POST", "/tenants/current/roles", body);
        assert_eq!(made.status, 201, "{made:?}");
    }
    let get = |query: &str| {
        let told = world.call(&ada, "GET", &format!("/tenants/current/roles?{query}"), json!(null));
        assert_eq!(told.status, 200, "{told:?}");
        told.body
    };
    let mut sorted = all(&get("limit=200"), "name");
    sorted.sort();
    assert_eq!(all(&get("sort=name"), "name"), sorted);
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = get(&format!("sort=-name&limit=2&fields=name{cursor}"));
        assert!(
            page["items"].as_array().unwrap().iter().all(|it| it.as_object().unwrap().len() == 1)
        );
        found.extend(all(&page, "name"));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    sorted.reverse();
    assert_eq!(found, sorted);
}

#[test]
fn fields_are_chosen_of_lists_that_are_not_sorted() {
    let world = World::relaxed();
    let (ada, _) = world.register("ada@example.org");
    let told = world.call(&ada, "GET", "/tenants/current/audit?fields=action", json!(null));
    assert_eq!(told.status, 200, "{told:?}");
    let items = told.body["items"].as_array().unwrap();
    assert!(!items.is_empty());
    assert!(items.iter().all(|it| it.as_object().unwrap().keys().eq(["action"])), "{told:?}");
}

/// Each way of naming a tenant besides the path.
#[test]
fn current_is_the_tenant_that_a_request_names() {
    let world = World::with(|app| app.called(Some("http://flows.example.org")));
    let (ada, first) = world.register("ada@example.org");
    let second = world.call(&ada, "POST", "/tenants", json!({ "name": "Two", "slug": "two" }));
    let (second, slug) = (second.text("/id"), "two");
    let (_, foreign) = world.register("bob@example.org");
    let get = |path: &str, header: &str, host: &str| {
        let auth = format!("Bearer {ada}");
        let mut headers = vec![("authorization", &*auth), ("host", host)];
        if !header.is_empty() {
            headers.push(("x-tenant-id", header));
        }
        let told = world.raw("GET", &format!("/api/v1{path}"), &headers, Vec::new());
        if told.status == 200 { told.text("/id") } else { told.code().to_owned() }
    };
    let own = "flows.example.org";
    for (path, header, host, expected) in [
        ("/tenants/current", "", own, &*first),
        ("/tenants/current?tenant=two", "", own, &second),
        ("/tenants/current", slug, own, &second),
        ("/tenants/current", "", "two.flows.example.org", &second),
        ("/tenants/current", "", "www.flows.example.org", &first),
        ("/tenants/two?tenant=two", slug, "two.flows.example.org", &second),
        ("/tenants/current?tenant=two", &first, own, "no_tenant_context"),
        ("/tenants/current", &first, "two.flows.example.org", "no_tenant_context"),
        (&format!("/tenants/{first}"), "", "two.flows.example.org", "no_tenant_context"),
        (&format!("/tenants/current?tenant={foreign}"), "", own, "no_tenant_context"),
        ("/tenants/current", "", "nobody.flows.example.org", "no_tenant_context"),
        (&format!("/me?tenant={foreign}"), "", own, "no_tenant_context"),
        ("/tenants/current", "", "two.evil.example", "wrong_host"),
    ] {
        assert_eq!(get(path, header, host), expected, "{path} {header} {host}");
    }
    assert_ne!(get("/me?tenant=two", "", own), "validation_failed");
}

#[test]
fn who_logs_in_by_the_name_of_a_tenant_is_in_it() {
    let world = World::with(|app| app.called(Some("http://flows.example.org")));
    let (ada, _) = world.register("ada@example.org");
    world.call(&ada, "POST", "/tenants", json!({ "name": "Two", "slug": "two" }));
    let log_in = |host: &str| {
        let headers = [("host", host), ("content-type", "application/json")];
        let body = json!({ "email": "ada@example.org", "password": PASSWORD });
        let told = world.raw("POST", "/api/v1/auth/login", &headers, body.to_string().into());
        if told.status == 200 { told.text("/tenant/slug") } else { told.code().to_owned() }
    };
    assert_eq!(log_in("flows.example.org"), "", "of two tenants none is chosen");
    assert_eq!(log_in("two.flows.example.org"), "two");
    assert_eq!(log_in("nobody.flows.example.org"), "no_tenant_context");
}
