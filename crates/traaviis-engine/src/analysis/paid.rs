//! W206: calls of models that nothing limits.

use std::collections::BTreeSet;

use traaviis_model::{
    Diagnostic, Text, Value,
    budget::Limits,
    definition::{Definition, Effect, State},
};

use super::warning;
use crate::cost;

/// Which limits stand around an effect.
#[derive(Clone, Copy, Default)]
struct Around {
    /// It limits the money, as far as prices are known.
    usd: bool,
    /// It limits how much models do, whatever they charge.
    work: bool,
}

impl Around {
    fn and(self, limits: Option<Limits>) -> Around {
        let Some(limits) = limits else { return self };
        Around {
            usd: self.usd || limits.usd_micros.is_some(),
            work: self.work || limits.tokens.is_some() || limits.calls.is_some(),
        }
    }
}

pub(super) fn check(definition: &Definition, found: &mut Vec<Diagnostic>) {
    let mut search = Search { definition, told: BTreeSet::new(), found };
    let around = Around::default().and(definition.budgets.map(|it| it.limits));
    search.states(&definition.states, around);
}

struct Search<'d> {
    definition: &'d Definition,
    /// Effects that were reported: a named one may be used often.
    told: BTreeSet<Text>,
    found: &'d mut Vec<Diagnostic>,
}

impl Search<'_> {
    fn states(&mut self, states: &[State], around: Around) {
        for state in states {
            let around = around.and(state.budgets.map(|it| it.limits));
            state.invoke.iter().for_each(|it| self.effect(&it.effect, around));
            self.states(state.kind.children(), around);
        }
    }

    fn effect(&mut self, effect: &Effect, around: Around) {
        let around = around.and(effect.budget);
        if !around.work {
            self.paid(effect, around);
        }
        for part in self.definition.parts_of(effect) {
            self.effect(part, around);
        }
    }

    fn paid(&mut self, effect: &Effect, around: Around) {
        let written = Value::map(effect.params.iter().map(|(key, it)| (&**key, it.clone())));
        let Some(estimate) = cost::estimate(&effect.kind, &written) else { return };
        let kind = &effect.kind;
        let (message, hint) = match (around.usd, estimate.unpriced) {
            (false, _) => (
                format!("nothing limits what `{kind}` may cost"),
                "add for example `budgets: {usd: 0.50, tokens: 40000}` to the document or the \
                 state, or `budget` to the effect",
            ),
            // Which model it is shows when it runs.
            (true, Some(model)) if !model.contains("${") => (
                format!(
                    "`usd` does not limit `{kind}`: the price of model `{model}` is not known, so \
                     it counts as nothing"
                ),
                "add `tokens` or `calls` to the budget",
            ),
            _ => return,
        };
        if self.told.insert(effect.pointer.clone()) {
            self.found.push(warning("W206", &*effect.pointer, message, hint));
        }
    }
}
