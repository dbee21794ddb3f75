//! Calls behind a circuit breaker that all instances share, beside plain ones.

use std::{
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value as Json, json};
use traaviis_model::Value;

use super::{
    super::{EFFECT_INSTANCES, connector::Nothing, drive, machine, workflows},
    PEAK_GOAL, Row, Unit,
};
use crate::data::Data;

pub const ROWS: &[Row] = &[
    Row::of("plain", "plain calls, 256 instances", Unit::PerSecond),
    Row::of("behind", "calls behind one circuit breaker, 256 instances", Unit::PerSecond),
    Row::of("ratio", "behind a breaker / plain calls", Unit::Ratio),
    Row::of("peak", "breakers, most memory", Unit::Megabytes).aims_at(PEAK_GOAL),
];

/// Runs both twice, in turn, each for half of `millis`.
pub fn measure(dir: &Path, millis: usize) -> anyhow::Result<Json> {
    let time = Duration::from_millis(millis as u64 / 2);
    let behind = workflows::CALLS.replace(CALL, BEHIND);
    let (mut rate_plain, mut rate_behind) = (0.0, 0.0);
    for round in 0..2 {
        rate_plain += rate(&dir.join(format!("plain-{round}")), workflows::CALLS, time)? / 2.0;
        rate_behind += rate(&dir.join(format!("behind-{round}")), &behind, time)? / 2.0;
    }
    Ok(json!({
        "plain": rate_plain, "behind": rate_behind, "ratio": rate_behind / rate_plain,
    }))
}

/// A call of [`workflows::CALLS`], and the same behind a breaker.
const CALL: &str = "{type: call, function: bench.nothing, args: {}}";
const BEHIND: &str = "{type: circuit_breaker, name: nothing, \
    effect: {type: call, function: bench.nothing, args: {}}}";

fn rate(dir: &Path, workflow: &str, time: Duration) -> anyhow::Result<f64> {
    let calls = Arc::new(Nothing::start()?);
    let data = Arc::new(Data::open_unpaced(dir, Arc::clone(&calls) as _, None)?);
    let machine = machine(workflow)?;
    drive::start_many(&data, &machine, EFFECT_INSTANCES, |_| Value::empty_map())?;
    let (before, begun) = (calls.performed(), Instant::now());
    thread::sleep(time);
    let rate = (calls.performed() - before) as f64 / begun.elapsed().as_secs_f64();
    data.close()?;
    Ok(rate)
}
