//! Use cases of one's own account: registering, logging in, sessions, profile, password.

use serde_json::json;
use traaviis_model::{
    SessionId, Span, TenantCtx, TenantId, Text, Timestamp, UserId, tenant::PLATFORM,
};
use traaviis_policy::access::{Action, Freshness};
use uuid::Uuid;

use crate::{
    attempts::Counted,
    audit::{Act, Via},
    caller::{Caller, active, as_user, no_tenant, standing_of},
    confirm::end_sessions,
    error::Error,
    expected::Expected,
    factor::Used,
    ledger::{Document, Documents, Versioned},
    mail::Letter,
    meters::TokenEvent,
    password,
    platform::Platform,
    rules::{Rules, SessionAge},
    session::{self, Confined, SESSIONS_MAX, Session, Shown},
    tenant::{Tenant, TenantStatus},
    token::{self, Claims, Opaque, invalid},
    user::{self, Personal, PlatformRole, Profile, User, UserStatus},
};

/// What somebody gives who registers.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Address.
    pub email: String,
    /// Password.
    pub password: String,
    /// Name; that part of the address before the `@` when it is absent.
    pub name: Option<String>,
    /// Name of the tenant; made of the name when it is absent.
    pub organisation: Option<String>,
}

/// What somebody logs in with.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    /// Address.
    pub email: &'a str,
    /// Password.
    pub password: &'a str,
    /// Code of an authenticator app, or a recovery code.
    pub code: Option<&'a str>,
    /// Tenant to act in.
    pub tenant: Option<&'a str>,
}

/// A user with what is about the person, as they themselves see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    /// The user.
    pub user: User,
    /// What is about the person.
    pub personal: Personal,
    /// Version of the document.
    pub version: u64,
}

/// A tenant as somebody stands in it.
#[derive(Clone, Debug, PartialEq)]
pub struct TenantOf {
    /// The tenant.
    pub tenant: Tenant,
    /// Role in it.
    pub role: Text,
}

/// What a login gives.
#[derive(Clone, Debug, PartialEq)]
pub struct LoggedIn {
    /// Access token.
    pub access_token: String,
    /// Refresh token.
    pub refresh_token: String,
    /// Life of the access token.
    pub expires_in: Span,
    /// Who.
    pub account: Account,
    /// Tenant that the access token is scoped to.
    pub tenant: Option<TenantOf>,
    /// All tenants that they are in.
    pub tenants: Vec<TenantOf>,
}

/// What somebody changes about themselves; what is absent stays.
#[derive(Clone, Debug, Default)]
pub struct ProfileChange {
    /// Name.
    pub name: Option<String>,
    /// Picture; an empty text takes it away.
    pub avatar_url: Option<String>,
    /// Language.
    pub locale: Option<String>,
    /// Time zone.
    pub timezone: Option<String>,
}

impl Platform {
    /// Registers a user with a tenant of their own, and logs them in.
    pub fn register(&self, given: Registration, via: &Via) -> Result<LoggedIn, Error> {
        let email = user::email(&given.email)?;
        let name = match &given.name {
            Some(name) => user::name(name)?,
            None => name_of(&email),
        };
        password::check(&given.password, self.settings.password_chars_min, &[&name, &email])?;
        self.attempts.check(&from(via), self.now())?;
        let password = Some(self.hasher.hash(&given.password)?);
        let personal = Personal { password, ..Personal::new(email, name) };
        let must_confirm = self.settings.require_email_verification;
        if must_confirm && self.lookup(|it| it.user(&personal.email)).is_some() {
            // The owner is told; whoever asks learns nothing.
            self.write_to(&personal.email, Letter::RegisteredAlready);
            return Err(unconfirmed());
        }
        let id = self.new_user(&personal, PlatformRole::User, via)?;
        let organisation = given.organisation.as_deref();
        let tenant = self.make_own_tenant(id, &personal.name, organisation, via)?;
        self.ask_to_confirm(id, &personal.email, via)?;
        self.begin_session(id, Some(tenant.id), &["pwd"], via)
    }

