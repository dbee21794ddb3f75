//! Many tenants in one process: whether one that floods holds up the others, and whether equals
//! get equal parts.
//!
//! Quiet tenants send at a rate that takes next to nothing, so that their times are those of the
//! process and not of their own queue. The flood is paced to a hundred times its share of what the
//! process can do; how it goes without a pace is told beside it, without a goal.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value as Json, json};
use traaviis_model::{InstanceId, TenantCtx, TenantId, Text, Value};
use uuid::Uuid;

use super::{
    child, drive, machine, memory,
    report::{Goal, Report, Unit},
    workflows,
};
use crate::{
    data::Data,
    disk::percentile,
    exit::{Exit, Failure},
    output::Output,
};

/// Events a second of all quiet tenants together.
const QUIET_RATE: u64 = 1_000;
/// How many times its share the flooding tenant sends.
const FLOOD_SHARES: u64 = 100;
/// Instances of the flooding tenant.
const FLOOD_INSTANCES: usize = 4_096;
/// Busy instances of each tenant where all do the same.
const EQUAL_INSTANCES: usize = 4;
/// Pacing: so often are events sent.
const TICK: Duration = Duration::from_millis(1);
/// Slowest quiet tenant beside a flood, against the same without it.
const QUIET_GOAL: Goal = Goal::Most(2.0);
/// Jain's index of the parts of equals.
const JAIN_GOAL: Goal = Goal::Least(0.95);

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Tenants.
    pub tenants: usize,
    /// Rounds over which medians are taken.
    pub rounds: usize,
    /// Time of one measurement of fairness.
    pub time: Duration,
    /// Instances of all tenants together whose data is more than fits.
    pub instances: usize,
    /// Time of the mixed load over them.
    pub mixed: Duration,
}

impl Plan {
    /// What the goals are stated for: 2.5 GB of data, ten minutes.
    pub fn full() -> Plan {
        Plan {
            tenants: 1_000,
            rounds: 3,
            time: Duration::from_secs(5),
            instances: 1_280_000,
            mixed: Duration::from_secs(600),
        }
    }

    /// A look within two minutes.
    pub fn quick() -> Plan {
        let (time, mixed) = (Duration::from_secs(2), Duration::from_secs(30));
        Plan { rounds: 1, time, instances: 128_000, mixed, ..Plan::full() }
    }

    /// As small as can be; for the test that keeps this alive.
    pub fn tiny() -> Plan {
        let (time, mixed) = (Duration::from_millis(50), Duration::from_millis(1_200));
        Plan { tenants: 5, rounds: 1, time, instances: 20, mixed }
    }
}

/// What a process measures alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Fairness.
    Fair,
    /// The same without an index, so that only owners and the log are between.
    FairBare,
    /// Starts waiting instances.
    Start,
    /// Reads and writes over them.
    Mixed,
}

/// How much of it.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Much {
    /// In a child: tenants.
    #[arg(long, hide = true, default_value_t = 0)]
    tenants: usize,
    /// In a child: instances of all of them together.
    #[arg(long, hide = true, default_value_t = 0)]
    instances: usize,
    /// In a child: how long.
    #[arg(long, hide = true, default_value_t = 0)]
    millis: u64,
}

impl Part {
    /// Measures in a process of its own.
    pub(super) fn alone(self, plan: &Plan, dir: &Path) -> anyhow::Result<(Json, Duration)> {
        let (name, time) = match self {
            Part::Fair => ("fair", plan.time),
            Part::FairBare => ("fair-bare", plan.time),
            Part::Start => ("start", Duration::ZERO),
            Part::Mixed => ("mixed", plan.mixed),
        };
        let (tenants, instances) = (plan.tenants.to_string(), plan.instances.to_string());
        let millis = time.as_millis().to_string();
        let much = ["--tenants", &tenants, "--instances", &instances, "--millis", &millis];
        child::run_as(&[&["tenants", "--child", name], &much[..]].concat(), dir)
    }

