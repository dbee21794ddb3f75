//! Logging in elsewhere: the code flow of OpenID Connect with PKCE.
//!
//! ```text
//! start    -> state, nonce and verifier kept here, a cookie for the browser -> issuer
//! callback -> state and cookie match -> code for an ID token -> token checked -> who it is
//!          -> a ticket, never a token, in the address
//! finish   -> ticket and cookie, and a code of the second factor if there is one -> session
//! ```
//!
//! Who somebody is, is issuer and subject. An address links to an account that exists only if the
//! issuer says that it is confirmed and the operator has given that domain to the issuer; whoever
//! else comes for the first time gets an account of their own.
//!
//! What a tenant has its own issuers say is [`tenants`]: it counts in that tenant alone.
//!
//! Invariants: a state, a code and a ticket work once; an ID token is believed only with a key of
//! its issuer, under the algorithm of that key; no token and no secret stands in an address.

pub mod id_token;
pub mod tenants;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use traaviis_model::{Span, TenantId, Text, Timestamp, UserId, tenant::PLATFORM};
use traaviis_ports::{Http, HttpAsk, HttpError, Secret};
use url::{Url, form_urlencoded};

use crate::{
    accounts::{LoggedIn, from, name_of},
    audit::{Act, Via},
    caller::as_user,
    egress::{Egress, RefusedTarget},
    error::{Error, clip},
    factor::{IDENTITIES_MAX, Identity, MFA},
    ledger::Document,
    mail::Letter,
    pending::Pending,
    platform::Platform,
    session::Confined,
    token::hash_of,
    user::{self, Personal, PlatformRole, User},
};
use id_token::{Claims, Jwk};

/// How long somebody may take at the issuer.
pub const STATE_LIFE: Span = Span::secs(10 * 60);
/// How long a ticket works: time to type the code of a second factor.
pub const TICKET_LIFE: Span = Span::secs(5 * 60);
/// How long the description of an issuer is taken for current.
const DESCRIPTION_LIFE: Span = Span::secs(3_600);
/// Soonest that keys are asked for again because a token names one that is not known.
const KEYS_AGAIN: Span = Span::secs(60);
/// Issuers whose descriptions are kept; beyond it all are forgotten, and asked for again.
const KNOWN_MAX: usize = 1_000;
/// Characters of a path that a browser returns to.
const RETURN_CHARS_MAX: usize = 500;

/// An issuer, as an operator or a tenant writes it down.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// Name in addresses; of a tenant's the short name of the tenant and a dot are before it, which
    /// no name of an operator has.
    pub name: String,
    /// Tenant that it is of, and in which alone it says anything; none for an operator's.
    pub tenant: Option<TenantId>,
    /// What it calls itself, exactly.
    pub url: String,
    /// What it calls this installation.
    pub client_id: String,
    /// What it knows this installation by; none for a public client.
    pub client_secret: Option<Secret>,
    /// Domains whose addresses it speaks for.
    pub domains: Vec<String>,
}

/// Issuers that people may log in at, and what was begun there.
pub struct Elsewhere {
    issuers: Vec<Issuer>,
    http: Option<Arc<dyn Http>>,
    /// Where it is noted what may not be reached.
    egress: Arc<Egress>,
    known: Mutex<HashMap<String, Known>>,
    begun: Pending<Begun>,
    tickets: Pending<Arrived>,
}

