//! Refused targets in the audit trail: who wanted to reach what this installation does not reach.
//!
//! A call, a webhook or an issuer that leads to an address outside the egress policy is refused
//! where it is made; here it is noted in the trail of its tenant. The first refusal of a target is
//! entered at once, by the thread that keeps the trails up, and those that follow within [`WINDOW`]
//! are counted in one entry.
//!
//! Invariants: noting waits for nothing, so the threads that make calls may do it; a tenant gets at
//! most two entries a [`WINDOW`] for each of [`TARGETS_MAX`] targets, and two for all others
//! together. Counts that are not entered yet are forgotten by a crash.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde_json::{Value as Json, json};
use traaviis_model::{Span, TenantCtx, TenantId, Text, Timestamp};

use crate::{
    audit::Act,
    platform::{Platform, engine},
};

/// Refusals of one target within this are one entry, beside the first.
pub const WINDOW: Span = Span::secs(60);
/// Targets of a tenant that are told apart within a [`WINDOW`]: more are a search, of which the
/// number says enough.
pub const TARGETS_MAX: usize = 20;
/// Targets that are told apart at once, of all tenants; each takes about 500 bytes.
const COUNTED_MAX: usize = 10_000;
/// Characters of a target: names of hosts have no more.
const TARGET_CHARS_MAX: usize = 253;
/// Stands for all targets that are not told apart.
const OTHERS: &str = "others";
/// What is entered.
const ACTION: &str = "egress.refused";

/// A target that was refused.
#[derive(Clone, Debug)]
pub struct RefusedTarget<'a> {
    /// Whose call it was.
    pub tenant: TenantId,
    /// Host, or what stands in its place.
    pub target: &'a str,
    /// What wanted to reach it.
    pub by: Json,
    /// When.
    pub at: Timestamp,
}

/// Refusals of one target since the first.
#[derive(Debug)]
struct Counted {
    since: Timestamp,
    /// Those that have no entry yet.
    left: u64,
    /// The first has one.
    is_told: bool,
    /// What wanted to reach it first.
    by: Json,
}

/// An entry that is due.
struct Due {
    key: (TenantId, Text),
    count: u64,
    facts: Json,
    is_over: bool,
}

/// Refusals that are being counted.
#[derive(Debug, Default)]
pub(crate) struct Egress {
    counted: Mutex<HashMap<(TenantId, Text), Counted>>,
}

impl Egress {
    /// Notes that a target was refused; waits for nothing.
    pub fn note(&self, refused: RefusedTarget<'_>) {
        let RefusedTarget { tenant, target, by, at } = refused;
        let target: String = target.chars().take(TARGET_CHARS_MAX).collect();
        let mut counted = self.counted();
        let mut key = (tenant, Text::from(target));
        if !counted.contains_key(&key) {
            let of_tenant = counted.keys().filter(|it| it.0 == tenant).count();
            if of_tenant >= TARGETS_MAX || counted.len() >= COUNTED_MAX {
                key = (tenant, OTHERS.into());
            }
        }
        let fresh = Counted { since: at, left: 0, is_told: false, by };
        counted.entry(key).or_insert(fresh).left += 1;
    }

    /// Returns what is to be entered now.
    fn due(&self, now: Timestamp, is_end: bool) -> Vec<Due> {
        let mut counted = self.counted();
        // What has nothing left to tell is over.
        let is_over = |it: &Counted| is_end || now.since(it.since) >= WINDOW;
        counted.retain(|_, it| it.left > 0 || !is_over(it));
        let due = counted.iter().filter(|(_, it)| it.left > 0 && (!it.is_told || is_over(it)));
        let due = due.map(|(key, it)| {
            let (count, is_over) = (if it.is_told { it.left } else { 1 }, is_over(it));
            let facts = match it.is_told {
                false => it.by.clone(),
                true => json!({ "count": count, "since": it.since }),
            };
            Due { key: key.clone(), count, facts, is_over }
        });
        due.collect()
    }

