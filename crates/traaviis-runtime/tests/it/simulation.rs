//! Everything at once and repeatable: owners over the real log on a disk that crashes, tears and
//! runs full, calls over a network that delays, loses and repeats, a wall clock that jumps.
//!
//! `SIM_SEEDS` and `SIM_OPS` say how much, `SIM_SEED` repeats one run.
//!
//! Checked after every crash and at the end: what the log acknowledged is there, in order; state is
//! the fold of its history; an acknowledged event is in its history once; a call is never performed
//! before its attempt is durable nor after its outcome is, and always with the same key; timers
//! never fire early, neither by the clock nor, while the process lives, by the time that passes;
//! replay gives the same bytes; lists show what is durable; in the end every instance ends; what
//! left for the archive is there whole. Each emission reaches each subscriber that was open before
//! it and still is, once, and those of one publisher in their order.

mod archiving;
mod asking;
mod checking;
mod committing;
mod crashing;
mod families;
mod histories;
mod log;
mod moving;
mod operating;
mod snapshots;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use traaviis_engine::{Birth, Input, Machine, Resolution, Retry, plan_retry};
use traaviis_model::{
    Call, CallId, DeliveryClass, EffectError, InstanceId, Record, Seq, Snapshot, Span, Text,
    Timestamp, Value, record::Operation,
};
use traaviis_ports::{Outcome, Position};
use traaviis_runtime::{
    Command, Error,
    clock::Jump,
    owner::{Collected, Found, Message, Owner, Reopen, Start, StartOutcome, Upgrade},
};
use traaviis_store::Codec;
use traaviis_testkit::{
    connector::{Ledger, name},
    disk::SimDisk,
    memory_snapshots::MemorySnapshots,
    rng::Rng,
    sim::{Network, Plan, SeedGuard, Trace, Weather},
};

use log::CoreLog;

use crate::{
    simulated_clock::SimulatedClock,
    simulated_facts::Facts,
    simulated_hearing::Hearing,
    simulated_index::SimulatedIndex,
    support::{
        CALLER, CHILD, COUNTER, FAN, GATED, Letters, NEWS, Outside, PARENT, PAYMENT, PICKY, READER,
        TALKER, TRIP, ctx, id, machine,
    },
};

const STORM: Weather = Weather { delay_max: Span::secs(3), lost: 10, repeated: 5 };
const CALM: Weather = Weather { delay_max: Span::millis(50), lost: 0, repeated: 0 };
/// What somebody sets a clock by who means another day.
const DAY_SECS: u64 = 86_400;
/// Days that a clock is set forward by in one run: what instances ask of each other is known by its
/// id for a week, and after a longer one it may be done twice.
const DAYS_MAX: usize = 4;
const CALL_TIMEOUT: Span = Span::secs(5);
/// Room for a handful of states in the memory of an owner.
const HOT_BYTES: usize = 12_000;
/// Room beyond which new instances wait for memory, and are refused now and then.
const FULL_BYTES: usize = 4 * HOT_BYTES;

#[test]
fn whatever_breaks_nothing_acknowledged_is_lost() {
    let plan = Plan::from_env(50, 500);
    let documents =
        [COUNTER, PAYMENT, TRIP, FAN, PICKY, TALKER, PARENT, CHILD, GATED, CALLER, NEWS, READER];
    let machines: Vec<Arc<Machine>> =
        documents.iter().map(|it| machine(it)).chain(documents.iter().map(|it| next(it))).collect();
    let seeds = Mutex::new(plan.seeds());
    let total = Mutex::new(Facts::default());
    let work = || {
        while let Some(seed) = { seeds.lock().unwrap().next() } {
            let _guard = SeedGuard { seed, ops: plan.ops, test: "simulation" };
            let facts = Sim::run(seed, plan.ops, &machines);
            if seed % 20 == 0 {
                let again = Sim::run(seed, plan.ops, &machines);
                assert_eq!(facts.hash, again.hash, "the same seed gives another run");
            }
            total.lock().unwrap().add(&facts);
            if seed % 100 == 0 {
                println!("seed {seed} of {}", plan.seeds);
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(work);
        }
    });
    let total = total.into_inner().unwrap();
    println!("{total:?}");
    // A simulation in which nothing happens proves nothing.
    assert!(total.acknowledged > 0 && total.ended > 0);
    assert!(
        plan.seeds == 1
            || (total.crashes > 0
                && total.full > 0
                && total.held > 0
                && total.told > 0
                && total.raised > 0
                && total.heard > 0
                && total.upgraded > 0
                && total.archived > 0
                && (total.dropped > 0 || plan.ops < 1_000)
                && total.retried > 0
                && total.asked > 0
                && total.undone > 0
                && total.jumped > 0
                && total.rested > 0
                && total.delayed > 0),
        "{total:?}"
    );
}

