//! Handlers of instances, tasks and incidents: each asks the engine one question.

use serde_json::{Value as Json, json};
use traaviis_api::types::{
    Page,
    instances::{
        AssignRequest, CommentRequest, DecideRequest, DelegateRequest, EditRequest, EventRequest,
        MoveRequest, QueryRequest, ReasonRequest, ResolveRequest, SkipRequest, StartRequest,
    },
};
use traaviis_model::{
    InstanceId, Span, Text, Value, form,
    permission::Permission,
    record::{Operation, Status, TaskAct},
};
use traaviis_platform::{
    Error,
    ask::{Ask, Decision, ListFilter, Wait},
    engine::StartAsk,
    tenant::Payloads,
};
use traaviis_policy::assignee::is_asked;

use super::{Answer, Call, views};

/// Longest wait for what follows an event, in seconds.
const WAIT_SECS_MAX: i64 = 60;
/// Wait unless a caller asks for another one.
const WAIT_SECS: i64 = 10;

pub(super) fn ask(call: &Call<'_>, ask: Ask) -> Result<Json, Error> {
    call.engine().ask(&call.entered()?.ctx, ask)
}

/// Returns the instance of the path; anything but an id names nothing.
pub(super) fn id(call: &Call<'_>) -> Result<String, Error> {
    let id: InstanceId = call.request.id("id", "instance")?;
    Ok(id.to_string())
}

fn change(call: &Call<'_>, question: Ask) -> Result<Answer, Error> {
    let answer = ask(call, question)?;
    call.shown(answer)
}

fn operate(call: &Call<'_>, operation: Operation) -> Result<Answer, Error> {
    let id = id(call)?;
    change(call, Ask::Operate { id, operation })
}

fn reason(call: &Call<'_>) -> Result<Option<Text>, Error> {
    let ReasonRequest { reason } = call.request.json_or_default()?;
    Ok(reason.map(Text::from))
}

pub(super) fn start(call: &Call<'_>) -> Result<Answer, Error> {
    let StartRequest { workflow, version, input, id, tags, correlation } = call.request.json()?;
    wait(call)?;
    let entered = call.entered()?;
    let found = call.platform().find_version(entered, &workflow, version.as_deref())?;
    let document = || call.platform().document(&entered.ctx, &workflow, &found.version);
    let id = id.map(|it| InstanceId::chosen(&it, call.platform().now())).transpose();
    if let Ok(Some(id)) = &id
        && call.platform().is_deleted(entered.ctx.tenant(), &id.to_string())
    {
        let message =
            format!("the id `{id}` is of an instance that was deleted; choose another one");
        return Err(Error::new("already_exists", message));
    }
    let start = StartAsk {
        hash: &found.hash,
        document: &document,
        id: id.map_err(|error| Error::invalid("/id", error))?,
        // A workflow without input takes an empty one, as on the command line.
        input: if input.is_null() { Value::empty_map() } else { Value::from(&input) },
        tags: tags.into_iter().map(Text::from).collect(),
        correlation: correlation_of(correlation)?,
    };
    // Held until the instance is in the log, where it is counted.
    let _place = call.platform().admit_start(entered)?;
    let started = call.engine().start(&entered.ctx, start)?;
    call.shown(started)
}

/// Checks the business key that a caller gives an instance.
pub(super) fn correlation_of(given: Option<String>) -> Result<Option<Text>, Error> {
    let Some(given) = given else { return Ok(None) };
    if form::CORRELATION.read(&given).is_none() {
        let most = form::CORRELATION.most;
        let rule = format!("a business key is a line of 1 to {most} characters");
        return Err(Error::invalid("/correlation", rule));
    }
    Ok(Some(given.into()))
}

