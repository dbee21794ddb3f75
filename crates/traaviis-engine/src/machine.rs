//! What a definition compiles to: states in document order, resolved targets, parsed expressions.
//!
//! State 0 is the implicit root; a state's descendants are the ids from its own up to `last`, so
//! ancestry is two comparisons. Compiling collects every finding instead of stopping at the first.

mod always;
mod compile;
mod effect;
mod places;
mod schema;

use std::{collections::BTreeMap, sync::Arc};

use traaviis_model::{
    Diagnostic, Text, Value,
    definition::{Definition, FinalStatus, Unhandled},
};

use crate::expr::{Expr, Template};
pub(crate) use compile::nearest;
pub use effect::{CallParams, CaseTest, EffectDef, EffectKind, RetryDef, SignalDef, TaskDef};
pub use places::Places;
pub use schema::Schema;

/// Position of a state in document order; 0 is the root.
pub type StateId = usize;

/// A compiled definition.
#[derive(Debug)]
pub struct Machine {
    definition: Arc<Definition>,
    pub(crate) states: Vec<StateDef>,
    pub(crate) by_path: BTreeMap<Text, StateId>,
    pub(crate) events: BTreeMap<Text, EventDef>,
    pub(crate) validations: Vec<ValidationDef>,
    pub(crate) input_schema: Option<Schema>,
    pub(crate) data_schema: Option<Schema>,
    pub(crate) data_initial: Template,
    pub(crate) output: Option<Template>,
    pub(crate) correlation: Option<Expr>,
    pub(crate) effects: BTreeMap<Text, EffectPlace>,
}

/// Where an effect tree stands: state, and position among its invokes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EffectPlace {
    pub state: StateId,
    pub invoke: usize,
}

/// A compiled state.
#[derive(Debug)]
pub(crate) struct StateDef {
    pub path: Text,
    pub parent: StateId,
    pub last: StateId,
    pub kind: Kind,
    pub children: Vec<StateId>,
    pub on: Vec<(Descriptor, Vec<Candidate>)>,
    pub always: Vec<Candidate>,
    pub after: Vec<AfterDef>,
    pub entry: Vec<ActionDef>,
    pub exit: Vec<ActionDef>,
    pub invoke: Vec<InvokeDef>,
    pub on_done: Vec<Candidate>,
    pub on_error: Vec<Candidate>,
    pub unhandled: Option<Unhandled>,
}

/// Kind of a compiled state.
#[derive(Debug)]
pub(crate) enum Kind {
    Atomic,
    Compound { initial: Vec<StateId> },
    Parallel,
    Final { status: FinalStatus, output: Option<Template> },
    History { deep: bool, target: Vec<StateId> },
}

/// What events a set of candidates is for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Descriptor {
    Exact(Text),
    /// Without the trailing `.*`.
    Prefix(Text),
    Any,
}

#[derive(Debug)]
pub(crate) struct Candidate {
    pub source: StateId,
    pub targets: Option<Vec<StateId>>,
    pub guard: Option<Expr>,
    pub actions: Vec<ActionDef>,
    pub reenter: Option<bool>,
    pub pointer: Text,
}

#[derive(Debug)]
pub(crate) struct AfterDef {
    pub delay: Template,
    pub candidates: Vec<Candidate>,
    pub pointer: Text,
}

#[derive(Debug)]
pub(crate) struct InvokeDef {
    pub id: Text,
    pub when: Option<Expr>,
    pub effect: EffectDef,
    pub on_done: Vec<Candidate>,
    pub on_error: Vec<Candidate>,
    pub detach: bool,
    pub pointer: Text,
}

#[derive(Debug)]
pub(crate) struct ActionDef {
    pub when: Option<Expr>,
    pub kind: ActionKind,
    pub pointer: Text,
}

#[derive(Debug)]
pub(crate) enum ActionKind {
    Assign(Vec<(Text, Template)>),
    Remove(Vec<Text>),
    Merge(Template),
    Raise { event: Text, data: Option<Template>, delay: Option<Template>, id: Option<Text> },
    Cancel(Text),
    Log { level: Text, message: Template, data: Option<Template> },
    Emit { event: Text, data: Option<Template>, subject: Option<Template> },
}

#[derive(Debug)]
pub(crate) struct EventDef {
    pub schema: Option<Schema>,
    pub internal: bool,
    pub merge: bool,
}

#[derive(Debug)]
pub(crate) struct ValidationDef {
    pub name: Text,
    pub events: Vec<Descriptor>,
    pub check: Expr,
    pub message: Template,
    pub code: Option<Text>,
}