    /// Measures, in a child.
    pub fn run(self, dir: &Path, much: Much, output: &Output) -> anyhow::Result<Exit> {
        let Much { tenants, instances, millis } = much;
        let time = Duration::from_millis(millis);
        let data = match self {
            Part::FairBare => child::open_bare(dir)?,
            _ => child::open_data(dir)?,
        };
        output.json(&json!({ "ready": true }));
        let answer = match self {
            Part::Fair | Part::FairBare => fairness(&data, tenants, time)?,
            Part::Start => memory::start(&data, instances, tenants)?,
            Part::Mixed => memory::mixed(&data, instances, tenants, time)?,
        };
        output.json(&answer);
        data.close()?;
        Ok(Exit::Ok)
    }
}

/// Runs the benchmark in `dir`, which must not hold anything else; draws the memory into `plot`.
pub fn run(plan: &Plan, dir: &Path, plot: &Path, output: &Output) -> anyhow::Result<Exit> {
    let begun = Instant::now();
    let mut report = Report::default();
    for round in 1..=plan.rounds {
        super::output_progress(output, &format!("fairness, round {round} of {}", plan.rounds));
        let dir = dir.join(format!("fair-{round}"));
        let (answer, _) = Part::Fair.alone(plan, &dir)?;
        for (key, name, unit, goal) in ROWS {
            report.add(name, *unit, *goal, child::number(&answer, key));
        }
        std::fs::remove_dir_all(&dir)?;
        let (answer, _) = Part::FairBare.alone(plan, &dir)?;
        for (key, name, unit) in BARE_ROWS {
            report.add(name, *unit, None, child::number(&answer, key));
        }
        std::fs::remove_dir_all(&dir)?;
    }
    memory::measure(plan, &dir.join("memory"), plot, &mut report, output)?;
    super::show(report, plan.rounds, begun, output)
}

/// A number of an answer of the child: its key, what it is, its unit and its goal.
type Row = (&'static str, &'static str, Unit, Option<Goal>);

const ROWS: &[Row] = &[
    ("capacity", "one tenant alone, as fast as it can", Unit::PerSecond, None),
    ("calm_p50", "quiet tenants, calm, p50", Unit::Millis, None),
    ("calm_p99", "quiet tenants, calm, p99", Unit::Millis, None),
    ("flood", "flood of 100 shares", Unit::PerSecond, None),
    ("flood_p50", "quiet tenants beside it, p50", Unit::Millis, None),
    ("flood_p99", "quiet tenants beside it, p99", Unit::Millis, None),
    ("flood_ratio", "p99 beside it / calm", Unit::Ratio, Some(QUIET_GOAL)),
    ("storm", "flood without a pace", Unit::PerSecond, None),
    ("storm_p99", "quiet tenants beside that, p99", Unit::Millis, None),
    ("storm_ratio", "p99 beside that / calm", Unit::Ratio, None),
    ("equal", "all tenants alike, together", Unit::PerSecond, None),
    ("jain", "Jain's index of their parts", Unit::Ratio, Some(JAIN_GOAL)),
];

/// What is told of the same without an index.
const BARE_ROWS: &[(&str, &str, Unit)] = &[
    ("calm_p99", "no index: quiet tenants, calm, p99", Unit::Millis),
    ("flood_p99", "no index: the same beside the flood, p99", Unit::Millis),
    ("flood_ratio", "no index: p99 beside it / calm", Unit::Ratio),
];

/// A tenant and its instances.
pub struct Tenant {
    /// The directory, with the tenant acting in it.
    pub data: Arc<Data>,
    /// Its instances.
    pub ids: Vec<InstanceId>,
}

/// Makes tenants of a directory, without instances.
pub fn tenants(data: &Data, count: usize) -> Vec<Tenant> {
    let one = |at: usize| {
        let tenant = TenantId(Uuid::from_u128(0x7ea_0000_0000 + at as u128));
        let data = Arc::new(data.acting_in(TenantCtx::operator_of(tenant)));
        Tenant { data, ids: Vec::new() }
    };
    (0..count).map(one).collect()
}

