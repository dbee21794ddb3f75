//! Effects: those of one instance, those that are open anywhere, and those that somebody asks for.
//!
//! An effect has the id `INSTANCE:SEQ`, of the record that scheduled it. What became of one stands
//! in the history of its instance alone; how those stand that are open, in its state.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use traaviis_model::{
    Body, InstanceId, Record, Seq, Snapshot, Text,
    record::{Asked, Operation, Status},
    snapshot::{Node, NodeStatus, Tree},
};
use traaviis_ports::index::Query;
use traaviis_runtime::Command;

use super::{LIST_MAX, open_one, snapshot_of};
use crate::{
    control::protocol::{EffectFilter, LIST_DEFAULT},
    data::Data,
    exit::Failure,
    histories::{Histories, absent, compile_document},
};

/// Instances that one page looks into: each is a question to its owner, and a page that finds
/// little must end, too.
const LOOKED_MAX: usize = 1_000;

/// Lists every effect of an instance, in the order in which they were scheduled.
pub fn of_instance(histories: &Histories, id: &str) -> Result<Json, Failure> {
    let id = histories.find(id)?;
    let records = histories.records(id)?;
    if records.is_empty() {
        return Err(absent(&id.to_string()));
    }
    let found: Vec<Json> = told(id, &records).into_values().collect();
    Ok(json!({ "effects": found }))
}

/// Shows one effect.
pub fn one(histories: &Histories, id: &str) -> Result<Json, Failure> {
    let (instance, seq) = split(id).ok_or_else(|| unknown(id))?;
    match told(instance, &histories.records(instance)?).remove(&seq) {
        Some(found) => Ok(json!({ "effect": found })),
        None => Err(unknown(id)),
    }
}

fn unknown(id: &str) -> Failure {
    Failure::finding("not_found", format!("there is no effect `{id}`"))
}

/// Takes the id of an effect apart.
fn split(id: &str) -> Option<(InstanceId, Seq)> {
    let (instance, seq) = id.split_once(':')?;
    Some((instance.parse().ok()?, seq.parse().ok()?))
}

/// Returns every effect that a history tells of, by the record that scheduled it.
fn told(id: InstanceId, records: &[Record]) -> BTreeMap<Seq, Json> {
    let mut found: BTreeMap<Seq, Json> = BTreeMap::new();
    // A node that stands in a loop is scheduled again and again; the last one is open.
    let mut open: BTreeMap<(Seq, Text), Seq> = BTreeMap::new();
    let mut states: BTreeMap<Seq, Json> = BTreeMap::new();
    for record in records {
        let (seq, at) = (record.header.seq, record.header.at);
        match &record.body {
            Body::TreeStarted { state, .. } => drop(states.insert(seq, json!(state))),
            Body::EffectRequested(_) => drop(states.insert(seq, Json::Null)),
            _ => {}
        }
        if let Body::EffectScheduled { tree, path, effect, input, key } = &record.body {
            open.insert((*tree, path.clone()), seq);
            let above = path.rsplit_once('/').map(|it| (*tree, Text::from(it.0)));
            let parent = above.and_then(|it| open.get(&it)).map(|it| format!("{id}:{it}"));
            let state = states.get(tree).cloned().unwrap_or_default();
            found.insert(
                seq,
                json!({
                    "id": format!("{id}:{seq}"),
                    "instance": id,
                    "tree": tree,
                    "path": path,
                    "parent": parent,
                    "outside": state.is_null(),
                    "state": state,
                    "kind": effect,
                    "input": input,
                    "key": key,
                    "status": NodeStatus::Scheduled.as_str(),
                    "attempts": 0,
                    "scheduled_at": at,
                }),
            );
            continue;
        }
        let Some((tree, path)) = record.body.node() else { continue };
        let Some(effect) =
            open.get(&(tree, path.clone())).and_then(|scheduled| found.get_mut(scheduled))
        else {
            continue;
        };
        tell(effect, record, at);
    }
    found
}