    /// Makes the first tenant of a user.
    pub(crate) fn make_own_tenant(
        &self,
        user: UserId,
        name: &str,
        organisation: Option<&str>,
        via: &Via,
    ) -> Result<Tenant, Error> {
        let usual = format!("{name}'s Space");
        self.make_tenant(user, organisation.unwrap_or(&usual), None, via)
    }

    /// Makes a user, unless the address is taken.
    pub fn new_user(
        &self,
        personal: &Personal,
        platform_role: PlatformRole,
        via: &Via,
    ) -> Result<UserId, Error> {
        let must_confirm = self.settings.require_email_verification;
        let status = match must_confirm && !personal.email_verified {
            true => UserStatus::PendingVerification,
            false => UserStatus::Active,
        };
        self.new_user_who(personal, platform_role, status, via)
    }

    /// Makes a user who stands like this, unless the address is taken.
    pub(crate) fn new_user_who(
        &self,
        personal: &Personal,
        platform_role: PlatformRole,
        status: UserStatus,
        via: &Via,
    ) -> Result<UserId, Error> {
        let (id, now) = (UserId(self.fresh_id()?), self.now());
        let user = User {
            id,
            status,
            platform_role,
            rights: 1,
            created_at: now,
            updated_at: now,
            last_login: None,
            sealed: personal.seal(&*self.vault, id, now)?,
        };
        self.ledgers.change(&as_user(PLATFORM, id), via, |_, changes| {
            // Looked up while the ledger is held, so two at once cannot both take it.
            if self.lookup(|it| it.user(&personal.email)).is_some() {
                return Err(Error::new(
                    "already_exists",
                    "there is an account with this e-mail address; log in, or reset the password",
                ));
            }
            changes.put(&user);
            changes.act(Act::done("user.registered", User::KIND, user.id()));
            Ok(id)
        })
    }

    /// Logs somebody in who has no second factor.
    pub fn log_in(
        &self,
        email: &str,
        password: &str,
        tenant: Option<&str>,
        via: &Via,
    ) -> Result<LoggedIn, Error> {
        self.log_in_with(Credentials { email, password, code: None, tenant }, via)
    }

    /// Logs somebody in. An unknown address and a wrong password get the same answer after the same
    /// time.
    pub fn log_in_with(&self, given: Credentials<'_>, via: &Via) -> Result<LoggedIn, Error> {
        let Credentials { email, password, code, tenant } = given;
        let now = self.now();
        let email = email.trim().to_lowercase();
        let account = Counted::Account(email.as_str().into());
        let mut who = from(via);
        who.push(account.clone());
        self.attempts.check(&who, now)?;
        let found = self.lookup(|it| it.user(&email));
        let found = found.map(|id| self.account(id)).transpose()?;
        let known = found.as_ref().and_then(|it| it.personal.password.as_ref());
        if !self.is_right(password, known, &who)? {
            self.count_failure(found.as_ref(), &email, via);
            return Err(Error::new("invalid_credentials", "e-mail address or password is wrong"));
        }
        // Without a user nothing verifies.
        let found = found.as_ref().ok_or_else(invalid)?;
        active(&found.user)?;
        let used = self.use_second_factor(found, code, via)?;
        let failures = self.attempts.succeeded(&account);
        let id = found.user.id;
        if known.is_some_and(password::PasswordHash::is_outdated) {
            let hash = self.hasher.hash(password)?;
            self.change_personal(id, via, |it| it.password = Some(hash), None)?;
        }
        if failures >= SUSPICIOUS_FAILURES {
            let act = Act::done("login.after_failures", User::KIND, found.user.id());
            self.note(act.with(json!({ "failures": failures })), via);
        }
        let scoped = self.scope(id, tenant)?;
        let second = used.map_or(&[][..], Used::amr);
        self.begin_session(id, scoped, &[&["pwd"], second].concat(), via)
    }

