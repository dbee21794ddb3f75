//! What somebody has an instance run outside of its states.
//!
//! Such a tree is the instance's as those of its states are: it has its permissions, budgets and
//! limits, waits in a pause, is taken up after a crash and ends with the instance. No state waits
//! for it, so its end is no event; it stands in the records.

use std::borrow::Cow;

use serde_json::json;
use traaviis_model::{
    Body, Diagnostic, Seq, Snapshot, Text, Value,
    limits::ASKED_TREES_MAX,
    record::{Asked, Operation, Status},
};

use super::{Input, Rejection, Run, StepContext, incident::paused, input::check_payload};
use crate::{machine::Machine, privacy::redacted_with};

/// Returns the machine that decides an input of an instance, and the input as it may be kept.
pub(super) fn prepared<'m>(
    machine: &'m Machine,
    snapshot: &Snapshot,
    input: Input,
    context: &StepContext,
) -> Result<(Cow<'m, Machine>, Input), Rejection> {
    // An instance that has ended runs nothing; what goes on when it is taken up again stands in the
    // state that comes back.
    let known = match &input {
        Input::Reopen(retried) => machine.of_instance(&retried.state),
        _ => machine.of_instance(snapshot),
    };
    let Input::Operate(Operation::RunEffect { mut asked }) = input else {
        return Ok((known, input));
    };
    check_payload("`with`", "validation_failed", &asked.with)?;
    asked.with = redacted_with(machine, std::mem::take(&mut asked.with), context)?;
    // The tree has the number of the record that the step begins with.
    let tree = snapshot.seq + 1;
    let machine = known.with_asked(tree, &asked).map_err(|it| invalid(&asked, &it))?;
    Ok((Cow::Owned(machine), Input::Operate(Operation::RunEffect { asked })))
}

fn invalid(asked: &Asked, found: &[Diagnostic]) -> Rejection {
    let message = match (&asked.tree, &asked.effect, found.first()) {
        (None, Some(_), Some(first)) => first.message.to_string(),
        _ => format!("the effect cannot be used: {} findings", found.len()),
    };
    let told = Value::from(&json!({ "diagnostics": found }));
    let is_known = asked.tree.is_some() || found.iter().any(|it| it.path != "/effect");
    Rejection::new(if is_known { "effect_invalid" } else { "unknown_effect" }, message).with(told)
}

impl Run<'_> {
    /// Begins what somebody asks for.
    pub(super) fn run_effect(&mut self, asked: Box<Asked>) -> Result<(), Rejection> {
        if self.snapshot.status == Status::Paused {
            return Err(paused());
        }
        let count = self.snapshot.trees.iter().filter(|it| it.asked.is_some()).count();
        if count >= ASKED_TREES_MAX {
            let message = format!(
                "the instance runs {count} effects outside of its states, and no more than that; \
                 try again when one has ended, or cancel one"
            );
            return Err(Rejection::new("effect_limit", message));
        }
        let tree = self.emit(Body::EffectRequested(asked));
        self.advance_tree(tree);
        Ok(())
    }

    /// Calls off what somebody has asked for. One that undoes already goes on undoing.
    pub(super) fn cancel_effect(
        &mut self,
        tree: Seq,
        reason: Option<Text>,
    ) -> Result<(), Rejection> {
        if self.snapshot.status == Status::Paused {
            return Err(paused());
        }
        match self.snapshot.tree(tree) {
            Some(found) if found.asked.is_some() => {}
            Some(found) => {
                let message = format!(
                    "effect `{}` belongs to state `{}`; it ends when the state is left",
                    found.invoke, found.state
                );
                return Err(Rejection::new("invalid_state", message));
            }
            None => {
                let message = format!("no effect runs that record `{tree}` has asked for");
                return Err(Rejection::new("invalid_state", message));
            }
        }
        self.emit(Body::EffectCancelRequested { tree, reason });
        self.call_off(tree);
        Ok(())
    }
}
