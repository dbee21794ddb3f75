//! Clocks that jump between two lives of a process: hours, a year, back and forth.
//!
//! No timer may be lost or fire early, and no history may go back in time. Jumps inside a life, for
//! which the clock of the machine would have to be set, are left to the simulation.

use std::time::Duration;

use traaviis_model::Span;
use traaviis_testkit::rng::Rng;

use super::{Size, run};
use crate::{
    child::{Running, Story},
    report::Row,
    verify::{Ask, verify},
    worker::Work,
    world::How,
};

const HOUR: i64 = 3_600;
const YEAR: i64 = 365 * 24 * HOUR;
/// Tenants that share a directory.
const TENANTS: u64 = 4;
/// Lives of one directory.
const LIVES: u64 = 10;

/// Runs the layer.
pub fn layer(size: Size, seed: u64) -> Vec<Row> {
    vec![run("clock jumps between two lives", |row| jump(row, size.of(12, 100), seed))]
}

fn jump(row: &mut Row, jumps: u64, seed: u64) -> anyhow::Result<()> {
    let mut dice = Rng::new(seed);
    let known = [0, HOUR, -HOUR, YEAR, -YEAR, 0];
    let mut accepted = 0;
    while row.runs < jumps {
        let scratch = tempfile::tempdir()?;
        let (dir, mut story) = (scratch.path().join("d"), Story::default());
        for life in 0..LIVES.min(jumps - row.runs) {
            row.runs += 1;
            let random = dice.below(2 * YEAR as u64) as i64 - YEAR;
            let seconds = known.get(life as usize).copied().unwrap_or(random);
            let how = How { ahead: Span::secs(seconds), ..How::default() };
            let work = Work {
                dir: dir.clone(),
                seed: seed * 10_000 + row.runs,
                ops: 0,
                clients: 4,
                tenants: TENANTS,
                upkeep: false,
                large: 0,
                how,
            };
            let mut worker = Running::start(&work, &[])?;
            worker.wait_ready(&mut story);
            worker.hear_for(Duration::from_millis(60 + dice.below(120)), &mut story);
            worker.kill(&mut story)?;
            let ask = Ask { tenants: TENANTS, how, upkeep: false };
            if !row.holds(&format!("{seconds} s"), verify(&dir, &mut story, ask)) {
                return Ok(());
            }
        }
        accepted += story.accepted();
    }
    row.figures = format!("{accepted} accepted events; no timer lost or early");
    Ok(())
}
