//! How an instance stands.

use serde::{Deserialize, Serialize};

/// How an instance stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Open.
    #[default]
    Running,
    /// Open, no new steps.
    Paused,
    /// Open, waits for a person to decide.
    Incident,
    /// A final state is reached, cleanup still runs.
    Completing,
    /// Ended well.
    Completed,
    /// Ended in failure.
    Failed,
    /// Ended, everything done was undone.
    Compensated,
    /// Ended because it was called off.
    Cancelled,
}

impl Status {
    /// Every one of them.
    pub const ALL: [Status; 8] = [
        Status::Running,
        Status::Paused,
        Status::Incident,
        Status::Completing,
        Status::Completed,
        Status::Failed,
        Status::Compensated,
        Status::Cancelled,
    ];

    /// Says whether the instance has ended.
    pub fn is_finished(self) -> bool {
        matches!(self, Status::Completed | Status::Failed | Status::Compensated | Status::Cancelled)
    }

    /// Returns the word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Incident => "incident",
            Status::Completing => "completing",
            Status::Completed => "completed",
            Status::Failed => "failed",
            Status::Compensated => "compensated",
            Status::Cancelled => "cancelled",
        }
    }
}
