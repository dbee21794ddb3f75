//! The one owner of a set of instances: decides, commits, answers, asks. No threads, no clock.
//!
//! [`Owner::handle`] takes a [`Message`] and the time, and leaves what must happen outside in an
//! [`Outbox`]; the threads of [`crate::runtime`] and the simulation of the tests drive the same
//! code.
//!
//! Invariants:
//! - An instance has at most one append on its way; everything else waits in its mailbox.
//! - State is replaced, callers are answered and requests performed only after the commit.
//! - After a failed write or sync the owner is dead: it decides nothing and acknowledges nothing.
//! - A timer is fed only when the time is at or past its due time, the earliest first.
//! - A definition is durable before the first instance that it decides is offered to the log.

mod appending;
mod awaiting;
mod between;
mod broadcast;
mod cold;
mod committing;
mod deciding;
mod emitting;
mod family;
mod gated;
mod guarded;
mod hot;
mod jumping;
mod keeping;
mod mailbox;
mod message;
mod pace;
mod permit;
mod pressure;
mod questions;
mod quota;
mod redacting;
mod reopening;
mod rests;
mod resuming;
mod retiring;
mod scheduling;
mod settings;
mod slots;
mod starting;
mod undone;
mod upgrading;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    mem,
    sync::Arc,
};

use traaviis_engine::{Input, Machine, Request};
use traaviis_model::{
    Actor, DefinitionHash, EventIds, InstanceId, Record, Seq, Snapshot, Span, TenantCtx, TenantId,
    Timestamp, privacy::RedactionKey,
};
use traaviis_ports::LogError;

pub use crate::hasher::SeededHasher;
use crate::{
    error::Error,
    recovery::{Fault, Part},
    summary::Summary,
};
use appending::{to_append, to_document};
pub use between::{NoPost, Post};
pub use cold::HotShare;
use deciding::definition_missing;
pub use emitting::Outgoing;
pub use family::Relation;
pub use gated::SharedGates;
pub use hot::HotStats;
use hot::{Hot, Kept};
use jumping::{Unrecorded, Waits};
pub use mailbox::Accepted;
use mailbox::{Job, Mailbox, Origin};
pub use message::{
    Collected, Command, Committed, Found, Message, Outbox, Reopen, Reply, Start, StartOutcome,
    Upgrade,
};
use pace::Pace;
pub use pressure::{Level, PressureStats, Relief};
use quota::Quota;
pub use quota::Quotas;
use redacting::Lack;
pub use retiring::Leave;
pub use settings::Settings;
use slots::Slots;
use starting::Begun;
pub(crate) use starting::NO_TIME;
pub use starting::{Stored, definition_stream};

/// Names an instance across tenants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Tenant.
    pub tenant: TenantId,
    /// Instance.
    pub id: InstanceId,
}

impl Key {
    /// Returns the name of an instance.
    pub fn of(snapshot: &Snapshot) -> Key {
        Key { tenant: snapshot.tenant_id, id: snapshot.id }
    }
}

/// An open instance. Parked ones stay small: what only a busy one needs is boxed or elsewhere.
struct Instance {
    snapshot: Arc<Snapshot>,
    /// Absent when its definition is not in the log.
    machine: Option<Arc<Machine>>,
    mailbox: Option<Box<Mailbox>>,
    event_ids: Option<Box<EventIds>>,
    /// Its entry in the timer index.
    armed: Option<Timestamp>,
    /// Timers that were open when time followed the wall clock.
    waits: Option<Box<Waits>>,
    /// An append is on its way, or a full disk is waited for.
    hold: Hold,
    pace: Pace,
    /// What the snapshot store has of it.
    kept: Kept,
    /// Size of its state there.
    bytes: u32,
    /// When it was last needed.
    used: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    Idle,
    Committing,
    /// Something is missing, and is looked for again then.
    Lacks(Lack, Timestamp),
}