/// What a caller wants, until it is acknowledged or refused.
struct Op {
    id: InstanceId,
    what: What,
    state: OpState,
}

#[derive(Clone)]
enum What {
    /// A machine, and an instance that it may talk to.
    Start(usize, InstanceId),
    Event(Text),
    Cancel,
    Operate(Operation),
    Resolve(Seq, Text, Resolution),
    /// To this machine.
    Upgrade(usize),
    /// Of an instance that failed.
    Retry,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum OpState {
    /// Not sent, or sent to a process that is gone.
    Ready,
    Sent,
    Acknowledged,
    Refused,
    /// Its caller does not know what came of it, and does not ask any more.
    LeftAlone,
}

#[derive(Clone)]
enum Delivery {
    /// The request arrives at the receiver.
    Request { life: u64, call: Call, sent: Timestamp },
    /// The answer arrives at the process.
    Answer { life: u64, call: CallId, outcome: Outcome },
}

type Answers = Arc<Mutex<Vec<(usize, Result<bool, Error>)>>>;

struct Sim<'m> {
    rng: Rng,
    /// Version 1 of each workflow, then version 2 of each.
    machines: &'m [Arc<Machine>],
    disk: SimDisk,
    log: Arc<CoreLog>,
    shards: Vec<(Owner, Outside)>,
    network: Network<Delivery>,
    ledger: Ledger,
    /// How the log is written, in every second life of the process the second way.
    codecs: [Codec; 2],
    /// One seed in four has an index; the others run as a directory without one does.
    index: Option<SimulatedIndex>,
    /// Two seeds in three have a snapshot store, and room in memory for few states.
    snapshots: Option<Arc<MemorySnapshots>>,
    /// What was collected for it and is not there yet.
    collected: Option<Vec<Collected>>,
    /// It was emptied since the last checkpoint.
    states_lost: bool,
    /// Positions of the last two checkpoints of this process.
    checkpoints: [Position; 2],
    now: Timestamp,
    clock: SimulatedClock,
    life: u64,
    ops: Vec<Op>,
    answers: Answers,
    letters: Letters,
    /// Every durable line, in order.
    acknowledged: Vec<Vec<u8>>,
    /// The same records by instance, and the state they fold to.
    histories: BTreeMap<InstanceId, Vec<Record>>,
    folds: BTreeMap<InstanceId, Snapshot>,
    /// How often each event id is in a history.
    taken: HashMap<Text, usize>,
    hearing: Hearing,
    /// Attempts and values that are durable.
    started: BTreeSet<CallId>,
    completed: BTreeSet<(InstanceId, Seq, Text)>,
    keys: HashMap<(InstanceId, Seq, Text), Text>,
    /// Every attempt that went out.
    asked: Vec<(CallId, Text)>,
    /// Instances may be in the archive that memory knows nothing of.
    forgets: Arc<AtomicBool>,
    /// Instances whose file in the archive is durable.
    archived: BTreeSet<InstanceId>,
    /// Instances whose file failed: after a crash it may be there all the same.
    half_archived: Vec<InstanceId>,
    /// Position of a checkpoint whose content is not yet collected.
    checkpoint_from: Option<Position>,
    squeezed: bool,
    calm: bool,
    trace: Trace,
    facts: Facts,
}

