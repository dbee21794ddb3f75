//! Many tenants of a server, each with an owner, and many sockets that listen to them.
//!
//! The server runs in a process of its own; this one plays everybody else.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use serde_json::{Value as Json, json};
use tokio::{task::JoinSet, time::timeout};

use super::{
    load::{Connection, request},
    server::Process,
    websocket::{self, HEARTBEAT, Heard},
};
use crate::{
    exit::{Exit, Failure},
    open_files,
};

/// Accounts that are made at once: a server hashes two passwords at a time.
const ACCOUNTS_AT_ONCE: usize = 4;
/// Sockets that are opened at once.
const SOCKETS_AT_ONCE: usize = 64;
/// Files that a process needs beside its sockets.
const OTHER_FILES: u64 = 256;
/// How often a socket says that it is there.
const BEAT: Duration = Duration::from_secs(25);
/// Longest wait for an answer to a join.
const JOIN_WAIT: Duration = Duration::from_secs(30);
/// Password of the accounts; nobody else reaches this server.
const PASSWORD: &str = "benchmark of one evening";

/// Lets this process, and those that it starts, have so many sockets.
pub fn allow_sockets(count: usize) -> Result<(), Failure> {
    let needed = count as u64 + OTHER_FILES;
    match open_files::raise() {
        Some(most) if most < needed => {
            let message = format!(
                "{count} sockets need {needed} open files in each process, and {most} are allowed; \
                 raise the limit (`ulimit -n {needed}`), or measure fewer with `--quick`"
            );
            Err(Failure::new(Exit::Usage, "open_files_limited", message))
        }
        _ => Ok(()),
    }
}

/// One tenant.
#[derive(Clone, Debug, Default)]
pub struct Tenant {
    /// Its id.
    pub id: String,
    /// Token of its owner.
    pub token: String,
    /// Its instances.
    pub instances: Vec<String>,
}

/// Starts a server, of this build or another, that believes where callers say that they come from.
pub fn serve(build: Option<&Path>, dir: &Path) -> anyhow::Result<Process> {
    let args = ["serve", "--json", "--listen", "127.0.0.1:0", "--trust-proxy", "127.0.0.0/8"];
    let args = [&args[..], &["--admin-listen", "off", "--profile", "dev", "--data"]].concat();
    match build {
        Some(program) => Process::of(program, &args, dir, &[]),
        None => Process::start(&args, dir, &[]),
    }
}

/// Asks on a connection.
pub async fn ask(
    connection: &mut Connection,
    method: &str,
    path: &str,
    token: &str,
    body: &Json,
) -> anyhow::Result<Json> {
    ask_from(connection, "", (method, path), token, body).await
}

async fn ask_from(
    connection: &mut Connection,
    from: &str,
    (method, path): (&str, &str),
    token: &str,
    body: &Json,
) -> anyhow::Result<Json> {
    let path = format!("/api/v1{path}");
    let mut request = request(method, &path, token, &body.to_string());
    if !from.is_empty() {
        let line = format!("X-Forwarded-For: {from}\r\n");
        let first = request.iter().position(|it| *it == b'\n').map_or(0, |it| it + 1);
        request.splice(first..first, line.into_bytes());
    }
    let answer = connection.ask(&request).await?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    anyhow::ensure!((200..300).contains(&answer.status), "{method} {path}: {text}");
    Ok(serde_json::from_slice(&answer.body).unwrap_or_default())
}

/// Makes tenants that have published these documents.
pub async fn tenants(
    address: SocketAddr,
    count: usize,
    documents: &'static [&'static str],
) -> anyhow::Result<Vec<Tenant>> {
    let mut tasks = JoinSet::new();
    for first in 0..ACCOUNTS_AT_ONCE.min(count) {
        tasks.spawn(async move {
            let mut connection = Connection::open(address).await?;
            let mut made = Vec::new();
            for at in (first..count).step_by(ACCOUNTS_AT_ONCE) {
                made.push((at, tenant(&mut connection, at, documents).await?));
            }
            anyhow::Ok(made)
        });
    }
    let mut all = vec![Tenant::default(); count];
    while let Some(made) = tasks.join_next().await {
        for (at, tenant) in made?? {
            all[at] = tenant;
        }
    }
    Ok(all)
}

