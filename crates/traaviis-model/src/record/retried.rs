//! The record of an instance that failed and goes on.

use serde::{Deserialize, Serialize};

use crate::{
    event_ids::EventIds,
    ids::{Seq, Text},
    snapshot::Snapshot,
    time::Span,
    value::Value,
};

/// An instance that failed goes on where it failed.
///
/// It holds what to go on from, because the end of the instance has dropped it; so applying it
/// needs no other record, and a restart reads nothing before the checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retried {
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text>,
    /// Last record before the step that failed; what follows it does not count.
    pub to: Seq,
    /// What is done again.
    pub again: Again,
    /// The instance is paused where it stood, so that somebody can mend it first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// State after record `to`.
    pub state: Box<Snapshot>,
    /// Deduplication ids of the events that it took before its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_ids: Option<Box<EventIds>>,
}

/// What an instance that goes on does first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Again {
    /// It takes once more what its state keeps: an outcome, or a timer that is due.
    Input,
    /// A call that failed.
    Call {
        /// Tree.
        tree: Seq,
        /// Node.
        path: Text,
        /// With another idempotency key.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        as_new: bool,
    },
    /// A call that failed is left out.
    Skip {
        /// Tree.
        tree: Seq,
        /// Node.
        path: Text,
        /// What its node gives.
        #[serde(default, skip_serializing_if = "Value::is_null")]
        value: Value,
    },
    /// A time limit that ran out begins anew.
    Limit {
        /// Timer.
        timer: Text,
        /// How long it is.
        span: Span,
    },
    /// An effect that undid its work begins anew.
    Tree {
        /// Pointer of the effect in the definition.
        pointer: Text,
    },
}
