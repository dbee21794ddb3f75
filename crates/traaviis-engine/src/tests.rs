//! Traces of small machines: a document, a script, the expected trace.
//!
//! Script lines: `send EVENT [JSON]`, `+5s` (virtual time, due timers fire in order),
//! `ok PATH JSON` / `fail PATH CODE [retryable]` (outcome of a running call), `unknown PATH CLASS`,
//! `cancel`, `terminate`, `happened PATH JSON`, `skip PATH JSON`, `retry PATH`,
//! `give-up PATH` (answers), `again [new|paused]`, `leave-out PATH JSON` (an instance that failed
//! goes on), `fork|fork-live|fork-paused [SEQ]` (the script goes on with the fork),
//! `pause`, `resume`, `edit PATCH`, `move PATH...`, `claim PATH`, `release PATH`,
//! `decide PATH OUTCOME [FORM]`, `assign SEQ NAME`, `run NAME [WITH]`, `do EFFECT` (outside of
//! the states), `call-off PATH`, `by NAME` (who acts from here on; as the
//! first line also who starts it), `ended PATH STATUS [JSON]` (the child of a node).
//! Every script is replayed at its end and must give the same bytes.

mod actions;
mod asked;
mod budget;
mod budget_random;
pub(crate) mod chart;
mod children;
mod control;
mod fork;
mod gates;
mod grant;
mod incident;
mod interpreter;
mod limits;
mod operate;
mod outside;
mod people;
mod privacy;
pub(crate) mod reference;
mod reopen;
mod retry;
mod saga;
mod statechart;
mod testing;

use std::{collections::VecDeque, fmt::Write, sync::Arc};

use expect_test::Expect;
use traaviis_model::{
    Actor, Body, DeliveryClass, EffectError, InstanceId, Record, Snapshot, Span, TenantCtx, Text,
    Timestamp, Value,
    document::{self, Format},
    privacy::RedactionKey,
    record::{ActorKind, Asked, ERASED, Ending, Operation, Results, Status, TaskAct},
};

use crate::{
    Machine,
    step::{Branch, Fork, Input, Request, Resolution, Retry, Step, StepContext, start, step},
};

pub(crate) fn machine(document: &str) -> Machine {
    let read = document::read(document, Format::Yaml);
    let shown: Vec<String> = read.diagnostics.iter().map(ToString::to_string).collect();
    let definition = read.definition.unwrap_or_else(|| panic!("{}", shown.join("\n")));
    Machine::compile(Arc::new(definition)).unwrap_or_else(|found| {
        panic!("{}", found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })
}

/// Completes a document whose states are given.
pub(crate) fn with_head(body: &str) -> String {
    format!("traaviis: \"1\"\nname: Test\nversion: 1.0.0\n{body}")
}

/// Runs a script against a document and compares the trace.
pub(crate) fn check(body: &str, script: &str, expected: Expect) {
    expected.assert_eq(&trace(body, script, Value::empty_map()));
}

pub(crate) fn trace(body: &str, script: &str, input: Value) -> String {
    let machine = machine(&with_head(body));
    let first = script.trim_start().lines().next().unwrap_or_default();
    let by = first.strip_prefix("by ").map_or_else(Actor::local, person);
    let mut world = World::started_by(by, &machine, input);
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        world.line(line);
    }
    let replayed = replayed(&machine, &world.records).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(replayed.unwrap().canonical(), world.snapshot.canonical(), "fold differs");
    world.out
}

/// Records of a history that is folded after each step as if its values were erased.
const ERASED_RECORDS_MAX: usize = 100;

struct World<'m> {
    machine: &'m Machine,
    snapshot: Arc<Snapshot>,
    records: Vec<Record>,
    requests: VecDeque<Request>,
    now: Timestamp,
    by: Actor,
    out: String,
}

fn person(name: &str) -> Actor {
    Actor { kind: ActorKind::User, id: name.trim().into() }
}

