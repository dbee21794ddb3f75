//! Compares everything an instance holds with another version, and plans the change.

use std::collections::BTreeMap;

use traaviis_model::{
    Snapshot, Text, Texts, Value,
    definition::{Budgets, EffectsPolicy, State, TimersPolicy},
    grant::{GrantKind, fits_any as covers},
    limits,
    record::{Status, TimerKind, TreePlace, Upgraded},
    snapshot::{Timer, Tree},
};

use super::{Class, Gap, Plan, mapping::Mapping};
use crate::{
    expr::{Env, Var},
    machine::{Kind, Machine, StateId},
    step::text_of,
};

/// What to do about what cannot go on with another version.
pub(super) const FIRST: &str = "let it end first, or cancel it";

pub(super) fn classify(old: &Machine, new: &Machine, snapshot: &Snapshot) -> Class {
    let (before, after) = (old.definition(), new.definition());
    if snapshot.definition_hash == after.hash {
        return Class::Current;
    }
    if snapshot.status.is_finished() || snapshot.status == Status::Completing {
        let status = snapshot.status.as_str();
        return Class::Blocked(vec![format!("the instance is {status}").into()]);
    }
    if before.name != after.name {
        let message = format!("it runs workflow `{}`, not `{}`", before.name, after.name);
        return Class::Blocked(vec![message.into()]);
    }
    let mut fit = Fit {
        old,
        snapshot,
        mapping: Mapping::of(old, new, snapshot),
        old_json: before.json(),
        new_json: after.json(),
        gaps: Vec::new(),
        reasons: Vec::new(),
        plan: Plan {
            upgraded: Upgraded {
                from: snapshot.definition_hash,
                from_version: snapshot.version.clone(),
                to: after.hash,
                to_version: after.version.to_string().into(),
                rollback: false,
                reversible: true,
                states: Vec::new(),
                configuration: Texts::new(),
                history: BTreeMap::new(),
                timers: Vec::new(),
                trees: Vec::new(),
                data: None,
            },
            drop_timers: Vec::new(),
            restart_timers: false,
            give_up: Vec::new(),
            restart_effects: false,
        },
    };
    fit.budgets();
    fit.grants();
    fit.data();
    fit.configuration();
    fit.history();
    fit.timers();
    fit.trees();
    fit.deferred();
    fit.class()
}

struct Fit<'m> {
    old: &'m Machine,
    snapshot: &'m Snapshot,
    mapping: Mapping<'m>,
    old_json: Value,
    new_json: Value,
    gaps: Vec<Gap>,
    reasons: Vec<Text>,
    plan: Plan,
}

/// What the expressions of a migration read.
struct Before<'a>(&'a Snapshot);

impl Env for Before<'_> {
    fn var(&self, var: Var) -> Option<Value> {
        match var {
            Var::Data => Some(self.0.data.clone()),
            Var::Input => Some(self.0.input.clone()),
            _ => None,
        }
    }

    fn random_seed(&self) -> (u64, u64) {
        (0, self.0.seq)
    }
}

impl<'m> Fit<'m> {
    fn class(mut self) -> Class {
        if !self.reasons.is_empty() {
            self.reasons.dedup();
            return Class::Blocked(self.reasons);
        }
        if !self.gaps.is_empty() {
            self.gaps.dedup();
            return Class::NeedsMapping(self.gaps);
        }
        let plan = &mut self.plan;
        plan.upgraded.states.sort();
        plan.upgraded.states.dedup();
        plan.upgraded.reversible = plan.drop_timers.is_empty()
            && plan.give_up.is_empty()
            && !plan.restart_timers
            && !plan.restart_effects;
        Class::Safe(Box::new(self.plan))
    }

    fn gap(&mut self, what: &'static str, name: &str, suggestion: Option<Text>) {
        self.gaps.push(Gap { what, name: name.into(), suggestion });
    }

    fn block(&mut self, reason: impl Into<Text>) {
        self.reasons.push(reason.into());
    }

