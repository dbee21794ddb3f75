//! A data directory, opened: with a runtime that carries on what is there, or for reading only.
//!
//! This is where the store, the runtime and the connectors meet. [`Data`] holds the directory's
//! lock; [`Resting`] and what stands beside it read beside whoever holds it.

mod later;
mod resting;

use std::{
    collections::BTreeSet,
    fmt,
    ops::Range,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use traaviis_engine::{Fork, Machine, Marks, Resolution, Retry};
use traaviis_model::{
    Actor, Call, CallId, DeliveryClass, EffectError, InstanceId, Seq, Snapshot, TenantCtx,
    TenantId, Text, Value,
    privacy::RedactionKey,
    record::{ActorKind, Operation},
};
use traaviis_ports::{
    Compacted, Connector, Index, IndexError, LogError, LogStore, OnOutcome, Position,
    RedactionKeys as _, SnapshotStore,
    index::{Query, Row},
};
use traaviis_runtime::{
    Accepted, Broadcast, Command, Effort, Error, Fault, Filter, Handle, HotShare, HotStats,
    Library, Options, Ports, RecoveryReport, Runtime, Started, Summary, Upkept, Waited, Work,
    tree::TreeStatus, watch::OnStep,
};
use traaviis_store::{
    Damage, LocalLog, ReadOnlyLog, Recovery, SealedLog, SqliteIndex, SqliteSnapshots,
    keys::subject::Erased, transfer,
};

use crate::{
    children::Children,
    clock::{self, RandomIds, SystemClock},
    connectors::ConnectorArgs,
    control::protocol::{By, Wait},
    exit::{Exit, Failure},
    histories::Histories,
    lookup::{Aside, Lookup},
    secrets,
    storage::StorageMode,
    tree::{self, TreeMode},
};

pub use resting::{
    Frame, FrameFacts, Resting, checkpoint_faults, each_frame, inspect, lock_holder, sizes,
    would_compact,
};

/// Longest wait for running calls when a command closes the directory.
const DRAIN: Duration = Duration::from_secs(5);

/// A log that says which histories it damaged.
pub trait Records: LogStore {
    /// Returns the streams of which records are lost, as far as reading has told so far.
    fn damaged_streams(&self) -> Vec<(TenantId, InstanceId)>;
}

/// A log that tells which histories are about a person.
pub trait People: Records {
    /// Returns what is kept about a person; none when there never was a key of theirs.
    fn about(&self, ctx: &TenantCtx, subject: &str) -> Result<Option<About>, Failure>;
}

/// What is kept about a person.
#[derive(Clone, Debug)]
pub struct About {
    /// Their key.
    pub erased: Erased,
    /// Instances of which something is sealed with it, or was.
    pub instances: BTreeSet<InstanceId>,
}

impl<L: Records> Records for SealedLog<L> {
    fn damaged_streams(&self) -> Vec<(TenantId, InstanceId)> {
        self.inner().damaged_streams()
    }
}

impl<L: Records> People for SealedLog<L> {
    fn about(&self, ctx: &TenantCtx, subject: &str) -> Result<Option<About>, Failure> {
        let Some(erased) = self.subjects().status(ctx.tenant(), subject)? else { return Ok(None) };
        let instances = self.instances_of(ctx, erased.name)?;
        Ok(Some(About { erased, instances }))
    }
}

/// Puts the keys of a data directory before its log.
pub fn sealed<L: LogStore>(dir: &Path, log: Arc<L>) -> Arc<SealedLog<L>> {
    Arc::new(SealedLog::new(log, Arc::new(secrets::subjects(dir))))
}

impl Records for LocalLog {
    fn damaged_streams(&self) -> Vec<(TenantId, InstanceId)> {
        LocalLog::damaged_streams(self)
    }
}

impl Records for ReadOnlyLog {
    fn damaged_streams(&self) -> Vec<(TenantId, InstanceId)> {
        ReadOnlyLog::damaged_streams(self)
    }
}

/// Makes no calls; for a runtime that takes no step.
struct NoCalls;

impl Connector for NoCalls {
    fn perform(&self, _: &TenantCtx, _: Call, done: OnOutcome) {
        done(Err(EffectError::new("stopping", "the directory is open for upkeep only")));
    }

    fn abandon(&self, _: &TenantCtx, _: &CallId) {}

    fn delivery_class(&self, _: &TenantCtx, _: &str, _: &Value) -> DeliveryClass {
        DeliveryClass::SafeRead
    }
}

/// Told after every commit; with the reason when the log has failed.
pub type OnCommit = Box<dyn Fn(Option<Failure>) + Send + Sync>;

/// Opens the index of a data directory, if it has one.
type OpenIndex = fn(&Path) -> Option<Arc<SqliteIndex>>;

/// Whether instances and tenants are held to their pace and number.
#[derive(Clone, Copy, Debug)]
enum Quotas {
    Kept,
    /// To measure how much there could be.
    None,
}

impl Quotas {
    fn options(self) -> Options {
        let options = Options::default();
        match self {
            Quotas::Kept => options,
            Quotas::None => Options {
                steps_per_second: None,
                events_per_second: None,
                open_max: None,
                ..options
            },
        }
    }
}

/// How a directory is opened.
struct How {
    /// What children run; what lies beside the file of the run when it is absent.
    library: Option<Arc<dyn Library>>,
    open_index: OpenIndex,
    quotas: Quotas,
    work: Work,
    tree: TreeMode,
    /// How the directory is kept; as it was when not said.
    storage: Option<StorageMode>,
    /// Its keys end with this process.
    is_passing: bool,
    /// Bytes of states in memory, when not as many as usual.
    hot_bytes: Option<usize>,
    /// How many of a tenant's instances may stay in memory.
    hot_share: Option<HotShare>,
}

impl Default for How {
    fn default() -> Self {
        How {
            library: None,
            open_index,
            quotas: Quotas::Kept,
            work: Work::All,
            tree: TreeMode::Off,
            storage: None,
            is_passing: false,
            hot_bytes: None,
            hot_share: None,
        }
    }
}

impl How {
    /// For measuring: as fast as it goes, and kept the same way wherever it is measured.
    fn unpaced() -> How {
        let storage = Some(StorageMode::Embedded);
        How { quotas: Quotas::None, storage, ..How::default() }
    }
}

/// An open data directory whose instances run.
pub struct Data {
    /// Records as they are in the log.
    pub histories: Histories,
    handle: Handle,
    log: Arc<SealedLog<LocalLog>>,
    ctx: TenantCtx,
    fatal: Arc<Mutex<Option<LogError>>>,
    is_closed: Arc<AtomicBool>,
    recovered_count: usize,
}

impl Data {
    /// Opens a directory and goes on with what is there. Children run what lies beside `file`.
    pub fn open(
        dir: &Path,
        connector: Arc<dyn Connector>,
        file: Option<&Path>,
        tree: TreeMode,
        storage: StorageMode,
    ) -> Result<Data, Failure> {
        let how = How { tree, storage: Some(storage), ..How::default() };
        Data::open_with(dir, connector, file, how)
    }

    /// As [`Data::open`], for a directory that is removed in the end.
    pub fn open_passing(
        dir: &Path,
        connector: Arc<dyn Connector>,
        file: Option<&Path>,
        tree: TreeMode,
        storage: StorageMode,
    ) -> Result<Data, Failure> {
        let how = How { tree, storage: Some(storage), is_passing: true, ..How::default() };
        Data::open_with(dir, connector, file, how)
    }

    /// Opens a directory whose instances go as fast as they can, to measure how fast that is.
    pub fn open_unpaced(
        dir: &Path,
        connector: Arc<dyn Connector>,
        file: Option<&Path>,
    ) -> Result<Data, Failure> {
        Data::open_with(dir, connector, file, How::unpaced())
    }

    /// The same, and keeps the document tree, to measure what that costs.
    pub fn open_unpaced_shown(
        dir: &Path,
        connector: Arc<dyn Connector>,
        tree: TreeMode,
    ) -> Result<Data, Failure> {
        Data::open_with(dir, connector, None, How { tree, ..How::unpaced() })
    }

    /// Opens a directory that is kept as JSON, to measure what that costs.
    pub fn open_unpaced_json(dir: &Path, connector: Arc<dyn Connector>) -> Result<Data, Failure> {
        let storage = Some(StorageMode::JsonOnly);
        Data::open_with(dir, connector, None, How { storage, ..How::unpaced() })
    }

    /// Opens a directory without its index, to measure what that costs.
    pub fn open_unindexed(dir: &Path, connector: Arc<dyn Connector>) -> Result<Data, Failure> {
        let how = How { open_index: |_| None, ..How::unpaced() };
        Data::open_with(dir, connector, None, how)
    }

    /// Opens a directory for many tenants, whose children run what a library holds.
    pub fn open_serving(
        dir: &Path,
        connector: Arc<dyn Connector>,
        library: Arc<dyn Library>,
        (tree, storage): (TreeMode, Option<StorageMode>),
        (hot_bytes, hot_share): (u64, Option<HotShare>),
    ) -> Result<Data, Failure> {
        let hot_bytes = usize::try_from(hot_bytes).ok();
        let library = Some(library);
        let how = How { library, tree, storage, hot_bytes, hot_share, ..How::default() };
        Data::open_with(dir, connector, None, how)
    }

    /// Opens a directory to look after its log; no instance takes a step and no call goes out.
    pub fn open_for_upkeep(dir: &Path) -> Result<Data, Failure> {
        needs_log(dir)?;
        let how = How { quotas: Quotas::None, work: Work::Upkeep, ..How::default() };
        Data::open_with(dir, Arc::new(NoCalls), None, how)
    }

    /// Archives what is due and compacts the log, as fast as it goes.
    pub fn upkeep(&self, tell: &mut dyn FnMut(Compacted)) -> Result<Upkept, Failure> {
        self.handle.upkeep(Effort::Full, tell).map_err(refused)
    }

    fn open_with(
        dir: &Path,
        connector: Arc<dyn Connector>,
        file: Option<&Path>,
        how: How,
    ) -> Result<Data, Failure> {
        let How { library, open_index, quotas, work, tree, storage, is_passing, .. } = how;
        let How { hot_bytes, hot_share, .. } = how;
        let storage = StorageMode::resolve(dir, storage)?;
        let keys = match is_passing {
            true => secrets::passing_redaction(dir)?,
            false => secrets::redaction(dir),
        };
        let (log, found) = open_log_in(dir, storage)?;
        let log = sealed(dir, log);
        let library = library.unwrap_or_else(|| {
            let log = Arc::clone(&log) as Arc<dyn LogStore>;
            Arc::new(Children::new(file.map(Path::to_path_buf), log))
        });
        let ctx = TenantCtx::local_operator();
        let fatal: Arc<Mutex<Option<LogError>>> = Arc::default();
        let seen = Arc::clone(&fatal);
        // What JSON-only mode has besides the log is the tree: nothing else needs to be read there.
        let (index, snapshots, tree) = match storage {
            StorageMode::Embedded => (open_index(dir), open_snapshots(dir), tree.options(dir)),
            StorageMode::JsonOnly => (None, None, Some(tree::shown_options(dir))),
        };
        let failed = index.clone();
        let usual = quotas.options();
        let hot_bytes = hot_bytes.unwrap_or(usual.hot_bytes);
        let options = Options {
            work,
            hot_bytes,
            // Callers wait a third above it, as they do above the usual limit.
            full_bytes: hot_bytes + hot_bytes / 3,
            hot_share,
            index: index.map(|it| it as Arc<dyn Index>),
            snapshots,
            on_index_given_up: Arc::new(move |error| give_up(failed.as_deref(), error)),
            damaged: found.damaged_streams.clone(),
            lost: lost(&found.damage),
            tree,
            on_clock_jump: Arc::new(clock::tell_jump),
            library,
            keys: Arc::new(keys.clone()),
            on_fatal: Arc::new(move |error| {
                *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
            }),
            shards: thread::available_parallelism().map_or(1, usize::from),
            ..usual
        };
        let ports = Ports {
            log: Arc::clone(&log) as Arc<dyn LogStore>,
            clock: Arc::new(SystemClock::start()),
            ids: Arc::new(RandomIds),
            connector,
        };
        let (handle, report) = Runtime::start(options, ports).map_err(refused)?;
        tell(&found, &report);
        Ok(Data {
            histories: Histories::new(
                Arc::clone(&log) as Arc<dyn People>,
                ctx.clone(),
                &report.faults,
                Some(Lookup::Live(handle.clone())),
                keys,
            ),
            handle,
            log,
            ctx,
            fatal,
            is_closed: Arc::default(),
            recovered_count: report.instances,
        })
    }

    /// Opens a directory for one change; calls go where the last run sent them.
    pub fn hold(dir: &Path) -> Result<Data, Failure> {
        needs_log(dir)?;
        let args = ConnectorArgs::remembered(dir);
        let connector = args.connector(None, secrets::sources(dir))?;
        let storage = StorageMode::resolve(dir, None)?;
        Data::open(dir, connector, args.workflow(), args.tree(), storage)
    }

    /// Returns who acts.
    pub fn ctx(&self) -> &TenantCtx {
        &self.ctx
    }

    /// Returns the log.
    pub fn log(&self) -> &Arc<SealedLog<LocalLog>> {
        &self.log
    }

    /// Returns the same directory, in which somebody else acts.
    pub fn acting_as(&self, by: &By) -> Data {
        self.acting_in(by.ctx())
    }

    /// Returns the same directory, in which somebody acts, perhaps in another tenant.
    pub fn acting_in(&self, ctx: TenantCtx) -> Data {
        Data {
            histories: self.histories.of(ctx.clone()),
            handle: self.handle.clone(),
            log: Arc::clone(&self.log),
            ctx,
            fatal: Arc::clone(&self.fatal),
            is_closed: Arc::clone(&self.is_closed),
            recovered_count: self.recovered_count,
        }
    }

    /// Ends the runtime: running calls get a moment, the state is kept as a checkpoint.
    pub fn close(&self) -> Result<(), Failure> {
        if self.is_closed.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let ended = self.handle.clone().shutdown(DRAIN);
        self.log.inner().close();
        match self.fatal.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            Some(error) => Err(stopped(&error)),
            None => ended.map_err(refused),
        }
    }

    /// Starts an instance that carries out a trigger: nobody in particular has started what it
    /// starts. It is durable when this returns.
    pub fn start_trigger(
        &self,
        machine: &Arc<Machine>,
        input: Value,
        kind: &str,
    ) -> Result<Started, Failure> {
        let by = Actor { kind: ActorKind::Engine, id: kind.into() }.text();
        self.handle.start_for(&self.ctx, machine, input, by).map_err(refused)
    }

    /// Starts an instance whose id a caller has chosen, or that has more tags and labels than its
    /// workflow; it is durable when this returns.
    pub fn start_marked(
        &self,
        machine: &Arc<Machine>,
        id: Option<InstanceId>,
        input: Value,
        marks: Marks,
    ) -> Result<Started, Failure> {
        self.handle.start_marked(&self.ctx, machine, id, input, marks).map_err(refused)
    }

    /// Starts an instance and tells its id when it is durable.
    pub fn start_then(
        &self,
        machine: &Arc<Machine>,
        input: Value,
        done: Box<dyn FnOnce(Result<InstanceId, Failure>) + Send>,
    ) {
        let reply =
            Box::new(move |it: Result<Started, Error>| done(it.map(|it| it.id).map_err(refused)));
        self.handle.start_instance_then(&self.ctx, machine, None, input, reply);
    }

    /// Sends an event; returns the state after it.
    pub fn send(&self, id: InstanceId, event: &str, data: Value) -> Result<Snapshot, Failure> {
        self.send_once(id, event, data, None)
    }

    /// As [`Data::send`]; an event with a deduplication id that was taken is not taken again.
    pub fn send_once(
        &self,
        id: InstanceId,
        event: &str,
        data: Value,
        event_id: Option<Text>,
    ) -> Result<Snapshot, Failure> {
        after(self.handle.send(&self.ctx, id, event, data, event_id))
    }

    /// Does something to an instance; returns the state after it.
    pub fn command(
        &self,
        id: InstanceId,
        command: Command,
    ) -> Result<(Accepted, Snapshot), Failure> {
        let accepted = self.handle.command(&self.ctx, id, command).map_err(refused)?;
        let after = (*accepted.snapshot).clone();
        Ok((accepted, after))
    }

    /// Does something to an instance and waits for what follows it.
    pub fn command_and_wait(
        &self,
        id: InstanceId,
        command: Command,
        wait: &Wait,
    ) -> Result<Waited, Failure> {
        let waited =
            self.handle.command_and_wait(&self.ctx, id, command, &wait.until, wait.timeout());
        waited.map_err(refused)
    }

    /// Sends an event to every open instance that fits.
    pub fn broadcast(
        &self,
        filter: &Filter,
        event: &Text,
        data: &Value,
        key: Option<&str>,
    ) -> Result<Broadcast, Failure> {
        self.handle.broadcast(&self.ctx, filter, event, data, key).map_err(refused)
    }

    /// Sends an event and tells when it is durable.
    pub fn send_then(
        &self,
        id: InstanceId,
        event: &Text,
        data: Value,
        done: Box<dyn FnOnce(Result<(), Failure>) + Send>,
    ) {
        let command = Command::Event { event: event.clone(), data, id: None };
        let reply =
            Box::new(move |it: Result<Accepted, Error>| done(it.map(drop).map_err(refused)));
        self.handle.command_then(&self.ctx, id, command, reply);
    }

    /// Asks for the end of an instance; returns the state after it.
    pub fn cancel(
        &self,
        id: InstanceId,
        terminate: bool,
        reason: Option<&str>,
    ) -> Result<Snapshot, Failure> {
        after(self.handle.cancel(&self.ctx, id, terminate, reason.map(Text::from)))
    }

    /// Lets an instance that has failed go on; returns the state after it.
    pub fn retry(&self, id: InstanceId, retry: Retry) -> Result<Snapshot, Failure> {
        let found = self.handle.retry(&self.ctx, id, retry).map_err(refused)?;
        Ok((*found).clone())
    }

    /// Starts a fork of an instance; returns its state.
    pub fn fork(
        &self,
        of: InstanceId,
        fork: impl FnOnce(InstanceId) -> Fork,
    ) -> Result<Snapshot, Failure> {
        let found = self.handle.fork(&self.ctx, of, fork).map_err(refused)?;
        Ok((*found).clone())
    }

    /// Answers an incident; returns the state after it.
    pub fn resolve(
        &self,
        id: InstanceId,
        tree: Seq,
        path: &str,
        resolution: Resolution,
        reason: Option<Text>,
    ) -> Result<Snapshot, Failure> {
        after(self.handle.resolve(&self.ctx, id, tree, path, resolution, reason))
    }

    /// Pauses, resumes, edits or moves an instance; returns the state after it.
    pub fn operate(&self, id: InstanceId, operation: Operation) -> Result<Snapshot, Failure> {
        after(self.handle.operate(&self.ctx, id, operation))
    }

    /// Takes an instance over to another version; returns the state after it.
    pub fn upgrade(&self, id: InstanceId, machine: &Arc<Machine>) -> Result<Snapshot, Failure> {
        after(self.handle.upgrade(&self.ctx, id, machine))
    }

    /// Takes an instance over to another version and tells when that is durable.
    pub fn upgrade_then(
        &self,
        id: InstanceId,
        machine: &Arc<Machine>,
        done: Box<dyn FnOnce(Result<(), Failure>) + Send>,
    ) {
        let reply =
            Box::new(move |it: Result<Accepted, Error>| done(it.map(drop).map_err(refused)));
        self.handle.upgrade_then(&self.ctx, id, machine, reply);
    }

    /// Returns the state of an instance, open or ended.
    pub fn state(&self, id: InstanceId) -> Result<Option<Snapshot>, Failure> {
        if let Some(error) = &*self.fatal.lock().unwrap_or_else(PoisonError::into_inner) {
            return Err(stopped(error));
        }
        let found = self.handle.get(&self.ctx, id).map_err(refused)?;
        Ok(found.map(|it| (*it).clone()))
    }

    /// Returns the state of an instance if it is at hand.
    pub fn snapshot(&self, id: InstanceId) -> Option<Snapshot> {
        self.state(id).ok().flatten()
    }

    /// Returns the key that redacts for a tenant, which is made when a machine needs it first.
    pub fn redaction_key(
        &self,
        ctx: &TenantCtx,
        machine: &Machine,
    ) -> Result<Option<RedactionKey>, Failure> {
        match machine.needs_key() {
            true => {
                let key = self.histories.keys.redaction_key(ctx);
                Ok(Some(key.map_err(|error| refused(Error::NoKey(error)))?))
            }
            false => Ok(None),
        }
    }

    /// Returns instances in short, the newest first.
    pub fn list(&self, filter: &Filter) -> Result<Vec<Summary>, Failure> {
        self.handle.list(&self.ctx, filter).map_err(refused)
    }

    /// Returns the open instances of a workflow, oldest first.
    pub fn open_instances(&self, workflow: &str) -> Vec<Snapshot> {
        let workflow = Some(workflow.into());
        let filter = Filter { ended: Some(false), workflow, ..Filter::default() };
        let mut open: Vec<Snapshot> = self
            .handle
            .list(&self.ctx, &filter)
            .unwrap_or_default()
            .iter()
            .filter_map(|it| self.snapshot(it.id))
            .collect();
        open.sort_by_key(|it| it.id);
        open
    }

    /// Returns a page of instances from the index.
    pub fn page(&self, query: &Query) -> Result<Vec<Row>, Failure> {
        let page = self.handle.page(&self.ctx, query);
        page.map_err(|error| refused(Error::Index(error)))
    }

    /// Returns the ids of all instances, from the index, page by page.
    pub fn all_ids(&self) -> Result<Vec<InstanceId>, Failure> {
        let mut ids: Vec<InstanceId> = Vec::new();
        loop {
            let query = Query { after: ids.last().copied(), limit: IDS_PAGE, ..Query::default() };
            let page = self.page(&query)?;
            ids.extend(page.iter().map(|it| it.id));
            if page.len() < IDS_PAGE {
                return Ok(ids);
            }
        }
    }

    /// Says how many states of open instances are in memory.
    pub fn memory(&self) -> Result<HotStats, Failure> {
        self.handle.memory().map_err(refused)
    }

    /// Returns how the document tree stands, if one is kept.
    pub fn tree(&self) -> Option<TreeStatus> {
        self.handle.tree()
    }

    /// Returns how many open instances were found at opening.
    pub fn recovered_count(&self) -> usize {
        self.recovered_count
    }

    /// Says why the log takes nothing more, when it has failed.
    pub fn log_failure(&self) -> Option<Failure> {
        self.fatal.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(stopped)
    }

    /// Keeps nothing any more of the tenant that it acts in; upkeep drops what has ended.
    pub fn forget(&self) {
        self.handle.forget(&self.ctx);
    }

    /// Keeps nothing any more of an instance that has ended; upkeep drops it.
    pub fn discard(&self, id: InstanceId) {
        self.handle.discard(&self.ctx, id);
    }

    /// Says whether an instance is not kept, and something of it is left.
    pub fn is_discarded(&self, id: InstanceId) -> bool {
        self.handle.is_discarded(&self.ctx, id)
    }

    /// Tells somebody every step of every tenant from now on.
    pub fn listen(&self, on_step: OnStep) {
        self.handle.listen(on_step);
    }

    /// Tells of commits from now on.
    pub fn on_commit(&self, told: OnCommit) {
        let handle = self.handle.clone();
        let fatal = Arc::clone(&self.fatal);
        let is_closed = Arc::clone(&self.is_closed);
        let ctx = self.ctx.clone();
        let begun = thread::Builder::new().name("commits".into()).spawn(move || {
            // A slow reader loses its watch; a new one and one telling make up for what it missed.
            while !is_closed.load(Ordering::SeqCst) {
                let Ok(watch) = handle.watch(&ctx, None) else { return };
                told(None);
                while watch.next().is_some() {
                    told(None);
                }
                if let Some(error) = &*fatal.lock().unwrap_or_else(PoisonError::into_inner) {
                    return told(Some(stopped(error)));
                }
                if handle.is_dead() {
                    return;
                }
            }
        });
        drop(begun);
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Data").finish_non_exhaustive()
    }
}