    /// Returns the tenant that a new session is scoped to: the one that is asked for, or the only
    /// one.
    pub(crate) fn scope(
        &self,
        user: UserId,
        asked: Option<&str>,
    ) -> Result<Option<TenantId>, Error> {
        let tenants = self.tenants_of(user)?;
        match (asked, tenants.as_slice()) {
            (Some(asked), _) => {
                let named = self.lookup(|it| it.slug(asked));
                let is_it = |it: &&TenantOf| {
                    Some(it.tenant.id) == named || it.tenant.id.to_string() == asked
                };
                let found = tenants.iter().find(is_it);
                found.map(|it| Some(it.tenant.id)).ok_or_else(no_tenant)
            }
            (None, [only]) => Ok(Some(only.tenant.id)),
            (None, _) => Ok(None),
        }
    }

    /// Says whether a password is right, unless too many others have failed meanwhile: whoever
    /// tries many at once is told no more than who tries one after the other.
    fn is_right(
        &self,
        password: &str,
        known: Option<&password::PasswordHash>,
        who: &[Counted],
    ) -> Result<bool, Error> {
        let is_right = self.hasher.verify(password, known)?;
        self.attempts.check(who, self.now())?;
        Ok(is_right)
    }

    /// Counts a failed proof of who one is, and tells the owner when it is too many.
    pub(crate) fn count_failure(&self, found: Option<&Account>, email: &str, via: &Via) {
        let mut who = from(via);
        who.push(Counted::Account(email.into()));
        let slowed = self.attempts.failed(&who, self.now());
        if let Some(account) = found.filter(|_| slowed) {
            self.write_to(&account.personal.email, Letter::SlowedDown);
        }
        self.note_failure(found, slowed, via);
    }

    fn note_failure(&self, found: Option<&Account>, slowed: bool, via: &Via) {
        // The address that was typed may be a password; who it is, is known only if there is one.
        let who = found.map_or_else(|| "unknown".into(), |it| it.user.id());
        let act = Act::done("login.failed", User::KIND, who).failed();
        let act = act.with(json!({ "slowed_down": slowed }));
        self.note_refusal(&TenantCtx::platform(), via, act);
    }

    pub(crate) fn note(&self, act: Act, via: &Via) {
        let noted = self.ledgers.change(&TenantCtx::platform(), via, |_, changes| {
            changes.act(act);
            Ok(())
        });
        // The refusal stands whether or not there was room to note it.
        drop(noted);
    }

    /// Begins a session and gives out its first tokens.
    pub(crate) fn begin_session(
        &self,
        user: UserId,
        tenant_id: Option<TenantId>,
        amr: &[&str],
        via: &Via,
    ) -> Result<LoggedIn, Error> {
        self.begin_session_in(user, tenant_id, None, amr, via)
    }

    /// The same, for a session that may count in one tenant alone.
    pub(crate) fn begin_session_in(
        &self,
        user: UserId,
        tenant_id: Option<TenantId>,
        confined: Option<Confined>,
        amr: &[&str],
        via: &Via,
    ) -> Result<LoggedIn, Error> {
        let (id, now) = (SessionId(self.fresh_id()?), self.now());
        let mut session = Session {
            id,
            user_id: user,
            tenant_id,
            authenticated_at: now,
            proved_at: now,
            last_used_at: now,
            expires_at: now.plus(self.settings.session_ttl),
            ip_address: via.ip_address.clone(),
            user_agent: via.user_agent.clone(),
            amr: amr.iter().map(|it| Text::from(*it)).collect(),
            refresh: Text::default(),
            before: None,
            confined,
        };
        let (refresh_token, refresh) =
            session.refreshed_by().make(&[user.0, id.0], &self.entropy)?;
        session.refresh = refresh;
        self.ledgers
            .change(&as_user(PLATFORM, user), via, |documents, changes| {
                let mut found = documents.get::<User>(&user.to_string())?.ok_or_else(invalid)?;
                active(&found)?;
                found.last_login = Some(now);
                let mut others = sessions_of(documents, user)?;
                others.sort_by_key(|it| it.last_used_at);
                let too_many = (others.len() + 1).saturating_sub(SESSIONS_MAX);
                others.iter().take(too_many).for_each(|it| changes.remove::<Session>(&it.id()));
                changes.put(&session);
                changes.put(&found);
                let act = Act::done("login.succeeded", User::KIND, found.id());
                changes.act(act.with(json!({ "session": id, "amr": amr })));
                Ok(())
            })
            .map_err(no_room)?;
        self.tokens(&session, refresh_token)
    }

