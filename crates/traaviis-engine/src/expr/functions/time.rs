//! Times and spans: read, taken apart in a time zone, and written by a format.

use jiff::{Zoned, tz::TimeZone};

use traaviis_model::{
    time::{Span, Timestamp},
    value::Value,
};

use super::{Function, text_of, wrong};
use crate::expr::eval::{Budget, Fault, moved};

/// Reads a time, also a date alone.
pub(in crate::expr) fn read_time(text: &str) -> Result<Timestamp, Fault> {
    text.parse().map_err(Fault::other)
}

pub(super) fn to_time(value: &Value) -> Result<Timestamp, Fault> {
    match value {
        Value::Time(at) => Ok(*at),
        Value::String(text) => read_time(text),
        Value::Int(seconds) => match moved(Timestamp(0), seconds.saturating_mul(1_000_000))? {
            Value::Time(at) => Ok(at),
            _ => Ok(Timestamp(0)),
        },
        other => Err(wrong("timestamp", "a time or its text", other)),
    }
}

pub(super) fn to_span(value: &Value) -> Result<Span, Fault> {
    match value {
        Value::Span(span) => Ok(*span),
        Value::String(text) => text.parse().map_err(Fault::other),
        other => Err(wrong("duration", "a duration or its text", other)),
    }
}

fn zone(value: Option<&Value>, budget: &mut Budget) -> Result<TimeZone, Fault> {
    let Some(value) = value else {
        return Ok(TimeZone::UTC);
    };
    let name = text_of(value, "zone")?;
    if matches!(name, "UTC" | "Z" | "") {
        return Ok(TimeZone::UTC);
    }
    budget.charge(10)?;
    let offset = || -> Option<TimeZone> {
        let (sign, rest) = match name.as_bytes().first()? {
            b'-' => (-1, &name[1..]),
            b'+' => (1, &name[1..]),
            _ => (1, name),
        };
        let (hours, minutes) = rest.split_once(':')?;
        let (hours, minutes) = (hours.parse::<u8>().ok()?, minutes.parse::<u8>().ok()?);
        let seconds = sign * (i32::from(hours) * 3_600 + i32::from(minutes) * 60);
        Some(TimeZone::fixed(jiff::tz::Offset::from_seconds(seconds).ok()?))
    };
    if name.contains(':') {
        return offset().ok_or_else(|| Fault::other(format!("`{name}` is no time zone")));
    }
    TimeZone::get(name).map_err(|_| Fault::other(format!("`{name}` is no known time zone")))
}

pub(super) fn zoned(
    at: &Value,
    zone_name: Option<&Value>,
    budget: &mut Budget,
) -> Result<Zoned, Fault> {
    let at = to_time(at)?;
    let zone = zone(zone_name, budget)?;
    budget.charge(2)?;
    jiff::Timestamp::from_microsecond(at.0)
        .map(|at| at.to_zoned(zone))
        .map_err(|_| Fault::other("time is out of range"))
}

pub(super) fn getter(
    function: Function,
    of: &Value,
    zone_name: Option<&Value>,
    budget: &mut Budget,
) -> Result<Value, Fault> {
    let span = match of {
        Value::Span(span) => Some(*span),
        // A text may be either; only a duration has no year in front.
        Value::String(text) if zone_name.is_none() => text.parse::<Span>().ok(),
        _ => None,
    };
    if let Some(Span(micros)) = span {
        return match function {
            Function::Hours => Ok(Value::Int(micros / 3_600_000_000)),
            Function::Minutes => Ok(Value::Int(micros / 60_000_000)),
            Function::Seconds => Ok(Value::Int(micros / 1_000_000)),
            Function::Milliseconds => Ok(Value::Int(micros / 1_000 % 1_000)),
            _ => Err(Fault::other("a duration has no calendar date")),
        };
    }
    let at = zoned(of, zone_name, budget)?;
    let number = match function {
        Function::FullYear => i64::from(at.year()),
        Function::Month => i64::from(at.month()) - 1,
        Function::DayOfMonth => i64::from(at.day()) - 1,
        Function::Date => i64::from(at.day()),
        Function::DayOfWeek => i64::from(at.weekday().to_sunday_zero_offset()),
        Function::DayOfYear => i64::from(at.day_of_year()) - 1,
        Function::Hours => i64::from(at.hour()),
        Function::Minutes => i64::from(at.minute()),
        Function::Seconds => i64::from(at.second()),
        _ => i64::from(at.millisecond()),
    };
    Ok(Value::Int(number))
}

pub(super) fn format_time(
    at: &Value,
    layout: &Value,
    zone_name: Option<&Value>,
    budget: &mut Budget,
) -> Result<Value, Fault> {
    const LAYOUT_BYTES_MAX: usize = 256;
    let layout = text_of(layout, "format_time")?;
    if layout.len() > LAYOUT_BYTES_MAX {
        return Err(Fault::other(format!("layout is longer than {LAYOUT_BYTES_MAX} bytes")));
    }
    let at = zoned(at, zone_name, budget)?;
    budget.charge(layout.len())?;
    let text = jiff::fmt::strtime::format(layout.as_bytes(), &at)
        .map_err(|error| Fault::other(format!("layout `{layout}` is not valid: {error}")))?;
    budget.charge(text.len() / 16)?;
    Ok(Value::from(text))
}
