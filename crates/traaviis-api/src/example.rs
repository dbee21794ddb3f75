//! An example of the body of each operation that takes one, as the description shows it.
//!
//! The server takes each of them where what they name is there; a test sends them all. They are
//! about one workflow, a door that opens and shuts.

use serde_json::{Value as Json, json};

use crate::Op;

const TOKEN: &str = "tt_3f9c1d2e5b7a4860917e2d4c6b8a0f13";
const USER: &str = "01a22de4-4812-753c-a467-e46b65ce8c90";
const PASSWORD: &str = "correct horse battery";

/// Returns the example of an operation; none for what takes no body.
pub fn of(op: Op) -> Option<Json> {
    Some(match op {
        Op::Register
        | Op::Login
        | Op::Refresh
        | Op::Switch
        | Op::Reauthenticate
        | Op::VerifyEmail
        | Op::ResendVerification
        | Op::RequestReset
        | Op::ConfirmReset
        | Op::LoginByPasskey
        | Op::FinishElsewhere
        | Op::ExchangeToken
        | Op::AddFactor
        | Op::ConfirmFactor
        | Op::ChangeMe
        | Op::ChangePassword
        | Op::AcceptInvitation => of_account(op)?,
        Op::CreateTenant
        | Op::ChangeTenant
        | Op::DeleteTenant
        | Op::TransferTenant
        | Op::ChangeConfig
        | Op::ChangeMember
        | Op::CreateRole
        | Op::ReplaceRole
        | Op::Invite
        | Op::CreateApiKey
        | Op::CreateServiceAccount
        | Op::ChangePlan
        | Op::PayInvoice
        | Op::SetBudgets
        | Op::SetIssuer
        | Op::CreateAlertRule
        | Op::ChangeAlertRule
        | Op::SetSecret
        | Op::DetectPersonal
        | Op::ExportSubject
        | Op::EraseSubject => of_tenant(op)?,
        Op::AdminChangeUser => json!({ "status": "suspended" }),
        Op::AdminChangeTenant => json!({ "plan": "pro" }),
        Op::BreakGlass => json!({ "tenant": "acme", "reason": "ticket 4711: the door is stuck" }),
        Op::ResetFactors => json!({ "reason": "ticket 4712: lost phone and codes" }),
        Op::AdminSetFlag => json!({ "setting": "25%" }),
        Op::AdminMaintain => json!({ "on": true, "reason": "disks are exchanged until 14:00" }),
        Op::AdminRotateKeys => json!({ "end_old": false }),
        Op::AdminPaid => json!({ "reference": "transfer of 3 December" }),
        Op::AdminCredit => json!({ "amount": "4.50", "reason": "two hours without service" }),
        _ => of_work(op)?,
    })
}

fn of_account(op: Op) -> Option<Json> {
    Some(match op {
        Op::Register => json!({
            "email": "ada@example.org", "password": PASSWORD, "name": "Ada Lovelace",
            "organisation": "Engines",
        }),
        Op::Login => json!({ "email": "ada@example.org", "password": PASSWORD }),
        Op::Refresh => json!({ "refresh_token": TOKEN }),
        Op::Switch => json!({ "tenant": "engines" }),
        Op::Reauthenticate => json!({ "password": PASSWORD }),
        Op::VerifyEmail => json!({ "token": TOKEN }),
        Op::ResendVerification | Op::RequestReset => json!({ "email": "ada@example.org" }),
        Op::ConfirmReset => json!({ "token": TOKEN, "password": "staple battery horse" }),
        Op::LoginByPasskey => json!({ "credential": credential() }),
        Op::FinishElsewhere => json!({ "ticket": TOKEN }),
        Op::ExchangeToken => json!({
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": TOKEN,
            "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "scope": "workflow_monitor", "expires_in": 600,
        }),
        Op::AddFactor => json!({ "kind": "totp", "name": "phone" }),
        Op::ConfirmFactor => json!({ "code": "492039" }),
        Op::ChangeMe => json!({ "name": "Ada King", "locale": "en", "timezone": "Europe/London" }),
        Op::ChangePassword => json!({ "current": PASSWORD, "new": "staple battery horse" }),
        Op::AcceptInvitation => json!({ "token": TOKEN, "password": PASSWORD, "name": "Bob" }),
        _ => return None,
    })
}

/// What a browser gives (`PublicKeyCredential.toJSON()`), cut short.
fn credential() -> Json {
    json!({
        "id": "AQIDBAUGBwg", "rawId": "AQIDBAUGBwg", "type": "public-key",
        "response": { "clientDataJSON": "e30", "authenticatorData": "AA", "signature": "AA" },
    })
}