    /// Limits are not lifted in passing: a migration for the old version must be there.
    fn budgets(&mut self) {
        if self.mapping.migration.is_some() {
            return;
        }
        let limits = |budgets: Option<Budgets>| budgets.map(|it| it.limits).unwrap_or_default();
        let mut pairs = vec![(
            "the run".to_string(),
            limits(self.old.definition().budgets),
            limits(self.mapping.new.definition().budgets),
        )];
        let active = self.old.active_in(self.snapshot);
        for state in (1..active.len()).filter(|it| active[*it]) {
            let old = &self.old.states[state];
            if let Some(new) = self.mapping.state(&old.path) {
                let new = &self.mapping.new.states[new];
                let name = format!("state `{}`", new.path);
                pairs.push((name, limits(old.budgets), limits(new.budgets)));
            }
        }
        for (name, old, new) in pairs {
            let Some(kind) = new.wider_than(&old) else { continue };
            let word = kind.as_str();
            let text = |limit: Option<u64>| limit.map_or("no limit".into(), |it| kind.text(it));
            let (old, new) = (text(old.of(kind)), text(new.of(kind)));
            let version = &self.snapshot.version;
            self.block(format!(
                "the budget of {name} would be widened from `{word}: {old}` to `{word}: {new}`; a \
                 migration from version {version} must be there to say that this is meant"
            ));
        }
    }

    /// What may be reached is not widened in passing either. Names that a version spells out are
    /// seen by whoever reads it; what is only listed, or no longer narrowed, is not.
    fn grants(&mut self) {
        if self.mapping.migration.is_some() {
            return;
        }
        let (old, new) = (self.old, self.mapping.new);
        for kind in GrantKind::ALL {
            let list = new.definition().grant.list(kind).unwrap_or_default();
            for name in list.iter().filter(|it| !covers(&old.granted.names(kind), it)) {
                self.widened("the workflow", kind, &format!("`{name}`"));
            }
        }
        if old.definition().grant.approve_untrusted && !new.definition().grant.approve_untrusted {
            let version = &self.snapshot.version;
            self.block(format!(
                "`permissions.approve_untrusted` would be lifted; a migration from version \
                 {version} must be there to say that this is meant"
            ));
        }
        let active = old.active_in(self.snapshot);
        for state in (1..active.len()).filter(|it| active[*it]) {
            let was = &old.states[state];
            let Some(is) = self.mapping.state(&was.path).map(|it| &new.states[it]) else {
                continue;
            };
            let name = format!("state `{}`", is.path);
            for kind in GrantKind::ALL {
                match (was.grant.list(kind), is.grant.list(kind)) {
                    (Some(_), None) => {
                        self.widened(&name, kind, "everything that the workflow may")
                    }
                    (Some(was), Some(is)) => {
                        for it in is.iter().filter(|it| !covers(was, it)) {
                            self.widened(&name, kind, &format!("`{it}`"));
                        }
                    }
                    (None, _) => {}
                }
            }
        }
    }

    fn widened(&mut self, who: &str, kind: GrantKind, by: &str) {
        let (list, version) = (kind.as_str(), &self.snapshot.version);
        self.block(format!(
            "`permissions.{list}` of {who} would be widened by {by}; a migration from version \
             {version} must be there to say that this is meant"
        ));
    }

    fn data(&mut self) {
        let mut data = self.snapshot.data.clone();
        if let Some(migration) = self.mapping.migration {
            match migration.defer_when.as_ref().map(|it| (it, it.eval_bool(&Before(self.snapshot))))
            {
                Some((expr, Ok(true))) => {
                    self.block(format!("its migration waits while `{}` is true", expr.source()));
                }
                Some((_, Err(error))) => {
                    self.block(format!("`defer_when` cannot be computed: {}", error.message));
                }
                _ => {}
            }
            match migration.data.as_ref().map(|it| it.render(&Before(self.snapshot))) {
                Some(Ok(rendered)) => data = rendered.into_json(),
                Some(Err(error)) => {
                    let message = &error.message;
                    return self.block(format!("the new data cannot be computed: {message}"));
                }
                None => {}
            }
        }
        if data.as_map().is_none() {
            return self.block("the new data are no map");
        }
        if data.json_len() > limits::DATA_BYTES_MAX {
            let most = limits::DATA_BYTES_MAX;
            return self.block(format!("the new data are larger than {most} bytes"));
        }
        if let Some(schema) = &self.mapping.new.data_schema {
            let errors = schema.errors(&data);
            if !errors.is_empty() {
                self.block(format!("the data do not fit the new schema: {}", errors.join("; ")));
            }
        }
        if data != self.snapshot.data {
            self.plan.upgraded.data = Some(data);
        }
    }

