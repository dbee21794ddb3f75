//! Token exchange (RFC 8693): an access token is exchanged for one that may do less.
//!
//! What is given out counts in one tenant, holds permissions that the subject has there, ends no
//! later than the token that was shown, and ends with its session. It does nothing about the
//! account, is no fresh proof of who one is, and never acts as an owner or for the platform; so
//! there is nothing for which it could be exchanged that the first token could not do.

use serde_json::json;
use traaviis_model::{
    Span, TenantId,
    permission::{Permission, PermissionSet},
};
use traaviis_policy::access::{Action, Freshness};

use crate::{
    audit::Act,
    caller::{Caller, Proof},
    error::Error,
    ledger::Document as _,
    meters::TokenEvent,
    platform::Platform,
    session::Session,
    token::{Claims, Opaque},
};

/// Longest life of a token that was exchanged, where access tokens live longer: it is given to
/// pages and programs that one does not look after oneself.
pub const EXCHANGED_LIFE_MAX: Span = Span::secs(3_600);

/// What is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The token that is exchanged.
    pub subject: &'a str,
    /// Id or short name of the tenant that the new one is for; that of the first when it is absent.
    pub audience: Option<&'a str>,
    /// Names of permissions between spaces; all that the subject has when it is absent.
    pub scope: Option<&'a str>,
    /// How long it shall live at most.
    pub life: Option<Span>,
}

/// What is given out.
#[derive(Clone, Debug)]
pub struct Given {
    /// The token.
    pub access_token: String,
    /// How long it lives.
    pub expires_in: Span,
    /// Where it counts.
    pub tenant: TenantId,
    /// What it may do there at most.
    pub scopes: PermissionSet,
}

impl Platform {
    /// Exchanges an access token of the caller's for one that may do less.
    pub fn exchange_token(&self, caller: &Caller, wanted: &Wanted<'_>) -> Result<Given, Error> {
        let actor = match caller.proof {
            Proof::Session { id, .. } | Proof::Exchanged { id, .. }
                if !Opaque::ApiKey.is(wanted.subject) =>
            {
                id
            }
            _ => {
                let message = "tokens of people who have logged in are exchanged, not keys: make a \
                               key with fewer scopes";
                return Err(Error::new("forbidden", message));
            }
        };
        let now = self.now();
        let shown = self.signer.verify(wanted.subject, now)?;
        let subject = self.by_claims(&shown, caller.via.clone())?;
        if subject.user != caller.user {
            return Err(Error::new("forbidden", "this is a token of somebody else"));
        }
        let tenant = match wanted.audience {
            Some(named) => self.resolve(&subject, named)?,
            None => subject.scoped_to.ok_or_else(|| {
                Error::invalid("/audience", "name a tenant: the token is for none yet")
            })?,
        };
        let entered = self.enter(&subject, tenant, Action::TenantAccess, Freshness::Any)?;
        let scopes = scopes(wanted.scope, entered.standing.permissions)?;
        let life = wanted.life.unwrap_or(EXCHANGED_LIFE_MAX).min(EXCHANGED_LIFE_MAX);
        let iat = now.0 / 1_000_000;
        let exp = shown.exp.min(iat + life.as_millis() / 1_000);
        if exp <= iat {
            return Err(Error::new("token_expired", "the token ends now; refresh it first"));
        }
        let claims = Claims {
            tid: Some(tenant),
            may: Some(scopes.bits()),
            platform_role: subject.platform_role.as_str().into(),
            iat,
            nbf: iat,
            exp,
            jti: self.fresh_id()?,
            ..shown
        };
        let access_token = self.signer.sign(&claims)?;
        let act = Act::done("token.exchanged", Session::KIND, claims.sid.to_string());
        let act = act.with(json!({
            "token": claims.jti, "scope": scopes, "expires_at": claims.until(),
            "subject": claims.sid, "actor": actor,
        }));
        self.ledgers.change(&entered.ctx, &caller.via, |_, changes| {
            changes.act(act);
            Ok(())
        })?;
        self.meters().token(TokenEvent::Exchanged);
        let expires_in = Span::secs(exp - iat);
        Ok(Given { access_token, expires_in, tenant, scopes })
    }
}

/// Reads names of permissions, all of which must be held.
fn scopes(names: Option<&str>, held: PermissionSet) -> Result<PermissionSet, Error> {
    let Some(names) = names else { return Ok(held) };
    let read =
        |name: &str| name.parse::<Permission>().map_err(|rule| Error::invalid("/scope", rule));
    let asked: Vec<Permission> = names.split_whitespace().map(read).collect::<Result<_, _>>()?;
    match asked.iter().find(|it| !held.has(**it)) {
        Some(missing) => {
            let name = missing.as_str();
            let message = format!("nobody hands on more than they hold, and this lacks `{name}`");
            let details = json!({ "permission": name });
            Err(Error::new("insufficient_permissions", message).with_details(details))
        }
        None => Ok(asked.into_iter().collect()),
    }
}
