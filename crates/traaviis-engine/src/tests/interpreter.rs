//! A naive interpreter of charts, written from appendix D of the W3C's SCXML recommendation
//! (2015-09-01) and sharing no code with the engine. Functions have the names they have there.
//!
//! The language's two stated differences are part of it: `reenter` instead of `type`
//! ([`Interpreter::transition_domain`]) and exact names before prefixes before `*`
//! ([`Interpreter::named_transitions`]).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::chart::{Action, Chart, Guard, Kind, Transition, mixed};

const MICROSTEPS_MAX: usize = 1_000;

/// A step that never comes to rest.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Overrun;

/// A running chart.
#[derive(Clone, Debug)]
pub(crate) struct Interpreter<'c> {
    chart: &'c Chart,
    pub configuration: BTreeSet<usize>,
    history_value: BTreeMap<usize, Vec<usize>>,
    internal_queue: VecDeque<String>,
    pub n: i64,
    /// Whether the final state that ended it is one of failure.
    pub ended: Option<bool>,
    microsteps: usize,
}

type Taken<'c> = (usize, &'c Transition);

#[derive(Default)]
struct Entry {
    states: BTreeSet<usize>,
    for_default: BTreeSet<usize>,
    histories: BTreeSet<usize>,
}

impl<'c> Interpreter<'c> {
    pub(crate) fn start(chart: &'c Chart) -> Result<Interpreter<'c>, Overrun> {
        let mut it = Interpreter {
            chart,
            configuration: BTreeSet::new(),
            history_value: BTreeMap::new(),
            internal_queue: VecDeque::new(),
            n: 0,
            ended: None,
            microsteps: 1,
        };
        let mut entry = Entry::default();
        it.add_descendant_states_to_enter(1, &mut entry);
        it.add_ancestor_states_to_enter(1, 0, &mut entry);
        it.enter_states(entry);
        it.macrostep()?;
        Ok(it)
    }

    /// Sends an event; says whether something took it.
    pub(crate) fn send(&mut self, event: &str) -> Result<bool, Overrun> {
        self.microsteps = 0;
        let enabled = self.select(Some(event));
        if enabled.is_empty() {
            return Ok(false);
        }
        self.microstep(enabled)?;
        self.macrostep()?;
        Ok(true)
    }

    fn macrostep(&mut self) -> Result<(), Overrun> {
        while self.ended.is_none() {
            let mut enabled = self.select(None);
            if enabled.is_empty() {
                let Some(event) = self.internal_queue.pop_front() else { break };
                enabled = self.select(Some(&event));
            }
            if !enabled.is_empty() {
                self.microstep(enabled)?;
            }
        }
        Ok(())
    }

    fn microstep(&mut self, enabled: Vec<Taken<'c>>) -> Result<(), Overrun> {
        self.microsteps += 1;
        if self.microsteps > MICROSTEPS_MAX {
            return Err(Overrun);
        }
        // Which states a transition may change is settled before any is left.
        let domains: Vec<Option<usize>> =
            enabled.iter().map(|it| self.transition_domain(*it)).collect();
        self.exit_states(&enabled);
        for (_, transition) in &enabled {
            self.run(&transition.actions);
        }
        let mut entry = Entry::default();
        for ((_, transition), domain) in enabled.iter().zip(domains) {
            let Some(domain) = domain else { continue };
            for target in &transition.targets {
                self.add_descendant_states_to_enter(*target, &mut entry);
            }
            for target in self.effective_targets(&transition.targets) {
                self.add_ancestor_states_to_enter(target, domain, &mut entry);
                // Only `reenter` lets a parallel state stay while all below it is left.
                if self.chart.states[domain].kind == Kind::Parallel {
                    self.add_regions(domain, &mut entry);
                }
            }
        }
        entry.states.retain(|it| !self.configuration.contains(it));
        self.enter_states(entry);
        Ok(())
    }

    fn select(&self, event: Option<&str>) -> Vec<Taken<'c>> {
        let mut enabled: Vec<Taken<'c>> = Vec::new();
        let atomic = self.configuration.iter().filter(|it| self.chart.children(**it).is_empty());
        for state in atomic {
            let mut at = *state;
            while at != 0 {
                let mut candidates = match event {
                    None => self.chart.states[at].always.iter().collect(),
                    Some(event) => self.named_transitions(at, event),
                }
                .into_iter();
                if let Some(found) = candidates.find(|it| self.holds(&it.guard)) {
                    if !enabled.iter().any(|(_, it)| std::ptr::eq(*it, found)) {
                        enabled.push((at, found));
                    }
                    break;
                }
                at = self.chart.states[at].parent;
            }
        }
        self.remove_conflicting_transitions(enabled)
    }