    /// Returns the counterpart of a state and notes its new name.
    fn state(&mut self, old: &Text) -> Option<StateId> {
        let found = self.mapping.state(old)?;
        let path = self.mapping.path(found);
        if path != *old {
            self.plan.upgraded.states.push((old.clone(), path));
        }
        Some(found)
    }

    fn configuration(&mut self) {
        let mut leaves = Vec::new();
        for path in &self.snapshot.configuration {
            let found = self.state(path).filter(|it| {
                matches!(self.mapping.new.states[*it].kind, Kind::Atomic | Kind::Final { .. })
            });
            match found {
                Some(state) => leaves.push(state),
                None => self.gap("state", path, self.mapping.suggestion(path)),
            }
        }
        leaves.sort_unstable();
        leaves.dedup();
        self.plan.upgraded.configuration = leaves.iter().map(|it| self.mapping.path(*it)).collect();
        if self.gaps.is_empty()
            && let Some(at) =
                self.mapping.new.misfit(&self.mapping.new.active_with(leaves.iter().copied()), 0)
        {
            let name = self.snapshot.state();
            let place = self.mapping.path(at);
            let place = if place.is_empty() { "the workflow".into() } else { place };
            self.block(format!(
                "`{name}` would become states that cannot be active together: one child of \
                 {place}, or each of its regions, must be"
            ));
        }
    }

    fn history(&mut self) {
        for (history, paths) in &self.snapshot.history {
            let Some(new_history) = self.state(history) else {
                self.gap("history", history, self.mapping.suggestion(history));
                continue;
            };
            let mut kept = Vec::new();
            for path in paths {
                match self.state(path) {
                    Some(state) => kept.push(state),
                    None => self.gap("state", path, self.mapping.suggestion(path)),
                }
            }
            kept.sort_unstable();
            let new = self.mapping.new;
            let parent = new.states[new_history].parent;
            let fits = match new.states[new_history].kind {
                Kind::History { deep: false, .. } => {
                    kept.iter().all(|it| new.states[*it].parent == parent)
                }
                Kind::History { deep: true, .. } => {
                    kept.iter()
                        .all(|it| new.is_below(*it, parent) && new.states[*it].children.is_empty())
                        && new.misfit(&new.active_with(kept.iter().copied()), parent).is_none()
                }
                _ => false,
            };
            if !fits && kept.len() == paths.len() {
                self.gap("history", history, None);
            }
            let kept = kept.into_iter().map(|it| self.mapping.path(it)).collect();
            self.plan.upgraded.history.insert(self.mapping.path(new_history), kept);
        }
    }

    fn timers(&mut self) {
        let policy = self.mapping.migration.map(|it| it.timers).unwrap_or_default();
        self.plan.restart_timers = policy == TimersPolicy::Restart;
        for timer in &self.snapshot.timers {
            match &timer.kind {
                TimerKind::After { state, index } => self.after(timer, state, *index, policy),
                TimerKind::Raise { event, .. } => {
                    if self.mapping.new.declaration(event).is_some() {
                        continue;
                    }
                    match policy {
                        TimersPolicy::Drop => self.plan.drop_timers.push(timer.id.clone()),
                        _ => self.gap("event", event, None),
                    }
                }
                // They belong to effects and share their fate.
                _ => {}
            }
        }
    }

    fn after(&mut self, timer: &Timer, state: &Text, index: u32, policy: TimersPolicy) {
        if policy == TimersPolicy::Drop {
            return self.plan.drop_timers.push(timer.id.clone());
        }
        if policy == TimersPolicy::Restart {
            return;
        }
        let found = self.state(state);
        let kind = found.and_then(|it| {
            let was = definition_of(self.old, state)?;
            let is = definition_of(self.mapping.new, &self.mapping.path(it))?;
            let delay = text_of(&was.after.get(index as usize)?.delay);
            let equal = |state: &State| -> Vec<usize> {
                let all = state.after.iter().enumerate();
                all.filter(|(_, it)| text_of(&it.delay) == delay).map(|(at, _)| at).collect()
            };
            let place = equal(was).iter().position(|it| *it == index as usize)?;
            let index = *equal(is).get(place)?;
            Some(TimerKind::After { state: self.mapping.path(it), index: index as u32 })
        });
        match kind {
            Some(kind) => self.plan.upgraded.timers.push((timer.id.clone(), kind)),
            None => {
                let delay =
                    definition_of(self.old, state).and_then(|it| it.after.get(index as usize));
                let delay = delay.map(|it| text_of(&it.delay)).unwrap_or_default();
                let name = format!("after {delay} of {state}");
                let delays = found.and_then(|it| {
                    let is = definition_of(self.mapping.new, &self.mapping.path(it))?;
                    Some(format!("after {}", text_of(&is.after.first()?.delay)).into())
                });
                self.gap("timer", &name, delays);
            }
        }
    }

