//! Control kinds: what they open, when they are over, and how they are called off.

use traaviis_model::{
    Body, EffectError, Seq, Text, Value,
    record::TimerKind,
    snapshot::{NodeStatus, Tree},
    time::Timestamp,
};

use super::{End, budget::Ended, child_path, gate::ask_input, is_undoing};
use crate::{
    expr::{EvalError, Expr},
    machine::{CaseTest, EffectDef, EffectKind, RetryDef},
    step::{Request, Run, StepEnv},
};

impl<'m> Run<'m> {
    /// Evaluates what a control node needs to know once, when it opens.
    pub(super) fn control_input(
        &self,
        tree: Seq,
        path: &Text,
        def: &'m EffectDef,
    ) -> Result<Value, EvalError> {
        let env = self.node_env(tree, path, None);
        let wrong = |message: String| EvalError { code: "expression_error", message };
        Ok(match &def.kind {
            EffectKind::Batch { items: Some(items), max_items, .. } => {
                let items = items.render(&env)?;
                let Some(list) = items.as_list() else {
                    return Err(wrong(format!(
                        "`items` of a batch must be a list, this is {}",
                        items.kind()
                    )));
                };
                if list.len() > *max_items {
                    return Err(wrong(format!(
                        "{} items are more than `max_items` {max_items}",
                        list.len()
                    )));
                }
                Value::map([("items", items)])
            }
            EffectKind::If { cond, branches } => {
                let branch = match cond.eval_bool(&env)? {
                    true => branches.first(),
                    false => branches.iter().find(|it| &*it.segment == "else"),
                };
                Value::map([("branch", segment_of(branch))])
            }
            EffectKind::Case { value, cases, default } => {
                let value = value.render(&env)?;
                let env = StepEnv { value: Some(&value), ..self.node_env(tree, path, None) };
                let mut chosen = default.as_deref();
                for (test, def) in cases {
                    let holds = match test {
                        CaseTest::Literal(literal) => *literal == value,
                        CaseTest::Cond(cond) => cond.eval_bool(&env)?,
                    };
                    if holds {
                        chosen = Some(def);
                        break;
                    }
                }
                Value::map([("branch", segment_of(chosen)), ("value", value.clone())])
            }
            EffectKind::Use { with, .. } => {
                let with = with.render(&env)?;
                if with.as_map().is_none() {
                    return Err(wrong(format!("`with` must be a map, this is {}", with.kind())));
                }
                with
            }
            EffectKind::Gate { ask, .. } => ask_input(ask, &env)?,
            EffectKind::Task(task) => self.task_input(tree, path, task)?,
            EffectKind::Timeout { duration, .. } => {
                let value = duration.render(&env)?;
                let span = crate::machine::span_of(&value).map_err(wrong)?;
                Value::map([("duration", Value::from(span.to_string()))])
            }
            EffectKind::Delay { duration: Some(duration), .. } => {
                let value = duration.render(&env)?;
                let span = crate::machine::span_of(&value).map_err(wrong)?;
                Value::map([("until", Value::from(self.now.plus(span).to_string()))])
            }
            EffectKind::Delay { until: Some(until), .. } => {
                let value = until.render(&env)?.into_json();
                let text = crate::step::text_of(&value);
                let until: Timestamp = text.parse().map_err(wrong)?;
                Value::map([("until", Value::from(until.to_string()))])
            }
            _ => Value::Null,
        })
    }

    /// Sets the timers of a node that has just opened.
    pub(super) fn opened(&mut self, tree: Seq, path: &Text, def: &'m EffectDef) {
        let Some(input) = self.node(tree, path).map(|node| node.input.clone()) else { return };
        let text =
            |key: &str| input.get(key).and_then(Value::as_str).unwrap_or_default().to_string();
        match &def.kind {
            EffectKind::Timeout { .. } => {
                let span = text("duration").parse().unwrap_or_default();
                self.schedule(span, TimerKind::Deadline { tree, path: path.clone() }, Value::Null);
            }
            EffectKind::Delay { .. } => {
                let due = text("until").parse().unwrap_or(self.now);
                self.schedule_at(due, TimerKind::Delay { tree, path: path.clone() }, Value::Null);
            }
            EffectKind::Task(_) => self.task_opened(tree, path),
            // Events kept for later may be what it waits for.
            EffectKind::WaitSignal(_) => self.configuration_changed = true,
            _ => {}
        }
    }

