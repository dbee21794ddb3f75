//! One tenant taken out of a data directory, and into another.
//!
//! ```text
//! manifest.json                                 what is in it, with hashes; the first entry
//! documents.jsonl                               definitions, and the ledger of a server
//! order.jsonl                                   whose records come after whose
//! tree/{tenant}/workflows/, events/, ...        the document tree: states and whole histories
//! sealed/{first 2}/{id}.jsonl                   histories about people, sealed as the log has them
//! tenants/{tenant}/archived/instances/          archive files, as they are
//! tenants/{tenant}/blobs/                       large values that they refer to
//! tenants/{tenant}/secrets/                     secrets, sealed as they rest
//! system/keys/{tenant}/                         keys of people, sealed with the tenant's key
//! keys.age                                      the tenant's key and its members, locked
//! ```
//!
//! An export is a gzip-packed tar of these, consistent at one position of the log. Histories are in
//! it byte for byte. An import puts the same records into another log in the same order: ids stay
//! what they are, and states are what they were, because a state is the fold of a history.
//!
//! What is sealed goes along as it rests, and the key that opens it in an entry that is locked for
//! recipients or under a passphrase ([`Lock`]); without one, secrets are left out and named, and a
//! tenant that needs its key is refused.
//!
//! Invariants: nothing in an export is believed before it was checked against its manifest, and the
//! records against each other; an import that is refused has changed nothing; one that was broken
//! off is finished before the directory is used again; nothing is left out that is not told.

mod check;
mod keys;
mod locked;
mod manifest;
mod pack;
mod place;
mod source;
mod unpack;

pub use check::Checked;
pub use keys::{Coming, take_out};
pub use locked::{Lock, Locked, Opener, Passphrase};
pub use manifest::{Entry, Manifest};
pub use pack::{LeftOut, Packed, pack};
pub use place::{Holders, Import, Placed, import, unfinished};
pub use source::Source;
pub use unpack::unpack;

use std::{io, path::Path};

use traaviis_model::{InstanceId, TenantId};
use traaviis_ports::{LogError, Position};

use crate::error::io_error;

/// Format of exports with a ledger that their tree shows; a newer one is refused.
pub const FORMAT: u32 = 4;
/// Format of exports with keys.
const FORMAT_KEYS: u32 = 3;
/// Format of exports with blobs.
const FORMAT_BLOBS: u32 = 2;
/// Format of exports without.
const FORMAT_PLAIN: u32 = 1;
/// Name of the manifest.
const MANIFEST: &str = "manifest.json";
/// Name of the file of documents.
const DOCUMENTS: &str = "documents.jsonl";
/// Name of the file that says in which order records stand in the log.
const ORDER: &str = "order.jsonl";

/// Name of the locked entry.
const LOCKED: &str = "keys.age";
/// Folder of sealed histories.
const SEALED: &str = "sealed";

/// Why a tenant cannot be exported or imported.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused, or a log or archive cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// There is nothing of this tenant.
    #[error("`{data}` holds nothing of tenant `{tenant}`; it holds {held}")]
    Absent {
        /// Data directory.
        data: String,
        /// Tenant that was asked for.
        tenant: TenantId,
        /// Tenants that are there, for people.
        held: String,
    },
    /// The file is not as it was written, or was made by somebody else.
    #[error("export `{file}` is damaged: {why}; nothing was imported, make it again")]
    Damaged {
        /// File.
        file: String,
        /// What is wrong.
        why: String,
    },
    /// Something in it has an id or a key that is taken.
    #[error("nothing was imported, because of what is there already ({}): {}", .0.len(), shown(.0))]
    Collision(Vec<String>),
    /// An import was broken off.
    #[error(
        "an import of tenant `{tenant}` into `{data}` was broken off; run `traaviis {command} {file} --data {data}` again to finish it"
    )]
    Unfinished {
        /// Data directory.
        data: String,
        /// Tenant.
        tenant: TenantId,
        /// File or document tree that it was made from.
        file: String,
        /// Command that imports it.
        command: &'static str,
    },
    /// The tenant cannot go without its keys, and nobody is named who may have them.
    #[error(
        "tenant `{0}` has {1}, which cannot go without its keys; say whom they are locked for: `--recipient age1...`, or `--passphrase-file FILE`"
    )]
    KeysNeeded(TenantId, &'static str),
    /// The locked entry of an export cannot be opened.
    #[error("{0}")]
    Locked(String),
    /// Keys cannot be read or taken in.
    #[error(transparent)]
    Keys(#[from] crate::keys::Error),
    /// Instances went to the archive again and again while they were read.
    #[error("instances were archived while the tenant was read, {0} times in a row; try again")]
    Moving(u32),
}

impl Error {
    /// Returns the stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Error::Log(error) => error.code(),
            Error::Absent { .. } => "tenant_absent",
            Error::Damaged { .. } => "export_damaged",
            Error::Collision(_) => "import_collision",
            Error::Unfinished { .. } => "import_unfinished",
            Error::KeysNeeded(..) | Error::Locked(_) => "export_key_missing",
            Error::Keys(error) => error.code(),
            Error::Moving(_) => "busy",
        }
    }
}

/// Collisions that are shown; the rest is only counted.
const SHOWN_MAX: usize = 5;

fn shown(collisions: &[String]) -> String {
    let mut text = collisions.iter().take(SHOWN_MAX).cloned().collect::<Vec<_>>().join("; ");
    if let Some(more) = collisions.len().checked_sub(SHOWN_MAX).filter(|it| *it > 0) {
        text += &format!("; and {more} more");
    }
    text
}

fn failed(what: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
    move |error| Error::Log(io_error(what, path, error))
}

/// Some records of one stream that stand together in the log and were committed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Run {
    /// Instance.
    id: InstanceId,
    /// Number of the first record.
    first: u64,
    /// Number of records.
    count: u32,
    /// Position of the first in the log that it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<Position>,
}
