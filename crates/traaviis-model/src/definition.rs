//! The typed document of one workflow version, as read from YAML or JSON.
//!
//! Types mirror the language chapter by chapter; nothing is resolved or compiled here. Every part
//! that can be wrong later carries its JSON pointer ([`Pointer`]), so that the engine's compiler
//! can name the place. Expressions and templates are kept as written.

mod hook;
mod migration;
mod plugin;
mod retention;
mod subscription;
mod test_case;

use std::collections::{BTreeMap, BTreeSet};

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::{
    budget::Limits,
    grant::Grant,
    ids::{DefinitionHash, Text},
    permission::Permission,
    privacy::{PiiType, Redact},
    time::Span,
    value::{Map, Value},
};

pub use hook::{Hook, Verify};
pub use migration::{EffectsPolicy, Migration, TimersPolicy};
pub use plugin::Plugin;
pub use retention::Retention;
pub use subscription::{Listener, Manual, Publisher, Subscription};
pub use test_case::{
    Expectations, ExpectedBudget, ExpectedEvent, IncidentAnswer, Mock, MockAnswer, TestCase,
    TestStep, TestStepKind,
};

/// JSON pointer into the document as written.
pub type Pointer = Text;

/// One version of one workflow.
#[derive(Clone, Debug)]
pub struct Definition {
    /// SHA-256 over the canonical JSON; identity of the version.
    pub hash: DefinitionHash,
    /// The whole document as JSON (what is stored and hashed; `x-` keys and `layout` included).
    pub document: Value,
    /// Name, unique in a tenant without regard to case.
    pub name: Text,
    /// Version; a published (name, version) never changes.
    pub version: Version,
    /// Title for people.
    pub title: Option<Text>,
    /// Words that instances are found by.
    pub tags: BTreeSet<Text>,
    /// Facts about its instances for people, by name.
    pub labels: BTreeMap<Text, Value>,
    /// JSON Schema of the start input.
    pub input_schema: Option<Value>,
    /// JSON Schema of the instance data, checked after every step.
    pub data_schema: Option<Value>,
    /// Template over `input` for the first data.
    pub data_initial: Option<Value>,
    /// Template for the output when the final state gives none.
    pub output: Option<Value>,
    /// Declared events in document order.
    pub events: Vec<EventDeclaration>,
    /// What happens to a declared event that nothing accepts.
    pub unhandled: Unhandled,
    /// Where an instance starts: paths below the root.
    pub initial: Vec<Text>,
    /// Top states in document order.
    pub states: Vec<State>,
    /// Checks before each external event.
    pub validations: Vec<Validation>,
    /// Named effect trees for `use`, in document order.
    pub effects: Vec<NamedEffect>,
    /// Fate of the instance when an error event finds no transition.
    pub errors_unhandled: ErrorsUnhandled,
    /// Settings of effects that do not set their own.
    pub defaults: EffectDefaults,
    /// What one run may spend.
    pub budgets: Option<Budgets>,
    /// What may be reached beside the names that the document spells out: `permissions`.
    pub grant: Grant,
    /// Who watches what was decided.
    pub plugins: Vec<Plugin>,
    /// Business key: CEL over `input`.
    pub correlation: Option<Correlation>,
    /// The person whom an instance is about: CEL over `input`.
    pub subject: Option<Subject>,
    /// How instances of older versions go on with this one, in order of precedence.
    pub migrations: Vec<Migration>,
    /// Times at which instances start by themselves.
    pub schedules: Vec<Schedule>,
    /// Events of others that start instances.
    pub listeners: Vec<Listener>,
    /// What others send over HTTP starts instances, or arrives at them.
    pub hooks: Vec<Hook>,
    /// What a run begins with that somebody begins without an input.
    pub manual: Option<Manual>,
    /// Events of others that arrive at open instances.
    pub subscriptions: Vec<Subscription>,
    /// How long ended instances stay.
    pub retention: Retention,
    /// Warnings that the author has answered.
    pub waivers: Waivers,
    /// Test cases; nothing at run time.
    pub tests: Vec<TestCase>,
}

