//! `traaviis validate`: everything that reading and analysis say about workflow files.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use serde_json::json;
use traaviis_design::{format::format, tree::Tree};
use traaviis_engine::{Machine, analysis};
use traaviis_model::{
    Text,
    definition::{Definition, Effect, State, StateKind},
    document::{Format, read_tree},
    grant::GrantKind,
};

use crate::{
    document::{self, Checked},
    exit::Exit,
    output::Output,
};

/// Checks workflow files.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Workflow files, YAML or JSON. Default: `workflow.yaml` in this folder.
    files: Vec<PathBuf>,
    /// Make errors of the warnings W201, W202, W205, W206, W207 and W209.
    #[arg(long)]
    strict: bool,
    /// Print each document with its components merged into it, as it is hashed and run, and what it
    /// may reach.
    #[arg(long)]
    expand: bool,
    /// Exit with 1 when there are warnings.
    #[arg(long)]
    deny_warnings: bool,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let mut exit = Exit::Ok;
    for file in &document::asked(&args.files)? {
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
            if let (true, Some(definition)) = (args.expand, &checked.definition) {
                let text = definition.document.as_str().unwrap_or_default();
                value["document"] = serde_json::from_str(text).unwrap_or_default();
                let grant: BTreeMap<&str, Vec<Text>> = granted(definition).into_iter().collect();
                value["grant"] = json!(grant);
            }
            output.json(&value);
            continue;
        }
        output.text(&checked.report(output.style()));
        if args.expand && !checked.has_errors() {
            output.text(&expanded(&checked));
            continue;
        }
        if let (false, Some(counts)) = (checked.has_errors(), counts) {
            output.line(&summary(&checked, &counts, denied));
        }
    }
    Ok(exit)
}

/// Returns the document that a checked file became, in canonical layout.
fn expanded(checked: &Checked) -> String {
    let Some(definition) = &checked.definition else { return String::new() };
    let json = definition.document.as_str().unwrap_or_default();
    let Ok(tree) = read_tree(json, Format::Json) else { return String::new() };
    let yaml = Tree::of(&tree).to_yaml();
    let grant = granted(definition);
    let grant =
        grant.iter().map(|(kind, names)| format!("# may reach {kind}: {}\n", names.join(", ")));
    grant.collect::<String>() + &format(&yaml, Format::Yaml).unwrap_or(yaml)
}

/// Returns what a document may reach: the names that it spells out, and those that it lists.
fn granted(definition: &Arc<Definition>) -> Vec<(&'static str, Vec<Text>)> {
    let Ok(machine) = Machine::compile(Arc::clone(definition)) else { return Vec::new() };
    let kinds = GrantKind::ALL.into_iter().map(|it| (it.as_str(), machine.granted().names(it)));
    kinds.filter(|(_, names)| !names.is_empty()).collect()
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
