//! Which states of open instances are in memory.
//!
//! A state that changed is dirty until the snapshot store has it. One that is clean and at rest can
//! be taken out of memory; what it must still be found by stays: its timer, its business key, what
//! it subscribes to. Whatever concerns it brings it back first ([`Owner::activate`]).
//!
//! Without a snapshot store all states stay in memory.
//!
//! Invariants: a state is in memory, or the store has this very one; only what is clean, decides
//! nothing and waits for nothing in memory is taken out; tenants that hold the most give way first.

use std::{
    collections::{BinaryHeap, HashMap},
    mem,
    sync::Arc,
};

use traaviis_engine::Machine;
use traaviis_model::{EventIds, Seq, Snapshot, Span, TenantCtx, TenantId, Timestamp};
use traaviis_ports::{LogError, SnapshotStore};

use super::{
    Hold, Instance, Key, Outbox, Owner, Pace, SeededHasher,
    cold::Cold,
    pressure::{Level, Pressure, PressureStats, Relief},
    rests::{Resting, Rests, Timers},
};
use crate::{
    limits::HOT_KEPT_PERCENT,
    recovery::{Fault, Head},
    snapshots::{self, State},
    summary::Summary,
    texts::Texts,
};

/// Bytes that a state in memory takes beside its size on disk: the structures around it.
const OVERHEAD: usize = 800;
/// Bytes in memory for one on disk: values are larger than their JSON.
const PER_BYTE: usize = 2;
/// Size on disk that a state counts with which was never there.
pub(super) const UNKNOWN: u32 = 600;
/// Time between two looks for states to take out when there were too few.
const LOOK_EVERY: Span = Span::millis(100);

/// What the snapshot store has of an instance in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// An older state, or none.
    Dirty { has_row: bool },
    /// This one is on its way there.
    Saving,
    /// This one.
    Clean,
}

impl Kept {
    /// Follows a change; says whether the instance must be noted as dirty.
    pub(super) fn change(&mut self) -> bool {
        let is_new = !matches!(self, Kept::Dirty { .. });
        if is_new {
            *self = Kept::Dirty { has_row: true };
        }
        is_new
    }
}

/// How much is in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HotStats {
    /// Open instances whose state is in memory.
    pub active: usize,
    /// Open instances whose state is not.
    pub resting: usize,
    /// Estimated bytes of the states in memory.
    pub bytes: usize,
    /// States taken out since the start.
    pub taken_out: u64,
    /// States brought back since the start.
    pub brought_back: u64,
    /// How short memory was.
    pub pressure: PressureStats,
}

impl HotStats {
    /// Returns what two owners hold together.
    pub(crate) fn and(self, other: HotStats) -> HotStats {
        HotStats {
            active: self.active + other.active,
            resting: self.resting + other.resting,
            bytes: self.bytes + other.bytes,
            taken_out: self.taken_out + other.taken_out,
            brought_back: self.brought_back + other.brought_back,
            pressure: self.pressure.and(other.pressure),
        }
    }
}

/// The states of an owner.
pub(super) struct Hot {
    store: Option<Arc<dyn SnapshotStore>>,
    limit: usize,
    rests: Rests,
    /// Instances whose state is dirty; those that have ended since are passed over.
    dirty: Vec<Key>,
    /// Instances whose states are on their way to the store.
    saving: Vec<Key>,
    /// Instances that had a row and have ended.
    gone: Vec<Arc<Summary>>,
    going: Vec<Arc<Summary>>,
    bytes: usize,
    next_look: Timestamp,
    /// The states are being saved because memory is short.
    pub(super) asked: bool,
    pub(super) cold: Cold,
    taken_out: u64,
    brought_back: u64,
    texts: Texts,
    pub(super) pressure: Pressure,
}

impl Hot {
    pub(super) fn new(store: Option<Arc<dyn SnapshotStore>>, limit: usize) -> Hot {
        Hot {
            store,
            limit,
            rests: Rests::default(),
            dirty: Vec::new(),
            saving: Vec::new(),
            gone: Vec::new(),
            going: Vec::new(),
            bytes: 0,
            next_look: Timestamp(i64::MIN),
            asked: false,
            cold: Cold::default(),
            taken_out: 0,
            brought_back: 0,
            texts: Texts::default(),
            pressure: Pressure::default(),
        }
    }

    /// Says whether states can rest anywhere.
    pub(super) fn has_store(&self) -> bool {
        self.store.is_some()
    }

    /// Returns the bytes that states in memory may take: what instances that rest are found by
    /// takes its part of the share, and leaves a quarter.
    fn limit(&self) -> usize {
        self.limit.saturating_sub(self.rests.bytes()).max(self.limit / 4)
    }

