//! An instance that failed goes on where it failed.
//!
//! [`plan_retry`] reads off the history where that is: the step that failed is taken away, the
//! state before it comes back with everything that is known to have happened. [`Run::reopen`]
//! goes on from there: a call that failed is made again, an outcome that could not be used is
//! used again.
//!
//! Invariants: a recorded result is never asked for again; what was undone is never taken for done;
//! a call of which nobody knows how it ended follows its policy for unknown outcomes.

use traaviis_model::{
    Body, DeliveryClass, EventIds, Record, Seq, Snapshot, Span, Text, Value,
    call::{GATE, is_between_instances},
    record::{Again, Held, Retried, Status, TimerKind},
    snapshot::{NodeStatus, Tree},
};

use super::{fork::refuse_erased, incident::held_of};
use crate::{
    effects::{End, Ended, child_id, child_of},
    machine::EffectKind,
    replay::input_of,
    step::{Input, Rejection, Request, Run},
};

/// How an instance that failed shall go on.
#[derive(Clone, Debug, Default)]
pub struct Retry {
    /// Why.
    pub reason: Option<Text>,
    /// The call that failed is made with another idempotency key.
    pub as_new: bool,
    /// The instance is paused, so that somebody can mend it first.
    pub paused: bool,
    /// The call at this place is left out and gives this value.
    pub skip: Option<(Text, Value)>,
}

/// Finds where an instance that failed goes on. `records` is its whole history; `class` says what
/// may be promised about a call, by its kind and parameters.
pub fn plan_retry(
    records: &[Record],
    retry: Retry,
    class: impl Fn(&str, &Value) -> DeliveryClass,
) -> Result<Box<Retried>, Rejection> {
    refuse_erased(records)?;
    let refuse = |why: String| Err(Rejection::new("invalid_state", why));
    let fold = |records: &[Record]| {
        Snapshot::fold(records).map_err(|it| Rejection::new("history_broken", it.to_string()))
    };
    let Some(ended) = fold(records)?.filter(|it| it.status == Status::Failed) else {
        return refuse("only an instance that has failed can be tried again".into());
    };
    // What a parent knows of its child stays true, whatever it made of it.
    if let Some(lineage) = &ended.lineage {
        let parent = lineage.parent_id;
        return refuse(format!(
            "parent `{parent}` knows that it failed; retry the parent, which starts another child, \
             or fork this one, which has no parent then"
        ));
    }
    let failed = failed_step(records);
    let (before, later) = records.split_at(failed.start);
    let taken = &records[failed];
    let Some(mut state) = fold(before)?.filter(|_| !matches!(taken[0].body, Body::Forked(_)))
    else {
        return refuse("it failed in its first step; start or fork another instance".into());
    };
    // It failed again at once: what it was about then has the state of that retry.
    let once_more = match &taken[0].body {
        Body::Retried(it) => {
            state = (*it.state).clone();
            Some(once_more(&mut state, &it.again))
        }
        _ => None,
    };
    let again = match undone_tree(&state, taken, later)? {
        Some((tree, pointer)) => {
            state.trees.retain(|it| it.id != tree);
            state.children.retain(|_, it| it.tree != tree);
            state.timers.retain(|it| it.kind.tree() != Some(tree));
            Again::Tree { pointer }
        }
        None => match once_more {
            Some(again) => again,
            None => find_again(&mut state, taken, before),
        },
    };
    let again = match (again, retry.skip) {
        (Again::Call { tree, path, .. }, Some((meant, value))) if path == meant => {
            Again::Skip { tree, path, value }
        }
        (Again::Call { path, .. }, Some((meant, _))) => {
            return refuse(format!("the call that failed is `{path}`, not `{meant}`"));
        }
        (_, Some(_)) => {
            return refuse("it did not fail in a call, so there is nothing to leave out".into());
        }
        (Again::Call { tree, path, .. }, None) => Again::Call { tree, path, as_new: retry.as_new },
        (other, None) => other,
    };
    forget_attempts(&mut state, &again, class);
    let Retry { reason, paused, .. } = retry;
    Ok(Box::new(Retried {
        reason,
        to: state.seq,
        again,
        paused,
        state: Box::new(state),
        event_ids: EventIds::of(records),
    }))
}

/// Returns the records of the step that decided the end.
fn failed_step(records: &[Record]) -> std::ops::Range<usize> {
    let since = records.iter().rposition(|it| matches!(it.body, Body::Retried(_))).unwrap_or(0);
    let decides = |it: &Record| matches!(it.body, Body::Completing { .. } | Body::Finished { .. });
    let at = since + records[since..].iter().position(decides).unwrap_or(0);
    let step = records[at].header.step;
    let start = records.partition_point(|it| it.header.step < step);
    start..records.partition_point(|it| it.header.step <= step)
}

