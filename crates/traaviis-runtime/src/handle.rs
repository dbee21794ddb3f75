//! What callers hold of a running runtime. Cheap to clone; every call names a tenant.
//!
//! Each use case comes twice: one that takes a reply function and returns at once, and one that
//! waits. Reply functions run on a shard's thread and must be short.
//!
//! The runtime stops when the last handle is gone; [`Handle::shutdown`] stops it gently.

mod asking;
mod commanding;
mod inner;
mod life;
mod saving;

use std::{
    fmt,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    time::Duration,
};

use traaviis_model::{InstanceId, Snapshot, TenantCtx, TenantId};
use traaviis_ports::{IndexError, Position};

pub use crate::owner::Accepted;
use crate::{
    correlation::Correlations,
    error::Error,
    inbox::Place,
    index::Feeder,
    owner::{Found, Key, Message, Reply, Stored},
    runtime::{Shard, Shared},
    tree::Follower,
    upkeep::Upkeep,
};
pub use commanding::Given;
pub use life::{DRAIN_MAX, Effort};

/// Longest time that a blocking call waits for a shard; longer means that the disk stands still.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(60);

/// What a start gave.
#[derive(Clone, Debug)]
pub struct Started {
    /// The instance.
    pub id: InstanceId,
    /// It was there before; nothing happened now.
    pub existing: bool,
    /// State after its first step, or as it is when it was there before.
    pub snapshot: Arc<Snapshot>,
}

/// Handle of a running runtime.
#[derive(Clone)]
pub struct Handle {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    shards: Vec<Shard>,
    pub(crate) shared: Arc<Shared>,
    correlations: Arc<Correlations>,
    forgets: Arc<AtomicBool>,
    pub(crate) definitions: Arc<Stored>,
    pub(crate) upkeep: Mutex<Upkeep>,
    /// Nothing new is begun any more.
    ending: AtomicBool,
    /// End the threads that look after the log and the clock, with the handle.
    _ends: Vec<Sender<()>>,
    /// One checkpoint at a time; the positions of the last two.
    checkpointing: Mutex<[Position; 2]>,
    /// Set once it is followed.
    tree: OnceLock<Arc<Follower>>,
}

impl Handle {
    pub(crate) fn new(inner: Arc<Inner>) -> Handle {
        Handle { inner }
    }

    fn feeder(&self) -> Result<&Feeder, IndexError> {
        self.inner.feeder().ok_or_else(|| IndexError::Failed("there is none".into()))
    }

    fn send_message(&self, ctx: &TenantCtx, id: InstanceId, message: Message) {
        let key = Key { tenant: ctx.tenant(), id };
        self.send_to(ctx, self.inner.shard(&key), message);
    }

    /// Sends for a caller who keeps no thread for the wait, together with what others send.
    fn lay_message(&self, ctx: &TenantCtx, id: InstanceId, message: Message) {
        let shard = self.inner.shard(&Key { tenant: ctx.tenant(), id });
        if let Some((message, place)) = self.admitted(ctx, shard, message) {
            shard.mail.lay(message, place, refuse_at_end);
        }
    }

    /// Sends for a caller, who holds a place in the queue until the shard takes the message.
    fn send_to(&self, ctx: &TenantCtx, shard: &Shard, message: Message) {
        if let Some((message, place)) = self.admitted(ctx, shard, message) {
            shard.mail.send(message, place, refuse_at_end);
        }
    }

    /// Gives a message a place in the queue of a shard, or refuses it.
    fn admitted(
        &self,
        ctx: &TenantCtx,
        shard: &Shard,
        message: Message,
    ) -> Option<(Message, (TenantId, Place))> {
        let tenant = ctx.tenant();
        let refused = |message, error| {
            refuse(message, error);
            None
        };
        let Some(place) = shard.places.take(tenant) else { return refused(message, Error::Busy) };
        let message = match self.inner.shown() {
            Some(tree) => match tree.refuses(&message) {
                Some(error) => return refused(message, error),
                None => tree.held(message),
            },
            None => message,
        };
        Some((message, (tenant, place)))
    }

