//! A collector: where numbers and log lines are sent, as messages of OTLP over HTTP.
//!
//! It is a place that an operator has named, so no egress policy stands before it. Invariant: a
//! request to it ends, and what it answers is read up to a bound.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    resource::v1::Resource,
};
use prost::Message;
use reqwest::{Client, StatusCode, header::CONTENT_TYPE};
use tokio::runtime::Handle;

use crate::exit::{Exit, Failure};

/// Longest answer of the collector.
pub const EXPORT_WAIT: Duration = Duration::from_secs(10);
/// Longest wait for what is left when the process ends.
pub const CLOSE_WAIT: Duration = Duration::from_secs(3);
/// Bytes of an answer that are read; a good one has fewer than a hundred.
const ANSWER_BYTES_MAX: usize = 16 << 10;
/// Waits before a message is sent again to a collector that could not take it: as long as one that
/// is started again is away.
const AGAIN: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// What became of what was sent.
#[derive(Debug, Default)]
pub struct Sent {
    /// The collector took it.
    pub exported: AtomicU64,
    /// It did not, or could not be reached.
    pub failed: AtomicU64,
    /// The queue was full.
    pub dropped: AtomicU64,
}

impl Sent {
    /// Returns each result with its count.
    pub fn counts(&self) -> [(&'static str, u64); 3] {
        [("exported", &self.exported), ("failed", &self.failed), ("dropped", &self.dropped)]
            .map(|(result, count)| (result, count.load(Ordering::Relaxed)))
    }
}

/// A collector.
#[derive(Clone, Debug)]
pub struct Collector {
    client: Client,
    endpoint: String,
    /// Where calls to it go out.
    pub runtime: Handle,
}

impl Collector {
    /// Returns the collector at an address; calls to it go out on `runtime`.
    pub fn at(endpoint: &str, runtime: &Handle) -> Result<Collector, Failure> {
        // A collector does not send its callers elsewhere.
        let client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(EXPORT_WAIT)
            .build()
            .map_err(|error| {
                let message = format!("cannot send telemetry to `{endpoint}`: {error}");
                Failure::new(Exit::Internal, "internal", message)
            })?;
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        Ok(Collector { client, endpoint, runtime: runtime.clone() })
    }

    /// Returns what makes requests to it.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Returns the address of something below it, such as `/v1/traces`.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.endpoint)
    }

    /// Sends a message, again where that can help; returns the answer, or why it was not taken.
    pub async fn send<A: Message + Default>(
        &self,
        path: &str,
        message: &impl Message,
    ) -> Result<A, String> {
        let body = message.encode_to_vec();
        let mut waits = AGAIN.into_iter();
        loop {
            match self.send_once(path, body.clone()).await {
                Ok(answer) => return A::decode(&*answer).map_err(|error| error.to_string()),
                Err(Refused { why, can_be_repeated }) => {
                    let Some(wait) = waits.next().filter(|_| can_be_repeated) else {
                        return Err(why);
                    };
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    async fn send_once(&self, path: &str, body: Vec<u8>) -> Result<Vec<u8>, Refused> {
        let request = self.client.post(self.url(path));
        let request = request.header(CONTENT_TYPE, "application/x-protobuf").body(body);
        let mut response = request.send().await.map_err(Refused::unreached)?;
        let status = response.status();
        if !status.is_success() {
            return Err(Refused::with(status));
        }
        let mut answer = Vec::new();
        while let Some(part) = response.chunk().await.map_err(Refused::unreached)? {
            answer.extend_from_slice(&part);
            if answer.len() > ANSWER_BYTES_MAX {
                let why = format!("its answer has more than {ANSWER_BYTES_MAX} bytes");
                return Err(Refused { why, can_be_repeated: false });
            }
        }
        Ok(answer)
    }
}

/// Why a collector has not taken something.
struct Refused {
    why: String,
    can_be_repeated: bool,
}

impl Refused {
    fn unreached(error: reqwest::Error) -> Refused {
        // The address may hold a password.
        Refused { why: error.without_url().to_string(), can_be_repeated: true }
    }

    /// Those that OTLP names can be repeated.
    fn with(status: StatusCode) -> Refused {
        let can_be_repeated = matches!(status.as_u16(), 429 | 502 | 503 | 504);
        Refused { why: format!("it answered {status}"), can_be_repeated }
    }
}

/// Returns who tells.
pub fn resource() -> Resource {
    let attributes = vec![
        attribute("service.name", text("traaviis")),
        attribute("service.version", text(env!("CARGO_PKG_VERSION"))),
    ];
    Resource { attributes, ..Resource::default() }
}

/// Returns the part of the program that tells.
pub fn scope() -> InstrumentationScope {
    InstrumentationScope { name: "traaviis".into(), ..InstrumentationScope::default() }
}

/// Returns a text as a value of OTLP.
pub fn text(it: impl Into<String>) -> any_value::Value {
    any_value::Value::StringValue(it.into())
}

/// Returns a named value of OTLP.
pub fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

/// Returns a moment as OTLP counts it.
pub fn nanos(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
