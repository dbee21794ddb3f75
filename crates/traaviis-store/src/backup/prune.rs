//! Removing backups that a rule does not keep, and the objects that none of the others needs.
//!
//! Manifests go first, durably. Broken off after that, what is left are bytes that no manifest
//! names, and the next time takes them.

use std::collections::HashSet;

use traaviis_model::Timestamp;
use traaviis_ports::{BackupTarget, backups::Hold};

use super::{Error, OBJECTS, list, read};

const DAY_MICROS: i64 = 86_400_000_000;

/// How many backups are kept: the last one of each of so many days, weeks and months that have one.
/// All times are UTC; a week begins on Monday. The newest backup is always kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Days.
    pub daily: usize,
    /// Weeks.
    pub weekly: usize,
    /// Months.
    pub monthly: usize,
}

/// What was removed, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Manifests that are kept, the oldest first.
    pub kept: Vec<String>,
    /// Manifests that are not.
    pub removed: Vec<String>,
    /// Objects that no kept manifest names.
    pub objects: u64,
    /// Bytes of these objects.
    pub bytes: u64,
}

/// Removes what a rule does not keep; nothing when `dry`. A manifest that cannot be read refuses
/// it, because nobody knows what it needs.
pub fn prune(target: &dyn BackupTarget, keep: Keep, dry: bool) -> Result<Pruned, Error> {
    if list(target)?.is_empty() {
        return Err(Error::Absent { target: target.show(""), which: String::new() });
    }
    let _held = target.hold(Hold::Removing)?;
    let mut backups = Vec::new();
    for name in list(target)? {
        backups.push((read(target, &name)?, name));
    }
    backups.sort_by_key(|(manifest, _)| (manifest.created_at, manifest.position));
    let times: Vec<Timestamp> = backups.iter().map(|it| it.0.created_at).collect();
    let (mut pruned, mut needed) = (Pruned::default(), HashSet::new());
    for ((manifest, name), is_kept) in backups.into_iter().zip(kept(&times, keep)) {
        match is_kept {
            true => {
                needed.extend(manifest.objects().map(|it| it.sha256.to_string()));
                pruned.kept.push(name);
            }
            false => pruned.removed.push(name),
        }
    }
    if !dry {
        target.delete(&pruned.removed)?;
    }
    let is_left = |name: &str| {
        let last = name.rsplit('/').next().unwrap_or(name);
        is_ours(last) && !needed.contains(last)
    };
    let mut left = target.list(OBJECTS)?;
    left.retain(|it| is_left(&it.name));
    pruned.objects = left.len() as u64;
    pruned.bytes = left.iter().map(|it| it.bytes).sum();
    if !dry {
        let names: Vec<String> = left.into_iter().map(|it| it.name).collect();
        target.delete(&names)?;
    }
    Ok(pruned)
}

/// Names the day, week or month of a time.
type Period<'a> = &'a dyn Fn(&Timestamp) -> String;

/// Says which of the backups made at these rising times are kept.
fn kept(times: &[Timestamp], keep: Keep) -> Vec<bool> {
    let mut kept = vec![false; times.len()];
    let number = |at: &Timestamp| at.0.div_euclid(DAY_MICROS);
    let day: Period<'_> = &|at| number(at).to_string();
    // The first day was a Thursday.
    let week: Period<'_> = &|at| (number(at) + 3).div_euclid(7).to_string();
    let month: Period<'_> = &|at| at.to_string().chars().take(7).collect();
    for (count, period) in [(keep.daily, day), (keep.weekly, week), (keep.monthly, month)] {
        let mut seen = HashSet::new();
        for (at, time) in times.iter().enumerate().rev() {
            if seen.len() < count && seen.insert(period(time)) {
                kept[at] = true;
            }
        }
    }
    if let Some(newest) = kept.last_mut() {
        *newest = true;
    }
    kept
}

/// Says whether a name is one of an object, or of one that was being written.
fn is_ours(name: &str) -> bool {
    let is_hash = name.len() == 64 && name.bytes().all(|it| it.is_ascii_hexdigit());
    is_hash
        || name
            .strip_suffix(".tmp")
            .is_some_and(|it| it.split('-').all(|it| it.parse::<u64>().is_ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the times that are kept, as given.
    fn check(times: &[&str], (daily, weekly, monthly): (usize, usize, usize)) -> Vec<String> {
        let parsed: Vec<Timestamp> =
            times.iter().map(|it| format!("{it}:00:00Z").parse().unwrap()).collect();
        let kept = kept(&parsed, Keep { daily, weekly, monthly });
        let kept = times.iter().zip(kept).filter(|it| it.1);
        kept.map(|it| it.0.to_string()).collect()
    }

    #[test]
    fn the_last_of_each_day_week_and_month_is_kept() {
        let times = [
            "2026-09-30T23", // The last of September.
            "2026-10-04T10", // A Sunday.
            "2026-10-05T10", // Monday begins another week.
            "2026-11-28T10",
            "2026-11-28T22",
            "2026-11-29T01",
            "2026-11-29T02",
        ];
        assert_eq!(check(&times, (2, 0, 0)), ["2026-11-28T22", "2026-11-29T02"]);
        assert_eq!(check(&times, (0, 3, 0)), ["2026-10-04T10", "2026-10-05T10", "2026-11-29T02"]);
        assert_eq!(check(&times, (0, 0, 3)), ["2026-09-30T23", "2026-10-05T10", "2026-11-29T02"]);
        assert_eq!(check(&times, (0, 0, 0)), ["2026-11-29T02"]);
        // Every day has one, whatever the rules of weeks and months keep beside.
        let days = [times[0], times[1], times[2], times[4], times[6]];
        assert_eq!(check(&times, (9, 9, 9)), days);
    }

    #[test]
    fn only_names_of_objects_are_swept() {
        assert!(is_ours(&"ab".repeat(32)) && is_ours("4711.tmp") && is_ours("4711-0.tmp"));
        assert!(!is_ours("README") && !is_ours("notes.tmp") && !is_ours(&"xy".repeat(32)));
    }
}
