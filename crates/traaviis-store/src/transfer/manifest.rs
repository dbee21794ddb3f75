//! What an export consists of.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use traaviis_model::{InstanceId, TenantId, Timestamp};
use traaviis_ports::{LogError, Position};

use super::{Error, FORMAT, MANIFEST};
use crate::files::hex;

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

#[derive(Deserialize)]
struct Envelope {
    format: u32,
    checksum: String,
    body: Json,
}

impl Manifest {
    /// Returns the bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |acc, it| acc.saturating_add(it.bytes))
    }

    /// Returns a hash that names this export.
    pub fn hash(&self) -> String {
        hex(&Sha256::digest(self.body()))
    }

    fn body(&self) -> String {
        serde_json::to_value(self).unwrap_or_default().to_string()
    }

    pub(super) fn write(&self) -> Vec<u8> {
        let (body, checksum) = (self.body(), self.hash());
        format!("{{\"format\":{FORMAT},\"checksum\":\"{checksum}\",\"body\":{body}}}\n")
            .into_bytes()
    }

    pub(super) fn read(file: &str, bytes: &[u8]) -> Result<Manifest, Error> {
        let damaged = |why: String| Error::Damaged { file: file.into(), why };
        let wrong = |error: serde_json::Error| damaged(format!("its manifest: {error}"));
        let envelope: Envelope = serde_json::from_slice(bytes).map_err(wrong)?;
        if envelope.format > FORMAT {
            let (path, found) = (format!("{file}:{MANIFEST}"), envelope.format);
            return Err(LogError::Newer { path, found, known: FORMAT }.into());
        }
        if hex(&Sha256::digest(envelope.body.to_string())) != envelope.checksum {
            return Err(damaged("its manifest does not fit its checksum".into()));
        }
        serde_json::from_value(envelope.body).map_err(wrong)
    }
}
