//! How a data directory is kept: packed, with an index beside it, or as JSON that people can read.

use std::{env, path::Path};

use clap::ValueEnum as _;
use serde::{Deserialize, Serialize};
use traaviis_store::Codec;

use crate::{connectors::ConnectorArgs, exit::Failure};

/// Environment variable that says how directories are kept that remember nothing else.
const DEFAULT: &str = "TRAAVIIS_STORAGE";

/// How a data directory is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StorageMode {
    // The log is packed; an index and states at rest stand beside it.
    #[default]
    Embedded,
    // The log is lines of JSON; who asks for a change is answered when the document tree shows it.
    JsonOnly,
}

impl StorageMode {
    /// Returns how a directory is to be kept from now on: as asked for, as it was kept, or as the
    /// environment says.
    pub fn resolve(dir: &Path, asked: Option<StorageMode>) -> Result<StorageMode, Failure> {
        if let Some(mode) = asked.or_else(|| ConnectorArgs::remembered(dir).storage()) {
            return Ok(mode);
        }
        match env::var(DEFAULT) {
            Ok(word) => StorageMode::from_str(&word, false).map_err(|_| {
                let message = format!("{DEFAULT} is `{word}`; write `embedded` or `json-only`");
                Failure::usage(message)
            }),
            Err(_) => Ok(StorageMode::default()),
        }
    }

    /// Returns how frames of the log are written.
    pub fn codec(self) -> Codec {
        match self {
            StorageMode::Embedded => Codec::Packed,
            StorageMode::JsonOnly => Codec::Text,
        }
    }

    /// Returns the word for it, as on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            StorageMode::Embedded => "embedded",
            StorageMode::JsonOnly => "json-only",
        }
    }
}
