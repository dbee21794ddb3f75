//! Issuers that a tenant has its members log in at, and roles by what those say.
//!
//! Whoever owns a tenant decides what its issuers say, about any address. So what they say counts
//! in that tenant and in nothing else: a login there makes a session that enters no other tenant,
//! changes nothing about the account, and never acts as an owner.
//!
//! Invariants: an issuer is kept only after it has described itself through the egress policy; an
//! identity is a tenant, an issuer and a subject, so no tenant finds the identities of another, and
//! none of an operator's issuers; an account that exists is linked by its address only when it is a
//! member of the tenant already.

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use traaviis_engine::expr::{Env, Expr, Scope, Var};
use traaviis_model::{
    TenantCtx, TenantId, Text, Timestamp, UserId, Value,
    form::{DOMAINS_MAX, RULE_CHARS_MAX, RULES_MAX, URL_CHARS_MAX},
    permission::Role,
    tenant::PLATFORM,
};
use traaviis_policy::plan::Metric;
pub use traaviis_ports::Secret;
use traaviis_ports::vault::{Place, Unsealed};
use url::{Host, Url};

use super::{FAILED, Issuer, failed, id_token::Claims, is_in};
use crate::{
    accounts::{LoggedIn, name_of},
    audit::{Act, Via},
    caller::{Entered, as_user, role_of},
    error::Error,
    factor::{IDENTITIES_MAX, Identity},
    ledger::{Document, Versioned},
    platform::{Platform, engine},
    session::{Confined, Session},
    tenant::{Member, MemberStatus, Tenant, TenantStatus},
    user::{self, Personal, PlatformRole, User, UserStatus},
};

/// Issuers of one tenant: one for each company that was bought is plenty.
pub const ISSUERS_MAX: usize = 10;
/// Characters of the name of an issuer, of an id at it, and of a secret.
const NAME_CHARS_MAX: usize = 40;

/// Who gets which role: the first rule that holds counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// An expression over `value`, the claims of the ID token.
    pub when: String,
    /// Word of a role, or the id of one that the tenant has made; never `owner`.
    pub role: Text,
}

/// An issuer of a tenant, as it rests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TenantIssuer {
    /// Name in addresses.
    pub name: Text,
    /// What it calls itself.
    pub url: String,
    /// What it calls this installation.
    pub client_id: String,
    /// What it knows this installation by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SealedSecret>,
    /// Domains of the addresses that it brings; others are refused.
    pub domains: Vec<String>,
    /// Who gets which role.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// Role of whom no rule is about; without one they stay outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub otherwise: Option<Text>,
    /// When it has described itself last.
    pub verified_at: Timestamp,
}

/// A secret as it rests. Each has a key of its own, which is destroyed with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedSecret {
    id: Text,
    sealed: Text,
}

impl Document for TenantIssuer {
    const KIND: &'static str = "issuer";

    fn id(&self) -> Text {
        self.name.clone()
    }
}

/// An issuer that is asked for.
#[derive(Clone, Debug)]
pub struct IssuerAsk {
    /// What it calls itself.
    pub url: String,
    /// What it calls this installation.
    pub client_id: String,
    /// What it knows this installation by; the one before stays when it is absent.
    pub client_secret: Option<Secret>,
    /// Domains.
    pub domains: Vec<String>,
    /// Who gets which role.
    pub rules: Vec<Rule>,
    /// Role of whom no rule is about.
    pub otherwise: Option<Text>,
}

/// Claims, as expressions read them.
struct Said(Value);

impl Env for Said {
    fn var(&self, var: Var) -> Option<Value> {
        (var == Var::Value).then(|| self.0.clone())
    }

    fn random_seed(&self) -> (u64, u64) {
        // The same claims give the same role.
        (0, 0)
    }
}

