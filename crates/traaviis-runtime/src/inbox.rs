//! What waits for a shard: first what the runtime has to say, then callers, in turns by tenant.
//!
//! A caller holds a place from the moment it asks until its message is taken. Places are
//! counted by
//! tenant, so one that fills the queue is told `busy` while others still find room.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use traaviis_model::TenantId;

use crate::{
    fair::FairQueue,
    hasher::SeededHasher,
    limits::{INBOX_MAX, INBOX_TENANT_MIN, TURN},
    owner::Message,
};

/// The places of callers in the queue of one shard.
#[derive(Debug, Default)]
pub(crate) struct Places {
    all: AtomicUsize,
    tenants: RwLock<HashMap<TenantId, Arc<AtomicUsize>, SeededHasher>>,
}

/// One place; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    of_tenant: Arc<AtomicUsize>,
}

impl Places {
    /// Takes a place, unless the queue is full and the tenant has its part of it.
    pub(crate) fn take(self: &Arc<Places>, tenant: TenantId) -> Option<Place> {
        let of_tenant = self.of(tenant);
        let own = of_tenant.fetch_add(1, Ordering::SeqCst);
        let all = self.all.fetch_add(1, Ordering::SeqCst);
        let place = Place { places: Arc::clone(self), of_tenant };
        (all < INBOX_MAX || own < INBOX_TENANT_MIN).then_some(place)
    }

    fn of(&self, tenant: TenantId) -> Arc<AtomicUsize> {
        let known = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(it) = known.get(&tenant) {
            return Arc::clone(it);
        }
        drop(known);
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(tenants.entry(tenant).or_default())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.of_tenant.fetch_sub(1, Ordering::SeqCst);
        self.places.all.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The queue of one shard.
pub(crate) struct Inbox {
    first: VecDeque<Message>,
    /// Questions; they need no room in the log, so a disk that stands still does not hold them up.
    questions: FairQueue<TenantId, (Message, Place)>,
    /// What callers want done, and what instances hear of each other: a circle of instances that
    /// answer events with events takes the turns of its tenant only.
    work: FairQueue<TenantId, (Message, Option<Place>)>,
    /// Whose turn it is when both wait.
    is_turn_of_work: bool,
}

impl Inbox {
    pub(crate) fn new() -> Inbox {
        Inbox {
            first: VecDeque::new(),
            questions: FairQueue::new(TURN),
            work: FairQueue::new(TURN),
            is_turn_of_work: false,
        }
    }

    /// Puts in a message; a caller's comes with its place.
    pub(crate) fn push(&mut self, message: Message, caller: Option<(TenantId, Place)>) {
        match (caller, &message) {
            (Some((tenant, place)), Message::Find { .. } | Message::List { .. }) => {
                self.questions.push(tenant, 1, (message, place));
            }
            (Some((tenant, place)), _) => self.work.push(tenant, 1, (message, Some(place))),
            (None, Message::Emission { tenant, .. }) => {
                self.work.push(*tenant, 1, (message, None));
            }
            (None, _) => {
                if matches!(message, Message::Drain(_)) {
                    // Whoever asked before the end began is still served.
                    while let Some(message) = self.pop_caller(true) {
                        self.first.push_back(message);
                    }
                }
                self.first.push_back(message);
            }
        }
    }

    /// Takes the next message; new work only if there is `room` for it.
    pub(crate) fn pop(&mut self, room: bool) -> Option<Message> {
        self.first.pop_front().or_else(|| self.pop_caller(room))
    }

    fn pop_caller(&mut self, room: bool) -> Option<Message> {
        let has_work = room && !self.work.is_empty();
        let takes_work = has_work && (self.is_turn_of_work || self.questions.is_empty());
        self.is_turn_of_work = !takes_work;
        // The place is free once the message is taken.
        match takes_work {
            true => self.work.pop().map(|(message, _)| message),
            false => self.questions.pop().map(|(message, _)| message),
        }
    }

    /// Says whether a message can be taken.
    pub(crate) fn is_ready(&self, room: bool) -> bool {
        !self.first.is_empty() || !self.questions.is_empty() || (room && !self.work.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use traaviis_model::TenantCtx;

    use super::*;

    #[test]
    fn a_full_queue_keeps_places_for_quiet_tenants() {
        let places = Arc::new(Places::default());
        let [loud, quiet] = [1, 2].map(|it| TenantCtx::for_test(it).tenant());
        let held: Vec<Place> = (0..INBOX_MAX).map(|_| places.take(loud).unwrap()).collect();
        assert!(places.take(loud).is_none());
        let kept: Vec<Option<Place>> = (0..INBOX_TENANT_MIN).map(|_| places.take(quiet)).collect();
        assert!(kept.iter().all(Option::is_some));
        assert!(places.take(quiet).is_none(), "its part is used up and the queue is full");
        drop(kept);
        drop(held);
        assert!(places.take(loud).is_some());
        assert_eq!(places.all.load(Ordering::SeqCst), 0, "every place is given back");
    }
}
