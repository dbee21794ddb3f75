//! The document tree: files that a person can read, a projection that can be lost and made again.
//!
//! Responsible for the vocabulary of the tree only: which documents there are, what belongs into
//! one write. `traaviis-store` keeps it as files; `traaviis-runtime` feeds it from the log.
//!
//! Invariants an implementation keeps: a position is durable only after everything that a batch
//! holds; the same batch again changes nothing; nothing in the tree is read as truth.

pub mod shown;

use std::{collections::BTreeMap, fmt, sync::Arc};

use traaviis_model::{InstanceId, Seq, TenantId, Text, Timestamp};

use crate::Position;

/// Where something stands in the tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// Up to where the tree follows the log.
    Progress,
    /// The tenants that there are.
    Tenants,
    /// The state of an instance.
    Instance {
        /// Workflow name.
        workflow: Text,
        /// Instance.
        id: InstanceId,
    },
    /// A definition.
    Definition {
        /// Workflow name.
        name: Text,
        /// Version.
        version: Text,
    },
    /// A task that is open.
    Task {
        /// The instance that asks.
        instance: InstanceId,
        /// Record that scheduled its node.
        scheduled: Seq,
    },
    /// An incident that is open.
    Incident {
        /// The instance that asks.
        instance: InstanceId,
        /// Digits that stand for its kind and node.
        digits: Text,
    },
    /// Records of an instance, some thousands a file.
    Events {
        /// Workflow name.
        workflow: Text,
        /// Instance.
        id: InstanceId,
        /// File, from 1.
        file: u64,
    },
    /// A document of a ledger.
    Kept {
        /// What is shown of it.
        kind: &'static shown::Kind,
        /// Id inside the kind.
        id: Text,
    },
    /// All documents of a kind of a ledger.
    List(&'static shown::List),
    /// Lines that a ledger has grown by.
    Book {
        /// Which.
        book: &'static shown::Book,
        /// Month, as in `2026-01`, or the name of the only file.
        file: Text,
    },
    /// Documents of ledgers as they were before the first change of an hour.
    Copy {
        /// Hour, as in `2026-01-31T12`.
        hour: Text,
    },
}

impl Place {
    /// Returns the word for `kind` in the envelope of a document.
    pub fn kind(&self) -> &'static str {
        match self {
            Place::Progress => "progress",
            Place::Tenants => "tenants",
            Place::Instance { .. } => "instance",
            Place::Definition { .. } => "definition",
            Place::Task { .. } => "task",
            Place::Incident { .. } => "incident",
            Place::Events { .. } => "events",
            Place::Kept { kind, .. } => kind.kind,
            Place::List(list) => list.entries,
            Place::Book { book, .. } => book.name,
            Place::Copy { .. } => "copy",
        }
    }

    /// Returns the id inside the kind.
    pub fn id(&self) -> String {
        match self {
            Place::Progress | Place::Tenants => self.kind().into(),
            Place::Instance { id, .. } => id.to_string(),
            Place::Definition { name, version } => format!("{name}/{version}"),
            Place::Task { instance, scheduled } => format!("{instance}-{scheduled}"),
            Place::Incident { instance, digits } => format!("{instance}-{digits}"),
            Place::Events { id, file, .. } => format!("{id}/{file:06}"),
            Place::Kept { id, .. } => id.to_string(),
            Place::List(list) => list.name.into(),
            Place::Book { file, .. } => file.to_string(),
            Place::Copy { hour } => hour.to_string(),
        }
    }
}

/// A document as the log has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Tenant; none for what stands above them.
    pub tenant: Option<TenantId>,
    /// Where it stands.
    pub place: Place,
    /// How often it changed.
    pub version: u64,
    /// Last record that it reflects.
    pub seq: u64,
    /// Commit time of that record.
    pub updated_at: Option<Timestamp>,
    /// JSON.
    pub body: Vec<u8>,
}

/// Lines that go on a file of lines.
#[derive(Clone, Debug, PartialEq)]
pub struct Lines {
    /// Tenant; none for what stands above them.
    pub tenant: Option<TenantId>,
    /// Which file of [`Place::Events`] or [`Place::Book`].
    pub place: Place,
    /// Number of the first line. Lines that the file has from there on are replaced.
    pub first: u64,
    /// JSON lines, each with its newline.
    pub lines: Vec<u8>,
}

/// What an instance asks of people now; what it asked before and is not here is answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Asks {
    /// Tenant.
    pub tenant: TenantId,
    /// Instance.
    pub instance: InstanceId,
    /// Its tasks and incidents.
    pub documents: Vec<Document>,
}

/// What changes in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// Tenant; none for what stands above them.
    pub tenant: Option<TenantId>,
    /// Which list.
    pub list: &'static shown::List,
    /// Entries, as JSON, by id; none for one that is no more.
    pub entries: BTreeMap<Text, Option<Vec<u8>>>,
    /// The list has these entries and no others, whatever its file says.
    pub is_whole: bool,
    /// Last record that is about one of them.
    pub seq: u64,
    /// Commit time of that record.
    pub updated_at: Option<Timestamp>,
}

