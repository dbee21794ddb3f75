//! Turning the system's answers into the log's.

use std::{io, path::Path};

use traaviis_ports::{LogError, disk::is_full};

/// Says what could not be done to a path; a full disk stays recognisable.
pub fn io_error(what: &'static str, path: &Path, error: io::Error) -> LogError {
    if is_full(&error) {
        return LogError::Full;
    }
    LogError::Io { what, path: path.display().to_string(), why: error.to_string() }
}
