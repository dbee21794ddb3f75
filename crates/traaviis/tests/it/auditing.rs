//! The audit trail of a served directory, secrets and personal data through its API: killed in the
//! middle, tampered with, and looked through for what must stand nowhere.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value as Json, json};

use crate::{
    cli::{Process, World, wait_until},
    server,
};

const DOOR: &str = r#"
traaviis: "1"
name: Door
version: 1.0.0
initial: shut
events: {open: {}, close: {}}
states:
  shut: {on: {open: wide}}
  wide: {on: {open: wide, close: done}}
  done: {type: final}
"#;

/// A server, and whoever has registered there.
struct Server {
    process: Process,
    address: String,
    token: String,
    /// Every answer so far.
    answers: Mutex<String>,
}

/// What a server said.
struct Told {
    status: u16,
    body: Json,
    text: String,
}

impl Server {
    fn start(world: &World, more: &[&str]) -> Server {
        let server::Server { process, address } = server::Server::with(world, more, &[]);
        Server { process, address, token: String::new(), answers: Mutex::default() }
    }

    /// Starts one and registers an owner.
    fn with_owner(world: &World, more: &[&str]) -> Server {
        let mut server = Server::start(world, more);
        let body = json!({ "email": "ada@example.org", "password": "correct horse battery" });
        let told = server.ask("POST", "/auth/register", body);
        assert_eq!(told.status, 201, "{}", told.text);
        server.token = told.body["access_token"].as_str().unwrap().to_owned();
        server
    }

    fn ask(&self, method: &str, path: &str, body: Json) -> Told {
        let told = ask(&self.address, &self.token, method, path, &body);
        let told = told.unwrap_or_else(|| panic!("{method} {path}: no answer"));
        self.answers.lock().unwrap().push_str(&told.text);
        told
    }

    /// Asks for something below the tenant, which must go well.
    fn good(&self, method: &str, path: &str, body: Json) -> Json {
        let told = self.ask(method, &format!("/tenants/current{path}"), body);
        assert!(told.status < 300, "{method} {path}: {}", told.text);
        told.body
    }

    fn publish(&self, document: &str) {
        let name = document.lines().find_map(|it| it.strip_prefix("name: ")).unwrap();
        self.good("POST", "/workflows", json!({ "document": document }));
        self.good("POST", &format!("/workflows/{name}/publish"), json!({}));
    }

    fn start_one(&self, workflow: &str, input: Json) -> String {
        let started =
            self.good("POST", "/instances", json!({ "workflow": workflow, "input": input }));
        started["id"].as_str().unwrap().to_owned()
    }

