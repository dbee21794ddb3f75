//! Use cases of second factors: adding, removing, recovery codes, and proving oneself with them.
//!
//! Adding and removing end all other sessions, are audited, and are told to the owner by mail. An
//! app that was not confirmed with a first code is nowhere but in memory.

use serde_json::json;
use traaviis_model::{FactorId, Span, Text, Timestamp, UserId, form, tenant::PLATFORM};

use crate::{
    accounts::Account,
    attempts::Counted,
    audit::{Act, Via},
    caller::{Caller, as_user},
    confirm::end_sessions,
    error::Error,
    factor::{self, App, FACTORS_MAX, Factors, MFA, Passkey, Used},
    ledger::{Changes, Document, Documents},
    mail::Letter,
    platform::Platform,
    session::{self, Session},
    token::invalid,
    user::{Personal, User},
};

/// How long a factor waits to be confirmed.
pub const ENROLMENT_LIFE: Span = Span::secs(10 * 60);

/// A factor that waits for its first code or its first signature.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Enrolment {
    pub user: UserId,
    pub name: String,
    pub what: Begun,
}

/// What was begun.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Begun {
    /// An app with this secret.
    App(String),
    /// A passkey that is to sign this.
    Passkey(String),
}

/// An app that was begun: told once.
#[derive(Clone, PartialEq, Eq)]
pub struct BegunApp {
    /// Identity.
    pub id: FactorId,
    /// Secret, base32.
    pub secret: String,
    /// The same as an address, for a picture.
    pub address: String,
}

/// A factor as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FactorShown {
    /// Identity.
    pub id: FactorId,
    /// `totp` or `webauthn`.
    pub kind: &'static str,
    /// What its user calls it.
    pub name: String,
    /// When it was added.
    pub added_at: Timestamp,
    /// When it was last used.
    pub used_at: Timestamp,
}

impl From<&App> for FactorShown {
    fn from(it: &App) -> FactorShown {
        let (id, name) = (it.id, it.name.clone());
        FactorShown { id, kind: "totp", name, added_at: it.added_at, used_at: it.used_at }
    }
}

impl From<&Passkey> for FactorShown {
    fn from(it: &Passkey) -> FactorShown {
        let (id, name) = (it.id, it.name.clone());
        FactorShown { id, kind: "webauthn", name, added_at: it.added_at, used_at: it.used_at }
    }
}

impl Platform {
    /// Returns the caller's factors, and how many recovery codes are left.
    pub fn factors(&self, caller: &Caller) -> Result<(Vec<FactorShown>, usize), Error> {
        caller.session()?;
        let factors = self.account(caller.user)?.personal.factors;
        let apps = factors.apps.iter().map(FactorShown::from);
        let passkeys = factors.passkeys.iter().map(FactorShown::from);
        Ok((apps.chain(passkeys).collect(), factors.recovery.len()))
    }

    /// Begins to add an authenticator app.
    pub fn begin_app(&self, caller: &Caller, name: Option<&str>) -> Result<BegunApp, Error> {
        let account = self.may_add(caller)?;
        let name = factor_name(name, "Authenticator app")?;
        let id = FactorId(self.fresh_id()?);
        let secret = factor::make_secret(&self.entropy)?;
        let address = factor::address_of(&secret, &account.personal.email)?;
        let waits = Enrolment { user: caller.user, name, what: Begun::App(secret.clone()) };
        self.enrolments.put(id.to_string(), waits, self.now());
        Ok(BegunApp { id, secret, address })
    }

