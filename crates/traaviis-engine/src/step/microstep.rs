//! Takes the selected candidates: exits, actions, entries, in SCXML's order.

use smallvec::SmallVec;
use traaviis_model::{
    Body, Text, Texts, Value,
    definition::FinalStatus,
    limits,
    record::{Status, TimerKind},
};

use crate::{
    machine::{Candidate, Kind, Machine, StateFlags, StateId, StateIds},
    step::{Candidates, InternalEvent, Origin, Rejection, Run},
};

/// The states that a microstep enters.
struct Entry {
    /// By state.
    is_entered: StateFlags,
    /// Compound and history states whose defaults are followed.
    defaults: Vec<StateId>,
}

impl Entry {
    fn none(machine: &Machine) -> Entry {
        Entry {
            is_entered: StateFlags::from_elem(false, machine.states.len()),
            defaults: Vec::new(),
        }
    }

    /// Returns the states in document order.
    fn states(&self) -> StateIds {
        (1..self.is_entered.len()).filter(|state| self.is_entered[*state]).collect()
    }
}

impl<'m> Run<'m> {
    /// Runs eventless and internal work until the instance rests, then begins invokes, and again.
    pub(crate) fn settle(&mut self) {
        loop {
            while self.fault.is_none() && !self.is_ended() {
                let selection = self.select_noting_errors(None);
                if !selection.is_empty() {
                    self.microstep(&selection);
                    continue;
                }
                let Some(event) = self.queue.pop_front() else { break };
                self.internal(event);
            }
            if self.fault.is_some() || self.is_ended() {
                return;
            }
            if !self.to_invoke.is_empty() {
                self.begin_invokes();
            } else if !self.recall_deferred() {
                return;
            }
        }
    }

    /// Says whether no transition can follow.
    pub(crate) fn is_ended(&self) -> bool {
        self.snapshot.status.is_finished() || self.snapshot.status == Status::Completing
    }

