//! What the process tells about itself: lines on standard error, traces for a collector, numbers.
//!
//! Everything that happens in the background is an event of `tracing`; [`mod@line`] writes it,
//! [`traces`] sends spans, [`numbers`] counts. Invariant: nobody who works waits for it.

pub mod line;
pub mod numbers;
pub mod traces;

use tracing_subscriber::{
    EnvFilter, Layer as _, filter::LevelFilter, layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::{
    config::{Config, LogFormat},
    exit::{Exit, Failure},
};
use line::{Form, Lines};
use traces::Traces;

/// Begins to tell what commands have to say beside their result.
pub fn notes() {
    let lines = Lines::to_stderr(Form::Notes).with_filter(LevelFilter::INFO);
    // The first stays, and there is one for each process.
    let _ = tracing_subscriber::registry().with(lines).try_init();
}

/// Begins to tell what a server does.
pub fn server(
    config: &Config,
    runtime: &tokio::runtime::Handle,
) -> Result<Option<Traces>, Failure> {
    let form = match config.log.format {
        LogFormat::Json => Form::Json,
        LogFormat::Text => Form::Text,
    };
    let internal = |error: String| Failure::new(Exit::Internal, "internal", error);
    // Read before, when settings were checked.
    let filter = EnvFilter::try_new(&config.log.level).map_err(|it| internal(it.to_string()))?;
    let lines = Lines::to_stderr(form).with_filter(filter);
    let endpoint = config.telemetry.otlp_endpoint.as_deref();
    let traces = endpoint.map(|it| Traces::start(it, runtime)).transpose()?;
    let spans = traces.as_ref().map(Traces::layer);
    let subscriber = tracing_subscriber::registry().with(lines).with(spans);
    subscriber.try_init().map_err(|it| internal(it.to_string()))?;
    // A line like all others; the thread that it tells of ends, or its caller answers for it.
    std::panic::set_hook(Box::new(|panic| tracing::error!("a defect of this program: {panic}")));
    Ok(traces)
}
