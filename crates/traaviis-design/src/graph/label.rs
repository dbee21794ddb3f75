//! The words beside a transition and inside a state.

use traaviis_model::{
    Value,
    definition::{Action, ActionKind, Children, Effect, Invoke},
};

/// Returns a value as it stands in a picture: a template without its `${}`.
pub(super) fn value(it: &Value) -> String {
    let text = match it {
        Value::String(text) => text.to_string(),
        other => other.to_json(),
    };
    let inner = text.strip_prefix("${").and_then(|it| it.strip_suffix('}'));
    match inner {
        Some(inner) if !inner.contains("${") => inner.trim().to_string(),
        _ => text,
    }
}

/// Returns a duration; a number is milliseconds.
pub(super) fn delay(it: &Value) -> String {
    match it {
        Value::String(_) => value(it),
        number => format!("{}ms", number.to_json()),
    }
}

/// Returns what an action does, without the values it uses.
pub(super) fn action(action: &Action) -> String {
    let words = match &action.kind {
        ActionKind::Assign(pairs) => {
            let keys: Vec<&str> = pairs.iter().map(|(key, _)| &**key).collect();
            format!("assign {}", keys.join(", "))
        }
        ActionKind::Remove(paths) => format!("remove {}", paths.join(", ")),
        ActionKind::Merge(_) => "merge".into(),
        ActionKind::Raise { event, delay: None, .. } => format!("raise {event}"),
        ActionKind::Raise { event, delay: Some(it), .. } => {
            format!("raise {event} after {}", delay(it))
        }
        ActionKind::Cancel(id) => format!("cancel {id}"),
        ActionKind::Log { .. } => "log".into(),
        ActionKind::Emit { event, .. } => format!("emit {event}"),
        ActionKind::Choose(branches) => {
            let ways: Vec<String> = branches.iter().map(|it| actions(&it.actions)).collect();
            format!("choose ({})", ways.join(" | "))
        }
        ActionKind::ForEach { list, actions: inner } => {
            format!("for each {} ({})", value(list), actions(inner))
        }
        ActionKind::Block(inner) => actions(inner),
    };
    match &action.when {
        Some(when) => format!("{words} if {when}"),
        None => words,
    }
}

/// Returns what several actions do.
pub(super) fn actions(list: &[Action]) -> String {
    list.iter().map(action).collect::<Vec<_>>().join("; ")
}

/// Returns the line of an invoke: its id, its kind, and what it calls.
pub(super) fn invoke(invoke: &Invoke) -> String {
    let mut line = format!("invoke {}: {}", invoke.id, effect(&invoke.effect));
    if let Some(when) = &invoke.when {
        line += &format!(" if {when}");
    }
    if invoke.detach {
        line += " (detached)";
    }
    line
}

fn effect(it: &Effect) -> String {
    let param = |name: &str| it.params.iter().find(|(key, _)| &**key == name).map(|(_, it)| it);
    let about = match &*it.kind {
        "call" => param("function").map(value),
        "call_api" => param("url").map(|url| {
            let method = param("method").map_or("get".into(), value).to_uppercase();
            format!("{method} {}", value(url))
        }),
        "query_fsm" => param("select").map(value),
        "spawn_fsm" => param("workflow").map(value),
        "send_event" | "invoke_fsm" | "broadcast_event" => param("event").map(value),
        "delay" => param("duration").map(delay),
        "saga" => it.children.iter().find_map(|(_, children)| match children {
            Children::Saga(steps) => {
                Some(steps.iter().map(|it| &*it.id).collect::<Vec<_>>().join(", "))
            }
            _ => None,
        }),
        _ => None,
    };
    match about {
        Some(about) => format!("{} {about}", it.kind),
        None => it.kind.to_string(),
    }
}
