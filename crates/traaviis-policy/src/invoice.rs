//! Invoices: what a month costs, as a function of what was used and a price book.
//!
//! Amounts are whole millionths of the currency. A line is rounded once, half to even, and nothing
//! else is rounded but the tax. The same facts give the same invoice, byte for byte; nothing of an
//! invoice is kept, because it can be made again.

use traaviis_model::{TenantId, Timestamp, Zone};

use crate::plan::{Metric, Plan};

/// Prices of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PriceBook {
    /// Which one it is.
    pub version: &'static str,
    /// Currency (ISO 4217).
    pub currency: &'static str,
    /// Tax in hundredths of a percent.
    pub tax_basis_points: u64,
}

/// The price book in use.
pub const PRICES: PriceBook = PriceBook { version: "2", ..FIRST };
/// The one before it, by which months are billed that were closed then.
const FIRST: PriceBook = PriceBook { version: "1", currency: "USD", tax_basis_points: 0 };
/// Bytes of a gigabyte.
const GB: u64 = 1_000_000_000;

/// Price of many of something: millionths for so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// Millionths of the currency.
    pub micros: u64,
    /// For how many.
    pub per: u64,
}

impl PriceBook {
    /// Returns the price book of a version; that in use for a version that nobody knows.
    pub fn of(version: &str) -> PriceBook {
        [FIRST, PRICES].into_iter().find(|it| it.version == version).unwrap_or(PRICES)
    }

    /// Returns what a plan costs in a month.
    pub fn monthly(&self, plan: Plan) -> u64 {
        match plan {
            Plan::Starter => 29_000_000,
            Plan::Pro => 199_000_000,
            // By contract, or without charge.
            Plan::Free | Plan::Enterprise | Plan::SelfHosted => 0,
        }
    }

    /// Returns what more of something costs than what is in the plan; none when it is not billed.
    pub fn beyond(&self, plan: Plan, metric: Metric) -> Option<Price> {
        match (plan, metric) {
            (Plan::Starter, Metric::WorkflowExecutions) => {
                Some(Price { micros: 1_500_000, per: 1_000 })
            }
            (Plan::Pro, Metric::WorkflowExecutions) => {
                Some(Price { micros: 1_000_000, per: 1_000 })
            }
            // The first book billed nothing else.
            _ if self.version == FIRST.version => None,
            (Plan::Starter, Metric::LlmTokens) => Some(Price { micros: 400_000, per: 1_000_000 }),
            (Plan::Pro, Metric::LlmTokens) => Some(Price { micros: 300_000, per: 1_000_000 }),
            (Plan::Starter, Metric::Members) => Some(Price { micros: 4_000_000, per: 1 }),
            (Plan::Pro, Metric::Members) => Some(Price { micros: 3_000_000, per: 1 }),
            (Plan::Starter, Metric::Storage) => Some(Price { micros: 250_000, per: GB }),
            (Plan::Pro, Metric::Storage) => Some(Price { micros: 200_000, per: GB }),
            _ => None,
        }
    }
}

/// A month of a calendar. The times of one are those of UTC, unless a time zone is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month {
    /// Year.
    pub year: i32,
    /// 1 to 12.
    pub month: u32,
}

impl Month {
    /// Returns the month of a time.
    pub fn of(at: Timestamp) -> Month {
        let (year, month) = civil(at.0.div_euclid(DAY));
        Month { year, month }
    }

    /// Returns the month of a day since 1970-01-01.
    pub fn of_day(day: i64) -> Month {
        let (year, month) = civil(day);
        Month { year, month }
    }

    /// Returns the first day since 1970-01-01.
    pub fn first_day(self) -> i64 {
        days(self.year, self.month)
    }

    /// Returns when it begins in a time zone.
    pub fn begins_in(self, zone: &Zone) -> Timestamp {
        zone.begins(self.first_day())
    }

    /// Returns when it is over in a time zone.
    pub fn ends_in(self, zone: &Zone) -> Timestamp {
        self.next().begins_in(zone)
    }

    /// Returns the one after it.
    pub fn next(self) -> Month {
        match self.month {
            12 => Month { year: self.year + 1, month: 1 },
            month => Month { month: month + 1, ..self },
        }
    }

