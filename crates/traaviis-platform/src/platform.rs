//! The platform: everything that use cases share, and what is looked up by something other than an
//! id.
//!
//! [`Platform`] is opened once and shared. Its lookups (e-mail to user, user to tenants, short name
//! and key to tenant) are made from the documents of the ledgers and kept up by their changes.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::Deserialize as _;
use traaviis_model::{
    ApiKeyId, Span, TenantCtx, TenantId, Text, Timestamp, UserId, Zone, tenant::PLATFORM, zone::UTC,
};
use traaviis_policy::{countries::Countries, plan::Plan, spending::Ceilings};
use traaviis_ports::{
    Clock, DocumentStore, LogStore,
    vault::{Place, Unsealed, Vault},
};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::{
    alert_rules::{ALERT_MAIL, AlertRule, follow::Feed, tell::Writing},
    attempts::Attempts,
    audit::{Act, SILENT, Via},
    auditing::Auditing,
    budgets::Budgets,
    deleted::Deleted,
    entropy::Entropy,
    error::Error,
    factor::key_of,
    flags::{FlagSet, Flags},
    jobs::Job,
    key_use::KeyUse,
    ledger::{Document, Ledgers, OnChange},
    letters::Letters,
    mail::{MailCounts, Outbox},
    meters::Meters,
    mfa::{ENROLMENT_LIFE, Enrolment},
    oidc::Elsewhere,
    operating::Maintenance,
    passkeys::Passkeys,
    password::{self, Hasher},
    pending::Pending,
    session::{REUSE_GRACE, Session},
    standing_alerts::StandingAlerts,
    storage::Scales,
    tenant::{ApiKey, Member, Slug, TIMEZONE, Tenant},
    token::{KEY_LIFE, Signer, SigningKey, make_key},
    usage::UsageCounts,
    user::User,
    webhooks::Webhook,
};

/// What an operator decides.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Issuer of access tokens: the address under which the platform is reached.
    pub issuer: String,
    /// What stays of the issuer where its port is another one at each start: tokens of before, of
    /// any port, stay good.
    pub lasting_issuer: Option<String>,
    /// Audience of access tokens.
    pub audience: String,
    /// Life of an access token.
    pub access_ttl: Span,
    /// Longest life of a session.
    pub session_ttl: Span,
    /// A session that is not used for so long ends.
    pub session_idle: Span,
    /// Shortest password.
    pub password_chars_min: usize,
    /// Whether a new user must confirm the address before logging in.
    pub require_email_verification: bool,
    /// Plan of new tenants, and of what belongs to none.
    pub default_plan: Plan,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            issuer: "http://127.0.0.1:4000".into(),
            lasting_issuer: None,
            audience: "traaviis".into(),
            access_ttl: Span::secs(15 * 60),
            session_ttl: Span::secs(30 * 24 * 3_600),
            session_idle: Span::secs(24 * 3_600),
            password_chars_min: password::CHARS_MIN,
            require_email_verification: false,
            default_plan: Plan::SelfHosted,
        }
    }
}

/// What the platform reaches the world by.
pub struct Ways {
    /// The log.
    pub log: Arc<dyn LogStore>,
    /// Documents.
    pub documents: Arc<dyn DocumentStore>,
    /// Keys.
    pub vault: Arc<dyn Vault>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub entropy: Entropy,
}

/// What is looked up.
#[derive(Debug, Default)]
pub(crate) struct Lookups {
    by_email: HashMap<String, UserId>,
    emails: HashMap<UserId, String>,
    tenants_of: HashMap<UserId, BTreeSet<TenantId>>,
    slugs: HashMap<Text, TenantId>,
    keys: HashMap<ApiKeyId, TenantId>,
    by_identity: HashMap<[u8; 32], UserId>,
    identities: HashMap<UserId, Vec<[u8; 32]>>,
    admins: BTreeSet<UserId>,
    plans: HashMap<TenantId, Plan>,
    /// Of tenants that have chosen one.
    zones: HashMap<TenantId, (Text, Zone)>,
    budgets: HashMap<TenantId, Ceilings>,
    alert_rules: BTreeSet<(TenantId, Text)>,
    alert_mails: BTreeSet<(TenantId, Text)>,
    maintenance: Option<Maintenance>,
    open_jobs: BTreeSet<(TenantId, Text)>,
    webhooks: BTreeSet<(TenantId, Text)>,
    deleted: BTreeSet<(TenantId, Text)>,
}

