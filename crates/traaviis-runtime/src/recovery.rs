//! What a restart reads: the newest checkpoint, then the records after it.
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
    TenantCtx, TenantId, Text, Timestamp, Value, document,
    record::{LineError, RECORD_VERSION, peek_line},
};
use traaviis_ports::{Archive, Index, IndexError, Line, LogStore, Position};

use crate::{
    checkpoint,
    error::Error,
    index::catchup::Catchup,
    limits::INTERNED_MAX,
    owner::{Key, Outgoing, SeededHasher},
    summary::Summary,
    unheard::Unheard,
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
}

impl Fault {
    pub(crate) fn to_error(&self) -> Error {
        Error::Unavailable {
            id: self.id,
            code: "history_broken",
            message: Arc::clone(&self.message),
        }
    }
}

/// What recovery found, for people and metrics.
#[derive(Clone, Debug, Default)]
pub struct RecoveryReport {
    /// Position of the checkpoint, if there was one.
    pub checkpoint: Option<Position>,
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
}

/// An open instance as recovery hands it over.
pub type Recovered = (TenantCtx, Snapshot, Option<Box<EventIds>>);

/// What one owner gets from recovery.
#[derive(Default)]
pub struct Part {
    /// Open instances.
    pub instances: Vec<Recovered>,
    /// Ended instances, oldest first.
    pub finished: Vec<Arc<Summary>>,
    /// Definitions in the log.
    pub definitions: Vec<(TenantId, DefinitionHash, Value)>,
    /// Machines of the open instances.
    pub machines: Vec<(DefinitionHash, Arc<Machine>)>,
    /// Instances that cannot be worked on.
    pub faults: Vec<Fault>,
    /// What its instances emitted and not all subscribers are done with.
    pub emissions: Vec<Outgoing>,
}

/// Everything that the log says.
pub struct Recovery {
    instances: HashMap<Key, (Snapshot, Option<Box<EventIds>>), SeededHasher>,
    finished: HashMap<Key, Arc<Summary>, SeededHasher>,
    finished_order: VecDeque<Key>,
    finished_max: usize,
    forgets: bool,
    definitions: HashMap<(TenantId, DefinitionHash), Value, SeededHasher>,
    machines: HashMap<DefinitionHash, Arc<Machine>, SeededHasher>,
    faults: HashMap<Key, Fault, SeededHasher>,
    unheard: Unheard,
    contexts: HashMap<TenantId, TenantCtx, SeededHasher>,
    texts: HashSet<Text, SeededHasher>,
    report: RecoveryReport,
}

impl Recovery {
    pub(crate) fn new(finished_max: usize) -> Recovery {
        Recovery {
            instances: HashMap::default(),
            finished: HashMap::default(),
            finished_order: VecDeque::new(),
            finished_max,
            forgets: false,
            definitions: HashMap::default(),
            machines: HashMap::default(),
            faults: HashMap::default(),
            unheard: Unheard::default(),
            contexts: HashMap::default(),
            texts: HashSet::default(),
            report: RecoveryReport::default(),
        }
    }

    /// Reads the newest checkpoint and every record after it, and tells the log where its streams
    /// stand. `damaged` are the streams that the log itself found damaged, `lost` the positions
    /// whose records it misses.
    pub fn read(
        log: &dyn LogStore,
        finished_max: usize,
        damaged: &[(TenantId, InstanceId)],
        lost: &[Range<Position>],
    ) -> Result<Recovery, Error> {
        Recovery::read_indexed(log, finished_max, damaged, lost, None)
    }

