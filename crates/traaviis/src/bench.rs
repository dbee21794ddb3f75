//! The engine's benchmark: limits of the disk and of the bare log, and the engine, interleaved.
//!
//! One round measures everything once, for the same short time; medians over rounds are reported,
//! so a noisy neighbour disturbs limits and engine alike. Only ratios inside one run mean anything.
//! Memory and start-up are measured in child processes, where nothing else has been allocated, and
//! so are loads of other kinds ([`alone`]), once each.

mod alone;
mod child;
mod connector;
mod crowd;
mod drive;
pub mod facts;
pub mod floor;
mod large;
mod limits;
mod load;
mod memory;
pub mod parked;
mod report;
pub mod server;
pub mod sockets;
pub mod storage;
pub mod tenants;
mod websocket;
mod workflows;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use traaviis_engine::Machine;
use traaviis_model::{
    InstanceId, Value,
    document::{self, Format},
};

use crate::{
    data::{Data, open_log},
    disk::percentile,
    exit::{Exit, Failure},
    histories::Place,
    output::Output,
};
pub use alone::Part;
use connector::Nothing;
use limits::Weight;
use report::{Goal, Report, Unit};

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Rounds over which medians are taken.
    pub rounds: usize,
    /// Time of one measurement.
    pub time: Duration,
    /// Instances that are busy at once.
    pub callers: Vec<usize>,
    /// Lonely events of one round.
    pub lonely: usize,
    /// Waiting instances for memory and start-up.
    pub parked: Vec<usize>,
    /// What is measured alone, and how much of it.
    pub alone: Vec<(Part, usize)>,
}

impl Plan {
    /// What the goals are stated for.
    pub fn full() -> Plan {
        Plan {
            rounds: 3,
            time: Duration::from_millis(1_500),
            callers: vec![1, 64, 4_096],
            lonely: 1_000,
            parked: vec![10_000, 100_000],
            alone: vec![
                (Part::LongRun, 1_000_000),
                (Part::Drain, 200_000),
                (Part::Timers, 10_000),
                (Part::Children, 2_000),
                (Part::Breakers, 2_000),
                (Part::Upgrade, 100_000),
                (Part::Tree, 100_000),
            ],
        }
    }

    /// A look within half a minute.
    pub fn quick() -> Plan {
        let smaller = |(part, count): &(Part, usize)| (*part, count / 10);
        Plan {
            time: Duration::from_millis(250),
            lonely: 200,
            parked: vec![10_000],
            alone: Plan::full().alone.iter().map(smaller).collect(),
            ..Plan::full()
        }
    }

    /// As small as can be; for the test that keeps this alive.
    pub fn tiny() -> Plan {
        Plan {
            rounds: 1,
            time: Duration::from_millis(30),
            callers: vec![1, 8],
            lonely: 5,
            parked: vec![20],
            alone: Plan::full().alone.iter().map(|(part, _)| (*part, 50)).collect(),
        }
    }
}

/// Runs the benchmark in `dir`, which must not hold anything else.
pub fn engine(plan: &Plan, dir: &Path, output: &Output) -> anyhow::Result<Exit> {
    let begun = Instant::now();
    fs::create_dir_all(dir)?;
    let mut bench = Bench::prepare(plan, dir)?;
    for round in 1..=plan.rounds {
        output_progress(output, &format!("round {round} of {}", plan.rounds));
        bench.round()?;
    }
    bench.ratios();
    bench.engine.close()?;
    let mut report = bench.report;
    for round in 1..=plan.rounds {
        output_progress(output, &format!("memory and start-up, round {round} of {}", plan.rounds));
        child::measure(plan, dir, &mut report)?;
    }
    for (part, count) in &plan.alone {
        output_progress(output, &part.name());
        alone::measure(*part, *count, dir, &mut report)?;
    }
    let here = facts::resident_bytes() as f64 / 1e6;
    report.add("resident at the end of this process", Unit::Megabytes, None, here);
    show(report, plan.rounds, begun, output)
}

/// Tells what was measured, and on what.
fn show(report: Report, rounds: usize, begun: Instant, output: &Output) -> anyhow::Result<Exit> {
    let version = env!("CARGO_PKG_VERSION");
    let build = if cfg!(debug_assertions) { "debug build" } else { "release build" };
    if output.is_json() {
        output.json(&json!({
            "machine": facts::machine(),
            "version": version,
            "build": build,
            "durability": "commit",
            "rounds": rounds,
            "seconds": begun.elapsed().as_secs_f64(),
            "rows": report.json(),
        }));
        return Ok(Exit::Ok);
    }
    output.line(&format!("machine     {}", facts::machine()));
    output.line(&format!("version     traaviis {version}, {build}"));
    output.line("durability  commit: fdatasync before every answer");
    let seconds = begun.elapsed().as_secs_f64();
    output.line(&format!("rounds      {rounds}, interleaved, {seconds:.0} s in all\n"));
    output.text(&report.text());
    Ok(Exit::Ok)
}

