//! Compiled effect trees: common keys become wrappers, so that the interpreter knows each idea
//! once.
//!
//! `retry` and `timeout` on a control node, `deadline` on any, and `timeout` of a `batch` are
//! written as `retry` and `timeout` nodes around it; their child has the segment `body`.

use traaviis_model::{
    Text, Value,
    budget::Limits,
    call::{CALL_KINDS, GATE, is_between_instances},
    definition::{Backoff, Children, Definition, Effect, Jitter, OnUnknown, RetryPolicy},
    limits,
    privacy::{PiiMode, Redact},
    record::ParentClose,
};

use super::{Descriptor, compile::Compiler};
use crate::{
    expr::{Expr, Scope, SecretUse, Template},
    gates::ASK,
};

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

/// Reads parameters of one effect and reports what is wrong with them.
struct Params<'a, 'c> {
    effect: &'a Effect,
    compiler: &'c mut Compiler,
    scope: Scope,
}

impl Params<'_, '_> {
    fn raw(&self, name: &str) -> Option<&Value> {
        self.effect.params.iter().find(|(key, _)| **key == *name).map(|(_, value)| value)
    }

    fn pointer(&self, name: &str) -> String {
        format!("{}/{name}", self.effect.pointer)
    }

    fn template(&mut self, name: &str) -> Option<Template> {
        let value = self.raw(name)?.clone();
        let pointer = self.pointer(name);
        Some(self.compiler.template(&value, self.scope, SecretUse::Refused, &pointer))
    }

    fn template_or_null(&mut self, name: &str) -> Template {
        self.template(name).unwrap_or_else(Template::null)
    }

    fn expr(&mut self, name: &str, scope: Scope) -> Expr {
        let source = match self.raw(name) {
            Some(Value::String(text)) => text.to_string(),
            Some(other) => other.to_json(),
            None => {
                self.wrong(name, "is required; give a CEL expression");
                "null".into()
            }
        };
        let pointer = self.pointer(name);
        self.compiler.expr(&source, scope, &pointer)
    }

    fn cond(&mut self, scope: Scope) -> Expr {
        let expr = self.expr("cond", scope);
        let pointer = self.pointer("cond");
        self.compiler.decides(&expr, &pointer);
        expr
    }

    fn wrong(&mut self, name: &str, rule: &str) {
        let pointer = self.pointer(name);
        let kind = self.effect.kind.clone();
        self.compiler.error("E140", &pointer, format!("`{name}` of effect `{kind}` {rule}"));
    }

    fn count(&mut self, name: &str, default: usize, most: usize) -> usize {
        match self.raw(name).map(|it| (it.clone(), it.as_i64())) {
            None => default,
            Some((_, Some(count))) if count >= 1 && count as usize <= most => count as usize,
            Some(_) => {
                self.wrong(name, &format!("must be a whole number from 1 to {most}"));
                default
            }
        }
    }

    fn flag(&mut self, name: &str, default: bool) -> bool {
        match self.raw(name) {
            None => default,
            Some(Value::Bool(it)) => *it,
            Some(_) => {
                self.wrong(name, "must be true or false");
                default
            }
        }
    }

    /// Reads one of two words; true for the first.
    fn word(&mut self, name: &str, first: &str, second: &str, default: &str) -> bool {
        match self.raw(name).map(|it| it.as_str().unwrap_or_default().to_string()) {
            None => default == first,
            Some(word) if word == first => true,
            Some(word) if word == second => false,
            Some(_) => {
                self.wrong(name, &format!("must be `{first}` or `{second}`"));
                default == first
            }
        }
    }

    fn text(&mut self, name: &str, default: &str) -> Text {
        match self.raw(name) {
            None => default.into(),
            Some(Value::String(text)) => text.clone(),
            Some(_) => {
                self.wrong(name, "must be text");
                default.into()
            }
        }
    }

