//! What callers hold of a running runtime. Cheap to clone; every call names a tenant.
//!
//! Each use case comes twice: one that takes a reply function and returns at once, and one that
//! waits. Reply functions run on a shard's thread and must be short.
//!
//! The runtime stops when the last handle is gone; [`Handle::shutdown`] stops it gently.

use std::{
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    time::{Duration, Instant},
};

use traaviis_engine::{
    Birth, Branch, Fork, Input, Machine, Marks, Resolution, Retry, plan_fork, plan_retry,
};
use traaviis_model::{
    InstanceId, Record, Seq, Snapshot, TenantCtx, Text, Value, record::Operation,
};
use traaviis_ports::{
    Compacted, Completion, IndexError, LogError, Position,
    index::{Count, Query, Row},
};

pub use crate::owner::Accepted;
use crate::{
    checkpoint::{self, Instances},
    correlation::{Correlations, Holder},
    error::Error,
    index::Feeder,
    owner::{
        Collected, Command, Found, HotStats, Key, Message, Reopen, Reply, Start, StartOutcome,
        Stored, Upgrade,
    },
    runtime::{Shard, Shared, Signal, shard_of},
    snapshots,
    summary::{Filter, Summary, newest},
    tree::{Follower, TreeOptions, TreeStatus},
    upkeep::{Pace, Upkeep, Upkept, When},
    watch::{OnStep, Watch},
};

/// Longest time that a shutdown waits for running calls.
pub const DRAIN_MAX: Duration = Duration::from_secs(5);
/// Longest time that a blocking call waits for a shard; longer means that the disk stands still.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(60);

/// What a start gave.
#[derive(Clone, Debug)]
pub struct Started {
    /// The instance.
    pub id: InstanceId,
    /// It was there before; nothing happened now.
    pub existing: bool,
    /// State after its first step, or as it is when it was there before.
    pub snapshot: Arc<Snapshot>,
}

/// How hard upkeep works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// So that it never competes with other work.
    Gentle,
    /// As fast as it goes.
    Full,
}

/// Handle of a running runtime.
#[derive(Clone)]
pub struct Handle {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    shards: Vec<Shard>,
    pub(crate) shared: Arc<Shared>,
    correlations: Arc<Correlations>,
    forgets: Arc<AtomicBool>,
    pub(crate) definitions: Arc<Stored>,
    pub(crate) upkeep: Mutex<Upkeep>,
    /// Nothing new is begun any more.
    ending: AtomicBool,
    /// End the threads that look after the log and the clock, with the handle.
    _ends: Vec<Sender<()>>,
    /// One checkpoint at a time; the positions of the last two.
    checkpointing: Mutex<[Position; 2]>,
    /// Set once it is followed.
    tree: OnceLock<Arc<Follower>>,
}

impl Inner {
    pub(crate) fn new(
        shards: Vec<Shard>,
        shared: Arc<Shared>,
        correlations: Arc<Correlations>,
        forgets: Arc<AtomicBool>,
        definitions: Arc<Stored>,
        ends: Vec<Sender<()>>,
    ) -> Inner {
        Inner {
            shards,
            shared,
            correlations,
            forgets,
            definitions,
            upkeep: Mutex::default(),
            ending: AtomicBool::new(false),
            _ends: ends,
            checkpointing: Mutex::default(),
            tree: OnceLock::new(),
        }
    }

    /// Takes archived instances out of the document tree.
    pub(crate) fn leave_tree(&self, keys: &[Key]) -> Result<(), Error> {
        match self.tree.get() {
            Some(tree) if !keys.is_empty() => tree.forget(keys),
            _ => Ok(()),
        }
    }

    /// Feeds a document tree from now on.
    pub(crate) fn follow(self: &Arc<Inner>, options: TreeOptions) -> Result<(), Error> {
        let follower = Follower::new(options, Arc::clone(&self.shared.ports.log));
        follower.start(Arc::downgrade(self))?;
        if follower.holds_answers() {
            follower.wait_shown()?;
        }
        // Called once, before anybody has a handle.
        let _ = self.tree.set(follower);
        Ok(())
    }

    /// Returns the tree whose showing callers wait for, if they do.
    fn shown(&self) -> Option<&Arc<Follower>> {
        self.tree.get().filter(|it| it.holds_answers())
    }

