//! Performs calls to the outside over HTTP, under an egress policy.
//!
//! [`HttpConnector`] implements [`ports::Connector`](traaviis_ports::Connector) for the effect
//! kinds `call_api` (any public URL), `call` (a function of the operator's connectors file) and
//! `notify` (its channels). [`S3Target`] keeps backups in a bucket,
//! [`mailer`] carries mail, and [`PlainHttp`] asks where people log in elsewhere.
//!
//! ```no_run
//! use traaviis_connect::{Connectors, EgressPolicy, Format, HttpConnector, Options};
//!
//! let text = std::fs::read_to_string("connectors.yaml")?;
//! let connectors = Connectors::read(&text, Format::Yaml).map_err(|it| format!("{it:?}"))?;
//! let connector = HttpConnector::new(Options {
//!     egress: EgressPolicy {
//!         allow_private: vec!["127.0.0.1:8099".parse()?],
//!         ..EgressPolicy::default()
//!     },
//!     connectors,
//!     ..Options::default()
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Invariants:
//! - `done` of each attempt is called exactly once: with the outcome, `timeout`, `cancelled` after
//!   [`abandon`](traaviis_ports::Connector::abandon), or `execution_crashed` after a panic.
//! - No outcome holds the value of a secret.
//! - How many attempts run at once is the runtime's decision; here each runs at once.

mod egress;
mod file;
mod functions;
mod http;
mod mail;
mod notify;
mod plain;
mod s3;
mod secret;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use reqwest::Method;
use tokio::{
    runtime::{Handle, Runtime},
    task::{AbortHandle, JoinError},
};
use traaviis_model::{
    Call, CallId, DeliveryClass, EffectError, Span, TenantCtx, TenantId, Value, builtin,
    call::{CALL_KINDS, class_of},
};
use traaviis_ports::{Connector, OnOutcome, Outcome, Secrets};

pub use egress::{Denied, EgressPolicy, Target, is_global};
pub use file::Connectors;
pub use functions::{Function, Functions};
pub use mail::{FolderMailer, MailSetupError, SmtpMailer, mailer};
pub use notify::Channels;
pub use plain::PlainHttp;
pub use s3::{S3Target, SCHEME as S3_SCHEME};
pub use secret::secret_from_environment;
pub use traaviis_model::document::Format;

use http::Client;
use secret::Vault;

/// Threads of a connector that brings its own runtime; the work is waiting, not computing.
const THREADS: usize = 2;

/// What a connector is made of.
#[derive(Debug)]
pub struct Options {
    /// Where calls may go.
    pub egress: EgressPolicy,
    /// What `call` and `notify` offer; its own private targets are open to them alone.
    pub connectors: Connectors,
    /// Where secrets come from; the environment unless set.
    pub secrets: Arc<dyn Secrets>,
    /// Where attempts run; none means an own runtime.
    pub handle: Option<Handle>,
    /// Who is told how many bytes an attempt has sent.
    pub sent: Option<Arc<dyn OnSent>>,
}

/// Is told how many bytes of requests a tenant has sent: addresses, headers and bodies, also of
/// requests that were not answered.
pub trait OnSent: fmt::Debug + Send + Sync {
    /// Takes it; must be short.
    fn sent(&self, tenant: TenantId, bytes: u64);
}

impl Default for Options {
    fn default() -> Self {
        Options {
            egress: EgressPolicy::default(),
            connectors: Connectors::default(),
            secrets: Arc::new(secret_from_environment),
            handle: None,
            sent: None,
        }
    }
}