    /// Returns when it begins.
    pub fn begins(self) -> Timestamp {
        Timestamp(days(self.year, self.month) * DAY)
    }

    /// Returns when it is over.
    pub fn ends(self) -> Timestamp {
        self.next().begins()
    }

    /// Returns how many days it has.
    pub fn days(self) -> u32 {
        u32::try_from((self.ends().0 - self.begins().0) / DAY).unwrap_or_default()
    }
}

impl std::fmt::Display for Month {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

impl std::str::FromStr for Month {
    type Err = String;

    fn from_str(text: &str) -> Result<Month, String> {
        let wrong = || format!("`{text}` is no month such as `2026-11`");
        let (year, month) = text.split_once('-').ok_or_else(wrong)?;
        let is_good = year.len() == 4
            && month.len() == 2
            && text.bytes().all(|it| it.is_ascii_digit() || it == b'-');
        let month = Month {
            year: year.parse().map_err(|_| wrong())?,
            month: month.parse().map_err(|_| wrong())?,
        };
        match is_good && (1..=12).contains(&month.month) {
            true => Ok(month),
            false => Err(wrong()),
        }
    }
}

/// Microseconds of a day.
pub(crate) const DAY: i64 = 86_400_000_000;

/// Returns year and month of a day since 1970, as the Gregorian calendar has them.
fn civil(day: i64) -> (i32, u32) {
    // Years begin in March here, so that the leap day is the last one.
    let day = day + 719_468;
    let (era, of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (i32::try_from(year).unwrap_or_default(), u32::try_from(month).unwrap_or_default())
}

/// Returns the day since 1970 that a month begins with.
fn days(year: i32, month: u32) -> i64 {
    let (year, month) = (i64::from(year) - i64::from(month <= 2), i64::from(month));
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// What an invoice is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Whose it is.
    pub tenant: TenantId,
    /// Which month.
    pub month: Month,
    /// The plan at its end.
    pub plan: Plan,
    /// The plans of its days in the order of the days, and for how many; without a day before the
    /// tenant was there.
    pub plans: Vec<(Plan, u32)>,
    /// What was used.
    pub used: Vec<(Metric, u64)>,
    /// The month is over, so it changes no more.
    pub is_closed: bool,
    /// What was taken off later.
    pub credits: Vec<Credit>,
    /// Somebody who may has seen that it is paid.
    pub is_paid: bool,
}

/// A credit note: what is taken off an invoice later. Nothing of an invoice is changed for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credit {
    /// Its number.
    pub number: String,
    /// How much, in millionths.
    pub micros: u64,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// How an invoice stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The month goes on.
    Draft,
    /// To be paid.
    Open,
    /// Nothing is to be paid any more.
    Paid,
    /// All of it was taken off.
    Void,
}

impl Status {
    /// Returns the word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Draft => "draft",
            Status::Open => "open",
            Status::Paid => "paid",
            Status::Void => "void",
        }
    }
}

/// A line of an invoice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What it is for.
    pub what: String,
    /// How many.
    pub quantity: u64,
    /// Price of that many.
    pub price: Price,
    /// What it comes to, in millionths.
    pub micros: u64,
}

/// An invoice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invoice {
    /// Number; also its id within the tenant.
    pub number: String,
    /// Whose it is.
    pub tenant: TenantId,
    /// Month.
    pub month: Month,
    /// Plan.
    pub plan: Plan,
    /// How it stands.
    pub status: Status,
    /// Lines.
    pub lines: Vec<Line>,
    /// Sum of the lines, in millionths.
    pub subtotal: u64,
    /// Tax, in millionths.
    pub tax: u64,
    /// Both together.
    pub total: u64,
    /// What was taken off later.
    pub credits: Vec<Credit>,
    /// What is still to be paid.
    pub due: u64,
    /// Price book that it was made with.
    pub prices: PriceBook,
}