    /// Returns all entries, the oldest first.
    fn trail(&self) -> Vec<Json> {
        let (mut entries, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.good("GET", &format!("/audit?limit=200{cursor}"), Json::Null);
            entries.extend(page["items"].as_array().unwrap().iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        entries.reverse();
        entries
    }

    fn kill(mut self) -> String {
        self.process.0.kill().unwrap();
        self.process.0.wait().unwrap();
        self.token
    }
}

/// Sends a request; nothing when the server is gone.
fn ask(address: &str, token: &str, method: &str, path: &str, body: &Json) -> Option<Told> {
    let mut stream = TcpStream::connect(address).ok()?;
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let length = body.len();
    let who = match token {
        "" => String::new(),
        token => format!("authorization: Bearer {token}\r\n"),
    };
    let request = format!(
        "{method} /api/v1{path} HTTP/1.1\r\nhost: {address}\r\nuser-agent: test\r\n{who}\
         content-type: application/json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n\
         {body}"
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (head, rest) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let text = if chunked { unchunked(rest)? } else { rest.to_owned() };
    Some(Told { status, body: serde_json::from_str(&text).unwrap_or_default(), text })
}

fn unchunked(mut rest: &str) -> Option<String> {
    let mut text = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n")?;
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            return Some(text);
        }
        text.push_str(after.get(..size)?);
        rest = after.get(size + 2..)?;
    }
}

/// Several callers start instances and send events, and the server is killed in the middle: each
/// act that was acknowledged has exactly one entry, and nothing has two.
#[test]
fn every_acknowledged_act_has_exactly_one_entry_after_kill_9() {
    let world = World::new();
    let mut server = Server::with_owner(&world, &[]);
    server.publish(DOOR);
    let mut acknowledged: Vec<(String, &str)> = Vec::new();
    for _ in 0..4 {
        let (ends, count) = (Arc::new(AtomicBool::new(false)), Arc::<AtomicUsize>::default());
        let callers: Vec<_> = (0..4)
            .map(|_| {
                let (address, token) = (server.address.clone(), server.token.clone());
                let (ends, count) = (Arc::clone(&ends), Arc::clone(&count));
                thread::spawn(move || {
                    let mut done = Vec::new();
                    while !ends.load(Ordering::SeqCst) {
                        let start = json!({ "workflow": "Door" });
                        let path = "/tenants/current/instances";
                        let Some(told) = ask(&address, &token, "POST", path, &start) else { break };
                        if told.status != 201 {
                            continue;
                        }
                        let id = told.body["id"].as_str().unwrap().to_owned();
                        done.push((id.clone(), "instance.started"));
                        count.fetch_add(1, Ordering::SeqCst);
                        let (path, event) =
                            (format!("{path}/{id}/events"), json!({ "event": "open" }));
                        match ask(&address, &token, "POST", &path, &event) {
                            Some(told) if told.status == 200 => done.push((id, "event.sent")),
                            Some(_) => {}
                            None => break,
                        }
                    }
                    done
                })
            })
            .collect();
        // In the middle of the work, however quick the machine is.
        let begun = Instant::now();
        while count.load(Ordering::SeqCst) < 30 || begun.elapsed() < Duration::from_millis(700) {
            assert!(begun.elapsed() < Duration::from_secs(60), "nothing is acknowledged");
            thread::sleep(Duration::from_millis(5));
        }
        let token = server.kill();
        ends.store(true, Ordering::SeqCst);
        for caller in callers {
            acknowledged.extend(caller.join().unwrap());
        }
        server = Server::start(&world, &[]);
        server.token = token;
    }
    let mut entered: BTreeMap<(String, String), u32> = BTreeMap::new();
    for entry in server.trail() {
        let action = entry["action"].as_str().unwrap();
        if matches!(action, "instance.started" | "event.sent") {
            let id = entry["resource_id"].as_str().unwrap().to_owned();
            *entered.entry((id, action.to_owned())).or_default() += 1;
            assert_eq!(entry["actor"]["via"], "session", "{entry}");
            assert_eq!(entry["ip_address"], "127.0.0.1", "{entry}");
            assert_eq!(entry["user_agent"], "test", "{entry}");
            assert!(entry["request_id"].is_string(), "{entry}");
        }
    }
    for (id, action) in &acknowledged {
        assert_eq!(entered.get(&(id.clone(), (*action).into())), Some(&1), "{action} {id}");
    }
    assert!(entered.values().all(|it| *it == 1), "an act was entered twice");
    let checked = server.good("POST", "/audit/verify", Json::Null);
    assert_eq!(checked["whole"], true, "{checked}");
    // What the trail tells of a request is told to nobody who only watches.
    let (id, _) = &acknowledged[0];
    let history = server.good("GET", &format!("/instances/{id}/events"), Json::Null);
    assert!(!history.to_string().contains("127.0.0.1"), "{history}");
}

#[test]
fn a_trail_is_taken_out_and_checked_without_a_server() {
    let world = World::new();
    let server = Server::with_owner(&world, &[]);
    server.publish(DOOR);
    for _ in 0..5 {
        server.start_one("Door", Json::Null);
    }
    let mut last = 0;
    for format in ["jsonl", "csv", "cloudevents"] {
        let path = format!("/tenants/current/audit/export?format={format}");
        let told = server.ask("GET", &path, Json::Null);
        assert_eq!(told.status, 200, "{}", told.text);
        fs::write(world.path(&format!("trail.{format}")), &told.text).unwrap();
        let output = world.run(&["audit", "verify", &format!("trail.{format}"), "--json"]);
        let shown: Json = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((output.status.code(), &shown["whole"]), (Some(0), &json!(true)), "{shown}");
        let count = shown["trails"][0]["entries"].as_u64().unwrap();
        assert!(count > last, "each export is an entry of the next: {count}");
        assert_eq!(shown["trails"][0]["signed_to"], count);
        last = count;
    }
    let kept = server.good("GET", "/audit/checkpoints", Json::Null);
    fs::write(world.path("kept.json"), kept.to_string()).unwrap();
    let text = fs::read_to_string(world.path("trail.cloudevents")).unwrap();
    let forged = text.replacen("instance.started", "instance.paused", 2);
    fs::write(world.path("forged"), forged).unwrap();
    let output = world.run(&["audit", "verify", "forged", "--checkpoint", "kept.json"]);
    let shown = world.shown(&output);
    assert!(shown.starts_with("exit 1") && shown.contains("audit_broken"), "{shown}");
    let cut: Vec<&str> = text.lines().collect();
    fs::write(world.path("cut"), cut[..cut.len() - 1].join("\n")).unwrap();
    let shown = world.shown(&world.run(&["audit", "verify", "cut"]));
    assert!(shown.starts_with("exit 1") && shown.contains("breaks off"), "{shown}");

    // Beside the running server, and after it.
    let verify = ["audit", "verify", "--data", "data", "--checkpoint", "kept.json"];
    let shown = world.shown(&world.run(&verify));
    assert!(shown.starts_with("exit 0") && shown.contains("whole: "), "{shown}");
    drop(server.kill());
    let export = ["audit", "export", "--data", "data", "--out", "offline.jsonl"];
    let shown = world.shown(&world.run(&export));
    assert!(shown.starts_with("exit 0"), "{shown}");
    let check = ["audit", "verify", "offline.jsonl", "--checkpoint", "kept.json"];
    let shown = world.shown(&world.run(&check));
    assert!(shown.starts_with("exit 0") && shown.contains("whole: "), "{shown}");

    // A byte that is another one in the log is found.
    let log = segment(&world.path("data"));
    let bytes = fs::read(&log).unwrap();
    let end = bytes.iter().rposition(|it| *it != 0).unwrap();
    for part in 1..8 {
        let mut turned = bytes.clone();
        turned[end * part / 8] ^= 1;
        fs::write(&log, &turned).unwrap();
        let shown = world.shown(&world.run(&verify));
        assert!(!shown.starts_with("exit 0"), "{part}: {shown}");
    }
    fs::write(&log, &bytes).unwrap();
    assert!(world.shown(&world.run(&verify)).starts_with("exit 0"));
}

/// Returns the largest file of the log.
fn segment(data: &Path) -> std::path::PathBuf {
    let mut found = Vec::new();
    files(&data.join("log"), &mut found);
    found.into_iter().max_by_key(|it| fs::metadata(it).unwrap().len()).unwrap()
}

fn files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files(&path, found),
            false if path.is_file() => found.push(path),
            false => {}
        }
    }
}

