//! What is counted of a month: in all, by day, by workflow and by model.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use traaviis_model::Text;
use traaviis_policy::plan::Metric;

/// Workflows of a month that are told apart; what others use is under [`OTHER`]. A row is put down
/// each minute, and nobody reads a longer list.
pub const WORKFLOWS_MAX: usize = 500;
/// Models of a month that are told apart.
pub const MODELS_MAX: usize = 100;
/// What is beyond those.
pub const OTHER: &str = "other";

/// Microseconds of a second, and of a minute.
const SECOND: u64 = 1_000_000;
const MINUTE: u64 = 60 * SECOND;
/// What a megabyte that is kept for an hour has of bytes that are kept for a minute.
const MEGABYTE_HOUR: u64 = 60 * 1_000_000;

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Instances that were started.
    pub workflow_executions: u64,
    /// Transitions.
    pub state_transitions: u64,
    /// Effects that were begun; a further try of one is none.
    pub effect_executions: u64,
    /// Tasks for people.
    pub human_tasks: u64,
    /// Tokens of models.
    pub llm_tokens: u64,
    /// Tokens that models have read, as far as it is known which they were.
    #[serde(skip_serializing_if = "is_zero")]
    pub llm_input_tokens: u64,
    /// Tokens that models have written.
    #[serde(skip_serializing_if = "is_zero")]
    pub llm_output_tokens: u64,
    /// What models have cost, in millionths of a US dollar.
    pub llm_cost_micros: u64,
    /// Requests that were let in.
    pub api_calls: u64,
    /// Microseconds that instances were open, all together.
    #[serde(skip_serializing_if = "is_zero")]
    pub active_us: u64,
    /// Microseconds that sockets were open, all together.
    #[serde(skip_serializing_if = "is_zero")]
    pub socket_us: u64,
    /// Bytes that effects and webhooks have sent.
    #[serde(skip_serializing_if = "is_zero")]
    pub egress_bytes: u64,
    /// Bytes that were kept, times the minutes for which.
    #[serde(skip_serializing_if = "is_zero")]
    pub stored_byte_minutes: u64,
}

fn is_zero(it: &u64) -> bool {
    *it == 0
}

impl Counts {
    /// Returns how much of something was used; none of what is looked at as it stands.
    pub fn of(&self, metric: Metric) -> Option<u64> {
        match metric {
            Metric::WorkflowExecutions => Some(self.workflow_executions),
            Metric::StateTransitions => Some(self.state_transitions),
            Metric::EffectExecutions => Some(self.effect_executions),
            Metric::HumanTasks => Some(self.human_tasks),
            Metric::LlmTokens => Some(self.llm_tokens),
            Metric::LlmInputTokens => Some(self.llm_input_tokens),
            Metric::LlmOutputTokens => Some(self.llm_output_tokens),
            Metric::LlmCost => Some(self.llm_cost_micros),
            Metric::ApiCalls => Some(self.api_calls),
            Metric::ActiveMachines => Some(self.active_us / SECOND),
            Metric::SocketMinutes => Some(self.socket_us / MINUTE),
            Metric::Egress => Some(self.egress_bytes),
            Metric::StorageTime => Some(self.stored_byte_minutes / MEGABYTE_HOUR),
            Metric::Members | Metric::Storage => None,
        }
    }

    /// Counts all of another one.
    pub fn add(&mut self, other: &Counts) {
        self.with(other, u64::saturating_add);
    }

    /// Takes back what was counted before.
    pub fn take_back(&mut self, other: &Counts) {
        self.with(other, u64::saturating_sub);
    }

    fn with(&mut self, other: &Counts, with: fn(u64, u64) -> u64) {
        let Counts {
            workflow_executions,
            state_transitions,
            effect_executions,
            human_tasks,
            llm_tokens,
            llm_input_tokens,
            llm_output_tokens,
            llm_cost_micros,
            api_calls,
            active_us,
            socket_us,
            egress_bytes,
            stored_byte_minutes,
        } = self;
        for (it, other) in [
            (workflow_executions, other.workflow_executions),
            (state_transitions, other.state_transitions),
            (effect_executions, other.effect_executions),
            (human_tasks, other.human_tasks),
            (llm_tokens, other.llm_tokens),
            (llm_input_tokens, other.llm_input_tokens),
            (llm_output_tokens, other.llm_output_tokens),
            (llm_cost_micros, other.llm_cost_micros),
            (api_calls, other.api_calls),
            (active_us, other.active_us),
            (socket_us, other.socket_us),
            (egress_bytes, other.egress_bytes),
            (stored_byte_minutes, other.stored_byte_minutes),
        ] {
            *it = with(*it, other);
        }
    }
}

