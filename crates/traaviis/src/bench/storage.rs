//! The storage benchmark: reads, writes and lists beside more and more waiting instances.
//!
//! For each number of instances one process starts them and ends, and another opens the directory
//! again, so that no state is in memory when the first reads come. What is compared is how the
//! numbers grow with the count.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value as Json, json};
use traaviis_model::{InstanceId, Value};
use traaviis_ports::index::Query;

use super::{
    alone::{Part, megabytes},
    child, drive, facts, large, limits, machine,
    report::{Goal, Report, Unit},
    workflows,
};
use crate::{
    bench,
    data::{Data, open_log},
    output::Output,
    tree::TreeMode,
};

/// Bytes of data of one instance, so that a hundred thousand are larger than the process may be.
const DATA_BYTES: usize = 2_000;
/// Turns in which two ways of storage are measured.
const TURNS: usize = 3;
/// Times of one rate for which small events are timed: a hundredth of them is looked at.
const LARGE_TIMES: u32 = 4;
/// Rows of a list.
const LIST: usize = 50;
/// Goal of the averages of single reads and writes, in milliseconds.
const AVERAGE_GOAL: Goal = Goal::Most(10.0);
/// Goal of the memory.
const MEMORY_GOAL: Goal = Goal::Most(256.0);

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Numbers of waiting instances.
    pub counts: Vec<usize>,
    /// Instances that are busy at once for the ratio to the bare log.
    pub busy: usize,
    /// Time of one rate.
    pub time: Duration,
}

impl Plan {
    /// What the goals are stated for.
    pub fn full() -> Plan {
        Plan {
            counts: vec![10_000, 100_000, 1_000_000],
            busy: 4_096,
            time: Duration::from_millis(1_500),
        }
    }

    /// A look within two minutes.
    pub fn quick() -> Plan {
        Plan { counts: vec![10_000, 100_000], time: Duration::from_millis(500), ..Plan::full() }
    }

    /// As small as can be; for the test that keeps this alive.
    pub fn tiny() -> Plan {
        Plan { counts: vec![20], busy: 8, time: Duration::from_millis(30) }
    }
}

/// A number of an answer of a child: its key, what it is, its unit and its goal.
type Row = (&'static str, &'static str, Unit, Option<Goal>);

const ROWS: &[Row] = &[
    ("write", "durable write, average", Unit::Millis, Some(AVERAGE_GOAL)),
    ("write_p99", "durable write, p99", Unit::Millis, None),
    ("cold", "cold read, average", Unit::Millis, Some(AVERAGE_GOAL)),
    ("cold_p99", "cold read, p99", Unit::Millis, None),
    ("hot", "hot read, average", Unit::Millis, None),
    ("list", "list of 50", Unit::Millis, None),
    ("filtered", "filtered list of 50", Unit::Millis, None),
    ("ready", "ready after a restart", Unit::Seconds, None),
    ("memory", "resident, p90 of a mixed load", Unit::Megabytes, Some(MEMORY_GOAL)),
    ("start_memory", "resident, most while starting them", Unit::Megabytes, Some(MEMORY_GOAL)),
    ("active", "states in memory after it", Unit::Count, None),
    ("data", "data beside it on disk", Unit::Megabytes, None),
];

/// Runs the benchmark in `dir`, which must not hold anything else.
pub fn run(plan: &Plan, dir: &Path, output: &Output) -> anyhow::Result<crate::exit::Exit> {
    let begun = Instant::now();
    fs::create_dir_all(dir)?;
    let mut report = Report::default();
    for round in 1..=3 {
        bench::output_progress(output, &format!("log, index and tree, round {round} of 3"));
        beside_the_bare_log(plan, &dir.join(format!("busy-{round}")), &mut report)?;
    }
    if let (Some(bare), Some(whole)) = (report.median(BARE), report.median(WHOLE)) {
        report.add("log, index and tree / bare log", Unit::Ratio, None, whole / bare);
    }
    let few = plan.counts.iter().copied().min().unwrap_or(0);
    bench::output_progress(output, &format!("{few} waiting instances, embedded and json-only"));
    beside_json(few, &dir.join("modes"), &mut report)?;
    bench::output_progress(output, "small events beside large values");
    large::run(plan.time * LARGE_TIMES, &dir.join("large"), &mut report)?;
    for count in &plan.counts {
        bench::output_progress(output, &format!("{count} waiting instances"));
        let dir = dir.join(format!("waiting-{count}"));
        let (started, _) = child::run(Part::StorageStart, *count, &dir)?;
        let (mut answer, ready) = child::run(Part::Storage, *count, &dir)?;
        answer["ready"] = json!(ready.as_secs_f64());
        answer["start_memory"] = started["peak"].clone();
        answer["data"] = megabytes(bytes_below(&dir)?);
        for (key, name, unit, goal) in ROWS {
            let name = format!("{count} instances: {name}");
            report.add(&name, *unit, *goal, child::number(&answer, key));
        }
        fs::remove_dir_all(&dir)?;
    }
    bench::show(report, 3, begun, output)
}

