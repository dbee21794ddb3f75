//! What a definition compiles to: states in document order, resolved targets, parsed expressions.
//!
//! State 0 is the implicit root; a state's descendants are the ids from its own up to `last`, so
//! ancestry is two comparisons. Compiling collects every finding instead of stopping at the first.

mod always;
mod asked;
mod budget;
mod compile;
mod effect;
mod exits;
mod grant;
mod hook;
mod migration;
mod places;
mod raise;
mod schema;
mod subscription;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Deref,
    sync::Arc,
};

use smallvec::SmallVec;
use traaviis_model::{
    Diagnostic, Seq, Span, Text, Value,
    definition::{Budgets, Definition, FinalStatus, Unhandled},
    document::is_event_name,
    grant::{Grant, GrantKind},
    limits::EVENT_ID_WINDOW,
    permission::Permission,
    privacy::PiiType,
    snapshot::Tree,
};

use crate::expr::{Expr, Template};
pub(crate) use compile::nearest;
pub use effect::{
    CallParams, CaseTest, EffectDef, EffectKind, ReminderDef, RetryDef, SignalDef, SpawnDef,
    TaskDef,
};
pub use exits::Exit;
pub use grant::Granted;
pub(crate) use grant::reached;
pub(crate) use hook::HookDef;
pub use hook::{Arrived, HookDeed};
pub(crate) use migration::MigrationDef;
pub use places::Places;
pub(crate) use raise::fitted;
pub use schema::Schema;
pub(crate) use subscription::SubscriptionDef;

/// Position of a state in document order; 0 is the root.
pub type StateId = usize;

/// Some states in order; of a step there are few, so that they need no allocation.
pub(crate) type StateIds = SmallVec<[StateId; 4]>;

/// One flag a state, by its position; needs no allocation for a machine of usual size.
pub(crate) type StateFlags = SmallVec<[bool; 32]>;

/// A compiled definition. That [of an instance](Machine::of_instance) has what the instance runs
/// outside of its states, too.
#[derive(Clone, Debug)]
pub struct Machine {
    compiled: Arc<Compiled>,
    /// By the record that asked for it.
    asked: BTreeMap<Seq, Arc<EffectDef>>,
}

/// What a definition compiles to.
#[derive(Debug)]
pub struct Compiled {
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
    pub(crate) subject: Option<Expr>,
    pub(crate) effects: BTreeMap<Text, EffectPlace>,
    pub(crate) granted: Granted,
    pub(crate) migrations: Vec<MigrationDef>,
    pub(crate) subscriptions: Vec<SubscriptionDef>,
    pub(crate) hooks: Vec<HookDef>,
    needs_key: bool,
}

impl Deref for Machine {
    type Target = Compiled;

    fn deref(&self) -> &Compiled {
        &self.compiled
    }
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
    /// Run when `initial` of a compound, or `target` of a history state, is followed.
    pub on_default: Vec<ActionDef>,
    pub invoke: Vec<InvokeDef>,
    pub on_done: Vec<Candidate>,
    pub on_error: Vec<Candidate>,
    pub unhandled: Option<Unhandled>,
    pub budgets: Option<Budgets>,
    pub grant: Grant,
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
    /// Without the trailing `.*`; fits the prefix itself and all names below it.
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
    Raise {
        event: EventName,
        data: Option<Template>,
        delay: Option<Template>,
        id: Option<Template>,
    },
    Cancel(Template),
    Log {
        level: Text,
        message: Template,
        data: Option<Template>,
    },
    Emit {
        event: Text,
        data: Option<Template>,
        subject: Option<Template>,
    },
    Choose(Vec<BranchDef>),
    ForEach {
        list: Template,
        actions: Vec<ActionDef>,
    },
    Block(Vec<ActionDef>),
}

#[derive(Debug)]
pub(crate) struct BranchDef {
    pub when: Option<Expr>,
    pub actions: Vec<ActionDef>,
    pub pointer: Text,
}

/// The event that an action raises.
#[derive(Debug)]
pub(crate) enum EventName {
    Literal(Text),
    /// Checked when it is raised.
    Computed(Template),
}

#[derive(Debug)]
pub(crate) struct EventDef {
    pub schema: Option<Schema>,
    pub internal: bool,
    pub merge: bool,
    pub requires: Vec<Permission>,
    /// Personal data in the payload, by JSON pointer.
    pub pii: Vec<(Text, Option<PiiType>)>,
    pub dedup_window: Option<Span>,
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

