//! `traaviis serve`: a data directory for many tenants, over HTTP.

mod beside;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use ipnet::IpNet;
use serde_json::json;
use traaviis_platform::{Entropy, Platform, budgets::Gate, engine::Engine, flags::Flags};
use traaviis_policy::{flag::HOT_STORE, plan::Plan};
use traaviis_ports::{Connector, LogStore};
use traaviis_runtime::HotShare;
use traaviis_server::{
    App, Listening, Router, admin_router, listen,
    operate::{BackupAsk, Backups, MetricsToken, Operations},
    router,
};
use traaviis_store::SqliteDocuments;

use super::run::notes::{Note, Notes};
use crate::{
    admin,
    auditing::{Auditor, ServedSecrets},
    backups::{Keeper, KeeperHandle, Schedule, State},
    config::{AdminListen, Config, Flag, Hidden, Profile, Settings, variables},
    connectors::ConnectorArgs,
    control::server::Server,
    data::Data,
    demo::{self, Demo},
    exit::{Exit, Failure},
    identity::{Identity, IdentityArgs},
    open_files,
    output::Output,
    platform,
    served::{Served, TenantLibrary},
    storage::StorageMode,
    telemetry::{
        self,
        numbers::{Numbers, Observed},
        traces::{self, Traces},
    },
    tree::TreeMode,
};
use beside::{Beside, warn};

/// Serves a data directory over HTTP until it is stopped.
///
/// Each setting comes from a flag, a variable, the file `traaviis.toml` or a default, in this
/// order; `--print-config` shows all of them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: traaviis serve --data ./data --listen 127.0.0.1:4000")]
pub struct Args {
    /// Data directory; made when it is not there. Default: ./data
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address to listen on. Default: 127.0.0.1:4000, in production 0.0.0.0:8080
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Address on which operators reach numbers (`/metrics`), or `off`. Default: 127.0.0.1:9090
    #[arg(long, value_name = "ADDRESS:PORT")]
    admin_listen: Option<String>,
    /// Address under which people reach it, the issuer of tokens; made of `--listen` when absent.
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// When to write the documents under `DIR/tree`, which people can read. Default: as the last
    /// run in `DIR` was told, or off.
    #[arg(long, value_name = "WHEN")]
    tree: Option<TreeMode>,
    /// Address of who looks after the platform. An account that is there is raised; otherwise one
    /// is made, with the password in `TRAAVIIS_ADMIN_PASSWORD`, or one that is told once.
    #[arg(long, value_name = "EMAIL")]
    admin_email: Option<String>,
    /// Plan of new tenants: free, starter, pro, enterprise or self_hosted. Default: self_hosted
    #[arg(long, value_name = "PLAN")]
    default_plan: Option<Plan>,
    /// Network of a proxy that is believed where a request comes from (`X-Forwarded-For`); may be
    /// given several times.
    #[arg(long, value_name = "NETWORK")]
    trust_proxy: Vec<IpNet>,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    connectors: ConnectorArgs,
    /// Which defaults count, and what is refused. Default: dev
    #[arg(long, value_name = "PROFILE")]
    profile: Option<Profile>,
    /// File of settings. Default: what TRAAVIIS_CONFIG names, or traaviis.toml if it is here
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Show every setting with where it comes from, and start nothing.
    #[arg(long)]
    print_config: bool,
}

/// Serves a data directory for trying things out: an empty one gets an account, a tenant and
/// workflows to start from.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: traaviis dev")]
pub struct DevArgs {
    /// Data directory; made when it is not there. Default: ./data
    #[arg(value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address to listen on. Default: 127.0.0.1:4000
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
}

/// Runs `traaviis dev`.
pub fn dev(args: &DevArgs, output: &Output) -> anyhow::Result<Exit> {
    let args = Args {
        data: args.data.clone(),
        listen: args.listen,
        admin_listen: None,
        base_url: None,
        tree: None,
        admin_email: None,
        default_plan: None,
        trust_proxy: Vec::new(),
        identity: IdentityArgs::default(),
        connectors: ConnectorArgs::default(),
        profile: Some(Profile::Dev),
        config: None,
        print_config: false,
    };
    let for_people = [("log.format", "default of `traaviis dev`", "text".into())];
    let mut settings = args.settings(&for_people)?;
    let Config { mail, data, .. } = &mut settings.config;
    // Mail is put into a folder, for trying things out.
    let folder = || Hidden(format!("file:{}", data.dir.join("mail").display()));
    mail.smtp_url.get_or_insert_with(folder);
    start(&settings, Seeds::Demo, output)
}