    /// Polls the children that are not over.
    fn poll_running(&mut self, tree: Seq, path: &Text, def: &'m EffectDef) {
        let Some(node) = self.node(tree, path) else { return };
        for segment in node.running.clone() {
            if let Some(child) = super::scope::descend(def, &segment) {
                self.poll(tree, &child_path(path, &segment), child);
            }
            if self.is_over(tree, path) {
                return;
            }
        }
    }

    /// Returns children that are not over, and children opened so far.
    pub(super) fn counts(&self, tree: Seq, path: &str) -> (usize, usize) {
        self.node(tree, path).map_or((0, 0), |node| (node.running.len(), node.opened as usize))
    }

    pub(super) fn failed_below(&self, tree: Seq, path: &str) -> Option<EffectError> {
        self.node(tree, path).filter(|node| node.failed > 0).and_then(|node| node.error.clone())
    }

    pub(super) fn value_of(&self, tree: Seq, path: &str, segment: &str) -> Value {
        self.node(tree, &child_path(path, segment)).map(|it| it.value.clone()).unwrap_or_default()
    }

    /// Drives an open control node as far as it goes now.
    pub(super) fn drive(&mut self, tree: Seq, path: &Text, def: &'m EffectDef) {
        self.poll_running(tree, path, def);
        if self.is_over(tree, path) || self.status(tree, path).is_none_or(is_undoing) {
            return;
        }
        match &def.kind {
            EffectKind::Sequence { children, named, last } => {
                self.drive_steps(tree, path, def, children, |run, failed| match failed {
                    Some(error) => End::Failed(error),
                    None if *last => {
                        let last = children.last().map(|it| run.value_of(tree, path, &it.segment));
                        End::Completed(last.unwrap_or_default())
                    }
                    None => End::Completed(run.collect(tree, path, children, *named)),
                });
            }
            EffectKind::Saga { steps, parallel, .. } => {
                let end = |run: &Self, failed| match failed {
                    Some(error) => End::Failed(error),
                    None => End::Completed(run.collect(tree, path, steps, true)),
                };
                match parallel {
                    false => self.drive_steps(tree, path, def, steps, end),
                    true => self.drive_parallel(tree, path, def, steps, usize::MAX, end),
                }
            }
            EffectKind::Parallel { children, named, max } => {
                self.drive_parallel(tree, path, def, children, *max, |run, failed| match failed {
                    Some(error) => End::Failed(error),
                    None => End::Completed(run.collect(tree, path, children, *named)),
                });
            }
            EffectKind::Race { children } => self.drive_race(tree, path, def, children),
            EffectKind::Fallback { children, on } => {
                self.drive_fallback(tree, path, def, children, on)
            }
            EffectKind::Batch { .. } => self.drive_batch(tree, path, def),
            EffectKind::While { cond, body, max, .. } => {
                self.drive_while(tree, path, def, cond, body, *max);
            }
            EffectKind::Retry { body, policy } => self.drive_retry(tree, path, def, body, policy),
            EffectKind::Timeout { body, .. } => self.drive_timeout(tree, path, def, body),
            EffectKind::Use { body, .. } | EffectKind::Budget { body, .. } => {
                self.drive_one(tree, path, def, Some(body));
            }
            EffectKind::Gate { ask, body } => self.drive_gate(tree, path, def, ask, body),
            EffectKind::WithCompensation { action, .. } => {
                self.drive_one(tree, path, def, Some(action));
            }
            EffectKind::If { .. } | EffectKind::Case { .. } => {
                let branch = self.node(tree, path).and_then(|node| {
                    node.input.get("branch").and_then(Value::as_str).map(str::to_string)
                });
                let child = branch.and_then(|segment| def.child(&segment));
                self.drive_one(tree, path, def, child);
            }
            _ => {}
        }
    }

    /// Ends a control node, undoing first when it is a failed scope.
    pub(super) fn end_control(&mut self, tree: Seq, path: &Text, def: &'m EffectDef, end: End) {
        match end {
            End::Failed(error) if def.is_scope() => {
                let error = Some(error);
                self.emit(Body::CompensationStarted { tree, path: path.clone(), error });
                self.undo(tree, path, def);
            }
            end => self.finish_node(tree, path, def, end),
        }
    }

