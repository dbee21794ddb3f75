//! Which candidates an event, or its absence, enables: SCXML's `selectTransitions` with exact-name
//! precedence, and `removeConflictingTransitions`.

use std::borrow::Cow;

use smallvec::SmallVec;
use traaviis_model::Text;

use crate::{
    expr::EvalError,
    machine::{Candidate, Kind, StateId},
    step::{InternalEvent, Origin, Run},
};

/// Transitions to take together; nearly always one.
pub(crate) type Candidates<'m> = SmallVec<[&'m Candidate; 2]>;

/// What a selection found.
pub(crate) struct Selection<'m> {
    /// Enabled candidates without conflicts, by document order of the states that chose them.
    pub candidates: Candidates<'m>,
    /// Guards that could not be evaluated; they count as false.
    pub errors: Vec<(EvalError, Text, StateId)>,
}

impl<'m> Run<'m> {
    /// Selects for an event, or the eventless candidates. The event must be `self.event`.
    pub(crate) fn select(&self, event: Option<&InternalEvent>) -> Selection<'m> {
        let mut selection = Selection { candidates: Candidates::new(), errors: Vec::new() };
        for path in &self.snapshot.configuration {
            let Some(leaf) = self.machine.by_path.get(path) else { continue };
            let chosen = self
                .machine
                .ancestors(*leaf)
                .find_map(|state| self.first_enabled(state, event, &mut selection.errors));
            if let Some(candidate) = chosen
                && !selection.candidates.iter().any(|it| std::ptr::eq(*it, candidate))
            {
                selection.candidates.push(candidate);
            }
        }
        if selection.candidates.len() > 1 {
            selection.candidates = self.without_conflicts(selection.candidates);
        }
        selection
    }

    fn first_enabled(
        &self,
        state: StateId,
        event: Option<&InternalEvent>,
        errors: &mut Vec<(EvalError, Text, StateId)>,
    ) -> Option<&'m Candidate> {
        let def = &self.machine.states[state];
        let Some(event) = event else {
            return self.first_true(&def.always, errors);
        };
        match event.origin {
            Origin::After(owner, index) => {
                let after = (owner == state).then(|| def.after.get(index)).flatten();
                return after.and_then(|after| self.first_true(&after.candidates, errors));
            }
            Origin::Done(owner, invoke) if owner == state => {
                let found = self.first_true(&def.invoke[invoke].on_done, errors);
                if found.is_some() {
                    return found;
                }
            }
            Origin::Failed(owner, invoke) if owner == state => {
                let found = self.first_true(&def.invoke[invoke].on_error, errors);
                if found.is_some() {
                    return found;
                }
            }
            _ => {}
        }
        for (descriptor, candidates) in &def.on {
            if descriptor.matches(&event.name) {
                let found = self.first_true(candidates, errors);
                if found.is_some() {
                    return found;
                }
            }
        }
        if !def.on_done.is_empty()
            && event.name.strip_prefix("done.state.").is_some_and(|path| *path == *def.path)
        {
            return self.first_true(&def.on_done, errors);
        }
        if !def.on_error.is_empty() && event.name.starts_with("error.") {
            let inside = match event.origin {
                Origin::State(at) | Origin::Failed(at, _) => {
                    at == state || self.machine.is_below(at, state)
                }
                _ => false,
            };
            if inside {
                return self.first_true(&def.on_error, errors);
            }
        }
        None
    }

    fn first_true(
        &self,
        candidates: &'m [Candidate],
        errors: &mut Vec<(EvalError, Text, StateId)>,
    ) -> Option<&'m Candidate> {
        candidates.iter().find(|candidate| {
            let Some(guard) = &candidate.guard else { return true };
            let outcome = guard.eval_bool(&self.env());
            if let Some(watch) = self.watch {
                watch.guard(&candidate.pointer, matches!(outcome, Ok(true)));
            }
            match outcome {
                Ok(it) => it,
                Err(error) => {
                    let known = errors.iter().any(|(_, pointer, _)| *pointer == candidate.pointer);
                    if !known && !self.told_errors.contains(&candidate.pointer) {
                        errors.push((error, candidate.pointer.clone(), candidate.source));
                    }
                    false
                }
            }
        })
    }

    /// Keeps the earlier of two candidates that leave a common state, unless the later one's source
    /// stands below the earlier one's.
    fn without_conflicts(&self, enabled: Candidates<'m>) -> Candidates<'m> {
        let mut kept: Vec<(&'m Candidate, Vec<StateId>)> = Vec::new();
        'next: for candidate in enabled {
            let exits = self.exit_set(candidate);
            let mut overruled = Vec::new();
            for (at, (other, other_exits)) in kept.iter().enumerate() {
                if exits.iter().any(|state| other_exits.contains(state)) {
                    if self.machine.is_below(candidate.source, other.source) {
                        overruled.push(at);
                    } else {
                        continue 'next;
                    }
                }
            }
            for at in overruled.into_iter().rev() {
                kept.remove(at);
            }
            kept.push((candidate, exits));
        }
        kept.into_iter().map(|(candidate, _)| candidate).collect()
    }

    /// Returns the active states that a candidate leaves, in document order.
    fn exit_set(&self, candidate: &Candidate) -> Vec<StateId> {
        self.domain(candidate).into_iter().flat_map(|it| self.active_below(it)).collect()
    }

    /// Visits the active states below a state, in document order.
    pub(crate) fn active_below(&self, domain: StateId) -> impl Iterator<Item = StateId> {
        let last = self.machine.states[domain].last;
        (domain + 1..=last).filter(|state| self.active[*state])
    }

    /// Returns the state below which a candidate changes the configuration; none without targets,
    /// or when a state without children targets itself and stays: nothing would be left or entered.
    pub(crate) fn domain(&self, candidate: &Candidate) -> Option<StateId> {
        let targets = self.effective_targets(candidate.targets.as_ref()?);
        let source = candidate.source;
        let below = targets.iter().all(|it| self.machine.is_below(*it, source));
        let within =
            below || targets.iter().all(|it| *it == source || self.machine.is_below(*it, source));
        let reenter = candidate.reenter.unwrap_or(!below);
        if within && !reenter {
            let has_children = !self.machine.states[source].children.is_empty();
            return has_children.then_some(source);
        }
        let holds = |at: StateId| {
            matches!(self.machine.states[at].kind, Kind::Compound { .. })
                && targets.iter().all(|it| self.machine.is_below(*it, at))
        };
        let mut at = self.machine.states[source].parent;
        while at != 0 && !holds(at) {
            at = self.machine.states[at].parent;
        }
        Some(at)
    }

    /// Replaces history states by what they remember, or by their defaults.
    pub(crate) fn effective_targets<'t>(&self, targets: &'t [StateId]) -> Cow<'t, [StateId]> {
        let is_history =
            |it: &StateId| matches!(self.machine.states[*it].kind, Kind::History { .. });
        if !targets.iter().any(is_history) {
            return Cow::Borrowed(targets);
        }
        let mut found = Vec::with_capacity(targets.len());
        for target in targets {
            match &self.machine.states[*target].kind {
                Kind::History { target: default, .. } => {
                    let remembered = self.remembered(*target);
                    match remembered.is_empty() {
                        true => found.extend_from_slice(&self.effective_targets(default)),
                        false => found.extend(remembered),
                    }
                }
                _ => found.push(*target),
            }
        }
        Cow::Owned(found)
    }

    /// Returns what a history state remembers.
    pub(crate) fn remembered(&self, history: StateId) -> Vec<StateId> {
        let path = &self.machine.states[history].path;
        let left = self.leaving.iter().find(|(history, _)| history == path).map(|(_, paths)| paths);
        let held = left.or(self.snapshot.history.get(path));
        let paths = held.map_or(&[][..], |it| it);
        paths.iter().filter_map(|path| self.machine.by_path.get(path).copied()).collect()
    }
}
