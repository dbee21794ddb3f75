//! Budgets: what may be spent, what has been, and what running attempts may still spend.
//!
//! An attempt reserves the most that it can cost from every budget around it before it begins, and
//! settles what it did cost when it ends. Invariant: `spent + reserved` of a budget stays within
//! its limits; beyond goes only what undoes, because it must never be refused, and a provider that
//! takes more than was estimated, because that is spent.

use serde::{Deserialize, Serialize};

use crate::{
    ids::{Seq, Text},
    time::{Span, Timestamp},
    value::Value,
};

/// What a budget counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetKind {
    /// Money, in millionths of a US dollar.
    Usd,
    /// Tokens of models.
    Tokens,
    /// Attempts of calls to the outside.
    Calls,
    /// Time of these attempts added up, in microseconds.
    WallTime,
}

impl BudgetKind {
    /// Every kind, in the order of the language.
    pub const ALL: [BudgetKind; 4] =
        [BudgetKind::Usd, BudgetKind::Tokens, BudgetKind::Calls, BudgetKind::WallTime];

    /// Returns the word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            BudgetKind::Usd => "usd",
            BudgetKind::Tokens => "tokens",
            BudgetKind::Calls => "calls",
            BudgetKind::WallTime => "wall_time",
        }
    }

    /// Returns an amount as events and errors tell it: money as decimal text, time in milliseconds.
    pub fn value(self, amount: u64) -> Value {
        let whole = |amount: u64| Value::Int(i64::try_from(amount).unwrap_or(i64::MAX));
        match self {
            BudgetKind::Usd => Value::from(dollars(amount)),
            BudgetKind::Tokens | BudgetKind::Calls => whole(amount),
            BudgetKind::WallTime => whole(amount / 1_000),
        }
    }

    /// Returns an amount for people: `$0.50`, `3`, `1m30s`.
    pub fn text(self, amount: u64) -> String {
        match self {
            BudgetKind::Usd => format!("${}", dollars(amount)),
            BudgetKind::Tokens | BudgetKind::Calls => amount.to_string(),
            // What people plan with; the microseconds of commit times say nothing to them.
            BudgetKind::WallTime => {
                Span::millis(i64::try_from(amount / 1_000).unwrap_or(i64::MAX / 1_000)).to_string()
            }
        }
    }
}

/// Reads dollars with at most 6 decimals as millionths.
pub fn micros(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |it: &str| it.bytes().all(|it| it.is_ascii_digit());
    if whole.is_empty() || part.len() > 6 || !is_number(whole) || !is_number(part) {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let part: u64 = format!("{part:0<6}").parse().ok()?;
    whole.checked_mul(1_000_000)?.checked_add(part)
}

/// Returns dollars as an outcome tells them, a number or text, in millionths and rounded up; none
/// when it is no amount of money.
pub fn usd_micros(value: &Value) -> Option<u64> {
    // A number is written without exponent, so its decimals can be cut.
    let text = match value {
        Value::Int(it) => it.to_string(),
        Value::Float(it) if it.is_finite() => it.to_string(),
        Value::String(it) => it.to_string(),
        _ => return None,
    };
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    if part.len() <= 6 {
        return micros(&text);
    }
    let (kept, cut) = part.split_at_checked(6)?;
    if !cut.bytes().all(|it| it.is_ascii_digit()) {
        return None;
    }
    let up = u64::from(cut.bytes().any(|it| it != b'0'));
    micros(&format!("{whole}.{kept}"))?.checked_add(up)
}

fn dollars(micros: u64) -> String {
    let (whole, part) = (micros / 1_000_000, micros % 1_000_000);
    let part = format!("{part:06}");
    let cents = part.trim_end_matches('0');
    format!("{whole}.{cents:0<2}")
}

/// An amount of everything that budgets count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Amounts {
    /// Money, in millionths of a US dollar.
    #[serde(skip_serializing_if = "is_zero")]
    pub usd_micros: u64,
    /// Tokens.
    #[serde(skip_serializing_if = "is_zero")]
    pub tokens: u64,
    /// Attempts.
    #[serde(skip_serializing_if = "is_zero")]
    pub calls: u64,
    /// Time of attempts, in microseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub wall_time_us: u64,
}

