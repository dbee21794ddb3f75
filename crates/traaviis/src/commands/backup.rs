//! `traaviis backup`: a copy of a data directory that is in use; lists and checks such copies.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use traaviis_model::Timestamp;
use traaviis_ports::{LogStore, Position};
use traaviis_runtime::recovery::Recovery;
use traaviis_store::{
    ReadOnlyLog,
    backup::{self, Keep, Manifest, Until},
};

use crate::{
    clock,
    data::{needs_log, open_log, sealed},
    exit::{Exit, Failure},
    operations::DataArgs,
    output::{self, Output},
    terminal::table,
};

/// Copies a data directory into a folder of backups, while a process uses it.
///
/// A backup reaches one position of the log. Later backups into the same folder write only what is
/// new. `traaviis restore` makes a directory from one; `backup verify` shows that it would.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Folder of backups; made when it does not exist.
    #[arg(required = true)]
    target: Option<PathBuf>,
    #[command(flatten)]
    data: DataArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Lists the backups in a folder.
    List {
        /// Folder of backups.
        target: PathBuf,
    },
    /// Checks every byte of a backup, restores it to a scratch directory and reads it there.
    Verify(VerifyArgs),
    /// Removes backups, and what none of the others needs.
    ///
    /// Keeps the last backup of each of the last days, weeks and months that have one, in UTC, and
    /// the newest in any case.
    Prune(PruneArgs),
}

#[derive(Debug, clap::Args)]
struct PruneArgs {
    /// Folder of backups.
    target: PathBuf,
    /// Days of which the last backup is kept.
    #[arg(long, value_name = "COUNT", default_value = "7")]
    daily: usize,
    /// Weeks of which the last backup is kept.
    #[arg(long, value_name = "COUNT", default_value = "4")]
    weekly: usize,
    /// Months of which the last backup is kept.
    #[arg(long, value_name = "COUNT", default_value = "12")]
    monthly: usize,
    /// Remove nothing; say what would go.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, clap::Args)]
struct VerifyArgs {
    /// Folder of backups.
    target: PathBuf,
    #[command(flatten)]
    which: Which,
    /// Compare the histories with this data directory, up to where the backup reaches.
    #[arg(long, value_name = "DIR")]
    against: Option<PathBuf>,
    /// Where the scratch directory is made.
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
}

/// Which of the backups in a folder is meant.
#[derive(Clone, Debug, clap::Args)]
pub struct Which {
    /// The backup that reaches this position; the newest without it.
    #[arg(long, value_name = "POSITION")]
    backup: Option<Position>,
}

impl Which {
    /// Finds the backup, and its manifest.
    pub fn find(&self, target: &Path) -> Result<(PathBuf, Manifest), Failure> {
        let absent = |which: String| {
            Failure::from(backup::Error::Absent { target: target.display().to_string(), which })
        };
        let mut paths = backup::list(target)?;
        match self.backup {
            None => {
                let path = paths.pop().ok_or_else(|| absent(String::new()))?;
                let manifest = backup::read(&path)?;
                Ok((path, manifest))
            }
            Some(position) => {
                for path in paths.into_iter().rev() {
                    let manifest = backup::read(&path)?;
                    if manifest.position == position {
                        return Ok((path, manifest));
                    }
                }
                Err(absent(format!(" that reaches position {position}")))
            }
        }
    }
}

impl From<backup::Error> for Failure {
    fn from(error: backup::Error) -> Failure {
        let exit = match &error {
            backup::Error::Log(log) => return Failure::from(log.clone()),
            backup::Error::Absent { .. } => Exit::Unreachable,
            backup::Error::NotEmpty(_) | backup::Error::OutOfRange(_) => Exit::Usage,
            _ => Exit::Finding,
        };
        Failure::new(exit, error.code(), error.to_string())
    }
}

/// Tells how far copying is, once a second.
pub struct Told {
    what: &'static str,
    last: Instant,
}

impl Told {
    /// Time between two lines of progress.
    const EVERY: Duration = Duration::from_secs(1);

    /// Begins to tell.
    pub fn new(what: &'static str) -> Told {
        Told { what, last: Instant::now() }
    }

