//! Keeps many instances busy: each gets its next event when the former one is durable.

use std::{
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use traaviis_engine::Machine;
use traaviis_model::{InstanceId, Text, Value};

use crate::{data::Data, exit::Failure};

/// Told what became of one of many.
pub type Done = Box<dyn FnOnce(Result<(), Failure>) + Send>;

/// Begins `count` things, many at once, and waits until all are durable.
pub fn many(count: usize, mut begin: impl FnMut(usize, Done)) -> anyhow::Result<()> {
    /// Things on their way; fewer than the mailboxes and queues allow.
    const ON_THE_WAY_MAX: usize = 4_096;
    let gate = Arc::new(Gate::default());
    for begun in 0..count {
        gate.wait_below(begun, ON_THE_WAY_MAX)?;
        let gate = Arc::clone(&gate);
        begin(begun, Box::new(move |result| gate.pass(result.err())));
    }
    gate.wait_below(count, 1)?;
    Ok(())
}

/// Starts `count` instances at once and returns their ids when all are durable.
pub fn start_many(
    data: &Arc<Data>,
    machine: &Arc<Machine>,
    count: usize,
    input: impl Fn(usize) -> Value,
) -> anyhow::Result<Vec<InstanceId>> {
    let ids = Arc::new(Mutex::new(Vec::with_capacity(count)));
    many(count, |at, done| {
        let ids = Arc::clone(&ids);
        let started = move |result: Result<InstanceId, Failure>| {
            done(result.map(|id| ids.lock().unwrap_or_else(PoisonError::into_inner).push(id)));
        };
        start_one(data, machine, input(at), Box::new(started));
    })?;
    let mut ids = ids.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(std::mem::take(&mut *ids))
}

/// Starts an instance, again and again while there is no memory for it: that is what the error
/// asks of whoever begins so much.
fn start_one(
    data: &Arc<Data>,
    machine: &Arc<Machine>,
    input: Value,
    done: Box<dyn FnOnce(Result<InstanceId, Failure>) + Send>,
) {
    let again = (Arc::clone(data), Arc::clone(machine), input.clone());
    let started = move |result: Result<InstanceId, Failure>| match result {
        Err(failure) if failure.code == "memory_pressure" => {
            let (data, machine, input) = again;
            start_one(&data, &machine, input, done);
        }
        other => done(other),
    };
    data.start_then(machine, input, Box::new(started));
}

/// Counts what is over.
#[derive(Debug, Default)]
struct Gate {
    over: Mutex<(usize, Option<Failure>)>,
    changed: Condvar,
}

impl Gate {
    fn pass(&self, failure: Option<Failure>) {
        let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        over.0 += 1;
        over.1 = over.1.take().or(failure);
        self.changed.notify_all();
    }

    /// Waits until fewer than `limit` of `begun` are open.
    fn wait_below(&self, begun: usize, limit: usize) -> Result<(), Failure> {
        let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        while begun - over.0 >= limit && over.1.is_none() {
            over = self.changed.wait(over).unwrap_or_else(PoisonError::into_inner);
        }
        over.1.clone().map_or(Ok(()), Err)
    }
}

/// What a round of events gave.
#[derive(Clone, Copy, Debug)]
pub struct Driven {
    /// Events that became durable.
    pub events: u64,
    /// How long it took.
    pub time: Duration,
}

impl Driven {
    /// Returns events per second.
    pub fn rate(self) -> f64 {
        self.events as f64 / self.time.as_secs_f64().max(1e-9)
    }
}

/// Sends `event` to every instance for `time`, one on the way per instance.
pub fn drive(
    data: &Arc<Data>,
    ids: &[InstanceId],
    payload: &Value,
    time: Duration,
) -> anyhow::Result<Driven> {
    let load = Arc::new(Load {
        data: Arc::clone(data),
        event: "go".into(),
        payload: payload.clone(),
        is_over: AtomicBool::new(false),
        events: AtomicU64::new(0),
        open: AtomicUsize::new(ids.len()),
        end: Mutex::new(None),
        ended: Condvar::new(),
    });
    let begun = Instant::now();
    for id in ids {
        send_next(&load, *id);
    }
    std::thread::sleep(time);
    load.is_over.store(true, Ordering::Relaxed);
    // What became durable by now counts; the rest only has to end.
    let (events, time) = (load.events.load(Ordering::Relaxed), begun.elapsed());
    let mut end = load.end.lock().unwrap_or_else(PoisonError::into_inner);
    while load.open.load(Ordering::Acquire) > 0 {
        end = load.ended.wait(end).unwrap_or_else(PoisonError::into_inner);
    }
    match end.take() {
        Some(failure) => Err(failure.into()),
        None => Ok(Driven { events, time }),
    }
}

struct Load {
    data: Arc<Data>,
    event: Text,
    payload: Value,
    is_over: AtomicBool,
    events: AtomicU64,
    open: AtomicUsize,
    end: Mutex<Option<Failure>>,
    ended: Condvar,
}

fn send_next(load: &Arc<Load>, id: InstanceId) {
    let shared = Arc::clone(load);
    let done = move |result: Result<(), Failure>| {
        if result.is_ok() {
            shared.events.fetch_add(1, Ordering::Relaxed);
        }
        if result.is_ok() && !shared.is_over.load(Ordering::Relaxed) {
            return send_next(&shared, id);
        }
        let mut end = shared.end.lock().unwrap_or_else(PoisonError::into_inner);
        *end = end.take().or(result.err());
        shared.open.fetch_sub(1, Ordering::Release);
        shared.ended.notify_all();
    };
    load.data.send_then(id, &load.event, load.payload.clone(), Box::new(done));
}
