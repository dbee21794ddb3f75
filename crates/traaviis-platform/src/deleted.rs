//! Use cases of instances that are deleted one by one.
//!
//! An instance that has ended is deleted by a document of the ledger, in the commit of its audit
//! entry: from then on it is shown nowhere. The engine lets go of its history as if its time were
//! over, which takes until the segments that it stands in are full and compacted; then the document
//! goes, too, and the audit entry stays.

use serde::{Deserialize, Serialize};
use traaviis_model::{InstanceId, TenantCtx, TenantId, Text, Timestamp};

use crate::{
    audit::Act,
    caller::Entered,
    engine::Engine,
    error::Error,
    ledger::Document,
    platform::{Platform, engine},
};

/// Deleted instances of a tenant whose histories are not gone yet: each is looked up in memory.
pub const DELETED_MAX: usize = 10_000;

/// An instance that was deleted, while something of its history is left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Deleted {
    id: InstanceId,
    at: Timestamp,
}

impl Document for Deleted {
    const KIND: &'static str = "deleted_instance";

    fn id(&self) -> Text {
        self.id.to_string().into()
    }
}

impl Platform {
    /// Deletes an instance that has ended; the caller has seen that it has.
    pub fn delete_instance(
        &self,
        entered: &Entered,
        engine: &dyn Engine,
        id: InstanceId,
    ) -> Result<(), Error> {
        let deleted = Deleted { id, at: self.now() };
        self.ledgers.change(&entered.ctx, &entered.via, |documents, changes| {
            if documents.get::<Deleted>(&deleted.id())?.is_some() {
                return Err(Error::not_found("instance", &id.to_string()));
            }
            if documents.count::<Deleted>() >= DELETED_MAX {
                let message = format!(
                    "the histories of {DELETED_MAX} deleted instances are still to be dropped; try \
                     again after the next compaction of the log"
                );
                return Err(Error::new("quota_exceeded", message));
            }
            changes.put(&deleted);
            changes.act(Act::done("instance.deleted", "instance", id.to_string()));
            Ok(())
        })?;
        engine.discard(&entered.ctx, id).map(drop)
    }

    /// Says whether an instance was deleted.
    pub fn is_deleted(&self, tenant: TenantId, id: &str) -> bool {
        self.lookup(|it| it.is_deleted(tenant, id))
    }

    /// Takes out of a list what was deleted.
    pub fn leave_out_deleted<T>(
        &self,
        tenant: TenantId,
        listed: &mut Vec<T>,
        id_of: impl Fn(&T) -> String,
    ) {
        self.lookup(|it| {
            if !it.deleted().is_empty() {
                listed.retain(|one| !it.is_deleted(tenant, &id_of(one)));
            }
        });
    }

    /// Has the engine let go of what was deleted, and forgets what is gone; called from time to
    /// time, and once when a process begins.
    pub fn finish_deletions(&self, runs: &dyn Engine) -> Result<(), Error> {
        for (tenant, id) in self.lookup(|it| it.deleted().iter().cloned().collect::<Vec<_>>()) {
            let ctx = TenantCtx::keeper_of(tenant);
            let Ok(instance) = id.parse() else { continue };
            if runs.discard(&ctx, instance)? {
                continue;
            }
            self.ledgers.change(&ctx, &engine(), |_, changes| {
                changes.remove::<Deleted>(&id);
                Ok(())
            })?;
        }
        Ok(())
    }
}
