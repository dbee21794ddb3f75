//! Every way out, tried with every way of naming something that is not public, while a canary
//! counts who comes: nobody.
//!
//! Ports are listed for each address, so that only what is said about addresses holds them off. The
//! names of an attacker are looked up in a table of the test.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener},
    str::FromStr as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use serde_json::json;
use traaviis_model::{Call, CallId, InstanceId, TenantCtx};
use traaviis_ports::{Connector as _, Http as _, HttpAsk, HttpError};

use crate::{
    Connectors, EgressPolicy, Format, HttpConnector, Options, PlainHttp, Target,
    egress::{LookedUp, Names},
    http::Client,
};

/// Ways of naming this machine, a private network or a metadata service; `:P` is the canary's port.
const ADDRESSES: &str = "
    http://127.0.0.1:P/ http://127.1:P/ http://127.0.1:P/ http://127.255.255.254:P/
    http://2130706433:P/ http://0x7f000001:P/ http://0x7F.0.0.1:P/ http://0x7f.1:P/
    http://0177.0.0.1:P/ http://0177.1:P/ http://017700000001:P/ http://127.0.0.1.:P/
    http://00000177.0x0.0.1:P/ http://0x7f.0x0.0x0.0x1:P/ http://127.0.0.01:P/
    http://0.0.0.0:P/ http://0:P/ http://0x0:P/ http://00000000000:P/ http://0.1.2.3:P/
    http://[::1]:P/ http://[::]:P/ http://[0:0:0:0:0:0:0:1]:P/ http://[0000::0001]:P/
    http://[::ffff:127.0.0.1]:P/ http://[::ffff:7f00:1]:P/ http://[::127.0.0.1]:P/
    http://[::ffff:0:127.0.0.1]:P/ http://[64:ff9b::7f00:1]:P/ http://[64:ff9b::127.0.0.1]:P/
    http://[64:ff9b:1::7f00:1]:P/ http://[2002:7f00:1::]:P/ http://[2002:7f00:1::1]:P/
    http://[2001:0:7f00:1::]:P/ http://[fe80::1]:P/ http://[fec0::1]:P/ http://[fc00::1]:P/
    http://[fd00:ec2::254]:P/ http://[ff02::1]:P/ http://[100::1]:P/ http://[::1%25lo]:P/
    http://169.254.169.254:P/latest/meta-data/ http://2852039166:P/ http://0xa9fea9fe:P/
    http://0251.0376.0251.0376:P/ http://[::ffff:169.254.169.254]:P/ http://169.254.170.2:P/
    http://100.100.100.200:P/ http://168.63.129.16:P/ http://metadata.google.internal:P/
    http://metadata:P/ http://instance-data:P/ http://metadata.goog.:P/
    http://10.0.0.1:P/ http://167772161:P/ http://012.1:P/ http://172.16.0.1:P/
    http://172.31.255.255:P/ http://192.168.0.1:P/ http://0xc0a80001:P/ http://100.64.0.1:P/
    http://198.18.0.1:P/ http://192.0.0.192:P/ http://224.0.0.1:P/ http://255.255.255.255:P/
    http://240.0.0.1:P/ http://192.88.99.1:P/
    http://localhost:P/ http://LOCALHOST:P/ http://localhost.:P/ http://localhost..:P/
    http://a.localhost:P/ http://localhost.localdomain:P/ http://k8s.default.svc.cluster.local:P/
    http://db.internal:P/ http://router.lan:P/ http://printer.local:P/
    http://①②⑦.⓪.⓪.①:P/ http://127。0。0。1:P/ http://ⓛocalhost:P/ http://loc\u{ad}alhost:P/
    http://127.0.0.1\u{200b}:P/ http://local\u{200b}host:P/ http://１２７.０.０.１:P/
    http://example.com@127.0.0.1:P/ http://user:pw@127.0.0.1:P/ http://127.0.0.1:P\\@example.com/
    http://127.0.0.1:P#@example.com/ http://127.0.0.1:P%2f@localhost:P/ http://@127.0.0.1:P/
    http:127.0.0.1:P/ http:/127.0.0.1:P/ http:\\\\127.0.0.1:P/ http:///127.0.0.1:P/
    HTTP://127.0.0.1:P/ https://127.0.0.1:P/ ftp://127.0.0.1:P/ gopher://127.0.0.1:P/
    file:///etc/passwd data:text/plain,x javascript:alert(1) ws://127.0.0.1:P/
    http://one.evil.example:P/ http://one.evil.example.:P/ http://ONE.evil.example:P/
    http://six.evil.example:P/ http://mapped.evil.example:P/ http://any.evil.example:P/
    http://both.evil.example:P/ http://last.evil.example:P/ http://ten.evil.example:P/
    http://meta.evil.example:P/ http://ula.evil.example:P/ http://nat64.evil.example:P/
    http://six2four.evil.example:P/ http://link.evil.example:P/ http://cgnat.evil.example:P/
