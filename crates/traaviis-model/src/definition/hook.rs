//! Triggers of type `webhook`: what others send over HTTP starts an instance, or arrives at one.

use super::Pointer;
use crate::{ids::Text, time::Span, value::Value};

/// A trigger of type `webhook`.
#[derive(Clone, Debug, PartialEq)]
pub struct Hook {
    /// Name, the last part of its address; unique in a tenant.
    pub name: Text,
    /// How a sender proves that it may.
    pub verify: Verify,
    /// Name of the secret that the sender shares; none with [`Verify::None`].
    pub secret: Option<Text>,
    /// Event that arrives at an open instance; without one an instance is started.
    pub event: Option<Text>,
    /// Template over `event` that gives the business key of the instance at which it arrives.
    pub correlation: Option<Value>,
    /// Template over `event` that gives the start input, or the payload.
    pub input: Value,
    /// How long a sender waits for the end of the instance; with none it is only told that its
    /// message has arrived.
    pub wait: Option<Span>,
    /// Place.
    pub pointer: Pointer,
}

/// How a sender proves that it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// By a signature over id, time and body (Standard Webhooks, HMAC-SHA256).
    Hmac,
    /// By a token that it sends along.
    Token,
    /// Not at all.
    None,
}

impl Verify {
    /// Words in documents.
    pub const WORDS: &[(&str, Verify)] =
        &[("hmac", Verify::Hmac), ("token", Verify::Token), ("none", Verify::None)];
}