    /// Returns the answer that gives out tokens of a session.
    fn tokens(&self, session: &Session, refresh_token: String) -> Result<LoggedIn, Error> {
        let account = self.account(session.user_id)?;
        let mut tenants = self.tenants_of(session.user_id)?;
        let only = session.confined.as_ref().map(|it| it.tenant_id);
        tenants.retain(|it| only.is_none_or(|only| it.tenant.id == only));
        let scoped = session.tenant_id;
        let tenant = tenants.iter().find(|it| Some(it.tenant.id) == scoped).cloned();
        let now = self.now().0 / 1_000_000;
        let expires_in = self.settings.access_ttl;
        let claims = Claims {
            iss: self.signer.issuer().into(),
            aud: self.signer.audience().into(),
            sub: session.user_id,
            user_id: session.user_id,
            sid: session.id,
            tid: tenant.as_ref().map(|it| it.tenant.id),
            only,
            may: None,
            platform_role: match only {
                None => account.user.platform_role,
                Some(_) => PlatformRole::User,
            }
            .as_str()
            .into(),
            rv: account.user.rights,
            iat: now,
            nbf: now,
            exp: now + expires_in.as_millis() / 1_000,
            jti: self.fresh_id()?,
        };
        let access_token = self.signer.sign(&claims)?;
        self.meters().token(TokenEvent::Issued);
        Ok(LoggedIn { access_token, refresh_token, expires_in, account, tenant, tenants })
    }

    /// Renews the tokens of a session. A refresh token that was used up ends it.
    ///
    /// While the disk is full nothing can be put down, and whoever is logged in goes on reading:
    /// they get an access token, and the refresh token stays as it is.
    pub fn refresh(&self, refresh_token: &str, via: &Via) -> Result<LoggedIn, Error> {
        match self.rotate(refresh_token, via) {
            Err(error) if &*error.code == "storage_full" => {
                self.refresh_on_full_disk(refresh_token)?.ok_or(error)
            }
            rotated => rotated,
        }
    }

    /// Gives an access token for a refresh token that is the newest of a session in force.
    fn refresh_on_full_disk(&self, refresh_token: &str) -> Result<Option<LoggedIn>, Error> {
        let Some((_, ids)) = session_of(refresh_token) else { return Ok(None) };
        let (user, id) = (UserId(ids[0]), SessionId(ids[1]));
        let rules = self.rules_of(user, id)?;
        let (place, now) = (session::id_of(user, id), self.now());
        let found = self.ledgers.read(&TenantCtx::platform(), |documents| {
            let found = documents.get::<User>(&user.to_string())?;
            Ok::<_, Error>(documents.get::<Session>(&place)?.zip(found))
        })?;
        let Some((session, found)) = found else { return Ok(None) };
        let is_over = session.is_over(self.settings.session_idle, now)
            || rules.admit(SessionAge::of(&session, now)).is_err();
        if session.shown(refresh_token, now) != Shown::Current || is_over {
            return Ok(None);
        }
        active(&found)?;
        self.tokens(&session, refresh_token.into()).map(Some)
    }

