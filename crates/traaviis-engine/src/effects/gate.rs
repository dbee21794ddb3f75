//! Gates: an effect asks, goes on when it is let in, and says how it ended.
//!
//! The ask is a call like others, with its records; what it is told stands in the log, so replay
//! needs no gates. Leaving is told after the commit, and lost with the process: gates begin anew.

use traaviis_model::{
    Body, Map, Seq, Text, Value,
    call::GATE,
    snapshot::{Node, NodeStatus, Tree},
};

use super::{End, child_path};
use crate::{
    expr::EvalError,
    gates::{ASK, CHANGES, Left},
    machine::{EffectDef, EffectKind},
    step::{Request, Run, StepEnv},
};

/// Event that is emitted when a circuit breaker opens, is tried or closes.
const BREAKER_EVENT: &str = "traaviis.breaker";

impl<'m> Run<'m> {
    /// Asks, then runs the body unless the answer is a value or an error.
    pub(super) fn drive_gate(
        &mut self,
        tree: Seq,
        path: &Text,
        def: &'m EffectDef,
        ask: &'m EffectDef,
        body: &'m EffectDef,
    ) {
        if self.counts(tree, path).1 == 0 {
            self.poll(tree, &child_path(path, ASK), ask);
        }
        let (running, opened) = self.counts(tree, path);
        if running > 0 || opened == 0 || self.is_over(tree, path) {
            return;
        }
        if let Some(error) = self.failed_below(tree, path) {
            if opened == 1 {
                self.tell_breaker(error.details.get(CHANGES));
            }
            return self.end_control(tree, path, def, End::Failed(error));
        }
        if opened == 1 {
            let answer = self.value_of(tree, path, ASK);
            if let Some(value) = answer.get("value") {
                return self.end_control(tree, path, def, End::Completed(value.clone()));
            }
            self.poll(tree, &child_path(path, &body.segment), body);
            // Once, however often a full step makes it come here again.
            if self.counts(tree, path).1 == 2 {
                self.tell_breaker(answer.get(CHANGES));
            }
        }
        let (running, opened) = self.counts(tree, path);
        if running > 0 || opened < 2 || self.is_over(tree, path) {
            return;
        }
        let end = match self.failed_below(tree, path) {
            Some(error) => End::Failed(error),
            None => End::Completed(self.value_of(tree, path, &body.segment)),
        };
        self.end_control(tree, path, def, end);
    }

    /// Emits how a breaker has changed.
    fn tell_breaker(&mut self, changes: Option<&Value>) {
        for data in changes.and_then(Value::as_list).unwrap_or_default() {
            let event = BREAKER_EVENT.into();
            self.emit(Body::Emitted { event, data: data.clone(), subject: None });
        }
    }

    /// Tells the gate that a body which was let in has ended.
    pub(super) fn leave_gate(
        &mut self,
        tree: Seq,
        path: &Text,
        def: &EffectDef,
        left: impl FnOnce() -> Left,
    ) {
        if !matches!(def.kind, EffectKind::Gate { .. }) {
            return;
        }
        let ask = child_path(path, ASK);
        let Some(node) = self.node(tree, &ask).filter(|it| was_let_in(it)) else { return };
        let call = self.snapshot.call_of(tree, &ask, node).id;
        let input = self.node(tree, path).map(|it| it.input.clone()).unwrap_or_default();
        self.requests.push(Request::Leave { call, input, left: left() });
    }

    /// Returns what tells the gate of `ask` that its body is given up, if it is one.
    pub(super) fn left_open(&self, tree: &Tree, ask: &Text, node: &Node) -> Option<Request> {
        let (gate, _) = ask.rsplit_once('/').filter(|it| it.1 == ASK)?;
        let gate = tree.nodes.get(gate).filter(|it| !it.status.is_over() && was_let_in(node))?;
        Some(Request::Leave {
            call: self.snapshot.call_of(tree.id, ask, node).id,
            input: gate.input.clone(),
            left: Left::Cancelled,
        })
    }
}

/// Evaluates what a gate is asked with; kept at the node itself, as an ask that is over forgets it.
pub(super) fn ask_input(ask: &EffectDef, env: &StepEnv<'_>) -> Result<Value, EvalError> {
    let EffectKind::Call(params) = &ask.kind else { return Ok(Value::Null) };
    let mut input = Map::new();
    for (name, template) in &params.input {
        input.insert(name.clone(), template.render(env)?);
    }
    Ok(Value::Map(input.into()))
}

fn was_let_in(ask: &Node) -> bool {
    &*ask.kind == GATE && ask.status == NodeStatus::Completed && ask.value.get("value").is_none()
}
