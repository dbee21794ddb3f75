//! W203 and W204: candidates that are never chosen, and guards that overlap or leave a gap.
//!
//! Candidates of a list are tried in order, so an overlap alone is no mistake: `n >= 10` before
//! `n >= 5` is how a scale is written. It is reported when two guards share a part and each has one
//! of its own. A gap is reported where nothing else can take what falls into it.

use std::collections::{BTreeMap, BTreeSet};

use traaviis_model::{
    Diagnostic, Text, Value,
    definition::Unhandled,
    limits::{GUARD_LITERALS_MAX, GUARDS_COMPARED_MAX},
};

use super::{
    chart::{Chart, List, Trigger},
    guard::{Predicate, Sample, Set, Subject, Truth, draws, samples, truth},
    warning,
};
use crate::{
    expr::Var,
    machine::{Candidate, Descriptor, StateId},
};

pub(super) fn check(chart: &Chart<'_>, found: &mut Vec<Diagnostic>) {
    let choice = Choice::of(chart);
    for state in chart.states() {
        choice.transient(state, found);
        for list in chart.lists(state) {
            choice.never_raised(state, list, found);
            let live = choice.never_chosen(list, found);
            choice.compared(state, list, &live, found);
        }
    }
}

struct Choice<'m> {
    chart: &'m Chart<'m>,
    /// Names of the events that invokes and states give.
    outcomes: BTreeSet<String>,
}

