//! What happens when memory stays short although all that can leave it has left.
//!
//! New instances of callers wait for a moment, in the order in which they came, and are refused
//! then. What is there goes on, and so do children of it: they may be what makes room.
//!
//! Invariant: nothing is recorded about a start that waits or is refused.

use std::collections::VecDeque;

use traaviis_model::{Timestamp, Value};

use super::{Outbox, Owner, Start};
use crate::{
    error::Error,
    limits::{PRESSED_STARTS_MAX, PRESSED_WAIT},
};

/// How memory was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// States that changed are saved, so that they can leave.
    Saved,
    /// States left that nobody had used for long.
    Unused,
    /// States left that others need less.
    Oldest,
}

impl Level {
    /// All levels, the mildest first.
    pub const ALL: [Level; 3] = [Level::Saved, Level::Unused, Level::Oldest];

    /// Returns its number, from 1.
    pub fn number(self) -> usize {
        self as usize + 1
    }
}

/// One time that memory was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relief {
    /// When.
    pub at: Timestamp,
    /// How.
    pub level: Level,
    /// Bytes of states before.
    pub before: usize,
    /// Bytes of states after.
    pub after: usize,
    /// States that left.
    pub evicted: u64,
}

/// How short memory was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PressureStats {
    /// How often each level was reached.
    pub reliefs: [u64; Level::ALL.len()],
    /// The last time.
    pub last: Option<Relief>,
    /// Starts that wait.
    pub waiting: usize,
    /// Starts that were refused.
    pub refused: u64,
}

impl PressureStats {
    pub(super) fn and(mut self, other: PressureStats) -> PressureStats {
        for (mine, others) in self.reliefs.iter_mut().zip(other.reliefs) {
            *mine += others;
        }
        let newer = other.last.filter(|it| self.last.is_none_or(|mine| mine.at <= it.at));
        self.last = newer.or(self.last);
        self.waiting += other.waiting;
        self.refused += other.refused;
        self
    }
}

/// Starts that wait, and what was told.
#[derive(Default)]
pub(super) struct Pressure {
    /// Starts, and when they are refused.
    waiting: VecDeque<(Timestamp, Start)>,
    stats: PressureStats,
}

impl Pressure {
    pub(super) fn stats(&self) -> PressureStats {
        PressureStats { waiting: self.waiting.len(), ..self.stats }
    }

    /// Notes that memory was given back.
    pub(super) fn note(&mut self, relief: Relief) {
        self.stats.reliefs[relief.level as usize] += 1;
        self.stats.last = Some(relief);
    }

    /// Says whether anybody waits.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Returns when the next one is refused.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.waiting.front().map(|it| it.0)
    }
}

impl Owner {
    /// Says whether nothing new should begin.
    pub(super) fn is_short_of_memory(&self) -> bool {
        self.hot.has_store() && self.hot_stats().bytes > self.settings.full_bytes
    }

    /// Lets a start wait for memory.
    pub(super) fn await_memory(&mut self, start: Start, now: Timestamp) {
        if self.draining || self.hot.pressure.waiting.len() >= PRESSED_STARTS_MAX {
            return self.refuse_for_memory(start);
        }
        self.hot.pressure.waiting.push_back((now.plus(PRESSED_WAIT), start));
    }

    /// Lets in who waits, as far as there is room, and refuses who has waited for too long.
    pub(super) fn let_start(&mut self, now: Timestamp, outbox: &mut dyn Outbox) {
        while let Some((due, start)) = self.hot.pressure.waiting.pop_front() {
            match (self.is_short_of_memory(), self.draining || due <= now) {
                // Its id was looked for before it waited; another may have had it since.
                (false, _) if self.forgotten(&start.ctx, start.id).is_some() => {
                    (start.reply)(Err(Error::has_ended(start.id)));
                }
                (false, _) => self.start(start, now, outbox),
                (true, true) => self.refuse_for_memory(start),
                (true, false) => {
                    self.hot.pressure.waiting.push_front((due, start));
                    return;
                }
            }
        }
    }

    fn refuse_for_memory(&mut self, start: Start) {
        self.hot.pressure.stats.refused += 1;
        let bytes = |it: usize| Value::Int(i64::try_from(it).unwrap_or(i64::MAX));
        let details = Value::map([
            ("bytes", bytes(self.hot_stats().bytes)),
            ("limit", bytes(self.settings.full_bytes)),
        ]);
        let message = "the memory for open instances is full, and nothing in it can leave yet; \
                       try again later";
        (start.reply)(Err(Error::rejected("memory_pressure", message.into(), details)));
    }
}
