//! Numbers about effects and budgets, counted off the records of steps that are durable. What a
//! process did before it began anew is not counted again.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use traaviis_model::{Body, EffectError, budget::BudgetScope, record::Status, times::Times};
use traaviis_runtime::owner::Committed;
use traaviis_server::metrics::{Exposition, Kind};

/// Why effects are called off; the last is whatever has no name here.
const REASONS: [&str; 6] =
    ["timeout", "state_left", "lost_race", "sibling_failed", "cancelled", "other"];
/// Whose budgets there are.
const SCOPES: [&str; 4] = ["tenant", "run", "state", "effect"];
/// Words under which an instance ends.
const ENDS: [Status; 4] =
    [Status::Completed, Status::Failed, Status::Compensated, Status::Cancelled];

/// What happened.
#[derive(Debug, Default)]
pub struct Happened {
    /// Trees of effects that were begun.
    trees: AtomicU64,
    cancelled: [AtomicU64; REASONS.len()],
    timeouts: AtomicU64,
    retries: AtomicU64,
    breakers: AtomicU64,
    broadcasts: AtomicU64,
    exceeded: [AtomicU64; SCOPES.len()],
    lives: [Times; ENDS.len()],
}

impl Happened {
    /// Counts a step that is durable.
    pub fn step(&self, step: &Committed) {
        for record in step.records.iter() {
            self.record(&record.body);
            if let (Body::Finished { .. }, Some(at)) =
                (&record.body, ENDS.iter().position(|it| *it == step.snapshot.status))
            {
                let life = record.header.at.since(step.snapshot.created_at).as_millis();
                self.lives[at].note(Duration::from_millis(u64::try_from(life).unwrap_or(0)));
            }
        }
    }

    fn record(&self, body: &Body) {
        match body {
            Body::TreeStarted { .. } | Body::EffectRequested(_) => add(&self.trees),
            Body::EffectCancelled { reason, .. } => {
                let known = REASONS.iter().position(|it| *it == &**reason);
                add(&self.cancelled[known.unwrap_or(REASONS.len() - 1)]);
            }
            Body::EffectAttemptFailed { error, .. } => {
                add(&self.retries);
                self.failed(error);
            }
            Body::EffectFailed { error, .. } => self.failed(error),
            Body::BudgetExceeded(it) => {
                let scope = match it.of {
                    BudgetScope::Run => "run",
                    BudgetScope::State { .. } => "state",
                    BudgetScope::Effect { .. } => "effect",
                };
                self.exceeded(scope);
            }
            Body::Emitted { .. } => add(&self.broadcasts),
            _ => {}
        }
    }

    fn failed(&self, error: &EffectError) {
        match &*error.code {
            "timeout" => add(&self.timeouts),
            "circuit_breaker_open" => add(&self.breakers),
            // Those of the instance itself have a record of their own.
            "budget_exceeded" | "quota_exceeded" => {
                let scope = error.details.get("scope").and_then(|it| it.as_str());
                if scope == Some("tenant") {
                    self.exceeded("tenant");
                }
            }
            _ => {}
        }
    }

    fn exceeded(&self, scope: &str) {
        if let Some(at) = SCOPES.iter().position(|it| *it == scope) {
            add(&self.exceeded[at]);
        }
    }

    /// Tells everything.
    pub fn tell(&self, out: &mut Exposition) {
        let counters = [
            (
                "traaviis_fsm_effect_composition_total",
                "trees of effects that were begun",
                &self.trees,
            ),
            ("traaviis_fsm_effect_retry_total", "attempts that another follows", &self.retries),
            (
                "traaviis_fsm_effect_timeout_total",
                "attempts and effects that took too long",
                &self.timeouts,
            ),
            (
                "traaviis_fsm_effect_circuit_breaker_total",
                "calls not made because their peer failed too often lately",
                &self.breakers,
            ),
            ("traaviis_fsm_broadcast_total", "events that instances emitted", &self.broadcasts),
        ];
        for (name, help, count) in counters {
            out.one(name, Kind::Counter, help, || read(count));
        }
        let name = "traaviis_fsm_effect_cancelled_total";
        out.family(name, Kind::Counter, "effects that were called off by why");
        for (reason, count) in REASONS.iter().zip(&self.cancelled) {
            out.sample(&[("reason", reason)], read(count));
        }
        let name = "traaviis_budget_exceeded_total";
        out.family(name, Kind::Counter, "attempts that no budget was left for by whose");
        for (scope, count) in SCOPES.iter().zip(&self.exceeded) {
            out.sample(&[("scope", scope)], read(count));
        }
        let name = "traaviis_fsm_workflow_duration_seconds";
        out.family(name, Kind::Histogram, "time from the start of an instance to its end");
        for (status, times) in ENDS.iter().zip(&self.lives) {
            out.times(&[("status", status.as_str())], &times.counted());
        }
    }
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

fn read(count: &AtomicU64) -> f64 {
    count.load(Ordering::Relaxed) as f64
}

#[cfg(test)]
mod tests {
    use traaviis_model::Value;

    use super::*;

    #[test]
    fn what_records_say_is_counted_by_their_words() {
        let happened = Happened::default();
        let (tree, path) = (3, "ask");
        let failed = |code: &str, scope: Option<&str>| {
            let details = scope.map_or(Value::Null, |it| Value::map([("scope", Value::from(it))]));
            let error = EffectError::new(code, "no").with_details(details);
            Body::EffectFailed { tree, path: path.into(), error }
        };
        let cancelled =
            |reason: &str| Body::EffectCancelled { tree, path: path.into(), reason: reason.into() };
        for body in [
            failed("timeout", None),
            failed("circuit_breaker_open", None),
            failed("budget_exceeded", Some("tenant")),
            failed("budget_exceeded", None),
            cancelled("lost_race"),
            cancelled("for fun"),
        ] {
            happened.record(&body);
        }
        let mut out = Exposition::default();
        happened.tell(&mut out);
        let text = out.text();
        let told: Vec<&str> =
            text.lines().filter(|it| !it.starts_with('#') && it.ends_with(" 1")).collect();
        expect_test::expect![[r#"
            traaviis_fsm_effect_timeout_total 1
            traaviis_fsm_effect_circuit_breaker_total 1
            traaviis_fsm_effect_cancelled_total{reason="lost_race"} 1
            traaviis_fsm_effect_cancelled_total{reason="other"} 1
            traaviis_budget_exceeded_total{scope="tenant"} 1"#]]
        .assert_eq(&told.join("\n"));
    }
}
