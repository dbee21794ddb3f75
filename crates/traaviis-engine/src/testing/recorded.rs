//! Makes a test case of the history of a finished instance: what it was given becomes the input
//! and the steps, what calls answered becomes mocks, and where it ended is what is expected.
//!
//! Two ways to write one down are tried, the plainer first: without the times that calls took, and
//! with all of them. Taken is the first that goes the way that the instance went, transition for
//! transition, so a test that was recorded passes, and says what happened.

use std::{collections::BTreeMap, sync::Arc};

use traaviis_model::{
    Body, EffectError, Record, Seq, Snapshot, Span, TenantCtx, Text, Timestamp, Value,
    call::GATE,
    definition::{
        Expectations, ExpectedEvent, IncidentAnswer, Mock, MockAnswer, TestCase, TestStep,
        TestStepKind,
    },
    record::{ActorKind, EventSource},
};

use super::{activities::activities, run};
use crate::{Machine, simulate::ClassOf};

/// How much longer a call takes that was called off, so that nothing is answered before.
const BEYOND: Span = Span::secs(1);
/// Times of the plain way are whole multiples of this many microseconds.
const ROUND_US: i64 = 1_000_000;

/// A test case that was made of a history.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The test; it passes.
    pub test: TestCase,
    /// Places of the output or data that come out otherwise each time, such as what is made of the
    /// clock; they are not expected.
    pub left_out: Vec<String>,
}

/// Why a history cannot be made a test case.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// It goes on.
    #[error("the instance has not ended: it is {status}")]
    Open {
        /// How it stands.
        status: &'static str,
    },
    /// Tests have no words for it.
    #[error("record {seq}: {what}, which no step of a test can say")]
    Unsayable {
        /// Record.
        seq: Seq,
        /// What happened.
        what: &'static str,
    },
    /// The document goes another way.
    #[error("the document goes another way than the instance: {why}")]
    Other {
        /// Where they part.
        why: String,
    },
    /// Records cannot be followed.
    #[error("the history cannot be followed: {why}")]
    Broken {
        /// Why.
        why: String,
    },
}

/// Makes a test case of a whole history. `class` judges calls as for [`run`].
pub fn record(
    machine: &Machine,
    ctx: &TenantCtx,
    name: &str,
    records: &[Record],
    class: &ClassOf<'_>,
) -> Result<Recorded, RecordError> {
    let ended = fold(records)?;
    if !ended.status.is_finished() {
        return Err(RecordError::Open { status: ended.status.as_str() });
    }
    let seen = Seen::of(records)?;
    let mut differs = None;
    for is_exact in [false, true] {
        let mut test = seen.test(name, is_exact);
        test.expect = expectations(machine, records, &ended, &seen);
        let done = run(machine, ctx, &test, class);
        if let Some(why) = parting(records, &done.records) {
            let found = done.findings.first().map(|it| format!("; {it}")).unwrap_or_default();
            differs = Some(format!("{why}{found}"));
            continue;
        }
        let mut left_out = Vec::new();
        let again = fold(&done.records)?;
        if let Some(output) = &mut test.expect.output {
            keep_equal(output, &again.output, "output", &mut left_out);
        }
        if let Some(data) = &mut test.expect.data {
            keep_equal(data, &again.data, "data", &mut left_out);
        }
        let (expect, whole) = (&mut test.expect, |it: &String| it == "output" || it == "data");
        if left_out.iter().any(whole) {
            (expect.output, expect.data) = (None, None);
        }
        let done = run(machine, ctx, &test, class);
        match done.findings.first() {
            None => return Ok(Recorded { test, left_out }),
            Some(finding) => differs = Some(finding.to_string()),
        }
    }
    Err(RecordError::Other { why: differs.unwrap_or_default() })
}

fn fold(records: &[Record]) -> Result<Snapshot, RecordError> {
    let broken = |why: String| RecordError::Broken { why };
    let folded = Snapshot::fold(records).map_err(|it| broken(it.to_string()))?;
    folded.ok_or_else(|| broken("it has no records".into()))
}

