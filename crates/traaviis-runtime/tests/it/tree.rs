//! The document tree behind a runtime, on a simulated disk: it shows what the log says, whatever
//! crashes, is changed by hand or runs full.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use traaviis_model::{
    InstanceId, Seq, TenantCtx, TenantId, Value,
    limits::TREE_FILE_RECORDS,
    record::{Operation, TaskAct},
};
use traaviis_ports::{
    Append, CommitSink, Line, LogError, LogStore, Position, Tree, TreeError, disk::Disk as _,
    tree::Notice,
};
use traaviis_runtime::{
    Command, Error, Handle, Options,
    limits::{TREE_AGE_MAX, TREE_PENDING_BYTES_MAX, TREE_REST},
    past::Past,
    tree::{
        Answers, News, Policy, TreeOptions,
        projector::{Open, Projector, Which, World},
        show_all,
        states::FromLog,
    },
};
use traaviis_store::tree::{DiskTree, Found, Verifier};
use traaviis_testkit::{
    connector::Reaction,
    disk::{Fault, SimDisk},
    memory_log::MemoryLog,
};

use crate::{
    runtime::Bench,
    support::{COUNTER, PAYMENT, ctx, machine},
};

const REVIEW: &str = r#"
traaviis: "1"
name: Review
version: 1.0.0
initial: review
states:
  review:
    invoke:
      - id: ask
        effect: {type: human_task, title: Well?, outcomes: [good, bad]}
        onDone: {target: done}
        onError: {target: late}
  done: {type: final}
  late: {type: final}
"#;

const DATA: &str = "/data";
/// Directories fan out beyond so many entries, so that few instances make them do so.
const ENTRIES: Option<usize> = Some(4);

fn tree_on(disk: &SimDisk) -> DiskTree<SimDisk> {
    DiskTree::on(disk.clone(), Path::new(DATA), ENTRIES)
}

/// Everything on a disk but what stands aside.
pub fn files(disk: &SimDisk) -> BTreeMap<PathBuf, String> {
    let is_ours = |it: &PathBuf| {
        let name = it.file_name().unwrap_or_default().to_string_lossy().into_owned();
        !name.starts_with('.') && !name.contains(".damaged-")
    };
    let read = |it: PathBuf| {
        let bytes = disk.bytes(&it).unwrap_or_default();
        (it, String::from_utf8_lossy(&bytes).into_owned())
    };
    disk.paths().into_iter().filter(is_ours).map(read).collect()
}

/// Compares the files of two disks; a difference is told by the names alone.
pub fn assert_same(
    left: &BTreeMap<PathBuf, String>,
    right: &BTreeMap<PathBuf, String>,
    when: &str,
) {
    let names = left.keys().chain(right.keys());
    let differ: BTreeSet<&PathBuf> = names.filter(|it| left.get(*it) != right.get(*it)).collect();
    let side = |files: &BTreeMap<PathBuf, String>, it: &PathBuf| files.contains_key(it);
    let differ: Vec<_> =
        differ.iter().map(|it| (it.display(), side(left, it), side(right, it))).collect();
    assert!(differ.is_empty(), "{when}: {differ:#?}");
}

pub fn find(disk: &SimDisk, part: &str) -> PathBuf {
    let paths = disk.paths();
    let found = paths.iter().find(|it| it.to_string_lossy().contains(part));
    found.unwrap_or_else(|| panic!("no {part} among {paths:#?}")).clone()
}

pub fn compare(log: &dyn LogStore, disk: &SimDisk, repairs: bool) -> Found {
    let verifier = Verifier::new(tree_on(disk), repairs);
    let shown = show_all(log, &verifier, &|_| ()).unwrap();
    verifier.finish(shown.position, &shown.damaged).unwrap()
}

/// The tree of a log, made at once.
pub fn made(log: &dyn LogStore) -> SimDisk {
    let disk = SimDisk::new(1);
    compare(log, &disk, true);
    disk
}