/// Everything that use cases share.
pub struct Platform {
    pub(crate) ledgers: Ledgers,
    pub(crate) vault: Arc<dyn Vault>,
    pub(crate) entropy: Entropy,
    pub(crate) hasher: Hasher,
    pub(crate) signer: Signer,
    pub(crate) attempts: Attempts,
    pub(crate) settings: Settings,
    /// What the audit trails are kept up with.
    pub(crate) auditing: Auditing,
    pub(crate) outbox: Outbox,
    pub(crate) letters: Letters,
    pub(crate) enrolments: Pending<Enrolment>,
    /// Refresh tokens that took the place of others a moment ago, by the hash of the other.
    pub(crate) successors: Pending<String>,
    pub(crate) passkeys: Passkeys,
    pub(crate) elsewhere: Elsewhere,
    pub(crate) key_use: KeyUse,
    pub(crate) usage: UsageCounts,
    pub(crate) scales: Scales,
    pub(crate) feed: Mutex<Feed>,
    pub(crate) standing: Mutex<StandingAlerts>,
    pub(crate) writing: Mutex<Writing>,
    pub(crate) flags: Flags,
    /// Where addresses belong, where a list tells.
    pub(crate) countries: Countries,
    lookups: Arc<RwLock<Lookups>>,
    changes: Arc<AtomicU64>,
    listener: Arc<OnceLock<OnChange>>,
}

impl fmt::Debug for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Platform").finish_non_exhaustive()
    }
}

impl Platform {
    /// Opens the platform of a data directory, and makes what it needs to begin.
    pub fn open(ways: Ways, settings: Settings) -> Result<Platform, Error> {
        let Ways { log, documents, vault, clock, entropy } = ways;
        let lookups: Arc<RwLock<Lookups>> = Arc::default();
        let (kept_up, opens) = (Arc::clone(&lookups), Arc::clone(&vault));
        let changes: Arc<AtomicU64> = Arc::default();
        let counted = Arc::clone(&changes);
        let listener: Arc<OnceLock<OnChange>> = Arc::default();
        let listens = Arc::clone(&listener);
        let flags = Flags::default();
        let flags_kept_up = flags.clone();
        let on_change: OnChange = Box::new(move |tenant, puts, entries| {
            let mut lookups = kept_up.write().unwrap_or_else(PoisonError::into_inner);
            for (kind, id, body) in puts {
                lookups.put(tenant, kind, id, body.as_ref(), &*opens);
                if (&**kind, tenant) == (FlagSet::KIND, PLATFORM) {
                    flags_kept_up.put(id, body.as_ref());
                }
            }
            if puts.iter().any(|it| !SILENT.contains(&&*it.0)) {
                counted.fetch_add(1, Ordering::SeqCst);
            }
            drop(lookups);
            if let Some(listener) = listens.get() {
                listener(tenant, puts, entries);
            }
        });
        let ledgers = Ledgers::open(log, documents, clock, on_change)?;
        let signer = Signer::new(settings.issuer.clone(), settings.audience.clone());
        let signer = signer.lasting(settings.lasting_issuer.clone());
        let platform = Platform {
            ledgers,
            vault,
            hasher: Hasher::new(entropy.clone()),
            entropy,
            signer,
            attempts: Attempts::default(),
            passkeys: Passkeys::of(&settings.issuer),
            settings,
            auditing: Auditing::default(),
            outbox: Outbox::closed(),
            letters: Letters::default(),
            enrolments: Pending::new(ENROLMENT_LIFE),
            successors: Pending::new(REUSE_GRACE),
            elsewhere: Elsewhere::nowhere(),
            key_use: KeyUse::default(),
            usage: UsageCounts::default(),
            scales: Scales::default(),
            feed: Mutex::default(),
            standing: Mutex::default(),
            writing: Mutex::default(),
            flags,
            countries: Countries::default(),
            lookups,
            changes,
            listener,
        };
        platform.open_keys()?;
        platform.open_usage()?;
        Ok(platform)
    }

