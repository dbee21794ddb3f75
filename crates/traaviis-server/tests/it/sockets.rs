//! Limits of sockets that take long, or much, to meet: here they are lower.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use tokio::runtime::Runtime;
use traaviis_server::{Listening, listen, socket::limits::SocketLimits};

use crate::world::World;

/// Asks for a socket; returns the connection and the status.
fn ask(address: SocketAddr, token: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(
        stream,
        "GET /socket/websocket?vsn=2.0.0&token={token} HTTP/1.1\r\nHost: x\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let status = String::from_utf8(head[9..12].to_vec()).unwrap();
    (stream, status)
}

/// Serves; it ends when what is returned first is dropped.
fn serve(limits: SocketLimits) -> ((Runtime, Listening), World, SocketAddr) {
    let world = World::with(|app| app.with_sockets(limits));
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    let free = "127.0.0.1:0".parse().unwrap();
    let listening = runtime.block_on(listen(free, world.router())).unwrap();
    let address = listening.address;
    ((runtime, listening), world, address)
}

#[test]
fn a_socket_that_is_silent_is_closed_and_one_that_beats_is_not() {
    let silence = Duration::from_millis(1_500);
    let (_served, world, address) = serve(SocketLimits { silence, ..SocketLimits::default() });
    let (token, _) = world.register("ada@example.org");
    let begun = Instant::now();
    let (mut silent, mut beating) = (ask(address, &token).0, ask(address, &token).0);
    let text = br#"[null,"1","phoenix","heartbeat",{}]"#;
    let beat = [&[0x81, 0x80 | text.len() as u8, 0, 0, 0, 0][..], text].concat();
    let beats = std::thread::spawn(move || {
        while begun.elapsed() < 2 * silence {
            beating.write_all(&beat).unwrap();
            let mut head = [0; 2];
            beating.read_exact(&mut head).unwrap();
            assert_eq!(head[0], 0x81, "it is answered, not closed");
            let mut reply = vec![0; usize::from(head[1])];
            beating.read_exact(&mut reply).unwrap();
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let mut rest = Vec::new();
    silent.read_to_end(&mut rest).unwrap();
    assert!(begun.elapsed() >= silence, "{:?}", begun.elapsed());
    assert_eq!(rest[..4], [&[0x88, rest[1]][..], &1_000_u16.to_be_bytes()].concat());
    beats.join().unwrap();
}

#[test]
fn so_many_sockets_and_no_more_until_one_is_gone() {
    let (_served, world, address) = serve(SocketLimits { sockets: 2, ..SocketLimits::default() });
    let (token, _) = world.register("ada@example.org");
    let ask = || ask(address, &token);
    let (one, two) = (ask(), ask());
    assert_eq!((&*one.1, &*two.1, &*ask().1), ("101", "101", "503"));
    drop(one);
    let begun = Instant::now();
    while ask().1 != "101" {
        assert!(begun.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(10));
    }
    let counts = world.metrics();
    assert!(counts.contains("\ntraaviis_socket_refused_total "), "{counts}");
}

#[test]
fn somebody_who_opens_too_many_leaves_places_for_others() {
    let limits = SocketLimits { of_tenant: 3, of_caller: 2, ..SocketLimits::default() };
    let (_served, world, address) = serve(limits);
    let (ada, _) = world.register("ada@example.org");
    let (eve, _) = world.register("eve@example.org");
    let ask = |token: &str| ask(address, token);
    let held = [ask(&ada), ask(&ada)];
    assert_eq!(held.each_ref().map(|it| &*it.1), ["101", "101"]);
    assert_eq!((&*ask(&ada).1, &*ask(&eve).1), ("429", "101"));
}

#[test]
fn who_shows_no_good_token_gets_no_socket() {
    let (_served, world, address) = serve(SocketLimits::default());
    let (token, _) = world.register("ada@example.org");
    assert_eq!(ask(address, &token).1, "101");
    for bad in ["", "x", &token[..token.len() - 2]] {
        assert_eq!(ask(address, bad).1, "403", "{bad}");
    }
}
