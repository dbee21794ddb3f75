//! How instances of older versions go on with this one.

use semver::VersionReq;

use super::Pointer;
use crate::{ids::Text, value::Value};

/// What an upgrade from some versions changes; without one, everything must fit as it is.
#[derive(Clone, Debug)]
pub struct Migration {
    /// Versions it is for; the first migration that fits an instance counts.
    pub from: VersionReq,
    /// Old path and new path of states that are found neither by `id` nor by name.
    pub states: Vec<(Text, Text)>,
    /// Template of the new data over `data` and `input`.
    pub data: Option<Value>,
    /// Fate of the timers of active states.
    pub timers: TimersPolicy,
    /// Fate of running effects.
    pub effects: EffectsPolicy,
    /// CEL over `data` and `input`; an instance waits as long as it is true.
    pub defer_when: Option<Text>,
    /// Place.
    pub pointer: Pointer,
}

/// What becomes of timers of active states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimersPolicy {
    /// Each goes on and must have its counterpart.
    #[default]
    Keep,
    /// They begin anew, as the new version says.
    Restart,
    /// They are gone.
    Drop,
}

/// What becomes of running effects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EffectsPolicy {
    /// Each goes on and must be the same in the new version.
    #[default]
    Keep,
    /// They are given up and begin anew, as the new version says.
    Restart,
    /// They are given up.
    Cancel,
}