    /// Returns when memory is to be looked after, for those who wait for it or because something
    /// should not be there.
    pub(super) fn wake(&self) -> Option<Timestamp> {
        let pressed = self.pressure.due().map(|it| it.min(self.next_look));
        pressed.into_iter().chain(self.cold.wake()).min()
    }

    /// Says whether an open instance is not in memory.
    pub(super) fn rests(&self, key: &Key) -> bool {
        self.rests.contains(key)
    }

    /// Notes a state as dirty.
    pub(super) fn note_dirty(&mut self, key: Key) {
        if self.store.is_some() {
            self.dirty.push(key);
        }
    }

    /// Notes a state that has come into memory.
    pub(super) fn note_added(&mut self, bytes: u32) {
        self.bytes += weight(bytes);
    }

    /// Notes a state that has left memory.
    pub(super) fn note_removed(&mut self, instance: &Instance) {
        self.bytes = self.bytes.saturating_sub(weight(instance.bytes));
    }

    /// Notes that an instance which has a row has ended.
    pub(super) fn note_ended(&mut self, kept: Kept, summary: &Arc<Summary>) {
        if self.store.is_some() && kept != (Kept::Dirty { has_row: false }) {
            self.gone.push(Arc::clone(summary));
        }
    }
}

fn weight(bytes: u32) -> usize {
    OVERHEAD + PER_BYTE * bytes as usize
}

impl Owner {
    /// Takes over an instance whose state is in the store.
    pub(super) fn restore_resting(&mut self, ctx: &TenantCtx, head: Head) {
        let key = head.key;
        let machine = self.definitions.machines.get(&head.definition).cloned();
        self.tenant(ctx).quota.found();
        if let Some(correlation) = &head.correlation {
            self.restore_correlation(key, &head.workflow, correlation);
        }
        machine.iter().for_each(|it| self.settings.subscribers.add(key, it));
        let armed = head.due.filter(|_| machine.is_some());
        armed.map(|due| self.timers.insert((due, key)));
        let Head { seq, rests, timed, .. } = head;
        let timers = Timers::new(armed, timed);
        let resting = Resting { seq, machine, timers, waits: None };
        self.hot.rests.insert(key, resting);
        if !rests && self.activate(key) {
            let snapshot = &self.instances[&key].snapshot;
            self.settings.gates.restore(snapshot);
            self.unrested.push(key);
            if self.hot.bytes > self.hot.limit() {
                self.passivate(key);
            }
        }
    }

    /// Brings the state of an instance into memory if it rests; says whether it did, and is there
    /// now.
    pub(super) fn activate(&mut self, key: Key) -> bool {
        // Most processes have room for all; they look for nothing.
        if self.hot.rests.is_empty() {
            return false;
        }
        let Some(resting) = self.hot.rests.remove(&key) else { return false };
        let (State { mut snapshot, event_ids }, bytes) = match self.load(key, resting.seq) {
            Ok(loaded) => loaded,
            Err(why) => {
                self.lose(key, resting, why);
                return false;
            }
        };
        self.hot.texts.share_in(&mut snapshot);
        self.hot.brought_back += 1;
        self.hot.note_added(bytes);
        let instance = Instance {
            snapshot: Arc::new(snapshot),
            machine: resting.machine,
            mailbox: None,
            event_ids,
            armed: resting.timers.armed(),
            waits: resting.waits,
            hold: Hold::Idle,
            pace: Pace::rested(),
            kept: Kept::Clean,
            bytes,
            used: Timestamp(i64::MAX),
        };
        self.instances.insert(key, Box::new(instance));
        self.note_cold(key, Timestamp(i64::MIN));
        true
    }

    /// Takes a state out of memory that is clean and at rest.
    pub(super) fn passivate(&mut self, key: Key) {
        let Some(instance) = self.instances.remove(&key) else { return };
        debug_assert_eq!(instance.kept, Kept::Clean, "the store has this state");
        self.hot.note_removed(&instance);
        self.hot.taken_out += 1;
        let Instance { snapshot, machine, armed, waits, .. } = *instance;
        let timers = Timers::new(armed, !snapshot.timers.is_empty());
        let resting = Resting { seq: snapshot.seq, machine, timers, waits };
        self.hot.rests.insert(key, resting);
    }

