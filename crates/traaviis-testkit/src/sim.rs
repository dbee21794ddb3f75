//! Parts of deterministic simulations: seeds from the environment, a trace hash, and a network that
//! delays, loses and repeats what it carries.
//!
//! The same seed gives the same run: nothing here reads a clock, an address or a default hasher.

use std::{collections::BTreeMap, env};

use traaviis_model::{Span, Timestamp};

use crate::rng::Rng;

/// How much to simulate: `SIM_SEEDS` seeds of `SIM_OPS` operations from `SIM_SEED` on, which alone
/// means only that one.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// First seed.
    pub first: u64,
    /// Number of seeds.
    pub seeds: u64,
    /// Operations of a run.
    pub ops: u64,
}

impl Plan {
    /// Reads the environment; `seeds` and `ops` hold where it says nothing.
    pub fn from_env(seeds: u64, ops: u64) -> Plan {
        let number = |name: &str| env::var(name).ok().and_then(|text| text.parse().ok());
        let ops = number("SIM_OPS").unwrap_or(ops);
        match number("SIM_SEED") {
            Some(first) => Plan { first, seeds: number("SIM_SEEDS").unwrap_or(1), ops },
            None => Plan { first: 1, seeds: number("SIM_SEEDS").unwrap_or(seeds), ops },
        }
    }

    /// Returns the seeds to run.
    pub fn seeds(&self) -> impl Iterator<Item = u64> + use<> {
        self.first..self.first + self.seeds
    }
}

/// Prints the seed when a run panics, with the command that repeats it.
#[derive(Debug)]
pub struct SeedGuard {
    /// Seed of the run.
    pub seed: u64,
    /// Its operations.
    pub ops: u64,
    /// Name of the test.
    pub test: &'static str,
}

impl Drop for SeedGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let SeedGuard { seed, ops, test } = self;
            eprintln!(
                "failed with seed {seed}; repeat: SIM_SEED={seed} SIM_OPS={ops} cargo test {test}"
            );
        }
    }
}

/// FNV-1a over everything that happened in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace(u64);

impl Default for Trace {
    fn default() -> Trace {
        Trace(0xcbf2_9ce4_8422_2325)
    }
}

impl Trace {
    /// Adds bytes.
    pub fn add(&mut self, bytes: impl AsRef<[u8]>) {
        for byte in bytes.as_ref() {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// Returns the hash.
    pub fn hash(&self) -> u64 {
        self.0
    }
}

/// How a network treats a message.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Longest delay.
    pub delay_max: Span,
    /// Lost, of 100.
    pub lost: u64,
    /// Delivered twice, of 100.
    pub repeated: u64,
}

/// Messages under way.
#[derive(Debug)]
pub struct Network<T> {
    rng: Rng,
    weather: Weather,
    number: u64,
    under_way: BTreeMap<(Timestamp, u64), T>,
}

impl<T: Clone> Network<T> {
    /// Makes a network whose moods follow from `rng`.
    pub fn new(rng: Rng, weather: Weather) -> Network<T> {
        Network { rng, weather, number: 0, under_way: BTreeMap::new() }
    }

    /// Sends a message; says whether it will arrive at least once.
    pub fn send(&mut self, now: Timestamp, message: T) -> bool {
        if self.rng.chance(self.weather.lost, 100) {
            return false;
        }
        if self.rng.chance(self.weather.repeated, 100) {
            self.put(now, message.clone());
        }
        self.put(now, message);
        true
    }

    /// Sends a message that arrives at `at`, once, whatever the weather.
    pub fn send_at(&mut self, at: Timestamp, message: T) {
        self.number += 1;
        self.under_way.insert((at, self.number), message);
    }

    fn put(&mut self, now: Timestamp, message: T) {
        let delay = self.rng.below(self.weather.delay_max.0.max(1) as u64);
        self.send_at(now.plus(Span(delay as i64)), message);
    }

    /// Returns the next message that has arrived by `now`.
    pub fn receive(&mut self, now: Timestamp) -> Option<T> {
        let first = self.under_way.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// Returns when the next message arrives.
    pub fn next_at(&self) -> Option<Timestamp> {
        self.under_way.keys().next().map(|(at, _)| *at)
    }

    /// Loses everything under way.
    pub fn clear(&mut self) {
        self.under_way.clear();
    }

    /// Changes how messages are treated from now on.
    pub fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_in_order_of_time_and_never_early() {
        let weather = Weather { delay_max: Span::secs(1), lost: 10, repeated: 10 };
        let mut network = Network::new(Rng::new(1), weather);
        let mut sent = 0;
        for number in 0..100 {
            sent += u32::from(network.send(Timestamp(0), number));
        }
        assert!(sent < 100);
        let mut last = Timestamp(0);
        while let Some(at) = network.next_at() {
            assert!(at >= last);
            assert!(network.receive(Timestamp(at.0 - 1)).is_none());
            assert!(network.receive(at).is_some());
            last = at;
        }
    }
}
