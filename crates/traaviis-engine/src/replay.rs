//! Re-executes a history: every step is decided again from its input, and must give the same bytes.
//!
//! The input of a step is read off its first records.

mod against;

use traaviis_model::{
    Body, DefinitionHash, DeliveryClass, Record, Snapshot, TenantCtx, Text, Value,
    definition::OnUnknown,
    privacy::RedactionKey,
    record::{ERASED, Ending, EventSource, Operation, TaskAct, write_line},
    snapshot::{ApplyError, NodeStatus},
};

use crate::{
    Machine,
    effects::BUDGET_WARNING,
    privacy::as_written_now,
    step::{Birth, Input, Marks, Rejection, Resolution, Step, StepContext, start_born, step},
    upgrade::{roll_back, upgrade},
};

pub use against::{Divergence, replay_against};

/// Where replay and history part.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The history itself does not fit together.
    #[error("the history cannot be folded")]
    Fold(#[from] ApplyError),
    /// A step was refused that the history holds.
    #[error("step `{step}` (record `{seq}`) is refused in replay: {why}")]
    Refused {
        /// Step.
        step: u64,
        /// Its first record.
        seq: u64,
        /// The refusal.
        why: String,
    },
    /// A step gives another record.
    #[error("replay diverges at record `{seq}`:\n  recorded {recorded}\n  replayed {replayed}")]
    Diverged {
        /// First record that differs.
        seq: u64,
        /// Line in the history.
        recorded: String,
        /// Line of the replay, or `nothing`.
        replayed: String,
    },
    /// A step was decided by a version that is not there.
    #[error("the step of record `{seq}` was decided by version `{hash}`, which is not given")]
    Unknown {
        /// Its first record.
        seq: u64,
        /// Version.
        hash: DefinitionHash,
    },
    /// The values that decided it are erased; it can only be folded.
    #[error("the values of this history are erased, so nothing of it can be decided again")]
    Erased,
    /// Folding and deciding give different states.
    #[error("after record `{seq}` the folded state differs from the replayed one")]
    State {
        /// Last record of the step.
        seq: u64,
    },
}

/// Re-executes `records`, which must be all of one instance from `created` on, with one version
/// that needs no key. Returns the state.
pub fn replay(machine: &Machine, records: &[Record]) -> Result<Option<Snapshot>, ReplayError> {
    replay_versions(&[machine], records, None)
}

/// As [`replay`], for an instance that went from version to version. The key is that of the tenant,
/// with which calls redact what they send.
pub fn replay_versions(
    versions: &[&Machine],
    records: &[Record],
    key: Option<&RedactionKey>,
) -> Result<Option<Snapshot>, ReplayError> {
    // What a fork shares with its original was decided there, with another id; it is only folded.
    refuse_erased(records)?;
    let shared = records.iter().rposition(|it| matches!(it.body, Body::Forked(_))).unwrap_or(0);
    let (copied, mut rest) = records.split_at(shared);
    let mut state = Snapshot::fold(copied)?;
    while let Some(first) = rest.first() {
        let count = rest.iter().take_while(|it| it.header.step == first.header.step).count();
        let (taken, later) = rest.split_at(count);
        rest = later;
        let decided = decide(versions, state.as_ref(), taken, key)?;
        match &mut state {
            None => state = Snapshot::fold(taken)?,
            Some(snapshot) => taken.iter().try_for_each(|record| snapshot.apply(record))?,
        }
        let Some(decided) = decided else { continue };
        let machine = version_of(versions, first.header.definition_hash, first.header.seq)?;
        compare(taken, &decided.records, &|it| as_written_now(machine, it, key))?;
        let same = state.as_ref().is_some_and(|it| it.canonical() == decided.snapshot.canonical());
        if !same {
            return Err(ReplayError::State { seq: taken[count - 1].header.seq });
        }
    }
    Ok(state)
}