/// Runs `traaviis serve`.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let settings = args.settings(&[])?;
    match args.print_config {
        true => Ok(print(&settings, output)),
        false => start(&settings, Seeds::Nothing, output),
    }
}

impl Args {
    /// Reads the settings that count, with the flags before all others.
    fn settings(&self, defaults: &[Flag]) -> Result<Settings, Failure> {
        let mut flags: Vec<Flag> = Vec::new();
        let mut put = |key, flag, text: Option<String>| {
            flags.extend(text.map(|it| (key, flag, it.into())));
        };
        let word = |it: &Path| it.display().to_string();
        let (connectors, allow_private) = self.connectors.given();
        put("data.dir", "--data", self.data.as_deref().map(word));
        put("http.listen", "--listen", self.listen.map(|it| it.to_string()));
        put("http.admin_listen", "--admin-listen", self.admin_listen.clone());
        put("http.base_url", "--base-url", self.base_url.clone());
        put("tree.instances", "--tree", self.tree.map(|it| it.as_str().into()));
        put("connectors.file", "--connectors", connectors.map(word));
        put("profile", "--profile", self.profile.map(|it| it.as_str().into()));
        put("bootstrap.admin_email", "--admin-email", self.admin_email.clone());
        put("bootstrap.plan", "--default-plan", self.default_plan.map(|it| it.as_str().into()));
        flags.extend(self.identity.given());
        if !self.trust_proxy.is_empty() {
            let networks: Vec<String> = self.trust_proxy.iter().map(IpNet::to_string).collect();
            flags.push(("http.trust_proxy", "--trust-proxy", networks.into()));
        }
        if !allow_private.is_empty() {
            let targets: Vec<&str> = allow_private.iter().map(String::as_str).collect();
            flags.push(("egress.allow_private", "--allow-private", targets.into()));
        }
        Settings::read(self.config.as_deref(), &variables(), defaults, &flags)
    }
}

fn print(settings: &Settings, output: &Output) -> Exit {
    let shown = settings.shown();
    if output.is_json() {
        let all: serde_json::Map<String, serde_json::Value> = shown
            .into_iter()
            .map(|(key, value, source)| (key.into(), json!({ "value": value, "source": source })))
            .collect();
        output.json(&all.into());
        return Exit::Ok;
    }
    for (key, value, source) in shown {
        output.line(&format!("{key:24} {value:32} {source}", value = value.to_string()));
    }
    Exit::Ok
}

/// What an empty directory gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seeds {
    Nothing,
    Demo,
}

fn start(settings: &Settings, seeds: Seeds, output: &Output) -> anyhow::Result<Exit> {
    let config = &settings.config;
    let internal = |error: std::io::Error| {
        Failure::new(Exit::Internal, "internal", format!("cannot begin: {error}"))
    };
    open_files::raise();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(internal)?;
    let traces = telemetry::server(config, runtime.handle())?;
    let numbers: Arc<Numbers> = Arc::default();
    let dir = &config.data.dir;
    // Tenants have secrets of their own; the environment is the operator's.
    let secrets = Arc::new(ServedSecrets::of(dir));
    let (file, private) = (config.connectors.file.clone(), config.egress.allow_private.clone());
    let connector =
        ConnectorArgs::of(file, private).connector(None, Arc::clone(&secrets) as Arc<_>)?;
    let connector = Observed::new(connector, Arc::clone(&numbers), traces.clone());
    let gate = Gate::before(connector as Arc<_>).map_err(internal)?;
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
    let flags: Arc<OnceLock<Flags>> = Arc::default();
    let known = Arc::clone(&flags);
    let share: HotShare = Arc::new(move |tenant| match known.get() {
        Some(flags) if !flags.is_on(tenant, HOT_STORE) => 0,
        _ => hot.share_of(tenant),
    });
    let kept = ((tree, config.storage.mode), (config.hot.limit_bytes, Some(share)));
    let data = Data::open_serving(dir, connector, Arc::clone(&library) as Arc<_>, kept.0, kept.1)?;
    ConnectorArgs::remember_kept(dir, config.tree.instances, config.storage.mode)?;
    let data = Arc::new(data);
    let engine = Served::new(Arc::clone(&data), library.machines(), outside);
    let engine = engine.weighing(dir);
    let engine = Arc::new(engine.observed(Arc::clone(&numbers), traces.clone()));
    let parts = Parts { data, library, engine, secrets, numbers, traces, gate, flags };
    let result = serve(settings, seeds, output, &parts, &runtime);
    runtime.shutdown_timeout(Duration::from_secs(1));
    result?;
    Ok(Exit::Ok)
}

