//! Compiled effect trees: common keys become wrappers, so that the interpreter knows each idea
//! once. `build` makes them.

mod build;

use traaviis_model::{
    Text, Value,
    budget::Limits,
    definition::{Backoff, Jitter, OnUnknown},
    privacy::Redact,
    record::ParentClose,
};

use super::Descriptor;
use crate::expr::{Expr, Template};
pub(super) use build::{check_named, compile_asked, compile_tree};

/// A compiled node.
#[derive(Debug)]
pub struct EffectDef {
    /// Last segment of its path.
    pub segment: Text,
    /// Author's id: name for `steps.ID`.
    pub id: Option<Text>,
    /// Name of the kind.
    pub name: Text,
    /// Kind and parameters.
    pub kind: EffectKind,
    /// False skips the node.
    pub when: Option<Expr>,
    /// Path in `data` that receives the value.
    pub save: Option<Text>,
    /// Runs if the tree is rolled back after this node succeeded.
    pub compensation: Option<Box<EffectDef>>,
    /// This node or one below registers a compensation.
    pub undoes: bool,
}

/// Parameters of a call.
#[derive(Debug)]
pub struct CallParams {
    /// Templates by name.
    pub input: Vec<(Text, Template)>,
    /// Tries.
    pub retry: Option<RetryDef>,
    /// Time of one attempt.
    pub timeout: Option<Template>,
    /// Policy; none means the class's default.
    pub on_unknown: Option<OnUnknown>,
    /// Author's idempotency key.
    pub key: Option<Template>,
    /// Set for a call that starts a child.
    pub spawn: Option<SpawnDef>,
    /// Who goes first of those that wait for a slot: the highest.
    pub priority: i8,
    /// What is done with personal data that goes out and comes back.
    pub redact: Redact,
}

/// How a child is started.
#[derive(Debug)]
pub struct SpawnDef {
    /// The node ends with its child.
    pub(crate) wait: bool,
    /// What the end of this instance means for the child.
    pub(crate) parent_close: ParentClose,
}

/// Kinds of effects with their compiled parameters.
#[derive(Debug)]
#[allow(missing_docs)] // The language chapter documents every parameter by these names.
pub enum EffectKind {
    Sequence {
        children: Vec<EffectDef>,
        named: bool,
        last: bool,
    },
    Parallel {
        children: Vec<EffectDef>,
        named: bool,
        max: usize,
    },
    Race {
        children: Vec<EffectDef>,
    },
    Fallback {
        children: Vec<EffectDef>,
        on: Vec<Text>,
    },
    Retry {
        body: Box<EffectDef>,
        policy: RetryDef,
    },
    Timeout {
        body: Box<EffectDef>,
        duration: Template,
    },
    WithCompensation {
        action: Box<EffectDef>,
        compensation: Box<EffectDef>,
        on_cancel: bool,
    },
    Saga {
        steps: Vec<EffectDef>,
        parallel: bool,
        on_cancel: bool,
        incident: bool,
    },
    If {
        cond: Expr,
        branches: Vec<EffectDef>,
    },
    Case {
        value: Template,
        cases: Vec<(CaseTest, EffectDef)>,
        default: Option<Box<EffectDef>>,
    },
    While {
        cond: Expr,
        body: Box<EffectDef>,
        max: u32,
        delay: Option<Template>,
    },
    Batch {
        items: Option<Template>,
        bodies: Vec<EffectDef>,
        concurrency: usize,
        fail_fast: bool,
        collect: bool,
        max_items: usize,
    },
    Value(Template),
    Delay {
        duration: Option<Template>,
        until: Option<Template>,
    },
    Log {
        level: Text,
        message: Template,
        data: Template,
    },
    PutData {
        key: Template,
        value: Template,
    },
    MergeData(Template),
    GetData {
        key: Template,
        default: Template,
    },
    UpdateData {
        key: Template,
        expr: Expr,
    },
    DeleteData {
        key: Template,
    },
    GetResult {
        step: Option<Template>,
    },
    Transform(Expr),
    Emit {
        event: Text,
        data: Template,
        subject: Option<Template>,
    },
    /// A named effect with its parameters.
    Use {
        body: Box<EffectDef>,
        with: Template,
    },
    /// A body with limits on what it may spend.
    Budget {
        body: Box<EffectDef>,
        limits: Limits,
    },
    /// A body that must pass a gate first: `ask` is a call of the kind `gate`.
    Gate {
        ask: Box<EffectDef>,
        body: Box<EffectDef>,
    },
    WaitSignal(Box<SignalDef>),
    Task(Box<TaskDef>),
    Call(Box<CallParams>),
}

