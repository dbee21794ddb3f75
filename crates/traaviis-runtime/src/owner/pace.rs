//! How fast one instance may go: [`STEPS_PER_SECOND_MAX`] steps, with a burst of as many, so that
//! one that loops leaves room for the others.
//!
//! Over the pace, callers' events are refused, and what the instance would do next waits. What has
//! happened already (the end of an attempt) is still recorded at once, and so is what an operator
//! commands: neither may be lost or held up by work that is only to come.

use traaviis_model::{Timestamp, Value, limits::STEPS_PER_SECOND_MAX};

use super::{Instance, Job, Key, Mailbox, Origin, Owner, mailbox::Class};
use crate::error::Error;

/// Microseconds of a second.
pub(super) const SECOND: i64 = 1_000_000;

/// Returns when everything will have been earned back once one more is taken now, where all before
/// would have been at `rested_at`.
pub(super) fn rested_after(rested_at: i64, now: Timestamp, per_second: u32) -> i64 {
    rested_at.max(now.0) + SECOND / i64::from(per_second.max(1))
}

/// The steps that an instance has taken lately.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// When all of its steps will have been earned back.
    rested_at: Timestamp,
}

impl Pace {
    /// Returns the pace of an instance that has rested.
    pub(super) fn rested() -> Pace {
        Pace { rested_at: Timestamp(i64::MIN) }
    }

    /// Returns when the next step may be taken, unless it may be now.
    pub(super) fn slow_until(self, now: Timestamp, per_second: u32) -> Option<Timestamp> {
        let next = rested_after(self.rested_at.0, now, per_second) - SECOND;
        (next > now.0).then_some(Timestamp(next))
    }

    /// Says whether all steps are earned back.
    pub(super) fn is_rested(self, now: Timestamp) -> bool {
        self.rested_at <= now
    }

    /// Notes a step.
    fn step(&mut self, now: Timestamp, per_second: u32) {
        self.rested_at = Timestamp(rested_after(self.rested_at.0, now, per_second));
    }
}

impl Owner {
    /// Returns until when an instance is over its pace.
    pub(super) fn slow_until(&self, key: Key, now: Timestamp) -> Option<Timestamp> {
        let per_second = self.pace_limit()?;
        self.instances.get(&key)?.pace.slow_until(now, per_second)
    }

    /// Returns the steps of a second, unless any number is right, as while the process ends.
    pub(super) fn pace_limit(&self) -> Option<u32> {
        self.settings.steps_per_second.filter(|_| !self.draining)
    }

    /// Notes a step of an instance.
    pub(super) fn note_step(&mut self, key: Key, now: Timestamp) {
        if let Some(per_second) = self.settings.steps_per_second
            && let Some(instance) = self.instances.get_mut(&key)
        {
            instance.pace.step(now, per_second);
        }
    }

    /// Returns the next input of an instance that is over its pace, if there is one that cannot
    /// wait. What can wait is looked at again in time.
    pub(super) fn urgent_job(&mut self, key: Key, until: Timestamp, now: Timestamp) -> Option<Job> {
        let instance = self.instances.get_mut(&key)?;
        let urgent = instance.mailbox.as_mut().and_then(|it| it.pop_urgent());
        if urgent.is_some() {
            instance.drop_empty_mailbox();
            return urgent;
        }
        let refused = instance.mailbox.as_mut().map(|it| it.take_callers()).unwrap_or_default();
        instance.drop_empty_mailbox();
        if instance.mailbox.is_some() || instance.due_timer(now, None).is_some() {
            self.paced.insert((until, key));
        }
        for job in refused {
            job.answer(Err(too_fast(key, until, now)));
        }
        None
    }
}

impl Instance {
    fn drop_empty_mailbox(&mut self) {
        self.mailbox = self.mailbox.take().filter(|it| it.len() > 0);
    }
}

impl Mailbox {
    /// Takes out what cannot wait: commands of callers, then the ends of attempts.
    fn pop_urgent(&mut self) -> Option<Job> {
        self.pop_command_of_caller().or_else(|| self.pop(Class::Outcome))
    }
}

impl Job {
    /// Says whether a caller commands it, rather than sends an event.
    pub(super) fn is_command_of_caller(&self) -> bool {
        matches!(self.origin, Origin::Caller(..)) && Class::of(&self.input) == Class::Command
    }
}

fn too_fast(key: Key, until: Timestamp, now: Timestamp) -> Error {
    let message = format!(
        "instance `{}` has taken {STEPS_PER_SECOND_MAX} steps within a second; send slower",
        key.id
    );
    let wait = until.since(now).as_millis().max(1);
    Error::rejected("rate_limited", message, Value::map([("retry_after_ms", Value::Int(wait))]))
}

#[cfg(test)]
mod tests {
    use traaviis_engine::Input;

    use super::*;

    #[test]
    fn an_instance_has_a_burst_and_then_its_rate() {
        let mut pace = Pace::rested();
        let mut now = Timestamp(7 * SECOND);
        let mut taken = 0;
        while pace.slow_until(now, 200).is_none() {
            pace.step(now, 200);
            taken += 1;
        }
        assert_eq!(taken, 200);
        // The next one is earned after its part of a second.
        assert_eq!(pace.slow_until(now, 200), Some(Timestamp(now.0 + 5_000)));
        now = Timestamp(now.0 + 5_000);
        assert_eq!(pace.slow_until(now, 200), None);
        pace.step(now, 200);
        assert!(pace.slow_until(now, 200).is_some());
        // After a second of rest it is as if nothing had been.
        now = Timestamp(now.0 + SECOND);
        let steps = (0..300).filter(|_| {
            let goes = pace.slow_until(now, 200).is_none();
            if goes {
                pace.step(now, 200);
            }
            goes
        });
        assert_eq!(steps.count(), 200);
    }

    #[test]
    fn only_events_of_callers_and_work_to_come_wait() {
        let timer = Input::Timer { timer: "t1".into() };
        assert!(!Job::runtime(timer).is_command_of_caller());
        assert!(!Job::runtime(Input::Continue).is_command_of_caller());
    }
}
