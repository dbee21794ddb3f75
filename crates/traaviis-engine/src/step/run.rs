//! The working copy of one step: records so far, the state after them, and the internal queue.
//!
//! Invariant: the state changes only through [`Run::emit`], which applies the record it writes.
//! Folding the records again therefore gives the same state by construction.

use std::{collections::VecDeque, sync::Arc};

use traaviis_model::{
    Body, Header, InstanceId, Record, Seq, Snapshot, Text, Timestamp, Value,
    budget::BudgetScope,
    limits,
    privacy::RedactionKey,
    record::{RECORD_VERSION, Status, TimerKind},
    time::Span,
};

use crate::{
    expr::{EvalError, Expr, Template},
    machine::{Machine, StateFlags, StateId, span_of},
    step::{GuardWatch, ItemEnv, Rejection, Request, Step, StepContext, StepEnv},
};

/// An event inside a step.
#[derive(Clone, Debug)]
pub(crate) struct InternalEvent {
    pub name: Text,
    pub data: Value,
    pub id: Option<Text>,
    pub external: bool,
    pub origin: Origin,
}

/// Where an internal event comes from; candidates written for the origin come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    None,
    /// Raised inside a state.
    State(StateId),
    /// A delayed raise that is due.
    Timer,
    /// What ends the instance, whatever the states say.
    Fatal,
    /// A timer of a state.
    After(StateId, usize),
    /// Outcome of an invoke of a state.
    Done(StateId, usize),
    Failed(StateId, usize),
}

impl InternalEvent {
    pub(crate) fn internal(name: impl Into<Text>, data: Value, origin: Origin) -> InternalEvent {
        InternalEvent { name: name.into(), data, id: None, external: false, origin }
    }
}

/// The working copy of one step.
pub(crate) struct Run<'m> {
    pub machine: &'m Machine,
    /// State after the records; its own copy, kept in one place from the beginning.
    pub snapshot: Arc<Snapshot>,
    pub records: Vec<Record>,
    pub requests: Vec<Request>,
    pub queue: VecDeque<InternalEvent>,
    pub event: Option<InternalEvent>,
    pub active: StateFlags,
    pub now: Timestamp,
    pub microsteps: u32,
    pub start_slots: u32,
    /// The input is read off records.
    pub is_recorded: bool,
    /// What digests and tokens of the tenant are made with.
    pub key: Option<RedactionKey>,
    /// Effect nodes advanced; at the limit the rest waits for the next step.
    pub advances: usize,
    /// Bytes of values in the records so far; bounds what one commit carries.
    pub bytes: usize,
    /// What of them stays in the log at most.
    bytes_in_log: usize,
    pub yielded: bool,
    /// States entered whose invokes have not begun.
    pub to_invoke: Vec<StateId>,
    /// What the states left in this microstep will remember: they may be entered again in it.
    pub leaving: Vec<(Text, Vec<Text>)>,
    /// Compound and history states whose defaults this microstep follows.
    pub defaults: Vec<StateId>,
    /// Item and position of each `for_each` that is running, outermost first.
    pub items: Vec<(Value, usize)>,
    /// Actions that `for_each` has run.
    pub repeated: usize,
    /// Candidates whose guard error was told already in this macrostep.
    pub told_errors: Vec<Text>,
    pub data_changed: bool,
    pub configuration_changed: bool,
    /// Budgets that this step has told to be exceeded.
    pub told_budgets: Vec<BudgetScope>,
    /// Why the instance is paused at the end of this step.
    pub pause_after: Option<Text>,
    /// Set when the step cannot be taken.
    pub fault: Option<Rejection>,
    /// Is told how guards come out.
    pub watch: Option<&'m dyn GuardWatch>,
    header: Header,
}

/// Returns the request or root that a step belongs to; none when that is the instance itself.
fn belongs_to(context: &StepContext, snapshot: &Snapshot) -> Option<Text> {
    match &context.correlation {
        Some(of) => other_than(snapshot.id, of),
        None => snapshot.correlation_id.clone(),
    }
}

/// Returns a request or root unless it is the instance itself.
pub(super) fn other_than(id: InstanceId, correlation: &Text) -> Option<Text> {
    let is_itself = correlation.parse().is_ok_and(|it: InstanceId| it == id);
    (!is_itself).then(|| correlation.clone())
}

