//! Who somebody is, as people meet it: letters, second factors, and logging in elsewhere, through
//! the served binary.

use std::{
    io::{BufRead as _, BufReader, Lines, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{ChildStdout, Command, Stdio},
    sync::mpsc,
    thread,
};

use serde_json::{Value as Json, json};

use crate::{
    cli::{Process, World, wait_until},
    npm,
};

const PASSWORD: &str = "correct horse battery";

struct Server {
    _process: Process,
    base: String,
    runtime: tokio::runtime::Runtime,
}

impl Server {
    /// Starts it with further arguments and variables, on a port that was free a moment ago: its
    /// own address must be known beforehand.
    fn start(world: &World, arguments: &[&str], variables: &[(&str, &str)]) -> Server {
        for _ in 0..5 {
            let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let (listen, base) = (free.to_string(), format!("http://localhost:{}", free.port()));
            let mut all = vec!["serve", "--data", "data", "--listen", &listen, "--base-url", &base];
            all.extend(arguments);
            let mut command = world.command(&all);
            command.envs(variables.iter().copied());
            let mut process = Process(command.stdout(Stdio::piped()).spawn().unwrap());
            let mut line = String::new();
            BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
            if line.contains("listening") {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let base = format!("http://{listen}");
                return Server { _process: process, base, runtime };
            }
        }
        panic!("it does not listen");
    }

    /// Starts it with these arguments, at an address that is known.
    fn spawn(world: &World, arguments: &[&str], base: String) -> Server {
        let mut process = Process(world.command(arguments).stdout(Stdio::piped()).spawn().unwrap());
        let mut line = String::new();
        BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("listening"), "{line}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Server { _process: process, base, runtime }
    }

    fn ask(&self, who: &str, method: &str, path: &str, body: &Json) -> (u16, Json) {
        self.ask_with("", (method, path), who, body)
    }

    fn ask_with(
        &self,
        cookie: &str,
        (method, path): (&str, &str),
        who: &str,
        body: &Json,
    ) -> (u16, Json) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("{}/api/v1{path}", self.base);
        let mut request = client.request(method.parse().unwrap(), url);
        if !who.is_empty() {
            request = request.bearer_auth(who);
        }
        if !cookie.is_empty() {
            request = request.header("cookie", cookie);
        }
        if !body.is_null() {
            request = request.json(body);
        }
        self.runtime.block_on(async {
            let answer = request.send().await.unwrap();
            let (status, bytes) = (answer.status().as_u16(), answer.bytes().await.unwrap());
            (status, serde_json::from_slice(&bytes).unwrap_or_default())
        })
    }

    fn post(&self, path: &str, body: &Json) -> (u16, Json) {
        self.ask("", "POST", path, body)
    }
}

fn text(body: &Json, pointer: &str) -> String {
    body.pointer(pointer).and_then(Json::as_str).unwrap_or_default().to_owned()
}

/// Waits for so many letters in a folder, and returns the token in the last.
fn token_in(folder: &Path, count: usize) -> String {
    let mut letters: Vec<PathBuf> = Vec::new();
    wait_until("the letter has come", || {
        let files = std::fs::read_dir(folder).into_iter().flatten();
        letters = files.map(|it| it.unwrap().path()).collect();
        letters.sort();
        letters.len() == count && std::fs::metadata(&letters[count - 1]).unwrap().len() > 0
    });
    let letter = std::fs::read_to_string(letters.last().unwrap()).unwrap();
    let line = letter.lines().find(|it| it.starts_with("trv_"));
    line.unwrap_or_else(|| panic!("{letter}")).to_owned()
}

