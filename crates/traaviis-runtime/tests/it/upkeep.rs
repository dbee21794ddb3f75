//! Upkeep over the log on a real disk, in virtual time: what is due leaves the log, can be read as
//! before, and nothing else changes.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use traaviis_engine::Retry;
use traaviis_model::{
    InstanceId, Record, Snapshot, Span, TenantCtx, Timestamp, Value,
    record::{Status, peek_line},
};
use traaviis_ports::{Index, IndexError, LogStore, index::Query};
use traaviis_runtime::{
    Effort, Error, Handle, Options, Ports, Runtime, Upkept,
    tree::{Answers, Policy, TreeOptions, show_all},
};
use traaviis_store::{
    LocalLog, LocalTree, ReadOnlyLog, SqliteIndex,
    tree::{Found, TREE_DIR, Verifier},
};
use traaviis_testkit::{
    clock::{SimClock, SimIds},
    connector::{Reaction, ScriptedConnector},
    memory_index::MemoryIndex,
};

use crate::support::{COUNTER, ctx, id, machine};

/// A data directory, and the time in it.
struct World {
    dir: tempfile::TempDir,
    clock: Arc<SimClock>,
    ids: Arc<SimIds>,
    is_indexed: bool,
}

/// A runtime in it.
struct Life {
    handle: Handle,
    log: Arc<LocalLog>,
}

impl World {
    fn new(is_indexed: bool) -> World {
        let clock = Arc::new(SimClock::new(Timestamp(1_000_000_000_000_000)));
        World { dir: tempfile::tempdir().unwrap(), clock, ids: Arc::default(), is_indexed }
    }

    fn open(&self) -> Life {
        self.open_shown(None)
    }

    /// The same with a document tree, which is fed if there is a policy.
    fn open_shown(&self, tree: Option<Option<Policy>>) -> Life {
        let index = self.is_indexed.then(|| SqliteIndex::open(self.dir.path()).unwrap().0);
        self.open_with(tree, index.map(|it| Arc::new(it) as Arc<dyn Index>))
    }

    /// The same with this index.
    fn open_with(&self, tree: Option<Option<Policy>>, index: Option<Arc<dyn Index>>) -> Life {
        let options = traaviis_store::Options { segment_bytes: 8 << 10, ..Default::default() };
        let (log, found) = LocalLog::open(self.dir.path(), options).unwrap();
        assert_eq!(found.damage, []);
        let options = Options {
            shards: 2,
            index,
            tree: tree.map(|policy| TreeOptions {
                tree: Arc::new(LocalTree::open(self.dir.path())),
                policy,
                answers: Answers::AtOnce,
                on_news: Arc::new(|news| panic!("{news:?}")),
            }),
            ..Options::default()
        };
        let ports = Ports {
            log: log.clone(),
            clock: self.clock.clone(),
            ids: self.ids.clone(),
            connector: Arc::new(ScriptedConnector::new(Reaction::Hang)),
        };
        let (handle, report) = Runtime::start(options, ports).unwrap();
        assert_eq!(report.faults, []);
        Life { handle, log }
    }

    fn pass(&self, days: i64) {
        self.clock.advance(Span::secs(days * 86_400));
    }

    fn file_of(&self, id: InstanceId) -> PathBuf {
        let tenant = ctx().tenant().to_string();
        let root = self.dir.path().join("tenants").join(tenant).join("archived/instances");
        root.join(format!("{id}.json.gz"))
    }

    /// The files of the document tree.
    fn tree(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let (mut found, mut dirs) = (BTreeMap::new(), vec![self.dir.path().join(TREE_DIR)]);
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path: PathBuf = entry.unwrap().path();
                match path.is_dir() {
                    true => dirs.push(path),
                    false => drop(found.insert(path.clone(), std::fs::read(&path).unwrap())),
                }
            }
        }
        found
    }

    /// Compares the tree with the log; no process holds the directory.
    fn compare_tree(&self, repairs: bool) -> Found {
        let verifier = Verifier::new(LocalTree::open(self.dir.path()), repairs);
        let log = ReadOnlyLog::open(self.dir.path()).unwrap();
        let shown = show_all(&log, &verifier, &|_| ()).unwrap();
        assert_eq!(shown.damaged, []);
        verifier.finish(shown.position, &shown.damaged).unwrap()
    }

    fn without_checkpoints(&self) {
        for entry in std::fs::read_dir(self.dir.path().join("log")).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.extension().is_some_and(|it| it == "checkpoint") {
                std::fs::remove_file(path).unwrap();
            }
        }
    }
}

impl Life {
    fn close(self) {
        self.handle.shutdown(std::time::Duration::from_secs(1)).unwrap();
        self.log.close();
    }

