//! Handlers of accounts, sessions and invitations.

use traaviis_api::types::{
    Page,
    identity::{
        ExchangeAnswer, ExchangeRequest, ExchangedType, LoginRequest, PasswordRequest,
        ProfileRequest, ReauthenticateRequest, RefreshRequest, RegisterRequest, RightsAnswer,
        SwitchRequest, TicketAnswer,
    },
    tenants::AcceptRequest,
};
use traaviis_model::{Span, permission::Permission};
use traaviis_platform::{
    Error,
    accounts::{Credentials, ProfileChange, Registration},
    exchange::Wanted,
    invitations::NewUser,
    user::PlatformRole,
};
use traaviis_policy::access::{Action, Freshness};

use super::{Answer, Call, browser};
use crate::{convert, tickets::TICKET_LIFE};

/// What everybody may do who has logged in.
const EVERYBODY: &[&str] = &["profile_view", "profile_edit", "tenant_create", "tenant_join"];

pub(super) fn register(call: &Call<'_>) -> Result<Answer, Error> {
    let RegisterRequest { email, password, name, organisation } = call.request.json()?;
    let given = Registration { email, password, name, organisation };
    browser::told(call, call.platform().register(given, &call.via)?)
}

pub(super) fn login(call: &Call<'_>) -> Result<Answer, Error> {
    let LoginRequest { email, password, totp, tenant } = call.request.json()?;
    // Whoever comes by the name of a tenant means that one.
    let tenant = tenant.as_deref().or(call.request.host_tenant.as_deref());
    let code = totp.as_deref();
    let given = Credentials { email: &email, password: &password, code, tenant };
    browser::told(call, call.platform().log_in_with(given, &call.via)?)
}

pub(super) fn refresh(call: &Call<'_>) -> Result<Answer, Error> {
    let RefreshRequest { refresh_token } = call.request.json_or_default()?;
    let refresh_token = browser::shown(call, refresh_token)?;
    browser::told(call, call.platform().refresh(&refresh_token, &call.via)?)
}

pub(super) fn logout(call: &Call<'_>) -> Result<Answer, Error> {
    call.platform().log_out(call.caller()?)?;
    Ok(browser::forget(call, call.done()?))
}

pub(super) fn switch(call: &Call<'_>) -> Result<Answer, Error> {
    let SwitchRequest { tenant } = call.request.json()?;
    browser::told(call, call.platform().switch(call.caller()?, &tenant)?)
}

pub(super) fn reauthenticate(call: &Call<'_>) -> Result<Answer, Error> {
    let ReauthenticateRequest { password, totp } = call.request.json()?;
    let (password, code) = (password.as_deref(), totp.as_deref());
    let logged_in = call.platform().reauthenticate_with(call.caller()?, password, code)?;
    browser::told(call, logged_in)
}

pub(super) fn ticket(call: &Call<'_>) -> Result<Answer, Error> {
    let ticket = call.app.tickets.make(call.caller()?, call.platform())?;
    call.tell(&TicketAnswer { ticket, expires_in: TICKET_LIFE.as_millis() / 1_000 })
}

pub(super) fn exchange(call: &Call<'_>) -> Result<Answer, Error> {
    let ExchangeRequest { subject_token, audience, scope, expires_in, .. } = match () {
        // As RFC 8693 has it.
        () if call.request.is_form() => call.request.form(&["expires_in"])?,
        () => call.request.json()?,
    };
    let life = expires_in.map(|it| Span::secs(i64::from(it)));
    let (subject, audience) = (&*subject_token, audience.as_deref());
    let wanted = Wanted { subject, audience, scope: scope.as_deref(), life };
    let given = call.platform().exchange_token(call.caller()?, &wanted)?;
    let names: Vec<&str> = given.scopes.iter().map(Permission::as_str).collect();
    call.tell(&ExchangeAnswer {
        access_token: given.access_token,
        issued_token_type: ExchangedType::AccessToken,
        token_type: "Bearer".into(),
        expires_in: given.expires_in.as_millis() / 1_000,
        scope: names.join(" "),
        tenant: given.tenant.to_string(),
    })
}

