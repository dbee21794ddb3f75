//! What a jump of the wall clock means for the instances of an owner.
//!
//! Relative timers (a state's `after`, a delay, the wait before a retry, a limit) wait for time to
//! pass, so those that are open when time is about to follow the clock forward wait longer by as
//! much. Dates (`until`) stay. Nothing of this is in the history: a timer that a restart finds is
//! due by the wall clock again.
//!
//! Invariant: no relative timer fires before as much time has passed as it was set for, as long as
//! the process lives; also one whose step was decided before a jump and is durable only after it.

use std::collections::BTreeMap;

use traaviis_model::{
    Body, DefinitionHash, InstanceId, Span, TenantCtx, TenantId, Text, Timestamp, snapshot::Timer,
};
use traaviis_ports::{Append, Commit, LogError};

use super::{Commitment, Instance, Key, Outbox, Owner, to_document};
use crate::{
    clock::{CLOCK_JUMP, Jump},
    limits::FULL_RETRY,
};

/// How much longer open timers wait than their records say.
pub(super) type Waits = BTreeMap<Text, Span>;

/// A record of a jump that found no space.
pub(super) struct Unrecorded {
    ctx: TenantCtx,
    jump: Jump,
}

impl Owner {
    /// Takes the news of a jump before time follows it.
    pub(super) fn clock_jumped(
        &mut self,
        jump: Jump,
        stream: InstanceId,
        now: Timestamp,
        outbox: &mut dyn Outbox,
    ) {
        if jump.follows_us > 0 {
            self.jumps.push((now, jump.follows()));
            self.each_timed(|owner, key| {
                if let Some(instance) = owner.instances.get_mut(&key) {
                    let timers: Vec<Text> = instance.relative().cloned().collect();
                    instance.wait_longer(timers, jump.follows());
                }
                owner.arm(key, Timestamp(i64::MIN));
            });
        }
        let tenants: BTreeMap<TenantId, TenantCtx> =
            self.tenants.iter().map(|(id, it)| (*id, it.ctx.clone())).collect();
        for ctx in tenants.into_values() {
            self.record_jump(ctx, stream, jump, now, outbox);
        }
    }

    /// Records a jump in a stream of its own. Every owner that has the tenant tries; one succeeds.
    fn record_jump(
        &mut self,
        ctx: TenantCtx,
        stream: InstanceId,
        jump: Jump,
        now: Timestamp,
        outbox: &mut dyn Outbox,
    ) {
        let body = Body::DocumentPut {
            document: CLOCK_JUMP.into(),
            id: stream.to_string().into(),
            body: jump.to_value(),
        };
        // No definition has decided it.
        let document = to_document(&ctx, stream, now, DefinitionHash([0; 32]), body);
        let append = Append { ends_stream: true, ..document };
        let unrecorded = Unrecorded { ctx: ctx.clone(), jump };
        self.append(&ctx, append, Commitment::Jump(stream, unrecorded), outbox);
    }

    /// A record of a jump is durable, or will be tried again, or another owner has written it.
    pub(super) fn jump_committed(
        &mut self,
        stream: InstanceId,
        unrecorded: Unrecorded,
        commit: Commit,
        now: Timestamp,
        outbox: &mut dyn Outbox,
    ) {
        match commit {
            Ok(_) | Err(LogError::SeqMismatch { last: 1.., .. }) => {}
            Err(LogError::Full) => {
                let key = Key { tenant: unrecorded.ctx.tenant(), id: stream };
                self.full.insert((now.plus(FULL_RETRY), key));
                self.unrecorded.insert(key, unrecorded);
            }
            // It stands in the way of nothing else.
            Err(LogError::Damaged(_) | LogError::Refused(_)) => {}
            Err(error) => self.die(error, outbox),
        }
    }

    /// Tries again what found no space.
    pub(super) fn record_again(&mut self, key: Key, now: Timestamp, outbox: &mut dyn Outbox) {
        if let Some(Unrecorded { ctx, jump }) = self.unrecorded.remove(&key) {
            self.record_jump(ctx, key.id, jump, now, outbox);
        }
    }

    /// Lets the timers of a step wait longer that was decided before a jump and is durable now.
    /// What is not on its way any more needs no jump.
    pub(super) fn catch_up_timers(&mut self, key: Key, known: &[Timer]) {
        if self.jumps.is_empty() {
            return;
        }
        if let Some(instance) = self.instances.get_mut(&key) {
            let decided = instance.snapshot.updated_at;
            let missed = self.jumps.iter().filter(|(at, _)| decided <= *at);
            let by = Span(missed.map(|(_, by)| by.0).sum());
            let is_new = |it: &&Text| known.iter().all(|known| known.id != **it);
            let new: Vec<Text> = instance.relative().filter(is_new).cloned().collect();
            if by.0 > 0 {
                instance.wait_longer(new, by);
            }
        }
        if self.commits.is_empty() {
            self.jumps.clear();
        }
    }
}

impl Instance {
    /// Returns the open timers that wait for time to pass.
    fn relative(&self) -> impl Iterator<Item = &Text> {
        let machine = self.machine.as_deref();
        let is_date = move |it: &&Timer| {
            machine.is_some_and(|machine| machine.is_date(&self.snapshot, &it.kind))
        };
        self.snapshot.timers.iter().filter(move |it| !is_date(it)).map(|it| &it.id)
    }

    fn wait_longer(&mut self, timers: Vec<Text>, by: Span) {
        let mut waits = self.waits.take().map(|it| *it).unwrap_or_default();
        waits.retain(|timer, _| self.snapshot.timers.iter().any(|it| it.id == *timer));
        for timer in timers {
            let wait = waits.entry(timer).or_default();
            *wait = Span(wait.0 + by.0);
        }
        self.waits = (!waits.is_empty()).then(|| waits.into());
    }

    /// Returns the timer that fires next, and when.
    pub(super) fn next_timer(&self) -> Option<(Timestamp, &Timer)> {
        let Some(waits) = &self.waits else {
            return self.snapshot.next_timer().map(|it| (it.due, it));
        };
        let due = |it: &Timer| it.due.plus(waits.get(&it.id).copied().unwrap_or_default());
        self.snapshot.firing_timers().map(|it| (due(it), it)).min_by_key(|it| it.0)
    }
}