impl IssuerAsk {
    fn check(&self) -> Result<(), Error> {
        let url = Url::parse(&self.url).ok();
        let is_good = |it: &Url| {
            let is_local = match it.host() {
                Some(Host::Domain(name)) => name == "localhost",
                Some(Host::Ipv4(addr)) => addr.is_loopback(),
                Some(Host::Ipv6(addr)) => addr.is_loopback(),
                None => false,
            };
            // One on this machine is reached only where the operator has listed it.
            let is_safe = it.scheme() == "https" || (it.scheme() == "http" && is_local);
            is_safe && it.query().is_none() && it.fragment().is_none()
        };
        if self.url.len() > URL_CHARS_MAX || !url.as_ref().is_some_and(is_good) {
            let rule = "this is the issuer as it calls itself: https, without a query";
            return Err(Error::invalid("/url", rule));
        }
        let is_text = |it: &str| (1..=URL_CHARS_MAX).contains(&it.len());
        if !is_text(&self.client_id) || self.client_id.chars().any(char::is_control) {
            return Err(Error::invalid("/client_id", "this is what the issuer calls you"));
        }
        if self.client_secret.as_ref().is_some_and(|it| !is_text(it.expose())) {
            let rule = format!("a secret has 1 to {URL_CHARS_MAX} bytes");
            return Err(Error::invalid("/client_secret", rule));
        }
        if self.domains.is_empty() || self.domains.len() > DOMAINS_MAX {
            let rule = format!("name 1 to {DOMAINS_MAX} domains of the addresses that it brings");
            return Err(Error::invalid("/domains", rule));
        }
        for (at, domain) in self.domains.iter().enumerate() {
            if user::email(&format!("x@{domain}")).is_err() || domain.contains('*') {
                let rule = "this is a domain, such as `acme.example`";
                return Err(Error::invalid(&format!("/domains/{at}"), rule));
            }
        }
        if self.rules.len() > RULES_MAX {
            let rule = format!("an issuer has at most {RULES_MAX} rules");
            return Err(Error::invalid("/rules", rule));
        }
        if self.rules.is_empty() && self.otherwise.is_none() {
            let rule = "without a rule and without `otherwise` nobody could come in";
            return Err(Error::invalid("/rules", rule));
        }
        for (at, rule) in self.rules.iter().enumerate() {
            let pointer = format!("/rules/{at}/when");
            if rule.when.chars().count() > RULE_CHARS_MAX {
                let why = format!("a rule has at most {RULE_CHARS_MAX} characters");
                return Err(Error::invalid(&pointer, why));
            }
            Expr::parse(&rule.when, Scope::VALUE)
                .map_err(|error| Error::invalid(&pointer, error.to_string()))?;
        }
        Ok(())
    }

    /// Returns the roles that it gives, each with its place.
    fn roles(&self) -> impl Iterator<Item = (String, &Text)> {
        let rules = self.rules.iter().enumerate();
        let rules = rules.map(|(at, it)| (format!("/rules/{at}/role"), &it.role));
        rules.chain(self.otherwise.iter().map(|it| ("/otherwise".to_owned(), it)))
    }
}

impl TenantIssuer {
    /// Returns the role that claims give.
    fn role(&self, claims: &Claims) -> Option<&Text> {
        let said = Said(said(claims));
        // A rule about a claim that is not there does not hold.
        let holds = |it: &&Rule| {
            let rule = Expr::parse(&it.when, Scope::VALUE).ok();
            rule.is_some_and(|it| it.eval_bool(&said).unwrap_or(false))
        };
        self.rules.iter().find(holds).map(|it| &it.role).or(self.otherwise.as_ref())
    }
}

/// Returns claims as rules read them.
fn said(claims: &Claims) -> Value {
    let mut all = claims.others.clone();
    all.insert("sub".into(), json!(claims.sub));
    all.insert("email".into(), json!(claims.email));
    all.insert("email_verified".into(), json!(claims.email_verified));
    all.insert("name".into(), json!(claims.name));
    all.insert("amr".into(), json!(claims.amr));
    Value::from(&Json::Object(all))
}

/// Returns where alone a session counts that an issuer of a tenant vouches for.
pub(super) fn confined(tenant_id: TenantId, issuer: &Issuer) -> Confined {
    let own = issuer.name.rsplit('.').next().unwrap_or_default();
    Confined { tenant_id, issuer: own.into() }
}

/// Returns who a subject of an issuer of a tenant is. An operator's issuer is an address, so none
/// of them is called like this.
fn identity(tenant: TenantId, url: &str, subject: &str) -> Identity {
    Identity { issuer: format!("tenant:{tenant} {url}"), subject: subject.to_owned() }
}

fn subject_of(secret: &str) -> String {
    format!("issuer:{secret}")
}

fn absent(name: &str) -> Error {
    Error::not_found("issuer", name)
}