    fn texts(&mut self, name: &str) -> Vec<Text> {
        let texts = match self.raw(name) {
            None => return Vec::new(),
            Some(Value::List(items)) => items
                .iter()
                .map(|it| if let Value::String(text) = it { Some(text.clone()) } else { None })
                .collect::<Option<Vec<_>>>(),
            Some(_) => None,
        };
        texts.unwrap_or_else(|| {
            self.wrong(name, "must be a list of texts");
            Vec::new()
        })
    }

    fn reminders(&mut self) -> Vec<ReminderDef> {
        let Some(Value::List(items)) = self.raw("reminders").cloned() else { return Vec::new() };
        let mut reminders = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            let (before, span, key) = match (item.get("before"), item.get("after")) {
                (Some(span), _) => (true, span, "/before"),
                (None, Some(span)) => (false, span, "/after"),
                (None, None) => (false, item, ""),
            };
            let pointer = format!("{}/{at}{key}", self.pointer("reminders"));
            let span = self.compiler.duration(span, self.scope, &pointer);
            reminders.push(ReminderDef { before, span });
        }
        reminders
    }

    fn escalation(&mut self) -> Option<(Template, Template)> {
        let written = self.raw("escalation")?.clone();
        let (after, to) = (written.get("after")?, written.get("to")?);
        let pointer = self.pointer("escalation");
        let after = self.compiler.duration(after, self.scope, &format!("{pointer}/after"));
        let to =
            self.compiler.template(to, self.scope, SecretUse::Refused, &format!("{pointer}/to"));
        Some((after, to))
    }

    fn duration(&mut self, name: &str) -> Option<Template> {
        let (name, value) = match (self.raw(name), self.raw("ms")) {
            (Some(value), _) => (name, value.clone()),
            (None, Some(value)) => ("ms", value.clone()),
            (None, None) => return None,
        };
        let pointer = self.pointer(name);
        Some(self.compiler.duration(&value, self.scope, &pointer))
    }
}

/// Compiles one effect tree.
pub(super) fn compile_tree(
    compiler: &mut Compiler,
    effect: &Effect,
    definition: &Definition,
    segment: &Text,
) -> EffectDef {
    let priority = definition.defaults.priority.unwrap_or(0);
    let mut build = Build { compiler, definition, nodes: 0, inside: Vec::new(), priority };
    build.node(effect, segment, TREE, 1)
}

/// Compiles the named effects for what is wrong with them, also with those that nothing uses.
pub(super) fn check_named(compiler: &mut Compiler, definition: &Definition) {
    for named in &definition.effects {
        let inside = vec![&*named.name];
        let mut build = Build { compiler, definition, nodes: 0, inside, priority: 0 };
        build.node(&named.effect, &named.name, TREE.union(Scope::PARAM), 1);
    }
}

/// What the templates of every effect may read.
const TREE: Scope = Scope::EVERYWHERE.union(Scope::RESULT).union(Scope::STEPS);

struct Build<'c> {
    compiler: &'c mut Compiler,
    definition: &'c Definition,
    nodes: usize,
    /// Named effects around this place.
    inside: Vec<&'c str>,
    /// What the effects around this place, or the defaults, give to what is below them.
    priority: i8,
}

