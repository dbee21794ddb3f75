//! Compiled triggers of type `webhook`: what a message that arrives over HTTP asks for.

use traaviis_model::{
    Diagnostic, Text, Timestamp, Value,
    definition::{Definition, Hook, State, StateKind},
};

use super::{EventDef, Machine, compile::Compiler, nearest};
use crate::{
    expr::{Env, EvalError, Scope, SecretUse, Template, Var},
    step::text_of,
};

/// A compiled hook.
#[derive(Debug)]
pub(crate) struct HookDef {
    name: Text,
    event: Option<(Text, Template)>,
    input: Template,
}

/// A message that has arrived at a hook.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrived {
    /// Its own id, by which a repetition is known.
    pub id: Option<Text>,
    /// Its body.
    pub data: Value,
    /// When.
    pub at: Timestamp,
}

/// What a message asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum HookDeed {
    /// A new instance.
    Start {
        /// Its input.
        input: Value,
    },
    /// An event for an open instance.
    Send {
        /// Event.
        event: Text,
        /// Business key of the instance.
        correlation: Text,
        /// Payload.
        data: Value,
    },
}

/// What the templates of a hook read.
struct Heard<'a> {
    name: &'a Text,
    arrived: &'a Arrived,
}

impl Env for Heard<'_> {
    fn var(&self, var: Var) -> Option<Value> {
        let Arrived { id, data, at } = self.arrived;
        (var == Var::Event).then(|| {
            Value::map([
                ("name", Value::String(self.name.clone())),
                ("data", data.clone()),
                ("id", id.clone().map_or(Value::Null, Value::String)),
                ("time", Value::Time(*at)),
            ])
        })
    }

    /// The same message gives the same.
    fn random_seed(&self) -> (u64, u64) {
        let Arrived { id, data, at } = self.arrived;
        match id {
            Some(id) => (seed_of(id), 0),
            None => (seed_of(&data.to_json()), at.0 as u64),
        }
    }
}

/// Returns a number for a text: FNV-1a, which needs no secret here.
fn seed_of(text: &str) -> u64 {
    let step = |seed: u64, byte: u8| (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

impl Machine {
    /// Says what a message to a hook asks for; none when there is no such hook.
    pub fn hook(&self, name: &str, arrived: &Arrived) -> Option<Result<HookDeed, EvalError>> {
        let hook = self.hooks.iter().find(|it| *it.name == *name)?;
        Some(hook.deed(arrived))
    }
}

impl HookDef {
    fn deed(&self, arrived: &Arrived) -> Result<HookDeed, EvalError> {
        let heard = Heard { name: &self.name, arrived };
        let input = self.input.render(&heard)?;
        let Some((event, correlation)) = &self.event else {
            return Ok(HookDeed::Start { input });
        };
        let correlation = text_of(&correlation.render(&heard)?);
        Ok(HookDeed::Send { event: event.clone(), correlation, data: input })
    }
}

pub(super) fn compile(
    compiler: &mut Compiler,
    definition: &Definition,
    events: &std::collections::BTreeMap<Text, EventDef>,
) -> Vec<HookDef> {
    let one = |hook: &Hook| {
        let mut template = |value: &Value, place: &str| {
            let place = format!("{}/{place}", hook.pointer);
            compiler.template(value, Scope::EVENT, SecretUse::Refused, &place)
        };
        let input = template(&hook.input, "input");
        let correlation = hook.correlation.as_ref().map(|it| template(it, "correlation"));
        if let Some(event) = &hook.event {
            known(compiler, event, hook, definition, events);
        }
        if hook.wait.is_some() {
            ends(compiler, hook, definition);
        }
        let event = hook.event.clone().zip(correlation);
        HookDef { name: hook.name.clone(), event, input }
    };
    definition.hooks.iter().map(one).collect()
}

/// Reports a sender who would wait for an end that never comes.
fn ends(compiler: &mut Compiler, hook: &Hook, definition: &Definition) {
    let is_final = |it: &State| matches!(it.kind, StateKind::Final { .. });
    if definition.states.iter().any(is_final) {
        return;
    }
    let message = "`reply: result` waits for the end, and no state of this workflow is `final`";
    let hint = "write `reply: ack`, or a state with `type: final`";
    let place = format!("{}/reply", hook.pointer);
    compiler.found(Diagnostic::error("E101", place, message).hint(hint));
}

/// Reports an event that cannot arrive from outside, and instances that have no key to be found by.
fn known(
    compiler: &mut Compiler,
    event: &Text,
    hook: &Hook,
    definition: &Definition,
    events: &std::collections::BTreeMap<Text, EventDef>,
) {
    let place = format!("{}/event", hook.pointer);
    let found = match super::declaration(events, event) {
        Some((_, it)) if it.internal => {
            let message = format!("event `{event}` is internal, so it cannot arrive by a hook");
            Some((message, "remove `source: internal`, or name another event".to_string()))
        }
        Some(_) => None,
        None => {
            let hint = match nearest(event, events.keys().map(|it| &**it)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("declare it: `events: {{{event}: {{}}}}`"),
            };
            Some((format!("event `{event}` is not declared"), hint))
        }
    };
    if let Some((message, hint)) = found {
        compiler.found(Diagnostic::error("E106", place, message).hint(hint));
    } else if definition.correlation.is_none() {
        let message = "instances of this workflow have no business key, so no event finds one";
        let hint = "write `correlation: {key: ...}` for the workflow";
        let place = format!("{}/correlation", hook.pointer);
        compiler.found(Diagnostic::error("E106", place, message).hint(hint));
    }
}
