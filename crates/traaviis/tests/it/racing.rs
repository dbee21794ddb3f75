//! What people do at the same moment: each of it comes to the same as one after the other.

use std::thread;

use serde_json::{Value as Json, json};

use crate::{
    cli::World,
    server::{PASSWORD, Server, Told},
};

/// Sends the same many times at once.
fn at_once(count: usize, ask: impl Fn() -> Told + Sync) -> Vec<Told> {
    thread::scope(|scope| {
        let asked: Vec<_> = (0..count).map(|_| scope.spawn(&ask)).collect();
        asked.into_iter().map(|it| it.join().unwrap()).collect()
    })
}

#[test]
fn windows_that_refresh_at_once_stay_logged_in() {
    let world = World::new();
    let server = Server::serve(&world);
    let login = || {
        let body = json!({ "email": "ada@example.org", "password": PASSWORD });
        server.call("", "POST", "/auth/login", body).text("/refresh_token")
    };
    let refresh =
        |token: &str| server.call("", "POST", "/auth/refresh", json!({ "refresh_token": token }));
    server.register("ada@example.org");
    let first = login();
    let told = at_once(8, || refresh(&first));
    let mut next: Vec<String> = told.iter().map(|it| it.text("/refresh_token")).collect();
    next.sort();
    next.dedup();
    assert!(next.len() == 1 && !next[0].is_empty(), "{told:?}");
    assert!(told.iter().all(|it| it.status == 200), "{told:?}");
    assert_eq!(refresh(&next[0]).status, 200, "whichever answer was kept");
    // What was used up before the last one is nobody's any more, and ends the session.
    let spent = refresh(&first);
    assert_eq!((spent.status, spent.code()), (401, "invalid_token"));
    assert_eq!(refresh(&next[0]).status, 401);
}

#[test]
fn a_window_that_proves_itself_puts_no_other_out() {
    let world = World::new();
    let server = Server::serve(&world);
    server.register("ada@example.org");
    let body = json!({ "email": "ada@example.org", "password": PASSWORD });
    let told = server.call("", "POST", "/auth/login", body);
    let (access, first) = (told.text("/access_token"), told.text("/refresh_token"));
    let refresh =
        |token: &str| server.call("", "POST", "/auth/refresh", json!({ "refresh_token": token }));
    let proof = json!({ "password": PASSWORD });
    let proved = server.call(&access, "POST", "/auth/reauthenticate", proof);
    assert_eq!(proved.status, 200, "{proved:?}");
    let other = refresh(&first);
    assert_eq!(other.text("/refresh_token"), proved.text("/refresh_token"), "{other:?}");
    assert_eq!(refresh(&proved.text("/refresh_token")).status, 200);
}

#[test]
fn passwords_that_are_tried_at_once_are_no_more_than_one_after_the_other() {
    let world = World::new();
    let server = Server::serve(&world);
    server.register("ada@example.org");
    let wrong = json!({ "email": "ada@example.org", "password": "wrong horse battery" });
    let told = at_once(40, || server.call("", "POST", "/auth/login", wrong.clone()));
    let tried = told.iter().filter(|it| it.code() == "invalid_credentials").count();
    // Whoever is past the last look when the tenth is counted is told as well: a few, and on a
    // machine that has no time for them a few more.
    assert!((10..=25).contains(&tried), "{tried}");
    assert!(told.iter().all(|it| matches!(it.status, 401 | 429)), "{told:?}");
}

/// Somebody who may erase, and may not look.
#[test]
fn an_erasure_names_the_key_without_reading_what_it_opens() {
    let world = World::new();
    let server = Server::serve(&world);
    let owner = server.register("ada@example.org");
    server.publish(
        &owner,
        "About",
        "traaviis: \"1\"\nname: About\nversion: 1.0.0\nsubject: input.customer\ninitial: open\n\
         events: {end: {}}\nstates:\n  open: {on: {end: done}}\n  done: {type: final}\n",
    );
    let start = json!({ "workflow": "About", "input": { "customer": "c-17" } });
    let id = server.post(&owner, "/instances", start).text("/id");
    assert_eq!(server.send(&owner, &id, "end").status, 200);
    let role = json!({ "name": "eraser", "base": "viewer", "permissions": ["tenant_settings"] });
    let made = server.post(&owner, "/roles", role);
    assert_eq!(made.status, 201, "{made:?}");
    let eraser = server.join(&owner, "eve@example.org", &made.text("/id"));
    let erased = server.post(&eraser, "/privacy/erase-subject", json!({ "subject": "c-17" }));
    assert_eq!(erased.status, 200, "{erased:?}");
    let trail = server.get(&owner, "/tenants/current/audit");
    let of = |action: &str| {
        let found =
            trail.body["items"].as_array().unwrap().iter().find(|it| it["action"] == action);
        found.map_or(Json::Null, |it| it["resource_id"].clone())
    };
    let name = &erased.body["key"];
    assert_eq!((&of("subject.erasure_asked"), &of("subject.erased")), (name, name));
}

