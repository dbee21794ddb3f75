//! Builds effect trees from definitions: one node, what is wrapped around it, and what is below.
//!
//! `retry` and `timeout` on a control node, `deadline` on any, and `timeout` of a `batch` are
//! written as `retry` and `timeout` nodes around it; their child has the segment `body`.

mod calls;
mod control;
mod params;
mod waits;

use traaviis_model::{
    Text, Value,
    call::{CALL_KINDS, is_between_instances},
    definition::{Children, Definition, Effect, RetryPolicy},
    limits,
    record::Asked,
};

use super::{EffectDef, EffectKind, RetryDef};
use crate::{
    expr::{Scope, SecretUse, Template},
    machine::compile::Compiler,
};

/// Compiles one effect tree.
pub(in crate::machine) fn compile_tree(
    compiler: &mut Compiler,
    effect: &Effect,
    definition: &Definition,
    segment: &Text,
) -> EffectDef {
    let priority = definition.defaults.priority.unwrap_or(0);
    let (inside, secrets) = (Vec::new(), SecretUse::Allowed);
    let mut build = Build { compiler, definition, nodes: 0, inside, priority, secrets };
    build.node(effect, segment, TREE, 1)
}

/// Compiles an effect that somebody asks for outside of the states, as one that is used with what
/// they give. Only what stands in the document names secrets.
pub(in crate::machine) fn compile_asked(
    compiler: &mut Compiler,
    definition: &Definition,
    asked: &Asked,
    given: Option<&Effect>,
) -> EffectDef {
    let priority = definition.defaults.priority.unwrap_or(0);
    let (inside, secrets) = (Vec::new(), SecretUse::Refused);
    let mut build = Build { compiler, definition, nodes: 1, inside, priority, secrets };
    let with = match &asked.with {
        Value::Null => Value::empty_map(),
        given => given.clone(),
    };
    let body = match given {
        Some(given) => build.node(given, &"body".into(), TREE.union(Scope::PARAM), 2),
        None => build.named(asked.effect.as_deref().unwrap_or_default(), "/effect", 1),
    };
    let undoes = body.undoes;
    let kind = EffectKind::Use { body: Box::new(body), with: Template::constant(with) };
    EffectDef { name: "use".into(), undoes, ..build.leaf(&asked.root(), kind) }
}

/// Compiles the named effects for what is wrong with them, also with those that nothing uses.
pub(in crate::machine) fn check_named(compiler: &mut Compiler, definition: &Definition) {
    for named in &definition.effects {
        let (inside, secrets) = (vec![&*named.name], SecretUse::Allowed);
        let mut build = Build { compiler, definition, nodes: 0, inside, priority: 0, secrets };
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
    /// Whether what stands in no named effect may name secrets.
    secrets: SecretUse,
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
