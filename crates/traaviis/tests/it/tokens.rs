//! Tokens that somebody has tampered with, shown to a served directory; and how soon rights that
//! were taken away are gone.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value as Json, json};
use sha2::Sha256;
use traaviis_model::value::base64;

use crate::{
    cli::World,
    server::{Server, Told},
};

/// Base64 as tokens have it.
fn encode(bytes: &[u8]) -> String {
    base64(bytes).replace('+', "-").replace('/', "_").trim_end_matches('=').to_owned()
}

fn decode(text: &str) -> Vec<u8> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::new());
    for letter in text.bytes() {
        let value = LETTERS.iter().position(|it| *it == letter).unwrap();
        bits = (bits << 6) | value as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

fn signed_with(secret: &[u8], head: &str, claims: &str) -> String {
    let message = format!("{}.{}", encode(head.as_bytes()), encode(claims.as_bytes()));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
    mac.update(message.as_bytes());
    format!("{message}.{}", encode(&mac.finalize().into_bytes()))
}

/// Tokens made of a good one, another good one and the public key, none of them good.
fn tampered(good: &str, other: &str, jwks: &Json, tenant: &str) -> Vec<(String, String)> {
    let parts: Vec<&str> = good.split('.').collect();
    let [head, claims, signature] = parts[..] else { panic!("{good}") };
    let strange: Vec<&str> = other.split('.').collect();
    let text = |it: &str| String::from_utf8(decode(it)).unwrap();
    let (head_text, claims_text) = (text(head), text(claims));
    let mut all: Vec<(String, String)> = Vec::new();
    let mut add = |what: String, token: String| all.push((what, token));
    // Algorithms, with no signature, the right one for the other text, and the public key's.
    let public = decode(jwks["keys"][0]["x"].as_str().unwrap());
    let x = jwks["keys"][0]["x"].as_str().unwrap();
    for alg in ["none", "None", "NONE", "nOnE", "HS256", "HS384", "HS512", "RS256", "ES256", ""] {
        let head_text = head_text.replace("EdDSA", alg);
        let head = encode(head_text.as_bytes());
        add(format!("{alg}, not signed"), format!("{head}.{claims}."));
        add(format!("{alg}, without the last part"), format!("{head}.{claims}"));
        add(format!("{alg}, the signature of before"), format!("{head}.{claims}.{signature}"));
        for secret in [&public[..], x.as_bytes(), b"", b"secret"] {
            let token = signed_with(secret, &head_text, &claims_text);
            add(format!("{alg}, signed with a secret"), token);
        }
    }
    for typ in ["JWT", "at+JWT", "id_token", "refresh", ""] {
        let head = encode(head_text.replace("at+jwt", typ).as_bytes());
        add(format!("type {typ}"), format!("{head}.{claims}.{signature}"));
    }
    let kid = jwks["keys"][0]["kid"].as_str().unwrap();
    for forged in [
        "",
        "other",
        "../../dev/null",
        "/dev/null",
        "' or '1'='1",
        "k\\u0000",
        "*",
        "http://127.0.0.1/k",
    ] {
        let head = encode(head_text.replace(kid, forged).as_bytes());
        add(format!("key {forged}"), format!("{head}.{claims}.{signature}"));
    }
    for more in [
        r#""jku":"http://127.0.0.1:1/jwks""#,
        r#""x5u":"http://127.0.0.1:1/x""#,
        r#""x5c":["x"]"#,
        r#""jwk":{"kty":"OKP","crv":"Ed25519","x":"AAAA"}"#,
        r#""crit":["exp"]"#,
        r#""b64":false"#,
        r#""zip":"DEF""#,
        r#""alg":"none""#,
        r#""kid":"other""#,
    ] {
        let head = encode(head_text.replacen('{', &format!("{{{more},"), 1).as_bytes());
        add(format!("header {more}"), format!("{head}.{claims}.{signature}"));
        add(format!("header {more}, not signed"), format!("{head}.{claims}."));
    }
    // Claims, one after the other, as somebody wants them.
    let claims_json: Json = serde_json::from_str(&claims_text).unwrap();
    for (name, value) in [
        ("iss", json!("https://evil.example")),
        ("aud", json!("other")),
        ("aud", json!(["traaviis"])),
        ("sub", json!("0198c51a-7800-7abc-8000-0123456789ab")),
        ("user_id", json!("0198c51a-7800-7abc-8000-0123456789ab")),
        ("sid", json!("0198c51a-7800-7abc-8000-0123456789ab")),
        ("tid", json!(tenant)),
        ("tid", Json::Null),
        ("only", json!(tenant)),
        ("platform_role", json!("platform_admin")),
        ("rv", json!(0)),
        ("rv", json!(u64::MAX)),
        ("iat", json!(0)),
        ("nbf", json!(0)),
        ("exp", json!(4_000_000_000_u64)),
        ("exp", json!("4000000000")),
        ("exp", json!(1e300)),
        ("exp", Json::Null),
        ("jti", json!("x")),
        ("admin", json!(true)),
    ] {
        let mut forged = claims_json.clone();
        forged[name] = value.clone();
        let forged = encode(forged.to_string().as_bytes());
        add(format!("{name} is {value}"), format!("{head}.{forged}.{signature}"));
    }
    let twice = claims_text.replacen('{', r#"{"exp":4000000000,"#, 1);
    let twice = encode(twice.as_bytes());
    add("a claim twice".into(), format!("{head}.{twice}.{signature}"));
    // Parts of two good ones.
    add("claims of another".into(), format!("{head}.{}.{signature}", strange[1]));
    add("signature of another".into(), format!("{head}.{claims}.{}", strange[2]));
    // The text itself.
    for cut in [1, 2, 10, signature.len() - 1, signature.len(), good.len() / 2, good.len() - 1] {
        add(format!("cut by {cut}"), good[..good.len() - cut].to_owned());
    }
    for at in (0..good.len()).step_by(17) {
        let mut bytes = good.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        add(format!("letter {at}"), String::from_utf8(bytes).unwrap());
    }
    for (what, token) in [
        ("doubled", format!("{good}{good}")),
        ("a fourth part", format!("{good}.{signature}")),
        ("padded", format!("{good}==")),
        ("with dots", format!(".{good}.")),
        ("upper case", good.to_uppercase()),
        ("quoted", format!("\"{good}\"")),
        ("in the alphabet of others", good.replace('-', "+").replace('_', "/") + "="),
        ("JSON in the open", format!("{head_text}.{claims_text}.{signature}")),
        ("nothing between dots", "..".into()),
        ("huge", format!("{head}.{}.{signature}", "A".repeat(20_000))),
        ("a long name", format!("{}.{claims}.{signature}", "A".repeat(4_000))),
    ] {
        add(what.into(), token);
    }
    all
}

#[test]
fn no_token_that_was_tampered_with_lets_anybody_in() {
    let world = World::new();
    let server = Server::serve(&world);
    let (ada, eve) = (server.register("ada@example.org"), server.register("eve@example.org"));
    let theirs = server.get(&eve, "/tenants/current").text("/id");
    let jwks = jwks_of(&server);
    let all = tampered(&ada, &eve, &jwks, &theirs);
    assert!(all.len() >= 150, "{}", all.len());
    let mut asked = 0;
    for (what, token) in &all {
        let told = server.get(token, "/me");
        let is_refused =
            told.status == 401 && ["invalid_token", "not_authenticated"].contains(&told.code());
        // A header that is too long is no request at all.
        assert!(is_refused || told.status == 431, "{what}: {told:?}");
        asked += 1;
        if asked % 5 == 0 {
            let told = server.get(token, &format!("/tenants/{theirs}/members"));
            assert!(told.status == 401 || told.status == 431, "{what}: {told:?}");
            let socket = opened(&server, token).1;
            assert!(
                socket.starts_with("HTTP/1.1 403") || socket.contains(" 431 "),
                "{what}: {socket}"
            );
        }
    }
    println!("{} tokens that were tampered with, 0 taken", all.len());
    assert_eq!(server.get(&ada, "/me").status, 200, "the good one goes on");
}

fn jwks_of(server: &Server) -> Json {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    let request = "GET /.well-known/jwks.json HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    crate::server::read(stream).body
}

#[test]
fn a_refresh_token_that_was_used_up_ends_all_that_came_of_it() {
    let world = World::new();
    let server = Server::serve(&world);
    let body = json!({ "email": "ada@example.org", "password": crate::server::PASSWORD });
    let first = server.call("", "POST", "/auth/register", body);
    let refresh = |told: &Told| {
        let body = json!({ "refresh_token": told.text("/refresh_token") });
        server.call("", "POST", "/auth/refresh", body)
    };
    let second = refresh(&first);
    let third = refresh(&second);
    assert_eq!((second.status, third.status), (200, 200), "{third:?}");
    let (mut socket, head) = opened(&server, &third.text("/access_token"));
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    // The first was used twice ago: it comes from somebody else.
    let stolen = refresh(&first);
    assert_eq!((stolen.status, stolen.code()), (401, "invalid_token"));
    let since = Instant::now();
    assert_eq!(refresh(&third).status, 401, "the whole family is gone");
    for told in [&first, &second, &third] {
        let told = server.get(&told.text("/access_token"), "/me");
        assert_eq!((told.status, told.code()), (401, "session_expired"), "{told:?}");
    }
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest).unwrap();
    let took = since.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    let text = String::from_utf8_lossy(&rest);
    assert!(text.contains("session:revoked"), "{text}");
}

/// Asks for a socket; returns it with what was answered.
fn opened(server: &Server, token: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let request = format!(
        "GET /socket/websocket?vsn=2.0.0 HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nauthorization: Bearer {token}\r\n\r\n"
    );
    let _ = stream.write_all(request.as_bytes());
    let mut head = Vec::new();
    let mut octet = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut octet).is_ok_and(|it| it == 1) {
        head.push(octet[0]);
    }
    (stream, String::from_utf8_lossy(&head).into_owned())
}

