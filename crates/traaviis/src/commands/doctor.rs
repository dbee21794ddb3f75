//! `traaviis doctor`: whether this machine and this directory can do the work, and what to do if
//! not.

use std::{
    collections::BTreeSet,
    fs,
    net::{TcpStream, ToSocketAddrs as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rustix::process::{Resource, getrlimit};
use serde_json::json;
use traaviis_model::{TenantCtx, TenantId};
use traaviis_store::{Codec, LocalSecrets, ReadOnlyLog, archive, blobs, keys, log::FORMAT_FILE};

use crate::{
    backups::{Schedule, State},
    connectors::ConnectorArgs,
    control::client::Client,
    control::protocol::{Ask, By, LIST_MAX, ListFilter},
    disk::{RawFile, percentile, space},
    erasure,
    exit::Exit,
    operations::DataArgs,
    output::Output,
    secrets::{kept, subjects},
    standing::{FREE_BYTES_FAIL, FREE_BYTES_WARN},
    storage::StorageMode,
    terminal::{Ink, bytes, table},
    tree,
};

/// Checks this machine and a data directory.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    connectors: ConnectorArgs,
}

/// Records that the document tree may be behind; more than a busy second.
const TREE_LAG_WARN: u64 = 1_000_000;
/// A durable write slower than this makes every step slow.
const SYNC_WARN: Duration = Duration::from_millis(20);
/// Writes that are timed.
const SYNC_ROUNDS: usize = 64;
/// Open files that a busy server needs.
const NOFILE_WARN: u64 = 1_024;
/// How long a connector may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Start of 2024; a clock before it was never set.
const CLOCK_SECS_MIN: u64 = 1_704_067_200;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// One checked thing.
#[derive(Debug)]
struct Check {
    name: &'static str,
    verdict: Verdict,
    found: String,
    next: String,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Check {
        Check { name, verdict: Verdict::Ok, found: found.into(), next: String::new() }
    }

    fn bad(
        name: &'static str,
        verdict: Verdict,
        found: impl Into<String>,
        next: impl Into<String>,
    ) -> Check {
        Check { name, verdict, found: found.into(), next: next.into() }
    }
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let dir = args.data.dir();
    let mut checks = vec![directory(dir)];
    // What does not exist yet is judged by the directory it would be made in.
    let place = existing_ancestor(dir);
    checks.push(holder(dir));
    checks.extend(memory(dir));
    checks.push(log(dir));
    checks.extend(format(dir));
    checks.extend(storage(dir));
    checks.extend(document_tree(dir));
    checks.extend(archived(dir));
    checks.extend(large_values(dir));
    checks.extend(secrets(dir));
    checks.extend(people(dir));
    checks.extend(sizes(dir));
    checks.extend(backups(dir));
    checks.push(free_space(&place));
    checks.push(sync_speed(&place));
    checks.push(wall_clock());
    checks.push(open_files());
    checks.extend(connectors(&args.connectors));
    report(&checks, output);
    let has_failed = checks.iter().any(|it| it.verdict == Verdict::Fail);
    Ok(if has_failed { Exit::Finding } else { Exit::Ok })
}

fn report(checks: &[Check], output: &Output) {
    let word = |verdict: Verdict| match verdict {
        Verdict::Ok => "ok",
        Verdict::Warn => "warn",
        Verdict::Fail => "fail",
    };
    if output.is_json() {
        let items: Vec<serde_json::Value> = checks
            .iter()
            .map(|it| {
                let verdict = word(it.verdict);
                json!({ "check": it.name, "verdict": verdict, "found": it.found, "next": it.next })
            })
            .collect();
        output.json(&json!({ "checks": items }));
        return;
    }
    let rows: Vec<Vec<String>> = checks
        .iter()
        .map(|it| vec![word(it.verdict).into(), it.name.into(), it.found.clone(), it.next.clone()])
        .collect();
    let text = table(&["", "CHECK", "FOUND", "NEXT STEP"], &rows);
    for (at, line) in text.lines().enumerate() {
        let ink = match at.checked_sub(1).and_then(|it| checks.get(it)).map(|it| it.verdict) {
            Some(Verdict::Ok) => Ink::Good,
            Some(Verdict::Warn) => Ink::Care,
            Some(Verdict::Fail) => Ink::Bad,
            None => Ink::Dim,
        };
        let (head, rest) = line.split_at(line.len().min(4));
        output.line(&format!("{}{rest}", output.style().paint(ink, head)));
    }
}

fn existing_ancestor(dir: &Path) -> PathBuf {
    let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_path_buf());
    absolute.ancestors().find(|it| it.is_dir()).unwrap_or(Path::new("/")).to_path_buf()
}