    /// Adds an app whose first code this is.
    pub fn confirm_app(
        &self,
        caller: &Caller,
        id: FactorId,
        code: &str,
    ) -> Result<FactorShown, Error> {
        let now = self.now();
        self.check_codes(caller)?;
        // A wrong code leaves it waiting: typing errors are common, and it is nobody's yet.
        let wall = self.wall();
        let step = |secret: &str| factor::step_of(secret, code.trim(), wall);
        let is_it = |it: &Enrolment| match &it.what {
            Begun::App(secret) => it.user == caller.user && step(secret).is_some(),
            Begun::Passkey(_) => false,
        };
        let Some(begun) = self.enrolments.take_if(&id.to_string(), now, is_it) else {
            self.failed_code(caller);
            let message = "the code is wrong, or the app was not begun within ten minutes";
            return Err(Error::new("invalid_credentials", message));
        };
        let Begun::App(secret) = begun.what else { return Err(invalid()) };
        let last_step = step(&secret).unwrap_or_default();
        let app = App { id, name: begun.name, secret, last_step, added_at: now, used_at: now };
        let shown = FactorShown::from(&app);
        self.add_factor(caller, &shown, &["otp"], |it| it.apps.push(app))?;
        Ok(shown)
    }

    pub(crate) fn may_add(&self, caller: &Caller) -> Result<Account, Error> {
        caller.session()?;
        let account = self.account(caller.user)?;
        if self.outbox.is_open() && !account.personal.email_verified {
            // Else a reset by mail could not tell the owner's factors from those of whoever made
            // an account with somebody else's address.
            let message = "confirm your e-mail address first; `POST /auth/verify/resend` sends the \
                           message again";
            return Err(Error::new("email_not_verified", message));
        }
        match account.personal.factors.count() < FACTORS_MAX {
            true => Ok(account),
            false => {
                let message = format!("one user has at most {FACTORS_MAX} factors");
                Err(Error::new("quota_exceeded", message))
            }
        }
    }

    /// Adds a factor that its owner has just proved to have.
    pub(crate) fn add_factor(
        &self,
        caller: &Caller,
        shown: &FactorShown,
        amr: &[&str],
        add: impl FnOnce(&mut Factors),
    ) -> Result<(), Error> {
        let act = Act::done("mfa.enrolled", "factor", shown.id.to_string());
        let act = act.with(json!({ "kind": shown.kind }));
        self.change_factors(caller, act, |factors, session| {
            if factors.count() >= FACTORS_MAX {
                let message = format!("one user has at most {FACTORS_MAX} factors");
                return Err(Error::new("quota_exceeded", message));
            }
            add(factors);
            for word in amr.iter().chain(&[MFA]) {
                session.note(word);
            }
            Ok(())
        })?;
        self.write_to_user(caller.user, Letter::FactorAdded { name: &shown.name });
        Ok(())
    }

    /// Takes a factor away.
    pub fn remove_factor(&self, caller: &Caller, id: FactorId) -> Result<(), Error> {
        let act = Act::done("mfa.removed", "factor", id.to_string());
        let name = self.change_factors(caller, act, |factors, session| {
            let absent = || Error::not_found("factor", &id.to_string());
            let name = factors.remove(id).ok_or_else(absent)?;
            if !factors.has_second() {
                // What it was begun with is not there any more.
                session.amr.retain(|it| **it != *MFA);
            }
            Ok(name)
        })?;
        self.write_to_user(caller.user, Letter::FactorRemoved { name: &name });
        Ok(())
    }

    /// Makes recovery codes in the place of those before.
    pub fn make_recovery_codes(&self, caller: &Caller) -> Result<Vec<String>, Error> {
        let act = Act::done("mfa.recovery_codes_made", User::KIND, caller.user.to_string());
        let codes = self.change_factors(caller, act, |factors, _| match factors.has_second() {
            true => factors.make_recovery(&self.entropy),
            false => {
                let message = "recovery codes stand in for a second factor; add one first";
                Err(Error::new("invalid_state", message))
            }
        })?;
        self.write_to_user(caller.user, Letter::RecoveryCodesMade);
        Ok(codes)
    }

    /// Changes the caller's factors, and ends their other sessions.
    fn change_factors<T>(
        &self,
        caller: &Caller,
        act: Act,
        change: impl FnOnce(&mut Factors, &mut Session) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let own = caller.session()?;
        let place = session::id_of(caller.user, own);
        self.ledgers.change(&caller.on_platform(), &caller.via, |documents, changes| {
            let mut session = documents.get::<Session>(&place)?.ok_or_else(invalid)?;
            let (mut user, mut personal) = self.person(documents, caller.user)?;
            let value = change(&mut personal.factors, &mut session)?;
            self.put_person(changes, &mut user, &personal)?;
            end_sessions(documents, changes, caller.user, Some(own))?;
            changes.put(&session);
            changes.act(act);
            Ok(value)
        })
    }

