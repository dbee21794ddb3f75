//! What an instance knows of itself, and what holds it: to whom its work belongs, whether it waits,
//! how many there may be, how fast events may come, and a wall clock that jumps.

use std::sync::{Arc, mpsc::channel};

use traaviis_model::{
    Body, InstanceId, Record, Span, TenantCtx, Text, Value,
    limits::{EVENTS_BURST_SECONDS, EVENTS_PER_SECOND_MAX, OPEN_INSTANCES_MAX},
};
use traaviis_ports::LogError;
use traaviis_runtime::{
    Command, Error, HotShare,
    clock::{CLOCK_JUMP, Jump},
    limits::{FULL_RETRY, PRESSED_WAIT},
    owner::{Collected, Message, Settings, StartOutcome, definition_stream},
    snapshots,
};
use traaviis_testkit::{memory_log::MemoryLog, memory_snapshots::MemorySnapshots};

use crate::support::{
    Answer, CHILD, COUNTER, Known, Letters, NEWS, READER, World, code, ctx, event, id, machine,
};

/// Passes on what it hears to a peer.
const RELAY: &str = r#"
traaviis: "1"
name: Relay
version: 1.0.0
initial: open
events: {hello: {}}
states:
  open: {on: {hello: telling}}
  telling:
    invoke:
      - id: tell
        effect: {type: send_event, instance_id: "${input.peer}", event: SAYS, data: {}}
        onDone: open
        onError: open
"#;

/// Starts [`INNER`], which starts [`CHILD`].
const OUTER: &str = r#"
traaviis: "1"
name: Outer
version: 1.0.0
initial: working
states:
  working:
    invoke: [{id: raise, effect: {type: spawn_fsm, workflow: Inner, wait: true}, onDone: done, onError: bad}]
  done: {type: final}
  bad: {type: final, status: failed, output: "${event.data.cause.code}"}
"#;

const INNER: &str = r#"
traaviis: "1"
name: Inner
version: 1.0.0
initial: working
states:
  working:
    invoke: [{id: raise, effect: {type: spawn_fsm, workflow: Child, input: {n: 1}, wait: true}, onDone: done, onError: bad}]
  done: {type: final}
  bad: {type: final, status: failed}
"#;

/// Waits for a date, and for time to pass.
const DATED: &str = r#"
traaviis: "1"
name: Dated
version: 1.0.0
initial: open
states:
  open:
    invoke:
      - id: both
        effect:
          type: parallel
          effects:
            date: {type: delay, until: "${input.at}"}
            time: {type: delay, duration: 30m}
        onDone: done
  done: {type: final}
"#;

/// Lets letters be delivered until nothing moves.
struct Town {
    world: World,
    letters: Letters,
}

impl Town {
    fn with(known: &[&str], settings: Settings) -> Town {
        let letters = Letters::default();
        let library = Arc::new(Known(known.iter().map(|it| machine(it)).collect()));
        let post = Arc::new(letters.clone());
        Town { world: World::with(Settings { post, library, ..settings }), letters }
    }

    fn rest(&mut self) {
        loop {
            self.world.commit_all();
            let Some((_, letter)) = self.letters.take() else { return };
            self.world.handle(letter);
        }
    }

    fn start(&mut self, document: &str, id: InstanceId, peer: InstanceId) {
        let input = Value::map([("peer", Value::from(peer.to_string()))]);
        self.world.start_as(&ctx(), &machine(document), id, input);
        self.rest();
    }

    /// Returns to what the records of an instance belong, without repetition.
    fn belongs(&self, id: InstanceId) -> Vec<Option<Text>> {
        let own = self.world.records.iter().filter(|it| it.header.instance_id == id);
        let mut found: Vec<Option<Text>> = own.map(|it| it.header.correlation_id.clone()).collect();
        found.dedup();
        found
    }
}

fn name(number: u128) -> Option<Text> {
    Some(id(number).to_string().into())
}

