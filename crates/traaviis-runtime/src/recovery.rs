//! What a restart reads: the newest checkpoint, what the snapshot store knows of the open
//! instances, then the records after the checkpoint. The state of an instance is read only when a
//! record needs it.
//!
//! Invariants: a record is folded at most once, however often the checkpoint already holds it; a
//! damaged history makes only its instance unavailable; a record that names another tenant than its
//! instance stops the start.

mod beginning;
mod heads;
mod parts;
mod records;
mod report;
mod states;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    ops::Range,
    sync::Arc,
};

use traaviis_engine::Machine;
use traaviis_model::{
    DefinitionHash, EventIds, InstanceId, Seq, Snapshot, TenantCtx, TenantId, Timestamp, Value,
    document,
};
use traaviis_ports::{Archive, Index, Line, LogStore, Position, SnapshotError, SnapshotStore};

use crate::{
    checkpoint,
    error::Error,
    index::catchup::Catchup,
    owner::{Key, SeededHasher},
    summary::Summary,
    texts::Texts,
    unheard::Unheard,
};
pub use heads::Head;
use heads::Heads;
pub use parts::{Part, Recovered};
pub use report::{Fault, RecoveryReport};
pub(crate) use states::States;

/// An open instance whose state is read.
struct Open {
    snapshot: Snapshot,
    event_ids: Option<Box<EventIds>>,
    has_row: bool,
}

/// What a restart reads.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// The truth.
    pub log: &'a dyn LogStore,
    /// Streams that the log itself found damaged.
    pub damaged: &'a [(TenantId, InstanceId)],
    /// Positions whose records the log misses.
    pub lost: &'a [Range<Position>],
    /// To be brought to the end of the log.
    pub index: Option<&'a dyn Index>,
    /// States of open instances.
    pub snapshots: Option<&'a dyn SnapshotStore>,
}

/// Whether the rows of a snapshot store can be begun with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rows {
    Usable,
    /// They were found to be unfit, and are gone.
    Lost,
}

/// Everything that the log says.
pub struct Recovery {
    instances: HashMap<Key, Open, SeededHasher>,
    resting: Heads,
    /// Ended instances that the snapshot store has as open.
    gone: Vec<Summary>,
    /// Bytes of records since states were last put into the snapshot store.
    grown: usize,
    finished: HashMap<Key, Arc<Summary>, SeededHasher>,
    finished_order: VecDeque<Key>,
    finished_max: usize,
    forgets: bool,
    definitions: HashMap<(TenantId, DefinitionHash), Value, SeededHasher>,
    machines: HashMap<DefinitionHash, Arc<Machine>, SeededHasher>,
    faults: HashMap<Key, Fault, SeededHasher>,
    unheard: Unheard,
    contexts: HashMap<TenantId, TenantCtx, SeededHasher>,
    texts: Texts,
    report: RecoveryReport,
}

impl Recovery {
    pub(crate) fn new(finished_max: usize) -> Recovery {
        Recovery {
            instances: HashMap::default(),
            resting: Heads::default(),
            gone: Vec::new(),
            grown: 0,
            finished: HashMap::default(),
            finished_order: VecDeque::new(),
            finished_max,
            forgets: false,
            definitions: HashMap::default(),
            machines: HashMap::default(),
            faults: HashMap::default(),
            unheard: Unheard::default(),
            contexts: HashMap::default(),
            texts: Texts::default(),
            report: RecoveryReport::default(),
        }
    }

    /// Reads the newest checkpoint and every record after it, and tells the log where its streams
    /// stand.
    pub fn read(
        log: &dyn LogStore,
        finished_max: usize,
        damaged: &[(TenantId, InstanceId)],
        lost: &[Range<Position>],
    ) -> Result<Recovery, Error> {
        let sources = Sources { log, damaged, lost, index: None, snapshots: None };
        Recovery::read_all(sources, finished_max)
    }

