//! The runtime with its threads, over the log in memory.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::channel,
    },
    time::Duration,
};

use traaviis_engine::{Fork, Resolution, Retry};
use traaviis_model::{
    Body, DeliveryClass, Record, Span, TenantCtx, Timestamp, Value,
    limits::FORK_BYTES_MAX,
    privacy::RedactionKey,
    record::{Results, Status},
};
use traaviis_ports::{Line, LogError, LogStore, RedactionKeys, SecretError};
use traaviis_runtime::{
    Command, Error, Filter, Handle, Options, Ports, RecoveryReport, Runtime, Started,
    clock::{CLOCK_JUMP, OnClockJump},
    limits::{IN_FLIGHT_MAX, KEY_RETRY, TURN},
    owner::definition_stream,
};
use traaviis_testkit::{
    clock::{SimClock, SimIds},
    connector::{Reaction, ScriptedConnector},
    memory_log::MemoryLog,
};

use crate::support::{COUNTER, KEYED, Known, PAYMENT, ctx, event_with_id, id, machine};

/// Longest wait of a test; reached only by a defect.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Bench {
    pub log: Arc<MemoryLog>,
    clock: Arc<SimClock>,
    ids: Arc<SimIds>,
    connector: Arc<ScriptedConnector>,
}

impl Bench {
    pub fn new(fallback: Reaction) -> Bench {
        Bench {
            log: Arc::new(MemoryLog::new()),
            clock: Arc::new(SimClock::new(Timestamp(1_000_000_000_000_000))),
            ids: Arc::default(),
            connector: Arc::new(ScriptedConnector::new(fallback)),
        }
    }

    fn start(&self) -> (Handle, RecoveryReport) {
        self.start_with(Options { shards: 2, ..Options::default() })
    }

    pub fn start_with(&self, options: Options) -> (Handle, RecoveryReport) {
        let ports = Ports {
            log: self.log.clone(),
            clock: self.clock.clone(),
            ids: self.ids.clone(),
            connector: self.connector.clone(),
        };
        Runtime::start(options, ports).unwrap()
    }

    pub fn pass(&self, handle: &Handle, span: Span) {
        self.clock.advance(span);
        handle.wake();
    }
}

fn number(snapshot: &traaviis_model::Snapshot) -> Option<i64> {
    snapshot.data.get("n").and_then(Value::as_i64)
}

#[test]
fn an_instance_lives_from_start_to_end() {
    let bench = Bench::new(Reaction::Hang);
    let (handle, _) = bench.start();
    let counter = machine(COUNTER);
    let started = handle.start_instance(&ctx(), &counter, None, Value::empty_map()).unwrap();
    assert_eq!(started.snapshot.state(), "open");
    for _ in 0..10 {
        handle.send(&ctx(), started.id, "bump", Value::Null, None).unwrap();
    }
    let snapshot = handle.get(&ctx(), started.id).unwrap().unwrap();
    assert_eq!(number(&snapshot), Some(10));
    handle.send(&ctx(), started.id, "close", Value::Null, None).unwrap();
    let ended = handle.get(&ctx(), started.id).unwrap().unwrap();
    assert_eq!((ended.status, ended.output.as_i64()), (Status::Completed, Some(10)));
    let history = handle.history(&ctx(), started.id).unwrap();
    assert_eq!(history.len() as u64, ended.seq);
    let listed = handle.list(&ctx(), &Filter::default()).unwrap();
    assert_eq!((listed.len(), listed[0].status), (1, Status::Completed));
}

/// What is left of a history whose end is lost is a state of earlier, which is never shown.
#[test]
fn an_ended_instance_that_lost_its_last_records_is_told_to_be_damaged() {
    for is_forgotten in [false, true] {
        let bench = Bench::new(Reaction::Hang);
        let options = Options { finished_max: 1, shards: 1, ..Options::default() };
        let (handle, _) = bench.start_with(options);
        let counter = machine(COUNTER);
        let end_one = || {
            let started = handle.start_instance(&ctx(), &counter, None, Value::empty_map());
            let id = started.unwrap().id;
            handle.send(&ctx(), id, "close", Value::Null, None).unwrap();
            id
        };
        let id = end_one();
        if is_forgotten {
            end_one();
        }
        let last = handle.get(&ctx(), id).unwrap().unwrap().seq;
        for lost in 2..=last {
            bench.log.lose(id, lost);
            let told = handle.get(&ctx(), id).map(|it| it.map(|it| it.seq)).map_err(|it| it.code());
            assert_eq!(told, Err("history_broken"), "forgotten: {is_forgotten}, {lost} is lost");
        }
        bench.log.lose(id, last + 1);
        assert_eq!(handle.get(&ctx(), id).unwrap().unwrap().seq, last);
    }
}

