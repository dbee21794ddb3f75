//! How many bytes of a tenant are kept, as far as they are only that tenant's.
//!
//! - In the log: its records as lines, before segments are packed; values that are too large for a
//!   line count where they are. The log is one for all tenants, so what packing saves cannot be
//!   told apart.
//! - Beside it: the files of its large values and of its archive, as the disk has them.
//!
//! Documents and states that are made from the log count nothing: they can be made again.
//!
//! Lines are counted as they come; what compaction has taken out is seen when everything is counted
//! anew, after [`ANEW_AFTER`]. The numbers are in memory only, and made again by each process.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use traaviis_model::{Span, TenantCtx, TenantId, Timestamp};
use traaviis_ports::Position;

use crate::{engine::Engine, error::Error, platform::Platform};

/// After this the whole log is weighed anew: rare enough to cost nothing, and what was compacted
/// away is some hours old before that anyway.
const ANEW_AFTER: Span = Span::secs(6 * 3_600);

/// Bytes that are kept of a tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Lines in the log.
    pub log: u64,
    /// Large values beside it.
    pub blobs: u64,
    /// Histories of ended instances.
    pub archive: u64,
}

impl Stored {
    /// Returns all of it together.
    pub fn sum(&self) -> u64 {
        self.log.saturating_add(self.blobs).saturating_add(self.archive)
    }
}

/// What was weighed last.
#[derive(Debug, Default)]
pub(crate) struct Scales {
    state: Mutex<Weighed>,
}

#[derive(Debug, Default)]
struct Weighed {
    stored: HashMap<TenantId, Stored>,
    /// Up to here lines are counted.
    position: Position,
    /// When the first line was counted.
    since: Option<Timestamp>,
}

impl Platform {
    /// Returns how much is kept of a tenant, as it was last weighed.
    pub(crate) fn stored(&self, tenant: TenantId) -> Stored {
        let state = self.scales.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.stored.get(&tenant).copied().unwrap_or_default()
    }

    /// Weighs what is kept of all tenants; called from time to time.
    pub fn weigh(&self, engine: &dyn Engine) -> Result<(), Error> {
        let now = self.now();
        let (mut log, from) = {
            let state = self.scales.state.lock().unwrap_or_else(PoisonError::into_inner);
            let is_over = state.since.is_none_or(|it| now.since(it) >= ANEW_AFTER);
            match is_over {
                true => (HashMap::new(), 0),
                false => {
                    let lines = state.stored.iter().map(|(tenant, it)| (*tenant, it.log));
                    (lines.collect::<HashMap<_, _>>(), state.position)
                }
            }
        };
        // Nobody who asks waits for it.
        let position = engine.weigh_log(from, &mut |tenant, bytes| {
            *log.entry(tenant).or_default() += bytes;
        })?;
        let mut stored = HashMap::new();
        for tenant in self.ledgers.tenants() {
            let files = engine.weigh_files(&TenantCtx::keeper_of(tenant))?;
            let log = log.get(&tenant).copied().unwrap_or_default();
            stored.insert(tenant, Stored { log, ..files });
        }
        let mut state = self.scales.state.lock().unwrap_or_else(PoisonError::into_inner);
        let since = if from == 0 { Some(now) } else { state.since };
        *state = Weighed { stored, position, since };
        Ok(())
    }
}
