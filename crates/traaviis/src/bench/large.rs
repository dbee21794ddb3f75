//! What large values cost others: small events of some instances, while another one takes events
//! with values that are files of their own.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use traaviis_model::{InstanceId, Value};

use super::{
    drive, machine,
    report::{Goal, Report, Unit},
    workflows,
};
use crate::{data::Data, disk::percentile, tree::TreeMode};

/// Instances that take small events, spread over all shards.
const SMALL: usize = 64;
/// Values, by what they are called.
const VALUES: [(&str, usize); 2] = [("100 KiB", 100 << 10), ("1 MiB", 1 << 20)];
/// How much longer a small event may take beside them.
const RATIO_GOAL: Goal = Goal::Most(2.0);
/// What a value of an event is called.
const KEY: &str = "text";

/// Measures in `dir` for `time` with each size, and as long without.
pub fn run(time: Duration, dir: &Path, report: &mut Report) -> anyhow::Result<()> {
    let calls = Arc::new(super::connector::Nothing::start()?);
    let data = Arc::new(Data::open_unpaced_shown(dir, calls, TreeMode::Off)?);
    let parked = machine(workflows::PARKED)?;
    let ids = drive::start_many(&data, &parked, SMALL + 1, |_| Value::empty_map())?;
    let Some((large, small)) = ids.split_first() else { return Ok(()) };
    let alone = timed(&data, small, time)?;
    report.add("small events, p99", Unit::Millis, None, millis(&alone));
    for (name, bytes) in VALUES {
        let over = AtomicBool::new(false);
        let (beside, count) = thread::scope(|scope| {
            let sends = scope.spawn(|| {
                let mut count = 0_u64;
                while !over.load(Ordering::Relaxed) {
                    // None is there already.
                    let text = format!("{count} {}", "x".repeat(bytes));
                    let value = Value::map([(KEY, Value::from(text.as_str()))]);
                    data.send(*large, "poke", value)?;
                    count += 1;
                }
                Ok::<_, crate::exit::Failure>(count)
            });
            let times = timed(&data, small, time);
            over.store(true, Ordering::Relaxed);
            let count = sends.join().map_err(|_| anyhow::anyhow!("a thread ended"))?;
            Ok::<_, anyhow::Error>((times?, count?))
        })?;
        let what = format!("small events beside values of {name}");
        report.add(&format!("{what}, p99"), Unit::Millis, None, millis(&beside));
        let ratio = millis(&beside) / millis(&alone);
        report.add(&format!("{what} / alone, p99"), Unit::Ratio, Some(RATIO_GOAL), ratio);
        let rate = count as f64 / time.as_secs_f64();
        report.add(&format!("values of {name}"), Unit::PerSecond, None, rate);
    }
    data.close()?;
    fs::remove_dir_all(dir)?;
    Ok(())
}

/// Sends one small event after another; returns how long each took.
fn timed(data: &Data, ids: &[InstanceId], time: Duration) -> anyhow::Result<Vec<Duration>> {
    let (begun, mut times) = (Instant::now(), Vec::new());
    for id in ids.iter().cycle() {
        if begun.elapsed() >= time && !times.is_empty() {
            break;
        }
        let sent = Instant::now();
        data.send(*id, "poke", Value::Null)?;
        times.push(sent.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}

fn millis(times: &[Duration]) -> f64 {
    percentile(times, 0.99).as_secs_f64() * 1e3
}
