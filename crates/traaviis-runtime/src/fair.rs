//! Turns between tenants: deficit round robin.
//!
//! What waits is kept in one queue per tenant. Each tenant in turn is given its quantum and may
//! take what that pays for; what it has left over it keeps for the next round, and a tenant with
//! nothing waiting keeps nothing. So however much one tenant sends, another waits for one round at
//! most, and over time each gets a share by its weight.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

use crate::hasher::SeededHasher;

/// Queues of several tenants that are served in turn.
#[derive(Debug)]
pub(crate) struct FairQueue<K, T> {
    tenants: HashMap<K, Tenant<T>, SeededHasher>,
    /// Tenants with something waiting; the first is being served.
    turns: VecDeque<K>,
    quantum: u64,
}

#[derive(Debug)]
struct Tenant<T> {
    waiting: VecDeque<(u64, T)>,
    /// What it may still take in this turn.
    credit: u64,
    /// It was given its quantum for this turn.
    is_served: bool,
}

impl<K: Copy + Eq + Hash, T> FairQueue<K, T> {
    /// Returns an empty queue; `quantum` is what a tenant may take in one turn.
    pub(crate) fn new(quantum: u64) -> FairQueue<K, T> {
        FairQueue { tenants: HashMap::default(), turns: VecDeque::new(), quantum }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// Puts an item behind the others of its tenant.
    pub(crate) fn push(&mut self, key: K, cost: u64, item: T) {
        let turns = &mut self.turns;
        let tenant = self.tenants.entry(key).or_insert_with(|| {
            turns.push_back(key);
            Tenant { waiting: VecDeque::new(), credit: 0, is_served: false }
        });
        tenant.waiting.push_back((cost, item));
    }

    /// Takes the item whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<T> {
        while let Some(key) = self.turns.front().copied() {
            let Some(tenant) = self.tenants.get_mut(&key) else {
                self.turns.pop_front();
                continue;
            };
            if !tenant.is_served {
                tenant.is_served = true;
                tenant.credit += self.quantum;
            }
            if let Some((cost, _)) = tenant.waiting.front()
                && *cost > tenant.credit
            {
                tenant.is_served = false;
                self.turns.rotate_left(1);
                continue;
            }
            let taken = tenant.waiting.pop_front();
            if let Some((cost, _)) = &taken {
                tenant.credit -= cost;
            }
            if tenant.waiting.is_empty() {
                self.tenants.remove(&key);
                self.turns.pop_front();
            }
            if let Some((_, item)) = taken {
                return Some(item);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use traaviis_testkit::rng::Rng;

    use super::*;

    fn drain(queue: &mut FairQueue<u8, (u8, usize)>) -> Vec<(u8, usize)> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn one_tenant_is_served_in_order() {
        let mut queue = FairQueue::new(4);
        (0..10).for_each(|it| queue.push(1, 1, (1, it)));
        assert_eq!(drain(&mut queue), (0..10).map(|it| (1, it)).collect::<Vec<_>>());
        assert!(queue.is_empty());
    }

    #[test]
    fn a_quiet_tenant_waits_for_one_turn_of_a_loud_one() {
        let mut queue = FairQueue::new(4);
        (0..10_000).for_each(|it| queue.push(1, 1, (1, it)));
        assert_eq!(queue.pop(), Some((1, 0)));
        (0..3).for_each(|it| queue.push(2, 1, (2, it)));
        let order = drain(&mut queue);
        let at = |item| order.iter().position(|it| *it == item).unwrap();
        assert_eq!((at((2, 0)), at((2, 2))), (3, 5), "behind the turn that had begun");
        assert_eq!(order.len(), 10_002);
    }

    #[test]
    fn what_costs_more_than_a_turn_gives_is_paid_in_several() {
        let mut queue = FairQueue::new(2);
        queue.push(1, 5, (1, 0));
        (0..6).for_each(|it| queue.push(2, 1, (2, it)));
        let order = drain(&mut queue);
        assert_eq!(order, [(2, 0), (2, 1), (2, 2), (2, 3), (1, 0), (2, 4), (2, 5)]);
    }

    #[test]
    fn tenants_that_wait_get_the_same() {
        for seed in 0..300 {
            let mut rng = Rng::new(seed);
            let mut queue = FairQueue::new(8);
            let count = rng.index(400);
            let items: Vec<(u8, u64)> =
                (0..count).map(|_| (rng.below(4) as u8, 1 + rng.below(5))).collect();
            let mut left = [0usize; 4];
            for (at, (tenant, cost)) in items.iter().enumerate() {
                queue.push(*tenant, *cost, (*tenant, at));
                left[usize::from(*tenant)] += 1;
            }
            let (mut spent, mut last) = ([0u64; 4], [None; 4]);
            for (tenant, at) in drain(&mut queue) {
                let tenant = usize::from(tenant);
                assert!(last[tenant].is_none_or(|it| it < at), "seed {seed}: out of order");
                last[tenant] = Some(at);
                spent[tenant] += items[at].1;
                left[tenant] -= 1;
                // Nobody who waits is behind by more than a turn and what an item costs.
                let waiting = || (0..4).filter(|it| left[*it] > 0).map(|it| spent[it]);
                if let (Some(least), Some(most)) = (waiting().min(), waiting().max()) {
                    assert!(most - least <= 8 + 5, "seed {seed}: {spent:?}");
                }
            }
            assert_eq!(left, [0; 4], "seed {seed}");
        }
    }
}
