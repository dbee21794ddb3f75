//! The real clock and real ids, behind the ports.

use std::{
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::time::{ClockId, clock_gettime};
use traaviis_model::{InstanceId, Span, Timestamp};
use traaviis_ports::{Clock, Ids};
use uuid::Uuid;

use crate::output;

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
}

/// A wall clock that moves by more than this, apart from the time that passes, has jumped.
const JUMP: Span = Span::secs(60);
/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Looks for jumps of the wall clock.
#[derive(Debug, Default)]
struct Jumps {
    /// How far the wall clock is ahead of time that passes, when last told.
    ahead: Span,
}

impl Jumps {
    /// Returns how far the wall clock jumped, once for each jump.
    fn look(&mut self, wall: Timestamp, passed: Timestamp) -> Option<Span> {
        let ahead = wall.since(passed);
        let jump = Span(ahead.0 - self.ahead.0);
        if jump.0.abs() <= JUMP.0 {
            return None;
        }
        self.ahead = ahead;
        Some(jump)
    }
}

/// Says on standard error when the wall clock jumps, until the process ends.
pub fn tell_jumps(clock: SystemClock) {
    let look = move || {
        let mut jumps = Jumps::default();
        loop {
            thread::sleep(LOOK_EVERY);
            if let Some(jump) = jumps.look(now(), clock.now()) {
                let seconds = Span::secs(jump.0 / 1_000_000);
                output::warn(format_args!(
                    "warning: the wall clock jumped by {seconds}; timers go on with the time that \
                     passes, and so do times in the log and schedules, until the next start \
                     (clock_jump)"
                ));
            }
        }
    };
    // Without it nobody is told; nothing else depends on it.
    drop(thread::Builder::new().name("clock".into()).spawn(look));
}

/// Says on standard error that the wall clock was set back while the process was away.
pub fn tell_behind(behind: Span) {
    if behind.0 > JUMP.0 {
        let seconds = Span::secs(behind.0 / 1_000_000);
        output::warn(format_args!(
            "warning: the wall clock is {seconds} behind the last commit, so time goes on from there \
             until the next start; check the clock (clock_jump)"
        ));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_of_the_wall_clock_is_told_once() {
        let mut jumps = Jumps::default();
        let mut look = |wall: i64, passed: i64| {
            let at = |secs| Timestamp(0).plus(Span::secs(secs));
            jumps.look(at(wall), at(passed)).map(|it| it.to_string())
        };
        let told = [(10, 10), (75, 20), (3_680, 30), (3_690, 40), (50, 50), (60, 60)];
        let told = told.map(|(wall, passed)| look(wall, passed).unwrap_or_default());
        assert_eq!(
            told,
            ["", "", "1h50s".to_string().as_str(), "", "-1h50s", ""].map(String::from)
        );
    }
}
