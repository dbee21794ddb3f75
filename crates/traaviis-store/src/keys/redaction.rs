//! The key with which personal data of a tenant is redacted.
//!
//! It is made from the first version of the tenant's key, so it stays when others follow: what is
//! the same thing stays the same digest, and old tokens are turned back. Whoever has it cannot get
//! back to the key that it is made from, and opens no secret with it.

use traaviis_model::{TenantCtx, Timestamp, privacy::RedactionKey};
use zeroize::Zeroizing;

use super::{
    Error, Keys, Ring,
    seal::{Key, keyed_hash},
};

/// What the key is for, so that the same key made for something else is another one.
const PURPOSE: &[u8] = b"traaviis/redaction/1";

impl Keys {
    /// Returns the key that redacts for a tenant. Its own key is made when it has none.
    pub fn redaction(&self, ctx: &TenantCtx, now: Timestamp) -> Result<RedactionKey, Error> {
        if let Some(known) = self.known_redaction(ctx)? {
            return Ok(known);
        }
        let held = self.hold()?;
        self.make(ctx.tenant(), now)?;
        drop(held);
        self.redaction_of(&self.needed_ring(ctx.tenant())?)
    }

    /// As [`Keys::redaction`], and makes nothing.
    pub fn known_redaction(&self, ctx: &TenantCtx) -> Result<Option<RedactionKey>, Error> {
        self.ring(ctx.tenant())?.map(|ring| self.redaction_of(&ring)).transpose()
    }

    fn redaction_of(&self, ring: &Ring) -> Result<RedactionKey, Error> {
        Ok(made_from(&self.first_of(ring)?, ring.tenant.0.as_bytes()))
    }
}

fn made_from(key: &Key, tenant: &[u8]) -> RedactionKey {
    RedactionKey::new(Zeroizing::new(keyed_hash(&key.0, &[PURPOSE, tenant])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::root::RootSource;

    #[test]
    fn it_stays_when_the_key_of_the_tenant_is_changed() {
        let dir = tempfile::tempdir().unwrap();
        let source = RootSource::File(dir.path().join("root.key"));
        let keys = Keys::new(&dir.path().join("data"), source);
        let (ctx, now) = (TenantCtx::for_test(1), Timestamp(0));
        assert!(keys.known_redaction(&ctx).unwrap().is_none());
        let made = keys.redaction(&ctx, now).unwrap();
        let held = keys.hold().unwrap();
        keys.add_version(&ctx, now).unwrap();
        drop(held);
        keys.rotate_root(now).unwrap();
        assert_eq!(keys.redaction(&ctx, now).unwrap(), made);
        assert_eq!(keys.known_redaction(&ctx).unwrap(), Some(made.clone()));
        let other = keys.redaction(&TenantCtx::for_test(2), now).unwrap();
        assert_ne!(other, made);
        assert_ne!(made, RedactionKey::of_previews());
        assert_eq!(format!("{made:?}"), "RedactionKey(..)");
    }

    #[test]
    fn two_tenants_with_the_same_key_redact_differently() {
        let key = Key(Zeroizing::new([3; crate::keys::seal::KEY_BYTES]));
        assert_ne!(made_from(&key, b"a"), made_from(&key, b"b"));
    }
}
