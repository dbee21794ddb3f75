//! What the process tells about itself: lines on standard error, numbers, and both with traces for
//! a collector.
//!
//! Everything that happens in the background is an event of `tracing`; [`mod@line`] writes it,
//! [`traces`] sends spans, [`numbers`] counts. [`records`] sends lines and [`readings`] numbers to
//! the [`collector`]. Invariant: nobody who works waits for it.

pub mod collector;
pub mod happened;
pub mod line;
pub mod numbers;
pub mod readings;
pub mod records;
pub mod traces;

use std::sync::Arc;

use tracing_subscriber::{
    EnvFilter, Layer as _, filter::LevelFilter, layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::{
    config::{Config, LogFormat},
    exit::{Exit, Failure},
};
use collector::{Collector, Sent};
use line::{Form, Lines};
use records::Records;
use traces::Traces;

/// Begins to tell what commands have to say beside their result.
pub fn notes() {
    let lines = Lines::to_stderr(Form::Notes).with_filter(LevelFilter::INFO);
    // The first stays, and there is one for each process.
    let _ = tracing_subscriber::registry().with(lines).try_init();
}

/// What leaves for a collector; nothing of it without one.
#[derive(Clone, Default)]
pub struct Exports {
    /// Spans.
    pub traces: Option<Traces>,
    /// Log lines.
    pub records: Option<Records>,
    /// Numbers: where they are pushed to, and what became of it.
    pub readings: Option<(Collector, Arc<Sent>)>,
}

impl Exports {
    fn of(config: &Config, runtime: &tokio::runtime::Handle) -> Result<Exports, Failure> {
        let telemetry = &config.telemetry;
        let Some(endpoint) = &telemetry.otlp_endpoint else { return Ok(Exports::default()) };
        let collector = Collector::at(endpoint, runtime)?;
        let traces = telemetry.traces.then(|| Traces::start(&collector)).transpose()?;
        let records = telemetry.logs.then(|| Records::start(collector.clone()));
        let readings = telemetry.metrics.then(|| (collector, Arc::default()));
        Ok(Exports { traces, records, readings })
    }

    /// Sends what waits, and ends.
    pub fn close(&self) {
        if let Some(traces) = &self.traces {
            traces.close();
        }
        if let Some(records) = &self.records {
            records.close();
        }
    }
}

/// Begins to tell what a server does.
pub fn server(config: &Config, runtime: &tokio::runtime::Handle) -> Result<Exports, Failure> {
    let form = match config.log.format {
        LogFormat::Json => Form::Json,
        LogFormat::Text => Form::Text,
    };
    let internal = |error: String| Failure::new(Exit::Internal, "internal", error);
    // Read before, when settings were checked.
    let filter = EnvFilter::try_new(&config.log.level).map_err(|it| internal(it.to_string()))?;
    let exports = Exports::of(config, runtime)?;
    let lines = Lines::to_stderr(form).sent_to(exports.records.clone()).with_filter(filter);
    let spans = exports.traces.as_ref().map(Traces::layer);
    let subscriber = tracing_subscriber::registry().with(lines).with(spans);
    subscriber.try_init().map_err(|it| internal(it.to_string()))?;
    // A line like all others; the thread that it tells of ends, or its caller answers for it.
    std::panic::set_hook(Box::new(|panic| tracing::error!("a defect of this program: {panic}")));
    Ok(exports)
}
