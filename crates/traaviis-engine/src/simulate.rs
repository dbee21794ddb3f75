//! A run without log, clock or outside: inputs are given, time is moved by hand.
//!
//! For previews, conformance runs and tests of workflows. It takes the same steps as a durable run,
//! through the same functions. Calls to the outside begin and stay open until the caller answers
//! them: [`Simulation::take_requests`] says which begin and which are given up. Digests and tokens
//! are made with a key that is no secret, so every run gives the same.

use std::{collections::VecDeque, sync::Arc};

use traaviis_model::{
    Actor, CallId, DeliveryClass, EffectError, InstanceId, Record, Seq, Snapshot, Span, TenantCtx,
    Text, Timestamp, Value, call::GATE, limits, privacy::RedactionKey, record::Operation,
};

use crate::{
    Machine,
    gates::{Entry, Gates},
    step::{
        GuardWatch, Input, Recovery, Rejection, Request, Resolution, Step, StepContext, recover,
        start, start_watched, step, step_watched,
    },
};

/// Steps that one input may lead to by timers that are due at once; more is a loop.
const STEPS_MAX: usize = 100_000;

/// Says what may be promised about a call, by its kind and parameters, as a connector does.
pub type ClassOf<'a> = dyn Fn(&str, &Value) -> DeliveryClass + 'a;

