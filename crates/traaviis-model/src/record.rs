//! Records: the entries of an instance's history, and the line that holds one in the log.
//!
//! A record is a [`Header`] and a [`Body`]. The line is one JSON object whose first keys are always
//! `tenant_id`, `instance_id`, `seq` ([`LineKey`]), so that a scan can find a history without
//! reading bodies. Invariant: state changes only by applying records ([`crate::snapshot`]).

mod actor;
mod asked;
mod body;
mod budget;
pub(crate) mod erased;
mod family;
mod forked;
mod header;
mod held;
mod line;
mod operation;
mod origin;
mod patch;
mod retried;
mod size;
mod status;
mod timer;
mod upgraded;

pub use actor::{Actor, ActorKind};
pub use asked::Asked;
pub use body::{Body, EventSource};
pub use budget::{BudgetExceeded, BudgetReserved, ModelUse};
pub use erased::{ERASED, OPEN_DOCUMENTS, SEALED, WHOLE};
pub use family::{Ending, Lineage, ParentClose};
pub use forked::{Forked, Results, Told};
pub use header::Header;
pub use held::Held;
pub use line::{LineError, LineKey, ORIGIN_KEY, peek_line, write_line, write_lines};
pub use operation::{Operation, TaskAct};
pub use origin::Origin;
pub use patch::PatchOp;
pub use retried::{Again, Retried};
pub use status::Status;
pub use timer::TimerKind;
pub use upgraded::{TreePlace, Upgraded};

/// Version of the record schema written by this release.
pub const RECORD_VERSION: u32 = 1;
/// Version of a line whose values are sealed; a log opens it before it hands it out, so that no
/// reader takes what is left in the open for all of it.
pub const SEALED_VERSION: u32 = 2;
/// Versions of a line whose large values rest beside the log: of a plain one, and of a sealed one.
pub const BLOB_VERSIONS: [u32; 2] = [3, 4];
/// Kind of a line that a store hands out in the place of one that cannot be read; `why` says why.
pub const UNREADABLE: &str = "unreadable";

/// One entry of an instance's history.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Common part.
    pub header: Header,
    /// What happened.
    pub body: Body,
}