impl Machine {
    /// Compiles a definition; the error holds every finding of severity error.
    pub fn compile(definition: Arc<Definition>) -> Result<Machine, Vec<Diagnostic>> {
        compile::compile(definition)
    }

    /// Returns every finding about a definition that could be read: its errors, or the warnings of
    /// [`analysis`](crate::analysis) when it has none.
    pub fn analyse(definition: &Definition) -> Vec<Diagnostic> {
        match compile::compile(Arc::new(definition.clone())) {
            Ok(machine) => crate::analysis::analyse(&machine),
            Err(errors) => errors,
        }
    }

    /// Returns the definition this was compiled from.
    pub fn definition(&self) -> &Arc<Definition> {
        &self.definition
    }

    /// Returns the declared external events that some active state names, sorted.
    pub fn accepted_events(&self, snapshot: &traaviis_model::Snapshot) -> Vec<Text> {
        let active: Vec<StateId> = snapshot
            .configuration
            .iter()
            .filter_map(|path| self.by_path.get(path).copied())
            .flat_map(|leaf| self.ancestors(leaf))
            .collect();
        self.events
            .iter()
            .filter(|(_, event)| !event.internal)
            .filter(|(name, _)| {
                active.iter().any(|state| {
                    self.states[*state].on.iter().any(|(descriptor, _)| descriptor.matches(name))
                })
            })
            .map(|(name, _)| name.clone())
            .chain(crate::effects::signal::awaited(self, snapshot))
            .collect::<std::collections::BTreeSet<Text>>()
            .into_iter()
            .collect()
    }

    /// Returns a state and its ancestors without the root, innermost first.
    pub(crate) fn ancestors(&self, state: StateId) -> impl Iterator<Item = StateId> + '_ {
        std::iter::successors((state != 0).then_some(state), |at| {
            let parent = self.states[*at].parent;
            (parent != 0).then_some(parent)
        })
    }

    /// Says whether `state` stands below `ancestor`, at any depth.
    pub(crate) fn is_below(&self, state: StateId, ancestor: StateId) -> bool {
        ancestor < state && state <= self.states[ancestor].last
    }

    /// Returns the effect that a tree with this pointer runs.
    pub(crate) fn effect_at(&self, pointer: &str) -> Option<(EffectPlace, &EffectDef)> {
        let place = *self.effects.get(pointer)?;
        Some((place, &self.states[place.state].invoke[place.invoke].effect))
    }
}

impl Descriptor {
    pub(crate) fn parse(text: &str) -> Descriptor {
        match (text, text.strip_suffix(".*")) {
            ("*", _) => Descriptor::Any,
            (_, Some(prefix)) => Descriptor::Prefix(prefix.into()),
            (exact, None) => Descriptor::Exact(exact.into()),
        }
    }

    /// Says whether an event name fits; `*` never fits reserved names.
    pub(crate) fn matches(&self, name: &str) -> bool {
        match self {
            Descriptor::Exact(exact) => **exact == *name,
            Descriptor::Prefix(prefix) => {
                name.strip_prefix(&**prefix).is_some_and(|rest| rest.starts_with('.'))
            }
            Descriptor::Any => !is_reserved(name),
        }
    }

    /// Orders descriptors by precedence: exact before the longest prefix before `*`.
    pub(crate) fn precedence(&self) -> usize {
        match self {
            Descriptor::Exact(_) => 0,
            Descriptor::Prefix(prefix) => 1_000 - prefix.len().min(900),
            Descriptor::Any => 2_000,
        }
    }
}

/// First segments of event names that only the engine raises.
pub const RESERVED_SEGMENTS: [&str; 9] =
    ["done", "error", "after", "progress", "budget", "human", "signal", "child", "traaviis"];

/// Says whether the name belongs to the engine.
pub fn is_reserved(name: &str) -> bool {
    let first = name.split('.').next().unwrap_or(name);
    RESERVED_SEGMENTS.contains(&first)
}

/// Returns the duration that a rendered template stands for: text, or milliseconds as a number.
pub(crate) fn span_of(value: &Value) -> Result<traaviis_model::Span, String> {
    let span = match value {
        Value::String(text) => text.parse()?,
        Value::Span(span) => *span,
        number => match number.as_f64() {
            Some(millis) if millis.abs() < 9e15 => traaviis_model::Span((millis * 1e3) as i64),
            _ => return Err(format!("`{value}` is not a duration")),
        },
    };
    let most = traaviis_model::Span::secs(traaviis_model::limits::DELAY_SECS_MAX);
    if span < traaviis_model::Span(0) || span > most {
        return Err(format!("duration `{span}` is outside 0s to `{most}`"));
    }
    Ok(span)
}
