//! Plugins of a document: watchers of what was decided, and what redacts before.

use std::collections::BTreeMap;

use crate::{
    ids::Text,
    privacy::{PiiMode, PiiType},
};

/// What a document asks for beside its states. A watcher reads committed records and decides
/// nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum Plugin {
    /// One structured line for each transition.
    Logger {
        /// `debug`, `info`, `warn` or `error`.
        level: Text,
        /// Tells the payload of the event, too.
        include_data: bool,
    },
    /// An audit entry for each transition.
    Audit {
        /// Descriptors of the events that are told; none is all of them.
        events: Vec<Text>,
    },
    /// Counters and times.
    Metrics {
        /// Labels with their values.
        labels: BTreeMap<Text, Text>,
    },
    /// Event payloads are redacted before they are taken.
    Redaction {
        /// What is done with what is found.
        mode: PiiMode,
        /// Types that are looked for.
        types: Vec<PiiType>,
        /// JSON pointers of what is redacted whole, whatever it holds.
        fields: Vec<Text>,
    },
}