impl<'m> Choice<'m> {
    fn of(chart: &'m Chart<'m>) -> Choice<'m> {
        let mut outcomes = BTreeSet::new();
        for state in chart.states() {
            let def = chart.def(state);
            outcomes.insert(format!("done.state.{}", def.path));
            for invoke in &def.invoke {
                for word in ["done", "error", "progress"] {
                    outcomes.insert(format!("{word}.invoke.{}", invoke.id));
                }
            }
        }
        Choice { chart, outcomes }
    }

    fn truth(&self, candidate: &Candidate) -> Truth {
        let is_state =
            |path: &str| self.chart.machine.by_path.contains_key(path.trim_start_matches('#'));
        candidate.guard.as_ref().map_or(Truth::Always, |it| truth(it.code(), &is_state))
    }

    /// Reports what waits in a state that an `always` without a guard leaves at once.
    fn transient(&self, state: StateId, found: &mut Vec<Diagnostic>) {
        let def = self.chart.def(state);
        let Some(written) = self.chart.written(state) else { return };
        let leaves =
            def.always.iter().any(|it| it.targets.is_some() && self.truth(it) == Truth::Always);
        let waiting = [
            ("on", !written.on.is_empty()),
            ("after", !written.after.is_empty()),
            ("invoke", !written.invoke.is_empty()),
        ];
        let Some((key, _)) = waiting.into_iter().find(|(_, has)| leaves && *has) else { return };
        let path = &def.path;
        let message = format!(
            "`{key}` of state `{path}` never comes to anything: `always` leaves the state at once"
        );
        let hint = "give the `always` a guard, or move what waits to another state";
        found.push(warning("W203", format!("{}/{key}", written.pointer), message, hint));
    }

    /// Reports candidates for outcomes of invokes and states that do not exist.
    fn never_raised(&self, state: StateId, list: List<'_>, found: &mut Vec<Diagnostic>) {
        let Trigger::On(Descriptor::Exact(name)) = list.trigger else { return };
        let is_outcome = ["done.invoke.", "error.invoke.", "progress.invoke.", "done.state."]
            .iter()
            .any(|it| name.starts_with(it));
        if !is_outcome || self.outcomes.contains(&**name) {
            return;
        }
        let pointer = format!("{}/on/{name}", self.chart.pointer(state));
        let what = if name.starts_with("done.state.") { "state" } else { "invoke" };
        let message = format!("`{name}` never happens: there is no such {what}");
        let hint = format!("write the name of an existing {what}");
        found.push(warning("W203", pointer, message, hint));
    }

    /// Reports candidates that their own guard or an earlier one rules out; returns the others.
    fn never_chosen<'c>(&self, list: List<'c>, found: &mut Vec<Diagnostic>) -> Vec<&'c Candidate> {
        let mut live = Vec::new();
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        let mut is_decided = false;
        for candidate in list.candidates {
            let guard = candidate.guard.as_ref().map(|it| it.source().trim());
            let shadow = guard.filter(|it| seen.contains(it));
            let truth = self.truth(candidate);
            match (is_decided, truth, shadow) {
                (true, ..) => found.push(never(
                    candidate,
                    "an earlier candidate of the list is always chosen".into(),
                    "move it before the candidate without a guard, or remove it",
                )),
                (_, Truth::Never, _) => found.push(never(
                    candidate,
                    format!("its guard `{}` is never true", guard.unwrap_or_default()),
                    "correct the guard, or remove the candidate",
                )),
                (_, _, Some(guard)) => found.push(never(
                    candidate,
                    format!("an earlier candidate has the same guard `{guard}`"),
                    "correct one of the guards, or remove the candidate",
                )),
                _ => live.push(candidate),
            }
            is_decided |= truth == Truth::Always;
            seen.extend(guard.filter(|it| !draws(it)));
        }
        live
    }

    /// Compares the guards of a list that ask about the same expression.
    fn compared(
        &self,
        state: StateId,
        list: List<'_>,
        live: &[&Candidate],
        found: &mut Vec<Diagnostic>,
    ) {
        if live.len() > GUARDS_COMPARED_MAX {
            return;
        }
        let mut groups: BTreeMap<Subject<'_>, Vec<(&Candidate, Predicate<'_>)>> = BTreeMap::new();
        for candidate in live {
            if let Some(guard) = candidate.guard.as_ref().filter(|it| !draws(it.source()))
                && let Some(predicate) = Predicate::of(guard.code())
            {
                groups.entry(predicate.subject.clone()).or_default().push((candidate, predicate));
            }
        }
        let is_switch = groups.len() == 1;
        for members in groups.into_values() {
            let Some(field) = Field::of(self.chart, list, &members) else { continue };
            let whole = is_switch && members.len() == live.len() && members.len() > 1;
            if let (Some(rest), true) = (field.overlaps(found), whole) {
                self.gap(state, list, &field, &rest, found);
            }
        }
    }

    fn gap(
        &self,
        state: StateId,
        list: List<'_>,
        field: &Field<'_>,
        rest: &Set,
        found: &mut Vec<Diagnostic>,
    ) {
        let open: Vec<&Sample> = field.open(rest, matches!(list.trigger, Trigger::Always));
        let Some(first) = field.members.first().map(|it| it.0) else { return };
        if open.is_empty() || self.is_taken_elsewhere(state, list) {
            return;
        }
        let what = words(&open);
        let message = format!("the guards of this list leave a gap: none is true for {what}");
        let hint = "add a candidate for it, or one without a guard at the end";
        let pointer = first.pointer.rsplit_once('/').map_or("", |(list, _)| list);
        found.push(warning("W204", pointer, message, hint));
    }

    /// Says whether something else may take what falls into a gap, or it does no harm.
    fn is_taken_elsewhere(&self, state: StateId, list: List<'_>) -> bool {
        let invoked = |word: &str, id: &Text| format!("{word}.invoke.{id}");
        let name = match list.trigger {
            Trigger::On(Descriptor::Exact(name)) => name.to_string(),
            Trigger::On(_) => return true,
            Trigger::After => return false,
            Trigger::Always => return !self.is_stuck_without_always(state),
            Trigger::Done => format!("done.state.{}", self.chart.def(state).path),
            Trigger::InvokeDone(id) => invoked("done", id),
            Trigger::InvokeFailed(id) => invoked("error", id),
            // An error that no `onError` takes has a fate of its own.
            Trigger::Failed => return true,
        };
        let is_error = matches!(list.trigger, Trigger::InvokeFailed(_));
        let mut others = 0;
        for at in self.chart.around(state) {
            let def = self.chart.def(at);
            others += def.on.iter().filter(|(it, _)| it.matches(&name)).count();
            others += usize::from(is_error && !def.on_error.is_empty());
        }
        let Trigger::On(_) = list.trigger else { return others > 0 };
        others > 1 || !self.is_refused(state, &name)
    }

    /// Says whether callers are refused when no candidate takes an event.
    fn is_refused(&self, state: StateId, name: &str) -> bool {
        let policies = self.chart.around(state).filter_map(|at| self.chart.def(at).unhandled);
        let policy = policies.chain([self.chart.machine.definition().unhandled]).next();
        let is_internal = self.chart.machine.events.get(name).is_none_or(|it| it.internal);
        policy == Some(Unhandled::Reject) && !is_internal
    }

    /// Says whether nothing but these `always` can leave a state: then data cannot change either.
    fn is_stuck_without_always(&self, state: StateId) -> bool {
        self.chart.around(state).all(|at| {
            let def = self.chart.def(at);
            let is_alone = at == state || def.always.is_empty();
            let is_plain = def.on.is_empty() && def.after.is_empty() && def.invoke.is_empty();
            is_alone && is_plain && !self.chart.is_parallel(at)
        }) && self.chart.is_atomic(state)
    }
}

