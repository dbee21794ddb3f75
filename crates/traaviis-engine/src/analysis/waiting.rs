//! W209: states that only an event from outside can leave, and that no time limit ends.

use std::collections::BTreeSet;

use traaviis_model::Diagnostic;

use super::{chart::Chart, events, warning};
use crate::machine::{Candidate, Descriptor, StateDef, StateId, is_reserved};

pub(super) fn check(chart: &Chart<'_>, found: &mut Vec<Diagnostic>) {
    let raised = events::raised(chart);
    let moves: Vec<Moves> =
        (0..chart.machine.states.len()).map(|state| Moves::of(chart.def(state), &raised)).collect();
    let interrupted = interrupted(chart);
    for state in chart.states().filter(|it| chart.is_atomic(*it)) {
        let mut waits = false;
        let mut moved = false;
        for at in chart.around(state) {
            waits |= moves[at].outside;
            moved |= moves[at].inside || interrupted[at];
        }
        if !waits || moved {
            continue;
        }
        let path = &chart.def(state).path;
        let message = format!("state `{path}` waits for events from outside without a time limit");
        let hint = "add `after: {DURATION: STATE}` here or around it; if it may wait for ever, say \
                    why: `x-waive: {W209: REASON}`";
        found.push(warning("W209", chart.pointer(state), message, hint));
    }
}

/// What can make an instance leave a state, or a state inside it.
#[derive(Clone, Copy)]
struct Moves {
    /// Events that only callers send.
    outside: bool,
    /// Timers, effects, events of its own, changes of data.
    inside: bool,
}

impl Moves {
    fn of(def: &StateDef, raised: &BTreeSet<&str>) -> Moves {
        let mut moves = Moves {
            outside: false,
            inside: !def.after.is_empty() || !def.invoke.is_empty() || !def.always.is_empty(),
        };
        for (descriptor, candidates) in &def.on {
            if !candidates.iter().any(|it| it.targets.is_some()) {
                continue;
            }
            match is_own(descriptor, raised) {
                true => moves.inside = true,
                false => moves.outside = true,
            }
        }
        moves
    }
}

/// Says whether the workflow itself or the engine can raise what fits a descriptor.
fn is_own(descriptor: &Descriptor, raised: &BTreeSet<&str>) -> bool {
    match descriptor {
        Descriptor::Exact(name) => is_reserved(name) || raised.contains(&**name),
        Descriptor::Prefix(prefix) => {
            is_reserved(prefix) || raised.iter().any(|it| descriptor.matches(it))
        }
        Descriptor::Any => !raised.is_empty(),
    }
}

/// Returns the parallel states that a timer or effect in one region leaves: it ends the waiting of
/// the other regions too.
fn interrupted(chart: &Chart<'_>) -> Vec<bool> {
    let mut interrupted = vec![false; chart.machine.states.len()];
    for state in chart.states() {
        let def = chart.def(state);
        let timed = def.after.iter().flat_map(|it| &it.candidates);
        let effects = def.invoke.iter().flat_map(|it| it.on_done.iter().chain(&it.on_error));
        for candidate in timed.chain(effects).chain(&def.always) {
            let left = chart.around(state).filter(|it| chart.is_parallel(*it));
            for parallel in left.filter(|it| leaves(chart, candidate, *it)) {
                interrupted[parallel] = true;
            }
        }
    }
    interrupted
}

fn leaves(chart: &Chart<'_>, candidate: &Candidate, state: StateId) -> bool {
    let targets = candidate.targets.iter().flatten();
    targets.into_iter().any(|it| !chart.machine.is_below(*it, state))
}
