//! How what surrounds a served directory stands: its disk, memory, clock, root key and backups.
//!
//! Asked once a second and with every `/ready`, so nothing here waits for anybody: a few calls of
//! the operating system and two small files.

use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use traaviis_model::{
    Span, Timestamp,
    times::{BOUNDS, Counted},
};
use traaviis_platform::{engine::Component, standing_alerts::Condition};

use crate::{
    backups::{Schedule, State},
    bench::facts,
    clock,
    disk::space,
    secrets,
};

/// Less free space than this stops soon: one segment of the log is 64 MiB.
pub const FREE_BYTES_FAIL: u64 = 256 << 20;
/// Less than this is worth a look.
pub const FREE_BYTES_WARN: u64 = 2 << 30;
/// Hundredths of a disk below which it is told.
const SHARE_LOW: u64 = 10;
/// A sync that takes longer is slow: a disk that works takes a few milliseconds.
const SYNC_SECONDS_SLOW: f64 = 0.1;
/// Syncs between two looks of which a hundredth says something: fewer are one bad moment.
const SYNCS_LEAST: u64 = 10;
/// How far the wall clock may fall behind itself: time services correct less than this at once.
const CLOCK_BEHIND_MAX: Span = Span::secs(2);

/// What surrounds a served directory.
#[derive(Debug)]
pub struct Standing {
    dir: PathBuf,
    memory_bytes: u64,
    /// The latest time that the wall clock has shown, in microseconds.
    latest: AtomicI64,
    /// Syncs as they were counted at the look before.
    syncs: Mutex<Option<Counted>>,
}

impl Standing {
    /// Returns what surrounds a directory, in a process that is meant to keep to so many bytes.
    pub fn of(dir: &Path, memory_bytes: u64) -> Standing {
        Standing {
            dir: dir.to_path_buf(),
            memory_bytes,
            latest: AtomicI64::new(i64::MIN),
            syncs: Mutex::default(),
        }
    }

    /// Returns how each part stands; without a schedule there are no backups to speak of.
    pub fn components(&self) -> Vec<Component> {
        let always = [
            disk(space(&self.dir).map(|it| it.0), &self.dir),
            memory(facts::resident_bytes(), self.memory_bytes),
            self.clock(clock::now()),
            self.root_key(),
        ];
        always.into_iter().chain(self.backups()).collect()
    }

    /// Returns what holds or does not beside the parts: a disk that fills up, syncs that are slow.
    pub fn conditions(&self, syncs: Counted) -> Vec<Condition> {
        let mut before = self.syncs.lock().unwrap_or_else(PoisonError::into_inner);
        let slow = slow_syncs(before.as_ref(), &syncs);
        *before = Some(syncs);
        vec![disk_low(space(&self.dir).ok()), slow]
    }

    /// Timers go on with the time that passes, so only dates are wrong while a clock is behind.
    fn clock(&self, now: Timestamp) -> Component {
        let latest = self.latest.fetch_max(now.0, Ordering::Relaxed).max(now.0);
        let behind = Span(latest - now.0);
        match behind <= CLOCK_BEHIND_MAX {
            true => Component::ok("clock"),
            false => Component::degraded(
                "clock",
                format!(
                    "the wall clock says {now}, {} s behind what it has said before; times go on \
                     as if it did not, until it has caught up; look at the time service",
                    behind.as_millis() / 1_000
                ),
            ),
        }
    }

    fn root_key(&self) -> Component {
        match secrets::kept(&self.dir).keys().roots() {
            Ok(_) => Component::ok("root_key"),
            Err(error) => Component::degraded(
                "root_key",
                format!(
                    "{error} ({}); what is sealed cannot be opened after a restart",
                    error.code()
                ),
            ),
        }
    }

    fn backups(&self) -> Option<Component> {
        let schedule = match Schedule::read(&self.dir) {
            Ok(schedule) => schedule?,
            Err(failure) => return Some(Component::degraded("backups", failure.message)),
        };
        let state = State::read(&self.dir);
        let Some(failing) = state.failing else { return Some(Component::ok("backups")) };
        let last = state.made_at.map_or("never".to_owned(), |it| it.to_string());
        let why = format!(
            "none succeeds into `{}` since {}: {} ({}); the last one: {last}",
            schedule.target.display(),
            failing.since,
            failing.message,
            failing.code
        );
        Some(Component::degraded("backups", why))
    }
}

/// Says whether less than a tenth of a disk is free: so it is worth a look long before it is full.
fn disk_low(space: Option<(u64, u64)>) -> Condition {
    let why = space.filter(|(free, all)| free.saturating_mul(100) < all.saturating_mul(SHARE_LOW));
    let why = why.map(|(free, all)| {
        let percent = free.saturating_mul(100) / all.max(1);
        format!("{percent} % of the disk are free, {} MiB; free space now", free >> 20)
    });
    Condition { rule: "disk_low", severity: "high", why }
}

