//! Invoices: what a month costs, as a function of what was used and a price book.
//!
//! Amounts are whole millionths of the currency. A line is rounded once, half to even, and nothing
//! else is rounded but the tax. The same facts give the same invoice, byte for byte; nothing of an
//! invoice is kept, because it can be made again.

use traaviis_model::{TenantId, Timestamp};

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
pub const PRICES: PriceBook = PriceBook { version: "1", currency: "USD", tax_basis_points: 0 };

/// Price of many of something: millionths for so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// Millionths of the currency.
    pub micros: u64,
    /// For how many.
    pub per: u64,
}

impl PriceBook {
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
            _ => None,
        }
    }
}

/// A month, in UTC.
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
const DAY: i64 = 86_400_000_000;

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
    /// What was used.
    pub used: Vec<(Metric, u64)>,
    /// The month is over, so it changes no more.
    pub is_closed: bool,
}

/// How an invoice stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The month goes on.
    Draft,
    /// To be paid.
    Open,
    /// Nothing is to be paid.
    Paid,
}

impl Status {
    /// Returns the word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Draft => "draft",
            Status::Open => "open",
            Status::Paid => "paid",
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
    /// Price book that it was made with.
    pub prices: PriceBook,
}

/// Makes an invoice.
pub fn invoice(facts: &Facts, prices: &PriceBook) -> Invoice {
    let mut lines = Vec::new();
    let monthly = prices.monthly(facts.plan);
    if monthly > 0 {
        let price = Price { micros: monthly, per: 1 };
        lines.push(line(format!("plan {}", facts.plan.as_str()), 1, price));
    }
    for (metric, used) in &facts.used {
        let included = facts.plan.quota(*metric).included;
        let beyond = included.map_or(0, |it| used.saturating_sub(it));
        if let Some(price) = prices.beyond(facts.plan, *metric)
            && beyond > 0
        {
            lines.push(line(format!("{} beyond the plan", metric.as_str()), beyond, price));
        }
    }
    let subtotal = lines.iter().fold(0_u64, |sum, it| sum.saturating_add(it.micros));
    let tax = share(subtotal, prices.tax_basis_points, 10_000);
    let status = match (facts.is_closed, subtotal) {
        (false, _) => Status::Draft,
        (true, 0) => Status::Paid,
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
        total: subtotal.saturating_add(tax),
        prices: *prices,
    }
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
            used: vec![(Metric::WorkflowExecutions, executions)],
            is_closed: true,
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
