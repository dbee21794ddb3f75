//! Topics by name: who may hear one, and what is said to who joins.

use std::sync::Arc;

use axum::extract::ws::Utf8Bytes;
use serde_json::{Value as Json, json};
use traaviis_api::Op;
use traaviis_model::{Seq, TenantId, permission::Permission};
use traaviis_platform::{
    Caller, Error,
    tenant::{DataAccess, Payloads},
};
use traaviis_policy::access::{Action, Freshness};

use super::{
    asked::{self, carry_out},
    frame::Frame,
    hub::{Hub, Sees, Subscriber, Topic, Watched, written},
    outbox::Outbox,
};
use crate::App;

/// Records that are read at once to be replayed.
const REPLAY_PAGE: u64 = 200;
/// Acts that are told to who joins a tenant.
const ACTIVITIES: usize = 10;

/// A topic that a socket hears.
#[derive(Clone, Debug)]
pub(super) struct Joined {
    pub topic: Topic,
    join_ref: Option<Box<str>>,
}

impl Joined {
    /// Returns a frame of the join, for what the server says on it.
    pub fn frame(&self) -> Frame {
        Frame {
            join_ref: self.join_ref.as_deref().map(Into::into),
            reference: None,
            topic: self.topic.to_string(),
            event: String::new(),
            payload: Json::Null,
            text: None,
        }
    }

    /// Takes the socket off the topic.
    pub fn leave(&self, hub: &Hub, caller: &Caller, socket: u64) {
        hub.leave(&self.topic, socket);
        if let Topic::Tenant(tenant) = self.topic {
            hub.watch_no_more(tenant, socket);
            hub.depart(self.topic, &caller.user.to_string(), socket);
        }
    }
}

/// Returns what a caller may see of a topic; nothing when they may not hear it.
pub(super) fn sees(app: &App, caller: &Caller, topic: &Topic) -> Option<Sees> {
    let Some((tenant, action)) = right(topic) else { return Some(SEES_OWN) };
    let entered = app.platform.enter_at_once(caller, tenant, action, Freshness::Any)?;
    let is_monitor = may(app, caller, tenant, Permission::WorkflowMonitor);
    Some(Sees { access: entered.data_access, is_monitor })
}

/// Says whether a caller may go on watching what they watch on a topic.
pub(super) fn may_watch(app: &App, caller: &Caller, topic: &Topic) -> bool {
    let Topic::Tenant(tenant) = topic else { return true };
    may(app, caller, *tenant, Permission::SystemMetricsView)
}

/// Says whether a caller has a permission, which a key may have less of than who made it.
fn may(app: &App, caller: &Caller, tenant: TenantId, permission: Permission) -> bool {
    let action = Action::Needs(permission);
    app.platform.enter_at_once(caller, tenant, action, Freshness::Any).is_some()
}

/// What concerns oneself is seen as it is.
const SEES_OWN: Sees =
    Sees { access: DataAccess { payloads: Payloads::Full, pii_unmask: false }, is_monitor: false };

/// Returns the right that a topic asks for, and where.
fn right(topic: &Topic) -> Option<(TenantId, Action)> {
    let action = match topic {
        Topic::Tenant(_) | Topic::Tasks(_) => Action::TenantAccess,
        Topic::Machines(_) | Topic::Instance(..) | Topic::Workflows(_) | Topic::Effects(_) => {
            Action::Needs(Permission::WorkflowMonitor)
        }
        Topic::Monitoring(..) => Action::Needs(Permission::SystemMetricsView),
        Topic::Activity(_) => return None,
    };
    topic.tenant().map(|it| (it, action))
}

/// Finds the topic that a caller names.
fn find(app: &App, caller: &Caller, name: &str) -> Result<Topic, Error> {
    let unknown = || Error::not_found("topic", name);
    let (word, rest) = name.split_once(':').ok_or_else(unknown)?;
    let (id, more) = rest.split_once(':').map_or((rest, None), |(id, more)| (id, Some(more)));
    let tenant = || {
        let tenant = app.platform.resolve(caller, id)?;
        // Topics are heard by id alone, so that all who hear one hear the same.
        if tenant.to_string() == id { Ok(tenant) } else { Err(unknown()) }
    };
    Ok(match (word, more) {
        ("tenant", None) => Topic::Tenant(tenant()?),
        ("tenant", Some("workflows")) => Topic::Workflows(tenant()?),
        ("tenant", Some("effects")) => Topic::Effects(tenant()?),
        ("fsm", None) => Topic::Machines(tenant()?),
        ("tasks", None) => Topic::Tasks(tenant()?),
        ("monitoring", Some("instances")) => Topic::Monitoring(tenant()?, Watched::Instances),
        ("monitoring", Some("security")) => Topic::Monitoring(tenant()?, Watched::Security),
        ("instance", None) => {
            // It is looked for in the tenant that the token is scoped to.
            let tenant = app.platform.resolve(caller, "current")?;
            let instance = id.parse().map_err(|_| unknown())?;
            let topic = Topic::Instance(tenant, instance);
            if topic.to_string() != name {
                return Err(unknown());
            }
            topic
        }
        // Of people, not of keys that they have made.
        ("user_activity", None) if id == caller.user.to_string() && caller.session().is_ok() => {
            Topic::Activity(caller.user)
        }
        _ => return Err(unknown()),
    })
}

