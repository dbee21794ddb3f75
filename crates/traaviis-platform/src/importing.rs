//! Users, tenants and members that were somewhere else before: taken in with their ids, once.
//!
//! Invariant: whoever is there already stays as they are; an id, an address or a short name that
//! somebody else has is a collision, which changes nothing.

use serde_json::json;
use traaviis_model::{
    TenantCtx, TenantId, Text, Timestamp, UserId,
    permission::{PermissionSet, Role},
};
use traaviis_policy::plan::Plan;

use crate::{
    audit::{Act, Via},
    error::Error,
    factor::Factors,
    ledger::Document,
    password::PasswordHash,
    platform::Platform,
    tenant::{
        self, CustomRole, DataAccess, Member, MemberStatus, Slug, Tenant, TenantStatus, slug_of,
    },
    user::{self, Personal, PlatformRole, User, UserStatus},
};

/// A user of before.
#[derive(Clone, Debug)]
pub struct FormerUser {
    /// Identity.
    pub id: UserId,
    /// E-mail address.
    pub email: String,
    /// Name.
    pub name: String,
    /// Hash of the password, where it is one that can be checked.
    pub password: Option<PasswordHash>,
    /// When they registered.
    pub created_at: Option<Timestamp>,
    /// They may not log in.
    pub is_suspended: bool,
}

/// A tenant of before.
#[derive(Clone, Debug)]
pub struct FormerTenant {
    /// Identity.
    pub id: TenantId,
    /// Name.
    pub name: String,
    /// Short name; made of the name when absent.
    pub slug: Option<String>,
    /// Owner.
    pub owner: UserId,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// What it paid for. It does not come along: a plan is given by who looks after the platform.
    pub plan: Option<Text>,
}

/// The plan of tenants that are taken in.
pub const IMPORTED_PLAN: Plan = Plan::SelfHosted;

/// A member of before.
#[derive(Clone, Debug)]
pub struct FormerMember {
    /// Tenant.
    pub tenant: TenantId,
    /// User.
    pub user: UserId,
    /// Word of a role, or the id of one that the tenant made.
    pub role: Text,
    /// What they may do, where that is not what the role carries.
    pub permissions: Option<PermissionSet>,
    /// What of the data they see, where that is not what the role says.
    pub data_access: Option<DataAccess>,
    /// They do not take part.
    pub is_suspended: bool,
    /// When they came.
    pub joined_at: Option<Timestamp>,
}

impl FormerMember {
    /// Returns a member who may and sees what the role says.
    pub fn plain(
        tenant: TenantId,
        user: UserId,
        role: Role,
        joined_at: Option<Timestamp>,
    ) -> FormerMember {
        let (role, permissions, data_access) = (role.as_str().into(), None, None);
        FormerMember {
            tenant,
            user,
            role,
            permissions,
            data_access,
            is_suspended: false,
            joined_at,
        }
    }
}

/// How somebody of before stands to who is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Met {
    /// Nobody has the id.
    New,
    /// They are there already.
    Present,
    /// Somebody else has the id, the address or the short name.
    Taken(String),
}

impl FormerUser {
    /// Checks address and name.
    pub fn check(&self) -> Result<(), Error> {
        user::email(&self.email)?;
        user::name(&self.name).map(drop)
    }
}

impl FormerTenant {
    /// Checks name and short name, and returns the short name.
    pub fn check(&self) -> Result<Text, Error> {
        let name = tenant::name(&self.name)?;
        match &self.slug {
            Some(slug) => tenant::slug(slug),
            None => tenant::slug(&slug_of(&name)),
        }
    }
}

impl Platform {
    /// Says how a user of before stands to who is there.
    pub fn meet_user(&self, former: &FormerUser) -> Result<Met, Error> {
        let email = user::email(&former.email)?;
        let holder = self.lookup(|it| it.user(&email));
        let there = self.ledgers.get::<User>(&TenantCtx::platform(), &former.id.to_string())?;
        Ok(match (there, holder) {
            (None, None) => Met::New,
            (Some(_), Some(holder)) if holder == former.id => Met::Present,
            (Some(_), _) => {
                Met::Taken(format!("user `{}` is there with another e-mail address", former.id))
            }
            (None, Some(holder)) => Met::Taken(format!(
                "the e-mail address of user `{}` is that of `{holder}`, who is there",
                former.id
            )),
        })
    }

    /// Says how a tenant of before stands to those that are there.
    pub fn meet_tenant(&self, former: &FormerTenant) -> Result<Met, Error> {
        let slug = former.check()?;
        let there = self.ledgers.get::<Tenant>(&TenantCtx::keeper_of(former.id), "tenant")?;
        let holder = self.lookup(|it| it.slug(&slug)).filter(|it| *it != former.id);
        // A short name of a tenant that never came to be is free.
        let holder = holder.filter(|it| self.tenant(&TenantCtx::keeper_of(*it)).is_ok());
        Ok(match (there, holder) {
            (Some(_), _) => Met::Present,
            (None, None) => Met::New,
            (None, Some(holder)) => Met::Taken(format!(
                "the short name `{slug}` of tenant `{}` is that of `{holder}`",
                former.id
            )),
        })
    }

