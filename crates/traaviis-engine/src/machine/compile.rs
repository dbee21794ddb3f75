//! Turns a definition into a machine, collecting every finding.
//!
//! Stages: (1) number the states, (2) compile events and document parts, (3) compile each state
//! with its targets resolved, (4) look at targets of several regions and cycles of `always`.

use std::{collections::BTreeMap, sync::Arc};

use traaviis_model::{
    Diagnostic, Text, Value,
    definition::{self, Definition, Effect, State, StateKind},
    grant::Grant,
    record::Asked,
};

use super::{
    ActionDef, ActionKind, AfterDef, BranchDef, Candidate, Compiled, Descriptor, EffectDef,
    EffectPlace, EventDef, EventName, Granted, InvokeDef, Kind, Machine, Places, Schema, StateDef,
    StateId, ValidationDef, always, budget, effect, grant, hook, is_reserved, migration, raise,
    span_of, subscription,
};
use crate::expr::{Expr, ParseErrorKind, Scope, SecretUse, Template};

/// What guards and actions may read.
const GUARD: Scope = Scope::EVERYWHERE.union(Scope::EVENT).union(Scope::RESULT);

pub(super) fn compile(definition: Arc<Definition>) -> Result<Machine, Vec<Diagnostic>> {
    let places = Places::of(&definition);
    let (found, declared) = (Vec::new(), Vec::new());
    let mut compiler = Compiler { found, places, declared, needs_key: false };
    let events = compiler.events(&definition);
    compiler.declared = events.keys().cloned().collect();
    let validations = compiler.validations(&definition);
    let input_schema = compiler.schema(definition.input_schema.as_ref(), "/input/schema");
    let data_schema = compiler.schema(definition.data_schema.as_ref(), "/data/schema");
    let start = Scope::INPUT.union(Scope::TENANT).union(Scope::WORKFLOW).union(Scope::NOW);
    let data_initial = match &definition.data_initial {
        Some(value) => compiler.template(value, start, SecretUse::Refused, "/data/initial"),
        None => Template::constant(Value::empty_map()),
    };
    let output = definition
        .output
        .as_ref()
        .map(|it| compiler.template(it, GUARD, SecretUse::Refused, "/output"));
    let correlation = definition
        .correlation
        .as_ref()
        .map(|it| compiler.expr(&it.key, Scope::INPUT.union(Scope::TENANT), &it.pointer));
    let subject = definition
        .subject
        .as_ref()
        .map(|it| compiler.expr(&it.key, Scope::INPUT.union(Scope::TENANT), &it.pointer));

    let mut states = vec![compiler.root(&definition)];
    compiler.states(&definition, &definition.states, 0, &mut states);
    effect::check_named(&mut compiler, &definition);
    let migrations = migration::compile(&mut compiler, &definition);
    let subscriptions = subscription::compile(&mut compiler, &definition, &events);
    let hooks = hook::compile(&mut compiler, &definition, &events);
    for at in (1..states.len()).rev() {
        let (parent, last) = (states[at].parent, states[at].last.max(at));
        states[at].last = last;
        states[parent].last = states[parent].last.max(last);
    }
    let mut effects = BTreeMap::new();
    for (state, def) in states.iter().enumerate() {
        for (invoke, it) in def.invoke.iter().enumerate() {
            effects.insert(it.pointer.clone(), EffectPlace { state, invoke });
        }
    }
    compiler.multi_targets(&definition, &states);
    compiler.found.extend(always::cycles(&states));
    raise::check(&states, &events, &mut compiler.found);
    // What follows named effects wherever they are used needs them without cycles, and few.
    let mut granted = Granted::default();
    if compiler.found.iter().all(|it| it.code != "E141") {
        compiler.found.extend(budget::check(&definition));
        granted = grant::check(&definition, &mut compiler.found);
    }
    if !compiler.found.is_empty() {
        // A named effect is compiled at each use and tells the same each time.
        let mut told = Vec::new();
        compiler.found.retain(|it| {
            let is_new = !told.contains(it);
            if is_new {
                told.push(it.clone());
            }
            is_new
        });
        return Err(compiler.found);
    }
    let compiled = Compiled {
        by_path: states.iter().enumerate().map(|(at, it)| (it.path.clone(), at)).collect(),
        states,
        events,
        validations,
        input_schema,
        data_schema,
        data_initial,
        output,
        correlation,
        subject,
        effects,
        granted,
        migrations,
        subscriptions,
        hooks,
        needs_key: compiler.needs_key || crate::privacy::needs_key(&definition),
        definition,
    };
    Ok(Machine { compiled: Arc::new(compiled), asked: BTreeMap::new() })
}

