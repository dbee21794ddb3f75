//! The server's benchmark: `serve` in a process of its own, loaded over loopback by this one,
//! beside a server that does as little as can be ([`floor`]).
//!
//! One round loads all in turn with each number of connections, for the same short time; medians
//! over rounds are reported. Only ratios inside one run mean anything. [`Peer`]s, servers of others
//! with the same jobs, take their turns, too.
//!
//! [`floor`]: super::floor

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    str::FromStr,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use serde_json::{Value as Json, json};
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::{
    facts,
    limits::{self, Weight},
    load::{self, Connection, Speed, Unit, request},
    report::{self, Goal, Report},
    workflows,
};
use crate::{bench, exit::Exit, output::Output};

/// Tenants, each with an owner and a key, that connections take in turn.
const TENANTS: usize = 16;
/// Instances that a connection sends its events to, in turn.
const INSTANCES_EACH: usize = 8;
/// Rows of a list.
const LIST: usize = 50;
/// Connections for which goals are stated.
const GOAL_CONNECTIONS: usize = 64;
/// Part of the floor that is aimed for by what is durable.
const DURABLE_GOAL: Goal = Goal::Least(0.4);
/// Part of an empty handler that is aimed for by a read.
const READ_GOAL: Goal = Goal::Least(0.45);
/// Milliseconds that a lonely event may take beyond a raw durable write.
const LONELY_GOAL: Goal = Goal::Most(0.5);
/// Milliseconds of one login.
const LOGIN_GOAL: Goal = Goal::Most(100.0);
/// Megabytes of the server.
const MEMORY_GOAL: Goal = Goal::Most(256.0);
/// Password of the accounts; nobody else reaches this server.
const PASSWORD: &str = "benchmark of one evening";

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Rounds over which medians are taken.
    pub rounds: usize,
    /// Time of one measurement.
    pub time: Duration,
    /// Connections at once.
    pub connections: Vec<usize>,
}

impl Plan {
    /// What the goals are stated for.
    pub fn full() -> Plan {
        let time = Duration::from_millis(2_000);
        Plan { rounds: 3, time, connections: vec![1, GOAL_CONNECTIONS, 256] }
    }

    /// A look within a minute.
    pub fn quick() -> Plan {
        let time = Duration::from_millis(700);
        Plan { rounds: 1, time, connections: vec![1, GOAL_CONNECTIONS] }
    }

    /// As small as can be; for the test that keeps this alive.
    pub fn tiny() -> Plan {
        Plan { rounds: 1, time: Duration::from_millis(30), connections: vec![1, 4] }
    }
}

/// A server of others that answers the jobs of `benches/peers`, written `NAME=ADDRESS:PORT`.
#[derive(Clone, Debug)]
pub struct Peer {
    name: String,
    address: SocketAddr,
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Peer, String> {
        let (name, address) = text.split_once('=').ok_or("it must be NAME=ADDRESS:PORT")?;
        if name.is_empty() {
            return Err("its name is empty".into());
        }
        let address = address.parse().map_err(|_| format!("`{address}` is no ADDRESS:PORT"))?;
        Ok(Peer { name: name.into(), address })
    }
}

