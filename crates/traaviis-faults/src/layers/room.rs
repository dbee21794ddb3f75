//! Too little of something: space, speed of the disk, memory.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{Mount, Size, missing, not_root, percentile, run, system};
use crate::{
    child::{Running, Story},
    report::Row,
    verify::{Ask, verify},
    worker::Work,
    world::How,
};

/// Tenants that share a directory.
const TENANTS: u64 = 10;
/// Longest time until writes are taken again once there is space.
const HEALED_WITHIN: Duration = Duration::from_secs(5);
/// What each sync takes on the slow disk.
const SYNC_MICROS: u64 = 200_000;
/// Commits in a second that sharing syncs must still give there.
const SLOW_RATE_MIN: f64 = 50.0;
/// Hard limit of memory.
const MEMORY_BYTES: u64 = 320 << 20;
/// Where groups of processes have their memory limited.
const MEMORY_GROUPS: &str = "/sys/fs/cgroup/memory";

/// Runs the layer.
pub fn layer(size: Size, seed: u64) -> Vec<Row> {
    vec![space(seed), slow(size, seed), memory(size, seed)]
}

fn worker(dir: &Path, seed: u64, clients: u64) -> Work {
    let (dir, how) = (dir.to_path_buf(), How { segment_bytes: 512 << 10, ..How::default() });
    Work { dir, seed, ops: 0, clients, tenants: TENANTS, upkeep: false, large: 0, how }
}

fn space(seed: u64) -> Row {
    const NAME: &str = "disk that runs full and has space again";
    if let Some(why) = not_root() {
        return Row::skipped(NAME, why);
    }
    run(NAME, |row| {
        let scratch = tempfile::tempdir()?;
        let at = scratch.path().to_path_buf();
        let mounted = at.display().to_string();
        system("mount", &["-t", "tmpfs", "-o", "size=3m", "tmpfs", &mounted])?;
        let _mount = Mount(&at);
        let (work, mut story) = (worker(&at.join("d"), seed, 8), Story::default());
        let mut worker = Running::start(&work, &[])?;
        worker.wait_ready(&mut story);
        let begun = Instant::now();
        while story.errors.get("storage_full").copied().unwrap_or(0) < 50 {
            let goes_on = worker.hear_for(Duration::from_millis(50), &mut story);
            anyhow::ensure!(goes_on, "the process ended on a full disk: {:?}", story.errors);
            anyhow::ensure!(begun.elapsed().as_secs() < 60, "the disk does not run full");
        }
        let before = story.accepted();
        system("mount", &["-o", "remount,size=200m", &mounted])?;
        let freed = Instant::now();
        worker.hear_for(HEALED_WITHIN, &mut story);
        worker.kill(&mut story)?;
        let healed = story.accepted_at.iter().find(|it| **it > freed);
        row.runs = 1;
        let full = story.errors.get("storage_full").copied().unwrap_or(0);
        match healed {
            Some(at) => {
                let millis = at.duration_since(freed).as_millis();
                row.figures = format!(
                    "{before} accepted before, {full} refused as full, taken again after {millis} ms"
                );
            }
            None => row.findings.push("nothing is taken though there is space".into()),
        }
        row.findings.extend(verify(
            &work.dir,
            &mut story,
            Ask { tenants: TENANTS, how: work.how, upkeep: false },
        ));
        Ok(())
    })
}

fn slow(size: Size, seed: u64) -> Row {
    const NAME: &str = "slow disk: 200 ms a sync";
    if let Some(why) = missing("strace", "-V") {
        return Row::skipped(NAME, why);
    }
    run(NAME, |row| {
        let scratch = tempfile::tempdir()?;
        let (work, mut story) = (worker(&scratch.path().join("d"), seed, 64), Story::default());
        let inject = format!("inject=fdatasync:delay_enter={SYNC_MICROS}");
        let before = ["strace", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e"];
        let before = before.into_iter().chain(["trace=fdatasync", "-e", &inject]);
        let before: Vec<String> = before.map(String::from).collect();
        let mut worker = Running::start(&work, &before)?;
        worker.wait_ready(&mut story);
        let begun = Instant::now();
        worker.hear_for(Duration::from_secs(size.of(4, 30)), &mut story);
        let (accepted, seconds) = (story.accepted(), begun.elapsed().as_secs_f64());
        // The death of the tracer breaks the calls that it holds.
        let errors = story.errors.clone();
        worker.kill(&mut story)?;
        row.runs = 1;
        let rate = accepted as f64 / seconds;
        let slowest = percentile(&story.micros, 0.99) / 1_000;
        row.figures = format!("{rate:.0} accepted a second of 64 clients, p99 {slowest} ms");
        if rate < SLOW_RATE_MIN {
            row.findings.push(format!("{rate:.0} a second, not {SLOW_RATE_MIN}"));
        }
        if !errors.is_empty() {
            row.findings.push(format!("slow is no error: {errors:?}"));
        }
        row.findings.extend(verify(
            &work.dir,
            &mut story,
            Ask { tenants: TENANTS, how: work.how, upkeep: false },
        ));
        Ok(())
    })
}

/// A control group that is gone when this is dropped.
struct Group(PathBuf);

impl Group {
    fn make() -> std::io::Result<Group> {
        let path = Path::new(MEMORY_GROUPS).join(format!("traaviis-faults-{}", std::process::id()));
        fs::create_dir(&path)?;
        let group = Group(path);
        fs::write(group.0.join("memory.limit_in_bytes"), MEMORY_BYTES.to_string())?;
        Ok(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The last process of it may be on its way out.
        for _ in 0..50 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn memory(size: Size, seed: u64) -> Row {
    const NAME: &str = "hard limit of 320 MB of memory";
    let group = match Group::make() {
        Ok(group) => group,
        Err(error) => {
            let why = format!("no control group under `{MEMORY_GROUPS}` can be made: {error}");
            return Row::skipped(NAME, why);
        }
    };
    run(NAME, |row| {
        let scratch = tempfile::tempdir()?;
        let (work, mut story) = (worker(&scratch.path().join("d"), seed, 64), Story::default());
        let work = Work { tenants: 200, ..work };
        // The shell joins the group and becomes the worker.
        let tasks = group.0.join("tasks").display().to_string();
        let script = format!("echo $$ > {tasks} && exec \"$@\"");
        let before = ["sh", "-c", &script, "sh"].map(String::from);
        let mut worker = Running::start(&work, &before)?;
        worker.wait_ready(&mut story);
        let is_alive = worker.hear_for(Duration::from_secs(size.of(4, 60)), &mut story);
        let peak = fs::read_to_string(group.0.join("memory.max_usage_in_bytes"))?;
        let peak = peak.trim().parse::<u64>()? / 1_000_000;
        row.runs = 1;
        if !is_alive {
            row.findings.push("the process was killed".into());
        }
        worker.kill(&mut story)?;
        let (accepted, started) = (story.accepted(), story.started.len());
        row.figures = format!(
            "{accepted} events of {started} instances, at most {peak} MB with cached pages"
        );
        row.findings.extend(verify(
            &work.dir,
            &mut story,
            Ask { tenants: 200, how: work.how, upkeep: false },
        ));
        Ok(())
    })
}