    /// Takes off what was entered.
    fn entered(&self, due: &Due) {
        let mut counted = self.counted();
        let Some(it) = counted.get_mut(&due.key) else { return };
        it.left = it.left.saturating_sub(due.count);
        if it.is_told && due.is_over && it.left == 0 {
            counted.remove(&due.key);
            return;
        }
        it.is_told = true;
    }

    fn counted(&self) -> MutexGuard<'_, HashMap<(TenantId, Text), Counted>> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Platform {
    /// Notes in the trail of a tenant that a target was refused; waits for nothing.
    pub fn note_refused_target(&self, refused: RefusedTarget<'_>) {
        self.auditing.egress.note(refused);
    }

    /// Enters the refusals that are due; all of them when the process ends. What cannot be entered
    /// now is tried at the next turn.
    pub(crate) fn enter_refused_targets(&self, is_end: bool) {
        loop {
            let due = self.auditing.egress.due(self.now(), is_end);
            for it in &due {
                let (tenant, target) = &it.key;
                let act = Act::done(ACTION, "target", target.clone()).denied();
                let act = act.with(it.facts.clone());
                let ctx = TenantCtx::keeper_of(*tenant);
                let entered = self.ledgers.change(&ctx, &engine(), |_, changes| {
                    changes.act(act);
                    Ok(())
                });
                if entered.is_err() {
                    return;
                }
                self.auditing.egress.entered(it);
            }
            // At the end the first of a target and the rest of it are entered one after the other.
            if due.is_empty() || !is_end {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp(second * 1_000_000)
    }

    fn note(egress: &Egress, tenant: u128, target: &str, second: i64) {
        let tenant = TenantId(Uuid::from_u128(tenant));
        egress.note(RefusedTarget {
            tenant,
            target,
            by: json!({ "by": "effect" }),
            at: at(second),
        });
    }

    /// Enters what is due; returns targets and counts, in order.
    fn enter(egress: &Egress, second: i64, is_end: bool) -> Vec<(u128, String, u64)> {
        let mut all = Vec::new();
        loop {
            let due = egress.due(at(second), is_end);
            for it in &due {
                egress.entered(it);
                all.push((it.key.0.0.as_u128(), it.key.1.to_string(), it.count));
            }
            if due.is_empty() || !is_end {
                all.sort();
                return all;
            }
        }
    }

    #[test]
    fn the_first_of_a_target_is_entered_and_the_rest_of_a_minute_is_counted() {
        let egress = Egress::default();
        let one = |target: &str, count| (1, target.to_string(), count);
        (0..1_000).for_each(|_| note(&egress, 1, "a", 0));
        note(&egress, 1, "b", 30);
        assert_eq!(enter(&egress, 30, false), [one("a", 1), one("b", 1)]);
        assert_eq!(enter(&egress, 59, false), []);
        assert_eq!(enter(&egress, 60, false), [one("a", 999)]);
        note(&egress, 1, "a", 61);
        assert_eq!(enter(&egress, 61, false), [one("a", 1)], "another minute");
        assert_eq!(enter(&egress, 200, false), []);
        assert!(egress.counted().is_empty(), "nothing is left of what is over");
        (0..3).for_each(|_| note(&egress, 1, "a", 300));
        assert_eq!(enter(&egress, 300, true), [one("a", 1), one("a", 2)]);
        assert!(egress.counted().is_empty());
    }

    #[test]
    fn who_searches_gets_so_many_entries_and_no_more_and_others_are_told_apart_still() {
        let egress = Egress::default();
        for number in 0..10_000 {
            note(&egress, 1, &format!("10.0.{}.{}", number / 256, number % 256), 0);
        }
        note(&egress, 2, "b", 0);
        let first = enter(&egress, 0, false);
        assert_eq!(first.len(), TARGETS_MAX + 2, "{first:?}");
        assert!(first.contains(&(2, "b".into(), 1)));
        let rest = enter(&egress, 60, false);
        assert_eq!(rest, [(1, OTHERS.into(), 10_000 - TARGETS_MAX as u64 - 1)]);
    }
}
