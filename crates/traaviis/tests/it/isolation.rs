//! An owner of another tenant asks a running server for everything of a tenant: every operation,
//! with every id that stands in any of its answers, at every place where an id can stand. Each
//! answer must be the very one about something that is not there.
//!
//! `INTRUSIONS` says how many requests, `INTRUSION_SEED` which.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
};

use serde_json::{Value as Json, json};
use traaviis_testkit::rng::Rng;
use uuid::Uuid;

use crate::{
    cli::World,
    server::{PASSWORD, Server},
};

/// Requests of a run of all tests; releases are checked with 100,000.
const INTRUSIONS: u64 = 4_000;
/// Requests that one intruder sends, so that no limit of a caller answers instead.
const EACH: u64 = 2_000;
/// An id of nothing.
const ABSENT: &str = "0198c51a-7800-7abc-8000-0123456789ab";

/// A caller of the server.
struct Caller {
    connection: BufReader<TcpStream>,
    token: String,
}

impl Caller {
    fn new(address: &str, token: String) -> Caller {
        Caller { connection: BufReader::new(TcpStream::connect(address).unwrap()), token }
    }

    fn register(address: &str, email: &str) -> (Caller, String) {
        let mut caller = Caller::new(address, String::new());
        let body = json!({ "email": email, "password": PASSWORD });
        let (status, told) = caller.ask("POST", "/api/v1/auth/register", &body);
        assert_eq!(status, 201, "{told}");
        caller.token = told["access_token"].as_str().unwrap().to_owned();
        (caller, told["tenant"]["id"].as_str().unwrap().to_owned())
    }

    /// Sends a request; null is no body.
    fn ask(&mut self, method: &str, path: &str, body: &Json) -> (u16, Json) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let authorization = match self.token.as_str() {
            "" => String::new(),
            token => format!("Authorization: Bearer {token}\r\n"),
        };
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{authorization}\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        self.connection.get_mut().write_all(request.as_bytes()).unwrap();
        let mut line = String::new();
        self.connection.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("{request}: {line}"));
        let status = status.parse().unwrap();
        let (mut length, mut is_chunked) = (0, false);
        loop {
            line.clear();
            self.connection.read_line(&mut line).unwrap();
            match line.trim_end().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.parse().unwrap();
                }
                Some((name, _)) => is_chunked |= name.eq_ignore_ascii_case("transfer-encoding"),
                None => break,
            }
        }
        let mut bytes = vec![0; length];
        self.connection.read_exact(&mut bytes).unwrap();
        while is_chunked {
            line.clear();
            self.connection.read_line(&mut line).unwrap();
            let length = usize::from_str_radix(line.trim_end(), 16).unwrap();
            let mut chunk = vec![0; length + 2];
            self.connection.read_exact(&mut chunk).unwrap();
            bytes.extend(&chunk[..length]);
            is_chunked = length > 0;
        }
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }
}

/// Collects every id in an answer.
fn ids(value: &Json, found: &mut BTreeSet<String>) {
    match value {
        Json::String(text) if text.parse::<Uuid>().is_ok() => {
            found.insert(text.clone());
        }
        Json::Array(items) => items.iter().for_each(|it| ids(it, found)),
        Json::Object(fields) => fields.values().for_each(|it| ids(it, found)),
        _ => {}
    }
}

/// Operations of tenants, by method and path, as the server describes itself.
fn operations(caller: &mut Caller) -> Vec<(String, String)> {
    let (_, document) = caller.ask("GET", "/api/v1/openapi.json", &Json::Null);
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        if let Some(at) = path.find("/tenants/{t}") {
            let path = format!("/api/v1{}", &path[at..]);
            for method in methods.as_object().unwrap().keys() {
                if ["get", "post", "put", "patch", "delete"].contains(&method.as_str()) {
                    all.push((method.to_uppercase(), path.clone()));
                }
            }
        }
    }
    all
}

/// Writes values into the places of a path, in turn.
fn fill(path: &str, tenant: &str, mut value: impl FnMut() -> String) -> String {
    let mut filled = Vec::new();
    for part in path.replace("{t}", tenant).split('/') {
        let is_place = part.starts_with('{') && part.ends_with('}');
        filled.push(if is_place { value() } else { part.to_owned() });
    }
    filled.join("/")
}