    fn collect(&self, tree: Seq, path: &str, children: &[EffectDef], named: bool) -> Value {
        let values =
            children.iter().map(|it| (&it.segment, self.value_of(tree, path, &it.segment)));
        match named {
            true => Value::map(values.map(|(segment, value)| (segment.clone(), value))),
            false => Value::list(values.map(|(_, value)| value)),
        }
    }

    /// One child after the other; the first failure ends it.
    fn drive_steps(
        &mut self,
        tree: Seq,
        path: &Text,
        def: &'m EffectDef,
        children: &'m [EffectDef],
        end: impl Fn(&Self, Option<EffectError>) -> End,
    ) {
        loop {
            let (running, opened) = self.counts(tree, path);
            if running > 0 || self.yielded {
                return;
            }
            let failed = self.failed_below(tree, path);
            if failed.is_some() || opened == children.len() {
                let end = end(self, failed);
                return self.end_control(tree, path, def, end);
            }
            let child = &children[opened];
            self.poll(tree, &child_path(path, &child.segment), child);
            if self.is_over(tree, path) || self.counts(tree, path).1 == opened {
                return;
            }
        }
    }

    /// All children at once, at most `max`; the first failure calls the others off.
    fn drive_parallel(
        &mut self,
        tree: Seq,
        path: &Text,
        def: &'m EffectDef,
        children: &'m [EffectDef],
        max: usize,
        end: impl Fn(&Self, Option<EffectError>) -> End,
    ) {
        loop {
            let (running, opened) = self.counts(tree, path);
            if let Some(error) = self.failed_below(tree, path) {
                self.cancel_children(tree, path, def, "sibling_failed");
                if self.counts(tree, path).0 == 0 {
                    let end = end(self, Some(error));
                    self.end_control(tree, path, def, end);
                }
                return;
            }
            if opened == children.len() {
                if running == 0 {
                    let end = end(self, None);
                    self.end_control(tree, path, def, end);
                }
                return;
            }
            if running >= max || self.yielded {
                return;
            }
            let child = &children[opened];
            self.poll(tree, &child_path(path, &child.segment), child);
            if self.is_over(tree, path) || self.counts(tree, path).1 == opened {
                return;
            }
        }
    }

    fn drive_race(
        &mut self,
        tree: Seq,
        path: &Text,
        def: &'m EffectDef,
        children: &'m [EffectDef],
    ) {
        loop {
            let winner = children
                .iter()
                .filter_map(|child| self.node(tree, &child_path(path, &child.segment)))
                .filter(|node| matches!(node.status, NodeStatus::Completed | NodeStatus::Skipped))
                .min_by_key(|node| node.ended)
                .map(|node| node.value.clone());
            let (running, opened) = self.counts(tree, path);
            if let Some(value) = winner {
                self.cancel_children(tree, path, def, "lost_race");
                if self.counts(tree, path).0 == 0 {
                    self.end_control(tree, path, def, End::Completed(value));
                }
                return;
            }
            if opened == children.len() {
                if running == 0 {
                    let error = self.all_failed(tree, path, children);
                    self.end_control(tree, path, def, End::Failed(error));
                }
                return;
            }
            let child = &children[opened];
            self.poll(tree, &child_path(path, &child.segment), child);
            if self.is_over(tree, path) || self.counts(tree, path).1 == opened {
                return;
            }
        }
    }

    /// Returns the error of the child that failed last, with all errors in its details.
    fn all_failed(&self, tree: Seq, path: &str, children: &[EffectDef]) -> EffectError {
        let mut failed: Vec<_> = children
            .iter()
            .filter_map(|child| self.node(tree, &child_path(path, &child.segment)))
            .filter_map(|node| Some((node.ended, node.error.clone()?)))
            .collect();
        failed.sort_by_key(|(ended, _)| *ended);
        let errors = Value::list(failed.iter().map(|(_, error)| error.to_value()));
        match failed.pop() {
            Some((_, error)) => error.with_details(Value::map([("errors", errors)])),
            None => EffectError::new("cancelled", "every alternative was called off"),
        }
    }

