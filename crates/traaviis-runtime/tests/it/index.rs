//! The index beside a runtime: lists show what callers were told, whatever was drained, and it can
//! be lost, behind, ahead or broken.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use traaviis_model::{InstanceId, TenantCtx, Value, record::Status};
use traaviis_ports::{
    Index, IndexError, LogStore, Position,
    index::{Query, Row},
};
use traaviis_runtime::{
    Committed, Handle, Options,
    index::{
        overlay::{Overlay, row_of},
        rebuild,
    },
};
use traaviis_testkit::{connector::Reaction, memory_index::MemoryIndex};

use crate::{
    runtime::Bench,
    support::{COUNTER, ctx, machine},
};

struct Indexed {
    bench: Bench,
    index: Arc<MemoryIndex>,
    given_up: Arc<AtomicUsize>,
}

impl Indexed {
    fn new() -> Indexed {
        let (bench, index) = (Bench::new(Reaction::Hang), Arc::default());
        Indexed { bench, index, given_up: Arc::default() }
    }

    fn start(&self) -> (Handle, traaviis_runtime::RecoveryReport) {
        self.start_with(Options::default())
    }

    fn start_with(&self, options: Options) -> (Handle, traaviis_runtime::RecoveryReport) {
        let given_up = Arc::clone(&self.given_up);
        self.bench.start_with(Options {
            shards: 2,
            index: Some(self.index.clone()),
            on_index_given_up: Arc::new(move |_| {
                given_up.fetch_add(1, Ordering::SeqCst);
            }),
            ..options
        })
    }

    /// Starts counters and ends every second one.
    fn work(&self, handle: &Handle, count: usize) -> Vec<InstanceId> {
        let counter = machine(COUNTER);
        let begin = |at: usize| {
            let id = handle.start_instance(&ctx(), &counter, None, Value::empty_map()).unwrap().id;
            if at.is_multiple_of(2) {
                handle.send(&ctx(), id, "close", Value::Null, None).unwrap();
            }
            id
        };
        (0..count).map(begin).collect()
    }

    /// Checks that the index, after a drain, holds the fold of the log.
    fn check_rows(&self) {
        let again = MemoryIndex::default();
        let rebuilt = rebuild(&*self.bench.log, &again, &mut |_| ()).unwrap();
        assert_eq!(self.index.rows(), again.rows());
        assert_eq!(self.index.position(), Ok(rebuilt.position));
        assert_eq!(rebuilt.instances, again.rows().len() as u64);
    }
}

fn all() -> Query {
    Query { limit: 100, ..Query::default() }
}

fn ids(rows: &[Row]) -> Vec<InstanceId> {
    rows.iter().map(|it| it.id).collect()
}

#[test]
fn a_list_shows_what_a_caller_was_told_before_any_drain() {
    let indexed = Indexed::new();
    let (handle, _) = indexed.start();
    let mut begun = indexed.work(&handle, 9);
    let ended = Query { statuses: vec![Status::Completed], ..all() };
    assert_eq!(handle.page(&ctx(), &ended).unwrap().len(), 5);
    begun.sort();
    begun.reverse();
    assert_eq!(ids(&handle.page(&ctx(), &all()).unwrap()), begun, "newest first");
    let row = handle.row(&ctx(), begun[0]).unwrap().unwrap();
    assert!(row.first.is_some() && row.first < Some(row.last), "{row:?}");
    assert!(handle.page(&TenantCtx::for_test(2), &all()).unwrap().is_empty());
}

#[test]
fn pages_neither_repeat_nor_miss_while_instances_move() {
    let indexed = Indexed::new();
    let (handle, _) = indexed.start();
    let begun = indexed.work(&handle, 20);
    let (mut query, mut seen) = (Query { limit: 3, ..all() }, Vec::new());
    loop {
        let page = handle.page(&ctx(), &query).unwrap();
        seen.extend(ids(&page));
        query.after = page.last().map(|it| it.id);
        if page.len() < query.limit {
            break;
        }
        handle.send(&ctx(), begun[1], "bump", Value::Null, None).unwrap();
        // New ones come before the first page.
        indexed.work(&handle, 1);
        if seen.len() == 9 {
            handle.checkpoint().unwrap();
        }
    }
    let mut expected = begun;
    expected.reverse();
    assert_eq!(seen, expected);
}

#[test]
fn a_checkpoint_is_never_ahead_of_the_index() {
    let indexed = Indexed::new();
    let (handle, _) = indexed.start();
    indexed.work(&handle, 7);
    let position = handle.checkpoint().unwrap();
    assert!(indexed.index.position().unwrap() >= position);
    indexed.check_rows();
}

#[test]
fn a_start_reads_only_what_the_index_misses() {
    let indexed = Indexed::new();
    let (handle, _) = indexed.start();
    indexed.work(&handle, 6);
    handle.checkpoint().unwrap();
    indexed.work(&handle, 6);
    // The process dies: what was not drained is gone, and perhaps what was not synced.
    drop(handle);
    indexed.index.cut_power();
    let (handle, report) = indexed.start();
    assert_eq!(report.index_rebuilt, None);
    indexed.check_rows();
    drop(handle);
}

