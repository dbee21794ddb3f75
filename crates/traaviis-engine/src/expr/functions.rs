//! The functions of expressions: one table, one match, pure bodies.
//!
//! Each function pays for its work before it does it. A unit stands for about 100 ns, see
//! `EXPRESSION_COST_MAX`.

mod encoding;

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::{Zoned, civil::Weekday, tz::TimeZone};
use regex::{Regex, RegexBuilder};
use sha2::{Digest, Sha256};

use traaviis_model::{
    ids::Text,
    limits::EXPRESSION_TEXT_BYTES_MAX,
    time::{Span, Timestamp},
    value::{Map, Value, base64, compare_numbers},
};

use super::{
    eval::{Budget, Evaluation, Fault, arithmetic, measure, moved},
    parser::Operator,
};
pub(crate) use encoding::approx_tokens;
use encoding::{base64_decode, similarity};

/// Functions that are called like others; macros and lazy ones are in `compile`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table and the reference say what they do")]
pub enum Function {
    Size,
    ToInt,
    ToUint,
    ToDouble,
    ToString,
    ToBool,
    ToBytes,
    Dyn,
    Type,
    Contains,
    StartsWith,
    EndsWith,
    Matches,
    ToTimestamp,
    ToDuration,
    FullYear,
    Month,
    DayOfMonth,
    Date,
    DayOfWeek,
    DayOfYear,
    Hours,
    Minutes,
    Seconds,
    Milliseconds,
    HasValue,
    OptionalValue,
    OptionalOf,
    OptionalOfNonZero,
    Or,
    Merge,
    Pick,
    Omit,
    Get,
    Keys,
    Values,
    Sum,
    Min,
    Max,
    Avg,
    Round,
    Floor,
    Ceil,
    Abs,
    Clamp,
    Sort,
    SortBy,
    Distinct,
    Reverse,
    Slice,
    Flatten,
    Zip,
    Range,
    GroupBy,
    Lower,
    Upper,
    Trim,
    Split,
    Join,
    Replace,
    Substring,
    Truncate,
    Slug,
    JsonEncode,
    JsonDecode,
    Base64Encode,
    Base64Decode,
    Sha256,
    UrlEncode,
    Add,
    FormatTime,
    BusinessDay,
    Uuid,
    Random,
    ApproxTokens,
    Similarity,
}

impl Function {
    /// Says whether arguments may be optionals; others get the value or null.
    pub fn takes_optional(self) -> bool {
        use Function::*;
        matches!(self, Type | HasValue | OptionalValue | OptionalOf | Or | Dyn)
    }
}

/// Name, function, least and most arguments; a method's target is the first.
pub const TABLE: &[(&str, Function, usize, usize)] = &[
    ("size", Function::Size, 1, 1),
    ("int", Function::ToInt, 1, 1),
    ("uint", Function::ToUint, 1, 1),
    ("double", Function::ToDouble, 1, 1),
    ("string", Function::ToString, 1, 1),
    ("bool", Function::ToBool, 1, 1),
    ("bytes", Function::ToBytes, 1, 1),
    ("dyn", Function::Dyn, 1, 1),
    ("type", Function::Type, 1, 1),
    ("contains", Function::Contains, 2, 2),
    ("startsWith", Function::StartsWith, 2, 2),
    ("endsWith", Function::EndsWith, 2, 2),
    ("matches", Function::Matches, 2, 2),
    ("timestamp", Function::ToTimestamp, 1, 1),
    ("duration", Function::ToDuration, 1, 1),
    ("getFullYear", Function::FullYear, 1, 2),
    ("getMonth", Function::Month, 1, 2),
    ("getDayOfMonth", Function::DayOfMonth, 1, 2),
    ("getDate", Function::Date, 1, 2),
    ("getDayOfWeek", Function::DayOfWeek, 1, 2),
    ("getDayOfYear", Function::DayOfYear, 1, 2),
    ("getHours", Function::Hours, 1, 2),
    ("getMinutes", Function::Minutes, 1, 2),
    ("getSeconds", Function::Seconds, 1, 2),
    ("getMilliseconds", Function::Milliseconds, 1, 2),
    ("hasValue", Function::HasValue, 1, 1),
    ("value", Function::OptionalValue, 1, 1),
    ("or", Function::Or, 2, 2),
    ("merge", Function::Merge, 1, usize::MAX),
    ("pick", Function::Pick, 2, usize::MAX),
    ("omit", Function::Omit, 2, usize::MAX),
    ("get", Function::Get, 2, 3),
    ("keys", Function::Keys, 1, 1),
    ("values", Function::Values, 1, 1),
    ("sum", Function::Sum, 1, 1),
    ("min", Function::Min, 1, usize::MAX),
    ("max", Function::Max, 1, usize::MAX),
    ("avg", Function::Avg, 1, 1),
    ("round", Function::Round, 1, 2),
    ("floor", Function::Floor, 1, 1),
    ("ceil", Function::Ceil, 1, 1),
    ("abs", Function::Abs, 1, 1),
    ("clamp", Function::Clamp, 3, 3),
    ("sort", Function::Sort, 1, 1),
    ("sort_by", Function::SortBy, 2, 2),
    ("distinct", Function::Distinct, 1, 1),
    ("reverse", Function::Reverse, 1, 1),
    ("slice", Function::Slice, 2, 3),
    ("flatten", Function::Flatten, 1, 1),
    ("zip", Function::Zip, 2, 2),
    ("range", Function::Range, 1, 2),
    ("group_by", Function::GroupBy, 2, 2),
    ("lower", Function::Lower, 1, 1),
    ("upper", Function::Upper, 1, 1),
    ("lowerAscii", Function::Lower, 1, 1),
    ("upperAscii", Function::Upper, 1, 1),
    ("trim", Function::Trim, 1, 1),
    ("split", Function::Split, 2, 2),
    ("join", Function::Join, 1, 2),
    ("replace", Function::Replace, 3, 3),
    ("substring", Function::Substring, 2, 3),
    ("truncate", Function::Truncate, 2, 2),
    ("slug", Function::Slug, 1, 1),
    ("json_encode", Function::JsonEncode, 1, 1),
    ("json_decode", Function::JsonDecode, 1, 1),
    ("base64_encode", Function::Base64Encode, 1, 1),
    ("base64_decode", Function::Base64Decode, 1, 1),
    ("sha256", Function::Sha256, 1, 1),
    ("url_encode", Function::UrlEncode, 1, 1),
    ("add", Function::Add, 2, 2),
    ("format_time", Function::FormatTime, 2, 3),
    ("business_day", Function::BusinessDay, 1, 2),
    ("uuid", Function::Uuid, 0, 0),
    ("random", Function::Random, 0, 0),
    ("approx_tokens", Function::ApproxTokens, 1, 1),
    ("similarity", Function::Similarity, 2, 2),
];

