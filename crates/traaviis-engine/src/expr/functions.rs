//! The functions of expressions: one table, one match, and a file for each family of bodies.
//!
//! Each function pays for its work before it does it. A unit stands for about 100 ns, see
//! `EXPRESSION_COST_MAX`.

mod conversion;
mod draw;
mod encoding;
mod list;
mod map;
mod number;
mod text;
mod time;

use std::sync::Arc;

use jiff::civil::Weekday;

use traaviis_model::value::{Map, Value};

use super::eval::{Evaluation, Fault, moved};
use conversion::{convert, size};
use encoding::{encode, similarity};
use list::lists;
use map::maps;
use number::{aggregate, round, step};
use text::texts;
use time::{format_time, getter, to_span, to_time, zoned};

pub(super) use conversion::text_in;
pub(super) use draw::{draw, place};
pub(crate) use encoding::approx_tokens;
pub(super) use text::matches;
pub use text::pattern;
pub(super) use time::read_time;

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
    /// Returns the name messages call it by: its first in the table.
    fn name(self) -> &'static str {
        TABLE.iter().find(|it| it.1 == self).map_or("", |it| it.0)
    }

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
