//! What every commit log promises, as tests that run against any of them.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use traaviis_model::{InstanceId, Seq, TenantCtx};
use traaviis_ports::{Append, Commit, CommitSink, LogError, LogStore, Position};
use uuid::Uuid;

/// How long an outcome may take before the test fails.
const OUTCOME_WAIT: Duration = Duration::from_secs(20);

/// A log and how to close and open it.
pub trait LogStoreUnderTest {
    /// Returns the log.
    fn log(&self) -> &dyn LogStore;
    /// Ends the log properly and opens it on the same data.
    fn reopen(self: Box<Self>) -> Box<dyn LogStoreUnderTest>;
}

/// A sink that keeps outcomes in the order they were told.
#[derive(Default)]
pub struct Outcomes {
    told: Mutex<Vec<(u64, Commit)>>,
    more: Condvar,
}

impl Outcomes {
    /// Makes an empty one.
    pub fn new() -> Arc<Outcomes> {
        Arc::default()
    }

    /// Waits until `count` outcomes were told and returns all of them.
    pub fn wait(&self, count: usize) -> Vec<(u64, Commit)> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.more.wait_timeout_while(told, OUTCOME_WAIT, |told| told.len() < count);
        let told = waited.unwrap_or_else(PoisonError::into_inner).0;
        assert!(told.len() >= count, "only {} of {count} outcomes were told", told.len());
        told.clone()
    }
}

impl CommitSink for Outcomes {
    fn committed(&self, outcomes: &mut dyn Iterator<Item = (u64, Commit)>) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).extend(outcomes);
        self.more.notify_all();
    }
}

/// Returns the id of a test's stream.
pub fn stream(number: u128) -> InstanceId {
    InstanceId(Uuid::from_u128(number))
}

/// Returns record lines as the log wants them; `text` goes into each.
pub fn lines(ctx: &TenantCtx, stream: InstanceId, first: Seq, count: u32, text: &str) -> Vec<u8> {
    let tenant = ctx.tenant();
    let line = |seq| {
        format!(
            "{{\"tenant_id\":\"{tenant}\",\"instance_id\":\"{stream}\",\"seq\":{seq},\"text\":\"{text}\"}}\n"
        )
    };
    (first..first + Seq::from(count)).map(line).collect::<String>().into_bytes()
}

/// Returns an append of `count` records.
pub fn append(ctx: &TenantCtx, stream: InstanceId, first_seq: Seq, count: u32) -> Append {
    let lines = lines(ctx, stream, first_seq, count, "record");
    let lines = lines.into();
    Append { stream, first_seq, count, lines, ends_stream: false, known_to: 0, subject: None }
}

/// Appends and waits for the outcome.
pub fn commit(log: &dyn LogStore, ctx: &TenantCtx, append: Append) -> Commit {
    let outcomes = Outcomes::new();
    let sink: Arc<dyn CommitSink> = outcomes.clone();
    log.append(ctx, append, &sink, 7);
    let (token, commit) = outcomes.wait(1).remove(0);
    assert_eq!(token, 7);
    commit
}

/// Returns all records as text, with their positions checked to be dense.
pub fn scanned(log: &dyn LogStore, from: Position) -> Vec<String> {
    let mut lines = Vec::new();
    let mut next = from;
    let end = log.scan(from, &mut |line| {
        assert_eq!(line.position, next);
        next += 1;
        lines.push(String::from_utf8_lossy(line.bytes).into_owned());
    });
    assert_eq!(end.expect("scan"), next);
    lines
}

fn seqs(log: &dyn LogStore, ctx: &TenantCtx, of: InstanceId, from: Seq, limit: usize) -> Vec<Seq> {
    let lines = log.read(ctx, of, from, limit).expect("read");
    let seq = |line: &Vec<u8>| {
        assert!(!line.contains(&b'\n'));
        let json: serde_json::Value = serde_json::from_slice(line).expect("a line is JSON");
        assert_eq!(json["instance_id"], of.to_string());
        json["seq"].as_u64().expect("a line has a number")
    };
    lines.iter().map(seq).collect()
}