impl<'m> Run<'m> {
    pub(crate) fn new(machine: &'m Machine, snapshot: &Snapshot, context: &StepContext) -> Run<'m> {
        Run::with(machine, Arc::new(snapshot.clone()), context)
    }

    fn with(machine: &'m Machine, snapshot: Arc<Snapshot>, context: &StepContext) -> Run<'m> {
        let now = context.now.max(snapshot.updated_at);
        let active = machine.active_in(&snapshot);
        Run {
            header: Header {
                tenant_id: snapshot.tenant_id,
                instance_id: snapshot.id,
                seq: 0,
                v: RECORD_VERSION,
                at: now,
                step: snapshot.step + 1,
                definition_hash: machine.definition().hash,
                actor: context.actor.clone(),
                causation_id: context.causation.clone(),
                correlation_id: belongs_to(context, &snapshot),
                origin: context.origin.clone(),
            },
            machine,
            snapshot,
            records: Vec::with_capacity(4),
            requests: Vec::new(),
            queue: VecDeque::new(),
            event: None,
            active,
            now,
            microsteps: 0,
            start_slots: context.start_slots,
            is_recorded: context.is_recorded,
            key: context.key.clone(),
            advances: 0,
            bytes: 0,
            bytes_in_log: 0,
            yielded: false,
            to_invoke: Vec::new(),
            leaving: Vec::new(),
            defaults: Vec::new(),
            items: Vec::new(),
            repeated: 0,
            told_errors: Vec::new(),
            data_changed: false,
            configuration_changed: false,
            told_budgets: Vec::new(),
            pause_after: None,
            fault: None,
            watch: None,
        }
    }

    /// Continues after `created`, which has no state before it.
    pub(crate) fn created(
        machine: &'m Machine,
        record: Record,
        context: &StepContext,
    ) -> Result<Run<'m>, Rejection> {
        let snapshot = Snapshot::create(&record)
            .map_err(|error| Rejection::new("engine_fault", error.to_string()))?;
        let mut run = Run::with(machine, Arc::new(snapshot), context);
        run.header.step = 1;
        run.header.origin = None;
        run.records.push(record);
        Ok(run)
    }

    /// Lets the step belong to what a tree belongs to, unless its cause has said what it is.
    pub(super) fn about_tree(&mut self, tree: Option<Seq>, context: &StepContext) {
        let of = tree.filter(|_| context.correlation.is_none());
        if let Some(tree) = of.and_then(|it| self.snapshot.tree(it))
            && tree.correlation_id.is_some()
        {
            self.header.correlation_id.clone_from(&tree.correlation_id);
        }
    }

    /// Looks again which states are active: an upgrade gave them other places.
    pub(crate) fn look_around(&mut self) {
        self.active = self.machine.active_in(&self.snapshot);
    }

    /// Returns the active states, in document order.
    pub(crate) fn active_states(&self) -> Vec<StateId> {
        (1..self.active.len()).filter(|it| self.active[*it]).collect()
    }

    /// Returns who acts in this step, as `kind:id`.
    pub(crate) fn actor_text(&self) -> Text {
        self.header.actor.text()
    }

    /// Writes a record and applies it; returns its number.
    pub(crate) fn emit(&mut self, body: Body) -> Seq {
        let seq = self.snapshot.seq + 1;
        let snapshot = Arc::make_mut(&mut self.snapshot);
        let applied = snapshot.apply_body(&self.header, seq, &body);
        if let Err(error) = applied {
            debug_assert!(false, "{error}");
            self.fault.get_or_insert(Rejection::new("engine_fault", error.to_string()));
        }
        if matches!(body, Body::DataChanged { .. } | Body::DataEdited { .. }) {
            self.data_changed = true;
        }
        let bytes = body.value_bytes();
        self.bytes += bytes;
        self.bytes_in_log += bytes.min(limits::RECORD_LOG_BYTES_MAX);
        if self.bytes > limits::STEP_BYTES_MAX {
            self.too_much(limits::STEP_BYTES_MAX, "bytes");
        }
        if self.bytes_in_log > limits::STEP_LOG_BYTES_MAX {
            self.too_much(limits::STEP_LOG_BYTES_MAX, "bytes beside its largest values");
        }
        // Only the first record of a step tells of the act.
        let origin = self.header.origin.take();
        self.records.push(Record { header: Header { seq, origin, ..self.header.clone() }, body });
        seq
    }

    fn too_much(&mut self, most: usize, of: &str) {
        self.fault.get_or_insert_with(|| {
            Rejection::new("payload_too_large", format!("the step writes over {most} {of}"))
        });
    }

    /// Ends the step.
    pub(crate) fn finish(mut self) -> Result<Step, Rejection> {
        match self.pause_after.take() {
            None => {}
            Some(reason) if !self.is_ended() => {
                self.emit(Body::Paused { reason: Some(reason) });
            }
            // Nobody can resume what is ending; what waited for that fails when it asks again.
            Some(_) => self.queue_waiting_calls(),
        }
        self.drop_cleanup_limits();
        self.drop_moot_incidents();
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let is_paused = self.snapshot.status == Status::Paused;
        let goes_on = self.yielded || !self.snapshot.held.is_empty();
        if goes_on && !is_paused && !self.snapshot.status.is_finished() {
            self.requests.push(Request::Continue);
        }
        Ok(Step { records: self.records, snapshot: self.snapshot, requests: self.requests })
    }

    /// Returns what expressions outside effect trees read.
    pub(crate) fn env(&self) -> StepEnv<'_> {
        StepEnv {
            machine: self.machine,
            snapshot: &self.snapshot,
            active: &self.active,
            now: self.now,
            event: self.event.as_ref(),
            node: None,
            value: None,
        }
    }

