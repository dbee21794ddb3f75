//! What operators and callers do to running instances: conditions, tags, waits, broadcasts; and how
//! fast one instance may go.

use std::{collections::BTreeSet, thread, time::Duration};

use traaviis_engine::Marks;
use traaviis_model::{
    InstanceId, Span, Text, Value,
    limits::STEPS_PER_SECOND_MAX,
    record::{Operation, Status},
};
use traaviis_ports::index::Query;
use traaviis_runtime::{Command, Filter, Handle, Options, Until};
use traaviis_testkit::{connector::Reaction, memory_index::MemoryIndex};

use crate::{
    runtime::Bench,
    support::{COUNTER, PAYMENT, World, code, ctx, event, event_with_id, id, machine},
};

/// Longest wait of a test; reached only by a defect.
const PATIENCE: Duration = Duration::from_secs(20);

fn set(tags: &[&str]) -> BTreeSet<Text> {
    tags.iter().copied().map(Text::from).collect()
}

fn tagged(tags: &[&str]) -> Marks {
    Marks { tags: set(tags), ..Marks::default() }
}

fn counter() -> World {
    let mut world = World::new();
    world.start(&machine(COUNTER), id(1));
    world.commit_all();
    world
}

#[test]
fn an_event_is_taken_only_at_the_record_that_it_was_decided_for() {
    let mut world = counter();
    let seq = world.snapshot(id(1)).seq;
    let mut send = |seq, command| {
        let answer = world.command(id(1), Command::If { seq, command: Box::new(command) });
        world.commit_all();
        code(&answer)
    };
    assert_eq!(send(seq + 1, event("bump")), "seq_mismatch");
    assert_eq!(send(seq, event_with_id("bump", "once")), "ok");
    assert_eq!(send(seq, event("bump")), "seq_mismatch");
    // What was taken is answered like the first time, although the instance has moved on.
    assert_eq!(send(seq, event_with_id("bump", "once")), "ok");
    let pause = Command::Operate(Operation::Pause { reason: None });
    assert_eq!(send(seq, pause), "seq_mismatch");
    let snapshot = world.snapshot(id(1));
    assert_eq!((snapshot.data.to_json().as_str(), snapshot.seq), (r#"{"fired":0,"n":1}"#, seq + 3));
}

#[test]
fn an_event_says_how_long_its_ids_are_known() {
    let short = COUNTER.replace("bump: {}", "bump: {dedup_window: 1m}");
    let long = COUNTER.replace("bump: {}", "bump: {dedup_window: 7d}");
    for (document, known, forgotten) in [
        (&*short, Span::secs(59), Span::secs(1)),
        (COUNTER, Span::secs(86_399), Span::secs(1)),
        (&*long, Span::secs(7 * 86_400 - 1), Span::secs(1)),
    ] {
        let mut world = World::new();
        world.start(&machine(document), id(1));
        world.commit_all();
        let mut bump = |wait| {
            world.pass(wait);
            world.command(id(1), event_with_id("bump", "x"));
            world.commit_all();
            world.snapshot(id(1)).data.get("n").and_then(Value::as_i64)
        };
        assert_eq!((bump(Span(0)), bump(known), bump(forgotten)), (Some(1), Some(1), Some(2)));
    }
}

/// Sends events until the instance has no step left in this second; returns how many it took.
fn exhaust(world: &mut World, name: &str) -> u32 {
    for count in 0.. {
        let answer = world.command(id(1), event(name));
        world.commit_all();
        match code(&answer) {
            "ok" => {}
            "rate_limited" => return count,
            other => panic!("{other}"),
        }
    }
    unreachable!("an instance that takes any number of steps")
}

#[test]
fn callers_over_the_pace_are_refused_and_operators_are_not() {
    let mut world = counter();
    assert_eq!(exhaust(&mut world, "bump"), STEPS_PER_SECOND_MAX);
    let tag = Operation::Tag { add: set(&["slow"]), remove: set(&[]) };
    let tag = world.command(id(1), Command::Operate(tag));
    world.commit_all();
    assert_eq!(code(&tag), "ok");
    // The operator's step counts like any other.
    world.pass(Span::millis(5));
    assert_eq!(exhaust(&mut world, "bump"), 0);
    world.pass(Span::millis(5));
    assert_eq!(exhaust(&mut world, "bump"), 1);
    world.pass(Span::secs(9));
    assert_eq!(exhaust(&mut world, "bump"), STEPS_PER_SECOND_MAX);
}

#[test]
fn what_has_happened_is_recorded_over_the_pace() {
    let mut world = World::new();
    world.start(&machine(PAYMENT), id(1));
    world.commit_all();
    exhaust(&mut world, "ask");
    world.outcome(Ok(Value::from("paid")));
    let steps = world.commit_all();
    assert!(steps[0].contains("effect_completed"), "{steps:?}");
}

#[test]
fn work_of_its_own_waits_for_its_turn() {
    let spinner = r#"
traaviis: "1"
name: Spinner
version: 1.0.0
initial: on
events: {stop: {}}
data: {initial: {n: 0}}
states:
  on:
    on: {stop: off}
    after: {1ms: {target: on, reenter: true, actions: [{assign: {n: "${data.n + 1}"}}]}}
  off: {type: final}
"#;
    let mut world = World::new();
    world.start(&machine(spinner), id(1));
    world.commit_all();
    let mut turns = |millis: i64| {
        let before = world.snapshot(id(1)).data.get("n").and_then(Value::as_i64).unwrap();
        for _ in 0..millis {
            world.pass(Span::millis(1));
            world.commit_all();
            let next = world.owner.next_wake().expect("it has a timer");
            assert!(next > world.now, "a wake in the past never ends");
        }
        world.snapshot(id(1)).data.get("n").and_then(Value::as_i64).unwrap() - before
    };
    let rate = i64::from(STEPS_PER_SECOND_MAX);
    let first = turns(1_000);
    assert!((2 * rate - 20..=2 * rate).contains(&first), "{first}");
    let second = turns(1_000);
    assert!((rate - 5..=rate).contains(&second), "{second}");
    // Who wants to stop it is heard.
    let stop = world.command(id(1), Command::Cancel { terminate: false, reason: None });
    world.commit_all();
    assert_eq!(code(&stop), "ok");
}

fn bench() -> (Bench, Handle) {
    let bench = Bench::new(Reaction::Hang);
    let index = std::sync::Arc::new(MemoryIndex::default());
    let (handle, _) =
        bench.start_with(Options { shards: 2, index: Some(index), ..Options::default() });
    (bench, handle)
}

fn begin(handle: &Handle, tags: &[&str]) -> InstanceId {
    let input = Value::empty_map();
    handle.start_marked(&ctx(), &machine(COUNTER), None, input, tagged(tags)).unwrap().id
}

#[test]
fn a_caller_waits_for_what_follows_its_event() {
    let (bench, handle) = bench();
    let id = begin(&handle, &[]);
    let send = |name: &str, until: Until, timeout| {
        let command = event(name);
        handle.command_and_wait(&ctx(), id, command, &until, timeout).unwrap()
    };
    let waited = send("bump", Until::Step, PATIENCE);
    assert!(waited.is_met);
    assert_eq!(waited.snapshot.seq, waited.accepted.seq);

    // The event is taken although the wait runs out.
    let waited = send("wait", Until::Final, Duration::from_millis(20));
    assert!(!waited.is_met);
    assert_eq!(waited.snapshot.state(), "waiting");

    let waited = send("bump", Until::State("waiting".into()), PATIENCE);
    assert!(waited.is_met, "it is there already");

    let before = waited.snapshot.seq;
    let waited = thread::scope(|scope| {
        let waiting = scope.spawn(|| send("bump", Until::State("open".into()), PATIENCE));
        let taken = handle.wait_for(&ctx(), id, |it| it.seq > before, PATIENCE).unwrap();
        assert!(taken.is_some());
        bench.pass(&handle, Span::secs(10));
        waiting.join().unwrap()
    });
    assert!(waited.is_met && waited.snapshot.seq > waited.accepted.seq);

    let waited = send("close", Until::State("waiting".into()), PATIENCE);
    assert_eq!((waited.is_met, waited.snapshot.status), (false, Status::Completed));
}

#[test]
fn tags_find_instances_and_change() {
    let (_bench, handle) = bench();
    let both = begin(&handle, &["big", "eu"]);
    let one = begin(&handle, &["big"]);
    let find = |tags: &[&str]| {
        let filter = Filter { tags: set(tags), ..Filter::default() };
        let listed: Vec<InstanceId> =
            handle.list(&ctx(), &filter).unwrap().iter().map(|it| it.id).collect();
        let query = Query { tags: set(tags), limit: 9, ..Query::default() };
        let found = handle.page(&ctx(), &query).unwrap();
        assert_eq!(found.iter().map(|it| it.id).collect::<Vec<_>>(), listed);
        let counts = handle.count(&ctx(), &query).unwrap();
        assert_eq!(counts.iter().map(|it| it.count).sum::<u64>(), listed.len() as u64);
        listed
    };
    assert_eq!(find(&["big"]), [one, both]);
    assert_eq!(find(&["big", "eu"]), [both]);
    let change = Operation::Tag { add: set(&["late"]), remove: set(&["big", "absent"]) };
    handle.operate(&ctx(), both, change).unwrap();
    assert_eq!(find(&["big"]), [one]);
    assert_eq!(find(&["eu", "late"]), [both]);
    // Also once it has ended, and nowhere in the history is another truth.
    handle.send(&ctx(), both, "close", Value::Null, None).unwrap();
    assert_eq!(find(&["late"]), [both]);
    let history = handle.history(&ctx(), both).unwrap();
    let folded = traaviis_model::Snapshot::fold(&history).unwrap().unwrap();
    assert_eq!(folded.tags, set(&["eu", "late"]));
    let replayed = traaviis_engine::replay(&machine(COUNTER), &history).unwrap().unwrap();
    assert_eq!(replayed.canonical(), folded.canonical());
}

#[test]
fn a_broadcast_of_a_caller_tells_who_took_it() {
    let (_bench, handle) = bench();
    let (first, second) = (begin(&handle, &["big"]), begin(&handle, &["big"]));
    begin(&handle, &[]);
    let to_big = Filter { tags: set(&["big"]), ..Filter::default() };
    let cry = |name: &str, key| {
        handle.broadcast(&ctx(), &to_big, &name.into(), &Value::Null, key).unwrap()
    };
    assert_eq!(cry("bump", Some("a")).taken, [first, second]);
    assert_eq!(cry("bump", Some("a")).taken, [first, second]);
    let n = |id| handle.get(&ctx(), id).unwrap().unwrap().data.get("n").and_then(Value::as_i64);
    assert_eq!((n(first), n(second)), (Some(1), Some(1)), "the second time nothing happened");
    assert_eq!(cry("bump", None).refused.len(), 0);
    assert_eq!(n(first), Some(2));
    let refused = cry("fly", None).refused;
    let refused: Vec<_> = refused.iter().map(|(id, error)| (*id, error.code())).collect();
    assert_eq!(refused, [(first, "unknown_event"), (second, "unknown_event")]);
}
