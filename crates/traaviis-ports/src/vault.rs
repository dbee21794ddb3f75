//! Sealing of what may rest only sealed, with keys that can be destroyed one by one.
//!
//! Responsible for the vocabulary only; `traaviis-store` seals with keys of its own.
//!
//! Invariants an implementation keeps: what is sealed opens only at the place it was sealed for; a
//! key that was destroyed is never mistaken for one that is missing.

use traaviis_model::{TenantCtx, Text, Timestamp};
use zeroize::Zeroizing;

use crate::SecretError;

/// The place that something is sealed for.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Whose key seals it: a person, or a part of the platform.
    pub subject: &'a str,
    /// Kind of the document that holds it.
    pub kind: &'a str,
    /// Id of that document.
    pub id: &'a str,
}

/// What is behind a seal.
#[derive(Debug)]
pub enum Unsealed {
    /// The bytes.
    Plain(Zeroizing<Vec<u8>>),
    /// Its key is destroyed, so nobody can know.
    Erased,
}

/// Seals and opens.
pub trait Vault: Send + Sync {
    /// Seals bytes with the key of a subject, which is made when there is none.
    fn seal(
        &self,
        ctx: &TenantCtx,
        place: Place<'_>,
        plain: &[u8],
        now: Timestamp,
    ) -> Result<Text, SecretError>;

    /// Opens what [`Vault::seal`] gave for the same place.
    fn open(
        &self,
        ctx: &TenantCtx,
        place: Place<'_>,
        sealed: &str,
    ) -> Result<Unsealed, SecretError>;

    /// Has all instances of a tenant sealed that begin from now on, and documents, or no longer.
    fn seal_all(&self, ctx: &TenantCtx, is_all: bool, now: Timestamp) -> Result<(), SecretError>;

    /// Destroys the key of a subject, durably; one that never was is no error.
    fn destroy(&self, ctx: &TenantCtx, subject: &str, now: Timestamp) -> Result<(), SecretError>;
}