/// What is written together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Documents.
    pub documents: Vec<Document>,
    /// Lines.
    pub lines: Vec<Lines>,
    /// Tasks and incidents.
    pub asks: Vec<Asks>,
    /// Documents that are no more; what is not there is no error.
    pub removed: Vec<(Option<TenantId>, Place)>,
    /// Changes of lists.
    pub listed: Vec<Listed>,
    /// Everything before this position is in the tree, once the batch is.
    pub position: Position,
}

/// What a write met that a person should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A file that was not as it had been written stands aside now.
    Quarantined {
        /// The file.
        path: String,
        /// Its name now.
        to: String,
        /// What was wrong.
        why: String,
    },
    /// A file that had been written is gone, and made again.
    Missing {
        /// The file.
        path: String,
    },
    /// A newer release wrote this document; it is left as it is.
    Newer {
        /// The file.
        path: String,
        /// Format found.
        found: u64,
        /// Format known.
        known: u64,
    },
    /// The records before these are missing in the tree; the instance's must be written again.
    Gap {
        /// Tenant.
        tenant: TenantId,
        /// Workflow name.
        workflow: Text,
        /// Instance.
        id: InstanceId,
    },
    /// The file of a list is not as it was written, so nobody knows what it has to go on from; it
    /// must be written whole.
    Lacking {
        /// Tenant; none for what stands above them.
        tenant: Option<TenantId>,
        /// Which list.
        list: &'static shown::List,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::Quarantined { path, to, why } => write!(
                f,
                "`{path}` was not read: {why}; it is `{to}` now and made again from the log"
            ),
            Notice::Missing { path } => {
                write!(f, "`{path}` was gone; it is made again from the log")
            }
            Notice::Newer { path, found, known } => write!(
                f,
                "`{path}` is in format `{found}`, this release reads up to `{known}`; it is left \
                 as it is, use the release that wrote it, or remove it to have it made again"
            ),
            Notice::Gap { id, .. } => {
                write!(f, "records of instance `{id}` were missing in the tree")
            }
            Notice::Lacking { list, .. } => {
                write!(f, "the list `{}` was damaged in the tree", list.name)
            }
        }
    }
}

/// Why the tree cannot be written. The log is whole all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// No space; trying again later can help.
    #[error("the disk that holds the document tree is full; free space and it goes on by itself")]
    Full,
    /// A newer release wrote the tree.
    #[error(
        "the document tree `{path}` is in format `{found}`, this release writes `{known}`; use the release that wrote it, or move the directory away to have it made again"
    )]
    Newer {
        /// The file that says so.
        path: String,
        /// Format found.
        found: u64,
        /// Format known.
        known: u64,
    },
    /// The system stands in the way; trying again later may help.
    #[error("cannot write the document tree: {0}")]
    Failed(Arc<str>),
}

impl TreeError {
    /// Returns the stable code.
    pub fn code(&self) -> &'static str {
        match self {
            TreeError::Full => "storage_full",
            TreeError::Newer { .. } => "data_format_newer",
            TreeError::Failed(_) => "tree_failed",
        }
    }

    /// Says whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        !matches!(self, TreeError::Newer { .. })
    }
}

/// What the tree shows in the place of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// This very document.
    Same,
    /// An earlier state, or none yet.
    Behind,
    /// A later state.
    Ahead,
    /// Something that was never written there; it stands aside, and the document is there now.
    Mended(Vec<Notice>),
}

/// The document tree of a data directory.
pub trait Tree: Send + Sync {
    /// Returns the position before which everything is in the tree; 0 when there is none.
    fn position(&self) -> Result<Position, TreeError>;

    /// Writes a batch, durably, and then its position.
    fn write(&self, batch: &Batch) -> Result<Vec<Notice>, TreeError>;

    /// Compares a document, as the log has it, with what the tree shows.
    fn check(&self, document: &Document) -> Result<Checked, TreeError>;

    /// Puts a document, durably, where something else stands that was never written there.
    fn mend(&self, document: &Document) -> Result<Vec<Notice>, TreeError>;

    /// Keeps, durably, a copy of the documents whose kinds say so, and removes those of hours long
    /// past: of these documents, or of what the tree shows. Does nothing when there is a copy of
    /// this hour or a later one.
    fn keep_copy(&self, hour: &Text, of: Option<&[&Document]>) -> Result<Vec<Notice>, TreeError>;

    /// Removes, durably, everything that shows some instances; what is not there is no error.
    fn forget(&self, instances: &[(TenantId, InstanceId)]) -> Result<(), TreeError>;

    /// Moves everything aside, so that the tree begins anew; returns where it is.
    fn set_aside(&self) -> Result<String, TreeError>;
}
