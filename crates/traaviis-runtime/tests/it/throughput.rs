//! How fast and how small, on the real disk. Tiny by default, so that it cannot rot:
//! `BENCH_EVENTS=1000000 cargo test --release -p traaviis-runtime --test it throughput --
//! --nocapture`.

use std::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Instant,
};

use traaviis_model::{InstanceId, Timestamp, Value};
use traaviis_ports::LogStore;
use traaviis_runtime::{Filter, Handle, Options, Ports, Runtime};
use traaviis_store::LocalLog;
use traaviis_testkit::{
    clock::{SimClock, SimIds},
    connector::{Reaction, ScriptedConnector},
};

use crate::support::{COUNTER, ctx, event, machine};

/// Requests under way.
struct Window {
    free: AtomicI64,
    lock: Mutex<()>,
    freed: Condvar,
}

impl Window {
    fn new(size: i64) -> Arc<Window> {
        let free = AtomicI64::new(size);
        Arc::new(Window { free, lock: Mutex::new(()), freed: Condvar::new() })
    }

    fn take(&self) {
        while self.free.load(Ordering::SeqCst) <= 0 {
            let held = self.lock.lock().unwrap();
            if self.free.load(Ordering::SeqCst) <= 0 {
                drop(self.freed.wait(held).unwrap());
            }
        }
        self.free.fetch_sub(1, Ordering::SeqCst);
    }

    fn give(&self) {
        let before = self.free.fetch_add(1, Ordering::SeqCst);
        if before == 0 {
            drop(self.lock.lock().unwrap());
            self.freed.notify_all();
        }
    }

    fn wait_all(&self, size: i64) {
        while self.free.load(Ordering::SeqCst) < size {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}

fn start(log: Arc<dyn LogStore>, shards: usize, ids: Arc<SimIds>) -> Handle {
    let ports = Ports {
        log,
        clock: Arc::new(SimClock::new(Timestamp(1_000_000_000_000_000))),
        ids,
        connector: Arc::new(ScriptedConnector::new(Reaction::Hang)),
    };
    Runtime::start(Options { shards, steps_per_second: None, ..Options::default() }, ports)
        .unwrap()
        .0
}

fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|it| it.parse::<u64>().ok());
    pages.unwrap_or(0) * 4_096
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|it| it.parse().ok()).unwrap_or(default)
}

fn start_many(handle: &Handle, count: u64) -> Vec<InstanceId> {
    const SIZE: i64 = 4_096;
    let window = Window::new(SIZE);
    let counter = machine(COUNTER);
    let ids = (0..count)
        .map(|_| {
            window.take();
            let done = Arc::clone(&window);
            let reply = Box::new(move |answer: Result<_, _>| {
                assert!(answer.is_ok());
                done.give();
            });
            handle.start_instance_then(&ctx(), &counter, None, Value::empty_map(), reply)
        })
        .collect();
    window.wait_all(SIZE);
    ids
}

#[test]
fn throughput() {
    const SIZE: i64 = 8_192;
    let events = number("BENCH_EVENTS", 2_000);
    for shards in [1, 2, 3] {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = LocalLog::open(dir.path(), Default::default()).unwrap();
        let handle = start(log.clone(), shards, Arc::default());
        let ids = start_many(&handle, 1_000);
        let window = Window::new(SIZE);
        let begun = Instant::now();
        for at in 0..events {
            window.take();
            let done = Arc::clone(&window);
            let reply = Box::new(move |answer: Result<_, _>| {
                assert!(answer.is_ok());
                done.give();
            });
            let id = ids[(at % ids.len() as u64) as usize];
            handle.command_then(&ctx(), id, event("bump"), reply);
        }
        window.wait_all(SIZE);
        let took = begun.elapsed();
        let rate = events as f64 / took.as_secs_f64();
        println!("{shards} shards: {events} events in {took:?}, {rate:.0}/s");
        drop(handle);
        log.close();
    }
}

#[test]
fn parked_instances_are_small() {
    let count = number("BENCH_INSTANCES", 2_000);
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = LocalLog::open(dir.path(), Default::default()).unwrap();
    let handle = start(log.clone(), 1, Arc::default());
    start_many(&handle, 100);
    let before = resident_bytes();
    let begun = Instant::now();
    start_many(&handle, count);
    let took = begun.elapsed();
    let each = resident_bytes().saturating_sub(before) / count;
    println!("{count} instances in {took:?}, {each} bytes each");
    handle.shutdown(std::time::Duration::from_secs(1)).unwrap();
    log.close();
    drop(log);
    let begun = Instant::now();
    let (log, _) = LocalLog::open(dir.path(), Default::default()).unwrap();
    let ids = Arc::default();
    let handle = start(log.clone(), 1, ids);
    let listed = handle.list(&ctx(), &Filter { limit: 1, ..Filter::default() }).unwrap();
    println!("recovered in {:?}", begun.elapsed());
    assert_eq!(listed.len(), 1);
    drop(handle);
    log.close();
}
