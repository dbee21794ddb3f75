//! The fault programme: breaks what can break, then looks whether everything promised still holds.
//!
//! ```text
//! layer ──> worker (a process that works)     one fault: kill, power, a call that fails, damage
//!   │           │ tells what clients know
//!   └──> verify (opens the directory again) ──> evidence ──> testkit::history, I1 to I10
//! ```
//!
//! Reading order: [`world`] (what a process is), [`worker`] (what is broken), [`child`] (who hears
//! it), [`verify`] (what is checked), [`layers`] (what breaks it), [`report`] (what is printed).
//! `cargo xtask faults` builds all of it and runs it; the simulation of the runtime's tests, which
//! breaks more and faster on a simulated disk, shares the checker.
//!
//! Nothing here is part of a release. A layer that cannot run on a machine says why.

pub mod child;
pub mod layers;
pub mod report;
pub mod verify;
pub mod worker;
pub mod world;

use std::{path::PathBuf, process::ExitCode};

use layers::{Size, clocks, corruption, crash_points, kills, planted, power, room, shipped};
use report::Row;
use worker::Work;

const HELP: &str = "\
Usage: faults [OPTIONS]

Options:
  --quick              what CI runs, in some minutes; the default
  --full               what is run before a release
  --json               print the table as JSON
  --only LAYER         run only this one; may be repeated: shipped, crash-points, kills, power,
                       corruption, room, clocks, planted
  --rounds N           kills, cuts or damages, instead of the usual number
  --seed N             repeats the choices of a run, as far as a scheduler allows
  --simulation FILE    tests of the runtime, built with planted bugs
  --programme FILE     this program, built with planted bugs

TRAAVIIS_STORAGE=json-only keeps everything as text, without a database.
";

/// What is asked for on the command line.
struct Options {
    size: Size,
    json: bool,
    only: Vec<String>,
    rounds: Option<u64>,
    seed: u64,
    simulation: Option<PathBuf>,
    programme: Option<PathBuf>,
}

/// Runs the programme, or a worker of it.
pub fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("worker", rest)) = arguments.split_first().map(|(it, rest)| (it.as_str(), rest)) {
        let ended = Work::parse(rest).and_then(|work| worker::run(&work));
        return match ended {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        };
    }
    match parse(&arguments) {
        Ok(options) => programme(&options),
        Err(why) => {
            eprintln!("{why}\n\n{HELP}");
            ExitCode::from(2)
        }
    }
}

fn parse(arguments: &[String]) -> Result<Options, String> {
    let mut options = Options {
        size: Size::Quick,
        json: false,
        only: Vec::new(),
        rounds: None,
        seed: world::seconds_since_boot(),
        simulation: None,
        programme: None,
    };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("`{argument}` wants a value"));
        let number = |text: &String| text.parse().map_err(|_| format!("`{text}` is no number"));
        match argument.as_str() {
            "--quick" => options.size = Size::Quick,
            "--full" => options.size = Size::Full,
            "--json" => options.json = true,
            "--only" => options.only.push(value()?.clone()),
            "--rounds" => options.rounds = Some(number(value()?)?),
            "--seed" => options.seed = number(value()?)?,
            "--simulation" => options.simulation = Some(value()?.into()),
            "--programme" => options.programme = Some(value()?.into()),
            other => return Err(format!("cannot understand `{other}`")),
        }
    }
    let known = |name: &String| LAYERS.contains(&name.as_str());
    match options.only.iter().find(|it| !known(it)) {
        Some(unknown) => Err(format!("there is no layer `{unknown}`")),
        None => Ok(options),
    }
}

/// Names of the layers, in the order in which they run.
const LAYERS: &[&str] =
    &["shipped", "crash-points", "kills", "power", "corruption", "room", "clocks", "planted"];

fn programme(options: &Options) -> ExitCode {
    let Options { size, rounds, seed, .. } = *options;
    eprintln!("seed {seed}");
    let mut rows: Vec<Row> = Vec::new();
    for name in LAYERS {
        if !options.only.is_empty() && !options.only.iter().any(|it| it == name) {
            continue;
        }
        let done = match *name {
            "shipped" => shipped::layer(),
            "crash-points" => crash_points::layer(size),
            "kills" => kills::layer(size, rounds, seed),
            "power" => power::layer(size, rounds, seed),
            "corruption" => corruption::layer(size, rounds, seed),
            "room" => room::layer(size, seed),
            "clocks" => clocks::layer(size, seed),
            _ => planted_bugs(options),
        };
        done.iter().for_each(Row::tell);
        rows.extend(done);
    }
    match options.json {
        true => println!("{}", report::json(&rows)),
        false => println!("\n{}", report::table(&rows)),
    }
    let broken = rows.iter().any(|it| !it.findings.is_empty());
    if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn planted_bugs(options: &Options) -> Vec<Row> {
    let builds = options.simulation.clone().zip(options.programme.clone());
    match builds {
        Some((simulation, programme)) => planted::layer(&planted::Builds { simulation, programme }),
        None => vec![Row::skipped(
            "planted bugs",
            "there is no build with bugs; `cargo xtask faults` makes one",
        )],
    }
}
