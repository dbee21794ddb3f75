//! Applies one RFC 6902 operation to a value, copying only what is shared.

use std::sync::Arc;

use crate::{record::PatchOp, value::Value};

/// The place that a patch names does not exist in the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSuchPlace;

/// Applies `op`.
pub fn apply_patch(root: &mut Value, op: &PatchOp) -> Result<(), NoSuchPlace> {
    let (path, value) = match op {
        PatchOp::Add { path, value } | PatchOp::Replace { path, value } => (path, Some(value)),
        PatchOp::Remove { path } => (path, None),
    };
    let Some(path) = path.strip_prefix('/') else {
        if path.is_empty() {
            *root = value.cloned().unwrap_or_default();
            return Ok(());
        }
        return Err(NoSuchPlace);
    };
    let mut segments = path.split('/').peekable();
    let mut at = root;
    while let Some(segment) = segments.next() {
        let segment: std::borrow::Cow<'_, str> = if segment.contains('~') {
            segment.replace("~1", "/").replace("~0", "~").into()
        } else {
            segment.into()
        };
        let last = segments.peek().is_none();
        match at {
            Value::Map(map) => {
                let map = Arc::make_mut(map);
                match (last, value) {
                    (true, Some(value)) => {
                        match map.get_mut(&segment) {
                            Some(held) => *held = value.clone(),
                            None => {
                                map.insert(&*segment, value.clone());
                            }
                        }
                        return Ok(());
                    }
                    (true, None) => return map.remove(&segment).map(|_| ()).ok_or(NoSuchPlace),
                    (false, _) => at = map.get_mut(&segment).ok_or(NoSuchPlace)?,
                }
            }
            Value::List(items) => {
                let items = Arc::make_mut(items);
                let index: usize = if &*segment == "-" {
                    items.len()
                } else {
                    segment.parse().map_err(|_| NoSuchPlace)?
                };
                match (last, op) {
                    (true, PatchOp::Add { value, .. }) if index <= items.len() => {
                        items.insert(index, value.clone());
                        return Ok(());
                    }
                    (true, PatchOp::Replace { value, .. }) => {
                        *items.get_mut(index).ok_or(NoSuchPlace)? = value.clone();
                        return Ok(());
                    }
                    (true, PatchOp::Remove { .. }) if index < items.len() => {
                        items.remove(index);
                        return Ok(());
                    }
                    (true, _) => return Err(NoSuchPlace),
                    (false, _) => at = items.get_mut(index).ok_or(NoSuchPlace)?,
                }
            }
            _ => return Err(NoSuchPlace),
        }
    }
    Err(NoSuchPlace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_change_only_their_place() {
        let check = |before: &str, op: &str, after: Result<&str, NoSuchPlace>| {
            let mut value: Value = serde_json::from_str(before).unwrap();
            let op: PatchOp = serde_json::from_str(op).unwrap();
            let result = apply_patch(&mut value, &op).map(|()| value.to_json());
            assert_eq!(result, after.map(str::to_string), "{before} {op:?}");
        };
        check("{}", r#"{"op":"add","path":"/a","value":1}"#, Ok(r#"{"a":1}"#));
        check(
            r#"{"a":{"b":1}}"#,
            r#"{"op":"replace","path":"/a/b","value":2}"#,
            Ok(r#"{"a":{"b":2}}"#),
        );
        check(r#"{"a/b":1}"#, r#"{"op":"remove","path":"/a~1b"}"#, Ok("{}"));
        check(r#"{"a":[1]}"#, r#"{"op":"add","path":"/a/-","value":2}"#, Ok(r#"{"a":[1,2]}"#));
        check("{}", r#"{"op":"add","path":"/a/b","value":1}"#, Err(NoSuchPlace));
        check(r#"{"a":[1]}"#, r#"{"op":"remove","path":"/a/4"}"#, Err(NoSuchPlace));
    }
}
