//! Each invariant can fail: good evidence is spoiled in one place, and that is what is found.

use std::sync::Arc;

use traaviis_engine::{Request, simulate::Simulation};
use traaviis_model::{
    EffectError, Span, TenantCtx, Value,
    document::{self, Format},
};
use uuid::Uuid;

use super::*;

/// A saga that is undone, then a timer.
const UNDONE: &str = r#"
traaviis: "1"
name: Undone
version: 1.0.0
initial: booking
events: {note: {}}
states:
  booking:
    invoke:
      - id: trip
        effect:
          type: saga
          steps:
            - {id: hotel, action: {type: call, function: hotel, args: {}}, compensation: {type: call, function: unhotel, args: {}}}
            - {id: flight, action: {type: call, function: flight, args: {}}, compensation: {type: call, function: unflight, args: {}}}
            - {id: pay, action: {type: call, function: pay, args: {}}}
        onDone: waiting
        onError: waiting
  waiting:
    on: {note: {actions: []}}
    after: {10s: done}
  done: {type: final}
"#;

const MARK: &str = "only-of-one";

fn machine() -> Machine {
    let definition = document::read(UNDONE, Format::Yaml).definition.unwrap();
    Machine::compile(Arc::new(definition)).unwrap()
}

fn told(event: &str, answer: Answer) -> Told {
    Told { tenant: TenantCtx::for_test(1).tenant(), event: event.into(), answer }
}

/// Runs the workflow to its end, or until its timer waits, and collects everything.
fn evidence(machine: &Machine, ends: bool) -> Evidence<'_> {
    let (ctx, id) = (TenantCtx::for_test(1), InstanceId(Uuid::from_u128(7)));
    let input = Value::map([("text", Value::from(MARK))]);
    let begun = Timestamp(1_700_000_000_000_000);
    let mut run = Simulation::start(machine, &ctx, id, input, begun).unwrap();
    let mut calls = Vec::new();
    loop {
        let requests = run.take_requests();
        if requests.is_empty() {
            break;
        }
        for request in requests {
            let Request::Perform(call) = request else { continue };
            calls.push((call.id.clone(), call.key.clone()));
            let outcome = match call.id.path.ends_with("pay") {
                true => Err(EffectError::new("refused", "no")),
                false => Ok(Value::Null),
            };
            run.answer(&call.id, outcome).unwrap();
        }
    }
    if ends {
        run.advance(Span::secs(60)).unwrap();
    }
    let state = run.snapshot().clone();
    let tenant = ctx.tenant();
    let row = Listed { asked_by: tenant, tenant, id, status: state.status, seq: state.seq };
    Evidence {
        machines: vec![machine],
        records: run.records().to_vec(),
        calls,
        states: vec![state],
        listed: Some(vec![row]),
        marks: vec![(tenant, MARK.into())],
        timers_until: Some(run.now()),
        ..Evidence::default()
    }
}

/// Checks that spoiling the evidence breaches exactly these invariants.
fn check_spoiled(spoil: impl Fn(&mut Evidence<'_>), expected: &[&str]) {
    check_spoiled_of(true, spoil, expected);
}

fn check_spoiled_of(ends: bool, spoil: impl Fn(&mut Evidence<'_>), expected: &[&str]) {
    let machine = machine();
    let mut evidence = evidence(&machine, ends);
    assert_eq!(check(&evidence), [], "the evidence is good before it is spoiled");
    spoil(&mut evidence);
    let findings = check(&evidence);
    let found: BTreeSet<String> = findings.iter().map(|it| it.invariant.name()).collect();
    let expected: BTreeSet<String> = expected.iter().map(|it| it.to_string()).collect();
    assert_eq!(found, expected, "{findings:#?}");
}

/// Returns the place of the first record of a kind.
fn place(evidence: &Evidence<'_>, is_it: impl Fn(&Body) -> bool) -> usize {
    evidence.records.iter().position(|it| is_it(&it.body)).unwrap()
}

#[test]
fn i1_an_accepted_event_that_is_lost() {
    check_spoiled(|it| it.told.push(told("e1", Answer::Ok)), &["I1"]);
    // What was refused, and what nobody knows, may be absent.
    check_spoiled(|it| it.told.push(told("e1", Answer::Refused)), &[]);
    check_spoiled(|it| it.told.push(told("e1", Answer::Unknown)), &[]);
    check_spoiled(|it| it.started.push(InstanceId(Uuid::from_u128(9))), &["I1"]);
}

#[test]
fn i1_an_event_that_was_taken_twice() {
    let twice = |it: &mut Evidence<'_>| {
        it.machines.clear();
        it.told.push(told("e1", Answer::Ok));
        let mut record = it.records[0].clone();
        let (event, id) = ("note".into(), Some("e1".into()));
        record.body = Body::EventIgnored { event, data: Value::Null, id, refused: None };
        for _ in 0..2 {
            record.header.seq = it.records.len() as Seq + 1;
            it.records.push(record.clone());
        }
        let folded = Snapshot::fold(&it.records).unwrap().unwrap();
        it.listed.as_mut().unwrap()[0].seq = folded.seq;
        it.states = vec![folded];
    };
    check_spoiled(twice, &["I1"]);
}

#[test]
fn i2_a_record_that_is_missing() {
    let missing = |it: &mut Evidence<'_>| {
        it.records.remove(3);
    };
    // Nothing that rests on the history holds then.
    check_spoiled(missing, &["I2", "I3", "I4", "I10"]);
}

#[test]
fn i3_a_state_that_is_not_the_fold() {
    check_spoiled(|it| it.states[0].data = Value::from("other"), &["I3"]);
    check_spoiled(|it| it.states[0].seq += 1, &["I3"]);
}

