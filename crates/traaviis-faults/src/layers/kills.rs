//! `kill -9` under load, also in the middle of compaction, archiving and a backup, and while large
//! values are written.
//!
//! The same directory is killed several times in a row, so that recovery of a recovery is tried
//! too; after each kill it is opened, brought to rest and checked.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use traaviis_model::Timestamp;
use traaviis_store::{
    backup::{self, Folder, Identities, Options, Until},
    blobs,
};
use traaviis_testkit::rng::Rng;

use super::{Size, run};
use crate::{
    child::{Running, Story},
    report::Row,
    verify::{Ask, verify},
    worker::Work,
    world::How,
};

/// Kills of one directory before a new one is begun, so that histories stay short.
const KILLS_OF_ONE: u64 = 8;
/// Tenants that share it.
const TENANTS: u64 = 20;

/// What goes on when the process is killed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beside {
    Load,
    Upkeep,
    Backup,
    /// One event in three has a large value with it.
    Large,
}

/// Runs the layer.
pub fn layer(size: Size, rounds: Option<u64>, seed: u64) -> Vec<Row> {
    let kills = rounds.unwrap_or(size.of(50, 1_000));
    let of =
        |name: &str, beside, kills, seed| run(name, |row| kill_often(row, beside, kills, seed));
    let (some, rest) = (kills / 5, kills - 3 * (kills / 5));
    vec![
        of("kill -9 under load", Beside::Load, rest, seed),
        of("kill -9 while archiving and compacting", Beside::Upkeep, some, seed + 1),
        of("kill -9 while a backup is made", Beside::Backup, some, seed + 2),
        of("kill -9 while large values are written", Beside::Large, some, seed + 3),
    ]
}

fn kill_often(row: &mut Row, beside: Beside, kills: u64, seed: u64) -> anyhow::Result<()> {
    let mut dice = Rng::new(seed);
    let (mut accepted, mut restored, mut instances, mut values) = (0, 0, 0, 0);
    while row.runs < kills {
        let scratch = tempfile::tempdir()?;
        let dir = scratch.path().join("d");
        let mut story = Story::default();
        for _ in 0..KILLS_OF_ONE.min(kills - row.runs) {
            row.runs += 1;
            let work = Work {
                dir: dir.clone(),
                seed: seed * 10_000 + row.runs,
                ops: 0,
                clients: 8,
                tenants: TENANTS,
                upkeep: beside == Beside::Upkeep,
                large: if beside == Beside::Large { 3 } else { 0 },
                how: How::default(),
            };
            let mut worker = Running::start(&work, &[])?;
            // One in eight dies while it opens.
            if !dice.chance(1, 8) {
                worker.wait_ready(&mut story);
            }
            let delay = Duration::from_millis(20 + dice.below(230));
            if beside == Beside::Backup {
                restored += back_up_beside(&dir, scratch.path(), row, || {
                    worker.hear_for(delay, &mut story);
                    worker.kill(&mut story)
                })?;
            } else {
                worker.hear_for(delay, &mut story);
                worker.kill(&mut story)?;
            }
            let ask = Ask { tenants: TENANTS, how: work.how, upkeep: true };
            let fault = format!("kill {}", row.runs);
            if !row.holds(&fault, verify(&dir, &mut story, ask)) {
                return Ok(());
            }
        }
        accepted += story.accepted();
        let checked = blobs::check(&dir)?;
        row.findings.extend(checked.damaged.iter().map(|it| format!("half a value: {it:?}")));
        values += checked.files;
        instances += story.started.len();
    }
    anyhow::ensure!(accepted > 0, "nothing was accepted before any of the kills");
    row.figures =
        format!("{accepted} accepted events, {instances} instances, none lost, twice or stuck");
    if beside == Beside::Backup {
        row.figures += &format!("; {restored} backups restored");
    }
    if beside == Beside::Large {
        anyhow::ensure!(values > 0, "no large value was written before any of the kills");
        row.figures += &format!("; {values} values beside the log, all whole");
    }
    Ok(())
}

/// Makes backups for as long as `work` takes, then restores the last one; returns whether there was
/// one.
fn back_up_beside(
    dir: &Path,
    scratch: &Path,
    row: &mut Row,
    work: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<u64> {
    let (target, is_over) = (Folder::new(&scratch.join("backups")), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                // One that cannot be made now, because nothing is there yet, is tried again.
                let options = Options::default();
                let _ = backup::take(dir, &target, &options, Timestamp(0), &mut |_, _| ());
                thread::sleep(Duration::from_millis(5));
            }
        });
        let worked = work();
        is_over.store(true, Ordering::SeqCst);
        worked
    })?;
    let Some(name) = backup::list(&target)?.pop() else { return Ok(0) };
    let manifest = backup::read(&target, &name)?;
    let restored = scratch.join("restored");
    let none = Identities::default();
    backup::restore(&target, &manifest, &none, Until::End, &restored, &mut |_, _| ())?;
    // It ends before what clients know, so it is checked for itself.
    let ask = Ask { tenants: TENANTS, how: How::default(), upkeep: true };
    let findings = verify(&restored, &mut Story::default(), ask);
    row.holds("restored", findings);
    std::fs::remove_dir_all(&restored)?;
    Ok(1)
}
