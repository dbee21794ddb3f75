//! Functions of lists: ordered, cut, grouped, and rid of what stands in them twice.
//!
//! Every item is paid for before it is looked at, so that shared parts cannot stand for endless
//! work.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use traaviis_model::{
    ids::Text,
    value::{Value, compare_numbers},
};

use super::{Function, conversion::text_in, list_of, text_of, wrong};
use crate::expr::eval::{Budget, Evaluation, Fault};

pub(super) fn lists(
    function: Function,
    args: &[Value],
    run: &mut Evaluation<'_>,
) -> Result<Value, Fault> {
    let name = function.name();
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
pub(super) fn part(
    args: &[Value],
    count: usize,
    name: &str,
) -> Result<std::ops::Range<usize>, Fault> {
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
pub(super) fn total_order(a: &Value, b: &Value) -> Ordering {
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