/// Names that `compile` treats itself.
pub const SPECIAL: [&str; 12] = [
    "all",
    "exists",
    "exists_one",
    "existsOne",
    "filter",
    "map",
    "has",
    "default",
    "coalesce",
    "orValue",
    "in_state",
    "secret",
];

/// What `type(x)` can give; usable as names, so that `type(x) == int` works.
pub const TYPE_NAMES: [&str; 12] = [
    "bool",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "list",
    "map",
    "null_type",
    "timestamp",
    "duration",
    "optional",
];

/// Compiles a pattern; its size is bounded, and matching takes linear time.
pub fn pattern(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern).size_limit(1 << 18).dfa_size_limit(1 << 20).build().map_err(
        |error| match error {
            regex::Error::CompiledTooBig(_) => "pattern is too large".to_owned(),
            error => {
                let text = error.to_string();
                let reason = text.lines().last().unwrap_or_default().trim();
                format!("pattern is not valid: {}", reason.trim_start_matches("error: "))
            }
        },
    )
}

/// Returns where a call stands, so that two calls draw differently.
pub(super) fn place(source: &str, at: usize) -> u64 {
    let hash = source.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash ^ (at as u64).rotate_left(32)
}

/// Returns a uuid or a number from 0 up to 1, the same for the same arguments.
pub(super) fn draw(function: Function, seed: (u64, u64), place: u64, count: u64) -> Value {
    let mut hash = Sha256::new();
    for part in [seed.0, seed.1, place, count] {
        hash.update(part.to_le_bytes());
    }
    let digest = hash.finalize();
    let mut octets = [0u8; 16];
    octets.copy_from_slice(&digest[..16]);
    if function == Function::Uuid {
        return Value::from(uuid::Builder::from_random_bytes(octets).into_uuid().to_string());
    }
    let bits = u128::from_le_bytes(octets) as u64 >> 11;
    Value::Float(bits as f64 / (1u64 << 53) as f64)
}

/// Says whether a compiled pattern is found in a text.
pub(super) fn matches(budget: &mut Budget, text: &Value, regex: &Regex) -> Result<Value, Fault> {
    let text = text_of(text, "matches")?;
    let pattern = regex.as_str();
    // Counted repetitions and classes unfold into many states, all of which a byte may visit.
    let heavy = pattern.len() > 32 || pattern.contains(['{', '\\']);
    budget.charge(4 + if heavy { text.len() } else { text.len() / 4 })?;
    Ok(Value::Bool(regex.is_match(text)))
}

/// Reads a time, also a date alone.
pub(super) fn read_time(text: &str) -> Result<Timestamp, Fault> {
    text.parse().map_err(Fault::other)
}

/// Returns the text a value has inside a longer text: null is empty, lists and maps are JSON.
pub(super) fn text_in(value: &Value, budget: &mut Budget) -> Result<Text, Fault> {
    Ok(match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Optional(None) => "".into(),
        Value::Optional(Some(inner)) => return text_in(inner, budget),
        Value::Bool(it) => if *it { "true" } else { "false" }.into(),
        Value::Int(it) => it.to_string().into(),
        Value::Uint(it) => it.to_string().into(),
        Value::Float(it) => float_text(*it).into(),
        Value::Time(it) => it.to_string().into(),
        Value::Span(it) => it.to_string().into(),
        Value::Bytes(it) => {
            budget.charge(it.len() / 8)?;
            base64(it).into()
        }
        Value::Secret(name) => {
            return Err(Fault::other(format!(
                "secret `{name}` must be the whole text, it cannot be part of one"
            )));
        }
        Value::List(_) | Value::Map(_) => json(value, budget)?.into(),
    })
}

