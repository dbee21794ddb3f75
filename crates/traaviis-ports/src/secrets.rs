//! Values that only a call to the outside may know: where they come from, and how they are held.
//!
//! Invariant: a [`Secret`] has no form for people, records or logs, and its memory is overwritten
//! when it is dropped.

use std::{fmt, sync::Arc};

use traaviis_model::{TenantCtx, privacy::RedactionKey};
use zeroize::Zeroizing;

/// The value of a secret.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a value over.
    pub fn new(value: impl Into<Zeroizing<String>>) -> Secret {
        Secret(value.into())
    }

    /// Returns the value; whoever asks keeps it out of everything that is kept or shown.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Why a secret that is there cannot be told. Never holds its value.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SecretError {
    /// Its place cannot be reached now; trying again can help.
    #[error("{0}")]
    Unreachable(Arc<str>),
    /// It cannot be read; somebody must mend it.
    #[error("{0}")]
    Unreadable(Arc<str>),
}

impl SecretError {
    /// Says whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, SecretError::Unreachable(_))
    }
}

/// Where secrets come from. Asked at the moment of a call, each time.
pub trait Secrets: Send + Sync {
    /// Returns the value of a tenant's secret; nothing when none is set.
    fn reveal(&self, ctx: &TenantCtx, name: &str) -> Result<Option<Secret>, SecretError>;

    /// Returns the value for a call of a workflow; nothing also when the workflow may not use it.
    fn reveal_to(
        &self,
        ctx: &TenantCtx,
        _workflow: &str,
        name: &str,
    ) -> Result<Option<Secret>, SecretError> {
        self.reveal(ctx, name)
    }
}

/// A function from names to values, the same for every tenant.
impl<F> Secrets for F
where
    F: Fn(&str) -> Option<String> + Send + Sync,
{
    fn reveal(&self, _: &TenantCtx, name: &str) -> Result<Option<Secret>, SecretError> {
        Ok(self(name).map(Secret::new))
    }
}

/// Where the keys come from with which personal data is redacted. Asked once for each tenant that
/// needs one; unlike other keys, these stay in the memory of whoever takes steps.
pub trait RedactionKeys: Send + Sync {
    /// Returns the key of a tenant, the same each time; it is made when there is none.
    fn redaction_key(&self, ctx: &TenantCtx) -> Result<RedactionKey, SecretError>;

    /// Says whether a tenant has all of its instances sealed, also those that are about nobody.
    fn seals_all(&self, _: &TenantCtx) -> Result<bool, SecretError> {
        Ok(false)
    }
}

/// Knows no key of any tenant.
#[derive(Clone, Copy, Debug)]
pub struct NoKeys;

impl RedactionKeys for NoKeys {
    fn redaction_key(&self, _: &TenantCtx) -> Result<RedactionKey, SecretError> {
        Err(SecretError::Unreadable("this process knows no keys of tenants".into()))
    }
}

impl fmt::Debug for dyn Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_no_form_for_people() {
        let secret = Secret::new("s3cret".to_owned());
        assert_eq!(secret.expose(), "s3cret");
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "Secret(..) Some(Secret(..))");
    }
}