impl Platform {
    /// Returns the issuers of a tenant, by name.
    pub fn tenant_issuers(&self, entered: &Entered) -> Result<Vec<Versioned<TenantIssuer>>, Error> {
        self.ledgers.read(&entered.ctx, |it| it.list::<TenantIssuer>(""))
    }

    /// Sets an issuer of a tenant, once it has described itself. Sessions that began at what was
    /// there before end.
    pub fn set_tenant_issuer(
        &self,
        entered: &Entered,
        name: &str,
        ask: IssuerAsk,
    ) -> Result<Versioned<TenantIssuer>, Error> {
        let is_letter = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-';
        if !(1..=NAME_CHARS_MAX).contains(&name.len()) || !name.chars().all(is_letter) {
            let rule = format!("a name has 1 to {NAME_CHARS_MAX} of a-z, 0-9 and `-`");
            return Err(Error::invalid("/name", rule));
        }
        ask.check()?;
        let (tenant, now) = (self.tenant(&entered.ctx)?.it, self.now());
        let domains: Vec<String> = ask.domains.iter().map(|it| it.to_lowercase()).collect();
        let issuer = Issuer {
            name: format!("{}.{name}", tenant.slug),
            tenant: Some(tenant.id),
            url: ask.url.clone(),
            client_id: ask.client_id.clone(),
            client_secret: None,
            domains: domains.clone(),
        };
        // Only what describes itself as it is written down is kept.
        self.elsewhere.describe_anew(&issuer, now).inspect_err(|error| {
            let act = Act::done("issuer.set", TenantIssuer::KIND, name).failed();
            let act = act.with(json!({ "code": error.code }));
            self.note_refusal(&entered.ctx, &entered.via, act);
        })?;
        let sealed = ask.client_secret.as_ref().map(|it| self.seal_secret(tenant.id, it));
        let sealed = sealed.transpose()?;
        let gone = self.ledgers.change(&entered.ctx, &entered.via, |documents, changes| {
            for (pointer, role) in ask.roles() {
                let known = role_of(documents, role);
                let known = known.map_err(|_| Error::invalid(&pointer, "there is no such role"))?;
                if known.0 == Role::Owner {
                    let rule = "ownership is handed over by an owner, not by an issuer";
                    return Err(Error::invalid(&pointer, rule));
                }
            }
            let before = documents.get::<TenantIssuer>(name)?;
            if before.is_none() && documents.count::<TenantIssuer>() >= ISSUERS_MAX {
                let message = format!("a tenant has at most {ISSUERS_MAX} issuers");
                return Err(Error::new("quota_exceeded", message));
            }
            // A secret is for whom it was given: another issuer must not be told it.
            let is_same = |it: &TenantIssuer| it.url == ask.url && it.client_id == ask.client_id;
            let (kept, gone) = match before {
                Some(it) if sealed.is_none() && is_same(&it) => (it.secret, None),
                Some(it) => (sealed, it.secret),
                None => (sealed, None),
            };
            changes.put(&TenantIssuer {
                name: name.into(),
                url: ask.url.clone(),
                client_id: ask.client_id.clone(),
                secret: kept,
                domains: domains.clone(),
                rules: ask.rules.clone(),
                otherwise: ask.otherwise.clone(),
                verified_at: now,
            });
            let act = Act::done("issuer.set", TenantIssuer::KIND, name);
            changes.act(act.with(json!({
                "domains": domains, "rules": ask.rules.len(),
            })));
            Ok(gone)
        })?;
        self.destroy_secret(tenant.id, gone)?;
        self.end_confined(tenant.id, name)?;
        let found = self.ledgers.get::<TenantIssuer>(&entered.ctx, name)?;
        found.ok_or_else(|| absent(name))
    }

    /// Removes an issuer of a tenant: its secret is destroyed, and sessions that began there end.
    pub fn remove_tenant_issuer(&self, entered: &Entered, name: &str) -> Result<(), Error> {
        let gone = self.ledgers.change(&entered.ctx, &entered.via, |documents, changes| {
            let found = documents.get::<TenantIssuer>(name)?.ok_or_else(|| absent(name))?;
            changes.remove::<TenantIssuer>(name);
            changes.act(Act::done("issuer.removed", TenantIssuer::KIND, name));
            Ok(found.secret)
        })?;
        self.destroy_secret(entered.ctx.tenant(), gone)?;
        self.end_confined(entered.ctx.tenant(), name)
    }