type Make<'a> = &'a mut dyn FnMut() -> Box<dyn LogStoreUnderTest>;

/// Runs the whole contract; `make` gives a fresh, empty log each time.
pub fn run(make: Make<'_>) {
    an_append_is_all_or_nothing(&*make());
    numbers_are_dense(&*make());
    a_wrong_number_is_refused(&*make());
    a_malformed_append_is_refused(&*make());
    reading_takes_ranges(&*make());
    scanning_goes_in_order_of_commit(&*make());
    the_tail_follows_outcomes(&*make());
    checkpoints_come_back(make());
    outcomes_come_in_order(&*make());
    tenants_do_not_see_each_other(&*make());
    everything_survives_reopening(make());
    ended_and_seeded_streams_are_known(make());
    ended_streams_go_on_after_what_the_caller_knows(make());
}

fn an_append_is_all_or_nothing(test: &dyn LogStoreUnderTest) {
    let (log, ctx) = (test.log(), TenantCtx::for_test(1));
    assert_eq!(commit(log, &ctx, append(&ctx, stream(1), 1, 3)).expect("commit"), 3);
    let refused = commit(log, &ctx, append(&ctx, stream(1), 3, 4));
    assert!(matches!(refused, Err(LogError::SeqMismatch { last: 3, first: 3, .. })), "{refused:?}");
    assert_eq!(seqs(log, &ctx, stream(1), 1, 100), [1, 2, 3]);
    assert_eq!(scanned(log, 0).len(), 3);
}

fn numbers_are_dense(test: &dyn LogStoreUnderTest) {
    let (log, ctx) = (test.log(), TenantCtx::for_test(1));
    let mut next = 1;
    for count in [1, 2, 5, 1] {
        commit(log, &ctx, append(&ctx, stream(1), next, count)).expect("commit");
        next += Seq::from(count);
    }
    assert_eq!(seqs(log, &ctx, stream(1), 1, 100), (1..next).collect::<Vec<_>>());
}

fn a_wrong_number_is_refused(test: &dyn LogStoreUnderTest) {
    let (log, ctx) = (test.log(), TenantCtx::for_test(1));
    let unknown = commit(log, &ctx, append(&ctx, stream(1), 2, 1));
    assert!(matches!(unknown, Err(LogError::SeqMismatch { last: 0, first: 2, .. })), "{unknown:?}");
    commit(log, &ctx, append(&ctx, stream(1), 1, 2)).expect("commit");
    for first in [1, 2, 4, 0] {
        let refused = commit(log, &ctx, append(&ctx, stream(1), first, 1));
        let Err(LogError::SeqMismatch { last: 2, first: told, .. }) = refused else {
            panic!("{first}: {refused:?}");
        };
        assert_eq!(told, first);
    }
    commit(log, &ctx, append(&ctx, stream(1), 3, 1)).expect("commit");
}

fn a_malformed_append_is_refused(test: &dyn LogStoreUnderTest) {
    let (log, ctx) = (test.log(), TenantCtx::for_test(1));
    let good = append(&ctx, stream(1), 1, 2);
    let more = Append { count: 3, ..good.clone() };
    let none = Append { count: 0, lines: Vec::new().into(), ..good.clone() };
    let lines = good.lines.written();
    let half = lines[..(lines.len() - 1) / 2].to_vec();
    let cut = Append { lines: half.into(), count: 1, ..good.clone() };
    for malformed in [more, none, cut] {
        let refused = commit(log, &ctx, malformed);
        assert!(matches!(refused, Err(LogError::Refused(_))), "{refused:?}");
    }
    commit(log, &ctx, good).expect("commit");
}

