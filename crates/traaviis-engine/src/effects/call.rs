//! Calls to the outside: schedule, start, outcome, retry, unknown outcomes.

use traaviis_model::{
    Body, Call, DeliveryClass, EffectError, Map, Seq, Text, Value,
    call::GATE,
    definition::{Backoff, Jitter, OnUnknown},
    privacy::PiiMode,
    record::{Status, TimerKind},
    snapshot::{NodeStatus, Tree},
    time::Span,
};

use super::{
    End,
    budget::{Ended, Grant},
    child::child_id,
};
use crate::{
    expr::EvalError,
    machine::{CallParams, EffectDef, EffectKind, RetryDef, span_of},
    privacy::redacted_call,
    step::{Request, Run},
};

impl<'m> Run<'m> {
    pub(super) fn schedule_call(
        &mut self,
        tree: Seq,
        path: &Text,
        def: &'m EffectDef,
        params: &'m CallParams,
    ) {
        let (mut input, key) = match self.call_input(tree, path, params) {
            Ok(found) => found,
            Err(error) => return self.fail_expression(tree, path, def, &error),
        };
        if let Some(mode) = params.redact.input
            && let Err(error) = redacted_call(mode, &mut input, self.key.as_ref())
        {
            return self.finish_node(tree, path, def, End::Failed(error));
        }
        let input = Value::Map(input.into());
        self.emit(Body::EffectScheduled {
            tree,
            path: path.clone(),
            effect: def.name.clone(),
            input,
            key: Some(key),
        });
        self.start_or_queue(tree, path, params);
    }

    fn call_input(
        &self,
        tree: Seq,
        path: &Text,
        params: &CallParams,
    ) -> Result<(Map, Text), EvalError> {
        let env = self.node_env(tree, path, None);
        let mut input = Map::new();
        for (name, template) in &params.input {
            input.insert(name.clone(), template.render(&env)?);
        }
        let key = match &params.key {
            Some(template) => crate::step::text_of(&template.render(&env)?),
            // A loop's rounds reuse paths; the record number tells them apart. Tries of a retried
            // body do not: what may have happened must not happen again.
            None => match self.is_repeated(tree, path, params.spawn.is_some()) {
                true => {
                    format!("{}.{tree}.{path}.{}", self.snapshot.id, self.snapshot.seq + 1).into()
                }
                false => format!("{}.{tree}.{path}", self.snapshot.id).into(),
            },
        };
        if params.spawn.is_some() {
            let child = child_id(&self.snapshot, &key).to_string();
            input.insert("instance_id", Value::from(child));
        }
        Ok((input, key))
    }

    /// Says whether a node above `path` can run its body more than once. A child that failed is
    /// known to have failed, so a retry means another one.
    fn is_repeated(&self, tree: Seq, path: &str, spawns: bool) -> bool {
        let mut at = path;
        while let Some((above, _)) = at.rsplit_once('/') {
            let kind = self.def_of(tree, above).map(|it| &it.kind);
            match kind {
                Some(EffectKind::While { .. }) => return true,
                Some(EffectKind::Retry { .. }) if spawns => return true,
                _ => at = above,
            }
        }
        false
    }

    pub(crate) fn start_or_queue(&mut self, tree: Seq, path: &Text, params: &CallParams) {
        // A paused instance starts nothing; what waits is queued when it is resumed.
        if self.snapshot.status == Status::Paused {
            return;
        }
        if self.is_recalled(tree, path) {
            return;
        }
        // Who asks a gate may wait long, for somebody who needs a slot.
        if self.node(tree, path).is_some_and(|it| &*it.kind == GATE) {
            return self.start_attempt(tree, path, params);
        }
        if self.is_denied(tree, path) {
            return;
        }
        let timeout = self.time_limit(tree, path, params);
        if self.is_refused(tree, path, timeout) {
            return;
        }
        if self.start_slots == 0 {
            self.requests.push(Request::Queue { tree, path: path.clone() });
            return;
        }
        self.start_slots -= 1;
        self.start_attempt(tree, path, params);
    }

    fn start_attempt(&mut self, tree: Seq, path: &Text, params: &CallParams) {
        let Some(node) = self.node(tree, path) else { return };
        let attempt = node.attempt + 1;
        let timeout = self.time_limit(tree, path, params);
        let Grant { timeout, max_tokens } = self.reserve(tree, path, timeout);
        self.emit(Body::EffectStarted { tree, path: path.clone(), attempt });
        let Some(node) = self.node(tree, path) else { return };
        let hosts = self.hosts_around(tree);
        let mut call = Call { timeout, hosts, ..self.snapshot.call_of(tree, path, node) };
        if let Some(max_tokens) = max_tokens {
            let mut input = call.input.as_map().cloned().unwrap_or_default();
            input.insert("max_tokens", Value::Int(i64::try_from(max_tokens).unwrap_or(i64::MAX)));
            call.input = Value::Map(input.into());
        }
        if let Some(spawn) = &params.spawn
            && let Err(error) = self.note_child((tree, path), &call.input, spawn)
        {
            if let Some((def, _)) = self.params_of(tree, path) {
                self.finish_node(tree, path, def, End::Failed(error));
            }
            return;
        }
        self.requests.push(Request::Perform(call));
    }

