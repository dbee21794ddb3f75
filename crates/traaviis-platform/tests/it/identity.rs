//! Mail, confirmed addresses, new passwords and second factors.

use std::sync::{Arc, Mutex};

use traaviis_model::Span;
use traaviis_platform::{
    Caller, Entropy, Platform, Settings, Ways,
    accounts::{Credentials, LoggedIn, Registration},
    audit::Via,
    invitations::NewUser,
    mail::Outbox,
    one_time::Purpose,
};
use traaviis_policy::access::Action;
use traaviis_ports::{Clock, LogStore as _, Mail, MailError, Mailer};

use crate::world::{PASSWORD, World, code, via};

/// Where letters arrive.
#[derive(Clone, Default)]
pub struct Letters(Arc<Mutex<Vec<Mail>>>);

impl Mailer for Letters {
    fn send(&self, mail: &Mail) -> Result<(), MailError> {
        self.0.lock().unwrap().push(mail.clone());
        Ok(())
    }
}

impl Letters {
    /// Waits until all that was posted has arrived, and returns it.
    pub fn all(&self, world: &World) -> Vec<Mail> {
        // A last one, behind all others.
        let elsewhere = Via::default();
        world.platform.ask_by_mail(Purpose::Reset, "mark@example.org", &elsewhere).unwrap();
        loop {
            let mut letters = self.0.lock().unwrap();
            let is_mark =
                |it: &Mail| it.to == "mark@example.org" && it.subject == "Reset your password";
            if letters.iter().any(is_mark) {
                letters.retain(|it| it.to != "mark@example.org");
                return std::mem::take(&mut *letters);
            }
            drop(letters);
            std::thread::yield_now();
        }
    }

    /// Returns subjects and addresses.
    pub fn subjects(&self, world: &World) -> Vec<(String, String)> {
        self.all(world).into_iter().map(|it| (it.to, it.subject)).collect()
    }

    /// Returns the token in the last letter to somebody.
    pub fn token(&self, world: &World, to: &str) -> String {
        let all = self.all(world);
        let letter = all.iter().rev().find(|it| it.to == to).unwrap();
        letter.text.lines().find(|it| it.starts_with("trv_")).unwrap().to_owned()
    }
}

impl World {
    /// Returns everything that rests.
    fn log_text(&self) -> String {
        let mut text = String::new();
        self.log.scan(0, &mut |it| text += &String::from_utf8_lossy(it.bytes)).unwrap();
        text
    }

    /// Opens the platform again with other settings and mail.
    pub fn with_mail(self, settings: Settings) -> (World, Letters) {
        let letters = Letters::default();
        let ways = Ways {
            log: Arc::clone(&self.log) as Arc<_>,
            documents: Arc::clone(&self.documents) as Arc<_>,
            vault: Arc::clone(&self.vault) as Arc<_>,
            clock: Arc::clone(&self.clock) as Arc<_>,
            entropy: Entropy::seeded(11),
        };
        let outbox = Outbox::open(Box::new(letters.clone()), |_| {}).unwrap();
        let platform = Platform::open(ways, settings).unwrap().with_outbox(outbox);
        let world = World { platform: Arc::new(platform), ..self };
        let must = world.platform.settings().require_email_verification;
        // Somebody whose letters mark the end of the queue.
        match must {
            true => assert_eq!(code(world.try_register("mark@example.org")), "email_not_verified"),
            false => drop(world.register("mark@example.org")),
        }
        letters.all(&world);
        (world, letters)
    }

    fn try_register(&self, email: &str) -> Result<LoggedIn, traaviis_platform::Error> {
        let given = Registration {
            email: email.into(),
            password: PASSWORD.into(),
            name: None,
            organisation: None,
        };
        self.platform.register(given, &via())
    }

    fn try_log_in(
        &self,
        email: &str,
        code: Option<&str>,
    ) -> Result<LoggedIn, traaviis_platform::Error> {
        let given = Credentials { email, password: PASSWORD, code, tenant: None };
        self.platform.log_in_with(given, &via())
    }

    /// Lets time go on to a step whose code was not used.
    fn step(&self) {
        self.clock.advance(Span::secs(30));
    }

    fn code_of(&self, secret: &str) -> String {
        let secret = totp_rs::Secret::try_from_base32(secret).unwrap();
        let app = totp_rs::Builder::new().with_secret(secret).build().unwrap();
        app.generate(Clock::wall(&*self.clock).0 as u64 / 1_000_000).to_string()
    }

