//! What is told of instances, written without a detour.

use std::{collections::BTreeSet, sync::Arc};

use serde::Serialize;
use serde_json::Value as Json;
use traaviis_api::types::Page;
use traaviis_model::{InstanceId, Seq, Snapshot, Text, Value, record::Status};
use traaviis_platform::{
    Error,
    ask::Until,
    engine::{Accepted, Listing, Started},
    tenant::{DataAccess, Payloads},
};

use super::{Answer, Call};
use crate::payloads;

/// An instance as it is.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    snapshot: &'a Snapshot,
    state: String,
    waiting: bool,
    performance: traaviis_model::snapshot::Performance,
    correlation_id: Text,
}

/// An instance that was started.
#[derive(Debug, Serialize)]
struct Born<'a> {
    id: InstanceId,
    existing: bool,
    workflow: &'a Text,
    version: &'a Text,
    status: Status,
    state: String,
    seq: Seq,
    output: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    waited: Option<Waited<'a>>,
}

/// An instance after an event.
#[derive(Debug, Serialize)]
struct Taken<'a> {
    instance: InstanceId,
    status: Status,
    state: String,
    seq: Seq,
    output: &'a Value,
    accepted_at: Seq,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    replayed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    waited: Option<Waited<'a>>,
}

/// An instance on a list.
#[derive(Debug, Serialize)]
struct Listed<'a> {
    id: InstanceId,
    workflow: &'a Text,
    version: &'a Text,
    status: Status,
    waiting: bool,
    state: &'a Text,
    age_ms: i64,
    seq: Seq,
    correlation: &'a Option<Text>,
    correlation_id: Belongs<'a>,
    tags: &'a BTreeSet<Text>,
    parent_id: Option<InstanceId>,
    created_by: &'a Option<Text>,
}

/// To what an instance belongs: a request or root, or itself.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Belongs<'a> {
    To(&'a Text),
    Itself(InstanceId),
}

/// What stands on a list.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Item<'a> {
    Whole(Listed<'a>),
    Damaged(Json),
}

/// What was waited for.
#[derive(Debug, Serialize)]
struct Waited<'a> {
    until: &'a Until,
    is_met: bool,
}

pub(super) fn shown(call: &Call<'_>, snapshot: &Snapshot) -> Result<Answer, Error> {
    let shown = Shown {
        snapshot,
        state: snapshot.state(),
        waiting: snapshot.is_waiting(),
        performance: snapshot.performance(),
        correlation_id: snapshot.belongs_to(),
    };
    seen(call, &shown)
}

pub(super) fn born(
    call: &Call<'_>,
    started: &Started,
    waited: Option<(&Until, bool)>,
) -> Result<Answer, Error> {
    let snapshot = &started.snapshot;
    let born = Born {
        id: started.id,
        existing: started.existing,
        workflow: &snapshot.workflow,
        version: &snapshot.version,
        status: snapshot.status,
        state: snapshot.state(),
        seq: snapshot.seq,
        output: &snapshot.output,
        waited: waited.map(|(until, is_met)| Waited { until, is_met }),
    };
    seen(call, &born)
}

pub(super) fn taken(
    call: &Call<'_>,
    accepted: &Accepted,
    after: &Arc<Snapshot>,
    waited: Option<(&Until, bool)>,
) -> Result<Answer, Error> {
    let taken = Taken {
        instance: after.id,
        status: after.status,
        state: after.state(),
        seq: after.seq,
        output: &after.output,
        accepted_at: accepted.seq,
        replayed: accepted.replayed,
        waited: waited.map(|(until, is_met)| Waited { until, is_met }),
    };
    seen(call, &taken)
}

/// Answers with a page of instances.
pub(super) fn listed(call: &Call<'_>, listing: Listing) -> Result<Answer, Error> {
    let now = call.platform().now();
    let Listing { rows, damaged, next } = &listing;
    let whole = rows.iter().map(|it| {
        let listed = Listed {
            id: it.id,
            workflow: &it.workflow,
            version: &it.version,
            status: it.status,
            waiting: it.waits,
            state: &it.state,
            age_ms: now.since(it.created_at).as_millis(),
            seq: it.seq,
            correlation: &it.correlation,
            correlation_id: it.correlation_id.as_ref().map_or(Belongs::Itself(it.id), Belongs::To),
            tags: &it.tags,
            parent_id: it.parent,
            created_by: &it.created_by,
        };
        (it.id.to_string(), Item::Whole(listed))
    });
    let mut items: Vec<(String, Item<'_>)> = whole.collect();
    for it in damaged {
        let id = it["id"].as_str().unwrap_or_default().to_owned();
        items.push((id, Item::Damaged(it.clone())));
    }
    if !damaged.is_empty() {
        items.sort_by(|a, b| b.0.cmp(&a.0));
    }
    let items = items.into_iter().map(|it| it.1).collect();
    seen(call, &Page { items, next_cursor: next.map(|it| it.to_string()) })
}

/// Writes an answer with what the caller may see of it.
fn seen(call: &Call<'_>, body: &impl Serialize) -> Result<Answer, Error> {
    let entered = call.entered()?;
    match entered.data_access {
        // Most callers see everything, for whom nothing has to be taken apart.
        DataAccess { payloads: Payloads::Full, .. } => call.tell(body),
        access => {
            let body: Json = serde_json::to_value(body).map_err(|error| {
                Error::new("internal", format!("an answer cannot be written: {error}"))
            })?;
            let (shown, found) = payloads::shown(body, access);
            call.platform().note_masked(&entered.ctx, &found);
            call.tell(&shown)
        }
    }
}
