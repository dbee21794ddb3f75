//! Test cases that travel with a workflow: what is given, what happens, what must come out.
//!
//! They decide nothing at run time, but are part of the document and so of its hash.

use super::Pointer;
use crate::{
    budget::BudgetKind, effect_error::EffectError, ids::Text, record::Status, time::Span,
    value::Value,
};

/// One test case of a workflow.
#[derive(Clone, Debug)]
pub struct TestCase {
    /// Name, unique among the tests of the document.
    pub name: Text,
    /// Paths of the states in which the instance starts; none for `initial`.
    pub start: Vec<Text>,
    /// Start input.
    pub input: Value,
    /// Name of the person who starts the instance; none for nobody in particular.
    pub by: Option<Text>,
    /// What stands in for calls to the outside.
    pub mocks: Vec<Mock>,
    /// What happens after the start, in order.
    pub steps: Vec<TestStep>,
    /// What must be so in the end.
    pub expect: Expectations,
    /// Place.
    pub pointer: Pointer,
}

/// Stands in for the calls of one name.
#[derive(Clone, Debug)]
pub struct Mock {
    /// Path or id of an effect, or a function.
    pub name: Text,
    /// Answers, in the order of the calls.
    pub answers: Vec<MockAnswer>,
    /// The only answer is given to every call, instead of each to one.
    pub is_endless: bool,
    /// Place.
    pub pointer: Pointer,
}

/// How a call ends.
#[derive(Clone, Debug)]
pub struct MockAnswer {
    /// Value or error.
    pub outcome: Result<Value, EffectError>,
    /// Virtual time that the call takes.
    pub delay: Span,
}

/// One thing that happens in a test.
#[derive(Clone, Debug)]
pub struct TestStep {
    /// What happens.
    pub kind: TestStepKind,
    /// Place.
    pub pointer: Pointer,
}

/// The kinds of things that happen in a test.
#[derive(Clone, Debug)]
pub enum TestStepKind {
    /// A caller sends an event.
    Send {
        /// Name.
        event: Text,
        /// Payload.
        data: Value,
        /// Code with which the event must be refused; none when it must be taken.
        refused: Option<Text>,
    },
    /// A person answers a task.
    CompleteTask {
        /// Path or id of its effect.
        task: Text,
        /// The answer.
        outcome: Text,
        /// What its form asks for.
        form: Value,
        /// For others to read.
        comment: Option<Text>,
        /// Name of the person; none for nobody in particular.
        by: Option<Text>,
        /// Code with which the answer must be refused; none when it must be taken.
        refused: Option<Text>,
    },
    /// A person answers an incident.
    Resolve {
        /// Path or id of the effect that the incident is about.
        effect: Text,
        /// The answer.
        answer: IncidentAnswer,
        /// Code with which the answer must be refused; none when it must be taken.
        refused: Option<Text>,
    },
    /// Time passes.
    Advance(Span),
    /// The process dies and starts again.
    Crash,
}

/// How a person answers an incident.
#[derive(Clone, Debug)]
pub enum IncidentAnswer {
    /// The call happened, and gave this value.
    Happened(Value),
    /// It is tried again.
    Retry,
    /// It counts as failed.
    Fail,
}

/// What must be so after the last step. Names are those of [`Mock::name`].
#[derive(Clone, Debug, Default)]
pub struct Expectations {
    /// Paths of states that are active.
    pub state: Vec<Text>,
    /// How the instance stands.
    pub status: Option<Status>,
    /// Part of the data.
    pub data: Option<Value>,
    /// Part of the output.
    pub output: Option<Value>,
    /// How often each name was called, every attempt counted.
    pub called: Vec<(Text, u64)>,
    /// Names that were never called.
    pub not_called: Vec<Text>,
    /// Names called in this order, with anything between.
    pub order: Vec<Text>,
    /// Groups of names that ran at the same moment.
    pub overlap: Vec<Vec<Text>>,
    /// Virtual time from the start to the last record, at least.
    pub min_virtual_delay: Option<Span>,
    /// The same, at most.
    pub max_virtual_delay: Option<Span>,
    /// Events emitted in this order, with anything between.
    pub emitted: Vec<ExpectedEvent>,
    /// What budgets must have come to.
    pub budgets: Vec<ExpectedBudget>,
    /// Kinds of the incidents that are open, each as often as it is named.
    pub incidents: Option<Vec<Text>>,
    /// What the run may have cost at most, in millionths of a US dollar.
    pub max_usd_micros: Option<u64>,
    /// Place.
    pub pointer: Pointer,
}

/// What a budget must have come to.
#[derive(Clone, Debug)]
pub struct ExpectedBudget {
    /// `run`, the path of a state, or the path of an effect.
    pub place: Text,
    /// Amounts that were spent; only those that are named count.
    pub spent: Vec<(BudgetKind, u64)>,
    /// Amounts that running attempts hold.
    pub reserved: Vec<(BudgetKind, u64)>,
    /// Place.
    pub pointer: Pointer,
}

/// An event that must have been emitted.
#[derive(Clone, Debug)]
pub struct ExpectedEvent {
    /// Name.
    pub event: Text,
    /// Part of the payload.
    pub data: Option<Value>,
    /// Subject.
    pub subject: Option<Text>,
}
