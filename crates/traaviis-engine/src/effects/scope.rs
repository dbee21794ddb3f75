//! What templates inside a tree see: earlier steps, the previous result, the current item.

use traaviis_model::{Map, Seq, Text, Value, snapshot::Node};

use super::child_path;
use crate::{
    expr::Var,
    machine::{EffectDef, EffectKind},
    step::{Run, StepEnv},
};

impl Run<'_> {
    /// Returns what the templates of a node read.
    pub(crate) fn node_env<'a>(
        &'a self,
        tree: Seq,
        path: &'a str,
        value: Option<&'a Value>,
    ) -> StepEnv<'a> {
        StepEnv {
            machine: self.machine,
            snapshot: &self.snapshot,
            active: &self.active,
            now: self.now,
            event: None,
            node: Some((tree, path)),
            value,
        }
    }
}

/// Follows `/segment/segment` down from a root definition.
pub(crate) fn descend<'m>(root: &'m EffectDef, rest: &str) -> Option<&'m EffectDef> {
    rest.split('/').filter(|it| !it.is_empty()).try_fold(root, |def, segment| {
        match undone(def, segment) {
            Some(of) => {
                let done = of.split('>').try_fold(def, |def, segment| def.child(segment))?;
                done.compensation.as_deref()
            }
            None => def.child(segment),
        }
    })
}

/// Returns which node below a scope the compensation of this name undoes: its path, joined by `>`.
fn undone<'s>(scope: &EffectDef, segment: &'s str) -> Option<&'s str> {
    match scope.kind {
        EffectKind::WithCompensation { .. } => None,
        _ => segment.strip_prefix("undo:"),
    }
}

/// The nodes from the root to `path`, outermost first, each with the segment that leads on.
///
/// A compensation runs below the scope that undoes, and reads what the node it undoes has read; so
/// the nodes from the scope to that node count as well.
fn ancestry<'e>(env: &StepEnv<'e>, tree: Seq, path: &str) -> Vec<(&'e EffectDef, Text, Text)> {
    let Some(found) = env.snapshot.tree(tree) else { return Vec::new() };
    let Some((_, root)) = env.machine.effect_of(found) else { return Vec::new() };
    let Some(rest) = path.strip_prefix(&*found.invoke) else { return Vec::new() };
    let (mut at, mut at_path) = (root, found.invoke.clone());
    let mut above = Vec::new();
    for segment in rest.split('/').filter(|it| !it.is_empty()) {
        let (mut def, mut def_path) = (at, at_path.clone());
        for step in undone(at, segment).unwrap_or(segment).split('>') {
            above.push((def, def_path.clone(), Text::from(step)));
            let Some(child) = def.child(step) else { break };
            def_path = child_path(&def_path, step);
            def = child;
        }
        let Some(next) = descend(at, segment) else { break };
        at = next;
        at_path = child_path(&at_path, segment);
    }
    above
}

/// Returns the value of the step before `path` in the nearest sequence that has one.
pub(crate) fn previous_result(env: &StepEnv<'_>, tree: Seq, path: &str) -> Value {
    for (def, at, segment) in ancestry(env, tree, path).into_iter().rev() {
        let steps = match &def.kind {
            EffectKind::Sequence { children, .. } => children,
            EffectKind::Saga { steps, parallel: false, .. } => steps,
            _ => continue,
        };
        let Some(position) = steps.iter().position(|it| it.segment == segment) else { continue };
        if position > 0 {
            let before = child_path(&at, &steps[position - 1].segment);
            return env.snapshot.node(tree, &before).map(|it| it.value.clone()).unwrap_or_default();
        }
    }
    Value::Null
}

