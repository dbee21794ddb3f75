//! Histories of ended instances, kept outside the log.
//!
//! Responsible for the vocabulary only; `traaviis-store` keeps one file for each instance. Whoever
//! reads a history through [`crate::LogStore`] finds it wherever it is.
//!
//! Invariants an implementation keeps: an archived history is durable, whole and checked before
//! [`Archive::put`] returns well, and never changes after; what was put in part looks absent.

use traaviis_model::{InstanceId, Seq, TenantCtx, TenantId, Timestamp};

use crate::LogError;

/// What is kept beside the records of an archived instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archived {
    /// Instance.
    pub id: InstanceId,
    /// Last record.
    pub seq: Seq,
    /// When it ended.
    pub finished_at: Timestamp,
    /// From when on the archive need not keep it.
    pub delete_at: Timestamp,
    /// The instance in short, as JSON; lists show it.
    pub summary: Vec<u8>,
}

/// An archived instance, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedHistory {
    /// What is kept beside its records.
    pub entry: Archived,
    /// All its records as JSON lines without newlines, byte for byte as the log had them.
    pub lines: Vec<Vec<u8>>,
}

/// How much an archive holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArchiveSize {
    /// Instances.
    pub instances: u64,
    /// Bytes on disk.
    pub bytes: u64,
}

/// How the log is to be compacted.
pub struct Compaction<'a> {
    /// Instances whose records are dropped although their files are about to go.
    pub expired: &'a [(TenantId, InstanceId)],
    /// Whether segments are written, or only looked at.
    pub mode: Mode,
    /// Called after each piece of work with the bytes that were read and written, so that whoever
    /// asks can pause; false ends the compaction between two segments.
    pub pace: &'a mut dyn FnMut(u64) -> bool,
    /// Told after each segment.
    pub tell: &'a mut dyn FnMut(Compacted),
}

/// Whether compaction changes anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Segments are replaced.
    Write,
    /// Only what would be freed is found out.
    DryRun,
}

/// What a compaction did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Segments that were looked at.
    pub segments: u64,
    /// Segments that were replaced by smaller ones.
    pub replaced: u64,
    /// Records dropped.
    pub records: u64,
    /// Bytes before, of the segments looked at.
    pub bytes_before: u64,
    /// Bytes of the same segments after.
    pub bytes_after: u64,
    /// Expired instances of which the log still holds records.
    pub left: Vec<(TenantId, InstanceId)>,
}

/// The archive of a data directory.
pub trait Archive: Send + Sync {
    /// Keeps a history. One of the same instance that is there and whole stays as it is.
    fn put(&self, ctx: &TenantCtx, history: &ArchivedHistory) -> Result<(), LogError>;

    /// Returns an archived history; none when the instance is not archived in this tenant.
    fn get(&self, ctx: &TenantCtx, id: InstanceId) -> Result<Option<ArchivedHistory>, LogError>;

    /// Returns ids of one tenant, the highest first: at most `limit`, only those below `after`.
    fn ids(
        &self,
        ctx: &TenantCtx,
        after: Option<InstanceId>,
        limit: usize,
    ) -> Result<Vec<InstanceId>, LogError>;

    /// Says whether an instance is archived, damaged or not; for recovery and projections, which
    /// see all tenants.
    fn holds(&self, tenant: TenantId, id: InstanceId) -> Result<bool, LogError>;

    /// Returns the number of the last record of an archived instance whose file was read back and
    /// found whole; none when there is none. For dropping from the log what is safe here.
    fn whole(&self, tenant: TenantId, id: InstanceId) -> Result<Option<Seq>, LogError>;

    /// Returns instances of all tenants that need not be kept at `now` any more, at most `limit`.
    fn expired(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<(TenantId, InstanceId)>, LogError>;

    /// Deletes an instance for ever.
    fn remove(&self, tenant: TenantId, id: InstanceId) -> Result<(), LogError>;

    /// Says whether there has never been anything; cheap.
    fn is_empty(&self) -> Result<bool, LogError>;

    /// Returns how much is there.
    fn size(&self) -> Result<ArchiveSize, LogError>;
}