fn reading_takes_ranges(test: &dyn LogStoreUnderTest) {
    let (log, ctx) = (test.log(), TenantCtx::for_test(1));
    for first in [1, 4, 7] {
        commit(log, &ctx, append(&ctx, stream(1), first, 3)).expect("commit");
        commit(log, &ctx, append(&ctx, stream(2), first, 3)).expect("commit");
    }
    assert_eq!(seqs(log, &ctx, stream(1), 1, 2), [1, 2]);
    assert_eq!(seqs(log, &ctx, stream(1), 3, 3), [3, 4, 5]);
    assert_eq!(seqs(log, &ctx, stream(1), 8, 100), [8, 9]);
    assert_eq!(seqs(log, &ctx, stream(1), 10, 100), [0; 0]);
    assert_eq!(seqs(log, &ctx, stream(1), 1, 0), [0; 0]);
    assert_eq!(seqs(log, &ctx, stream(3), 1, 100), [0; 0]);
}

fn scanning_goes_in_order_of_commit(test: &dyn LogStoreUnderTest) {
    let (log, ctx) = (test.log(), TenantCtx::for_test(1));
    let mut expected = String::new();
    for (number, first, count) in [(1, 1, 2), (2, 1, 1), (1, 3, 1), (3, 1, 3), (2, 2, 1)] {
        let append = append(&ctx, stream(number), first, count);
        expected.push_str(&String::from_utf8_lossy(append.lines.written()));
        commit(log, &ctx, append).expect("commit");
    }
    let expected: Vec<&str> = expected.lines().collect();
    for from in 0..=expected.len() {
        assert_eq!(scanned(log, from as Position), expected[from..]);
    }
}

fn the_tail_follows_outcomes(test: &dyn LogStoreUnderTest) {
    let (log, ctx) = (test.log(), TenantCtx::for_test(1));
    assert_eq!(log.tail(), 0);
    for number in 1..=20 {
        let position = commit(log, &ctx, append(&ctx, stream(number), 1, 2)).expect("commit");
        assert_eq!(position, number as Position * 2);
        assert!(log.tail() <= position);
        // The outcome is told first; the tail follows on the log's own time.
        let waited = (0..2_000).any(|_| {
            std::thread::sleep(Duration::from_micros(u64::from(log.tail() != position) * 500));
            log.tail() == position
        });
        assert!(waited);
    }
}

fn checkpoints_come_back(test: Box<dyn LogStoreUnderTest>) {
    let ctx = TenantCtx::for_test(1);
    assert_eq!(test.log().checkpoint().expect("checkpoint"), None);
    for number in 1..=5 {
        commit(test.log(), &ctx, append(&ctx, stream(number), 1, 3)).expect("commit");
    }
    assert!(test.log().put_checkpoint(16, b"ahead").is_err());
    for (position, body) in [(0, "none"), (4, "inside a step"), (15, "all")] {
        test.log().put_checkpoint(position, body.as_bytes()).expect("put");
        let expected = Some((position, body.as_bytes().to_vec()));
        assert_eq!(test.log().checkpoint().expect("checkpoint"), expected);
    }
    let test = test.reopen();
    assert_eq!(test.log().checkpoint().expect("checkpoint"), Some((15, b"all".to_vec())));
    assert_eq!(scanned(test.log(), 0).len(), 15);
    test.log().seed(&mut [(ctx.tenant(), stream(1), 3)].into_iter());
    assert!(commit(test.log(), &ctx, append(&ctx, stream(1), 1, 1)).is_err());
    assert_eq!(commit(test.log(), &ctx, append(&ctx, stream(2), 4, 1)).expect("looked up"), 16);
}

fn outcomes_come_in_order(test: &dyn LogStoreUnderTest) {
    let (log, ctx) = (test.log(), TenantCtx::for_test(1));
    let outcomes = [Outcomes::new(), Outcomes::new()];
    let sinks: [Arc<dyn CommitSink>; 2] = [outcomes[0].clone(), outcomes[1].clone()];
    for token in 0..600 {
        // Every seventh is refused; runs of three go to the same sink.
        let first = if token % 7 == 6 { 5 } else { 1 };
        let append = append(&ctx, stream(u128::from(token) + 1), first, 1);
        log.append(&ctx, append, &sinks[(token / 3 % 2) as usize], token);
    }
    let mut positions = Vec::new();
    for (which, outcomes) in outcomes.iter().enumerate() {
        let told = outcomes.wait(300);
        let expected: Vec<u64> = (0..600).filter(|token| token / 3 % 2 == which as u64).collect();
        assert_eq!(told.iter().map(|(token, _)| *token).collect::<Vec<_>>(), expected);
        for (token, commit) in told {
            assert_eq!(commit.is_err(), token % 7 == 6, "{token}: {commit:?}");
            positions.extend(commit);
        }
    }
    positions.sort_unstable();
    assert_eq!(positions, (1..=positions.len() as Position).collect::<Vec<_>>());
}

