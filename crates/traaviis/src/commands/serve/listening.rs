//! Serves what was put together, until somebody stops it or the log fails.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use serde_json::json;

use traaviis_platform::{Entropy, engine::Engine};
use traaviis_policy::flag::{HOT_STORE, flag};
use traaviis_ports::LogStore;
use traaviis_server::{App, Bound, Front, Listening, admin_router, router};

use super::{
    beside::{Beside, warn},
    composing::{BaseUrl, Parts, Seeds, open_platform, refused},
};
use crate::{
    admin,
    auditing::Auditor,
    backups::Keeper,
    commands::run::notes::{Note, Notes},
    config::{AdminListen, Settings},
    connectors::ConnectorArgs,
    control::server::Server,
    demo::{self, Demo},
    exit::{Exit, Failure},
    identity::Identity,
    output::Output,
    scrub::Scrubber,
    telemetry::readings::Pushing,
};

/// How often it is asked whether the log has failed: whoever starts a server again waits for its
/// end.
const LOG_LOOK: Duration = Duration::from_millis(500);

/// Serves until it is stopped, then ends in order: no new requests, those that were begun are
/// answered, running calls get a moment, the log is closed, the last traces are sent.
pub(super) fn serve(
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
    parts.exports.close();
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
    // A port that is any that is free is known once it is taken; letters name it.
    let bound = match listen.port() {
        0 => Some(bind(runtime, listen)?),
        _ => None,
    };
    let base_url = BaseUrl::of(config, bound.as_ref().map_or(listen, Bound::address));
    let platform = open_platform(config, data, &base_url)?;
    let egress = ConnectorArgs::of(None, config.egress.allow_private.clone()).egress()?;
    let identity = Identity::of(config);
    let platform = identity.join(platform, &config.data.dir, egress, runtime.handle())?;
    let platform = Arc::new(platform);
    if let Some(flag) = flag(HOT_STORE) {
        platform.flags().set_default(flag, config.features.hot_store);
    }
    // Called once.
    let _ = parts.flags.set(platform.flags());
    parts.library.serve(&platform);
    parts.secrets.serve(&platform);
    parts.gate.serve(&platform);
    parts.refused_targets.serve(&platform);
    parts.sent.serve(&platform);
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
    let app = app.with_limits(config.attempts()).behind(config.http.trust_proxy.clone());
    let keeper = Keeper::start(&config.data.dir)?;
    let app = app.called(config.http.base_url.as_deref());
    let app = Arc::new(app.operated(parts.operations(config, keeper.handle())));
    let control = Server::of_data(&config.data.dir, data);
    if let Err(error) = &control {
        tracing::warn!("no control socket: {error}");
    }
    let numbers = listen_for_operators(settings, &app, runtime)?;
    let bound = bound.map_or_else(|| bind(runtime, listen), Ok)?;
    let listening = runtime.block_on(async { bound.serve(router(Arc::clone(&app))) });
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
    let pushing = parts.exports.readings.clone().map(|(collector, sent)| {
        let app = Arc::clone(&app);
        Pushing::begin(collector, sent, Arc::new(move || app.metrics.read(&app)))
    });
    let scrubber = Scrubber::start(
        Arc::clone(&parts.scrub),
        Arc::clone(data.log().inner()),
        Arc::downgrade(&platform),
        config.storage.scrub_every,
    )?;
    let beside = Beside { platform: Arc::clone(&platform), engine, app }.begin()?;
    let stopped = loop {
        // Of a log that failed nobody is told any more, and commits do not tell of it either.
        if let Some(failure) = data.log_failure() {
            break Err(failure);
        }
        match notes.next(Some(LOG_LOOK)) {
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
    drop(pushing);
    drop(scrubber);
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
    front: Front,
) -> Result<Listening, Failure> {
    let bound = bind(runtime, at)?;
    Ok(runtime.block_on(async { bound.serve(front) }))
}

fn bind(runtime: &tokio::runtime::Runtime, at: SocketAddr) -> Result<Bound, Failure> {
    runtime.block_on(Bound::at(at)).map_err(|error| {
        let message = format!("cannot listen on `{at}`: {error}");
        Failure::new(Exit::Unreachable, "listen_failed", message)
    })
}