    /// Says whether a member of before is one.
    pub fn meet_member(&self, former: &FormerMember) -> Result<Met, Error> {
        let ctx = TenantCtx::keeper_of(former.tenant);
        let there = self.ledgers.get::<Member>(&ctx, &former.user.to_string())?;
        Ok(if there.is_some() { Met::Present } else { Met::New })
    }

    /// Takes a user in who is new.
    pub fn take_user(&self, former: &FormerUser) -> Result<(), Error> {
        let now = self.now();
        let personal = Personal {
            email: user::email(&former.email)?,
            email_verified: false,
            name: user::name(&former.name)?,
            avatar_url: None,
            locale: None,
            timezone: None,
            password: former.password.clone(),
            factors: Factors::default(),
        };
        let user = User {
            id: former.id,
            status: if former.is_suspended { UserStatus::Suspended } else { UserStatus::Active },
            platform_role: PlatformRole::User,
            rights: 1,
            created_at: former.created_at.unwrap_or(now),
            updated_at: now,
            last_login: None,
            sealed: personal.seal(&*self.vault, former.id, now)?,
        };
        self.ledgers.change(&TenantCtx::platform(), &via(), |documents, changes| {
            let is_there = documents.get::<User>(&user.id())?.is_some();
            if is_there || self.lookup(|it| it.user(&personal.email)).is_some() {
                return Err(Error::new("import_collision", "the user is there meanwhile"));
            }
            changes.put(&user);
            changes.act(Act::done("user.imported", User::KIND, user.id()));
            Ok(())
        })
    }

    /// Takes a tenant in that is new, with its owner as its first member.
    pub fn take_tenant(&self, former: &FormerTenant) -> Result<(), Error> {
        let (slug, now) = (former.check()?, self.now());
        let claim = Slug { slug: slug.clone(), tenant_id: former.id };
        self.ledgers.change(&TenantCtx::platform(), &via(), |_, changes| {
            changes.put(&claim);
            Ok(())
        })?;
        let tenant = Tenant {
            id: former.id,
            name: tenant::name(&former.name)?,
            slug,
            former_slugs: Vec::new(),
            domain: None,
            owner_id: former.owner,
            status: TenantStatus::Active,
            plan: IMPORTED_PLAN.as_str().into(),
            settings: json!({}),
            created_at: former.created_at.unwrap_or(now),
            deleting_since: None,
        };
        let owner = FormerMember::plain(former.id, former.owner, Role::Owner, former.created_at);
        let member = member_of(&owner, now);
        self.ledgers.change(&TenantCtx::keeper_of(former.id), &via(), |_, changes| {
            changes.put(&tenant);
            changes.put(&member);
            let act = Act::done("tenant.imported", Tenant::KIND, former.id.to_string());
            changes.act(act.with(json!({ "owner": former.owner, "slug": tenant.slug })));
            Ok(())
        })
    }

    /// Says how a role of before stands to those of its tenant.
    pub fn meet_role(&self, of: TenantId, former: &CustomRole) -> Result<Met, Error> {
        let ctx = TenantCtx::keeper_of(of);
        let roles = self.ledgers.read(&ctx, |it| it.list::<CustomRole>(""))?;
        let named = roles.iter().find(|it| it.it.name == former.name);
        Ok(match (roles.iter().any(|it| it.it.id == former.id), named) {
            (true, _) => Met::Present,
            (false, None) => Met::New,
            (false, Some(other)) => Met::Taken(format!(
                "the name of role `{}` is that of `{}`, which is there",
                former.id, other.it.id
            )),
        })
    }

    /// Takes a role in that is new.
    pub fn take_role(&self, of: TenantId, former: &CustomRole) -> Result<(), Error> {
        self.ledgers.change(&TenantCtx::keeper_of(of), &via(), |_, changes| {
            changes.put(former);
            let act = Act::done("role.imported", CustomRole::KIND, former.id());
            changes.act(act.with(json!({ "permissions": former.permissions })));
            Ok(())
        })
    }

    /// Takes a member in who is new.
    pub fn take_member(&self, former: &FormerMember) -> Result<(), Error> {
        let member = member_of(former, self.now());
        self.ledgers.change(&TenantCtx::keeper_of(former.tenant), &via(), |_, changes| {
            changes.put(&member);
            let act = Act::done("member.imported", Member::KIND, member.id());
            changes.act(act.with(json!({ "role": member.role })));
            Ok(())
        })
    }
}

fn member_of(former: &FormerMember, now: Timestamp) -> Member {
    Member {
        user_id: former.user,
        role: former.role.clone(),
        permissions: former.permissions,
        data_access: former.data_access,
        status: match former.is_suspended {
            true => MemberStatus::Suspended,
            false => MemberStatus::Active,
        },
        joined_at: former.joined_at.unwrap_or(now),
        invited_by: None,
    }
}

fn via() -> Via {
    Via { way: "import", ..Via::default() }
}
