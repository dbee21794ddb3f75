//! Hashes of every history, for comparing a log with another one that should say the same.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use traaviis_model::{InstanceId, TenantId};
use traaviis_ports::{LogError, LogStore, Position};

use super::hex;
use crate::line::{self, StreamKey};

/// The histories of a log up to a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histories {
    /// Hash of each history that is there from its beginning.
    streams: BTreeMap<StreamKey, String>,
    /// Records.
    pub records: u64,
}

impl Histories {
    /// Returns one hash over all of them.
    pub fn hash(&self) -> String {
        let mut whole = Sha256::new();
        for ((tenant, stream), hash) in &self.streams {
            whole.update(format!("{tenant} {stream} {hash}\n"));
        }
        hex(&whole.finalize())
    }

    /// Returns the histories that both have and that differ.
    pub fn differing(&self, other: &Histories) -> Vec<(TenantId, InstanceId)> {
        let differs = |(key, hash): (&StreamKey, &String)| {
            other.streams.get(key).is_some_and(|it| it != hash).then_some(*key)
        };
        self.streams.iter().filter_map(differs).collect()
    }

    /// Returns the histories that `other` has and this has not.
    pub fn missing(&self, other: &Histories) -> Vec<(TenantId, InstanceId)> {
        other.streams.keys().filter(|it| !self.streams.contains_key(it)).copied().collect()
    }
}

/// Reads every record before `to`. How records are grouped into frames and which segments they
/// stand in does not count: state is the fold of a history, so equal histories are equal states.
pub fn histories(log: &dyn LogStore, to: Position) -> Result<Histories, LogError> {
    let mut streams: BTreeMap<StreamKey, Sha256> = BTreeMap::new();
    let mut records = 0;
    log.scan(0, &mut |it| {
        let Some((key, seq)) = line::key(it.bytes).filter(|_| it.position < to) else { return };
        records += 1;
        let hash = match seq {
            1 => Some(streams.entry(key).or_default()),
            // What has no beginning is archived already, and going.
            _ => streams.get_mut(&key),
        };
        if let Some(hash) = hash {
            hash.update(it.bytes);
            hash.update(b"\n");
        }
    })?;
    let streams = streams.into_iter().map(|(key, hash)| (key, hex(&hash.finalize()))).collect();
    Ok(Histories { streams, records })
}
