//! Requests that come twice, over kills: what was carried out once is not carried out again.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::{Value as Json, json};

use super::DOOR;
use crate::{
    cli::{World, wait_until},
    server::{Server, Told},
};

/// Counts how often it was hit.
const COUNTER: &str = r#"traaviis: "1"
name: Counter
version: 1.0.0
data: {initial: {hits: 0}}
events: {hit: {}}
initial: open
states:
  open:
    on:
      hit: {actions: [{assign: {hits: "${data.hits + 1}"}}]}
"#;

fn keyed(api: &Server, who: &str, path: &str, key: &str, body: Json) -> Told {
    let key = format!("idempotency-key: {key}\r\n");
    api.call_with(who, "POST", &format!("/tenants/current{path}"), &key, body)
}

fn holds(dir: &Path, what: &str) -> bool {
    fs::read_dir(dir).unwrap().flatten().any(|it| match it.file_type().unwrap() {
        kind if kind.is_dir() => holds(&it.path(), what),
        kind if kind.is_file() => {
            let bytes = fs::read(it.path()).unwrap_or_default();
            bytes.windows(what.len()).any(|it| it == what.as_bytes())
        }
        _ => false,
    })
}

#[test]
fn a_repetition_after_a_kill_gets_the_first_answer_or_what_was_done() {
    let world = World::new();
    let api = Server::serve(&world);
    let ada = api.register("ada@example.org");
    api.publish(&ada, "Door", DOOR);
    let door = api.start(&ada, "Door");
    let events = format!("/instances/{door}/events");
    let requests = [
        ("/instances", json!({ "workflow": "Door" })),
        (&*events, json!({ "event": "open" })),
        ("/events/batch", json!({ "events": [{ "instance": door, "event": "shut" }] })),
        ("/schedules", json!({ "workflow": "Door", "cron": "@daily" })),
        ("/api-keys", json!({ "name": "robot", "scopes": ["workflow_monitor"] })),
    ];
    let ask = |api: &Server, at: usize| {
        let (path, body) = &requests[at];
        keyed(api, &ada, path, &format!("k{at}"), body.clone())
    };
    let all = || 0..requests.len();
    let first: Vec<Told> = all().map(|at| ask(&api, at)).collect();
    assert!(first.iter().all(|it| matches!(it.status, 200 | 201)), "{first:?}");
    let secret = first[4].text("/key");
    assert!(secret.starts_with("trv_"), "{first:?}");
    let refused = keyed(&api, &ada, "/instances", "k9", json!({ "workflow": "Nothing" }));
    assert_eq!(refused.status, 404, "{refused:?}");

    api.kill();
    let api = Server::serve(&world);
    for at in all() {
        let again = ask(&api, at);
        assert_eq!((again.status, &again.body), (first[at].status, &first[at].body), "{at}");
        assert_eq!(again.header("etag"), first[at].header("etag"));
        let other = keyed(&api, &ada, requests[at].0, &format!("k{at}"), json!({ "other": 1 }));
        assert_eq!((other.status, other.code()), (422, "idempotency_key_reused"), "{other:?}");
    }
    let again = keyed(&api, &ada, "/instances", "k9", json!({ "workflow": "Door" }));
    assert_eq!(again.status, 201, "a refusal is not kept: {again:?}");
    assert!(!holds(&world.path("data"), &secret), "an answer rests sealed");

    // Without the answers, as after a kill between a commit and its answer.
    api.kill();
    fs::remove_dir_all(world.path("data/documents")).unwrap();
    let api = Server::serve(&world);
    let again: Vec<Told> = all().map(|at| ask(&api, at)).collect();
    assert_eq!((again[0].status, again[0].text("/id")), (201, first[0].text("/id")));
    assert_eq!(again[0].body["existing"], true, "{again:?}");
    assert_eq!((again[1].status, &again[1].body["replayed"]), (200, &json!(true)), "{again:?}");
    assert_eq!(again[2].body["results"][0]["replayed"], true, "{again:?}");
    for (at, kind) in [(3, "schedule"), (4, "api_key")] {
        let told = &again[at];
        assert_eq!((told.status, told.code()), (409, "idempotency_answer_lost"), "{told:?}");
        assert_eq!(told.text("/details/resource_type"), kind, "{told:?}");
    }
    let other = keyed(&api, &ada, "/schedules", "k3", json!({ "workflow": "Door" }));
    assert_eq!(other.code(), "idempotency_key_reused", "{other:?}");
    let count = |path: &str| {
        let told = api.get(&ada, &format!("/tenants/current{path}"));
        told.body["items"].as_array().unwrap().len()
    };
    assert_eq!(count("/instances?workflow=Door"), 3);
    assert_eq!((count("/schedules"), count("/api-keys")), (1, 1));
    let told = api.get(&ada, &format!("/tenants/current/instances/{door}/events?limit=200"));
    let kinds = told.body["items"].as_array().unwrap().iter().map(|it| it["kind"].clone());
    assert_eq!(kinds.filter(|it| it == "event_received").count(), 2, "{told:?}");
}

