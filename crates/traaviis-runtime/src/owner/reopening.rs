//! Instances that begin from a history: one that failed goes on, a fork begins as a copy.
//!
//! Whoever asks has read the history and planned from it; the owner checks that this is still how
//! things stand, decides the first step, and takes the instance in once that is durable.

use std::sync::Arc;

use traaviis_engine::StepContext;
use traaviis_model::{Snapshot, Timestamp, Value};

use super::{Found, Key, Outbox, Owner, Reopen, guarded, starting::Begun};
use crate::error::Error;

impl Owner {
    pub(super) fn reopen(&mut self, reopen: Reopen, now: Timestamp, outbox: &mut dyn Outbox) {
        let Reopen { ctx, base, copied, input, read_to, reply } = reopen;
        let key = Key { tenant: ctx.tenant(), id: base.id };
        self.tenant(&ctx);
        // A fork begins as an instance of its own.
        let is_fork = !copied.is_empty();
        if let Err(error) = self.may_reopen(key, &base, is_fork) {
            return reply(Err(error));
        }
        let Some(machine) = self.version(key.tenant, base.definition_hash) else {
            return reply(Err(super::definition_missing(&base)));
        };
        let redaction = match self.redaction_key(key.tenant, &machine) {
            Ok(redaction) => redaction,
            Err(error) => return reply(Err(error)),
        };
        let slots = self.tenants.get(&key.tenant).map_or(0, |it| it.slots.free());
        let context = StepContext {
            start_slots: u32::try_from(slots).unwrap_or(u32::MAX),
            key: redaction,
            origin: ctx.origin().cloned().map(Box::new),
            ..StepContext::new(now, ctx.actor().clone())
        };
        let step = guarded::ask(|| traaviis_engine::step(&machine, &base, input, &context));
        let step = match step {
            Ok(step) => step,
            Err(rejection) => return reply(Err(Error::Rejected(rejection))),
        };
        let (snapshot, requests) = (step.snapshot, step.requests);
        let records = Arc::new([copied, step.records].concat());
        let reopened = true;
        let begun = Begun { ctx, key, machine, snapshot, records, requests, reopened, reply };
        self.offer_start(begun, read_to, outbox);
    }

    /// Says whether an instance still stands as its history was read.
    fn may_reopen(&mut self, key: Key, base: &Snapshot, is_fork: bool) -> Result<(), Error> {
        if !is_fork {
            self.refuse_archived(key)?;
        }
        if self.starting.contains_key(&key) {
            return Err(Error::Busy);
        }
        let open = |snapshot: &Snapshot| {
            let message = format!("instance `{}` is {}", key.id, snapshot.status.as_str());
            Err(Error::rejected("invalid_state", message, Value::Null))
        };
        match self.find(key.tenant, key.id) {
            Ok(Found::Open(snapshot)) => open(&snapshot),
            // It has gone on and ended again since.
            Ok(Found::Ended(summary)) if summary.seq != base.seq => Err(Error::Busy),
            Ok(Found::Ended(_)) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// An instance that had ended is open again.
    pub(super) fn reopened(&mut self, key: Key, snapshot: &Arc<Snapshot>) {
        if self.finished.remove(&key).is_some() {
            self.finished_order.retain(|it| *it != key);
        }
        self.settings.gates.restore(snapshot);
    }

    /// An instance does not go on after all.
    pub(super) fn not_reopened(&self, key: Key, snapshot: &Snapshot) {
        if let Some(correlation) = &snapshot.correlation {
            let correlations = &self.settings.correlations;
            correlations.close(key.tenant, &snapshot.workflow, correlation, key.id);
        }
    }
}
