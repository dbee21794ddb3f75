//! What went wrong on the way, told without secrets, and whether trying again may help.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::header::{self, HeaderMap};

use traaviis_model::{EffectError, Value};

use super::{CONNECT_TIMEOUT, Request};
use crate::egress::Denied;

/// Longest wait a peer may ask for; more is a mistake or malice.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

pub(super) fn send_error(error: reqwest::Error, request: &Request) -> EffectError {
    if let Some(denied) = denied_behind(&error) {
        return egress_denied(denied);
    }
    let place = place(request);
    if error.is_timeout() {
        let seconds = CONNECT_TIMEOUT.as_secs();
        return EffectError::retryable(
            "timeout",
            format!("could not connect to `{place}` within {seconds} s"),
        );
    }
    let builder = error.is_builder();
    let mut text = String::new();
    let error = error.without_url();
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    while let Some(it) = cause {
        let part = it.to_string();
        if !text.ends_with(&part) {
            text.push_str(if text.is_empty() { "" } else { ": " });
            text.push_str(&part);
        }
        cause = it.source();
    }
    if builder {
        return invalid(format!("the request to `{place}` cannot be built: {text}"));
    }
    EffectError::retryable("network_error", format!("`{place}` could not be reached: {text}"))
}

fn denied_behind(error: &reqwest::Error) -> Option<&Denied> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(it) = cause {
        if let Some(denied) = it.downcast_ref::<Denied>() {
            return Some(denied);
        }
        cause = it.source();
    }
    None
}

/// Names a target in messages: without its query, which may hold a key.
pub(super) fn place(request: &Request) -> String {
    let origin = request.url.origin().ascii_serialization();
    format!("{} {origin}{}", request.method, request.url.path())
}

pub(crate) fn egress_denied(denied: &Denied) -> EffectError {
    // The host alone: the rest of an address may be secret.
    EffectError::new("egress_denied", denied.to_string())
        .with_details(Value::map([("target", Value::from(denied.target()))]))
}

pub(crate) fn invalid(message: impl Into<String>) -> EffectError {
    EffectError::new("validation_failed", message.into())
}

/// Says whether a status may be another one on the next try.
pub(crate) fn is_retryable(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

/// Returns the wait a peer asks for with `Retry-After`, in seconds or as a date.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_second();
            let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
            Duration::from_secs(u64::try_from(at).ok()?.saturating_sub(now))
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_reads_seconds_and_dates_and_has_a_bound() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers).map(|it| it.as_secs())
        };
        assert_eq!(read("3"), Some(3));
        assert_eq!(read("99999999999"), Some(86_400));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(0));
        assert_eq!(read("Fri, 31 Dec 2100 23:59:59 GMT"), Some(86_400));
        assert_eq!(read("soon"), None);
    }
}