/// Refuses a history of which the values are erased: they decided it.
fn refuse_erased(records: &[Record]) -> Result<(), ReplayError> {
    match records.first().map(|it| &it.body) {
        Some(Body::Created { subject: Some(it), .. }) if **it == *ERASED => {
            Err(ReplayError::Erased)
        }
        _ => Ok(()),
    }
}

/// Compares a step with its history; `as_now` is a record as this release writes it, when it would
/// differ.
fn compare(
    recorded: &[Record],
    replayed: &[Record],
    as_now: &dyn Fn(&Body) -> Option<Body>,
) -> Result<(), ReplayError> {
    let as_now = |it: Option<&Record>| {
        let Record { header, body } = it?;
        Some(Record { header: header.clone(), body: as_now(body)? })
    };
    let line = |record: Option<&Record>| {
        let Some(record) = record else { return "nothing".to_string() };
        let mut bytes = Vec::new();
        write_line(&record.header, &record.body, &mut bytes);
        String::from_utf8_lossy(&bytes).trim_end().to_string()
    };
    for at in 0..recorded.len().max(replayed.len()) {
        let (was, is) = (line(recorded.get(at)), line(replayed.get(at)));
        if was != is && line(as_now(recorded.get(at)).as_ref()) != is {
            let seq = recorded[0].header.seq + at as u64;
            return Err(ReplayError::Diverged { seq, recorded: was, replayed: is });
        }
    }
    Ok(())
}

/// Decides a recorded step again; none when it can only be folded.
fn decide(
    versions: &[&Machine],
    state: Option<&Snapshot>,
    taken: &[Record],
    key: Option<&RedactionKey>,
) -> Result<Option<Step>, ReplayError> {
    let first = &taken[0];
    let context = context_of(taken, key);
    let refused = |why: Rejection| ReplayError::Refused {
        step: first.header.step,
        seq: first.header.seq,
        why: why.message,
    };
    let version = |hash| version_of(versions, hash, first.header.seq);
    let machine = version(first.header.definition_hash)?;
    let Some(state) = state else {
        return begin(machine, first, &context).transpose().map_err(refused);
    };
    let decided = match &first.body {
        Body::Upgraded(it) if it.rollback => roll_back(machine, state, &context),
        Body::Upgraded(it) => {
            let old = version(it.from)?;
            upgrade(old, machine, state, &context)
        }
        _ => step(machine, state, input_of(state, taken), &context),
    };
    decided.map(Some).map_err(refused)
}

/// Starts a recorded instance again.
fn begin(
    machine: &Machine,
    first: &Record,
    context: &StepContext,
) -> Option<Result<Step, Rejection>> {
    let Body::Created { input, correlation, lineage, tags, labels, created_by, subject, .. } =
        &first.body
    else {
        return None;
    };
    let ctx = TenantCtx::of_record(&first.header);
    let marks = Some(Marks { tags: tags.clone(), labels: labels.clone() });
    let (lineage, correlation) = (lineage.clone(), correlation.clone());
    let (created_by, subject, is_taken) = (created_by.clone(), subject.clone(), false);
    let birth = Birth { lineage, correlation, marks, created_by, is_taken, subject };
    Some(start_born(machine, &ctx, first.header.instance_id, input.clone(), birth, context))
}

/// Returns the version that decided the step of record `seq`.
fn version_of<'m>(
    versions: &[&'m Machine],
    hash: DefinitionHash,
    seq: u64,
) -> Result<&'m Machine, ReplayError> {
    let found = versions.iter().copied().find(|it| it.definition().hash == hash);
    found.ok_or(ReplayError::Unknown { seq, hash })
}

