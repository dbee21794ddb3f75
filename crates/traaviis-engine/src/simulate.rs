//! A run without log, clock or outside: inputs are given, time is moved by hand.
//!
//! For previews, conformance runs and tests of workflows. It takes the same steps as a durable run,
//! through the same functions. Calls to the outside begin and stay open: nobody performs them.

use traaviis_model::{
    Actor, InstanceId, Record, Snapshot, Span, TenantCtx, Text, Timestamp, Value, limits,
};

use crate::{
    Machine,
    step::{Input, Rejection, Request, Step, StepContext, start, step},
};

/// Steps that one input may lead to by timers that are due at once; more is a loop.
const STEPS_MAX: usize = 100_000;

/// An instance on a virtual clock.
#[derive(Debug)]
pub struct Simulation<'m> {
    machine: &'m Machine,
    snapshot: Snapshot,
    records: Vec<Record>,
    now: Timestamp,
}

impl<'m> Simulation<'m> {
    /// Starts an instance at a point in time and lets it come to rest.
    pub fn start(
        machine: &'m Machine,
        ctx: &TenantCtx,
        id: InstanceId,
        input: Value,
        now: Timestamp,
    ) -> Result<Simulation<'m>, Rejection> {
        let begun = start(machine, ctx, id, input, &context(now))?;
        let snapshot = begun.snapshot.clone();
        let mut simulation = Simulation { machine, snapshot, records: Vec::new(), now };
        simulation.took(begun)?;
        Ok(simulation)
    }

    /// Sends an event, after the timers that are due now; a refused one changes nothing.
    pub fn send(&mut self, event: Text, data: Value) -> Result<(), Rejection> {
        self.fire_until(self.now)?;
        self.feed(Input::Event { event, data, id: None })
    }

    /// Lets time pass; timers fire in due order, each at its time. Also no time at all can pass:
    /// then what is due now fires.
    pub fn advance(&mut self, span: Span) -> Result<(), Rejection> {
        let until = self.now.plus(span);
        self.fire_until(until)?;
        self.now = until;
        Ok(())
    }

    /// Returns the state now.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Returns the history so far.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    fn feed(&mut self, input: Input) -> Result<(), Rejection> {
        let step = step(self.machine, &self.snapshot, input, &context(self.now))?;
        self.took(step)
    }

    /// Takes a step, and those that it asks to follow.
    fn took(&mut self, mut taken: Step) -> Result<(), Rejection> {
        for _ in 0..STEPS_MAX {
            let goes_on = taken.requests.contains(&Request::Continue);
            self.records.append(&mut taken.records);
            self.snapshot = taken.snapshot;
            if !goes_on {
                return Ok(());
            }
            taken = step(self.machine, &self.snapshot, Input::Continue, &context(self.now))?;
        }
        Err(overrun())
    }

    fn fire_until(&mut self, until: Timestamp) -> Result<(), Rejection> {
        for _ in 0..STEPS_MAX {
            let next = self.snapshot.next_timer().filter(|it| it.due <= until);
            let Some((timer, due)) = next.map(|it| (it.id.clone(), it.due)) else { return Ok(()) };
            self.now = self.now.max(due);
            self.feed(Input::Timer { timer })?;
        }
        Err(overrun())
    }
}

fn overrun() -> Rejection {
    let message = format!("the run did not come to rest within {STEPS_MAX} steps");
    Rejection::new("simulation_overrun", message)
}

fn context(now: Timestamp) -> StepContext {
    let start_slots = u32::try_from(limits::RUNNING_EFFECTS_MAX).unwrap_or(u32::MAX);
    StepContext { now, start_slots, actor: Actor::local(), causation: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_only_by_hand_and_timers_fire_in_order() {
        let machine = crate::tests::machine(&crate::tests::with_head(
            r#"
initial: a
data: {initial: {at: null}}
events: {go: {}}
states:
  a: {after: {30d: b}}
  b: {after: {1s: c}, on: {go: a}}
  c: {type: final, output: "${now}"}
"#,
        ));
        let id = InstanceId(uuid::Uuid::from_u128(1));
        let ctx = TenantCtx::for_test(1);
        let begun = Simulation::start(&machine, &ctx, id, Value::empty_map(), Timestamp(0));
        let mut run = begun.unwrap();
        run.advance(Span::secs(30 * 86_400 - 1)).unwrap();
        assert_eq!(&*run.snapshot().configuration[0], "a");
        let refused = run.send("go".into(), Value::Null).unwrap_err();
        assert_eq!(refused.code, "event_not_accepted");
        run.advance(Span::secs(60)).unwrap();
        assert_eq!(run.snapshot().output.to_json(), r#""1970-01-31T00:00:01.000000Z""#);
        let replayed = crate::replay(&machine, run.records()).unwrap().unwrap();
        assert_eq!(replayed, *run.snapshot());
    }

    #[test]
    fn timers_without_end_are_an_error() {
        let machine = crate::tests::machine(&crate::tests::with_head(
            "initial: a\nstates: {a: {after: {0s: {target: a}}}}",
        ));
        let id = InstanceId(uuid::Uuid::from_u128(1));
        let ctx = TenantCtx::for_test(1);
        let begun = Simulation::start(&machine, &ctx, id, Value::empty_map(), Timestamp(0));
        let refused = begun.unwrap().advance(Span(0)).unwrap_err();
        assert_eq!(refused.code, "simulation_overrun");
    }
}
