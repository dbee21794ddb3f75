//! What a server is made of, put together: the engine, its connectors, and the platform over them.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use traaviis_platform::{Platform, Ways, budgets::Gate, flags::Flags};
use traaviis_policy::flag::HOT_STORE;
use traaviis_ports::{Connector, LogStore};
use traaviis_runtime::HotShare;
use traaviis_server::operate::{BackupAsk, Backups, MetricsToken, Operations};
use traaviis_store::SqliteDocuments;

use super::listening::serve;
use crate::{
    auditing::ServedSecrets,
    backups::{KeeperHandle, Schedule, State},
    config::{AdminListen, Config, Settings},
    connectors::ConnectorArgs,
    data::{Data, Serving},
    exit::{Exit, Failure},
    open_files,
    output::Output,
    platform,
    refused_targets::RefusedTargets,
    scrub::Scrub,
    secrets::take_root_key_from,
    sent_bytes::SentBytes,
    served::{Served, TenantLibrary},
    standing::Standing,
    storage::StorageMode,
    telemetry::{
        self, Exports,
        numbers::{Numbers, Observed},
        traces,
    },
    tree::TreeMode,
};

/// What an empty directory gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seeds {
    Nothing,
    Demo,
}

/// Runs something after the tasks that are ready on the thread of the runtime that calls it. A task
/// that yields comes back when there are no others, and the sockets were looked at once more.
fn after_what_is_ready(run: Box<dyn FnOnce() + Send>) {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn(async move {
            tokio::task::yield_now().await;
            run();
        })),
        Err(_) => run(),
    }
}

pub(super) fn start(settings: &Settings, seeds: Seeds, output: &Output) -> anyhow::Result<Exit> {
    let config = &settings.config;
    let internal = |error: std::io::Error| {
        Failure::new(Exit::Internal, "internal", format!("cannot begin: {error}"))
    };
    open_files::raise();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(internal)?;
    let exports = telemetry::server(config, runtime.handle())?;
    let traces = exports.traces.clone();
    let numbers: Arc<Numbers> = Arc::default();
    let dir = &config.data.dir;
    // Tenants have secrets of their own; the environment is the operator's.
    let secrets = Arc::new(ServedSecrets::of(dir));
    let (file, private) = (config.connectors.file.clone(), config.egress.allow_private.clone());
    let sent: Arc<SentBytes> = Arc::default();
    let connector = ConnectorArgs::of(file, private).counted(
        None,
        Arc::clone(&secrets) as Arc<_>,
        Some(Arc::clone(&sent) as Arc<_>),
    )?;
    let connector = Observed::new(connector, Arc::clone(&numbers), traces.clone());
    let refused_targets = RefusedTargets::noted(connector as Arc<_>);
    let gate = Gate::before(Arc::clone(&refused_targets) as Arc<_>).map_err(internal)?;
    let connector = Arc::clone(&gate) as Arc<dyn Connector>;
    let outside = Arc::clone(&connector);
    let tree = config.tree.instances.unwrap_or_else(|| TreeMode::remembered(dir));
    let library = Arc::new(TenantLibrary::default());
    let hot = config.hot.clone();
    if !hot.keeps_all() && StorageMode::resolve(dir, config.storage.mode)? == StorageMode::JsonOnly
    {
        let message = "json-only storage keeps states in memory alone, so none can leave it; leave \
                       `hot.share` and `hot.tenants` out, or keep the directory with \
                       `--storage embedded`";
        return Err(Failure::usage(message).into());
    }
    if let Some(file) = &config.auth.root_key_file {
        take_root_key_from(file);
    }
    let flags: Arc<OnceLock<Flags>> = Arc::default();
    let known = Arc::clone(&flags);
    let share: HotShare = Arc::new(move |tenant| match known.get() {
        Some(flags) if !flags.is_on(tenant, HOT_STORE) => 0,
        _ => hot.share_of(tenant),
    });
    let serving = Serving {
        hot_bytes: config.hot_bytes(),
        hot_ttl: config.hot.ttl,
        hot_share: share,
        running_calls: config.limits.running_calls,
        events_per_second: config.limits.events_per_second,
        open_instances: config.limits.open_instances,
        later: Arc::new(after_what_is_ready),
    };
    let kept = (tree, config.storage.mode);
    let data = Data::open_serving(dir, connector, Arc::clone(&library) as Arc<_>, kept, serving)?;
    ConnectorArgs::remember_kept(dir, config.tree.instances, config.storage.mode)?;
    let data = Arc::new(data);
    let engine = Served::new(Arc::clone(&data), library.machines(), outside);
    let scrub: Arc<Scrub> = Arc::default();
    let engine = engine.weighing(dir).scrubbed(Arc::clone(&scrub));
    let engine = engine.standing(Standing::of(dir, config.memory.limit_bytes));
    let engine = Arc::new(engine.observed(Arc::clone(&numbers), traces));
    let parts = Parts {
        data,
        library,
        engine,
        secrets,
        numbers,
        exports,
        gate,
        refused_targets,
        sent,
        flags,
        scrub,
    };
    let result = serve(settings, seeds, output, &parts, &runtime);
    runtime.shutdown_timeout(Duration::from_secs(1));
    result?;
    Ok(Exit::Ok)
}

