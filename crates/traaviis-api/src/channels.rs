//! The table of channels: what a socket can hear, and ask for, by topic.
//!
//! The server takes no message that does not stand here, and the AsyncAPI document is made from it,
//! as routes and the OpenAPI document are made from the table of operations. What a message asks
//! for is an operation of that table in most cases: then its body, its rights and its answer are
//! those.

use serde_json::{Map, Value as Json, json};
use traaviis_model::permission::Permission::{
    self, EffectsExecute, SystemMetricsView, TenantSettings, WorkflowCreate, WorkflowDelete,
    WorkflowExecute, WorkflowMonitor,
};

use crate::operation::{BASE, Op};

/// Who may hear a topic, or ask for something on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Members of the tenant.
    Member,
    /// Members with a permission.
    Needs(Permission),
    /// Members with the permission that what they name asks for.
    ByType,
    /// Oneself.
    SelfOnly,
}

impl Right {
    /// Returns the words for it.
    pub fn word(self) -> &'static str {
        match self {
            Right::Member => "member",
            Right::Needs(permission) => permission.as_str(),
            Right::ByType => "workflow_edit or effects_edit",
            Right::SelfOnly => "self",
        }
    }
}

/// A message that a client may send.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Its event.
    pub event: &'static str,
    /// Who may send it, among those on the topic.
    pub right: Right,
    /// Operation that it stands for, whose answer is the reply.
    pub op: Option<Op>,
    /// Fields of its payload.
    pub fields: &'static [&'static str],
    /// What it does, in a sentence.
    pub what: &'static str,
}

/// A message that the server sends.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// Its event.
    pub event: &'static str,
    /// What it tells, in a sentence.
    pub what: &'static str,
}

/// A topic.
#[derive(Clone, Copy, Debug)]
pub struct Channel {
    /// A name for it.
    pub name: &'static str,
    /// Topic, with ids in braces.
    pub topic: &'static str,
    /// Who may join.
    pub right: Right,
    /// What it is about, in a sentence.
    pub what: &'static str,
    /// What clients may send.
    pub asks: &'static [Asked],
    /// What is told.
    pub tells: &'static [Told],
}

const fn told(event: &'static str, what: &'static str) -> Told {
    Told { event, what }
}

/// A message that stands for an operation.
const fn asks(
    event: &'static str,
    right: Right,
    op: Op,
    fields: &'static [&'static str],
    what: &'static str,
) -> Asked {
    Asked { event, right, op: Some(op), fields, what }
}

/// A message that is about the socket alone.
const fn says(
    event: &'static str,
    right: Right,
    fields: &'static [&'static str],
    what: &'static str,
) -> Asked {
    Asked { event, right, op: None, fields, what }
}

const MONITOR: Right = Right::Needs(WorkflowMonitor);
const EXECUTE: Right = Right::Needs(WorkflowExecute);
const PROGRESS: &str = "An attempt of a call has begun, will be followed by another, or has ended.";

const OF_TENANT: &[Asked] = &[
    asks(
        "workflow:create",
        Right::Needs(WorkflowCreate),
        Op::CreateWorkflow,
        &["document"],
        "Makes a workflow with a first draft.",
    ),
    asks(
        "workflow:execute",
        EXECUTE,
        Op::SendEvent,
        &["workflow_id", "event", "event_data"],
        "Sends an event to an instance, and tells who has done so.",
    ),
    asks(
        "effects:execute",
        Right::Needs(EffectsExecute),
        Op::RunEffect,
        &["workflow_id", "effect", "do", "with"],
        "Has an instance run an effect outside of its states.",
    ),
    says(
        "collaboration:update",
        Right::ByType,
        &["resource_type", "resource_id", "operation"],
        "Tells the others on the topic what one does to a `workflow` or an `effect`; it changes \
         nothing by itself.",
    ),
    says(
        "monitoring:subscribe",
        Right::Needs(SystemMetricsView),
        &["resource_types"],
        "Asks for what the topics of monitoring tell, on this one.",
    ),
    asks(
        "tenant:update_config",
        Right::Needs(TenantSettings),
        Op::ChangeConfig,
        &["config", "version"],
        "Merges settings into those of the tenant.",
    ),
    says(
        "presence:update",
        Right::Member,
        &["status", "activity"],
        "Says how one is, to all who are there.",
    ),
];

