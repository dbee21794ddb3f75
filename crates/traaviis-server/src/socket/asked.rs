//! What clients ask for on a topic, each as the operation of the table that it stands for.

use serde_json::{Value as Json, json};
use traaviis_api::{
    Op,
    channels::{Channel, channel},
};
use traaviis_model::{
    InstanceId, TenantId,
    document::{Format, read_tree, tree::NodeKind},
    form,
    permission::Permission,
};
use traaviis_platform::{Caller, Error};
use traaviis_policy::access::{Action, Freshness};

use super::{
    frame::{Frame, ORDERED},
    hub::{Subscriber, Topic, Watched},
    limits::{CHOSEN_MAX, FOLLOWED_MAX},
    only::Only,
    topic::meta,
};
use crate::{
    App,
    handle::{self, Answer, pace},
    request::Request,
};

/// Characters of what somebody says about themselves.
const PRESENCE_CHARS: usize = 100;

/// Answers what is asked for on a topic.
pub(super) fn answer(
    app: &App,
    caller: &Caller,
    topic: Topic,
    frame: &Frame,
    socket: u64,
) -> Result<Json, Error> {
    let payload = &frame.payload;
    if channel_of(topic).and_then(|it| it.asked(&frame.event)).is_none() {
        return Err(unheard_of(&frame.event));
    }
    let text = |key: &str| payload[key].as_str().unwrap_or_default().to_owned();
    let ask = |op, body: Json, id: &str| carry_out(app, caller, topic, op, body, id);
    let event = |data: &str| json!({ "event": text("event"), "data": payload[data] });
    match (topic, &*frame.event) {
        (Topic::Tenant(_), "workflow:create") => ask(Op::CreateWorkflow, payload.clone(), ""),
        (Topic::Tenant(_), "workflow:execute") => execute(app, caller, topic, payload),
        (Topic::Tenant(_), ORDERED) => execute_effect(app, caller, topic, frame),
        (Topic::Tenant(tenant), "monitoring:subscribe") => {
            watch(app, caller, tenant, payload, socket)
        }
        (Topic::Tenant(tenant), "collaboration:update") => {
            collaborate(app, caller, tenant, payload, socket)
        }
        (Topic::Tenant(_), "tenant:update_config") => update_config(app, caller, topic, payload),
        (Topic::Tenant(_), "presence:update") => {
            let mut meta = meta(app, socket);
            for key in ["status", "activity"] {
                if let Some(said) = payload[key].as_str() {
                    meta[key] = json!(said.chars().take(PRESENCE_CHARS).collect::<String>());
                }
            }
            app.hub.arrive(topic, &caller.user.to_string(), socket, &meta);
            Ok(json!({}))
        }
        (Topic::Machines(_), "create_fsm") => {
            let started = json!({ "workflow": text("module"), "input": payload["config"] });
            let started = ask(Op::Start, started, "")?;
            Ok(json!({ "fsm_id": started["id"], "details": started }))
        }
        (Topic::Machines(_), "send_event") => {
            ask(Op::SendEvent, event("event_data"), &text("fsm_id"))
        }
        (Topic::Machines(_), "batch_send_events") => batch(app, caller, topic, payload),
        (Topic::Machines(_), "validate_transition") => {
            ask(Op::ValidateEvent, event("event_data"), &text("fsm_id"))
        }
        (Topic::Machines(_), "get_fsm_state") => ask(Op::ShowInstance, Json::Null, &text("fsm_id")),
        (Topic::Machines(_), "list_fsms") => {
            let listed = ask(Op::Instances, payload.clone(), "")?;
            Ok(json!({ "fsms": listed["items"], "next_cursor": listed["next_cursor"] }))
        }
        (Topic::Machines(tenant), "destroy_fsm") => {
            let action = Action::Needs(Permission::WorkflowDelete);
            app.platform.enter(caller, tenant, action, Freshness::Any)?;
            ask(Op::CancelInstance, json!({}), &text("fsm_id"))
        }
        (Topic::Machines(_), "get_available_modules") => {
            let listed = ask(Op::Modules, Json::Null, "")?;
            Ok(json!({ "available_modules": listed["items"] }))
        }
        (Topic::Machines(_), "get_fsm_metrics") => {
            ask(Op::InstanceMetrics, Json::Null, &text("fsm_id"))
        }
        (Topic::Machines(_), "get_tenant_stats") => ask(Op::TenantStats, Json::Null, ""),
        (Topic::Machines(_), "subscribe_to_fsm") => {
            subscribe(app, caller, topic, (payload, socket))
        }
        (Topic::Machines(_), "unsubscribe_from_fsm") => unsubscribe(app, topic, payload, socket),
        (Topic::Machines(_), "ping") => {
            Ok(json!({ "pong": true, "timestamp": app.platform.now() }))
        }
        (Topic::Instance(_, id), "send_event") => {
            ask(Op::SendEvent, event("event_data"), &id.to_string())
        }
        (_, other) => Err(unheard_of(other)),
    }
}

