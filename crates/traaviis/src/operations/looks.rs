//! Looks at one instance: how it was, what it waits for, what an event would do.

use serde_json::{Value as Json, json};
use traaviis_engine::{Input, Machine, StepContext, step};
use traaviis_model::{Body, Seq, Snapshot, TenantCtx, Text, Value};

use crate::{
    clock,
    exit::Failure,
    histories::{Histories, absent, compile_document},
};

/// Shows an instance as it was after a record.
pub fn replay(histories: &Histories, id: &str, until: Option<Seq>) -> Result<Json, Failure> {
    let id = histories.find(id)?;
    let records = histories.records(id)?;
    let Some(last) = records.last().map(|it| it.header.seq) else {
        return Err(absent(&id.to_string()));
    };
    let until = until.unwrap_or(last);
    if !(1..=last).contains(&until) {
        let message = format!("instance `{id}` has records 1 to {last}, not `{until}`");
        return Err(Failure::finding("validation_failed", message));
    }
    let shown = records.iter().filter(|it| it.header.seq <= until);
    let folded = Snapshot::fold(shown);
    let folded = folded.map_err(|it| Failure::finding("history_broken", it.to_string()))?;
    let snapshot = folded.ok_or_else(|| absent(&id.to_string()))?;
    Ok(json!({
        "instance": id,
        "seq": snapshot.seq,
        "of": last,
        "at": snapshot.updated_at,
        "status": snapshot.status,
        "state": snapshot.state(),
        "configuration": snapshot.configuration,
        "data": snapshot.data,
        "output": snapshot.output,
        "error": snapshot.error,
    }))
}

/// Shows the effects that are open, and the children, as trees.
pub fn trees(snapshot: &Snapshot) -> Json {
    let trees = snapshot.trees.iter().map(|tree| {
        let nodes: Vec<(&Text, Json)> = tree
            .nodes
            .iter()
            .map(|(path, node)| {
                let shown = json!({
                    "path": path,
                    "kind": node.kind,
                    "status": node.status.as_str(),
                    "attempt": node.attempt,
                    "input": node.input,
                    "value": node.value,
                    "error": node.error,
                });
                (path, shown)
            })
            .collect();
        json!({
            "id": tree.id,
            "invoke": tree.invoke,
            "state": tree.state,
            "nodes": nested(&nodes),
        })
    });
    let children = snapshot.children.iter().map(|(id, child)| {
        json!({
            "instance": id,
            "workflow": child.workflow,
            "tree": child.tree,
            "path": child.path,
        })
    });
    json!({
        "instance": snapshot.id,
        "seq": snapshot.seq,
        "state": snapshot.state(),
        "trees": trees.collect::<Vec<_>>(),
        "children": children.collect::<Vec<_>>(),
    })
}

/// Puts nodes below those whose path theirs begins with; paths come in order, parents first.
fn nested(nodes: &[(&Text, Json)]) -> Vec<Json> {
    let mut all = Vec::new();
    let mut rest = nodes;
    while let [(path, shown), after @ ..] = rest {
        let below = after.iter().take_while(|(it, _)| is_below(it, path)).count();
        let mut shown = shown.clone();
        shown["children"] = json!(nested(&after[..below]));
        all.push(shown);
        rest = &after[below..];
    }
    all
}

fn is_below(path: &str, parent: &str) -> bool {
    let rest = path.strip_prefix(parent);
    rest.is_some_and(|it| it.starts_with(|it: char| !it.is_alphanumeric() && it != '_'))
}

/// Says which instance it is and how it stands, and more of it.
fn stands(snapshot: &Snapshot, more: Json) -> Json {
    let mut told = json!({
        "instance": snapshot.id,
        "workflow": snapshot.workflow,
        "version": snapshot.version,
        "status": snapshot.status,
        "state": snapshot.state(),
        "waiting": snapshot.is_waiting(),
        "next_due": snapshot.next_due(),
    });
    if let (Json::Object(all), Json::Object(more)) = (&mut told, more) {
        all.extend(more);
    }
    told
}

/// Says where an instance is.
pub fn state(snapshot: &Snapshot) -> Json {
    let more = json!({
        "configuration": snapshot.configuration,
        "seq": snapshot.seq,
        "data": snapshot.data,
    });
    stands(snapshot, more)
}

