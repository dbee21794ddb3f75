//! W212: reminders and escalations of tasks that never come.

use traaviis_model::{
    Diagnostic, Span, Value,
    definition::{Definition, Effect, State},
};

use super::warning;
use crate::machine::written_span;

pub(super) fn check(definition: &Definition, found: &mut Vec<Diagnostic>) {
    states(&definition.states, found);
    definition.effects.iter().for_each(|it| effect(&it.effect, found));
}

fn states(of: &[State], found: &mut Vec<Diagnostic>) {
    for state in of {
        state.invoke.iter().for_each(|it| effect(&it.effect, found));
        states(state.kind.children(), found);
    }
}

fn effect(of: &Effect, found: &mut Vec<Diagnostic>) {
    if matches!(&*of.kind, "human_task" | "approval") {
        task(of, found);
    }
    of.parts().into_iter().for_each(|it| effect(it, found));
}

fn task(task: &Effect, found: &mut Vec<Diagnostic>) {
    let deadline = task.param("deadline").and_then(written_span);
    let reminders = task.param("reminders").and_then(Value::as_list).unwrap_or_default();
    for (at, item) in reminders.iter().enumerate() {
        let (before, span) = match (item.get("before"), item.get("after")) {
            (Some(before), _) => (true, before),
            (None, after) => (false, after.unwrap_or(item)),
        };
        let Some(span) = written_span(span) else { continue };
        let why = match (before, deadline) {
            (true, Some(deadline)) if span >= deadline => {
                format!(
                    "it would come before the task opens, which is {deadline} before it is over"
                )
            }
            (true, _) => continue,
            (false, deadline) => match too_late(span, deadline) {
                Some(why) => why,
                None => continue,
            },
        };
        let pointer = format!("{}/reminders/{at}", task.pointer);
        let hint = "give a time between the opening of the task and its deadline";
        found.push(warning("W212", pointer, format!("this reminder never comes: {why}"), hint));
    }
    let escalation = task.param("escalation").and_then(|it| it.get("after")).and_then(written_span);
    if let Some(why) = escalation.and_then(|it| too_late(it, deadline)) {
        let pointer = format!("{}/escalation/after", task.pointer);
        let hint = "give a time between the opening of the task and its deadline";
        found.push(warning("W212", pointer, format!("this escalation never comes: {why}"), hint));
    }
}

/// Says why what comes so long after the opening of a task never comes.
fn too_late(span: Span, deadline: Option<Span>) -> Option<String> {
    match deadline {
        _ if span == Span(0) => Some("it would come when the task opens".into()),
        Some(deadline) if span >= deadline => {
            Some(format!("the task is over {deadline} after it opened"))
        }
        _ => None,
    }
}
