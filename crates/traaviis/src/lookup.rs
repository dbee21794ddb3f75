//! Where lists and single instances are found without a scan of the log: the index, merged with
//! what the running process has not put into it yet.

use std::{fmt, path::Path};

use traaviis_model::{InstanceId, TenantCtx};
use traaviis_ports::{
    Index as _, IndexError, LogStore as _,
    index::{Count, Query, Row},
};
use traaviis_runtime::Handle;
use traaviis_store::{ReadOnlyLog, SqliteIndex};

/// Who is asked.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// The runtime of this process.
    Live(Handle),
    /// An index that nobody writes to at present.
    Resting(std::sync::Arc<SqliteIndex>),
}

impl Lookup {
    /// Returns the index of a directory opened for reading, if it says the same as the log: it
    /// reaches the log's end, and nothing of the log is lost.
    pub fn resting(dir: &Path, log: &ReadOnlyLog) -> Option<Lookup> {
        // One that cannot be read is the next start's to make again; the log says it all.
        let index = SqliteIndex::open_read_only(dir).ok().flatten()?;
        let fits = log.damage().is_empty() && index.position() == Ok(log.tail());
        fits.then(|| Lookup::Resting(index.into()))
    }

    /// Returns a page of a list, the newest first.
    pub fn page(&self, ctx: &TenantCtx, query: &Query) -> Result<Vec<Row>, IndexError> {
        match self {
            Lookup::Live(handle) => handle.page(ctx, query),
            Lookup::Resting(index) => index.list(ctx, query),
        }
    }

    /// Counts the instances of a list without end.
    pub fn count(&self, ctx: &TenantCtx, query: &Query) -> Result<Vec<Count>, IndexError> {
        match self {
            Lookup::Live(handle) => handle.count(ctx, query),
            Lookup::Resting(index) => index.count(ctx, query),
        }
    }

    /// Returns one instance.
    pub fn row(&self, ctx: &TenantCtx, id: InstanceId) -> Result<Option<Row>, IndexError> {
        match self {
            Lookup::Live(handle) => handle.row(ctx, id),
            Lookup::Resting(index) => index.get(ctx, id),
        }
    }

    /// Returns ids that begin or end with some digits.
    pub fn ids(
        &self,
        ctx: &TenantCtx,
        digits: &str,
        limit: usize,
    ) -> Result<Vec<InstanceId>, IndexError> {
        match self {
            Lookup::Live(handle) => handle.ids(ctx, digits, limit),
            Lookup::Resting(index) => index.ids(ctx, digits, limit),
        }
    }
}

/// Says what an index error means to a person.
impl From<IndexError> for crate::exit::Failure {
    fn from(error: IndexError) -> crate::exit::Failure {
        let exit = crate::exit::Exit::Finding;
        crate::exit::Failure::new(exit, "index_failed", error.to_string())
    }
}

/// What a list shows of an index that was moved aside, for standard error.
pub struct Aside<'a>(pub &'a traaviis_store::SetAside);

impl fmt::Display for Aside<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let traaviis_store::SetAside { path, why } = self.0;
        write!(f, "{why}; it was moved to `{}` and nothing is lost", path.display())
    }
}
