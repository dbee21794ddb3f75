//! The real clock and real ids, behind the ports.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use traaviis_model::{InstanceId, Timestamp};
use traaviis_ports::{Clock, Ids};
use uuid::Uuid;

/// Returns the wall clock's time; for display only.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// The wall clock at start plus the time passed since.
#[derive(Debug)]
pub struct SystemClock {
    wall: Timestamp,
    begun: Instant,
}

impl SystemClock {
    /// Returns a clock that starts now.
    pub fn start() -> SystemClock {
        SystemClock { wall: now(), begun: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let passed = i64::try_from(self.begun.elapsed().as_micros()).unwrap_or(i64::MAX);
        self.wall.plus(traaviis_model::Span(passed))
    }
}

/// UUIDv7 from the wall clock and the system's randomness.
#[derive(Debug)]
pub struct RandomIds;

impl Ids for RandomIds {
    fn instance_id(&self) -> InstanceId {
        InstanceId(Uuid::now_v7())
    }
}
