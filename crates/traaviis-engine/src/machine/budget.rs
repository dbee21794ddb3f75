//! E151 and E153: budgets that narrow nothing, and budgets that no attempt fits.

use traaviis_model::{
    Diagnostic,
    budget::{BudgetKind, Limits},
    call::{CALL_KINDS, default_timeout},
    definition::{Definition, Effect, State},
};

use super::written_span;
use crate::cost;

/// Returns what is wrong with the budgets of a document.
pub(super) fn check(definition: &Definition) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let limits = definition.budgets.map(|it| it.limits).unwrap_or_default();
    states(definition, &definition.states, &limits, &mut found);
    found
}

fn states(definition: &Definition, all: &[State], around: &Limits, found: &mut Vec<Diagnostic>) {
    for state in all {
        let own = state.budgets.map(|it| it.limits).unwrap_or_default();
        let pointer = format!("{}/budgets", state.pointer);
        narrows(&own, around, &pointer, "the state", found);
        let limits = narrowed(around, &own);
        for invoke in &state.invoke {
            effect(definition, &invoke.effect, &limits, found);
        }
        states(definition, state.kind.children(), &limits, found);
    }
}

fn effect(definition: &Definition, of: &Effect, around: &Limits, found: &mut Vec<Diagnostic>) {
    let own = of.budget.unwrap_or_default();
    narrows(&own, around, &format!("{}/budget", of.pointer), "the effect", found);
    let limits = narrowed(around, &own);
    if CALL_KINDS.contains(&&*of.kind)
        && let Some((kind, least, most)) = lacking(definition, of, &limits)
    {
        let (name, least, most) = (kind.as_str(), kind.text(least), kind.text(most));
        let message = format!(
            "effect `{}` may take {name} {least} at least and the budget around it has {most}, so \
             it can never begin",
            of.kind
        );
        let hint = match kind {
            BudgetKind::WallTime => {
                "give it a shorter `timeout`, or the budget a longer `wall_time`"
            }
            _ => "let it read and write less, name a cheaper model, or give the budget more",
        };
        found.push(Diagnostic::error("E153", &*of.pointer, message).hint(hint));
    }
    for part in definition.parts_of(of) {
        // What undoes is never refused.
        if !part.pointer.ends_with("/compensation") {
            effect(definition, part, &limits, found);
        }
    }
}

/// Returns the first kind of which even the smallest attempt of a call needs more than there is:
/// what it needs, and what there is.
fn lacking(
    definition: &Definition,
    of: &Effect,
    limits: &Limits,
) -> Option<(BudgetKind, u64, u64)> {
    let time = match of.timeout.as_ref().or(definition.defaults.timeout.as_ref()) {
        Some(value) => written_span(value),
        None => Some(default_timeout(&of.kind)),
    };
    let model = cost::least(&of.kind, &of.params);
    BudgetKind::ALL.into_iter().find_map(|kind| {
        let least = match kind {
            BudgetKind::Usd => model?.usd_micros,
            BudgetKind::Tokens => model?.tokens,
            BudgetKind::Calls => 1,
            BudgetKind::WallTime => u64::try_from(time?.0).ok()?,
        };
        let most = limits.of(kind)?;
        (least > most).then_some((kind, least, most))
    })
}

fn narrows(own: &Limits, around: &Limits, pointer: &str, what: &str, found: &mut Vec<Diagnostic>) {
    for kind in BudgetKind::ALL {
        if let (Some(own), Some(around)) = (own.of(kind), around.of(kind))
            && own > around
        {
            let (name, own, around) = (kind.as_str(), kind.text(own), kind.text(around));
            let message =
                format!("{what} may spend {name} {own}, and what is around it only {around}");
            let pointer = format!("{pointer}/{name}");
            let hint = "a budget inside another can only narrow it";
            found.push(Diagnostic::error("E151", pointer, message).hint(hint));
        }
    }
}

/// Returns the limits of both.
fn narrowed(around: &Limits, own: &Limits) -> Limits {
    let least = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
    Limits {
        usd_micros: least(around.usd_micros, own.usd_micros),
        tokens: least(around.tokens, own.tokens),
        calls: least(around.calls, own.calls),
        wall_time_us: least(around.wall_time_us, own.wall_time_us),
    }
}