/// Ids read from the index at once.
const IDS_PAGE: usize = 10_000;

/// Refuses a directory without a log, before anything is made in it.
pub fn needs_log(dir: &Path) -> Result<(), Failure> {
    if dir.join("log").is_dir() {
        return Ok(());
    }
    let message = format!("`{}` holds no log; name a data directory", dir.display());
    Err(Failure::new(Exit::Unreachable, "data_directory_absent", message))
}

/// Opens the log of a data directory as it is kept, taking its lock.
pub fn open_log(dir: &Path) -> Result<(Arc<LocalLog>, Recovery), Failure> {
    open_log_in(dir, StorageMode::resolve(dir, None)?)
}

fn open_log_in(dir: &Path, storage: StorageMode) -> Result<(Arc<LocalLog>, Recovery), Failure> {
    let opened = open_half_imported_in(dir, storage)?;
    // Under the lock: no import is under way any more, one may have been broken off.
    transfer::unfinished(dir)?;
    Ok(opened)
}

/// The same for finishing an import.
pub fn open_half_imported(dir: &Path) -> Result<(Arc<LocalLog>, Recovery), Failure> {
    open_half_imported_in(dir, StorageMode::resolve(dir, None)?)
}

fn open_half_imported_in(
    dir: &Path,
    storage: StorageMode,
) -> Result<(Arc<LocalLog>, Recovery), Failure> {
    if let Some(found) = dir.ancestors().find(|it| it.exists()).filter(|it| !it.is_dir()) {
        let message = format!(
            "`{}` is no directory, so `{}` cannot hold data; name a directory with `--data DIR`",
            found.display(),
            dir.display()
        );
        return Err(Failure::new(Exit::Unreachable, "data_directory_absent", message));
    }
    let codec = storage.codec();
    Ok(LocalLog::open(dir, traaviis_store::Options { codec, ..Default::default() })?)
}