fn is_zero(it: &u64) -> bool {
    *it == 0
}

impl Amounts {
    /// Returns the amount of one kind.
    pub fn of(&self, kind: BudgetKind) -> u64 {
        match kind {
            BudgetKind::Usd => self.usd_micros,
            BudgetKind::Tokens => self.tokens,
            BudgetKind::Calls => self.calls,
            BudgetKind::WallTime => self.wall_time_us,
        }
    }

    fn each(self, other: Amounts, with: impl Fn(u64, u64) -> u64) -> Amounts {
        Amounts {
            usd_micros: with(self.usd_micros, other.usd_micros),
            tokens: with(self.tokens, other.tokens),
            calls: with(self.calls, other.calls),
            wall_time_us: with(self.wall_time_us, other.wall_time_us),
        }
    }

    fn plus(self, other: Amounts) -> Amounts {
        self.each(other, u64::saturating_add)
    }

    fn minus(self, other: Amounts) -> Amounts {
        self.each(other, u64::saturating_sub)
    }
}

/// What may be spent; what is not named is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Money, in millionths of a US dollar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd_micros: Option<u64>,
    /// Tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Attempts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<u64>,
    /// Time of attempts, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall_time_us: Option<u64>,
}

impl Limits {
    /// Returns the limit of one kind.
    pub fn of(&self, kind: BudgetKind) -> Option<u64> {
        match kind {
            BudgetKind::Usd => self.usd_micros,
            BudgetKind::Tokens => self.tokens,
            BudgetKind::Calls => self.calls,
            BudgetKind::WallTime => self.wall_time_us,
        }
    }

    /// Returns a kind of which these allow more than `other` does; what is not limited allows most.
    pub fn wider_than(&self, other: &Limits) -> Option<BudgetKind> {
        let is_wider = |kind: &BudgetKind| match (self.of(*kind), other.of(*kind)) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(own), Some(other)) => own > other,
        };
        BudgetKind::ALL.into_iter().find(is_wider)
    }
}

/// Whose budget it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "scope", rename_all = "snake_case")]
pub enum BudgetScope {
    /// The instance, from its start to its end.
    Run,
    /// One activation of a state.
    State {
        /// Path.
        state: Text,
    },
    /// One run of an effect and what is below it.
    Effect {
        /// Tree.
        tree: Seq,
        /// Node.
        path: Text,
    },
}

impl BudgetScope {
    /// Returns the word on the wire.
    pub fn as_str(&self) -> &'static str {
        match self {
            BudgetScope::Run => "run",
            BudgetScope::State { .. } => "state",
            BudgetScope::Effect { .. } => "effect",
        }
    }

    /// Returns the name of the state or effect; nothing for the run.
    pub fn place(&self) -> &str {
        match self {
            BudgetScope::Run => "",
            BudgetScope::State { state } => state,
            BudgetScope::Effect { path, .. } => path,
        }
    }

    /// Returns what messages call it.
    pub fn words(&self) -> String {
        match self {
            BudgetScope::Run => "the run".into(),
            other => format!("{} `{}`", other.as_str(), other.place()),
        }
    }
}

/// A budget from which something was reserved or spent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Whose it is.
    #[serde(flatten)]
    pub scope: BudgetScope,
    /// Limits as the definition gave them last.
    pub limits: Limits,
    /// What ended attempts cost.
    #[serde(default)]
    pub spent: Amounts,
    /// What running attempts may cost at most.
    #[serde(default)]
    pub reserved: Amounts,
    /// How often a person granted the limits once more.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub granted: u64,
    /// It paused the instance; who resumes it grants the limits once more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// Record that began it: a state that is entered again has another one.
    pub since: Seq,
}

impl Budget {
    fn begun(scope: BudgetScope, since: Seq) -> Budget {
        Budget {
            scope,
            limits: Limits::default(),
            spent: Amounts::default(),
            reserved: Amounts::default(),
            granted: 0,
            paused: false,
            since,
        }
    }

