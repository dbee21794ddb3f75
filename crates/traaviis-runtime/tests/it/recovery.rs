//! Restarts: what recovery finds equals what was there.

use std::{
    sync::{Arc, Mutex, mpsc::channel},
    time::Instant,
};

use traaviis_model::{Snapshot, Span, TenantCtx, Value, record::Record};
use traaviis_ports::{Append, Commit, CommitSink, LogStore};
use traaviis_runtime::{
    Error,
    checkpoint::{self, Instances},
    owner::{Collected, Key, Message, Owner, Settings},
    recovery::{Recovery, RecoveryReport},
};
use traaviis_testkit::memory_log::MemoryLog;

use crate::support::{
    COUNTER, Outside, PAYMENT, World, answer, code, ctx, event, event_with_id, id, machine,
};

/// Takes outcomes of appends that are known to succeed.
#[derive(Default)]
struct Told(Mutex<Vec<Commit>>);

impl CommitSink for Told {
    fn committed(&self, outcomes: &mut dyn Iterator<Item = (u64, Commit)>) {
        self.0.lock().unwrap().extend(outcomes.map(|(_, outcome)| outcome));
    }
}

/// Writes records to a log as they stand.
fn write(log: &MemoryLog, ctx: &TenantCtx, records: &[Record]) {
    let told = Arc::new(Told::default());
    let sink: Arc<dyn CommitSink> = told.clone();
    for record in records {
        let mut lines = Vec::new();
        record.write_line(&mut lines);
        let stream = record.header.instance_id;
        let first_seq = record.header.seq;
        log.append(
            ctx,
            Append {
                stream,
                first_seq,
                count: 1,
                lines: lines.into(),
                ends_stream: false,
                known_to: 0,
                subject: None,
            },
            &sink,
            0,
        );
    }
    let told = told.0.lock().unwrap();
    assert!(told.iter().all(Result::is_ok), "{told:?}");
}

fn recover(log: &MemoryLog) -> (Owner, Outside, RecoveryReport) {
    let recovery = Recovery::read(log, 1_000, &[], &[]).unwrap();
    let (mut parts, report) = recovery.divide(1, &|_: &Key| 0);
    (Owner::new(Settings::default(), parts.remove(0)), Outside::default(), report)
}

/// Some counters and payments in every state.
fn busy_world() -> World {
    let mut world = World::new();
    let (counter, payment) = (machine(COUNTER), machine(PAYMENT));
    for number in 1..=6 {
        world.start(if number % 2 == 0 { &payment } else { &counter }, id(number));
        world.commit_all();
    }
    world.command(id(1), event_with_id("bump", "e1"));
    world.command(id(3), event("wait"));
    world.command(id(5), event("close"));
    world.commit_all();
    world.outcome(Ok(Value::Int(3)));
    world.commit_all();
    world
}

fn collected(
    owner: &mut Owner,
    outside: &mut Outside,
    now: traaviis_model::Timestamp,
) -> Collected {
    let (sender, receiver) = channel();
    owner.handle(Message::Collect(sender), now, outside);
    receiver.recv().unwrap()
}

fn texts(collected: &Collected) -> Vec<String> {
    let open = collected
        .instances
        .iter()
        .map(|(it, ids)| format!("{} {ids:?}", String::from_utf8_lossy(&it.canonical())));
    let ended = collected.finished.iter().map(|it| format!("{it:?}"));
    let definitions = collected.definitions.iter().map(|it| format!("{it:?}"));
    let mut all: Vec<String> = open.chain(ended).chain(definitions).collect();
    all.sort();
    all
}

#[test]
fn recovery_equals_live() {
    let mut world = busy_world();
    let log = MemoryLog::new();
    write(&log, &ctx(), &world.records);
    let live = texts(&collected(&mut world.owner, &mut world.outside, world.now));
    let (mut owner, mut outside, report) = recover(&log);
    assert_eq!((report.instances, report.finished, report.definitions), (4, 2, 2));
    assert_eq!(texts(&collected(&mut owner, &mut outside, world.now)), live);
}

#[test]
fn a_checkpoint_at_any_position_gives_the_same() {
    let mut world = busy_world();
    let body = checkpoint::write(
        &[collected(&mut world.owner, &mut world.outside, world.now)],
        false,
        Instances::Inside,
        &MemoryLog::new(),
    )
    .unwrap();
    let live = texts(&collected(&mut world.owner, &mut world.outside, world.now));
    // The content may be newer than its position, by any number of records.
    for position in 0..=world.records.len() {
        let log = MemoryLog::new();
        write(&log, &ctx(), &world.records);
        log.put_checkpoint(position as u64, &body).unwrap();
        let (mut owner, mut outside, report) = recover(&log);
        assert!(report.faults.is_empty(), "{position}: {report:?}");
        let found = texts(&collected(&mut owner, &mut outside, world.now));
        assert_eq!(found, live, "checkpoint at {position}");
    }
}

