//! Use cases of passkeys: adding one, and logging in with nothing else.
//!
//! A challenge is kept here, works once and for five minutes. A passkey finds its user by itself
//! and has checked who they are, so it stands for both factors. Two users may have credentials of
//! the same id: which key is asked is decided by whom the authenticator says it belongs to.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value as Json, json};
use traaviis_model::{FactorId, Span, UserId, tenant::PLATFORM};
use uuid::Uuid;

use crate::{
    accounts::{LoggedIn, from},
    audit::{Act, Via},
    caller::{Caller, as_user},
    error::Error,
    factor::{MFA, Passkey},
    ledger::Document,
    mfa::{Begun, Enrolment, FactorShown, factor_name},
    pending::Pending,
    platform::Platform,
    user::User,
    webauthn::{ALGORITHMS, Answer, Party, Refused},
};

/// How long a challenge works.
pub const CHALLENGE_LIFE: Span = Span::secs(5 * 60);

/// What passkeys need: who asks, and what was asked.
#[derive(Debug)]
pub(crate) struct Passkeys {
    party: Option<Party>,
    asked: Pending<()>,
}

impl Passkeys {
    /// Returns what passkeys need at an address.
    pub fn of(address: &str) -> Passkeys {
        Passkeys { party: Party::of(address), asked: Pending::new(CHALLENGE_LIFE) }
    }

    fn party(&self) -> Result<&Party, Error> {
        self.party.as_ref().ok_or_else(|| {
            let message = "passkeys need an address with a name that begins with `https`, or \
                           `http://localhost`; who runs the server sets it with `--base-url`";
            Error::new("feature_unavailable", message)
        })
    }
}

impl Platform {
    /// Begins to add a passkey: returns what the browser is to be asked.
    pub fn begin_passkey(
        &self,
        caller: &Caller,
        name: Option<&str>,
    ) -> Result<(FactorId, Json), Error> {
        let party = self.passkeys.party()?;
        let account = self.may_add(caller)?;
        let name = factor_name(name, "Passkey")?;
        let (id, challenge) = (FactorId(self.fresh_id()?), self.challenge()?);
        let what = Begun::Passkey(challenge.clone());
        let waits = Enrolment { user: caller.user, name, what };
        self.enrolments.put(id.to_string(), waits, self.now());
        let credential = |id: &str| json!({ "type": "public-key", "id": id });
        let personal = &account.personal;
        let known = personal.factors.passkeys.iter().map(|it| credential(&it.credential));
        let kinds = ALGORITHMS.map(|it| json!({ "type": "public-key", "alg": it }));
        let options = json!({
            "rp": { "id": party.id, "name": "TRAAVIIS" },
            "user": {
                "id": URL_SAFE_NO_PAD.encode(caller.user.0.as_bytes()),
                "name": personal.email,
                "displayName": personal.name,
            },
            "challenge": challenge,
            "pubKeyCredParams": kinds,
            "timeout": CHALLENGE_LIFE.as_millis(),
            "excludeCredentials": known.collect::<Vec<_>>(),
            "authenticatorSelection": {
                "residentKey": "required",
                "requireResidentKey": true,
                "userVerification": "required",
            },
            "attestation": "none",
        });
        Ok((id, options))
    }

    /// Adds the passkey that answers.
    pub fn confirm_passkey(
        &self,
        caller: &Caller,
        id: FactorId,
        answer: &Json,
    ) -> Result<FactorShown, Error> {
        let (party, now) = (self.passkeys.party()?, self.now());
        let is_it = |it: &Enrolment| it.user == caller.user && matches!(it.what, Begun::Passkey(_));
        let begun = self.enrolments.take_if(&id.to_string(), now, is_it);
        let Some(Enrolment { name, what: Begun::Passkey(challenge), .. }) = begun else {
            return Err(Error::not_found("factor that was begun", &id.to_string()));
        };
        let made = Answer::read(answer)
            .and_then(|it| it.check_registration(party, &challenge))
            .map_err(|refused| Error::invalid("/credential", refused.to_string()))?;
        let passkey = Passkey {
            id,
            name,
            credential: URL_SAFE_NO_PAD.encode(&made.credential),
            key: URL_SAFE_NO_PAD.encode(&made.key),
            counter: made.counter,
            added_at: now,
            used_at: now,
        };
        let shown = FactorShown::from(&passkey);
        self.add_factor(caller, &shown, &["pop", "user"], |it| {
            // The same authenticator again replaces what it was.
            it.passkeys.retain(|it| it.credential != passkey.credential);
            it.passkeys.push(passkey);
        })?;
        Ok(shown)
    }