async fn tenant(
    connection: &mut Connection,
    at: usize,
    documents: &[&str],
) -> anyhow::Result<Tenant> {
    // Everybody has an address of their own, as they would.
    let from = format!("10.{}.{}.7", at / 200, at % 200);
    let account = json!({ "email": format!("owner{at}@bench.example"), "password": PASSWORD });
    let told = ask_from(connection, &from, ("POST", "/auth/register"), "", &account).await?;
    let (id, token) = (word(&told, "/tenant/id")?, word(&told, "/access_token")?);
    for document in documents {
        let document = json!({ "document": document });
        let path = "/tenants/current/workflows";
        let made = ask(connection, "POST", path, &token, &document).await?;
        let path = format!("/tenants/current/workflows/{}/publish", word(&made, "/name")?);
        ask(connection, "POST", &path, &token, &json!({})).await?;
    }
    Ok(Tenant { id, token, instances: Vec::new() })
}

/// Makes a member of a tenant; returns their id and their token.
pub async fn member(
    connection: &mut Connection,
    tenant: &Tenant,
    at: usize,
) -> anyhow::Result<(String, String)> {
    let invite = json!({ "email": format!("member{at}@bench.example"), "role": "viewer" });
    let path = "/tenants/current/invitations";
    let told = ask(connection, "POST", path, &tenant.token, &invite).await?;
    let accept = json!({ "token": word(&told, "/token")?, "password": PASSWORD });
    let from = format!("10.250.{at}.7");
    let path = ("POST", "/invitations/accept");
    let told = ask_from(connection, &from, path, "", &accept).await?;
    Ok((word(&told, "/user/id")?, word(&told, "/access_token")?))
}

