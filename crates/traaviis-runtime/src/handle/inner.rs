//! What all handles of a runtime share: its shards, and what is asked of all of them.

use std::sync::{
    Arc, Mutex, OnceLock,
    atomic::{AtomicBool, Ordering},
    mpsc::{Receiver, Sender, channel},
};

use traaviis_model::{Span, TenantCtx, Timestamp};

use super::{ANSWER_MAX, Inner, waited};
use crate::{
    correlation::Correlations,
    error::Error,
    index::Feeder,
    owner::{HotStats, Key, Message, Stored},
    runtime::{Shard, Shared, Signal, shard_of},
    tree::{Follower, TreeOptions},
};

/// A shard that takes so long to answer a question has work that waits for it.
const BEHIND: Span = Span::secs(1);

impl Inner {
    pub(crate) fn new(
        shards: Vec<Shard>,
        shared: Arc<Shared>,
        correlations: Arc<Correlations>,
        forgets: Arc<AtomicBool>,
        definitions: Arc<Stored>,
        ends: Vec<Sender<()>>,
    ) -> Inner {
        Inner {
            shards,
            shared,
            correlations,
            forgets,
            definitions,
            upkeep: Mutex::default(),
            ending: AtomicBool::new(false),
            _ends: ends,
            checkpointing: Mutex::default(),
            tree: OnceLock::new(),
        }
    }

    /// Takes archived instances out of the document tree.
    pub(crate) fn leave_tree(&self, keys: &[Key]) -> Result<(), Error> {
        match self.tree.get() {
            Some(tree) if !keys.is_empty() => tree.forget(keys),
            _ => Ok(()),
        }
    }

    /// Feeds a document tree from now on.
    pub(crate) fn follow(self: &Arc<Inner>, options: TreeOptions) -> Result<(), Error> {
        let follower = Follower::new(options, Arc::clone(&self.shared.ports.log));
        follower.start(Arc::downgrade(self), &self.shared.on_fatal)?;
        if follower.holds_answers() {
            follower.wait_shown()?;
        }
        // Called once, before anybody has a handle.
        let _ = self.tree.set(follower);
        Ok(())
    }

    /// Returns the tree whose showing callers wait for, if they do.
    pub(super) fn shown(&self) -> Option<&Arc<Follower>> {
        self.tree.get().filter(|it| it.holds_answers())
    }

    /// Says whether upkeep must come to an end.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::SeqCst) || self.shared.dead.load(Ordering::SeqCst)
    }

    /// Sends each shard what concerns its instances; returns how many were sent something.
    pub(crate) fn tell_each<T: Clone>(
        &self,
        items: &[T],
        key: impl Fn(&T) -> Key,
        message: impl Fn(Vec<T>) -> Message,
    ) -> Result<usize, Error> {
        let mut parts: Vec<Vec<T>> = self.shards.iter().map(|_| Vec::new()).collect();
        for item in items {
            parts[shard_of(&key(item), self.shards.len())].push(item.clone());
        }
        let parts = self.shards.iter().zip(parts).filter(|(_, part)| !part.is_empty());
        let mut count = 0;
        for (shard, part) in parts {
            let sent = shard.signals.send(Signal::Message(message(part), None));
            sent.map_err(|_| Error::Stopping)?;
            count += 1;
        }
        Ok(count)
    }

    /// Waits for one answer of a shard.
    pub(crate) fn answer<T>(&self, answers: &Receiver<T>) -> Result<T, Error> {
        answers.recv_timeout(ANSWER_MAX).map_err(waited)
    }

    /// Returns all shards.
    pub(crate) fn shards(&self) -> &[Shard] {
        &self.shards
    }

    pub(super) fn shard(&self, key: &Key) -> &Shard {
        &self.shards[shard_of(key, self.shards.len())]
    }

    /// Says how much the shards hold in memory.
    pub(crate) fn memory(&self) -> Result<HotStats, Error> {
        let (sender, receiver) = channel();
        for shard in &self.shards {
            let sent = shard.signals.send(Signal::Message(Message::Memory(sender.clone()), None));
            sent.map_err(|_| Error::Stopping)?;
        }
        let mut all = HotStats::default();
        for _ in &self.shards {
            all = all.and(receiver.recv_timeout(ANSWER_MAX).map_err(waited)?);
        }
        Ok(all)
    }

    /// Says since when the oldest work of a tenant waits.
    pub(crate) fn oldest_work(&self, ctx: &TenantCtx) -> Result<Option<Timestamp>, Error> {
        let asked_at = self.shared.ports.clock.now();
        let (sender, receiver) = channel();
        for shard in &self.shards {
            let (tenant, reply) = (ctx.tenant(), sender.clone());
            let message = Message::OldestWork { tenant, reply };
            let sent = shard.signals.send(Signal::Message(message, None));
            sent.map_err(|_| Error::Stopping)?;
        }
        let mut oldest: Option<Timestamp> = None;
        for _ in &self.shards {
            let found = receiver.recv_timeout(ANSWER_MAX).map_err(waited)?;
            oldest = oldest.into_iter().chain(found).min();
        }
        // What a shard has not come to yet, it cannot tell of; the question has waited as long.
        let is_behind = self.shared.ports.clock.now().since(asked_at) >= BEHIND;
        Ok(oldest.into_iter().chain(is_behind.then_some(asked_at)).min())
    }

    pub(crate) fn feeder(&self) -> Option<&Feeder> {
        self.shared.feeder.as_deref()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(feeder) = self.feeder() {
            feeder.end();
        }
        if let Some(tree) = self.tree.get() {
            tree.end();
        }
        for shard in &self.shards {
            // It may have ended before.
            let _ = shard.signals.send(Signal::Stop);
        }
        self.shared.watchers.end();
    }
}
