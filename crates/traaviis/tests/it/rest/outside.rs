//! Effects outside of the states where something goes wrong: a kill, a fork, a budget, an end of
//! the instance that an operator takes back.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use serde_json::{Value as Json, json};

use crate::{
    cli::{World, wait_until},
    server::{Server, Told},
};

/// A till that is open until it is shut, or its data say otherwise.
const TILL: &str = r#"traaviis: "1"
name: Till
version: 1.0.0
initial: open
data: {initial: {n: 0}}
events: {shut: {}}
budgets: {calls: 4, on_exceeded: fail}
effects:
  safe: {type: call, function: pay.safe, args: {}}
  risky: {type: call, function: pay.risky, args: {}}
  either:
    type: fallback
    effects:
      - {type: call, function: pay.refuses, args: {}}
      - {type: put_data, key: n, value: 1}
states:
  open:
    on: {shut: shut}
    always: [{target: bad, guard: "data.n > 0"}]
  shut: {type: final}
  bad: {type: final, status: failed}
"#;

/// Whom the till asks: it hears everything, and answers when it is told to.
struct Peer {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<(String, String)>>>,
    answers: Arc<AtomicBool>,
}

impl Peer {
    fn start() -> Peer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (heard, answers) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let peer = Peer { address, heard, answers };
        let (heard, answers) = (Arc::clone(&peer.heard), Arc::clone(&peer.answers));
        thread::spawn(move || {
            let mut open = Vec::new();
            for stream in listener.incoming() {
                let mut stream: TcpStream = stream.unwrap();
                let (mut text, mut piece) = (String::new(), [0; 4096]);
                while !text.contains("\r\n\r\n") {
                    let read = stream.read(&mut piece).unwrap();
                    text.push_str(str::from_utf8(&piece[..read]).unwrap());
                }
                let path = text.split(' ').nth(1).unwrap().to_owned();
                let key = text.lines().find_map(|it| it.strip_prefix("idempotency-key: "));
                let key = key.unwrap_or_default().to_owned();
                let status = if path == "/refuses" { "409 Conflict" } else { "200 OK" };
                heard.lock().unwrap().push((path.clone(), key));
                if answers.load(Ordering::SeqCst) {
                    let body = json!({ "from": path }).to_string();
                    let head = format!(
                        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n\
                         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
                        body.len()
                    );
                    let _ = stream.write_all(head.as_bytes());
                } else {
                    open.push(stream);
                }
            }
        });
        peer
    }

    /// Returns the keys with which a path was asked.
    fn keys(&self, path: &str) -> Vec<String> {
        let heard = self.heard.lock().unwrap();
        heard.iter().filter(|it| it.0 == path).map(|it| it.1.clone()).collect()
    }

    fn answers(&self) {
        self.answers.store(true, Ordering::SeqCst);
    }
}

struct Till {
    world: World,
    api: Server,
    peer: Peer,
    ada: String,
    id: String,
}

impl Till {
    fn open() -> Till {
        let peer = Peer::start();
        let port = peer.address.port();
        let connectors = format!(
            "traaviis: \"1\"\nkind: connectors\nbase_url: http://127.0.0.1:{port}\n\
             egress: {{allow_private: [\"127.0.0.1:{port}\"]}}\nfunctions:\n  \
             pay.safe: {{method: POST, path: /safe, side_effect: true, idempotent: true}}\n  \
             pay.risky: {{method: POST, path: /risky, side_effect: true}}\n  \
             pay.refuses: {{method: POST, path: /refuses, side_effect: true}}\n"
        );
        let world = World::new().file("c.yaml", &connectors);
        let api = Till::serve(&world);
        let ada = api.register("ada@example.org");
        api.publish(&ada, "Till", TILL);
        let id = api.start(&ada, "Till");
        Till { world, api, peer, ada, id }
    }

    fn serve(world: &World) -> Server {
        Server::with(world, &["--connectors", "c.yaml"], &[])
    }

    fn post(&self, path: &str, body: Json) -> Told {
        self.api.post(&self.ada, path, body)
    }

    fn get(&self, path: &str) -> Told {
        self.api.get(&self.ada, &format!("/tenants/current{path}"))
    }

    /// Has the till run an effect by its name; returns the id of it.
    fn run(&self, name: &str) -> String {
        let path = format!("/instances/{}/effects", self.id);
        let told = self.post(&path, json!({ "effect": name }));
        assert_eq!(told.status, 202, "{told:?}");
        told.text("/id")
    }

    fn effect(&self, id: &str) -> Told {
        self.get(&format!("/effects/{id}"))
    }

    fn ends(&self, id: &str, status: &str) -> Told {
        wait_until(status, || self.effect(id).text("/status") == status);
        self.effect(id)
    }

    /// Effects of an instance that run outside of its states, as the list of open ones has them.
    fn outside(&self, id: &str) -> Vec<Json> {
        let told = self.get(&format!("/effects?instance={id}"));
        let items = told.body["items"].as_array().unwrap();
        items.iter().filter(|it| it["outside"] == true && it["kind"] == "call").cloned().collect()
    }

    fn status(&self, id: &str) -> String {
        self.get(&format!("/instances/{id}/state")).text("/status")
    }

    fn skip(&self, id: &str, path: &str, value: Json) -> Told {
        let skip = json!({ "path": path, "value": value, "reason": "paid by hand" });
        self.post(&format!("/instances/{id}/skip"), skip)
    }
}