    fn drive_fallback(
        &mut self,
        tree: Seq,
        path: &Text,
        def: &'m EffectDef,
        children: &'m [EffectDef],
        on: &[Text],
    ) {
        loop {
            let (running, opened) = self.counts(tree, path);
            if running > 0 || self.yielded {
                return;
            }
            if opened > 0 {
                let last = &children[opened - 1];
                let node = self.node(tree, &child_path(path, &last.segment));
                let error = node
                    .filter(|it| it.status == NodeStatus::Failed)
                    .and_then(|it| it.error.clone());
                match error {
                    None => {
                        let value = self.value_of(tree, path, &last.segment);
                        return self.end_control(tree, path, def, End::Completed(value));
                    }
                    Some(error) => {
                        let tries_next =
                            on.is_empty() || on.iter().any(|code| error.has_code(code));
                        if opened == children.len() || !tries_next {
                            return self.end_control(tree, path, def, End::Failed(error));
                        }
                    }
                }
            }
            let child = &children[opened];
            self.poll(tree, &child_path(path, &child.segment), child);
            if self.is_over(tree, path) || self.counts(tree, path).1 == opened {
                return;
            }
        }
    }

    fn drive_batch(&mut self, tree: Seq, path: &Text, def: &'m EffectDef) {
        let EffectKind::Batch { items, bodies, concurrency, fail_fast, collect, .. } = &def.kind
        else {
            return;
        };
        let Some(node) = self.node(tree, path) else { return };
        let count = match items {
            Some(_) => node.input.get("items").and_then(Value::as_list).map_or(0, <[Value]>::len),
            None => bodies.len(),
        };
        loop {
            let (running, opened) = self.counts(tree, path);
            if *fail_fast && let Some(error) = self.failed_below(tree, path) {
                self.cancel_children(tree, path, def, "sibling_failed");
                if self.counts(tree, path).0 == 0 {
                    self.end_control(tree, path, def, End::Failed(error));
                }
                return;
            }
            if opened == count {
                if running == 0 {
                    let value = match collect {
                        true => Value::list(
                            (0..count).map(|at| self.item_result(tree, path, at, *fail_fast)),
                        ),
                        false => Value::Null,
                    };
                    self.end_control(tree, path, def, End::Completed(value));
                }
                return;
            }
            if running >= *concurrency || self.yielded {
                return;
            }
            let body = if items.is_some() { &bodies[0] } else { &bodies[opened] };
            self.poll(tree, &child_path(path, &opened.to_string()), body);
            if self.is_over(tree, path) || self.counts(tree, path).1 == opened {
                return;
            }
        }
    }

    fn item_result(&self, tree: Seq, path: &str, at: usize, bare: bool) -> Value {
        let Some(node) = self.node(tree, &child_path(path, &at.to_string())) else {
            return Value::Null;
        };
        match (&node.error, bare) {
            (_, true) => node.value.clone(),
            (None, false) => Value::map([("ok", node.value.clone())]),
            (Some(error), false) => Value::map([("error", error.to_value())]),
        }
    }

    fn drive_while(
        &mut self,
        tree: Seq,
        path: &Text,
        def: &'m EffectDef,
        cond: &'m Expr,
        body: &'m EffectDef,
        max: u32,
    ) {
        loop {
            let (running, opened) = self.counts(tree, path);
            if running > 0 || self.yielded || self.has_timer(tree, path) {
                return;
            }
            if let Some(error) = self.failed_below(tree, path) {
                return self.end_control(tree, path, def, End::Failed(error));
            }
            let Some(node) = self.node(tree, path) else { return };
            let (iteration, mut value) = (node.iteration, node.value.clone());
            if opened > 0 {
                // A round is over: its value is `loop` from here on.
                value = self.value_of(tree, path, &body.segment);
                if let EffectKind::While { delay: Some(delay), .. } = &def.kind
                    && let Ok(wait) = delay.render(&self.node_env(tree, path, None))
                    && let Ok(span) = crate::machine::span_of(&wait)
                    && span.0 > 0
                {
                    self.advance_loop(tree, path, iteration, value);
                    self.schedule(span, TimerKind::Delay { tree, path: path.clone() }, Value::Null);
                    return;
                }
                self.advance_loop(tree, path, iteration, value.clone());
            }
            match cond.eval_bool(&self.node_env(tree, path, None)) {
                Err(error) => return self.fail_expression(tree, path, def, &error),
                Ok(false) => return self.end_control(tree, path, def, End::Completed(value)),
                Ok(true) if iteration >= max => {
                    let message = format!("the loop still holds after {max} iterations");
                    let error = EffectError::new("max_iterations_exceeded", message);
                    return self.end_control(tree, path, def, End::Failed(error));
                }
                Ok(true) => {}
            }
            self.advance_loop(tree, path, iteration + 1, value);
            self.poll(tree, &child_path(path, &body.segment), body);
            if self.is_over(tree, path) {
                return;
            }
            if self.counts(tree, path).1 == 0 {
                // The step has done enough before the body opened; the round begins in the next.
                self.yielded = true;
                return;
            }
        }
    }

