//! Use cases of who looks after the platform: users and tenants as a whole, and the glass that must
//! be broken to read in a tenant.
//!
//! The first of them is made by whoever may read the files of the data directory; the others by
//! those before. What they do stands in the audit trail of the platform, and what concerns a tenant
//! in that of the tenant.

use serde_json::json;
use traaviis_model::{Span, TenantCtx, TenantId, Text, UserId, form};
use traaviis_policy::{
    access::{Action, Freshness},
    plan::Plan,
};

use crate::{
    audit::{Act, Via},
    caller::{Caller, named_in, no_tenant},
    error::Error,
    invoices::PlanChange,
    ledger::{Document, Documents, Versioned},
    mail::Letter,
    members::found,
    password,
    platform::Platform,
    session::Session,
    tenant::{BreakGlass, Member, Tenant, TenantStatus},
    user::{self, Personal, PlatformRole, Profile, User, UserStatus},
};

/// How long a broken glass lets somebody read.
pub const GLASS_LIFE: Span = Span::secs(3_600);

/// A user as who looks after the platform sees them.
#[derive(Clone, Debug, PartialEq)]
pub struct UserSeen {
    /// The user.
    pub user: User,
    /// What others see of them.
    pub profile: Profile,
    /// Tenants that they are in.
    pub tenant_count: usize,
}

/// What is changed about a user; what is absent stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UserChange {
    /// How they stand: active or suspended.
    pub status: Option<UserStatus>,
    /// What they are.
    pub platform_role: Option<PlatformRole>,
}

/// What is changed about a tenant; what is absent stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TenantAdminChange {
    /// How it stands: active or suspended.
    pub status: Option<TenantStatus>,
    /// Plan.
    pub plan: Option<Plan>,
}

/// A tenant as who looks after the platform sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct TenantSeen {
    /// The tenant.
    pub tenant: Tenant,
    /// Members.
    pub member_count: usize,
}

/// What became of whoever was to look after the platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Promoted {
    /// They do already.
    Already,
    /// An account that was there does now.
    Raised,
    /// An account was made, with this password.
    Made(String),
}

impl Platform {
    /// Says whether anybody looks after the platform.
    pub fn has_admin(&self) -> bool {
        self.lookup(|it| !it.admins().is_empty())
    }

    /// Makes the account of an address look after the platform, as whoever may read the files of
    /// the data directory wants it.
    pub fn promote(&self, email: &str, role: PlatformRole, via: &Via) -> Result<Promoted, Error> {
        let email = user::email(email)?;
        let Some(id) = self.lookup(|it| it.user(&email)) else {
            return Err(Error::new("not_found", "there is no account with this e-mail address"));
        };
        let change = UserChange { platform_role: Some(role), ..UserChange::default() };
        match self.user(id)?.is_some_and(|it| it.platform_role == role) {
            true => Ok(Promoted::Already),
            false => {
                self.alter_user(&TenantCtx::platform(), via, id, change).map(|()| Promoted::Raised)
            }
        }
    }

    /// Makes sure that the account of an address is there and looks after the platform; one that
    /// is made has the password that is given.
    pub fn promote_or_make(
        &self,
        email: &str,
        password: String,
        via: &Via,
    ) -> Result<Promoted, Error> {
        let email = user::email(email)?;
        if self.lookup(|it| it.user(&email)).is_some() {
            return self.promote(&email, PlatformRole::PlatformAdmin, via);
        }
        let name = crate::accounts::name_of(&email);
        password::check(&password, self.settings.password_chars_min, &[&name, &email])?;
        let personal = Personal {
            // Who runs the platform says that it is theirs.
            email_verified: true,
            password: Some(self.hasher.hash(&password)?),
            ..Personal::new(email, name)
        };
        let id = self.new_user(&personal, PlatformRole::PlatformAdmin, via)?;
        let change = UserChange { status: Some(UserStatus::Active), ..UserChange::default() };
        self.alter_user(&TenantCtx::platform(), via, id, change)?;
        Ok(Promoted::Made(password))
    }

