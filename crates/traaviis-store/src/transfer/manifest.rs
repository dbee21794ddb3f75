//! What an export consists of.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use traaviis_model::{InstanceId, TenantId, Timestamp};
use traaviis_ports::{LogError, Position};

use super::{Error, FORMAT, FORMAT_BLOBS, FORMAT_KEYS, FORMAT_PLAIN, LOCKED, MANIFEST};
use crate::{
    blobs,
    checked::{self, Wrong},
};

/// One export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Tenant.
    pub tenant: TenantId,
    /// When it was made.
    pub created_at: Timestamp,
    /// Position of the log that it reaches.
    pub position: Position,
    /// Instances with their histories, archived ones not counted.
    pub instances: u64,
    /// Archived instances.
    pub archived: u64,
    /// Records of the instances.
    pub records: u64,
    /// Records of the documents that a server keeps; they count as those of no instance.
    #[serde(default, skip_serializing_if = "is_none")]
    pub ledger: u64,
    /// Who can open its keys: recipients, or `passphrase`; nobody when there are none in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locked_for: Vec<String>,
    /// Names of the secrets, which are not in it.
    pub secrets_left_out: Vec<String>,
    /// Instances that are not in it, because their history is damaged.
    pub damaged_left_out: Vec<InstanceId>,
    /// Places of the log that were damaged, as `doctor` tells them: whose records stood there is
    /// not always known, so a history may be shorter than it was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damage: Vec<String>,
    /// Files, by path.
    pub files: Vec<Entry>,
}

fn is_none(count: &u64) -> bool {
    *count == 0
}

/// A file of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Path, with `/` between names.
    pub path: String,
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256 of its bytes.
    pub sha256: String,
}

impl Manifest {
    /// Returns the bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |acc, it| acc.saturating_add(it.bytes))
    }

    /// Says whether keys are in it.
    pub fn has_keys(&self) -> bool {
        self.files.iter().any(|it| it.path == LOCKED)
    }

    /// Returns a hash that names this export.
    pub fn hash(&self) -> String {
        checked::text_of(&self.body()).1
    }

    fn body(&self) -> Json {
        serde_json::to_value(self).unwrap_or_default()
    }

    pub(super) fn write(&self) -> Vec<u8> {
        let has_blobs = self.files.iter().any(|it| blobs::is_blob(Path::new(&it.path)));
        let format = match (self.ledger > 0, self.has_keys(), has_blobs) {
            (true, ..) => FORMAT,
            (false, true, _) => FORMAT_KEYS,
            (false, false, true) => FORMAT_BLOBS,
            (false, false, false) => FORMAT_PLAIN,
        };
        checked::write(format, &self.body()).into_bytes()
    }

    pub(super) fn read(file: &str, bytes: &[u8]) -> Result<Manifest, Error> {
        let damaged = |why: String| Error::Damaged { file: file.into(), why };
        let wrong = |error: serde_json::Error| damaged(format!("its manifest: {error}"));
        let body = checked::read(bytes, FORMAT).map_err(|it| match it {
            Wrong::Form(error) => wrong(error),
            Wrong::Newer(found) => {
                let path = format!("{file}:{MANIFEST}");
                LogError::Newer { path, found, known: FORMAT }.into()
            }
            Wrong::Checksum => damaged("its manifest does not fit its checksum".into()),
        })?;
        serde_json::from_value(body).map_err(wrong)
    }
}