    /// Takes how much is done.
    pub fn tell(&mut self, done: u64, all: u64) {
        if self.last.elapsed() >= Told::EVERY {
            self.last = Instant::now();
            let percent = done.min(all) * 100 / all.max(1);
            output::warn(format_args!(
                "{}: {} of {} ({percent} %)",
                self.what,
                size(done),
                size(all)
            ));
        }
    }
}

/// Writes a number of bytes as people read it.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    match (&args.command, &args.target) {
        (Some(Command::List { target }), _) => list(target, output),
        (Some(Command::Verify(args)), _) => verify(args, output),
        (Some(Command::Prune(args)), _) => prune(args, output),
        (None, Some(target)) => take(args.data.dir(), target, output),
        (None, None) => Err(Failure::usage("name a folder of backups").into()),
    }
}

fn take(data: &Path, target: &Path, output: &Output) -> anyhow::Result<Exit> {
    needs_log(data)?;
    let (begun, mut told) = (Instant::now(), Told::new("backup"));
    let taken = backup::take(data, target, clock::now(), &mut |done, all| told.tell(done, all))
        .map_err(Failure::from)?;
    let manifest = &taken.manifest;
    let seconds = (begun.elapsed().as_secs_f64() * 1_000.0).round() / 1_000.0;
    for damage in &manifest.damage {
        output::warn(format_args!("warning: the log was damaged already: {damage}"));
    }
    if output.is_json() {
        output.json(&json!({
            "manifest": taken.path,
            "position": manifest.position,
            "bytes": manifest.bytes(),
            "bytes_new": taken.bytes_new,
            "seconds": seconds,
            "damage": manifest.damage,
        }));
    } else {
        output.line(&format!(
            "`{}` up to position {}: {}, {} of it new, in {seconds} s",
            data.display(),
            manifest.position,
            size(manifest.bytes()),
            size(taken.bytes_new),
        ));
    }
    Ok(if manifest.damage.is_empty() { Exit::Ok } else { Exit::Finding })
}

fn list(target: &Path, output: &Output) -> anyhow::Result<Exit> {
    let mut rows = Vec::new();
    let mut items = Vec::new();
    let mut exit = Exit::Ok;
    for path in backup::list(target).map_err(Failure::from)? {
        match backup::read(&path) {
            Ok(it) => {
                rows.push(vec![
                    it.created_at.to_string(),
                    it.position.to_string(),
                    size(it.bytes()),
                    it.segments.len().to_string(),
                    it.files.len().to_string(),
                ]);
                items.push(json!({
                    "created_at": it.created_at,
                    "position": it.position,
                    "bytes": it.bytes(),
                    "manifest": path,
                    "root_keys": it.root_keys,
                }));
            }
            Err(error) => {
                exit = Exit::Finding;
                output::warn(format_args!("warning: {error} ({})", error.code()));
            }
        }
    }
    if output.is_json() {
        output.json(&json!({ "backups": items }));
    } else if rows.is_empty() {
        output.line(&format!("no backups in `{}`", target.display()));
    } else {
        output.text(&table(&["MADE", "POSITION", "SIZE", "SEGMENTS", "FILES"], &rows));
    }
    Ok(exit)
}

fn prune(args: &PruneArgs, output: &Output) -> anyhow::Result<Exit> {
    let keep = Keep { daily: args.daily, weekly: args.weekly, monthly: args.monthly };
    let pruned = backup::prune(&args.target, keep, args.dry_run).map_err(Failure::from)?;
    if output.is_json() {
        output.json(&json!({
            "dry_run": args.dry_run,
            "kept": pruned.kept,
            "removed": pruned.removed,
            "objects": pruned.objects,
            "bytes": pruned.bytes,
        }));
        return Ok(Exit::Ok);
    }
    let word = if args.dry_run { "would go" } else { "removed" };
    for path in &pruned.removed {
        output.line(&format!("{word}  {}", path.display()));
    }
    output.line(&format!(
        "{} backups {}, {} kept; {} {}",
        pruned.removed.len(),
        word,
        pruned.kept.len(),
        size(pruned.bytes),
        if args.dry_run { "would be freed" } else { "freed" },
    ));
    Ok(Exit::Ok)
}