/// What an issuer says about itself.
#[derive(Clone, Debug, Deserialize)]
struct Description {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

#[derive(Clone)]
struct Known {
    description: Description,
    keys: Vec<Jwk>,
    described_at: Timestamp,
    keys_at: Timestamp,
}

/// A login that was begun.
#[derive(Clone, Debug)]
struct Begun {
    issuer: String,
    browser_hash: Text,
    nonce: String,
    verifier: String,
    return_to: Option<String>,
}

/// Somebody who has come back.
#[derive(Clone, Debug)]
struct Arrived {
    user: UserId,
    confined: Option<Confined>,
    browser_hash: Text,
    is_mfa: bool,
}

/// Where a browser goes, and what it brings back.
#[derive(Clone, PartialEq, Eq)]
pub struct Started {
    /// Address at the issuer.
    pub location: String,
    /// What is kept in a cookie.
    pub browser: String,
}

/// What a browser comes back with.
#[derive(Clone, Debug, Default)]
pub struct Returned<'a> {
    /// `state`.
    pub state: Option<&'a str>,
    /// `code`.
    pub code: Option<&'a str>,
    /// `iss` (RFC 9207).
    pub iss: Option<&'a str>,
    /// `error`.
    pub error: Option<&'a str>,
    /// The cookie.
    pub browser: Option<&'a str>,
}

/// What ends a login.
#[derive(Clone, Copy)]
pub struct Finish<'a> {
    /// The ticket.
    pub ticket: &'a str,
    /// The cookie.
    pub browser: Option<&'a str>,
    /// Code of a second factor.
    pub code: Option<&'a str>,
    /// Tenant to act in.
    pub tenant: Option<&'a str>,
}

/// Somebody who has proved elsewhere who they are.
#[derive(Clone, PartialEq, Eq)]
pub struct Proved {
    /// Ends the login.
    pub ticket: String,
    /// Where the browser was.
    pub return_to: Option<String>,
}

impl Elsewhere {
    /// Returns none.
    pub fn nowhere() -> Elsewhere {
        Elsewhere {
            issuers: Vec::new(),
            http: None,
            egress: Arc::default(),
            known: Mutex::default(),
            begun: Pending::new(STATE_LIFE),
            tickets: Pending::new(TICKET_LIFE),
        }
    }

    /// Returns these issuers, asked by this.
    pub fn at(issuers: Vec<Issuer>, http: Arc<dyn Http>) -> Elsewhere {
        Elsewhere { issuers, http: Some(http), ..Elsewhere::nowhere() }
    }

    /// Returns these issuers, with what may not be reached noted there.
    pub(crate) fn noting(self, egress: Arc<Egress>) -> Elsewhere {
        Elsewhere { egress, ..self }
    }

    fn ask<T: DeserializeOwned>(
        &self,
        (issuer, now): (&Issuer, Timestamp),
        ask: &HttpAsk,
        what: &str,
    ) -> Result<T, Error> {
        let http = self.http.as_ref().ok_or_else(|| failed("there is no way out"))?;
        let reply = http.ask(ask).map_err(|error| match error {
            HttpError::Denied(why) => {
                let url = Url::parse(&ask.url).ok();
                self.egress.note(RefusedTarget {
                    tenant: issuer.tenant.unwrap_or(PLATFORM),
                    target: url.as_ref().and_then(Url::host_str).unwrap_or_default(),
                    by: json!({ "by": "issuer", "issuer": issuer.name, "asked": what }),
                    at: now,
                });
                Error::new("egress_denied", why.to_string())
            }
            HttpError::Failed(why) => failed(&format!("the issuer did not answer: {why}")),
        })?;
        if reply.status != 200 {
            // What it says may hold what was sent to it; its own code for the error does not.
            #[derive(Deserialize)]
            struct Refusal {
                error: String,
            }
            let refusal: Option<Refusal> = serde_json::from_slice(&reply.body).ok();
            let code = refusal.map_or_else(String::new, |it| format!(" `{}`", clip(&it.error)));
            return Err(failed(&format!(
                "the issuer answers {}{code} for its {what}",
                reply.status
            )));
        }
        serde_json::from_slice(&reply.body)
            .map_err(|_| failed(&format!("the {what} of the issuer cannot be read")))
    }