";

/// What the name server of an attacker answers.
const NAMES: &[(&str, &[&str])] = &[
    ("one.evil.example", &["127.0.0.1"]),
    ("six.evil.example", &["::1"]),
    ("mapped.evil.example", &["::ffff:127.0.0.1"]),
    ("any.evil.example", &["0.0.0.0"]),
    ("both.evil.example", &["93.184.215.14", "127.0.0.1"]),
    ("last.evil.example", &["2606:4700:4700::1111", "93.184.215.14", "::1"]),
    ("ten.evil.example", &["10.0.0.1"]),
    ("meta.evil.example", &["169.254.169.254"]),
    ("ula.evil.example", &["fd00:ec2::254"]),
    ("nat64.evil.example", &["64:ff9b::7f00:1"]),
    ("six2four.evil.example", &["2002:7f00:1::"]),
    ("link.evil.example", &["fe80::1"]),
    ("cgnat.evil.example", &["100.64.0.1"]),
];

/// A table of names; those that are not in it are looked up nowhere.
#[derive(Debug, Default)]
struct Table {
    asked: Mutex<Vec<String>>,
}

impl Names for Table {
    fn look_up(&self, name: &str) -> LookedUp {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let before = self.asked.lock().unwrap().iter().filter(|it| **it == name).count();
        self.asked.lock().unwrap().push(name.clone());
        let known = NAMES.iter().find(|it| it.0 == name).map(|it| it.1.to_vec());
        let found = match &*name {
            // First what is listed, then the metadata service of this machine.
            "rebind.example" if before == 0 => Some(vec!["127.0.0.1"]),
            "rebind.example" => Some(vec!["169.254.169.254"]),
            _ => known,
        };
        Box::pin(async move {
            let found = found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
            Ok(found.iter().map(|it| SocketAddr::new(it.parse().unwrap(), 0)).collect())
        })
    }
}

/// A listener on all addresses of this machine that counts who comes and sends them on.
struct Peer {
    port: u16,
    count: Arc<AtomicUsize>,
    /// Status and address for whoever comes; empty is a good answer.
    location: Arc<Mutex<String>>,
}

