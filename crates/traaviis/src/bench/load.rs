//! A client that loads a server over HTTP/1.1: so many connections, each with one request on its
//! way, as callers that wait for their answers.
//!
//! It reads of an answer only what it must, its status and its length, so that both cores are left
//! to the server.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

use crate::disk::percentile;

/// Longest head of an answer.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// What ends a head.
const HEAD_END: &[u8] = b"\r\n\r\n";

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Body.
    pub body: Vec<u8>,
}

/// One connection that is kept.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// What was read and not used.
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> io::Result<Connection> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, buffer: Vec::with_capacity(4 << 10) })
    }

    /// Sends a request and waits for its answer.
    pub async fn ask(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.stream.write_all(request).await?;
        let head = loop {
            let end = self.buffer.windows(HEAD_END.len()).position(|it| it == HEAD_END);
            if let Some(at) = end {
                break at + HEAD_END.len();
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                return Err(io::Error::other("the head of an answer does not end"));
            }
            self.read().await?;
        };
        let (status, length) = read_head(&self.buffer[..head])
            .ok_or_else(|| io::Error::other("an answer without status or length"))?;
        while self.buffer.len() < head + length {
            self.read().await?;
        }
        let body = self.buffer[head..head + length].to_vec();
        self.buffer.drain(..head + length);
        Ok(Answer { status, body })
    }

    async fn read(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

fn read_head(head: &[u8]) -> Option<(u16, usize)> {
    let mut lines = std::str::from_utf8(head).ok()?.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    // These have no body and say no length.
    Some((status, length.or((status == 204).then_some(0))?))
}

/// Writes a request.
pub fn request(method: &str, path: &str, token: &str, body: &str) -> Vec<u8> {
    let authorization = match token {
        "" => String::new(),
        token => format!("Authorization: Bearer {token}\r\n"),
    };
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{authorization}");
    let body = match method {
        "GET" => "\r\n".to_string(),
        _ => {
            let length = body.len();
            format!("Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
        }
    };
    (head + &body).into_bytes()
}

/// What a load came to.
#[derive(Clone, Debug)]
pub struct Speed {
    /// Units of work per second, each of so many requests.
    pub rate: f64,
    /// Half of them took at most this.
    pub p50: Duration,
    /// 95 of 100.
    pub p95: Duration,
    /// 99 of 100.
    pub p99: Duration,
}

/// A unit of work: requests that follow one another.
pub type Unit = Vec<Vec<u8>>;

/// Loads a server: connection `n` asks what `work(n)` gives, again and again, so long as `time`.
pub async fn drive(
    address: SocketAddr,
    connections: usize,
    time: Duration,
    work: impl Fn(usize) -> Vec<Unit>,
) -> io::Result<Speed> {
    let mut open = Vec::new();
    for at in 0..connections {
        open.push((Connection::open(address).await?, work(at)));
    }
    let begun = Instant::now();
    let until = begun + time;
    let mut tasks = JoinSet::new();
    for (mut connection, units) in open {
        tasks.spawn(async move {
            let mut times = Vec::new();
            'all: loop {
                for unit in &units {
                    let asked = Instant::now();
                    if asked >= until {
                        break 'all;
                    }
                    for request in unit {
                        let answer = connection.ask(request).await?;
                        if !(200..300).contains(&answer.status) {
                            let text = String::from_utf8_lossy(&answer.body).into_owned();
                            return Err(io::Error::other(format!("{}: {text}", answer.status)));
                        }
                    }
                    times.push(asked.elapsed());
                }
                if units.is_empty() {
                    break;
                }
            }
            Ok(times)
        });
    }
    let mut times = Vec::new();
    while let Some(task) = tasks.join_next().await {
        times.extend(task.map_err(io::Error::other)??);
    }
    let rate = times.len() as f64 / begun.elapsed().as_secs_f64();
    times.sort_unstable();
    let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|part| percentile(&times, part));
    Ok(Speed { rate, p50, p95, p99 })
}
