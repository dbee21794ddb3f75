//! Plans: how much a tenant may use, and what happens beyond it.
//!
//! Plans differ by quantity only; every feature is in every plan. Quantities and prices are those
//! of the [price book](crate::invoice::PriceBook) that they came with, and no commitment.

/// Bytes of a gigabyte, as disks are sold.
const GB: u64 = 1_000_000_000;

/// What a tenant pays for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Plan {
    /// For trying out: the only plan with an end.
    Free,
    /// For a team.
    Starter,
    /// For a company.
    Pro,
    /// By contract.
    Enterprise,
    /// On machines of one's own: without limits, without charge.
    SelfHosted,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Instances that were started, in a month.
    WorkflowExecutions,
    /// Transitions, in a month.
    StateTransitions,
    /// Effects that were begun, in a month.
    EffectExecutions,
    /// Tasks for people, in a month.
    HumanTasks,
    /// People and service accounts, now.
    Members,
    /// Bytes that are kept, now.
    Storage,
    /// Tokens of models, in a month.
    LlmTokens,
    /// Those of them that models have read.
    LlmInputTokens,
    /// Those of them that models have written.
    LlmOutputTokens,
    /// What models have cost, in millionths of a US dollar, in a month.
    LlmCost,
    /// Requests that were let in, in a month.
    ApiCalls,
    /// Seconds that instances were open, all together, in a month.
    ActiveMachines,
    /// Minutes that sockets were open, all together, in a month.
    SocketMinutes,
    /// Bytes that effects and webhooks have sent, in a month.
    Egress,
    /// Megabytes that were kept, times the hours for which, in a month.
    StorageTime,
}

impl Metric {
    /// All of them.
    pub const ALL: &[Metric] = &[
        Metric::WorkflowExecutions,
        Metric::StateTransitions,
        Metric::EffectExecutions,
        Metric::HumanTasks,
        Metric::Members,
        Metric::Storage,
        Metric::LlmTokens,
        Metric::LlmCost,
        Metric::ApiCalls,
        Metric::LlmInputTokens,
        Metric::LlmOutputTokens,
        Metric::ActiveMachines,
        Metric::SocketMinutes,
        Metric::Egress,
        Metric::StorageTime,
    ];

    /// Says whether it is counted over a month; the others are as they stand.
    pub fn is_of_a_month(self) -> bool {
        !matches!(self, Metric::Members | Metric::Storage)
    }

    /// Returns what one of it is.
    pub fn unit(self) -> &'static str {
        match self {
            Metric::WorkflowExecutions => "run",
            Metric::StateTransitions => "transition",
            Metric::EffectExecutions => "effect",
            Metric::HumanTasks => "task",
            Metric::Members => "member",
            Metric::Storage | Metric::Egress => "byte",
            Metric::LlmTokens | Metric::LlmInputTokens | Metric::LlmOutputTokens => "token",
            Metric::LlmCost => "millionth of a US dollar",
            Metric::ApiCalls => "call",
            Metric::ActiveMachines => "instance second",
            Metric::SocketMinutes => "minute",
            Metric::StorageTime => "megabyte hour",
        }
    }

    /// Returns the word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Metric::WorkflowExecutions => "workflow_executions",
            Metric::StateTransitions => "state_transitions",
            Metric::EffectExecutions => "effect_executions",
            Metric::HumanTasks => "human_tasks",
            Metric::Members => "members",
            Metric::Storage => "storage",
            Metric::LlmTokens => "llm_tokens",
            Metric::LlmCost => "llm_cost",
            Metric::ApiCalls => "api_calls",
            Metric::LlmInputTokens => "llm_input_tokens",
            Metric::LlmOutputTokens => "llm_output_tokens",
            Metric::ActiveMachines => "active_machines",
            Metric::SocketMinutes => "socket_minutes",
            Metric::Egress => "egress",
            Metric::StorageTime => "storage_time",
        }
    }
}

/// How much of something a plan holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// What is in the price; none means as much as one likes.
    pub included: Option<u64>,
    /// Beyond it nothing more is taken in; none means never.
    pub hard: Option<u64>,
}

/// How something that is asked for stands to a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is in the price.
    Included,
    /// It goes beyond: a warning, or it is billed.
    Beyond,
    /// It is too much.
    Refused,
}

impl Plan {
    /// All of them.
    pub const ALL: &[Plan] =
        &[Plan::Free, Plan::Starter, Plan::Pro, Plan::Enterprise, Plan::SelfHosted];

    /// Returns the word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Plan::Free => "free",
            Plan::Starter => "starter",
            Plan::Pro => "pro",
            Plan::Enterprise => "enterprise",
            Plan::SelfHosted => "self_hosted",
        }
    }

    /// Returns the plan that a word names; of a word that nobody knows the least.
    pub fn of(word: &str) -> Plan {
        word.parse().unwrap_or(Plan::Free)
    }

    /// Returns how many requests of one user or key are answered in a second, over time; for a
    /// moment it may be twice as many.
    pub fn requests_per_second(self) -> u32 {
        match self {
            Plan::Free => 20,
            Plan::Starter => 100,
            Plan::Pro => 500,
            Plan::Enterprise | Plan::SelfHosted => 5_000,
        }
    }

    /// Says whether a tenant may choose it by itself; the others are for who runs the platform.
    pub fn is_for_sale(self) -> bool {
        matches!(self, Plan::Free | Plan::Starter | Plan::Pro)
    }

    /// Returns how much of something it holds.
    pub fn quota(self, metric: Metric) -> Quota {
        let included = match (metric, self) {
            (Metric::WorkflowExecutions, Plan::Free) => Some(1_000),
            (Metric::WorkflowExecutions, Plan::Starter) => Some(20_000),
            (Metric::WorkflowExecutions, Plan::Pro) => Some(200_000),
            (Metric::Members, Plan::Free) => Some(3),
            (Metric::Members, Plan::Starter) => Some(10),
            (Metric::Members, Plan::Pro) => Some(50),
            (Metric::Storage, Plan::Free) => Some(GB),
            (Metric::Storage, Plan::Starter) => Some(20 * GB),
            (Metric::Storage, Plan::Pro) => Some(200 * GB),
            (Metric::LlmTokens, Plan::Free) => Some(200_000),
            (Metric::LlmTokens, Plan::Starter) => Some(5_000_000),
            (Metric::LlmTokens, Plan::Pro) => Some(50_000_000),
            _ => None,
        };
        // What nobody pays for ends at 120 %; the rest is billed.
        let hard = included.filter(|_| self == Plan::Free).map(|it| it * 120 / 100);
        Quota { included, hard }
    }
}