/// What a server is made of.
pub(super) struct Parts {
    pub(super) data: Arc<Data>,
    pub(super) library: Arc<TenantLibrary>,
    pub(super) engine: Arc<Served>,
    pub(super) secrets: Arc<ServedSecrets>,
    pub(super) numbers: Arc<Numbers>,
    pub(super) exports: Exports,
    pub(super) gate: Arc<Gate>,
    pub(super) refused_targets: Arc<RefusedTargets>,
    pub(super) sent: Arc<SentBytes>,
    /// Set once the platform knows how they stand.
    pub(super) flags: Arc<OnceLock<Flags>>,
    pub(super) scrub: Arc<Scrub>,
}

impl Parts {
    /// Returns what operators add to a server.
    pub(super) fn operations(&self, config: &Config, keeper: KeeperHandle) -> Operations {
        let (data, numbers) = (Arc::clone(&self.data), Arc::clone(&self.numbers));
        let (exports, scrub) = (self.exports.clone(), Arc::clone(&self.scrub));
        let is_open = match config.http.admin_listen {
            AdminListen::At(at) => !at.ip().is_loopback(),
            AdminListen::Off => false,
        };
        Operations {
            numbers: Box::new(move |out| {
                numbers.tell(out, &data, &exports);
                scrub.tell(out);
            }),
            on_request: self.exports.traces.as_ref().map(|_| traces::on_request as _),
            metrics_token: config.http.metrics_token.as_ref().map(|it| MetricsToken::new(&it.0)),
            asks_operators: is_open,
            backups: backups_of(config.data.dir.clone(), keeper),
        }
    }
}

/// Returns what says how the backups of a directory stand.
fn backups_of(
    dir: PathBuf,
    keeper: KeeperHandle,
) -> Box<dyn Fn(BackupAsk) -> Result<Backups, traaviis_platform::Error> + Send + Sync> {
    Box::new(move |ask| {
        let error = |it: Failure| traaviis_platform::Error::new(it.code, it.message);
        let Some(schedule) = Schedule::read(&dir).map_err(error)? else {
            let message = "nobody has said where backups are kept: `traaviis backup schedule`";
            return Err(traaviis_platform::Error::new("invalid_state", message));
        };
        if ask == BackupAsk::Make {
            keeper.make();
        }
        let state = State::read(&dir);
        Ok(Backups {
            target: schedule.target.display().to_string(),
            is_running: keeper.is_running(),
            made_at: state.made_at,
            position: state.position,
            failing: state.failing.map(|it| it.message),
        })
    })
}

/// The address under which people reach a server.
pub(super) struct BaseUrl {
    /// The address.
    pub url: String,
    /// What stays of it over restarts, where its port is any that is free.
    pub lasting: Option<String>,
}

impl BaseUrl {
    /// Returns what the settings say, or else the address that is listened at.
    pub fn of(config: &Config, listening: SocketAddr) -> BaseUrl {
        match (&config.http.base_url, config.http.listen.port()) {
            (Some(url), _) => BaseUrl { url: url.clone(), lasting: None },
            (None, 0) => {
                let host = listening.to_string();
                let host = host.rsplit_once(':').map_or(&*host, |it| it.0);
                let lasting = Some(format!("http://{host}"));
                BaseUrl { url: format!("http://{listening}"), lasting }
            }
            (None, _) => BaseUrl { url: format!("http://{listening}"), lasting: None },
        }
    }
}

pub(super) fn open_platform(
    config: &Config,
    data: &Data,
    base_url: &BaseUrl,
) -> Result<Platform, Failure> {
    let dir = &config.data.dir;
    let documents = SqliteDocuments::open(dir).map_err(|error| {
        let message =
            format!("{error}; move `{}/documents` away to have it made again", dir.display());
        Failure::new(Exit::Internal, "documents_failed", message)
    })?;
    let log = Arc::clone(data.log()) as Arc<dyn LogStore>;
    let auth = &config.auth;
    let settings = traaviis_platform::Settings {
        issuer: auth.issuer.as_deref().unwrap_or(&base_url.url).trim_end_matches('/').into(),
        lasting_issuer: auth.issuer.is_none().then(|| base_url.lasting.clone()).flatten(),
        require_email_verification: auth.require_email_verification,
        access_ttl: auth.access_ttl,
        session_ttl: auth.refresh_ttl,
        session_idle: auth.session_idle,
        password_chars_min: auth.password_length_min,
        default_plan: config.bootstrap.plan,
        ..traaviis_platform::Settings::default()
    };
    // That of the instances: both follow a wall clock that is set forward, and neither goes back.
    let ways = Ways { clock: data.clock(), ..platform::ways(dir, log, documents) };
    let platform = Platform::open(ways, settings).map_err(unopened)?;
    for (tenant_id, why) in platform.lost_tenants() {
        tracing::error!(
            code = "data_directory_damaged",
            %tenant_id,
            "nobody enters this tenant, and what it runs goes on: {why}"
        );
    }
    Ok(platform)
}

/// Why a platform cannot be opened: a damaged directory is no defect of the program.
fn unopened(error: traaviis_platform::Error) -> Failure {
    match &*error.code {
        "data_directory_damaged" => Failure::finding("data_directory_damaged", error.message),
        _ => refused(error),
    }
}

pub(super) fn refused(error: traaviis_platform::Error) -> Failure {
    Failure::new(Exit::Internal, &error.code, error.message)
}
