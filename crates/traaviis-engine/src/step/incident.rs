//! Incidents: questions to a person, their answers, and those that nobody need answer any more.
//!
//! An input of the instance's own (a due timer, an outcome) that cannot be taken changes nothing
//! but this: an incident keeps it ([`Held`]), and the answer `retry` takes it again.

use traaviis_model::{
    Body, EffectError, Seq, Text, Value, limits,
    record::{Held, Status, TimerKind},
    snapshot::{Incident, NodeStatus},
};

use super::operate::check_reason;
use crate::{
    effects::{CLEANUP_TIMEOUT, End},
    machine::EffectKind,
    step::{Input, Rejection, Resolution, Run},
};

/// Path of the incident about work that goes on without a timer or a call.
const CONTINUE: &str = "continue";

/// Returns what is kept of an input that cannot be taken; nothing of a caller's, who is told.
pub(super) fn held_of(input: &Input) -> Option<Held> {
    Some(match input {
        Input::Event { .. }
        | Input::Delivered { refused: Some(_), .. }
        | Input::Cancel { .. }
        | Input::Resolve { .. }
        | Input::Operate(_)
        | Input::Reopen(_)
        | Input::Fork(_) => return None,
        Input::Timer { timer } => Held::Timer { timer: timer.clone() },
        Input::Starting { tree, path } => Held::Starting { tree: *tree, path: path.clone() },
        Input::Outcome { tree, path, scheduled, attempt, outcome } => Held::Outcome {
            tree: *tree,
            path: path.clone(),
            scheduled: *scheduled,
            attempt: *attempt,
            value: outcome.as_ref().cloned().unwrap_or_default(),
            error: outcome.as_ref().err().cloned(),
        },
        Input::Unknown { tree, path, class } => {
            Held::Unknown { tree: *tree, path: path.clone(), class: *class }
        }
        Input::Ended { instance, ending } => {
            Held::Ended { instance: *instance, ending: ending.clone() }
        }
        Input::Delivered { event, data, id, refused: None } => {
            Held::Event { event: event.clone(), data: data.clone(), id: id.clone() }
        }
        Input::Continue => Held::Continue,
    })
}

/// Returns the input that was kept.
pub(crate) fn input_of(held: Held) -> Input {
    match held {
        Held::Timer { timer } => Input::Timer { timer },
        Held::Starting { tree, path } => Input::Starting { tree, path },
        Held::Outcome { tree, path, scheduled, attempt, value, error } => {
            let outcome = error.map_or(Ok(value), Err);
            Input::Outcome { tree, path, scheduled, attempt, outcome }
        }
        Held::Unknown { tree, path, class } => Input::Unknown { tree, path, class },
        Held::Ended { instance, ending } => Input::Ended { instance, ending },
        Held::Event { event, data, id } => Input::Delivered { event, data, id, refused: None },
        Held::Continue => Input::Continue,
    }
}