#[test]
fn i4_a_step_that_replay_does_not_take() {
    // The last record of the last step: as if only a part of it had been committed.
    let partial = |it: &mut Evidence<'_>| {
        it.records.pop();
        let folded = Snapshot::fold(&it.records).unwrap().unwrap();
        let row = &mut it.listed.as_mut().unwrap()[0];
        (row.status, row.seq) = (folded.status, folded.seq);
        it.states = vec![folded];
        it.timers_until = None;
    };
    check_spoiled(partial, &["I4"]);
}

#[test]
fn i5_a_call_with_two_keys() {
    let twice = |it: &mut Evidence<'_>| {
        let (id, _) = it.calls[0].clone();
        it.calls.push((id, "another".into()));
    };
    check_spoiled(twice, &["I5"]);
}

#[test]
fn i5_a_call_before_its_attempt_is_durable() {
    check_spoiled(|it| it.calls[0].0.attempt = 9, &["I5"]);
    let nobody = |it: &mut Evidence<'_>| it.calls[0].0.instance = InstanceId(Uuid::from_u128(8));
    check_spoiled(nobody, &["I5"]);
}

#[test]
fn i5_steps_that_are_undone_in_the_wrong_order() {
    let is_undo = |step: &str| {
        let end = format!("undo:{step}");
        move |it: &Body| matches!(it, Body::EffectScheduled { path, .. } if path.ends_with(&end))
    };
    let swapped = |it: &mut Evidence<'_>| {
        it.machines.clear();
        let (hotel, flight) = (place(it, is_undo("hotel")), place(it, is_undo("flight")));
        let body = it.records[hotel].body.clone();
        it.records[hotel].body = std::mem::replace(&mut it.records[flight].body, body);
        (it.states, it.listed, it.timers_until) = (Vec::new(), None, None);
    };
    let findings = spoiled_findings(swapped);
    assert!(findings.contains("is undone after a step that came before it"), "{findings}");
    let never_done = |it: &mut Evidence<'_>| {
        it.machines.clear();
        let done = place(
            it,
            |it| matches!(it, Body::EffectCompleted { path, .. } if path.ends_with("flight")),
        );
        let Body::EffectCompleted { path, .. } = &mut it.records[done].body else { return };
        *path = "trip/elsewhere".into();
        (it.states, it.listed, it.timers_until) = (Vec::new(), None, None);
    };
    let findings = spoiled_findings(never_done);
    assert!(findings.contains("is undone and was never done"), "{findings}");
}

fn spoiled_findings(spoil: impl Fn(&mut Evidence<'_>)) -> String {
    let machine = machine();
    let mut evidence = evidence(&machine, true);
    spoil(&mut evidence);
    check(&evidence).iter().map(|it| format!("{it}\n")).collect()
}

#[test]
fn i6_a_timer_that_fires_early_or_twice() {
    let fired = |it: &Body| matches!(it, Body::TimerFired { .. });
    let early = |it: &mut Evidence<'_>| {
        it.machines.clear();
        let at = place(it, fired);
        it.records[at].header.at = it.records[at - 1].header.at;
        (it.states, it.listed) = (Vec::new(), None);
    };
    check_spoiled(early, &["I6"]);
    let twice = |it: &mut Evidence<'_>| {
        let at = place(it, fired);
        it.records.push(it.records[at].clone());
    };
    assert!(spoiled_findings(twice).contains("fired twice"));
}

#[test]
fn i6_a_timer_that_is_forgotten() {
    let later = |it: &mut Evidence<'_>| {
        it.timers_until = Some(it.timers_until.unwrap().plus(Span::secs(60)))
    };
    check_spoiled_of(false, later, &["I6"]);
    let in_time = |it: &mut Evidence<'_>| {
        it.timers_until = Some(it.timers_until.unwrap().plus(Span::secs(9)))
    };
    check_spoiled_of(false, in_time, &[]);
}

#[test]
fn i7_a_tenant_in_the_things_of_another() {
    let other = TenantCtx::for_test(2).tenant();
    check_spoiled(|it| it.marks[0].0 = other, &["I7"]);
    let leak = |it: &mut Evidence<'_>| {
        let row = it.listed.as_ref().unwrap()[0].clone();
        it.listed.as_mut().unwrap().push(Listed { asked_by: other, ..row });
    };
    check_spoiled(leak, &["I7"]);
    let mixed = |it: &mut Evidence<'_>| {
        it.machines.clear();
        it.records[2].header.tenant_id = other;
        it.marks.clear();
    };
    assert!(spoiled_findings(mixed).contains("has records of 2 tenants"));
}

#[test]
fn i8_an_unknown_that_changes_its_mind() {
    check_spoiled(|it| it.told.push(told("e1", Answer::Decided)), &["I8"]);
    check_spoiled(|it| it.told.push(told("e1", Answer::Absent)), &[]);
    let came = |it: &mut Evidence<'_>| {
        it.machines.clear();
        it.told.push(told("e1", Answer::Absent));
        let mut record = it.records[0].clone();
        record.header.seq = it.records.len() as Seq + 1;
        let (event, id) = ("note".into(), Some("e1".into()));
        record.body = Body::EventIgnored { event, data: Value::Null, id, refused: None };
        it.records.push(record);
        (it.states, it.listed) = (Vec::new(), None);
    };
    check_spoiled(came, &["I8"]);
}

#[test]
fn i9_a_chain_that_does_not_verify() {
    check_spoiled(|it| it.damage.push("records are missing".into()), &["I9"]);
}

#[test]
fn i10_a_list_that_is_not_the_fold() {
    check_spoiled(|it| it.listed = Some(Vec::new()), &["I10"]);
    let stale = |it: &mut Evidence<'_>| it.listed.as_mut().unwrap()[0].seq -= 1;
    check_spoiled(stale, &["I10"]);
}