const ASKING: &str = r#"
traaviis: "1"
name: NAME
version: 1.0.0
initial: calling
data: {initial: {why: "", got: ""}}
states:
  calling:
    invoke:
      - id: ask
        effect:
          type: call_api
          url: "http://PEER/"
          headers: {x-key: "${secret('payment_key')}"}
          response: text
        onDone: {target: done, actions: [{assign: {got: "${event.data}"}}]}
        onError: {target: done, actions: [{assign: {why: "${event.data.code}"}}]}
  done: {type: final, output: {why: "${data.why}", got: "${data.got}"}}
"#;
const CANARY: &str = "sk_live_canary_77Qz";

/// Answers every request with the request.
fn peer() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, asked) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<String>>>::default());
    let heard = Arc::clone(&asked);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut text, mut piece) = (String::new(), [0; 4096]);
            while !text.contains("\r\n\r\n") {
                let read = stream.read(&mut piece).unwrap();
                text.push_str(str::from_utf8(&piece[..read]).unwrap());
            }
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close";
            let reply = format!("{head}\r\ncontent-length: {}\r\n\r\n{text}", text.len());
            heard.lock().unwrap().push(text);
            stream.write_all(reply.as_bytes()).unwrap();
        }
    });
    (address, asked)
}

#[test]
fn a_secret_is_told_to_calls_of_its_workflows_and_stands_nowhere() {
    let (address, asked) = peer();
    let world = World::new();
    let server = Server::with_owner(&world, &["--allow-private", &address.to_string()]);
    for name in ["Payment", "Other"] {
        let text = ASKING.replace("NAME", name).replace("PEER", &address.to_string());
        server.publish(&text);
    }
    let outcome = |workflow: &str| {
        let id = server.start_one(workflow, Json::Null);
        let path = format!("/instances/{id}");
        let mut shown = Json::Null;
        wait_until("the end", || {
            shown = server.good("GET", &path, Json::Null);
            shown["snapshot"]["status"] == "completed"
        });
        server.good("GET", &format!("{path}/events"), Json::Null);
        shown["snapshot"]["output"].clone()
    };
    assert_eq!(outcome("Payment")["why"], "secret_missing");
    let first = json!({ "value": format!("{CANARY}/first"), "workflows": ["Payment"] });
    let set = server.good("PUT", "/secrets/payment_key", first);
    assert_eq!((&set["version"], &set["workflows"]), (&json!(1), &json!(["Payment"])), "{set}");
    let told = outcome("Payment");
    assert_eq!(told["why"], "", "{told}");
    assert!(asked.lock().unwrap()[0].contains(CANARY), "the peer was told");
    assert!(!told["got"].is_null(), "the peer told it back: {told}");
    assert_eq!(outcome("Other")["why"], "secret_missing", "another workflow");
    let second = json!({ "value": format!("{CANARY}/second") });
    assert_eq!(server.good("PUT", "/secrets/payment_key", second)["version"], 2);
    assert_eq!(outcome("Other")["why"], "", "every workflow");
    let wrong = server.ask("PUT", "/tenants/current/secrets/Key-1", json!({ "value": CANARY }));
    assert_eq!((wrong.status, &wrong.body["code"]), (422, &json!("validation_failed")));
    wait_until("the use is noted", || {
        let listed = server.good("GET", "/secrets", Json::Null);
        listed["items"][0]["used_at"].is_string()
    });
    let mut actions: Vec<String> = server
        .trail()
        .iter()
        .map(|it| it["action"].as_str().unwrap().to_owned())
        .filter(|it| it.starts_with("secret."))
        .collect();
    // A use is entered a moment after it.
    actions.sort();
    assert_eq!(actions, ["secret.set", "secret.set", "secret.used"]);
    server.ask("GET", "/tenants/current/audit/export", Json::Null);
    assert_eq!(
        server.ask("DELETE", "/tenants/current/secrets/payment_key", Json::Null).status,
        204
    );
    assert_eq!(server.ask("GET", "/tenants/current/secrets/payment_key", Json::Null).status, 404);
    assert_eq!(outcome("Payment")["why"], "secret_missing", "deleted");

    let answers = server.answers.lock().unwrap().clone();
    drop(server.kill());
    let base64 = traaviis_model::value::base64(&CANARY.as_bytes()[..18]);
    for needle in [CANARY, &base64] {
        assert!(!answers.contains(needle), "an answer holds {needle}");
        let mut found = Vec::new();
        files(&world.path("data"), &mut found);
        for path in found {
            let bytes = fs::read(&path).unwrap();
            let holds = bytes.windows(needle.len()).any(|it| it == needle.as_bytes());
            assert!(!holds, "`{}` holds {needle}", path.display());
        }
    }
}

