//! Histories as server-sent events.

use std::{
    io::{BufRead as _, BufReader},
    net::TcpStream,
    thread,
};

use serde_json::{Value as Json, json};

use super::DOOR;
use crate::{cli::World, server::Server};

/// Reads events until the stream ends: id, name, data.
fn events(stream: TcpStream) -> Vec<(String, String, Json)> {
    let (mut found, mut id, mut name) = (Vec::new(), String::new(), String::new());
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        if let Some(it) = line.strip_prefix("id: ") {
            id = it.into();
        } else if let Some(it) = line.strip_prefix("event: ") {
            name = it.into();
        } else if let Some(it) = line.strip_prefix("data: ") {
            let data = serde_json::from_str(it).unwrap();
            found.push((std::mem::take(&mut id), name.clone(), data));
        }
    }
    found
}

/// Steps that come at once.
const STEPS: usize = 150;

fn setup(api: &Server) -> (String, String) {
    let ada = api.register("ada@example.org");
    api.publish(&ada, "Door", DOOR);
    let id = api.start(&ada, "Door");
    (ada, id)
}

#[test]
fn a_stream_has_every_record_once_and_ends_with_the_instance() {
    let world = World::new();
    let api = Server::serve(&world);
    let (ada, id) = setup(&api);
    api.send(&ada, &id, "open");
    let path = format!("/tenants/current/instances/{id}/stream");
    let streams: Vec<_> =
        [("", ""), ("?after_seq=2", ""), ("?after_seq=9", "last-event-id: 3\r\n")]
            .iter()
            .map(|(query, more)| {
                api.begin(&ada, "GET", &format!("{path}{query}"), more, &json!(null))
            })
            .collect();
    // Many steps at once: more than the queue of a slow reader holds, and fewer than an instance
    // takes in a second.
    let batch: Vec<Json> = (0..STEPS)
        .map(|at| json!({ "instance": id, "event": if at % 2 == 0 { "shut" } else { "open" } }))
        .collect();
    let told = api.post(&ada, "/events/batch", json!({ "events": batch }));
    assert_eq!((told.status, &told.body["taken"]), (200, &json!(STEPS)), "{told:?}");
    let last = api.send(&ada, &id, "shut");
    assert_eq!(last.status, 200);
    let last = api.send(&ada, &id, "lock").body["seq"].as_u64().unwrap();
    let all = api.get(&ada, &format!("/tenants/current/instances/{id}/events?limit=200"));
    for (stream, after) in streams.into_iter().zip([0, 2, 3_u64]) {
        let mut told = events(stream);
        let (_, name, end) = told.pop().unwrap();
        assert_eq!((&*name, end), ("end", json!({ "status": "completed", "seq": last })));
        let ids: Vec<u64> = told.iter().map(|it| it.0.parse().unwrap()).collect();
        assert_eq!(ids, (after + 1..=last).collect::<Vec<_>>(), "every one, once, in order");
        assert!(
            told.iter().all(|it| it.1 == "record" && it.2["seq"].as_u64() == it.0.parse().ok())
        );
        let first = usize::try_from(after).unwrap();
        assert_eq!(told[0].2, all.body["items"][first], "as the history shows it");
    }
    let more = format!("last-event-id: {last}\r\n");
    let again = api.call_with(&ada, "GET", &path, &more, json!(null));
    assert_eq!(again.status, 204, "a browser does not come back for more");
    // The last number that there is would begin the stream anew.
    for bad in ["x", "-1", "18446744073709551615", "18446744073709551616"] {
        let more = format!("last-event-id: {bad}\r\n");
        let refused = api.call_with(&ada, "GET", &path, &more, json!(null));
        assert_eq!((refused.status, refused.code()), (422, "validation_failed"), "{bad}");
    }
}

