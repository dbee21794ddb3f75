//! Checkpoints, and the states of open instances put into the snapshot store.

use std::sync::{PoisonError, atomic::Ordering, mpsc::channel};

use traaviis_ports::{Completion, IndexError, LogError, Position};

use super::{ANSWER_MAX, Inner, waited};
use crate::{
    checkpoint::{self, Instances},
    error::Error,
    owner::{Collected, Key, Message},
    runtime::{Signal, shard_of},
    snapshots,
};

impl Inner {
    /// Writes a checkpoint and returns its position.
    ///
    /// The position is read first: the log tells outcomes before it moves its tail, so everything
    /// before the position is in a shard's queue ahead of the question.
    pub(crate) fn checkpoint(&self) -> Result<Position, Error> {
        let mut last = self.checkpointing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.shared.dead.load(Ordering::SeqCst) {
            return Err(Error::Stopping);
        }
        self.shared.bytes.store(0, Ordering::SeqCst);
        let log = &self.shared.ports.log;
        let position = log.tail();
        let collected = self.collect()?;
        let completion = Completion { position, forget: last[0] };
        let instances = self.put_states(&collected, Some(completion))?;
        let body =
            checkpoint::write(&collected, self.forgets.load(Ordering::SeqCst), instances, &**log)?;
        log.put_checkpoint(position, &body)?;
        *last = [last[1], position];
        Ok(position)
    }

    /// Puts the states that changed into the snapshot store, so that memory can let go of them.
    pub(crate) fn save_states(&self) -> Result<(), Error> {
        let _one = self.checkpointing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.shared.snapshots.is_some() && !self.shared.dead.load(Ordering::SeqCst) {
            self.put_states(&self.collect()?, None)?;
        }
        Ok(())
    }

    /// Asks every shard what it holds.
    pub(super) fn collect(&self) -> Result<Vec<Collected>, Error> {
        let (sender, receiver) = channel();
        for shard in &self.shards {
            let message = Message::Collect(sender.clone());
            let sent = shard.signals.send(Signal::Message(message, None));
            sent.map_err(|_| Error::Stopping)?;
        }
        let mut collected = Vec::with_capacity(self.shards.len());
        for _ in &self.shards {
            collected.push(receiver.recv_timeout(ANSWER_MAX).map_err(waited)?);
        }
        Ok(collected)
    }

    /// Puts what was collected into the snapshot store, if there is one, and tells the shards.
    fn put_states(
        &self,
        collected: &[Collected],
        completion: Option<Completion>,
    ) -> Result<Instances, Error> {
        let Some(store) = &self.shared.snapshots else {
            return self.sync_index().map(|()| Instances::Inside);
        };
        // States must not outlive the records that they stand on.
        let log = &*self.shared.ports.log;
        let saved = log.sync().map_err(Error::Log);
        let saved = saved.and_then(|()| self.sync_index());
        let saved = saved.and_then(|()| snapshots::put(&**store, collected, completion, log));
        let (told, answer) = match saved {
            Ok(sizes) => (Some(sizes), Ok(Instances::Beside)),
            Err(error) => (None, Err(error)),
        };
        for (at, shard) in self.shards.iter().enumerate() {
            let mine = |(key, _): &&(Key, u32)| shard_of(key, self.shards.len()) == at;
            let sizes = told.as_ref().map(|all| all.iter().filter(mine).copied().collect());
            // A shard that has ended needs no answer.
            let _ = shard.signals.send(Signal::Message(Message::Saved(sizes), None));
        }
        answer
    }

    /// Brings the index to where a checkpoint will stand: what a checkpoint, or the snapshot store,
    /// leaves out of ended instances must be in the index before the next start begins there.
    fn sync_index(&self) -> Result<(), Error> {
        let Some(feeder) = self.feeder() else { return Ok(()) };
        match feeder.sync() {
            Err(IndexError::Full) => Err(Error::Log(LogError::Full)),
            // Given up: the next start makes it again, whatever the checkpoint.
            Ok(()) | Err(_) => Ok(()),
        }
    }
}