/// Makes an invoice.
pub fn invoice(facts: &Facts, prices: &PriceBook) -> Invoice {
    let mut lines: Vec<Line> = fees(facts, prices).collect();
    for (metric, used) in &facts.used {
        let beyond = included(facts, *metric).map_or(0, |it| used.saturating_sub(it));
        // Whoever had several plans pays the lowest of their prices.
        let price = facts.plans.iter().filter_map(|it| prices.beyond(it.0, *metric));
        let price = price.min_by_key(|it| u128::from(it.micros) * 1_000_000 / u128::from(it.per));
        if let Some(price) = price.filter(|_| beyond > 0) {
            lines.push(line(format!("{} beyond the plan", metric.as_str()), beyond, price));
        }
    }
    let subtotal = lines.iter().fold(0_u64, |sum, it| sum.saturating_add(it.micros));
    let tax = share(subtotal, prices.tax_basis_points, 10_000);
    let total = subtotal.saturating_add(tax);
    let credited = facts.credits.iter().fold(0_u64, |sum, it| sum.saturating_add(it.micros));
    let left = total.saturating_sub(credited);
    let status = match (facts.is_closed, left) {
        (false, _) => Status::Draft,
        (true, _) if total == 0 || facts.is_paid => Status::Paid,
        (true, 0) => Status::Void,
        (true, _) => Status::Open,
    };
    Invoice {
        number: facts.month.to_string(),
        tenant: facts.tenant,
        month: facts.month,
        plan: facts.plan,
        status,
        lines,
        subtotal,
        tax,
        total,
        credits: facts.credits.clone(),
        due: if status == Status::Paid { 0 } else { left },
        prices: *prices,
    }
}

/// Returns what the plans cost, each for its days.
fn fees(facts: &Facts, prices: &PriceBook) -> impl Iterator<Item = Line> {
    let all = facts.month.days();
    let prices = *prices;
    let mut plans: Vec<(Plan, u32)> = Vec::new();
    for (plan, days) in &facts.plans {
        match plans.iter_mut().find(|it| it.0 == *plan) {
            Some(known) => known.1 += days,
            None => plans.push((*plan, *days)),
        }
    }
    plans.into_iter().filter_map(move |(plan, days)| {
        let micros = prices.monthly(plan);
        let name = plan.as_str();
        match (micros, days == all) {
            (0, _) => None,
            (_, true) => Some(line(format!("plan {name}"), 1, Price { micros, per: 1 })),
            (_, false) => {
                let what = format!("plan {name}, {days} of {all} days");
                Some(line(what, u64::from(days), Price { micros, per: u64::from(all) }))
            }
        }
    })
}

/// Returns how much of something is in the plans of a month, each for its share of the days; none
/// when one of them has no limit.
fn included(facts: &Facts, metric: Metric) -> Option<u64> {
    let days: u64 = facts.plans.iter().map(|it| u64::from(it.1)).sum();
    let mut sum = 0_u128;
    for (plan, count) in &facts.plans {
        sum += u128::from(plan.quota(metric).included?) * u128::from(*count);
    }
    match days {
        0 => facts.plan.quota(metric).included,
        days => u64::try_from(sum / u128::from(days)).ok(),
    }
}

/// A plan that took the place of another one on a day; the last of a day counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Day since 1970.
    pub day: i64,
    /// The plan before.
    pub from: Plan,
    /// The plan at the end of the day.
    pub to: Plan,
}

/// Returns the plans of the days of a month, from the day that the tenant was made on: each day has
/// the plan of its end. `changes` are those of the month and later, by day; `now` is the plan after
/// them.
pub fn plans(month: Month, created: i64, changes: &[Changed], now: Plan) -> Vec<(Plan, u32)> {
    let mut plans: Vec<(Plan, u32)> = Vec::new();
    for day in month.first_day().max(created)..month.next().first_day() {
        let before = changes.iter().rev().find(|it| it.day <= day).map(|it| it.to);
        let after = changes.iter().find(|it| it.day > day).map(|it| it.from);
        let plan = before.or(after).unwrap_or(now);
        match plans.last_mut() {
            Some(last) if last.0 == plan => last.1 += 1,
            _ => plans.push((plan, 1)),
        }
    }
    plans
}

fn line(what: String, quantity: u64, price: Price) -> Line {
    Line { what, quantity, price, micros: share(quantity, price.micros, price.per) }
}

