//! States of open instances as the snapshot store has them.

use serde::{Deserialize, Serialize};
use traaviis_model::{
    EventIds, Snapshot,
    record::{ParentClose, Status},
};
use traaviis_ports::{Completion, SnapshotHead, SnapshotRow, SnapshotStore};

use crate::{
    error::Error,
    owner::{Collected, Key},
    summary::Summary,
};

/// A state as written.
#[derive(Serialize)]
struct Out<'a> {
    snapshot: &'a Snapshot,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_ids: Option<&'a EventIds>,
}

/// A state as read.
#[derive(Deserialize)]
pub(crate) struct State {
    pub snapshot: Snapshot,
    #[serde(default)]
    pub event_ids: Option<Box<EventIds>>,
}

/// Returns the row of an open instance.
pub(crate) fn row_of(snapshot: &Snapshot, event_ids: Option<&EventIds>) -> SnapshotRow {
    // No key is anything but text and no number anything but JSON's, so writing cannot fail.
    let body = serde_json::to_vec(&Out { snapshot, event_ids }).unwrap_or_default();
    let head = SnapshotHead {
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
        bytes: u32::try_from(body.len()).unwrap_or(u32::MAX),
    };
    SnapshotRow::Open(head, body)
}

/// Returns the row of an instance that had one and has ended.
pub(crate) fn row_of_ended(summary: &Summary) -> SnapshotRow {
    let (tenant, id) = (summary.tenant_id, summary.id);
    // As above.
    SnapshotRow::Ended { tenant, id, summary: serde_json::to_vec(summary).unwrap_or_default() }
}

/// Puts what owners have collected into the store; returns how large each state is there.
pub fn put(
    store: &dyn SnapshotStore,
    collected: &[Collected],
    completion: Option<Completion>,
) -> Result<Vec<(Key, u32)>, Error> {
    let mut sizes = Vec::new();
    // What has ended comes first: it may have begun again since.
    let open = collected.iter().flat_map(|it| &it.instances);
    let open = open.map(|(snapshot, event_ids)| {
        let row = row_of(snapshot, event_ids.as_deref());
        if let SnapshotRow::Open(head, _) = &row {
            sizes.push((Key::of(snapshot), head.bytes));
        }
        row
    });
    let ended = collected.iter().flat_map(|it| &it.ended).map(|it| row_of_ended(it));
    store.put(&mut ended.chain(open), completion).map_err(Error::Snapshots)?;
    Ok(sizes)
}

/// Reads a state; none when it is not one.
pub(crate) fn read(body: &[u8]) -> Option<State> {
    serde_json::from_slice(body).ok()
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
