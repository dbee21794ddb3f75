//! How many requests somebody may make: by address and account for what needs no token, by user or
//! key for the rest.
//!
//! Each limit is a number a key (the generic cell rate algorithm), in one of many small maps, each
//! with a lock of its own, so two callers hardly ever meet.
//!
//! Invariant: a limit remembers at most [`KEYS_MAX`] keys. Where there is no room for another one,
//! those are forgotten that have used least, which gives nobody less than they have.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, Hash, RandomState},
    net::IpAddr,
    num::NonZeroU32,
    sync::Mutex,
    time::Duration,
};

use governor::{
    NotUntil, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::{StateInformationMiddleware, StateSnapshot},
    nanos::Nanos,
    state::{StateStore, keyed::ShrinkableKeyedStateStore},
};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use traaviis_platform::Error;
use traaviis_policy::plan::Plan;
use uuid::Uuid;

/// Keys of one limit: at 48 bytes each, 5 MB.
pub const KEYS_MAX: usize = 100_000;
/// Maps of one limit; more than threads that ask at once on the machines we know.
const SHARDS: usize = 64;
/// Keys of one map.
const SHARD_KEYS_MAX: usize = KEYS_MAX / SHARDS;
/// Attempts of one account in a minute.
pub const ACCOUNT_PER_MINUTE: u32 = 10;
/// Attempts from one address in a minute.
pub const ADDRESS_PER_MINUTE: u32 = 60;
/// The same for trying things out, where one person plays many.
pub const DEV_PER_MINUTE: u32 = 600;

/// How many attempts somebody may make in a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempts {
    /// At one account.
    pub account: u32,
    /// From one address.
    pub address: u32,
}

impl Attempts {
    /// For everybody's use.
    pub const STRICT: Attempts =
        Attempts { account: ACCOUNT_PER_MINUTE, address: ADDRESS_PER_MINUTE };
    /// For trying things out.
    pub const DEV: Attempts = Attempts { account: DEV_PER_MINUTE, address: DEV_PER_MINUTE };
}

/// How a caller stands to a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Requests at once.
    pub limit: u32,
    /// Requests that are left now.
    pub remaining: u32,
    /// Seconds until all are there again.
    pub reset: u64,
}

/// All limits of a server.
#[derive(Debug)]
pub struct Limits {
    accounts: Limit<[u8; 16]>,
    addresses: Limit<IpAddr>,
    /// By plan, in the order of [`Plan::ALL`].
    callers: Vec<Limit<Uuid>>,
}

impl Limits {
    /// Returns limits of which nothing is used.
    pub fn new(attempts: Attempts) -> Limits {
        let Attempts { account, address } = attempts;
        let of_plan = |it: &Plan| {
            let rate = count(it.requests_per_second());
            Limit::new(Quota::per_second(rate).allow_burst(rate.saturating_add(rate.get())))
        };
        Limits {
            accounts: Limit::new(Quota::per_minute(count(account))),
            addresses: Limit::new(Quota::per_minute(count(address))),
            callers: Plan::ALL.iter().map(of_plan).collect(),
        }
    }

    /// Counts an attempt from an address: logging in, registering, whatever needs no token.
    pub fn from_address(&self, address: IpAddr) -> Result<Pace, Error> {
        self.addresses.take(&network_of(address), "attempts from your address")
    }

    /// Counts an attempt at an account; what names it is not kept.
    pub fn at_account(&self, name: &str) -> Result<Pace, Error> {
        let digest: [u8; 32] = Sha256::digest(name.trim().to_lowercase()).into();
        let mut key = [0; 16];
        key.copy_from_slice(&digest[..16]);
        self.accounts.take(&key, "attempts at this account")
    }

    /// Counts a request of a user or a key.
    pub fn of_caller(&self, caller: Uuid, plan: Plan) -> Result<Pace, Error> {
        let at = Plan::ALL.iter().position(|it| *it == plan).unwrap_or_default();
        self.callers[at].take(&caller, "requests")
    }

