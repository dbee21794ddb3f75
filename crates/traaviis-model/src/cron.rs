//! Times that come again: cron patterns in a time zone, and which of them are due.
//!
//! Patterns have five fields, or six with seconds first; names such as `MON`, nicknames such as
//! `@hourly`, `L`, `W` and `#` are understood. Where clocks are put forward, a fixed time that does
//! not exist is the next minute that does; where they are put back, a fixed time comes once.
//!
//! Nothing here reads a clock. The rules of time zones change with the world, so whoever must
//! decide the same again records what was found here.

use croner::parser::{CronParser, Seconds, Year};
use jiff::{Zoned, tz::TimeZone};

use crate::{
    limits::CRON_RUNS_MAX,
    time::{Span, Timestamp},
};

/// Latest lateness of a time that does not count as missed: a busy process is not an absent one.
pub const ON_TIME: Span = Span::secs(60);

/// Microseconds of a second.
const SECOND: i64 = 1_000_000;

/// A cron pattern in a time zone.
#[derive(Clone, Debug)]
pub struct Cron {
    pattern: croner::Cron,
    zone: TimeZone,
}

/// What to do about times that nobody was there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUp {
    /// The latest of them only.
    Latest,
    /// Each of them.
    All,
    /// Nothing.
    None,
}

/// How times become runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What to do about times that were missed.
    pub catch_up: CatchUp,
    /// How long ago a missed time may be.
    pub window: Span,
    /// Each run is put off by a fixed part of this, so that not everything runs at once.
    pub jitter: Span,
    /// Whose part that is.
    pub seed: u64,
}

/// What is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Times to run for, the oldest first.
    pub runs: Vec<Timestamp>,
    /// Some time passes without a run.
    pub missed: bool,
    /// The last time that is settled by this; where to go on.
    pub settled: Timestamp,
    /// When to look again; none when no time comes any more.
    pub next: Option<Timestamp>,
}

/// Says whether there is a time zone of this name.
pub fn is_zone(name: &str) -> bool {
    TimeZone::get(name).is_ok()
}

impl Cron {
    /// Reads a pattern and the IANA name of a time zone. The error says what is wrong, and how to
    /// write it.
    pub fn read(pattern: &str, zone: &str) -> Result<Cron, String> {
        let zone = TimeZone::get(zone).map_err(|_| {
            format!("`{zone}` is no time zone; write an IANA name such as `Europe/Berlin` or `UTC`")
        })?;
        let parser =
            CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let wrong = |why: String| {
            format!(
                "`{pattern}` is no cron pattern: {why}; write minute, hour, day, month and weekday \
                 such as `30 7 * * MON-FRI`, or `@hourly`"
            )
        };
        let parsed = parser.parse(pattern).map_err(|it| wrong(in_words(&it.to_string())))?;
        let cron = Cron { pattern: parsed, zone };
        // Leap days come at least every eight years; what does not come within a century never
        // does.
        match cron.next(Timestamp(0)) {
            Some(_) => Ok(cron),
            None => Err(format!("`{pattern}` never comes: no date fits its day and month")),
        }
    }

