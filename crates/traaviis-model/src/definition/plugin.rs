//! Plugins of a document: watchers of what was decided.

use std::collections::BTreeMap;

use crate::ids::Text;

/// A watcher that a document asks for. It reads committed records and decides nothing.
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
}