#[test]
fn an_attempt_without_outcome_is_unknown_and_tried_again_with_its_key() {
    let mut world = World::new();
    world.start(&machine(PAYMENT), id(1));
    world.commit_all();
    let key = world.outside.calls[0].1.key.clone();
    let log = MemoryLog::new();
    write(&log, &ctx(), &world.records);
    (world.owner, world.outside, _) = recover(&log);
    let class = |_: &TenantCtx, _: &str, _: &Value| traaviis_model::DeliveryClass::KeyedWrite;
    world.owner.resume(&class, world.now, &mut world.outside);
    assert!(world.outside.calls.is_empty());
    let steps = world.commit_all();
    assert!(steps[0].starts_with("effect_unknown"), "{steps:?}");
    let call = &world.outside.calls[0].1;
    assert_eq!((&call.key, call.id.attempt), (&key, 2));
}

#[test]
fn a_timer_that_fell_due_while_nothing_ran_fires_at_once() {
    let mut world = busy_world();
    let log = MemoryLog::new();
    write(&log, &ctx(), &world.records);
    (world.owner, world.outside, _) = recover(&log);
    world.now = world.now.plus(Span::secs(3_600));
    let class = |_: &TenantCtx, _: &str, _: &Value| traaviis_model::DeliveryClass::KeyedWrite;
    world.owner.resume(&class, world.now, &mut world.outside);
    let steps = world.commit_all();
    assert!(steps.iter().any(|it| it.starts_with("timer_fired")), "{steps:?}");
}

#[test]
fn a_repeated_event_is_known_after_a_restart() {
    let mut world = busy_world();
    let log = MemoryLog::new();
    write(&log, &ctx(), &world.records);
    (world.owner, world.outside, _) = recover(&log);
    let again = world.command(id(1), event_with_id("bump", "e1"));
    assert_eq!(code(&again), "ok");
    assert!(world.outside.appends.is_empty());
}

#[test]
fn a_damaged_history_does_not_stop_the_others() {
    let world = busy_world();
    let log = MemoryLog::new();
    // Record 2 of instance 1 is gone: the transition into its first state.
    for record in &world.records {
        if record.header.instance_id == id(1) && record.header.seq == 2 {
            continue;
        }
        let mut record = record.clone();
        // The log itself would refuse the gap, so the stream is written under another number.
        let stream = record.header.instance_id;
        let at = record.header.seq;
        if stream == id(1) && at > 2 {
            let mut lines = Vec::new();
            record.write_line(&mut lines);
            record.header.seq = at - 1;
            let sink: Arc<dyn CommitSink> = Arc::new(Told::default());
            let append = Append {
                stream,
                first_seq: at - 1,
                count: 1,
                lines: lines.into(),
                ends_stream: false,
                known_to: 0,
                subject: None,
            };
            log.append(&ctx(), append, &sink, 0);
            continue;
        }
        write(&log, &ctx(), &[record]);
    }
    let (owner, outside, report) = recover(&log);
    assert_eq!(report.faults.len(), 1);
    let mut world = World { owner, outside, ..World::new() };
    let damaged = world.command(id(1), event("bump"));
    assert_eq!(code(&damaged), "history_broken");
    let whole = world.command(id(3), event("bump"));
    world.commit_all();
    assert_eq!(code(&whole), "ok");
    // The fault outlives the records that showed it.
    let body = checkpoint::write(
        &[collected(&mut world.owner, &mut world.outside, world.now)],
        false,
        Instances::Inside,
        &MemoryLog::new(),
    )
    .unwrap();
    log.put_checkpoint(log.tail(), &body).unwrap();
    let (_, _, report) = recover(&log);
    assert_eq!(report.faults.len(), 1);
}

