//! Where backups are kept, and backups that a running process makes by itself.
//!
//! ```text
//! DATA/backups/schedule.json   when, and into what: written by `traaviis backup schedule`
//! DATA/backups/state.json      how the last ones went: written by the process that makes them
//! ```
//!
//! Neither is part of a backup: a restored copy would otherwise back up over its original.
//!
//! Times are UTC. What was missed while no process ran is made up once, not once for each time.
//! A backup that the end of the process breaks off leaves bytes that the next one uses.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use traaviis_connect::{S3_SCHEME, S3Target};
use traaviis_model::Timestamp;
use traaviis_ports::{BackupTarget, Position};
use traaviis_store::backup::{
    self, Extent, Folder, Keep, Manifest, Options, Recipients, SCHEDULE_DIR,
};

use crate::{
    clock,
    exit::{Exit, Failure},
};

const HOUR_MICROS: i64 = 3_600_000_000;
const DAY_MICROS: i64 = 24 * HOUR_MICROS;

/// Time before the first look, so that a run of a second begins nothing.
const FIRST_LOOK: Duration = Duration::from_secs(2);
/// Time between two looks whether a backup is due; a look reads two small files.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Time after which a backup that failed is tried again: soon enough for a server that restarts,
/// rare enough for one that is gone.
const RETRY_MICROS: i64 = 5 * 60 * 1_000_000;
/// What is kept after a daily backup.
const KEEP: Keep = Keep { daily: 7, weekly: 4, monthly: 12 };

/// Finds where backups are kept: in a folder, or in a bucket.
pub fn target(place: &Path) -> Result<Box<dyn BackupTarget>, Failure> {
    match address(place) {
        Some(address) => {
            let target = S3Target::from_environment(address).map_err(backup::Error::from)?;
            Ok(Box::new(target))
        }
        None => Ok(Box::new(Folder::new(place))),
    }
}

fn address(place: &Path) -> Option<&str> {
    place.to_str().filter(|it| it.starts_with(S3_SCHEME))
}

/// A time of the day, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeOfDay {
    minutes: u16,
}

impl FromStr for TimeOfDay {
    type Err = String;

    fn from_str(text: &str) -> Result<TimeOfDay, String> {
        let two = |it: &str| {
            let is_two = it.len() == 2 && it.bytes().all(|it| it.is_ascii_digit());
            is_two.then(|| it.parse::<u16>().ok()).flatten()
        };
        let read = text.split_once(':').and_then(|(hour, minute)| Some((two(hour)?, two(minute)?)));
        match read {
            Some((hour, minute)) if hour < 24 && minute < 60 => {
                Ok(TimeOfDay { minutes: hour * 60 + minute })
            }
            _ => Err("write a time of the day, such as 02:30".into()),
        }
    }
}

impl TryFrom<String> for TimeOfDay {
    type Error = String;

    fn try_from(text: String) -> Result<TimeOfDay, String> {
        text.parse()
    }
}

impl From<TimeOfDay> for String {
    fn from(time: TimeOfDay) -> String {
        time.to_string()
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.minutes / 60, self.minutes % 60)
    }
}

/// When a directory is backed up, and into what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Folder, or address of a bucket.
    pub target: PathBuf,
    /// Time of a backup that reads everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daily: Option<TimeOfDay>,
    /// Whether one of what is new is made each hour.
    #[serde(default)]
    pub hourly: bool,
    /// For whom they are encrypted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
}

/// How the last backups went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// When the last one was made.
    pub made_at: Option<Timestamp>,
    /// When the last one was made that read everything.
    pub full_at: Option<Timestamp>,
    /// Position that the last one reaches.
    pub position: Option<Position>,
    /// Since when none succeeds, and why.
    pub failing: Option<Failing>,
}

/// Why no backup succeeds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    /// When the first of them failed.
    pub since: Timestamp,
    /// When the last of them failed.
    pub tried_at: Timestamp,
    /// Its stable code.
    pub code: String,
    /// What happened.
    pub message: String,
}

