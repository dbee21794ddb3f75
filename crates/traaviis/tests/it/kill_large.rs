//! `kill -9` of a server while large values come in: what was answered is there with every byte of
//! its value, no record names a value that is not there, and values that no record names go.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    thread,
    time::Duration,
};

use serde_json::{Value as Json, json};
use traaviis_model::limits::BLOB_BYTES_MIN;
use traaviis_testkit::rng::Rng;

use crate::{
    cli::World,
    kill::number,
    large::blobs,
    server::{PASSWORD, Server, read},
};

/// Keeps nothing of what it is sent but in its history.
const PAPERS: &str = r#"
traaviis: "1"
name: Papers
version: 1.0.0
initial: open
events: {add: {}}
data: {initial: {n: 0}}
states:
  open:
    x-waive: {W209: nobody waits}
    on: {add: {actions: [{assign: {n: "${data.n + 1}"}}]}}
"#;

/// Instances that take large values, each from a client of its own.
const CLIENTS: u64 = 3;
/// Bytes of a value: from those that stay in the log to nearly as many as a request may have.
const SIZES: [u64; 2] = [100 << 10, 1_000 << 10];

/// What a client sent, and whether it was answered, by what the value begins with.
type Sent = BTreeMap<String, (usize, bool)>;

fn filled(begins: &str, len: usize) -> String {
    format!("{begins} {}", begins.chars().cycle().take(len).collect::<String>())
}

/// Sends one value after another until the server is gone.
fn send_all(server: &Server, who: &str, id: &str, round: u64, large: bool) -> Sent {
    let (mut sent, mut dice) = (Sent::new(), Rng::new(round));
    for count in 0.. {
        let begins = format!("{id}/{round}/{count}");
        let len = if large { SIZES[0] + dice.below(SIZES[1] - SIZES[0]) } else { 10 } as usize;
        let body = json!({ "event": "add", "data": filled(&begins, len) }).to_string();
        let path = format!("/api/v1/tenants/current/instances/{id}/events");
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {who}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        sent.insert(begins.clone(), (len, false));
        let mut answer = Vec::new();
        let asked = TcpStream::connect(&server.address).and_then(|mut stream| {
            stream.write_all(head.as_bytes())?;
            stream.write_all(body.as_bytes())?;
            stream.read_to_end(&mut answer)
        });
        match answer.strip_prefix(b"HTTP/1.1 ") {
            Some(rest) if asked.is_ok() && rest.starts_with(b"200") => {
                sent.insert(begins, (len, true));
            }
            Some(rest) if asked.is_ok() => panic!("{}", String::from_utf8_lossy(rest)),
            _ => return sent,
        }
    }
    sent
}

/// Returns the values of a whole history, as they are read back.
fn history(server: &Server, who: &str, id: &str) -> Vec<String> {
    let (mut after, mut found) = (0, Vec::new());
    loop {
        let path = format!("/tenants/current/instances/{id}/events?limit=20&after_seq={after}");
        let told = read(server.begin(who, "GET", &path, "", &Json::Null));
        assert_eq!(told.status, 200, "{}", told.head);
        let Some(last) = told.body["items"].as_array().and_then(|it| it.last()) else {
            return found;
        };
        assert_eq!(told.body["items"][0]["seq"], after + 1, "records are missing");
        after = last["seq"].as_u64().unwrap();
        for record in told.body["items"].as_array().unwrap() {
            if record["kind"] == "event_received" {
                found.push(record["data"].as_str().unwrap_or_default().to_owned());
            }
        }
    }
}

fn doctor_finds_values_whole(world: &World) {
    let doctor = world.run(&["doctor", "--data", "data", "--json"]);
    let text = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(!text.contains("are damaged"), "{text}");
}

#[test]
fn large_values_are_whole_or_not_there_when_the_server_is_killed() {
    let (rounds, seed) = (number("KILL_ROUNDS", 6), number("KILL_SEED", 1));
    let world = World::new();
    let mut dice = Rng::new(seed);
    let mut server = Server::serve(&world);
    let mut ada = server.register("ada@example.org");
    server.publish(&ada, "Papers", PAPERS);
    let ids: Vec<String> = (0..=CLIENTS).map(|_| server.start(&ada, "Papers")).collect();
    let mut sent: BTreeMap<&str, Sent> = BTreeMap::new();
    for round in 1..=rounds {
        let delay = Duration::from_millis(30 + dice.below(500));
        let pid = server.process.0.id().to_string();
        thread::scope(|scope| {
            let clients = ids.iter().enumerate().map(|(at, id)| {
                let (server, ada) = (&server, &ada);
                scope.spawn(move || send_all(server, ada, id, round, at > 0))
            });
            let clients: Vec<_> = clients.collect();
            thread::sleep(delay);
            let killed = std::process::Command::new("kill").args(["-9", &pid]).status().unwrap();
            assert!(killed.success());
            for (id, client) in ids.iter().zip(clients) {
                sent.entry(id).or_default().extend(client.join().unwrap());
            }
        });
        server.process.0.wait().unwrap();
        doctor_finds_values_whole(&world);
        server = Server::serve(&world);
        let body = json!({ "email": "ada@example.org", "password": PASSWORD });
        ada = server.call("", "POST", "/auth/login", body).text("/access_token");
        for id in &ids {
            check(&sent[&**id], &history(&server, &ada, id), seed);
            assert_eq!(server.send(&ada, id, "add").status, 200, "seed {seed}: `{id}` is stuck");
        }
    }
    let answered = |id: &&String| sent[&***id].values().filter(|it| it.1).count();
    assert!(ids.iter().all(|id| answered(&id) > 0), "seed {seed}: nothing was answered: {sent:?}");
    // What no record names was of appends that were cut off, and goes with the next look.
    let named = ids.iter().flat_map(|id| history(&server, &ada, id));
    let named = named.filter(|it| it.len() > BLOB_BYTES_MIN).count();
    server.kill();
    world.good("compact data");
    let left = blobs(&world.path("data")).into_iter().filter(|it| !is_half(it)).count();
    assert_eq!(left, named, "seed {seed}");
    assert!(named > 0, "seed {seed}: no value was a file of its own");
}

fn is_half(path: &Path) -> bool {
    path.extension().is_some()
}

/// Whatever was answered is there, nothing twice, and each with every byte of its value.
fn check(sent: &Sent, found: &[String], seed: u64) {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for value in found.iter().filter(|it| !it.is_empty()) {
        let begins = value.split(' ').next().unwrap();
        assert!(seen.insert(begins, value).is_none(), "seed {seed}: `{begins}` is there twice");
        let (len, _) = sent[begins];
        assert!(*value == filled(begins, len), "seed {seed}: `{begins}` reads wrongly");
    }
    for (begins, (len, is_answered)) in sent {
        let is_there = seen.contains_key(&**begins);
        assert!(is_there || !is_answered, "seed {seed}: `{begins}` of {len} bytes is lost");
    }
}
