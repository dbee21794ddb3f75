//! What the tree shows: documents of states and records, the same bytes whenever they are made.
//!
//! Invariant: everything here comes from the log; no time of writing and no order of writing is in
//! it, so a tree that is made again is the tree that was lost.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use traaviis_model::{
    Body, InstanceId, Record, Seq, Snapshot, TenantId, Text, Value, record::SEALED,
};
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
    pub kind: Cow<'a, str>,
}

/// Returns what the tree shows of a state: of what is sealed in the log, the same before and after
/// it is erased, so that nothing of the tree has to be taken back.
fn shown(snapshot: &Snapshot) -> Cow<'_, Snapshot> {
    match &snapshot.subject {
        None => Cow::Borrowed(snapshot),
        Some(_) => Cow::Owned(snapshot.withheld(&SEALED.into())),
    }
}

/// Says whether the values of an instance are sealed in the log, by its first record.
pub(super) fn is_sealed(first: &[u8]) -> bool {
    let record = Record::read_line(first).ok();
    record.is_some_and(|it| matches!(it.body, Body::Created { subject: Some(_), .. }))
}

/// Returns what the tree shows of records of an instance.
pub(super) fn shown_lines(is_sealed: bool, lines: &[u8]) -> Cow<'_, [u8]> {
    if !is_sealed {
        return Cow::Borrowed(lines);
    }
    let mark = SEALED.into();
    let mut shown = Vec::with_capacity(lines.len());
    for line in lines.split(|it| *it == b'\n').filter(|it| !it.is_empty()) {
        match Record::read_line(line) {
            Ok(record) => record.withheld(&mark).write_line(&mut shown),
            // It was read before, for the state; one that cannot be read is shown by nobody.
            Err(_) => shown.extend_from_slice(b"{}\n"),
        }
    }
    Cow::Owned(shown)
}

/// Returns the document of a state.
pub(super) fn instance(snapshot: &Snapshot) -> Document {
    let snapshot = &*shown(snapshot);
    let place = Place::Instance { workflow: snapshot.workflow.clone(), id: snapshot.id };
    of_state(snapshot, place, snapshot.canonical())
}

/// Returns what an instance asks of people.
pub(super) fn asks(snapshot: &Snapshot) -> Asks {
    let snapshot = &*shown(snapshot);
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

/// Returns the document of a definition; none of a record about something else. Of one that is
/// sealed in the log it shows no more than what is done is called.
pub(super) fn definition(record: &Record, is_sealed: bool) -> Option<Document> {
    let Body::DocumentPut { document, body, .. } = &record.body else { return None };
    // Recorded as the text it is, or by older releases as a value.
    let text = match body.as_str() {
        Some(text) => text.to_string(),
        None => String::from_utf8(json(body)).ok()?,
    };
    let Named { name, version } = serde_json::from_str(&text).ok()?;
    let text = if is_sealed { format!("\"{SEALED}\"") } else { text };
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