impl Build<'_> {
    fn node(&mut self, effect: &Effect, segment: &Text, scope: Scope, depth: usize) -> EffectDef {
        self.nodes += 1;
        if depth > limits::EFFECT_DEPTH_MAX || self.nodes > limits::EFFECT_NODES_MAX {
            self.compiler.error(
                "E141",
                &effect.pointer,
                format!(
                    "the effect tree is nested deeper than {} or has more than {} nodes",
                    limits::EFFECT_DEPTH_MAX,
                    limits::EFFECT_NODES_MAX
                ),
            );
            return self.leaf(segment, EffectKind::Value(Template::null()));
        }
        let kind_name: &str = &effect.kind;
        let around = self.priority;
        self.priority = effect.priority.unwrap_or(around);
        let kind = self.kind(effect, scope, depth);
        // The keys of a call to the outside are about its attempts. What goes to an instance has
        // one attempt only, so its keys are wrapped around it like those of a control node.
        let is_call = matches!(kind, EffectKind::Call(_)) && !is_between_instances(kind_name);
        let is_retry = matches!(kind, EffectKind::Retry { .. });
        let mut def = EffectDef {
            segment: segment.clone(),
            id: effect.id.clone(),
            name: effect.kind.clone(),
            when: None,
            save: None,
            compensation: None,
            undoes: kind_undoes(&kind),
            kind,
        };
        let pointer = effect.pointer.to_string();
        let (week, hour) = (Value::from("7d"), Value::from("1h"));
        let timeout = match kind_name {
            "invoke_fsm" => effect.timeout.as_ref().or(Some(&hour)),
            "wait_signal" => effect.timeout.as_ref().or(Some(&week)),
            _ => effect.timeout.as_ref(),
        };
        if let (Some(timeout), false) = (timeout, is_call) {
            let duration = self.compiler.duration(timeout, scope, &format!("{pointer}/timeout"));
            def = wrap(def, "timeout", |body| EffectKind::Timeout { body, duration });
        }
        if let (Some(policy), false, false) = (&effect.retry, is_call, is_retry) {
            let policy = self.retry(policy, scope, &format!("{pointer}/retry"));
            def = wrap(def, "retry", |body| EffectKind::Retry { body, policy });
        }
        for gate in &effect.gates {
            let ask = self.ask(&gate.kind, &gate.params, scope, &gate.pointer);
            def = wrap(def, &gate.kind, |body| EffectKind::Gate { ask, body });
        }
        if let Some(limits) = effect.budget {
            def = wrap(def, "budget", |body| EffectKind::Budget { body, limits });
        }
        if let Some(deadline) = &effect.deadline {
            let duration = self.compiler.duration(deadline, scope, &format!("{pointer}/deadline"));
            def = wrap(def, "timeout", |body| EffectKind::Timeout { body, duration });
        }
        def.when = effect
            .when
            .as_ref()
            .map(|source| self.compiler.condition(source, scope, &format!("{pointer}/when")));
        def.save = effect.save.clone();
        if let Some(compensation) = &effect.compensation {
            let undo = format!("undo:{segment}").into();
            def.compensation = Some(Box::new(self.node(compensation, &undo, scope, depth + 1)));
            def.undoes = true;
        }
        self.priority = around;
        def
    }

    fn leaf(&self, segment: &Text, kind: EffectKind) -> EffectDef {
        EffectDef {
            segment: segment.clone(),
            id: None,
            name: "value".into(),
            kind,
            when: None,
            save: None,
            compensation: None,
            undoes: false,
        }
    }

    fn one(
        &mut self,
        effect: &Effect,
        role: &str,
        segment: &str,
        scope: Scope,
        depth: usize,
    ) -> Option<EffectDef> {
        let found = effect.children.iter().find(|(name, _)| **name == *role);
        match found {
            Some((_, Children::One(child))) => {
                Some(self.node(child, &segment.into(), scope, depth + 1))
            }
            _ => None,
        }
    }

    fn required(
        &mut self,
        effect: &Effect,
        role: &str,
        segment: &str,
        scope: Scope,
        depth: usize,
    ) -> Box<EffectDef> {
        match self.one(effect, role, segment, scope, depth) {
            Some(def) => Box::new(def),
            None => {
                self.compiler.error(
                    "E140",
                    &effect.pointer,
                    format!("effect `{}` needs `{role}`, an effect", effect.kind),
                );
                Box::new(self.leaf(&segment.into(), EffectKind::Value(Template::null())))
            }
        }
    }

    /// Compiles `effects`; the flag says whether they are named by a map.
    fn many(&mut self, effect: &Effect, scope: Scope, depth: usize) -> (Vec<EffectDef>, bool) {
        let found = effect.children.iter().find(|(name, _)| **name == *"effects");
        match found {
            Some((_, Children::List(children))) => (
                children
                    .iter()
                    .enumerate()
                    .map(|(at, child)| self.node(child, &at.to_string().into(), scope, depth + 1))
                    .collect(),
                false,
            ),
            Some((_, Children::Map(children))) => (
                children
                    .iter()
                    .map(|(name, child)| {
                        let mut def = self.node(child, name, scope, depth + 1);
                        def.id.get_or_insert_with(|| name.clone());
                        def
                    })
                    .collect(),
                true,
            ),
            _ => {
                self.compiler.error(
                    "E140",
                    &effect.pointer,
                    format!("effect `{}` needs `effects`, a list of effects", effect.kind),
                );
                (Vec::new(), false)
            }
        }
    }

    fn retry(&mut self, policy: &RetryPolicy, scope: Scope, pointer: &str) -> RetryDef {
        RetryDef {
            attempts: policy.attempts.max(1),
            backoff: policy.backoff,
            base_delay: self.compiler.duration(
                &policy.base_delay,
                scope,
                &format!("{pointer}/base_delay"),
            ),
            max_delay: self.compiler.duration(
                &policy.max_delay,
                scope,
                &format!("{pointer}/max_delay"),
            ),
            jitter: policy.jitter,
            on: policy.on.clone(),
            except: policy.except.clone(),
        }
    }

    /// Refuses what would lose compensations: a body that begins again forgets its nodes.
    fn forgets(&mut self, effect: &Effect, what: &str, next: &str) {
        let message = format!(
            "compensations of {what} inside `{}` would be forgotten when it begins again",
            effect.kind
        );
        self.compiler.error_with_hint("E190", &effect.pointer, message, next);
    }

    fn kind(&mut self, effect: &Effect, scope: Scope, depth: usize) -> EffectKind {
        let name: &str = &effect.kind;
        match name {
            name if is_between_instances(name) => return self.message(effect, scope),
            _ if CALL_KINDS.contains(&name) => return self.call(effect, scope),
            "saga" => return self.saga(effect, scope, depth),
            "rate_limit" | "circuit_breaker" | "cache" => {
                let ask = self.ask(name, &effect.params, scope, &effect.pointer);
                let body = self.required(effect, "effect", "body", scope, depth);
                return EffectKind::Gate { ask, body };
            }
            "case_condition" => return self.case(effect, scope, depth),
            "batch" => return self.batch(effect, scope, depth),
            "sequence" => {
                let (children, named) = self.many(effect, scope, depth);
                let last = self.params(effect, scope).word("returns", "last", "all", "all");
                return EffectKind::Sequence { children, named, last };
            }
            "parallel" => {
                let (children, named) = self.many(effect, scope, depth);
                let max = self.params(effect, scope).count("max", 32, limits::EFFECT_NODES_MAX);
                return EffectKind::Parallel { children, named, max };
            }
            "use" => return self.used(effect, scope, depth),
            "wait_signal" => return self.wait_signal(effect, scope),
            "human_task" | "approval" => return self.task(effect, scope),
            "race" => return EffectKind::Race { children: self.many(effect, scope, depth).0 },
            "fallback" => {
                let (children, _) = self.many(effect, scope, depth);
                let on = self.params(effect, scope).texts("on");
                return EffectKind::Fallback { children, on };
            }
            "retry" => {
                let body = self.required(effect, "effect", "body", scope, depth);
                let policy = effect.retry.clone().unwrap_or_default();
                let policy = self.retry(&policy, scope, &effect.pointer);
                if kind_undoes(&body.kind) {
                    self.forgets(effect, "a try that fails", "retry the calls, each by itself");
                }
                return EffectKind::Retry { body, policy };
            }
            "timeout" => {
                let body = self.required(effect, "effect", "body", scope, depth);
                let mut params = self.params(effect, scope);
                let duration = params.duration("duration").unwrap_or_else(|| {
                    params.wrong("duration", "is required, such as 30s");
                    Template::null()
                });
                return EffectKind::Timeout { body, duration };
            }
            "with_compensation" => {
                let action = self.required(effect, "action", "action", scope, depth);
                let compensation =
                    self.required(effect, "compensation", "undo:action", scope, depth);
                let on_cancel = self.params(effect, scope).word(
                    "on_cancel",
                    "compensate",
                    "abandon",
                    "compensate",
                );
                return EffectKind::WithCompensation { action, compensation, on_cancel };
            }
            "if_condition" => {
                let cond = self.params(effect, scope).cond(scope);
                let mut branches = vec![*self.required(effect, "then", "then", scope, depth)];
                branches.extend(self.one(effect, "else", "else", scope, depth));
                return EffectKind::If { cond, branches };
            }
            "while_loop" => {
                let inner = scope.union(Scope::LOOP);
                let body = self.required(effect, "effect", "body", inner, depth);
                let mut params = self.params(effect, inner);
                let cond = params.cond(inner);
                let max = params.count("max_iterations", 1, limits::LOOP_ITERATIONS_MAX as usize);
                let delay = params.duration("delay");
                if body.undoes {
                    self.forgets(effect, "a round", "use `batch`, which keeps them");
                }
                return EffectKind::While { cond, body, max: max as u32, delay };
            }
            _ => {}
        }
        let mut params = self.params(effect, scope);
        match name {
            "value" => EffectKind::Value(params.template_or_null("value")),
            "delay" => {
                let duration = params.duration("duration");
                let until = params.template("until");
                if duration.is_some() == until.is_some() {
                    params.wrong("duration", "or `until` is required, one of them");
                }
                EffectKind::Delay { duration, until }
            }
            "log" => EffectKind::Log {
                level: params.text("level", "info"),
                message: params.template_or_null("message"),
                data: params.template_or_null("data"),
            },
            "put_data" => EffectKind::PutData {
                key: params.template_or_null("key"),
                value: params.template_or_null("value"),
            },
            "merge_data" => EffectKind::MergeData(params.template_or_null("value")),
            "get_data" => EffectKind::GetData {
                key: params.template_or_null("key"),
                default: params.template_or_null("default"),
            },
            "update_data" => EffectKind::UpdateData {
                key: params.template_or_null("key"),
                expr: params.expr("expr", scope.union(Scope::VALUE)),
            },
            "delete_data" => EffectKind::DeleteData { key: params.template_or_null("key") },
            "get_result" => EffectKind::GetResult { step: params.template("step") },
            "transform" => EffectKind::Transform(params.expr("expr", scope)),
            "emit" => EffectKind::Emit {
                event: params.text("event", ""),
                data: params.template_or_null("data"),
                subject: params.template("subject"),
            },
            other => {
                self.compiler.error(
                    "E140",
                    &effect.pointer,
                    format!("effect kind `{other}` is not known"),
                );
                EffectKind::Value(Template::null())
            }
        }
    }

    fn params<'a>(&'a mut self, effect: &'a Effect, scope: Scope) -> Params<'a, 'a> {
        Params { effect, compiler: self.compiler, scope }
    }

    fn call(&mut self, effect: &Effect, scope: Scope) -> EffectKind {
        let pointer = effect.pointer.to_string();
        let input = effect
            .params
            .iter()
            .map(|(name, value)| {
                let secrets = match &**name {
                    "headers" | "auth" => SecretUse::Allowed,
                    _ => SecretUse::Refused,
                };
                let at = format!("{pointer}/{name}");
                (name.clone(), self.compiler.template(value, scope, secrets, &at))
            })
            .collect();
        let retry = effect.retry.as_ref().or(self.definition.defaults.retry.as_ref()).cloned();
        let timeout =
            effect.timeout.as_ref().or(self.definition.defaults.timeout.as_ref()).cloned();
        let redact = effect.redact.unwrap_or_default();
        if [redact.input, redact.output].into_iter().flatten().any(PiiMode::needs_key) {
            self.compiler.redacts_with_key();
        }
        EffectKind::Call(Box::new(CallParams {
            input,
            retry: retry.map(|policy| self.retry(&policy, scope, &format!("{pointer}/retry"))),
            timeout: timeout
                .map(|it| self.compiler.duration(&it, scope, &format!("{pointer}/timeout"))),
            on_unknown: effect.on_unknown.or(self.definition.defaults.on_unknown),
            key: effect.idempotency_key.as_ref().map(|it| {
                let at = format!("{pointer}/idempotency_key");
                self.compiler.template(it, scope, SecretUse::Refused, &at)
            }),
            spawn: None,
            priority: self.priority,
            redact,
        }))
    }

    /// Compiles a call to another instance: it always ends, and asking again is harmless, so there
    /// is nothing to say about tries and unknown outcomes.
    fn message(&mut self, effect: &Effect, scope: Scope) -> EffectKind {
        if effect.on_unknown.is_some() {
            let message = format!("effect `{}` has no unknown outcome", effect.kind);
            let hint =
                "leave out `on_unknown`: the receiver takes it once, however often it is sent";
            let pointer = format!("{}/on_unknown", effect.pointer);
            self.compiler.error_with_hint("E140", &pointer, message, hint);
        }
        let spawn = (&*effect.kind == "spawn_fsm").then(|| SpawnDef {
            wait: self.params(effect, scope).flag("wait", false),
            parent_close: match effect.param("parent_close").and_then(Value::as_str) {
                Some("abandon") => ParentClose::Abandon,
                Some("request_cancel") => ParentClose::RequestCancel,
                _ => ParentClose::Cancel,
            },
        });
        if &*effect.kind == "query_fsm" {
            // It is evaluated over the state of the other one; here it is only text.
            self.params(effect, scope).expr("select", crate::query::SCOPE);
        }
        if let Some(Value::Map(known)) = effect.param("match") {
            for (name, _) in known.iter() {
                let pointer = format!("{}/match/{name}", effect.pointer);
                match &**name {
                    "workflow" | "state" | "tag" => {}
                    other => {
                        let message =
                            format!("`match` knows `workflow`, `state` and `tag`, not `{other}`");
                        self.compiler.error("E140", &pointer, message);
                    }
                }
            }
        }
        let pointer = effect.pointer.to_string();
        let input = effect
            .params
            .iter()
            .filter(|(name, _)| !matches!(&**name, "parent_close"))
            .map(|(name, value)| {
                let at = format!("{pointer}/{name}");
                let template = match &**name {
                    "select" => Template::constant(value.clone()),
                    _ => self.compiler.template(value, scope, SecretUse::Refused, &at),
                };
                (name.clone(), template)
            })
            .collect();
        let key = effect.idempotency_key.as_ref().map(|it| {
            let at = format!("{pointer}/idempotency_key");
            self.compiler.template(it, scope, SecretUse::Refused, &at)
        });
        EffectKind::Call(Box::new(CallParams {
            input,
            retry: None,
            timeout: None,
            on_unknown: Some(OnUnknown::Retry),
            key,
            spawn,
            priority: self.priority,
            redact: Redact::default(),
        }))
    }

    /// Compiles the call that asks a gate; its key carries what the gate is shared by.
    fn ask(
        &mut self,
        gate: &str,
        params: &[(Text, Value)],
        scope: Scope,
        pointer: &str,
    ) -> Box<EffectDef> {
        let mut input = vec![("gate".into(), Template::constant(Value::from(gate)))];
        for (name, value) in params {
            let at = format!("{pointer}/{name}");
            let template = match &**name {
                "window" | "ttl" | "recovery_timeout" => self.compiler.duration(value, scope, &at),
                _ => self.compiler.template(value, scope, SecretUse::Refused, &at),
            };
            let shared_by_workflow = &**name == "scope" && value.as_str() == Some("workflow");
            match shared_by_workflow {
                true => {
                    let workflow = Value::from(&*self.definition.name);
                    input.push(("namespace".into(), Template::constant(workflow)));
                }
                false => input.push((name.clone(), template)),
            }
        }
        let params = CallParams {
            input,
            retry: None,
            timeout: None,
            on_unknown: None,
            key: None,
            spawn: None,
            priority: self.priority,
            redact: Redact::default(),
        };
        let kind = EffectKind::Call(Box::new(params));
        Box::new(EffectDef { name: GATE.into(), ..self.leaf(&ASK.into(), kind) })
    }

    /// Compiles the named effect in place of its use.
    fn used(&mut self, effect: &Effect, scope: Scope, depth: usize) -> EffectKind {
        let mut params = self.params(effect, scope);
        let name = params.text("effect", "");
        let with = params.template("with");
        let with = with.unwrap_or_else(|| Template::constant(Value::empty_map()));
        let pointer = format!("{}/effect", effect.pointer);
        let segment = "body".into();
        let definition = self.definition;
        let body = match definition.effects.iter().find(|it| it.name == name) {
            _ if self.inside.contains(&&*name) => {
                let way = [&self.inside[..], &[&*name]].concat().join("` -> `");
                let message = format!("the named effect `{name}` uses itself: `{way}`");
                self.compiler.error("E141", &pointer, message);
                self.leaf(&segment, EffectKind::Value(Template::null()))
            }
            Some(named) => {
                self.inside.push(&named.name);
                let body = self.node(&named.effect, &segment, TREE.union(Scope::PARAM), depth + 1);
                self.inside.pop();
                body
            }
            None => {
                let message = format!("`effects` has no effect `{name}`");
                let names = definition.effects.iter().map(|it| &*it.name);
                match super::compile::nearest(&name, names) {
                    Some(near) => {
                        let hint = format!("did you mean `{near}`?");
                        self.compiler.error_with_hint("E140", &pointer, message, &hint);
                    }
                    None => self.compiler.error("E140", &pointer, message),
                }
                self.leaf(&segment, EffectKind::Value(Template::null()))
            }
        };
        EffectKind::Use { body: Box::new(body), with }
    }

    fn wait_signal(&mut self, effect: &Effect, scope: Scope) -> EffectKind {
        let mut params = self.params(effect, scope);
        let mut names = params.texts("events");
        if params.raw("event").is_some() {
            names.push(params.text("event", ""));
        }
        let has_test = params.raw("match").is_some();
        let test = has_test.then(|| params.expr("match", scope.union(Scope::EVENT)));
        let count = params.count("count", 1, limits::SIGNALS_MAX as usize);
        let exclusive = params.flag("exclusive", false);
        for name in &names {
            self.compiler.declared_event(name, &effect.pointer);
        }
        let events = names.iter().map(|it| Descriptor::parse(it)).collect();
        EffectKind::WaitSignal(Box::new(SignalDef { events, test, count, exclusive }))
    }

    fn task(&mut self, effect: &Effect, scope: Scope) -> EffectKind {
        let is_approval = &*effect.kind == "approval";
        let mut params = self.params(effect, scope);
        let shown = ["title", "description", "assignees", "form", "defaults", "attachments"]
            .into_iter()
            .filter_map(|name| Some((Text::from(name), params.template(name)?)))
            .collect();
        let mut outcomes = params.texts("outcomes");
        if outcomes.is_empty() {
            outcomes = vec!["approved".into(), "denied".into()];
        }
        let deadline = params.duration("deadline");
        let quorum = params.count("quorum", 1, limits::TASK_QUORUM_MAX as usize);
        let error = (is_approval && params.flag("deny_is_error", true)).then_some("denied");
        let separation = params.flag("separation", true);
        let (reminders, escalation) = (params.reminders(), params.escalation());
        if let Some(form @ Value::Map(_)) = params.raw("form").cloned()
            && !form.to_json().contains("${")
        {
            let pointer = format!("{}/form", effect.pointer);
            self.compiler.schema(Some(&form), &pointer);
        }
        EffectKind::Task(Box::new(TaskDef {
            shown,
            outcomes,
            deadline,
            quorum,
            separation,
            reminders,
            escalation,
            error,
        }))
    }

    fn saga(&mut self, effect: &Effect, scope: Scope, depth: usize) -> EffectKind {
        let mut steps = Vec::new();
        if let Some((_, Children::Saga(written))) =
            effect.children.iter().find(|(name, _)| **name == *"steps")
        {
            for step in written {
                let mut def = self.node(&step.action, &step.id, scope, depth + 1);
                def.id = Some(step.id.clone());
                if let Some(compensation) = &step.compensation {
                    let undo = format!("undo:{}", step.id).into();
                    let undo = self.node(compensation, &undo, scope, depth + 1);
                    def.compensation = Some(Box::new(undo));
                    def.undoes = true;
                }
                steps.push(def);
            }
        }
        if steps.is_empty() {
            self.compiler.error(
                "E140",
                &effect.pointer,
                "effect `saga` needs `steps`, at least one".into(),
            );
        }
        let mut params = self.params(effect, scope);
        EffectKind::Saga {
            parallel: params.word("mode", "parallel", "sequential", "sequential"),
            on_cancel: params.word("on_cancel", "compensate", "abandon", "compensate"),
            incident: params.word("on_compensation_error", "incident", "continue", "incident"),
            steps,
        }
    }

    fn case(&mut self, effect: &Effect, scope: Scope, depth: usize) -> EffectKind {
        let value = self.params(effect, scope).template_or_null("value");
        let inner = scope.union(Scope::VALUE);
        let mut cases = Vec::new();
        if let Some((_, Children::Cases(written))) =
            effect.children.iter().find(|(name, _)| **name == *"cases")
        {
            for (at, (test, child)) in written.iter().enumerate() {
                let def = self.node(child, &format!("case{at}").into(), inner, depth + 1);
                // Text that reads as an expression over `value` is one; any other is a literal.
                let test = match test {
                    Value::String(text) => match Expr::parse(text, inner) {
                        Ok(expr) if expr.reads(crate::expr::Var::Value) => CaseTest::Cond(expr),
                        _ => CaseTest::Literal(test.clone()),
                    },
                    literal => CaseTest::Literal(literal.clone()),
                };
                cases.push((test, def));
            }
        }
        let default = self.one(effect, "default", "default", inner, depth).map(Box::new);
        EffectKind::Case { value, cases, default }
    }

    fn batch(&mut self, effect: &Effect, scope: Scope, depth: usize) -> EffectKind {
        let items = self.params(effect, scope).template("items");
        let inner = scope.union(Scope::ITEM);
        let bodies = match &items {
            Some(_) => vec![*self.required(effect, "effect", "item", inner, depth)],
            None => self.many(effect, inner, depth).0,
        };
        let mut params = self.params(effect, scope);
        EffectKind::Batch {
            items,
            bodies,
            concurrency: params.count("concurrency", 10, limits::RUNNING_EFFECTS_MAX),
            fail_fast: params.flag("fail_fast", true),
            collect: params.flag("collect_results", true),
            max_items: params.count("max_items", limits::BATCH_ITEMS_MAX, limits::BATCH_ITEMS_MAX),
        }
    }
}