/// A trigger of type `schedule`.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// What the author wrote, in the keys of the input of the workflow `Schedule`, which carries
    /// it out.
    pub input: Map,
    /// Its place in the document.
    pub pointer: Pointer,
}

/// Warnings that need no repair, each with the reason: `x-waive` on the document or on a state.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Waivers(BTreeMap<(Pointer, Text), Text>);

impl Waivers {
    /// Codes that can be waived: those that this release finds.
    pub const CODES: &[&str] = &[
        "W190", "W201", "W202", "W203", "W204", "W205", "W206", "W207", "W208", "W209", "W210",
        "W211",
    ];

    /// Keeps a waiver for everything at and below `scope`.
    pub fn insert(&mut self, scope: Pointer, code: Text, reason: Text) {
        self.0.insert((scope, code), reason);
    }

    /// Returns why findings with this code are accepted at `pointer`; none when they are not.
    pub fn reason(&self, code: &str, pointer: &str) -> Option<&Text> {
        if self.0.is_empty() {
            return None;
        }
        let ends = pointer.match_indices('/').map(|(at, _)| at).chain([pointer.len()]);
        ends.map(|end| (Pointer::from(&pointer[..end]), Text::from(code)))
            .find_map(|key| self.0.get(&key))
    }
}

/// An effect tree with a name.
#[derive(Clone, Debug)]
pub struct NamedEffect {
    /// Name for `use`.
    pub name: Text,
    /// The tree; its templates may read `param`.
    pub effect: Effect,
}

/// Business key of instances.
#[derive(Clone, Debug)]
pub struct Correlation {
    /// CEL over `input`.
    pub key: Text,
    /// At most one open instance per key.
    pub unique: bool,
    /// Place of the expression.
    pub pointer: Pointer,
}

/// The person whom an instance is about.
#[derive(Clone, Debug)]
pub struct Subject {
    /// CEL over `input`.
    pub key: Text,
    /// Place of the expression.
    pub pointer: Pointer,
}

/// What may be spent, and what follows when that is not enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// Limits.
    pub limits: Limits,
    /// What follows.
    pub on_exceeded: OnExceeded,
}

/// What follows when an attempt does not fit a budget; it is not begun in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnExceeded {
    /// The effect fails, and `budget.exceeded` is raised.
    #[default]
    Event,
    /// The instance fails.
    Fail,
    /// The instance is paused; who resumes it grants the limits once more.
    Pause,
}

/// Policy for a declared event without a candidate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unhandled {
    /// Refuse with the events accepted now.
    #[default]
    Reject,
    /// Record as ignored.
    Ignore,
    /// Keep and offer again after each state change.
    Defer,
}

/// Policy for an error event without a transition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ErrorsUnhandled {
    /// The instance fails.
    #[default]
    Fail,
    /// The instance waits for a person.
    Incident,
    /// The event is dropped; what caused it stands in the history.
    Ignore,
}

/// A declared event, or a family of them.
#[derive(Clone, Debug)]
pub struct EventDeclaration {
    /// Name; `prefix.*` stands for the prefix and every name below it, `*` for every name.
    pub name: Text,
    /// JSON Schema of the payload.
    pub schema: Option<Value>,
    /// Only the workflow itself may raise it.
    pub internal: bool,
    /// The payload is shallow-merged into `data` before selection.
    pub merge: bool,
    /// Personal data in the payload, by JSON pointer; none stands for `auto`.
    pub pii: Vec<(Text, Option<PiiType>)>,
    /// What a caller needs to send it, beside the right to send events at all.
    pub requires: Vec<Permission>,
    /// How long its deduplication ids are remembered.
    pub dedup_window: Option<Span>,
    /// Place.
    pub pointer: Pointer,
}

/// A check before an external event is taken.
#[derive(Clone, Debug)]
pub struct Validation {
    /// Name for the answer.
    pub name: Text,
    /// Event descriptors; empty means all external events.
    pub events: Vec<Text>,
    /// CEL.
    pub check: Text,
    /// Template for the answer.
    pub message: Value,
    /// Stable code for the answer.
    pub code: Option<Text>,
    /// Place.
    pub pointer: Pointer,
}

