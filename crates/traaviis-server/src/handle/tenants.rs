//! Handlers of tenants: settings, members, roles, invitations, keys, the audit trail.

use serde_json::Value as Json;
use traaviis_api::types::{
    Page,
    tenants::{
        ApiKeyRequest, AuditCheck, ChangeMemberRequest, ChangeTenantRequest, CreateTenantRequest,
        DeleteTenantRequest, InviteRequest, RoleRequest, ServiceAccountRequest, SettingsBody,
        TransferRequest,
    },
};
use traaviis_model::{
    RoleId, Span, UserId,
    permission::{PermissionSet, Role},
};
use traaviis_platform::{
    Error,
    api_keys::KeyGiven,
    expected::Expected,
    ledger::Versioned,
    members::{MemberChange, RoleGiven},
    tenant::{Member, MemberStatus, Tenant},
    tenants::TenantChange,
};

use super::{Answer, Call};
use crate::convert;

pub(super) fn tell_tenant(call: &Call<'_>, tenant: &Versioned<Tenant>) -> Result<Answer, Error> {
    let count = match &call.entered {
        Some(entered) => call.platform().members(entered)?.len(),
        // Whoever has just made it is alone in it.
        None => 1,
    };
    call.versioned(&convert::tenant(&tenant.it, count), tenant.version)
}

pub(super) fn create(call: &Call<'_>) -> Result<Answer, Error> {
    let CreateTenantRequest { name, slug } = call.request.json()?;
    let tenant = call.platform().create_tenant(call.caller()?, &name, slug.as_deref())?;
    tell_tenant(call, &tenant)
}

pub(super) fn show(call: &Call<'_>) -> Result<Answer, Error> {
    tell_tenant(call, &call.platform().tenant(&call.entered()?.ctx)?)
}

pub(super) fn change(call: &Call<'_>) -> Result<Answer, Error> {
    let expected = call.request.expected()?;
    let ChangeTenantRequest { name, slug, domain } = call.request.json()?;
    let change = TenantChange { name, slug, domain };
    tell_tenant(call, &call.platform().change_tenant(call.entered()?, expected, &change)?)
}

pub(super) fn delete(call: &Call<'_>) -> Result<Answer, Error> {
    let DeleteTenantRequest { confirm } = call.request.json()?;
    tell_tenant(call, &call.platform().delete_tenant(call.entered()?, &confirm)?)
}

pub(super) fn restore(call: &Call<'_>) -> Result<Answer, Error> {
    tell_tenant(call, &call.platform().restore_tenant(call.entered()?)?)
}

pub(super) fn transfer(call: &Call<'_>) -> Result<Answer, Error> {
    let TransferRequest { user_id } = call.request.json()?;
    let (caller, entered) = (call.caller()?, call.entered()?);
    let offer = call.platform().offer_transfer(caller, entered, UserId(user_id))?;
    call.tell(&convert::transfer(&offer))
}

pub(super) fn accept_transfer(call: &Call<'_>) -> Result<Answer, Error> {
    call.platform().accept_transfer(call.caller()?, call.entered()?)?;
    call.done()
}

pub(super) fn withdraw_transfer(call: &Call<'_>) -> Result<Answer, Error> {
    call.platform().withdraw_transfer(call.caller()?, call.entered()?)?;
    call.done()
}

pub(super) fn service_accounts(call: &Call<'_>) -> Result<Answer, Error> {
    let found = call.platform().service_accounts(call.entered()?)?;
    call.tell(&Page::whole(found.iter().map(convert::service_account).collect()))
}

pub(super) fn create_service_account(call: &Call<'_>) -> Result<Answer, Error> {
    let ServiceAccountRequest { name, role } = call.request.json()?;
    let (caller, entered) = (call.caller()?, call.entered()?);
    let made = call.platform().make_service_account(caller, entered, &name, &role)?;
    call.tell(&convert::service_account(&made))
}

pub(super) fn delete_service_account(call: &Call<'_>) -> Result<Answer, Error> {
    let id = call.request.id("id", "service account")?;
    call.platform().delete_service_account(call.entered()?, id)?;
    call.done()
}

pub(super) fn leave(call: &Call<'_>) -> Result<Answer, Error> {
    call.platform().leave(call.caller()?, call.entered()?)?;
    call.done()
}