#[test]
fn what_runs_when_the_process_is_killed_is_made_again_or_asked_about() {
    let mut till = Till::open();
    let (safe, risky, other) = (till.run("safe"), till.run("risky"), till.run("risky"));
    let heard = |till: &Till| (till.peer.keys("/safe").len(), till.peer.keys("/risky").len());
    wait_until("all are asked", || heard(&till) == (1, 2));
    till.api.kill_in_place();
    till.peer.answers();
    till.api = Till::serve(&till.world);

    till.ends(&safe, "completed");
    let keys = till.peer.keys("/safe");
    assert!(!keys[0].is_empty() && keys[0] == keys[1], "by its key it is known: {keys:?}");
    // What may have happened is not done again by itself.
    wait_until("both are asked about", || {
        let calls = till.outside(&till.id);
        calls.len() == 2 && calls.iter().all(|it| it["status"] == "unknown")
    });
    assert_eq!(till.peer.keys("/risky").len(), 2);
    assert_eq!(till.status(&till.id), "incident");
    let incidents = till.get("/incidents").body["items"].as_array().unwrap().clone();
    let kinds: Vec<&Json> = incidents.iter().map(|it| &it["kind"]).collect();
    assert_eq!(kinds, ["unknown_outcome", "unknown_outcome"], "{incidents:#?}");
    let happened = json!({ "decision": "happened", "value": { "paid": true } });
    for (incident, decision) in incidents.iter().zip([happened, json!({ "decision": "retry" })]) {
        let path = format!("/incidents/{}/resolve", incident["id"].as_str().unwrap());
        let told = till.post(&path, decision);
        assert_eq!(told.status, 200, "{told:?}");
    }
    // Four calls are what the run may cost, and four it has cost, those included of which nobody
    // knows.
    wait_until("nothing is asked any more", || till.status(&till.id) == "running");
    let ended: Vec<Told> = [&risky, &other].map(|it| till.effect(it)).into();
    let of = |status: &str| ended.iter().find(|it| it.text("/status") == status);
    assert_eq!(of("completed").unwrap().body["value"], json!({ "paid": true }), "{ended:?}");
    assert_eq!(of("failed").unwrap().text("/error/code"), "budget_exceeded", "{ended:?}");
    assert_eq!(till.peer.keys("/risky").len(), 2);
}

#[test]
fn what_it_may_not_cost_ends_the_effect_and_the_instance_goes_on() {
    let till = Till::open();
    till.peer.answers();
    for _ in 0..4 {
        till.ends(&till.run("safe"), "completed");
    }
    let refused = till.ends(&till.run("safe"), "failed");
    assert_eq!(refused.text("/error/code"), "budget_exceeded", "{refused:?}");
    assert_eq!((till.status(&till.id), till.peer.keys("/safe").len()), ("running".into(), 4));
    assert_eq!(till.api.send(&till.ada, &till.id, "shut").text("/status"), "completed");
}

#[test]
fn a_fork_takes_along_what_runs_and_does_nothing_silently() {
    let till = Till::open();
    till.run("safe");
    wait_until("it is asked", || till.peer.keys("/safe").len() == 1);
    let fork = |results: &str| {
        let body = json!({ "results": results, "reason": "try" });
        let told = till.post(&format!("/instances/{}/fork", till.id), body);
        assert_eq!(told.status, 201, "{told:?}");
        told.text("/instance")
    };
    till.peer.answers();
    let (live, recorded) = (fork("live"), fork("recorded"));
    wait_until("the live one has asked", || till.outside(&live).is_empty());
    let keys = till.peer.keys("/safe");
    assert_eq!(keys.len(), 2, "{keys:?}");
    assert!(keys[1].starts_with(&live) && keys[0].starts_with(&till.id), "{keys:?}");
    assert_eq!((till.status(&live), till.status(&recorded)), ("running".into(), "incident".into()));
    // The original has not been answered, so there is nothing that the other fork could be told.
    assert_eq!(till.outside(&recorded)[0]["status"], "unknown");
    let told = till.skip(&recorded, "safe/body", json!(5));
    assert_eq!(told.status, 200, "{told:?}");
    assert_eq!((till.status(&recorded), till.peer.keys("/safe").len()), ("running".into(), 2));
    assert_eq!(till.outside(&till.id).len(), 1, "the original goes on waiting");
}

#[test]
fn an_operator_takes_back_an_end_that_it_led_to() {
    let till = Till::open();
    till.peer.answers();
    let first = till.run("either");
    wait_until("it led to an end", || till.status(&till.id) == "failed");
    assert_eq!(till.effect(&first).text("/status"), "completed");
    let path = format!("/instances/{}", till.id);
    let told = till.post(&format!("{path}/retry"), json!({ "reason": "once more" }));
    assert_eq!(told.status, 200, "{told:?}");
    wait_until("it is asked again", || till.peer.keys("/refuses").len() == 2);
    wait_until("it leads there again", || till.status(&till.id) == "failed");
    let told = till.skip(&till.id, "either/body/0", json!(7));
    assert_eq!(told.status, 200, "{told:?}");
    wait_until("it goes on", || till.status(&till.id) == "running");
    let told = till.effect(&first);
    assert_eq!((told.text("/status"), &told.body["value"]), ("completed".into(), &json!(7)));
    assert_eq!(till.peer.keys("/refuses").len(), 2, "what is left out is not asked for");
    assert_eq!(till.api.send(&till.ada, &till.id, "shut").text("/status"), "completed");
}

#[test]
fn lists_ask_for_words_that_there_are() {
    let world = World::new();
    let told = world.run(&["effects", "--status", "runing"]);
    let text = String::from_utf8(told.stderr).unwrap();
    assert_eq!(told.status.code(), Some(2), "{text}");
    for word in ["runing", "scheduled", "started", "compensating", "failed"] {
        assert!(text.contains(word), "{word}: {text}");
    }
}