    fn rotate(&self, refresh_token: &str, via: &Via) -> Result<LoggedIn, Error> {
        let (kind, ids) = session_of(refresh_token).ok_or_else(invalid)?;
        let (user, id) = (UserId(ids[0]), SessionId(ids[1]));
        let (next, hash) = kind.make(&ids, &self.entropy)?;
        let idle = self.settings.session_idle;
        let rules = self.rules_of(user, id)?;
        let session =
            self.ledgers.change(&as_user(PLATFORM, user), via, |documents, changes| {
                let now = self.now();
                let place = session::id_of(user, id);
                let Some(mut session) = documents.get::<Session>(&place)? else {
                    return Ok(Err(invalid()));
                };
                let shown = session.shown(refresh_token, now);
                let is_old = rules.admit(SessionAge::of(&session, now)).is_err();
                if shown == Shown::Spent || session.is_over(idle, now) || is_old {
                    changes.remove::<Session>(&place);
                    if shown == Shown::Spent {
                        let act = Act::done("token.reused", Session::KIND, id.to_string()).denied();
                        changes.act(act.with(json!({ "user": user })));
                        self.meters().token(TokenEvent::Reused);
                    }
                    return Ok(Err(invalid()));
                }
                let found = documents.get::<User>(&user.to_string())?.ok_or_else(invalid)?;
                active(&found)?;
                if shown == Shown::Repeated
                    && let Some(told) = self.successor(&session, now)
                {
                    return Ok(Ok((session, told)));
                }
                if shown == Shown::Current {
                    session.before = Some(session.refresh.clone());
                }
                self.succeed(&mut session, (&next, &hash), now);
                changes.put(&session);
                Ok(Ok((session, next)))
            })?;
        let (session, next) = session?;
        let renewed = self.tokens(&session, next)?;
        self.meters().token(TokenEvent::Refreshed);
        Ok(renewed)
    }

    /// Lets a refresh token take the place of the one that is `before` in a session, and remembers
    /// it for whoever shows that one again.
    fn succeed(&self, session: &mut Session, (next, hash): (&str, &Text), now: Timestamp) {
        if let Some(before) = &session.before {
            self.successors.put(before.to_string(), next.to_owned(), now);
        }
        session.refresh = hash.clone();
        session.last_used_at = now;
    }

    /// Returns the refresh token that has taken the place of the one before, if it is the newest:
    /// two windows of a browser that ask at once must not put each other's out of use.
    fn successor(&self, session: &Session, now: Timestamp) -> Option<String> {
        let next = self.successors.get(session.before.as_deref()?, now)?;
        // A change that did not become durable has left one that counts for nothing.
        token::is_of(&next, &session.refresh).then_some(next)
    }

    /// Returns the rules of the tenant that a session is scoped to.
    fn rules_of(&self, user: UserId, id: SessionId) -> Result<Rules, Error> {
        let place = session::id_of(user, id);
        let session =
            self.ledgers.read(&TenantCtx::platform(), |it| it.shared::<Session>(&place))?;
        match session.and_then(|it| it.tenant_id) {
            Some(tenant) => self.ledgers.read(&TenantCtx::keeper_of(tenant), Rules::of),
            None => Ok(Rules::default()),
        }
    }

    /// Makes a ticket, and the hash that is remembered; who keeps it decides how long it works.
    pub fn ticket(&self, caller: &Caller) -> Result<(String, Text), Error> {
        Opaque::Ticket.make(&[caller.user.0], &self.entropy)
    }

    /// Ends the caller's session.
    pub fn log_out(&self, caller: &Caller) -> Result<(), Error> {
        self.end(caller, caller.any_session()?)
    }

    /// Ends a session of the caller's.
    pub fn end_session(&self, caller: &Caller, id: SessionId) -> Result<(), Error> {
        caller.session()?;
        self.end(caller, id)
    }

