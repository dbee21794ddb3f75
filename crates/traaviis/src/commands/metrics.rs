//! `traaviis metrics`: counters and times of the workflows that ask for them.

use serde_json::json;

use crate::{
    control::protocol::Ask,
    exit::Exit,
    operations::{self, ReadArgs},
    output::Output,
};

/// Prints the metrics of workflows with the plugin `metrics`, as Prometheus reads them.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    data: ReadArgs,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let answer = operations::ask(&args.data, Ask::Metrics)?;
    let text = answer["text"].as_str().unwrap_or_default();
    if output.is_json() {
        output.json(&json!({ "text": text }));
    } else {
        output.text(text);
    }
    Ok(Exit::Ok)
}
