//! What effects reach, and E151 and E150: whether the workflow and its states grant it.
//!
//! A name that the document spells out is granted to the workflow by being published; one that is
//! computed must be listed. A state grants only what it lists, of what stands around it.

use std::collections::BTreeSet;

use traaviis_model::{
    Diagnostic, Text, Value,
    definition::{Definition, Effect, State},
    grant::{Grant, GrantKind, fits_any, host_name},
    limits::EFFECT_DEPTH_MAX,
};
use url::Url;

use crate::expr::{Scope, SecretUse, Template};

/// What a workflow may reach, flattened.
#[derive(Clone, Debug, Default)]
pub struct Granted {
    written: BTreeSet<(GrantKind, Text)>,
    listed: Grant,
}

impl Granted {
    /// Says whether something may be reached.
    pub fn allows(&self, kind: GrantKind, name: &str) -> bool {
        // `secret()` takes no computed name, so each one stands in the document.
        kind == GrantKind::Secrets
            || self.written.contains(&(kind, name.into()))
            || fits_any(self.listed.list(kind).unwrap_or_default(), name)
    }

    /// Returns the names of a kind that the document spells out.
    pub fn written(&self, kind: GrantKind) -> impl Iterator<Item = &Text> {
        self.written.iter().filter(move |it| it.0 == kind).map(|it| &it.1)
    }

    /// Returns names and patterns of a kind: those that the document spells out, then those listed.
    pub fn names(&self, kind: GrantKind) -> Vec<Text> {
        let mut names: Vec<Text> = self.written(kind).cloned().collect();
        for name in self.listed.list(kind).unwrap_or_default() {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }
}

/// How the parameters of an effect are read.
#[derive(Clone, Copy, PartialEq)]
enum Stage {
    /// As written: texts may hold expressions.
    Written,
    /// As evaluated.
    Evaluated,
}

/// Something that an effect reaches: by what name, or that it is computed, and the parameter.
struct Reach {
    kind: GrantKind,
    name: Option<Text>,
    param: &'static str,
}

/// Returns what a call with these evaluated parameters reaches.
pub(crate) fn reached(kind: &str, input: &Value) -> Vec<(GrantKind, Text)> {
    let found = reaches(kind, &|name| input.get(name), Stage::Evaluated);
    let mut found: Vec<_> =
        found.into_iter().filter_map(|it| it.name.map(|name| (it.kind, name))).collect();
    secrets(input, &mut |name| found.push((GrantKind::Secrets, name.clone())));
    found
}

fn reaches<'v>(kind: &str, param: &dyn Fn(&str) -> Option<&'v Value>, stage: Stage) -> Vec<Reach> {
    let one = |kind, name: &'static str| {
        let text = param(name).map(|it| text_of(it, stage));
        text.map(|it| vec![Reach { kind, name: it, param: name }]).unwrap_or_default()
    };
    match kind {
        "call_api" => {
            let Some(url) = param("url") else { return Vec::new() };
            let name = url.as_str().and_then(|it| host_of(it, stage));
            vec![Reach { kind: GrantKind::Hosts, name, param: "url" }]
        }
        "call" => one(GrantKind::Tools, "function"),
        "spawn_fsm" => one(GrantKind::Workflows, "workflow"),
        "invoke_fsm" => {
            let workflow = param("correlation").and_then(|it| it.get("workflow"));
            let name = workflow.map(|it| text_of(it, stage));
            let reach = |name| Reach { kind: GrantKind::Workflows, name, param: "correlation" };
            name.map(reach).into_iter().collect()
        }
        "mcp_call" => {
            let part = |name| param(name).and_then(|it| text_of(it, stage));
            let name = part("server").zip(part("tool"));
            let name = name.map(|(server, tool)| format!("mcp:{server}/{tool}").into());
            vec![Reach { kind: GrantKind::Tools, name, param: "tool" }]
        }
        "call_llm" | "embed_text" | "spawn_agent" => {
            let mut found = vec![model(param, stage)];
            let tools = param("tools").and_then(Value::as_list).unwrap_or_default();
            found.extend(tools.iter().filter(|it| it.as_str().is_some()).map(|it| Reach {
                kind: GrantKind::Tools,
                name: text_of(it, stage),
                param: "tools",
            }));
            found
        }
        _ => Vec::new(),
    }
}

