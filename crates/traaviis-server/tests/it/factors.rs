//! Second factors, tokens by mail and passkeys over HTTP: what is asked, and how it is refused.

use serde_json::{Value as Json, json};

use crate::world::{PASSWORD, Told, World};

/// When the world stands.
const NOW: u64 = 1_800_000_000;

/// Returns the code of an app, so many steps from now.
fn code_of(secret: &str, steps: u64) -> String {
    let secret = totp_rs::Secret::try_from_base32(secret).unwrap();
    let app = totp_rs::Builder::new().with_secret(secret).build().unwrap();
    app.generate(NOW + steps * 30).to_string()
}

/// Gives somebody an app with a code of the step before now; returns its secret and its id.
fn add_app(world: &World, who: &str) -> (String, String) {
    let begun = world.call(who, "POST", "/me/mfa", json!({ "kind": "totp", "name": "phone" }));
    assert_eq!(begun.status, 201, "{begun:?}");
    assert!(begun.text("/uri").starts_with("otpauth://totp/TRAAVIIS:"), "{begun:?}");
    let (id, secret) = (begun.text("/id"), begun.text("/secret"));
    let path = format!("/me/mfa/{id}/confirm");
    let early = world.call(who, "POST", &path, json!({ "code": code_of(&secret, 3) }));
    assert_eq!((early.status, early.code()), (401, "invalid_credentials"));
    let both = world.call(who, "POST", &path, json!({ "code": "1", "credential": {} }));
    assert_eq!((both.status, both.code()), (422, "validation_failed"));
    let confirmed = world.call(who, "POST", &path, json!({ "code": code_of(&secret, 0) }));
    assert_eq!((confirmed.status, &*confirmed.text("/kind")), (200, "totp"), "{confirmed:?}");
    assert!(!confirmed.body.to_string().contains(&secret), "told once");
    (secret, id)
}

fn log_in(world: &World, email: &str, totp: Option<&str>) -> Told {
    let body = json!({ "email": email, "password": PASSWORD, "totp": totp });
    world.call("", "POST", "/auth/login", body)
}

#[test]
fn an_app_is_added_asked_for_and_removed() {
    let world = World::new();
    let (ada, _) = world.register("ada@example.org");
    let other = log_in(&world, "ada@example.org", None).text("/access_token");
    let (secret, id) = add_app(&world, &ada);
    let ended = world.call(&other, "GET", "/me", Json::Null);
    assert_eq!((ended.status, ended.code()), (401, "session_expired"));
    let asked = log_in(&world, "ada@example.org", None);
    assert_eq!((asked.status, asked.code()), (401, "mfa_required"));
    assert_eq!(asked.body["details"]["methods"], json!(["totp"]));
    let made = world.call(&ada, "POST", "/me/mfa/recovery-codes", Json::Null);
    let codes = made.body["codes"].as_array().unwrap().clone();
    assert_eq!((made.status, codes.len()), (201, 10));
    assert_eq!(log_in(&world, "ada@example.org", codes[0].as_str()).status, 200);
    assert_eq!(log_in(&world, "ada@example.org", codes[0].as_str()).status, 401, "once");
    let next = code_of(&secret, 1);
    let logged_in = log_in(&world, "ada@example.org", Some(&next));
    assert_eq!(logged_in.status, 200, "{logged_in:?}");
    assert_eq!(log_in(&world, "ada@example.org", Some(&next)).code(), "invalid_credentials");
    let ada = logged_in.text("/access_token");
    let listed = world.call(&ada, "GET", "/me/mfa", Json::Null);
    assert_eq!(listed.body["recovery_codes_left"], 9, "{listed:?}");
    assert!(!listed.body.to_string().contains(&secret));
    let path = format!("/me/mfa/{id}");
    assert_eq!(world.call(&ada, "DELETE", &path, Json::Null).status, 204);
    assert_eq!(world.call(&ada, "DELETE", &path, Json::Null).code(), "not_found");
    assert_eq!(log_in(&world, "ada@example.org", None).status, 200);
    let none = world.call(&ada, "POST", "/me/mfa/recovery-codes", Json::Null);
    assert_eq!((none.status, none.code()), (409, "invalid_state"));
}

