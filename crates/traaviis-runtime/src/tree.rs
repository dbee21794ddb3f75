//! The feeder of the document tree: a thread that reads the log behind the owners and writes files
//! that people can read.
//!
//! Reading order: [`documents`] and [`ledgers`] (what the tree shows), [`states`] (where states
//! come from), [`projector`] (what is written when; no threads, no clock), then [`Follower`] (the
//! thread) and [`answers`] (who waits for it).
//!
//! Invariants: no step waits for the tree, whoever is to be answered may ([`Answers`]); what is
//! archived leaves the tree before its records leave the log, whether the tree is fed or not; a
//! tree that cannot be written is tried again and heals by itself; nothing that the tree shows is
//! taken for the truth.

mod answers;
mod documents;
mod ledgers;
pub mod projector;
pub mod states;

use std::{
    fmt,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use traaviis_model::InstanceId;
use traaviis_ports::{LogStore, Position, Tree, TreeError, tree::Notice};

use crate::{
    error::Error,
    handle::{Handle, Inner},
    limits::{TREE_AGAIN, TREE_BATCH_MAX, TREE_CLOSE_MAX, TREE_RETRY_MAX, TREE_WINDOW},
    owner::Key,
    threads::{self, OnFatal},
};
use answers::Waiter;
use projector::{Open, Projector, Which, World};
use states::{Folded, Live};

/// Times the duration of a write that the next one waits, so that writing takes a quarter of the
/// time at most.
const REST_PER_WRITE: u32 = 3;

/// When instances are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// When they rest or end.
    Lazy,
    /// After every step.
    Eager,
}

impl Policy {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Policy::Lazy => "lazy",
            Policy::Eager => "eager",
        }
    }
}

/// When callers are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answers {
    /// When the log has what they asked for.
    #[default]
    AtOnce,
    /// When the tree shows it too; a state is then answered only as its document shows it.
    WhenShown,
}

/// What happens to the tree that a person should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A write met something.
    Met(Notice),
    /// The tree cannot be written; it is tried again unless a newer release wrote it.
    Failing(TreeError),
    /// The tree is written again.
    Healed,
    /// The tree was ahead of the log, stands aside, and begins anew.
    SetAside(String),
}

/// A tree to feed.
#[derive(Clone)]
pub struct TreeOptions {
    /// The tree.
    pub tree: Arc<dyn Tree>,
    /// When instances are written; none when they are not, and only leave it with the archive.
    pub policy: Option<Policy>,
    /// When callers are answered; [`Answers::WhenShown`] goes with [`Policy::Eager`].
    pub answers: Answers,
    /// Told what a person should know.
    pub on_news: Arc<dyn Fn(&News) + Send + Sync>,
}

/// How a tree stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeStatus {
    /// When instances are written.
    pub policy: Policy,
    /// Records that may not be in the tree yet.
    pub lag: u64,
    /// Why it is not written, if so.
    pub failing: Option<TreeError>,
}

/// Lets go of whoever waits for a tree when the thread ends that feeds it.
struct Ended<'f>(&'f Follower);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.let_go();
    }
}

/// Feeds a tree.
pub(crate) struct Follower {
    options: TreeOptions,
    log: Arc<dyn LogStore>,
    position: AtomicU64,
    life: Mutex<Life>,
    changed: Condvar,
    /// Held by whoever writes or forgets.
    writing: Mutex<()>,
}

#[derive(Default)]
struct Life {
    /// When the tree must be done.
    end: Option<Instant>,
    is_done: bool,
    failing: Option<TreeError>,
    /// Whether it was once all there.
    has_shown: bool,
    /// Who is told once everything is shown that is in the log now.
    waiting: Vec<Waiter>,
}

impl Follower {
    pub(crate) fn new(options: TreeOptions, log: Arc<dyn LogStore>) -> Arc<Follower> {
        let life = Life { is_done: options.policy.is_none(), ..Life::default() };
        let (position, changed) = (AtomicU64::new(0), Condvar::new());
        let (life, writing) = (Mutex::new(life), Mutex::new(()));
        Arc::new(Follower { options, log, position, life, changed, writing })
    }