/// One thing that came from outside.
struct Input {
    at: Timestamp,
    kind: TestStepKind,
    /// A timer fired between this and what came before.
    is_after_timer: bool,
}

/// One attempt of a call that ended.
struct Answer {
    path: Text,
    outcome: Result<Value, EffectError>,
    took: Span,
    was_called_off: bool,
}

/// What a history was given from outside.
struct Seen {
    begun: Timestamp,
    ended: Timestamp,
    input: Value,
    by: Option<Text>,
    inputs: Vec<Input>,
    /// In the order in which attempts began.
    answers: Vec<Answer>,
    /// A timer fired after the last input.
    ends_after_timer: bool,
}

impl Seen {
    fn of(records: &[Record]) -> Result<Seen, RecordError> {
        let broken = |why: &str| RecordError::Broken { why: why.into() };
        let (Some(first), Some(last)) = (records.first(), records.last()) else {
            return Err(broken("it has no records"));
        };
        let Body::Created { input, .. } = &first.body else {
            return Err(broken("it does not begin with its start"));
        };
        let mut seen = Seen {
            begun: first.header.at,
            ended: last.header.at,
            input: input.clone(),
            by: person(first),
            inputs: Vec::new(),
            answers: Vec::new(),
            ends_after_timer: false,
        };
        seen.take_inputs(records)?;
        seen.take_answers(records);
        Ok(seen)
    }

    fn take_inputs(&mut self, records: &[Record]) -> Result<(), RecordError> {
        let mut is_recalled = false;
        for (at, record) in records.iter().enumerate() {
            let was_recalled = std::mem::take(&mut is_recalled);
            let send = |event: &Text, data: &Value| {
                let (event, data) = (event.clone(), data.clone());
                Some(TestStepKind::Send { event, data, refused: None })
            };
            let kind = match &record.body {
                Body::EventRecalled { .. } => {
                    is_recalled = true;
                    None
                }
                Body::EventReceived { event, data, source: EventSource::External, .. }
                    if !was_recalled =>
                {
                    send(event, data)
                }
                Body::EventIgnored { event, data, refused: None, .. }
                | Body::EventDeferred { event, data, .. } => send(event, data),
                Body::TaskDecided { path, decision, .. } => {
                    let text = |key: &str| decision.get(key).and_then(Value::as_str);
                    Some(TestStepKind::CompleteTask {
                        task: path.clone(),
                        outcome: text("outcome").unwrap_or_default().into(),
                        form: decision.get("form").cloned().unwrap_or_default(),
                        comment: text("comment").map(Text::from),
                        by: person(record),
                        refused: None,
                    })
                }
                Body::IncidentResolved { tree, path, resolution, .. } => {
                    let answer = match &**resolution {
                        "retry" => Some(IncidentAnswer::Retry),
                        "fail" => Some(IncidentAnswer::Fail),
                        "happened" => {
                            let value = completed(&records[at..], (*tree, path));
                            Some(IncidentAnswer::Happened(value))
                        }
                        "skip" => return Err(unsayable(record, "a step was left out by hand")),
                        _ => None,
                    };
                    let effect = path.clone();
                    answer.map(|answer| TestStepKind::Resolve { effect, answer, refused: None })
                }
                Body::TimerFired { .. } => {
                    self.ends_after_timer = true;
                    None
                }
                Body::EffectStarted { attempt, .. } if *attempt > 1 => {
                    self.ends_after_timer = true;
                    None
                }
                body => match by_hand(body) {
                    Some(what) => return Err(unsayable(record, what)),
                    None => None,
                },
            };
            if let Some(kind) = kind {
                let is_after_timer = std::mem::take(&mut self.ends_after_timer);
                self.inputs.push(Input { at: record.header.at, kind, is_after_timer });
            }
        }
        Ok(())
    }

