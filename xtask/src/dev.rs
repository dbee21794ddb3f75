//! `cargo xtask dev`: the OrderSaga example against the example service, then the server with a
//! workflow run through its API, on screen.
//!
//! 1. Build `traaviis` and `order-service`.
//! 2. Start the service and wait until it answers.
//! 3. Run the workflow and compare the status it ends with.
//! 4. Stop the service, also when something went wrong.
//! 5. Start `traaviis dev`, log in, make a request, decide it, and look at what the server says.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{Error, binaries, cargo, output, root, run as run_command};

/// Where the service listens; the example's connector file names the same address.
const ADDRESS: &str = "127.0.0.1:8099";
/// Longest wait for the service to answer; it needs milliseconds.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// Which runs to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variants {
    /// The good run, then the failing one.
    Both,
    /// Only the one in which shipping fails.
    FailingOnly,
}

/// Shows the example.
pub fn run(variants: Variants) -> Result<(), Error> {
    run_command(&mut cargo(&[
        "build",
        "--release",
        "--bin",
        "traaviis",
        "--bin",
        "order-service",
    ]))?;
    let binaries = binaries()?;
    if variants == Variants::Both {
        println!("\n=== OrderSaga: every service works");
        show(&binaries, &[], "completed")?;
    }
    println!("\n=== OrderSaga: shipping fails, so what was done is undone");
    show(&binaries, &["--fail", "shipping"], "compensated")?;
    if variants == Variants::Both {
        println!("\n=== The server: somebody logs in, and a workflow runs through the API");
        serve(&binaries)?;
    }
    Ok(())
}

/// Runs a workflow of the catalogue through the API of a server.
fn serve(binaries: &Path) -> Result<(), Error> {
    let data = DataDir::fresh("server")?;
    let mut command = Command::new(binaries.join("traaviis"));
    command.arg("dev").arg(data.0.join("data")).args(["--listen", "127.0.0.1:0", "--json"]);
    // Keys and the login stay beside the data, and go with it.
    command.env("XDG_CONFIG_HOME", data.0.join("config")).stdout(Stdio::piped());
    let child = command.spawn().map_err(|error| format!("cannot start `traaviis`: {error}"))?;
    let mut server = Service(child);
    let mut line = String::new();
    let stdout = server.0.stdout.take().ok_or("the server has no output")?;
    BufReader::new(stdout)
        .read_line(&mut line)
        .map_err(|error| format!("cannot read what the server says: {error}"))?;
    let told: serde_json::Value = serde_json::from_str(&line)
        .map_err(|error| format!("the server did not begin: {error}"))?;
    let text = |pointer: &str| told.pointer(pointer).and_then(|it| it.as_str()).unwrap_or_default();
    let (address, email) = (format!("http://{}", text("/listening")), text("/account/email"));
    let traaviis = |args: &[&str]| {
        println!("traaviis {}", args.join(" "));
        let mut command = Command::new(binaries.join("traaviis"));
        command.args(args).env("XDG_CONFIG_HOME", data.0.join("config"));
        command.env("TRAAVIIS_PASSWORD", text("/account/password"));
        output(&mut command).map(|it| it.trim().to_owned())
    };
    println!("{}", traaviis(&["login", email, "--server", &address])?);
    let instances = "/tenants/current/instances";
    let start = r#"{"workflow": "ApprovalGate",
        "input": {"subject": "a new laptop", "requested_by": "ann"}}"#;
    let id = traaviis(&["api", "POST", instances, "--body", start, "--select", "/id"])?;
    let events = format!("{instances}/{id}/events?wait=final");
    let approve = r#"{"event": "approve", "data": {"by": "bob"}}"#;
    let status = traaviis(&["api", "POST", &events, "--body", approve, "--select", "/status"])?;
    println!("{status}");
    let verify = ["api", "POST", "/tenants/current/audit/verify", "--select", "/whole"];
    let whole = traaviis(&verify)?;
    println!("the audit trail is whole: {whole}");
    if status != "completed" || whole != "true" {
        return Err(format!("the run should have ended `completed` and is `{status}`"));
    }
    println!("=== ended completed, as it should");
    Ok(())
}

fn show(binaries: &Path, service_args: &[&str], wanted: &str) -> Result<(), Error> {
    let _service = Service::start(binaries, service_args)?;
    let data = DataDir::fresh(wanted)?;
    let traaviis = |args: &[&str]| {
        let mut command = Command::new(binaries.join("traaviis"));
        command.args(args).arg("--data").arg(&data.0).current_dir(root());
        command
    };
    // The trace goes straight to the screen. The exit code says only whether it ended
    // `completed`, so the status is asked for afterwards.
    traaviis(&["run", "examples/order-saga/workflow.yaml"])
        .args(["--input", "examples/order-saga/input.json"])
        .status()
        .map_err(|error| format!("cannot start `traaviis`: {error}"))?;
    let listed = output(&mut traaviis(&["ps", "--all", "--json"]))?;
    let listed: serde_json::Value = serde_json::from_str(&listed)
        .map_err(|error| format!("cannot read what `traaviis ps` says: {error}"))?;
    let status = listed["instances"][0]["status"].as_str().unwrap_or("absent");
    if status != wanted {
        return Err(format!("the run should have ended `{wanted}` and is `{status}`"));
    }
    println!("=== ended {wanted}, as it should");
    Ok(())
}

/// A data directory of one run; removed when dropped.
struct DataDir(PathBuf);

impl DataDir {
    fn fresh(name: &str) -> Result<DataDir, Error> {
        let dir = std::env::temp_dir().join(format!("traaviis-dev-{}-{name}", std::process::id()));
        fs::create_dir_all(&dir)
            .map_err(|error| format!("cannot make `{}`: {error}", dir.display()))?;
        Ok(DataDir(dir))
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        // What stays behind is in the folder for temporary things.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The running example service; stopped when dropped.
struct Service(Child);

impl Service {
    fn start(binaries: &Path, args: &[&str]) -> Result<Service, Error> {
        if TcpStream::connect(ADDRESS).is_ok() {
            return Err(format!("something else already listens on `{ADDRESS}`; stop it first"));
        }
        let child = Command::new(binaries.join("order-service"))
            .args(["--listen", ADDRESS])
            .args(args)
            .current_dir(root())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot start `order-service`: {error}"))?;
        let mut service = Service(child);
        let begun = Instant::now();
        while !is_healthy() {
            if let Ok(Some(status)) = service.0.try_wait() {
                return Err(format!("`order-service` ended with {status} before it was ready"));
            }
            if begun.elapsed() > READY_WITHIN {
                return Err(format!("`order-service` does not answer on `{ADDRESS}`"));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(service)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing to do about either error.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks `/health` by hand; this crate has no HTTP client and needs none.
fn is_healthy() -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(ADDRESS)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        write!(stream, "GET /health HTTP/1.1\r\nHost: {ADDRESS}\r\nConnection: close\r\n\r\n")?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        Ok(&head == b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}