    fn upkeep(&self) -> Upkept {
        self.handle.upkeep(Effort::Full, &mut |_| ()).unwrap()
    }

    /// Starts instances of a document and ends every second one; returns the ended and the open.
    fn work(&self, document: &str, count: usize) -> (Vec<InstanceId>, Vec<InstanceId>) {
        self.work_in(&ctx(), document, count)
    }

    /// The same in a tenant.
    fn work_in(
        &self,
        ctx: &TenantCtx,
        document: &str,
        count: usize,
    ) -> (Vec<InstanceId>, Vec<InstanceId>) {
        let machine = machine(document);
        let begin = |_: usize| {
            let input = Value::empty_map();
            let id = self.handle.start_instance(ctx, &machine, None, input).unwrap().id;
            self.handle.send(ctx, id, "bump", Value::Null, None).unwrap();
            id
        };
        let ids: Vec<InstanceId> = (0..count).map(begin).collect();
        let (ended, open): (Vec<_>, Vec<_>) =
            ids.into_iter().enumerate().partition(|(at, _)| at.is_multiple_of(2));
        let ids = |it: Vec<(usize, InstanceId)>| it.into_iter().map(|it| it.1).collect::<Vec<_>>();
        let (ended, open) = (ids(ended), ids(open));
        for id in &ended {
            self.handle.send(ctx, *id, "close", Value::Null, None).unwrap();
        }
        (ended, open)
    }

    /// Everything that can be asked about instances.
    fn seen(&self, ids: &[InstanceId]) -> BTreeMap<InstanceId, (Vec<Record>, Snapshot)> {
        let look = |id: &InstanceId| {
            let records = self.handle.history(&ctx(), *id).unwrap();
            let state = self.handle.get(&ctx(), *id).unwrap().unwrap();
            assert_eq!(Snapshot::fold(&records).unwrap().as_ref(), Some(&*state));
            (*id, (records, (*state).clone()))
        };
        ids.iter().map(look).collect()
    }
}

/// A log without their records and an index with their rows would show them for ever.
#[test]
fn nothing_is_dropped_before_the_index_has_let_go_of_what_is_archived() {
    let world = World::new(true);
    let index = Arc::new(MemoryIndex::default());
    let life = world.open_with(None, Some(Arc::clone(&index) as Arc<dyn Index>));
    let (ended, open) = life.work(&brief(), 40);
    world.pass(11);
    index.fail(Some(IndexError::Full));
    for _ in 0..2 {
        let refused = life.handle.upkeep(Effort::Full, &mut |_| ());
        assert!(matches!(refused, Err(Error::Index(IndexError::Full))), "{refused:?}");
    }
    assert!(ended.iter().all(|id| world.file_of(*id).is_file()));
    index.fail(None);
    life.upkeep();
    let mut left: Vec<InstanceId> = index.rows().iter().map(|it| it.id).collect();
    left.sort_unstable();
    assert_eq!(left, open);
    // What fails in another way is given up until the next start, and so is what stands behind it.
    let (more, also_open) = life.work(&brief(), 4);
    world.pass(11);
    index.fail(Some(IndexError::Failed("broken".into())));
    for _ in 0..2 {
        let refused = life.handle.upkeep(Effort::Full, &mut |_| ());
        assert!(matches!(refused, Err(Error::Index(_))), "{refused:?}");
    }
    assert!(more.iter().all(|id| world.file_of(*id).is_file()));
    index.fail(None);
    assert!(life.handle.page(&ctx(), &Query { limit: 9, ..Query::default() }).is_err());
    life.close();
    let life = world.open_with(None, Some(Arc::clone(&index) as Arc<dyn Index>));
    life.upkeep();
    let mut left: Vec<InstanceId> = index.rows().iter().map(|it| it.id).collect();
    left.sort_unstable();
    let mut open = [open, also_open].concat();
    open.sort_unstable();
    assert_eq!(left, open);
    life.close();
}

fn brief() -> String {
    format!("{COUNTER}\nretention: {{completed: 10d, archive: 20d}}\n")
}

