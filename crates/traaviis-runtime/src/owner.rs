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

mod awaiting;
mod between;
mod broadcast;
mod cold;
mod committing;
mod emitting;
mod family;
mod gated;
mod hot;
mod jumping;
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
mod retiring;
mod slots;
mod starting;
mod undone;
mod upgrading;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use traaviis_engine::{Input, Machine, Recovery, Request, Step, StepContext, priority_of, recover};
use traaviis_model::{
    Actor, Body, Call, CallId, DefinitionHash, DeliveryClass, EventIds, Header, InstanceId, Record,
    Seq, Snapshot, Span, TenantCtx, TenantId, Text, Timestamp, Value,
    call::GATE,
    definition::Retention,
    limits::{
        EVENT_ID_WINDOW, EVENTS_PER_SECOND_MAX, MAILBOX_MAX, OPEN_INSTANCES_MAX,
        RUNNING_EFFECTS_MAX, STEPS_PER_SECOND_MAX,
    },
    privacy::RedactionKey,
    record::{RECORD_VERSION, Status},
};
use traaviis_ports::{
    Append, Lines, LogError, NoKeys, Outcome, RedactionKeys, SnapshotStore,
    planted::{self, Bug},
};

pub use crate::hasher::SeededHasher;
use crate::{
    correlation::{Correlations, Unique},
    error::Error,
    library::{Library, NoLibrary},
    limits::{FINISHED_SUMMARIES_MAX, FULL_RETRY, HOT_BYTES_MAX, HOT_FULL_BYTES},
    past::Past,
    recovery::{Fault, Part, Recovered},
    subscribers::Subscribers,
    summary::Summary,
};
pub use between::{NoPost, Post};
pub use cold::HotShare;
pub use emitting::Outgoing;
pub use family::Relation;
pub use gated::SharedGates;
pub use hot::HotStats;
use hot::{Hot, Kept};
use jumping::{Unrecorded, Waits};
pub use mailbox::Accepted;
use mailbox::{Class, Job, Mailbox, Origin};
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
use slots::{Slots, Waiting};
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