    fn take_answers(&mut self, records: &[Record]) {
        let mut gates: Vec<(Seq, &Text)> = Vec::new();
        let mut open: BTreeMap<(Seq, &Text), (usize, Timestamp)> = BTreeMap::new();
        let mut found: Vec<Option<Answer>> = Vec::new();
        for record in records {
            let Some(node) = record.body.node() else { continue };
            let at = record.header.at;
            let (outcome, was_called_off) = match &record.body {
                Body::EffectScheduled { effect, .. } if &**effect == GATE => {
                    gates.push(node);
                    continue;
                }
                _ if gates.contains(&node) => continue,
                Body::EffectStarted { .. } => {
                    open.insert(node, (found.len(), at));
                    found.push(None);
                    continue;
                }
                Body::EffectAttemptFailed { error, .. } | Body::EffectFailed { error, .. } => {
                    (Err(error.clone()), false)
                }
                Body::EffectCompleted { value, .. } => (Ok(value.clone()), false),
                Body::EffectCancelled { .. } => (Ok(Value::Null), true),
                _ => continue,
            };
            let Some((place, begun)) = open.remove(&node) else { continue };
            let (path, took) = (node.1.clone(), at.since(begun));
            found[place] = Some(Answer { path, outcome, took, was_called_off });
        }
        self.answers = found.into_iter().flatten().collect();
    }

    fn test(&self, name: &str, is_exact: bool) -> TestCase {
        let mut steps = Vec::new();
        let mut now = self.begun;
        let mut pass = |until: Timestamp, has_timer: bool, steps: &mut Vec<TestStepKind>| {
            let span = until.since(now);
            let span = match is_exact {
                true => span,
                false if has_timer => rounded(span),
                false => Span(0),
            };
            now = until;
            if span > Span(0) {
                steps.push(TestStepKind::Advance(span));
            }
        };
        for input in &self.inputs {
            pass(input.at, input.is_after_timer, &mut steps);
            steps.push(input.kind.clone());
        }
        pass(self.ended, self.ends_after_timer, &mut steps);
        TestCase {
            name: name.into(),
            start: Vec::new(),
            input: self.input.clone(),
            by: self.by.clone().filter(|_| self.has_answers()),
            mocks: self.mocks(is_exact),
            steps: steps.into_iter().map(|kind| TestStep { kind, pointer: "".into() }).collect(),
            expect: Expectations::default(),
            pointer: "".into(),
        }
    }

    /// Says whether somebody answered a task: only then it matters who began.
    fn has_answers(&self) -> bool {
        self.inputs.iter().any(|it| matches!(it.kind, TestStepKind::CompleteTask { .. }))
    }

    fn mocks(&self, is_exact: bool) -> Vec<Mock> {
        let mut mocks: Vec<Mock> = Vec::new();
        for Answer { path, outcome, took, was_called_off } in &self.answers {
            let delay = match (was_called_off, is_exact) {
                (true, true) => Span(took.0.saturating_add(BEYOND.0)),
                (true, false) => Span(rounded(*took).0.saturating_add(BEYOND.0)),
                (false, true) => *took,
                (false, false) => Span(0),
            };
            let outcome = outcome.clone().map_err(|error| {
                let mut told = EffectError::new(&error.code, error.message.clone());
                (told.retryable, told.details) = (error.retryable, error.details.clone());
                told
            });
            let answer = MockAnswer { outcome, delay };
            match mocks.iter_mut().find(|it| it.name == *path) {
                Some(mock) => mock.answers.push(answer),
                None => mocks.push(Mock {
                    name: path.clone(),
                    answers: vec![answer],
                    is_endless: false,
                    pointer: "".into(),
                }),
            }
        }
        mocks
    }
}

/// Returns a time in whole seconds, or milliseconds where it is short, and never less.
fn rounded(span: Span) -> Span {
    let unit = if span.0 < ROUND_US { 1_000 } else { ROUND_US };
    Span(span.0.max(0).saturating_add(unit - 1) / unit * unit)
}

/// Returns the person who caused a record, if it was one.
fn person(record: &Record) -> Option<Text> {
    let actor = &record.header.actor;
    let is_person = actor.kind == ActorKind::User && *actor != traaviis_model::Actor::local();
    is_person.then(|| actor.id.clone())
}

