//! One instance that goes on and on: neither memory nor the cost of a step may grow with the number
//! of its records.

use std::{path::Path, time::Instant};

use serde_json::{Value as Json, json};
use traaviis_model::{Text, Value};

use super::{
    super::{child, drive, facts, machine, workflows},
    Goal, PEAK_GOAL, Row, Unit,
};

/// Parts of the run that are compared with each other.
const PARTS: usize = 10;

pub const ROWS: &[Row] = &[
    Row::of("rate", "long run of COUNT records, one instance", Unit::PerSecond),
    Row::of("evenness", "long run, processor time of the last tenth / first", Unit::Ratio)
        .aims_at(Goal::Most(1.25)),
    Row::of("peak", "long run, most memory", Unit::Megabytes).aims_at(PEAK_GOAL),
    Row::of("ready", "long run, ready again", Unit::Seconds).aims_at(Goal::Most(1.0)),
    Row::of("ready_peak", "long run, most memory when ready again", Unit::Megabytes)
        .aims_at(PEAK_GOAL),
];

/// Gives one instance events until it has `count` records.
pub fn measure(dir: &Path, count: usize) -> anyhow::Result<Json> {
    let data = child::open_data(dir)?;
    let machine = machine(workflows::INSTANT)?;
    let id = drive::start_many(&data, &machine, 1, |_| Value::empty_map())?[0];
    let seq = || data.snapshot(id).map_or(0, |it| it.seq);
    let before = seq();
    data.send(id, "go", Value::Null)?;
    let each = seq() - before;
    let events = (count as u64).div_ceil(each * PARTS as u64);
    let event: Text = "go".into();
    let mut costs = Vec::new();
    let begun = Instant::now();
    for _ in 0..PARTS {
        let before = facts::processor_time();
        drive::many(usize::try_from(events)?, |_, done| {
            data.send_then(id, &event, Value::Null, done);
        })?;
        // Less than a tick of the clock cannot be measured.
        costs.push((facts::processor_time() - before).max(facts::TICK).as_secs_f64());
    }
    let rate = (seq() - before) as f64 / begun.elapsed().as_secs_f64();
    data.close()?;
    Ok(json!({ "rate": rate, "evenness": costs[PARTS - 1] / costs[0] }))
}