fn never(candidate: &Candidate, why: String, hint: &str) -> Diagnostic {
    let pointer = match candidate.guard {
        Some(_) => format!("{}/guard", candidate.pointer),
        None => candidate.pointer.to_string(),
    };
    warning("W203", pointer, format!("this candidate is never chosen: {why}"), hint)
}

/// Guards of one list over one subject, and the values that they tell apart.
struct Field<'c> {
    members: &'c [(&'c Candidate, Predicate<'c>)],
    samples: Vec<Sample>,
    /// The samples are all values there are.
    is_closed: bool,
}

impl<'c> Field<'c> {
    /// Returns none when there is too much to compare.
    fn of(
        chart: &Chart<'_>,
        list: List<'_>,
        members: &'c [(&'c Candidate, Predicate<'c>)],
    ) -> Option<Field<'c>> {
        let mut literals = Vec::new();
        members.iter().for_each(|(_, it)| it.literals(&mut literals));
        if literals.len() > GUARD_LITERALS_MAX {
            return None;
        }
        let (_, first) = members.first()?;
        let declared = declared(chart, list, &first.subject);
        let is_truth = members.iter().any(|(_, it)| it.is_truth);
        Some(match declared {
            Some(samples) if samples.len() <= GUARD_LITERALS_MAX => {
                Field { members, samples, is_closed: true }
            }
            _ if is_truth => {
                let samples = vec![Sample::Bool(false), Sample::Bool(true)];
                Field { members, samples, is_closed: true }
            }
            _ => Field { members, samples: samples(literals), is_closed: false },
        })
    }

    /// Reports guards that earlier ones cover or cut; returns what no guard is true for, unless a
    /// guard that is never chosen explains it.
    fn overlaps(&self, found: &mut Vec<Diagnostic>) -> Option<Set> {
        let count = self.samples.len();
        let mut rest = Set::of(count, |_| true);
        let mut is_explained = false;
        // What reaches each earlier candidate and is taken by it.
        let mut taken: Vec<(&Candidate, Set)> = Vec::new();
        for (candidate, predicate) in self.members {
            let wanted = Set::of(count, |at| predicate.takes(&self.samples[at]));
            let own = wanted.and(&rest);
            if own.is_empty() {
                found.push(self.covered(candidate, wanted.is_empty()));
                is_explained = true;
                continue;
            }
            if let Some((other, earlier)) = taken.iter().find(|(_, it)| it.is_cut_by(&wanted)) {
                let both = earlier.and(&wanted);
                let both = (0..count).filter(|it| both.has(*it)).map(|it| &self.samples[it]);
                found.push(overlap(candidate, other, &both.collect::<Vec<_>>()));
            }
            rest = rest.without(&wanted);
            taken.push((candidate, own));
        }
        (!is_explained).then_some(rest)
    }

    fn covered(&self, candidate: &Candidate, is_never: bool) -> Diagnostic {
        let guard = candidate.guard.as_ref().map_or("", |it| it.source());
        let (why, hint) = match (is_never, self.is_closed) {
            (true, true) => (
                format!("its guard `{guard}` is true for none of the possible values"),
                "correct the guard, or remove the candidate",
            ),
            (true, false) => (
                format!("its guard `{guard}` is never true"),
                "correct the guard, or remove the candidate",
            ),
            (false, _) => (
                format!("earlier candidates take everything that `{guard}` is true for"),
                "put it before them, or remove it",
            ),
        };
        never(candidate, why, hint)
    }

    /// Returns the values of a gap: all that are left of a closed domain; of numbers, those between
    /// others that are taken, because thresholds may leave the ends open on purpose.
    fn open(&self, rest: &Set, only_values: bool) -> Vec<&Sample> {
        let count = self.samples.len();
        let range = match self.is_closed {
            true => 0..count,
            false => {
                let taken = |it: &usize| self.samples[*it].is_number() && !rest.has(*it);
                let first = (0..count).find(taken).unwrap_or(0);
                let last = (0..count).rev().find(taken).unwrap_or(0);
                first..last
            }
        };
        let samples = range.filter(|it| rest.has(*it)).map(|it| &self.samples[it]);
        // To rest within a range of numbers is how an `always` waits.
        samples.filter(|it| !only_values || !matches!(it, Sample::Between(..))).collect()
    }
}

