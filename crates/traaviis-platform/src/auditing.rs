//! What audit trails are kept up with: acts on instances, counted refusals, checkpoints, alerts.
//!
//! [`Platform::keep_audit`] is called again and again by one thread of the process, and
//! [`Platform::end_audit`] at its end. Everything can be broken off at any point and begun again.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicI64},
};

use traaviis_model::TenantCtx;

use crate::{
    acts::Follower, alerts::Watching, checkpoints::Signing, egress::Egress, error::Error,
    platform::Platform, refusals::Refusals, secrets::SecretUses,
};

/// What the audit trails are kept up with.
#[derive(Debug, Default)]
pub(crate) struct Auditing {
    pub follower: OnceLock<Follower>,
    pub refusals: Refusals,
    pub egress: Arc<Egress>,
    pub secrets: SecretUses,
    pub signing: Signing,
    pub watching: Watching,
    /// What processes before this one have done stands in the ledgers.
    pub is_caught_up: AtomicBool,
    /// Day up to which keys of requests were forgotten.
    pub keys_forgotten: AtomicI64,
}

impl Platform {
    /// Enters what is not in the audit trails yet, signs their ends when it is time, and raises
    /// alerts.
    pub fn keep_audit(&self) -> Result<(), Error> {
        self.keep(false)
    }

    /// Does so for the last time, whatever the time.
    pub fn end_audit(&self) -> Result<(), Error> {
        self.keep(true)
    }

    fn keep(&self, is_end: bool) -> Result<(), Error> {
        self.enter_refusals(is_end);
        self.enter_refused_targets(is_end);
        self.enter_acts()?;
        self.enter_uses()?;
        self.keep_sightings(is_end)?;
        // One whose trail cannot be kept up keeps no other from it.
        let mut failed = None;
        for tenant in self.ledgers.tenants() {
            let ctx = TenantCtx::keeper_of(tenant);
            let kept = self.sign_trail(&ctx, is_end).and_then(|()| self.watch_trail(&ctx));
            failed = failed.or(kept.err());
        }
        failed.map_or(Ok(()), Err)
    }
}
