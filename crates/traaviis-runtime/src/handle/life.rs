//! The life of a runtime: upkeep, what is forgotten, and a gentle end.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering, mpsc::channel},
    time::{Duration, Instant},
};

use traaviis_model::{InstanceId, TenantCtx, Timestamp};
use traaviis_ports::{Clock, Compacted, Position};

use super::Handle;
use crate::{
    error::Error,
    owner::{HotStats, Message},
    runtime::Signal,
    upkeep::{Pace, Upkept, When},
};

/// Longest time that a shutdown waits for running calls.
pub const DRAIN_MAX: Duration = Duration::from_secs(5);

/// How hard upkeep works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// So that it never competes with other work.
    Gentle,
    /// As fast as it goes.
    Full,
}

impl Handle {
    /// Returns the time of the process: it follows the wall clock forward and never goes back.
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.inner.shared.ports.clock)
    }

    /// Writes a checkpoint and returns its position.
    pub fn checkpoint(&self) -> Result<Position, Error> {
        self.inner.checkpoint()
    }

    /// Says how many states of open instances are in memory, and how large they are.
    pub fn memory(&self) -> Result<HotStats, Error> {
        self.inner.memory()
    }

    /// Says since when the oldest work of a tenant waits that could be done now: a timer that is
    /// due, or a call for which no slot is free. None when nothing waits.
    pub fn oldest_work(&self, ctx: &TenantCtx) -> Result<Option<Timestamp>, Error> {
        self.inner.oldest_work(ctx)
    }

    /// Archives what is due, compacts the log, and deletes archive files that are due for that, as
    /// the runtime does by itself now and then. `tell` hears of every segment.
    pub fn upkeep(&self, effort: Effort, tell: &mut dyn FnMut(Compacted)) -> Result<Upkept, Error> {
        let pace = match effort {
            Effort::Gentle => &Pace::SLOW,
            Effort::Full => &Pace::FAST,
        };
        self.inner.upkeep(When::Now, pace, tell)
    }

    /// Keeps nothing of a tenant any more; what has ended of it is dropped by upkeep, as it comes
    /// by. A process that begins anew must be told again.
    pub fn forget(&self, ctx: &TenantCtx) {
        self.inner.forget(ctx);
    }

    /// Keeps nothing of an instance any more that has ended; upkeep drops its records and its file
    /// in the archive, as it comes by. A process that begins anew must be told again.
    pub fn discard(&self, ctx: &TenantCtx, id: InstanceId) {
        self.inner.definitions.discard(ctx, id);
    }

    /// Says whether upkeep is still to drop an instance.
    pub fn is_discarded(&self, ctx: &TenantCtx, id: InstanceId) -> bool {
        self.inner.definitions.is_discarded(ctx.tenant(), id)
    }

    /// Says whether the log failed; nothing is taken any more.
    pub fn is_dead(&self) -> bool {
        self.inner.shared.dead.load(Ordering::SeqCst)
    }

    /// Lets the shards look at the clock; for clocks that are moved by hand.
    pub fn wake(&self) {
        for shard in &self.inner.shards {
            // A shard that has ended has no timers.
            let _ = shard.signals.send(Signal::Wake);
        }
    }

    /// Takes nothing new, waits for running steps and calls at most `drain`, writes a checkpoint
    /// and ends the threads. Calls that still run are unknown to the next start.
    pub fn shutdown(self, drain: Duration) -> Result<(), Error> {
        self.inner.ending.store(true, Ordering::SeqCst);
        // Upkeep writes beside the log, which may be let go of when this returns.
        drop(self.inner.upkeep.lock().unwrap_or_else(PoisonError::into_inner));
        let (sender, receiver) = channel();
        for shard in &self.inner.shards {
            let sender = sender.clone();
            let reply = Box::new(move || {
                // The wait may have run out.
                let _ = sender.send(());
            });
            let message = Message::Drain(reply);
            // A shard that has ended is drained.
            let _ = shard.signals.send(Signal::Message(message, None));
        }
        drop(sender);
        let end = Instant::now() + drain.min(DRAIN_MAX);
        for _ in &self.inner.shards {
            let rest = end.saturating_duration_since(Instant::now());
            if receiver.recv_timeout(rest).is_err() {
                break;
            }
        }
        let written = match self.is_dead() {
            true => Ok(()),
            false => self.checkpoint().map(|_| ()),
        };
        if let Some(tree) = self.inner.tree.get().filter(|_| !self.is_dead()) {
            tree.finish();
        }
        for shard in &self.inner.shards {
            // It may have ended before.
            let _ = shard.signals.send(Signal::Stop);
        }
        self.inner.shared.watchers.end();
        if let Some(feeder) = self.inner.feeder() {
            feeder.end();
        }
        written
    }
}