fn of_tenant(op: Op) -> Option<Json> {
    Some(match op {
        Op::CreateTenant => json!({ "name": "Acme", "slug": "acme" }),
        Op::ChangeTenant => json!({
            "name": "Acme Doors", "slug": "acme-doors", "domain": "acme.example",
        }),
        Op::DeleteTenant => json!({ "confirm": "acme" }),
        Op::TransferTenant => json!({ "user_id": USER }),
        Op::ChangeConfig => json!({ "open_hooks": false }),
        Op::ChangeMember => json!({ "role": "developer" }),
        Op::CreateRole | Op::ReplaceRole => json!({
            "name": "Doorkeeper", "base": "viewer",
            "permissions": ["workflow_monitor", "workflow_execute"],
        }),
        Op::Invite => json!({ "email": "bob@example.org", "role": "viewer" }),
        Op::CreateApiKey => json!({
            "name": "ci", "scopes": ["workflow_monitor"], "expires_in": 86_400,
            "ip_allow": ["127.0.0.0/8"],
        }),
        Op::CreateServiceAccount => json!({ "name": "robot", "role": "viewer" }),
        Op::ChangePlan => json!({ "plan": "starter" }),
        Op::PayInvoice => json!({ "reference": "transfer of 3 December" }),
        Op::SetBudgets => json!({ "day": { "usd": "5.00" }, "month": { "tokens": 1_000_000 } }),
        Op::SetIssuer => json!({
            "url": "https://login.acme.example", "client_id": "traaviis",
            "domains": ["acme.example"], "otherwise": "viewer",
        }),
        Op::CreateAlertRule => json!({
            "name": "doors that fail", "measure": "failed_instances", "above": 10, "window": "5m",
        }),
        Op::ChangeAlertRule => json!({ "above": 20, "muted": false }),
        Op::SetSecret => json!({ "value": "open sesame", "workflows": ["Door"] }),
        Op::DetectPersonal => json!({ "value": "write to ada@example.org" }),
        Op::ExportSubject | Op::EraseSubject => json!({ "subject": "visitor-7" }),
        _ => return None,
    })
}

fn of_work(op: Op) -> Option<Json> {
    let filter = || json!({ "workflow": "Door" });
    Some(match op {
        Op::CreateWorkflow | Op::ValidateWorkflow | Op::ReplaceDraft => {
            json!({ "document": door() })
        }
        Op::PatchDraft => json!({ "description": "Opens, and shuts." }),
        Op::RenameWorkflow => json!({ "name": "Gate" }),
        Op::Publish => json!({ "notes": "the first one", "upgrade": "none" }),
        Op::SimulateWorkflow => json!({
            "document": door(), "steps": [{ "event": "open" }, { "advance": "3s" }],
        }),
        Op::TestWorkflow => json!({ "version": "1.0.0" }),
        Op::ImportWorkflow => json!({ "from": "scxml", "document": SCXML }),
        Op::PlanUpgrade => json!({ "canary_percent": 10, "hold_s": 60, "rate": 100 }),
        Op::Start => json!({ "workflow": "Door", "input": {}, "tags": ["front"] }),
        Op::SendEvent | Op::ValidateEvent => json!({ "event": "open", "data": {} }),
        Op::QueryInstance => json!({ "select": "status" }),
        Op::PauseInstance
        | Op::ResumeInstance
        | Op::CancelInstance
        | Op::TerminateInstance
        | Op::RetryInstance
        | Op::PauseSchedule
        | Op::ResumeSchedule => json!({ "reason": "the hinge is being oiled" }),
        Op::SkipEffect => json!({ "path": "/ring", "value": null, "reason": "nobody is in" }),
        Op::EditData => json!({
            "patch": [{ "op": "add", "path": "/oiled", "value": true }], "reason": "it was",
        }),
        Op::MoveInstance => json!({ "to": ["ajar"], "reason": "somebody stood in it" }),
        Op::ForkInstance => json!({ "results": "recorded", "paused": true }),
        Op::SendEvents => json!({ "events": [{ "instance": USER, "event": "open" }] }),
        Op::Broadcast => json!({ "event": "shut", "filter": filter() }),
        Op::BulkInstances => json!({
            "operation": { "action": "send", "event": "open" }, "filter": filter(), "rate": 100,
        }),
        Op::CreateSchedule => json!({ "workflow": "Door", "cron": "0 7 * * *" }),
        Op::ChangeSchedule => json!({ "cron": "30 7 * * *" }),
        Op::CreateWebhook => json!({
            "url": "https://hooks.acme.example/doors", "events": ["finished", "incident_opened"],
        }),
        Op::Redeliver => json!({ "delivery": 1 }),
        Op::ReceiveHook => json!({ "who": "postman" }),
        Op::RunEffect => json!({ "do": { "type": "delay", "duration": "1s" } }),
        Op::CreateNamedEffect => json!({
            "name": "pause", "description": "Waits a moment.",
            "do": { "type": "delay", "duration": "1s" },
        }),
        Op::ReplaceNamedEffect => json!({ "do": { "type": "delay", "duration": "2s" } }),
        Op::DecideTask => json!({ "outcome": "approve", "comment": "let them in" }),
        Op::DelegateTask => json!({ "to": "user:bob@example.org" }),
        Op::CommentTask => json!({ "text": "who is it?" }),
        Op::ResolveIncident => json!({ "decision": "retry", "reason": "the bell rings again" }),
        Op::AssignIncident => json!({ "to": "ada" }),
        _ => return None,
    })
}

fn door() -> Json {
    json!({
        "traaviis": "1",
        "name": "Door",
        "version": "1.0.0",
        "initial": "shut",
        "events": { "open": {}, "shut": {} },
        "states": {
            "shut": { "on": { "open": "ajar" } },
            "ajar": { "on": { "shut": "shut" } },
        },
        "tests": [{
            "name": "it opens",
            "steps": [{ "send": "open" }],
            "expect": { "state": "ajar" },
        }],
    })
}

const SCXML: &str = r#"<scxml xmlns="http://www.w3.org/2005/07/scxml" version="1.0" name="Hatch"
 initial="shut"><state id="shut"><transition event="open" target="ajar"/></state>
 <state id="ajar"/></scxml>"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::OPERATIONS;

    #[test]
    fn what_takes_a_body_has_an_example_and_nothing_else_has_one() {
        for row in OPERATIONS {
            assert_eq!(of(row.op).is_some(), row.body.is_some(), "{row:?}");
        }
    }
}
