//! Steps that the log did not take.
//!
//! Nobody was told of such a step, so the state stays as it was: callers learn why, what is the
//! instance's own waits and comes again, and an instance whose history the log does not continue is
//! set aside. After a failed write or sync the owner is dead.

use std::{mem, sync::Arc};

use traaviis_engine::StepContext;
use traaviis_model::Timestamp;
use traaviis_ports::LogError;

use super::{Commitment, Hold, Job, Lack, Origin, Outbox, Owner, Pending, in_order};
use crate::{error::Error, limits::FULL_RETRY, recovery::Fault};

impl Owner {
    /// Undoes a step that found no space: callers learn it, everything else waits and comes again.
    pub(super) fn put_back(&mut self, pending: Pending, now: Timestamp) {
        let Pending { key, requests, origin, again, .. } = pending;
        self.release(key.tenant, &requests);
        let again = match again {
            Some(input) => Some(Job { input, origin, if_seq: None }),
            None => {
                origin.answer(Err(Error::Log(LogError::Full)));
                None
            }
        };
        self.wait_again(key, again, &Error::Log(LogError::Full));
        let Some(instance) = self.instances.get_mut(&key) else { return };
        if instance.mailbox.is_none() && instance.due_timer(now, None).is_none() {
            // Nothing of ours waits, so the next caller may find out about the disk.
            instance.hold = Hold::Idle;
            self.ready.push_back(key);
        } else {
            self.hold_until(key, now.plus(FULL_RETRY), Lack::Space);
        }
    }

    /// Undoes a step whose records the log does not take: a caller learns it; an input of the
    /// instance's own is kept in an incident.
    pub(super) fn refused(
        &mut self,
        pending: Pending,
        why: &str,
        now: Timestamp,
        outbox: &mut dyn Outbox,
    ) {
        let is_told = !matches!(pending.origin, Origin::Emission(..) | Origin::Runtime);
        if pending.again.is_none() && !is_told {
            // Even the incident was refused; there is no third try.
            return self.set_aside(pending, why);
        }
        let Pending { key, requests, origin, again, .. } = pending;
        self.release(key.tenant, &requests);
        origin.answer(Err(Error::Log(LogError::Refused(why.into()))));
        let Some(instance) = self.instances.get_mut(&key) else { return };
        instance.hold = Hold::Idle;
        self.ready.push_back(key);
        let again = again.filter(|_| !is_told);
        let (Some(input), Some(machine)) = (again, instance.machine.clone()) else { return };
        let snapshot = Arc::clone(&instance.snapshot);
        let redaction = self.tenants.get(&key.tenant).and_then(|it| it.redaction.clone());
        let context = StepContext { key: redaction, ..StepContext::new(now, self.engine.clone()) };
        if let Ok(step) = traaviis_engine::hold(&machine, &snapshot, &input, why, &context) {
            self.offer(key, step, Origin::Runtime, None, outbox);
        }
    }

    /// Takes an instance out of memory whose history the log does not continue.
    pub(super) fn set_aside(&mut self, pending: Pending, why: &str) {
        let Pending { key, requests, origin, .. } = pending;
        self.release(key.tenant, &requests);
        let Some(instance) = self.take_out(key) else { return };
        self.awaiting.remove(&key);
        let seq = instance.snapshot.seq;
        let (tenant, id, message) = (key.tenant, key.id, why.into());
        let fault = Fault { tenant, id, seq, message, is_mendable: false };
        origin.answer(Err(fault.to_error()));
        self.close_mailbox(key, instance.mailbox, &|| fault.to_error());
        self.faults.insert(key, fault);
    }

    /// Stops for ever: nobody is told anything that is not durable.
    pub(super) fn die(&mut self, error: LogError, outbox: &mut dyn Outbox) {
        if self.dead.is_some() {
            return;
        }
        self.dead = Some(error.clone());
        let failed = || Error::Log(error.clone());
        for (_, commitment) in in_order(mem::take(&mut self.commits)) {
            match commitment {
                Commitment::Step(pending) => pending.origin.answer(Err(failed())),
                Commitment::Start(begun) => (begun.reply)(Err(failed())),
                Commitment::Definition(..) | Commitment::Jump(..) => {}
            }
        }
        let mut open: Vec<_> = self.instances.iter_mut().collect();
        open.sort_unstable_by_key(|(key, _)| **key);
        for (_, instance) in open {
            for job in instance.mailbox.take().map(|mut it| it.take_callers()).unwrap_or_default() {
                job.answer(Err(failed()));
            }
        }
        for (_, starts) in in_order(mem::take(&mut self.starting)) {
            starts.into_iter().for_each(|it| (it.reply)(Err(failed())));
        }
        for waiting in self.definitions.take_waiting() {
            waiting.refuse(failed());
        }
        outbox.fatal(&error);
    }
}
