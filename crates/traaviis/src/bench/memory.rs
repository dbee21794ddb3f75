//! The memory of a process whose tenants have ten times more data than it may hold: second by
//! second under reads and writes all over, with a picture.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value as Json, json};
use traaviis_model::Value;

use super::{
    child, drive, facts, machine,
    report::{Goal, Report, Unit},
    tenants::{Part, Plan, Tenant, tenants},
    workflows,
};
use crate::{data::Data, output::Output};

/// Bytes of data of one instance.
const DATA_BYTES: usize = 2_000;
/// Megabytes of the process below which nine in ten samples are to be.
const GOAL_MB: f64 = 256.0;
/// Instances of one batch of starts.
const BATCH: usize = 64;
/// Threads of the mixed load.
const CALLERS: usize = 4;
/// Width and height of the picture.
const SIZE: (f64, f64) = (900.0, 360.0);
/// What is left free around the curve.
const MARGIN: f64 = 50.0;

/// Starts the instances in one process, and loads them in another, as after a restart.
pub fn measure(
    plan: &Plan,
    dir: &Path,
    plot: &Path,
    report: &mut Report,
    output: &Output,
) -> anyhow::Result<()> {
    let Plan { tenants, instances, mixed, .. } = plan;
    super::output_progress(output, &format!("{instances} instances of {tenants} tenants"));
    let (started, _) = Part::Start.alone(plan, dir)?;
    let seconds = mixed.as_secs_f64();
    super::output_progress(output, &format!("reads and writes all over, for {seconds} s"));
    let (answer, ready) = Part::Mixed.alone(plan, dir)?;
    let samples: Vec<f64> =
        answer["samples"].as_array().into_iter().flatten().filter_map(Json::as_f64).collect();
    let mut sorted = samples.clone();
    sorted.sort_by(f64::total_cmp);
    let at = |part: f64| sorted.get((sorted.len() as f64 * part) as usize).copied();
    let p90 = at(0.9).unwrap_or(f64::NAN);
    let most = sorted.last().copied().unwrap_or(f64::NAN);
    let data = (*instances * DATA_BYTES) as f64 / 1e6;
    let goal = Some(Goal::Most(GOAL_MB));
    report.add("data of all tenants", Unit::Megabytes, None, data);
    report.add(
        "resident while starting, most",
        Unit::Megabytes,
        goal,
        child::number(&started, "peak"),
    );
    report.add("ready with it", Unit::Seconds, None, ready.as_secs_f64());
    report.add("resident under a mixed load, p90", Unit::Megabytes, goal, p90);
    report.add("resident under a mixed load, most", Unit::Megabytes, None, most);
    report.add("reads", Unit::PerSecond, None, child::number(&answer, "reads") / seconds);
    report.add("durable writes", Unit::PerSecond, None, child::number(&answer, "writes") / seconds);
    report.add(
        "instances found again after it",
        Unit::Count,
        None,
        child::number(&answer, "found"),
    );
    fs::write(plot, picture(&samples))?;
    if !output.is_json() {
        for (second, megabytes) in samples.iter().enumerate() {
            output.line(&format!("{second:>5} s  {megabytes:.1} MB"));
        }
        output.line(&format!("the picture is in `{}`\n", plot.display()));
    }
    fs::remove_dir_all(dir)?;
    Ok(())
}

/// In a child: starts instances of all tenants in turn.
pub fn start(data: &Data, count: usize, of: usize) -> anyhow::Result<Json> {
    let machine = machine(workflows::PARKED)?;
    let input = Value::map([("text", Value::from("x".repeat(DATA_BYTES)))]);
    let all = tenants(data, of);
    let mut begun = 0;
    for tenant in all.iter().cycle() {
        let batch = BATCH.min(count - begun);
        if batch == 0 {
            break;
        }
        drive::start_many(&tenant.data, &machine, batch, |_| input.clone())?;
        begun += batch;
    }
    Ok(json!({ "peak": facts::peak_bytes() as f64 / 1e6 }))
}

