//! One entry per kind of input: checks it, records it, and lets the machine settle.

use traaviis_model::{
    Body, EffectError, Header, InstanceId, Record, Seq, Snapshot, TenantCtx, Text, Value,
    definition::{ErrorsUnhandled, Unhandled},
    limits,
    privacy::RedactionKey,
    record::{ERASED, EventSource, Held, Lineage, RECORD_VERSION, Status, TimerKind, WHOLE},
    time::Timestamp,
};

use crate::{
    effects::signal::Takers,
    expr::{Env, Var},
    machine::{Machine, StateId, is_reserved},
    privacy::{redacted_start, redacts_events, taken},
    step::{
        Birth, GuardWatch, Input, InternalEvent, Marks, Origin, Rejection, Resolution, Run, Step,
        StepContext,
    },
};

use super::{
    asked,
    env::parent_value,
    incident::{held_of, input_of, paused},
    run::other_than,
    select::Selection,
};

/// What the first templates of an instance read: its input, before there is any state.
struct StartEnv<'a> {
    machine: &'a Machine,
    input: &'a Value,
    id: InstanceId,
    now: Timestamp,
    tenant: String,
    lineage: Option<&'a Lineage>,
}

impl<'a> StartEnv<'a> {
    /// Reads nothing but the input: what it gives is the same for whoever starts, and whenever.
    fn of_input(machine: &'a Machine, input: &'a Value) -> StartEnv<'a> {
        StartEnv {
            machine,
            input,
            id: InstanceId(uuid::Uuid::nil()),
            now: Timestamp(0),
            tenant: String::new(),
            lineage: None,
        }
    }
}

impl Env for StartEnv<'_> {
    fn var(&self, var: Var) -> Option<Value> {
        match var {
            Var::Input => Some(self.input.clone()),
            Var::Now => Some(Value::Time(self.now)),
            Var::Tenant => Some(Value::map([("id", Value::from(self.tenant.as_str()))])),
            Var::Workflow => Some(Value::map([
                ("name", Value::String(self.machine.definition().name.clone())),
                ("version", Value::from(self.machine.definition().version.to_string())),
                ("instance_id", Value::from(self.id.to_string())),
                ("parent_id", parent_value(self.lineage)),
                ("started_at", Value::Time(self.now)),
                ("attempt", Value::Int(1)),
            ])),
            _ => None,
        }
    }

    fn random_seed(&self) -> (u64, u64) {
        self.id.0.as_u64_pair()
    }
}

pub(crate) fn too_large(what: &str, limit: usize) -> Rejection {
    Rejection::new("payload_too_large", format!("{what} is larger than {limit} bytes"))
}

/// Refuses what no workflow can take from outside: too much, and names of secrets.
pub(crate) fn check_payload(
    what: &str,
    code: &'static str,
    value: &Value,
) -> Result<(), Rejection> {
    let limit = limits::PAYLOAD_BYTES_MAX;
    if value.json_len() > limit {
        return Err(too_large(what, limit));
    }
    // A payload that could name a secret would have the next call send it.
    if value.names_secret() {
        let message = format!(
            "{what} holds an object with the reserved key `$secret`; only a workflow names secrets"
        );
        return Err(Rejection::new(code, message));
    }
    Ok(())
}

pub(super) fn checked_input(
    machine: &Machine,
    input: Value,
    key: Option<&RedactionKey>,
) -> Result<Value, Rejection> {
    check_payload("the start input", "input_invalid", &input)?;
    let Some(schema) = &machine.input_schema else {
        return redacted_start(machine, input, key);
    };
    let input = schema.fill_defaults(input);
    let errors = schema.errors(&input);
    if errors.is_empty() {
        return redacted_start(machine, input, key);
    }
    Err(Rejection::new(
        "input_invalid",
        format!(
            "the input does not fit the schema of workflow `{}`: {}",
            machine.definition().name,
            errors.join("; ")
        ),
    )
    .with(Value::map([("errors", Value::list(errors.into_iter().map(Value::from)))])))
}