/// Runs instances of every kind and ends some; returns positions on the way.
fn work(bench: &Bench) -> Vec<Position> {
    let (handle, _) = bench.start_with(Options::default());
    let [counter, payment, review] = [COUNTER, PAYMENT, REVIEW].map(machine);
    let mut stages = Vec::new();
    let mut open = Vec::new();
    for at in 0..9 {
        let id = handle.start_instance(&ctx(), &counter, None, Value::empty_map()).unwrap().id;
        open.push(id);
        handle.start_instance(&ctx(), &payment, None, Value::empty_map()).unwrap();
        let asked = handle.start_instance(&ctx(), &review, None, Value::empty_map()).unwrap();
        if at % 2 == 0 {
            handle.send(&ctx(), id, "bump", Value::Null, None).unwrap();
        }
        stages.push(bench.log.tail());
        // Every third is closed.
        if (at / 2) % 3 != 0 {
            handle.send(&ctx(), open[at / 2], "bump", Value::Null, None).unwrap();
        }
        if at % 3 == 0 {
            handle.send(&ctx(), id, "close", Value::Null, None).unwrap();
            let (tree, path, _) = asked.snapshot.open_tasks().next().unwrap();
            let (outcome, form, comment) = ("good".into(), Value::Null, None);
            let act = TaskAct::Decide { outcome, form, comment };
            let operation = Operation::Task { tree, path: path.clone(), act };
            handle.operate(&ctx(), asked.id, operation).unwrap();
        }
        stages.push(bench.log.tail());
    }
    handle.shutdown(Duration::ZERO).unwrap();
    stages.push(bench.log.tail());
    stages
}

/// A log as it was when it ended sooner.
pub struct Prefix<'a> {
    pub log: &'a MemoryLog,
    pub end: Position,
}