impl Run<'_> {
    /// Opens an incident, unless one about the same asks already.
    pub(crate) fn open_incident(
        &mut self,
        kind: &str,
        (tree, path): (Seq, &Text),
        message: impl Into<Text>,
        error: Option<EffectError>,
        held: Option<Held>,
    ) {
        if self.snapshot.asks_about(tree, path) {
            return;
        }
        self.emit(Body::IncidentOpened {
            incident: kind.into(),
            tree,
            path: path.clone(),
            message: message.into(),
            error,
            held: held.map(Box::new),
        });
    }

    /// Keeps an input that cannot be taken.
    pub(super) fn hold(&mut self, held: Held, why: Rejection) {
        // What goes on may be an input that was kept before.
        let held = match held {
            Held::Continue => self.release_held().unwrap_or(Held::Continue),
            other => other,
        };
        let kind = match why.code {
            "macrostep_overrun" => "macrostep_overrun",
            _ => "step_rejected",
        };
        let (tree, path) = Self::place_of(&held);
        let error = EffectError::new(why.code, why.message.as_str()).with_details(why.details);
        self.open_incident(kind, (tree, &path), why.message, Some(error), Some(held));
    }

    /// Says where a person finds what is held: the node, or the timer of a state.
    fn place_of(held: &Held) -> (Seq, Text) {
        match (held.node(), held) {
            (Some((tree, path)), _) => (tree, path.clone()),
            (None, Held::Timer { timer }) => (0, timer.clone()),
            (None, Held::Event { id, .. }) => (0, id.clone()),
            (None, Held::Ended { instance, .. }) => (0, instance.to_string().into()),
            (None, _) => (0, CONTINUE.into()),
        }
    }

    /// Returns the value of a started node that succeeded without being taken yet.
    pub(crate) fn value_held(&self, tree: Seq, path: &str) -> Option<Value> {
        match self.snapshot.outcome_held(tree, path)? {
            Held::Outcome { value, error: None, .. } => Some(value.clone()),
            _ => None,
        }
    }

    /// Work that goes on may have been held before; this is the new try.
    pub(super) fn release_continue(&mut self) {
        let held = |it: &Incident| matches!(it.held.as_deref(), Some(Held::Continue));
        if let Some(incident) = self.snapshot.incidents.iter().find(|it| held(it)).cloned() {
            self.close(&incident, "retry", None);
        }
    }

    /// A person answers.
    pub(super) fn resolve(
        &mut self,
        tree: Seq,
        path: &Text,
        resolution: Resolution,
        reason: Option<Text>,
    ) -> Result<(), Rejection> {
        let found = self.snapshot.incidents.iter().find(|it| it.tree == tree && it.path == *path);
        let Some(incident) = found.cloned() else {
            return Err(Rejection::new(
                "not_found",
                format!("there is no open incident about `{path}`"),
            ));
        };
        if self.snapshot.status == Status::Paused {
            return Err(paused());
        }
        let word = match &resolution {
            Resolution::Happened(_) => "happened",
            Resolution::Skip(_) => "skip",
            Resolution::Retry => "retry",
            Resolution::Fail => "fail",
        };
        if word == "skip" {
            check_reason(reason.as_deref().unwrap_or_default())?;
        }
        self.close(&incident, word, reason);
        match (incident.held.as_deref(), tree) {
            (Some(held), _) => self.answer_held(&incident, held.clone(), resolution),
            (None, 0) => self.answer_unhandled(&incident, &resolution),
            (None, _) if *incident.kind == *CLEANUP_TIMEOUT => {
                self.answer_cleanup(&incident, &resolution);
                Ok(())
            }
            (None, _) => {
                self.answer_node(tree, path, resolution);
                Ok(())
            }
        }
    }

    /// Gives an open incident to somebody, or to nobody in particular.
    pub(super) fn assign(&mut self, incident: Seq, to: Option<Text>) -> Result<(), Rejection> {
        let found = self.snapshot.incidents.iter().find(|it| it.opened == incident);
        let Some(found) = found.filter(|_| incident > 0) else {
            let message = format!("no incident is open that record {incident} opened");
            return Err(Rejection::new("not_found", message));
        };
        if let Some(name) = &to
            && !(1..=limits::ASSIGNEE_CHARS_MAX).contains(&name.trim().chars().count())
        {
            let most = limits::ASSIGNEE_CHARS_MAX;
            let message = format!("the name of an assignee has 1 to {most} characters");
            return Err(Rejection::new("validation_failed", message));
        }
        if found.assignee != to {
            self.emit(Body::IncidentAssigned { incident, to });
        }
        Ok(())
    }

    /// About an input that could not be taken.
    fn answer_held(
        &mut self,
        incident: &Incident,
        held: Held,
        resolution: Resolution,
    ) -> Result<(), Rejection> {
        let of_node = match &held {
            Held::Timer { timer } => self.node_of_timer(timer),
            other => other.node().map(|(tree, path)| (tree, path.clone())),
        };
        match (resolution, of_node) {
            (Resolution::Retry, _) => self.take(input_of(held)),
            (Resolution::Happened(value) | Resolution::Skip(value), Some((tree, path))) => {
                self.end_node(tree, &path, End::Completed(value));
                Ok(())
            }
            (Resolution::Happened(_) | Resolution::Skip(_), None) => {
                let (kind, path) = (&incident.kind, &incident.path);
                let message = format!(
                    "incident `{kind}` at `{path}` is not about a call, so nothing can have \
                     happened or be skipped; answer `retry` or `fail`"
                );
                Err(Rejection::new("validation_failed", message))
            }
            (Resolution::Fail, Some((tree, path))) => {
                self.end_node(tree, &path, End::Failed(cause_of(incident)));
                Ok(())
            }
            (Resolution::Fail, None) => {
                self.end(Status::Failed, Default::default(), Some(cause_of(incident)));
                Ok(())
            }
        }
    }

    /// Returns the node that waits for nothing but this timer.
    fn node_of_timer(&self, timer: &str) -> Option<(Seq, Text)> {
        match &self.snapshot.timers.iter().find(|it| *it.id == *timer)?.kind {
            TimerKind::Delay { tree, path } | TimerKind::Retry { tree, path } => {
                Some((*tree, path.clone()))
            }
            _ => None,
        }
    }

    pub(super) fn end_node(&mut self, tree: Seq, path: &Text, end: End) {
        let Some(def) = self.def_of(tree, path) else { return };
        self.cancel_node_timers(tree, path);
        self.finish_node(tree, path, def, end);
        self.advance_tree(tree);
    }

    /// About an error that no transition handles.
    fn answer_unhandled(
        &mut self,
        incident: &Incident,
        resolution: &Resolution,
    ) -> Result<(), Rejection> {
        if *resolution == Resolution::Fail {
            self.end(Status::Failed, Default::default(), Some(cause_of(incident)));
            return Ok(());
        }
        Err(Rejection::new(
            "validation_failed",
            format!(
                "`{}` has happened and no transition handles it; answer `fail` to end the \
                 instance, or send an event that leads on",
                incident.path
            ),
        ))
    }

    /// About an attempt without outcome, or a compensation that failed.
    fn answer_node(&mut self, tree: Seq, path: &Text, resolution: Resolution) {
        let Some(def) = self.def_of(tree, path) else { return };
        let is_undo = path.rsplit('/').next().is_some_and(|it| it.starts_with("undo:"));
        match (resolution, is_undo) {
            (Resolution::Happened(value) | Resolution::Skip(value), _) => {
                self.finish_node(tree, path, def, End::Completed(value));
            }
            (Resolution::Retry, false) => {
                if let EffectKind::Call(params) = &def.kind {
                    self.start_or_queue(tree, path, params);
                }
            }
            // From its beginning, whatever its kind.
            (Resolution::Retry, true) => self.open(tree, path, def),
            (Resolution::Fail, false) => {
                let attempt = self.node(tree, path).map_or(0, |node| node.attempt);
                let error = crate::effects::unknown_outcome(attempt);
                self.finish_node(tree, path, def, End::Failed(error));
            }
            (Resolution::Fail, true) => {
                self.emit(Body::EffectSkipped { tree, path: path.clone() });
            }
        }
        self.advance_tree(tree);
    }

    /// Closes the incidents whose question is gone: the node or timer is no longer there.
    pub(super) fn drop_moot_incidents(&mut self) {
        if self.snapshot.incidents.is_empty() {
            return;
        }
        let moot: Vec<Incident> =
            self.snapshot.incidents.iter().filter(|it| self.is_moot(it)).cloned().collect();
        for incident in moot {
            self.close(&incident, "cancelled", None);
        }
    }

    fn is_moot(&self, incident: &Incident) -> bool {
        let Incident { tree, path, .. } = incident;
        match incident.held.as_deref() {
            Some(Held::Timer { timer }) => !self.snapshot.timers.iter().any(|it| it.id == *timer),
            Some(Held::Continue) => self.snapshot.trees.is_empty(),
            Some(Held::Event { .. }) => false,
            Some(Held::Ended { instance, .. }) => !self.snapshot.children.contains_key(instance),
            Some(Held::Outcome { scheduled, .. }) => !self.node(*tree, path).is_some_and(|node| {
                node.status == NodeStatus::Started && node.scheduled == *scheduled
            }),
            Some(Held::Starting { .. } | Held::Unknown { .. }) => self.is_over(*tree, path),
            None if *tree == 0 => false,
            None if *incident.kind == *CLEANUP_TIMEOUT => self.snapshot.tree(*tree).is_none(),
            None => {
                !matches!(self.status(*tree, path), Some(NodeStatus::Unknown | NodeStatus::Failed))
            }
        }
    }

    fn close(&mut self, incident: &Incident, resolution: &str, reason: Option<Text>) {
        self.emit(Body::IncidentResolved {
            incident: incident.kind.clone(),
            tree: incident.tree,
            path: incident.path.clone(),
            resolution: resolution.into(),
            reason,
        });
    }
}

pub(super) fn paused() -> Rejection {
    Rejection::new("instance_paused", "the instance is paused; resume it first")
}

fn cause_of(incident: &Incident) -> EffectError {
    let cause = || EffectError::new("step_rejected", &*incident.message);
    incident.error.clone().unwrap_or_else(cause)
}
