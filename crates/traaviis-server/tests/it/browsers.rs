//! Refresh tokens that browsers keep in a cookie.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use traaviis_platform::Settings;

use crate::world::{PASSWORD, Told, World};

const CSRF: (&str, &str) = ("x-trv-csrf", "1");

/// Sends a request as a browser does that shows these headers.
fn send(world: &World, path: &str, headers: &[(&str, &str)], body: &Json) -> Told {
    let json = ("content-type", "application/json");
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    world.raw("POST", &format!("/api/v1{path}"), &[headers, &[json]].concat(), body)
}

fn login() -> Json {
    json!({ "email": "ada@example.org", "password": PASSWORD })
}

/// Returns the cookie that an answer sets: as it is sent back, and what stands behind it.
fn cookie(told: &Told) -> (String, String) {
    let text = told.headers.get("set-cookie").cloned().unwrap_or_default();
    let (pair, rest) = text.split_once("; ").unwrap_or_default();
    (pair.to_owned(), rest.to_owned())
}

#[test]
fn a_browser_renews_its_session_by_a_cookie_that_no_script_reads() {
    let world = World::relaxed();
    world.register("ada@example.org");
    let told = send(&world, "/auth/login", &[CSRF], &login());
    assert_eq!((told.status, &told.body["refresh_token"]), (200, &json!(null)), "{told:?}");
    let (first, rest) = cookie(&told);
    assert!(first.starts_with("trv_rt=trv_rt_"), "{first}");
    assert_eq!(rest, "Path=/; HttpOnly; SameSite=Strict; Max-Age=2592000");

    let refresh = |cookie: &str, body: &Json, more: &[(&str, &str)]| {
        send(&world, "/auth/refresh", &[&[("cookie", cookie)], more].concat(), body)
    };
    let forged = refresh(&first, &json!(null), &[]);
    assert_eq!((forged.status, forged.code()), (403, "csrf_header_required"));
    let wrong = refresh(&first, &json!(null), &[("x-trv-csrf", "0")]);
    assert_eq!((wrong.status, wrong.code()), (422, "validation_failed"));
    let none = refresh("theme=dark", &json!({}), &[CSRF]);
    assert_eq!((none.status, none.code()), (422, "validation_failed"));

    let renewed = refresh(&first, &json!(null), &[CSRF]);
    assert_eq!(renewed.status, 200, "{renewed:?}");
    let (second, _) = cookie(&renewed);
    assert!(second != first && renewed.body["refresh_token"].is_null());
    let token = renewed.text("/access_token");
    assert_eq!(world.call(&token, "GET", "/me", json!(null)).status, 200);
    let (third, _) = cookie(&refresh(&second, &json!({}), &[CSRF]));
    // Somebody shows one that was used up: the session ends, for both of them.
    for spent in [&first, &third] {
        assert_eq!(refresh(spent, &json!(null), &[CSRF]).code(), "invalid_token");
    }
    assert_eq!(world.call(&token, "GET", "/me", json!(null)).status, 401);
}

#[test]
fn a_program_has_its_refresh_token_in_bodies() {
    let world = World::relaxed();
    world.register("ada@example.org");
    let told = send(&world, "/auth/login", &[], &login());
    assert_eq!(cookie(&told), <(String, String)>::default());
    let body = json!({ "refresh_token": told.text("/refresh_token") });
    let renewed = send(&world, "/auth/refresh", &[], &body);
    assert!(renewed.text("/refresh_token").starts_with("trv_rt_"), "{renewed:?}");
    // Whoever becomes a browser brings theirs once.
    let body = json!({ "refresh_token": renewed.text("/refresh_token") });
    let kept = send(&world, "/auth/refresh", &[CSRF], &body);
    assert!(cookie(&kept).0.starts_with("trv_rt=trv_rt_") && kept.body["refresh_token"].is_null());
}

#[test]
fn every_way_of_logging_in_keeps_it_so_and_logging_out_takes_it_away() {
    let world = World::relaxed();
    let registered = json!({ "email": "ada@example.org", "password": PASSWORD });
    let mut told = send(&world, "/auth/register", &[CSRF], &registered);
    let tenant = told.text("/tenant/id");
    for (path, body) in [
        ("/auth/switch", json!({ "tenant": tenant })),
        ("/auth/reauthenticate", json!({ "password": PASSWORD })),
    ] {
        let auth = format!("Bearer {}", told.text("/access_token"));
        let next = send(&world, path, &[CSRF, ("authorization", &auth)], &body);
        assert_eq!(next.status, 200, "{next:?}");
        assert!(cookie(&next).0.starts_with("trv_rt=trv_rt_"), "{path}: {next:?}");
        assert_ne!(cookie(&next).0, cookie(&told).0);
        told = next;
    }
    let auth = format!("Bearer {}", told.text("/access_token"));
    let headers = [("authorization", &*auth), ("cookie", &cookie(&told).0)];
    let ended = send(&world, "/auth/logout", &headers, &json!(null));
    let gone = "Path=/; HttpOnly; SameSite=Strict; Max-Age=0";
    assert_eq!((ended.status, cookie(&ended)), (204, ("trv_rt=".into(), gone.into())));
}

#[test]
fn over_tls_the_cookie_belongs_to_this_very_host() {
    let issuer = "https://flows.example.org".to_owned();
    let world = World::set(Settings { issuer, ..Settings::default() }, |app| app);
    let registered = json!({ "email": "ada@example.org", "password": PASSWORD });
    let (pair, rest) = cookie(&send(&world, "/auth/register", &[CSRF], &registered));
    assert!(pair.starts_with("__Host-trv_rt=trv_rt_"), "{pair}");
    assert_eq!(rest, "Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=2592000");
    // A cookie of the same name without the prefix could be set by a neighbour.
    let other = format!("trv_rt={}", pair.split_once('=').unwrap().1);
    let refused = send(&world, "/auth/refresh", &[CSRF, ("cookie", &other)], &json!(null));
    assert_eq!(refused.code(), "validation_failed");
}

#[test]
fn who_has_no_token_is_told_how_the_server_is_protected() {
    let world = World::new();
    let refused = world.call("", "GET", "/me", json!(null));
    let asks = &refused.headers["www-authenticate"];
    let address = asks.strip_prefix("Bearer resource_metadata=\"").unwrap().trim_end_matches('"');
    let path = address.strip_prefix("http://127.0.0.1:4000").unwrap();
    let told = world.raw("GET", path, &[], Vec::new());
    assert_eq!((told.status, told.text("/resource")), (200, "http://127.0.0.1:4000".into()));
    assert_eq!(told.body["scopes_supported"].as_array().unwrap().len(), 23);
    let pages: BTreeMap<&str, u16> = ["resource_documentation"]
        .map(|it| (it, told.text(&format!("/{it}"))))
        .map(|(it, url)| (it, world.raw("GET", &url[21..], &[], Vec::new()).status))
        .into();
    assert_eq!(pages["resource_documentation"], 200, "nothing is named that is not there");
}