#[test]
fn strangers_see_nothing() {
    let bench = Bench::new(Reaction::Hang);
    let (handle, _) = bench.start();
    let started =
        handle.start_instance(&ctx(), &machine(COUNTER), None, Value::empty_map()).unwrap();
    let stranger = TenantCtx::for_test(2);
    assert!(handle.get(&stranger, started.id).unwrap().is_none());
    assert!(handle.list(&stranger, &Filter::default()).unwrap().is_empty());
    assert!(handle.history(&stranger, started.id).unwrap().is_empty());
    let sent = handle.send(&stranger, started.id, "bump", Value::Null, None);
    assert_eq!(sent.unwrap_err().code(), "not_found");
    let watch = handle.watch(&stranger, None).unwrap();
    handle.send(&ctx(), started.id, "bump", Value::Null, None).unwrap();
    handle.get(&ctx(), started.id).unwrap();
    assert!(watch.try_next().is_none());
}

/// Starts instances without waiting; counts those that are durable.
fn start_many(handle: &Handle, ctx: &TenantCtx, count: usize) -> Arc<AtomicUsize> {
    let (counter, done) = (machine(COUNTER), Arc::new(AtomicUsize::new(0)));
    for _ in 0..count {
        let done = Arc::clone(&done);
        let reply = Box::new(move |it: Result<Started, Error>| {
            it.unwrap();
            done.fetch_add(1, Ordering::SeqCst);
        });
        handle.start_instance_then(ctx, &counter, None, Value::empty_map(), reply);
    }
    done
}

#[test]
fn a_quiet_tenant_is_served_while_a_loud_one_has_much_waiting() {
    let bench = Bench { log: Arc::new(MemoryLog::manual()), ..Bench::new(Reaction::Hang) };
    let (handle, _) = bench.start_with(Options { shards: 1, ..Options::default() });
    let begun = std::time::Instant::now();
    let settle = |of: &AtomicUsize, count: usize, step: usize| {
        while of.load(Ordering::SeqCst) < count {
            assert!(begun.elapsed() < PATIENCE, "a tenant waits for ever");
            bench.log.pump(step);
            // Whoever asks is answered while the log stands still.
            handle.list(&ctx(), &Filter::default()).unwrap();
        }
    };
    let [loud, quiet] = [1, 2].map(TenantCtx::for_test);
    for tenant in [&loud, &quiet] {
        // Its definition is stored before the first instance.
        settle(&start_many(&handle, tenant, 1), 1, 1);
    }
    let loud = start_many(&handle, &loud, 30_000);
    let quiet = start_many(&handle, &quiet, 10);
    settle(&quiet, 10, 64);
    let ahead = loud.load(Ordering::SeqCst);
    let most = IN_FLIGHT_MAX + 4 * TURN as usize;
    assert!(ahead <= most, "{ahead} of the loud tenant came first, at most {most} may");
    settle(&loud, 30_000, 1_024);
}

#[test]
fn callbacks_are_told_and_many_callers_lose_nothing() {
    let bench = Bench::new(Reaction::Hang);
    let (handle, _) = bench.start();
    let counter = machine(COUNTER);
    let ids: Vec<_> = (0..20)
        .map(|_| handle.start_instance(&ctx(), &counter, None, Value::empty_map()).unwrap().id)
        .collect();
    let told = Arc::new(AtomicUsize::new(0));
    let (sender, receiver) = channel::<()>();
    std::thread::scope(|scope| {
        for at in 0..4 {
            let (handle, ids, told, sender) = (&handle, &ids, &told, sender.clone());
            scope.spawn(move || {
                for round in 0..50 {
                    for id in ids {
                        let (told, sender) = (Arc::clone(told), sender.clone());
                        let command = event_with_id("bump", &format!("{at}-{round}"));
                        let reply = Box::new(move |answer: Result<_, _>| {
                            assert!(answer.is_ok());
                            told.fetch_add(1, Ordering::SeqCst);
                            drop(sender);
                        });
                        handle.command_then(&ctx(), *id, command, reply);
                    }
                }
            });
        }
    });
    drop(sender);
    // The channel ends when the last reply was told.
    assert!(receiver.recv_timeout(PATIENCE).is_err());
    assert_eq!(told.load(Ordering::SeqCst), 4 * 50 * 20);
    for id in ids {
        assert_eq!(number(&handle.get(&ctx(), id).unwrap().unwrap()), Some(200));
    }
}

