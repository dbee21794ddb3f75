//! Keys with which steps redact personal data: had once for each tenant that needs one.
//!
//! A step that cannot have the key is not taken: callers learn why; what is the instance's own
//! waits, and comes again.

use traaviis_engine::{Input, Machine};
use traaviis_model::{TenantId, Timestamp, privacy::RedactionKey};

use super::{Hold, Job, Key, Origin, Owner};
use crate::{error::Error, limits::KEY_RETRY};

/// What an instance waits for that is nobody's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// Space on the disk.
    Space,
    /// The key with which it redacts.
    Key,
}

impl Owner {
    /// Returns the key of a tenant, if a machine needs one.
    pub(super) fn redaction_key(
        &mut self,
        tenant: TenantId,
        machine: &Machine,
    ) -> Result<Option<RedactionKey>, Error> {
        if !machine.needs_key() {
            return Ok(None);
        }
        let Some(tenant) = self.tenants.get_mut(&tenant) else { return Ok(None) };
        if tenant.redaction.is_none() {
            let found = self.settings.keys.redaction_key(&tenant.ctx);
            tenant.redaction = Some(found.map_err(Error::NoKey)?);
        }
        Ok(tenant.redaction.clone())
    }

    /// Leaves an input until the key can be had.
    pub(super) fn wait_for_key(&mut self, key: Key, job: Job, error: Error, now: Timestamp) {
        if matches!(job.origin, Origin::Caller(..)) {
            return job.answer(Err(error));
        }
        self.wait_again(key, Some(job), &error);
        self.hold_until(key, now.plus(KEY_RETRY), Lack::Key);
    }

    /// Puts an input of the instance's own back in front, and tells callers that it waits.
    pub(super) fn wait_again(&mut self, key: Key, job: Option<Job>, why: &Error) {
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let mut callers = Vec::new();
        if let Some(mailbox) = &mut instance.mailbox {
            callers = mailbox.take_callers();
        }
        // A timer stands in the snapshot and comes again by itself.
        if let Some(job) = job.filter(|it| !matches!(it.input, Input::Timer { .. })) {
            if matches!(job.input, Input::Starting { .. })
                && let Some(it) = self.tenants.get_mut(&key.tenant)
            {
                it.slots.promise();
            }
            instance.mailbox.get_or_insert_default().push_front(job);
        }
        instance.mailbox = instance.mailbox.take().filter(|it| it.len() > 0);
        for job in callers {
            job.answer(Err(why.clone()));
        }
    }

    /// Lets an instance take nothing until then.
    pub(super) fn hold_until(&mut self, key: Key, until: Timestamp, lack: Lack) {
        if let Some(instance) = self.instances.get_mut(&key) {
            instance.hold = Hold::Lacks(lack, until);
            self.full.insert((until, key));
        }
    }
}
