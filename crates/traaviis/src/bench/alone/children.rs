//! Children that end at once, beside the same instances started by nobody.

use std::{
    fs,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value as Json, json};
use traaviis_model::Value;

use super::{
    super::{connector::Nothing, drive, machine, workflows},
    PEAK_GOAL, Row, Unit,
};
use crate::data::Data;

/// Parents that start children at the same time.
const PARENTS: usize = 10;

pub const ROWS: &[Row] = &[
    Row::of("alone", "COUNT instances that end at once, started by nobody", Unit::PerSecond),
    Row::of("children", "COUNT children of 10 parents that end at once", Unit::PerSecond),
    Row::of("ratio", "children / started by nobody", Unit::Ratio),
    Row::of("peak", "children, most memory", Unit::Megabytes).aims_at(PEAK_GOAL),
];

/// Starts `count` instances by themselves, then as many as children.
pub fn measure(dir: &Path, count: usize) -> anyhow::Result<Json> {
    let file = dir.join("ends.yaml");
    fs::write(&file, workflows::ENDS)?;
    let connector = Arc::new(Nothing::start()?);
    let data = Arc::new(Data::open_unpaced(&dir.join("data"), connector, Some(&file))?);
    let begun = Instant::now();
    drive::start_many(&data, &machine(workflows::ENDS)?, count, |_| Value::empty_map())?;
    let alone = count as f64 / begun.elapsed().as_secs_f64();
    let each = count.div_ceil(PARENTS);
    let items: Vec<usize> = (0..each).collect();
    let input = Value::map([("items", Value::from(&json!(items)))]);
    let begun = Instant::now();
    let parents =
        drive::start_many(&data, &machine(workflows::CROWD)?, PARENTS, |_| input.clone())?;
    for id in parents {
        while data.state(id)?.is_some_and(|it| !it.status.is_finished()) {
            thread::sleep(Duration::from_millis(1));
        }
    }
    let children = (each * PARENTS) as f64 / begun.elapsed().as_secs_f64();
    data.close()?;
    Ok(json!({ "alone": alone, "children": children, "ratio": children / alone }))
}
