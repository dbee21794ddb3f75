//! Runs action blocks: instant, deterministic changes inside a step.

use std::sync::Arc;

use traaviis_model::{Body, Text, Value, limits, record::PatchOp, record::TimerKind};

use crate::{
    expr::{EvalError, Template},
    machine::{ActionDef, ActionKind, BranchDef, EventName, StateId, fitted},
    privacy::logged,
    step::{InternalEvent, Origin, Rejection, Run},
};

/// An action failed and its error was raised: what follows it in the block is not run.
struct Stopped;

impl Run<'_> {
    /// Runs a block in order. A failed expression raises `error.expression` and ends the block.
    pub(crate) fn act(&mut self, actions: &[ActionDef], state: StateId) {
        // Whoever entered or left the state goes on; the error is in the queue.
        let _ = self.act_all(actions, state);
    }

    fn act_all(&mut self, actions: &[ActionDef], state: StateId) -> Result<(), Stopped> {
        actions.iter().try_for_each(|it| self.act_one(it, state))
    }

    fn act_one(&mut self, action: &ActionDef, state: StateId) -> Result<(), Stopped> {
        match action.when.as_ref().map_or(Ok(true), |it| self.holds(it)) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) => return Err(self.stopped(&error, action, state)),
        }
        match &action.kind {
            ActionKind::Choose(branches) => self.choose(branches, state),
            ActionKind::ForEach { list, actions } => {
                self.for_each(list, actions, state, &action.pointer)
            }
            ActionKind::Block(actions) => {
                self.act(actions, state);
                Ok(())
            }
            _ => match self.change(action, state) {
                Ok(()) => Ok(()),
                Err(error) => Err(self.stopped(&error, action, state)),
            },
        }
    }

    /// Raises the error of an action, under the id of the event it would have raised.
    fn stopped(&mut self, error: &EvalError, action: &ActionDef, state: StateId) -> Stopped {
        self.expression_failed(error, &action.pointer, state);
        if let ActionKind::Raise { id: Some(id), .. } = &action.kind
            && let Ok(id) = self.render(id)
            && let Some(event) = self.queue.back_mut()
        {
            event.id = Some(text_of(&id));
        }
        Stopped
    }

    /// A condition that cannot be evaluated counts as false, as a guard does.
    fn choose(&mut self, branches: &[BranchDef], state: StateId) -> Result<(), Stopped> {
        for branch in branches {
            match branch.when.as_ref().map_or(Ok(true), |it| self.holds(it)) {
                Ok(true) => return self.act_all(&branch.actions, state),
                Ok(false) => {}
                Err(error) => self.expression_failed(&error, &branch.pointer, state),
            }
        }
        Ok(())
    }

    /// Runs actions for each item of the list as it was before the first of them.
    fn for_each(
        &mut self,
        list: &Template,
        actions: &[ActionDef],
        state: StateId,
        pointer: &Text,
    ) -> Result<(), Stopped> {
        let items = match self.render(list).and_then(|it| items_of(&it)) {
            Ok(items) => items,
            Err(error) => {
                self.expression_failed(&error, pointer, state);
                return Err(Stopped);
            }
        };
        for (index, item) in items.iter().enumerate() {
            self.repeated += actions.len();
            if self.repeated > limits::FOR_EACH_ACTIONS_PER_STEP_MAX {
                let most = limits::FOR_EACH_ACTIONS_PER_STEP_MAX;
                let message = format!("`for_each` would run more than {most} actions in one step");
                self.fault.get_or_insert(Rejection::new("macrostep_overrun", message));
                return Err(Stopped);
            }
            self.items.push((item.clone(), index));
            let outcome = self.act_all(actions, state);
            self.items.pop();
            outcome?;
        }
        Ok(())
    }

    fn change(&mut self, action: &ActionDef, state: StateId) -> Result<(), EvalError> {
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
                let event = self.event_name(event)?;
                let data = self.raised_data(&event, data.as_ref())?;
                let id = match id {
                    Some(id) => Some(text_of(&self.render(id)?)),
                    None => None,
                };
                match delay {
                    None => {
                        let raised = InternalEvent::internal(event, data, Origin::State(state));
                        self.queue.push_back(InternalEvent { id, ..raised });
                    }
                    Some(delay) => {
                        let span = self.span(delay)?;
                        self.schedule(span, TimerKind::Raise { event, id }, data);
                    }
                }
            }
            ActionKind::Cancel(wanted) => {
                let wanted = text_of(&self.render(wanted)?);
                self.cancel_timers(
                    |kind| matches!(kind, TimerKind::Raise { id: Some(id), .. } if *id == wanted),
                );
            }
            ActionKind::Log { level, message, data } => {
                let message = text_of(&self.render(message)?);
                let data = self.render_or_null(data.as_ref())?;
                self.emit(logged(level, &message, &data));
            }
            ActionKind::Emit { event, data, subject } => {
                let data = self.render_or_null(data.as_ref())?;
                let data = self.published(event, data)?;
                let subject = match subject {
                    Some(subject) => Some(text_of(&self.render(subject)?)),
                    None => None,
                };
                self.emit(Body::Emitted { event: event.clone(), data, subject });
            }
            // They hold actions, and are run by `act_one`.
            ActionKind::Choose(_) | ActionKind::ForEach { .. } | ActionKind::Block(_) => {}
        }
        Ok(())
    }

    /// Returns the payload to raise, which must fit what is declared like one from outside.
    fn raised_data(&self, event: &Text, data: Option<&Template>) -> Result<Value, EvalError> {
        let data = self.render_or_null(data)?;
        let Some((_, declared)) = self.machine.declaration(event) else { return Ok(data) };
        fitted(declared, data).map_err(|errors| EvalError {
            code: "event_payload_invalid",
            message: format!(
                "cannot raise `{event}`: its payload does not fit its schema: {}",
                errors.join("; ")
            ),
        })
    }

    /// Returns the event to raise; a computed name follows the rule of written ones.
    fn event_name(&self, event: &EventName) -> Result<Text, EvalError> {
        let template = match event {
            EventName::Literal(name) => return Ok(name.clone()),
            EventName::Computed(template) => template,
        };
        let value = self.render(template)?;
        let name = match &value {
            Value::String(name) if self.machine.declaration(name).is_some() => {
                return Ok(name.clone());
            }
            Value::String(name) => name.chars().take(limits::EVENT_NAME_CHARS_MAX).collect(),
            other => other.kind().to_string(),
        };
        let message = format!("cannot raise `{name}`: it is not the name of a declared event");
        Err(EvalError { code: "expression_error", message })
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

/// Returns the items of a list for `for_each`.
fn items_of(value: &Value) -> Result<Arc<[Value]>, EvalError> {
    let failed = |message| Err(EvalError { code: "expression_error", message });
    match value {
        Value::List(items) if items.len() <= limits::FOR_EACH_ITEMS_MAX => {
            Ok(items.iter().cloned().collect())
        }
        Value::List(items) => {
            let (count, most) = (items.len(), limits::FOR_EACH_ITEMS_MAX);
            failed(format!("`for_each` takes at most {most} items, this list has {count}"))
        }
        other => failed(format!("`for_each` needs a list, this is {}", other.kind())),
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
