//! `traaviis graph`: a workflow as a picture.

use std::path::PathBuf;

use serde_json::json;
use traaviis_design::graph::{self, GraphError, Picture};

use crate::{
    document,
    exit::{Exit, Failure},
    output::Output,
};

/// Draws a workflow.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: traaviis graph door.yaml --format svg --output door.svg")]
pub struct Args {
    /// Workflow file, YAML or JSON.
    file: PathBuf,
    /// Format of the picture.
    #[arg(long, value_enum, default_value_t = Format::Mermaid)]
    format: Format,
    /// Write the picture to this file instead of standard output.
    #[arg(long, value_name = "PATH")]
    output: Option<PathBuf>,
}

/// Formats that can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Text for Mermaid, which many Markdown viewers draw.
    Mermaid,
    /// Text for Graphviz.
    Dot,
    /// A drawing that scales, for light and dark backgrounds.
    Svg,
    /// The same drawing in pixels.
    Png,
}

impl Format {
    fn word(self) -> &'static str {
        match self {
            Format::Mermaid => "mermaid",
            Format::Dot => "dot",
            Format::Svg => "svg",
            Format::Png => "png",
        }
    }

    fn draw(self, picture: &Picture) -> Result<Vec<u8>, GraphError> {
        Ok(match self {
            Format::Mermaid => graph::mermaid(picture).into_bytes(),
            Format::Dot => graph::dot(picture).into_bytes(),
            Format::Svg => graph::svg(picture)?.into_bytes(),
            Format::Png => graph::png(picture)?,
        })
    }
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let checked = document::check(&args.file)?;
    if checked.has_errors() && !output.is_json() {
        output.text(&checked.report(output.style()));
    }
    let machine = document::compile(&checked)?;
    if args.format == Format::Png && args.output.is_none() && output.is_json() {
        let message = "a PNG is no text that fits into JSON; name a file with `--output`";
        return Err(Failure::usage(message).into());
    }
    if args.format == Format::Png && args.output.is_none() && output.is_terminal() {
        let message = "a PNG is no text for a terminal; name a file with `--output`";
        return Err(Failure::usage(message).into());
    }
    let file = args.file.display();
    let picture = args
        .format
        .draw(&Picture::of(machine.definition()))
        .map_err(|error| Failure::finding("graph_failed", format!("`{file}`: {error}")))?;
    let format = args.format.word();
    match &args.output {
        Some(path) => {
            std::fs::write(path, &picture).map_err(|error| {
                let message = format!("cannot write `{}`: {error}", path.display());
                Failure::finding("file_unwritable", message)
            })?;
            if output.is_json() {
                let path = path.display().to_string();
                output.json(&json!({ "format": format, "file": path, "bytes": picture.len() }));
            }
        }
        None if output.is_json() => {
            let text = String::from_utf8_lossy(&picture);
            output.json(&json!({ "format": format, "graph": text }));
        }
        None => {
            output.bytes(&picture);
        }
    }
    Ok(Exit::Ok)
}
