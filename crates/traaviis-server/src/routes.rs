//! The table of operations as a router, and what stands beside it: health, keys, descriptions.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, LazyLock, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::{Body, HttpBody as _},
    extract::{ConnectInfo, Path, RawPathParams, State, rejection::RawPathParamsRejection},
    http::{HeaderMap, HeaderName, HeaderValue, Method as HttpMethod, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{MethodFilter, MethodRouter, get, on},
};
use serde_json::{Value as Json_, json};
use traaviis_api::{
    Access, Method, Op, Operation, channels, openapi,
    operation::{BASE, OPERATIONS},
    problem::status_of,
};
use traaviis_model::{document::WORKFLOW_SCHEMA, permission::Permission};
use traaviis_platform::{
    Error,
    engine::{Component, ComponentStatus},
};
use tracing::{Instrument as _, Span, field::Empty};
use url::form_urlencoded;
use uuid::Uuid;

use crate::{
    App, address,
    front::Front,
    handle::{self, Answer},
    host::Known,
    limits::Pace,
    listen::Ends,
    live,
    operate::{TraceIds, request_id},
    request::{
        BODY_BYTES_MAX, DEFINITION_BODY_BYTES_MAX, MessageHeaders, Request, bearer, names_version,
    },
};

/// Paths of hooks, which stand beside those of the interface, too.
const HOOKS: &str = "/hooks/";

static CHANNELS: LazyLock<Json_> = LazyLock::new(|| channels::document(env!("CARGO_PKG_VERSION")));

static DESCRIPTION: LazyLock<Json_> =
    LazyLock::new(|| openapi::document(env!("CARGO_PKG_VERSION")));

/// Returns everything that can be reached.
pub fn router(app: Arc<App>) -> Front {
    let mut by_path: BTreeMap<&str, Vec<&'static Operation>> = BTreeMap::new();
    for row in OPERATIONS {
        by_path.entry(row.path).or_default().push(row);
    }
    let mut router = Router::new();
    for (path, rows) in by_path {
        let mut allowed: Vec<&str> = rows.iter().map(|it| it.method.as_str()).collect();
        if let Some(at) = allowed.iter().position(|it| *it == "GET") {
            // Who may read may ask for the head of it.
            allowed.insert(at + 1, "HEAD");
        }
        let allowed = [allowed, vec!["OPTIONS"]].concat().join(", ");
        let mut methods: MethodRouter<Arc<App>> = MethodRouter::new();
        for row in rows {
            methods = methods.merge(on(filter(row.method), move |state, to, params, request| {
                answer(row, state, to, params, request)
            }));
        }
        let methods = methods.fallback(move |request| not_allowed(allowed.clone(), request));
        if path.starts_with(HOOKS) {
            // The address that people write into the settings of a sender.
            router = router.route(path, methods.clone());
        }
        router = router.route(&format!("{BASE}{path}"), methods);
    }
    crate::socket::feed(&app);
    let (known, is_secure) = (app.own_host.clone(), app.is_secure);
    let described_at = format!("{}{PROTECTED_RESOURCE}", app.platform.settings().issuer);
    let router = router
        .route("/socket", get(crate::socket::open))
        .route("/socket/websocket", get(crate::socket::open))
        .route("/health", get(health))
        .route("/ready", get(public_ready))
        .route("/metrics", get(public_metrics))
        .route("/version", get(version))
        .route("/.well-known/jwks.json", get(jwks))
        .route(PROTECTED_RESOURCE, get(protected_resource))
        .route("/schemas/{name}", get(schema))
        .route("/errors/{code}", get(error_page))
        .route(&format!("{BASE}/openapi.json"), get(|| async { Json(&*DESCRIPTION) }))
        .route(&format!("{BASE}/asyncapi.json"), get(|| async { Json(&*CHANNELS) }))
        .method_not_allowed_fallback(only_read)
        .fallback(nothing)
        .with_state(app);
    Front::new(router, known).secure(is_secure).asking(&described_at)
}