fn check_life(is_indexed: bool) {
    let world = World::new(is_indexed);
    let life = world.open();
    let (ended, open) = life.work(&brief(), 40);
    let (later, _) = life.work(COUNTER, 10);
    let all = [ended.clone(), open.clone(), later.clone()].concat();
    let before = life.seen(&all);
    world.pass(9);
    assert_eq!(life.upkeep().archived, 0, "nothing is due");
    world.pass(2);
    let first = life.upkeep();
    assert_eq!((first.archived, first.kept, first.deleted), (20, 0, 0));
    assert_eq!(life.seen(&all), before);
    assert!(ended.iter().all(|id| world.file_of(*id).is_file()));
    assert!(!world.file_of(open[0]).exists() && !world.file_of(later[0]).exists());
    if is_indexed {
        let all = Query { limit: 100, ..Query::default() };
        assert_eq!(life.handle.page(&ctx(), &all).unwrap().len(), 30);
    }

    // With work between, so that both kept checkpoints stand behind what is to go.
    let mut dropped = first.compacted.records;
    for _ in 0..4 {
        life.work(&brief(), 30);
        dropped += life.upkeep().compacted.records;
    }
    let count: usize = ended.iter().map(|id| before[id].0.len()).sum();
    assert!(dropped >= count as u64, "{dropped} of {count}");
    assert_eq!(life.seen(&all), before);
    life.close();

    for keeps_checkpoints in [true, false] {
        if !keeps_checkpoints {
            world.without_checkpoints();
        }
        let life = world.open();
        assert_eq!(life.seen(&all), before, "checkpoints: {keeps_checkpoints}");
        let open: Vec<_> = life
            .handle
            .list(&ctx(), &traaviis_runtime::Filter { ended: Some(false), ..Default::default() })
            .unwrap();
        assert!(open.iter().all(|it| !ended.contains(&it.id)), "none is open again");
        life.close();
    }

    let life = world.open();
    world.pass(25);
    // Files go when the log has nothing of their instances any more.
    let mut deleted = life.upkeep().deleted;
    for _ in 0..8 {
        life.work(COUNTER, 30);
        deleted += life.upkeep().deleted;
    }
    assert!(deleted >= 20, "{deleted}");
    assert!(ended.iter().all(|id| !world.file_of(*id).exists()));
    assert_eq!(life.handle.get(&ctx(), ended[0]).unwrap(), None);
    assert_eq!(life.handle.history(&ctx(), ended[0]).unwrap(), []);
    let others = [open, later].concat();
    assert!(others.iter().all(|id| life.seen(&[*id])[id] == before[id]));
    life.close();
    let life = world.open();
    assert!(others.iter().all(|id| life.seen(&[*id])[id] == before[id]));
    life.close();
}

#[test]
fn what_is_due_leaves_and_stays_readable_until_it_is_deleted() {
    check_life(true);
}

#[test]
fn the_same_holds_without_an_index() {
    check_life(false);
}

#[test]
fn what_is_archived_leaves_the_document_tree() {
    for policy in [Some(Policy::Eager), Some(Policy::Lazy), None] {
        let world = World::new(true);
        let life = world.open_shown(Some(Some(Policy::Lazy)));
        let (ended, open) = life.work(&brief(), 8);
        life.close();
        let shows = |id: &InstanceId| {
            // The first of the ids is that of the tenant as well.
            let (name, home) = (id.to_string(), world.dir.path().join(TREE_DIR));
            let home = home.join(ctx().tenant().to_string());
            let tree = world.tree();
            let parts = tree.keys().filter_map(|it| it.strip_prefix(&home).ok());
            parts.filter(|it| it.to_string_lossy().contains(&name)).count()
        };
        assert!(ended.iter().chain(&open).all(|id| shows(id) == 2));
        world.pass(11);
        let life = world.open_shown(Some(policy));
        // Due at once: it is archived before or after the tree shows it, and is not in it then.
        let (late, _) = life.work(&brief().replace("10d", "1s"), 8);
        world.pass(1);
        assert_eq!(life.upkeep().archived, 8);
        let mut dropped = 0;
        for _ in 0..4 {
            life.work(&brief(), 30);
            dropped += life.upkeep().compacted.records;
        }
        assert!(dropped > 0, "{policy:?}");
        life.close();
        let gone = || ended.iter().chain(&late).all(|id| shows(id) == 0);
        assert!(gone() && open.iter().all(|id| shows(id) == 2), "{policy:?}");
        // What the last runs did not show is shown now, and what is archived still is not.
        world.open_shown(Some(Some(Policy::Lazy))).close();
        assert_eq!(world.compare_tree(false).count(), 0, "{policy:?}");
        let before = world.tree();
        std::fs::remove_dir_all(world.dir.path().join(TREE_DIR)).unwrap();
        world.compare_tree(true);
        assert!(world.tree() == before && gone(), "{policy:?}");
    }
}

