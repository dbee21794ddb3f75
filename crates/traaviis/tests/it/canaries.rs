//! Marked secrets and personal values, sent through a served directory with everything that it can
//! do: they stand in the answers that are meant to tell them, in letters to their owner, and
//! nowhere else, neither before nor after the person is erased.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use serde_json::{Value as Json, json};
use traaviis_model::value::base64;

use crate::{
    cli::{World, wait_until},
    observed,
    server::{Server, Told},
};

const ABOUT: &str = r#"
traaviis: "1"
name: About
version: 1.0.0
initial: calling
subject: input.customer
input: {schema: {type: object, properties: {customer: {type: string}, email: {type: string}}}}
data: {initial: {email: "${input.email}", phone: "${input.phone}", got: ""}}
events: {close: {}}
states:
  calling:
    invoke:
      - id: ask
        effect:
          type: call_api
          url: "http://PEER/ask"
          method: POST
          headers: {authorization: "${secret('payment_key')}"}
          body: {to: "${data.email}"}
          response: text
        onDone: {target: open, actions: [{assign: {got: "${event.data.body}"}}]}
        onError: {target: open, actions: [{assign: {got: "${event.data}"}}]}
  open: {on: {close: done}}
  done: {type: final}
"#;

/// Answers every request with the request, so that what it was told comes back.
fn peer() -> (String, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, heard) = (listener.local_addr().unwrap(), Arc::<Mutex<String>>::default());
    let told = Arc::clone(&heard);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
            let (mut text, mut piece) = (String::new(), [0; 4096]);
            while let Ok(read @ 1..) = stream.read(&mut piece) {
                text.push_str(&String::from_utf8_lossy(&piece[..read]));
            }
            told.lock().unwrap().push_str(&text);
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close";
            let reply = format!("{head}\r\ncontent-length: {}\r\n\r\n{text}", text.len());
            let _ = stream.write_all(reply.as_bytes());
        }
    });
    (address.to_string(), heard)
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files(&path, found),
            false if path.is_file() => found.push(path),
            false => {}
        }
    }
}

/// Everything that was said and kept, by where.
struct Places {
    server: Server,
    world: World,
    /// Answers by the step that they belong to.
    answers: Vec<(&'static str, String)>,
    otlp: observed::Sent,
}

impl Places {
    fn ask(&mut self, step: &'static str, who: &str, ask: (&str, &str), body: Json) -> Told {
        let told = self.server.call(who, ask.0, ask.1, body);
        self.answers.push((step, format!("{}\n{}", told.head, told.body)));
        told
    }

    fn good(&mut self, step: &'static str, who: &str, ask: (&str, &str), body: Json) -> Told {
        let told = self.ask(step, who, ask, body);
        assert!(told.status < 300, "{step}: {told:?}");
        told
    }

    /// Waits for a letter with such a token, and returns that.
    fn letter(&self, begins: &str) -> String {
        let mut token = String::new();
        wait_until("the letter has come", || {
            let mut all = Vec::new();
            files(&self.world.path("mail"), &mut all);
            let text: String =
                all.iter().map(|it| fs::read_to_string(it).unwrap_or_default()).collect();
            let line = text.lines().find(|it| it.starts_with(begins)).unwrap_or_default();
            token = line.trim().to_owned();
            !token.is_empty()
        });
        token
    }

    /// Returns everything that was kept or told, each with its place.
    fn kept(&self) -> Vec<(String, String)> {
        let mut paths = vec![self.world.path("lines")];
        for folder in ["data", "backups"] {
            files(&self.world.path(folder), &mut paths);
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes.trim_ascii_end()).into_owned();
        let read = |path: PathBuf| {
            let bytes = fs::read(&path).unwrap_or_default();
            // The end of a log is room for more.
            let end = bytes.iter().rposition(|it| *it != 0).map_or(0, |it| it + 1);
            (path.display().to_string(), text(&bytes[..end]))
        };
        let mut all: Vec<_> = paths.into_iter().map(read).collect();
        for (head, body) in self.otlp.lock().unwrap().iter() {
            all.push(("what a collector was sent".into(), head.clone() + &text(body)));
        }
        all
    }

