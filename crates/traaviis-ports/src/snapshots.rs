//! States of open instances at rest on disk: what memory need not hold, and what a restart begins
//! with. Made from the log; it can be lost and made again.

use std::{ops::RangeInclusive, sync::Arc};

use serde::{Deserialize, Serialize};
use traaviis_model::{DefinitionHash, InstanceId, Seq, TenantCtx, TenantId, Text, Timestamp};

use crate::Position;

/// What is known of an open instance without reading its state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SnapshotHead {
    /// Tenant.
    pub tenant: TenantId,
    /// Instance.
    pub id: InstanceId,
    /// Its last record in the state.
    pub seq: Seq,
    /// Definition that decides.
    pub definition: DefinitionHash,
    /// Workflow name.
    pub workflow: Text,
    /// Business key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<Text>,
    /// When it was created.
    pub created_at: Timestamp,
    /// Commit time of its last step.
    pub updated_at: Timestamp,
    /// When its next timer fires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// It has timers, also ones that do not fire as it stands.
    pub timed: bool,
    /// Nothing is to be done for it before an input comes or its timer fires; others are looked at
    /// when a process starts.
    pub rests: bool,
    /// Bytes of its state on disk.
    pub bytes: u32,
}

/// A row as put and as visited.
#[derive(Clone, Debug, PartialEq)]
pub enum SnapshotRow {
    /// An open instance and its state; visits leave the state out.
    Open(SnapshotHead, Vec<u8>),
    /// An instance that had a row and has ended: what is remembered of it. It stays for a start
    /// that begins at an older checkpoint.
    Ended {
        /// Tenant.
        tenant: TenantId,
        /// Instance.
        id: InstanceId,
        /// The caller's bytes.
        summary: Vec<u8>,
    },
}

impl SnapshotRow {
    /// Returns whose row it is.
    pub fn key(&self) -> (TenantId, InstanceId) {
        match self {
            SnapshotRow::Open(head, _) => (head.tenant, head.id),
            SnapshotRow::Ended { tenant, id, .. } => (*tenant, *id),
        }
    }
}

/// Why the states cannot be used. The log is whole all the same.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SnapshotError {
    /// No space; trying again later can help.
    #[error("the disk that holds the snapshots is full; free space and it goes on by itself")]
    Full,
    /// What is in them cannot be read or trusted; they must be made again from the log.
    #[error("the snapshots are damaged: {0}")]
    Damaged(Arc<str>),
    /// The system or another program stands in the way.
    #[error("the snapshots cannot be used: {0}")]
    Failed(Arc<str>),
}

/// Where states of open instances rest.
pub trait SnapshotStore: Send + Sync {
    /// Returns the positions at which a start can begin with it: of every instance that was open at
    /// one of them or later it has a row, as new as the last position or newer. None when it is
    /// empty, or was never complete.
    fn covers(&self) -> Result<Option<RangeInclusive<Position>>, SnapshotError>;

    /// Puts rows, all or none of them, durably. With a completion it covers that position too, and
    /// rows of ended instances are taken out that no covered start needs.
    fn put(
        &self,
        rows: &mut dyn Iterator<Item = SnapshotRow>,
        complete: Option<Completion>,
    ) -> Result<(), SnapshotError>;

    /// Visits all rows, states left out. An error says that what was visited is worth nothing.
    fn visit(&self, visit: &mut dyn FnMut(SnapshotRow)) -> Result<(), SnapshotError>;

    /// Returns the state of an open instance, verified.
    fn get(&self, ctx: &TenantCtx, id: InstanceId) -> Result<Option<Vec<u8>>, SnapshotError>;

    /// Forgets everything, damaged or not.
    fn clear(&self) -> Result<(), SnapshotError>;
}

/// A position at which rows become complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Position of the log; every state that changed before it was put.
    pub position: Position,
    /// No start begins before it.
    pub forget: Position,
}