    /// Says whether upkeep must come to an end.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::SeqCst) || self.shared.dead.load(Ordering::SeqCst)
    }

    /// Sends each shard what concerns its instances; returns how many were sent something.
    pub(crate) fn tell_each<T: Clone>(
        &self,
        items: &[T],
        key: impl Fn(&T) -> Key,
        message: impl Fn(Vec<T>) -> Message,
    ) -> Result<usize, Error> {
        let mut parts: Vec<Vec<T>> = self.shards.iter().map(|_| Vec::new()).collect();
        for item in items {
            parts[shard_of(&key(item), self.shards.len())].push(item.clone());
        }
        let parts = self.shards.iter().zip(parts).filter(|(_, part)| !part.is_empty());
        let mut count = 0;
        for (shard, part) in parts {
            let sent = shard.signals.send(Signal::Message(message(part), None));
            sent.map_err(|_| Error::Stopping)?;
            count += 1;
        }
        Ok(count)
    }

    /// Waits for one answer of a shard.
    pub(crate) fn answer<T>(&self, answers: &Receiver<T>) -> Result<T, Error> {
        answers.recv_timeout(ANSWER_MAX).map_err(waited)
    }

    /// Returns all shards.
    pub(crate) fn shards(&self) -> &[Shard] {
        &self.shards
    }

    fn shard(&self, key: &Key) -> &Shard {
        &self.shards[shard_of(key, self.shards.len())]
    }

    /// Writes a checkpoint and returns its position.
    ///
    /// The position is read first: the log tells outcomes before it moves its tail, so everything
    /// before the position is in a shard's queue ahead of the question.
    pub(crate) fn checkpoint(&self) -> Result<Position, Error> {
        let mut last = self.checkpointing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.shared.dead.load(Ordering::SeqCst) {
            return Err(Error::Stopping);
        }
        self.shared.bytes.store(0, Ordering::SeqCst);
        let log = &self.shared.ports.log;
        let position = log.tail();
        let collected = self.collect()?;
        let completion = Completion { position, forget: last[0] };
        let instances = self.put_states(&collected, Some(completion))?;
        let body =
            checkpoint::write(&collected, self.forgets.load(Ordering::SeqCst), instances, &**log)?;
        log.put_checkpoint(position, &body)?;
        *last = [last[1], position];
        Ok(position)
    }

    /// Puts the states that changed into the snapshot store, so that memory can let go of them.
    pub(crate) fn save_states(&self) -> Result<(), Error> {
        let _one = self.checkpointing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.shared.snapshots.is_some() && !self.shared.dead.load(Ordering::SeqCst) {
            self.put_states(&self.collect()?, None)?;
        }
        Ok(())
    }

    /// Asks every shard what it holds.
    fn collect(&self) -> Result<Vec<Collected>, Error> {
        let (sender, receiver) = channel();
        for shard in &self.shards {
            let message = Message::Collect(sender.clone());
            let sent = shard.signals.send(Signal::Message(message, None));
            sent.map_err(|_| Error::Stopping)?;
        }
        let mut collected = Vec::with_capacity(self.shards.len());
        for _ in &self.shards {
            collected.push(receiver.recv_timeout(ANSWER_MAX).map_err(waited)?);
        }
        Ok(collected)
    }

    /// Puts what was collected into the snapshot store, if there is one, and tells the shards.
    fn put_states(
        &self,
        collected: &[Collected],
        completion: Option<Completion>,
    ) -> Result<Instances, Error> {
        let Some(store) = &self.shared.snapshots else {
            return self.sync_index().map(|()| Instances::Inside);
        };
        // States must not outlive the records that they stand on.
        let log = &*self.shared.ports.log;
        let saved = log.sync().map_err(Error::Log);
        let saved = saved.and_then(|()| self.sync_index());
        let saved = saved.and_then(|()| snapshots::put(&**store, collected, completion, log));
        let (told, answer) = match saved {
            Ok(sizes) => (Some(sizes), Ok(Instances::Beside)),
            Err(error) => (None, Err(error)),
        };
        for (at, shard) in self.shards.iter().enumerate() {
            let mine = |(key, _): &&(Key, u32)| shard_of(key, self.shards.len()) == at;
            let sizes = told.as_ref().map(|all| all.iter().filter(mine).copied().collect());
            // A shard that has ended needs no answer.
            let _ = shard.signals.send(Signal::Message(Message::Saved(sizes), None));
        }
        answer
    }

    /// Says how much the shards hold in memory.
    pub(crate) fn memory(&self) -> Result<HotStats, Error> {
        let (sender, receiver) = channel();
        for shard in &self.shards {
            let sent = shard.signals.send(Signal::Message(Message::Memory(sender.clone()), None));
            sent.map_err(|_| Error::Stopping)?;
        }
        let mut all = HotStats::default();
        for _ in &self.shards {
            all = all.and(receiver.recv_timeout(ANSWER_MAX).map_err(waited)?);
        }
        Ok(all)
    }
}

