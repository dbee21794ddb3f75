//! Budgets of the document, of a state, and of an effect.

use crate::{
    budget::{BudgetKind, Limits, micros},
    definition::{Budgets, OnExceeded},
    document::{
        read::{At, Keys, Reader},
        tree::NodeKind,
    },
    limits::{BUDGET_COUNT_MAX, BUDGET_USD_MICROS_MAX, DELAY_SECS_MAX},
    time::Span,
};

pub(super) const BUDGETS_KNOWN: &[&str] = &["usd", "tokens", "calls", "wall_time", "on_exceeded"];
pub(super) const BUDGET_KNOWN: &[&str] = &["usd", "tokens", "calls", "wall_time"];

const ON_EXCEEDED: &[(&str, OnExceeded)] =
    &[("event", OnExceeded::Event), ("fail", OnExceeded::Fail), ("pause", OnExceeded::Pause)];

impl Reader {
    /// Reads `budgets` of the document or of a state.
    pub(super) fn budgets(&mut self, at: &At<'_>) -> Option<Budgets> {
        let limits = self.limits(at, &Keys::new("`budgets`", BUDGETS_KNOWN))?;
        let (key, node) = match at.node.entry("on_exceeded") {
            Some(found) => found,
            None => return Some(Budgets { limits, on_exceeded: OnExceeded::Event }),
        };
        let on_exceeded = self.choice(&at.child(key, node), "E101", ON_EXCEEDED)?;
        Some(Budgets { limits, on_exceeded })
    }

    /// Reads `budget` of an effect: its tree decides what follows when it is exceeded.
    pub(super) fn budget(&mut self, at: &At<'_>) -> Option<Limits> {
        let keys = Keys { code: "E140", ..Keys::new("`budget`", BUDGET_KNOWN) };
        self.limits(at, &keys)
    }

    fn limits(&mut self, at: &At<'_>, keys: &Keys<'_>) -> Option<Limits> {
        let fields = self.fields(at, keys)?;
        if !BUDGET_KNOWN.iter().any(|it| fields.has(it)) {
            let message = format!("{} names no limit", at.name());
            let hint = "for example `calls: 10` or `wall_time: 5m`";
            self.report(at.key_error(keys.code, message).hint(hint));
            return None;
        }
        let mut limit = |kind: BudgetKind| {
            let at = fields.get(kind.as_str())?;
            let limit = match kind {
                BudgetKind::Usd => money(&at),
                BudgetKind::Tokens | BudgetKind::Calls => count(&at),
                BudgetKind::WallTime => span(&at),
            };
            if let Err(wanted) = &limit {
                let found = match at.node.is_plain() {
                    true => format!(
                        "not `{}`",
                        at.text().map_or(at.node.to_json(), |it| it.to_string())
                    ),
                    false => format!("found {}", at.node.words()),
                };
                let message = format!("{} must be {wanted}, {found}", at.name());
                self.report(at.error(keys.code, message));
            }
            limit.ok()
        };
        Some(Limits {
            usd_micros: limit(BudgetKind::Usd),
            tokens: limit(BudgetKind::Tokens),
            calls: limit(BudgetKind::Calls),
            wall_time_us: limit(BudgetKind::WallTime),
        })
    }
}

fn count(at: &At<'_>) -> Result<u64, String> {
    let count = match at.node.kind {
        NodeKind::Int(it) => u64::try_from(it).ok(),
        _ => None,
    };
    count
        .filter(|it| (1..=BUDGET_COUNT_MAX).contains(it))
        .ok_or_else(|| format!("a whole number from 1 to {BUDGET_COUNT_MAX}"))
}

fn span(at: &At<'_>) -> Result<u64, String> {
    let span = at.text().and_then(|it| it.parse::<Span>().ok());
    span.filter(|it| it.0 > 0 && *it <= Span::secs(DELAY_SECS_MAX))
        .and_then(|it| u64::try_from(it.0).ok())
        .ok_or_else(|| "a time without an expression, such as 30s or 5m".into())
}

fn money(at: &At<'_>) -> Result<u64, String> {
    dollars(at).filter(|it| *it > 0).ok_or_else(|| MONEY.into())
}

/// What money looks like, for messages.
pub(super) const MONEY: &str = "dollars with at most 6 decimals, such as 0.50";

/// Reads dollars as millionths: text or a number with at most 6 decimals.
pub(super) fn dollars(at: &At<'_>) -> Option<u64> {
    let text = match &at.node.kind {
        NodeKind::Int(_) | NodeKind::Float(_) | NodeKind::String(_) => at.node.to_json(),
        _ => return None,
    };
    micros(text.trim_matches('"')).filter(|it| *it <= BUDGET_USD_MICROS_MAX)
}
