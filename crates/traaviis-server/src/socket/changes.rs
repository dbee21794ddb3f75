//! What the records of a durable step say, as channels tell it.
//!
//! Everything here is made of a [`Committed`] alone: nothing is remembered from one step to the
//! next, so whoever joins late hears the same as who was there before.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use traaviis_model::{Body, Record, Seq, Snapshot, record::Status};
use traaviis_platform::engine::Committed;

/// Returns a record as the log has it.
pub(super) fn shown(record: &Record) -> Json {
    let mut line = Vec::new();
    record.write_line(&mut line);
    let mut shown: Json = serde_json::from_slice(&line).unwrap_or_default();
    // Where an act came from is for those who read the audit trail.
    shown.as_object_mut().map(|it| it.remove("origin"));
    shown
}

/// Returns what the records of a step say about the machine: that it is there, and its transitions.
pub(super) fn changes(snapshot: &Snapshot, records: &[Record]) -> Vec<(&'static str, Json)> {
    let mut told = Vec::new();
    for record in records {
        let (seq, at) = (record.header.seq, record.header.at);
        match &record.body {
            Body::Created { workflow, version, .. } => {
                let payload = json!({
                    "fsm_id": snapshot.id, "module": workflow, "version": version,
                    "timestamp": at, "seq": seq,
                });
                told.push(("fsm_created", payload));
            }
            Body::Transition { from, to, event, .. } => {
                let payload = json!({
                    "fsm_id": snapshot.id, "event": event, "from": from, "to": to,
                    "data": snapshot.data, "timestamp": at, "seq": seq,
                });
                told.push(("fsm_state_changed", payload));
            }
            Body::Finished { status, .. } => {
                let payload = json!({
                    "fsm_id": snapshot.id, "status": status, "timestamp": at, "seq": seq,
                });
                told.push(("fsm_destroyed", payload));
            }
            _ => {}
        }
    }
    told
}

/// Returns what the records of a step say about what waits for people: to those who may see every
/// instance, and to those who must look whether it concerns them.
pub(super) fn waits(
    snapshot: &Snapshot,
    records: &[Record],
) -> Vec<(&'static str, Json, Option<Json>)> {
    let of = |record: &Record| {
        let (event, path, is_for_all) = match &record.body {
            Body::TaskCreated { path, .. } => ("task_created", path, true),
            Body::TaskDelegated { path, .. } => ("task_delegated", path, true),
            Body::TaskCommented { path, .. } => ("task_commented", path, true),
            Body::TaskDecided { path, .. } => ("task_decided", path, true),
            Body::IncidentOpened { path, .. } => ("incident_opened", path, false),
            _ => return None,
        };
        let at = record.header.at;
        let payload = json!({
            "fsm_id": snapshot.id, "workflow": snapshot.workflow, "path": path,
            "seq": record.header.seq, "timestamp": at,
        });
        Some((event, payload, is_for_all.then(|| json!({ "timestamp": at }))))
    };
    records.iter().filter_map(of).collect()
}

/// What became of a call: that it began, goes on, or ended.
#[derive(Debug, PartialEq)]
pub(super) struct Progress {
    /// The word for it, as lists of effects have it.
    pub status: &'static str,
    /// What is told.
    pub payload: Json,
}

/// Which record scheduled a node, and what kind it is of.
type Scheduled<'a> = (Seq, &'a str);

/// Returns what the records of a step say about calls. What an instance works out by itself takes
/// no time, and is seen in its records.
pub(super) fn progress(committed: &Committed) -> Vec<Progress> {
    let Committed { records, snapshot, before, .. } = committed;
    let mut here: BTreeMap<(Seq, &str), Option<Scheduled<'_>>> = BTreeMap::new();
    let mut told = Vec::new();
    for record in records.iter() {
        if let Body::EffectScheduled { tree, path, effect, key, .. } = &record.body {
            // Only calls have a key; another node at this place is none.
            let call = key.as_ref().map(|_| (record.header.seq, &**effect));
            here.insert((*tree, &**path), call);
            continue;
        }
        let Some((status, more)) = became(&record.body) else { continue };
        let Some((tree, path)) = record.body.node() else { continue };
        // A loop schedules a node again and again: the last time before this record counts.
        let scheduled = match here.get(&(tree, &**path)) {
            Some(scheduled) => *scheduled,
            None => before.as_deref().and_then(|it| call_in(it, tree, path)),
        };
        let Some((scheduled, kind)) = scheduled else { continue };
        let mut payload = json!({
            "fsm_id": snapshot.id, "workflow": snapshot.workflow,
            "effect_id": format!("{}:{scheduled}", snapshot.id),
            "kind": kind, "path": path, "status": status,
            "seq": record.header.seq, "timestamp": record.header.at,
        });
        if let (Json::Object(all), Json::Object(more)) = (&mut payload, more) {
            all.extend(more);
        }
        told.push(Progress { status, payload });
    }
    told
}

/// Returns the call that a state has at a place.
fn call_in<'a>(state: &'a Snapshot, tree: Seq, path: &str) -> Option<Scheduled<'a>> {
    let node = state.tree(tree)?.nodes.get(path)?;
    node.key.as_ref().map(|_| (node.scheduled, &*node.kind))
}

/// Returns how a call stands after a record, and what else there is to say.
fn became(body: &Body) -> Option<(&'static str, Json)> {
    let status = body.becomes()?;
    let more = match body {
        Body::EffectStarted { attempt, .. }
        | Body::EffectRecalled { attempt, .. }
        | Body::EffectUnknown { attempt, .. } => json!({ "attempt": attempt }),
        Body::EffectAttemptFailed { attempt, error, next_due, .. } => {
            json!({ "attempt": attempt, "error": error, "next_due": next_due })
        }
        Body::EffectFailed { error, .. } => json!({ "error": error }),
        Body::EffectCancelled { reason, .. } => json!({ "reason": reason }),
        _ => json!({}),
    };
    Some((status.as_str(), more))
}

/// What happened to the instances of a tenant since the last sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    started: u64,
    finished: u64,
    failed: u64,
    transitions: u64,
    tasks: u64,
    incidents: u64,
}

impl Counts {
    /// Counts what a step did.
    pub fn add(&mut self, snapshot: &Snapshot, records: &[Record]) {
        for record in records {
            match &record.body {
                Body::Created { .. } => self.started += 1,
                Body::Transition { .. } => self.transitions += 1,
                Body::TaskCreated { .. } => self.tasks += 1,
                Body::IncidentOpened { .. } => self.incidents += 1,
                Body::Finished { .. } => {
                    self.finished += 1;
                    self.failed += u64::from(snapshot.status == Status::Failed);
                }
                _ => {}
            }
        }
    }

    /// Returns what is told of it.
    pub fn sample(&self, interval_ms: u64, now: &Json) -> Json {
        let Counts { started, finished, failed, transitions, tasks, incidents } = self;
        json!({
            "interval_ms": interval_ms, "started": started, "finished": finished,
            "failed": failed, "transitions": transitions, "tasks": tasks,
            "incidents": incidents, "timestamp": now,
        })
    }
}