    /// Says whether some of what it takes or tells is redacted with the key of the tenant.
    pub fn needs_key(&self) -> bool {
        self.needs_key
    }

    /// Returns the functions that the document calls by names it spells out.
    pub fn written_functions(&self) -> impl Iterator<Item = &Text> {
        self.granted.written(GrantKind::Tools)
    }

    /// Returns what the workflow may reach.
    pub fn granted(&self) -> &Granted {
        &self.granted
    }

    /// Returns the declared external events that some active state names, sorted; of a family
    /// the part that is named.
    pub fn accepted_events(&self, snapshot: &traaviis_model::Snapshot) -> Vec<Text> {
        let named: Vec<&Descriptor> = self.descriptors(snapshot).collect();
        let mut accepted = BTreeSet::new();
        for (name, _) in self.events.iter().filter(|(_, event)| !event.internal) {
            let declared = Descriptor::parse(name);
            let fitting = named.iter().filter(|it| it.meets(&declared));
            accepted.extend(fitting.map(|it| it.narrower(&declared).to_text()));
        }
        accepted.extend(crate::effects::signal::awaited(self, snapshot));
        accepted.into_iter().collect()
    }

    /// Says whether an active state names an event that callers may send.
    pub fn accepts_event(&self, snapshot: &traaviis_model::Snapshot, name: &str) -> bool {
        self.takes_event(name)
            && (self.descriptors(snapshot).any(|it| it.matches(name))
                || crate::effects::signal::awaits(self, snapshot, name))
    }

    /// Says whether callers may send an event.
    pub fn takes_event(&self, name: &str) -> bool {
        self.declaration(name).is_some_and(|(_, event)| !event.internal)
    }

    /// Says whether there is such a state, by its path.
    pub fn has_state(&self, path: &str) -> bool {
        self.by_path.contains_key(path)
    }

    /// Returns what a caller needs to send an event, beside the right to send events at all.
    pub fn requires(&self, name: &str) -> &[Permission] {
        self.declaration(name).map_or(&[], |(_, event)| &event.requires)
    }

    /// Returns how long deduplication ids of an event are remembered.
    pub fn dedup_window(&self, name: &str) -> Span {
        let declared = self.declaration(name).and_then(|(_, event)| event.dedup_window);
        declared.unwrap_or(EVENT_ID_WINDOW)
    }

    /// Returns what the active states wait for.
    fn descriptors(
        &self,
        snapshot: &traaviis_model::Snapshot,
    ) -> impl Iterator<Item = &Descriptor> {
        let leaves = snapshot.configuration.iter().filter_map(|it| self.by_path.get(it).copied());
        let active = leaves.flat_map(|leaf| self.ancestors(leaf));
        active.flat_map(|state| self.states[state].on.iter().map(|(descriptor, _)| descriptor))
    }

