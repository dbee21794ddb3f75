//! Sends HTTP requests under the egress policy, and performs the effect kind `call_api`.
//!
//! Stages of `call_api`: read the parameters ([`Plan::read`]), send hop by hop ([`Client::send`]),
//! judge the status, shape the body into a value.
//!
//! Invariants:
//! - Every hop passes the policy; credentials never cross an origin and do not come back.
//! - At most `max_response` bytes of a response are held; of an unexpected one 4 KiB.
//! - What a peer sends becomes plain data: it can never become a reference to a secret.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use reqwest::{
    Method, StatusCode,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};
use traaviis_model::{
    Call, EffectError, Map, Text, Value,
    grant::{fits_any, host_name},
    value::base64,
};
use traaviis_ports::Outcome;
use url::Url;
use zeroize::Zeroizing;

use crate::{
    egress::{Denied, EgressPolicy, Names, Resolver, SystemNames},
    secret::Vault,
};

/// Time of a `call_api` attempt that sets none.
pub(crate) const API_TIMEOUT: Duration = Duration::from_secs(30);
/// Time to reach a peer; longer means it is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a response unless the call sets another bound.
pub(crate) const RESPONSE_BYTES_DEFAULT: u64 = 10 << 20;
/// Bytes of a response a call may ask for; the limit of one value.
const RESPONSE_BYTES_MAX: u64 = 64 << 20;
/// Bytes of an unexpected response that go into the error.
const ERROR_BODY_BYTES: usize = 4 << 10;
/// Redirects of one call; more is a loop.
pub(crate) const REDIRECTS_MAX: u64 = 5;
/// Longest wait a peer may ask for; more is a mistake or malice.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

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

/// An HTTP client bound to one egress policy.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    policy: Arc<EgressPolicy>,
    http: reqwest::Client,
}

/// A request that is ready to leave.
#[derive(Debug)]
pub(crate) struct Request {
    pub method: Method,
    pub url: Url,
    pub headers: Vec<RequestHeader>,
    pub body: Option<Vec<u8>>,
    pub redirects: u64,
    pub response_bytes_max: u64,
}

/// A header of a request.
#[derive(Debug)]
pub(crate) struct RequestHeader {
    pub name: HeaderName,
    pub value: HeaderValue,
    /// Must not cross an origin.
    pub credential: bool,
}

/// What came back; the body is cut to 4 KiB when the status was not expected.
#[derive(Debug)]
pub(crate) struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub duration: Duration,
}

impl Client {
    /// Builds the client: no proxy, no automatic redirect or retry, names through the policy.
    pub(crate) fn new(policy: EgressPolicy) -> Result<Client, reqwest::Error> {
        Client::with_names(policy, Arc::new(SystemNames))
    }

    /// The same, with names looked up by this.
    pub(crate) fn with_names(
        policy: EgressPolicy,
        names: Arc<dyn Names>,
    ) -> Result<Client, reqwest::Error> {
        let policy = Arc::new(policy);
        let builder = || {
            reqwest::Client::builder()
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .referer(false)
                // Another crate asks reqwest for HTTP/2; peers see what they always saw.
                .http1_only()
                .connect_timeout(CONNECT_TIMEOUT)
                .user_agent(concat!("traaviis/", env!("CARGO_PKG_VERSION")))
                .dns_resolver(Resolver::new(Arc::clone(&policy), Arc::clone(&names)))
        };
        // A machine without root certificates still speaks plain HTTP; https fails there per call.
        let http = builder().build().or_else(|_| builder().tls_certs_only([]).build())?;
        Ok(Client { policy, http })
    }

    /// Sends a request, follows redirects, and reads the response within its bounds; each target
    /// must stand in every list of hosts.
    pub(crate) async fn send(
        &self,
        mut request: Request,
        expect: &Expect,
        hosts: &[Vec<Text>],
    ) -> Result<Reply, EffectError> {
        let started = Instant::now();
        let mut hops = 0;
        loop {
            self.policy.check(&request.url).map_err(|denied| egress_denied(&denied))?;
            is_granted(&request.url, hosts)?;
            let response = self.send_once(&request).await?;
            let next = redirect_target(&request, &response);
            let Some(next) = next.filter(|_| request.redirects > 0) else {
                return read_reply(response, &request, expect, started).await;
            };
            hops += 1;
            if hops > request.redirects {
                let status = i64::from(response.status().as_u16());
                let message = format!("more than {} redirects", request.redirects);
                let details =
                    Value::map([("status", Value::Int(status)), ("body", Value::from(""))]);
                return Err(EffectError::new("http_error", message).with_details(details));
            }
            follow(&mut request, response.status(), next?);
        }
    }