    /// Returns what is known of an issuer, asked anew when it is old.
    fn describe(&self, issuer: &Issuer, now: Timestamp) -> Result<Known, Error> {
        let known = self.known().get(&issuer.name).cloned();
        let known = known.filter(|it| now.since(it.described_at) <= DESCRIPTION_LIFE);
        // A tenant may have put another one in its place.
        let known = known.filter(|it| it.description.issuer == issuer.url);
        if let Some(known) = known {
            return Ok(known);
        }
        self.describe_anew(issuer, now)
    }

    fn describe_anew(&self, issuer: &Issuer, now: Timestamp) -> Result<Known, Error> {
        let base = issuer.url.trim_end_matches('/');
        let url = format!("{base}/.well-known/openid-configuration");
        let description: Description = self.ask((issuer, now), &get(url), "description")?;
        if description.issuer != issuer.url {
            return Err(failed("the issuer calls itself otherwise than it is configured"));
        }
        let ends = [
            &description.authorization_endpoint,
            &description.token_endpoint,
            &description.jwks_uri,
        ];
        // An issuer without TLS is one on this machine, which the operator has allowed.
        let is_safe = |it: &&String| it.starts_with("https://");
        if issuer.url.starts_with("https://") && !ends.iter().all(is_safe) {
            return Err(failed("an address of the issuer is not encrypted"));
        }
        let keys = self.keys_at((issuer, now), &description.jwks_uri)?;
        let known = Known { description, keys, described_at: now, keys_at: now };
        let mut all = self.known();
        if all.len() >= KNOWN_MAX {
            all.clear();
        }
        all.insert(issuer.name.clone(), known.clone());
        Ok(known)
    }

    /// Returns the keys of an issuer, asked anew when a token names one that is not among them.
    fn keys_for(&self, issuer: &Issuer, token: &str, now: Timestamp) -> Result<Vec<Jwk>, Error> {
        let mut known = self.describe(issuer, now)?;
        if !id_token::names_unknown(token, &known.keys) || now.since(known.keys_at) < KEYS_AGAIN {
            return Ok(known.keys);
        }
        known.keys = self.keys_at((issuer, now), &known.description.jwks_uri)?;
        known.keys_at = now;
        self.known().insert(issuer.name.clone(), known.clone());
        Ok(known.keys)
    }

    fn keys_at(&self, of: (&Issuer, Timestamp), url: &str) -> Result<Vec<Jwk>, Error> {
        #[derive(Deserialize)]
        struct KeySet {
            keys: Vec<serde_json::Value>,
        }
        let set: KeySet = self.ask(of, &get(url.to_owned()), "keys")?;
        // A set may hold keys of kinds that nobody here knows; they are passed over.
        let read = |it| Jwk::deserialize(&it).ok();
        Ok(set.keys.into_iter().filter_map(read).collect())
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Elsewhere").field("issuers", &self.issuers).finish_non_exhaustive()
    }
}

impl Platform {
    /// Returns the names of issuers that people may log in at.
    pub fn issuers(&self) -> Vec<String> {
        self.elsewhere.issuers.iter().map(|it| it.name.clone()).collect()
    }

    /// Begins a login at an issuer.
    pub fn start_elsewhere(&self, name: &str, return_to: Option<&str>) -> Result<Started, Error> {
        let (issuer, now) = (self.issuer(name)?, self.now());
        let return_to = return_to.map(own_path).transpose()?;
        let known = self.elsewhere.describe(&issuer, now)?;
        let [state, nonce, verifier, browser] =
            [self.chance()?, self.chance()?, self.chance()?, self.chance()?];
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
        let endpoint = &known.description.authorization_endpoint;
        let mut location =
            Url::parse(endpoint).map_err(|_| failed("the issuer names no address to log in at"))?;
        location
            .query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &issuer.client_id)
            .append_pair("redirect_uri", &self.redirect_of(&issuer))
            .append_pair("scope", "openid email profile")
            .append_pair("state", &state)
            .append_pair("nonce", &nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        let browser_hash = hash_of(&browser);
        let begun = Begun { issuer: name.to_owned(), browser_hash, nonce, verifier, return_to };
        self.elsewhere.begun.put(state, begun, now);
        Ok(Started { location: location.into(), browser })
    }