    /// Begins to feed; the thread ends with the last handle, or when it is finished.
    pub(crate) fn start(
        self: &Arc<Follower>,
        inner: Weak<Inner>,
        on_fatal: &OnFatal,
    ) -> Result<(), Error> {
        let Some(policy) = self.options.policy else { return Ok(()) };
        let follower = Arc::clone(self);
        threads::begin("traaviis-tree", on_fatal, move || {
            // However it ends, nobody waits for it any more.
            let _ended = Ended(&follower);
            follower.run(&inner, policy);
        })
    }

    /// Takes out instances that are archived now.
    pub(crate) fn forget(&self, keys: &[Key]) -> Result<(), Error> {
        let instances: Vec<_> = keys.iter().map(|it| (it.tenant, it.id)).collect();
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        match self.options.tree.forget(&instances) {
            // Its own release will find out.
            Err(TreeError::Newer { .. }) => Ok(()),
            other => other.map_err(Error::Tree),
        }
    }

    /// Returns how the tree stands; none when it is not fed.
    pub(crate) fn status(&self) -> Option<TreeStatus> {
        let policy = self.options.policy?;
        let position = self.position.load(Ordering::SeqCst);
        let lag = self.log.tail().saturating_sub(position);
        Some(TreeStatus { policy, lag, failing: self.lock().failing.clone() })
    }

    /// Writes what is left and ends the thread; gives up when that takes too long.
    pub(crate) fn finish(&self) {
        let end = Instant::now() + TREE_CLOSE_MAX;
        let mut life = self.lock();
        life.end = Some(end);
        self.changed.notify_all();
        while !life.is_done && Instant::now() < end + TREE_WINDOW {
            let waited = self.changed.wait_timeout(life, TREE_WINDOW);
            life = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Ends the thread as soon as it can.
    pub(crate) fn end(&self) {
        self.lock().end.get_or_insert_with(Instant::now);
        self.changed.notify_all();
    }

    /// Lets everybody go who waits.
    fn let_go(&self) {
        self.lock().is_done = true;
        self.changed.notify_all();
        self.tell_waiting(&Err(Error::Stopping));
    }

    fn lock(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, inner: &Weak<Inner>, policy: Policy) {
        let begun = Instant::now();
        let mut wait = TREE_WINDOW;
        let mut projector = (policy, None);
        loop {
            let Some(inner) = inner.upgrade() else { return };
            let is_ending = self.lock().end.is_some();
            let waiting = self.begin_turn();
            let worked = self.turn(Handle::new(inner), &mut projector, is_ending, begun);
            let is_caught_up = projector.1.as_ref().is_some_and(Projector::is_caught_up);
            self.end_turn(waiting, &worked, is_caught_up);
            wait = match self.tell(worked) {
                Some(true) => TREE_WINDOW,
                Some(false) => (wait * 2).min(TREE_RETRY_MAX),
                None => return,
            };
            if is_ending {
                return;
            }
            self.pause(wait, is_caught_up);
        }
    }

    /// Brings the tree to the end of the log, as far as it is time.
    fn turn(
        &self,
        handle: Handle,
        (policy, projector): &mut (Policy, Option<Projector>),
        is_ending: bool,
        begun: Instant,
    ) -> Result<(), Error> {
        let projector = match projector {
            Some(it) => it,
            None => {
                let position = self.begin()?;
                let mut begun = Projector::new(*policy, Open::Shown, position);
                begun.find_hours(&*self.log)?;
                projector.insert(begun)
            }
        };
        let mut states = Live(handle);
        let mut world = World {
            log: &*self.log,
            tree: &*self.options.tree,
            states: &mut states,
            now: &|| begun.elapsed(),
            rest: &|took| self.rest(took),
            writing: &self.writing,
            tell: &|notice| (self.options.on_news)(&News::Met(notice.clone())),
        };
        let mut worked = projector.round(&mut world);
        if is_ending && worked.is_ok() {
            worked = projector.write(&mut world, Which::All);
        }
        self.position.store(projector.position(), Ordering::SeqCst);
        worked
    }

    /// Returns where to go on; a tree that knows more than the log is of another one.
    fn begin(&self) -> Result<Position, Error> {
        let tree = &self.options.tree;
        let position = tree.position().map_err(Error::Tree)?;
        if position <= self.log.tail() {
            return Ok(position);
        }
        let aside = tree.set_aside().map_err(Error::Tree)?;
        (self.options.on_news)(&News::SetAside(aside));
        Ok(0)
    }

    /// Waits for the next turn: until it is time, or somebody waits for it.
    fn pause(&self, wait: Duration, is_caught_up: bool) {
        let life = self.lock();
        let wait = match is_caught_up || life.failing.is_some() {
            true => wait,
            // Somebody who tells a state was slow.
            false => wait.min(TREE_AGAIN),
        };
        let goes_on = |it: &mut Life| {
            let is_wanted = is_caught_up && it.failing.is_none() && !it.waiting.is_empty();
            it.end.is_none() && !is_wanted
        };
        drop(self.changed.wait_timeout_while(life, wait, goes_on));
    }

    /// Waits after a write; false when it is over.
    fn rest(&self, took: Duration) -> bool {
        let life = self.lock();
        if let Some(end) = life.end {
            return Instant::now() < end;
        }
        if self.holds_answers() {
            return true;
        }
        let wait = (took * REST_PER_WRITE).min(TREE_RETRY_MAX);
        let waited = self.changed.wait_timeout_while(life, wait, |it| it.end.is_none());
        let (life, _) = waited.unwrap_or_else(PoisonError::into_inner);
        life.end.is_none_or(|end| Instant::now() < end)
    }

    /// Notes how a turn went; says whether it went well, and nothing when there is no use in
    /// another.
    fn tell(&self, worked: Result<(), Error>) -> Option<bool> {
        let error = match worked {
            Ok(()) => {
                if self.lock().failing.take().is_some() {
                    (self.options.on_news)(&News::Healed);
                }
                return Some(true);
            }
            Err(Error::Tree(error)) => error,
            Err(error) => TreeError::Failed(error.to_string().into()),
        };
        let goes_on = error.is_retryable();
        let before = self.lock().failing.replace(error.clone());
        if before.as_ref() != Some(&error) {
            (self.options.on_news)(&News::Failing(error));
        }
        goes_on.then_some(false)
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("policy", &self.options.policy).finish_non_exhaustive()
    }
}

impl fmt::Debug for TreeOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TreeOptions").field("policy", &self.policy).finish_non_exhaustive()
    }
}