/// Returns `item`, `index`, `loop` or `param` of the nearest enclosing batch, loop or use.
pub(crate) fn enclosing(env: &StepEnv<'_>, var: Var, tree: Seq, path: &str) -> Option<Value> {
    let mut above = ancestry(env, tree, path);
    // The condition of a loop belongs to the loop itself.
    if let Some(def) =
        env.snapshot.tree(tree).and_then(|found| env.machine.effect_of(found)).and_then(
            |(_, root)| descend(root, path.strip_prefix(&*env.snapshot.tree(tree)?.invoke)?),
        )
    {
        above.push((def, path.into(), "".into()));
    }
    for (def, at, segment) in above.into_iter().rev() {
        let node = env.snapshot.node(tree, &at);
        match (&def.kind, var) {
            (EffectKind::While { .. }, Var::Loop) => {
                return Some(node.map(|it| it.value.clone()).unwrap_or_default());
            }
            (EffectKind::Use { .. }, Var::Param) if !segment.is_empty() => {
                return Some(node?.input.clone());
            }
            (EffectKind::Batch { .. }, Var::Index) if !segment.is_empty() => {
                return segment.parse().ok().map(Value::Int);
            }
            (EffectKind::Batch { .. }, Var::Item) if !segment.is_empty() => {
                let items = node?.input.get("items")?.as_list()?;
                return items.get(segment.parse::<usize>().ok()?).cloned();
            }
            _ => {}
        }
    }
    None
}

/// Returns `steps.NAME` as the node at `path` reads it: by the author's id, else by a segment of
/// the path. Inside a batch the steps of the own item come before those of other items.
pub(crate) fn step_named(env: &StepEnv<'_>, tree: Seq, path: &str, name: &str) -> Option<Value> {
    let found = env.snapshot.tree(tree)?;
    let (_, root) = env.machine.effect_of(found)?;
    let is_named = |path: &str| {
        let last = path.rsplit('/').next().unwrap_or(path);
        if last == name {
            return true;
        }
        let def = path.strip_prefix(&*found.invoke).and_then(|rest| descend(root, rest));
        def.is_some_and(|def| def.id.as_deref() == Some(name))
    };
    let own = items_around(env, tree, path).into_iter().find_map(|item| {
        let prefix = Text::from(format!("{item}/"));
        let below = found.nodes.range(prefix.clone()..);
        below.take_while(|(at, _)| at.starts_with(&*prefix)).find(|(at, _)| is_named(at))
    });
    own.or_else(|| found.nodes.iter().find(|(at, _)| is_named(at)))
        .map(|(_, node)| step_value(node))
}

/// Returns `steps`, as the node at `path` reads it: every step of the tree by its name.
pub(crate) fn steps(env: &StepEnv<'_>, tree: Seq, path: &str) -> Value {
    let Some(found) = env.snapshot.tree(tree) else { return Value::empty_map() };
    let root = env.machine.effect_of(found).map(|(_, root)| root);
    let mut map = Map::new();
    let mut add = |path: &Text, node: &Node| {
        let last = path.rsplit('/').next().unwrap_or(path);
        let def = root.and_then(|root| descend(root, path.strip_prefix(&*found.invoke)?));
        let name = def.and_then(|def| def.id.clone()).unwrap_or_else(|| last.into());
        map.insert(name, step_value(node));
    };
    found.nodes.iter().rev().for_each(|(path, node)| add(path, node));
    for item in items_around(env, tree, path).into_iter().rev() {
        let prefix = Text::from(format!("{item}/"));
        let below = found.nodes.range(prefix.clone()..);
        below
            .take_while(|(at, _)| at.starts_with(&*prefix))
            .for_each(|(path, node)| add(path, node));
    }
    Value::Map(map.into())
}

/// Returns the paths of the batch items that `path` lies in, innermost first.
fn items_around(env: &StepEnv<'_>, tree: Seq, path: &str) -> Vec<Text> {
    let above = ancestry(env, tree, path).into_iter().rev();
    let items = above.filter(|(def, ..)| matches!(def.kind, EffectKind::Batch { .. }));
    items.map(|(_, at, segment)| child_path(&at, &segment)).collect()
}

fn step_value(node: &Node) -> Value {
    Value::map([
        ("value", node.value.clone()),
        ("error", node.error.as_ref().map_or(Value::Null, |error| error.to_value())),
        ("status", Value::from(node.status.as_str())),
    ])
}