const BARE: &str = "bare log, transitions";
const WHOLE: &str = "log, index and tree, transitions";

/// Drives busy instances with everything on, and the bare log with the same lines.
fn beside_the_bare_log(plan: &Plan, dir: &Path, report: &mut Report) -> anyhow::Result<()> {
    let calls = Arc::new(super::connector::Nothing::start()?);
    let data = Arc::new(Data::open_unpaced_shown(&dir.join("whole"), calls, TreeMode::Lazy)?);
    let plain = machine(workflows::PLAIN)?;
    let ids = drive::start_many(&data, &plain, plan.busy, |_| Value::empty_map())?;
    let weight = super::weigh(&data, ids[0])?;
    let (bare, _) = open_log(&dir.join("bare"))?;
    let rate = limits::bare_log(&*bare, &weight, plan.busy, plan.time)?;
    report.add(BARE, Unit::PerSecond, None, rate);
    let driven = drive::drive(&data, &ids, &Value::Null, plan.time)?;
    report.add(WHOLE, Unit::PerSecond, None, driven.rate());
    let begun = Instant::now();
    while data.tree().is_some_and(|it| it.lag > 0) && begun.elapsed() < Duration::from_secs(60) {
        thread::sleep(Duration::from_millis(10));
    }
    report.add("until the tree shows it", Unit::Seconds, None, begun.elapsed().as_secs_f64());
    data.close()?;
    bare.close();
    fs::remove_dir_all(dir)?;
    Ok(())
}

/// Times durable writes of one caller beside waiting instances in both modes of storage, some here
/// and some there in turns.
fn beside_json(count: usize, dir: &Path, report: &mut Report) -> anyhow::Result<()> {
    let calls = || Ok::<_, anyhow::Error>(Arc::new(super::connector::Nothing::start()?));
    let packed = Data::open_unpaced_shown(&dir.join("embedded"), calls()?, TreeMode::Off)?;
    let json = Data::open_unpaced_json(&dir.join("json-only"), calls()?)?;
    let machine = machine(workflows::PARKED)?;
    let input = Value::map([("text", Value::from("x".repeat(DATA_BYTES)))]);
    let mut modes = [("embedded", packed), ("json-only", json)].map(|(name, data)| {
        let data = Arc::new(data);
        let ids = drive::start_many(&data, &machine, count, |_| input.clone());
        (name, data, ids, Vec::new())
    });
    for turn in 0..TURNS {
        for (_, data, ids, times) in &mut modes {
            let ids = ids.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
            let some: Vec<InstanceId> = spread(ids, 300).skip(turn).step_by(TURNS).collect();
            times.extend(timed(&some, |id| data.send(id, "poke", Value::Null).map(drop))?);
        }
    }
    let mut averages = Vec::new();
    for (name, data, _, mut times) in modes {
        times.sort_unstable();
        averages.push(average(&times));
        let name = format!("{count} instances, {name}: durable write");
        report.add(&format!("{name}, average"), Unit::Millis, None, average(&times));
        report.add(&format!("{name}, p99"), Unit::Millis, None, p99(&times));
        data.close()?;
    }
    report.add("json-only / embedded", Unit::Ratio, None, averages[1] / averages[0]);
    fs::remove_dir_all(dir)?;
    Ok(())
}