    /// The same, and brings the index to the end of the log. An index that fails is in the report
    /// and stops nothing; states that cannot be read are made again from the log.
    pub fn read_all(sources: Sources<'_>, finished_max: usize) -> Result<Recovery, Error> {
        let why = match Recovery::begin(sources, finished_max, Rows::Usable) {
            Err(Error::Snapshots(error)) => why(error),
            other => return other,
        };
        if let Some(snapshots) = sources.snapshots {
            snapshots.clear().map_err(Error::Snapshots)?;
        }
        let mut recovery = Recovery::begin(sources, finished_max, Rows::Lost)?;
        recovery.report.snapshots_rebuilt = Some(why);
        Ok(recovery)
    }

    fn begin(sources: Sources<'_>, finished_max: usize, rows: Rows) -> Result<Recovery, Error> {
        let Sources { log, damaged, index, snapshots, .. } = sources;
        let mut recovery = Recovery::new(finished_max);
        let states = snapshots.map(|store| States { store, log });
        let from = recovery.read_checkpoint(sources, rows)?;
        let mut catchup = index.map(|index| Catchup::new(index, log.archive()));
        if let Some(it) = &mut catchup {
            match it.begin(log, recovery.report.checkpoint) {
                Ok(rebuilt) => recovery.report.index_rebuilt = rebuilt,
                Err(Error::Index(error)) => {
                    recovery.report.index_failed = Some(error);
                    catchup = None;
                }
                Err(error) => return Err(error),
            }
        }
        let mut failed = None;
        recovery.report.position = log.scan(from, &mut |line: Line<'_>| {
            if failed.is_none() {
                recovery.grown += line.bytes.len();
                let read = recovery.line(line, catchup.as_mut(), states);
                failed = read.and_then(|()| recovery.spill(states)).err();
            }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        if let Some(catchup) = catchup {
            let finished = catchup.finish(&recovery, recovery.report.position, states);
            recovery.report.index_failed = match finished {
                Err(Error::Index(error)) => Some(error),
                other => other.map(|_| None)?,
            };
        }
        for (tenant, id) in damaged {
            let key = Key { tenant: *tenant, id: *id };
            // An ended one is whole in memory; its history says for itself what is lost.
            if let Some(seq) = recovery.seq_of(&key) {
                recovery.damage(key, seq, "records of its history stand in a damaged frame");
            }
        }
        recovery.pass_over_archived(log.archive())?;
        recovery.compile();
        recovery.seed(log);
        Ok(recovery)
    }

    /// Returns the last record of an open instance.
    fn seq_of(&self, key: &Key) -> Option<Seq> {
        let open = self.instances.get(key).map(|it| it.snapshot.seq);
        open.or_else(|| self.resting.get(key).map(|it| it.seq))
    }

    /// Sets nothing aside for the remains of an archived instance: compaction takes the oldest
    /// records first, so that those which are left have no beginning.
    pub(crate) fn pass_over_archived(
        &mut self,
        archive: Option<&dyn Archive>,
    ) -> Result<(), Error> {
        let Some(archive) = archive else { return Ok(()) };
        self.forgets |= !archive.is_empty()?;
        let faulty: Vec<Key> = self.faults.keys().copied().collect();
        for key in faulty {
            if archive.holds(key.tenant, key.id)? {
                self.faults.remove(&key);
            }
        }
        if self.report.checkpoint.is_none() && self.forgets {
            // Without a checkpoint everything was read, remains of what had ended too.
            let open = self.instances.keys().copied().chain(self.resting.keys());
            for key in open.collect::<Vec<Key>>() {
                if archive.holds(key.tenant, key.id)? {
                    self.instances.remove(&key);
                    self.resting.remove(&key);
                }
            }
        }
        Ok(())
    }

    /// Says whether an ended instance was dropped because there are too many.
    pub fn forgets(&self) -> bool {
        self.forgets
    }

    /// Returns the commit time of the last step, before which time may not go on.
    pub fn last_commit(&self) -> Timestamp {
        let open = self.snapshots().map(|it| it.updated_at);
        let ended = self.finished.values().map(|it| it.updated_at);
        open.chain([self.resting.latest()]).chain(ended).max().unwrap_or_default()
    }

    /// Returns how many instances cannot be worked on.
    pub(crate) fn fault_count(&self) -> usize {
        self.faults.len()
    }

    /// Returns the open instances whose state is read.
    pub fn snapshots(&self) -> impl Iterator<Item = &Snapshot> {
        self.instances.values().map(|it| &it.snapshot)
    }

    /// Returns the open instances whose state rests.
    pub(crate) fn resting(&self) -> impl Iterator<Item = Key> {
        self.resting.keys()
    }

    /// Compiles the definitions of the open instances.
    fn compile(&mut self) {
        let names: HashSet<(TenantId, DefinitionHash), SeededHasher> = self
            .snapshots()
            .map(|it| (it.tenant_id, it.definition_hash))
            .chain(self.resting.iter().map(|it| (it.key.tenant, it.definition)))
            .collect();
        for name in names {
            if let Some(machine) = self.definitions.get(&name).and_then(compile) {
                self.machines.insert(name.1, machine);
            }
        }
        let report = &mut self.report;
        report.instances = self.instances.len() + self.resting.count();
        report.finished = self.finished.len();
        report.definitions = self.definitions.len();
        report.faults = self.faults.values().cloned().collect();
        report.faults.sort_by_key(|it| (it.tenant, it.id));
        let open = self.instances.values().map(|it| (it.snapshot.id, it.snapshot.definition_hash));
        let open = open.chain(self.resting.iter().map(|it| (it.key.id, it.definition)));
        report.definitions_missing =
            open.filter(|it| !self.machines.contains_key(&it.1)).map(|it| it.0).collect();
        report.definitions_missing.sort_unstable();
    }

    fn seed(&self, log: &dyn LogStore) {
        let instances = self.snapshots().map(|it| (it.tenant_id, it.id, it.seq));
        let rest = self.resting.iter().map(|it| (it.key.tenant, it.key.id, it.seq));
        let instances = instances.chain(rest);
        let definitions = self
            .definitions
            .keys()
            .map(|(tenant, hash)| (*tenant, crate::owner::definition_stream(hash), 1));
        log.seed(&mut instances.chain(definitions));
    }
}

/// Returns the instances that a start would set aside by its checkpoint, without starting anything.
/// `lost` are the positions whose records the log misses.
///
/// Read the checkpoint before looking for the end of a log that another process writes.
pub fn faults(
    log: &dyn LogStore,
    (position, body): (Position, &[u8]),
    lost: &[Range<Position>],
    snapshots: Option<&dyn SnapshotStore>,
) -> Result<Vec<Fault>, Error> {
    let is_behind = lost.iter().any(|it| it.start < position);
    if checkpoint::newer(body).is_some() {
        return Ok(Vec::new());
    }
    // A whole log has only the faults that were written down; their lines are few, or none.
    if !is_behind && !checkpoint::has_faults(body) {
        return Ok(Vec::new());
    }
    let mut recovery = Recovery::new(usize::MAX);
    let stands_alone = checkpoint::read(body, &mut recovery, log)?;
    if let Some(snapshots) = snapshots.filter(|_| !stands_alone) {
        recovery.read_rows(snapshots, position, Position::MAX)?;
    }
    recovery.compare(log, position, lost)?;
    let mut faults: Vec<Fault> = recovery.faults.into_values().collect();
    faults.sort_by_key(|it| (it.tenant, it.id));
    Ok(faults)
}

/// Returns what is wrong with the states.
fn why(error: SnapshotError) -> Arc<str> {
    match error {
        SnapshotError::Damaged(why) | SnapshotError::Failed(why) => why,
        SnapshotError::Full => "the disk was full".into(),
    }
}

/// Compiles a stored definition; none when this release does not accept it.
pub fn compile(body: &Value) -> Option<Arc<Machine>> {
    let definition = document::read_value(body).definition?;
    Machine::compile(Arc::new(definition)).ok().map(Arc::new)
}