/// Sends a request to a server that may go at any moment.
fn try_post(address: &str, who: &str, path: &str, key: &str, body: &Json) -> Option<Json> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    let body = body.to_string();
    let request = format!(
        "POST /api/v1/tenants/current{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\nidempotency-key: {key}\r\n\
         authorization: Bearer {who}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let is_good = head.starts_with("HTTP/1.1 200") || head.starts_with("HTTP/1.1 201");
    is_good.then(|| serde_json::from_str(body).ok())?
}

#[test]
fn whoever_repeats_what_was_not_answered_before_a_kill_has_it_done_once() {
    const CLIENTS: usize = 4;
    let world = World::new();
    let mut api = Server::serve(&world);
    let ada = api.register("ada@example.org");
    api.publish(&ada, "Counter", COUNTER);
    let counter = api.start(&ada, "Counter");
    let hit = format!("/instances/{counter}/events");
    // What each client has begun last, and whether it was answered.
    let mut begun: BTreeMap<usize, usize> = (0..CLIENTS).map(|it| (it, 0)).collect();
    for round in 0..3 {
        let answered = Arc::new(AtomicUsize::new(0));
        let clients: Vec<_> = begun
            .iter()
            .map(|(client, from)| {
                let (client, mut at) = (*client, *from);
                let (address, who, hit) = (api.address.clone(), ada.clone(), hit.clone());
                let answered = Arc::clone(&answered);
                thread::spawn(move || {
                    // From what the kill before has left open, with the same key.
                    loop {
                        let key = format!("{client}-{at}");
                        let (path, body) = match at % 2 {
                            0 => ("/instances", json!({ "workflow": "Counter" })),
                            _ => (&*hit, json!({ "event": "hit" })),
                        };
                        if try_post(&address, &who, path, &key, &body).is_none() {
                            return at;
                        }
                        at += 1;
                        answered.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        wait_until("some are answered", || answered.load(Ordering::SeqCst) >= 40 + round);
        api.kill();
        begun = clients.into_iter().map(|it| it.join().unwrap()).enumerate().collect();
        api = Server::serve(&world);
    }
    let (mut starts, mut hits) = (1, 0);
    for (client, last) in &begun {
        let key = format!("{client}-{last}");
        let (path, body) = match last % 2 {
            0 => ("/instances", json!({ "workflow": "Counter" })),
            _ => (&*hit, json!({ "event": "hit" })),
        };
        let told = try_post(&api.address, &ada, path, &key, &body);
        assert!(told.is_some(), "{key} is answered in the end");
        starts += (0..=*last).filter(|it| it % 2 == 0).count();
        hits += (0..=*last).filter(|it| it % 2 == 1).count();
    }
    let told = api.get(&ada, &format!("/tenants/current/instances/{counter}"));
    assert_eq!(told.body["snapshot"]["data"]["hits"], json!(hits), "{begun:?}");
    let (mut count, mut cursor) = (0, String::new());
    loop {
        let path = format!("/tenants/current/instances?workflow=Counter&limit=200{cursor}");
        let told = api.get(&ada, &path);
        count += told.body["items"].as_array().unwrap().len();
        match told.body["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(count, starts, "{begun:?}");
}
