//! Runs the test cases of a workflow on a virtual clock, with answers instead of an outside.
//!
//! [`run`] takes one case through the same steps as a durable run and compares what came of it with
//! what was expected; [`Coverage`] adds up which transitions and guards the cases reached.
//!
//! Rules of the virtual world:
//!
//! - Time passes only by `advance`, and never inside a step.
//! - A call ends when its mock says: at once, or after the `delay`; at its timeout if that is not
//!   later. An answer comes before a timer that is due at the same moment.
//! - Each answer of a list is given once, in the order of the calls; a call beyond them, or without
//!   a mock, fails the test. An answer lost in a crash is given to the next attempt: a peer that
//!   honours the key answers the same.
//! - A test may start in the middle: then its instances have another `initial`, and nothing else.
//! - After a crash the records, folded again, must give the same state.
//!
//! Reading order: [`world`] (the run), [`names`] (what a name stands for), [`activities`] (what ran
//! when), [`checks`] (expectations), [`coverage`].

mod activities;
mod checks;
mod coverage;
mod names;
mod recorded;
mod world;

use std::{cell::RefCell, collections::BTreeMap, fmt, sync::Arc};

use traaviis_model::{
    Call, Record, Span, TenantCtx, Text, Value,
    definition::{Definition, Expectations, Mock, TestCase, TestStepKind},
    record::TaskAct,
};

use crate::{Machine, simulate::ClassOf, step::GuardWatch};
pub use coverage::{CandidateCoverage, Coverage, Share};
use names::Names;
pub use recorded::{RecordError, Recorded, record};
use world::World;

/// What one test case came to.
#[derive(Clone, Debug)]
pub struct TestRun {
    /// What was not as expected; none when the test passed.
    pub findings: Vec<Finding>,
    /// History of the run, as far as it came.
    pub records: Vec<Record>,
    /// Virtual time from the start to the last record.
    pub elapsed: Span,
    /// How often each guard was true and false, by the pointer of its candidate.
    pub guards: BTreeMap<Text, GuardCounts>,
}

/// How often a guard was true and false.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuardCounts {
    /// Times it was true.
    pub when_true: u64,
    /// Times it was false, or could not be evaluated.
    pub when_false: u64,
}

impl TestRun {
    /// Says whether everything was as expected.
    pub fn is_passed(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Something that was not as expected.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Place in the document of what was expected.
    pub pointer: Text,
    /// What was expected.
    pub expected: String,
    /// What was there.
    pub found: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}, found {}", self.expected, self.found)
    }
}

impl Finding {
    fn new(
        pointer: impl Into<Text>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Finding {
        Finding { pointer: pointer.into(), expected: expected.into(), found: found.into() }
    }
}

/// Counts how guards come out.
#[derive(Default)]
struct Counter(RefCell<BTreeMap<Text, GuardCounts>>);

impl GuardWatch for Counter {
    fn guard(&self, candidate: &Text, is_true: bool) {
        let mut counts = self.0.borrow_mut();
        let counts = counts.entry(candidate.clone()).or_default();
        match is_true {
            true => counts.when_true += 1,
            false => counts.when_false += 1,
        }
    }
}

/// Runs a test case of the machine's document. `class` judges calls that a crash interrupts.
pub fn run(machine: &Machine, ctx: &TenantCtx, test: &TestCase, class: &ClassOf<'_>) -> TestRun {
    match begins_at(machine, test) {
        Ok(Some(other)) => run_in(&other, ctx, test, class),
        Ok(None) => run_in(machine, ctx, test, class),
        Err(finding) => TestRun {
            findings: vec![finding],
            records: Vec::new(),
            elapsed: Span(0),
            guards: BTreeMap::new(),
        },
    }
}

/// Returns the machine whose instances start where the test says; none for that of the document.
fn begins_at(machine: &Machine, test: &TestCase) -> Result<Option<Machine>, Finding> {
    if test.start.is_empty() {
        return Ok(None);
    }
    let mut definition = Definition::clone(machine.definition());
    definition.initial = test.start.clone();
    Machine::compile(Arc::new(definition)).map(Some).map_err(|found| {
        // All else was compiled before, so each finding is about where it starts.
        let found: Vec<String> = found.into_iter().map(|it| it.message).collect();
        let pointer = format!("{}/start", test.pointer);
        Finding::new(pointer, "a state to start in", found.join("; "))
    })
}

/// Returns the names of a call by which a mock can stand in for it, most exact first.
pub fn names_of_call(machine: &Machine, call: &Call) -> Vec<Text> {
    names::names_of_call(machine, call)
}

/// Finds the mocks whose names stand for nothing in the machine's document.
pub fn unknown_mocks(machine: &Machine, mocks: &[Mock]) -> Vec<Finding> {
    let test = TestCase {
        name: "".into(),
        start: Vec::new(),
        input: Value::Null,
        by: None,
        mocks: mocks.to_vec(),
        steps: Vec::new(),
        expect: Expectations::default(),
        pointer: "".into(),
    };
    Names::of(machine).unknown_in(&test)
}

fn run_in(machine: &Machine, ctx: &TenantCtx, test: &TestCase, class: &ClassOf<'_>) -> TestRun {
    let counter = Counter::default();
    let names = Names::of(machine);
    let mut findings = names.unknown_in(test);
    let mut records = Vec::new();
    match World::start(machine, ctx, test, &counter) {
        Err(finding) => findings.push(finding),
        Ok(mut world) => {
            let stopped = steps(&mut world, test, class).err();
            records = world.records().to_vec();
            match stopped {
                Some(finding) => findings.push(finding),
                None => checks::check(machine, &test.expect, world.run(), &mut findings),
            }
        }
    }
    let elapsed = match (records.first(), records.last()) {
        (Some(first), Some(last)) => last.header.at.since(first.header.at),
        _ => Span(0),
    };
    TestRun { findings, records, elapsed, guards: counter.0.into_inner() }
}

/// Takes the steps; the first that cannot be taken ends the test.
fn steps(world: &mut World<'_>, test: &TestCase, class: &ClassOf<'_>) -> Result<(), Finding> {
    world.advance(Span(0), &test.pointer)?;
    for step in &test.steps {
        match &step.kind {
            TestStepKind::Send { event, data, refused } => {
                world.send(event, data, refused.as_ref(), &step.pointer)?;
            }
            TestStepKind::CompleteTask { task, outcome, form, comment, by, refused } => {
                let act = TaskAct::Decide {
                    outcome: outcome.clone(),
                    form: form.clone(),
                    comment: comment.clone(),
                };
                let by = world::person(by.as_ref());
                world.act_on_task(task, act, by, refused.as_ref(), &step.pointer)?;
            }
            TestStepKind::Resolve { effect, answer, refused } => {
                world.resolve(effect, answer, refused.as_ref(), &step.pointer)?;
            }
            TestStepKind::Advance(span) => world.advance(*span, &step.pointer)?,
            TestStepKind::Crash => world.crash(class, &step.pointer)?,
        }
        world.advance(Span(0), &step.pointer)?;
    }
    Ok(())
}
