//! Handlers of who looks after the platform.

use traaviis_api::types::{
    Page,
    admin::{
        AdminTenantAnswer, AdminTenantRequest, AdminUserAnswer, AdminUserRequest, BreakGlassAnswer,
        BreakGlassRequest, ResetFactorsRequest, RotateKeysRequest, RotatedAnswer,
    },
};
use traaviis_platform::{
    Error,
    admin::{TenantAdminChange, TenantSeen, UserChange, UserSeen},
    tenant::TenantStatus,
    user::{PlatformRole, UserStatus},
};
use traaviis_policy::plan::Plan;

use super::{Answer, Call};
use crate::convert::time;

fn user(it: &UserSeen) -> AdminUserAnswer {
    AdminUserAnswer {
        id: it.user.id.0,
        name: it.profile.name.clone(),
        status: it.user.status.as_str().into(),
        platform_role: it.user.platform_role.as_str().into(),
        tenant_count: it.tenant_count,
        created_at: time(it.user.created_at),
        last_login: it.user.last_login.map(time),
    }
}

fn tenant(it: &TenantSeen) -> AdminTenantAnswer {
    let TenantSeen { tenant, member_count } = it;
    AdminTenantAnswer {
        id: tenant.id.0,
        name: tenant.name.clone(),
        slug: tenant.slug.to_string(),
        owner_id: tenant.owner_id.0,
        status: tenant.status.as_str().into(),
        plan: tenant.plan.to_string(),
        member_count: *member_count,
        created_at: time(tenant.created_at),
        deleting_since: tenant.deleting_since.map(time),
    }
}

pub(super) fn users(call: &Call<'_>) -> Result<Answer, Error> {
    let caller = call.caller()?;
    if let Some(email) = call.request.query.get("email") {
        let found = call.platform().user_of(caller, email)?;
        return call.tell(&Page::whole(found.iter().map(user).collect()));
    }
    let limit = call.request.limit()?;
    let after = call.request.query("cursor", "the `next_cursor` of the page before")?;
    let found = call.platform().users(caller, after, limit)?;
    let last = found.last().filter(|_| found.len() == limit);
    let next_cursor = last.map(|it| it.user.id.to_string());
    call.tell(&Page { items: found.iter().map(user).collect(), next_cursor })
}

pub(super) fn change_user(call: &Call<'_>) -> Result<Answer, Error> {
    let AdminUserRequest { status, platform_role } = call.request.json()?;
    let status = match status.as_deref() {
        None => None,
        Some("active") => Some(UserStatus::Active),
        Some("suspended") => Some(UserStatus::Suspended),
        Some(_) => return Err(Error::invalid("/status", "this is `active` or `suspended`")),
    };
    let platform_role = match platform_role.as_deref() {
        None => None,
        Some("platform_admin") => Some(PlatformRole::PlatformAdmin),
        Some("user") => Some(PlatformRole::User),
        Some(_) => {
            return Err(Error::invalid("/platform_role", "this is `platform_admin` or `user`"));
        }
    };
    let id = call.request.id("id", "user")?;
    let change = UserChange { status, platform_role };
    call.tell(&user(&call.platform().change_user(call.caller()?, id, change)?))
}

pub(super) fn reset_factors(call: &Call<'_>) -> Result<Answer, Error> {
    let ResetFactorsRequest { reason } = call.request.json()?;
    let id = call.request.id("id", "user")?;
    call.tell(&user(&call.platform().reset_factors(call.caller()?, id, &reason)?))
}

pub(super) fn tenants(call: &Call<'_>) -> Result<Answer, Error> {
    let limit = call.request.limit()?;
    let after = call.request.query("cursor", "the `next_cursor` of the page before")?;
    let found = call.platform().tenants(call.caller()?, after, limit)?;
    let last = found.last().filter(|_| found.len() == limit);
    let next_cursor = last.map(|it| it.tenant.id.to_string());
    call.tell(&Page { items: found.iter().map(tenant).collect(), next_cursor })
}

pub(super) fn change_tenant(call: &Call<'_>) -> Result<Answer, Error> {
    let AdminTenantRequest { status, plan } = call.request.json()?;
    let status = match status.as_deref() {
        None => None,
        Some("active") => Some(TenantStatus::Active),
        Some("suspended") => Some(TenantStatus::Suspended),
        Some(_) => return Err(Error::invalid("/status", "this is `active` or `suspended`")),
    };
    let plan = plan.map(|it| it.parse::<Plan>()).transpose();
    let plan = plan.map_err(|error| Error::invalid("/plan", error))?;
    let id = call.request.id("id", "tenant")?;
    let change = TenantAdminChange { status, plan };
    call.tell(&tenant(&call.platform().administer_tenant(call.caller()?, id, change)?))
}

pub(super) fn break_glass(call: &Call<'_>) -> Result<Answer, Error> {
    let BreakGlassRequest { tenant, reason } = call.request.json()?;
    let (id, glass) = call.platform().break_glass(call.caller()?, &tenant, &reason)?;
    call.tell(&BreakGlassAnswer { tenant_id: id.0, reason: glass.reason, until: time(glass.until) })
}

pub(super) fn rotate_keys(call: &Call<'_>) -> Result<Answer, Error> {
    let RotateKeysRequest { end_old } = call.request.json_or_default()?;
    let kid = call.platform().rotate_keys(&call.caller()?.via)?;
    if end_old {
        call.platform().end_retired_keys(&call.caller()?.via)?;
    }
    call.tell(&RotatedAnswer { kid: kid.to_string() })
}