/// Runs the benchmark in `dir`, which must not hold anything else, with `peers` beside it.
pub fn run(plan: &Plan, dir: &Path, peers: &[Peer], output: &Output) -> anyhow::Result<Exit> {
    let begun = Instant::now();
    fs::create_dir_all(dir)?;
    // One thread loads, as a caller elsewhere would take nothing from the server's cores.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let floor = Process::start(&["bench", "floor", "--dir"], &dir.join("floor"), &[])?;
    let server = Process::start(
        &["serve", "--json", "--listen", "127.0.0.1:0", "--profile", "dev", "--data"],
        &dir.join("data"),
        &[],
    )?;
    let mut report = Report::default();
    let most = plan.connections.iter().copied().max().unwrap_or(1);
    let mut bench = Bench { plan, dir, runtime, floor, server, callers: Vec::new() };
    bench::output_progress(output, "accounts, workflows and waiting instances");
    bench.prepare(most, &mut report)?;
    let weights = bench.weights()?;
    for round in 1..=plan.rounds {
        bench::output_progress(output, &format!("round {round} of {}", plan.rounds));
        for connections in &plan.connections {
            bench.round(*connections, &weights, &mut report)?;
            for peer in peers {
                bench.peer(*connections, peer, &mut report)?;
            }
        }
    }
    add_ratios(plan, peers, &mut report);
    let resident = bench.server.resident()? as f64 / 1e6;
    let memory = Some(MEMORY_GOAL);
    report.add("resident server after it all", report::Unit::Megabytes, memory, resident);
    bench::show(report, plan.rounds, begun, output)
}

/// A server in a process of its own, stopped when this is dropped.
pub(super) struct Process {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// Kept, since the floor ends with its input.
    _input: Option<ChildStdin>,
}

impl Process {
    /// Starts it.
    pub fn start(args: &[&str], dir: &Path, more: &[&str]) -> anyhow::Result<Process> {
        Process::of(&std::env::current_exe()?, args, dir, more)
    }

    /// Starts one of another build.
    pub fn of(program: &Path, args: &[&str], dir: &Path, more: &[&str]) -> anyhow::Result<Process> {
        let mut child = Command::new(program)
            .args(args)
            .arg(dir)
            .args(more)
            // A thousand tenants have much to tell that nobody wants to read here.
            .env("TRAAVIIS_LOG__LEVEL", "error")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        let told: Json = serde_json::from_str(&line).context("a server did not begin")?;
        let address = told["listening"].as_str().context("a server tells no address")?.parse()?;
        let input = child.stdin.take();
        Ok(Process { child, address, _input: input })
    }

