//! A fork: a new instance that goes on from a position in the history of another.
//!
//! [`plan_fork`] copies the history up to there and says how the fork parts from it; [`Run::fork`]
//! goes on. Until then everything is as recorded, results included.
//!
//! Invariant: a fork never does silently what the original did. Its calls are answered from the
//! record of the original, or made for real when that was asked for; then they carry keys of their
//! own, unless the author of the workflow has given one.

use traaviis_model::{
    Body, InstanceId, Map, Record, Seq, Snapshot, Text, Timestamp, Value,
    call::GATE,
    limits,
    record::{ERASED, Forked, PatchOp, Results, TimerKind, Told, write_lines},
    snapshot::{Node, NodeStatus},
};

use super::operate::check_patch;
use crate::step::{Rejection, Request, Run};

/// Kind of the incident about a call of a fork that its original has not made.
pub(crate) const NOT_RECORDED: &str = "result_not_recorded";

/// What a fork shall be.
#[derive(Clone, Debug)]
pub struct Fork {
    /// Its id.
    pub id: InstanceId,
    /// Last record of the original that counts; none means the last of all.
    pub at: Option<Seq>,
    /// Why.
    pub reason: Option<Text>,
    /// Who answers its calls.
    pub results: Results,
    /// What is changed in the data.
    pub patch: Vec<PatchOp>,
    /// It begins paused.
    pub paused: bool,
}

/// How a fork begins.
#[derive(Clone, Debug)]
pub struct Branch {
    /// What it shares with the original, as its own records.
    pub copied: Vec<Record>,
    /// State after them.
    pub base: Snapshot,
    /// How it parts from the original.
    pub forked: Box<Forked>,
}

/// Plans a fork. `records` is the whole history of the original.
pub fn plan_fork(records: &[Record], fork: Fork) -> Result<Branch, Rejection> {
    let invalid = |why: String| Rejection::new("invalid_state", why);
    refuse_erased(records)?;
    let last = records.last().map_or(0, |it| it.header.seq);
    let at = fork.at.unwrap_or(last);
    let shared = records.partition_point(|it| it.header.seq <= at);
    check_position(records, shared, at)?;
    let mut copied = records[..shared].to_vec();
    copied.iter_mut().for_each(|it| it.header.instance_id = fork.id);
    let mut bytes = Vec::new();
    write_lines(&copied, &mut bytes);
    if bytes.len() > limits::FORK_BYTES_MAX {
        return Err(Rejection::new(
            "payload_too_large",
            format!(
                "the history up to record {at} has {} bytes, a fork may begin with {}; fork at an \
                 earlier record",
                bytes.len(),
                limits::FORK_BYTES_MAX
            ),
        ));
    }
    let folded = Snapshot::fold(&copied);
    let folded = folded.map_err(|it| Rejection::new("history_broken", it.to_string()))?;
    let Some(base) = folded else { return Err(invalid("there is no such record".into())) };
    if base.status.is_finished() {
        let status = base.status.as_str();
        let end = records[shared - 1].header.step;
        let before = records.partition_point(|it| it.header.step < end);
        return Err(invalid(format!(
            "after record {at} the instance is {status}; fork at record {before} or earlier",
        )));
    }
    let told = match fork.results {
        Results::Recorded => told_after(&base, &records[shared..]),
        Results::Live => Vec::new(),
    };
    let Fork { reason, results, patch, paused, .. } = fork;
    // The step of the fork knows the time, and who asks.
    let (from, timers) = (records[0].header.instance_id, Vec::new());
    let (shared, by) = (at, None);
    let forked = Forked { from, shared, reason, results, told, timers, patch, paused, by };
    Ok(Branch { copied, base, forked: Box::new(forked) })
}

/// Refuses a history whose values are erased: nothing can go on from it.
pub(super) fn refuse_erased(records: &[Record]) -> Result<(), Rejection> {
    match records.first().map(|it| &it.body) {
        Some(Body::Created { subject: Some(it), .. }) if **it == *ERASED => {
            let why = "the values of this instance are erased, so nothing goes on from it";
            Err(Rejection::new("subject_erased", why))
        }
        _ => Ok(()),
    }
}

/// Refuses a position that is none, or lies inside a step.
fn check_position(records: &[Record], shared: usize, at: Seq) -> Result<(), Rejection> {
    let refuse = |why: String| Err(Rejection::new("validation_failed", why));
    let Some(here) = records[..shared].last().filter(|it| it.header.seq == at) else {
        let last = records.last().map_or(0, |it| it.header.seq);
        return refuse(format!("there is no record {at}; the history has records 1 to {last}"));
    };
    let step = here.header.step;
    let end = records.partition_point(|it| it.header.step <= step);
    if end == shared {
        return Ok(());
    }
    let (before, after) = (records.partition_point(|it| it.header.step < step), end);
    let before = if before == 0 { String::new() } else { format!("{before} or ") };
    refuse(format!(
        "record {at} lies inside a step, which happens as a whole; fork at record {before}{after}"
    ))
}

/// Returns what the calls of the original gave after the fork.
fn told_after(base: &Snapshot, rest: &[Record]) -> Vec<Told> {
    let mut state = base.clone();
    let mut told = Vec::new();
    for record in rest {
        if let Some((path, value, error)) = outcome_of(&record.body)
            && let Some((tree, _)) = record.body.node()
            && let Some(node) = state.node(tree, path).filter(|it| is_told(it))
        {
            told.push(Told {
                seq: record.header.seq,
                path: path.clone(),
                effect: node.kind.clone(),
                input: asked(&node.input),
                value,
                error,
            });
        }
        if state.apply(record).is_err() {
            break;
        }
    }
    told
}

