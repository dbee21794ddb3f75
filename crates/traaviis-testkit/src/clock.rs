//! Time and ids that a test moves by hand.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use traaviis_model::{InstanceId, Span, Timestamp};
use traaviis_ports::{Clock, Ids};
use uuid::Uuid;

/// A clock that stands still until it is moved, with a wall clock that can be set apart from it.
#[derive(Debug)]
pub struct SimClock {
    passed: AtomicI64,
    /// How far the wall clock is ahead.
    ahead: AtomicI64,
}

impl SimClock {
    /// Makes a clock that shows `at`.
    pub fn new(at: Timestamp) -> SimClock {
        SimClock { passed: AtomicI64::new(at.0), ahead: AtomicI64::new(0) }
    }

    /// Moves the clock on and returns what it shows then.
    pub fn advance(&self, span: Span) -> Timestamp {
        debug_assert!(span.0 >= 0, "time goes forward");
        Timestamp(self.passed.fetch_add(span.0, Ordering::SeqCst) + span.0)
    }

    /// Moves the clock to `at`, unless it is there or past it.
    pub fn advance_to(&self, at: Timestamp) -> Timestamp {
        Timestamp(self.passed.fetch_max(at.0, Ordering::SeqCst).max(at.0))
    }
}

impl SimClock {
    /// Sets the wall clock, forward or back.
    pub fn set_wall(&self, by: Span) {
        self.ahead.fetch_add(by.0, Ordering::SeqCst);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.passed.load(Ordering::SeqCst))
    }

    fn wall(&self) -> Timestamp {
        self.now().plus(Span(self.ahead.load(Ordering::SeqCst)))
    }
}

/// Ids that count up.
#[derive(Debug, Default)]
pub struct SimIds(AtomicU64);

impl Ids for SimIds {
    fn instance_id(&self) -> InstanceId {
        let number = self.0.fetch_add(1, Ordering::SeqCst) + 1;
        InstanceId(Uuid::from_u128(u128::from(number)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_moves_by_command_and_never_back() {
        let clock = SimClock::new(Timestamp(5));
        assert_eq!(clock.advance(Span(3)), Timestamp(8));
        assert_eq!(clock.advance_to(Timestamp(2)), Timestamp(8));
        assert_eq!(clock.now(), Timestamp(8));
    }
}