/// Compiles an effect that somebody asks for outside of the states; `given` is its tree, unless the
/// document has it.
pub(super) fn compile_asked(
    machine: &Machine,
    asked: &Asked,
    given: Option<&Effect>,
) -> Result<EffectDef, Vec<Diagnostic>> {
    let definition = machine.definition();
    let (found, places) = (Vec::new(), Places::of(definition));
    let declared = machine.events.keys().cloned().collect();
    let mut compiler = Compiler { found, places, declared, needs_key: false };
    let effect = effect::compile_asked(&mut compiler, definition, asked, given);
    if compiler.needs_key && !machine.needs_key() {
        let message = "`redact` asks for digests or tokens, which the workflow itself does not use";
        let hint = "`mask` and `block` need no key";
        compiler.error_with_hint("E140", "", message.into(), hint);
    }
    match compiler.found.is_empty() {
        true => Ok(effect),
        false => Err(compiler.found),
    }
}

/// Findings so far, and what targets and events are resolved against.
pub(super) struct Compiler {
    found: Vec<Diagnostic>,
    places: Places,
    declared: Vec<Text>,
    needs_key: bool,
}

impl Compiler {
    /// The tenant's key is needed to redact what an effect tells or learns.
    pub(super) fn redacts_with_key(&mut self) {
        self.needs_key = true;
    }

    pub(super) fn error(&mut self, code: &'static str, pointer: &str, message: String) {
        self.found.push(Diagnostic::error(code, pointer, message));
    }

    pub(super) fn found(&mut self, diagnostic: Diagnostic) {
        self.found.push(diagnostic);
    }

    pub(super) fn error_with_hint(
        &mut self,
        code: &'static str,
        pointer: &str,
        message: String,
        hint: &str,
    ) {
        self.found.push(Diagnostic::error(code, pointer, message).hint(hint));
    }

    pub(super) fn expr(&mut self, source: &str, scope: Scope, pointer: &str) -> Expr {
        match Expr::parse(source, scope) {
            Ok(expr) => expr,
            Err(error) => {
                self.expression(error, pointer);
                // Replaces a wrong expression so that the rest of the document is still checked.
                Expr::parse("null", Scope::EVERYWHERE).unwrap_or_else(|_| unreachable!())
            }
        }
    }

    /// Compiles a guard, `when` or `check`.
    pub(super) fn condition(&mut self, source: &str, scope: Scope, pointer: &str) -> Expr {
        let expr = self.expr(source, scope, pointer);
        self.decides(&expr, pointer);
        expr
    }

    /// Refuses a condition that can give no truth value.
    pub(super) fn decides(&mut self, expr: &Expr, pointer: &str) {
        if let Some(kind) = expr.never_bool() {
            let message = format!("`{}` gives {kind}, not true or false", expr.source());
            self.error_with_hint("E130", pointer, message, "compare it with something");
        }
    }

    pub(super) fn template(
        &mut self,
        value: &Value,
        scope: Scope,
        secrets: SecretUse,
        pointer: &str,
    ) -> Template {
        match Template::compile(value, scope, secrets) {
            Ok(template) => template,
            Err(error) => {
                self.expression(error.error, &format!("{pointer}{}", error.pointer));
                Template::null()
            }
        }
    }