impl<'m> Sim<'m> {
    fn run(seed: u64, ops: u64, machines: &'m [Arc<Machine>]) -> Facts {
        let mut rng = Rng::new(seed);
        let disk = SimDisk::new(rng.next_u64());
        let codecs = log::codecs(seed);
        let log = log::open(&disk, codecs[0]).expect("a fresh disk opens");
        let network = Network::new(rng.fork(), STORM);
        let mut sim = Sim {
            rng,
            machines,
            disk,
            log,
            shards: Vec::new(),
            network,
            ledger: Ledger::default(),
            codecs,
            index: seed.is_multiple_of(4).then(SimulatedIndex::default),
            snapshots: (!seed.is_multiple_of(3)).then(Arc::default),
            collected: None,
            states_lost: false,
            checkpoints: [0; 2],
            now: Timestamp(1_700_000_000_000_000),
            clock: SimulatedClock::default(),
            life: 0,
            ops: Vec::new(),
            answers: Arc::default(),
            letters: Letters::default(),
            acknowledged: Vec::new(),
            histories: BTreeMap::new(),
            folds: BTreeMap::new(),
            taken: HashMap::new(),
            hearing: Hearing::default(),
            started: BTreeSet::new(),
            completed: BTreeSet::new(),
            keys: HashMap::new(),
            asked: Vec::new(),
            forgets: Arc::default(),
            archived: BTreeSet::new(),
            half_archived: Vec::new(),
            checkpoint_from: None,
            squeezed: false,
            calm: false,
            trace: Trace::default(),
            facts: Facts::default(),
        };
        sim.recover();
        for _ in 0..ops {
            sim.act();
            sim.settle();
        }
        sim.end();
        sim.facts.hash = sim.trace.hash();
        sim.facts.records = sim.acknowledged.len();
        sim.facts
    }

    // --- What happens -------------------------------------------------------------------------

    fn act(&mut self) {
        match self.rng.below(100) {
            0..8 => self.new_start(),
            8..38 => self.new_event(),
            38..40 => self.ask_effect(),
            40 => self.new_op(What::Cancel),
            41 => self.operate(),
            42..50 => self.resend(),
            50..74 => self.commit(),
            74..92 => {
                let span = match self.rng.below(10) {
                    0 => Span::secs(60),
                    1..4 => Span::secs(4),
                    _ => Span::millis(300),
                };
                let span = Span(self.rng.below(span.0 as u64) as i64);
                self.pass(span);
            }
            92 => self.plan_fault(),
            93 => self.squeeze(),
            94 if self.index.is_none() => match self.rng.chance(1, 2) {
                true => self.archive(),
                false => self.compact(),
            },
            94 => {}
            95 => self.jump(),
            96 => self.checkpoint(),
            97 => self.save_states(),
            98 if self.rng.chance(1, 2) => self.upgrade(),
            98 if self.rng.chance(1, 2) => self.retry_failed(),
            98 => {
                self.resolve_incidents();
                self.resume_paused();
                self.drain();
            }
            _ if self.rng.chance(1, 4) => {
                let power = self.rng.chance(1, 2);
                self.crash(power);
            }
            _ => {}
        }
    }

    fn new_start(&mut self) {
        let number = self.ops.len() as u128 + 1;
        let machine = self.rng.index(self.machines.len() / 2);
        let talks = |op: &&Op| matches!(op.what, What::Start(at, _) if at == machine);
        let peers: Vec<InstanceId> =
            self.ops.iter().rev().filter(talks).take(3).map(|op| op.id).collect();
        // Now and then to itself, or to nobody.
        let peer = peers.get(self.rng.index(4)).copied().unwrap_or(id(number));
        let what = What::Start(machine, peer);
        self.ops.push(Op { id: id(number), what, state: OpState::Ready });
        self.send(self.ops.len() - 1);
    }

    fn new_event(&mut self) {
        let names =
            ["bump", "wait", "close", "ask", "stop", "more", "bump", "wait", "more", "mend"];
        let name = names[self.rng.index(names.len())];
        // Ends are rarer, or nothing would live.
        if matches!(name, "stop" | "close") && !self.rng.chance(1, 5) {
            return;
        }
        self.new_op(What::Event(name.into()));
    }

    fn new_op(&mut self, what: What) {
        let Some((id, _)) = self.some_instance() else { return };
        self.ops.push(Op { id, what, state: OpState::Ready });
        self.send(self.ops.len() - 1);
    }

    /// Returns an instance that was started, and its machine; mostly one of the younger.
    fn some_instance(&mut self) -> Option<(InstanceId, usize)> {
        let start = |op: &Op| match op.what {
            What::Start(machine, _) => Some((op.id, machine)),
            _ => None,
        };
        let young: Vec<_> = self.ops.iter().rev().filter_map(start).take(12).collect();
        (!young.is_empty()).then(|| young[self.rng.index(young.len())])
    }