fn directory(dir: &Path) -> Check {
    let name = "directory";
    let shown = dir.display();
    match fs::metadata(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Check::ok(name, format!("`{shown}` does not exist yet; `run --data` makes it"))
        }
        Err(error) => Check::bad(
            name,
            Verdict::Fail,
            format!("`{shown}` cannot be read: {error}"),
            "give this user the right to read and write it",
        ),
        Ok(meta) if !meta.is_dir() => Check::bad(
            name,
            Verdict::Fail,
            format!("`{shown}` is no directory"),
            "name another with `--data DIR`",
        ),
        Ok(meta) => {
            let probe = dir.join(format!("doctor-{}.tmp", std::process::id()));
            if let Err(error) = fs::write(&probe, b"probe") {
                return Check::bad(
                    name,
                    Verdict::Fail,
                    format!("`{shown}` cannot be written: {error}"),
                    "give this user the right to write it, or name another with `--data DIR`",
                );
            }
            // A probe that stays behind is harmless and says what it is by its name.
            let _ = fs::remove_file(&probe);
            let mode = meta.permissions().mode() & 0o777;
            match mode & 0o007 {
                0 => Check::ok(name, format!("`{shown}` can be read and written (mode {mode:o})")),
                _ => Check::bad(
                    name,
                    Verdict::Warn,
                    format!("`{shown}` is open to every user of the machine (mode {mode:o})"),
                    format!("chmod 700 {shown}"),
                ),
            }
        }
    }
}

/// Asks for as many instances as one list may hold.
fn most() -> ListFilter {
    ListFilter { limit: LIST_MAX, ..ListFilter::default() }
}

fn holder(dir: &Path) -> Check {
    let name = "holder";
    match Client::connect(dir, &By::default()) {
        Err(failure) => Check::bad(name, Verdict::Warn, failure.message, "run as its user"),
        Ok(Some(client)) => {
            match client.ask(Ask::Ps { all: false, archived: false, filter: most() }) {
                Ok(answer) => {
                    // Those of all tenants, where the process counts them.
                    let number = |name: &str| answer["memory"][name].as_u64();
                    let all = number("active").zip(number("resting")).map(|(a, b)| a + b);
                    let listed = answer["instances"].as_array().map_or(0, Vec::len) as u64;
                    let count = all.unwrap_or(listed);
                    let more = match all {
                        None if !answer["next"].is_null() => " or more",
                        _ => "",
                    };
                    let what =
                        format!("a process holds it and answers ({count}{more} open instances)");
                    Check::ok(name, what)
                }
                Err(failure) => Check::bad(
                    name,
                    Verdict::Fail,
                    failure.message,
                    "look at that process; end it if it hangs, nothing acknowledged is lost",
                ),
            }
        }
        Ok(None) => match crate::data::lock_holder(dir) {
            Some(pid) => Check::bad(
                name,
                Verdict::Warn,
                format!("process {pid} holds it without a control socket"),
                "wait for that process to end",
            ),
            None => Check::ok(name, "no process holds it"),
        },
    }
}

fn log(dir: &Path) -> Check {
    let name = "log";
    match crate::data::inspect(dir) {
        None => Check::ok(name, "no log yet"),
        Some(Ok(found)) => Check::ok(name, found),
        Some(Err(failure)) => Check::bad(
            name,
            Verdict::Fail,
            failure.message,
            "keep a copy of the directory, then restore it whole from a backup; `traaviis ps --all` \
             lists the instances that are damaged",
        ),
    }
}

/// Tells of a log whose directory does not say in which format it is; nothing otherwise.
fn format(dir: &Path) -> Option<Check> {
    let has_log = ReadOnlyLog::open(dir).is_ok_and(|it| it.bytes().is_ok_and(|it| it > 0));
    let is_missing = has_log && !dir.join(FORMAT_FILE).exists();
    is_missing.then(|| {
        let found = "the file `FORMAT` is missing, so an earlier release would not refuse what it \
                     cannot read";
        Check::bad("format", Verdict::Fail, found, "the next start writes it again")
    })
}