impl LogStore for Prefix<'_> {
    fn append(&self, _: &TenantCtx, _: Append, _: &Arc<dyn CommitSink>, _: u64) {
        unreachable!("the tree appends nothing");
    }

    fn read(
        &self,
        ctx: &TenantCtx,
        stream: InstanceId,
        from: Seq,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, LogError> {
        self.log.read(ctx, stream, from, limit)
    }

    fn scan(&self, from: Position, visit: &mut dyn FnMut(Line<'_>)) -> Result<Position, LogError> {
        self.log.scan(from, &mut |line| {
            if line.position < self.end {
                visit(line);
            }
        })?;
        Ok(self.end)
    }

    fn tail(&self) -> Position {
        self.end
    }

    fn seed(&self, _: &mut dyn Iterator<Item = (TenantId, InstanceId, Seq)>) {}

    fn put_checkpoint(&self, _: Position, _: &[u8]) -> Result<(), LogError> {
        Ok(())
    }

    fn checkpoint(&self) -> Result<Option<(Position, Vec<u8>)>, LogError> {
        Ok(None)
    }
}

/// Feeds a tree stage by stage; between the stages, time for some to rest passes now and then.
pub fn feed(log: &Arc<MemoryLog>, stages: &[Position], disk: &SimDisk) -> Result<(), Error> {
    let tree = tree_on(disk);
    let position = tree.position().map_err(Error::Tree)?;
    let mut projector = Projector::new(Policy::Lazy, Open::Shown, position);
    let mut states = FromLog(Past::of(log.clone()));
    let millis = Cell::new(0);
    for (at, end) in stages.iter().enumerate() {
        let prefix = Prefix { log, end: *end };
        let mut world = World {
            log: &prefix,
            tree: &tree,
            states: &mut states,
            now: &|| Duration::from_millis(millis.get()),
            rest: &|_| true,
            writing: &Mutex::new(()),
            tell: &|_| (),
        };
        projector.round(&mut world)?;
        millis.set(millis.get() + 700);
        if at + 1 == stages.len() {
            projector.write(&mut world, Which::All)?;
        }
    }
    Ok(())
}

#[test]
fn a_tree_that_was_fed_is_the_tree_made_at_once() {
    let bench = Bench::new(Reaction::Ok(Value::Int(7)));
    let stages = work(&bench);
    let (fed, made) = (SimDisk::new(7), made(&*bench.log));
    feed(&bench.log, &stages, &fed).unwrap();
    let (fed_files, made_files) = (files(&fed), files(&made));
    assert_same(&fed_files, &made_files, "fed and made");
    assert_eq!(compare(&*bench.log, &fed, false).count(), 0);
    // Every kind of document is there.
    for part in [
        "/tree/index.json",
        "/tree/progress.json",
        "/workflows/Counter/",
        "/workflows/definitions/Payment/1.0.0.json",
        "/events/Review/",
        "/000001.jsonl",
        "/tasks/",
    ] {
        find(&fed, part);
    }
    // Six tasks are open, three are answered.
    let tasks = fed_files.keys().filter(|it| it.to_string_lossy().contains("/tasks/"));
    assert_eq!(tasks.count(), 6);
}

#[test]
fn a_crash_at_any_call_leaves_a_tree_that_is_completed() {
    let bench = Bench::new(Reaction::Ok(Value::Int(7)));
    let stages = work(&bench);
    let expected = files(&made(&*bench.log));
    let calls = {
        let disk = SimDisk::new(1);
        feed(&bench.log, &stages, &disk).unwrap();
        disk.calls()
    };
    assert!(calls > 300, "{calls} calls are too few to mean anything");
    for call in 1..=calls {
        let disk = SimDisk::new(call);
        disk.fail_at(call, Fault::Crash);
        let crashed = feed(&bench.log, &stages, &disk);
        assert!(crashed.is_err() && disk.is_crashed(), "call {call}");
        disk.restart();
        feed(&bench.log, &stages, &disk).unwrap();
        assert_same(&files(&disk), &expected, &format!("crash at call {call}"));
        let found = compare(&*bench.log, &disk, false);
        assert_eq!((found.count(), found.set_aside), (0, 0), "crash at call {call}: {found:?}");
    }
}

#[test]
fn a_crash_is_mended_by_a_comparison_as_well() {
    let bench = Bench::new(Reaction::Ok(Value::Int(7)));
    let stages = work(&bench);
    let expected = files(&made(&*bench.log));
    for call in (1..300).step_by(7) {
        let disk = SimDisk::new(call);
        disk.fail_at(call, Fault::Crash);
        feed(&bench.log, &stages, &disk).unwrap_err();
        disk.restart();
        compare(&*bench.log, &disk, true);
        assert_same(&files(&disk), &expected, &format!("crash at call {call}"));
    }
}

#[test]
fn a_call_that_fails_is_made_again() {
    let bench = Bench::new(Reaction::Ok(Value::Int(7)));
    let stages = work(&bench);
    let expected = files(&made(&*bench.log));
    for (step, fault) in [(5, Fault::Enospc), (11, Fault::Eio), (13, Fault::ShortWrite)] {
        for call in (1..400).step_by(step) {
            let disk = SimDisk::new(call);
            disk.fail_at(call, fault);
            let fed = feed(&bench.log, &stages, &disk);
            match (fault, fed) {
                (Fault::Enospc, Err(Error::Tree(TreeError::Full)))
                | (Fault::Eio, Err(Error::Tree(TreeError::Failed(_))))
                | (Fault::ShortWrite, Ok(())) => {}
                (_, other) => panic!("{fault:?} at call {call} gave {other:?}"),
            }
            // The same process goes on, and so does the next.
            feed(&bench.log, &stages, &disk).unwrap();
            assert_same(&files(&disk), &expected, &format!("{fault:?} at call {call}"));
        }
    }
}

#[test]
fn what_was_changed_by_hand_is_told_and_made_again() {
    let bench = Bench::new(Reaction::Ok(Value::Int(7)));
    work(&bench);
    let disk = made(&*bench.log);
    let expected = files(&disk);
    let change = |path: &Path, from: &str, to: &str| {
        let text = String::from_utf8(disk.bytes(path).unwrap()).unwrap();
        assert!(text.contains(from), "{text}");
        disk.set_bytes(path, text.replacen(from, to, 1).into_bytes());
    };
    change(&find(&disk, "/workflows/Counter/"), "\"n\":", "\"n\":1");
    change(&find(&disk, "/events/Payment/"), "charge", "refund");
    let task = find(&disk, "/tasks/");
    let told = DiskTree::on(disk.clone(), Path::new(DATA), ENTRIES);
    disk.set_bytes(&task, b"{}".to_vec());
    disk.set_bytes(&find(&disk, "/tree/").with_file_name("notes.txt"), b"mine".to_vec());
    let strange = find(&disk, "/workflows/Review/")
        .with_file_name("00000000-0000-0000-0000-00000000dead.json");
    disk.set_bytes(&strange, b"{}".to_vec());
    assert!(told.exists());
    let words = |found: &Found| -> Vec<(&'static str, u64)> {
        found.counts.iter().map(|(what, count)| (what.as_str(), *count)).collect()
    };
    let found = compare(&*bench.log, &disk, false);
    assert_eq!(words(&found), [("changed", 3), ("unexpected", 1)], "{found:#?}");
    assert_eq!(found.others, 1);
    assert!(found.differences.iter().all(|it| !it.is_repaired));
    let found = compare(&*bench.log, &disk, true);
    assert_eq!(words(&found), [("changed", 3), ("unexpected", 1)], "{found:#?}");
    let found = compare(&*bench.log, &disk, false);
    assert_eq!((found.count(), found.set_aside, found.others), (0, 4, 1), "{found:#?}");
    let mut now = files(&disk);
    now.retain(|path, _| !path.ends_with("notes.txt"));
    assert_same(&now, &expected, "made again");
}

#[test]
fn what_is_missing_or_behind_is_made_again() {
    let bench = Bench::new(Reaction::Ok(Value::Int(7)));
    let stages = work(&bench);
    let expected = files(&made(&*bench.log));
    let disk = SimDisk::new(3);
    feed(&bench.log, &stages[..6], &disk).unwrap();
    let found = compare(&*bench.log, &disk, false);
    assert!(
        found.counts.keys().all(|it| ["missing", "behind", "unexpected"].contains(&it.as_str()))
    );
    assert!(found.count() > 20, "{found:#?}");
    compare(&*bench.log, &disk, true);
    assert_same(&files(&disk), &expected, "made again");
}

#[test]
fn fields_of_other_releases_survive() {
    let bench = Bench::new(Reaction::Ok(Value::Int(7)));
    let stages = work(&bench);
    let disk = SimDisk::new(3);
    feed(&bench.log, &stages[..4], &disk).unwrap();
    let path = find(&disk, "/workflows/Counter/");
    let text = String::from_utf8(disk.bytes(&path).unwrap()).unwrap();
    let noted = text.replacen("  \"body\"", "  \"note\": {\"by\": [1.0, \"me\"]},\n  \"body\"", 1);
    disk.set_bytes(&path, noted.into_bytes());
    feed(&bench.log, &stages, &disk).unwrap();
    // Its directory has been divided since.
    let name = path.file_name().unwrap();
    let is_it = |it: &&PathBuf| it.starts_with("/data") && it.ends_with(name);
    let kept = files(&disk)[disk.paths().iter().find(is_it).unwrap()].clone();
    assert_ne!(kept, text, "it has not been written since");
    assert!(kept.contains("\n  \"note\": {\"by\": [1.0, \"me\"]},\n"), "{kept}");
    assert_eq!(compare(&*bench.log, &disk, false).count(), 0);
}

#[test]
fn a_newer_tree_is_refused_and_a_newer_document_left() {
    let bench = Bench::new(Reaction::Ok(Value::Int(7)));
    let stages = work(&bench);
    let disk = SimDisk::new(3);
    feed(&bench.log, &stages[..4], &disk).unwrap();
    let newer = |path: &Path| {
        let text = String::from_utf8(disk.bytes(path).unwrap()).unwrap();
        // A newer format says so twice.
        let text = text.replacen("\"format\": 1", "\"format\": 2", 1);
        let text = text.replacen("\"checksum\": \"", "\"checksum\": \"2:", 1);
        disk.set_bytes(path, text.clone().into_bytes());
        text
    };
    let document = find(&disk, "/workflows/definitions/Counter/");
    let left = newer(&document);
    feed(&bench.log, &stages, &disk).unwrap();
    compare(&*bench.log, &disk, true);
    assert_eq!(files(&disk)[&document], left);
    newer(&find(&disk, "/tree/progress.json"));
    let before = files(&disk);
    let refused = feed(&bench.log, &stages, &disk);
    let Err(Error::Tree(error @ TreeError::Newer { found: 2, known: 1, .. })) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(error.code(), "data_format_newer");
    assert_eq!(files(&disk), before);
}

#[test]
fn long_histories_are_kept_in_several_files_and_gaps_are_filled() {
    let bench = Bench::new(Reaction::Hang);
    let (handle, _) = bench.start_with(Options { steps_per_second: None, ..Options::default() });
    let counter = machine(COUNTER);
    let id = handle.start_instance(&ctx(), &counter, None, Value::empty_map()).unwrap().id;
    let bump = || {
        handle.send(&ctx(), id, "bump", Value::Null, None).unwrap();
        bench.log.tail()
    };
    let last = || handle.get(&ctx(), id).unwrap().unwrap().seq;
    let mut stages = Vec::new();
    while last() < 2 * TREE_FILE_RECORDS + 5 {
        let end = bump();
        if end % 5_000 < 3 {
            stages.push(end);
        }
    }
    stages.push(bench.log.tail());
    let disk = SimDisk::new(3);
    feed(&bench.log, &stages, &disk).unwrap();
    let text = |name: &str| String::from_utf8(disk.bytes(&find(&disk, name)).unwrap()).unwrap();
    for (file, lines) in [("000001.jsonl", TREE_FILE_RECORDS), ("000002.jsonl", TREE_FILE_RECORDS)]
    {
        assert_eq!(text(file).lines().count() as u64, lines, "{file}");
    }
    let records = bench.log.read(&ctx(), id, 1, usize::MAX).unwrap().concat();
    let whole = ["000001.jsonl", "000002.jsonl", "000003.jsonl"].map(text).concat();
    assert_eq!(whole.replace('\n', ""), String::from_utf8(records).unwrap());
    // Somebody removed a part; the next record finds that out.
    let cut = text("000003.jsonl").lines().take(2).collect::<Vec<_>>().join("\n") + "\n";
    disk.set_bytes(&find(&disk, "000003.jsonl"), cut.into_bytes());
    stages.push(bump());
    feed(&bench.log, &stages, &disk).unwrap();
    assert_eq!(compare(&*bench.log, &disk, false).count(), 0);
}

/// One look of a projector at a log, some time after its start.
fn look(projector: &mut Projector, log: &Arc<MemoryLog>, disk: &SimDisk, now: Duration) {
    let (tree, mut states) = (tree_on(disk), FromLog(Past::of(log.clone())));
    let mut world = World {
        log: &**log,
        tree: &tree,
        states: &mut states,
        now: &|| now,
        rest: &|_| true,
        writing: &Mutex::new(()),
        tell: &|_| (),
    };
    projector.round(&mut world).unwrap();
}

#[test]
fn what_waits_has_a_limit_in_bytes() {
    let bench = Bench::new(Reaction::Hang);
    let (handle, _) = bench.start_with(Options::default());
    let counter = machine(COUNTER);
    let id = handle.start_instance(&ctx(), &counter, None, Value::empty_map()).unwrap().id;
    let disk = SimDisk::new(3);
    let mut projector = Projector::new(Policy::Lazy, Open::Shown, 0);
    let large = Value::map([("note", Value::from("x".repeat(900_000).as_str()))]);
    let mut sent = 0;
    while projector.position() <= 1 {
        assert!(sent < 2 * TREE_PENDING_BYTES_MAX, "nothing was written");
        handle.send(&ctx(), id, "bump", large.clone(), None).unwrap();
        sent += 900_000;
        look(&mut projector, &bench.log, &disk, Duration::ZERO);
    }
    assert!(sent > TREE_PENDING_BYTES_MAX - 1_000_000, "{sent} bytes are few");
    find(&disk, &format!("/workflows/Counter/{id}.json"));
}

#[test]
fn an_instance_is_shown_when_it_rests_and_when_it_never_does() {
    let bench = Bench::new(Reaction::Hang);
    let (handle, _) = bench.start_with(Options::default());
    let counter = machine(COUNTER);
    let begin = || handle.start_instance(&ctx(), &counter, None, Value::empty_map()).unwrap().id;
    let (busy, quiet) = (begin(), begin());
    let disk = SimDisk::new(3);
    let shows = |id: InstanceId| {
        disk.paths().iter().any(|it| it.ends_with(format!("workflows/Counter/{id}.json")))
    };
    let mut projector = Projector::new(Policy::Lazy, Open::Shown, 0);
    for tenths in (0..=110).step_by(5) {
        let now = Duration::from_millis(100 * tenths);
        handle.send(&ctx(), busy, "bump", Value::Null, None).unwrap();
        look(&mut projector, &bench.log, &disk, now);
        assert_eq!(shows(quiet), now >= TREE_REST, "after {now:?}");
        assert_eq!(shows(busy), now >= TREE_AGE_MAX, "after {now:?}");
    }
}

// --- The thread ----------------------------------------------------------------------------

fn start(bench: &Bench, disk: &SimDisk, policy: Policy) -> (Handle, Arc<Mutex<Vec<News>>>) {
    start_with(bench, disk, policy, Answers::AtOnce)
}

fn start_with(
    bench: &Bench,
    disk: &SimDisk,
    policy: Policy,
    answers: Answers,
) -> (Handle, Arc<Mutex<Vec<News>>>) {
    let news: Arc<Mutex<Vec<News>>> = Arc::default();
    let told = Arc::clone(&news);
    let tree = TreeOptions {
        tree: Arc::new(tree_on(disk)),
        policy: Some(policy),
        answers,
        on_news: Arc::new(move |it| told.lock().unwrap().push(it.clone())),
    };
    let options = Options { shards: 2, tree: Some(tree), ..Options::default() };
    (bench.start_with(options).0, news)
}

/// Waits until something holds; reached only by a defect is the end of patience.
fn until(holds: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it never came to hold");
}

#[test]
fn the_thread_shows_what_rests_and_the_rest_at_the_end() {
    let bench = Bench::new(Reaction::Hang);
    let disk = SimDisk::new(3);
    let (handle, news) = start(&bench, &disk, Policy::Lazy);
    let counter = machine(COUNTER);
    let begin = || handle.start_instance(&ctx(), &counter, None, Value::empty_map()).unwrap().id;
    let ids = [begin(), begin(), begin()];
    until(|| handle.tree().is_some_and(|it| it.lag == 0));
    for id in ids {
        find(&disk, &format!("/workflows/Counter/{id}.json"));
        handle.send(&ctx(), id, "close", Value::Null, None).unwrap();
    }
    begin();
    begin();
    handle.shutdown(Duration::from_secs(1)).unwrap();
    assert_same(&files(&disk), &files(&made(&*bench.log)), "at the end");
    assert_eq!(*news.lock().unwrap(), []);
    // The next process has nothing to do.
    let calls = disk.calls();
    let (handle, _) = start(&bench, &disk, Policy::Eager);
    until(|| handle.tree().is_some_and(|it| it.lag == 0));
    handle.shutdown(Duration::from_secs(1)).unwrap();
    assert_eq!(disk.calls(), calls);
}

#[test]
fn a_full_disk_stops_the_tree_only_and_it_heals_by_itself() {
    let bench = Bench::new(Reaction::Hang);
    let disk = SimDisk::new(3);
    let (handle, news) = start(&bench, &disk, Policy::Eager);
    let counter = machine(COUNTER);
    let begin = || handle.start_instance(&ctx(), &counter, None, Value::empty_map()).unwrap().id;
    begin();
    until(|| handle.tree().is_some_and(|it| it.lag == 0));
    disk.set_space(Some(0));
    let id = begin();
    until(|| handle.tree().is_some_and(|it| it.failing == Some(TreeError::Full)));
    assert!(handle.tree().is_some_and(|it| it.lag > 0));
    handle.send(&ctx(), id, "close", Value::Null, None).unwrap();
    disk.set_space(None);
    until(|| handle.tree().is_some_and(|it| it.lag == 0 && it.failing.is_none()));
    handle.shutdown(Duration::from_secs(1)).unwrap();
    assert_eq!(*news.lock().unwrap(), [News::Failing(TreeError::Full), News::Healed]);
    assert_same(&files(&disk), &files(&made(&*bench.log)), "at the end");
}

#[test]
fn a_tree_of_a_longer_log_stands_aside() {
    let (long, short) = (Bench::new(Reaction::Hang), Bench::new(Reaction::Hang));
    work(&long);
    let disk = made(&*long.log);
    let (handle, news) = start(&short, &disk, Policy::Lazy);
    let counter = machine(COUNTER);
    handle.start_instance(&ctx(), &counter, None, Value::empty_map()).unwrap();
    handle.shutdown(Duration::from_secs(1)).unwrap();
    let aside = format!("{DATA}/tree.stale-1");
    assert_eq!(*news.lock().unwrap(), [News::SetAside(aside.clone())]);
    find(&disk, &aside);
    let mut now = files(&disk);
    now.retain(|path, _| !path.starts_with(&aside));
    assert_same(&now, &files(&made(&*short.log)), "begun anew");
}

// --- Answers that wait for the tree ----------------------------------------------------------

fn answering_shown(bench: &Bench, disk: &SimDisk) -> (Handle, Arc<Mutex<Vec<News>>>) {
    start_with(bench, disk, Policy::Eager, Answers::WhenShown)
}

#[test]
fn who_is_answered_finds_it_in_the_tree_whatever_happens_then() {
    let bench = Bench::new(Reaction::Hang);
    let disk = SimDisk::new(3);
    let (handle, news) = answering_shown(&bench, &disk);
    let counter = machine(COUNTER);
    let id = handle.start_instance(&ctx(), &counter, None, Value::empty_map()).unwrap().id;
    for _ in 0..5 {
        let accepted = handle.send(&ctx(), id, "bump", Value::Null, None).unwrap();
        // The machine loses its power right after the answer.
        let left = disk.copy(accepted.seq);
        left.restart();
        let text = left.bytes(&find(&left, &format!("/workflows/Counter/{id}.json"))).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains(&format!("\"seq\": {},", accepted.seq)), "{text}");
        let events = left.bytes(&find(&left, &format!("/events/Counter/{id}/"))).unwrap();
        let lines = events.split(|it| *it == b'\n').filter(|it| !it.is_empty()).count();
        assert_eq!(lines as u64, accepted.seq);
    }
    handle.shutdown(Duration::from_secs(1)).unwrap();
    assert_eq!(*news.lock().unwrap(), []);
    assert_same(&files(&disk), &files(&made(&*bench.log)), "at the end");
}

