//! Running the installation over HTTP: flags, maintenance, numbers, jobs, backups; and what tenants
//! set for alerts and budgets.

use serde_json::{Value as Json, json};
use traaviis_model::TenantId;
use traaviis_policy::flag::HOT_STORE;

use crate::world::World;

fn people(world: &World) -> (String, String, String) {
    let (ada, tenant) = world.register("ada@example.org");
    world.register("root@example.org");
    (world.promoted("root@example.org"), ada, tenant)
}

#[test]
fn flags_are_set_for_all_for_some_and_for_single_tenants() {
    let world = World::new();
    let (root, ada, tenant) = people(&world);
    let listed = world.call(&root, "GET", "/admin/flags", json!(null));
    assert_eq!(listed.text("/items/0/name"), HOT_STORE);
    assert_eq!(listed.body["items"][0]["setting"], json!(null));
    let id: TenantId = TenantId(tenant.parse().unwrap());
    let flags = world.platform.flags();
    assert!(flags.is_on(id, HOT_STORE) && !flags.is_on(id, "nothing"));
    let path = "/admin/flags/hot_store";
    let set = |body: Json| world.call(&root, "PATCH", path, body);
    for (body, is_on) in [
        (json!({ "setting": "off" }), false),
        (json!({ "tenants": { tenant.as_str(): "on" } }), true),
        (json!({ "tenants": { tenant.as_str(): null } }), false),
        (json!({ "setting": "100%" }), true),
        (json!({ "setting": "0%" }), false),
        (json!({ "setting": "default" }), true),
    ] {
        let told = set(body.clone());
        assert_eq!((told.status, flags.is_on(id, HOT_STORE)), (200, is_on), "{body} {told:?}");
    }
    for (body, code) in [
        (json!({ "setting": "maybe" }), "validation_failed"),
        (json!({ "setting": "101%" }), "validation_failed"),
        (
            json!({ "tenants": { "0198c51a-7800-7abc-8000-0123456789ab": "on" } }),
            "validation_failed",
        ),
        (json!({ "tenants": { tenant.as_str(): "sometimes" } }), "validation_failed"),
        (json!({ "colour": "red" }), "unknown_field"),
    ] {
        assert_eq!(set(body.clone()).code(), code, "{body}");
    }
    let other = world.call(&root, "PATCH", "/admin/flags/nothing", json!({ "setting": "on" }));
    assert_eq!((other.status, other.code()), (404, "not_found"));
    assert_eq!(world.call(&ada, "PATCH", path, json!({})).code(), "platform_admin_required");
}

#[test]
fn during_maintenance_everybody_reads_and_nobody_changes() {
    let world = World::new();
    let (root, ada, _) = people(&world);
    let set = |body: Json| world.call(&root, "POST", "/admin/maintenance", body);
    assert_eq!(set(json!({})).code(), "validation_failed");
    let told = set(json!({ "on": true, "reason": "a new disk" }));
    assert_eq!((told.status, &told.body["on"]), (200, &json!(true)), "{told:?}");
    let change = || {
        world.call(
            &ada,
            "POST",
            "/tenants/current/roles",
            json!({
                "name": "r", "base": "viewer", "permissions": []
            }),
        )
    };
    let refused = change();
    assert_eq!((refused.status, refused.code()), (503, "maintenance"));
    assert!(refused.text("/detail").contains("a new disk"), "{refused:?}");
    for (method, path) in [
        ("PUT", "/tenants/current/plan"),
        ("PATCH", "/me"),
        ("DELETE", "/me"),
        ("POST", "/auth/register"),
        ("POST", "/tenants/current/instances"),
        ("POST", "/tenants"),
    ] {
        assert_eq!(world.call(&ada, method, path, json!({})).code(), "maintenance", "{path}");
    }
    for path in ["/me", "/tenants/current/members", "/tenants/current/usage"] {
        assert_eq!(world.call(&ada, "GET", path, json!(null)).status, 200, "{path}");
    }
    world.log_in("ada@example.org");
    let shown = world.call(&root, "GET", "/admin/maintenance", json!(null));
    assert_eq!(shown.text("/reason"), "a new disk");
    assert_eq!(set(json!({ "on": false })).status, 200);
    assert_eq!(change().status, 201);
}

#[test]
fn numbers_jobs_and_backups_are_told_to_who_looks_after_the_platform() {
    let world = World::new();
    let (root, ada, _) = people(&world);
    let numbers = world.call(&root, "GET", "/admin/metrics", json!(null));
    let items = numbers.body["items"].as_array().unwrap();
    let uptime = items.iter().find(|it| it["name"] == "traaviis_uptime_seconds").unwrap();
    assert!(uptime["value"].is_number(), "{uptime}");
    assert!(items.iter().any(|it| it["labels"].as_object().is_some_and(|it| !it.is_empty())));
    let body = json!({ "action": "cancel", "filter": {}, "ids": [] });
    world.call(&ada, "POST", "/tenants/current/instances/bulk", body);
    let jobs = world.call(&root, "GET", "/admin/jobs?limit=5", json!(null));
    assert_eq!((jobs.status, jobs.body["items"].is_array()), (200, true));
    for method in ["GET", "POST"] {
        let told = world.call(&root, method, "/admin/backup", json!(null));
        assert_eq!((told.status, told.code()), (409, "invalid_state"), "{method}: {told:?}");
    }
}

