//! Functions of numbers: sums, extremes and means of many, rounding of one.

use std::cmp::Ordering;

use traaviis_model::{time::Span, value::Value};

use super::{Function, list::total_order, wrong};
use crate::expr::{
    eval::{Evaluation, Fault, arithmetic},
    parser::Operator,
};

pub(super) fn aggregate(
    function: Function,
    args: &[Value],
    run: &mut Evaluation<'_>,
) -> Result<Value, Fault> {
    let name = function.name();
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

pub(super) fn round(value: &Value, places: Option<&Value>) -> Result<Value, Fault> {
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

pub(super) fn step(function: Function, value: &Value) -> Result<Value, Fault> {
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