    pub(crate) fn person(
        &self,
        documents: &Documents,
        id: UserId,
    ) -> Result<(User, Personal), Error> {
        let user = documents.get::<User>(&id.to_string())?.ok_or_else(invalid)?;
        let personal = user.personal(&*self.vault)?.ok_or_else(invalid)?;
        Ok((user, personal))
    }

    pub(crate) fn put_person(
        &self,
        changes: &mut Changes,
        user: &mut User,
        personal: &Personal,
    ) -> Result<(), Error> {
        user.updated_at = self.now();
        user.sealed = personal.seal(&*self.vault, user.id, user.updated_at)?;
        changes.put(user);
        Ok(())
    }

    /// Uses a code of a user up; whoever has a second factor must give one.
    pub(crate) fn use_second_factor(
        &self,
        account: &Account,
        code: Option<&str>,
        via: &Via,
    ) -> Result<Option<Used>, Error> {
        let (id, factors) = (account.user.id, &account.personal.factors);
        if !factors.has_second() {
            return Ok(None);
        }
        let Some(code) = code.filter(|it| !it.trim().is_empty()) else {
            let message = "this account has a second factor; repeat the request with its code as \
                           `totp`, or log in with a passkey";
            let details = json!({ "methods": factors.methods() });
            return Err(Error::new("mfa_required", message).with_details(details));
        };
        let used = self.ledgers.change(&as_user(PLATFORM, id), via, |documents, changes| {
            let (mut user, mut personal) = self.person(documents, id)?;
            let used = personal.factors.use_code(code, self.wall());
            if let Some(used) = used {
                self.put_person(changes, &mut user, &personal)?;
                if let Used::Recovery(left) = used {
                    let act = Act::done("mfa.recovery_code_used", User::KIND, user.id());
                    changes.act(act.with(json!({ "left": left })));
                }
            }
            Ok(used)
        })?;
        match used {
            Some(used) => {
                if let Used::Recovery(left) = used {
                    self.write_to(&account.personal.email, Letter::RecoveryCodeUsed { left });
                }
                Ok(Some(used))
            }
            None => {
                self.count_failure(Some(account), &account.personal.email, via);
                let message = "the code is wrong, was used before, or is of another time";
                Err(Error::new("invalid_credentials", message))
            }
        }
    }

    fn codes_of(caller: &Caller) -> [Counted; 1] {
        // Apart from logins: whoever types it has logged in already.
        [Counted::Account(format!("factor {}", caller.user).into())]
    }

    pub(crate) fn check_codes(&self, caller: &Caller) -> Result<(), Error> {
        self.attempts.check(&Platform::codes_of(caller), self.now())
    }

    pub(crate) fn failed_code(&self, caller: &Caller) {
        self.attempts.failed(&Platform::codes_of(caller), self.now());
    }
}

/// Checks what a user calls a factor.
pub(crate) fn factor_name(given: Option<&str>, usual: &str) -> Result<String, Error> {
    match form::FACTOR_NAME.read(given.unwrap_or(usual)) {
        Some(name) => Ok(name.to_owned()),
        None => {
            let most = form::FACTOR_NAME.most;
            Err(Error::invalid("/name", format!("a name has 1 to {most} characters")))
        }
    }
}

impl Session {
    /// Notes a way in which the user has proved who they are.
    pub(crate) fn note(&mut self, word: &str) {
        if !self.amr.iter().any(|it| **it == *word) {
            self.amr.push(Text::from(word));
        }
    }

    /// Says whether it was begun, or proved since, with two factors.
    pub fn is_mfa(&self) -> bool {
        self.amr.iter().any(|it| **it == *MFA)
    }
}
