//! Members of a tenant of a server, on their way out of an installation and into another.

use std::{path::Path, sync::Arc};

use serde_json::Value as Json;
use traaviis_model::{TenantId, tenant::PLATFORM};
use traaviis_platform::{
    Platform,
    moving::{Met, Moved},
};
use traaviis_ports::LogStore;
use traaviis_store::{ReadOnlyLog, transfer::Import};

use crate::{
    data::sealed,
    exit::{Exit, Failure},
    platform::open,
    secrets,
};

/// Returns what moves with a tenant beside its ledger; nothing when no server keeps it.
pub fn take_out(data: &Path, tenant: TenantId, scratch: &Path) -> Result<Json, Failure> {
    let moved = match read_platform(data, scratch)? {
        Some(platform) => platform.take_out(tenant).map_err(refused)?,
        None => None,
    };
    serde_json::to_value(moved)
        .map_err(|error| Failure::new(Exit::Internal, "internal", error.to_string()))
}

/// Reads what an export tells of people.
pub fn read(people: &Json) -> Result<Option<Moved>, Failure> {
    // What is wrong is not told: it is about people.
    serde_json::from_value(people.clone()).map_err(|_| {
        let message = "what the export tells of people cannot be read; make it again";
        Failure::finding("export_damaged", message)
    })
}

/// Says how they stand to who is there; changes nothing.
pub fn meet(data: &Path, tenant: TenantId, moved: &Moved, scratch: &Path) -> Result<Met, Failure> {
    match read_platform(data, scratch)? {
        Some(platform) => platform.meet_moved(tenant, moved).map_err(refused),
        None => Ok(Met { new: moved.count(), ..Met::default() }),
    }
}

/// Opens the platform of a directory to read it; nothing where no server was ever.
fn read_platform(data: &Path, scratch: &Path) -> Result<Option<Platform>, Failure> {
    let keys = secrets::subjects(data).keys().list()?;
    if !data.join("log").is_dir() || keys.iter().all(|it| it.tenant != PLATFORM) {
        return Ok(None);
    }
    let log = Arc::new(ReadOnlyLog::open(data)?);
    open(data, sealed(data, log), &scratch.join("documents"), refused).map(Some)
}

/// Takes in the keys that have signed its trail.
pub fn take_keys<L: LogStore + 'static>(
    data: &Path,
    log: &Arc<L>,
    moved: &Moved,
) -> Result<(), Failure> {
    open(data, sealed(data, Arc::clone(log)), data, refused)?
        .take_moved_keys(moved)
        .map_err(refused)
}

/// Takes in everybody, once the ledger is there.
pub fn take_in<L: LogStore + 'static>(
    data: &Path,
    log: &Arc<L>,
    moved: &Moved,
    import: &Import<'_>,
) -> Result<Met, Failure> {
    let platform = open(data, sealed(data, Arc::clone(log)), data, refused)?;
    let tenant = import.tenant();
    let positions = platform.positions_of(tenant).map_err(refused)?;
    let places = import.places(&positions)?;
    platform.take_moved(tenant, moved, &places).map_err(refused)
}

fn refused(error: traaviis_platform::Error) -> Failure {
    Failure::new(Exit::Finding, &error.code, error.message)
}