    /// Compiles a duration: text, a number of milliseconds, or a template; constants are checked.
    pub(super) fn duration(&mut self, value: &Value, scope: Scope, pointer: &str) -> Template {
        let is_template = value.as_str().is_some_and(|text| text.contains("${"));
        if !is_template && let Err(why) = span_of(value) {
            self.error("E101", pointer, why);
        }
        self.template(value, scope, SecretUse::Refused, pointer)
    }

    fn expression(&mut self, error: crate::expr::ParseError, pointer: &str) {
        let code = match error.kind {
            ParseErrorKind::UnknownVariable => "E131",
            _ => "E130",
        };
        let mut found = Diagnostic::error(code, pointer, error.to_string());
        let is_syntax = error.kind == ParseErrorKind::Syntax;
        found.hint = error.hint.or_else(|| {
            is_syntax.then(|| "expressions are CEL, such as `data.count + 1 > 3`".to_string())
        });
        self.found.push(found);
    }

    pub(super) fn schema(&mut self, source: Option<&Value>, pointer: &str) -> Option<Schema> {
        match Schema::compile(source?) {
            Ok(schema) => Some(schema),
            Err(why) => {
                self.error("E101", pointer, format!("this is no valid JSON Schema: {why}"));
                None
            }
        }
    }

    fn events(&mut self, definition: &Definition) -> BTreeMap<Text, EventDef> {
        let mut events = BTreeMap::new();
        for event in &definition.events {
            let pointer = format!("{}/schema", event.pointer);
            let schema = self.schema(event.schema.as_ref(), &pointer);
            let def = EventDef {
                schema,
                internal: event.internal,
                merge: event.merge,
                requires: event.requires.clone(),
                pii: event.pii.clone(),
                dedup_window: event.dedup_window,
            };
            events.insert(event.name.clone(), def);
        }
        events
    }

    fn validations(&mut self, definition: &Definition) -> Vec<ValidationDef> {
        let scope = GUARD;
        for validation in &definition.validations {
            for (at, descriptor) in validation.events.iter().enumerate() {
                self.declared_event(descriptor, &format!("{}/events/{at}", validation.pointer));
            }
        }
        definition
            .validations
            .iter()
            .map(|it| ValidationDef {
                name: it.name.clone(),
                events: it.events.iter().map(|text| Descriptor::parse(text)).collect(),
                check: self.condition(&it.check, scope, &format!("{}/check", it.pointer)),
                message: self.template(
                    &it.message,
                    scope,
                    SecretUse::Refused,
                    &format!("{}/message", it.pointer),
                ),
                code: it.code.clone(),
            })
            .collect()
    }

    fn targets(&mut self, source: StateId, targets: &[Text], pointer: &str) -> Vec<StateId> {
        targets
            .iter()
            .filter_map(|target| {
                let found = self.places.resolve(source, target);
                if found.is_none() {
                    let nearest = nearest(target, self.places.paths().map(|it| &**it));
                    let mut error = Diagnostic::error(
                        "E102",
                        pointer,
                        format!("target `{target}` names no state that can be seen from here"),
                    );
                    error.hint = nearest.map(|it| self.suggested(source, &it));
                    self.found.push(error);
                }
                found
            })
            .collect()
    }

    /// Suggests a state as somebody would write it at `source`.
    fn suggested(&self, source: StateId, path: &str) -> String {
        let name = path.rsplit('.').next().unwrap_or(path);
        let found = |it: &str| self.places.resolve(source, it);
        match found(name) == found(&format!("#{path}")) {
            true => format!("did you mean `{name}`?"),
            false => format!("did you mean `#{path}`?"),
        }
    }

    fn initial(&mut self, parent: StateId, targets: &[Text], pointer: &str) -> Vec<StateId> {
        let mut found = Vec::new();
        for target in targets {
            match self.places.initial(parent, target) {
                Some(state) => found.push(state),
                None => {
                    let names = self.places.children(parent).iter();
                    let nearest = nearest(target, names.map(|it| &**self.places.name(*it)));
                    let mut error = Diagnostic::error(
                        "E103",
                        format!("{pointer}/initial"),
                        format!("`initial` names `{target}`, which is no state below this one"),
                    );
                    error.hint = nearest.map(|it| format!("did you mean `{it}`?"));
                    self.found.push(error);
                }
            }
        }
        found
    }

