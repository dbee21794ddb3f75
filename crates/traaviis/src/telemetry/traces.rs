//! Traces for a collector: OTLP over HTTP, in batches, with a bounded queue.
//!
//! A request is a span of the trace that its caller named, or of a new one. What an instance does
//! stands in the trace of the instance, whose id is the instance's: steps, and below each step the
//! calls that it asked for. A request links to the trace of the instance that it started or moved.
//!
//! Invariant: spans hold ids, names and outcomes, and nothing of anybody's data.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use opentelemetry::{
    Context, KeyValue,
    trace::{
        SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId,
        TraceState, Tracer as _, TracerProvider as _,
    },
};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, SdkTracer, SdkTracerProvider, Span, SpanData,
        SpanProcessor,
    },
};
use tokio::runtime::Handle;
use traaviis_model::{InstanceId, Timestamp};
use traaviis_server::operate::TraceIds;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::{Layer, filter::filter_fn, registry::LookupSpan};

use super::collector::{CLOSE_WAIT, Collector, EXPORT_WAIT, Sent};
use crate::exit::{Exit, Failure};

/// Spans that wait for the collector; about a kilobyte each. More are dropped and counted.
const QUEUE_MAX: i64 = 4_096;
/// Spans of one request to the collector.
const BATCH_MAX: usize = 512;
/// Longest time that a span waits for others.
const BATCH_WAIT: Duration = Duration::from_secs(2);
/// Sends spans.
#[derive(Clone)]
pub struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    /// What became of spans.
    pub sent: Arc<Sent>,
}

impl Traces {
    /// Begins to send spans to a collector.
    pub fn start(collector: &Collector) -> Result<Traces, Failure> {
        let failed = |error: String| {
            let message = format!("cannot send traces: {error}");
            Failure::new(Exit::Internal, "internal", message)
        };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(collector.client())
            .with_endpoint(collector.url("/v1/traces"))
            .with_timeout(EXPORT_WAIT)
            .build()
            .map_err(|it| failed(it.to_string()))?;
        let (sent, waiting) = (Arc::<Sent>::default(), Arc::<AtomicI64>::default());
        let exporter = OnRuntime {
            exporter: Arc::new(tokio::sync::RwLock::new(exporter)),
            runtime: collector.runtime.clone(),
            sent: Arc::clone(&sent),
            waiting: Arc::clone(&waiting),
        };
        let queue = usize::try_from(QUEUE_MAX).unwrap_or(usize::MAX);
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(queue)
            .with_max_export_batch_size(BATCH_MAX)
            .with_scheduled_delay(BATCH_WAIT)
            .build();
        let batches = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
        let resource = Resource::builder_empty()
            .with_attribute(KeyValue::new("service.name", "traaviis"))
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(Bounded { batches, sent: Arc::clone(&sent), waiting })
            .with_resource(resource)
            .build();
        let tracer = provider.tracer("traaviis");
        Ok(Traces { provider, tracer, sent })
    }

    /// Returns what turns spans of `tracing` into spans for the collector.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    {
        let is_ours =
            |it: &tracing::Metadata<'_>| it.is_span() && it.target().starts_with("traaviis");
        tracing_opentelemetry::layer()
            .with_tracer(self.tracer.clone())
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(is_ours))
    }

    /// Sends what waits, and ends.
    pub fn close(&self) {
        if let Err(error) = self.provider.shutdown_with_timeout(CLOSE_WAIT) {
            tracing::warn!("the last traces did not reach the collector: {error}");
        }
    }

    /// Tells of a step of an instance: in the instance's trace, with an id that the calls of the
    /// step can name.
    pub fn step(&self, step: &Step<'_>) {
        let attributes = [
            KeyValue::new("traaviis.tenant_id", step.tenant_id.to_string()),
            KeyValue::new("traaviis.instance_id", step.id.to_string()),
            KeyValue::new("traaviis.workflow", step.workflow.to_owned()),
            KeyValue::new("traaviis.status", step.status),
            KeyValue::new("traaviis.step", i64::try_from(step.number).unwrap_or(i64::MAX)),
            KeyValue::new("traaviis.records", i64::try_from(step.records).unwrap_or(i64::MAX)),
        ];
        let at = time(step.at);
        let span = self
            .tracer
            .span_builder("instance.step")
            .with_kind(SpanKind::Internal)
            .with_start_time(at)
            .with_attributes(attributes);
        let mut span = span.start_with_context(&self.tracer, &instance_trace(step.id));
        opentelemetry::trace::Span::end_with_timestamp(&mut span, at.max(SystemTime::now()));
    }

    /// Tells of an attempt of a call that has ended.
    pub fn attempt(&self, attempt: &Attempt<'_>) {
        let attributes = [
            KeyValue::new("traaviis.tenant_id", attempt.tenant_id.to_string()),
            KeyValue::new("traaviis.instance_id", attempt.id.to_string()),
            KeyValue::new("traaviis.effect", attempt.kind.to_owned()),
            KeyValue::new("traaviis.execution_id", attempt.call.to_owned()),
        ];
        let span = self
            .tracer
            .span_builder("effect.attempt")
            .with_kind(SpanKind::Client)
            .with_start_time(attempt.begun)
            .with_attributes(attributes);
        let mut span = span.start_with_context(&self.tracer, &instance_trace(attempt.id));
        if let Some(code) = attempt.error {
            let status = Status::error(code.to_owned());
            opentelemetry::trace::Span::set_status(&mut span, status);
        }
        opentelemetry::trace::Span::end(&mut span);
    }
}

