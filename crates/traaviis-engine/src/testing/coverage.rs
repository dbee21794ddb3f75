//! Which transitions were taken, and which guards were both true and false, over all tests of a
//! document.

use std::collections::BTreeMap;

use traaviis_model::{Body, Text};

use super::{GuardCounts, TestRun};
use crate::{
    Machine,
    machine::{Candidate, Descriptor, StateDef},
};

/// What the tests of a document reached.
#[derive(Clone, Debug)]
pub struct Coverage {
    /// Every candidate of the document, by state.
    pub candidates: Vec<CandidateCoverage>,
    places: BTreeMap<Text, usize>,
}

/// What the tests reached of one candidate.
#[derive(Clone, Debug)]
pub struct CandidateCoverage {
    /// Place in the document.
    pub pointer: Text,
    /// What it is: state, what it waits for, target.
    pub name: String,
    /// Times it was taken.
    pub taken: u64,
    /// Its guard, and how that came out.
    pub guard: Option<(Text, GuardCounts)>,
}

/// So many of so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Reached.
    pub covered: usize,
    /// There are.
    pub total: usize,
}

impl Share {
    /// Returns whole percent, rounded down; everything of nothing is 100.
    pub fn percent(self) -> usize {
        (self.covered * 100).checked_div(self.total).unwrap_or(100)
    }
}

impl Coverage {
    /// Returns the candidates of a machine, none reached.
    pub fn of(machine: &Machine) -> Coverage {
        let mut coverage = Coverage { candidates: Vec::new(), places: BTreeMap::new() };
        for state in machine.states.iter().skip(1) {
            coverage.state(machine, state);
        }
        coverage
    }

    fn state(&mut self, machine: &Machine, state: &StateDef) {
        for (descriptor, candidates) in &state.on {
            let event = match descriptor {
                Descriptor::Exact(name) => name.to_string(),
                Descriptor::Prefix(prefix) => format!("{prefix}.*"),
                Descriptor::Any => "*".into(),
            };
            self.add(machine, &format!("on {event}"), candidates);
        }
        self.add(machine, "always", &state.always);
        for after in &state.after {
            self.add(machine, "after", &after.candidates);
        }
        for invoke in &state.invoke {
            self.add(machine, &format!("onDone of {}", invoke.id), &invoke.on_done);
            self.add(machine, &format!("onError of {}", invoke.id), &invoke.on_error);
        }
        self.add(machine, "onDone", &state.on_done);
        self.add(machine, "onError", &state.on_error);
    }

    fn add(&mut self, machine: &Machine, trigger: &str, candidates: &[Candidate]) {
        for candidate in candidates {
            let path = |state: &usize| &*machine.states[*state].path;
            let targets: Option<Vec<&str>> =
                candidate.targets.as_ref().map(|it| it.iter().map(path).collect());
            let source = path(&candidate.source);
            let name = match targets {
                Some(targets) => format!("{source}: {trigger} → {}", targets.join(", ")),
                None => format!("{source}: {trigger}"),
            };
            self.places.insert(candidate.pointer.clone(), self.candidates.len());
            self.candidates.push(CandidateCoverage {
                pointer: candidate.pointer.clone(),
                name,
                taken: 0,
                guard: candidate
                    .guard
                    .as_ref()
                    .map(|it| (it.source().clone(), GuardCounts::default())),
            });
        }
    }

    /// Adds what a test reached.
    pub fn add_run(&mut self, run: &TestRun) {
        for record in &run.records {
            let Body::Transition { candidates, .. } = &record.body else { continue };
            for pointer in candidates {
                if let Some(at) = self.places.get(pointer) {
                    self.candidates[*at].taken += 1;
                }
            }
        }
        for (pointer, counts) in &run.guards {
            let found = self.places.get(pointer).map(|at| &mut self.candidates[*at]);
            if let Some((_, sum)) = found.and_then(|it| it.guard.as_mut()) {
                sum.when_true += counts.when_true;
                sum.when_false += counts.when_false;
            }
        }
    }

    /// Returns how many candidates were taken.
    pub fn transitions(&self) -> Share {
        let covered = self.candidates.iter().filter(|it| it.taken > 0).count();
        Share { covered, total: self.candidates.len() }
    }

    /// Returns how many outcomes of guards came up: two of each guard.
    pub fn guard_outcomes(&self) -> Share {
        let guards: Vec<GuardCounts> =
            self.candidates.iter().filter_map(|it| Some(it.guard.as_ref()?.1)).collect();
        let reached =
            |it: &GuardCounts| usize::from(it.when_true > 0) + usize::from(it.when_false > 0);
        Share { covered: guards.iter().map(reached).sum(), total: 2 * guards.len() }
    }
}