    fn root(&mut self, definition: &Definition) -> StateDef {
        let initial = self.initial(0, &definition.initial, "");
        StateDef {
            path: "".into(),
            parent: 0,
            last: 0,
            kind: Kind::Compound { initial },
            children: self.places.children(0).to_vec(),
            on: Vec::new(),
            always: Vec::new(),
            after: Vec::new(),
            entry: Vec::new(),
            exit: Vec::new(),
            on_default: Vec::new(),
            invoke: Vec::new(),
            on_done: Vec::new(),
            on_error: Vec::new(),
            unhandled: None,
            budgets: None,
            grant: Grant::default(),
        }
    }

    fn states(
        &mut self,
        definition: &Definition,
        states: &[State],
        parent: StateId,
        into: &mut Vec<StateDef>,
    ) {
        for state in states {
            let at = into.len();
            let def = self.state(definition, state, at, parent);
            into.push(def);
            if let StateKind::Compound { states, .. } | StateKind::Parallel { states } = &state.kind
            {
                self.states(definition, states, at, into);
            }
        }
    }

    fn state(
        &mut self,
        definition: &Definition,
        state: &State,
        at: StateId,
        parent: StateId,
    ) -> StateDef {
        let pointer = &*state.pointer;
        let kind = match &state.kind {
            StateKind::Atomic => Kind::Atomic,
            StateKind::Compound { initial, .. } => {
                Kind::Compound { initial: self.initial(at, initial, pointer) }
            }
            StateKind::Parallel { .. } => Kind::Parallel,
            StateKind::Final { status, output } => Kind::Final {
                status: *status,
                output: output.as_ref().map(|it| {
                    self.template(it, GUARD, SecretUse::Refused, &format!("{pointer}/output"))
                }),
            },
            StateKind::History { deep, target, .. } => Kind::History {
                deep: *deep,
                target: self.targets(at, target, &format!("{pointer}/target")),
            },
        };
        let on_default = match &state.kind {
            StateKind::Compound { actions, .. } | StateKind::History { actions, .. } => {
                self.actions(actions, GUARD)
            }
            _ => Vec::new(),
        };
        let mut on = Vec::new();
        for (descriptor, candidates) in &state.on {
            self.declared_event(descriptor, &format!("{pointer}/on/{}", escape(descriptor)));
            on.push((Descriptor::parse(descriptor), self.candidates(at, candidates)));
        }
        on.sort_by_key(|(descriptor, _)| descriptor.precedence());
        // Nothing raises progress yet, but what is written for it must be right already.
        state.invoke.iter().for_each(|it| drop(self.candidates(at, &it.on_progress)));
        let invoke = state
            .invoke
            .iter()
            .map(|it| InvokeDef {
                id: it.id.clone(),
                when: it.when.as_ref().map(|source| {
                    self.condition(source, Scope::EVERYWHERE, &format!("{}/when", it.pointer))
                }),
                effect: effect::compile_tree(self, &it.effect, definition, &it.id),
                on_done: self.candidates(at, &it.on_done),
                on_error: self.candidates(at, &it.on_error),
                detach: it.detach,
                pointer: it.effect.pointer.clone(),
            })
            .collect();
        StateDef {
            path: self.places.path(at).clone(),
            parent,
            last: at,
            kind,
            children: self.places.children(at).to_vec(),
            on,
            always: self.candidates(at, &state.always),
            after: state
                .after
                .iter()
                .map(|it| AfterDef {
                    delay: self.duration(&it.delay, GUARD, &it.pointer),
                    candidates: self.candidates(at, &it.candidates),
                    pointer: it.pointer.clone(),
                })
                .collect(),
            entry: self.actions(&state.entry, GUARD),
            exit: self.actions(&state.exit, GUARD),
            on_default,
            invoke,
            on_done: self.candidates(at, &state.on_done),
            on_error: self.candidates(at, &state.on_error),
            unhandled: state.unhandled,
            budgets: state.budgets,
            grant: state.grant.clone(),
        }
    }

