//! What waits for its other half: challenges and half-finished logins, each used at most once.
//!
//! They are in memory: whoever was in the middle of a login when the process ended begins again.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use traaviis_model::{Span, Timestamp};

/// Things that wait at once: at some 500 bytes each this is 10 MB.
pub const PENDING_MAX: usize = 20_000;

/// Things of one kind that wait, by a key that only who began knows.
#[derive(Debug)]
pub struct Pending<T> {
    life: Span,
    waiting: Mutex<HashMap<String, (T, Timestamp)>>,
}

impl<T> Pending<T> {
    /// Returns an empty place in which each thing lives so long.
    pub fn new(life: Span) -> Pending<T> {
        Pending { life, waiting: Mutex::default() }
    }

    /// Keeps a thing. When there are too many, the oldest goes.
    pub fn put(&self, key: String, it: T, now: Timestamp) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= PENDING_MAX {
            waiting.retain(|_, it| now.since(it.1) <= self.life);
            if waiting.len() >= PENDING_MAX
                && let Some(oldest) = waiting.iter().min_by_key(|it| it.1.1).map(|it| it.0.clone())
            {
                waiting.remove(&oldest);
            }
        }
        waiting.insert(key, (it, now));
    }

    /// Looks at a thing without using it up.
    pub fn get(&self, key: &str, now: Timestamp) -> Option<T>
    where
        T: Clone,
    {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (it, since) = waiting.get(key)?;
        (now.since(*since) <= self.life).then(|| it.clone())
    }

    /// Uses a thing up, unless its time is over.
    pub fn take(&self, key: &str, now: Timestamp) -> Option<T> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (it, since) = waiting.remove(key)?;
        (now.since(since) <= self.life).then_some(it)
    }

    /// Uses a thing up if it is the right one; any other stays.
    pub fn take_if(&self, key: &str, now: Timestamp, is_it: impl Fn(&T) -> bool) -> Option<T> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let found = waiting.get(key).is_some_and(|it| is_it(&it.0));
        let (it, since) = if found { waiting.remove(key)? } else { return None };
        (now.since(since) <= self.life).then_some(it)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_is_used_once_and_in_time_and_there_is_a_bound() {
        let pending = Pending::new(Span::secs(60));
        let at = |seconds: i64| Timestamp(seconds * 1_000_000);
        pending.put("a".into(), 1, at(0));
        assert_eq!(pending.take_if("a", at(1), |it| *it == 2), None, "it stays");
        assert_eq!(pending.take("a", at(60)), Some(1));
        assert_eq!(pending.take("a", at(60)), None);
        pending.put("b".into(), 2, at(0));
        assert_eq!(pending.take("b", at(61)), None, "too late");
        for number in 0..PENDING_MAX + 5 {
            pending.put(number.to_string(), 0, at(0).plus(Span(number as i64)));
        }
        assert_eq!(pending.waiting.lock().unwrap().len(), PENDING_MAX);
        assert_eq!(pending.take("0", at(1)), None, "the oldest went");
    }
}