/// Opens the index of a data directory whose lock is held. Without one the log answers, slower.
fn open_index(dir: &Path) -> Option<Arc<SqliteIndex>> {
    match SqliteIndex::open(dir) {
        Ok((index, aside)) => {
            if let Some(aside) = aside {
                let aside = Aside(&aside);
                tracing::warn!(code = "index_failed", "{aside}; it is made again");
            }
            Some(Arc::new(index))
        }
        Err(error) => {
            tracing::warn!(code = "index_failed", "{error}; lists read the log");
            None
        }
    }
}

/// Opens the states of a data directory whose lock is held. Without them all open instances stay in
/// memory.
fn open_snapshots(dir: &Path) -> Option<Arc<dyn SnapshotStore>> {
    match SqliteSnapshots::open(dir) {
        Ok(snapshots) => Some(Arc::new(snapshots)),
        Err(error) => {
            tracing::warn!(code = "snapshots_failed", "{error}; all open instances stay in memory");
            None
        }
    }
}

/// Leaves an index that failed to the next start, which makes it again.
fn give_up(index: Option<&SqliteIndex>, error: &IndexError) {
    let aside = index.map(|it| it.set_aside(&error.to_string()));
    let what = match &aside {
        Some(Ok(aside)) => Aside(aside).to_string(),
        _ => error.to_string(),
    };
    tracing::warn!(
        code = "index_failed",
        "{what}; lists read the log until the next start makes it again"
    );
}