    /// The same, and brings the index to the end of the log. An index that fails is in the report
    /// and stops nothing.
    pub fn read_indexed(
        log: &dyn LogStore,
        finished_max: usize,
        damaged: &[(TenantId, InstanceId)],
        lost: &[Range<Position>],
        index: Option<&dyn Index>,
    ) -> Result<Recovery, Error> {
        let mut recovery = Recovery::new(finished_max);
        let mut from = 0;
        if let Some((position, body)) = log.checkpoint()? {
            checkpoint::read(&body, &mut recovery, log)?;
            recovery.compare(log, position, lost)?;
            recovery.report.checkpoint = Some(position);
            from = position;
        }
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
                failed = recovery.line(line, catchup.as_mut()).err();
            }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        if let Some(catchup) = catchup {
            let finished = catchup.finish(&recovery, recovery.report.position);
            recovery.report.index_failed = finished.err();
        }
        for (tenant, id) in damaged {
            let key = Key { tenant: *tenant, id: *id };
            // An ended one is whole in memory; its history says for itself what is lost.
            if let Some((snapshot, _)) = recovery.instances.get(&key) {
                let seq = snapshot.seq;
                recovery.damage(key, seq, "records of its history stand in a damaged frame");
            }
        }
        recovery.pass_over_archived(log.archive())?;
        recovery.compile();
        recovery.seed(log);
        Ok(recovery)
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
            let open: Vec<Key> = self.instances.keys().copied().collect();
            for key in open {
                if archive.holds(key.tenant, key.id)? {
                    self.instances.remove(&key);
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
        open.chain(ended).max().unwrap_or_default()
    }

    /// Returns how many instances cannot be worked on.
    pub(crate) fn fault_count(&self) -> usize {
        self.faults.len()
    }

    /// Returns the open instances.
    pub fn snapshots(&self) -> impl Iterator<Item = &Snapshot> {
        self.instances.values().map(|(snapshot, _)| snapshot)
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
        for (key, (snapshot, event_ids)) in instances {
            let ctx = context(&mut self.contexts, &snapshot);
            parts[shard(&key)].instances.push((ctx, snapshot, event_ids));
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
        let (instances, machines) = (&self.instances, &self.machines);
        let snapshots = instances.values().map(|(snapshot, _)| snapshot);
        let open = snapshots.filter_map(|it| Some((it, machines.get(&it.definition_hash)?)));
        self.unheard.take(open)
    }

    // --- Checkpoint -------------------------------------------------------------------------

    pub(crate) fn put_instance(&mut self, snapshot: Snapshot, event_ids: Option<Box<EventIds>>) {
        let snapshot = self.share_texts(snapshot);
        self.instances.insert(Key::of(&snapshot), (snapshot, event_ids));
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
        let open = self.instances.iter().map(|(key, (it, _))| (*key, it.seq));
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
            let open = self.instances.get(&key).map(|it| &it.0.workflow);
            let workflow = open.or_else(|| self.finished.get(&key).map(|it| &it.workflow));
            if let Some(workflow) = workflow {
                self.unheard.known(key, &header, line, workflow);
            }
            return Ok(());
        }
        match serde_json::from_slice::<Body>(line) {
            Ok(body) => {
                let ended = self.record(key, Record { header, body })?;
                if let (Some(snapshot), Some(it)) = (ended, catchup) {
                    it.ended(&snapshot);
                }
            }
            Err(error) => self.damage(key, header.seq.saturating_sub(1), &error.to_string()),
        }
        Ok(())
    }

    /// Says whether the checkpoint holds this record already, or nothing can be done with it.
    fn is_known(&self, key: &Key, seq: Seq) -> bool {
        self.instances.get(key).is_some_and(|(it, _)| seq <= it.seq)
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
        let Some((snapshot, event_ids)) = self.instances.get_mut(&key) else {
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
        let ended = self.instances.remove(&key).map(|(snapshot, _)| snapshot);
        self.put_finished(summary);
        Ok(ended)
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
            self.put_instance(snapshot, event_ids);
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
                let mut others = self.instances.keys().chain(self.finished.keys());
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
        self.put_fault(Fault { tenant: key.tenant, id: key.id, seq, message: message.into() });
    }

    // --- After the last record --------------------------------------------------------------

    /// Compiles the definitions of the open instances.
    fn compile(&mut self) {
        let names: HashSet<(TenantId, DefinitionHash), SeededHasher> =
            self.snapshots().map(|it| (it.tenant_id, it.definition_hash)).collect();
        for name in names {
            if let Some(machine) = self.definitions.get(&name).and_then(compile) {
                self.machines.insert(name.1, machine);
            }
        }
        let report = &mut self.report;
        report.instances = self.instances.len();
        report.finished = self.finished.len();
        report.definitions = self.definitions.len();
        report.faults = self.faults.values().cloned().collect();
        report.faults.sort_by_key(|it| (it.tenant, it.id));
        report.definitions_missing = self
            .instances
            .values()
            .filter(|(it, _)| !self.machines.contains_key(&it.definition_hash))
            .map(|(it, _)| it.id)
            .collect();
        report.definitions_missing.sort_unstable();
    }

    fn seed(&self, log: &dyn LogStore) {
        let instances = self.snapshots().map(|it| (it.tenant_id, it.id, it.seq));
        let definitions = self
            .definitions
            .keys()
            .map(|(tenant, hash)| (*tenant, crate::owner::definition_stream(hash), 1));
        log.seed(&mut instances.chain(definitions));
    }

    /// Lets equal texts of different instances be one: names, states, and the keys of data.
    fn share_texts(&mut self, mut snapshot: Snapshot) -> Snapshot {
        let texts = &mut self.texts;
        let mut share = |text: &Text| -> Text {
            if let Some(held) = texts.get(text) {
                return Arc::clone(held);
            }
            if texts.len() < INTERNED_MAX {
                texts.insert(Arc::clone(text));
            }
            Arc::clone(text)
        };
        snapshot.workflow = share(&snapshot.workflow);
        snapshot.version = share(&snapshot.version);
        for state in &mut snapshot.configuration {
            *state = share(state);
        }
        for value in [&mut snapshot.data, &mut snapshot.input] {
            if let Some(map) = value.as_map() {
                *value = Value::Map(Arc::new(
                    map.iter().map(|(key, it)| (share(key), it.clone())).collect(),
                ));
            }
        }
        snapshot
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
) -> Result<Vec<Fault>, Error> {
    let is_behind = lost.iter().any(|it| it.start < position);
    // A whole log has only the faults that were written down; their lines are few, or none.
    if !is_behind && !checkpoint::has_faults(body) {
        return Ok(Vec::new());
    }
    let mut recovery = Recovery::new(usize::MAX);
    checkpoint::read(body, &mut recovery, log)?;
    recovery.compare(log, position, lost)?;
    let mut faults: Vec<Fault> = recovery.faults.into_values().collect();
    faults.sort_by_key(|it| (it.tenant, it.id));
    Ok(faults)
}

/// Returns the context in which the scheduler acts for an instance.
fn context(
    contexts: &mut HashMap<TenantId, TenantCtx, SeededHasher>,
    snapshot: &Snapshot,
) -> TenantCtx {
    contexts
        .entry(snapshot.tenant_id)
        .or_insert_with(|| {
            // The snapshot stands for the records it was folded from.
            TenantCtx::of_record(&Header {
                tenant_id: snapshot.tenant_id,
                instance_id: snapshot.id,
                seq: snapshot.seq,
                v: RECORD_VERSION,
                at: Timestamp::default(),
                step: snapshot.step,
                definition_hash: snapshot.definition_hash,
                actor: Actor::engine(),
                causation_id: None,
                correlation_id: None,
            })
        })
        .clone()
}

/// Compiles a stored definition; none when this release does not accept it.
pub fn compile(body: &Value) -> Option<Arc<Machine>> {
    let definition = document::read_value(body).definition?;
    Machine::compile(Arc::new(definition)).ok().map(Arc::new)
}