    /// Reports a descriptor that no declared or reserved event can ever fit.
    pub(super) fn declared_event(&mut self, descriptor: &str, pointer: &str) {
        let named = Descriptor::parse(descriptor);
        let fits = match &named {
            Descriptor::Any => true,
            Descriptor::Exact(name) | Descriptor::Prefix(name) => {
                is_reserved(name)
                    || self.declared.iter().any(|it| Descriptor::parse(it).meets(&named))
            }
        };
        if !fits {
            let nearest = nearest(descriptor, self.declared.iter().map(|it| &**it));
            let hint = match nearest {
                Some(it) => format!("did you mean `{it}`? Otherwise declare it under `events`"),
                None => format!(
                    "declare it under `events`, for example `events: {{{descriptor}: {{}}}}`"
                ),
            };
            self.found.push(
                Diagnostic::error("E106", pointer, format!("event `{descriptor}` is not declared"))
                    .hint(hint),
            );
        }
    }

    fn candidates(&mut self, source: StateId, written: &[definition::Candidate]) -> Vec<Candidate> {
        written
            .iter()
            .map(|it| Candidate {
                source,
                targets: it
                    .target
                    .as_ref()
                    .map(|targets| self.targets(source, targets, &it.pointer)),
                guard: it
                    .guard
                    .as_ref()
                    .map(|text| self.condition(text, GUARD, &format!("{}/guard", it.pointer))),
                actions: self.actions(&it.actions, GUARD),
                reenter: it.reenter,
                pointer: it.pointer.clone(),
            })
            .collect()
    }

    fn actions(&mut self, written: &[definition::Action], scope: Scope) -> Vec<ActionDef> {
        written.iter().map(|it| self.action(it, scope)).collect()
    }

    fn action(&mut self, action: &definition::Action, scope: Scope) -> ActionDef {
        use definition::ActionKind as Written;
        let pointer = action.pointer.to_string();
        let mut template = |name: &str, value: &Value| {
            self.template(value, scope, SecretUse::Refused, &format!("{pointer}/{name}"))
        };
        let kind = match &action.kind {
            Written::Assign(pairs) => ActionKind::Assign(
                pairs
                    .iter()
                    .map(|(path, value)| {
                        (path.clone(), template(&format!("assign/{}", escape(path)), value))
                    })
                    .collect(),
            ),
            Written::Remove(paths) => ActionKind::Remove(paths.clone()),
            Written::Merge(value) => ActionKind::Merge(template("merge", value)),
            Written::Raise { event, data, delay, id } => {
                let data = data.as_ref().map(|it| template("raise/data", it));
                let id = id.as_ref().map(|it| template("raise/id", &Value::String(it.clone())));
                let delay = delay
                    .as_ref()
                    .map(|it| self.duration(it, scope, &format!("{pointer}/raise/delay")));
                let event = self.raised(event, scope, &format!("{pointer}/raise/event"));
                ActionKind::Raise { event, data, delay, id }
            }
            Written::Cancel(id) => {
                ActionKind::Cancel(template("cancel", &Value::String(id.clone())))
            }
            Written::Log { level, message, data } => ActionKind::Log {
                level: level.clone(),
                message: template("log/message", message),
                data: data.as_ref().map(|it| template("log/data", it)),
            },
            Written::Emit { event, data, subject } => ActionKind::Emit {
                event: event.clone(),
                data: data.as_ref().map(|it| template("emit/data", it)),
                subject: subject.as_ref().map(|it| template("emit/subject", it)),
            },
            Written::Choose(branches) => {
                ActionKind::Choose(branches.iter().map(|it| self.branch(it, scope)).collect())
            }
            Written::ForEach { list, actions } => ActionKind::ForEach {
                list: template("for_each/in", list),
                actions: self.actions(actions, scope.union(Scope::ITEM)),
            },
            Written::Block(actions) => ActionKind::Block(self.actions(actions, scope)),
        };
        let when = action
            .when
            .as_ref()
            .map(|source| self.condition(source, scope, &format!("{pointer}/when")));
        ActionDef { when, kind, pointer: action.pointer.clone() }
    }

