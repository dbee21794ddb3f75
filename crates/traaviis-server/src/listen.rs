//! Sockets and their limits: how long a caller may take, and how many there may be.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{ConnectInfo, Request},
    response::Response,
};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinHandle,
    time::timeout,
};
use traaviis_platform::Error;
use uuid::Uuid;

use crate::{front::Front, routes::refuse};

/// Longest wait for the headers of a request; slower ones are attacks or broken.
const HEADERS_WAIT: Duration = Duration::from_secs(10);
/// Longest life of one request, its answer included: waits of callers end before.
const REQUEST_WAIT: Duration = Duration::from_secs(90);
/// Bytes of the headers of a request.
const HEADER_BYTES_MAX: usize = 32 << 10;
/// Bytes that are read beyond them, so that most who send too many are told what is wrong; who
/// sends still more, or what is no HTTP, gets the bare status of the library below, which reads no
/// further and lets nobody else write the answer.
const HEADER_BYTES_MORE: usize = 8 << 10;
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

/// An address that is taken, at which nobody is answered yet.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

impl Bound {
    /// Takes an address; port 0 takes any free one.
    pub async fn at(address: SocketAddr) -> io::Result<Bound> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Bound { listener, address })
    }

    /// Returns the address, with its true port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers from now on. It is called inside of a runtime.
    pub fn serve(self, front: Front) -> Listening {
        let Bound { listener, address } = self;
        let (end, ends) = watch::channel(false);
        let task = tokio::spawn(accept(listener, front, ends));
        Listening { address, end, task }
    }
}

/// Listens on an address; port 0 takes any free one.
pub async fn listen(address: SocketAddr, front: Front) -> io::Result<Listening> {
    Ok(Bound::at(address).await?.serve(front))
}

async fn accept(listener: TcpListener, front: Front, mut ends: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
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
        let (front, ends) = (front.clone(), ends.clone());
        tokio::spawn(async move {
            converse(TokioIo::new(stream), from, front, ends).await;
            drop(place);
        });
    }
    let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
    let _ = timeout(DRAIN, places.acquire_many(all)).await;
}

async fn converse(
    stream: TokioIo<tokio::net::TcpStream>,
    from: SocketAddr,
    front: Front,
    mut ends: watch::Receiver<bool>,
) {
    let told = Ends(ends.clone());
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(from));
        request.extensions_mut().insert(told.clone());
        answered(front.clone(), request)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WAIT)
        .max_buf_size(HEADER_BYTES_MAX + HEADER_BYTES_MORE)
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

/// Answers a request, unless its headers are too large or it takes too long.
async fn answered(front: Front, request: Request) -> Result<Response, Infallible> {
    let response = match head_bytes(&request) > HEADER_BYTES_MAX {
        true => {
            let bytes = HEADER_BYTES_MAX;
            let message = format!("the address and the headers have more than {bytes} bytes");
            let error = Error::new("headers_too_large", message);
            refuse(&error, request.uri().path(), &Uuid::now_v7().to_string())
        }
        false => {
            let asked = request.uri().clone();
            match timeout(REQUEST_WAIT, front.answer(request)).await {
                Ok(response) => return Ok(response),
                Err(_) => refuse(&overdue(), asked.path(), &Uuid::now_v7().to_string()),
            }
        }
    };
    Ok(front.dressed(response))
}

/// What is told when nothing else can be: that it was not done is not known.
fn overdue() -> Error {
    let message = format!(
        "there was no answer within {} seconds; what was asked for may have happened, so look \
         before you ask again",
        REQUEST_WAIT.as_secs()
    );
    Error::new("timeout", message)
}

/// Returns the bytes of the line and the headers of a request, as they came.
fn head_bytes(request: &Request) -> usize {
    // A space, a colon, and the end of the line.
    const AROUND: usize = 4;
    let address = request.uri().path_and_query().map_or(0, |it| it.as_str().len());
    let headers =
        request.headers().iter().map(|(name, it)| name.as_str().len() + it.len() + AROUND);
    address + headers.sum::<usize>()
}
