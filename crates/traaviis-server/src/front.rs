//! What stands before a router: by which names it is reached, and what every answer says.
//!
//! These are no layers of the router, where each would cost every request a copy of it and an
//! allocation.

use axum::{
    Router,
    extract::Request,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use tower::ServiceExt as _;
use uuid::Uuid;

use crate::{host::Known, routes::refuse};

/// Every header of every answer: nothing that a browser shows may run, be framed or be kept.
static HEADERS: [(HeaderName, &str); 7] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
];

/// A browser that has come once over TLS never again asks in the open, where others could answer.
const ONLY_SECURE: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// A router and what stands before it.
#[derive(Clone, Debug)]
pub struct Front {
    router: Router,
    known: Known,
    headers: &'static [(HeaderName, &'static str)],
    /// It is reached over TLS.
    is_secure: bool,
    /// What stands in `WWW-Authenticate` where a token is missing.
    asks: Option<HeaderValue>,
}

impl Front {
    /// Returns a router that is reached by any name and whose answers say what they say.
    pub fn bare(router: Router) -> Front {
        Front { router, known: Known::Any, headers: &[], is_secure: false, asks: None }
    }

    /// Returns one that is reached by these names.
    pub(crate) fn new(router: Router, known: Known) -> Front {
        Front { router, known, headers: &HEADERS, is_secure: false, asks: None }
    }

    /// Says whether it is reached over TLS.
    pub(crate) fn secure(self, is_secure: bool) -> Front {
        Front { is_secure, ..self }
    }

    /// Says where it is told what a token is asked for (RFC 9728).
    pub(crate) fn asking(self, address: &str) -> Front {
        let asks = format!("Bearer resource_metadata=\"{address}\"");
        Front { asks: HeaderValue::from_str(&asks).ok(), ..self }
    }

    /// Answers a request, unless it was sent by another name.
    pub async fn answer(&self, request: Request) -> Response {
        let response = match self.known.check(request.headers()) {
            Ok(()) => match self.router.clone().oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            },
            Err(error) => refuse(&error, request.uri().path(), &Uuid::now_v7().to_string()),
        };
        self.dressed(response)
    }

    /// Adds what every answer says, where it does not say something else.
    pub(crate) fn dressed(&self, mut response: Response) -> Response {
        for (name, value) in self.headers {
            response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
        }
        if let (StatusCode::UNAUTHORIZED, Some(asks)) = (response.status(), &self.asks) {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, asks.clone());
        }
        if self.is_secure {
            response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, ONLY_SECURE);
        }
        response
    }
}
