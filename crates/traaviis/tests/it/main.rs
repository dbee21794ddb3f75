//! Whole commands: what a person types, what they see, and how the process ends.

mod bench;
mod cli;
mod data;
mod doctor;
mod fmt;
mod graph;
mod kill;
mod log;
mod run;
mod simulate;
mod socket;
mod validate;

/// A module that is not named above would never run.
#[test]
fn no_test_file_is_forgotten() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let main = std::fs::read_to_string(folder.join("main.rs")).unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let module = name.trim_end_matches(".rs");
        assert!(module == "main" || main.contains(&format!("mod {module};")), "{name}");
    }
}