    fn seal_secret(&self, tenant: TenantId, secret: &Secret) -> Result<SealedSecret, Error> {
        let (keeper, id) = (TenantCtx::keeper_of(tenant), self.fresh_id()?.to_string());
        let subject = subject_of(&id);
        let place = Place { subject: &subject, kind: TenantIssuer::KIND, id: &id };
        let sealed = self.vault.seal(&keeper, place, secret.expose().as_bytes(), self.now())?;
        Ok(SealedSecret { id: id.into(), sealed })
    }

    fn destroy_secret(&self, tenant: TenantId, gone: Option<SealedSecret>) -> Result<(), Error> {
        let Some(gone) = gone else { return Ok(()) };
        let keeper = TenantCtx::keeper_of(tenant);
        Ok(self.vault.destroy(&keeper, &subject_of(&gone.id), self.now())?)
    }

    /// Ends the sessions that an issuer of a tenant vouches for.
    fn end_confined(&self, tenant: TenantId, name: &str) -> Result<(), Error> {
        let ends = |it: &Confined| it.tenant_id == tenant && *it.issuer == *name;
        self.ledgers.change(&TenantCtx::platform(), &engine(), |documents, changes| {
            for session in documents.list::<Session>("")? {
                if session.it.confined.as_ref().is_some_and(ends) {
                    changes.remove::<Session>(&session.it.id());
                    let id = session.it.id.to_string();
                    changes.act(Act::done("session.ended", Session::KIND, id));
                }
            }
            Ok(())
        })
    }

    /// Finds an issuer of an active tenant by the short name of the tenant.
    pub(super) fn tenant_issuer(&self, slug: &str, own: &str) -> Result<Option<Issuer>, Error> {
        let Some(id) = self.lookup(|it| it.slug(slug)) else { return Ok(None) };
        let keeper = TenantCtx::keeper_of(id);
        let found = self.ledgers.read(&keeper, |documents| {
            let tenant = documents.get::<Tenant>("tenant")?;
            let is_active = tenant.is_some_and(|it| it.status == TenantStatus::Active);
            let issuer = documents.get::<TenantIssuer>(own)?;
            Ok::<_, Error>(issuer.filter(|_| is_active))
        })?;
        let Some(found) = found else { return Ok(None) };
        let client_secret = match &found.secret {
            None => None,
            Some(SealedSecret { id, sealed }) => {
                let subject = subject_of(id);
                let place = Place { subject: &subject, kind: TenantIssuer::KIND, id };
                match self.vault.open(&keeper, place, sealed)? {
                    Unsealed::Plain(secret) => {
                        Some(Secret::new(String::from_utf8_lossy(&secret).into_owned()))
                    }
                    Unsealed::Erased => return Ok(None),
                }
            }
        };
        let (name, tenant) = (format!("{slug}.{own}"), Some(id));
        let TenantIssuer { url, client_id, domains, .. } = found;
        Ok(Some(Issuer { name, tenant, url, client_id, client_secret, domains }))
    }

    /// Finds the member whom an issuer of a tenant names, or makes one, and gives them the role
    /// that its claims stand for.
    pub(super) fn member_elsewhere(
        &self,
        tenant: TenantId,
        issuer: &Issuer,
        claims: &Claims,
        via: &Via,
    ) -> Result<UserId, Error> {
        let own = confined(tenant, issuer).issuer;
        let keeper = TenantCtx::keeper_of(tenant);
        let found = self.ledgers.read(&keeper, |it| it.get::<TenantIssuer>(&own))?;
        let found = found.filter(|it| it.url == issuer.url).ok_or_else(|| absent(&own))?;
        let email = claims.confirmed_email()?;
        if !is_in(&email, &found.domains) {
            return Err(failed("this issuer brings no addresses of this domain"));
        }
        let role = found.role(claims).cloned();
        let role = role.ok_or_else(|| failed("no rule of the tenant gives you a role"))?;
        let identity = identity(tenant, &issuer.url, &claims.sub);
        let known = self.lookup(|it| it.identity(&identity.issuer, &identity.subject));
        let user = match known {
            Some(user) => user,
            None => self.known_by_address(tenant, &identity, (&email, claims), via)?,
        };
        self.give_role(tenant, user, &role, &own, via)?;
        Ok(user)
    }