pub(super) fn correlation_key(machine: &Machine, input: &Value) -> Result<Option<Text>, Rejection> {
    let Some(expr) = &machine.correlation else { return Ok(None) };
    match expr.eval(&StartEnv::of_input(machine, input)) {
        Ok(value) if !value.is_null() => Ok(Some(super::actions::text_of(&value.into_json()))),
        Ok(_) => Err(Rejection::new("input_invalid", "the correlation key of this input is null")),
        Err(error) => Err(Rejection::new(
            "input_invalid",
            format!("the correlation key cannot be computed: {}", error.message),
        )),
    }
}

/// Returns the person whom an instance is about, when its workflow says that it is about one.
fn subject_of(machine: &Machine, input: &Value) -> Result<Option<Text>, Rejection> {
    let Some(expr) = &machine.subject else { return Ok(None) };
    let refuse = |why: String| Err(Rejection::new("subject_invalid", why));
    let subject = match expr.eval(&StartEnv::of_input(machine, input)).map(|it| it.into_json()) {
        Ok(Value::String(text)) => text,
        Ok(Value::Int(number)) => number.to_string().into(),
        Ok(_) => return refuse("the subject of this input is neither a text nor a number".into()),
        Err(error) => return refuse(format!("the subject cannot be computed: {}", error.message)),
    };
    let count = subject.chars().count();
    let is_reserved = *subject == *ERASED || *subject == *WHOLE;
    if count == 0 || count > limits::SUBJECT_CHARS_MAX || is_reserved {
        let most = limits::SUBJECT_CHARS_MAX;
        let rule =
            format!("a subject has 1 to {most} characters and is neither `{ERASED}` nor `{WHOLE}`");
        return refuse(rule);
    }
    Ok(Some(subject))
}

pub(super) fn start(
    machine: &Machine,
    ctx: &TenantCtx,
    id: InstanceId,
    input: Value,
    birth: Birth,
    context: &StepContext,
    watch: Option<&dyn GuardWatch>,
) -> Result<Step, Rejection> {
    let is_taken = birth.is_taken || context.is_recorded && redacts_events(machine);
    let input = match is_taken {
        true => input,
        false => checked_input(machine, input, context.key.as_ref())?,
    };
    let correlation = match birth.correlation {
        Some(key) => Some(key),
        None => correlation_key(machine, &input)?,
    };
    let tenant = ctx.tenant().to_string();
    let lineage = birth.lineage.as_deref();
    let env = StartEnv { machine, input: &input, id, now: context.now, tenant, lineage };
    let data = machine.data_initial.render(&env).map_err(|error| {
        Rejection::new(
            "input_invalid",
            format!("`data.initial` cannot be computed: {}", error.message),
        )
    })?;
    let definition = machine.definition();
    let marks = birth.marks.unwrap_or_else(|| Marks::of(definition));
    // A history from before it was kept is replayed without it.
    let created_by = match context.is_recorded {
        true => birth.created_by,
        false => birth.created_by.or_else(|| Some(context.actor.text())),
    };
    let subject = match context.is_recorded {
        true => birth.subject,
        // What a child is told comes from its parent, so it is about the same person.
        false => subject_of(machine, &input)?.or(birth.subject),
    };
    let record = Record {
        header: Header {
            tenant_id: ctx.tenant(),
            instance_id: id,
            seq: 1,
            v: RECORD_VERSION,
            at: context.now,
            step: 1,
            definition_hash: definition.hash,
            actor: context.actor.clone(),
            causation_id: context.causation.clone(),
            correlation_id: context.correlation.as_ref().and_then(|it| other_than(id, it)),
            origin: context.origin.clone(),
        },
        body: Body::Created {
            workflow: definition.name.clone(),
            version: definition.version.to_string().into(),
            input,
            data,
            correlation,
            lineage: birth.lineage,
            tags: marks.tags,
            labels: marks.labels,
            created_by,
            subject,
        },
    };
    let mut run = Run::created(machine, record, context)?;
    run.watch = watch;
    run.data_changed = true;
    run.enter_initial();
    run.settle();
    run.check_data();
    run.finish()
}

