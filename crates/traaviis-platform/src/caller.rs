//! Who calls: a token becomes a caller, and a caller who may act in a tenant a [`TenantCtx`].
//!
//! Every request looks up the session, the user, the tenant and the membership as they are now, so
//! whatever was taken from somebody is gone with their next request.

use traaviis_model::{
    ApiKeyId, SessionId, TenantCtx, TenantId, Timestamp, UserId,
    permission::{Permission, PermissionSet, Role},
    record::{Actor, ActorKind},
};
use traaviis_policy::access::{self, Action, Denial, Freshness, Standing, Subject};

use crate::{
    audit::{Act, Via},
    error::Error,
    ledger::{Document, Documents},
    meters::TokenEvent,
    platform::Platform,
    rules::{Rules, SessionAge},
    session::{self, Session},
    tenant::{
        ApiKey, BreakGlass, CustomRole, DataAccess, Member, MemberStatus, Payloads, ServiceAccount,
        Tenant, TenantStatus,
    },
    token::{Claims, Opaque, invalid, is_of},
    user::{PlatformRole, User, UserStatus},
};

/// How a caller has proved who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// By a session.
    Session {
        /// Session.
        id: SessionId,
        /// It was a short while ago.
        is_fresh: bool,
        /// It was with two factors.
        is_mfa: bool,
        /// It was begun at an issuer of this tenant, and counts nowhere else.
        confined: Option<TenantId>,
        /// How old it is.
        age: SessionAge,
    },
    /// By a token that a session was exchanged for a part of.
    Exchanged {
        /// Session that it ends with.
        id: SessionId,
        /// Tenant that it counts in alone.
        tenant: TenantId,
        /// What it is limited to.
        scopes: PermissionSet,
        /// When it ends.
        until: Timestamp,
        /// Its session is one of two factors.
        is_mfa: bool,
        /// Its session was begun at an issuer of this tenant.
        confined: Option<TenantId>,
        /// How old its session is.
        age: SessionAge,
    },
    /// By a key of a tenant.
    Key {
        /// Key.
        id: ApiKeyId,
        /// Tenant.
        tenant: TenantId,
        /// What it is limited to.
        scopes: PermissionSet,
    },
}

/// Somebody who has proved who they are.
#[derive(Clone, Debug, PartialEq)]
pub struct Caller {
    /// The user, or the one who made the key.
    pub user: UserId,
    /// What they are on the platform.
    pub platform_role: PlatformRole,
    /// How they proved it.
    pub proof: Proof,
    /// Tenant that the token is scoped to.
    pub scoped_to: Option<TenantId>,
    /// Where they come from.
    pub via: Via,
}

impl Caller {
    /// Returns who acts, as records name it.
    pub fn actor(&self) -> Actor {
        match self.proof {
            Proof::Session { .. } | Proof::Exchanged { .. } => {
                Actor { kind: ActorKind::User, id: self.user.to_string().into() }
            }
            Proof::Key { id, .. } => Actor { kind: ActorKind::Key, id: id.to_string().into() },
        }
    }

    /// Returns who acts on the platform itself.
    pub(crate) fn on_platform(&self) -> TenantCtx {
        TenantCtx::authenticated(
            traaviis_model::tenant::PLATFORM,
            self.actor(),
            Role::Viewer,
            PermissionSet::EMPTY,
        )
    }

    /// Returns the session in which a user acts for themselves; a key has none, and one that an
    /// issuer of a tenant vouches for is none either: that tenant says nothing about the account.
    pub fn session(&self) -> Result<SessionId, Error> {
        match self.confined() {
            None => self.any_session(),
            Some(_) => {
                let message = "this session was begun at an issuer of a tenant and counts there \
                               alone; log in to the account itself";
                Err(Error::new("forbidden", message))
            }
        }
    }

    /// Returns the session, also one that counts in one tenant alone.
    pub fn any_session(&self) -> Result<SessionId, Error> {
        match self.proof {
            Proof::Session { id, .. } => Ok(id),
            Proof::Exchanged { .. } => {
                let message = "this token was exchanged for a part of what its session may do; ask \
                               with a token of the session itself";
                Err(Error::new("forbidden", message))
            }
            Proof::Key { .. } => {
                Err(Error::new("forbidden", "this is for people who have logged in, not for keys"))
            }
        }
    }

