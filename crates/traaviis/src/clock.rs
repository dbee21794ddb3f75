//! The real clock and real ids, behind the ports.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use traaviis_model::{InstanceId, Span, Timestamp};
use traaviis_ports::{Clock, Ids};
use uuid::Uuid;

/// Returns the wall clock's time; for display only.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// Returns the time since boot, which counts while the machine sleeps and never jumps.
fn since_boot() -> Span {
    let time = clock_gettime(ClockId::Boottime);
    Span(time.tv_sec * 1_000_000 + time.tv_nsec / 1_000)
}

/// The wall clock at start plus the time passed since.
#[derive(Debug)]
pub struct SystemClock {
    wall: Timestamp,
    begun: Span,
}

impl SystemClock {
    /// Returns a clock that starts now.
    pub fn start() -> SystemClock {
        SystemClock { wall: now(), begun: since_boot() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        self.wall.plus(Span(since_boot().0 - self.begun.0))
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
