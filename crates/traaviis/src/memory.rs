//! How much memory the states of open instances take, as the command line tells it.

use serde_json::{Value as Json, json};
use traaviis_runtime::{
    HotStats,
    owner::{Level, Relief},
};
use traaviis_server::metrics::{Exposition, Kind};

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

/// Tells the same as numbers.
pub fn tell(stats: &HotStats, out: &mut Exposition) {
    let pressure = &stats.pressure;
    let mut gauge = |name: &str, help: &str, value: usize| {
        out.one(name, Kind::Gauge, help, || value as f64);
    };
    gauge("traaviis_memory_states_bytes", "memory of states of instances", stats.bytes);
    gauge("traaviis_memory_states_active", "instances whose state is in memory", stats.active);
    gauge("traaviis_memory_states_resting", "instances whose state rests on disk", stats.resting);
    let name = "traaviis_memory_pressure_total";
    out.family(name, Kind::Counter, "times that states were put to rest for want of memory");
    for level in Level::ALL {
        let number = level.number();
        out.sample(&[("level", &number.to_string())], pressure.reliefs[number - 1] as f64);
    }
    let (name, help) = ("traaviis_memory_starts_waiting", "starts that wait for memory");
    out.one(name, Kind::Gauge, help, || pressure.waiting as f64);
    let (name, help) =
        ("traaviis_memory_starts_refused_total", "starts refused for want of memory");
    out.one(name, Kind::Counter, help, || pressure.refused as f64);
}

/// Returns them as Prometheus reads them.
pub fn metrics(stats: &HotStats) -> String {
    let mut out = Exposition::default();
    tell(stats, &mut out);
    out.text()
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
            # HELP traaviis_memory_states_bytes memory of states of instances
            # TYPE traaviis_memory_states_bytes gauge
            traaviis_memory_states_bytes 7
            # HELP traaviis_memory_states_active instances whose state is in memory
            # TYPE traaviis_memory_states_active gauge
            traaviis_memory_states_active 0
            # HELP traaviis_memory_states_resting instances whose state rests on disk
            # TYPE traaviis_memory_states_resting gauge
            traaviis_memory_states_resting 0
            # HELP traaviis_memory_pressure_total times that states were put to rest for want of memory
            # TYPE traaviis_memory_pressure_total counter
            traaviis_memory_pressure_total{level="1"} 1
            traaviis_memory_pressure_total{level="2"} 0
            traaviis_memory_pressure_total{level="3"} 3
            # HELP traaviis_memory_starts_waiting starts that wait for memory
            # TYPE traaviis_memory_starts_waiting gauge
            traaviis_memory_starts_waiting 0
            # HELP traaviis_memory_starts_refused_total starts refused for want of memory
            # TYPE traaviis_memory_starts_refused_total counter
            traaviis_memory_starts_refused_total 0
        "#]]
        .assert_eq(&metrics(&stats));
        assert_eq!(status(&stats)["last"]["level"], 3);
    }
}
