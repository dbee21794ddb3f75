//! Twelve bugs, each planted alone: the programme or the simulation must find every one.
//!
//! Both are builds of their own, with the feature `planted-bugs`; without a bug chosen they must
//! find nothing.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use traaviis_ports::planted::Bug;

use crate::report::Row;

/// Chooses the bug.
const VARIABLE: &str = "TRAAVIIS_PLANTED_BUG";

/// The builds with bugs.
#[derive(Clone, Debug)]
pub struct Builds {
    /// The tests of the runtime, with the simulation among them.
    pub simulation: PathBuf,
    /// This programme.
    pub programme: PathBuf,
}

/// What can find a bug, in the order in which it is asked.
const FINDERS: &[(&str, Finder)] = &[("simulation", simulate), ("kill -9", kill)];

type Finder = fn(&Builds, Option<Bug>) -> anyhow::Result<Option<String>>;

/// Runs the layer: one row for no bug, and one for each.
pub fn layer(builds: &Builds) -> Vec<Row> {
    let bugs = std::iter::once(None).chain(Bug::ALL.into_iter().map(Some));
    bugs.map(|bug| find(builds, bug)).collect()
}

fn find(builds: &Builds, bug: Option<Bug>) -> Row {
    let begun = Instant::now();
    let name = format!("planted: {}", bug.map_or("nothing", Bug::name));
    let mut row = Row { name, runs: 1, ..Row::default() };
    for (by, finder) in FINDERS {
        match finder(builds, bug) {
            Ok(Some(told)) => {
                let told: String = told.chars().take(90).collect();
                row.figures = format!("found by {by}: {told}");
                break;
            }
            Ok(None) => {}
            Err(error) => row.findings.push(format!("{by} does not run: {error:#}")),
        }
    }
    match (bug, row.figures.is_empty()) {
        (Some(_), true) => row.findings.push("nobody finds it".into()),
        (None, false) => row.findings.push(format!("a false alarm: {}", row.figures)),
        (None, true) => row.figures = "and nothing is found".into(),
        (Some(_), false) => {}
    }
    row.took = begun.elapsed();
    row
}

fn command(program: &Path, bug: Option<Bug>) -> Command {
    let mut command = Command::new(program);
    command.env_remove(VARIABLE).envs(bug.map(|it| (VARIABLE, it.name())));
    command
}

fn simulate(builds: &Builds, bug: Option<Bug>) -> anyhow::Result<Option<String>> {
    let mut command = command(&builds.simulation, bug);
    command.args(["simulation", "--test-threads", "1"]);
    let output = command.env("SIM_SEEDS", "40").env("SIM_OPS", "1500").output()?;
    if output.status.success() {
        return Ok(None);
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    // The line after the place of the panic is what it said.
    let mut lines = said.lines().skip_while(|it| !it.contains("panicked at")).skip(1);
    let told = lines.next().filter(|it| it.len() > 2).unwrap_or("it failed");
    Ok(Some(told.to_string()))
}

fn kill(builds: &Builds, bug: Option<Bug>) -> anyhow::Result<Option<String>> {
    programme(builds, bug, &["--only", "kills", "--rounds", "5"])
}

fn programme(
    builds: &Builds,
    bug: Option<Bug>,
    arguments: &[&str],
) -> anyhow::Result<Option<String>> {
    let mut command = command(&builds.programme, bug);
    let output = command.args(arguments).arg("--json").output()?;
    let told: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let layers = told["layers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = layers.iter().flat_map(|it| it["findings"].as_array().into_iter().flatten());
    Ok(found.filter_map(|it| it.as_str()).next().map(String::from))
}