fn unheard_of(event: &str) -> Error {
    Error::new("unknown_event", format!("`{event}` cannot be asked for on this topic"))
}

/// Returns the row of a topic in the table of channels.
fn channel_of(topic: Topic) -> Option<&'static Channel> {
    channel(match topic {
        Topic::Tenant(_) => "tenant",
        Topic::Workflows(_) => "workflows",
        Topic::Effects(_) => "effects",
        Topic::Machines(_) => "machines",
        Topic::Instance(..) => "instance",
        Topic::Tasks(_) => "tasks",
        Topic::Monitoring(_, Watched::Instances) => "watched_instances",
        Topic::Monitoring(_, Watched::Security) => "watched_security",
        Topic::Activity(_) => "activity",
    })
}

/// Tells the others on the topic of a tenant what one does to something, before any of it is kept:
/// those who may see such things.
fn collaborate(
    app: &App,
    caller: &Caller,
    tenant: TenantId,
    payload: &Json,
    socket: u64,
) -> Result<Json, Error> {
    let permission = match payload["resource_type"].as_str() {
        Some("workflow") => Permission::WorkflowEdit,
        Some("effect") => Permission::EffectsEdit,
        _ => return Err(Error::invalid("/resource_type", "this is `workflow` or `effect`")),
    };
    let id = payload["resource_id"].as_str().filter(|it| form::NAME.read(it).is_some());
    let id = id.ok_or_else(|| {
        let most = form::NAME.most;
        Error::invalid(
            "/resource_id",
            format!("this is a name or an id, of 1 to {most} characters"),
        )
    })?;
    app.platform.enter(caller, tenant, Action::Needs(permission), Freshness::Any)?;
    let told = json!({
        "resource_type": payload["resource_type"], "resource_id": id,
        "operation": payload["operation"], "user_id": caller.user,
        "timestamp": app.platform.now(),
    });
    let is_other = |it: &Subscriber| it.sees.is_monitor && it.socket != socket;
    app.hub.tell_those(Topic::Tenant(tenant), "collaboration:updated", &told, is_other);
    Ok(json!({}))
}

/// Sends an event, and tells those who may see instances who did so.
fn execute(app: &App, caller: &Caller, topic: Topic, payload: &Json) -> Result<Json, Error> {
    let id = payload["workflow_id"].as_str().unwrap_or_default();
    let event = json!({ "event": payload["event"], "data": payload["event_data"] });
    let taken = carry_out(app, caller, topic, Op::SendEvent, event, id)?;
    let told = json!({
        "workflow_id": id, "event": payload["event"], "status": taken["status"],
        "state": taken["state"], "seq": taken["seq"], "user_id": caller.user,
        "timestamp": app.platform.now(),
    });
    app.hub.tell_those(topic, "workflow:executed", &told, |it| it.sees.is_monitor);
    Ok(taken)
}

