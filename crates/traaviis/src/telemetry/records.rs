//! Log lines for a collector: the same that are written, as records of OTLP, in batches.
//!
//! Invariants: a record is made of what [`mod@super::line`] has already cleaned, so nothing leaves
//! that may not be written; nobody who works waits; what waits is bounded in number and in bytes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use opentelemetry_proto::tonic::{
    collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse},
    common::v1::{AnyValue, any_value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
};
use prost::Message as _;
use serde_json::Value as Json;
use tokio::sync::{mpsc, oneshot};
use tracing::Level;

use super::collector::{CLOSE_WAIT, Collector, Sent, attribute, nanos, resource, scope, text};

/// Records that wait for the collector. More are dropped and counted.
const QUEUE_MAX: usize = 4_096;
/// Their bytes: a line may be long, and the memory of the process is for instances.
const QUEUE_BYTES_MAX: usize = 4 << 20;
/// Records of one request to the collector.
const BATCH_MAX: usize = 512;
/// Longest time that a record waits for others.
const BATCH_WAIT: Duration = Duration::from_secs(2);

/// Target of what this module says; it is written, and not sent: a collector that takes nothing
/// would be sent one more record for each that it has refused.
const OWN: &str = "traaviis::telemetry::records";

/// Sends log lines.
#[derive(Clone)]
pub struct Records {
    to: mpsc::Sender<Asked>,
    runtime: tokio::runtime::Handle,
    waiting_bytes: Arc<AtomicUsize>,
    /// What became of records.
    pub sent: Arc<Sent>,
}

enum Asked {
    Send(LogRecord),
    /// Nothing comes after it: what waits is sent, and then this is told.
    End(oneshot::Sender<()>),
}

impl Records {
    /// Begins to send log lines to a collector.
    pub fn start(collector: Collector) -> Records {
        let (to, from) = mpsc::channel(QUEUE_MAX);
        let (waiting_bytes, sent) = (Arc::<AtomicUsize>::default(), Arc::<Sent>::default());
        let runtime = collector.runtime.clone();
        let sending =
            Sending { collector, waiting_bytes: Arc::clone(&waiting_bytes), sent: sent.clone() };
        runtime.spawn(sending.run(from));
        Records { to, runtime, waiting_bytes, sent }
    }