    /// A caller that got no answer asks again, in the same words.
    fn resend(&mut self) {
        let ready: Vec<usize> = (0..self.ops.len())
            .rev()
            .filter(|at| self.ops[*at].state == OpState::Ready)
            .take(8)
            .collect();
        for at in ready {
            self.send(at);
        }
    }

    fn send(&mut self, at: usize) {
        let id = self.ops[at].id;
        if matches!(self.ops[at].what, What::Start(..)) && self.is_forgotten(id) {
            self.ops[at].state = OpState::Refused;
            return;
        }
        let op = &mut self.ops[at];
        op.state = OpState::Sent;
        let (id, what) = (op.id, op.what.clone());
        let answers = Arc::clone(&self.answers);
        let message = match what {
            What::Retry => {
                let planned = plan_retry(&self.histories[&id], Retry::default(), class);
                let Ok(retried) = planned else {
                    op.state = OpState::Refused;
                    return;
                };
                let (base, input) = (self.folds[&id].clone(), Input::Reopen(retried));
                let (ctx, copied, read_to) =
                    (ctx(), Vec::new(), self.acknowledged.len() as Position);
                let reply = Box::new(move |answer: Result<StartOutcome, Error>| {
                    answers.lock().unwrap().push((at, answer.map(|it| it.existing)));
                });
                Message::Reopen(Box::new(Reopen { ctx, base, copied, input, read_to, reply }))
            }
            What::Start(number, peer) => Message::Start(Start {
                ctx: ctx(),
                machine: Arc::clone(&self.machines[number]),
                id,
                birth: Birth::default(),
                input: Value::map([("peer", Value::from(peer.to_string()))]),
                reply: Box::new(move |answer| {
                    answers.lock().unwrap().push((at, answer.map(|it| it.existing)));
                }),
            }),
            What::Upgrade(number) => Message::Upgrade(Upgrade {
                ctx: ctx(),
                id,
                machine: Arc::clone(&self.machines[number]),
                reply: Box::new(move |answer| {
                    answers.lock().unwrap().push((at, answer.map(|it| it.replayed)));
                }),
            }),
            what => {
                let command = match what {
                    What::Event(event) => {
                        Command::Event { event, data: Value::empty_map(), id: Some(event_id(at)) }
                    }
                    What::Operate(operation) => Command::Operate(operation),
                    What::Resolve(tree, path, resolution) => {
                        Command::Resolve { tree, path, resolution, reason: None }
                    }
                    _ => Command::Cancel { terminate: false, reason: None },
                };
                let reply: traaviis_runtime::owner::Reply<_> =
                    Box::new(move |answer: Result<traaviis_runtime::Accepted, Error>| {
                        answers.lock().unwrap().push((at, answer.map(|it| it.replayed)));
                    });
                Message::Command { ctx: ctx(), id, command, reply }
            }
        };
        self.handle(id, message);
    }

    /// Says what a handle looks for before it sends a start on: whether there was such an instance
    /// that memory has forgotten. (It reads the log or the archive; that those have it is checked
    /// elsewhere.)
    fn is_forgotten(&mut self, id: InstanceId) -> bool {
        self.forgets.load(Ordering::SeqCst)
            && self.histories.contains_key(&id)
            && matches!(self.find(id), Err(Error::NotFound { .. }))
    }

    fn pass(&mut self, span: Span) {
        let until = self.now.plus(span);
        loop {
            let arrives = self.network.next_at().filter(|at| *at <= until);
            let wakes = self.shards.iter().filter_map(|(owner, _)| owner.next_wake()).min();
            let next = arrives.into_iter().chain(wakes.filter(|at| *at <= until)).min();
            let life = self.life;
            self.now = next.unwrap_or(until).max(self.now);
            while let Some(delivery) = self.network.receive(self.now) {
                self.deliver(delivery);
            }
            for (owner, outside) in &mut self.shards {
                owner.tick(self.now, outside);
            }
            self.settle();
            // A commit now and then, so that time does not pass over a log that stands still.
            if self.calm || self.rng.chance(1, 2) {
                self.commit();
            }
            if next.is_none() || self.life != life {
                return;
            }
        }
    }

