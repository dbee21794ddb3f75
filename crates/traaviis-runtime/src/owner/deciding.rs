//! Steps: an input is let in, waits for its turn, is decided, and offered to the log.

use std::sync::Arc;

use traaviis_engine::{Input, Machine, Request, Step, StepContext};
use traaviis_model::{
    CallId, InstanceId, Seq, Snapshot, Span, TenantCtx, TenantId, Timestamp, Value,
    limits::MAILBOX_MAX,
};
use traaviis_ports::{
    LogError, Outcome,
    planted::{self, Bug},
};

use super::{
    Accepted, Command, Commitment, Found, Hold, Key, Outbox, Owner, Pending,
    appending::to_append,
    guarded,
    keeping::has_ended,
    mailbox::{Job, Origin},
    permit,
    redacting::Lack,
};
use crate::{error::Error, limits::FULL_RETRY};

impl Owner {
    pub(super) fn command(
        &mut self,
        id: InstanceId,
        command: Command,
        origin: Origin,
        now: Timestamp,
        outbox: &mut dyn Outbox,
    ) {
        let Some(ctx) = origin.ctx() else { return };
        let key = Key { tenant: ctx.tenant(), id };
        let per_second = self.pace_limit();
        self.activate(key);
        let Some(instance) = self.instances.get(&key) else {
            return origin.answer(Err(self.why_not_open(key)));
        };
        let Some(machine) = &instance.machine else {
            return origin.answer(Err(definition_missing(&instance.snapshot)));
        };
        if let Some(error) = permit::refusal(ctx, &command, machine) {
            return origin.answer(Err(error));
        }
        if let Err(error) = self.admit_event(key, &command, &origin, now) {
            return origin.answer(Err(error));
        }
        let Some(instance) = self.instances.get_mut(&key) else { return };
        if let Hold::Lacks(lack, until) = instance.hold
            && matches!(origin, Origin::Caller(..))
        {
            // Whether a key can be had is found out, and told, by each caller.
            if now < until && lack == Lack::Space {
                return origin.answer(Err(Error::Log(LogError::Full)));
            }
            self.full.remove(&(until, key));
            instance.hold = Hold::Idle;
        }
        let (if_seq, input) = command.into_input();
        let job = Job { input, origin, if_seq };
        let slow = per_second.and_then(|it| instance.pace.slow_until(now, it));
        if slow.is_none() && instance.is_free(now) {
            return self.decide(key, job, now, outbox);
        }
        let mailbox = instance.mailbox.get_or_insert_default();
        if mailbox.len() >= MAILBOX_MAX {
            let message = format!("instance `{id}` has {MAILBOX_MAX} inputs waiting; send slower");
            let error = Error::rejected("instance_backlog_full", message, Value::Null);
            return job.answer(Err(error));
        }
        mailbox.push(job);
        self.ready.push_back(key);
    }

    fn why_not_open(&mut self, key: Key) -> Error {
        match self.find(key.tenant, key.id) {
            Ok(Found::Ended(summary)) => has_ended(summary.id, summary.status),
            Ok(Found::Open(_)) => Error::NotFound { id: key.id },
            Err(error) => error,
        }
    }

    pub(super) fn outcome(&mut self, tenant: TenantId, call: CallId, outcome: Outcome) {
        self.free_slot(tenant, &call);
        let key = Key { tenant, id: call.instance };
        self.activate(key);
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let CallId { tree, path, scheduled, attempt, .. } = call;
        let input = Input::Outcome { tree, path, scheduled, attempt, outcome };
        instance.mailbox.get_or_insert_default().push(Job::runtime(input));
        self.ready.push_back(key);
    }

    /// Takes inputs of one instance until one becomes an append, or nothing waits.
    pub(super) fn advance(&mut self, key: Key, now: Timestamp, outbox: &mut dyn Outbox) {
        let mut timer_tried = None;
        let mut floor = now;
        while self.dead.is_none() {
            let (draining, slow) = (self.draining, self.slow_until(key, now));
            let Some(instance) = self.instances.get_mut(&key) else { return };
            if instance.hold != Hold::Idle || instance.machine.is_none() {
                return;
            }
            let job = match slow {
                Some(until) => {
                    floor = until;
                    self.urgent_job(key, until, now)
                }
                None => instance.next_job(now, draining, timer_tried.as_ref()),
            };
            let Some(job) = job else { break };
            if let Input::Timer { timer } = &job.input {
                timer_tried = Some(timer.clone());
            }
            self.decide(key, job, now, outbox);
        }
        if timer_tried.is_some() {
            floor = floor.max(now.plus(FULL_RETRY));
        }
        self.arm(key, floor);
    }