#[test]
fn while_the_tree_cannot_be_written_nothing_is_taken_and_nobody_is_told_wrong() {
    let bench = Bench::new(Reaction::Hang);
    let disk = SimDisk::new(3);
    let (handle, news) = answering_shown(&bench, &disk);
    let counter = machine(COUNTER);
    let id = handle.start_instance(&ctx(), &counter, None, Value::empty_map()).unwrap().id;
    disk.set_space(Some(0));
    let (told, answers) = std::sync::mpsc::channel();
    let command = Command::Event { event: "bump".into(), data: Value::Null, id: None };
    let reply = Box::new(move |it: Result<_, Error>| told.send(it.map(drop)).unwrap());
    handle.command_then(&ctx(), id, command, reply);
    until(|| handle.tree().is_some_and(|it| it.failing == Some(TreeError::Full)));
    // It is in the log and not in the tree, and that is what is said, at once.
    let told = answers.recv_timeout(Duration::from_secs(20)).unwrap().unwrap_err();
    assert_eq!(told.code(), "not_shown");
    let tail = bench.log.tail();
    let refused = handle.send(&ctx(), id, "bump", Value::Null, None).unwrap_err();
    assert_eq!(refused.code(), "storage_full");
    let refused = handle.start_instance(&ctx(), &counter, None, Value::empty_map()).unwrap_err();
    assert_eq!(refused.code(), "storage_full");
    assert_eq!(bench.log.tail(), tail, "what was refused is not written");
    disk.set_space(None);
    until(|| handle.tree().is_some_and(|it| it.failing.is_none()));
    let state = handle.get(&ctx(), id).unwrap().unwrap();
    assert!(state.data.to_json().contains('1'), "it counts: {}", state.data.to_json());
    handle.send(&ctx(), id, "close", Value::Null, None).unwrap();
    handle.shutdown(Duration::from_secs(1)).unwrap();
    assert_eq!(*news.lock().unwrap(), [News::Failing(TreeError::Full), News::Healed]);
    assert_same(&files(&disk), &files(&made(&*bench.log)), "at the end");
}

