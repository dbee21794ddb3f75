use crate::cli::World;

/// Keeps the benchmark from rotting; the numbers of so small a run mean nothing.
#[test]
fn a_tiny_run_measures_everything() {
    let world = World::new();
    let output = world.run(&["bench", "engine", "--tiny", "--json", "--dir", "bench"]);
    assert_eq!(output.status.code(), Some(0), "{}", world.shown(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = report["rows"].as_array().unwrap();
    assert!(rows.len() >= 20, "{report:#}");
    for row in rows {
        assert!(row["median"].as_f64().is_some_and(f64::is_finite), "{row}");
    }
}
