//! Reading what is inside of values: paths, fields, positions, and whether they are there.

use std::sync::Arc;

use traaviis_model::{ids::Text, value::Value};

use super::{Evaluation, fault::Fault, plain};
use crate::expr::{
    Var,
    compile::{Code, Index, Select},
};

impl Evaluation<'_> {
    pub(super) fn path(&self, var: Var, fields: &[Text]) -> Result<Value, Fault> {
        match self.env.field(var, &fields[0]) {
            Some(Some(value)) if fields.len() == 1 => Ok(value),
            Some(Some(value)) => {
                walk(&value, &fields[1..]).map_err(|stop| stop.fault(var.name(), fields, 1))
            }
            Some(None) => Err(Stop::Absent(0).fault(var.name(), fields, 0)),
            None => {
                let root = self.env.var(var).ok_or_else(|| unbound(var))?;
                walk(&root, fields).map_err(|stop| stop.fault(var.name(), fields, 0))
            }
        }
    }

    /// Returns the value at a path, or none when a step of it is missing; builds no message.
    pub(super) fn path_if_there(&self, var: Var, fields: &[Text]) -> Result<Option<Value>, Fault> {
        let (walked, skipped) = match self.env.field(var, &fields[0]) {
            Some(Some(value)) => (walk(&value, &fields[1..]), 1),
            Some(None) => return Ok(None),
            None => match self.env.var(var) {
                Some(root) => (walk(&root, fields), 0),
                None => return Ok(None),
            },
        };
        match walked {
            Ok(value) => Ok(Some(value)),
            Err(Stop::Absent(_) | Stop::Null(_)) => Ok(None),
            Err(stop) => Err(stop.fault(var.name(), fields, skipped)),
        }
    }

    pub(super) fn select(&mut self, select: &Select) -> Result<Value, Fault> {
        let of = self.run(&select.of)?;
        let fields = std::slice::from_ref(&select.field);
        if !select.optional {
            return walk(&of, fields).map_err(|stop| stop.fault(&select.shown, fields, 0));
        }
        match walk(&of, fields) {
            Ok(value @ Value::Optional(_)) if matches!(of, Value::Optional(_)) => Ok(value),
            Ok(value) => Ok(Value::Optional(Some(Arc::new(value)))),
            Err(Stop::Absent(_) | Stop::Null(_)) => Ok(Value::Optional(None)),
            Err(stop) => Err(stop.fault(&select.shown, fields, 0)),
        }
    }

    pub(super) fn index(&mut self, index: &Index) -> Result<Value, Fault> {
        let of = self.run(&index.of)?;
        let key = plain(self.run(&index.key)?);
        let (of, in_optional) = match of {
            Value::Optional(None) => return Ok(Value::Optional(None)),
            Value::Optional(Some(inner)) => ((*inner).clone(), true),
            of => (of, false),
        };
        match element(&of, &key, &index.shown) {
            Ok(value) if index.optional || in_optional => {
                Ok(Value::Optional(Some(Arc::new(value))))
            }
            Ok(value) => Ok(value),
            Err(fault) if fault.is_missing() && (index.optional || in_optional) => {
                Ok(Value::Optional(None))
            }
            Err(fault) => Err(fault),
        }
    }

    pub(super) fn has(&mut self, of: &Code) -> Result<bool, Fault> {
        let (holder, field, shown) = match of {
            Code::Path(var, fields) => {
                let (field, holders) = split_last(fields)?;
                if holders.is_empty()
                    && let Some(found) = self.env.field(*var, field)
                {
                    return Ok(found.is_some());
                }
                let holder = match holders {
                    [] => self.env.var(*var).ok_or_else(|| unbound(*var))?,
                    holders => self.path(*var, holders)?,
                };
                (holder, field, var.name())
            }
            Code::LocalPath(local, fields) => {
                let (field, holders) = split_last(fields)?;
                let holder = walk(self.local(local.slot), holders)
                    .map_err(|stop| stop.fault(&local.name, holders, 0))?;
                (holder, field, &*local.name)
            }
            Code::Select(select) => (self.run(&select.of)?, &select.field, &*select.shown),
            Code::Index(index) => {
                let of = self.run(&index.of)?;
                let key = plain(self.run(&index.key)?);
                return match element(&plain(of), &key, &index.shown) {
                    Ok(_) => Ok(true),
                    Err(fault) if fault.is_missing() => Ok(false),
                    Err(fault) => Err(fault),
                };
            }
            code => return self.run(code).map(|_| true),
        };
        match &holder {
            Value::Map(map) => Ok(map.contains_key(field)),
            Value::Optional(None) => Ok(false),
            Value::Optional(Some(inner)) => Ok(inner.get(field).is_some()),
            Value::Null => Err(Fault::missing(format!(
                "cannot look for `{field}`: what holds it in `{shown}` is null"
            ))),
            other => Err(Fault::other(format!("cannot look for `{field}` in {}", other.kind()))),
        }
    }
}

