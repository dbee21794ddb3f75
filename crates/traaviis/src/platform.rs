//! How the platform of a data directory is opened: by a server, and by commands that look after it.

use std::{path::Path, sync::Arc};

use traaviis_platform::{Entropy, Error, Platform, Settings, Ways, ledger::OPEN_ROWS};
use traaviis_ports::LogStore;
use traaviis_store::{SealedDocuments, SqliteDocuments};

use crate::{
    clock::SystemClock,
    exit::{Exit, Failure},
    secrets,
};

/// Returns what a platform is opened with.
pub fn ways(data: &Path, log: Arc<dyn LogStore>, documents: SqliteDocuments) -> Ways {
    let subjects = Arc::new(secrets::subjects(data));
    let documents = SealedDocuments::new(documents, Arc::clone(&subjects), OPEN_ROWS);
    Ways {
        log,
        documents: Arc::new(documents),
        vault: subjects,
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
