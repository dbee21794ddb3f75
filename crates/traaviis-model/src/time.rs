//! Points and lengths of time, in whole microseconds, without a clock.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

/// A length of time in microseconds; may be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub i64);

impl Timestamp {
    /// Returns this point moved by `span`; stays at the end of the range instead of wrapping.
    pub fn plus(self, span: Span) -> Timestamp {
        Timestamp(self.0.saturating_add(span.0))
    }

    /// Returns the time from `earlier` to this.
    pub fn since(self, earlier: Timestamp) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Span {
    /// Returns a span of milliseconds.
    pub const fn millis(count: i64) -> Span {
        Span(count.saturating_mul(1_000))
    }

    /// Returns a span of seconds.
    pub const fn secs(count: i64) -> Span {
        Span(count.saturating_mul(1_000_000))
    }

    /// Returns the whole milliseconds.
    pub const fn as_millis(self) -> i64 {
        self.0 / 1_000
    }
}

impl Timestamp {
    /// Returns RFC 3339 in UTC with six digits, by arithmetic: records are written on the hot path.
    /// None outside the years 0 to 9999, which have no four digits.
    pub(crate) fn digits(self) -> Option<[u8; 27]> {
        let (year, month, day, seconds, micros) = self.civil();
        if !(0..=9999).contains(&year) {
            return None;
        }
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        let mut put = |last: usize, width: usize, number: i64| {
            let mut number = number as u32;
            for at in (0..width).map(|it| last - it) {
                text[at] = b'0' + (number % 10) as u8;
                number /= 10;
            }
        };
        put(3, 4, year);
        put(6, 2, month);
        put(9, 2, day);
        put(12, 2, seconds / 3600);
        put(15, 2, seconds / 60 % 60);
        put(18, 2, seconds % 60);
        put(25, 6, micros);
        Some(text)
    }

    /// Returns year, month, day, seconds of the day, and microseconds, in UTC.
    fn civil(self) -> (i64, i64, i64, i64, i64) {
        let seconds = self.0.div_euclid(1_000_000);
        let micros = self.0.rem_euclid(1_000_000);
        let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // Days to civil date, proleptic Gregorian, eras of 400 years starting on March 1.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        (year, month, day, rest, micros)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(digits) = self.digits() {
            // Digits are ASCII.
            return f.write_str(std::str::from_utf8(&digits).unwrap_or_default());
        }
        let (year, month, day, seconds, micros) = self.civil();
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
    }
}

impl FromStr for Timestamp {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let at: jiff::Timestamp = text
            .parse()
            .map_err(|_| format!("`{text}` is not a time such as 2026-01-31T10:00:00Z"))?;
        Ok(Timestamp(at.as_microsecond()))
    }
}

impl fmt::Display for Span {
    /// Writes the shortest exact form of the units `d h m s ms us`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let mut rest = self.0.unsigned_abs();
        for (unit, micros) in UNITS {
            let count = rest / micros;
            if count > 0 {
                write!(f, "{count}{unit}")?;
                rest %= micros;
            }
        }
        Ok(())
    }
}

const UNITS: [(&str, u64); 6] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

impl FromStr for Span {
    type Err = String;
    /// Reads `250ms`, `30s`, `1h30m`, `7d`, ISO 8601 such as `PT30S`, each with an optional sign.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || {
            format!("`{text}` is not a duration; write for example 250ms, 30s, 1h30m, 7d or PT30S")
        };
        let body = text.strip_prefix('-').unwrap_or(text);
        let micros = match body.strip_prefix('P') {
            Some(iso) => read_iso(iso),
            None => read_units(body, true),
        };
        let micros = micros.ok_or_else(wrong)?;
        Ok(Span(if body.len() < text.len() { -micros } else { micros }))
    }
}

fn read_iso(text: &str) -> Option<i64> {
    let (date, time) = text.split_once('T').unwrap_or((text, ""));
    if date.is_empty() && time.is_empty() {
        return None;
    }
    let date = if date.is_empty() { 0 } else { read_units(&date.to_ascii_lowercase(), false)? };
    let time = if time.is_empty() { 0 } else { read_units(&time.to_ascii_lowercase(), false)? };
    date.checked_add(time)
}

/// Sums `NUMBER UNIT` pairs; fractions are allowed.
fn read_units(mut text: &str, with_short: bool) -> Option<i64> {
    if text.is_empty() {
        return None;
    }
    let mut total = 0i64;
    while !text.is_empty() {
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number = &text[..digits];
        text = &text[digits..];
        let letters = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
        let unit = &text[..letters];
        text = &text[letters..];
        let micros = match unit {
            "w" => 7 * 86_400_000_000,
            "d" => 86_400_000_000,
            "h" => 3_600_000_000,
            "m" => 60_000_000,
            "s" => 1_000_000,
            "ms" if with_short => 1_000,
            "us" if with_short => 1,
            _ => return None,
        };
        let part = if number.contains('.') {
            let part = number.parse::<f64>().ok()? * micros as f64;
            (part.abs() < 9e18).then(|| part.round() as i64)?
        } else {
            number.parse::<i64>().ok()?.checked_mul(micros)?
        };
        total = total.checked_add(part)?;
    }
    Some(total)
}

macro_rules! serde_as_text {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(from)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
serde_as_text!(Timestamp);
serde_as_text!(Span);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_read_back_what_they_write() {
        for micros in [0, 1, -1, 951_782_400_000_000, 1_763_890_000_123_456, 4_102_444_800_000_000]
        {
            let text = Timestamp(micros).to_string();
            assert_eq!(text.parse::<Timestamp>().unwrap().0, micros, "{text}");
        }
        assert_eq!(Timestamp(951_782_400_000_000).to_string(), "2000-02-29T00:00:00.000000Z");
    }

    #[test]
    fn durations_are_read_in_every_documented_form() {
        for (text, millis) in [
            ("250ms", 250),
            ("30s", 30_000),
            ("1h30m", 5_400_000),
            ("7d", 604_800_000),
            ("PT30S", 30_000),
            ("P1DT1H", 90_000_000),
            ("1.5s", 1_500),
            ("-2s", -2_000),
        ] {
            assert_eq!(text.parse::<Span>().unwrap().as_millis(), millis, "{text}");
        }
        for text in ["", "5", "s", "1x", "P", "99999999999999d", "1h 2m"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        assert_eq!(Span::millis(5_400_250).to_string(), "1h30m250ms");
    }
}