#[test]
fn a_wall_clock_that_was_set_back_makes_no_timer_late() {
    let bench = Bench::new(Reaction::Hang);
    let (handle, _) = bench.start();
    let id = handle.start_instance(&ctx(), &machine(COUNTER), None, Value::empty_map()).unwrap().id;
    handle.send(&ctx(), id, "wait", Value::Null, None).unwrap();
    drop(handle);
    let set_back = Arc::new(SimClock::new(Timestamp(0)));
    let bench = Bench { clock: set_back, ..bench };
    let (handle, report) = bench.start();
    assert_eq!(report.clock_behind, Span(1_000_000_000_000_000));
    bench.pass(&handle, Span(Span::secs(10).0 - 1));
    assert_eq!(handle.get(&ctx(), id).unwrap().unwrap().state(), "waiting");
    bench.pass(&handle, Span(1));
    let open = handle.wait_for(&ctx(), id, |it| it.state() == "open", PATIENCE).unwrap();
    assert!(open.is_some());
}

#[test]
fn a_jump_of_the_wall_clock_is_told_recorded_and_followed() {
    let bench = Bench::new(Reaction::Hang);
    let (handle, _) = bench.start();
    let id = handle.start_instance(&ctx(), &machine(COUNTER), None, Value::empty_map()).unwrap().id;
    handle.send(&ctx(), id, "wait", Value::Null, None).unwrap();
    handle.shutdown(Duration::ZERO).unwrap();
    // A start looks at once, so that nobody has to wait for the next look.
    bench.clock.set_wall(Span::secs(3_600));
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let on_clock_jump: OnClockJump = Arc::new(move |it| tell.lock().unwrap().push(it.by()));
    let (handle, _) = bench.start_with(Options { shards: 2, on_clock_jump, ..Options::default() });
    assert_eq!(*told.lock().unwrap(), [Span::secs(3_600)]);
    let sent = handle.send(&ctx(), id, "wait", Value::Null, None);
    assert_eq!(sent.unwrap_err().code(), "event_not_accepted", "it still waits");
    let mut recorded = 0;
    let visit = &mut |line: Line<'_>| {
        let record = Record::read_line(line.bytes).unwrap();
        recorded += u32::from(
            matches!(&record.body, Body::DocumentPut { document, .. } if **document == *CLOCK_JUMP),
        );
    };
    bench.log.scan(0, visit).unwrap();
    assert_eq!(recorded, 1, "by one of the owners");
    bench.pass(&handle, Span::secs(10));
    let open = handle.wait_for(&ctx(), id, |it| it.state() == "open", PATIENCE).unwrap();
    let open = open.unwrap();
    let passed = open.updated_at.since(open.created_at);
    assert_eq!(passed, Span::secs(3_610), "times follow the wall clock");
}

#[test]
fn timers_wait_for_the_clock() {
    let bench = Bench::new(Reaction::Hang);
    let (handle, _) = bench.start();
    let id = handle.start_instance(&ctx(), &machine(COUNTER), None, Value::empty_map()).unwrap().id;
    handle.send(&ctx(), id, "wait", Value::Null, None).unwrap();
    bench.pass(&handle, Span(Span::secs(10).0 - 1));
    assert_eq!(handle.get(&ctx(), id).unwrap().unwrap().state(), "waiting");
    bench.pass(&handle, Span(1));
    let open = handle.wait_for(&ctx(), id, |it| it.state() == "open", PATIENCE).unwrap();
    assert!(open.is_some());
}