#[test]
fn a_document_is_answered_only_as_the_log_has_it() {
    let bench = Bench::new(Reaction::Hang);
    let disk = SimDisk::new(3);
    let (handle, news) = answering_shown(&bench, &disk);
    let counter = machine(COUNTER);
    let begin = || handle.start_instance(&ctx(), &counter, None, Value::empty_map()).unwrap().id;
    let (id, other) = (begin(), begin());
    let path = find(&disk, &format!("/workflows/Counter/{id}.json"));
    let old = disk.bytes(&path).unwrap();
    handle.send(&ctx(), id, "bump", Value::Null, None).unwrap();
    let real = disk.bytes(&path).unwrap();
    let mut flipped = real.clone();
    let last = flipped.len() - 20;
    flipped[last] ^= 1;
    let of_another = disk.bytes(&find(&disk, &format!("/workflows/Counter/{other}.json"))).unwrap();
    let state = handle.get(&ctx(), id).unwrap().unwrap();
    for (at, wrong) in [flipped, b"{}".to_vec(), old, of_another].into_iter().enumerate() {
        disk.set_bytes(&path, wrong);
        assert_eq!(handle.get(&ctx(), id).unwrap().unwrap(), state, "{at}");
        assert_eq!(disk.bytes(&path).unwrap(), real, "{at}");
        let news = news.lock().unwrap();
        assert_eq!(news.len(), at + 1, "{news:?}");
        assert!(matches!(news[at], News::Met(Notice::Quarantined { .. })), "{news:?}");
    }
    handle.get(&ctx(), other).unwrap().unwrap();
    assert_eq!(news.lock().unwrap().len(), 4);
    // One that is gone is told as well, and made again.
    disk.remove(Path::new(&path)).unwrap();
    assert_eq!(handle.get(&ctx(), id).unwrap().unwrap(), state);
    assert_eq!(disk.bytes(&path).unwrap(), real);
    handle.shutdown(Duration::from_secs(1)).unwrap();
    let news = news.lock().unwrap();
    assert!(matches!(news[4..], [News::Met(Notice::Missing { .. })]), "{news:?}");
}
