//! What an instance keeps because no step could take it.

use serde::{Deserialize, Serialize};

use super::Ending;
use crate::{
    call::DeliveryClass,
    effect_error::EffectError,
    ids::{InstanceId, Seq, Text},
    value::Value,
};

/// The input of a step of the instance's own that could not be taken. It stands in the incident,
/// so that a person who has removed the cause can have it taken again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "input", rename_all = "snake_case")]
pub enum Held {
    /// A timer that is due; it stays open.
    Timer {
        /// Timer.
        timer: Text,
    },
    /// An attempt ended; its node stays started.
    Outcome {
        /// Tree.
        tree: Seq,
        /// Node.
        path: Text,
        /// `seq` of the record that scheduled the node.
        scheduled: Seq,
        /// From 1.
        attempt: u32,
        /// Value when it succeeded.
        #[serde(default, skip_serializing_if = "Value::is_null")]
        value: Value,
        /// Error when it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<EffectError>,
    },
    /// A call got its slot.
    Starting {
        /// Tree.
        tree: Seq,
        /// Node.
        path: Text,
    },
    /// After a crash: the attempt was started and has no outcome.
    Unknown {
        /// Tree.
        tree: Seq,
        /// Node.
        path: Text,
        /// What may be promised about it.
        class: DeliveryClass,
    },
    /// A child ended.
    Ended {
        /// The child.
        instance: InstanceId,
        /// How.
        ending: Ending,
    },
    /// An event of another instance that this one subscribes to.
    Event {
        /// Name.
        event: Text,
        /// Payload.
        #[serde(default, skip_serializing_if = "Value::is_null")]
        data: Value,
        /// The emission, as `INSTANCE:SEQ`.
        id: Text,
    },
    /// Work that did not fit the step before.
    Continue,
}

impl Held {
    /// Returns the node whose call it is about: tree and path.
    pub fn node(&self) -> Option<(Seq, &Text)> {
        match self {
            Held::Outcome { tree, path, .. }
            | Held::Starting { tree, path }
            | Held::Unknown { tree, path, .. } => Some((*tree, path)),
            Held::Timer { .. } | Held::Ended { .. } | Held::Event { .. } | Held::Continue => None,
        }
    }
}
