//! Handlers of logins at issuers elsewhere: what a browser is sent, and what it brings back.

use traaviis_api::types::{
    Page,
    factors::{ElsewhereAnswer, ElsewhereRequest, IssuerAnswer, RedirectAnswer},
};
use traaviis_platform::{
    Error,
    oidc::{Finish, Returned, STATE_LIFE, TICKET_LIFE},
};

use super::{Answer, Call, browser, cookie::Cookie};

/// Status of an answer that sends a browser on.
const SEE_OTHER: u16 = 303;

pub(super) fn issuers(call: &Call<'_>) -> Result<Answer, Error> {
    let names = call.platform().issuers().into_iter();
    call.tell(&Page::whole(names.map(|name| IssuerAnswer { name }).collect()))
}

pub(super) fn start(call: &Call<'_>) -> Result<Answer, Error> {
    let return_to = call.request.query.get("return_to").map(String::as_str);
    let started = call.platform().start_elsewhere(call.request.part("issuer"), return_to)?;
    let cookie = cookie(call);
    let seconds = STATE_LIFE.as_millis() / 1_000;
    let mut answer = send_to(call, started.location)?;
    answer.headers.push(("set-cookie", cookie.text(&started.browser, seconds)));
    Ok(answer)
}

pub(super) fn back(call: &Call<'_>) -> Result<Answer, Error> {
    let given = |name: &str| call.request.query.get(name).map(String::as_str);
    let cookie = cookie(call);
    let returned = Returned {
        state: given("state"),
        code: given("code"),
        iss: given("iss"),
        error: given("error"),
        browser: call.request.cookie(&cookie.name),
    };
    let issuer = call.request.part("issuer");
    let proved = call.platform().return_from(issuer, &returned, &call.via)?;
    let mut answer = match proved.return_to {
        // Behind the `#` no server and no log sees it.
        Some(path) => send_to(call, format!("{path}#ticket={}", proved.ticket))?,
        None => {
            let expires_in = TICKET_LIFE.as_millis() / 1_000;
            call.tell(&ElsewhereAnswer { ticket: proved.ticket, expires_in })?
        }
    };
    if let Some(browser) = returned.browser {
        // Until the ticket is used.
        let seconds = TICKET_LIFE.as_millis() / 1_000;
        answer.headers.push(("set-cookie", cookie.text(browser, seconds)));
    }
    Ok(answer)
}

pub(super) fn finish(call: &Call<'_>) -> Result<Answer, Error> {
    let ElsewhereRequest { ticket, totp, tenant } = call.request.json()?;
    let cookie = cookie(call);
    let browser = call.request.cookie(&cookie.name);
    let (code, tenant) = (totp.as_deref(), tenant.as_deref());
    let finish = Finish { ticket: &ticket, browser, code, tenant };
    let logged_in = call.platform().finish_elsewhere(&finish, &call.via)?;
    let mut answer = browser::told(call, logged_in)?;
    answer.headers.push(("set-cookie", cookie.text("", 0)));
    Ok(answer)
}

fn send_to(call: &Call<'_>, location: String) -> Result<Answer, Error> {
    let mut answer = call.tell(&RedirectAnswer { location: location.clone() })?;
    answer.status = SEE_OTHER;
    answer.headers.push(("location", location));
    Ok(answer)
}

/// The cookie of a browser that has begun a login. Lax, since it comes back from another site.
fn cookie(call: &Call<'_>) -> Cookie {
    Cookie::of(call, "oidc", "Lax")
}