pub(super) fn list(call: &Call<'_>) -> Result<Answer, Error> {
    let request = call.request;
    let text = |name: &str| request.query.get(name).cloned();
    let status = text("status").map(|it| serde_json::from_value(json!(it))).transpose();
    let status = status.map_err(|_| Error::invalid("status", "no instance stands so"))?;
    let limit = request.limit()?;
    let filter = ListFilter {
        workflow: text("workflow"),
        version: text("version"),
        status,
        state: text("state"),
        correlation: text("correlation"),
        correlation_id: None,
        tags: text("tag").into_iter().map(Text::from).collect(),
        limit,
        cursor: request.query("cursor", "the `next_cursor` of the page before")?,
    };
    let all = request.query::<bool>("all", "`true` or `false`")?.unwrap_or(false);
    let ctx = &call.entered()?.ctx;
    let mut listing = call.engine().list(ctx, all, &filter)?;
    let (platform, tenant) = (call.platform(), ctx.tenant());
    platform.leave_out_deleted(tenant, &mut listing.rows, |it| it.id.to_string());
    platform.leave_out_deleted(tenant, &mut listing.damaged, |it| {
        it["id"].as_str().unwrap_or_default().to_owned()
    });
    views::listed(call, listing)
}

pub(super) fn delete(call: &Call<'_>) -> Result<Answer, Error> {
    let (id, entered): (InstanceId, _) = (call.request.id("id", "instance")?, call.entered()?);
    let found = ask(call, Ask::Show { id: id.to_string() })?;
    let status = serde_json::from_value::<Status>(found["snapshot"]["status"].clone());
    if !status.is_ok_and(|it| it.is_finished()) {
        let message =
            format!("instance `{id}` is open; cancel it, and delete it once it has ended");
        return Err(Error::new("invalid_state", message));
    }
    call.platform().delete_instance(entered, call.engine(), id)?;
    call.done()
}

pub(super) fn show(call: &Call<'_>) -> Result<Answer, Error> {
    let answer = ask(call, Ask::Show { id: id(call)? })?;
    match unmasked(call)? {
        true => call.tell(&answer),
        false => call.shown(answer),
    }
}

/// Says whether the caller asks to see personal data, and may; then it is in the audit trail.
fn unmasked(call: &Call<'_>) -> Result<bool, Error> {
    let asks = call.request.query::<bool>("unmask", "`true` or `false`")?.unwrap_or(false);
    let entered = call.entered()?;
    if !asks || entered.data_access.payloads != Payloads::Masked {
        return Ok(false);
    }
    let id = call.request.id("id", "instance")?;
    call.platform().unmask(call.caller()?, entered, id)?;
    Ok(true)
}

pub(super) fn history(call: &Call<'_>) -> Result<Answer, Error> {
    let after = call.request.query::<u64>("after_seq", "the number of a record")?;
    let cursor = call.request.query::<u64>("cursor", "the `next_cursor` of the page before")?;
    let after = cursor.or(after).unwrap_or(0);
    let limit = call.request.limit()?;
    let question = Ask::History { id: id(call)?, from: after.saturating_add(1), position: 0 };
    let answer = ask(call, question)?;
    let lines = answer["lines"].as_array().map(Vec::as_slice).unwrap_or_default();
    let lines = lines.iter().take(limit).filter_map(Json::as_str);
    let items: Vec<Json> =
        lines.filter_map(|it| serde_json::from_str(it).ok()).map(without_origin).collect();
    let last = items.last().and_then(|it| it["seq"].as_u64());
    let next_cursor = last.filter(|_| items.len() == limit).map(|it| it.to_string());
    match unmasked(call)? {
        true => call.tell(&Page { items, next_cursor }),
        false => page(call, items, next_cursor),
    }
}

/// Leaves out where an act came from, which is for those who read the audit trail.
fn without_origin(mut record: Json) -> Json {
    record.as_object_mut().map(|it| it.remove("origin"));
    record
}

pub(super) fn send(call: &Call<'_>) -> Result<Answer, Error> {
    let EventRequest { event, data, id: event_id, if_seq } = call.request.json()?;
    let wait = wait(call)?;
    let _turn = wait.is_some().then(|| call.app.wait()).transpose()?;
    let question = Ask::Send {
        id: id(call)?,
        event,
        data: Value::from(&data),
        event_id: event_id.map(Text::from),
        if_seq,
        wait,
    };
    change(call, question)
}