impl std::str::FromStr for Plan {
    type Err = String;

    fn from_str(text: &str) -> Result<Plan, String> {
        let words: Vec<&str> = Plan::ALL.iter().map(|it| it.as_str()).collect();
        let found = Plan::ALL.iter().find(|it| it.as_str() == text).copied();
        found.ok_or_else(|| format!("`{text}` is none of `{}`", words.join("`, `")))
    }
}

impl Quota {
    /// Says how one more stands to it when so many are used.
    pub fn admit(self, used: u64) -> Admission {
        match (self.included, self.hard) {
            (_, Some(hard)) if used >= hard => Admission::Refused,
            (Some(included), _) if used >= included => Admission::Beyond,
            _ => Admission::Included,
        }
    }

    /// Returns how much of what is in the price is used, in hundredths; none without a limit.
    pub fn percent(self, used: u64) -> Option<u64> {
        let included = self.included.filter(|it| *it > 0)?;
        Some(used.saturating_mul(100) / included)
    }
}

/// Too short a part of a month to tell its end from, in microseconds: an hour.
const TOO_SHORT: u64 = 3_600_000_000;

/// Returns how much of something is used at the end of a month that goes on as it went so far; none
/// when too little of it has gone.
pub fn forecast(used: u64, gone_us: u64, left_us: u64) -> Option<u64> {
    if gone_us < TOO_SHORT {
        return None;
    }
    let more = u128::from(used) * u128::from(left_us) / u128::from(gone_us);
    Some(used.saturating_add(u64::try_from(more).unwrap_or(u64::MAX)))
}

/// Shares of what is in a plan, in hundredths, that somebody is told of when they are used.
pub const NOTICES: [u64; 3] = [50, 80, 100];

/// Returns the highest of these shares that is reached; none without a limit, or below them all.
pub fn notice(quota: Quota, used: u64) -> Option<u64> {
    let percent = quota.percent(used)?;
    NOTICES.into_iter().rev().find(|it| percent >= *it)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_words_of_requests_are_these() {
        let words: Vec<&str> = Plan::ALL.iter().map(|it| it.as_str()).collect();
        assert_eq!(words, traaviis_model::form::PLANS);
    }

    #[test]
    fn the_free_plan_warns_at_its_end_and_stops_a_fifth_later() {
        let quota = Plan::Free.quota(Metric::WorkflowExecutions);
        for (used, expected) in [
            (0, Admission::Included),
            (999, Admission::Included),
            (1_000, Admission::Beyond),
            (1_199, Admission::Beyond),
            (1_200, Admission::Refused),
            (u64::MAX, Admission::Refused),
        ] {
            assert_eq!(quota.admit(used), expected, "{used}");
        }
        assert_eq!(quota.percent(800), Some(80));
        assert_eq!(Plan::Free.quota(Metric::Members).hard, Some(3));
        assert_eq!(Plan::SelfHosted.quota(Metric::WorkflowExecutions).admit(u64::MAX), {
            Admission::Included
        });
    }

    #[test]
    fn a_month_that_goes_on_like_that_ends_so() {
        let hours = |it: u64| it * 3_600_000_000;
        for (used, gone, left, expected) in [
            (100, hours(24), hours(24 * 29), Some(3_000)),
            (100, hours(24 * 30), 0, Some(100)),
            (0, hours(24), hours(24), Some(0)),
            (7, hours(3), hours(1), Some(9)),
            (7, hours(1) - 1, hours(1), None),
            (u64::MAX, hours(1), hours(700), Some(u64::MAX)),
        ] {
            assert_eq!(forecast(used, gone, left), expected, "{used} {gone}");
        }
    }

    #[test]
    fn shares_that_are_told_of() {
        let of = |used| notice(Plan::Free.quota(Metric::WorkflowExecutions), used);
        let shares = [0, 499, 500, 799, 800, 999, 1_000, 1_200].map(of);
        let expected = [None, None, Some(50), Some(50), Some(80), Some(80), Some(100), Some(100)];
        assert_eq!(shares, expected);
        assert_eq!(notice(Plan::SelfHosted.quota(Metric::Members), u64::MAX), None);
    }

    #[test]
    fn words_are_read_back_and_an_unknown_one_gives_the_least() {
        for plan in Plan::ALL {
            assert_eq!(Plan::of(plan.as_str()), *plan);
        }
        assert_eq!(Plan::of("platinum"), Plan::Free);
    }

    proptest! {
        #[test]
        fn a_larger_plan_refuses_nothing_that_a_smaller_one_takes(used in any::<u64>()) {
            for metric in Metric::ALL {
                for pair in Plan::ALL.windows(2) {
                    let refuses = |it: Plan| it.quota(*metric).admit(used) == Admission::Refused;
                    prop_assert!(refuses(pair[0]) || !refuses(pair[1]));
                }
            }
        }
    }
}
