//! Registering, logging in, and what ends a session.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value as Json;
use traaviis_model::Span;
use traaviis_platform::{accounts::Registration, session::REUSE_GRACE};
use traaviis_policy::access::Action;

use crate::world::{PASSWORD, World, code, via};

#[test]
fn who_registers_has_a_tenant_and_is_its_owner() {
    let world = World::new();
    let ada = world.register("Ada.Lovelace@Example.org");
    assert_eq!(ada.account.personal.email, "ada.lovelace@example.org");
    assert_eq!(ada.account.personal.name, "Ada Lovelace");
    let tenant = ada.tenant.clone().unwrap();
    assert_eq!((&*tenant.tenant.name, &*tenant.role), ("Ada Lovelace's Space", "owner"));
    assert_eq!(&*tenant.tenant.slug, "ada-lovelace-s-space");
    let caller = world.caller(&ada);
    assert_eq!(caller.scoped_to, Some(tenant.tenant.id));
    assert!(world.enter(&caller, tenant.tenant.id, Action::OwnerOnly).is_ok());

    let again = Registration {
        email: "ada.lovelace@example.org".into(),
        password: PASSWORD.into(),
        name: None,
        organisation: None,
    };
    assert_eq!(code(world.platform.register(again.clone(), &via())), "already_exists");
    let weak = Registration { password: "password".into(), ..again };
    assert_eq!(code(world.platform.register(weak, &via())), "validation_failed");
    // Two of the same name get short names of their own.
    let other = world.register("ada_lovelace@example.com");
    assert_eq!(&*other.tenant.unwrap().tenant.slug, "ada-lovelace-s-space-2");
}

#[test]
fn a_wrong_password_and_an_unknown_address_get_the_same_answer() {
    let world = World::new();
    world.register("ada@example.org");
    let log_in = |email: &str, password: &str| world.platform.log_in(email, password, None, &via());
    let wrong = log_in("ada@example.org", "incorrect horse").unwrap_err();
    let unknown = log_in("bob@example.org", PASSWORD).unwrap_err();
    assert_eq!(wrong, unknown);
    assert_eq!(wrong.code, "invalid_credentials");
    let ada = log_in(" ADA@example.org", PASSWORD).unwrap();
    assert!(ada.tenant.is_some(), "scoped to the only tenant");
    assert!(ada.account.user.last_login.is_some());
}

#[test]
fn too_many_failures_slow_an_account_down_and_never_lock_it() {
    let world = World::new();
    world.register("ada@example.org");
    let log_in =
        |password: &str| code(world.platform.log_in("ada@example.org", password, None, &via()));
    for _ in 0..10 {
        assert_eq!(log_in("wrong wrong wrong"), "invalid_credentials");
    }
    assert_eq!(log_in(PASSWORD), "too_many_attempts");
    world.clock.advance(Span::secs(1));
    assert_eq!(log_in(PASSWORD), "ok");
    assert_eq!(log_in("wrong wrong wrong"), "invalid_credentials", "counted from the start");
}

#[test]
fn a_refresh_token_works_once_and_a_spent_one_ends_the_session() {
    let world = World::new();
    let first = world.register("ada@example.org");
    let refresh = |token: &str| world.platform.refresh(token, &via());
    assert_eq!(
        code(refresh(&first.access_token)),
        "invalid_token",
        "only a refresh token refreshes"
    );
    let second = refresh(&first.refresh_token).unwrap();
    assert!(world.platform.authenticate(&first.refresh_token, via()).is_err());
    // The answer was lost: the same token again, soon, is taken, and gives the same successor.
    let third = refresh(&first.refresh_token).unwrap();
    assert_eq!(third.refresh_token, second.refresh_token);
    let fourth = refresh(&third.refresh_token).unwrap();
    assert!(world.platform.authenticate(&fourth.access_token, via()).is_ok());
    // The first one is two behind; whoever shows it has it from elsewhere.
    assert_eq!(code(refresh(&first.refresh_token)), "invalid_token");
    assert_eq!(code(world.platform.authenticate(&fourth.access_token, via())), "session_expired");
    assert_eq!(code(refresh(&fourth.refresh_token)), "invalid_token", "the family is over");

    let ada = world.platform.log_in("ada@example.org", PASSWORD, None, &via()).unwrap();
    let next = refresh(&ada.refresh_token).unwrap();
    world.clock.advance(Span(REUSE_GRACE.0 + 1));
    assert_eq!(code(refresh(&ada.refresh_token)), "invalid_token");
    assert_eq!(code(refresh(&next.refresh_token)), "invalid_token");
}