    /// Decides one input; appends what it gives.
    fn decide(&mut self, key: Key, job: Job, now: Timestamp, outbox: &mut dyn Outbox) {
        let Some(instance) = self.instances.get(&key) else { return };
        let Some(machine) = instance.machine.clone() else { return };
        let snapshot = Arc::clone(&instance.snapshot);
        let job = match job.arrived(&machine, &snapshot) {
            Ok(job) => job,
            Err(job) => return job.answer(Ok(Accepted::with(&snapshot))),
        };
        if let Some((event, id)) = job.event_id()
            && let Some(taken) = &instance.event_ids
            && let Some(seq) = taken.find(id, now, window_of(&machine, event, &job.origin))
        {
            return job.answer(Ok(Accepted { seq, replayed: true, snapshot }));
        }
        if let Some(expected) = job.if_seq.filter(|it| *it != snapshot.seq) {
            return job.answer(Err(moved_on(&snapshot, expected)));
        }
        let redaction = match self.redaction_key(key.tenant, &machine) {
            Ok(redaction) => redaction,
            Err(error) => return self.wait_for_key(key, job, error, now),
        };
        let mut context = self.context(key.tenant, &job, now);
        context.key = redaction;
        if self.slow_until(key, now).is_some() {
            // What it begins next waits for its turn.
            context.start_slots = 0;
        }
        let Job { input, origin, .. } = job;
        let again = match origin {
            Origin::Caller(..) => None,
            Origin::Instance(..) | Origin::Emission(..) | Origin::Runtime => Some(input.clone()),
        };
        let decided = match self.change_version(&machine, &snapshot, &input, &context) {
            Some(decided) => decided,
            None => guarded::ask(|| traaviis_engine::step(&machine, &snapshot, input, &context)),
        };
        let step = match decided {
            Ok(step) => step,
            Err(rejection) => return origin.answer(Err(Error::Rejected(rejection))),
        };
        if step.records.is_empty() {
            debug_assert!(step.requests.is_empty(), "nothing is asked for without a record");
            return origin.answer(Ok(Accepted::with(&snapshot)));
        }
        self.note_step(key, now);
        self.offer(key, step, origin, again, outbox);
    }

    /// Offers the records of a step to the log.
    pub(super) fn offer(
        &mut self,
        key: Key,
        step: Step,
        origin: Origin,
        again: Option<Input>,
        outbox: &mut dyn Outbox,
    ) {
        let Step { snapshot, records, requests } = step;
        let records = Arc::new(records);
        self.reserve(key.tenant, &requests);
        if let Some(instance) = self.instances.get_mut(&key) {
            instance.hold = Hold::Committing;
        }
        let ctx = origin.ctx().unwrap_or(&self.tenants[&key.tenant].ctx).clone();
        if planted::is(Bug::UndoBeforeDurable) {
            for request in &requests {
                if let Request::Perform(call) = request
                    && call.id.path.contains("undo:")
                {
                    outbox.perform(&ctx, call.clone());
                }
            }
        }
        let append = to_append(key, &records, &snapshot);
        let pending = Pending { key, snapshot, records, requests, origin, again };
        self.append(&ctx, append, Commitment::Step(Box::new(pending)), outbox);
    }

    fn context(&mut self, tenant: TenantId, job: &Job, now: Timestamp) -> StepContext {
        let by = job.origin.ctx();
        let actor = by.map_or(&self.engine, TenantCtx::actor).clone();
        let causation = by.and_then(TenantCtx::cause).cloned();
        let correlation = by.and_then(TenantCtx::correlation).cloned();
        let origin = by.and_then(TenantCtx::origin).cloned().map(Box::new);
        let mut start_slots = 0;
        if let Some(it) = self.tenants.get_mut(&tenant) {
            if matches!(job.input, Input::Starting { .. }) {
                it.slots.end_promise();
                self.freed.push_back(tenant);
            }
            if !self.draining {
                start_slots = u32::try_from(it.slots.free()).unwrap_or(u32::MAX);
            }
        }
        StepContext { start_slots, causation, correlation, origin, ..StepContext::new(now, actor) }
    }
}

/// Returns how long an event is known by its id. What instances ask of each other is asked again by
/// the next process, however late that comes and whatever its clock shows; as long as the memory of
/// ids has it, it is the same.
fn window_of(machine: &Machine, event: &str, origin: &Origin) -> Span {
    match origin {
        Origin::Caller(..) => machine.dedup_window(event),
        Origin::Instance(..) | Origin::Emission(..) | Origin::Runtime => Span(i64::MAX),
    }
}

fn moved_on(snapshot: &Snapshot, expected: Seq) -> Error {
    let (id, seq) = (snapshot.id, snapshot.seq);
    let message = format!(
        "instance `{id}` is at record {seq}, not {expected}; look at it again and decide again"
    );
    let number = |it: Seq| Value::Int(it.cast_signed());
    let details = Value::map([("expected", number(expected)), ("seq", number(seq))]);
    Error::rejected("seq_mismatch", message, details)
}

pub(super) fn definition_missing(snapshot: &Snapshot) -> Error {
    Error::Unavailable {
        id: snapshot.id,
        code: "definition_missing",
        message: format!(
            "definition `{}` of workflow `{}` is not in the data, or cannot be compiled",
            snapshot.definition_hash, snapshot.workflow
        )
        .into(),
    }
}