/// Counts what an instance has done and what is open in it.
pub fn measures(snapshot: &Snapshot) -> Json {
    let until = snapshot.finished_at.unwrap_or_else(clock::now);
    let calls = snapshot.trees.iter().flat_map(|it| it.nodes.values());
    let calls = calls.filter(|it| it.key.is_some() && !it.status.is_over());
    let more = json!({
        "records": snapshot.seq,
        "steps": snapshot.step,
        "performance": snapshot.performance(),
        "created_at": snapshot.created_at,
        "updated_at": snapshot.updated_at,
        "finished_at": snapshot.finished_at,
        "age_ms": until.since(snapshot.created_at).as_millis(),
        "open": {
            "effects": calls.count(),
            "timers": snapshot.timers.len(),
            "children": snapshot.children.len(),
            "incidents": snapshot.incidents.len(),
            "deferred_events": snapshot.deferred.len(),
        },
        "data_bytes": snapshot.data.json_len(),
    });
    stands(snapshot, more)
}

fn machine_of(histories: &Histories, snapshot: &Snapshot) -> Result<Machine, Failure> {
    compile_document(&histories.definition(snapshot.definition_hash)?)
}

/// Lists the events that are accepted now, with where each may lead.
pub fn transitions(histories: &Histories, snapshot: &Snapshot) -> Result<Json, Failure> {
    let machine = machine_of(histories, snapshot)?;
    let events = match snapshot.status.is_finished() {
        true => Vec::new(),
        false => machine.accepted_events(snapshot),
    };
    let transitions = events.into_iter().map(|event| {
        let exits = machine.exits(snapshot, &event);
        let requires = machine.requires(&event).iter().map(|it| it.as_str());
        json!({
            "event": event,
            "targets": exits,
            "requires": requires.collect::<Vec<_>>(),
        })
    });
    Ok(json!({
        "instance": snapshot.id,
        "seq": snapshot.seq,
        "state": snapshot.state(),
        "transitions": transitions.collect::<Vec<_>>(),
    }))
}

/// Says what an event would do, by taking the step and keeping nothing of it.
pub fn probe(
    histories: &Histories,
    ctx: &TenantCtx,
    snapshot: &Snapshot,
    event: Text,
    data: Value,
) -> Result<Json, Failure> {
    let machine = machine_of(histories, snapshot)?;
    let mut answer = json!({
        "instance": snapshot.id,
        "seq": snapshot.seq,
        "event": event,
        "current_state": snapshot.state(),
        "possible_destinations": machine.exits(snapshot, &event),
    });
    let context = StepContext {
        key: histories.keys.needed(ctx, &[&machine])?,
        ..StepContext::new(clock::now(), ctx.actor().clone())
    };
    let input = Input::Event { event: event.clone(), data, id: None };
    let missing = machine.requires(&event).iter().find(|it| !ctx.may(**it));
    let refusal = match (snapshot.status.is_finished(), missing) {
        (true, _) => Some(("invalid_state", "the instance has ended".to_owned(), Json::Null)),
        (false, Some(missing)) => {
            let message = format!("this event needs the permission `{}`", missing.as_str());
            Some(("permission_denied", message, Json::Null))
        }
        (false, None) => match step(&machine, snapshot, input, &context) {
            Ok(step) => {
                let taken =
                    step.records.iter().any(|it| matches!(it.body, Body::Transition { .. }));
                answer["would_move"] = json!(taken);
                answer["new_state"] = json!(step.snapshot.state());
                answer["new_status"] = json!(step.snapshot.status);
                None
            }
            Err(why) => Some((why.code, why.message, Json::from(&why.details))),
        },
    };
    answer["can_transition"] = json!(refusal.is_none());
    if let Some((code, message, details)) = refusal {
        answer["refusal"] = json!({ "code": code, "message": message, "details": details });
    }
    Ok(answer)
}

/// Refuses a state that the workflow of an instance does not have.
pub fn needs_state(histories: &Histories, snapshot: &Snapshot, path: &str) -> Result<(), Failure> {
    if machine_of(histories, snapshot)?.has_state(path) {
        return Ok(());
    }
    let message = format!("workflow `{}` has no state `{path}`", snapshot.workflow);
    Err(Failure::finding("validation_failed", message))
}
