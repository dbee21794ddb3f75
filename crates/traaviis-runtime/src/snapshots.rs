//! States of open instances as the snapshot store and whole checkpoints have them.

use serde::{Deserialize, Serialize};
use traaviis_model::{
    EventIds, Snapshot,
    record::{ERASED, ParentClose, Status},
};
use traaviis_ports::{Completion, LogError, LogStore, SnapshotHead, SnapshotRow, SnapshotStore};

use crate::{
    error::Error,
    owner::{Collected, Key},
    summary::Summary,
};

/// A state as written: a line of a checkpoint.
#[derive(Serialize)]
struct Out<'a> {
    instance: OutState<'a>,
}

#[derive(Serialize)]
struct OutState<'a> {
    snapshot: &'a Snapshot,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_ids: Option<&'a EventIds>,
}

#[derive(Deserialize)]
struct In {
    instance: State,
}

/// A state as read.
#[derive(Deserialize)]
pub(crate) struct State {
    pub snapshot: Snapshot,
    #[serde(default)]
    pub event_ids: Option<Box<EventIds>>,
}

/// Returns the line of an open instance; `log` seals what is sealed in it.
pub(crate) fn line_of(
    snapshot: &Snapshot,
    event_ids: Option<&EventIds>,
    log: &dyn LogStore,
) -> Result<Vec<u8>, LogError> {
    // No key is anything but text and no number anything but JSON's, so writing cannot fail.
    let write = |snapshot, event_ids| {
        let instance = OutState { snapshot, event_ids };
        serde_json::to_vec(&Out { instance }).unwrap_or_default()
    };
    let line = write(snapshot, event_ids);
    let Some(subject) = snapshot.sealed_for() else { return Ok(line) };
    let shown = write(&snapshot.withheld(&ERASED.into()), None);
    log.seal((snapshot.tenant_id, snapshot.id), subject, &shown, &line)
}

/// Returns the row of an open instance.
fn row_of(
    snapshot: &Snapshot,
    event_ids: Option<&EventIds>,
    log: &dyn LogStore,
) -> Result<SnapshotRow, LogError> {
    let body = line_of(snapshot, event_ids, log)?;
    Ok(SnapshotRow::Open(head_of(snapshot, size(&body)), body))
}

/// Returns how many bytes a state takes in the store.
pub(crate) fn size(body: &[u8]) -> u32 {
    u32::try_from(body.len()).unwrap_or(u32::MAX)
}

/// Returns what is known of an instance whose state takes so many bytes.
pub(crate) fn head_of(snapshot: &Snapshot, bytes: u32) -> SnapshotHead {
    SnapshotHead {
        tenant: snapshot.tenant_id,
        id: snapshot.id,
        seq: snapshot.seq,
        definition: snapshot.definition_hash,
        workflow: snapshot.workflow.clone(),
        correlation: snapshot.correlation.clone(),
        created_at: snapshot.created_at,
        updated_at: snapshot.updated_at,
        due: snapshot.next_timer().map(|it| it.due),
        timed: !snapshot.timers.is_empty(),
        rests: rests(snapshot),
        bytes,
    }
}

/// Returns the row of an instance that had one and has ended.
fn row_of_ended(summary: &Summary) -> SnapshotRow {
    let (tenant, id) = (summary.tenant_id, summary.id);
    // As above.
    SnapshotRow::Ended { tenant, id, summary: serde_json::to_vec(summary).unwrap_or_default() }
}

/// Puts what owners have collected into the store; returns how large each state is there.
pub fn put(
    store: &dyn SnapshotStore,
    collected: &[Collected],
    completion: Option<Completion>,
    log: &dyn LogStore,
) -> Result<Vec<(Key, u32)>, Error> {
    let open = collected.iter().flat_map(|it| &it.instances);
    let open: Vec<_> = open.map(|(snapshot, ids)| (&**snapshot, ids.as_deref())).collect();
    // What has ended comes first: it may have begun again since.
    let ended = collected.iter().flat_map(|it| &it.ended).map(|it| row_of_ended(it));
    put_rows(store, ended, open, completion, log)
}

/// Puts rows that are made one after the other; returns how large the states of the open ones are.
/// None is put if one of them cannot be made.
pub(crate) fn put_rows(
    store: &dyn SnapshotStore,
    ended: impl Iterator<Item = SnapshotRow>,
    mut open: Vec<(&Snapshot, Option<&EventIds>)>,
    completion: Option<Completion>,
    log: &dyn LogStore,
) -> Result<Vec<(Key, u32)>, Error> {
    let mut sizes = Vec::with_capacity(open.len());
    // In the order of the table: rows put anywhere in it cost several times as much.
    open.sort_unstable_by_key(|(snapshot, _)| Key::of(snapshot));
    // Only sealing can fail, and few are sealed: their rows are made before any is put.
    let (sealed, plain): (Vec<_>, Vec<_>) =
        open.into_iter().partition(|(snapshot, _)| snapshot.sealed_for().is_some());
    let sealed = sealed.into_iter().map(|(snapshot, ids)| row_of(snapshot, ids, log));
    let sealed: Vec<SnapshotRow> = sealed.collect::<Result<_, LogError>>()?;
    let plain = plain.into_iter().filter_map(|(snapshot, ids)| row_of(snapshot, ids, log).ok());
    let open = sealed.into_iter().chain(plain).inspect(|row| {
        if let SnapshotRow::Open(head, _) = row {
            sizes.push((Key { tenant: head.tenant, id: head.id }, head.bytes));
        }
    });
    store.put(&mut ended.chain(open), completion).map_err(Error::Snapshots)?;
    Ok(sizes)
}

/// Reads a state; none when it is not one. `log` opens what is sealed.
pub(crate) fn read(body: &[u8], log: &dyn LogStore) -> Result<Option<State>, LogError> {
    Ok(read_open(&log.unseal(body)?))
}

/// Reads a state that is not sealed.
pub(crate) fn read_open(body: &[u8]) -> Option<State> {
    serde_json::from_slice::<In>(body).ok().map(|it| it.instance)
}

/// Says whether a new process has nothing to do for an instance before an input comes or a timer
/// fires: no effects, nothing held, nobody to ask how they are.
fn rests(snapshot: &Snapshot) -> bool {
    let has_parent =
        snapshot.lineage.as_ref().is_some_and(|it| it.parent_close != ParentClose::Abandon);
    snapshot.trees.is_empty()
        && snapshot.held.is_empty()
        && snapshot.status != Status::Completing
        && snapshot.children.is_empty()
        && !has_parent
}
