//! Why the runtime cannot do what it was asked.

use std::sync::Arc;

use traaviis_engine::Rejection;
use traaviis_model::{InstanceId, TenantId, Value, record::LineError, snapshot::ApplyError};
use traaviis_ports::{IndexError, LogError, SecretError, SnapshotError, TreeError};

/// Why the runtime cannot do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The input was not taken; nothing is recorded.
    #[error("{0}")]
    Rejected(Rejection),
    /// No such instance in this tenant.
    #[error("instance `{id}` does not exist")]
    NotFound {
        /// Instance.
        id: InstanceId,
    },
    /// The instance is there and cannot be worked on.
    #[error("instance `{id}` is unavailable: {message}")]
    Unavailable {
        /// Instance.
        id: InstanceId,
        /// `definition_missing` or `history_broken`.
        code: &'static str,
        /// What is wrong.
        message: Arc<str>,
    },
    /// The log refused.
    #[error(transparent)]
    Log(LogError),
    /// The key that redacts personal data cannot be had.
    #[error("personal data cannot be redacted as the workflow asks: {0}")]
    NoKey(SecretError),
    /// Too many requests are on their way.
    #[error("the runtime has too many requests waiting; try again later")]
    Busy,
    /// The runtime is shutting down, or has.
    #[error("the runtime is stopping")]
    Stopping,
    /// It took longer than the caller wants to wait.
    #[error("the wait ran out")]
    TimedOut,
    /// A record of the log cannot be read.
    #[error("cannot read the log")]
    Line(#[source] Arc<LineError>),
    /// A record names another tenant than its instance.
    #[error(
        "a record of instance `{id}` names tenant `{found}`, the instance belongs to `{expected}`; stop and restore from a backup"
    )]
    TenantMismatch {
        /// Instance.
        id: InstanceId,
        /// Its tenant.
        expected: TenantId,
        /// Tenant of the record.
        found: TenantId,
    },
    /// A history does not fit together.
    #[error("the history of instance `{id}` is damaged")]
    Damaged {
        /// Instance.
        id: InstanceId,
        /// What does not fit.
        #[source]
        source: Arc<ApplyError>,
    },
    /// A checkpoint cannot be read.
    #[error("cannot read line `{line}` of the checkpoint: {why}")]
    Checkpoint {
        /// Line, from 1.
        line: usize,
        /// What is wrong with it.
        why: Arc<str>,
    },
    /// The operating system gave no thread.
    #[error("cannot start a thread: {0}")]
    Thread(Arc<str>),
    /// The index cannot be made again.
    #[error(transparent)]
    Index(IndexError),
    /// The states of open instances cannot be used.
    #[error(transparent)]
    Snapshots(SnapshotError),
    /// The document tree cannot be written.
    #[error(transparent)]
    Tree(TreeError),
    /// The log has what was asked for, and the document tree cannot show it.
    #[error(
        "what was asked for is recorded and counts, and cannot be shown yet: {0}; do not ask for \
         it again, look once the tree is written again"
    )]
    NotShown(Arc<str>),
}

impl Error {
    /// Returns the stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Error::Rejected(rejection) => rejection.code,
            Error::NotFound { .. } => "not_found",
            Error::Unavailable { code, .. } => code,
            Error::Log(error) => error.code(),
            Error::NoKey(_) => "redaction_key_missing",
            Error::Busy => "busy",
            Error::Stopping => "stopping",
            Error::TimedOut => "timeout",
            Error::Line(error) => match **error {
                LineError::Newer { .. } => "data_format_newer",
                LineError::Unreadable(_) => "blob_damaged",
                LineError::Json(_) | LineError::Sealed | LineError::WithoutValues => {
                    "record_unreadable"
                }
            },
            Error::TenantMismatch { .. } | Error::Checkpoint { .. } => "data_directory_damaged",
            Error::Damaged { .. } => "history_broken",
            Error::Thread(_) => "internal",
            Error::Index(_) => "index_failed",
            Error::Snapshots(SnapshotError::Full) => "storage_full",
            Error::Snapshots(_) => "snapshots_failed",
            Error::Tree(error) => error.code(),
            Error::NotShown(_) => "not_shown",
        }
    }

    /// Says whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Error::Rejected(rejection) => {
                matches!(
                    rejection.code,
                    "instance_backlog_full" | "rate_limited" | "quota_exceeded" | "memory_pressure"
                )
            }
            Error::Log(error) => error.is_retryable(),
            Error::NoKey(error) => error.is_retryable(),
            Error::Busy | Error::TimedOut => true,
            _ => false,
        }
    }

    pub(crate) fn archived(id: InstanceId) -> Error {
        let message = format!("instance `{id}` is archived and does not go on; fork it");
        Error::rejected("archived", message, Value::Null)
    }

    /// A start with an id that somebody had, of which no more than the past is left.
    pub(crate) fn has_ended(id: InstanceId) -> Error {
        let message = format!("instance `{id}` exists and has ended");
        Error::rejected("already_exists", message, Value::Null)
    }

    pub(crate) fn rejected(code: &'static str, message: String, details: Value) -> Error {
        Error::Rejected(Rejection { code, message, details })
    }
}

impl From<LogError> for Error {
    fn from(error: LogError) -> Error {
        Error::Log(error)
    }
}