#[test]
fn calls_are_performed_and_their_outcomes_come_back() {
    let bench = Bench::new(Reaction::Ok(Value::Int(7)));
    let (handle, _) = bench.start();
    let id = handle.start_instance(&ctx(), &machine(PAYMENT), None, Value::empty_map()).unwrap().id;
    let ended = handle.wait_for(&ctx(), id, |it| it.status.is_finished(), PATIENCE).unwrap();
    assert_eq!(ended.unwrap().output.as_i64(), Some(7));
    assert_eq!(bench.connector.calls().len(), 1);
}

#[test]
fn a_restart_goes_on_where_the_last_process_stopped() {
    let bench = Bench::new(Reaction::Hang);
    bench.connector.set_class(DeliveryClass::OtherWrite);
    let (handle, _) = bench.start();
    let payment =
        handle.start_instance(&ctx(), &machine(PAYMENT), None, Value::empty_map()).unwrap().id;
    let counter = handle
        .start_instance(&ctx(), &machine(COUNTER), Some(id(77)), Value::empty_map())
        .unwrap()
        .id;
    handle.send(&ctx(), counter, "bump", Value::Null, None).unwrap();
    handle.shutdown(Duration::ZERO).unwrap();
    let (handle, report) = bench.start();
    assert_eq!((report.instances, report.records), (2, 0));
    assert!(report.checkpoint.is_some());
    assert_eq!(number(&handle.get(&ctx(), counter).unwrap().unwrap()), Some(1));
    // Nobody knows whether it was paid; a person does.
    let asks =
        handle.wait_for(&ctx(), payment, |it| !it.incidents.is_empty(), PATIENCE).unwrap().unwrap();
    let incident = &asks.incidents[0];
    let happened = Resolution::Happened(Value::Int(9));
    handle.resolve(&ctx(), payment, incident.tree, incident.path.clone(), happened, None).unwrap();
    let ended = handle.wait_for(&ctx(), payment, |it| it.status.is_finished(), PATIENCE).unwrap();
    assert_eq!(ended.unwrap().output.as_i64(), Some(9));
    assert_eq!(bench.connector.ledger().entries().len(), 0);
}

#[test]
fn a_checkpoint_while_callers_send_loses_nothing() {
    let bench = Bench::new(Reaction::Hang);
    let options = Options { shards: 2, checkpoint_bytes: 4_096, ..Options::default() };
    let (handle, _) = bench.start_with(options);
    let counter = machine(COUNTER);
    let ids: Vec<_> = (0..8)
        .map(|_| handle.start_instance(&ctx(), &counter, None, Value::empty_map()).unwrap().id)
        .collect();
    std::thread::scope(|scope| {
        for id in &ids {
            let handle = &handle;
            scope.spawn(move || {
                for _ in 0..50 {
                    handle.send(&ctx(), *id, "bump", Value::Null, None).unwrap();
                }
            });
        }
        for _ in 0..20 {
            handle.checkpoint().unwrap();
        }
    });
    drop(handle);
    let after = Bench { log: Arc::new(bench.log.after_crash()), ..bench };
    let (handle, report) = after.start();
    assert!(report.checkpoint.is_some() && report.faults.is_empty(), "{report:?}");
    for id in ids {
        assert_eq!(number(&handle.get(&ctx(), id).unwrap().unwrap()), Some(50));
    }
}

