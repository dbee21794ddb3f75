//! Use cases of tokens that go out by mail: confirming an address, resetting a password.
//!
//! Who asks for a mail is told nothing but that it was asked for: with an account and without one
//! the same is done, one change of the ledger, and the same is answered.

use serde_json::json;
use traaviis_model::{SessionId, TenantCtx, UserId, tenant::PLATFORM};

use crate::{
    accounts::{Account, from, unconfirmed},
    attempts::Counted,
    audit::{Act, Via},
    caller::as_user,
    error::Error,
    factor::Factors,
    ledger::{Changes, Document, Documents},
    mail::Letter,
    one_time::{self, OneTime, Purpose},
    password,
    platform::{Platform, engine},
    session::{self, Session},
    user::{Personal, User, UserStatus},
};

impl Platform {
    /// Sends a letter to an address.
    pub(crate) fn write_to(&self, email: &str, letter: Letter<'_>) {
        self.outbox.post(letter.write(email, &self.settings.issuer));
    }

    /// Sends a letter to the owner of an account.
    pub(crate) fn write_to_user(&self, id: UserId, letter: Letter<'_>) {
        // Whoever is erased meanwhile needs no letter.
        if let Ok(Account { personal, .. }) = self.account(id) {
            self.write_to(&personal.email, letter);
        }
    }

    /// Asks somebody new to confirm their address. Where they must, they cannot go on before.
    pub(crate) fn ask_to_confirm(&self, user: UserId, email: &str, via: &Via) -> Result<(), Error> {
        let must = self.settings.require_email_verification;
        if !must && !self.outbox.is_open() {
            return Ok(());
        }
        let purpose = Purpose::Verification;
        let (one_time, token) = OneTime::make(purpose, user, self.now(), &self.entropy)?;
        self.ledgers.change(&as_user(PLATFORM, user), via, |_, changes| {
            changes.put(&one_time);
            changes.act(Act::done(asked(purpose), User::KIND, user.to_string()));
            Ok(())
        })?;
        self.write_to(email, letter(purpose, &token));
        if must { Err(unconfirmed()) } else { Ok(()) }
    }

    /// Sends a token to an address if it has an account that needs one.
    pub fn ask_by_mail(&self, purpose: Purpose, email: &str, via: &Via) -> Result<(), Error> {
        let email = email.trim().to_lowercase();
        let mut who = from(via);
        // Counted apart, so that whoever asks for letters does not slow down logins.
        who.push(Counted::Account(format!("{} {email}", asked(purpose)).into()));
        self.attempts.check(&who, self.now())?;
        self.attempts.failed(&who, self.now());
        let found = self.lookup(|it| it.user(&email));
        // Made in any case, so that it takes the same time.
        let user = found.unwrap_or(UserId(self.fresh_id()?));
        let (one_time, token) = OneTime::make(purpose, user, self.now(), &self.entropy)?;
        let is_sent =
            self.ledgers.change(&as_user(PLATFORM, user), via, |documents, changes| {
                let known = documents.get::<User>(&user.to_string())?;
                let known = known.filter(|it| it.status != UserStatus::Suspended);
                let personal = known.map(|it| it.personal(&*self.vault)).transpose()?.flatten();
                let is_needed = personal.is_some_and(|it| match purpose {
                    Purpose::Verification => !it.email_verified,
                    Purpose::Reset => true,
                });
                let act = match is_needed {
                    true => {
                        changes.put(&one_time);
                        Act::done(asked(purpose), User::KIND, user.to_string())
                    }
                    false => Act::done(asked(purpose), User::KIND, "unknown").failed(),
                };
                changes.act(act);
                Ok(is_needed)
            })?;
        if is_sent {
            self.write_to(&email, letter(purpose, &token));
        }
        Ok(())
    }

    /// Confirms the address that a token was sent to.
    pub fn verify_email(&self, token: &str, via: &Via) -> Result<(), Error> {
        let user = self.user_by_token(Purpose::Verification, token, via)?;
        self.ledgers.change(&as_user(PLATFORM, user), via, |documents, changes| {
            let (mut user, mut personal) =
                self.spend(documents, changes, (Purpose::Verification, user), token)?;
            self.confirm(&mut user, &mut personal)?;
            changes.put(&user);
            changes.act(Act::done("email.verified", User::KIND, user.id()));
            Ok(())
        })
    }

