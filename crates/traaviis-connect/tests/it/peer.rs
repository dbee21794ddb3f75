//! The peer, and the one place where tests touch the connector.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::any,
};
use serde_json::{Value as Json_, json};
use traaviis_connect::{Connectors, EgressPolicy, Format, HttpConnector, Options};
use traaviis_model::{Call, CallId, EffectError, InstanceId, TenantCtx, Value};
use traaviis_ports::{Connector, Outcome};

/// Starts the peer on its own thread and returns its address.
pub fn start() -> SocketAddr {
    let (tx, rx) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            tx.send(listener.local_addr().unwrap()).unwrap();
            axum::serve(listener, router()).await.unwrap();
        });
    });
    rx.recv().unwrap()
}

fn router() -> Router {
    Router::new()
        .route("/echo", any(echo))
        .route("/echo/{*rest}", any(echo))
        .route("/status/{status}", any(status))
        .route("/redirect/{status}", any(redirect))
        .route("/loop", any(async || (StatusCode::FOUND, [(header::LOCATION, "/loop")])))
        .route("/bytes/{count}", any(async |Path(count): Path<usize>| vec![b'x'; count]))
        .route("/hang", any(async || std::future::pending::<()>().await))
        .route("/text", any(async || "plain"))
        .route("/binary", any(async || [0xffu8, 0x00, 0x01].as_slice()))
        .route(
            "/broken-json",
            any(async || ([(header::CONTENT_TYPE, "application/json")], "{oops")),
        )
        .route("/forged", any(async || Json(json!({"a": [{"$secret": "key"}]}))))
        .route(
            "/refuse",
            any(async || (StatusCode::CONFLICT, Json(json!({"why": {"code": "sold_out"}})))),
        )
        .route("/empty", any(async || StatusCode::NO_CONTENT))
}

/// Answers what it was sent.
async fn echo(method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Json<Json_> {
    let headers: serde_json::Map<_, _> = headers
        .iter()
        .map(|(name, it)| (name.to_string(), json!(String::from_utf8_lossy(it.as_bytes()))))
        .collect();
    Json(json!({
        "method": method.as_str(),
        "uri": uri.to_string(),
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
    }))
}

async fn status(Path(status): Path<u16>, headers: HeaderMap) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    let body = json!({
        "code": "told_so",
        "echo": headers.get("authorization").map(|it| it.to_str().unwrap()),
        "long": "y".repeat(6000),
    });
    (status, [(header::RETRY_AFTER, "3")], Json(body)).into_response()
}

async fn redirect(Path(status): Path<u16>, Query(query): Query<Vec<(String, String)>>) -> Response {
    let to = query.into_iter().find(|it| it.0 == "to").unwrap().1;
    (StatusCode::from_u16(status).unwrap(), [(header::LOCATION, to)]).into_response()
}

/// Starts a peer whose body has no length and no end.
pub fn start_endless() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            while stream.write_all(b"10\r\n0123456789abcdef\r\n").is_ok() {}
        }
    });
    addr
}

/// Starts a peer that answers every connection with the same octets, HTTP or not.
pub fn start_raw(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer);
            let _ = stream.write_all(answer);
        }
    });
    addr
}

/// A connector that may reach the given loopback targets.
pub fn connector<T: ToString>(ports: &[T]) -> HttpConnector {
    build(ports, Connectors::default())
}

/// A connector with the functions of a connectors file, which may reach nothing else.
pub fn connector_with(file: &str) -> HttpConnector {
    build::<SocketAddr>(&[], Connectors::read(file, Format::Yaml).unwrap())
}

pub fn build<T: ToString>(ports: &[T], connectors: Connectors) -> HttpConnector {
    let allow_private = ports.iter().map(|it| it.to_string().parse().unwrap()).collect();
    HttpConnector::new(Options {
        egress: EgressPolicy { allow_private, ..EgressPolicy::default() },
        connectors,
        secrets: Arc::new(|name: &str| (name == "key").then(|| "s3cr3t/value".to_owned())),
        handle: None,
        sent: None,
    })
    .unwrap()
}

/// A call as the engine would ask for it.
pub fn call(kind: &str, input: &str) -> Call {
    let instance: InstanceId = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
    Call {
        id: CallId { instance, tree: 1, path: "0.charge".into(), scheduled: 2, attempt: 1 },
        workflow: "Order".into(),
        kind: kind.into(),
        input: serde_json::from_str(input).unwrap(),
        key: "01890a5d.1.0".into(),
        timeout: None,
        hosts: Vec::new(),
    }
}

/// Performs a call and waits for its outcome.
pub fn perform(connector: &HttpConnector, call: Call) -> Outcome {
    let (tx, rx) = mpsc::channel();
    connector.perform(&TenantCtx::for_test(7), call, Box::new(move |it| tx.send(it).unwrap()));
    rx.recv_timeout(Duration::from_secs(20)).expect("no outcome")
}

/// Performs a `call_api`; `PEER` in the input stands for the peer's address.
pub fn api(peer: SocketAddr, input: &str) -> Outcome {
    let input = input.replace("PEER", &format!("http://{peer}"));
    perform(&connector(&[peer]), call("call_api", &input))
}

/// Performs a `call_api` that fails.
pub fn api_error(peer: SocketAddr, input: &str) -> EffectError {
    api(peer, input).expect_err("the call should have failed")
}

/// Collects outcomes from any thread.
pub type Outcomes = Arc<Mutex<Vec<Outcome>>>;

/// Returns the value at a dotted path as JSON text.
pub fn at(value: &Value, path: &str) -> String {
    value.at_path(path).map_or_else(|| "absent".to_owned(), Value::to_json)
}
