//! How much memory the states of open instances take, as the command line tells it.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};
use traaviis_runtime::{
    HotStats,
    owner::{Level, Relief},
};

/// Returns how the memory of a running process stands.
pub fn status(stats: &HotStats) -> Json {
    let pressure = &stats.pressure;
    json!({
        "active": stats.active,
        "resting": stats.resting,
        "bytes": stats.bytes,
        "pressure": pressure.reliefs,
        "last": pressure.last.as_ref().map(relief),
        "waiting": pressure.waiting,
        "refused": pressure.refused,
    })
}

fn relief(relief: &Relief) -> Json {
    json!({
        "event": "performance.memory.pressure",
        "at": relief.at,
        "level": relief.level.number(),
        "before": relief.before,
        "after": relief.after,
        "evicted": relief.evicted,
    })
}

/// Returns the same as Prometheus reads it.
pub fn metrics(stats: &HotStats) -> String {
    let mut text = String::new();
    let pressure = &stats.pressure;
    let mut tell = |name: &str, kind: &str, values: &[(String, u64)]| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# TYPE {name} {kind}");
        for (labels, value) in values {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    let one = |value: u64| [(String::new(), value)];
    let of_level = |level: Level| {
        let number = level.number();
        (format!("{{level=\"{number}\"}}"), pressure.reliefs[number - 1])
    };
    tell("traaviis_memory_states_bytes", "gauge", &one(stats.bytes as u64));
    tell("traaviis_memory_states_active", "gauge", &one(stats.active as u64));
    tell("traaviis_memory_states_resting", "gauge", &one(stats.resting as u64));
    tell("traaviis_memory_pressure_total", "counter", &Level::ALL.map(of_level));
    tell("traaviis_memory_starts_waiting", "gauge", &one(pressure.waiting as u64));
    tell("traaviis_memory_starts_refused_total", "counter", &one(pressure.refused));
    text
}

#[cfg(test)]
mod tests {
    use traaviis_model::Timestamp;

    use super::*;

    #[test]
    fn each_metric_has_its_type_once() {
        let mut stats = HotStats { bytes: 7, ..HotStats::default() };
        stats.pressure.reliefs = [1, 0, 3];
        let (at, level) = (Timestamp(0), Level::Oldest);
        stats.pressure.last = Some(Relief { at, level, before: 9, after: 7, evicted: 1 });
        expect_test::expect![[r#"
            # TYPE traaviis_memory_states_bytes gauge
            traaviis_memory_states_bytes 7
            # TYPE traaviis_memory_states_active gauge
            traaviis_memory_states_active 0
            # TYPE traaviis_memory_states_resting gauge
            traaviis_memory_states_resting 0
            # TYPE traaviis_memory_pressure_total counter
            traaviis_memory_pressure_total{level="1"} 1
            traaviis_memory_pressure_total{level="2"} 0
            traaviis_memory_pressure_total{level="3"} 3
            # TYPE traaviis_memory_starts_waiting gauge
            traaviis_memory_starts_waiting 0
            # TYPE traaviis_memory_starts_refused_total counter
            traaviis_memory_starts_refused_total 0
        "#]]
        .assert_eq(&metrics(&stats));
        assert_eq!(status(&stats)["last"]["level"], 3);
    }
}
