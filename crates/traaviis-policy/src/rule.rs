//! Rules of tenants: numbers of which somebody should be told when they are too high.
//!
//! What happens is counted over the time before it: the same happenings break the same rules at the
//! same moments, whoever looks and however often. Other numbers are looked at as they stand. A rule
//! that was broken rests for a while, also while it stays broken.

use std::collections::VecDeque;

use traaviis_model::{Span, Timestamp, form::ABOVE_MAX};

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// Instances that have failed.
    FailedInstances,
    /// Incidents that were opened.
    IncidentsOpened,
    /// Logins of members that have failed.
    LoginFailures,
    /// Incidents that wait for somebody.
    IncidentsOpen,
    /// The highest of the shares of the plan that are used, in hundredths.
    UsagePercent,
    /// The highest of the shares of budgets that are spent, in hundredths.
    BudgetPercent,
    /// Seconds for which the oldest work waits that could be done now.
    QueueAge,
    /// Times that a circuit breaker has opened.
    BreakersOpened,
    /// Times that a schedule has found times that had passed without a run.
    SchedulesMissed,
}

/// Shortest time over which happenings are counted.
pub const WINDOW_MIN: Span = Span::secs(10);
/// Longest time over which happenings are counted.
pub const WINDOW_MAX: Span = Span::secs(24 * 3_600);
/// Shortest rest of a rule that was broken: nobody reads more.
pub const COOL_DOWN_MIN: Span = Span::secs(60);
/// Longest rest.
pub const COOL_DOWN_MAX: Span = Span::secs(7 * 24 * 3_600);

impl Measure {
    /// All of them.
    pub const ALL: [Measure; 9] = [
        Measure::FailedInstances,
        Measure::IncidentsOpened,
        Measure::LoginFailures,
        Measure::IncidentsOpen,
        Measure::UsagePercent,
        Measure::BudgetPercent,
        Measure::QueueAge,
        Measure::BreakersOpened,
        Measure::SchedulesMissed,
    ];

    /// Returns the word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Measure::FailedInstances => "failed_instances",
            Measure::IncidentsOpened => "incidents_opened",
            Measure::LoginFailures => "login_failures",
            Measure::IncidentsOpen => "incidents_open",
            Measure::UsagePercent => "usage_percent",
            Measure::BudgetPercent => "budget_percent",
            Measure::QueueAge => "queue_age",
            Measure::BreakersOpened => "breakers_opened",
            Measure::SchedulesMissed => "schedules_missed",
        }
    }

    /// Says whether happenings are counted over a time; other numbers are looked at as they stand.
    pub fn is_counted(self) -> bool {
        match self {
            Measure::FailedInstances
            | Measure::IncidentsOpened
            | Measure::LoginFailures
            | Measure::BreakersOpened
            | Measure::SchedulesMissed => true,
            Measure::IncidentsOpen
            | Measure::UsagePercent
            | Measure::BudgetPercent
            | Measure::QueueAge => false,
        }
    }

    /// Returns what has happened when a rule is broken, in a sentence.
    pub fn message(self, above: u64, window: Span) -> String {
        match self {
            Measure::FailedInstances => {
                format!("more than {above} instances have failed within {window}")
            }
            Measure::IncidentsOpened => {
                format!("more than {above} incidents were opened within {window}")
            }
            Measure::LoginFailures => {
                format!("more than {above} logins of members have failed within {window}")
            }
            Measure::IncidentsOpen => format!("more than {above} incidents wait for somebody"),
            Measure::UsagePercent => format!("more than {above} % of what the plan holds is used"),
            Measure::BudgetPercent => format!("more than {above} % of a budget is spent"),
            Measure::QueueAge => format!("work has waited for more than {above} s"),
            Measure::BreakersOpened => {
                format!("circuit breakers have opened more than {above} times within {window}")
            }
            Measure::SchedulesMissed => {
                format!("schedules have missed times more than {above} times within {window}")
            }
        }
    }
}

impl std::str::FromStr for Measure {
    type Err = String;