    fn advance_loop(&mut self, tree: Seq, path: &Text, iteration: u32, value: Value) {
        self.emit(Body::LoopAdvanced { tree, path: path.clone(), iteration, value });
    }

    fn drive_retry(
        &mut self,
        tree: Seq,
        path: &Text,
        def: &'m EffectDef,
        body: &'m EffectDef,
        policy: &RetryDef,
    ) {
        let (running, opened) = self.counts(tree, path);
        if running > 0 || self.status(tree, path) == Some(NodeStatus::Waiting) {
            return;
        }
        if opened == 0 {
            self.poll(tree, &child_path(path, &body.segment), body);
            let (running, opened) = self.counts(tree, path);
            if opened == 0 || running > 0 || self.is_over(tree, path) {
                return;
            }
        }
        let Some(error) = self.failed_below(tree, path) else {
            let value = self.value_of(tree, path, &body.segment);
            return self.end_control(tree, path, def, End::Completed(value));
        };
        let attempt = self.node(tree, path).map_or(0, |node| node.iteration).max(1);
        if !super::call::retries(policy, &error) {
            return self.end_control(tree, path, def, End::Failed(error));
        }
        if attempt >= policy.attempts {
            let error = super::call::exhausted(policy, error);
            return self.end_control(tree, path, def, End::Failed(error));
        }
        let delay = self.retry_delay(tree, path, policy, attempt, &error);
        let next_due = self.now.plus(delay);
        self.emit(Body::EffectAttemptFailed { tree, path: path.clone(), attempt, error, next_due });
        self.schedule(delay, TimerKind::Retry { tree, path: path.clone() }, Value::Null);
    }

    /// The wait before the next try of a retried subtree is over.
    pub(super) fn retry_body(&mut self, tree: Seq, path: &Text) {
        let attempt = self.node(tree, path).map_or(0, |node| node.iteration).max(1);
        self.advance_loop(tree, path, attempt + 1, Value::Null);
        self.advance_tree(tree);
    }

    fn drive_timeout(&mut self, tree: Seq, path: &Text, def: &'m EffectDef, body: &'m EffectDef) {
        if !self.has_timer(tree, path) {
            // The time is up: what still runs is called off, and undone if it must be.
            self.cancel_children(tree, path, def, "timeout");
            if self.counts(tree, path).0 == 0 {
                let text =
                    self.node(tree, path).and_then(|node| node.input.get("duration").cloned());
                let text = text.map(|it| crate::step::text_of(&it)).unwrap_or_else(|| "".into());
                let error = EffectError::retryable("timeout", format!("not over after {text}"));
                self.end_control(tree, path, def, End::Failed(error));
            }
            return;
        }
        self.drive_one(tree, path, def, Some(body));
    }

    /// A node with one child, or none, ends as that child does.
    pub(super) fn drive_one(
        &mut self,
        tree: Seq,
        path: &Text,
        def: &'m EffectDef,
        child: Option<&'m EffectDef>,
    ) {
        let Some(child) = child else {
            return self.end_control(tree, path, def, End::Completed(Value::Null));
        };
        if self.counts(tree, path).1 == 0 {
            self.poll(tree, &child_path(path, &child.segment), child);
        }
        let (running, opened) = self.counts(tree, path);
        if self.is_over(tree, path) || running > 0 || opened == 0 {
            return;
        }
        self.cancel_node_timers(tree, path);
        match self.failed_below(tree, path) {
            Some(error) => self.end_control(tree, path, def, End::Failed(error)),
            None => {
                let value = self.value_of(tree, path, &child.segment);
                self.end_control(tree, path, def, End::Completed(value));
            }
        }
    }

