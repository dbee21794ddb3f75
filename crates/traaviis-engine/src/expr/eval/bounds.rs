//! The size of values and results, measured without walking what is too large.

use traaviis_model::value::Value;

use crate::expr::EvalError;

/// Returns the size of a value as JSON, or none when it is over `limit`; stops looking there.
pub(in crate::expr) fn measure(value: &Value, limit: usize) -> Option<usize> {
    fn left_after(value: &Value, left: usize) -> Option<usize> {
        match value {
            Value::List(items) => items.iter().try_fold(left.checked_sub(2)?, |left, item| {
                left_after(item, left.checked_sub(1)?)
            }),
            Value::Map(map) => map.iter().try_fold(left.checked_sub(2)?, |left, (key, item)| {
                left_after(item, left.checked_sub(key.len() + 4)?)
            }),
            Value::Optional(Some(inner)) => left_after(inner, left.checked_sub(1)?),
            scalar => left.checked_sub(scalar.json_len()),
        }
    }
    left_after(value, limit).map(|left| limit - left)
}

/// Returns the size of a result, refusing what is too large or stands for a secret.
pub(in crate::expr) fn check_result(value: &Value, limit: usize) -> Result<usize, EvalError> {
    if let Value::Bool(_) | Value::Int(_) | Value::Float(_) = value {
        return Ok(8);
    }
    let size = measure(value, limit).ok_or_else(|| EvalError {
        code: EvalError::LIMIT,
        message: format!("result is larger than {limit} bytes"),
    })?;
    if value.forges_secret() {
        return Err(EvalError {
            code: EvalError::ERROR,
            message: "a map with the key `$secret` is no value; write secret(\"NAME\")".to_owned(),
        });
    }
    Ok(size)
}
