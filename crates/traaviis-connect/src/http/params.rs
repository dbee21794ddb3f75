//! Parts of a request read from what an author wrote: method, query, headers, credentials, body.

use reqwest::{
    Method,
    header::{self, HeaderName, HeaderValue},
};
use url::Url;
use zeroize::Zeroizing;

use traaviis_model::{EffectError, Value, value::base64};

use super::{RequestHeader, failing::invalid};
use crate::secret::Vault;

/// Headers that belong to the connection; an author who sets them could smuggle a request or
/// address another virtual host than the one checked.
const FORBIDDEN_HEADERS: [&str; 11] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "upgrade",
    "te",
    "trailer",
    "expect",
    "proxy-authorization",
    "proxy-connection",
];

/// Returns the method of a `call_api`; get when it sets none.
pub(crate) fn read_method(input: &Value) -> Result<Method, EffectError> {
    let name = text_or(input, "method", "get")?;
    parse_method(&name).ok_or_else(|| {
        invalid(format!(
            "`method` cannot be `{name}`; use get, post, put, patch, delete, head or options"
        ))
    })
}

pub(crate) fn parse_method(name: &str) -> Option<Method> {
    Some(match name.to_ascii_lowercase().as_str() {
        "get" => Method::GET,
        "post" => Method::POST,
        "put" => Method::PUT,
        "patch" => Method::PATCH,
        "delete" => Method::DELETE,
        "head" => Method::HEAD,
        "options" => Method::OPTIONS,
        _ => return None,
    })
}

/// Appends a map of scalars and lists of scalars to a URL's query.
pub(crate) fn append_query(url: &mut Url, query: &Value) -> Result<(), EffectError> {
    let map = query.as_map().ok_or_else(|| invalid("`query` is not an object"))?;
    let mut pairs = Vec::new();
    for (name, value) in map.iter() {
        for item in value.as_list().unwrap_or(std::slice::from_ref(value)) {
            if item.is_null() {
                continue;
            }
            let text = scalar(item)
                .ok_or_else(|| invalid(format!("query parameter `{name}` is not a scalar")))?;
            pairs.push((name, text));
        }
    }
    if !pairs.is_empty() {
        let mut writer = url.query_pairs_mut();
        for (name, text) in pairs {
            writer.append_pair(name, &text);
        }
    }
    Ok(())
}

/// Returns a scalar as plain text; none for null, lists and objects.
pub(crate) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.to_string()),
        Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::Float(_) => Some(value.to_json()),
        Value::Time(_) | Value::Span(_) | Value::Bytes(_) => match value.clone().into_json() {
            Value::String(text) => Some(text.to_string()),
            _ => None,
        },
        Value::Optional(Some(inner)) => scalar(inner),
        _ => None,
    }
}

/// Reads a map of headers; values are scalars, secrets, or lists of those.
pub(crate) fn read_headers(
    value: Option<&Value>,
    vault: &mut Vault<'_>,
) -> Result<Vec<RequestHeader>, EffectError> {
    let Some(value) = value.filter(|it| !it.is_null()) else { return Ok(Vec::new()) };
    let map = value.as_map().ok_or_else(|| invalid("`headers` is not an object"))?;
    let mut headers = Vec::with_capacity(map.len());
    for (name, value) in map.iter() {
        let name = header_name(name)?;
        for item in value.as_list().unwrap_or(std::slice::from_ref(value)) {
            if item.is_null() {
                continue;
            }
            let (text, secret) = reveal(item, name.as_str(), vault)?;
            headers.push(request_header(name.clone(), &text, secret)?);
        }
    }
    Ok(headers)
}

fn header_name(name: &str) -> Result<HeaderName, EffectError> {
    let name = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| invalid(format!("`{name}` is not a header name")))?;
    if FORBIDDEN_HEADERS.contains(&name.as_str()) {
        return Err(invalid(format!(
            "header `{name}` belongs to the connection and cannot be set"
        )));
    }
    Ok(name)
}

pub(super) fn request_header(
    name: HeaderName,
    text: &str,
    secret: bool,
) -> Result<RequestHeader, EffectError> {
    // The value stays out of the message: it may be a secret.
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| invalid(format!("the value of header `{name}` has forbidden characters")))?;
    let credential = secret || name == header::AUTHORIZATION || name == header::COOKIE;
    value.set_sensitive(credential);
    Ok(RequestHeader { name, value, credential })
}