    /// Returns it with what carries mail; without, mail goes nowhere.
    #[must_use]
    pub fn with_outbox(self, outbox: Outbox) -> Platform {
        Platform { outbox, ..self }
    }

    /// Returns it with a list of countries, by which logins from new ones are told.
    #[must_use]
    pub fn with_countries(self, countries: Countries) -> Platform {
        Platform { countries, ..self }
    }

    /// Returns it with issuers elsewhere that people may log in at.
    #[must_use]
    pub fn with_issuers(self, elsewhere: Elsewhere) -> Platform {
        let egress = Arc::clone(&self.auditing.egress);
        Platform { elsewhere: elsewhere.noting(egress), ..self }
    }

    /// Returns what is counted for operators.
    pub fn meters(&self) -> &Meters {
        self.ledgers.meters()
    }

    /// Returns how mail went.
    pub fn mail_counts(&self) -> MailCounts {
        self.outbox.counts()
    }

    /// Returns the time.
    pub fn now(&self) -> Timestamp {
        self.ledgers.now()
    }

    /// Returns what the wall clock shows, for what somebody elsewhere dates by theirs: codes of an
    /// app, tokens of issuers, signatures of messages. Time here never goes back, so after a clock
    /// was wrong it may be ahead of them for long.
    pub(crate) fn wall(&self) -> Timestamp {
        self.ledgers.wall()
    }

    /// Returns the public halves of the signing keys.
    pub fn jwks(&self) -> serde_json::Value {
        self.signer.jwks()
    }

    /// Returns the tenants that nobody enters because the log has lost some of their documents,
    /// each with a sentence for operators.
    pub fn lost_tenants(&self) -> Vec<(TenantId, String)> {
        self.ledgers.lost()
    }

    /// Says whether anybody has registered.
    pub fn has_users(&self) -> bool {
        self.lookup(|it| !it.by_email.is_empty())
    }

    /// Returns the plan of a tenant, or of what belongs to none.
    pub fn plan_of(&self, tenant: Option<TenantId>) -> Plan {
        let found = tenant.and_then(|tenant| self.lookup(|it| it.plan(tenant)));
        found.unwrap_or(self.settings.default_plan)
    }

    /// Returns a number that is another one whenever rights may have changed.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// Has somebody told what has changed in ledgers, once it is durable. The ledger is held
    /// meanwhile, so it must be short, and wait for nothing. Only the first who asks is told.
    pub fn listen(&self, on_change: OnChange) {
        // Whoever comes later belongs to a second router over the same platform.
        let _ = self.listener.set(on_change);
    }