    fn end(&self, caller: &Caller, id: SessionId) -> Result<(), Error> {
        self.permit(caller, Action::Own, Freshness::Any)?;
        let place = session::id_of(caller.user, id);
        self.ledgers.change(&caller.on_platform(), &caller.via, |documents, changes| {
            if documents.get::<Session>(&place)?.is_none() {
                return Err(Error::not_found(Session::KIND, &id.to_string()));
            }
            changes.remove::<Session>(&place);
            changes.act(Act::done("session.ended", Session::KIND, id.to_string()));
            Ok(())
        })
    }

    /// Ends all of the caller's sessions but the one they ask with.
    pub fn end_other_sessions(&self, caller: &Caller) -> Result<(), Error> {
        let own = caller.session()?;
        self.ledgers.change(&caller.on_platform(), &caller.via, |documents, changes| {
            end_sessions(documents, changes, caller.user, Some(own)).map(drop)
        })
    }

    /// Returns the caller's sessions, the newest first.
    pub fn sessions(&self, caller: &Caller) -> Result<Vec<Session>, Error> {
        caller.session()?;
        let of = |it: &Documents| sessions_of(it, caller.user);
        let mut sessions = self.ledgers.read(&TenantCtx::platform(), of)?;
        let (now, idle) = (self.now(), self.settings.session_idle);
        sessions.retain(|it| !it.is_over(idle, now));
        sessions.sort_by_key(|it| std::cmp::Reverse(it.authenticated_at));
        Ok(sessions)
    }

    /// Scopes the caller's session to another tenant.
    pub fn switch(&self, caller: &Caller, tenant: &str) -> Result<LoggedIn, Error> {
        let tenant = self.resolve(caller, tenant)?;
        self.enter(caller, tenant, Action::TenantAccess, Freshness::Any)?;
        self.renew(caller, |session| session.tenant_id = Some(tenant), "tenant.switched")
    }

    /// Notes that a caller without a second factor has proved who they are again.
    pub fn reauthenticate(&self, caller: &Caller, password: &str) -> Result<LoggedIn, Error> {
        self.reauthenticate_with(caller, Some(password), None)
    }

    /// Notes that the caller has proved who they are again: with all that they log in with.
    pub fn reauthenticate_with(
        &self,
        caller: &Caller,
        password: Option<&str>,
        code: Option<&str>,
    ) -> Result<LoggedIn, Error> {
        if caller.confined().is_some() {
            let message = "you log in at an issuer of this tenant; log in there again";
            return Err(Error::new("reauthentication_required", message));
        }
        caller.session()?;
        let account = self.account(caller.user)?;
        let Personal { password: known, factors, .. } = &account.personal;
        if known.is_none() && !factors.has_second() {
            let message = "you log in elsewhere; log in there again";
            return Err(Error::new("reauthentication_required", message));
        }
        if known.is_some() {
            let rule = "this account has a password; give it";
            self.prove(caller, password.ok_or_else(|| Error::invalid("/password", rule))?)?;
        }
        let used = self.use_second_factor(&account, code, &caller.via)?;
        let now = self.now();
        let proved = |session: &mut Session| {
            session.proved_at = now;
            used.iter().flat_map(|it| it.amr()).for_each(|it| session.note(it));
        };
        self.renew(caller, proved, "user.reauthenticated")
    }

    fn renew(
        &self,
        caller: &Caller,
        change: impl FnOnce(&mut Session),
        action: &'static str,
    ) -> Result<LoggedIn, Error> {
        let id = caller.session()?;
        let (next, hash) = Opaque::Refresh.make(&[caller.user.0, id.0], &self.entropy)?;
        let place = session::id_of(caller.user, id);
        let session =
            self.ledgers.change(&caller.on_platform(), &caller.via, |documents, changes| {
                let mut session = documents.get::<Session>(&place)?.ok_or_else(invalid)?;
                change(&mut session);
                session.before = Some(session.refresh.clone());
                self.succeed(&mut session, (&next, &hash), self.now());
                changes.put(&session);
                changes.act(Act::done(action, Session::KIND, id.to_string()));
                Ok(session)
            })?;
        self.tokens(&session, next)
    }

