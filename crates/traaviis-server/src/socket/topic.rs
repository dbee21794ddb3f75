//! Topics: who may hear one, what can be asked for on it, and as which operation.

use std::sync::Arc;

use serde_json::{Value as Json, json};
use tokio::sync::{Notify, mpsc};
use traaviis_api::Op;
use traaviis_model::{TenantId, permission::Permission};
use traaviis_platform::{Caller, Entered, Error};
use traaviis_policy::access::{Action, Freshness};

use super::{
    frame::Frame,
    hub::{Hub, Subscriber},
};
use crate::{App, handle, request::Request};

/// Events of one `batch_send_events`.
const BATCH_MAX: usize = 1_000;
/// Records that a join replays at once.
const REPLAY_MAX: u64 = 200;

/// Kinds of topics.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// What members of a tenant tell each other, and who is there.
    Tenant,
    /// The machines of a tenant.
    Machines,
    /// One instance.
    Instance(String),
    /// What waits for people.
    Tasks,
    /// What concerns one user.
    Activity,
}

/// A topic that a socket hears.
#[derive(Clone, Debug)]
pub(super) struct Joined {
    kind: Kind,
    tenant: Option<TenantId>,
    join_ref: Option<String>,
    user: String,
}

impl Joined {
    /// Returns a frame of the join, for what the server says on it.
    pub fn frame(&self, topic: &str) -> Frame {
        Frame {
            join_ref: self.join_ref.clone(),
            reference: None,
            topic: topic.to_owned(),
            event: String::new(),
            payload: Json::Null,
        }
    }

    /// Takes the socket off the topic.
    pub fn leave(&self, hub: &Hub, topic: &str, socket: u64) {
        hub.leave(topic, socket);
        if self.kind == Kind::Tenant {
            hub.depart(topic, &self.user, socket);
        }
    }

    /// Says whether the caller may still hear it.
    pub fn may_still(&self, app: &App, caller: &Caller) -> Result<(), Error> {
        match self.tenant {
            Some(tenant) => enter(app, caller, tenant, &self.kind).map(drop),
            None => Ok(()),
        }
    }
}

fn enter(app: &App, caller: &Caller, tenant: TenantId, kind: &Kind) -> Result<Entered, Error> {
    let action = match kind {
        Kind::Tenant | Kind::Tasks | Kind::Activity => Action::TenantAccess,
        Kind::Machines | Kind::Instance(_) => Action::Needs(Permission::WorkflowMonitor),
    };
    app.platform.enter(caller, tenant, action, Freshness::Any)
}

/// Lets a socket hear a topic: returns the reply, and what is said right after it.
pub(super) fn join(
    app: &App,
    caller: &Caller,
    frame: &Frame,
    (socket, queue, slow): (u64, mpsc::Sender<Arc<str>>, Arc<Notify>),
) -> Result<(Joined, Json, Vec<String>), Error> {
    let topic = &frame.topic;
    let unknown = || Error::not_found("topic", topic);
    let (word, name) = topic.split_once(':').ok_or_else(unknown)?;
    let kind = match word {
        "tenant" => Kind::Tenant,
        "fsm" => Kind::Machines,
        "instance" => Kind::Instance(name.to_owned()),
        "tasks" => Kind::Tasks,
        "user_activity" if name == caller.user.to_string() => Kind::Activity,
        _ => return Err(unknown()),
    };
    let tenant = match kind {
        Kind::Activity => None,
        // An instance is looked for in the tenant that the token is scoped to.
        Kind::Instance(_) => Some(app.platform.resolve(caller, "current")?),
        // Topics are heard by id alone, so that all who hear one hear the same.
        Kind::Tenant | Kind::Machines | Kind::Tasks => {
            let tenant = app.platform.resolve(caller, name)?;
            if tenant.to_string() != name {
                return Err(unknown());
            }
            Some(tenant)
        }
    };
    let entered = tenant.map(|it| enter(app, caller, it, &kind)).transpose()?;
    let user = caller.user.to_string();
    let joined = Joined { kind, tenant, join_ref: frame.join_ref.clone(), user };
    if let Kind::Instance(_) = joined.kind {
        // It must be there, and in this tenant, before anything of it is told.
        carry_out(app, caller, &joined, Op::ShowInstance, Json::Null, name)?;
    }
    if let Some(entered) = &entered {
        let access = entered.data_access;
        app.hub.join(topic, Subscriber { socket, queue, slow, access });
    }
    let (reply, after) = welcome(app, caller, frame, &joined, socket).inspect_err(|_| {
        joined.leave(&app.hub, topic, socket);
    })?;
    Ok((joined, reply, after))
}

fn welcome(
    app: &App,
    caller: &Caller,
    frame: &Frame,
    joined: &Joined,
    socket: u64,
) -> Result<(Json, Vec<String>), Error> {
    match &joined.kind {
        Kind::Tenant => {
            let rights = carry_out(app, caller, joined, Op::MyPermissions, Json::Null, "")?;
            let meta = json!({
                "phx_ref": format!("{socket}"),
                "online_at": app.platform.now(),
            });
            let state = app.hub.arrive(&frame.topic, &joined.user, socket, &meta);
            let active = state.as_object().map_or(0, serde_json::Map::len);
            let reply = json!({
                "tenant_id": joined.tenant,
                "user_permissions": rights["permissions"],
                "active_users": active,
                "system_status": "ok",
            });
            Ok((reply, vec![joined.frame(&frame.topic).push("presence_state", &state)]))
        }
        Kind::Instance(id) => {
            let shown = carry_out(app, caller, joined, Op::ShowInstance, Json::Null, id)?;
            let after = frame.payload["after_seq"].as_u64();
            let mut texts = Vec::new();
            if let Some(after) = after {
                let asked = json!({ "after_seq": after, "limit": REPLAY_MAX });
                let page = carry_out(app, caller, joined, Op::InstanceEvents, asked, id)?;
                for record in page["items"].as_array().into_iter().flatten() {
                    texts.push(joined.frame(&frame.topic).push("record", record));
                }
            }
            Ok((shown, texts))
        }
        Kind::Machines | Kind::Tasks | Kind::Activity => {
            Ok((json!({ "tenant_id": joined.tenant }), Vec::new()))
        }
    }
}