/// What reading a restored directory came to.
struct Read {
    instances: usize,
    faults: usize,
    histories: backup::Histories,
}

fn verify(args: &VerifyArgs, output: &Output) -> anyhow::Result<Exit> {
    let (path, manifest) = args.which.find(&args.target)?;
    let mut told = Told::new("read");
    let mut problems =
        backup::check(&args.target, &manifest, &mut |done, all| told.tell(done, all))
            .map_err(Failure::from)?;
    let mut read = None;
    if problems.is_empty() {
        let scratch = Scratch::new(args.scratch.as_deref())?;
        let mut told = Told::new("restored");
        backup::restore(&args.target, &manifest, Until::End, &scratch.0, &mut |done, all| {
            told.tell(done, all);
        })
        .map_err(Failure::from)?;
        let found = read_restored(&scratch.0, &mut problems)?;
        if let Some(live) = &args.against {
            problems.extend(compare(live, manifest.position, &found.histories)?);
        }
        read = Some(found);
    }
    let created: Timestamp = manifest.created_at;
    if output.is_json() {
        output.json(&json!({
            "manifest": path,
            "created_at": created,
            "position": manifest.position,
            "problems": problems,
            "instances": read.as_ref().map(|it| it.instances),
            "damaged": read.as_ref().map(|it| it.faults),
            "records": read.as_ref().map(|it| it.histories.records),
            "hash": read.as_ref().map(|it| it.histories.hash()),
        }));
    } else {
        for problem in &problems {
            output.line(&format!("bad  {problem}"));
        }
        if let Some(read) = &read {
            output.line(&format!(
                "the backup of {created} up to position {} restores: {} records, {} open instances",
                manifest.position, read.histories.records, read.instances
            ));
            output.line(&format!("histories {}", read.histories.hash()));
        }
    }
    Ok(if problems.is_empty() { Exit::Ok } else { Exit::Finding })
}

/// Reads a restored directory as a start would, without carrying anything on.
fn read_restored(dir: &Path, problems: &mut Vec<String>) -> Result<Read, Failure> {
    let (log, found) = open_log(dir)?;
    let opened = sealed(dir, Arc::clone(&log));
    problems.extend(found.damage.iter().map(|it| format!("damaged: {it}")));
    let recovery = Recovery::read(&*opened, 0, &found.damaged_streams, &[])
        .map_err(|error| Failure::finding(error.code(), error.to_string()))?;
    let (_, report) = recovery.divide(1, &|_| 0);
    problems.extend(report.faults.iter().map(|it| format!("instance: {it:?}")));
    let histories = backup::histories(&*log, log.tail())?;
    log.close();
    Ok(Read { instances: report.instances, faults: report.faults.len(), histories })
}

/// Returns the histories of a directory that are others in a backup. What the directory has no
/// more is no finding: it may be archived since.
fn compare(live: &Path, to: Position, backup: &backup::Histories) -> Result<Vec<String>, Failure> {
    needs_log(live)?;
    let log = ReadOnlyLog::open(live)?;
    let found = backup::histories(&log, to)?;
    let shown = live.display();
    let differing = found.differing(backup).into_iter();
    let differing = differing.map(|(_, id)| format!("history `{id}` is another one in `{shown}`"));
    let missing = backup.missing(&found).into_iter();
    let missing =
        missing.map(|(_, id)| format!("history `{id}` of `{shown}` is not in the backup"));
    Ok(differing.chain(missing).collect())
}

/// A directory that is gone again in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(inside: Option<&Path>) -> Result<Scratch, Failure> {
        let dir = inside.map_or_else(std::env::temp_dir, Path::to_path_buf);
        let path = dir.join(format!("traaviis-verify-{}", std::process::id()));
        if path.exists() {
            let message = format!("`{}` exists; remove it", path.display());
            return Err(Failure::new(Exit::Denied, "file_exists", message));
        }
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind is named after this command and harmless.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