    /// Says where a word stands besides the steps that may tell it.
    fn found(&self, kept: &[(String, String)], word: &str, allowed: &[&str]) -> Vec<String> {
        let base64 = base64(word.as_bytes());
        // Without its end, which depends on what follows.
        let base64 = &base64[..base64.trim_end_matches('=').len() - 2];
        let holds = |text: &str| text.contains(word) || text.contains(base64);
        let answers = self.answers.iter().filter(|it| !allowed.contains(&it.0) && holds(&it.1));
        let answers = answers.map(|it| format!("the answer to `{}`", it.0));
        let kept = kept.iter().filter(|it| holds(&it.1)).map(|it| it.0.clone());
        answers.chain(kept).collect()
    }
}

const PASSWORD: &str = "Canary password 7Qz of ada";
const SECRET: &str = "sk_canary_vault_7Qz_0011223344";
const METRICS: &str = "canaryMetricsToken7QzAbCdEf";
const EMAIL: &str = "zebediah.canary@example.org";
const NAME: &str = "Zebediah Canaryson";
const CUSTOMER_EMAIL: &str = "customer.canary@example.com";
const CUSTOMER_PHONE: &str = "+49 170 5550199";

#[test]
fn marked_values_stand_only_where_they_are_meant_to_be_told() {
    let world = World::new();
    let (peer, heard) = peer();
    let (endpoint, otlp) = observed::collector();
    let lines = File::create(world.path("lines")).unwrap();
    let server = Server::logging(
        &world,
        &["--mail-url", "file:mail", "--allow-private", &peer],
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            ("TRAAVIIS_HTTP__METRICS_TOKEN", METRICS),
            ("TRAAVIIS_LOG__LEVEL", "debug"),
        ],
        lines.into(),
    );
    let mut all = Places { server, world, answers: Vec::new(), otlp };

    // Who they are.
    // Else the tenant is called after them, and its name is no secret.
    let body = json!({
        "email": EMAIL, "password": PASSWORD, "name": NAME, "organisation": "Canary Works",
    });
    let told = all.good("register", "", ("POST", "/auth/register"), body);
    let (access, refresh) = (told.text("/access_token"), told.text("/refresh_token"));
    let verification = all.letter("trv_vfy_");
    all.good("verify", "", ("POST", "/auth/verify"), json!({ "token": verification }));
    let begun = all.good("app begun", &access, ("POST", "/me/mfa"), json!({ "kind": "totp" }));
    let seed = begun.text("/secret");
    let app = totp_rs::Secret::try_from_base32(&seed).unwrap();
    let app = totp_rs::Builder::new().with_secret(app).build().unwrap();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let confirm = format!("/me/mfa/{}/confirm", begun.text("/id"));
    let code = json!({ "code": app.generate(now).to_string() });
    all.good("app confirmed", &access, ("POST", &confirm), code);
    let made = all.good("codes", &access, ("POST", "/me/mfa/recovery-codes"), Json::Null);
    let recovery = made.text("/codes/0");
    all.ask("factors", &access, ("GET", "/me/mfa"), Json::Null);
    let wrong = json!({ "email": EMAIL, "password": format!("{PASSWORD} x") });
    all.ask("wrong login", "", ("POST", "/auth/login"), wrong);
    all.ask("bad body", "", ("POST", "/auth/login"), json!({ "email": 7, "password": PASSWORD }));
    let login = json!({ "email": EMAIL, "password": PASSWORD, "totp": recovery });
    let told = all.good("login", "", ("POST", "/auth/login"), login);
    let other = told.text("/refresh_token");
    let told =
        all.good("refresh", "", ("POST", "/auth/refresh"), json!({ "refresh_token": refresh }));
    let (access, renewed) = (told.text("/access_token"), told.text("/refresh_token"));
    let told = all.good("ticket", &access, ("POST", "/auth/socket-ticket"), Json::Null);
    let ticket = told.text("/ticket");
    // Where tokens stand in addresses, as those of sockets may.
    for token in [&ticket, &access, &refresh] {
        all.ask(
            "in an address",
            "",
            ("GET", &format!("/me?token={token}&ticket={token}")),
            Json::Null,
        );
    }
    all.ask("as a bearer", &format!("{renewed}x"), ("GET", "/me"), Json::Null);
    let reset = json!({ "email": EMAIL });
    all.good("reset asked", "", ("POST", "/auth/reset/request"), reset);
    let reset = all.letter("trv_rst_");

    // What they set up.
    let here = "/tenants/current";
    let path = |below: &str| format!("{here}{below}");
    let key = json!({ "name": "robot", "scopes": ["workflow_monitor"] });
    let key = all.good("key", &access, ("POST", &path("/api-keys")), key).text("/key");
    all.ask("by key", &key, ("GET", &path("/instances")), Json::Null);
    let hook = json!({ "url": format!("http://{peer}/hook"), "events": ["created", "finished"] });
    let hook = all.good("webhook", &access, ("POST", &path("/webhooks")), hook);
    let signing = hook.text("/secret");
    assert!(signing.starts_with("whsec_"), "{hook:?}");
    let value = json!({ "value": SECRET });
    all.good("secret", &access, ("PUT", &path("/secrets/payment_key")), value);
    let invite = json!({ "email": "bob.canary@example.org", "role": "viewer" });
    let invited = all.good("invite", &access, ("POST", &path("/invitations")), invite);
    let invitation = invited.text("/token");