/// Says whether one of a hundred syncs between two looks took too long.
fn slow_syncs(before: Option<&Counted>, now: &Counted) -> Condition {
    let at = BOUNDS.iter().position(|it| *it >= SYNC_SECONDS_SLOW).unwrap_or(BOUNDS.len() - 1);
    let of = |it: &Counted| (it.count, it.at_most[at]);
    let (count, quick) = of(now);
    let (count_before, quick_before) = before.map_or((0, 0), of);
    let (count, quick) = (count.saturating_sub(count_before), quick.saturating_sub(quick_before));
    let slow = count - quick.min(count);
    let is_slow = count >= SYNCS_LEAST && slow * 100 > count;
    let why = is_slow.then(|| {
        format!(
            "{slow} of {count} syncs of the log took more than {SYNC_SECONDS_SLOW} s, and every \
             change waits for one; look at the disk"
        )
    });
    Condition { rule: "fsync_slow", severity: "high", why }
}

fn disk(free: std::io::Result<u64>, dir: &Path) -> Component {
    let free = match free {
        Ok(free) => free,
        Err(error) => {
            return Component::degraded("disk", format!("`{}`: {error}", dir.display()));
        }
    };
    let (mib, dir) = (free >> 20, dir.display());
    match free {
        _ if free < FREE_BYTES_FAIL => Component::degraded(
            "disk",
            format!(
                "{mib} MiB are free for `{dir}`: changes will be refused with `storage_full` \
                 soon; free space now"
            ),
        ),
        _ if free < FREE_BYTES_WARN => Component::degraded(
            "disk",
            format!("{mib} MiB are free for `{dir}`; free space, or take a larger disk"),
        ),
        _ => Component::ok("disk"),
    }
}

fn memory(resident: u64, meant: u64) -> Component {
    match resident <= meant {
        true => Component::ok("memory"),
        false => Component::degraded(
            "memory",
            format!(
                "the process takes {} MiB, and is meant to keep to {} MiB \
                 (`memory.limit_bytes`); give it more, or lower `hot.limit_bytes`",
                resident >> 20,
                meant >> 20
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use traaviis_platform::engine::ComponentStatus::{self, Degraded, Ok as Well};

    use super::*;

    #[test]
    fn each_part_says_from_where_on_it_is_not_well() {
        let dir = Path::new("data");
        let of_disk = |bytes| disk(Ok(bytes), dir).status;
        assert_eq!(of_disk(FREE_BYTES_WARN), Well);
        assert_eq!(of_disk(FREE_BYTES_WARN - 1), Degraded);
        let full = disk(Ok(FREE_BYTES_FAIL - 1), dir).why.unwrap();
        assert!(full.contains("255 MiB") && full.contains("`storage_full`"), "{full}");
        let unread = disk(Err(std::io::Error::other("no such disk")), dir);
        assert!(unread.why.unwrap().contains("no such disk"));
        let of_memory = |bytes| memory(bytes, 256 << 20).status;
        assert_eq!((of_memory(256 << 20), of_memory((256 << 20) + 1)), (Well, Degraded));
    }

    #[test]
    fn a_disk_and_its_syncs_are_told_of_while_they_are_bad() {
        for (free, all, holds) in
            [(9, 100, true), (10, 100, false), (99, 1_000, true), (0, 0, false)]
        {
            assert_eq!(disk_low(Some((free, all))).why.is_some(), holds, "{free} of {all}");
        }
        assert_eq!(disk_low(None).why, None);
        let times = traaviis_model::times::Times::default();
        let standing = Standing::of(Path::new("."), 0);
        let note = |count: u32, millis: u64| {
            (0..count).for_each(|_| times.note(std::time::Duration::from_millis(millis)));
            let all = standing.conditions(times.counted());
            all.into_iter().find(|it| it.rule == "fsync_slow").unwrap().why
        };
        assert_eq!(note(200, 3), None);
        assert_eq!(note(1, 900), None, "one bad moment");
        let why = note(20, 900).unwrap();
        assert!(why.starts_with("20 of 20 syncs"), "{why}");
        assert_eq!(note(200, 3), None, "and well again");
    }

    #[test]
    fn a_clock_that_was_set_back_is_told_until_it_has_caught_up() {
        let standing = Standing::of(Path::new("data"), 0);
        let at = |secs: i64| standing.clock(Timestamp(secs * 1_000_000)).status;
        let told: Vec<ComponentStatus> = [1_000, 1_060, 1_058, 900, 1_000, 1_059].map(at).into();
        assert_eq!(told, [Well, Well, Well, Degraded, Degraded, Well]);
    }

    #[test]
    fn backups_are_spoken_of_once_somebody_wants_them() {
        let folder = tempfile::tempdir().unwrap();
        let standing = Standing::of(folder.path(), u64::MAX);
        assert_eq!(standing.backups(), None);
        let names: Vec<&str> = standing.components().iter().map(|it| it.name).collect();
        assert_eq!(names, ["disk", "memory", "clock", "root_key"]);
    }
}
