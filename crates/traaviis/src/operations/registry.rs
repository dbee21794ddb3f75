//! What is asked of all instances at once: counts, health, and one event to many.

use serde_json::{Value as Json, json};
use traaviis_model::{Text, Value, record::Status};
use traaviis_ports::index::Query;
use traaviis_runtime::{Broadcast, Filter};

use crate::{
    bench::facts,
    data::Data,
    exit::{Exit, Failure},
    histories::Histories,
};

/// Counts instances by workflow, status and state.
pub fn count(histories: &Histories, query: &Query) -> Result<Json, Failure> {
    let counts = histories.count(query)?;
    let total: u64 = counts.iter().map(|it| it.count).sum();
    let counts = counts.iter().map(|it| {
        json!({
            "workflow": it.workflow,
            "status": it.status,
            "state": it.state,
            "count": it.count,
            "last_activity": it.updated_at,
        })
    });
    Ok(json!({ "total": total, "counts": counts.collect::<Vec<_>>() }))
}

/// Tells how the directory fares: whether somebody must look, how many are open, when something
/// happened last, and the memory of the process that runs it.
pub fn health(histories: &Histories, data: Option<&Data>) -> Result<Json, Failure> {
    let counts = histories.count(&Query::default())?;
    let open = || counts.iter().filter(|it| !it.status.is_finished());
    let incidents: u64 = open().filter(|it| it.status == Status::Incident).map(|it| it.count).sum();
    let damaged = histories.known_damaged().len();
    let is_well = incidents == 0 && damaged == 0;
    Ok(json!({
        "status": if is_well { "ok" } else { "attention" },
        "count": open().map(|it| it.count).sum::<u64>(),
        "incidents": incidents,
        "damaged": damaged,
        "last_activity": counts.iter().map(|it| it.updated_at).max(),
        "live": data.is_some(),
        "memory_bytes": data.map(|_| facts::resident_bytes()),
    }))
}

/// Sends an event to every open instance that fits.
pub fn broadcast(
    data: Option<&Data>,
    filter: &Filter,
    event: &Text,
    payload: &Value,
    key: Option<&str>,
) -> Result<Json, Failure> {
    let Some(data) = data else {
        return Err(Failure::new(Exit::Internal, "internal", "a change needs a runtime"));
    };
    let Broadcast { taken, refused } = data.broadcast(filter, event, payload, key)?;
    let refused = refused.iter().map(
        |(id, error)| json!({ "instance": id, "code": error.code(), "message": error.to_string() }),
    );
    Ok(json!({ "event": event, "taken": taken.len(), "refused": refused.collect::<Vec<_>>() }))
}
