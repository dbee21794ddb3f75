//! What a restart reads: the newest checkpoint, what the snapshot store knows of the open
//! instances, then the records after the checkpoint. The state of an instance is read only when a
//! record needs it.
//!
//! Invariants: a record is folded at most once, however often the checkpoint already holds it; a
//! damaged history makes only its instance unavailable; a record that names another tenant than its
//! instance stops the start.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    ops::Range,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use traaviis_engine::Machine;
use traaviis_model::{
    Actor, Body, DefinitionHash, EventIds, Header, InstanceId, Record, Seq, Snapshot, Span,
    TenantCtx, TenantId, Timestamp, Value, document,
    record::{LineError, RECORD_VERSION, peek_line},
};
use traaviis_ports::{
    Archive, Index, IndexError, Line, LogStore, Position, SnapshotError, SnapshotHead, SnapshotRow,
    SnapshotStore,
};

use crate::{
    checkpoint,
    error::Error,
    index::catchup::Catchup,
    limits::RECOVERY_BYTES_MAX,
    owner::{Key, Outgoing, SeededHasher},
    snapshots::{self, State},
    summary::Summary,
    texts::Texts,
    unheard::{Hearer, Unheard},
};

/// An instance that cannot be worked on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// Tenant.
    pub tenant: TenantId,
    /// Instance.
    pub id: InstanceId,
    /// Last record that was understood.
    pub seq: Seq,
    /// What is wrong.
    pub message: Arc<str>,
    /// It may be mended from outside: what is wrong is a file beside the log. So the next start
    /// looks again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_mendable: bool,
}

impl Fault {
    /// Returns the stable code.
    pub fn code(&self) -> &'static str {
        if self.is_mendable { "blob_damaged" } else { "history_broken" }
    }

    pub(crate) fn to_error(&self) -> Error {
        Error::Unavailable { id: self.id, code: self.code(), message: Arc::clone(&self.message) }
    }
}

/// What recovery found, for people and metrics.
#[derive(Clone, Debug, Default)]
pub struct RecoveryReport {
    /// Position of the checkpoint, if there was one.
    pub checkpoint: Option<Position>,
    /// A checkpoint that a newer release wrote and that was passed over: its position, the version
    /// of its lines, and the newest one known.
    pub checkpoint_newer: Option<(Position, u32, u32)>,
    /// Position after the last record.
    pub position: Position,
    /// Records read after the checkpoint.
    pub records: u64,
    /// Open instances.
    pub instances: usize,
    /// Ended instances remembered.
    pub finished: usize,
    /// Definitions in the log.
    pub definitions: usize,
    /// Instances whose history is damaged.
    pub faults: Vec<Fault>,
    /// Instances whose definition is not in the log, or does not compile any more.
    pub definitions_missing: Vec<InstanceId>,
    /// How far the wall clock is behind the last commit, from which time goes on, or zero.
    pub clock_behind: Span,
    /// Why the index was made again, if it was.
    pub index_rebuilt: Option<&'static str>,
    /// Why there is no index, if it failed.
    pub index_failed: Option<IndexError>,
    /// Why the states of open instances were made again, if they were.
    pub snapshots_rebuilt: Option<Arc<str>>,
}

/// An open instance as recovery hands it over.
pub struct Recovered {
    /// The engine in its tenant.
    pub ctx: TenantCtx,
    /// Its state.
    pub snapshot: Snapshot,
    /// Its deduplication ids.
    pub event_ids: Option<Box<EventIds>>,
    /// The snapshot store has an older state of it.
    pub has_row: bool,
}

/// What one owner gets from recovery.
#[derive(Default)]
pub struct Part {
    /// Open instances whose state is read.
    pub instances: Vec<Recovered>,
    /// Open instances whose state is in the snapshot store.
    pub resting: Vec<(TenantCtx, SnapshotHead)>,
    /// Ended instances, oldest first.
    pub finished: Vec<Arc<Summary>>,
    /// Ended instances that the snapshot store has as open.
    pub gone: Vec<Arc<Summary>>,
    /// Definitions in the log.
    pub definitions: Vec<(TenantId, DefinitionHash, Value)>,
    /// Machines of the open instances.
    pub machines: Vec<(DefinitionHash, Arc<Machine>)>,
    /// Instances that cannot be worked on.
    pub faults: Vec<Fault>,
    /// What its instances emitted and not all subscribers are done with.
    pub emissions: Vec<Outgoing>,
}

