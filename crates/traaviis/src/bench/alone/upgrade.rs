//! Waiting instances that go on with another version, beside what it took to start them.

use std::{path::Path, time::Instant};

use serde_json::{Value as Json, json};

use super::{
    super::{child, drive, machine, workflows},
    Row, Unit,
};

pub const ROWS: &[Row] = &[
    Row::of("start", "starts of COUNT instances that wait", Unit::PerSecond),
    Row::of("upgrade", "upgrades of COUNT instances that wait", Unit::PerSecond),
    Row::of("ratio", "upgrades / starts", Unit::Ratio),
    Row::of("peak", "upgrades, most memory", Unit::Megabytes),
];

/// Starts `count` instances and takes them over.
pub fn measure(dir: &Path, count: usize) -> anyhow::Result<Json> {
    let data = child::open_data(dir)?;
    let input = child::parked_input();
    let begun = Instant::now();
    let ids = drive::start_many(&data, &machine(workflows::PARKED)?, count, |_| input.clone())?;
    let start = count as f64 / begun.elapsed().as_secs_f64();
    let next = workflows::PARKED.replace("version: 1.0.0", "version: 2.0.0\nmigrations: []");
    let next = machine(&next)?;
    let begun = Instant::now();
    drive::many(ids.len(), |at, done| data.upgrade_then(ids[at], &next, done))?;
    let upgrade = count as f64 / begun.elapsed().as_secs_f64();
    data.close()?;
    Ok(json!({ "start": start, "upgrade": upgrade, "ratio": upgrade / start }))
}