/// A step on its way to the log.
struct Pending {
    key: Key,
    /// Shared from the beginning, so that it is not moved about.
    snapshot: Arc<Snapshot>,
    records: Arc<Vec<Record>>,
    requests: Vec<Request>,
    origin: Origin,
    /// The input of the instance's own, to try again or to keep; none of a caller's.
    again: Option<Input>,
}

/// What an outcome of the log is about.
enum Commitment {
    Step(Box<Pending>),
    Start(Box<Begun>),
    Definition(TenantId, DefinitionHash),
    Jump(InstanceId, Unrecorded),
}

/// What is shared by the instances of one tenant.
struct Tenant {
    /// The engine in the tenant: acts for committed records.
    ctx: TenantCtx,
    slots: Slots,
    quota: Arc<Quota>,
    /// What redacts, once some instance has needed it.
    redaction: Option<RedactionKey>,
}

/// The owner.
pub struct Owner {
    settings: Settings,
    /// Open instances whose state is in memory.
    instances: HashMap<Key, Box<Instance>, SeededHasher>,
    hot: Hot,
    /// Instances that were not at rest when the last process ended.
    unrested: Vec<Key>,
    tenants: HashMap<TenantId, Tenant, SeededHasher>,
    faults: HashMap<Key, Fault, SeededHasher>,
    finished: HashMap<Key, Arc<Summary>, SeededHasher>,
    finished_order: VecDeque<Key>,
    definitions: starting::Definitions,
    starting: HashMap<Key, Vec<Start>, SeededHasher>,
    commits: HashMap<u64, Commitment, SeededHasher>,
    token: u64,
    /// Earliest timer of each instance.
    timers: BTreeSet<(Timestamp, Key)>,
    /// Instances that wait for space, or for a key.
    full: BTreeSet<(Timestamp, Key)>,
    /// Instances that are over their pace and have more to do.
    paced: BTreeSet<(Timestamp, Key)>,
    /// Children whose start waits for space, or for a key.
    unborn: HashMap<Key, Start, SeededHasher>,
    /// Jumps of the clock whose record waits for space.
    unrecorded: HashMap<Key, Unrecorded, SeededHasher>,
    /// Jumps since the last time that nothing was on its way to the log: when, and how far.
    jumps: Vec<(Timestamp, Span)>,
    /// What was emitted here and is not heard by all yet; sent again by the next process.
    emissions: BTreeMap<(Key, Seq), Outgoing>,
    /// Who waits for an instance to come somewhere.
    awaiting: HashMap<Key, Vec<awaiting::Awaiting>, SeededHasher>,
    /// Who is told when an instance ends.
    attending: HashMap<Key, BTreeSet<InstanceId>, SeededHasher>,
    /// Instances that leave the log, or have just left it, and since when.
    retired: BTreeMap<Key, Timestamp>,
    /// Instances that may take a step now.
    ready: VecDeque<Key>,
    /// Tenants of whom a slot may be free.
    freed: VecDeque<TenantId>,
    engine: Actor,
    dead: Option<LogError>,
    draining: bool,
    drained: Vec<Box<dyn FnOnce() + Send>>,
}

impl Owner {
    /// Returns an owner of what recovery found; [`Owner::resume`] sets it going.
    pub fn new(settings: Settings, part: Part) -> Owner {
        let hot = Hot::new(settings.snapshots.clone(), settings.hot_bytes);
        let mut owner = Owner {
            settings,
            instances: HashMap::default(),
            hot,
            unrested: Vec::new(),
            tenants: HashMap::default(),
            faults: HashMap::default(),
            finished: HashMap::default(),
            finished_order: VecDeque::new(),
            definitions: starting::Definitions::default(),
            starting: HashMap::default(),
            commits: HashMap::default(),
            token: 0,
            timers: BTreeSet::new(),
            full: BTreeSet::new(),
            paced: BTreeSet::new(),
            unborn: HashMap::default(),
            unrecorded: HashMap::default(),
            jumps: Vec::new(),
            emissions: BTreeMap::new(),
            awaiting: HashMap::default(),
            attending: HashMap::default(),
            retired: BTreeMap::new(),
            ready: VecDeque::new(),
            freed: VecDeque::new(),
            engine: Actor::engine(),
            dead: None,
            draining: false,
            drained: Vec::new(),
        };
        owner.restore(part);
        owner
    }

