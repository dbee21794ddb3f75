//! Every persistence call of a scripted run, ended or failed in every way.
//!
//! `strace` counts calls for each thread and each kind of call. So the points are kind by kind, up
//! to the most that one thread makes: the n-th call of every thread is then hit by the n-th point.
//! A short write needs something else to make it, because `strace` can only lie about one: a shim
//! in front of the C library, which counts over all threads.
//!
//! There are two scripts: one of small things only, and a shorter one in which every other event
//! has a large value with it, which another thread makes durable before its record is written.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use anyhow::Context as _;

use super::{Size, missing, run, system};
use crate::{
    child::{Running, Story},
    report::Row,
    verify::{Ask, verify},
    worker::Work,
    world::How,
};

/// Calls after which something may be on a disk that was not before.
const CALLS: &[&str] = &[
    "pwrite64",
    "fdatasync",
    "fsync",
    "syncfs",
    "rename",
    "renameat",
    "renameat2",
    "ftruncate",
    "fallocate",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
];

/// Tenants of the script.
const TENANTS: u64 = 3;

/// Writes half of the n-th write and says so, as a disk that runs full in the middle does.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>
static atomic_long count;
ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t at) {
    static ssize_t (*next)(int, const void *, size_t, off64_t);
    const char *wanted = getenv("FAULTS_SHORT_AT");
    if (!next) next = dlsym(RTLD_NEXT, "pwrite64");
    if (wanted && atomic_fetch_add(&count, 1) + 1 == atol(wanted) && len > 1) {
        len /= 2;
        close(open(getenv("FAULTS_SHORT_MARK"), O_CREAT | O_WRONLY, 0600));
    }
    return next(fd, bytes, len, at);
}
"#;

/// One thing that goes wrong in one run.
#[derive(Clone, Debug)]
struct Point {
    /// What is said to `strace`; or the number of the write that is short.
    fault: Fault,
    /// How a finding names it.
    name: String,
}

#[derive(Clone, Debug)]
enum Fault {
    Inject(String),
    Short(u64),
}

/// What is run again and again.
#[derive(Clone, Copy, Debug)]
struct Script {
    name: &'static str,
    /// Things that its client does.
    ops: u64,
    /// One in so many events has a large value with it; 0 means none.
    large: u64,
    /// Fewer calls would prove little.
    calls_min: u64,
}

impl Script {
    fn all(size: Size) -> [Script; 2] {
        let plain = Script { name: "crash points", ops: size.of(10, 60), large: 0, calls_min: 100 };
        let large = "crash points of large values";
        [plain, Script { name: large, ops: size.of(5, 20), large: 2, calls_min: 80 }]
    }
}

/// Runs the layer.
pub fn layer(size: Size) -> Vec<Row> {
    Script::all(size).into_iter().flat_map(rows_of).collect()
}

fn rows_of(script: Script) -> Vec<Row> {
    let name = script.name;
    if let Some(why) = missing("strace", "-V") {
        return vec![Row::skipped(name, why)];
    }
    let mut rows = Vec::new();
    let scratch = match tempfile::tempdir() {
        Ok(scratch) => scratch,
        Err(error) => return vec![Row::skipped(name, error.to_string())],
    };
    let counts = match count(scratch.path(), script) {
        Ok(counts) => counts,
        Err(error) => return vec![Row::skipped(name, format!("{error:#}"))],
    };
    let ways = [("kill", "signal=KILL"), ("EIO", "error=EIO"), ("ENOSPC", "error=ENOSPC")];
    for (way, what) in ways {
        let points = counts.points().into_iter().map(|(call, number)| Point {
            fault: Fault::Inject(format!("{call}:{what}:when={number}")),
            name: format!("{way} at {call} {number}"),
        });
        let points: Vec<Point> = points.collect();
        rows.push(run(&format!("{name}: {way}"), |row| {
            at_each(row, &points, None, (&counts, script))
        }));
    }
    let name = format!("{name}: short write");
    let Some(shim) = shim(scratch.path()) else {
        rows.push(Row::skipped(&name, "no C compiler for the shim that makes them"));
        return rows;
    };
    let points = (1..=counts.all("pwrite64"))
        .map(|number| Point { fault: Fault::Short(number), name: format!("short write {number}") });
    let points: Vec<Point> = points.collect();
    rows.push(run(&name, |row| at_each(row, &points, Some(&shim), (&counts, script))));
    rows
}

/// How often a script made each call.
struct Counts(BTreeMap<String, HashMap<String, u64>>);

impl Counts {
    /// Returns kinds and numbers that together meet every call.
    fn points(&self) -> Vec<(String, u64)> {
        let most = |threads: &HashMap<String, u64>| threads.values().copied().max().unwrap_or(0);
        let all = self.0.iter();
        all.flat_map(|(call, threads)| (1..=most(threads)).map(|it| (call.clone(), it))).collect()
    }

    fn all(&self, call: &str) -> u64 {
        self.0.get(call).map_or(0, |threads| threads.values().sum())
    }

    fn total(&self) -> u64 {
        self.0.values().flat_map(HashMap::values).sum()
    }
}