/// Reads every file of the archive; nothing is said of a directory without any.
fn archived(dir: &Path) -> Option<Check> {
    let name = "archive";
    Some(match archive::check(dir) {
        Err(error) => Check::bad(name, Verdict::Fail, error.to_string(), "see there"),
        Ok(it) if it.files == 0 => return None,
        Ok(it) => match &*it.damaged {
            [] => Check::ok(name, format!("{} instances, each as it was archived", it.files)),
            [first, ..] => Check::bad(
                name,
                Verdict::Fail,
                format!("{} of {} are damaged: `{}`", it.damaged.len(), it.files, first.display()),
                "restore these files from a backup; only these instances are affected",
            ),
        },
    })
}

/// Says how the directory is kept, and how much of its log is of which kind.
fn storage(dir: &Path) -> Option<Check> {
    let name = "storage";
    let log = ReadOnlyLog::open(dir).ok()?;
    let mode = match StorageMode::resolve(dir, None) {
        Ok(mode) => mode,
        Err(failure) => return Some(Check::bad(name, Verdict::Fail, failure.message, "")),
    };
    let [packed, text] = [Codec::Packed, Codec::Text].map(|it| log.segments_in(it).ok());
    let found = format!("{}; {} packed and {} text segments", mode.as_str(), packed?, text?);
    Some(Check::ok(name, found))
}

fn document_tree(dir: &Path) -> Option<Check> {
    let name = "tree";
    let live = Client::connect(dir, &By::default()).ok().flatten();
    let status = match live {
        Some(client) => {
            client.ask(Ask::Ps { all: false, archived: false, filter: most() }).ok()?["tree"].take()
        }
        None => tree::resting(dir)?,
    };
    if let Some(why) = status["failing"].as_str() {
        let next = "see there; steps do not wait for it";
        return Some(Check::bad(name, Verdict::Warn, why, next));
    }
    let (policy, lag) = (status["policy"].as_str()?, status["lag"].as_u64()?);
    let found = format!("documents are {lag} records behind the log ({policy})");
    Some(match lag {
        TREE_LAG_WARN.. => {
            let next = "a run with `--tree lazy` catches up, `traaviis rebuild` does it now";
            Check::bad(name, Verdict::Warn, found, next)
        }
        _ => Check::ok(name, found),
    })
}

/// Reads every large value; nothing is said of a directory without any.
fn large_values(dir: &Path) -> Option<Check> {
    let name = "values";
    Some(match blobs::check(dir) {
        Err(error) => Check::bad(name, Verdict::Warn, error.to_string(), "see there"),
        Ok(it) if it.files == 0 => return None,
        Ok(it) => match &*it.damaged {
            [] => {
                let all = bytes(it.bytes);
                Check::ok(name, format!("{} large ones, {all}, each as it was written", it.files))
            }
            [first, ..] => Check::bad(
                name,
                Verdict::Fail,
                format!("{} of {} are damaged: `{}`", it.damaged.len(), it.files, first.display()),
                "restore these files from a backup; only what refers to them is affected",
            ),
        },
    })
}

/// Tells how much memory the states of a running process take.
fn memory(dir: &Path) -> Option<Check> {
    let name = "memory";
    let client = Client::connect(dir, &By::default()).ok().flatten()?;
    let ask = Ask::Ps { all: false, archived: false, filter: most() };
    let status = client.ask(ask).ok()?["memory"].take();
    let number = |name: &str| status[name].as_u64();
    let (used, refused) = (number("bytes")?, number("refused")?);
    let found = format!(
        "{} of states, {} in memory and {} at rest",
        bytes(used),
        number("active")?,
        number("resting")?
    );
    Some(match refused {
        0 => Check::ok(name, found),
        _ => {
            let found = format!("{found}; {refused} starts refused for want of it");
            let next = "see memory_pressure; look at `fdatasync` and `space`";
            Check::bad(name, Verdict::Warn, found, next)
        }
    })
}

fn sizes(dir: &Path) -> Option<Check> {
    let name = "sizes";
    Some(match crate::data::sizes(dir)? {
        Ok(it) => Check::ok(
            name,
            format!(
                "log {}, of which compaction can free {}; {} instances due for the archive; archive \
                 {} in {} files",
                bytes(it.log),
                bytes(it.free),
                it.due,
                bytes(it.archive),
                it.archived
            ),
        ),
        Err(failure) => Check::bad(name, Verdict::Warn, failure.message, "see the line `log`"),
    })
}