    fn time_limit(&self, tree: Seq, path: &str, params: &CallParams) -> Option<Span> {
        let value = params.timeout.as_ref()?.render(&self.node_env(tree, path, None));
        value.ok().and_then(|it| span_of(&it).ok())
    }

    fn params_of(&self, tree: Seq, path: &str) -> Option<(&'m EffectDef, &'m CallParams)> {
        let def = self.def_of(tree, path)?;
        match &def.kind {
            EffectKind::Call(params) => Some((def, params)),
            _ => None,
        }
    }

    /// Returns what is done with personal data that comes back from a call.
    pub(crate) fn redacted_out(&self, tree: Seq, path: &str) -> Option<PiiMode> {
        self.redacted_out_of(self.snapshot.tree(tree)?, path)
    }

    /// The same, for a tree that may not be there now.
    pub(crate) fn redacted_out_of(&self, tree: &Tree, path: &str) -> Option<PiiMode> {
        match &self.def_in(tree, path)?.kind {
            EffectKind::Call(params) => params.redact.output,
            _ => None,
        }
    }

    /// A slot is free for a call that waits.
    pub(crate) fn call_starting(&mut self, tree: Seq, path: &Text) {
        if !self.snapshot.waits_for_slot(tree, path) {
            return;
        }
        if let Some((_, params)) = self.params_of(tree, path) {
            let timeout = self.time_limit(tree, path, params);
            if !self.is_denied(tree, path) && !self.is_refused(tree, path, timeout) {
                self.start_attempt(tree, path, params);
            }
            if self.is_over(tree, path) {
                self.advance_tree(tree);
            }
        }
    }

    /// Says whether an attempt is the one that runs now.
    pub(crate) fn is_current(
        &self,
        tree: Seq,
        path: &str,
        (scheduled, attempt): (Seq, u32),
    ) -> bool {
        self.node(tree, path).is_some_and(|node| {
            node.status == NodeStatus::Started
                && node.scheduled == scheduled
                && node.attempt == attempt
        })
    }

    /// An attempt ended.
    pub(crate) fn call_outcome(
        &mut self,
        tree: Seq,
        path: &Text,
        (scheduled, attempt): (Seq, u32),
        outcome: Result<Value, EffectError>,
    ) {
        let is_current = self.is_current(tree, path, (scheduled, attempt));
        let Some((def, params)) = self.params_of(tree, path).filter(|_| is_current) else {
            let outcome = if outcome.is_ok() { "completed" } else { "failed" };
            let known = self.snapshot.seq >= tree;
            if known {
                self.emit(Body::EffectLate {
                    tree,
                    path: path.clone(),
                    attempt,
                    outcome: outcome.into(),
                });
            }
            return;
        };
        self.forget_child(tree, path, def, &outcome);
        match outcome {
            Ok(value) => self.finish_node(tree, path, def, End::Completed(value)),
            Err(error) => self.attempt_failed(tree, path, def, params, attempt, error),
        }
        self.advance_tree(tree);
    }

    /// An attempt of a fork ends as one of its original did; who polls the node goes on by itself.
    pub(crate) fn call_told(
        &mut self,
        tree: Seq,
        path: &Text,
        attempt: u32,
        outcome: Result<Value, EffectError>,
    ) {
        let Some((def, params)) = self.params_of(tree, path) else { return };
        match outcome {
            Ok(value) => self.finish_node(tree, path, def, End::Completed(value)),
            Err(error) => self.attempt_failed(tree, path, def, params, attempt, error),
        }
    }

    fn attempt_failed(
        &mut self,
        tree: Seq,
        path: &Text,
        def: &'m EffectDef,
        params: &'m CallParams,
        attempt: u32,
        mut error: EffectError,
    ) {
        error.kind = def.name.clone();
        error.path = path.clone();
        error.attempt = attempt;
        let Some(retry) = &params.retry else {
            return self.finish_node(tree, path, def, End::Failed(error));
        };
        if !retries(retry, &error) {
            return self.finish_node(tree, path, def, End::Failed(error));
        }
        if attempt >= retry.attempts {
            return self.finish_node(tree, path, def, End::Failed(exhausted(retry, error)));
        }
        let delay = self.retry_delay(tree, path, retry, attempt, &error);
        self.settle_attempt(tree, path, Ended::Failed(&error));
        self.emit(Body::EffectAttemptFailed {
            tree,
            path: path.clone(),
            attempt,
            error,
            next_due: self.now.plus(delay),
        });
        self.schedule(delay, TimerKind::Retry { tree, path: path.clone() }, Value::Null);
    }

