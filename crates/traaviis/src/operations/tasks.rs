//! The open tasks of instances.

use serde_json::{Value as Json, json};
use traaviis_model::{
    Seq, Snapshot, TenantCtx, Text, Timestamp, Value, permission::Permission, record::TaskAct,
    snapshot::Node,
};
use traaviis_platform::ask::Taker;
use traaviis_policy::assignee;

use crate::{
    clock,
    exit::{Exit, Failure},
    terminal::clip,
};

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

/// Refuses who goes by names of which the task asks none. A task for nobody in particular is for
/// whoever may operate instances.
pub fn asked(
    snapshot: &Snapshot,
    (tree, path): (Seq, &str),
    act: &TaskAct,
    names: &[Text],
    ctx: &TenantCtx,
) -> Result<(), Failure> {
    let node = snapshot.node(tree, path);
    let is_starter = is_kept_apart(snapshot, node, names);
    if is_starter && !matches!(act, TaskAct::Release | TaskAct::Comment { .. }) {
        // The engine knows one name of who acts; here are all, the keys that act for them as well.
        let message = "whoever started the instance may not answer this task; ask somebody else";
        return Err(Failure::new(Exit::Denied, "separation_of_duties", message));
    }
    let asks = node.map(Node::asked).unwrap_or_default();
    let asks = asks.as_list().unwrap_or_default();
    let may_operate = ctx.may(Permission::WorkflowExecute);
    if assignee::is_asked(asks.iter().filter_map(Value::as_str), names, may_operate) {
        return Ok(());
    }
    if asks.is_empty() {
        let message = "this needs the permission `workflow_execute`, which you do not have";
        return Err(Failure::new(Exit::Denied, "insufficient_permissions", message));
    }
    let message = "the task asks others; `GET /tenants/{t}/tasks` shows whom";
    Err(Failure::new(Exit::Denied, "not_assigned", message))
}

/// Refuses to hand a task to whom it could not ask: one that names nobody asks whoever may operate
/// instances, and whoever started the instance does not answer.
pub fn may_take(
    snapshot: &Snapshot,
    (tree, path): (Seq, &str),
    taker: &Taker,
) -> Result<(), Failure> {
    let node = snapshot.node(tree, path);
    if is_kept_apart(snapshot, node, &taker.names) {
        let message = "whoever started the instance may not answer this task; hand it to another";
        return Err(Failure::new(Exit::Denied, "separation_of_duties", message));
    }
    let asks = node.map(Node::asked).unwrap_or_default();
    if asks.as_list().is_none_or(<[Value]>::is_empty) && !taker.may_operate {
        let message = "the task asks whoever may operate instances, and they may not";
        return Err(Failure::new(Exit::Denied, "not_assigned", message));
    }
    Ok(())
}

/// Says whether one of the names is of whoever started the instance, or what it is a fork of, and
/// the task keeps them away.
fn is_kept_apart(snapshot: &Snapshot, node: Option<&Node>, names: &[Text]) -> bool {
    let is_apart = node.is_some_and(|it| it.input.get("separation") != Some(&Value::Bool(false)));
    let first = snapshot.forked_from.as_ref().and_then(|it| it.started_by.as_ref());
    let mut starters = snapshot.created_by.iter().chain(first);
    is_apart && starters.any(|it| names.contains(it))
}

/// Shows the only open task, or the one at `path`.
pub fn show(snapshot: &Snapshot, path: Option<&str>) -> Result<Json, Failure> {
    let absent = |what: String| Failure::finding("not_found", what);
    if snapshot.open_tasks().next().is_none() {
        return Err(absent(format!("instance `{}` has no open task", snapshot.id)));
    }
    let (tree, path) = pick(snapshot, path)?;
    let node = snapshot.node(tree, &path).ok_or_else(|| absent(format!("no task `{path}`")))?;
    Ok(item(snapshot, &path, node, clock::now()))
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
        "delegated": node.value.get("delegated").cloned().unwrap_or_else(|| Value::list([])),
        "comments": node.value.get("comments").cloned().unwrap_or_else(|| Value::list([])),
        "decisions": node.value.get("decisions").cloned().unwrap_or_else(|| Value::list([])),
    })
}
