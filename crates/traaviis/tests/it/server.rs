//! A served directory, as programs and people use it: over TCP, and from a shell.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Value as Json, json};

use crate::cli::{Process, World};

/// Password of everybody.
pub const PASSWORD: &str = "correct horse battery";

/// A server on a free port.
pub struct Server {
    pub process: Process,
    pub address: String,
}

/// An answer.
#[derive(Debug)]
pub struct Told {
    pub status: u16,
    pub head: String,
    pub body: Json,
}

impl Told {
    pub fn text(&self, pointer: &str) -> String {
        self.body.pointer(pointer).and_then(Json::as_str).unwrap_or_default().to_owned()
    }

    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> String {
        let found = self.head.lines().find_map(|it| {
            let (key, value) = it.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then(|| value.to_owned())
        });
        found.unwrap_or_default()
    }
}

impl Server {
    /// Serves the directory `data` of a world.
    pub fn serve(world: &World) -> Server {
        Server::with(world, &[], &[])
    }

    /// The same with further arguments and variables.
    pub fn with(world: &World, more: &[&str], variables: &[(&str, &str)]) -> Server {
        Server::logging(world, more, variables, Stdio::inherit())
    }

    /// The same with its lines written elsewhere.
    pub fn logging(
        world: &World,
        more: &[&str],
        variables: &[(&str, &str)],
        lines: Stdio,
    ) -> Server {
        // One person plays many here, from one address.
        let dev: &[&str] = if more.contains(&"--profile") { &[] } else { &["--profile", "dev"] };
        let args = ["serve", "--data", "data", "--listen", "127.0.0.1:0"];
        Server::started(world, &[&args[..], dev, more].concat(), variables, lines)
    }

    /// Starts it with these arguments and no others.
    pub fn started(
        world: &World,
        args: &[&str],
        variables: &[(&str, &str)],
        lines: Stdio,
    ) -> Server {
        let mut command = world.command(args);
        command.envs(variables.iter().copied()).stdout(Stdio::piped()).stderr(lines);
        let mut process = Process(command.spawn().unwrap());
        let mut line = String::new();
        BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split("http://").nth(1).and_then(|it| it.split(';').next());
        let address = address.unwrap_or_else(|| panic!("{line}")).to_owned();
        Server { process, address }
    }

    /// Kills the process as a power cut would.
    pub fn kill(mut self) {
        self.kill_in_place();
    }

    /// The same, for whoever asks what it leaves behind.
    pub fn kill_in_place(&mut self) {
        self.process.0.kill().unwrap();
        self.process.0.wait().unwrap();
    }

    /// Asks the process to end, as a supervisor does; returns its exit code.
    pub fn stop(mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.process.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.process.0.wait().unwrap().code()
    }

    /// Returns the number of threads of the process.
    pub fn threads(&self) -> usize {
        let status = format!("/proc/{}/status", self.process.0.id());
        let status = std::fs::read_to_string(status).unwrap();
        let line = status.lines().find(|it| it.starts_with("Threads:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Writes a request and returns the connection.
    pub fn begin(&self, who: &str, method: &str, path: &str, more: &str, body: &Json) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let is_root = ["/hooks/", "/schemas/", "/ready"].iter().any(|it| path.starts_with(it));
        let base = if is_root { "" } else { "/api/v1" };
        let mut head = format!(
            "{method} {base}{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
             content-length: {}\r\n{more}",
            body.len()
        );
        if !more.contains("content-type: ") {
            head += "content-type: application/json\r\n";
        }
        if !who.is_empty() {
            head += &format!("authorization: Bearer {who}\r\n");
        }
        stream.write_all(format!("{head}\r\n{body}").as_bytes()).unwrap();
        stream
    }

    /// Sends a request with more headers.
    pub fn call_with(&self, who: &str, method: &str, path: &str, more: &str, body: Json) -> Told {
        read(self.begin(who, method, path, more, &body))
    }

    /// Sends a request.
    pub fn call(&self, who: &str, method: &str, path: &str, body: Json) -> Told {
        self.call_with(who, method, path, "", body)
    }

    /// Asks for something.
    pub fn get(&self, who: &str, path: &str) -> Told {
        self.call(who, "GET", path, Json::Null)
    }

    /// Does something in the tenant of the token.
    pub fn post(&self, who: &str, path: &str, body: Json) -> Told {
        self.call(who, "POST", &format!("/tenants/current{path}"), body)
    }

    /// Registers somebody; returns their token.
    pub fn register(&self, email: &str) -> String {
        let body = json!({ "email": email, "password": PASSWORD });
        let told = self.call("", "POST", "/auth/register", body);
        assert_eq!(told.status, 201, "{told:?}");
        told.text("/access_token")
    }

    /// Makes somebody a member; returns their token.
    pub fn join(&self, by: &str, email: &str, role: &str) -> String {
        let told = self.post(by, "/invitations", json!({ "email": email, "role": role }));
        let accept = json!({ "token": told.text("/token"), "password": PASSWORD });
        let told = self.call("", "POST", "/invitations/accept", accept);
        assert_eq!(told.status, 200, "{told:?}");
        told.text("/access_token")
    }

    /// Publishes a document.
    pub fn publish(&self, who: &str, name: &str, document: &str) {
        let made = self.post(who, "/workflows", json!({ "document": document }));
        assert_eq!(made.status, 201, "{made:?}");
        let told = self.post(who, &format!("/workflows/{name}/publish"), Json::Null);
        assert_eq!(told.status, 201, "{told:?}");
    }

    /// Starts an instance; returns its id.
    pub fn start(&self, who: &str, workflow: &str) -> String {
        let told = self.post(who, "/instances", json!({ "workflow": workflow }));
        assert_eq!(told.status, 201, "{told:?}");
        told.text("/id")
    }

    /// Sends an event.
    pub fn send(&self, who: &str, id: &str, event: &str) -> Told {
        self.post(who, &format!("/instances/{id}/events"), json!({ "event": event }))
    }
}

/// Reads a whole answer.
pub fn read(mut stream: TcpStream) -> Told {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|it| it.parse().ok()).unwrap_or(0);
    Told { status, head: head.into(), body: serde_json::from_str(body).unwrap_or_default() }
}

/// Runs a script as a person would, with this binary on the path.
pub fn bash(world: &World, server: &Server, script: &str) -> (i32, Vec<String>) {
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_traaviis"));
    let path = format!("{}:{}", binary.parent().unwrap().display(), env!("PATH"));
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .current_dir(world.path(""))
        .env("PATH", path)
        .env("NO_COLOR", "1")
        .env("XDG_CONFIG_HOME", world.path("config"))
        .env("TRAAVIIS_PASSWORD", PASSWORD)
        .env("TRAAVIIS_SERVER", format!("http://{}", server.address))
        .env_remove("TRAAVIIS_TOKEN")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text.lines().map(str::to_owned).collect();
    let code = output.status.code().unwrap_or(-1);
    if code != 0 {
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    }
    (code, lines)
}

/// Returns the commands of a page, those that start the server left out.
pub fn commands(page: &str) -> String {
    let blocks = page.split("```sh\n").skip(1).map(|it| it.split("\n```").next().unwrap());
    blocks.filter(|it| !it.starts_with("traaviis serve")).collect::<Vec<_>>().join("\n")
}