    async fn send_once(&self, request: &Request) -> Result<reqwest::Response, EffectError> {
        let mut builder = self.http.request(request.method.clone(), request.url.clone());
        for header in &request.headers {
            builder = builder.header(header.name.clone(), header.value.clone());
        }
        if let Some(body) = &request.body {
            builder = builder.body(body.clone());
        }
        builder.send().await.map_err(|error| send_error(error, request))
    }
}

/// Refuses a target that a state around the effect does not list.
fn is_granted(url: &Url, hosts: &[Vec<Text>]) -> Result<(), EffectError> {
    let host = url.host_str().unwrap_or_default();
    let name = host_name(host, url.port_or_known_default().unwrap_or_default());
    if hosts.iter().all(|it| fits_any(it, &name)) {
        return Ok(());
    }
    let message =
        format!("`permissions.hosts` of a state around the effect does not list `{name}`");
    let details = Value::map([("kind", Value::from("host")), ("name", Value::String(name))]);
    Err(EffectError::new("permission_denied", message).with_details(details))
}

/// Returns where a response redirects to; none if it does not.
fn redirect_target(
    request: &Request,
    response: &reqwest::Response,
) -> Option<Result<Url, EffectError>> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.headers().get(header::LOCATION)?;
    let target = location.to_str().ok().and_then(|it| request.url.join(it).ok());
    Some(target.ok_or_else(|| {
        EffectError::new("network_error", "the peer redirects to something that is no URL")
    }))
}

/// Turns a request into the one for the next hop.
fn follow(request: &mut Request, status: StatusCode, next: Url) {
    if request.url.origin() != next.origin() {
        request.headers.retain(|it| !it.credential);
    }
    let to_get = match status.as_u16() {
        303 => request.method != Method::HEAD,
        301 | 302 => request.method == Method::POST,
        _ => false,
    };
    if to_get {
        request.method = Method::GET;
        request.body = None;
        request.headers.retain(|it| it.name != header::CONTENT_TYPE);
    }
    request.url = next;
}

async fn read_reply(
    mut response: reqwest::Response,
    request: &Request,
    expect: &Expect,
    started: Instant,
) -> Result<Reply, EffectError> {
    let status = response.status();
    let expected = expect.accepts(status.as_u16());
    let limit = if expected {
        usize::try_from(request.response_bytes_max).unwrap_or(usize::MAX)
    } else {
        ERROR_BODY_BYTES
    };
    let too_large = || {
        EffectError::new(
            "payload_too_large",
            format!("the response of `{}` is larger than {limit} bytes", place(request)),
        )
        .with_details(Value::map([("limit", Value::Int(limit as i64))]))
    };
    if expected
        && request.method != Method::HEAD
        && response.content_length().is_some_and(|it| it > limit as u64)
    {
        return Err(too_large());
    }
    let headers = response.headers().clone();
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= limit => body.extend_from_slice(&chunk),
            Ok(Some(_)) if expected => return Err(too_large()),
            Ok(Some(chunk)) => {
                body.extend_from_slice(&chunk[..limit - body.len()]);
                break;
            }
            Ok(None) => break,
            // The status is known, so it says more than the broken body does.
            Err(_) if !expected => break,
            Err(error) => return Err(send_error(error, request)),
        }
    }
    Ok(Reply { status, headers, body, duration: started.elapsed() })
}

