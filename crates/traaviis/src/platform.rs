//! How the platform of a data directory is opened: by a server, and by commands that look after it.

use std::{path::Path, sync::Arc};

use traaviis_platform::{Entropy, Error, Platform, Settings, Ways};
use traaviis_ports::LogStore;
use traaviis_store::SqliteDocuments;

use crate::{
    clock::SystemClock,
    exit::{Exit, Failure},
    secrets,
};

/// Returns what a platform is opened with.
pub fn ways(data: &Path, log: Arc<dyn LogStore>, documents: SqliteDocuments) -> Ways {
    Ways {
        log,
        documents: Arc::new(documents),
        vault: Arc::new(secrets::subjects(data)),
        clock: Arc::new(SystemClock::start()),
        entropy: Entropy::system(),
    }
}

/// Opens the platform of a data directory for a command, with its documents in `documents`;
/// `refused` says how a refusal ends it.
pub fn open(
    data: &Path,
    log: Arc<dyn LogStore>,
    documents: &Path,
    refused: fn(Error) -> Failure,
) -> Result<Platform, Failure> {
    let documents = SqliteDocuments::open(documents)
        .map_err(|error| Failure::new(Exit::Internal, "documents_failed", error.to_string()))?;
    Platform::open(ways(data, log, documents), Settings::default()).map_err(refused)
}