    /// Begins a login with a passkey: returns what the browser is to be asked.
    pub fn ask_for_passkey(&self) -> Result<Json, Error> {
        let party = self.passkeys.party()?;
        let challenge = self.challenge()?;
        self.passkeys.asked.put(challenge.clone(), (), self.now());
        Ok(json!({
            "rpId": party.id,
            "challenge": challenge,
            "timeout": CHALLENGE_LIFE.as_millis(),
            "allowCredentials": [],
            "userVerification": "required",
        }))
    }

    /// Logs in who has a passkey.
    pub fn log_in_by_passkey(
        &self,
        answer: &Json,
        tenant: Option<&str>,
        via: &Via,
    ) -> Result<LoggedIn, Error> {
        let (who, now) = (from(via), self.now());
        self.attempts.check(&who, now)?;
        let checked = self.check_passkey(answer, via)?;
        let Ok(user) = checked else {
            self.attempts.failed(&who, now);
            let message = "the passkey is not known here, or its answer is not good";
            return Err(Error::new("invalid_credentials", message));
        };
        let scoped = self.scope(user, tenant)?;
        self.begin_session(user, scoped, &["pop", "user", MFA], via)
    }

    fn check_passkey(&self, answer: &Json, via: &Via) -> Result<Result<UserId, Refused>, Error> {
        let party = self.passkeys.party()?;
        let read = || {
            let answer = Answer::read(answer)?;
            let challenge = answer.challenge()?;
            self.passkeys.asked.take(&challenge, self.now()).ok_or(Refused::Challenge)?;
            let unknown = Refused::Form("userHandle");
            let user = Uuid::from_slice(&answer.user_handle()?).map_err(|_| unknown)?;
            Ok((UserId(user), answer.credential()?, challenge, answer))
        };
        let (id, credential, challenge, answer) = match read() {
            Ok(read) => read,
            Err(refused) => return Ok(Err(refused)),
        };
        let credential = URL_SAFE_NO_PAD.encode(credential);
        if self.user(id)?.is_none() {
            return Ok(Err(Refused::Key));
        }
        self.ledgers.change(&as_user(PLATFORM, id), via, |documents, changes| {
            let (mut user, mut personal) = self.person(documents, id)?;
            let mut passkeys = personal.factors.passkeys.iter_mut();
            let Some(passkey) = passkeys.find(|it| it.credential == credential) else {
                return Ok(Err(Refused::Key));
            };
            let key = URL_SAFE_NO_PAD.decode(&passkey.key).unwrap_or_default();
            match answer.check_assertion(party, &challenge, (&key, passkey.counter)) {
                Ok(counter) => {
                    passkey.counter = counter;
                    passkey.used_at = self.now();
                    self.put_person(changes, &mut user, &personal)?;
                    Ok(Ok(id))
                }
                Err(refused) => {
                    let act = Act::done("login.failed", User::KIND, user.id()).failed();
                    let why = refused.to_string();
                    changes.act(act.with(json!({ "passkey": passkey.id, "why": why })));
                    Ok(Err(refused))
                }
            }
        })
    }

    fn challenge(&self) -> Result<String, Error> {
        Ok(URL_SAFE_NO_PAD.encode(self.entropy.bytes::<32>()?))
    }
}