    /// Forgets keys of which nothing is used any more; called from time to time.
    pub fn tidy(&self) {
        self.accounts.tidy();
        self.addresses.tidy();
        self.callers.iter().for_each(Limit::tidy);
    }

    /// Returns how many keys are remembered.
    pub fn keys(&self) -> usize {
        let callers: usize = self.callers.iter().map(Limit::len).sum();
        self.accounts.len() + self.addresses.len() + callers
    }
}

fn count(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
}

/// Returns what stands for an address: in IPv6 everybody has a whole network of addresses.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(it) => IpAddr::V6((u128::from(it) & (u128::MAX << 64)).into()),
        v4 => v4,
    }
}

/// One limit for many keys.
#[derive(Debug)]
struct Limit<K: Eq + Hash + Clone, C: Clock = DefaultClock> {
    limiter: RateLimiter<K, Shards<K>, C, StateInformationMiddleware>,
}

impl<K: Eq + Hash + Clone> Limit<K> {
    fn new(quota: Quota) -> Limit<K> {
        Limit::with(quota, DefaultClock::default())
    }
}

impl<K: Eq + Hash + Clone, C: Clock> Limit<K, C> {
    fn with(quota: Quota, clock: C) -> Limit<K, C> {
        Limit { limiter: RateLimiter::new(quota, Shards::default(), clock) }
    }

    fn take(&self, key: &K, what: &str) -> Result<Pace, Error> {
        self.limiter.check_key(key).map(pace).map_err(|until| self.refusal(&until, what))
    }

    fn refusal(&self, until: &NotUntil<C::Instant>, what: &str) -> Error {
        let wait = until.wait_time_from(self.limiter.clock().now());
        let seconds = whole_seconds(wait).max(1);
        let limit = until.quota().burst_size().get();
        let message = format!("too many {what}; try again in {seconds} s");
        Error::new("rate_limit_exceeded", message).with_details(json!({
            "retry_after": seconds.to_string(), "limit": limit,
        }))
    }

    fn tidy(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }

    fn len(&self) -> usize {
        self.limiter.len()
    }
}

fn pace(state: StateSnapshot) -> Pace {
    let quota = state.quota();
    let (limit, remaining) = (quota.burst_size().get(), state.remaining_burst_capacity());
    let missing = quota.replenish_interval() * limit.saturating_sub(remaining);
    Pace { limit, remaining, reset: whole_seconds(missing) }
}

fn whole_seconds(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}

/// Where a limit keeps its numbers.
#[derive(Debug)]
struct Shards<K> {
    hasher: RandomState,
    shards: Vec<Mutex<HashMap<K, Nanos>>>,
}

impl<K> Default for Shards<K> {
    fn default() -> Shards<K> {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Shards { hasher: RandomState::new(), shards }
    }
}

impl<K: Eq + Hash + Clone> StateStore for Shards<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let at = self.hasher.hash_one(key) as usize % SHARDS;
        let mut shard = lock(&self.shards[at]);
        let (answer, next) = decide(shard.get(key).copied())?;
        if shard.len() >= SHARD_KEYS_MAX && !shard.contains_key(key) {
            forget_half(&mut shard);
        }
        shard.insert(key.clone(), next);
        Ok(answer)
    }
}

/// Forgets the half of the keys that has used least.
fn forget_half<K: Eq + Hash>(shard: &mut HashMap<K, Nanos>) {
    let mut all: Vec<u64> = shard.values().map(|it| it.as_u64()).collect();
    let middle = all.len() / 2;
    let (_, median, _) = all.select_nth_unstable(middle);
    let median = *median;
    let mut left = middle.saturating_sub(all.iter().filter(|it| **it > median).count());
    shard.retain(|_, it| {
        let is_one_of_many = it.as_u64() == median && left > 0;
        left -= usize::from(is_one_of_many);
        it.as_u64() > median || is_one_of_many
    });
}