    /// Returns the limit of one kind with everything that was granted.
    pub fn limit(&self, kind: BudgetKind) -> Option<u64> {
        self.limits.of(kind).map(|it| it.saturating_mul(self.granted.saturating_add(1)))
    }

    /// Returns what is neither spent nor reserved of one kind; none when it is not limited.
    pub fn left(&self, kind: BudgetKind) -> Option<u64> {
        let taken = self.spent.of(kind).saturating_add(self.reserved.of(kind));
        self.limit(kind).map(|it| it.saturating_sub(taken))
    }

    /// Returns the kind of which there is not enough left.
    pub fn lacks(&self, wanted: &Amounts) -> Option<BudgetKind> {
        let all = self.spent.plus(self.reserved).plus(*wanted);
        BudgetKind::ALL
            .into_iter()
            .find(|kind| self.limit(*kind).is_some_and(|limit| all.of(*kind) > limit))
    }
}

/// What a running attempt may cost, and from which budgets that was taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reservation {
    /// At most.
    pub amounts: Amounts,
    /// The budgets.
    pub scopes: Vec<BudgetScope>,
    /// When.
    pub at: Timestamp,
    /// Record that reserved it.
    pub seq: Seq,
}

impl Reservation {
    /// Returns what the attempt cost when it ends now: the attempt, its time up to what was
    /// reserved for it, and all the money and tokens of which nobody says that they were not spent.
    pub fn cost(&self, now: Timestamp) -> Amounts {
        let elapsed = u64::try_from(now.since(self.at).0).unwrap_or(0);
        let wall_time_us = elapsed.min(self.amounts.wall_time_us);
        Amounts { wall_time_us, ..self.amounts }
    }
}

/// The budgets of an instance, in the order they were begun.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Budgets(Vec<Budget>);

impl Budgets {
    /// Says whether nothing was reserved or spent yet.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns every budget.
    pub fn iter(&self) -> impl Iterator<Item = &Budget> {
        self.0.iter()
    }

    /// Returns the budget of a scope.
    pub fn get(&self, scope: &BudgetScope) -> Option<&Budget> {
        self.0.iter().find(|it| it.scope == *scope)
    }

    /// Returns the budget of a scope as it would be with these limits.
    pub fn with(&self, scope: &BudgetScope, limits: Limits) -> Budget {
        let known = self.get(scope).cloned();
        Budget { limits, ..known.unwrap_or_else(|| Budget::begun(scope.clone(), 0)) }
    }

    fn at(&mut self, scope: &BudgetScope, seq: Seq) -> &mut Budget {
        let at = self.0.iter().position(|it| it.scope == *scope).unwrap_or_else(|| {
            self.0.push(Budget::begun(scope.clone(), seq));
            self.0.len() - 1
        });
        &mut self.0[at]
    }

    pub(crate) fn reserve(&mut self, seq: Seq, amounts: Amounts, of: &[(BudgetScope, Limits)]) {
        for (scope, limits) in of {
            let budget = self.at(scope, seq);
            budget.limits = *limits;
            budget.reserved = budget.reserved.plus(amounts);
        }
    }

    pub(crate) fn settle(&mut self, reservation: &Reservation, cost: Amounts) {
        for scope in &reservation.scopes {
            // A state may have been left and entered again since.
            let is_it = |it: &&mut Budget| it.scope == *scope && it.since <= reservation.seq;
            if let Some(budget) = self.0.iter_mut().find(is_it) {
                budget.reserved = budget.reserved.minus(reservation.amounts);
                budget.spent = budget.spent.plus(cost);
            }
        }
    }

    pub(crate) fn exceed(&mut self, seq: Seq, scope: &BudgetScope, limits: Limits, paused: bool) {
        let budget = self.at(scope, seq);
        budget.limits = limits;
        budget.paused |= paused;
    }