/// A state and what stands below it.
#[derive(Clone, Debug)]
pub struct State {
    /// Name, without its parents.
    pub name: Text,
    /// Stable identity, for diffs and migrations; stays when the state is renamed or moved.
    pub id: Option<Text>,
    /// Kind, with what only that kind has.
    pub kind: StateKind,
    /// Candidates by event descriptor, in document order.
    pub on: Vec<(Text, Vec<Candidate>)>,
    /// Eventless candidates.
    pub always: Vec<Candidate>,
    /// Timers that start on entry.
    pub after: Vec<After>,
    /// Actions on entry.
    pub entry: Vec<Action>,
    /// Actions on exit.
    pub exit: Vec<Action>,
    /// Effects that run while the state is active.
    pub invoke: Vec<Invoke>,
    /// Candidates for `done.state.PATH`.
    pub on_done: Vec<Candidate>,
    /// Candidates for any `error.*` raised inside this state.
    pub on_error: Vec<Candidate>,
    /// Overrides the document's policy inside this state.
    pub unhandled: Option<Unhandled>,
    /// What one activation may spend.
    pub budgets: Option<Budgets>,
    /// What alone may be reached inside this state, of what the workflow may: `permissions`.
    pub grant: Grant,
    /// Place.
    pub pointer: Pointer,
}

/// Kind of a state.
#[derive(Clone, Debug)]
pub enum StateKind {
    /// No children.
    Atomic,
    /// One child is active.
    Compound {
        /// Path below this state.
        initial: Vec<Text>,
        /// Run after `entry` when this state is entered without saying which child.
        actions: Vec<Action>,
        /// Children in document order.
        states: Vec<State>,
    },
    /// All children are active.
    Parallel {
        /// Regions in document order.
        states: Vec<State>,
    },
    /// The end of its parent.
    Final {
        /// Status of the instance when this is a top state.
        status: FinalStatus,
        /// Template of the result.
        output: Option<Value>,
    },
    /// Remembers the parent's configuration.
    History {
        /// Remember the whole subtree rather than the child.
        deep: bool,
        /// Where to go when nothing is remembered.
        target: Vec<Text>,
        /// Run after `entry` of the parent when nothing is remembered.
        actions: Vec<Action>,
    },
}

/// Status that a top final state gives the instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FinalStatus {
    /// Reached its aim.
    #[default]
    Completed,
    /// Did not.
    Failed,
    /// Did not, and undid what it had done.
    Compensated,
    /// Was called off.
    Cancelled,
}

/// One possible change.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Where to go; none means actions only.
    pub target: Option<Vec<Text>>,
    /// CEL condition.
    pub guard: Option<Text>,
    /// Actions of the transition.
    pub actions: Vec<Action>,
    /// Overrides whether the source is exited and entered.
    pub reenter: Option<bool>,
    /// Place.
    pub pointer: Pointer,
}

/// A timer of a state.
#[derive(Clone, Debug)]
pub struct After {
    /// Duration text or template.
    pub delay: Value,
    /// Tried in order when it fires.
    pub candidates: Vec<Candidate>,
    /// Place.
    pub pointer: Pointer,
}

/// Instant, deterministic change inside a step.
#[derive(Clone, Debug)]
pub struct Action {
    /// CEL condition.
    pub when: Option<Text>,
    /// What to do.
    pub kind: ActionKind,
    /// Place of the action.
    pub pointer: Pointer,
}

/// The kinds of actions.
#[derive(Clone, Debug)]
pub enum ActionKind {
    /// Sets dotted keys of `data`, in order; a value is a template.
    Assign(Vec<(Text, Value)>),
    /// Deletes dotted keys of `data`: `{assign: {remove: [path]}}`.
    Remove(Vec<Text>),
    /// Merges an object into `data`; a template.
    Merge(Value),
    /// Raises an internal event.
    Raise {
        /// Name of the event; a template where it holds `${`.
        event: Text,
        /// Template of the payload.
        data: Option<Value>,
        /// Duration or template; a durable timer that survives state changes.
        delay: Option<Value>,
        /// Name for `cancel`, and `event.id`; a template.
        id: Option<Text>,
    },
    /// Stops a delayed raise; a template of its id.
    Cancel(Text),
    /// Writes a structured log line.
    Log {
        /// `debug`, `info`, `warn` or `error`.
        level: Text,
        /// Template.
        message: Value,
        /// Template.
        data: Option<Value>,
    },
    /// Publishes to subscribers after commit.
    Emit {
        /// Name of the event.
        event: Text,
        /// Template of the payload.
        data: Option<Value>,
        /// Template.
        subject: Option<Value>,
    },
    /// Runs the actions of the first branch whose condition is true.
    Choose(Vec<Branch>),
    /// Runs actions once for each item of a list.
    ForEach {
        /// Template of the list.
        list: Value,
        /// Actions that read `item` and `index`.
        actions: Vec<Action>,
    },
    /// Runs actions of which a failed one ends only this block.
    Block(Vec<Action>),
}