/// An instance on a virtual clock.
pub struct Simulation<'m> {
    machine: &'m Machine,
    watch: Option<&'m dyn GuardWatch>,
    snapshot: Arc<Snapshot>,
    records: Vec<Record>,
    /// Calls that begin and calls that are given up, since the caller last took them.
    requests: Vec<Request>,
    /// Calls that wait for a slot.
    queued: VecDeque<(Seq, Text)>,
    gates: Gates,
    /// What gates have answered.
    answered: VecDeque<(CallId, Entry)>,
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
        Simulation::begin(machine, begun, now, None)
    }

    /// As [`Simulation::start`], by somebody, and for somebody who watches the guards.
    pub fn start_watched(
        machine: &'m Machine,
        ctx: &TenantCtx,
        id: InstanceId,
        input: Value,
        by: Actor,
        now: Timestamp,
        watch: &'m dyn GuardWatch,
    ) -> Result<Simulation<'m>, Rejection> {
        let context = StepContext { actor: by, ..context(now) };
        let begun = start_watched(machine, ctx, id, input, &context, watch)?;
        Simulation::begin(machine, begun, now, Some(watch))
    }

    fn begin(
        machine: &'m Machine,
        begun: Step,
        now: Timestamp,
        watch: Option<&'m dyn GuardWatch>,
    ) -> Result<Simulation<'m>, Rejection> {
        let mut simulation = Simulation {
            machine,
            watch,
            snapshot: begun.snapshot.clone(),
            records: Vec::new(),
            requests: Vec::new(),
            queued: VecDeque::new(),
            gates: Gates::default(),
            answered: VecDeque::new(),
            now,
        };
        simulation.took(begun)?;
        Ok(simulation)
    }

    /// Sends an event, after the timers that are due now; a refused one changes nothing.
    pub fn send(&mut self, event: Text, data: Value) -> Result<(), Rejection> {
        self.fire_until(self.now)?;
        self.feed(Input::Event { event, data, id: None })
    }

    /// Does something by hand, after the timers that are due now; a refusal changes nothing.
    pub fn operate_as(&mut self, operation: Operation, by: Actor) -> Result<(), Rejection> {
        self.fire_until(self.now)?;
        let step = self.decide_as(Input::Operate(operation), by)?;
        self.took(step)
    }

    /// Answers an incident, after the timers that are due now; a refusal changes nothing.
    pub fn resolve(
        &mut self,
        tree: Seq,
        path: Text,
        resolution: Resolution,
    ) -> Result<(), Rejection> {
        self.fire_until(self.now)?;
        self.feed(Input::Resolve { tree, path, resolution, reason: None })
    }

    /// Lets time pass; timers fire in due order, each at its time. Also no time at all can pass:
    /// then what is due now fires.
    pub fn advance(&mut self, span: Span) -> Result<(), Rejection> {
        let until = self.now.plus(span);
        self.fire_until(until)?;
        self.now = until;
        Ok(())
    }

    /// Lets time pass to `until` at most, and fires one timer that is due by then; says whether
    /// there was one.
    pub fn fire_next(&mut self, until: Timestamp) -> Result<bool, Rejection> {
        let next = self.snapshot.next_timer().map(|it| (it.id.clone(), it.due));
        let gate = self.gates.due().filter(|it| *it <= until);
        if let Some(due) = gate
            && next.as_ref().is_none_or(|(_, timer)| due <= *timer)
        {
            self.now = self.now.max(due);
            self.answered.extend(self.gates.advance(self.now));
            self.settle()?;
            return Ok(true);
        }
        let Some((timer, due)) = next.filter(|it| it.1 <= until) else { return Ok(false) };
        self.now = self.now.max(due);
        self.feed(Input::Timer { timer })?;
        Ok(true)
    }

    /// Returns when the next timer is due, or a gate lets somebody in.
    pub fn next_due(&self) -> Option<Timestamp> {
        let timer = self.snapshot.next_timer().map(|it| it.due);
        timer.into_iter().chain(self.gates.due()).min()
    }

    /// Lets time pass to `at` without firing anything; time does not go back.
    pub fn pass_until(&mut self, at: Timestamp) {
        self.now = self.now.max(at);
    }

    /// Ends an attempt.
    pub fn answer(
        &mut self,
        call: &CallId,
        outcome: Result<Value, EffectError>,
    ) -> Result<(), Rejection> {
        self.feed(Input::Outcome {
            tree: call.tree,
            path: call.path.clone(),
            scheduled: call.scheduled,
            attempt: call.attempt,
            outcome,
        })
    }

    /// Forgets everything but the records, as the death of a process does, and goes on as a start
    /// does: attempts without outcome are unknown, calls that waited for a slot wait again.
    pub fn crash(&mut self, class: &ClassOf<'_>) -> Result<(), Rejection> {
        let differs = |why: String| Rejection::new("history_broken", why);
        let folded = Snapshot::fold(&self.records).map_err(|error| differs(error.to_string()))?;
        let folded = folded.filter(|it| it.canonical() == self.snapshot.canonical());
        self.snapshot = folded.map(Arc::new).ok_or_else(|| {
            differs("the records, folded again, give another state than before the crash".into())
        })?;
        self.requests.clear();
        self.queued.clear();
        self.answered.clear();
        self.gates = Gates::default();
        self.gates.restore(&self.snapshot);
        let Recovery { inputs, queued, asked } = recover(&self.snapshot, class);
        asked.into_iter().for_each(|call| self.request(Request::Perform(call)));
        for input in inputs {
            self.feed(input)?;
        }
        for (tree, path) in queued {
            self.feed(Input::Starting { tree, path })?;
        }
        Ok(())
    }

    /// Takes out which calls begin ([`Request::Perform`]) and which are given up
    /// ([`Request::Abandon`]), in order.
    pub fn take_requests(&mut self) -> Vec<Request> {
        std::mem::take(&mut self.requests)
    }

    /// Returns the time now.
    pub fn now(&self) -> Timestamp {
        self.now
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
        let step = self.decide(input)?;
        self.took(step)
    }

    /// Lets what waits for nothing outside go on.
    fn settle(&mut self) -> Result<(), Rejection> {
        match self.next_input() {
            Some(input) => self.feed(input),
            None => Ok(()),
        }
    }

    fn next_input(&mut self) -> Option<Input> {
        while let Some((call, entry)) = self.answered.pop_front() {
            let CallId { tree, path, scheduled, attempt, .. } = call;
            if let Some(outcome) = entry.outcome() {
                return Some(Input::Outcome { tree, path, scheduled, attempt, outcome });
            }
        }
        let (tree, path) = self.queued.pop_front()?;
        Some(Input::Starting { tree, path })
    }

    /// Keeps what the caller must do; gates are asked here.
    fn request(&mut self, request: Request) {
        match request {
            Request::Queue { tree, path } => self.queued.push_back((tree, path)),
            Request::Perform(call) if &*call.kind == GATE => {
                let entry = self.gates.enter(&call.id, &call.input, self.now);
                self.answered.push_back((call.id, entry));
            }
            Request::Leave { call, input, left } => {
                self.answered.extend(self.gates.leave(&call, &input, left, self.now));
            }
            Request::Abandon(id) => {
                self.answered.retain(|(it, _)| *it != id);
                self.answered.extend(self.gates.forget(&id));
                self.requests.push(Request::Abandon(id));
            }
            other => self.requests.push(other),
        }
    }

    fn decide(&self, input: Input) -> Result<Step, Rejection> {
        self.decide_as(input, Actor::local())
    }

    fn decide_as(&self, input: Input, by: Actor) -> Result<Step, Rejection> {
        let context = StepContext { actor: by, ..context(self.now) };
        match self.watch {
            None => step(self.machine, &self.snapshot, input, &context),
            Some(watch) => step_watched(self.machine, &self.snapshot, input, &context, watch),
        }
    }

    /// Takes a step, and those that it asks to follow.
    fn took(&mut self, mut taken: Step) -> Result<(), Rejection> {
        for _ in 0..STEPS_MAX {
            // Before the gates are asked, as after a commit.
            taken
                .records
                .iter()
                .filter_map(|it| it.body.heard())
                .for_each(|it| self.gates.heard(it));
            let mut goes_on = false;
            for request in taken.requests {
                match request {
                    Request::Continue => goes_on = true,
                    other => self.request(other),
                }
            }
            self.records.append(&mut taken.records);
            self.snapshot = taken.snapshot;
            let next = match goes_on {
                true => Input::Continue,
                false => match self.next_input() {
                    Some(input) => input,
                    None => return Ok(()),
                },
            };
            taken = self.decide(next)?;
        }
        Err(overrun())
    }

    fn fire_until(&mut self, until: Timestamp) -> Result<(), Rejection> {
        for _ in 0..STEPS_MAX {
            if !self.fire_next(until)? {
                return Ok(());
            }
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
    let key = Some(RedactionKey::of_previews());
    StepContext { start_slots, key, ..StepContext::new(now, Actor::local()) }
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