fn output_progress(output: &Output, line: &str) {
    if !output.is_json() {
        crate::output::warn(line);
    }
}

/// Instances of one workflow, ready to be driven.
struct Herd {
    name: &'static str,
    ids: Vec<InstanceId>,
    payload: Value,
}

struct Bench {
    plan: Plan,
    dir: PathBuf,
    engine: Arc<Data>,
    calls: Arc<Nothing>,
    bare: Arc<dyn traaviis_ports::LogStore>,
    weight: Weight,
    chain_commits: f64,
    plain: Herd,
    guarded: Herd,
    instant: Herd,
    report: Report,
}

/// Instances that run effects at once.
const EFFECT_INSTANCES: usize = 256;

impl Bench {
    fn prepare(plan: &Plan, dir: &Path) -> anyhow::Result<Bench> {
        let calls = Arc::new(Nothing::start()?);
        let engine =
            Arc::new(Data::open_unpaced(&dir.join("engine"), Arc::clone(&calls) as _, None)?);
        let most = plan.callers.iter().copied().max().unwrap_or(1);
        let busy = EFFECT_INSTANCES.min(most);
        let herd = |name, text: &str, count, payload| -> anyhow::Result<Herd> {
            let machine = machine(text)?;
            let ids = drive::start_many(&engine, &machine, count, |_| Value::empty_map())?;
            Ok(Herd { name, ids, payload })
        };
        let number = Value::map([("n", Value::Int(1))]);
        let plain = herd("plain", workflows::PLAIN, most, Value::Null)?;
        let guarded = herd("guarded", workflows::GUARDED, most, number)?;
        let instant = herd("instant", workflows::INSTANT, busy, Value::Null)?;
        let chain = herd("chain", workflows::CHAIN, 1, Value::Null)?;
        let weight = weigh(&engine, plain.ids[0])?;
        let chain_commits = commits_of_chain(&engine, chain.ids[0])?;
        let (bare, _) = open_log(&dir.join("bare"))?;
        Ok(Bench {
            plan: plan.clone(),
            dir: dir.to_path_buf(),
            engine,
            calls,
            bare,
            weight,
            chain_commits,
            plain,
            guarded,
            instant,
            report: Report::default(),
        })
    }

    /// Measures everything once.
    fn round(&mut self) -> anyhow::Result<()> {
        let time = self.plan.time;
        for callers in self.plan.callers.clone() {
            let group = self.weight.group(callers);
            let raw = limits::raw(&self.dir, &self.weight, callers, time)?;
            let name = format!("raw write + fdatasync, groups of {group}");
            self.report.add(&name, Unit::PerSecond, None, raw.rate);
            if callers == 1 {
                let p50 = raw.p50.as_secs_f64() * 1e3;
                self.report.add("raw write + fdatasync, p50", Unit::Millis, None, p50);
                let p99 = raw.p99.as_secs_f64() * 1e3;
                self.report.add("raw write + fdatasync, p99", Unit::Millis, None, p99);
            }
            let rate = limits::bare_log(&*self.bare, &self.weight, callers, time)?;
            self.report.add(&format!("bare log, {callers} callers"), Unit::PerSecond, None, rate);
            for herd in [&self.plain, &self.guarded] {
                let ids = &herd.ids[..callers.min(herd.ids.len())];
                let driven = drive::drive(&self.engine, ids, &herd.payload, time)?;
                let goal = (callers >= 4_096).then_some(Goal::Least(100_000.0));
                let name = format!("transitions, {callers} instances, {}", herd.name);
                self.report.add(&name, Unit::PerSecond, goal, driven.rate());
            }
            let resident = facts::resident_bytes() as f64 / 1e6;
            let name = format!("resident, {callers} busy instances");
            self.report.add(&name, Unit::Megabytes, None, resident);
        }
        self.lonely()?;
        self.effects()?;
        let name = "commits of one event through 5 states";
        self.report.add(name, Unit::Count, Some(Goal::Most(1.0)), self.chain_commits);
        Ok(())
    }

    /// One event at a time: how long until it is durable and answered.
    fn lonely(&mut self) -> anyhow::Result<()> {
        let id = self.plain.ids[0];
        let mut times = Vec::with_capacity(self.plan.lonely);
        for _ in 0..self.plan.lonely {
            let begun = Instant::now();
            self.engine.send(id, "go", Value::Null)?;
            times.push(begun.elapsed());
        }
        times.sort();
        let millis = |share| percentile(&times, share).as_secs_f64() * 1e3;
        self.report.add("lonely event, p50", Unit::Millis, None, millis(0.5));
        self.report.add("lonely event, p99", Unit::Millis, None, millis(0.99));
        Ok(())
    }

