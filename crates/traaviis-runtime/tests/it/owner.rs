//! The owner: order of inputs, timers, slots, full disks, limits, tenants, business keys.

use traaviis_engine::Resolution;
use traaviis_model::{
    Body, EffectError, Span, TenantCtx, Value, limits::MAILBOX_MAX, record::Operation,
};
use traaviis_ports::LogError;
use traaviis_runtime::{
    Command, Error,
    owner::{Message, Settings},
};

use crate::support::{
    COUNTER, ENDLESS, KEYED, PAYMENT, World, answer, code, ctx, event, event_with_id, id, machine,
};

fn open_counter() -> World {
    let mut world = World::new();
    let started = world.start(&machine(COUNTER), id(1));
    world.commit_all();
    assert_eq!(code(&started), "ok");
    world
}

#[test]
fn the_definition_is_durable_before_its_first_instance() {
    let mut world = World::new();
    let counter = machine(COUNTER);
    let started = world.start(&counter, id(1));
    let second = world.start(&counter, id(2));
    assert_eq!(world.outside.appends.len(), 1);
    assert_eq!(world.commit(), "document_put");
    assert_eq!(code(&started), "none yet");
    assert_eq!(world.commit_all(), ["created transition", "created transition"]);
    assert_eq!((code(&started), code(&second)), ("ok", "ok"));
    // From now on it is there.
    world.start(&counter, id(3));
    assert_eq!(world.commit_all(), ["created transition"]);
}