impl Inner {
    /// Brings the index to where a checkpoint will stand: what a checkpoint, or the snapshot store,
    /// leaves out of ended instances must be in the index before the next start begins there.
    fn sync_index(&self) -> Result<(), Error> {
        let Some(feeder) = self.feeder() else { return Ok(()) };
        match feeder.sync() {
            Err(IndexError::Full) => Err(Error::Log(LogError::Full)),
            // Given up: the next start makes it again, whatever the checkpoint.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    pub(crate) fn feeder(&self) -> Option<&Feeder> {
        self.shared.feeder.as_deref()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(feeder) = self.feeder() {
            feeder.end();
        }
        if let Some(tree) = self.tree.get() {
            tree.end();
        }
        for shard in &self.shards {
            // It may have ended before.
            let _ = shard.signals.send(Signal::Stop);
        }
        self.shared.watchers.end();
    }
}

impl Handle {
    pub(crate) fn new(inner: Arc<Inner>) -> Handle {
        Handle { inner }
    }

    // --- Commands that return at once -------------------------------------------------------

    /// Starts an instance; `reply` is told after the commit. Returns the id it will have.
    pub fn start_instance_then(
        &self,
        ctx: &TenantCtx,
        machine: &Arc<Machine>,
        id: Option<InstanceId>,
        input: Value,
        reply: Reply<Started>,
    ) -> InstanceId {
        self.start_born_then(ctx, machine, id, input, Birth::default(), reply)
    }

    /// As [`Handle::start_instance_then`], for one that has more tags and labels than its workflow.
    pub fn start_marked_then(
        &self,
        ctx: &TenantCtx,
        machine: &Arc<Machine>,
        input: Value,
        given: Marks,
        reply: Reply<Started>,
    ) {
        match Marks::of(machine.definition()).with(given) {
            Ok(marks) => {
                let birth = Birth { marks: Some(marks), ..Birth::default() };
                self.start_born_then(ctx, machine, None, input, birth, reply);
            }
            Err(rejection) => reply(Err(Error::Rejected(rejection))),
        }
    }