#[test]
fn a_failed_log_is_told_once_and_nothing_is_taken_after() {
    let bench = Bench::new(Reaction::Hang);
    let told = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&told);
    let on_fatal = Arc::new(move |_: &LogError| {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let (handle, _) = bench.start_with(Options { shards: 2, on_fatal, ..Options::default() });
    let counter = machine(COUNTER);
    let id = handle.start_instance(&ctx(), &counter, None, Value::empty_map()).unwrap().id;
    bench.log.set_failure(Some(LogError::Full));
    let full = handle.send(&ctx(), id, "bump", Value::Null, None).unwrap_err();
    assert_eq!((full.code(), full.is_retryable()), ("storage_full", true));
    bench.log.set_failure(None);
    bench.pass(&handle, Span::millis(500));
    handle.send(&ctx(), id, "bump", Value::Null, None).unwrap();
    bench.log.set_failure(Some(LogError::Failed("sync: eio".into())));
    for _ in 0..2 {
        let failed = handle.send(&ctx(), id, "bump", Value::Null, None).unwrap_err();
        assert_eq!(failed.code(), "storage_failed");
    }
    assert!(handle.is_dead());
    assert_eq!(told.load(Ordering::SeqCst), 1);
    assert_eq!(number(&handle.get(&ctx(), id).unwrap().unwrap()), Some(1));
}

#[test]
fn a_shard_that_meets_a_defect_ends_the_process() {
    let bench = Bench::new(Reaction::Hang);
    let (sender, told) = channel();
    let sender = Mutex::new(sender);
    let on_fatal = Arc::new(move |error: &LogError| {
        // The test may be over.
        let _ = sender.lock().unwrap().send(error.to_string());
    });
    let (handle, _) = bench.start_with(Options { shards: 2, on_fatal, ..Options::default() });
    handle.listen(Box::new(|_| panic!("as planned")));
    let started = handle.start_instance(&ctx(), &machine(COUNTER), None, Value::empty_map());
    assert!(started.is_err(), "nothing is acknowledged");
    let why = told.recv_timeout(PATIENCE).unwrap();
    assert!(why.contains("traaviis-shard-"), "{why}");
}

#[test]
fn one_key_is_one_instance_whatever_the_shard() {
    let bench = Bench::new(Reaction::Hang);
    let (handle, _) = bench.start();
    let keyed = machine(KEYED);
    let input = Value::map([("ref", Value::from("r"))]);
    let first = handle.start_instance(&ctx(), &keyed, None, input.clone()).unwrap().id;
    for _ in 0..8 {
        let conflict = handle.start_instance(&ctx(), &keyed, None, input.clone()).unwrap_err();
        assert_eq!(conflict.code(), "correlation_conflict");
    }
    let holder = handle.find_correlation(&ctx(), "KEYED", &"r".into()).unwrap();
    assert_eq!((holder.id, holder.open), (first, true));
    drop(handle);
    let (handle, _) = bench.start();
    let conflict = handle.start_instance(&ctx(), &keyed, None, input.clone()).unwrap_err();
    assert_eq!(conflict.code(), "correlation_conflict");
    handle.send(&ctx(), first, "close", Value::Null, None).unwrap();
    handle.start_instance(&ctx(), &keyed, None, input).unwrap();
}

#[test]
fn what_memory_forgot_is_read_from_the_log() {
    let bench = Bench::new(Reaction::Hang);
    let (handle, _) = bench.start_with(Options { finished_max: 1, ..Options::default() });
    let counter = machine(COUNTER);
    for number in 1..=3 {
        let input = Value::empty_map();
        handle.start_instance(&ctx(), &counter, Some(id(number)), input).unwrap();
        handle
            .command(&ctx(), id(number), Command::Cancel { terminate: true, reason: None })
            .unwrap();
    }
    let ended = handle.get(&ctx(), id(1)).unwrap().unwrap();
    assert_eq!(ended.status, Status::Cancelled);
    let again = handle.start_instance(&ctx(), &counter, Some(id(1)), Value::empty_map());
    assert_eq!(again.unwrap_err().code(), "already_exists");
    assert!(handle.get(&ctx(), id(9)).unwrap().is_none());
    handle.shutdown(Duration::ZERO).unwrap();
    let (handle, _) = bench.start_with(Options { finished_max: 1, ..Options::default() });
    assert!(handle.get(&ctx(), id(1)).unwrap().is_some());
    assert!(bench.log.checkpoint().unwrap().is_some());
}

#[test]
fn a_slow_watcher_is_dropped_and_a_quick_one_sees_all() {
    let bench = Bench::new(Reaction::Hang);
    let (handle, _) = bench.start_with(Options { steps_per_second: None, ..Options::default() });
    let id = handle.start_instance(&ctx(), &machine(COUNTER), None, Value::empty_map()).unwrap().id;
    let slow = handle.watch(&ctx(), Some(id)).unwrap();
    let quick = handle.watch(&ctx(), None).unwrap();
    for round in 0..traaviis_runtime::limits::WATCH_MAX + 10 {
        handle.send(&ctx(), id, "bump", Value::Null, None).unwrap();
        let change = quick.next_timeout(PATIENCE).unwrap();
        assert_eq!(number(&change.snapshot), Some(round as i64 + 1));
        assert!(!change.records.is_empty());
    }
    let mut seen = 0;
    while slow.next().is_some() {
        seen += 1;
    }
    assert_eq!(seen, traaviis_runtime::limits::WATCH_MAX);
}

#[test]
fn nothing_new_is_taken_after_a_shutdown() {
    let bench = Bench::new(Reaction::Hang);
    let (handle, _) = bench.start();
    let counter = machine(COUNTER);
    let id = handle.start_instance(&ctx(), &counter, None, Value::empty_map()).unwrap().id;
    handle.clone().shutdown(Duration::from_secs(1)).unwrap();
    let sent = handle.send(&ctx(), id, "bump", Value::Null, None);
    assert_eq!(sent.unwrap_err().code(), "stopping");
}

#[test]
fn an_instance_that_failed_goes_on_after_a_restart() {
    let mut bench = Bench::new(Reaction::Hang);
    bench.connector.set_class(DeliveryClass::OtherWrite);
    let (handle, _) = bench.start();
    let payment =
        handle.start_instance(&ctx(), &machine(PAYMENT), None, Value::empty_map()).unwrap().id;
    handle.send(&ctx(), payment, "ask", Value::Null, Some("e1".into())).unwrap();
    handle.shutdown(Duration::ZERO).unwrap();
    let (handle, _) = bench.start();
    let asks =
        handle.wait_for(&ctx(), payment, |it| !it.incidents.is_empty(), PATIENCE).unwrap().unwrap();
    let incident = &asks.incidents[0];
    let (tree, path) = (incident.tree, incident.path.clone());
    handle.resolve(&ctx(), payment, tree, path.clone(), Resolution::Fail, None).unwrap();
    let failed = handle.get(&ctx(), payment).unwrap().unwrap();
    assert_eq!(failed.status, Status::Failed);
    handle.shutdown(Duration::ZERO).unwrap();
    // The checkpoint knows it in short only.
    let (handle, report) = bench.start();
    assert_eq!((report.instances, report.finished), (0, 1));
    let open = handle.retry(&ctx(), payment, Retry::default()).unwrap();
    assert_eq!(open.status, Status::Incident, "the question is open again");
    let again = handle.retry(&ctx(), payment, Retry::default()).unwrap_err();
    assert_eq!(again.code(), "invalid_state");
    let filter = |ended| Filter { ended: Some(ended), ..Filter::default() };
    assert_eq!(handle.list(&ctx(), &filter(true)).unwrap().len(), 0);
    assert_eq!(handle.list(&ctx(), &filter(false)).unwrap().len(), 1);
    // Recovery finds it from the record alone: the checkpoint has only the end.
    bench.log = Arc::new(bench.log.after_crash());
    let (handle, report) = bench.start();
    assert_eq!((report.instances, report.finished), (1, 0));
    let known = handle.send(&ctx(), payment, "ask", Value::Null, Some("e1".into())).unwrap();
    assert!(known.replayed);
    let happened = Resolution::Happened(Value::Int(9));
    handle.resolve(&ctx(), payment, tree, path, happened, None).unwrap();
    let ended = handle.wait_for(&ctx(), payment, |it| it.status.is_finished(), PATIENCE).unwrap();
    assert_eq!(ended.unwrap().output.as_i64(), Some(9));
}

#[test]
fn a_fork_is_an_instance_like_any_other_and_begins_with_a_limited_history() {
    let mut bench = Bench::new(Reaction::Hang);
    let (handle, _) = bench.start();
    let counter =
        handle.start_instance(&ctx(), &machine(COUNTER), None, Value::empty_map()).unwrap().id;
    handle.send(&ctx(), counter, "bump", Value::Null, Some("e1".into())).unwrap();
    let fork = |id| Fork {
        id,
        at: None,
        reason: None,
        results: Results::Recorded,
        patch: Vec::new(),
        paused: false,
    };
    let forked = handle.fork(&ctx(), counter, fork).unwrap();
    assert_eq!(
        (number(&forked), number(&handle.get(&ctx(), counter).unwrap().unwrap())),
        (Some(1), Some(1))
    );
    // What the original has taken, the fork has taken.
    let accepted = handle.send(&ctx(), forked.id, "bump", Value::Null, Some("e1".into())).unwrap();
    assert!(accepted.replayed);
    handle.send(&ctx(), forked.id, "bump", Value::Null, Some("e2".into())).unwrap();
    bench.log = Arc::new(bench.log.after_crash());
    let (handle, report) = bench.start();
    assert_eq!(report.instances, 2);
    let found = handle.get(&ctx(), forked.id).unwrap().unwrap();
    assert_eq!(
        (number(&found), found.forked_from.as_ref().map(|it| it.id)),
        (Some(2), Some(counter))
    );
    let large = Value::from("x".repeat(1_000_000));
    for _ in 0..FORK_BYTES_MAX / 1_000_000 + 1 {
        handle.send(&ctx(), counter, "bump", large.clone(), None).unwrap();
    }
    let refused = handle.fork(&ctx(), counter, fork).unwrap_err();
    assert_eq!(refused.code(), "payload_too_large");
}

#[test]
fn a_definition_whose_place_in_the_log_is_taken_is_refused() {
    let bench = Bench::new(Reaction::Hang);
    let (handle, _) = bench.start();
    let (counter, keyed) = (machine(COUNTER), machine(KEYED));
    // Ids can be chosen; this one is where the other definition would stand.
    let taken = definition_stream(&keyed.definition().hash);
    handle.start_instance(&ctx(), &counter, Some(taken), Value::empty_map()).unwrap();
    let input = || Value::map([("ref", Value::from("r1"))]);
    let refused = handle.start_instance(&ctx(), &keyed, None, input()).unwrap_err();
    assert_eq!(refused.code(), "already_exists", "{refused}");
    let upgrade = handle.upgrade(&ctx(), taken, &keyed).unwrap_err();
    assert_eq!(upgrade.code(), "already_exists", "{upgrade}");
    assert!(handle.list(&ctx(), &Filter::default()).unwrap().len() == 1);
    // Nothing else is held up, and another tenant has its own place.
    handle.start_instance(&ctx(), &counter, None, Value::empty_map()).unwrap();
    handle.start_instance(&TenantCtx::for_test(2), &keyed, None, input()).unwrap();
}

#[test]
fn an_answer_shows_the_state_of_its_own_step() {
    let bench = Bench::new(Reaction::Ok(Value::Int(7)));
    let (handle, _) = bench.start();
    let id = handle.start_instance(&ctx(), &machine(COUNTER), None, Value::empty_map()).unwrap().id;
    for n in 1..60 {
        // A second change may be taken before the first is told.
        handle.command_then(&ctx(), id, bump(), Box::new(|_| ()));
        let accepted = handle.command(&ctx(), id, bump()).unwrap();
        handle.command_then(&ctx(), id, bump(), Box::new(|_| ()));
        assert_eq!(accepted.snapshot.seq, accepted.seq);
        assert_eq!(number(&accepted.snapshot), Some(3 * n - 1));
    }
}

fn bump() -> Command {
    Command::Event { event: "bump".into(), data: Value::Null, id: None }
}

const SEALED: &str = r#"
traaviis: "1"
name: Sealed
version: 1.0.0
initial: paying
plugins: [{use: redaction, with: {mode: hash}}]
events: {said: {}}
data: {initial: {said: null}}
states:
  paying:
    on: {said: {actions: [{assign: {said: "${event.data}"}}]}}
    invoke: [{id: pay, effect: {type: call, function: pay, redact: {out: tokenise}}, onDone: paid}]
  paid: {type: final, output: "${result}"}
"#;

/// Has a key when it is told to.
#[derive(Default)]
struct Purse(AtomicBool, AtomicUsize);

impl RedactionKeys for Purse {
    fn redaction_key(&self, _: &TenantCtx) -> Result<RedactionKey, SecretError> {
        self.1.fetch_add(1, Ordering::SeqCst);
        match self.0.load(Ordering::SeqCst) {
            true => Ok(RedactionKey::of_previews()),
            false => Err(SecretError::Unreachable("the root key is away".into())),
        }
    }
}

#[test]
fn without_the_key_nothing_is_taken_and_what_has_begun_waits() {
    let bench = Bench::new(Reaction::Hang);
    bench.connector.set_class(DeliveryClass::OtherWrite);
    let purse = Arc::new(Purse::default());
    let start = || bench.start_with(Options { keys: purse.clone(), ..Options::default() }).0;
    let (sealed, counter) = (machine(SEALED), machine(COUNTER));
    let handle = start();
    let begin = |handle: &Handle| handle.start_instance(&ctx(), &sealed, None, Value::empty_map());
    let refused = begin(&handle).unwrap_err();
    assert_eq!((refused.code(), refused.is_retryable()), ("redaction_key_missing", true));
    // Who needs no key does not miss it.
    handle.start_instance(&ctx(), &counter, None, Value::empty_map()).unwrap();
    purse.0.store(true, Ordering::SeqCst);
    let id = begin(&handle).unwrap().id;
    let asked = purse.1.load(Ordering::SeqCst);
    let said = Value::from("ann@example.com");
    let told = handle.send(&ctx(), id, "said", said.clone(), None).unwrap();
    assert!(told.snapshot.data.to_json().contains("[EMAIL#"), "{}", told.snapshot.data);
    assert_eq!(purse.1.load(Ordering::SeqCst), asked, "it is remembered");
    handle.shutdown(Duration::ZERO).unwrap();

    // The attempt has no outcome, which the next process would record.
    purse.0.store(false, Ordering::SeqCst);
    let handle = start();
    let waits = handle.get(&ctx(), id).unwrap().unwrap();
    let refused = handle.send(&ctx(), id, "said", said.clone(), None).unwrap_err();
    assert_eq!(refused.code(), "redaction_key_missing");
    assert_eq!(handle.get(&ctx(), id).unwrap().unwrap().seq, waits.seq);
    assert!(waits.incidents.is_empty());
    purse.0.store(true, Ordering::SeqCst);
    bench.pass(&handle, KEY_RETRY);
    let asks = handle.wait_for(&ctx(), id, |it| !it.incidents.is_empty(), PATIENCE);
    let incident = &asks.unwrap().unwrap().incidents[0];
    let (tree, path, happened) = (incident.tree, incident.path.clone(), Resolution::Happened(said));
    let ended = handle.resolve(&ctx(), id, tree, path, happened, None).unwrap().snapshot;
    assert!(ended.output.to_json().starts_with("\"[EMAIL:"), "{}", ended.output);
    let mut lines = Vec::new();
    handle.history(&ctx(), id).unwrap().iter().for_each(|it| it.write_line(&mut lines));
    assert!(!String::from_utf8_lossy(&lines).contains("ann@"));
}

const PARENT: &str = r#"
traaviis: "1"
name: Parent
version: 1.0.0
initial: working
states:
  working:
    invoke: [{id: raise, effect: {type: spawn_fsm, workflow: Sealed}, onDone: done}]
  done: {type: final}
"#;

#[test]
fn a_child_without_its_key_is_born_once_there_is_one() {
    let bench = Bench::new(Reaction::Hang);
    let purse = Arc::new(Purse::default());
    let library = Arc::new(Known(vec![machine(SEALED)]));
    let keys = purse.clone();
    let (handle, _) = bench.start_with(Options { keys, library, ..Options::default() });
    let parent =
        handle.start_instance(&ctx(), &machine(PARENT), None, Value::empty_map()).unwrap().id;
    let asked = || purse.1.load(Ordering::SeqCst);
    let begun = std::time::Instant::now();
    while asked() == 0 {
        assert!(begun.elapsed() < PATIENCE, "nobody asked for the key");
        std::thread::sleep(Duration::from_millis(1));
    }
    let waits = handle.get(&ctx(), parent).unwrap().unwrap();
    assert_eq!(waits.state(), "working");
    purse.0.store(true, Ordering::SeqCst);
    bench.pass(&handle, KEY_RETRY);
    let done = handle.wait_for(&ctx(), parent, |it| it.status.is_finished(), PATIENCE).unwrap();
    assert_eq!(done.unwrap().status, Status::Completed);
    assert_eq!(handle.list(&ctx(), &Filter::default()).unwrap().len(), 2);
}
