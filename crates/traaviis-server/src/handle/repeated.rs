//! Repetitions of requests that were carried out, and whose answers are lost: the process had ended
//! in between.

use std::sync::Arc;

use serde_json::json;
use traaviis_api::Op;
use traaviis_model::Snapshot;
use traaviis_platform::{
    Error,
    ask::Ask,
    engine::{Accepted, Started},
    repeated::UsedKey,
};

use super::{Answer, Call, effects, instances, views};

/// Tells what was done: of an instance how it is now, of anything else what it was.
pub(super) fn again(call: &Call<'_>, used: &UsedKey) -> Result<Answer, Error> {
    let Some((id, seq)) = used.instance() else { return Err(lost(used)) };
    if call.row.op == Op::RunEffect {
        return effects::begun(call, id, seq);
    }
    let mut found = instances::ask(call, Ask::Show { id: id.to_string() })?;
    let snapshot: Snapshot = serde_json::from_value(found["snapshot"].take())
        .map_err(|error| Error::new("internal", error.to_string()))?;
    let snapshot = Arc::new(snapshot);
    match call.row.op {
        Op::Start | Op::RunSchedule => {
            views::born(call, &Started { id, existing: true, snapshot }, None)
        }
        _ => {
            let after = Arc::clone(&snapshot);
            let accepted = Accepted { seq, replayed: true, snapshot };
            views::taken(call, &accepted, &after, None)
        }
    }
}

fn lost(used: &UsedKey) -> Error {
    let UsedKey { at, action, resource_type, resource_id, .. } = used;
    let message = format!(
        "the first request with this key was carried out ({action}: {resource_type} \
         `{resource_id}`), and its answer was lost when the server ended; look at what is there"
    );
    Error::new("idempotency_answer_lost", message).with_details(json!({
        "at": at, "action": action, "resource_type": resource_type, "resource_id": resource_id,
    }))
}