    /// Asks the owner of an instance for it.
    fn find(&self, ctx: &TenantCtx, id: InstanceId) -> Result<Found, Error> {
        wait(|reply| self.send_message(ctx, id, Message::Find { ctx: ctx.clone(), id, reply }))
    }

    /// Returns the state of an instance by what its owner says.
    fn state_of(
        &self,
        ctx: &TenantCtx,
        id: InstanceId,
        found: Result<Found, Error>,
    ) -> Result<Option<Arc<Snapshot>>, Error> {
        match found {
            Ok(found) => self.whole(ctx, found).map(Some),
            Err(Error::NotFound { .. }) if self.inner.forgets.load(Ordering::SeqCst) => {
                match self.inner.shared.past.ended(ctx, id, 0) {
                    // It may have been started since the owner was asked.
                    Err(Error::Damaged { .. }) => match self.find(ctx, id) {
                        Err(Error::NotFound { .. }) => self.inner.shared.past.ended(ctx, id, 0),
                        found => self.whole(ctx, found?).map(Some),
                    },
                    told => told,
                }
            }
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the whole state of an instance that an owner knows.
    fn whole(&self, ctx: &TenantCtx, found: Found) -> Result<Arc<Snapshot>, Error> {
        match found {
            Found::Open(snapshot) => Ok(snapshot),
            Found::Ended(summary) => {
                let (id, known) = (summary.id, summary.seq);
                self.inner.shared.past.ended(ctx, id, known)?.ok_or(Error::NotFound { id })
            }
        }
    }

    /// Says whether the log holds an instance that memory may have forgotten.
    fn is_forgotten(&self, ctx: &TenantCtx, id: InstanceId) -> bool {
        matches!(self.find(ctx, id), Err(Error::NotFound { .. }))
            && self.inner.shared.past.has(ctx, id)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("shards", &self.inner.shards.len()).finish_non_exhaustive()
    }
}

/// Tells a caller that the shard has ended.
fn refuse_at_end(message: Message) {
    refuse(message, Error::Stopping);
}

/// Answers a message that no shard takes.
fn refuse(message: Message, error: Error) {
    match message {
        Message::Start(start) => (start.reply)(Err(error)),
        Message::Upgrade(upgrade) => (upgrade.reply)(Err(error)),
        Message::Reopen(reopen) => (reopen.reply)(Err(error)),
        Message::Command { reply, .. } => reply(Err(error)),
        Message::Find { reply, .. } => reply(Err(error)),
        // The reply is dropped, which its receiver sees.
        Message::List { .. }
        | Message::Deliver { .. }
        | Message::Emission { .. }
        | Message::Heard { .. }
        | Message::Invoke(_)
        | Message::Settle { .. }
        | Message::Outcome { .. }
        | Message::Yield { .. }
        | Message::Attend { .. }
        | Message::Ended { .. }
        | Message::Committed(_)
        | Message::ClockJumped { .. }
        | Message::Retire { .. }
        | Message::Retired { .. }
        | Message::Collect(_)
        | Message::Saved(_)
        | Message::Memory(_)
        | Message::OldestWork { .. }
        | Message::Drain(_) => {}
    }
}

/// Calls with a reply function and waits for the reply.
fn wait<T: Send + 'static>(call: impl FnOnce(Reply<T>)) -> Result<T, Error> {
    let (sender, receiver) = channel::<Result<T, Error>>();
    call(into_reply(sender));
    receiver.recv_timeout(ANSWER_MAX).map_err(waited)?
}

fn into_reply<T: Send + 'static>(sender: Sender<Result<T, Error>>) -> Reply<T> {
    Box::new(move |answer| {
        // Whoever asked may have given up.
        let _ = sender.send(answer);
    })
}

fn waited(error: RecvTimeoutError) -> Error {
    match error {
        RecvTimeoutError::Timeout => Error::TimedOut,
        RecvTimeoutError::Disconnected => Error::Stopping,
    }
}
