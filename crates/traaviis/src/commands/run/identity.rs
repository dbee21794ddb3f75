//! Which run a call of `run --data` means.
//!
//! A run is known by its workflow's name and its correlation key, or by its start input when the
//! workflow has no key. The same call therefore finds its run again, whatever happened to the
//! process, and begins a second one only when asked to.

use traaviis_engine::{Machine, StepContext};
use traaviis_model::{Actor, Body, InstanceId, Snapshot, TenantCtx, Text, Value};
use uuid::Uuid;

use crate::{
    clock,
    data::Data,
    exit::Failure,
    histories::{Damaged, Listed},
};

/// What the directory knows about a run.
pub enum Found {
    /// It is open.
    Open(Snapshot),
    /// It has ended; the latest, when there are several.
    Finished(Snapshot),
    /// It began, and records of it are lost.
    Damaged(Failure),
    /// It never began.
    Nothing,
}

/// Looks for the run.
pub fn find(data: &Data, machine: &Machine, input: &Value) -> Result<Found, Failure> {
    let wanted = Identity::of_start(data, machine, input)?;
    let open = data.open_instances(&machine.definition().name);
    if let Some(snapshot) = open.into_iter().rev().find(|it| wanted.fits(it)) {
        return Ok(Found::Open(snapshot));
    }
    let Listed { whole, damaged, .. } = data.histories.list()?;
    let found = whole.into_iter().rev().find(|it| wanted.fits(it));
    let is_this =
        |it: &&Damaged| it.snapshot.as_ref().is_some_and(|snapshot| wanted.fits(snapshot));
    let broken = damaged.iter().rev().find(is_this);
    Ok(match (found, broken) {
        (Some(snapshot), Some(broken)) if broken.id > snapshot.id => {
            Found::Damaged(broken.failure())
        }
        (Some(snapshot), _) if snapshot.status.is_finished() => Found::Finished(snapshot),
        (Some(snapshot), _) => Found::Open(snapshot),
        (None, Some(broken)) => Found::Damaged(broken.failure()),
        (None, None) => match damaged.iter().rev().find(|it| it.snapshot.is_none()) {
            Some(lost) => Found::Damaged(nameless(lost)),
            None => Found::Nothing,
        },
    })
}

/// Looks for the run that has an id; an instance that is another run has it for good.
pub fn find_named(
    data: &Data,
    machine: &Machine,
    input: &Value,
    id: InstanceId,
) -> Result<Found, Failure> {
    if let Err(damaged) = data.histories.refuse_damaged(id) {
        return Ok(Found::Damaged(damaged));
    }
    let Some(snapshot) = data.state(id)? else { return Ok(Found::Nothing) };
    let wanted = Identity::of_start(data, machine, input)?;
    if snapshot.workflow != wanted.workflow || snapshot.input != wanted.input {
        let message = format!(
            "`{id}` is a run of workflow `{}` that began with another workflow or input; choose \
             another id",
            snapshot.workflow
        );
        return Err(Failure::finding("already_exists", message));
    }
    Ok(match snapshot.status.is_finished() {
        true => Found::Finished(snapshot),
        false => Found::Open(snapshot),
    })
}

/// A run whose beginning is lost may be the one that is meant; beginning it a second time could do
/// its work twice.
fn nameless(lost: &Damaged) -> Failure {
    let failure = lost.failure();
    let message = format!(
        "{}; whether it is this run cannot be told; `--new` begins a new one",
        failure.message
    );
    failure.saying(message)
}

/// What makes a start the start of this run.
pub struct Identity {
    workflow: Text,
    key: Option<Text>,
    /// With defaults filled in.
    pub input: Value,
}

impl Identity {
    /// Asks the engine what a start would record: defaults filled in, key computed. It decides
    /// only; nothing is begun.
    pub fn of_start(data: &Data, machine: &Machine, input: &Value) -> Result<Identity, Failure> {
        let ctx = TenantCtx::local_operator();
        let key = data.redaction_key(&ctx, machine)?;
        let context = StepContext { key, ..StepContext::new(clock::now(), Actor::local()) };
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