/// Settings of an owner.
#[derive(Clone)]
pub struct Settings {
    /// Calls of one tenant that run at once.
    pub slots: usize,
    /// Steps of one instance in a second; none means any number.
    pub steps_per_second: Option<u32>,
    /// Events that a tenant's callers may send in a second; none means any number.
    pub events_per_second: Option<u32>,
    /// Instances that a tenant may have open; none means any number.
    pub open_max: Option<usize>,
    /// What tenants have of both.
    pub quotas: Arc<Quotas>,
    /// Ended instances to remember.
    pub finished_max: usize,
    /// Gates of the process.
    pub gates: Arc<SharedGates>,
    /// Business keys of the process.
    pub correlations: Arc<Correlations>,
    /// Who hears emitted events.
    pub subscribers: Arc<Subscribers>,
    /// Definitions of the process that are durable.
    pub definitions: Arc<Stored>,
    /// Set when an ended instance was forgotten, so that its id is looked up in the log.
    pub forgets: Arc<AtomicBool>,
    /// The way to the other owners of the process.
    pub post: Arc<dyn Post>,
    /// What children run.
    pub library: Arc<dyn Library>,
    /// Where the states of ended instances are.
    pub past: Option<Past>,
    /// Where the states of open instances rest; without one they all stay in memory.
    pub snapshots: Option<Arc<dyn SnapshotStore>>,
    /// Bytes of states in memory beyond which some are taken out.
    pub hot_bytes: usize,
    /// Bytes of states in memory beyond which callers begin nothing new.
    pub full_bytes: usize,
    /// How many of a tenant's instances may stay in memory; none means all.
    pub hot_share: Option<HotShare>,
    /// Where the keys that redact come from.
    pub keys: Arc<dyn RedactionKeys>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            slots: RUNNING_EFFECTS_MAX,
            steps_per_second: Some(STEPS_PER_SECOND_MAX),
            events_per_second: Some(EVENTS_PER_SECOND_MAX),
            open_max: Some(OPEN_INSTANCES_MAX),
            quotas: Arc::default(),
            finished_max: FINISHED_SUMMARIES_MAX,
            gates: Arc::default(),
            correlations: Arc::default(),
            subscribers: Arc::default(),
            definitions: Arc::default(),
            forgets: Arc::default(),
            post: Arc::new(NoPost),
            library: Arc::new(NoLibrary),
            past: None,
            snapshots: None,
            hot_bytes: HOT_BYTES_MAX,
            full_bytes: HOT_FULL_BYTES,
            hot_share: None,
            keys: Arc::new(NoKeys),
        }
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

    fn restore(&mut self, part: Part) {
        for (tenant, hash, body) in part.definitions {
            self.settings.definitions.add((tenant, hash), Retention::of_document(&body));
            self.definitions.stored.insert((tenant, hash), body);
        }
        self.definitions.machines.extend(part.machines);
        for summary in part.finished {
            self.remember(summary);
        }
        for fault in part.faults {
            self.faults.insert(Key { tenant: fault.tenant, id: fault.id }, fault);
        }
        self.emissions = part.emissions.into_iter().map(|it| (it.name(), it)).collect();
        self.instances.reserve(part.instances.len());
        for summary in part.gone {
            self.hot.note_ended(Kept::Dirty { has_row: true }, &summary);
        }
        for (ctx, head) in part.resting {
            self.restore_resting(&ctx, head);
        }
        for Recovered { ctx, snapshot, event_ids, has_row } in part.instances {
            let machine = self.definitions.machines.get(&snapshot.definition_hash).cloned();
            self.tenant(&ctx).quota.found();
            self.settings.gates.restore(&snapshot);
            let key = Key::of(&snapshot);
            if let Some(correlation) = &snapshot.correlation {
                self.restore_correlation(key, &snapshot.workflow, correlation);
            }
            self.unrested.push(key);
            self.open(Arc::new(snapshot), machine, event_ids, has_row);
            if planted::is(Bug::TimerOnlyInMemory) {
                let armed = self.instances.get_mut(&key).and_then(|it| it.armed.take());
                armed.map(|due| self.timers.remove(&(due, key)));
            }
        }
    }

    fn restore_correlation(&self, key: Key, workflow: &Text, correlation: &Text) {
        // What the log holds is true, even two open instances of one key.
        let correlations = &self.settings.correlations;
        let _ = correlations.open(key.tenant, workflow, correlation, key.id, Unique::No);
    }

    /// Goes on with what the last process left: attempts without outcome, calls that wait, timers.
    pub fn resume(
        &mut self,
        class: &dyn Fn(&TenantCtx, &str, &Value) -> DeliveryClass,
        now: Timestamp,
        outbox: &mut dyn Outbox,
    ) {
        let mut keys = mem::take(&mut self.unrested);
        keys.sort_unstable();
        for key in keys {
            self.resume_instance(key, class, now);
            self.relieve(now, outbox);
        }
        for outgoing in mem::take(&mut self.emissions).into_values() {
            self.send_emission(outgoing);
        }
        let mut tenants: Vec<TenantId> = self.tenants.keys().copied().collect();
        tenants.sort_unstable();
        self.freed.extend(tenants);
        self.tick(now, outbox);
    }

    fn resume_instance(
        &mut self,
        key: Key,
        class: &dyn Fn(&TenantCtx, &str, &Value) -> DeliveryClass,
        now: Timestamp,
    ) {
        self.activate(key);
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let snapshot = Arc::clone(&instance.snapshot);
        let Some(machine) = instance.machine.clone() else { return };
        let Some(tenant) = self.tenants.get_mut(&key.tenant) else { return };
        let ctx = tenant.ctx.clone();
        let Recovery { inputs, queued, asked } =
            recover(&snapshot, |kind, input| class(&ctx, kind, input));
        let (gates, asked): (Vec<Call>, Vec<Call>) =
            asked.into_iter().partition(|it| &*it.kind == GATE);
        asked.iter().for_each(|call| tenant.slots.take(&call.id));
        for (tree, path) in queued {
            let priority = priority_of(&machine, &snapshot, tree, &path);
            tenant.slots.wait(Waiting { key, tree, path, priority });
        }
        asked.into_iter().for_each(|call| self.ask_instance(&ctx, call));
        gates.into_iter().for_each(|call| self.ask_gate(key.tenant, call, now));
        self.meet_family(&ctx, &snapshot);
        let Some(instance) = self.instances.get_mut(&key).filter(|_| !inputs.is_empty()) else {
            return;
        };
        let mailbox = instance.mailbox.get_or_insert_default();
        inputs.into_iter().for_each(|input| mailbox.push(Job::runtime(input)));
        self.ready.push_back(key);
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

    // --- Inputs -----------------------------------------------------------------------------

    fn command(
        &mut self,
        id: InstanceId,
        command: Command,
        origin: Origin,
        now: Timestamp,
        outbox: &mut dyn Outbox,
    ) {
        let Some(ctx) = origin.ctx() else { return };
        let key = Key { tenant: ctx.tenant(), id };
        let per_second = self.pace_limit();
        self.activate(key);
        let Some(instance) = self.instances.get(&key) else {
            return origin.answer(Err(self.why_not_open(key)));
        };
        let Some(machine) = &instance.machine else {
            return origin.answer(Err(definition_missing(&instance.snapshot)));
        };
        if let Some(error) = permit::refusal(ctx, &command, machine) {
            return origin.answer(Err(error));
        }
        if let Err(error) = self.admit_event(key, &command, &origin, now) {
            return origin.answer(Err(error));
        }
        let Some(instance) = self.instances.get_mut(&key) else { return };
        if let Hold::Lacks(lack, until) = instance.hold
            && matches!(origin, Origin::Caller(..))
        {
            // Whether a key can be had is found out, and told, by each caller.
            if now < until && lack == Lack::Space {
                return origin.answer(Err(Error::Log(LogError::Full)));
            }
            self.full.remove(&(until, key));
            instance.hold = Hold::Idle;
        }
        let (if_seq, input) = command.into_input();
        let job = Job { input, origin, if_seq };
        let slow = per_second.and_then(|it| instance.pace.slow_until(now, it));
        if slow.is_none() && instance.is_free(now) {
            return self.decide(key, job, now, outbox);
        }
        let mailbox = instance.mailbox.get_or_insert_default();
        if mailbox.len() >= MAILBOX_MAX {
            let message = format!("instance `{id}` has {MAILBOX_MAX} inputs waiting; send slower");
            let error = Error::rejected("instance_backlog_full", message, Value::Null);
            return job.answer(Err(error));
        }
        mailbox.push(job);
        self.ready.push_back(key);
    }

    fn why_not_open(&mut self, key: Key) -> Error {
        match self.find(key.tenant, key.id) {
            Ok(Found::Ended(summary)) => has_ended(summary.id, summary.status),
            Ok(Found::Open(_)) => Error::NotFound { id: key.id },
            Err(error) => error,
        }
    }

    fn outcome(&mut self, tenant: TenantId, call: CallId, outcome: Outcome) {
        self.free_slot(tenant, &call);
        let key = Key { tenant, id: call.instance };
        self.activate(key);
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let CallId { tree, path, scheduled, attempt, .. } = call;
        let input = Input::Outcome { tree, path, scheduled, attempt, outcome };
        instance.mailbox.get_or_insert_default().push(Job::runtime(input));
        self.ready.push_back(key);
    }

    fn free_slot(&mut self, tenant: TenantId, call: &CallId) {
        if let Some(it) = self.tenants.get_mut(&tenant) {
            it.slots.give_back(call);
            self.freed.push_back(tenant);
        }
    }

    fn promise_slots(&mut self, tenant: TenantId) {
        if self.draining {
            return;
        }
        while let Some(Waiting { key, tree, path, .. }) =
            self.tenants.get_mut(&tenant).and_then(|it| it.slots.promise_next())
        {
            self.activate(key);
            let Some(instance) = self.instances.get_mut(&key) else {
                if let Some(it) = self.tenants.get_mut(&tenant) {
                    it.slots.end_promise();
                }
                continue;
            };
            let input = Input::Starting { tree, path };
            instance.mailbox.get_or_insert_default().push(Job::runtime(input));
            self.ready.push_back(key);
        }
    }

    // --- Steps ------------------------------------------------------------------------------

    /// Takes inputs of one instance until one becomes an append, or nothing waits.
    fn advance(&mut self, key: Key, now: Timestamp, outbox: &mut dyn Outbox) {
        let mut timer_tried = None;
        let mut floor = now;
        while self.dead.is_none() {
            let (draining, slow) = (self.draining, self.slow_until(key, now));
            let Some(instance) = self.instances.get_mut(&key) else { return };
            if instance.hold != Hold::Idle || instance.machine.is_none() {
                return;
            }
            let job = match slow {
                Some(until) => {
                    floor = until;
                    self.urgent_job(key, until, now)
                }
                None => instance.next_job(now, draining, timer_tried.as_ref()),
            };
            let Some(job) = job else { break };
            if let Input::Timer { timer } = &job.input {
                timer_tried = Some(timer.clone());
            }
            self.decide(key, job, now, outbox);
        }
        if timer_tried.is_some() {
            floor = floor.max(now.plus(FULL_RETRY));
        }
        self.arm(key, floor);
    }

    /// Decides one input; appends what it gives.
    fn decide(&mut self, key: Key, job: Job, now: Timestamp, outbox: &mut dyn Outbox) {
        let Some(instance) = self.instances.get(&key) else { return };
        let Some(machine) = instance.machine.clone() else { return };
        let snapshot = Arc::clone(&instance.snapshot);
        let job = match job.arrived(&machine, &snapshot) {
            Ok(job) => job,
            Err(job) => return job.answer(Ok(Accepted::with(&snapshot))),
        };
        if let Some((event, id)) = job.event_id()
            && let Some(taken) = &instance.event_ids
            && let Some(seq) = taken.find(id, now, window_of(&machine, event, &job.origin))
        {
            return job.answer(Ok(Accepted { seq, replayed: true, snapshot }));
        }
        if let Some(expected) = job.if_seq.filter(|it| *it != snapshot.seq) {
            return job.answer(Err(moved_on(&snapshot, expected)));
        }
        let redaction = match self.redaction_key(key.tenant, &machine) {
            Ok(redaction) => redaction,
            Err(error) => return self.wait_for_key(key, job, error, now),
        };
        let mut context = self.context(key.tenant, &job, now);
        context.key = redaction;
        if self.slow_until(key, now).is_some() {
            // What it begins next waits for its turn.
            context.start_slots = 0;
        }
        let Job { input, origin, .. } = job;
        let again = match origin {
            Origin::Caller(..) => None,
            Origin::Instance(..) | Origin::Emission(..) | Origin::Runtime => Some(input.clone()),
        };
        let decided = match self.change_version(&machine, &snapshot, &input, &context) {
            Some(decided) => decided,
            None => traaviis_engine::step(&machine, &snapshot, input, &context),
        };
        let step = match decided {
            Ok(step) => step,
            Err(rejection) => return origin.answer(Err(Error::Rejected(rejection))),
        };
        if step.records.is_empty() {
            debug_assert!(step.requests.is_empty(), "nothing is asked for without a record");
            return origin.answer(Ok(Accepted::with(&snapshot)));
        }
        self.note_step(key, now);
        self.offer(key, step, origin, again, outbox);
    }

    /// Offers the records of a step to the log.
    fn offer(
        &mut self,
        key: Key,
        step: Step,
        origin: Origin,
        again: Option<Input>,
        outbox: &mut dyn Outbox,
    ) {
        let Step { snapshot, records, requests } = step;
        let records = Arc::new(records);
        self.reserve(key.tenant, &requests);
        if let Some(instance) = self.instances.get_mut(&key) {
            instance.hold = Hold::Committing;
        }
        let ctx = origin.ctx().unwrap_or(&self.tenants[&key.tenant].ctx).clone();
        if planted::is(Bug::UndoBeforeDurable) {
            for request in &requests {
                if let Request::Perform(call) = request
                    && call.id.path.contains("undo:")
                {
                    outbox.perform(&ctx, call.clone());
                }
            }
        }
        let append = to_append(key, &records, &snapshot);
        let pending = Pending { key, snapshot, records, requests, origin, again };
        self.append(&ctx, append, Commitment::Step(Box::new(pending)), outbox);
    }

    fn context(&mut self, tenant: TenantId, job: &Job, now: Timestamp) -> StepContext {
        let by = job.origin.ctx();
        let actor = by.map_or(&self.engine, TenantCtx::actor).clone();
        let causation = by.and_then(TenantCtx::cause).cloned();
        let correlation = by.and_then(TenantCtx::correlation).cloned();
        let origin = by.and_then(TenantCtx::origin).cloned().map(Box::new);
        let mut start_slots = 0;
        if let Some(it) = self.tenants.get_mut(&tenant) {
            if matches!(job.input, Input::Starting { .. }) {
                it.slots.end_promise();
                self.freed.push_back(tenant);
            }
            if !self.draining {
                start_slots = u32::try_from(it.slots.free()).unwrap_or(u32::MAX);
            }
        }
        StepContext { start_slots, causation, correlation, origin, ..StepContext::new(now, actor) }
    }

    fn append(
        &mut self,
        ctx: &TenantCtx,
        append: Append,
        commitment: Commitment,
        outbox: &mut dyn Outbox,
    ) {
        self.token += 1;
        self.commits.insert(self.token, commitment);
        outbox.append(ctx, append, self.token);
    }

    fn reserve(&mut self, tenant: TenantId, requests: &[Request]) {
        let Some(it) = self.tenants.get_mut(&tenant) else { return };
        for request in requests {
            if let Request::Perform(call) = request
                && &*call.kind != GATE
            {
                it.slots.take(&call.id);
            }
        }
    }

    fn release(&mut self, tenant: TenantId, requests: &[Request]) {
        let Some(it) = self.tenants.get_mut(&tenant) else { return };
        for request in requests {
            if let Request::Perform(call) = request {
                it.slots.give_back(&call.id);
            }
        }
        self.freed.push_back(tenant);
    }

    // --- Instances --------------------------------------------------------------------------

    fn tenant(&mut self, ctx: &TenantCtx) -> &mut Tenant {
        let Settings { slots, quotas, .. } = &self.settings;
        self.tenants.entry(ctx.tenant()).or_insert_with(|| Tenant {
            ctx: ctx.as_engine(),
            slots: Slots::new(*slots),
            quota: quotas.of(ctx.tenant()),
            redaction: None,
        })
    }

    fn open(
        &mut self,
        snapshot: Arc<Snapshot>,
        machine: Option<Arc<Machine>>,
        event_ids: Option<Box<EventIds>>,
        has_row: bool,
    ) {
        let key = Key::of(&snapshot);
        let hold = Hold::Idle;
        machine.iter().for_each(|it| self.settings.subscribers.add(key, it));
        let (mailbox, armed, waits, pace) = (None, None, None, Pace::rested());
        let (kept, bytes, used) = (Kept::Dirty { has_row }, hot::UNKNOWN, snapshot.updated_at);
        self.hot.note_dirty(key);
        self.hot.note_added(bytes);
        self.note_cold(key, Timestamp(i64::MIN));
        let instance = Instance {
            snapshot,
            machine,
            mailbox,
            event_ids,
            armed,
            waits,
            hold,
            pace,
            kept,
            bytes,
            used,
        };
        self.instances.insert(key, Box::new(instance));
        self.catch_up_timers(key, &[]);
        self.arm(key, Timestamp(i64::MIN));
    }

    /// Keeps the timer index true; not earlier than `floor`, so that a timer which the engine does
    /// not take cannot spin.
    fn arm(&mut self, key: Key, floor: Timestamp) {
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let runs = instance.machine.is_some();
        let due = instance.next_timer().filter(|_| runs).map(|(due, _)| due.max(floor));
        if instance.armed == due {
            return;
        }
        if let Some(armed) = mem::replace(&mut instance.armed, due) {
            self.timers.remove(&(armed, key));
        }
        if let Some(due) = due {
            self.timers.insert((due, key));
        }
    }

    /// Takes an instance out of memory; what waits in its mailbox is still to be answered.
    fn take_out(&mut self, key: Key) -> Option<Box<Instance>> {
        let instance = self.instances.remove(&key)?;
        self.hot.note_removed(&instance);
        self.dismiss(key);
        instance.machine.iter().for_each(|it| self.settings.subscribers.remove(key, it));
        if let Some(armed) = instance.armed {
            self.timers.remove(&(armed, key));
        }
        Some(instance)
    }

    /// Takes an ended instance out of memory and keeps it in short.
    fn finish(&mut self, key: Key, snapshot: &Snapshot) {
        let Some(instance) = self.take_out(key) else { return };
        if let Some(correlation) = &snapshot.correlation {
            self.settings.correlations.close(key.tenant, &snapshot.workflow, correlation, key.id);
        }
        let summary = Arc::new(Summary::of(snapshot));
        self.hot.note_ended(instance.kept, &summary);
        self.remember(summary);
        self.tell_family(key, snapshot);
        self.close_mailbox(key, instance.mailbox, &|| has_ended(key.id, snapshot.status));
    }

    /// Answers everything that waits for an instance that takes nothing more.
    fn close_mailbox(
        &mut self,
        key: Key,
        mailbox: Option<Box<Mailbox>>,
        error: &dyn Fn() -> Error,
    ) {
        let Some(mut mailbox) = mailbox else { return };
        for class in [Class::Command, Class::Outcome, Class::Event] {
            while let Some(job) = mailbox.pop(class) {
                if let (Input::Starting { .. }, Some(it)) =
                    (&job.input, self.tenants.get_mut(&key.tenant))
                {
                    it.slots.end_promise();
                    self.freed.push_back(key.tenant);
                }
                job.answer(Err(error()));
            }
        }
    }

    fn remember(&mut self, summary: Arc<Summary>) {
        let key = Key { tenant: summary.tenant_id, id: summary.id };
        if let Some(correlation) = &summary.correlation {
            let correlations = &self.settings.correlations;
            correlations.remember(key.tenant, &summary.workflow, correlation, key.id);
        }
        if self.finished.insert(key, summary).is_none() {
            self.finished_order.push_back(key);
        }
        while self.finished.len() > self.settings.finished_max
            && let Some(oldest) = self.finished_order.pop_front()
        {
            self.settings.forgets.store(true, Ordering::SeqCst);
            if let Some(summary) = self.finished.remove(&oldest)
                && let Some(correlation) = &summary.correlation
            {
                let correlations = &self.settings.correlations;
                correlations.forget(oldest.tenant, &summary.workflow, correlation, oldest.id);
            }
        }
    }
}

