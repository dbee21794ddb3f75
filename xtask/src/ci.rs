//! `cargo xtask ci`: the steps of CI, in order of how soon they tell, each with its time.

use std::time::{Duration, Instant};

use crate::{Error, cargo, commands, faults, licences, run as run_command, test_run};

type Step = (&'static str, fn() -> Result<(), Error>);

const STEPS: &[Step] = &[
    ("format", || run_command(&mut cargo(&["fmt", "--all", "--", "--check"]))),
    ("tidy", commands::tidy),
    ("clippy", || {
        let mut clippy = cargo(&["clippy", "--release", "--workspace", "--all-targets"]);
        run_command(clippy.args(["--", "-D", "warnings"]))
    }),
    ("documentation", || {
        let mut doc = cargo(&["doc", "--release", "--workspace", "--no-deps"]);
        // Modules tell of their private parts: these pages are for who works on the project.
        doc.arg("--document-private-items");
        run_command(doc.env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private_intra_doc_links"))
    }),
    ("dependencies", dependencies),
    ("generated files", || commands::generate(commands::Generate::Check)),
    ("tests", || commands::test(&[])),
    ("simulation", simulation),
    ("faults", || faults::run(&["--quick".into()])),
    ("faults of json-only storage", faults::run_json_only),
];

/// Runs every step and stops at the first that fails.
pub fn run() -> Result<(), Error> {
    let begun = Instant::now();
    for (number, (name, step)) in STEPS.iter().enumerate() {
        println!("\n=== {}/{} {name}", number + 1, STEPS.len());
        let step_begun = Instant::now();
        let outcome = step();
        let took = seconds(step_begun.elapsed());
        match outcome {
            Ok(()) => println!("=== {name}: passed in {took}"),
            Err(error) => {
                println!("=== {name}: FAILED after {took}");
                return Err(format!("step `{name}` failed: {error}"));
            }
        }
    }
    println!("\n=== everything passed in {}", seconds(begun.elapsed()));
    Ok(())
}

/// Seeds that CI simulates, in eight minutes. `cargo xtask test` takes 50 of 500 operations
/// (docs/guides/testing.md).
const SIM_SEEDS: &str = "500";
/// Operations of each of them.
const SIM_OPS: &str = "5000";

/// Crashes, torn writes and full disks, at length: most of the time of CI.
fn simulation() -> Result<(), Error> {
    // With the features of the whole workspace, for which everything is built already.
    let mut test = cargo(&["test", "--release", "--workspace", "--test", "it"]);
    test.args(["simulation::whatever", "--", "--nocapture"]);
    test_run::run(test.env("SIM_SEEDS", SIM_SEEDS).env("SIM_OPS", SIM_OPS))
}

/// Checks licences and sources, and with `cargo deny`, where it is installed, bans as well.
fn dependencies() -> Result<(), Error> {
    licences::check()?;
    let installed = cargo(&["deny", "--version"]).output().is_ok_and(|it| it.status.success());
    if installed {
        run_command(&mut cargo(&["deny", "--offline", "check", "bans", "licenses", "sources"]))?;
    }
    Ok(())
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