pub(super) fn me(call: &Call<'_>) -> Result<Answer, Error> {
    let caller = call.caller()?;
    caller.any_session()?;
    let account = call.platform().account(caller.user)?;
    call.versioned(&convert::user(&account), account.version)
}

pub(super) fn change_me(call: &Call<'_>) -> Result<Answer, Error> {
    let ProfileRequest { name, avatar_url, locale, timezone } = call.request.json()?;
    let expected = call.request.expected_if_given();
    let change = ProfileChange { name, avatar_url, locale, timezone };
    let account = call.platform().change_profile(call.caller()?, &expected, change)?;
    call.versioned(&convert::user(&account), account.version)
}

pub(super) fn change_password(call: &Call<'_>) -> Result<Answer, Error> {
    let PasswordRequest { current, new } = call.request.json()?;
    call.platform().change_password(call.caller()?, &current, &new)?;
    call.done()
}

pub(super) fn sessions(call: &Call<'_>) -> Result<Answer, Error> {
    let caller = call.caller()?;
    let (own, sessions) = (caller.session()?, call.platform().sessions(caller)?);
    let items = sessions.iter().map(|it| convert::session(it, own)).collect();
    call.tell(&Page::whole(items))
}

pub(super) fn end_session(call: &Call<'_>) -> Result<Answer, Error> {
    call.platform().end_session(call.caller()?, call.request.id("id", "session")?)?;
    call.done()
}

pub(super) fn end_other_sessions(call: &Call<'_>) -> Result<Answer, Error> {
    call.platform().end_other_sessions(call.caller()?)?;
    call.done()
}

pub(super) fn rights(call: &Call<'_>) -> Result<Answer, Error> {
    let caller = call.caller()?;
    caller.any_session()?;
    // Whoever has left the tenant of the token may do nothing there.
    let entered = caller.scoped_to.and_then(|tenant| {
        call.platform().enter_at_once(caller, tenant, Action::TenantAccess, Freshness::Any)
    });
    call.tell(&RightsAnswer {
        platform: EVERYBODY.iter().map(|it| (*it).to_owned()).collect(),
        platform_admin: caller.platform_role == PlatformRole::PlatformAdmin,
        tenant: entered.as_ref().map(convert::permissions_of),
    })
}

pub(super) fn tenants(call: &Call<'_>) -> Result<Answer, Error> {
    let caller = call.caller()?;
    let mut tenants = call.platform().tenants_of(caller.user)?;
    tenants.retain(|it| caller.only().is_none_or(|only| it.tenant.id == only));
    call.tell(&Page::whole(tenants.iter().map(convert::tenant_brief).collect()))
}

pub(super) fn accept(call: &Call<'_>) -> Result<Answer, Error> {
    let AcceptRequest { token, password, name } = call.request.json()?;
    let logged_in = match (&call.caller, password) {
        (Some(caller), _) => {
            let tenant = call.platform().accept(caller, &token)?;
            call.platform().switch(caller, &tenant.to_string())?
        }
        (None, Some(password)) => {
            let new = NewUser { password, name };
            call.platform().accept_as_new(&token, &new, &call.via)?
        }
        (None, None) => {
            let rule = "log in first, or give the password of a new account";
            return Err(Error::invalid("/password", rule));
        }
    };
    browser::told(call, logged_in)
}

pub(super) fn delete_me(call: &Call<'_>) -> Result<Answer, Error> {
    call.platform().delete_account(call.caller()?)?;
    call.done()
}

pub(super) fn export_me(call: &Call<'_>) -> Result<Answer, Error> {
    let found = call.platform().export_account(call.caller()?, call.engine())?;
    call.tell(&found)
}