    /// Adds an app to somebody; returns its secret.
    pub fn add_app(&self, caller: &Caller) -> String {
        let begun = self.platform.begin_app(caller, Some("phone")).unwrap();
        let code = self.code_of(&begun.secret);
        self.platform.confirm_app(caller, begun.id, &code).unwrap();
        self.step();
        begun.secret
    }
}

fn must_verify() -> Settings {
    Settings { require_email_verification: true, ..Settings::default() }
}

#[test]
fn an_address_is_confirmed_before_a_login_where_it_must_be() {
    let (world, letters) = World::new().with_mail(must_verify());
    assert_eq!(code(world.try_register("ada@example.org")), "email_not_verified");
    let first = letters.token(&world, "ada@example.org");
    assert_eq!(code(world.try_log_in("ada@example.org", None)), "email_not_verified");
    // A new letter makes the one before void.
    world.platform.ask_by_mail(Purpose::Verification, " ADA@example.org", &via()).unwrap();
    let token = letters.token(&world, "ada@example.org");
    let verify = |token: &str| code(world.platform.verify_email(token, &via()));
    assert_eq!(verify(&first), "invalid_token");
    assert_eq!(code(world.platform.reset_password(&token, PASSWORD, &via())), "invalid_token");
    assert_eq!(verify(&token), "ok");
    assert_eq!(verify(&token), "invalid_token", "once");
    let ada = world.try_log_in("ada@example.org", None).unwrap();
    assert!(ada.account.personal.email_verified && ada.tenant.is_some());
    // There is nothing more to confirm, so no letter goes out.
    world.platform.ask_by_mail(Purpose::Verification, "ada@example.org", &via()).unwrap();
    assert!(letters.all(&world).is_empty());

    assert_eq!(code(world.try_register("bob@example.org")), "email_not_verified");
    let late = letters.token(&world, "bob@example.org");
    world.clock.advance(Span::secs(24 * 3_600));
    assert_eq!(verify(&late), "invalid_token", "24 hours are over");
    world.platform.end_old_tokens().unwrap();
}

#[test]
fn nobody_learns_which_addresses_have_accounts() {
    let (world, letters) = World::new().with_mail(must_verify());
    let first = world.try_register("ada@example.org").unwrap_err();
    letters.all(&world);
    // Registering again is answered alike, and the owner is told.
    assert_eq!(world.try_register("ada@example.org").unwrap_err(), first);
    let told = letters.subjects(&world);
    assert_eq!(told, [("ada@example.org".into(), "You have an account already".into())]);
    for purpose in [Purpose::Reset, Purpose::Verification] {
        let ask = |email: &str| world.platform.ask_by_mail(purpose, email, &via());
        assert_eq!(ask("ada@example.org"), ask("nobody@example.org"));
        // Too many are answered alike, too.
        for _ in 0..8 {
            assert_eq!(ask("ada@example.org"), ask("nobody@example.org"));
        }
        let (known, unknown) = (ask("ada@example.org"), ask("nobody@example.org"));
        assert_eq!(known, unknown);
        assert_eq!(
            (code(ask("ada@example.org")), code(ask("nobody@example.org"))),
            ("too_many_attempts".into(), "too_many_attempts".into())
        );
    }
    let to: Vec<String> = letters.all(&world).into_iter().map(|it| it.to).collect();
    assert!(to.iter().all(|it| it == "ada@example.org"), "{to:?}");
    // One change of the ledger in both cases, so both take the time of one sync.
    let before = world.log.tail();
    world.clock.advance(Span::secs(3_600));
    world.platform.ask_by_mail(Purpose::Reset, "ada@example.org", &via()).unwrap();
    let between = world.log.tail();
    world.platform.ask_by_mail(Purpose::Reset, "nobody@example.org", &via()).unwrap();
    assert!(between > before && world.log.tail() > between);
}