impl Instance {
    /// Says whether nothing is on its way or waits, so that an input can be decided at once.
    fn is_free(&self, now: Timestamp) -> bool {
        self.hold == Hold::Idle && self.mailbox.is_none() && self.due_timer(now, None).is_none()
    }

    /// Takes the next input, in order of preference.
    fn next_job(&mut self, now: Timestamp, draining: bool, tried: Option<&Text>) -> Option<Job> {
        let mut mailbox = self.mailbox.take();
        let mut job = None;
        if let Some(it) = &mut mailbox {
            job = it.pop(Class::Command).or_else(|| it.pop(Class::Outcome));
        }
        if job.is_none() && !draining && self.hold == Hold::Idle {
            job = self.due_timer(now, tried);
        }
        if job.is_none()
            && let Some(it) = &mut mailbox
        {
            job = it.pop(Class::Event);
        }
        self.mailbox = mailbox.filter(|it| it.len() > 0);
        job
    }

    fn due_timer(&self, now: Timestamp, tried: Option<&Text>) -> Option<Job> {
        let (_, timer) = self.next_timer().filter(|(due, _)| *due <= now)?;
        // The engine left it where it is.
        if tried == Some(&timer.id) {
            return None;
        }
        Some(Job::runtime(Input::Timer { timer: timer.id.clone() }))
    }
}