fn float_text(float: f64) -> String {
    let size = float.abs();
    if float == 0.0 || (1e-7..1e21).contains(&size) || !float.is_finite() {
        float.to_string()
    } else {
        format!("{float:e}")
    }
}

fn json(value: &Value, budget: &mut Budget) -> Result<String, Fault> {
    // Measured first: shared parts can make a small value long beyond memory.
    let size = measure(value, EXPRESSION_TEXT_BYTES_MAX).ok_or_else(|| {
        Fault::limit(format!("JSON text is longer than {EXPRESSION_TEXT_BYTES_MAX} bytes"))
    })?;
    budget.charge(size / 8)?;
    Ok(value.to_json())
}

/// Runs a function on its arguments; their number was checked when compiling.
pub(super) fn apply(
    function: Function,
    args: &[Value],
    run: &mut Evaluation<'_>,
) -> Result<Value, Fault> {
    use Function::*;
    const NULL: &Value = &Value::Null;
    let first = args.first().unwrap_or(NULL);
    let second = args.get(1).unwrap_or(NULL);
    let third = args.get(2).unwrap_or(NULL);
    match function {
        Size => size(first, run.budget),
        ToInt | ToUint | ToDouble | ToString | ToBool | ToBytes => convert(function, first, run),
        OptionalOf => Ok(Value::Optional(Some(Arc::new(first.clone())))),
        Dyn => Ok(first.clone()),
        Type => Ok(Value::from(match first {
            Value::Null => "null_type",
            other => other.kind(),
        })),
        Contains => match first {
            Value::List(_) => run.is_in(second, first).map(Value::Bool),
            first => {
                let (text, part) = (text_of(first, "contains")?, text_of(second, "contains")?);
                run.budget.charge((text.len() + part.len()) / 16)?;
                Ok(Value::Bool(text.contains(part)))
            }
        },
        StartsWith => {
            let (text, part) = (text_of(first, "startsWith")?, text_of(second, "startsWith")?);
            run.budget.charge(part.len() / 64)?;
            Ok(Value::Bool(text.starts_with(part)))
        }
        EndsWith => {
            let (text, part) = (text_of(first, "endsWith")?, text_of(second, "endsWith")?);
            run.budget.charge(part.len() / 64)?;
            Ok(Value::Bool(text.ends_with(part)))
        }
        Matches => {
            let Value::String(pattern) = second else {
                return Err(wrong("matches", "a pattern", second));
            };
            let regex = run.pattern(pattern)?;
            matches(run.budget, first, &regex)
        }
        ToTimestamp => to_time(first).map(Value::Time),
        ToDuration => to_span(first).map(Value::Span),
        FullYear | Month | DayOfMonth | Date | DayOfWeek | DayOfYear | Hours | Minutes
        | Seconds | Milliseconds => getter(function, first, args.get(1), run.budget),
        HasValue => Ok(Value::Bool(match first {
            Value::Optional(inner) => inner.is_some(),
            other => !other.is_null(),
        })),
        OptionalValue => match first {
            Value::Optional(Some(inner)) => Ok((**inner).clone()),
            Value::Optional(None) => Err(Fault::missing("the optional has no value")),
            other => Ok(other.clone()),
        },
        Or => Ok(match first {
            Value::Optional(None) | Value::Null => second.clone(),
            first => first.clone(),
        }),
        OptionalOfNonZero => {
            let zero = match first {
                Value::Null => true,
                Value::Bool(it) => !it,
                Value::String(it) => it.is_empty(),
                Value::List(it) => it.is_empty(),
                Value::Map(it) => it.is_empty(),
                other => other.as_f64() == Some(0.0),
            };
            Ok(Value::Optional((!zero).then(|| Arc::new(first.clone()))))
        }
        Merge | Pick | Omit | Get | Keys | Values => maps(function, args, run),
        Sum | Min | Max | Avg | Clamp => aggregate(function, args, run),
        Round => round(first, args.get(1)),
        Floor | Ceil | Abs => step(function, first),
        Sort | SortBy | Distinct | Reverse | Slice | Flatten | Zip | Range | GroupBy => {
            lists(function, args, run)
        }
        Lower | Upper | Trim | Split | Join | Replace | Substring | Truncate | Slug => {
            texts(function, first, second, third, args.len(), run.budget)
        }
        JsonEncode | JsonDecode | Base64Encode | Base64Decode | Sha256 | UrlEncode => {
            encode(function, first, run.budget)
        }
        Add => match first {
            Value::Span(_) => run.add(first, &Value::Span(to_span(second)?)),
            first => moved(to_time(first)?, to_span(second)?.0),
        },
        FormatTime => format_time(first, second, args.get(2), run.budget),
        BusinessDay => {
            let weekday = zoned(first, args.get(1), run.budget)?.weekday();
            Ok(Value::Bool(!matches!(weekday, Weekday::Saturday | Weekday::Sunday)))
        }
        // `compile` gives these their place.
        Uuid | Random => Err(Fault::other("no place to draw from")),
        ApproxTokens => {
            let text = text_of(first, "approx_tokens")?;
            run.budget.charge(text.len() / 16)?;
            Ok(Value::Int(approx_tokens(text)))
        }
        Similarity => {
            let (a, b) = (text_of(first, "similarity")?, text_of(second, "similarity")?);
            run.budget.charge(a.len() + b.len())?;
            Ok(Value::Float(similarity(a, b)))
        }
    }
}

