//! What nobody gets by a detour: more rights than they were given, more of the data, a way back in.

use serde_json::{Value as Json, json};
use traaviis_model::Span;

use crate::world::{PASSWORD, Told, World};

/// Returns the id of whoever shows a token.
fn id_of(world: &World, who: &str) -> String {
    world.call(who, "GET", "/me", json!(null)).text("/id")
}

/// Changes a member as somebody who has read it just now.
fn change(world: &World, by: &str, member: &str, body: Json) -> Told {
    let path = format!("/tenants/current/members/{member}");
    let read = world.call(by, "GET", &path, json!(null));
    world.call_if(by, "PATCH", &path, body, &read.etag())
}

fn scoped(world: &World, email: &str, tenant: &str) -> String {
    let body = json!({ "email": email, "password": PASSWORD, "tenant": tenant });
    world.call("", "POST", "/auth/login", body).text("/access_token")
}

#[test]
fn the_last_owner_keeps_every_permission() {
    let world = World::new();
    let (ada, tenant) = world.register("ada@example.org");
    let own = id_of(&world, &ada);
    let role = json!({ "name": "Half", "base": "owner", "permissions": ["workflow_monitor"] });
    let role = world.call(&ada, "POST", "/tenants/current/roles", role).text("/id");
    for less in [json!({ "permissions": [] }), json!({ "role": role })] {
        let told = change(&world, &ada, &own, less);
        assert_eq!((told.status, told.code()), (409, "last_owner"), "{told:?}");
    }
    // One who holds everything is left, so another one may be held to less.
    let bob = world.join(&ada, &tenant, "bob@example.org", "owner");
    let told = change(&world, &ada, &id_of(&world, &bob), json!({ "permissions": [] }));
    assert_eq!(told.status, 200, "{told:?}");
    let told = change(&world, &ada, &own, json!({ "permissions": [] }));
    assert_eq!(told.code(), "last_owner", "an owner who may do nothing is none");
}

#[test]
fn nobody_lets_somebody_see_more_than_they_do() {
    let world = World::new();
    let (ada, tenant) = world.register("ada@example.org");
    let bob = world.join(&ada, &tenant, "bob@example.org", "admin");
    let own = id_of(&world, &bob);
    let unmask = json!({ "data_access": { "payloads": "full", "pii_unmask": true } });
    let told = change(&world, &bob, &own, unmask.clone());
    assert_eq!((told.status, told.code()), (403, "insufficient_permissions"), "{told:?}");
    let blind = json!({ "data_access": { "payloads": "none" } });
    assert_eq!(change(&world, &ada, &own, blind.clone()).status, 200);
    let shown = world.call(&ada, "GET", &format!("/tenants/current/members/{own}"), json!(null));
    assert_eq!(shown.text("/data_access/payloads"), "none");

    // By no detour: of one's own membership, of somebody else, of a role, or of a program.
    let sees = json!({ "data_access": { "payloads": "full" } });
    let eve = world.join(&ada, &tenant, "eve@example.org", "viewer");
    let role = json!({ "name": "Eyes", "base": "viewer", "permissions": [],
                       "data_access": { "payloads": "full" } });
    let robot = json!({ "name": "robot", "role": "developer" });
    let invite = json!({ "email": "zoe@example.org", "role": "developer" });
    for told in [
        change(&world, &bob, &own, sees.clone()),
        change(&world, &bob, &id_of(&world, &eve), sees),
        change(&world, &bob, &id_of(&world, &eve), json!({ "role": "developer" })),
        world.call(&bob, "POST", "/tenants/current/roles", role),
        world.call(&bob, "POST", "/tenants/current/service-accounts", robot),
        world.call(&bob, "POST", "/tenants/current/invitations", invite),
    ] {
        assert_eq!((told.status, told.code()), (403, "insufficient_permissions"), "{told:?}");
    }
    // What somebody sees already is no gift, and owners decide about all of it.
    let less = json!({ "permissions": ["workflow_monitor"] });
    assert_eq!(change(&world, &bob, &id_of(&world, &eve), less).status, 200);
    assert_eq!(change(&world, &ada, &own, unmask).status, 200);

    let audit = world.call(&ada, "GET", "/tenants/current/audit?limit=1", json!(null));
    let facts = &audit.body["items"][0]["metadata"]["data_access"];
    assert_eq!(facts["pii_unmask"], json!(true), "{audit:?}");
}

