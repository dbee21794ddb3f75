//! One shard, a log that keeps nothing, and a number of transitions: the same work on each run, so
//! that counted instructions can be compared where time cannot.
//!
//! `valgrind --tool=callgrind target/release/examples/transitions plain 20000`, and once more with
//! a number of `0`; the difference is what the transitions cost. The other kind is `guarded`.

use std::{
    collections::HashMap,
    env,
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc::{Sender, channel},
    },
};

use traaviis_engine::Machine;
use traaviis_model::{
    InstanceId, Seq, TenantCtx, TenantId, Timestamp, Value,
    document::{self, Format},
};
use traaviis_ports::{Append, Commit, CommitSink, Line, LogError, LogStore, Part, Position};
use traaviis_runtime::{Command, Handle, Options, Ports, Runtime};
use traaviis_testkit::{
    clock::{SimClock, SimIds},
    connector::{Reaction, ScriptedConnector},
};

/// Instances that are busy at once.
const INSTANCES: usize = 4_096;

/// Two states and one event between them.
const PLAIN: &str = include_str!("../../traaviis/src/bench/plain.yaml");

/// The same with guards to look at and data to change.
const GUARDED: &str = include_str!("../../traaviis/src/bench/guarded.yaml");

/// Takes every append at once and forgets it.
#[derive(Default)]
struct Forgetful {
    position: AtomicU64,
    bytes: AtomicU64,
}

impl Forgetful {
    fn take(&self, append: &mut Append) -> Commit {
        self.bytes.fetch_add(append.lines.write().len() as u64, Ordering::Relaxed);
        let count = Position::from(append.count);
        Ok(self.position.fetch_add(count, Ordering::Relaxed) + count)
    }
}

impl LogStore for Forgetful {
    fn append(&self, _: &TenantCtx, mut append: Append, sink: &Arc<dyn CommitSink>, token: u64) {
        sink.committed(&mut std::iter::once((token, self.take(&mut append))));
    }

    fn append_all(&self, appends: &mut Vec<(TenantCtx, Append, u64)>, sink: &Arc<dyn CommitSink>) {
        let mut told =
            appends.drain(..).map(|(_, mut append, token)| (token, self.take(&mut append)));
        sink.committed(&mut told);
    }

    fn read(
        &self,
        _: &TenantCtx,
        _: InstanceId,
        _: Seq,
        _: usize,
    ) -> Result<Vec<Vec<u8>>, LogError> {
        Ok(Vec::new())
    }

    fn read_within(
        &self,
        _: &TenantCtx,
        _: InstanceId,
        _: Seq,
        _: usize,
        within: Range<Position>,
    ) -> Result<Part, LogError> {
        Ok(Part { next: within.start, ..Part::default() })
    }

    fn scan(&self, from: Position, _: &mut dyn FnMut(Line<'_>)) -> Result<Position, LogError> {
        Ok(from)
    }

    fn tail(&self) -> Position {
        self.position.load(Ordering::Relaxed)
    }

    fn seed(&self, _: &mut dyn Iterator<Item = (TenantId, InstanceId, Seq)>) {}

    fn put_checkpoint(&self, _: Position, _: &[u8]) -> Result<(), LogError> {
        Ok(())
    }

    fn checkpoint(&self) -> Result<Option<(Position, Vec<u8>)>, LogError> {
        Ok(None)
    }
}

struct Load {
    handle: Handle,
    ctx: TenantCtx,
    payload: Value,
    left: AtomicU64,
    over: Mutex<Sender<()>>,
}

/// Sends the next event to an instance once the former one is answered.
fn send_next(load: &Arc<Load>, id: InstanceId) {
    let before =
        load.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |it| it.checked_sub(1));
    if before.is_err() {
        let _ = load.over.lock().unwrap().send(());
        return;
    }
    let shared = Arc::clone(load);
    let reply = Box::new(move |answer: Result<_, _>| {
        assert!(answer.is_ok());
        send_next(&shared, id);
    });
    let command = Command::Event { event: "go".into(), data: load.payload.clone(), id: None };
    load.handle.command_then(&load.ctx, id, command, reply);
}

fn main() {
    let mut args = env::args().skip(1);
    let kind = args.next().unwrap_or("plain".into());
    let count: u64 = args.next().map_or(100_000, |it| it.parse().unwrap());
    let workflows = HashMap::from([
        ("plain", (PLAIN, Value::Null)),
        ("guarded", (GUARDED, Value::map([("n", Value::Int(1))]))),
    ]);
    let (text, payload) = workflows[&*kind].clone();
    let definition = document::read(text, Format::Yaml).definition.unwrap();
    let machine = Arc::new(Machine::compile(Arc::new(definition)).unwrap());
    let log = Arc::new(Forgetful::default());
    let ports = Ports {
        log: Arc::clone(&log) as Arc<dyn LogStore>,
        clock: Arc::new(SimClock::new(Timestamp(1_800_000_000_000_000))),
        ids: Arc::new(SimIds::default()),
        connector: Arc::new(ScriptedConnector::new(Reaction::Hang)),
    };
    let options = Options {
        checkpoint_bytes: u64::MAX,
        steps_per_second: None,
        events_per_second: None,
        ..Options::default()
    };
    let (handle, _) = Runtime::start(options, ports).unwrap();
    let ctx = TenantCtx::for_test(1);
    let ids: Vec<InstanceId> = (0..INSTANCES)
        .map(|_| handle.start_instance(&ctx, &machine, None, Value::empty_map()).unwrap().id)
        .collect();
    let (over, is_over) = channel();
    let before = log.bytes.load(Ordering::Relaxed);
    let left = AtomicU64::new(count);
    let load = Arc::new(Load { handle, ctx, payload, left, over: Mutex::new(over) });
    let begun = std::time::Instant::now();
    ids.iter().for_each(|id| send_next(&load, *id));
    ids.iter().for_each(|_| is_over.recv().unwrap());
    let bytes = log.bytes.load(Ordering::Relaxed) - before;
    let seconds = begun.elapsed().as_secs_f64();
    println!("{count} transitions, {bytes} bytes, {:.0}/s", count as f64 / seconds);
}
