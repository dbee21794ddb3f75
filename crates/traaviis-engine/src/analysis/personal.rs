//! W210: personal data that a document labels, keeps literally, and sends on without `redact`.

use traaviis_model::{
    Diagnostic, Text, Value,
    definition::{Action, ActionKind, Effect, EventDeclaration},
};

use super::{chart::Chart, warning};
use crate::{machine::Descriptor, privacy::redacts_events};

/// Effects that tell somebody else what they are given.
const OUTBOUND: &[&str] = &[
    "call",
    "call_api",
    "mcp_call",
    "call_llm",
    "rag_pipeline",
    "invoke_agent",
    "spawn_agent",
    "coordinate_agents",
    "quality_gate",
];

/// A place of `data` that holds what an event brought.
struct Kept<'m> {
    /// As an expression reads it.
    path: String,
    event: &'m str,
    pointer: &'m str,
}

pub(super) fn check(chart: &Chart<'_>, found: &mut Vec<Diagnostic>) {
    let definition = chart.machine.definition();
    // Then no state ever sees what a label is about.
    if redacts_events(chart.machine) || definition.events.iter().all(|it| it.pii.is_empty()) {
        return;
    }
    let kept = kept(chart);
    let outbound = Outbound { kept: &kept };
    for invoke in chart.states().filter_map(|it| chart.written(it)).flat_map(|it| &it.invoke) {
        outbound.effect(&invoke.effect, found);
    }
    definition.effects.iter().for_each(|it| outbound.effect(&it.effect, found));
}

/// Returns where actions keep what labels are about.
fn kept<'m>(chart: &Chart<'m>) -> Vec<Kept<'m>> {
    let definition = chart.machine.definition();
    let mut kept = Vec::new();
    for event in definition.events.iter().filter(|it| it.merge) {
        merged(event, &mut kept);
    }
    for state in chart.states().filter_map(|it| chart.written(it)) {
        for (descriptor, candidates) in &state.on {
            let descriptor = Descriptor::parse(descriptor);
            for event in definition.events.iter().filter(|it| descriptor.matches(&it.name)) {
                for candidate in candidates {
                    actions(&candidate.actions, event, &mut kept);
                }
            }
        }
    }
    kept
}

fn merged<'m>(event: &'m EventDeclaration, kept: &mut Vec<Kept<'m>>) {
    for (pointer, _) in &event.pii {
        let path = dotted("data", pointer);
        kept.push(Kept { path, event: &event.name, pointer });
    }
}

fn actions<'m>(list: &'m [Action], event: &'m EventDeclaration, kept: &mut Vec<Kept<'m>>) {
    for action in list {
        match &action.kind {
            ActionKind::Assign(pairs) => {
                for (key, value) in pairs {
                    for (pointer, _) in &event.pii {
                        if reads(value, &dotted("event.data", pointer)) {
                            let path = format!("data.{key}");
                            kept.push(Kept { path, event: &event.name, pointer });
                        }
                    }
                }
            }
            ActionKind::Merge(value) if value.as_str() == Some("${event.data}") => {
                merged(event, kept);
            }
            ActionKind::Choose(branches) => {
                branches.iter().for_each(|it| actions(&it.actions, event, kept));
            }
            ActionKind::ForEach { actions: inner, .. } => actions(inner, event, kept),
            _ => {}
        }
    }
}

/// Returns a JSON pointer as an expression reads it.
fn dotted(root: &str, pointer: &str) -> String {
    format!("{root}{}", pointer.replace('/', ".").replace("~1", "/").replace("~0", "~"))
}

/// Looks for calls that tell what is kept.
struct Outbound<'m> {
    kept: &'m [Kept<'m>],
}

impl Outbound<'_> {
    fn effect(&self, effect: &Effect, found: &mut Vec<Diagnostic>) {
        if OUTBOUND.contains(&&*effect.kind) && effect.redact.is_none_or(|it| !it.is_input_said) {
            let told = self.kept.iter().find(|kept| {
                effect.params.iter().any(|(_, value): &(Text, Value)| reads(value, &kept.path))
            });
            if let Some(Kept { path, event, pointer }) = told {
                let message = format!(
                    "`{}` sends `{path}`, which event `{event}` brings as personal data \
                     (`{pointer}`), as it is",
                    effect.kind
                );
                let hint = "add `redact: {in: mask}` to the effect, or `in: none` if it is meant";
                found.push(warning("W210", &*effect.pointer, message, hint));
            }
        }
        effect.parts().into_iter().for_each(|it| self.effect(it, found));
    }
}

/// Says whether a template reads a path, all that is around it, or something inside it.
fn reads(value: &Value, path: &str) -> bool {
    match value {
        Value::String(text) => expressions(text).any(|it| names(it, path)),
        Value::List(items) => items.iter().any(|it| reads(it, path)),
        Value::Map(map) => map.iter().any(|(_, it)| reads(it, path)),
        _ => false,
    }
}

/// Returns the expressions of a template.
fn expressions(text: &str) -> impl Iterator<Item = &str> {
    text.split("${").skip(1).map(|it| it.split('}').next().unwrap_or_default())
}

fn names(expression: &str, path: &str) -> bool {
    let ends = path.match_indices('.').map(|(at, _)| at).chain([path.len()]);
    ends.filter(|end| *end > 0).any(|end| {
        expression.match_indices(&path[..end]).any(|(at, part)| {
            let before = expression[..at].chars().next_back();
            let after = expression[at + part.len()..].chars().next();
            let is_word = |it: char| it.is_alphanumeric() || it == '_';
            let goes_on = |it: char| is_word(it) || end < path.len() && matches!(it, '.' | '[');
            !before.is_some_and(|it| is_word(it) || it == '.') && !after.is_some_and(goes_on)
        })
    })
}