#[test]
fn an_address_has_one_invitation_which_does_not_outlive_the_membership() {
    let world = World::new();
    let (ada, tenant) = world.register("ada@example.org");
    let path = "/tenants/current/invitations";
    let invite = |role: &str| {
        let told =
            world.call(&ada, "POST", path, json!({ "email": "bob@example.org", "role": role }));
        assert_eq!(told.status, 201, "{told:?}");
        told.text("/token")
    };
    let (first, second) = (invite("admin"), invite("viewer"));
    let open = world.call(&ada, "GET", path, json!(null));
    assert_eq!(open.body["items"].as_array().unwrap().len(), 1, "{open:?}");
    let accept = |token: &str| {
        let body = json!({ "token": token, "password": PASSWORD });
        world.call("", "POST", "/invitations/accept", body)
    };
    assert_eq!(accept(&first).status, 404, "the role that was meant last counts");
    let bob = accept(&second).text("/access_token");
    let member = format!("/tenants/current/members/{}", id_of(&world, &bob));
    assert_eq!(world.call(&ada, "DELETE", &member, json!(null)).status, 204);
    for token in [&first, &second] {
        let told = world.call(&bob, "POST", "/invitations/accept", json!({ "token": token }));
        assert_eq!(told.status, 404, "{told:?}");
    }
    let told = world.call(&bob, "GET", &format!("/tenants/{tenant}"), json!(null));
    assert_eq!(told.code(), "no_tenant_context");
}

#[test]
fn nobody_is_told_the_token_of_an_invitation_to_a_higher_role() {
    let world = World::new();
    let (ada, tenant) = world.register("ada@example.org");
    let bob = world.join(&ada, &tenant, "bob@example.org", "admin");
    let path = "/tenants/current/invitations";
    let body = json!({ "email": "eve@example.org", "role": "owner" });
    let id = world.call(&ada, "POST", path, body).text("/id");
    let again = format!("{path}/{id}/resend");
    let told = world.call(&bob, "POST", &again, json!(null));
    assert_eq!((told.status, told.code()), (403, "insufficient_permissions"), "{told:?}");
    assert_eq!(world.call(&ada, "POST", &again, json!(null)).status, 200);
}

#[test]
fn a_role_is_not_taken_from_those_who_stand_higher() {
    let world = World::new();
    let (ada, tenant) = world.register("ada@example.org");
    let bob = world.join(&ada, &tenant, "bob@example.org", "admin");
    let role = json!({ "name": "Half", "base": "owner", "permissions": ["workflow_monitor"] });
    let made = world.call(&ada, "POST", "/tenants/current/roles", role);
    let path = format!("/tenants/current/roles/{}", made.text("/id"));
    let lower = json!({ "name": "Half", "base": "viewer", "permissions": [] });
    let told = world.call_if(&bob, "PUT", &path, lower.clone(), &made.etag());
    assert_eq!((told.status, told.code()), (403, "insufficient_permissions"), "{told:?}");
    let told = world.call_if(&ada, "PUT", &path, lower, &made.etag());
    assert_eq!((told.status, &*told.text("/data_access/payloads")), (200, "masked"));
}

#[test]
fn whoever_changes_members_has_proved_who_they_are() {
    let world = World::new();
    let (ada, tenant) = world.register("ada@example.org");
    let bob = world.join(&ada, &tenant, "bob@example.org", "viewer");
    let member = id_of(&world, &bob);
    world.clock.advance(Span::secs(11 * 60));
    let invite = json!({ "email": "eve@example.org", "role": "admin" });
    for told in [
        change(&world, &ada, &member, json!({ "role": "admin" })),
        world.call(&ada, "POST", "/tenants/current/invitations", invite),
    ] {
        assert_eq!((told.status, told.code()), (403, "reauthentication_required"), "{told:?}");
    }
    let proof = json!({ "password": PASSWORD });
    let ada = world.call(&ada, "POST", "/auth/reauthenticate", proof).text("/access_token");
    assert_eq!(change(&world, &ada, &member, json!({ "role": "admin" })).status, 200);
}