pub(super) fn wait(call: &Call<'_>) -> Result<Option<Wait>, Error> {
    // Also where nothing waits: what is described is looked at.
    let seconds = call.request.query::<i64>("timeout", "a number of seconds")?.unwrap_or(WAIT_SECS);
    if !(1..=WAIT_SECS_MAX).contains(&seconds) {
        return Err(Error::invalid("timeout", format!("a wait takes 1 to {WAIT_SECS_MAX} s")));
    }
    let Some(text) = call.request.query.get("wait") else { return Ok(None) };
    let until = match text.split_once(':') {
        None if text == "step" || text == "final" => json!(text),
        Some(("state", path)) if !path.is_empty() => json!({ "state": path }),
        _ => return Err(Error::invalid("wait", "this is `step`, `final` or `state:PATH`")),
    };
    let until = serde_json::from_value(until);
    let until = until.map_err(|error| Error::invalid("wait", error.to_string()))?;
    Ok(Some(Wait { until, timeout: Span::secs(seconds) }))
}

pub(super) fn query(call: &Call<'_>) -> Result<Answer, Error> {
    let QueryRequest { select } = call.request.json()?;
    // What is computed of a masked value would not look like one any more.
    let sees = call.entered()?.data_access.payloads;
    let answer = ask(call, Ask::Query { id: id(call)?, select, sees })?;
    call.shown(answer)
}

pub(super) fn pause(call: &Call<'_>) -> Result<Answer, Error> {
    operate(call, Operation::Pause { reason: reason(call)? })
}

pub(super) fn resume(call: &Call<'_>) -> Result<Answer, Error> {
    operate(call, Operation::Resume { reason: reason(call)? })
}

pub(super) fn cancel(call: &Call<'_>, terminate: bool) -> Result<Answer, Error> {
    let reason = reason(call)?.map(|it| it.to_string());
    change(call, Ask::Cancel { id: id(call)?, terminate, reason })
}

pub(super) fn retry(call: &Call<'_>) -> Result<Answer, Error> {
    let reason = reason(call)?;
    change(call, Ask::Retry { id: id(call)?, reason, as_new: false, paused: false })
}

pub(super) fn skip(call: &Call<'_>) -> Result<Answer, Error> {
    let SkipRequest { path, value, reason } = call.request.json()?;
    let value = Value::from(&value);
    change(call, Ask::Skip { id: id(call)?, path: path.into(), value, reason: reason.into() })
}

pub(super) fn edit(call: &Call<'_>) -> Result<Answer, Error> {
    let EditRequest { patch, reason } = call.request.json()?;
    let patch = serde_json::from_value(Json::Array(patch));
    let patch = patch.map_err(|error| Error::invalid("/patch", error.to_string()))?;
    operate(call, Operation::EditData { patch, reason: reason.into() })
}

pub(super) fn relocate(call: &Call<'_>) -> Result<Answer, Error> {
    let MoveRequest { to, reason } = call.request.json()?;
    let to = to.into_iter().map(Text::from).collect();
    operate(call, Operation::Move { to, reason: reason.into() })
}

/// Answers with a page, as [`Page`] has it, with what the caller may see of it.
pub(super) fn page(
    call: &Call<'_>,
    items: Vec<Json>,
    next_cursor: Option<String>,
) -> Result<Answer, Error> {
    call.shown(json!(Page { items, next_cursor }))
}

pub(super) fn page_of(call: &Call<'_>, question: Ask, key: &str) -> Result<Answer, Error> {
    let mut answer = ask(call, question)?;
    let items: Vec<Json> = answer[key].as_array_mut().map(std::mem::take).unwrap_or_default();
    page(call, items, None)
}

pub(super) fn tasks(call: &Call<'_>) -> Result<Answer, Error> {
    let mut answer = ask(call, Ask::Tasks)?;
    let mut items: Vec<Json> =
        answer["tasks"].as_array_mut().map(std::mem::take).unwrap_or_default();
    let entered = call.entered()?;
    if !entered.standing.permissions.has(Permission::WorkflowMonitor) {
        let names = call.platform().names_of(call.caller()?, entered)?;
        items.retain(|it| concerns(it, &names));
    }
    page(call, items, None)
}