    /// Sets a new password with a token that was sent to the address; all sessions end.
    pub fn reset_password(&self, token: &str, new: &str, via: &Via) -> Result<(), Error> {
        let id = self.user_by_token(Purpose::Reset, token, via)?;
        let Account { personal, .. } = self.account(id).map_err(|_| spent())?;
        let about = [personal.name.as_str(), personal.email.as_str()];
        password::check(new, self.password_chars_min(id)?, &about)?;
        let hash = self.hasher.hash(new)?;
        self.ledgers.change(&as_user(PLATFORM, id), via, |documents, changes| {
            let (mut user, mut personal) =
                self.spend(documents, changes, (Purpose::Reset, id), token)?;
            if !personal.email_verified {
                // Perhaps whoever made the account does not own the address; who does, starts
                // afresh. Where mail is sent, nobody adds a factor before confirming the address.
                personal.factors = Factors::default();
            }
            personal.password = Some(hash);
            self.confirm(&mut user, &mut personal)?;
            changes.put(&user);
            let ended = end_sessions(documents, changes, id, None)?;
            let act = Act::done("password.reset", User::KIND, user.id());
            changes.act(act.with(json!({ "sessions_ended": ended })));
            Ok(())
        })?;
        self.attempts.succeeded(&Counted::Account(personal.email.as_str().into()));
        self.write_to(&personal.email, Letter::PasswordChanged);
        Ok(())
    }

    /// Takes tokens out whose time is over; called from time to time.
    pub fn end_old_tokens(&self) -> Result<(), Error> {
        let (ctx, now) = (TenantCtx::platform(), self.now());
        self.ledgers.change(&ctx, &engine(), |documents, changes| {
            for one_time in documents.list::<OneTime>("")? {
                if one_time.it.expires_at <= now {
                    changes.remove::<OneTime>(&one_time.it.id());
                }
            }
            Ok(())
        })
    }

    /// Returns whose token this is, without using it up.
    fn user_by_token(&self, purpose: Purpose, token: &str, via: &Via) -> Result<UserId, Error> {
        let (who, now) = (from(via), self.now());
        self.attempts.check(&who, now)?;
        let found = purpose.user_in(token).map(|user| {
            let ctx = TenantCtx::platform();
            let place = one_time::id_of(purpose, user);
            self.ledgers.read(&ctx, |it| it.get::<OneTime>(&place))
        });
        match found.transpose()?.flatten().filter(|it| it.is(token, now)) {
            Some(one_time) => Ok(one_time.user_id),
            None => {
                self.attempts.failed(&who, now);
                Err(spent())
            }
        }
    }

    /// Uses a token up, as part of a change.
    fn spend(
        &self,
        documents: &Documents,
        changes: &mut Changes,
        (purpose, user): (Purpose, UserId),
        token: &str,
    ) -> Result<(User, Personal), Error> {
        let place = one_time::id_of(purpose, user);
        // Another request may have used it since.
        let found = documents.get::<OneTime>(&place)?.filter(|it| it.is(token, self.now()));
        found.ok_or_else(spent)?;
        changes.remove::<OneTime>(&place);
        let user = documents.get::<User>(&user.to_string())?.ok_or_else(spent)?;
        let personal = user.personal(&*self.vault)?.ok_or_else(spent)?;
        Ok((user, personal))
    }

    /// Notes that the address is the user's, and seals what is about them.
    pub(crate) fn confirm(&self, user: &mut User, personal: &mut Personal) -> Result<(), Error> {
        personal.email_verified = true;
        if user.status == UserStatus::PendingVerification {
            user.status = UserStatus::Active;
        }
        user.updated_at = self.now();
        user.sealed = personal.seal(&*self.vault, user.id, user.updated_at)?;
        Ok(())
    }
}

/// Ends the sessions of a user, as part of a change, but for one; returns how many.
pub(crate) fn end_sessions(
    documents: &Documents,
    changes: &mut Changes,
    user: UserId,
    but: Option<SessionId>,
) -> Result<usize, Error> {
    let sessions = documents.list::<Session>(&format!("{user}/"))?;
    let ended = sessions.iter().filter(|it| Some(it.it.id) != but);
    let ended: Vec<_> = ended.map(|it| session::id_of(user, it.it.id)).collect();
    ended.iter().for_each(|it| changes.remove::<Session>(it));
    Ok(ended.len())
}

fn asked(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Verification => "email.verification_asked",
        Purpose::Reset => "password.reset_asked",
    }
}

fn letter(purpose: Purpose, token: &str) -> Letter<'_> {
    match purpose {
        Purpose::Verification => Letter::Verify { token },
        Purpose::Reset => Letter::Reset { token },
    }
}

/// The answer to every token that is no good.
fn spent() -> Error {
    let message = "the token is not valid, was used, or its time is over; ask for another one";
    Error::new("invalid_token", message)
}