#[test]
fn what_a_message_leads_to_belongs_to_the_first_sender() {
    let mut town = Town::with(&[], Settings::default());
    town.start(NEWS, id(4), id(4));
    town.start(READER, id(5), id(4));
    town.start(&RELAY.replace("SAYS", "more"), id(3), id(4));
    town.start(&RELAY.replace("SAYS", "hello"), id(2), id(3));
    town.start(&RELAY.replace("SAYS", "hello"), id(1), id(2));
    assert!((1..=5).all(|it| town.belongs(id(it)) == [None]), "each begins by itself");
    town.world.command(id(1), event("hello"));
    town.rest();
    assert_eq!(town.belongs(id(1)), [None], "the first is what it belongs to");
    // The message, the tree that it led to, and the end of that; and so on, through an emission.
    assert_eq!(town.belongs(id(2)), [None, name(1)]);
    assert_eq!(town.belongs(id(3)), [None, name(1)]);
    assert_eq!(town.belongs(id(4)), [None, name(1)]);
    assert_eq!(town.belongs(id(5)), [None, name(1)]);
    // What it does for another belongs to that one.
    town.world.command(id(2), event("hello"));
    town.rest();
    assert_eq!(town.belongs(id(2)), [None, name(1), None]);
    assert_eq!(town.belongs(id(3)), [None, name(1), name(2)]);
    let to_itself = Town::with(&[], Settings::default());
    let mut town = to_itself;
    town.start(&RELAY.replace("SAYS", "hello"), id(1), id(1));
    town.world.command(id(1), event("hello"));
    town.rest();
    assert_eq!(town.belongs(id(1)), [None]);
}

#[test]
fn a_family_belongs_to_its_first() {
    let mut town = Town::with(&[INNER, CHILD], Settings::default());
    town.start(OUTER, id(1), id(1));
    let open: Vec<Arc<_>> = town.world.owner.open_instances().collect();
    assert_eq!(open.len(), 3);
    for snapshot in open.iter().filter(|it| it.id != id(1)) {
        assert_eq!(town.belongs(snapshot.id), [name(1)], "{}", snapshot.workflow);
        assert_eq!(Some(snapshot.belongs_to()), name(1));
    }
    assert_eq!(town.belongs(id(1)), [None]);
}

#[test]
fn who_waits_says_so_and_how_it_moved() {
    let mut town = Town::with(&[INNER, CHILD], Settings::default());
    town.start(COUNTER, id(2), id(2));
    let counter = town.world.snapshot(id(2));
    assert!(counter.is_waiting());
    assert_eq!(counter.performance().avg_transition_time_us, Some(0));
    town.world.pass(Span::secs(4));
    town.world.command(id(2), event("wait"));
    town.rest();
    let counter = town.world.snapshot(id(2));
    assert!(counter.is_waiting(), "for a timer");
    let performance = counter.performance();
    assert_eq!(
        (performance.transition_count, performance.last_transition_at),
        (2, Some(town.world.now))
    );
    assert_eq!(performance.avg_transition_time_us, Some(2_000_000));
    // A parent waits for its child, and that for an answer; neither for time, people or events.
    town.start(OUTER, id(1), id(1));
    let open: Vec<Arc<_>> = town.world.owner.open_instances().collect();
    assert!(open.iter().filter(|it| it.id != id(2)).all(|it| !it.is_waiting()));
    town.world.command(id(2), Command::Operate(pause()));
    town.rest();
    assert!(!town.world.snapshot(id(2)).is_waiting(), "a person has to resume it");
}

fn pause() -> traaviis_model::record::Operation {
    traaviis_model::record::Operation::Pause { reason: None }
}

#[test]
fn quotas_are_those_of_the_table() {
    let Settings { events_per_second, open_max, .. } = Settings::default();
    assert_eq!((events_per_second, EVENTS_BURST_SECONDS), (Some(5_000), 4));
    assert_eq!(open_max, Some(100_000));
    assert_eq!((EVENTS_PER_SECOND_MAX, OPEN_INSTANCES_MAX), (5_000, 100_000));
}

