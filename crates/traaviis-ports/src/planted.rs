//! Bugs planted on purpose, to see that the fault programme finds them.
//!
//! Without the feature `planted-bugs`, which nothing that is shipped asks for, [`is`] is a constant
//! `false` and the compiler drops every planted branch. With it, the environment variable
//! `TRAAVIIS_PLANTED_BUG` names the one that is there. `cargo xtask faults` searches the shipped
//! binary for that name.

/// A bug that can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A commit is acknowledged and never synced.
    AnswerBeforeSync,
    /// A new name is not made durable by a sync of its directory.
    NameNotSynced,
    /// The checksum of the last frame of a segment is not looked at.
    LastChecksumUnread,
    /// Zeros behind the last frame count as one more record.
    ZerosAreARecord,
    /// A sync that failed is tried again, and its second answer believed.
    SyncRetried,
    /// The idempotency key of a call holds the time.
    KeyFromClock,
    /// Timers are not armed again after a restart.
    TimerOnlyInMemory,
    /// What undoes a step goes out before the outcome that asks for it is durable.
    UndoBeforeDurable,
    /// Changes that wait for the index are dropped when there are many.
    DirtyEvicted,
    /// A checkpoint holds states whose records are not durable.
    SnapshotAheadOfLog,
    /// One list does not look at the tenant.
    TenantDropped,
    /// The last record of a step is committed apart from the others.
    RecordOutsideCommit,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 12] = [
        Bug::AnswerBeforeSync,
        Bug::NameNotSynced,
        Bug::LastChecksumUnread,
        Bug::ZerosAreARecord,
        Bug::SyncRetried,
        Bug::KeyFromClock,
        Bug::TimerOnlyInMemory,
        Bug::UndoBeforeDurable,
        Bug::DirtyEvicted,
        Bug::SnapshotAheadOfLog,
        Bug::TenantDropped,
        Bug::RecordOutsideCommit,
    ];

    /// Returns its name, as the environment variable has it.
    pub fn name(self) -> &'static str {
        match self {
            Bug::AnswerBeforeSync => "answer-before-sync",
            Bug::NameNotSynced => "name-not-synced",
            Bug::LastChecksumUnread => "last-checksum-unread",
            Bug::ZerosAreARecord => "zeros-are-a-record",
            Bug::SyncRetried => "sync-retried",
            Bug::KeyFromClock => "key-from-clock",
            Bug::TimerOnlyInMemory => "timer-only-in-memory",
            Bug::UndoBeforeDurable => "undo-before-durable",
            Bug::DirtyEvicted => "dirty-evicted",
            Bug::SnapshotAheadOfLog => "snapshot-ahead-of-log",
            Bug::TenantDropped => "tenant-dropped",
            Bug::RecordOutsideCommit => "record-outside-commit",
        }
    }
}

/// Says whether a bug is planted in this process.
#[cfg(not(feature = "planted-bugs"))]
#[inline(always)]
pub const fn is(_: Bug) -> bool {
    false
}

/// Says whether a bug is planted in this process.
#[cfg(feature = "planted-bugs")]
pub fn is(bug: Bug) -> bool {
    use std::sync::OnceLock;
    static PLANTED: OnceLock<Option<Bug>> = OnceLock::new();
    let chosen = PLANTED.get_or_init(|| {
        let name = std::env::var("TRAAVIIS_PLANTED_BUG").ok()?;
        let found = Bug::ALL.into_iter().find(|it| it.name() == name);
        // A misspelt name must not look like a bug that nothing finds.
        Some(found.unwrap_or_else(|| panic!("no bug is called `{name}`")))
    });
    *chosen == Some(bug)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct() {
        let names: std::collections::BTreeSet<_> = Bug::ALL.iter().map(|it| it.name()).collect();
        assert_eq!(names.len(), Bug::ALL.len());
    }

    #[test]
    #[cfg(not(feature = "planted-bugs"))]
    fn nothing_is_planted_in_what_is_shipped() {
        assert!(Bug::ALL.iter().all(|bug| !is(*bug)));
    }
}
