//! `traaviis backup`: a copy of a data directory that is in use; lists and checks such copies.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use traaviis_model::Timestamp;
use traaviis_ports::{BackupTarget, LogStore, Position, TargetError};
use traaviis_runtime::recovery::Recovery;
use traaviis_store::{
    ReadOnlyLog,
    backup::{self, Extent, Identities, Keep, Manifest, Options, Recipients, Until},
};

use crate::{
    backups::{Schedule, State, TimeOfDay, target},
    clock,
    data::{needs_log, open_log, sealed},
    exit::{Exit, Failure},
    operations::DataArgs,
    output::{self, Output},
    terminal::table,
};

/// Copies a data directory into a folder or bucket of backups, while a process uses it.
///
/// A backup reaches one position of the log. Later backups into the same folder write only what is
/// new. `traaviis restore` makes a directory from one; `backup verify` shows that it would.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Folder of backups, made when it does not exist; or `s3://BUCKET/PREFIX`.
    #[arg(required = true)]
    target: Option<PathBuf>,
    /// Encrypt what is written for this recipient of age, such as `age1...`; may be repeated.
    #[arg(long, value_name = "RECIPIENT")]
    recipient: Vec<String>,
    /// Read everything again, instead of passing over what has the time and length it had before.
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    data: DataArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Lists the backups in a folder.
    List {
        /// Folder of backups, or `s3://BUCKET/PREFIX`.
        target: PathBuf,
    },
    /// Checks every byte of a backup, restores it to a scratch directory and reads it there.
    Verify(VerifyArgs),
    /// Removes backups, and what none of the others needs.
    ///
    /// Keeps the last backup of each of the last days, weeks and months that have one, in UTC, and
    /// the newest in any case.
    Prune(PruneArgs),
    /// Says when a process that runs in a data directory backs it up.
    ///
    /// Without a target it shows what was said, and how the last backup went. After each daily
    /// backup, old ones are removed as `backup prune` does without options.
    Schedule(ScheduleArgs),
}

#[derive(Debug, clap::Args)]
struct ScheduleArgs {
    /// Folder of backups, or `s3://BUCKET/PREFIX`.
    #[arg(conflicts_with = "off")]
    target: Option<PathBuf>,
    /// Back up once a day at this time, UTC, and read everything for it.
    #[arg(long, value_name = "HH:MM", requires = "target")]
    daily: Option<TimeOfDay>,
    /// Back up at the beginning of every hour what is new.
    #[arg(long, requires = "target")]
    hourly: bool,
    /// Encrypt what is written for this recipient of age; may be repeated.
    #[arg(long, value_name = "RECIPIENT", requires = "target")]
    recipient: Vec<String>,
    /// Make no more backups by themselves.
    #[arg(long)]
    off: bool,
    #[command(flatten)]
    data: DataArgs,
}

#[derive(Debug, clap::Args)]
struct PruneArgs {
    /// Folder of backups, or `s3://BUCKET/PREFIX`.
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
    /// Folder of backups, or `s3://BUCKET/PREFIX`.
    target: PathBuf,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    identities: IdentityArgs,
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
    /// Finds the name of the backup, and its manifest.
    pub fn find(&self, target: &dyn BackupTarget) -> Result<(String, Manifest), Failure> {
        let absent =
            |which: String| Failure::from(backup::Error::Absent { target: target.show(""), which });
        let names = backup::list(target)?;
        let mut wanted = names.iter().rev().filter(|name| match self.backup {
            None => true,
            Some(position) => backup::position_of(name) == Some(position),
        });
        let Some(name) = wanted.next() else {
            let which = self.backup.map(|it| format!(" that reaches position {it}"));
            return Err(absent(which.unwrap_or_default()));
        };
        match backup::read(target, name) {
            Ok(manifest) => Ok((name.clone(), manifest)),
            Err(error) => {
                // Several may reach one position; without one the newest is meant, and nobody goes
                // back in time without having said so.
                let same = wanted.take_while(|_| self.backup.is_some());
                for name in same {
                    if let Ok(manifest) = backup::read(target, name) {
                        return Ok((name.clone(), manifest));
                    }
                }
                Err(unreadable(target, &names, error))
            }
        }
    }
}

