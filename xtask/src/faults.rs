//! `cargo xtask faults`: builds the fault programme, with and without planted bugs, and runs it.
//!
//! The builds with bugs have names of their own, so that no shipped binary is ever one of them; the
//! programme looks into the shipped one to be sure.

use std::path::PathBuf;

use serde_json::Value;

use crate::{Error, binaries, cargo, output, run as run_command};

/// The feature that lets bugs be planted.
const FEATURE: &str = "planted-bugs";

/// Runs the programme; what it is told is passed on.
pub fn run(args: &[String]) -> Result<(), Error> {
    run_command(&mut cargo(&["build", "--release", "--workspace", "--bins"]))?;
    let folder = binaries()?;
    let mut programme = std::process::Command::new(folder.join("faults"));
    programme.args(args);
    let is_asked_for = |name: &str| args.windows(2).any(|it| it[0] == "--only" && it[1] == name);
    if !args.iter().any(|it| it == "--only") || is_asked_for("planted") {
        programme.arg("--simulation").arg(simulation()?);
        let feature = format!("traaviis-faults/{FEATURE}");
        let build = ["build", "--release", "--workspace", "--bin", "faults-planted", "--features"];
        run_command(cargo(&build).arg(feature))?;
        programme.arg("--programme").arg(folder.join("faults-planted"));
    }
    run_command(&mut programme)
}

/// Rounds of each layer that is run with json-only storage.
const JSON_ONLY_ROUNDS: &str = "12";

/// Runs the layers that break the log once more, with the log as text and without a database.
pub fn run_json_only() -> Result<(), Error> {
    run_command(&mut cargo(&["build", "--release", "--workspace", "--bins"]))?;
    let mut programme = std::process::Command::new(binaries()?.join("faults"));
    programme.args(["--quick", "--rounds", JSON_ONLY_ROUNDS]);
    for layer in ["kills", "power", "corruption"] {
        programme.args(["--only", layer]);
    }
    run_command(programme.env("TRAAVIIS_STORAGE", "json-only"))
}

/// Builds the tests of the runtime with bugs; returns where they are.
fn simulation() -> Result<PathBuf, Error> {
    let mut build = cargo(&["test", "--release", "-p", "traaviis-runtime", "--test", "it"]);
    build.args(["--no-run", "--message-format", "json", "--features", FEATURE]);
    let told = output(&mut build)?;
    let messages = told.lines().filter_map(|it| serde_json::from_str::<Value>(it).ok());
    let mut built = messages.filter_map(|it| it["executable"].as_str().map(PathBuf::from));
    built.next_back().ok_or_else(|| "cargo names no binary of the simulation".into())
}