/// Says on standard error what opening found that a person should know.
fn tell(found: &Recovery, report: &RecoveryReport) {
    for damage in &found.damage {
        tracing::warn!(
            code = "data_directory_damaged",
            "the log is damaged and was left as it is: {damage}; \
             copy the directory, then run `traaviis doctor`"
        );
    }
    for newer in &found.newer {
        tracing::warn!(code = "data_format_newer", "{newer}");
    }
    if let Some((position, found, known)) = report.checkpoint_newer {
        tracing::warn!(
            code = "data_format_newer",
            "checkpoint `log/{position:020}.checkpoint` holds version `{found}`, this \
             release reads up to `{known}`; it was passed over, and the whole log was read"
        );
    }
    if let Some(why) = report.index_rebuilt {
        tracing::info!("the index was made again from the log, because {why}");
    }
    if let Some(why) = &report.snapshots_rebuilt {
        tracing::info!("the states of open instances were made again from the log, because {why}");
    }
    for fault in &report.faults {
        let Fault { id, seq, message, .. } = fault;
        tracing::warn!("instance {id} cannot go on from record {seq}: {message}");
    }
}

/// Returns the positions whose records are lost.
pub fn lost(damage: &[Damage]) -> Vec<Range<Position>> {
    damage.iter().filter(|it| it.from < it.to).map(|it| it.from..it.to).collect()
}

/// Returns the state after the step that a change made, whatever has happened since.
fn after(accepted: Result<Accepted, Error>) -> Result<Snapshot, Failure> {
    accepted.map(|it| Arc::unwrap_or_clone(it.snapshot)).map_err(refused)
}

fn stopped(error: &LogError) -> Failure {
    let message = format!("{error}; nothing acknowledged is lost, start again once it is mended");
    Failure::new(Exit::Internal, error.code(), message)
}

/// Returns what an error says, with what stands behind it.
fn told_whole(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(found) = cause {
        text += &format!(": {found}");
        cause = found.source();
    }
    text
}

fn refused(error: Error) -> Failure {
    let exit = match error.code() {
        "storage_failed" => Exit::Internal,
        "permission_denied" => Exit::Denied,
        "redaction_key_missing" => Exit::Unreachable,
        _ => Exit::Finding,
    };
    let failure = Failure::new(exit, error.code(), told_whole(&error));
    match &error {
        Error::Rejected(why) => failure.with_details(serde_json::Value::from(&why.details)),
        _ => failure,
    }
}
