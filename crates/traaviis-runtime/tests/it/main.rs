//! Tests of the runtime from outside: the owner by itself, restarts, threads, one simulation.

mod owner;
mod recovery;
mod runtime;
mod simulation;
mod support;
mod throughput;

/// A file that nobody lists is a test that nobody runs.
#[test]
fn no_file_is_forgotten() {
    let listed = include_str!("main.rs");
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it");
    for entry in std::fs::read_dir(dir).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let module = name.trim_end_matches(".rs");
        assert!(module == "main" || listed.contains(&format!("mod {module};")), "{name}");
    }
}
