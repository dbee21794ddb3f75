//! The run of one test: a simulation, and the calls that wait for their answers.

use std::collections::BTreeMap;

use traaviis_model::{
    Actor, Call, EffectError, InstanceId, Record, Seq, Span, TenantCtx, Text, Timestamp, Value,
    builtin,
    call::{default_timeout, is_between_instances},
    definition::{IncidentAnswer, Mock, TestCase},
    record::{ActorKind, Operation, TaskAct},
    snapshot::Incident,
};

use super::{Counter, Finding, names::names_of};
use crate::{
    Machine, Rejection, Request, Resolution,
    simulate::{ClassOf, Simulation},
};

/// Answers and timers that may follow one another at one moment; more is a loop.
const ROUNDS_MAX: usize = 10_000;
/// Records of one test; more fills the memory rather than shows anything.
const RECORDS_MAX: usize = 1_000_000;

/// A call that has begun.
struct Pending {
    due: Timestamp,
    call: Call,
    outcome: Result<Value, EffectError>,
    /// Name and position of its answer, to be given back after a crash.
    answer: (Text, usize),
}

/// One run of one test.
pub(super) struct World<'m> {
    machine: &'m Machine,
    test: &'m TestCase,
    run: Simulation<'m>,
    /// Calls without outcome, in the order in which they began.
    pending: Vec<Pending>,
    /// Answers given so far, by the name of the mock.
    given: BTreeMap<Text, usize>,
}