/// Returns a scalar's or secret's text, and whether it is a secret.
fn reveal(
    value: &Value,
    what: &str,
    vault: &mut Vault<'_>,
) -> Result<(Zeroizing<String>, bool), EffectError> {
    match value {
        Value::Secret(name) => Ok((vault.reveal(name)?.expose().to_owned().into(), true)),
        Value::Optional(Some(inner)) => reveal(inner, what, vault),
        _ => match scalar(value) {
            Some(text) => Ok((text.into(), false)),
            None => Err(invalid(format!("`{what}` is not text or a secret"))),
        },
    }
}

pub(super) fn add_auth(
    auth: &Value,
    headers: &mut Vec<RequestHeader>,
    url: &mut Url,
    vault: &mut Vault<'_>,
) -> Result<(), EffectError> {
    let kind = text(auth, "type")?.ok_or_else(|| invalid("`auth.type` is missing"))?;
    let mut part = |name: &str| match auth.get(name) {
        None | Some(Value::Null) => Err(invalid(format!("`auth.{name}` is missing"))),
        Some(value) => {
            let (text, _) = reveal(value, name, vault)?;
            Ok(text)
        }
    };
    let authorization = match kind.as_str() {
        "bearer" => Zeroizing::new(format!("Bearer {}", &*part("token")?)),
        "basic" => {
            let (username, password) = (part("username")?, part("password")?);
            let pair = Zeroizing::new(format!("{}:{}", &*username, &*password));
            // The peer sees the pair encoded as one, so its echo must be recognised as well.
            vault.hide(&pair);
            Zeroizing::new(format!("Basic {}", base64(pair.as_bytes())))
        }
        "api_key" => {
            let key = part("key")?;
            let name = text_or(auth, "name", "X-API-Key")?;
            match text_or(auth, "in", "header")?.as_str() {
                "header" => headers.push(request_header(header_name(&name)?, &key, true)?),
                "query" => {
                    url.query_pairs_mut().append_pair(&name, &key);
                }
                other => return Err(invalid(format!("`auth.in` cannot be `{other}`"))),
            }
            return Ok(());
        }
        "oauth2_client" | "aws_sigv4" | "hmac" => {
            return Err(unavailable(format!("`auth.type: {kind}` is not available yet")));
        }
        other => {
            return Err(invalid(format!(
                "`auth.type` cannot be `{other}`; use bearer, basic or api_key"
            )));
        }
    };
    headers.retain(|it| it.name != header::AUTHORIZATION);
    headers.push(request_header(header::AUTHORIZATION, &authorization, true)?);
    Ok(())
}

fn unavailable(message: String) -> EffectError {
    EffectError::new("feature_unavailable", message)
}

pub(super) fn read_body(
    input: &Value,
    headers: &mut Vec<RequestHeader>,
) -> Result<Option<Vec<u8>>, EffectError> {
    let Some(body) = input.get("body").filter(|it| !it.is_null()) else { return Ok(None) };
    let body_type = text_or(input, "body_type", "json")?;
    let (bytes, media) = match body_type.as_str() {
        "json" => (body.clone().into_json().to_json().into_bytes(), "application/json"),
        "text" => {
            let text = scalar(body).ok_or_else(|| invalid("`body` is not text"))?;
            (text.into_bytes(), "text/plain; charset=utf-8")
        }
        "form" => {
            let mut form = Url::parse("http://form/").map_err(|_| invalid("`body` is no form"))?;
            append_query(&mut form, body)?;
            let text = form.query().unwrap_or_default().to_owned();
            (text.into_bytes(), "application/x-www-form-urlencoded")
        }
        "multipart" => {
            return Err(unavailable("`body_type: multipart` is not available yet".to_owned()));
        }
        other => return Err(invalid(format!("`body_type` cannot be `{other}`"))),
    };
    if !headers.iter().any(|it| it.name == header::CONTENT_TYPE) {
        headers.push(request_header(header::CONTENT_TYPE, media, false)?);
    }
    Ok(Some(bytes))
}

pub(super) fn text(input: &Value, key: &str) -> Result<Option<String>, EffectError> {
    match input.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(it)) => Ok(Some(it.to_string())),
        Some(other) => Err(invalid(format!("`{key}` is {}, not text", other.kind()))),
    }
}

pub(super) fn text_or(input: &Value, key: &str, default: &str) -> Result<String, EffectError> {
    Ok(text(input, key)?.unwrap_or_else(|| default.to_owned()))
}