#[test]
fn a_tenant_has_no_more_open_instances_than_it_may() {
    let settings = Settings { open_max: Some(2), ..Settings::default() };
    let mut town = Town::with(&[INNER, CHILD], settings);
    let counter = machine(COUNTER);
    town.start(COUNTER, id(1), id(1));
    // One that found no space takes no place.
    let full = town.world.start(&counter, id(2));
    town.world.refuse(LogError::Full);
    assert_eq!(code(&full), "storage_full");
    let second = town.world.start(&counter, id(2));
    // Those on their way count, too.
    let third = town.world.start(&counter, id(3));
    assert_eq!((code(&second), code(&third)), ("none yet", "quota_exceeded"));
    assert!(third.lock().unwrap().as_ref().unwrap().as_ref().unwrap_err().is_retryable());
    town.rest();
    assert_eq!(code(&second), "ok");
    let again = town.world.start(&counter, id(2));
    assert_eq!(code(&again), "ok", "what is there needs no place");
    // Another tenant has a quota of its own.
    let other = town.world.start_as(&TenantCtx::for_test(2), &counter, id(9), Value::empty_map());
    town.rest();
    assert_eq!(code(&other), "ok");
    town.world.command(id(1), Command::Cancel { terminate: true, reason: None });
    town.rest();
    let third = town.world.start(&counter, id(3));
    town.rest();
    assert_eq!(code(&third), "ok", "who ends makes room");
}