    /// Returns the first time after `after`.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let after = jiff::Timestamp::from_microsecond(after.0).ok()?.to_zoned(self.zone.clone());
        let found: Zoned = self.pattern.find_next_occurrence(&after, false).ok()?;
        Some(Timestamp(found.timestamp().as_microsecond()))
    }

    /// Writes a time on the clock of the zone, such as `2026-01-31 07:00+01:00`.
    pub fn local(&self, time: Timestamp) -> String {
        match jiff::Timestamp::from_microsecond(time.0) {
            Ok(at) => {
                let format = match time.0.rem_euclid(60 * SECOND) {
                    0 => "%Y-%m-%d %H:%M%:z",
                    _ => "%Y-%m-%d %H:%M:%S%:z",
                };
                at.to_zoned(self.zone.clone()).strftime(format).to_string()
            }
            Err(_) => time.to_string(),
        }
    }

    /// Returns the first `count` times after `after`.
    pub fn upcoming(&self, after: Timestamp, count: usize) -> Vec<Timestamp> {
        let mut times = Vec::new();
        let mut last = after;
        while times.len() < count
            && let Some(time) = self.next(last)
        {
            times.push(time);
            last = time;
        }
        times
    }

    /// Returns the last time before `before`.
    fn previous(&self, before: Timestamp) -> Option<Timestamp> {
        // The search looks at whole seconds only, and a begun one is not over.
        let before = Timestamp(before.0.div_euclid(SECOND) * SECOND)
            .plus(Span(if before.0.rem_euclid(SECOND) > 0 { SECOND } else { 0 }));
        let before = jiff::Timestamp::from_microsecond(before.0).ok()?.to_zoned(self.zone.clone());
        let found: Zoned = self.pattern.find_previous_occurrence(&before, false).ok()?;
        Some(Timestamp(found.timestamp().as_microsecond()))
    }

    /// Returns what is due at `now` of the times after `settled`.
    pub fn due(&self, policy: &Policy, settled: Timestamp, now: Timestamp) -> Due {
        let mut last = self.previous(now.plus(Span(1)));
        while let Some(time) = last
            && self.start(policy, time) > now
        {
            last = self.previous(time);
        }
        let next = self.next(last.unwrap_or(now).max(settled));
        let next = next.map(|it| self.start(policy, it));
        let oldest = now.plus(Span(-policy.window.0.max(ON_TIME.0)));
        let kept = match policy.catch_up {
            CatchUp::All => CRON_RUNS_MAX,
            CatchUp::Latest | CatchUp::None => 1,
        };
        let mut due = Due { runs: Vec::new(), missed: false, settled, next };
        // Backwards, because times that are too old may be very many.
        while let Some(time) = last.filter(|it| *it > settled) {
            due.settled = due.settled.max(time);
            let start = self.start(policy, time);
            let is_late = now.since(start) > ON_TIME;
            let is_gone = start < oldest || (is_late && policy.catch_up == CatchUp::None);
            if is_gone || due.runs.len() == kept {
                due.missed = true;
                break;
            }
            due.runs.push(time);
            last = self.previous(time);
        }
        due.runs.reverse();
        due
    }

    /// Returns when the run for a time begins: put off by a part of the jitter that is the same
    /// whenever it is asked for, and before the time that follows.
    fn start(&self, policy: &Policy, time: Timestamp) -> Timestamp {
        let gap = self.next(time).map_or(policy.jitter, |it| it.since(time));
        let span = policy.jitter.min(gap).0.max(0).cast_unsigned();
        if span == 0 {
            return time;
        }
        // SplitMix64: neighbouring times get parts that have nothing to do with each other.
        let mut mixed = policy.seed ^ time.0.cast_unsigned();
        mixed = mixed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        time.plus(Span(((mixed ^ (mixed >> 31)) % span).cast_signed()))
    }
}

