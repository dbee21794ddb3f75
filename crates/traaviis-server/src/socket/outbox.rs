//! What waits for one socket: texts that all who hear them share, with a bound.
//!
//! Whoever tells a socket something never waits for it. One that does not keep up loses what waits
//! and is closed, so that its client reads anew.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::extract::ws::Utf8Bytes;
use tokio::sync::Notify;

use super::limits::{QUEUE_BYTES_MAX, QUEUE_FAIR, QUEUE_MAX, QUEUES_BYTES_MAX};

/// Places of an empty queue that are kept; a burst gives its memory back.
const PLACES_KEPT: usize = 16;
/// Bytes of a place.
const PLACE_BYTES: usize = size_of::<Utf8Bytes>();

/// What waits for one socket.
#[derive(Debug)]
pub struct Outbox {
    waiting: Mutex<Waiting>,
    /// Told that something waits, or that the socket is too slow.
    changed: Notify,
    /// Bytes that wait for all sockets.
    all: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct Waiting {
    texts: VecDeque<Utf8Bytes>,
    bytes: usize,
    is_too_slow: bool,
}

impl Outbox {
    /// Returns an empty one of a process whose sockets have so many bytes waiting.
    pub fn of(all: &Arc<AtomicUsize>) -> Outbox {
        Outbox { waiting: Mutex::default(), changed: Notify::new(), all: Arc::clone(all) }
    }

    /// Puts a text behind what waits, unless the socket does not keep up.
    pub fn push(&self, text: Utf8Bytes) {
        let mut waiting = self.waiting();
        if waiting.is_too_slow {
            return;
        }
        let bytes = text.len() + PLACE_BYTES;
        let all = self.all.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let (count, queued) = (waiting.texts.len(), waiting.bytes + bytes);
        waiting.bytes = queued;
        waiting.is_too_slow = count >= QUEUE_MAX
            || (count > 0 && queued > QUEUE_BYTES_MAX)
            || (count >= QUEUE_FAIR && all > QUEUES_BYTES_MAX);
        if waiting.is_too_slow {
            self.all.fetch_sub(queued, Ordering::Relaxed);
            (waiting.texts, waiting.bytes) = (VecDeque::new(), 0);
        } else {
            waiting.texts.push_back(text);
        }
        // Who reads takes until nothing waits, so is told of the first only.
        if count == 0 || waiting.is_too_slow {
            self.changed.notify_one();
        }
    }

    /// Returns the next text; none when the socket does not keep up.
    pub async fn next(&self) -> Option<Utf8Bytes> {
        loop {
            {
                let mut waiting = self.waiting();
                if waiting.is_too_slow {
                    return None;
                }
                if let Some(text) = waiting.texts.pop_front() {
                    let bytes = text.len() + PLACE_BYTES;
                    waiting.bytes -= bytes;
                    self.all.fetch_sub(bytes, Ordering::Relaxed);
                    if waiting.texts.is_empty() {
                        waiting.texts.shrink_to(PLACES_KEPT);
                    }
                    return Some(text);
                }
            }
            self.changed.notified().await;
        }
    }

    /// Waits until the socket does not keep up.
    pub async fn overflows(&self) {
        while !self.waiting().is_too_slow {
            self.changed.notified().await;
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let bytes = self.waiting().bytes;
        self.all.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts texts of so many bytes until the socket is too slow; returns how many waited.
    fn fill(outbox: &Outbox, bytes: usize) -> usize {
        let text = Utf8Bytes::from("x".repeat(bytes));
        (0..=QUEUE_MAX)
            .take_while(|_| {
                outbox.push(text.clone());
                !outbox.waiting().is_too_slow
            })
            .count()
    }

    #[tokio::test]
    async fn texts_wait_in_order_up_to_a_bound() {
        let all = Arc::default();
        let outbox = Outbox::of(&all);
        for text in ["a", "b"] {
            outbox.push(text.into());
        }
        assert_eq!(outbox.next().await.unwrap().as_str(), "a");
        assert_eq!(outbox.next().await.unwrap().as_str(), "b");
        assert_eq!(all.load(Ordering::Relaxed), 0);
        assert_eq!(fill(&outbox, 10), QUEUE_MAX);
        outbox.overflows().await;
        assert_eq!(outbox.next().await, None);
        assert_eq!(all.load(Ordering::Relaxed), 0, "what waited is given back");
    }

    #[test]
    fn large_texts_fill_it_sooner_and_one_of_any_size_fits() {
        let all = Arc::default();
        assert_eq!(fill(&Outbox::of(&all), QUEUE_BYTES_MAX / 4), 3);
        assert_eq!(fill(&Outbox::of(&all), 2 * QUEUE_BYTES_MAX), 1);
    }

    #[test]
    fn where_all_have_too_much_those_with_most_go() {
        let all = Arc::new(AtomicUsize::new(QUEUES_BYTES_MAX));
        let (quick, slow) = (Outbox::of(&all), Outbox::of(&all));
        quick.push("x".into());
        assert_eq!(fill(&slow, 10), QUEUE_FAIR);
        assert!(!quick.waiting().is_too_slow);
        drop((quick, slow));
        assert_eq!(all.load(Ordering::Relaxed), QUEUES_BYTES_MAX);
    }
}