#[cold]
fn wrong(function: &str, wanted: &str, given: &Value) -> Fault {
    Fault::other(format!("`{function}` takes {wanted}, not {}", given.kind()))
}

fn text_of<'a>(value: &'a Value, function: &str) -> Result<&'a str, Fault> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(wrong(function, "a text", other)),
    }
}

fn list_of<'a>(value: &'a Value, function: &str) -> Result<&'a Arc<Vec<Value>>, Fault> {
    match value {
        Value::List(items) => Ok(items),
        other => Err(wrong(function, "a list", other)),
    }
}

fn map_of<'a>(value: &'a Value, function: &str) -> Result<&'a Arc<Map>, Fault> {
    match value {
        Value::Map(map) => Ok(map),
        other => Err(wrong(function, "a map", other)),
    }
}

fn count_of(value: &Value, function: &str) -> Result<usize, Fault> {
    let count = value.as_i64().ok_or_else(|| wrong(function, "a whole number", value))?;
    usize::try_from(count)
        .map_err(|_| Fault::other(format!("`{function}` takes no negative number, {count} given")))
}

fn size(value: &Value, budget: &mut Budget) -> Result<Value, Fault> {
    let size = match value {
        Value::String(text) => {
            budget.charge(text.len() / 64)?;
            text.chars().count()
        }
        Value::Bytes(bytes) => bytes.len(),
        Value::List(items) => items.len(),
        Value::Map(map) => map.len(),
        other => return Err(wrong("size", "a text, list or map", other)),
    };
    Ok(Value::Int(size as i64))
}