/// In a child: measures fairness.
fn fairness(data: &Data, count: usize, time: Duration) -> anyhow::Result<Json> {
    let plain = machine(workflows::PLAIN)?;
    let mut all = tenants(data, count);
    let most = FLOOD_INSTANCES.min(count * EQUAL_INSTANCES);
    for (at, tenant) in all.iter_mut().enumerate() {
        let ids = if at == 0 { most } else { EQUAL_INSTANCES };
        tenant.ids = drive::start_many(&tenant.data, &plain, ids, |_| Value::empty_map())?;
    }
    let (flooding, quiet) = all.split_first().ok_or_else(|| anyhow::anyhow!("no tenants"))?;
    let flood = || drive::drive(&flooding.data, &flooding.ids, &Value::Null, time);
    let capacity = flood()?.rate();

    let calm = send_quietly(quiet, time)?;
    let rate = capacity as u64 * FLOOD_SHARES / count as u64;
    let (flooded, beside_flood) = thread::scope(|scope| {
        let paced = scope.spawn(|| send_paced(flooding, rate, time));
        let times = send_quietly(quiet, time);
        let sent = paced.join().map_err(|_| anyhow::anyhow!("the flood failed"))?;
        anyhow::Ok((sent, times?))
    })?;
    let (stormed, beside_storm) = thread::scope(|scope| {
        let storm = scope.spawn(flood);
        let times = send_quietly(quiet, time);
        let driven = storm.join().map_err(|_| anyhow::anyhow!("the storm failed"))??;
        anyhow::Ok((driven.rate(), times?))
    })?;
    let parts = share_alike(&all, time)?;

    let millis = |times: &[Duration], part| percentile(times, part).as_secs_f64() * 1e3;
    let [calm_p99, flood_p99, storm_p99] =
        [&calm, &beside_flood, &beside_storm].map(|it| millis(it, 0.99));
    let sum: u64 = parts.iter().sum();
    Ok(json!({
        "capacity": capacity,
        "calm_p50": millis(&calm, 0.5), "calm_p99": calm_p99,
        "flood": flooded as f64 / time.as_secs_f64(),
        "flood_p50": millis(&beside_flood, 0.5), "flood_p99": flood_p99,
        "flood_ratio": flood_p99 / calm_p99,
        "storm": stormed, "storm_p99": storm_p99, "storm_ratio": storm_p99 / calm_p99,
        "equal": sum as f64 / time.as_secs_f64(), "jain": jain(&parts),
    }))
}

/// Returns how alike parts are: 1 when all are the same, 1/n when one has everything.
fn jain(parts: &[u64]) -> f64 {
    let sum: f64 = parts.iter().map(|it| *it as f64).sum();
    let squares: f64 = parts.iter().map(|it| (*it as f64).powi(2)).sum();
    sum * sum / (parts.len() as f64 * squares).max(f64::MIN_POSITIVE)
}

/// Calls `send` with 0, 1, 2 and so on, `rate` times a second, for `time`.
fn paced(rate: u64, time: Duration, mut send: impl FnMut(usize)) {
    let begun = Instant::now();
    let mut sent = 0_u64;
    while begun.elapsed() < time {
        let due = (begun.elapsed().as_secs_f64() * rate as f64) as u64;
        for at in sent..due {
            send(at as usize);
        }
        sent = due;
        thread::sleep(TICK);
    }
}

/// What is on its way, and what came of it.
#[derive(Default)]
struct Sent {
    open: AtomicUsize,
    times: Mutex<Vec<Duration>>,
}

