//! `traaviis serve`: a data directory for many tenants, over HTTP.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, thread, time::Duration};

use serde_json::json;
use traaviis_platform::{Entropy, Platform, Settings, Ways};
use traaviis_ports::LogStore;
use traaviis_server::{App, Listening, Router, admin_router, listen, router};
use traaviis_store::SqliteDocuments;

use super::run::notes::{Note, Notes};
use crate::{
    backups::Keeper,
    clock::SystemClock,
    connectors::ConnectorArgs,
    control::server::Server,
    data::Data,
    demo::{self, Demo},
    exit::{Exit, Failure},
    output::{self, Output},
    secrets,
    served::{Served, TenantLibrary},
    tree::TreeMode,
};

/// How often what is over is taken out.
const UPKEEP: Duration = Duration::from_secs(60);

/// Serves a data directory over HTTP until it is stopped.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: traaviis serve --data ./data --listen 127.0.0.1:4000")]
pub struct Args {
    /// Data directory; made when it is not there.
    #[arg(long, value_name = "DIR", default_value = "./data")]
    data: PathBuf,
    /// Address to listen on.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:4000")]
    listen: SocketAddr,
    /// Address on which operators reach numbers (`/metrics`); none when it is absent.
    #[arg(long, value_name = "ADDRESS:PORT")]
    admin_listen: Option<SocketAddr>,
    /// Address under which people reach it, the issuer of tokens; made of `--listen` when absent.
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// When to write the documents under `DIR/tree`, which people can read. Default: as the last
    /// run in `DIR` was told, or off.
    #[arg(long, value_name = "WHEN")]
    tree: Option<TreeMode>,
    #[command(flatten)]
    connectors: ConnectorArgs,
}

/// Serves a data directory for trying things out: an empty one gets an account, a tenant and
/// workflows to start from.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: traaviis dev")]
pub struct DevArgs {
    /// Data directory; made when it is not there.
    #[arg(value_name = "DIR", default_value = "./data")]
    data: PathBuf,
    /// Address to listen on.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:4000")]
    listen: SocketAddr,
}

/// Runs `traaviis dev`.
pub fn dev(args: &DevArgs, output: &Output) -> anyhow::Result<Exit> {
    let args = Args {
        data: args.data.clone(),
        listen: args.listen,
        admin_listen: None,
        base_url: None,
        tree: None,
        connectors: ConnectorArgs::default(),
    };
    start(&args, Seeds::Demo, output)
}

/// Runs `traaviis serve`.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    start(args, Seeds::Nothing, output)
}

/// What an empty directory gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seeds {
    Nothing,
    Demo,
}

fn start(args: &Args, seeds: Seeds, output: &Output) -> anyhow::Result<Exit> {
    let dir = &args.data;
    // Tenants have secrets of their own; the environment is the operator's.
    let connector = args.connectors.connector(None, Arc::new(secrets::kept(dir)))?;
    let tree = args.tree.unwrap_or_else(|| TreeMode::remembered(dir));
    let library = Arc::new(TenantLibrary::default());
    let data = Data::open_serving(dir, connector, Arc::clone(&library) as Arc<_>, tree)?;
    let data = Arc::new(data);
    let internal = |error: std::io::Error| {
        Failure::new(Exit::Internal, "internal", format!("cannot begin: {error}"))
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(internal)?;
    let result = serve(args, seeds, output, &data, &library, &runtime);
    runtime.shutdown_timeout(Duration::from_secs(1));
    let closed = data.close();
    result?;
    closed?;
    Ok(Exit::Ok)
}

fn serve(
    args: &Args,
    seeds: Seeds,
    output: &Output,
    data: &Arc<Data>,
    library: &TenantLibrary,
    runtime: &tokio::runtime::Runtime,
) -> Result<(), Failure> {
    let notes = Notes::listen(data)?;
    let base_url = args.base_url.clone().unwrap_or_else(|| format!("http://{}", args.listen));
    let platform = Arc::new(open_platform(args, data, &base_url)?);
    library.serve(&platform);
    let engine = Arc::new(Served::new(Arc::clone(data), library.machines()));
    let demo = match seeds {
        Seeds::Demo => demo::seed(&platform, &*engine, &Entropy::system()).map_err(refused)?,
        Seeds::Nothing => None,
    };
    let tell = |line: &str| output::warn(format_args!("error: {line}"));
    let version = env!("CARGO_PKG_VERSION");
    let app = Arc::new(App::new(Arc::clone(&platform), engine, version, tell));
    let control = Server::of_data(&args.data, data);
    if let Err(error) = &control {
        output::warn(format_args!("warning: no control socket: {error}"));
    }
    let keeper = Keeper::start(&args.data)?;
    let admin = args.admin_listen.map(|at| (at, admin_router(Arc::clone(&app))));
    let admin = admin.map(|(at, routes)| begin(runtime, at, routes)).transpose()?;
    let listening = begin(runtime, args.listen, router(app))?;
    let address = listening.address;
    match output.is_json() {
        true => {
            let account = demo.map(|it| json!({ "email": it.email, "password": it.password }));
            let pid = std::process::id();
            output.json(&json!({ "listening": address, "pid": pid, "account": account }));
        }
        false => {
            output.line(&format!("listening on http://{address}; Ctrl-C stops it"));
            if let Some(Demo { email, password }) = demo {
                output.line(&format!("log in as {email} with the password {password}, told once"));
            }
        }
    }
    keep_up(&platform)?;
    let stopped = loop {
        match notes.next(None) {
            Note::Commit | Note::TimeIsUp => {}
            Note::Stop => break Ok(()),
            Note::Failed(failure) => break Err(failure),
        }
    };
    runtime.block_on(async {
        listening.end().await;
        if let Some(admin) = admin {
            admin.end().await;
        }
    });
    drop(control);
    drop(keeper);
    stopped
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

fn open_platform(args: &Args, data: &Data, base_url: &str) -> Result<Platform, Failure> {
    let documents = SqliteDocuments::open(&args.data).map_err(|error| {
        let message =
            format!("{error}; move `{}/documents` away to have it made again", args.data.display());
        Failure::new(Exit::Internal, "documents_failed", message)
    })?;
    let ways = Ways {
        log: Arc::clone(data.log()) as Arc<dyn LogStore>,
        documents: Arc::new(documents),
        vault: Arc::new(secrets::subjects(&args.data)),
        clock: Arc::new(SystemClock::start()),
        entropy: Entropy::system(),
    };
    let settings = Settings { issuer: base_url.into(), ..Settings::default() };
    Platform::open(ways, settings).map_err(refused)
}

fn refused(error: traaviis_platform::Error) -> Failure {
    Failure::new(Exit::Internal, &error.code, error.message)
}

/// Takes out from time to time what is over: sessions, invitations, signing keys.
fn keep_up(platform: &Arc<Platform>) -> Result<(), Failure> {
    let weak = Arc::downgrade(platform);
    let begun = thread::Builder::new().name("platform".into()).spawn(move || {
        while let Some(platform) = weak.upgrade() {
            let kept = platform
                .end_old_sessions()
                .and_then(|_| platform.end_old_invitations())
                .and_then(|()| platform.rotate_keys_when_due());
            if let Err(error) = kept {
                output::warn(format_args!("warning: {error} ({})", error.code));
            }
            drop(platform);
            thread::sleep(UPKEEP);
        }
    });
    begun.map(drop).map_err(|error| Failure::new(Exit::Internal, "internal", error.to_string()))
}