    pub(crate) fn render(&self, template: &Template) -> Result<Value, EvalError> {
        match self.items.last() {
            Some(item) => template.render(&ItemEnv { step: self.env(), item }),
            None => template.render(&self.env()),
        }
    }

    /// Evaluates the condition of an action.
    pub(crate) fn holds(&self, condition: &Expr) -> Result<bool, EvalError> {
        match self.items.last() {
            Some(item) => condition.eval_bool(&ItemEnv { step: self.env(), item }),
            None => condition.eval_bool(&self.env()),
        }
    }

    pub(crate) fn render_or_null(&self, template: Option<&Template>) -> Result<Value, EvalError> {
        template.map_or(Ok(Value::Null), |it| self.render(it))
    }

    /// Renders a duration.
    pub(crate) fn span(&self, template: &Template) -> Result<Span, EvalError> {
        let value = self.render(template)?;
        span_of(&value).map_err(|message| EvalError { code: "expression_error", message })
    }

    /// Sets a timer.
    pub(crate) fn schedule(&mut self, after: Span, timer_kind: TimerKind, data: Value) {
        self.schedule_at(self.now.plus(after), timer_kind, data);
    }

    /// Sets a timer for a point in time.
    pub(crate) fn schedule_at(&mut self, due: Timestamp, timer_kind: TimerKind, data: Value) {
        if self.snapshot.timers.len() >= limits::TIMERS_MAX {
            self.fault.get_or_insert(Rejection::new(
                "timer_limit",
                format!("the instance would have more than {} open timers", limits::TIMERS_MAX),
            ));
            return;
        }
        let timer = format!("t{}", self.snapshot.seq + 1).into();
        self.emit(Body::TimerScheduled { timer, due, timer_kind, data });
    }

    /// Takes away every timer that `gone` names.
    pub(crate) fn cancel_timers(&mut self, gone: impl Fn(&TimerKind) -> bool) {
        if self.snapshot.timers.is_empty() {
            return;
        }
        let timers: Vec<Text> = self
            .snapshot
            .timers
            .iter()
            .filter(|timer| gone(&timer.kind))
            .map(|timer| timer.id.clone())
            .collect();
        for timer in timers {
            self.emit(Body::TimerCancelled { timer });
        }
    }

    /// Raises `error.expression` for a failed expression, and tells the reader why.
    pub(crate) fn expression_failed(&mut self, error: &EvalError, pointer: &Text, state: StateId) {
        self.emit(Body::Warning {
            code: error.code.into(),
            message: error.message.as_str().into(),
            at_pointer: pointer.clone(),
        });
        let data = Value::map([
            ("code", Value::from(error.code)),
            ("message", Value::from(error.message.as_str())),
            ("pointer", Value::String(pointer.clone())),
        ]);
        let origin = Origin::State(state);
        self.queue.push_back(InternalEvent::internal("error.expression", data, origin));
    }
}