#[test]
fn answers_come_after_the_commit_and_steps_do_not_overlap() {
    let mut world = open_counter();
    let first = world.command(id(1), event("bump"));
    let second = world.command(id(1), event("bump"));
    assert_eq!(world.outside.appends.len(), 1);
    assert_eq!(world.snapshot(id(1)).data.to_json(), r#"{"fired":0,"n":0}"#);
    world.commit();
    assert_eq!((code(&first), code(&second)), ("ok", "none yet"));
    world.commit();
    assert_eq!(code(&second), "ok");
    assert_eq!(world.snapshot(id(1)).data.to_json(), r#"{"fired":0,"n":2}"#);
}

#[test]
fn commands_go_before_outcomes_timers_and_events() {
    let mut world = World::new();
    world.start(&machine(PAYMENT), id(1));
    world.commit_all();
    // While a step is on its way, one of each class arrives, the least preferred first.
    world.command(id(1), event("ask"));
    let asked = world.command(id(1), event("ask"));
    world.outcome(Ok(Value::Int(7)));
    let cancelled = world.command(id(1), Command::Cancel { terminate: false, reason: None });
    world.commit();
    assert!(world.commit().starts_with("cancel_requested"));
    assert_eq!(code(&cancelled), "ok");
    world.commit_all();
    assert_eq!(code(&asked), "invalid_state");
}

#[test]
fn a_due_timer_goes_before_events_that_wait() {
    let mut world = open_counter();
    world.command(id(1), event("wait"));
    world.commit();
    world.command(id(1), event("bump"));
    world.command(id(1), event("close"));
    world.pass(Span::secs(10));
    world.commit();
    assert!(world.commit().starts_with("timer_fired"));
    assert!(world.commit().starts_with("event_received"));
}

#[test]
fn timers_fire_in_due_order_and_never_early() {
    let mut world = World::new();
    let counter = machine(COUNTER);
    for number in 1..=3 {
        world.start(&counter, id(number));
        world.commit_all();
        world.command(id(number), event("wait"));
        world.commit_all();
        world.pass(Span::secs(1));
    }
    // Seven more seconds make ten for the first one.
    world.pass(Span(Span::secs(7).0 - 1));
    assert!(world.outside.appends.is_empty());
    assert_eq!(world.owner.next_wake(), Some(world.now.plus(Span(1))));
    world.pass(Span(1));
    assert_eq!(world.outside.appends.len(), 1);
    world.commit_all();
    world.pass(Span::secs(60));
    let streams: Vec<_> = world.outside.appends.iter().map(|it| it.1.stream).collect();
    assert_eq!(streams, [id(2), id(3)]);
    world.commit_all();
    for number in 1..=3 {
        assert_eq!(world.snapshot(id(number)).data.get("fired"), Some(&Value::Int(1)));
    }
    assert_eq!(world.owner.next_wake(), None);
}

#[test]
fn a_repeated_event_gets_the_first_answer() {
    let mut world = open_counter();
    let first = world.command(id(1), event_with_id("bump", "e1"));
    let twin = world.command(id(1), event_with_id("bump", "e1"));
    world.commit_all();
    let later = world.command(id(1), event_with_id("bump", "e1"));
    let seq = |it: &crate::support::Answer<traaviis_runtime::Accepted>| {
        let answer = it.lock().unwrap();
        let accepted = answer.as_ref().unwrap().as_ref().unwrap();
        (accepted.seq, accepted.replayed)
    };
    let (at, replayed) = seq(&first);
    assert!(!replayed);
    assert_eq!((seq(&twin), seq(&later)), ((at, true), (at, true)));
    assert_eq!(world.snapshot(id(1)).data.get("n"), Some(&Value::Int(1)));
    // A day later it is a new event.
    world.pass(Span::secs(86_400));
    world.command(id(1), event_with_id("bump", "e1"));
    world.commit_all();
    assert_eq!(world.snapshot(id(1)).data.get("n"), Some(&Value::Int(2)));
}

#[test]
fn what_an_instance_asks_again_days_later_is_done_once() {
    let mut world = open_counter();
    for days in [0, 1, 2, 30] {
        world.pass(Span::secs(days * 86_400));
        let (_, reply) = answer();
        let command = event_with_id("bump", "e1");
        world.handle(Message::Deliver { ctx: ctx(), id: id(1), command, reply });
        while !world.outside.appends.is_empty() {
            world.commit();
        }
        assert_eq!(world.snapshot(id(1)).data.get("n"), Some(&Value::Int(1)), "{days} days");
    }
}

#[test]
fn a_full_disk_is_told_to_callers_and_waited_for_by_the_rest() {
    let mut world = World::new();
    world.start(&machine(PAYMENT), id(1));
    world.commit_all();
    world.outcome(Ok(Value::Int(7)));
    let waiting = world.command(id(1), event("ask"));
    world.refuse(LogError::Full);
    assert_eq!(code(&waiting), "storage_full");
    let meanwhile = world.command(id(1), event("ask"));
    assert_eq!(code(&meanwhile), "storage_full");
    assert!(world.outside.appends.is_empty());
    world.pass(Span::millis(499));
    assert!(world.outside.appends.is_empty());
    world.pass(Span::millis(1));
    world.refuse(LogError::Full);
    world.pass(Span::millis(500));
    assert!(world.commit().contains("effect_completed"));
    assert!(world.owner.open_instances().next().is_none());
}

#[test]
fn a_timer_that_meets_a_full_disk_fires_later() {
    let mut world = open_counter();
    world.command(id(1), event("wait"));
    world.commit();
    world.pass(Span::secs(10));
    world.refuse(LogError::Full);
    world.pass(Span::millis(500));
    assert!(world.commit().starts_with("timer_fired"));
}

#[test]
fn a_start_that_meets_a_full_disk_leaves_nothing() {
    let mut world = World::new();
    let keyed = machine(KEYED);
    let input = Value::map([("ref", Value::from("r"))]);
    let first = world.start_as(&ctx(), &keyed, id(1), input.clone());
    world.refuse(LogError::Full);
    assert_eq!(code(&first), "storage_full");
    let second = world.start_as(&ctx(), &keyed, id(1), input.clone());
    world.commit();
    world.refuse(LogError::Full);
    assert_eq!(code(&second), "storage_full");
    let third = world.start_as(&ctx(), &keyed, id(2), input);
    world.commit();
    assert_eq!(code(&third), "ok");
}

#[test]
fn a_failed_log_stops_everything() {
    let mut world = open_counter();
    let first = world.command(id(1), event("bump"));
    let second = world.command(id(1), event("bump"));
    world.refuse(LogError::Failed("sync: eio".into()));
    let third = world.command(id(1), event("bump"));
    assert_eq!([code(&first), code(&second), code(&third)], ["storage_failed"; 3]);
    assert!(world.outside.fatal.is_some());
    assert!(world.outside.appends.is_empty());
    // What is durable can still be read.
    assert_eq!(world.snapshot(id(1)).data.get("n"), Some(&Value::Int(0)));
}

#[test]
fn a_damaged_history_stops_only_its_instance() {
    let mut world = open_counter();
    world.start(&machine(COUNTER), id(2));
    world.commit_all();
    let first = world.command(id(1), event("bump"));
    world.refuse(LogError::Damaged("a frame".into()));
    let second = world.command(id(1), event("bump"));
    assert_eq!((code(&first), code(&second)), ("history_broken", "history_broken"));
    let other = world.command(id(2), event("bump"));
    world.commit_all();
    assert_eq!(code(&other), "ok");
}

fn refusal() -> LogError {
    LogError::Refused("too large".into())
}

#[test]
fn a_refused_event_is_told_and_the_instance_goes_on() {
    let mut world = open_counter();
    let first = world.command(id(1), event("bump"));
    let second = world.command(id(1), event("bump"));
    world.refuse(refusal());
    assert_eq!(code(&first), "append_refused");
    world.commit_all();
    assert_eq!(code(&second), "ok");
    assert_eq!(world.snapshot(id(1)).data.get("n"), Some(&Value::Int(1)));
}

#[test]
fn a_refused_outcome_is_kept_for_a_person() {
    let mut world = World::new();
    world.start(&machine(PAYMENT), id(1));
    world.commit_all();
    world.outcome(Ok(Value::Int(7)));
    world.refuse(refusal());
    assert_eq!(world.commit(), "incident_opened");
    let snapshot = world.snapshot(id(1));
    let incident = &snapshot.incidents[0];
    assert_eq!((&*incident.kind, &*incident.path), ("step_rejected", "pay"));
    let (tree, path) = (incident.tree, incident.path.clone());
    let retry = Command::Resolve { tree, path, resolution: Resolution::Retry, reason: None };
    let answer = world.command(id(1), retry);
    world.commit_all();
    assert_eq!(code(&answer), "ok");
    let ended = world.records.last().unwrap();
    assert!(matches!(&ended.body, Body::Finished { output: Value::Int(7), .. }), "{ended:?}");
}

#[test]
fn a_second_refusal_sets_the_instance_aside() {
    let mut world = World::new();
    world.start(&machine(PAYMENT), id(1));
    world.commit_all();
    world.outcome(Ok(Value::Int(7)));
    world.refuse(refusal());
    world.refuse(refusal());
    assert_eq!(code(&world.command(id(1), event("ask"))), "history_broken");
}

#[test]
fn a_timer_that_cannot_be_taken_does_not_hold_up_others() {
    let mut world = World::new();
    world.start(&machine(ENDLESS), id(1));
    world.commit_all();
    world.pass(Span::secs(1));
    assert_eq!(world.commit_all(), ["incident_opened"]);
    // Nothing is due until the second timer.
    assert_eq!(world.owner.next_wake(), Some(world.now.plus(Span::secs(1))));
    world.pass(Span::secs(1));
    let fired = world.commit_all();
    assert!(fired[0].starts_with("timer_fired"), "{fired:?}");
    assert_eq!(world.owner.next_wake(), None);
}

#[test]
fn the_backlog_of_an_instance_is_limited() {
    let mut world = World::with(Settings { steps_per_second: None, ..Settings::default() });
    world.start(&machine(COUNTER), id(1));
    world.commit_all();
    let mut answers = Vec::new();
    for _ in 0..=MAILBOX_MAX + 1 {
        answers.push(world.command(id(1), event("bump")));
    }
    assert_eq!(code(&answers[MAILBOX_MAX]), "none yet");
    assert_eq!(code(&answers[MAILBOX_MAX + 1]), "instance_backlog_full");
    world.commit_all();
    assert_eq!(code(&answers[MAILBOX_MAX]), "ok");
}

#[test]
fn calls_wait_for_a_slot_and_start_in_order() {
    let mut world = World::with(Settings { slots: 2, ..Settings::default() });
    let payment = machine(PAYMENT);
    for number in 1..=5 {
        world.start(&payment, id(number));
        world.commit_all();
    }
    let running = |world: &World| -> Vec<u128> {
        world.outside.calls.iter().map(|it| it.1.id.instance.0.as_u128()).collect()
    };
    assert_eq!(running(&world), [1, 2]);
    world.outcome(Ok(Value::Null));
    world.commit_all();
    assert_eq!(running(&world), [2, 3]);
    // Calling one off frees its slot.
    world.command(id(2), event("stop"));
    world.commit_all();
    assert_eq!(world.outside.abandoned.len(), 1);
    assert_eq!(running(&world), [2, 3, 4]);
    // Its late outcome frees nothing twice.
    world.outcome(Ok(Value::Null));
    world.commit_all();
    assert_eq!(running(&world), [3, 4]);
    world.outcome(Ok(Value::Null));
    world.outcome(Ok(Value::Null));
    world.commit_all();
    world.outcome(Ok(Value::Null));
    world.commit_all();
    assert!(world.owner.open_instances().next().is_none());
    assert!(world.owner.is_quiet());
}

/// A payment whose call goes before or behind others.
fn ranked(priority: i8) -> std::sync::Arc<traaviis_engine::Machine> {
    machine(&PAYMENT.replacen(
        "initial:",
        &format!("defaults: {{priority: {priority}}}\ninitial:"),
        1,
    ))
}

#[test]
fn of_those_that_wait_the_highest_priority_starts_first_inside_its_tenant() {
    let mut world = World::with(Settings { slots: 1, ..Settings::default() });
    for (number, priority) in [(1, -10), (2, 0), (3, -1), (4, 10), (5, 0)] {
        world.start(&ranked(priority), id(number));
        world.commit_all();
    }
    // Another tenant has slots of its own, so nobody's priority is before it.
    world.start_as(&TenantCtx::for_test(2), &ranked(-10), id(9), Value::empty_map());
    world.commit_all();
    let mut order = Vec::new();
    while !world.outside.calls.is_empty() {
        order.push(world.outside.calls[0].1.id.instance.0.as_u128());
        world.outcome(Ok(Value::Null));
        world.commit_all();
    }
    assert_eq!(order, [1, 9, 4, 2, 5, 3]);
}

#[test]
fn a_failed_attempt_is_tried_again_when_its_time_has_come() {
    let mut world = World::new();
    world.start(&machine(PAYMENT), id(1));
    world.commit_all();
    world.outcome(Err(EffectError::retryable("network_error", "no luck")));
    world.commit_all();
    assert!(world.outside.calls.is_empty());
    world.pass(Span::millis(999));
    assert!(world.outside.appends.is_empty());
    world.pass(Span::millis(1));
    world.commit_all();
    assert_eq!(world.outside.calls[0].1.id.attempt, 2);
}

#[test]
fn another_tenants_instance_looks_absent() {
    let mut world = open_counter();
    let stranger = TenantCtx::for_test(2);
    let sent = world.command_as(&stranger, id(1), event("bump"));
    assert_eq!(code(&sent), "not_found");
    let (found, reply) = answer();
    world.handle(Message::Find { ctx: stranger.clone(), id: id(1), reply });
    assert_eq!(code(&found), "not_found");
    // The same id is free for him, and both stay apart.
    world.start_as(&stranger, &machine(COUNTER), id(1), Value::empty_map());
    world.commit_all();
    world.command_as(&stranger, id(1), event("bump"));
    world.commit_all();
    let counts: Vec<_> = world
        .owner
        .open_instances()
        .map(|it| (it.tenant_id == ctx().tenant(), it.data.get("n").cloned()))
        .collect();
    assert!(counts.contains(&(true, Some(Value::Int(0)))), "{counts:?}");
    assert!(counts.contains(&(false, Some(Value::Int(1)))), "{counts:?}");
}

#[test]
fn a_unique_key_has_one_open_instance() {
    let mut world = World::new();
    let keyed = machine(KEYED);
    let input = |key: &str| Value::map([("ref", Value::from(key))]);
    world.start_as(&ctx(), &keyed, id(1), input("r"));
    let early = world.start_as(&ctx(), &keyed, id(2), input("r"));
    world.commit_all();
    let conflict = world.start_as(&ctx(), &keyed, id(3), input("r"));
    assert_eq!((code(&early), code(&conflict)), ("correlation_conflict", "correlation_conflict"));
    let Some(Err(Error::Rejected(rejection))) = conflict.lock().unwrap().take() else { panic!() };
    assert!(rejection.message.contains(&id(1).to_string()), "{}", rejection.message);
    let other_key = world.start_as(&ctx(), &keyed, id(4), input("s"));
    let other_tenant = world.start_as(&TenantCtx::for_test(2), &keyed, id(5), input("r"));
    world.commit_all();
    assert_eq!((code(&other_key), code(&other_tenant)), ("ok", "ok"));
    world.command(id(1), event("close"));
    world.commit_all();
    let after = world.start_as(&ctx(), &keyed, id(6), input("r"));
    world.commit_all();
    assert_eq!(code(&after), "ok");
}

#[test]
fn a_repeated_start_meets_the_first_instance() {
    let mut world = World::new();
    let keyed = machine(KEYED);
    let input = |key: &str| Value::map([("ref", Value::from(key))]);
    let first = world.start_as(&ctx(), &keyed, id(1), input("r"));
    let twin = world.start_as(&ctx(), &keyed, id(1), input("r"));
    world.commit_all();
    let other = world.start_as(&ctx(), &keyed, id(1), input("s"));
    assert_eq!([code(&first), code(&twin), code(&other)], ["ok", "ok", "already_exists"]);
    world.command(id(1), event("close"));
    world.commit_all();
    let ended = world.start_as(&ctx(), &keyed, id(1), input("r"));
    assert!(ended.lock().unwrap().as_ref().unwrap().as_ref().unwrap().existing);
    let created = world.records.iter().filter(|it| matches!(it.body, Body::Created { .. }));
    assert_eq!(created.count(), 1);
}

#[test]
fn an_ended_instance_takes_nothing_more() {
    let mut world = open_counter();
    world.command(id(1), event("close"));
    world.commit_all();
    let sent = world.command(id(1), event("bump"));
    assert_eq!(code(&sent), "invalid_state");
}

#[test]
fn draining_refuses_new_work_and_ends_when_nothing_runs() {
    let mut world = World::new();
    world.start(&machine(PAYMENT), id(1));
    world.commit_all();
    let drained = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flag = std::sync::Arc::clone(&drained);
    let is_drained = || drained.load(std::sync::atomic::Ordering::SeqCst);
    world.handle(Message::Drain(Box::new(move || {
        flag.store(true, std::sync::atomic::Ordering::SeqCst);
    })));
    let refused = world.command(id(1), event("ask"));
    assert_eq!(code(&refused), "stopping");
    assert!(!is_drained());
    world.outcome(Ok(Value::Null));
    assert!(!is_drained());
    world.commit_all();
    assert!(is_drained());
}

#[test]
fn the_oldest_work_of_a_tenant_is_what_could_be_done_now_and_is_not() {
    let mut world = World::with(Settings { slots: 1, ..Settings::default() });
    let oldest = |world: &mut World, ctx: &TenantCtx| {
        let (reply, told) = std::sync::mpsc::channel();
        world.handle(Message::OldestWork { tenant: ctx.tenant(), reply });
        let since = told.recv().unwrap();
        since.map(|it| world.now.since(it).as_millis() / 1_000)
    };
    let (here, there) = (ctx(), TenantCtx::for_test(2));
    let payment = machine(PAYMENT);
    for number in 1..=3 {
        world.start(&payment, id(number));
        world.commit_all();
        assert_eq!(
            oldest(&mut world, &here),
            (number > 1).then_some(if number == 2 { 0 } else { 3 })
        );
        // A call that runs is no work that waits.
        world.pass(Span::secs(3));
    }
    assert_eq!(oldest(&mut world, &here), Some(6), "the second one waits since it was started");
    assert_eq!(oldest(&mut world, &there), None, "another tenant has slots of its own");
    // Called off, it waits no longer; what waits then is younger.
    world.command(id(2), event("stop"));
    world.commit_all();
    assert_eq!(oldest(&mut world, &here), Some(3));
    // Whoever paused an instance holds it up themselves.
    world.command(id(3), Command::Operate(Operation::Pause { reason: None }));
    world.commit_all();
    assert_eq!(oldest(&mut world, &here), None);
    world.command(id(3), Command::Operate(Operation::Resume { reason: None }));
    world.commit_all();
    assert_eq!(oldest(&mut world, &here), Some(3));
    world.outcome(Ok(Value::Null));
    world.commit_all();
    assert_eq!(oldest(&mut world, &here), None);
}

#[test]
fn a_timer_that_is_due_and_cannot_fire_is_work_that_waits() {
    let mut world = open_counter();
    let oldest = |world: &mut World| {
        let (reply, told) = std::sync::mpsc::channel();
        world.handle(Message::OldestWork { tenant: ctx().tenant(), reply });
        told.recv().unwrap().map(|it| world.now.since(it).as_millis() / 1_000)
    };
    world.command(id(1), event("wait"));
    world.commit();
    world.pass(Span::secs(9));
    assert_eq!(oldest(&mut world), None, "it is not due");
    world.pass(Span::secs(1));
    for seconds in 0..3 {
        world.refuse(LogError::Full);
        assert_eq!(oldest(&mut world), Some(seconds));
        world.pass(Span::secs(1));
    }
    world.commit_all();
    assert_eq!(oldest(&mut world), None);
}
