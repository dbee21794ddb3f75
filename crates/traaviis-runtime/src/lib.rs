//! Runs instances: owners that decide steps one at a time, commit them, and do what they ask for.
//!
//! Data flows one way around a circle: a command reaches the one [`owner`] of its instance, the
//! pure engine decides, the log commits, and only then the caller is answered, the state is
//! replaced, and requests are performed; their outcomes come back as inputs.
//!
//! Reading order: [`owner`] (the state machine, without threads), [`recovery`] and [`checkpoint`]
//! (what a restart reads), [`clock`] (what time it is), [`index`] (what lists are made of),
//! [`tree`] (what people read), [`runtime`] (threads around owners), [`handle`] (what callers use).
//!
//! Invariants: nothing a caller was told can be lost; steps of one instance never overlap; another
//! tenant's instance looks absent; every queue has a named limit ([`limits`]).

pub mod broadcast;
pub mod checkpoint;
pub mod clock;
pub mod correlation;
pub mod error;
mod fair;
pub mod handle;
mod hasher;
mod inbox;
pub mod index;
pub mod library;
pub mod limits;
mod mail;
pub mod owner;
pub mod past;
pub mod recovery;
pub mod runtime;
pub mod snapshots;
pub mod subscribers;
pub mod summary;
mod texts;
mod threads;
pub mod tree;
mod unheard;
pub mod upkeep;
pub mod waiting;
pub mod watch;

pub use broadcast::Broadcast;
pub use error::Error;
pub use handle::{Accepted, Effort, Given, Handle, Started};
pub use library::Library;
pub use mail::Later;
pub use owner::{Command, Committed, HotShare, HotStats};
pub use recovery::{Fault, RecoveryReport, faults};
pub use runtime::{Options, Ports, Runtime, Work};
pub use summary::{Filter, Summary};
pub use upkeep::Upkept;
pub use waiting::{Until, Waited};
pub use watch::Watch;