pub(super) fn step(
    machine: &Machine,
    snapshot: &Snapshot,
    input: Input,
    context: &StepContext,
    watch: Option<&dyn GuardWatch>,
) -> Result<Step, Rejection> {
    if snapshot.status.is_finished() && !matches!(input, Input::Reopen(_)) {
        return match input {
            Input::Event { .. }
            | Input::Cancel { .. }
            | Input::Resolve { .. }
            | Input::Operate(_) => Err(Rejection::new(
                "instance_finished",
                format!("the instance has ended with status `{}`", snapshot.status.as_str()),
            )),
            _ => Run::new(machine, snapshot, context).finish(),
        };
    }
    let (machine, input) = asked::prepared(machine, snapshot, input, context)?;
    let machine = &*machine;
    let mut run = Run::new(machine, snapshot, context);
    run.watch = watch;
    run.about_tree(tree_of(snapshot, &input), context);
    let input = run.redacted_input(input);
    let held = held_of(&input);
    run.take(input)?;
    run.check_data();
    match (run.finish(), held) {
        (Err(why), Some(held)) => hold(machine, snapshot, held, why, context),
        (other, _) => other,
    }
}

/// Returns the tree that an input is about.
fn tree_of(snapshot: &Snapshot, input: &Input) -> Option<Seq> {
    match input {
        Input::Starting { tree, .. }
        | Input::Outcome { tree, .. }
        | Input::Unknown { tree, .. }
        | Input::Resolve { tree, .. } => Some(*tree),
        Input::Timer { timer } => {
            snapshot.timers.iter().find(|it| it.id == *timer).and_then(|it| it.kind.tree())
        }
        Input::Ended { instance, .. } => snapshot.children.get(instance).map(|it| it.tree),
        Input::Event { .. }
        | Input::Delivered { .. }
        | Input::Continue
        | Input::Cancel { .. }
        | Input::Reopen(_)
        | Input::Fork(_)
        | Input::Operate(_) => None,
    }
}

/// Returns an input as it may be kept.
pub(super) fn redacted(
    machine: &Machine,
    snapshot: &Snapshot,
    input: Input,
    context: &StepContext,
) -> Input {
    Run::new(&machine.of_instance(snapshot), snapshot, context).redacted_input(input)
}

/// Opens an incident for an input of the instance's own that cannot be taken, and keeps the input.
pub(super) fn hold(
    machine: &Machine,
    snapshot: &Snapshot,
    held: Held,
    why: Rejection,
    context: &StepContext,
) -> Result<Step, Rejection> {
    let machine = machine.of_instance(snapshot);
    let mut run = Run::new(&machine, snapshot, context);
    run.hold(held, why);
    run.finish()
}

/// Who takes an event.
struct Offer<'m> {
    /// Transitions, unless an exclusive wait takes the event.
    selection: Option<Selection<'m>>,
    signals: Takers,
}

impl Offer<'_> {
    fn is_empty(&self) -> bool {
        self.selection.as_ref().is_none_or(|it| it.candidates.is_empty())
            && self.signals.nodes.is_empty()
    }
}

