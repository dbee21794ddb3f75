//! `wait_signal`: effects that wait for events from outside.

use traaviis_model::{Body, Seq, Snapshot, Text, Value, snapshot::NodeStatus};

use super::End;
use crate::{
    expr::EvalError,
    machine::{Descriptor, EffectDef, EffectKind, Machine, SignalDef},
    step::{InternalEvent, Run, StepEnv},
};

/// Kind of the nodes that wait.
const KIND: &str = "wait_signal";

/// The nodes that take an event, and conditions that could not be computed and count as false.
#[derive(Default)]
pub(crate) struct Takers {
    /// Tree and path of each node.
    pub nodes: Vec<(Seq, Text)>,
    /// What is told once the event is recorded.
    pub errors: Vec<(EvalError, Text)>,
}

fn waiting_nodes(snapshot: &Snapshot) -> impl Iterator<Item = (Seq, &Text)> {
    snapshot.trees.iter().flat_map(|tree| {
        tree.nodes
            .iter()
            .filter(|(_, node)| &*node.kind == KIND && node.status == NodeStatus::Scheduled)
            .map(|(path, _)| (tree.id, path))
    })
}

/// Returns the names that some effect waits for.
pub(crate) fn awaited(machine: &Machine, snapshot: &Snapshot) -> Vec<Text> {
    let machine = &*machine.of_instance(snapshot);
    let mut names = Vec::new();
    for (tree, path) in waiting_nodes(snapshot) {
        let Some(signal) = signal_at(machine, snapshot, tree, path) else { continue };
        names.extend(signal.events.iter().filter_map(|it| match it {
            Descriptor::Exact(name) => Some(name.clone()),
            _ => None,
        }));
    }
    names
}

/// Says whether some effect waits for an event.
pub(crate) fn awaits(machine: &Machine, snapshot: &Snapshot, name: &str) -> bool {
    let machine = &*machine.of_instance(snapshot);
    waiting_nodes(snapshot).any(|(tree, path)| {
        let signal = signal_at(machine, snapshot, tree, path);
        signal.is_some_and(|it| it.events.iter().any(|it| it.matches(name)))
    })
}

fn signal_at<'m>(
    machine: &'m Machine,
    snapshot: &Snapshot,
    tree: Seq,
    path: &str,
) -> Option<&'m SignalDef> {
    let found = snapshot.tree(tree)?;
    let (_, root) = machine.effect_of(found)?;
    let def = super::scope::descend(root, path.strip_prefix(&*found.invoke)?)?;
    match &def.kind {
        EffectKind::WaitSignal(signal) => Some(signal),
        _ => None,
    }
}

impl<'m> Run<'m> {
    /// Returns the nodes that take this event, exclusively or beside transitions.
    pub(crate) fn signals_for(&self, event: &InternalEvent, exclusive: bool) -> Takers {
        let mut takers = Takers::default();
        for (tree, path) in waiting_nodes(&self.snapshot) {
            let Some(signal) = signal_at(self.machine, &self.snapshot, tree, path) else {
                continue;
            };
            let is_meant = signal.exclusive == exclusive
                && signal.events.iter().any(|it| it.matches(&event.name));
            if !is_meant {
                continue;
            }
            let env = StepEnv { event: Some(event), ..self.node_env(tree, path, None) };
            match signal.test.as_ref().map_or(Ok(true), |it| it.eval_bool(&env)) {
                Ok(true) => takers.nodes.push((tree, path.clone())),
                Ok(false) => {}
                Err(error) => takers.errors.push((error, path.clone())),
            }
        }
        takers
    }

    /// Gives an event to the nodes that still wait for it.
    pub(crate) fn signal(&mut self, takers: Takers, data: &Value) {
        for (error, path) in takers.errors {
            self.emit(Body::Warning {
                code: error.code.into(),
                message: error.message.into(),
                at_pointer: path,
            });
        }
        for (tree, path) in takers.nodes {
            let Some(def) = self.def_of(tree, &path) else { continue };
            if self.status(tree, &path) == Some(NodeStatus::Scheduled) {
                self.signal_one(tree, &path, def, data.clone());
                self.advance_tree(tree);
            }
        }
    }

    fn signal_one(&mut self, tree: Seq, path: &Text, def: &'m EffectDef, data: Value) {
        let EffectKind::WaitSignal(signal) = &def.kind else { return };
        if signal.count == 1 {
            return self.finish_node(tree, path, def, End::Completed(data));
        }
        self.emit(Body::SignalReceived { tree, path: path.clone(), data });
        let so_far = self.node(tree, path).map(|it| it.value.clone()).unwrap_or_default();
        if so_far.as_list().is_some_and(|it| it.len() >= signal.count) {
            self.finish_node(tree, path, def, End::Completed(so_far));
        }
    }
}
