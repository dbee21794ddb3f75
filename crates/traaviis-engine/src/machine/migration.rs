//! Compiled migrations, and what contradicts itself in them.

use traaviis_model::{
    Diagnostic, Text,
    definition::{Definition, EffectsPolicy, Migration, TimersPolicy},
};

use super::{
    Places, StateId,
    compile::{Compiler, nearest},
};
use crate::expr::{Expr, Scope, SecretUse, Template};

/// A compiled migration.
#[derive(Debug)]
pub(crate) struct MigrationDef {
    pub from: semver::VersionReq,
    /// Old path and new state.
    pub states: Vec<(Text, StateId)>,
    pub data: Option<Template>,
    pub timers: TimersPolicy,
    pub effects: EffectsPolicy,
    pub defer_when: Option<Expr>,
}

/// What a migration may read.
const SCOPE: Scope = Scope::DATA.union(Scope::INPUT);

pub(super) fn compile(compiler: &mut Compiler, definition: &Definition) -> Vec<MigrationDef> {
    let places = Places::of(definition);
    let migrations = &definition.migrations;
    for (at, migration) in migrations.iter().enumerate() {
        let from = format!("{}/from", migration.pointer);
        if migration.from.matches(&definition.version) {
            let message = format!("`from` takes in version {} itself", definition.version);
            let hint = "end the range before this version, as in `<2.0.0`";
            compiler.error_with_hint("E152", &from, message, hint);
        }
        if migrations[..at].iter().any(|it| it.from == migration.from) {
            let message = format!("an earlier migration has `from: {}` too", migration.from);
            let hint = "the first that fits counts; make one of both";
            compiler.error_with_hint("E152", &from, message, hint);
        }
    }
    migrations.iter().map(|it| one(compiler, &places, it)).collect()
}

fn one(compiler: &mut Compiler, places: &Places, migration: &Migration) -> MigrationDef {
    let pointer = &*migration.pointer;
    let mut states: Vec<(Text, StateId)> = Vec::new();
    for (old, new) in &migration.states {
        let place = format!("{pointer}/states/{}", old.replace('~', "~0").replace('/', "~1"));
        let Some(found) = places.child(0, new) else {
            let message = format!("`{new}` is no path of a state in this version");
            let mut found = Diagnostic::error("E102", &*place, message);
            if let Some(near) = nearest(new, places.paths().map(|it| &**it)) {
                found = found.hint(format!("did you mean `{near}`?"));
            }
            compiler.found(found);
            continue;
        };
        states.push((old.clone(), found));
    }
    for (inner, at) in &states {
        for (outer, above) in &states {
            let is_inside = inner.strip_prefix(&**outer).is_some_and(|it| it.starts_with('.'));
            if is_inside && !is_below(places, *at, *above) {
                let message = format!(
                    "`{inner}` is active only inside `{outer}`, but `{}` does not stand below `{}`",
                    places.path(*at),
                    places.path(*above)
                );
                let hint = "leave the outer state out; a state brings its parents along";
                compiler.error_with_hint("E152", &format!("{pointer}/states"), message, hint);
            }
        }
    }
    MigrationDef {
        from: migration.from.clone(),
        states,
        data: migration
            .data
            .as_ref()
            .map(|it| compiler.template(it, SCOPE, SecretUse::Refused, &format!("{pointer}/data"))),
        timers: migration.timers,
        effects: migration.effects,
        defer_when: migration
            .defer_when
            .as_ref()
            .map(|it| compiler.condition(it, SCOPE, &format!("{pointer}/defer_when"))),
    }
}

/// Says whether a state is another one, or stands below it.
fn is_below(places: &Places, mut state: StateId, above: StateId) -> bool {
    while state != above && state != 0 {
        state = places.parent(state);
    }
    state == above
}