#[test]
fn an_archived_instance_is_there_and_does_not_go_on() {
    let world = World::new(true);
    let life = world.open();
    let machine = machine(COUNTER);
    let named = id(0xabcd);
    let start =
        |life: &Life| life.handle.start_instance(&ctx(), &machine, Some(named), Value::empty_map());
    start(&life).unwrap();
    life.handle.send(&ctx(), named, "close", Value::Null, None).unwrap();
    world.pass(31);
    assert_eq!(life.upkeep().archived, 1);
    let code = |error: Error| error.code();
    assert_eq!(code(start(&life).unwrap_err()), "already_exists");
    assert_eq!(code(life.handle.retry(&ctx(), named, Retry::default()).unwrap_err()), "archived");
    assert!(life.handle.send(&ctx(), named, "bump", Value::Null, None).is_err());
    life.close();

    let life = world.open();
    assert_eq!(life.upkeep().archived, 0, "once is enough");
    assert_eq!(code(start(&life).unwrap_err()), "already_exists");
    assert_eq!(life.handle.get(&ctx(), named).unwrap().unwrap().status, Status::Completed);
    life.close();
}

#[test]
fn a_damaged_file_is_made_again_while_the_log_has_the_records() {
    let world = World::new(true);
    let life = world.open();
    let (ended, _) = life.work(&brief(), 4);
    let before = life.seen(&ended);
    world.pass(11);
    life.upkeep();
    life.close();
    let path = world.file_of(ended[0]);
    let whole = std::fs::read(&path).unwrap();
    cut(&path, whole.len() / 2);
    let life = world.open();
    assert_eq!(life.handle.history(&ctx(), ended[0]).unwrap_err().code(), "archive_damaged");
    assert_eq!(life.seen(&ended[1..]).len(), 1, "others are not concerned");
    assert_eq!(life.upkeep().archived, 1);
    assert_eq!(std::fs::read(&path).unwrap(), whole, "the same history gives the same file");
    assert_eq!(life.seen(&ended), before);
    life.close();
}

fn cut(path: &Path, len: usize) {
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..len]).unwrap();
}

#[test]
fn work_goes_on_beside_upkeep() {
    let world = World::new(true);
    let life = world.open();
    let (ended, open) = life.work(&brief(), 60);
    let before = life.seen(&ended);
    world.pass(11);
    std::thread::scope(|scope| {
        scope.spawn(|| (0..5).for_each(|_| drop(life.upkeep())));
        for round in 1..=30 {
            for id in &open {
                life.handle.send(&ctx(), *id, "bump", Value::Null, None).unwrap();
            }
            assert_eq!(life.seen(&ended), before, "round {round}");
        }
    });
    assert!(ended.iter().all(|id| world.file_of(*id).is_file()));
    let seen = life.seen(&open);
    life.close();
    let life = world.open();
    assert_eq!(life.seen(&open), seen);
    assert_eq!(life.seen(&ended), before);
    let open_again = life.log.scan(0, &mut |_| ()).unwrap();
    assert_eq!(open_again, life.log.tail());
    life.close();
}

/// What has ended of a tenant that is forgotten leaves the log and the archive, however long it was
/// to stay; others keep all of theirs.
#[test]
fn a_forgotten_tenant_leaves_nothing_of_its_histories() {
    let world = World::new(true);
    let life = world.open();
    let other = TenantCtx::for_test(99);
    let (archived, more) = life.work(&brief(), 10);
    let (ended, open) = life.work(COUNTER, 10);
    world.pass(11);
    assert_eq!(life.upkeep().archived, archived.len() as u64);
    assert!(archived.iter().all(|id| world.file_of(*id).is_file()));
    let (theirs, _) = life.work_in(&other, COUNTER, 4);
    let all = [archived, more.clone(), ended, open.clone()].concat();
    for id in more.iter().chain(&open) {
        life.handle.cancel(&ctx(), *id, true, None).unwrap();
    }
    life.handle.forget(&ctx());
    let left = |life: &Life| {
        let mut left = 0;
        let count = &mut |line: traaviis_ports::Line<'_>| {
            let key = peek_line(line.bytes).ok().map(|it| it.instance_id);
            left += usize::from(key.is_some_and(|it| all.contains(&it)));
        };
        life.log.scan(0, count).unwrap();
        left + all.iter().filter(|id| world.file_of(**id).exists()).count()
    };
    // Work of others, so that segments are full and checkpoints stand behind them.
    for _ in 0..12 {
        life.work_in(&other, COUNTER, 30);
        life.upkeep();
    }
    assert_eq!(left(&life), 0);
    assert!(all.iter().all(|id| life.handle.get(&ctx(), *id).unwrap().is_none()));
    for id in theirs {
        assert!(life.handle.get(&other, id).unwrap().is_some());
        assert!(!life.handle.history(&other, id).unwrap().is_empty());
    }
    life.close();
    let life = world.open();
    assert_eq!(left(&life), 0, "nor does a start bring anything back");
    life.close();
}
