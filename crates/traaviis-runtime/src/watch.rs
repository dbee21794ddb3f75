//! Live changes: bounded queues from the shards to whoever watches.
//!
//! A reader that does not keep up is dropped, seen as the end of its queue; it reads the state
//! again and subscribes anew. A watcher slows nobody down.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::Duration,
};

use traaviis_model::{InstanceId, TenantId};

use crate::{
    error::Error,
    limits::{WATCH_MAX, WATCHERS_MAX},
    owner::Committed,
};

/// The reading end of a watch; ends when the reader is too slow or the runtime stops.
#[derive(Debug)]
pub struct Watch {
    changes: Receiver<Arc<Committed>>,
    /// Dropped with the watch, which is how its place is found to be free.
    _alive: Arc<()>,
}

impl Watch {
    /// Returns the next change; none at the end.
    pub fn next(&self) -> Option<Arc<Committed>> {
        self.changes.recv().ok()
    }

    /// Returns the next change, waiting for it at most `timeout`.
    pub fn next_timeout(&self, timeout: Duration) -> Result<Arc<Committed>, RecvTimeoutError> {
        self.changes.recv_timeout(timeout)
    }

    /// Returns the next change if there is one now.
    pub fn try_next(&self) -> Option<Arc<Committed>> {
        self.changes.try_recv().ok()
    }
}

/// Told every step of every tenant once it is durable, on a shard's thread: it must be short, and
/// shows a step to nobody but its tenant.
pub type OnStep = Box<dyn Fn(&Arc<Committed>) + Send + Sync>;

/// Everyone who watches.
#[derive(Default)]
pub struct Watchers {
    count: AtomicUsize,
    watchers: Mutex<Vec<Watcher>>,
    on_step: OnceLock<OnStep>,
}

impl std::fmt::Debug for Watchers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watchers").field("count", &self.count).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Watcher {
    tenant: TenantId,
    id: Option<InstanceId>,
    sender: SyncSender<Arc<Committed>>,
    alive: Weak<()>,
}

impl Watchers {
    /// Adds a watcher of one instance, or of all instances of a tenant.
    pub fn add(&self, tenant: TenantId, id: Option<InstanceId>) -> Result<Watch, Error> {
        let (sender, changes) = sync_channel(WATCH_MAX);
        let alive = Arc::new(());
        let mut watchers = self.lock();
        watchers.retain(|it| it.alive.strong_count() > 0);
        if watchers.len() >= WATCHERS_MAX {
            return Err(Error::Busy);
        }
        watchers.push(Watcher { tenant, id, sender, alive: Arc::downgrade(&alive) });
        self.count.store(watchers.len(), Ordering::SeqCst);
        Ok(Watch { changes, _alive: alive })
    }

    /// Tells somebody every step from now on; whoever comes second is not told.
    pub fn listen(&self, on_step: OnStep) {
        // The first stays.
        let _ = self.on_step.set(on_step);
    }

    /// Tells everyone concerned; drops who is gone or too slow.
    pub fn publish(&self, committed: Committed) {
        let on_step = self.on_step.get();
        if self.count.load(Ordering::SeqCst) == 0 && on_step.is_none() {
            return;
        }
        let committed = Arc::new(committed);
        if let Some(on_step) = on_step {
            on_step(&committed);
        }
        let (tenant, id) = (committed.snapshot.tenant_id, committed.snapshot.id);
        let mut watchers = self.lock();
        watchers.retain(|it| {
            let concerned = it.tenant == tenant && it.id.is_none_or(|wanted| wanted == id);
            !concerned || it.sender.try_send(Arc::clone(&committed)).is_ok()
        });
        self.count.store(watchers.len(), Ordering::SeqCst);
    }

    /// Ends every watch.
    pub fn end(&self) {
        self.lock().clear();
        self.count.store(0, Ordering::SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Watcher>> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
