//! `traaviis import`: a document of another language as a workflow.

use std::path::PathBuf;

use traaviis_design::scxml;

use crate::{
    exit::{Exit, Failure},
    output::{self, Output},
};

/// Converts a document of another language to a workflow; says what was lost.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The document.
    file: PathBuf,
    /// Its language.
    #[arg(long, value_enum)]
    from: Language,
}

/// Languages that can be read.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Language {
    /// W3C SCXML 1.0; the `ecmascript` data model as far as CEL says the same.
    Scxml,
}

/// Runs the command: the document on standard output, the loss report on standard error.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let file = args.file.display();
    let text = std::fs::read_to_string(&args.file).map_err(|error| {
        Failure::finding("file_unreadable", format!("cannot read `{file}`: {error}"))
    })?;
    let Language::Scxml = args.from;
    let imported = scxml::import(&text)
        .map_err(|error| Failure::finding("import_failed", format!("{file}: {error}")))?;
    if output.is_json() {
        // Text, not a value: the order of states has a meaning, and a value sorts its keys.
        let document = imported.document.to_json();
        let loss = serde_json::to_string(&imported.loss)?;
        output.text(&format!("{{\"document\":{document},\"loss\":{loss}}}\n"));
        return Ok(Exit::Ok);
    }
    output.text(&imported.document.to_yaml());
    output::warn(format!("{file}: {}", imported.loss).trim_end());
    Ok(Exit::Ok)
}
