//! What the tree shows: documents of states and records, the same bytes whenever they are made.
//!
//! Invariant: everything here comes from the log; no time of writing and no order of writing is in
//! it, so a tree that is made again is the tree that was lost.

use serde::{Deserialize, Serialize};
use traaviis_model::{Body, InstanceId, Record, Seq, Snapshot, TenantId, Text, Value};
use traaviis_ports::{
    Position,
    tree::{Asks, Batch, Document, Place},
};

use crate::summary::hash_value;

/// What the tree must know of a record before it reads the rest.
#[derive(Debug, Deserialize)]
pub(super) struct Peek<'a> {
    pub tenant_id: TenantId,
    pub instance_id: InstanceId,
    pub seq: Seq,
    #[serde(borrow)]
    pub kind: std::borrow::Cow<'a, str>,
}

/// Returns the document of a state.
pub(super) fn instance(snapshot: &Snapshot) -> Document {
    let place = Place::Instance { workflow: snapshot.workflow.clone(), id: snapshot.id };
    of_state(snapshot, place, snapshot.canonical())
}

/// Returns what an instance asks of people.
pub(super) fn asks(snapshot: &Snapshot) -> Asks {
    let documents = match snapshot.status.is_finished() {
        true => Vec::new(),
        false => tasks(snapshot).chain(incidents(snapshot)).collect(),
    };
    Asks { tenant: snapshot.tenant_id, instance: snapshot.id, documents }
}

/// Returns what shows some states.
pub(super) fn batch<'a>(
    snapshots: impl Iterator<Item = &'a Snapshot>,
    position: Position,
) -> Batch {
    let mut batch = Batch { position, ..Batch::default() };
    for snapshot in snapshots {
        batch.documents.push(instance(snapshot));
        batch.asks.push(asks(snapshot));
    }
    batch
}

#[derive(Serialize)]
struct Task<'a> {
    instance_id: InstanceId,
    workflow: &'a Text,
    tree: Seq,
    path: &'a Text,
    kind: &'a Text,
    asked: &'a Value,
    answers: &'a Value,
}

fn tasks(snapshot: &Snapshot) -> impl Iterator<Item = Document> {
    snapshot.open_tasks().map(|(tree, path, node)| {
        let task = Task {
            instance_id: snapshot.id,
            workflow: &snapshot.workflow,
            tree,
            path,
            kind: &node.kind,
            asked: &node.input,
            answers: &node.value,
        };
        let place = Place::Task { instance: snapshot.id, scheduled: node.scheduled };
        of_state(snapshot, place, json(&task))
    })
}

#[derive(Serialize)]
struct Incident<'a> {
    instance_id: InstanceId,
    workflow: &'a Text,
    #[serde(flatten)]
    incident: &'a traaviis_model::snapshot::Incident,
}

fn incidents(snapshot: &Snapshot) -> impl Iterator<Item = Document> {
    snapshot.incidents.iter().map(|incident| {
        let (instance, workflow) = (snapshot.id, &snapshot.workflow);
        let name = format!("{}\n{}\n{}", incident.kind, incident.tree, incident.path);
        let digits = format!("{:016x}", hash_value(&Value::from(name.as_str()))).into();
        let shown = Incident { instance_id: instance, workflow, incident };
        of_state(snapshot, Place::Incident { instance, digits }, json(&shown))
    })
}

fn of_state(snapshot: &Snapshot, place: Place, body: Vec<u8>) -> Document {
    Document {
        tenant: Some(snapshot.tenant_id),
        place,
        version: snapshot.step,
        seq: snapshot.seq,
        updated_at: Some(snapshot.updated_at),
        body,
    }
}

/// What names a definition.
#[derive(Deserialize)]
struct Named {
    name: Text,
    version: Text,
}

/// Returns the document of a definition; none of a record about something else.
pub(super) fn definition(record: &Record) -> Option<Document> {
    let Body::DocumentPut { document, body, .. } = &record.body else { return None };
    // Recorded as the text it is, or by older releases as a value.
    let text = match body.as_str() {
        Some(text) => text.to_string(),
        None => String::from_utf8(json(body)).ok()?,
    };
    let Named { name, version } = serde_json::from_str(&text).ok()?;
    let hash = record.header.definition_hash;
    (**document == *"definition").then(|| Document {
        tenant: Some(record.header.tenant_id),
        place: Place::Definition { name, version },
        version: record.header.seq,
        seq: record.header.seq,
        updated_at: Some(record.header.at),
        body: format!(r#"{{"definition_hash":"{hash}","definition":{text}}}"#).into_bytes(),
    })
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    // Nothing here has keys other than text.
    serde_json::to_vec(value).unwrap_or_default()
}