/// What showing the whole log did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Position after the last record.
    pub position: Position,
    /// Instances that are left out because their history is damaged.
    pub damaged: Vec<InstanceId>,
}

/// Shows a tree the whole log, every document in its last state only; for a tree that is made again
/// or compared. `progress` is told the position now and then.
pub fn show_all(
    log: &dyn LogStore,
    tree: &dyn Tree,
    progress: &dyn Fn(Position),
) -> Result<Shown, Error> {
    let mut states = Folded::default();
    let mut projector = Projector::new(Policy::Lazy, Open::Later, 0);
    projector.find_hours(log)?;
    let begun = Instant::now();
    let mut world = World {
        log,
        tree,
        states: &mut states,
        now: &|| begun.elapsed(),
        rest: &|_| true,
        writing: &Mutex::new(()),
        tell: &|_| (),
    };
    projector.show(&mut world, progress)?;
    projector.write_ledgers(tree)?;
    let position = projector.position();
    let keys = states.keys();
    for some in keys.chunks(TREE_BATCH_MAX) {
        let shown = some.iter().filter_map(|key| states.get(key));
        let batch = documents::batch(shown.map(|it| &**it), position);
        tree.write(&batch).map_err(Error::Tree)?;
    }
    // Of an archived one the log may hold remains without a beginning.
    let damaged: Vec<Key> = states.damaged.into_iter().collect();
    let (_, damaged) = projector::archived(log, damaged)?;
    let mut damaged: Vec<InstanceId> = damaged.iter().map(|it| it.id).collect();
    damaged.sort_unstable();
    Ok(Shown { position, damaged })
}