    /// Returns what a state has for an event: exact name, longest prefix, `*`, then `onDone`.
    fn named_transitions(&self, state: usize, event: &str) -> Vec<&'c Transition> {
        let state_of = &self.chart.states[state];
        let reserved = event.starts_with("done.");
        let mut fitting: Vec<(usize, &'c Vec<Transition>)> = Vec::new();
        for (descriptor, transitions) in &state_of.on {
            let rank = match descriptor.strip_suffix(".*") {
                _ if *descriptor == event => Some(usize::MAX),
                _ if *descriptor == "*" => (!reserved).then_some(0),
                Some(prefix) if event.starts_with(&format!("{prefix}.")) => Some(prefix.len()),
                _ => None,
            };
            fitting.extend(rank.map(|rank| (rank, transitions)));
        }
        fitting.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
        let mut found: Vec<&Transition> = fitting.into_iter().flat_map(|(_, it)| it).collect();
        if event == format!("done.state.{}", self.chart.path(state)) {
            found.extend(&state_of.on_done);
        }
        found
    }

    fn holds(&self, guard: &Guard) -> bool {
        match guard {
            Guard::True => true,
            Guard::Modulo(by, rest) => self.n % by == *rest,
            Guard::Below(most) => self.n < *most,
            Guard::In(state) => self.configuration.contains(state),
        }
    }