fn tenants_do_not_see_each_other(test: &dyn LogStoreUnderTest) {
    let (log, one, two) = (test.log(), TenantCtx::for_test(1), TenantCtx::for_test(2));
    commit(log, &one, append(&one, stream(1), 1, 3)).expect("commit");
    assert_eq!(seqs(log, &two, stream(1), 1, 100), [0; 0]);
    // The same id elsewhere is another stream, and says nothing about this one.
    let refused = commit(log, &two, append(&two, stream(1), 4, 1));
    assert!(matches!(refused, Err(LogError::SeqMismatch { last: 0, .. })), "{refused:?}");
    commit(log, &two, append(&two, stream(1), 1, 1)).expect("commit");
    assert_eq!(seqs(log, &one, stream(1), 1, 100), [1, 2, 3]);
    assert_eq!(seqs(log, &two, stream(1), 1, 100), [1]);
}

fn everything_survives_reopening(mut test: Box<dyn LogStoreUnderTest>) {
    let ctx = TenantCtx::for_test(1);
    for round in 0..4 {
        let first = round * 2 + 1;
        commit(test.log(), &ctx, append(&ctx, stream(1), first, 2)).expect("commit");
        let before = scanned(test.log(), 0);
        test = test.reopen();
        assert_eq!(scanned(test.log(), 0), before);
        assert_eq!(test.log().tail(), before.len() as Position);
        assert!(commit(test.log(), &ctx, append(&ctx, stream(1), first, 1)).is_err());
    }
}

fn ended_and_seeded_streams_are_known(test: Box<dyn LogStoreUnderTest>) {
    let (log, ctx) = (test.log(), TenantCtx::for_test(1));
    let end = Append { ends_stream: true, ..append(&ctx, stream(1), 1, 2) };
    commit(log, &ctx, end).expect("commit");
    // Nothing is remembered of it, so the number is looked up.
    let refused = commit(log, &ctx, append(&ctx, stream(1), 5, 1));
    assert!(matches!(refused, Err(LogError::SeqMismatch { last: 2, .. })), "{refused:?}");
    assert_eq!(seqs(log, &ctx, stream(1), 1, 100), [1, 2]);
    log.seed(&mut [(ctx.tenant(), stream(2), 8)].into_iter());
    let refused = commit(log, &ctx, append(&ctx, stream(2), 1, 1));
    assert!(matches!(refused, Err(LogError::SeqMismatch { last: 8, .. })), "{refused:?}");
    commit(log, &ctx, append(&ctx, stream(2), 9, 1)).expect("commit");
}

fn ended_streams_go_on_after_what_the_caller_knows(test: Box<dyn LogStoreUnderTest>) {
    let (log, ctx) = (test.log(), TenantCtx::for_test(1));
    let part = |first, known_to| Append {
        ends_stream: true,
        known_to,
        subject: None,
        ..append(&ctx, stream(1), first, 1)
    };
    let one = commit(log, &ctx, part(1, 0)).expect("commit");
    commit(log, &ctx, append(&ctx, stream(2), 1, 1)).expect("commit");
    commit(log, &ctx, part(2, one)).expect("commit");
    // Whoever read before that is late.
    let refused = commit(log, &ctx, part(2, one));
    assert!(matches!(refused, Err(LogError::SeqMismatch { last: 2, .. })), "{refused:?}");
    commit(log, &ctx, part(3, log.tail())).expect("commit");
    assert_eq!(seqs(log, &ctx, stream(1), 1, 100), [1, 2, 3]);
}