/// A model is named with its provider; what the author leaves to the operator is `default`.
fn model<'v>(param: &dyn Fn(&str) -> Option<&'v Value>, stage: Stage) -> Reach {
    let part = |names: &[&str]| {
        let written = names.iter().find_map(|it| param(it));
        written.map_or(Some("default".into()), |it| text_of(it, stage))
    };
    let name = part(&["provider"]).zip(part(&["model", "tier"]));
    let name = name.map(|(provider, model)| format!("{provider}/{model}").into());
    Reach { kind: GrantKind::Models, name, param: "model" }
}

fn text_of(value: &Value, stage: Stage) -> Option<Text> {
    let text = value.as_str().filter(|it| stage == Stage::Evaluated || !it.contains("${"));
    text.map(Text::from)
}

/// Returns host and port of a URL. Of one that is written with expressions they are known when the
/// first of those stands behind them.
fn host_of(text: &str, stage: Stage) -> Option<Text> {
    let known = match stage {
        Stage::Evaluated => text,
        Stage::Written => text.split("${").next().unwrap_or_default(),
    };
    if known.len() < text.len() {
        let (_, rest) = known.split_once("://")?;
        rest.find(['/', '?', '#'])?;
    }
    let url = Url::parse(known).ok()?;
    Some(host_name(url.host_str()?, url.port_or_known_default()?))
}

fn secrets(value: &Value, tell: &mut impl FnMut(&Text)) {
    match value {
        Value::Secret(name) => tell(name),
        Value::List(items) => items.iter().for_each(|it| secrets(it, tell)),
        Value::Map(map) => map.iter().for_each(|(_, it)| secrets(it, tell)),
        Value::Optional(Some(inner)) => secrets(inner, tell),
        _ => {}
    }
}

/// Returns what an effect reaches by what stands in the document.
fn written(effect: &Effect) -> Vec<Reach> {
    let mut found = reaches(&effect.kind, &|name| effect.param(name), Stage::Written);
    for param in ["headers", "auth"] {
        let Some(value) = effect.param(param).filter(|_| &*effect.kind == "call_api") else {
            continue;
        };
        let template = Template::compile(value, Scope::EVERYWHERE, SecretUse::Allowed);
        if let Ok(template) = template
            && let Some(value) = template.as_constant()
        {
            secrets(value, &mut |name| {
                found.push(Reach { kind: GrantKind::Secrets, name: Some(name.clone()), param });
            });
        }
    }
    found
}

/// Collects what a document grants, and what is wrong with it.
pub(super) fn check(definition: &Definition, found: &mut Vec<Diagnostic>) -> Granted {
    let mut granted = Granted { written: BTreeSet::new(), listed: definition.grant.clone() };
    for named in &definition.effects {
        collect(definition, &named.effect, &mut granted, found, 0);
    }
    invokes(&definition.states, &mut |effect| {
        collect(definition, effect, &mut granted, found, 0);
    });
    states(definition, &definition.states, &mut Vec::new(), &granted, found);
    granted
}

/// Tells what a tree that stands in no document spells out and the workflow may not reach, which
/// would be refused when it begins.
pub(super) fn check_given(granted: &Granted, effect: &Effect) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    reaches_more(granted, effect, &mut found, 0);
    found
}

fn reaches_more(granted: &Granted, effect: &Effect, found: &mut Vec<Diagnostic>, depth: usize) {
    for Reach { kind, name, param } in written(effect) {
        let Some(name) = name.filter(|it| !granted.allows(kind, it)) else { continue };
        let message = format!(
            "this `{}` reaches the {} `{name}`, which the workflow may not reach",
            effect.kind,
            kind.one()
        );
        let hint = format!("the workflow lists it in `permissions.{}`", kind.as_str());
        let pointer = format!("{}/{param}", effect.pointer);
        found.push(Diagnostic::error("E150", pointer, message).hint(hint));
    }
    if depth < EFFECT_DEPTH_MAX {
        effect.parts().into_iter().for_each(|it| reaches_more(granted, it, found, depth + 1));
    }
}

fn invokes(states: &[State], tell: &mut impl FnMut(&Effect)) {
    for state in states {
        state.invoke.iter().for_each(|it| tell(&it.effect));
        invokes(state.kind.children(), tell);
    }
}

