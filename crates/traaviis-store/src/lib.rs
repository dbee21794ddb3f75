//! Adapters that keep records: the commit log on a local disk; the index, the states of open
//! instances and the document tree beside it.
//!
//! [`LocalLog`] is the [`traaviis_ports::LogStore`] of a data directory. Under it [`log::LogCore`]
//! is the same log for one thread and any [`disk::Disk`], which is how the simulated disk tests it.
//! [`backup`] copies a directory that is in use, and makes one from a copy; [`transfer`] takes one
//! tenant out of a directory and into another.
//! [`SealedLog`] stands before it and seals what is about people.
//!
//! ```text
//! DATA/FORMAT  DATA/LOCK
//! DATA/log/00000000000000000000.seg     frames; named by the first position
//! DATA/log/00000000000000012345.checkpoint
//! DATA/log/epoch  DATA/log/quarantine/
//! DATA/index/index.sqlite               lists of instances; can be lost and made again
//! DATA/snapshots/snapshots.sqlite       states of open instances; can be lost and made again
//! DATA/documents/documents.sqlite      users, members, workflows; can be lost and made again
//! DATA/tenants/*/archived/instances/    histories of instances that ended long ago
//! DATA/tenants/*/blobs/                 large values of the log and the archive, by their hashes
//! DATA/tenants/*/secrets/               sealed with the keys in DATA/system/keys/
//! DATA/system/reveals/                  who had tokens of personal data turned back
//! DATA/backups/                         when backups are made, and how the last one went
//! DATA/tree/                            documents for people; can be lost and made again
//! ```

mod checked;
mod compact;
mod files;
mod line;
mod marks;
mod sqlite;
mod streams;

pub mod archive;
pub mod backup;
pub mod blobs;
pub mod checkpoint;
pub mod disk;
pub mod documents;
pub mod frame;
pub mod index;
pub mod keys;
pub mod local;
pub mod lock;
pub mod log;
pub mod read_only;
pub mod reader;
pub mod scrub;
pub mod sealed;
pub mod secrets;
pub mod segment;
pub mod snapshots;
pub mod transfer;
pub mod tree;
pub mod vault;
pub mod walk;
mod weigh;

mod error;

pub use archive::FileArchive;
pub use documents::{SealedDocuments, SqliteDocuments};
pub use frame::{Codec, fuzz_decode};
pub use index::{SetAside, SqliteIndex};
pub use keys::{Keys, root::RootSource, subject::Subjects};
pub use local::LocalLog;
pub use log::{Durability, Entry, LogCore, Options, Recovery};
pub use read_only::{FrameInfo, ReadOnlyLog, visit_frames};
pub use reader::SegmentInfo;
pub use sealed::SealedLog;
pub use secrets::{LocalSecrets, SecretInfo};
pub use snapshots::SqliteSnapshots;
pub use tree::{LocalTree, ScratchTree};
pub use walk::Damage;
pub use weigh::weigh_files;
