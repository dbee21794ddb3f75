//! Numbers about requests and sockets, told beside those of what runs behind the server.
//! Labels come from the table of operations and from lists of codes, so nobody can make more of
//! them.

mod exposition;
mod kept;

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use traaviis_api::{
    operation::{BASE, OPERATIONS, Op},
    problem::status_of,
};
use traaviis_model::times::Times;
use traaviis_platform::engine::ComponentStatus;

use crate::App;
pub use exposition::{Exposition, Family, Kind, Reading, SERIES_MAX, Sample};

/// Codes of refusals that are told apart; there are fewer, and others are `other`.
const CODES_MAX: usize = 200;

/// Statuses that operations answer with; others are the last.
const STATUSES: [u16; 24] = [
    200, 201, 202, 204, 400, 401, 402, 403, 404, 405, 406, 408, 409, 410, 412, 413, 415, 422, 428,
    429, 500, 502, 503, 504,
];

/// Numbers of one operation.
#[derive(Debug, Default)]
struct Counts {
    /// Answers by status; the last takes what is in no list.
    statuses: [AtomicU64; STATUSES.len() + 1],
    times: Times,
}

/// All numbers.
#[derive(Debug)]
pub struct Metrics {
    begun: Instant,
    by_operation: Vec<Counts>,
    refusals: Mutex<BTreeMap<String, u64>>,
    sockets_opened: AtomicU64,
    sockets_refused: AtomicU64,
    sockets_joined: AtomicU64,
    sockets_too_slow: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let by_operation = OPERATIONS.iter().map(|_| Counts::default()).collect();
        Metrics {
            begun: Instant::now(),
            by_operation,
            refusals: Mutex::default(),
            sockets_opened: AtomicU64::default(),
            sockets_refused: AtomicU64::default(),
            sockets_joined: AtomicU64::default(),
            sockets_too_slow: AtomicU64::default(),
        }
    }
}

/// What happened to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketEvent {
    /// It was opened.
    Opened,
    /// It was not let in.
    Refused,
    /// It joined a topic.
    Joined,
    /// Its client did not keep up.
    TooSlow,
}

impl Metrics {
    /// Counts an answer.
    pub fn answered(&self, op: Op, status: u16, took: Duration) {
        let Some(counts) = self.by_operation.get(op as usize) else { return };
        let known = STATUSES.iter().position(|it| *it == status).unwrap_or(STATUSES.len());
        counts.statuses[known].fetch_add(1, Ordering::Relaxed);
        counts.times.note(took);
    }

    /// Counts a refusal.
    pub fn refused(&self, code: &str) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = refusals.get_mut(code) {
            *count += 1;
            return;
        }
        let name = if refusals.len() < CODES_MAX { code } else { "other" };
        *refusals.entry(name.to_owned()).or_default() += 1;
    }

    /// Counts what happened to a socket.
    pub fn socket(&self, event: SocketEvent) {
        let counter = match event {
            SocketEvent::Opened => &self.sockets_opened,
            SocketEvent::Refused => &self.sockets_refused,
            SocketEvent::Joined => &self.sockets_joined,
            SocketEvent::TooSlow => &self.sockets_too_slow,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the numbers as Prometheus reads them.
    pub fn text(&self, app: &App) -> String {
        self.read(app).text()
    }

    /// Returns all numbers, as they are now.
    pub fn read(&self, app: &App) -> Exposition {
        let mut out = Exposition::default();
        out.one("traaviis_uptime_seconds", Kind::Gauge, "time since the server began", || {
            self.begun.elapsed().as_secs_f64()
        });
        out.one("process_resident_memory_bytes", Kind::Gauge, "memory in use", || {
            resident_bytes() as f64
        });
        self.tell_requests(&mut out);
        self.tell_security(&mut out);
        out.one("traaviis_sockets", Kind::Gauge, "open sockets", || app.hub.count() as f64);
        let name = "traaviis_limited_keys";
        out.one(name, Kind::Gauge, "keys that limits remember", || app.limits.keys() as f64);
        let events = [
            ("traaviis_socket_connected_total", "sockets that were opened", &self.sockets_opened),
            ("traaviis_socket_refused_total", "sockets not let in", &self.sockets_refused),
            ("traaviis_socket_joined_total", "topics that were joined", &self.sockets_joined),
            ("traaviis_socket_too_slow_total", "sockets closed as slow", &self.sockets_too_slow),
        ];
        for (name, help, counter) in events {
            out.one(name, Kind::Counter, help, || counter.load(Ordering::Relaxed) as f64);
        }
        kept::tell(&app.platform, &mut out);
        let name = "traaviis_component_status";
        out.family(name, Kind::Gauge, "how parts stand: 0 well, 1 not wholly, 2 failed");
        for part in app.components() {
            let status = match part.status {
                ComponentStatus::Ok => 0.0,
                ComponentStatus::Degraded => 1.0,
                ComponentStatus::Failed => 2.0,
            };
            out.sample(&[("component", part.name)], status);
        }
        (app.operations.numbers)(&mut out);
        out
    }

    fn tell_requests(&self, out: &mut Exposition) {
        let rows = || OPERATIONS.iter().zip(&self.by_operation);
        let name = "traaviis_http_requests_total";
        out.family(name, Kind::Counter, "answers by operation and status");
        for (row, counts) in rows() {
            let route = format!("{BASE}{}", row.path);
            for (at, count) in counts.statuses.iter().enumerate() {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    let status = STATUSES.get(at).map_or("other".into(), u16::to_string);
                    let labels = [
                        ("operation", row.name),
                        ("method", row.method.as_str()),
                        ("route", &route),
                        ("status", &status),
                    ];
                    out.sample(&labels, count as f64);
                }
            }
        }
        let name = "traaviis_http_request_duration_seconds";
        out.family(name, Kind::Histogram, "time until the answer");
        for (row, counts) in rows() {
            let route = format!("{BASE}{}", row.path);
            out.times(&[("operation", row.name), ("route", &route)], &counts.times.counted());
        }
    }

    fn tell_security(&self, out: &mut Exposition) {
        let login = &self.by_operation[Op::Login as usize];
        let (mut done, mut failed) = (0, 0);
        for (at, count) in login.statuses.iter().enumerate() {
            match STATUSES.get(at) {
                Some(200..=299) => done += count.load(Ordering::Relaxed),
                _ => failed += count.load(Ordering::Relaxed),
            }
        }
        let name = "traaviis_auth_login_total";
        out.family(name, Kind::Counter, "logins by how they ended");
        out.sample(&[("result", "succeeded")], done as f64);
        out.sample(&[("result", "failed")], failed as f64);
        let refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let denied: u64 = refusals.iter().filter(|it| status_of(it.0) == 403).map(|it| it.1).sum();
        let help = "requests of callers who have no right to what they asked for";
        out.one("traaviis_security_denied_total", Kind::Counter, help, || denied as f64);
        let name = "traaviis_http_refusals_total";
        out.family(name, Kind::Counter, "refused requests by code");
        for (code, count) in &refusals {
            out.sample(&[("code", code)], *count as f64);
        }
    }
}

/// Returns the memory of this process; 0 where the system does not tell.
fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"));
    let kib = line.and_then(|it| it.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1_024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_no_more_codes_than_the_limit() {
        let metrics = Metrics::default();
        (0..CODES_MAX * 2).for_each(|it| metrics.refused(&format!("code_{it}")));
        let refusals = metrics.refusals.lock().unwrap();
        assert_eq!(refusals.len(), CODES_MAX + 1);
        assert_eq!(refusals["other"], CODES_MAX as u64);
    }
}