/// What a server is made of.
struct Parts {
    data: Arc<Data>,
    library: Arc<TenantLibrary>,
    engine: Arc<Served>,
    secrets: Arc<ServedSecrets>,
    numbers: Arc<Numbers>,
    traces: Option<Traces>,
    gate: Arc<Gate>,
    /// Set once the platform knows how they stand.
    flags: Arc<OnceLock<Flags>>,
}

impl Parts {
    /// Returns what operators add to a server.
    fn operations(&self, config: &Config, keeper: KeeperHandle) -> Operations {
        let (data, numbers) = (Arc::clone(&self.data), Arc::clone(&self.numbers));
        let traces = self.traces.clone();
        let is_open = match config.http.admin_listen {
            AdminListen::At(at) => !at.ip().is_loopback(),
            AdminListen::Off => false,
        };
        Operations {
            numbers: Box::new(move |out| numbers.tell(out, &data, traces.as_ref())),
            on_request: match &self.traces {
                Some(_) => traces::on_request,
                None => |_, _| None,
            },
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

/// Serves until it is stopped, then ends in order: no new requests, those that were begun are
/// answered, running calls get a moment, the log is closed, the last traces are sent.
fn serve(
    settings: &Settings,
    seeds: Seeds,
    output: &Output,
    parts: &Parts,
    runtime: &tokio::runtime::Runtime,
) -> Result<(), Failure> {
    let served = listen_until_stopped(settings, seeds, output, parts, runtime);
    let closed = parts.data.close();
    if served.is_ok() && closed.is_ok() {
        tracing::info!("the server has ended");
    }
    if let Some(traces) = &parts.traces {
        traces.close();
    }
    served.and(closed)
}

fn listen_until_stopped(
    settings: &Settings,
    seeds: Seeds,
    output: &Output,
    parts: &Parts,
    runtime: &tokio::runtime::Runtime,
) -> Result<(), Failure> {
    let (config, data) = (&settings.config, &parts.data);
    let notes = Notes::listen(data)?;
    let listen = config.http.listen;
    let base_url = config.http.base_url.clone().unwrap_or_else(|| format!("http://{listen}"));
    let platform = open_platform(config, data, &base_url)?;
    let egress = ConnectorArgs::of(None, config.egress.allow_private.clone()).egress()?;
    let identity = Identity::of(config);
    let platform = identity.join(platform, &config.data.dir, egress, runtime.handle())?;
    let platform = Arc::new(platform);
    // Called once.
    let _ = parts.flags.set(platform.flags());
    parts.library.serve(&platform);
    parts.secrets.serve(&platform);
    parts.gate.serve(&platform);
    // As it rests: nothing of people is opened for the audit trail.
    let acts = Arc::clone(data.log().inner()) as Arc<dyn LogStore>;
    let auditor = Auditor::begin(&platform, acts)?;
    let engine = Arc::clone(&parts.engine) as Arc<dyn Engine>;
    let demo = match seeds {
        Seeds::Demo => demo::seed(&platform, &*engine, &Entropy::system()).map_err(refused)?,
        Seeds::Nothing => None,
    };
    let admin = config.bootstrap.admin_email.as_deref();
    let admin = admin::first(&platform, admin).map_err(refused)?;
    let tell = |line: &str| tracing::error!("{line}");
    let version = env!("CARGO_PKG_VERSION");
    let app = App::new(Arc::clone(&platform), Arc::clone(&engine), version, tell);
    let app = app.with_limits(config.profile.strictness()).behind(config.http.trust_proxy.clone());
    let keeper = Keeper::start(&config.data.dir)?;
    let app = app.called(config.http.base_url.as_deref());
    let app = Arc::new(app.operated(parts.operations(config, keeper.handle())));
    let control = Server::of_data(&config.data.dir, data);
    if let Err(error) = &control {
        tracing::warn!("no control socket: {error}");
    }
    let numbers = listen_for_operators(settings, &app, runtime)?;
    let listening = begin(runtime, listen, router(Arc::clone(&app)))?;
    let address = listening.address;
    tracing::info!(listen = %address, version, pid = std::process::id(), "the server listens");
    match output.is_json() {
        true => {
            let account = demo.map(|it| json!({ "email": it.email, "password": it.password }));
            let (pid, operators) = (std::process::id(), numbers.as_ref().map(|it| it.address));
            output.json(&json!({
                "listening": address, "operators": operators, "pid": pid, "account": account,
                "admin": admin.as_json(),
            }));
        }
        false => {
            output.line(&format!("listening on http://{address}; Ctrl-C stops it"));
            if let Some(Demo { email, password }) = demo {
                output.line(&format!("log in as {email} with the password {password}, told once"));
            }
            admin.tell(output);
        }
    }
    let beside = Beside { platform: Arc::clone(&platform), engine, app }.begin()?;
    let stopped = loop {
        match notes.next(None) {
            Note::Commit | Note::TimeIsUp => {}
            Note::Stop => break Ok(()),
            Note::Failed(failure) => break Err(failure),
        }
    };
    tracing::info!("the server ends: requests that were begun are answered");
    runtime.block_on(async {
        listening.end().await;
        if let Some(numbers) = numbers {
            numbers.end().await;
        }
    });
    // What is not put down now is counted again at the next start.
    warn(platform.keep_usage().and_then(|()| platform.note_key_use()));
    drop(beside);
    drop(control);
    drop(auditor);
    drop(keeper);
    stopped
}

/// Listens for operators. Only an address that somebody has chosen must be free: several servers
/// of one machine have the same default.
fn listen_for_operators(
    settings: &Settings,
    app: &Arc<App>,
    runtime: &tokio::runtime::Runtime,
) -> Result<Option<Listening>, Failure> {
    let AdminListen::At(at) = settings.config.http.admin_listen else { return Ok(None) };
    match begin(runtime, at, admin_router(Arc::clone(app))) {
        Ok(listening) => {
            tracing::info!(listen = %listening.address, "operators are listened to");
            Ok(Some(listening))
        }
        Err(failure) if settings.is_chosen("http.admin_listen") => Err(failure),
        Err(failure) => {
            let Failure { code, .. } = failure;
            tracing::warn!(
                code,
                listen = %at,
                "nobody can listen there, so numbers are not told; choose `http.admin_listen`"
            );
            Ok(None)
        }
    }
}

fn begin(
    runtime: &tokio::runtime::Runtime,
    at: SocketAddr,
    routes: Router,
) -> Result<Listening, Failure> {
    runtime.block_on(listen(at, routes)).map_err(|error| {
        let message = format!("cannot listen on `{at}`: {error}");
        Failure::new(Exit::Unreachable, "listen_failed", message)
    })
}

fn open_platform(config: &Config, data: &Data, base_url: &str) -> Result<Platform, Failure> {
    let dir = &config.data.dir;
    let documents = SqliteDocuments::open(dir).map_err(|error| {
        let message =
            format!("{error}; move `{}/documents` away to have it made again", dir.display());
        Failure::new(Exit::Internal, "documents_failed", message)
    })?;
    let log = Arc::clone(data.log()) as Arc<dyn LogStore>;
    let auth = &config.auth;
    let settings = traaviis_platform::Settings {
        issuer: auth.issuer.as_deref().unwrap_or(base_url).trim_end_matches('/').into(),
        require_email_verification: auth.require_email_verification,
        access_ttl: auth.access_ttl,
        session_ttl: auth.refresh_ttl,
        session_idle: auth.session_idle,
        default_plan: config.bootstrap.plan,
        ..traaviis_platform::Settings::default()
    };
    Platform::open(platform::ways(dir, log, documents), settings).map_err(refused)
}

fn refused(error: traaviis_platform::Error) -> Failure {
    Failure::new(Exit::Internal, &error.code, error.message)
}
