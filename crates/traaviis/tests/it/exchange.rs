//! Token exchange on a served directory: never for more, and gone with what it came from.

use serde_json::{Value as Json, json};

use crate::{
    cli::{World, wait_until},
    server::{Server, Told},
    websocket::Channel,
};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const TYPE: &str = "urn:ietf:params:oauth:token-type:access_token";

fn exchange(server: &Server, who: &str, subject: &str, more: Json) -> Told {
    let mut body =
        json!({ "grant_type": GRANT, "subject_token": subject, "subject_token_type": TYPE });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    server.call(who, "POST", "/auth/token-exchange", body)
}

fn given(server: &Server, who: &str, more: Json) -> String {
    let told = exchange(server, who, who, more);
    assert_eq!(told.status, 200, "{told:?}");
    told.text("/access_token")
}

#[test]
fn a_token_is_exchanged_for_one_that_may_less() {
    let world = World::new();
    let server = Server::serve(&world);
    let ada = server.register("ada@example.org");
    let id = server.get(&ada, "/tenants/current").text("/id");
    let scope = "workflow_monitor workflow_execute";
    let told = exchange(&server, &ada, &ada, json!({ "scope": scope, "expires_in": 60 }));
    assert_eq!(told.status, 200, "{told:?}");
    assert_eq!(told.text("/scope"), "workflow_execute workflow_monitor");
    assert_eq!(
        (told.text("/token_type"), told.text("/issued_token_type")),
        ("Bearer".into(), TYPE.into())
    );
    assert_eq!((&told.body["expires_in"], told.text("/tenant")), (&json!(60), id));
    let narrow = told.text("/access_token");
    assert!(narrow.len() <= 1_024, "{}", narrow.len());

    let get = |path: &str| server.get(&narrow, path);
    assert_eq!(get("/tenants/current/instances").status, 200);
    assert_eq!(get("/tenants/current/secrets").code(), "insufficient_permissions");
    let mine = get("/tenants/current/permissions");
    assert_eq!(mine.body["permissions"], json!(["workflow_execute", "workflow_monitor"]));
    // Nothing about the account, the session, or other tenants; no key that would outlive it.
    let none = json!(null);
    for (method, path, body) in [
        ("GET", "/me", none.clone()),
        ("GET", "/me/sessions", none.clone()),
        ("POST", "/auth/logout", none.clone()),
        ("POST", "/auth/switch", json!({ "tenant": "current" })),
        ("POST", "/tenants", json!({ "name": "Other" })),
        (
            "POST",
            "/tenants/current/api-keys",
            json!({ "name": "k", "scopes": ["workflow_monitor"] }),
        ),
        ("DELETE", "/tenants/current", json!({ "confirm": "x" })),
    ] {
        let told = server.call(&narrow, method, path, body);
        assert!(
            ["forbidden", "reauthentication_required"].contains(&told.code()),
            "{method} {path}: {told:?}"
        );
    }
    let trail = server.get(&ada, "/tenants/current/audit?limit=20");
    let mut entries = trail.body["items"].as_array().unwrap().iter();
    let entry = entries.find(|it| it["action"] == "token.exchanged").unwrap();
    assert_eq!(entry["metadata"]["scope"], json!(["workflow_execute", "workflow_monitor"]));
    assert!(entry["metadata"]["subject"].is_string() && entry["metadata"]["actor"].is_string());
    assert!(!trail.body.to_string().contains(&narrow), "the token itself is nowhere");

    // It is exchanged further, and never back.
    let less = exchange(&server, &narrow, &narrow, json!({ "scope": "workflow_monitor" }));
    assert_eq!(less.text("/scope"), "workflow_monitor", "{less:?}");
    let more = exchange(&server, &narrow, &narrow, json!({ "scope": "tenant_settings" }));
    assert_eq!((more.status, more.code()), (403, "insufficient_permissions"));
    let all = exchange(&server, &narrow, &narrow, json!({ "expires_in": 3_600 }));
    assert_eq!(all.text("/scope"), "workflow_execute workflow_monitor");
    assert!(all.body["expires_in"].as_i64().unwrap() <= 60, "{all:?}");

    // It ends with the session that it came from.
    assert_eq!(server.call(&ada, "POST", "/auth/logout", none).status, 204);
    assert_eq!(get("/tenants/current/instances").code(), "session_expired");
}