/// Starts so many instances of a workflow in each tenant, over so many connections at once.
pub async fn start(
    address: SocketAddr,
    tenants: &mut [Tenant],
    each: usize,
    (body, connections): (&'static str, usize),
) -> anyhow::Result<()> {
    let mut tasks = JoinSet::new();
    for first in 0..connections.min(tenants.len()) {
        let mine = tenants.iter().enumerate().skip(first).step_by(connections);
        let mine: Vec<(usize, String)> = mine.map(|it| (it.0, it.1.token.clone())).collect();
        tasks.spawn(async move {
            let mut connection = Connection::open(address).await?;
            let mut started = Vec::new();
            for _ in 0..each {
                for (at, token) in &mine {
                    let path = "/api/v1/tenants/current/instances";
                    let answer = connection.ask(&request("POST", path, token, body)).await?;
                    let told: Json = serde_json::from_slice(&answer.body)?;
                    started.push((*at, word(&told, "/id")?));
                }
            }
            anyhow::Ok(started)
        });
    }
    while let Some(started) = tasks.join_next().await {
        for (at, id) in started?? {
            tenants[at].instances.push(id);
        }
    }
    Ok(())
}

/// Returns a text of an answer.
pub fn word(answer: &Json, pointer: &str) -> anyhow::Result<String> {
    let found = answer.pointer(pointer).and_then(Json::as_str);
    Ok(found.with_context(|| format!("`{pointer}` is not in {answer}"))?.to_owned())
}

/// What sockets hear, by the tenant that they listen to.
#[derive(Debug)]
pub struct Audience {
    begun: Instant,
    /// When the event was sent that is on its way, in microseconds.
    sent: Vec<AtomicU64>,
    /// Listeners that have not heard of it yet.
    missing: Vec<AtomicUsize>,
    /// How long it took to each listener, in microseconds.
    times: Mutex<Vec<u32>>,
    /// When a socket was closed, or left without its topic, by its number.
    ended: Mutex<HashMap<usize, Instant>>,
    /// Frames about changes.
    pub frames: AtomicUsize,
}

impl Audience {
    /// Hears nothing yet.
    pub fn of(tenants: usize) -> Arc<Audience> {
        Arc::new(Audience {
            begun: Instant::now(),
            sent: (0..tenants).map(|_| AtomicU64::default()).collect(),
            missing: (0..tenants).map(|_| AtomicUsize::default()).collect(),
            times: Mutex::default(),
            ended: Mutex::default(),
            frames: AtomicUsize::default(),
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Says that an event is sent that so many listeners should hear of.
    pub fn sends(&self, tenant: usize, listeners: usize) {
        self.missing[tenant].store(listeners, Ordering::SeqCst);
        self.sent[tenant].store(self.now(), Ordering::SeqCst);
    }

    /// Says whether all have heard of the last event of a tenant.
    pub fn is_heard(&self, tenant: usize) -> bool {
        self.missing[tenant].load(Ordering::SeqCst) == 0
    }

    /// Returns how many listeners have not heard of the last event.
    pub fn missing(&self) -> usize {
        self.missing.iter().map(|it| it.load(Ordering::SeqCst)).sum()
    }

    /// Takes the times until now, sorted.
    pub fn take_times(&self) -> Vec<Duration> {
        let mut times = std::mem::take(&mut *lock(&self.times));
        times.sort_unstable();
        times.into_iter().map(|it| Duration::from_micros(u64::from(it))).collect()
    }

    /// Returns when a socket was closed.
    pub fn ended(&self, socket: usize) -> Option<Instant> {
        lock(&self.ended).get(&socket).copied()
    }

    /// Returns how many sockets were closed.
    pub fn ended_count(&self) -> usize {
        lock(&self.ended).len()
    }

    fn hears(&self, tenant: usize, text: &[u8]) {
        let is_change = text.windows(STATE_CHANGED.len()).any(|it| it == STATE_CHANGED);
        if !is_change {
            return;
        }
        self.frames.fetch_add(1, Ordering::Relaxed);
        let took = self.now().saturating_sub(self.sent[tenant].load(Ordering::SeqCst));
        lock(&self.times).push(u32::try_from(took).unwrap_or(u32::MAX));
        let missing = &self.missing[tenant];
        // One that nobody has sent would be a defect, and is seen as a count that is too high.
        let one_less = |it: usize| it.checked_sub(1);
        let _ = missing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less);
    }
}

const STATE_CHANGED: &[u8] = b"\"fsm_state_changed\"";
const CLOSED: &[u8] = b"\"phx_close\"";

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A socket that is asked for: its number, the tenant that it listens to, and whose token it shows.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Number.
    pub socket: usize,
    /// Tenant, by its place in the list.
    pub tenant: usize,
    /// Topic.
    pub topic: String,
    /// Token.
    pub token: String,
}

/// Opens sockets, each on a topic, which then listen until the runtime ends.
pub async fn listen(
    address: SocketAddr,
    wanted: Vec<Wanted>,
    heard: &Arc<Audience>,
) -> anyhow::Result<()> {
    let mut tasks = JoinSet::new();
    let queue = Arc::new(Mutex::new(wanted));
    for _ in 0..SOCKETS_AT_ONCE {
        let (queue, heard) = (Arc::clone(&queue), Arc::clone(heard));
        tasks.spawn(async move {
            loop {
                let Some(one) = lock(&queue).pop() else { return anyhow::Ok(()) };
                let number = one.socket;
                timeout(JOIN_WAIT, join(address, one, &heard))
                    .await
                    .with_context(|| format!("socket {number} gets no answer"))??;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

async fn join(address: SocketAddr, one: Wanted, heard: &Arc<Audience>) -> anyhow::Result<()> {
    let opened = websocket::open(address, &one.token).await;
    let (mut speaker, mut listener) = opened.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrNotAvailable => anyhow::anyhow!(
            "no local port is left for socket {}: see net.ipv4.ip_local_port_range",
            one.socket
        ),
        _ => anyhow::anyhow!("socket {}: {error}", one.socket),
    })?;
    speaker.join(&one.topic).await?;
    let reply = listener.next().await?;
    let is_joined = matches!(&reply, Heard::Text(text) if has(text, br#""status":"ok""#));
    anyhow::ensure!(is_joined, "`{}` is not joined: {reply:?}", one.topic);
    let heard = Arc::clone(heard);
    tokio::spawn(async move {
        // Not all at once.
        let first = BEAT.mul_f64((one.socket % 100) as f64 / 100.0 + 0.01);
        let mut beat = tokio::time::interval_at((Instant::now() + first).into(), BEAT);
        loop {
            let told = tokio::select! {
                told = listener.next() => told,
                _ = beat.tick() => {
                    if speaker.say(HEARTBEAT).await.is_err() {
                        break;
                    }
                    continue;
                }
            };
            match told {
                Ok(Heard::Text(text)) if has(&text, CLOSED) => break,
                Ok(Heard::Text(text)) => heard.hears(one.tenant, &text),
                Ok(Heard::Closed(_)) | Err(_) => break,
            }
        }
        lock(&heard.ended).insert(one.socket, Instant::now());
    });
    Ok(())
}

fn has(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|it| it == part)
}