/// Backups that a refusal names, the newest first: enough to choose one.
const NAMED_MAX: usize = 5;

/// Says which backups can be read when the one that is meant cannot.
fn unreadable(target: &dyn BackupTarget, names: &[String], error: backup::Error) -> Failure {
    let whole = names.iter().rev().filter_map(|it| backup::read(target, it).ok());
    let whole: Vec<Manifest> = whole.take(NAMED_MAX).collect();
    let failure = Failure::from(error);
    let Some(newest) = whole.first() else {
        return failure;
    };
    let shown: Vec<String> =
        whole.iter().map(|it| format!("{} (made {})", it.position, it.created_at)).collect();
    failure.with_hint(&format!(
        "`--backup {}` takes the newest that can be read; those that can reach positions {}",
        newest.position,
        shown.join(", ")
    ))
}

/// With what encrypted backups are opened.
#[derive(Clone, Debug, clap::Args)]
pub struct IdentityArgs {
    /// File with the identity that opens an encrypted backup; may be repeated.
    #[arg(long, value_name = "FILE")]
    identity: Vec<PathBuf>,
}

impl IdentityArgs {
    /// Reads the files.
    pub fn read(&self) -> Result<Identities, Failure> {
        Identities::read(&self.identity).map_err(Failure::usage)
    }
}

