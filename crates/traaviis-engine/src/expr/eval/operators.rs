//! The operators: arithmetic of numbers and times, order, equality and membership.

use std::{cmp::Ordering, sync::Arc};

use traaviis_model::{
    time::{Span, Timestamp},
    value::{Value, compare_numbers},
};

use super::{Evaluation, fault::Fault, plain};
use crate::expr::{functions, parser::Operator};

impl Evaluation<'_> {
    pub(super) fn binary(
        &mut self,
        operator: Operator,
        left: Value,
        right: Value,
    ) -> Result<Value, Fault> {
        // Whole numbers first: most guards compare them.
        if let (Value::Int(a), Value::Int(b)) = (&left, &right) {
            return whole(operator, *a, *b);
        }
        let (left, right) = match operator {
            Operator::Equal | Operator::Unequal => match (left, right) {
                (a @ Value::Optional(_), b @ Value::Optional(_)) => (a, b),
                (a, b) => (plain(a), plain(b)),
            },
            _ => (plain(left), plain(right)),
        };
        let ordered = |wanted: fn(Ordering) -> bool, sign: &str, run: &mut Self| match run
            .order(&left, &right)
        {
            Some(Ok(ordering)) => Ok(Value::Bool(ordering.is_some_and(wanted))),
            Some(Err(fault)) => Err(fault),
            None => Err(mismatch("compare", &left, sign, &right)),
        };
        match operator {
            Operator::Equal => self.equal_loosely(&left, &right).map(Value::Bool),
            Operator::Unequal => self.equal_loosely(&left, &right).map(|it| Value::Bool(!it)),
            Operator::Less => ordered(Ordering::is_lt, "<", self),
            Operator::LessEqual => ordered(Ordering::is_le, "<=", self),
            Operator::Greater => ordered(Ordering::is_gt, ">", self),
            Operator::GreaterEqual => ordered(Ordering::is_ge, ">=", self),
            Operator::In => self.is_in(&left, &right).map(Value::Bool),
            Operator::Add => self.add(&left, &right),
            Operator::Subtract => subtract(&left, &right),
            Operator::Multiply | Operator::Divide | Operator::Modulo => {
                arithmetic(operator, &left, &right)
            }
        }
    }

    /// Compares; none when the kinds have no order, inner none for NaN.
    pub(in crate::expr) fn order(
        &mut self,
        left: &Value,
        right: &Value,
    ) -> Option<Result<Option<Ordering>, Fault>> {
        let ordering = match (left, right) {
            (
                Value::Int(_) | Value::Uint(_) | Value::Float(_),
                Value::Int(_) | Value::Uint(_) | Value::Float(_),
            ) => compare_numbers(left, right),
            (Value::String(a), Value::String(b)) => {
                if let Err(fault) = self.budget.charge(a.len().min(b.len()) / 64) {
                    return Some(Err(fault));
                }
                Some(a.cmp(b))
            }
            (Value::Bytes(a), Value::Bytes(b)) => {
                if let Err(fault) = self.budget.charge(a.len().min(b.len()) / 64) {
                    return Some(Err(fault));
                }
                Some(a.cmp(b))
            }
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            (Value::Time(a), Value::Time(b)) => Some(a.cmp(b)),
            (Value::Span(a), Value::Span(b)) => Some(a.cmp(b)),
            (Value::Time(a), Value::String(b)) => match b.parse::<Timestamp>() {
                Ok(b) => Some(a.cmp(&b)),
                Err(message) => return Some(Err(Fault::other(message))),
            },
            (Value::Span(a), Value::String(b)) => match b.parse::<Span>() {
                Ok(b) => Some(a.cmp(&b)),
                Err(message) => return Some(Err(Fault::other(message))),
            },
            (Value::String(_), Value::Time(_) | Value::Span(_)) => {
                return self
                    .order(right, left)
                    .map(|it| it.map(|ordering| ordering.map(Ordering::reverse)));
            }
            _ => return None,
        };
        Some(Ok(ordering))
    }

    fn equal_loosely(&mut self, left: &Value, right: &Value) -> Result<bool, Fault> {
        match (left, right) {
            (Value::Time(at), Value::String(text)) | (Value::String(text), Value::Time(at)) => {
                Ok(text.parse::<Timestamp>().is_ok_and(|it| it == *at))
            }
            (Value::Span(span), Value::String(text)) | (Value::String(text), Value::Span(span)) => {
                Ok(text.parse::<Span>().is_ok_and(|it| it == *span))
            }
            _ => self.equal(left, right),
        }
    }

    /// Compares by value and pays for what it looks at.
    pub(in crate::expr) fn equal(&mut self, left: &Value, right: &Value) -> Result<bool, Fault> {
        match (left, right) {
            (Value::String(a), Value::String(b)) => {
                if a.len() != b.len() {
                    return Ok(false);
                }
                self.budget.charge(a.len() / 64)?;
                Ok(a == b)
            }
            (Value::List(a), Value::List(b)) => {
                if a.len() != b.len() {
                    return Ok(false);
                }
                for (a, b) in a.iter().zip(b.iter()) {
                    self.budget.charge(1)?;
                    if !self.equal(a, b)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Value::Map(a), Value::Map(b)) => {
                if a.len() != b.len() {
                    return Ok(false);
                }
                for ((key, a), (other, b)) in a.iter().zip(b.iter()) {
                    self.budget.charge(1)?;
                    if key != other || !self.equal(a, b)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Value::Optional(Some(a)), Value::Optional(Some(b))) => {
                self.budget.charge(1)?;
                self.equal(a, b)
            }
            _ => Ok(left == right),
        }
    }

    pub(in crate::expr) fn is_in(&mut self, item: &Value, holder: &Value) -> Result<bool, Fault> {
        match holder {
            Value::List(items) => {
                for have in items.iter() {
                    self.budget.charge(1)?;
                    if self.equal(item, have)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Value::Map(map) => match item {
                Value::String(key) => Ok(map.contains_key(key)),
                _ => Ok(false),
            },
            Value::String(_) => Err(Fault::other(
                "`in` looks into a list or a map; for texts write text.contains(part)",
            )),
            other => {
                Err(Fault::other(format!("`in` looks into a list or a map, not {}", other.kind())))
            }
        }
    }

    pub(in crate::expr) fn add(&mut self, left: &Value, right: &Value) -> Result<Value, Fault> {
        match (left, right) {
            (Value::String(a), Value::String(b)) => {
                self.budget.charge((a.len() + b.len()) / 16)?;
                let mut text = String::with_capacity(a.len() + b.len());
                text.push_str(a);
                text.push_str(b);
                Ok(Value::from(text))
            }
            (Value::Bytes(a), Value::Bytes(b)) => {
                self.budget.charge((a.len() + b.len()) / 16)?;
                Ok(Value::Bytes([&a[..], &b[..]].concat().into()))
            }
            (Value::List(a), Value::List(b)) => {
                self.budget.charge((a.len() + b.len()) / 4)?;
                Ok(Value::List(Arc::new([&a[..], &b[..]].concat())))
            }
            (Value::Time(at), Value::Span(span)) | (Value::Span(span), Value::Time(at)) => {
                moved(*at, span.0)
            }
            (Value::Span(a), Value::Span(b)) => {
                a.0.checked_add(b.0)
                    .map(|it| Value::Span(Span(it)))
                    .ok_or_else(|| Fault::other("duration is out of range"))
            }
            _ => arithmetic(Operator::Add, left, right),
        }
    }
}

#[cold]
fn mismatch(verb: &str, left: &Value, sign: &str, right: &Value) -> Fault {
    let hint = match (left, right) {
        (Value::String(_), Value::Null | Value::Secret(_))
        | (Value::Null | Value::Secret(_), Value::String(_)) => "",
        (Value::Time(_) | Value::Span(_), Value::String(text))
        | (Value::String(text), Value::Time(_) | Value::Span(_))
            if text.parse::<Span>().is_ok() =>
        {
            "; `data` holds durations as text, read it with duration(x)"
        }
        (Value::Time(_) | Value::Span(_), Value::String(text))
        | (Value::String(text), Value::Time(_) | Value::Span(_))
            if text.parse::<Timestamp>().is_ok() =>
        {
            "; `data` holds times as text, read it with timestamp(x)"
        }
        (Value::String(_), _) | (_, Value::String(_)) if sign == "+" => {
            "; turn it into text with string(x)"
        }
        _ => "",
    };
    Fault::other(format!("cannot {verb} {} {sign} {}{hint}", left.kind(), right.kind()))
}

#[inline]
fn whole(operator: Operator, a: i64, b: i64) -> Result<Value, Fault> {
    let made = match operator {
        Operator::Equal => return Ok(Value::Bool(a == b)),
        Operator::Unequal => return Ok(Value::Bool(a != b)),
        Operator::Less => return Ok(Value::Bool(a < b)),
        Operator::LessEqual => return Ok(Value::Bool(a <= b)),
        Operator::Greater => return Ok(Value::Bool(a > b)),
        Operator::GreaterEqual => return Ok(Value::Bool(a >= b)),
        Operator::Add => a.checked_add(b),
        Operator::Subtract => a.checked_sub(b),
        Operator::Multiply => a.checked_mul(b),
        Operator::Divide | Operator::Modulo if b == 0 => return Err(by_zero()),
        Operator::Divide => a.checked_div(b),
        // The smallest number modulo -1 is 0, though the division overflows.
        Operator::Modulo => Some(a.wrapping_rem(b)),
        Operator::In => {
            return Err(Fault::other("`in` looks into a list or a map, not int"));
        }
    };
    made.map(Value::Int).ok_or_else(|| Fault::other("whole number overflows 64 bits"))
}

#[cold]
fn by_zero() -> Fault {
    Fault::other("division by zero")
}

/// Computes with two numbers of any kinds.
pub(in crate::expr) fn arithmetic(
    operator: Operator,
    left: &Value,
    right: &Value,
) -> Result<Value, Fault> {
    let sign = match operator {
        Operator::Add => "+",
        Operator::Subtract => "-",
        Operator::Multiply => "*",
        Operator::Divide => "/",
        _ => "%",
    };
    let wrong = || mismatch("compute", left, sign, right);
    if let (Value::Int(a), Value::Int(b)) = (left, right) {
        return whole(operator, *a, *b);
    }
    if let (Some(a), Some(b)) = (wide(left), wide(right)) {
        let made = match operator {
            Operator::Add => Some(a + b),
            Operator::Subtract => Some(a - b),
            Operator::Multiply => a.checked_mul(b),
            _ if b == 0 => return Err(by_zero()),
            Operator::Divide => Some(a / b),
            _ => Some(a % b),
        };
        let unsigned = matches!((left, right), (Value::Uint(_), Value::Uint(_)));
        return made
            .and_then(|made| match (unsigned, i64::try_from(made)) {
                (false, Ok(made)) => Some(Value::Int(made)),
                _ => u64::try_from(made).ok().map(Value::Uint),
            })
            .ok_or_else(|| Fault::other("whole number overflows 64 bits"));
    }
    let (Some(a), Some(b)) = (left.as_f64(), right.as_f64()) else {
        return Err(wrong());
    };
    Ok(Value::Float(match operator {
        Operator::Add => a + b,
        Operator::Subtract => a - b,
        Operator::Multiply => a * b,
        Operator::Divide => a / b,
        _ => return Err(wrong()),
    }))
}

fn wide(value: &Value) -> Option<i128> {
    match value {
        Value::Int(it) => Some(i128::from(*it)),
        Value::Uint(it) => Some(i128::from(*it)),
        _ => None,
    }
}

pub(super) fn negate(value: Value) -> Result<Value, Fault> {
    let negated = match &value {
        Value::Int(it) => it.checked_neg().map(Value::Int),
        Value::Uint(it) => i64::try_from(-i128::from(*it)).ok().map(Value::Int),
        Value::Float(it) => Some(Value::Float(-it)),
        Value::Span(it) => it.0.checked_neg().map(|it| Value::Span(Span(it))),
        other => return Err(Fault::other(format!("cannot negate {}", other.kind()))),
    };
    negated.ok_or_else(|| Fault::other("whole number overflows 64 bits"))
}

fn subtract(left: &Value, right: &Value) -> Result<Value, Fault> {
    let range = || Fault::other("duration is out of range");
    match (left, right) {
        (Value::Time(a), Value::Time(b)) => {
            a.0.checked_sub(b.0).map(|it| Value::Span(Span(it))).ok_or_else(range)
        }
        (Value::Time(at), Value::Span(span)) => moved(*at, span.0.checked_neg().ok_or_else(range)?),
        (Value::Span(a), Value::Span(b)) => {
            a.0.checked_sub(b.0).map(|it| Value::Span(Span(it))).ok_or_else(range)
        }
        (Value::Time(_), Value::String(text)) => {
            if text.parse::<Span>().is_ok() {
                return Err(mismatch("compute", left, "-", right));
            }
            let other = functions::read_time(text)?;
            subtract(left, &Value::Time(other))
        }
        (Value::String(text), Value::Time(_) | Value::Span(_)) => {
            let at = functions::read_time(text)?;
            subtract(&Value::Time(at), right)
        }
        _ => arithmetic(Operator::Subtract, left, right),
    }
}

/// Returns a time moved by microseconds, within the years 1 to 9999.
pub(in crate::expr) fn moved(at: Timestamp, micros: i64) -> Result<Value, Fault> {
    const YEARS: std::ops::RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_300_799_999_999;
    at.0.checked_add(micros)
        .filter(|it| YEARS.contains(it))
        .map(|it| Value::Time(Timestamp(it)))
        .ok_or_else(|| Fault::other("time is outside the years 1 to 9999"))
}
