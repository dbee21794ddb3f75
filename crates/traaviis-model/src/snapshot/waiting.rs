//! What an open instance holds on to beside its effects: timers, children, questions to people.

use serde::{Deserialize, Serialize};

use super::is_zero_u64;
use crate::{
    effect_error::EffectError,
    ids::{Seq, Text},
    record::{Held, ParentClose, TimerKind},
    time::Timestamp,
    value::Value,
};

/// An open timer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timer {
    /// Unique in the instance.
    pub id: Text,
    /// When it fires.
    pub due: Timestamp,
    /// Why.
    pub kind: TimerKind,
    /// Payload of a delayed raise.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub data: Value,
}

/// A child that has not ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Child {
    /// Tree of the node that started it.
    pub tree: Seq,
    /// The node; it may be over.
    pub path: Text,
    /// What it runs.
    pub workflow: Text,
    /// What the end of this instance means for it.
    pub parent_close: ParentClose,
    /// It is no longer wanted, and is told so until it has ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub closing: bool,
}

/// A question to a person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Kind, such as `unknown_outcome`.
    pub kind: Text,
    /// Tree concerned, or 0.
    pub tree: Seq,
    /// Node concerned.
    pub path: Text,
    /// What happened.
    pub message: Text,
    /// Error behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<EffectError>,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// What could not be taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Box<Held>>,
    /// Number of the record that opened it; 0 in checkpoints from before it was kept.
    #[serde(default, skip_serializing_if = "is_zero_u64")]
    pub opened: Seq,
    /// Who looks after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignee: Option<Text>,
}