impl From<backup::Error> for Failure {
    fn from(error: backup::Error) -> Failure {
        let exit = match &error {
            backup::Error::Log(log) => return Failure::from(log.clone()),
            backup::Error::Absent { .. } => Exit::Unreachable,
            backup::Error::Target(TargetError::Failed { .. }) => Exit::Unreachable,
            backup::Error::Target(TargetError::Unusable(_)) => Exit::Usage,
            backup::Error::Encrypted(_) => Exit::Denied,
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
        (Some(Command::Schedule(args)), _) => schedule(args, output),
        (None, Some(target)) => take(args, target, output),
        (None, None) => Err(Failure::usage("name a folder of backups").into()),
    }
}

fn take(args: &Args, place: &Path, output: &Output) -> anyhow::Result<Exit> {
    let data = args.data.dir();
    let recipients = Recipients::read(&args.recipient).map_err(Failure::usage)?;
    let extent = if args.full { Extent::Full } else { Extent::New };
    let options = Options { recipients, extent };
    needs_log(data)?;
    let target = target(place)?;
    let (begun, mut told) = (Instant::now(), Told::new("backup"));
    let taken = backup::take(data, &*target, &options, clock::now(), &mut |done, all| {
        told.tell(done, all);
    })
    .map_err(Failure::from)?;
    let manifest = &taken.manifest;
    let seconds = (begun.elapsed().as_secs_f64() * 1_000.0).round() / 1_000.0;
    for damage in &manifest.damage {
        output::warn(format_args!("warning: the log was damaged already: {damage}"));
    }
    if output.is_json() {
        output.json(&json!({
            "manifest": target.show(&taken.name),
            "position": manifest.position,
            "bytes": manifest.bytes(),
            "bytes_new": taken.bytes_new,
            "seconds": seconds,
            "damage": manifest.damage,
            "recipients": manifest.recipients,
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

fn list(place: &Path, output: &Output) -> anyhow::Result<Exit> {
    let target = target(place)?;
    let mut rows = Vec::new();
    let mut items = Vec::new();
    let mut exit = Exit::Ok;
    for name in backup::list(&*target).map_err(Failure::from)? {
        match backup::read(&*target, &name) {
            Ok(it) => {
                rows.push(vec![
                    it.created_at.to_string(),
                    it.position.to_string(),
                    size(it.bytes()),
                    it.segments.len().to_string(),
                    it.files.len().to_string(),
                    if it.is_encrypted() { "yes" } else { "no" }.into(),
                ]);
                items.push(json!({
                    "created_at": it.created_at,
                    "position": it.position,
                    "bytes": it.bytes(),
                    "manifest": target.show(&name),
                    "recipients": it.recipients,
                    "root_keys": it.root_keys,
                }));
            }
            Err(error) => {
                exit = Exit::Finding;
                let position = backup::position_of(&name);
                let mut row = vec![String::new(); 6];
                row[1] = position.map(|it| it.to_string()).unwrap_or_default();
                row[2] = match &error {
                    backup::Error::Damaged(_) => "damaged".into(),
                    error => error.code().into(),
                };
                rows.push(row);
                items.push(json!({
                    "position": position,
                    "manifest": target.show(&name),
                    "error": { "code": error.code(), "message": error.to_string() },
                }));
                output::warn(format_args!("warning: {error} ({})", error.code()));
            }
        }
    }
    if output.is_json() {
        output.json(&json!({ "backups": items }));
    } else if rows.is_empty() {
        output.line(&format!("no backups in `{}`", target.show("")));
    } else {
        output.text(&table(&["MADE", "POSITION", "SIZE", "SEGMENTS", "FILES", "ENCRYPTED"], &rows));
    }
    Ok(exit)
}

fn prune(args: &PruneArgs, output: &Output) -> anyhow::Result<Exit> {
    let keep = Keep { daily: args.daily, weekly: args.weekly, monthly: args.monthly };
    let target = target(&args.target)?;
    let pruned = backup::prune(&*target, keep, args.dry_run).map_err(Failure::from)?;
    let shown =
        |names: &[String]| -> Vec<String> { names.iter().map(|name| target.show(name)).collect() };
    let (kept, removed) = (shown(&pruned.kept), shown(&pruned.removed));
    if output.is_json() {
        output.json(&json!({
            "dry_run": args.dry_run,
            "kept": kept,
            "removed": removed,
            "objects": pruned.objects,
            "bytes": pruned.bytes,
        }));
        return Ok(Exit::Ok);
    }
    let word = if args.dry_run { "would go" } else { "removed" };
    for place in &removed {
        output.line(&format!("{word}  {place}"));
    }
    output.line(&format!(
        "{} backups {}, {} kept; {} {}",
        removed.len(),
        word,
        kept.len(),
        size(pruned.bytes),
        if args.dry_run { "would be freed" } else { "freed" },
    ));
    Ok(Exit::Ok)
}

fn schedule(args: &ScheduleArgs, output: &Output) -> anyhow::Result<Exit> {
    let data = args.data.dir();
    needs_log(data)?;
    match &args.target {
        Some(_) if args.daily.is_none() && !args.hourly => {
            return Err(Failure::usage("say when: `--daily HH:MM`, `--hourly`, or both").into());
        }
        Some(target) => {
            let (daily, hourly) = (args.daily, args.hourly);
            Schedule::new(target, daily, hourly, &args.recipient)?.write(data)?;
        }
        None if args.off => Schedule::remove(data)?,
        None => {}
    }
    let schedule = Schedule::read(data)?;
    let state = State::read(data);
    if output.is_json() {
        output.json(&json!({ "schedule": schedule, "state": state }));
        return Ok(Exit::Ok);
    }
    let Some(schedule) = schedule else {
        output.line("no backups are made by themselves");
        return Ok(Exit::Ok);
    };
    output.line(&schedule.to_string());
    output.line(&state.to_string());
    Ok(Exit::Ok)
}

/// What reading a restored directory came to.
struct Read {
    instances: usize,
    faults: usize,
    histories: backup::Histories,
}

fn verify(args: &VerifyArgs, output: &Output) -> anyhow::Result<Exit> {
    let identities = args.identities.read()?;
    let target = target(&args.target)?;
    let (name, manifest) = args.which.find(&*target)?;
    let mut told = Told::new("read");
    let mut problems = backup::check(&*target, &manifest, &mut |done, all| told.tell(done, all))
        .map_err(Failure::from)?;
    let is_closed = manifest.is_encrypted() && identities.is_empty();
    let mut read = None;
    if problems.is_empty() && !is_closed {
        let scratch = Scratch::new(args.scratch.as_deref())?;
        let mut told = Told::new("restored");
        let progress: backup::Progress<'_> = &mut |done, all| told.tell(done, all);
        let dir = &scratch.0;
        backup::restore(&*target, &manifest, &identities, Until::End, dir, progress)
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
            "manifest": target.show(&name),
            "created_at": created,
            "restored": read.is_some(),
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
        if problems.is_empty() && is_closed {
            output.line(&format!(
                "the backup of {created} up to position {} is encrypted, and every byte is as it was \
                 written; whether it restores can be seen with `--identity FILE`",
                manifest.position
            ));
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
