//! How often somebody may try to log in: counted by account and by address, in memory.
//!
//! After [`ACCOUNT_MAX`] failures within [`WINDOW`] an account answers only after a delay that
//! doubles with each further failure, up to [`DELAY_MAX`]; never is it locked for good. Counts are
//! forgotten by a restart, which costs an attacker more than it gives.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use traaviis_model::{Span, Text, Timestamp};

use crate::error::Error;

/// Failures of one account before it is slowed down.
pub const ACCOUNT_MAX: u32 = 10;
/// Failures from one address before it is slowed down.
pub const ADDRESS_MAX: u32 = 100;
/// How long a failure counts.
pub const WINDOW: Span = Span::secs(15 * 60);
/// First delay; it doubles.
const DELAY: Span = Span::secs(1);
/// Longest delay.
pub const DELAY_MAX: Span = Span::secs(15 * 60);
/// Accounts and addresses that are counted; beyond it those whose time is over are forgotten, and
/// if there are none, the one that failed longest ago.
const COUNTED_MAX: usize = 50_000;

/// What is counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Counted {
    /// Failed logins of an account.
    Account(Text),
    /// Failed logins from an address.
    Address(Text),
}

impl Counted {
    fn limit(&self) -> u32 {
        match self {
            Counted::Account(_) => ACCOUNT_MAX,
            Counted::Address(_) => ADDRESS_MAX,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Count {
    failures: u32,
    last: Timestamp,
}

/// The counts.
#[derive(Debug, Default)]
pub struct Attempts {
    counts: Mutex<HashMap<Counted, Count>>,
}

impl Attempts {
    /// Refuses who has failed too often and must wait.
    pub fn check(&self, who: &[Counted], now: Timestamp) -> Result<(), Error> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        for counted in who {
            let Some(count) = counts.get(counted) else { continue };
            let wait = delay(count.failures, counted.limit());
            let left = wait.0 - now.since(count.last).0;
            if left > 0 {
                let seconds = (left / 1_000_000 + 1).to_string();
                let message = format!("too many failed attempts; try again in {seconds} s");
                let details = serde_json::json!({ "retry_after": seconds });
                return Err(Error::new("too_many_attempts", message).with_details(details));
            }
        }
        Ok(())
    }

    /// Counts a failure; says whether an account has just reached its limit.
    pub fn failed(&self, who: &[Counted], now: Timestamp) -> bool {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut reached = false;
        for counted in who {
            if counts.len() >= COUNTED_MAX && !counts.contains_key(counted) {
                make_room(&mut counts, now);
            }
            let count = counts.entry(counted.clone()).or_insert(Count { failures: 0, last: now });
            if now.since(count.last) > WINDOW {
                count.failures = 0;
            }
            *count = Count { failures: count.failures.saturating_add(1), last: now };
            reached |= matches!(counted, Counted::Account(_)) && count.failures == ACCOUNT_MAX;
        }
        reached
    }

    /// Forgets the failures of an account that has logged in. Those of the address stay: an
    /// attacker may have an account, too.
    pub fn succeeded(&self, account: &Counted) -> u32 {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.remove(account).map_or(0, |it| it.failures)
    }
}

fn delay(failures: u32, limit: u32) -> Span {
    match failures.checked_sub(limit) {
        None => Span(0),
        Some(over) => Span(DELAY.0.saturating_mul(1 << over.min(20)).min(DELAY_MAX.0)),
    }
}

fn make_room(counts: &mut HashMap<Counted, Count>, now: Timestamp) {
    counts.retain(|_, it| now.since(it.last) <= WINDOW);
    if counts.len() >= COUNTED_MAX
        && let Some(oldest) =
            counts.iter().min_by_key(|(_, it)| it.last).map(|(counted, _)| counted.clone())
    {
        counts.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_begins_after_ten_failures_doubles_and_ends() {
        let attempts = Attempts::default();
        let who = [Counted::Account("ada".into()), Counted::Address("10.0.0.1".into())];
        let mut now = Timestamp(1_800_000_000_000_000);
        for number in 1..=ACCOUNT_MAX {
            assert!(attempts.check(&who, now).is_ok(), "{number}");
            assert_eq!(attempts.failed(&who, now), number == ACCOUNT_MAX);
        }
        let mut waits = Vec::new();
        for _ in 0..12 {
            let mut wait = 0;
            while attempts.check(&who, now).is_err() {
                now = now.plus(Span::secs(1));
                wait += 1;
            }
            waits.push(wait);
            attempts.failed(&who, now);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
        assert!(attempts.check(&who[1..], now).is_ok(), "the address may go on");
        let later = now.plus(WINDOW).plus(Span::secs(1));
        assert!(attempts.check(&who, later).is_ok());
        attempts.failed(&who, later);
        assert!(attempts.check(&who, later).is_ok(), "old failures do not count");
    }

    #[test]
    fn what_is_counted_has_a_bound() {
        let attempts = Attempts::default();
        for number in 0..COUNTED_MAX + 10 {
            let who = [Counted::Address(number.to_string().into())];
            attempts.failed(&who, Timestamp(number as i64));
        }
        assert_eq!(attempts.counts.lock().unwrap().len(), COUNTED_MAX);
    }
}
