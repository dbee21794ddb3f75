//! Tenants whose instances are not kept in memory: a share of them rests as soon as it can.
//!
//! Which instances those are is decided by their ids, so that the same ones stay and the same ones
//! leave, whatever they do. What an instance needs while it decides, or waits for something that is
//! in memory, it has as any other; it leaves once the snapshot store has its state and nothing of
//! it is under way.
//!
//! Without a snapshot store everything stays.

use std::{collections::HashSet, sync::Arc};

use traaviis_model::{Span, TenantId, Timestamp};

use super::{Key, Outbox, Owner, SeededHasher, hot::Kept};

/// Says how many in a hundred of the instances of a tenant may stay in memory.
pub type HotShare = Arc<dyn Fn(TenantId) -> u8 + Send + Sync>;

/// Time between two looks at what can leave: each saves the states that changed, with one sync.
const COOL_EVERY: Span = Span::secs(1);

/// Instances in memory that should not be there.
pub(super) struct Cold {
    keys: HashSet<Key, SeededHasher>,
    next: Timestamp,
}

impl Default for Cold {
    fn default() -> Cold {
        Cold { keys: HashSet::default(), next: Timestamp(i64::MIN) }
    }
}

impl Cold {
    /// Returns when it is to be looked at again.
    pub(super) fn wake(&self) -> Option<Timestamp> {
        (!self.keys.is_empty()).then_some(self.next)
    }
}

fn is_cold(share: &HotShare, key: &Key) -> bool {
    let bits = (key.id.0.as_u128() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    bits % 100 >= u64::from(share(key.tenant))
}

impl Owner {
    /// Notes a state that came into memory, or changed there.
    pub(super) fn note_cold(&mut self, key: Key, now: Timestamp) {
        let Some(share) = self.settings.hot_share.as_ref().filter(|_| self.hot.has_store()) else {
            return;
        };
        if is_cold(share, &key) {
            let cold = &mut self.hot.cold;
            if cold.keys.is_empty() {
                cold.next = cold.next.max(now.plus(COOL_EVERY));
            }
            cold.keys.insert(key);
        }
    }

    /// Takes out of memory what should not be there and can leave, and lets the rest be saved.
    pub(super) fn cool(&mut self, now: Timestamp, outbox: &mut dyn Outbox) {
        let Some(share) = self.settings.hot_share.clone() else { return };
        let is_due = self.hot.cold.wake().is_some_and(|it| it <= now);
        if !is_due || self.dead.is_some() {
            return;
        }
        self.hot.cold.next = now.plus(COOL_EVERY);
        let mut keys = std::mem::take(&mut self.hot.cold.keys);
        let (mut leave, mut is_unsaved) = (Vec::new(), false);
        keys.retain(|key| {
            let Some(instance) = self.instances.get(key).filter(|_| is_cold(&share, key)) else {
                return false;
            };
            if instance.may_rest(now) {
                leave.push(*key);
                return false;
            }
            is_unsaved |= matches!(instance.kept, Kept::Dirty { .. });
            true
        });
        self.hot.cold.keys = keys;
        leave.into_iter().for_each(|key| self.passivate(key));
        if is_unsaved && !self.hot.asked {
            self.hot.asked = true;
            outbox.save_states();
        }
    }
}
