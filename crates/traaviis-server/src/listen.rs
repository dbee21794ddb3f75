//! Sockets and their limits: how long a caller may take, and how many there may be.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::ConnectInfo};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinHandle,
    time::timeout,
};
use tower::ServiceExt as _;

/// Longest wait for the headers of a request; slower ones are attacks or broken.
const HEADERS_WAIT: Duration = Duration::from_secs(10);
/// Longest life of one request, its answer included: waits of callers end before.
const REQUEST_WAIT: Duration = Duration::from_secs(90);
/// Bytes of the headers of a request.
const HEADER_BYTES_MAX: usize = 32 << 10;
/// Connections at once: each has a buffer of 8 KiB, and a file descriptor.
const CONNECTIONS_MAX: usize = 10_000;
/// How long requests that were begun may take when the server ends.
const DRAIN: Duration = Duration::from_secs(5);

/// Told when the server ends, for answers that go on until then.
#[derive(Clone, Debug)]
pub(crate) struct Ends(pub watch::Receiver<bool>);

/// A server that listens.
#[derive(Debug)]
pub struct Listening {
    /// Where.
    pub address: SocketAddr,
    end: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Listening {
    /// Takes no more requests, answers those that were begun, and ends.
    pub async fn end(self) {
        // Everybody who listens may have ended.
        let _ = self.end.send(true);
        let _ = timeout(DRAIN + Duration::from_secs(1), self.task).await;
    }
}

/// Listens on an address; port 0 takes any free one.
pub async fn listen(address: SocketAddr, router: Router) -> io::Result<Listening> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let (end, ends) = watch::channel(false);
    let task = tokio::spawn(accept(listener, router, ends));
    Ok(Listening { address, end, task })
}

async fn accept(listener: TcpListener, router: Router, mut ends: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let router = router.layer(axum::middleware::from_fn(bounded));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = ends.changed() => break,
        };
        let Ok((stream, from)) = accepted else {
            // Out of file descriptors, or the caller is gone already.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        // Small answers must not wait for more to come.
        let _ = stream.set_nodelay(true);
        let (router, ends) = (router.clone(), ends.clone());
        tokio::spawn(async move {
            converse(TokioIo::new(stream), from, router, ends).await;
            drop(place);
        });
    }
    let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
    let _ = timeout(DRAIN, places.acquire_many(all)).await;
}

async fn converse(
    stream: TokioIo<tokio::net::TcpStream>,
    from: SocketAddr,
    router: Router,
    mut ends: watch::Receiver<bool>,
) {
    let told = Ends(ends.clone());
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(from));
        request.extensions_mut().insert(told.clone());
        router.clone().oneshot(request)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WAIT)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(stream, service)
        .with_upgrades();
    tokio::pin!(connection);
    // What a caller does to its own connection is nobody else's matter.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = ends.changed() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(DRAIN, connection).await;
}

/// Refuses a request whose headers are too large, and ends one that takes too long.
async fn bounded(
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> axum::response::Response {
    // The connection reads a little more than it says, if that comes at once.
    if head_bytes(&request) > HEADER_BYTES_MAX {
        let status = axum::http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return axum::response::IntoResponse::into_response(status);
    }
    match timeout(REQUEST_WAIT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            axum::response::IntoResponse::into_response(axum::http::StatusCode::SERVICE_UNAVAILABLE)
        }
    }
}

/// Returns the bytes of the line and the headers of a request, as they came.
fn head_bytes(request: &axum::extract::Request) -> usize {
    // A space, a colon, and the end of the line.
    const AROUND: usize = 4;
    let address = request.uri().path_and_query().map_or(0, |it| it.as_str().len());
    let headers =
        request.headers().iter().map(|(name, it)| name.as_str().len() + it.len() + AROUND);
    address + headers.sum::<usize>()
}
