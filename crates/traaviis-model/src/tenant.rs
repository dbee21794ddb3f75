//! The proof that a call acts for one tenant.
//!
//! Every port that reaches data takes a [`TenantCtx`]. There is no public field and no way to make
//! one from an id alone: the constructors name the authority they rest on, and `cargo xtask tidy`
//! keeps the list of files that may call them.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    ids::{InstanceId, Seq, TenantId, Text},
    record::{Actor, Header},
};

/// One tenant, who acts in it, and the record that made them act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantCtx {
    tenant: TenantId,
    actor: Actor,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cause: Option<Text>,
}

impl TenantCtx {
    /// The tenant of a single-user data directory, where whoever may read the files is the
    /// operator.
    pub fn local_operator() -> Self {
        TenantCtx { tenant: TenantId(Uuid::from_u128(1)), actor: Actor::local(), cause: None }
    }

    /// The tenant that a committed record names; for the scheduler, which acts for records only.
    pub fn of_record(header: &Header) -> Self {
        TenantCtx { tenant: header.tenant_id, actor: Actor::engine(), cause: None }
    }

    /// A tenant made up by a test.
    pub fn for_test(number: u128) -> Self {
        TenantCtx { tenant: TenantId(Uuid::from_u128(number)), actor: Actor::local(), cause: None }
    }

    /// The engine in the same tenant: what it does by itself is nobody's act.
    pub fn as_engine(&self) -> Self {
        TenantCtx { tenant: self.tenant, actor: Actor::engine(), cause: None }
    }

    /// The same because of a record of the tenant, which the records of the act will name.
    pub fn because_of(&self, instance: InstanceId, seq: Seq) -> Self {
        TenantCtx { cause: Some(format!("{instance}:{seq}").into()), ..self.clone() }
    }

    /// Returns the tenant.
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Returns who acts.
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// Returns the record that made them act, as `INSTANCE:SEQ`.
    pub fn cause(&self) -> Option<&Text> {
        self.cause.as_ref()
    }
}