impl Schedule {
    /// Makes a schedule for a target that can be one.
    pub fn new(
        target: &Path,
        daily: Option<TimeOfDay>,
        hourly: bool,
        recipients: &[String],
    ) -> Result<Schedule, Failure> {
        let recipients = Recipients::read(recipients).map_err(Failure::usage)?.names();
        let target = match address(target) {
            Some(address) => {
                // The credentials are those of the process that makes the backups.
                S3Target::new(address, &|_| Some("-".into())).map_err(backup::Error::from)?;
                target.to_path_buf()
            }
            // That process may stand in another directory.
            None => std::path::absolute(target).map_err(|it| Failure::usage(it.to_string()))?,
        };
        Ok(Schedule { target, daily, hourly, recipients })
    }

    /// Reads what was said for a directory; none when nothing was.
    pub fn read(dir: &Path) -> Result<Option<Schedule>, Failure> {
        let path = schedule_path(dir);
        let wrong = |why: String| {
            let message = format!("cannot read `{}`: {why}", path.display());
            Failure::finding("file_unreadable", message)
        };
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(wrong(error.to_string())),
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|it| wrong(it.to_string())),
        }
    }

    /// Remembers it for a directory. How backups went that were said otherwise counts no more: the
    /// first one is due at once.
    pub fn write(&self, dir: &Path) -> Result<(), Failure> {
        let is_new = Schedule::read(dir).ok().flatten().is_none_or(|before| before != *self);
        put(&schedule_path(dir), self)?;
        if is_new { remove(&state_path(dir)) } else { Ok(()) }
    }

    /// Forgets what was said for a directory, and how that went.
    pub fn remove(dir: &Path) -> Result<(), Failure> {
        remove(&schedule_path(dir))?;
        remove(&state_path(dir))
    }

    /// Says what is to be made now.
    fn due(&self, state: &State, now: Timestamp) -> Option<Extent> {
        let is_before = |at: Option<Timestamp>, slot: i64| at.is_none_or(|it| it.0 < slot);
        if let Some(daily) = self.daily {
            let offset = i64::from(daily.minutes) * 60_000_000;
            let slot = (now.0 - offset).div_euclid(DAY_MICROS) * DAY_MICROS + offset;
            if is_before(state.full_at, slot) {
                return Some(Extent::Full);
            }
        }
        let slot = now.0.div_euclid(HOUR_MICROS) * HOUR_MICROS;
        (self.hourly && is_before(state.made_at, slot)).then_some(Extent::New)
    }

    /// Says whether the last backup is so old that nobody makes them.
    pub fn is_overdue(&self, state: &State, now: Timestamp) -> bool {
        let period = if self.hourly { HOUR_MICROS } else { DAY_MICROS };
        state.made_at.is_none_or(|it| now.0 - it.0 > 2 * period)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "backups into `{}`", self.target.display())?;
        if let Some(daily) = self.daily {
            write!(f, ", daily at {daily} UTC")?;
        }
        if self.hourly {
            f.write_str(", hourly")?;
        }
        match self.recipients.len() {
            0 => Ok(()),
            count => write!(f, ", encrypted for {count}"),
        }
    }
}

impl State {
    /// Reads how it went in a directory; a file that cannot be read says nothing.
    pub fn read(dir: &Path) -> State {
        let text = fs::read(state_path(dir)).ok();
        text.and_then(|it| serde_json::from_slice(&it).ok()).unwrap_or_default()
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.made_at, self.position) {
            (Some(at), Some(position)) => {
                write!(f, "last backup at {at}, up to position {position}")?;
            }
            _ => f.write_str("no backup made yet")?,
        }
        match &self.failing {
            Some(it) => write!(f, "; failing since {}: {} ({})", it.since, it.message, it.code),
            None => Ok(()),
        }
    }
}

fn schedule_path(dir: &Path) -> PathBuf {
    dir.join(SCHEDULE_DIR).join("schedule.json")
}

fn state_path(dir: &Path) -> PathBuf {
    dir.join(SCHEDULE_DIR).join("state.json")
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    let message = format!("cannot write `{}`: {error}", path.display());
    Failure::new(Exit::Denied, "storage_failed", message)
}

fn remove(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unwritable(path, &error)),
        _ => Ok(()),
    }
}

/// Replaces a file with a value.
fn put(path: &Path, value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_vec_pretty(value).unwrap_or_default();
    let beside = path.with_extension("tmp");
    let written = path
        .parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::write(&beside, text))
        .and_then(|()| fs::rename(&beside, path));
    written.map_err(|error| unwritable(path, &error))
}

