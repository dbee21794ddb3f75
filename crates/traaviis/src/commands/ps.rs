//! `traaviis ps`: the instances of a data directory.

use serde_json::Value as Json;

use crate::{
    control::protocol::Ask,
    exit::Exit,
    operations::{self, DataArgs},
    output::{self, Output},
    terminal::table,
    trace::relative,
};

/// Lists instances.
///
/// One of which records are lost has the status `damaged`, with the reason on standard error or,
/// with --json, as its `error`. The list is whole, so the exit code is 0; `traaviis doctor` is the
/// check that fails.
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
    warn(items, answer["unreadable"].as_array().unwrap_or(&empty));
    if items.is_empty() {
        let more = if args.all { "" } else { "; `--all` shows finished ones" };
        output.line(&format!("no instances in `{}`{more}", args.data.dir().display()));
        return Ok(Exit::Ok);
    }
    let mut rows: Vec<Vec<String>> = items.iter().map(row).collect();
    let mut headings = vec!["ID", "WORKFLOW", "VERSION", "STATUS", "STATE", "AGE", "SEQ"];
    if items.iter().any(|it| it["parent_id"].is_string()) {
        headings.push("PARENT");
        for (row, item) in rows.iter_mut().zip(items) {
            row.push(item["parent_id"].as_str().unwrap_or_default().to_string());
        }
    }
    output.text(&table(&headings, &rows));
    Ok(Exit::Ok)
}

/// Says what is wrong with what is listed.
fn warn(items: &[Json], unreadable: &[Json]) {
    for error in items.iter().map(|it| &it["error"]).filter(|it| it.is_object()) {
        let text = |key: &str| error[key].as_str().unwrap_or_default();
        output::warn(format_args!("warning: {} ({})", text("message"), text("code")));
    }
    for line in unreadable.iter().filter_map(Json::as_str) {
        output::warn(format_args!("warning: {line} (record_unreadable)"));
    }
}

fn row(item: &Json) -> Vec<String> {
    let text = |key: &str| item[key].as_str().unwrap_or_default().to_string();
    let age = item["age_ms"].as_i64().map(traaviis_model::Span::millis);
    vec![
        text("id"),
        text("workflow"),
        text("version"),
        text("status"),
        text("state"),
        age.map(relative).unwrap_or_default(),
        item["seq"].to_string(),
    ]
}
