//! What arrives at hooks: messages of others, which start instances or arrive at them.
//!
//! A message that its sender has given an id is carried out once; see [`crate::idempotency`].

use std::net::IpAddr;

use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};
use traaviis_api::{Operation, types::hooks::HookAnswer};
use traaviis_model::{InstanceId, Snapshot, TenantCtx, Text, Value};
use traaviis_platform::{
    Entered, Error,
    ask::{Ask, ListFilter, Until, Wait},
    engine::{HookDeed, Knock, StartAsk},
    hooks::{Hook, Message},
};
use uuid::Uuid;

use super::{Answer, Call};
use crate::idempotency::{self, Turn};

/// An end that a sender waits for.
#[derive(Clone, Debug)]
pub(super) struct Awaited {
    pub(super) ctx: TenantCtx,
    pub(super) instance: InstanceId,
    pub(super) wait: Wait,
}

/// Takes a message, and says what its sender waits for besides.
///
/// What is kept for repetitions says that it has arrived, so one that comes while or after the
/// first waits is answered by the end as well.
pub(super) fn receive(call: &Call<'_>) -> Result<(Answer, Option<Awaited>), Error> {
    let (answer, entered, hook) = arrive(call)?;
    let Some(timeout) = hook.wait else { return Ok((answer, None)) };
    let told: HookAnswer = serde_json::from_slice(&answer.body)
        .map_err(|error| Error::new("internal", error.to_string()))?;
    let wait = Wait { until: Until::Final, timeout };
    let instance = InstanceId(told.instance);
    if call.platform().is_deleted(entered.ctx.tenant(), &instance.to_string()) {
        return Ok((answer, None));
    }
    Ok((answer, Some(Awaited { ctx: entered.ctx, instance, wait })))
}

/// Answers with how an instance has ended. Of an error it is the code: what the document does not
/// put into the output is no matter of whoever sends messages.
pub(super) fn ended(row: &'static Operation, snapshot: &Snapshot) -> Result<Answer, Error> {
    let status = serde_json::to_value(snapshot.status).unwrap_or_default();
    let answer = HookAnswer {
        status: status.as_str().map(str::to_owned),
        output: Json::from(&snapshot.output),
        error: snapshot.error.as_ref().map(|it| it.code.to_string()),
        ..arrived(snapshot.id)
    };
    let answer = Answer::of(row, &answer)?;
    Ok(Answer { status: 200, ..answer })
}

fn arrive(call: &Call<'_>) -> Result<(Answer, Entered, Hook), Error> {
    let request = call.request;
    let (tenant, name) = (request.part("t"), request.part("name"));
    let headers = &request.message;
    let message = Message {
        id: headers.id.as_deref(),
        timestamp: headers.timestamp.as_deref(),
        signature: headers.signature.as_deref(),
        token: headers.token.as_deref().or_else(|| request.token()),
        body: &request.body,
    };
    let entered = call.platform().enter_by_hook(tenant, name, &message, call.via.clone());
    let (entered, hook) = match entered {
        Ok(entered) => entered,
        Err(error) => {
            // Whoever guesses is slowed down, and keeps nobody out who has a proof.
            let address = request.address.as_deref().and_then(|it| it.parse::<IpAddr>().ok());
            if let Some(address) = address {
                call.app.limits.from_address(address)?;
            }
            return Err(error);
        }
    };
    let plan = call.platform().plan_of(Some(entered.ctx.tenant()));
    call.app.limits.of_caller(bucket(&entered, name), plan)?;
    let data: Json = request.any_json_or_default()?;
    let Some(key) = &entered.via.request_key else {
        let answer = carry_out(call, &entered, &hook, None, &data)?;
        return Ok((answer, entered, hook));
    };
    let answer = match idempotency::begin(call.app, call.row, Some(&entered), key)? {
        Turn::Again(answer) => answer,
        Turn::Done(used) => match used.instance() {
            Some((id, _)) => told(call, id)?,
            None => return Err(Error::not_found("instance", &used.resource_id)),
        },
        Turn::First => {
            let id = headers.id.as_deref().map(Text::from);
            let answer = carry_out(call, &entered, &hook, id, &data);
            idempotency::end(call.app, Some(&entered), key, answer.as_ref().ok());
            answer?
        }
    };
    Ok((answer, entered, hook))
}

/// Returns what the pace of a hook is counted by.
fn bucket(entered: &Entered, name: &str) -> Uuid {
    let digest = Sha256::digest(format!("hook {} {name}", entered.ctx.tenant()));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    Uuid::from_bytes(bytes)
}

fn carry_out(
    call: &Call<'_>,
    entered: &Entered,
    hook: &Hook,
    id: Option<Text>,
    data: &Json,
) -> Result<Answer, Error> {
    let platform = call.platform();
    let document = || platform.document(&entered.ctx, &hook.workflow, &hook.version);
    let knock = Knock { name: &hook.name, id, data: Value::from(data), at: platform.now() };
    match call.engine().hook(&hook.hash, &document, knock)? {
        HookDeed::Start { input } => {
            let (tags, correlation) = (Vec::new(), None);
            let (hash, id) = (&*hook.hash, None);
            let start = StartAsk { hash, document: &document, id, input, tags, correlation };
            // Held until the instance is in the log, where it is counted.
            let _place = platform.admit_start(entered)?;
            let started = call.engine().start(&entered.ctx, start)?;
            told(call, id_of(&started["id"])?)
        }
        HookDeed::Send { event, correlation, data } => {
            let id = find(call, entered, hook, &correlation)?;
            let send = Ask::Send {
                id: id.to_string(),
                event: event.to_string(),
                data,
                event_id: None,
                if_seq: None,
                wait: None,
            };
            call.engine().ask(&entered.ctx, send)?;
            told(call, id)
        }
    }
}

/// Finds the open instance with a business key; the newest one, if there are several.
fn find(
    call: &Call<'_>,
    entered: &Entered,
    hook: &Hook,
    correlation: &Text,
) -> Result<InstanceId, Error> {
    for name in call.platform().names_of_workflow(&entered.ctx, &hook.workflow)? {
        let filter = ListFilter {
            workflow: Some(name.to_string()),
            correlation: Some(correlation.to_string()),
            limit: 1,
            ..ListFilter::default()
        };
        let ask = Ask::Ps { all: false, archived: false, filter };
        let listed = call.engine().ask(&entered.ctx, ask)?;
        if let Some(found) = listed["instances"].as_array().and_then(|it| it.last()) {
            return id_of(&found["id"]);
        }
    }
    Err(Error::not_found("open instance with the correlation", correlation))
}

fn id_of(text: &Json) -> Result<InstanceId, Error> {
    let id = text.as_str().and_then(|it| it.parse().ok());
    id.ok_or_else(|| Error::new("internal", "an instance has no id"))
}

fn told(call: &Call<'_>, instance: InstanceId) -> Result<Answer, Error> {
    call.tell(&arrived(instance))
}

fn arrived(instance: InstanceId) -> HookAnswer {
    HookAnswer { instance: instance.0, status: None, output: Json::Null, error: None }
}
