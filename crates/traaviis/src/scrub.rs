//! Looks for damage in what rests, while a server runs: slowly, again and again.
//!
//! A start reads nothing before its checkpoint, so what changes there is met by whoever reads it,
//! months later and perhaps after the last good backup is gone. Found damage is logged, counted,
//! named by `/ready`, and an alert of the platform.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use traaviis_model::{
    Span,
    limits::{SCRUB_BYTES_PER_SEC, SCRUB_PLACES_MAX},
};
use traaviis_platform::Platform;
use traaviis_server::metrics::{Exposition, Kind};
use traaviis_store::{LocalLog, scrub::Scrubbed};

use crate::{
    clock,
    exit::{Exit, Failure},
};

/// Time before the first look, so that a start and what follows it have the disk for themselves.
const FIRST_LOOK: Duration = Duration::from_secs(60);
/// Longest sleep without a look whether the server ends.
const NAP: Duration = Duration::from_millis(100);

/// How the looks stand, for who asks.
#[derive(Debug, Default)]
pub struct Scrub {
    read: AtomicU64,
    passes: AtomicU64,
    last: Mutex<Last>,
}

/// What the last whole look found.
#[derive(Debug, Default)]
struct Last {
    bytes: u64,
    ended_micros: Option<i64>,
    damaged: BTreeSet<String>,
}

impl Scrub {
    /// Says what is damaged, if anything is.
    pub fn damage(&self) -> Option<String> {
        let last = self.last();
        let first = last.damaged.first()?;
        Some(match last.damaged.len() {
            1 => format!("damage was found at rest: {first}"),
            count => format!("damage was found at rest in {count} places; the first: {first}"),
        })
    }

    /// Tells how far it is.
    pub fn tell(&self, out: &mut Exposition) {
        let read = self.read.load(Ordering::Relaxed);
        let help = "bytes that the present look for damage has read";
        out.one("traaviis_scrub_read_bytes", Kind::Gauge, help, || read as f64);
        let last = self.last();
        let help = "bytes that the last whole look for damage has read";
        out.one("traaviis_scrub_bytes", Kind::Gauge, help, || last.bytes as f64);
        let help = "damaged places that the last whole look has found";
        out.one("traaviis_scrub_damaged_places", Kind::Gauge, help, || last.damaged.len() as f64);
        let help = "looks for damage that came to their end";
        out.one("traaviis_scrub_passes_total", Kind::Counter, help, || {
            self.passes.load(Ordering::Relaxed) as f64
        });
        let help = "when the last whole look for damage came to its end; 0: none has yet";
        out.one("traaviis_scrub_end_timestamp_seconds", Kind::Gauge, help, || {
            last.ended_micros.unwrap_or_default() as f64 / 1e6
        });
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what a look found; returns what is new.
    fn take(&self, found: Scrubbed) -> Vec<String> {
        let mut last = self.last();
        let damaged: BTreeSet<String> = found.damaged.into_iter().take(SCRUB_PLACES_MAX).collect();
        let new = damaged.difference(&last.damaged).cloned().collect();
        *last = Last { bytes: found.bytes, ended_micros: Some(clock::now().0), damaged };
        self.passes.fetch_add(1, Ordering::Relaxed);
        new
    }
}

/// Looks until it is dropped.
pub struct Scrubber {
    _lives: Arc<()>,
}

impl Scrubber {
    /// Begins to look at a log and what stands beside it, every so often.
    pub fn start(
        scrub: Arc<Scrub>,
        log: Arc<LocalLog>,
        platform: Weak<Platform>,
        every: Span,
    ) -> Result<Scrubber, Failure> {
        let lives = Arc::new(());
        let alive = Arc::downgrade(&lives);
        let every = Duration::from_micros(u64::try_from(every.0).unwrap_or_default());
        if !every.is_zero() {
            thread::Builder::new()
                .name("traaviis-scrub".into())
                .spawn(move || look_again_and_again(&scrub, &log, &platform, every, &alive))
                .map_err(|it| Failure::new(Exit::Internal, "internal", it.to_string()))?;
        }
        Ok(Scrubber { _lives: lives })
    }
}

fn look_again_and_again(
    scrub: &Scrub,
    log: &LocalLog,
    platform: &Weak<Platform>,
    every: Duration,
    alive: &Weak<()>,
) {
    let mut rest = FIRST_LOOK.min(every);
    while sleeps(rest, alive) {
        rest = every;
        scrub.read.store(0, Ordering::Relaxed);
        let found = log.scrub(&mut |bytes| {
            scrub.read.fetch_add(bytes, Ordering::Relaxed);
            sleeps(Duration::from_micros(bytes * 1_000_000 / SCRUB_BYTES_PER_SEC), alive)
        });
        match found {
            Ok(Some(found)) => {
                let new = scrub.take(found);
                for place in &new {
                    tracing::error!(
                        code = "data_directory_damaged",
                        "damage was found at rest: {place}; copy the directory, then run \
                         `traaviis doctor`"
                    );
                }
                if let (Some(first), Some(platform)) = (new.first(), platform.upgrade())
                    && let Err(error) = platform.raise_damage(first, new.len())
                {
                    tracing::warn!(code = &*error.code, "an alert could not be raised: {error}");
                }
            }
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(code = error.code(), "what rests could not be checked: {error}");
            }
        }
    }
}

/// Sleeps; says whether to go on.
fn sleeps(time: Duration, alive: &Weak<()>) -> bool {
    let begun = Instant::now();
    while alive.strong_count() > 0 {
        let left = time.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return true;
        }
        thread::sleep(left.min(NAP));
    }
    false
}