    /// Finds the member with an address, or makes a user with it; notes who they are at the issuer.
    fn known_by_address(
        &self,
        tenant: TenantId,
        identity: &Identity,
        (email, claims): (&str, &Claims),
        via: &Via,
    ) -> Result<UserId, Error> {
        let Some(user) = self.lookup(|it| it.user(email)) else {
            let name = claims.name.as_deref().and_then(|it| user::name(it).ok());
            let mut personal =
                Personal::new(email.to_owned(), name.unwrap_or_else(|| name_of(email)));
            personal.factors.identities.push(identity.clone());
            // The address is confirmed for this tenant alone; without a password nobody comes in
            // elsewhere, and whoever owns the address resets it.
            let (role, status) = (PlatformRole::User, UserStatus::Active);
            return self.new_user_who(&personal, role, status, via);
        };
        let keeper = TenantCtx::keeper_of(tenant);
        let member = self.ledgers.read(&keeper, |it| it.get::<Member>(&user.to_string()))?;
        if member.is_none() {
            let message = "there is an account with your e-mail address that is not in this \
                           tenant; log in to it and accept an invitation first";
            return Err(Error::new("already_exists", message));
        }
        self.ledgers.change(&as_user(PLATFORM, user), via, |documents, changes| {
            let (mut found, mut personal) = self.person(documents, user)?;
            let identities = &mut personal.factors.identities;
            if identities.len() >= IDENTITIES_MAX {
                let message = format!("one user logs in at most {IDENTITIES_MAX} ways elsewhere");
                return Err(Error::new("quota_exceeded", message));
            }
            identities.push(identity.clone());
            self.put_person(changes, &mut found, &personal)?;
            let act = Act::done("identity.linked", User::KIND, found.id());
            changes.act(act.with(json!({ "tenant": tenant })));
            Ok(())
        })?;
        Ok(user)
    }

    /// Lets somebody into a tenant with a role, or gives them another one than they have.
    fn give_role(
        &self,
        tenant: TenantId,
        user: UserId,
        role: &Text,
        issuer: &Text,
        via: &Via,
    ) -> Result<(), Error> {
        self.ledgers.change(&as_user(tenant, user), via, |documents, changes| {
            let outside = |why: &str| Err(Error::new(FAILED, why.to_owned()));
            match role_of(documents, role) {
                Ok((Role::Owner, ..)) | Err(_) => {
                    return outside("the role that the tenant gives you is not there any more");
                }
                Ok(_) => {}
            }
            let id = user.to_string();
            let member = match documents.get::<Member>(&id)? {
                Some(member) if member.status != MemberStatus::Active => {
                    return outside("you are suspended in this tenant");
                }
                Some(member) if *member.role == *Role::Owner.as_str() => {
                    return outside("an owner logs in to the account itself");
                }
                Some(member) if member.role == *role => None,
                // What was given by hand was given to the role of before.
                Some(member) => Some(Member {
                    role: role.clone(),
                    permissions: None,
                    data_access: None,
                    ..member
                }),
                None => {
                    let count = documents.count::<Member>() as u64;
                    self.admit(documents, Metric::Members, count)?;
                    Some(Member {
                        user_id: user,
                        role: role.clone(),
                        permissions: None,
                        data_access: None,
                        status: MemberStatus::Active,
                        joined_at: self.now(),
                        invited_by: None,
                    })
                }
            };
            let is_changed = member.is_some();
            if let Some(member) = &member {
                changes.put(member);
            }
            let act = Act::done("member.logged_in_elsewhere", Member::KIND, id);
            let facts = json!({ "issuer": issuer, "role": role, "role_given": is_changed });
            changes.act(act.with(facts));
            Ok(())
        })
    }