    /// Returns the tenant that this counts in alone because an issuer of it vouches.
    pub fn confined(&self) -> Option<TenantId> {
        match self.proof {
            Proof::Session { confined, .. } | Proof::Exchanged { confined, .. } => confined,
            Proof::Key { .. } => None,
        }
    }

    /// Returns the one tenant that this counts in, for whatever reason.
    pub fn only(&self) -> Option<TenantId> {
        match self.proof {
            Proof::Key { tenant, .. } | Proof::Exchanged { tenant, .. } => Some(tenant),
            Proof::Session { confined, .. } => confined,
        }
    }

    /// Returns in a word what this is less than a session of the same user: what one was answered
    /// is not repeated to the other.
    pub fn limits(&self) -> String {
        match self.proof {
            Proof::Exchanged { scopes, .. } => format!(" within {:x}", scopes.bits()),
            Proof::Session { confined: Some(_), .. } => " confined".into(),
            Proof::Session { .. } | Proof::Key { .. } => String::new(),
        }
    }

    /// Returns when this ends whatever happens, where that is known beforehand.
    pub fn until(&self) -> Option<Timestamp> {
        match self.proof {
            Proof::Exchanged { until, .. } => Some(until),
            Proof::Session { .. } | Proof::Key { .. } => None,
        }
    }

    fn is_fresh(&self) -> bool {
        matches!(self.proof, Proof::Session { is_fresh: true, .. })
    }

    /// Says whether two factors stand behind this. A key was made by somebody who had proved them,
    /// or before the tenant asked.
    fn has_two_factors(&self) -> bool {
        !matches!(
            self.proof,
            Proof::Session { is_mfa: false, .. } | Proof::Exchanged { is_mfa: false, .. }
        )
    }

    fn scopes(&self) -> Option<PermissionSet> {
        match self.proof {
            Proof::Key { scopes, .. } | Proof::Exchanged { scopes, .. } => Some(scopes),
            Proof::Session { .. } => None,
        }
    }
}

/// Somebody who may act in a tenant.
#[derive(Clone, Debug)]
pub struct Entered {
    /// The tenant, and who acts in it.
    pub ctx: TenantCtx,
    /// How they stand in it.
    pub standing: Standing,
    /// What of the data they see.
    pub data_access: DataAccess,
    /// Whether they have proved who they are with two factors.
    pub is_mfa: bool,
    /// Where they come from.
    pub via: Via,
}

/// A user who is about to become somebody in a tenant, or acts on the platform for themselves
/// before there is a session.
pub(crate) fn as_user(tenant: TenantId, user: UserId) -> TenantCtx {
    let actor = Actor { kind: ActorKind::User, id: user.to_string().into() };
    TenantCtx::authenticated(tenant, actor, Role::Viewer, PermissionSet::EMPTY)
}

/// Somebody as the audit trail of a tenant names them, with no rights in it.
pub(crate) fn named_in(caller: &Caller, tenant: TenantId) -> TenantCtx {
    TenantCtx::authenticated(tenant, caller.actor(), Role::Viewer, PermissionSet::EMPTY)
}

/// What somebody may read who has broken the glass.
const LOOKS: &[Permission] = &[
    Permission::WorkflowMonitor,
    Permission::AnalyticsView,
    Permission::SystemMetricsView,
    Permission::AuditLogsView,
];

/// The answer to everything about a tenant that somebody is not in, and to one that is not there.
pub fn no_tenant() -> Error {
    Error::new("no_tenant_context", "you are no active member of such a tenant")
}

impl Platform {
    /// Finds out who shows a token.
    pub fn authenticate(&self, token: &str, via: Via) -> Result<Caller, Error> {
        match Opaque::ApiKey.is(token) {
            true => self.by_key(token, via),
            false => self.by_session(token, via),
        }
    }

    fn by_session(&self, token: &str, via: Via) -> Result<Caller, Error> {
        let claims = self.signer.verify(token, self.now());
        let caller = claims.and_then(|it| self.by_claims(&it, via));
        if caller.is_err() {
            self.meters().token(TokenEvent::Refused);
        }
        caller
    }

