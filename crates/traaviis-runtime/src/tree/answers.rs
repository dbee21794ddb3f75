//! Answers that wait until the tree shows what they are about, and states compared with it.
//!
//! A turn of the follower begins by taking those who wait; what they wait for is in the log by
//! then, so once the turn has caught up with the log, the tree shows it.
//!
//! Invariants: who is refused was not written; who waits while the tree cannot be written is told
//! at once that the log has what they asked for and the tree does not show it, so nobody is told
//! that something failed which stands in the log; a document is answered only as the log has it.

use std::{
    mem,
    sync::{
        Arc, PoisonError,
        mpsc::{Receiver, channel},
    },
};

use traaviis_model::{Seq, Snapshot};
use traaviis_ports::tree::{Checked, Notice};

use super::{Answers, Follower, News, documents, projector};
use crate::{
    error::Error,
    handle::ANSWER_MAX,
    limits::TREE_READS_MAX,
    owner::{Key, Message, Reopen, Reply, Start, Upgrade},
};

/// Told once, when the tree shows everything or never will.
pub(super) type Waiter = Box<dyn FnOnce(Result<(), Error>) + Send>;

impl Follower {
    /// Says whether callers are answered when the tree shows what they asked for.
    pub(crate) fn holds_answers(&self) -> bool {
        self.options.answers == Answers::WhenShown
    }

    /// Returns why no change is taken at present.
    pub(crate) fn refuses(&self, message: &Message) -> Option<Error> {
        let is_change = matches!(
            message,
            Message::Start(_) | Message::Upgrade(_) | Message::Reopen(_) | Message::Command { .. }
        );
        let failing = || self.lock().failing.clone();
        if is_change { failing().map(Error::Tree) } else { None }
    }

    /// Lets the answer wait of a message that changes something.
    pub(crate) fn held(self: &Arc<Follower>, message: Message) -> Message {
        match message {
            Message::Start(it) => Message::Start(Start { reply: self.hold(it.reply), ..it }),
            Message::Upgrade(it) => Message::Upgrade(Upgrade { reply: self.hold(it.reply), ..it }),
            Message::Reopen(it) => {
                Message::Reopen(Box::new(Reopen { reply: self.hold(it.reply), ..*it }))
            }
            Message::Command { ctx, id, command, reply } => {
                Message::Command { ctx, id, command, reply: self.hold(reply) }
            }
            other => other,
        }
    }

    fn hold<T: Send + 'static>(self: &Arc<Follower>, reply: Reply<T>) -> Reply<T> {
        let follower = Arc::clone(self);
        Box::new(move |answer| match answer {
            Ok(value) => follower.when_shown(Box::new(move |it| reply(it.map(|()| value)))),
            Err(error) => reply(Err(error)),
        })
    }

    fn when_shown(&self, waiter: Waiter) {
        let mut life = self.lock();
        if life.is_done {
            drop(life);
            return waiter(Err(Error::Stopping));
        }
        if let Some(error) = life.failing.clone().filter(|_| life.has_shown) {
            drop(life);
            return waiter(Err(Error::NotShown(error.to_string().into())));
        }
        life.waiting.push(waiter);
        drop(life);
        self.changed.notify_all();
    }

    /// Waits until the tree shows the log as it is now, or cannot at the start.
    pub(crate) fn wait_shown(&self) -> Result<(), Error> {
        self.wait_for_turn().recv().map_err(|_| Error::Stopping)?
    }

    fn wait_for_turn(&self) -> Receiver<Result<(), Error>> {
        let (sender, receiver) = channel();
        self.when_shown(Box::new(move |shown| {
            // Whoever waits may have given up.
            let _ = sender.send(shown);
        }));
        receiver
    }

    /// Takes those who wait for a turn that begins now.
    pub(super) fn begin_turn(&self) -> Vec<Waiter> {
        mem::take(&mut self.lock().waiting)
    }

    /// Tells those who waited for a turn, or lets them wait for the next.
    pub(super) fn end_turn(
        &self,
        mut waiting: Vec<Waiter>,
        worked: &Result<(), Error>,
        is_caught_up: bool,
    ) {
        let mut life = self.lock();
        let told = match worked {
            Ok(()) if is_caught_up => {
                life.has_shown = true;
                Some(Ok(()))
            }
            // Only the start waits yet, and it is what fails.
            Err(error) if !life.has_shown => Some(Err(error.clone())),
            Err(error) => Some(Err(Error::NotShown(error.to_string().into()))),
            Ok(()) => None,
        };
        match told {
            Some(told) => {
                drop(life);
                waiting.into_iter().for_each(|it| it(told.clone()));
            }
            None => {
                waiting.append(&mut life.waiting);
                life.waiting = waiting;
            }
        }
    }

    /// Tells all who wait.
    pub(super) fn tell_waiting(&self, shown: &Result<(), Error>) {
        let waiting = self.begin_turn();
        waiting.into_iter().for_each(|it| it(shown.clone()));
    }

    /// Returns a state once its document says the same; `ask` gives it as its owner has it. What
    /// stands in the document's place and was never written there is told and made again.
    pub(crate) fn read(
        &self,
        ask: &dyn Fn() -> Result<Option<Arc<Snapshot>>, Error>,
    ) -> Result<Option<Arc<Snapshot>>, Error> {
        let mut before: Option<Seq> = None;
        for _ in 0..TREE_READS_MAX {
            let Some(snapshot) = ask()? else { return Ok(None) };
            // A turn has passed, and it is still the same state.
            let is_still = before.replace(snapshot.seq) == Some(snapshot.seq);
            match self.compare(&snapshot, is_still)? {
                None => {
                    let shown = self.wait_for_turn().recv_timeout(ANSWER_MAX);
                    shown.map_err(|_| Error::TimedOut)??;
                }
                Some(notices) => {
                    let tell = |it| (self.options.on_news)(&News::Met(it));
                    notices.into_iter().for_each(tell);
                    return Ok(Some(snapshot));
                }
            }
        }
        ask()
    }

    /// Compares a state with its document; none when one of them is of an earlier moment.
    fn compare(&self, snapshot: &Snapshot, is_still: bool) -> Result<Option<Vec<Notice>>, Error> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let (archived, _) = projector::archived(&*self.log, vec![Key::of(snapshot)])?;
        if !archived.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let document = documents::instance(snapshot);
        let tree = &self.options.tree;
        match tree.check(&document).map_err(Error::Tree)? {
            Checked::Same => Ok(Some(Vec::new())),
            Checked::Mended(notices) => Ok(Some(notices)),
            Checked::Behind | Checked::Ahead if is_still => {
                tree.mend(&document).map(Some).map_err(Error::Tree)
            }
            Checked::Behind | Checked::Ahead => Ok(None),
        }
    }
}