fn convert(function: Function, value: &Value, run: &mut Evaluation<'_>) -> Result<Value, Fault> {
    let shown = |value: &Value| match value {
        Value::String(text) => format!("`{}`", text.chars().take(40).collect::<String>()),
        Value::Int(_) | Value::Uint(_) | Value::Float(_) => format!("`{value}`"),
        other => other.kind().to_owned(),
    };
    let name = TABLE.iter().find(|it| it.1 == function).map_or("", |it| it.0);
    let made = match (function, value) {
        (Function::ToInt, Value::Int(_)) | (Function::ToUint, Value::Uint(_)) => {
            Some(value.clone())
        }
        (Function::ToInt, Value::Uint(it)) => i64::try_from(*it).ok().map(Value::Int),
        (Function::ToInt, Value::Float(it)) => {
            // The bounds themselves are excluded: they round to numbers outside.
            (*it > -9_223_372_036_854_775_808.0 && *it < 9_223_372_036_854_775_808.0)
                .then_some(Value::Int(*it as i64))
        }
        (Function::ToInt, Value::String(it)) => it.parse().ok().map(Value::Int),
        (Function::ToInt, Value::Time(it)) => Some(Value::Int(it.0.div_euclid(1_000_000))),
        (Function::ToUint, Value::Int(it)) => u64::try_from(*it).ok().map(Value::Uint),
        (Function::ToUint, Value::Float(it)) => {
            (*it >= 0.0 && *it < 18_446_744_073_709_551_616.0).then_some(Value::Uint(*it as u64))
        }
        (Function::ToUint, Value::String(it)) => it.parse().ok().map(Value::Uint),
        (Function::ToDouble, Value::String(it)) => it.parse().ok().map(Value::Float),
        (Function::ToDouble, number) => number.as_f64().map(Value::Float),
        (Function::ToBool, Value::Bool(_)) => Some(value.clone()),
        (Function::ToBool, Value::String(it)) => match &**it {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(Value::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(Value::Bool(false)),
            _ => None,
        },
        (Function::ToBytes, Value::Bytes(_)) => Some(value.clone()),
        (Function::ToBytes, Value::String(it)) => {
            run.budget.charge(it.len() / 64)?;
            Some(Value::Bytes(it.as_bytes().into()))
        }
        (Function::ToString, Value::Bytes(it)) => {
            run.budget.charge(it.len() / 32)?;
            std::str::from_utf8(it).ok().map(Value::from)
        }
        (Function::ToString, Value::Null) => Some(Value::from("null")),
        (Function::ToString, value) => Some(Value::String(text_in(value, run.budget)?)),
        _ => None,
    };
    made.ok_or_else(|| Fault::other(format!("cannot make {name} of {}", shown(value))))
}

fn to_time(value: &Value) -> Result<Timestamp, Fault> {
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

fn to_span(value: &Value) -> Result<Span, Fault> {
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

fn zoned(at: &Value, zone_name: Option<&Value>, budget: &mut Budget) -> Result<Zoned, Fault> {
    let at = to_time(at)?;
    let zone = zone(zone_name, budget)?;
    budget.charge(2)?;
    jiff::Timestamp::from_microsecond(at.0)
        .map(|at| at.to_zoned(zone))
        .map_err(|_| Fault::other("time is out of range"))
}

fn getter(
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

fn format_time(
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

fn maps(function: Function, args: &[Value], run: &mut Evaluation<'_>) -> Result<Value, Fault> {
    let first = &args[0];
    match function {
        Function::Merge => {
            let mut merged: BTreeMap<Text, Value> = BTreeMap::new();
            for arg in args {
                if arg.is_null() {
                    continue;
                }
                let map = map_of(arg, "merge")?;
                run.budget.charge(map.len())?;
                merged.extend(map.iter().map(|(key, value)| (key.clone(), value.clone())));
            }
            Ok(Value::map(merged))
        }
        Function::Pick | Function::Omit => {
            let name = if function == Function::Pick { "pick" } else { "omit" };
            let map = map_of(first, name)?;
            let keys = match &args[1..] {
                [Value::List(keys)] => keys.as_slice(),
                keys => keys,
            };
            let wanted =
                keys.iter().map(|it| text_of(it, name)).collect::<Result<BTreeSet<_>, _>>()?;
            run.budget.charge(map.len() / 2 + keys.len())?;
            let keep = function == Function::Pick;
            Ok(Value::map(
                map.iter()
                    .filter(|(key, _)| wanted.contains(&***key) == keep)
                    .map(|(key, value)| (key.clone(), value.clone())),
            ))
        }
        Function::Get => {
            let path = text_of(&args[1], "get")?;
            run.budget.charge(path.len() / 16)?;
            Ok(first.at_path(path).or(args.get(2)).cloned().unwrap_or_default())
        }
        Function::Keys => {
            let map = map_of(first, "keys")?;
            run.budget.charge(map.len() / 4)?;
            Ok(Value::list(map.iter().map(|(key, _)| Value::String(key.clone()))))
        }
        _ => {
            let map = map_of(first, "values")?;
            run.budget.charge(map.len() / 4)?;
            Ok(Value::list(map.iter().map(|(_, value)| value.clone())))
        }
    }
}

fn aggregate(function: Function, args: &[Value], run: &mut Evaluation<'_>) -> Result<Value, Fault> {
    let name = TABLE.iter().find(|it| it.1 == function).map_or("", |it| it.0);
    if function == Function::Clamp {
        let [value, least, most] = args else {
            return Err(Fault::other("`clamp` takes a value and two bounds"));
        };
        let low = ordering(value, least, name, run)?.is_lt();
        let high = ordering(value, most, name, run)?.is_gt();
        return Ok(if low {
            least
        } else if high {
            most
        } else {
            value
        }
        .clone());
    }
    let items = match args {
        [Value::List(items)] => items.as_slice(),
        [other] if matches!(function, Function::Sum | Function::Avg) => {
            return Err(wrong(name, "a list", other));
        }
        items => items,
    };
    run.budget.charge(items.len())?;
    let Some((first, rest)) = items.split_first() else {
        return match function {
            Function::Sum => Ok(Value::Int(0)),
            _ => Err(Fault::missing(format!("`{name}` of an empty list"))),
        };
    };
    if matches!(function, Function::Min | Function::Max) {
        let mut best = first;
        let wanted = if function == Function::Min { Ordering::Less } else { Ordering::Greater };
        if rest.is_empty() {
            ordering(best, best, name, run)?;
        }
        for item in rest {
            if ordering(item, best, name, run)? == wanted {
                best = item;
            }
        }
        return Ok(best.clone());
    }
    let mut total = first.clone();
    for item in items {
        if !matches!(item, Value::Int(_) | Value::Uint(_) | Value::Float(_) | Value::Span(_)) {
            return Err(wrong(name, "numbers or durations", item));
        }
    }
    for item in rest {
        total = run.add(&total, item)?;
    }
    match (function, total) {
        (Function::Sum, total) => Ok(total),
        (_, Value::Span(Span(micros))) => Ok(Value::Span(Span(micros / items.len() as i64))),
        (_, total) => arithmetic(
            Operator::Divide,
            &Value::Float(total.as_f64().unwrap_or_default()),
            &Value::Float(items.len() as f64),
        ),
    }
}

/// Compares two values that must have an order; NaN stands after all numbers.
fn ordering(
    a: &Value,
    b: &Value,
    function: &str,
    run: &mut Evaluation<'_>,
) -> Result<Ordering, Fault> {
    match run.order(a, b) {
        Some(found) => Ok(found?.unwrap_or_else(|| total_order(a, b))),
        None => {
            Err(Fault::other(format!("`{function}` cannot compare {} and {}", a.kind(), b.kind())))
        }
    }
}

fn round(value: &Value, places: Option<&Value>) -> Result<Value, Fault> {
    let places = match places {
        None => 0,
        Some(places) => places
            .as_i64()
            .filter(|it| (-15..=15).contains(it))
            .ok_or_else(|| Fault::other("`round` takes -15 to 15 places"))?,
    };
    let rounded = match value {
        Value::Int(_) | Value::Uint(_) if places >= 0 => return Ok(value.clone()),
        Value::Int(_) | Value::Uint(_) | Value::Float(_) => {
            let float = value.as_f64().unwrap_or_default();
            let scale = 10f64.powi(places.unsigned_abs() as i32);
            let scaled = if places < 0 { float / scale } else { float * scale };
            match (scaled.is_finite(), places < 0) {
                (false, _) => float,
                (true, true) => scaled.round() * scale,
                (true, false) => scaled.round() / scale,
            }
        }
        other => return Err(wrong("round", "a number", other)),
    };
    Ok(if places <= 0 { whole_if_fits(rounded) } else { Value::Float(rounded) })
}

fn step(function: Function, value: &Value) -> Result<Value, Fault> {
    match (function, value) {
        (Function::Abs, Value::Int(it)) => it
            .checked_abs()
            .map(Value::Int)
            .ok_or_else(|| Fault::other("whole number overflows 64 bits")),
        (Function::Abs, Value::Float(it)) => Ok(Value::Float(it.abs())),
        (_, Value::Int(_) | Value::Uint(_)) => Ok(value.clone()),
        (Function::Floor, Value::Float(it)) => Ok(whole_if_fits(it.floor())),
        (_, Value::Float(it)) => Ok(whole_if_fits(it.ceil())),
        (_, other) => Err(wrong("a rounding function", "a number", other)),
    }
}

fn whole_if_fits(float: f64) -> Value {
    if float.abs() < 9e18 { Value::Int(float as i64) } else { Value::Float(float) }
}

fn lists(function: Function, args: &[Value], run: &mut Evaluation<'_>) -> Result<Value, Fault> {
    let name = TABLE.iter().find(|it| it.1 == function).map_or("", |it| it.0);
    if function == Function::Range {
        return range(args, run.budget);
    }
    let items = list_of(&args[0], name)?;
    match function {
        Function::Sort => {
            let keys = items.iter().cloned().map(|it| (it.clone(), it)).collect();
            sorted(keys, name, run.budget)
        }
        Function::SortBy => {
            let path = text_of(&args[1], name)?;
            run.budget.charge(items.len() * (1 + path.len() / 16))?;
            let keys = items
                .iter()
                .map(|it| (it.at_path(path).cloned().unwrap_or_default(), it.clone()))
                .collect();
            sorted(keys, name, run.budget)
        }
        Function::Distinct => {
            let mut seen = BTreeSet::new();
            let mut kept = Vec::new();
            for item in items.iter() {
                run.budget.charge(1)?;
                let mut identity = Vec::new();
                identify(item, &mut identity, run.budget)?;
                if seen.insert(identity) {
                    kept.push(item.clone());
                }
            }
            Ok(Value::List(Arc::new(kept)))
        }
        Function::Reverse => {
            run.budget.charge(items.len())?;
            Ok(Value::list(items.iter().rev().cloned()))
        }
        Function::Slice => {
            let part = part(args, items.len(), name)?;
            run.budget.charge(part.len())?;
            Ok(Value::list(items[part].iter().cloned()))
        }
        Function::Flatten => {
            let mut flat = Vec::new();
            for item in items.iter() {
                match item {
                    Value::List(inner) => {
                        run.budget.charge(1 + inner.len() / 4)?;
                        flat.extend(inner.iter().cloned());
                    }
                    item => {
                        run.budget.charge(1)?;
                        flat.push(item.clone());
                    }
                }
            }
            Ok(Value::List(Arc::new(flat)))
        }
        Function::Zip => {
            let others = list_of(&args[1], name)?;
            run.budget.charge(items.len().min(others.len()))?;
            Ok(Value::list(
                items.iter().zip(others.iter()).map(|(a, b)| Value::list([a.clone(), b.clone()])),
            ))
        }
        _ => {
            let path = text_of(&args[1], name)?;
            let mut groups: BTreeMap<Text, Vec<Value>> = BTreeMap::new();
            for item in items.iter() {
                run.budget.charge(3 + path.len() / 16)?;
                let key = match item.at_path(path) {
                    Some(key) => text_in(key, run.budget)?,
                    None => "".into(),
                };
                groups.entry(key).or_default().push(item.clone());
            }
            Ok(Value::map(groups.into_iter().map(|(key, it)| (key, Value::List(Arc::new(it))))))
        }
    }
}

/// Returns which items `slice` takes; a list that is shorter gives fewer.
fn part(args: &[Value], count: usize, name: &str) -> Result<std::ops::Range<usize>, Fault> {
    let bound = |it: &Value| match it.as_i64() {
        Some(at) if at >= 0 => Ok(usize::try_from(at).unwrap_or(usize::MAX).min(count)),
        _ => Err(wrong(name, "whole numbers from 0", it)),
    };
    let from = bound(&args[1])?;
    let to = args.get(2).map_or(Ok(count), bound)?;
    Ok(from..to.max(from))
}

fn range(args: &[Value], budget: &mut Budget) -> Result<Value, Fault> {
    let bound = |it: &Value| it.as_i64().ok_or_else(|| wrong("range", "whole numbers", it));
    let (from, to) = match args {
        [to] => (0, bound(to)?),
        [from, to, ..] => (bound(from)?, bound(to)?),
        [] => (0, 0),
    };
    let count = usize::try_from(i128::from(to) - i128::from(from)).unwrap_or(0);
    budget.charge(count)?;
    Ok(Value::list((from..to).map(Value::Int)))
}

/// Sorts by the first of each pair, keeping the order of equals; null stands last.
fn sorted(
    mut pairs: Vec<(Value, Value)>,
    function: &str,
    budget: &mut Budget,
) -> Result<Value, Fault> {
    let mut rank_seen = None;
    let mut key_bytes = 0;
    for (key, _) in &pairs {
        let rank = match key {
            Value::Null => continue,
            Value::Int(_) | Value::Uint(_) | Value::Float(_) => 1,
            Value::String(text) => {
                key_bytes += text.len();
                2
            }
            Value::Bool(_) => 3,
            Value::Time(_) => 4,
            Value::Span(_) => 5,
            other => return Err(wrong(function, "numbers, texts or times", other)),
        };
        if *rank_seen.get_or_insert(rank) != rank {
            return Err(Fault::other(format!("`{function}` cannot compare values of mixed kinds")));
        }
    }
    let rounds = (usize::BITS - pairs.len().leading_zeros()) as usize;
    budget.charge((pairs.len() + key_bytes / 64).saturating_mul(rounds + 2) / 2)?;
    pairs.sort_by(|(a, _), (b, _)| total_order(a, b));
    Ok(Value::list(pairs.into_iter().map(|(_, item)| item)))
}

/// Orders values of one kind, NaN after all numbers and null after everything.
fn total_order(a: &Value, b: &Value) -> Ordering {
    let is_nan = |it: &Value| matches!(it, Value::Float(it) if it.is_nan());
    match (a, b) {
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Time(a), Value::Time(b)) => a.cmp(b),
        (Value::Span(a), Value::Span(b)) => a.cmp(b),
        (Value::Null, _) | (_, Value::Null) => a.is_null().cmp(&b.is_null()),
        _ => compare_numbers(a, b).unwrap_or_else(|| is_nan(a).cmp(&is_nan(b))),
    }
}

/// Appends bytes that are equal exactly for equal values.
fn identify(value: &Value, out: &mut Vec<u8>, budget: &mut Budget) -> Result<(), Fault> {
    match value {
        Value::Int(it) => {
            out.push(b'n');
            out.extend_from_slice(&i128::from(*it).to_le_bytes());
        }
        Value::Uint(it) => {
            out.push(b'n');
            out.extend_from_slice(&i128::from(*it).to_le_bytes());
        }
        Value::Float(it) if it.fract() == 0.0 && it.abs() < 1e30 => {
            out.push(b'n');
            out.extend_from_slice(&(*it as i128).to_le_bytes());
        }
        Value::Float(it) => {
            out.push(b'f');
            out.extend_from_slice(&it.to_bits().to_le_bytes());
        }
        Value::List(items) => {
            budget.charge(1 + items.len())?;
            out.push(b'l');
            out.extend_from_slice(&items.len().to_le_bytes());
            for item in items.iter() {
                identify(item, out, budget)?;
            }
        }
        Value::Map(map) => {
            budget.charge(1 + map.len())?;
            out.push(b'm');
            out.extend_from_slice(&map.len().to_le_bytes());
            for (key, item) in map.iter() {
                budget.charge(key.len() / 16)?;
                out.extend_from_slice(&key.len().to_le_bytes());
                out.extend_from_slice(key.as_bytes());
                identify(item, out, budget)?;
            }
        }
        Value::Optional(Some(inner)) => {
            out.push(b'o');
            identify(inner, out, budget)?;
        }
        other => {
            let text = match other {
                Value::String(text) => text.clone(),
                other => text_of_scalar(other),
            };
            budget.charge(text.len() / 16)?;
            out.extend_from_slice(other.kind().as_bytes());
            out.extend_from_slice(&text.len().to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        }
    }
    Ok(())
}

fn text_of_scalar(value: &Value) -> Text {
    value.to_json().into()
}

fn texts(
    function: Function,
    first: &Value,
    second: &Value,
    third: &Value,
    count: usize,
    budget: &mut Budget,
) -> Result<Value, Fault> {
    let name = TABLE.iter().find(|it| it.1 == function).map_or("", |it| it.0);
    if function == Function::Join {
        return join(first, if count > 1 { text_of(second, name)? } else { "" }, budget);
    }
    let text = text_of(first, name)?;
    budget.charge(text.len() / 16)?;
    match function {
        Function::Lower => {
            budget.charge(text.len() / 8)?;
            Ok(Value::from(text.to_lowercase()))
        }
        Function::Upper => {
            budget.charge(text.len() / 8)?;
            Ok(Value::from(text.to_uppercase()))
        }
        Function::Trim => Ok(Value::from(text.trim())),
        Function::Split => {
            let by = text_of(second, name)?;
            let parts =
                if by.is_empty() { text.chars().count() } else { text.matches(by).count() + 1 };
            budget.charge(parts)?;
            Ok(if by.is_empty() {
                Value::list(text.chars().map(|it| Value::from(&*it.encode_utf8(&mut [0; 4]))))
            } else {
                Value::list(text.split(by).map(Value::from))
            })
        }
        Function::Replace => {
            let (from, to) = (text_of(second, name)?, text_of(third, name)?);
            let found = text.matches(from).count();
            budget.charge(found + (text.len() + found.saturating_mul(to.len())) / 16)?;
            Ok(Value::from(text.replace(from, to)))
        }
        Function::Substring => {
            let from = count_of(second, name)?;
            let to = if count > 2 { count_of(third, name)? } else { usize::MAX };
            Ok(Value::from(
                text.chars().skip(from).take(to.saturating_sub(from)).collect::<String>(),
            ))
        }
        Function::Truncate => {
            let most = count_of(second, name)?;
            match text.char_indices().nth(most) {
                Some((end, _)) => Ok(Value::from(&text[..end])),
                None => Ok(first.clone()),
            }
        }
        _ => {
            budget.charge(text.len() / 4)?;
            Ok(Value::from(slug(text)))
        }
    }
}

fn join(list: &Value, by: &str, budget: &mut Budget) -> Result<Value, Fault> {
    let mut joined = String::new();
    for (at, item) in list_of(list, "join")?.iter().enumerate() {
        let text = text_in(item, budget)?;
        budget.charge(1 + (text.len() + by.len()) / 16)?;
        if at > 0 {
            joined.push_str(by);
        }
        joined.push_str(&text);
    }
    Ok(Value::from(joined))
}

/// Returns lower-case letters and digits with single hyphens between.
fn slug(text: &str) -> String {
    let mut slug = String::with_capacity(text.len());
    for letter in text.chars().flat_map(char::to_lowercase) {
        let plain = match letter {
            'à' | 'á' | 'â' | 'ã' | 'ä' | 'å' | 'ā' | 'ą' => "a",
            'æ' => "ae",
            'ç' | 'ć' | 'č' => "c",
            'ď' | 'đ' => "d",
            'è' | 'é' | 'ê' | 'ë' | 'ē' | 'ę' | 'ě' => "e",
            'ì' | 'í' | 'î' | 'ï' | 'ī' => "i",
            'ł' => "l",
            'ñ' | 'ń' | 'ň' => "n",
            'ò' | 'ó' | 'ô' | 'õ' | 'ö' | 'ø' | 'ō' | 'ő' => "o",
            'œ' => "oe",
            'ř' => "r",
            'ß' => "ss",
            'ś' | 'š' | 'ş' => "s",
            'ť' => "t",
            'ù' | 'ú' | 'û' | 'ü' | 'ū' | 'ů' | 'ű' => "u",
            'ý' | 'ÿ' => "y",
            'ź' | 'ż' | 'ž' => "z",
            letter if letter.is_alphanumeric() => {
                slug.push(letter);
                continue;
            }
            _ => {
                if !slug.is_empty() && !slug.ends_with('-') {
                    slug.push('-');
                }
                continue;
            }
        };
        slug.push_str(plain);
    }
    slug.truncate(slug.trim_end_matches('-').len());
    slug
}

fn encode(function: Function, value: &Value, budget: &mut Budget) -> Result<Value, Fault> {
    let name = TABLE.iter().find(|it| it.1 == function).map_or("", |it| it.0);
    if function == Function::JsonEncode {
        return json(value, budget).map(Value::from);
    }
    let octets: &[u8] = match value {
        Value::String(text) => text.as_bytes(),
        Value::Bytes(bytes) => bytes,
        other => return Err(wrong(name, "a text or bytes", other)),
    };
    budget.charge(5 + octets.len() / 4)?;
    match function {
        Function::JsonDecode => {
            budget.charge(octets.len() / 4)?;
            let decoded: Value = serde_json::from_slice(octets)
                .map_err(|error| Fault::other(format!("text is not JSON: {error}")))?;
            if decoded.names_secret() {
                return Err(Fault::other("decoded JSON names a secret, which text cannot do"));
            }
            Ok(decoded)
        }
        Function::Base64Encode => Ok(Value::from(base64(octets))),
        Function::Base64Decode => {
            let decoded =
                base64_decode(octets).ok_or_else(|| Fault::other("text is not base64"))?;
            Ok(match String::from_utf8(decoded) {
                Ok(text) => Value::from(text),
                Err(error) => Value::Bytes(error.into_bytes().into()),
            })
        }
        Function::Sha256 => Ok(Value::from(
            Sha256::digest(octets)
                .iter()
                .flat_map(|it| [it >> 4, it & 15])
                .filter_map(|it| char::from_digit(u32::from(it), 16))
                .collect::<String>(),
        )),
        _ => {
            let mut encoded = String::with_capacity(octets.len());
            for octet in octets {
                match octet {
                    b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                        encoded.push(char::from(*octet));
                    }
                    octet => {
                        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
                        encoded.push('%');
                        encoded.push(char::from(DIGITS[usize::from(octet >> 4)]));
                        encoded.push(char::from(DIGITS[usize::from(octet & 15)]));
                    }
                }
            }
            Ok(Value::from(encoded))
        }
    }
}
