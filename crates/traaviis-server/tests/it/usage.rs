//! Plans, usage and invoices over HTTP.

use serde_json::json;

use crate::world::World;

#[test]
fn a_plan_is_chosen_members_are_held_to_it_and_invoices_are_the_same_each_time() {
    let world = World::new();
    let (ada, tenant) = world.register("ada@example.org");
    world.join(&ada, &tenant, "bob@example.org", "viewer");
    let free = world.call(&ada, "PUT", "/tenants/current/plan", json!({ "plan": "free" }));
    assert_eq!(free.status, 200, "{free:?}");
    world.join(&ada, &tenant, "eve@example.org", "developer");
    let invite = json!({ "email": "max@example.org", "role": "viewer" });
    let refused = world.call(&ada, "POST", "/tenants/current/invitations", invite.clone());
    assert_eq!((refused.status, refused.code()), (429, "quota_exceeded"));
    let details = &refused.body["details"];
    assert_eq!((&details["metric"], &details["used"]), (&json!("members"), &json!(3)));
    let account = json!({ "name": "robot", "role": "viewer" });
    let refused = world.call(&ada, "POST", "/tenants/current/service-accounts", account);
    assert_eq!(refused.code(), "quota_exceeded");

    for plan in ["enterprise", "self_hosted"] {
        let told = world.call(&ada, "PUT", "/tenants/current/plan", json!({ "plan": plan }));
        assert_eq!((told.status, told.code()), (403, "forbidden"), "{plan}");
    }
    let pro = world.call(&ada, "PUT", "/tenants/current/plan", json!({ "plan": "pro" }));
    assert_eq!(pro.text("/plan"), "pro");
    let invited = world.call(&ada, "POST", "/tenants/current/invitations", invite);
    assert_eq!(invited.status, 201);

    let usage = world.call(&ada, "GET", "/tenants/current/usage", json!(null));
    assert_eq!((&*usage.text("/plan"), &*usage.text("/month")), ("pro", "2027-01"));
    let members = usage.body["metrics"].as_array().unwrap();
    let members = members.iter().find(|it| it["metric"] == "members").unwrap();
    assert_eq!(members["used"], json!(3));
    assert_eq!(members["included"], json!(50));
    let listed = world.call(&ada, "GET", "/tenants/current/invoices", json!(null));
    assert_eq!(listed.body["items"][0]["status"], json!("draft"));
    let path = "/tenants/current/invoices/2027-01";
    let (first, second) =
        (world.call(&ada, "GET", path, json!(null)), world.call(&ada, "GET", path, json!(null)));
    assert_eq!(first.text("/total"), "109.129032", "17 of 31 days");
    assert_eq!(first.body.to_string(), second.body.to_string());
    for absent in ["2020-01", "2099-01", "nonsense"] {
        let told =
            world.call(&ada, "GET", &format!("/tenants/current/invoices/{absent}"), json!(null));
        assert_eq!((told.status, told.code()), (404, "not_found"), "{absent}");
    }
}