    fn deliver(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Request { life, call, sent } => {
                let answer = Value::map([("by", Value::from(name(&call)))]);
                let outcome = match self.rng.below(100) {
                    _ if self.calm => Ok(self.ledger.execute(&call.key, || answer)),
                    0..10 => Err(EffectError::retryable("network_error", "no luck")),
                    10..15 => Err(EffectError::new("refused", "no")),
                    _ => Ok(self.ledger.execute(&call.key, || answer)),
                };
                let answer = Delivery::Answer { life, call: call.id.clone(), outcome };
                if !self.network.send(self.now, answer) {
                    self.time_out(life, call.id, sent);
                }
            }
            Delivery::Answer { life, call, outcome } if life == self.life => {
                let tenant = ctx().tenant();
                self.handle(call.instance, Message::Outcome { tenant, call, outcome });
            }
            Delivery::Answer { .. } => {}
        }
    }

    /// The connector ends an attempt that nobody answers.
    fn time_out(&mut self, life: u64, call: CallId, sent: Timestamp) {
        let outcome = Err(EffectError::retryable("timeout", "nobody answered"));
        let at = sent.plus(CALL_TIMEOUT).max(self.now);
        self.network.send_at(at, Delivery::Answer { life, call, outcome });
    }

    /// The wall clock is set: forward, and time follows, or back, and it does not.
    fn jump(&mut self) {
        // Mostly what time services do; sometimes somebody sets another day.
        let day = Span::secs(DAY_SECS as i64);
        let days = self.clock.jumps.iter().filter(|it| it.1 >= day).count();
        let is_day = self.rng.chance(1, 4) && days < DAYS_MAX;
        let seconds = if is_day { DAY_SECS } else { 61 + self.rng.below(3_600) };
        if is_day {
            // A caller who asks a day later again may be taken for a new one, so none does.
            let open = |it: &&mut Op| {
                matches!(it.what, What::Event(_))
                    && matches!(it.state, OpState::Ready | OpState::Sent)
            };
            self.ops.iter_mut().filter(open).for_each(|it| it.state = OpState::LeftAlone);
        }
        let span = Span::secs(seconds as i64);
        let (by_us, follows_us) = match self.rng.chance(2, 3) {
            true => (span.0, span.0),
            false => (-span.0, 0),
        };
        let jump = Jump { by_us, follows_us, wall: self.now.plus(Span(by_us)) };
        let stream = id(1 << 64 | u128::from(self.rng.next_u64() >> 1));
        for (owner, outside) in &mut self.shards {
            let message = Message::ClockJumped { jump, stream, done: None };
            owner.handle(message, self.now, outside);
        }
        self.trace.add(by_us.to_le_bytes());
        if follows_us > 0 {
            self.clock.jumps.push((self.now, jump.follows()));
            self.now = self.now.plus(jump.follows());
        }
        self.settle();
    }

    fn handle(&mut self, id: InstanceId, message: Message) {
        let at = shard(id, self.shards.len());
        let (owner, outside) = &mut self.shards[at];
        owner.handle(message, self.now, outside);
    }

    /// Lets requests go out and answers come in; a dead process ends.
    fn settle(&mut self) {
        // Letters lie for a while now and then.
        while (self.calm || self.rng.chance(9, 10))
            && let Some((to, letter)) = self.letters.take()
        {
            self.facts.letters += 1;
            self.handle(to.id, letter);
        }
        for at in 0..self.shards.len() {
            while let Some((_, call)) = self.shards[at].1.calls.pop_front() {
                self.perform(call);
            }
            for committed in self.shards[at].1.published.drain(..) {
                if let Some(index) = &mut self.index {
                    index.take(&committed);
                }
            }
        }
        self.take_answers();
        if self.shards.iter().any(|(owner, _)| owner.failure().is_some()) {
            let power = self.rng.chance(1, 2);
            self.crash(power);
        }
    }

    fn perform(&mut self, call: Call) {
        let node = (call.id.instance, call.id.tree, call.id.path.clone());
        assert!(self.started.contains(&call.id), "performed before it is durable: {call:?}");
        assert!(!self.completed.contains(&node), "performed after its outcome: {call:?}");
        let key = self.keys.entry(node).or_insert_with(|| call.key.clone());
        assert_eq!(*key, call.key, "the key of a call changed");
        self.trace.add(&*call.key);
        self.asked.push((call.id.clone(), call.key.clone()));
        let (life, id, sent) = (self.life, call.id.clone(), self.now);
        if !self.network.send(self.now, Delivery::Request { life, call, sent }) {
            self.time_out(life, id, sent);
        }
    }

    fn take_answers(&mut self) {
        let answers = std::mem::take(&mut *self.answers.lock().unwrap());
        for (at, answer) in answers {
            let op = &mut self.ops[at];
            self.trace.add(at.to_le_bytes());
            op.state = match &answer {
                Ok(_) => OpState::Acknowledged,
                Err(Error::Log(_)) if op.state == OpState::LeftAlone => OpState::LeftAlone,
                Err(Error::Log(_)) => OpState::Ready,
                Err(Error::Unavailable { .. }) => panic!("unavailable: {answer:?}"),
                Err(_) => OpState::Refused,
            };
            self.trace.add(answer.map_or_else(|error| error.code(), |_| "ok"));
        }
    }

    fn find(&mut self, id: InstanceId) -> Result<Found, Error> {
        let slot = Arc::new(Mutex::new(None));
        let to = Arc::clone(&slot);
        let reply = Box::new(move |found| *to.lock().unwrap() = Some(found));
        let at = shard(id, self.shards.len());
        let (owner, outside) = &mut self.shards[at];
        owner.handle(Message::Find { ctx: ctx(), id, reply }, self.now, outside);
        slot.lock().unwrap().take().unwrap()
    }

    /// Everything calms down; every instance must come to its end.
    fn end(&mut self) {
        self.calm = true;
        self.network.set_weather(CALM);
        self.crash(true);
        self.rest();
        self.check_state();
        self.check_orphans();
        self.hearing.check(&self.folds);
        for round in 0..50 {
            self.resolve_incidents();
            self.rest();
            let mut open: Vec<InstanceId> = Vec::new();
            for (owner, _) in &self.shards {
                open.extend(owner.open_instances().map(|it| it.id));
            }
            if open.is_empty() {
                break;
            }
            open.sort();
            for id in open {
                self.ops.push(Op { id, what: What::Cancel, state: OpState::Ready });
                self.send(self.ops.len() - 1);
            }
            self.rest();
            assert!(round < 49, "an instance does not end: {:?}", self.first_open());
        }
        self.check_state();
        self.facts.ended = self.histories.len();
        let acknowledged = self.ops.iter().filter(|op| op.state == OpState::Acknowledged);
        self.facts.acknowledged = acknowledged.count() as u64;
        self.check_histories();
        self.facts.delayed =
            self.histories.iter().map(|(id, records)| self.clock.check(*id, records)).sum();
        self.check_messages();
        self.check_families();
        self.check_asked();
        for entry in self.ledger.entries().values() {
            assert!(entry.executions <= 1, "a receiver that honours keys worked twice");
        }
    }

    /// Lets time pass until nothing moves but far timers.
    fn rest(&mut self) {
        for _ in 0..10_000 {
            self.resend();
            self.commit();
            self.pass(Span::secs(1));
            if self.moving().is_none() {
                return;
            }
        }
        let shown: Vec<String> = self.histories.values().flatten().map(show).collect();
        panic!("{}\nno rest: {:?}", shown.join("\n"), self.moving());
    }

    fn first_open(&self) -> Option<String> {
        let mut open = self.shards.iter().flat_map(|(owner, _)| owner.open_instances());
        open.next().map(|it| String::from_utf8_lossy(&it.canonical()).into_owned())
    }
}

/// Says what may be promised about a call.
fn class(_: &str, input: &Value) -> DeliveryClass {
    match input.get("function").and_then(Value::as_str) {
        Some("charge") => DeliveryClass::OtherWrite,
        _ => DeliveryClass::KeyedWrite,
    }
}

fn shard(id: InstanceId, count: usize) -> usize {
    (id.0.as_u128() % count as u128) as usize
}

/// A record on one line, for a failing run.
fn show(record: &Record) -> String {
    let mut line = Vec::new();
    record.write_line(&mut line);
    String::from_utf8_lossy(&line).trim_end().to_string()
}

/// Returns version 2 of a workflow; the state in which a counter waits has another name there.
fn next(document: &str) -> Arc<Machine> {
    let migrations = match document.contains("waiting:") {
        true => "migrations: [{from: <2.0.0, states: {waiting: resting}}]",
        false => "migrations: []",
    };
    let document = document.replace("waiting:", "resting:").replace(": waiting", ": resting");
    machine(&document.replace("version: 1.0.0", &format!("version: 2.0.0\n{migrations}")))
}

fn event_id(at: usize) -> Text {
    format!("e{at}").into()
}