    /// Reads the state of an instance that rests, from the store or else from its history, and how
    /// many bytes it is on disk.
    fn load(&self, key: Key, seq: Seq) -> Result<(State, u32), Arc<str>> {
        let Some(tenant) = self.tenants.get(&key.tenant) else {
            return Err("its tenant is not known".into());
        };
        let stored = self.hot.store.as_ref().map(|it| it.get(&tenant.ctx, key.id));
        let is_it = |it: &State| Key::of(&it.snapshot) == key && it.snapshot.seq == seq;
        let why = match stored {
            Some(Ok(Some(body))) => match self.read_state(&body) {
                Ok(Some(state)) if is_it(&state) => return Ok((state, snapshots::size(&body))),
                Ok(_) => "it is another one".to_owned(),
                Err(error) => error.to_string(),
            },
            Some(Err(error)) => error.to_string(),
            Some(Ok(None)) | None => "it is not there".to_owned(),
        };
        let failed = |also: String| -> Arc<str> {
            format!("its state cannot be read: {why}; nor its history: {also}").into()
        };
        let Some(past) = &self.settings.past else { return Err(failed("there is none".into())) };
        let records = past.history(&tenant.ctx, key.id).map_err(|it| failed(it.to_string()))?;
        let snapshot = Snapshot::fold(&records).map_err(|it| failed(it.to_string()))?;
        let snapshot = snapshot.ok_or_else(|| failed("it is empty".into()))?;
        let state = State { snapshot, event_ids: EventIds::of(&records) };
        let ends = || failed(format!("it ends at record {}, not {seq}", state.snapshot.seq));
        // It stands nowhere as a state: what it weighs is known when it is put there.
        if is_it(&state) { Ok((state, 0)) } else { Err(ends()) }
    }

    fn read_state(&self, body: &[u8]) -> Result<Option<State>, LogError> {
        match &self.settings.past {
            Some(past) => snapshots::read(body, past.log()),
            None => Ok(snapshots::read_open(body)),
        }
    }

    /// Sets an instance aside whose state is nowhere.
    fn lose(&mut self, key: Key, resting: Resting, message: Arc<str>) {
        self.dismiss(key);
        resting.machine.iter().for_each(|it| self.settings.subscribers.remove(key, it));
        resting.timers.armed().map(|due| self.timers.remove(&(due, key)));
        let seq = resting.seq;
        let (tenant, id) = (key.tenant, key.id);
        self.faults.insert(key, Fault { tenant, id, seq, message, is_mendable: false });
    }

    /// Returns the states of instances that rest, of one tenant or all, as far as they can be read.
    pub(super) fn resting_states(
        &self,
        takes: impl Fn(&Key, Option<&Machine>) -> bool,
    ) -> impl Iterator<Item = Arc<Snapshot>> {
        let resting = self.hot.rests.iter();
        let taken = resting.filter(move |(key, _, machine)| takes(key, *machine));
        let states = taken.filter_map(|(key, seq, _)| self.load(key, seq).ok());
        states.map(|(it, _)| Arc::new(it.snapshot))
    }

    /// Does something to every open instance that may have timers, also those that rest.
    pub(super) fn each_timed(&mut self, mut work: impl FnMut(&mut Owner, Key)) {
        let active: Vec<Key> = self.instances.keys().copied().collect();
        let resting: Vec<Key> = self.hot.rests.timed().collect();
        active.into_iter().for_each(|key| work(self, key));
        for key in resting {
            if self.activate(key) {
                work(self, key);
                self.passivate(key);
            }
        }
    }

    // --- To the store -----------------------------------------------------------------------

    /// Returns the states that the store must learn, and what has ended that it knows.
    pub(super) fn dirty_states(&mut self) -> DirtyStates {
        let mut states = Vec::with_capacity(self.hot.dirty.len());
        for key in mem::take(&mut self.hot.dirty) {
            let Some(instance) = self.instances.get_mut(&key) else { continue };
            if matches!(instance.kept, Kept::Dirty { .. }) {
                instance.kept = Kept::Saving;
                self.hot.saving.push(key);
                let (snapshot, ids) = (Arc::clone(&instance.snapshot), instance.event_ids.clone());
                states.push((self.kept_state(key, &snapshot), ids));
            }
        }
        let ended = mem::take(&mut self.hot.gone);
        self.hot.going.extend(ended.iter().cloned());
        (states, ended)
    }

    /// Learns whether the store has what [`Owner::dirty_states`] gave, and how large it is there.
    pub(super) fn saved(&mut self, sizes: Option<Vec<(Key, u32)>>) {
        let (saving, going) = (mem::take(&mut self.hot.saving), mem::take(&mut self.hot.going));
        self.hot.asked = false;
        self.hot.next_look = Timestamp(i64::MIN);
        let Some(sizes) = sizes else {
            // In the order in which they ended: one may have begun again and ended again.
            self.hot.gone.splice(0..0, going);
            for key in saving {
                let Some(instance) = self.instances.get_mut(&key) else { continue };
                if instance.kept == Kept::Saving {
                    instance.kept = Kept::Dirty { has_row: true };
                    self.hot.dirty.push(key);
                }
            }
            return;
        };
        for (key, bytes) in sizes {
            let Some(instance) = self.instances.get_mut(&key) else { continue };
            self.hot.note_removed(instance);
            instance.bytes = bytes;
            self.hot.note_added(bytes);
            if instance.kept == Kept::Saving {
                instance.kept = Kept::Clean;
            }
        }
    }