#[test]
fn a_header_does_not_turn_a_request_to_another_tenant() {
    let world = World::new();
    let (ada, first) = world.register("ada@example.org");
    let (_, foreign) = world.register("eve@example.org");
    let second = world.call(&ada, "POST", "/tenants", json!({ "name": "B", "slug": "second" }));
    let ask = |tenant: &str, named: &str| {
        let bearer = format!("Bearer {ada}");
        let headers = [("authorization", &*bearer), ("x-tenant-id", named)];
        let path = match tenant {
            "" => "/api/v1/me".to_owned(),
            tenant => format!("/api/v1/tenants/{tenant}"),
        };
        let told = world.raw("GET", &path, &headers, Vec::new());
        (told.status, told.text("/slug") + told.code())
    };
    let refused = (403, "no_tenant_context".to_owned());
    assert_eq!(ask("current", &first).0, 200);
    assert_eq!(ask("current", "second"), (200, "second".into()), "one may switch to it");
    assert_eq!(ask(&second.text("/id"), "second"), (200, "second".into()));
    assert_eq!(ask(&first, "second"), refused, "the path and the header disagree");
    for named in [&*foreign, "nobody", "current/../second", ""] {
        assert_eq!(ask("current", named), refused, "{named}");
        assert_eq!(ask(&first, named), refused, "{named}");
        assert_eq!(ask("", named), refused, "{named}");
    }
    assert_eq!(ask("", "second").0, 200);
}

#[test]
fn a_tenant_asks_for_younger_sessions_and_longer_passwords() {
    let world = World::new();
    let (ada, tenant) = world.register("ada@example.org");
    let path = "/tenants/current/config";
    let set = |who: &str, body: Json| {
        let read = world.call(who, "GET", path, json!(null));
        world.call_if(who, "PATCH", path, body, &read.etag())
    };
    let told = set(&ada, json!({ "session_idle": "nonsense" }));
    assert_eq!((told.status, told.code()), (422, "validation_failed"), "{told:?}");
    let rules = json!({ "session_idle": "20m", "session_life": "2h", "password_length_min": 25 });
    assert_eq!(set(&ada, rules).status, 200);

    let short = json!({ "current": PASSWORD, "new": "a short horse" });
    let told = world.call(&ada, "POST", "/me/password", short);
    assert!(told.body["detail"].as_str().unwrap().contains("25 characters"), "{told:?}");
    let body = json!({ "email": "bob@example.org", "role": "viewer" });
    let token = world.call(&ada, "POST", "/tenants/current/invitations", body).text("/token");
    let accept = json!({ "token": token, "password": "a short horse" });
    assert_eq!(world.call("", "POST", "/invitations/accept", accept).status, 422);

    let login = json!({ "email": "ada@example.org", "password": PASSWORD, "tenant": tenant });
    let mut session = world.call("", "POST", "/auth/login", login);
    let wait = |minutes: i64| world.clock.advance(Span::secs(minutes * 60));
    let renew = |session: &Told| {
        let body = json!({ "refresh_token": session.text("/refresh_token") });
        world.call("", "POST", "/auth/refresh", body)
    };
    for _ in 0..11 {
        wait(10);
        session = renew(&session);
        assert_eq!(session.status, 200, "it is used");
    }
    let shown = |session: &Told| {
        let who = session.text("/access_token");
        world.call(&who, "GET", &format!("/tenants/{tenant}"), json!(null)).status
    };
    assert_eq!(shown(&session), 200);
    wait(14);
    assert_eq!(shown(&session), 401, "it is older than two hours");
    assert_eq!(renew(&session).status, 401);

    let fresh = scoped(&world, "ada@example.org", &tenant);
    assert_eq!(world.call(&fresh, "GET", "/tenants/current", json!(null)).status, 200);
    let login = json!({ "email": "ada@example.org", "password": PASSWORD, "tenant": tenant });
    let idle = world.call("", "POST", "/auth/login", login);
    wait(21);
    assert_eq!(renew(&idle).status, 401, "it was not used for more than twenty minutes");
}
