//! Who follows which instance: requests that wait for what comes, and streams.
//!
//! Every step of every tenant passes [`Followers::step`] on a thread of the engine, before whoever
//! caused it is answered. A follower that does not keep up is let go of, seen as the end of its
//! queue; it looks at the instance again and follows anew, so nobody waits for it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use tokio::sync::mpsc;
use traaviis_model::{InstanceId, TenantId};
use traaviis_platform::engine::Committed;

/// Steps that wait for one follower; whoever is further behind reads the log, which is as quick.
const QUEUE_MAX: usize = 64;

type Key = (TenantId, InstanceId);

/// One follower: its number and its queue.
type Follower = (u64, mpsc::Sender<Arc<Committed>>);

/// Everybody who follows an instance.
#[derive(Debug, Default)]
pub(crate) struct Followers {
    by_instance: Mutex<HashMap<Key, Vec<Follower>>>,
    /// Instances that are followed: most steps are of none.
    count: AtomicUsize,
    last: AtomicU64,
}

/// The reading end; ends when its reader is too slow.
#[derive(Debug)]
pub(crate) struct Following {
    followers: Arc<Followers>,
    key: Key,
    number: u64,
    steps: mpsc::Receiver<Arc<Committed>>,
}

impl Following {
    /// Returns the next step; none when some were missed.
    pub async fn next(&mut self) -> Option<Arc<Committed>> {
        self.steps.recv().await
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.followers.leave(self.key, self.number);
    }
}

impl Followers {
    /// Follows an instance from now on.
    pub fn follow(self: &Arc<Followers>, tenant: TenantId, id: InstanceId) -> Following {
        let (sender, steps) = mpsc::channel(QUEUE_MAX);
        let number = self.last.fetch_add(1, Ordering::SeqCst);
        let key = (tenant, id);
        let mut all = self.all();
        all.entry(key).or_default().push((number, sender));
        self.count.store(all.len(), Ordering::SeqCst);
        drop(all);
        Following { followers: Arc::clone(self), key, number, steps }
    }

    /// Tells whoever follows the instance of a durable step.
    pub fn step(&self, committed: &Arc<Committed>) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let key = (committed.snapshot.tenant_id, committed.snapshot.id);
        let mut all = self.all();
        let Some(followers) = all.get_mut(&key) else { return };
        followers.retain(|(_, queue)| queue.try_send(Arc::clone(committed)).is_ok());
        if followers.is_empty() {
            all.remove(&key);
            self.count.store(all.len(), Ordering::SeqCst);
        }
    }

    fn leave(&self, key: Key, number: u64) {
        let mut all = self.all();
        let Some(followers) = all.get_mut(&key) else { return };
        followers.retain(|it| it.0 != number);
        if followers.is_empty() {
            all.remove(&key);
            self.count.store(all.len(), Ordering::SeqCst);
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Key, Vec<Follower>>> {
        self.by_instance.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