impl<'m> Run<'m> {
    /// Takes one input until the instance rests.
    pub(super) fn take(&mut self, input: Input) -> Result<(), Rejection> {
        if self.pauses(&input) {
            return Ok(());
        }
        match input {
            Input::Event { event, data, id } => {
                let is_taken = self.is_recorded && redacts_events(self.machine);
                return self.external(event, data, id, is_taken);
            }
            Input::Delivered { event, data, id, refused } => {
                self.delivered(event, data, id, refused);
                return Ok(());
            }
            Input::Timer { timer } => self.timer(&timer),
            Input::Starting { tree, path } => self.call_starting(tree, &path),
            Input::Outcome { tree, path, scheduled, attempt, outcome } => {
                self.call_outcome(tree, &path, (scheduled, attempt), outcome);
            }
            Input::Unknown { tree, path, class } => self.call_unknown(tree, &path, class),
            Input::Ended { instance, ending } => self.other_ended(instance, ending),
            Input::Continue => {
                if let Some(held) = self.release_held() {
                    return self.take(input_of(held));
                }
                self.release_continue();
                self.advance_trees();
            }
            Input::Cancel { terminate, reason } => self.cancel_instance(terminate, reason),
            Input::Resolve { tree, path, resolution, reason } => {
                if let Resolution::Happened(value) | Resolution::Skip(value) = &resolution {
                    check_payload("the value", "validation_failed", value)?;
                }
                let resolution = self.redacted_resolution(tree, &path, resolution)?;
                self.resolve(tree, &path, resolution, reason)?;
            }
            Input::Operate(operation) => self.operate(operation)?,
            Input::Reopen(retried) => self.reopen(retried)?,
            Input::Fork(forked) => self.fork(forked)?,
        }
        if !self.is_ended() && self.snapshot.status != Status::Paused {
            self.settle();
        }
        self.end_if_clean();
        Ok(())
    }

    /// Takes an event from outside. A payload that is taken already was checked and redacted.
    fn external(
        &mut self,
        name: Text,
        data: Value,
        id: Option<Text>,
        is_taken: bool,
    ) -> Result<(), Rejection> {
        if self.snapshot.status == Status::Completing {
            return Err(Rejection::new(
                "instance_finished",
                "the instance is ending; only cleanup still runs",
            ));
        }
        if self.snapshot.status == Status::Paused {
            return Err(paused());
        }
        check_payload("the event payload", "event_payload_invalid", &data)?;
        let machine = self.machine;
        let declaration = machine.declaration(&name).filter(|(_, it)| !it.internal);
        let Some((declared_name, declared)) = declaration else {
            let known = machine.events.iter().filter(|(_, it)| !it.internal).map(|(name, _)| name);
            let known: Vec<&str> = known.map(|it| &**it).collect();
            let rule =
                if is_reserved(&name) { "is reserved for the engine" } else { "is not declared" };
            return Err(Rejection::new(
                "unknown_event",
                format!(
                    "event `{name}` {rule} in workflow `{}`; declared are: {}",
                    self.snapshot.workflow,
                    known.join(", ")
                ),
            )
            .with(Value::map([("declared", Value::list(known.into_iter().map(Value::from)))])));
        };
        let data = match is_taken {
            true => data,
            false => taken(machine, &name, declared, data, self.key.as_ref())?,
        };
        let event = InternalEvent { name, data, id, external: true, origin: Origin::None };
        self.event = Some(event.clone());
        self.validate(&event)?;
        let merge = declared.merge && event.data.as_map().is_some();
        // Selection sees the merged data, so the merge comes first; a refusal drops the whole
        // step.
        let seq_before = self.snapshot.seq;
        if merge {
            self.emit(received(&event));
            let cause = format!("/events/{declared_name}").into();
            let _ = self.merge_data(&event.data, &cause);
        }
        let offer = self.offer(&event);
        if offer.is_empty() {
            return self.not_accepted(event, seq_before);
        }
        if !merge {
            self.emit(received(&event));
        }
        self.take_offer(offer, &event);
        self.settle();
        self.end_if_clean();
        Ok(())
    }

    /// Takes an event that the workflow subscribes to. Nobody waits for an answer, so a refusal is
    /// recorded.
    fn delivered(&mut self, event: Text, data: Value, id: Text, refused: Option<Box<EffectError>>) {
        let (before, count) = (self.snapshot.clone(), self.records.len());
        let taken = match &refused {
            None => {
                // Redacted when it arrived, maybe long before it was offered.
                let is_taken = redacts_events(self.machine);
                self.external(event.clone(), data.clone(), Some(id.clone()), is_taken)
            }
            Some(_) => Ok(()),
        };
        let refused = match taken {
            Ok(()) => refused,
            // What the attempt merged is undone with it.
            Err(why) => {
                self.snapshot = before;
                self.records.truncate(count);
                self.event = None;
                self.data_changed = false;
                Some(Box::new(EffectError::new(why.code, why.message).with_details(why.details)))
            }
        };
        if refused.is_some() {
            self.emit(Body::EventIgnored { event, data, id: Some(id), refused });
        }
    }

