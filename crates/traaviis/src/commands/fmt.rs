//! `traaviis fmt`: workflow files in canonical layout.

use std::path::{Path, PathBuf};

use serde_json::json;
use traaviis_design::format::{self, FormatError};
use traaviis_model::document::Format;

use crate::{
    disk, document,
    exit::{Exit, Failure},
    output::Output,
};

/// Formats workflow files; comments stay.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: traaviis fmt --check workflows/*.yaml")]
pub struct Args {
    /// Workflow files, YAML or JSON.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Change nothing; name the files that would change, and exit with 1 if there are any.
    #[arg(long, conflicts_with = "write")]
    check: bool,
    /// Rewrite the files that change instead of printing them.
    #[arg(long)]
    write: bool,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let mut exit = Exit::Ok;
    for file in &args.files {
        let text = document::read_text(file)?;
        let formatted = match format::format(&text, Format::of_path(file)) {
            Ok(formatted) => formatted,
            Err(FormatError::Syntax(diagnostics)) => {
                document::Checked::refused(file, diagnostics).print(output);
                exit = Exit::Finding;
                continue;
            }
            Err(error) => {
                let message = format!("`{}`: {error}", file.display());
                return Err(Failure::new(Exit::Internal, "format_failed", message).into());
            }
        };
        let is_changed = formatted != text;
        if is_changed && args.check {
            exit = Exit::Finding;
        }
        if is_changed && args.write {
            write(file, &formatted)?;
        }
        show(args, output, file, &formatted, is_changed);
    }
    Ok(exit)
}

fn show(args: &Args, output: &Output, file: &Path, formatted: &str, is_changed: bool) {
    let name = file.display().to_string();
    if output.is_json() {
        let mut value = json!({ "file": name, "changed": is_changed });
        if !args.check && !args.write {
            value["text"] = json!(formatted);
        }
        output.json(&value);
    } else if args.check || args.write {
        if is_changed {
            output.line(&name);
        }
    } else {
        output.text(formatted);
    }
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    disk::replace(file, text.as_bytes()).map_err(|error| {
        let message = format!("cannot write `{}`: {error}", file.display());
        Failure::finding("file_unwritable", message)
    })
}