    /// Finds out who shows a token that says this.
    pub(crate) fn by_claims(&self, claims: &Claims, via: Via) -> Result<Caller, Error> {
        let now = self.now();
        let platform = TenantCtx::platform();
        let (session, user) = self.ledgers.read(&platform, |documents| {
            let session = documents.shared::<Session>(&session::id_of(claims.sub, claims.sid))?;
            let user = documents.shared::<User>(&claims.sub.to_string())?;
            Ok::<_, Error>((session, user))
        })?;
        let ended = || Error::new("session_expired", "the session has ended; log in again");
        let session = session.ok_or_else(ended)?;
        if session.is_over(self.settings.session_idle, now) {
            return Err(ended());
        }
        let user = user.ok_or_else(invalid)?;
        active(&user)?;
        if user.rights != claims.rv {
            return Err(Error::new("token_expired", "rights have changed; refresh the token"));
        }
        let (is_fresh, is_mfa) = (session.is_fresh(now), session.is_mfa());
        let confined = session.confined.as_ref().map(|it| it.tenant_id);
        if confined != claims.only {
            return Err(invalid());
        }
        let id = session.id;
        let age = SessionAge::of(&session, now);
        let (proof, way) = match (claims.may, claims.tid) {
            (None, _) => (Proof::Session { id, is_fresh, is_mfa, confined, age }, "session"),
            (Some(_), None) => return Err(invalid()),
            (Some(may), Some(tenant)) => {
                let (scopes, until) = (PermissionSet::of_bits(may), claims.until());
                let proof = Proof::Exchanged { id, tenant, scopes, until, is_mfa, confined, age };
                (proof, "exchanged_token")
            }
        };
        let scoped_to = claims.tid;
        // What an issuer of a tenant says makes nobody look after the platform, and a part of what
        // somebody may do is never that.
        let platform_role = match (confined, claims.may) {
            (None, None) => user.platform_role,
            _ => PlatformRole::User,
        };
        let via = Via { way, ..via };
        Ok(Caller { user: user.id, platform_role, proof, scoped_to, via })
    }

    fn by_key(&self, token: &str, via: Via) -> Result<Caller, Error> {
        let now = self.now();
        let [id] = Opaque::ApiKey.ids::<1>(token).ok_or_else(invalid)?;
        let id = ApiKeyId(id);
        let tenant = self.lookup(|it| it.key(id)).ok_or_else(invalid)?;
        let ctx = TenantCtx::keeper_of(tenant);
        let key = self.ledgers.read(&ctx, |it| it.shared::<ApiKey>(&id.to_string()))?;
        let key = key.filter(|it| is_of(token, &it.hash)).ok_or_else(invalid)?;
        if key.expires_at <= now {
            return Err(Error::new("token_expired", "the key has expired; make another one"));
        }
        let user = self.actor_of(&ctx, &key)?;
        let proof = Proof::Key { id, tenant, scopes: key.scopes };
        let via = Via { way: "api_key", ..via };
        let platform_role = PlatformRole::User;
        let caller = Caller { user, platform_role, proof, scoped_to: Some(tenant), via };
        self.used_from(&caller, tenant, &key)?;
        Ok(caller)
    }

    /// Returns the member with whose rights a key acts, while they may act at all.
    fn actor_of(&self, ctx: &TenantCtx, key: &ApiKey) -> Result<UserId, Error> {
        match key.service_account {
            Some(id) => {
                let found = self.ledgers.read(ctx, |it| it.get::<ServiceAccount>(&id.to_string()));
                found?.map(|it| it.id).ok_or_else(invalid)
            }
            None => {
                let user = self.user(key.created_by)?.ok_or_else(invalid)?;
                active(&user)?;
                Ok(user.id)
            }
        }
    }

    /// Says whether a caller who was recognised before still is one, for what stays open, such as
    /// sockets.
    pub fn recheck(&self, caller: &Caller) -> Result<(), Error> {
        let ended = || Error::new("session_expired", "the session has ended; log in again");
        if let Some(tenant) = caller.scoped_to
            && self.is_suspended(tenant)?
        {
            return Err(no_tenant());
        }
        if caller.until().is_some_and(|it| it <= self.now()) {
            return Err(Error::new("token_expired", "the token has expired; exchange another one"));
        }
        match caller.proof {
            Proof::Session { id, .. } | Proof::Exchanged { id, .. } => {
                active(&self.user(caller.user)?.ok_or_else(invalid)?)?;
                let place = session::id_of(caller.user, id);
                let platform = TenantCtx::platform();
                let session = self.ledgers.read(&platform, |it| it.get::<Session>(&place))?;
                let idle = self.settings.session_idle;
                let session = session.filter(|it| !it.is_over(idle, self.now()));
                let session = session.ok_or_else(ended)?;
                let Some(tenant) = caller.scoped_to else { return Ok(()) };
                let rules = self.ledgers.read(&TenantCtx::keeper_of(tenant), Rules::of)?;
                rules.admit(SessionAge::of(&session, self.now()))
            }
            Proof::Key { id, tenant, .. } => {
                let ctx = TenantCtx::keeper_of(tenant);
                let key = self.ledgers.read(&ctx, |it| it.get::<ApiKey>(&id.to_string()))?;
                let key = key.filter(|it| it.expires_at > self.now()).ok_or_else(ended)?;
                self.actor_of(&ctx, &key)?;
                self.used_from(caller, tenant, &key)
            }
        }
    }

