//! Days of a calendar in a time zone: which one a time lies in, and when it begins.
//!
//! Where clocks are put back over midnight a date comes in two pieces; a day here is one piece,
//! from its first moment to the first moment of the next, so days never overlap and leave nothing
//! out.

use jiff::{
    civil::{Date, date},
    tz::TimeZone,
};

use crate::time::Timestamp;

/// Microseconds of a day of 24 hours.
pub const DAY: i64 = 86_400_000_000;
/// The zone of who has chosen none.
pub const UTC: &str = "UTC";

/// A time zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// None: UTC, which needs no rules.
    zone: Option<TimeZone>,
}

impl Zone {
    /// Returns UTC.
    pub const fn utc() -> Zone {
        Zone { zone: None }
    }

    /// Returns the zone of an IANA name; none when there is none of this name.
    pub fn read(name: &str) -> Option<Zone> {
        match name {
            UTC => Some(Zone::utc()),
            name => Some(Zone { zone: Some(TimeZone::get(name).ok()?) }),
        }
    }

    /// Returns the day since 1970-01-01 that a time lies in.
    pub fn day_of(&self, at: Timestamp) -> i64 {
        let utc = at.0.div_euclid(DAY);
        let Some(zone) = &self.zone else { return utc };
        let Ok(instant) = jiff::Timestamp::from_microsecond(at.0) else { return utc };
        let day = number_of(zone.to_datetime(instant).date());
        // An hour that comes again after midnight belongs to the day that has begun.
        match () {
            () if at >= self.begins(day + 1) => day + 1,
            () if at < self.begins(day) => day - 1,
            () => day,
        }
    }

    /// Returns the first moment of a day since 1970-01-01.
    pub fn begins(&self, day: i64) -> Timestamp {
        let utc = Timestamp(day.saturating_mul(DAY));
        let Some(zone) = &self.zone else { return utc };
        let found = date_of(day).and_then(|it| it.to_zoned(zone.clone()).ok()?.start_of_day().ok());
        found.map_or(utc, |it| Timestamp(it.timestamp().as_microsecond()))
    }
}

fn number_of(it: Date) -> i64 {
    i64::from((it - date(1970, 1, 1)).get_days())
}

fn date_of(day: i64) -> Option<Date> {
    date(1970, 1, 1).checked_add(jiff::Span::new().try_days(day).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZONES: [&str; 9] = [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "America/Sao_Paulo",
        "America/Havana",
        "Asia/Kolkata",
        "Pacific/Kiritimati",
        "Pacific/Apia",
        "Australia/Lord_Howe",
    ];

    fn zone(name: &str) -> Zone {
        Zone::read(name).unwrap()
    }

    #[test]
    fn days_begin_at_midnight_of_the_zone() {
        for (name, at, begins) in [
            ("UTC", "2026-12-01T00:00:00Z", "2026-12-01T00:00:00Z"),
            ("Europe/Berlin", "2026-11-30T23:00:00Z", "2026-11-30T23:00:00Z"),
            ("Europe/Berlin", "2026-11-30T22:59:59.999999Z", "2026-11-29T23:00:00Z"),
            ("America/New_York", "2026-12-01T04:59:59Z", "2026-11-30T05:00:00Z"),
            ("Pacific/Kiritimati", "2026-11-30T10:00:00Z", "2026-11-30T10:00:00Z"),
            // Clocks were put forward in the night, and back in another.
            ("Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z"),
            ("Europe/Berlin", "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z"),
            // Midnight itself was left out.
            ("America/Sao_Paulo", "2018-11-04T12:00:00Z", "2018-11-04T03:00:00Z"),
        ] {
            let (zone, at) = (zone(name), at.parse().unwrap());
            let day = zone.day_of(at);
            assert_eq!(zone.begins(day), begins.parse().unwrap(), "{name} {at}");
        }
        assert_eq!(Zone::read("Europe/Atlantis"), None);
    }

    #[test]
    fn a_day_has_as_many_hours_as_its_clocks_say() {
        for (name, at, hours) in [
            ("Europe/Berlin", "2026-03-29T12:00:00Z", 23),
            ("Europe/Berlin", "2026-10-25T12:00:00Z", 25),
            ("America/New_York", "2026-03-08T12:00:00Z", 23),
            ("America/New_York", "2026-11-01T12:00:00Z", 25),
            ("Asia/Kolkata", "2026-03-29T12:00:00Z", 24),
            // They are put back at one o'clock in the night to midnight: the date comes twice.
            ("America/Havana", "2026-11-01T12:00:00Z", 25),
            ("Australia/Lord_Howe", "2026-04-04T20:00:00Z", 24),
        ] {
            let (zone, at) = (zone(name), at.parse().unwrap());
            let day = zone.day_of(at);
            let length = zone.begins(day + 1).0 - zone.begins(day).0;
            let (whole, rest) = (length / 3_600_000_000, length % 3_600_000_000);
            assert!(whole == hours && (rest == 0 || name.contains("Lord")), "{name} {at} {length}");
        }
    }

    #[test]
    fn every_time_lies_in_its_day() {
        for name in ZONES {
            let zone = zone(name);
            // Steps that share no divisor with an hour, over a hundred years.
            for at in (0..3_000_000_000_i64).step_by(7_654_321).map(|it| it * 1_000_000 + 7) {
                let at = Timestamp(at);
                let day = zone.day_of(at);
                assert!(zone.begins(day) <= at && at < zone.begins(day + 1), "{name} {at}");
                assert_eq!(zone.day_of(zone.begins(day)), day, "{name} {at}");
            }
        }
    }
}