    /// Returns the bytes of it that are in memory.
    pub fn resident(&self) -> anyhow::Result<u64> {
        facts::resident_bytes_of(self.child.id()).context("the server is gone")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Its data is thrown away.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Who asks.
struct Caller {
    email: String,
    token: String,
    key: String,
    /// Waiting instances.
    waiting: Vec<String>,
}

/// What the records of a run weigh: how many there are, and bytes of each.
#[derive(Clone, Copy, Debug)]
struct RunWeight {
    records: usize,
    bytes: usize,
}

impl RunWeight {
    /// Returns the request by which the floor writes as much in so many commits.
    fn request(self, commits: usize) -> Vec<u8> {
        let records = self.records.div_ceil(commits);
        let bytes = self.bytes;
        let path = format!("/append?commits={commits}&records={records}&bytes={bytes}");
        request("POST", &path, "", r#"{"workflow":"BenchPure","input":{"n":1}}"#)
    }
}

/// Runs of the three kinds.
struct Weights {
    pure: RunWeight,
    steps: RunWeight,
    event: RunWeight,
}

struct Bench<'a> {
    plan: &'a Plan,
    dir: &'a Path,
    runtime: Runtime,
    floor: Process,
    server: Process,
    callers: Vec<Caller>,
}

const PURE: &str = r#"{"workflow":"BenchPure","input":{"n":1}}"#;
const STEPS: &str = r#"{"workflow":"BenchSteps","input":{"n":1}}"#;
const PLAIN: &str = r#"{"workflow":"BenchPlain","input":{"n":1}}"#;
const GO: &str = r#"{"event":"go","data":{}}"#;

impl Bench<'_> {
    /// Asks the server once.
    fn ask(&self, method: &str, path: &str, token: &str, body: &Json) -> anyhow::Result<Json> {
        let path = format!("/api/v1{path}");
        let request = request(method, &path, token, &body.to_string());
        let answer = self
            .runtime
            .block_on(async { Connection::open(self.server.address).await?.ask(&request).await })?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        anyhow::ensure!((200..300).contains(&answer.status), "{method} {path}: {text}");
        Ok(serde_json::from_slice(&answer.body)?)
    }

    fn prepare(&mut self, connections: usize, report: &mut Report) -> anyhow::Result<()> {
        for at in 0..TENANTS.min(connections) {
            let email = format!("owner{at}@bench.example");
            let account = json!({ "email": email, "password": PASSWORD });
            let answer = self.ask("POST", "/auth/register", "", &account)?;
            let token = text(&answer, "access_token")?;
            let scopes = ["workflow_execute", "workflow_monitor"];
            let key = json!({ "name": "bench", "scopes": scopes });
            let answer = self.ask("POST", "/tenants/current/api-keys", &token, &key)?;
            let key = text(&answer, "key")?;
            for document in [workflows::PURE, workflows::STEPS, workflows::PLAIN] {
                let document = json!({ "document": document });
                let made = self.ask("POST", "/tenants/current/workflows", &token, &document)?;
                let path = format!("/tenants/current/workflows/{}/publish", text(&made, "name")?);
                self.ask("POST", &path, &token, &json!({}))?;
            }
            self.callers.push(Caller { email, token, key, waiting: Vec::new() });
        }
        for at in 0..connections * INSTANCES_EACH {
            let at = at % self.callers.len();
            let body: Json = serde_json::from_str(PLAIN)?;
            let answer =
                self.ask("POST", "/tenants/current/instances", &self.callers[at].key, &body)?;
            self.callers[at].waiting.push(text(&answer, "id")?);
        }
        for caller in &self.callers {
            let login = json!({ "email": caller.email, "password": PASSWORD });
            let begun = Instant::now();
            self.ask("POST", "/auth/login", "", &login)?;
            let goal = Some(LOGIN_GOAL);
            report.add("one login", report::Unit::Millis, goal, millis(begun.elapsed()));
        }
        Ok(())
    }

    /// Runs one instance of each kind and looks at what it wrote.
    fn weights(&self) -> anyhow::Result<Weights> {
        let caller = &self.callers[0];
        let of = |body: &str, path: &str| -> anyhow::Result<RunWeight> {
            let answer = self.ask("POST", path, &caller.key, &serde_json::from_str(body)?)?;
            let id = text(&answer, "id")?;
            let path = format!("/tenants/current/instances/{id}/events?limit=200");
            self.weight(&path)
        };
        let pure = of(PURE, "/tenants/current/instances")?;
        let steps = of(STEPS, "/tenants/current/instances?wait=final")?;
        let id = &caller.waiting[0];
        let history = format!("/tenants/current/instances/{id}/events?limit=200");
        let before = self.weight(&history)?;
        let path = format!("/tenants/current/instances/{id}/events");
        self.ask("POST", &path, &caller.key, &serde_json::from_str(GO)?)?;
        let after = self.weight(&history)?;
        let records = after.records - before.records;
        let bytes = after.records * after.bytes - before.records * before.bytes;
        let event = RunWeight { records, bytes: bytes / records.max(1) };
        Ok(Weights { pure, steps, event })
    }

    fn weight(&self, path: &str) -> anyhow::Result<RunWeight> {
        let page = self.ask("GET", path, &self.callers[0].key, &Json::Null)?;
        let items = page["items"].as_array().context("no history")?;
        let bytes: usize = items.iter().map(|it| it.to_string().len() + 1).sum();
        Ok(RunWeight { records: items.len(), bytes: bytes / items.len().max(1) })
    }

    fn round(
        &self,
        connections: usize,
        weights: &Weights,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let Weights { pure, steps, event } = weights;
        let ours = self.server.address;
        let floor = self.floor.address;
        let hello = request("GET", "/hello", "", "");
        let same = |request: Vec<u8>| move |_: usize| vec![vec![request.clone()]];
        // One connection alone asks as all callers in turn: it is faster than the limit of one.
        let count = self.callers.len();
        let callers =
            |at: usize| self.callers.iter().skip(at % count).step_by(connections.min(count));
        let post = |path: &'static str, body: &'static str| {
            move |at: usize| -> Vec<Unit> {
                callers(at).map(|it| vec![request("POST", path, &it.key, body)]).collect()
            }
        };
        let waiting = |at: usize| {
            callers(at).flat_map(move |caller| {
                let own = caller.waiting.iter().skip(at / count * INSTANCES_EACH);
                own.take(INSTANCES_EACH).map(move |id| (caller, id))
            })
        };
        let events = |at: usize| -> Vec<Unit> {
            let path = |id: &String| format!("/api/v1/tenants/current/instances/{id}/events");
            waiting(at).map(|(it, id)| vec![request("POST", &path(id), &it.key, GO)]).collect()
        };
        let reads = |token: fn(&Caller) -> &str| {
            move |at: usize| -> Vec<Unit> {
                let path = |id: &String| format!("/api/v1/tenants/current/instances/{id}");
                waiting(at).map(|(it, id)| vec![request("GET", &path(id), token(it), "")]).collect()
            }
        };
        let list = format!("/api/v1/tenants/current/instances?limit={LIST}");
        let lists = |at: usize| -> Vec<Unit> {
            callers(at).map(|it| vec![request("GET", &list, &it.key, "")]).collect()
        };
        let starts = "/api/v1/tenants/current/instances";
        let to_end = "/api/v1/tenants/current/instances?wait=final";

        let mut drive = |name: &str, address, work: &dyn Fn(usize) -> Vec<Unit>| {
            self.drive(name, address, connections, work, report)
        };
        drive(HELLO, floor, &same(hello))?;
        drive(READ, ours, &reads(|it| &it.key))?;
        drive(READ_BY_TOKEN, ours, &reads(|it| &it.token))?;
        drive(LISTS, ours, &lists)?;
        drive(FLOOR_PURE, floor, &same(pure.request(1)))?;
        drive(START_PURE, ours, &post(starts, PURE))?;
        drive(FLOOR_STEPS, floor, &same(steps.request(4)))?;
        drive(START_STEPS, ours, &post(to_end, STEPS))?;
        drive(FLOOR_EVENT, floor, &same(event.request(1)))?;
        let speed = drive(EVENTS, ours, &events)?;
        if connections == 1 {
            let lines = vec![b'x'; event.bytes * event.records];
            let weight = Weight { lines, records: event.records as u32 };
            let raw = limits::raw(self.dir, &weight, 1, self.plan.time)?;
            let more = millis(speed.p50) - millis(raw.p50);
            report.add(RAW, report::Unit::Millis, None, millis(raw.p50));
            report.add(
                "one event alone, p50 beyond it",
                report::Unit::Millis,
                Some(LONELY_GOAL),
                more,
            );
        }
        Ok(())
    }
}

impl Bench<'_> {
    fn drive(
        &self,
        name: &str,
        address: SocketAddr,
        connections: usize,
        work: &dyn Fn(usize) -> Vec<Unit>,
        report: &mut Report,
    ) -> anyhow::Result<Speed> {
        let load = load::drive(address, connections, self.plan.time, work);
        let speed = self.runtime.block_on(load).with_context(|| name.to_string())?;
        let name = |what: &str| format!("{connections} connections: {name}{what}");
        report.add(&name(""), report::Unit::PerSecond, None, speed.rate);
        for (what, time) in [(", p50", speed.p50), (", p95", speed.p95), (", p99", speed.p99)] {
            report.add(&name(what), report::Unit::Millis, None, millis(time));
        }
        Ok(speed)
    }

