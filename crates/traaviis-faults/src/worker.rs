//! The process that is killed, starved and lied to: opens a directory and works in it.
//!
//! It tells everything on standard output, one JSON object a line, before and after it happens: the
//! other side of the pipe is what a client knows. Nothing of it is a file, so nothing that a layer
//! breaks can break it.

use std::{
    io::Write as _,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value as Json, json};
use traaviis_model::{InstanceId, Span, Text, Value};
use traaviis_runtime::{Effort, Error};
use traaviis_testkit::rng::Rng;

use crate::world::{How, World, tenant};

/// Bytes of large values: from those that stay in the log to those that are four times as large as
/// they must be for a file of their own.
const LARGE_BYTES: std::ops::Range<u64> = 100 << 10..1 << 20;
/// Exit code of a process whose log has failed, as of the binary.
const FAILED: i32 = 70;

/// What a worker does.
#[derive(Clone, Debug)]
pub struct Work {
    /// Where.
    pub dir: PathBuf,
    /// Events are named by it, so no two workers of a directory may have the same.
    pub seed: u64,
    /// Things that each client does; 0 means without end.
    pub ops: u64,
    /// Clients at once.
    pub clients: u64,
    /// Tenants that they choose from.
    pub tenants: u64,
    /// Looks after the log all the time: archives and compacts.
    pub upkeep: bool,
    /// One in so many events has a large value with it; 0 means none. No start has: a state keeps
    /// its input, and the database of states would write most of what is written.
    pub large: u64,
    /// How the directory is opened.
    pub how: How,
}

impl Work {
    /// Returns the arguments that say so.
    pub fn arguments(&self) -> Vec<String> {
        let numbers = [
            self.seed,
            self.ops,
            self.clients,
            self.tenants,
            u64::from(self.upkeep),
            self.large,
            self.how.segment_bytes,
        ];
        let mut arguments = vec!["worker".into(), self.dir.display().to_string()];
        arguments.extend(numbers.iter().map(u64::to_string));
        arguments.push(self.how.ahead.0.to_string());
        arguments
    }

    /// Reads them.
    pub fn parse(arguments: &[String]) -> anyhow::Result<Work> {
        let [dir, seed, ops, clients, tenants, upkeep, large, segment_bytes, ahead] = arguments
        else {
            anyhow::bail!("a worker takes 9 arguments");
        };
        let ahead = Span(ahead.parse()?);
        Ok(Work {
            dir: dir.into(),
            seed: seed.parse()?,
            ops: ops.parse()?,
            clients: clients.parse()?,
            tenants: tenants.parse()?,
            upkeep: upkeep == "1",
            large: large.parse()?,
            how: How { segment_bytes: segment_bytes.parse()?, ahead },
        })
    }
}

/// Writes a line whole, or ends: a worker that nobody hears is of no use.
fn tell(line: &Json) {
    static OUT: Mutex<()> = Mutex::new(());
    let text = format!("{line}\n");
    let _one = OUT.lock().unwrap_or_else(PoisonError::into_inner);
    let mut out = std::io::stdout().lock();
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(1);
    }
}

/// Runs a worker to its end, which may never come.
pub fn run(work: &Work) -> anyhow::Result<()> {
    let on_call = Arc::new(|id: &traaviis_model::CallId, key: &Text| {
        tell(&json!({ "call": {
            "instance": id.instance, "tree": id.tree, "path": &*id.path,
            "scheduled": id.scheduled, "attempt": id.attempt, "key": &**key,
        }}));
    });
    let world = match World::open(&work.dir, work.how, on_call) {
        Ok(world) => Arc::new(world),
        Err(error) => {
            tell(&json!({ "refused_to_open": error.to_string() }));
            std::process::exit(FAILED);
        }
    };
    tell(&json!({ "ready": true }));
    let left = Arc::new(AtomicU64::new(work.clients));
    let mut clients = Vec::new();
    for number in 0..work.clients {
        let (world, work, left) = (Arc::clone(&world), work.clone(), Arc::clone(&left));
        clients.push(thread::spawn(move || {
            Client::new(&world, &work, number).run();
            left.fetch_sub(1, Ordering::SeqCst);
        }));
    }
    if work.upkeep {
        while left.load(Ordering::SeqCst) > 0 {
            thread::sleep(Duration::from_millis(15));
            upkeep(&world);
        }
    }
    for client in clients {
        let _ = client.join();
    }
    upkeep(&world);
    let failed = world.log.failed();
    if let Some(world) = Arc::into_inner(world) {
        world.close();
    }
    tell(&json!({ "over": true, "failed": failed.as_deref() }));
    std::process::exit(if failed.is_some() { FAILED } else { 0 });
}

