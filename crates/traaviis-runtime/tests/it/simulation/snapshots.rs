//! States that leave memory for the snapshot store, and checkpoints beside it.

use std::sync::{Arc, atomic::Ordering, mpsc::channel};

use traaviis_ports::{Completion, LogStore as _, Position, SnapshotError};
use traaviis_runtime::{
    checkpoint::{self, Instances},
    owner::{Collected, Key, Message},
    snapshots,
};

use super::{Sim, shard};

impl Sim<'_> {
    /// Collects what is dirty, or puts what was collected into the store, as it comes.
    pub(super) fn save_states(&mut self) {
        if self.snapshots.is_none() {
            return;
        }
        match self.collected.take() {
            None => self.collected = Some(self.collect()),
            Some(collected) => {
                self.put_states(&collected, None);
            }
        }
    }

    /// Returns what a checkpoint holds; none when the store would not take the states.
    pub(super) fn checkpoint_body(&mut self, position: Position) -> Option<Vec<u8>> {
        if let Some(collected) = self.collected.take() {
            self.put_states(&collected, None);
        }
        let collected = self.collect();
        let completion = Completion { position, forget: self.checkpoints[0] };
        if !self.put_states(&collected, Some(completion)) {
            return None;
        }
        let instances = match self.snapshots {
            Some(_) => Instances::Beside,
            None => Instances::Inside,
        };
        let forgets = self.forgets.load(Ordering::SeqCst);
        Some(checkpoint::write(&collected, forgets, instances, &*self.log).unwrap())
    }

    fn collect(&mut self) -> Vec<Collected> {
        let (sender, receiver) = channel();
        for (owner, outside) in &mut self.shards {
            owner.handle(Message::Collect(sender.clone()), self.now, outside);
        }
        drop(sender);
        receiver.iter().collect()
    }

    /// Says whether the store took the states; it has no space now and then.
    fn put_states(&mut self, collected: &[Collected], completion: Option<Completion>) -> bool {
        if let Some(index) = &mut self.index {
            index.sync(self.log.tail());
        }
        let Some(store) = self.snapshots.clone() else { return true };
        if !self.calm && self.rng.chance(1, 8) {
            store.fail(Some(SnapshotError::Full));
        }
        let sizes = snapshots::put(&*store, collected, completion, &*self.log).ok();
        store.fail(None);
        let count = self.shards.len();
        for (at, (owner, outside)) in self.shards.iter_mut().enumerate() {
            let is_mine = |(key, _): &&(Key, u32)| shard(key.id, count) == at;
            let sizes = sizes.as_ref().map(|all| all.iter().filter(is_mine).copied().collect());
            owner.handle(Message::Saved(sizes), self.now, outside);
            let stats = owner.hot_stats();
            self.facts.rested += stats.resting as u64;
        }
        self.trace.add([u8::from(sizes.is_some())]);
        sizes.is_some()
    }

    /// Now and then a process finds no states, as if somebody had removed them.
    pub(super) fn lose_states(&mut self) {
        if self.snapshots.is_some() && !self.calm && self.rng.chance(1, 16) {
            self.snapshots = Some(Arc::default());
            self.states_lost = true;
        }
    }
}