    fn is_suspended(&self, tenant: TenantId) -> Result<bool, Error> {
        let ctx = TenantCtx::keeper_of(tenant);
        let found = self.ledgers.read(&ctx, |it| it.get::<Tenant>("tenant"))?;
        Ok(found.is_some_and(|it| {
            matches!(it.status, TenantStatus::Suspended | TenantStatus::Destroyed)
        }))
    }

    /// Returns a user.
    pub(crate) fn user(&self, id: UserId) -> Result<Option<User>, Error> {
        self.ledgers.read(&TenantCtx::platform(), |it| it.get::<User>(&id.to_string()))
    }

    /// Finds the tenant that a caller names: its id, its short name, or `current`.
    pub fn resolve(&self, caller: &Caller, named: &str) -> Result<TenantId, Error> {
        self.resolve_at_once(caller, named).ok_or_else(|| {
            // As for a tenant that is there, which must not be told apart by the time it takes.
            if named != "current" {
                self.note_probe(caller, None);
            }
            no_tenant()
        })
    }

    /// As [`Platform::resolve`], and notes nothing, so it waits for nothing.
    pub fn resolve_at_once(&self, caller: &Caller, named: &str) -> Option<TenantId> {
        let found = match named {
            "current" => caller.scoped_to,
            named => match named.parse() {
                Ok(id) if named.len() == 36 => Some(id),
                _ => self.lookup(|it| it.slug(named)),
            },
        };
        // A key is of one tenant only, whoever made it; so is what an issuer of one vouches for,
        // and what a token was exchanged for.
        found.filter(|it| caller.only().is_none_or(|only| *it == only))
    }

    /// Lets a caller act in a tenant, or says why not. A denial of something in a tenant of one's
    /// own stands in the audit trail.
    pub fn enter(
        &self,
        caller: &Caller,
        tenant: TenantId,
        action: Action,
        freshness: Freshness,
    ) -> Result<Entered, Error> {
        self.try_enter(caller, tenant, action, freshness)?.map_err(|denial| {
            self.note_denial(caller, tenant, action, denial);
            refusal(denial)
        })
    }

    /// As [`Platform::enter`], and notes nothing, so it waits for nothing: whoever is denied must
    /// be sent to [`Platform::enter`].
    pub fn enter_at_once(
        &self,
        caller: &Caller,
        tenant: TenantId,
        action: Action,
        freshness: Freshness,
    ) -> Option<Entered> {
        self.try_enter(caller, tenant, action, freshness).ok()?.ok()
    }

    fn try_enter(
        &self,
        caller: &Caller,
        tenant: TenantId,
        action: Action,
        freshness: Freshness,
    ) -> Result<Result<Entered, Denial>, Error> {
        if caller.only().is_some_and(|only| only != tenant) {
            return Ok(Err(Denial::Elsewhere));
        }
        let keeper = TenantCtx::keeper_of(tenant);
        let (found, rules) = self
            .ledgers
            .read(&keeper, |it| Ok::<_, Error>((standing_of(it, caller.user)?, Rules::of(it)?)))?;
        let subject = Subject {
            is_active: true,
            is_platform_admin: caller.platform_role == PlatformRole::PlatformAdmin,
            standing: found.as_ref().map(|it| it.0),
            scopes: caller.scopes(),
            is_fresh: caller.is_fresh(),
        };
        let decided = access::can(&subject, action, Some(tenant), freshness);
        let (Some((standing, data_access)), Ok(())) = (found, decided) else {
            return Ok(Err(decided.err().unwrap_or(Denial::Elsewhere)));
        };
        if caller.confined().is_some() && standing.role == Role::Owner {
            // Else whoever decides what the issuer says would be an owner.
            let message = "an owner acts with a login of their own, not by an issuer of the tenant";
            return Err(Error::new("forbidden", message));
        }
        let is_mfa = caller.has_two_factors();
        if let Proof::Session { age, .. } | Proof::Exchanged { age, .. } = caller.proof {
            rules.admit(age)?;
        }
        if rules.wants_mfa && !is_mfa {
            // Only members come this far, so nobody else learns what the tenant asks for.
            return Err(Error::new("second_factor_required", WANTS_MFA));
        }
        let permissions = subject.permissions();
        let ctx = TenantCtx::authenticated(tenant, caller.actor(), standing.role, permissions)
            .coming_from(caller.via.origin());
        let standing = Standing { permissions, ..standing };
        Ok(Ok(Entered { ctx, standing, data_access, is_mfa, via: caller.via.clone() }))
    }