    /// Returns the wait before the next try. Jitter comes from the instance and record, so replay
    /// gives the same.
    pub(super) fn retry_delay(
        &self,
        tree: Seq,
        path: &str,
        retry: &RetryDef,
        attempt: u32,
        error: &EffectError,
    ) -> Span {
        let env = self.node_env(tree, path, None);
        let span = |template: &crate::expr::Template, default: Span| {
            template.render(&env).ok().and_then(|it| span_of(&it).ok()).unwrap_or(default)
        };
        let base = span(&retry.base_delay, Span::secs(1)).0;
        let most = span(&retry.max_delay, Span::secs(60)).0;
        let n = attempt.max(1);
        let delay = match retry.backoff {
            Backoff::Constant => base,
            Backoff::Linear => base.saturating_mul(i64::from(n)),
            Backoff::Exponential => base.saturating_mul(1i64 << (n - 1).min(40)),
            Backoff::Fibonacci => base.saturating_mul(fibonacci(n)),
        };
        let asked = error.details.get("retry_after_ms").and_then(Value::as_i64).unwrap_or(0);
        let delay = delay.min(most);
        let random = crate::expr::Env::random_seed(&env);
        let share = |of: i64| {
            let mixed = mix(random.0 ^ random.1.rotate_left(32) ^ u64::from(attempt));
            ((u128::from(mixed) * (of as u128 + 1)) >> 64) as i64
        };
        let delay = match retry.jitter {
            Jitter::None => delay,
            Jitter::Full => share(delay),
            Jitter::Equal => delay / 2 + share(delay / 2),
        };
        Span(delay.max(Span::millis(asked).0).min(most.max(base)))
    }

    /// The wait before the next attempt is over.
    pub(crate) fn retry_due(&mut self, tree: Seq, path: &Text) {
        if self.status(tree, path) != Some(NodeStatus::Waiting) {
            return self.advance_tree(tree);
        }
        match self.params_of(tree, path) {
            Some((_, params)) => self.start_or_queue(tree, path, params),
            None => return self.retry_body(tree, path),
        }
        if self.is_over(tree, path) {
            self.advance_tree(tree);
        }
    }

    /// An attempt was running when the process died.
    pub(crate) fn call_unknown(&mut self, tree: Seq, path: &Text, class: DeliveryClass) {
        if self.status(tree, path) != Some(NodeStatus::Started)
            || self.snapshot.holds_outcome(tree, path)
        {
            return;
        }
        let Some((def, params)) = self.params_of(tree, path) else { return };
        let attempt = self.node(tree, path).map_or(0, |node| node.attempt);
        let policy = params.on_unknown.unwrap_or(match class {
            DeliveryClass::SafeRead | DeliveryClass::KeyedWrite => OnUnknown::Retry,
            DeliveryClass::OtherWrite => OnUnknown::Ask,
        });
        let word = match policy {
            OnUnknown::Retry => "retry",
            OnUnknown::Ask => "ask",
            OnUnknown::Fail => "fail",
        };
        let path = path.clone();
        self.emit(Body::EffectUnknown { tree, path: path.clone(), attempt, policy: word.into() });
        match policy {
            OnUnknown::Retry => {
                self.start_or_queue(tree, &path, params);
                if self.is_over(tree, &path) {
                    self.advance_tree(tree);
                }
            }
            OnUnknown::Ask => {
                let message = format!(
                    "attempt {attempt} of `{path}` was running when the process stopped; nobody \
                     recorded whether it happened"
                );
                self.open_incident("unknown_outcome", (tree, &path), message, None, None);
            }
            OnUnknown::Fail => {
                self.finish_node(tree, &path, def, End::Failed(unknown_outcome(attempt)));
                self.advance_tree(tree);
            }
        }
    }
}

pub(crate) fn unknown_outcome(attempt: u32) -> EffectError {
    EffectError::new(
        "unknown_outcome",
        format!(
            "attempt {attempt} was running when the process stopped, and its outcome is not known"
        ),
    )
}

/// Says whether a policy tries again after this error.
pub(super) fn retries(retry: &RetryDef, error: &EffectError) -> bool {
    let named = |codes: &[Text]| codes.iter().any(|code| error.has_code(code));
    if retry.attempts <= 1 || named(&retry.except) {
        return false;
    }
    if retry.on.is_empty() { error.retryable } else { named(&retry.on) }
}

/// Returns the error after the last try.
pub(super) fn exhausted(retry: &RetryDef, error: EffectError) -> EffectError {
    let message = format!("all {} attempts failed; the last: {}", retry.attempts, error.message);
    EffectError {
        kind: error.kind.clone(),
        path: error.path.clone(),
        attempt: error.attempt,
        ..EffectError::new("max_retries_exceeded", message)
    }
    .caused_by(error)
}

fn fibonacci(n: u32) -> i64 {
    let (mut a, mut b) = (1i64, 1i64);
    for _ in 1..n.min(80) {
        (a, b) = (b, a.saturating_add(b));
    }
    a
}

/// Spreads the bits of a number (the finaliser of splitmix64).
fn mix(mut it: u64) -> u64 {
    it = it.wrapping_add(0x9e37_79b9_7f4a_7c15);
    it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    it ^ (it >> 31)
}
