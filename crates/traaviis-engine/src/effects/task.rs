//! `human_task` and `approval`: effects that people answer.
//!
//! The input of the node is what the task asks, with the times of its reminders and its escalation;
//! its value holds who claimed it, who is asked besides, and the answers so far, until enough of
//! them agree.
//!
//! Invariant: a reminder is told by the step that its timer fires in, so it is told once, however
//! often the process starts again.

use traaviis_model::{
    Actor, Body, EffectError, Map, Seq, Span, Text, Timestamp, Value, limits,
    record::{TaskAct, TimerKind},
    snapshot::NodeStatus,
};

use super::End;
use crate::{
    expr::{Env, EvalError, Template},
    machine::{EffectDef, EffectKind, Schema, TaskDef, span_of},
    privacy::redacts_events,
    step::{Rejection, Run},
};

/// Emitted when people are told of a task again.
const REMINDED: &str = "traaviis.task_reminded";
/// Emitted when more people are asked about a task.
const ESCALATED: &str = "traaviis.task_escalated";

impl<'m> Run<'m> {
    /// Evaluates what a task asks.
    pub(super) fn task_input(
        &self,
        tree: Seq,
        path: &str,
        task: &TaskDef,
    ) -> Result<Value, EvalError> {
        let env = self.node_env(tree, path, None);
        let mut input = Map::new();
        for (name, template) in &task.shown {
            input.insert(name.clone(), template.render(&env)?);
        }
        input.insert("outcomes", Value::list(task.outcomes.iter().cloned().map(Value::String)));
        input.insert("quorum", Value::Int(task.quorum as i64));
        check_attachments(input.get("attachments"))?;
        let deadline = task.deadline.as_ref().map(|it| span(it, &env)).transpose()?;
        let due = deadline.map(|it| self.now.plus(it));
        if let Some(due) = due {
            input.insert("due", Value::from(due.to_string()));
        }
        // Absent means true, as in histories from before it could be said.
        if !task.separation {
            input.insert("separation", Value::Bool(false));
        }
        let reminders = self.reminder_times(task, due, &env)?;
        if !reminders.is_empty() {
            let times = reminders.into_iter().map(|it| Value::from(it.to_string()));
            input.insert("reminders", Value::list(times));
        }
        if let Some((after, to)) = &task.escalation {
            let (at, to) = (self.now.plus(span(after, &env)?), to.render(&env)?);
            if to.as_list().is_none_or(<[Value]>::is_empty) {
                let message = format!("`escalation.to` must be a list of people, this is {to}");
                return Err(wrong(message));
            }
            if self.comes(at, due) {
                let at = Value::from(at.to_string());
                input.insert("escalation", Value::map([("at", at), ("to", to)]));
            }
        }
        Ok(Value::Map(input.into()))
    }

    /// Returns when people are told again, the earliest first.
    fn reminder_times(
        &self,
        task: &TaskDef,
        due: Option<Timestamp>,
        env: &dyn Env,
    ) -> Result<Vec<Timestamp>, EvalError> {
        let mut times = Vec::with_capacity(task.reminders.len());
        for reminder in &task.reminders {
            let span = span(&reminder.span, env)?;
            let at = match (reminder.before, due) {
                (false, _) => self.now.plus(span),
                (true, Some(due)) => due.plus(Span(-span.0)),
                // The document was refused.
                (true, None) => continue,
            };
            times.extend(Some(at).filter(|it| self.comes(*it, due)));
        }
        times.sort_unstable();
        times.dedup();
        Ok(times)
    }

    /// Says whether something about a task comes to pass: not when the time lies behind already, or
    /// the task is over by then.
    fn comes(&self, at: Timestamp, due: Option<Timestamp>) -> bool {
        at > self.now && due.is_none_or(|due| at < due)
    }

    /// A task has just opened.
    pub(super) fn task_opened(&mut self, tree: Seq, path: &Text) {
        self.emit(Body::TaskCreated { tree, path: path.clone() });
        let Some(input) = self.node(tree, path).map(|it| it.input.clone()) else { return };
        let time = |it: &Value| it.as_str().and_then(|it| it.parse::<Timestamp>().ok());
        if let Some(due) = input.get("due").and_then(time) {
            self.schedule_at(due, TimerKind::Deadline { tree, path: path.clone() }, Value::Null);
        }
        let reminders = input.get("reminders").and_then(Value::as_list).unwrap_or_default();
        for (number, due) in (1..).zip(reminders.iter().filter_map(time)) {
            let kind = TimerKind::Reminder { tree, path: path.clone(), number };
            self.schedule_at(due, kind, Value::Null);
        }
        let escalation = input.get("escalation").and_then(|it| it.get("at")).and_then(time);
        if let Some(due) = escalation {
            self.schedule_at(due, TimerKind::Escalation { tree, path: path.clone() }, Value::Null);
        }
    }