impl<'m> World<'m> {
    pub(super) fn start(
        machine: &'m Machine,
        ctx: &TenantCtx,
        test: &'m TestCase,
        counter: &'m Counter,
    ) -> Result<World<'m>, Finding> {
        // The same document gives the same run: time and id begin alike.
        let id = InstanceId(uuid::Uuid::from_u128(1));
        let input = test.input.clone();
        let by = person(test.by.as_ref());
        let begun = Simulation::start_watched(machine, ctx, id, input, by, Timestamp(0), counter);
        let run = begun.map_err(|why| {
            let pointer = format!("{}/input", test.pointer);
            Finding::new(pointer, "the instance to start", refusal(&why))
        })?;
        Ok(World { machine, test, run, pending: Vec::new(), given: BTreeMap::new() })
    }

    pub(super) fn run(&self) -> &Simulation<'m> {
        &self.run
    }

    pub(super) fn records(&self) -> &[Record] {
        self.run.records()
    }

    /// Sends an event, and compares whether it is taken.
    pub(super) fn send(
        &mut self,
        event: &Text,
        data: &Value,
        refused: Option<&Text>,
        pointer: &Text,
    ) -> Result<(), Finding> {
        let sent = self.run.send(event.clone(), data.clone());
        self.compare(sent, &format!("event `{event}`"), refused, pointer)
    }

    /// Does something about a task, and compares whether that is taken.
    pub(super) fn act_on_task(
        &mut self,
        task: &Text,
        act: TaskAct,
        by: Actor,
        refused: Option<&Text>,
        pointer: &Text,
    ) -> Result<(), Finding> {
        let (tree, path) = self.task_meant(task, pointer)?;
        let operation = Operation::Task { tree, path, act };
        let done = self.run.operate_as(operation, by);
        self.compare(done, &format!("the answer to task `{task}`"), refused, pointer)
    }

    /// Finds the open task of a name: its own, or that of an effect around it if there is but one.
    fn task_meant(&self, task: &Text, pointer: &Text) -> Result<(Seq, Text), Finding> {
        let snapshot = self.run.snapshot();
        let is_named = |tree: Seq, path: &Text, input: &Value| {
            names_of(self.machine, self.run.records(), (tree, path), input).contains(task)
        };
        let mut own =
            snapshot.open_tasks().filter(|(tree, path, node)| is_named(*tree, path, &node.input));
        if let Some((tree, path, _)) = own.next() {
            return Ok((tree, path.clone()));
        }
        let below = snapshot.open_tasks().filter(|(tree, path, _)| {
            let mut above = path.match_indices('/').map(|(at, _)| Text::from(&path[..at]));
            above.any(|it| is_named(*tree, &it, &Value::Null))
        });
        let below: Vec<(Seq, Text)> = below.map(|(tree, path, _)| (tree, path.clone())).collect();
        if let [only] = below.as_slice() {
            return Ok(only.clone());
        }
        let is_among = |path: &Text| below.is_empty() || below.iter().any(|(_, it)| it == path);
        let open = snapshot.open_tasks().map(|(_, path, _)| path).filter(|it| is_among(it));
        let names: Vec<&str> = open.map(|it| &**it).collect();
        let found = match names.as_slice() {
            [] => "no open task".to_string(),
            names if below.is_empty() => format!("open: `{}`", names.join("`, `")),
            names => format!("more than one below it: `{}`", names.join("`, `")),
        };
        Err(Finding::new(pointer.clone(), format!("task `{task}` to be open"), found))
    }

    /// Answers an incident, and compares whether the answer is taken.
    pub(super) fn resolve(
        &mut self,
        effect: &Text,
        answer: &IncidentAnswer,
        refused: Option<&Text>,
        pointer: &Text,
    ) -> Result<(), Finding> {
        let incidents = &self.run.snapshot().incidents;
        let records = self.run.records();
        let is_meant = |it: &&Incident| {
            names_of(self.machine, records, (it.tree, &it.path), &Value::Null).contains(effect)
        };
        let Some(incident) = incidents.iter().find(is_meant) else {
            let paths: Vec<&str> = incidents.iter().map(|it| &*it.path).collect();
            let found = match paths.as_slice() {
                [] => "no open incident".to_string(),
                paths => format!("open: `{}`", paths.join("`, `")),
            };
            let expected = format!("an incident about `{effect}` to be open");
            return Err(Finding::new(pointer.clone(), expected, found));
        };
        let (tree, path) = (incident.tree, incident.path.clone());
        let resolution = match answer {
            IncidentAnswer::Happened(value) => Resolution::Happened(value.clone()),
            IncidentAnswer::Retry => Resolution::Retry,
            IncidentAnswer::Fail => Resolution::Fail,
        };
        let done = self.run.resolve(tree, path, resolution);
        let what = format!("the answer to the incident about `{effect}`");
        self.compare(done, &what, refused, pointer)
    }

    /// Compares whether something was taken with whether it must be.
    fn compare(
        &self,
        done: Result<(), Rejection>,
        what: &str,
        refused: Option<&Text>,
        pointer: &Text,
    ) -> Result<(), Finding> {
        match (done, refused) {
            (Ok(()), None) => Ok(()),
            (Err(why), Some(code)) if *why.code == **code => Ok(()),
            (Ok(()), Some(code)) => {
                let expected = format!("{what} to be refused with `{code}`");
                let found = format!("it taken, in state `{}`", self.run.snapshot().state());
                Err(Finding::new(pointer.clone(), expected, found))
            }
            (Err(why), code) => {
                let expected = match code {
                    Some(code) => format!("{what} to be refused with `{code}`"),
                    None => format!("{what} to be taken"),
                };
                Err(Finding::new(pointer.clone(), expected, refusal(&why)))
            }
        }
    }

    /// Lets time pass; answers come and timers fire in the order in which they are due.
    pub(super) fn advance(&mut self, span: Span, pointer: &Text) -> Result<(), Finding> {
        let until = self.run.now().plus(span);
        let broken =
            |why: Rejection| Finding::new(pointer.clone(), "the run to go on", refusal(&why));
        let mut rounds = 0;
        while rounds < ROUNDS_MAX {
            self.take_requests()?;
            let answer = (0..self.pending.len())
                .min_by_key(|at| self.pending[*at].due)
                .filter(|at| self.pending[*at].due <= until);
            let timer = self.run.next_due().filter(|due| *due <= until);
            let before = self.run.now();
            match (answer, timer) {
                (None, None) => {
                    self.run.pass_until(until);
                    return Ok(());
                }
                (Some(at), timer) if timer.is_none_or(|due| self.pending[at].due <= due) => {
                    let Pending { due, call, outcome, .. } = self.pending.remove(at);
                    self.run.pass_until(due);
                    self.run.answer(&call.id, outcome).map_err(broken)?;
                }
                _ => drop(self.run.fire_next(until).map_err(broken)?),
            }
            rounds = if self.run.now() == before { rounds + 1 } else { 0 };
            if self.run.records().len() > RECORDS_MAX {
                let (expected, found) =
                    (format!("at most {RECORDS_MAX} records"), "more; let less time pass");
                return Err(Finding::new(pointer.clone(), expected, found));
            }
        }
        let found = format!("{ROUNDS_MAX} answers and timers at one moment");
        Err(Finding::new(pointer.clone(), "the run to come to rest", found))
    }

    /// Forgets everything but the records and starts again.
    pub(super) fn crash(&mut self, class: &ClassOf<'_>, pointer: &Text) -> Result<(), Finding> {
        for lost in self.pending.drain(..) {
            let (name, at) = lost.answer;
            let given = self.given.entry(name).or_default();
            *given = (*given).min(at);
        }
        let expected = "the run to go on after the crash";
        self.run.crash(class).map_err(|why| Finding::new(pointer.clone(), expected, refusal(&why)))
    }

    fn take_requests(&mut self) -> Result<(), Finding> {
        for request in self.run.take_requests() {
            match request {
                Request::Perform(call) => self.begin(call)?,
                Request::Abandon(id) => self.pending.retain(|it| it.call.id != id),
                Request::Queue { .. }
                | Request::Leave { .. }
                | Request::Close(_)
                | Request::Continue => {}
            }
        }
        Ok(())
    }

    /// Finds the answer of a call.
    fn begin(&mut self, call: Call) -> Result<(), Finding> {
        let place = (call.id.tree, &call.id.path);
        let names = names_of(self.machine, self.run.records(), place, &call.input);
        let mocks = &self.test.mocks;
        let found = names.iter().find_map(|name| mocks.iter().find(|it| it.name == *name));
        let Some(mock) = found else {
            if &*call.kind == "call" && builtin::is_builtin(&call.input) {
                let outcome = builtin::answer(&call.input, 0);
                let (due, answer) = (self.run.now(), (call.id.path.clone(), 0));
                self.pending.push(Pending { due, call, outcome, answer });
                return Ok(());
            }
            let what = describe(&call, &names);
            let expected = format!("a mock for {what}");
            // The place in a list names every first child in the document.
            let is_name = |it: &&Text| it.parse::<usize>().is_err();
            let is_known = |it: &&Text| is_name(it) && !matches!(&***it, "" | "body");
            let found = match names.iter().rfind(is_known) {
                Some(name) if !name.contains('/') => format!("none; add `{name}` under `mocks`"),
                // A path changes with the tree around it.
                _ => {
                    let path = &call.id.path;
                    format!("none; give the effect an `id` and add it, or `{path}`, under `mocks`")
                }
            };
            return Err(Finding::new(self.test.pointer.clone(), expected, found));
        };
        let at = self.given.get(&mock.name).copied().unwrap_or(0);
        let answer = match mock.is_endless {
            true => mock.answers.first(),
            false => mock.answers.get(at),
        };
        let Some(answer) = answer else {
            return Err(exhausted(mock, &call, &names));
        };
        self.given.insert(mock.name.clone(), at + 1);
        let limit = call.timeout.unwrap_or(match &*call.kind {
            // Its limit, if any, is a node around it.
            kind if is_between_instances(kind) => Span(i64::MAX),
            kind => default_timeout(kind),
        });
        let outcome = match answer.delay < limit {
            true => answer.outcome.clone(),
            false => Err(EffectError::retryable("timeout", format!("no answer within {limit}"))),
        };
        let due = self.run.now().plus(answer.delay.min(limit));
        self.pending.push(Pending { due, call, outcome, answer: (mock.name.clone(), at) });
        Ok(())
    }
}

