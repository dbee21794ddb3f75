//! What the index costs and gives: cold instances that end at once, each of which becomes a whole
//! row, beside hot ones that step all the time and become one row in each window.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value as Json, json};
use traaviis_model::Value;
use traaviis_ports::index::Query;
use traaviis_store::SqliteIndex;

use super::{
    super::{child, connector::Nothing, drive, machine, workflows},
    Goal, PEAK_GOAL, Row, Unit, megabytes,
};
use crate::{
    bench::facts,
    data::{Data, open_log},
    disk::percentile,
};

/// Instances that step all the time.
const HOT: usize = 64;
/// How often a list is asked for.
const LISTS: usize = 50;

pub const ROWS: &[Row] = &[
    Row::of(
        "bare",
        "COUNT instances that end at once beside 64 busy ones, no index",
        Unit::PerSecond,
    ),
    Row::of("indexed", "the same, with the index", Unit::PerSecond),
    Row::of("ratio", "index / no index", Unit::Ratio).aims_at(Goal::Least(0.7)),
    Row::of("fed_peak", "index, most memory", Unit::Megabytes).aims_at(PEAK_GOAL),
    Row::of("list", "list of 20 among them, p50", Unit::Millis).aims_at(Goal::Most(5.0)),
    Row::of("rebuild", "instances put when the index is made again", Unit::PerSecond),
    Row::of("peak", "index made again, most memory", Unit::Megabytes).aims_at(PEAK_GOAL),
];

/// Runs half of `count` twice with the index and twice without, in turn.
pub fn measure(dir: &Path, count: usize) -> anyhow::Result<Json> {
    let half = count.div_ceil(2);
    let (mut bare, mut indexed, mut fed_peak) = (0.0, 0.0, 0);
    let (with, without) = (dir.join("with"), dir.join("without"));
    for _ in 0..2 {
        bare += load(Data::open_unindexed(&without, Arc::new(Nothing::start()?))?, half)? / 2.0;
        facts::forget_peak();
        indexed += load(Data::open_unpaced(&with, Arc::new(Nothing::start()?), None)?, half)? / 2.0;
        fed_peak = facts::peak_bytes().max(fed_peak);
    }
    let list = list(&with)?;
    let (log, _) = open_log(&with)?;
    let (index, _) = SqliteIndex::open(&with)?;
    facts::forget_peak();
    let begun = Instant::now();
    let rebuilt = traaviis_runtime::index::rebuild(&*log, &index, &mut |_| ())?;
    let rebuild = rebuilt.instances as f64 / begun.elapsed().as_secs_f64();
    Ok(json!({
        "bare": bare, "indexed": indexed, "ratio": indexed / bare, "fed_peak": megabytes(fed_peak),
        "list": list.as_secs_f64() * 1e3, "rebuild": rebuild,
    }))
}

/// Returns cold instances per second.
fn load(data: Data, count: usize) -> anyhow::Result<f64> {
    let data = Arc::new(data);
    let (plain, ends) = (machine(workflows::PLAIN)?, machine(workflows::ENDS)?);
    let hot = drive::start_many(&data, &plain, HOT, |_| Value::empty_map())?;
    let is_over = AtomicBool::new(false);
    let rate = thread::scope(|scope| {
        let busy = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                drive::drive(&data, &hot, &Value::Null, Duration::from_millis(50))?;
            }
            anyhow::Ok(())
        });
        let begun = Instant::now();
        let started = drive::start_many(&data, &ends, count, |_| Value::empty_map());
        let time = begun.elapsed();
        is_over.store(true, Ordering::Relaxed);
        started?;
        busy.join().map_err(|_| anyhow::anyhow!("the busy instances failed"))??;
        anyhow::Ok(count as f64 / time.as_secs_f64())
    })?;
    data.close()?;
    Ok(rate)
}

fn list(dir: &Path) -> anyhow::Result<Duration> {
    let data = child::open_data(dir)?;
    let query = Query { limit: 20, ..Query::default() };
    let mut times = Vec::with_capacity(LISTS);
    for _ in 0..LISTS {
        let begun = Instant::now();
        data.histories.page(&query)?;
        times.push(begun.elapsed());
    }
    data.close()?;
    times.sort();
    Ok(percentile(&times, 0.5))
}
