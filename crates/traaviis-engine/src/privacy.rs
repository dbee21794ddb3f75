//! Personal data at the places where a step takes and tells something: payloads of events, calls,
//! and lines of the log.
//!
//! Invariant: what is recorded is redacted already, and no record that is read again is redacted
//! another time. So a history says the same whatever the rules of a later release find.

use traaviis_model::{
    Body, EffectError, Map, Seq, Text, Value,
    call::REDACTED_PARAMS,
    definition::{Definition, Plugin},
    limits,
    privacy::{PiiMode, PiiType, RedactionKey},
    record::{Again, PatchOp, Retried},
};
use traaviis_policy::pii::{self, Blocked, Policy, Target};

use crate::{
    expr::EvalError,
    machine::{EventDef, Machine, fitted},
    step::{Input, Rejection, Resolution, Run, StepContext, too_large},
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

/// Says whether the plugin of a document needs the tenant's key.
pub(crate) fn needs_key(definition: &Definition) -> bool {
    plugin(definition).is_some_and(|(mode, ..)| mode.needs_key())
}

/// Says whether event payloads are redacted before they are taken.
pub(crate) fn redacts_events(machine: &Machine) -> bool {
    plugin(machine.definition()).is_some()
}

/// Returns what is done with what comes from outside, or is published, as an event or like one.
fn policy_of(
    machine: &Machine,
    declared: Option<&EventDef>,
    key: Option<&RedactionKey>,
) -> Option<Policy> {
    let (mode, types, fields) = plugin(machine.definition())?;
    let labels = declared.into_iter().flat_map(|it| &it.pii);
    let label = |(pointer, kind): &(Text, Option<PiiType>)| Target {
        pointer: pointer.clone(),
        kind: *kind,
    };
    let field = |pointer: &Text| Target { pointer: pointer.clone(), kind: Some(PiiType::Custom) };
    // A label says more than a field, so it comes first.
    let targets = labels.map(label).chain(fields.iter().map(field)).collect();
    Some(Policy { mode, types: types.to_vec(), targets, key: key.cloned() })
}

/// Returns what is done with every type.
fn policy_for(mode: PiiMode, key: Option<&RedactionKey>) -> Policy {
    Policy { key: key.cloned(), ..Policy::all(mode) }
}

/// Redacts what somebody gives. Digests and tokens can be longer than what they stand for.
fn redacted(what: &str, data: &Value, policy: &Policy) -> Result<Value, Rejection> {
    redacted_at(what, data, &[], policy)
}

fn redacted_at(
    what: &str,
    data: &Value,
    keys: &[&str],
    policy: &Policy,
) -> Result<Value, Rejection> {
    let redacted = pii::redact_at(data, keys, policy).map_err(|why| refusal(what, &why))?;
    match redacted.value.json_len() > limits::PAYLOAD_BYTES_MAX {
        true => Err(too_large(&format!("redacted, {what}"), limits::PAYLOAD_BYTES_MAX)),
        false => Ok(redacted.value),
    }
}

/// Returns a start input as it is taken; it fits its schema already.
pub(crate) fn redacted_start(
    machine: &Machine,
    input: Value,
    key: Option<&RedactionKey>,
) -> Result<Value, Rejection> {
    match policy_of(machine, None, key) {
        Some(policy) => redacted("the start input", &input, &policy),
        None => Ok(input),
    }
}

/// Returns what somebody gives to an effect, as it may be kept.
pub(crate) fn redacted_with(
    machine: &Machine,
    with: Value,
    context: &StepContext,
) -> Result<Value, Rejection> {
    let policy = policy_of(machine, None, context.key.as_ref()).filter(|_| !context.is_recorded);
    match policy {
        // Named places are places of payloads.
        Some(policy) => redacted("`with`", &with, &Policy { targets: Vec::new(), ..policy }),
        None => Ok(with),
    }
}

/// Returns an event payload as it is taken: fitted to its schema, then redacted.
pub(crate) fn taken(
    machine: &Machine,
    name: &str,
    declared: &EventDef,
    data: Value,
    key: Option<&RedactionKey>,
) -> Result<Value, Rejection> {
    let data = fitted(declared, data).map_err(|errors| {
        let message =
            format!("the payload of `{name}` does not fit its schema: {}", errors.join("; "));
        Rejection::new("event_payload_invalid", message)
            .with(Value::map([("errors", Value::list(errors.into_iter().map(Value::from)))]))
    })?;
    match policy_of(machine, Some(declared), key) {
        Some(policy) => redacted(&format!("the payload of `{name}`"), &data, &policy),
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

/// Returns a record as it would be written today: releases before this one redacted neither log
/// lines nor what is published.
pub(crate) fn as_written_now(
    machine: &Machine,
    body: &Body,
    key: Option<&RedactionKey>,
) -> Option<Body> {
    match body {
        Body::Logged { level, message, data } => Some(logged(level, message, data)),
        Body::Emitted { event, data, subject } => {
            let (event, subject) = (event.clone(), subject.clone());
            let data = published(machine, &event, data, key).ok()?;
            Some(Body::Emitted { event, data, subject })
        }
        _ => None,
    }
}

/// Returns what is published as an event.
fn published(
    machine: &Machine,
    event: &str,
    data: &Value,
    key: Option<&RedactionKey>,
) -> Result<Value, Blocked> {
    let declared = machine.declaration(event).map(|it| it.1);
    match policy_of(machine, declared, key) {
        Some(policy) => pii::redact(data, &policy).map(|it| it.value),
        None => Ok(data.clone()),
    }
}

/// Redacts what a call tells the other side.
pub(crate) fn redacted_call(
    mode: PiiMode,
    input: &mut Map,
    key: Option<&RedactionKey>,
) -> Result<(), EffectError> {
    let policy = policy_for(mode, key);
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
    policy: &Policy,
    outcome: Result<Value, EffectError>,
) -> Result<Value, EffectError> {
    match outcome {
        Ok(value) => match pii::redact(&value, policy) {
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
                    Some(mode) => redacted_outcome(&policy_for(mode, self.key.as_ref()), outcome),
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
            Some(declared) => {
                taken(self.machine, &event, declared, data.clone(), self.key.as_ref())
            }
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

    /// Returns what is done with what somebody gives by hand; none when it is kept as it is, or was
    /// redacted when it was given.
    fn by_hand(&self) -> Option<Policy> {
        let policy = policy_of(self.machine, None, self.key.as_ref())?;
        // Named places are places of payloads.
        (!self.is_recorded).then_some(Policy { targets: Vec::new(), ..policy })
    }

    /// Redacts what an operator writes into the data. Where it is written stays as it is.
    pub(crate) fn redacted_patch(
        &self,
        mut patch: Vec<PatchOp>,
    ) -> Result<Vec<PatchOp>, Rejection> {
        let Some(policy) = self.by_hand() else { return Ok(patch) };
        for op in &mut patch {
            let (PatchOp::Add { path, value } | PatchOp::Replace { path, value }) = op else {
                continue;
            };
            let keys: Vec<String> = path
                .split('/')
                .skip(1)
                .map(|it| it.replace("~1", "/").replace("~0", "~"))
                .collect();
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            *value = redacted_at("the value", value, &keys, &policy)?;
        }
        Ok(patch)
    }

    /// Redacts what a person answers to a task.
    pub(crate) fn redacted_form(&self, form: Value) -> Result<Value, Rejection> {
        match policy_of(self.machine, None, self.key.as_ref()).filter(|_| !self.is_recorded) {
            Some(policy) => redacted("the form", &form, &policy),
            None => Ok(form),
        }
    }

    /// Redacts what a person says to it.
    pub(crate) fn redacted_comment(
        &self,
        comment: Option<Text>,
    ) -> Result<Option<Text>, Rejection> {
        let (Some(policy), Some(text)) = (self.by_hand(), &comment) else { return Ok(comment) };
        let redacted = redacted("the comment", &Value::String(text.clone()), &policy)?;
        Ok(redacted.as_str().map(Text::from))
    }

    /// Redacts a value that a person gives in the place of a call's, as the call says.
    fn redacted_in_place(&self, mode: Option<PiiMode>, value: Value) -> Result<Value, Rejection> {
        match mode.filter(|_| !self.is_recorded) {
            Some(mode) => redacted("the value", &value, &policy_for(mode, self.key.as_ref())),
            None => Ok(value),
        }
    }

    /// Redacts the value of an answer to an incident.
    pub(crate) fn redacted_resolution(
        &self,
        tree: Seq,
        path: &str,
        resolution: Resolution,
    ) -> Result<Resolution, Rejection> {
        let redacted = |value| self.redacted_in_place(self.redacted_out(tree, path), value);
        Ok(match resolution {
            Resolution::Happened(value) => Resolution::Happened(redacted(value)?),
            Resolution::Skip(value) => Resolution::Skip(redacted(value)?),
            other => other,
        })
    }

    /// Redacts the value with which an instance that failed goes on.
    pub(crate) fn redacted_retry(&self, retried: &mut Retried) -> Result<(), Rejection> {
        let Again::Skip { tree, path, value } = &mut retried.again else { return Ok(()) };
        let mode = retried.state.tree(*tree).and_then(|it| self.redacted_out_of(it, path));
        *value = self.redacted_in_place(mode, std::mem::take(value))?;
        Ok(())
    }

    /// Returns what is published as an event.
    pub(crate) fn published(&self, event: &str, data: Value) -> Result<Value, EvalError> {
        let published = published(self.machine, event, &data, self.key.as_ref());
        published.map_err(|why| EvalError {
            code: BLOCKED,
            message: format!("what `{event}` would publish is refused: {why}"),
        })
    }
}
