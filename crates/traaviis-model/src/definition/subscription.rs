//! `subscribe` and triggers of type `event`: what is heard of events that other instances emit.

use super::Pointer;
use crate::{
    ids::Text,
    value::{Map, Value},
};

/// An item of `subscribe`.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscription {
    /// Who publishes.
    pub from: Publisher,
    /// Name of the emitted event.
    pub event: Text,
    /// CEL over `data` and `event`; without one every such event fits.
    pub condition: Option<Text>,
    /// Template over `data`, which must give the subject of the emitted event.
    pub key: Option<Value>,
    /// Event of this workflow as which it arrives.
    pub arrives_as: Text,
    /// Place.
    pub pointer: Pointer,
}

/// Who publishes; nothing means any instance of the tenant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Publisher {
    /// Name of the workflow.
    pub workflow: Option<Text>,
    /// Template over `data` that gives the id of an instance.
    pub instance: Option<Value>,
}

/// A trigger of type `event`.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// `from`, `event` and `match` as an item of `subscribe` has them.
    pub subscription: Map,
    /// Name of the emitted event.
    pub event: Text,
    /// CEL over `event`.
    pub condition: Option<Text>,
    /// Template over `event` that gives the start input.
    pub input: Value,
    /// Place.
    pub pointer: Pointer,
}

/// A trigger of type `manual`.
#[derive(Clone, Debug, PartialEq)]
pub struct Manual {
    /// Start input of a run that somebody begins without one.
    pub input: Value,
    /// Place.
    pub pointer: Pointer,
}
