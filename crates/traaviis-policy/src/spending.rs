//! Budgets of tenants: what calls of models may cost in a day and in a month, what they have cost,
//! and what those that run may still cost.
//!
//! A call reserves the most that it can cost, is granted or not, and is settled with what it did
//! cost. What is granted counts in whatever day and month it is now, since it may be settled in
//! them; what is settled counts in those of its settlement. Days and months are those of UTC.
//!
//! Invariants: what is spent and what is granted stay together within every limit, as long as no
//! call costs more than it reserved; a call is spent once, however often it is settled.

use std::collections::BTreeMap;

use traaviis_model::{
    Timestamp,
    budget::{Amounts, BudgetKind, Limits},
};

use crate::invoice::{DAY, Month};

/// Shares of a limit, in hundredths, that somebody is told of when they are spent.
pub const NOTICES: [u64; 2] = [80, 100];
/// Days and months that are remembered: clocks of one log may differ by less than one.
const REMEMBERED: usize = 2;

/// What a budget holds for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Period {
    /// A day.
    Day,
    /// A month.
    Month,
}

impl Period {
    /// Both of them.
    pub const ALL: [Period; 2] = [Period::Day, Period::Month];

    /// Returns the word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Period::Day => "day",
            Period::Month => "month",
        }
    }

    /// Returns when the one is over that a time lies in.
    pub fn ends(self, at: Timestamp) -> Timestamp {
        match self {
            Period::Day => Timestamp((day_of(at) + 1) * DAY),
            Period::Month => Month::of(at).ends(),
        }
    }
}

/// Money and tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Money, in millionths of a US dollar.
    pub usd_micros: u64,
    /// Tokens of models.
    pub tokens: u64,
}

impl Amount {
    /// The kinds that are counted.
    pub const KINDS: [BudgetKind; 2] = [BudgetKind::Usd, BudgetKind::Tokens];

    /// Returns what of an amount is counted here.
    pub fn of_amounts(all: &Amounts) -> Amount {
        Amount { usd_micros: all.usd_micros, tokens: all.tokens }
    }

    /// Returns the amount of one kind.
    pub fn of(&self, kind: BudgetKind) -> u64 {
        match kind {
            BudgetKind::Usd => self.usd_micros,
            BudgetKind::Tokens => self.tokens,
            BudgetKind::Calls | BudgetKind::WallTime => 0,
        }
    }

    /// Returns both together.
    #[must_use]
    pub fn plus(self, other: Amount) -> Amount {
        Amount {
            usd_micros: self.usd_micros.saturating_add(other.usd_micros),
            tokens: self.tokens.saturating_add(other.tokens),
        }
    }
}

/// What may be spent; what is not named is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ceilings {
    /// In a day.
    pub day: Limits,
    /// In a month.
    pub month: Limits,
}

impl Ceilings {
    /// Returns the limits of a period.
    pub fn of(&self, period: Period) -> &Limits {
        match period {
            Period::Day => &self.day,
            Period::Month => &self.month,
        }
    }

    /// Every limit there is.
    pub fn each(&self) -> impl Iterator<Item = (Period, BudgetKind, u64)> + '_ {
        Period::ALL.into_iter().flat_map(move |period| {
            let limit = move |kind| Some((period, kind, self.of(period).of(kind)?));
            Amount::KINDS.into_iter().filter_map(limit)
        })
    }
}

/// A call that has not been settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// What it may cost.
    pub amount: Amount,
    /// It was let out; before that it takes nothing from others.
    pub is_granted: bool,
}

/// Why a call is not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// Budget of the day, or of the month.
    pub period: Period,
    /// Of what there is not enough.
    pub kind: BudgetKind,
    /// How much there may be.
    pub limit: u64,
    /// How much is spent.
    pub spent: u64,
    /// How much calls that run may still cost.
    pub reserved: u64,
    /// How much this one may cost.
    pub wanted: u64,
}

/// What a tenant has spent, and what it may still have to; calls are known by a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spending<K: Ord> {
    /// By day since 1970.
    pub days: BTreeMap<i64, Amount>,
    /// By month.
    pub months: BTreeMap<Month, Amount>,
    /// Calls that are not settled.
    pub open: BTreeMap<K, Reserved>,
}

impl<K: Ord> Default for Spending<K> {
    fn default() -> Self {
        Spending { days: BTreeMap::new(), months: BTreeMap::new(), open: BTreeMap::new() }
    }
}

impl<K: Ord> Spending<K> {
    /// Remembers what a call may cost; once more changes nothing.
    pub fn reserve(&mut self, key: K, amount: Amount) {
        self.open.entry(key).or_insert(Reserved { amount, is_granted: false });
    }

