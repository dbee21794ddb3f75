//! `traaviis validate`: everything that reading and analysis say about workflow files.

use std::path::PathBuf;

use serde_json::json;
use traaviis_engine::analysis;
use traaviis_model::definition::{Definition, Effect, State, StateKind};

use crate::{
    document::{self, Checked},
    exit::Exit,
    output::Output,
};

/// Checks workflow files.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Workflow files, YAML or JSON.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Make errors of the warnings W201, W202, W205, W207 and W209.
    #[arg(long)]
    strict: bool,
    /// Exit with 1 when there are warnings.
    #[arg(long)]
    deny_warnings: bool,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let mut exit = Exit::Ok;
    for file in &args.files {
        let mut checked = document::check(file)?;
        if args.strict {
            analysis::make_strict(&mut checked.diagnostics);
        }
        let denied = if args.deny_warnings { checked.warnings().count() } else { 0 };
        if checked.has_errors() || denied > 0 {
            exit = Exit::Finding;
        }
        let counts = checked.definition.as_deref().map(Counts::of);
        if output.is_json() {
            let mut value = checked.to_json();
            if let (false, Some(counts)) = (checked.has_errors(), &counts) {
                value["counts"] = json!({
                    "states": counts.states,
                    "events": counts.events,
                    "effects": counts.effects,
                });
            }
            output.json(&value);
            continue;
        }
        output.text(&checked.report(output.style()));
        if let (false, Some(counts)) = (checked.has_errors(), counts) {
            output.line(&summary(&checked, &counts, denied));
        }
    }
    Ok(exit)
}

fn summary(checked: &Checked, counts: &Counts, denied: usize) -> String {
    let Some(definition) = &checked.definition else { return String::new() };
    let hash = definition.hash.to_string();
    format!(
        "{}: {} {} is valid ({} states, {} events, {} effects; hash {}){}",
        checked.file,
        definition.name,
        definition.version,
        counts.states,
        counts.events,
        counts.effects,
        &hash[..16],
        match denied {
            0 => String::new(),
            1 => ", but a warning is denied".into(),
            count => format!(", but {count} warnings are denied"),
        }
    )
}

#[derive(Debug, Default)]
struct Counts {
    states: usize,
    events: usize,
    effects: usize,
}

impl Counts {
    fn of(definition: &Definition) -> Counts {
        let mut counts = Counts { events: definition.events.len(), ..Counts::default() };
        definition.states.iter().for_each(|it| counts.state(it));
        counts
    }

    fn state(&mut self, state: &State) {
        self.states += 1;
        state.invoke.iter().for_each(|it| self.effect(&it.effect));
        if let StateKind::Compound { states, .. } | StateKind::Parallel { states } = &state.kind {
            states.iter().for_each(|it| self.state(it));
        }
    }

    fn effect(&mut self, effect: &Effect) {
        self.effects += 1;
        effect.parts().into_iter().for_each(|it| self.effect(it));
    }
}
