//! Threads around owners: one per shard, and one that writes checkpoints.
//!
//! A shard's queue has no bound of its own, because the log and the connectors must never wait for
//! it: a log that waits for a shard that waits for the log would stand still. What can be in it is
//! bounded by its senders: callers hold at most `INBOX_MAX` places, the log answers one append per
//! instance, and a tenant has at most its slots of running calls.

use std::{
    fmt,
    ops::Range,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    time::Duration,
};

use traaviis_model::{
    Call, CallId, InstanceId, Span, TenantCtx, TenantId, Timestamp,
    limits::{
        EVENTS_PER_SECOND_MAX, OPEN_INSTANCES_MAX, RUNNING_EFFECTS_MAX, STEPS_PER_SECOND_MAX,
    },
};
use traaviis_ports::{
    Append, Clock, Commit, CommitSink, Connector, Ids, Index, IndexError, LogError, LogStore,
    NoKeys, Outcome, Position, RedactionKeys, SnapshotStore,
};

use crate::{
    clock::{self, OnClockJump, Steady},
    correlation::Correlations,
    error::Error,
    handle::{Handle, Inner},
    inbox::{Inbox, Place, Places},
    index::{Feeder, OnGivenUp, Reached},
    library::{Library, NoLibrary},
    limits::{
        BATCH_MAX, CHECKPOINT_BYTES, FINISHED_INDEXED_MAX, FINISHED_SUMMARIES_MAX, FLUSH_AT,
        HOT_BYTES_MAX, HOT_FULL_BYTES, HOT_TTL, IN_FLIGHT_MAX,
    },
    mail::{Later, Mail},
    owner::{Committed, HotShare, Key, Message, Outbox, Owner, Post, Settings},
    past::Past,
    recovery::{Recovery, RecoveryReport, Sources},
    threads::{self, OnFatal},
    tree::TreeOptions,
    upkeep,
    watch::Watchers,
};

/// What a shard's thread can be told.
#[expect(clippy::large_enum_variant, reason = "nearly every signal is a message; a box costs more")]
pub(crate) enum Signal {
    /// A message for the owner; one of a caller comes with its place in the queue.
    Message(Message, Option<(TenantId, Place)>),
    /// Look at the clock, which was moved, or at the mail.
    Wake,
    /// End the thread.
    Stop,
}

/// Ways out of the runtime.
#[derive(Clone)]
pub struct Ports {
    /// The truth.
    pub log: Arc<dyn LogStore>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Fresh ids.
    pub ids: Arc<dyn Ids>,
    /// Calls to the outside.
    pub connector: Arc<dyn Connector>,
}

/// What the runtime does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Work {
    /// It carries on what is there and takes commands.
    #[default]
    All,
    /// It only looks after the log: no instance takes a step by itself.
    Upkeep,
}