/// Makes backups of a directory while it lives.
pub struct Keeper {
    /// Its end is the sign to stop; what comes through it asks for a backup.
    ask: Arc<Sender<()>>,
    is_running: Arc<AtomicBool>,
}

/// Asks a keeper, as long as it lives.
#[derive(Clone)]
pub struct KeeperHandle {
    ask: Weak<Sender<()>>,
    is_running: Arc<AtomicBool>,
}

impl KeeperHandle {
    /// Says whether a backup is asked for or being made.
    pub fn is_running(&self) -> bool {
        self.is_running.load(Ordering::SeqCst)
    }

    /// Asks for a backup, unless one is on its way; returns at once.
    pub fn make(&self) {
        let Some(ask) = self.ask.upgrade() else { return };
        if !self.is_running.swap(true, Ordering::SeqCst) {
            // The thread may have ended with the process.
            let _ = ask.send(());
        }
    }
}

impl Keeper {
    /// Begins to look.
    pub fn start(dir: &Path) -> Result<Keeper, Failure> {
        let (ask, asked) = channel();
        let (dir, is_running) = (dir.to_path_buf(), Arc::new(AtomicBool::new(false)));
        let runs = Arc::clone(&is_running);
        thread::Builder::new()
            .name("traaviis-backup".into())
            .spawn(move || keep(&dir, &asked, &runs))
            .map_err(|it| Failure::new(Exit::Internal, "internal", it.to_string()))?;
        Ok(Keeper { ask: Arc::new(ask), is_running })
    }

    /// Returns what may ask for a backup.
    pub fn handle(&self) -> KeeperHandle {
        KeeperHandle { ask: Arc::downgrade(&self.ask), is_running: Arc::clone(&self.is_running) }
    }
}

fn keep(dir: &Path, asked: &Receiver<()>, is_running: &AtomicBool) {
    let (mut wait, mut is_told) = (FIRST_LOOK, false);
    loop {
        let is_asked = match asked.recv_timeout(wait) {
            Ok(()) => true,
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        wait = LOOK_EVERY;
        let _running = is_asked.then_some(Running(is_running));
        // One that cannot be read is told by `doctor`; who wrote it saw that it could.
        let Ok(Some(schedule)) = Schedule::read(dir) else { continue };
        let before = State::read(dir);
        let look = look(dir, &schedule, &before, clock::now(), is_asked);
        let Some(state) = look else { continue };
        let place = schedule.target.display();
        match &state.failing {
            Some(it) if !is_told => tracing::warn!(
                code = it.code,
                "no backup into `{place}`: {}; it is tried again every 5 minutes",
                it.message
            ),
            None if is_told || before.failing.is_some() => {
                tracing::info!("backups into `{place}` are made again");
            }
            _ => {}
        }
        is_told = state.failing.is_some();
        if let Err(failure) = put(&state_path(dir), &state) {
            tracing::warn!(code = failure.code, "{}", failure.message);
        }
    }
}

/// A backup that was asked for, until it is made and noted.
struct Running<'a>(&'a AtomicBool);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// Makes the backup that is due or asked for; returns how it went.
fn look(
    dir: &Path,
    schedule: &Schedule,
    before: &State,
    now: Timestamp,
    is_asked: bool,
) -> Option<State> {
    let waits = before.failing.as_ref().is_some_and(|it| {
        // A clock that was set back makes nobody wait longer.
        (0..RETRY_MICROS).contains(&(now.0 - it.tried_at.0))
    });
    let due = schedule.due(before, now).filter(|_| !waits);
    let extent = due.or(is_asked.then_some(Extent::New))?;
    let mut state = before.clone();
    match make(dir, schedule, extent, now) {
        Ok((manifest, pruned)) => {
            state.made_at = Some(now);
            state.position = Some(manifest.position);
            if extent == Extent::Full {
                state.full_at = Some(now);
            }
            state.failing = pruned.err().map(|it| failing(before, &it, now));
        }
        Err(failure) => state.failing = Some(failing(before, &failure, now)),
    }
    Some(state)
}

fn failing(before: &State, failure: &Failure, now: Timestamp) -> Failing {
    Failing {
        since: before.failing.as_ref().map_or(now, |it| it.since),
        tried_at: now,
        code: failure.code.clone(),
        message: failure.message.clone(),
    }
}

