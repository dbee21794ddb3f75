//! W205 and W207: errors of effects that nothing takes, and calls that nothing undoes.

use traaviis_model::{
    Diagnostic, Value,
    call::{CALL_KINDS, is_between_instances},
    definition::{Children, Definition, Effect, ErrorsUnhandled, State},
};

use super::{chart::Chart, warning};
use crate::machine::{Descriptor, InvokeDef, StateId};

pub(super) fn check(chart: &Chart<'_>, found: &mut Vec<Diagnostic>) {
    for state in chart.states() {
        let Some(State { invoke: written, .. }) = chart.written(state) else { continue };
        for (def, written) in chart.def(state).invoke.iter().zip(written) {
            if has_outcomes(chart.machine.definition(), &written.effect)
                && !is_handled(chart, state, def)
            {
                found.push(unhandled(def, &written.pointer));
            }
            Undo { found }.effect(&written.effect, Later::Nothing);
        }
    }
}

fn unhandled(invoke: &InvokeDef, pointer: &str) -> Diagnostic {
    let id = &invoke.id;
    let message =
        format!("nothing takes the error of invoke `{id}`, so the whole instance fails with it");
    let hint = "add `onError` to the invoke or to a state around it";
    warning("W205", pointer, message, hint)
}

fn is_handled(chart: &Chart<'_>, state: StateId, invoke: &InvokeDef) -> bool {
    let name = format!("error.invoke.{}", invoke.id);
    let takes = |it: &Descriptor| !matches!(it, Descriptor::Any) && it.matches(&name);
    // Without `fail` the document has said what happens to errors that nothing takes.
    chart.machine.definition().errors_unhandled != ErrorsUnhandled::Fail
        || !invoke.on_error.is_empty()
        || chart.around(state).any(|at| {
            let def = chart.def(at);
            !def.on_error.is_empty() || def.on.iter().any(|(it, _)| takes(it))
        })
}

/// Says whether an effect can fail although the document is right: it asks somebody, or has a
/// limit. A wrong expression is no outcome to plan for.
fn has_outcomes(definition: &Definition, effect: &Effect) -> bool {
    let own = match &*effect.kind {
        "timeout" | "while_loop" | "wait_signal" => true,
        kind if CALL_KINDS.contains(&kind) || is_between_instances(kind) => true,
        "human_task" => effect.param("deadline").is_some(),
        "approval" => {
            effect.param("deadline").is_some()
                || effect.param("deny_is_error") != Some(&Value::Bool(false))
        }
        _ => false,
    };
    own || effect.timeout.is_some()
        || effect.deadline.is_some()
        || definition.parts_of(effect).into_iter().any(|it| has_outcomes(definition, it))
}

/// Says whether an effect can give an error for any reason; what holds no expression and asks
/// nobody cannot.
fn may_fail(effect: &Effect) -> bool {
    let own = match &*effect.kind {
        "value" | "log" | "emit" => has_expression(effect),
        "delay" => effect.param("until").is_some() || has_expression(effect),
        "sequence" | "parallel" => false,
        _ => true,
    };
    let is_bounded = effect.timeout.is_some() || effect.deadline.is_some();
    own || is_bounded
        || effect.when.is_some()
        || effect.save.is_some()
        || effect.parts().into_iter().any(may_fail)
}

fn has_expression(effect: &Effect) -> bool {
    effect.params.iter().any(|(_, value)| value.to_json().contains("${"))
}

/// What can still go wrong in a tree after one of its nodes has succeeded.
#[derive(Clone, Copy, PartialEq)]
enum Later {
    /// The tree succeeds with the node.
    Nothing,
    /// Other work, whose failure rolls the tree back.
    Work,
}

/// Looks for calls that a rollback would leave standing.
struct Undo<'f> {
    found: &'f mut Vec<Diagnostic>,
}

impl Undo<'_> {
    fn effect(&mut self, effect: &Effect, later: Later) {
        if effect.waive.is_some() {
            return;
        }
        // The compensation answers for what comes after the node, not for a failure inside it.
        let later = if effect.compensation.is_some() { Later::Nothing } else { later };
        if later == Later::Work && is_plain_write(effect) {
            self.report(effect);
        }
        if &*effect.kind == "with_compensation" {
            return;
        }
        for (_, children) in &effect.children {
            self.children(effect, children, later);
        }
    }

    fn children(&mut self, effect: &Effect, children: &Children, later: Later) {
        let kind = &*effect.kind;
        match children {
            Children::One(child) if matches!(kind, "batch" | "while_loop") => {
                self.effect(child, Later::Work);
            }
            Children::One(child) => self.effect(child, later),
            Children::List(list) => self.siblings(kind, &list.iter().collect::<Vec<_>>(), later),
            Children::Map(map) => {
                self.siblings(kind, &map.iter().map(|(_, it)| it).collect::<Vec<_>>(), later);
            }
            Children::Cases(cases) => cases.iter().for_each(|(_, it)| self.effect(it, later)),
            Children::Saga(steps) => {
                let in_order = word(effect, "mode") != Some("parallel");
                for (at, step) in steps.iter().enumerate() {
                    let is_last = at + 1 == steps.len() && (in_order || at == 0);
                    let inside = match (&step.compensation, is_last) {
                        (Some(_), _) => Later::Nothing,
                        (None, true) => later,
                        (None, false) => Later::Work,
                    };
                    self.effect(&step.action, inside);
                }
            }
        }
    }

    fn siblings(&mut self, kind: &str, effects: &[&Effect], later: Later) {
        let mut after = later;
        let inside: Vec<Later> = match kind {
            // From the end: an effect is followed by work once one behind it may fail.
            "sequence" => {
                let mut inside = Vec::with_capacity(effects.len());
                for effect in effects.iter().rev() {
                    inside.push(after);
                    after = if may_fail(effect) { Later::Work } else { after };
                }
                inside.into_iter().rev().collect()
            }
            // The next is tried only after this one has failed.
            "fallback" => vec![later; effects.len()],
            _ => {
                let failing = effects.iter().filter(|it| may_fail(it)).count();
                let beside = |it: &&Effect| failing > usize::from(may_fail(it));
                let of = |it| if beside(it) { Later::Work } else { later };
                effects.iter().map(of).collect()
            }
        };
        for (effect, inside) in effects.iter().zip(inside) {
            self.effect(effect, inside);
        }
    }

    fn report(&mut self, effect: &Effect) {
        let method = word(effect, "method").unwrap_or_default().to_uppercase();
        let message = format!(
            "nothing undoes this {method} when work that comes after it or runs beside it fails"
        );
        let hint = "add `compensation`, or `idempotent: true` if the peer honours \
                    `Idempotency-Key`, or say why none is needed: `waive: REASON`";
        self.found.push(warning("W207", &*effect.pointer, message, hint));
    }
}

/// Says whether an effect certainly writes at a peer that does not know the same call again.
fn is_plain_write(effect: &Effect) -> bool {
    let is_idempotent = effect.param("idempotent") == Some(&Value::Bool(true));
    &*effect.kind == "call_api"
        && matches!(word(effect, "method"), Some("post" | "patch"))
        && !is_idempotent
}

fn word<'e>(effect: &'e Effect, name: &str) -> Option<&'e str> {
    effect.param(name).and_then(Value::as_str)
}
