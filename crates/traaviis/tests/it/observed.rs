//! What a server tells about itself: settings, log lines, numbers, traces, and how it ends.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Child, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use serde_json::{Value as Json, json};

use crate::cli::{DOOR, Process, World, wait_until};

/// A server on free ports, and what it writes to standard error.
pub struct Server {
    pub process: Process,
    pub address: String,
    pub admin: String,
    pub lines: Arc<Mutex<Vec<String>>>,
}

/// Serves the directory `data` of a world.
pub fn serve(world: &World, more: &[&str], variables: &[(&str, &str)]) -> Server {
    let arguments = [
        &["serve", "--data", "data", "--listen", "127.0.0.1:0", "--json"][..],
        &["--admin-listen", "127.0.0.1:0"],
        more,
    ]
    .concat();
    let mut command = world.command(&arguments);
    command.envs(variables.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines: Arc<Mutex<Vec<String>>> = Arc::default();
    let to = Arc::clone(&lines);
    let stderr = BufReader::new(child.stderr.take().unwrap());
    thread::spawn(move || stderr.lines().for_each(|it| to.lock().unwrap().push(it.unwrap())));
    let mut told = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut told).unwrap();
    let read: Json = serde_json::from_str(&told)
        .unwrap_or_else(|_| panic!("{told} {}", lines.lock().unwrap().join("\n")));
    let text = |key: &str| read[key].as_str().unwrap_or_else(|| panic!("{told}")).to_owned();
    Server { process: Process(child), address: text("listening"), admin: text("operators"), lines }
}

/// An answer: status, headers in lower case, body.
pub struct Told {
    pub status: u16,
    head: String,
    pub body: String,
}

