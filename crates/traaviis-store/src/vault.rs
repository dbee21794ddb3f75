//! Sealing with the keys of subjects, behind the [`Vault`] port.
//!
//! What is sealed is text that stands in a document, in the form that sealed lines of the log have;
//! see [`crate::sealed`].
//!
//! Invariant: it is bound to the tenant, the kind and the id of its document, and to the version of
//! the key.

use traaviis_model::{TenantCtx, Text, Timestamp};
use traaviis_ports::{
    SecretError,
    vault::{Place, Unsealed, Vault},
};

use crate::{
    keys::{
        self, entropy,
        seal::{self, Bound, NONCE_BYTES},
        subject::{Opened, Subjects},
    },
    sealed::{parts, text},
};

impl Vault for Subjects {
    fn seal(
        &self,
        ctx: &TenantCtx,
        place: Place<'_>,
        plain: &[u8],
        now: Timestamp,
    ) -> Result<Text, SecretError> {
        let tenant = ctx.tenant();
        let (name, version, key) = self.in_use(tenant, place.subject, now).map_err(told)?;
        let nonce = entropy::<NONCE_BYTES>().map_err(told)?;
        let bound = Bound { tenant, kind: place.kind, id: place.id, version };
        let sealed = seal::seal(&key, &nonce, bound, plain);
        let sealed =
            sealed.ok_or_else(|| SecretError::Unreadable("it is too long to be sealed".into()))?;
        Ok(text(name, version, &nonce, &sealed).into())
    }

    fn open(
        &self,
        ctx: &TenantCtx,
        place: Place<'_>,
        sealed: &str,
    ) -> Result<Unsealed, SecretError> {
        let tenant = ctx.tenant();
        let wrong = || {
            let Place { kind, id, .. } = place;
            SecretError::Unreadable(format!("what is sealed in {kind} `{id}` is damaged").into())
        };
        let (name, version, bytes) = parts(sealed).ok_or_else(wrong)?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>().ok_or_else(wrong)?;
        let bound = Bound { tenant, kind: place.kind, id: place.id, version };
        match Subjects::open(self, tenant, (name, version), nonce, bound, sealed).map_err(told)? {
            Opened::Plain(plain) => Ok(Unsealed::Plain(plain)),
            Opened::Erased => Ok(Unsealed::Erased),
        }
    }

    fn seal_all(&self, ctx: &TenantCtx, is_all: bool, now: Timestamp) -> Result<(), SecretError> {
        self.keys().set_seals_all(ctx, is_all, now).map_err(told)
    }

    fn destroy(&self, ctx: &TenantCtx, subject: &str, now: Timestamp) -> Result<(), SecretError> {
        self.erase(ctx.tenant(), subject, now).map(drop).map_err(told)
    }
}

fn told(error: keys::Error) -> SecretError {
    let why = error.to_string().into();
    match error.is_retryable() {
        true => SecretError::Unreachable(why),
        false => SecretError::Unreadable(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Keys, RootSource};

    #[test]
    fn what_is_sealed_opens_at_its_place_until_the_key_is_destroyed() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Subjects::new(Keys::new(dir.path(), RootSource::passing().unwrap()));
        let (ctx, other) = (TenantCtx::for_test(1), TenantCtx::for_test(2));
        let place = Place { subject: "ada", kind: "user", id: "7" };
        let now = Timestamp(5);
        let sealed = vault.seal(&ctx, place, b"ada@example.org", now).unwrap();
        assert!(!sealed.contains("ada"));
        let open = |ctx: &TenantCtx, place, sealed: &str| Vault::open(&vault, ctx, place, sealed);
        let Ok(Unsealed::Plain(plain)) = open(&ctx, place, &sealed) else { panic!("not opened") };
        assert_eq!(&**plain, b"ada@example.org");
        assert!(open(&ctx, Place { id: "8", ..place }, &sealed).is_err(), "another document");
        assert!(open(&other, place, &sealed).is_err(), "another tenant");
        assert!(open(&ctx, place, &sealed[..sealed.len() - 4]).is_err(), "cut");
        vault.destroy(&ctx, "ada", now).unwrap();
        assert!(matches!(open(&ctx, place, &sealed), Ok(Unsealed::Erased)));
        vault.destroy(&ctx, "nobody", now).unwrap();
    }
}