    /// Tells people of a task again that they have not answered.
    pub(crate) fn task_reminds(&mut self, tree: Seq, path: &Text, number: u32) {
        let Some(data) = self.task_news(tree, path) else { return };
        self.emit(Body::TaskReminded { tree, path: path.clone(), number });
        let data = with(data, "number", Value::Int(i64::from(number)));
        self.emit(Body::Emitted { event: REMINDED.into(), data, subject: None });
    }

    /// Asks more people about a task that nobody has answered. Whoever claimed it did not, so it is
    /// free again.
    pub(crate) fn task_escalates(&mut self, tree: Seq, path: &Text) {
        let Some(node) = self.node(tree, path) else { return };
        if node.status != NodeStatus::Scheduled {
            return;
        }
        let to = node.input.get("escalation").and_then(|it| it.get("to")).cloned();
        let to = to.unwrap_or_default();
        let is_claimed = claimed_by(&node.value).is_some();
        self.emit(Body::TaskEscalated { tree, path: path.clone(), to: to.clone() });
        if is_claimed {
            self.emit(Body::TaskReleased { tree, path: path.clone() });
        }
        if let Some(data) = self.task_news(tree, path) {
            let data = with(data, "to", to);
            self.emit(Body::Emitted { event: ESCALATED.into(), data, subject: None });
        }
    }