/// Sends a request.
pub fn ask(address: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Told {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    request += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    request += &format!("Connection: close\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Told { status, head: head.to_lowercase(), body: body.to_owned() }
}

impl Server {
    fn post(&self, path: &str, token: &str, body: &Json) -> Json {
        let bearer = format!("Bearer {token}");
        let headers: &[(&str, &str)] =
            if token.is_empty() { &[] } else { &[("Authorization", &bearer)] };
        let told =
            ask(&self.address, "POST", &format!("/api/v1{path}"), headers, &body.to_string());
        assert!(told.status < 300, "{path}: {} {}", told.status, told.body);
        serde_json::from_str(&told.body).unwrap_or_default()
    }

    /// Registers somebody, publishes a workflow and starts an instance; returns token and id.
    pub fn work(&self) -> (String, String) {
        self.work_with(DOOR, "Door")
    }

    fn work_with(&self, document: &str, name: &str) -> (String, String) {
        let ada = json!({ "email": "ada@example.org", "password": "correct horse battery" });
        let token =
            self.post("/auth/register", "", &ada)["access_token"].as_str().unwrap().to_owned();
        let text = json!({ "document": document });
        self.post("/tenants/current/workflows", &token, &text);
        self.post(&format!("/tenants/current/workflows/{name}/publish"), &token, &json!({}));
        let started = self.post("/tenants/current/instances", &token, &json!({ "workflow": name }));
        (token, started["id"].as_str().unwrap().to_owned())
    }

    fn json_lines(&self) -> Vec<Json> {
        let lines = self.lines.lock().unwrap();
        lines
            .iter()
            .map(|it| serde_json::from_str(it).unwrap_or_else(|_| panic!("no JSON: {it}")))
            .collect()
    }
}

#[test]
fn settings_come_from_all_places_and_are_shown_with_theirs() {
    let world = World::new().file(
        "traaviis.toml",
        "[http]\nbase_url = \"https://flows.example.org\"\nmetrics_token = \"Jc0lWn4vQ2sX9bT7\"\n\
         [log]\nlevel = \"warn\"\n",
    );
    let mut command = world.command(&["serve", "--print-config", "--json", "--data", "here"]);
    let output = command.env("TRAAVIIS_AUTH__ACCESS_TTL", "10m").env("PORT", "4444").output();
    let shown: Json = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    let of = |key: &str| {
        let text = |it: &Json| it.as_str().unwrap_or("null").to_owned();
        format!("{} from {}", text(&shown[key]["value"]), text(&shown[key]["source"]))
    };
    assert_eq!(of("data.dir"), "here from flag `--data`");
    assert_eq!(of("http.listen"), "127.0.0.1:4444 from environment variable `PORT`");
    assert_eq!(of("log.level"), "warn from `traaviis.toml`, line 5");
    assert_eq!(of("log.format"), "json from default");
    assert_eq!(of("http.metrics_token"), "*** from `traaviis.toml`, line 3");
    assert_eq!(of("telemetry.otlp_endpoint"), "null from not set");
    assert!(of("auth.access_ttl").contains("TRAAVIIS_AUTH__ACCESS_TTL"));
    assert!(!world.path("here").exists(), "nothing is started");
    let schema: Json = serde_json::from_slice(&world.run(&["schema", "config"]).stdout).unwrap();
    let file = json!({ "http": { "base_url": "https://x.org" }, "log": { "level": "warn" } });
    assert!(jsonschema::is_valid(&schema, &file));
    assert!(!jsonschema::is_valid(&schema, &json!({ "http": { "listn": "x" } })));
}

#[test]
fn a_wrong_setting_stops_the_start() {
    for (toml, variable, part) in [
        ("[http]\nlistn = \"127.0.0.1:0\"\n", None, "did you mean `http.listen`?"),
        ("[log]\nformat = \"yaml\"\n", None, "`traaviis.toml`, line 2"),
        ("", Some(("TRAAVIIS_HTTP__PORT", "1")), "environment variable `TRAAVIIS_HTTP__PORT`"),
        ("profile = \"production\"\n", None, "`http.base_url`"),
    ] {
        let world = World::new().file("traaviis.toml", toml);
        let mut command = world.command(&["serve", "--data", "data"]);
        let text = world.shown(&command.envs(variable).output().unwrap());
        assert!(text.starts_with("exit 2") && text.contains("config_invalid"), "{text}");
        assert!(text.contains(part), "{text}");
        assert!(!world.path("data").exists());
    }
}

/// Reads the text format of Prometheus strictly; returns names of families and series.
pub fn parse(text: &str) -> Vec<(String, f64)> {
    let is_name = |it: &str| {
        it.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_' || it == b':')
            && !it.is_empty()
            && !it.as_bytes()[0].is_ascii_digit()
    };
    let (mut types, mut series) = (std::collections::BTreeMap::new(), Vec::new());
    let mut current = String::new();
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "twice: {line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            current = name.to_owned();
            continue;
        }
        if line.starts_with("# HELP ") {
            continue;
        }
        let (key, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
        let name = key.split('{').next().unwrap();
        assert!(is_name(name), "{line}");
        let suffixes = ["_bucket", "_sum", "_count"];
        let family = match types.get(&current).map(String::as_str) {
            Some("histogram") => suffixes.iter().find_map(|it| name.strip_suffix(it)).unwrap(),
            _ => name,
        };
        assert_eq!(family, current, "a series stands below its family: {line}");
        if let Some(labels) = key.strip_prefix(name).filter(|it| !it.is_empty()) {
            let inner = labels.strip_prefix('{').and_then(|it| it.strip_suffix('}')).unwrap();
            for pair in inner.split("\",").map(|it| it.trim_end_matches('"')) {
                let (label, _) = pair.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
                assert!(is_name(label), "{line}");
            }
        }
        series.push((key.to_owned(), value));
    }
    let mut keys: Vec<&String> = series.iter().map(|it| &it.0).collect();
    keys.sort();
    assert!(keys.windows(2).all(|it| it[0] != it[1]), "a series stands there twice");
    series
}

#[test]
fn numbers_are_for_operators_and_tell_what_happened() {
    let world = World::new();
    let token = ("TRAAVIIS_HTTP__METRICS_TOKEN", "Jc0lWn4vQ2sX9bT7");
    let server = serve(&world, &[], &[token]);
    let (access, id) = server.work();
    let wrong = json!({ "email": "ada@example.org", "password": "wrong" }).to_string();
    assert_eq!(ask(&server.address, "POST", "/api/v1/auth/login", &[], &wrong).status, 401);
    let send = format!("/tenants/current/instances/{id}/events");
    server.post(&send, &access, &json!({ "event": "open" }));

    let told = ask(&server.admin, "GET", "/metrics", &[], "");
    assert_eq!(told.status, 200);
    let series = parse(&told.body);
    let sum = |part: &str| -> f64 {
        series.iter().filter(|it| it.0.starts_with(part)).map(|it| it.1).sum()
    };
    assert_eq!(sum("traaviis_fsm_workflow_created_total{tenant_id"), 1.0);
    assert_eq!(sum("traaviis_fsm_transition_completed_total"), 2.0);
    assert_eq!(sum("traaviis_auth_login_total{result=\"failed\"}"), 1.0);
    assert_eq!(
        sum("traaviis_http_requests_total{operation=\"Start\",method=\"POST\",\
             route=\"/api/v1/tenants/{t}/instances\",status=\"201\"}"),
        1.0,
        "{}",
        told.body
    );
    for name in [
        "traaviis_fsm_event_store_append_total",
        "traaviis_fsm_event_store_append_bytes_total",
        "traaviis_fsm_event_store_fsync_duration_seconds_count",
        "traaviis_http_request_duration_seconds_count",
        "process_resident_memory_bytes",
        "traaviis_memory_states_active",
    ] {
        assert!(sum(name) > 0.0, "{name} in {}", told.body);
    }
    assert!(series.iter().any(|it| it.0 == "traaviis_sockets"));

    let public = |bearer: &str| {
        let headers = [("Authorization", bearer)];
        ask(&server.address, "GET", "/metrics", &headers, "").status
    };
    assert_eq!(public(""), 404);
    assert_eq!(public("Bearer Jc0lWn4vQ2sX9bT8"), 404, "as if there were nothing");
    assert_eq!(public(&format!("Bearer {access}")), 404);
    assert_eq!(public("Bearer Jc0lWn4vQ2sX9bT7"), 200);
}

#[test]
fn readiness_names_its_parts() {
    let world = World::embedded();
    let server = serve(&world, &["--tree", "lazy"], &[]);
    for address in [&server.address, &server.admin] {
        let told = ask(address, "GET", "/ready", &[], "");
        let body: Json = serde_json::from_str(&told.body).unwrap();
        assert_eq!((told.status, &body["status"]), (200, &json!("ready")));
        let names: Vec<&str> = body["components"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["name"].as_str().unwrap())
            .collect();
        let expected = ["log", "instances", "document_tree", "index", "disk", "memory", "clock"];
        assert_eq!(names, [&expected[..], &["root_key", "documents"]].concat());
    }
}

#[test]
fn log_lines_are_json_with_the_ids_of_requests_and_hold_no_secret() {
    let world = World::new();
    let server = serve(&world, &[], &[("TRAAVIIS_LOG__LEVEL", "info,traaviis_server=debug")]);
    let (access, id) = server.work();
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let told = ask(
        &server.address,
        "GET",
        &format!("/api/v1/tenants/current/instances/{id}"),
        &[
            ("Authorization", &format!("Bearer {access}")),
            ("X-Request-Id", "asked-42"),
            ("traceparent", &format!("00-{trace}-b7ad6b7169203331-01")),
        ],
        "",
    );
    assert_eq!(told.status, 200, "{}", told.body);
    assert!(told.head.contains("x-request-id: asked-42"), "{}", told.head);
    assert!(told.head.contains(&format!("traceparent: 00-{trace}-")), "{}", told.head);
    wait_until("the access line is there", || {
        server.json_lines().iter().any(|it| it["request_id"] == "asked-42")
    });
    let lines = server.json_lines();
    let line = lines.iter().find(|it| it["request_id"] == "asked-42").unwrap();
    assert_eq!(line["level"], "debug");
    assert_eq!(line["msg"], "GET /api/v1/tenants/{t}/instances/{id} answered 200");
    assert_eq!((&line["status"], &line["trace_id"]), (&json!(200), &json!(trace)));
    assert_eq!(line["instance_id"], json!(id));
    assert!(line["tenant_id"].as_str().is_some_and(|it| it.len() == 36), "{line}");
    assert!(lines.iter().any(|it| it["msg"] == "the server listens"), "{lines:?}");
    let all = server.lines.lock().unwrap().join("\n");
    for secret in ["ada@example.org", "correct horse", "trv_", &access] {
        assert!(!all.contains(secret), "`{secret}` stands in {all}");
    }
}

#[test]
fn a_flood_of_one_message_does_not_fill_the_log() {
    let world = World::new();
    let server = serve(&world, &[], &[]);
    // Each of these is refused; none of them is a line at the level of a server.
    for _ in 0..200 {
        ask(&server.address, "GET", "/api/v1/me", &[], "");
    }
    assert!(server.lines.lock().unwrap().len() < 20);
}

/// Paths and bodies that a collector was sent.
pub type Sent = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// A collector that keeps what it is sent.
pub fn collector() -> (String, Sent) {
    collector_answering(|_| "200 OK")
}

/// A collector that answers what it is sent, by its path, with a status; it keeps what it takes.
pub fn collector_answering(
    status: impl Fn(&str) -> &'static str + Send + Sync + 'static,
) -> (String, Sent) {
    let status = Arc::new(status);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let sent = Sent::default();
    let to = Arc::clone(&sent);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, to) = (stream.unwrap(), Arc::clone(&to));
            let status = Arc::clone(&status);
            thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                loop {
                    let (mut head, mut len) = (String::new(), 0);
                    loop {
                        let mut line = String::new();
                        if reader.read_line(&mut line).unwrap_or(0) == 0 {
                            return;
                        }
                        if let Some(it) = line.to_lowercase().strip_prefix("content-length:") {
                            len = it.trim().parse().unwrap();
                        }
                        head += &line;
                        if line == "\r\n" {
                            break;
                        }
                    }
                    let mut body = vec![0; len];
                    reader.read_exact(&mut body).unwrap();
                    let status = status(head.split(' ').nth(1).unwrap_or_default());
                    if status.starts_with('2') {
                        to.lock().unwrap().push((head, body));
                    }
                    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
                    stream.write_all(answer.as_bytes()).unwrap();
                }
            });
        }
    });
    (format!("http://{address}"), sent)
}