    /// A `delay` effect, or the pause of a loop, is over.
    pub(crate) fn delay_over(&mut self, tree: Seq, path: &Text) {
        let Some(def) = self.def_of(tree, path) else { return };
        if matches!(def.kind, EffectKind::Delay { .. }) {
            self.finish_node(tree, path, def, End::Completed(Value::Null));
        }
        self.advance_tree(tree);
    }

    /// The limit of a `timeout` node is reached.
    pub(crate) fn deadline_over(&mut self, tree: Seq, path: &Text) {
        if let Some(def) = self.def_of(tree, path)
            && matches!(def.kind, EffectKind::Task(_))
        {
            self.task_expired(tree, path, def);
        }
        self.advance_tree(tree);
    }

    pub(super) fn cancel_children(
        &mut self,
        tree: Seq,
        path: &Text,
        def: &'m EffectDef,
        why: &'static str,
    ) {
        let Some(node) = self.node(tree, path) else { return };
        for segment in node.running.clone() {
            if let Some(child) = super::scope::descend(def, &segment) {
                self.cancel_node(tree, &child_path(path, &segment), child, why);
            }
        }
    }

    /// Calls a node off. It is over at once, unless something below must be undone first.
    pub(crate) fn cancel_node(
        &mut self,
        tree: Seq,
        path: &Text,
        def: &'m EffectDef,
        why: &'static str,
    ) {
        let Some(node) = self.node(tree, path) else {
            // Nothing of the tree has opened yet.
            if self.snapshot.tree(tree).is_some_and(|it| it.invoke == *path) {
                self.finish_node(tree, path, def, End::Cancelled(why));
            }
            return;
        };
        let (status, call) = (node.status, self.snapshot.call_of(tree, path, node).id);
        if status.is_over() || is_undoing(status) {
            return;
        }
        self.cancel_node_timers(tree, path);
        if let EffectKind::Call(params) = &def.kind {
            if status == NodeStatus::Started {
                self.requests.push(Request::Abandon(call));
                if let Some(spawn) = &params.spawn {
                    self.close_child(tree, path, spawn);
                }
            }
            // What is known to have happened is undone like the rest.
            if let Some(value) = self.value_held(tree, path) {
                self.settle_attempt(tree, path, Ended::Done(&value));
                self.emit(Body::EffectCompleted { tree, path: path.clone(), value });
                return;
            }
            return self.finish_node(tree, path, def, End::Cancelled(why));
        }
        self.cancel_children(tree, path, def, why);
        let waits = self.counts(tree, path).0 > 0;
        if waits
            || (self.undoes_on_cancel(tree, path, def)
                && !self.undo_list(tree, path, def).is_empty())
        {
            self.emit(Body::CompensationStarted { tree, path: path.clone(), error: None });
            return self.undo(tree, path, def);
        }
        self.finish_node(tree, path, def, End::Cancelled(why));
    }

    /// Gives up the calls of trees, without undoing.
    pub(crate) fn abandon(&mut self, which: impl Fn(&Tree) -> bool) {
        let mut running = Vec::new();
        for tree in self.snapshot.trees.iter().filter(|it| which(it)) {
            let reserving = tree.nodes.iter().filter(|(_, node)| node.reserved.is_some());
            running.extend(reserving.map(|(path, _)| (tree.id, path.clone())));
            for (path, node) in &tree.nodes {
                if node.status == NodeStatus::Started {
                    let call = self.snapshot.call_of(tree.id, path, node);
                    self.requests.push(Request::Abandon(call.id));
                }
                self.requests.extend(self.left_open(tree, path, node));
            }
        }
        running.iter().for_each(|(tree, path)| self.settle_attempt(*tree, path, Ended::Unknown));
    }
}

fn segment_of(def: Option<&EffectDef>) -> Value {
    def.map_or(Value::Null, |it| Value::String(it.segment.clone()))
}
