use crate::cli::World;

/// Keeps the benchmarks from rotting; the numbers of so small a run mean nothing.
#[test]
fn a_tiny_run_measures_everything() {
    measures("engine", 20);
}

#[test]
fn a_tiny_run_measures_the_storage() {
    measures("storage", 21);
}

#[test]
fn a_tiny_run_measures_the_server() {
    measures("server", 60);
}

#[test]
fn a_tiny_run_measures_many_tenants() {
    measures("tenants", 20);
}

#[test]
fn a_tiny_run_measures_sockets() {
    measures("sockets", 10);
}

#[test]
fn a_tiny_run_measures_waiting_instances_beside_sockets() {
    measures("parked", 10);
}

fn measures(suite: &str, least: usize) {
    let world = World::new();
    let output = world.run(&["bench", suite, "--tiny", "--json", "--dir", "bench"]);
    assert_eq!(output.status.code(), Some(0), "{}", world.shown(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = report["rows"].as_array().unwrap();
    assert!(rows.len() >= least, "{report:#}");
    for row in rows {
        assert!(row["median"].as_f64().is_some_and(f64::is_finite), "{row}");
    }
}