/// The fields of a protobuf message: number, then a varint as bytes or the bytes themselves.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return value;
            }
        }
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let take = match key & 7 {
            0 => {
                let value = varint(&mut bytes);
                found.push((key >> 3, value.to_le_bytes().to_vec()));
                continue;
            }
            1 => 8,
            2 => varint(&mut bytes) as usize,
            5 => 4,
            other => panic!("wire type {other}"),
        };
        found.push((key >> 3, bytes[..take].to_vec()));
        bytes = &bytes[take..];
    }
    found
}

/// Name, trace and parent of each span: `ExportTraceServiceRequest` by the numbers of its fields.
fn spans(body: &[u8]) -> Vec<(String, String, String)> {
    let inner = |bytes: &[u8], number: u64| -> Vec<Vec<u8>> {
        fields(bytes).into_iter().filter(|it| it.0 == number).map(|it| it.1).collect()
    };
    let hex = |it: &[u8]| it.iter().map(|it| format!("{it:02x}")).collect::<String>();
    let resources = inner(body, 1);
    let scopes = resources.iter().flat_map(|it| inner(it, 2));
    let spans: Vec<Vec<u8>> = scopes.flat_map(|it| inner(&it, 2)).collect();
    spans
        .iter()
        .map(|span| {
            let first = |number| inner(span, number).into_iter().next().unwrap_or_default();
            let name = String::from_utf8(first(5)).unwrap();
            (name, hex(&first(1)), hex(&first(4)))
        })
        .collect()
}

