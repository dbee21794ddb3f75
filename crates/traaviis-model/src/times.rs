//! Durations, counted in buckets: what a histogram of metrics is made of. Many threads count at
//! once and wait for nobody.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Upper bounds of the buckets, in seconds: from a write in memory to a caller who waits.
pub const BOUNDS: [f64; 13] =
    [0.000_1, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0, 10.0, 60.0];

/// Durations in buckets.
#[derive(Debug, Default)]
pub struct Times {
    /// How many fell into each bucket; the last takes what is longer than all bounds.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

/// What was counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Counted {
    /// How many were at most as long as each bound.
    pub at_most: [u64; BOUNDS.len()],
    /// How many there were.
    pub count: u64,
    /// Sum in seconds.
    pub seconds: f64,
}

impl Times {
    /// Counts a duration.
    pub fn note(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.iter().position(|it| seconds <= *it).unwrap_or(BOUNDS.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Returns what was counted; the buckets always add up to the count.
    pub fn counted(&self) -> Counted {
        let mut counted = Counted { at_most: [0; BOUNDS.len()], count: 0, seconds: 0.0 };
        for (at, bucket) in self.buckets.iter().enumerate() {
            counted.count += bucket.load(Ordering::Relaxed);
            if let Some(it) = counted.at_most.get_mut(at) {
                *it = counted.count;
            }
        }
        counted.seconds = self.micros.load(Ordering::Relaxed) as f64 / 1e6;
        counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_falls_into_one_bucket() {
        let times = Times::default();
        for millis in [0, 1, 1, 30, 400, 120_000] {
            times.note(Duration::from_millis(millis));
        }
        let Counted { at_most, count, seconds } = times.counted();
        assert_eq!(at_most, [1, 1, 3, 3, 3, 3, 3, 4, 4, 5, 5, 5, 5]);
        assert_eq!((count, seconds), (6, 120.432));
    }
}