#[test]
fn what_only_the_checkpoint_knows_is_set_aside() {
    let mut world = busy_world();
    let body = checkpoint::write(
        &[collected(&mut world.owner, &mut world.outside, world.now)],
        false,
        Instances::Inside,
        &MemoryLog::new(),
    )
    .unwrap();
    // An older copy of the log under a newer checkpoint: the last record is gone.
    let held = world.records.len() - 1;
    let lost = &world.records[held];
    let (stream, seq) = (lost.header.instance_id, lost.header.seq);
    let log = MemoryLog::new();
    write(&log, &ctx(), &world.records[..held]);
    let (from, position) = (held as u64, held as u64 + 1);
    let gap = from..position;
    let found = traaviis_runtime::faults(
        &log,
        (position, body.as_slice()),
        std::slice::from_ref(&gap),
        None,
    )
    .unwrap();
    let told = format!(
        "records {seq} to {seq} of its history are missing: the log has lost positions {from} to \
         {from}, its checkpoint at position {position} counts on them"
    );
    let told_of = |it: &traaviis_runtime::Fault| (it.id, it.seq, it.message.to_string());
    assert_eq!(found.iter().map(told_of).collect::<Vec<_>>(), [(stream, seq - 1, told)]);
    assert!(traaviis_runtime::faults(&log, (from, body.as_slice()), &[], None).unwrap().is_empty());
}

#[test]
fn an_instance_without_its_definition_is_shown_and_takes_nothing() {
    let world = busy_world();
    let counter = machine(COUNTER).definition().hash;
    let log = MemoryLog::new();
    let kept: Vec<Record> = world
        .records
        .iter()
        .filter(|it| it.body.kind() != "document_put" || it.header.definition_hash != counter)
        .cloned()
        .collect();
    write(&log, &ctx(), &kept);
    let (owner, outside, report) = recover(&log);
    assert_eq!(report.definitions_missing, [id(1), id(3)]);
    let mut world = World { owner, outside, ..World::new() };
    let sent = world.command(id(1), event("bump"));
    assert_eq!(code(&sent), "definition_missing");
    let (found, reply) = answer();
    world.handle(Message::Find { ctx: ctx(), id: id(1), reply });
    assert_eq!(code(&found), "ok");
    world.pass(Span::secs(3_600));
    assert!(world.outside.appends.is_empty());
}

#[test]
fn a_record_of_another_tenant_stops_the_start() {
    let world = busy_world();
    let log = MemoryLog::new();
    let mut records = world.records.clone();
    let last = records.iter_mut().rev().find(|it| it.header.instance_id == id(3)).unwrap();
    let stranger = TenantCtx::for_test(2);
    last.header.tenant_id = stranger.tenant();
    write(&log, &ctx(), &records);
    assert!(matches!(Recovery::read(&log, 10, &[], &[]), Err(Error::TenantMismatch { .. })));
}

#[test]
fn ended_instances_are_remembered_up_to_a_limit() {
    let mut world = World::with(Settings { finished_max: 2, ..Settings::default() });
    let counter = machine(COUNTER);
    for number in 1..=3 {
        world.start(&counter, id(number));
        world.commit_all();
        world.command(id(number), event("close"));
        world.commit_all();
    }
    let kept = collected(&mut world.owner, &mut world.outside, world.now);
    let ids: Vec<_> = kept.finished.iter().map(|it| it.id).collect();
    assert_eq!(ids, [id(2), id(3)]);
}

/// Recovery of many waiting instances; prints its time, asserts only that it is not absurd.
#[test]
fn many_waiting_instances_recover_quickly() {
    let count: u128 = match std::env::var("RECOVERY_INSTANCES") {
        Ok(text) => text.parse().unwrap(),
        Err(_) => 2_000,
    };
    let mut world = World::new();
    let counter = machine(COUNTER);
    for number in 1..=count {
        world.start(&counter, id(number));
        world.commit_all();
        world.command(id(number), event("wait"));
        world.commit_all();
    }
    let log = MemoryLog::new();
    write(&log, &ctx(), &world.records);
    let begun = Instant::now();
    let (mut owner, mut outside, report) = recover(&log);
    let took = begun.elapsed();
    println!("{count} instances, {} records: {took:?}", report.records);
    assert_eq!(report.instances as u128, count);
    let body = checkpoint::write(
        &[collected(&mut owner, &mut outside, world.now)],
        false,
        Instances::Inside,
        &MemoryLog::new(),
    )
    .unwrap();
    log.put_checkpoint(log.tail(), &body).unwrap();
    let begun = Instant::now();
    let (_owner, _, report) = recover(&log);
    println!("from a checkpoint of {} bytes: {:?}", body.len(), begun.elapsed());
    assert_eq!((report.instances as u128, report.records), (count, 0));
    assert!(took.as_secs() < 60, "{took:?}");
}

#[test]
fn folding_the_history_gives_the_state() {
    let world = busy_world();
    let records: Vec<&Record> =
        world.records.iter().filter(|it| it.header.instance_id == id(3)).collect();
    let folded = Snapshot::fold(records).unwrap().unwrap();
    assert_eq!(folded.canonical(), world.snapshot(id(3)).canonical());
}