#[test]
fn traces_reach_a_collector() {
    let world = World::new();
    let (endpoint, sent) = collector();
    let server = serve(&world, &[], &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]);
    let (access, id) = server.work();
    let (trace, parent) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let told = ask(
        &server.address,
        "POST",
        &format!("/api/v1/tenants/current/instances/{id}/events"),
        &[
            ("Authorization", &format!("Bearer {access}")),
            ("traceparent", &format!("00-{trace}-{parent}-01")),
        ],
        r#"{"event": "open"}"#,
    );
    assert!(told.status < 300, "{}", told.body);
    assert!(told.head.contains(&format!("traceparent: 00-{trace}-")), "{}", told.head);
    let traces = || -> Vec<(String, Vec<u8>)> {
        let sent = sent.lock().unwrap();
        sent.iter().filter(|it| it.0.starts_with("POST /v1/traces ")).cloned().collect()
    };
    let all = || -> Vec<(String, String, String)> {
        traces().iter().flat_map(|it| spans(&it.1)).collect()
    };
    let request = "POST /api/v1/tenants/{t}/instances/{id}/events";
    wait_until("the spans have arrived", || all().iter().any(|it| it.0 == request));
    let spans = all();
    assert!(
        spans.contains(&(request.to_owned(), trace.to_owned(), parent.to_owned())),
        "{spans:?}"
    );
    let below = spans.iter().find(|it| it.0 == "instance.ask" && it.1 == trace);
    assert!(below.is_some(), "{spans:?}");
    let of_instance = id.replace('-', "");
    let steps = spans.iter().filter(|it| it.0 == "instance.step" && it.1 == of_instance).count();
    assert_eq!(steps, 2, "{spans:?}");
    let (head, body) = traces().remove(0);
    assert!(head.starts_with("POST /v1/traces HTTP/1.1"), "{head}");
    let body = String::from_utf8_lossy(&body).into_owned();
    assert!(body.contains("traaviis") && !body.contains("ada@example.org"));
    let metrics = ask(&server.admin, "GET", "/metrics", &[], "").body;
    let sent = metrics.lines().find(|it| it.contains("spans_total{result=\"exported\"}")).unwrap();
    assert!(!sent.ends_with(" 0"), "{sent}");
}