    /// Returns users behind an id, in the order of their ids.
    pub fn users(
        &self,
        caller: &Caller,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<UserSeen>, Error> {
        self.permit(caller, Action::Platform, Freshness::Any)?;
        let after = after.map(|it| it.to_string());
        let page = |it: &Documents| it.page::<User>(after.as_deref(), limit);
        let users = self.ledgers.read(&TenantCtx::platform(), page)?;
        users.into_iter().map(|it| self.seen(it.it)).collect()
    }

    /// Finds the user with an address.
    pub fn user_of(&self, caller: &Caller, email: &str) -> Result<Option<UserSeen>, Error> {
        self.permit(caller, Action::Platform, Freshness::Any)?;
        let id = self.lookup(|it| it.user(&email.trim().to_lowercase()));
        let found = id.map(|it| self.user(it)).transpose()?.flatten();
        found.map(|it| self.seen(it)).transpose()
    }

    fn seen(&self, user: User) -> Result<UserSeen, Error> {
        let profile = self.profile(user.id)?;
        let tenant_count = self.lookup(|it| it.tenants(user.id)).len();
        Ok(UserSeen { user, profile, tenant_count })
    }

    /// Changes how a user stands; a user who is suspended has lost all sessions.
    pub fn change_user(
        &self,
        caller: &Caller,
        id: UserId,
        change: UserChange,
    ) -> Result<UserSeen, Error> {
        self.permit(caller, Action::Platform, Freshness::Fresh)?;
        if id == caller.user {
            let message = "nobody suspends or lowers themselves; ask another one who may";
            return Err(Error::new("forbidden", message));
        }
        self.alter_user(&caller.on_platform(), &caller.via, id, change)?;
        let user = self.user(id)?.ok_or_else(|| absent(id))?;
        self.seen(user)
    }

    /// Takes all second factors of a user away who has lost them: their sessions end, and a letter
    /// tells them. Their password stays, and so do logins elsewhere.
    pub fn reset_factors(
        &self,
        caller: &Caller,
        id: UserId,
        reason: &str,
    ) -> Result<UserSeen, Error> {
        self.permit(caller, Action::Platform, Freshness::Fresh)?;
        if id == caller.user {
            let message = "nobody takes away what they prove themselves with; ask another one who \
                           may, or use `DELETE /me/mfa/{id}`";
            return Err(Error::new("forbidden", message));
        }
        let reason = because(reason)?;
        self.ledgers.change(&caller.on_platform(), &caller.via, |documents, changes| {
            let found = documents.get::<User>(&id.to_string())?;
            found.filter(|it| it.status != UserStatus::Deleted).ok_or_else(|| absent(id))?;
            let (mut user, mut personal) = self.person(documents, id)?;
            let factors = &mut personal.factors;
            if !factors.has_second() {
                return Err(Error::new("invalid_state", "this user has no second factor"));
            }
            let count = factors.count();
            factors.apps.clear();
            factors.passkeys.clear();
            factors.recovery.clear();
            self.put_person(changes, &mut user, &personal)?;
            let ended = crate::confirm::end_sessions(documents, changes, id, None)?;
            let facts = json!({ "reason": reason, "factors": count, "sessions_ended": ended });
            changes.act(Act::done("mfa.reset", User::KIND, user.id()).with(facts));
            Ok(())
        })?;
        self.write_to_user(id, Letter::FactorsReset);
        let user = self.user(id)?.ok_or_else(|| absent(id))?;
        self.seen(user)
    }

    fn alter_user(
        &self,
        ctx: &TenantCtx,
        via: &Via,
        id: UserId,
        change: UserChange,
    ) -> Result<(), Error> {
        self.ledgers.change(ctx, via, |documents, changes| {
            let mut user = documents.get::<User>(&id.to_string())?.ok_or_else(|| absent(id))?;
            if user.status == UserStatus::Deleted {
                return Err(Error::new("invalid_state", "this account is deleted"));
            }
            let before = user.clone();
            user.status = change.status.unwrap_or(user.status);
            user.platform_role = change.platform_role.unwrap_or(user.platform_role);
            if user == before {
                return Ok(());
            }
            user.updated_at = self.now();
            changes.put(&user);
            if user.status == UserStatus::Suspended && before.status != UserStatus::Suspended {
                for session in documents.list::<Session>(&format!("{id}/"))? {
                    changes.remove::<Session>(&session.it.id());
                }
            }
            let facts = json!({
                "status": user.status, "platform_role": user.platform_role,
            });
            changes.act(Act::done("user.administered", User::KIND, user.id()).with(facts));
            Ok(())
        })
    }

    /// Returns tenants behind an id, in the order of their ids.
    pub fn tenants(
        &self,
        caller: &Caller,
        after: Option<TenantId>,
        limit: usize,
    ) -> Result<Vec<TenantSeen>, Error> {
        self.permit(caller, Action::Platform, Freshness::Any)?;
        let mut ids = self.ledgers.tenants();
        ids.retain(|it| after.is_none_or(|after| *it > after));
        ids.sort_unstable();
        let mut found = Vec::new();
        for id in ids {
            if found.len() >= limit {
                break;
            }
            found.extend(self.tenant_seen(id)?);
        }
        Ok(found)
    }

    fn tenant_seen(&self, id: TenantId) -> Result<Option<TenantSeen>, Error> {
        self.ledgers.read(&TenantCtx::keeper_of(id), |documents| {
            let tenant = documents.get::<Tenant>("tenant")?;
            let member_count = documents.count::<Member>();
            Ok(tenant.map(|tenant| TenantSeen { tenant, member_count }))
        })
    }

    /// Suspends a tenant, opens it again, or changes its plan.
    pub fn administer_tenant(
        &self,
        caller: &Caller,
        id: TenantId,
        change: TenantAdminChange,
    ) -> Result<TenantSeen, Error> {
        self.permit(caller, Action::Platform, Freshness::Fresh)?;
        let none = || Error::not_found(Tenant::KIND, &id.to_string());
        self.tenant_seen(id)?.ok_or_else(none)?;
        self.ledgers.change(&named_in(caller, id), &caller.via, |documents, changes| {
            let mut tenant = documents.get::<Tenant>("tenant")?.ok_or_else(none)?;
            if let Some(status) = change.status {
                if !matches!(tenant.status, TenantStatus::Active | TenantStatus::Suspended) {
                    let message = "the tenant is being deleted; its owner can bring it back";
                    return Err(Error::new("invalid_state", message));
                }
                tenant.status = status;
            }
            let before = tenant.plan.clone();
            if let Some(plan) = change.plan {
                tenant.plan = plan.as_str().into();
            }
            changes.put(&tenant);
            let (_, zone) = self.zone_of(id);
            let change = (before.as_ref(), tenant.plan.as_ref());
            PlanChange::note(documents, changes, (self.now(), &zone), change)?;
            let facts = json!({ "status": tenant.status, "plan": tenant.plan });
            let act = Act::done("tenant.administered", Tenant::KIND, id.to_string());
            changes.act(act.with(facts));
            Ok(())
        })?;
        self.tell_platform(
            caller,
            "tenant.administered",
            id,
            json!({
                "status": change.status, "plan": change.plan.map(Plan::as_str),
            }),
        )?;
        self.tenant_seen(id)?.ok_or_else(none)
    }

    /// Lets the caller read in a tenant for an hour, for a reason that its members can read.
    pub fn break_glass(
        &self,
        caller: &Caller,
        tenant: &str,
        reason: &str,
    ) -> Result<(TenantId, BreakGlass), Error> {
        self.permit(caller, Action::Platform, Freshness::Fresh)?;
        let reason = because(reason)?;
        let id = self.resolve(caller, tenant)?;
        if self.tenant_seen(id)?.is_none() {
            return Err(no_tenant());
        }
        let until = self.now().plus(GLASS_LIFE);
        let glass = BreakGlass { user_id: caller.user, reason: reason.into(), until };
        self.ledgers.change(&named_in(caller, id), &caller.via, |_, changes| {
            changes.put(&glass);
            let act = Act::done("break_glass.opened", Tenant::KIND, id.to_string());
            changes.act(act.with(json!({ "reason": glass.reason, "until": until })));
            Ok(())
        })?;
        self.tell_platform(caller, "break_glass.opened", id, json!({ "until": until }))?;
        Ok((id, glass))
    }

    /// Takes out broken glasses whose time is over; called from time to time. They let nobody read
    /// before that either.
    pub fn end_old_glasses(&self) -> Result<(), Error> {
        for tenant in self.ledgers.tenants() {
            let ctx = TenantCtx::keeper_of(tenant);
            let glasses = self.ledgers.read(&ctx, |it| it.list::<BreakGlass>(""))?;
            let over = |it: &Versioned<BreakGlass>| it.it.until <= self.now();
            for glass in glasses.into_iter().filter(over) {
                self.ledgers.change(&ctx, &crate::platform::engine(), |_, changes| {
                    changes.remove::<BreakGlass>(&glass.it.id());
                    let who = glass.it.id();
                    changes.act(Act::done("break_glass.ended", BreakGlass::KIND, who));
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    /// Notes in the audit trail of the platform what was done to a tenant.
    pub(crate) fn tell_platform(
        &self,
        caller: &Caller,
        action: &'static str,
        tenant: TenantId,
        facts: serde_json::Value,
    ) -> Result<(), Error> {
        self.ledgers.change(&caller.on_platform(), &caller.via, |_, changes| {
            changes.act(Act::done(action, Tenant::KIND, tenant.to_string()).with(facts));
            Ok(())
        })
    }

    /// Returns the names by which the caller is known where tasks are answered: who they are, their
    /// role, and the keys that act for them.
    pub fn names_of(&self, caller: &Caller, entered: &crate::Entered) -> Result<Vec<Text>, Error> {
        self.names_of_member(caller.user, entered)
    }

    /// The same of any member.
    pub(crate) fn names_of_member(
        &self,
        id: UserId,
        entered: &crate::Entered,
    ) -> Result<Vec<Text>, Error> {
        let mut names: Vec<Text> = vec![format!("user:{id}").into()];
        if let Some(user) = self.user(id)?
            && let Some(personal) = user.personal(&*self.vault)?
        {
            names.push(format!("user:{}", personal.email).into());
        }
        self.ledgers.read(&entered.ctx, |documents| {
            let role = found(documents, id)?.it.role;
            if let Some(custom) = documents.get::<crate::tenant::CustomRole>(&role)? {
                names.push(format!("role:{}", custom.name).into());
            }
            names.push(format!("role:{role}").into());
            let keys = documents.list::<crate::tenant::ApiKey>("")?;
            let own = keys.iter().filter(|it| it.it.acts_for() == id);
            names.extend(own.map(|it| Text::from(format!("key:{}", it.it.id))));
            Ok::<_, Error>(())
        })?;
        Ok(names)
    }
}

/// Checks a reason.
fn because(reason: &str) -> Result<&str, Error> {
    match form::OPERATOR_REASON.read(reason) {
        Some(reason) => Ok(reason),
        None => {
            let form::Form { least, most, .. } = form::OPERATOR_REASON;
            let rule = format!("a reason has {least} to {most} characters");
            Err(Error::invalid("/reason", rule))
        }
    }
}

fn absent(id: UserId) -> Error {
    Error::not_found(User::KIND, &id.to_string())
}