/// Tells of backups that are made by themselves; nothing when there are to be none.
fn backups(dir: &Path) -> Option<Check> {
    let name = "backups";
    let schedule = match Schedule::read(dir) {
        Ok(schedule) => schedule?,
        Err(failure) => {
            let next = "say again when they are made: `traaviis backup schedule`";
            return Some(Check::bad(name, Verdict::Fail, failure.message, next));
        }
    };
    let state = State::read(dir);
    let found = state.to_string();
    Some(match schedule.is_overdue(&state, crate::clock::now()) {
        _ if state.failing.is_some() => {
            Check::bad(name, Verdict::Warn, found, "see there; it is tried again by itself")
        }
        true => {
            let next =
                "they are made while `traaviis run --data` runs; `traaviis backup` makes one";
            Check::bad(name, Verdict::Warn, format!("{found}; overdue"), next)
        }
        false => Check::ok(name, found),
    })
}

fn free_space(place: &Path) -> Check {
    let name = "space";
    let (free, whole) = match space(place) {
        Ok(found) => found,
        Err(error) => {
            let found = format!("cannot be found out: {error}");
            return Check::bad(name, Verdict::Warn, found, "look with `df`");
        }
    };
    let gib = |bytes: u64| bytes as f64 / (1u64 << 30) as f64;
    let found = format!("{:.1} GiB free of {:.1} GiB", gib(free), gib(whole));
    let next = "free space, or put the data on a larger disk";
    match free {
        _ if free < FREE_BYTES_FAIL => Check::bad(name, Verdict::Fail, found, next),
        _ if free < FREE_BYTES_WARN => Check::bad(name, Verdict::Warn, found, next),
        _ => Check::ok(name, found),
    }
}

fn sync_speed(place: &Path) -> Check {
    let name = "fdatasync";
    let measure = || -> std::io::Result<Vec<Duration>> {
        let mut file = RawFile::create(place, 1 << 20)?;
        let block = [7u8; 4096];
        let mut times = (0..SYNC_ROUNDS)
            .map(|_| file.write_durably(&block))
            .collect::<std::io::Result<Vec<_>>>()?;
        times.sort();
        Ok(times)
    };
    let times = match measure() {
        Ok(times) => times,
        Err(error) => {
            let found = format!("cannot be measured in `{}`: {error}", place.display());
            return Check::bad(name, Verdict::Fail, found, "see the line `directory`");
        }
    };
    let p50 = percentile(&times, 0.5);
    let millis = |it: Duration| it.as_secs_f64() * 1e3;
    let p99 = millis(percentile(&times, 0.99));
    let found = format!("4 KiB durable in {:.3} ms (p50), {p99:.3} ms (p99)", millis(p50));
    if p50 > SYNC_WARN {
        let next = "every step waits for this; use a faster disk or a quieter machine";
        return Check::bad(name, Verdict::Warn, found, next);
    }
    Check::ok(name, found)
}

/// Opens every secret; nothing is said of a directory without any.
fn secrets(dir: &Path) -> Vec<Check> {
    let name = "secrets";
    let bad = |error: &keys::Error, whose: &str| {
        let next = match error {
            keys::Error::RootMissing(_) => "bring back the root key that wrapped the keys",
            keys::Error::RootInvalid { .. } => "mend the root key",
            _ => "restore the file from a backup, or set the secret again",
        };
        Check::bad(name, Verdict::Fail, format!("{whose}{error}"), next)
    };
    let secrets = kept(dir);
    if let Err(error) = secrets.keys().check() {
        return vec![bad(&error, "")];
    }
    let (mut count, mut checks) = (0, Vec::new());
    for ctx in tenants(&secrets) {
        match secrets.list(&ctx).and_then(|all| Ok((all.len(), secrets.check(&ctx)?))) {
            Err(error) => checks.push(bad(&error, "")),
            Ok((all, closed)) => {
                count += all;
                checks.extend(closed.iter().map(|(name, it)| bad(it, &format!("`{name}`: "))));
            }
        }
    }
    match count {
        0 => checks,
        _ if checks.is_empty() => {
            vec![Check::ok(name, format!("{count}, each opens with its key"))]
        }
        _ => checks,
    }
}

/// Returns every tenant that has keys, and the only one of a directory without accounts.
fn tenants(secrets: &LocalSecrets) -> Vec<TenantCtx> {
    let local = TenantCtx::local_operator();
    let mut known: BTreeSet<TenantId> =
        secrets.keys().list().unwrap_or_default().iter().map(|it| it.tenant).collect();
    known.remove(&local.tenant());
    known.into_iter().map(TenantCtx::operator_of).chain([local]).collect()
}

