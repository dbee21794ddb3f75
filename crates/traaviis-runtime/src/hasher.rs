//! How the maps of owners find their keys: ids, most of whose bits are random already.
//!
//! Callers may choose ids, so the place of a key in a map must not be computable from outside:
//! every map has keys of its own, from a seed that the process draws once. A hash is otherwise as
//! quick as it can be: a wide multiplication for each eight bytes, folded in half.
//!
//! Invariant: nothing that anybody can see follows the order of a map. Two maps with the same
//! content have another order even in one process, so the simulation, which runs a seed twice and
//! compares, finds whoever forgets it.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// Odd, with as many ones as zeros and no pattern: the fraction of the golden ratio.
const STRIDE: u64 = 0x9e37_79b9_7f4a_7c15;

/// Builds the hashers of one map.
#[derive(Clone, Copy, Debug)]
pub struct SeededHasher {
    start: u64,
    factor: u64,
}

impl SeededHasher {
    /// Returns the keys that come of a seed.
    fn of(seed: u64) -> SeededHasher {
        let start = spread(seed.wrapping_add(STRIDE));
        // An even factor would lose the upper bit of every word.
        SeededHasher { start, factor: spread(start.wrapping_add(STRIDE)) | 1 }
    }
}

impl Default for SeededHasher {
    fn default() -> SeededHasher {
        static SEED: OnceLock<u64> = OnceLock::new();
        static MAPS: AtomicU64 = AtomicU64::new(0);
        // The standard library draws its keys from the system.
        let seed = SEED.get_or_init(|| RandomState::new().build_hasher().finish());
        SeededHasher::of(seed.wrapping_add(MAPS.fetch_add(STRIDE, Ordering::Relaxed)))
    }
}

impl BuildHasher for SeededHasher {
    type Hasher = Folded;

    fn build_hasher(&self) -> Folded {
        Folded { hash: self.start, factor: self.factor }
    }
}

/// Spreads the bits of a number (the finaliser of splitmix64).
fn spread(mut it: u64) -> u64 {
    it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    it ^ (it >> 31)
}

/// A hash in the making.
#[derive(Clone, Copy, Debug)]
pub struct Folded {
    hash: u64,
    factor: u64,
}

impl Folded {
    fn mix(&mut self, word: u64) {
        let wide = u128::from(self.hash ^ word) * u128::from(self.factor);
        self.hash = (wide as u64) ^ ((wide >> 64) as u64);
    }
}

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|it| self.mix(u64::from_le_bytes(*it)));
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            word[7] = rest.len() as u8;
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.mix(u64::from(number));
    }

    fn write_u32(&mut self, number: u32) {
        self.mix(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.mix(number);
    }

    fn write_usize(&mut self, number: usize) {
        self.mix(number as u64);
    }

    fn finish(&self) -> u64 {
        self.hash
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use traaviis_model::{InstanceId, TenantId};
    use uuid::Uuid;

    use super::*;
    use crate::owner::Key;

    fn key(number: u128) -> Key {
        let id = InstanceId(Uuid::from_u128(number));
        Key { tenant: TenantId(Uuid::from_u128(1)), id }
    }

    /// Ids that differ in few bits must spread over both ends of the hash: a map takes its place
    /// from the lower bits and a first comparison from the upper seven.
    #[test]
    fn ids_in_a_row_spread() {
        for seed in 0..32 {
            let hash = SeededHasher::of(seed);
            for shift in [0, 4, 40, 64, 100] {
                let mut low = vec![0u32; 1 << 10];
                let mut high = vec![0u32; 1 << 7];
                for number in 0..1u128 << 14 {
                    let hashed = hash.hash_one(key(number << shift));
                    low[(hashed & 1023) as usize] += 1;
                    high[(hashed >> 57) as usize] += 1;
                }
                // 16 and 128 on average.
                let worst = (*low.iter().max().unwrap(), *high.iter().max().unwrap());
                assert!(worst.0 <= 96 && worst.1 <= 320, "seed {seed}, shift {shift}: {worst:?}");
            }
        }
    }

    /// Ids whose hashes meet in one place for one map are spread in another.
    #[test]
    fn ids_chosen_for_one_map_spread_in_another() {
        let known = SeededHasher::of(1);
        let meet = |it: &Key| known.hash_one(it) & 1023 == 7;
        let chosen: Vec<Key> = (0..1u128 << 20).map(key).filter(meet).collect();
        assert!(chosen.len() > 500);
        for seed in 2..32 {
            let hash = SeededHasher::of(seed);
            let mut places = vec![0usize; 1 << 10];
            for it in &chosen {
                places[(hash.hash_one(it) & 1023) as usize] += 1;
            }
            let worst = *places.iter().max().unwrap();
            assert!(worst < chosen.len() / 16, "seed {seed}: {worst} of {}", chosen.len());
        }
    }

    #[test]
    fn every_map_has_an_order_of_its_own() {
        let order = || {
            let map: HashMap<Key, (), SeededHasher> = (0..100).map(|it| (key(it), ())).collect();
            map.into_keys().collect::<Vec<Key>>()
        };
        assert_ne!(order(), order());
    }

    #[test]
    fn ends_of_words_count() {
        let hash = |bytes: &[u8]| {
            let mut it = SeededHasher::of(3).build_hasher();
            it.write(bytes);
            it.finish()
        };
        assert_ne!(hash(b"a"), hash(b"a\0"));
        assert_ne!(hash(b"12345678a"), hash(b"12345678b"));
        assert_ne!(hash(b""), hash(b"\0\0\0\0\0\0\0\0"));
    }
}
