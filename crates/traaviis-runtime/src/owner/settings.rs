//! Settings of an owner, and what they are when nobody says otherwise.

use std::sync::{Arc, atomic::AtomicBool};

use traaviis_model::{
    Span,
    limits::{
        EVENTS_PER_SECOND_MAX, OPEN_INSTANCES_MAX, RUNNING_EFFECTS_MAX, STEPS_PER_SECOND_MAX,
    },
};
use traaviis_ports::{NoKeys, RedactionKeys, SnapshotStore};

use super::{HotShare, NoPost, Post, Quotas, SharedGates, Stored};
use crate::{
    correlation::Correlations,
    library::{Library, NoLibrary},
    limits::{FINISHED_SUMMARIES_MAX, HOT_BYTES_MAX, HOT_FULL_BYTES, HOT_TTL},
    past::Past,
    subscribers::Subscribers,
};

/// Settings of an owner.
#[derive(Clone)]
pub struct Settings {
    /// Calls of one tenant that run at once.
    pub slots: usize,
    /// Steps of one instance in a second; none means any number.
    pub steps_per_second: Option<u32>,
    /// Events that a tenant's callers may send in a second; none means any number.
    pub events_per_second: Option<u32>,
    /// Instances that a tenant may have open; none means any number.
    pub open_max: Option<usize>,
    /// What tenants have of both.
    pub quotas: Arc<Quotas>,
    /// Ended instances to remember.
    pub finished_max: usize,
    /// Gates of the process.
    pub gates: Arc<SharedGates>,
    /// Business keys of the process.
    pub correlations: Arc<Correlations>,
    /// Who hears emitted events.
    pub subscribers: Arc<Subscribers>,
    /// Definitions of the process that are durable.
    pub definitions: Arc<Stored>,
    /// Set when an ended instance was forgotten, so that its id is looked up in the log.
    pub forgets: Arc<AtomicBool>,
    /// The way to the other owners of the process.
    pub post: Arc<dyn Post>,
    /// What children run.
    pub library: Arc<dyn Library>,
    /// Where the states of ended instances are.
    pub past: Option<Past>,
    /// Where the states of open instances rest; without one they all stay in memory.
    pub snapshots: Option<Arc<dyn SnapshotStore>>,
    /// Bytes of states in memory beyond which some are taken out.
    pub hot_bytes: usize,
    /// Bytes of states in memory beyond which callers begin nothing new.
    pub full_bytes: usize,
    /// Time without use after which a state is taken out first.
    pub hot_ttl: Span,
    /// How many of a tenant's instances may stay in memory; none means all.
    pub hot_share: Option<HotShare>,
    /// Where the keys that redact come from.
    pub keys: Arc<dyn RedactionKeys>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            slots: RUNNING_EFFECTS_MAX,
            steps_per_second: Some(STEPS_PER_SECOND_MAX),
            events_per_second: Some(EVENTS_PER_SECOND_MAX),
            open_max: Some(OPEN_INSTANCES_MAX),
            quotas: Arc::default(),
            finished_max: FINISHED_SUMMARIES_MAX,
            gates: Arc::default(),
            correlations: Arc::default(),
            subscribers: Arc::default(),
            definitions: Arc::default(),
            forgets: Arc::default(),
            post: Arc::new(NoPost),
            library: Arc::new(NoLibrary),
            past: None,
            snapshots: None,
            hot_bytes: HOT_BYTES_MAX,
            full_bytes: HOT_FULL_BYTES,
            hot_ttl: HOT_TTL,
            hot_share: None,
            keys: Arc::new(NoKeys),
        }
    }
}