/// Why a connector cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The HTTP client refuses.
    #[error("cannot set up the HTTP client")]
    Client(#[source] reqwest::Error),
    /// The operating system gives no threads.
    #[error("cannot start the threads for calls")]
    Runtime(#[source] std::io::Error),
}

/// Performs `call_api`, `call` and `notify`.
pub struct HttpConnector {
    shared: Arc<Shared>,
    handle: Handle,
    runtime: Option<Runtime>,
}

struct Shared {
    /// Bound to the policy alone: an author chooses where `call_api` goes.
    api: Client,
    /// Also reaches the private targets of the connectors file: the operator chose those.
    calls: Client,
    connectors: Connectors,
    secrets: Arc<dyn Secrets>,
    running: Mutex<HashMap<Attempt, Running>>,
    started: AtomicU64,
    sent: Option<Arc<dyn OnSent>>,
}

type Attempt = (TenantId, CallId);

/// A running attempt.
struct Running {
    abort: AbortHandle,
    /// Tells this attempt from a later one of the same name.
    number: u64,
}

impl HttpConnector {
    /// Makes a connector.
    pub fn new(options: Options) -> Result<HttpConnector, Error> {
        HttpConnector::with_names(options, Arc::new(egress::SystemNames))
    }

    fn with_names(options: Options, names: Arc<dyn egress::Names>) -> Result<HttpConnector, Error> {
        let calls = options.egress.with_private(&options.connectors.allow_private);
        let client = |policy| Client::with_names(policy, Arc::clone(&names)).map_err(Error::Client);
        let shared = Shared {
            api: client(options.egress)?,
            calls: client(calls)?,
            connectors: options.connectors,
            secrets: options.secrets,
            running: Mutex::default(),
            started: AtomicU64::new(0),
            sent: options.sent,
        };
        let (handle, runtime) = match options.handle {
            Some(handle) => (handle, None),
            None => {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(THREADS)
                    .thread_name("traaviis-connect")
                    .enable_all()
                    .build()
                    .map_err(Error::Runtime)?;
                (runtime.handle().clone(), Some(runtime))
            }
        };
        Ok(HttpConnector { shared: Arc::new(shared), handle, runtime })
    }

    /// Returns the functions that `call` offers.
    pub fn functions(&self) -> &Functions {
        &self.shared.connectors.functions
    }
}

impl fmt::Debug for HttpConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpConnector")
    }
}

impl Drop for HttpConnector {
    fn drop(&mut self) {
        // Waiting here would block, and panics inside another runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Connector for HttpConnector {
    fn perform(&self, ctx: &TenantCtx, call: Call, done: OnOutcome) {
        let attempt = (ctx.tenant(), call.id.clone());
        let shared = Arc::clone(&self.shared);
        let number = self.shared.started.fetch_add(1, Ordering::Relaxed);
        // Held until the attempt is registered, so that it cannot end before.
        let mut running = self.shared.running();
        let origin = Origin::of(&call);
        let of = ctx.clone();
        let bytes: Arc<AtomicU64> = Arc::default();
        let counted = Arc::clone(&bytes);
        let work = async move { shared.attempt(&of, call).await };
        let task = self.handle.spawn(http::SENT.scope(counted, work));
        let abort = task.abort_handle();
        running.insert(attempt.clone(), Running { abort, number });
        drop(running);
        let shared = Arc::clone(&self.shared);
        self.handle.spawn(async move {
            let outcome = task.await.unwrap_or_else(|error| Err(ended(error)));
            shared.forget(&attempt, number);
            let bytes = bytes.load(Ordering::Relaxed);
            if let Some(sent) = shared.sent.as_ref().filter(|_| bytes > 0) {
                sent.sent(attempt.0, bytes);
            }
            done(outcome.map_err(|error| origin.mark(error)));
        });
    }

    fn abandon(&self, ctx: &TenantCtx, id: &CallId) {
        if let Some(running) = self.shared.running().get(&(ctx.tenant(), id.clone())) {
            running.abort.abort();
        }
    }

    fn delivery_class(&self, _ctx: &TenantCtx, kind: &str, input: &Value) -> DeliveryClass {
        match kind {
            "call_api" => api_class(input),
            "call" if builtin::is_builtin(input) => DeliveryClass::SafeRead,
            // A function that is gone was perhaps a write when the attempt began.
            "call" => input
                .get("function")
                .and_then(Value::as_str)
                .and_then(|name| self.shared.connectors.functions.get(name))
                .map_or(DeliveryClass::OtherWrite, Function::delivery_class),
            // Every delivery carries its key.
            "notify" => DeliveryClass::KeyedWrite,
            other => class_of(other),
        }
    }
}

fn api_class(input: &Value) -> DeliveryClass {
    let idempotent = input.get("idempotent").and_then(Value::as_bool) == Some(true);
    match http::read_method(input) {
        Ok(Method::GET | Method::HEAD | Method::OPTIONS) => DeliveryClass::SafeRead,
        Ok(Method::PUT | Method::DELETE) => DeliveryClass::KeyedWrite,
        _ if idempotent => DeliveryClass::KeyedWrite,
        _ => DeliveryClass::OtherWrite,
    }
}

/// Says how a task ended that gave no outcome.
fn ended(error: JoinError) -> EffectError {
    if error.is_cancelled() {
        return EffectError::new("cancelled", "the attempt was given up");
    }
    EffectError::retryable("execution_crashed", "the connector crashed during this attempt")
}

/// Which node an error comes from.
struct Origin {
    kind: traaviis_model::Text,
    path: traaviis_model::Text,
    attempt: u32,
}

impl Origin {
    fn of(call: &Call) -> Origin {
        Origin { kind: call.kind.clone(), path: call.id.path.clone(), attempt: call.id.attempt }
    }