#[test]
fn a_password_is_reset_once_in_time_and_all_sessions_end() {
    let (world, letters) = World::new().with_mail(Settings::default());
    let ada = world.register("ada@example.org");
    letters.all(&world);
    let ask = || world.platform.ask_by_mail(Purpose::Reset, "ada@example.org", &via()).unwrap();
    let reset = |token: &str, new: &str| code(world.platform.reset_password(token, new, &via()));
    ask();
    let token = letters.token(&world, "ada@example.org");
    assert_eq!(reset(&token, "password"), "validation_failed", "the token stays");
    assert_eq!(reset("", "another horse battery"), "invalid_token");
    assert_eq!(reset(&token, "another horse battery"), "ok");
    assert_eq!(reset(&token, "a third horse battery"), "invalid_token");
    assert_eq!(
        code(world.platform.authenticate(&ada.access_token, via())),
        "session_expired",
        "whoever had the old password is out"
    );
    assert_eq!(code(world.platform.refresh(&ada.refresh_token, &via())), "invalid_token");
    assert_eq!(code(world.try_log_in("ada@example.org", None)), "invalid_credentials");
    let log_in = world.platform.log_in("ada@example.org", "another horse battery", None, &via());
    assert!(log_in.unwrap().account.personal.email_verified, "the token came to the address");
    let subjects = letters.subjects(&world);
    assert_eq!(subjects, [("ada@example.org".into(), "Your password was changed".into())]);

    ask();
    let late = letters.token(&world, "ada@example.org");
    world.clock.advance(Span::secs(15 * 60));
    assert_eq!(reset(&late, "a fourth horse battery"), "invalid_token", "15 minutes are over");
    // What rests is a hash: the token stands nowhere.
    assert!(!world.log_text().contains(&token) && !world.log_text().contains(&late));
}

#[test]
fn guessing_tokens_stops_at_the_limit() {
    let (world, _) = World::new().with_mail(Settings::default());
    let mut codes: Vec<String> = Vec::new();
    for number in 0..1_000 {
        let token = format!("trv_rst_{number}");
        codes.push(code(world.platform.reset_password(&token, PASSWORD, &via())));
    }
    let refused = codes.iter().filter(|it| *it == "too_many_attempts").count();
    assert_eq!((codes[0].as_str(), refused), ("invalid_token", 900));
}

#[test]
fn the_owner_is_told_what_happens_to_the_account() {
    let (world, letters) = World::new().with_mail(Settings::default());
    let ada = world.register("ada@example.org");
    let token = letters.token(&world, "ada@example.org");
    let caller = world.caller(&ada);
    let early = world.platform.begin_app(&caller, None);
    assert_eq!(early.map(|_| ()).unwrap_err().code, "email_not_verified");
    world.platform.verify_email(&token, &via()).unwrap();
    for _ in 0..10 {
        let wrong = world.platform.log_in("ada@example.org", "wrong wrong", None, &via());
        assert_eq!(code(wrong), "invalid_credentials");
    }
    world.clock.advance(Span::secs(60));
    world.platform.change_password(&caller, PASSWORD, "another horse battery").unwrap();
    let secret = world.add_app(&caller);
    let codes = world.platform.make_recovery_codes(&caller).unwrap();
    let given = Credentials {
        email: "ada@example.org",
        password: "another horse battery",
        code: Some(&codes[0]),
        tenant: None,
    };
    world.platform.log_in_with(given, &via()).unwrap();
    let (factors, left) = world.platform.factors(&caller).unwrap();
    assert_eq!((factors.len(), factors[0].kind, left), (1, "totp", 9));
    world.platform.remove_factor(&caller, factors[0].id).unwrap();
    let subjects: Vec<String> = letters.subjects(&world).into_iter().map(|it| it.1).collect();
    assert_eq!(
        subjects,
        [
            "Logins to your account have failed",
            "Your password was changed",
            "A second factor was added",
            "New recovery codes",
            "A recovery code was used",
            "A second factor was removed",
        ]
    );
    assert!(!world.log_text().contains(&secret), "sealed where it rests");
}

#[test]
fn who_is_invited_is_written_to() {
    let (world, letters) = World::new().with_mail(Settings::default());
    let ada = world.register("ada@example.org");
    let (caller, tenant) = (world.caller(&ada), ada.tenant.unwrap().tenant.id);
    letters.all(&world);
    let entered = world.manager(&caller, tenant);
    let invited =
        world.platform.invite(&caller, &entered, "bob@example.org", "viewer", None).unwrap();
    assert_eq!(letters.token(&world, "bob@example.org"), invited.token.clone().unwrap());
    let again = world.platform.resend_invitation(&caller, &entered, invited.invitation.id).unwrap();
    let token = letters.token(&world, "bob@example.org");
    assert_eq!(Some(&token), again.token.as_ref());
    // The inviter has the token, too, so it does not prove the address.
    let new = NewUser { password: PASSWORD.into(), name: None };
    let bob = world.platform.accept_as_new(&token, &new, &via()).unwrap();
    assert!(!bob.account.personal.email_verified);
    assert!(letters.subjects(&world).iter().any(|it| it.1 == "Confirm your e-mail address"));
}

