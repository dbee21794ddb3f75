//! `traaviis diff`: what two workflow files do differently.

use std::path::{Path, PathBuf};

use serde_json::json;
use traaviis_engine::Machine;

use crate::{
    document,
    exit::{Exit, Failure},
    output::Output,
};

/// Compares what two workflow files do.
///
/// States are the same by their `id`, else by their name below the same parent. Titles,
/// descriptions, labels, tests, layout and the version do nothing when a workflow runs, so they do
/// not count. The exit code is 1 when the files differ.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Workflow file before the change.
    old: PathBuf,
    /// Workflow file after it.
    new: PathBuf,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let (old, new) = (machine(&args.old, output)?, machine(&args.new, output)?);
    let (old, new) = (old.definition(), new.definition());
    let differences = traaviis_engine::diff(old, new);
    let exit = if differences.is_empty() { Exit::Ok } else { Exit::Finding };
    if output.is_json() {
        let side = |it: &traaviis_model::definition::Definition| json!({ "name": it.name, "version": it.version.to_string(), "hash": it.hash });
        output.json(&json!({ "old": side(old), "new": side(new), "differences": differences }));
        return Ok(exit);
    }
    output.line(&format!("{} {} -> {} {}", old.name, old.version, new.name, new.version));
    if differences.is_empty() {
        output.line("no difference");
    }
    let mut heading = None;
    for it in &differences {
        if heading.replace(it.part) != Some(it.part) {
            output.line(it.part.heading());
        }
        output.line(&format!("  {it}"));
    }
    Ok(exit)
}

/// Reads a file that must be valid.
fn machine(file: &Path, output: &Output) -> Result<Machine, Failure> {
    let checked = document::check(file)?;
    if checked.has_errors() && !output.is_json() {
        output.text(&checked.report(output.style()));
    }
    document::compile(&checked)
}
