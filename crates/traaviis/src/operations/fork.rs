//! Forks: what one would be, and the fork itself.

use serde_json::{Value as Json, json};
use traaviis_engine::{Branch, Fork, Input, Request, StepContext, plan_fork, step};
use traaviis_model::{Actor, InstanceId, Snapshot, TenantCtx, limits::RUNNING_EFFECTS_MAX};

use super::{known_one, snapshot_of};
use crate::{
    clock,
    control::protocol::ForkAsk,
    data::Data,
    exit::Failure,
    histories::{Histories, compile_document},
};

/// Starts a fork, or says what it would be.
pub fn answer(
    histories: &Histories,
    data: Option<&Data>,
    id: &str,
    ask: ForkAsk,
) -> Result<Json, Failure> {
    if ask.dry_run {
        let of = snapshot_of(histories, data, id)?.id;
        return plan(histories, of, ask);
    }
    let (data, of) = known_one(histories, data, id)?;
    let fork = data.fork(of.id, |id| fork_of(id, ask))?;
    Ok(shown(&fork))
}

fn fork_of(id: InstanceId, ask: ForkAsk) -> Fork {
    let ForkAsk { at, reason, results, patch, paused, .. } = ask;
    Fork { id, at, reason, results, patch, paused }
}

/// Says what a fork would be, and which calls its first step would make.
fn plan(histories: &Histories, of: InstanceId, ask: ForkAsk) -> Result<Json, Failure> {
    let refused = |it: traaviis_engine::Rejection| Failure::finding(it.code, it.message);
    let records = histories.records(of)?;
    let id = InstanceId(uuid::Uuid::now_v7());
    let branch = plan_fork(&records, fork_of(id, ask)).map_err(refused)?;
    let Branch { base, forked, .. } = branch;
    let machine = compile_document(&histories.definition(base.definition_hash)?)?;
    let context = StepContext {
        start_slots: u32::try_from(RUNNING_EFFECTS_MAX).unwrap_or(u32::MAX),
        key: histories.keys.needed(&TenantCtx::local_operator(), &[&machine])?,
        ..StepContext::new(clock::now(), Actor::local())
    };
    let told = forked.told.len();
    let step = step(&machine, &base, Input::Fork(forked), &context).map_err(refused)?;
    let calls: Vec<Json> = step
        .requests
        .iter()
        .filter_map(|it| match it {
            Request::Perform(call) => {
                Some(json!({ "path": call.id.path, "kind": call.kind, "key": call.key }))
            }
            _ => None,
        })
        .collect();
    let mut answer = shown(&step.snapshot);
    answer["dry_run"] = json!(true);
    answer["recorded_results"] = json!(told);
    answer["calls"] = json!(calls);
    answer["data"] = json!(step.snapshot.data);
    if let Some(map) = answer.as_object_mut() {
        map.remove("instance");
    }
    Ok(answer)
}

fn shown(snapshot: &Snapshot) -> Json {
    let mut answer = super::changed(snapshot);
    let origin = snapshot.forked_from.as_ref();
    answer["forked_from"] = json!(origin.map(|it| json!({ "id": it.id, "seq": it.seq })));
    answer["incidents"] = json!(snapshot.incidents.len());
    answer
}
