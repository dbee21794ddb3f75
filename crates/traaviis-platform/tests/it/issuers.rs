//! Issuers of tenants: whom they let in, as what, and that nothing they say counts anywhere else.
//! And second factors that who looks after the platform takes away.

use std::sync::Arc;

use serde_json::{Value as Json, json};
use traaviis_model::{Span, TenantId, permission::Permission};
use traaviis_platform::{
    Caller, Entered, Error, Settings,
    accounts::{LoggedIn, ProfileChange},
    audit::Via,
    expected::Expected,
    members::MemberChange,
    oidc::{
        Elsewhere, Finish, Returned,
        tenants::{IssuerAsk, Rule, Secret},
    },
    tenant::MemberStatus,
    user::PlatformRole,
};
use traaviis_policy::access::{Action, Freshness};
use traaviis_ports::LogStore as _;

use crate::{
    elsewhere::{ISSUER, Peer},
    world::{PASSWORD, World, code, via},
};

struct Here {
    world: World,
    peer: Arc<Peer>,
    /// Who owns the tenant `ada-s-space`, and somebody who owns another.
    ada: LoggedIn,
    bob: LoggedIn,
}

const NAME: &str = "ada-s-space.sso";

fn ask(rules: &[(&str, &str)], otherwise: Option<&str>) -> IssuerAsk {
    let rules = rules.iter().map(|it| Rule { when: it.0.into(), role: it.1.into() });
    IssuerAsk {
        url: ISSUER.into(),
        client_id: "traaviis".into(),
        client_secret: Some(Secret::new("s3cret+".to_owned())),
        domains: vec!["Acme.example".into()],
        rules: rules.collect(),
        otherwise: otherwise.map(Into::into),
    }
}

fn groups() -> IssuerAsk {
    ask(&[("'ops' in value.groups", "admin"), ("'dev' in value.groups", "developer")], None)
}

fn here() -> Here {
    let settings = Settings { require_email_verification: false, ..Settings::default() };
    let world = World::new().with_settings(settings);
    let peer = Peer::new();
    let elsewhere = Elsewhere::at(Vec::new(), Arc::clone(&peer) as Arc<_>);
    let platform = Arc::into_inner(world.platform).unwrap().with_issuers(elsewhere);
    let world = World { platform: Arc::new(platform), ..world };
    let (ada, bob) = (world.register("ada@example.org"), world.register("bob@example.org"));
    let here = Here { world, peer, ada, bob };
    here.keep_time();
    here
}

impl Here {
    fn keep_time(&self) {
        *self.peer.now.lock().unwrap() = self.world.platform.now();
    }

    fn says(&self, claims: Json) {
        *self.peer.says.lock().unwrap() = claims;
    }

    fn tenant(&self) -> TenantId {
        self.ada.tenant.as_ref().unwrap().tenant.id
    }

    fn elsewhere(&self) -> TenantId {
        self.bob.tenant.as_ref().unwrap().tenant.id
    }

    fn owner(&self) -> Entered {
        let caller = self.world.caller(&self.ada);
        self.world.enter(&caller, self.tenant(), Action::OwnerOnly).unwrap()
    }

    fn set(&self, ask: IssuerAsk) -> Result<(), Error> {
        self.world.platform.set_tenant_issuer(&self.owner(), "sso", ask).map(drop)
    }

    fn log_in_at(&self, name: &str) -> Result<LoggedIn, Error> {
        let platform = &self.world.platform;
        let started = platform.start_elsewhere(name, None)?;
        let (state, code) = self.peer.authorise(&started.location);
        let browser = Some(started.browser.as_str());
        let (state, code) = (Some(state.as_str()), Some(code.as_str()));
        let returned = Returned { state, code, browser, ..Returned::default() };
        let proved = platform.return_from(name, &returned, &via())?;
        let finish = Finish { ticket: &proved.ticket, browser, code: None, tenant: None };
        platform.finish_elsewhere(&finish, &via())
    }