/// Returns what only operators reach: numbers, and whether it is well.
pub fn admin_router(app: Arc<App>) -> Front {
    // What only this machine reaches, and shows no token, is reached by no name.
    let known = if app.operations.asks_operators { Known::Any } else { Known::Nothing };
    let router = Router::new()
        .route("/health", get(health))
        .route("/ready", get(admin_ready))
        .route("/metrics", get(metrics))
        .method_not_allowed_fallback(only_read)
        .fallback(nothing)
        .with_state(app);
    Front::new(router, known)
}

async fn metrics(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    if app.operations.asks_operators && !shows_token(&app, &headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    numbers(app).await
}

/// Numbers where everybody comes in: there is nothing, unless who asks shows the token of
/// operators.
async fn public_metrics(
    state: State<Arc<App>>,
    headers: HeaderMap,
    method: HttpMethod,
    request: axum::extract::Request,
) -> Response {
    match shows_token(&state, &headers) {
        true => numbers(state.0).await,
        false => nothing(method, request).await,
    }
}

async fn numbers(app: Arc<App>) -> Response {
    // Shards are asked for what they hold, which may take a moment.
    let text = tokio::task::spawn_blocking(move || app.metrics.text(&app)).await;
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], text.unwrap_or_default()).into_response()
}

fn shows_token(app: &App, headers: &HeaderMap) -> bool {
    let shown = headers.get(header::AUTHORIZATION).and_then(|it| it.to_str().ok());
    let shown = shown.and_then(bearer);
    matches!((&app.operations.metrics_token, shown), (Some(token), Some(it)) if token.is(it))
}

fn filter(method: Method) -> MethodFilter {
    match method {
        Method::Get => MethodFilter::GET,
        Method::Post => MethodFilter::POST,
        Method::Put => MethodFilter::PUT,
        Method::Patch => MethodFilter::PATCH,
        Method::Delete => MethodFilter::DELETE,
    }
}

async fn health(State(app): State<Arc<App>>) -> Json<Json_> {
    Json(json!({ "status": "ok", "timestamp": app.platform.now() }))
}

/// Says whether requests can be answered, part by part. What a part says of itself is told to
/// operators alone.
async fn ready(app: Arc<App>, tells_why: bool) -> Response {
    let asked = Arc::clone(&app);
    let parts = tokio::task::spawn_blocking(move || asked.components()).await;
    let parts = parts.unwrap_or_else(|_| vec![Component::failed("engine", "it cannot be asked")]);
    let is_ready = parts.iter().all(|it| it.status != ComponentStatus::Failed);
    let components: Vec<Json_> = parts
        .iter()
        .map(|it| {
            let mut shown = json!({ "name": it.name, "status": it.status.as_str() });
            if let Some(why) = it.why.as_ref().filter(|_| tells_why) {
                shown["why"] = json!(why);
            }
            shown
        })
        .collect();
    let word = if is_ready { "ready" } else { "not_ready" };
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let now = app.platform.now();
    let body = json!({ "status": word, "components": components, "timestamp": now });
    (status, Json(body)).into_response()
}

async fn public_ready(State(app): State<Arc<App>>) -> Response {
    ready(app, false).await
}

async fn admin_ready(State(app): State<Arc<App>>) -> Response {
    ready(app, true).await
}

async fn version(State(app): State<Arc<App>>) -> Json<Json_> {
    Json(json!({ "name": "traaviis", "version": app.version }))
}

/// Published schemas by the name of their file.
const SCHEMAS: &[(&str, &str)] = &[
    ("workflow-1.json", WORKFLOW_SCHEMA),
    ("connectors-1.json", include_str!("../../../schemas/connectors-1.json")),
    ("config-1.json", include_str!("../../../schemas/config-1.json")),
];

