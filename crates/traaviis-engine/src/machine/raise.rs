//! E110: payloads that are raised as they stand in the document, and do not fit their event.
//!
//! Those that are computed are checked when they are raised.

use std::collections::BTreeMap;

use traaviis_model::{Diagnostic, Text, Value};

use super::{ActionDef, ActionKind, Candidate, EventDef, EventName, StateDef, declaration};

/// Returns the payload that an event is raised with, or what is wrong with it. Who gives none means
/// an empty one, unless the schema takes null as it is.
pub(crate) fn fitted(event: &EventDef, data: Value) -> Result<Value, Vec<String>> {
    let Some(schema) = &event.schema else { return Ok(data) };
    let errors = schema.errors(&data);
    if errors.is_empty() {
        return Ok(data);
    }
    let data = if data.is_null() { Value::empty_map() } else { return Err(errors) };
    let errors = schema.errors(&data);
    if errors.is_empty() { Ok(data) } else { Err(errors) }
}

/// Looks through the actions of all states.
pub(super) fn check(
    states: &[StateDef],
    events: &BTreeMap<Text, EventDef>,
    found: &mut Vec<Diagnostic>,
) {
    let mut check = Check { events, found };
    for state in states {
        for actions in [&state.entry, &state.exit, &state.on_default] {
            check.actions(actions);
        }
        for (_, candidates) in &state.on {
            check.candidates(candidates);
        }
        for candidates in [&state.always, &state.on_done, &state.on_error] {
            check.candidates(candidates);
        }
        state.after.iter().for_each(|it| check.candidates(&it.candidates));
        for invoke in &state.invoke {
            check.candidates(&invoke.on_done);
            check.candidates(&invoke.on_error);
        }
    }
}

struct Check<'a> {
    events: &'a BTreeMap<Text, EventDef>,
    found: &'a mut Vec<Diagnostic>,
}

impl Check<'_> {
    fn candidates(&mut self, candidates: &[Candidate]) {
        candidates.iter().for_each(|it| self.actions(&it.actions));
    }

    fn actions(&mut self, actions: &[ActionDef]) {
        for action in actions {
            match &action.kind {
                ActionKind::Raise { event: EventName::Literal(event), data, .. } => {
                    let data = data.as_ref().map_or(Some(&Value::Null), |it| it.as_constant());
                    if let Some(data) = data {
                        self.raise(event, data, &action.pointer);
                    }
                }
                ActionKind::Choose(branches) => {
                    branches.iter().for_each(|it| self.actions(&it.actions));
                }
                ActionKind::ForEach { actions, .. } | ActionKind::Block(actions) => {
                    self.actions(actions);
                }
                _ => {}
            }
        }
    }

    fn raise(&mut self, event: &Text, data: &Value, pointer: &Text) {
        let Some((_, def)) = declaration(self.events, event) else { return };
        if let Err(errors) = fitted(def, data.clone()) {
            let errors = errors.join("; ");
            let message = format!("the payload does not fit the schema of `{event}`: {errors}");
            let hint = "correct `data`, or the `schema` of the event";
            let pointer = format!("{pointer}/raise");
            self.found.push(Diagnostic::error("E110", pointer, message).hint(hint));
        }
    }
}