/// A tenant with something of each kind; returns every id in it and every name.
fn furnish(ada: &mut Caller, operations: &[(String, String)]) -> (Vec<String>, Vec<String>) {
    let door = "traaviis: '1'\nname: Door\nversion: 1.0.0\ninitial: shut\nevents: {open: {}}\n\
                states: {shut: {on: {open: open}}, open: {}}\n";
    let post = |ada: &mut Caller, path: &str, body: Json| {
        let (status, told) = ada.ask("POST", &format!("/api/v1/tenants/current{path}"), &body);
        assert!((200..300).contains(&status), "{path}: {told}");
    };
    post(ada, "/workflows", json!({ "document": door }));
    post(ada, "/workflows/Door/publish", json!({}));
    for _ in 0..3 {
        post(ada, "/instances", json!({ "workflow": "Door" }));
    }
    post(ada, "/invitations", json!({ "email": "bob@example.org", "role": "viewer" }));
    post(ada, "/api-keys", json!({ "name": "robot", "scopes": ["workflow_monitor"] }));
    let role = json!({ "name": "Watcher", "base": "viewer", "permissions": [] });
    post(ada, "/roles", role);
    let mut found = BTreeSet::new();
    for (_, path) in operations.iter().filter(|it| it.0 == "GET") {
        if path.matches('{').count() == 1 {
            let (_, told) = ada.ask("GET", &path.replace("{t}", "current"), &Json::Null);
            ids(&told, &mut found);
        }
    }
    assert!(found.len() >= 8, "{found:?}");
    (found.into_iter().collect(), vec!["Door".into(), "robot".into(), "Watcher".into()])
}

#[test]
fn an_intruder_is_answered_as_if_nothing_were_there() {
    let world = World::new();
    let server = Server::serve(&world);
    let number = |name: &str| std::env::var(name).ok().and_then(|it| it.parse::<u64>().ok());
    let wanted = number("INTRUSIONS").unwrap_or(INTRUSIONS);
    let mut dice = Rng::new(number("INTRUSION_SEED").unwrap_or(1));
    let (mut ada, theirs) = Caller::register(&server.address, "ada@example.org");
    let operations = operations(&mut ada);
    let (ids, names) = furnish(&mut ada, &operations);
    let look = |ada: &mut Caller| {
        let all =
            ["", "/members", "/invitations", "/roles", "/api-keys", "/workflows", "/instances"];
        all.map(|it| {
            let path = format!("/api/v1/tenants/current{it}");
            let (_, mut told) = ada.ask("GET", &path, &Json::Null);
            for item in told["items"].as_array_mut().into_iter().flatten() {
                item["age_ms"] = Json::Null;
            }
            told.to_string()
        })
    };
    let before = look(&mut ada);

    let (mut eve, mut own) = (None, String::new());
    let mut asked = 0;
    while asked < wanted {
        let eve = match &mut eve {
            Some(eve) if asked % EACH > 1 => eve,
            eve => {
                let email = format!("eve{asked}@example.org");
                let (caller, tenant) = Caller::register(&server.address, &email);
                own = tenant;
                asked += 2;
                eve.insert(caller)
            }
        };
        let (method, path) = &operations[dice.index(operations.len())];
        // Below the other tenant, or with its ids below one's own, where there is a place for one.
        let is_below_own = path.matches('{').count() > 1 && dice.chance(1, 2);
        let given = if is_below_own { &own } else { &theirs };
        let pool = if path.contains("{id}") || dice.chance(1, 2) { &ids } else { &names };
        let value = pool[dice.index(pool.len())].clone();
        let other = if value.parse::<Uuid>().is_ok() { ABSENT } else { "Nothing" };
        let body = if method == "GET" { Json::Null } else { json!({}) };
        let mut told = |tenant: &str, value: &str| {
            let path = fill(path, tenant, || value.to_owned());
            let (status, mut answer) = eve.ask(method, &path, &body);
            // What differs for every request, and what the caller has said itself.
            answer["request_id"] = Json::Null;
            answer["instance"] = Json::Null;
            let text = answer.to_string().replace(value, "VALUE").replace(tenant, "TENANT");
            (status, text)
        };
        let absent = told(if is_below_own { &own } else { ABSENT }, other);
        let answer = told(given, &value);
        assert_eq!(answer, absent, "{method} {path} with {value} below {given}");
        assert!(answer.0 >= 400, "{method} {path}: {answer:?}");
        asked += 2;
    }
    // The server closes what is idle for long.
    ada = Caller::new(&server.address, ada.token);
    assert_eq!(look(&mut ada), before, "something has changed");
    println!("{asked} requests of an intruder, 0 answered about what is there");
}