fn collect(
    definition: &Definition,
    effect: &Effect,
    granted: &mut Granted,
    found: &mut Vec<Diagnostic>,
    depth: usize,
) {
    for Reach { kind, name, param } in written(effect) {
        match name {
            Some(name) => {
                granted.written.insert((kind, name));
            }
            None if is_whole(effect, kind) && definition.grant.list(kind).is_none() => {
                let (list, one) = (kind.as_str(), kind.one());
                let message = format!(
                    "the {one} that this `{}` reaches is computed, and the workflow has no \
                     `permissions.{list}` that could grant it",
                    effect.kind
                );
                let hint = format!("list what it may be: `permissions: {{{list}: [...]}}`");
                let pointer = format!("{}/{param}", effect.pointer);
                found.push(Diagnostic::error("E150", pointer, message).hint(hint));
            }
            None => {}
        }
    }
    if depth < EFFECT_DEPTH_MAX {
        for part in effect.parts() {
            collect(definition, part, granted, found, depth + 1);
        }
    }
}

/// Says whether the effect is written so that it could begin at all; a URL that is none is told by
/// the call itself.
fn is_whole(effect: &Effect, kind: GrantKind) -> bool {
    let url = effect.param("url").and_then(Value::as_str);
    kind != GrantKind::Hosts || url.is_none_or(|it| it.contains("${"))
}

fn states<'d>(
    definition: &'d Definition,
    all: &'d [State],
    around: &mut Vec<&'d State>,
    granted: &Granted,
    found: &mut Vec<Diagnostic>,
) {
    for state in all {
        widens(state, around, granted, found);
        around.push(state);
        for invoke in &state.invoke {
            outside(definition, &invoke.effect, around, found, 0);
        }
        states(definition, state.kind.children(), around, granted, found);
        around.pop();
    }
}

/// Tells what a state lists and would not get.
fn widens(state: &State, around: &[&State], granted: &Granted, found: &mut Vec<Diagnostic>) {
    for kind in GrantKind::ALL {
        let lists = around.iter().filter_map(|it| Some((*it, it.grant.list(kind)?)));
        let lists: Vec<_> = lists.collect();
        for (at, name) in state.grant.list(kind).unwrap_or_default().iter().enumerate() {
            let by = match lists.iter().find(|(_, list)| !fits_any(list, name)) {
                Some((outer, _)) => format!("state `{}`", outer.name),
                None if is_granted(granted, kind, name) => continue,
                None => "the workflow".into(),
            };
            let list = kind.as_str();
            let message = format!("`{name}` is more than {by} grants");
            let hint = format!("`permissions` of a state only narrow; list it in `{list}` there");
            let pointer = format!("{}/permissions/{list}/{at}", state.pointer);
            found.push(Diagnostic::error("E151", pointer, message).hint(hint));
        }
    }
}

/// A pattern is granted also when it stands for names that the document spells out.
fn is_granted(granted: &Granted, kind: GrantKind, pattern: &Text) -> bool {
    let patterns = std::slice::from_ref(pattern);
    kind == GrantKind::Secrets
        || fits_any(granted.listed.list(kind).unwrap_or_default(), pattern)
        || granted.written.iter().any(|(of, name)| *of == kind && fits_any(patterns, name))
}

/// Tells names that a state around an effect does not list.
fn outside(
    definition: &Definition,
    effect: &Effect,
    around: &[&State],
    found: &mut Vec<Diagnostic>,
    depth: usize,
) {
    for Reach { kind, name, param } in written(effect) {
        let Some(name) = name else { continue };
        let refuses = |it: &&&State| it.grant.list(kind).is_some_and(|it| !fits_any(it, &name));
        let Some(state) = around.iter().find(refuses) else { continue };
        let message = format!(
            "`{}` reaches the {} `{name}`, which `permissions` of state `{}` do not list, so it can \
             never begin",
            effect.kind,
            kind.one(),
            state.name
        );
        let pointer = format!("{}/{param}", effect.pointer);
        let hint = format!("list it in `{}` of the state, or leave the list out", kind.as_str());
        found.push(Diagnostic::error("E150", pointer, message).hint(hint));
    }
    if depth < EFFECT_DEPTH_MAX {
        for part in definition.parts_of(effect) {
            outside(definition, part, around, found, depth + 1);
        }
    }
}