    /// Takes somebody who comes back from an issuer.
    pub fn return_from(
        &self,
        name: &str,
        returned: &Returned<'_>,
        via: &Via,
    ) -> Result<Proved, Error> {
        let (who, now) = (from(via), self.now());
        self.attempts.check(&who, now)?;
        let proved = self.arrive(name, returned, via);
        if proved.as_ref().is_err_and(|it| it.code == FAILED) {
            self.attempts.failed(&who, now);
            let act = Act::done("login.failed", "issuer", name).failed();
            self.note(act, via);
        }
        proved
    }

    fn arrive(&self, name: &str, returned: &Returned<'_>, via: &Via) -> Result<Proved, Error> {
        let (issuer, now) = (self.issuer(name)?, self.now());
        let state = returned.state.ok_or_else(|| failed("`state` is missing"))?;
        let stale = || failed("this login was not begun here, was ended, or took too long");
        let begun = self.elsewhere.begun.take(state, now).ok_or_else(stale)?;
        let is_browser = returned.browser.is_some_and(|it| hash_of(it) == begun.browser_hash);
        if begun.issuer != issuer.name || !is_browser {
            return Err(failed("this login was begun elsewhere, or in another browser"));
        }
        let known = self.elsewhere.describe(&issuer, now)?;
        let must_name = known.description.authorization_response_iss_parameter_supported;
        if returned.iss.map_or(must_name, |it| it != issuer.url) {
            return Err(failed("the answer is of another issuer"));
        }
        if let Some(error) = returned.error {
            return Err(failed(&format!("the issuer refuses: `{}`", clip(error))));
        }
        let code = returned.code.ok_or_else(|| failed("`code` is missing"))?;
        let token = self.exchange(&issuer, &known.description, code, &begun.verifier)?;
        let keys = self.elsewhere.keys_for(&issuer, &token, now)?;
        let expected = id_token::Expected {
            issuer: &issuer.url,
            client_id: &issuer.client_id,
            nonce: &begun.nonce,
        };
        let claims = id_token::check(&token, &keys, &expected, self.wall())
            .map_err(|refused| failed(&refused.to_string()))?;
        let (user, confined) = match issuer.tenant {
            None => (self.user_elsewhere(&issuer, &claims, via)?, None),
            Some(tenant) => {
                let confined = tenants::confined(tenant, &issuer);
                (self.member_elsewhere(tenant, &issuer, &claims, via)?, Some(confined))
            }
        };
        let ticket = self.chance()?;
        let is_mfa = claims.amr.iter().any(|it| it == MFA);
        let arrived = Arrived { user, confined, browser_hash: begun.browser_hash, is_mfa };
        self.elsewhere.tickets.put(ticket.clone(), arrived, now);
        Ok(Proved { ticket, return_to: begun.return_to })
    }