#[test]
fn an_address_is_confirmed_and_a_password_reset_by_letters_in_a_folder() {
    let world = World::new();
    let folder = world.path("mail");
    let url = format!("file:{}", folder.display());
    let server = Server::start(&world, &["--mail-url", &url, "--require-email-verification"], &[]);
    let ada = json!({ "email": "ada@example.org", "password": PASSWORD });
    let (status, registered) = server.post("/auth/register", &ada);
    assert_eq!((status, text(&registered, "/code")), (403, "email_not_verified".into()));
    let token = token_in(&folder, 1);
    assert_eq!(server.post("/auth/login", &ada).1["code"], "email_not_verified");
    assert_eq!(server.post("/auth/verify", &json!({ "token": token })).0, 204);
    assert_eq!(server.post("/auth/verify", &json!({ "token": token })).0, 401);
    assert_eq!(server.post("/auth/login", &ada).0, 200);

    let ask = |email: &str| server.post("/auth/reset/request", &json!({ "email": email }));
    let (known, unknown) = (ask("ada@example.org"), ask("nobody@example.org"));
    assert_eq!((known.0, &known), (202, &unknown));
    let token = token_in(&folder, 2);
    let new = json!({ "token": token, "password": "another horse battery" });
    assert_eq!(server.post("/auth/reset/confirm", &new).0, 204);
    assert_eq!(server.post("/auth/login", &ada).1["code"], "invalid_credentials");
    let ada = json!({ "email": "ada@example.org", "password": "another horse battery" });
    assert_eq!(server.post("/auth/login", &ada).0, 200);
    assert_eq!(server.post("/auth/reset/confirm", &json!({ "token": null })).0, 422);
    // Tokens and addresses rest nowhere in the open.
    for canary in ["ada@example.org", "trv_rst_", "trv_vfy_"] {
        let found = Command::new("grep").args(["-rlai", canary]).arg(world.path("data")).output();
        let found = String::from_utf8_lossy(&found.unwrap().stdout).into_owned();
        assert!(found.is_empty(), "`{canary}` stands in {found}");
    }
}

/// Every command of this page is run, those that start the server by what starts it here.
const GUIDE: &str = include_str!("../../../../docs/guides/logging-in.md");

#[test]
fn every_command_of_the_guide_does_what_it_says() {
    let world = World::new();
    let server = Server::start(&world, &["--mail-url", "file:mail"], &[]);
    let blocks = GUIDE.split("```sh\n").skip(1).map(|it| it.split("\n```").next().unwrap());
    let script: Vec<&str> = blocks.filter(|it| !it.starts_with("traaviis serve")).collect();
    let login = format!("traaviis login --server {} ", server.base);
    let script = script.join("\n").replace("traaviis login ", &login);
    let binary = Path::new(env!("CARGO_BIN_EXE_traaviis"));
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .current_dir(world.path(""))
        .env("PATH", format!("{}:{}", binary.parent().unwrap().display(), env!("PATH")))
        .env("XDG_CONFIG_HOME", world.path("config"))
        .env_remove("TRAAVIIS_TOKEN")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let expected = "logged in as Ada in tenant `acme`\ntrue\naccepted\n\
                    logged in as Ada in tenant `acme`\ntotp\n0\n";
    assert_eq!(told, expected, "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_command_line_logs_in_with_two_factors() {
    let world = World::new();
    let server = Server::start(&world, &[], &[]);
    let ada = json!({ "email": "ada@example.org", "password": PASSWORD });
    let token = text(&server.post("/auth/register", &ada).1, "/access_token");
    let as_ada = |path: &str, body: &Json| server.ask(&token, "POST", path, body);
    let (status, begun) = as_ada("/me/mfa", &json!({ "kind": "totp" }));
    assert_eq!(status, 201, "{begun}");
    let secret = totp_rs::Secret::try_from_base32(text(&begun, "/secret")).unwrap();
    let app = totp_rs::Builder::new().with_secret(secret).build().unwrap();
    let confirm = format!("/me/mfa/{}/confirm", text(&begun, "/id"));
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let code = json!({ "code": app.generate(now).to_string() });
    assert_eq!(as_ada(&confirm, &code).0, 200);
    let (_, made) = as_ada("/me/mfa/recovery-codes", &json!(null));
    let log_in = |more: &[&str]| {
        let mut all = vec!["login", "ada@example.org", "--server", &server.base];
        all.extend(more);
        let mut command = world.command(&all);
        world.shown(&command.env("TRAAVIIS_PASSWORD", PASSWORD).output().unwrap())
    };
    let alone = log_in(&[]);
    assert!(!alone.starts_with("exit 0") && alone.contains("mfa_required"), "{alone}");
    let with_code = log_in(&["--code", made["codes"][0].as_str().unwrap()]);
    assert!(with_code.starts_with("exit 0\nlogged in as Ada"), "{with_code}");
    let again = log_in(&["--code", made["codes"][0].as_str().unwrap()]);
    assert!(again.contains("invalid_credentials"), "{again}");
}

#[test]
fn a_letter_goes_out_over_smtp() {
    let (tell, told) = mpsc::channel();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            let mut out = &stream;
            out.write_all(b"220 mail.test ESMTP\r\n").unwrap();
            let (mut in_data, mut letter) = (false, String::new());
            for line in BufReader::new(&stream).lines().map_while(Result::ok) {
                let answer: &[u8] = match line.as_str() {
                    "." => {
                        in_data = false;
                        tell.send(std::mem::take(&mut letter)).unwrap();
                        b"250 taken\r\n"
                    }
                    line if in_data => {
                        letter += &format!("{line}\n");
                        continue;
                    }
                    line if line.starts_with("DATA") => {
                        in_data = true;
                        b"354 go on\r\n"
                    }
                    line if line.starts_with("EHLO") => b"250-mail.test\r\n250 8BITMIME\r\n",
                    line if line.starts_with("QUIT") => b"221 bye\r\n",
                    _ => b"250 fine\r\n",
                };
                out.write_all(answer).unwrap();
            }
        }
    });
    let world = World::new();
    let url = format!("smtp://{address}");
    let variables = [("TRAAVIIS_MAIL__SMTP_URL", url.as_str())];
    let server = Server::start(&world, &["--mail-from", "Flows <flows@example.org>"], &variables);
    let ada = json!({ "email": "ada@example.org", "password": PASSWORD });
    let (status, _) = server.post("/auth/register", &ada);
    assert_eq!(status, 201, "nobody waits for the letter, and need not confirm");
    let letter = told.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
    for part in ["From: Flows <flows@example.org>", "To: ada@example.org", "trv_vfy_"] {
        assert!(letter.contains(part), "{letter}");
    }
}