async fn schema(
    Path(name): Path<String>,
    method: HttpMethod,
    request: axum::extract::Request,
) -> Response {
    let found = SCHEMAS.iter().find(|it| it.0 == name || it.0.strip_suffix(".json") == Some(&name));
    let Some((_, text)) = found else { return nothing(method, request).await };
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/schema+json"));
    // It never changes inside a release; a new form gets a new name.
    let cached = (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    ([kind, cached], *text).into_response()
}

/// What to do about each error, by its code.
const ERROR_PAGES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/error_pages.rs"));

async fn error_page(
    Path(code): Path<String>,
    method: HttpMethod,
    request: axum::extract::Request,
) -> Response {
    let found = ERROR_PAGES.iter().find(|it| it.0 == code);
    let Some((_, text)) = found else { return nothing(method, request).await };
    let kind = HeaderValue::from_static("text/markdown; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], *text).into_response()
}

async fn jwks(State(app): State<Arc<App>>) -> Response {
    let mut response = Json(app.platform.jwks()).into_response();
    let cached = HeaderValue::from_static("public, max-age=300");
    response.headers_mut().insert(header::CACHE_CONTROL, cached);
    response
}

/// Where it is told what a token is asked for.
const PROTECTED_RESOURCE: &str = "/.well-known/oauth-protected-resource";

/// Says how the interface is protected (RFC 9728). No server is named that gives out tokens over
/// OAuth, since there is none: they come from a login.
async fn protected_resource(State(app): State<Arc<App>>) -> Json<Json_> {
    let issuer = &app.platform.settings().issuer;
    Json(json!({
        "resource": issuer,
        "resource_name": "TRAAVIIS",
        "bearer_methods_supported": ["header"],
        "scopes_supported": Permission::ALL.iter().map(|it| it.as_str()).collect::<Vec<_>>(),
        "resource_documentation": format!("{issuer}{BASE}/openapi.json"),
    }))
}

/// Carries one request out: its body arrives here, and what may wait for a disk happens on a thread
/// of its own.
async fn answer(
    row: &'static Operation,
    State(app): State<Arc<App>>,
    to: Option<axum::Extension<ConnectInfo<SocketAddr>>>,
    params: Result<RawPathParams, RawPathParamsRejection>,
    request: axum::extract::Request,
) -> Response {
    let (head, body) = request.into_parts();
    let Ok(params) = params else {
        let error = Error::new("bad_request", "a part of the path is no text in UTF-8");
        return refuse(&error, head.uri.path(), &Uuid::now_v7().to_string());
    };
    let header = |name| head.headers.get(name).and_then(|it: &HeaderValue| it.to_str().ok());
    let mut query = query(head.uri.query().unwrap_or_default());
    let mut of_headers = of_headers(&head.headers);
    if row.access != Access::Public {
        of_headers.tenants.extend(query.remove("tenant"));
    }
    let mut read = Request {
        path: head.uri.path().to_owned(),
        parts: params.iter().map(|(name, it)| (name.to_owned(), it.to_owned())).collect(),
        query,
        host_tenant: app.own_host.tenant_of(&head.headers),
        address: caller_of(&app, to, &head.headers),
        id: request_id(header("x-request-id")),
        message: match row.op {
            Op::ReceiveHook => message_of(&head.headers),
            _ => MessageHeaders::default(),
        },
        ..of_headers
    };
    let caller = header("traceparent").and_then(TraceIds::read);
    let (span, ids) = span_of(&app, row, &read, caller);
    if header("content-encoding").is_some_and(|it| !it.eq_ignore_ascii_case("identity")) {
        let error = Error::new("unsupported_media_type", "send the body as it is, not compressed");
        app.metrics.refused(&error.code);
        return refuse(&error, &read.path, &read.id);
    }
    match body_of(body, body_limit(row.op)).await {
        Ok(bytes) => read.body = bytes,
        Err(error) => {
            app.metrics.refused(&error.code);
            let mut response = refuse(&error, &read.path, &read.id);
            // What is still to come of it is not read.
            put_header(&mut response, header::CONNECTION, "close");
            return response;
        }
    }
    let (path, id) = (read.path.clone(), read.id.clone());
    let seen = read.if_none_match.take().filter(|_| row.method == Method::Get);
    let (begun, pace) = (Instant::now(), Arc::clone(&read.pace));
    let done = async {
        match row.op {
            Op::StreamInstance | Op::StreamEffect => {
                let ends = head.extensions.get::<Ends>().cloned();
                live::open(Arc::clone(&app), row, read, ends).await
            }
            _ => {
                let done = handle::soon::request(Arc::clone(&app), row, read).await;
                let is_seen = |it: &Answer| {
                    it.version.zip(seen.as_deref()).is_some_and(|(it, of)| names_version(of, it))
                };
                done.map(|it| match is_seen(&it) {
                    true => not_modified(it, app.tell),
                    false => tell(it, app.tell),
                })
            }
        }
    };
    let done = done.instrument(span.clone()).await;
    let pace = *pace.lock().unwrap_or_else(PoisonError::into_inner);
    let done = match done {
        Ok(mut response) => {
            put_header(&mut response, TRACEPARENT, &ids.header());
            put_header(&mut response, HeaderName::from_static("x-request-id"), &id);
            Ok(paced(response, pace))
        }
        Err(error) => Err(error),
    };
    let status = match &done {
        Ok(response) => response.status().as_u16(),
        Err(error) => status_of(&error.code),
    };
    app.metrics.answered(row.op, status, begun.elapsed());
    if app.operations.on_request.is_some() {
        span.record("http.response.status_code", status);
    }
    let error = match done {
        Ok(response) => {
            span.in_scope(|| accessed(row, status, begun));
            return response;
        }
        Err(error) => error,
    };
    app.metrics.refused(&error.code);
    span.in_scope(|| {
        if status == 500 {
            // What the caller is not told; an operator finds it by the id of the request.
            span.record("otel.status_code", "error");
            let Error { code, message, .. } = &error;
            let what = format!("request {id} ({} {}) failed: {message} ({code})", row.name, path);
            (app.tell)(&what);
        }
        accessed(row, status, begun);
    });
    let mut response = refuse(&error, &path, &id);
    put_header(&mut response, TRACEPARENT, &ids.header());
    paced(response, pace)
}

/// Tells a caller how they stand to their limit.
fn paced(mut response: Response, pace: Option<Pace>) -> Response {
    if let Some(Pace { limit, remaining, reset }) = pace {
        put_number(&mut response, "ratelimit-limit", limit.into());
        put_number(&mut response, "ratelimit-remaining", remaining.into());
        put_number(&mut response, "ratelimit-reset", reset);
    }
    response
}

fn put_number(response: &mut Response, name: &'static str, number: u64) {
    response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from(number));
}

/// Returns the address that a request comes from.
pub(crate) fn caller_of(
    app: &App,
    to: Option<axum::Extension<ConnectInfo<SocketAddr>>>,
    headers: &HeaderMap,
) -> Option<String> {
    let connection = to?.0.0.ip();
    // A caller may send a header of their own before the one that a proxy adds.
    let forwarded = headers.get_all("x-forwarded-for").iter();
    let forwarded: Vec<&str> = forwarded.map(|it| it.to_str().unwrap_or_default()).collect();
    let forwarded = forwarded.join(",");
    Some(address::of(connection, &forwarded, &app.proxies).to_string())
}

/// As [`traaviis_api::operation::CSRF`] is written in a map of headers.
const CSRF_HEADER: HeaderName = HeaderName::from_static("x-trv-csrf");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Opens the span of a request, in which all its lines stand, and returns its ids.
fn span_of(
    app: &App,
    row: &Operation,
    request: &Request,
    caller: Option<TraceIds>,
) -> (Span, TraceIds) {
    let on_request = app.operations.on_request;
    // Only who keeps traces asks for these.
    let route = on_request.map(|_| format!("{BASE}{}", row.path));
    let name = route.as_ref().map(|it| format!("{} {it}", row.method.as_str()));
    let fresh = on_request.is_none().then(|| TraceIds::fresh(caller.clone()));
    let is_instance = row.path.contains("/instances/{id}");
    let id = request.part("id");
    let instance = (is_instance && id.parse::<Uuid>().is_ok()).then_some(id);
    // An error by its level alone: it is there whatever the level of the lines in it.
    let span = tracing::error_span!(
        "request",
        "otel.name" = name,
        "otel.kind" = "server",
        "otel.status_code" = Empty,
        "http.request.method" = row.method.as_str(),
        "http.route" = route,
        "http.response.status_code" = Empty,
        request_id = request.id,
        operation = row.name,
        trace_id = fresh.as_ref().map(|it| &*it.trace),
        tenant_id = Empty,
        instance_id = instance,
    );
    let ids = fresh.unwrap_or_else(|| {
        let ids = on_request.and_then(|it| it(&span, caller.as_ref()));
        let ids = ids.unwrap_or_else(|| TraceIds::fresh(caller));
        span.record("trace_id", &*ids.trace);
        ids
    });
    (span, ids)
}

/// Tells of an answer.
fn accessed(row: &Operation, status: u16, begun: Instant) {
    let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
    let (method, path) = (row.method.as_str(), row.path);
    match status {
        500.. => tracing::info!(
            target: ACCESS, status, duration_us = micros, "{method} {BASE}{path} answered {status}"
        ),
        _ => tracing::debug!(
            target: ACCESS, status, duration_us = micros, "{method} {BASE}{path} answered {status}"
        ),
    }
}

/// Target of the lines about answers, one for each.
pub const ACCESS: &str = "traaviis_server::access";

/// Longest wait for a whole body: 2 MiB within it are 70 KB a second.
const BODY_WAIT: Duration = Duration::from_secs(30);
/// Bytes that are read and thrown away of a body that is too long, so that its sender hears why
/// rather than that the connection is gone.
const BODY_BYTES_DROPPED: usize = 4 << 20;

/// Reads a body, which must be there in time and no longer than it may be.
async fn body_of(mut body: Body, limit: usize) -> Result<Vec<u8>, Error> {
    let too_large =
        || Error::new("payload_too_large", format!("the body has more than {limit} bytes"));
    if body.is_end_stream() {
        return Ok(Vec::new());
    }
    let read = async {
        let (mut bytes, mut total) = (Vec::new(), 0);
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            let broken = |_| Error::new("bad_request", "the body broke off, or is badly framed");
            let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
            total += data.len();
            match total {
                total if total <= limit => bytes.extend_from_slice(&data),
                total if total <= limit + BODY_BYTES_DROPPED => bytes = Vec::new(),
                _ => return Err(too_large()),
            }
        }
        if total > limit { Err(too_large()) } else { Ok(bytes) }
    };
    tokio::time::timeout(BODY_WAIT, read).await.unwrap_or_else(|_| {
        let seconds = BODY_WAIT.as_secs();
        Err(Error::new("request_timeout", format!("the body was not here within {seconds} s")))
    })
}

