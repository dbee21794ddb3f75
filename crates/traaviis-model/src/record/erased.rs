//! What stays readable of a record once the values of a person are erased.
//!
//! Stays: ids, times, states, names of events and effects, statuses, codes, amounts, who acted, the
//! business key and the tags. Everything that a caller, a call or an expression gave does not, nor
//! does the text of an expression, in which a literal may say as much.
//! Invariant: what is left folds to the state that is left ([`crate::Snapshot::withheld`]), so
//! lists and histories go on to work; a kind of record that is new must be decided here, there is
//! no default.

use super::{Again, Asked, Body, Ending, Forked, Held, Record, Retried, Told};
use crate::{effect_error::EffectError, ids::Text, value::Value};

/// Stands in the place of a value that is erased.
pub const ERASED: &str = "[ERASED]";

/// Stands in the place of a value that is sealed, where the log is not read.
pub const SEALED: &str = "[SEALED]";

/// Whom an instance is about that is about nobody, in a tenant that has everything sealed; its
/// documents are about the same.
pub const WHOLE: &str = "[TENANT]";

/// Kinds of documents that are never sealed: the tenant itself, which is asked for before its key
/// is and stays when that is destroyed; what proves the audit trail, which must do so without any
/// key; jumps of the clock, which are no tenant's secret.
pub const OPEN_DOCUMENTS: &[&str] =
    &["tenant", "audit", "audit_checkpoint", "audit_key", "audit_place", "clock_jump", "erasure"];

impl Record {
    /// Returns what may be read of it without the key of its person; `mark` stands in the place of
    /// everything else.
    #[must_use]
    pub fn withheld(&self, mark: &Text) -> Record {
        let mut record = self.clone();
        record.body.withhold(mark);
        record
    }
}

/// Withholds a value, unless there is none.
pub(crate) fn value(it: &mut Value, mark: &Text) {
    if !it.is_null() {
        *it = Value::String(mark.clone());
    }
}

fn text(it: &mut Text, mark: &Text) {
    it.clone_from(mark);
}

fn some(it: &mut Option<Text>, mark: &Text) {
    it.iter_mut().for_each(|it| text(it, mark));
}

/// Withholds everything but the code and the place of an error.
pub(crate) fn error(it: &mut EffectError, mark: &Text) {
    text(&mut it.message, mark);
    value(&mut it.details, mark);
    it.cause.iter_mut().for_each(|it| error(it, mark));
}

fn errors<'a>(it: impl IntoIterator<Item = &'a mut EffectError>, mark: &Text) {
    it.into_iter().for_each(|it| error(it, mark));
}

fn ending(it: &mut Ending, mark: &Text) {
    value(&mut it.output, mark);
    errors(&mut it.error, mark);
}

/// Withholds what an input that was kept has brought.
pub(crate) fn held(it: &mut Held, mark: &Text) {
    match it {
        Held::Outcome { value: it, error, .. } => {
            value(it, mark);
            errors(error, mark);
        }
        Held::Ended { ending: it, .. } => ending(it, mark),
        Held::Event { data, .. } => value(data, mark),
        Held::Timer { .. } | Held::Starting { .. } | Held::Unknown { .. } | Held::Continue => {}
    }
}

fn forked(it: &mut Forked, mark: &Text) {
    some(&mut it.reason, mark);
    it.told.iter_mut().for_each(|it| told(it, mark));
    it.patch.clear();
}

/// Withholds what an attempt of the original of a fork asked and gave.
pub(crate) fn told(it: &mut Told, mark: &Text) {
    value(&mut it.input, mark);
    value(&mut it.value, mark);
    errors(&mut it.error, mark);
}

/// Withholds what somebody has an instance run; what they call it stays.
pub(crate) fn asked(it: &mut Asked, mark: &Text) {
    some(&mut it.tree, mark);
    value(&mut it.with, mark);
}

fn retried(it: &mut Retried, mark: &Text) {
    some(&mut it.reason, mark);
    if let Again::Skip { value: it, .. } = &mut it.again {
        value(it, mark);
    }
    it.state.withhold(mark);
    it.event_ids = None;
}