#[test]
fn rules_and_budgets_are_set_over_http() {
    let world = World::new();
    let (_, ada, tenant) = people(&world);
    let viewer = world.join(&ada, &tenant, "bob@example.org", "viewer");
    let path = "/tenants/current/alerts/rules";
    let rule = json!({ "name": "failures", "measure": "failed_instances", "above": 5 });
    let made = world.call(&ada, "POST", path, rule.clone());
    assert_eq!((made.status, &*made.text("/window")), (201, "5m"), "{made:?}");
    assert_eq!(world.call(&viewer, "POST", path, rule).code(), "insufficient_permissions");
    assert_eq!(world.call(&viewer, "GET", path, json!(null)).text("/items/0/name"), "failures");
    for (body, code) in [
        (json!({ "name": "a", "measure": "cpu", "above": 1 }), "validation_failed"),
        (json!({ "name": "a", "measure": "login_failures" }), "validation_failed"),
        (json!({ "name": "a", "measure": "login_failures", "above": -1 }), "validation_failed"),
        (
            json!({ "name": "a", "measure": "login_failures", "above": 1, "window": "soon" }),
            "validation_failed",
        ),
        (json!({ "name": "a", "measure": "login_failures", "above": 1, "x": 1 }), "unknown_field"),
    ] {
        assert_eq!(world.call(&ada, "POST", path, body.clone()).code(), code, "{body}");
    }
    let one = format!("{path}/{}", made.text("/id"));
    let change = json!({ "above": 7 });
    assert_eq!(world.call(&ada, "PATCH", &one, change).code(), "precondition_required");
    assert_eq!(world.call(&ada, "DELETE", &one, json!(null)).status, 204);
    assert_eq!(world.call(&ada, "DELETE", &one, json!(null)).code(), "not_found");

    let path = "/tenants/current/budgets";
    let set = |body: Json| world.call(&ada, "PUT", path, body);
    let told = set(json!({ "day": { "usd": "5.5", "tokens": 100 }, "month": { "usd": "50" } }));
    assert_eq!((told.status, &*told.text("/day/usd")), (200, "5.500000"), "{told:?}");
    assert_eq!(told.body["day"]["percent"], json!(0));
    assert_eq!(
        (told.text("/month/usd"), &told.body["month"]["tokens"]),
        ("50.000000".into(), &json!(null))
    );
    assert_eq!(world.call(&ada, "GET", path, json!(null)).body, told.body);
    for body in [
        json!({ "day": { "usd": "5,5" } }),
        json!({ "day": { "usd": -5 } }),
        json!({ "day": { "tokens": -1 } }),
        json!({ "day": { "usd": "0.0000001" } }),
    ] {
        assert_eq!(set(body.clone()).code(), "validation_failed", "{body}");
    }
    assert_eq!(set(json!({ "week": {} })).code(), "unknown_field");
    assert_eq!(world.call(&viewer, "GET", path, json!(null)).code(), "insufficient_permissions");
    let none = set(json!({}));
    assert_eq!(none.body["day"]["usd"], json!(null));
}

#[test]
fn an_invoice_is_told_paid_confirmed_and_credited_over_http() {
    let world = World::new();
    let (root, ada, tenant) = people(&world);
    let plan = json!({ "plan": "starter" });
    assert_eq!(world.call(&ada, "PUT", "/tenants/current/plan", plan).status, 200);
    world.clock.advance(traaviis_model::Span::secs(20 * 24 * 3_600));
    let ada = world.log_in("ada@example.org");
    drop(root);
    let root = world.log_in("root@example.org");
    let own = "/tenants/current/invoices/2027-01";
    let before = world.call(&ada, "GET", own, json!(null));
    assert_eq!((before.text("/status"), before.text("/due")), ("open".into(), "15.903226".into()));
    let told = world.call(&ada, "POST", &format!("{own}/pay"), json!({ "reference": "TX 1" }));
    assert_eq!(
        (told.text("/status"), told.text("/payment/reference")),
        ("open".into(), "TX 1".into())
    );
    let platform = format!("/admin/tenants/{tenant}/invoices/2027-01");
    let credit = json!({ "amount": "0.903226", "reason": "an outage" });
    let credited = world.call(&root, "POST", &format!("{platform}/credit"), credit);
    assert_eq!(
        (credited.text("/due"), credited.text("/credits/0/amount")),
        ("15.000000".into(), "0.903226".into())
    );
    let bad = json!({ "amount": "free", "reason": "x" });
    let bad = world.call(&root, "POST", &format!("{platform}/credit"), bad);
    assert_eq!(bad.code(), "validation_failed");
    let paid = world.call(&root, "POST", &format!("{platform}/paid"), json!(null));
    assert_eq!((paid.text("/status"), paid.text("/due")), ("paid".into(), "0.000000".into()));
    assert_eq!(paid.body["lines"], before.body["lines"], "nothing is edited");
    let own_again = world.call(&ada, "GET", own, json!(null));
    assert_eq!(own_again.body, paid.body);
    let again = world.call(&ada, "POST", &format!("{own}/pay"), json!({ "reference": "TX 2" }));
    assert_eq!((again.status, again.code()), (409, "invalid_state"));
}