impl<K: Eq + Hash + Clone> ShrinkableKeyedStateStore<K> for Shards<K> {
    fn retain_recent(&self, drop_below: Nanos) {
        self.shards.iter().for_each(|it| lock(it).retain(|_, at| *at > drop_below));
    }

    fn shrink_to_fit(&self) {
        self.shards.iter().for_each(|it| lock(it).shrink_to_fit());
    }

    fn len(&self) -> usize {
        self.shards.iter().map(|it| lock(it).len()).sum()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Numbers only: whatever a panic left in it is as good as any.
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn taken<K: Eq + Hash + Clone>(limit: &Limit<K, FakeRelativeClock>, key: &K) -> usize {
        (0..1_000).filter(|_| limit.take(key, "tries").is_ok()).count()
    }

    #[test]
    fn so_many_at_once_then_as_time_gives_them_back() {
        let clock = FakeRelativeClock::default();
        let quota = Quota::per_second(count(20)).allow_burst(count(40));
        let limit = Limit::with(quota, clock.clone());
        let first = limit.take(&1, "tries").unwrap();
        assert_eq!(first, Pace { limit: 40, remaining: 39, reset: 1 });
        assert_eq!(taken(&limit, &1), 39);
        assert_eq!(taken(&limit, &2), 40, "another one has a count of their own");
        let refused = limit.take(&1, "tries").unwrap_err();
        assert_eq!(refused.code, "rate_limit_exceeded");
        assert_eq!(refused.details["retry_after"], "1");
        clock.advance(Duration::from_millis(500));
        assert_eq!(taken(&limit, &1), 10);
        clock.advance(Duration::from_secs(60));
        assert_eq!(taken(&limit, &1), 40);
    }

    #[test]
    fn attempts_are_counted_by_account_and_by_network() {
        let limits = Limits::new(Attempts::STRICT);
        let tries = |limits: &Limits, name: &str| {
            (0..100).filter(|_| limits.at_account(name).is_ok()).count()
        };
        assert_eq!(tries(&limits, "ada@example.org"), 10);
        assert_eq!(tries(&limits, " ADA@example.org"), 0, "the same one");
        assert_eq!(tries(&limits, "bob@example.org"), 10);
        let from = |address: &str| limits.from_address(address.parse().unwrap()).is_ok();
        assert_eq!((0..100).filter(|_| from("192.0.2.1")).count(), 60);
        assert!(!from("::ffff:192.0.2.1") && from("192.0.2.2"));
        let mine = (0..100).filter(|it| from(&format!("2001:db8::{it:x}"))).count();
        assert_eq!(mine, 60, "a network of one's own is one caller");
        assert_eq!(tries(&Limits::new(Attempts::DEV), "ada"), 100);
    }

    #[test]
    fn keys_have_a_bound_and_who_has_used_most_is_not_forgotten() {
        let clock = FakeRelativeClock::default();
        let limit = Limit::with(Quota::per_minute(count(10)), clock.clone());
        while limit.take(&u64::MAX, "tries").is_ok() {}
        (0..3 * KEYS_MAX as u64).for_each(|it| drop(limit.take(&it, "tries")));
        assert!(limit.len() <= KEYS_MAX, "{}", limit.len());
        assert!(limit.take(&u64::MAX, "tries").is_err());
        clock.advance(Duration::from_secs(120));
        limit.tidy();
        assert_eq!(limit.len(), 0);
    }

    #[test]
    fn a_look_costs_next_to_nothing() {
        const LOOKS: u32 = 200_000;
        let limits = Limits::new(Attempts::STRICT);
        let callers: Vec<Uuid> = (0..1_000).map(Uuid::from_u128).collect();
        let begun = std::time::Instant::now();
        for at in 0..LOOKS {
            drop(limits.of_caller(callers[at as usize % callers.len()], Plan::SelfHosted));
        }
        let each = begun.elapsed() / LOOKS;
        println!("a look takes {each:?}");
        // 0.2 µs with optimisation; a hundredth of the cheapest request without.
        assert!(each < Duration::from_micros(20), "{each:?}");
    }
}