/// Writes a checkpoint, archives and compacts; what goes wrong shows in what follows.
fn upkeep(world: &World) {
    let _ = world.handle.checkpoint();
    let _ = world.handle.upkeep(Effort::Full, &mut |_| ());
}

struct Client<'a> {
    world: &'a World,
    work: &'a Work,
    number: u64,
    sent: u64,
    dice: Rng,
    /// Its open instances that take events, with their tenants.
    open: Vec<(u64, InstanceId)>,
}

impl<'a> Client<'a> {
    fn new(world: &'a World, work: &'a Work, number: u64) -> Client<'a> {
        let dice = Rng::new(work.seed.wrapping_mul(1_000) + number);
        Client { world, work, number, sent: 0, dice, open: Vec::new() }
    }

    fn run(&mut self) {
        let mut done = 0;
        while self.work.ops == 0 || done < self.work.ops {
            done += 1;
            if self.open.is_empty() || self.dice.chance(1, 6) {
                self.start();
            } else {
                self.send();
            }
            if self.world.log.failed().is_some() {
                return;
            }
        }
    }

    fn start(&mut self) {
        let whose = self.dice.below(self.work.tenants.max(1));
        let (ctx, mark) = tenant(whose);
        let kind = [0, 0, 1, 2][self.dice.index(4)];
        let fails = Value::from(self.dice.chance(1, 2));
        let input = Value::map([("mark", Value::from(&*mark)), ("fails", fails)]);
        let started =
            self.world.handle.start_instance(&ctx, &self.world.machines[kind], None, input);
        match started {
            Ok(started) => {
                tell(&json!({ "started": started.id }));
                if kind == 0 {
                    self.open.push((whose, started.id));
                }
            }
            Err(error) => self.wait_after(&error),
        }
    }

    fn send(&mut self) {
        let at = self.dice.index(self.open.len());
        let (whose, id) = self.open[at];
        let (ctx, mark) = tenant(whose);
        self.sent += 1;
        let event = format!("s{}-{}-{}", self.work.seed, self.number, self.sent);
        let name = if self.dice.chance(1, 8) { "close" } else { "bump" };
        if name == "close" {
            self.open.swap_remove(at);
        }
        tell(&json!({ "begin": event, "tenant": whose }));
        let mark = [("mark", Value::from(&*mark))];
        let data = Value::map(mark.into_iter().chain(self.large()));
        let begun = Instant::now();
        match self.world.handle.send(&ctx, id, name, data, Some(event.as_str().into())) {
            Ok(_) => {
                let took = begun.elapsed().as_micros() as u64;
                tell(&json!({ "ok": event, "us": took }));
            }
            // It may be durable all the same.
            Err(error @ (Error::Log(_) | Error::Stopping)) => {
                tell(&json!({ "unknown": event, "code": error.code() }));
                self.wait_after(&error);
            }
            Err(error) => tell(&json!({ "refused": event, "code": error.code() })),
        }
    }

    /// Returns a large value that no other has, from time to time.
    fn large(&mut self) -> Option<(&'static str, Value)> {
        let Work { seed, large, .. } = *self.work;
        if large == 0 || !self.dice.chance(1, large) {
            return None;
        }
        let count = LARGE_BYTES.start + self.dice.below(LARGE_BYTES.end - LARGE_BYTES.start);
        let filling = "x".repeat(count as usize);
        let text = format!("{seed}-{}-{}-{filling}", self.number, self.dice.below(u64::MAX));
        Some(("paper", Value::from(text.as_str())))
    }

    fn wait_after(&self, error: &Error) {
        tell(&json!({ "error": error.code() }));
        thread::sleep(Duration::from_millis(20));
    }
}