const OF_MACHINES: &[Asked] = &[
    asks("create_fsm", EXECUTE, Op::Start, &["module", "config"], "Starts an instance."),
    asks(
        "send_event",
        EXECUTE,
        Op::SendEvent,
        &["fsm_id", "event", "event_data"],
        "Sends an event.",
    ),
    asks(
        "batch_send_events",
        EXECUTE,
        Op::SendEvents,
        &["events"],
        "Sends up to 1,000 events at once.",
    ),
    asks(
        "validate_transition",
        MONITOR,
        Op::ValidateEvent,
        &["fsm_id", "event", "event_data"],
        "Says what an event would do, and does nothing.",
    ),
    asks("get_fsm_state", MONITOR, Op::ShowInstance, &["fsm_id"], "Shows an instance."),
    asks("list_fsms", MONITOR, Op::Instances, &[], "Lists instances, the newest first."),
    asks(
        "destroy_fsm",
        Right::Needs(WorkflowDelete),
        Op::CancelInstance,
        &["fsm_id"],
        "Asks an instance to end.",
    ),
    asks("get_available_modules", MONITOR, Op::Modules, &[], "Lists what can be started."),
    asks("get_fsm_metrics", MONITOR, Op::InstanceMetrics, &["fsm_id"], "Counts what it has done."),
    asks("get_tenant_stats", MONITOR, Op::TenantStats, &[], "Counts instances by status."),
    says(
        "subscribe_to_fsm",
        MONITOR,
        &["fsm_id", "fsm_ids"],
        "Chooses machines: from the first choice on the socket hears of no others.",
    ),
    says("unsubscribe_from_fsm", MONITOR, &["fsm_id", "fsm_ids"], "Takes a choice back."),
    says("ping", MONITOR, &[], "Is answered with the time."),
];

/// The table.
pub const CHANNELS: &[Channel] = &[
    Channel {
        name: "tenant",
        topic: "tenant:{tenant}",
        right: Right::Member,
        what: "What members of a tenant do together.",
        asks: OF_TENANT,
        tells: &[
            told("workflow:created", "A workflow was made."),
            told("workflow:executed", "Somebody has sent an event with `workflow:execute`."),
            told("effects:progress", PROGRESS),
            told("collaboration:updated", "Somebody else does something to a workflow or effect."),
            told("member:updated", "A member has come, gone, or may do something else."),
            told("tenant:config_updated", "Settings were changed."),
            told("monitoring:sample", "Counts of the last seconds."),
            told("monitoring:alert", "An incident was opened, or an alert raised."),
            told("monitoring:closed", "The right to watch has ended."),
            told("presence_state", "Who is there."),
            told("presence_diff", "Who has come, and who has gone."),
        ],
    },
    Channel {
        name: "workflows",
        topic: "tenant:{tenant}:workflows",
        right: MONITOR,
        what: "Changes of workflows.",
        asks: &[],
        tells: &[
            told("workflow:created", "A workflow was made."),
            told("workflow:draft_changed", "A draft was changed."),
            told("workflow:published", "A version was published."),
            told("workflow:deleted", "A workflow was deleted."),
        ],
    },
    Channel {
        name: "effects",
        topic: "tenant:{tenant}:effects",
        right: MONITOR,
        what: "What becomes of calls.",
        asks: &[],
        tells: &[
            told("effect:started", "An attempt has begun."),
            told("effect:waiting", "An attempt has failed, and another will follow."),
            told("effect:completed", "It has succeeded."),
            told("effect:failed", "It has failed."),
            told("effect:cancelled", "It was called off."),
            told("effect:unknown", "Nobody knows what became of it; a person is asked."),
            told("effect:scheduled", "It is made again."),
            told("effect:skipped", "It was left out."),
        ],
    },
    Channel {
        name: "machines",
        topic: "fsm:{tenant}",
        right: MONITOR,
        what: "Instances of a tenant: all of them, or those that the socket has chosen.",
        asks: OF_MACHINES,
        tells: &[
            told("fsm_created", "An instance was started."),
            told("fsm_state_changed", "An instance has taken a transition."),
            told("fsm_destroyed", "An instance has ended."),
            told("effect_progress", PROGRESS),
            told("batch_events_processed", "How many events of a batch were taken."),
        ],
    },
    Channel {
        name: "instance",
        topic: "instance:{id}",
        right: MONITOR,
        what: "One instance of the tenant of the token.",
        asks: &[asks(
            "send_event",
            EXECUTE,
            Op::SendEvent,
            &["event", "event_data"],
            "Sends an event.",
        )],
        tells: &[
            told("record", "A record of its history."),
            told("effect_progress", PROGRESS),
            told("finished", "It has ended."),
        ],
    },
    Channel {
        name: "tasks",
        topic: "tasks:{tenant}",
        right: Right::Member,
        what: "Tasks that wait for people, and incidents.",
        asks: &[],
        tells: &[
            told("task_created", "Somebody is asked something."),
            told("task_delegated", "A task was handed to somebody else."),
            told("task_commented", "Something was said to a task."),
            told("task_decided", "A task was answered."),
            told("incident_opened", "Something waits for a person to decide."),
        ],
    },
    Channel {
        name: "watched_instances",
        topic: "monitoring:{tenant}:instances",
        right: Right::Needs(SystemMetricsView),
        what: "How instances do.",
        asks: &[],
        tells: &[
            told("sample", "Counts of the last five seconds."),
            told("alert", "An incident was opened."),
        ],
    },
    Channel {
        name: "watched_security",
        topic: "monitoring:{tenant}:security",
        right: Right::Needs(SystemMetricsView),
        what: "What the audit trail gives reason to look at.",
        asks: &[],
        tells: &[told("alert", "An alert was raised.")],
    },
    Channel {
        name: "activity",
        topic: "user_activity:{user}",
        right: Right::SelfOnly,
        what: "What one does oneself.",
        asks: &[],
        tells: &[
            told("activity", "An entry of the audit trail about what one has done."),
            told("session:revoked", "The session has ended; the socket is closed."),
        ],
    },
];

