//! The real clock and real ids, behind the ports.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use traaviis_model::{InstanceId, Span, Timestamp};
use traaviis_ports::{Clock, Ids};
use traaviis_runtime::clock::Jump;
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
#[derive(Clone, Copy, Debug)]
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

    fn wall(&self) -> Timestamp {
        now()
    }
}

/// Says on standard error that the wall clock has jumped.
pub fn tell_jump(jump: &Jump) {
    let seconds = |span: Span| Span::secs(span.0.abs() / 1_000_000);
    let (by, follows) = (seconds(jump.by()), seconds(jump.follows()));
    match (jump.by_us >= 0, jump.follows_us > 0) {
        (true, true) => tracing::warn!(
            code = "clock_jump",
            "the wall clock jumped forward by {by}; times and dates follow it by \
             {follows}, and what waits for time to pass waits on"
        ),
        (true, false) => tracing::warn!(
            code = "clock_jump",
            "the wall clock jumped forward by {by}, and is not past the times in the log"
        ),
        (false, _) => tracing::warn!(
            code = "clock_jump",
            "the wall clock is {by} behind; time goes on as if it were not, until it has \
             caught up; check the clock"
        ),
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