#[test]
fn an_index_that_is_lost_or_behind_is_made_again() {
    let indexed = Indexed::new();
    let (handle, _) = indexed.start();
    indexed.work(&handle, 6);
    handle.checkpoint().unwrap();
    drop(handle);
    indexed.index.clear().unwrap();
    let (handle, report) = indexed.start();
    assert_eq!(
        report.index_rebuilt,
        Some("it is missing, of another release, or behind the checkpoint")
    );
    indexed.check_rows();
    drop(handle);
    indexed.index.put(&mut std::iter::empty(), Position::MAX).unwrap();
    let (_handle, report) = indexed.start();
    assert_eq!(report.index_rebuilt, Some("it is ahead of the log"));
    indexed.check_rows();
}

#[test]
fn an_index_that_fails_stops_nothing() {
    let indexed = Indexed::new();
    let (handle, _) = indexed.start();
    indexed.index.fail(Some(IndexError::Damaged("a test says so".into())));
    indexed.work(&handle, 4);
    handle.checkpoint().unwrap();
    assert_eq!(indexed.given_up.load(Ordering::SeqCst), 1);
    assert!(handle.page(&ctx(), &all()).is_err(), "a list that may miss something is none");
    indexed.work(&handle, 4);
    drop(handle);
    // It fails at the start as well: told, and no more.
    let (handle, report) = indexed.start();
    assert!(report.index_failed.is_some());
    assert_eq!(indexed.given_up.load(Ordering::SeqCst), 2);
    indexed.work(&handle, 1);
    drop(handle);
    indexed.index.fail(None);
    let (_handle, report) = indexed.start();
    assert!(report.index_rebuilt.is_some());
    indexed.check_rows();
}

#[test]
fn a_full_disk_is_waited_for() {
    let indexed = Indexed::new();
    let (handle, _) = indexed.start();
    indexed.work(&handle, 4);
    indexed.index.fail(Some(IndexError::Full));
    assert_eq!(handle.checkpoint().unwrap_err().code(), "storage_full");
    indexed.index.fail(None);
    indexed.work(&handle, 2);
    handle.checkpoint().unwrap();
    assert_eq!(indexed.given_up.load(Ordering::SeqCst), 0);
    indexed.check_rows();
}

#[test]
fn what_is_being_drained_stays_visible() {
    let indexed = Indexed::new();
    let (handle, _) = indexed.start();
    let watch = handle.watch(&ctx(), None).unwrap();
    indexed.work(&handle, 2);
    let told: Vec<Arc<Committed>> = std::iter::from_fn(|| watch.try_next()).collect();
    let last = told.last().unwrap();
    let (mut overlay, index) = (Overlay::default(), MemoryIndex::default());
    let list = |overlay: &Overlay| {
        ids(&overlay.recent(ctx().tenant()).list(&index, &ctx(), &all()).unwrap())
    };
    told.iter().for_each(|it| overlay.note(it));
    let before = list(&overlay);
    assert_eq!(before.len(), 2);
    let changes = overlay.begin_drain();
    assert_eq!(list(&overlay), before);
    overlay.undo_drain();
    assert_eq!((list(&overlay), overlay.load().records > 0), (before.clone(), true));
    drop(changes);
    let changes = overlay.begin_drain();
    index.put(&mut changes.rows(), last.position).unwrap();
    assert_eq!(list(&overlay), before, "in both, shown once");
    overlay.end_drain();
    assert_eq!((list(&overlay), overlay.load()), (before, Default::default()));
    let row = index.get(&ctx(), last.snapshot.id).unwrap().unwrap();
    assert_eq!(row, row_of(&last.snapshot, row.first, last.position - 1));
    assert!(indexed.bench.log.tail() >= last.position);
}

#[test]
fn what_memory_has_forgotten_is_found_by_the_index() {
    let indexed = Indexed::new();
    let (handle, _) = indexed.start_with(Options { finished_max: 2, ..Options::default() });
    let counter = machine(COUNTER);
    let begun = indexed.work(&handle, 12);
    let known = |handle: &Handle| {
        let state = |id: &InstanceId| handle.get(&ctx(), *id).unwrap().unwrap();
        begun.iter().map(|it| state(it).status.is_finished()).collect::<Vec<_>>()
    };
    let expected: Vec<bool> = (0..12).map(|at| at % 2 == 0).collect();
    assert_eq!(known(&handle), expected, "waiting for the index");
    handle.checkpoint().unwrap();
    assert_eq!(known(&handle), expected, "in the index");
    let again = handle.start_instance(&ctx(), &counter, Some(begun[0]), Value::empty_map());
    assert_eq!(again.unwrap_err().code(), "already_exists");
    assert_eq!(indexed.bench.log.reads(), 0, "none of it needs the log");
}
