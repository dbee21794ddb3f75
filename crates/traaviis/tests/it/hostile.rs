//! What nobody should send, sent to a served directory: each is refused with a code, and whoever
//! asks for something good meanwhile is answered as always.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::{Value as Json, json};

use crate::{
    cli::{DOOR, World},
    server::{PASSWORD, Server, Told},
};

/// Somebody who does nothing wrong, all the time.
struct Watchdog {
    ends: Arc<AtomicBool>,
    thread: JoinHandle<(usize, Duration)>,
}

impl Watchdog {
    fn begin(address: &str, token: &str) -> Watchdog {
        let ends = Arc::new(AtomicBool::new(false));
        let (address, token, over) = (address.to_owned(), token.to_owned(), Arc::clone(&ends));
        let thread = thread::spawn(move || {
            let (mut count, mut slowest) = (0, Duration::ZERO);
            while !over.load(Ordering::SeqCst) || count < 20 {
                let since = Instant::now();
                let request = format!(
                    "GET /api/v1/me HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                     authorization: Bearer {token}\r\n\r\n"
                );
                let told = send(&address, request.as_bytes());
                assert!(told.starts_with("HTTP/1.1 200"), "after {count}: {told}");
                slowest = slowest.max(since.elapsed());
                count += 1;
                thread::sleep(Duration::from_millis(10));
            }
            (count, slowest)
        });
        Watchdog { ends, thread }
    }

    /// Ends it; it must have been answered all the time.
    fn end(self) {
        self.ends.store(true, Ordering::SeqCst);
        let (count, slowest) = self.thread.join().expect("the others were harmed");
        assert!(count >= 20, "{count}");
        // Password hashes and the machines of tests are slow; hanging is something else.
        assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    }
}

