//! The effect kind `call_api`.
//!
//! Stages: read the parameters ([`Plan::read`]), send hop by hop ([`Client::send`]), judge the
//! status, shape the body into a value.

use std::time::Duration;

use reqwest::header::{self, HeaderMap};

use traaviis_model::{Call, EffectError, Map, Value, value::base64};
use traaviis_ports::Outcome;

use super::{
    Client, REDIRECTS_MAX, RESPONSE_BYTES_DEFAULT, Reply, Request,
    expect::Expect,
    failing::{egress_denied, invalid, is_retryable, place, retry_after},
    identity::add_identity,
    params::{add_auth, append_query, read_body, read_headers, read_method, text, text_or},
};
use crate::secret::Vault;

/// Time of a `call_api` attempt that sets none.
pub(crate) const API_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of a response a call may ask for; the limit of one value.
const RESPONSE_BYTES_MAX: u64 = 64 << 20;

/// How a response body becomes a value.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    Json,
    Text,
    Bytes,
    Auto,
}

/// The read parameters of a `call_api`.
#[derive(Debug)]
struct Plan {
    request: Request,
    expect: Expect,
    shape: Shape,
}

/// Performs a `call_api`.
pub(crate) async fn call_api(client: &Client, call: &Call, vault: &mut Vault<'_>) -> Outcome {
    let Plan { request, expect, shape } = Plan::read(client, call, vault)?;
    let place = place(&request);
    let reply = client.send(request, &expect, &call.hosts).await?;
    let status = reply.status.as_u16();
    if !expect.accepts(status) {
        let body = Value::from(String::from_utf8_lossy(&reply.body).into_owned());
        let mut details = Map::new();
        details.insert("status", Value::Int(i64::from(status)));
        details.insert("body", body);
        if let Some(wait) = retry_after(&reply.headers) {
            details.insert("retry_after_ms", Value::Int(wait.as_millis() as i64));
        }
        let mut error =
            EffectError::new("http_error", format!("`{place}` answered with status {status}"));
        error.retryable = is_retryable(status);
        return Err(error.with_details(Value::Map(details.into())));
    }
    let body = shape_body(&reply, shape, vault)?;
    Ok(Value::map([
        ("status", Value::Int(i64::from(status))),
        ("headers", headers_value(&reply.headers)),
        ("body", body),
        ("duration_ms", Value::Int(reply.duration.as_millis() as i64)),
    ]))
}

fn headers_value(headers: &HeaderMap) -> Value {
    let mut map = Map::new();
    for name in headers.keys() {
        let all: Vec<_> = headers
            .get_all(name)
            .iter()
            .map(|it| String::from_utf8_lossy(it.as_bytes()).into_owned())
            .collect();
        map.insert(name.as_str(), Value::from(all.join(", ")));
    }
    Value::Map(map.into())
}

fn shape_body(reply: &Reply, shape: Shape, vault: &Vault<'_>) -> Result<Value, EffectError> {
    let media = reply
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|it| it.to_str().ok())
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let is_json = media == "application/json" || media.ends_with("+json");
    match shape {
        Shape::Bytes => Ok(Value::from(base64(&vault.mask_bytes(&reply.body)))),
        Shape::Text => Ok(Value::from(String::from_utf8_lossy(&reply.body).into_owned())),
        Shape::Json => read_json(&reply.body),
        Shape::Auto if is_json => read_json(&reply.body),
        Shape::Auto => Ok(match std::str::from_utf8(&reply.body) {
            Ok(text) => Value::from(text),
            Err(_) => Value::from(base64(&vault.mask_bytes(&reply.body))),
        }),
    }
}

/// Reads a peer's JSON; an empty body is null.
///
/// Goes through plain JSON on purpose: reading straight into [`Value`] would turn a peer's
/// `{"$secret": "NAME"}` into a reference, and a later call would send that secret to the peer.
pub(crate) fn read_json(body: &[u8]) -> Result<Value, EffectError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Null);
    }
    let json: serde_json::Value = serde_json::from_slice(body).map_err(|error| {
        EffectError::new("output_invalid", format!("the response is not JSON: {error}"))
    })?;
    if forges_secret(&json) {
        return Err(EffectError::new(
            "output_invalid",
            "the response holds an object with the reserved key `$secret`",
        ));
    }
    Ok(Value::from(&json))
}

