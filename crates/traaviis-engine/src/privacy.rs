//! Personal data at the places where a step takes and tells something: payloads of events, calls,
//! and lines of the log.
//!
//! Invariant: what is recorded is redacted already, and no record that is read again is redacted
//! another time. So a history says the same whatever the rules of a later release find.

use traaviis_model::{
    Body, EffectError, Map, Text, Value,
    call::REDACTED_PARAMS,
    definition::{Definition, Plugin},
    privacy::{PiiMode, PiiType},
};
use traaviis_policy::pii::{self, Blocked, Policy, Target};

use crate::{
    machine::{EventDef, Machine, fitted},
    step::{Input, Rejection, Run},
};

/// Code of what is refused because of the personal data in it.
const BLOCKED: &str = "guardrail_blocked";

/// Returns the plugin `redaction` of a document.
fn plugin(definition: &Definition) -> Option<(PiiMode, &[PiiType], &[Text])> {
    definition.plugins.iter().find_map(|it| match it {
        Plugin::Redaction { mode, types, fields } => Some((*mode, &types[..], &fields[..])),
        _ => None,
    })
}

/// Says whether event payloads are redacted before they are taken.
pub(crate) fn redacts_events(machine: &Machine) -> bool {
    plugin(machine.definition()).is_some()
}

fn policy_of(machine: &Machine, declared: Option<&EventDef>) -> Option<Policy> {
    let (mode, types, fields) = plugin(machine.definition())?;
    let labels = declared.into_iter().flat_map(|it| &it.pii);
    let label = |(pointer, kind): &(Text, Option<PiiType>)| Target {
        pointer: pointer.clone(),
        kind: *kind,
    };
    let field = |pointer: &Text| Target { pointer: pointer.clone(), kind: Some(PiiType::Custom) };
    // A label says more than a field, so it comes first.
    let targets = labels.map(label).chain(fields.iter().map(field)).collect();
    Some(Policy { mode, types: types.to_vec(), targets, key: None })
}

/// Returns an event payload as it is taken: fitted to its schema, then redacted.
pub(crate) fn taken(
    machine: &Machine,
    name: &str,
    declared: &EventDef,
    data: Value,
) -> Result<Value, Rejection> {
    let data = fitted(declared, data).map_err(|errors| {
        let message =
            format!("the payload of `{name}` does not fit its schema: {}", errors.join("; "));
        Rejection::new("event_payload_invalid", message)
            .with(Value::map([("errors", Value::list(errors.into_iter().map(Value::from)))]))
    })?;
    match policy_of(machine, Some(declared)) {
        Some(policy) => match pii::redact(&data, &policy) {
            Ok(redacted) => Ok(redacted.value),
            Err(why) => Err(refusal(&format!("the payload of `{name}`"), &why)),
        },
        None => Ok(data),
    }
}

fn refusal(what: &str, why: &Blocked) -> Rejection {
    let types = why.types.iter().map(|it| Value::from(it.as_str()));
    Rejection::new(BLOCKED, format!("{what} is refused: {why}"))
        .with(Value::map([("types", Value::list(types))]))
}

/// Masks every type in a value that is told, not worked with.
fn masked(value: &Value) -> Value {
    pii::redact(value, &Policy::all(PiiMode::Mask)).map(|it| it.value).unwrap_or_default()
}

fn masked_text(text: &str) -> String {
    pii::redact_text(text, &Policy::all(PiiMode::Mask))
}

/// Returns the record of a log line, with personal data masked.
pub(crate) fn logged(level: &Text, message: &str, data: &Value) -> Body {
    Body::Logged { level: level.clone(), message: masked_text(message).into(), data: masked(data) }
}

/// Returns a record as it would be written today: releases before this one did not mask log lines.
pub(crate) fn as_logged_now(body: &Body) -> Option<Body> {
    match body {
        Body::Logged { level, message, data } => Some(logged(level, message, data)),
        _ => None,
    }
}

/// Redacts what a call tells the other side.
pub(crate) fn redacted_call(mode: PiiMode, input: &mut Map) -> Result<(), EffectError> {
    let policy = Policy::all(mode);
    for name in REDACTED_PARAMS {
        let Some(value) = input.get_mut(name) else { continue };
        // The key under which a text stands says what it is, also at the top.
        let named = Value::map([(*name, std::mem::take(value))]);
        match pii::redact(&named, &policy) {
            Ok(redacted) => *value = redacted.value.get(name).cloned().unwrap_or_default(),
            Err(why) => return Err(blocked("the call", &why)),
        }
    }
    Ok(())
}

fn blocked(what: &str, why: &Blocked) -> EffectError {
    let types = why.types.iter().map(|it| Value::from(it.as_str()));
    EffectError::new(BLOCKED, format!("{what} is refused: {why}"))
        .with_details(Value::map([("types", Value::list(types))]))
}

/// Redacts what came back from a call.
fn redacted_outcome(
    mode: PiiMode,
    outcome: Result<Value, EffectError>,
) -> Result<Value, EffectError> {
    match outcome {
        Ok(value) => match pii::redact(&value, &Policy::all(mode)) {
            Ok(redacted) => Ok(redacted.value),
            Err(why) => Err(blocked("the value", &why)),
        },
        Err(error) => Err(masked_error(error)),
    }
}

fn masked_error(mut error: EffectError) -> EffectError {
    error.message = masked_text(&error.message).into();
    error.details = masked(&error.details);
    error.cause = error.cause.map(|it| Box::new(masked_error(*it)));
    error
}

impl Run<'_> {
    /// Redacts what an input brings from outside, before any of it is kept. An event of a caller is
    /// redacted when it is taken, since nothing is kept of one that is refused.
    pub(crate) fn redacted_input(&mut self, input: Input) -> Input {
        if self.is_recorded {
            return input;
        }
        match input {
            Input::Delivered { event, data, id, refused } if redacts_events(self.machine) => {
                self.redacted_delivery(event, data, id, refused)
            }
            Input::Outcome { tree, path, scheduled, attempt, outcome } => {
                let outcome = match self.redacted_out(tree, &path) {
                    Some(mode) => redacted_outcome(mode, outcome),
                    None => outcome,
                };
                Input::Outcome { tree, path, scheduled, attempt, outcome }
            }
            other => other,
        }
    }

    /// Nobody waits for an answer to a delivery, so a refused one is recorded: with its payload
    /// masked, or without it when it must not be here.
    fn redacted_delivery(
        &self,
        event: Text,
        data: Value,
        id: Text,
        refused: Option<Box<EffectError>>,
    ) -> Input {
        let declared = self.machine.declaration(&event).map(|it| it.1).filter(|it| !it.internal);
        let fits = match declared {
            Some(declared) => taken(self.machine, &event, declared, data.clone()),
            None => Ok(masked(&data)),
        };
        let (data, why) = match fits {
            Ok(data) => (data, None),
            Err(why) if why.code == BLOCKED => (Value::Null, Some(why)),
            Err(why) => (masked(&data), Some(why)),
        };
        let why =
            why.map(|it| Box::new(EffectError::new(it.code, it.message).with_details(it.details)));
        let refused = refused.or(why).map(|it| Box::new(masked_error(*it)));
        Input::Delivered { event, data, id, refused }
    }
}