/// Returns what a map holds in the order of its keys: whatever can be seen follows no other.
fn in_order<K: Ord, V>(map: HashMap<K, V, SeededHasher>) -> BTreeMap<K, V> {
    map.into_iter().collect()
}

/// Returns the append of a document, which has a stream of its own with one record.
fn to_document(
    ctx: &TenantCtx,
    stream: InstanceId,
    at: Timestamp,
    definition_hash: DefinitionHash,
    body: Body,
) -> Append {
    let header = Header {
        tenant_id: ctx.tenant(),
        instance_id: stream,
        seq: 1,
        v: RECORD_VERSION,
        at,
        step: 1,
        definition_hash,
        actor: ctx.actor().clone(),
        causation_id: None,
        correlation_id: None,
        origin: None,
    };
    let lines = Lines::Of(Arc::new(vec![Record { header, body }]));
    Append { stream, first_seq: 1, count: 1, lines, ends_stream: false, known_to: 0, subject: None }
}

fn to_append(key: Key, records: &Arc<Vec<Record>>, snapshot: &Snapshot) -> Append {
    debug_assert!(
        records
            .iter()
            .all(|it| it.header.tenant_id == key.tenant && it.header.instance_id == key.id),
        "records belong to the instance they are committed for"
    );
    Append {
        stream: key.id,
        first_seq: records.first().map_or(0, |it| it.header.seq),
        count: u32::try_from(records.len()).unwrap_or(u32::MAX),
        lines: Lines::Of(Arc::clone(records)),
        ends_stream: snapshot.status.is_finished(),
        known_to: 0,
        subject: snapshot.sealed_for().cloned(),
    }
}