/// In a child: reads and writes all over; samples the memory every second.
pub fn mixed(data: &Data, count: usize, of: usize, time: Duration) -> anyhow::Result<Json> {
    let mut all = tenants(data, of);
    for tenant in &mut all {
        tenant.ids = tenant.data.all_ids()?;
    }
    all.retain(|it| !it.ids.is_empty());
    let over = AtomicBool::new(false);
    let samples = Mutex::new(Vec::new());
    let counts = thread::scope(|scope| {
        scope.spawn(|| sample(&over, &samples));
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let all = &all;
                scope.spawn(move || load(all, caller, time))
            })
            .collect();
        let ends: Vec<_> = callers.into_iter().map(|it| it.join()).collect();
        over.store(true, Ordering::Relaxed);
        let mut counts = (0, 0);
        for end in ends {
            let (reads, writes) = end.map_err(|_| anyhow::anyhow!("a caller failed"))??;
            counts = (counts.0 + reads, counts.1 + writes);
        }
        anyhow::Ok(counts)
    })?;
    let mut found = 0;
    for tenant in &all {
        found += tenant.data.all_ids()?.len();
    }
    anyhow::ensure!(found == count, "{found} of {count} instances are there in the end");
    let samples = samples.into_inner().unwrap_or_else(PoisonError::into_inner);
    let (reads, writes) = counts;
    Ok(json!({ "samples": samples, "reads": reads, "writes": writes, "found": found }))
}

fn sample(over: &AtomicBool, samples: &Mutex<Vec<f64>>) {
    while !over.load(Ordering::Relaxed) {
        let bytes = facts::resident_bytes() as f64 / 1e6;
        samples.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
        thread::sleep(Duration::from_secs(1));
    }
}

/// Three reads to one write, over all tenants and instances in an order that looks like none.
fn load(all: &[Tenant], caller: usize, time: Duration) -> anyhow::Result<(u64, u64)> {
    let begun = Instant::now();
    let (mut reads, mut writes) = (0, 0);
    let mut at = caller * 104_729;
    while begun.elapsed() < time {
        at = at.wrapping_add(7_919);
        let Tenant { data, ids } = &all[at % all.len()];
        let id = ids[at / all.len() % ids.len()];
        if at.is_multiple_of(4) {
            data.send(id, "poke", Value::Null)?;
            writes += 1;
        } else {
            anyhow::ensure!(data.state(id)?.is_some(), "instance `{id}` is gone");
            reads += 1;
        }
    }
    Ok((reads, writes))
}

/// Draws the samples, one a second, below the goal.
fn picture(samples: &[f64]) -> String {
    let (width, height) = SIZE;
    let most = samples.iter().copied().fold(GOAL_MB, f64::max) * 1.1;
    let (inner_width, inner_height) = (width - 2.0 * MARGIN, height - 2.0 * MARGIN);
    let last = samples.len().saturating_sub(1).max(1) as f64;
    let x = |second: f64| MARGIN + second / last * inner_width;
    let y = |megabytes: f64| height - MARGIN - megabytes / most * inner_height;
    let mut curve = String::new();
    for (second, megabytes) in samples.iter().enumerate() {
        // Writing to memory cannot fail.
        let _ = write!(curve, "{:.1},{:.1} ", x(second as f64), y(*megabytes));
    }
    let (left, right, bottom) = (x(0.0), x(last), y(0.0));
    let (goal, top) = (y(GOAL_MB), MARGIN / 2.0);
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13">
<rect width="{width}" height="{height}" fill="white"/>
<text x="{left}" y="{top}">resident memory in MB, second by second</text>
<path d="M{left} {MARGIN}V{bottom}H{right}" fill="none" stroke="black"/>
<path d="M{left} {goal}H{right}" stroke="firebrick" stroke-dasharray="6 4"/>
<text x="{left}" y="{goal}" dx="6" dy="-6" fill="firebrick">{GOAL_MB:.0} MB</text>
<text x="{left}" y="{bottom}" dx="-10" text-anchor="end">0</text>
<text x="{right}" y="{bottom}" dy="20" text-anchor="end">{last:.0} s</text>
<polyline points="{curve}" fill="none" stroke="steelblue" stroke-width="2"/>
</svg>
"##
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_has_a_point_for_each_second() {
        let picture = picture(&[100.0, 200.0, 300.0]);
        let points = picture.split("points=\"").nth(1).and_then(|it| it.split('"').next());
        assert_eq!(points.map(|it| it.split_whitespace().count()), Some(3));
    }
}