    /// Lets what has arrived at a hook start and signal instances, and do nothing else.
    pub(crate) fn entered_by_hook(&self, tenant: TenantId, hook: &str, via: Via) -> Entered {
        let permissions: PermissionSet = [Permission::WorkflowExecute].into_iter().collect();
        let role = Role::Viewer;
        let actor = Actor { kind: ActorKind::Service, id: format!("hook:{hook}").into() };
        let ctx =
            TenantCtx::authenticated(tenant, actor, role, permissions).coming_from(via.origin());
        let standing =
            Standing { tenant, is_tenant_active: true, is_member_active: true, role, permissions };
        let data_access = DataAccess::of(role);
        Entered { ctx, standing, data_access, is_mfa: false, via }
    }

    /// Lets somebody who looks after the platform read in a tenant that they are not in, while they
    /// have broken the glass; each look stands in the tenant's audit trail. To everybody else it is
    /// the tenant that is not there.
    pub fn look_in(
        &self,
        caller: &Caller,
        tenant: TenantId,
        action: Action,
        what: &'static str,
    ) -> Result<Entered, Error> {
        if caller.platform_role != PlatformRole::PlatformAdmin || caller.session().is_err() {
            return Err(no_tenant());
        }
        let keeper = TenantCtx::keeper_of(tenant);
        let glass = self.ledgers.read(&keeper, |it| {
            it.get::<Tenant>("tenant")?.ok_or_else(no_tenant)?;
            it.get::<BreakGlass>(&caller.user.to_string())
        })?;
        if glass.is_none_or(|it| it.until <= self.now()) {
            let message = "reading in a tenant needs a reason: `POST /admin/break-glass` first";
            return Err(Error::new("break_glass_required", message));
        }
        let permissions: PermissionSet = LOOKS.iter().copied().collect();
        let standing = Standing {
            tenant,
            is_tenant_active: true,
            is_member_active: true,
            role: Role::Viewer,
            permissions,
        };
        let subject = Subject {
            is_active: true,
            is_platform_admin: true,
            standing: Some(standing),
            scopes: None,
            is_fresh: caller.is_fresh(),
        };
        access::can(&subject, action, Some(tenant), Freshness::Any).map_err(refusal)?;
        let ctx = TenantCtx::authenticated(tenant, caller.actor(), Role::Viewer, permissions);
        self.ledgers.change(&ctx, &caller.via, |_, changes| {
            changes.act(Act::done("break_glass.used", "operation", what));
            Ok(())
        })?;
        let data_access = DataAccess { payloads: Payloads::Full, pii_unmask: false };
        let is_mfa = caller.has_two_factors();
        Ok(Entered { ctx, standing, data_access, is_mfa, via: caller.via.clone() })
    }

    /// Lets a caller do something of their own, or look after the platform.
    pub fn permit(
        &self,
        caller: &Caller,
        action: Action,
        freshness: Freshness,
    ) -> Result<(), Error> {
        let subject = Subject {
            is_active: true,
            is_platform_admin: caller.platform_role == PlatformRole::PlatformAdmin,
            standing: None,
            scopes: caller.scopes(),
            is_fresh: caller.is_fresh(),
        };
        access::can(&subject, action, None, freshness).map_err(|denial| {
            if denial == Denial::AdminOnly {
                let act = Act::done("permission.denied", "permission", "platform_admin").denied();
                self.note_refusal(&caller.on_platform(), &caller.via, act);
            }
            refusal(denial)
        })
    }