/// What became of the backup, and then of the old ones.
type Made = Result<(Manifest, Result<(), Failure>), Failure>;

fn make(dir: &Path, schedule: &Schedule, extent: Extent, now: Timestamp) -> Made {
    let target = target(&schedule.target)?;
    let recipients = Recipients::read(&schedule.recipients).map_err(Failure::usage)?;
    let options = Options { recipients, extent };
    let taken = backup::take(dir, &*target, &options, now, &mut |_, _| ())?;
    let pruned = match extent {
        Extent::New => Ok(()),
        Extent::Full => backup::prune(&*target, KEEP, false).map(drop).map_err(Failure::from),
    };
    Ok((taken.manifest, pruned))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        format!("{text}:00Z").parse().unwrap()
    }

    fn schedule(daily: Option<&str>, hourly: bool) -> Schedule {
        let daily = daily.map(|it| it.parse().unwrap());
        Schedule { target: "b".into(), daily, hourly, recipients: Vec::new() }
    }

    /// Says what is due when the last one, and the last full one, were made then.
    fn check(schedule: &Schedule, made: &str, full: &str, now: &str) -> Option<Extent> {
        let (made_at, full_at) = (Some(at(made)), Some(at(full)));
        schedule.due(&State { made_at, full_at, ..State::default() }, at(now))
    }

    #[test]
    fn the_first_backup_is_due_at_once() {
        let now = at("2026-11-30T10:00");
        let none = State::default();
        assert_eq!(schedule(Some("02:30"), true).due(&none, now), Some(Extent::Full));
        assert_eq!(schedule(None, true).due(&none, now), Some(Extent::New));
    }

    #[test]
    fn each_hour_has_one_and_each_day_a_full_one() {
        let both = schedule(Some("02:30"), true);
        let (made, full) = ("2026-11-30T10:05", "2026-11-30T02:31");
        assert_eq!(check(&both, made, full, "2026-11-30T10:59"), None);
        assert_eq!(check(&both, made, full, "2026-11-30T11:00"), Some(Extent::New));
        assert_eq!(check(&both, made, full, "2026-12-01T02:29"), Some(Extent::New));
        assert_eq!(check(&both, made, full, "2026-12-01T02:30"), Some(Extent::Full));
    }

    #[test]
    fn what_was_missed_is_made_up_once() {
        let both = schedule(Some("02:30"), true);
        let now = "2026-12-24T12:10";
        let long_ago = "2026-11-30T02:31";
        assert_eq!(check(&both, long_ago, long_ago, now), Some(Extent::Full));
        assert_eq!(check(&both, now, now, now), None);
    }

    #[test]
    fn a_failed_one_waits_before_it_is_tried_again() {
        let scratch = tempfile::tempdir().unwrap();
        // No log is there to be backed up.
        let schedule = schedule(None, true);
        let schedule = Schedule { target: scratch.path().join("b"), ..schedule };
        let now = at("2026-11-30T10:00");
        let failed = look(scratch.path(), &schedule, &State::default(), now, false).unwrap();
        let failing = failed.failing.clone().unwrap();
        assert_eq!((failing.since, failing.tried_at), (now, now));
        assert_eq!(failed.made_at, None);
        let soon = Timestamp(now.0 + RETRY_MICROS - 1);
        assert_eq!(look(scratch.path(), &schedule, &failed, soon, false), None);
        let asked = look(scratch.path(), &schedule, &failed, soon, true);
        assert_eq!(asked.unwrap().failing.unwrap().tried_at, soon, "who asks waits for nothing");
        let later = Timestamp(now.0 + RETRY_MICROS);
        let again = look(scratch.path(), &schedule, &failed, later, false);
        let again = again.unwrap().failing.unwrap();
        assert_eq!((again.since, again.tried_at), (now, later));
    }

    #[test]
    fn times_of_the_day_are_read_strictly() {
        for text in ["00:00", "02:30", "23:59"] {
            assert_eq!(text.parse::<TimeOfDay>().unwrap().to_string(), text);
        }
        for wrong in ["24:00", "2:30", "12:60", "12", "+1:00", ""] {
            assert!(wrong.parse::<TimeOfDay>().is_err(), "{wrong}");
        }
    }
}
