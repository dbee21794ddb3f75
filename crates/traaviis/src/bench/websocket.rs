//! A client of sockets that costs next to nothing: it opens one, joins a topic, and tells what it
//! hears.
//!
//! It reads of a frame only what a measurement needs, so that both cores are left to the server.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// Longest head of an answer to the request for a socket.
const HEAD_BYTES_MAX: usize = 8 << 10;
/// What ends a head.
const HEAD_END: &[u8] = b"\r\n\r\n";
/// A heartbeat, as clients of the protocol send it.
pub const HEARTBEAT: &str = r#"[null,"h","phoenix","heartbeat",{}]"#;

/// What a server sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A frame of text.
    Text(Vec<u8>),
    /// The socket is closed, with a code unless the connection just ended.
    Closed(Option<u16>),
}

/// The writing half of a socket.
#[derive(Debug)]
pub struct Speaker(OwnedWriteHalf);

/// The reading half.
#[derive(Debug)]
pub struct Listener {
    stream: OwnedReadHalf,
    /// What was read and not used.
    buffer: Vec<u8>,
}

/// Opens a socket for who shows a token.
pub async fn open(address: SocketAddr, token: &str) -> io::Result<(Speaker, Listener)> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    // The key is the one of the standard's example; nobody in between is to be told apart.
    let head = format!(
        "GET /socket/websocket?vsn=2.0.0 HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let mut buffer = Vec::with_capacity(512);
    let end = loop {
        if let Some(at) = buffer.windows(HEAD_END.len()).position(|it| it == HEAD_END) {
            break at + HEAD_END.len();
        }
        if buffer.len() > HEAD_BYTES_MAX || stream.read_buf(&mut buffer).await? == 0 {
            return Err(io::Error::other("the head of an answer does not end"));
        }
    };
    if !buffer.starts_with(b"HTTP/1.1 101") {
        let told = String::from_utf8_lossy(&buffer[..end.min(64)]).into_owned();
        return Err(io::Error::other(format!("no socket: {told}")));
    }
    buffer.drain(..end);
    let (stream, writes) = stream.into_split();
    Ok((Speaker(writes), Listener { stream, buffer }))
}

impl Speaker {
    /// Sends a frame of text.
    pub async fn say(&mut self, text: &str) -> io::Result<()> {
        let length = text.len();
        let mut frame = vec![0x81];
        match u16::try_from(length) {
            Ok(length) if length < 126 => frame.push(0x80 | length as u8),
            Ok(length) => {
                frame.push(0x80 | 126);
                frame.extend(length.to_be_bytes());
            }
            Err(_) => {
                frame.push(0x80 | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        // A client masks what it sends; a mask of zeros leaves it as it is.
        frame.extend([0; 4]);
        frame.extend(text.as_bytes());
        self.0.write_all(&frame).await
    }

    /// Joins a topic.
    pub async fn join(&mut self, topic: &str) -> io::Result<()> {
        self.say(&format!(r#"["1","1","{topic}","phx_join",{{}}]"#)).await
    }
}

impl Listener {
    /// Returns what is heard next.
    pub async fn next(&mut self) -> io::Result<Heard> {
        loop {
            if let Some((code, payload, rest)) = frame(&self.buffer) {
                let heard = match code {
                    1 => Some(Heard::Text(payload.to_vec())),
                    8 => {
                        let code = payload.first_chunk().map(|it| u16::from_be_bytes(*it));
                        Some(Heard::Closed(code))
                    }
                    _ => None,
                };
                self.buffer.drain(..rest);
                if let Some(heard) = heard {
                    return Ok(heard);
                }
                continue;
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(Heard::Closed(None));
            }
        }
    }
}

/// Returns the first frame of what was read, whole: its kind, its payload, and where it ends.
fn frame(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let [first, second, more @ ..] = bytes else { return None };
    let (length, head) = match second & 0x7f {
        126 => (usize::from(u16::from_be_bytes(*more.first_chunk()?)), 4),
        127 => (usize::try_from(u64::from_be_bytes(*more.first_chunk()?)).ok()?, 10),
        short => (usize::from(short), 2),
    };
    let end = head + length;
    Some((first & 0x0f, bytes.get(head..end)?, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_whole_only() {
        let mut bytes = vec![0x81, 2, b'h', b'i', 0x88, 2, 0x0f, 0xa1];
        assert_eq!(frame(&bytes), Some((1, b"hi".as_slice(), 4)));
        assert_eq!(frame(&bytes[4..]), Some((8, 4001_u16.to_be_bytes().as_slice(), 4)));
        assert_eq!(frame(&bytes[..3]), None);
        bytes = [&[0x81, 126, 1, 0][..], &[b'x'; 256]].concat();
        assert_eq!(frame(&bytes).map(|it| it.2), Some(260));
        assert_eq!(frame(&bytes[..259]), None);
    }
}
