//! Trying again and leaving out: of what waits in an incident, and of an instance that has failed.

use traaviis_engine::{Resolution, Retry};
use traaviis_model::{Snapshot, Text, Value, record::Status};

use super::{incident_of, known_one, split_incident};
use crate::{data::Data, exit::Failure, histories::Histories};

/// Answers an open incident, or every one, with another try; or lets an instance that has failed go
/// on.
pub fn retry(
    histories: &Histories,
    data: Option<&Data>,
    id: &str,
    retry: Retry,
) -> Result<Snapshot, Failure> {
    let (id, number) = split_incident(id);
    let (data, mut snapshot) = known_one(histories, data, id)?;
    if snapshot.status == Status::Failed && number.is_none() {
        return data.retry(snapshot.id, retry);
    }
    let refuse = |why: &str| {
        let message = format!("instance `{}` {why}", snapshot.id);
        Err(Failure::finding("invalid_state", message))
    };
    if snapshot.incidents.is_empty() && number.is_none() {
        return refuse("has not failed, and has no incident to try again");
    }
    if retry.as_new || retry.paused {
        return refuse("has not failed; `--as-new` and `--paused` are for one that has");
    }
    let meant = match number {
        Some(_) => vec![incident_of(&snapshot, number, None)?.clone()],
        None => snapshot.incidents.clone(),
    };
    for incident in meant {
        let (tree, reason) = (incident.tree, retry.reason.clone());
        snapshot = data.resolve(snapshot.id, tree, &incident.path, Resolution::Retry, reason)?;
    }
    Ok(snapshot)
}

/// Leaves an effect out: one that an incident is about, or the one in which an instance has failed.
pub fn skip(
    histories: &Histories,
    data: Option<&Data>,
    id: &str,
    (path, value): (Text, Value),
    reason: Text,
) -> Result<Snapshot, Failure> {
    let (id, number) = split_incident(id);
    let (data, snapshot) = known_one(histories, data, id)?;
    if snapshot.status == Status::Failed && number.is_none() {
        let (reason, skip) = (Some(reason), Some((path, value)));
        return data.retry(snapshot.id, Retry { reason, skip, ..Retry::default() });
    }
    let tree = incident_of(&snapshot, number, Some(&path))?.tree;
    data.resolve(snapshot.id, tree, &path, Resolution::Skip(value), Some(reason))
}