/// One way of a `choose`.
#[derive(Clone, Debug)]
pub struct Branch {
    /// CEL condition; none is always true.
    pub when: Option<Text>,
    /// What to do.
    pub actions: Vec<Action>,
    /// Place.
    pub pointer: Pointer,
}

/// An effect tree that runs while a state is active.
#[derive(Clone, Debug)]
pub struct Invoke {
    /// Unique in the state.
    pub id: Text,
    /// CEL condition for starting.
    pub when: Option<Text>,
    /// The tree.
    pub effect: Effect,
    /// Candidates for its value.
    pub on_done: Vec<Candidate>,
    /// Candidates for its error.
    pub on_error: Vec<Candidate>,
    /// Candidates for its progress.
    pub on_progress: Vec<Candidate>,
    /// Let it finish when the state is left, instead of cancelling it.
    pub detach: bool,
    /// Place.
    pub pointer: Pointer,
}

/// A node of an effect tree: kind, its parameters as written, common keys.
#[derive(Clone, Debug)]
pub struct Effect {
    /// Name of the kind, such as `call_api`.
    pub kind: Text,
    /// Author's id; default is the position path.
    pub id: Option<Text>,
    /// CEL condition; false skips the node.
    pub when: Option<Text>,
    /// Time of one attempt.
    pub timeout: Option<Value>,
    /// Time of the whole node with its retries.
    pub deadline: Option<Value>,
    /// Tries.
    pub retry: Option<RetryPolicy>,
    /// What to do when an attempt has no recorded outcome.
    pub on_unknown: Option<OnUnknown>,
    /// Template of the idempotency key.
    pub idempotency_key: Option<Value>,
    /// Registered when this node succeeds; runs if the tree is rolled back.
    pub compensation: Option<Box<Effect>>,
    /// Dotted path in `data` that receives the value.
    pub save: Option<Text>,
    /// Why it needs no compensation.
    pub waive: Option<Text>,
    /// What it and everything below it may spend.
    pub budget: Option<Limits>,
    /// Who of the tenant's effects that wait for a slot goes first: the highest.
    pub priority: Option<i8>,
    /// What is done with personal data that goes out and comes back.
    pub redact: Option<Redact>,
    /// Gates that it must pass, the innermost first.
    pub gates: Vec<GateKey>,
    /// Parameters of the kind that are no effects, as written (templates).
    pub params: Vec<(Text, Value)>,
    /// Child effects by role: `("effect", One)`, `("effects", List | Map)`, `("then", One)` ...
    pub children: Vec<(Text, Children)>,
    /// Place.
    pub pointer: Pointer,
}

impl StateKind {
    /// Returns the states directly below.
    pub fn children(&self) -> &[State] {
        match self {
            StateKind::Compound { states, .. } | StateKind::Parallel { states } => states,
            _ => &[],
        }
    }
}

impl Definition {
    /// Returns the document as a value, for [`Pointer`]s.
    pub fn json(&self) -> Value {
        let text = self.document.as_str().unwrap_or_default();
        serde_json::from_str(text).unwrap_or_default()
    }

    /// Returns every effect directly below, for `use` the named effect.
    pub fn parts_of<'a>(&'a self, effect: &'a Effect) -> Vec<&'a Effect> {
        let mut parts = effect.parts();
        if &*effect.kind == "use" {
            let name = effect.param("effect").and_then(Value::as_str);
            let named = self.effects.iter().find(|it| Some(&*it.name) == name);
            parts.extend(named.map(|it| &it.effect));
        }
        parts
    }
}