    /// Lets a call out, if everything it may cost fits into every limit; once more changes nothing,
    /// and what has reserved nothing costs nothing.
    pub fn grant(&mut self, key: &K, ceilings: &Ceilings, now: Timestamp) -> Result<(), Exceeded> {
        let wanted = match self.open.get(key) {
            Some(Reserved { amount, is_granted: false }) => *amount,
            _ => return Ok(()),
        };
        let granted = self.granted();
        for (period, kind, limit) in ceilings.each() {
            let (spent, reserved) = (self.spent(period, now).of(kind), granted.of(kind));
            let wanted = wanted.of(kind);
            let all = [spent, reserved, wanted].iter().map(|it| u128::from(*it)).sum::<u128>();
            // What costs nothing of a kind is not kept by that kind.
            if wanted > 0 && all > u128::from(limit) {
                return Err(Exceeded { period, kind, limit, spent, reserved, wanted });
            }
        }
        self.let_out(key);
        Ok(())
    }

    /// Lets a call out, whatever there is: it undoes something, or went out before anybody could be
    /// asked.
    pub fn let_out(&mut self, key: &K) {
        if let Some(it) = self.open.get_mut(key) {
            it.is_granted = true;
        }
    }

    /// Ends a call that cost this much; one that is not open costs nothing any more.
    pub fn settle(&mut self, key: &K, cost: Amount, at: Timestamp) {
        if self.open.remove(key).is_none() {
            return;
        }
        let day = self.days.entry(day_of(at)).or_default();
        *day = day.plus(cost);
        let month = self.months.entry(Month::of(at)).or_default();
        *month = month.plus(cost);
        while self.days.len() > REMEMBERED {
            self.days.pop_first();
        }
        while self.months.len() > REMEMBERED {
            self.months.pop_first();
        }
    }

    /// Takes back what a call was settled with that was counted twice.
    pub fn take_back(&mut self, cost: Amount, at: Timestamp) {
        let less = |it: &mut Amount| {
            it.usd_micros = it.usd_micros.saturating_sub(cost.usd_micros);
            it.tokens = it.tokens.saturating_sub(cost.tokens);
        };
        self.days.get_mut(&day_of(at)).into_iter().for_each(less);
        self.months.get_mut(&Month::of(at)).into_iter().for_each(less);
    }

    /// Returns what was spent in the period of a time.
    pub fn spent(&self, period: Period, at: Timestamp) -> Amount {
        let found = match period {
            Period::Day => self.days.get(&day_of(at)),
            Period::Month => self.months.get(&Month::of(at)),
        };
        found.copied().unwrap_or_default()
    }

    /// Returns what calls that were let out may still cost.
    pub fn granted(&self) -> Amount {
        let granted = self.open.values().filter(|it| it.is_granted);
        granted.fold(Amount::default(), |sum, it| sum.plus(it.amount))
    }
}

/// Returns the day since 1970 of a time.
pub fn day_of(at: Timestamp) -> i64 {
    at.0.div_euclid(DAY)
}