/// Tells what a record says of an effect.
fn tell(effect: &mut Json, record: &Record, at: traaviis_model::Timestamp) {
    let Some(status) = record.body.becomes() else { return };
    effect["status"] = json!(status.as_str());
    if status.is_over() {
        effect["ended_at"] = json!(at);
    } else if let Some(known) = effect.as_object_mut() {
        // One that had ended goes on when its instance is taken up again.
        known.retain(|key, _| !["ended_at", "reason", "next_due"].contains(&&**key));
    }
    match &record.body {
        Body::EffectStarted { attempt, .. } | Body::EffectRecalled { attempt, .. } => {
            effect["attempts"] = json!(attempt);
        }
        Body::EffectAttemptFailed { error, next_due, .. } => {
            effect["error"] = json!(error);
            effect["next_due"] = json!(next_due);
        }
        Body::EffectCompleted { value, .. } => {
            effect["value"] = json!(value);
            effect["error"] = Json::Null;
        }
        Body::EffectFailed { error, .. } => effect["error"] = json!(error),
        Body::EffectCancelled { reason, .. } => effect["reason"] = json!(reason),
        _ => {}
    }
}

/// Lists effects of open instances that have not ended well, the newest instance first.
pub fn open(
    histories: &Histories,
    data: Option<&Data>,
    filter: &EffectFilter,
) -> Result<Json, Failure> {
    let limit = if filter.limit == 0 { LIST_DEFAULT } else { filter.limit.min(LIST_MAX) };
    let mut page = Page { filter, limit, items: Vec::new(), next: None };
    if let Some(text) = &filter.instance {
        let snapshot = snapshot_of(histories, data, text)?;
        let after = cursor(filter)?.and_then(|it| it.1).unwrap_or(0);
        page.take(&snapshot, after);
        return Ok(page.told());
    }
    let mut query = Query { statuses: open_statuses(), limit, ..Query::default() };
    if let Some((id, after)) = cursor(filter)? {
        query.after = Some(id);
        if let Some(after) = after
            && let Ok(snapshot) = snapshot_of(histories, data, &id.to_string())
        {
            page.take(&snapshot, after);
        }
    }
    let mut looked = 0;
    while page.next.is_none() {
        query.limit = limit.max(50).min(LOOKED_MAX - looked);
        let rows = histories.page(&query)?;
        for row in &rows.rows {
            // One that has ended meanwhile, or is damaged, has no open effects to show.
            if let Ok(snapshot) = snapshot_of(histories, data, &row.id.to_string()) {
                page.take(&snapshot, 0);
            }
            if page.next.is_some() {
                return Ok(page.told());
            }
        }
        looked += rows.rows.len();
        query.after = rows.next;
        match rows.next {
            None => break,
            Some(id) if looked >= LOOKED_MAX => page.next = Some(id.to_string()),
            Some(_) => {}
        }
    }
    Ok(page.told())
}

fn open_statuses() -> Vec<Status> {
    Status::ALL.into_iter().filter(|it| !it.is_finished()).collect()
}

/// Reads where the page before ended: in an instance, or behind it.
fn cursor(filter: &EffectFilter) -> Result<Option<(InstanceId, Option<Seq>)>, Failure> {
    let Some(text) = &filter.cursor else { return Ok(None) };
    let read = match text.split_once(':') {
        None => text.parse().ok().map(|it| (it, None)),
        Some(_) => split(text).map(|(id, seq)| (id, Some(seq))),
    };
    let wrong = || Failure::finding("validation_failed", "this is no `next_cursor` of a page");
    read.map(Some).ok_or_else(wrong)
}

struct Page<'f> {
    filter: &'f EffectFilter,
    limit: usize,
    items: Vec<Json>,
    next: Option<String>,
}

impl Page<'_> {
    /// Takes the effects of an instance, as many as there is room for.
    fn take(&mut self, snapshot: &Snapshot, after: Seq) {
        let fits = |node: &Node| {
            let (kind, status) = (self.filter.kind.as_ref(), self.filter.status.as_ref());
            node.scheduled > after
                && is_open(node)
                && kind.is_none_or(|it| *it == node.kind)
                && status.is_none_or(|it| **it == *node.status.as_str())
        };
        let mut found: Vec<(&Tree, &Text, &Node)> = Vec::new();
        for tree in &snapshot.trees {
            let nodes = tree.nodes.iter().filter(|(_, node)| fits(node));
            found.extend(nodes.map(|(path, node)| (tree, path, node)));
        }
        found.sort_by_key(|it| it.2.scheduled);
        for (tree, path, node) in found {
            if self.items.len() == self.limit {
                // The page ends behind the last that it has room for.
                self.next = self.items.last().and_then(|it| it["id"].as_str().map(Into::into));
                return;
            }
            self.items.push(item(snapshot, tree, path, node));
        }
    }

    fn told(self) -> Json {
        json!({ "effects": self.items, "next": self.next })
    }
}

