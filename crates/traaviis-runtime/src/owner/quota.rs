//! What one tenant may have and ask for: open instances, and events of callers in a second.
//!
//! Shared by all shards of a process. Over a quota a caller is refused and nothing waits; events
//! that instances send each other are paced by their steps, and are not counted here.
//!
//! Invariant: an instance is counted from before its first record is offered to the log until it
//! has ended, so however many start at once, never more are open than the quota allows. What
//! recovery finds open is counted and never refused.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
};

use traaviis_model::{TenantId, Timestamp, Value, limits::EVENTS_BURST_SECONDS};

use super::{
    Command, Key, Origin, Owner, SeededHasher,
    pace::{SECOND, rested_after},
};
use crate::error::Error;

/// What all tenants of a process have.
#[derive(Debug, Default)]
pub struct Quotas(Mutex<HashMap<TenantId, Arc<Quota>, SeededHasher>>);

impl Quotas {
    /// Returns what a tenant has.
    pub(super) fn of(&self, tenant: TenantId) -> Arc<Quota> {
        // No code panics while it holds the lock; a poisoned one is still whole.
        let mut tenants = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(tenants.entry(tenant).or_default())
    }
}

/// What a tenant has.
#[derive(Debug)]
pub(super) struct Quota {
    open: AtomicUsize,
    /// When all of its events will have been earned back.
    rested_at: AtomicI64,
}

impl Default for Quota {
    fn default() -> Quota {
        Quota { open: AtomicUsize::new(0), rested_at: AtomicI64::new(i64::MIN) }
    }
}

impl Quota {
    /// Counts one more open instance, unless there are `most`.
    fn open(&self, most: Option<usize>) -> bool {
        let more = |it: usize| most.is_none_or(|most| it < most).then_some(it + 1);
        self.open.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok()
    }

    /// Counts an instance that recovery found open.
    pub(super) fn found(&self) {
        self.open.fetch_add(1, Ordering::SeqCst);
    }

    /// Counts one less.
    pub(super) fn close(&self) {
        let less = |it: usize| it.checked_sub(1);
        let closed = self.open.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        debug_assert!(closed.is_ok(), "what is closed was counted");
    }

    /// Counts an event, or returns when the next one may come.
    fn event(&self, now: Timestamp, per_second: u32) -> Result<(), Timestamp> {
        let burst = SECOND * i64::from(EVENTS_BURST_SECONDS);
        let after = |rested_at: i64| rested_after(rested_at, now, per_second);
        let take = |it: i64| (after(it) - burst <= now.0).then(|| after(it));
        let taken = self.rested_at.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take);
        taken.map(drop).map_err(|it| Timestamp(after(it) - burst))
    }
}

impl Owner {
    /// Counts an instance that is about to begin or to go on, or says why there can be no more.
    pub(super) fn admit(&mut self, key: Key) -> Result<(), Error> {
        let most = self.settings.open_max;
        let Some(tenant) = self.tenants.get(&key.tenant) else { return Ok(()) };
        match (tenant.quota.open(most), most) {
            (false, Some(most)) => {
                let message = format!(
                    "tenant `{}` has {most} open instances; end some, or wait until some have ended",
                    key.tenant
                );
                let details = Value::map([
                    ("quota", Value::from("open_instances")),
                    ("limit", Value::Int(i64::try_from(most).unwrap_or(i64::MAX))),
                ]);
                Err(Error::rejected("quota_exceeded", message, details))
            }
            _ => Ok(()),
        }
    }

    /// Counts an instance no more.
    pub(super) fn dismiss(&self, key: Key) {
        if let Some(tenant) = self.tenants.get(&key.tenant) {
            tenant.quota.close();
        }
    }

    /// Counts an event of a caller, or says why it comes too soon.
    pub(super) fn admit_event(
        &self,
        key: Key,
        command: &Command,
        origin: &Origin,
        now: Timestamp,
    ) -> Result<(), Error> {
        let (Some(per_second), true, Origin::Caller(..)) =
            (self.settings.events_per_second, command.is_event(), origin)
        else {
            return Ok(());
        };
        let Some(tenant) = self.tenants.get(&key.tenant) else { return Ok(()) };
        tenant.quota.event(now, per_second).map_err(|until| {
            let message = format!(
                "tenant `{}` sends more than {per_second} events in a second; send slower",
                key.tenant
            );
            let wait = Value::Int(until.since(now).as_millis().max(1));
            Error::rejected("rate_limited", message, Value::map([("retry_after_ms", wait)]))
        })
    }
}

impl Command {
    /// Says whether it sends an event.
    fn is_event(&self) -> bool {
        match self {
            Command::Event { .. } => true,
            Command::If { command, .. } => command.is_event(),
            Command::Cancel { .. } | Command::Resolve { .. } | Command::Operate(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_has_a_burst_of_events_and_then_its_rate() {
        let quota = Quota::default();
        let now = Timestamp(7 * SECOND);
        let taken = (0..10_000).filter(|_| quota.event(now, 100).is_ok()).count();
        assert_eq!(taken, 400, "four seconds of its rate");
        assert_eq!(quota.event(now, 100), Err(Timestamp(now.0 + 10_000)));
        let now = Timestamp(now.0 + 10_000);
        assert_eq!((quota.event(now, 100), quota.event(now, 100).is_ok()), (Ok(()), false));
        let now = Timestamp(now.0 + 60 * SECOND);
        let taken = (0..10_000).filter(|_| quota.event(now, 100).is_ok()).count();
        assert_eq!(taken, 400, "rest is not saved up beyond the burst");
    }

    #[test]
    fn never_more_are_open_than_allowed() {
        let quota = Quota::default();
        assert!(quota.open(Some(2)) && quota.open(Some(2)) && !quota.open(Some(2)));
        quota.close();
        assert!(quota.open(Some(2)) && !quota.open(Some(2)));
        quota.found();
        quota.close();
        assert!(!quota.open(Some(2)), "what recovery finds is counted all the same");
        assert!(quota.open(None));
    }
}
