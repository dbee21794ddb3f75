//! `human_task` and `approval`: effects that people answer.
//!
//! The input of the node is what the task asks; its value holds who claimed it and the answers so
//! far, until enough of them agree.

use traaviis_model::{
    Body, EffectError, Seq, Text, Value,
    record::{TaskAct, TimerKind},
    snapshot::NodeStatus,
};

use super::End;
use crate::{
    expr::EvalError,
    machine::{EffectDef, EffectKind, Schema, TaskDef, span_of},
    step::{Rejection, Run},
};

impl<'m> Run<'m> {
    /// Evaluates what a task asks.
    pub(super) fn task_input(
        &self,
        tree: Seq,
        path: &str,
        task: &TaskDef,
    ) -> Result<Value, EvalError> {
        let env = self.node_env(tree, path, None);
        let mut input = traaviis_model::Map::new();
        for (name, template) in &task.shown {
            input.insert(name.clone(), template.render(&env)?);
        }
        input.insert("outcomes", Value::list(task.outcomes.iter().cloned().map(Value::String)));
        input.insert("quorum", Value::Int(task.quorum as i64));
        if let Some(deadline) = &task.deadline {
            let span = span_of(&deadline.render(&env)?)
                .map_err(|message| EvalError { code: EvalError::ERROR, message })?;
            input.insert("due", Value::from(self.now.plus(span).to_string()));
        }
        Ok(Value::Map(input.into()))
    }

    /// A task has just opened.
    pub(super) fn task_opened(&mut self, tree: Seq, path: &Text) {
        self.emit(Body::TaskCreated { tree, path: path.clone() });
        let due = self.node(tree, path).and_then(|it| it.input.get("due").cloned());
        let due = due.and_then(|it| it.as_str().and_then(|it| it.parse().ok()));
        if let Some(due) = due {
            self.schedule_at(due, TimerKind::Deadline { tree, path: path.clone() }, Value::Null);
        }
    }

    /// The time to answer is over.
    pub(super) fn task_expired(&mut self, tree: Seq, path: &Text, def: &'m EffectDef) {
        if self.status(tree, path) != Some(NodeStatus::Scheduled) {
            return;
        }
        self.emit(Body::TaskExpired { tree, path: path.clone() });
        let error = EffectError::new("human_task_expired", "nobody answered the task in time");
        self.finish_node(tree, path, def, End::Failed(error));
    }

    /// A person does something about a task.
    pub(crate) fn act_on_task(
        &mut self,
        tree: Seq,
        path: &Text,
        act: TaskAct,
    ) -> Result<(), Rejection> {
        let node = self.node(tree, path).filter(|it| it.status == NodeStatus::Scheduled);
        let def = self.def_of(tree, path);
        let (Some(node), Some((def, task))) = (node, def.and_then(task_of)) else {
            let message = format!("no task `{path}` is open; it may have been answered already");
            return Err(Rejection::new("not_found", message));
        };
        let by = self.actor_text();
        let claimed_by = node.value.get("claimed_by").and_then(Value::as_str).map(Text::from);
        if let Some(other) = claimed_by.filter(|it| *it != by) {
            let message = format!("`{other}` has claimed task `{path}`");
            return Err(Rejection::new("task_claimed", message));
        }
        let path = path.clone();
        match act {
            TaskAct::Claim => {
                self.emit(Body::TaskClaimed { tree, path, by });
            }
            TaskAct::Release => {
                self.emit(Body::TaskReleased { tree, path });
            }
            TaskAct::Decide { outcome, form, comment } => {
                check_answer(task, &node.value, &node.input, &by, &outcome, &form)?;
                let decision = Value::map([
                    ("outcome", Value::String(outcome)),
                    ("form", form),
                    ("by", Value::String(by)),
                    ("at", Value::from(self.now.to_string())),
                    ("comment", comment.map_or(Value::Null, Value::String)),
                ]);
                self.emit(Body::TaskDecided { tree, path: path.clone(), decision });
                self.count_answers(tree, &path, def, task);
            }
        }
        Ok(())
    }

    /// Ends the task once enough answers agree.
    fn count_answers(&mut self, tree: Seq, path: &Text, def: &'m EffectDef, task: &TaskDef) {
        let Some(node) = self.node(tree, path) else { return };
        let decisions = node.value.get("decisions").cloned().unwrap_or_default();
        let Some(last) = decisions.as_list().and_then(|it| it.last()).cloned() else { return };
        let outcome = last.get("outcome").cloned().unwrap_or_default();
        let equal = decisions.as_list().unwrap_or_default().iter();
        let equal = equal.filter(|it| it.get("outcome") == Some(&outcome)).count();
        if equal < task.quorum {
            return;
        }
        self.cancel_node_timers(tree, path);
        let value = match task.quorum {
            1 => last,
            _ => Value::map([("outcome", outcome.clone()), ("decisions", decisions)]),
        };
        let end = match task.error {
            Some(error) if outcome.as_str() == Some(error) => {
                let error = EffectError::new("approval_denied", "the approval was denied");
                End::Failed(error.with_details(value))
            }
            _ => End::Completed(value),
        };
        self.finish_node(tree, path, def, end);
        self.advance_tree(tree);
    }
}

fn task_of(def: &EffectDef) -> Option<(&EffectDef, &TaskDef)> {
    match &def.kind {
        EffectKind::Task(task) => Some((def, task)),
        _ => None,
    }
}

fn check_answer(
    task: &TaskDef,
    so_far: &Value,
    asked: &Value,
    by: &Text,
    outcome: &Text,
    form: &Value,
) -> Result<(), Rejection> {
    let wrong = |message: String| Err(Rejection::new("validation_failed", message));
    if !task.outcomes.contains(outcome) {
        let outcomes = task.outcomes.join("`, `");
        return wrong(format!("`{outcome}` is no outcome of this task; it takes `{outcomes}`"));
    }
    let decisions = so_far.get("decisions").and_then(Value::as_list).unwrap_or_default();
    if decisions.iter().any(|it| it.get("by").and_then(Value::as_str) == Some(by)) {
        return wrong(format!("`{by}` has answered this task already"));
    }
    crate::step::check_payload("the form", "validation_failed", form)?;
    let Some(schema) = asked.get("form").filter(|it| it.as_map().is_some()) else { return Ok(()) };
    let errors = match Schema::compile(schema) {
        Ok(schema) => schema.errors(form),
        Err(error) => vec![format!("the form of the task is no JSON Schema: {error}")],
    };
    match errors.is_empty() {
        true => Ok(()),
        false => wrong(format!("the answer does not fit the form: {}", errors.join("; "))),
    }
}
