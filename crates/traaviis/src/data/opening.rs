//! Ways to open a data directory: for a run, for many tenants, for upkeep, for measuring.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use traaviis_model::{Call, CallId, DeliveryClass, EffectError, Span, TenantCtx, Value};
use traaviis_ports::{Connector, Index, IndexError, LogError, LogStore, OnOutcome, SnapshotStore};
use traaviis_runtime::{
    Fault, HotShare, Later, Library, Options, Ports, RecoveryReport, Runtime, Work,
};
use traaviis_store::{Recovery, SqliteIndex, SqliteSnapshots};

use super::{
    Data,
    log::{People, lost, needs_log, open_log_in, sealed},
    refused,
};
use crate::{
    children::Children,
    clock::{self, RandomIds, SystemClock},
    connectors::ConnectorArgs,
    exit::Failure,
    histories::Histories,
    lookup::{Aside, Lookup},
    secrets,
    storage::StorageMode,
    tree::{self, TreeMode},
};

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
    life: Life,
    /// What a server says about memory and tenants; as usual without one.
    serving: Option<Serving>,
}

/// What a server says about memory, and how much one tenant may do.
#[derive(Clone)]
pub struct Serving {
    /// Bytes of states in memory.
    pub hot_bytes: u64,
    /// Time without use after which a state goes first.
    pub hot_ttl: Span,
    /// How many of a tenant's instances may stay in memory.
    pub hot_share: HotShare,
    /// Calls of one tenant that run at once.
    pub running_calls: usize,
    /// Events that a tenant's callers may send in a second.
    pub events_per_second: u32,
    /// Instances that a tenant may have open.
    pub open_instances: usize,
    /// What can be put off until the thread of a caller has nothing else to do.
    pub later: Later,
}

impl Serving {
    fn put_into(self, options: Options) -> Options {
        let hot_bytes = usize::try_from(self.hot_bytes).unwrap_or(usize::MAX);
        Options {
            hot_bytes,
            // Callers wait a third above it, as they do above the usual limit.
            full_bytes: hot_bytes.saturating_add(hot_bytes / 3),
            hot_ttl: self.hot_ttl,
            hot_share: Some(self.hot_share),
            slots: self.running_calls,
            events_per_second: Some(self.events_per_second),
            open_max: Some(self.open_instances),
            later: Some(self.later),
            ..options
        }
    }
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
            life: Life::Kept,
            serving: None,
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

/// Whether a directory outlives the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It stays.
    Kept,
    /// It is removed in the end, and its keys are made for this process alone.
    Passing,
}

/// Opens the index of a data directory, if it has one.
type OpenIndex = fn(&Path) -> Option<Arc<SqliteIndex>>;

impl Data {
    /// Opens a directory and goes on with what is there. Children run what lies beside `file`.
    pub fn open(
        dir: &Path,
        connector: Arc<dyn Connector>,
        file: Option<&Path>,
        (tree, storage): (TreeMode, StorageMode),
        life: Life,
    ) -> Result<Data, Failure> {
        let how = How { tree, storage: Some(storage), life, ..How::default() };
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
        serving: Serving,
    ) -> Result<Data, Failure> {
        let (library, serving) = (Some(library), Some(serving));
        let how = How { library, tree, storage, serving, ..How::default() };
        Data::open_with(dir, connector, None, how)
    }

    /// Opens a directory to look after its log; no instance takes a step and no call goes out.
    pub fn open_for_upkeep(dir: &Path) -> Result<Data, Failure> {
        needs_log(dir)?;
        let how = How { quotas: Quotas::None, work: Work::Upkeep, ..How::default() };
        Data::open_with(dir, Arc::new(NoCalls), None, how)
    }

    fn open_with(
        dir: &Path,
        connector: Arc<dyn Connector>,
        file: Option<&Path>,
        how: How,
    ) -> Result<Data, Failure> {
        let How { library, open_index, quotas, work, tree, storage, life, serving } = how;
        let storage = StorageMode::resolve(dir, storage)?;
        let keys = match life {
            Life::Kept => secrets::redaction(dir),
            Life::Passing => secrets::passing_redaction(dir)?,
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
        if let Some(Ok(position)) = index.as_ref().map(|it| it.position()) {
            // It knows only what was durable.
            log.inner().note_shortened(position, "what its index knows");
        }
        let failed = index.clone();
        let usual = match serving {
            Some(serving) => serving.put_into(quotas.options()),
            None => quotas.options(),
        };
        let options = Options {
            work,
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
        Data::open(dir, connector, args.workflow(), (args.tree(), storage), Life::Kept)
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
