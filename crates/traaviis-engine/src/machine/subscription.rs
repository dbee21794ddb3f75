//! Compiled subscriptions: which events that other instances emit arrive, and as what.
//!
//! An emission arrives at an instance once: by the first subscription that fits.

use traaviis_model::{
    Diagnostic, Emission, Snapshot, Text, Value,
    definition::{Definition, Subscription},
    record::Status,
};

use super::{EventDef, Machine, compile::Compiler, nearest};
use crate::{
    expr::{Env, Expr, Scope, SecretUse, Template, Var},
    step::text_of,
};

/// What `match` of a subscription may read.
const SCOPE: Scope = Scope::DATA.union(Scope::EVENT);

/// A compiled subscription.
#[derive(Debug)]
pub(crate) struct SubscriptionDef {
    event: Text,
    workflow: Option<Text>,
    instance: Option<Template>,
    condition: Option<Expr>,
    key: Option<Template>,
    arrives_as: Text,
    pointer: Text,
}

/// What a subscription reads: the data of the subscriber, and the emission.
struct Heard<'a> {
    snapshot: &'a Snapshot,
    emission: &'a Emission,
}

impl Env for Heard<'_> {
    fn var(&self, var: Var) -> Option<Value> {
        let emission = self.emission;
        match var {
            Var::Data => Some(self.snapshot.data.clone()),
            Var::Event => Some(Value::map([
                ("name", Value::String(emission.event.clone())),
                ("data", emission.data.clone()),
                ("subject", emission.subject.clone().map_or(Value::Null, Value::String)),
                ("workflow", Value::String(emission.workflow.clone())),
                ("instance_id", Value::from(emission.publisher.to_string())),
                ("id", Value::String(emission.id())),
                ("time", Value::Time(emission.at)),
            ])),
            _ => None,
        }
    }

    fn random_seed(&self) -> (u64, u64) {
        self.emission.publisher.0.as_u64_pair()
    }
}

impl Machine {
    /// Returns the names of the emitted events that open instances hear, each once.
    pub fn hears(&self) -> impl Iterator<Item = &Text> {
        let is_first = |at: usize| {
            let earlier = &self.subscriptions[..at];
            !earlier.iter().any(|it| it.event == self.subscriptions[at].event)
        };
        let all = self.subscriptions.iter().enumerate();
        all.filter(move |(at, _)| is_first(*at)).map(|(_, it)| &it.event)
    }

    /// Returns the event as which an emission arrives at an instance; none when it does not. What
    /// cannot be computed does not fit.
    pub fn arrives_as(&self, snapshot: &Snapshot, emission: &Emission) -> Option<Text> {
        let is_open = !snapshot.status.is_finished() && snapshot.status != Status::Completing;
        // What happened before the instance was there does not concern it.
        let is_before = emission.at < snapshot.created_at;
        let is_own = emission.publisher == snapshot.id;
        if !is_open || is_before || is_own {
            return None;
        }
        let heard = Heard { snapshot, emission };
        self.subscriptions.iter().find(|it| it.fits(&heard)).map(|it| it.arrives_as.clone())
    }
}

impl SubscriptionDef {
    fn fits(&self, heard: &Heard<'_>) -> bool {
        let emission = heard.emission;
        let is_named = self.event == emission.event
            && self.workflow.as_ref().is_none_or(|it| same_name(it, &emission.workflow));
        is_named
            && self.instance.as_ref().is_none_or(|it| {
                it.render(heard).is_ok_and(|id| *text_of(&id) == *emission.publisher.to_string())
            })
            && self.key.as_ref().is_none_or(|it| {
                let subject = emission.subject.as_deref();
                subject.is_some_and(|is| it.render(heard).is_ok_and(|key| *text_of(&key) == *is))
            })
            && self.condition.as_ref().is_none_or(|it| it.eval_bool(heard).unwrap_or(false))
    }

    /// Returns where and why this one can never deliver anything, after `earlier` ones.
    pub(crate) fn never(&self, earlier: &[SubscriptionDef]) -> Option<(String, String)> {
        let constant = self.condition.as_ref().and_then(Expr::constant);
        if constant == Some(&Value::Bool(false)) {
            let message = "`match` is always false, so nothing arrives".to_string();
            return Some((format!("{}/match", self.pointer), message));
        }
        let takes_all = |it: &&SubscriptionDef| {
            it.event == self.event
                && it.instance.is_none()
                && it.key.is_none()
                && it.condition.as_ref().is_none_or(|it| it.constant() == Some(&Value::Bool(true)))
                && it.workflow.as_ref().is_none_or(|workflow| {
                    self.workflow.as_ref().is_some_and(|it| same_name(it, workflow))
                })
        };
        let first = earlier.iter().find(takes_all)?;
        let message = format!(
            "`{}` is taken by `{}` before, so nothing arrives by this one",
            self.event, first.pointer
        );
        Some((self.pointer.to_string(), message))
    }
}

/// Names of workflows are the same without regard to case.
fn same_name(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

pub(super) fn compile(
    compiler: &mut Compiler,
    definition: &Definition,
    events: &std::collections::BTreeMap<Text, EventDef>,
) -> Vec<SubscriptionDef> {
    for listener in &definition.listeners {
        let pointer = &listener.pointer;
        if let Some(it) = &listener.condition {
            compiler.condition(it, Scope::EVENT, &format!("{pointer}/match"));
        }
        let place = format!("{pointer}/input");
        compiler.template(&listener.input, Scope::EVENT, SecretUse::Refused, &place);
    }
    let one = |it: &Subscription| {
        known(compiler, it, events);
        let pointer = &it.pointer;
        let mut template = |value: &Option<Value>, place: &str| {
            let place = format!("{pointer}/{place}");
            let compile = |it| compiler.template(it, Scope::DATA, SecretUse::Refused, &place);
            value.as_ref().map(compile)
        };
        let instance = template(&it.from.instance, "from/instance");
        let key = template(&it.key, "key");
        let condition = it
            .condition
            .as_ref()
            .map(|it| compiler.condition(it, SCOPE, &format!("{pointer}/match")));
        SubscriptionDef {
            event: it.event.clone(),
            workflow: it.from.workflow.clone(),
            instance,
            condition,
            key,
            arrives_as: it.arrives_as.clone(),
            pointer: it.pointer.clone(),
        }
    };
    definition.subscriptions.iter().map(one).collect()
}

/// Reports an event that this workflow takes from nobody outside.
fn known(
    compiler: &mut Compiler,
    subscription: &Subscription,
    events: &std::collections::BTreeMap<Text, EventDef>,
) {
    let name = &subscription.arrives_as;
    let declared = super::declaration(events, name);
    let (message, hint) = match declared {
        Some((_, it)) if !it.internal => return,
        Some(_) => (
            format!("event `{name}` is internal, so it cannot arrive from another instance"),
            "remove `source: internal`, or let it arrive `as` another event".to_string(),
        ),
        None => (format!("event `{name}` is not declared"), {
            let declare = format!("declare it: `events: {{{name}: {{}}}}`");
            match nearest(name, events.keys().map(|it| &**it)) {
                Some(near) => format!("did you mean `as: {near}`? Otherwise {declare}"),
                None => format!("{declare}, or let it arrive `as` a declared one"),
            }
        }),
    };
    compiler.found(Diagnostic::error("E106", &*subscription.pointer, message).hint(hint));
}