/// Answers what is asked for on a topic.
pub(super) fn answer(
    app: &App,
    caller: &Caller,
    joined: &Joined,
    frame: &Frame,
    socket: u64,
) -> Result<Json, Error> {
    let payload = &frame.payload;
    let text = |key: &str| payload[key].as_str().unwrap_or_default().to_owned();
    let ask = |op, body: Json, id: &str| carry_out(app, caller, joined, op, body, id);
    let event = |data: &str| json!({ "event": text("event"), "data": payload[data] });
    match (&joined.kind, &*frame.event) {
        (Kind::Tenant, "workflow:create") => {
            let made = ask(Op::CreateWorkflow, payload.clone(), "")?;
            app.hub.tell(&frame.topic, "workflow:created", &json!({ "name": made["name"] }), None);
            Ok(made)
        }
        (Kind::Tenant, "workflow:execute") => {
            ask(Op::SendEvent, event("event_data"), &text("workflow_id"))
        }
        (Kind::Tenant, "presence:update") => {
            let mut meta = json!({
                "phx_ref": format!("{socket}"),
                "online_at": app.platform.now(),
            });
            for key in ["status", "activity"] {
                if let Some(said) = payload[key].as_str() {
                    meta[key] = json!(said.chars().take(100).collect::<String>());
                }
            }
            app.hub.arrive(&frame.topic, &joined.user, socket, &meta);
            Ok(json!({}))
        }
        (Kind::Machines, "create_fsm") => {
            let started = json!({ "workflow": text("module"), "input": payload["config"] });
            let started = ask(Op::Start, started, "")?;
            Ok(json!({ "fsm_id": started["id"], "details": started }))
        }
        (Kind::Machines, "send_event") => ask(Op::SendEvent, event("event_data"), &text("fsm_id")),
        (Kind::Machines, "batch_send_events") => {
            let events = payload["events"].as_array().map(Vec::as_slice).unwrap_or_default();
            if events.len() > BATCH_MAX {
                let rule = format!("a batch has at most {BATCH_MAX} events");
                return Err(Error::invalid("/events", rule));
            }
            let one = |it: &Json| {
                let id = it["fsm_id"].as_str().unwrap_or_default();
                let body = json!({ "event": it["event"], "data": it["event_data"] });
                match ask(Op::SendEvent, body, id) {
                    Ok(answer) => json!({ "fsm_id": id, "ok": answer }),
                    Err(error) => json!({ "fsm_id": id, "error": error.code }),
                }
            };
            let results: Vec<Json> = events.iter().map(one).collect();
            Ok(json!({ "total_events": results.len(), "results": results }))
        }
        (Kind::Machines, "get_fsm_state") => ask(Op::ShowInstance, Json::Null, &text("fsm_id")),
        (Kind::Machines, "list_fsms") => {
            let listed = ask(Op::Instances, payload.clone(), "")?;
            Ok(json!({ "fsms": listed["items"], "next_cursor": listed["next_cursor"] }))
        }
        (Kind::Machines, "destroy_fsm") => {
            app.platform.enter(
                caller,
                joined.tenant.unwrap_or(traaviis_model::tenant::PLATFORM),
                Action::Needs(Permission::WorkflowDelete),
                Freshness::Any,
            )?;
            ask(Op::CancelInstance, json!({}), &text("fsm_id"))
        }
        (Kind::Machines, "get_available_modules") => {
            let listed = ask(Op::Workflows, Json::Null, "")?;
            Ok(json!({ "available_modules": listed["items"] }))
        }
        (Kind::Machines, "ping") => Ok(json!({ "pong": true, "timestamp": app.platform.now() })),
        (Kind::Instance(id), "send_event") => ask(Op::SendEvent, event("event_data"), id),
        (_, other) => {
            let message = format!("`{other}` cannot be asked for on this topic");
            Err(Error::new("unknown_event", message))
        }
    }
}

/// Carries out an operation of the table as the caller, with the rights that its row asks for.
fn carry_out(
    app: &App,
    caller: &Caller,
    joined: &Joined,
    op: Op,
    asked: Json,
    id: &str,
) -> Result<Json, Error> {
    let row = op.row();
    let tenant = joined.tenant.map(|it| it.to_string()).unwrap_or_default();
    let mut request = Request {
        path: row.path.into(),
        parts: [("t".to_owned(), tenant), ("id".to_owned(), id.to_owned())].into(),
        content_type: Some("application/json".into()),
        id: caller.via.request_id.as_deref().unwrap_or_default().into(),
        ..Request::default()
    };
    match row.body {
        Some(_) => request.body = asked.to_string().into_bytes(),
        None => {
            for (name, value) in asked.as_object().into_iter().flatten() {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                request.query.insert(name.clone(), text);
            }
        }
    }
    let answer = handle::as_caller(app, row, &request, caller.clone())?;
    // What has no body answers with nothing.
    Ok(serde_json::from_slice(&answer.body).unwrap_or_default())
}