#[test]
fn an_invitation_is_worth_what_whoever_made_it_could_give_now() {
    let world = World::new();
    let server = Server::serve(&world);
    let owner = server.register("ada@example.org");
    let bob = server.join(&owner, "bob@example.org", "admin");
    let bob_id = server.get(&bob, "/me").text("/id");
    let invite = |by: &str, email: &str, role: &str| {
        let told = server.post(by, "/invitations", json!({ "email": email, "role": role }));
        assert_eq!(told.status, 201, "{told:?}");
        (told.text("/id"), told.text("/token"))
    };
    let accept = |token: &str| {
        let body = json!({ "token": token, "password": PASSWORD });
        let told = server.call("", "POST", "/invitations/accept", body);
        (told.status, told.code().to_owned())
    };
    let gone = (404, "not_found".to_owned());
    let member = format!("/tenants/current/members/{bob_id}");
    let change = |method: &str, body: Json| {
        let told = server.call_with(&owner, method, &member, "if-match: *\r\n", body);
        assert!(told.status < 300, "{told:?}");
    };

    let (_, higher) = invite(&bob, "eve@example.org", "admin");
    let (_, lower) = invite(&bob, "mia@example.org", "viewer");
    change("PATCH", json!({ "role": "developer" }));
    assert_eq!(accept(&higher), gone, "more than he holds now");
    change("PATCH", json!({ "role": "admin" }));
    assert_eq!(accept(&lower).0, 200, "what he may give again is given");
    change("DELETE", Json::Null);
    assert_eq!(accept(&higher), gone, "nobody has made it any more");

    // Somebody else can make it theirs.
    let carl = server.join(&owner, "carl@example.org", "admin");
    let open = server.get(&owner, "/tenants/current/invitations");
    let id = open.text("/items/0/id");
    let again = server.post(&carl, &format!("/invitations/{id}/resend"), Json::Null);
    assert_eq!(again.status, 200, "{again:?}");
    assert_eq!(accept(&again.text("/token")).0, 200);

    // A role that was deleted meanwhile makes no member whom nobody could take out.
    let role = json!({ "name": "guest", "base": "viewer", "permissions": ["workflow_monitor"] });
    let role = server.post(&owner, "/roles", role).text("/id");
    let (_, token) = invite(&owner, "zoe@example.org", &role);
    let path = format!("/tenants/current/roles/{role}");
    let deleted = server.call_with(&owner, "DELETE", &path, "if-match: *\r\n", Json::Null);
    assert_eq!(deleted.status, 204, "{deleted:?}");
    assert_eq!(accept(&token), gone);
    let members = server.get(&owner, "/tenants/current/members");
    assert_eq!(members.body["items"].as_array().unwrap().len(), 4, "{members:?}");
}

#[test]
fn owners_who_delete_their_accounts_at_once_leave_one_behind() {
    let world = World::new();
    let server = Server::serve(&world);
    for round in 0..5 {
        let ada = server.register(&format!("ada{round}@example.org"));
        let bob = server.join(&ada, &format!("bob{round}@example.org"), "admin");
        let mia = server.join(&ada, &format!("mia{round}@example.org"), "admin");
        let member = format!("/tenants/current/members/{}", server.get(&bob, "/me").text("/id"));
        let role = json!({ "role": "owner" });
        let raised = server.call_with(&ada, "PATCH", &member, "if-match: *\r\n", role);
        assert_eq!(raised.status, 200, "{raised:?}");
        let go = |who: &str| {
            let told = server.call(who, "DELETE", "/me", Json::Null);
            (told.status, told.code().to_owned())
        };
        let mut told = thread::scope(|scope| {
            [&ada, &bob].map(|it| scope.spawn(move || go(it))).map(|it| it.join().unwrap())
        });
        told.sort();
        assert_eq!(told, [(204, String::new()), (409, "last_owner".to_owned())]);
        let members = server.get(&mia, "/tenants/current/members");
        let members = members.body["items"].as_array().unwrap().clone();
        let owners = members.iter().filter(|it| it["role"] == "owner").count();
        assert_eq!(owners, 1, "{members:?}");
    }
}