/// Returns the effect that failed after it had undone its work, tree and pointer. What was undone
/// anywhere else cannot be put back.
fn undone_tree(
    state: &Snapshot,
    taken: &[Record],
    later: &[Record],
) -> Result<Option<(Seq, Text)>, Rejection> {
    let failed = taken.iter().find_map(|it| match &it.body {
        // What runs outside of the states fails no instance, and is begun again by nobody.
        Body::EffectFailed { tree, path, .. } => state
            .tree(*tree)
            .filter(|it| it.asked.is_none() && it.invoke == *path && is_undoing(it, path)),
        _ => None,
    });
    let was_undone = |path: &Text| path.split('/').any(|it| it.starts_with("undo:"));
    let is_other = |tree: Seq| failed.is_none_or(|it| it.id != tree);
    let now = state.trees.iter().filter(|it| is_other(it.id)).find_map(|tree| {
        tree.nodes.keys().find(|path| is_undoing(tree, path)).map(|path| path.to_string())
    });
    let since = later
        .iter()
        .filter_map(|it| it.body.node())
        .find_map(|(tree, path)| (is_other(tree) && was_undone(path)).then(|| path.to_string()));
    if let Some(path) = now.or(since) {
        let message = format!(
            "its failure undid work (`{path}`) that cannot be taken for done again; fork it before \
             record {}, or start another instance",
            later.first().map_or(0, |it| it.header.seq)
        );
        return Err(Rejection::new("invalid_state", message));
    }
    Ok(failed.map(|it| (it.id, it.pointer.clone())))
}

fn is_undoing(tree: &Tree, path: &Text) -> bool {
    let status = tree.nodes.get(path).map(|it| it.status);
    status.is_some_and(crate::effects::is_undoing)
}

/// Says what a retry that failed at once was about. What it left out stays left out.
fn once_more(state: &mut Snapshot, again: &Again) -> Again {
    let Again::Skip { tree, path, value } = again else { return again.clone() };
    match state.node(*tree, path).filter(|it| it.status == NodeStatus::Started) {
        Some(node) => {
            let held = Held::Outcome {
                tree: *tree,
                path: path.clone(),
                scheduled: node.scheduled,
                attempt: node.attempt,
                value: value.clone(),
                error: None,
            };
            state.held.insert(0, held);
            Again::Input
        }
        None => again.clone(),
    }
}

/// Says what the step that failed was about, and keeps in the state what it must take again.
fn find_again(state: &mut Snapshot, taken: &[Record], before: &[Record]) -> Again {
    let call = |tree, path| Again::Call { tree, path, as_new: false };
    let input = match input_of(state, taken) {
        Input::Continue if matches!(taken[0].body, Body::InputReleased) => {
            super::input_of(state.held.remove(0))
        }
        other => other,
    };
    match input {
        Input::Outcome { tree, path, outcome: Err(_), .. } | Input::Unknown { tree, path, .. } => {
            call(tree, path)
        }
        Input::Ended { instance, ending } => match state.children.remove(&instance) {
            Some(child) if ending.status != Status::Completed => call(child.tree, child.path),
            Some(child) => {
                state.children.insert(instance, child);
                state.held.insert(0, Held::Ended { instance, ending });
                Again::Input
            }
            None => Again::Input,
        },
        Input::Timer { timer } => limit_of(state, &timer, before)
            .map_or(Again::Input, |span| Again::Limit { timer, span }),
        other => {
            let kept =
                held_of(&other).filter(|it| !matches!(it, Held::Continue | Held::Starting { .. }));
            state.held.splice(0..0, kept);
            Again::Input
        }
    }
}

/// Returns how long a time limit was that ran out.
fn limit_of(state: &Snapshot, timer: &Text, before: &[Record]) -> Option<Span> {
    let known = state.timers.iter().find(|it| it.id == *timer)?;
    let TimerKind::Deadline { .. } = known.kind else { return None };
    let set = before.iter().rev().find_map(|it| match &it.body {
        Body::TimerScheduled { timer: id, .. } if id == timer => Some(it.header.at),
        _ => None,
    });
    set.map(|at| known.due.since(at))
}

