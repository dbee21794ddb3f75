//! Why a use case is refused: a stable code, a sentence for the caller, facts for programs.

use std::borrow::Cow;

use serde_json::Value as Json;
use traaviis_ports::{DocumentError, LogError, SecretError};

/// A refusal. The code decides how an interface shows it; see `traaviis_api::problem`.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// Stable code.
    pub code: Cow<'static, str>,
    /// What could not be done, and the next step.
    pub message: String,
    /// Facts for programs; null when there are none.
    pub details: Json,
}

impl Error {
    /// Returns a refusal.
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Error {
        Error { code: code.into(), message: message.into(), details: Json::Null }
    }

    /// Returns it with facts for programs.
    #[must_use]
    pub fn with_details(self, details: Json) -> Error {
        Error { details, ..self }
    }

    /// Something that is not there, or that the caller may not know of.
    pub fn not_found(what: &str, id: &str) -> Error {
        Error::new("not_found", format!("there is no {what} `{}`", clip(id)))
    }

    /// A field of a request that breaks a rule.
    pub fn invalid(pointer: &str, rule: impl Into<String>) -> Error {
        let rule = rule.into();
        let message = format!("`{pointer}`: {rule}");
        let details = serde_json::json!({
            "errors": [{ "pointer": pointer, "code": "validation_failed", "message": rule }],
        });
        Error::new("validation_failed", message).with_details(details)
    }
}

/// Cuts what a caller gave to what a message can hold.
pub(crate) fn clip(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

impl From<LogError> for Error {
    fn from(error: LogError) -> Error {
        Error::new(error.code(), error.to_string())
    }
}

impl From<DocumentError> for Error {
    fn from(error: DocumentError) -> Error {
        let code = match error {
            DocumentError::Full => "storage_full",
            DocumentError::Damaged(_) | DocumentError::Failed(_) => "documents_failed",
        };
        Error::new(code, error.to_string())
    }
}

impl From<SecretError> for Error {
    fn from(error: SecretError) -> Error {
        Error::new("secret_unreadable", error.to_string())
    }
}
