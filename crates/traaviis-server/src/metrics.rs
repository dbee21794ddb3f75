//! Numbers about requests and sockets, as Prometheus reads them. Labels come from the table of
//! operations alone, so nobody can make more of them.

use std::{
    fmt::Write as _,
    fs,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use traaviis_api::operation::{OPERATIONS, Op};

use crate::App;

/// Upper bounds of the buckets of times, in seconds.
const BOUNDS: [f64; 9] = [0.001, 0.002, 0.005, 0.01, 0.025, 0.1, 0.5, 2.0, 10.0];

/// Numbers of one operation.
#[derive(Debug, Default)]
struct Counts {
    /// Answers by the hundreds of their status, from 200.
    classes: [AtomicU64; 4],
    buckets: [AtomicU64; BOUNDS.len()],
    micros: AtomicU64,
}

/// All numbers.
#[derive(Debug)]
pub struct Metrics {
    begun: Instant,
    by_operation: Vec<Counts>,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let by_operation = OPERATIONS.iter().map(|_| Counts::default()).collect();
        Metrics { begun: Instant::now(), by_operation }
    }
}

impl Metrics {
    /// Counts an answer.
    pub fn answered(&self, op: Op, status: u16, took: Duration) {
        let Some(counts) = self.by_operation.get(op as usize) else { return };
        let class = usize::from(status / 100).saturating_sub(2).min(3);
        counts.classes[class].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        counts.micros.fetch_add(micros, Ordering::Relaxed);
        for (bucket, bound) in counts.buckets.iter().zip(BOUNDS) {
            if took.as_secs_f64() <= bound {
                bucket.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Returns the numbers as text.
    pub fn text(&self, app: &App) -> String {
        let mut out = String::new();
        let mut gauge = |name: &str, what: &str, value: f64| {
            let _ = write!(out, "# HELP {name} {what}\n# TYPE {name} gauge\n{name} {value}\n");
        };
        gauge("traaviis_sockets", "open sockets", app.hub.count() as f64);
        gauge(
            "traaviis_uptime_seconds",
            "since the server began",
            self.begun.elapsed().as_secs_f64(),
        );
        gauge("process_resident_memory_bytes", "memory in use", resident_bytes() as f64);
        out += "# HELP traaviis_requests_total answers by operation and status\n\
                # TYPE traaviis_requests_total counter\n";
        for (row, counts) in OPERATIONS.iter().zip(&self.by_operation) {
            for (class, count) in counts.classes.iter().enumerate() {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    let (name, class) = (row.name, class + 2);
                    let labels = format!("operation=\"{name}\",status=\"{class}xx\"");
                    let _ = writeln!(out, "traaviis_requests_total{{{labels}}} {count}");
                }
            }
        }
        out += "# HELP traaviis_request_seconds time until the answer\n\
                # TYPE traaviis_request_seconds histogram\n";
        for (row, counts) in OPERATIONS.iter().zip(&self.by_operation) {
            let all: u64 = counts.classes.iter().map(|it| it.load(Ordering::Relaxed)).sum();
            if all == 0 {
                continue;
            }
            let name = row.name;
            for (bucket, bound) in counts.buckets.iter().zip(BOUNDS) {
                let count = bucket.load(Ordering::Relaxed);
                let labels = format!("operation=\"{name}\",le=\"{bound}\"");
                let _ = writeln!(out, "traaviis_request_seconds_bucket{{{labels}}} {count}");
            }
            let seconds = counts.micros.load(Ordering::Relaxed) as f64 / 1e6;
            let _ = write!(
                out,
                "traaviis_request_seconds_bucket{{operation=\"{name}\",le=\"+Inf\"}} {all}\n\
                 traaviis_request_seconds_sum{{operation=\"{name}\"}} {seconds}\n\
                 traaviis_request_seconds_count{{operation=\"{name}\"}} {all}\n"
            );
        }
        out
    }
}

/// Returns the memory of this process; 0 where the system does not tell.
fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"));
    let kib = line.and_then(|it| it.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1_024
}
