//! Calls: to the outside, to other instances, and to the gates around an effect.

use traaviis_model::{
    Text, Value,
    call::GATE,
    definition::{Effect, OnUnknown},
    privacy::{PiiMode, Redact},
    record::ParentClose,
};

use super::Build;
use crate::{
    expr::{Scope, SecretUse, Template},
    gates::ASK,
    machine::effect::{CallParams, EffectDef, EffectKind, SpawnDef},
};

impl Build<'_> {
    pub(super) fn call(&mut self, effect: &Effect, scope: Scope) -> EffectKind {
        let pointer = effect.pointer.to_string();
        let input = effect
            .params
            .iter()
            .map(|(name, value)| {
                let secrets = match &**name {
                    "headers" | "auth" if self.inside.is_empty() => self.secrets,
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
    pub(super) fn message(&mut self, effect: &Effect, scope: Scope) -> EffectKind {
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
    pub(super) fn ask(
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
}