    fn branch(&mut self, branch: &definition::Branch, scope: Scope) -> BranchDef {
        let pointer = format!("{}/when", branch.pointer);
        BranchDef {
            when: branch.when.as_ref().map(|source| self.expr(source, scope, &pointer)),
            actions: self.actions(&branch.actions, scope),
            pointer: branch.pointer.clone(),
        }
    }

    /// Compiles the name of a raised event; only a name that stands in the document can be checked
    /// before it is raised.
    fn raised(&mut self, event: &Text, scope: Scope, pointer: &str) -> EventName {
        if event.contains("${") {
            let value = Value::String(event.clone());
            return EventName::Computed(self.template(&value, scope, SecretUse::Refused, pointer));
        }
        self.declared_event(event, pointer);
        EventName::Literal(event.clone())
    }

    /// Several targets must stand in different regions of one parallel state.
    fn multi_targets(&mut self, definition: &Definition, states: &[StateDef]) {
        let mut pointers = vec![Text::from("")];
        state_pointers(&definition.states, &mut pointers);
        for (state, pointer) in states.iter().zip(&pointers) {
            let lists = state
                .on
                .iter()
                .flat_map(|(_, it)| it)
                .chain(&state.always)
                .chain(state.after.iter().flat_map(|it| &it.candidates))
                .chain(&state.on_done)
                .chain(&state.on_error)
                .chain(state.invoke.iter().flat_map(|it| it.on_done.iter().chain(&it.on_error)))
                .filter_map(|it| Some((it.targets.as_ref()?, it.pointer.to_string())));
            let initial = match &state.kind {
                Kind::Compound { initial } => Some((initial, format!("{pointer}/initial"))),
                Kind::History { target, .. } => Some((target, format!("{pointer}/target"))),
                _ => None,
            };
            for (targets, pointer) in lists.chain(initial).collect::<Vec<_>>() {
                let apart = targets.iter().enumerate().all(|(at, a)| {
                    targets[..at].iter().all(|b| {
                        let meet = meet(states, *a, *b);
                        meet != *a && meet != *b && matches!(states[meet].kind, Kind::Parallel)
                    })
                });
                if !apart {
                    self.found.push(
                        Diagnostic::error(
                            "E105",
                            pointer,
                            "the targets do not stand in different regions of one parallel state",
                        )
                        .hint("name at most one state for each region"),
                    );
                }
            }
        }
    }
}

/// Appends the pointers of states and of what stands below them, in document order.
fn state_pointers(states: &[State], into: &mut Vec<Text>) {
    for state in states {
        into.push(state.pointer.clone());
        if let StateKind::Compound { states, .. } | StateKind::Parallel { states } = &state.kind {
            state_pointers(states, into);
        }
    }
}

fn meet(states: &[StateDef], mut a: StateId, b: StateId) -> StateId {
    while !(a <= b && b <= states[a].last) {
        a = states[a].parent;
    }
    a
}

/// Escapes a key for a JSON pointer.
fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Returns the name nearest to `wanted`, if it is near enough to be a slip.
pub(crate) fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    let last = |path: &str| path.rsplit('.').next().unwrap_or(path).to_string();
    names
        .filter(|name| !name.is_empty())
        .map(|name| (distance(wanted, name).min(distance(&last(wanted), &last(name))), name))
        .min_by_key(|(far, _)| *far)
        .filter(|(far, _)| *far <= 2.max(wanted.len() / 3))
        .map(|(_, name)| name.to_string())
}

/// Returns the number of single-character edits between two names.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let next = (diagonal + usize::from(from != *to)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], next);
        }
    }
    row[b.len()]
}