/// Takes the words that help out of a message of the parser.
fn in_words(message: &str) -> String {
    let message = message.split_once(": ").map_or(message, |it| it.1);
    let message = message.trim_end_matches('.').replace("CronPattern", "the pattern");
    let mut letters = message.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn check_times(pattern: &str, zone: &str, after: &str, expected: &Expect) {
        let cron = Cron::read(pattern, zone).unwrap();
        let times = cron.upcoming(at(after), 4);
        let shown: Vec<String> = times
            .iter()
            .map(|it| {
                let time = jiff::Timestamp::from_microsecond(it.0).unwrap();
                time.to_zoned(TimeZone::get(zone).unwrap())
                    .strftime("%a %m-%d %H:%M%:z")
                    .to_string()
            })
            .collect();
        expected.assert_eq(&shown.join("\n"));
    }

    #[test]
    fn times_come_in_their_zone() {
        check_times(
            "30 7 * * MON-FRI",
            "Europe/Berlin",
            "2026-11-20T12:00:00Z",
            &expect![[r#"
            Mon 11-23 07:30+01:00
            Tue 11-24 07:30+01:00
            Wed 11-25 07:30+01:00
            Thu 11-26 07:30+01:00"#]],
        );
        check_times(
            "@hourly",
            "Asia/Kolkata",
            "2026-11-20T12:00:00Z",
            &expect![[r#"
            Fri 11-20 18:00+05:30
            Fri 11-20 19:00+05:30
            Fri 11-20 20:00+05:30
            Fri 11-20 21:00+05:30"#]],
        );
        check_times(
            "*/20 * * * * *",
            "UTC",
            "2026-11-20T12:00:00Z",
            &expect![[r#"
            Fri 11-20 12:00+00:00
            Fri 11-20 12:00+00:00
            Fri 11-20 12:01+00:00
            Fri 11-20 12:01+00:00"#]],
        );
        check_times(
            "0 9 L * *",
            "UTC",
            "2027-01-31T12:00:00Z",
            &expect![[r#"
            Sun 02-28 09:00+00:00
            Wed 03-31 09:00+00:00
            Fri 04-30 09:00+00:00
            Mon 05-31 09:00+00:00"#]],
        );
        check_times(
            "0 0 29 2 *",
            "UTC",
            "2026-01-01T00:00:00Z",
            &expect![[r#"
            Tue 02-29 00:00+00:00
            Sun 02-29 00:00+00:00
            Fri 02-29 00:00+00:00
            Wed 02-29 00:00+00:00"#]],
        );
    }

    #[test]
    fn a_time_that_spring_leaves_out_is_the_next_that_exists() {
        check_times(
            "30 2 * * *",
            "Europe/Berlin",
            "2026-03-27T12:00:00Z",
            &expect![[r#"
            Sat 03-28 02:30+01:00
            Sun 03-29 03:00+02:00
            Mon 03-30 02:30+02:00
            Tue 03-31 02:30+02:00"#]],
        );
        check_times(
            "*/30 * * * *",
            "Europe/Berlin",
            "2026-03-29T00:00:00Z",
            &expect![[r#"
            Sun 03-29 01:30+01:00
            Sun 03-29 03:00+02:00
            Sun 03-29 03:30+02:00
            Sun 03-29 04:00+02:00"#]],
        );
    }

    #[test]
    fn a_time_that_autumn_repeats_comes_once() {
        check_times(
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-23T12:00:00Z",
            &expect![[r#"
            Sat 10-24 02:30+02:00
            Sun 10-25 02:30+02:00
            Mon 10-26 02:30+01:00
            Tue 10-27 02:30+01:00"#]],
        );
        check_times(
            "*/30 * * * *",
            "Europe/Berlin",
            "2026-10-24T23:30:00Z",
            &expect![[r#"
            Sun 10-25 02:00+02:00
            Sun 10-25 02:30+02:00
            Sun 10-25 02:00+01:00
            Sun 10-25 02:30+01:00"#]],
        );
    }

    #[test]
    fn what_is_no_pattern_is_told() {
        let told = |pattern: &str, zone: &str| Cron::read(pattern, zone).unwrap_err();
        let all = [
            told("", "UTC"),
            told("every day", "UTC"),
            told("61 * * * *", "UTC"),
            told("* * *", "UTC"),
            told("0 0 30 2 *", "UTC"),
            told("@reboot", "UTC"),
            told("0 0 * * *", "Mars/Olympus"),
        ];
        expect![[r#"
            `` is no cron pattern: the pattern cannot be an empty string; write minute, hour, day, month and weekday such as `30 7 * * MON-FRI`, or `@hourly`
            `every day` is no cron pattern: pattern must have 5 or 6 fields when years are disallowed; write minute, hour, day, month and weekday such as `30 7 * * MON-FRI`, or `@hourly`
            `61 * * * *` is no cron pattern: number out of bounds; write minute, hour, day, month and weekday such as `30 7 * * MON-FRI`, or `@hourly`
            `* * *` is no cron pattern: pattern must have 5 or 6 fields when years are disallowed; write minute, hour, day, month and weekday such as `30 7 * * MON-FRI`, or `@hourly`
            `0 0 30 2 *` never comes: no date fits its day and month
            `@reboot` is no cron pattern: pattern must have 5 or 6 fields when years are disallowed; write minute, hour, day, month and weekday such as `30 7 * * MON-FRI`, or `@hourly`
            `Mars/Olympus` is no time zone; write an IANA name such as `Europe/Berlin` or `UTC`"#]].assert_eq(&all.join("\n"));
    }

    fn due(catch_up: CatchUp, settled: &str, now: &str) -> String {
        let cron = Cron::read("0 * * * *", "UTC").unwrap();
        let policy = Policy { catch_up, window: Span::secs(4 * 3600), jitter: Span(0), seed: 0 };
        let Due { runs, missed, settled, next } = cron.due(&policy, at(settled), at(now));
        let hour = |it: &Timestamp| it.to_string()[11..16].to_string();
        let runs: Vec<String> = runs.iter().map(hour).collect();
        let next = next.as_ref().map(hour).unwrap_or_default();
        format!("run {runs:?}, missed {missed}, settled {}, next {next}", hour(&settled))
    }

    #[test]
    fn missed_times_follow_the_policy() {
        let on_time = ("2026-11-20T09:00:00Z", "2026-11-20T10:00:05Z");
        let late = ("2026-11-20T07:00:00Z", "2026-11-20T10:30:00Z");
        let days = ("2026-11-10T07:00:00Z", "2026-11-20T10:30:00Z");
        let mut all = String::new();
        for (settled, now) in [on_time, late, days] {
            for catch_up in [CatchUp::Latest, CatchUp::All, CatchUp::None] {
                all += &format!("{catch_up:?}: {}\n", due(catch_up, settled, now));
            }
        }
        expect![[r#"
            Latest: run ["10:00"], missed false, settled 10:00, next 11:00
            All: run ["10:00"], missed false, settled 10:00, next 11:00
            None: run ["10:00"], missed false, settled 10:00, next 11:00
            Latest: run ["10:00"], missed true, settled 10:00, next 11:00
            All: run ["08:00", "09:00", "10:00"], missed false, settled 10:00, next 11:00
            None: run [], missed true, settled 10:00, next 11:00
            Latest: run ["10:00"], missed true, settled 10:00, next 11:00
            All: run ["07:00", "08:00", "09:00", "10:00"], missed true, settled 10:00, next 11:00
            None: run [], missed true, settled 10:00, next 11:00
        "#]]
        .assert_eq(&all);
    }

    #[test]
    fn jitter_puts_off_each_time_by_its_own_part_and_loses_none() {
        let cron = Cron::read("0 * * * *", "UTC").unwrap();
        let policy = |seed| Policy {
            catch_up: CatchUp::Latest,
            window: Span::secs(3600),
            jitter: Span::secs(600),
            seed,
        };
        let mut settled = at("2026-11-20T00:00:00Z");
        let mut now = settled;
        let mut runs = Vec::new();
        let mut parts = Vec::new();
        for _ in 0..24 {
            let due = cron.due(&policy(7), settled, now);
            parts.extend(due.runs.iter().map(|it| now.since(*it).0));
            runs.extend(due.runs);
            settled = due.settled;
            now = due.next.unwrap();
        }
        assert_eq!(runs, cron.upcoming(at("2026-11-20T00:00:00Z"), 23));
        assert!(parts.iter().all(|it| (0..600_000_000).contains(it)), "{parts:?}");
        parts.sort_unstable();
        parts.dedup();
        assert_eq!(parts.len(), 23, "no two are put off alike");
        let other = cron.due(&policy(8), at("2026-11-20T00:00:00Z"), at("2026-11-20T00:00:00Z"));
        let this = cron.due(&policy(7), at("2026-11-20T00:00:00Z"), at("2026-11-20T00:00:00Z"));
        assert_ne!(other.next, this.next);
    }
}