/// Sends octets and returns what comes back until the server closes.
fn send(address: &str, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // The server may have refused before it has read all.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => answer.extend(&piece[..read]),
            // A reset after the answer is the end, too.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("{error}: {}", String::from_utf8_lossy(&request[..80])),
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn status_of(told: &str) -> u16 {
    told.split(' ').nth(1).and_then(|it| it.parse().ok()).unwrap_or(0)
}

fn code_of(told: &str) -> String {
    let body = told.split_once("\r\n\r\n").map_or("", |it| it.1);
    let body: Json = serde_json::from_str(body).unwrap_or_default();
    body["code"].as_str().unwrap_or_default().to_owned()
}

struct Here {
    server: Server,
    token: String,
    _world: World,
}

fn here() -> Here {
    let world = World::new();
    let server = Server::serve(&world);
    let token = server.register("ada@example.org");
    server.publish(&token, "Door", DOOR);
    Here { server, token, _world: world }
}

impl Here {
    /// Sends a body as a type, and returns status and code.
    fn body(&self, path: &str, kind: &str, body: &[u8]) -> (u16, String) {
        let token = &self.token;
        let kind = if kind.is_empty() { String::new() } else { format!("{kind}\r\n") };
        let length = body.len();
        let head = format!(
            "POST /api/v1{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{kind}\
             authorization: Bearer {token}\r\ncontent-length: {length}\r\n\r\n"
        );
        let told = send(&self.server.address, &[head.as_bytes(), body].concat());
        (status_of(&told), code_of(&told))
    }
}

const JSON: &str = "content-type: application/json";

#[test]
fn bodies_that_are_none_are_refused_with_a_code() {
    let here = here();
    let watchdog = Watchdog::begin(&here.server.address, &here.token);
    let deep = |open: &str, count: usize| format!("{{\"workflow\":{}", open.repeat(count));
    let good = r#"{"workflow":"Door"}"#;
    let wide = format!("{{\"workflow\":\"{}\"}}", "x".repeat(1 << 20));
    let cases: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        (JSON, b"".to_vec(), 400, "bad_request"),
        (JSON, b" ".to_vec(), 400, "bad_request"),
        (JSON, b"{".to_vec(), 400, "bad_request"),
        (JSON, b"{]".to_vec(), 400, "bad_request"),
        (JSON, b"{\"workflow\":}".to_vec(), 400, "bad_request"),
        (JSON, b"{\"workflow\":\"Door\",}".to_vec(), 400, "bad_request"),
        (JSON, b"{'workflow':'Door'}".to_vec(), 400, "bad_request"),
        (JSON, b"{workflow:\"Door\"}".to_vec(), 400, "bad_request"),
        (JSON, b"{\"workflow\":\"Door\"} {}".to_vec(), 400, "bad_request"),
        (JSON, b"{\"workflow\":\"Door\"}x".to_vec(), 400, "bad_request"),
        (JSON, b"\xef\xbb\xbf{\"workflow\":\"Door\"}".to_vec(), 400, "bad_request"),
        (JSON, b"{\"workflow\":\"\xff\xfe\"}".to_vec(), 400, "bad_request"),
        (JSON, b"{\"workflow\":\"\xed\xa0\x80\"}".to_vec(), 400, "bad_request"),
        (JSON, b"{\"workflow\":\"\\ud800\"}".to_vec(), 400, "bad_request"),
        (JSON, b"{\"workflow\":\"a\nb\"}".to_vec(), 400, "bad_request"),
        (JSON, b"{\"workflow\":\"\\x41\"}".to_vec(), 400, "bad_request"),
        (JSON, b"{\"workflow\":NaN}".to_vec(), 400, "bad_request"),
        (JSON, b"{\"workflow\":Infinity}".to_vec(), 400, "bad_request"),
        (JSON, b"{\"workflow\":01}".to_vec(), 400, "bad_request"),
        (JSON, b"{\"workflow\":\"Door\",\"input\":{\"x\":1e999999}}".to_vec(), 400, "bad_request"),
        (JSON, b"/* */{\"workflow\":\"Door\"}".to_vec(), 400, "bad_request"),
        (JSON, b"\0\0\0\0".to_vec(), 400, "bad_request"),
        (JSON, vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0], 400, "bad_request"),
        (JSON, deep("[", 65).into_bytes(), 400, "bad_request"),
        (JSON, deep("{\"a\":", 100).into_bytes(), 400, "bad_request"),
        (JSON, deep("[", 10_000).into_bytes(), 400, "bad_request"),
        (JSON, deep("[", 900_000).into_bytes(), 400, "bad_request"),
        (JSON, deep("[{\"a\":", 90_000).into_bytes(), 400, "bad_request"),
        (JSON, b"null".to_vec(), 422, "validation_failed"),
        (JSON, b"7".to_vec(), 422, "validation_failed"),
        (JSON, b"[]".to_vec(), 422, "validation_failed"),
        (JSON, b"[\"Door\"]".to_vec(), 422, "validation_failed"),
        (JSON, b"\"Door\"".to_vec(), 422, "validation_failed"),
        (JSON, b"{}".to_vec(), 422, "validation_failed"),
        (JSON, b"{\"workflow\":null}".to_vec(), 422, "validation_failed"),
        (JSON, b"{\"workflow\":7}".to_vec(), 422, "validation_failed"),
        (JSON, b"{\"workflow\":[\"Door\"]}".to_vec(), 422, "validation_failed"),
        (JSON, b"{\"workflow\":\"Door\",\"tags\":{}}".to_vec(), 422, "validation_failed"),
        (JSON, b"{\"workflow\":\"Door\",\"workflow\":\"x\"}".to_vec(), 422, "validation_failed"),
        (JSON, b"{\"workflow\":\"Door\",\"id\":\"..\"}".to_vec(), 422, "validation_failed"),
        (JSON, b"{\"workflow\":\"Door\",\"tenant_id\":\"x\"}".to_vec(), 422, "unknown_field"),
        (JSON, b"{\"workflow\":\"Door\",\"by\":\"user:root\"}".to_vec(), 422, "unknown_field"),
        (JSON, b"{\"Workflow\":\"Door\"}".to_vec(), 422, "unknown_field"),
        (JSON, b"{\"workflow\":\"Door\",\"__proto__\":{}}".to_vec(), 422, "unknown_field"),
        (JSON, wide.clone().into_bytes(), 413, "payload_too_large"),
        (JSON, vec![b' '; 3 << 20], 413, "payload_too_large"),
        ("", good.into(), 415, "unsupported_media_type"),
        ("content-type: text/plain", good.into(), 415, "unsupported_media_type"),
        ("content-type: text/json", good.into(), 415, "unsupported_media_type"),
        ("content-type: application/xml", good.into(), 415, "unsupported_media_type"),
        ("content-type: application/jsonp", good.into(), 415, "unsupported_media_type"),
        (
            "content-type: multipart/form-data; boundary=x",
            good.into(),
            415,
            "unsupported_media_type",
        ),
        (
            "content-type: application/x-www-form-urlencoded",
            good.into(),
            415,
            "unsupported_media_type",
        ),
        (
            "content-type: application/json; charset=utf-16",
            good.into(),
            415,
            "unsupported_media_type",
        ),
        ("content-type: application/json, text/html", good.into(), 415, "unsupported_media_type"),
    ];
    assert!(cases.len() > 50, "{}", cases.len());
    for (kind, body, status, code) in cases {
        let told = here.body("/tenants/current/instances", kind, &body);
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        assert_eq!((told.0, &*told.1), (status, code), "{kind} {shown}");
    }
    let told = here.body("/tenants/current/instances", JSON, good.as_bytes());
    assert_eq!(told.0, 201, "the good one goes on");
    watchdog.end();
}