#[test]
fn what_cannot_work_is_refused_at_the_start() {
    let world = World::new();
    std::fs::write(world.path("oidc.json"), r#"{"issuers": [{"name": "A"}]}"#).unwrap();
    let private = r#"{"issuers": [{"name": "a", "url": "http://127.0.0.1:9", "client_id": "x"}]}"#;
    std::fs::write(world.path("private.json"), private).unwrap();
    for (arguments, part) in [
        (vec!["--require-email-verification"], "needs `mail.smtp_url`"),
        (vec!["--mail-url", "gopher://ada:s3cret@x"], "`smtp://`"),
        (vec!["--mail-url", "file:m", "--mail-from", "nobody"], "no sender"),
        (vec!["--oidc", "oidc.json"], "missing field"),
        (vec!["--oidc", "nowhere.json"], "nowhere.json"),
        (vec!["--oidc", "private.json"], "cannot be reached"),
    ] {
        let mut all = vec!["serve", "--data", "data", "--listen", "127.0.0.1:0"];
        all.extend(&arguments);
        let told = world.shown(&world.run(&all));
        assert!(told.starts_with("exit 2") && told.contains(part), "{arguments:?}: {told}");
        assert!(!told.contains("s3cret"), "{told}");
    }
}

/// Returns the folder of the issuer if what it needs is there, or says why not.
fn issuer_folder() -> Option<PathBuf> {
    npm::folder("oidc", "oidc-provider", "an issuer")
}

/// An issuer that runs.
struct Peer {
    url: String,
    _process: Process,
    /// Held to the end: an issuer that cannot write what it warns of ends.
    _lines: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    fn start(folder: &Path, redirect: &str) -> Peer {
        let mut issuer = Command::new("node");
        issuer.arg("issuer.mjs").current_dir(folder).env("REDIRECT_URI", redirect);
        issuer.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = Process(issuer.spawn().unwrap());
        let mut lines = BufReader::new(process.0.stdout.take().unwrap()).lines();
        let url = lines.by_ref().map(Result::unwrap).find(|it| it.starts_with("http://")).unwrap();
        Peer { url, _process: process, _lines: lines }
    }
}

/// A browser of one person goes to an address, and tells where it ends.
fn browse(folder: &Path, start: &str, name: &str) -> Json {
    let output =
        Command::new("node").args(["browser.mjs", start, name]).current_dir(folder).output();
    let output = output.unwrap();
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

/// `oidc-provider` of npm, which is certified, and a browser that fills in its forms.
#[test]
fn somebody_logs_in_at_an_issuer_that_others_have_made() {
    let Some(folder) = issuer_folder() else { return };
    let world = World::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let base = format!("http://{free}");
    let issuer = Peer::start(&folder, &format!("{base}/api/v1/auth/oidc/acme/callback"));
    let url = &issuer.url;

    std::fs::create_dir_all(world.path("settings")).unwrap();
    std::fs::write(world.path("settings/secret"), "s3cret+of/the test\n").unwrap();
    let issuers = json!({ "issuers": [{
        "name": "acme", "url": url, "client_id": "traaviis",
        "client_secret": { "file": "secret" }, "domains": ["acme.example"],
    }] });
    std::fs::write(world.path("settings/oidc.json"), issuers.to_string()).unwrap();
    let peer = url.strip_prefix("http://").unwrap();
    let listen = free.to_string();
    let mut all = vec!["serve", "--data", "data", "--listen", &listen, "--base-url", &base];
    all.extend(["--oidc", "settings/oidc.json", "--allow-private", peer]);
    let server = Server::spawn(&world, &all, base.clone());
    assert_eq!(server.ask("", "GET", "/auth/oidc", &json!(null)).1["items"][0]["name"], "acme");

    let browse = |name: &str, query: &str| {
        browse(&folder, &format!("{base}/api/v1/auth/oidc/acme/start{query}"), name)
    };
    let told = browse("ada", "");
    assert_eq!(told["status"], 200, "{told}");
    let body: Json = serde_json::from_str(&text(&told, "/body")).unwrap();
    let ticket = json!({ "ticket": body["ticket"] });
    let finish = |told: &Json, ticket: &Json| {
        server.ask_with(&text(told, "/cookie"), ("POST", "/auth/oidc/finish"), "", ticket)
    };
    assert_eq!(server.post("/auth/oidc/finish", &ticket).0, 401, "in that browser only");
    let (status, logged_in) = finish(&told, &ticket);
    assert_eq!(status, 200, "{logged_in}");
    assert_eq!(text(&logged_in, "/user/email"), "ada@acme.example");
    assert_eq!(logged_in["user"]["email_verified"], true);
    assert_eq!(text(&logged_in, "/tenant/name"), "Name of ada's Space");
    let token = text(&logged_in, "/access_token");
    let (_, sessions) = server.ask(&token, "GET", "/me/sessions", &json!(null));
    assert_eq!(sessions["items"][0]["amr"], json!(["fed"]));
    assert_eq!(finish(&told, &ticket).0, 401, "once");

    // With a path of ours the browser ends there, the ticket where no server sees it.
    let told = browse("ada", "?return_to=/version");
    let address = text(&told, "/address");
    let ticket = address.strip_prefix(&format!("{base}/version#ticket=")).unwrap();
    let (_, again) = finish(&told, &json!({ "ticket": ticket }));
    assert_eq!(again["user"]["id"], logged_in["user"]["id"], "known by issuer and subject");
    let told = browse("unconfirmed", "");
    assert_eq!(told["status"], 403, "{told}");
    assert!(text(&told, "/body").contains("email_not_verified"), "{told}");
}

/// The same issuer, set by a tenant: groups give roles there, and nothing counts elsewhere.
#[test]
fn a_tenant_brings_its_own_people_with_roles_by_their_groups() {
    let Some(folder) = issuer_folder() else { return };
    let world = World::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (listen, base) = (free.to_string(), format!("http://{free}"));
    let issuer = Peer::start(&folder, &format!("{base}/api/v1/auth/oidc/acme.sso/callback"));
    let peer = issuer.url.strip_prefix("http://").unwrap();
    let mut all = vec!["serve", "--data", "data", "--listen", &listen, "--base-url", &base];
    all.extend(["--allow-private", peer]);
    let server = Server::spawn(&world, &all, base.clone());
    let register = |email: &str, name: &str| {
        let body = json!({ "email": email, "password": PASSWORD, "organisation": name });
        text(&server.post("/auth/register", &body).1, "/access_token")
    };
    let (ada, eve) = (register("ada@example.org", "Acme"), register("eve@example.org", "Other"));
    let path = "/tenants/acme/issuers/sso";
    let set = json!({
        "url": issuer.url, "client_id": "traaviis", "client_secret": "s3cret+of/the test",
        "domains": ["acme.example"],
        "rules": [
            { "when": "'ops' in value.groups", "role": "admin" },
            { "when": "'dev' in value.groups", "role": "developer" },
        ],
    });
    assert_eq!(server.ask(&eve, "PUT", path, &set).1["code"], "no_tenant_context");
    let (status, told) = server.ask(&ada, "PUT", path, &set);
    assert_eq!(status, 200, "{told}");
    assert_eq!(told["redirect_url"], format!("{base}/api/v1/auth/oidc/acme.sso/callback"));
    assert_eq!((&told["has_secret"], told.get("client_secret")), (&json!(true), None));
    let login = text(&told, "/login_url");
    let log_in = |name: &str| {
        let told = browse(&folder, &login, name);
        let body: Json = serde_json::from_str(&text(&told, "/body")).unwrap_or_default();
        if told["status"] != 200 {
            return (told["status"].as_u64().unwrap_or_default() as u16, body);
        }
        let ticket = json!({ "ticket": body["ticket"] });
        server.ask_with(&text(&told, "/cookie"), ("POST", "/auth/oidc/finish"), "", &ticket)
    };
    for (name, role) in [("ops-ann", "admin"), ("dev-bob", "developer")] {
        let (status, told) = log_in(name);
        assert_eq!((status, &*text(&told, "/tenant/role")), (200, role), "{told}");
        assert_eq!(text(&told, "/tenant/slug"), "acme");
        let token = text(&told, "/access_token");
        let get = |path: &str| server.ask(&token, "GET", path, &json!(null));
        assert_eq!(get("/tenants/acme/workflows").0, 200, "{name}");
        assert_eq!(get("/tenants/other/workflows").1["code"], "no_tenant_context", "{name}");
        for path in ["/me/sessions", "/me/mfa"] {
            assert_eq!(get(path).1["code"], "forbidden", "{name} {path}");
        }
        assert_eq!(get("/me/tenants").1["items"].as_array().unwrap().len(), 1, "{name}");
    }
    let (status, told) = log_in("carl");
    assert_eq!((status, &told["code"]), (403, &json!("login_elsewhere_failed")), "{told}");
    assert_eq!(server.ask(&ada, "DELETE", path, &json!(null)).0, 204);
    let (status, told) = server.ask("", "GET", "/auth/oidc/acme.sso/start", &json!(null));
    assert_eq!((status, &told["code"]), (404, &json!("not_found")), "{told}");
}

/// Chromium, with an authenticator that is none of ours.
#[test]
fn a_browser_makes_a_passkey_and_logs_in_with_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/webauthn");
    let has = |program: &&str| Command::new(program).arg("--version").output().is_ok();
    let Some(chromium) =
        ["chromium", "chromium-browser", "google-chrome"].iter().find(|it| has(it))
    else {
        return npm::skip("a passkey of a browser needs Chromium, which is not on the path");
    };
    if !has(&"node") {
        return npm::skip("a passkey of a browser needs node, which is not on the path");
    }
    let world = World::new();
    let server = Server::start(&world, &[], &[]);
    // Only a name has passkeys; the server listens on the address that it stands for.
    let base = server.base.replace("127.0.0.1", "localhost");
    let profile = world.path("profile").display().to_string();
    let output = Command::new("node")
        .args(["browser.mjs", chromium, &base, "ada@example.org", PASSWORD, &profile])
        .current_dir(folder)
        .output()
        .unwrap();
    let told: Json = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(told["confirmed"]["body"]["kind"], "webauthn", "{told}");
    assert_eq!(told["alone"]["body"]["code"], "mfa_required", "{told}");
    assert_eq!(told["finished"]["status"], 200, "{told}");
    assert_eq!(text(&told, "/finished/body/user/email"), "ada@example.org");
    assert_eq!(told["again"]["status"], 401, "once: {told}");
}