fn outcome_of(body: &Body) -> Option<(&Text, Value, Option<traaviis_model::EffectError>)> {
    Some(match body {
        Body::EffectCompleted { path, value, .. } => (path, value.clone(), None),
        Body::EffectAttemptFailed { path, error, .. } => (path, Value::Null, Some(error.clone())),
        Body::EffectFailed { path, error, .. } => {
            let last = match (&*error.code, &error.cause) {
                ("max_retries_exceeded", Some(cause)) => (**cause).clone(),
                _ => error.clone(),
            };
            (path, Value::Null, Some(last))
        }
        _ => return None,
    })
}

/// Says whether what a node gives comes from outside the instance.
fn is_told(node: &Node) -> bool {
    node.key.is_some() && &*node.kind != GATE
}

/// Returns what was asked for. The id of a child follows from who asks.
fn asked(input: &Value) -> Value {
    match input.as_map() {
        Some(map) if input.get("workflow").is_some() => {
            let rest = map.iter().filter(|(key, _)| &***key != "instance_id");
            Value::Map(rest.map(|(key, it)| (key.clone(), it.clone())).collect::<Map>().into())
        }
        _ => input.clone(),
    }
}

impl Run<'_> {
    /// Parts from the original and goes on.
    pub(super) fn fork(&mut self, mut forked: Box<Forked>) -> Result<(), Rejection> {
        if self.snapshot.status.is_finished() {
            return Err(Rejection::new("invalid_state", "an ended instance cannot be forked"));
        }
        forked.patch = self.redacted_patch(std::mem::take(&mut forked.patch))?;
        let Forked { from, patch, paused, reason, .. } = (*forked).clone();
        let was_paused = self.snapshot.status == traaviis_model::record::Status::Paused;
        if !patch.is_empty() {
            check_patch(&self.snapshot.data, &patch)?;
        }
        forked.timers = self.timers_left();
        if !self.is_recorded {
            forked.by = Some(self.actor_text());
        }
        self.emit(Body::Forked(forked));
        if !patch.is_empty() {
            let reason = reason.clone().unwrap_or_else(|| "forked".into());
            self.emit(Body::DataEdited { patch, reason });
        }
        if paused && !was_paused {
            self.emit(Body::Paused { reason });
        }
        let open: Vec<(Seq, Text, NodeStatus, Text, bool)> = self
            .snapshot
            .calls()
            .filter(|(tree, path, _)| !self.snapshot.holds_outcome(*tree, path))
            .map(|(tree, path, node)| {
                let (status, is_gate) = (node.status, &*node.kind == GATE);
                (tree, path.clone(), status, node.key.clone().unwrap_or_default(), is_gate)
            })
            .collect();
        for (tree, path, status, key, is_gate) in open {
            match status {
                NodeStatus::Started if is_gate => self.ask_gate_again(tree, &path),
                NodeStatus::Scheduled | NodeStatus::Started | NodeStatus::Waiting => {
                    self.cancel_timers(|it| match it {
                        TimerKind::Retry { tree: of, path: at } => *of == tree && *at == path,
                        _ => false,
                    });
                    let key = match key.strip_prefix(&*from.to_string()) {
                        Some(rest) => format!("{}{rest}", self.snapshot.id).into(),
                        None => key,
                    };
                    self.schedule_again(tree, &path, key);
                }
                _ => {}
            }
        }
        self.yielded = true;
        Ok(())
    }

    /// Timers keep the time that they had left; those for a date keep the date.
    fn timers_left(&self) -> Vec<(Text, Timestamp)> {
        let gone = self.now.since(self.snapshot.updated_at);
        let is_date = |kind: &TimerKind| self.machine.is_date(&self.snapshot, kind);
        let kept = self.snapshot.timers.iter().filter(|it| !is_date(&it.kind));
        kept.map(|it| (it.id.clone(), it.due.plus(gone))).collect()
    }

    fn ask_gate_again(&mut self, tree: Seq, path: &Text) {
        if let Some(node) = self.node(tree, path) {
            let call = self.snapshot.call_of(tree, path, node);
            self.requests.push(Request::Perform(call));
        }
    }

    /// Answers a call of a fork from the record of its original, or asks a person. Says whether the
    /// call is not to be made.
    pub(crate) fn is_recalled(&mut self, tree: Seq, path: &Text) -> bool {
        let Some(origin) = &self.snapshot.forked_from else { return false };
        let Some(node) = self.snapshot.node(tree, path).filter(|it| is_told(it)) else {
            return false;
        };
        // A person has said that it is to be made.
        if origin.results == Results::Live || node.status == NodeStatus::Unknown {
            return false;
        }
        let (attempt, input) = (node.attempt + 1, asked(&node.input));
        let found = origin
            .told
            .iter()
            .find(|it| it.path == *path && it.effect == node.kind && it.input == input);
        match found.cloned() {
            Some(Told { seq, value, error, .. }) => {
                let path = path.clone();
                self.emit(Body::EffectRecalled { tree, path: path.clone(), attempt, from: seq });
                let outcome = error.map_or(Ok(value), Err);
                self.call_told(tree, &path, attempt, outcome);
            }
            None => {
                let policy = "ask".into();
                self.emit(Body::EffectUnknown { tree, path: path.clone(), attempt, policy });
                let message = format!(
                    "the original of this fork has not called `{path}` with these parameters, so \
                     its record holds no result"
                );
                self.open_incident(NOT_RECORDED, (tree, path), message, None, None);
            }
        }
        true
    }
}
