//! `traaviis schema`: JSON Schemas for editors and checks.

use crate::{exit::Exit, output::Output};

/// Prints a JSON Schema.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which one.
    name: Name,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Name {
    /// Workflow documents.
    Workflow,
    /// Connector files.
    Connectors,
    /// Settings of a server.
    Config,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let config;
    let text = match args.name {
        Name::Workflow => traaviis_model::document::WORKFLOW_SCHEMA,
        Name::Connectors => traaviis_connect::CONNECTORS_SCHEMA,
        Name::Config => {
            config = serde_json::to_string_pretty(&crate::config::schema())?;
            &*config
        }
    };
    output.line(text.trim_end());
    Ok(Exit::Ok)
}