fn kind_undoes(kind: &EffectKind) -> bool {
    match kind {
        EffectKind::Sequence { children, .. }
        | EffectKind::Parallel { children, .. }
        | EffectKind::Race { children }
        | EffectKind::Fallback { children, .. } => children.iter().any(|it| it.undoes),
        EffectKind::Retry { body, .. }
        | EffectKind::Timeout { body, .. }
        | EffectKind::Use { body, .. }
        | EffectKind::Budget { body, .. }
        | EffectKind::Gate { body, .. }
        | EffectKind::While { body, .. } => body.undoes,
        EffectKind::If { branches, .. } => branches.iter().any(|it| it.undoes),
        EffectKind::Case { cases, default, .. } => {
            cases.iter().any(|(_, it)| it.undoes) || default.as_ref().is_some_and(|it| it.undoes)
        }
        EffectKind::Batch { bodies, .. } => bodies.iter().any(|it| it.undoes),
        EffectKind::Saga { .. } | EffectKind::WithCompensation { .. } => true,
        _ => false,
    }
}

/// Puts `inner` as `body` into a control node that takes over its place and names.
fn wrap(
    mut inner: EffectDef,
    name: &str,
    kind: impl FnOnce(Box<EffectDef>) -> EffectKind,
) -> EffectDef {
    let segment = std::mem::replace(&mut inner.segment, "body".into());
    EffectDef {
        segment,
        id: inner.id.take(),
        name: name.into(),
        when: None,
        save: None,
        compensation: None,
        undoes: inner.undoes,
        kind: kind(Box::new(inner)),
    }
}