/// What is said to who has joined.
pub(super) struct Welcome {
    pub joined: Joined,
    pub reply: Json,
    /// What is said right after the reply.
    pub after: Vec<Utf8Bytes>,
    /// The record after which an instance is replayed.
    pub replay: Option<Seq>,
}

/// Lets a socket hear a topic.
pub(super) fn join(
    app: &App,
    caller: &Caller,
    frame: &Frame,
    (socket, outbox): (u64, Arc<Outbox>),
) -> Result<Welcome, Error> {
    app.platform.recheck(caller)?;
    let topic = find(app, caller, &frame.topic)?;
    if let Some((tenant, action)) = right(&topic) {
        // Whoever is refused is told why, and noted.
        app.platform.enter(caller, tenant, action, Freshness::Any)?;
    }
    let sees = sees(app, caller, &topic).ok_or_else(|| Error::not_found("topic", &frame.topic))?;
    if let Topic::Instance(_, id) = topic {
        // It must be there, and in this tenant, before anything of it is told.
        carry_out(app, caller, topic, Op::ShowInstance, Json::Null, &id.to_string())?;
    }
    let only = match (topic, &frame.payload["fsm_ids"]) {
        (Topic::Machines(_), chosen) if !chosen.is_null() => {
            let mut only = app.hub.only();
            asked::choose(&mut only, &asked::machines(&frame.payload)?)?;
            Some(only)
        }
        _ => None,
    };
    let joined = Joined { topic, join_ref: frame.join_ref.as_deref().map(Into::into) };
    app.hub.join(topic, Subscriber { socket, outbox, sees, only });
    welcome(app, caller, frame, &joined, socket)
        .map(|(reply, after, replay)| Welcome { joined: joined.clone(), reply, after, replay })
        .inspect_err(|_| joined.leave(&app.hub, caller, socket))
}

type Told = (Json, Vec<Utf8Bytes>, Option<Seq>);

fn welcome(
    app: &App,
    caller: &Caller,
    frame: &Frame,
    joined: &Joined,
    socket: u64,
) -> Result<Told, Error> {
    let topic = joined.topic;
    match topic {
        Topic::Tenant(tenant) => {
            let rights = carry_out(app, caller, topic, Op::MyPermissions, Json::Null, "")?;
            let entered =
                app.platform.enter(caller, tenant, Action::TenantAccess, Freshness::Any)?;
            let has = |it| may(app, caller, tenant, it);
            // What somebody may not see is not there.
            let workflows = has(Permission::WorkflowMonitor)
                .then(|| app.platform.workflows(&entered).map(|it| it.len()))
                .transpose()?;
            let activities = match has(Permission::AuditLogsView) {
                true => app.platform.audit(&entered, None, ACTIVITIES)?,
                false => Vec::new(),
            };
            let activity = |it: &Json| {
                let keys = ["action", "resource_type", "resource_id", "user_id", "timestamp"];
                let all = keys.map(|key| (key.to_owned(), it[key].clone()));
                Json::Object(all.into_iter().collect())
            };
            let meta = meta(app, socket);
            let state = app.hub.arrive(topic, &caller.user.to_string(), socket, &meta);
            let reply = json!({
                "tenant_id": tenant,
                "user_permissions": rights["permissions"],
                "active_users": state.as_object().map_or(0, serde_json::Map::len),
                "recent_activities": activities.iter().map(activity).collect::<Vec<_>>(),
                "workflow_count": workflows,
                "system_status": "ok",
            });
            Ok((reply, vec![joined.frame().push("presence_state", &state).into()], None))
        }
        Topic::Instance(_, id) => {
            let id = id.to_string();
            let shown = carry_out(app, caller, topic, Op::ShowInstance, Json::Null, &id)?;
            Ok((shown, Vec::new(), frame.payload["after_seq"].as_u64()))
        }
        _ => Ok((json!({ "tenant_id": topic.tenant() }), Vec::new(), None)),
    }
}

/// Returns what is told of somebody who is there.
pub(super) fn meta(app: &App, socket: u64) -> Json {
    json!({ "phx_ref": format!("{socket}"), "online_at": app.platform.now() })
}

/// Returns records of an instance behind one, and the last of them; none when there are no more.
pub(super) fn replay(
    app: &App,
    caller: &Caller,
    joined: &Joined,
    after: Seq,
) -> Result<(Vec<Utf8Bytes>, Option<Seq>), Error> {
    let Topic::Instance(_, id) = joined.topic else { return Ok((Vec::new(), None)) };
    let asked = json!({ "after_seq": after, "limit": REPLAY_PAGE });
    let op = Op::InstanceEvents;
    let page = carry_out(app, caller, joined.topic, op, asked, &id.to_string())?;
    let frame = joined.frame();
    let records = page["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let texts = records.iter().map(|it| written(it, |it| frame.push("record", it))).collect();
    let last = page["next_cursor"].as_str().and_then(|it| it.parse().ok());
    Ok((texts, last))
}
