//! Notifications: who is told how, what a delivery carries, and what failing means.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener},
    sync::mpsc::{Receiver, channel},
    thread,
};

use serde_json::{Value as Json, json};
use traaviis_connect::{Connectors, Format};

use crate::peer::{build, call, connector_with, perform};

/// Starts a webhook that answers with a status and tells what it got: head and body.
fn webhook(status: u16) -> (SocketAddr, Receiver<(String, Json)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let (tx, rx) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).unwrap() > 0 {}
            let length = head.lines().find_map(|it| it.strip_prefix("content-length: ")).unwrap();
            let mut body = vec![0; length.parse().unwrap()];
            stream.read_exact(&mut body).unwrap();
            let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
            stream.get_mut().write_all(answer.as_bytes()).unwrap();
            let _ = tx.send((head, serde_json::from_slice(&body).unwrap()));
        }
    });
    (addr, rx)
}

fn file(notify: &str, open: &[SocketAddr]) -> String {
    let open: Vec<String> = open.iter().map(|it| format!("'{it}'")).collect();
    format!(
        "traaviis: '1'\nkind: connectors\negress: {{allow_private: [{}]}}\nnotify: {notify}\n",
        open.join(", ")
    )
}

const NOTE: &str = r#"{"to": ["role:support", "user:ann"], "title": "Case 7", "message": "help", "data": {"n": 7}}"#;

#[test]
fn everyone_is_told_through_the_channel_that_fits_best() {
    let (support, told) = webhook(204);
    let folder = tempfile::tempdir().unwrap();
    let text = file(
        &format!(
            "{{'role:support': [{{webhook: 'http://{support}/hook', headers: {{x-team: a}}}}, {{file: out.jsonl}}], \
             'role:*': {{file: wrong.jsonl}}, '*': {{file: out.jsonl}}}}"
        ),
        &[support],
    );
    let mut connectors = Connectors::read(&text, Format::Yaml).unwrap();
    connectors.channels.beside(folder.path());
    let connector = build::<SocketAddr>(&[], connectors);
    let value = perform(&connector, call("notify", NOTE)).unwrap();
    assert_eq!(
        serde_json::Value::from(&value),
        json!({"deliveries": [
            {"to": "role:support", "channel": "webhook"},
            {"to": "role:support", "channel": "file"},
            {"to": "user:ann", "channel": "file"},
        ]})
    );
    let (head, body) = told.recv().unwrap();
    assert!(head.contains("x-team: a\r\n") && head.contains("idempotency-key: 01890a5d.1.0.0\r\n"));
    assert_eq!(
        body,
        json!({
            "to": "role:support", "title": "Case 7", "message": "help", "data": {"n": 7},
            "text": "Case 7: help", "instance": "01890a5d-ac96-774b-bcce-b302099a8057",
            "key": "01890a5d.1.0.0",
        })
    );
    let lines = std::fs::read_to_string(folder.path().join("out.jsonl")).unwrap();
    let keys: Vec<Json> = lines
        .lines()
        .map(|it| serde_json::from_str::<Json>(it).unwrap())
        .map(|it| json!([it["to"], it["key"]]))
        .collect();
    assert_eq!(
        keys,
        [json!(["role:support", "01890a5d.1.0.1"]), json!(["user:ann", "01890a5d.1.0.2"])]
    );
}

#[test]
fn what_cannot_be_delivered_says_why() {
    let (down, _told) = webhook(503);
    let (gone, _told_too) = webhook(410);
    let text = file(
        &format!(
            "{{'user:*': log, 'role:down': {{webhook: 'http://{down}/'}}, 'role:gone': {{webhook: 'http://{gone}/'}}, \
             'role:private': {{webhook: 'http://10.0.0.1/'}}, 'role:full': {{file: /dev/full}}, 'role:unset': {{webhook: {{$secret: no}}}}}}"
        ),
        &[down, gone],
    );
    let connector = connector_with(&text);
    let error = |to: &str| {
        let input = json!({"to": ["user:ann", to], "message": "m"}).to_string();
        let error = perform(&connector, call("notify", &input)).unwrap_err();
        let done = error.details.get("deliveries").and_then(|it| it.as_list()).map(<[_]>::len);
        (error.code.to_string(), error.retryable, done, error.message.to_string())
    };
    for (to, code, retryable, done, part) in [
        (
            "role:down",
            "http_error",
            true,
            Some(1),
            "telling `role:down` by webhook: the webhook answered 503",
        ),
        ("role:gone", "http_error", false, Some(1), "answered 410"),
        ("role:private", "egress_denied", false, Some(1), "10.0.0.1"),
        ("role:full", "call_failed", true, Some(1), "cannot write to /dev/full"),
        ("role:unset", "secret_missing", false, Some(1), "`no`"),
        ("role:other", "provider_unavailable", false, Some(1), "no channel for `role:other`"),
        (
            "support",
            "validation_failed",
            false,
            None,
            "kinds are user, role, email, webhook, channel",
        ),
    ] {
        let found = error(to);
        assert_eq!((&*found.0, found.1, found.2), (code, retryable, done), "{to}: {}", found.3);
        assert!(found.3.contains(part), "{to}: {}", found.3);
    }
}

#[test]
fn wrong_channels_are_told_with_their_places() {
    let text = file(
        "{support: log, 'role:a': mail, 'role:b': {file: a, webhook: 'http://a.example'}, 'role:c': {webhook: 'ftp://x'}, 'role:d': [log, {fil: x}]}",
        &[],
    );
    let findings = Connectors::read(&text, Format::Yaml).unwrap_err();
    let places: Vec<&str> = findings.iter().map(|it| &*it.path).collect();
    assert_eq!(
        places,
        [
            "/notify/support",
            "/notify/role:a/0",
            "/notify/role:b/0",
            "/notify/role:c/0/webhook",
            "/notify/role:d/1/fil",
            "/notify/role:d/1",
        ]
    );
}