    fn trees(&mut self) {
        let policy = self.mapping.migration.map(|it| it.effects).unwrap_or_default();
        self.plan.restart_effects = policy == EffectsPolicy::Restart;
        for tree in &self.snapshot.trees {
            if tree.asked.is_some() {
                let root = &tree.invoke;
                self.block(format!("effect `{root}` runs outside of the states; {FIRST}"));
                continue;
            }
            let is_leaving = tree.orphaned;
            match policy {
                EffectsPolicy::Keep => self.keep_tree(tree),
                _ if is_leaving => self.keep_tree(tree),
                _ => {
                    let undoes = self.old.effect_at(&tree.pointer).is_some_and(|(_, it)| it.undoes);
                    if undoes {
                        self.block(format!(
                            "effect `{}` of `{}` registers compensations, which nobody would run \
                             if it were given up; let it end first",
                            tree.invoke, tree.state
                        ));
                    }
                    self.plan.give_up.push(tree.id);
                }
            }
        }
    }

    fn keep_tree(&mut self, tree: &Tree) {
        let name = format!("{} of {}", tree.invoke, tree.state);
        let place = self.state(&tree.state).and_then(|state| {
            let def = &self.mapping.new.states[state];
            let invoke = def.invoke.iter().find(|it| it.id == tree.invoke)?;
            let (state, pointer) = (def.path.clone(), invoke.pointer.clone());
            Some(TreePlace { tree: tree.id, state, pointer })
        });
        let Some(place) = place else {
            let suggestion = self.state(&tree.state).and_then(|it| {
                let def = &self.mapping.new.states[it];
                def.invoke.first().map(|it| format!("{} of {}", it.id, def.path).into())
            });
            return self.gap("effect", &name, suggestion);
        };
        let was = running(&self.old_json, &tree.pointer);
        let is = running(&self.new_json, &place.pointer);
        if was.is_none() || was != is {
            return self.block(format!(
                "effect `{name}` is running and another one in the new version; let it end, or \
                 say `effects: restart` or `cancel` in a migration"
            ));
        }
        self.plan.upgraded.trees.push(place);
    }

    fn deferred(&mut self) {
        for (event, data) in &self.snapshot.deferred {
            let declared = self.mapping.new.declaration(event).filter(|(_, it)| !it.internal);
            let Some((_, declared)) = declared else {
                self.gap("event", event, None);
                continue;
            };
            let errors = declared.schema.as_ref().map(|it| it.errors(data)).unwrap_or_default();
            if !errors.is_empty() {
                let errors = errors.join("; ");
                self.block(format!("the deferred event `{event}` does not fit: {errors}"));
            }
        }
    }
}

/// Returns everything that says what the effect at a pointer does.
fn running(json: &Value, pointer: &str) -> Option<Value> {
    let effect = json.at_pointer(pointer)?;
    let text = effect.to_json();
    let named = json.get("effects").filter(|_| text.contains(r#""use""#));
    let parts = [Some(effect), json.get("defaults"), named];
    Some(Value::list(parts.into_iter().map(|it| it.cloned().unwrap_or_default())))
}

/// Returns the definition of the state at a path.
fn definition_of<'m>(machine: &'m Machine, path: &str) -> Option<&'m State> {
    let mut states = machine.definition().states.as_slice();
    let mut found = None;
    for name in path.split('.') {
        let state = states.iter().find(|it| *it.name == *name)?;
        states = state.kind.children();
        found = Some(state);
    }
    found
}