#[test]
fn a_history_is_read_page_by_page_to_its_end() {
    let world = World::new();
    let api = Server::serve(&world);
    let (ada, id) = setup(&api);
    let path = format!("/tenants/current/instances/{id}/events");
    let whole = api.get(&ada, &path).body["items"].clone();
    let (mut items, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = api.get(&ada, &format!("{path}?limit=2{cursor}"));
        items.extend(page.body["items"].as_array().unwrap().clone());
        assert!(items.len() <= whole.as_array().unwrap().len(), "it comes to an end");
        match page.body["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(json!(items), whole);
}

#[test]
fn a_stream_ends_with_the_right_to_read_it() {
    let world = World::new();
    let api = Server::serve(&world);
    let (ada, id) = setup(&api);
    let bob = api.join(&ada, "bob@example.org", "viewer");
    let eve = api.register("eve@example.org");
    let path = format!("/tenants/current/instances/{id}/stream");
    assert_eq!(api.get(&eve, &path).code(), "not_found");
    assert_eq!(api.get("", &path).code(), "not_authenticated");
    let stream = api.begin(&bob, "GET", &path, "", &json!(null));
    let reader = thread::spawn(move || events(stream));
    let body = json!({ "event": "open", "data": { "by": "cat@example.org" } });
    api.post(&ada, &format!("/instances/{id}/events"), body);
    let members = api.get(&ada, "/tenants/current/members");
    let bobs = members.body["items"].as_array().unwrap().iter().find(|it| it["role"] == "viewer");
    let user = bobs.unwrap()["user_id"].as_str().unwrap().to_owned();
    assert_eq!(api.post(&ada, &format!("/members/{user}/suspend"), json!(null)).status, 200);
    let told = reader.join().unwrap();
    assert_eq!(told.last().unwrap().1, "revoked", "{told:?}");
    assert!(!json!(told.iter().map(|it| &it.2).collect::<Vec<_>>()).to_string().contains("cat@"));
}

#[test]
fn a_stream_ends_with_the_server() {
    let world = World::new();
    let api = Server::serve(&world);
    let (ada, id) = setup(&api);
    let path = format!("/tenants/current/instances/{id}/stream");
    let stream = api.begin(&ada, "GET", &path, "", &json!(null));
    let reader = thread::spawn(move || events(stream).len());
    let begun = std::time::Instant::now();
    let pid = rustix::process::Pid::from_child(&api.process.0);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    reader.join().unwrap();
    let mut api = api;
    api.process.0.wait().unwrap();
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
}

/// Waits for somebody, then asks nobody else.
const ASKS: &str = r#"traaviis: "1"
name: Asks
version: 1.0.0
initial: asking
states:
  asking:
    invoke:
      - {id: ask, effect: {type: human_task, title: "Who?", outcomes: [approve]}, onDone: done}
  done: {type: final}
"#;

#[test]
fn a_stream_of_an_effect_tells_how_it_stands_until_it_has_ended() {
    let world = World::new();
    let api = Server::serve(&world);
    let ada = api.register("ada@example.org");
    api.publish(&ada, "Asks", ASKS);
    let id = api.start(&ada, "Asks");
    let listed = api.get(&ada, &format!("/tenants/current/instances/{id}/effects"));
    let effect = listed.text("/items/0/id");
    let path = format!("/tenants/current/effects/{effect}");
    let stream = api.begin(&ada, "GET", &format!("{path}/stream"), "", &json!(null));
    let decided = json!({ "outcome": "approve" });
    // Nobody answers what they have begun themselves.
    let bob = api.join(&ada, "bob@example.org", "developer");
    let told = api.post(&bob, &format!("/tasks/{id}/decide"), decided);
    assert_eq!(told.status, 200, "{told:?}");
    let mut told = events(stream);
    let (_, name, end) = told.pop().unwrap();
    assert_eq!((&*name, end), ("end", json!({ "status": "completed" })));
    assert!(told.iter().all(|it| it.1 == "effect" && it.2["id"] == *effect), "{told:?}");
    assert_eq!(told.last().unwrap().2, api.get(&ada, &path).body, "as it is shown");
    // What has ended is told once; a browser that comes again hears that there is no more.
    let once = events(api.begin(&ada, "GET", &format!("{path}/stream"), "", &json!(null)));
    assert_eq!(once.iter().map(|it| &*it.1).collect::<Vec<_>>(), ["effect", "end"]);
    let stream = format!("{path}/stream");
    let again = api.call_with(&ada, "GET", &stream, "last-event-id: 1\r\n", json!(null));
    assert_eq!(again.status, 204);
    for (other, status) in [(format!("{id}:999"), 404), ("x".into(), 404), (id, 404)] {
        let path = format!("/tenants/current/effects/{other}/stream");
        assert_eq!(api.get(&ada, &path).status, status, "{path}");
    }
}