    /// Takes a message.
    pub fn handle(&mut self, message: Message, now: Timestamp, outbox: &mut dyn Outbox) {
        match message {
            Message::Start(start) => {
                match self.refusal().or_else(|| permit::start_refusal(&start.ctx)) {
                    // The start of a child is part of the work of its parent.
                    Some(Error::Stopping) if start.birth.lineage.is_some() => {
                        self.start(start, now, outbox);
                    }
                    Some(error) => (start.reply)(Err(error)),
                    None => self.start(start, now, outbox),
                }
            }
            Message::Upgrade(upgrade) => match self.refusal() {
                Some(error) => (upgrade.reply)(Err(error)),
                None => self.upgrade(upgrade, now, outbox),
            },
            Message::Command { ctx, id, command, reply } => match self.refusal() {
                Some(error) => reply(Err(error)),
                None => self.command(id, command, Origin::Caller(ctx, reply), now, outbox),
            },
            Message::Reopen(reopen) => match self.refusal() {
                Some(error) => (reopen.reply)(Err(error)),
                None => self.reopen(*reopen, now, outbox),
            },
            // Nothing new is taken while the process ends; the next one sends it again.
            Message::Emission { tenant, to, emission } => match self.refusal() {
                Some(_) => {}
                None => self.hear(Key { tenant, id: to }, emission),
            },
            Message::Heard { publisher, seq, by } => self.heard(publisher, seq, by),
            Message::Invoke(invoke) => match &self.dead {
                Some(_) => {}
                None => self.take_invoke(*invoke, now, outbox),
            },
            Message::Settle { tenant, of, call, how } => {
                self.settle_wait(Key { tenant, id: of }, &call, how);
            }
            // What an instance asked is part of its work, which goes on while nothing new is taken.
            Message::Deliver { ctx, id, command, reply } => match &self.dead {
                Some(error) => reply(Err(Error::Log(error.clone()))),
                None => self.command(id, command, Origin::Instance(ctx, reply), now, outbox),
            },
            Message::Outcome { tenant, call, outcome } => self.outcome(tenant, call, outcome),
            Message::Yield { tenant, call } => self.free_slot(tenant, &call),
            Message::Attend { ctx, of, by, relation } => self.attend(&ctx, of, by, relation),
            Message::Ended { tenant, to, of, ending } => {
                self.heard_end(Key { tenant, id: to }, of, ending);
            }
            Message::Committed(outcomes) => {
                for (token, commit) in outcomes {
                    self.committed(token, commit, now, outbox);
                }
            }
            Message::ClockJumped { jump, stream, done } => {
                if self.dead.is_none() {
                    self.clock_jumped(jump, stream, now, outbox);
                }
                // Dropped, it says that all has been done.
                drop(done);
            }
            Message::Retire { ended, reply } => {
                // Whoever asked may have given up, and then archives nothing.
                let _ = reply.send((self.retire(&ended, now), ended));
            }
            Message::Retired { archived, kept, reply } => {
                self.retired(&archived, &kept);
                // As above.
                let _ = reply.send(());
            }
            Message::Saved(sizes) => self.saved(sizes),
            Message::Memory(to) => {
                // As above.
                let _ = to.send(self.hot_stats());
            }
            Message::OldestWork { tenant, reply } => {
                // As above.
                let _ = reply.send(self.oldest_work(tenant, now));
            }
            Message::Find { ctx, id, reply } => reply(self.find(ctx.tenant(), id)),
            Message::List { ctx, filter, reply } => reply(self.list(ctx.tenant(), &filter)),
            Message::Collect(to) => {
                // Whoever asked may have given up.
                let _ = to.send(self.collect());
            }
            Message::Drain(reply) => {
                self.draining = true;
                self.drained.push(reply);
                self.ready.extend(mem::take(&mut self.paced).into_iter().map(|it| it.1));
            }
        }
        self.settle(now, outbox);
        self.relieve(now, outbox);
    }

