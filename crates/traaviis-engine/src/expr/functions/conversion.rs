//! Values read as another type, and the text a value has inside a longer one.

use traaviis_model::{
    ids::Text,
    limits::EXPRESSION_TEXT_BYTES_MAX,
    value::{Value, base64},
};

use super::{Function, wrong};
use crate::expr::eval::{Budget, Evaluation, Fault, measure};

/// Returns the text a value has inside a longer text: null is empty, lists and maps are JSON.
pub(in crate::expr) fn text_in(value: &Value, budget: &mut Budget) -> Result<Text, Fault> {
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

pub(super) fn json(value: &Value, budget: &mut Budget) -> Result<String, Fault> {
    // Measured first: shared parts can make a small value long beyond memory.
    let size = measure(value, EXPRESSION_TEXT_BYTES_MAX).ok_or_else(|| {
        Fault::limit(format!("JSON text is longer than {EXPRESSION_TEXT_BYTES_MAX} bytes"))
    })?;
    budget.charge(size / 8)?;
    Ok(value.to_json())
}

pub(super) fn size(value: &Value, budget: &mut Budget) -> Result<Value, Fault> {
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

pub(super) fn convert(
    function: Function,
    value: &Value,
    run: &mut Evaluation<'_>,
) -> Result<Value, Fault> {
    let shown = |value: &Value| match value {
        Value::String(text) => format!("`{}`", text.chars().take(40).collect::<String>()),
        Value::Int(_) | Value::Uint(_) | Value::Float(_) => format!("`{value}`"),
        other => other.kind().to_owned(),
    };
    let name = function.name();
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
