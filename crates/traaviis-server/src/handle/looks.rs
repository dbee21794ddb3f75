//! Handlers of looks at one instance, and of events to many.

use std::{collections::BTreeMap, sync::mpsc};

use serde::Deserialize as _;
use serde_json::{Value as Json, json};
use traaviis_api::types::views::{
    BatchRequest, BroadcastRequest, ForkRequest, InstanceFilter, ProbeRequest,
};
use traaviis_model::{InstanceId, Span, Text, Timestamp, Value, form::BATCH_MAX, record::Status};
use traaviis_platform::{
    Error,
    ask::{Ask, Filter, ForkAsk, ListFilter},
    engine::EventAsk,
};

use super::{
    Answer, Call,
    instances::{ask, id, page_of},
};

/// Says how an instance stands, for whoever is about to follow it.
pub(super) fn stands(call: &Call<'_>) -> Result<Answer, Error> {
    let shown = ask(call, Ask::Show { id: id(call)? })?;
    let snapshot = &shown["snapshot"];
    let is_over = !snapshot["finished_at"].is_null();
    call.tell(&json!({ "seq": snapshot["seq"], "is_over": is_over }))
}

pub(super) fn replay(call: &Call<'_>) -> Result<Answer, Error> {
    let until = call.request.query::<u64>("until", "the number of a record")?;
    let shown = ask(call, Ask::ReplayTo { id: id(call)?, until })?;
    call.shown(shown)
}

pub(super) fn tree(call: &Call<'_>) -> Result<Answer, Error> {
    let shown = ask(call, Ask::Trees { id: id(call)? })?;
    call.shown(shown)
}

pub(super) fn effects(call: &Call<'_>) -> Result<Answer, Error> {
    page_of(call, Ask::Effects { id: id(call)? }, "effects")
}

pub(super) fn state(call: &Call<'_>) -> Result<Answer, Error> {
    let shown = ask(call, Ask::State { id: id(call)? })?;
    call.shown(shown)
}

pub(super) fn measures(call: &Call<'_>) -> Result<Answer, Error> {
    let shown = ask(call, Ask::Measures { id: id(call)? })?;
    call.shown(shown)
}

/// Counts the instances of a tenant, ended ones too.
pub(super) fn stats(call: &Call<'_>) -> Result<Answer, Error> {
    let counted = ask(call, Ask::Count { all: true, filter: ListFilter::default() })?;
    let counts = counted["counts"].as_array().map(Vec::as_slice).unwrap_or_default();
    let (mut by_status, mut by_workflow) = (BTreeMap::new(), BTreeMap::new());
    let (mut total, mut open) = (0, 0);
    for row in counts {
        let (word, count) = (|key: &str| row[key].as_str().unwrap_or_default(), &row["count"]);
        let count = count.as_u64().unwrap_or_default();
        let is_open =
            !Status::ALL.iter().any(|it| it.as_str() == word("status") && it.is_finished());
        total += count;
        *by_status.entry(word("status")).or_insert(0) += count;
        let of_workflow: &mut (u64, u64) = by_workflow.entry(word("workflow")).or_default();
        match is_open {
            true => (open, of_workflow.0) = (open + count, of_workflow.0 + count),
            false => of_workflow.1 += count,
        }
    }
    let by_workflow = by_workflow.into_iter().map(
        |(workflow, (open, ended))| json!({ "workflow": workflow, "open": open, "ended": ended }),
    );
    let entered = call.entered()?;
    let times = counts.iter().map(|it| Timestamp::deserialize(&it["last_activity"]));
    let last = times.filter_map(Result::ok).max();
    call.tell(&json!({
        "tenant_id": entered.ctx.tenant(),
        "instances": {
            "total": total,
            "open": open,
            "by_status": by_status,
            "by_workflow": by_workflow.collect::<Vec<_>>(),
            "last_activity": last,
        },
        "workflows": call.platform().workflows(entered)?.len(),
        "timestamp": call.platform().now(),
    }))
}

pub(super) fn transitions(call: &Call<'_>) -> Result<Answer, Error> {
    let shown = ask(call, Ask::Transitions { id: id(call)? })?;
    call.shown(shown)
}

pub(super) fn probe(call: &Call<'_>) -> Result<Answer, Error> {
    let ProbeRequest { event, data } = call.request.json()?;
    let (event, data) = (event.into(), Value::from(&data));
    let shown = ask(call, Ask::Probe { id: id(call)?, event, data })?;
    call.shown(shown)
}

