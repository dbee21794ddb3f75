//! What callers who keep no thread for the wait ask of a shard, handed over together.
//!
//! To wake a thread costs as much as the little that one caller asks of it, and takes the
//! processor from whoever has more callers to hear. So such a message is laid down, and the shard
//! is called once the caller's thread has done what else it has to do; until then more are laid
//! beside it, and a shard that is awake takes them without being called.
//!
//! Invariant: for what lies here somebody is about to call the shard, or the shard is about to
//! look.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::Sender,
    },
};

use traaviis_model::TenantId;

use crate::{inbox::Place, owner::Message, runtime::Signal};

/// Runs something soon, on any thread, after what the calling thread is in the middle of.
pub type Later = Arc<dyn Fn(Box<dyn FnOnce() + Send>) + Send + Sync>;

/// A message of a caller with its place in the queue.
type Laid = (Message, (TenantId, Place));

/// What lies ready for a shard.
pub(crate) struct Mail {
    laid: Mutex<Vec<Laid>>,
    is_called: AtomicBool,
    signals: Sender<Signal>,
    later: Option<Later>,
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mail").field("is_called", &self.is_called).finish_non_exhaustive()
    }
}

impl Mail {
    pub fn new(signals: Sender<Signal>, later: Option<Later>) -> Arc<Mail> {
        Arc::new(Mail { laid: Mutex::default(), is_called: AtomicBool::new(false), signals, later })
    }

    /// Sends a message at once. `refuse` is told of what no shard takes any more.
    pub fn send(&self, message: Message, place: (TenantId, Place), refuse: fn(Message)) {
        let sent = self.signals.send(Signal::Message(message, Some(place)));
        if let Err(error) = sent
            && let Signal::Message(message, _) = error.0
        {
            refuse(message);
        }
    }

    /// Hands a message over, soon; those of one thread stay in their order.
    pub fn lay(self: &Arc<Mail>, message: Message, place: (TenantId, Place), refuse: fn(Message)) {
        let Some(later) = &self.later else { return self.send(message, place, refuse) };
        self.laid().push((message, place));
        if !self.is_called.swap(true, Ordering::SeqCst) {
            let mail = Arc::clone(self);
            later(Box::new(move || mail.call(refuse)));
        }
    }

    /// Returns what lies here; called by the shard, which looks whenever it is awake.
    pub fn take(&self) -> Vec<Laid> {
        // Whoever lays something down after this calls again.
        match self.is_called.swap(false, Ordering::SeqCst) {
            true => std::mem::take(&mut *self.laid()),
            false => Vec::new(),
        }
    }

    fn call(&self, refuse: fn(Message)) {
        // It may have been awake.
        if self.is_called.load(Ordering::SeqCst) && self.signals.send(Signal::Wake).is_err() {
            for (message, _) in self.take() {
                refuse(message);
            }
        }
    }

    fn laid(&self) -> std::sync::MutexGuard<'_, Vec<Laid>> {
        self.laid.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use traaviis_model::{InstanceId, TenantCtx};

    use super::*;
    use crate::inbox::Places;

    type Job = Box<dyn FnOnce() + Send>;

    fn message(number: u128) -> Message {
        let id = InstanceId(uuid::Uuid::from_u128(number));
        let tenant = TenantId(uuid::Uuid::from_u128(7));
        Message::Find { ctx: TenantCtx::keeper_of(tenant), id, reply: Box::new(|_| ()) }
    }

    fn lay(mail: &Arc<Mail>, number: u128) {
        let tenant = TenantId(uuid::Uuid::from_u128(7));
        let places = Arc::new(Places::default());
        mail.lay(message(number), (tenant, places.take(tenant).unwrap()), |it| {
            if let Message::Find { reply, .. } = it {
                reply(Err(crate::Error::Stopping));
            }
        });
    }

    fn numbers(laid: Vec<Laid>) -> Vec<u128> {
        let of = |it: Laid| match it.0 {
            Message::Find { id, .. } => id.0.as_u128(),
            _ => 0,
        };
        laid.into_iter().map(of).collect()
    }

    #[test]
    fn a_shard_is_called_once_for_all_that_lies_ready() {
        let (signals, received) = channel();
        let (jobs, later) = channel::<Job>();
        let mail = Mail::new(signals, Some(Arc::new(move |it| jobs.send(it).unwrap())));
        (1..4).for_each(|it| lay(&mail, it));
        assert!(received.try_recv().is_err(), "nobody is called while more may come");
        later.try_recv().unwrap()();
        assert!(later.try_recv().is_err(), "one call is enough");
        assert!(matches!(received.try_recv(), Ok(Signal::Wake)));
        assert_eq!(numbers(mail.take()), [1, 2, 3]);
        assert_eq!(numbers(mail.take()), [0_u128; 0]);

        // One that is awake is not called for what it has taken.
        lay(&mail, 4);
        assert_eq!(numbers(mail.take()), [4]);
        later.try_recv().unwrap()();
        assert!(received.try_recv().is_err());
        lay(&mail, 5);
        assert_eq!(later.try_iter().count(), 1, "what comes later is called for again");
    }

    #[test]
    fn what_no_shard_takes_any_more_is_refused() {
        let (signals, received) = channel();
        let (jobs, later) = channel::<Job>();
        let mail = Mail::new(signals, Some(Arc::new(move |it| jobs.send(it).unwrap())));
        lay(&mail, 1);
        drop(received);
        later.try_recv().unwrap()();
        assert_eq!(numbers(mail.take()), [0_u128; 0]);
        lay(&mail, 2);
        assert_eq!(later.try_iter().count(), 1, "and so is what comes after it");
    }

    #[test]
    fn where_nothing_can_be_put_off_it_is_sent() {
        let (signals, received) = channel();
        let mail = Mail::new(signals, None);
        lay(&mail, 1);
        assert!(matches!(received.try_recv(), Ok(Signal::Message(Message::Find { .. }, Some(_)))));
    }
}