    /// Returns what subscribers learn about an open task.
    fn task_news(&self, tree: Seq, path: &Text) -> Option<Map> {
        let node = self.node(tree, path).filter(|it| it.status == NodeStatus::Scheduled)?;
        let mut data = Map::new();
        data.insert("instance_id", Value::from(self.snapshot.id.to_string()));
        data.insert("workflow", Value::String(self.snapshot.workflow.clone()));
        data.insert("path", Value::String(path.clone()));
        data.insert("assignees", node.asked());
        for key in ["title", "due"] {
            data.insert(key, node.input.get(key).cloned().unwrap_or_default());
        }
        Some(data)
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
        // Who has claimed a task keeps others from answering, not from saying something to it.
        let answers = !matches!(act, TaskAct::Comment { .. });
        if let Some(other) = claimed_by(&node.value).filter(|it| answers && *it != by) {
            let message = format!("`{other}` has claimed task `{path}`");
            return Err(Rejection::new("task_claimed", message));
        }
        // Whoever may not answer would only keep it from the others, or choose who answers.
        if task.separation && answers && act != TaskAct::Release {
            self.check_apart(&by, path)?;
        }
        let path = path.clone();
        match act {
            TaskAct::Claim => {
                self.emit(Body::TaskClaimed { tree, path, by });
            }
            TaskAct::Release => {
                self.emit(Body::TaskReleased { tree, path });
            }
            TaskAct::Delegate { to, comment } => {
                check_delegated(&node.value, &by, &to)?;
                self.check_comment(comment.as_ref())?;
                if task.separation {
                    self.check_apart(&to, &path)?;
                }
                let comment = self.redacted_comment(comment)?;
                self.emit(Body::TaskDelegated { tree, path, to, by, comment });
            }
            TaskAct::Comment { text } => {
                self.check_comment(Some(&text))?;
                check_commented(&node.value)?;
                let text = self.redacted_comment(Some(text))?.unwrap_or_default();
                let comment = Value::map([
                    ("text", Value::String(text)),
                    ("by", Value::String(by)),
                    ("at", Value::from(self.now.to_string())),
                ]);
                self.emit(Body::TaskCommented { tree, path, comment });
            }
            TaskAct::Decide { outcome, form, comment } => {
                check_answered(task, &node.value, &by, &outcome)?;
                let (form, comment) = match self.is_recorded && redacts_events(self.machine) {
                    // Read off records: it was checked and redacted when it was given.
                    true => (form, comment),
                    false => {
                        check_form(&node.input, &form)?;
                        (self.redacted_form(form)?, self.redacted_comment(comment)?)
                    }
                };
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

    /// Refuses whoever started the instance, or what it is a fork of.
    fn check_apart(&self, who: &Text, path: &Text) -> Result<(), Rejection> {
        let origin = self.snapshot.forked_from.as_ref();
        let first = origin.and_then(|it| it.started_by.as_ref());
        check_separation(first, who, path)?;
        check_separation(self.snapshot.created_by.as_ref(), who, path)
    }

    /// Refuses a comment that says nothing, or more than a page. That of a decision is older, and
    /// as long as its form may be.
    fn check_comment(&self, comment: Option<&Text>) -> Result<(), Rejection> {
        let max = limits::TASK_COMMENT_CHARS_MAX;
        match comment {
            // Off records it was checked before it was redacted, which may have made it longer.
            Some(text)
                if !self.is_recorded && (text.trim().is_empty() || text.chars().count() > max) =>
            {
                let message = format!("a comment has 1 to {max} characters");
                Err(Rejection::new("validation_failed", message))
            }
            _ => Ok(()),
        }
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

fn span(template: &Template, env: &dyn Env) -> Result<Span, EvalError> {
    span_of(&template.render(env)?).map_err(wrong)
}

fn wrong(message: String) -> EvalError {
    EvalError { code: EvalError::ERROR, message }
}

fn claimed_by(value: &Value) -> Option<Text> {
    value.get("claimed_by").and_then(Value::as_str).map(Text::from)
}

fn with(mut data: Map, key: &str, value: Value) -> Value {
    data.insert(key, value);
    Value::Map(data.into())
}

/// Refuses attachments that are too many or too large to be kept with the instance.
fn check_attachments(attached: Option<&Value>) -> Result<(), EvalError> {
    let attached = match attached {
        None | Some(Value::Null) => return Ok(()),
        Some(attached) => attached,
    };
    let Some(items) = attached.as_map() else {
        return Err(wrong(format!("`attachments` must be a map, this is {}", attached.kind())));
    };
    let (count, bytes) = (items.len(), attached.json_len());
    let (count_max, bytes_max) = (limits::TASK_ATTACHMENTS_MAX, limits::TASK_ATTACHMENTS_BYTES_MAX);
    let message = match (count > count_max, bytes > bytes_max) {
        (true, _) => format!("a task has at most {count_max} attachments, this has {count}"),
        (_, true) => format!("the attachments of a task take at most {bytes_max} bytes"),
        _ => return Ok(()),
    };
    Err(EvalError { code: "payload_too_large", message })
}

/// Refuses whoever started the instance, and whoever may be that one: without a name nobody can be
/// told from the starter. A starter without a name, or the engine, is nobody's colleague.
fn check_separation(starter: Option<&Text>, by: &Text, path: &Text) -> Result<(), Rejection> {
    let nobody = Actor::local().text();
    let Some(starter) = starter.filter(|it| **it != nobody && !it.starts_with("engine:")) else {
        return Ok(());
    };
    let message = match *by == nobody {
        _ if by == starter => format!(
            "`{starter}` started the instance and may not answer task `{path}`; somebody else must"
        ),
        true => format!(
            "say who answers task `{path}`: `{starter}`, who started the instance, may not, and an \
             answer without a name could be theirs"
        ),
        false => return Ok(()),
    };
    Err(Rejection::new("separation_of_duties", message)
        .with(Value::map([("created_by", Value::String(starter.clone()))])))
}

fn task_of(def: &EffectDef) -> Option<(&EffectDef, &TaskDef)> {
    match &def.kind {
        EffectKind::Task(task) => Some((def, task)),
        _ => None,
    }
}

/// Refuses to hand a task to whom it makes no sense.
fn check_delegated(so_far: &Value, by: &Text, to: &Text) -> Result<(), Rejection> {
    let wrong = |message: String| Err(Rejection::new("validation_failed", message));
    let is_person = to.strip_prefix("user:").is_some_and(|it| !it.trim().is_empty());
    if !is_person || to.chars().count() > limits::ASSIGNEE_CHARS_MAX {
        let count = limits::ASSIGNEE_CHARS_MAX;
        let message = format!(
            "a task is handed to one person, named as `user:ID` with at most {count} characters"
        );
        return wrong(message);
    }
    if to == by {
        return wrong(format!("`{to}` hands the task to themselves; claim it"));
    }
    let list = |key: &str| so_far.get(key).and_then(Value::as_list).unwrap_or_default();
    if list("decisions").iter().any(|it| it.get("by").and_then(Value::as_str) == Some(to)) {
        return wrong(format!("`{to}` has answered this task already"));
    }
    match list("delegated").len() >= limits::TASK_DELEGATIONS_MAX {
        true => {
            wrong(format!("a task is handed on {} times at most", limits::TASK_DELEGATIONS_MAX))
        }
        false => Ok(()),
    }
}

fn check_commented(so_far: &Value) -> Result<(), Rejection> {
    let comments = so_far.get("comments").and_then(Value::as_list).unwrap_or_default();
    match comments.len() >= limits::TASK_COMMENTS_MAX {
        true => {
            let message = format!("a task has at most {} comments", limits::TASK_COMMENTS_MAX);
            Err(Rejection::new("validation_failed", message))
        }
        false => Ok(()),
    }
}

fn check_answered(
    task: &TaskDef,
    so_far: &Value,
    by: &Text,
    outcome: &Text,
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
    Ok(())
}

fn check_form(asked: &Value, form: &Value) -> Result<(), Rejection> {
    let wrong = |message: String| Err(Rejection::new("validation_failed", message));
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