/// How the runtime runs.
#[derive(Clone)]
pub struct Options {
    /// Threads that own instances.
    pub shards: usize,
    /// What it does.
    pub work: Work,
    /// Calls of one tenant that run at once.
    pub slots: usize,
    /// Steps of one instance in a second; none means any number.
    pub steps_per_second: Option<u32>,
    /// Events that a tenant's callers may send in a second; none means any number.
    pub events_per_second: Option<u32>,
    /// Instances that a tenant may have open; none means any number.
    pub open_max: Option<usize>,
    /// Ended instances remembered in memory; with an index `FINISHED_INDEXED_MAX` at most.
    pub finished_max: usize,
    /// Bytes appended between two checkpoints.
    pub checkpoint_bytes: u64,
    /// Streams that the log found damaged when it was opened.
    pub damaged: Vec<(TenantId, InstanceId)>,
    /// Positions whose records the log missed when it was opened.
    pub lost: Vec<Range<Position>>,
    /// Index of instances; without one, lists are made from what is in memory.
    pub index: Option<Arc<dyn Index>>,
    /// Where the states of open instances rest; without one they all stay in memory.
    pub snapshots: Option<Arc<dyn SnapshotStore>>,
    /// Bytes of states in memory beyond which some are taken out.
    pub hot_bytes: usize,
    /// Bytes of states in memory beyond which callers begin nothing new.
    pub full_bytes: usize,
    /// Time without use after which a state is taken out first, when some are.
    pub hot_ttl: Span,
    /// How many in a hundred of a tenant's instances may stay in memory, asked whenever one comes
    /// into it or changes; none means all.
    pub hot_share: Option<HotShare>,
    /// Told once when the index failed; the next start should find an empty one.
    pub on_index_given_up: OnGivenUp,
    /// Document tree for people.
    pub tree: Option<TreeOptions>,
    /// What children run.
    pub library: Arc<dyn Library>,
    /// Where the keys come from that redact personal data.
    pub keys: Arc<dyn RedactionKeys>,
    /// Runs something after what a caller's thread is in the middle of; where callers have no such
    /// threads, none.
    pub later: Option<Later>,
    /// Told of every jump of the wall clock.
    pub on_clock_jump: OnClockJump,
    /// Told once when the log failed, and when a thread of the runtime has panicked; the process
    /// should end with code 70.
    pub on_fatal: OnFatal,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            shards: 1,
            work: Work::All,
            slots: RUNNING_EFFECTS_MAX,
            steps_per_second: Some(STEPS_PER_SECOND_MAX),
            events_per_second: Some(EVENTS_PER_SECOND_MAX),
            open_max: Some(OPEN_INSTANCES_MAX),
            finished_max: FINISHED_SUMMARIES_MAX,
            checkpoint_bytes: CHECKPOINT_BYTES,
            damaged: Vec::new(),
            lost: Vec::new(),
            index: None,
            snapshots: None,
            hot_bytes: HOT_BYTES_MAX,
            full_bytes: HOT_FULL_BYTES,
            hot_ttl: HOT_TTL,
            hot_share: None,
            on_index_given_up: Arc::new(|_: &IndexError| ()),
            tree: None,
            library: Arc::new(NoLibrary),
            keys: Arc::new(NoKeys),
            later: None,
            on_clock_jump: Arc::new(|_| ()),
            on_fatal: Arc::new(|_| ()),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("shards", &self.shards)
            .field("slots", &self.slots)
            .finish_non_exhaustive()
    }
}