/// Looks at the keys of the people of a directory; nothing is said of one without any.
fn people(dir: &Path) -> Vec<Check> {
    let name = "people";
    let bad = |found: String, next: &str| vec![Check::bad(name, Verdict::Fail, found, next)];
    let (mut count, mut destroyed, mut unfinished) = (0, 0, Some(0));
    let log = ReadOnlyLog::open(dir);
    for ctx in tenants(&kept(dir)) {
        let keys = match subjects(dir).inspect(ctx.tenant()) {
            Ok(keys) => keys,
            Err(error) => return bad(error.to_string(), "give this user the right to read it"),
        };
        if let Some(first) = keys.wrong.first() {
            let next = match first {
                keys::Error::RootMissing(_) => "bring back the root key that wrapped the keys",
                keys::Error::RootInvalid { .. } => "mend the root key",
                _ => "restore the file from a backup, and erase again who was erased since",
            };
            return bad(format!("{} keys cannot be read: {first}", keys.wrong.len()), next);
        }
        count += keys.keys;
        destroyed += keys.destroyed.len();
        if !keys.destroyed.is_empty() {
            let left = log.as_ref().ok().and_then(|log| {
                erasure::unfinished(log, &ctx, &keys.destroyed).ok().map(|it| it.len())
            });
            unfinished = unfinished.zip(left).map(|(all, more)| all + more);
        }
    }
    if count == 0 && destroyed == 0 {
        return Vec::new();
    }
    let found = format!("{count} keys, each can be read; {destroyed} destroyed");
    vec![match unfinished {
        None => Check::bad(name, Verdict::Warn, found, "see the line `log`"),
        Some(0) => Check::ok(name, found),
        Some(left) => Check::bad(
            name,
            Verdict::Warn,
            format!("{found}; of {left} of them the log does not say so"),
            format!("traaviis privacy erase --unfinished --data {}", dir.display()),
        ),
    }]
}

fn wall_clock() -> Check {
    let name = "clock";
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = crate::clock::now();
    if since.as_secs() < CLOCK_SECS_MIN {
        let next = "set the clock; timers and ids rely on it";
        return Check::bad(name, Verdict::Fail, format!("says {now}"), next);
    }
    // Two clocks that disagree over a short time mean that somebody sets one of them.
    let (wall, steady) = (SystemTime::now(), Instant::now());
    std::thread::sleep(Duration::from_millis(50));
    let drift = wall.elapsed().unwrap_or_default().abs_diff(steady.elapsed());
    if drift > Duration::from_millis(10) {
        let found = format!("jumped by {} ms within 50 ms", drift.as_millis());
        return Check::bad(name, Verdict::Warn, found, "let one time service set it smoothly");
    }
    Check::ok(name, format!("says {now}"))
}

fn open_files() -> Check {
    let name = "limits";
    match getrlimit(Resource::Nofile).current {
        Some(count) if count < NOFILE_WARN => Check::bad(
            name,
            Verdict::Warn,
            format!("{count} open files"),
            format!("ulimit -n {NOFILE_WARN}, or more"),
        ),
        Some(count) => Check::ok(name, format!("{count} open files")),
        None => Check::ok(name, "open files without limit"),
    }
}

fn connectors(args: &ConnectorArgs) -> Vec<Check> {
    let name = "connector";
    let targets = match args.targets() {
        Ok(targets) => targets,
        Err(failure) => {
            return vec![Check::bad(name, Verdict::Fail, failure.message, "mend the file")];
        }
    };
    targets
        .into_iter()
        .map(|(host, port)| match reach(&host, port) {
            Ok(took) => {
                let millis = took.as_secs_f64() * 1e3;
                Check::ok(name, format!("{host}:{port} accepts connections ({millis:.1} ms)"))
            }
            Err(error) => Check::bad(
                name,
                Verdict::Fail,
                format!("{host}:{port} is not reachable: {error}"),
                "start the service, or correct its address in the connector file",
            ),
        })
        .collect()
}

fn reach(host: &str, port: u16) -> std::io::Result<Duration> {
    let begun = Instant::now();
    let mut last = std::io::Error::other("the name has no address");
    for address in (host.trim_matches(['[', ']']), port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(_) => return Ok(begun.elapsed()),
            Err(error) => last = error,
        }
    }
    Err(last)
}