    /// Begins a session that counts in one tenant alone.
    pub(super) fn begin_confined(
        &self,
        user: UserId,
        confined: Confined,
        amr: &[&str],
        via: &Via,
    ) -> Result<LoggedIn, Error> {
        let keeper = TenantCtx::keeper_of(confined.tenant_id);
        let issuer = self.ledgers.read(&keeper, |it| it.get::<TenantIssuer>(&confined.issuer))?;
        // It may have been removed since.
        issuer.ok_or_else(|| absent(&confined.issuer))?;
        let tenant = Some(confined.tenant_id);
        self.begin_session_in(user, tenant, Some(confined), amr, via)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(rules: &[(&str, &str)]) -> IssuerAsk {
        let rules = rules.iter().map(|it| Rule { when: it.0.into(), role: it.1.into() });
        IssuerAsk {
            url: "https://login.acme.example".into(),
            client_id: "traaviis".into(),
            client_secret: None,
            domains: vec!["acme.example".into()],
            rules: rules.collect(),
            otherwise: None,
        }
    }

    #[test]
    fn what_is_no_issuer_is_refused_at_its_place() {
        let good = ask(&[("'ops' in value.groups", "admin")]);
        assert!(good.check().is_ok());
        for local in ["http://127.0.0.1:9", "http://localhost:9", "http://[::1]:9"] {
            assert!(IssuerAsk { url: local.into(), ..good.clone() }.check().is_ok(), "{local}");
        }
        let with_url = |url: &str| IssuerAsk { url: url.into(), ..good.clone() };
        let with_domains = |all: &[&str]| {
            let domains = all.iter().map(|it| (*it).to_owned()).collect();
            IssuerAsk { domains, ..good.clone() }
        };
        for (bad, place) in [
            (with_url("http://login.acme.example"), "/url"),
            (with_url("https://a.example?x=1"), "/url"),
            (with_url("https://a.example#x"), "/url"),
            (with_url("ftp://127.0.0.1"), "/url"),
            (with_url("login"), "/url"),
            (IssuerAsk { client_id: String::new(), ..good.clone() }, "/client_id"),
            (with_domains(&[]), "/domains"),
            (with_domains(&["acme.example", "*.example"]), "/domains/1"),
            (with_domains(&["example"]), "/domains/0"),
            (with_domains(&["a@b.example"]), "/domains/0"),
            (ask(&[]), "/rules"),
            (ask(&[("value.groups ==", "admin")]), "/rules/0/when"),
            (ask(&[("data.x == 1", "admin")]), "/rules/0/when"),
            (ask(&[("secret(\"x\") == \"y\"", "admin")]), "/rules/0/when"),
        ] {
            let error = bad.check().unwrap_err();
            assert_eq!(error.details["errors"][0]["pointer"], place, "{bad:?}: {error}");
        }
    }

    #[test]
    fn the_first_rule_that_holds_gives_the_role() {
        let rules = [
            ("'root' in value.groups", "admin"),
            ("value.groups.exists(it, it.startsWith('dev-'))", "developer"),
            ("value.department == 'audit' && value.sub != 'eve'", "viewer"),
        ];
        let issuer = |otherwise: Option<&str>| TenantIssuer {
            name: "sso".into(),
            url: String::new(),
            client_id: String::new(),
            secret: None,
            domains: Vec::new(),
            rules: ask(&rules).rules,
            otherwise: otherwise.map(Text::from),
            verified_at: Timestamp(0),
        };
        for (claims, role) in [
            (json!({ "groups": ["root", "dev-x"] }), Some("admin")),
            (json!({ "groups": ["dev-x"] }), Some("developer")),
            (json!({ "groups": ["devs"], "department": "audit" }), Some("viewer")),
            // What is not there, or of another kind, gives nothing, and is no failure.
            (json!({ "department": "audit" }), Some("viewer")),
            (json!({ "groups": 7 }), None),
            (json!({ "groups": "root" }), None),
            (json!({}), None),
        ] {
            let mut whole = json!({
                "iss": "i", "sub": "ada", "aud": "a", "exp": 1, "iat": 1, "nonce": "n",
            });
            for (name, value) in claims.as_object().unwrap() {
                whole[name] = value.clone();
            }
            let claims: Claims = serde_json::from_value(whole).unwrap();
            let given = issuer(None).role(&claims).map(|it| it.to_string());
            assert_eq!(given.as_deref(), role, "{claims:?}");
            let given = issuer(Some("viewer")).role(&claims).map(|it| it.to_string());
            assert_eq!(given.as_deref(), role.or(Some("viewer")), "{claims:?}");
        }
    }

    #[test]
    fn no_tenant_names_the_identities_of_another() {
        let (a, b) = (TenantId(uuid::Uuid::from_u128(1)), TenantId(uuid::Uuid::from_u128(2)));
        let url = "https://login.acme.example";
        assert_ne!(identity(a, url, "ada"), identity(b, url, "ada"));
        // An operator's issuer is read as an address, and this is none with a host.
        let named = identity(a, url, "ada").issuer;
        assert!(Url::parse(&named).ok().is_none_or(|it| !it.has_host()), "{named}");
    }
}