    /// Finds who takes an event: exclusive waits alone, else transitions and then other waits.
    fn offer(&self, event: &InternalEvent) -> Offer<'m> {
        let exclusive = self.signals_for(event, true);
        if !exclusive.nodes.is_empty() {
            return Offer { selection: None, signals: exclusive };
        }
        let mut signals = self.signals_for(event, false);
        signals.errors.extend(exclusive.errors);
        Offer { selection: Some(self.select(Some(event))), signals }
    }

    fn take_offer(&mut self, offer: Offer<'m>, event: &InternalEvent) {
        if let Some(selection) = offer.selection {
            for (error, pointer, state) in selection.errors {
                self.told_errors.push(pointer.clone());
                self.expression_failed(&error, &pointer, state);
            }
            if !selection.candidates.is_empty() {
                self.microstep(&selection.candidates);
            }
        }
        self.signal(offer.signals, &event.data);
    }

    fn validate(&self, event: &InternalEvent) -> Result<(), Rejection> {
        for validation in &self.machine.validations {
            let concerned = validation.events.is_empty()
                || validation.events.iter().any(|it| it.matches(&event.name));
            if !concerned {
                continue;
            }
            match validation.check.eval_bool(&self.env()) {
                Ok(true) => {}
                Ok(false) => {
                    let message = self.render(&validation.message).unwrap_or_default();
                    let code = validation.code.as_ref();
                    let with_code = code.map(|it| format!(" with `{it}`")).unwrap_or_default();
                    return Err(Rejection::new(
                        "validation_failed",
                        format!(
                            "validation `{}` refuses event `{}`{with_code}: {}",
                            validation.name,
                            event.name,
                            super::actions::text_of(&message)
                        ),
                    )
                    .with(Value::map([
                        ("name", Value::String(validation.name.clone())),
                        ("message", message),
                        ("code", validation.code.clone().map_or(Value::Null, Value::String)),
                    ])));
                }
                Err(error) => {
                    return Err(Rejection::new(
                        "validation_failed",
                        format!(
                            "validation `{}` cannot be computed: {}",
                            validation.name, error.message
                        ),
                    ));
                }
            }
        }
        Ok(())
    }

    /// Follows the policy for a declared event that nothing accepts.
    fn not_accepted(&mut self, event: InternalEvent, seq_before: Seq) -> Result<(), Rejection> {
        let InternalEvent { name, data, id, .. } = event;
        match self.unhandled_policy() {
            Unhandled::Reject => {
                let accepted = self.machine.accepted_events(&self.snapshot);
                let words: Vec<&str> = accepted.iter().map(|it| &**it).collect();
                let state = self.snapshot.state();
                let message = if accepted.contains(&name) {
                    format!("state `{state}` takes event `{name}`, but no guard for it is true now")
                } else {
                    let words = if words.is_empty() { "none".into() } else { words.join(", ") };
                    format!(
                        "state `{state}` does not accept event `{name}` now; accepted are: {words}"
                    )
                };
                Err(Rejection::new("event_not_accepted", message).with(Value::map([(
                    "accepted",
                    Value::list(accepted.iter().cloned().map(Value::String)),
                )])))
            }
            // A merge has already recorded the event.
            Unhandled::Ignore if self.snapshot.seq > seq_before => Ok(()),
            Unhandled::Ignore => {
                self.emit(Body::EventIgnored { event: name, data, id, refused: None });
                Ok(())
            }
            Unhandled::Defer => {
                if self.snapshot.deferred.len() >= limits::DEFERRED_MAX {
                    return Err(Rejection::new(
                        "deferred_queue_full",
                        format!(
                            "{} events already wait for a state that accepts them",
                            limits::DEFERRED_MAX
                        ),
                    ));
                }
                self.emit(Body::EventDeferred { event: name, data, id });
                Ok(())
            }
        }
    }

    /// Returns the innermost policy of the first active state that has one, else the document's.
    fn unhandled_policy(&self) -> Unhandled {
        self.snapshot
            .configuration
            .iter()
            .filter_map(|path| self.machine.by_path.get(path))
            .flat_map(|leaf| self.machine.ancestors(*leaf))
            .find_map(|state| self.machine.states[state].unhandled)
            .unwrap_or(self.machine.definition().unhandled)
    }

    /// Offers the oldest deferred event that is accepted now; says whether there was one.
    pub(crate) fn recall_deferred(&mut self) -> bool {
        if self.snapshot.deferred.is_empty() || !self.configuration_changed {
            return false;
        }
        for at in 0..self.snapshot.deferred.len() {
            let (name, data) = self.snapshot.deferred[at].clone();
            let event = InternalEvent {
                name: name.clone(),
                data,
                id: None,
                external: true,
                origin: Origin::None,
            };
            let before = self.event.replace(event);
            let Some(event) = self.event.clone() else { continue };
            let offer = self.offer(&event);
            if offer.is_empty() {
                self.event = before;
                continue;
            }
            // An event of its own, and so a macrostep of its own.
            self.microsteps = 0;
            self.emit(Body::EventRecalled { event: name });
            self.take_offer(offer, &event);
            return true;
        }
        self.configuration_changed = false;
        false
    }

    fn timer(&mut self, id: &Text) {
        let Some(timer) = self.snapshot.timers.iter().find(|timer| timer.id == *id).cloned() else {
            return;
        };
        if timer.due > self.now {
            return;
        }
        self.emit(Body::TimerFired { timer: id.clone() });
        match timer.kind {
            TimerKind::After { state, index } => {
                let Some(owner) = self.machine.by_path.get(&state).copied() else { return };
                let origin = Origin::After(owner, index as usize);
                self.internal(InternalEvent::internal(
                    format!("after.{state}"),
                    Value::Null,
                    origin,
                ));
            }
            TimerKind::Raise { event, id } => {
                let event = InternalEvent::internal(event, timer.data, Origin::Timer);
                self.internal(InternalEvent { id, ..event });
            }
            TimerKind::Delay { tree, path } => self.delay_over(tree, &path),
            TimerKind::Retry { tree, path } => self.retry_due(tree, &path),
            TimerKind::Deadline { tree, path } => self.deadline_over(tree, &path),
            TimerKind::Reminder { tree, path, number } => self.task_reminds(tree, &path, number),
            TimerKind::Escalation { tree, path } => self.task_escalates(tree, &path),
            TimerKind::Cleanup { tree } => self.cleanup_due(tree),
        }
    }

    pub(crate) fn cancel_instance(&mut self, terminate: bool, reason: Option<Text>) {
        self.emit(Body::CancelRequested { terminate, reason });
        if terminate {
            return self.end_at_once(Status::Cancelled, None);
        }
        let was_paused = self.snapshot.status == Status::Paused;
        if was_paused {
            // Or what must be undone would not start.
            self.emit(Body::Resumed { reason: None });
        }
        let is_ending = self.snapshot.status == Status::Completing;
        if !is_ending {
            self.exit_all();
        }
        self.cancel_detached();
        if !is_ending {
            self.end(Status::Cancelled, Value::Null, None);
        }
        if was_paused {
            // Compensations that waited for a slot when it was paused have lost their place.
            self.queue_waiting_calls();
        }
    }

    /// An error event found no candidate.
    pub(crate) fn unhandled_error(&mut self, event: &InternalEvent) {
        let error = unhandled(event);
        match self.machine.definition().errors_unhandled {
            ErrorsUnhandled::Fail => self.end(Status::Failed, Value::Null, Some(error)),
            ErrorsUnhandled::Ignore => {}
            ErrorsUnhandled::Incident => {
                let message = error.message.clone();
                let kind = match &*event.name {
                    "budget.exceeded" => "budget_exceeded",
                    _ => "effect_failed",
                };
                self.open_incident(kind, (0, &event.name), message, Some(error), None);
            }
        }
    }

    /// An event ends the instance, whoever would take it.
    pub(crate) fn end_unhandled(&mut self, event: &InternalEvent) {
        let text = |key: &str| event.data.get(key).and_then(Value::as_str).unwrap_or_default();
        let error =
            EffectError::new(text("code"), text("message")).with_details(event.data.clone());
        self.end(Status::Failed, Value::Null, Some(error));
    }

    /// Ends the instance; trees that still have something to undo, or are detached, finish first.
    pub(crate) fn end(&mut self, status: Status, output: Value, error: Option<EffectError>) {
        self.queue.clear();
        self.to_invoke.clear();
        self.cancel_timers(|kind| {
            matches!(kind, TimerKind::After { .. } | TimerKind::Raise { .. })
        });
        let owners: Vec<Text> = self.snapshot.trees.iter().map(|tree| tree.state.clone()).collect();
        owners.iter().for_each(|state| self.leave_trees(state));
        if self.snapshot.trees.is_empty() {
            self.emit(Body::Finished { status, output, error });
        } else {
            self.emit(Body::Completing { status, output, error });
        }
    }

    /// Ends the instance and gives up everything that still runs.
    pub(crate) fn end_at_once(&mut self, status: Status, error: Option<EffectError>) {
        self.abandon(|_| true);
        self.emit(Body::Finished { status, output: Value::Null, error });
    }

    /// Ends a completing instance once nothing runs any more.
    pub(crate) fn end_if_clean(&mut self) {
        if self.snapshot.status == Status::Completing && self.snapshot.trees.is_empty() {
            let status = self.snapshot.ending.unwrap_or(Status::Failed);
            let output = self.snapshot.output.clone();
            let error = self.snapshot.error.as_deref().cloned();
            self.emit(Body::Finished { status, output, error });
        }
    }

    /// Checks the data against its schema and limit once per step.
    pub(crate) fn check_data(&mut self) {
        if !self.data_changed || self.fault.is_some() {
            return;
        }
        if self.snapshot.data.json_len() > limits::DATA_BYTES_MAX {
            self.fault = Some(too_large("the instance's data", limits::DATA_BYTES_MAX));
            return;
        }
        let Some(schema) = &self.machine.data_schema else { return };
        let errors = schema.errors(&self.snapshot.data);
        if !errors.is_empty() {
            self.fault = Some(Rejection::new(
                "step_rejected",
                format!(
                    "after the step the data would not fit their schema: {}",
                    errors.join("; ")
                ),
            ));
        }
    }

    /// Begins the invokes of the states entered in this macrostep.
    pub(crate) fn begin_invokes(&mut self) {
        for state in std::mem::take(&mut self.to_invoke) {
            for invoke in 0..self.machine.states[state].invoke.len() {
                if self.active[state] && !self.is_ended() {
                    self.begin_invoke(state, invoke);
                }
            }
        }
    }

    pub(super) fn begin_invoke(&mut self, state: StateId, invoke: usize) {
        let def = &self.machine.states[state].invoke[invoke];
        if let Some(when) = &def.when {
            match when.eval_bool(&self.env()) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => return self.expression_failed(&error, &def.pointer, state),
            }
        }
        let tree = self.emit(Body::TreeStarted {
            invoke: def.id.clone(),
            state: self.machine.states[state].path.clone(),
            pointer: def.pointer.clone(),
            detached: def.detach,
        });
        self.poll(tree, &def.id, &def.effect);
    }
}

fn unhandled(event: &InternalEvent) -> EffectError {
    let text = |key: &str| event.data.get(key).and_then(Value::as_str);
    let message = text("message").unwrap_or_default();
    let code = text("code").unwrap_or("custom_error");
    EffectError::new(code, format!("`{}` was not handled: {message}", event.name))
        .with_details(event.data.clone())
}

fn received(event: &InternalEvent) -> Body {
    Body::EventReceived {
        event: event.name.clone(),
        data: event.data.clone(),
        id: event.id.clone(),
        source: EventSource::External,
    }
}