fn unsayable(record: &Record, what: &'static str) -> RecordError {
    RecordError::Unsayable { seq: record.header.seq, what }
}

/// Names what an operator did, or what befell the process, for which tests have no step.
fn by_hand(body: &Body) -> Option<&'static str> {
    Some(match body {
        Body::Paused { .. } | Body::Resumed { .. } | Body::InputHeld { .. } => "it was paused",
        Body::DataEdited { .. } => "its data were changed by hand",
        Body::Moved { .. } => "it was moved by hand",
        Body::Upgraded(_) => "it was taken over to another version",
        Body::Forked(_) | Body::EffectRecalled { .. } => "it is a fork",
        Body::Retried(_) => "it had failed and was retried",
        Body::CancelRequested { .. } => "it was cancelled from outside",
        Body::EffectRequested(_) => "an effect was run outside of its states",
        Body::EffectUnknown { .. } => "the outcome of a call was lost",
        Body::BudgetGranted { .. } => "a budget was granted once more",
        _ => return None,
    })
}

/// Returns the value with which a node ends.
fn completed(records: &[Record], node: (Seq, &Text)) -> Value {
    let value = records.iter().find_map(|record| match &record.body {
        Body::EffectCompleted { tree, path, value } if (*tree, path) == node => Some(value),
        _ => None,
    });
    value.cloned().unwrap_or_default()
}

fn expectations(
    machine: &Machine,
    records: &[Record],
    ended: &Snapshot,
    seen: &Seen,
) -> Expectations {
    let activities = activities(machine, records);
    let mut called: Vec<(Text, u64)> = Vec::new();
    for Answer { path, .. } in &seen.answers {
        if called.iter().all(|(it, _)| it != path) {
            let count = activities.iter().filter(|it| it.is(path)).count();
            called.push((path.clone(), count as u64));
        }
    }
    let emitted = records.iter().filter_map(|record| match &record.body {
        Body::Emitted { event, .. } => {
            Some(ExpectedEvent { event: event.clone(), data: None, subject: None })
        }
        _ => None,
    });
    let has_output = !ended.output.is_null();
    Expectations {
        state: ended.configuration.iter().cloned().collect(),
        status: Some(ended.status),
        output: has_output.then(|| ended.output.clone()),
        data: (!has_output).then(|| ended.data.clone()),
        called,
        emitted: emitted.collect(),
        ..Expectations::default()
    }
}

/// Says where two histories part, by their transitions.
fn parting(recorded: &[Record], again: &[Record]) -> Option<String> {
    let route = |records: &[Record]| -> Vec<String> {
        let steps = records.iter().filter_map(|record| match &record.body {
            Body::Transition { to, event, .. } => {
                let event = event.as_ref().map(|it| format!(" by `{it}`")).unwrap_or_default();
                Some(format!(
                    "`{}`{event}",
                    to.iter().map(|it| &**it).collect::<Vec<_>>().join("|")
                ))
            }
            Body::Finished { status, .. } => Some(format!("the end, `{}`", status.as_str())),
            _ => None,
        });
        steps.collect()
    };
    let (recorded, again) = (route(recorded), route(again));
    let at = recorded.iter().zip(&again).take_while(|(one, other)| one == other).count();
    let word = |it: Option<&String>| it.cloned().unwrap_or_else(|| "nothing".into());
    (recorded != again).then(|| {
        format!("it went on to {}, the test to {}", word(recorded.get(at)), word(again.get(at)))
    })
}

/// Takes away what is not found again, and tells each place.
fn keep_equal(expected: &mut Value, found: &Value, at: &str, left_out: &mut Vec<String>) {
    let (Value::Map(map), Some(found)) = (&mut *expected, found.as_map()) else {
        if !same(expected, found) {
            left_out.push(at.into());
        }
        return;
    };
    let map = Arc::make_mut(map);
    let keys: Vec<Text> = map.iter().map(|(key, _)| key.clone()).collect();
    for key in keys {
        let place = format!("{at}.{key}");
        match (map.get_mut(&key), found.get(&key)) {
            (Some(inner @ Value::Map(_)), Some(other @ Value::Map(_))) => {
                keep_equal(inner, other, &place, left_out);
            }
            (Some(one), Some(other)) if same(one, other) => {}
            _ => {
                map.remove(&key);
                left_out.push(place);
            }
        }
    }
}

