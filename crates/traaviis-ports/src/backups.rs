//! Where backups are kept: a folder, or a bucket of another machine.
//!
//! Responsible for the vocabulary only; `traaviis-store` keeps them in a folder and
//! `traaviis-connect` in what speaks the protocol of S3. A name has `/` between its parts and
//! stands for some bytes.
//!
//! Invariants an implementation keeps: a name stands for nothing until all of its bytes are
//! durable; what is deleted stays deleted once [`BackupTarget::delete`] returned well; nobody holds
//! a target for removing while somebody holds it at all.

use std::{
    io::{Read, Write},
    path::Path,
};

use crate::LogError;

/// Something that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// How a target is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// By who adds to it, beside others.
    Adding,
    /// By who takes away: what somebody else is about to name must not go.
    Removing,
}

/// Holds a target until it is dropped.
pub trait Held {}

/// Why a target refuses.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TargetError {
    /// The operating system refused.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Another machine refused, or cannot be reached.
    #[error("cannot {what} `{place}`: {why}; what was backed up before stays whole, try again")]
    Failed {
        /// What was tried.
        what: &'static str,
        /// Of which place.
        place: String,
        /// The answer, without any credentials.
        why: String,
    },
    /// Its name or the environment does not say how to reach it.
    #[error("{0}")]
    Unusable(String),
    /// Somebody else adds to it, or removes from it.
    #[error("another process backs up into `{0}` or prunes it; try again when it is done")]
    Held(String),
}

impl TargetError {
    /// Returns the stable code.
    pub fn code(&self) -> &'static str {
        match self {
            TargetError::Log(error) => error.code(),
            TargetError::Failed { .. } => "backup_target_failed",
            TargetError::Unusable(_) => "backup_target_unusable",
            TargetError::Held(_) => "busy",
        }
    }
}

/// Keeps backups.
pub trait BackupTarget: Send + Sync {
    /// Returns a place as people name it; an empty name stands for the target itself.
    fn show(&self, name: &str) -> String;

    /// Returns the folder of this machine that it is, if it is one.
    fn folder(&self) -> Option<&Path> {
        None
    }

    /// Returns everything whose name begins with `under` and a `/`, in the order of names.
    fn list(&self, under: &str) -> Result<Vec<Kept>, TargetError>;

    /// Says whether something is kept under this name.
    fn has(&self, name: &str) -> Result<bool, TargetError>;

    /// Opens what is kept; none when there is nothing. What the reader fails with may hold a
    /// [`TargetError`].
    fn open(&self, name: &str) -> Result<Option<Box<dyn Read + Send>>, TargetError>;

    /// Begins to write something whose name is known when its bytes are.
    fn draft(&self) -> Result<Box<dyn Draft + '_>, TargetError>;

    /// Deletes what is kept under these names; one that is not there is no error.
    fn delete(&self, names: &[String]) -> Result<(), TargetError>;

    /// Holds the target, or says that somebody else does.
    fn hold(&self, hold: Hold) -> Result<Box<dyn Held + '_>, TargetError>;
}

/// Bytes that have no name yet, and go away when they get none.
pub trait Draft: Write {
    /// Gives them a name, once they are durable.
    fn keep(self: Box<Self>, name: &str) -> Result<(), TargetError>;
}