/// What was counted in a month. Rows of an earlier release have what is in all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MonthCounts {
    /// In all.
    #[serde(flatten)]
    pub total: Counts,
    /// By day, such as `2026-11-30`.
    pub by_day: BTreeMap<Text, Counts>,
    /// By workflow.
    pub by_workflow: BTreeMap<Text, Counts>,
    /// By model.
    pub by_model: BTreeMap<Text, Counts>,
}

impl MonthCounts {
    /// Counts something of a day.
    pub fn add(&mut self, day: &Text, counts: &Counts) {
        self.total.add(counts);
        entry(&mut self.by_day, day, usize::MAX).add(counts);
    }

    /// Counts something of a day that a workflow has used.
    pub fn add_of(&mut self, day: &Text, workflow: &Text, counts: &Counts) {
        self.add(day, counts);
        entry(&mut self.by_workflow, workflow, WORKFLOWS_MAX).add(counts);
    }

    /// Counts what a model has done, which is counted of its workflow already.
    pub fn add_model(&mut self, model: &Text, counts: &Counts) {
        entry(&mut self.by_model, model, MODELS_MAX).add(counts);
    }

    /// Takes back what a workflow had counted.
    pub fn take_back(&mut self, day: &Text, workflow: &Text, counts: &Counts) {
        self.total.take_back(counts);
        if let Some(it) = self.by_day.get_mut(day) {
            it.take_back(counts);
        }
        let name = if self.by_workflow.contains_key(workflow) { workflow } else { &OTHER.into() };
        if let Some(it) = self.by_workflow.get_mut(name) {
            it.take_back(counts);
        }
    }
}

/// Returns what is counted under a name, or with all others where there are too many.
fn entry<'a>(all: &'a mut BTreeMap<Text, Counts>, name: &Text, most: usize) -> &'a mut Counts {
    if !all.contains_key(name) {
        let name = if all.len() < most { name.clone() } else { OTHER.into() };
        return all.entry(name).or_default();
    }
    all.entry(name.clone()).or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one() -> Counts {
        Counts { workflow_executions: 1, ..Counts::default() }
    }

    #[test]
    fn rows_of_an_earlier_release_are_read_and_written_ones_are_read_back() {
        let earlier = r#"{"workflow_executions":3,"state_transitions":5,"api_calls":1}"#;
        let mut read: MonthCounts = serde_json::from_str(earlier).unwrap();
        assert_eq!((read.total.workflow_executions, read.total.state_transitions), (3, 5));
        read.add_of(&"2026-11-30".into(), &"Order".into(), &one());
        read.add_model(&"gpt-4o".into(), &Counts { llm_output_tokens: 9, ..Counts::default() });
        let written = serde_json::to_string(&read).unwrap();
        assert_eq!(serde_json::from_str::<MonthCounts>(&written).unwrap(), read, "{written}");
    }

    #[test]
    fn what_is_beyond_the_list_is_counted_together() {
        let mut month = MonthCounts::default();
        let day = Text::from("2026-11-30");
        for number in 0..WORKFLOWS_MAX + 3 {
            month.add_of(&day, &format!("W{number}").into(), &one());
        }
        month.add_of(&day, &"W0".into(), &one());
        assert_eq!(month.by_workflow.len(), WORKFLOWS_MAX + 1);
        assert_eq!(month.by_workflow[OTHER].workflow_executions, 3);
        month.take_back(&day, &"W0".into(), &one());
        month.take_back(&day, &format!("W{WORKFLOWS_MAX}").into(), &one());
        assert_eq!(month.by_workflow[OTHER].workflow_executions, 2);
        assert_eq!(month.by_workflow["W0"].workflow_executions, 1);
        let all = (WORKFLOWS_MAX + 2) as u64;
        assert_eq!(month.total.workflow_executions, all);
        assert_eq!(month.by_day[&day].workflow_executions, all);
    }
}
