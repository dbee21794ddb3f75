//! How the maps of owners find their keys: ids, most of whose bits are random already.
//!
//! Callers may choose ids, so the place of a key in a map must not be computable from outside:
//! every map has keys of its own, from a seed that the process draws once.
//!
//! Invariant: nothing that anybody can see follows the order of a map. Two maps with the same
//! content have another order even in one process, so the simulation, which runs a seed twice and
//! compares, finds whoever forgets it.

/// Builds the hashers of one map; the variant whose lower bits, from which a map takes its places,
/// spread as well as the upper ones.
pub type SeededHasher = foldhash::quality::RandomState;

#[cfg(test)]
mod tests {
    use std::{
        collections::HashMap,
        hash::{BuildHasher, Hasher},
    };

    use foldhash::quality::FixedState;
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
            let hash = FixedState::with_seed(seed);
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
                assert!(worst.0 <= 48 && worst.1 <= 256, "seed {seed}, shift {shift}: {worst:?}");
            }
        }
    }

    /// Ids whose hashes meet in one place for one map are spread in another.
    #[test]
    fn ids_chosen_for_one_map_spread_in_another() {
        let known = FixedState::with_seed(1);
        let meet = |it: &Key| known.hash_one(it) & 1023 == 7;
        let chosen: Vec<Key> = (0..1u128 << 20).map(key).filter(meet).collect();
        assert!(chosen.len() > 500);
        for seed in 2..32 {
            let hash = FixedState::with_seed(seed);
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
            let mut it = FixedState::with_seed(3).build_hasher();
            it.write(bytes);
            it.finish()
        };
        assert_ne!(hash(b"a"), hash(b"a\0"));
        assert_ne!(hash(b"12345678a"), hash(b"12345678b"));
        assert_ne!(hash(b""), hash(b"\0\0\0\0\0\0\0\0"));
    }
}
