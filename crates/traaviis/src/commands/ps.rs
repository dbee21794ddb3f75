//! `traaviis ps`: the instances of a data directory.

use serde_json::Value as Json;

use crate::{
    control::protocol::Ask,
    exit::Exit,
    operations::{self, DataArgs},
    output::Output,
    terminal::table,
    trace::relative,
};

/// Lists instances.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    data: DataArgs,
    /// Finished ones too.
    #[arg(long)]
    all: bool,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let answer = operations::ask(&args.data, Ask::Ps { all: args.all })?;
    if output.is_json() {
        output.json(&answer);
        return Ok(Exit::Ok);
    }
    let empty = Vec::new();
    let items = answer["instances"].as_array().unwrap_or(&empty);
    if items.is_empty() {
        let more = if args.all { "" } else { "; `--all` shows finished ones" };
        output.line(&format!("no instances in `{}`{more}", args.data.dir().display()));
        return Ok(Exit::Ok);
    }
    let rows: Vec<Vec<String>> = items.iter().map(row).collect();
    let headings = ["ID", "WORKFLOW", "VERSION", "STATUS", "STATE", "AGE", "SEQ"];
    output.text(&table(&headings, &rows));
    Ok(Exit::Ok)
}

fn row(item: &Json) -> Vec<String> {
    let text = |key: &str| item[key].as_str().unwrap_or_default().to_string();
    let age = traaviis_model::Span::millis(item["age_ms"].as_i64().unwrap_or_default());
    vec![
        text("id"),
        text("workflow"),
        text("version"),
        text("status"),
        text("state"),
        relative(age),
        item["seq"].to_string(),
    ]
}