    /// Refuses a password that is not the caller's.
    fn prove(&self, caller: &Caller, password: &str) -> Result<Account, Error> {
        let account = self.account(caller.user)?;
        let mut who = from(&caller.via);
        who.push(Counted::Account(account.personal.email.as_str().into()));
        self.attempts.check(&who, self.now())?;
        match self.is_right(password, account.personal.password.as_ref(), &who)? {
            true => Ok(account),
            false => {
                self.count_failure(Some(&account), &account.personal.email, &caller.via);
                Err(Error::new("invalid_credentials", "the password is wrong"))
            }
        }
    }

    /// Sets a new password; every other session ends.
    pub fn change_password(&self, caller: &Caller, now: &str, new: &str) -> Result<(), Error> {
        let own = caller.session()?;
        let account = self.prove(caller, now)?;
        let Personal { name, email, .. } = &account.personal;
        password::check(new, self.password_chars_min(caller.user)?, &[name, email])?;
        let hash = self.hasher.hash(new)?;
        let act = Act::done("password.changed", User::KIND, account.user.id());
        self.change_personal(caller.user, &caller.via, |it| it.password = Some(hash), Some(act))?;
        self.ledgers.change(&caller.on_platform(), &caller.via, |documents, changes| {
            end_sessions(documents, changes, caller.user, Some(own)).map(drop)
        })?;
        self.write_to(email, Letter::PasswordChanged);
        Ok(())
    }

    /// Changes what the caller says about themselves.
    pub fn change_profile(
        &self,
        caller: &Caller,
        expected: &Expected,
        change: ProfileChange,
    ) -> Result<Account, Error> {
        caller.session()?;
        let name = change.name.as_deref().map(user::name).transpose()?;
        user::check_profile(&change)?;
        let some = |it: String| Some(it).filter(|it| !it.is_empty());
        let changed = |it: &mut Personal| {
            it.name = name.unwrap_or_else(|| it.name.clone());
            if let Some(url) = change.avatar_url {
                it.avatar_url = some(url);
            }
            if let Some(locale) = change.locale {
                it.locale = some(locale);
            }
            if let Some(timezone) = change.timezone {
                it.timezone = some(timezone);
            }
        };
        let act = Act::done("profile.changed", User::KIND, caller.user.to_string());
        self.change_personal_of(caller.user, &caller.via, expected, changed, Some(act))?;
        self.account(caller.user)
    }

    fn change_personal(
        &self,
        id: UserId,
        via: &Via,
        change: impl FnOnce(&mut Personal),
        act: Option<Act>,
    ) -> Result<(), Error> {
        self.change_personal_of(id, via, &Expected::ANY, change, act)
    }

    fn change_personal_of(
        &self,
        id: UserId,
        via: &Via,
        expected: &Expected,
        change: impl FnOnce(&mut Personal),
        act: Option<Act>,
    ) -> Result<(), Error> {
        self.ledgers.change(&as_user(PLATFORM, id), via, |documents, changes| {
            let found = documents.versioned::<User>(&id.to_string())?.ok_or_else(invalid)?;
            expected.check(&found)?;
            let mut user = found.it;
            let mut personal = user.personal(&*self.vault)?.ok_or_else(invalid)?;
            change(&mut personal);
            user.updated_at = self.now();
            user.sealed = personal.seal(&*self.vault, id, user.updated_at)?;
            changes.put(&user);
            act.into_iter().for_each(|it| changes.act(it));
            Ok(())
        })
    }

    /// Returns an account.
    pub fn account(&self, id: UserId) -> Result<Account, Error> {
        let found = self.ledgers.get::<User>(&TenantCtx::platform(), &id.to_string())?;
        let Versioned { version, it: user } = found.ok_or_else(invalid)?;
        let personal = user.personal(&*self.vault)?.ok_or_else(invalid)?;
        Ok(Account { user, personal, version })
    }