/// A common key that puts an effect behind a gate.
#[derive(Clone, Debug)]
pub struct GateKey {
    /// `rate_limit`, `concurrency` or `cache`.
    pub kind: Text,
    /// Parameters as written (templates).
    pub params: Vec<(Text, Value)>,
    /// Place.
    pub pointer: Pointer,
}

impl Effect {
    /// Returns every effect directly below, compensations included, in document order of the keys.
    pub fn parts(&self) -> Vec<&Effect> {
        let mut parts: Vec<&Effect> = self.compensation.as_deref().into_iter().collect();
        for (_, children) in &self.children {
            match children {
                Children::One(child) => parts.push(child),
                Children::List(list) => parts.extend(list),
                Children::Map(map) => parts.extend(map.iter().map(|(_, it)| it)),
                Children::Cases(cases) => parts.extend(cases.iter().map(|(_, it)| it)),
                Children::Saga(steps) => {
                    for step in steps {
                        parts.push(&step.action);
                        parts.extend(&step.compensation);
                    }
                }
            }
        }
        parts
    }

    /// Returns a parameter as written.
    pub fn param(&self, name: &str) -> Option<&Value> {
        self.params.iter().find(|(have, _)| **have == *name).map(|(_, it)| it)
    }
}

/// Child effects of a node under one key.
#[derive(Clone, Debug)]
pub enum Children {
    /// One effect.
    One(Box<Effect>),
    /// A list, in order.
    List(Vec<Effect>),
    /// A map, in document order.
    Map(Vec<(Text, Effect)>),
    /// The steps of a saga.
    Saga(Vec<SagaStep>),
    /// The cases of `case_condition`: literal or CEL on `value`, and the effect.
    Cases(Vec<(Value, Effect)>),
}

/// A step of a saga.
#[derive(Clone, Debug)]
pub struct SagaStep {
    /// Name; key of the saga's value and of `steps`.
    pub id: Text,
    /// What it does; `timeout` and `retry` of the step are already moved onto it.
    pub action: Effect,
    /// How to undo it.
    pub compensation: Option<Effect>,
}

/// Tries of an effect and the waits between them.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Total tries, at least 1.
    pub attempts: u32,
    /// How the wait grows.
    pub backoff: Backoff,
    /// Duration text or template.
    pub base_delay: Value,
    /// Duration text or template.
    pub max_delay: Value,
    /// Randomness of the wait.
    pub jitter: Jitter,
    /// Codes to retry; empty means the retryable ones.
    pub on: Vec<Text>,
    /// Codes never to retry.
    pub except: Vec<Text>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy {
            attempts: 3,
            backoff: Backoff::Exponential,
            base_delay: Value::from("1000ms"),
            max_delay: Value::from("60s"),
            jitter: Jitter::Full,
            on: Vec::new(),
            except: Vec::new(),
        }
    }
}

/// How the wait between tries grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backoff {
    /// base
    Constant,
    /// base * n
    Linear,
    /// base * 2^(n-1)
    Exponential,
    /// base * fib(n), fib = 1, 1, 2, 3
    Fibonacci,
}

/// Randomness of the wait between tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jitter {
    /// The wait itself.
    None,
    /// Uniform in [0, d].
    Full,
    /// d/2 + uniform in [0, d/2].
    Equal,
}

/// What to do with an attempt that was started and has no recorded outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnUnknown {
    /// Try again with the same key.
    Retry,
    /// Open an incident for a person.
    Ask,
    /// Fail with `unknown_outcome`.
    Fail,
}

/// Settings of effects that do not set their own.
#[derive(Clone, Debug, Default)]
pub struct EffectDefaults {
    /// Tries.
    pub retry: Option<RetryPolicy>,
    /// Time of one attempt.
    pub timeout: Option<Value>,
    /// Policy for unknown outcomes.
    pub on_unknown: Option<OnUnknown>,
    /// Who goes first, as in [`Effect::priority`].
    pub priority: Option<i8>,
}
