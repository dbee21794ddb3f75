//! Plain requests to other servers, for the platform's own needs: where somebody logs in elsewhere.
//!
//! Responsible for the vocabulary only; `traaviis-connect` sends them under its egress policy.

use std::{fmt, sync::Arc};

/// A request that is a form, or none: all that logging in elsewhere needs.
#[derive(Clone)]
pub struct HttpAsk {
    /// Address.
    pub url: String,
    /// Value of `Authorization`.
    pub authorization: Option<String>,
    /// Fields of a form, which makes it a POST; a GET without.
    pub form: Option<Vec<(String, String)>>,
}

/// Tells nothing but the address: the rest may be secret.
impl fmt::Debug for HttpAsk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpAsk").field("url", &self.url).finish_non_exhaustive()
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpReply {
    /// Status.
    pub status: u16,
    /// Body, with a bound on its size.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The policy for outbound calls does not allow the target.
    #[error("{0}")]
    Denied(Arc<str>),
    /// The peer cannot be reached, or answers too late or too much.
    #[error("{0}")]
    Failed(Arc<str>),
}

/// Sends requests. Redirects are not followed.
pub trait Http: Send + Sync {
    /// Sends one and waits for the answer; not to be called where nothing may wait.
    fn ask(&self, ask: &HttpAsk) -> Result<HttpReply, HttpError>;
}