    // --- Out of memory ----------------------------------------------------------------------

    /// Takes states out of memory when there are too many, and lets dirty ones be saved when that
    /// is not enough.
    pub(super) fn relieve(&mut self, now: Timestamp, outbox: &mut dyn Outbox) {
        self.cool(now, outbox);
        let is_over = self.hot.store.is_some() && self.hot.bytes > self.hot.limit();
        if !is_over || now < self.hot.next_look || self.dead.is_some() {
            return;
        }
        let target = self.hot.limit() / 100 * HOT_KEPT_PERCENT;
        let (unused, oldest) = self.choose(target, now);
        for (level, keys) in [(Level::Unused, unused), (Level::Oldest, oldest)] {
            let (before, evicted) = (self.hot.bytes, keys.len() as u64);
            keys.into_iter().for_each(|key| self.passivate(key));
            if evicted > 0 {
                let after = self.hot.bytes;
                self.hot.pressure.note(Relief { at: now, level, before, after, evicted });
            }
        }
        let before = self.hot.bytes;
        if before > target {
            self.hot.next_look = now.plus(LOOK_EVERY);
            if !self.hot.asked && !self.hot.dirty.is_empty() {
                self.hot.asked = true;
                outbox.save_states();
                let (level, after, evicted) = (Level::Saved, before, 0);
                self.hot.pressure.note(Relief { at: now, level, before, after, evicted });
            }
        }
    }

    /// Chooses what is taken out: what nobody has used for long, then of the tenant that holds the
    /// most what was not used for the longest time.
    fn choose(&mut self, target: usize, now: Timestamp) -> (Vec<Key>, Vec<Key>) {
        let mut held: HashMap<TenantId, usize, SeededHasher> = HashMap::default();
        let mut idle: HashMap<TenantId, Vec<(Timestamp, Key, usize)>, SeededHasher> =
            HashMap::default();
        let (mut expired, ttl) = (Vec::new(), self.settings.hot_ttl);
        for (key, instance) in &mut self.instances {
            let bytes = weight(instance.bytes);
            // What came back is as young as the first look at it.
            instance.used = instance.used.min(now);
            if instance.may_rest(now) && now.since(instance.used) > ttl {
                expired.push((instance.used, *key, bytes));
                continue;
            }
            *held.entry(key.tenant).or_default() += bytes;
            if instance.may_rest(now) {
                idle.entry(key.tenant).or_default().push((instance.used, *key, bytes));
            }
        }
        expired.sort_unstable();
        let mut left = self.hot.bytes;
        let (mut unused, mut oldest) = (Vec::new(), Vec::new());
        for (_, key, bytes) in expired {
            if left > target {
                left -= bytes;
                unused.push(key);
            }
        }
        let mut tenants = BinaryHeap::with_capacity(idle.len());
        for (tenant, states) in &mut idle {
            // The last is taken first.
            states.sort_unstable_by(|a, b| b.cmp(a));
            tenants.push((held[tenant], *tenant));
        }
        while left > target
            && let Some((bytes, tenant)) = tenants.pop()
        {
            if let Some((_, key, of_state)) = idle.get_mut(&tenant).and_then(Vec::pop) {
                left -= of_state;
                oldest.push(key);
                tenants.push((bytes - of_state, tenant));
            }
        }
        (unused, oldest)
    }

    /// Says how much is in memory.
    pub fn hot_stats(&self) -> HotStats {
        HotStats {
            active: self.instances.len(),
            resting: self.hot.rests.len(),
            bytes: self.hot.bytes,
            taken_out: self.hot.taken_out,
            brought_back: self.hot.brought_back,
            pressure: self.hot.pressure.stats(),
        }
    }
}

/// States with their deduplication ids, and instances that have ended.
pub(super) type DirtyStates = (Vec<(Arc<Snapshot>, Option<Box<EventIds>>)>, Vec<Arc<Summary>>);

impl Instance {
    /// Says whether it needs nothing from memory.
    pub(super) fn may_rest(&self, now: Timestamp) -> bool {
        self.kept == Kept::Clean && self.is_free(now) && self.pace.is_rested(now)
    }
}