    fn exchange(
        &self,
        issuer: &Issuer,
        description: &Description,
        code: &str,
        verifier: &str,
    ) -> Result<String, Error> {
        #[derive(Deserialize)]
        struct Tokens {
            id_token: String,
        }
        let redirect = self.redirect_of(issuer);
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &redirect),
            ("code_verifier", verifier),
        ];
        let authorization = match &issuer.client_secret {
            // RFC 6749, section 2.3.1: each is encoded as in a form, then both as one.
            Some(secret) => {
                let encoded =
                    |it: &str| form_urlencoded::byte_serialize(it.as_bytes()).collect::<String>();
                let both = format!("{}:{}", encoded(&issuer.client_id), encoded(secret.expose()));
                Some(format!("Basic {}", STANDARD.encode(both)))
            }
            None => {
                form.push(("client_id", &issuer.client_id));
                None
            }
        };
        let form = form.into_iter().map(|(name, it)| (name.to_owned(), it.to_owned())).collect();
        let url = description.token_endpoint.clone();
        let ask = HttpAsk { url, authorization, form: Some(form) };
        let of = (issuer, self.now());
        Ok(self.elsewhere.ask::<Tokens>(of, &ask, "token")?.id_token)
    }

    /// Finds the user whom an issuer names, or makes one.
    fn user_elsewhere(&self, issuer: &Issuer, claims: &Claims, via: &Via) -> Result<UserId, Error> {
        if let Some(user) = self.lookup(|it| it.identity(&issuer.url, &claims.sub)) {
            return Ok(user);
        }
        let identity = Identity { issuer: issuer.url.clone(), subject: claims.sub.clone() };
        let email = claims.confirmed_email()?;
        // Only then does a word of the issuer about an address count for more than its own users.
        let speaks_for = is_in(&email, &issuer.domains);
        match self.lookup(|it| it.user(&email)) {
            Some(user) if speaks_for => {
                self.link(user, identity, &issuer.name, via)?;
                Ok(user)
            }
            Some(_) => {
                let message = "there is an account with your e-mail address, and this issuer does \
                               not speak for its domain; log in as before";
                Err(Error::new("already_exists", message))
            }
            None => {
                let name = claims.name.as_deref().and_then(|it| user::name(it).ok());
                let mut personal =
                    Personal::new(email.clone(), name.unwrap_or_else(|| name_of(&email)));
                personal.email_verified = speaks_for;
                personal.factors.identities.push(identity);
                let user = self.new_user(&personal, PlatformRole::User, via)?;
                self.make_own_tenant(user, &personal.name, None, via)?;
                if !speaks_for {
                    self.ask_to_confirm(user, &email, via)?;
                }
                Ok(user)
            }
        }
    }

    fn link(&self, id: UserId, identity: Identity, name: &str, via: &Via) -> Result<(), Error> {
        self.ledgers.change(&as_user(PLATFORM, id), via, |documents, changes| {
            let (mut user, mut personal) = self.person(documents, id)?;
            let identities = &mut personal.factors.identities;
            if identities.contains(&identity) {
                return Ok(());
            }
            if identities.len() >= IDENTITIES_MAX {
                let message = format!("one user logs in at most {IDENTITIES_MAX} ways elsewhere");
                return Err(Error::new("quota_exceeded", message));
            }
            identities.push(identity);
            // The issuer speaks for the domain, so the address is confirmed by its word.
            if !personal.email_verified {
                // Whoever made the account did not own the address: nothing of theirs stays.
                personal.password = None;
                personal.factors.apps.clear();
                personal.factors.passkeys.clear();
                personal.factors.recovery.clear();
                personal.factors.identities.drain(..personal.factors.identities.len() - 1);
                crate::confirm::end_sessions(documents, changes, id, None)?;
            }
            self.confirm(&mut user, &mut personal)?;
            changes.put(&user);
            let act = Act::done("identity.linked", User::KIND, user.id());
            changes.act(act.with(json!({ "issuer": name })));
            Ok(())
        })?;
        self.write_to_user(id, Letter::FactorAdded { name });
        Ok(())
    }

    /// Ends a login that was begun elsewhere, in the browser that began it: whoever has a second
    /// factor here and did not give one there gives its code now.
    pub fn finish_elsewhere(&self, finish: &Finish<'_>, via: &Via) -> Result<LoggedIn, Error> {
        let Finish { ticket, browser, code, tenant } = *finish;
        let (mut who, now) = (from(via), self.now());
        self.attempts.check(&who, now)?;
        let spent = || Error::new("invalid_token", "the ticket is not valid; log in again");
        let arrived = self.elsewhere.tickets.get(ticket, now);
        // Else somebody could send their own ticket to others, who would act in their account.
        let is_browser = |it: &Arrived| browser.is_some_and(|own| hash_of(own) == it.browser_hash);
        let Some(arrived) = arrived.filter(is_browser) else {
            self.attempts.failed(&who, now);
            return Err(spent());
        };
        let account = self.account(arrived.user)?;
        who.push(crate::attempts::Counted::Account(account.personal.email.as_str().into()));
        self.attempts.check(&who, now)?;
        // How its members prove themselves is the tenant's to say, for itself.
        let used = match arrived.is_mfa || arrived.confined.is_some() {
            true => None,
            false => self.use_second_factor(&account, code, via)?,
        };
        // Of two at once only one goes on.
        self.elsewhere.tickets.take(ticket, now).ok_or_else(spent)?;
        let mut amr = vec!["fed"];
        amr.extend(used.iter().flat_map(|it| it.amr()));
        if arrived.is_mfa {
            amr.push(MFA);
        }
        if let Some(confined) = arrived.confined {
            return self.begin_confined(arrived.user, confined, &amr, via);
        }
        let scoped = self.scope(arrived.user, tenant)?;
        self.begin_session(arrived.user, scoped, &amr, via)
    }

    /// Finds the issuer that an address names.
    fn issuer(&self, name: &str) -> Result<Issuer, Error> {
        if let Some((slug, own)) = name.split_once('.') {
            return self.tenant_issuer(slug, own)?.ok_or_else(|| Error::not_found("issuer", name));
        }
        let found = self.elsewhere.issuers.iter().find(|it| it.name == name);
        found.cloned().ok_or_else(|| Error::not_found("issuer", name))
    }

    fn redirect_of(&self, issuer: &Issuer) -> String {
        format!("{}/api/v1/auth/oidc/{}/callback", self.settings.issuer, issuer.name)
    }

    fn chance(&self) -> Result<String, Error> {
        Ok(URL_SAFE_NO_PAD.encode(self.entropy.bytes::<32>()?))
    }
}