    // What runs.
    let document = json!({ "document": ABOUT.replace("PEER", &peer) });
    all.good("workflow", &access, ("POST", &path("/workflows")), document);
    all.good("published", &access, ("POST", &path("/workflows/About/publish")), Json::Null);
    let input = json!({ "customer": "c-17", "email": CUSTOMER_EMAIL, "phone": CUSTOMER_PHONE });
    let start = json!({ "workflow": "About", "input": input });
    let id = all.good("start", &access, ("POST", &path("/instances")), start).text("/id");
    let instance = path(&format!("/instances/{id}"));
    wait_until("the peer has answered", || {
        let told = all.ask("instance", &access, ("GET", &instance), Json::Null);
        told.text("/snapshot/configuration/0") == "open"
            || told.body.to_string().contains("\"open\"")
    });
    assert!(heard.lock().unwrap().contains(SECRET), "the peer was told the secret");
    wait_until("the webhook was told", || heard.lock().unwrap().contains("POST /hook"));
    all.good("history", &access, ("GET", &format!("{instance}/events")), Json::Null);
    let close = json!({ "event": "close" });
    all.good("close", &access, ("POST", &format!("{instance}/events")), close);

    // What is looked at and taken out.
    for (step, below) in [
        ("audit", "/audit?limit=200"),
        ("export", "/audit/export?format=jsonl"),
        ("export", "/audit/export?format=csv"),
        ("export", "/audit/export?format=cloudevents"),
        ("checkpoints", "/audit/checkpoints"),
        ("alerts", "/alerts"),
        ("secrets", "/secrets"),
        ("webhooks", "/webhooks"),
        ("keys", "/api-keys"),
        ("members", "/members"),
        ("report", "/privacy/report"),
        ("usage", "/usage"),
        ("workflows", "/workflows"),
        ("tasks", "/tasks"),
    ] {
        all.ask(step, &access, ("GET", &path(below)), Json::Null);
    }
    let numbers = metrics(&all.server);
    assert!(numbers.contains("traaviis_"), "{numbers}");
    all.answers.push(("metrics", numbers));
    let shown = all.world.run(&["backup", "backups", "--data", "data"]);
    all.answers.push(("backup", all.world.shown(&shown)));
    for path in ["/v1/traces", "/v1/metrics", "/v1/logs"] {
        let begins = format!("POST {path} ");
        wait_until("everything has come", || {
            all.otlp.lock().unwrap().iter().any(|it| it.0.starts_with(&begins))
        });
    }

    // The answers that tell it, and nothing else.
    let secrets: &[(&str, &str, &[&str])] = &[
        ("password", PASSWORD, &[]),
        ("secret of the vault", SECRET, &[]),
        ("token of operators", METRICS, &[]),
        ("seed of the app", &seed, &["app begun"]),
        ("recovery code", &recovery, &["codes"]),
        ("first refresh token", &refresh, &["register"]),
        ("refresh token of a login", &other, &["login"]),
        ("renewed refresh token", &renewed, &["refresh"]),
        ("access token", &access, &["refresh"]),
        ("ticket", &ticket, &["ticket"]),
        ("API key", &key, &["key"]),
        ("secret of the webhook", &signing, &["webhook"]),
        ("token of the invitation", &invitation, &["invite"]),
        ("token that confirms", &verification, &[]),
        ("token that resets", &reset, &[]),
    ];
    let own = ["register", "login", "refresh"];
    let data = ["start", "instance", "history", "close"];
    let personal: &[(&str, &str, &[&str])] = &[
        ("address", EMAIL, &own),
        ("name", NAME, &["register", "login", "refresh", "members"]),
        ("invited address", "bob.canary@example.org", &["invite"]),
        ("address of a customer", CUSTOMER_EMAIL, &data),
        ("number of a customer", CUSTOMER_PHONE, &data),
    ];
    let check = |all: &Places, when: &str| {
        let kept = all.kept();
        // What is looked for can be found.
        assert!(!all.found(&kept, "About", &[]).is_empty());
        for (what, word, allowed) in secrets.iter().chain(personal) {
            let found = all.found(&kept, word, allowed);
            assert!(found.is_empty(), "{when}: the {what} stands in {found:?}");
        }
    };
    check(&all, "while they are there");

    // And after they are gone.
    let erase = json!({ "subject": "c-17", "terminate": true });
    all.good("erased", &access, ("POST", &path("/privacy/erase-subject")), erase);
    let told = all.good("after", &access, ("GET", &instance), Json::Null);
    assert!(!told.body.to_string().contains(CUSTOMER_EMAIL), "{told:?}");
    let told = all.ask("gone", &access, ("DELETE", here), json!({ "confirm": "x" }));
    assert_eq!(told.status, 422, "{told:?}");
    check(&all, "after the customer was erased");
    all.server.kill_in_place();
    check(&all, "after the process was killed");
}

/// Returns what operators read who show their token.
fn metrics(server: &Server) -> String {
    let mut stream = std::net::TcpStream::connect(&server.address).unwrap();
    let request = format!(
        "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         authorization: Bearer {METRICS}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}
