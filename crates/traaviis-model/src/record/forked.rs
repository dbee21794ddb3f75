//! The record by which a fork parts from its original.

use serde::{Deserialize, Serialize};

use super::PatchOp;
use crate::{
    effect_error::EffectError,
    ids::{InstanceId, Seq, Text},
    time::Timestamp,
    value::Value,
};

/// An instance goes on from the history of another one.
///
/// It owns nothing that the original owns: no parent, no children, no business key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forked {
    /// The original.
    pub from: InstanceId,
    /// Last record that both share.
    pub shared: Seq,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text>,
    /// Who answers its calls.
    pub results: Results,
    /// What the calls of the original gave after `shared`, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub told: Vec<Told>,
    /// When its timers are due: they keep the time that they had left.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timers: Vec<(Text, Timestamp)>,
    /// What is changed in the data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub patch: Vec<PatchOp>,
    /// It begins paused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// Who forked, as `kind:id`; none in records from before it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Text>,
}

/// Who answers the calls of a fork.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Results {
    /// The record of the original. A call that it does not hold waits for a person.
    #[default]
    Recorded,
    /// Their receivers, who are called again.
    Live,
}

/// What an attempt of the original gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// Record that tells it.
    pub seq: Seq,
    /// Node.
    pub path: Text,
    /// Kind of the effect.
    pub effect: Text,
    /// Evaluated parameters; a fork that asks something else is not answered.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub input: Value,
    /// Value when it succeeded.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub value: Value,
    /// Error when it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<EffectError>,
}