/// In a child: starts instances that wait.
pub fn start(dir: &Path, count: usize) -> anyhow::Result<Json> {
    let data = child::open_data(dir)?;
    let text = Value::from("x".repeat(DATA_BYTES));
    let input = Value::map([("text", text)]);
    drive::start_many(&data, &machine(workflows::PARKED)?, count, |_| input.clone())?;
    data.close()?;
    Ok(json!({}))
}

/// In a child: reads, writes and lists.
pub fn measure(data: &Arc<Data>, count: usize) -> anyhow::Result<Json> {
    let all = ids(data, count)?;
    let few: Vec<InstanceId> = spread(&all, 500).collect();
    let cold = timed(&few, |id| data.state(id).map(drop))?;
    let hot = timed(&few, |id| data.state(id).map(drop))?;
    let others: Vec<InstanceId> = spread(&all, 300).collect();
    let write = timed(&others, |id| data.send(id, "poke", Value::Null).map(drop))?;
    let lists = vec![(); 50];
    let newest = Query { limit: LIST, ..Query::default() };
    let list = timed(&lists, |()| data.page(&newest).map(drop))?;
    let state = Some("waiting".into());
    let workflow = Some("BenchParked".into());
    let query = Query { state, workflow, limit: LIST, ..Query::default() };
    let filtered = timed(&lists, |()| data.page(&query).map(drop))?;
    let memory = mixed(data, &all)?;
    let active = data.memory().map_or(0, |it| it.active);
    Ok(json!({
        "cold": average(&cold), "cold_p99": p99(&cold), "hot": average(&hot),
        "write": average(&write), "write_p99": p99(&write),
        "list": average(&list), "filtered": average(&filtered),
        "memory": memory, "active": active,
    }))
}

/// Reads and writes all over for a while; returns the memory below which nine in ten samples are.
fn mixed(data: &Arc<Data>, all: &[InstanceId]) -> anyhow::Result<f64> {
    let (over, samples) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let time = Duration::from_secs(10).min(Duration::from_micros(100 * all.len() as u64 + 10_000));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let bytes = facts::resident_bytes() as f64 / 1e6;
                samples.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
                thread::sleep(Duration::from_millis(100));
            }
        });
        let begun = Instant::now();
        let mut at = 0_usize;
        let mut failed = Ok(());
        while begun.elapsed() < time && failed.is_ok() {
            // A step that meets all of them in an order that looks like none.
            at = (at + 7_919) % all.len();
            failed = match at % 4 {
                0 => data.send(all[at], "poke", Value::Null).map(drop),
                _ => data.state(all[at]).map(drop),
            };
        }
        over.store(true, Ordering::Relaxed);
        failed
    })?;
    let mut samples = samples.into_inner().unwrap_or_else(PoisonError::into_inner);
    samples.sort_by(f64::total_cmp);
    Ok(samples.get(samples.len() * 9 / 10).copied().unwrap_or(f64::NAN))
}

/// Returns the ids of all instances, from lists as people would page through them.
fn ids(data: &Data, count: usize) -> anyhow::Result<Vec<InstanceId>> {
    let ids = data.all_ids()?;
    anyhow::ensure!(ids.len() == count, "{} of {count} instances are listed", ids.len());
    Ok(ids)
}

fn spread(all: &[InstanceId], count: usize) -> impl Iterator<Item = InstanceId> {
    all.iter().step_by((all.len() / count).max(1)).copied()
}

fn timed<T: Copy>(
    items: &[T],
    mut work: impl FnMut(T) -> Result<(), crate::exit::Failure>,
) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(items.len());
    for item in items {
        let begun = Instant::now();
        work(*item)?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}

fn average(times: &[Duration]) -> f64 {
    times.iter().sum::<Duration>().as_secs_f64() * 1e3 / times.len().max(1) as f64
}

fn p99(times: &[Duration]) -> f64 {
    crate::disk::percentile(times, 0.99).as_secs_f64() * 1e3
}

fn bytes_below(dir: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    let mut left: Vec<PathBuf> = vec![dir.to_path_buf()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => left.push(entry.path()),
                false => bytes += entry.metadata()?.len(),
            }
        }
    }
    Ok(bytes)
}