impl Peer {
    fn start() -> Peer {
        let listener = TcpListener::bind("[::]:0").or_else(|_| TcpListener::bind("0.0.0.0:0"));
        let listener = listener.unwrap();
        let port = listener.local_addr().unwrap().port();
        let peer = Peer { port, count: Arc::default(), location: Arc::default() };
        let (count, location) = (Arc::clone(&peer.count), Arc::clone(&peer.location));
        thread::spawn(move || {
            for stream in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
                let location = location.lock().unwrap().clone();
                let mut stream = stream.unwrap();
                thread::spawn(move || {
                    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
                    let _ = stream.read(&mut [0; 4096]);
                    let head = match location.split_once(' ') {
                        None => "200 OK\r\n".to_owned(),
                        Some((status, to)) => format!("{status} Go\r\nlocation: {to}\r\n"),
                    };
                    let answer = format!(
                        "HTTP/1.1 {head}content-type: application/json\r\nconnection: close\r\n\
                         content-length: 2\r\n\r\n{{}}"
                    );
                    let _ = stream.write_all(answer.as_bytes());
                });
            }
        });
        peer
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

/// The ways out, over one policy and one table of names.
struct Ways {
    connector: HttpConnector,
    /// Where the channel of notifications is, which a secret tells.
    chosen: Arc<Mutex<String>>,
    plain: PlainHttp,
    _runtime: tokio::runtime::Runtime,
}

/// Sends something to an address, and says how it ended.
type Way = fn(&Ways, &str) -> Result<(), String>;

const WAYS: &[(&str, Way)] = &[
    ("call_api", |ways, url| ways.perform("call_api", &json!({ "url": url }))),
    // As webhooks of tenants are told.
    ("webhook", |ways, url| {
        let body = json!({ "url": url, "method": "post", "body": "{}", "redirects": 0 });
        ways.perform("call_api", &body)
    }),
    ("notify", |ways, url| {
        *ways.chosen.lock().unwrap() = url.to_owned();
        ways.perform("notify", &json!({ "to": ["role:support"], "message": "x" }))
    }),
    // As descriptions and keys of issuers are asked for.
    ("issuer", |ways, url| ways.ask(url, None)),
    // As codes are given for tokens.
    ("token", |ways, url| ways.ask(url, Some(vec![("code".into(), "x".into())]))),
];

impl Ways {
    fn over(policy: &EgressPolicy, names: &Arc<Table>) -> Ways {
        let file =
            "traaviis: \"1\"\nkind: connectors\nnotify:\n  \"*\": {webhook: {$secret: where}}\n";
        let chosen: Arc<Mutex<String>> = Arc::default();
        let secret = Arc::clone(&chosen);
        let options = Options {
            egress: policy.clone(),
            connectors: Connectors::read(file, Format::Yaml).unwrap(),
            secrets: Arc::new(move |_: &str| Some(secret.lock().unwrap().clone())),
            handle: None,
            sent: None,
        };
        let connector = HttpConnector::with_names(options, Arc::clone(names) as Arc<_>).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let client = Client::with_names(policy.clone(), Arc::clone(names) as Arc<_>).unwrap();
        let plain = PlainHttp::over(client, runtime.handle().clone());
        Ways { connector, chosen, plain, _runtime: runtime }
    }

    fn perform(&self, kind: &str, input: &serde_json::Value) -> Result<(), String> {
        let instance: InstanceId = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
        let call = Call {
            id: CallId { instance, tree: 1, path: "0".into(), scheduled: 2, attempt: 1 },
            workflow: "Order".into(),
            kind: kind.into(),
            input: input.into(),
            key: "k".into(),
            timeout: None,
            hosts: Vec::new(),
        };
        let (tell, told) = mpsc::channel();
        let done = Box::new(move |it| tell.send(it).unwrap());
        self.connector.perform(&TenantCtx::for_test(7), call, done);
        let outcome = told.recv_timeout(Duration::from_secs(30)).unwrap();
        outcome.map(drop).map_err(|it| format!("{}: {}", it.code, it.message))
    }

