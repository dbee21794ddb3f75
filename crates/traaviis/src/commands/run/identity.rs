//! Which run a call of `run --data` means.
//!
//! A run is known by its workflow's name and its correlation key, or by its start input when the
//! workflow has no key. The same call therefore finds its run again, whatever happened to the
//! process, and begins a second one only when asked to.

use traaviis_engine::{Machine, StepContext};
use traaviis_model::{Actor, Body, InstanceId, Snapshot, TenantCtx, Text, Value};
use uuid::Uuid;

use crate::{clock, data::Data, exit::Failure};

/// What the directory knows about a run.
pub enum Found {
    /// It is open.
    Open(Snapshot),
    /// It has ended; the latest, when there are several.
    Finished(Snapshot),
    /// It never began.
    Nothing,
}

/// Looks for the run.
pub fn find(data: &Data, machine: &Machine, input: &Value) -> Result<Found, Failure> {
    let wanted = Identity::of_start(machine, input)?;
    let open = data.open_instances();
    if let Some(snapshot) = open.into_iter().rev().find(|it| wanted.fits(it)) {
        return Ok(Found::Open(snapshot));
    }
    let all = data.histories.list()?;
    Ok(match all.into_iter().rev().find(|it| wanted.fits(it)) {
        Some(snapshot) if snapshot.status.is_finished() => Found::Finished(snapshot),
        Some(snapshot) => Found::Open(snapshot),
        None => Found::Nothing,
    })
}

struct Identity {
    workflow: Text,
    key: Option<Text>,
    input: Value,
}

impl Identity {
    /// Asks the engine what a start would record: defaults filled in, key computed. It decides
    /// only; nothing is begun.
    fn of_start(machine: &Machine, input: &Value) -> Result<Identity, Failure> {
        let context = StepContext {
            now: clock::now(),
            start_slots: 0,
            actor: Actor::local(),
            causation: None,
        };
        let ctx = TenantCtx::local_operator();
        let id = InstanceId(Uuid::nil());
        let step = traaviis_engine::start(machine, &ctx, id, input.clone(), &context)
            .map_err(|it| Failure::finding(it.code, it.message))?;
        match step.records.into_iter().next().map(|it| it.body) {
            Some(Body::Created { workflow, input, correlation, .. }) => {
                Ok(Identity { workflow, key: correlation, input })
            }
            _ => Err(Failure::new(
                crate::exit::Exit::Internal,
                "internal",
                "a start that creates nothing",
            )),
        }
    }

    fn fits(&self, snapshot: &Snapshot) -> bool {
        snapshot.workflow == self.workflow
            && match &self.key {
                Some(key) => snapshot.correlation.as_ref() == Some(key),
                None => snapshot.correlation.is_none() && snapshot.input == self.input,
            }
    }
}