/// Has an instance run an effect: `{workflow_id}` and the body of the operation.
fn execute_effect(app: &App, caller: &Caller, topic: Topic, frame: &Frame) -> Result<Json, Error> {
    let id = frame.payload["workflow_id"].as_str().unwrap_or_default();
    let mut request = asking(caller, topic, Op::RunEffect, id);
    // What was sent, so that keys keep their order.
    let text = frame.text.as_deref().unwrap_or_default();
    let sent = read_tree(text, Format::Json).ok();
    let mut body = sent.and_then(|it| it.items().get(4).cloned());
    if let Some(NodeKind::Map(entries)) = body.as_mut().map(|it| &mut it.kind) {
        entries.retain(|(key, _)| &*key.text != "workflow_id");
    }
    let body = body.ok_or_else(|| Error::new("effect_invalid", "the effect cannot be read"))?;
    request.body = body.to_json().into_bytes();
    carried(app, caller, Op::RunEffect, &request).map(|it| told(&it))
}

/// Lets the socket watch what it names, in the place of what it watched before.
fn watch(
    app: &App,
    caller: &Caller,
    tenant: TenantId,
    payload: &Json,
    socket: u64,
) -> Result<Json, Error> {
    let action = Action::Needs(Permission::SystemMetricsView);
    app.platform.enter(caller, tenant, action, Freshness::Any)?;
    let read = |it: &Json| Watched::ALL.into_iter().find(|all| *it == *all.as_str());
    let named = payload["resource_types"].as_array();
    // Nothing twice: a message that says no more than another is not kept, or answered, longer.
    let named = named.filter(|it| it.len() <= Watched::ALL.len());
    let what: Option<Vec<Watched>> = named.and_then(|it| it.iter().map(read).collect());
    let what = what.ok_or_else(|| {
        let words = Watched::ALL.map(Watched::as_str).join("`, `");
        Error::invalid("/resource_types", format!("this is a list of `{words}`"))
    })?;
    let watched = app.hub.watch(tenant, socket, &what);
    watched.ok_or_else(|| Error::new("not_found", "join the topic first"))?;
    Ok(json!({ "resource_types": what.iter().map(|it| it.as_str()).collect::<Vec<_>>() }))
}

/// Returns the machines that a message names: `fsm_id`, or many as `fsm_ids`.
pub(super) fn machines(payload: &Json) -> Result<Vec<InstanceId>, Error> {
    let one = |it: &Json| -> Option<InstanceId> {
        it.as_str().filter(|it| it.len() == 36).and_then(|it| it.parse().ok())
    };
    let many = match (&payload["fsm_id"], &payload["fsm_ids"]) {
        (id, Json::Null) => one(id).map(|it| vec![it]),
        (Json::Null, Json::Array(ids)) if ids.len() <= CHOSEN_MAX => ids.iter().map(one).collect(),
        _ => None,
    };
    many.ok_or_else(|| {
        let rule = format!("`fsm_id` is the id of a machine, `fsm_ids` are up to {CHOSEN_MAX}");
        Error::invalid("/fsm_id", rule)
    })
}

/// Chooses machines, all of them or none.
pub(super) fn choose(only: &mut Only, machines: &[InstanceId]) -> Result<usize, Error> {
    match only.add(machines) {
        true => Ok(only.count()),
        false => {
            let message = format!(
                "a socket chooses at most {FOLLOWED_MAX} machines, and all sockets together are \
                 near what this server keeps of them; choose fewer, or hear of all"
            );
            Err(Error::new("quota_exceeded", message))
        }
    }
}

/// Lets the socket hear of machines that it chooses, and of no others from the first choice on.
fn subscribe(
    app: &App,
    caller: &Caller,
    topic: Topic,
    (payload, socket): (&Json, u64),
) -> Result<Json, Error> {
    let machines = machines(payload)?;
    let chosen = app.hub.choose(&topic, socket, |only| match only {
        Some(only) => choose(only, &machines),
        None => {
            let mut first = app.hub.only();
            let count = choose(&mut first, &machines)?;
            *only = Some(first);
            Ok(count)
        }
    });
    let count = chosen.unwrap_or_else(|| Err(Error::new("not_found", "join the topic first")))?;
    let id = &payload["fsm_id"];
    if id.is_null() {
        return Ok(json!({ "subscribed": count }));
    }
    // Looked at after it is heard, so that nothing falls between the two.
    let text = id.as_str().unwrap_or_default();
    let shown = carry_out(app, caller, topic, Op::ShowInstance, Json::Null, text);
    let shown = shown.inspect_err(|_| {
        app.hub.choose(&topic, socket, |only| only.as_mut().map(|it| it.remove(&machines)));
    })?;
    Ok(json!({ "fsm_id": id, "subscribed": count, "details": shown }))
}

