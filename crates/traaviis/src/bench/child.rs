//! Memory of waiting instances and time until ready, each in a fresh process.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value as Json, json};
use traaviis_model::Value;

use super::{
    Plan,
    alone::{self, Part},
    connector::Nothing,
    drive, facts, machine,
    report::{Goal, Report, Unit},
    workflows,
};
use crate::{
    data::Data,
    exit::{Exit, Failure},
    output::Output,
};

/// Bytes of data of one waiting instance.
const DATA_BYTES: usize = 200;
/// A child that takes longer than this until it is ready hangs.
const CHILD_SECS_MAX: u64 = 600;

/// Measures memory and start-up once.
pub fn measure(plan: &Plan, dir: &Path, report: &mut Report) -> anyhow::Result<()> {
    let empty = dir.join("empty");
    let (answer, time) = run(Part::Open, 0, &empty)?;
    let (answer_again, time_again) = run(Part::Open, 0, &empty)?;
    let _ = (answer, time); // the first one makes the directory and preallocates
    let seconds = time_again.as_secs_f64();
    report.add("ready, empty", Unit::Seconds, Some(Goal::Most(0.1)), seconds);
    let resident = number(&answer_again, "resident") / 1e6;
    report.add("resident, idle", Unit::Megabytes, Some(Goal::Most(30.0)), resident);
    for count in &plan.parked {
        let dir = dir.join(format!("parked-{count}"));
        if !dir.exists() {
            let (answer, _) = run(Part::Park, *count, &dir)?;
            let each = (number(&answer, "after") - number(&answer, "before")) / *count as f64;
            let name = format!("memory of one of {count} waiting instances");
            report.add(&name, Unit::Bytes, Some(Goal::Most(2_048.0)), each);
        }
        let (answer, time) = run(Part::Open, 0, &dir)?;
        let found = number(&answer, "instances");
        anyhow::ensure!(found == *count as f64, "{found} of {count} instances came back");
        let goal = if *count > 10_000 { 5.0 } else { 1.0 };
        let name = format!("ready, {count} waiting instances");
        report.add(&name, Unit::Seconds, Some(Goal::Most(goal)), time.as_secs_f64());
        let each = (number(&answer, "resident") - resident * 1e6) / *count as f64;
        let name = format!("memory of one of {count} after a restart");
        report.add(&name, Unit::Bytes, Some(Goal::Most(2_048.0)), each);
        let resident = number(&answer, "resident") / 1e6;
        let name = format!("resident, {count} waiting instances");
        report.add(&name, Unit::Megabytes, None, resident);
    }
    Ok(())
}

pub(super) fn number(answer: &Json, key: &str) -> f64 {
    answer[key].as_f64().unwrap_or(f64::NAN)
}

/// Measures a part in this program as a child; returns its second line, and the time until the
/// first.
pub(super) fn run(part: Part, count: usize, dir: &Path) -> anyhow::Result<(Json, Duration)> {
    run_as(&["engine", "--child", &part.name(), "--count", &count.to_string()], dir)
}

/// The same for a part of any suite.
pub(super) fn run_as(args: &[&str], dir: &Path) -> anyhow::Result<(Json, Duration)> {
    let begun = Instant::now();
    let mut child = Command::new(std::env::current_exe()?)
        .arg("bench")
        .args(args)
        .arg("--dir")
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    let mut time = Duration::ZERO;
    if let Some(out) = child.stdout.take() {
        let mut out = BufReader::new(out);
        out.read_line(&mut line)?;
        time = begun.elapsed();
        line.clear();
        out.read_line(&mut line)?;
    }
    let status = child.wait()?;
    if !status.success() || time.as_secs() > CHILD_SECS_MAX {
        let message = format!("the measuring process ended with {status}: {line}");
        return Err(Failure::new(Exit::Internal, "internal", message).into());
    }
    Ok((serde_json::from_str(&line)?, time))
}

/// In a child: starts `count` waiting instances and tells the memory before and after.
pub fn park(dir: &Path, count: usize, output: &Output) -> anyhow::Result<Exit> {
    let data = open_data(dir)?;
    let machine = machine(workflows::PARKED)?;
    let input = parked_input();
    // The first instance brings in what every process needs once.
    drive::start_many(&data, &machine, 1, |_| input.clone())?;
    let before = facts::resident_bytes();
    drive::start_many(&data, &machine, count - 1, |_| input.clone())?;
    output.json(&json!({ "ready": true }));
    let after = resident_at_rest();
    output.json(&json!({ "before": before, "after": after }));
    data.close()?;
    Ok(Exit::Ok)
}

/// Returns what an instance needs to wait with `DATA_BYTES` of data.
pub(super) fn parked_input() -> Value {
    Value::map([("text", Value::from("x".repeat(DATA_BYTES - 11)))])
}

/// In a child: opens the directory and tells when it is ready.
pub fn open(dir: &Path, output: &Output) -> anyhow::Result<Exit> {
    let data = open_data(dir)?;
    let instances = data.recovered_count();
    output.json(&json!({ "ready": true }));
    let peak = alone::megabytes(facts::peak_bytes());
    let resident = resident_at_rest();
    output.json(&json!({ "instances": instances, "resident": resident, "peak": peak }));
    data.close()?;
    Ok(Exit::Ok)
}

/// Returns the memory once the allocator has given back what is free, which takes it a second.
fn resident_at_rest() -> u64 {
    std::thread::sleep(Duration::from_secs(3));
    facts::resident_bytes()
}

pub(super) fn open_data(dir: &Path) -> anyhow::Result<Arc<Data>> {
    fs::create_dir_all(dir)?;
    let dir = PathBuf::from(dir);
    Ok(Arc::new(Data::open_unpaced(&dir, Arc::new(Nothing::start()?), None)?))
}

/// Opens a directory without an index.
pub(super) fn open_bare(dir: &Path) -> anyhow::Result<Arc<Data>> {
    fs::create_dir_all(dir)?;
    Ok(Arc::new(Data::open_unindexed(dir, Arc::new(Nothing::start()?))?))
}
