//! How late timers fire when a thousand are due each second, beside how late a sleeping thread
//! wakes up.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value as Json, json};
use traaviis_model::{Span, Value};

use super::{
    super::{child, drive, machine, workflows},
    Goal, PEAK_GOAL, Row, Unit,
};
use crate::disk::percentile;

/// Wait of the first timer: all instances are there by then.
const FIRST: Span = Span::secs(2);
/// Time between two timers.
const STEP: Span = Span::millis(1);
/// Sleeps to compare with.
const SLEEPS: usize = 1_000;
/// Longest wait for the last timer.
const OVERTIME: Duration = Duration::from_secs(10);

pub const ROWS: &[Row] = &[
    Row::of("sleep_p99", "a thread that sleeps 1 ms, late by, p99", Unit::Millis),
    Row::of("p50", "COUNT timers, 1,000 due per second, late by, p50", Unit::Millis),
    Row::of("p99", "timers, late by, p99", Unit::Millis).aims_at(Goal::Most(100.0)),
    Row::of("most", "timers, the latest", Unit::Millis),
    Row::of("peak", "timers, most memory", Unit::Megabytes).aims_at(PEAK_GOAL),
];

/// Starts `count` instances that each end by a timer.
pub fn measure(dir: &Path, count: usize) -> anyhow::Result<Json> {
    let sleep_p99 = sleeps();
    let data = child::open_data(dir)?;
    let machine = machine(workflows::TIMED)?;
    let wait = |at: usize| Span(FIRST.0 + STEP.0 * at as i64);
    let ids = drive::start_many(&data, &machine, count, |at| {
        Value::map([("wait", Value::from(format!("{}ms", wait(at).as_millis())))])
    })?;
    let end = Instant::now() + Duration::from_millis(wait(count).as_millis() as u64) + OVERTIME;
    let mut late = Vec::with_capacity(count);
    for id in ids {
        let ended = loop {
            let state = data.state(id)?.filter(|it| it.status.is_finished());
            if let Some(snapshot) = state {
                break snapshot;
            }
            anyhow::ensure!(Instant::now() < end, "a timer of `{id}` does not fire");
            thread::sleep(Duration::from_millis(20));
        };
        let wait = ended.input.get("wait").and_then(Value::as_str).unwrap_or_default();
        let wait: i64 = wait.trim_end_matches("ms").parse()?;
        let took = ended.updated_at.since(ended.created_at);
        late.push(Duration::from_micros(took.0.saturating_sub(wait * 1_000).max(0) as u64));
    }
    data.close()?;
    late.sort();
    let millis = |share: f64| percentile(&late, share).as_secs_f64() * 1e3;
    Ok(json!({
        "sleep_p99": sleep_p99, "p50": millis(0.5), "p99": millis(0.99), "most": millis(1.0),
    }))
}

fn sleeps() -> f64 {
    let nap = Duration::from_millis(1);
    let mut late = Vec::with_capacity(SLEEPS);
    for _ in 0..SLEEPS {
        let begun = Instant::now();
        thread::sleep(nap);
        late.push(begun.elapsed().saturating_sub(nap));
    }
    late.sort();
    percentile(&late, 0.99).as_secs_f64() * 1e3
}
