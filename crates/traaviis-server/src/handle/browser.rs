//! Refresh tokens of browsers, which rest in a cookie that no script reads.
//!
//! A browser says so with [`CSRF`]; other clients get and send the token in a body. The cookie is
//! sent by this site alone and, by its prefix, from this very host over TLS alone. What uses it
//! asks for the header besides: a page of another site can add none without asking this server
//! first, which says no.

use traaviis_api::{
    Operation,
    operation::{CSRF, CSRF_VALUE},
};
use traaviis_platform::{Error, accounts::LoggedIn};

use super::{Answer, Call, cookie::Cookie};
use crate::{convert, request::Request};

/// Refuses a header that does not say what it is for, before anything is done.
pub(super) fn check(row: &Operation, request: &Request) -> Result<(), Error> {
    let is_wrong =
        row.is_about_refresh_token() && !matches!(given(request), None | Some(CSRF_VALUE));
    match is_wrong {
        true => Err(Error::invalid(CSRF, format!("this is `{CSRF_VALUE}`, or absent"))),
        false => Ok(()),
    }
}

fn given(request: &Request) -> Option<&str> {
    request.csrf.as_deref()
}

/// Answers a login: a browser keeps the refresh token in its cookie.
pub(super) fn told(call: &Call<'_>, logged_in: LoggedIn) -> Result<Answer, Error> {
    let mut body = convert::login(logged_in);
    let kept = given(call.request).and_then(|_| body.refresh_token.take());
    let mut answer = call.tell(&body)?;
    if let Some(token) = kept {
        let seconds = call.platform().settings().session_ttl.as_millis() / 1_000;
        answer.headers.push(("set-cookie", cookie(call).text(&token, seconds)));
    }
    Ok(answer)
}

/// Returns the refresh token of a request: the one in its body, or that of a browser.
pub(super) fn shown(call: &Call<'_>, in_body: Option<String>) -> Result<String, Error> {
    if let Some(token) = in_body {
        return Ok(token);
    }
    let kept = call.request.cookie(&cookie(call).name).filter(|it| !it.is_empty());
    let Some(kept) = kept else {
        let rule = "give the refresh token, or keep it in a cookie from the login on";
        return Err(Error::invalid("/refresh_token", rule));
    };
    match given(call.request) {
        Some(_) => Ok(kept.to_owned()),
        None => {
            let message = format!("a cookie counts with the header `{CSRF}: {CSRF_VALUE}` alone");
            Err(Error::new("csrf_header_required", message))
        }
    }
}

/// Takes the cookie away, if there is one.
pub(super) fn forget(call: &Call<'_>, mut answer: Answer) -> Answer {
    let cookie = cookie(call);
    if call.request.cookie(&cookie.name).is_some() {
        answer.headers.push(("set-cookie", cookie.text("", 0)));
    }
    answer
}

/// The cookie of the refresh token; no other site has it sent.
fn cookie(call: &Call<'_>) -> Cookie {
    Cookie::of(call, "rt", "Strict")
}