pub(super) fn task(call: &Call<'_>) -> Result<Answer, Error> {
    let path = call.request.query.get("path").cloned();
    let found = ask(call, Ask::ShowTask { id: id(call)?, path });
    let entered = call.entered()?;
    if entered.standing.permissions.has(Permission::WorkflowMonitor) {
        return call.shown(found?);
    }
    // Whoever may not see instances learns only of those that ask them.
    let names = call.platform().names_of(call.caller()?, entered)?;
    match found {
        Ok(task) if concerns(&task, &names) => call.shown(task),
        _ => Err(Error::not_found("instance", call.request.part("id"))),
    }
}

/// Says whether a task asks somebody, or was handed to them.
fn concerns(task: &Json, names: &[Text]) -> bool {
    let asks = task["assignees"].as_array().into_iter().flatten().filter_map(Json::as_str);
    let claimed = task["claimed_by"].as_str();
    is_asked(asks, names, false) || claimed.is_some_and(|it| names.iter().any(|of| **of == *it))
}

fn act(call: &Call<'_>, act: TaskAct) -> Result<Answer, Error> {
    let path = call.request.query.get("path").cloned();
    let (platform, entered) = (call.platform(), call.entered()?);
    let names = Some(platform.names_of(call.caller()?, entered)?);
    let (act, taker) = match act {
        TaskAct::Delegate { to, comment } => {
            let (to, taker) = platform.taker_of(entered, &to)?;
            (TaskAct::Delegate { to, comment }, Some(taker))
        }
        act => (act, None),
    };
    change(call, Ask::Task { id: id(call)?, path, act, names, taker })
}

pub(super) fn claim(call: &Call<'_>) -> Result<Answer, Error> {
    act(call, TaskAct::Claim)
}

pub(super) fn release(call: &Call<'_>) -> Result<Answer, Error> {
    act(call, TaskAct::Release)
}

pub(super) fn delegate(call: &Call<'_>) -> Result<Answer, Error> {
    let DelegateRequest { to, comment } = call.request.json()?;
    act(call, TaskAct::Delegate { to: to.into(), comment: comment.map(Text::from) })
}

pub(super) fn comment(call: &Call<'_>) -> Result<Answer, Error> {
    let CommentRequest { text } = call.request.json()?;
    act(call, TaskAct::Comment { text: text.into() })
}

pub(super) fn decide(call: &Call<'_>) -> Result<Answer, Error> {
    let DecideRequest { outcome, form, comment } = call.request.json()?;
    let (outcome, form) = (outcome.into(), Value::from(&form));
    act(call, TaskAct::Decide { outcome, form, comment: comment.map(Text::from) })
}

pub(super) fn incidents(call: &Call<'_>) -> Result<Answer, Error> {
    page_of(call, Ask::Incidents, "incidents")
}

/// Returns the incident of the path: `INSTANCE:NUMBER`, or the instance.
fn incident(call: &Call<'_>) -> Result<String, Error> {
    let text = call.request.part("id");
    let instance = text.split(':').next().unwrap_or_default();
    let is_good = instance.len() == 36 && instance.parse::<InstanceId>().is_ok();
    match is_good {
        true => Ok(text.to_owned()),
        false => Err(Error::not_found("incident", text)),
    }
}

pub(super) fn resolve(call: &Call<'_>) -> Result<Answer, Error> {
    let ResolveRequest { decision, value, reason } = call.request.json()?;
    let decision = match &*decision {
        "happened" => Decision::Happened(Value::from(&value)),
        "retry" => Decision::Retry,
        "fail" => Decision::Fail,
        _ => return Err(Error::invalid("/decision", "this is `happened`, `retry` or `fail`")),
    };
    let (id, path) = (incident(call)?, call.request.query.get("path").cloned());
    change(call, Ask::Resolve { id, path, decision, reason: reason.map(Text::from) })
}

pub(super) fn assign(call: &Call<'_>) -> Result<Answer, Error> {
    let AssignRequest { to } = call.request.json()?;
    let (id, path) = (incident(call)?, call.request.query.get("path").cloned());
    change(call, Ask::Assign { id, path, to: to.map(Text::from) })
}
