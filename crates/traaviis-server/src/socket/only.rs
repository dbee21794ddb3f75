//! Machines that a socket has chosen: it hears of these on its topic, and of no others.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use traaviis_model::InstanceId;

use super::limits::{FOLLOWED_ALL_MAX, FOLLOWED_MAX};

/// Machines that one socket has chosen. What they take is given back when it is dropped.
#[derive(Debug)]
pub struct Only {
    machines: HashSet<InstanceId>,
    /// Machines that all sockets have chosen together.
    all: Arc<AtomicUsize>,
}

impl Only {
    /// Returns none of a process whose sockets have chosen so many.
    pub fn of(all: &Arc<AtomicUsize>) -> Only {
        Only { machines: HashSet::new(), all: Arc::clone(all) }
    }

    /// Says whether a machine is among them.
    pub fn has(&self, machine: InstanceId) -> bool {
        self.machines.contains(&machine)
    }

    /// Returns how many there are.
    pub fn count(&self) -> usize {
        self.machines.len()
    }

    /// Chooses more, all of them or none: says whether there was room.
    pub fn add(&mut self, machines: &[InstanceId]) -> bool {
        let new: HashSet<InstanceId> =
            machines.iter().copied().filter(|it| !self.machines.contains(it)).collect();
        let all = self.all.fetch_add(new.len(), Ordering::SeqCst) + new.len();
        if self.machines.len() + new.len() > FOLLOWED_MAX || all > FOLLOWED_ALL_MAX {
            self.all.fetch_sub(new.len(), Ordering::SeqCst);
            return false;
        }
        self.machines.extend(new);
        true
    }

    /// Chooses some no more.
    pub fn remove(&mut self, machines: &[InstanceId]) {
        let before = self.machines.len();
        for machine in machines {
            self.machines.remove(machine);
        }
        self.all.fetch_sub(before - self.machines.len(), Ordering::SeqCst);
        if self.machines.len() < self.machines.capacity() / 4 {
            self.machines.shrink_to_fit();
        }
    }
}

impl Drop for Only {
    fn drop(&mut self) {
        self.all.fetch_sub(self.machines.len(), Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn ids(of: std::ops::Range<u128>) -> Vec<InstanceId> {
        of.map(|it| InstanceId(Uuid::from_u128(it))).collect()
    }

    #[test]
    fn so_many_are_chosen_and_given_back() {
        let all = Arc::default();
        let mut only = Only::of(&all);
        assert!(only.add(&ids(0..FOLLOWED_MAX as u128)));
        assert!(only.add(&ids(5..6)), "chosen before");
        assert!(!only.add(&ids(5..FOLLOWED_MAX as u128 + 1)), "one too many");
        assert!(!only.has(ids(FOLLOWED_MAX as u128..FOLLOWED_MAX as u128 + 1)[0]));
        only.remove(&ids(0..10));
        only.remove(&ids(0..10));
        assert_eq!((only.count(), only.has(ids(3..4)[0])), (FOLLOWED_MAX - 10, false));
        assert_eq!(all.load(Ordering::SeqCst), FOLLOWED_MAX - 10);
        drop(only);
        assert_eq!(all.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn all_together_choose_no_more_than_there_is_room_for() {
        let all = Arc::new(AtomicUsize::new(FOLLOWED_ALL_MAX - 1));
        let mut only = Only::of(&all);
        assert!(!only.add(&ids(0..2)));
        assert!(only.add(&ids(0..1)));
        assert_eq!(all.load(Ordering::SeqCst), FOLLOWED_ALL_MAX);
    }
}
