//! What people do to an instance by hand: pause, resume, edit the data, move, answer tasks.
//!
//! A paused instance takes no step: timers wait, no attempt begins, and the ends of running
//! attempts are kept as records ([`Body::InputHeld`]), to be taken one by one when it goes on.

use traaviis_model::{
    Body, EffectError, Seq, Text, Value, limits,
    record::{Held, Operation, PatchOp, Status},
    snapshot::apply_patch,
};

use super::{
    incident::{held_of, paused},
    input::check_payload,
};
use crate::{
    machine::{StateFlags, StateIds},
    step::{Input, Rejection, Request, Run},
};

impl Run<'_> {
    pub(super) fn operate(&mut self, operation: Operation) -> Result<(), Rejection> {
        if self.snapshot.status == Status::Completing
            && !matches!(
                operation,
                Operation::EditData { .. }
                    | Operation::Task { .. }
                    | Operation::Assign { .. }
                    | Operation::CancelEffect { .. }
                    | Operation::Tag { .. }
            )
        {
            return Err(Rejection::new(
                "invalid_state",
                "the instance is ending; only cleanup still runs",
            ));
        }
        match operation {
            Operation::Pause { reason } => {
                if self.snapshot.status != Status::Paused {
                    self.emit(Body::Paused { reason });
                }
                Ok(())
            }
            Operation::Resume { reason } => {
                if self.snapshot.status == Status::Paused {
                    self.emit(Body::Resumed { reason });
                    self.grant_budgets();
                    self.queue_waiting_calls();
                    self.yielded = true;
                }
                Ok(())
            }
            Operation::Task { .. } if self.snapshot.status == Status::Paused => Err(paused()),
            Operation::Task { tree, path, act } => self.act_on_task(tree, &path, act),
            Operation::Assign { incident, to } => self.assign(incident, to),
            Operation::EditData { patch, reason } => self.edit_data(patch, reason),
            Operation::Move { to, reason } => self.move_to(to, reason),
            Operation::Tag { add, remove } => self.tag(add, remove),
            Operation::RunEffect { asked } => self.run_effect(asked),
            Operation::CancelEffect { tree, reason } => self.cancel_effect(tree, reason),
            // Whoever has both versions calls `upgrade` or `roll_back` instead.
            Operation::Upgrade { .. } | Operation::Rollback => Err(Rejection::new(
                "engine_fault",
                "a change of the version cannot be decided by one version alone",
            )),
        }
    }

    /// Says whether a paused instance leaves an input for later; keeps what would not come again.
    pub(super) fn pauses(&mut self, input: &Input) -> bool {
        if self.snapshot.status != Status::Paused {
            return false;
        }
        match input {
            Input::Timer { .. } | Input::Starting { .. } | Input::Continue => true,
            // Nobody waits for it: it is late now, and would be taken for news when it is released.
            Input::Outcome { tree, path, scheduled, attempt, .. }
                if !self.is_current(*tree, path, (*scheduled, *attempt)) =>
            {
                false
            }
            Input::Outcome { tree, path, .. } | Input::Unknown { tree, path, .. } => {
                if !self.snapshot.holds_outcome(*tree, path)
                    && let Some(held) = held_of(input)
                {
                    self.emit(Body::InputHeld { held });
                }
                true
            }
            // The end of the parent is a cancellation, which pauses do not stop.
            Input::Ended { instance, .. } => {
                let is_child = self.snapshot.children.contains_key(instance);
                if is_child
                    && !self.snapshot.holds_ending(*instance)
                    && let Some(held) = held_of(input)
                {
                    self.emit(Body::InputHeld { held });
                }
                is_child
            }
            Input::Delivered { event, data, id, refused: None } => {
                let is_event = |it: &&Held| matches!(it, Held::Event { .. });
                let body = match self.snapshot.held.iter().filter(is_event).count() {
                    0..limits::DEFERRED_MAX => {
                        Body::InputHeld { held: held_of(input).unwrap_or(Held::Continue) }
                    }
                    count => {
                        let message = format!("{count} events already wait for the end of a pause");
                        let refused =
                            Some(Box::new(EffectError::new("deferred_queue_full", message)));
                        let (event, data, id) = (event.clone(), data.clone(), Some(id.clone()));
                        Body::EventIgnored { event, data, id, refused }
                    }
                };
                self.emit(body);
                true
            }
            Input::Event { .. }
            | Input::Delivered { .. }
            | Input::Cancel { .. }
            | Input::Resolve { .. }
            | Input::Reopen(_)
            | Input::Fork(_)
            | Input::Operate(_) => false,
        }
    }

    /// Returns the input that was kept first and may be taken now; it is no longer kept.
    pub(super) fn release_held(&mut self) -> Option<Held> {
        if self.snapshot.status == Status::Paused {
            return None;
        }
        let first = self.snapshot.held.first().cloned()?;
        self.emit(Body::InputReleased);
        Some(first)
    }

    /// Asks for a slot for every call that waits for one.
    pub(crate) fn queue_waiting_calls(&mut self) {
        let waiting = |(tree, path, _): &(Seq, &Text, _)| self.snapshot.waits_for_slot(*tree, path);
        let waiting: Vec<(Seq, Text)> = self
            .snapshot
            .calls()
            .filter(waiting)
            .map(|(tree, path, _)| (tree, path.clone()))
            .collect();
        for (tree, path) in waiting {
            match self.is_recalled(tree, &path) {
                true => self.yielded = true,
                false => self.requests.push(Request::Queue { tree, path }),
            }
        }
    }

    fn edit_data(&mut self, patch: Vec<PatchOp>, reason: Text) -> Result<(), Rejection> {
        check_reason(&reason)?;
        if patch.is_empty() {
            return Err(Rejection::new("validation_failed", "the patch changes nothing"));
        }
        let patch = self.redacted_patch(patch)?;
        check_patch(&self.snapshot.data, &patch)?;
        self.emit(Body::DataEdited { patch, reason });
        Ok(())
    }

    fn move_to(&mut self, to: Vec<Text>, reason: Text) -> Result<(), Rejection> {
        check_reason(&reason)?;
        if self.snapshot.status != Status::Paused {
            return Err(Rejection::new(
                "invalid_state",
                "only a paused instance can be moved; pause it first",
            ));
        }
        let mut targets = Vec::new();
        for path in &to {
            let state = self.machine.by_path.get(path).copied().ok_or_else(|| {
                let message =
                    format!("workflow `{}` has no state `{path}`", self.snapshot.workflow);
                Rejection::new("validation_failed", message)
            })?;
            targets.push(state);
        }
        let mut after = StateFlags::from_elem(false, self.machine.states.len());
        self.initial_set(&targets).into_iter().for_each(|state| after[state] = true);
        self.check_configuration(&after, &to)?;
        let exits: StateIds =
            (1..after.len()).rev().filter(|it| self.active[*it] && !after[*it]).collect();
        let entries: StateIds =
            (1..after.len()).filter(|it| after[*it] && !self.active[*it]).collect();
        self.emit(Body::Moved { to, reason });
        self.event = None;
        self.microsteps += 1;
        let remembered = self.remember(&exits);
        self.change_configuration(exits, entries, &[], remembered);
        self.settle();
        Ok(())
    }

    /// Refuses states that cannot be active together, or not without others.
    fn check_configuration(&self, after: &[bool], to: &[Text]) -> Result<(), Rejection> {
        let Some(state) = self.machine.misfit(after, 0) else { return Ok(()) };
        let def = &self.machine.states[state];
        let count = def.children.iter().filter(|it| after[**it]).count();
        let place = match &*def.path {
            "" => "the workflow".to_string(),
            path => format!("`{path}`"),
        };
        Err(Rejection::new(
            "validation_failed",
            format!(
                "`{}` cannot be active together: {place} must have one active child, this would be \
                 {count}",
                to.join("`, `")
            ),
        ))
    }
}

/// Refuses a patch that does not fit the data.
pub(super) fn check_patch(data: &Value, patch: &[PatchOp]) -> Result<(), Rejection> {
    let mut data = data.clone();
    for op in patch {
        let (path, value) = match op {
            PatchOp::Add { path, value } | PatchOp::Replace { path, value } => (path, Some(value)),
            PatchOp::Remove { path } => (path, None),
        };
        if let Some(value) = value {
            check_payload("the value", "validation_failed", value)?;
        }
        apply_patch(&mut data, op).map_err(|_| {
            let message = format!("the data hold nothing at `{path}` that could be changed");
            Rejection::new("validation_failed", message)
        })?;
    }
    if !matches!(data, Value::Map(_)) {
        return Err(Rejection::new("validation_failed", "the data must stay a map"));
    }
    Ok(())
}

pub(super) fn check_reason(reason: &str) -> Result<(), Rejection> {
    if reason.trim().is_empty() {
        return Err(Rejection::new(
            "validation_failed",
            "give a reason; it is kept in the history",
        ));
    }
    Ok(())
}