    /// Takes a line; its message and fields are clean.
    pub fn take(&self, level: Level, target: &str, message: &str, fields: &[(&'static str, Json)]) {
        // What others say while they send would be sent in turn, and so on.
        if target == OWN || !target.starts_with("traaviis") {
            return;
        }
        let record = record_of(level, target, message, fields);
        let bytes = record.encoded_len();
        let has_room =
            self.waiting_bytes.fetch_add(bytes, Ordering::SeqCst) + bytes <= QUEUE_BYTES_MAX;
        if !has_room || self.to.try_send(Asked::Send(record)).is_err() {
            self.waiting_bytes.fetch_sub(bytes, Ordering::SeqCst);
            self.sent.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Sends what waits, and ends.
    pub fn close(&self) {
        let (done, ended) = oneshot::channel();
        let ending = async {
            if self.to.send(Asked::End(done)).await.is_ok() {
                // Whoever would tell is gone: then there is nothing to wait for.
                let _ = ended.await;
            }
        };
        let waited =
            self.runtime.block_on(async { tokio::time::timeout(CLOSE_WAIT, ending).await });
        if waited.is_err() {
            tracing::warn!(target: OWN, "the last log lines did not reach the collector");
        }
    }
}

struct Sending {
    collector: Collector,
    waiting_bytes: Arc<AtomicUsize>,
    sent: Arc<Sent>,
}

impl Sending {
    async fn run(self, mut from: mpsc::Receiver<Asked>) {
        loop {
            let mut batch = Vec::new();
            let mut end = None;
            let full = tokio::time::sleep(BATCH_WAIT);
            tokio::pin!(full);
            while batch.len() < BATCH_MAX && end.is_none() {
                let asked = tokio::select! {
                    asked = from.recv() => asked,
                    () = &mut full, if !batch.is_empty() => break,
                };
                match asked {
                    Some(Asked::Send(record)) => {
                        if batch.is_empty() {
                            full.as_mut().reset(tokio::time::Instant::now() + BATCH_WAIT);
                        }
                        batch.push(record);
                    }
                    Some(Asked::End(done)) => end = Some(done),
                    None => return,
                }
            }
            if !batch.is_empty() {
                self.send(batch).await;
            }
            if let Some(done) = end {
                // Nobody waits any more after some time.
                let _ = done.send(());
                return;
            }
        }
    }

    async fn send(&self, batch: Vec<LogRecord>) {
        let count = batch.len() as u64;
        let bytes: usize = batch.iter().map(|it| it.encoded_len()).sum();
        let scoped = ScopeLogs { scope: Some(scope()), log_records: batch, ..Default::default() };
        let told = ResourceLogs {
            resource: Some(resource()),
            scope_logs: vec![scoped],
            ..Default::default()
        };
        let request = ExportLogsServiceRequest { resource_logs: vec![told] };
        let answer = self.collector.send::<ExportLogsServiceResponse>("/v1/logs", &request).await;
        self.waiting_bytes.fetch_sub(bytes, Ordering::SeqCst);
        let (failed, why) = match answer {
            Ok(answer) => {
                let part = answer.partial_success.unwrap_or_default();
                (u64::try_from(part.rejected_log_records).unwrap_or(0), part.error_message)
            }
            Err(why) => (count, why),
        };
        let failed = failed.min(count);
        self.sent.exported.fetch_add(count - failed, Ordering::Relaxed);
        self.sent.failed.fetch_add(failed, Ordering::Relaxed);
        if failed > 0 {
            tracing::warn!(
                target: OWN, records = failed, "log lines did not reach the collector: {why}"
            );
        }
    }
}

fn record_of(
    level: Level,
    target: &str,
    message: &str,
    fields: &[(&'static str, Json)],
) -> LogRecord {
    let now = nanos(SystemTime::now());
    let mut attributes = vec![attribute("target", text(target))];
    let (mut trace_id, mut span_id) = (Vec::new(), Vec::new());
    for (name, value) in fields {
        match (*name, value) {
            ("trace_id", Json::String(it)) => trace_id = bytes_of(it),
            ("span_id", Json::String(it)) => span_id = bytes_of(it),
            _ => attributes.push(attribute(name, value_of(value))),
        }
    }
    LogRecord {
        time_unix_nano: now,
        observed_time_unix_nano: now,
        severity_number: severity(level),
        severity_text: level.as_str().into(),
        body: Some(AnyValue { value: Some(text(message)) }),
        attributes,
        trace_id,
        span_id,
        ..LogRecord::default()
    }
}

/// The numbers that OTLP has for levels.
fn severity(level: Level) -> i32 {
    match level {
        Level::TRACE => 1,
        Level::DEBUG => 5,
        Level::INFO => 9,
        Level::WARN => 13,
        Level::ERROR => 17,
    }
}

fn value_of(value: &Json) -> any_value::Value {
    match value {
        Json::Bool(it) => any_value::Value::BoolValue(*it),
        Json::Number(it) if it.is_i64() => {
            any_value::Value::IntValue(it.as_i64().unwrap_or_default())
        }
        Json::Number(it) => any_value::Value::DoubleValue(it.as_f64().unwrap_or_default()),
        Json::String(it) => text(it.clone()),
        other => text(other.to_string()),
    }
}

/// Reads hexadecimal digits; what is none is no id.
fn bytes_of(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2);
    let byte =
        |pair: &[u8]| std::str::from_utf8(pair).ok().and_then(|it| u8::from_str_radix(it, 16).ok());
    pairs.map(byte).collect::<Option<_>>().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(record: &LogRecord) -> String {
        let hex = |it: &[u8]| it.iter().map(|it| format!("{it:02x}")).collect::<String>();
        let value = |it: &Option<AnyValue>| match it.as_ref().and_then(|it| it.value.as_ref()) {
            Some(any_value::Value::StringValue(it)) => it.clone(),
            Some(any_value::Value::IntValue(it)) => format!("{it}"),
            Some(any_value::Value::DoubleValue(it)) => format!("{it:?}"),
            Some(any_value::Value::BoolValue(it)) => format!("{it}"),
            other => format!("{other:?}"),
        };
        let attributes: Vec<String> =
            record.attributes.iter().map(|it| format!("{}={}", it.key, value(&it.value))).collect();
        let (trace, span) = (hex(&record.trace_id), hex(&record.span_id));
        let (severity, body) = (record.severity_number, value(&record.body));
        format!("{severity} {body} [{}] {trace} {span}", attributes.join(" "))
    }

    #[test]
    fn a_line_becomes_a_record_with_its_ids_apart() {
        let fields = [
            ("code", Json::from("busy")),
            ("count", Json::from(3)),
            ("share", Json::from(0.5)),
            ("is_late", Json::from(true)),
            ("trace_id", Json::from("0af7651916cd43dd8448eb211c80319c")),
            ("span_id", Json::from("b7ad6b7169203331")),
        ];
        let record = record_of(Level::WARN, "traaviis::x", "it waits", &fields);
        expect_test::expect![
            "13 it waits [target=traaviis::x code=busy count=3 share=0.5 is_late=true] \
             0af7651916cd43dd8448eb211c80319c b7ad6b7169203331"
        ]
        .assert_eq(&shown(&record));
        assert_eq!(bytes_of("zz"), Vec::<u8>::new());
    }

    #[test]
    fn no_more_wait_than_may_in_number_and_in_bytes() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let collector = Collector::at("http://127.0.0.1:9", runtime.handle()).unwrap();
        // Nothing runs on it, so nothing leaves.
        let records = Records::start(collector.clone());
        (0..QUEUE_MAX + 10).for_each(|_| records.take(Level::INFO, "traaviis", "again", &[]));
        assert_eq!(records.sent.dropped.load(Ordering::Relaxed), 10);

        let records = Records::start(collector);
        let long = "x".repeat(1 << 20);
        (0..10).for_each(|_| records.take(Level::INFO, "traaviis", &long, &[]));
        assert_eq!(records.sent.dropped.load(Ordering::Relaxed), 7, "three fit into four MiB");
        records.take(Level::WARN, OWN, "nobody is told what nobody took", &[]);
        assert!(records.waiting_bytes.load(Ordering::SeqCst) <= QUEUE_BYTES_MAX);
    }
}