#[test]
fn nobody_is_written_to_again_and_again() {
    let (world, letters) = World::new().with_mail(Settings::default());
    let ada = world.register("ada@example.org");
    let (caller, tenant) = (world.caller(&ada), ada.tenant.unwrap().tenant.id);
    let entered = world.manager(&caller, tenant);
    let invite = |email: &str| world.platform.invite(&caller, &entered, email, "viewer", None);
    let mut invited = invite("bob@example.org").unwrap();
    for _ in 0..2 {
        // A new invitation to the same address, and the same once more.
        invited = invite("bob@example.org").unwrap();
        world.platform.resend_invitation(&caller, &entered, invited.invitation.id).unwrap();
    }
    let resend =
        || code(world.platform.resend_invitation(&caller, &entered, invited.invitation.id));
    assert_eq!(
        (&*code(invite("bob@example.org")), &*resend()),
        ("too_many_attempts", "too_many_attempts")
    );
    assert_eq!(code(invite("carl@example.org")), "ok");
    let open = world.platform.invitations(&entered).unwrap();
    assert_eq!(open.len(), 2, "what was refused changes nothing");
    let to_bob = letters.subjects(&world).iter().filter(|it| it.0 == "bob@example.org").count();
    assert_eq!(to_bob, 5);
    world.clock.advance(Span::secs(3_601));
    let caller = world.caller(&world.log_in("ada@example.org"));
    let entered = world.manager(&caller, tenant);
    let again = world.platform.resend_invitation(&caller, &entered, invited.invitation.id);
    assert_eq!(code(again), "ok");
}

#[test]
fn a_second_factor_is_asked_for_and_its_code_works_once() {
    let world = World::new();
    let ada = world.register("ada@example.org");
    let other = world.try_log_in("ada@example.org", None).unwrap();
    let caller = world.caller(&ada);
    let begun = world.platform.begin_app(&caller, None).unwrap();
    assert!(begun.address.starts_with("otpauth://totp/TRAAVIIS:"), "{}", begun.address);
    assert!(world.try_log_in("ada@example.org", None).is_ok(), "not before it is confirmed");
    let confirm = |code_: &str| code(world.platform.confirm_app(&caller, begun.id, code_));
    assert_eq!(confirm("000000"), "invalid_credentials");
    let eve = world.register("eve@example.org");
    let stolen =
        world.platform.confirm_app(&world.caller(&eve), begun.id, &world.code_of(&begun.secret));
    assert_eq!(code(stolen), "invalid_credentials", "it is somebody else's");
    assert_eq!(confirm(&world.code_of(&begun.secret)), "ok");
    assert_eq!(
        code(world.platform.authenticate(&other.access_token, via())),
        "session_expired",
        "other sessions end"
    );
    assert!(world.platform.authenticate(&ada.access_token, via()).is_ok());

    let asked = world.try_log_in("ada@example.org", None).unwrap_err();
    assert_eq!((&*asked.code, &asked.details["methods"][0]), ("mfa_required", &"totp".into()));
    let used = world.code_of(&begun.secret);
    assert_eq!(
        code(world.try_log_in("ada@example.org", Some(&used))),
        "invalid_credentials",
        "used"
    );
    world.step();
    let next = world.code_of(&begun.secret);
    let logged_in = world.try_log_in("ada@example.org", Some(&next)).unwrap();
    let amr: Vec<String> = world.platform.sessions(&world.caller(&logged_in)).unwrap()[0]
        .amr
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(amr, ["pwd", "otp", "mfa"]);
    assert_eq!(code(world.try_log_in("ada@example.org", Some(&next))), "invalid_credentials");
    let wrong_password = Credentials {
        email: "ada@example.org",
        password: "wrong wrong wrong",
        code: Some(&next),
        tenant: None,
    };
    let wrong = world.platform.log_in_with(wrong_password, &via()).unwrap_err();
    assert!(wrong.message.contains("password"), "the second factor is not asked before the first");
    // Proving oneself again asks for both, too.
    let caller = world.caller(&logged_in);
    assert_eq!(code(world.platform.reauthenticate(&caller, PASSWORD)), "mfa_required");
    world.step();
    let third = world.code_of(&begun.secret);
    let again = world.platform.reauthenticate_with(&caller, Some(PASSWORD), Some(&third));
    assert!(again.is_ok(), "{again:?}");
    // Guessing codes slows down like guessing passwords.
    for _ in 0..10 {
        drop(world.try_log_in("ada@example.org", Some("123456")));
    }
    assert_eq!(code(world.try_log_in("ada@example.org", Some("123456"))), "too_many_attempts");
}

