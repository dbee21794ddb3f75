//! Time of a process: it follows the wall clock forward, and never goes back.
//!
//! It begins no earlier than the last commit and goes on with the time that passes, which no
//! setting changes. When the wall clock jumps forward, every owner first lets its relative timers
//! wait longer by as much, and then time jumps for all of them at once: dates come when the wall
//! clock says so, and nothing that waits for time to pass is early. When it jumps back, time goes
//! on: what has happened cannot come later than what follows it.
//!
//! Every jump is recorded, and told to whoever runs the process.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
    mpsc::{Receiver, RecvTimeoutError, channel},
};

use serde::{Deserialize, Serialize};
use uuid::{Builder, Version};

use traaviis_model::{InstanceId, Span, Timestamp, Value};
use traaviis_ports::Clock;

use crate::{
    error::Error,
    handle::Inner,
    limits::{CLOCK_JUMP_MIN, CLOCK_LOOK_EVERY},
    owner::Message,
    runtime::Signal,
    threads,
};

/// Name of the documents that record jumps.
pub const CLOCK_JUMP: &str = "clock_jump";

/// Told of every jump, before it is recorded.
pub type OnClockJump = Arc<dyn Fn(&Jump) + Send + Sync>;

/// A jump of the wall clock, apart from the time that passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jump {
    /// How far, backwards when negative.
    pub by_us: i64,
    /// How far the time of the process follows it.
    pub follows_us: i64,
    /// What the wall clock showed after it.
    pub wall: Timestamp,
}

impl Jump {
    /// Returns how far it was, backwards when negative.
    pub fn by(&self) -> Span {
        Span(self.by_us)
    }

    /// Returns how far the time of the process follows it.
    pub fn follows(&self) -> Span {
        Span(self.follows_us)
    }

    /// Returns what a record says of it.
    pub(crate) fn to_value(self) -> Value {
        let Jump { by_us, follows_us, wall } = self;
        Value::map([
            ("by_us", Value::Int(by_us)),
            ("follows_us", Value::Int(follows_us)),
            ("wall", Value::from(wall.to_string())),
        ])
    }

    /// Returns the stream of its record: an id that no caller can choose, because it is of another
    /// version than those of instances.
    pub(crate) fn stream(fresh: InstanceId) -> InstanceId {
        InstanceId(
            Builder::from_bytes(*fresh.0.as_bytes()).with_version(Version::Custom).into_uuid(),
        )
    }
}

/// Time that follows the wall clock forward and never goes back.
pub(crate) struct Steady {
    clock: Arc<dyn Clock>,
    /// How far it is ahead of the time that passes, in microseconds.
    ahead: AtomicI64,
}

impl Steady {
    /// Returns time that begins no earlier than `floor`.
    ///
    /// A wall clock that was set back while the process was away would otherwise make every timer
    /// late by as much; so time goes on from the last commit.
    pub(crate) fn not_before(clock: Arc<dyn Clock>, floor: Timestamp) -> Steady {
        let ahead = floor.since(clock.now()).0.max(0);
        Steady { clock, ahead: AtomicI64::new(ahead) }
    }

    fn advance(&self, by: Span) {
        self.ahead.fetch_add(by.0, Ordering::SeqCst);
    }
}

impl Clock for Steady {
    fn now(&self) -> Timestamp {
        self.clock.now().plus(Span(self.ahead.load(Ordering::SeqCst)))
    }

    fn wall(&self) -> Timestamp {
        self.clock.wall()
    }
}

/// Looks for jumps.
#[derive(Debug, Default)]
struct Jumps {
    /// How far the wall clock was ahead of time at the last jump; behind when negative.
    ahead: Span,
}

impl Jumps {
    /// Returns a jump, once for each.
    fn look(&mut self, now: Timestamp, wall: Timestamp) -> Option<Jump> {
        let ahead = wall.since(now);
        let by = Span(ahead.0 - self.ahead.0);
        if by.0.abs() <= CLOCK_JUMP_MIN.0 {
            return None;
        }
        let follows = ahead.0.max(0);
        self.ahead = Span(ahead.0 - follows);
        Some(Jump { by_us: by.0, follows_us: follows, wall })
    }
}

/// Looks for jumps now, for one that happened while no process was there, and then until the
/// runtime is gone.
pub(crate) fn start(
    stopped: Receiver<()>,
    steady: Arc<Steady>,
    tell: OnClockJump,
    inner: &Arc<Inner>,
) -> Result<(), Error> {
    let mut jumps = Jumps::default();
    let mut look = move |inner: &Inner| {
        if let Some(jump) = jumps.look(steady.now(), steady.wall()) {
            tell(&jump);
            follow(inner, &steady, jump);
        }
    };
    look(inner);
    let on_fatal = Arc::clone(&inner.shared.on_fatal);
    let inner = Arc::downgrade(inner);
    let work = move || {
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(CLOCK_LOOK_EVERY) {
            let Some(inner) = inner.upgrade() else { return };
            look(&inner);
        }
    };
    threads::begin("traaviis-clock", &on_fatal, work)
}

/// Lets every owner know of a jump, then lets time follow it for all of them.
fn follow(inner: &Inner, steady: &Steady, jump: Jump) {
    let stream = Jump::stream(inner.shared.ports.ids.instance_id());
    let (done, answers) = channel();
    for shard in inner.shards() {
        let message = Message::ClockJumped { jump, stream, done: Some(done.clone()) };
        // A shard that has ended has nothing that could be early.
        let _ = shard.signals.send(Signal::Message(message, None));
    }
    drop(done);
    // Until the last one has answered, or has ended.
    answers.iter().for_each(drop);
    steady.advance(jump.follows());
    for shard in inner.shards() {
        // As above.
        let _ = shard.signals.send(Signal::Wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_of_the_wall_clock_is_told_once() {
        let mut jumps = Jumps::default();
        // Time follows what it is told to follow.
        let mut followed = 0;
        let mut look = |wall: i64, passed: i64| {
            let at = |secs| Timestamp(0).plus(Span::secs(secs));
            let found = jumps.look(at(passed + followed), at(wall))?;
            followed += found.follows_us / 1_000_000;
            Some((found.by().to_string(), found.follows().to_string()))
        };
        let some = |by: &str, follows: &str| Some((by.to_string(), follows.to_string()));
        assert_eq!(look(10, 10), None);
        assert_eq!(look(75, 20), None, "less than a minute");
        assert_eq!(look(3_680, 30), some("1h50s", "1h50s"));
        assert_eq!(look(3_690, 40), None);
        // Back to where it was: time stays where it is.
        assert_eq!(look(50, 50), some("-1h50s", "0s"));
        assert_eq!(look(60, 60), None);
        // Forward again, but not past it.
        assert_eq!(look(1_870, 70), some("30m", "0s"));
        assert_eq!(look(7_280, 80), some("1h30m", "59m10s"));
    }

    #[test]
    fn the_stream_of_a_jump_is_no_id_that_can_be_chosen() {
        let fresh: InstanceId = "0198c51a-7800-7abc-8000-0123456789ab".parse().unwrap();
        let stream = Jump::stream(fresh).to_string();
        assert_eq!(stream, "0198c51a-7800-8abc-8000-0123456789ab");
        assert!(InstanceId::chosen(&stream, Timestamp(i64::MAX / 2)).is_err());
    }
}