/// Returns the highest share that somebody is to be told of, if so much of a limit is spent.
pub fn notice(spent: u64, limit: u64) -> Option<u64> {
    let is_reached =
        |share: &u64| u128::from(spent) * 100 >= u128::from(limit) * u128::from(*share);
    NOTICES.into_iter().rev().find(is_reached)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOON: Timestamp = Timestamp(1_800_000_000_000_000);

    fn tokens(tokens: u64) -> Amount {
        Amount { usd_micros: tokens * 3, tokens }
    }

    fn a_day(tokens: u64) -> Ceilings {
        let day = Limits { tokens: Some(tokens), ..Limits::default() };
        Ceilings { day, ..Ceilings::default() }
    }

    #[test]
    fn a_hundred_at_once_share_a_budget_for_ten() {
        let mut spending = Spending::default();
        (0..100).for_each(|key| spending.reserve(key, tokens(10)));
        let grant = |it: &mut Spending<u32>, key| it.grant(&key, &a_day(100), NOON);
        let granted = (0..100).filter(|key| grant(&mut spending, *key).is_ok()).count();
        assert_eq!(granted, 10);
        let refused = grant(&mut spending, 99).unwrap_err();
        assert_eq!((refused.limit, refused.spent, refused.reserved), (100, 0, 100));
        // Those that cost less leave room.
        (0..10).for_each(|key| spending.settle(&key, tokens(5), NOON));
        assert_eq!(spending.spent(Period::Day, NOON), tokens(50));
        assert!(grant(&mut spending, 99).is_ok());
    }

    #[test]
    fn a_day_ends_a_month_goes_on_and_what_runs_is_counted_in_both() {
        let ceilings =
            Ceilings { month: Limits { tokens: Some(150), ..Limits::default() }, ..a_day(100) };
        let tomorrow = Period::Day.ends(NOON);
        assert_eq!(tomorrow.to_string(), "2027-01-16T00:00:00.000000Z");
        let mut spending = Spending::default();
        for (key, amount) in [("a", 60), ("b", 40), ("c", 1), ("d", 50), ("e", 60)] {
            spending.reserve(key, tokens(amount));
        }
        for (key, at, lacks) in [
            ("a", NOON, None),
            ("b", NOON, None),
            ("c", NOON, Some(Period::Day)),
            // Nothing is settled, so all of it may still fall into the next day.
            ("c", tomorrow, Some(Period::Day)),
        ] {
            let told = spending.grant(&key, &ceilings, at).err().map(|it| it.period);
            assert_eq!(told, lacks, "{key}");
        }
        spending.settle(&"a", tokens(60), NOON);
        spending.settle(&"b", tokens(40), tomorrow);
        assert_eq!(spending.spent(Period::Day, tomorrow), tokens(40));
        assert_eq!(spending.spent(Period::Month, tomorrow), tokens(100));
        assert_eq!(spending.grant(&"d", &ceilings, tomorrow), Ok(()));
        let lacks = spending.grant(&"e", &ceilings, tomorrow).unwrap_err();
        assert_eq!((lacks.period, lacks.kind), (Period::Day, BudgetKind::Tokens));
    }

    #[test]
    fn notices_are_told_at_their_shares() {
        for (spent, limit, expected) in [
            (0, 100, None),
            (79, 100, None),
            (80, 100, Some(80)),
            (99, 100, Some(80)),
            (100, 100, Some(100)),
            (u64::MAX, u64::MAX, Some(100)),
            (0, 0, Some(100)),
        ] {
            assert_eq!(notice(spent, limit), expected, "{spent} of {limit}");
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Act {
        Reserve(u8, u64),
        Grant(u8),
        Settle(u8, u64),
        Pass(i64),
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let key = 0_u8..12;
        let act = prop_oneof![
            (key.clone(), 0_u64..60).prop_map(|(key, it)| Act::Reserve(key, it)),
            key.clone().prop_map(Act::Grant),
            (key, 0_u64..60).prop_map(|(key, it)| Act::Settle(key, it)),
            (0_i64..DAY).prop_map(Act::Pass),
        ];
        prop::collection::vec(act, 0..120)
    }

    proptest! {
        #[test]
        fn nothing_is_overspent_lost_or_counted_twice(acts in acts(), day in 0_u64..200) {
            let ceilings = Ceilings {
                month: Limits { usd_micros: Some(900), ..Limits::default() },
                ..a_day(day)
            };
            let (mut spending, mut now) = (Spending::default(), NOON);
            let mut expected: BTreeMap<Month, Amount> = BTreeMap::new();
            for act in acts {
                match act {
                    Act::Reserve(key, amount) => {
                        spending.reserve(key, tokens(amount));
                        let before = spending.clone();
                        spending.reserve(key, tokens(amount + 1));
                        prop_assert_eq!(&before, &spending);
                    }
                    Act::Grant(key) => {
                        let before = spending.clone();
                        if spending.grant(&key, &ceilings, now).is_err() {
                            prop_assert_eq!(&before, &spending);
                        }
                    }
                    // What was not let out cannot have cost anything.
                    Act::Settle(key, cost) => {
                        let open = spending.open.get(&key).copied();
                        let most = open.filter(|it| it.is_granted).map_or(0, |it| it.amount.tokens);
                        let cost = tokens(cost.min(most));
                        spending.settle(&key, cost, now);
                        let month = expected.entry(Month::of(now)).or_default();
                        *month = month.plus(cost);
                        let before = spending.clone();
                        spending.settle(&key, tokens(7), now);
                        prop_assert_eq!(&before, &spending);
                    }
                    Act::Pass(time) => now = Timestamp(now.0 + time),
                }
                for (period, kind, limit) in ceilings.each() {
                    let all = spending.spent(period, now).plus(spending.granted());
                    prop_assert!(all.of(kind) <= limit, "{:?} {:?}", period, all);
                }
                for (month, spent) in &spending.months {
                    prop_assert_eq!(expected.get(month), Some(spent));
                }
            }
        }
    }
}