impl Sent {
    fn event(self: &Arc<Self>, data: &Data, id: InstanceId) {
        let (sent, begun) = (Arc::clone(self), Instant::now());
        self.open.fetch_add(1, Ordering::Relaxed);
        let done = move |result: Result<(), Failure>| {
            if result.is_ok() {
                let mut times = sent.times.lock().unwrap_or_else(PoisonError::into_inner);
                times.push(begun.elapsed());
            }
            sent.open.fetch_sub(1, Ordering::Release);
        };
        data.send_then(id, &Text::from("go"), Value::Null, Box::new(done));
    }

    /// Waits for the last, and returns the times of all, sorted.
    fn end(&self, wanted: usize) -> anyhow::Result<Vec<Duration>> {
        while self.open.load(Ordering::Acquire) > 0 {
            thread::sleep(TICK);
        }
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let mut times = std::mem::take(&mut *times);
        anyhow::ensure!(times.len() == wanted, "{} of {wanted} events were taken", times.len());
        times.sort_unstable();
        Ok(times)
    }
}

/// Sends events to one tenant after the other; returns how long each took.
fn send_quietly(tenants: &[Tenant], time: Duration) -> anyhow::Result<Vec<Duration>> {
    let sent = Arc::new(Sent::default());
    let mut count = 0;
    paced(QUIET_RATE, time, |at| {
        let Tenant { data, ids } = &tenants[at % tenants.len()];
        sent.event(data, ids[at / tenants.len() % ids.len()]);
        count += 1;
    });
    sent.end(count)
}

/// Floods with so many events a second; returns how many were taken.
fn send_paced(tenant: &Tenant, rate: u64, time: Duration) -> usize {
    let sent = Arc::new(Sent::default());
    paced(rate, time, |at| sent.event(&tenant.data, tenant.ids[at % tenant.ids.len()]));
    // What a flood loses is its own.
    while sent.open.load(Ordering::Acquire) > 0 {
        thread::sleep(TICK);
    }
    sent.times.lock().unwrap_or_else(PoisonError::into_inner).len()
}

/// Keeps as many instances of each tenant busy; returns how many events of each were taken.
fn share_alike(tenants: &[Tenant], time: Duration) -> anyhow::Result<Vec<u64>> {
    struct Busy {
        data: Arc<Data>,
        taken: AtomicU64,
        all: Arc<(AtomicBool, AtomicUsize)>,
    }
    fn send(busy: &Arc<Busy>, id: InstanceId) {
        let shared = Arc::clone(busy);
        let done = move |result: Result<(), Failure>| {
            let (is_over, open) = &*shared.all;
            if is_over.load(Ordering::Relaxed) || result.is_err() {
                open.fetch_sub(1, Ordering::Release);
                return;
            }
            shared.taken.fetch_add(1, Ordering::Relaxed);
            send(&shared, id);
        };
        busy.data.send_then(id, &Text::from("go"), Value::Null, Box::new(done));
    }
    let all = Arc::new((AtomicBool::new(false), AtomicUsize::new(0)));
    let each = tenants.iter().map(|it| {
        let (data, taken) = (Arc::clone(&it.data), AtomicU64::new(0));
        Arc::new(Busy { data, taken, all: Arc::clone(&all) })
    });
    let each: Vec<Arc<Busy>> = each.collect();
    for (busy, tenant) in each.iter().zip(tenants) {
        for id in tenant.ids.iter().take(EQUAL_INSTANCES) {
            all.1.fetch_add(1, Ordering::Relaxed);
            send(busy, *id);
        }
    }
    let wanted = all.1.load(Ordering::Relaxed);
    thread::sleep(time);
    let still = all.1.load(Ordering::Relaxed);
    all.0.store(true, Ordering::Relaxed);
    let parts = each.iter().map(|it| it.taken.load(Ordering::Relaxed)).collect();
    while all.1.load(Ordering::Acquire) > 0 {
        thread::sleep(TICK);
    }
    anyhow::ensure!(still == wanted, "events of {} instances were refused", wanted - still);
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_have_an_index_of_one() {
        assert_eq!(jain(&[7, 7, 7, 7]), 1.0);
        assert_eq!(jain(&[28, 0, 0, 0]), 0.25);
    }
}