    fn effects(&mut self) -> anyhow::Result<()> {
        let time = self.plan.time;
        let ids = &self.instant.ids;
        let driven = drive::drive(&self.engine, ids, &Value::Null, time)?;
        let rate = driven.rate() * workflows::STEPS_PER_EVENT;
        let name = format!("instant effects, {} instances", ids.len());
        self.report.add(&name, Unit::PerSecond, Some(Goal::Least(20_000.0)), rate);
        // Calls run by themselves in a directory of their own, and end with it.
        let dir = self.dir.join("calls");
        let data = Arc::new(Data::open_unpaced(&dir, Arc::clone(&self.calls) as _, None)?);
        let machine = machine(workflows::CALLS)?;
        drive::start_many(&data, &machine, ids.len(), |_| Value::empty_map())?;
        let before = self.calls.performed();
        let begun = Instant::now();
        std::thread::sleep(time);
        let steps = (self.calls.performed() - before) as f64 / begun.elapsed().as_secs_f64();
        data.close()?;
        drop(data);
        fs::remove_dir_all(&dir)?;
        let name = format!("calls, each durable before the next, {} instances", ids.len());
        self.report.add(&name, Unit::PerSecond, Some(Goal::Least(20_000.0)), steps);
        Ok(())
    }

    /// Adds what the goals are stated in: ratios of medians of this run.
    fn ratios(&mut self) {
        let most = self.plan.callers.iter().copied().max().unwrap_or(1);
        for callers in self.plan.callers.clone() {
            let group = self.weight.group(callers);
            let bare = self.report.median(&format!("bare log, {callers} callers"));
            let raw = self.report.median(&format!("raw write + fdatasync, groups of {group}"));
            for herd in ["plain", "guarded"] {
                let name = format!("transitions, {callers} instances, {herd}");
                let reached = self.report.median(&name);
                let (Some(bare), Some(raw), Some(reached)) = (bare, raw, reached) else { continue };
                let goal = (callers == most).then_some(Goal::Least(0.2));
                let name = format!("{herd} at {callers} / bare log");
                self.report.add(&name, Unit::Ratio, goal, reached / bare);
                let name = format!("{herd} at {callers} / raw");
                self.report.add(&name, Unit::Ratio, None, reached / raw);
            }
        }
        let lonely = self.report.median("lonely event, p50");
        let raw = self.report.median("raw write + fdatasync, p50");
        if let (Some(lonely), Some(raw)) = (lonely, raw) {
            let name = "lonely event, p50 above raw";
            self.report.add(name, Unit::Millis, Some(Goal::Most(0.3)), lonely - raw);
        }
        let bytes = self.weight.lines.len() as f64;
        self.report.add("bytes of one plain transition", Unit::Bytes, None, bytes);
    }
}

/// Compiles a workflow of the benchmark.
fn machine(text: &str) -> anyhow::Result<Arc<Machine>> {
    let read = document::read(text, Format::Yaml);
    let findings: Vec<String> = read.diagnostics.iter().map(ToString::to_string).collect();
    let internal = |text: String| Failure::new(Exit::Internal, "internal", text);
    let definition = read.definition.ok_or_else(|| internal(findings.join("\n")))?;
    let machine = Machine::compile(Arc::new(definition))
        .map_err(|it| internal(it.iter().map(ToString::to_string).collect()))?;
    Ok(Arc::new(machine))
}

/// Returns the lines of one transition as the engine writes them.
fn weigh(data: &Data, id: InstanceId) -> anyhow::Result<Weight> {
    let before = data.snapshot(id).map_or(0, |it| it.seq);
    data.send(id, "go", Value::Null)?;
    let lines = data.histories.lines(id, &mut Place::before(before + 1), 1_000)?;
    let mut weight = Weight { lines: Vec::new(), records: u32::try_from(lines.len())? };
    for line in &lines {
        weight.lines.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
        weight.lines.push(b'\n');
    }
    Ok(weight)
}

/// Counts the steps, each one commit, that one event through a chain of states takes.
fn commits_of_chain(data: &Data, id: InstanceId) -> anyhow::Result<f64> {
    let before = data.histories.show(id)?;
    data.send(id, "go", Value::Null)?;
    let after = data.histories.show(id)?;
    anyhow::ensure!(after.transition_count >= before.transition_count + 5, "the chain stopped");
    Ok((after.step - before.step) as f64)
}
