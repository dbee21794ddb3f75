//! Limits as callers meet them.

use serde_json::json;

use crate::world::{PASSWORD, Told, World};

fn number(told: &Told, name: &str) -> u64 {
    told.headers[name].parse().unwrap()
}

#[test]
fn a_caller_is_told_how_they_stand_and_refused_beyond_the_limit_of_their_plan() {
    let world = World::new();
    let (ada, tenant) = world.register("ada@example.org");
    let me = world.call(&ada, "GET", "/tenants/current", json!(null));
    assert_eq!(number(&me, "ratelimit-limit"), 10_000);
    assert!(number(&me, "ratelimit-remaining") < 10_000);
    let chosen = world.call(&ada, "PUT", "/tenants/current/plan", json!({ "plan": "free" }));
    assert_eq!((chosen.status, &*chosen.text("/plan")), (200, "free"), "{chosen:?}");

    let ask = || world.call(&ada, "GET", &format!("/tenants/{tenant}"), json!(null));
    // 40 at once, then 20 a second: whatever the machine does, that ends before 300 do.
    let refused = (0..300).map(|_| ask()).find(|it| it.status != 200).expect("no limit");
    assert_eq!((refused.status, refused.code()), (429, "rate_limit_exceeded"));
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(
        (number(&refused, "ratelimit-limit"), number(&refused, "ratelimit-remaining")),
        (40, 0)
    );
    let other = world.register("eve@example.org").0;
    let other = world.call(&other, "GET", "/me", json!(null));
    assert_eq!(other.status, 200, "others go on");
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors/rate_limit_exceeded.md");
    assert!(std::fs::read_to_string(page).unwrap().contains("RateLimit-Limit"));
}

#[test]
fn guessing_is_slow_by_account_and_by_address() {
    let world = World::new();
    world.register("ada@example.org");
    let login = |from: &str, email: &str, password: &str| {
        let body = json!({ "email": email, "password": password });
        world.from(from, "", "POST", "/auth/login", body)
    };
    for at in 0..9 {
        let told = login(&format!("192.0.2.{at}"), "ada@example.org", "wrong");
        assert_eq!(told.code(), "invalid_credentials", "{at}");
    }
    // One attempt was that of the registration.
    let told = login("192.0.2.99", "ada@example.org", PASSWORD);
    assert_eq!(told.code(), "rate_limit_exceeded", "{told:?}");
    let refresh = |from: &str| {
        let body = json!({ "refresh_token": "trv_rt_x" });
        world.from(from, "", "POST", "/auth/refresh", body)
    };
    let taken = (0..80).filter(|_| refresh("198.51.100.1").code() == "invalid_token").count();
    // What passes meanwhile gives some back.
    assert!((60..75).contains(&taken), "{taken}");
    assert_eq!(refresh("198.51.100.2").code(), "invalid_token", "another address");
}
