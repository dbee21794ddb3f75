//! Runs action blocks: instant, deterministic changes inside a step.

use std::sync::Arc;

use traaviis_model::{Body, Text, Value, record::PatchOp, record::TimerKind};

use crate::{
    expr::EvalError,
    machine::{ActionDef, ActionKind, StateId},
    step::{InternalEvent, Origin, Run},
};

impl Run<'_> {
    /// Runs a block in order. A failed expression raises `error.expression` and ends the block.
    pub(crate) fn act(&mut self, actions: &[ActionDef], state: StateId) {
        for action in actions {
            if let Err(error) = self.act_one(action, state) {
                self.expression_failed(&error, &action.pointer, state);
                return;
            }
        }
    }

    fn act_one(&mut self, action: &ActionDef, state: StateId) -> Result<(), EvalError> {
        if let Some(when) = &action.when
            && !when.eval_bool(&self.env())?
        {
            return Ok(());
        }
        match &action.kind {
            ActionKind::Assign(pairs) => {
                for (path, template) in pairs {
                    let value = self.render(template)?;
                    self.put_data(path, value, &action.pointer)?;
                }
            }
            ActionKind::Remove(paths) => {
                for path in paths {
                    self.remove_data(path, &action.pointer);
                }
            }
            ActionKind::Merge(template) => {
                let value = self.render(template)?;
                self.merge_data(&value, &action.pointer)?;
            }
            ActionKind::Raise { event, data, delay, id } => {
                let data = self.render_or_null(data.as_ref())?;
                match delay {
                    None => {
                        let origin = Origin::State(state);
                        self.queue.push_back(InternalEvent::internal(event.clone(), data, origin));
                    }
                    Some(delay) => {
                        let span = self.span(delay)?;
                        let kind = TimerKind::Raise { event: event.clone(), id: id.clone() };
                        self.schedule(span, kind, data);
                    }
                }
            }
            ActionKind::Cancel(wanted) => self.cancel_timers(
                |kind| matches!(kind, TimerKind::Raise { id: Some(id), .. } if id == wanted),
            ),
            ActionKind::Log { level, message, data } => {
                let message = text_of(&self.render(message)?);
                let data = self.render_or_null(data.as_ref())?;
                self.emit(Body::Logged { level: level.clone(), message, data });
            }
            ActionKind::Emit { event, data, subject } => {
                let data = self.render_or_null(data.as_ref())?;
                let subject = match subject {
                    Some(subject) => Some(text_of(&self.render(subject)?)),
                    None => None,
                };
                self.emit(Body::Emitted { event: event.clone(), data, subject });
            }
        }
        Ok(())
    }

    /// Sets a dotted key of `data`, making missing maps on the way.
    pub(crate) fn put_data(
        &mut self,
        path: &str,
        value: Value,
        cause: &Text,
    ) -> Result<(), EvalError> {
        let op = put_op(&self.snapshot.data, path, value)?;
        self.emit(Body::DataChanged { patch: vec![op], cause: cause.clone() });
        Ok(())
    }

    /// Removes a dotted key of `data`; returns what it held.
    pub(crate) fn remove_data(&mut self, path: &str, cause: &Text) -> Value {
        let Some(held) = self.snapshot.data.at_path(path).cloned() else { return Value::Null };
        let pointer: String = path.split('.').map(|it| format!("/{}", escape(it))).collect();
        let op = PatchOp::Remove { path: pointer.into() };
        self.emit(Body::DataChanged { patch: vec![op], cause: cause.clone() });
        held
    }

    /// Merges the keys of an object into `data`.
    pub(crate) fn merge_data(&mut self, value: &Value, cause: &Text) -> Result<(), EvalError> {
        let Value::Map(map) = value else {
            return Err(EvalError {
                code: "expression_error",
                message: format!("only a map can be merged into `data`, this is {}", value.kind()),
            });
        };
        let patch: Vec<PatchOp> = Arc::clone(map)
            .iter()
            .map(|(key, value)| {
                let path: Text = format!("/{}", escape(key)).into();
                let value = value.clone();
                match self.snapshot.data.get(key) {
                    Some(_) => PatchOp::Replace { path, value },
                    None => PatchOp::Add { path, value },
                }
            })
            .collect();
        if !patch.is_empty() {
            self.emit(Body::DataChanged { patch, cause: cause.clone() });
        }
        Ok(())
    }
}

/// Returns the operation that sets a dotted key, making missing maps on the way.
pub(crate) fn put_op(data: &Value, path: &str, value: Value) -> Result<PatchOp, EvalError> {
    let mut pointer = String::new();
    let mut at = Some(data);
    let mut segments = path.split('.').peekable();
    while let Some(segment) = segments.next() {
        pointer.push('/');
        pointer.push_str(&escape(segment));
        let held = match at {
            Some(Value::Map(map)) => map.get(segment),
            Some(Value::List(items)) => {
                let held = segment.parse::<usize>().ok().and_then(|index| items.get(index));
                Some(held.ok_or_else(|| no_place(path, segment, "no such list position"))?)
            }
            Some(other) => return Err(no_place(path, segment, other.kind())),
            None => None,
        };
        if segments.peek().is_none() || held.is_none_or(Value::is_null) {
            // What is missing on the way is added with the value inside.
            let rest: Vec<&str> = segments.collect();
            let value = rest.iter().rev().fold(value, |inner, key| Value::map([(*key, inner)]));
            let path: Text = pointer.into();
            return Ok(match held {
                Some(_) => PatchOp::Replace { path, value },
                None => PatchOp::Add { path, value },
            });
        }
        at = held;
    }
    Err(no_place(path, "", "nothing"))
}

fn no_place(path: &str, segment: &str, found: &str) -> EvalError {
    EvalError {
        code: "expression_error",
        message: format!("cannot set `data.{path}`: there is {found} at `{segment}`, not a map"),
    }
}

fn escape(segment: &str) -> std::borrow::Cow<'_, str> {
    if segment.contains(['~', '/']) {
        segment.replace('~', "~0").replace('/', "~1").into()
    } else {
        segment.into()
    }
}

/// Returns text as it is and any other value as JSON.
pub(crate) fn text_of(value: &Value) -> Text {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "".into(),
        other => other.to_json().into(),
    }
}