/// Where a walk along fields ended without a value.
pub(super) enum Stop {
    /// The map has no such key.
    Absent(usize),
    /// Null holds nothing.
    Null(usize),
    /// This kind of value has no fields.
    Kind(usize, &'static str),
}

impl Stop {
    #[cold]
    pub(super) fn fault(self, root: &str, fields: &[Text], skipped: usize) -> Fault {
        let (Stop::Absent(at) | Stop::Null(at) | Stop::Kind(at, _)) = self;
        let at = (at + skipped).min(fields.len().saturating_sub(1));
        let mut holder = root.to_owned();
        for field in &fields[..at] {
            holder.push('.');
            holder.push_str(field);
        }
        let field = fields.get(at).map_or("", |it| it);
        match self {
            Stop::Absent(_) => Fault::missing(format!("no such key `{field}` in `{holder}`")),
            Stop::Null(_) => Fault::missing(format!("no such key `{field}`: `{holder}` is null")),
            Stop::Kind(_, kind) => {
                Fault::other(format!("cannot read `{field}`: `{holder}` is {kind}, not a map"))
            }
        }
    }
}

/// Follows `fields` and clones only what stands at their end.
pub(super) fn walk(root: &Value, fields: &[Text]) -> Result<Value, Stop> {
    let mut value = root;
    for (at, field) in fields.iter().enumerate() {
        value = match value {
            Value::Map(map) => map.get(field).ok_or(Stop::Absent(at))?,
            Value::Null => return Err(Stop::Null(at)),
            Value::Optional(None) => return Ok(Value::Optional(None)),
            Value::Optional(Some(inner)) => {
                return match walk(inner, &fields[at..]) {
                    Ok(found @ Value::Optional(_)) => Ok(found),
                    Ok(found) => Ok(Value::Optional(Some(Arc::new(found)))),
                    Err(Stop::Absent(_) | Stop::Null(_)) => Ok(Value::Optional(None)),
                    Err(Stop::Kind(further, kind)) => Err(Stop::Kind(at + further, kind)),
                };
            }
            other => return Err(Stop::Kind(at, other.kind())),
        };
    }
    Ok(value.clone())
}

fn split_last(fields: &[Text]) -> Result<(&Text, &[Text]), Fault> {
    fields.split_last().ok_or_else(|| Fault::other("path is empty"))
}

#[cold]
pub(super) fn unbound(var: Var) -> Fault {
    Fault::missing(format!("variable `{}` is not available here", var.name()))
}

/// Returns one element of a list or map.
fn element(of: &Value, key: &Value, shown: &str) -> Result<Value, Fault> {
    match (of, key) {
        (Value::Map(map), Value::String(key)) => map
            .get(key)
            .cloned()
            .ok_or_else(|| Fault::missing(format!("no such key `{key}` in `{shown}`"))),
        (Value::Map(_), key) => {
            Err(Fault::other(format!("keys of `{shown}` are texts, not {}", key.kind())))
        }
        (Value::List(items), key) => {
            let at = key.as_i64().ok_or_else(|| {
                Fault::other(format!(
                    "positions in `{shown}` are whole numbers, not {}",
                    key.kind()
                ))
            })?;
            usize::try_from(at).ok().and_then(|at| items.get(at)).cloned().ok_or_else(|| {
                Fault::missing(format!("no position {at} in `{shown}`, it has {}", items.len()))
            })
        }
        (Value::Null, _) => Err(Fault::missing(format!("no such element: `{shown}` is null"))),
        (other, _) => Err(Fault::other(format!(
            "cannot take an element: `{shown}` is {}, not a list or map",
            other.kind()
        ))),
    }
}
