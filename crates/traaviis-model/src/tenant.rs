//! The proof that a call acts for one tenant.
//!
//! Every port that reaches data takes a [`TenantCtx`]. There is no public field and no way to make
//! one from an id alone: the constructors name the authority they rest on, and `cargo xtask tidy`
//! keeps the list of files that may call them.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{ids::TenantId, record::Actor, record::Header};

/// One tenant and who acts in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantCtx {
    tenant: TenantId,
    actor: Actor,
}

impl TenantCtx {
    /// The tenant of a single-user data directory, where whoever may read the files is the
    /// operator.
    pub fn local_operator() -> Self {
        TenantCtx { tenant: TenantId(Uuid::from_u128(1)), actor: Actor::local() }
    }

    /// The tenant that a committed record names; for the scheduler, which acts for records only.
    pub fn of_record(header: &Header) -> Self {
        TenantCtx { tenant: header.tenant_id, actor: Actor::engine() }
    }

    /// A tenant made up by a test.
    pub fn for_test(number: u128) -> Self {
        TenantCtx { tenant: TenantId(Uuid::from_u128(number)), actor: Actor::local() }
    }

    /// Returns the tenant.
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Returns who acts.
    pub fn actor(&self) -> &Actor {
        &self.actor
    }
}