#[test]
fn a_child_over_the_quota_fails_its_node() {
    let settings = Settings { open_max: Some(1), ..Settings::default() };
    let mut town = Town::with(&[INNER, CHILD], settings);
    town.start(OUTER, id(1), id(1));
    let end = town.world.records.iter().find_map(|it| match &it.body {
        Body::Finished { output, .. } => Some(output.to_json()),
        _ => None,
    });
    assert_eq!(end.as_deref(), Some(r#""quota_exceeded""#));
}

/// A start that waits for memory, in an owner with room for one state.
fn short_of_memory() -> (World, Arc<MemorySnapshots>, Answer<StartOutcome>) {
    let store = Arc::new(MemorySnapshots::default());
    let snapshots = Some(Arc::clone(&store) as _);
    let (hot_bytes, full_bytes) = (100, 100);
    let settings = Settings { snapshots, hot_bytes, full_bytes, ..Settings::default() };
    let mut world = World::with(settings);
    let counter = machine(COUNTER);
    let first = world.start(&counter, id(1));
    world.commit_all();
    assert_eq!(code(&first), "ok");
    // The only state is in no store yet, so nothing can leave.
    let second = world.start(&counter, id(2));
    assert_eq!(code(&second), "none yet");
    let stats = world.owner.hot_stats().pressure;
    assert_eq!((stats.reliefs, stats.waiting), ([1, 0, 0], 1), "{stats:?}");
    (world, store, second)
}

#[test]
fn a_state_that_was_not_used_for_so_long_goes_before_others() {
    // How often states were saved, went because nobody used them, and went because they were the
    // oldest ones.
    for (ttl, reliefs) in [(Span::secs(1), [1, 1, 0]), (Span::secs(3_600), [1, 0, 1])] {
        let store = Arc::new(MemorySnapshots::default());
        let snapshots = Some(Arc::clone(&store) as _);
        let (hot_bytes, hot_ttl) = (100, ttl);
        let mut world =
            World::with(Settings { snapshots, hot_bytes, hot_ttl, ..Settings::default() });
        world.start(&machine(COUNTER), id(1));
        world.commit_all();
        world.pass(Span::secs(2));
        let (sender, receiver) = channel();
        world.handle(Message::Collect(sender));
        let collected: Vec<Collected> = receiver.try_iter().collect();
        let sizes = snapshots::put(&*store, &collected, None, &MemoryLog::new()).unwrap();
        world.handle(Message::Saved(Some(sizes)));
        world.pass(Span::millis(0));
        let stats = world.owner.hot_stats();
        assert_eq!((stats.resting, stats.pressure.reliefs), (1, reliefs), "{ttl}: {stats:?}");
    }
}

#[test]
fn a_start_waits_a_second_for_memory_and_is_refused() {
    let (mut world, _store, second) = short_of_memory();
    assert_eq!(PRESSED_WAIT, Span::secs(1));
    world.pass(Span::millis(999));
    assert_eq!(code(&second), "none yet");
    world.pass(Span::millis(1));
    assert_eq!(code(&second), "memory_pressure");
    assert!(second.lock().unwrap().as_ref().unwrap().as_ref().unwrap_err().is_retryable());
    assert_eq!(world.owner.hot_stats().pressure.refused, 1);
    // What is there goes on.
    let bump = world.command(id(1), event("bump"));
    world.commit_all();
    assert_eq!(code(&bump), "ok");
}

#[test]
fn a_start_that_waits_for_memory_begins_once_states_are_saved() {
    let (mut world, store, second) = short_of_memory();
    let (sender, receiver) = channel();
    world.handle(Message::Collect(sender));
    let collected: Vec<Collected> = receiver.try_iter().collect();
    let log = MemoryLog::new();
    let sizes = snapshots::put(&*store, &collected, None, &log).unwrap();
    world.handle(Message::Saved(Some(sizes)));
    assert_eq!(world.owner.next_wake(), world.owner.next_wake().filter(|it| *it <= world.now));
    world.pass(Span::millis(0));
    world.commit_all();
    assert_eq!(code(&second), "ok");
    let stats = world.owner.hot_stats();
    assert_eq!((stats.resting, stats.pressure.refused), (1, 0), "{stats:?}");
    // Saved twice, for each of the two; what was saved first has left.
    assert_eq!(stats.pressure.reliefs, [2, 0, 1], "{stats:?}");
}

#[test]
fn a_checkpoint_holds_the_definition_of_a_start_that_waits_for_memory() {
    let snapshots = Some(Arc::new(MemorySnapshots::default()) as _);
    let (hot_bytes, full_bytes) = (100, 100);
    let mut world =
        World::with(Settings { snapshots, hot_bytes, full_bytes, ..Settings::default() });
    let first = world.start(&machine(COUNTER), id(1));
    assert_eq!(world.commit(), "document_put");
    let second = world.start(&machine(CHILD), id(2));
    world.commit();
    assert_eq!(code(&first), "ok");
    // There is room no more when its definition is durable.
    assert_eq!(world.commit(), "document_put");
    assert_eq!(code(&second), "none yet");
    assert_eq!(world.owner.hot_stats().pressure.waiting, 1);
    let (sender, receiver) = channel();
    world.handle(Message::Collect(sender));
    assert_eq!(receiver.recv().unwrap().definitions.len(), 2);
}

#[test]
fn what_rests_is_loaded_once_for_all_who_ask() {
    let (mut world, store, _second) = short_of_memory();
    let (sender, receiver) = channel();
    world.handle(Message::Collect(sender));
    let collected: Vec<Collected> = receiver.try_iter().collect();
    let sizes = snapshots::put(&*store, &collected, None, &MemoryLog::new()).unwrap();
    world.handle(Message::Saved(Some(sizes)));
    assert_eq!(world.owner.hot_stats().resting, 1);
    // One mailbox: the first brings it in, the others find it there.
    let sent: Vec<_> = (0..5).map(|_| world.command(id(1), event("bump"))).collect();
    assert_eq!(world.owner.hot_stats().brought_back, 1);
    world.commit_all();
    assert!(sent.iter().all(|it| code(it) == "ok"));
    assert_eq!(world.owner.hot_stats().brought_back, 1);
}

/// Lets the states that changed be saved.
fn save(world: &mut World, store: &MemorySnapshots) {
    let (sender, receiver) = channel();
    world.handle(Message::Collect(sender));
    let collected: Vec<Collected> = receiver.try_iter().collect();
    let sizes = snapshots::put(store, &collected, None, &MemoryLog::new()).unwrap();
    world.handle(Message::Saved(Some(sizes)));
}

#[test]
fn a_share_of_a_tenants_instances_stays_in_memory() {
    const COUNT: u128 = 400;
    // Which tenants have how many in a hundred, and how many of theirs may stay.
    for (share, stay) in [(100, 400..=400), (25, 70..=130), (0, 0..=0)] {
        let store = Arc::new(MemorySnapshots::default());
        let hot_share: HotShare = Arc::new(move |_| share);
        let settings = Settings {
            snapshots: Some(Arc::clone(&store) as _),
            hot_share: Some(hot_share),
            ..Settings::default()
        };
        let mut world = World::with(settings);
        let counter = machine(COUNTER);
        (1..=COUNT).for_each(|it| drop(world.start(&counter, id(it))));
        world.commit_all();
        assert_eq!(world.owner.hot_stats().active, COUNT as usize, "none is saved yet");
        world.pass(Span::secs(2));
        save(&mut world, &store);
        world.pass(Span::secs(2));
        let stats = world.owner.hot_stats();
        assert!(stay.contains(&stats.active), "{share}: {stats:?}");
        assert_eq!(stats.active + stats.resting, COUNT as usize);
        // Whoever is asked for comes back, goes on, and leaves again.
        let bumps: Vec<_> = (1..=COUNT).map(|it| world.command(id(it), event("bump"))).collect();
        world.commit_all();
        assert!(bumps.iter().all(|it| code(it) == "ok"));
        for _ in 0..2 {
            world.pass(Span::secs(2));
            save(&mut world, &store);
        }
        world.pass(Span::secs(2));
        assert_eq!(world.owner.hot_stats().active, stats.active, "{share}: the same ones stay");
    }
}

#[test]
fn callers_of_a_tenant_send_no_more_events_than_they_may() {
    let settings =
        Settings { events_per_second: Some(10), steps_per_second: None, ..Settings::default() };
    let mut world = World::with(settings);
    let (counter, other) = (machine(COUNTER), TenantCtx::for_test(2));
    world.start(&counter, id(1));
    world.start(&counter, id(2));
    world.start_as(&other, &counter, id(3), Value::empty_map());
    world.commit_all();
    // Whoever of its instances they are for.
    let sent: Vec<_> = (0..40).map(|it| world.command(id(1 + it % 2), event("bump"))).collect();
    let over = world.command(id(2), event("bump"));
    assert_eq!(code(&over), "rate_limited");
    let Some(Err(Error::Rejected(refused))) = &*over.lock().unwrap() else { panic!("refused") };
    assert_eq!(refused.details.to_json(), r#"{"retry_after_ms":100}"#);
    let conditional = Command::If { seq: 2, command: Box::new(event("bump")) };
    assert_eq!(code(&world.command(id(2), conditional)), "rate_limited");
    let elsewhere = world.command_as(&other, id(3), event("bump"));
    world.commit_all();
    let paused = world.command(id(2), Command::Operate(pause()));
    world.commit_all();
    assert!(sent.iter().all(|it| code(it) == "ok"));
    assert_eq!((code(&elsewhere), code(&paused)), ("ok", "ok"), "commands are no events");
    world.pass(Span::millis(100));
    let later = world.command(id(1), event("bump"));
    world.commit_all();
    assert_eq!(code(&later), "ok");
}

#[test]
fn an_id_that_something_else_has_is_refused_and_stops_nothing() {
    let mut world = World::new();
    let counter = machine(COUNTER);
    world.start(&counter, id(1));
    world.commit_all();
    let taken = definition_stream(&counter.definition().hash);
    let refused = world.start(&counter, taken);
    world.refuse(LogError::SeqMismatch { stream: taken, last: 1, first: 1 });
    assert_eq!(code(&refused), "already_exists");
    let next = world.start(&counter, id(2));
    world.commit_all();
    assert_eq!(code(&next), "ok");
}

// --- The wall clock -----------------------------------------------------------------------------

fn forward(world: &World, span: Span) -> Jump {
    Jump { by_us: span.0, follows_us: span.0, wall: world.now.plus(span) }
}

/// Lets the clock jump, and time follow.
fn jump(world: &mut World, jump: Jump, stream: InstanceId) {
    world.handle(Message::ClockJumped { jump, stream, done: None });
    world.pass(jump.follows());
}

fn jumps(records: &[Record]) -> Vec<String> {
    let found = records.iter().filter_map(|it| match &it.body {
        Body::DocumentPut { document, body, .. } if **document == *CLOCK_JUMP => {
            Some(format!("{} {}", body.get("by_us")?.to_json(), body.get("follows_us")?.to_json()))
        }
        _ => None,
    });
    found.collect()
}

#[test]
fn time_that_follows_the_clock_makes_no_timer_early() {
    let mut world = World::new();
    world.start(&machine(COUNTER), id(1));
    world.start(&machine(COUNTER), id(2));
    world.commit_all();
    world.command(id(1), event("wait"));
    world.commit_all();
    world.pass(Span::secs(4));
    // Decided before the jump, durable after it.
    world.command(id(2), event("wait"));
    let hour = forward(&world, Span::secs(3_600));
    jump(&mut world, hour, id(50));
    assert_eq!(world.commit_all()[1], "document_put");
    assert_eq!(jumps(&world.records), ["3600000000 3600000000"]);
    world.pass(Span(Span::secs(6).0 - 1));
    assert!(world.outside.appends.is_empty(), "ten seconds have not passed");
    world.pass(Span(1));
    assert!(world.commit().starts_with("timer_fired"));
    world.pass(Span(Span::secs(4).0 - 1));
    assert!(world.outside.appends.is_empty());
    world.pass(Span(1));
    assert!(world.commit().starts_with("timer_fired"));
    // What is set from now on waits as long as it says.
    world.command(id(1), event("wait"));
    world.commit_all();
    world.pass(Span::secs(10));
    assert!(world.commit().starts_with("timer_fired"));
}

#[test]
fn dates_come_when_the_wall_clock_says_so() {
    let mut world = World::new();
    let at = world.now.plus(Span::secs(3_000)).to_string();
    let input = Value::map([("at", Value::from(at))]);
    world.start_as(&ctx(), &machine(DATED), id(1), input);
    world.commit_all();
    let hour = forward(&world, Span::secs(3_600));
    jump(&mut world, hour, id(50));
    let written = world.commit_all();
    assert!(written[1].starts_with("timer_fired"), "the date: {written:?}");
    world.pass(Span(Span::secs(1_800).0 - 1));
    assert!(world.outside.appends.is_empty(), "half an hour has not passed");
    world.pass(Span(1));
    assert!(world.commit().starts_with("timer_fired"));
}

#[test]
fn a_clock_that_is_set_back_changes_nothing_but_is_recorded() {
    let mut world = World::new();
    world.start(&machine(COUNTER), id(1));
    world.commit_all();
    world.command(id(1), event("wait"));
    world.commit_all();
    let back = Jump { by_us: -Span::secs(7_200).0, follows_us: 0, wall: world.now };
    jump(&mut world, back, id(50));
    // Without space it is recorded later; and another owner may have done so before.
    world.refuse(LogError::Full);
    world.pass(FULL_RETRY);
    assert_eq!(world.commit_all(), ["document_put"]);
    jump(&mut world, back, id(51));
    world.refuse(LogError::SeqMismatch { stream: id(51), last: 1, first: 1 });
    assert_eq!(jumps(&world.records), ["-7200000000 0"]);
    world.pass(Span(Span::secs(10).0 - FULL_RETRY.0));
    assert!(world.commit().starts_with("timer_fired"));
}

#[test]
fn a_clock_jump_that_cannot_be_written_ends_the_owner() {
    let mut world = World::new();
    world.start(&machine(COUNTER), id(1));
    world.commit_all();
    let hour = forward(&world, Span::secs(3_600));
    jump(&mut world, hour, id(50));
    world.refuse(LogError::Failed("sync: eio".into()));
    let refused: Answer<_> = world.command(id(1), event("bump"));
    assert_eq!(code(&refused), "storage_failed");
}
