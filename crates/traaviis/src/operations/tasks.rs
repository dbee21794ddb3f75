//! The open tasks of instances.

use serde_json::{Value as Json, json};
use traaviis_model::{Seq, Snapshot, Text, Timestamp, Value, snapshot::Node};

use crate::{clock, exit::Failure, terminal::clip};

/// Returns the only task, or the one at `path`.
pub fn pick(snapshot: &Snapshot, path: Option<&str>) -> Result<(Seq, Text), Failure> {
    let open: Vec<(Seq, Text)> =
        snapshot.open_tasks().map(|(tree, path, _)| (tree, path.clone())).collect();
    let named = |wanted: &str| open.iter().find(|(_, it)| **it == *wanted).cloned();
    let names = || open.iter().map(|(_, it)| format!("`{it}`")).collect::<Vec<_>>().join(", ");
    let message = match (path, open.as_slice()) {
        (None, [only]) => return Ok(only.clone()),
        (_, []) => format!("instance `{}` has no open task", snapshot.id),
        (None, _) => format!("instance `{}` has several tasks; add --at: {}", snapshot.id, names()),
        (Some(wanted), _) => match named(wanted) {
            Some(found) => return Ok(found),
            None => {
                let wanted = clip(wanted, 120);
                format!("instance `{}` has no task at `{wanted}`, but {}", snapshot.id, names())
            }
        },
    };
    Err(Failure::finding("invalid_state", message))
}

/// Returns the open tasks of instances, the oldest instance first.
pub fn list(open: &[Snapshot]) -> Json {
    let now = clock::now();
    let items: Vec<Json> = open
        .iter()
        .flat_map(|it| it.open_tasks().map(move |(_, path, node)| item(it, path, node, now)))
        .collect();
    json!({ "tasks": items })
}

fn item(snapshot: &Snapshot, path: &Text, node: &Node, now: Timestamp) -> Json {
    let asked = |key: &str| node.input.get(key).cloned().unwrap_or_default();
    let due: Option<Timestamp> = asked("due").as_str().and_then(|it| it.parse().ok());
    json!({
        "instance": snapshot.id,
        "workflow": snapshot.workflow,
        "kind": node.kind,
        "path": path,
        "title": asked("title"),
        "description": asked("description"),
        "assignees": node.asked(),
        "outcomes": asked("outcomes"),
        "form": asked("form"),
        "defaults": asked("defaults"),
        "quorum": asked("quorum"),
        "attachments": asked("attachments"),
        "reminders": asked("reminders"),
        "escalation": asked("escalation"),
        "escalated_to": node.value.get("escalated").cloned().unwrap_or_default(),
        "created_by": snapshot.created_by,
        "separation": node.input.get("separation") != Some(&Value::Bool(false)),
        "due": due,
        "due_ms": due.map(|it| it.since(now).as_millis()),
        "claimed_by": node.value.get("claimed_by").cloned().unwrap_or_default(),
        "decisions": node.value.get("decisions").cloned().unwrap_or_else(|| Value::list([])),
    })
}