impl<'m> World<'m> {
    fn new(machine: &'m Machine, input: Value) -> World<'m> {
        World::started_by(Actor::local(), machine, input)
    }

    fn started_by(by: Actor, machine: &'m Machine, input: Value) -> World<'m> {
        let context = StepContext { actor: by.clone(), ..context(Timestamp(0)) };
        let id = InstanceId(uuid::Uuid::from_u128(7));
        let begun = start(machine, &TenantCtx::for_test(9), id, input, &context)
            .unwrap_or_else(|why| panic!("{why}"));
        let mut world = World {
            machine,
            snapshot: begun.snapshot.clone(),
            records: Vec::new(),
            requests: VecDeque::new(),
            now: Timestamp(0),
            by,
            out: "> start\n".into(),
        };
        world.took(begun);
        world.go_on();
        world
    }

    fn line(&mut self, line: &str) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (path, tail) = rest.split_once(' ').unwrap_or((rest, "null"));
        let json = |text: &str| -> Value { serde_json::from_str(text).expect(text) };
        let tree = |world: &Self| {
            world.snapshot.trees.iter().find(|it| it.nodes.contains_key(path)).map_or(0, |it| it.id)
        };
        let attempt =
            |world: &Self| world.snapshot.node(tree(world), path).map_or(0, |node| node.attempt);
        let (tree, attempt) = (tree(self), attempt(self));
        let scheduled = self.snapshot.node(tree, path).map_or(0, |node| node.scheduled);
        let outcome =
            |outcome| Input::Outcome { tree, path: path.into(), scheduled, attempt, outcome };
        let answer = |resolution| {
            let reason = Some("why not".into());
            Input::Resolve { tree, path: path.into(), resolution, reason }
        };
        let task = |act| Input::Operate(Operation::Task { tree, path: path.into(), act });
        let input = match word {
            "send" => Input::Event { event: path.into(), data: json(tail), id: None },
            "ok" => outcome(Ok(json(tail))),
            "stale" => Input::Outcome {
                tree,
                path: path.into(),
                scheduled: scheduled - 1,
                attempt,
                outcome: Ok(json(tail)),
            },
            "fail" => {
                let (code, how) = tail.split_once(' ').unwrap_or((tail, ""));
                let mut error = EffectError::new(code, "no luck");
                error.retryable = how == "retryable";
                outcome(Err(error))
            }
            "ended" => {
                let (status, output) = tail.split_once(' ').unwrap_or((tail, "null"));
                let child = self.snapshot.children.iter().find(|(_, it)| *it.path == *path);
                let instance = child.map_or(self.snapshot.id, |it| *it.0);
                let status: Status = serde_json::from_str(&format!("{status:?}")).unwrap();
                let error =
                    (status != Status::Completed).then(|| EffectError::new("no_luck", "no luck"));
                let ending = Ending { status, output: json(output), error, terminated: false };
                Input::Ended { instance, ending }
            }
            "unknown" => Input::Unknown {
                tree,
                path: path.into(),
                class: match tail {
                    "other" => DeliveryClass::OtherWrite,
                    _ => DeliveryClass::KeyedWrite,
                },
            },
            "happened" => {
                let resolution = Resolution::Happened(json(tail));
                answer(resolution)
            }
            "skip" => answer(Resolution::Skip(json(tail))),
            "retry" => answer(Resolution::Retry),
            "give-up" => answer(Resolution::Fail),
            "again" | "leave-out" => {
                let retry = Retry {
                    reason: Some("why not".into()),
                    as_new: rest == "new",
                    paused: rest == "paused",
                    skip: (word == "leave-out").then(|| (path.into(), json(tail))),
                };
                let class = |_: &str, _: &Value| DeliveryClass::OtherWrite;
                writeln!(self.out, "> {line}").unwrap();
                match crate::plan_retry(&self.records, retry, class) {
                    Ok(retried) => self.feed(Input::Reopen(retried)),
                    Err(why) => writeln!(self.out, "  refused {}: {why}", why.code).unwrap(),
                }
                return;
            }
            "fork" | "fork-live" | "fork-paused" => {
                writeln!(self.out, "> {line}").unwrap();
                return self.fork(word, rest);
            }
            "pause" => Input::Operate(Operation::Pause { reason: None }),
            "resume" => Input::Operate(Operation::Resume { reason: None }),
            "edit" => Input::Operate(Operation::EditData {
                patch: serde_json::from_str(rest).expect(rest),
                reason: "mend".into(),
            }),
            "claim" => task(TaskAct::Claim),
            "release" => task(TaskAct::Release),
            "delegate" => {
                let (to, comment) = tail.split_once(' ').unwrap_or((tail, ""));
                let comment = (!comment.is_empty()).then(|| comment.into());
                task(TaskAct::Delegate { to: to.into(), comment })
            }
            "comment" => task(TaskAct::Comment { text: tail.into() }),
            "decide" => {
                let (outcome, form) = tail.split_once(' ').unwrap_or((tail, "null"));
                let (outcome, form) = (outcome.into(), json(form));
                task(TaskAct::Decide { outcome, form, comment: Some("because".into()) })
            }
            "move" => Input::Operate(Operation::Move {
                to: rest.split_whitespace().map(Into::into).collect(),
                reason: "mend".into(),
            }),
            "tag" => {
                let of = |sign| rest.split_whitespace().filter_map(move |it| it.strip_prefix(sign));
                let (add, remove) = (of('+').map(Text::from), of('-').map(Text::from));
                Input::Operate(Operation::Tag { add: add.collect(), remove: remove.collect() })
            }
            "assign" => {
                let (incident, to) = (path.parse().expect(path), Some(tail.into()));
                Input::Operate(Operation::Assign { incident, to })
            }
            "run" => {
                let asked = Asked { effect: Some(path.into()), tree: None, with: json(tail) };
                Input::Operate(Operation::RunEffect { asked: Box::new(asked) })
            }
            "do" => {
                let asked = Asked { tree: Some(rest.into()), ..Asked::default() };
                Input::Operate(Operation::RunEffect { asked: Box::new(asked) })
            }
            "call-off" => Input::Operate(Operation::CancelEffect { tree, reason: None }),
            "by" => return self.by = person(rest),
            "cancel" => Input::Cancel { terminate: false, reason: None },
            "terminate" => Input::Cancel { terminate: true, reason: None },
            time => {
                let span: Span = time.trim_start_matches('+').parse().expect(line);
                return self.advance(span);
            }
        };
        writeln!(self.out, "> {line}").unwrap();
        self.feed(input);
    }

    /// Goes on as a fork of what it was.
    fn fork(&mut self, word: &str, at: &str) {
        let fork = Fork {
            id: InstanceId(uuid::Uuid::from_u128(8)),
            at: (!at.is_empty()).then(|| at.parse().expect(at)),
            reason: None,
            results: if word == "fork-live" { Results::Live } else { Results::Recorded },
            patch: Vec::new(),
            paused: word == "fork-paused",
        };
        match crate::plan_fork(&self.records, fork) {
            Ok(Branch { copied, base, forked }) => {
                (self.records, self.snapshot) = (copied, Arc::new(base));
                self.requests.clear();
                self.feed(Input::Fork(forked));
            }
            Err(why) => writeln!(self.out, "  refused {}: {why}", why.code).unwrap(),
        }
    }

    fn advance(&mut self, span: Span) {
        let until = self.now.plus(span);
        while let Some(next) = self.snapshot.next_timer().filter(|it| it.due <= until) {
            let (due, timer) = (next.due, next.id.clone());
            self.now = self.now.max(due);
            writeln!(self.out, "> at {}", self.now.since(Timestamp(0))).unwrap();
            self.feed(Input::Timer { timer });
        }
        self.now = until;
    }

    fn feed(&mut self, input: Input) {
        let context = StepContext { actor: self.by.clone(), ..context(self.now) };
        match step(self.machine, &self.snapshot, input, &context) {
            Ok(step) => {
                self.took(step);
                self.go_on();
            }
            Err(why) => writeln!(self.out, "  refused {}: {why}", why.code).unwrap(),
        }
    }

    /// Does what a step asks for, as the runtime would.
    fn go_on(&mut self) {
        while let Some(request) = self.requests.pop_front() {
            let input = match request {
                Request::Continue => Input::Continue,
                Request::Queue { tree, path } => Input::Starting { tree, path },
                Request::Perform(_)
                | Request::Abandon(_)
                | Request::Leave { .. }
                | Request::Close(_) => continue,
            };
            let step = step(self.machine, &self.snapshot, input, &context(self.now));
            self.took(step.unwrap_or_else(|why| panic!("{why}")));
        }
    }

    fn took(&mut self, step: Step) {
        for record in &step.records {
            let mut line = Vec::new();
            record.write_line(&mut line);
            let line = line.strip_suffix(b"\n").unwrap();
            assert_eq!(Record::read_line(line).unwrap(), *record, "another record is read back");
            if let Some(line) = show(&record.body) {
                writeln!(self.out, "  {line}").unwrap();
            }
        }
        self.records.extend(step.records);
        if self.records.len() <= ERASED_RECORDS_MAX {
            let mark = ERASED.into();
            let left: Vec<Record> = self.records.iter().map(|it| it.withheld(&mark)).collect();
            let left = Snapshot::fold(&left).unwrap().map(|it| it.withheld(&mark));
            let whole = Some(step.snapshot.withheld(&mark));
            assert_eq!(left, whole, "erased records fold to another state");
        }
        self.requests.extend(step.requests);
        self.snapshot = step.snapshot;
    }
}

/// Replays a history of a tenant that has the key of previews.
pub(crate) fn replayed(
    machine: &Machine,
    records: &[Record],
) -> Result<Option<Snapshot>, crate::ReplayError> {
    crate::replay_versions(&[machine], records, Some(&RedactionKey::of_previews()))
}

pub(crate) fn context(now: Timestamp) -> StepContext {
    let key = Some(RedactionKey::of_previews());
    StepContext { start_slots: 100, key, ..StepContext::new(now, Actor::local()) }
}

fn amounts(amounts: &traaviis_model::budget::Amounts) -> String {
    let kinds = traaviis_model::budget::BudgetKind::ALL.into_iter();
    let shown = kinds.filter(|it| amounts.of(*it) > 0);
    let shown = shown.map(|it| format!("{} {}", it.as_str(), it.text(amounts.of(it))));
    shown.collect::<Vec<_>>().join(", ")
}

/// Returns a record as one line of a trace; none for what a reader does not need.
fn show(body: &Body) -> Option<String> {
    Some(match body {
        Body::Transition { to, event, .. } => {
            format!("{} -> {}", event.as_deref().unwrap_or("-"), to.join(" "))
        }
        Body::DataChanged { patch, .. } => {
            patch.iter().map(|op| serde_json::to_string(op).unwrap()).collect::<Vec<_>>().join(" ")
        }
        Body::Forked(it) => format!("fork from {}, {} recorded", it.shared, it.told.len()),
        Body::EffectRecalled { path, attempt, from, .. } => {
            format!("recall {path}#{attempt} from {from}")
        }
        Body::Retried(it) => format!("goes on after {}", it.to),
        Body::EffectScheduled { path, key: Some(key), .. } if !key.ends_with(&**path) => {
            format!("key {}", key.trim_start_matches("00000000-0000-0000-0000-000000000007"))
        }
        Body::EffectStarted { path, attempt, .. } => format!("start {path}#{attempt}"),
        Body::EffectAttemptFailed { path, attempt, error, next_due, .. } => {
            format!(
                "{path}#{attempt} failed: {}, next at {}",
                error.code,
                next_due.since(Timestamp(0))
            )
        }
        Body::EffectCompleted { path, value, .. } => format!("done {path} = {value}"),
        Body::EffectFailed { path, error, .. } => {
            let undone = if error.compensated { " (compensated)" } else { "" };
            let cause = error.cause.as_ref().map_or(String::new(), |it| format!(" <- {}", it.code));
            format!("failed {path}: {}{cause}{undone}", error.code)
        }
        Body::EffectCancelled { path, reason, .. } => format!("cancelled {path}: {reason}"),
        Body::EffectSkipped { path, .. } => format!("skipped {path}"),
        Body::EffectUnknown { path, policy, .. } => format!("unknown {path}: {policy}"),
        Body::EffectLate { path, .. } => format!("late {path}"),
        Body::CompensationStarted { path, .. } => format!("undo {path}"),
        Body::CompensationFailed { path, .. } => format!("undo failed {path}"),
        Body::BudgetReserved(it) => {
            let cut = it.max_tokens.map_or(String::new(), |it| format!("; max_tokens {it}"));
            let unpriced =
                it.unpriced.as_ref().map_or(String::new(), |it| format!("; no price of {it}"));
            format!("reserve {} {}{cut}{unpriced}", it.path, amounts(&it.amounts))
        }
        Body::BudgetSettled { path, cost, .. } => format!("settle {path} {}", amounts(cost)),
        Body::BudgetExceeded(it) => format!("exceeded {} by {}", it.of.words(), it.path),
        Body::BudgetGranted { of } => format!("granted {}", of.words()),
        Body::ChildStarted { path, workflow, .. } => format!("child {path} {workflow}"),
        Body::ChildClosing { .. } => "child closing".into(),
        Body::ChildFinished { status, .. } => format!("child ended {}", status.as_str()),
        Body::EventIgnored { event, .. } => format!("ignored {event}"),
        Body::EventDeferred { event, .. } => format!("deferred {event}"),
        Body::EventRecalled { event } => format!("recalled {event}"),
        Body::Logged { level, message, .. } => format!("log {level} {message}"),
        Body::Warning { code, message, .. } => format!("warning {code}: {message}"),
        Body::Emitted { event, data, .. } => format!("emit {event} {data}"),
        Body::IncidentOpened { incident, path, .. } => format!("incident {incident} {path}"),
        Body::IncidentResolved { incident, resolution, .. } => {
            format!("resolved {incident}: {resolution}")
        }
        Body::SignalReceived { path, data, .. } => format!("signal {path} {data}"),
        Body::TaskCreated { path, .. } => format!("task {path}"),
        Body::TaskClaimed { path, by, .. } => format!("claimed {path} {by}"),
        Body::TaskReleased { path, .. } => format!("released {path}"),
        Body::TaskDelegated { path, to, by, comment, .. } => {
            let comment = comment.as_deref().unwrap_or("-");
            format!("delegated {path} {by} to {to}: {comment}")
        }
        Body::TaskCommented { path, comment, .. } => format!("commented {path} {comment}"),
        Body::TaskDecided { path, .. } => format!("decided {path}"),
        Body::TaskReminded { path, number, .. } => format!("reminded {path} {number}"),
        Body::TaskEscalated { path, to, .. } => format!("escalated {path} {to}"),
        Body::IncidentAssigned { incident, to } => {
            format!("assigned {incident} {}", to.as_deref().unwrap_or("nobody"))
        }
        Body::TaskExpired { path, .. } => format!("expired {path}"),
        Body::Paused { .. } => "paused".into(),
        Body::Resumed { .. } => "resumed".into(),
        Body::InputHeld { .. } => "held".into(),
        Body::InputReleased => "released".into(),
        Body::DataEdited { patch, .. } => {
            format!("edited {}", serde_json::to_string(patch).unwrap())
        }
        Body::Moved { to, .. } => format!("moved to {}", to.join(" ")),
        Body::EffectRequested(it) => format!("asked {}", it.root()),
        Body::EffectCancelRequested { .. } => "called off".into(),
        Body::Tagged { add, remove } => format!("tagged {add:?}, no longer {remove:?}"),
        Body::Completing { status, .. } => format!("completing {}", status.as_str()),
        Body::Finished { status, output, .. } => format!("finished {} {output}", status.as_str()),
        _ => return None,
    })
}