/// Calls that ran at the time, beside the one that failed, were given up: nobody knows how they
/// ended.
fn forget_attempts(
    state: &mut Snapshot,
    again: &Again,
    class: impl Fn(&str, &Value) -> DeliveryClass,
) {
    let is_failed = |at: Seq, node: &Text| match again {
        Again::Call { tree, path, .. } | Again::Skip { tree, path, .. } => {
            *tree == at && path == node
        }
        _ => false,
    };
    let ran: Vec<Held> = state
        .calls()
        .filter(|(tree, path, node)| {
            node.status == NodeStatus::Started
                && !is_failed(*tree, path)
                && !is_asked(&node.kind)
                && !state.holds_outcome(*tree, path)
        })
        .map(|(tree, path, node)| Held::Unknown {
            tree,
            path: path.clone(),
            class: class(&node.kind, &node.input),
        })
        .collect();
    state.held.extend(ran);
}

/// Says whether a call is asked again in the same words instead of being unknown.
fn is_asked(kind: &str) -> bool {
    is_between_instances(kind) || kind == GATE
}

impl Run<'_> {
    /// Goes on from the state that a retry puts back.
    pub(super) fn reopen(&mut self, mut retried: Box<Retried>) -> Result<(), Rejection> {
        if self.snapshot.status != Status::Failed {
            let status = self.snapshot.status.as_str();
            let message = format!("the instance is {status}; only a failed one goes on");
            return Err(Rejection::new("invalid_state", message));
        }
        self.redacted_retry(&mut retried)?;
        let (again, paused) = (retried.again.clone(), retried.paused);
        let reason = retried.reason.clone();
        self.emit(Body::Retried(retried));
        self.look_around();
        if paused && self.snapshot.status != Status::Paused {
            self.emit(Body::Paused { reason });
        }
        if self.snapshot.status != Status::Paused {
            self.queue_waiting_calls();
        }
        self.ask_again(&again);
        match again {
            Again::Input => {}
            Again::Call { tree, path, as_new } => self.call_again(tree, &path, as_new),
            Again::Skip { tree, path, value } => self.end_node(tree, &path, End::Completed(value)),
            Again::Limit { timer, span } => {
                let kind = self.snapshot.timers.iter().find(|it| it.id == timer);
                if let Some(kind) = kind.map(|it| it.kind.clone()) {
                    self.emit(Body::TimerCancelled { timer });
                    self.schedule(span, kind, Value::Null);
                }
            }
            Again::Tree { pointer } => {
                if let Some((place, _)) = self.machine.effect_at(&pointer) {
                    self.begin_invoke(place.state, place.invoke);
                }
            }
        }
        self.yielded = true;
        Ok(())
    }

    /// Asks other instances and gates again for what they have not answered.
    fn ask_again(&mut self, again: &Again) {
        let failed = match again {
            Again::Call { tree, path, .. } | Again::Skip { tree, path, .. } => Some((*tree, path)),
            _ => None,
        };
        let asked = self.snapshot.calls().filter(|(tree, path, node)| {
            node.status == NodeStatus::Started
                && is_asked(&node.kind)
                && failed != Some((*tree, *path))
                && !self.snapshot.holds_outcome(*tree, path)
        });
        let asked = asked.map(|(tree, path, node)| self.snapshot.call_of(tree, path, node));
        self.requests.extend(asked.map(Request::Perform));
    }

    fn call_again(&mut self, tree: Seq, path: &Text, as_new: bool) {
        let Some(def) = self.def_of(tree, path) else { return };
        let (EffectKind::Call(params), Some(node)) = (&def.kind, self.node(tree, path)) else {
            return;
        };
        let mut key = node.key.clone().unwrap_or_default();
        // A child that failed is known to have failed, so another one is meant.
        if as_new || params.spawn.is_some() {
            key = format!("{key}.{}", self.snapshot.seq + 1).into();
        }
        self.schedule_again(tree, path, key);
    }

    /// Schedules a call that is not over once more, with the parameters that it has.
    pub(super) fn schedule_again(&mut self, tree: Seq, path: &Text, key: Text) {
        let Some(def) = self.def_of(tree, path) else { return };
        let (EffectKind::Call(params), Some(node)) = (&def.kind, self.node(tree, path)) else {
            return;
        };
        let mut input = node.input.clone();
        if child_of(&input).is_some() && params.spawn.is_some() {
            let child = child_id(&self.snapshot, &key).to_string();
            let mut map = input.as_map().cloned().unwrap_or_default();
            map.insert("instance_id", Value::from(child));
            input = Value::Map(map.into());
        }
        // What the attempt of the original had reserved is no longer this one's.
        self.settle_attempt(tree, path, Ended::Unknown);
        let (path, effect) = (path.clone(), def.name.clone());
        self.emit(Body::EffectScheduled {
            tree,
            path: path.clone(),
            effect,
            input,
            key: Some(key),
        });
        self.start_or_queue(tree, &path, params);
    }
}