/// Lets the socket hear of machines no more that it has chosen.
fn unsubscribe(app: &App, topic: Topic, payload: &Json, socket: u64) -> Result<Json, Error> {
    let machines = machines(payload)?;
    let left = app.hub.choose(&topic, socket, |only| {
        only.as_mut().map(|it| {
            it.remove(&machines);
            it.count()
        })
    });
    match left.flatten() {
        Some(count) => Ok(json!({ "subscribed": count })),
        None => {
            let why = "this socket has chosen no machines, so it hears of all of them";
            Err(Error::invalid("/fsm_id", why))
        }
    }
}

/// Sends many events at once, and tells those who listen how many were taken.
fn batch(app: &App, caller: &Caller, topic: Topic, payload: &Json) -> Result<Json, Error> {
    let events = payload["events"].as_array().map(Vec::as_slice).unwrap_or_default();
    let one = |it: &Json| json!({ "instance": it["fsm_id"], "event": it["event"], "data": it["event_data"] });
    let asked = json!({ "events": events.iter().map(one).collect::<Vec<_>>() });
    let told = carry_out(app, caller, topic, Op::SendEvents, asked, "")?;
    let result = |it: &Json| {
        let mut result = it.clone();
        let id = result.as_object_mut().and_then(|it| it.remove("instance"));
        result["fsm_id"] = id.unwrap_or_default();
        result
    };
    let results = told["results"].as_array().into_iter().flatten().map(result);
    let results: Vec<Json> = results.collect();
    let summary = json!({
        "total_events": told["total"], "taken": told["taken"], "refused": told["refused"],
    });
    // Of which machines is not told, so it is for those who hear of all.
    app.hub.tell_those(topic, "batch_events_processed", &summary, |it| it.only.is_none());
    let mut answer = summary;
    answer["results"] = results.into();
    Ok(answer)
}

/// Changes settings of a tenant: `{config, version}`, with the version that was read.
fn update_config(app: &App, caller: &Caller, topic: Topic, asked: &Json) -> Result<Json, Error> {
    let mut request = asking(caller, topic, Op::ChangeConfig, "");
    request.body = asked["config"].to_string().into_bytes();
    request.if_match = asked["version"].as_u64().map(|it| it.to_string());
    let answer = carried(app, caller, Op::ChangeConfig, &request)?;
    Ok(json!({ "config": told(&answer), "version": answer.version }))
}

/// Carries out an operation of the table as the caller, with the rights that its row asks for.
pub(super) fn carry_out(
    app: &App,
    caller: &Caller,
    topic: Topic,
    op: Op,
    asked: Json,
    id: &str,
) -> Result<Json, Error> {
    let row = op.row();
    let mut request = asking(caller, topic, op, id);
    match row.body {
        Some(_) => request.body = asked.to_string().into_bytes(),
        None => {
            for (name, value) in asked.as_object().into_iter().flatten() {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                request.query.insert(name.clone(), text);
            }
        }
    }
    carried(app, caller, op, &request).map(|it| told(&it))
}

fn carried(app: &App, caller: &Caller, op: Op, request: &Request) -> Result<Answer, Error> {
    // A message counts as the request that it stands for.
    pace::caller(app, op.row(), request, caller)?;
    handle::as_caller(app, op.row(), request, caller.clone())
}

/// Returns the body of an answer; what has no body answers with nothing.
fn told(answer: &Answer) -> Json {
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

/// Returns a request for an operation in the tenant of a topic.
fn asking(caller: &Caller, topic: Topic, op: Op, id: &str) -> Request {
    let tenant = topic.tenant().map(|it: TenantId| it.to_string()).unwrap_or_default();
    Request {
        path: op.row().path.into(),
        parts: [("t".to_owned(), tenant), ("id".to_owned(), id.to_owned())].into(),
        content_type: Some("application/json".into()),
        id: caller.via.request_id.as_deref().unwrap_or_default().into(),
        ..Request::default()
    }
}