fn body_limit(op: Op) -> usize {
    match op {
        Op::CreateWorkflow | Op::ValidateWorkflow | Op::ReplaceDraft | Op::PatchDraft => {
            DEFINITION_BODY_BYTES_MAX
        }
        _ => BODY_BYTES_MAX,
    }
}

/// Reads what a sender to a hook says of its message.
fn message_of(headers: &HeaderMap) -> MessageHeaders {
    let text = |name| headers.get(name).and_then(|it| it.to_str().ok()).map(str::to_owned);
    MessageHeaders {
        id: text("webhook-id"),
        timestamp: text("webhook-timestamp"),
        signature: text("webhook-signature"),
        token: text("webhook-token"),
    }
}

fn of_headers(headers: &HeaderMap) -> Request {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok().map(str::to_owned);
    Request {
        authorization: text(header::AUTHORIZATION),
        tenants: text(HeaderName::from_static("x-tenant-id")).into_iter().collect(),
        if_match: text(header::IF_MATCH),
        if_none_match: text(header::IF_NONE_MATCH),
        idempotency_key: text(HeaderName::from_static("idempotency-key")),
        last_event_id: text(HeaderName::from_static("last-event-id")),
        content_type: text(header::CONTENT_TYPE),
        user_agent: text(header::USER_AGENT),
        cookie: text(header::COOKIE),
        csrf: text(CSRF_HEADER),
        ..Request::default()
    }
}