#[test]
fn requests_that_are_badly_framed_harm_nobody_else() {
    let here = here();
    let watchdog = Watchdog::begin(&here.server.address, &here.token);
    let token = &here.token;
    let get = |line: &str, more: &str| {
        format!(
            "{line}\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\n{more}\r\n"
        )
    };
    let me = "GET /api/v1/me HTTP/1.1";
    let post = "POST /api/v1/auth/login HTTP/1.1";
    let long = "x".repeat(40 << 10);
    let many = "x-a: b\r\n".repeat(500);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a header of 40 KiB", get(me, &format!("x-long: {long}\r\n")).into()),
        ("500 headers", get(me, &many).into()),
        ("an address of 40 KiB", get(&format!("GET /api/v1/{long} HTTP/1.1"), "").into()),
        ("a control character in a header", get(me, "x-a: b\0c\r\n").into()),
        ("a header without a name", get(me, ": b\r\n").into()),
        ("a space before the colon", get(me, "x-a : b\r\n").into()),
        ("a folded header", get(me, "x-a: b\r\n c\r\n").into()),
        ("two hosts", get(me, "host: y\r\n").into()),
        ("somebody in the host", get(me, "").replace("host: x", "host: a@b").into()),
        ("a path in the host", get(me, "").replace("host: x", "host: a/b").into()),
        ("no version", b"GET /api/v1/me\r\n\r\n".to_vec()),
        ("another version", get("GET /api/v1/me HTTP/3.0", "").into()),
        ("another protocol", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(20)),
        ("SSH", b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n\r\n".to_vec()),
        ("noise", (0..2_000_u32).map(|it| (it * 7 % 251) as u8).chain(*b"\r\n\r\n").collect()),
        ("a method that is none", get("G\u{e9}T /api/v1/me HTTP/1.1", "").into()),
        ("a method that nobody has", get("BREW /api/v1/me HTTP/1.1", "").into()),
        ("TRACE", get("TRACE /api/v1/me HTTP/1.1", "").into()),
        ("CONNECT", get("CONNECT 127.0.0.1:22 HTTP/1.1", "").into()),
        ("a negative length", get(post, "content-length: -1\r\n").into()),
        ("a length of letters", get(post, "content-length: x\r\n").into()),
        ("a length beyond numbers", get(post, "content-length: 99999999999999999999\r\n").into()),
        ("a length beyond limits", get(post, "content-length: 9999999999\r\n").into()),
        ("two lengths", get(post, "content-length: 1\r\ncontent-length: 2\r\n").into()),
        (
            "a length and pieces",
            get(post, "content-length: 4\r\ntransfer-encoding: chunked\r\n").into_bytes(),
        ),
        ("pieces of no size", (get(post, "transfer-encoding: chunked\r\n") + "zz\r\n").into()),
        (
            "a piece beyond numbers",
            (get(post, "transfer-encoding: chunked\r\n") + "fffffffffffffffff\r\n").into(),
        ),
        ("another coding", get(post, "transfer-encoding: gzip\r\n").into()),
        ("a piece that is never sent", get(post, "content-length: 9\r\n").into()),
    ];
    assert!(cases.len() >= 30, "{}", cases.len());
    for (what, request) in &cases {
        let mut stream = TcpStream::connect(&here.server.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let _ = stream.write_all(request);
        // Whoever waits for more is told that there is no more.
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        // Closed, or refused.
        let status = status_of(&answer);
        assert!(answer.is_empty() || (400..500).contains(&status), "{what}: {answer}");
    }
    let good = send(&here.server.address, get(me, "").as_bytes());
    assert_eq!(status_of(&good), 200, "{good}");
    watchdog.end();
}

/// Ways of writing an id that leads elsewhere.
const SPELLINGS: &[&str] = &[
    "..",
    ".",
    "%2e%2e",
    "%2E%2E",
    "%2e",
    "..%2f",
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e%2fetc",
    "..%5c..%5cwindows",
    "..%c0%af",
    "%c0%ae%c0%ae",
    "%252e%252e%252f",
    "....%2f%2f",
    "..;",
    "..%00",
    "%00",
    "x%00.json",
    "%0a",
    "%0d%0aset-cookie:x=y",
    "%20",
    "%20x",
    "x%20",
    "%09",
    "~",
    "~root",
    "$HOME",
    "%24%7Bx%7D",
    "%7B%7Bx%7D%7D",
    "*",
    "%3f",
    "%23",
    "%25",
    "%",
    "%zz",
    "C:",
    "C:%5cx",
    "%2fetc%2fpasswd",
    "file:%2f%2f%2fetc%2fpasswd",
    "http:%2f%2f127.0.0.1",
    "con",
    "nul",
    "-",
    "--help",
    "-1",
    "0",
    "null",
    "undefined",
    "true",
    "[]",
    "{}",
    "'",
    "\"",
    "';--",
    "1%20or%201=1",
    "%3Cscript%3E",
    "%E2%80%AE",
    "%EF%BC%8E%EF%BC%8E",
    "%F0%9F%92%A9",
    "0198C51A-7800-7ABC-8000-0123456789AB",
    "%7B0198c51a-7800-7abc-8000-0123456789ab%7D",
    "urn:uuid:0198c51a-7800-7abc-8000-0123456789ab",
    "0198c51a78007abc80000123456789ab",
    "0198c51a-7800-7abc-8000-0123456789ab%00",
    "0198c51a-7800-7abc-8000-0123456789ab%20",
];

#[test]
fn no_spelling_of_an_id_leads_anywhere() {
    let here = here();
    let watchdog = Watchdog::begin(&here.server.address, &here.token);
    assert!(SPELLINGS.len() >= 60, "{}", SPELLINGS.len());
    let long = "a".repeat(5_000);
    for path in [
        "/tenants/{}",
        "/tenants/current/instances/{}",
        "/tenants/current/instances/{}/events",
        "/tenants/current/workflows/{}",
        "/tenants/current/workflows/{}/versions",
        "/tenants/current/workflows/Door/versions/{}",
        "/tenants/current/secrets/{}",
        "/tenants/current/members/{}",
        "/tenants/current/schedules/{}",
        "/tenants/current/jobs/{}",
        "/auth/oidc/{}/start",
    ] {
        for spelling in SPELLINGS.iter().chain(&[long.as_str()]) {
            let told = here.server.get(&here.token, &path.replace("{}", spelling));
            // What is no request at all is refused without a problem.
            let is_told = !told.code().is_empty() || told.head.contains("content-length: 0");
            assert!((400..500).contains(&told.status) && is_told, "{path} {spelling}: {told:?}");
            let text = told.body.to_string();
            assert!(!text.contains("root:x:0") && !told.head.contains("set-cookie"), "{told:?}");
        }
    }
    watchdog.end();
}

#[test]
fn keys_tokens_origins_and_hosts_of_others_open_nothing() {
    let here = here();
    let Here { server, token, .. } = &here;
    let start = |who: &str, key: &str, body: Json| {
        let more = format!("idempotency-key: {key}\r\n");
        server.call_with(who, "POST", "/tenants/current/instances", &more, body)
    };
    let first = start(token, "k1", json!({ "workflow": "Door" }));
    assert_eq!(first.status, 201, "{first:?}");
    let again = start(token, "k1", json!({ "workflow": "Door" }));
    assert_eq!((again.status, again.text("/id")), (201, first.text("/id")), "the same answer");
    let other = start(token, "k1", json!({ "workflow": "Door", "tags": ["x"] }));
    assert_eq!((other.status, other.code()), (422, "idempotency_key_reused"));
    let eve = server.register("eve@example.org");
    let theirs = start(&eve, "k1", json!({ "workflow": "Door" }));
    assert_eq!(theirs.status, 404, "the answer of somebody else is not told: {theirs:?}");
    for key in ["", &"x".repeat(129)] {
        let told = start(token, key, json!({ "workflow": "Door" }));
        assert_eq!((told.status, told.code()), (422, "validation_failed"), "{key}");
    }
    // The same person, acting in another tenant: what was answered in the first is not told there.
    let made = server.call(token, "POST", "/tenants", json!({ "name": "Other", "slug": "other" }));
    assert_eq!(made.status, 201, "{made:?}");
    let switched = server.call(token, "POST", "/auth/switch", json!({ "tenant": "other" }));
    let elsewhere = start(&switched.text("/access_token"), "k1", json!({ "workflow": "Door" }));
    assert_eq!(elsewhere.status, 404, "{elsewhere:?}");

    // Each kind of token where another is asked for.
    let login = json!({ "email": "ada@example.org", "password": PASSWORD });
    let logged_in = server.call("", "POST", "/auth/login", login);
    let (access, refresh) = (logged_in.text("/access_token"), logged_in.text("/refresh_token"));
    let access_of = |told: &Told| told.text("/access_token");
    let ticket = server.call(&access, "POST", "/auth/socket-ticket", Json::Null).text("/ticket");
    let invited = server.post(
        token,
        "/invitations",
        json!({
            "email": "bob@example.org", "role": "viewer",
        }),
    );
    let invitation = invited.text("/token");
    let key = json!({ "name": "r", "scopes": ["workflow_monitor"] });
    let key = server.post(token, "/api-keys", key).text("/key");
    assert!([&refresh, &ticket, &invitation, &key].iter().all(|it| it.len() > 40));
    for wrong in [&refresh, &ticket, &invitation, &format!("{key}x"), &key[..key.len() - 1].into()]
    {
        let told = server.get(wrong, "/me");
        assert_eq!((told.status, told.code()), (401, "invalid_token"), "{wrong}");
    }
    assert_eq!(server.get(&key, "/me").code(), "forbidden", "a key is nobody's session");
    for wrong in [&access, &ticket, &invitation, &key] {
        let told = server.call("", "POST", "/auth/refresh", json!({ "refresh_token": wrong }));
        assert_eq!((told.status, told.code()), (401, "invalid_token"), "{wrong}");
        let body = json!({ "token": wrong, "password": "another horse battery" });
        let told = server.call("", "POST", "/auth/reset/confirm", body);
        assert_eq!(told.status, 401, "{told:?}");
    }
    assert!(access_of(&logged_in).len() > 100);

    for origin in [
        "https://evil.example",
        "http://evil.example",
        "null",
        "https://x.evil.example",
        "file://",
        "http://localhost",
        "http://127.0.0.1",
        "https://x",
        "https://x:443",
        "http://x.evil.example",
        "chrome-extension://abc",
        "https://evil.example/x",
    ] {
        for (method, path) in [("GET", "/me"), ("POST", "/auth/login"), ("OPTIONS", "/me")] {
            let more = format!("origin: {origin}\r\naccess-control-request-method: POST\r\n");
            let told = server.call_with(token, method, path, &more, Json::Null);
            let head = told.head.to_lowercase();
            assert!(!head.contains("access-control-"), "{origin}: {head}");
        }
        if !origin.starts_with("http://x") && !origin.starts_with("https://x") {
            let request = upgrade(token, &format!("origin: {origin}\r\n"));
            // Nobody reads to the end: the connection is good for another request.
            let mut stream = TcpStream::connect(&server.address).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut head = [0; 12];
            stream.read_exact(&mut head).unwrap();
            assert_eq!(&head, b"HTTP/1.1 403", "{origin}");
        }
    }
}

#[test]
fn a_server_that_has_a_name_answers_to_no_other() {
    let world = World::new();
    let server = Server::with(&world, &["--base-url", "https://flows.example.org"], &[]);
    let ask = |host: &str| {
        let request = format!("GET /health HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let told = send(&server.address, request.as_bytes());
        assert!(!told.contains("evil.example"), "{told}");
        (status_of(&told), code_of(&told))
    };
    for good in ["flows.example.org", "flows.example.org:443", "127.0.0.1", "localhost:4000"] {
        assert_eq!(ask(good).0, 200, "{good}");
    }
    for bad in ["evil.example", "flows.example.org.evil.example", "a.localhost", "metadata"] {
        assert_eq!(ask(bad), (421, "wrong_host".into()), "{bad}");
    }
}

/// A request for a socket.
fn upgrade(token: &str, more: &str) -> String {
    format!(
        "GET /socket/websocket?vsn=2.0.0 HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-version: 13\r\n{more}\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nauthorization: Bearer {token}\r\n\r\n"
    )
}

/// A frame as a client masks it, with the first two octets as given.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..=125 => frame.push(0x80 | short as u8),
        long => {
            frame.push(0x80 | 126);
            frame.extend((long as u16).to_be_bytes());
        }
    }
    frame.extend([1, 2, 3, 4]);
    frame.extend(payload.iter().enumerate().map(|(at, it)| it ^ [1, 2, 3, 4][at % 4]));
    frame
}