    fn from_str(text: &str) -> Result<Measure, String> {
        let found = Measure::ALL.into_iter().find(|it| it.as_str() == text);
        found.ok_or_else(|| {
            let words: Vec<&str> = Measure::ALL.iter().map(|it| it.as_str()).collect();
            format!("this is one of {}", words.join(", "))
        })
    }
}

/// The last happenings that a rule counts: as many as it takes to break it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    times: VecDeque<Timestamp>,
}

impl Window {
    /// Returns one that remembers these, in their order.
    pub fn of(times: impl IntoIterator<Item = Timestamp>) -> Window {
        Window { times: times.into_iter().collect() }
    }

    /// Returns what it remembers.
    pub fn times(&self) -> impl Iterator<Item = Timestamp> + '_ {
        self.times.iter().copied()
    }

    /// Counts a happening; says whether there were more than `above` within the time before it.
    pub fn see(&mut self, at: Timestamp, above: u64, window: Span) -> bool {
        let most = usize::try_from(above.min(ABOVE_MAX)).unwrap_or_default() + 1;
        self.times.push_back(at);
        while self.times.len() > most {
            self.times.pop_front();
        }
        let first = self.times.front().filter(|_| self.times.len() == most);
        first.is_some_and(|it| at.since(*it) <= window)
    }
}

/// Says whether a rule that was broken last at a time may be told of again.
pub fn is_rested(last: Option<Timestamp>, cool_down: Span, at: Timestamp) -> bool {
    last.is_none_or(|it| at.since(it) >= cool_down)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use traaviis_model::form;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp(second * 1_000_000)
    }

    #[test]
    fn the_words_of_requests_are_these() {
        assert_eq!(Measure::ALL.map(Measure::as_str), *form::MEASURES);
    }

    #[test]
    fn so_many_within_the_time_break_a_rule() {
        for (above, window, seconds, expected) in [
            (0, 10, &[5][..], &[true][..]),
            (2, 10, &[0, 1, 10], &[false, false, true]),
            (2, 10, &[0, 1, 11], &[false, false, false]),
            (2, 10, &[0, 5, 11, 15, 16], &[false, false, false, true, true]),
            (1, 10, &[0, 0, 30, 41, 50], &[false, true, false, false, true]),
        ] {
            let mut seen = Window::default();
            let window = Span::secs(window);
            let broken: Vec<bool> =
                seconds.iter().map(|it| seen.see(at(*it), above, window)).collect();
            assert_eq!(broken, expected, "{above} {seconds:?}");
        }
    }

    #[test]
    fn a_broken_rule_rests() {
        let rest = Span::secs(60);
        assert!(is_rested(None, rest, at(0)));
        assert!(!is_rested(Some(at(0)), rest, at(59)));
        assert!(is_rested(Some(at(0)), rest, at(60)));
        // Read once more after a crash, what was told already is not told again.
        assert!(!is_rested(Some(at(100)), rest, at(40)));
    }

    #[test]
    fn words_are_read_back() {
        for measure in Measure::ALL {
            assert_eq!(measure.as_str().parse(), Ok(measure));
            assert!(!measure.message(3, Span::secs(60)).is_empty());
        }
        assert!("cpu".parse::<Measure>().is_err());
    }

    proptest! {
        #[test]
        fn it_says_what_counting_all_of_them_says(
            steps in prop::collection::vec(0_i64..9, 0..60),
            above in 0_u64..6,
            window in 1_i64..30,
            cut in 0_usize..60,
        ) {
            let mut now = 0;
            let times: Vec<Timestamp> = steps.iter().map(|it| { now += it; at(now) }).collect();
            let window = Span::secs(window);
            let mut seen = Window::default();
            for (number, time) in times.iter().enumerate() {
                if number == cut {
                    // Put down and read again.
                    seen = Window::of(seen.times().collect::<Vec<_>>());
                }
                let within = |it: &&Timestamp| time.since(**it) <= window;
                let count = times[..=number].iter().filter(within).count() as u64;
                prop_assert_eq!(seen.see(*time, above, window), count > above);
                prop_assert!(seen.times.len() as u64 <= above + 1);
            }
        }
    }
}