#[test]
fn factors_outlive_a_restart() {
    let world = World::new();
    let ada = world.register("ada@example.org");
    let secret = world.add_app(&world.caller(&ada));
    let world = world.restarted();
    assert_eq!(code(world.try_log_in("ada@example.org", None)), "mfa_required");
    let now = world.code_of(&secret);
    assert_eq!(code(world.try_log_in("ada@example.org", Some(&now))), "ok");
    let world = world.rebuilt();
    assert_eq!(
        code(world.try_log_in("ada@example.org", Some(&now))),
        "invalid_credentials",
        "used"
    );
}

#[test]
fn a_tenant_that_asks_for_two_factors_keeps_sessions_of_one_outside() {
    let world = World::new();
    let ada = world.register("ada@example.org");
    let tenant = ada.tenant.clone().unwrap().tenant.id;
    let bob = world.join("bob@example.org", "viewer", &ada);
    let settings = |caller: &Caller, wanted: serde_json::Value| {
        let entered = world.manager(caller, tenant);
        let version = world.platform.tenant(&entered.ctx).unwrap().version;
        let patch = serde_json::json!({ "require_mfa": wanted });
        code(world.platform.change_settings(&entered, version, &patch))
    };
    let yes = serde_json::json!(true);
    assert_eq!(settings(&world.caller(&ada), yes.clone()), "second_factor_required");
    assert_eq!(settings(&world.caller(&ada), serde_json::json!("yes")), "validation_failed");
    world.add_app(&world.caller(&ada));
    assert_eq!(settings(&world.caller(&ada), yes), "ok");
    let enter =
        |who: &LoggedIn| code(world.enter(&world.caller(who), tenant, Action::TenantAccess));
    assert_eq!((enter(&ada), enter(&bob)), ("ok".into(), "second_factor_required".into()));
    let eve = world.register("eve@example.org");
    assert_eq!(enter(&eve), "no_tenant_context", "strangers learn nothing of it");
    let switch = world.platform.switch(&world.caller(&bob), &tenant.to_string());
    assert_eq!(code(switch), "second_factor_required");
    let secret = world.add_app(&world.caller(&bob));
    assert_eq!(enter(&bob), "ok");
    let (factors, _) = world.platform.factors(&world.caller(&bob)).unwrap();
    world.platform.remove_factor(&world.caller(&bob), factors[0].id).unwrap();
    assert_eq!(enter(&bob), "second_factor_required", "{secret}");
}

#[test]
fn a_token_that_comes_by_mail_is_told_to_nobody_else() {
    let letters = Letters::default();
    let outbox = Outbox::open(Box::new(letters.clone()), |_| {}).unwrap().private();
    let world = World::new().with_outbox(outbox);
    world.register("mark@example.org");
    let ada = world.register("ada@example.org");
    let boss = world.caller(&ada);
    let entered = world.manager(&boss, ada.tenant.as_ref().unwrap().tenant.id);
    let invited = world.platform.invite(&boss, &entered, "bob@example.org", "viewer", None);
    let invited = invited.unwrap();
    assert_eq!(invited.token, None);
    let again = world.platform.resend_invitation(&boss, &entered, invited.invitation.id).unwrap();
    assert_eq!(again.token, None);
    let mails = letters.all(&world);
    let to_bob: Vec<_> = mails.iter().filter(|it| it.to == "bob@example.org").collect();
    assert_eq!(to_bob.len(), 2);
    let token = to_bob[1].text.split_whitespace().find(|it| it.starts_with("trv_inv_")).unwrap();
    let new = NewUser { password: PASSWORD.into(), name: None };
    assert!(world.platform.accept_as_new(token, &new, &via()).is_ok());
}

#[test]
fn a_wall_clock_that_is_set_moves_no_session_and_codes_follow_it() {
    let day = Span::secs(86_400);
    for by in [day, Span(-day.0)] {
        let world = World::new();
        let ada = world.register("ada@example.org");
        let before = world.platform.now();
        world.clock.set_wall(by);
        assert_eq!(world.platform.now(), before, "what lasts is not measured by it");
        // The session and its tokens are as old as they were.
        assert!(world.platform.authenticate(&ada.access_token, via()).is_ok());
        assert!(world.platform.refresh(&ada.refresh_token, &via()).is_ok());
        // The phone has the right time, whichever clock was wrong before.
        let secret = world.add_app(&world.caller(&ada));
        let code = world.code_of(&secret);
        assert!(world.try_log_in("ada@example.org", Some(&code)).is_ok(), "{by:?}");
        assert!(world.try_log_in("ada@example.org", Some(&code)).is_err(), "once");
    }
}