    fn log_in(&self) -> Result<LoggedIn, Error> {
        self.log_in_at(NAME)
    }

    fn actions(&self) -> Vec<String> {
        let audit = self.world.platform.audit(&self.owner(), None, 200).unwrap();
        audit.iter().map(|it| it["action"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn claims_give_the_role_at_each_login_and_the_trail_tells() {
    let here = here();
    assert_eq!(code(here.log_in()), "not_found", "there is none yet");
    here.set(groups()).unwrap();
    for (claims, role) in [
        (json!({ "groups": ["dev"] }), "developer"),
        (json!({ "groups": ["dev", "ops"] }), "admin"),
        (json!({ "groups": ["dev"] }), "developer"),
    ] {
        here.says(claims);
        let logged_in = here.log_in().unwrap();
        let tenant = logged_in.tenant.unwrap();
        assert_eq!((tenant.tenant.id, &*tenant.role), (here.tenant(), role));
        assert_eq!(&*logged_in.account.personal.email, "ada@acme.example");
        assert!(!logged_in.account.personal.email_verified, "for this tenant only");
    }
    for claims in [json!({ "groups": ["sales"] }), json!({ "groups": null }), json!({})] {
        here.says(claims.clone());
        assert_eq!(code(here.log_in()), "login_elsewhere_failed", "{claims}");
    }
    let actions = here.actions();
    assert_eq!(actions.iter().filter(|it| **it == "member.logged_in_elsewhere").count(), 3);
    assert!(actions.contains(&"issuer.set".into()), "{actions:?}");
}

#[test]
fn whom_it_may_not_bring_stays_outside() {
    let here = here();
    here.set(ask(&[], Some("viewer"))).unwrap();
    // Of another domain, not confirmed, and with an account that is not in this tenant.
    let carl = here.world.register("carl@acme.example");
    for (claims, expected) in [
        (json!({ "email": "eve@evil.example" }), "login_elsewhere_failed"),
        (json!({ "email": "eve@x.acme.example" }), "login_elsewhere_failed"),
        (json!({ "email": "bob@example.org" }), "login_elsewhere_failed"),
        (json!({ "email_verified": false }), "email_not_verified"),
        (json!({ "email_verified": "true" }), "email_not_verified"),
        (json!({ "email": "carl@acme.example", "sub": "c" }), "already_exists"),
        (json!({ "email": "dora@acme.example", "sub": "d" }), "ok"),
    ] {
        here.says(claims.clone());
        assert_eq!(code(here.log_in()), expected, "{claims}");
    }
    let carl = here.world.caller(&carl);
    assert!(here.world.platform.tenants_of(carl.user).unwrap().len() == 1, "nobody was drawn in");
    // Who is suspended in the tenant is not let in by logging in again.
    let dora = here.log_in().unwrap();
    let change = MemberChange { status: Some(MemberStatus::Suspended), ..Default::default() };
    let id = dora.account.user.id;
    let boss = here.world.manager(&here.world.caller(&here.ada), here.tenant());
    here.world.platform.change_member(&boss, id, Expected::ANY, &change).unwrap();
    assert_eq!(code(here.log_in()), "login_elsewhere_failed");
    let caller = here.world.caller(&dora);
    let entered = here.world.enter(&caller, here.tenant(), Action::TenantAccess);
    assert_eq!(code(entered), "no_tenant_context", "nor does the session of before");
}

/// The owner of one tenant has their issuer say that somebody is a member who owns another tenant,
/// and looks after the platform.
#[test]
fn what_the_issuer_of_a_tenant_says_counts_nowhere_else() {
    let here = here();
    let world = &here.world;
    let victim = world.register("victim@acme.example");
    let by = Via { way: "command_line", ..Via::default() };
    world.platform.promote("victim@acme.example", PlatformRole::PlatformAdmin, &by).unwrap();
    let boss = world.manager(&world.caller(&here.ada), here.tenant());
    let ada = world.caller(&here.ada);
    let invited =
        world.platform.invite(&ada, &boss, "victim@acme.example", "viewer", None).unwrap();
    let own = world.log_in("victim@acme.example");
    let caller = world.caller(&own);
    world.platform.accept(&caller, &invited.token.unwrap()).unwrap();
    here.set(ask(&[], Some("developer"))).unwrap();
    here.says(json!({ "email": "victim@acme.example", "sub": "v" }));
    let logged_in = here.log_in().unwrap();
    assert_eq!(logged_in.account.user.id, victim.account.user.id, "it is their account");
    assert_eq!(logged_in.tenants.len(), 1, "and only this tenant is told: {logged_in:?}");

    let home = victim.tenant.as_ref().unwrap().tenant.id;
    let check = |logged_in: &LoggedIn| {
        let platform = &world.platform;
        let caller = platform.authenticate(&logged_in.access_token, via()).unwrap();
        assert_eq!(caller.confined(), Some(here.tenant()));
        assert_eq!(caller.platform_role, PlatformRole::User);
        let enter = |tenant, action| code(world.enter(&caller, tenant, action));
        let edit = Action::Needs(Permission::WorkflowEdit);
        assert_eq!(enter(here.tenant(), edit), "ok");
        for tenant in [home, here.elsewhere(), traaviis_model::tenant::PLATFORM] {
            assert_eq!(enter(tenant, Action::TenantAccess), "no_tenant_context");
            assert_eq!(code(platform.resolve(&caller, &tenant.to_string())), "no_tenant_context");
            assert!(platform.resolve_at_once(&caller, &tenant.to_string()).is_none());
            let looked = platform.look_in(&caller, tenant, Action::TenantAccess, "Members");
            assert_eq!(code(looked), "no_tenant_context");
        }
        assert_eq!(code(platform.switch(&caller, &home.to_string())), "no_tenant_context");
        let freshness = Freshness::Any;
        let admin = code(platform.permit(&caller, Action::Platform, freshness));
        assert_eq!(admin, "platform_admin_required");
        assert_account_is_out_of_reach(&here, &caller);
    };
    check(&logged_in);
    // Nor after the tokens were renewed, nor with what renews others.
    let renewed = world.platform.refresh(&logged_in.refresh_token, &via()).unwrap();
    check(&renewed);
    assert!(renewed.refresh_token.starts_with("trv_rtt_"), "an earlier release refuses it");
    let disguised = renewed.refresh_token.replacen("trv_rtt_", "trv_rt_", 1);
    assert_eq!(code(world.platform.refresh(&disguised, &via())), "invalid_token");
    // Another tenant with the very same issuer finds nobody of the first by the subject.
    let bob = world.caller(&here.bob);
    let entered = world.enter(&bob, here.elsewhere(), Action::OwnerOnly).unwrap();
    world.platform.set_tenant_issuer(&entered, "sso", ask(&[], Some("viewer"))).unwrap();
    assert_eq!(code(here.log_in_at("bob-s-space.sso")), "already_exists");
    // It is theirs: with their own login they are who they were.
    let own = world.caller(&world.log_in("victim@acme.example"));
    assert_eq!(own.platform_role, PlatformRole::PlatformAdmin);
    assert_eq!(code(world.enter(&own, home, Action::OwnerOnly)), "ok");
}

/// Everything that is about the account itself is refused to a session of an issuer.
fn assert_account_is_out_of_reach(here: &Here, caller: &Caller) {
    let platform = &here.world.platform;
    for (what, refused) in [
        ("password", code(platform.change_password(caller, PASSWORD, "another horse battery"))),
        (
            "profile",
            code(platform.change_profile(caller, &Expected::ANY, ProfileChange::default())),
        ),
        ("sessions", code(platform.sessions(caller))),
        ("factors", code(platform.factors(caller))),
        ("app", code(platform.begin_app(caller, None).map(drop))),
        ("codes", code(platform.make_recovery_codes(caller))),
        ("tenant", code(platform.create_tenant(caller, "Mine", None))),
        ("accept", code(platform.accept(caller, "trv_inv_x"))),
        ("delete", code(platform.delete_account(caller))),
    ] {
        assert_eq!(refused, "forbidden", "{what}");
    }
    let again = code(platform.reauthenticate(caller, PASSWORD));
    assert_eq!(again, "reauthentication_required");
}

#[test]
fn an_issuer_makes_nobody_an_owner_and_no_owner_acts_by_one() {
    let here = here();
    for rules in [ask(&[("true", "owner")], None), ask(&[], Some("owner"))] {
        assert_eq!(code(here.set(rules)), "validation_failed");
    }
    assert_eq!(code(here.set(ask(&[("true", "boss")], None))), "validation_failed", "no such role");
    here.set(ask(&[], Some("admin"))).unwrap();
    let dora = here.log_in().unwrap();
    // She is made an owner by hand; what the issuer vouches for ends there.
    let boss = here.owner();
    let change = MemberChange { role: Some("owner".into()), ..Default::default() };
    let id = dora.account.user.id;
    here.world.platform.change_member(&boss, id, Expected::ANY, &change).unwrap();
    assert_eq!(code(here.log_in()), "login_elsewhere_failed");
    let caller = here.world.caller(&dora);
    let entered = here.world.enter(&caller, here.tenant(), Action::TenantAccess);
    assert_eq!(code(entered), "forbidden");
}

#[test]
fn sessions_end_with_their_issuer_and_when_it_is_set_anew() {
    let here = here();
    here.set(ask(&[], Some("viewer"))).unwrap();
    let lives = |it: &LoggedIn| code(here.world.platform.authenticate(&it.access_token, via()));
    let first = here.log_in().unwrap();
    assert_eq!(lives(&first), "ok");
    here.set(IssuerAsk { client_secret: None, ..ask(&[], Some("viewer")) }).unwrap();
    assert_eq!(lives(&first), "session_expired");
    let second = here.log_in().unwrap();
    assert_eq!(second.account.user.id, first.account.user.id, "the secret of before is kept");
    // Whoever says which issuer it is must give its secret: another one is not told this one.
    here.set(IssuerAsk {
        client_secret: None,
        client_id: "other".into(),
        ..ask(&[], Some("viewer"))
    })
    .unwrap();
    here.set(IssuerAsk { client_secret: None, ..ask(&[], Some("viewer")) }).unwrap();
    assert_eq!(code(here.log_in()), "login_elsewhere_failed");
    here.set(ask(&[], Some("viewer"))).unwrap();
    let third = here.log_in().unwrap();
    here.world.platform.remove_tenant_issuer(&here.owner(), "sso").unwrap();
    assert_eq!(lives(&third), "session_expired");
    assert_eq!(code(here.log_in()), "not_found");
    let removed = here.world.platform.remove_tenant_issuer(&here.owner(), "sso");
    assert_eq!(code(removed), "not_found");
    // Others are not touched.
    assert_eq!(lives(&here.ada), "ok");
    assert_eq!(here.world.platform.tenant_issuers(&here.owner()).unwrap().len(), 0);
}

#[test]
fn only_an_issuer_that_describes_itself_as_it_is_written_is_kept() {
    for (field, value) in [
        ("issuer", "https://evil.example"),
        ("token_endpoint", "http://login.example/token"),
        ("jwks_uri", "https://login.example/absent"),
    ] {
        let here = here();
        here.peer.description.lock().unwrap()[field] = json!(value);
        assert_eq!(code(here.set(groups())), "login_elsewhere_failed", "{field}");
        assert_eq!(code(here.log_in()), "not_found", "{field}");
    }
    let here = here();
    for name in ["", "Sso", "a.b", "a/b", &"x".repeat(41)] {
        let set = here.world.platform.set_tenant_issuer(&here.owner(), name, groups());
        assert_eq!(code(set), "validation_failed", "{name}");
    }
    for number in 0..10 {
        let name = format!("i{number}");
        here.world.platform.set_tenant_issuer(&here.owner(), &name, groups()).unwrap();
    }
    let one_more = here.world.platform.set_tenant_issuer(&here.owner(), "i10", groups());
    assert_eq!(code(one_more), "quota_exceeded");
}

#[test]
fn it_is_the_same_after_a_restart_and_no_secret_rests_in_the_open() {
    let here = here();
    here.set(groups()).unwrap();
    here.says(json!({ "groups": ["dev"] }));
    let dora = here.log_in().unwrap();
    let Here { world, .. } = here;
    let world = world.rebuilt();
    let caller = world.platform.authenticate(&dora.access_token, via()).unwrap();
    assert_eq!(caller.confined(), dora.tenant.as_ref().map(|it| it.tenant.id));
    let mut text = String::new();
    world.log.scan(0, &mut |it| text += &String::from_utf8_lossy(it.bytes)).unwrap();
    for canary in ["s3cret+", "ada@acme.example"] {
        assert!(!text.contains(canary), "{canary}");
    }
    assert!(text.contains("login.example"), "there is something to be found");
}

#[test]
fn who_looks_after_the_platform_takes_second_factors_away() {
    let (world, letters) = World::new().with_mail(Settings::default());
    let register = |email: &str| {
        let logged_in = world.register(email);
        world.platform.verify_email(&letters.token(&world, email), &via()).unwrap();
        logged_in
    };
    let (ada, root) = (register("ada@example.org"), register("root@example.org"));
    let by = Via { way: "command_line", ..Via::default() };
    world.platform.promote("root@example.org", PlatformRole::PlatformAdmin, &by).unwrap();
    drop(root);
    let root_token = world.log_in("root@example.org").access_token;
    let root = world.platform.authenticate(&root_token, via()).unwrap();
    let id = ada.account.user.id;
    let why = "ticket 4711: the phone is lost, identity seen";
    let reset = |by: &Caller, why: &str| code(world.platform.reset_factors(by, id, why));
    assert_eq!(reset(&root, why), "invalid_state", "there is none");
    let secret = world.add_app(&world.caller(&ada));
    let caller = world.caller(&ada);
    world.platform.make_recovery_codes(&caller).unwrap();
    assert_eq!(reset(&caller, why), "platform_admin_required");
    assert_eq!(reset(&root, "why not"), "validation_failed");
    let own = world.platform.reset_factors(&root, root.user, why);
    assert_eq!(code(own), "forbidden", "nobody lowers what they themselves must prove");
    let log_in = || code(world.platform.log_in("ada@example.org", PASSWORD, None, &via()));
    assert_eq!(log_in(), "mfa_required", "{secret}");
    assert_eq!(reset(&root, why), "ok");
    assert_eq!(code(world.platform.authenticate(&ada.access_token, via())), "session_expired");
    assert_eq!(log_in(), "ok", "with the password alone");
    let again = world.log_in("ada@example.org");
    let (factors, left) = world.platform.factors(&world.caller(&again)).unwrap();
    assert_eq!((factors.len(), left), (0, 0));
    let told = letters.subjects(&world);
    let letter = ("ada@example.org".to_owned(), "Your second factors were removed".to_owned());
    assert!(told.contains(&letter), "{told:?}");
    // It asks for a fresh proof, and stands in the trail of the platform.
    world.add_app(&world.caller(&again));
    world.clock.advance(Span::secs(601));
    let stale = world.platform.authenticate(&root_token, via()).unwrap();
    assert_eq!(reset(&stale, why), "reauthentication_required");
    let mut text = String::new();
    world.log.scan(0, &mut |it| text += &String::from_utf8_lossy(it.bytes)).unwrap();
    assert!(text.contains("mfa.reset"));
}