fn has_ended(id: InstanceId, status: Status) -> Error {
    let message = format!("instance `{id}` has ended with status `{}`", status.as_str());
    Error::rejected("invalid_state", message, Value::Null)
}

/// Returns how long an event is known by its id. What instances ask of each other is asked again by
/// the next process, however late that comes.
fn window_of(machine: &Machine, event: &str, origin: &Origin) -> Span {
    let declared = machine.dedup_window(event);
    match origin {
        Origin::Caller(..) => declared,
        Origin::Instance(..) | Origin::Emission(..) | Origin::Runtime => {
            declared.max(EVENT_ID_WINDOW)
        }
    }
}

fn moved_on(snapshot: &Snapshot, expected: Seq) -> Error {
    let (id, seq) = (snapshot.id, snapshot.seq);
    let message = format!(
        "instance `{id}` is at record {seq}, not {expected}; look at it again and decide again"
    );
    let number = |it: Seq| Value::Int(it.cast_signed());
    let details = Value::map([("expected", number(expected)), ("seq", number(seq))]);
    Error::rejected("seq_mismatch", message, details)
}

fn definition_missing(snapshot: &Snapshot) -> Error {
    Error::Unavailable {
        id: snapshot.id,
        code: "definition_missing",
        message: format!(
            "definition `{}` of workflow `{}` is not in the data, or cannot be compiled",
            snapshot.definition_hash, snapshot.workflow
        )
        .into(),
    }
}