#[test]
fn sessions_end_by_time_by_word_and_by_a_new_password() {
    let world = World::new();
    let ada = world.register("ada@example.org");
    let other = world.platform.log_in("ada@example.org", PASSWORD, None, &via()).unwrap();
    let caller = world.caller(&ada);
    assert_eq!(world.platform.sessions(&caller).unwrap().len(), 2);
    let check = |token: &str| code(world.platform.authenticate(token, via()));
    let changed = world.platform.change_password(&caller, "wrong", "another horse battery");
    assert_eq!(code(changed), "invalid_credentials");
    world.platform.change_password(&caller, PASSWORD, "another horse battery").unwrap();
    assert_eq!(check(&ada.access_token), "ok");
    assert_eq!(check(&other.access_token), "session_expired", "the others end");
    world.clock.advance(Span::secs(15 * 60 + 6));
    assert_eq!(check(&ada.access_token), "token_expired");
    let ada = world.platform.refresh(&ada.refresh_token, &via()).unwrap();
    world.clock.advance(Span::secs(24 * 3_600 + 1));
    assert_eq!(code(world.platform.refresh(&ada.refresh_token, &via())), "invalid_token", "idle");
    let ada =
        world.platform.log_in("ada@example.org", "another horse battery", None, &via()).unwrap();
    let caller = world.caller(&ada);
    world.platform.log_out(&caller).unwrap();
    assert_eq!(check(&ada.access_token), "session_expired");
    assert_eq!(world.platform.end_old_sessions(), Ok(0), "those that ended are gone already");
}

#[test]
fn a_key_is_published_before_it_signs_and_replaced_by_its_age() {
    let world = World::new();
    let kids = |world: &World| -> Vec<String> {
        let keys = world.platform.jwks()["keys"].as_array().unwrap().clone();
        keys.iter().map(|it| it["kid"].as_str().unwrap().to_owned()).collect()
    };
    let signs = |world: &World| {
        let token = world.log_in("ada@example.org").access_token;
        let head = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
        let head: Json = serde_json::from_slice(&head).unwrap();
        head["kid"].as_str().unwrap().to_owned()
    };
    world.register("ada@example.org");
    let first = kids(&world);
    assert_eq!(first.len(), 2);
    assert_eq!(signs(&world), first[0]);
    let day = Span::secs(24 * 3_600);
    world.clock.advance(Span(29 * day.0));
    world.platform.rotate_keys_when_due().unwrap();
    assert_eq!(kids(&world), first, "it has not signed for thirty days");
    world.clock.advance(Span(2 * day.0));
    world.platform.rotate_keys_when_due().unwrap();
    assert_eq!((signs(&world), kids(&world).len()), (first[1].clone(), 3));
    // Its age counts from when it began to sign, so nothing is due yet.
    let world = world.restarted();
    world.platform.rotate_keys_when_due().unwrap();
    assert_eq!((signs(&world), kids(&world).len()), (first[1].clone(), 3));
    world.clock.advance(Span(31 * day.0));
    world.platform.rotate_keys_when_due().unwrap();
    let last = kids(&world);
    assert_eq!(last.len(), 3, "the first is gone");
    assert!(!last.contains(&first[0]) && signs(&world) == last[1], "{last:?}");
}