    /// Returns what others see of a user; of one who is erased no more than the id.
    pub fn profile(&self, id: UserId) -> Result<Profile, Error> {
        let personal = match self.user(id)? {
            Some(user) => user.personal(&*self.vault)?,
            None => None,
        };
        let (name, avatar_url) = match personal {
            Some(personal) => (personal.name, personal.avatar_url),
            None => ("(erased)".into(), None),
        };
        Ok(Profile { id, name, avatar_url })
    }

    /// Returns the tenants that a user is an active member of, by name.
    pub fn tenants_of(&self, user: UserId) -> Result<Vec<TenantOf>, Error> {
        let mut found = Vec::new();
        for tenant in self.lookup(|it| it.tenants(user)) {
            let ctx = TenantCtx::keeper_of(tenant);
            let of = self.ledgers.read(&ctx, |documents| {
                let standing = standing_of(documents, user)?;
                let tenant = documents.get::<Tenant>("tenant")?;
                let member = documents.get::<crate::tenant::Member>(&user.to_string())?;
                Ok::<_, Error>((standing, tenant, member))
            })?;
            let (Some((standing, _)), Some(tenant), Some(member)) = of else { continue };
            let is_shown = standing.is_member_active && tenant.status != TenantStatus::Suspended;
            if is_shown {
                found.push(TenantOf { tenant, role: member.role });
            }
        }
        found.sort_by(|a, b| (&a.tenant.name, a.tenant.id).cmp(&(&b.tenant.name, b.tenant.id)));
        Ok(found)
    }
}

/// The answer to who registers where an address must be confirmed, whoever has it.
pub(crate) fn unconfirmed() -> Error {
    let message = "a message is on its way to this address; confirm it, then log in";
    Error::new("email_not_verified", message)
}

/// Failures before a login that make the login worth a look.
const SUSPICIOUS_FAILURES: u32 = 5;

fn sessions_of(documents: &Documents, user: UserId) -> Result<Vec<Session>, Error> {
    let sessions = documents.list::<Session>(&format!("{user}/"))?;
    Ok(sessions.into_iter().map(|it| it.it).collect())
}

/// Returns the address that attempts are counted for.
pub(crate) fn from(via: &Via) -> Vec<Counted> {
    via.ip_address.iter().map(|it| Counted::Address(it.clone())).collect()
}

/// Makes a name of an address.
pub(crate) fn name_of(email: &str) -> String {
    let local = email.split('@').next().unwrap_or_default();
    let mut name = String::new();
    for word in local.split(['.', '_', '-', '+']).filter(|it| !it.is_empty()) {
        let mut letters = word.chars();
        let first = letters.next().map(|it| it.to_uppercase().to_string()).unwrap_or_default();
        if !name.is_empty() {
            name.push(' ');
        }
        name.push_str(&(first + letters.as_str()));
    }
    user::name(&name).unwrap_or_else(|_| "New User".into())
}

/// Says to who logs in what a full disk means to them.
fn no_room(error: Error) -> Error {
    match &*error.code {
        "storage_full" => Error::new(
            "storage_full",
            "the disk of the server is full, so nobody can log in: a session is put down before it \
             counts. Who is logged in goes on reading; whoever looks after the server frees space, \
             and logging in works again by itself",
        )
        .with_details(json!({ "retry_after": RETRY_FULL_SECS })),
        _ => error,
    }
}

/// Seconds after which somebody tries again who could not log in for want of space.
const RETRY_FULL_SECS: &str = "30";

/// Returns the kind of a refresh token, and the ids of the user and the session that it names.
fn session_of(refresh_token: &str) -> Option<(Opaque, [Uuid; 2])> {
    let kinds = [Opaque::Refresh, Opaque::RefreshConfined];
    let kind = kinds.into_iter().find(|it| it.is(refresh_token))?;
    Some((kind, kind.ids::<2>(refresh_token)?))
}
