//! A vault in memory: what is sealed says where, and opens until its key is destroyed.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use traaviis_model::{TenantCtx, TenantId, Text, Timestamp};
use traaviis_ports::{
    SecretError,
    vault::{Place, Unsealed, Vault},
};
use zeroize::Zeroizing;

/// The vault. It hides nothing, it only knows places and destroyed keys.
#[derive(Debug, Default)]
pub struct MemoryVault {
    destroyed: Mutex<BTreeSet<(TenantId, String)>>,
}

impl Vault for MemoryVault {
    fn seal(
        &self,
        ctx: &TenantCtx,
        place: Place<'_>,
        plain: &[u8],
        _now: Timestamp,
    ) -> Result<Text, SecretError> {
        let hidden: String = plain.iter().map(|it| format!("{:02x}", it ^ 0x5a)).collect();
        Ok(format!("{}|{hidden}", bound(ctx, place)).into())
    }

    fn open(
        &self,
        ctx: &TenantCtx,
        place: Place<'_>,
        sealed: &str,
    ) -> Result<Unsealed, SecretError> {
        let destroyed = self.destroyed.lock().unwrap_or_else(PoisonError::into_inner);
        if destroyed.contains(&(ctx.tenant(), place.subject.to_owned())) {
            return Ok(Unsealed::Erased);
        }
        let hidden = sealed.strip_prefix(&format!("{}|", bound(ctx, place)));
        let hidden = hidden.ok_or(SecretError::Unreadable("sealed for another place".into()))?;
        let byte = |at: usize| u8::from_str_radix(&hidden[at..at + 2], 16).unwrap_or(0) ^ 0x5a;
        let plain = (0..hidden.len()).step_by(2).map(byte).collect();
        Ok(Unsealed::Plain(Zeroizing::new(plain)))
    }

    fn seal_all(&self, _: &TenantCtx, _: bool, _: Timestamp) -> Result<(), SecretError> {
        Ok(())
    }

    fn destroy(&self, ctx: &TenantCtx, subject: &str, _now: Timestamp) -> Result<(), SecretError> {
        let mut destroyed = self.destroyed.lock().unwrap_or_else(PoisonError::into_inner);
        destroyed.insert((ctx.tenant(), subject.to_owned()));
        Ok(())
    }
}

fn bound(ctx: &TenantCtx, place: Place<'_>) -> String {
    format!("{}/{}/{}/{}", ctx.tenant(), place.subject, place.kind, place.id)
}