/// Code of a login elsewhere that came to nothing.
const FAILED: &str = "login_elsewhere_failed";

fn failed(why: &str) -> Error {
    Error::new(FAILED, why.to_owned())
}

fn get(url: String) -> HttpAsk {
    HttpAsk { url, authorization: None, form: None }
}

/// Takes a path of this server and nothing else: whoever could name another server would be sent a
/// ticket there.
fn own_path(text: &str) -> Result<String, Error> {
    let is_plain = |it: char| it.is_ascii_graphic() && !matches!(it, '\\' | '#' | '<' | '>' | '"');
    let is_own = text.starts_with('/') && !text.starts_with("//");
    match is_own && text.len() <= RETURN_CHARS_MAX && text.chars().all(is_plain) {
        true => Ok(text.to_owned()),
        false => Err(Error::invalid("/return_to", "this is a path of this server, such as `/app`")),
    }
}

impl Claims {
    /// Returns the address that the issuer has confirmed.
    fn confirmed_email(&self) -> Result<String, Error> {
        let email = self.email.as_deref().filter(|_| self.email_verified);
        let email = email.ok_or_else(|| {
            let message = "the issuer does not say that your e-mail address is confirmed; confirm \
                           it there, then log in again";
            Error::new("email_not_verified", message)
        })?;
        user::email(email)
    }
}

/// Says whether an address is of one of these domains.
fn is_in(email: &str, domains: &[String]) -> bool {
    let domain = email.rsplit('@').next().unwrap_or_default();
    domains.iter().any(|it| it.eq_ignore_ascii_case(domain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_returns_to_a_path_of_this_server() {
        for good in ["/", "/app", "/app?x=1&y=%2F"] {
            assert_eq!(own_path(good).unwrap(), good);
        }
        let long = format!("/{}", "x".repeat(RETURN_CHARS_MAX));
        for bad in [
            "",
            "app",
            "//evil.example",
            "https://evil.example",
            "/\\evil.example",
            "/a\nb",
            "/a#b",
            "/é",
            "\\/evil.example",
            " /a",
            "/a b",
            &long,
        ] {
            assert_eq!(own_path(bad).unwrap_err().code, "validation_failed", "{bad}");
        }
    }
}