/// A workflow that calls what answers to everything.
const CALLER: &str = r#"
traaviis: "1"
name: Caller
version: 1.0.0
initial: calling
states:
  calling:
    invoke:
      - id: ask
        effect: {type: call_api, url: "URL/v1/thing", method: GET}
        onDone: done
        onError: failed
  done: {type: final}
  failed: {type: final}
"#;

#[test]
fn calls_are_counted_and_traced() {
    let world = World::new();
    let (endpoint, sent) = collector();
    let target = endpoint.trim_start_matches("http://").to_owned();
    let more = ["--allow-private", &target];
    let server = serve(&world, &more, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]);
    let (_, id) = server.work_with(&CALLER.replace("URL", &endpoint), "Caller");
    let of_instance = id.replace('-', "");
    wait_until("the call is traced", || {
        let sent = sent.lock().unwrap();
        let traces = sent.iter().filter(|it| it.0.starts_with("POST /v1/traces"));
        let mut spans = traces.flat_map(|it| spans(&it.1));
        spans.any(|it| it.0 == "effect.attempt" && it.1 == of_instance)
    });
    let metrics = ask(&server.admin, "GET", "/metrics", &[], "").body;
    let series = parse(&metrics);
    let value = |key: &str| series.iter().find(|it| it.0 == key).map(|it| it.1);
    for name in ["started_total", "completed_total", "duration_seconds_count"] {
        let key = format!("traaviis_fsm_effect_{name}{{effect_type=\"call_api\"}}");
        assert_eq!(value(&key), Some(1.0), "{key} in {metrics}");
    }
}

#[test]
fn a_collector_that_is_away_harms_nobody() {
    let world = World::new();
    let server = serve(&world, &[], &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")]);
    server.work();
    let failed = || {
        let metrics = ask(&server.admin, "GET", "/metrics", &[], "").body;
        let line = metrics.lines().find(|it| it.contains("spans_total{result=\"failed\"}"));
        !line.unwrap().ends_with(" 0")
    };
    wait_until("the spans are counted", failed);
    end(server.process);
}

/// Asks a process to end and returns its exit code.
pub fn end(mut process: Process) -> Option<i32> {
    let child: &mut Child = &mut process.0;
    let pid = child.id().to_string();
    std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    child.wait().unwrap().code()
}

#[test]
fn a_server_that_is_told_to_end_answers_what_was_begun() {
    let world = World::new();
    let server = serve(&world, &[], &[]);
    let (access, id) = server.work();
    let (address, path) = (
        server.address.clone(),
        format!("/api/v1/tenants/current/instances/{id}/events?wait=final&timeout=2"),
    );
    let asked = thread::spawn(move || {
        let bearer = format!("Bearer {access}");
        let headers = [("Authorization", &*bearer)];
        ask(&address, "POST", &path, &headers, r#"{"event": "open"}"#).status
    });
    thread::sleep(Duration::from_millis(300));
    let lines = Arc::clone(&server.lines);
    assert_eq!(end(server.process), Some(0));
    let status = asked.join().unwrap();
    assert!([200, 408].contains(&status), "{status}");
    let lines = lines.lock().unwrap().join("\n");
    assert!(lines.contains("the server has ended"), "{lines}");
}