    /// The same jobs for a peer.
    fn peer(&self, connections: usize, peer: &Peer, report: &mut Report) -> anyhow::Result<()> {
        // A run has a key of its own; there are more than one connection gets done.
        let each = (PEER_RUNS / connections).max(PEER_RUNS_EACH_MIN);
        let runs = |service: &'static str| {
            move |_: usize| -> Vec<Unit> {
                let run = || {
                    let path = format!("/{service}/{}/run", Uuid::now_v7());
                    vec![request("POST", &path, "", r#"{"n":1}"#)]
                };
                (0..each).map(|_| run()).collect()
            }
        };
        let things = |at: usize| -> Vec<Unit> {
            let path = |thing: usize| format!("/thing/{at}-{thing}/event");
            let events = (0..INSTANCES_EACH).map(|it| request("POST", &path(it), "", GO));
            events.map(|it| vec![it]).collect()
        };
        let mut drive = |job: &str, work: &dyn Fn(usize) -> Vec<Unit>| {
            self.drive(&peer_job(peer, job), peer.address, connections, work, report)
        };
        drive(PEER_PURE, &runs("pure"))?;
        drive(PEER_STEPS, &runs("steps"))?;
        drive(PEER_EVENTS, &things)?;
        Ok(())
    }
}

/// Runs that all connections together have at hand for a peer.
const PEER_RUNS: usize = 32_000;
/// Runs that each of them has at least.
const PEER_RUNS_EACH_MIN: usize = 200;
/// Times what a peer reaches that are aimed for.
const PEER_GOAL: Goal = Goal::Least(5.0);

/// Returns what a job of a peer is called in the table.
fn peer_job(peer: &Peer, job: &str) -> String {
    format!("{}, {job}", peer.name)
}

const PEER_PURE: &str = "three pure transitions";
const PEER_STEPS: &str = "three durable steps";
const PEER_EVENTS: &str = "events to waiting things";
const HELLO: &str = "empty handler";
const READ: &str = "read an instance";
const READ_BY_TOKEN: &str = "read an instance, by access token";
const LISTS: &str = "list of 50";
const FLOOR_PURE: &str = "bare log, one commit";
const START_PURE: &str = "start and three pure transitions";
const FLOOR_STEPS: &str = "bare log, four commits";
const START_STEPS: &str = "start and three durable steps";
const FLOOR_EVENT: &str = "bare log, one event";
const EVENTS: &str = "events to waiting instances";
const RAW: &str = "raw durable write of an event, p50";

fn add_ratios(plan: &Plan, peers: &[Peer], report: &mut Report) {
    let floors = [
        (START_PURE, FLOOR_PURE, DURABLE_GOAL),
        (START_STEPS, FLOOR_STEPS, DURABLE_GOAL),
        (EVENTS, FLOOR_EVENT, DURABLE_GOAL),
        (READ, HELLO, READ_GOAL),
        (READ_BY_TOKEN, HELLO, READ_GOAL),
    ];
    let mut pairs = floors.map(|(ours, floor, goal)| (ours, floor.to_string(), goal)).to_vec();
    for peer in peers {
        let jobs = [(START_PURE, PEER_PURE), (START_STEPS, PEER_STEPS), (EVENTS, PEER_EVENTS)];
        pairs.extend(jobs.map(|(ours, job)| (ours, peer_job(peer, job), PEER_GOAL)));
    }
    for connections in &plan.connections {
        for (ours, beside, goal) in &pairs {
            let of = |it: &str| report.median(&format!("{connections} connections: {it}"));
            if let (Some(reached), Some(limit)) = (of(ours), of(beside)) {
                let name = format!("{connections} connections: {ours} / {beside}");
                let goal = (*connections == GOAL_CONNECTIONS).then_some(*goal);
                report.add(&name, report::Unit::Ratio, goal, reached / limit);
            }
        }
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn text(answer: &Json, key: &str) -> anyhow::Result<String> {
    let found = answer[key].as_str().with_context(|| format!("`{key}` is not in {answer}"))?;
    Ok(found.to_string())
}