/// Says which shard owns an instance. The last bits of an id are random, whoever made it.
pub(crate) fn shard_of(key: &Key, count: usize) -> usize {
    let bits = key.id.0.as_u128() as u64;
    (bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % count
}

/// Builds a running runtime.
pub struct Runtime;

impl Runtime {
    /// Reads what the log holds, goes on with it, and takes commands.
    pub fn start(options: Options, ports: Ports) -> Result<(Handle, RecoveryReport), Error> {
        let count = options.shards.max(1);
        let on_fatal = Arc::clone(&options.on_fatal);
        let finished_max = match options.index {
            Some(_) => options.finished_max.min(FINISHED_INDEXED_MAX),
            None => options.finished_max,
        };
        let sources = Sources {
            log: &*ports.log,
            damaged: &options.damaged,
            lost: &options.lost,
            index: options.index.as_deref(),
            snapshots: options.snapshots.as_deref(),
        };
        let recovery = Recovery::read_all(sources, finished_max)?;
        let clock_behind = Span(recovery.last_commit().since(ports.clock.now()).0.max(0));
        let steady = Steady::not_before(Arc::clone(&ports.clock), recovery.last_commit());
        let steady = Arc::new(steady);
        let ports = Ports { clock: Arc::clone(&steady) as Arc<dyn Clock>, ..ports };
        let forgets = Arc::new(AtomicBool::new(recovery.forgets()));
        let correlations = Arc::new(Correlations::default());
        let queues: Vec<(Sender<Signal>, Receiver<Signal>)> =
            (0..count).map(|_| channel()).collect();
        let (parts, mut report) = recovery.divide(count, &|key| shard_of(key, count));
        report.clock_behind = clock_behind;
        let reached: Vec<Arc<Reached>> = (0..count).map(|_| Arc::default()).collect();
        let feeder = match (options.index, &report.index_failed) {
            (Some(index), None) => Some(Feeder::start(
                index,
                Arc::clone(&ports.log),
                reached.clone(),
                options.on_index_given_up,
                &on_fatal,
            )?),
            (_, failed) => {
                failed.iter().for_each(|error| (options.on_index_given_up)(error));
                None
            }
        };
        let past = Past::new(Arc::clone(&ports.log), feeder.clone());
        let settings = Settings {
            slots: (options.slots / count).max(1),
            steps_per_second: options.steps_per_second,
            events_per_second: options.events_per_second,
            open_max: options.open_max,
            quotas: Arc::default(),
            finished_max: (finished_max / count).max(1),
            gates: Arc::default(),
            correlations: Arc::clone(&correlations),
            subscribers: Arc::default(),
            definitions: Arc::default(),
            forgets: Arc::clone(&forgets),
            library: Arc::clone(&options.library),
            keys: Arc::clone(&options.keys),
            past: Some(past.clone()),
            snapshots: options.snapshots.clone(),
            hot_bytes: options.hot_bytes / count,
            full_bytes: options.full_bytes / count,
            hot_ttl: options.hot_ttl,
            hot_share: options.hot_share.clone(),
            post: Arc::new(Senders(queues.iter().map(|it| it.0.clone()).collect())),
        };
        let (checkpoint_due, checkpoint_signals) = channel();
        let shared = Arc::new(Shared {
            ports,
            watchers: Watchers::default(),
            feeder,
            past,
            dead: AtomicBool::new(false),
            bytes: AtomicU64::new(0),
            checkpoint_bytes: options.checkpoint_bytes,
            checkpoint_due,
            snapshots: options.snapshots,
            on_fatal: Arc::clone(&on_fatal),
        });
        // All are made before one goes: what they share must be whole.
        let owners: Vec<Owner> =
            parts.into_iter().map(|part| Owner::new(settings.clone(), part)).collect();
        let mut shards = Vec::with_capacity(count);
        let queues = queues.into_iter().zip(reached);
        for (number, (owner, (queue, reached))) in owners.into_iter().zip(queues).enumerate() {
            let mail = Mail::new(queue.0.clone(), options.later.clone());
            let ends = (queue, mail);
            shards.push(start_shard(number, owner, ends, &shared, (options.work, reached))?);
        }
        let definitions = settings.definitions;
        let ((upkeep_ends, upkeep_ended), (clock_ends, clock_ended)) = (channel(), channel());
        let ends = vec![upkeep_ends, clock_ends];
        let inner = Arc::new(Inner::new(shards, shared, correlations, forgets, definitions, ends));
        start_checkpointer(checkpoint_signals, Arc::downgrade(&inner), &on_fatal)?;
        if let Some(tree) = options.tree {
            inner.follow(tree)?;
        }
        upkeep::start(upkeep_ended, Arc::downgrade(&inner), &on_fatal)?;
        if options.work == Work::All {
            let tell = Arc::clone(&options.on_clock_jump);
            clock::start(clock_ended, steady, tell, &inner)?;
        }
        Ok((Handle::new(inner), report))
    }
}

/// What the threads share.
pub(crate) struct Shared {
    pub ports: Ports,
    pub watchers: Watchers,
    pub feeder: Option<Arc<Feeder>>,
    pub past: Past,
    pub dead: AtomicBool,
    /// Bytes appended since the last checkpoint.
    pub bytes: AtomicU64,
    checkpoint_bytes: u64,
    checkpoint_due: Sender<Due>,
    /// Where the states of open instances rest.
    pub snapshots: Option<Arc<dyn SnapshotStore>>,
    pub on_fatal: OnFatal,
}

/// The sending side of a shard.
#[derive(Clone)]
pub(crate) struct Shard {
    pub signals: Sender<Signal>,
    /// What is handed over together.
    pub mail: Arc<Mail>,
    /// Places of callers in the queue.
    pub places: Arc<Places>,
}

/// The senders of all shards, for what instances send to each other.
struct Senders(Vec<Sender<Signal>>);

impl Post for Senders {
    fn post(&self, to: Key, message: Message) {
        // A shard that has ended learns it at the next start: the call has no outcome.
        let _ = self.0[shard_of(&to, self.0.len())].send(Signal::Message(message, None));
    }

    fn post_each(&self, make: &mut dyn FnMut() -> Message) -> usize {
        for shard in &self.0 {
            // As above.
            let _ = shard.send(Signal::Message(make(), None));
        }
        self.0.len()
    }
}

fn start_shard(
    number: usize,
    owner: Owner,
    ((signals, receiver), mail): ((Sender<Signal>, Receiver<Signal>), Arc<Mail>),
    shared: &Arc<Shared>,
    (work, reached): (Work, Arc<Reached>),
) -> Result<Shard, Error> {
    let shard = Shard { signals, mail: Arc::clone(&mail), places: Arc::default() };
    let sink: Arc<dyn CommitSink> =
        Arc::new(ShardSink { signals: shard.signals.clone(), reached: Arc::clone(&reached) });
    let outbox = ShardOutbox {
        shared: Arc::clone(shared),
        signals: shard.signals.clone(),
        sink,
        appends: Vec::new(),
    };
    let worker = Worker { owner, outbox, receiver, mail, inbox: Inbox::new(), reached, work };
    threads::begin(&format!("traaviis-shard-{number}"), &shared.on_fatal, move || worker.run())?;
    Ok(shard)
}

/// The thread of a shard.
struct Worker {
    owner: Owner,
    outbox: ShardOutbox,
    receiver: Receiver<Signal>,
    mail: Arc<Mail>,
    inbox: Inbox,
    reached: Arc<Reached>,
    work: Work,
}

impl Worker {
    fn run(mut self) {
        let ports = self.outbox.shared.ports.clone();
        let class = |ctx: &TenantCtx, kind: &str, input: &_| {
            ports.connector.delivery_class(ctx, kind, input)
        };
        if self.work == Work::All {
            self.owner.resume(&class, ports.clock.now(), &mut self.outbox);
        }
        loop {
            self.outbox.flush();
            let mut goes_on = true;
            self.collect();
            if !self.inbox.is_ready(self.has_room()) {
                goes_on = self.wait(ports.clock.now());
            }
            while goes_on && let Ok(signal) = self.receiver.try_recv() {
                goes_on = self.sort(signal);
            }
            self.collect();
            if !goes_on {
                return self.end(ports.clock.now());
            }
            let now = ports.clock.now();
            for _ in 0..BATCH_MAX {
                let Some(message) = self.inbox.pop(self.has_room()) else { break };
                self.take(message, now);
            }
            if self.work == Work::All {
                self.owner.tick(ports.clock.now(), &mut self.outbox);
            }
        }
    }

    /// Takes what still waits, and lets go.
    fn end(&mut self, now: Timestamp) {
        while let Some(message) = self.inbox.pop(true) {
            self.take(message, now);
        }
        self.outbox.flush();
    }

    fn take(&mut self, message: Message, now: Timestamp) {
        let published = match &message {
            Message::Committed(outcomes) => last_of(outcomes),
            _ => None,
        };
        self.owner.handle(message, now, &mut self.outbox);
        if let Some(position) = published {
            self.reached.published.store(position, Ordering::SeqCst);
        }
    }

    /// Says whether callers' work can be begun.
    fn has_room(&self) -> bool {
        self.owner.in_flight() < IN_FLIGHT_MAX
    }

    /// Puts what was laid down where it waits.
    fn collect(&mut self) {
        for (message, caller) in self.mail.take() {
            self.inbox.push(message, Some(caller));
        }
    }

    /// Puts a signal where it waits; false when it ends the thread.
    fn sort(&mut self, signal: Signal) -> bool {
        match signal {
            Signal::Message(message, caller) => self.inbox.push(message, caller),
            Signal::Wake => {}
            Signal::Stop => return false,
        }
        true
    }

    /// Waits for a signal or the next timer; false ends the thread.
    fn wait(&mut self, now: Timestamp) -> bool {
        let received = match self.owner.next_wake().filter(|_| self.work == Work::All) {
            None => self.receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(wake) => {
                let micros = u64::try_from(wake.since(now).0).unwrap_or(0);
                self.receiver.recv_timeout(Duration::from_micros(micros))
            }
        };
        match received {
            Ok(signal) => self.sort(signal),
            Err(RecvTimeoutError::Timeout) => true,
            Err(RecvTimeoutError::Disconnected) => false,
        }
    }
}

/// Tells a shard what became of its appends: one message for each group.
struct ShardSink {
    signals: Sender<Signal>,
    reached: Arc<Reached>,
}

impl CommitSink for ShardSink {
    fn committed(&self, outcomes: &mut dyn Iterator<Item = (u64, Commit)>) {
        let outcomes: Vec<(u64, Commit)> = outcomes.collect();
        if let Some(position) = last_of(&outcomes) {
            self.reached.told.store(position, Ordering::SeqCst);
        }
        // A shard that has ended needs no answer.
        let _ = self.signals.send(Signal::Message(Message::Committed(outcomes), None));
    }
}

/// Returns the position after the last append of a group that was committed.
fn last_of(outcomes: &[(u64, Commit)]) -> Option<Position> {
    outcomes.iter().filter_map(|(_, commit)| commit.as_ref().ok().copied()).max()
}

struct ShardOutbox {
    shared: Arc<Shared>,
    signals: Sender<Signal>,
    sink: Arc<dyn CommitSink>,
    /// Decided in this batch of messages and on their way to the log together.
    appends: Vec<(TenantCtx, Append, u64)>,
}

impl ShardOutbox {
    fn flush(&mut self) {
        if !self.appends.is_empty() {
            if let Some(feeder) = &self.shared.feeder {
                feeder.wait_for_room();
            }
            self.shared.ports.log.append_all(&mut self.appends, &self.sink);
        }
    }
}

impl Outbox for ShardOutbox {
    fn append(&mut self, ctx: &TenantCtx, append: Append, token: u64) {
        let shared = &self.shared;
        let added = append.lines.weight() as u64;
        let before = shared.bytes.fetch_add(added, Ordering::SeqCst);
        if before < shared.checkpoint_bytes && before + added >= shared.checkpoint_bytes {
            // Without a checkpointer there are no checkpoints; the log alone is enough.
            let _ = shared.checkpoint_due.send(Due::Checkpoint);
        }
        self.appends.push((ctx.clone(), append, token));
        if self.appends.len() >= FLUSH_AT {
            self.flush();
        }
    }

    fn perform(&mut self, ctx: &TenantCtx, call: Call) {
        let (signals, id, tenant) = (self.signals.clone(), call.id.clone(), ctx.tenant());
        let done = Box::new(move |outcome: Outcome| {
            let message = Message::Outcome { tenant, call: id, outcome };
            // A shard that has ended learns it from the log at the next start.
            let _ = signals.send(Signal::Message(message, None));
        });
        self.shared.ports.connector.perform(ctx, call, done);
    }

    fn abandon(&mut self, ctx: &TenantCtx, id: &CallId) {
        self.shared.ports.connector.abandon(ctx, id);
    }

    fn publish(&mut self, committed: Committed) {
        if let Some(feeder) = &self.shared.feeder {
            feeder.take(&committed);
        }
        self.shared.watchers.publish(committed);
    }

    fn save_states(&mut self) {
        // As for checkpoints.
        let _ = self.shared.checkpoint_due.send(Due::States);
    }

    fn fatal(&mut self, error: &LogError) {
        if !self.shared.dead.swap(true, Ordering::SeqCst) {
            (self.shared.on_fatal)(error);
        }
    }
}

/// What the thread that writes checkpoints is told.
enum Due {
    /// Enough was appended for a checkpoint.
    Checkpoint,
    /// Memory is short: states are to be saved.
    States,
}

/// Writes a checkpoint whenever enough was appended, and states when memory is short; ends with the
/// handle.
fn start_checkpointer(
    due: Receiver<Due>,
    inner: Weak<Inner>,
    on_fatal: &OnFatal,
) -> Result<(), Error> {
    let work = move || {
        while let Ok(due) = due.recv() {
            let Some(inner) = inner.upgrade() else { return };
            // What cannot be written costs time at the next start, or memory, nothing else; the
            // next one is due after as many bytes again, or when an owner looks again.
            let _ = match due {
                Due::Checkpoint => inner.checkpoint().map(drop),
                Due::States => inner.save_states(),
            };
        }
    };
    threads::begin("traaviis-checkpoint", on_fatal, work)
}
