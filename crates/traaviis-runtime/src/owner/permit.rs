//! Who may do what to an instance: asked when a command enters, before it waits for its turn.
//!
//! A refusal leaves no record. What instances ask of each other, and whatever else enters as the
//! engine, is part of work that somebody was allowed to start.

use traaviis_engine::Machine;
use traaviis_model::{TenantCtx, Value, permission::Permission, record::Operation};

use super::Command;
use crate::error::Error;

/// Returns why somebody may not give a command.
pub(super) fn refusal(ctx: &TenantCtx, command: &Command, machine: &Machine) -> Option<Error> {
    use Permission::{EffectsExecute, WorkflowDeploy, WorkflowEdit, WorkflowExecute};
    let (what, needed): (&str, &[Permission]) = match command {
        Command::Event { event, .. } => {
            let missing = lacks(ctx, machine.requires(event));
            let missing = missing.or_else(|| lacks(ctx, &[WorkflowExecute]))?;
            return Some(denied(ctx, &format!("send event `{event}`"), missing));
        }
        Command::If { command, .. } => return refusal(ctx, command, machine),
        Command::Cancel { .. } => ("cancel", &[WorkflowExecute]),
        Command::Resolve { .. } => ("answer incidents", &[WorkflowExecute]),
        Command::Operate(operation) => match operation {
            // Any member may answer what asks for people.
            Operation::Task { .. } => return None,
            Operation::EditData { .. } => ("edit data", &[WorkflowEdit, WorkflowExecute]),
            Operation::Move { .. } => ("move", &[WorkflowEdit, WorkflowExecute]),
            Operation::Upgrade { .. } | Operation::Rollback => {
                ("change the version", &[WorkflowDeploy])
            }
            Operation::RunEffect { .. } => ("run effects", &[EffectsExecute]),
            Operation::CancelEffect { .. } => ("cancel effects", &[EffectsExecute]),
            _ => ("operate", &[WorkflowExecute]),
        },
    };
    lacks(ctx, needed).map(|missing| denied(ctx, what, missing))
}

/// Returns why somebody may not start instances.
pub(super) fn start_refusal(ctx: &TenantCtx) -> Option<Error> {
    let missing = lacks(ctx, &[Permission::WorkflowExecute])?;
    Some(denied(ctx, "start instances", missing))
}

fn lacks(ctx: &TenantCtx, needed: &[Permission]) -> Option<Permission> {
    needed.iter().copied().find(|it| !ctx.may(*it))
}

fn denied(ctx: &TenantCtx, what: &str, missing: Permission) -> Error {
    let (name, missing) = (&ctx.actor().id, missing.as_str());
    let role = ctx.role().map_or("engine", |it| it.as_str());
    let message = format!("`{name}` may not {what}: the role `{role}` has no `{missing}`");
    Error::rejected(
        "permission_denied",
        message,
        Value::map([("permission", Value::from(missing)), ("role", Value::from(role))]),
    )
}