impl Channel {
    /// Returns the message of an event that a client sends.
    pub fn asked(&self, event: &str) -> Option<&'static Asked> {
        self.asks.iter().find(|it| it.event == event)
    }
}

/// Returns a channel by its name.
pub fn channel(name: &str) -> Option<&'static Channel> {
    CHANNELS.iter().find(|it| it.name == name)
}

/// What holds for every socket.
const ABOUT: &str = "Phoenix Channels, version 2: every frame is a JSON list \
`[join_ref, ref, topic, event, payload]`. One joins a topic with `phx_join`, leaves it with \
`phx_leave`, and sends `heartbeat` on `phoenix` at least once a minute. What a client sends with a \
`ref` is answered with one `phx_reply`, whose payload is `{status, response}`; a refusal has \
`{reason, code, message, type, timestamp}` as its response.";

/// Returns the AsyncAPI 3.0 document.
pub fn document(version: &str) -> Json {
    let (mut channels, mut operations, mut messages) = (Map::new(), Map::new(), Map::new());
    for it in CHANNELS {
        let mut of_channel = Map::new();
        for asked in it.asks {
            let key = format!("{}.ask.{}", it.name, asked.event);
            of_channel.insert(key.clone(), reference("components/messages", &key));
            messages.insert(key.clone(), asked.message());
            operations.insert(key.clone(), operation("receive", it, &key, Some(asked.right)));
        }
        for told in it.tells {
            let key = format!("{}.tell.{}", it.name, told.event);
            of_channel.insert(key.clone(), reference("components/messages", &key));
            messages.insert(key.clone(), message(told.event, told.what, &json!({})));
            operations.insert(key.clone(), operation("send", it, &key, None));
        }
        channels.insert(it.name.into(), it.described(of_channel));
    }
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "TRAAVIIS sockets",
            "version": version,
            "description": ABOUT,
            "license": { "name": "MIT" },
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": messages,
            "securitySchemes": {
                "token": {
                    "type": "httpApiKey", "in": "query", "name": "token",
                    "description": "an access token or an API key; also as `Authorization`, or \
                        among the subprotocols as `base64url.bearer.phx.` and its base64url",
                },
                "ticket": {
                    "type": "httpApiKey", "in": "query", "name": "ticket",
                    "description": "a ticket, which opens one socket within half a minute",
                },
            },
        },
    })
}

fn reference(of: &str, key: &str) -> Json {
    json!({ "$ref": format!("#/{of}/{}", key.replace('~', "~0").replace('/', "~1")) })
}

