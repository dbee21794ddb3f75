//! The wall clock of the simulation: how far it jumped, and that no timer was early.

use std::collections::HashMap;

use traaviis_model::{Body, InstanceId, Record, Span, Timestamp};

/// What happened to the clock.
#[derive(Debug, Default)]
pub struct SimulatedClock {
    /// Jumps forward that time has followed: when, and how far.
    pub jumps: Vec<(Timestamp, Span)>,
    /// When each process began.
    pub begun: Vec<Timestamp>,
}

impl SimulatedClock {
    /// Says how long time has passed between two times of the clock, if no process began between.
    fn passed(&self, from: Timestamp, to: Timestamp) -> Option<Span> {
        if self.begun.iter().any(|at| from < *at && *at <= to) {
            return None;
        }
        let between = self.jumps.iter().filter(|(at, _)| from <= *at && *at < to);
        let followed: i64 = between.map(|(_, by)| by.0).sum();
        Some(Span(to.since(from).0 - followed))
    }

    /// Checks the times of one history; returns how many timers waited for a jump.
    pub fn check(&self, id: InstanceId, records: &[Record]) -> u64 {
        let mut due: HashMap<&str, (Timestamp, Timestamp)> = HashMap::new();
        let mut delayed = 0;
        let mut last = Timestamp(0);
        for record in records {
            assert!(record.header.at >= last, "time goes back in `{id}`");
            last = record.header.at;
            match &record.body {
                Body::TimerScheduled { timer, due: at, .. } => {
                    due.insert(timer, (record.header.at, *at));
                }
                Body::TimerFired { timer } => {
                    let (set, at) = due[&**timer];
                    let fired = record.header.at;
                    assert!(fired >= at, "timer `{timer}` of `{id}` fired early");
                    if let Some(passed) = self.passed(set, fired) {
                        let wanted = at.since(set);
                        assert!(
                            passed >= wanted,
                            "timer `{timer}` of `{id}`: {passed} of {wanted}"
                        );
                        delayed += u64::from(fired.since(set) > passed);
                    }
                }
                _ => {}
            }
        }
        delayed
    }
}
