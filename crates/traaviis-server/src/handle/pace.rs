//! Limits of a request: what is counted for it, before it does any work.

use std::{net::IpAddr, sync::PoisonError};

use serde_json::Value as Json;
use traaviis_api::{Access, Op, Operation};
use traaviis_model::TenantId;
use traaviis_platform::{Caller, Error, caller::Proof};
use traaviis_policy::plan::Plan;

use crate::{App, limits::Pace, request::Request};

/// Paths of what people who have not logged in try, where guessing must be slow.
const ATTEMPTS: &[&str] = &["/auth/", "/invitations/"];

/// Counts an attempt of somebody who need not show a token.
pub(super) fn attempt(app: &App, row: &Operation, request: &Request) -> Result<(), Error> {
    let is_public = matches!(row.access, Access::Public | Access::Either);
    if !is_public || !ATTEMPTS.iter().any(|it| row.path.starts_with(it)) {
        return Ok(());
    }
    let address = request.address.as_deref().and_then(|it| it.parse::<IpAddr>().ok());
    if let Some(address) = address {
        note(request, app.limits.from_address(address))?;
    }
    // Whatever else the body holds is read, and refused, later.
    let body: Json = serde_json::from_slice(&request.body).unwrap_or_default();
    if let Some(email) = body["email"].as_str() {
        note(request, app.limits.at_account(email))?;
    }
    Ok(())
}

/// Counts a request of somebody who was recognised.
pub(crate) fn caller(
    app: &App,
    row: &Operation,
    request: &Request,
    caller: &Caller,
) -> Result<(), Error> {
    if matches!(row.op, Op::Reauthenticate | Op::ChangePassword) {
        // Whoever has a token may not have the password.
        note(request, app.limits.at_account(&caller.user.to_string()))?;
    }
    let tenant: Option<TenantId> = match row.access.is_of_tenant() {
        true => app.platform.resolve(caller, request.part("t")).ok(),
        false => caller.scoped_to,
    };
    let plan: Plan = app.platform.plan_of(tenant);
    let who = match caller.proof {
        Proof::Key { id, .. } => id.0,
        Proof::Session { .. } | Proof::Exchanged { .. } => caller.user.0,
    };
    note(request, app.limits.of_caller(who, plan))
}

/// Keeps for the answer how the caller stands: to the limit that refuses, or else to the first.
fn note(request: &Request, taken: Result<Pace, Error>) -> Result<(), Error> {
    let (pace, refused) = match taken {
        Ok(pace) => (pace, None),
        Err(error) => {
            let number = |key: &str| error.details[key].as_str().and_then(|it| it.parse().ok());
            let limit = error.details["limit"].as_u64().and_then(|it| u32::try_from(it).ok());
            let reset = number("retry_after").unwrap_or(1);
            (Pace { limit: limit.unwrap_or_default(), remaining: 0, reset }, Some(error))
        }
    };
    let mut kept = request.pace.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.is_none() || refused.is_some() {
        *kept = Some(pace);
    }
    refused.map_or(Ok(()), Err)
}