/// What a `wait_signal` waits for.
#[derive(Debug)]
pub struct SignalDef {
    /// Names or prefixes.
    pub(crate) events: Vec<Descriptor>,
    /// Must hold for an event to count; reads `event`.
    pub(crate) test: Option<Expr>,
    /// How many make it complete.
    pub(crate) count: usize,
    /// Takes events before transitions see them.
    pub(crate) exclusive: bool,
}

/// What a `human_task` or `approval` asks.
#[derive(Debug)]
pub struct TaskDef {
    /// Templates shown to people: title, description, assignees, form, defaults.
    pub(crate) shown: Vec<(Text, Template)>,
    /// What may be answered.
    pub(crate) outcomes: Vec<Text>,
    /// Time to answer.
    pub(crate) deadline: Option<Template>,
    /// Equal answers that decide.
    pub(crate) quorum: usize,
    /// Whoever started the instance may not answer.
    pub(crate) separation: bool,
    /// When people are told again.
    pub(crate) reminders: Vec<ReminderDef>,
    /// When more people are asked, and whom.
    pub(crate) escalation: Option<(Template, Template)>,
    /// This outcome is an error.
    pub(crate) error: Option<&'static str>,
}

/// When people are told of a task again.
#[derive(Debug)]
pub struct ReminderDef {
    /// Counts back from the deadline instead of on from the opening.
    pub(crate) before: bool,
    /// How long.
    pub(crate) span: Template,
}

/// How a case is chosen.
#[derive(Debug)]
pub enum CaseTest {
    /// The value equals this.
    Literal(Value),
    /// CEL on `value`.
    Cond(Expr),
}

/// A compiled retry policy.
#[derive(Debug, Clone)]
pub struct RetryDef {
    /// Total tries.
    pub attempts: u32,
    /// How the wait grows.
    pub backoff: Backoff,
    /// First wait.
    pub base_delay: Template,
    /// Longest wait.
    pub max_delay: Template,
    /// Randomness.
    pub jitter: Jitter,
    /// Codes to retry; empty means the retryable ones.
    pub on: Vec<Text>,
    /// Codes never to retry.
    pub except: Vec<Text>,
}

impl EffectDef {
    /// Returns the definition of the child with this segment.
    pub(crate) fn child(&self, segment: &str) -> Option<&EffectDef> {
        let one = |it: &'_ EffectDef| *it.segment == *segment;
        match &self.kind {
            EffectKind::Sequence { children, .. }
            | EffectKind::Parallel { children, .. }
            | EffectKind::Race { children }
            | EffectKind::Fallback { children, .. } => children.iter().find(|it| one(it)),
            EffectKind::Saga { steps, .. } => steps.iter().find(|it| one(it)),
            EffectKind::Retry { body, .. }
            | EffectKind::Timeout { body, .. }
            | EffectKind::Use { body, .. }
            | EffectKind::Budget { body, .. }
            | EffectKind::While { body, .. } => one(body).then_some(&**body),
            EffectKind::Gate { ask, body } => {
                [ask, body].into_iter().map(|it| &**it).find(|it| one(it))
            }
            EffectKind::WithCompensation { action, compensation, .. } => {
                [action, compensation].into_iter().map(|it| &**it).find(|it| one(it))
            }
            EffectKind::If { branches, .. } => branches.iter().find(|it| one(it)),
            EffectKind::Case { cases, default, .. } => {
                cases.iter().map(|(_, it)| it).chain(default.as_deref()).find(|it| one(it))
            }
            EffectKind::Batch { items: None, bodies, .. } => {
                bodies.get(segment.parse::<usize>().ok()?)
            }
            EffectKind::Batch { bodies, .. } => bodies.first(),
            _ => None,
        }
    }

    /// Says whether a failure here is undone before it is told.
    pub(crate) fn is_scope(&self) -> bool {
        matches!(self.kind, EffectKind::Saga { .. } | EffectKind::WithCompensation { .. })
    }
}