    /// Feeds what is due.
    pub fn tick(&mut self, now: Timestamp, outbox: &mut dyn Outbox) {
        while let Some((at, key)) = self.full.first().copied()
            && at <= now
        {
            self.full.pop_first();
            self.activate(key);
            if let Some(instance) = self.instances.get_mut(&key) {
                instance.hold = Hold::Idle;
                self.ready.push_back(key);
            }
            if let Some(start) = self.unborn.remove(&key) {
                self.start(start, now, outbox);
            }
            self.record_again(key, now, outbox);
        }
        while let Some((at, key)) = self.paced.first().copied()
            && at <= now
        {
            self.paced.pop_first();
            self.activate(key);
            self.ready.push_back(key);
        }
        while !self.draining
            && let Some((due, key)) = self.timers.first().copied()
            && due <= now
        {
            self.timers.pop_first();
            self.activate(key);
            if let Some(instance) = self.instances.get_mut(&key) {
                instance.armed = None;
                self.ready.push_back(key);
            }
        }
        if !self.draining {
            self.let_in(now);
        }
        if self.hot.pressure.has_waiting() {
            self.let_start(now, outbox);
        }
        self.settle(now, outbox);
        self.relieve(now, outbox);
    }

    /// Returns when [`Owner::tick`] is needed next.
    pub fn next_wake(&self) -> Option<Timestamp> {
        if self.dead.is_some() {
            return None;
        }
        let timer = self.timers.first().filter(|_| !self.draining).map(|it| it.0);
        let full = self.full.first().map(|it| it.0);
        let paced = self.paced.first().map(|it| it.0);
        let gate = self.settings.gates.due().filter(|_| !self.draining);
        timer.into_iter().chain(full).chain(paced).chain(gate).chain(self.hot.wake()).min()
    }

    /// Says whether nothing runs: no append and no call is on its way.
    pub fn is_quiet(&self) -> bool {
        self.commits.is_empty()
            && self.ready.is_empty()
            && self.tenants.values().all(|it| it.slots.running() == 0)
    }

    /// Returns how many appends are on their way to the log, or will be once it answers.
    pub fn in_flight(&self) -> usize {
        self.commits.len() + self.definitions.waiting_count()
    }

    /// Returns the error that ended this owner.
    pub fn failure(&self) -> Option<&LogError> {
        self.dead.as_ref()
    }

    /// Returns the open instances, in no particular order; those that rest are read.
    pub fn open_instances(&self) -> impl Iterator<Item = Arc<Snapshot>> {
        let active = self.instances.values().map(|it| Arc::clone(&it.snapshot));
        active.chain(self.resting_states(|_, _| true))
    }

    /// Why nothing new is taken, if so.
    fn refusal(&self) -> Option<Error> {
        match &self.dead {
            Some(error) => Some(Error::Log(error.clone())),
            None => self.draining.then_some(Error::Stopping),
        }
    }

    /// Lets slots and ready instances go as far as they can without the outside.
    fn settle(&mut self, now: Timestamp, outbox: &mut dyn Outbox) {
        while self.dead.is_none() {
            if let Some(tenant) = self.freed.pop_front() {
                self.promise_slots(tenant);
            } else if let Some(key) = self.ready.pop_front() {
                self.advance(key, now, outbox);
            } else {
                break;
            }
        }
        if !self.drained.is_empty() && (self.is_quiet() || self.dead.is_some()) {
            for reply in mem::take(&mut self.drained) {
                reply();
            }
        }
    }
}

/// Returns what a map holds in the order of its keys: whatever can be seen follows no other.
fn in_order<K: Ord, V>(map: HashMap<K, V, SeededHasher>) -> BTreeMap<K, V> {
    map.into_iter().collect()
}