fn overlap(candidate: &Candidate, other: &Candidate, both: &[&Sample]) -> Diagnostic {
    let source = |it: &Candidate| it.guard.as_ref().map_or("".into(), |it| it.source().clone());
    let message = format!(
        "the guards `{}` and `{}` overlap: both are true for {}, which the first takes",
        source(other),
        source(candidate),
        words(both),
    );
    let hint = "exclude it from one of them, so that the order does not decide";
    warning("W204", format!("{}/guard", candidate.pointer), message, hint)
}

fn words(samples: &[&Sample]) -> String {
    const SHOWN_MAX: usize = 4;
    let shown: Vec<String> = samples.iter().take(SHOWN_MAX).map(|it| it.words()).collect();
    match samples.len().checked_sub(SHOWN_MAX) {
        Some(more @ 1..) => format!("{} and {more} more", shown.join(", ")),
        _ => shown.join(", "),
    }
}

/// Returns the values that a schema allows at a path, when it lists them.
fn declared(chart: &Chart<'_>, list: List<'_>, subject: &Subject<'_>) -> Option<Vec<Sample>> {
    let definition = chart.machine.definition();
    let (schema, fields) = if let Some(fields) = subject.fields(Var::Data) {
        (definition.data_schema.as_ref()?, fields)
    } else if let Some(fields) = subject.fields(Var::Input) {
        (definition.input_schema.as_ref()?, fields)
    } else {
        let [data, fields @ ..] = subject.fields(Var::Event)? else { return None };
        let Trigger::On(Descriptor::Exact(name)) = list.trigger else { return None };
        let event = definition.events.iter().find(|it| it.name == *name)?;
        (event.schema.as_ref().filter(|_| **data == *"data")?, fields)
    };
    let schema = fields.iter().try_fold(schema, |at, field| at.get("properties")?.get(field))?;
    if let Some(Value::List(values)) = schema.get("enum") {
        return values.iter().map(Sample::of).collect();
    }
    let is_truth = schema.get("type").and_then(Value::as_str) == Some("boolean");
    is_truth.then(|| vec![Sample::Bool(false), Sample::Bool(true)])
}
