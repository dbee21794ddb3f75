//! `traaviis incidents`: what waits for a person, over all instances.

use serde_json::Value as Json;

use crate::{
    control::protocol::Ask,
    exit::Exit,
    operations::{self, DataArgs},
    output::Output,
    terminal::{clip, table},
    trace::relative,
};

/// Lists what waits for a person, the oldest first.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    data: DataArgs,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let answer = operations::ask(&args.data, Ask::Incidents)?;
    if output.is_json() {
        output.json(&answer);
        return Ok(Exit::Ok);
    }
    let items = answer["incidents"].as_array().map(Vec::as_slice).unwrap_or_default();
    if items.is_empty() {
        output.line(&format!("no incidents in `{}`", args.data.dir().display()));
        return Ok(Exit::Ok);
    }
    let rows: Vec<Vec<String>> = items.iter().map(row).collect();
    output.text(&table(&["INSTANCE", "WORKFLOW", "AGE", "INCIDENT", "AT", "WHAT"], &rows));
    output.line("answer one: traaviis resolve INSTANCE AT --retry|--fail|--happened JSON");
    Ok(Exit::Ok)
}

fn row(item: &Json) -> Vec<String> {
    let text = |key: &str| item[key].as_str().unwrap_or_default().to_string();
    let age = item["age_ms"].as_i64().map(traaviis_model::Span::millis);
    vec![
        text("instance"),
        text("workflow"),
        age.map(relative).unwrap_or_default(),
        text("kind"),
        text("path"),
        clip(&text("message"), 120),
    ]
}
