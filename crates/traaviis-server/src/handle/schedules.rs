//! Handlers of schedules.

use serde_json::{Value as Json, json};
use traaviis_api::types::{
    Page,
    hooks::{ScheduleAnswer, SchedulePatch, ScheduleRequest},
    instances::ReasonRequest,
};
use traaviis_model::{Text, Value, record::Operation};
use traaviis_platform::{
    Error, ask::Ask, engine::StartAsk, expected::Expected, schedules::Schedule,
};

use super::{Answer, Call, instances::ask};
use crate::request;

fn id<'a>(call: &'a Call<'_>) -> &'a str {
    call.request.part("id")
}

fn told(call: &Call<'_>, it: &Schedule) -> Result<ScheduleAnswer, Error> {
    let shown = match ask(call, Ask::Show { id: it.instance.to_string() }) {
        Err(error) if error.code == "not_found" => json!({ "snapshot": { "status": "ending" } }),
        shown => shown?,
    };
    let snapshot = &shown["snapshot"];
    let data = |key: &str| snapshot["data"][key].clone();
    let status = snapshot["status"].as_str().unwrap_or_default().to_owned();
    let next = match &*status {
        "running" => it.upcoming(call.platform().now()),
        _ => Vec::new(),
    };
    Ok(ScheduleAnswer {
        id: it.id.parse().unwrap_or_default(),
        input: it.input.clone(),
        instance: it.instance.0,
        status,
        started: data("started"),
        skipped: data("skipped"),
        failed: data("failed"),
        next,
        made_at: it.made_at.to_string(),
        made_by: it.made_by.0,
        updated_at: it.updated_at.to_string(),
    })
}

fn answer(call: &Call<'_>, id: &str) -> Result<Answer, Error> {
    let found = call.platform().schedule(call.entered()?, id)?;
    let told = call.shown(json!(told(call, &found.it)?))?;
    Ok(Answer { version: Some(found.version), ..told })
}

pub(super) fn list(call: &Call<'_>) -> Result<Answer, Error> {
    let all = call.platform().schedules(call.entered()?)?;
    let items = all.iter().map(|it| told(call, &it.it)).collect::<Result<Vec<_>, _>>()?;
    call.shown(json!(Page::whole(items)))
}

pub(super) fn show(call: &Call<'_>) -> Result<Answer, Error> {
    answer(call, id(call))
}

pub(super) fn create(call: &Call<'_>) -> Result<Answer, Error> {
    let asked: ScheduleRequest = call.request.json()?;
    put(call, json!(asked), None)
}

pub(super) fn change(call: &Call<'_>) -> Result<Answer, Error> {
    let expected = call.request.expected()?;
    let SchedulePatch(patch) = call.request.json()?;
    let read = call.platform().schedule(call.entered()?, id(call))?;
    let expected = expected.after_reading(read.version);
    let mut input = read.it.input;
    for (key, value) in patch {
        match value {
            Json::Null => drop(input.as_object_mut().and_then(|it| it.remove(&key))),
            value => input[key] = value,
        }
    }
    // What comes out of it must be what could have been asked for.
    let asked: ScheduleRequest = request::merged(input)?;
    put(call, json!(asked), Some(expected))
}

fn put(call: &Call<'_>, input: Json, expected: Option<Expected>) -> Result<Answer, Error> {
    let of = expected.map(|it| (id(call), it));
    let (caller, entered) = (call.caller()?, call.entered()?);
    let made = call.platform().put_schedule(caller, entered, call.engine(), input, of)?;
    answer(call, &made.it.id)
}

pub(super) fn end(call: &Call<'_>) -> Result<Answer, Error> {
    let expected = call.request.expected_if_given();
    call.platform().end_schedule(call.entered()?, call.engine(), id(call), &expected)?;
    call.done()
}

pub(super) fn pause(call: &Call<'_>) -> Result<Answer, Error> {
    let ReasonRequest { reason } = call.request.json_or_default()?;
    turn(call, Operation::Pause { reason: reason.map(Text::from) })
}

pub(super) fn resume(call: &Call<'_>) -> Result<Answer, Error> {
    let ReasonRequest { reason } = call.request.json_or_default()?;
    turn(call, Operation::Resume { reason: reason.map(Text::from) })
}

fn turn(call: &Call<'_>, operation: Operation) -> Result<Answer, Error> {
    call.platform().turn_schedule(call.entered()?, call.engine(), id(call), operation)?;
    answer(call, id(call))
}

/// Starts what a schedule would start, now, as whoever asks.
pub(super) fn run(call: &Call<'_>) -> Result<Answer, Error> {
    let (platform, entered) = (call.platform(), call.entered()?);
    let schedule = platform.schedule(entered, id(call))?.it;
    let found = platform.find_version(entered, schedule.workflow(), None)?;
    let document = || platform.document(&entered.ctx, schedule.workflow(), &found.version);
    let mut input = match &schedule.input["input"] {
        Json::Object(_) => schedule.input["input"].clone(),
        _ => json!({}),
    };
    if let Some(key) = schedule.input["time_as"].as_str() {
        input[key] = json!(platform.now());
    }
    let start = StartAsk {
        hash: &found.hash,
        document: &document,
        id: None,
        input: Value::from(&input),
        tags: Vec::new(),
        correlation: None,
    };
    let started = call.engine().start(&entered.ctx, start)?;
    call.shown(started)
}
