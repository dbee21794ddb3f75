//! Webhooks, told to a receiver that is not always there.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
    thread,
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value as Json, json};
use sha2::Sha256;

use super::DOOR;
use crate::{
    cli::{World, wait_until},
    server::{PASSWORD, Server},
};

/// A request that a receiver has heard: headers and body.
type Heard = (BTreeMap<String, String>, String);

/// A receiver that answers with one status.
struct Receiver {
    address: String,
    heard: Arc<Mutex<Vec<Heard>>>,
    status: Arc<AtomicU16>,
}

impl Receiver {
    fn new(status: u16) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (heard, status) = (Arc::default(), Arc::new(AtomicU16::new(status)));
        let receiver = Receiver { address, heard, status };
        let (heard, status) = (Arc::clone(&receiver.heard), Arc::clone(&receiver.status));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (heard, status) = (Arc::clone(&heard), status.load(Ordering::SeqCst));
                thread::spawn(move || drop(hear(stream, &heard, status)));
            }
        });
        receiver
    }

    fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    fn kinds(&self) -> Vec<String> {
        let heard = self.heard();
        let body = heard.iter().map(|it| serde_json::from_str::<Json>(&it.1).unwrap());
        body.map(|it| it["type"].as_str().unwrap().replace("traaviis.", "")).collect()
    }
}

fn hear(stream: TcpStream, heard: &Mutex<Vec<Heard>>, status: u16) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.trim().split_once(": ") {
            headers.insert(name.to_lowercase(), value.to_owned());
        }
    }
    let length = headers.get("content-length").and_then(|it| it.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    heard.lock().unwrap().push((headers, String::from_utf8(body).unwrap()));
    let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    reader.get_mut().write_all(answer.as_bytes())
}

fn base64(text: &str) -> Vec<u8> {
    const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count, mut out) = (0_u32, 0, Vec::new());
    for letter in text.bytes().filter(|it| *it != b'=') {
        bits = bits << 6 | LETTERS.bytes().position(|it| it == letter).unwrap() as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    out
}

#[test]
fn a_webhook_is_told_in_order_signed_and_again_until_it_is_taken() {
    let world = World::new();
    let receiver = Receiver::new(503);
    let api = Server::with(&world, &["--allow-private", &receiver.address], &[]);
    let ada = api.register("ada@example.org");
    api.publish(&ada, "Door", DOOR);
    api.start(&ada, "Door");
    let ask = |url: &str, events: Json| {
        api.post(&ada, "/webhooks", json!({ "url": url, "events": events }))
    };
    for (url, events) in [
        ("ftp://example.org", json!(["finished"])),
        ("https://me:secret@example.org", json!(["finished"])),
        ("https://example.org", json!([])),
        ("https://example.org", json!(["everything"])),
    ] {
        assert_eq!(ask(url, events).status, 422, "{url}");
    }
    let url = format!("http://{}/hook", receiver.address);
    let made = ask(&url, json!(["created", "transition", "finished"]));
    assert_eq!(made.status, 201, "{made:?}");
    let (id, secret) = (made.text("/id"), made.text("/secret"));
    let listed = api.get(&ada, "/tenants/current/webhooks");
    assert_eq!(listed.text("/items/0/id"), id);
    assert!(!listed.body.to_string().contains("whsec_"), "told once");

    let instance = api.start(&ada, "Door");
    let body = json!({ "event": "open", "data": { "by": "cat@example.org" } });
    api.post(&ada, &format!("/instances/{instance}/events"), body);
    wait_until("it is told, and does not take it", || !receiver.heard().is_empty());
    // Another tenant's instances are nobody else's business.
    let eve = api.register("eve@example.org");
    api.publish(&eve, "Door", DOOR);
    api.start(&eve, "Door");
    receiver.status.store(204, Ordering::SeqCst);
    api.send(&ada, &instance, "shut");
    api.send(&ada, &instance, "lock");
    wait_until("it is told everything", || {
        receiver.kinds().last().is_some_and(|it| it == "finished")
    });
    let kinds = receiver.kinds();
    let (refused, taken): (Vec<_>, Vec<_>) = kinds.iter().enumerate().partition(|(at, _)| {
        kinds[..*at].iter().all(|it| it == "created")
            && *at + 1 < kinds.iter().filter(|it| *it == "created").count()
    });
    assert!(!refused.is_empty(), "{kinds:?}");
    let taken: Vec<&String> = taken.into_iter().map(|it| it.1).collect();
    assert_eq!(
        taken,
        ["created", "transition", "transition", "transition", "transition", "finished"]
    );

    let heard = receiver.heard();
    let key = base64(secret.strip_prefix("whsec_").unwrap());
    for (headers, body) in &heard {
        let signed = format!("{}.{}.{body}", headers["webhook-id"], headers["webhook-timestamp"]);
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        mac.update(signed.as_bytes());
        let signature = base64(headers["webhook-signature"].strip_prefix("v1,").unwrap());
        assert!(mac.verify_slice(&signature).is_ok(), "{headers:?}");
        assert_eq!(headers["content-type"], "application/json");
        assert!(!body.contains("cat@example.org"), "values stay here: {body}");
        assert!(body.contains(&instance), "{body}");
    }
    assert_eq!(
        heard[0].0["webhook-id"], heard[1].0["webhook-id"],
        "a repetition is known by its id"
    );

    let path = format!("/tenants/current/webhooks/{id}/deliveries");
    wait_until("it is noted", || api.get(&ada, &path).body["items"].as_array().unwrap().len() == 6);
    let told = api.get(&ada, &path);
    assert_eq!(
        (told.text("/items/0/event"), &told.body["items"][0]["status"]),
        ("finished".into(), &json!(204))
    );
    assert!(told.body["items"][5]["attempts"].as_u64() >= Some(2), "{told:?}");
    let count = receiver.heard().len();
    let again = json!({ "delivery": told.body["items"][0]["id"] });
    let again = api.post(&ada, &format!("/webhooks/{id}/redeliver"), again);
    assert_eq!((again.status, &again.body["delivered"]), (200, &json!(true)), "{again:?}");
    assert_eq!(receiver.heard().len(), count + 1);

    api.kill();
    let api = Server::with(&world, &["--allow-private", &receiver.address], &[]);
    let login = json!({ "email": "ada@example.org", "password": PASSWORD });
    let ada = api.call("", "POST", "/auth/login", login).text("/access_token");
    api.start(&ada, "Door");
    wait_until("it goes on where it was", || receiver.kinds().len() >= count + 3);
    assert_eq!(receiver.kinds()[count + 1..], ["created", "transition"], "and tells nothing twice");
    assert_eq!(
        api.call(&ada, "DELETE", &format!("/tenants/current/webhooks/{id}"), json!(null)).status,
        204
    );
    assert_eq!(api.get(&ada, &path).status, 404);
}

#[test]
fn a_webhook_cannot_be_told_inside_the_network() {
    let world = World::new();
    let receiver = Receiver::new(200);
    let api = Server::serve(&world);
    let ada = api.register("ada@example.org");
    api.publish(&ada, "Door", DOOR);
    let url = format!("http://{}/hook", receiver.address);
    let made = api.post(&ada, "/webhooks", json!({ "url": url, "events": ["created"] }));
    assert_eq!(made.status, 201, "{made:?}");
    api.start(&ada, "Door");
    thread::sleep(std::time::Duration::from_millis(300));
    assert!(receiver.heard().is_empty());
}
