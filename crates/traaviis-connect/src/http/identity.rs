//! Headers by which a peer knows a call again: the idempotency key and the trace.

use reqwest::header::{HeaderName, HeaderValue};

use traaviis_model::Call;

use super::RequestHeader;

/// Adds `Idempotency-Key` and `traceparent` unless the author set them.
pub(crate) fn add_identity(headers: &mut Vec<RequestHeader>, call: &Call) {
    let key = HeaderName::from_static("idempotency-key");
    let trace = HeaderName::from_static("traceparent");
    for (name, text) in [(key, call.key.to_string()), (trace, traceparent(call))] {
        if headers.iter().any(|it| it.name == name) {
            continue;
        }
        // A key with characters that no header takes is sent percent-encoded, still one to one.
        let value = HeaderValue::from_str(&text).or_else(|_| {
            HeaderValue::from_str(
                &url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>(),
            )
        });
        if let Ok(value) = value {
            headers.push(RequestHeader { name, value, credential: false });
        }
    }
}

/// Returns the W3C trace header: the trace from the key, the span from key and attempt, so that a
/// repeated attempt is seen as the same call without any state or randomness.
fn traceparent(call: &Call) -> String {
    let key = call.key.as_bytes();
    let (high, low) = (fnv(0, key), fnv(1, key));
    let span = fnv(2 + u64::from(call.id.attempt), key);
    format!("00-{high:016x}{low:016x}-{span:016x}-01")
}

/// FNV-1a with a seed and a final mix; never zero, which the header forbids.
fn fnv(seed: u64, bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let mut hash = seed.to_le_bytes().iter().chain(bytes).fold(0xcbf2_9ce4_8422_2325, step);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    (hash ^ (hash >> 33)).max(1)
}
