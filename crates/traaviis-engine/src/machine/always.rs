//! Cycles of `always` without a guard: a step that enters one never comes to rest.
//!
//! An active leaf decides where `always` leads: the first state from it to the root with an enabled
//! candidate wins. As long as these candidates have no guards the way is certain, so it is followed
//! from leaf to leaf; where a guard, a history or another region may decide, it is given up.

use traaviis_model::{Diagnostic, Value};

use super::{Candidate, Kind, StateDef, StateId};

/// Returns one finding for each cycle.
pub(super) fn cycles(states: &[StateDef]) -> Vec<Diagnostic> {
    let ways = Ways::of(states);
    let mut found = Vec::new();
    // Zero is not walked yet; otherwise the walk that came here.
    let mut walks = vec![0; states.len()];
    for start in 1..states.len() {
        let (mut at, mut cycle) = (start, None);
        while walks[at] == 0 {
            walks[at] = start;
            let Some((next, _)) = ways.next(at) else { break };
            cycle = (walks[next] == start).then_some(next);
            at = next;
        }
        if let Some(first) = cycle {
            found.extend(finding(&ways, first));
        }
    }
    found
}

fn finding(ways: &Ways<'_>, first: StateId) -> Option<Diagnostic> {
    let (mut candidate, mut at) = (ways.next(first)?.1, first);
    loop {
        let (next, taken) = ways.next(at)?;
        // The earliest in the document stands for the cycle.
        if taken.source < candidate.source {
            candidate = taken;
        }
        at = next;
        if at == first {
            break;
        }
    }
    let path = &ways.states[candidate.source].path;
    let message = match candidate.targets {
        Some(_) => format!("`always` leads from `{path}` back to itself without a guard"),
        None => format!("`always` of `{path}` has neither target nor guard, so it never rests"),
    };
    let hint = "give one of the candidates a guard, or use an event or a timer";
    Some(Diagnostic::error("E108", &*candidate.pointer, message).hint(hint))
}

struct Ways<'s> {
    states: &'s [StateDef],
    /// How many states before each have `always`.
    before: Vec<usize>,
}

impl<'s> Ways<'s> {
    fn of(states: &'s [StateDef]) -> Ways<'s> {
        let mut before = vec![0];
        for state in states {
            before.push(before[before.len() - 1] + usize::from(!state.always.is_empty()));
        }
        Ways { states, before }
    }

    /// Returns where `always` certainly leads from an active leaf, and by which candidate.
    fn next(&self, leaf: StateId) -> Option<(StateId, &'s Candidate)> {
        let is_leaf = match self.states[leaf].kind {
            Kind::Atomic => true,
            Kind::Final { .. } => self.states[leaf].parent != 0,
            _ => false,
        };
        if !is_leaf {
            return None;
        }
        let mut at = leaf;
        let mut chosen = None;
        while at != 0 {
            if chosen.is_none() {
                chosen = self.certain(at)?;
            }
            let parent = self.states[at].parent;
            if matches!(self.states[parent].kind, Kind::Parallel) && self.is_beside(parent, at) {
                return None;
            }
            at = parent;
        }
        let candidate = chosen?;
        let next = match candidate.targets.as_deref() {
            None => leaf,
            Some([target, ..]) => self.leaf_of(*target)?,
            Some([]) => return None,
        };
        Some((next, candidate))
    }

    /// Returns the candidate of a state that is always taken, if it has one; none when a guard
    /// decides.
    #[expect(clippy::option_option, reason = "unknown, nothing and something are three answers")]
    fn certain(&self, state: StateId) -> Option<Option<&'s Candidate>> {
        for candidate in &self.states[state].always {
            match candidate.guard.as_ref().map(|it| it.constant()) {
                None | Some(Some(Value::Bool(true))) => return Some(Some(candidate)),
                Some(Some(_)) => {}
                Some(None) => return None,
            }
        }
        Some(None)
    }

    /// Says whether other regions have `always` of their own, which may leave the parallel state.
    fn is_beside(&self, parallel: StateId, region: StateId) -> bool {
        let count = |first: StateId, last: StateId| self.before[last + 1] - self.before[first];
        count(parallel + 1, self.states[parallel].last) > count(region, self.states[region].last)
    }

    /// Returns the first leaf that entering a state makes active.
    fn leaf_of(&self, mut state: StateId) -> Option<StateId> {
        loop {
            state = match &self.states[state].kind {
                Kind::Atomic | Kind::Final { .. } => return Some(state),
                Kind::Compound { initial } => *initial.first()?,
                Kind::Parallel => *self.states[state].children.first()?,
                Kind::History { .. } => return None,
            };
        }
    }
}