/// Says whether an effect goes on, waits, or failed and its tree goes on.
fn is_open(node: &Node) -> bool {
    // Instant kinds are never scheduled, so they have no id.
    node.scheduled > 0 && node.status.is_open()
}

fn item(snapshot: &Snapshot, tree: &Tree, path: &Text, node: &Node) -> Json {
    let id = snapshot.id;
    let above = path.rsplit_once('/').and_then(|it| tree.nodes.get(it.0));
    let is_next = |it: &&traaviis_model::snapshot::Timer| it.kind.is_of(tree.id, path);
    let due = snapshot.timers.iter().filter(is_next).map(|it| it.due).min();
    json!({
        "id": format!("{id}:{}", node.scheduled),
        "instance": id,
        "workflow": snapshot.workflow,
        "tree": tree.id,
        "path": path,
        "parent": above.map(|it| format!("{id}:{}", it.scheduled)),
        "outside": tree.asked.is_some(),
        "state": tree.asked.is_none().then_some(&tree.state),
        "kind": node.kind,
        "input": node.input,
        "status": node.status.as_str(),
        "attempts": node.attempt,
        "error": node.error,
        "next_due": due,
    })
}

/// Has an instance run an effect. A name is first one of its document; `shared` is the tree that
/// the tenant has under it.
pub fn run(
    histories: &Histories,
    data: Option<&Data>,
    id: &str,
    (mut asked, shared): (Asked, Option<Text>),
) -> Result<Json, Failure> {
    let (data, snapshot) = open_one(histories, data, id)?;
    if let (Some(name), None) = (&asked.effect, &asked.tree) {
        let machine = compile_document(&histories.definition(snapshot.definition_hash)?)?;
        let mut own = machine.definition().effects.iter().map(|it| &it.name);
        if !own.any(|it| it == name) {
            asked.tree = shared;
        }
    }
    let operation = Operation::RunEffect { asked: Box::new(asked) };
    let (accepted, _) = data.command(snapshot.id, Command::Operate(operation))?;
    begun(histories, snapshot.id, accepted.seq)
}

/// Shows the effect that was asked for by the last step up to a record.
pub fn begun(histories: &Histories, id: InstanceId, until: Seq) -> Result<Json, Failure> {
    let records = histories.records(id)?;
    let is_it =
        |it: &&Record| it.header.seq <= until && matches!(it.body, Body::EffectRequested(_));
    let tree = records.iter().rev().find(is_it).map(|it| it.header.seq);
    let root = |it: &&Record| match &it.body {
        Body::EffectScheduled { tree: of, .. } => Some(*of) == tree,
        _ => false,
    };
    let seq = records.iter().find(root).map(|it| it.header.seq);
    let found = seq.and_then(|seq| told(id, &records).remove(&seq));
    found.map(|it| json!({ "effect": it })).ok_or_else(|| absent(&id.to_string()))
}

/// Calls off an effect that somebody asked for.
pub fn cancel(
    histories: &Histories,
    data: Option<&Data>,
    id: &str,
    (seq, reason): (Seq, Option<Text>),
) -> Result<Json, Failure> {
    let (data, snapshot) = open_one(histories, data, id)?;
    let effect = format!("{}:{seq}", snapshot.id);
    let is_it = |tree: &&Tree| tree.nodes.values().any(|it| it.scheduled == seq);
    let Some(tree) = snapshot.trees.iter().find(is_it) else {
        let found = one(histories, &effect)?;
        let status = found["effect"]["status"].as_str().unwrap_or_default();
        let message = format!("effect `{effect}` is over: it is {status}");
        return Err(Failure::finding("invalid_state", message));
    };
    let is_root = tree.nodes.get(&tree.invoke).is_some_and(|it| it.scheduled == seq);
    if !is_root || tree.asked.is_none() {
        let message = match &tree.asked {
            None => format!(
                "effect `{effect}` belongs to state `{}`; it ends when the state is left, or with \
                 the instance",
                tree.state
            ),
            Some(_) => {
                let root = tree.nodes.get(&tree.invoke).map_or(0, |it| it.scheduled);
                format!("effect `{effect}` is a part of `{}:{root}`; cancel that", snapshot.id)
            }
        };
        return Err(Failure::finding("invalid_state", message));
    }
    data.operate(snapshot.id, Operation::CancelEffect { tree: tree.id, reason })?;
    one(histories, &effect)
}