impl Body {
    /// Leaves nothing of it but what may be read without the key of its person.
    pub fn withhold(&mut self, mark: &Text) {
        match self {
            Body::Created { input, data, labels, subject, .. } => {
                // Never absent, so that what follows finds something to change.
                *input = Value::String(mark.clone());
                *data = Value::String(mark.clone());
                labels.values_mut().for_each(|it| value(it, mark));
                some(subject, mark);
            }
            Body::EventReceived { data, id, .. }
            | Body::EventIgnored { data, id, refused: None, .. }
            | Body::EventDeferred { data, id, .. } => {
                value(data, mark);
                *id = None;
            }
            Body::EventIgnored { data, id, refused: Some(refused), .. } => {
                value(data, mark);
                *id = None;
                error(refused, mark);
            }
            // Pointers name keys of maps, and those may name people.
            Body::DataChanged { patch, .. } => patch.clear(),
            Body::DataEdited { patch, reason } => {
                patch.clear();
                text(reason, mark);
            }
            Body::Logged { message, data, .. } => {
                text(message, mark);
                value(data, mark);
            }
            Body::Warning { message, .. } => text(message, mark),
            Body::TimerScheduled { data, .. } | Body::SignalReceived { data, .. } => {
                value(data, mark);
            }
            Body::EffectScheduled { input, key, .. } => {
                value(input, mark);
                some(key, mark);
            }
            Body::EffectCompleted { value: it, .. } | Body::LoopAdvanced { value: it, .. } => {
                value(it, mark);
            }
            Body::EffectAttemptFailed { error: it, .. }
            | Body::EffectFailed { error: it, .. }
            | Body::CompensationFailed { error: it, .. } => error(it, mark),
            Body::ChildFinished { error, .. } | Body::CompensationStarted { error, .. } => {
                errors(error, mark);
            }
            Body::TaskDecided { decision, .. } => value(decision, mark),
            Body::TaskCommented { comment, .. } => value(comment, mark),
            Body::TaskDelegated { comment, .. } => some(comment, mark),
            Body::TaskEscalated { to, .. } => value(to, mark),
            // Which guards they were stays: `candidates` names their places in the definition.
            Body::Transition { guards, .. } => guards.iter_mut().for_each(|it| text(it, mark)),
            Body::Emitted { data, subject, .. } => {
                value(data, mark);
                some(subject, mark);
            }
            Body::IncidentOpened { message, error, held: kept, .. } => {
                text(message, mark);
                errors(error, mark);
                kept.iter_mut().for_each(|it| held(it, mark));
            }
            Body::EffectRequested(it) => asked(it, mark),
            Body::EffectCancelRequested { reason, .. }
            | Body::IncidentResolved { reason, .. }
            | Body::Paused { reason }
            | Body::Resumed { reason }
            | Body::CancelRequested { reason, .. } => some(reason, mark),
            Body::InputHeld { held: it } => held(it, mark),
            Body::Moved { reason, .. } => text(reason, mark),
            Body::Upgraded(it) => it.data.iter_mut().for_each(|it| value(it, mark)),
            Body::Forked(it) => forked(it, mark),
            Body::Retried(it) => retried(it, mark),
            Body::Completing { output, error, .. } | Body::Finished { output, error, .. } => {
                value(output, mark);
                errors(error, mark);
            }
            Body::EventRecalled { .. }
            | Body::TimerFired { .. }
            | Body::TimerCancelled { .. }
            | Body::TreeStarted { .. }
            | Body::TreeOrphaned { .. }
            | Body::EffectStarted { .. }
            | Body::EffectSkipped { .. }
            | Body::EffectCancelled { .. }
            | Body::EffectUnknown { .. }
            | Body::EffectLate { .. }
            | Body::EffectRecalled { .. }
            | Body::BudgetReserved(_)
            | Body::BudgetSettled { .. }
            | Body::BudgetExceeded(_)
            | Body::BudgetGranted { .. }
            | Body::ChildStarted { .. }
            | Body::ChildClosing { .. }
            | Body::CompensationCompleted { .. }
            | Body::TaskCreated { .. }
            | Body::TaskClaimed { .. }
            | Body::TaskReleased { .. }
            | Body::TaskReminded { .. }
            | Body::TaskExpired { .. }
            | Body::IncidentAssigned { .. }
            | Body::InputReleased
            | Body::Tagged { .. } => {}
            Body::DocumentPut { document, body, .. } => {
                if !OPEN_DOCUMENTS.contains(&&**document) {
                    value(body, mark);
                }
            }
        }
    }
}
