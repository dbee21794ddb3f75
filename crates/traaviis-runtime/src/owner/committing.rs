//! What the log has taken becomes true.
//!
//! Invariant: a step is true in this order: state, watchers, answer, requests.

use std::{mem, sync::Arc};

use traaviis_engine::{Input, Request, priority_of};
use traaviis_model::{
    EventIds, Record, Seq, Snapshot, Timestamp,
    call::{GATE, is_between_instances},
};
use traaviis_ports::{
    Commit, LogError, Position,
    planted::{self, Bug},
};

use super::{
    Accepted, Commitment, Committed, Hold, Job, Key, Outbox, Owner, Pending, slots::Waiting,
};

impl Owner {
    pub(super) fn committed(
        &mut self,
        token: u64,
        commit: Commit,
        now: Timestamp,
        outbox: &mut dyn Outbox,
    ) {
        let Some(commitment) = self.commits.remove(&token) else { return };
        if let Commitment::Definition(tenant, hash) = commitment {
            return self.definition_committed(tenant, hash, commit, now, outbox);
        }
        if let Commitment::Jump(stream, unrecorded) = commitment {
            return self.jump_committed(stream, unrecorded, commit, now, outbox);
        }
        match (commit, commitment) {
            (Ok(position), Commitment::Step(pending)) => {
                self.apply(*pending, position, now, outbox);
            }
            (Ok(position), Commitment::Start(begun)) => {
                self.begin(*begun, position, now, outbox);
            }
            (Err(LogError::Full), Commitment::Step(pending)) => self.put_back(*pending, now),
            (Err(LogError::Full), Commitment::Start(begun)) => {
                self.unbegin(*begun, LogError::Full, now, outbox);
            }
            (Err(LogError::Damaged(why)), Commitment::Step(pending)) => {
                self.set_aside(*pending, &why);
            }
            (Err(LogError::Refused(why)), Commitment::Step(pending)) => {
                self.refused(*pending, &why, now, outbox);
            }
            (
                Err(error @ (LogError::Damaged(_) | LogError::Refused(_))),
                Commitment::Start(begun),
            ) => {
                self.unbegin(*begun, error, now, outbox);
            }
            // A caller has chosen an id that something else in the log has.
            (Err(error @ LogError::SeqMismatch { first: 1, .. }), Commitment::Start(begun))
                if !begun.reopened =>
            {
                self.unbegin(*begun, error, now, outbox);
            }
            (Err(error), commitment) => {
                self.commits.insert(token, commitment);
                self.die(error, outbox);
            }
            (Ok(_), Commitment::Definition(..) | Commitment::Jump(..)) => {}
        }
    }

    /// Makes a durable step true: state, watchers, answer, requests, in this order. Whoever begins
    /// to watch after an answer therefore never sees what happened before it.
    pub(super) fn apply(
        &mut self,
        pending: Pending,
        position: Position,
        now: Timestamp,
        outbox: &mut dyn Outbox,
    ) {
        let Pending { key, snapshot, records, requests, origin, .. } = pending;
        self.note_cold(key, now);
        let Some(instance) = self.instances.get_mut(&key) else { return };
        instance.hold = Hold::Idle;
        let before = mem::replace(&mut instance.snapshot, Arc::clone(&snapshot));
        instance.used = now;
        if instance.kept.change() {
            self.hot.note_dirty(key);
        }
        if instance
            .machine
            .as_ref()
            .is_some_and(|it| it.definition().hash != snapshot.definition_hash)
        {
            let subscribers = &self.settings.subscribers;
            instance.machine.iter().for_each(|it| subscribers.remove(key, it));
            instance.machine = self.definitions.machines.get(&snapshot.definition_hash).cloned();
            instance.machine.iter().for_each(|it| subscribers.add(key, it));
        }
        for record in &*records {
            EventIds::note(&mut instance.event_ids, record);
        }
        self.catch_up_timers(key, &before.timers);
        self.tell_waiting(key, &records, &snapshot);
        self.took_step(key, &snapshot, &records);
        let seq = snapshot.seq;
        let accepted = Accepted::with(&snapshot);
        outbox.publish(Committed { position, records, snapshot, before: Some(before) });
        origin.answer(Ok(accepted));
        self.request(key, seq, requests, now, outbox);
    }

    /// Goes on after a step that is true: the instance ends or takes the next input, and others
    /// hear what it gave and emitted.
    pub(super) fn took_step(&mut self, key: Key, snapshot: &Snapshot, records: &[Record]) {
        if snapshot.status.is_finished() {
            self.finish(key, snapshot);
        } else {
            self.ready.push_back(key);
        }
        self.settings.gates.hear(key.tenant, records);
        self.send_emitted(key, snapshot, records);
    }

    /// Does what the step that ended with record `seq` asked for.
    pub(super) fn request(
        &mut self,
        key: Key,
        seq: Seq,
        requests: Vec<Request>,
        now: Timestamp,
        outbox: &mut dyn Outbox,
    ) {
        for request in requests {
            let Some(tenant) = self.tenants.get_mut(&key.tenant) else { return };
            match request {
                Request::Perform(call) if &*call.kind == GATE => {
                    self.ask_gate(key.tenant, call, now)
                }
                Request::Leave { call, input, left } => {
                    self.leave_gate(key.tenant, &call, &input, left, now);
                }
                Request::Perform(call) if is_between_instances(&call.kind) => {
                    let ctx = tenant.ctx.clone();
                    self.ask_instance(&ctx, call);
                }
                Request::Perform(mut call) => {
                    if planted::is(Bug::KeyFromClock) {
                        call.key = format!("{}-{}", call.key, now.0).into();
                    }
                    outbox.perform(&tenant.ctx, call);
                }
                Request::Abandon(id) => {
                    outbox.abandon(&tenant.ctx, &id);
                    tenant.slots.give_back(&id);
                    self.freed.push_back(key.tenant);
                    self.forget_gate(key.tenant, &id);
                }
                Request::Close(child) => {
                    let ctx = tenant.ctx.because_of(key.id, seq);
                    self.close_child(&ctx, child);
                }
                Request::Queue { tree, path } => {
                    let found = self.instances.get(&key);
                    let priority = found
                        .and_then(|it| Some((it.machine.as_ref()?, &it.snapshot)))
                        .map_or(0, |(it, snapshot)| priority_of(it, snapshot, tree, &path));
                    tenant.slots.wait(Waiting { key, tree, path, priority, since: now });
                    self.freed.push_back(key.tenant);
                }
                Request::Continue => {
                    if let Some(instance) = self.instances.get_mut(&key) {
                        let mailbox = instance.mailbox.get_or_insert_default();
                        mailbox.push_front(Job::runtime(Input::Continue));
                        self.ready.push_back(key);
                    }
                }
            }
        }
    }
}