    fn mark(self, error: EffectError) -> EffectError {
        EffectError { kind: self.kind, path: self.path, attempt: self.attempt, ..error }
    }
}

impl Shared {
    fn running(&self) -> MutexGuard<'_, HashMap<Attempt, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, attempt: &Attempt, number: u64) {
        let mut running = self.running();
        if running.get(attempt).is_some_and(|it| it.number == number) {
            running.remove(attempt);
        }
    }

    /// Performs one attempt within its time; its outcome is masked.
    async fn attempt(&self, ctx: &TenantCtx, call: Call) -> Outcome {
        let mut vault = Vault::new(&*self.secrets, ctx, &call.workflow);
        let outcome = match self.time_of(&call) {
            Err(error) => Err(error),
            Ok(time) => match tokio::time::timeout(time, self.work(&call, &mut vault)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(EffectError::retryable(
                    "timeout",
                    format!("no answer within {}", Span(time.as_micros() as i64)),
                )),
            },
        };
        vault.mask(outcome)
    }

    async fn work(&self, call: &Call, vault: &mut Vault<'_>) -> Outcome {
        match &*call.kind {
            "call_api" => http::call_api(&self.api, call, vault).await,
            "call" if builtin::is_builtin(&call.input) => {
                // The instance's own, whatever it calls.
                builtin::answer(&call.input, call.id.instance.0.as_u64_pair().1)
            }
            "call" => {
                functions::call_function(&self.calls, &self.connectors.functions, call, vault).await
            }
            "notify" => notify::notify(&self.calls, &self.connectors.channels, call, vault).await,
            other if CALL_KINDS.contains(&other) => Err(EffectError::new(
                "feature_unavailable",
                format!("this release does not perform `{other}`; tests answer it with mocks"),
            )),
            other => Err(EffectError::new(
                "unknown_effect",
                format!("the HTTP connector does not perform `{other}`"),
            )),
        }
    }

    /// Returns the time of an attempt: the node's, else the parameter's, else the function's or
    /// kind's.
    fn time_of(&self, call: &Call) -> Result<Duration, EffectError> {
        let wrong = || http::invalid("`timeout` is not a time up to one hour, such as 5s");
        if let Some(span) = call.timeout {
            return functions::span_duration(span).ok_or_else(wrong);
        }
        if let Some(value) = call.input.get("timeout").filter(|it| !it.is_null()) {
            return functions::read_timeout(value).ok_or_else(wrong);
        }
        if &*call.kind == "call" && !builtin::is_builtin(&call.input) {
            return Ok(self.connectors.functions.find(&call.input)?.1.timeout());
        }
        Ok(http::API_TIMEOUT)
    }
}

/// JSON Schema of the connectors file, for editors.
pub const CONNECTORS_SCHEMA: &str = include_str!("../../../schemas/connectors-1.json");
