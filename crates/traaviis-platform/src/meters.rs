//! What the platform counts of itself since the process began, for operators: documents, tokens,
//! checkpoints, alerts. Nothing is decided on it, and nobody waits for it.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value as Json;
use traaviis_model::{
    form::SEVERITIES,
    times::{Counted, Times},
};

use crate::{
    alerts::ALERT, audit::CHECKPOINT, ledger::Document, session::Session, tenant::Member,
    user::User, workflows::Workflow,
};

/// Kinds of documents that are counted by their name: those that requests are decided on, and what
/// they are about. There are few, so a list of kinds is no list of somebody's words.
pub const KINDS: [&str; 4] = [Workflow::KIND, User::KIND, Member::KIND, Session::KIND];

/// What happens to documents of a kind.
#[derive(Debug, Default)]
struct OfKind {
    stored: AtomicU64,
    retrieved: AtomicU64,
    failed: AtomicU64,
}

/// What was counted of a kind of document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Versions that are durable, with those that say that it is gone.
    pub stored: u64,
    /// Times that one was looked at.
    pub retrieved: u64,
    /// Times that one could not be read.
    pub failed: u64,
}

/// What happens to tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenEvent {
    /// An access token was given to a session.
    Issued,
    /// A session renewed its tokens.
    Refreshed,
    /// An access token was exchanged for one that may do less.
    Exchanged,
    /// A token was shown that is not good, or no longer.
    Refused,
    /// A refresh token was shown that was used up.
    Reused,
}

impl TokenEvent {
    /// All of them.
    pub const ALL: [TokenEvent; 5] = [
        TokenEvent::Issued,
        TokenEvent::Refreshed,
        TokenEvent::Exchanged,
        TokenEvent::Refused,
        TokenEvent::Reused,
    ];

    /// Returns its word.
    pub fn as_str(self) -> &'static str {
        match self {
            TokenEvent::Issued => "issued",
            TokenEvent::Refreshed => "refreshed",
            TokenEvent::Exchanged => "exchanged",
            TokenEvent::Refused => "refused",
            TokenEvent::Reused => "reused",
        }
    }
}

/// Everything that is counted.
#[derive(Debug, Default)]
pub struct Meters {
    kinds: [OfKind; KINDS.len()],
    changes: Times,
    tokens: [AtomicU64; TokenEvent::ALL.len()],
    checkpoints: AtomicU64,
    alerts: [AtomicU64; SEVERITIES.len()],
    budget_warnings: AtomicU64,
}

impl Meters {
    fn kind(&self, kind: &str) -> Option<&OfKind> {
        KINDS.iter().position(|it| *it == kind).map(|at| &self.kinds[at])
    }

    /// Counts a document that is durable now; none: it is gone.
    pub(crate) fn stored(&self, kind: &str, body: Option<&Json>) {
        if let Some(of) = self.kind(kind) {
            add(&of.stored);
        }
        match (kind, body) {
            (CHECKPOINT, Some(_)) => add(&self.checkpoints),
            // One that somebody has seen to was counted before.
            (ALERT, Some(alert)) if alert.get("acknowledged_at").is_none() => self.raised(alert),
            _ => {}
        }
    }

    fn raised(&self, alert: &Json) {
        if let Some(at) = SEVERITIES.iter().position(|it| alert["severity"] == **it) {
            add(&self.alerts[at]);
        }
        if alert["rule"] == "budget" {
            add(&self.budget_warnings);
        }
    }

    /// Counts a document that somebody has looked at.
    pub(crate) fn retrieved(&self, kind: &str, is_read: bool) {
        if let Some(of) = self.kind(kind) {
            add(if is_read { &of.retrieved } else { &of.failed });
        }
    }

    /// Returns the time from a decision until what follows from it is durable.
    pub(crate) fn changes(&self) -> &Times {
        &self.changes
    }

    /// Counts what happened to a token.
    pub(crate) fn token(&self, event: TokenEvent) {
        add(&self.tokens[event as usize]);
    }

    /// Returns what was counted of each kind of document.
    pub fn kept(&self) -> [(&'static str, Kept); KINDS.len()] {
        std::array::from_fn(|at| {
            let of = &self.kinds[at];
            let kept = Kept {
                stored: read(&of.stored),
                retrieved: read(&of.retrieved),
                failed: read(&of.failed),
            };
            (KINDS[at], kept)
        })
    }

    /// Returns how long changes of documents took.
    pub fn change_times(&self) -> Counted {
        self.changes.counted()
    }

    /// Returns what happened to tokens.
    pub fn tokens(&self) -> [(TokenEvent, u64); TokenEvent::ALL.len()] {
        TokenEvent::ALL.map(|it| (it, read(&self.tokens[it as usize])))
    }

    /// Returns how many ends of audit trails were signed.
    pub fn checkpoints(&self) -> u64 {
        read(&self.checkpoints)
    }

    /// Returns how many alerts were raised, by how soon somebody should look.
    pub fn alerts(&self) -> [(&'static str, u64); SEVERITIES.len()] {
        std::array::from_fn(|at| (SEVERITIES[at], read(&self.alerts[at])))
    }

    /// Returns how often somebody was told that a budget is spent for the most part.
    pub fn budget_warnings(&self) -> u64 {
        read(&self.budget_warnings)
    }
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

fn read(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_durable_is_counted_by_what_it_is() {
        let meters = Meters::default();
        let alert = |severity: &str, rule: &str| json!({ "severity": severity, "rule": rule });
        let mut seen = alert("high", "budget");
        seen["acknowledged_at"] = json!("2026-11-30T00:00:00Z");
        for (kind, body) in [
            ("user", Some(json!({}))),
            ("user", None),
            ("audit_checkpoint", Some(json!({}))),
            ("alert", Some(alert("high", "token_reused"))),
            ("alert", Some(alert("medium", "budget"))),
            ("alert", Some(seen)),
            ("alert", None),
            ("webhook", Some(json!({}))),
        ] {
            meters.stored(kind, body.as_ref());
        }
        meters.retrieved("session", true);
        meters.retrieved("session", false);
        meters.retrieved("webhook", true);
        meters.token(TokenEvent::Reused);
        let kept = |stored, retrieved, failed| Kept { stored, retrieved, failed };
        assert_eq!(
            meters.kept().map(|it| it.1),
            [kept(0, 0, 0), kept(2, 0, 0), kept(0, 0, 0), kept(0, 1, 1)]
        );
        assert_eq!(meters.alerts(), [("critical", 0), ("high", 1), ("medium", 1)]);
        assert_eq!((meters.budget_warnings(), meters.checkpoints()), (1, 1));
        assert_eq!(meters.tokens().map(|it| it.1), [0, 0, 0, 0, 1]);
    }
}