fn forges_secret(json: &serde_json::Value) -> bool {
    match json {
        serde_json::Value::Object(map) => {
            map.contains_key("$secret") || map.values().any(forges_secret)
        }
        serde_json::Value::Array(items) => items.iter().any(forges_secret),
        _ => false,
    }
}

impl Plan {
    fn read(client: &Client, call: &Call, vault: &mut Vault<'_>) -> Result<Plan, EffectError> {
        let input = &call.input;
        for key in ["url", "method", "query", "body", "expect"] {
            if input.get(key).is_some_and(Value::holds_secret) {
                return Err(invalid(format!(
                    "`{key}` holds a secret; secrets are allowed in `headers` and `auth` only"
                )));
            }
        }
        let text = text(input, "url")?.ok_or_else(|| invalid("`url` is missing"))?;
        let mut url = client.policy.check_text(&text).map_err(|denied| egress_denied(&denied))?;
        if let Some(query) = input.get("query").filter(|it| !it.is_null()) {
            append_query(&mut url, query)?;
        }
        let method = read_method(input)?;
        let mut headers = read_headers(input.get("headers"), vault)?;
        if let Some(auth) = input.get("auth").filter(|it| !it.is_null()) {
            add_auth(auth, &mut headers, &mut url, vault)?;
        }
        let body = read_body(input, &mut headers)?;
        let shape = match text_or(input, "response", "auto")?.as_str() {
            "json" => Shape::Json,
            "text" => Shape::Text,
            "bytes" => Shape::Bytes,
            "auto" => Shape::Auto,
            other => return Err(invalid(format!("`response` cannot be `{other}`"))),
        };
        add_identity(&mut headers, call);
        let response_bytes_max = read_size(input.get("max_response"))?;
        let redirects = match input.get("redirects") {
            None | Some(Value::Null) => REDIRECTS_MAX,
            Some(it) => match it.as_i64().and_then(|it| u64::try_from(it).ok()) {
                Some(it) if it <= REDIRECTS_MAX => it,
                _ => return Err(invalid(format!("`redirects` is not in 0..{REDIRECTS_MAX}"))),
            },
        };
        let expect = Expect::read(input.get("expect"))?;
        let request = Request { method, url, headers, body, redirects, response_bytes_max };
        Ok(Plan { request, expect, shape })
    }
}

fn read_size(value: Option<&Value>) -> Result<u64, EffectError> {
    let Some(value) = value.filter(|it| !it.is_null()) else { return Ok(RESPONSE_BYTES_DEFAULT) };
    let bytes = match value.as_str() {
        None => value.as_i64().and_then(|it| u64::try_from(it).ok()),
        Some(text) => {
            let digits = text.find(|it: char| !it.is_ascii_digit()).unwrap_or(text.len());
            let unit = match text[digits..].trim() {
                "" | "B" => Some(1),
                "KiB" => Some(1 << 10),
                "MiB" => Some(1 << 20),
                _ => None,
            };
            text[..digits].parse::<u64>().ok().zip(unit).and_then(|(n, unit)| n.checked_mul(unit))
        }
    };
    bytes.filter(|it| *it <= RESPONSE_BYTES_MAX).ok_or_else(|| {
        invalid(format!(
            "`max_response` is not a size up to {} MiB, such as 1 MiB",
            RESPONSE_BYTES_MAX >> 20
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_units() {
        let read = |json: &str| read_size(Some(&serde_json::from_str(json).unwrap())).ok();
        assert_eq!(read("100"), Some(100));
        assert_eq!(read("\"2 KiB\""), Some(2048));
        assert_eq!(read("\"10MiB\""), Some(10 << 20));
        assert_eq!((read("\"65 MiB\""), read("-1"), read("\"x\"")), (None, None, None));
    }
}