    /// Selects with `self.event` set to the event, and tells guard errors.
    pub(crate) fn select_noting_errors(&mut self, event: Option<InternalEvent>) -> Candidates<'m> {
        if event.is_some() {
            self.event = event;
            let selection = self.select(self.event.as_ref());
            self.tell(selection)
        } else {
            let selection = self.select(None);
            self.tell(selection)
        }
    }

    fn tell(&mut self, selection: super::select::Selection<'m>) -> Candidates<'m> {
        for (error, pointer, state) in selection.errors {
            self.told_errors.push(pointer.clone());
            self.expression_failed(&error, &pointer, state);
        }
        selection.candidates
    }

    /// Processes one internal event.
    pub(crate) fn internal(&mut self, event: InternalEvent) {
        if event.origin == Origin::Fatal {
            return self.end_unhandled(&event);
        }
        let selection = self.select_noting_errors(Some(event));
        if !selection.is_empty() {
            self.microstep(&selection);
            return;
        }
        let Some(event) = self.event.clone() else { return };
        // The error of a tree whose state was left meanwhile is nobody's.
        if let Origin::Failed(state, _) = event.origin
            && !self.active[state]
        {
            return;
        }
        if event.name.starts_with("error.") || &*event.name == "budget.exceeded" {
            self.unhandled_error(&event);
        }
    }

    /// Takes candidates; the caller has checked that they do not conflict.
    pub(crate) fn microstep(&mut self, candidates: &[&'m Candidate]) {
        self.microsteps += 1;
        if self.microsteps as usize > limits::MICROSTEPS_MAX {
            self.fault.get_or_insert(Rejection::new(
                "macrostep_overrun",
                format!(
                    "the step did not come to rest within {} microsteps",
                    limits::MICROSTEPS_MAX
                ),
            ));
            return;
        }
        // Settled before anything is left: what a history remembers from now on is another target.
        let domains: SmallVec<[Option<StateId>; 4]> =
            candidates.iter().map(|it| self.domain(it)).collect();
        let mut exits: StateIds =
            domains.iter().flatten().flat_map(|it| self.active_below(*it)).collect();
        exits.sort_unstable();
        exits.dedup();
        exits.reverse();
        self.leaving = self.remember(&exits);
        let entry = self.entry_set(candidates, &domains);
        let remembered = std::mem::take(&mut self.leaving);
        let mut entries = entry.states();
        self.defaults = entry.defaults;
        // A state that stays active is not entered: a self target without `reenter`.
        entries.retain(|state| !self.active[*state] || exits.contains(state));
        self.change_configuration(exits, entries, candidates, remembered);
    }

    /// Leaves states, runs the actions of candidates, enters states.
    pub(super) fn change_configuration(
        &mut self,
        exits: StateIds,
        entries: StateIds,
        candidates: &[&'m Candidate],
        remembered: Vec<(Text, Vec<Text>)>,
    ) {
        let from = self.snapshot.configuration.clone();
        let mut after = self.active.clone();
        exits.iter().for_each(|state| after[*state] = false);
        entries.iter().for_each(|state| after[*state] = true);
        let to = leaves(self.machine, &after);
        let path = |state: &StateId| self.machine.states[*state].path.clone();
        self.configuration_changed |= from != to || !exits.is_empty() || !entries.is_empty();
        self.emit(Body::Transition {
            from,
            to,
            event: self.event.as_ref().map(|event| event.name.clone()),
            candidates: candidates.iter().map(|it| it.pointer.clone()).collect(),
            guards: candidates
                .iter()
                .filter_map(|it| Some(it.guard.as_ref()?.source().clone()))
                .collect(),
            exited: exits.iter().map(path).collect(),
            entered: entries.iter().map(path).collect(),
            remembered,
            microstep: self.microsteps,
        });
        for state in exits {
            self.exit(state);
        }
        for candidate in candidates {
            self.act(&candidate.actions, candidate.source);
        }
        for state in entries {
            self.enter(state);
        }
        self.defaults.clear();
    }

    /// Leaves a state: exit actions, then its timers and effects.
    pub(crate) fn exit(&mut self, state: StateId) {
        let def = &self.machine.states[state];
        self.act(&def.exit, state);
        self.active[state] = false;
        self.to_invoke.retain(|it| *it != state);
        if !def.after.is_empty() {
            self.cancel_timers(
                |kind| matches!(kind, TimerKind::After { state, .. } if *state == def.path),
            );
        }
        if !def.invoke.is_empty() {
            self.leave_trees(&def.path);
        }
    }

    fn enter(&mut self, state: StateId) {
        if self.is_ended() {
            return;
        }
        let def = &self.machine.states[state];
        self.active[state] = true;
        self.start_timers(state);
        self.act(&def.entry, state);
        self.act_on_default(state);
        if !def.invoke.is_empty() {
            self.to_invoke.push(state);
        }
        if let Kind::Final { status, output } = &def.kind {
            let output = match self.render_or_null(output.as_ref()) {
                Ok(output) => output,
                Err(error) => {
                    let pointer = format!("{}/output", def.path).into();
                    self.expression_failed(&error, &pointer, state);
                    Value::Null
                }
            };
            self.reached_final(state, *status, output);
        }
    }

    /// Sets the timers of a state.
    pub(crate) fn start_timers(&mut self, state: StateId) {
        let def = &self.machine.states[state];
        for (index, after) in def.after.iter().enumerate() {
            match self.span(&after.delay) {
                Ok(span) => {
                    let kind = TimerKind::After { state: def.path.clone(), index: index as u32 };
                    self.schedule(span, kind, Value::Null);
                }
                Err(error) => self.expression_failed(&error, &after.pointer, state),
            }
        }
    }

    /// Runs the actions of `initial`, and of a history that remembers nothing, where this entry
    /// follows them.
    fn act_on_default(&mut self, state: StateId) {
        let machine = self.machine;
        if self.defaults.contains(&state) {
            self.act(&machine.states[state].on_default, state);
        }
        for child in &machine.states[state].children {
            let is_history = matches!(machine.states[*child].kind, Kind::History { .. });
            if is_history && self.defaults.contains(child) {
                self.act(&machine.states[*child].on_default, state);
            }
        }
    }

    fn reached_final(&mut self, state: StateId, status: FinalStatus, output: Value) {
        let parent = self.machine.states[state].parent;
        if parent == 0 {
            let output = match (&output, &self.machine.output) {
                (Value::Null, Some(template)) => self.render(template).unwrap_or_default(),
                _ => output,
            };
            let status = match status {
                FinalStatus::Completed => Status::Completed,
                FinalStatus::Failed => Status::Failed,
                FinalStatus::Compensated => Status::Compensated,
                FinalStatus::Cancelled => Status::Cancelled,
            };
            self.end(status, output, None);
            return;
        }
        self.raise_done(parent, output);
        let above = self.machine.states[parent].parent;
        if matches!(self.machine.states[above].kind, Kind::Parallel) && self.is_done(above) {
            self.raise_done(above, Value::Null);
        }
    }

    fn raise_done(&mut self, state: StateId, data: Value) {
        let name = format!("done.state.{}", self.machine.states[state].path);
        self.queue.push_back(InternalEvent::internal(name, data, Origin::State(state)));
    }

    /// Says whether a compound state's child, or all regions of a parallel one, are final.
    fn is_done(&self, state: StateId) -> bool {
        let def = &self.machine.states[state];
        match &def.kind {
            Kind::Compound { .. } => def.children.iter().any(|child| {
                self.active[*child]
                    && matches!(self.machine.states[*child].kind, Kind::Final { .. })
            }),
            Kind::Parallel => def
                .children
                .iter()
                .filter(|child| !matches!(self.machine.states[**child].kind, Kind::History { .. }))
                .all(|child| self.is_done(*child)),
            _ => false,
        }
    }

    /// Returns what the history states of the exited states will remember.
    pub(super) fn remember(&self, exits: &[StateId]) -> Vec<(Text, Vec<Text>)> {
        let mut remembered = Vec::new();
        for state in exits {
            for child in &self.machine.states[*state].children {
                let Kind::History { deep, .. } = self.machine.states[*child].kind else { continue };
                let kept = (*state + 1..=self.machine.states[*state].last)
                    .filter(|it| self.active[*it])
                    .filter(|it| {
                        if deep {
                            self.machine.states[*it].children.is_empty()
                        } else {
                            self.machine.states[*it].parent == *state
                        }
                    })
                    .map(|it| self.machine.states[it].path.clone())
                    .collect();
                remembered.push((self.machine.states[*child].path.clone(), kept));
            }
        }
        remembered
    }

    /// Returns the states that candidates enter, each below its domain.
    fn entry_set(&self, candidates: &[&Candidate], domains: &[Option<StateId>]) -> Entry {
        let mut entry = Entry::none(self.machine);
        for (candidate, domain) in candidates.iter().zip(domains) {
            let Some(targets) = &candidate.targets else { continue };
            let Some(domain) = domain else { continue };
            self.add_targets(targets, *domain, &mut entry);
        }
        entry
    }

    /// Returns the states that are active when exactly `targets` are asked for.
    pub(crate) fn initial_set(&self, targets: &[StateId]) -> StateIds {
        self.initial_entry(targets).states()
    }

    fn initial_entry(&self, targets: &[StateId]) -> Entry {
        let mut entry = Entry::none(self.machine);
        self.add_targets(targets, 0, &mut entry);
        entry
    }

    fn add_targets(&self, targets: &[StateId], domain: StateId, entry: &mut Entry) {
        let effective = self.effective_targets(targets);
        for target in targets {
            self.add_descendants(*target, entry);
        }
        for target in effective.iter() {
            self.add_ancestors(*target, domain, entry);
        }
    }

    fn add_descendants(&self, state: StateId, entry: &mut Entry) {
        let def = &self.machine.states[state];
        match &def.kind {
            Kind::History { target, .. } => {
                let remembered = self.remembered(state);
                let targets = if remembered.is_empty() {
                    entry.defaults.push(state);
                    target.clone()
                } else {
                    remembered
                };
                targets.iter().for_each(|it| self.add_descendants(*it, entry));
                targets.iter().for_each(|it| self.add_ancestors(*it, def.parent, entry));
            }
            Kind::Compound { initial } => {
                entry.is_entered[state] = true;
                if def.children.iter().any(|child| entry.is_entered[*child]) {
                    return;
                }
                entry.defaults.push(state);
                initial.iter().for_each(|it| self.add_descendants(*it, entry));
                initial.iter().for_each(|it| self.add_ancestors(*it, state, entry));
            }
            Kind::Parallel => {
                entry.is_entered[state] = true;
                self.add_regions(state, entry);
            }
            Kind::Atomic | Kind::Final { .. } => entry.is_entered[state] = true,
        }
    }

    fn add_regions(&self, parallel: StateId, entry: &mut Entry) {
        for child in &self.machine.states[parallel].children {
            let is_history = matches!(self.machine.states[*child].kind, Kind::History { .. });
            let entered =
                (*child..=self.machine.states[*child].last).any(|it| entry.is_entered[it]);
            if !is_history && !entered {
                self.add_descendants(*child, entry);
            }
        }
    }

    /// Enters what stands between a target and the domain. A source that targets itself and stays
    /// (`reenter: false`) is its own domain: nothing stands between, and nothing above is entered.
    fn add_ancestors(&self, state: StateId, domain: StateId, entry: &mut Entry) {
        if state == domain {
            return;
        }
        let mut at = self.machine.states[state].parent;
        while at != domain && at != 0 {
            entry.is_entered[at] = true;
            if matches!(self.machine.states[at].kind, Kind::Parallel) {
                self.add_regions(at, entry);
            }
            at = self.machine.states[at].parent;
        }
        // An active parallel domain keeps its other regions; only what is left is entered again.
        if at == domain && matches!(self.machine.states[domain].kind, Kind::Parallel) {
            self.add_regions(domain, entry);
        }
    }

    /// Enters the initial configuration.
    pub(crate) fn enter_initial(&mut self) {
        let Kind::Compound { initial } = &self.machine.states[0].kind else { return };
        let entry = self.initial_entry(initial);
        self.microsteps += 1;
        let entries = entry.states();
        self.defaults = entry.defaults;
        self.change_configuration(StateIds::new(), entries, &[], Vec::new());
    }

    /// Leaves every state, as when the instance is called off.
    pub(crate) fn exit_all(&mut self) {
        let exits: StateIds = (1..self.active.len()).rev().filter(|it| self.active[*it]).collect();
        if exits.is_empty() {
            return;
        }
        self.event = None;
        self.microsteps += 1;
        let remembered = self.remember(&exits);
        self.change_configuration(exits, StateIds::new(), &[], remembered);
    }
}

/// Returns the paths of active states without active children, in document order.
fn leaves(machine: &Machine, active: &[bool]) -> Texts {
    (1..active.len())
        .filter(|state| {
            active[*state] && !machine.states[*state].children.iter().any(|it| active[*it])
        })
        .map(|state| machine.states[state].path.clone())
        .collect()
}