fn work(dir: &Path, Script { ops, large, .. }: Script) -> Work {
    let how = How { segment_bytes: 8 << 10, ..How::default() };
    let dir = dir.to_path_buf();
    Work { dir, seed: 1, ops, clients: 1, tenants: TENANTS, upkeep: false, large, how }
}

fn traced() -> String {
    // A question mark: not every machine has every one of them.
    let calls: Vec<String> = CALLS.iter().map(|it| format!("?{it}")).collect();
    format!("trace={}", calls.join(","))
}

/// Runs the script once without a fault and counts its calls.
fn count(scratch: &Path, script: Script) -> anyhow::Result<Counts> {
    let out = scratch.join("trace");
    let before = ["strace", "-f", "-qq", "--seccomp-bpf", "-e", &traced(), "-o"].map(String::from);
    let before: Vec<String> = before.into_iter().chain([out.display().to_string()]).collect();
    let mut story = Story::default();
    let work = work(&scratch.join("script"), script);
    let status = Running::start(&work, &before)?.wait(&mut story)?;
    anyhow::ensure!(status.is_some_and(|it| it.success()), "the script fails without a fault");
    let mut counts: BTreeMap<String, HashMap<String, u64>> = BTreeMap::new();
    for line in fs::read_to_string(&out)?.lines() {
        let mut words = line.split_whitespace();
        let (Some(thread), Some(call)) = (words.next(), words.next()) else { continue };
        let Some((call, _)) = call.split_once('(') else { continue };
        if CALLS.contains(&call) {
            *counts.entry(call.into()).or_default().entry(thread.into()).or_default() += 1;
        }
    }
    let counts = Counts(counts);
    let total = counts.total();
    anyhow::ensure!(total >= script.calls_min, "the script makes only {total} persistence calls");
    Ok(counts)
}

/// Builds the shim; none without a compiler.
fn shim(scratch: &Path) -> Option<PathBuf> {
    let (source, shim) = (scratch.join("shim.c"), scratch.join("shim.so"));
    fs::write(&source, SHIM).ok()?;
    let [from, to] = [&source, &shim].map(|it| it.display().to_string());
    system("cc", &["-shared", "-fPIC", "-O1", "-o", &to, &from, "-ldl"]).ok()?;
    Some(shim)
}

fn at_each(
    row: &mut Row,
    points: &[Point],
    shim: Option<&Path>,
    (counts, script): (&Counts, Script),
) -> anyhow::Result<()> {
    let (next, findings) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let hits = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some(point) = points.get(next.fetch_add(1, Ordering::SeqCst)) {
                    match one(point, shim, script) {
                        Ok((found, is_hit)) => {
                            hits.fetch_add(usize::from(is_hit), Ordering::SeqCst);
                            findings.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
                        }
                        Err(error) => {
                            *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                        }
                    }
                }
            });
        }
    });
    if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    row.runs = points.len() as u64;
    row.findings = findings.into_inner().unwrap_or_else(PoisonError::into_inner);
    let (hits, total) = (hits.into_inner(), counts.total());
    row.figures = format!("a script of {total} persistence calls; {hits} faults were felt");
    anyhow::ensure!(hits > 0, "no fault was felt");
    Ok(())
}

/// Runs the script with one fault; says what was found, and whether the run felt it.
fn one(point: &Point, shim: Option<&Path>, script: Script) -> anyhow::Result<(Vec<String>, bool)> {
    let scratch = tempfile::tempdir()?;
    let (work, mut story) = (work(&scratch.path().join("d"), script), Story::default());
    let mark = scratch.path().join("short");
    let status = match &point.fault {
        Fault::Inject(what) => {
            let mut before = vec!["strace", "-f", "-qq", "-o", "/dev/null"];
            // With the filter it is quicker, and sends no signals.
            before.extend((!what.contains("signal")).then_some("--seccomp-bpf"));
            before.push("-e");
            let inject = format!("inject={what}");
            let call = what.split(':').next().unwrap_or_default();
            let trace = format!("trace={call}");
            let before = before.into_iter().chain([&*trace, "-e", &*inject]).map(String::from);
            Running::start(&work, &before.collect::<Vec<_>>())?.wait(&mut story)?
        }
        Fault::Short(number) => {
            let shim = shim.context("the shim is built")?;
            let more = |command: &mut Command| {
                command.env("LD_PRELOAD", shim).env("FAULTS_SHORT_AT", number.to_string());
                command.env("FAULTS_SHORT_MARK", &mark);
            };
            Running::start_with(&work, &[], more)?.wait(&mut story)?
        }
    };
    let mut findings = Vec::new();
    if status.is_none() {
        findings.push("the process hangs".into());
    }
    let ask = Ask { tenants: TENANTS, how: work.how, upkeep: true };
    findings.extend(verify(&work.dir, &mut story, ask));
    let is_felt = !status.is_some_and(|it| it.success()) || !story.errors.is_empty();
    // What writes the rest of a short write by itself does not feel it.
    let is_hit = is_felt || mark.exists();
    let named = findings.into_iter().map(|it: String| format!("{}: {it}", point.name));
    Ok((named.collect(), is_hit))
}
