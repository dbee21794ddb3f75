//! Retry policies and the policy for unknown outcomes.

use crate::{
    definition::{Backoff, Jitter, OnUnknown, RetryPolicy},
    document::{
        read::{At, Fields, Keys, Reader},
        tree::NodeKind,
    },
};

pub(super) const KNOWN: &[&str] =
    &["attempts", "backoff", "base_delay", "max_delay", "jitter", "on", "except"];

impl Reader {
    /// Reads the common key `retry`.
    pub(super) fn retry(&mut self, at: &At<'_>) -> Option<RetryPolicy> {
        let keys = Keys { code: "E140", ..Keys::new("`retry`", KNOWN) };
        let fields = self.fields(at, &keys)?;
        Some(self.policy(&fields))
    }

    /// Reads the keys of a policy from a map that may have others.
    pub(super) fn policy(&mut self, fields: &Fields<'_>) -> RetryPolicy {
        let mut policy = RetryPolicy::default();
        if let Some(at) = fields.get("attempts") {
            match at.node.kind {
                NodeKind::Int(it) if (1..=i64::from(u32::MAX)).contains(&it) => {
                    policy.attempts = it as u32;
                }
                _ => {
                    let message = "`attempts` must be a whole number from 1";
                    self.report(at.error("E140", message).hint("1 means a single try"));
                }
            }
        }
        let backoffs = [
            ("constant", Backoff::Constant),
            ("linear", Backoff::Linear),
            ("exponential", Backoff::Exponential),
            ("fibonacci", Backoff::Fibonacci),
        ];
        let jitters = [("none", Jitter::None), ("full", Jitter::Full), ("equal", Jitter::Equal)];
        let backoff = fields.get("backoff").and_then(|it| self.choice(&it, "E140", &backoffs));
        let jitter = fields.get("jitter").and_then(|it| self.choice(&it, "E140", &jitters));
        let base_delay = fields.get("base_delay").and_then(|it| self.duration(&it));
        let max_delay = fields.get("max_delay").and_then(|it| self.duration(&it));
        RetryPolicy {
            attempts: policy.attempts,
            backoff: backoff.unwrap_or(policy.backoff),
            base_delay: base_delay.unwrap_or(policy.base_delay),
            max_delay: max_delay.unwrap_or(policy.max_delay),
            jitter: jitter.unwrap_or(policy.jitter),
            on: fields.get("on").map_or_else(Vec::new, |it| self.texts(&it)),
            except: fields.get("except").map_or_else(Vec::new, |it| self.texts(&it)),
        }
    }

    pub(super) fn on_unknown(&mut self, at: &At<'_>) -> Option<OnUnknown> {
        let choices =
            [("retry", OnUnknown::Retry), ("ask", OnUnknown::Ask), ("fail", OnUnknown::Fail)];
        self.choice(at, "E101", &choices)
    }
}
