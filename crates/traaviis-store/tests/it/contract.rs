//! The contract of commit logs, against each of them.

use std::sync::{Arc, Mutex};

use traaviis_model::{InstanceId, Seq, TenantCtx, TenantId};
use traaviis_ports::{Append, CommitSink, Line, LogError, LogStore, Position};
use traaviis_store::{Durability, Entry, LocalLog, LogCore, Options};
use traaviis_testkit::{
    disk::SimDisk,
    log_contract::{self, LogStoreUnderTest},
    memory_log::MemoryLog,
};

use crate::support::{self, in_each_codec};

struct Local {
    log: Arc<LocalLog>,
    dir: tempfile::TempDir,
    options: Options,
}

impl Local {
    fn make(options: Options) -> Box<dyn LogStoreUnderTest> {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = LocalLog::open(dir.path(), options).unwrap();
        Box::new(Local { log, dir, options })
    }
}

impl LogStoreUnderTest for Local {
    fn log(&self) -> &dyn LogStore {
        &*self.log
    }

    fn reopen(self: Box<Self>) -> Box<dyn LogStoreUnderTest> {
        let Local { log, dir, options } = *self;
        log.close();
        let (log, recovery) = LocalLog::open(dir.path(), options).unwrap();
        assert_eq!((recovery.damage, recovery.cut), (vec![], None));
        Box::new(Local { log, dir, options })
    }
}

/// The log for one thread behind the port, each append a group of its own.
struct Core {
    core: Mutex<LogCore<SimDisk>>,
    disk: SimDisk,
}

impl LogStoreUnderTest for Core {
    fn log(&self) -> &dyn LogStore {
        self
    }

    fn reopen(self: Box<Self>) -> Box<dyn LogStoreUnderTest> {
        self.disk.restart();
        let (core, _) = support::open(&self.disk).unwrap();
        Box::new(Core { core: Mutex::new(core), disk: self.disk })
    }
}

impl LogStore for Core {
    fn append(&self, ctx: &TenantCtx, append: Append, sink: &Arc<dyn CommitSink>, token: u64) {
        let mut outcomes = Vec::new();
        let entry = Entry { tenant: ctx.tenant(), append };
        self.core.lock().unwrap().commit(&[entry], &mut outcomes);
        sink.committed(&mut outcomes.into_iter().map(|outcome| (token, outcome)));
    }

    fn read(
        &self,
        ctx: &TenantCtx,
        stream: InstanceId,
        from: Seq,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, LogError> {
        self.core.lock().unwrap().read((ctx.tenant(), stream), from, limit)
    }

    fn scan(&self, from: Position, visit: &mut dyn FnMut(Line<'_>)) -> Result<Position, LogError> {
        self.core.lock().unwrap().scan(from, visit)
    }

    fn tail(&self) -> Position {
        self.core.lock().unwrap().tail()
    }

    fn seed(&self, streams: &mut dyn Iterator<Item = (TenantId, InstanceId, Seq)>) {
        self.core.lock().unwrap().seed(streams);
    }

    fn put_checkpoint(&self, position: Position, body: &[u8]) -> Result<(), LogError> {
        self.core.lock().unwrap().put_checkpoint(position, body)
    }

    fn checkpoint(&self) -> Result<Option<(Position, Vec<u8>)>, LogError> {
        self.core.lock().unwrap().checkpoint()
    }
}

struct Memory(MemoryLog);

impl LogStoreUnderTest for Memory {
    fn log(&self) -> &dyn LogStore {
        &self.0
    }

    fn reopen(self: Box<Self>) -> Box<dyn LogStoreUnderTest> {
        Box::new(Memory(self.0.after_crash()))
    }
}

#[test]
fn local_log_keeps_the_contract() {
    in_each_codec(|| {
        let options = Options { codec: support::small().codec, ..Options::default() };
        log_contract::run(&mut || Local::make(options));
    });
}

#[test]
fn local_log_with_tiny_segments_keeps_the_contract() {
    in_each_codec(|| {
        log_contract::run(&mut || Local::make(support::small()));
    });
}

#[test]
fn relaxed_local_log_keeps_the_contract() {
    in_each_codec(|| {
        let options = Options { durability: Durability::Relaxed, ..support::small() };
        log_contract::run(&mut || Local::make(options));
    });
}

#[test]
fn core_on_a_simulated_disk_keeps_the_contract() {
    in_each_codec(|| {
        let mut seed = 0;
        log_contract::run(&mut || {
            seed += 1;
            let disk = SimDisk::new(seed);
            let (core, _) = support::open(&disk).unwrap();
            Box::new(Core { core: Mutex::new(core), disk })
        });
    });
}

#[test]
fn memory_log_keeps_the_contract() {
    log_contract::run(&mut || Box::new(Memory(MemoryLog::new())));
}

#[test]
fn manual_memory_log_commits_when_told() {
    let (log, ctx) = (MemoryLog::manual(), TenantCtx::for_test(1));
    let outcomes = log_contract::Outcomes::new();
    let sink: Arc<dyn CommitSink> = outcomes.clone();
    for number in 1..=3 {
        let append = log_contract::append(&ctx, log_contract::stream(number), 1, 1);
        log.append(&ctx, append, &sink, number as u64);
    }
    assert_eq!((log.waiting(), log.tail()), (3, 0));
    assert_eq!(log.pump(2), 2);
    assert_eq!((outcomes.wait(2).len(), log.tail()), (2, 2));
    assert_eq!(log.after_crash().pump(9), 0);
}