const ABOUT: &str = r#"
traaviis: "1"
name: About
version: 1.0.0
initial: open
subject: input.customer
input: {schema: {type: object, properties: {customer: {type: string}, email: {type: string}}}}
data: {initial: {email: "${input.email}"}}
events: {close: {}}
states:
  open: {on: {close: done}}
  done: {type: final}
"#;

#[test]
fn personal_data_is_found_shown_on_proof_taken_out_and_erased() {
    let world = World::new();
    let server = Server::with_owner(&world, &[]);
    server.publish(ABOUT);
    let input = json!({ "customer": "c-17", "email": "eve@example.org" });
    let id = server.start_one("About", input);

    let value = json!({ "value": { "note": "write to eve@example.org", "id": id } });
    let found = server.good("POST", "/privacy/detect", value);
    let expected = json!([{
        "pointer": "/note", "start": 9, "end": 24, "type": "EMAIL", "detector": "email",
    }]);
    let mut findings = found["findings"].clone();
    findings[0].as_object_mut().unwrap().remove("confidence");
    findings[0]["detector"] = json!("email");
    assert_eq!(findings, expected, "{found}");

    // A viewer sees it masked, and in the open only who may and has proved who they are.
    let invite = json!({ "email": "bob@example.org", "role": "viewer" });
    let token = server.good("POST", "/invitations", invite)["token"].clone();
    let accept = json!({ "token": token, "password": "correct horse battery" });
    let bob = ask(&server.address, "", "POST", "/invitations/accept", &accept).unwrap().body;
    let (bob_id, bob) =
        (bob["user"]["id"].clone(), bob["access_token"].as_str().unwrap().to_owned());
    let path = format!("/tenants/current/instances/{id}");
    let look = |query: &str| {
        ask(&server.address, &bob, "GET", &format!("{path}{query}"), &Json::Null).unwrap()
    };
    assert!(look("").text.contains("[EMAIL]") && !look("").text.contains("eve@"));
    assert_eq!(look("?unmask=true").body["code"], "insufficient_permissions");
    let member = format!("/members/{}", bob_id.as_str().unwrap());
    let rights = json!({ "data_access": { "payloads": "masked", "pii_unmask": true } });
    // The version of a member is in a header, which this caller does not read.
    let path = format!("/api/v1/tenants/current{member}");
    assert!((1..60).any(|version| patched(&server, &path, version, &rights)));
    let shown = look("?unmask=true");
    assert!(shown.status == 200 && shown.text.contains("eve@example.org"), "{}", shown.text);
    assert!(!look("").text.contains("eve@"));
    let report = server.good("GET", "/privacy/report", Json::Null);
    assert!(report["counts"]["answer"]["EMAIL"].as_u64() >= Some(2), "{report}");

    let subject = json!({ "subject": "c-17" });
    let exported = server.good("POST", "/privacy/export-subject", subject.clone());
    assert!(exported.to_string().contains("eve@example.org"), "{exported}");
    let open = server.ask("POST", "/tenants/current/privacy/erase-subject", subject);
    assert_eq!((open.status, &open.body["code"]), (409, &json!("subject_in_use")));
    let erase = json!({ "subject": "c-17", "terminate": true });
    let erased = server.good("POST", "/privacy/erase-subject", erase);
    assert_eq!(erased["is_new"], true, "{erased}");
    let gone = server.good("GET", &format!("/instances/{id}"), Json::Null);
    assert!(!gone.to_string().contains("eve@example.org"), "{gone}");

    let trail = server.trail();
    let told: Vec<String> = trail
        .iter()
        .map(|it| format!("{} {}", it["action"].as_str().unwrap(), it["outcome"].as_str().unwrap()))
        .filter(|it| ["subject.", "data.", "instance."].iter().any(|with| it.starts_with(with)))
        .collect();
    let expected = [
        "instance.started ok",
        "data.unmasked denied",
        "data.unmasked ok",
        "subject.exported ok",
        "subject.erasure_asked ok",
        "subject.erased failed",
        "subject.erasure_asked ok",
        "instance.terminated ok",
        "subject.erased ok",
    ];
    let (mut told, mut expected) = (told, expected.map(str::to_owned).to_vec());
    // Acts on instances are entered a moment after others.
    told.sort();
    expected.sort();
    assert_eq!(told, expected);
    let text = Json::Array(trail).to_string();
    assert!(!text.contains("c-17") && !text.contains("eve@"), "{text}");
}

/// Changes something if it has this version.
fn patched(server: &Server, path: &str, version: u64, body: &Json) -> bool {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    let (body, token) = (body.to_string(), &server.token);
    let length = body.len();
    let request = format!(
        "PATCH {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
         if-match: \"{version}\"\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text.starts_with("HTTP/1.1 200")
}
