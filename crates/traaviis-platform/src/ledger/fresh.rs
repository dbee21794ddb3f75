//! Audit entries that nobody has looked at yet.

use crate::audit::{self, Noted};

/// Entries that are kept for whoever looks at them, a few hundred bytes each.
const FRESH_MAX: usize = 4_096;

/// Audit entries that nobody has looked at yet, so that they need not be read back. There is no
/// need of them: whoever misses some finds them in the projection.
#[derive(Debug, Default)]
pub(crate) struct Fresh {
    /// In their order, without a hole.
    pub noted: Vec<Noted>,
    /// The chain behind the last.
    pub head: audit::Head,
}

impl Fresh {
    pub(super) fn add(&mut self, noted: Vec<Noted>, head: &audit::Head) {
        if self.noted.len() + noted.len() > FRESH_MAX {
            self.noted.clear();
        }
        self.noted.extend(noted);
        self.head = head.clone();
    }
}