    fn note_denial(&self, caller: &Caller, tenant: TenantId, action: Action, denial: Denial) {
        let what = match (action, denial) {
            // Whoever is not in a tenant leaves no trace in it, and is counted on the platform.
            (_, Denial::Elsewhere) => return self.note_probe(caller, Some(tenant)),
            (_, Denial::Inactive | Denial::Stale) => return,
            (Action::Needs(permission), _) => permission.as_str(),
            (Action::OwnerOnly, _) => "owner_only",
            (Action::Own | Action::TenantAccess | Action::Platform, _) => return,
        };
        let ctx = named_in(caller, tenant);
        let act = Act::done("permission.denied", "permission", what).denied();
        self.note_refusal(&ctx, &caller.via, act);
    }

    /// Notes on the platform that somebody asks for a tenant that they are not in. Which one is not
    /// told apart, so that asking for many is one row of refusals.
    fn note_probe(&self, caller: &Caller, tenant: Option<TenantId>) {
        let act = Act::done("tenant.refused", "tenant", "elsewhere").denied();
        let act = act.with(serde_json::json!({ "tenant": tenant }));
        self.note_refusal(&caller.on_platform(), &caller.via, act);
    }
}

/// What a tenant says to a session of one factor.
pub(crate) const WANTS_MFA: &str = "this tenant asks for two factors: add one with `POST /me/mfa`, \
                                    or prove the one you have with `POST /auth/reauthenticate`";

/// Returns how a user stands in a tenant, and what they see of its data.
pub(crate) fn standing_of(
    documents: &Documents,
    user: UserId,
) -> Result<Option<(Standing, DataAccess)>, Error> {
    let Some(tenant) = documents.shared::<Tenant>("tenant")? else { return Ok(None) };
    // One that is suspended is as absent to its members; an owner cannot open it by deleting it.
    if matches!(tenant.status, TenantStatus::Suspended | TenantStatus::Destroyed) {
        return Ok(None);
    }
    let Some(member) = documents.shared::<Member>(&user.to_string())? else { return Ok(None) };
    let (role, permissions, sees) = role_of(documents, &member.role)?;
    let standing = Standing {
        tenant: tenant.id,
        is_tenant_active: tenant.status == TenantStatus::Active,
        is_member_active: member.status == MemberStatus::Active,
        role,
        permissions: member.permissions.unwrap_or(permissions),
    };
    Ok(Some((standing, member.data_access.unwrap_or(sees))))
}

/// Returns what a role stands for: a word, or the id of one that the tenant made.
pub(crate) fn role_of(
    documents: &Documents,
    role: &str,
) -> Result<(Role, PermissionSet, DataAccess), Error> {
    if let Ok(role) = role.parse::<Role>() {
        return Ok((role, PermissionSet::of(role), DataAccess::of(role)));
    }
    let custom = documents.shared::<CustomRole>(role)?;
    let custom = custom.ok_or_else(|| Error::not_found(CustomRole::KIND, role))?;
    let sees = custom.data_access.unwrap_or_else(|| DataAccess::of(custom.base));
    Ok((custom.base, custom.permissions, sees))
}

pub(crate) fn active(user: &User) -> Result<(), Error> {
    match user.status {
        UserStatus::Active => Ok(()),
        UserStatus::Suspended => {
            Err(Error::new("user_inactive", "this account is suspended; ask who runs the platform"))
        }
        UserStatus::Deleted => Err(Error::new("user_inactive", "this account is deleted")),
        UserStatus::PendingVerification => Err(Error::new(
            "email_not_verified",
            "the e-mail address is not confirmed; give the code from the message",
        )),
    }
}

fn refusal(denial: Denial) -> Error {
    match denial {
        Denial::Inactive | Denial::Elsewhere => no_tenant(),
        Denial::Missing(permission) => {
            let name = permission.as_str();
            let message = format!("this needs the permission `{name}`, which you do not have");
            Error::new("insufficient_permissions", message)
                .with_details(serde_json::json!({ "permission": name }))
        }
        Denial::OwnerOnly => Error::new("forbidden", "only an owner of the tenant may do this"),
        Denial::AdminOnly => {
            Error::new("platform_admin_required", "only who looks after the platform may do this")
        }
        Denial::Stale => Error::new(
            "reauthentication_required",
            "prove who you are again with `POST /auth/reauthenticate`, then repeat this",
        ),
    }
}
