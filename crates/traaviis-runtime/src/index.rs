//! The feeder of the index: committed states wait here, the last of each instance, until the next
//! drain puts them into the index together with the position they reach.
//!
//! Reading order: [`overlay`] (what waits, and lists merged with it; no threads, no clock),
//! [`catchup`] (what a start owes the index), then [`Feeder`] (the thread and its limits).
//!
//! Invariants: a state waits here before its caller is answered, so lists show what callers were
//! told; the position put with rows is never past what the shards have handed over; an index that
//! fails is given up for this process and stops nothing.

pub(crate) mod catchup;
pub mod overlay;

use std::{
    fmt,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use traaviis_model::{InstanceId, TenantCtx};
use traaviis_ports::{
    Index, IndexError, LogStore, Position,
    index::{Count, Query, Row},
};

pub use catchup::{Rebuilt, rebuild};

use crate::{
    error::Error,
    limits::{
        INDEX_FEW_ROWS, INDEX_LAG_AGE_MAX, INDEX_LAG_BYTES_MAX, INDEX_LAG_RECORDS_MAX,
        INDEX_WINDOW_FEW_MAX, INDEX_WINDOW_MAX, INDEX_WINDOW_MIN,
    },
    owner::{Committed, Key},
    threads::{self, OnFatal},
};
use overlay::{Load, Overlay};

/// Times the duration of a drain that the next one waits, so that draining takes a fifth of the
/// time at most.
const WINDOW_PER_DRAIN: u32 = 4;
/// The same while few changes wait, so that one durable write in a hundred meets a drain.
const WINDOW_PER_DRAIN_OF_FEW: u32 = 100;

/// Told when the index is given up.
pub type OnGivenUp = Arc<dyn Fn(&IndexError) + Send + Sync>;

/// How far a shard is with what the log told it.
#[derive(Debug, Default)]
pub(crate) struct Reached {
    /// Position after the last record whose outcome was sent to the shard.
    pub told: AtomicU64,
    /// The same, of what the shard has published.
    pub published: AtomicU64,
}

/// Feeds an index.
pub(crate) struct Feeder {
    index: Arc<dyn Index>,
    log: Arc<dyn LogStore>,
    shards: Vec<Arc<Reached>>,
    waiting: Mutex<Waiting>,
    /// Shards wait here for room.
    room: Condvar,
    /// The thread waits here for something to drain.
    filled: Condvar,
    /// One drain at a time.
    draining: Mutex<Option<Position>>,
    is_given_up: AtomicBool,
    on_given_up: OnGivenUp,
}

#[derive(Default)]
struct Waiting {
    overlay: Overlay,
    /// When the oldest state that waits, or is being drained, was committed.
    since: Option<Instant>,
    draining_since: Option<Instant>,
    /// The last drain failed and may work later; nobody waits for it.
    is_failing: bool,
    is_ended: bool,
}

impl Waiting {
    fn is_behind(&self) -> bool {
        let age = self.draining_since.or(self.since).map(|it| it.elapsed());
        self.amount() == Amount::TooMuch || age.is_some_and(|it| it > INDEX_LAG_AGE_MAX)
    }

    fn amount(&self) -> Amount {
        Amount::of(self.overlay.load())
    }
}

impl Feeder {
    /// Begins to feed; the thread ends with the last handle or [`Feeder::end`].
    pub(crate) fn start(
        index: Arc<dyn Index>,
        log: Arc<dyn LogStore>,
        shards: Vec<Arc<Reached>>,
        on_given_up: OnGivenUp,
        on_fatal: &OnFatal,
    ) -> Result<Arc<Feeder>, Error> {
        let feeder = Arc::new(Feeder {
            index,
            log,
            shards,
            waiting: Mutex::default(),
            room: Condvar::new(),
            filled: Condvar::new(),
            draining: Mutex::new(None),
            is_given_up: AtomicBool::new(false),
            on_given_up,
        });
        let weak = Arc::downgrade(&feeder);
        threads::begin("traaviis-index", on_fatal, move || run(&weak))?;
        Ok(feeder)
    }

    /// Takes a committed state. Called before its caller is answered.
    pub(crate) fn take(&self, committed: &Committed) {
        if self.is_given_up() {
            return;
        }
        let mut waiting = self.lock();
        let (was_empty, before) = (waiting.overlay.is_empty(), waiting.amount());
        waiting.overlay.note(committed);
        waiting.since.get_or_insert_with(Instant::now);
        let is_more = waiting.amount() > before;
        drop(waiting);
        if was_empty || is_more {
            self.filled.notify_all();
        }
    }

    /// Waits while the index is too far behind.
    pub(crate) fn wait_for_room(&self) {
        let mut waiting = self.lock();
        while waiting.is_behind() && !waiting.is_failing && !waiting.is_ended && !self.is_given_up()
        {
            let waited = self.room.wait_timeout(waiting, INDEX_WINDOW_MIN);
            waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Puts everything that waits into the index.
    pub(crate) fn drain(&self) -> Result<(), IndexError> {
        let mut last = self.draining.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_given_up() {
            return Err(given_up());
        }
        // Read before the states are taken out, so that it is not past them.
        let position = self.reached();
        let changes = {
            let mut waiting = self.lock();
            waiting.draining_since = waiting.since.take();
            waiting.overlay.begin_drain()
        };
        if changes.is_empty() && *last == Some(position) {
            return Ok(());
        }
        let put = self.index.put(&mut changes.rows(), position);
        let mut waiting = self.lock();
        let since = waiting.draining_since.take();
        match &put {
            Ok(()) => {
                waiting.overlay.end_drain();
                waiting.is_failing = false;
                *last = Some(position);
            }
            Err(IndexError::Full) if waiting.amount() < Amount::TooMuch => {
                waiting.overlay.undo_drain();
                waiting.since = since.or(waiting.since);
                waiting.is_failing = true;
            }
            Err(error) => {
                waiting.overlay = Overlay::default();
                drop(waiting);
                self.give_up(error);
            }
        }
        self.room.notify_all();
        put
    }

    fn give_up(&self, error: &IndexError) {
        if !self.is_given_up.swap(true, Ordering::SeqCst) {
            (self.on_given_up)(error);
        }
    }

    /// Takes out the rows of instances that are archived; their last states were handed over. An
    /// index that keeps them for another reason than a full disk would show them for ever, so it is
    /// given up.
    pub(crate) fn remove(&self, keys: &[Key]) -> Result<(), IndexError> {
        self.drain()?;
        let removed = self.index.remove(&mut keys.iter().map(|it| (it.tenant, it.id)));
        match &removed {
            Ok(()) | Err(IndexError::Full) => {}
            Err(error) => self.give_up(error),
        }
        removed
    }

    /// Makes what every shard has handed over durable in the index.
    pub(crate) fn sync(&self) -> Result<(), IndexError> {
        self.drain()?;
        self.index.sync()
    }

    /// Says whether the index failed and is not fed any more.
    pub(crate) fn is_given_up(&self) -> bool {
        self.is_given_up.load(Ordering::SeqCst)
    }

    /// Ends the thread and lets everybody go who waits.
    pub(crate) fn end(&self) {
        self.lock().is_ended = true;
        self.room.notify_all();
        self.filled.notify_all();
    }

    /// Returns a page of a list, what waits included.
    pub(crate) fn list(&self, ctx: &TenantCtx, query: &Query) -> Result<Vec<Row>, IndexError> {
        if self.is_given_up() {
            return Err(given_up());
        }
        // The overlay first: what is drained meanwhile is then seen in both, not in neither.
        let recent = self.lock().overlay.recent(ctx.tenant());
        recent.list(&*self.index, ctx, query)
    }

    /// Counts the rows of a list, what waited included.
    pub(crate) fn count(&self, ctx: &TenantCtx, query: &Query) -> Result<Vec<Count>, IndexError> {
        // Numbers cannot be merged with what waits, so nothing waits any more.
        self.drain()?;
        self.index.count(ctx, query)
    }

    /// Returns one row, what waits included.
    pub(crate) fn get(&self, ctx: &TenantCtx, id: InstanceId) -> Result<Option<Row>, IndexError> {
        if self.is_given_up() {
            return Err(given_up());
        }
        let recent = self.lock().overlay.get(ctx.tenant(), id);
        let Some(mut row) = recent else { return self.index.get(ctx, id) };
        if row.first.is_none() {
            row.first = self.index.get(ctx, id)?.and_then(|it| it.first);
        }
        Ok(Some(row))
    }

    /// Returns ids that begin or end with some digits, what waits included.
    pub(crate) fn ids(
        &self,
        ctx: &TenantCtx,
        digits: &str,
        limit: usize,
    ) -> Result<Vec<InstanceId>, IndexError> {
        if self.is_given_up() {
            return Err(given_up());
        }
        let recent = self.lock().overlay.ids(ctx.tenant(), digits);
        let mut ids = self.index.ids(ctx, digits, limit)?;
        ids.extend(recent);
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// Returns the position before which every shard has published everything.
    ///
    /// The log tells outcomes before it moves its tail, so whatever stands before the tail read
    /// here was told to its shard; a shard that has not published all it was told stands for less.
    fn reached(&self) -> Position {
        let tail = self.log.tail();
        let behind = self.shards.iter().filter_map(|it| {
            let published = it.published.load(Ordering::SeqCst);
            let is_behind = it.told.load(Ordering::SeqCst) > published;
            is_behind.then_some(published)
        });
        behind.min().map_or(tail, |it| it.min(tail))
    }

    /// Lets changes gather for some time, or until they should not wait any longer.
    fn gather<'a>(
        &self,
        waiting: MutexGuard<'a, Waiting>,
        time: Duration,
        waits: impl FnMut(&mut Waiting) -> bool,
    ) -> MutexGuard<'a, Waiting> {
        let gathered = self.filled.wait_timeout_while(waiting, time, waits);
        gathered.unwrap_or_else(PoisonError::into_inner).0
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Feeder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feeder").field("is_given_up", &self.is_given_up()).finish_non_exhaustive()
    }
}

/// How much waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Amount {
    /// A drain may come later: states are few, and a start would read little again.
    Little,
    /// A drain should come, so that nobody has to wait for room before it is over.
    Much,
    /// Shards wait.
    TooMuch,
}

impl Amount {
    fn of(load: Load) -> Amount {
        let (records, bytes) = (INDEX_LAG_RECORDS_MAX, INDEX_LAG_BYTES_MAX);
        if load.records > records || load.bytes > bytes {
            Amount::TooMuch
        } else if load.rows >= INDEX_FEW_ROWS
            || load.records > records / 2
            || load.bytes > bytes / 2
        {
            Amount::Much
        } else {
            Amount::Little
        }
    }
}

fn given_up() -> IndexError {
    IndexError::Failed("it failed before, and is made again at the next start".into())
}

/// Drains in windows until the feeder is gone or ended.
fn run(feeder: &Weak<Feeder>) {
    let mut windows = windows_after(Duration::ZERO);
    loop {
        let Some(feeder) = feeder.upgrade() else { return };
        let waiting = feeder.lock();
        if waiting.is_ended || feeder.is_given_up() {
            return;
        }
        // Woken by the first state, and now and then to see whether anybody is left.
        if waiting.overlay.is_empty() {
            drop(feeder.filled.wait_timeout(waiting, INDEX_WINDOW_MAX));
            continue;
        }
        let waits = |it: &mut Waiting| !it.is_ended && !it.is_behind();
        let waiting = feeder.gather(waiting, windows.0, waits);
        let waiting =
            feeder.gather(waiting, windows.1, |it| waits(it) && it.amount() == Amount::Little);
        if waiting.is_ended {
            return;
        }
        drop(waiting);
        let begun = Instant::now();
        // What failed is tried again in the next window, or was given up and told.
        let _ = feeder.drain();
        windows = windows_after(begun.elapsed());
    }
}

/// Returns how long changes gather after a drain of some length, and how much longer while they
/// are few.
fn windows_after(drain: Duration) -> (Duration, Duration) {
    let least = (drain * WINDOW_PER_DRAIN).clamp(INDEX_WINDOW_MIN, INDEX_WINDOW_MAX);
    let of_few = (drain * WINDOW_PER_DRAIN_OF_FEW).clamp(least, INDEX_WINDOW_FEW_MAX);
    (least, of_few - least)
}

#[cfg(test)]
mod tests;