    /// Returns the declaration of an event: its own, or that of the closest family.
    pub(crate) fn declaration(&self, name: &str) -> Option<(&Text, &EventDef)> {
        declaration(&self.events, name)
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

    /// Returns which states are active in an instance.
    pub(crate) fn active_in(&self, snapshot: &traaviis_model::Snapshot) -> StateFlags {
        self.active_with(
            snapshot.configuration.iter().filter_map(|it| self.by_path.get(it).copied()),
        )
    }

    /// Returns which states are active when these and what is around them are.
    pub(crate) fn active_with(&self, leaves: impl Iterator<Item = StateId>) -> StateFlags {
        let mut active = StateFlags::from_elem(false, self.states.len());
        leaves.flat_map(|it| self.ancestors(it)).for_each(|it| active[it] = true);
        active
    }

    /// Returns a state, `top` or one below it, of which not just those children are active that
    /// must be.
    pub(crate) fn misfit(&self, active: &[bool], top: StateId) -> Option<StateId> {
        (top..=self.states[top].last).find(|state| {
            let def = &self.states[*state];
            let is_history = |it: StateId| matches!(self.states[it].kind, Kind::History { .. });
            let count = def.children.iter().filter(|it| active[**it]).count();
            let is_active = *state == 0 || active[*state];
            is_active
                && match &def.kind {
                    Kind::Compound { .. } => count != 1,
                    Kind::Parallel => def.children.iter().any(|it| active[*it] == is_history(*it)),
                    Kind::History { .. } => true,
                    Kind::Atomic | Kind::Final { .. } => false,
                }
        })
    }

    /// Returns the effect that a tree with this pointer runs.
    pub(crate) fn effect_at(&self, pointer: &str) -> Option<(EffectPlace, &EffectDef)> {
        let place = *self.effects.get(pointer)?;
        Some((place, &self.states[place.state].invoke[place.invoke].effect))
    }

    /// Returns the effect that a tree runs, and where it stands unless that is outside of the
    /// states.
    pub(crate) fn effect_of(&self, tree: &Tree) -> Option<(Option<EffectPlace>, &EffectDef)> {
        match tree.asked {
            None => self.effect_at(&tree.pointer).map(|(place, def)| (Some(place), def)),
            Some(_) => self.asked.get(&tree.id).map(|def| (None, &**def)),
        }
    }
}

/// Finds the declaration of an event: its own, or that of the closest family.
pub(crate) fn declaration<'e, T>(
    events: &'e BTreeMap<Text, T>,
    name: &str,
) -> Option<(&'e Text, &'e T)> {
    // Nearly always it is declared by its own name, and then the name is as it must be.
    if let Some(found) = events.get_key_value(name).filter(|_| !name.ends_with('*')) {
        return Some(found);
    }
    if is_reserved(name) || !is_event_name(name) {
        return None;
    }
    let ends = name.match_indices('.').map(|(at, _)| at).chain([name.len()]);
    let ends: Vec<usize> = ends.collect();
    let families = ends.iter().rev().map(|end| format!("{}.*", &name[..*end]));
    families.chain(["*".to_string()]).find_map(|it| events.get_key_value(it.as_str()))
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
            Descriptor::Prefix(prefix) => name
                .strip_prefix(&**prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.')),
            Descriptor::Any => !is_reserved(name),
        }
    }

    /// Says whether some event name fits both.
    pub(crate) fn meets(&self, other: &Descriptor) -> bool {
        match (self, other) {
            (Descriptor::Any, Descriptor::Any) => true,
            (Descriptor::Any, Descriptor::Exact(name) | Descriptor::Prefix(name))
            | (Descriptor::Exact(name) | Descriptor::Prefix(name), Descriptor::Any) => {
                !is_reserved(name)
            }
            (Descriptor::Exact(name), it) | (it, Descriptor::Exact(name)) => it.matches(name),
            (Descriptor::Prefix(a), Descriptor::Prefix(b)) => self.matches(b) || other.matches(a),
        }
    }

    /// Returns the one that fits fewer names, of two that meet.
    fn narrower<'d>(&'d self, other: &'d Descriptor) -> &'d Descriptor {
        match (self, other) {
            (Descriptor::Any, it) | (_, it @ Descriptor::Exact(_)) => it,
            (Descriptor::Prefix(own), Descriptor::Prefix(it)) if it.len() > own.len() => other,
            _ => self,
        }
    }

    /// Returns the descriptor as written.
    fn to_text(&self) -> Text {
        match self {
            Descriptor::Exact(name) => name.clone(),
            Descriptor::Prefix(prefix) => format!("{prefix}.*").into(),
            Descriptor::Any => "*".into(),
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

/// Returns a duration that is written out; none for a template.
pub(crate) fn written_span(value: &Value) -> Option<Span> {
    let is_template = value.as_str().is_some_and(|text| text.contains("${"));
    span_of(value).ok().filter(|_| !is_template)
}

/// Returns the duration that a rendered template stands for: text, or milliseconds as a number.
pub(crate) fn span_of(value: &Value) -> Result<Span, String> {
    let span = match value {
        Value::String(text) => text.parse()?,
        Value::Span(span) => *span,
        number => match number.as_f64() {
            Some(millis) if millis.abs() < 9e15 => Span((millis * 1e3) as i64),
            _ => return Err(format!("`{value}` is not a duration")),
        },
    };
    let most = Span::secs(traaviis_model::limits::DELAY_SECS_MAX);
    if span < Span(0) || span > most {
        return Err(format!("duration `{span}` is outside 0s to `{most}`"));
    }
    Ok(span)
}