/// A step, as it is told.
pub struct Step<'a> {
    /// Tenant.
    pub tenant_id: traaviis_model::TenantId,
    /// Instance.
    pub id: InstanceId,
    /// Its workflow.
    pub workflow: &'a str,
    /// How it stands after it.
    pub status: &'static str,
    /// Number of the step.
    pub number: u64,
    /// Its records.
    pub records: usize,
    /// When it was committed.
    pub at: Timestamp,
}

/// An attempt of a call, as it is told.
pub struct Attempt<'a> {
    /// Tenant.
    pub tenant_id: traaviis_model::TenantId,
    /// Instance that asked.
    pub id: InstanceId,
    /// Kind of the effect.
    pub kind: &'a str,
    /// Id of the call.
    pub call: &'a str,
    /// When it began.
    pub begun: SystemTime,
    /// Code of its error.
    pub error: Option<&'a str>,
}

fn time(at: Timestamp) -> SystemTime {
    let micros = u64::try_from(at.0).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::from_micros(micros)
}

/// Returns the context in which everything of an instance stands: a trace with the instance's id,
/// and below it a span with its last half, which is random.
fn instance_trace(id: InstanceId) -> Context {
    Context::new().with_remote_span_context(instance_span(id))
}

fn instance_span(id: InstanceId) -> SpanContext {
    let bits = id.0.as_u128();
    // A span id must not be zero; that of a UUID never is, since its variant is in it.
    let (trace, span) = (TraceId::from(bits), SpanId::from(bits as u64));
    SpanContext::new(trace, span, TraceFlags::SAMPLED, true, TraceState::NONE)
}

/// Puts the span of a request into the trace that its caller named, and returns its ids; none when
/// no traces are sent.
pub fn on_request(span: &tracing::Span, caller: Option<&TraceIds>) -> Option<TraceIds> {
    if let Some(caller) = caller {
        let trace = TraceId::from_hex(&caller.trace).ok()?;
        let parent = SpanId::from_hex(&caller.span).ok()?;
        let parent = SpanContext::new(trace, parent, TraceFlags::SAMPLED, true, TraceState::NONE);
        // Without a layer that sends traces there is nothing to be set.
        let _ = span.set_parent(Context::new().with_remote_span_context(parent));
    }
    let context = span.context();
    let found = context.span().span_context().clone();
    found.is_valid().then(|| TraceIds {
        trace: found.trace_id().to_string(),
        span: found.span_id().to_string(),
    })
}

/// Links the present span to the trace of an instance.
pub fn link(id: InstanceId) {
    tracing::Span::current().add_link(instance_span(id));
}

/// Takes no more spans than may wait.
#[derive(Debug)]
struct Bounded {
    batches: BatchSpanProcessor,
    sent: Arc<Sent>,
    waiting: Arc<AtomicI64>,
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut Span, cx: &Context) {
        self.batches.on_start(span, cx);
    }

    fn on_end(&self, span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        if self.waiting.fetch_add(1, Ordering::SeqCst) >= QUEUE_MAX {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            self.sent.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.batches.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

/// Sends batches where the client lives: its sockets belong to that runtime, and the thread that
/// makes batches has none.
struct OnRuntime {
    exporter: Arc<tokio::sync::RwLock<SpanExporter>>,
    runtime: Handle,
    sent: Arc<Sent>,
    waiting: Arc<AtomicI64>,
}

impl fmt::Debug for OnRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnRuntime").finish_non_exhaustive()
    }
}

impl opentelemetry_sdk::trace::SpanExporter for OnRuntime {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len() as u64;
        let exporter = Arc::clone(&self.exporter);
        let work = self.runtime.spawn(async move { exporter.read().await.export(batch).await });
        let sent =
            work.await.unwrap_or_else(|it| Err(OTelSdkError::InternalFailure(it.to_string())));
        self.waiting.fetch_sub(i64::try_from(count).unwrap_or(0), Ordering::SeqCst);
        match &sent {
            Ok(()) => drop(self.sent.exported.fetch_add(count, Ordering::Relaxed)),
            Err(error) => {
                self.sent.failed.fetch_add(count, Ordering::Relaxed);
                tracing::warn!(spans = count, "traces did not reach the collector: {error}");
            }
        }
        sent
    }

    fn set_resource(&mut self, resource: &Resource) {
        // Called once, before anything is sent.
        if let Ok(mut exporter) = self.exporter.try_write() {
            exporter.set_resource(resource);
        }
    }
}