    pub(crate) fn grant(&mut self, of: &BudgetScope) -> bool {
        let found = self.0.iter_mut().find(|it| it.scope == *of);
        let Some(budget) = found else { return false };
        budget.granted = budget.granted.saturating_add(1);
        budget.paused = false;
        true
    }

    pub(crate) fn drop_those(&mut self, gone: impl Fn(&BudgetScope) -> bool) {
        self.0.retain(|it| !gone(&it.scope));
    }

    pub(crate) fn rename_states(&mut self, names: &[(Text, Text)]) {
        for budget in &mut self.0 {
            if let BudgetScope::State { state } = &mut budget.scope
                && let Some((_, new)) = names.iter().find(|(old, _)| old == state)
            {
                *state = new.clone();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_as_people_and_events_expect() {
        use BudgetKind::{Calls, Tokens, Usd, WallTime};
        for (kind, amount, text, value) in [
            (Usd, 500_000, "$0.50", r#""0.50""#),
            (Usd, 12_000_001, "$12.000001", r#""12.000001""#),
            (Usd, 0, "$0.00", r#""0.00""#),
            (Calls, 3, "3", "3"),
            (Tokens, 40_000, "40000", "40000"),
            (WallTime, 90_000_000, "1m30s", "90000"),
        ] {
            assert_eq!(
                (kind.text(amount), kind.value(amount).to_json()),
                (text.into(), value.into())
            );
        }
    }

    #[test]
    fn money_is_read_exactly() {
        for (text, expected) in [
            ("0.50", Some(500_000)),
            ("12", Some(12_000_000)),
            ("0.000001", Some(1)),
            ("0.0000001", None),
            ("1e3", None),
            ("-1", None),
            (".5", None),
            ("", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(micros(text), expected, "{text}");
        }
    }

    #[test]
    fn what_an_outcome_cost_is_rounded_up() {
        for (json, expected) in [
            ("0.1", Some(100_000)),
            ("2", Some(2_000_000)),
            ("0.0000001", Some(1)),
            ("0.00012345678", Some(124)),
            ("1e-9", Some(1)),
            ("\"0.25\"", Some(250_000)),
            ("\"0.2500000000\"", Some(250_000)),
            ("-1", None),
            ("-0.5", None),
            ("\"free\"", None),
            ("\"0.1234567x\"", None),
            ("null", None),
            ("true", None),
        ] {
            let value: Value = serde_json::from_str(json).unwrap();
            assert_eq!(usd_micros(&value), expected, "{json}");
        }
    }

    #[test]
    fn what_is_not_limited_is_widest() {
        let calls = |calls| Limits { calls, ..Limits::default() };
        assert_eq!(calls(Some(3)).wider_than(&calls(Some(2))), Some(BudgetKind::Calls));
        assert_eq!(calls(None).wider_than(&calls(Some(2))), Some(BudgetKind::Calls));
        assert_eq!(calls(Some(2)).wider_than(&calls(Some(2))), None);
        assert_eq!(calls(Some(2)).wider_than(&calls(None)), None);
    }

    #[test]
    fn an_old_attempt_does_not_touch_the_budget_of_a_later_activation() {
        let scope = BudgetScope::State { state: "a".into() };
        let one = Amounts { calls: 1, ..Amounts::default() };
        let limits = Limits { calls: Some(2), ..Limits::default() };
        let reserved =
            |seq| Reservation { amounts: one, scopes: vec![scope.clone()], at: Timestamp(0), seq };
        let mut budgets = Budgets::default();
        budgets.reserve(3, one, &[(scope.clone(), limits)]);
        budgets.drop_those(|it| *it == scope);
        budgets.reserve(9, one, &[(scope.clone(), limits)]);
        budgets.settle(&reserved(3), one);
        assert_eq!(budgets.get(&scope).unwrap().reserved, one);
        budgets.settle(&reserved(9), one);
        let budget = budgets.get(&scope).unwrap();
        assert_eq!((budget.reserved, budget.spent), (Amounts::default(), one));
        assert_eq!(budget.lacks(&one), None);
        assert_eq!(budget.lacks(&Amounts { calls: 2, ..one }), Some(BudgetKind::Calls));
    }
}