/// Returns who acts in a test; the operator, who is nobody in particular, when it does not say.
pub(super) fn person(name: Option<&Text>) -> Actor {
    name.map_or_else(Actor::local, |id| Actor { kind: ActorKind::User, id: id.clone() })
}

fn exhausted(mock: &Mock, call: &Call, names: &[Text]) -> Finding {
    let count = mock.answers.len();
    let answers = if count == 1 { "answer" } else { "answers" };
    let (what, attempt) = (describe(call, names), call.id.attempt);
    let expected = format!("no more calls than the {count} {answers} of `{}`", mock.name);
    Finding::new(mock.pointer.clone(), expected, format!("one more: attempt {attempt} of {what}"))
}

fn describe(call: &Call, names: &[Text]) -> String {
    let path = &call.id.path;
    match (&*call.kind, names.last()) {
        ("call", Some(function)) => format!("function `{function}` at `{path}`"),
        _ if is_between_instances(&call.kind) => format!("`{}` at `{path}`", call.kind),
        _ => match call.input.get("url").and_then(Value::as_str) {
            Some(url) => format!("`{}` to `{url}` at `{path}`", call.kind),
            None => format!("`{}` at `{path}`", call.kind),
        },
    }
}

fn refusal(why: &Rejection) -> String {
    format!("{} ({})", why.message, why.code)
}