impl Channel {
    fn described(&self, messages: Map<String, Json>) -> Json {
        let parts = self.topic.split(['{', '}']).skip(1).step_by(2);
        let what = |name: &str| match name {
            "tenant" => "id of the tenant",
            "user" => "id of the user",
            _ => "id of the instance",
        };
        let parameters: Map<String, Json> =
            parts.map(|it| (it.to_owned(), json!({ "description": what(it) }))).collect();
        json!({
            "address": self.topic,
            "description": self.what,
            "parameters": parameters,
            "messages": messages,
            "bindings": { "ws": { "method": "GET" } },
            "x-endpoint": "/socket/websocket?vsn=2.0.0",
            "x-access": self.right.word(),
        })
    }
}

impl Asked {
    fn message(&self) -> Json {
        let fields: Map<String, Json> =
            self.fields.iter().map(|it| ((*it).to_owned(), json!({}))).collect();
        let payload = json!({ "type": "object", "properties": fields });
        let mut message = message(self.event, self.what, &payload);
        if let Some(op) = self.op {
            let row = op.row();
            message["x-operation"] = json!(row.name);
            message["description"] = json!(format!(
                "Stands for `{} {BASE}{}`; the reply carries its answer.",
                row.method.as_str(),
                row.path
            ));
        }
        message
    }
}

fn message(event: &str, what: &str, payload: &Json) -> Json {
    // A frame is a list of five.
    let frame = json!({
        "type": "array", "minItems": 5, "maxItems": 5,
        "prefixItems": [
            { "type": ["string", "null"] }, { "type": ["string", "null"] }, { "type": "string" },
            { "const": event }, payload,
        ],
    });
    json!({ "name": event, "summary": what, "payload": frame })
}

fn operation(action: &str, channel: &Channel, key: &str, right: Option<Right>) -> Json {
    let of = format!("channels/{}/messages", channel.name);
    let mut operation = json!({
        "action": action,
        "channel": reference("channels", channel.name),
        "messages": [reference(&of, key)],
    });
    if let Some(right) = right {
        operation["x-access"] = json!(right.word());
    }
    operation
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::operation::Access;

    #[test]
    fn a_message_asks_for_no_other_right_than_its_operation() {
        let mut names = BTreeSet::new();
        for channel in CHANNELS {
            assert!(names.insert(channel.name) && channel.what.ends_with('.'));
            for asked in channel.asks {
                assert!(asked.what.ends_with('.'), "{asked:?}");
                let Some(op) = asked.op else { continue };
                match (op.row().access, asked.right) {
                    (Access::Needs(needed), Right::Needs(right)) => {
                        // Taking a machine away asks for more than ending it.
                        let is_more = asked.event == "destroy_fsm";
                        assert!(needed == right || is_more, "{asked:?}");
                    }
                    (Access::Member, Right::Member | Right::Needs(_)) => {}
                    other => panic!("{asked:?}: {other:?}"),
                }
            }
        }
    }

    /// The document holds what AsyncAPI 3.0 asks for: every reference leads somewhere, every
    /// parameter of an address is described, every operation is of a message of its channel.
    #[test]
    fn the_document_is_whole() {
        let document = document("1.2.3");
        let text = document.to_string();
        let mut count = 0;
        for part in text.split("\"$ref\":\"#").skip(1) {
            let pointer = part.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
            count += 1;
        }
        assert!(count > 100, "{count}");
        for channel in document["channels"].as_object().unwrap().values() {
            let address = channel["address"].as_str().unwrap();
            for name in channel["parameters"].as_object().unwrap().keys() {
                assert!(address.contains(&format!("{{{name}}}")), "{address}");
            }
            let named = address.matches('{').count();
            assert_eq!(channel["parameters"].as_object().unwrap().len(), named, "{address}");
        }
        for (key, it) in document["operations"].as_object().unwrap() {
            assert!(matches!(it["action"].as_str(), Some("send" | "receive")), "{key}");
            let channel = it["channel"]["$ref"].as_str().unwrap();
            assert!(
                it["messages"][0]["$ref"].as_str().unwrap().starts_with(&channel[1..])
                    || it["messages"][0]["$ref"].as_str().unwrap().starts_with(channel),
                "{key}"
            );
        }
        for (key, it) in document["components"]["messages"].as_object().unwrap() {
            assert_eq!(it["payload"]["prefixItems"].as_array().unwrap().len(), 5, "{key}");
        }
    }
}
