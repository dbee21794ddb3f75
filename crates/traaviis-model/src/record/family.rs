//! Parents and children: where a child comes from, how it ends, and what its parent's end means.

use serde::{Deserialize, Serialize};

use super::status::Status;
use crate::{effect_error::EffectError, ids::InstanceId, value::Value};

/// Where a child comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// The instance that started it.
    pub parent_id: InstanceId,
    /// The first of the line, which has no parent.
    pub root_id: InstanceId,
    /// How many stand above it.
    pub depth: u32,
    /// What the end of the parent means for it.
    pub parent_close: ParentClose,
}

/// What happens to a child when its parent ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum ParentClose {
    /// It is cancelled; terminated when the parent was.
    #[default]
    Cancel,
    /// It goes on alone.
    Abandon,
    /// It is cancelled, and always runs its exit actions and compensations.
    RequestCancel,
}

/// How another instance ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ending {
    /// Status at the end.
    pub status: Status,
    /// Output.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub output: Value,
    /// Error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<EffectError>,
    /// It was ended without exit actions and compensation.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub terminated: bool,
}