/// An open instance whose state is read.
struct Open {
    snapshot: Snapshot,
    event_ids: Option<Box<EventIds>>,
    has_row: bool,
}

/// Where states rest, and what opens those that are sealed.
#[derive(Clone, Copy)]
pub(crate) struct States<'a> {
    pub store: &'a dyn SnapshotStore,
    pub log: &'a dyn LogStore,
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
    resting: HashMap<Key, SnapshotHead, SeededHasher>,
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
            resting: HashMap::default(),
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

    /// Reads the newest checkpoint, and what the snapshot store knows if it belongs to it; returns
    /// the position from which records are to be read.
    fn read_checkpoint(&mut self, sources: Sources<'_>, rows: Rows) -> Result<Position, Error> {
        let Sources { log, lost, snapshots, .. } = sources;
        let Some((position, body)) = log.checkpoint()? else {
            // What states there may be belong to nothing.
            snapshots.map_or(Ok(()), SnapshotStore::clear).map_err(Error::Snapshots)?;
            return Ok(0);
        };
        if let Some(found) = checkpoint::newer(&body) {
            // Everything in it is in the log, or in the archive.
            snapshots.map_or(Ok(()), SnapshotStore::clear).map_err(Error::Snapshots)?;
            let newest = checkpoint::VERSION_BESIDE_SNAPSHOTS;
            self.report.checkpoint_newer = Some((position, found, newest));
            return Ok(0);
        }
        let stands_alone = checkpoint::read(&body, self, log)?;
        if self.faults.values().any(|it| it.is_mendable) {
            // What could not be read then is looked for once more.
            snapshots.map_or(Ok(()), SnapshotStore::clear).map_err(Error::Snapshots)?;
            *self = Recovery::new(self.finished_max);
            return Ok(0);
        }
        match snapshots {
            Some(snapshots) if stands_alone => snapshots.clear().map_err(Error::Snapshots)?,
            None if stands_alone => {}
            Some(snapshots) if rows == Rows::Usable => {
                self.read_rows(snapshots, position, log.tail())?;
            }
            // They are somewhere else, or lost: everything is in the log.
            _ => {
                *self = Recovery::new(self.finished_max);
                return Ok(0);
            }
        }
        self.compare(log, position, lost)?;
        self.report.checkpoint = Some(position);
        Ok(position)
    }

    /// Reads what the snapshot store knows of every instance.
    fn read_rows(
        &mut self,
        snapshots: &dyn SnapshotStore,
        checkpoint: Position,
        tail: Position,
    ) -> Result<(), Error> {
        let unfit = |why: &str| Error::Snapshots(SnapshotError::Damaged(why.into()));
        match snapshots.covers().map_err(Error::Snapshots)? {
            None => return Err(unfit("they are missing, or not complete")),
            Some(covers) if !covers.contains(&checkpoint) => {
                return Err(unfit("they do not belong to the checkpoint"));
            }
            Some(covers) if *covers.end() > tail => return Err(unfit("they are ahead of the log")),
            Some(_) => {}
        }
        let mut unreadable = None;
        let visited = snapshots.visit(&mut |row| match row {
            SnapshotRow::Open(head, _) => self.put_head(head),
            SnapshotRow::Ended { id, summary, .. } => {
                match serde_json::from_slice::<Summary>(&summary) {
                    Ok(summary) => self.put_ended(summary),
                    Err(_) => unreadable = Some(id),
                }
            }
        });
        visited.map_err(Error::Snapshots)?;
        match unreadable {
            Some(id) => Err(unfit(&format!("the row of instance `{id}` cannot be read"))),
            None => Ok(()),
        }
    }

    fn put_head(&mut self, mut head: SnapshotHead) {
        let key = Key { tenant: head.tenant, id: head.id };
        let has_ended = self.finished.get(&key).is_some_and(|it| it.seq >= head.seq);
        if has_ended || self.faults.contains_key(&key) {
            return;
        }
        if self.finished.remove(&key).is_some() {
            // It began again after the checkpoint.
            self.finished_order.retain(|it| *it != key);
        }
        head.workflow = self.texts.share(&head.workflow);
        self.resting.insert(key, head);
    }

    /// Takes an instance that ended after the checkpoint, or before.
    fn put_ended(&mut self, summary: Summary) {
        let key = Key { tenant: summary.tenant_id, id: summary.id };
        if self.finished.get(&key).is_none_or(|it| it.seq < summary.seq) {
            self.put_finished(summary);
        }
    }

    /// Reads the state of an instance that rests.
    pub(crate) fn load(
        &self,
        key: Key,
        states: Option<States<'_>>,
    ) -> Result<Option<State>, Error> {
        let (Some(States { store, log }), Some(head)) = (states, self.resting.get(&key)) else {
            return Ok(None);
        };
        let ctx = self.contexts.get(&key.tenant).cloned();
        let ctx = ctx.unwrap_or_else(|| context_of(key, head.definition, head.seq));
        let body = store.get(&ctx, key.id).map_err(Error::Snapshots)?;
        let state = body.map_or(Ok(None), |it| snapshots::read(&it, log))?;
        let state = state.filter(|it| Key::of(&it.snapshot) == key && it.snapshot.seq == head.seq);
        let why = || format!("the state of instance `{}` is not there", key.id);
        state.map(Some).ok_or_else(|| Error::Snapshots(SnapshotError::Damaged(why().into())))
    }

    /// Lets an instance go on whose state rests.
    fn activate(&mut self, key: Key, states: Option<States<'_>>) -> Result<(), Error> {
        if let Some(State { snapshot, event_ids }) = self.load(key, states)? {
            self.resting.remove(&key);
            self.put_open(snapshot, event_ids, true);
        }
        Ok(())
    }

    /// Puts states into the snapshot store when they have grown too large for memory.
    fn spill(&mut self, states: Option<States<'_>>) -> Result<(), Error> {
        let Some(States { store, log }) = states.filter(|_| self.grown > RECOVERY_BYTES_MAX) else {
            return Ok(());
        };
        self.grown = 0;
        let open = self.instances.values();
        let open = open.map(|it| (&it.snapshot, it.event_ids.as_deref())).collect();
        let sizes = match snapshots::put_rows(store, std::iter::empty(), open, None, log) {
            Ok(sizes) => sizes,
            // They stay in memory as long as there is no space.
            Err(Error::Snapshots(SnapshotError::Full)) => return Ok(()),
            Err(error) => return Err(error),
        };
        for (key, bytes) in sizes {
            if let Some(open) = self.instances.remove(&key) {
                self.put_head(snapshots::head_of(&open.snapshot, bytes));
            }
        }
        Ok(())
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
            let open = self.instances.keys().chain(self.resting.keys());
            for key in open.copied().collect::<Vec<Key>>() {
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
        let open = open.chain(self.resting.values().map(|it| it.updated_at));
        let ended = self.finished.values().map(|it| it.updated_at);
        open.chain(ended).max().unwrap_or_default()
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
    pub(crate) fn resting(&self) -> impl Iterator<Item = &Key> {
        self.resting.keys()
    }

    /// Divides everything among `count` owners; `shard` says which one owns an instance.
    pub fn divide(
        mut self,
        count: usize,
        shard: &dyn Fn(&Key) -> usize,
    ) -> (Vec<Part>, RecoveryReport) {
        let mut parts: Vec<Part> = (0..count).map(|_| Part::default()).collect();
        for outgoing in self.unsent() {
            let (tenant, id) = (outgoing.tenant, outgoing.emission.publisher);
            parts[shard(&Key { tenant, id })].emissions.push(outgoing);
        }
        // In order: of a business key that several hold, the last one is found by it.
        let mut instances: Vec<_> = self.instances.drain().collect();
        instances.sort_unstable_by_key(|(key, _)| *key);
        for (key, Open { snapshot, event_ids, has_row }) in instances {
            let ctx = self.context(key, snapshot.definition_hash, snapshot.seq);
            let recovered = Recovered { ctx, snapshot, event_ids, has_row };
            parts[shard(&key)].instances.push(recovered);
        }
        for summary in self.gone.drain(..) {
            let key = Key { tenant: summary.tenant_id, id: summary.id };
            parts[shard(&key)].gone.push(Arc::new(summary));
        }
        let mut resting: Vec<_> = self.resting.drain().collect();
        resting.sort_unstable_by_key(|(key, _)| *key);
        for (key, head) in resting {
            let ctx = self.context(key, head.definition, head.seq);
            parts[shard(&key)].resting.push((ctx, head));
        }
        for key in self.finished_order {
            if let Some(summary) = self.finished.remove(&key) {
                parts[shard(&key)].finished.push(summary);
            }
        }
        for (key, fault) in self.faults {
            parts[shard(&key)].faults.push(fault);
        }
        for part in &mut parts {
            part.definitions
                .extend(self.definitions.iter().map(|(name, it)| (name.0, name.1, it.clone())));
            part.machines.extend(self.machines.iter().map(|(hash, it)| (*hash, Arc::clone(it))));
        }
        (parts, self.report)
    }

    /// Takes out what is to be sent again.
    fn unsent(&mut self) -> Vec<Outgoing> {
        let machines = &self.machines;
        let hearer = |tenant, id, created_at, definition| {
            let machine = machines.get(definition)?;
            Some(Hearer { tenant, id, created_at, machine })
        };
        let read = self.instances.values().map(|it| &it.snapshot);
        let read =
            read.filter_map(|it| hearer(it.tenant_id, it.id, it.created_at, &it.definition_hash));
        let rest = self.resting.values();
        let rest = rest.filter_map(|it| hearer(it.tenant, it.id, it.created_at, &it.definition));
        self.unheard.take(read.chain(rest))
    }

    // --- Checkpoint -------------------------------------------------------------------------

    pub(crate) fn put_instance(&mut self, snapshot: Snapshot, event_ids: Option<Box<EventIds>>) {
        self.put_open(snapshot, event_ids, false);
    }

    fn put_open(
        &mut self,
        mut snapshot: Snapshot,
        event_ids: Option<Box<EventIds>>,
        has_row: bool,
    ) {
        self.texts.share_in(&mut snapshot);
        self.instances.insert(Key::of(&snapshot), Open { snapshot, event_ids, has_row });
    }

    pub(crate) fn put_finished(&mut self, summary: Summary) {
        let key = Key { tenant: summary.tenant_id, id: summary.id };
        if self.finished.insert(key, Arc::new(summary)).is_none() {
            self.finished_order.push_back(key);
        }
        while self.finished.len() > self.finished_max
            && let Some(oldest) = self.finished_order.pop_front()
        {
            self.finished.remove(&oldest);
            self.forgets = true;
        }
    }

    pub(crate) fn put_definition(&mut self, tenant: TenantId, hash: DefinitionHash, body: Value) {
        self.unheard.definition(tenant, &body);
        self.definitions.insert((tenant, hash), body);
    }

    pub(crate) fn put_fault(&mut self, fault: Fault) {
        self.faults.insert(Key { tenant: fault.tenant, id: fault.id }, fault);
    }

    pub(crate) fn put_emission(&mut self, outgoing: Outgoing) {
        self.unheard.put(outgoing);
    }

    pub(crate) fn set_forgets(&mut self) {
        self.forgets = true;
    }

    /// Sets aside what the checkpoint knows better than the log: a state whose records are lost
    /// can be neither shown, replayed nor continued.
    fn compare(
        &mut self,
        log: &dyn LogStore,
        position: Position,
        lost: &[Range<Position>],
    ) -> Result<(), Error> {
        let Some(gap) = lost.iter().find(|it| it.start < position && it.start < it.end) else {
            return Ok(());
        };
        let open = self.instances.iter().map(|(key, it)| (*key, it.snapshot.seq));
        let open = open.chain(self.resting.iter().map(|(key, it)| (*key, it.seq)));
        let ended = self.finished.iter().map(|(key, it)| (*key, it.seq));
        let known: Vec<(Key, Seq)> = open.chain(ended).collect();
        let mut held: HashMap<Key, Seq, SeededHasher> =
            known.iter().map(|(key, _)| (*key, 0)).collect();
        log.scan(0, &mut |line| {
            let Ok(line) = peek_line(line.bytes) else { return };
            let key = Key { tenant: line.tenant_id, id: line.instance_id };
            if let Some(last) = held.get_mut(&key)
                && (line.seq == *last + 1 || line.seq == 1)
            {
                *last = line.seq;
            }
        })?;
        for (key, seq) in known {
            let last = held.get(&key).copied().unwrap_or(0);
            let is_archived = match log.archive() {
                Some(archive) if last < seq => archive.holds(key.tenant, key.id)?,
                _ => false,
            };
            if last < seq && !is_archived {
                let first = last + 1;
                let (from, to) = (gap.start, gap.end - 1);
                self.finished.remove(&key);
                let message = format!(
                    "records {first} to {seq} of its history are missing: the log has lost \
                     positions {from} to {to}, its checkpoint at position {position} counts on them"
                );
                self.damage(key, last, &message);
            }
        }
        Ok(())
    }

    // --- Records ----------------------------------------------------------------------------

    /// Reads a record; `catchup` learns what the index must know of it.
    pub(crate) fn line(
        &mut self,
        Line { position, bytes: line }: Line<'_>,
        catchup: Option<&mut Catchup<'_>>,
        states: Option<States<'_>>,
    ) -> Result<(), Error> {
        self.report.records += 1;
        let unreadable = |error: serde_json::Error| Error::Line(Arc::new(error.into()));
        let header: Header = serde_json::from_slice(line).map_err(unreadable)?;
        if header.v > RECORD_VERSION {
            return Err(Error::Line(Arc::new(LineError::Newer { found: header.v })));
        }
        let key = Key { tenant: header.tenant_id, id: header.instance_id };
        let mut catchup = catchup;
        if let Some(it) = &mut catchup {
            it.record(key, header.seq, position);
        }
        if let Some(cause) = &header.causation_id {
            self.unheard.cause(key, cause);
        }
        if self.is_known(&key, header.seq) {
            let open = self.instances.get(&key).map(|it| &it.snapshot.workflow);
            let open = open.or_else(|| self.resting.get(&key).map(|it| &it.workflow));
            let workflow = open.or_else(|| self.finished.get(&key).map(|it| &it.workflow));
            if let Some(workflow) = workflow {
                self.unheard.known(key, &header, line, workflow);
            }
            return Ok(());
        }
        self.activate(key, states)?;
        match Record::read_body(&header, line) {
            Ok(body) => {
                let ended = self.record(key, Record { header, body })?;
                if let (Some(snapshot), Some(it)) = (ended, catchup) {
                    it.ended(&snapshot);
                }
            }
            Err(error) => {
                let is_mendable = matches!(error, LineError::Unreadable(_));
                self.damage(key, header.seq.saturating_sub(1), &error.to_string());
                self.faults.entry(key).and_modify(|it| it.is_mendable = is_mendable);
            }
        }
        Ok(())
    }

    /// Says whether the checkpoint holds this record already, or nothing can be done with it.
    fn is_known(&self, key: &Key, seq: Seq) -> bool {
        self.seq_of(key).is_some_and(|it| seq <= it)
            || self.finished.get(key).is_some_and(|it| seq <= it.seq)
            || self.faults.contains_key(key)
    }

    /// Applies a record; returns the instance that ended with it.
    fn record(&mut self, key: Key, record: Record) -> Result<Option<Snapshot>, Error> {
        if let Body::DocumentPut { document, body, .. } = record.body {
            if &*document == "definition" {
                self.put_definition(key.tenant, record.header.definition_hash, body);
            }
            return Ok(None);
        }
        let Some(Open { snapshot, event_ids, .. }) = self.instances.get_mut(&key) else {
            return self.first_record(key, &record).map(|()| None);
        };
        if let Err(error) = snapshot.apply(&record) {
            let seq = record.header.seq.saturating_sub(1);
            self.damage(key, seq, &error.to_string());
            return Ok(None);
        }
        EventIds::note(event_ids, &record);
        self.unheard.record(key, &record, &snapshot.workflow);
        if !snapshot.status.is_finished() {
            return Ok(None);
        }
        let summary = Summary::of(snapshot);
        let ended = self.instances.remove(&key);
        if ended.as_ref().is_some_and(|it| it.has_row) {
            self.gone.push(summary.clone());
        }
        self.put_finished(summary);
        Ok(ended.map(|it| it.snapshot))
    }

    fn first_record(&mut self, key: Key, record: &Record) -> Result<(), Error> {
        if let Some(snapshot) = Snapshot::reopen(record) {
            if self.finished.remove(&key).is_some() {
                self.finished_order.retain(|it| *it != key);
            }
            let contexts = self.contexts.entry(key.tenant);
            contexts.or_insert_with(|| TenantCtx::of_record(&record.header));
            let mut event_ids = None;
            EventIds::note(&mut event_ids, record);
            // The snapshot store may know its former end.
            self.put_open(snapshot, event_ids, true);
            return Ok(());
        }
        match Snapshot::create(record) {
            Ok(snapshot) => {
                let contexts = self.contexts.entry(key.tenant);
                contexts.or_insert_with(|| TenantCtx::of_record(&record.header));
                self.put_instance(snapshot, None);
                Ok(())
            }
            Err(error) => {
                let mut others =
                    self.instances.keys().chain(self.resting.keys()).chain(self.finished.keys());
                if let Some(other) = others.find(|it| it.id == key.id) {
                    let (id, expected, found) = (key.id, other.tenant, key.tenant);
                    return Err(Error::TenantMismatch { id, expected, found });
                }
                self.damage(key, record.header.seq.saturating_sub(1), &error.to_string());
                Ok(())
            }
        }
    }

    fn damage(&mut self, key: Key, seq: Seq, message: &str) {
        self.instances.remove(&key);
        self.resting.remove(&key);
        let (tenant, id) = (key.tenant, key.id);
        self.put_fault(Fault { tenant, id, seq, message: message.into(), is_mendable: false });
    }

    // --- After the last record --------------------------------------------------------------

    /// Compiles the definitions of the open instances.
    fn compile(&mut self) {
        let names: HashSet<(TenantId, DefinitionHash), SeededHasher> = self
            .snapshots()
            .map(|it| (it.tenant_id, it.definition_hash))
            .chain(self.resting.values().map(|it| (it.tenant, it.definition)))
            .collect();
        for name in names {
            if let Some(machine) = self.definitions.get(&name).and_then(compile) {
                self.machines.insert(name.1, machine);
            }
        }
        let report = &mut self.report;
        report.instances = self.instances.len() + self.resting.len();
        report.finished = self.finished.len();
        report.definitions = self.definitions.len();
        report.faults = self.faults.values().cloned().collect();
        report.faults.sort_by_key(|it| (it.tenant, it.id));
        let open = self.instances.values().map(|it| (it.snapshot.id, &it.snapshot.definition_hash));
        let open = open.chain(self.resting.values().map(|it| (it.id, &it.definition)));
        report.definitions_missing =
            open.filter(|it| !self.machines.contains_key(it.1)).map(|it| it.0).collect();
        report.definitions_missing.sort_unstable();
    }

    fn seed(&self, log: &dyn LogStore) {
        let instances = self.snapshots().map(|it| (it.tenant_id, it.id, it.seq));
        let instances = instances.chain(self.resting.values().map(|it| (it.tenant, it.id, it.seq)));
        let definitions = self
            .definitions
            .keys()
            .map(|(tenant, hash)| (*tenant, crate::owner::definition_stream(hash), 1));
        log.seed(&mut instances.chain(definitions));
    }

    /// Returns the context in which the scheduler acts for an instance.
    fn context(&mut self, key: Key, definition: DefinitionHash, seq: Seq) -> TenantCtx {
        let context = self.contexts.entry(key.tenant);
        context.or_insert_with(|| context_of(key, definition, seq)).clone()
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

/// Returns the context in which the scheduler acts for an instance that stands at a record.
fn context_of(key: Key, definition_hash: DefinitionHash, seq: Seq) -> TenantCtx {
    // The state stands for the records it was folded from.
    TenantCtx::of_record(&Header {
        tenant_id: key.tenant,
        instance_id: key.id,
        seq,
        v: RECORD_VERSION,
        at: Timestamp::default(),
        step: 0,
        definition_hash,
        actor: Actor::engine(),
        causation_id: None,
        correlation_id: None,
        origin: None,
    })
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