/// Reads off the records of a step what it knew besides the state.
fn context_of(taken: &[Record], key: Option<&RedactionKey>) -> StepContext {
    let first = &taken[0];
    let starting = matches!(telling(taken).next(), Some(Body::EffectStarted { .. }));
    let started = taken.iter().filter(|it| matches!(it.body, Body::EffectStarted { .. })).count();
    StepContext {
        now: first.header.at,
        start_slots: started as u32 - u32::from(starting),
        actor: first.header.actor.clone(),
        causation: first.header.causation_id.clone(),
        correlation: first.header.correlation_id.clone(),
        origin: first.header.origin.clone(),
        is_recorded: true,
        key: key.cloned(),
    }
}

/// Returns the records of a step that tell what its input was: what attempts cost does not.
fn telling(taken: &[Record]) -> impl Iterator<Item = &Body> {
    taken.iter().map(|it| &it.body).filter(|it| match it {
        Body::BudgetReserved(_) | Body::BudgetSettled { .. } => false,
        Body::Emitted { event, .. } => &**event != BUDGET_WARNING,
        _ => true,
    })
}

/// Reads the input of a step off its records.
pub(crate) fn input_of(state: &Snapshot, taken: &[Record]) -> Input {
    let started = |tree: u64, path: &Text| {
        state
            .node(tree, path)
            .filter(|node| node.status == NodeStatus::Started)
            .map(|it| (it.scheduled, it.attempt))
    };
    let mut told = telling(taken);
    let Some(first) = told.next() else { return Input::Continue };
    match first {
        Body::EventIgnored { event, data, id: Some(id), refused: Some(refused) } => {
            let (event, data, id) = (event.clone(), data.clone(), id.clone());
            Input::Delivered { event, data, id, refused: Some(refused.clone()) }
        }
        Body::EventReceived { event, data, id, source: EventSource::External }
        | Body::EventIgnored { event, data, id, .. }
        | Body::EventDeferred { event, data, id } => {
            Input::Event { event: event.clone(), data: data.clone(), id: id.clone() }
        }
        Body::ChildFinished { child, status, error } => {
            let output = match told.next() {
                Some(Body::EffectCompleted { value, .. }) => value.clone(),
                _ => Value::Null,
            };
            let (status, error) = (*status, error.clone());
            let ending = Ending { status, output, error, terminated: false };
            Input::Ended { instance: *child, ending }
        }
        Body::TimerFired { timer } => Input::Timer { timer: timer.clone() },
        Body::EffectStarted { tree, path, .. } => {
            Input::Starting { tree: *tree, path: path.clone() }
        }
        Body::BudgetExceeded(it) if state.waits_for_slot(it.tree, &it.path) => {
            Input::Starting { tree: it.tree, path: it.path.clone() }
        }
        Body::EffectCompleted { tree, path, value } => match started(*tree, path) {
            Some((scheduled, attempt)) => Input::Outcome {
                tree: *tree,
                path: path.clone(),
                scheduled,
                attempt,
                outcome: Ok(value.clone()),
            },
            None => Input::Continue,
        },
        Body::EffectFailed { tree, path, error } => match started(*tree, path) {
            Some((scheduled, attempt)) => {
                let error = match (&*error.code, &error.cause) {
                    ("max_retries_exceeded", Some(cause)) => (**cause).clone(),
                    _ => error.clone(),
                };
                let (tree, path) = (*tree, path.clone());
                Input::Outcome { tree, path, scheduled, attempt, outcome: Err(error) }
            }
            None => Input::Continue,
        },
        Body::EffectAttemptFailed { tree, path, attempt, error, .. } => {
            match started(*tree, path) {
                Some((scheduled, _)) => Input::Outcome {
                    tree: *tree,
                    path: path.clone(),
                    scheduled,
                    attempt: *attempt,
                    outcome: Err(error.clone()),
                },
                None => Input::Continue,
            }
        }
        Body::EffectLate { tree, path, attempt, outcome } => Input::Outcome {
            tree: *tree,
            path: path.clone(),
            // Whatever it was, not the one that runs now.
            scheduled: 0,
            attempt: *attempt,
            outcome: match &**outcome {
                "completed" => Ok(Value::Null),
                _ => Err(traaviis_model::EffectError::new("late", "late")),
            },
        },
        Body::EffectUnknown { tree, path, policy, .. } => Input::Unknown {
            tree: *tree,
            path: path.clone(),
            class: match &**policy {
                word if word == word_of(OnUnknown::Ask) => DeliveryClass::OtherWrite,
                _ => DeliveryClass::KeyedWrite,
            },
        },
        Body::IncidentResolved { tree, path, resolution, reason, .. } => {
            let value = match told.find(|it| it.node() == Some((*tree, path))) {
                Some(Body::EffectCompleted { value, .. }) => value.clone(),
                _ => Value::Null,
            };
            let resolution = match &**resolution {
                "happened" => Resolution::Happened(value),
                "skip" => Resolution::Skip(value),
                "retry" => Resolution::Retry,
                _ => Resolution::Fail,
            };
            let (path, reason) = (path.clone(), reason.clone());
            Input::Resolve { tree: *tree, path, resolution, reason }
        }
        Body::CancelRequested { terminate, reason } => {
            Input::Cancel { terminate: *terminate, reason: reason.clone() }
        }
        Body::TaskClaimed { tree, path, .. } => task(*tree, path, TaskAct::Claim),
        Body::TaskReleased { tree, path } => task(*tree, path, TaskAct::Release),
        Body::TaskDelegated { tree, path, to, comment, .. } => {
            let act = TaskAct::Delegate { to: to.clone(), comment: comment.clone() };
            task(*tree, path, act)
        }
        Body::TaskCommented { tree, path, comment } => {
            let text = comment.get("text").and_then(Value::as_str).map(Text::from);
            task(*tree, path, TaskAct::Comment { text: text.unwrap_or_default() })
        }
        Body::TaskDecided { tree, path, decision } => {
            let text = |key: &str| decision.get(key).and_then(Value::as_str).map(Text::from);
            let act = TaskAct::Decide {
                outcome: text("outcome").unwrap_or_default(),
                form: decision.get("form").cloned().unwrap_or_default(),
                comment: text("comment"),
            };
            task(*tree, path, act)
        }
        Body::Forked(forked) => Input::Fork(forked.clone()),
        Body::Retried(retried) => Input::Reopen(retried.clone()),
        Body::InputHeld { held } => crate::step::input_of(held.clone()),
        Body::Paused { reason } => Input::Operate(Operation::Pause { reason: reason.clone() }),
        Body::Resumed { reason } => Input::Operate(Operation::Resume { reason: reason.clone() }),
        Body::DataEdited { patch, reason } => {
            Input::Operate(Operation::EditData { patch: patch.clone(), reason: reason.clone() })
        }
        Body::Moved { to, reason } => {
            Input::Operate(Operation::Move { to: to.clone(), reason: reason.clone() })
        }
        Body::Tagged { add, remove } => {
            Input::Operate(Operation::Tag { add: add.clone(), remove: remove.clone() })
        }
        Body::EffectRequested(asked) => {
            Input::Operate(Operation::RunEffect { asked: asked.clone() })
        }
        Body::EffectCancelRequested { tree, reason } => {
            Input::Operate(Operation::CancelEffect { tree: *tree, reason: reason.clone() })
        }
        Body::IncidentAssigned { incident, to } => {
            Input::Operate(Operation::Assign { incident: *incident, to: to.clone() })
        }
        Body::IncidentOpened { held: Some(held), .. } => crate::step::input_of((**held).clone()),
        _ => Input::Continue,
    }
}

fn task(tree: u64, path: &Text, act: TaskAct) -> Input {
    Input::Operate(Operation::Task { tree, path: path.clone(), act })
}

fn word_of(policy: OnUnknown) -> &'static str {
    match policy {
        OnUnknown::Retry => "retry",
        OnUnknown::Ask => "ask",
        OnUnknown::Fail => "fail",
    }
}