fn tell_config(call: &Call<'_>, tenant: Versioned<Tenant>) -> Result<Answer, Error> {
    let settings = tenant.it.settings.as_object().cloned().unwrap_or_default();
    call.versioned(&SettingsBody(settings), tenant.version)
}

pub(super) fn config(call: &Call<'_>) -> Result<Answer, Error> {
    tell_config(call, call.platform().tenant(&call.entered()?.ctx)?)
}

pub(super) fn change_config(call: &Call<'_>) -> Result<Answer, Error> {
    let expected = call.request.expected()?;
    let SettingsBody(patch) = call.request.json()?;
    let patch = Json::Object(patch);
    tell_config(call, call.platform().change_settings(call.entered()?, expected, &patch)?)
}

pub(super) fn permissions(call: &Call<'_>) -> Result<Answer, Error> {
    call.tell(&convert::permissions_of(call.entered()?))
}

fn tell_member(call: &Call<'_>, member: &Versioned<Member>) -> Result<Answer, Error> {
    let profile = call.platform().profile_in(call.entered()?, member.it.user_id)?;
    call.versioned(&convert::member(&member.it, profile), member.version)
}

pub(super) fn members(call: &Call<'_>) -> Result<Answer, Error> {
    let mut items = Vec::new();
    for member in call.platform().members(call.entered()?)? {
        let profile = call.platform().profile_in(call.entered()?, member.it.user_id)?;
        items.push(convert::member(&member.it, profile));
    }
    call.tell(&Page::whole(items))
}

fn own_list(words: &[String]) -> Result<PermissionSet, Error> {
    convert::permissions("permissions", words)
}

fn member_id(call: &Call<'_>) -> Result<UserId, Error> {
    call.request.id("id", "member")
}

pub(super) fn member(call: &Call<'_>) -> Result<Answer, Error> {
    tell_member(call, &call.platform().member(call.entered()?, member_id(call)?)?)
}

pub(super) fn change_member(call: &Call<'_>) -> Result<Answer, Error> {
    let id = member_id(call)?;
    let expected = call.request.expected()?;
    let ChangeMemberRequest { role, permissions, data_access } = call.request.json()?;
    let change = MemberChange {
        role: role.map(Into::into),
        permissions: permissions.as_deref().map(own_list).transpose()?,
        data_access: data_access.as_ref().map(convert::data_access).transpose()?,
        status: None,
    };
    let entered = call.entered()?;
    tell_member(call, &call.platform().change_member(entered, id, expected, &change)?)
}

pub(super) fn remove_member(call: &Call<'_>) -> Result<Answer, Error> {
    let expected = call.request.expected_if_given();
    call.platform().remove_member(call.entered()?, member_id(call)?, &expected)?;
    call.done()
}

fn set_status(call: &Call<'_>, status: MemberStatus) -> Result<Answer, Error> {
    let change = MemberChange { status: Some(status), ..MemberChange::default() };
    let (entered, id) = (call.entered()?, member_id(call)?);
    tell_member(call, &call.platform().change_member(entered, id, Expected::ANY, &change)?)
}

pub(super) fn suspend_member(call: &Call<'_>) -> Result<Answer, Error> {
    set_status(call, MemberStatus::Suspended)
}

pub(super) fn activate_member(call: &Call<'_>) -> Result<Answer, Error> {
    set_status(call, MemberStatus::Active)
}

pub(super) fn roles(call: &Call<'_>) -> Result<Answer, Error> {
    let mut items: Vec<_> = Role::ALL.iter().map(|it| convert::fixed_role(*it)).collect();
    let made = call.platform().roles(call.entered()?)?;
    items.extend(made.iter().map(|it| convert::role(&it.it)));
    call.tell(&Page::whole(items))
}

pub(super) fn role(call: &Call<'_>) -> Result<Answer, Error> {
    let id = call.request.id("id", "role")?;
    let role = call.platform().role(call.entered()?, id)?;
    call.versioned(&convert::role(&role.it), role.version)
}

fn put_role(call: &Call<'_>, replaced: Option<(RoleId, Expected)>) -> Result<Answer, Error> {
    let RoleRequest { name, base, permissions, data_access } = call.request.json()?;
    let given = RoleGiven {
        name,
        base: base.parse().map_err(|error: String| Error::invalid("/base", error))?,
        permissions: convert::permissions("permissions", &permissions)?,
        data_access: data_access.as_ref().map(convert::data_access).transpose()?,
    };
    let role = call.platform().put_role(call.entered()?, replaced, given)?;
    call.versioned(&convert::role(&role.it), role.version)
}

