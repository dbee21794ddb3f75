//! What is counted as it happens, since no record tells of it: requests, open sockets, bytes that
//! are sent. It is put among the counts at least once a minute, so a kill forgets a minute at most.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use traaviis_model::{TenantId, Timestamp};

use super::{Counts, lock};

/// What is counted as it happens.
#[derive(Debug, Default)]
pub(super) struct Live {
    pub(super) calls: Sums,
    pub(super) egress: Sums,
    pub(super) sockets: Arc<Sockets>,
}

impl Live {
    /// Returns what was counted since this was called last.
    pub(super) fn take(&self, now: Timestamp) -> Vec<(TenantId, Counts)> {
        let calls = self.calls.take().into_iter();
        let calls = calls.map(|(it, sum)| (it, Counts { api_calls: sum, ..Counts::default() }));
        let sent = self.egress.take().into_iter();
        let sent = sent.map(|(it, sum)| (it, Counts { egress_bytes: sum, ..Counts::default() }));
        let sockets = self.sockets.take(now).into_iter();
        let sockets = sockets.map(|(it, sum)| (it, Counts { socket_us: sum, ..Counts::default() }));
        calls.chain(sent).chain(sockets).collect()
    }
}

/// A sum of each tenant; whoever adds to one shares the lock with all others who do.
#[derive(Debug, Default)]
pub(super) struct Sums {
    of: RwLock<HashMap<TenantId, AtomicU64>>,
}

impl Sums {
    pub(super) fn add(&self, tenant: TenantId, more: u64) {
        let of = self.of.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(sum) = of.get(&tenant) {
            sum.fetch_add(more, Ordering::Relaxed);
            return;
        }
        drop(of);
        let mut of = self.of.write().unwrap_or_else(PoisonError::into_inner);
        *of.entry(tenant).or_default().get_mut() += more;
    }

    fn take(&self) -> Vec<(TenantId, u64)> {
        let of = self.of.read().unwrap_or_else(PoisonError::into_inner);
        let taken = of.iter().map(|(tenant, it)| (*tenant, it.swap(0, Ordering::Relaxed)));
        taken.filter(|it| it.1 > 0).collect()
    }
}

/// Sockets of each tenant, and how long they were open.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    of: Mutex<HashMap<TenantId, Since>>,
}

#[derive(Debug, Default)]
struct Since {
    open: u64,
    /// Up to when it is counted.
    at: Timestamp,
    us: u64,
}

impl Since {
    fn count(&mut self, now: Timestamp) {
        let us = u64::try_from(now.0 - self.at.0).unwrap_or(0);
        self.us = self.us.saturating_add(us.saturating_mul(self.open));
        self.at = now;
    }
}

impl Sockets {
    pub(super) fn open(self: &Arc<Self>, tenant: TenantId, now: Timestamp) {
        let mut of = lock(&self.of);
        let it = of.entry(tenant).or_default();
        it.count(now);
        it.open += 1;
    }

    pub(super) fn close(&self, tenant: TenantId, now: Timestamp) {
        if let Some(it) = lock(&self.of).get_mut(&tenant) {
            it.count(now);
            it.open = it.open.saturating_sub(1);
        }
    }

    fn take(&self, now: Timestamp) -> Vec<(TenantId, u64)> {
        let mut of = lock(&self.of);
        let taken = of.iter_mut().map(|(tenant, it)| {
            it.count(now);
            (*tenant, std::mem::take(&mut it.us))
        });
        let taken: Vec<_> = taken.filter(|it| it.1 > 0).collect();
        of.retain(|_, it| it.open > 0);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_of_sockets_is_counted_once_however_often_it_is_taken() {
        let tenant = TenantId(uuid::Uuid::from_u128(7));
        let at = |second: i64| Timestamp(second * 1_000_000);
        let live = Live::default();
        live.sockets.open(tenant, at(100));
        live.sockets.open(tenant, at(110));
        let mut seconds = 0;
        for (now, sum) in [(120, 30), (120, 30), (130, 50)] {
            let taken = live.take(at(now));
            seconds += taken.iter().map(|it| it.1.socket_us / 1_000_000).sum::<u64>();
            assert_eq!(seconds, sum, "{now}");
        }
        live.sockets.close(tenant, at(140));
        live.sockets.close(tenant, at(145));
        live.sockets.close(tenant, at(150));
        let taken = live.take(at(200));
        assert_eq!(taken.iter().map(|it| it.1.socket_us).sum::<u64>(), 25_000_000);
        assert!(live.take(at(300)).is_empty());
        live.calls.add(tenant, 1);
        live.egress.add(tenant, 512);
        let taken = live.take(at(300));
        assert_eq!(taken.len(), 2);
        assert_eq!((taken[0].1.api_calls, taken[1].1.egress_bytes), (1, 512));
    }
}
