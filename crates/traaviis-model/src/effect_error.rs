//! The error object of a failed effect, as guards, records and callers see it.

use serde::{Deserialize, Serialize};

use crate::{
    ids::Text,
    value::{Map, Value},
};

/// Why an effect failed. `code` is stable; see `docs/errors/` for each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EffectError {
    /// Stable code, such as `timeout` or `http_error`.
    pub code: Text,
    /// For people; never holds a secret.
    pub message: Text,
    /// Says whether trying again can help.
    pub retryable: bool,
    /// Kind of the effect that failed, such as `call_api`.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub kind: Text,
    /// Path of the failed node in its tree.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub path: Text,
    /// Attempts made; 0 when none was.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempt: u32,
    /// Facts by code, such as `{status, body}`.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub details: Value,
    /// The error behind this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Box<EffectError>>,
    /// Set when completed work was undone because of this error.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub compensated: bool,
    /// Paths of the compensations that ran, in the order they ran.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub compensations: Vec<Text>,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl EffectError {
    /// Returns its code and that of its cause.
    pub fn codes(&self) -> Vec<Text> {
        let cause = self.cause.iter().map(|it| it.code.clone());
        std::iter::once(self.code.clone()).chain(cause).collect()
    }

    /// Returns an error that trying again does not mend.
    pub fn new(code: &str, message: impl Into<Text>) -> Self {
        EffectError {
            code: code.into(),
            message: message.into(),
            retryable: false,
            kind: "".into(),
            path: "".into(),
            attempt: 0,
            details: Value::Null,
            cause: None,
            compensated: false,
            compensations: Vec::new(),
        }
    }

    /// Returns an error that trying again may mend.
    pub fn retryable(code: &str, message: impl Into<Text>) -> Self {
        EffectError { retryable: true, ..EffectError::new(code, message) }
    }

    /// Returns this error with facts for guards.
    pub fn with_details(mut self, details: Value) -> Self {
        self.details = details;
        self
    }

    /// Returns this error with the one behind it.
    pub fn caused_by(mut self, cause: EffectError) -> Self {
        self.cause = Some(Box::new(cause));
        self
    }

    /// Says whether `code` is this error's or its direct cause's.
    pub fn has_code(&self, code: &str) -> bool {
        &*self.code == code || self.cause.as_ref().is_some_and(|cause| &*cause.code == code)
    }

    /// Returns the error as the value that `event.data` and `steps.ID.error` hold.
    pub fn to_value(&self) -> Value {
        let mut map = Map::new();
        map.insert("code", Value::String(self.code.clone()));
        map.insert("message", Value::String(self.message.clone()));
        map.insert("retryable", Value::Bool(self.retryable));
        map.insert("kind", Value::String(self.kind.clone()));
        map.insert("path", Value::String(self.path.clone()));
        map.insert("attempt", Value::Int(i64::from(self.attempt)));
        map.insert("details", self.details.clone());
        map.insert("compensated", Value::Bool(self.compensated));
        map.insert(
            "compensations",
            Value::list(self.compensations.iter().cloned().map(Value::String)),
        );
        map.insert("cause", self.cause.as_ref().map_or(Value::Null, |cause| cause.to_value()));
        Value::Map(map.into())
    }
}
