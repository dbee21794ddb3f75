//! Loads of other kinds than steady events, each measured once, in a process of its own, with the
//! most memory that it took at any time.
//!
//! A part is a function that measures and answers numbers by key, and a table that says what they
//! mean.

mod breakers;
mod children;
mod drain;
mod long_run;
mod timers;
mod tree;
mod upgrade;

use std::{fs, path::Path};

use clap::ValueEnum as _;
use serde_json::{Value as Json, json};

use super::{
    child, facts,
    report::{Goal, Report, Unit},
    storage,
};
use crate::{exit::Exit, output::Output};

/// What a process measures alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Time until a directory is ready.
    Open,
    /// Waiting instances.
    Park,
    /// One instance with so many records.
    LongRun,
    /// So many instances that end at once, beside busy ones, with and without the index.
    Drain,
    /// So many timers, a thousand due each second.
    Timers,
    /// So many children.
    Children,
    /// Calls behind a circuit breaker, for so many milliseconds.
    Breakers,
    /// So many waiting instances that go on with another version.
    Upgrade,
    /// So many instances that rest, with the document tree, after busy ones with and without it.
    Tree,
    /// So many waiting instances, started for the storage benchmark.
    StorageStart,
    /// The same, found again.
    Storage,
}

/// One number of an answer. `COUNT` in the name stands for how much was measured.
struct Row {
    key: &'static str,
    name: &'static str,
    unit: Unit,
    goal: Option<Goal>,
}

impl Row {
    const fn of(key: &'static str, name: &'static str, unit: Unit) -> Row {
        Row { key, name, unit, goal: None }
    }

    const fn aims_at(self, goal: Goal) -> Row {
        Row { goal: Some(goal), ..self }
    }
}

/// Bytes that a process of any kind may take.
const PEAK_GOAL: Goal = Goal::Most(256.0);

impl Part {
    /// Returns the word for the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map(|it| it.get_name().to_string()).unwrap_or_default()
    }

    /// Measures, in a child.
    pub fn run(self, dir: &Path, count: usize, output: &Output) -> anyhow::Result<Exit> {
        fs::create_dir_all(dir)?;
        let mut answer = match self {
            Part::Open => return child::open(dir, output),
            Part::Park => return child::park(dir, count, output),
            Part::LongRun => long_run::measure(dir, count)?,
            Part::Drain => drain::measure(dir, count)?,
            Part::Timers => timers::measure(dir, count)?,
            Part::Children => children::measure(dir, count)?,
            Part::Breakers => breakers::measure(dir, count)?,
            Part::Upgrade => upgrade::measure(dir, count)?,
            Part::Tree => tree::measure(dir, count)?,
            Part::StorageStart => storage::start(dir, count)?,
            Part::Storage => {
                let data = child::open_data(dir)?;
                output.json(&json!({ "ready": true }));
                output.json(&storage::measure(&data, count)?);
                data.close()?;
                return Ok(Exit::Ok);
            }
        };
        answer["peak"] = megabytes(facts::peak_bytes());
        output.json(&json!({ "ready": true }));
        output.json(&answer);
        Ok(Exit::Ok)
    }

    fn rows(self) -> &'static [Row] {
        match self {
            Part::Open | Part::Park | Part::StorageStart | Part::Storage => &[],
            Part::LongRun => long_run::ROWS,
            Part::Drain => drain::ROWS,
            Part::Timers => timers::ROWS,
            Part::Children => children::ROWS,
            Part::Breakers => breakers::ROWS,
            Part::Upgrade => upgrade::ROWS,
            Part::Tree => tree::ROWS,
        }
    }
}

/// Measures a part and adds what it gave.
pub fn measure(part: Part, count: usize, dir: &Path, report: &mut Report) -> anyhow::Result<()> {
    let dir = dir.join(part.name());
    let (mut answer, _) = child::run(part, count, &dir)?;
    if part == Part::LongRun {
        let (opened, time) = child::run(Part::Open, 0, &dir)?;
        answer["ready"] = json!(time.as_secs_f64());
        answer["ready_peak"] = opened["peak"].clone();
    }
    for row in part.rows() {
        let name = row.name.replace("COUNT", &count.to_string());
        report.add(&name, row.unit, row.goal, child::number(&answer, row.key));
    }
    fs::remove_dir_all(&dir)?;
    Ok(())
}

/// Returns bytes as the table shows them.
pub fn megabytes(bytes: u64) -> Json {
    json!(bytes as f64 / 1e6)
}
