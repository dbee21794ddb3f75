//! What recovery found, for people and metrics, and the instances that cannot be worked on.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use traaviis_model::{InstanceId, Seq, Span, TenantId};
use traaviis_ports::{IndexError, Position};

use crate::error::Error;

/// An instance that cannot be worked on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// Tenant.
    pub tenant: TenantId,
    /// Instance.
    pub id: InstanceId,
    /// Last record that was understood.
    pub seq: Seq,
    /// What is wrong.
    pub message: Arc<str>,
    /// It may be mended from outside: what is wrong is a file beside the log. So the next start
    /// looks again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_mendable: bool,
}

impl Fault {
    /// Returns the stable code.
    pub fn code(&self) -> &'static str {
        if self.is_mendable { "blob_damaged" } else { "history_broken" }
    }

    pub(crate) fn to_error(&self) -> Error {
        Error::Unavailable { id: self.id, code: self.code(), message: Arc::clone(&self.message) }
    }
}

/// What recovery found, for people and metrics.
#[derive(Clone, Debug, Default)]
pub struct RecoveryReport {
    /// Position of the checkpoint, if there was one.
    pub checkpoint: Option<Position>,
    /// A checkpoint that a newer release wrote and that was passed over: its position, the version
    /// of its lines, and the newest one known.
    pub checkpoint_newer: Option<(Position, u32, u32)>,
    /// Position after the last record.
    pub position: Position,
    /// Records read after the checkpoint.
    pub records: u64,
    /// Open instances.
    pub instances: usize,
    /// Ended instances remembered.
    pub finished: usize,
    /// Definitions in the log.
    pub definitions: usize,
    /// Instances whose history is damaged.
    pub faults: Vec<Fault>,
    /// Instances whose definition is not in the log, or does not compile any more.
    pub definitions_missing: Vec<InstanceId>,
    /// How far the wall clock is behind the last commit, from which time goes on, or zero.
    pub clock_behind: Span,
    /// Why the index was made again, if it was.
    pub index_rebuilt: Option<&'static str>,
    /// Why there is no index, if it failed.
    pub index_failed: Option<IndexError>,
    /// Why the states of open instances were made again, if they were.
    pub snapshots_rebuilt: Option<Arc<str>>,
}
