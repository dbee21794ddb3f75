//! What the document tree costs: instances that step all the time, with and without it, then many
//! that rest, each of which becomes two files.

use std::{
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value as Json, json};
use traaviis_model::Value;

use super::{
    super::{connector::Nothing, drive, machine, workflows},
    Goal, PEAK_GOAL, Row, Unit, megabytes,
};
use crate::{bench::facts, data::Data, tree::TreeMode};

/// Instances that step all the time.
const HOT: usize = 64;
/// Turns with the tree and without it.
const TURNS: usize = 3;
/// Longest time of a turn.
const TURN: Duration = Duration::from_millis(1_500);
/// Longest wait for the tree.
const PATIENCE: Duration = Duration::from_secs(600);

pub const ROWS: &[Row] = &[
    Row::of("bare", "transitions of 64 instances, no document tree", Unit::PerSecond),
    Row::of("shown", "the same, with the tree (lazy)", Unit::PerSecond),
    Row::of("ratio", "tree / no tree", Unit::Ratio).aims_at(Goal::Least(0.8)),
    Row::of("started", "COUNT instances started and left to rest, with the tree", Unit::PerSecond),
    Row::of("files", "of these shown in the tree", Unit::PerSecond),
    Row::of("lag", "until the tree shows all of them", Unit::Seconds),
    Row::of("fed_peak", "the same, most memory", Unit::Megabytes).aims_at(PEAK_GOAL),
];

/// Measures busy instances in turn, then `count` that rest.
pub fn measure(dir: &Path, count: usize) -> anyhow::Result<Json> {
    // As long as the rest of the benchmark is: a tiny one is over at once.
    let turn = TURN.min(Duration::from_millis(count as u64));
    let (mut bare, mut shown) = (0.0, 0.0);
    for _ in 0..TURNS {
        bare += busy(&dir.join("without"), TreeMode::Off, turn)? / TURNS as f64;
        shown += busy(&dir.join("with"), TreeMode::Lazy, turn)? / TURNS as f64;
    }
    facts::forget_peak();
    let data = open(&dir.join("rest"), TreeMode::Lazy)?;
    let begun = Instant::now();
    drive::start_many(&data, &machine(workflows::PLAIN)?, count, |_| Value::empty_map())?;
    let started = begun.elapsed();
    while data.tree().is_some_and(|it| it.lag > 0) && begun.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(10));
    }
    let whole = begun.elapsed();
    let fed_peak = facts::peak_bytes();
    data.close()?;
    Ok(json!({
        "bare": bare, "shown": shown, "ratio": shown / bare,
        "started": count as f64 / started.as_secs_f64(),
        "files": count as f64 / whole.as_secs_f64(),
        "lag": whole.saturating_sub(started).as_secs_f64(),
        "fed_peak": megabytes(fed_peak),
    }))
}

fn open(dir: &Path, tree: TreeMode) -> anyhow::Result<Arc<Data>> {
    Ok(Arc::new(Data::open_unpaced_shown(dir, Arc::new(Nothing::start()?), tree)?))
}

/// Returns transitions per second.
fn busy(dir: &Path, tree: TreeMode, time: Duration) -> anyhow::Result<f64> {
    let data = open(dir, tree)?;
    let hot = drive::start_many(&data, &machine(workflows::PLAIN)?, HOT, |_| Value::empty_map())?;
    let driven = drive::drive(&data, &hot, &Value::Null, time)?;
    data.close()?;
    Ok(driven.rate())
}
