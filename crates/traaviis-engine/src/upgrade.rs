//! Live upgrade: an open instance goes on with another version of its workflow.
//!
//! [`classify`] compares what an instance holds (states, history, timers, effects, deferred events,
//! data) with another version; [`upgrade`] takes an instance that is safe over, as one step. The
//! step takes no transition: what the new version does differently begins with the next input.
//! Until the next transition [`roll_back`] takes it back.
//!
//! Invariant: an upgrade drops nothing silently. What has no counterpart is mapped, given up by a
//! migration that says so, or the instance stays where it is.

mod fit;
mod mapping;

pub(crate) use mapping::Mapping;

use serde::Serialize;
use traaviis_model::{
    Body, Seq, Snapshot, Text,
    record::{Status, TimerKind, Upgraded},
};

use crate::{
    machine::Machine,
    step::{Rejection, Run, Step, StepContext},
};

/// Whether an instance can go on with another version.
#[derive(Clone, Debug, PartialEq)]
pub enum Class {
    /// It has this version already.
    Current,
    /// Everything has its counterpart.
    Safe(Box<Plan>),
    /// A migration must say what becomes of these.
    NeedsMapping(Vec<Gap>),
    /// It cannot go on with this version now.
    Blocked(Vec<Text>),
}

/// Something that an instance holds and another version does not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// `state`, `history`, `timer`, `event` or `effect`.
    pub what: &'static str,
    /// Its name in the version that runs.
    pub name: Text,
    /// What comes closest in the other version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<Text>,
}

/// How an instance goes on.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// How everything stands afterwards.
    pub(crate) upgraded: Upgraded,
    /// Timers that are gone.
    pub(crate) drop_timers: Vec<Text>,
    /// The timers of active states begin anew.
    pub(crate) restart_timers: bool,
    /// Trees that are given up.
    pub(crate) give_up: Vec<Seq>,
    /// The effects of active states begin anew.
    pub(crate) restart_effects: bool,
}

impl Class {
    /// Returns the word for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Class::Current => "current",
            Class::Safe(_) => "safe",
            Class::NeedsMapping(_) => "needs_mapping",
            Class::Blocked(_) => "blocked",
        }
    }
}

/// Says whether an instance can go on with `new`; `old` is the version that it has.
pub fn classify(old: &Machine, new: &Machine, snapshot: &Snapshot) -> Class {
    fit::classify(old, new, snapshot)
}

/// Takes an instance over to `new`, or says why it stays.
pub fn upgrade(
    old: &Machine,
    new: &Machine,
    snapshot: &Snapshot,
    context: &StepContext,
) -> Result<Step, Rejection> {
    let plan = match classify(old, new, snapshot) {
        Class::Safe(plan) => *plan,
        Class::Current => {
            let version = &snapshot.version;
            let message = format!("the instance has version {version} of this definition already");
            return Err(Rejection::new("invalid_state", message));
        }
        Class::Blocked(reasons) => {
            return Err(Rejection::new("upgrade_blocked", reasons.join("; ")));
        }
        Class::NeedsMapping(gaps) => {
            let gaps: Vec<String> = gaps.iter().map(ToString::to_string).collect();
            return Err(Rejection::new("upgrade_needs_mapping", gaps.join("; ")));
        }
    };
    let mut run = Run::new(new, snapshot, context);
    run.emit(Body::Upgraded(Box::new(plan.upgraded)));
    run.look_around();
    run.data_changed = true;
    for timer in plan.drop_timers {
        run.emit(Body::TimerCancelled { timer });
    }
    plan.give_up.into_iter().for_each(|tree| run.give_up(tree, "upgraded"));
    let active = run.active_states();
    if plan.restart_timers {
        run.cancel_timers(|kind| matches!(kind, TimerKind::After { .. }));
        active.iter().for_each(|it| run.start_timers(*it));
    }
    if plan.restart_effects {
        run.to_invoke = active;
        run.begin_invokes();
    }
    // Effects that ended at once, and delays that could not be computed, are events to be taken.
    if !run.queue.is_empty() && run.snapshot.status != Status::Paused {
        run.settle();
        run.end_if_clean();
    }
    run.check_data();
    run.finish()
}

/// Takes an instance back to the version it had; `old` is that version.
pub fn roll_back(
    old: &Machine,
    snapshot: &Snapshot,
    context: &StepContext,
) -> Result<Step, Rejection> {
    let refuse = |why: &str| Err(Rejection::new("invalid_state", why));
    let Some(undo) = &snapshot.undo else {
        return refuse(
            "there is no upgrade to take back: none happened, a transition followed, its data \
             changed, or it gave up timers or effects",
        );
    };
    if snapshot.status.is_finished() || snapshot.status == Status::Completing {
        return refuse("the instance is ending; it stays with its version");
    }
    if let Some(tree) = snapshot.trees.iter().find(|it| it.asked.is_some()) {
        let root = &tree.invoke;
        return refuse(&format!("effect `{root}` runs outside of the states; {}", fit::FIRST));
    }
    let mut undo = undo.clone();
    // Effects may have ended since, and their timers with them.
    undo.timers.retain(|(id, _)| snapshot.timers.iter().any(|it| it.id == *id));
    undo.trees.retain(|it| snapshot.tree(it.tree).is_some());
    let mut run = Run::new(old, snapshot, context);
    run.emit(Body::Upgraded(undo));
    run.look_around();
    run.data_changed = true;
    run.check_data();
    run.finish()
}

impl std::fmt::Display for Gap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Gap { what, name, suggestion } = self;
        write!(f, "{what} `{name}` has no counterpart")?;
        match suggestion {
            Some(near) => write!(f, " (perhaps `{near}`)"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
