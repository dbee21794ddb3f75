//! Sockets of a served directory, spoken by hand: how one begins, what is asked, what is heard, and
//! how it ends.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use serde_json::{Value as Json, json};

use crate::server::Server;

/// Longest wait for a frame.
const WAIT: Duration = Duration::from_secs(30);

/// A socket.
pub struct Channel {
    /// For what no client sends.
    pub stream: TcpStream,
    bytes: Vec<u8>,
    /// Frames that were read while something else was waited for.
    pub heard: VecDeque<Json>,
    last: u32,
}

/// What a server sends.
#[derive(Debug)]
pub enum Told {
    Frame(Json),
    Closed(u16),
    Gone,
}

impl Channel {
    pub fn open(server: &Server, token: &str) -> Channel {
        let mut stream = TcpStream::connect(&server.address).unwrap();
        stream.set_read_timeout(Some(WAIT)).unwrap();
        write!(
            stream,
            "GET /socket/websocket?vsn=2.0.0 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {token}\r\n\r\n"
        )
        .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        Channel { stream, bytes: Vec::new(), heard: VecDeque::new(), last: 0 }
    }

    /// Sends a text, masked with zeros, which changes nothing of it.
    pub fn say(&mut self, text: &str) {
        self.stream.write_all(&framed(text)).unwrap();
    }

    /// Returns a frame that asks for something, and its reference.
    fn asking(&mut self, topic: &str, event: &str, payload: &Json) -> (String, String) {
        self.last += 1;
        let reference = self.last.to_string();
        (json!(["1", reference, topic, event, payload]).to_string(), reference)
    }

    /// Asks for something; returns the status and the answer.
    pub fn ask(&mut self, topic: &str, event: &str, payload: Json) -> (String, Json) {
        let (text, reference) = self.asking(topic, event, &payload);
        self.say(&text);
        let frame = self.until(|it| it[3] == "phx_reply" && it[1] == *reference);
        (frame[4]["status"].as_str().unwrap().to_owned(), frame[4]["response"].clone())
    }

    /// Asks for something that must be granted.
    pub fn granted(&mut self, topic: &str, event: &str, payload: Json) -> Json {
        let (status, answer) = self.ask(topic, event, payload);
        assert_eq!(status, "ok", "{topic} {event}: {answer}");
        answer
    }

    /// Asks for something that must be refused; returns the reason and the code.
    pub fn refused(&mut self, topic: &str, event: &str, payload: Json) -> (String, String) {
        let (status, answer) = self.ask(topic, event, payload);
        assert_eq!(status, "error", "{topic} {event}: {answer}");
        let word = |key: &str| answer[key].as_str().unwrap().to_owned();
        assert!(!word("message").is_empty() && !word("timestamp").is_empty());
        (word("reason"), word("code"))
    }

    pub fn join(&mut self, topic: &str) -> Json {
        self.granted(topic, "phx_join", json!({}))
    }

    /// Returns the payload of the next event of this name on a topic.
    pub fn next(&mut self, topic: &str, event: &str) -> Json {
        self.until(|it| it[2] == topic && it[3] == event)[4].clone()
    }

    /// Returns the first frame that fits; others are kept.
    pub fn until(&mut self, fits: impl Fn(&Json) -> bool) -> Json {
        if let Some(at) = self.heard.iter().position(&fits) {
            return self.heard.remove(at).unwrap();
        }
        loop {
            match self.read() {
                Told::Frame(frame) if fits(&frame) => return frame,
                Told::Frame(frame) => self.heard.push_back(frame),
                end => panic!("{end:?} after {:?}", self.heard),
            }
        }
    }

    /// Reads to the end; returns the code that it was closed with.
    pub fn closed(&mut self) -> u16 {
        loop {
            match self.read() {
                Told::Closed(code) => return code,
                Told::Gone => panic!("the connection ended without a word"),
                Told::Frame(frame) => self.heard.push_back(frame),
            }
        }
    }

    /// Reads what comes next.
    pub fn read(&mut self) -> Told {
        loop {
            if let Some((kind, payload, rest)) = frame(&self.bytes) {
                let told = match kind {
                    1 => Some(Told::Frame(serde_json::from_slice(payload).unwrap())),
                    8 => {
                        let code = payload.first_chunk().map(|it| u16::from_be_bytes(*it));
                        Some(Told::Closed(code.unwrap_or(0)))
                    }
                    _ => None,
                };
                self.bytes.drain(..rest);
                match told {
                    Some(told) => return told,
                    None => continue,
                }
            }
            let mut some = [0; 16 << 10];
            match self.stream.read(&mut some) {
                Ok(0) => return Told::Gone,
                Ok(count) => self.bytes.extend(&some[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Told::Gone,
                Err(error) => panic!("{error} after {:?}", self.heard),
            }
        }
    }
}

pub fn framed(text: &str) -> Vec<u8> {
    let mut bytes = vec![0x81];
    match text.len() {
        short @ 0..126 => bytes.push(0x80 | short as u8),
        middle @ 126..65_536 => {
            bytes.push(0x80 | 126);
            bytes.extend((middle as u16).to_be_bytes());
        }
        long => {
            bytes.push(0x80 | 127);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(text.as_bytes());
    bytes
}

/// Returns the first whole frame: its kind, its payload, and where it ends.
fn frame(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let [first, second, more @ ..] = bytes else { return None };
    let (length, head) = match second & 0x7f {
        126 => (usize::from(u16::from_be_bytes(*more.first_chunk()?)), 4),
        127 => (u64::from_be_bytes(*more.first_chunk()?) as usize, 10),
        short => (usize::from(short), 2),
    };
    let end = head + length;
    Some((first & 0x0f, bytes.get(head..end)?, end))
}
