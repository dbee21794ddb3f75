//! How long instances are open, all together: what every start and end adds to a day.
//!
//! An instance that is open in a day from `a` to `b` adds `b - a`. So a start at `t` adds what is
//! left of its day, and an end at `t` takes away what is left of it; whoever was open when the day
//! began adds all of it. These are sums: the order in which records are read changes nothing, and
//! nobody has to look from time to time.
//!
//! Invariant: what a day comes to is a function of the starts and ends up to its end.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use traaviis_model::{Timestamp, Zone};

/// What began and ended in a day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Day {
    begins: Timestamp,
    ends: Timestamp,
    opened: u64,
    closed: u64,
    /// How long after the beginning of the day, all together.
    opened_us: u64,
    closed_us: u64,
}

/// Starts and ends of the instances of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Open {
    /// Days before this one are summed up.
    from: Option<i64>,
    /// Instances that were open when it began, or before all days when none is summed up.
    before: i64,
    days: BTreeMap<i64, Day>,
}

/// What happens to an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Opens,
    Closes,
}

impl Open {
    /// Notes that an instance opens or closes.
    pub(super) fn note(&mut self, turn: Turn, day: i64, zone: &Zone, at: Timestamp) {
        self.change(turn, day, zone, at, 1);
    }

    /// Takes back that one did.
    pub(super) fn take_back(&mut self, turn: Turn, day: i64, zone: &Zone, at: Timestamp) {
        self.change(turn, day, zone, at, -1);
    }

    fn change(&mut self, turn: Turn, day: i64, zone: &Zone, at: Timestamp, by: i64) {
        // How long it was open in a day that is summed up is lost; that it is open is not.
        if self.from.is_some_and(|it| day < it) {
            self.before += if turn == Turn::Opens { by } else { -by };
            return;
        }
        let it = self.days.entry(day).or_insert_with(|| Day {
            begins: zone.begins(day),
            ends: zone.begins(day + 1),
            ..Day::default()
        });
        let us = u64::try_from(at.0.clamp(it.begins.0, it.ends.0) - it.begins.0).unwrap_or(0);
        let (count, sum) = match turn {
            Turn::Opens => (&mut it.opened, &mut it.opened_us),
            Turn::Closes => (&mut it.closed, &mut it.closed_us),
        };
        match by > 0 {
            true => (*count, *sum) = (*count + 1, sum.saturating_add(us)),
            false => (*count, *sum) = (count.saturating_sub(1), sum.saturating_sub(us)),
        }
    }

    /// Returns how many are open.
    #[cfg(test)]
    pub(super) fn count(&self) -> i64 {
        self.days.values().fold(self.before, |sum, it| sum + it.opened as i64 - it.closed as i64)
    }

    /// Returns for each day from `from` to `to`, which is none of them, how many microseconds
    /// instances were open in it, up to `now`.
    pub(super) fn of_days(
        &self,
        (from, to): (i64, i64),
        zone: &Zone,
        now: Timestamp,
    ) -> impl Iterator<Item = (i64, u64)> {
        let earlier = self.days.range(..from);
        let mut open =
            earlier.fold(self.before, |sum, (_, it)| sum + it.opened as i64 - it.closed as i64);
        (from..to).map(move |day| {
            let known = self.days.get(&day);
            let empty =
                || Day { begins: zone.begins(day), ends: zone.begins(day + 1), ..Day::default() };
            if self.from.is_some_and(|it| day < it) {
                return (day, 0);
            }
            let it = known.cloned().unwrap_or_else(empty);
            let length = i128::from((now.0.clamp(it.begins.0, it.ends.0)) - it.begins.0);
            let during = i128::from(open) + i128::from(it.opened) - i128::from(it.closed);
            let sum = during * length - i128::from(it.opened_us) + i128::from(it.closed_us);
            open += it.opened as i64 - it.closed as i64;
            (day, u64::try_from(sum.max(0)).unwrap_or(u64::MAX))
        })
    }