pub(crate) fn query(text: &str) -> BTreeMap<String, String> {
    form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

fn tell(answer: Answer, note: fn(&str)) -> Response {
    let Answer { status, body, version, parts, headers, location } = answer;
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let mut response = match (status, parts) {
        (StatusCode::NO_CONTENT, _) => status.into_response(),
        (status, Some(parts)) => {
            let kind = (header::CONTENT_TYPE, HeaderValue::from_static(parts.media_type));
            (status, [kind], parts.into_body(note)).into_response()
        }
        (status, None) => {
            let json = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            (status, [json], body).into_response()
        }
    };
    for (name, value) in headers {
        let (name, value) = (HeaderName::from_static(name), HeaderValue::from_str(&value));
        // A cookie of each name has a line of its own.
        match value {
            Ok(value) if name == header::SET_COOKIE => {
                response.headers_mut().append(name, value);
            }
            Ok(value) => drop(response.headers_mut().insert(name, value)),
            Err(_) => {}
        }
    }
    if let Some(version) = version {
        put_header(&mut response, header::ETAG, &format!("\"{version}\""));
    }
    if let Some(location) = location {
        put_header(&mut response, header::LOCATION, &location);
    }
    response
}

/// Says that what was read before is as it was.
fn not_modified(answer: Answer, note: fn(&str)) -> Response {
    let mut response = tell(answer, note);
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    *response.body_mut() = Body::empty();
    response.headers_mut().remove(header::CONTENT_TYPE);
    response
}

pub(crate) fn refuse(error: &Error, path: &str, request_id: &str) -> Response {
    let problem = handle::problem(error, path, request_id);
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let json = HeaderValue::from_static("application/problem+json");
    let mut response = (status, [(header::CONTENT_TYPE, json)], Body::from(body)).into_response();
    put_header(&mut response, HeaderName::from_static("x-request-id"), request_id);
    if let Some(seconds) = error.details["retry_after"].as_str() {
        put_header(&mut response, header::RETRY_AFTER, seconds);
    }
    if status == StatusCode::UNAUTHORIZED {
        put_header(&mut response, header::WWW_AUTHENTICATE, "Bearer");
    }
    response
}

fn put_header(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

async fn not_allowed(allowed: String, request: axum::extract::Request) -> Response {
    if request.method() == HttpMethod::OPTIONS {
        return (StatusCode::NO_CONTENT, [(header::ALLOW, allowed)]).into_response();
    }
    let message = format!("this path answers to {allowed}");
    let error = Error::new("method_not_allowed", message);
    let mut response = refuse(&error, request.uri().path(), &Uuid::now_v7().to_string());
    put_header(&mut response, header::ALLOW, &allowed);
    response
}

/// The same where no row of the table stands, so that one reads and does nothing else.
async fn only_read(request: axum::extract::Request) -> Response {
    not_allowed("GET, HEAD, OPTIONS".into(), request).await
}

async fn nothing(method: HttpMethod, request: axum::extract::Request) -> Response {
    let path = request.uri().path();
    let message =
        format!("nothing answers to {method} here; `{BASE}/openapi.json` lists what does");
    refuse(&Error::new("not_found", message), path, &Uuid::now_v7().to_string())
}