    /// Tells the state of an open instance as its owner has it. Of one that has ended or is not
    /// there, and where callers wait for the document tree, nothing is told: see [`Handle::get`].
    pub fn find_open_then(
        &self,
        ctx: &TenantCtx,
        id: InstanceId,
        reply: Reply<Option<Arc<Snapshot>>>,
    ) {
        if self.inner.shown().is_some() {
            return reply(Ok(None));
        }
        let reply = Box::new(move |found: Result<Found, Error>| {
            reply(match found {
                Ok(Found::Open(snapshot)) => Ok(Some(snapshot)),
                Ok(Found::Ended(_)) | Err(Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            });
        });
        self.send_message(ctx, id, Message::Find { ctx: ctx.clone(), id, reply });
    }

    fn start_born_then(
        &self,
        ctx: &TenantCtx,
        machine: &Arc<Machine>,
        id: Option<InstanceId>,
        input: Value,
        birth: Birth,
        reply: Reply<Started>,
    ) -> InstanceId {
        let inner = &self.inner;
        let named = id.is_some();
        let id = id.unwrap_or_else(|| inner.shared.ports.ids.instance_id());
        if named && inner.forgets.load(Ordering::SeqCst) && self.is_forgotten(ctx, id) {
            reply(Err(Error::has_ended(id)));
            return id;
        }
        let handle = self.clone();
        let tenant = ctx.clone();
        let reply = Box::new(move |outcome: Result<StartOutcome, Error>| {
            let started = outcome.and_then(|StartOutcome { existing, found }| {
                let snapshot = handle.whole(&tenant, found)?;
                Ok(Started { id, existing, snapshot })
            });
            reply(started);
        });
        let machine = Arc::clone(machine);
        let start = Start { ctx: ctx.clone(), machine, id, input, birth, reply };
        self.send_message(ctx, id, Message::Start(start));
        id
    }

    /// Does something to an instance; `reply` is told after the commit.
    pub fn command_then(
        &self,
        ctx: &TenantCtx,
        id: InstanceId,
        command: Command,
        reply: Reply<Accepted>,
    ) {
        let message = Message::Command { ctx: ctx.clone(), id, command, reply };
        self.send_message(ctx, id, message);
    }

    /// Takes an instance over to another version.
    pub fn upgrade_then(
        &self,
        ctx: &TenantCtx,
        id: InstanceId,
        machine: &Arc<Machine>,
        reply: Reply<Accepted>,
    ) {
        let upgrade = Upgrade { ctx: ctx.clone(), id, machine: Arc::clone(machine), reply };
        self.send_message(ctx, id, Message::Upgrade(upgrade));
    }

    // --- Commands that wait -----------------------------------------------------------------

    /// Starts an instance and waits until that is durable. The same id, workflow and input again
    /// give the instance that is there.
    pub fn start_instance(
        &self,
        ctx: &TenantCtx,
        machine: &Arc<Machine>,
        id: Option<InstanceId>,
        input: Value,
    ) -> Result<Started, Error> {
        wait(|reply| {
            self.start_instance_then(ctx, machine, id, input, reply);
        })
    }

    /// As [`Handle::start_instance`], for one that has more tags and labels than its workflow.
    pub fn start_marked(
        &self,
        ctx: &TenantCtx,
        machine: &Arc<Machine>,
        id: Option<InstanceId>,
        input: Value,
        given: Marks,
    ) -> Result<Started, Error> {
        let marks = Marks::of(machine.definition()).with(given).map_err(Error::Rejected)?;
        let birth = Birth { marks: Some(marks), ..Birth::default() };
        wait(|reply| {
            self.start_born_then(ctx, machine, id, input, birth, reply);
        })
    }

    /// As [`Handle::start_instance`], for one that somebody else than the caller counts as having
    /// started, written as `kind:id`.
    pub fn start_for(
        &self,
        ctx: &TenantCtx,
        machine: &Arc<Machine>,
        input: Value,
        created_by: Text,
    ) -> Result<Started, Error> {
        let birth = Birth { created_by: Some(created_by), ..Birth::default() };
        wait(|reply| {
            self.start_born_then(ctx, machine, None, input, birth, reply);
        })
    }

    /// Sends an event and waits until it is durable.
    pub fn send(
        &self,
        ctx: &TenantCtx,
        id: InstanceId,
        event: impl Into<Text>,
        data: Value,
        dedup_id: Option<Text>,
    ) -> Result<Accepted, Error> {
        self.command(ctx, id, Command::Event { event: event.into(), data, id: dedup_id })
    }

    /// Asks for the end of an instance; `terminate` skips exit actions and compensation.
    pub fn cancel(
        &self,
        ctx: &TenantCtx,
        id: InstanceId,
        terminate: bool,
        reason: Option<Text>,
    ) -> Result<Accepted, Error> {
        self.command(ctx, id, Command::Cancel { terminate, reason })
    }

    /// Answers an incident.
    pub fn resolve(
        &self,
        ctx: &TenantCtx,
        id: InstanceId,
        tree: Seq,
        path: impl Into<Text>,
        resolution: Resolution,
        reason: Option<Text>,
    ) -> Result<Accepted, Error> {
        self.command(ctx, id, Command::Resolve { tree, path: path.into(), resolution, reason })
    }

    /// Pauses, resumes, edits or moves an instance by hand.
    pub fn operate(
        &self,
        ctx: &TenantCtx,
        id: InstanceId,
        operation: Operation,
    ) -> Result<Accepted, Error> {
        self.command(ctx, id, Command::Operate(operation))
    }

    /// Takes an instance over to another version of its workflow.
    pub fn upgrade(
        &self,
        ctx: &TenantCtx,
        id: InstanceId,
        machine: &Arc<Machine>,
    ) -> Result<Accepted, Error> {
        wait(|reply| self.upgrade_then(ctx, id, machine, reply))
    }

    /// Lets an instance that has failed go on where it failed.
    pub fn retry(
        &self,
        ctx: &TenantCtx,
        id: InstanceId,
        retry: Retry,
    ) -> Result<Arc<Snapshot>, Error> {
        if self.inner.shared.past.is_archived(ctx, id)? {
            return Err(Error::archived(id));
        }
        let (records, read_to) = self.inner.shared.past.history_to(ctx, id)?;
        let folded = Snapshot::fold(&records);
        let base = folded.map_err(|error| Error::Damaged { id, source: Arc::new(error) })?;
        let base = base.ok_or(Error::NotFound { id })?;
        let connector = &self.inner.shared.ports.connector;
        let class = |kind: &str, input: &Value| connector.delivery_class(ctx, kind, input);
        let retried = plan_retry(&records, retry, class).map_err(Error::Rejected)?;
        self.reopen(ctx, base, Vec::new(), Input::Reopen(retried), read_to)
    }

    /// Starts a fork of an instance; it is durable when this returns.
    pub fn fork(
        &self,
        ctx: &TenantCtx,
        of: InstanceId,
        fork: impl FnOnce(InstanceId) -> Fork,
    ) -> Result<Arc<Snapshot>, Error> {
        let records = self.history(ctx, of)?;
        let fork = fork(self.inner.shared.ports.ids.instance_id());
        let Branch { copied, base, forked } = plan_fork(&records, fork).map_err(Error::Rejected)?;
        self.reopen(ctx, base, copied, Input::Fork(forked), 0)
    }

    fn reopen(
        &self,
        ctx: &TenantCtx,
        base: Snapshot,
        copied: Vec<Record>,
        input: Input,
        read_to: Position,
    ) -> Result<Arc<Snapshot>, Error> {
        let (ctx, key) = (ctx.clone(), Key::of(&base));
        let outcome: StartOutcome = wait(|reply| {
            let reopen = Reopen { ctx: ctx.clone(), base, copied, input, read_to, reply };
            self.send_message(&ctx, key.id, Message::Reopen(Box::new(reopen)));
        })?;
        self.whole(&ctx, outcome.found)
    }

    /// Does something to an instance and waits until it is durable.
    pub fn command(
        &self,
        ctx: &TenantCtx,
        id: InstanceId,
        command: Command,
    ) -> Result<Accepted, Error> {
        wait(|reply| self.command_then(ctx, id, command, reply))
    }

    // --- Questions --------------------------------------------------------------------------

    /// Returns the state of an instance, open or ended.
    pub fn get(&self, ctx: &TenantCtx, id: InstanceId) -> Result<Option<Arc<Snapshot>>, Error> {
        let ask = || {
            let found = self.find(ctx, id);
            self.state_of(ctx, id, found)
        };
        match self.inner.shown() {
            Some(tree) => tree.read(&ask),
            None => ask(),
        }
    }

    /// Returns the states of several instances, asked for together.
    pub(crate) fn states(
        &self,
        asked: &[(TenantCtx, InstanceId)],
    ) -> Vec<Result<Option<Arc<Snapshot>>, Error>> {
        let (sender, receiver) = channel();
        for (at, (ctx, id)) in asked.iter().enumerate() {
            let sender = sender.clone();
            let reply = Box::new(move |found| {
                // The wait may have run out.
                let _ = sender.send((at, found));
            });
            self.send_message(ctx, *id, Message::Find { ctx: ctx.clone(), id: *id, reply });
        }
        drop(sender);
        let mut answers: Vec<Result<Option<Arc<Snapshot>>, Error>> =
            asked.iter().map(|_| Err(Error::TimedOut)).collect();
        while let Ok((at, found)) = receiver.recv_timeout(ANSWER_MAX) {
            let (ctx, id) = &asked[at];
            answers[at] = self.state_of(ctx, *id, found);
        }
        answers
    }

    /// Returns how the document tree stands, if there is one.
    pub fn tree(&self) -> Option<TreeStatus> {
        self.inner.tree.get().and_then(|it| it.status())
    }

    /// Returns instances in short, the newest first.
    pub fn list(&self, ctx: &TenantCtx, filter: &Filter) -> Result<Vec<Summary>, Error> {
        let (sender, receiver) = channel();
        for shard in &self.inner.shards {
            let sender = sender.clone();
            let reply = Box::new(move |summaries| {
                // Whoever asked may have given up.
                let _ = sender.send(summaries);
            });
            let message = Message::List { ctx: ctx.clone(), filter: filter.clone(), reply };
            self.send_to(ctx, shard, message);
        }
        drop(sender);
        let mut summaries = Vec::new();
        for _ in &self.inner.shards {
            summaries.extend(receiver.recv_timeout(ANSWER_MAX).map_err(waited)?);
        }
        Ok(newest(summaries, filter.limit()))
    }

    /// Returns a page of instances from the index, everything committed included.
    pub fn page(&self, ctx: &TenantCtx, query: &Query) -> Result<Vec<Row>, IndexError> {
        self.feeder()?.list(ctx, query)
    }

    /// Counts instances by workflow, status and state, everything committed included.
    pub fn count(&self, ctx: &TenantCtx, query: &Query) -> Result<Vec<Count>, IndexError> {
        self.feeder()?.count(ctx, query)
    }

    /// Returns what the index has of one instance, everything committed included.
    pub fn row(&self, ctx: &TenantCtx, id: InstanceId) -> Result<Option<Row>, IndexError> {
        self.feeder()?.get(ctx, id)
    }

    /// Returns ids that begin or end with some hexadecimal digits.
    pub fn ids(
        &self,
        ctx: &TenantCtx,
        digits: &str,
        limit: usize,
    ) -> Result<Vec<InstanceId>, IndexError> {
        self.feeder()?.ids(ctx, digits, limit)
    }

    /// Returns who holds a business key.
    pub fn find_correlation(&self, ctx: &TenantCtx, workflow: &str, key: &Text) -> Option<Holder> {
        self.inner.correlations.find(ctx.tenant(), workflow, key)
    }

    /// Tells somebody every step of every tenant from now on; see [`OnStep`].
    pub fn listen(&self, on_step: OnStep) {
        self.inner.shared.watchers.listen(on_step);
    }

    /// Watches one instance, or all of a tenant. Ends when the reader is too slow.
    pub fn watch(&self, ctx: &TenantCtx, id: Option<InstanceId>) -> Result<Watch, Error> {
        self.inner.shared.watchers.add(ctx.tenant(), id)
    }

    /// Returns the whole history of an instance; empty when there is none in this tenant.
    pub fn history(&self, ctx: &TenantCtx, id: InstanceId) -> Result<Vec<Record>, Error> {
        self.inner.shared.past.history(ctx, id)
    }

    /// Waits until `holds` is true of an instance's state; none when the time runs out before.
    pub fn wait_for(
        &self,
        ctx: &TenantCtx,
        id: InstanceId,
        mut holds: impl FnMut(&Snapshot) -> bool,
        timeout: Duration,
    ) -> Result<Option<Arc<Snapshot>>, Error> {
        let end = Instant::now() + timeout;
        loop {
            // Watch first, so that no change falls between the look and the wait.
            let watch = self.watch(ctx, Some(id))?;
            let snapshot = self.get(ctx, id)?.ok_or(Error::NotFound { id })?;
            if holds(&snapshot) {
                return Ok(Some(snapshot));
            }
            loop {
                let rest = end.saturating_duration_since(Instant::now());
                match watch.next_timeout(rest) {
                    Ok(change) if holds(&change.snapshot) => {
                        return Ok(Some(Arc::clone(&change.snapshot)));
                    }
                    Ok(_) => {}
                    Err(RecvTimeoutError::Timeout) => return Ok(None),
                    Err(RecvTimeoutError::Disconnected) if rest.is_zero() => return Ok(None),
                    // Too slow; look again.
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
        }
    }

    // --- Life -------------------------------------------------------------------------------

    /// Writes a checkpoint and returns its position.
    pub fn checkpoint(&self) -> Result<Position, Error> {
        self.inner.checkpoint()
    }

    /// Says how many states of open instances are in memory, and how large they are.
    pub fn memory(&self) -> Result<HotStats, Error> {
        self.inner.memory()
    }

    /// Archives what is due, compacts the log, and deletes archive files that are due for that, as
    /// the runtime does by itself now and then. `tell` hears of every segment.
    pub fn upkeep(&self, effort: Effort, tell: &mut dyn FnMut(Compacted)) -> Result<Upkept, Error> {
        let pace = match effort {
            Effort::Gentle => &Pace::SLOW,
            Effort::Full => &Pace::FAST,
        };
        self.inner.upkeep(When::Now, pace, tell)
    }

    /// Keeps nothing of a tenant any more; what has ended of it is dropped by upkeep, as it comes
    /// by. A process that begins anew must be told again.
    pub fn forget(&self, ctx: &TenantCtx) {
        self.inner.forget(ctx);
    }

    /// Keeps nothing of an instance any more that has ended; upkeep drops its records and its file
    /// in the archive, as it comes by. A process that begins anew must be told again.
    pub fn discard(&self, ctx: &TenantCtx, id: InstanceId) {
        self.inner.definitions.discard(ctx, id);
    }

    /// Says whether upkeep is still to drop an instance.
    pub fn is_discarded(&self, ctx: &TenantCtx, id: InstanceId) -> bool {
        self.inner.definitions.is_discarded(ctx.tenant(), id)
    }

    /// Says whether the log failed; nothing is taken any more.
    pub fn is_dead(&self) -> bool {
        self.inner.shared.dead.load(Ordering::SeqCst)
    }

    /// Lets the shards look at the clock; for clocks that are moved by hand.
    pub fn wake(&self) {
        for shard in &self.inner.shards {
            // A shard that has ended has no timers.
            let _ = shard.signals.send(Signal::Wake);
        }
    }

    /// Takes nothing new, waits for running steps and calls at most `drain`, writes a checkpoint
    /// and ends the threads. Calls that still run are unknown to the next start.
    pub fn shutdown(self, drain: Duration) -> Result<(), Error> {
        self.inner.ending.store(true, Ordering::SeqCst);
        // Upkeep writes beside the log, which may be let go of when this returns.
        drop(self.inner.upkeep.lock().unwrap_or_else(PoisonError::into_inner));
        let (sender, receiver) = channel();
        for shard in &self.inner.shards {
            let sender = sender.clone();
            let reply = Box::new(move || {
                // The wait may have run out.
                let _ = sender.send(());
            });
            let message = Message::Drain(reply);
            // A shard that has ended is drained.
            let _ = shard.signals.send(Signal::Message(message, None));
        }
        drop(sender);
        let end = Instant::now() + drain.min(DRAIN_MAX);
        for _ in &self.inner.shards {
            let rest = end.saturating_duration_since(Instant::now());
            if receiver.recv_timeout(rest).is_err() {
                break;
            }
        }
        let written = match self.is_dead() {
            true => Ok(()),
            false => self.checkpoint().map(|_| ()),
        };
        if let Some(tree) = self.inner.tree.get().filter(|_| !self.is_dead()) {
            tree.finish();
        }
        for shard in &self.inner.shards {
            // It may have ended before.
            let _ = shard.signals.send(Signal::Stop);
        }
        self.inner.shared.watchers.end();
        if let Some(feeder) = self.inner.feeder() {
            feeder.end();
        }
        written
    }

    // --- Helpers ----------------------------------------------------------------------------

    fn feeder(&self) -> Result<&Feeder, IndexError> {
        self.inner.feeder().ok_or_else(|| IndexError::Failed("there is none".into()))
    }

    fn send_message(&self, ctx: &TenantCtx, id: InstanceId, message: Message) {
        let key = Key { tenant: ctx.tenant(), id };
        self.send_to(ctx, self.inner.shard(&key), message);
    }

    /// Sends for a caller, who holds a place in the queue until the shard takes the message.
    fn send_to(&self, ctx: &TenantCtx, shard: &Shard, message: Message) {
        let tenant = ctx.tenant();
        let Some(place) = shard.places.take(tenant) else {
            return refuse(message, Error::Busy);
        };
        let message = match self.inner.shown() {
            Some(tree) => match tree.refuses(&message) {
                Some(error) => return refuse(message, error),
                None => tree.held(message),
            },
            None => message,
        };
        let sent = shard.signals.send(Signal::Message(message, Some((tenant, place))));
        if let Err(error) = sent
            && let Signal::Message(message, _) = error.0
        {
            refuse(message, Error::Stopping);
        }
    }

    /// Asks the owner of an instance for it.
    fn find(&self, ctx: &TenantCtx, id: InstanceId) -> Result<Found, Error> {
        wait(|reply| self.send_message(ctx, id, Message::Find { ctx: ctx.clone(), id, reply }))
    }

    /// Returns the state of an instance by what its owner says.
    fn state_of(
        &self,
        ctx: &TenantCtx,
        id: InstanceId,
        found: Result<Found, Error>,
    ) -> Result<Option<Arc<Snapshot>>, Error> {
        match found {
            Ok(found) => self.whole(ctx, found).map(Some),
            Err(Error::NotFound { .. }) if self.inner.forgets.load(Ordering::SeqCst) => {
                match self.inner.shared.past.ended(ctx, id, 0) {
                    // It may have been started since the owner was asked.
                    Err(Error::Damaged { .. }) => match self.find(ctx, id) {
                        Err(Error::NotFound { .. }) => self.inner.shared.past.ended(ctx, id, 0),
                        found => self.whole(ctx, found?).map(Some),
                    },
                    told => told,
                }
            }
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the whole state of an instance that an owner knows.
    fn whole(&self, ctx: &TenantCtx, found: Found) -> Result<Arc<Snapshot>, Error> {
        match found {
            Found::Open(snapshot) => Ok(snapshot),
            Found::Ended(summary) => {
                let (id, known) = (summary.id, summary.seq);
                self.inner.shared.past.ended(ctx, id, known)?.ok_or(Error::NotFound { id })
            }
        }
    }

    /// Says whether the log holds an instance that memory may have forgotten.
    fn is_forgotten(&self, ctx: &TenantCtx, id: InstanceId) -> bool {
        matches!(self.find(ctx, id), Err(Error::NotFound { .. }))
            && self.inner.shared.past.has(ctx, id)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("shards", &self.inner.shards.len()).finish_non_exhaustive()
    }
}

/// Answers a message that no shard takes.
fn refuse(message: Message, error: Error) {
    match message {
        Message::Start(start) => (start.reply)(Err(error)),
        Message::Upgrade(upgrade) => (upgrade.reply)(Err(error)),
        Message::Reopen(reopen) => (reopen.reply)(Err(error)),
        Message::Command { reply, .. } => reply(Err(error)),
        Message::Find { reply, .. } => reply(Err(error)),
        // The reply is dropped, which its receiver sees.
        Message::List { .. }
        | Message::Deliver { .. }
        | Message::Emission { .. }
        | Message::Heard { .. }
        | Message::Invoke(_)
        | Message::Settle { .. }
        | Message::Outcome { .. }
        | Message::Yield { .. }
        | Message::Attend { .. }
        | Message::Ended { .. }
        | Message::Committed(_)
        | Message::ClockJumped { .. }
        | Message::Retire { .. }
        | Message::Retired { .. }
        | Message::Collect(_)
        | Message::Saved(_)
        | Message::Memory(_)
        | Message::Drain(_) => {}
    }
}

/// Calls with a reply function and waits for the reply.
fn wait<T: Send + 'static>(call: impl FnOnce(Reply<T>)) -> Result<T, Error> {
    let (sender, receiver) = channel::<Result<T, Error>>();
    call(into_reply(sender));
    receiver.recv_timeout(ANSWER_MAX).map_err(waited)?
}

fn into_reply<T: Send + 'static>(sender: Sender<Result<T, Error>>) -> Reply<T> {
    Box::new(move |answer| {
        // Whoever asked may have given up.
        let _ = sender.send(answer);
    })
}

fn waited(error: RecvTimeoutError) -> Error {
    match error {
        RecvTimeoutError::Timeout => Error::TimedOut,
        RecvTimeoutError::Disconnected => Error::Stopping,
    }
}