    /// Returns the settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn fresh_id(&self) -> Result<Uuid, Error> {
        self.entropy.uuid(self.now())
    }

    fn open_keys(&self) -> Result<(), Error> {
        let ctx = TenantCtx::platform();
        let keys = self.ledgers.read(&ctx, |it| it.list::<SigningKey>(""))?;
        for key in keys {
            let place = Place { subject: SIGNING, kind: SigningKey::KIND, id: &key.it.kid };
            match self.vault.open(&ctx, place, &key.it.sealed)? {
                Unsealed::Plain(private) => self.signer.add(key.it.clone(), &private)?,
                Unsealed::Erased => {}
            }
        }
        let keys = self.signer.keys();
        match keys.iter().any(SigningKey::signs) && keys.iter().any(SigningKey::is_next) {
            true => Ok(()),
            false => self.turn_keys(&engine(), Turn::Complete).map(drop),
        }
    }

    /// Lets the signing key sign that waits, and publishes the one to come; those before sign no
    /// more, and go once nothing that they have signed is good. Returns the id of the key that
    /// signs.
    pub fn rotate_keys(&self, via: &Via) -> Result<Text, Error> {
        self.turn_keys(via, Turn::Next)
    }

    fn turn_keys(&self, via: &Via, turn: Turn) -> Result<Text, Error> {
        // Made in any case, as what is missing is known only while nobody else changes it.
        let (spare, next) = (self.make_key()?, self.make_key()?);
        let (ctx, now) = (TenantCtx::platform(), self.now());
        let (all, gone) = self.ledgers.change(&ctx, via, |documents, changes| {
            let mut all: Vec<SigningKey> =
                documents.list::<SigningKey>("")?.into_iter().map(|it| it.it).collect();
            let is_gone = |it: &SigningKey| {
                it.retired_at.is_some_and(|at| now.since(at) > self.settings.access_ttl)
            };
            let gone: Vec<Text> =
                all.iter().filter(|it| is_gone(it)).map(|it| it.kid.clone()).collect();
            all.retain(|it| !is_gone(it));
            let before = all.clone();
            if turn == Turn::Next {
                all.iter_mut().filter(|it| it.signs()).for_each(|it| it.retired_at = Some(now));
                for it in all.iter_mut().filter(|it| it.is_next()) {
                    (it.waits, it.signs_since) = (false, Some(now));
                }
            }
            if !all.iter().any(SigningKey::signs) {
                all.push(spare.0.clone());
            }
            if !all.iter().any(SigningKey::is_next) {
                all.push(SigningKey { waits: true, ..next.0.clone() });
            }
            all.iter().filter(|it| !before.contains(it)).for_each(|it| changes.put(it));
            gone.iter().for_each(|it| changes.remove::<SigningKey>(it));
            let signs = all.iter().find(|it| it.signs() && !before.contains(it));
            let act = match signs {
                Some(it) => Act::done("signing_key.rotated", "signing_key", it.kid.clone()),
                None => Act::done("signing_key.published", "signing_key", next.0.kid.clone()),
            };
            changes.act(act);
            Ok((all, gone))
        })?;
        for (made, private) in [&spare, &next] {
            if let Some(kept) = all.iter().find(|it| it.kid == made.kid) {
                self.signer.add(kept.clone(), private)?;
            }
        }
        all.iter().for_each(|it| self.signer.note(it));
        gone.iter().for_each(|it| self.signer.remove(it));
        let signs = all.into_iter().rev().find(SigningKey::signs);
        signs.map(|it| it.kid).ok_or_else(|| Error::new("internal", "there is no signing key"))
    }

    /// Makes a signing key, sealed as it rests, and its private half.
    fn make_key(&self) -> Result<(SigningKey, Zeroizing<Vec<u8>>), Error> {
        let (private, x) = make_key()?;
        let (ctx, made_at) = (TenantCtx::platform(), self.now());
        let kid: Text = self.fresh_id()?.to_string().into();
        let place = Place { subject: SIGNING, kind: SigningKey::KIND, id: &kid };
        let sealed = self.vault.seal(&ctx, place, &private, made_at)?;
        let (waits, signs_since, retired_at) = (false, None, None);
        Ok((SigningKey { kid, x, sealed, made_at, waits, signs_since, retired_at }, private))
    }

    /// Ends keys that sign no more: nothing that they have signed is good from now on.
    pub fn end_retired_keys(&self, via: &Via) -> Result<(), Error> {
        let gone = self.ledgers.change(&TenantCtx::platform(), via, |documents, changes| {
            let all = documents.list::<SigningKey>("")?.into_iter().map(|it| it.it);
            let gone: Vec<Text> =
                all.filter(|it| it.retired_at.is_some()).map(|it| it.kid).collect();
            for kid in &gone {
                changes.remove::<SigningKey>(kid);
                changes.act(Act::done("signing_key.ended", "signing_key", kid.clone()));
            }
            Ok(gone)
        })?;
        gone.iter().for_each(|it| self.signer.remove(it));
        Ok(())
    }

    /// Replaces the signing key when its time is over; called from time to time.
    pub fn rotate_keys_when_due(&self) -> Result<(), Error> {
        let keys = self.signer.keys();
        let newest = keys.iter().rev().find(|it| it.signs());
        match newest.is_none_or(|it| it.age(self.now()) > KEY_LIFE) {
            true => self.rotate_keys(&engine()).map(drop),
            false => Ok(()),
        }
    }

    /// Ends sessions whose time is over; called from time to time. Returns how many.
    pub fn end_old_sessions(&self) -> Result<usize, Error> {
        let (now, idle) = (self.now(), self.settings.session_idle);
        self.ledgers.change(&TenantCtx::platform(), &engine(), |documents, changes| {
            let sessions = documents.list::<Session>("")?;
            let over: Vec<Session> =
                sessions.into_iter().map(|it| it.it).filter(|it| it.is_over(idle, now)).collect();
            over.iter().for_each(|it| changes.remove::<Session>(&it.id()));
            Ok(over.len())
        })
    }

    pub(crate) fn lookup<T>(&self, ask: impl FnOnce(&Lookups) -> T) -> T {
        ask(&self.lookups.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What is done to signing keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Makes what is missing: one that signs, one that waits.
    Complete,
    /// Lets the one that waits sign, and makes the next.
    Next,
}

/// Subject whose key seals signing keys.
const SIGNING: &str = "platform:signing";

/// The way of what the platform does by itself.
pub(crate) fn engine() -> Via {
    Via { way: "engine", ..Via::default() }
}

/// Keeps a set as what is there.
fn keep_up<T: Ord>(set: &mut BTreeSet<T>, it: T, is_there: bool) {
    match is_there {
        true => drop(set.insert(it)),
        false => drop(set.remove(&it)),
    }
}

impl Lookups {
    pub fn user(&self, email: &str) -> Option<UserId> {
        self.by_email.get(email).copied()
    }

    pub fn identity(&self, issuer: &str, subject: &str) -> Option<UserId> {
        self.by_identity.get(&key_of(issuer, subject)).copied()
    }

    pub fn tenants(&self, user: UserId) -> Vec<TenantId> {
        self.tenants_of.get(&user).map(|it| it.iter().copied().collect()).unwrap_or_default()
    }

    pub fn slug(&self, slug: &str) -> Option<TenantId> {
        self.slugs.get(slug).copied()
    }

    pub fn key(&self, key: ApiKeyId) -> Option<TenantId> {
        self.keys.get(&key).copied()
    }

    pub fn plan(&self, tenant: TenantId) -> Option<Plan> {
        self.plans.get(&tenant).copied()
    }

    /// Returns the time zone of a tenant, and its name.
    pub fn zone(&self, tenant: TenantId) -> (Text, Zone) {
        self.zones.get(&tenant).cloned().unwrap_or_else(|| (UTC.into(), Zone::utc()))
    }

    /// Returns the tenants that have a plan.
    pub fn with_plans(&self) -> Vec<(TenantId, Plan)> {
        self.plans.iter().map(|it| (*it.0, *it.1)).collect()
    }

    pub fn budgets(&self, tenant: TenantId) -> Option<Ceilings> {
        self.budgets.get(&tenant).copied()
    }

    /// Returns the tenants that have budgets.
    pub fn with_budgets(&self) -> Vec<TenantId> {
        self.budgets.keys().copied().collect()
    }

    /// Returns the tenants that have rules for alerts.
    pub fn with_rules(&self) -> BTreeSet<TenantId> {
        self.alert_rules.iter().map(|it| it.0).collect()
    }

    /// Returns the tenants of which people are still to be written.
    pub fn with_mails(&self) -> BTreeSet<TenantId> {
        self.alert_mails.iter().map(|it| it.0).collect()
    }

    /// Returns whether changes are refused.
    pub fn maintenance(&self) -> Option<&Maintenance> {
        self.maintenance.as_ref()
    }

    /// Returns who looks after the platform.
    pub fn admins(&self) -> &BTreeSet<UserId> {
        &self.admins
    }

    /// Returns the jobs that are not over.
    pub fn open_jobs(&self) -> &BTreeSet<(TenantId, Text)> {
        &self.open_jobs
    }

    /// Returns the instances that were deleted and are not gone.
    pub fn deleted(&self) -> &BTreeSet<(TenantId, Text)> {
        &self.deleted
    }

    pub fn is_deleted(&self, tenant: TenantId, id: &str) -> bool {
        !self.deleted.is_empty() && self.deleted.contains(&(tenant, id.into()))
    }

    /// Returns the webhooks that are told something.
    pub fn webhooks(&self) -> &BTreeSet<(TenantId, Text)> {
        &self.webhooks
    }

    fn put(
        &mut self,
        tenant: TenantId,
        kind: &str,
        id: &str,
        body: Option<&serde_json::Value>,
        vault: &dyn Vault,
    ) {
        match (kind, tenant == PLATFORM) {
            (User::KIND, true) => self.put_user(id, body, vault),
            (Slug::KIND, true) => self.put_slug(id, body),
            (Tenant::KIND, false) => {
                let plan = body.and_then(|it| it["plan"].as_str()).map(Plan::of);
                match plan {
                    Some(plan) => drop(self.plans.insert(tenant, plan)),
                    None => drop(self.plans.remove(&tenant)),
                }
                let name = body.and_then(|it| it["settings"][TIMEZONE].as_str());
                match name.and_then(|it| Some((it.into(), Zone::read(it)?))) {
                    Some(zone) => drop(self.zones.insert(tenant, zone)),
                    None => drop(self.zones.remove(&tenant)),
                }
            }
            (AlertRule::KIND, false) => {
                keep_up(&mut self.alert_rules, (tenant, id.into()), body.is_some());
            }
            (ALERT_MAIL, false) => {
                keep_up(&mut self.alert_mails, (tenant, id.into()), body.is_some());
            }
            (Maintenance::KIND, true) => {
                self.maintenance = body.and_then(|it| Maintenance::deserialize(it).ok());
            }
            (Budgets::KIND, false) => {
                let budgets = body.and_then(|it| Budgets::deserialize(it).ok());
                match budgets.map(|it| it.ceilings()) {
                    Some(ceilings) => drop(self.budgets.insert(tenant, ceilings)),
                    None => drop(self.budgets.remove(&tenant)),
                }
            }
            (Member::KIND, false) => {
                let Ok(user) = id.parse() else { return };
                let tenants = self.tenants_of.entry(user).or_default();
                match body {
                    Some(_) => drop(tenants.insert(tenant)),
                    None => drop(tenants.remove(&tenant)),
                }
            }
            (ApiKey::KIND, false) => {
                let Ok(key) = id.parse() else { return };
                match body {
                    Some(_) => drop(self.keys.insert(key, tenant)),
                    None => drop(self.keys.remove(&key)),
                }
            }
            (Job::KIND, false) => {
                let key = (tenant, Text::from(id));
                match body.is_some_and(|it| it["status"] == "running") {
                    true => drop(self.open_jobs.insert(key)),
                    false => drop(self.open_jobs.remove(&key)),
                }
            }
            (Deleted::KIND, false) => {
                let key = (tenant, Text::from(id));
                match body {
                    Some(_) => drop(self.deleted.insert(key)),
                    None => drop(self.deleted.remove(&key)),
                }
            }
            (Webhook::KIND, false) => {
                let key = (tenant, Text::from(id));
                match body.is_some_and(|it| it["is_gone"] != true) {
                    true => drop(self.webhooks.insert(key)),
                    false => drop(self.webhooks.remove(&key)),
                }
            }
            _ => {}
        }
    }

    fn put_user(&mut self, id: &str, body: Option<&serde_json::Value>, vault: &dyn Vault) {
        let Ok(id) = id.parse() else { return };
        if let Some(before) = self.emails.remove(&id) {
            self.by_email.remove(&before);
        }
        for before in self.identities.remove(&id).into_iter().flatten() {
            self.by_identity.remove(&before);
        }
        let user: Option<User> = body.and_then(|it| serde_json::from_value(it.clone()).ok());
        match user.as_ref().is_some_and(User::is_admin) {
            true => drop(self.admins.insert(id)),
            false => drop(self.admins.remove(&id)),
        }
        // Of somebody who is erased, or whose key is missing, nothing is found by the address.
        if let Some(Ok(Some(personal))) = user.map(|it| it.personal(vault)) {
            let keys = personal.factors.identities.iter().map(|it| key_of(&it.issuer, &it.subject));
            let keys: Vec<_> = keys.collect();
            self.by_identity.extend(keys.iter().map(|it| (*it, id)));
            if !keys.is_empty() {
                self.identities.insert(id, keys);
            }
            self.by_email.insert(personal.email.clone(), id);
            self.emails.insert(id, personal.email);
        }
    }

    fn put_slug(&mut self, id: &str, body: Option<&serde_json::Value>) {
        let slug: Option<Slug> = body.and_then(|it| serde_json::from_value(it.clone()).ok());
        match slug {
            Some(slug) => drop(self.slugs.insert(slug.slug, slug.tenant_id)),
            None => drop(self.slugs.remove(id)),
        }
    }
}
