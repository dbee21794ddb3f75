//! Talking to the process that holds a data directory, through `DIR/control.sock`.
//!
//! One JSON object per line in each direction: a [`protocol::Request`], then a [`protocol::Reply`].
//! Who may open the socket (mode 0600) may do everything the owner of the files may do; there is no
//! other authority. Without a running process the same questions are answered by opening the
//! directory ([`crate::operations`]), so a command never needs to know which of both happened.

pub mod client;
pub mod protocol;
pub mod server;

use std::path::{Path, PathBuf};

/// Returns the socket of a data directory.
pub fn socket_path(dir: &Path) -> PathBuf {
    dir.join("control.sock")
}
