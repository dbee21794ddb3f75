//! The table of operations as a router, and what stands beside it: health, keys, descriptions.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, LazyLock},
    time::Instant,
};

use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::{ConnectInfo, RawPathParams, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method as HttpMethod, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{MethodFilter, MethodRouter, get, on},
};
use serde_json::{Value as Json_, json};
use traaviis_api::{
    Method, Op, Operation, openapi,
    operation::{BASE, OPERATIONS},
    problem::status_of,
};
use traaviis_platform::Error;
use url::form_urlencoded;
use uuid::Uuid;

use crate::{
    App,
    handle::{self, Answer},
    request::{BODY_BYTES_MAX, DEFINITION_BODY_BYTES_MAX, Request},
};

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

static DESCRIPTION: LazyLock<Json_> =
    LazyLock::new(|| openapi::document(env!("CARGO_PKG_VERSION")));

/// Returns the router of everything that can be reached.
pub fn router(app: Arc<App>) -> Router {
    let mut by_path: BTreeMap<&str, Vec<&'static Operation>> = BTreeMap::new();
    for row in OPERATIONS {
        by_path.entry(row.path).or_default().push(row);
    }
    let mut router = Router::new();
    for (path, rows) in by_path {
        let allowed: Vec<&str> = rows.iter().map(|it| it.method.as_str()).collect();
        let allowed = allowed.join(", ");
        let mut methods: MethodRouter<Arc<App>> = MethodRouter::new();
        for row in rows {
            methods = methods.merge(on(filter(row.method), move |state, to, params, request| {
                answer(row, state, to, params, request)
            }));
        }
        let methods = methods.fallback(move |request| not_allowed(allowed.clone(), request));
        router = router.route(&format!("{BASE}{path}"), methods);
    }
    crate::socket::feed(&app);
    router
        .route("/socket", get(crate::socket::open))
        .route("/socket/websocket", get(crate::socket::open))
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/version", get(version))
        .route("/.well-known/jwks.json", get(jwks))
        .route(&format!("{BASE}/openapi.json"), get(|| async { Json(&*DESCRIPTION) }))
        .fallback(nothing)
        .layer(axum::middleware::map_response(with_headers))
        .with_state(app)
}

/// Returns the router of what only operators reach: numbers, and whether it is well.
pub fn admin_router(app: Arc<App>) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .fallback(nothing)
        .layer(axum::middleware::map_response(with_headers))
        .with_state(app)
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], app.metrics.text(&app)).into_response()
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

async fn with_headers(mut response: Response) -> Response {
    for (name, value) in &HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

async fn health(State(app): State<Arc<App>>) -> Json<Json_> {
    Json(json!({ "status": "ok", "timestamp": app.platform.now() }))
}

async fn ready(State(app): State<Arc<App>>) -> Response {
    // Whatever opens is ready; a process whose log has failed ends by itself.
    Json(json!({ "status": "ready", "timestamp": app.platform.now() })).into_response()
}

async fn version(State(app): State<Arc<App>>) -> Json<Json_> {
    Json(json!({ "name": "traaviis", "version": app.version }))
}

async fn jwks(State(app): State<Arc<App>>) -> Response {
    let mut response = Json(app.platform.jwks()).into_response();
    let cached = HeaderValue::from_static("public, max-age=300");
    response.headers_mut().insert(header::CACHE_CONTROL, cached);
    response
}

/// Carries one request out: its body arrives here, everything else happens on a thread that may
/// wait for the log.
async fn answer(
    row: &'static Operation,
    State(app): State<Arc<App>>,
    to: Option<axum::Extension<ConnectInfo<SocketAddr>>>,
    params: RawPathParams,
    request: axum::extract::Request,
) -> Response {
    let (head, body) = request.into_parts();
    let mut read = Request {
        path: head.uri.path().to_owned(),
        parts: params.iter().map(|(name, it)| (name.to_owned(), it.to_owned())).collect(),
        query: query(head.uri.query().unwrap_or_default()),
        address: to.map(|it| it.0.0.ip().to_string()),
        id: Uuid::now_v7().to_string(),
        ..of_headers(&head.headers)
    };
    match to_bytes(body, body_limit(row.op)).await {
        Ok(bytes) => read.body = bytes.into(),
        Err(_) => {
            let limit = body_limit(row.op);
            let message = format!("the body has more than {limit} bytes, or broke off");
            return refuse(&Error::new("payload_too_large", message), &read.path, &read.id);
        }
    }
    let (path, id) = (read.path.clone(), read.id.clone());
    let (works, begun) = (Arc::clone(&app), Instant::now());
    let done = tokio::task::spawn_blocking(move || handle::request(&works, row, &read)).await;
    let status = match &done {
        Ok(Ok(answer)) => answer.status,
        Ok(Err(error)) => status_of(&error.code),
        Err(_) => 500,
    };
    app.metrics.answered(row.op, status, begun.elapsed());
    let error = match done {
        Ok(Ok(answer)) => return tell(answer, &id),
        Ok(Err(error)) => error,
        Err(panicked) => Error::new("internal", panicked.to_string()),
    };
    if status == 500 {
        // What the caller is not told; an operator finds it by the id of the request.
        let Error { code, message, .. } = &error;
        (app.tell)(&format!("request {id} ({} {}) failed: {message} ({code})", row.name, path));
    }
    refuse(&error, &path, &id)
}

fn body_limit(op: Op) -> usize {
    match op {
        Op::CreateWorkflow | Op::ValidateWorkflow | Op::ReplaceDraft => DEFINITION_BODY_BYTES_MAX,
        _ => BODY_BYTES_MAX,
    }
}

fn of_headers(headers: &HeaderMap) -> Request {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok().map(str::to_owned);
    Request {
        authorization: text(header::AUTHORIZATION),
        if_match: text(header::IF_MATCH),
        idempotency_key: text(HeaderName::from_static("idempotency-key")),
        content_type: text(header::CONTENT_TYPE),
        user_agent: text(header::USER_AGENT),
        ..Request::default()
    }
}

pub(crate) fn query(text: &str) -> BTreeMap<String, String> {
    form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

fn tell(answer: Answer, request_id: &str) -> Response {
    let Answer { status, body, version } = answer;
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let mut response = match status {
        StatusCode::NO_CONTENT => status.into_response(),
        status => {
            let json = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            (status, [json], body).into_response()
        }
    };
    put_header(&mut response, HeaderName::from_static("x-request-id"), request_id);
    if let Some(version) = version {
        put_header(&mut response, header::ETAG, &format!("\"{version}\""));
    }
    response
}

fn refuse(error: &Error, path: &str, request_id: &str) -> Response {
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
    let message = format!("this path answers to {allowed}");
    let error = Error::new("method_not_allowed", message);
    let mut response = refuse(&error, request.uri().path(), &Uuid::now_v7().to_string());
    put_header(&mut response, header::ALLOW, &allowed);
    response
}

async fn nothing(method: HttpMethod, request: axum::extract::Request) -> Response {
    let path = request.uri().path();
    let message =
        format!("nothing answers to {method} here; `{BASE}/openapi.json` lists what does");
    refuse(&Error::new("not_found", message), path, &Uuid::now_v7().to_string())
}
