//! Documents of tenants and of the platform: users, members, workflows, audit entries.
//!
//! Responsible for the vocabulary of the projection only: the log holds every version of every
//! document, and [`DocumentStore`] the newest one of each, so that a start reads no more than the
//! tail of the log. `traaviis-store` keeps one in SQLite, `traaviis-testkit` one in memory;
//! `traaviis-platform` feeds it.
//!
//! Invariants an implementation keeps: rows and position of one [`DocumentStore::put`] become
//! visible together or not at all; a row never goes back to an earlier version; nothing in it is
//! the only copy of anything.

use std::sync::Arc;

use traaviis_model::{TenantCtx, TenantId, Text};

use crate::Position;

/// The newest version of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentRow {
    /// Tenant.
    pub tenant: TenantId,
    /// Kind.
    pub kind: Text,
    /// Id inside the kind.
    pub id: Text,
    /// Number of the record that put it, in the stream of its ledger.
    pub version: u64,
    /// JSON; none when it was removed.
    pub body: Option<Vec<u8>>,
}

/// Which documents of a kind a list shows.
#[derive(Clone, Debug)]
pub struct DocumentQuery<'a> {
    /// Kind.
    pub kind: &'a str,
    /// Only those whose id begins with this.
    pub prefix: &'a str,
    /// Only ids behind this one, in the order of the list.
    pub after: Option<&'a str>,
    /// Highest id first.
    pub descending: bool,
    /// How many at most.
    pub limit: usize,
}

/// Why the documents cannot be used. The log is whole all the same.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DocumentError {
    /// No space; trying again later can help.
    #[error("the disk that holds the documents is full; free space and it goes on by itself")]
    Full,
    /// What is in them cannot be read or trusted; they must be made again from the log.
    #[error("the documents are damaged: {0}")]
    Damaged(Arc<str>),
    /// The system or another program stands in the way.
    #[error("the documents cannot be used: {0}")]
    Failed(Arc<str>),
}

/// The documents of a data directory.
pub trait DocumentStore: Send + Sync {
    /// Returns the position before which every record is reflected; 0 when there is none.
    fn position(&self) -> Result<Position, DocumentError>;

    /// Puts rows, the later version winning, and the position, which never goes back.
    fn put(&self, rows: &[DocumentRow], position: Position) -> Result<(), DocumentError>;

    /// Returns a document with its version; none when it is not there or was removed.
    fn get(
        &self,
        ctx: &TenantCtx,
        kind: &str,
        id: &str,
    ) -> Result<Option<DocumentRow>, DocumentError>;

    /// Returns documents of one kind, by id.
    fn list(
        &self,
        ctx: &TenantCtx,
        query: &DocumentQuery<'_>,
    ) -> Result<Vec<DocumentRow>, DocumentError>;

    /// Forgets rows of one kind with ids below `before`, without a trace: they are documents that
    /// nobody asks for any more, or that were no documents.
    fn forget(&self, ctx: &TenantCtx, kind: &str, before: &str) -> Result<(), DocumentError>;

    /// Visits the documents of all tenants whose kind is none of `but`, for the start of a process.
    fn visit(&self, but: &[&str], visit: &mut dyn FnMut(DocumentRow)) -> Result<(), DocumentError>;

    /// Forgets everything, damaged or not.
    fn clear(&self) -> Result<(), DocumentError>;
}