    /// Sums up the days before one.
    pub(super) fn forget_before(&mut self, day: i64) {
        if self.from.is_some_and(|it| it >= day) {
            return;
        }
        let kept = self.days.split_off(&day);
        let gone = std::mem::replace(&mut self.days, kept);
        self.before =
            gone.values().fold(self.before, |sum, it| sum + it.opened as i64 - it.closed as i64);
        self.from = Some(day);
    }
}

#[cfg(test)]
mod tests {
    use traaviis_model::zone::DAY;

    use super::*;

    /// The same number for the same seed.
    fn chance(seed: &mut u64) -> i64 {
        *seed =
            seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*seed >> 33) as i64
    }

    #[test]
    fn sums_are_those_of_adding_up_each_instance_in_any_order() {
        for (seed, name) in [(1, "UTC"), (2, "Europe/Berlin"), (3, "America/New_York")] {
            let zone = Zone::read(name).unwrap();
            let (mut seed, first) = (seed, zone.day_of("2026-10-20T12:00:00Z".parse().unwrap()));
            let begins = zone.begins(first).0;
            let now = Timestamp(begins + 9 * DAY + 12_345_678);
            let mut turns = Vec::new();
            let mut spans = Vec::new();
            for _ in 0..200 {
                let from = begins + (chance(&mut seed) * 1_000) % (8 * DAY);
                let to = from + (chance(&mut seed) * 1_000) % (3 * DAY);
                turns.push((Turn::Opens, Timestamp(from)));
                // Some are open still.
                let ends = to <= now.0 && chance(&mut seed) % 5 > 0;
                if ends {
                    turns.push((Turn::Closes, Timestamp(to)));
                }
                spans.push((from, if ends { to } else { i64::MAX }));
            }
            let count = spans.iter().filter(|it| it.1 == i64::MAX).count() as i64;
            let expected: Vec<(i64, u64)> = (first..first + 12)
                .map(|day| {
                    let (a, b) = (zone.begins(day).0, zone.begins(day + 1).0.min(now.0));
                    let of = |(from, to): &(i64, i64)| (b.min(*to) - a.max(*from)).max(0);
                    (day, spans.iter().map(of).sum::<i64>() as u64)
                })
                .collect();
            for turned in [false, true] {
                if turned {
                    turns.reverse();
                }
                let mut open = Open::default();
                open.forget_before(first);
                for (turn, at) in &turns {
                    open.note(*turn, zone.day_of(*at), &zone, *at);
                }
                let days = |open: &Open| -> Vec<_> {
                    open.of_days((first, first + 12), &zone, now).collect()
                };
                assert_eq!(days(&open), expected, "{name}");
                assert_eq!(open.count(), count);
                // Put down and read, and what is summed up is taken along.
                let text = serde_json::to_string(&open).unwrap();
                let mut open: Open = serde_json::from_str(&text).unwrap();
                assert_eq!(days(&open), expected, "{name}");
                open.forget_before(first + 5);
                assert_eq!(days(&open)[5..], expected[5..], "{name}");
                assert_eq!(open.count(), count);
            }
        }
    }

    #[test]
    fn what_comes_late_for_a_day_that_is_summed_up_counts_from_then_on() {
        let zone = Zone::utc();
        let at = |day: i64, hour: i64| Timestamp(day * DAY + hour * DAY / 24);
        let mut open = Open::default();
        open.note(Turn::Opens, 10, &zone, at(10, 12));
        open.forget_before(20);
        open.note(Turn::Opens, 19, &zone, at(19, 1));
        let days: Vec<_> = open.of_days((20, 22), &zone, at(21, 6)).collect();
        assert_eq!(days, [(20, 2 * DAY as u64), (21, 2 * DAY as u64 / 4)]);
        open.take_back(Turn::Opens, 19, &zone, at(19, 1));
        assert_eq!(open.count(), 1);
    }
}