#[test]
fn a_tenant_keeps_sessions_of_one_factor_outside() {
    let world = World::new();
    let (ada, tenant) = world.register("ada@example.org");
    let bob = world.join(&ada, &tenant, "bob@example.org", "viewer");
    add_app(&world, &ada);
    let path = format!("/tenants/{tenant}/config");
    let etag = world.call(&ada, "GET", &path, Json::Null).etag();
    let set = world.call_if(&ada, "PATCH", &path, json!({ "require_mfa": true }), &etag);
    assert_eq!(set.status, 200, "{set:?}");
    let refused = world.call(&bob, "GET", &format!("/tenants/{tenant}"), Json::Null);
    assert_eq!((refused.status, refused.code()), (403, "second_factor_required"));
    assert_eq!(world.call(&bob, "GET", "/me", Json::Null).status, 200, "what is one's own goes on");
    add_app(&world, &bob);
    assert_eq!(world.call(&bob, "GET", &format!("/tenants/{tenant}"), Json::Null).status, 200);
}

/// Headers that differ for every request, and those that count what was asked of an address,
/// whether there is an account or not.
const DIFFERS: &[&str] =
    &["x-request-id", "traceparent", "ratelimit-remaining", "ratelimit-reset", "retry-after"];

/// Whether an address has an account is answered nowhere: status, headers and body are the same.
#[test]
fn known_and_unknown_addresses_get_the_same_answers() {
    // The limit of one account counts requests, whether it is there or not.
    let world = World::relaxed();
    world.register("ada@example.org");
    let told = |path: &str, email: &str, more: &Json| {
        let mut body = more.clone();
        body["email"] = json!(email);
        let mut told = world.call("", "POST", path, body);
        // What differs for every request.
        told.body["request_id"] = json!(null);
        told.headers.retain(|name, _| !DIFFERS.contains(&name.as_str()));
        (told.status, told.headers, told.body)
    };
    let login = json!({ "password": "wrong wrong wrong" });
    let with_code = json!({ "password": "wrong wrong wrong", "totp": "123456" });
    for (path, more) in [
        ("/auth/login", &login),
        ("/auth/login", &with_code),
        ("/auth/reset/request", &json!({})),
        ("/auth/verify/resend", &json!({})),
    ] {
        // Up to the limit and beyond it.
        for number in 0..12 {
            let known = told(path, "ada@example.org", more);
            assert_eq!(known, told(path, "nobody@example.org", more), "{path} {number}");
        }
    }
    let (status, _, body) = told("/auth/reset/request", "ada@example.org", &json!({}));
    assert_eq!((status, &body["code"]), (429, &json!("too_many_attempts")));
}

#[test]
fn what_is_wrong_with_a_token_or_a_kind_is_told_with_a_code() {
    let world = World::new();
    let (ada, _) = world.register("ada@example.org");
    for (who, path, body, status, code) in [
        ("", "/auth/verify", json!({ "token": "" }), 401, "invalid_token"),
        ("", "/auth/verify", json!({ "token": "trv_vfy_x" }), 401, "invalid_token"),
        ("", "/auth/verify", json!({}), 422, "validation_failed"),
        ("", "/auth/verify", json!({ "token": null }), 422, "validation_failed"),
        (
            "",
            "/auth/reset/confirm",
            json!({ "token": null, "password": PASSWORD }),
            422,
            "validation_failed",
        ),
        (
            "",
            "/auth/reset/confirm",
            json!({ "token": "", "password": PASSWORD }),
            401,
            "invalid_token",
        ),
        ("", "/auth/oidc/finish", json!({ "ticket": "x" }), 401, "invalid_token"),
        // The address of this world is no name behind TLS.
        ("", "/auth/webauthn/start", Json::Null, 403, "feature_unavailable"),
        (
            "",
            "/auth/webauthn/finish",
            json!({ "credential": { "id": "x" } }),
            403,
            "feature_unavailable",
        ),
        (&ada, "/me/mfa", json!({ "kind": "sms" }), 422, "validation_failed"),
        (&ada, "/me/mfa", json!({ "kind": "webauthn" }), 403, "feature_unavailable"),
        (&ada, "/me/mfa", json!({ "kind": "totp", "name": "" }), 422, "validation_failed"),
    ] {
        let told = world.call(who, "POST", path, body);
        assert_eq!((told.status, told.code()), (status, code), "{path}: {told:?}");
    }
    for path in ["/auth/oidc/acme/start", "/auth/oidc/acme/callback?state=x"] {
        let told = world.call("", "GET", path, Json::Null);
        assert_eq!((told.status, told.code()), (404, "not_found"), "{told:?}");
        assert!(!told.headers.contains_key("set-cookie"));
    }
    let none = world.call("", "GET", "/auth/oidc", Json::Null);
    assert_eq!((none.status, &none.body["items"]), (200, &json!([])));
    assert!(world.metrics().contains(r#"traaviis_mails_total{outcome="sent"} 0"#));
}