fn same(one: &Value, other: &Value) -> bool {
    one.clone().into_json() == other.clone().into_json()
}

#[cfg(test)]
mod tests {
    use traaviis_model::{
        DeliveryClass,
        document::{Format, read},
    };

    use super::*;

    const HEAD: &str = "traaviis: '1'\nname: Recorded\nversion: 1.0.0\n";

    /// Runs the first test of a document, and makes a test of the history that comes of it.
    fn check(body: &str) -> Result<Recorded, RecordError> {
        let read = read(&format!("{HEAD}{body}"), Format::Yaml);
        assert!(read.definition.is_some(), "{:?}", read.diagnostics);
        let machine = Machine::compile(Arc::new(read.definition.unwrap())).unwrap();
        let ctx = TenantCtx::local_operator();
        let class = |_: &str, _: &Value| DeliveryClass::OtherWrite;
        let test = machine.definition().tests[0].clone();
        let done = run(&machine, &ctx, &test, &class);
        record(&machine, &ctx, "recorded", &done.records, &class)
    }

    const PAY: &str = "
events:
  pay: {schema: {type: object}}
initial: open
states:
  open:
    on: {pay: {target: paying}}
  paying:
    invoke:
      - id: charge
        effect: {type: call, function: bank.charge, retry: {attempts: 3, base_delay: 20s, jitter: none}}
        onDone: {target: paid}
        onError: {target: refused}
  paid: {type: final, output: {charge: '${data.charge}'}}
  refused: {type: final, status: failed}
";

    #[test]
    fn a_retried_call_is_two_answers_and_the_time_between() {
        let recorded = check(&format!(
            "{PAY}tests:\n  - name: it\n    mocks: {{charge: [{{error: {{code: timeout}}}}, {{c: 1}}]}}\n    \
             steps: [{{send: pay, data: {{a: 1}}}}, {{advance: 1m}}]\n    expect: {{status: completed}}\n"
        ))
        .unwrap();
        let test = recorded.test;
        assert_eq!(test.mocks.len(), 1);
        assert_eq!(test.mocks[0].answers.len(), 2);
        assert!(test.mocks[0].answers[0].outcome.is_err());
        assert!(
            matches!(&test.steps[0].kind, TestStepKind::Send { event, .. } if &**event == "pay")
        );
        assert!(matches!(test.steps[1].kind, TestStepKind::Advance(_)));
        assert_eq!(test.expect.called, [("charge".into(), 2)]);
    }

    #[test]
    fn what_has_not_ended_is_refused() {
        let open = check(&format!("{PAY}tests:\n  - name: it\n    expect: {{status: running}}\n"));
        assert_eq!(open.unwrap_err(), RecordError::Open { status: "running" });
    }

    #[test]
    fn what_differs_each_time_is_left_out() {
        let mut output = Value::from(&serde_json::json!({ "a": 1, "b": { "c": 2, "d": 3 } }));
        let again = Value::from(&serde_json::json!({ "a": 1, "b": { "c": 9, "d": 3 } }));
        let mut left_out = Vec::new();
        keep_equal(&mut output, &again, "output", &mut left_out);
        assert_eq!(left_out, ["output.b.c"]);
        assert_eq!(output.to_json(), r#"{"a":1,"b":{"d":3}}"#);
    }

    #[test]
    fn times_are_rounded_up() {
        for (micros, rounded_up) in
            [(0, 0), (1, 1_000), (999_999, 1_000_000), (1_000_001, 2_000_000)]
        {
            assert_eq!(rounded(Span(micros)), Span(rounded_up), "{micros}");
        }
    }
}