    fn remove_conflicting_transitions(&self, enabled: Vec<Taken<'c>>) -> Vec<Taken<'c>> {
        let mut filtered: Vec<Taken<'c>> = Vec::new();
        for t1 in enabled {
            let mut preempted = false;
            let mut to_remove = Vec::new();
            for t2 in &filtered {
                let (exit1, exit2) = (self.compute_exit_set(&[t1]), self.compute_exit_set(&[*t2]));
                if !exit1.is_disjoint(&exit2) {
                    if self.chart.is_descendant(t1.0, t2.0) {
                        to_remove.push(t2.1);
                    } else {
                        preempted = true;
                        break;
                    }
                }
            }
            if !preempted {
                filtered.retain(|(_, it)| !to_remove.iter().any(|gone| std::ptr::eq(*gone, *it)));
                filtered.push(t1);
            }
        }
        filtered
    }

    fn compute_exit_set(&self, transitions: &[Taken<'c>]) -> BTreeSet<usize> {
        let mut exits = BTreeSet::new();
        for transition in transitions {
            if let Some(domain) = self.transition_domain(*transition) {
                let below = self.configuration.iter();
                exits.extend(below.filter(|it| self.chart.is_descendant(**it, domain)));
            }
        }
        exits
    }

    fn exit_states(&mut self, enabled: &[Taken<'c>]) {
        let exits = self.compute_exit_set(enabled);
        for state in exits.iter().rev() {
            for history in self.chart.children(*state) {
                let Kind::History { deep, .. } = self.chart.states[history].kind else { continue };
                let is_kept = |it: &&usize| match deep {
                    true => {
                        self.chart.children(**it).is_empty()
                            && self.chart.is_descendant(**it, *state)
                    }
                    false => self.chart.states[**it].parent == *state,
                };
                let kept = self.configuration.iter().filter(is_kept).copied().collect();
                self.history_value.insert(history, kept);
            }
        }
        for state in exits.iter().rev() {
            self.run(&self.chart.states[*state].exit);
            self.configuration.remove(state);
        }
    }

    fn enter_states(&mut self, entry: Entry) {
        for state in entry.states {
            self.configuration.insert(state);
            let chart = self.chart;
            self.run(&chart.states[state].entry);
            if entry.for_default.contains(&state) {
                self.run(&chart.states[state].on_default);
            }
            for child in chart.children(state) {
                if entry.histories.contains(&child) {
                    self.run(&chart.states[child].on_default);
                }
            }
            let Kind::Final { fails } = chart.states[state].kind else { continue };
            let parent = chart.states[state].parent;
            if parent == 0 {
                self.ended = Some(fails);
                continue;
            }
            self.internal_queue.push_back(format!("done.state.{}", chart.path(parent)));
            let above = chart.states[parent].parent;
            if chart.states[above].kind == Kind::Parallel && self.is_in_final_state(above) {
                self.internal_queue.push_back(format!("done.state.{}", chart.path(above)));
            }
        }
    }

    fn is_in_final_state(&self, state: usize) -> bool {
        let is_final = |it: &usize| matches!(self.chart.states[*it].kind, Kind::Final { .. });
        let children = self.chart.children(state);
        match self.chart.states[state].kind {
            Kind::Compound { .. } => {
                children.iter().any(|it| is_final(it) && self.configuration.contains(it))
            }
            Kind::Parallel => children
                .iter()
                .filter(|it| !matches!(self.chart.states[**it].kind, Kind::History { .. }))
                .all(|it| self.is_in_final_state(*it)),
            _ => false,
        }
    }

    fn add_descendant_states_to_enter(&self, state: usize, entry: &mut Entry) {
        match &self.chart.states[state].kind {
            Kind::History { default, .. } => {
                let parent = self.chart.states[state].parent;
                let targets = match self.history_value.get(&state) {
                    Some(value) => value.clone(),
                    None => {
                        entry.histories.insert(state);
                        vec![*default]
                    }
                };
                targets.iter().for_each(|it| self.add_descendant_states_to_enter(*it, entry));
                targets.iter().for_each(|it| self.add_ancestor_states_to_enter(*it, parent, entry));
            }
            Kind::Compound { initial } => {
                entry.states.insert(state);
                entry.for_default.insert(state);
                self.add_descendant_states_to_enter(*initial, entry);
                self.add_ancestor_states_to_enter(*initial, state, entry);
            }
            Kind::Parallel => {
                entry.states.insert(state);
                self.add_regions(state, entry);
            }
            Kind::Atomic | Kind::Final { .. } => {
                entry.states.insert(state);
            }
        }
    }

    fn add_regions(&self, parallel: usize, entry: &mut Entry) {
        for child in self.chart.children(parallel) {
            let is_history = matches!(self.chart.states[child].kind, Kind::History { .. });
            let is_there = entry.states.iter().any(|it| self.chart.is_descendant(*it, child));
            if !is_history && !is_there {
                self.add_descendant_states_to_enter(child, entry);
            }
        }
    }

    fn add_ancestor_states_to_enter(&self, state: usize, ancestor: usize, entry: &mut Entry) {
        // `getProperAncestors(state1, state2)` is empty when both are the same.
        if state == ancestor {
            return;
        }
        let mut at = self.chart.states[state].parent;
        while at != ancestor && at != 0 {
            entry.states.insert(at);
            if self.chart.states[at].kind == Kind::Parallel {
                self.add_regions(at, entry);
            }
            at = self.chart.states[at].parent;
        }
    }

    fn effective_targets(&self, targets: &[usize]) -> Vec<usize> {
        let mut found = Vec::new();
        for target in targets {
            match &self.chart.states[*target].kind {
                Kind::History { default, .. } => match self.history_value.get(target) {
                    Some(value) => found.extend(value),
                    None => found.extend(self.effective_targets(&[*default])),
                },
                _ => found.push(*target),
            }
        }
        found
    }

    /// The least common compound ancestor, unless the source stays: by `reenter`, and without it
    /// when all targets stand below the source. An atomic source that stays changes nothing.
    fn transition_domain(&self, (source, transition): Taken<'c>) -> Option<usize> {
        let targets = self.effective_targets(&transition.targets);
        if targets.is_empty() {
            return None;
        }
        let all_below = |of: usize| targets.iter().all(|it| self.chart.is_descendant(*it, of));
        let below = all_below(source);
        let is_inside = below
            || targets.iter().all(|it| *it == source || self.chart.is_descendant(*it, source));
        if is_inside && !transition.reenter.unwrap_or(!below) {
            let has_children = self.chart.states[source].kind != Kind::Atomic;
            return has_children.then_some(source);
        }
        let mut at = self.chart.states[source].parent;
        loop {
            let is_compound = matches!(self.chart.states[at].kind, Kind::Compound { .. });
            if at == 0 || (is_compound && all_below(at)) {
                return Some(at);
            }
            at = self.chart.states[at].parent;
        }
    }

    fn run(&mut self, actions: &[Action]) {
        for action in actions {
            match action {
                Action::Mix(with) => self.n = mixed(self.n, *with),
                Action::Raise(event) => self.internal_queue.push_back((*event).to_string()),
            }
        }
    }
}