/// Returns `quantity * times / per`, rounded half to even.
fn share(quantity: u64, times: u64, per: u64) -> u64 {
    let (product, per) = (u128::from(quantity) * u128::from(times), u128::from(per.max(1)));
    let (whole, rest) = (product / per, product % per);
    let up = match (rest * 2).cmp(&per) {
        std::cmp::Ordering::Less => 0,
        std::cmp::Ordering::Equal => whole % 2,
        std::cmp::Ordering::Greater => 1,
    };
    u64::try_from(whole + up).unwrap_or(u64::MAX)
}

/// Returns an amount as text with all of its digits.
pub fn decimal(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn facts(plan: Plan, executions: u64) -> Facts {
        Facts {
            tenant: TenantId(Uuid::from_u128(7)),
            month: Month { year: 2026, month: 11 },
            plan,
            plans: vec![(plan, 30)],
            used: vec![(Metric::WorkflowExecutions, executions)],
            is_closed: true,
            credits: Vec::new(),
            is_paid: false,
        }
    }

    #[test]
    fn a_plan_costs_by_its_days_and_holds_by_them() {
        let bill = |plans: &[(Plan, u32)], executions| {
            let last = plans.last().unwrap().0;
            let facts = Facts { plans: plans.to_vec(), ..facts(last, executions) };
            let made = invoice(&facts, &PRICES);
            let line = |it: &Line| format!("{} {}", it.what, decimal(it.micros));
            made.lines.iter().map(line).collect::<Vec<_>>().join("; ")
        };
        use Plan::{Free, Pro, SelfHosted, Starter};
        for (plans, executions, expected) in [
            (&[(Starter, 30)][..], 0, "plan starter 29.000000"),
            (&[(Starter, 7)], 0, "plan starter, 7 of 30 days 6.766667"),
            (
                &[(Starter, 10), (Pro, 20)],
                140_000,
                "plan starter, 10 of 30 days 9.666667; plan pro, 20 of 30 days 132.666667",
            ),
            (
                &[(Starter, 10), (Pro, 20)],
                141_000,
                "plan starter, 10 of 30 days 9.666667; plan pro, 20 of 30 days 132.666667; \
                 workflow_executions beyond the plan 1.000000",
            ),
            // Whoever leaves at the end pays for what they had.
            (
                &[(Pro, 29), (Free, 1)],
                200_000,
                "plan pro, 29 of 30 days 192.366667; workflow_executions beyond the plan 6.634000",
            ),
            // There and back is one line.
            (&[(Pro, 3), (Free, 4), (Pro, 3)], 0, "plan pro, 6 of 30 days 39.800000"),
            (&[(SelfHosted, 10), (Starter, 20)], 90_000, "plan starter, 20 of 30 days 19.333333"),
        ] {
            assert_eq!(bill(plans, executions), expected, "{plans:?}");
        }
    }

    #[test]
    fn each_day_has_the_plan_of_its_end() {
        use Plan::{Free, Pro, Starter};
        let month: Month = "2026-11".parse().unwrap();
        let first = month.begins().0 / DAY;
        let of = |created: i64, changes: &[(i64, Plan, Plan)], now| {
            let changed =
                |it: &(i64, Plan, Plan)| Changed { day: first + it.0, from: it.1, to: it.2 };
            let changes: Vec<Changed> = changes.iter().map(changed).collect();
            plans(month, first + created, &changes, now)
        };
        assert_eq!(of(-90, &[], Pro), [(Pro, 30)]);
        assert_eq!(of(12, &[], Pro), [(Pro, 18)]);
        assert_eq!(of(-1, &[(0, Free, Starter)], Starter), [(Starter, 30)]);
        assert_eq!(of(-1, &[(10, Free, Starter)], Starter), [(Free, 10), (Starter, 20)]);
        let twice = [(10, Free, Starter), (29, Starter, Pro)];
        assert_eq!(of(2, &twice, Pro), [(Free, 8), (Starter, 19), (Pro, 1)]);
        // What was changed after the month says how it was before.
        assert_eq!(of(-1, &[(30, Free, Pro)], Pro), [(Free, 30)]);
        assert!(of(30, &[], Pro).is_empty());
    }

    #[test]
    fn credits_are_taken_off_and_change_no_line() {
        let credit = |micros| Credit {
            number: "c".into(),
            micros,
            reason: "an outage".into(),
            at: Timestamp(0),
        };
        for (credits, is_paid, due, status) in [
            (&[][..], false, 29_000_000, Status::Open),
            (&[4_000_000], false, 25_000_000, Status::Open),
            (&[4_000_000, 25_000_000], false, 0, Status::Void),
            (&[], true, 0, Status::Paid),
            (&[4_000_000], true, 0, Status::Paid),
        ] {
            let credits = credits.iter().copied().map(credit).collect();
            let facts = Facts { credits, is_paid, ..facts(Plan::Starter, 0) };
            let made = invoice(&facts, &PRICES);
            assert_eq!((made.due, made.status, made.total), (due, status, 29_000_000));
        }
    }

    #[test]
    fn what_is_beyond_the_plan_is_billed_and_free_ones_pay_nothing() {
        for (plan, executions, total, status) in [
            (Plan::Free, 1_100, "0.000000", Status::Paid),
            (Plan::SelfHosted, 9_000_000, "0.000000", Status::Paid),
            (Plan::Starter, 20_000, "29.000000", Status::Open),
            (Plan::Starter, 20_001, "29.001500", Status::Open),
            (Plan::Pro, 200_333, "199.333000", Status::Open),
        ] {
            let made = invoice(&facts(plan, executions), &PRICES);
            assert_eq!((decimal(made.total), made.status), (total.to_owned(), status), "{plan:?}");
        }
        let draft = Facts { is_closed: false, ..facts(Plan::Pro, 0) };
        assert_eq!(invoice(&draft, &PRICES).status, Status::Draft);
    }

    #[test]
    fn halves_go_to_the_even_neighbour() {
        for (quantity, times, per, expected) in
            [(1, 1, 2, 0), (3, 1, 2, 2), (5, 1, 2, 2), (7, 1, 2, 4), (2, 1, 3, 1), (1, 1, 3, 0)]
        {
            assert_eq!(share(quantity, times, per), expected, "{quantity}*{times}/{per}");
        }
        assert_eq!(share(u64::MAX, u64::MAX, 1), u64::MAX, "and nothing overflows");
    }

    #[test]
    fn months_are_those_of_the_calendar() {
        for (text, month) in [
            ("1970-01-01T00:00:00Z", "1970-01"),
            ("2024-02-29T23:59:59.999999Z", "2024-02"),
            ("2024-03-01T00:00:00Z", "2024-03"),
            ("2026-11-30T23:59:59Z", "2026-11"),
            ("2026-12-01T00:00:00Z", "2026-12"),
            ("2100-02-28T12:00:00Z", "2100-02"),
        ] {
            let at: Timestamp = text.parse().unwrap();
            assert_eq!(Month::of(at).to_string(), month, "{text}");
            assert_eq!(month.parse::<Month>(), Ok(Month::of(at)));
        }
        for bad in ["2026", "2026-13", "2026-00", "26-11", "2026-1", "2026-11-01", "+026-11"] {
            assert!(bad.parse::<Month>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_time_lies_in_its_month(at in -1_i64 << 55..1 << 57) {
            let month = Month::of(Timestamp(at));
            prop_assert!(month.begins().0 <= at && at < month.ends().0);
            prop_assert_eq!(Month::of(month.begins()), month);
        }

        #[test]
        fn the_same_facts_give_the_same_invoice_and_its_sums_hold(used in 0_u64..1 << 50) {
            for plan in Plan::ALL {
                let taxed = PriceBook { tax_basis_points: 1_900, ..PRICES };
                let made = invoice(&facts(*plan, used), &taxed);
                prop_assert_eq!(&made, &invoice(&facts(*plan, used), &taxed));
                let sum: u64 = made.lines.iter().map(|it| it.micros).sum();
                prop_assert_eq!(made.subtotal, sum);
                prop_assert_eq!(made.total, sum + made.tax);
            }
        }
    }
}
