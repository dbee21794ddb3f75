//! One hash over every history, for comparing a log with another one that should say the same.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use traaviis_model::{InstanceId, TenantId};
use traaviis_ports::{LogError, LogStore, Position};

use super::hex;
use crate::line;

/// What the histories of a log come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histories {
    /// SHA-256 over the hashes of all streams, in the order of their ids.
    pub hash: String,
    /// Streams.
    pub streams: usize,
    /// Records.
    pub records: u64,
}

/// Reads every record before `to`. How records are grouped into frames and which segments they
/// stand in does not count: state is the fold of a history, so equal histories are equal states.
pub fn histories(log: &dyn LogStore, to: Position) -> Result<Histories, LogError> {
    let mut streams: BTreeMap<(TenantId, InstanceId), Sha256> = BTreeMap::new();
    let mut records = 0;
    log.scan(0, &mut |it| {
        if it.position < to
            && let Some((key, _)) = line::key(it.bytes)
        {
            let hash = streams.entry(key).or_default();
            hash.update(it.bytes);
            hash.update(b"\n");
            records += 1;
        }
    })?;
    let mut whole = Sha256::new();
    let count = streams.len();
    for ((tenant, stream), hash) in streams {
        whole.update(format!("{tenant} {stream} "));
        whole.update(hash.finalize());
    }
    Ok(Histories { hash: hex(&whole.finalize()), streams: count, records })
}