    fn ask(&self, url: &str, form: Option<Vec<(String, String)>>) -> Result<(), String> {
        match self.plain.ask(&HttpAsk { url: url.into(), authorization: None, form }) {
            Ok(reply) if reply.status == 200 => Ok(()),
            // Redirects are not followed on this way.
            Ok(reply) => Err(format!("http_error: {}", reply.status)),
            Err(HttpError::Denied(why)) => Err(format!("egress_denied: {why}")),
            Err(HttpError::Failed(why)) => Err(format!("network_error: {why}")),
        }
    }
}

/// Returns the addresses, and a policy in which the port of each is listed.
fn addresses(port: u16) -> (Vec<String>, EgressPolicy) {
    let all = ADDRESSES.split_whitespace().map(|it| it.replace(":P", &format!(":{port}")));
    let all: Vec<String> = all.collect();
    let listed = |it: &String| {
        let host = url::Url::parse(it).ok()?.host_str()?.to_owned();
        Target::from_str(&format!("{host}:{port}")).ok()
    };
    let allow_ports = all.iter().filter_map(listed).collect();
    (all, EgressPolicy { allow_ports, ..EgressPolicy::default() })
}

#[test]
fn nobody_comes_to_the_canary_on_any_way_by_any_address() {
    let canary = Peer::start();
    let (addresses, policy) = addresses(canary.port);
    assert!(addresses.len() >= 110, "{}", addresses.len());
    let names = Arc::new(Table::default());
    let ways = Ways::over(&policy, &names);
    let mut count = 0;
    for (name, way) in WAYS {
        for address in &addresses {
            let told = way(&ways, address).unwrap_err();
            let code = told.split(':').next().unwrap();
            let is_refused = ["egress_denied", "validation_failed"].contains(&code)
                // What is no address at all.
                || (code == "network_error" && told.contains("this is no URL"));
            assert!(is_refused, "{name} {address}: {told}");
            count += 1;
        }
    }
    assert_eq!(canary.count(), 0);
    for (name, _) in NAMES {
        let asked = names.asked.lock().unwrap().iter().filter(|it| *it == name).count();
        assert!(asked >= WAYS.len(), "{name} was looked up {asked} times");
    }
    println!("{count} attempts, 0 connections");
    // The canary sees who comes.
    let open = EgressPolicy {
        allow_private: vec![format!("127.0.0.1:{}", canary.port).parse().unwrap()],
        ..policy
    };
    let ways = Ways::over(&open, &names);
    for (name, way) in WAYS {
        let before = canary.count();
        way(&ways, &format!("http://127.0.0.1:{}/", canary.port)).unwrap();
        assert_eq!(canary.count(), before + 1, "{name}");
    }
}

#[test]
fn nobody_is_sent_to_the_canary_by_a_peer_that_may_be_spoken_to() {
    let (canary, peer) = (Peer::start(), Peer::start());
    let (addresses, policy) = addresses(canary.port);
    let policy = EgressPolicy {
        allow_private: vec![format!("127.0.0.1:{}", peer.port).parse().unwrap()],
        ..policy
    };
    let ways = Ways::over(&policy, &Arc::new(Table::default()));
    let from = format!("http://127.0.0.1:{}/", peer.port);
    let more = [format!("//127.0.0.1:{}/", canary.port), format!("///[::1]:{}/", canary.port)];
    for (at, address) in addresses.iter().chain(&more).enumerate() {
        let status = [301, 302, 303, 307, 308][at % 5];
        *peer.location.lock().unwrap() = format!("{status} {address}");
        for (name, way) in WAYS {
            // What is a path of the peer itself leads back to it, in circles.
            assert!(way(&ways, &from).is_err(), "{name} {address}");
        }
    }
    assert_eq!(canary.count(), 0);
    assert!(peer.count() >= WAYS.len() * addresses.len(), "{}", peer.count());
}

#[test]
fn a_name_is_looked_up_once_for_the_check_and_the_connection() {
    let peer = Peer::start();
    let target: Target = format!("rebind.example:{}", peer.port).parse().unwrap();
    let policy = EgressPolicy { allow_private: vec![target], ..EgressPolicy::default() };
    for (name, way) in WAYS {
        let names = Arc::new(Table::default());
        let ways = Ways::over(&policy, &names);
        let (url, before) = (format!("http://rebind.example:{}/", peer.port), peer.count());
        way(&ways, &url).unwrap();
        assert_eq!(names.asked.lock().unwrap().len(), 1, "{name}");
        // The next answer of the name server is another one, and refused.
        let told = way(&ways, &url).unwrap_err();
        assert!(told.starts_with("egress_denied"), "{name}: {told}");
        assert!(!told.contains("169.254"), "what stands behind a name is not told: {told}");
        assert_eq!(peer.count(), before + 1, "{name}");
    }
}

#[test]
fn names_of_the_table_are_none_that_may_be_reached() {
    for (name, addrs) in NAMES {
        let addrs: Vec<IpAddr> = addrs.iter().map(|it| it.parse().unwrap()).collect();
        assert!(EgressPolicy::default().check_resolved(name, &addrs).is_err(), "{name}");
    }
}