/// Says something on a socket, masked as clients do.
fn say(socket: &mut TcpStream, text: &str) {
    let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).unwrap(), 0, 0, 0, 0];
    frame.extend(text.as_bytes());
    socket.write_all(&frame).unwrap();
}

/// Reads what is said on a socket until a word is heard, and returns how long that took.
fn heard(socket: &mut TcpStream, word: &str, since: Instant) -> Duration {
    let mut all = Vec::new();
    let mut piece = [0; 1024];
    loop {
        let read = socket.read(&mut piece).unwrap();
        assert!(read > 0, "closed before `{word}`: {}", String::from_utf8_lossy(&all));
        all.extend(&piece[..read]);
        if String::from_utf8_lossy(&all).contains(word) {
            return since.elapsed();
        }
    }
}

#[test]
fn a_role_that_is_another_one_counts_with_the_next_request_and_on_open_sockets() {
    let world = World::new();
    let server = Server::serve(&world);
    let ada = server.register("ada@example.org");
    let bob = server.join(&ada, "bob@example.org", "developer");
    let (tenant, id) =
        (server.get(&ada, "/tenants/current").text("/id"), server.get(&bob, "/me").text("/id"));
    let role = json!({ "name": "Nothing", "base": "viewer", "permissions": [] });
    let role = server.post(&ada, "/roles", role).text("/id");
    let (mut socket, head) = opened(&server, &bob);
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    say(&mut socket, &format!(r#"["1","1","fsm:{tenant}","phx_join",{{}}]"#));
    heard(&mut socket, "phx_reply", Instant::now());
    let instances = || server.get(&bob, "/tenants/current/instances");
    assert_eq!(instances().status, 200);
    let path = format!("/tenants/current/members/{id}");
    let give = |role: &str| {
        let version = server.get(&ada, &path).header("etag");
        let more = format!("if-match: {version}\r\n");
        let told = server.call_with(&ada, "PATCH", &path, &more, json!({ "role": role }));
        assert_eq!(told.status, 200, "{told:?}");
    };
    give(&role);
    let since = Instant::now();
    let told = instances();
    assert_eq!((told.status, told.code()), (403, "insufficient_permissions"));
    let took = heard(&mut socket, "phx_close", since);
    assert!(took < Duration::from_secs(2), "{took:?}");
    give("developer");
    assert_eq!(instances().status, 200, "and back");
    // Who is not a member any more is as nobody.
    say(&mut socket, &format!(r#"["2","2","fsm:{tenant}","phx_join",{{}}]"#));
    heard(&mut socket, "phx_reply", Instant::now());
    assert_eq!(server.call(&ada, "DELETE", &path, Json::Null).status, 204);
    let since = Instant::now();
    let told = server.get(&bob, &format!("/tenants/{tenant}/instances"));
    assert_eq!((told.status, told.code()), (403, "no_tenant_context"));
    assert!(heard(&mut socket, "session:revoked", since) < Duration::from_secs(2));
}