#[test]
fn sockets_with_broken_frames_are_closed_and_others_are_not() {
    let here = here();
    let watchdog = Watchdog::begin(&here.server.address, &here.token);
    let join = br#"["1","1","phoenix","heartbeat",{}]"#;
    let open = || {
        let mut stream = TcpStream::connect(&here.server.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(upgrade(&here.token, "").as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut octet = [0];
            stream.read_exact(&mut octet).unwrap();
            head.push(octet[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        stream
    };
    let mut quiet = open();
    let big = vec![b'x'; 65_535];
    let mut huge = vec![0x81, 0x80 | 127];
    huge.extend(u64::MAX.to_be_bytes());
    huge.extend([1, 2, 3, 4]);
    let mut large = vec![0x81, 0x80 | 127];
    large.extend((1_u64 << 40).to_be_bytes());
    large.extend([1, 2, 3, 4]);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("not masked", [&[0x81, join.len() as u8][..], join].concat()),
        ("a reserved bit", frame(0xc1, join)),
        ("another reserved bit", frame(0xa1, join)),
        ("the third reserved bit", frame(0x91, join)),
        ("a kind that is none", frame(0x83, join)),
        ("a control kind that is none", frame(0x8b, join)),
        ("a control frame in parts", frame(0x09, b"x")),
        ("a control frame that is too long", frame(0x89, &[b'x'; 126])),
        ("going on with nothing", frame(0x80, join)),
        ("a beginning within a message", [frame(0x01, b"["), frame(0x81, join)].concat()),
        ("a length of all", huge),
        ("a length of a terabyte", large),
        ("more than a message has", frame(0x81, &big).repeat(2)),
        ("a message in many parts", {
            // Twice what a frame has is read, to tell its sender.
            let parts = frame(0x00, &[b'x'; 10_000]).repeat(14);
            [frame(0x01, b"["), parts].concat()
        }),
        ("octets that are no text", frame(0x81, b"\xff\xfe\xfd")),
        ("a text cut in a letter", [frame(0x01, b"\xe2\x82"), frame(0x80, b"x")].concat()),
        ("octets", frame(0x82, join)),
        ("no JSON", frame(0x81, b"hello")),
        ("an empty text", frame(0x81, b"")),
        ("an object", frame(0x81, br#"{"topic":"x"}"#)),
        ("four parts", frame(0x81, br#"["1","1","phoenix","heartbeat"]"#)),
        ("six parts", frame(0x81, br#"["1","1","phoenix","heartbeat",{},{}]"#)),
        ("a number as topic", frame(0x81, br#"["1","1",7,"heartbeat",{}]"#)),
        ("a list as payload", frame(0x81, br#"["1","1","phoenix","heartbeat",[]]"#)),
        ("a deep payload", {
            let deep =
                format!(r#"["1","1","phoenix","x",{}{}]"#, "[".repeat(9_000), "]".repeat(9_000));
            frame(0x81, deep.as_bytes())
        }),
        ("a close of one octet", frame(0x88, b"x")),
        ("a close of a code that is none", frame(0x88, &[0x03, 0xe7])),
        ("a close that is no text", frame(0x88, &[0x03, 0xe8, 0xff])),
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
    ];
    assert!(cases.len() >= 28, "{}", cases.len());
    for (what, octets) in &cases {
        let mut stream = open();
        let _ = stream.write_all(octets);
        let mut rest = Vec::new();
        let since = Instant::now();
        let read = stream.read_to_end(&mut rest);
        let is_open = read.is_err_and(|it| it.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!is_open && since.elapsed() < Duration::from_secs(9), "{what}: {rest:?}");
    }
    quiet.write_all(&frame(0x81, join)).unwrap();
    let mut answer = [0; 2];
    quiet.read_exact(&mut answer).unwrap();
    assert_eq!(answer[0], 0x81, "the socket beside them is as it was");
    watchdog.end();
}

#[test]
fn whoever_sends_slowly_is_let_go_and_nobody_waits_for_them() {
    let here = here();
    let watchdog = Watchdog::begin(&here.server.address, &here.token);
    let token = &here.token;
    let head = format!("GET /api/v1/me HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n");
    let body = format!(
        "POST /api/v1/tenants/current/instances HTTP/1.1\r\nhost: x\r\n{JSON}\r\n\
         authorization: Bearer {token}\r\ncontent-length: 10000\r\n\r\n"
    );
    // Each goes on octet by octet: headers for 10 seconds at most, a body for 30.
    let slow = |begin: &str, piece: &'static str, most: u64| {
        let mut stream = TcpStream::connect(&here.server.address).unwrap();
        stream.write_all(begin.as_bytes()).unwrap();
        thread::spawn(move || {
            let since = Instant::now();
            stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            let mut answer = Vec::new();
            loop {
                let mut octets = [0; 1024];
                match stream.read(&mut octets) {
                    Ok(0) => break,
                    Ok(read) => answer.extend(&octets[..read]),
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(_) => break,
                }
                let _ = stream.write_all(piece.as_bytes());
                assert!(since.elapsed() < Duration::from_secs(most), "it is still held");
            }
            String::from_utf8_lossy(&answer).into_owned()
        })
    };
    let heads: Vec<_> = (0..200).map(|_| slow(&head, "x-a: b\r\n", 25)).collect();
    let bodies: Vec<_> = (0..50).map(|_| slow(&body, "x", 45)).collect();
    for it in heads {
        let told = it.join().unwrap();
        assert!(told.is_empty() || status_of(&told) == 408, "{told}");
    }
    for it in bodies {
        let told = it.join().unwrap();
        assert_eq!((status_of(&told), &*code_of(&told)), (408, "request_timeout"), "{told}");
    }
    watchdog.end();
}