#[test]
fn what_cannot_be_exchanged_is_refused() {
    let world = World::new();
    let server = Server::serve(&world);
    let (ada, eve) = (server.register("ada@example.org"), server.register("eve@example.org"));
    let of_eve = server.get(&eve, "/tenants/current").text("/id");
    let key = json!({ "name": "k", "scopes": ["workflow_monitor"] });
    let key = server.post(&ada, "/api-keys", key).text("/key");
    for (who, subject, more, status, code) in [
        ("", &ada, json!({}), 401, "not_authenticated"),
        (&*ada, &eve, json!({}), 403, "forbidden"),
        (&*ada, &key, json!({}), 403, "forbidden"),
        (&*key, &ada, json!({}), 403, "forbidden"),
        (&*ada, &"x.y.z".to_owned(), json!({}), 401, "invalid_token"),
        (&*ada, &ada, json!({ "audience": of_eve }), 403, "no_tenant_context"),
        (&*ada, &ada, json!({ "audience": "nowhere" }), 403, "no_tenant_context"),
        (&*ada, &ada, json!({ "scope": "fly" }), 422, "validation_failed"),
        (&*ada, &ada, json!({ "actor_token": ada }), 422, "unknown_field"),
        (&*ada, &ada, json!({ "grant_type": "password" }), 422, "validation_failed"),
    ] {
        let told = exchange(&server, who, subject, more.clone());
        assert_eq!((told.status, told.code()), (status, code), "{more}: {told:?}");
    }
    let viewer = server.join(&ada, "vic@example.org", "viewer");
    let told = exchange(&server, &viewer, &viewer, json!({ "scope": "workflow_execute" }));
    assert_eq!(told.code(), "insufficient_permissions", "{told:?}");
}

#[test]
fn it_is_for_one_tenant_and_what_it_may_shrinks_with_its_member() {
    let world = World::new();
    let server = Server::serve(&world);
    let (ada, bob) = (server.register("ada@example.org"), server.register("bob@example.org"));
    let here = server.get(&ada, "/tenants/current").text("/id");
    let invited = server.post(
        &ada,
        "/invitations",
        json!({ "email": "bob@example.org", "role": "developer" }),
    );
    let accept = json!({ "token": invited.text("/token") });
    assert_eq!(server.call(&bob, "POST", "/invitations/accept", accept).status, 200);
    let both = server.get(&bob, "/me/tenants").body["items"].as_array().unwrap().len();
    assert_eq!(both, 2);
    let there = given(&server, &bob, json!({ "audience": here }));
    let own = server.get(&bob, "/tenants/current").text("/id");
    assert_eq!(server.get(&there, "/tenants/current").text("/id"), here);
    assert_eq!(server.get(&there, &format!("/tenants/{own}")).code(), "no_tenant_context");
    let back = exchange(&server, &there, &there, json!({ "audience": own }));
    assert_eq!(back.code(), "no_tenant_context", "{back:?}");
    let shown = server.get(&there, "/me/tenants");
    assert_eq!(shown.body["items"].as_array().unwrap().len(), 1, "{shown:?}");

    assert_eq!(server.get(&there, "/tenants/current/webhooks").status, 200);
    let me = server.get(&bob, "/me").text("/id");
    let member = format!("/tenants/current/members/{me}");
    let more = format!("if-match: {}\r\n", server.get(&ada, &member).header("etag"));
    let told = server.call_with(&ada, "PATCH", &member, &more, json!({ "role": "viewer" }));
    assert_eq!(told.status, 200, "{told:?}");
    wait_until("rights are gone", || server.get(&there, "/tenants/current/webhooks").status != 200);
    // An owner hands on everything but being one.
    let all = given(&server, &ada, json!({}));
    assert_eq!(server.get(&all, "/tenants/current/secrets").status, 200);
    let issuer = server.call(&all, "DELETE", "/tenants/current/issuers/x", json!(null));
    assert_eq!(issuer.code(), "forbidden", "{issuer:?}");
}

#[test]
fn a_socket_that_it_has_opened_ends_when_it_does() {
    let world = World::new();
    let server = Server::serve(&world);
    let ada = server.register("ada@example.org");
    let tenant = server.get(&ada, "/tenants/current").text("/id");
    let short = given(&server, &ada, json!({ "scope": "workflow_monitor", "expires_in": 5 }));
    let mut socket = Channel::open(&server, &short);
    socket.join(&format!("fsm:{tenant}"));
    let refused = socket.refused(&format!("fsm:{tenant}"), "create_fsm", json!({ "module": "x" }));
    assert_eq!(refused.1, "insufficient_permissions");
    let begun = std::time::Instant::now();
    assert_eq!(socket.closed(), 4001);
    assert!(begun.elapsed() < std::time::Duration::from_secs(20), "not after a silence");
}

#[test]
fn a_form_is_taken_as_the_rfc_has_it() {
    let world = World::new();
    let server = Server::serve(&world);
    let ada = server.register("ada@example.org");
    let form = |more: &str| {
        let body =
            format!("grant_type={GRANT}&subject_token={ada}&subject_token_type={TYPE}{more}");
        let body = body.replace(':', "%3A");
        let path = "/api/v1/auth/token-exchange";
        let mut stream = std::net::TcpStream::connect(&server.address).unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             authorization: Bearer {ada}\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
        crate::server::read(stream)
    };
    let told = form("&scope=workflow_monitor+workflow_execute&expires_in=60");
    assert_eq!((told.status, &told.body["expires_in"]), (200, &json!(60)), "{told:?}");
    assert_eq!(told.text("/scope"), "workflow_execute workflow_monitor");
    let narrow = told.text("/access_token");
    assert_eq!(server.get(&narrow, "/tenants/current/instances").status, 200);
    for (more, code) in [
        ("&actor_token=x", "unknown_field"),
        ("&expires_in=soon", "validation_failed"),
        ("&scope=a&scope=b", "validation_failed"),
    ] {
        assert_eq!(form(more).code(), code, "{more}");
    }
}
