//! Power cuts: a file system that forgets whatever was not synced.
//!
//! The file system lies in a file, mounted through a loop device. `shutdown` of `xfs_io` stops it
//! without writing anything more; mounted again, it has what was synced, and of the rest whatever
//! its journal happened to keep.
//!
//! A sync that meets the shutdown can be told success and be forgotten all the same. Where the
//! power goes for a whole machine nobody is left to hear of it, so what is told between the command
//! and its end is left open, and so are calls that are made in that time. What is told before must
//! be there, and so must what is told behind it, over a disk that refuses everything.

use std::{fs, path::Path, time::Duration};

use traaviis_testkit::rng::Rng;

use super::{Mount, Size, missing, not_root, run, system};
use crate::{
    child::{Running, Story},
    report::Row,
    verify::{Ask, verify},
    worker::Work,
    world::How,
};

/// Bytes of the file system; xfs wants 300 MB. The file is sparse.
const IMAGE_BYTES: u64 = 320 << 20;
/// Cuts that one directory lives through.
const CUTS_OF_ONE: u64 = 5;
/// Tenants that share it.
const TENANTS: u64 = 10;

/// Runs the layer.
pub fn layer(size: Size, rounds: Option<u64>, seed: u64) -> Vec<Row> {
    let cuts = rounds.unwrap_or(size.of(10, 400)) / 2;
    ["ext4", "xfs"].into_iter().map(|kind| of_kind(kind, cuts, seed)).collect()
}

fn of_kind(kind: &str, cuts: u64, seed: u64) -> Row {
    let name = format!("power cut on {kind}");
    let maker = format!("mkfs.{kind}");
    let why = not_root().or_else(|| missing("xfs_io", "-V")).or_else(|| missing(&maker, "-V"));
    if let Some(why) = why {
        return Row::skipped(&name, why);
    }
    let scratch = match tempfile::tempdir() {
        Ok(scratch) => scratch,
        Err(error) => return Row::skipped(&name, error.to_string()),
    };
    if let Err(error) = make(scratch.path(), kind).and_then(|()| mount(scratch.path())) {
        return Row::skipped(&name, format!("a loop device cannot be mounted: {error:#}"));
    }
    let at = scratch.path().join("at");
    let _mount = Mount(&at);
    run(&name, |row| cut_often(row, scratch.path(), cuts, seed))
}

fn make(scratch: &Path, kind: &str) -> anyhow::Result<()> {
    let image = scratch.join("image");
    fs::File::create(&image)?.set_len(IMAGE_BYTES)?;
    fs::create_dir(scratch.join("at"))?;
    let image = image.display().to_string();
    let force = if kind == "ext4" { "-F" } else { "-f" };
    system(&format!("mkfs.{kind}"), &["-q", force, &image])
}

fn mount(scratch: &Path) -> anyhow::Result<()> {
    let [image, at] = ["image", "at"].map(|it| scratch.join(it).display().to_string());
    system("mount", &["-o", "loop", &image, &at])
}

fn cut_often(row: &mut Row, scratch: &Path, cuts: u64, seed: u64) -> anyhow::Result<()> {
    let at = scratch.join("at");
    let mounted = at.display().to_string();
    let mut dice = Rng::new(seed);
    let (mut accepted, mut doubted, mut absent) = (0, 0, 0);
    while row.runs < cuts {
        let dir = at.join(format!("d{}", row.runs));
        let mut story = Story::default();
        for _ in 0..CUTS_OF_ONE.min(cuts - row.runs) {
            row.runs += 1;
            let work = Work {
                dir: dir.clone(),
                seed: seed * 10_000 + row.runs,
                ops: 0,
                clients: 8,
                tenants: TENANTS,
                upkeep: row.runs.is_multiple_of(2),
                large: 12 * u64::from(row.runs.is_multiple_of(3)),
                how: How::default(),
            };
            let mut worker = Running::start(&work, &[])?;
            worker.wait_ready(&mut story);
            worker.hear_for(Duration::from_millis(30 + dice.below(250)), &mut story);
            let before = story.so_far();
            system("xfs_io", &["-x", "-c", "shutdown", &mounted])?;
            worker.hear_for(Duration::ZERO, &mut story);
            let open = story.doubt_since(&before);
            doubted += open.len();
            // It goes on for a moment over a disk that refuses everything.
            worker.hear_for(Duration::from_millis(30), &mut story);
            worker.kill(&mut story)?;
            system("umount", &[&mounted])?;
            mount(scratch)?;
            let ask = Ask { tenants: TENANTS, how: work.how, upkeep: true };
            let fault = format!("cut {}", row.runs);
            if !row.holds(&fault, verify(&dir, &mut story, ask)) {
                return Ok(());
            }
            absent += open.iter().filter(|it| story.is_absent(it)).count();
        }
        accepted += story.accepted();
        fs::remove_dir_all(&dir)?;
    }
    anyhow::ensure!(accepted > 0, "nothing was accepted before any of the cuts");
    row.figures = format!(
        "{accepted} accepted events, none lost; of {doubted} while the power went {absent} are gone"
    );
    Ok(())
}