fn send_error(error: reqwest::Error, request: &Request) -> EffectError {
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
fn place(request: &Request) -> String {
    let origin = request.url.origin().ascii_serialization();
    format!("{} {origin}{}", request.method, request.url.path())
}

pub(crate) fn egress_denied(denied: &Denied) -> EffectError {
    EffectError::new("egress_denied", denied.to_string())
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

/// Statuses that count as success.
#[derive(Clone, Debug)]
pub(crate) struct Expect(Vec<std::ops::RangeInclusive<u16>>);

impl Expect {
    /// Any 2xx.
    pub(crate) fn success() -> Expect {
        Expect(vec![200..=299])
    }

    /// Any status, for who reads refusals, too.
    pub(crate) fn any() -> Expect {
        Expect(vec![100..=599])
    }

    pub(crate) fn accepts(&self, status: u16) -> bool {
        self.0.iter().any(|it| it.contains(&status))
    }

    /// Reads `2xx`, `200`, or a list of such.
    fn read(value: Option<&Value>) -> Result<Expect, EffectError> {
        let one = std::slice::from_ref(match value {
            None | Some(Value::Null) => return Ok(Expect::success()),
            Some(value) => value,
        });
        let items = value.and_then(Value::as_list).unwrap_or(one);
        let ranges = items.iter().map(|item| {
            let text = item.as_str().map_or_else(|| item.to_json(), str::to_owned);
            let status = match text.to_ascii_lowercase().strip_suffix("xx") {
                Some(class) => class.parse::<u16>().ok().map(|it| it.saturating_mul(100)),
                None => text.parse::<u16>().ok(),
            };
            match status {
                Some(status @ 100..=599) if text.len() == 3 => {
                    let wide = text.to_ascii_lowercase().ends_with("xx");
                    Ok(status..=if wide { status + 99 } else { status })
                }
                _ => Err(invalid(format!("`{text}` in `expect` is no status such as 200 or 2xx"))),
            }
        });
        Ok(Expect(ranges.collect::<Result<_, _>>()?))
    }
}

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

fn request_header(
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

fn add_auth(
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

fn read_body(
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

fn text(input: &Value, key: &str) -> Result<Option<String>, EffectError> {
    match input.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(it)) => Ok(Some(it.to_string())),
        Some(other) => Err(invalid(format!("`{key}` is {}, not text", other.kind()))),
    }
}

fn text_or(input: &Value, key: &str, default: &str) -> Result<String, EffectError> {
    Ok(text(input, key)?.unwrap_or_else(|| default.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expect_reads_classes_and_statuses() {
        let read = |json: &str| Expect::read(Some(&serde_json::from_str(json).unwrap()));
        let expect = read(r#"["2xx", 404, "301"]"#).unwrap();
        for (status, accepts) in [(200, true), (299, true), (404, true), (301, true), (302, false)]
        {
            assert_eq!(expect.accepts(status), accepts, "{status}");
        }
        assert!(read("\"3XX\"").unwrap().accepts(399));
        for json in ["\"xx\"", "\"9xx\"", "[20]", "[99999]", "true", "{}"] {
            assert!(read(json).is_err(), "{json}");
        }
    }

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

    #[test]
    fn sizes_are_read_with_units() {
        let read = |json: &str| read_size(Some(&serde_json::from_str(json).unwrap())).ok();
        assert_eq!(read("100"), Some(100));
        assert_eq!(read("\"2 KiB\""), Some(2048));
        assert_eq!(read("\"10MiB\""), Some(10 << 20));
        assert_eq!((read("\"65 MiB\""), read("-1"), read("\"x\"")), (None, None, None));
    }

    #[test]
    fn credentials_do_not_cross_an_origin_and_post_becomes_get() {
        let mut request = Request {
            method: Method::POST,
            url: "https://a.example/x".parse().unwrap(),
            headers: vec![
                request_header(header::AUTHORIZATION, "Bearer x", true).unwrap(),
                request_header(header::COOKIE, "a=b", false).unwrap(),
                request_header(HeaderName::from_static("x-key"), "k", true).unwrap(),
                request_header(header::CONTENT_TYPE, "application/json", false).unwrap(),
                request_header(HeaderName::from_static("x-plain"), "p", false).unwrap(),
            ],
            body: Some(b"{}".to_vec()),
            redirects: 5,
            response_bytes_max: 1,
        };
        follow(
            &mut request,
            StatusCode::TEMPORARY_REDIRECT,
            "https://a.example/y".parse().unwrap(),
        );
        assert_eq!((request.headers.len(), &request.method), (5, &Method::POST));
        follow(&mut request, StatusCode::FOUND, "http://a.example/y".parse().unwrap());
        let names: Vec<_> = request.headers.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["x-plain"]);
        assert_eq!((&request.method, &request.body), (&Method::GET, &None));
    }

    /// The URL passes, the name resolves to loopback: only the resolver can refuse.
    #[tokio::test]
    async fn a_name_that_resolves_to_a_private_address_is_denied_while_connecting() {
        let strict = Client::new(EgressPolicy::default()).unwrap();
        let open = EgressPolicy {
            allow_private: vec!["localhost:8099".parse().unwrap()],
            ..EgressPolicy::default()
        };
        let client = Client { policy: Arc::new(open), http: strict.http };
        let request = Request {
            method: Method::GET,
            url: "http://localhost:8099/".parse().unwrap(),
            headers: Vec::new(),
            body: None,
            redirects: 0,
            response_bytes_max: 1,
        };
        let error = client.send(request, &Expect::success(), &[]).await.unwrap_err();
        assert_eq!((&*error.code, error.retryable), ("egress_denied", false), "{error:?}");
    }
}
