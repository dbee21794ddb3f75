//! Ways out of a served directory that a tenant decides about: calls of workflows, webhooks,
//! issuers and what those say of themselves. A canary counts who comes: nobody.
//!
//! `crates/traaviis-connect` tries all ways of writing an address; here it is shown that every way
//! out is held off by it.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::json;

use crate::{
    cli::{World, wait_until},
    server::Server,
};

/// Listens on all addresses of this machine; answers with what it was told to.
struct Peer {
    port: u16,
    count: Arc<AtomicUsize>,
    answer: Arc<Mutex<String>>,
}

impl Peer {
    fn start() -> Peer {
        let listener = TcpListener::bind("[::]:0").or_else(|_| TcpListener::bind("0.0.0.0:0"));
        let listener = listener.unwrap();
        let port = listener.local_addr().unwrap().port();
        let peer = Peer { port, count: Arc::default(), answer: Arc::default() };
        let (count, answer) = (Arc::clone(&peer.count), Arc::clone(&peer.answer));
        thread::spawn(move || {
            for stream in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
                let mut stream = stream.unwrap();
                let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(answer.lock().unwrap().as_bytes());
            }
        });
        peer
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    fn says(&self, status: &str, header: &str, body: &str) {
        let length = body.len();
        *self.answer.lock().unwrap() = format!(
            "HTTP/1.1 {status}\r\n{header}connection: close\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
    }
}

/// Ways of naming this machine that a tenant may try.
const ADDRESSES: &[&str] = &[
    "http://127.0.0.1:P/",
    "http://localhost:P/",
    "http://2130706433:P/",
    "http://0x7f.1:P/",
    "http://[::1]:P/",
    "http://[::ffff:127.0.0.1]:P/",
    "http://0:P/",
    "http://127.1:P/",
    "http://a@127.0.0.1:P/",
    "http://localhost.:P/",
    "http://x.localhost:P/",
    "https://127.0.0.1:P/",
    "http://127.0.0.1/",
    "http://169.254.169.254/",
    "http://metadata.google.internal/",
];

const CALLER: &str = r#"
traaviis: "1"
name: Caller
version: 1.0.0
initial: calling
permissions: {hosts: ["*"]}
input: {schema: {type: object, properties: {url: {type: string}}}}
data: {initial: {why: ""}}
states:
  calling:
    invoke:
      - id: ask
        effect: {type: call_api, url: "${input.url}", method: GET}
        onDone: {target: done, actions: [{assign: {why: "reached"}}]}
        onError: {target: done, actions: [{assign: {why: "${event.data.code}"}}]}
  done: {type: final, output: {why: "${data.why}"}}
"#;

struct Here {
    server: Server,
    token: String,
    canary: Peer,
    /// One that the operator has listed.
    listed: Peer,
    _world: World,
}

fn here() -> Here {
    let (canary, listed) = (Peer::start(), Peer::start());
    let world = World::new();
    let allowed = format!("127.0.0.1:{}", listed.port);
    let server = Server::with(&world, &["--allow-private", &allowed], &[]);
    let token = server.register("ada@example.org");
    server.publish(&token, "Caller", CALLER);
    Here { server, token, canary, listed, _world: world }
}

impl Here {
    fn addresses(&self) -> Vec<String> {
        ADDRESSES.iter().map(|it| it.replace(":P", &format!(":{}", self.canary.port))).collect()
    }

    /// A workflow calls an address; returns how that ended.
    fn call(&self, url: &str) -> String {
        let start = json!({ "workflow": "Caller", "input": { "url": url } });
        let told = self.server.post(&self.token, "/instances", start);
        let path = format!("/tenants/current/instances/{}", told.text("/id"));
        let mut why = String::new();
        wait_until("the call has ended", || {
            why = self.server.get(&self.token, &path).text("/snapshot/output/why");
            !why.is_empty()
        });
        why
    }

    /// An issuer of the tenant is set; returns the code of the refusal.
    fn issuer(&self, url: &str) -> String {
        let body = json!({
            "url": url, "client_id": "x", "domains": ["example.org"], "otherwise": "viewer",
        });
        let told = self.server.call(&self.token, "PUT", "/tenants/current/issuers/sso", body);
        assert!(told.status >= 400 && told.status < 500, "{url}: {told:?}");
        told.code().to_owned()
    }

    /// Makes a webhook.
    fn webhook(&self, url: &str) {
        let hook = json!({ "url": url, "events": ["created"] });
        let made = self.server.post(&self.token, "/webhooks", hook);
        // What is no address of http is refused at once.
        assert!(made.status == 201 || made.status == 422, "{url}: {made:?}");
    }
}

#[test]
fn what_a_tenant_names_leads_to_no_private_address() {
    let here = here();
    for address in here.addresses() {
        assert_eq!(here.call(&address), "egress_denied", "{address}");
        let code = here.issuer(&address);
        assert!(["egress_denied", "validation_failed"].contains(&&*code), "{address}: {code}");
    }
    // Told at the same time as one that is heard.
    here.listed.says("204 No Content", "", "");
    here.addresses().iter().for_each(|it| here.webhook(it));
    here.webhook(&format!("http://127.0.0.1:{}/", here.listed.port));
    here.server.start(&here.token, "Caller");
    wait_until("a webhook was told", || here.listed.count() > 0);
    here.server.start(&here.token, "Caller");
    wait_until("a webhook was told again", || here.listed.count() > 1);
    assert_eq!(here.canary.count(), 0);
    // Where the operator allows it, somebody comes.
    here.listed.says("200 OK", "", "{}");
    assert_eq!(here.call(&format!("http://127.0.0.1:{}/", here.listed.port)), "reached");
}

#[test]
fn what_a_listed_peer_says_leads_to_no_private_address() {
    let here = here();
    let own = format!("http://127.0.0.1:{}", here.listed.port);
    for address in here.addresses() {
        for status in ["301 Gone", "302 Go", "307 Go"] {
            here.listed.says(status, &format!("location: {address}\r\n"), "");
            assert_eq!(here.call(&own), "egress_denied", "{status} {address}");
            assert_eq!(here.issuer(&own), "login_elsewhere_failed", "{status} {address}");
        }
        // What an issuer says of itself: where its keys are. The code is sent only in a login.
        let description = json!({
            "issuer": own, "authorization_endpoint": format!("{own}/a"),
            "token_endpoint": address, "jwks_uri": address,
        });
        here.listed.says("200 OK", "", &description.to_string());
        assert_eq!(here.issuer(&own), "egress_denied", "{address}");
    }
    assert_eq!(here.canary.count(), 0);
}