pub(super) fn create_role(call: &Call<'_>) -> Result<Answer, Error> {
    put_role(call, None)
}

pub(super) fn replace_role(call: &Call<'_>) -> Result<Answer, Error> {
    let id = call.request.id("id", "role")?;
    put_role(call, Some((id, call.request.expected()?)))
}

pub(super) fn delete_role(call: &Call<'_>) -> Result<Answer, Error> {
    let id = call.request.id("id", "role")?;
    call.platform().delete_role(call.entered()?, id, call.request.expected()?)?;
    call.done()
}

pub(super) fn invitations(call: &Call<'_>) -> Result<Answer, Error> {
    let open = call.platform().invitations(call.entered()?)?;
    call.tell(&Page::whole(open.into_iter().map(convert::invitation).collect()))
}

pub(super) fn invite(call: &Call<'_>) -> Result<Answer, Error> {
    let InviteRequest { email, role, permissions } = call.request.json()?;
    let permissions = permissions.as_deref().map(own_list).transpose()?;
    let (caller, entered) = (call.caller()?, call.entered()?);
    let invited = call.platform().invite(caller, entered, &email, &role, permissions)?;
    call.tell(&convert::invitation(invited))
}

pub(super) fn resend(call: &Call<'_>) -> Result<Answer, Error> {
    let id = call.request.id("id", "invitation")?;
    let (caller, entered) = (call.caller()?, call.entered()?);
    let invited = call.platform().resend_invitation(caller, entered, id)?;
    call.tell(&convert::invitation(invited))
}

pub(super) fn revoke(call: &Call<'_>) -> Result<Answer, Error> {
    let id = call.request.id("id", "invitation")?;
    call.platform().revoke_invitation(call.entered()?, id)?;
    call.done()
}

pub(super) fn api_keys(call: &Call<'_>) -> Result<Answer, Error> {
    let keys = call.platform().api_keys(call.caller()?, call.entered()?)?;
    call.tell(&Page::whole(keys.iter().map(|it| convert::api_key(&it.it, None)).collect()))
}

pub(super) fn create_api_key(call: &Call<'_>) -> Result<Answer, Error> {
    let request: ApiKeyRequest = call.request.json()?;
    let ApiKeyRequest { name, scopes, expires_in, ip_allow, service_account } = request;
    let life = match expires_in {
        Some(seconds) => {
            let life = seconds.checked_mul(1_000_000).map(Span);
            Some(life.ok_or_else(|| Error::invalid("/expires_in", "this is too long"))?)
        }
        None => None,
    };
    let given = KeyGiven {
        name,
        scopes: convert::permissions("scopes", &scopes)?,
        life,
        ip_allow,
        service_account: service_account.map(UserId),
    };
    let (made, key) = call.platform().make_api_key(call.caller()?, call.entered()?, given)?;
    call.tell(&convert::api_key(&made.it, Some(key)))
}

pub(super) fn end_api_key(call: &Call<'_>) -> Result<Answer, Error> {
    let id = call.request.id("id", "API key")?;
    call.platform().end_api_key(call.caller()?, call.entered()?, id)?;
    call.done()
}

pub(super) fn audit(call: &Call<'_>) -> Result<Answer, Error> {
    let limit = call.request.limit()?;
    let before = call.request.query::<u64>("cursor", "the `next_cursor` of the page before")?;
    let items = call.platform().audit(call.entered()?, before, limit)?;
    let next_cursor = match items.last() {
        Some(last) if items.len() == limit && last["seq"] != 1 => Some(last["seq"].to_string()),
        _ => None,
    };
    call.tell(&Page { items, next_cursor })
}

pub(super) fn verify_audit(call: &Call<'_>) -> Result<Answer, Error> {
    let found = call.platform().verify_audit(call.entered()?)?;
    call.tell(&AuditCheck {
        whole: found.broken.is_none(),
        count: found.count,
        hash: found.head.hash.to_string(),
        broken_seq: found.broken.as_ref().map(|it| it.seq),
        why: found.broken.map(|it| it.why),
    })
}