pub(super) fn fork(call: &Call<'_>) -> Result<Answer, Error> {
    let ForkRequest { seq, results, data_patch, paused, dry_run, reason } =
        call.request.json_or_default()?;
    let results = serde_json::from_value(json!(results.unwrap_or_else(|| "recorded".into())));
    let results =
        results.map_err(|_| Error::invalid("/results", "this is `recorded` or `live`"))?;
    let patch = serde_json::from_value(Json::Array(data_patch));
    let patch = patch.map_err(|error| Error::invalid("/data_patch", error.to_string()))?;
    let reason = reason.map(Text::from);
    let fork = ForkAsk { at: seq, reason, results, patch, paused, dry_run };
    let forked = ask(call, Ask::Fork { id: id(call)?, fork })?;
    call.shown(forked)
}

/// Sends many events at once; each is answered for itself.
pub(super) fn send_many(call: &Call<'_>) -> Result<Answer, Error> {
    let BatchRequest { events } = call.request.json()?;
    if events.len() > BATCH_MAX {
        let rule = format!("a batch has at most {BATCH_MAX} events");
        return Err(Error::invalid("/events", rule));
    }
    let ctx = &call.entered()?.ctx;
    let (sender, receiver) = mpsc::channel();
    let mut results: Vec<Json> = Vec::with_capacity(events.len());
    for (at, it) in events.iter().enumerate() {
        results.push(json!({ "instance": it.instance }));
        let is_plain = it.instance.len() == 36;
        let Some(id) = it.instance.parse::<InstanceId>().ok().filter(|_| is_plain) else {
            let error = Error::not_found("instance", &it.instance);
            results[at]["error"] = told(&error);
            continue;
        };
        let event = EventAsk {
            id,
            event: it.event.as_str().into(),
            data: Value::from(&it.data),
            event_id: it.id.as_deref().map(Text::from).or_else(|| derived(call, at)),
            if_seq: it.if_seq,
        };
        let sender = sender.clone();
        let reply = Box::new(move |taken| {
            // The request may have been given up.
            let _ = sender.send((at, taken));
        });
        call.engine().send_then(ctx, event, reply);
    }
    drop(sender);
    let mut taken = 0;
    for (at, told_of) in receiver {
        match told_of {
            Ok(accepted) => {
                let after = &accepted.snapshot;
                taken += 1;
                results[at]["status"] = json!(after.status);
                results[at]["state"] = json!(after.state());
                results[at]["seq"] = json!(after.seq);
                results[at]["accepted_at"] = json!(accepted.seq);
                if accepted.replayed {
                    results[at]["replayed"] = json!(true);
                }
            }
            Err(error) => results[at]["error"] = told(&error),
        }
    }
    let (total, refused) = (results.len(), results.len() - taken);
    call.shown(json!({ "total": total, "taken": taken, "refused": refused, "results": results }))
}

/// Returns the id of an event of many: by it the engine knows the event where the whole request is
/// repeated and its answer is lost.
fn derived(call: &Call<'_>, at: usize) -> Option<Text> {
    call.key().map(|key| format!("request.{}.{at}", key.name()).into())
}

fn told(error: &Error) -> Json {
    json!({ "code": error.code, "message": error.message, "details": error.details })
}

pub(super) fn broadcast(call: &Call<'_>) -> Result<Answer, Error> {
    let BroadcastRequest { event, data, filter, key } = call.request.json()?;
    let filter = filter_of(&filter, call.platform().now())?;
    let (event, data) = (event.into(), Value::from(&data));
    let key = key.or_else(|| call.key().map(|it| format!("request.{}", it.name())));
    let sent = ask(call, Ask::Broadcast { event, data, filter, key })?;
    call.shown(sent)
}

/// Reads a filter, which must say something: nobody means every instance by saying nothing.
pub(super) fn filter_of(filter: &InstanceFilter, now: Timestamp) -> Result<Filter, Error> {
    let says_nothing = *filter == InstanceFilter { all: filter.all, ..InstanceFilter::default() };
    if says_nothing != filter.all {
        let rule = "name the instances, or all of them with `all`, and not both";
        return Err(Error::invalid("/filter", rule));
    }
    let text = |it: &Option<String>| it.as_deref().map(Text::from);
    let status = filter.status.as_ref().map(|it| serde_json::from_value(json!(it))).transpose();
    let older = filter.older_than_s.map(|it| now.plus(Span::secs(-i64::from(it))));
    Ok(Filter {
        workflow: text(&filter.workflow),
        version: text(&filter.version),
        tags: filter.tags.iter().map(|it| it.as_str().into()).collect(),
        created_before: older,
        status: status.map_err(|_| Error::invalid("/filter/status", "no instance stands so"))?,
        state: text(&filter.state),
        incident: text(&filter.incident),
        error: text(&filter.error),
        correlation: text(&filter.correlation),
        ended: Some(false),
        ..Filter::default()
    })
}
